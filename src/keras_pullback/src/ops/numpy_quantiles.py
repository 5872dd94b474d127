"""Medians, quantiles and percentiles, with and without NaNs, by five ways to interpolate."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import pullback as pb
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.numpy_common import axes_of, floating, is_weak, to, widened

_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def median(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the middle element in ascending order, or the mean of the two middle ones."""
    return quantile(x, 0.5, axis, "midpoint", keepdims)


def quantile(
    x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False
) -> Any:
    """Return the value below which a share ``q`` of the elements lies; NaN among NaNs."""
    return _quantile(x, _shares(q, 1), axis, method, keepdims, False)


def percentile(
    x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False
) -> Any:
    """Return the value below which ``q`` hundredths of the elements lie; NaN among NaNs."""
    return _quantile(x, _shares(q, 100), axis, method, keepdims, False)


def nanmedian(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the median of the elements that are not NaN."""
    return nanquantile(x, 0.5, axis, "midpoint", keepdims)


def nanquantile(
    x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False
) -> Any:
    """Return the quantile of the elements that are not NaN."""
    return _quantile(x, _shares(q, 1), axis, method, keepdims, True)


def nanpercentile(
    x: Any, q: Any, axis: Any = None, method: str = "linear", keepdims: bool = False
) -> Any:
    """Return the percentile of the elements that are not NaN."""
    return _quantile(x, _shares(q, 100), axis, method, keepdims, True)


def _shares(q: Any, whole: float) -> Any:
    """Return ``q`` in shares of one, in float32 at least."""
    if is_weak(q):
        return pb.asarray(np.float32(q / whole))
    q = floating(q)
    if q.ndim > 1:
        raise ValueError(f"`q` must have at most one axis, got {q.ndim}")
    q = widened(q)
    return q if whole == 1 else pb.divide(q, whole)


def _quantile(x: Any, q: Any, axis: Any, method: str, keepdims: bool, skip_nan: bool) -> Any:
    if method not in _METHODS:
        raise ValueError(f"`method` must be one of {_METHODS}, got {method!r}")
    x = floating(real_tensor(x))
    axes = axes_of(axis, x.ndim)
    kept = tuple(a for a in range(x.ndim) if a not in axes)
    shape = tuple(x.shape[a] for a in kept)
    flat = pb.reshape(pb.transpose(x, kept + axes), (*shape, math.prod(x.shape[a] for a in axes)))
    wide = widened(flat)
    found = _at_shares(wide, pb.reshape(to(q, wide.dtype), (-1,)), method, skip_nan)
    found = to(pb.moveaxis(found, -1, 0), x.dtype)
    if keepdims:
        shape = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    return pb.reshape(found, q.shape + shape)


def _at_shares(flat: Any, q: Any, method: str, skip_nan: bool) -> Any:
    """Return ``[..., k]``, the values at the shares ``[k]`` of the last axis."""
    is_nan = pb.isnan(flat)
    ordered = pb.sort(flat, -1)  # NaNs come last
    if skip_nan:
        count = pb.sum(pb.astype(pb.logical_not(is_nan), "int32"), -1, keepdims=True)
        last = pb.maximum(pb.subtract(count, 1), 0)
        bad = pb.equal(count, 0)
    else:
        last = pb.full((*flat.shape[:-1], 1), flat.shape[-1] - 1, dtype="int32")
        bad = pb.any(is_nan, -1, keepdims=True)
    place = pb.multiply(q, pb.astype(last, flat.dtype))
    floor = pb.floor(place)
    low = pb.astype(floor, "int32")
    high = pb.astype(pb.ceil(place), "int32")
    first = pb.take_along_axis(ordered, pb.clip(low, 0, last), -1, mode="clip")
    second = pb.take_along_axis(ordered, pb.clip(high, 0, last), -1, mode="clip")
    found = _between(first, second, pb.subtract(place, floor), method)
    return pb.where(bad, float("nan"), found)


def _between(first: Any, second: Any, weight: Any, method: str) -> Any:
    if method == "lower":
        return first
    if method == "higher":
        return second
    if method == "nearest":
        return pb.where(pb.greater(weight, 0.5), second, first)
    if method == "midpoint":
        weight = pb.where(pb.greater(weight, 0), 0.5, weight)
    # An infinite neighbour of weight 0 must not make a NaN.
    step = pb.multiply(pb.subtract(second, first), weight)
    return pb.add(first, pb.where(pb.equal(weight, 0), 0.0, step))
