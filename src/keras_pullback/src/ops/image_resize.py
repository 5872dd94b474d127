"""Resampling of images along their axes: ``resize`` and ``scale_and_translate``.

Imports ``ops.core``. Each axis is a product with a matrix of weights, so that derivatives are
transposed products. Start at ``weights``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras.src.backend import config

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor
from keras_pullback.src.ops.numpy_common import floating

RESIZE_INTERPOLATIONS = ("bilinear", "nearest", "lanczos3", "lanczos5", "bicubic")


def _triangle(x: Any, xp: Any) -> Any:
    return xp.maximum(1 - xp.abs(x), 0)


def _cubic(x: Any, xp: Any) -> Any:
    """Keys's cubic convolution with ``a = -1/2``, of radius 2."""
    x = xp.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return xp.where(x < 1, near, xp.where(x < 2, far, 0))


def _lanczos(radius: int) -> Callable[[Any, Any], Any]:
    def kernel(x: Any, xp: Any) -> Any:
        safe = xp.where(x == 0, 1, x)
        waves = xp.sin(math.pi * safe) * xp.sin(math.pi * safe / radius)
        value = radius * waves / (math.pi**2 * safe * safe)
        return xp.where(x == 0, 1, xp.where(xp.abs(x) < radius, value, 0))

    return kernel


_KERNELS: dict[str, Callable[[Any, Any], Any]] = {
    "linear": _triangle,
    "bilinear": _triangle,
    "trilinear": _triangle,
    "cubic": _cubic,
    "bicubic": _cubic,
    "tricubic": _cubic,
    "lanczos3": _lanczos(3),
    "lanczos5": _lanczos(5),
}


def weights(
    size: int, length: int, scale: Any, translation: Any, method: str, antialias: bool, xp: Any
) -> Any:
    """Return ``[size, length]``: what each old element contributes to each new one.

    Args:
        size: How many elements there are.
        length: How many are wanted.
        scale: By how much the axis is stretched.
        translation: By how many new elements it is moved.
        method: The kernel.
        antialias: Whether the kernel gets wider when the axis shrinks.
        xp: ``numpy`` if scale and translation are numbers, else ``pullback``.
    """
    inverse = 1.0 / scale
    places = (xp.arange(length) + 0.5 - translation) * inverse - 0.5
    width = xp.maximum(inverse, 1.0) if antialias else 1.0
    distance = (places[None, :] - xp.arange(size)[:, None]) / width
    found = _KERNELS[method](distance, xp)
    total = xp.sum(found, axis=0, keepdims=True)
    # Far outside a kernel may sum to 0; JAX's bound for that is in the precision of float32.
    small = xp.abs(total) <= 1000 * float(np.finfo(np.float32).eps)
    found = xp.where(small, 0, found / xp.where(small, 1, total))
    return xp.where((places >= -0.5) & (places <= size - 0.5), found, 0)


def _contract(images: Any, matrix: Any, axis: int) -> Any:
    moved = pb.tensordot(images, matrix, axes=((axis,), (0,)))
    return pb.moveaxis(moved, -1, axis)


def _nearest(images: Any, axis: int, length: int) -> Any:
    size = images.shape[axis]
    # In float32 as in JAX, where rounding decides between two neighbours.
    places = (np.arange(length, dtype=np.float32) + np.float32(0.5)) * np.float32(size)
    index = np.floor(places / np.float32(length)).astype(np.int32)
    return pb.take(images, pb.asarray(np.minimum(index, size - 1)), axis=axis)


