"""Filters of neighbourhoods, as sums of shifted images: Gaussian blur and Sobel's edges.

Imports ``ops.core``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras.src.backend import config

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor


def check_rank(images: Any) -> None:
    """Raise ValueError unless it is one image or a batch."""
    if images.ndim not in (3, 4):
        raise ValueError(
            "Invalid images rank: expected rank 3 (single image) or rank 4 (batch of images). "
            f"Received input with shape: images.shape={images.shape}"
        )


def _spatial_axes(images: Any, data_format: str | None) -> tuple[int, int]:
    first = config.standardize_data_format(data_format) == "channels_first"
    return (images.ndim - 2, images.ndim - 1) if first else (images.ndim - 3, images.ndim - 2)


def _correlate(x: Any, kernel: Sequence[Any], axis: int) -> Any:
    """Sum of neighbours along an axis, weighted by the kernel; zeros are outside."""
    size, n = len(kernel), x.shape[axis]
    widths = [(0, 0)] * x.ndim
    widths[axis] = ((size - 1) // 2, size // 2)
    padded = pb.pad(x, widths)
    key: list[slice] = [slice(None)] * x.ndim
    total = None
    for i, weight in enumerate(kernel):
        if isinstance(weight, int) and weight == 0:
            continue
        key[axis] = slice(i, i + n)
        part = padded[tuple(key)] * weight
        total = part if total is None else total + part
    return total


def _gaussian(size: int, sigma: Any, dtype: Any) -> list[Any]:
    x = cast(pb.arange(size), dtype) - (size - 1) / 2
    values = pb.exp(-0.5 * pb.square(x / sigma))
    return list(pb.unstack(values / pb.sum(values)))


def gaussian_blur(
    images: Any,
    kernel_size: Sequence[int] = (3, 3),
    sigma: Any = (1.0, 1.0),
    data_format: str | None = None,
) -> Any:
    """Images averaged with the weights of a normal distribution; zeros are outside."""
    images = real_tensor(images)
    check_rank(images)
    sigma = cast(real_tensor(sigma), images.dtype)
    vertical, horizontal = _spatial_axes(images, data_format)
    # The first size and deviation are those of the horizontal axis.
    across = _gaussian(int(kernel_size[0]), sigma[0], images.dtype)
    down = _gaussian(int(kernel_size[1]), sigma[1], images.dtype)
    return _correlate(_correlate(images, across, horizontal), down, vertical)


def sobel_edges(images: Any, data_format: str | None = None) -> Any:
    """Derivatives ``[..., 2]`` of images, down and across, smoothed; zeros are outside."""
    images = real_tensor(images)
    vertical, horizontal = _spatial_axes(images, data_format)
    slope, smooth = (-1, 0, 1), (1, 2, 1)
    down = _correlate(_correlate(images, slope, vertical), smooth, horizontal)
    across = _correlate(_correlate(images, slope, horizontal), smooth, vertical)
    return pb.stack([down, across], axis=-1)
