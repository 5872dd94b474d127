"""The exact algebra of elementwise primitives: rules that change no bit of any result.

Imports ``rewrite`` and ``primitives``. A rule is a pattern and what replaces it, both written as
traced arithmetic; zeros' signs, infinities and nans are why some famous identities are missing.
The rules of layout and reductions are in ``layout_rules``, those that round anew in ``fast_rules``.
"""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from pullback.passes.rewrite import Rewrite, rule
from pullback.primitives import operators  # noqa: F401  # rules are written with operators
from pullback.primitives.bitwise import And, Not, Or, Xor
from pullback.primitives.cast import Bitcast, Convert
from pullback.primitives.elementwise import Abs, Div, Max, Min, Neg, Select
from pullback.primitives.shape import Broadcast
from pullback.program.core import Literal
from pullback.program.value import Array, Value
from pullback.types import (
    FLOATING,
    INTEGER,
    SIGNED,
    ArrayType,
    DType,
    bfloat16,
    bool_,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int8,
    int32,
)

F32 = ArrayType((3,), float32)
I32 = ArrayType((3,), int32)
BOOL = ArrayType((3,), bool_)


def constant(value: float, x: Value) -> Value:
    """Return ``value`` in the dtype of ``x``, of rank 0."""
    return Array(np.asarray(value, x.dtype))


def uniform(value: float, x: Value) -> Value:
    """Return ``value`` in the type of ``x``, in every element."""
    scalar = constant(value, x)
    repeated: Value = Broadcast(x.shape, tuple(range(x.ndim)))(scalar) if x.shape else scalar
    return repeated


def is_normal(value: float, dtype: DType) -> bool:
    """Whether the number is finite and neither zero nor subnormal in a floating dtype."""
    limits = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    return float(limits.smallest_normal) <= abs(value) <= float(limits.max)


# Arithmetic ---------------------------------------------------------------------------------------


@rule()
def multiply_by_one(x: Value) -> Rewrite:
    """``x * 1 -> x``."""
    return x * 1, x


@rule()
def multiply_by_minus_one(x: Value) -> Rewrite:
    """``x * -1 -> -x``."""
    return x * -1, -x


@rule()
def divide_by_one(x: Value) -> Rewrite:
    """``x / 1 -> x``."""
    return Div()(x, constant(1, x)), x


@rule()
def divide_by_minus_one(x: Value) -> Rewrite:
    """``x / -1 -> -x``; the least integer wraps either way."""
    return Div()(x, constant(-1, x)), -x


@rule(cases=[(F32, Literal(np.float32(8.0)))])
def divide_by_power_of_two(x: Value, c: Array) -> Rewrite:
    """``x / c -> x * (1 / c)`` where ``1 / c`` is a normal number without rounding."""
    value = float(c)
    if c.dtype not in FLOATING or math.frexp(abs(value))[0] != 0.5:
        return None
    if not is_normal(1.0 / value, c.dtype):
        return None
    return Div()(x, c), x * constant(1.0 / value, x)


@rule()
def add_zero(x: Value) -> Rewrite:
    """``x + -0.0 -> x``, and ``x + 0 -> x`` for integers; ``-0.0 + 0.0`` is not ``-0.0``."""
    return x + constant(-0.0, x), x


@rule()
def subtract_zero(x: Value) -> Rewrite:
    """``x - 0 -> x``."""
    return x - 0, x


@rule()
def subtract_from_zero(x: Value) -> Rewrite:
    """``-0.0 - x -> -x``, and ``0 - x -> -x`` for integers."""
    return constant(-0.0, x) - x, -x


@rule()
def negate_twice(x: Value) -> Rewrite:
    """``-(-x) -> x``."""
    return Neg()(Neg()(x)), x


@rule()
def add_negated(x: Value, y: Value) -> Rewrite:
    """``x + (-y) -> x - y``."""
    return x + (-y), x - y


@rule()
def subtract_negated(x: Value, y: Value) -> Rewrite:
    """``x - (-y) -> x + y``."""
    return x - (-y), x + y


@rule()
def multiply_negated(x: Value, y: Value) -> Rewrite:
    """``(-x) * (-y) -> x * y``."""
    return (-x) * (-y), x * y


