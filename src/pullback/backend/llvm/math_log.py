"""Logarithms and what rests on them: log, log2, log10, log1p, asinh, acosh, atanh, pow, cbrt.

Imports ``math_core``, ``math_exp`` and ``math_tables``. Start reading at ``Split``.

All rest on ``x = 2**k (1 + f)`` with ``1 + f`` between ``sqrt(1/2)`` and ``sqrt(2)``.
"""

from __future__ import annotations

import struct
from typing import Final

from pullback.backend.llvm import math_tables as tables
from pullback.backend.llvm.math_core import (
    INF,
    NAN,
    Int,
    Mask,
    Num,
    Pair,
    constant_pair,
    exact_product,
    exact_sum,
    quick_sum,
)
from pullback.backend.llvm.math_exp import LOG_2, LOG_2_PARTS, exp_tail, scaled
from pullback.backend.llvm.math_round import emit_trunc
from pullback.records import dataclass

_SCALE: Final = {"float": 23, "double": 54}
LOG2_E_PAIR: Final = (1.4426950408889634, 2.0355273740931033e-17)
LOG10_E_PAIR: Final = (0.4342944819032518, 1.098319650216765e-17)
#: log10(2) with few digits in the first part, and the rest.
LOG10_2_PARTS: Final = (0.30102999560767785, 5.630334806675098e-11)
_HALF_ROOT: Final = 0.7071067811865476


@dataclass(frozen=True, slots=True)
class Split:
    """``x = 2**k (1 + f)``, for positive finite ``x``."""

    k: Num
    f: Num
    exponent: Int


def split(x: Num) -> Split:
    """Split positive numbers, subnormal ones too."""
    form = x.format
    steps = _SCALE[form.element]
    tiny = x < form.smallest_normal
    root = _bits_of(_HALF_ROOT, form.element)
    bits = (x * 2.0**steps).where(tiny, x).bits() - root
    exponent = bits >> form.fraction_bits
    f = ((bits & form.fraction_mask) + root).as_float() - 1.0
    magic = x.constant(form.magic)
    shifted = (exponent + _bits_of(form.magic, form.element)).as_float()
    return Split(shifted - x.constant(form.magic + steps).where(tiny, magic), f, exponent)


def _bits_of(value: float, element: str) -> int:
    if element == "float":
        return int(struct.unpack("<i", struct.pack("<f", value))[0])
    return int(struct.unpack("<q", struct.pack("<d", value))[0])


@dataclass(frozen=True, slots=True)
class Tail:
    """``log(1 + f) = f - (half_square - correction)``."""

    half_square: Num
    correction: Num


def log_tail(f: Num) -> Tail:
    """What ``log(1 + f)`` is besides ``f``."""
    half_square = f * f * 0.5
    if f.format.element == "float":
        return Tail(half_square, f * f * f * f.polynomial(tables.LOG["float"]))
    # With s = f / (2 + f): log(1 + f) = 2 s + s R(s*s) = f - (f*f/2 - s (f*f/2 + R)).
    s = f / (f + 2.0)
    z = s * s
    rest = z * z.polynomial(tables.LOG["double"])
    return Tail(half_square, s * (half_square + rest))


def _finish(x: Num, value: Num) -> Num:
    """The logarithm where it is an ordinary number; else -inf, inf or nan."""
    special = x.constant(INF).where(x.equals(INF), NAN)
    special = x.constant(-INF).where(x.equals(0.0), special)
    return value.where((x > 0.0) & (x < INF), special)


def _log_of(parts: Split) -> Num:
    tail = log_tail(parts.f)
    high, low = LOG_2_PARTS[parts.f.format.element]
    rest = parts.k.fma(low, tail.correction) - tail.half_square
    return parts.k.fma(high, parts.f + rest)


def emit_log(x: Num) -> Num:
    """Natural logarithm."""
    return _finish(x, _log_of(split(x)))


def positive_log(x: Num) -> Num:
    """Natural logarithm of positive finite numbers, without the special cases."""
    return _log_of(split(x))


