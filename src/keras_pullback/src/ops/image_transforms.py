"""Images whose elements move: affine, perspective and elastic transforms, and coordinates.

Imports ``image_sampling`` and ``image_filters``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras.src.backend import config

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor
from keras_pullback.src.ops.image_filters import check_rank, gaussian_blur
from keras_pullback.src.ops.image_sampling import FILL_MODES, ORDERS, sample


def _check(images: Any, interpolation: str, fill_mode: str = "constant") -> None:
    if interpolation not in ORDERS:
        raise ValueError(
            f"Invalid value for argument `interpolation`. Expected of one {set(ORDERS)}. "
            f"Received: interpolation={interpolation}"
        )
    if fill_mode not in FILL_MODES:
        raise ValueError(
            f"Invalid value for argument `fill_mode`. Expected of one {set(FILL_MODES)}. "
            f"Received: fill_mode={fill_mode}"
        )
    check_rank(images)


def _to_batch(images: Any, data_format: str | None) -> Any:
    """Return the images as ``[batch, height, width, channels]``."""
    if images.ndim == 3:
        images = pb.expand_dims(images, axis=0)
    if config.standardize_data_format(data_format) == "channels_first":
        images = pb.permute_dims(images, (0, 2, 3, 1))
    return images


def _from_batch(images: Any, ndim: int, data_format: str | None) -> Any:
    if config.standardize_data_format(data_format) == "channels_first":
        images = pb.permute_dims(images, (0, 3, 1, 2))
    return images if ndim == 4 else pb.squeeze(images, axis=0)


def _grid(images: Any) -> tuple[Any, Any]:
    """Return the coordinates y ``[height, 1]`` and x ``[width]``."""
    _, height, width, _ = images.shape
    y = np.arange(height, dtype=np.float32)[:, None]
    return pb.asarray(y), pb.asarray(np.arange(width, dtype=np.float32))


def _sample(images: Any, y: Any, x: Any, order: int, mode: str, fill_value: Any) -> Any:
    """Interpolate ``[batch, height, width, channels]`` at ``[batch, height, width]``."""
    count = images.shape[0]
    batch = pb.asarray(np.arange(count, dtype=np.int32)[:, None, None])
    shape = (count, *images.shape[1:3])
    places = [pb.broadcast_to(c, shape) for c in (y, x)]
    return sample(images, places, order, mode, fill_value, batch)


def affine_transform(
    images: Any,
    transform: Any,
    interpolation: str = "bilinear",
    fill_mode: str = "constant",
    fill_value: float = 0,
    data_format: str | None = None,
) -> Any:
    """Images whose element at (x, y) is that at (a0 x + a1 y + a2, b0 x + b1 y + b2)."""
    images, transform = real_tensor(images), real_tensor(transform)
    _check(images, interpolation, fill_mode)
    if transform.ndim not in (1, 2):
        raise ValueError(
            "Invalid transform rank: expected rank 1 (single transform) or rank 2 (batch of "
            f"transforms). Received input with shape: transform.shape={transform.shape}"
        )
    if not pb.isdtype(transform.dtype, "real floating"):
        transform = cast(transform, "float32")
    stack = _to_batch(images, data_format)
    a0, a1, a2, b0, b1, b2 = (transform[..., i].reshape((-1, 1, 1)) for i in range(6))
    y, x = _grid(stack)
    moved = _sample(
        stack,
        b0 * x + b1 * y + b2,
        a0 * x + a1 * y + a2,
        ORDERS[interpolation],
        fill_mode,
        fill_value,
    )
    return _from_batch(moved, images.ndim, data_format)


def _check_points(start_points: Any, end_points: Any) -> None:
    for name, points in (("start_points", start_points), ("end_points", end_points)):
        if points.ndim not in (2, 3) or points.shape[-2:] != (4, 2):
            raise ValueError(
                f"Invalid {name} shape: expected (4,2) for a single image or (N,4,2) for a batch. "
                f"Received shape: {points.shape}"
            )
    if start_points.shape != end_points.shape:
        raise ValueError(
            "start_points and end_points must have the same shape. Received "
            f"start_points.shape={start_points.shape}, end_points.shape={end_points.shape}"
        )


def perspective_transform(
    images: Any,
    start_points: Any,
    end_points: Any,
    interpolation: str = "bilinear",
    fill_value: float = 0,
    data_format: str | None = None,
) -> Any:
    """Images in which four points move from ``start_points`` to ``end_points``."""
    images = real_tensor(images)
    start_points, end_points = real_tensor(start_points), real_tensor(end_points)
    _check(images, interpolation)
    _check_points(start_points, end_points)
    stack = _to_batch(images, data_format)
    points = [cast(p, "float32").reshape((-1, 4, 2)) for p in (start_points, end_points)]
    transform = compute_homography_matrix(*points)
    a, b, c, d, e, f, g, h = (transform[:, i].reshape((-1, 1, 1)) for i in range(8))
    y, x = _grid(stack)
    depth = g * x + h * y + 1.0
    places = (d * x + e * y + f) / depth, (a * x + b * y + c) / depth
    moved = _sample(stack, *places, ORDERS[interpolation], "constant", fill_value)
    return _from_batch(moved, images.ndim, data_format)


def compute_homography_matrix(start_points: Any, end_points: Any) -> Any:
    """Coefficients ``[batch, 8]`` of the projection that takes end points to start points."""
    start_points, end_points = real_tensor(start_points), real_tensor(end_points)
    x, y = end_points[..., 0], end_points[..., 1]
    zero, one = pb.zeros_like(x), pb.ones_like(x)
    u, v = start_points[..., 0], start_points[..., 1]
    x_rows = pb.stack([x, y, one, zero, zero, zero, -u * x, -u * y], axis=-1)
    y_rows = pb.stack([zero, zero, zero, x, y, one, -v * x, -v * y], axis=-1)
    target = pb.expand_dims(pb.concat([u, v], axis=-1), axis=-1)
    solution = pb.linalg.solve(pb.concat([x_rows, y_rows], axis=1), target)
    return pb.squeeze(solution, axis=-1)


def map_coordinates(
    inputs: Any,
    coordinates: Any,
    order: int,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
) -> Any:
    """Elements of ``inputs`` at floating coordinates ``[ndim, ...]``."""
    inputs, coordinates = real_tensor(inputs), real_tensor(coordinates)
    if coordinates.shape[0] != inputs.ndim:
        raise ValueError(
            "First dim of `coordinates` must be the same as the rank of `inputs`. Received "
            f"inputs with shape: {inputs.shape} and coordinate leading dim of "
            f"{coordinates.shape[0]}"
        )
    if coordinates.ndim < 2:
        raise ValueError(
            "Invalid coordinates rank: expected at least rank 2. Received input with shape: "
            f"{coordinates.shape}"
        )
    if fill_mode not in FILL_MODES:
        raise ValueError(
            f"Invalid value for argument `fill_mode`. Expected one of {set(FILL_MODES)}. "
            f"Received: fill_mode={fill_mode}"
        )
    if order not in (0, 1):
        raise ValueError(
            f"Invalid value for argument `order`. Expected one of [0, 1]. Received: order={order}"
        )
    if not pb.isdtype(coordinates.dtype, "real floating"):
        coordinates = cast(coordinates, "float32")
    return sample(inputs, pb.unstack(coordinates), order, fill_mode, fill_value)


def elastic_transform(
    images: Any,
    alpha: float = 20.0,
    sigma: float = 5.0,
    interpolation: str = "bilinear",
    fill_mode: str = "reflect",
    fill_value: float = 0.0,
    seed: Any = None,
    data_format: str | None = None,
) -> Any:
    """Images distorted by random displacements of strength ``alpha``, smooth over ``sigma``."""
    # `random` imports `ops.core`; Keras's seeds need the whole backend.
    from keras_pullback.src import random

    images = real_tensor(images)
    _check(images, interpolation, fill_mode)
    stack = _to_batch(images, data_format)
    floating = pb.isdtype(images.dtype, "real floating")
    dtype = images.dtype if floating else np.dtype("float32")
    width = int(6 * float(sigma)) | 1
    # One field for both directions, as Keras draws it on JAX.
    noise = random.normal(stack.shape[:3], stddev=sigma, dtype=dtype, seed=seed)
    field: Sequence[float] = (float(sigma), float(sigma))
    smooth = gaussian_blur(noise[..., None], (width, width), field, "channels_last")[..., 0]
    y, x = _grid(stack)
    moved = _sample(
        stack,
        y + alpha * smooth,
        x + alpha * smooth,
        ORDERS[interpolation],
        fill_mode,
        fill_value,
    )
    return _from_batch(moved, images.ndim, data_format)
