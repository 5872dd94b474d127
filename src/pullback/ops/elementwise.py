"""Arithmetic, signs, rounding and bounds, elementwise.

Imports ``arguments``, ``dtypes`` and ``primitives``. The rest of the standard's chapter
"Element-wise functions" is in ``elementary`` and ``logical``. Operands broadcast and promote;
Python numbers take the dtype of the array beside them.
"""

from __future__ import annotations

import numpy as np

from pullback.ops.arguments import ArrayLike, as_array, as_operand, require_dtype, scalar_of
from pullback.ops.dtypes import astype, finfo
from pullback.primitives import elementwise, operators
from pullback.program.primitive import Primitive
from pullback.program.value import Value
from pullback.types import DEFAULT_FLOAT, FLOATING, INTEGER, NUMERIC, DType, bool_

__all__ = [
    "abs",
    "absolute",
    "add",
    "ceil",
    "clip",
    "conj",
    "conjugate",
    "copysign",
    "divide",
    "divmod",
    "fix",
    "floor",
    "floor_divide",
    "fmod",
    "imag",
    "maximum",
    "minimum",
    "mod",
    "multiply",
    "nan_to_num",
    "negative",
    "nextafter",
    "positive",
    "pow",
    "power",
    "real",
    "reciprocal",
    "remainder",
    "rint",
    "round",
    "sign",
    "square",
    "subtract",
    "true_divide",
    "trunc",
]