def resize(
    images: Any,
    size: Sequence[int],
    interpolation: str = "bilinear",
    antialias: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    fill_mode: str = "constant",
    fill_value: float = 0.0,
    data_format: str | None = None,
) -> Any:
    """Images in another size; cropped or padded first if the aspect ratio is to stay."""
    images = real_tensor(images)
    _check_resize(images, size, interpolation, fill_mode)
    if pad_to_aspect_ratio and crop_to_aspect_ratio:
        raise ValueError(
            "Only one of `pad_to_aspect_ratio` & `crop_to_aspect_ratio` can be `True`."
        )
    first = config.standardize_data_format(data_format) == "channels_first"
    axes = (images.ndim - 2, images.ndim - 1) if first else (images.ndim - 3, images.ndim - 2)
    target = (int(size[0]), int(size[1]))
    if crop_to_aspect_ratio:
        images = _crop(images, axes, target)
    elif pad_to_aspect_ratio:
        images = _pad(images, axes, target, fill_value)
    changed = [(a, n) for a, n in zip(axes, target, strict=True) if images.shape[a] != n]
    if interpolation == "nearest":
        for axis, length in changed:
            images = _nearest(images, axis, length)
        return images

    images = floating(images)
    for axis, length in changed:
        n = images.shape[axis]
        matrix = weights(n, length, length / n, 0.0, interpolation, antialias, np)
        images = _contract(images, pb.asarray(matrix.astype(images.dtype)), axis)
    return images


def _check_resize(images: Any, size: Sequence[int], interpolation: str, fill_mode: str) -> None:
    if interpolation not in RESIZE_INTERPOLATIONS:
        raise ValueError(
            "Invalid value for argument `interpolation`. Expected of one "
            f"{RESIZE_INTERPOLATIONS}. Received: interpolation={interpolation}"
        )
    if fill_mode != "constant":
        raise ValueError(
            "Invalid value for argument `fill_mode`. Only `'constant'` is supported. "
            f"Received: fill_mode={fill_mode}"
        )
    if len(size) != 2:
        raise ValueError(
            "Argument `size` must be a tuple of two elements (height, width). "
            f"Received: size={size}"
        )
    if images.ndim not in (3, 4):
        raise ValueError(
            "Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). "
            f"Received input with shape: images.shape={images.shape}"
        )


def _ratio_lengths(images: Any, axes: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """Height and width that the other length asks for."""
    height, width = (images.shape[a] for a in axes)
    return int(width * target[0] / target[1]), int(height * target[1] / target[0])


def _crop(images: Any, axes: tuple[int, int], target: tuple[int, int]) -> Any:
    key = [slice(None)] * images.ndim
    for axis, length in zip(axes, _ratio_lengths(images, axes, target), strict=True):
        kept = max(min(images.shape[axis], length), 1)
        start = (images.shape[axis] - kept) // 2
        key[axis] = slice(start, start + kept)
    return images[tuple(key)]


def _pad(images: Any, axes: tuple[int, int], target: tuple[int, int], fill_value: float) -> Any:
    widths = [(0, 0)] * images.ndim
    for axis, length in zip(axes, _ratio_lengths(images, axes, target), strict=True):
        margin = (max(images.shape[axis], length) - images.shape[axis]) // 2
        widths[axis] = (margin, margin)
    return pb.pad(images, widths, constant_values=fill_value)


def scale_and_translate(
    images: Any,
    output_shape: Sequence[int],
    scale: Any,
    translation: Any,
    spatial_dims: Sequence[int],
    method: str,
    antialias: bool = True,
) -> Any:
    """Images stretched and moved along some axes, also by traced amounts."""
    if method not in _KERNELS:
        raise ValueError(
            "Invalid value for argument `method`. Expected of one "
            f"{set(_KERNELS)}. Received: method={method}"
        )
    images = floating(images)
    scale, translation = real_tensor(scale), real_tensor(translation)
    for i, axis in enumerate(spatial_dims):
        stretch, move = (cast(v[i], "float32") for v in (scale, translation))
        size, length = images.shape[axis], output_shape[axis]
        matrix = weights(size, length, stretch, move, method, antialias, pb)
        images = _contract(images, cast(matrix, images.dtype), axis % images.ndim)
    return images
