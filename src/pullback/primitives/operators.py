"""Operators on values: NumPy broadcasting, promotion, and the primitive that computes.

Imports ``program``, ``types`` and the elementwise families; used by rules and by ``ops``.
Start at ``promote_operands``. Importing this fills the operators of ``METHODS``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.errors import ShapeError
from pullback.primitives import bitwise, comparison, elementwise
from pullback.primitives.cast import Convert
from pullback.primitives.elementwise import Select
from pullback.primitives.shape import Broadcast
from pullback.program.primitive import Primitive
from pullback.program.value import METHODS, Array, Value, as_value
from pullback.types import (
    DEFAULT_FLOAT,
    FLOATING,
    INTEGER,
    UNSIGNED,
    DType,
    default_dtype,
    promote_scalar,
    promote_types,
)

#: A Value, a NumPy array or scalar, or a Python number.
Operand = Any


def is_python_scalar(x: Any) -> bool:
    """Whether ``x`` is a Python number: its dtype is weak."""
    return isinstance(x, (bool, int, float)) and not isinstance(x, np.generic)


def is_weak(x: Any) -> bool:
    """Whether ``x`` takes the dtype of the operand beside it."""
    return is_python_scalar(x) or (isinstance(x, Value) and x.read().weak)


def astype(x: Operand, dtype: DType) -> Value:
    """Return ``x`` as a value of ``dtype``; a Python number is converted without an equation.

    Raises:
        OverflowError: a Python integer does not fit an integer dtype.
    """
    if is_python_scalar(x):
        return Array(np.asarray(x, dtype))
    value = as_value(x)
    return value if value.dtype == dtype else Convert(dtype)(value)


def _sample(x: Operand) -> bool | int | float:
    """Return a Python number of the kind of a weak operand."""
    if is_python_scalar(x):
        return x  # type: ignore[no-any-return]
    dtype = as_value(x).dtype
    return 0.0 if dtype in FLOATING else 0 if dtype in INTEGER else False


def result_dtype(*args: Operand) -> DType:
    """Return the dtype that an operation on ``args`` computes in (``types.promote_types``).

    Python numbers, and values made of them alone, are weak: they take the dtype of the others
    unless their kind is wider (bool < int < float), then the default dtype of their kind.
    """
    strong = [as_value(x).dtype for x in args if not is_weak(x)]
    weak = [_sample(x) for x in args if is_weak(x)]
    if not strong:
        dtype = default_dtype(weak[0])
        for scalar in weak[1:]:
            dtype = promote_types(dtype, default_dtype(scalar))
        return dtype
    dtype = strong[0]
    for other in strong[1:]:
        dtype = promote_types(dtype, other)
    for scalar in weak:
        dtype = promote_scalar(scalar, dtype)
    return dtype


def promote_operands(*args: Operand, floating: bool = False) -> tuple[Value, ...]:
    """Return ``args`` as values of the one dtype that an operation on them computes in.

    Args:
        args: Values, NumPy arrays and scalars, Python numbers; at least one.
        floating: Whether integers and booleans become floating, as in a division.
    """
    dtype = result_dtype(*args)
    if floating and dtype not in FLOATING:
        dtype = DEFAULT_FLOAT
    return tuple(astype(x, dtype) for x in args)


def broadcast_shapes(*shapes: tuple[int, ...], given: str | None = None) -> tuple[int, ...]:
    """Return the shape that arrays of ``shapes`` broadcast to.

    Args:
        shapes: Shapes.
        given: What the message calls them. Default: the shapes.

    Raises:
        ShapeError: two lengths differ and neither is 1.
    """
    ndim = max(map(len, shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        for axis, length in enumerate(shape, ndim - len(shape)):
            if length != 1 and result[axis] not in (1, length):
                given = given or f"shapes {' and '.join(map(str, shapes))}"
                raise ShapeError(
                    f"{given} do not broadcast to one shape: lengths {result[axis]} and {length}; "
                    "expected equal lengths, or 1, aligned at the last axis: insert axes with "
                    "`expand_dims`"
                )
            result[axis] = length if length != 1 else result[axis]
    return tuple(result)


def broadcast_to(x: Value, shape: tuple[int, ...]) -> Value:
    """Return ``x`` repeated to ``shape``, aligned at the last axis; ``x`` itself if it fits.

    Raises:
        ShapeError: ``x`` does not broadcast to ``shape``.
    """
    if x.shape == shape:
        return x
    broadcast: Value = Broadcast(shape, tuple(range(len(shape) - x.ndim)))(x)
    return broadcast


def broadcast_operands(
    *values: Value, name: str = "", given: Sequence[Operand] = ()
) -> tuple[Value, ...]:
    """Return values of one shape; those of rank 0 stay, elementwise primitives take them so.

    Args:
        values: Operands, of one dtype.
        name: The operation, for messages.
        given: The operands before they were promoted, for messages. Default: ``values``.

    Raises:
        ShapeError: the shapes do not broadcast.
    """
    shapes = [x.shape for x in values]
    try:
        shape = broadcast_shapes(*shapes)
    except ShapeError:
        shape = None
    if shape is None:  # again, with types: they are written only where they are wanted
        types = " and ".join(str(as_value(x).type) for x in given or values)
        shape = broadcast_shapes(*shapes, given=f"{name}: {types}" if name else types)
    return tuple(broadcast_to(x, shape) if x.shape else x for x in values)


def apply(primitive: Primitive, *args: Operand, floating: bool = False) -> Value:
    """Promote and broadcast ``args``, then apply an elementwise primitive.

    Args:
        primitive: An elementwise primitive of as many operands.
        args: Values, NumPy arrays and scalars, Python numbers.
        floating: Whether integers and booleans become floating first.

    Returns:
        The result; weak if every operand is.
    """
    values = promote_operands(*args, floating=floating)
    result: Value = primitive(*broadcast_operands(*values, name=primitive.name, given=args))
    result.weak = all(map(is_weak, args))
    return result


def where(predicate: Operand, on_true: Operand, on_false: Operand) -> Value:
    """``on_true`` where the boolean ``predicate`` holds, else ``on_false``; broadcasts."""
    values = promote_operands(on_true, on_false)
    given = (predicate, on_true, on_false)
    result: Value = Select()(
        *broadcast_operands(as_value(predicate), *values, name="where", given=given)
    )
    result.weak = is_weak(on_true) and is_weak(on_false)
    return result


def add(x: Operand, y: Operand) -> Value:
    """``x + y``."""
    return apply(elementwise.Add(), x, y)


def subtract(x: Operand, y: Operand) -> Value:
    """``x - y``."""
    return apply(elementwise.Sub(), x, y)


def multiply(x: Operand, y: Operand) -> Value:
    """``x * y``."""
    return apply(elementwise.Mul(), x, y)


def divide(x: Operand, y: Operand) -> Value:
    """``x / y``; integers and booleans become floating first."""
    return apply(elementwise.Div(), x, y, floating=True)


def maximum(x: Operand, y: Operand) -> Value:
    """The greater of ``x`` and ``y``; nan if either is nan."""
    return apply(elementwise.Max(), x, y)


def minimum(x: Operand, y: Operand) -> Value:
    """The lesser of ``x`` and ``y``; nan if either is nan."""
    return apply(elementwise.Min(), x, y)


def floor_divide(x: Operand, y: Operand) -> Value:
    """``x // y``, rounded down. Integers: ``x // 0`` is 0; floats: infinite or nan."""
    a, b = promote_operands(x, y)
    if a.dtype in FLOATING:
        result = _floating_floor_divide(a, b)
    elif a.dtype in UNSIGNED:
        result = apply(elementwise.Div(), a, b)
    else:
        rest = apply(elementwise.Rem(), a, b)
        quotient = apply(elementwise.Div(), a, b)
        result = where(_crosses_zero(rest, b), subtract(quotient, 1), quotient)
    result.weak = is_weak(x) and is_weak(y)
    return result


