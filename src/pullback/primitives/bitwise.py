"""Logic and bit operations on booleans and integers: elementwise, without gradients.

Imports ``program`` and ``elementwise``. Start at ``Bitwise``; shifts treat the count as unsigned.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np

from pullback.primitives.elementwise import Binary, NDArray, Unary
from pullback.program.primitive import CHEAP, COMMUTATIVE, ELEMENTWISE, Trait, primitive
from pullback.types import BITS, INTEGER, SIGNED, DType


class Bitwise(Binary):
    """Base of the operations on two bit patterns: logical on bool, bitwise on integers."""

    accepts: ClassVar[frozenset[DType]] = BITS
    traits: ClassVar[Trait] = ELEMENTWISE | COMMUTATIVE | CHEAP
    differentiable: ClassVar[tuple[int, ...] | None] = ()


@final
@primitive
class And(Bitwise):
    """Logical or bitwise and. Shapes: x, y: T[d...] -> T[d...]. Cost: size. No gradient."""

    name = "and"
    ufunc = np.bitwise_and


@final
@primitive
class Or(Bitwise):
    """Logical or bitwise or. Shapes: x, y: T[d...] -> T[d...]. Cost: size. No gradient."""

    name = "or"
    ufunc = np.bitwise_or


@final
@primitive
class Xor(Bitwise):
    """Logical or bitwise exclusive or. Shapes: x, y: T[d...] -> T[d...]. No gradient."""

    name = "xor"
    ufunc = np.bitwise_xor


@final
@primitive
class Not(Unary):
    """Logical not of bool, bitwise not of integers.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) operations.   No gradient.
    """

    name = "not"
    accepts = BITS
    traits = ELEMENTWISE | CHEAP
    differentiable = ()
    ufunc = np.invert


def unsigned(x: NDArray) -> NDArray:
    """Return the bits of integers as unsigned integers of the same width, without a copy."""
    return x.view(np.dtype(f"u{x.dtype.itemsize}"))


def _count_bits(x: NDArray) -> Any:
    return np.bitwise_count(unsigned(x)).astype(x.dtype)


@final
@primitive
class Popcount(Unary):
    """Number of bits that are set in the two's complement pattern.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) operations.   No gradient.
    """

    name = "popcount"
    accepts = INTEGER
    traits = ELEMENTWISE | CHEAP
    differentiable = ()
    ufunc = _count_bits


class Shift(Binary):
    """Base of the shifts; the count is read as an unsigned number."""

    accepts: ClassVar[frozenset[DType]] = INTEGER
    traits: ClassVar[Trait] = ELEMENTWISE | CHEAP
    differentiable: ClassVar[tuple[int, ...] | None] = ()


def _count(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """Return which counts are below the width, and the counts with the others replaced by 0."""
    count = unsigned(y)
    inside = count < x.dtype.itemsize * 8
    return inside, np.where(inside, count, np.zeros_like(count))


def _shift_left(x: NDArray, y: NDArray) -> Any:
    inside, count = _count(x, y)
    shifted = np.left_shift(unsigned(x), count).astype(unsigned(x).dtype)
    return np.where(inside, shifted, np.zeros_like(shifted)).view(x.dtype)


def _shift_right_logical(x: NDArray, y: NDArray) -> Any:
    inside, count = _count(x, y)
    shifted = np.right_shift(unsigned(x), count).astype(unsigned(x).dtype)
    return np.where(inside, shifted, np.zeros_like(shifted)).view(x.dtype)


def _shift_right_arithmetic(x: NDArray, y: NDArray) -> Any:
    inside, count = _count(x, y)
    last = x.dtype.itemsize * 8 - 1
    return np.right_shift(x, np.where(inside, count, last).astype(x.dtype))


@final
@primitive
class ShiftLeft(Shift):
    """Shift towards the high bits; 0 where the count reaches the width.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size operations.   No gradient.
    """

    name = "shift_left"
    opcode = "shl"
    ufunc = _shift_left


@final
@primitive
class ShiftRightLogical(Shift):
    """Shift towards the low bits, zeros come in; 0 where the count reaches the width.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size operations.   No gradient.
    """

    name = "shift_right_logical"
    opcode = "shr"
    ufunc = _shift_right_logical


@final
@primitive
class ShiftRightArithmetic(Shift):
    """Shift of signed integers towards the low bits, copies of the sign come in.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size operations.   No gradient.
    """

    name = "shift_right_arithmetic"
    accepts = SIGNED
    opcode = "sar"
    ufunc = _shift_right_arithmetic
