"""Elementwise families (``Elementwise``, ``Unary``, ``Binary``), arithmetic, select and clip.

May be imported by every family of ``primitives``; imports only ``program``. Start at
``Elementwise``: operands of one dtype, of one shape or of rank 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, final

import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.program.loops import Index, LoopBuilder, Operand, Scalar
from pullback.program.primitive import (
    CHEAP,
    COMMUTATIVE,
    ELEMENTWISE,
    LINEAR,
    Cotangents,
    Primitive,
    Trait,
    primitive,
)
from pullback.program.value import Array, Value
from pullback.types import (
    ANY,
    COMPUTED,
    FLOATING,
    NUMERIC,
    SHORT_NAMES,
    SIGNED,
    ArrayType,
    DType,
    bfloat16,
    bool_,
    float16,
    float32,
)

NDArray = np.ndarray[Any, Any]


def compute(function: Callable[..., Any], *arrays: NDArray) -> Any:
    """Apply a NumPy function; 16-bit floats are computed in float32 and rounded once."""
    dtype = arrays[0].dtype
    if dtype in (float16, bfloat16):
        return np.asarray(function(*(x.astype(float32) for x in arrays))).astype(dtype)
    return function(*arrays)


def elementwise_shape(name: str, *types: ArrayType) -> tuple[int, ...]:
    """Return the one shape of the operands that have axes, or ``()``.

    Raises:
        ShapeError: two operands have axes and different shapes.
    """
    shape: tuple[int, ...] = ()
    for x in types:
        if x.shape and shape and x.shape != shape:
            raise ShapeError(
                f"{name} takes operands of one shape (or of rank 0), got {list_types(types)}; "
                "broadcast them first, as the operators do"
            )
        shape = shape or x.shape
    return shape


def elementwise_dtype(name: str, accepts: frozenset[DType], *types: ArrayType) -> DType:
    """Return the one dtype of the operands.

    Raises:
        DTypeError: dtypes differ, or are not among those that the primitive accepts.
    """
    dtype = types[0].dtype
    if any(x.dtype != dtype for x in types):
        raise DTypeError(
            f"{name} takes operands of one dtype, got {list_types(types)}; "
            "convert them first with x.astype(...), or use the operators, which promote"
        )
    if dtype not in accepts:
        expected = ", ".join(n for d, n in SHORT_NAMES.items() if d in accepts)
        raise DTypeError(
            f"{name} takes {expected}, got {list_types(types)}; convert with x.astype(...)"
        )
    return dtype


def list_types(types: tuple[ArrayType, ...]) -> str:
    """Return types as text for an error message: ``f32[3] and i32[]``."""
    return " and ".join(map(str, types))


def refuse_count(name: str, expected: int, types: tuple[ArrayType, ...]) -> None:
    """Raise ``ShapeError`` unless there are ``expected`` operands."""
    if len(types) != expected:
        raise ShapeError(f"{name} takes {expected} operands, got {len(types)}")


def as_zero(x: Value) -> Value:
    """Return the rank-0 zero of ``x``'s dtype, for ``Select``."""
    return Array(np.zeros((), x.dtype))


class Elementwise(Primitive):
    """Base: element ``i`` of the output depends on elements ``i`` of the operands alone.

    A member declares ``accepts``, ``ufunc`` (NumPy) and ``opcode`` (``SCALAR_OPS``), or overrides
    ``evaluate`` and ``scalar``. Operands have one dtype, and one shape or rank 0.
    """

    arity: ClassVar[int]
    accepts: ClassVar[frozenset[DType]] = COMPUTED
    ufunc: ClassVar[Callable[..., Any]]
    opcode: ClassVar[str] = ""
    traits: ClassVar[Trait] = ELEMENTWISE

    def infer(self, *types: ArrayType) -> ArrayType:
        """Return the operands' common shape and dtype."""
        refuse_count(self.name, self.arity, types)
        dtype = elementwise_dtype(self.name, self.accepts, *types)
        return ArrayType(elementwise_shape(self.name, *types), dtype)

    def evaluate(self, *arrays: NDArray) -> Any:
        """Apply the family member's NumPy function."""
        return compute(type(self).ufunc, *arrays)

    def scalar(self, b: LoopBuilder, *elements: Scalar) -> Scalar:
        """Return one element of the output from one element of each operand."""
        return b.op(self.opcode or self.name, *elements)

    def lower(self, b: LoopBuilder, index: Index, *operands: Operand) -> Scalar:
        """Read one element of each operand and apply ``scalar``."""
        return self.scalar(b, *(x.at(index if x.type.shape else ()) for x in operands))


