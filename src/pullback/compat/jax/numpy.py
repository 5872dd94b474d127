"""``jax.numpy``: the functions of ``pullback``, and the names that only JAX has.

Imports ``ops``. Dtypes can be called, as in ``jnp.float32(0.5)``, and data of 64 bits becomes 32
bits wide where no dtype is asked for, as in JAX without ``jax_enable_x64``. Start at ``asarray``.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from pullback import ops
from pullback.compat.jax.narrow import narrow
from pullback.ops.arguments import ArrayLike, Axis, as_array
from pullback.program.value import Array, Value

ndarray = Value
bool_ = np.bool_
int8, int16, int32, int64 = np.int8, np.int16, np.int32, np.int64
uint8, uint16, uint32, uint64 = np.uint8, np.uint16, np.uint32, np.uint64
float16, float32, float64 = np.float16, np.float32, np.float64
bfloat16 = ml_dtypes.bfloat16
issubdtype = np.issubdtype

around = ops.round
degrees = ops.rad2deg
fabs = ops.abs
radians = ops.deg2rad


def asarray(obj: Any, dtype: Any = None, **kwargs: Any) -> Value:
    """Return ``obj`` as an array; without ``dtype``, data of 64 bits becomes 32 bits wide."""
    value = ops.asarray(obj, dtype=dtype, **kwargs)
    return narrow(value) if dtype is None and isinstance(value, Array) else value


def array(obj: Any, dtype: Any = None, copy: bool = True, **kwargs: Any) -> Value:
    """Return a copy of ``obj`` as an array; see ``asarray``."""
    return asarray(obj, dtype, copy=True if copy else None, **kwargs)


def copy(a: ArrayLike) -> Value:
    """Return ``a``."""
    return as_array(a)


def append(arr: ArrayLike, values: ArrayLike, axis: int | None = None) -> Value:
    """Return ``values`` joined to the end of ``arr``, both flattened without an ``axis``."""
    return ops.concat([as_array(arr), as_array(values)], axis=axis)


def fmax(x1: ArrayLike, x2: ArrayLike) -> Value:
    """Return the greater number, and the other one where one is nan."""
    return ops.where(ops.isnan(x1), x2, ops.where(ops.isnan(x2), x1, ops.maximum(x1, x2)))


def fmin(x1: ArrayLike, x2: ArrayLike) -> Value:
    """Return the lesser number, and the other one where one is nan."""
    return ops.where(ops.isnan(x1), x2, ops.where(ops.isnan(x2), x1, ops.minimum(x1, x2)))


def isposinf(x: ArrayLike) -> Value:
    """Return where ``x`` is infinity."""
    return ops.equal(x, np.inf)


def isneginf(x: ArrayLike) -> Value:
    """Return where ``x`` is minus infinity."""
    return ops.equal(x, -np.inf)


def nansum(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return sums of what is not nan."""
    return ops.sum(ops.where(ops.isnan(a), 0, a), axis=axis, keepdims=keepdims)


def nanmean(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return means of what is not nan; nan where nothing is left."""
    counts = ops.sum(ops.logical_not(ops.isnan(a)), axis=axis, keepdims=keepdims)
    return ops.divide(nansum(a, axis, keepdims), counts)


def nanmax(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the greatest that is not nan; nan where nothing is left."""
    return _extreme(ops.max, -np.inf, a, axis, keepdims)


def nanmin(a: ArrayLike, axis: Axis = None, keepdims: bool = False) -> Value:
    """Return the least that is not nan; nan where nothing is left."""
    return _extreme(ops.min, np.inf, a, axis, keepdims)


def _extreme(reduce: Any, neutral: float, a: ArrayLike, axis: Axis, keepdims: bool) -> Value:
    absent = ops.isnan(a)
    found = reduce(ops.where(absent, neutral, a), axis=axis, keepdims=keepdims)
    return ops.where(ops.all(absent, axis=axis, keepdims=keepdims), np.nan, found)


def select(condlist: Any, choicelist: Any, default: ArrayLike = 0) -> Value:
    """Return, for each element, the choice of the first condition that holds, else ``default``."""
    found = as_array(default)
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        found = ops.where(condition, choice, found)
    return found


def __getattr__(name: str) -> Any:
    if name in ops.__all__:
        return globals().setdefault(name, getattr(ops, name))
    raise AttributeError(
        f"jax.numpy.{name} is not there: compose it of the functions of pullback, or call NumPy "
        "by `jax.pure_callback`"
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *ops.__all__})
