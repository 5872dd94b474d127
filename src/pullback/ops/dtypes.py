"""Data type functions of the Array API standard, and broadcasting.

Imports ``arguments`` and ``primitives``. The promotion table itself is in ``types``.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.ops.arguments import ArrayLike, as_array, as_shape, check_device
from pullback.primitives import operators
from pullback.primitives.cast import Bitcast, Convert, convert
from pullback.program.value import Array, Value, is_array_like
from pullback.records import dataclass
from pullback.types import (
    BOOLEAN,
    FLOAT8,
    FLOATING,
    INTEGER,
    NUMERIC,
    SIGNED,
    UNSIGNED,
    DType,
    as_dtype,
    promote_types,
)

__all__ = [
    "astype",
    "bitcast",
    "broadcast_arrays",
    "broadcast_shapes",
    "broadcast_to",
    "can_cast",
    "finfo",
    "iinfo",
    "isdtype",
    "promote_types",
    "result_type",
]

#: The names of kinds of dtypes in ``isdtype`` and in the inspection chapter.
KINDS: dict[str, frozenset[DType]] = {
    "bool": BOOLEAN,
    "signed integer": SIGNED,
    "unsigned integer": UNSIGNED,
    "integral": INTEGER,
    "real floating": FLOATING,
    "complex floating": frozenset(),
    "numeric": NUMERIC,
}


def astype(x: ArrayLike, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Value:
    """Convert the elements of ``x`` to ``dtype``.

    Floats become integers by truncation; what does not fit saturates and nan becomes 0.

    Args:
        x: Array.
        dtype: The new dtype, or its name.
        copy: Accepted for the standard; arrays are never changed, so none is needed.
        device: None or ``"cpu"``.

    Raises:
        DTypeError: ``dtype`` is not supported.

    Differentiation: the cotangent is converted back; only between floating dtypes.

    Example:
        >>> pb.astype(pb.asarray([1.7, -1.7]), pb.int32)
        Array([ 1, -1], i32)
    """
    check_device(device)
    target = as_dtype(dtype)
    if operators.is_python_scalar(x):  # a constant, not an equation
        return Array(
            convert(np.asarray(x), target) if isinstance(x, float) else np.asarray(x, target)
        )
    value = as_array(x)
    return strong(value) if value.dtype == target else Convert(target)(value)


def strong(x: Value) -> Value:
    """Return ``x`` with a dtype that counts in promotion, also where it came from a number."""
    return Convert(x.dtype)(x) if x.weak else x


def bitcast(x: ArrayLike, dtype: Any, /) -> Value:
    """Read the bits of ``x`` as a dtype of the same width. No gradient.

    Raises:
        DTypeError: the widths differ, or one of the dtypes is bool.

    Example:
        >>> pb.bitcast(pb.asarray(1.0), pb.int32)
        Array(1065353216, i32)
    """
    result: Value = Bitcast(as_dtype(dtype))(as_array(x))
    return result


def broadcast_shapes(*shapes: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that arrays of ``shapes`` broadcast to.

    Raises:
        ShapeError: two lengths differ and neither is 1.

    Example:
        >>> pb.broadcast_shapes((3, 1), (4,))
        (3, 4)
    """
    return operators.broadcast_shapes(*(as_shape("broadcast_shapes", s) for s in shapes))


def broadcast_to(x: ArrayLike, /, shape: int | tuple[int, ...]) -> Value:
    """Repeat ``x`` along axes of length 1 and new leading axes.

    Args:
        x: Array.
        shape: Its shape afterwards, aligned at the last axis.

    Raises:
        ShapeError: ``x`` does not broadcast to ``shape``.

    Differentiation: the cotangent is summed over the repeated axes.
    Cost: none in a fused kernel.

    Example:
        >>> pb.broadcast_to(pb.asarray([1, 2]), (2, 2))
        Array([[1, 2],
               [1, 2]], i32)
    """
    value, target = as_array(x), as_shape("broadcast_to", shape)
    ndim = len(target) - value.ndim
    fits = ndim >= 0 and all(
        n in (1, m) for n, m in zip(value.shape, target[max(ndim, 0) :], strict=True)
    )
    if not fits:
        raise ShapeError(
            f"broadcast_to of {value.type} to {target}: expected equal lengths, or 1, aligned at "
            "the last axis; insert axes with `expand_dims`"
        )
    return operators.broadcast_to(value, target)