class Unary(Elementwise):
    """Base of the elementwise primitives of one operand."""

    arity: ClassVar[int] = 1


class Binary(Elementwise):
    """Base of the elementwise primitives of two operands."""

    arity: ClassVar[int] = 2


@final
@primitive
class Neg(Unary):
    """Negation. Unsigned integers wrap.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) negations.
    Residuals: none.   Non-differentiable points: none.   Reference: d(-x) = -dx.
    """

    name = "neg"
    accepts = NUMERIC
    traits = ELEMENTWISE | LINEAR | CHEAP
    ufunc = np.negative

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return -ct."""
        return (-ct,)


@final
@primitive
class Abs(Unary):
    """Absolute value. The least signed integer stays as it is.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) operations.
    Residuals: x.   Non-differentiable points: 0, where the derivative is taken as 0.
    Reference: d|x| = sign(x) dx.
    """

    name = "abs"
    accepts = NUMERIC
    traits = ELEMENTWISE | CHEAP
    ufunc = np.absolute

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct sign(x)."""
        return (ct * Sign()(x),)


def _sign(x: NDArray) -> Any:
    return np.where(x == 0, x, np.sign(x))  # np.sign loses the sign of -0.0


@final
@primitive
class Sign(Unary):
    """Sign: -1, 0 or 1. ``-0.0`` and nan stay what they are.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) operations.
    No gradient: the function is constant but at 0.
    """

    name = "sign"
    accepts = NUMERIC
    traits = ELEMENTWISE | CHEAP
    differentiable = ()
    ufunc = _sign


@final
@primitive
class Floor(Unary):
    """Largest integer that is not greater than x.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) operations.
    No gradient: the function is constant but at the integers.
    """

    name = "floor"
    traits = ELEMENTWISE | CHEAP
    differentiable = ()
    ufunc = np.floor


@final
@primitive
class Ceil(Unary):
    """Smallest integer that is not less than x.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) operations.
    No gradient: the function is constant but at the integers.
    """

    name = "ceil"
    traits = ELEMENTWISE | CHEAP
    differentiable = ()
    ufunc = np.ceil


@final
@primitive
class Round(Unary):
    """Nearest integer, ties to the even one (IEEE 754 roundTiesToEven).

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) operations.
    No gradient: the function is constant but at the ties.
    """

    name = "round"
    traits = ELEMENTWISE | CHEAP
    differentiable = ()
    ufunc = np.rint


@final
@primitive
class Trunc(Unary):
    """Integer part: towards zero.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) operations.
    No gradient: the function is constant but at the integers.
    """

    name = "trunc"
    traits = ELEMENTWISE | CHEAP
    differentiable = ()
    ufunc = np.trunc


@final
@primitive
class Add(Binary):
    """Sum. Integers wrap.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size additions.
    Residuals: none.   Non-differentiable points: none.   Reference: d(x + y) = dx + dy.
    """

    name = "add"
    accepts = NUMERIC
    traits = ELEMENTWISE | LINEAR | COMMUTATIVE | CHEAP
    ufunc = np.add

    def vjp(self, ct: Value, out: Value, x: Value, y: Value) -> Cotangents:
        """Pass ct to both."""
        return (ct, ct)


@final
@primitive
class Sub(Binary):
    """Difference. Integers wrap.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size subtractions.
    Residuals: none.   Non-differentiable points: none.   Reference: d(x - y) = dx - dy.
    """

    name = "sub"
    accepts = NUMERIC
    traits = ELEMENTWISE | LINEAR | CHEAP
    ufunc = np.subtract

    def vjp(self, ct: Value, out: Value, x: Value, y: Value) -> Cotangents:
        """Return ct and -ct."""
        return (ct, -ct)


