"""Colours: RGB, grey, and hue with saturation and value.

Imports ``ops.core``.
"""

from __future__ import annotations

from typing import Any

from keras.src.backend import config, standardize_dtype

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor
from keras_pullback.src.ops.image_filters import check_rank


def _channels_axis(images: Any, data_format: str | None) -> int:
    check_rank(images)
    return -1 if config.standardize_data_format(data_format) == "channels_last" else -3


def _planes(images: Any, axis: int) -> tuple[Any, Any, Any]:
    if images.shape[axis] != 3:
        raise ValueError(
            "Invalid channel size: expected 3. Received input with shape: "
            f"images.shape={images.shape}"
        )
    first, second, third = pb.unstack(images, axis=axis)
    return first, second, third


def _require_floating(images: Any) -> None:
    if not pb.isdtype(images.dtype, "real floating"):
        raise ValueError(
            "Invalid images dtype: expected float dtype. Received: "
            f"images.dtype={standardize_dtype(images.dtype)}"
        )


def rgb_to_grayscale(images: Any, data_format: str | None = None) -> Any:
    """Weighted mean of red, green and blue, with one channel."""
    images = real_tensor(images)
    axis = _channels_axis(images, data_format)
    if images.shape[axis] == 1:
        return images
    if images.shape[axis] != 3:
        raise ValueError(
            "Invalid channel size: expected 3 (RGB) or 1 (Grayscale). "
            f"Received input with shape: images.shape={images.shape}"
        )
    floating = pb.isdtype(images.dtype, "real floating")
    red, green, blue = _planes(images if floating else cast(images, config.floatx()), axis)
    grey = 0.2989 * red + 0.5870 * green + 0.1140 * blue
    return cast(pb.expand_dims(grey, axis=axis), images.dtype)


def rgb_to_hsv(images: Any, data_format: str | None = None) -> Any:
    """Hue, saturation and value of red, green and blue in [0, 1]."""
    images = real_tensor(images)
    axis = _channels_axis(images, data_format)
    _require_floating(images)
    tiny = float(pb.finfo(images.dtype).eps)
    red, green, blue = _planes(pb.where(pb.abs(images) < tiny, 0.0, images), axis)
    value = pb.maximum(pb.maximum(red, green), blue)
    spread = value - pb.minimum(pb.minimum(red, green), blue)
    saturation = pb.where(value > 0, spread / pb.where(value > 0, value, 1.0), 0.0)
    sixth = 1.0 / (6.0 * pb.where(spread > 0, spread, 1.0))
    hue = pb.where(
        value == red,
        sixth * (green - blue),
        pb.where(
            value == green,
            sixth * (blue - red) + 2.0 / 6.0,
            sixth * (red - green) + 4.0 / 6.0,
        ),
    )
    hue = pb.where(spread > 0, hue, 0.0)
    hue = pb.where(hue < 0.0, hue + 1.0, hue)
    return pb.stack([hue, saturation, value], axis=axis)


def hsv_to_rgb(images: Any, data_format: str | None = None) -> Any:
    """Red, green and blue of hue, saturation and value."""
    images = real_tensor(images)
    axis = _channels_axis(images, data_format)
    _require_floating(images)
    hue, saturation, value = _planes(images, axis)
    turn = pb.mod(hue, 1.0) * 6.0
    shares = (
        pb.clip(pb.abs(turn - 3.0) - 1.0, 0.0, 1.0),
        pb.clip(2.0 - pb.abs(turn - 2.0), 0.0, 1.0),
        pb.clip(2.0 - pb.abs(turn - 4.0), 0.0, 1.0),
    )
    colours = [value * ((1.0 - saturation) + saturation * share) for share in shares]
    return pb.stack(colours, axis=axis)
