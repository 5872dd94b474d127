"""Reductions that leave NaNs out; on integers and booleans they are the plain reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

import pullback as pb
from keras_pullback.src.ops import numpy_reductions as plain
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.numpy_common import axis_argument, floating, is_floating, to, widened


def _filled(x: Any, value: float) -> Any:
    """Return ``x`` with ``value`` in the place of NaNs."""
    x = real_tensor(x)
    return pb.where(pb.isnan(x), value, x) if is_floating(x) else x


def nansum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the sum of the elements that are not NaN."""
    return plain.sum(_filled(x, 0.0), axis, keepdims)


def nanprod(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the product of the elements that are not NaN."""
    return plain.prod(_filled(x, 1.0), axis, keepdims)


def nancumsum(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Return the running sum, where NaNs count as zero."""
    return plain.cumsum(_filled(x, 0.0), axis, dtype)


def nancumprod(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Return the running product, where NaNs count as one."""
    return plain.cumprod(_filled(x, 1.0), axis, dtype)


def nanmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the largest element that is not NaN, NaN where there is none."""
    return _among_numbers(plain.max, x, axis, keepdims, -np.inf, float("nan"))


def nanmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the smallest element that is not NaN, NaN where there is none."""
    return _among_numbers(plain.min, x, axis, keepdims, np.inf, float("nan"))


def _among_numbers(
    reduce: Any, x: Any, axis: Any, keepdims: bool, neutral: float, none: float
) -> Any:
    """Reduce with ``neutral`` in the place of NaNs; ``none`` where there is nothing else."""
    x = real_tensor(x)
    if not is_floating(x):
        return reduce(x, axis, keepdims)
    is_nan = pb.isnan(x)
    found = reduce(pb.where(is_nan, neutral, x), axis, keepdims)
    nothing = pb.all(is_nan, axis_argument(axis), keepdims=keepdims)
    return pb.where(nothing, none, found)


def nanargmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the index of the first largest element that is not NaN, -1 where there is none."""
    return _among_numbers(plain.argmax, x, axis, keepdims, -np.inf, -1)


def nanargmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the index of the first smallest element that is not NaN, -1 where there is none."""
    return _among_numbers(plain.argmin, x, axis, keepdims, np.inf, -1)


def nanmean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the mean of the elements that are not NaN."""
    x = floating(x)
    return to(_mean(widened(x), axis, keepdims), x.dtype)


def nanvar(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the variance of the elements that are not NaN."""
    x = floating(x)
    wide = widened(x)
    apart = pb.subtract(wide, _mean(wide, axis, True))
    return to(_mean(pb.square(apart), axis, keepdims), x.dtype)


def nanstd(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the standard deviation of the elements that are not NaN."""
    x = floating(x)
    return to(pb.sqrt(nanvar(widened(x), axis, keepdims)), x.dtype)


def _mean(x: Any, axis: Any, keepdims: bool) -> Any:
    axis = axis_argument(axis)
    counted = pb.astype(pb.logical_not(pb.isnan(x)), x.dtype)
    count = pb.sum(counted, axis, keepdims=keepdims)
    total = pb.sum(_filled(x, 0.0), axis, keepdims=keepdims)
    none = pb.equal(count, 0)
    return pb.where(none, float("nan"), pb.divide(total, pb.where(none, 1.0, count)))