def emit_log1p(x: Num) -> Num:
    """log(1 + x)."""
    total = exact_sum(x.constant(1.0), x)
    u = total.high
    parts = split(u)
    # What the rounding of 1 + x lost, in units of 2**k; of no effect for large k.
    unit = x.power_of_two(parts.exponent.constant(0) - parts.exponent)
    lost = (total.low * unit).where(parts.k < float(x.format.fraction_bits + 3), 0.0)
    value = _log_of(Split(parts.k, parts.f + lost, parts.exponent))
    return _finish(u, value.with_sign_of(x))


def emit_log2(x: Num) -> Num:
    """Binary logarithm; exact for powers of two."""
    parts = split(x)
    if x.format.element == "float":
        high, low = 1.4426950216293335, 1.9259629911266175e-08
        tail = log_tail(parts.f)
        rest = tail.correction - tail.half_square
        value = parts.f.fma(high, parts.f.fma(low, rest * high)) + parts.k
        return _finish(x, value)
    scaled_log = _times_constant(parts.f, LOG2_E_PAIR)
    total = quick_sum(parts.k, scaled_log.high)
    value = total.high + (total.low + scaled_log.low)
    return _finish(x, scaled_log.high.where(parts.k.equals(0.0), value))


def emit_log10(x: Num) -> Num:
    """Decimal logarithm (double)."""
    parts = split(x)
    high, low = LOG10_2_PARTS
    scaled_log = _times_constant(parts.f, LOG10_E_PAIR)
    total = quick_sum(parts.k * high, scaled_log.high)
    value = total.high + (total.low + parts.k.fma(low, scaled_log.low))
    return _finish(x, (scaled_log.high + scaled_log.low).where(parts.k.equals(0.0), value))


def _times_constant(f: Num, constant: tuple[float, float]) -> Pair:
    """``log(1 + f)`` times a constant."""
    tail = log_tail(f)
    head = exact_sum(f, -tail.half_square)
    log = Pair(head.high, head.low + tail.correction)
    return log.times(constant_pair(f, *constant))


# --- inverse hyperbolic functions (double) -------------------------------------------------------
_HUGE: Final = 2.0**55


def emit_asinh(x: Num) -> Num:
    """Inverse hyperbolic sine: ``log1p(a + a² / (1 + sqrt(1 + a²)))``."""
    a = abs(x)
    square = a * a
    small = a + square / ((square + 1.0).sqrt() + 1.0)
    return _log1p_or_huge(a, small).with_sign_of(x)


def emit_acosh(x: Num) -> Num:
    """Inverse hyperbolic cosine: ``log1p(t + sqrt(2 t + t²))``, ``t = x - 1``."""
    t = x - 1.0
    small = t + t.fma(t, t * 2.0).sqrt()
    return _log1p_or_huge(x, small).where(x >= 1.0, NAN)


def _log1p_or_huge(a: Num, small: Num) -> Num:
    """``log1p(small)``, or ``log(2 a)`` where squares would overflow."""
    huge = a > _HUGE
    return emit_log1p(a.where(huge, small)) + a.constant(LOG_2).where(huge, 0.0)


def emit_atanh(x: Num) -> Num:
    """Inverse hyperbolic tangent: ``log1p(2 a / (1 - a)) / 2``."""
    a = abs(x)
    return (emit_log1p(a * 2.0 / (1.0 - a)) * 0.5).with_sign_of(x)


# --- powers (double) -----------------------------------------------------------------------------
def emit_pow(x: Num, y: Num, *, precise: bool) -> Num:
    """Power, with C's special cases.

    ``precise`` carries the logarithm as a pair, for results in double; results rounded to float
    need no more than the digits of one double.
    """
    base = abs(x)
    exponent = y.at_most(1e25).at_least(-1e25)  # infinite powers of 1 ± 2**-53 already overflow
    product = _log2_times(base, exponent, precise=precise)
    high = product.high.at_most(1080.0).at_least(-1080.0)
    k, bits = high.rounded()
    rest = (high - k) + product.low.where(high.equals(product.high), 0.0)
    value = scaled(exp_tail(rest * LOG_2) + 1.0, bits, high < 0.0)
    grows = (y > 0.0) ^ base.equals(0.0)
    ends = x.constant(INF).where(grows, 0.0)
    value = ends.where(base.equals(0.0) | base.equals(INF), value)
    return _signed_power(x, y, value)