def broadcast_arrays(*arrays: ArrayLike) -> list[Value]:
    """Repeat ``arrays`` to the shape that all of them broadcast to.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> [x.shape for x in pb.broadcast_arrays(pb.zeros((3, 1)), pb.zeros(4))]
        [(3, 4), (3, 4)]
    """
    values = [as_array(x) for x in arrays]
    shape = operators.broadcast_shapes(*(x.shape for x in values))
    return [operators.broadcast_to(x, shape) for x in values]


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether promotion turns ``from_``, a dtype or an array, into the dtype ``to``.

    No other floating dtype is promoted to or from the 8-bit floats.

    Example:
        >>> pb.can_cast(pb.int8, pb.int32), pb.can_cast(pb.int32, pb.int8)
        (True, False)
    """
    source = from_.dtype if is_array_like(from_) and hasattr(from_, "dtype") else from_
    given, target = as_dtype(source), as_dtype(to)
    if given != target and given in FLOATING and {given, target} & FLOAT8:
        return False
    return promote_types(given, target) == target


@dataclass(frozen=True, eq=False)
class FloatInfo:
    """Limits of a floating dtype.

    Attributes:
        bits: Width in bits.
        eps: Distance from 1 to the next greater number.
        max: Largest finite number.
        min: Least finite number.
        smallest_normal: Smallest positive number of full precision.
        dtype: The dtype.
    """

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


@dataclass(frozen=True, eq=False)
class IntegerInfo:
    """Limits of an integer dtype.

    Attributes:
        bits: Width in bits.
        max: Largest number.
        min: Least number.
        dtype: The dtype.
    """

    bits: int
    max: int
    min: int
    dtype: DType


def _dtype_of(type: Any) -> DType:
    return as_dtype(type.dtype if isinstance(type, (Value, np.ndarray, np.generic)) else type)


def finfo(type: Any, /) -> FloatInfo:
    """Return the limits of a floating dtype, or of an array's dtype.

    Raises:
        DTypeError: it is not floating.

    Example:
        >>> pb.finfo(pb.float32).bits
        32
    """
    dtype = _dtype_of(type)
    if dtype not in FLOATING:
        raise DTypeError(f"finfo takes a floating dtype, not {dtype}; for integers use `iinfo`")
    info: Any = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    eps, high, low = float(info.eps), float(info.max), float(info.min)
    return FloatInfo(info.bits, eps, high, low, float(info.smallest_normal), dtype)


def iinfo(type: Any, /) -> IntegerInfo:
    """Return the limits of an integer dtype, or of an array's dtype.

    Raises:
        DTypeError: it is not an integer dtype.

    Example:
        >>> pb.iinfo(pb.int8).max
        127
    """
    dtype = _dtype_of(type)
    if dtype not in INTEGER:
        raise DTypeError(f"iinfo takes an integer dtype, not {dtype}; for floats use `finfo`")
    info = np.iinfo(dtype)
    return IntegerInfo(info.bits, int(info.max), int(info.min), dtype)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether ``dtype`` is of a kind.

    Args:
        dtype: A dtype.
        kind: A dtype, one of ``"bool"``, ``"signed integer"``, ``"unsigned integer"``,
            ``"integral"``, ``"real floating"``, ``"complex floating"``, ``"numeric"``, or a tuple
            of these, of which one must hold.

    Raises:
        ValueError: ``kind`` is another string.

    Example:
        >>> pb.isdtype(pb.float32, ("integral", "real floating"))
        True
    """
    found = as_dtype(dtype)
    if isinstance(kind, tuple):
        return any(isdtype(found, k) for k in kind)
    if isinstance(kind, str):
        if kind not in KINDS:
            raise ValueError(f"isdtype: no kind {kind!r}; expected one of {', '.join(KINDS)}")
        return found in KINDS[kind]
    return found == as_dtype(kind)


def result_type(*arrays_and_dtypes: Any) -> DType:
    """Return the dtype that an operation on the arguments computes in.

    Args:
        arrays_and_dtypes: Arrays, dtypes and Python numbers; numbers take the dtype of the others
            unless their kind is wider.

    Raises:
        ValueError: no argument is given.

    Example:
        >>> pb.result_type(pb.int8, pb.zeros(2), 1.5).name
        'float32'
    """
    if not arrays_and_dtypes:
        raise ValueError("result_type takes at least one array or dtype")
    return operators.result_dtype(
        *(x if is_array_like(x) else Array(np.zeros((), as_dtype(x))) for x in arrays_and_dtypes)
    )
