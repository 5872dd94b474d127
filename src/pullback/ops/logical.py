"""Comparison, logic, bits and classification, elementwise.

Imports ``arguments``, ``dtypes`` and ``primitives``. The part with boolean and integer results of
the standard's chapter "Element-wise functions". None of these has a gradient.
"""

from __future__ import annotations

from pullback.ops.arguments import ArrayLike, as_array, as_floating, as_operand
from pullback.ops.dtypes import astype, strong
from pullback.primitives import bitwise, operators
from pullback.primitives.cast import Bitcast
from pullback.primitives.comparison import IsFinite
from pullback.program.value import Value
from pullback.types import FLOAT8, FLOATING, DType, bool_, int8, int16, int32, int64

__all__ = [
    "bitwise_and",
    "bitwise_count",
    "bitwise_invert",
    "bitwise_left_shift",
    "bitwise_not",
    "bitwise_or",
    "bitwise_right_shift",
    "bitwise_xor",
    "equal",
    "greater",
    "greater_equal",
    "invert",
    "isfinite",
    "isinf",
    "isnan",
    "left_shift",
    "less",
    "less_equal",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "not_equal",
    "right_shift",
    "signbit",
]


def equal(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Whether ``x1 == x2``; nan equals nothing.

    Example:
        >>> pb.equal(pb.asarray([1, 2]), pb.asarray([1, 3]))
        Array([ True, False], bool)
    """
    return operators.equal(as_operand(x1), as_operand(x2))


def not_equal(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Whether ``x1 != x2``; nan differs from everything.

    Example:
        >>> pb.not_equal(pb.asarray([1, 2]), pb.asarray([1, 3]))
        Array([False,  True], bool)
    """
    return operators.not_equal(as_operand(x1), as_operand(x2))


def less(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Whether ``x1 < x2``.

    Example:
        >>> pb.less(pb.asarray([1, 2]), pb.asarray([1, 3]))
        Array([False,  True], bool)
    """
    return operators.less(as_operand(x1), as_operand(x2))


def less_equal(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Whether ``x1 <= x2``.

    Example:
        >>> pb.less_equal(pb.asarray([1, 2]), pb.asarray([1, 3]))
        Array([ True,  True], bool)
    """
    return operators.less_equal(as_operand(x1), as_operand(x2))


def greater(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Whether ``x1 > x2``.

    Example:
        >>> pb.greater(pb.asarray([1, 2]), pb.asarray([1, 3]))
        Array([False, False], bool)
    """
    return operators.greater(as_operand(x1), as_operand(x2))


def greater_equal(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Whether ``x1 >= x2``.

    Example:
        >>> pb.greater_equal(pb.asarray([1, 2]), pb.asarray([1, 3]))
        Array([ True, False], bool)
    """
    return operators.greater_equal(as_operand(x1), as_operand(x2))


def bitwise_and(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Bitwise and of integers, logical and of booleans.

    Example:
        >>> pb.bitwise_and(pb.asarray([5, 6]), pb.asarray([3, 3]))
        Array([1, 2], i32)
    """
    return operators.bitwise_and(as_operand(x1), as_operand(x2))


def bitwise_or(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Bitwise or of integers, logical or of booleans.

    Example:
        >>> pb.bitwise_or(pb.asarray([5, 6]), pb.asarray([3, 3]))
        Array([7, 7], i32)
    """
    return operators.bitwise_or(as_operand(x1), as_operand(x2))


def bitwise_xor(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Bitwise exclusive or of integers, logical exclusive or of booleans.

    Example:
        >>> pb.bitwise_xor(pb.asarray([5, 6]), pb.asarray([3, 3]))
        Array([6, 5], i32)
    """
    return operators.bitwise_xor(as_operand(x1), as_operand(x2))


def bitwise_left_shift(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Bits of ``x1`` moved up by ``x2`` places; 0 where that is the width or more.

    Example:
        >>> pb.bitwise_left_shift(pb.asarray([5, 6]), pb.asarray([1, 2]))
        Array([10, 24], i32)
    """
    return operators.bitwise_left_shift(as_operand(x1), as_operand(x2))


def bitwise_right_shift(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Bits of ``x1`` moved down by ``x2`` places; signed integers keep their sign.

    Example:
        >>> pb.bitwise_right_shift(pb.asarray([5, -6]), pb.asarray([1, 2]))
        Array([ 2, -2], i32)
    """
    return operators.bitwise_right_shift(as_operand(x1), as_operand(x2))


def logical_and(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Whether both are true; numbers are true if not zero.

    Example:
        >>> pb.logical_and(pb.asarray([True, True]), pb.asarray([True, False]))
        Array([ True, False], bool)
    """
    return operators.bitwise_and(*_logical(x1, x2))


def logical_or(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Whether one or both are true; numbers are true if not zero.

    Example:
        >>> pb.logical_or(pb.asarray([True, False]), pb.asarray([False, False]))
        Array([ True, False], bool)
    """
    return operators.bitwise_or(*_logical(x1, x2))


def logical_xor(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Whether exactly one is true; numbers are true if not zero.

    Example:
        >>> pb.logical_xor(pb.asarray([True, True]), pb.asarray([True, False]))
        Array([False,  True], bool)
    """
    return operators.bitwise_xor(*_logical(x1, x2))


def isfinite(x: ArrayLike, /) -> Value:
    """Whether ``x`` is neither infinite nor nan.

    Example:
        >>> pb.isfinite(pb.asarray([1.0, float('inf'), float('nan')]))
        Array([ True, False, False], bool)
    """
    value = as_array(x)
    if value.dtype in FLOATING:
        finite: Value = IsFinite()(value)
        return finite
    return operators.equal(value, value)


def isinf(x: ArrayLike, /) -> Value:
    """Whether ``x`` is infinite.

    Example:
        >>> pb.isinf(pb.asarray([1.0, float('inf'), float('nan')]))
        Array([False,  True, False], bool)
    """
    value = as_array(x)
    if value.dtype in FLOAT8:  # which have no absolute value, and one of them no infinity
        return operators.bitwise_xor(isfinite(value), operators.equal(value, value))
    if value.dtype in FLOATING:
        return operators.equal(operators.abs_(value), float("inf"))
    return operators.not_equal(value, value)


def isnan(x: ArrayLike, /) -> Value:
    """Whether ``x`` is not a number.

    Example:
        >>> pb.isnan(pb.asarray([1.0, float('inf'), float('nan')]))
        Array([False, False,  True], bool)
    """
    value = as_array(x)
    return operators.not_equal(value, value)


def logical_not(x: ArrayLike, /) -> Value:
    """Whether ``x`` is false; numbers are false if zero.

    Example:
        >>> pb.logical_not(pb.asarray([True, False]))
        Array([False,  True], bool)
    """
    return operators.bitwise_invert(astype(x, bool_))


def bitwise_invert(x: ArrayLike, /) -> Value:
    """All bits flipped; logical not of booleans.

    Example:
        >>> pb.bitwise_invert(pb.asarray([0, 5]))
        Array([-1, -6], i32)
    """
    return operators.bitwise_invert(as_array(x))


def bitwise_count(x: ArrayLike, /) -> Value:
    """Number of bits set in ``x``, in its two's complement form.

    Example:
        >>> pb.bitwise_count(pb.asarray([7, 8]))
        Array([3, 1], i32)
    """
    count: Value = bitwise.Popcount()(as_array(x))
    return count


def signbit(x: ArrayLike, /) -> Value:
    """Whether the sign bit of ``x`` is set: true for negative numbers, -0.0 and negative nan.

    Example:
        >>> pb.signbit(pb.asarray([1.0, -0.0]))
        Array([False,  True], bool)
    """
    value = as_floating(x)
    integers: dict[int, DType] = {1: int8, 2: int16, 4: int32, 8: int64}
    bits = Bitcast(integers[value.dtype.itemsize])(strong(value))
    return operators.less(bits, 0)


def _logical(x1: ArrayLike, x2: ArrayLike) -> tuple[Value, Value]:
    return astype(x1, bool_), astype(x2, bool_)


invert = bitwise_invert
bitwise_not = bitwise_invert
left_shift = bitwise_left_shift
right_shift = bitwise_right_shift
