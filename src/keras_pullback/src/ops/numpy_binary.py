"""Elementwise functions of two tensors and of a choice among several, with Keras's dtype rules.

Two booleans are added as "or" and multiplied as "and"; other arithmetic takes them as integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.backend.common import dtypes

import pullback as pb
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.numpy_common import (
    arithmetic_operands,
    common_dtype,
    floating_operands,
    is_bool,
    operand,
    operands,
)


def equal(x1: Any, x2: Any) -> Any:
    """Return ``x1 == x2``, elementwise."""
    return pb.equal(*operands(x1, x2))


def not_equal(x1: Any, x2: Any) -> Any:
    """Return ``x1 != x2``, elementwise."""
    return pb.not_equal(*operands(x1, x2))


def greater(x1: Any, x2: Any) -> Any:
    """Return ``x1 > x2``, elementwise."""
    return pb.greater(*operands(x1, x2))


def greater_equal(x1: Any, x2: Any) -> Any:
    """Return ``x1 >= x2``, elementwise."""
    return pb.greater_equal(*operands(x1, x2))


def less(x1: Any, x2: Any) -> Any:
    """Return ``x1 < x2``, elementwise."""
    return pb.less(*operands(x1, x2))


def less_equal(x1: Any, x2: Any) -> Any:
    """Return ``x1 <= x2``, elementwise."""
    return pb.less_equal(*operands(x1, x2))


def maximum(x1: Any, x2: Any) -> Any:
    """Return the larger of two elements, elementwise."""
    return pb.maximum(*operands(x1, x2))


def minimum(x1: Any, x2: Any) -> Any:
    """Return the smaller of two elements, elementwise."""
    return pb.minimum(*operands(x1, x2))


def logical_and(x1: Any, x2: Any) -> Any:
    """Return whether both are true, elementwise."""
    return pb.logical_and(*operands(x1, x2))


def logical_or(x1: Any, x2: Any) -> Any:
    """Return whether either is true, elementwise."""
    return pb.logical_or(*operands(x1, x2))


def logical_xor(x1: Any, x2: Any) -> Any:
    """Return whether one of the two is true, elementwise."""
    return pb.logical_xor(*operands(x1, x2))


def bitwise_and(x: Any, y: Any) -> Any:
    """Return the bits set in both, elementwise."""
    return pb.bitwise_and(*operands(x, y))


def bitwise_or(x: Any, y: Any) -> Any:
    """Return the bits set in either, elementwise."""
    return pb.bitwise_or(*operands(x, y))


def bitwise_xor(x: Any, y: Any) -> Any:
    """Return the bits set in one of the two, elementwise."""
    return pb.bitwise_xor(*operands(x, y))


def bitwise_left_shift(x: Any, y: Any) -> Any:
    """Return ``x`` with its bits shifted left by ``y``, elementwise."""
    return pb.bitwise_left_shift(*operands(x, y))


def bitwise_right_shift(x: Any, y: Any) -> Any:
    """Return ``x`` with its bits shifted right by ``y``, elementwise."""
    return pb.bitwise_right_shift(*operands(x, y))


def left_shift(x: Any, y: Any) -> Any:
    """Return ``x`` with its bits shifted left by ``y``, elementwise."""
    return bitwise_left_shift(x, y)


def right_shift(x: Any, y: Any) -> Any:
    """Return ``x`` with its bits shifted right by ``y``, elementwise."""
    return bitwise_right_shift(x, y)


def add(x1: Any, x2: Any) -> Any:
    """Return the sum, elementwise."""
    x1, x2 = operands(x1, x2)
    return pb.logical_or(x1, x2) if is_bool(x1) and is_bool(x2) else pb.add(x1, x2)


def subtract(x1: Any, x2: Any) -> Any:
    """Return the difference, elementwise."""
    return pb.subtract(*operands(x1, x2))


def multiply(x1: Any, x2: Any) -> Any:
    """Return the product, elementwise."""
    x1, x2 = operands(x1, x2)
    return pb.logical_and(x1, x2) if is_bool(x1) and is_bool(x2) else pb.multiply(x1, x2)


def divide(x1: Any, x2: Any) -> Any:
    """Return the quotient as a float, elementwise."""
    return pb.divide(*floating_operands(x1, x2))


def true_divide(x1: Any, x2: Any) -> Any:
    """Return the quotient as a float, elementwise."""
    return divide(x1, x2)


def divide_no_nan(x1: Any, x2: Any) -> Any:
    """Return the quotient as a float, zero where the divisor is zero."""
    x1, x2 = floating_operands(x1, x2)
    zero = pb.equal(x2, 0)
    return pb.where(zero, 0.0, pb.divide(x1, pb.where(zero, 1.0, x2)))


def floor_divide(x1: Any, x2: Any) -> Any:
    """Return the quotient rounded down, elementwise."""
    return pb.floor_divide(*arithmetic_operands(x1, x2, "int32"))


def mod(x1: Any, x2: Any) -> Any:
    """Return the remainder with the sign of the divisor, elementwise."""
    return pb.mod(*arithmetic_operands(x1, x2, "int32"))


def fmod(x1: Any, x2: Any) -> Any:
    """Return the remainder with the sign of the dividend, elementwise."""
    return pb.fmod(*arithmetic_operands(x1, x2, "int32"))


def power(x1: Any, x2: Any) -> Any:
    """Return ``x1`` to the power of ``x2``, elementwise."""
    return pb.power(*arithmetic_operands(x1, x2, "int32"))


def clip(x: Any, x_min: Any, x_max: Any) -> Any:
    """Return ``x`` limited to between ``x_min`` and ``x_max``."""
    x = real_tensor(x)
    if x.dtype == np.bool_:
        x = pb.astype(x, "int32")
    low = None if x_min is None else operand(x_min)
    high = None if x_max is None else operand(x_max)
    return pb.clip(x, low, high)


def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """Return ``x1`` where the condition holds and ``x2`` elsewhere."""
    condition = real_tensor(condition)
    if x1 is None and x2 is None:
        return pb.nonzero(condition)
    if x1 is None or x2 is None:
        raise ValueError("`where` takes both `x1` and `x2`, or neither")
    return pb.where(condition, *operands(x1, x2))


def arctan2(x1: Any, x2: Any) -> Any:
    """Return the angle of the point ``(x2, x1)``, elementwise."""
    return pb.arctan2(*floating_operands(x1, x2))


def hypot(x1: Any, x2: Any) -> Any:
    """Return the length of the hypotenuse, elementwise."""
    return pb.hypot(*floating_operands(x1, x2))


def logaddexp(x1: Any, x2: Any) -> Any:
    """Return the logarithm of the sum of exponentials, elementwise."""
    return pb.logaddexp(*floating_operands(x1, x2))


def logaddexp2(x1: Any, x2: Any) -> Any:
    """Return the binary logarithm of the sum of powers of two, elementwise."""
    x1, x2 = floating_operands(x1, x2)
    ln2 = float(np.log(2.0))
    return pb.divide(pb.logaddexp(pb.multiply(x1, ln2), pb.multiply(x2, ln2)), ln2)


def nextafter(x1: Any, x2: Any) -> Any:
    """Return the float next to ``x1`` in the direction of ``x2``, elementwise."""
    return pb.nextafter(*floating_operands(x1, x2))


def heaviside(x1: Any, x2: Any) -> Any:
    """Return 0 for negatives, 1 for positives and ``x2`` for zeros, elementwise."""
    x1, x2 = floating_operands(x1, x2)
    step = pb.where(pb.less(x1, 0), 0.0, pb.where(pb.greater(x1, 0), pb.ones_like(x1), x2))
    return pb.where(pb.isnan(x1), x1, step)


def fmax(x1: Any, x2: Any) -> Any:
    """Return the larger of two elements, the number where one is NaN."""
    return _ignoring_nan(pb.maximum, x1, x2)


def fmin(x1: Any, x2: Any) -> Any:
    """Return the smaller of two elements, the number where one is NaN."""
    return _ignoring_nan(pb.minimum, x1, x2)


def _ignoring_nan(choose: Any, x1: Any, x2: Any) -> Any:
    x1, x2 = operands(x1, x2)
    dtype = common_dtype(x1, x2)
    x1, x2 = pb.asarray(x1, dtype=dtype), pb.asarray(x2, dtype=dtype)
    if not pb.isdtype(dtype, "real floating"):
        return choose(x1, x2)
    return pb.where(pb.isnan(x1), x2, pb.where(pb.isnan(x2), x1, choose(x1, x2)))


def isclose(
    x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    """Say of each pair whether the two are equal within the tolerances."""
    x1, x2 = floating_operands(x1, x2)
    return pb.isclose(x1, x2, rtol, atol, equal_nan=equal_nan)


def allclose(
    x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    """Say whether all pairs are equal within the tolerances."""
    return pb.all(isclose(x1, x2, rtol, atol, equal_nan))


def ldexp(x1: Any, x2: Any) -> Any:
    """Return ``x1`` times two to the integer power ``x2``, elementwise."""
    x1, x2 = real_tensor(x1), real_tensor(x2)
    if x2.dtype.name not in dtypes.INT_TYPES:
        raise TypeError(f"ldexp exponent must be an integer type. Received: x2 dtype={x2.dtype}")
    x1, _ = floating_operands(x1, x1)
    # Two halves, so that 2**x2 alone may leave the range of the dtype.
    half = pb.right_shift(x2, 1)
    rest = pb.subtract(x2, half)
    scaled = pb.multiply(x1, pb.exp2(pb.astype(half, x1.dtype)))
    return pb.multiply(scaled, pb.exp2(pb.astype(rest, x1.dtype)))


def gcd(x1: Any, x2: Any) -> Any:
    """Return the greatest common divisor, elementwise."""
    x1, x2 = _integers(x1, x2)
    a, b = pb.broadcast_arrays(pb.absolute(x1), pb.absolute(x2))

    def step(pair: tuple[Any, Any]) -> tuple[Any, Any]:
        larger, smaller = pair
        zero = pb.equal(smaller, 0)
        rest = pb.remainder(larger, pb.where(zero, pb.ones_like(smaller), smaller))
        return pb.where(zero, larger, smaller), pb.where(zero, smaller, rest)

    return pb.while_loop(lambda pair: pb.any(pb.not_equal(pair[1], 0)), step, (a, b))[0]


def lcm(x1: Any, x2: Any) -> Any:
    """Return the least common multiple, elementwise."""
    x1, x2 = _integers(x1, x2)
    divisor = gcd(x1, x2)
    safe = pb.where(pb.equal(divisor, 0), pb.ones_like(divisor), divisor)
    return pb.multiply(pb.absolute(x1), pb.floor_divide(pb.absolute(x2), safe))


def _integers(x1: Any, x2: Any) -> tuple[Any, Any]:
    x1, x2 = arithmetic_operands(x1, x2, "int32")
    dtype = common_dtype(x1, x2)
    if not pb.isdtype(dtype, "integral"):
        raise ValueError(f"`gcd` and `lcm` take integers, got {dtype}")
    return pb.asarray(x1, dtype=dtype), pb.asarray(x2, dtype=dtype)


def select(condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """Return the choice of the first condition that holds, ``default`` where none does."""
    if len(condlist) != len(choicelist):
        raise ValueError("`select` takes as many choices as conditions")
    choices = [operand(choice) for choice in choicelist]
    default = operand(default)
    dtype = common_dtype(*choices, default)
    chosen = pb.asarray(default, dtype=dtype)
    for condition, choice in reversed(list(zip(condlist, choices, strict=True))):
        chosen = pb.where(real_tensor(condition), pb.asarray(choice, dtype=dtype), chosen)
    return chosen