@final
@primitive
class Mul(Binary):
    """Product. Integers wrap.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size multiplications.
    Residuals: x, y.   Non-differentiable points: none.   Reference: d(xy) = y dx + x dy.
    """

    name = "mul"
    accepts = NUMERIC
    traits = ELEMENTWISE | COMMUTATIVE | CHEAP
    ufunc = np.multiply

    def vjp(self, ct: Value, out: Value, x: Value, y: Value) -> Cotangents:
        """Return ct times the other operand."""
        return (ct * y, ct * x)


def _divide(x: NDArray, y: NDArray) -> Any:
    if x.dtype in FLOATING:
        return np.divide(x, y)
    divisor = np.where(y == 0, np.ones_like(y), y)
    quotient = np.floor_divide(x, divisor)
    if x.dtype in SIGNED:  # from rounding down to rounding towards zero
        inexact = quotient * divisor != x
        quotient = quotient + (inexact & ((x < 0) != (divisor < 0)))
    return np.where(y == 0, np.zeros_like(quotient), quotient).astype(x.dtype)


@final
@primitive
class Div(Binary):
    """Quotient. Integers: rounded towards zero, ``x / 0`` is 0, the least integer / -1 wraps.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size divisions.
    Residuals: its output, y.   Non-differentiable points: y = 0 (infinite or nan).
    Reference: d(x/y) = dx/y - (x/y) dy/y.
    """

    name = "div"
    accepts = NUMERIC
    ufunc = _divide

    def vjp(self, ct: Value, out: Value, x: Value, y: Value) -> Cotangents:
        """ct/y and -(ct/y) out."""
        ct_x = ct / y
        return (ct_x, -(ct_x * out))


@final
@primitive
class Rem(Binary):
    """Remainder of division rounded towards zero; the sign is that of x. Integers: x rem 0 is 0.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size divisions.
    Residuals: x, y.   Non-differentiable points: where x/y is an integer; there as to its right.
    Reference: rem(x, y) = x - trunc(x/y) y, with trunc(x/y) constant almost everywhere.
    """

    name = "rem"
    accepts = NUMERIC
    ufunc = np.fmod

    def vjp(self, ct: Value, out: Value, x: Value, y: Value) -> Cotangents:
        """Return ct and -ct trunc(x/y)."""
        return (ct, -(ct * Trunc()(x / y)))


@final
@primitive
class Max(Binary):
    """The greater of two numbers; nan if either is nan.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size operations.
    Residuals: x, y.   Non-differentiable points: x = y, where each operand gets one half.
    Reference: d max(x, y) = dx where x > y, dy where y > x.
    """

    name = "max"
    accepts = NUMERIC
    traits = ELEMENTWISE | CHEAP
    ufunc = np.maximum

    def vjp(self, ct: Value, out: Value, x: Value, y: Value) -> Cotangents:
        """Pass ct to the greater operand, half of it to each of two equal ones."""
        return _cotangents_of_extremum(ct, x > y, y > x, x == y)


@final
@primitive
class Min(Binary):
    """The lesser of two numbers; nan if either is nan.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size operations.
    Residuals: x, y.   Non-differentiable points: x = y, where each operand gets one half.
    Reference: d min(x, y) = dx where x < y, dy where y < x.
    """

    name = "min"
    accepts = NUMERIC
    traits = ELEMENTWISE | CHEAP
    ufunc = np.minimum

    def vjp(self, ct: Value, out: Value, x: Value, y: Value) -> Cotangents:
        """Pass ct to the lesser operand, half of it to each of two equal ones."""
        return _cotangents_of_extremum(ct, x < y, y < x, x == y)


def _cotangents_of_extremum(ct: Value, x_wins: Value, y_wins: Value, tie: Value) -> Cotangents:
    shared = Select()(tie, ct * 0.5, as_zero(ct))
    return (Select()(x_wins, ct, shared), Select()(y_wins, ct, shared))


