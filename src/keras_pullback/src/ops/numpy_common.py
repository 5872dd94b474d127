"""What the families of ``ops/numpy.py`` share: operands, dtypes and axes.

Python numbers stay Python numbers beside a tensor, so that they promote weakly; ``floatx`` is
what integers and booleans become where a result is fractional.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.backend import config

import pullback as pb
from keras_pullback.src.ops.core import real_tensor

_INT32 = np.iinfo(np.int32)
_UINT32 = np.dtype(np.uint32)


def is_floating(x: Any) -> bool:
    """Say whether the tensor ``x`` has a floating dtype."""
    return bool(pb.isdtype(x.dtype, "real floating"))


def to(x: Any, dtype: Any) -> Any:
    """Return the tensor ``x`` in ``dtype``, itself where it has that dtype."""
    return pb.astype(x, dtype, copy=False)


def floating(x: Any) -> Any:
    """Convert ``x`` to a floating tensor: integers and booleans become ``floatx``."""
    x = real_tensor(x)
    return x if is_floating(x) else to(x, config.floatx())


def widened(x: Any) -> Any:
    """Return the floating tensor ``x``, one of 16 bits in float32."""
    return to(x, "float32") if x.dtype.itemsize == 2 else x


def without_bool(x: Any, dtype: str = "int32") -> Any:
    """Return the tensor ``x``, a boolean one in ``dtype``."""
    return to(x, dtype) if x.dtype == np.bool_ else x


def is_weak(x: Any) -> bool:
    """Say whether ``x`` is a Python number that promotes weakly."""
    if isinstance(x, bool) or type(x) is float:
        return True
    return type(x) is int and _INT32.min <= x <= _INT32.max


def operand(x: Any) -> Any:
    """Convert ``x`` to a tensor, leaving a Python number as it is."""
    return x if is_weak(x) else real_tensor(x)


def operands(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Convert two operands; a Python number stays one when the other is a tensor."""
    if is_weak(x1) or is_weak(x2):
        if is_weak(x1) and is_weak(x2):
            return real_tensor(x1), real_tensor(x2)
        return operand(x1), operand(x2)
    x1, x2 = real_tensor(x1), real_tensor(x2)
    if x1.dtype != x2.dtype and _UINT32 in (x1.dtype, x2.dtype):
        dtype = common_dtype(x1, x2)
        return to(x1, dtype), to(x2, dtype)
    return x1, x2


def is_bool(x: Any) -> bool:
    """Say whether ``x`` is a boolean tensor or Python boolean."""
    return isinstance(x, bool) or (not is_weak(x) and bool(x.dtype == np.bool_))


def arithmetic_operands(x1: Any, x2: Any, both_bool: str = "int32") -> tuple[Any, Any]:
    """Convert two operands of arithmetic, where two booleans count as ``both_bool``."""
    x1, x2 = operands(x1, x2)
    if is_bool(x1) and is_bool(x2):
        return pb.asarray(x1, dtype=both_bool), pb.asarray(x2, dtype=both_bool)
    return x1, x2


def common_dtype(*xs: Any) -> Any:
    """Return the dtype that operands promote to, of 64 bits only where one of them is.

    Keras promotes ``uint32`` beside a signed integer to ``int32``, the engine to ``int64``.
    """
    dtype = pb.result_type(*xs)
    if dtype == np.int64 and not any(_is_wide(x) for x in xs):
        return np.dtype(np.int32)
    return dtype


def _is_wide(x: Any) -> bool:
    return not is_weak(x) and x.dtype.itemsize == 8


def unified(xs: Any) -> list[Any]:
    """Convert several to tensors of their common dtype."""
    tensors = [real_tensor(x) for x in xs]
    if len({x.dtype for x in tensors}) < 2:
        return tensors
    dtype = common_dtype(*tensors)
    return [to(x, dtype) for x in tensors]


def floating_operands(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Convert two operands to their common floating dtype, ``floatx`` for integers."""
    x1, x2 = operands(x1, x2)
    dtype = pb.result_type(x1, x2)
    if not pb.isdtype(dtype, "real floating"):
        dtype = np.dtype(config.floatx()) if config.floatx() != "bfloat16" else pb.bfloat16
    return pb.asarray(x1, dtype=dtype), pb.asarray(x2, dtype=dtype)


def axes_of(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return ``axis`` (``None``, one or several) as a tuple of non-negative axes."""
    if axis is None:
        return tuple(range(ndim))
    several = axis if isinstance(axis, (tuple, list)) else (axis,)
    found = []
    for one in several:
        if not -ndim <= one < ndim:
            raise ValueError(f"axis {one} is out of bounds for a tensor of {ndim} axes")
        found.append(int(one) % ndim)
    return tuple(found)


def axis_argument(axis: Any) -> Any:
    """Return ``axis`` with a list of axes as a tuple."""
    return tuple(int(a) for a in axis) if isinstance(axis, (tuple, list)) else axis