def remainder(x: Operand, y: Operand) -> Value:
    """``x % y`` with the sign of ``y``, as in Python. Integers: ``x % 0`` is 0."""
    a, b = promote_operands(x, y)
    if a.dtype in FLOATING:
        result = _floating_remainder(a, b)
    elif a.dtype in UNSIGNED:
        result = apply(elementwise.Rem(), a, b)
    else:
        rest = apply(elementwise.Rem(), a, b)
        result = where(_crosses_zero(rest, b), add(rest, b), rest)
    result.weak = is_weak(x) and is_weak(y)
    return result


def _crosses_zero(rest: Value, divisor: Value) -> Value:
    """Whether a truncated division has to go one down to be rounded down."""
    differ = not_equal(less(rest, 0), less(divisor, 0))
    return bitwise_and(not_equal(rest, 0), differ)


def _floating_floor_divide(x: Value, y: Value) -> Value:
    rest = apply(elementwise.Rem(), x, y)
    quotient = round_(divide(subtract(x, rest), y))
    quotient = where(_crosses_zero(rest, y), subtract(quotient, 1.0), quotient)
    # The exact quotient has the right sign for a zero. Rounding keeps gradients out: it has none.
    exact = round_(divide(x, y))
    signed = apply(elementwise.Copysign(), quotient, exact)
    return where(equal(y, 0.0), exact, where(equal(quotient, 0.0), signed, quotient))


def _floating_remainder(x: Value, y: Value) -> Value:
    # By symmetry for a positive divisor; adding 0.0 turns a remainder of -0.0 into 0.0, so that
    # a zero has the sign of `y`.
    negated = less(y, 0)
    size = abs_(y)
    rest = apply(elementwise.Rem(), where(negated, negative(x), x), size)
    rest = add(where(less(rest, 0), add(rest, size), rest), 0.0)
    return where(negated, negative(rest), rest)


