"""Exponential functions: exp, exp2, expm1, sigmoid, tanh, sinh, cosh.

Imports ``math_core`` and ``math_tables``. Start reading at ``Reduced``.

All rest on ``x = k log(2) + r`` with ``|r| <= log(2) / 2`` and a polynomial for ``exp(r) - 1``.
"""

from __future__ import annotations

from typing import Final

from pullback.backend.llvm import math_tables as tables
from pullback.backend.llvm.math_core import INF, Int, Mask, Num
from pullback.records import dataclass

LOG2_E: Final = 1.4426950408889634
LOG_2: Final = 0.6931471805599453
#: log(2) as a sum whose first part has so few digits that its products with ``k`` are exact.
LOG_2_PARTS: Final = {
    "float": (0.693145751953125, 1.428606765330187e-06),
    "double": (0.6931471803691238, 1.9082149292705877e-10),
}
#: Beyond these exp is 0 or infinite, and the exponent of its value still fits the bit tricks.
EXP_RANGE: Final = {"float": (-104.0, 89.0), "double": (-746.0, 710.0)}
EXP2_RANGE: Final = {"float": (-151.0, 129.0), "double": (-1076.0, 1025.0)}
#: Magnitudes up to which expm1(x) = x to the last digit.
TINY: Final = {"float": 2.0**-26, "double": 2.0**-55}
_SHIFT: Final = 64
#: Twice a number whose tanh is 1 in float.
_TANH_LIMIT: Final = 20.0


@dataclass(frozen=True, slots=True)
class Reduced:
    """``exp(x) = (1 + p) * 2**k``; the low bits of ``bits`` are ``k``."""

    p: Num
    k: Num
    bits: Int


def reduce(x: Num) -> Reduced:
    """Split a number in ``EXP_RANGE``."""
    k, bits = x.rounded(LOG2_E)
    high, low = LOG_2_PARTS[x.format.element]
    r = (-k).fma(low, (-k).fma(high, x))
    return Reduced(exp_tail(r), k, bits)


def exp_tail(r: Num) -> Num:
    """``exp(r) - 1`` for ``|r| <= 0.347``."""
    return (r * r).fma(r.polynomial(tables.EXP[r.format.element]), r)


def scaled(y: Num, bits: Int, small: Mask) -> Num:
    """``y * 2**k`` with one rounding, also where the result is subnormal or infinite.

    In two steps, since ``2**k`` itself may be out of range: ``2**(k ± 64)``, then ``2**(∓ 64)``.
    ``small`` says where ``k <= 0``, and may be wrong for ``|k|`` far from the ends.
    """
    bias, steps = y.format.bias, y.format.fraction_bits
    shift = bits.constant(bias + _SHIFT).where(small, bias - _SHIFT)
    last = y.constant(2.0**-_SHIFT).where(small, 2.0**_SHIFT)
    return y * ((bits + shift) << steps).as_float() * last


def scaled_down(y: Num, bits: Int) -> Num:
    """The same for ``k <= 0`` everywhere."""
    return y * y.power_of_two(bits + _SHIFT) * 2.0**-_SHIFT


def emit_exp(x: Num) -> Num:
    """The exponential function."""
    low, high = EXP_RANGE[x.format.element]
    x = x.at_most(high).at_least(low)
    reduced = reduce(x)
    return scaled(reduced.p + 1.0, reduced.bits, x < 0.0)


def emit_exp2(x: Num) -> Num:
    """2 to the x."""
    low, high = EXP2_RANGE[x.format.element]
    x = x.at_most(high).at_least(low)
    k, bits = x.rounded()
    return scaled(exp_tail((x - k) * LOG_2) + 1.0, bits, x < 0.0)


def emit_expm1(x: Num) -> Num:
    """``exp(x) - 1`` without cancellation."""
    high = EXP_RANGE[x.format.element][1]
    value = expm1_divided(x.at_most(high).at_least(-45.0), 1) * 2.0
    return x.where(abs(x) < TINY[x.format.element], value)


def expm1_divided(x: Num, halvings: int) -> Num:
    """``expm1(x) / 2**halvings`` for ``x >= -45``: the scale does not overflow before the value.

    ``2**k r + (2**k - 1)`` is nearly exact; the tail of the polynomial, with what the reduction's
    rounding lost, is added to it.
    """
    k, bits = x.rounded(LOG2_E)
    high, low = LOG_2_PARTS[x.format.element]
    first = (-k).fma(high, x)
    r = (-k).fma(low, first)
    lost = (-k).fma(low, first - r)
    tail = (r * r).fma(r.polynomial(tables.EXP[x.format.element]), lost)
    scale = x.power_of_two(bits - halvings)
    return scale.fma(tail, scale.fma(r, scale - 0.5**halvings))


def emit_sigmoid(x: Num) -> Num:
    """1 / (1 + exp(-x)), as ``e / (1 + e)`` on the negative side."""
    y = (-abs(x)).at_least(EXP_RANGE[x.format.element][0])
    reduced = reduce(y)
    e = scaled_down(reduced.p + 1.0, reduced.bits)
    return e.where(x < 0.0, 1.0) / (e + 1.0)


def emit_tanh(x: Num) -> Num:
    """Hyperbolic tangent."""
    a = abs(x)
    if x.format.element == "double":
        e = expm1_divided((a * 2.0).at_most(45.0), 1)
        return (e / (e + 1.0)).with_sign_of(x)
    reduced = reduce((a * 2.0).at_most(_TANH_LIMIT))
    scale = x.power_of_two(reduced.bits)
    outer = 1.0 - 2.0 / scale.fma(reduced.p, scale + 1.0)
    z = a * a
    inner = (a * z).fma(z.polynomial(tables.TANH["float"]), a)
    return outer.where(a > 0.6, inner).with_sign_of(x)


def emit_sinh(x: Num) -> Num:
    """Hyperbolic sine (double)."""
    # u = expm1(|x|) / 2 overflows no sooner than the result; sinh = u + u / (2u + 1).
    u = expm1_divided(abs(x).at_most(710.6), 2) * 2.0
    value = u.where(u > 2.0**60, u + u / u.fma(2.0, 1.0))
    value = abs(x).where(abs(x) < TINY["double"], value)
    return value.with_sign_of(x)


def emit_cosh(x: Num) -> Num:
    """Hyperbolic cosine (double)."""
    reduced = reduce(abs(x).at_most(710.6))
    half = (reduced.p + 1.0) * x.power_of_two(reduced.bits - 2) * 2.0
    value = half + 0.25 / half
    return x.constant(INF).where(half.equals(INF), value)
