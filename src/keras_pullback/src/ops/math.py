"""Keras's ``ops.math``: segments, the largest elements, Fourier transforms, special functions.

Imports ``ops.core`` and the private modules ``math_fourier`` and ``math_frames``, from which it
exports the transforms.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import pullback as pb
from keras_pullback.src.ops.complex_arrays import evaluate
from keras_pullback.src.ops.core import cast, real_tensor
from keras_pullback.src.ops.math_fourier import as_pair, fft, fft2, ifft2, irfft, rfft
from keras_pullback.src.ops.math_frames import extract_sequences, istft, stft

__all__ = [
    "cdist",
    "erf",
    "erfc",
    "erfinv",
    "extract_sequences",
    "fft",
    "fft2",
    "ifft2",
    "in_top_k",
    "irfft",
    "istft",
    "logdet",
    "logsumexp",
    "rfft",
    "rsqrt",
    "segment_max",
    "segment_min",
    "segment_prod",
    "segment_sum",
    "stft",
    "top_k",
]


def _floating(x: Any) -> Any:
    x = real_tensor(x)
    return x if pb.isdtype(x.dtype, "real floating") else cast(x, "float32")


def _get_complex_tensor_from_tuple(x: Any) -> Any:  # Keras's `polar` calls it by this name
    return evaluate(lambda real, imag: real + 1j * imag, *as_pair(x))


def _segments(kind: str, data: Any, segment_ids: Any, num_segments: int | None, fill: Any) -> Any:
    data, ids = real_tensor(data), real_tensor(segment_ids)
    if num_segments is None:
        num_segments = _count_segments(ids)
    # Elements of segments that there are not go to one more segment, which is cut off.
    ids = pb.where((ids >= 0) & (ids < num_segments), ids, num_segments)
    start = pb.full((num_segments + 1, *data.shape[ids.ndim :]), fill(data.dtype), data.dtype)
    return getattr(start.at[ids], kind)(data)[:num_segments]


def _count_segments(ids: Any) -> int:
    """Return how many there are, which only values tell."""
    if not isinstance(ids, pb.Array):
        raise ValueError(
            "Argument `num_segments` must be set when the segment ids are traced: the shape of "
            "the result would depend on their values. Received: num_segments=None"
        )
    return int(pb.max(ids)) + 1 if ids.size else 0


def _extreme(sign: int) -> Any:
    """Return a function from a dtype to its least (-1) or greatest (+1) value."""

    def value(dtype: Any) -> Any:
        if pb.isdtype(dtype, "real floating"):
            return sign * float("inf")
        limits = np.iinfo(dtype)
        return int(limits.min if sign < 0 else limits.max)

    return value


def segment_sum(
    data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False
) -> Any:
    """Sum of the elements of each segment."""
    return _segments("add", data, segment_ids, num_segments, lambda dtype: 0)


def segment_max(
    data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False
) -> Any:
    """Greatest element of each segment; the least value of the dtype where it is empty."""
    return _segments("max", data, segment_ids, num_segments, _extreme(-1))


def segment_min(
    data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False
) -> Any:
    """Least element of each segment; the greatest value of the dtype where it is empty."""
    return _segments("min", data, segment_ids, num_segments, _extreme(1))


def segment_prod(
    data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False
) -> Any:
    """Product of the elements of each segment."""
    return _segments("multiply", data, segment_ids, num_segments, lambda dtype: 1)


def top_k(x: Any, k: int, sorted: bool = True) -> tuple[Any, Any]:
    """The ``k`` largest elements along the last axis, descending, and their positions."""
    return pb.top_k(real_tensor(x), k)


def in_top_k(targets: Any, predictions: Any, k: int) -> Any:
    """Whether the prediction of each target is among the ``k`` largest of its row."""
    targets, predictions = real_tensor(targets), real_tensor(predictions)
    chosen = pb.take_along_axis(predictions, pb.expand_dims(targets, axis=-1), axis=-1)
    chosen = pb.where(pb.isnan(chosen), -float("inf"), chosen)
    return pb.sum(pb.astype(predictions > chosen, pb.int32), axis=-1) < k


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Logarithm of the sum of exponentials, without overflow."""
    x = _floating(x)
    if isinstance(axis, list):
        axis = tuple(axis)
    greatest = pb.max(x, axis=axis, keepdims=True)
    greatest = pb.stop_gradient(pb.where(pb.isfinite(greatest), greatest, 0.0))
    total = pb.log(pb.sum(pb.exp(x - greatest), axis=axis, keepdims=True)) + greatest
    if keepdims:
        return total
    return (
        pb.reshape(total, pb.sum(x, axis=axis).shape)
        if axis is None
        else pb.squeeze(total, axis=axis)
    )


def cdist(x: Any, y: Any) -> Any:
    """Euclidean distances between the rows of ``x`` and those of ``y``."""
    x, y = _floating(x), _floating(y)
    if x.ndim < 2 or y.ndim < 2:
        raise ValueError("`cdist` inputs must have rank >= 2")
    if x.shape[-1] != y.shape[-1]:
        raise ValueError("Last dimension of inputs to `cdist` must match")
    difference = pb.expand_dims(x, axis=-2) - pb.expand_dims(y, axis=-3)
    return pb.sqrt(pb.sum(pb.square(difference), axis=-1))


def rsqrt(x: Any) -> Any:
    """Reciprocal of the square root."""
    return pb.rsqrt(_floating(x))


def erf(x: Any) -> Any:
    """Error function."""
    return pb.erf(_floating(x))


def erfc(x: Any) -> Any:
    """Complement of the error function."""
    return pb.erfc(_floating(x))


def erfinv(x: Any) -> Any:
    """Inverse of the error function."""
    return pb.erfinv(_floating(x))


def logdet(x: Any) -> Any:
    """Logarithm of the absolute value of the determinant."""
    return pb.linalg.slogdet(_floating(x)).logabsdet