def power(x: Operand, y: Operand) -> Value:
    """``x ** y``. Small whole Python exponents become products, 0.5 and -0.5 roots.

    Integers: a negative exponent gives the reciprocal rounded towards zero, and 0 for ``x`` = 0.
    """
    if is_python_scalar(y) and not isinstance(y, bool) and not is_python_scalar(x):
        (base, _) = promote_operands(x, y)
        special = _static_power(base, float(y))
        if special is not None:
            special.weak = is_weak(x)
            return special
    return apply(elementwise_power(), x, y)


def elementwise_power() -> Primitive:
    """Return the ``pow`` primitive."""
    from pullback.primitives.transcendental import Pow

    return Pow()


def _static_power(x: Value, y: float) -> Value | None:
    from pullback.primitives.transcendental import Rsqrt, Sqrt

    if y in (1.0, 2.0, 3.0, 4.0):
        square = x if y == 1.0 else elementwise.Mul()(x, x)
        if y <= 2.0:
            return positive(square)
        return elementwise.Mul()(square, x if y == 3.0 else square)  # type: ignore[no-any-return]
    if x.dtype not in FLOATING or not math.isfinite(y):
        return None
    if y == -1.0:
        return divide(1.0, x)
    if y in (0.5, -0.5):
        return Sqrt()(x) if y > 0 else Rsqrt()(x)  # type: ignore[no-any-return]
    return None


def _unary(primitive: Primitive, x: Operand) -> Value:
    result: Value = primitive(as_value(x))
    result.weak = is_weak(x)
    return result


def negative(x: Operand) -> Value:
    """``-x``."""
    return _unary(elementwise.Neg(), x)


def positive(x: Operand) -> Value:
    """``+x``."""
    return as_value(x)


def abs_(x: Operand) -> Value:
    """``abs(x)``."""
    return _unary(elementwise.Abs(), x)


def round_(x: Operand) -> Value:
    """The nearest whole number, ties to even; integers stay."""
    value = as_value(x)
    return _unary(elementwise.Round(), value) if value.dtype in FLOATING else value


def equal(x: Operand, y: Operand) -> Value:
    """``x == y``, elementwise."""
    return _compare(comparison.Eq(), x, y)


def not_equal(x: Operand, y: Operand) -> Value:
    """``x != y``, elementwise."""
    return _compare(comparison.Ne(), x, y)


def less(x: Operand, y: Operand) -> Value:
    """``x < y``, elementwise."""
    return _compare(comparison.Lt(), x, y)


def less_equal(x: Operand, y: Operand) -> Value:
    """``x <= y``, elementwise."""
    return _compare(comparison.Le(), x, y)


def greater(x: Operand, y: Operand) -> Value:
    """``x > y``, elementwise."""
    return _compare(comparison.Gt(), x, y)


def greater_equal(x: Operand, y: Operand) -> Value:
    """``x >= y``, elementwise."""
    return _compare(comparison.Ge(), x, y)


def _compare(primitive: Primitive, x: Operand, y: Operand) -> Value:
    result = apply(primitive, x, y)
    result.weak = False
    return result


def bitwise_and(x: Operand, y: Operand) -> Value:
    """``x & y``: logical on booleans."""
    return apply(bitwise.And(), x, y)


def bitwise_or(x: Operand, y: Operand) -> Value:
    """``x | y``: logical on booleans."""
    return apply(bitwise.Or(), x, y)


def bitwise_xor(x: Operand, y: Operand) -> Value:
    """``x ^ y``: logical on booleans."""
    return apply(bitwise.Xor(), x, y)


def bitwise_invert(x: Operand) -> Value:
    """``~x``: logical not on booleans."""
    return _unary(bitwise.Not(), x)


def bitwise_left_shift(x: Operand, y: Operand) -> Value:
    """``x << y``; 0 where ``y`` reaches the width."""
    return apply(bitwise.ShiftLeft(), x, y)


def bitwise_right_shift(x: Operand, y: Operand) -> Value:
    """``x >> y``: copies of the sign come in for signed integers, zeros for unsigned."""
    if result_dtype(x, y) in UNSIGNED:
        return apply(bitwise.ShiftRightLogical(), x, y)
    return apply(bitwise.ShiftRightArithmetic(), x, y)


OPERATORS: dict[str, Callable[..., Value]] = {
    "add": add,
    "subtract": subtract,
    "multiply": multiply,
    "divide": divide,
    "floor_divide": floor_divide,
    "remainder": remainder,
    "pow": power,
    "negative": negative,
    "positive": positive,
    "abs": abs_,
    "equal": equal,
    "not_equal": not_equal,
    "less": less,
    "less_equal": less_equal,
    "greater": greater,
    "greater_equal": greater_equal,
    "bitwise_and": bitwise_and,
    "bitwise_or": bitwise_or,
    "bitwise_xor": bitwise_xor,
    "bitwise_invert": bitwise_invert,
    "bitwise_left_shift": bitwise_left_shift,
    "bitwise_right_shift": bitwise_right_shift,
}
METHODS.update(OPERATORS)
