"""The gamma function's logarithm and its derivatives, in double.

Imports ``math_core``, ``math_log``, ``math_round``, ``math_trig`` and ``math_tables``.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

from pullback.backend.llvm import math_log
from pullback.backend.llvm import math_tables as tables
from pullback.backend.llvm.math_core import INF, NAN, Num
from pullback.backend.llvm.math_round import emit_round
from pullback.backend.llvm.math_trig import PI, sine_cosine_of_pi_times

#: Bernoulli's numbers B2, B4, … B20.
BERNOULLI: Final = tuple(
    Fraction(*pair)
    for pair in (
        (1, 6),
        (-1, 30),
        (1, 42),
        (-1, 30),
        (5, 66),
        (-691, 2730),
        (7, 6),
        (-3617, 510),
        (43867, 798),
        (-174611, 330),
    )
)
_HALF_LOG_2_PI: Final = 0.9189385332046728
_LGAMMA_STIRLING: Final = 8.5
_DIGAMMA_ASYMPTOTIC: Final = 10.0
MAX_ORDER: Final = 100


def emit_lgamma(x: Num) -> Num:
    """Logarithm of ``|gamma(x)|``, with the reflection formula on the negative side."""
    a = abs(x)
    value = _lgamma_positive(a)
    fraction = x - emit_round(x)
    sine, _ = sine_cosine_of_pi_times(fraction)
    reflected = -math_log.emit_log(a * abs(sine) * (1.0 / PI[0])) - value
    reflected = reflected.constant(INF).where(fraction.equals(0.0), reflected)
    value = reflected.where((x < 0.0) & (a > 1e-17), value)
    return value.constant(INF).where(a.equals(INF) | a.equals(0.0), value)


def _lgamma_positive(a: Num) -> Num:
    """Stirling's series, or a polynomial around 2 after shifting there by a product."""
    whole = emit_round(a)
    t = a - whole
    product = a.constant(1.0)
    for j in range(1, 7):
        product = product * (a - float(j)).where(whole > j + 1.5, 1.0)
    below = a * (a + 1.0).where(whole < 0.5, 1.0)
    is_below, is_large = whole < 1.5, a >= _LGAMMA_STIRLING
    log = math_log.positive_log(a.where(is_large, below.where(is_below, product)))
    shifted = t.fma(t.polynomial(tables.LGAMMA["double"]), (-log).where(is_below, log))
    inverse = 1.0 / a
    series = inverse * (inverse * inverse).polynomial(_stirling())
    large = (a - 0.5).fma(log - 1.0, series + (_HALF_LOG_2_PI - 0.5))
    return large.where(is_large, shifted)


def _stirling() -> list[float]:
    return [float(b / (2 * k * (2 * k - 1))) for k, b in enumerate(BERNOULLI[:8], 1)]


def emit_digamma(x: Num) -> Num:
    """Derivative of log gamma."""
    negative = x < 0.0
    value = _digamma_positive((1.0 - x).where(negative, x))
    fraction = x - emit_round(x)
    sine, cosine = sine_cosine_of_pi_times(fraction)
    reflected = value - PI[0] * cosine / sine
    reflected = reflected.where(~fraction.equals(0.0), NAN)
    value = reflected.where(negative, value)
    return x.constant(INF).where(x.equals(INF), value)


def _digamma_positive(y: Num) -> Num:
    """An asymptotic series, or a polynomial on 1..2 after shifting there by reciprocals."""
    numerator, denominator = y.constant(0.0), y.constant(1.0)
    v = y - 1.0
    for j in range(1, 9):
        term = y - float(j)
        active = term >= 1.0
        numerator = numerator.fma(term, denominator).where(active, numerator)
        denominator = (denominator * term).where(active, denominator)
        v = (term - 1.0).where(active, v)
    below = y < 1.0
    v = y.where(below, v)
    numerator = y.constant(-1.0).where(below, numerator)
    denominator = y.where(below, denominator)
    high, low = tables.DIGAMMA_ROOT_LESS_ONE
    distance = (v - high) - low
    near = distance.fma((v - 0.5).polynomial(tables.DIGAMMA["double"]), numerator / denominator)
    inverse = 1.0 / y
    square = inverse * inverse
    coefficients = [float(b / (2 * k)) for k, b in enumerate(BERNOULLI[:8], 1)]
    series = inverse.fma(0.5, square * square.polynomial(coefficients))
    far = math_log.positive_log(y) - series
    return far.where(y >= _DIGAMMA_ASYMPTOTIC, near)


def emit_polygamma(x: Num, order: int) -> Num:
    """The derivative of digamma of ``order`` 1..MAX_ORDER.

    Raises:
        ValueError: the order is outside its range.
    """
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"polygamma of order {order}; expected 1..{MAX_ORDER}")
    sign = -1.0 if order % 2 == 0 else 1.0
    negative = x < 0.0
    value = _polygamma_positive((1.0 - x).where(negative, x), order) * sign
    fraction = x - emit_round(x)
    sine, cosine = sine_cosine_of_pi_times(fraction)
    slope = _cotangent_derivative(cosine / sine, order)
    reflected = value * (-sign) - slope
    value = reflected.where(negative, value)
    pole = (fraction.equals(0.0) & (x <= 0.0)) | x.equals(-INF)
    return x.constant(sign * INF).where(pole, value)


def _polygamma_positive(y: Num, order: int) -> Num:
    """``order! * sum(1 / (y + k)**(order + 1))``: the first terms, then Euler and Maclaurin."""
    f, end = y.f, float(order + 12)
    current, total = f.alloca(y.v.type), f.alloca(y.v.type)
    f.store(y.v, current)
    f.store(y.constant(0.0).v, total)
    with f.loop(0, order + 12):
        z = Num(f, f.load(y.v.type, current))
        active = z < end
        sum_so_far = Num(f, f.load(y.v.type, total))
        inverse = 1.0 / z
        term = _factorial_power(inverse, order + 1) * inverse
        f.store((sum_so_far + term).where(active, sum_so_far).v, total)
        f.store((z + 1.0).where(active, z).v, current)
    z = Num(f, f.load(y.v.type, current))
    inverse = 1.0 / z
    base = _factorial_power(inverse, order) * inverse
    factors = [
        float(b * math.factorial(2 * k + order - 1))
        / (math.factorial(2 * k) * math.factorial(order - 1))
        for k, b in enumerate(BERNOULLI, 1)
    ]
    square = inverse * inverse
    series = square.fma(square.polynomial(factors), inverse.fma(order / 2, 1.0))
    return base.fma(series, Num(f, f.load(y.v.type, total)))


def _factorial_power(inverse: Num, count: int) -> Num:
    """``(count - 1)! * inverse**(count - 1)`` without intermediate overflow."""
    product = inverse.constant(1.0)
    for i in range(1, count):
        product = product * (inverse * float(i))
    return product


def _cotangent_derivative(cotangent: Num, order: int) -> Num:
    """``pi * d**n cot(pi x) / dx**n`` as a polynomial in ``cot(pi x)``."""
    coefficients = [Fraction(0), Fraction(1)]
    for _ in range(order):
        slope = [k * c for k, c in enumerate(coefficients)][1:]
        grown = [Fraction(0)] * (len(coefficients) + 1)
        for k, c in enumerate(slope):
            grown[k] -= c
            grown[k + 2] -= c
        coefficients = grown
    scale = math.pi ** (order + 1)
    return cotangent.polynomial([float(c) * scale for c in coefficients])
