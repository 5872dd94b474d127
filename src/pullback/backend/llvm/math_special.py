"""The error function, its complement and its inverse.

Imports ``math_core``, ``math_exp``, ``math_log`` and ``math_tables``.
"""

from __future__ import annotations

from typing import Final

from pullback.backend.llvm import math_exp, math_log
from pullback.backend.llvm import math_tables as tables
from pullback.backend.llvm.math_core import INF, NAN, Num, exact_product
from pullback.records import dataclass

#: erf in float is 1 from here on.
_ERF_LIMIT: Final = 3.94
_HALF_ROOT_PI: Final = 0.886226925452758


@dataclass(frozen=True, slots=True)
class _Tail:
    """``erfc(a) = factor * exp(-a*a)``, the exponential still to be scaled."""

    factor: Num
    gauss: Num
    reduced: math_exp.Reduced


def _tail(a: Num) -> _Tail:
    """For ``0.46 <= a <= 27.3``, in double. ``a*a`` keeps the digits that its rounding loses."""
    t = (a - tables.ERFC_CENTRE) / (a + tables.ERFC_CENTRE)
    factor = t.polynomial(tables.ERFC["double"]) / a.fma(2.0, 1.0)
    square = exact_product(a, a)
    reduced = math_exp.reduce(-square.high)
    gauss = reduced.p + 1.0
    return _Tail(factor, gauss - gauss * square.low, reduced)


def _erfc_positive(a: Num) -> Num:
    tail = _tail(a.at_most(27.3).at_least(0.46))
    return math_exp.scaled_down(tail.factor * tail.gauss, tail.reduced.bits)


def _erf_small(x: Num) -> Num:
    """For ``|x| <= 0.91``."""
    return x.fma((x * x).polynomial(tables.ERF[x.format.element]), x)


def emit_erf(x: Num) -> Num:
    """The error function."""
    if x.format.element == "float":
        return _erf_float(x)
    a = abs(x)
    outer = (1.0 - _erfc_positive(a)).with_sign_of(x)
    return outer.where(a > 0.9, _erf_small(x))


def _erf_float(x: Num) -> Num:
    """``1 - exp(-q(|x|))`` beyond 0.9."""
    a = abs(x)
    q = a.at_most(_ERF_LIMIT).polynomial(tables.ERF_TAIL["float"])
    reduced = math_exp.reduce(-q)
    scale = x.power_of_two(reduced.bits)
    outer = 1.0 - scale.fma(reduced.p, scale)
    return outer.with_sign_of(x).where(a > 0.9, _erf_small(x))


def emit_erfc(x: Num) -> Num:
    """1 - erf(x) (double)."""
    a = abs(x)
    tail = _erfc_positive(a)
    outer = (2.0 - tail).where(x < 0.0, tail)
    return outer.where(a > 0.5, 1.0 - _erf_small(x))


def emit_erfinv(x: Num) -> Num:
    """The inverse of the error function."""
    a = abs(x)
    w = -math_log.positive_log((1.0 - a) * (a + 1.0))
    element = x.format.element
    centre = w.polynomial(tables.ERFINV_CENTRE["float"])
    outer = (w.sqrt() - 3.0).polynomial(tables.ERFINV_TAIL[element])
    y = a * centre.where(w < 5.0, outer)
    if element == "double":
        y = _refine(y, a)
    y = y.constant(INF).where(a.equals(1.0), y)
    return y.where(a <= 1.0, NAN).with_sign_of(x)


def _refine(y: Num, a: Num) -> Num:
    """One step of Halley on ``erf(y) = a``, on erfc where ``a`` is near 1."""
    tail = _tail(y.at_most(27.3).at_least(0.46))
    near_one = a > 0.5
    complement = tail.factor * tail.gauss * y.power_of_two(tail.reduced.bits)
    excess = ((1.0 - a) - complement).where(near_one, _erf_small(y) - a)
    square = y * y
    reduced = math_exp.reduce(square.at_most(50.0))
    growth = (reduced.p + 1.0) * y.power_of_two(reduced.bits)
    step = excess * growth * _HALF_ROOT_PI
    return y - step / y.fma(step, 1.0)
