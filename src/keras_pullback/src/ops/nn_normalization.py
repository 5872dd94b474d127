"""Moments and batch normalization.

Imports the array namespace only; ``nn`` exports every name here.
"""

from __future__ import annotations

from typing import Any

from keras.src.backend import standardize_dtype

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor

__all__ = ["batch_normalization", "moments"]


def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> Any:
    """Mean and (biased) variance along ``axes``, those of 16-bit floats computed in float32."""
    if synchronized:
        raise NotImplementedError(
            "Argument synchronized=True is not supported with pullback: it computes on one device."
        )
    x = real_tensor(x)
    dtype = standardize_dtype(x.dtype)
    axes = tuple(axes) if isinstance(axes, (list, tuple)) else axes
    narrow = dtype in ("float16", "bfloat16")
    if narrow:
        x = cast(x, "float32")
    mean = pb.mean(x, axis=axes, keepdims=keepdims)
    variance = pb.var(x, axis=axes, keepdims=keepdims)
    if narrow:
        limit = float(pb.finfo(pb.float16).max)
        mean, variance = (cast(pb.clip(m, -limit, limit), dtype) for m in (mean, variance))
    return mean, variance


def batch_normalization(
    x: Any,
    mean: Any,
    variance: Any,
    axis: int,
    offset: Any = None,
    scale: Any = None,
    epsilon: float = 1e-3,
) -> Any:
    """Standardize by given statistics along ``axis``, then scale and shift."""
    x, mean = real_tensor(x), real_tensor(mean)
    shape = [1] * x.ndim
    shape[axis] = mean.shape[0]

    def along(value: Any) -> Any:
        return pb.reshape(real_tensor(value), tuple(shape))

    factor = pb.rsqrt(along(variance) + epsilon)
    if scale is not None:
        factor = factor * along(scale)
    shift = -along(mean) * factor
    if offset is not None:
        shift = shift + along(offset)
    return x * factor + shift