def add(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Sum ``x1 + x2``; integers wrap.

    Differentiation: ``ct`` and ``ct``.

    Example:
        >>> pb.add(pb.asarray([1, 2]), pb.asarray([0.5, 0.5]))
        Array([1.5, 2.5], f32)
    """
    return operators.add(as_operand(x1), as_operand(x2))


def subtract(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Difference ``x1 - x2``; integers wrap.

    Differentiation: ``ct`` and ``-ct``.

    Example:
        >>> pb.subtract(pb.asarray([1, 2]), pb.asarray([0.5, 0.5]))
        Array([0.5, 1.5], f32)
    """
    return operators.subtract(as_operand(x1), as_operand(x2))


def multiply(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Product ``x1 * x2``; integers wrap.

    Differentiation: ``ct * x2`` and ``ct * x1``.

    Example:
        >>> pb.multiply(pb.asarray([1, 2]), pb.asarray([0.5, 0.5]))
        Array([0.5, 1. ], f32)
    """
    return operators.multiply(as_operand(x1), as_operand(x2))


def divide(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Quotient ``x1 / x2``; integers and booleans become float32.

    Differentiation: ``ct / x2`` and ``-ct * out / x2``.

    Example:
        >>> pb.divide(pb.asarray([1, 2]), pb.asarray([2, 0]))
        Array([0.5, inf], f32)
    """
    return operators.divide(as_operand(x1), as_operand(x2))


def floor_divide(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Quotient rounded down. Integers: ``x1 // 0`` is 0.

    Example:
        >>> pb.floor_divide(pb.asarray([7, -7]), pb.asarray([2, 2]))
        Array([ 3, -4], i32)
    """
    return operators.floor_divide(as_operand(x1), as_operand(x2))


def remainder(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Remainder ``x1 % x2`` with the sign of ``x2``. Integers: ``x1 % 0`` is 0.

    Differentiation: ``ct`` and ``-ct * floor(x1 / x2)``.

    Example:
        >>> pb.remainder(pb.asarray([7, -7]), pb.asarray([3, 3]))
        Array([1, 2], i32)
    """
    return operators.remainder(as_operand(x1), as_operand(x2))


def pow(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """``x1`` to the power of ``x2``; whole Python exponents up to 4 become products.

    Differentiation: ``ct * x2 * x1 ** (x2 - 1)`` and ``ct * out * log(x1)``.

    Example:
        >>> pb.pow(pb.asarray([2.0, 3.0]), pb.asarray([3.0, 2.0]))
        Array([8., 9.], f32)
    """
    return operators.power(as_operand(x1), as_operand(x2))


def maximum(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """The greater of two numbers; nan if either is nan. Booleans: or.

    Differentiation: ``ct`` to the greater, half of it to each of two equal ones.

    Example:
        >>> pb.maximum(pb.asarray([1.0, 5.0]), pb.asarray([3.0, 4.0]))
        Array([3., 5.], f32)
    """
    x, y = as_operand(x1), as_operand(x2)
    if operators.result_dtype(x, y) == bool_:
        return operators.bitwise_or(x, y)
    return operators.maximum(x, y)


def minimum(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """The lesser of two numbers; nan if either is nan. Booleans: and.

    Differentiation: ``ct`` to the lesser, half of it to each of two equal ones.

    Example:
        >>> pb.minimum(pb.asarray([1.0, 5.0]), pb.asarray([3.0, 4.0]))
        Array([1., 4.], f32)
    """
    x, y = as_operand(x1), as_operand(x2)
    if operators.result_dtype(x, y) == bool_:
        return operators.bitwise_and(x, y)
    return operators.minimum(x, y)


def nextafter(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """The next representable number from ``x1`` towards ``x2``.

    Example:
        >>> pb.nextafter(pb.asarray([1.0]), pb.asarray([2.0]))
        Array([1.0000001], f32)
    """
    return operators.apply(elementwise.Nextafter(), as_operand(x1), as_operand(x2), floating=True)


def copysign(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Magnitude of ``x1`` with the sign of ``x2``.

    Differentiation: ``ct``, negated where the signs differ; none for ``x2``.

    Example:
        >>> pb.copysign(pb.asarray([1.0, 2.0]), pb.asarray([-0.0, 3.0]))
        Array([-1.,  2.], f32)
    """
    return operators.apply(elementwise.Copysign(), as_operand(x1), as_operand(x2), floating=True)


def fmod(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Remainder with the sign of ``x1``, as in C. Integers: ``fmod(x1, 0)`` is 0.

    Differentiation: ``ct`` and ``-ct * trunc(x1 / x2)``.

    Example:
        >>> pb.fmod(pb.asarray([7.0, -7.0]), pb.asarray([3.0, 3.0]))
        Array([ 1., -1.], f32)
    """
    return operators.apply(elementwise.Rem(), as_operand(x1), as_operand(x2))


def negative(x: ArrayLike, /) -> Value:
    """``-x``; unsigned integers wrap.

    Differentiation: ``-ct``.

    Example:
        >>> pb.negative(pb.asarray([1.0, -2.0]))
        Array([-1.,  2.], f32)
    """
    return operators.negative(as_array(x))


def positive(x: ArrayLike, /) -> Value:
    """``x`` itself.

    Differentiation: ``ct``.

    Example:
        >>> pb.positive(pb.asarray([1.0, -2.0]))
        Array([ 1., -2.], f32)
    """
    return as_array(x)


def abs(x: ArrayLike, /) -> Value:
    """Absolute value; the least signed integer stays as it is.

    Differentiation: ``ct * sign(x)``; 0 at 0.

    Example:
        >>> pb.abs(pb.asarray([1.0, -2.0]))
        Array([1., 2.], f32)
    """
    return operators.abs_(as_array(x))


def sign(x: ArrayLike, /) -> Value:
    """-1, 0 or 1; nan stays nan.

    Differentiation: none: constant but at 0.

    Example:
        >>> pb.sign(pb.asarray([3.0, 0.0, -2.0]))
        Array([ 1.,  0., -1.], f32)
    """
    return _unary(elementwise.Sign(), x)


def square(x: ArrayLike, /) -> Value:
    """``x * x``.

    Differentiation: ``2 * ct * x``.

    Example:
        >>> pb.square(pb.asarray([3.0, -2.0]))
        Array([9., 4.], f32)
    """
    value = as_array(x)
    return operators.multiply(value, value)


def reciprocal(x: ArrayLike, /) -> Value:
    """``1 / x``; integers become float32.

    Differentiation: ``-ct * out ** 2``.

    Example:
        >>> pb.reciprocal(pb.asarray([4.0, -2.0]))
        Array([ 0.25, -0.5 ], f32)
    """
    return operators.divide(1, as_array(x))


def floor(x: ArrayLike, /) -> Value:
    """Largest whole number not above ``x``; integers stay.

    Differentiation: none: constant but at whole numbers.

    Example:
        >>> pb.floor(pb.asarray([1.5, -1.5]))
        Array([ 1., -2.], f32)
    """
    return _whole(elementwise.Floor(), x)


def ceil(x: ArrayLike, /) -> Value:
    """Smallest whole number not below ``x``; integers stay.

    Differentiation: none: constant but at whole numbers.

    Example:
        >>> pb.ceil(pb.asarray([1.5, -1.5]))
        Array([ 2., -1.], f32)
    """
    return _whole(elementwise.Ceil(), x)


def trunc(x: ArrayLike, /) -> Value:
    """The whole number next to ``x`` towards zero; integers stay.

    Differentiation: none: constant but at whole numbers.

    Example:
        >>> pb.trunc(pb.asarray([1.5, -1.5]))
        Array([ 1., -1.], f32)
    """
    return _whole(elementwise.Trunc(), x)


def conj(x: ArrayLike, /) -> Value:
    """Complex conjugate: ``x`` itself, as complex numbers are not supported.

    Differentiation: ``ct``.

    Example:
        >>> pb.conj(pb.asarray([1.0]))
        Array([1.], f32)
    """
    return as_array(x)


def real(x: ArrayLike, /) -> Value:
    """Real part: ``x`` itself, as complex numbers are not supported.

    Differentiation: ``ct``.

    Example:
        >>> pb.real(pb.asarray([1.0]))
        Array([1.], f32)
    """
    return as_array(x)


def imag(x: ArrayLike, /) -> Value:
    """Imaginary part: zeros, as complex numbers are not supported.

    Differentiation: none.

    Example:
        >>> pb.imag(pb.asarray([1.0]))
        Array([0.], f32)
    """
    value = as_array(x)
    return operators.broadcast_to(scalar_of(0, value.dtype), value.shape)


def _unary(primitive: Primitive, x: ArrayLike) -> Value:
    value = as_array(x)
    result: Value = primitive(value)
    result.weak = value.weak
    return result


def _whole(primitive: Primitive, x: ArrayLike) -> Value:
    value = as_array(x)
    return _unary(primitive, value) if value.dtype in FLOATING else value


def round(x: ArrayLike, /, decimals: int = 0) -> Value:
    """Nearest whole number, ties to even; integers stay.

    Args:
        x: Array.
        decimals: Number of decimal places to keep. Static.

    Differentiation: none: constant but at ties.

    Example:
        >>> pb.round(pb.asarray([0.5, 1.5, 2.6]))
        Array([0., 2., 3.], f32)
    """
    value = as_array(x)
    if decimals == 0 or value.dtype not in FLOATING:
        return operators.round_(value)
    scale = 10.0**decimals
    return operators.divide(operators.round_(value * scale), scale)


def clip(x: ArrayLike, /, min: ArrayLike | None = None, max: ArrayLike | None = None) -> Value:
    """Numbers of ``x`` brought into ``min .. max``; nan in any argument gives nan.

    Args:
        x: Array, numeric.
        min: Lower bound, broadcast with ``x``; None for none.
        max: Upper bound, broadcast with ``x``; None for none. Wins where it is less than ``min``.

    Returns:
        Array of the dtype of ``x``, or of the promoted one if a bound is floating and ``x`` is not.

    Raises:
        DTypeError: ``x`` is boolean.

    Differentiation: ``ct`` goes to ``x`` where ``min <= x <= max``, else to the bound taken.

    Example:
        >>> pb.clip(pb.asarray([-1.0, 0.5, 3.0]), 0.0, 1.0)
        Array([0. , 0.5, 1. ], f32)
    """
    value = as_array(x)
    require_dtype("clip", value, NUMERIC)
    low, high = (None if b is None else _bound(value, b) for b in (min, max))
    if low is None and high is None:
        return value
    dtype = operators.result_dtype(*(v for v in (value, low, high) if v is not None))
    smallest, largest = _extremes(dtype)
    operands = operators.broadcast_operands(
        astype(value, dtype),
        scalar_of(smallest, dtype) if low is None else astype(low, dtype),
        scalar_of(largest, dtype) if high is None else astype(high, dtype),
        name="clip",
        given=(value, *(b for b in (low, high) if b is not None)),
    )
    result: Value = elementwise.Clip()(*operands)
    if value.dtype in FLOATING or dtype in INTEGER:
        result = astype(result, value.dtype)
    result.weak = value.weak
    return result


def _bound(x: Value, bound: ArrayLike) -> Value:
    """A bound as a Value; a Python integer beyond the dtype of ``x`` becomes its limit."""
    if not operators.is_python_scalar(bound):
        return as_array(bound)
    if isinstance(bound, int) and x.dtype in INTEGER:
        smallest, largest = _extremes(x.dtype)
        return scalar_of(sorted((smallest, int(bound), largest))[1], x.dtype)
    return as_array(scalar_of(bound, x.dtype if x.dtype in FLOATING else DEFAULT_FLOAT))


def _extremes(dtype: DType) -> tuple[float, float]:
    """The least and the largest value of a dtype, infinite for floating ones."""
    if dtype in INTEGER:
        info = np.iinfo(dtype)
        return int(info.min), int(info.max)
    return -float("inf"), float("inf")


def nan_to_num(
    x: ArrayLike,
    /,
    nan: ArrayLike = 0.0,
    posinf: ArrayLike | None = None,
    neginf: ArrayLike | None = None,
) -> Value:
    """``x`` with numbers in place of nan and infinities.

    Args:
        x: Array.
        nan: What replaces nan.
        posinf: What replaces infinity; None for the largest finite number.
        neginf: What replaces negative infinity; None for the least finite number.

    Differentiation: ``ct`` where nothing was replaced, else 0.

    Example:
        >>> pb.nan_to_num(pb.asarray([1.0, float("nan")]))
        Array([1., 0.], f32)
    """
    value = as_array(x)
    if value.dtype not in FLOATING:
        return value
    limits = finfo(value.dtype)
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf
    result = operators.where(operators.not_equal(value, value), nan, value)
    result = operators.where(operators.equal(value, float("inf")), high, result)
    return operators.where(operators.equal(value, -float("inf")), low, result)


def divmod(x1: ArrayLike, x2: ArrayLike, /) -> tuple[Value, Value]:
    """Quotient rounded down, and remainder.

    Example:
        >>> pb.divmod(pb.asarray([7]), pb.asarray([2]))
        (Array([3], i32), Array([1], i32))
    """
    return floor_divide(x1, x2), remainder(x1, x2)


power = pow
absolute = abs
true_divide = divide
mod = remainder
conjugate = conj
rint = round
fix = trunc