def _log2_times(base: Num, exponent: Num, *, precise: bool) -> Pair:
    """``exponent * log2(base)``."""
    parts = split(base)
    if not precise:
        log = _times_constant(parts.f, LOG2_E_PAIR)
        return Pair((parts.k + log.high) * exponent, base.constant(0.0))
    log = log_pair(parts.f).times(constant_pair(base, *LOG2_E_PAIR))
    total = exact_sum(parts.k, log.high)
    return quick_sum(total.high, total.low + log.low).times_number(exponent)


def log_pair(f: Num) -> Pair:
    """``log(1 + f)`` with an error near 2**-68 of its value.

    ``2 s + 2/3 s³ + s⁵ (…)`` with ``s = f / (2 + f)``; the first two terms as pairs.
    """
    below = exact_sum(f.constant(2.0), f)
    s_high = f / below.high
    product = exact_product(s_high, below.high)
    remainder = ((f - product.high) - product.low) - s_high * below.low
    s = Pair(s_high, remainder / below.high)
    square = s.times(s)
    # LOG holds (2 atanh(s)/s - 2) / z; its constant term is 2/3 up to rounding.
    series = square.high.polynomial([0.0, *tables.LOG_PAIR["double"]])
    cubic = constant_pair(f, 2.0 / 3.0, 3.700743415417188e-17).plus(Pair(series, f.constant(0.0)))
    twice = Pair(s.high * 2.0, s.low * 2.0)
    return twice.plus(s.times(square).times(cubic))


def _signed_power(x: Num, y: Num, value: Num) -> Num:
    """Sign and special cases of ``|x| ** y``."""
    whole, odd = _parity(y)
    negative = x.is_negative()
    value = (-value).where(negative & odd, value)
    value = value.constant(NAN).where((x < 0.0) & (x > -INF) & ~whole, value)
    value = (x + y).where(x.is_nan() | y.is_nan(), value)
    return value.constant(1.0).where(x.equals(1.0) | y.equals(0.0), value)


def _parity(y: Num) -> tuple[Mask, Mask]:
    """Whether a number is whole, and whether it is odd."""
    whole = emit_trunc(y).equals(y)
    half = y * 0.5
    return whole, whole & ~emit_trunc(half).equals(half)


def emit_cbrt(x: Num) -> Num:
    """Cube root (double): bits divided by three, two steps of Halley, one of Newton."""
    a = abs(x)
    tiny, huge = a < 2.0**-900, a > 2.0**900
    a = (a * 2.0**210).where(tiny, (a * 2.0**-210).where(huge, a))
    y = _cbrt_start(a)
    for _ in range(2):
        cube = y * y * y
        y = y * ((cube + 2.0 * a) / (2.0 * cube + a))
    square = exact_product(y, y)
    cube_pair = exact_product(square.high, y)
    excess = (cube_pair.high - a) + square.low.fma(y, cube_pair.low)
    y = y - excess / (square.high * 3.0)
    y = (y * 2.0**-70).where(tiny, (y * 2.0**70).where(huge, y))
    ordinary = (abs(x) > 0.0) & (abs(x) < INF)
    return y.with_sign_of(x).where(ordinary, x)


def _cbrt_start(a: Num) -> Num:
    """A cube root right to 5 bits: a third of the exponent and of the fraction's first bits."""
    f = a.f
    word = f.convert("trunc", a.bits().logical_shift(32).v, "i32")
    third = Num(f, f.convert("sitofp", word, "double")).fma(1.0 / 3.0, 715094163.0)
    start = f.convert("zext", f.convert("fptosi", third.v, "i32"), "i64")
    return (Int(f, start) << 32).as_float()