@final
@primitive
class Nextafter(Binary):
    """The next representable number from x towards y.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size operations on the bits.
    No gradient.
    """

    name = "nextafter"
    differentiable = ()
    ufunc = np.nextafter

    def evaluate(self, *arrays: NDArray) -> Any:
        """In the operands' own dtype: the neighbours depend on it."""
        return np.nextafter(*arrays)


@final
@primitive
class Copysign(Binary):
    """The magnitude of x with the sign of y.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size operations on the bits.
    Residuals: x, y.   Non-differentiable points: x = 0, where the sign bit of x decides.
    Reference: copysign(x, y) = s x with s = 1 where the signs agree, else -1; constant in y.
    """

    name = "copysign"
    traits = ELEMENTWISE | CHEAP
    differentiable = (0,)
    ufunc = np.copysign

    def vjp(self, ct: Value, out: Value, x: Value, y: Value) -> Cotangents:
        """Return ct, negated where the signs differ."""
        one = Array(np.ones((), x.dtype))
        return (ct * (Copysign()(one, x) * Copysign()(one, y)), None)


@final
@primitive
class Select(Elementwise):
    """``on_true`` where the boolean ``predicate`` holds, else ``on_false``.

    Shapes: predicate: bool[d...], on_true, on_false: T[d...] -> T[d...]; any of them may have
        rank 0.        Cost: size selections; both sides are computed.
    Residuals: predicate.   Non-differentiable points: none for the values; the predicate has no
        gradient.
    Reference: linear in the two values.
    """

    name = "select"
    arity = 3
    accepts = ANY
    traits = ELEMENTWISE | LINEAR | CHEAP
    differentiable = (1, 2)

    def infer(self, *types: ArrayType) -> ArrayType:
        """Return the values' dtype and the common shape."""
        refuse_count(self.name, self.arity, types)
        if types[0].dtype != bool_:
            raise DTypeError(
                f"select takes a bool predicate, got {types[0]}; compare it first, as in `x != 0`"
            )
        dtype = elementwise_dtype(self.name, self.accepts, *types[1:])
        return ArrayType(elementwise_shape(self.name, *types), dtype)

    def evaluate(self, *arrays: NDArray) -> Any:
        """NumPy's ``where``."""
        return np.where(*arrays)

    def vjp(
        self, ct: Value, out: Value, predicate: Value, on_true: Value, on_false: Value
    ) -> Cotangents:
        """Pass ct to the chosen side, zero to the other."""
        zero = as_zero(ct)
        return (None, Select()(predicate, ct, zero), Select()(predicate, zero, ct))

    def scalar(self, b: LoopBuilder, *elements: Scalar) -> Scalar:
        """``select``."""
        return b.select(*elements)


def _clip(x: NDArray, low: NDArray, high: NDArray) -> Any:
    return np.minimum(np.maximum(x, low), high)


@final
@primitive
class Clip(Elementwise):
    """``min(max(x, low), high)``; nan stays nan. Where ``low > high`` the result is ``high``.

    Shapes: x, low, high: T[d...] -> T[d...]; any of them may have rank 0.
        Cost: size operations.
    Residuals: x, low, high.   Non-differentiable points: x = low and x = high, where the whole
        cotangent goes to x.
    Reference: d clip = dx where low <= x <= high, dlow below, dhigh above.
    """

    name = "clip"
    arity = 3
    accepts = NUMERIC
    traits = ELEMENTWISE | CHEAP
    ufunc = _clip

    def vjp(self, ct: Value, out: Value, x: Value, low: Value, high: Value) -> Cotangents:
        """Pass ct to x inside ``[low, high]``, else to the bound that was taken."""
        zero = as_zero(ct)
        above = Max()(x, low) > high
        below = (x < low) & (low <= high)
        inside = (x >= low) & (x <= high)
        return (
            Select()(inside, ct, zero),
            Select()(below, ct, zero),
            Select()(above, ct, zero),
        )

    def scalar(self, b: LoopBuilder, *elements: Scalar) -> Scalar:
        """``min`` of ``max``."""
        x, low, high = elements
        return b.op("min", b.op("max", x, low), high)