def negated(c: Array) -> Value:
    """Return ``-c``; the least integer wraps."""
    return Array((-c.data.reshape(1)).reshape(()))


@rule(cases=[(F32, Literal(np.float32(3.0))), (I32, Literal(np.int32(-(2**31))))])
def negate_scaled(x: Value, c: Array) -> Rewrite:
    """``-(x * c) -> x * -c``."""
    return -(x * c), x * negated(c)


@rule(cases=[(F32, Literal(np.float32(3.0))), (I32, Literal(np.int32(-(2**31))))])
def scale_negated(x: Value, c: Array) -> Rewrite:
    """``(-x) * c -> x * -c``."""
    return (-x) * c, x * negated(c)


@rule()
def divide_negated(x: Value, y: Value) -> Rewrite:
    """``(-x) / (-y) -> x / y``, floating: the least integer is its own negative."""
    return ((-x) / (-y), x / y) if x.dtype in FLOATING else None


@rule()
def absolute_of_negated(x: Value) -> Rewrite:
    """``|-x| -> |x|``, but for unsigned integers, which wrap."""
    return (Abs()(-x), Abs()(x)) if x.dtype in FLOATING | SIGNED else None


@rule()
def absolute_twice(x: Value) -> Rewrite:
    """``||x|| -> |x|``."""
    return Abs()(Abs()(x)), Abs()(x)


@rule(cases=[(I32,)])
def multiply_by_zero(x: Value) -> Rewrite:
    """``x * 0 -> 0`` for integers; of floats, infinities, nans and signs stand against it."""
    return (x * 0, uniform(0, x)) if x.dtype in INTEGER else None


@rule(cases=[(I32,)])
def subtract_itself(x: Value) -> Rewrite:
    """``x - x -> 0`` for integers; infinities and nans stand against it."""
    return (x - x, uniform(0, x)) if x.dtype in INTEGER else None


# Choice and order ---------------------------------------------------------------------------------


@rule()
def maximum_of_itself(x: Value) -> Rewrite:
    """``max(x, x) -> x``."""
    return Max()(x, x), x


@rule()
def minimum_of_itself(x: Value) -> Rewrite:
    """``min(x, x) -> x``."""
    return Min()(x, x), x


def _least(dtype: DType) -> float:
    return -math.inf if dtype in FLOATING else np.iinfo(dtype).min


@rule()
def maximum_with_least(x: Value) -> Rewrite:
    """``max(x, -inf) -> x``, with the least integer for integers."""
    return (Max()(x, constant(_least(x.dtype), x)), x) if x.dtype != bool_ else None


@rule()
def minimum_with_greatest(x: Value) -> Rewrite:
    """``min(x, inf) -> x``, with the greatest integer for integers."""
    if x.dtype in FLOATING:
        return Min()(x, constant(math.inf, x)), x
    return (Min()(x, constant(np.iinfo(x.dtype).max, x)), x) if x.dtype in INTEGER else None


@rule(cases=[(BOOL, F32)])
def select_same(predicate: Value, x: Value) -> Rewrite:
    """``select(p, x, x) -> x``."""
    return Select()(predicate, x, x), x


@rule(cases=[(BOOL, F32, F32)])
def select_by_negation(predicate: Value, x: Value, y: Value) -> Rewrite:
    """``select(not p, x, y) -> select(p, y, x)``."""
    return Select()(Not()(predicate), x, y), Select()(predicate, y, x)


@rule(cases=[(F32, F32)])
def select_true(x: Value, y: Value) -> Rewrite:
    """``select(true, x, y) -> x``."""
    return Select()(np.bool_(True), x, y), x


@rule(cases=[(F32, F32)])
def select_false(x: Value, y: Value) -> Rewrite:
    """``select(false, x, y) -> y``."""
    return Select()(np.bool_(False), x, y), y


# Logic and bits -----------------------------------------------------------------------------------


@rule(cases=[(BOOL,), (I32,)])
def and_itself(x: Value) -> Rewrite:
    """``x & x -> x``."""
    return And()(x, x), x


@rule(cases=[(BOOL,), (I32,)])
def or_itself(x: Value) -> Rewrite:
    """``x | x -> x``."""
    return Or()(x, x), x


