"""Reductions over axes, and running sums and products, with Keras's dtype rules.

Means and deviations are ``floatx`` for integers; 16-bit floats are reduced in float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.backend import config

import pullback as pb
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.numpy_common import (
    axes_of,
    axis_argument,
    floating,
    to,
    widened,
    without_bool,
)


def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Say whether all elements are true."""
    return pb.all(real_tensor(x), axis_argument(axis), keepdims=keepdims)


def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Say whether any element is true."""
    return pb.any(real_tensor(x), axis_argument(axis), keepdims=keepdims)


def max(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """Return the largest element, ``initial`` at least."""
    x = real_tensor(x)
    if initial is None:
        return pb.max(x, axis_argument(axis), keepdims=keepdims)
    return _extremum(pb.max, pb.maximum, x, axis, keepdims, initial)


def min(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
    """Return the smallest element, ``initial`` at most."""
    x = real_tensor(x)
    if initial is None:
        return pb.min(x, axis_argument(axis), keepdims=keepdims)
    return _extremum(pb.min, pb.minimum, x, axis, keepdims, initial)


def _extremum(reduce: Any, choose: Any, x: Any, axis: Any, keepdims: bool, initial: Any) -> Any:
    axes = axes_of(axis, x.ndim)
    initial = pb.asarray(real_tensor(initial), dtype=x.dtype)
    if 0 in (x.shape[a] for a in axes):
        shape = [1 if a in axes else n for a, n in enumerate(x.shape) if keepdims or a not in axes]
        return pb.broadcast_to(initial, tuple(shape))
    return choose(reduce(x, axes, keepdims=keepdims), initial)


def amax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the largest element."""
    return max(x, axis, keepdims)


def amin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the smallest element."""
    return min(x, axis, keepdims)


def ptp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the range, the largest element less the smallest."""
    return pb.subtract(max(x, axis, keepdims), min(x, axis, keepdims))


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the sum of the elements."""
    return pb.sum(real_tensor(x), axis_argument(axis), keepdims=keepdims)


def prod(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """Return the product of the elements."""
    return pb.prod(real_tensor(x), axis_argument(axis), keepdims=keepdims, dtype=dtype)


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the mean of the elements."""
    return pb.mean(floating(x), axis_argument(axis), keepdims=keepdims)


def var(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the variance of the elements."""
    x = floating(x)
    wide = widened(x)
    return to(pb.var(wide, axis_argument(axis), keepdims=keepdims), x.dtype)


def std(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the standard deviation of the elements."""
    x = floating(x)
    wide = widened(x)
    return to(pb.std(wide, axis_argument(axis), keepdims=keepdims), x.dtype)


def average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    """Return the mean of the elements, weighted by ``weights``."""
    x = real_tensor(x)
    if weights is None:
        return mean(x, axis)
    weights = real_tensor(weights)
    dtype = pb.result_type(x, weights)
    dtype = dtype if pb.isdtype(dtype, "real floating") else config.floatx()
    return pb.average(to(x, dtype), axis_argument(axis), weights=to(weights, dtype))


def count_nonzero(x: Any, axis: Any = None) -> Any:
    """Return how many elements are not zero, as int32."""
    x = real_tensor(x)
    truth = x if x.dtype == np.bool_ else pb.not_equal(x, 0)
    return pb.sum(pb.astype(truth, "int32"), axis_argument(axis))


def cumsum(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Return the running sum along ``axis``, of all elements where it is ``None``."""
    return _running(pb.cumsum, x, axis, dtype)


def cumprod(x: Any, axis: Any = None, dtype: Any = None) -> Any:
    """Return the running product along ``axis``, of all elements where it is ``None``."""
    return _running(pb.cumprod, x, axis, dtype)


def _running(run: Any, x: Any, axis: Any, dtype: Any) -> Any:
    x = real_tensor(x)
    # A running sum keeps the dtype, unlike a sum.
    x = to(x, dtype) if dtype is not None else without_bool(x)
    if axis is None:
        x, axis = pb.reshape(x, (-1,)), 0
    return run(x, axis, dtype=x.dtype)


def argmax(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the index of the first largest element."""
    return _index_of(pb.argmax, x, axis, keepdims)


def argmin(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the index of the first smallest element."""
    return _index_of(pb.argmin, x, axis, keepdims)


def _index_of(find: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    x = without_bool(real_tensor(x))
    if x.ndim == 0:
        return pb.zeros((), dtype="int32")
    if axis is None and keepdims:
        return pb.reshape(find(pb.reshape(x, (-1,)), 0), (1,) * x.ndim)
    return find(x, axis, keepdims=keepdims)