@rule(cases=[(BOOL,), (I32,)])
def xor_itself(x: Value) -> Rewrite:
    """``x ^ x -> 0``."""
    return Xor()(x, x), uniform(0, x)


@rule(cases=[(BOOL,), (I32,)])
def not_twice(x: Value) -> Rewrite:
    """``not not x -> x``."""
    return Not()(Not()(x)), x


@rule(cases=[(BOOL,)])
def and_true(x: Value) -> Rewrite:
    """``x and true -> x``."""
    return And()(x, np.bool_(True)), x


@rule(cases=[(BOOL,)])
def or_false(x: Value) -> Rewrite:
    """``x or false -> x``."""
    return Or()(x, np.bool_(False)), x


@rule(cases=[(F32, F32), (I32, I32), (BOOL, BOOL)])
def not_equal(x: Value, y: Value) -> Rewrite:
    """``not (x == y) -> x != y``; holds for nan, unlike ``not (x < y) -> x >= y``."""
    return Not()(x == y), x != y


@rule(cases=[(F32, F32), (I32, I32), (BOOL, BOOL)])
def not_unequal(x: Value, y: Value) -> Rewrite:
    """``not (x != y) -> x == y``."""
    return Not()(x != y), x == y


@rule(cases=[(I32, I32)])
def not_less(x: Value, y: Value) -> Rewrite:
    """``not (x < y) -> x >= y`` for integers."""
    return (Not()(x < y), x >= y) if x.dtype in INTEGER else None


@rule(cases=[(I32, I32)])
def not_greater(x: Value, y: Value) -> Rewrite:
    """``not (x > y) -> x <= y`` for integers."""
    return (Not()(x > y), x <= y) if x.dtype in INTEGER else None


# Conversions --------------------------------------------------------------------------------------


@rule(cases=[(F32,), (BOOL,), (I32,)])
def convert_to_same(x: Value) -> Rewrite:
    """``convert(x) -> x`` to the dtype that ``x`` has."""
    return Convert(x.dtype)(x), x


#: Digits of the significand: whole numbers of so many bits are exact.
DIGITS = {
    float8_e4m3fn: 4, float8_e5m2: 3, float16: 11, bfloat16: 8, float32: 24, float64: 53,
}  # fmt: skip


def holds_every(wide: DType, narrow: DType) -> bool:
    """Whether every value of ``narrow`` is a value of ``wide``, nan and infinities included."""
    if narrow in (bool_, wide):
        return True
    if wide in INTEGER and narrow in INTEGER:
        inner, outer = np.iinfo(narrow), np.iinfo(wide)
        return bool(outer.min <= inner.min and inner.max <= outer.max)
    if wide in FLOATING and narrow in INTEGER:
        return bool(np.iinfo(narrow).max <= 2 ** DIGITS[wide])
    return narrow in FLOATING and wide in FLOATING and wide.itemsize > narrow.itemsize


@rule(
    cases=[
        (F32, Convert(int32), Convert(float64)),
        (ArrayType((3,), int8), Convert(float32), Convert(int32)),
        (BOOL, Convert(int32), Convert(float32)),
    ]
)
def convert_twice(x: Value, outer: Convert, inner: Convert) -> Rewrite:
    """``convert(convert(x)) -> convert(x)`` where the inner conversion loses nothing.

    By way of a floating dtype integers saturate, directly they wrap: then nothing may be lost.
    """
    if not holds_every(inner.dtype, x.dtype):
        return None
    saturates = x.dtype in INTEGER and inner.dtype in FLOATING and outer.dtype in INTEGER
    if saturates and not holds_every(outer.dtype, x.dtype):
        return None
    return outer(inner(x)), outer(x)


@rule(cases=[(F32,), (I32,)])
def bitcast_to_same(x: Value) -> Rewrite:
    """``bitcast(x) -> x`` to the dtype that ``x`` has."""
    return Bitcast(x.dtype)(x), x


@rule(cases=[(F32, Bitcast(float32), Bitcast(int32))])
def bitcast_twice(x: Value, outer: Bitcast, inner: Bitcast) -> Rewrite:
    """``bitcast(bitcast(x)) -> bitcast(x)``."""
    return outer(inner(x)), outer(x)
