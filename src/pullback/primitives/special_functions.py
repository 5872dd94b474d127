"""Error and gamma functions of NumPy arrays in float64: what the special primitives evaluate.

Imports nothing of pullback. NumPy has none of these; SciPy is not needed to run. Bounds in the
docstrings were measured with mpmath (``tests/primitives``).
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import numpy as np

NDArray = np.ndarray[Any, Any]

_EULER_GAMMA: Final = 0.5772156649015329
_HALF_LOG_2_PI: Final = 0.9189385332046727
_HALF_SQRT_PI: Final = math.sqrt(math.pi) / 2
#: Bernoulli numbers B2, B4, …, B20.
_BERNOULLI: Final = (
    1 / 6,
    -1 / 30,
    1 / 42,
    -1 / 30,
    5 / 66,
    -691 / 2730,
    7 / 6,
    -3617 / 510,
    43867 / 798,
    -174611 / 330,
)
#: From here on ten terms of the asymptotic series of the gamma functions are exact in float64.
_ASYMPTOTIC: Final = 10.0

_erf = np.frompyfunc(math.erf, 1, 1)
_erfc = np.frompyfunc(math.erfc, 1, 1)


def erf(x: NDArray) -> NDArray:
    """Error function ``2/sqrt(pi) * integral of exp(-t^2) from 0 to x``, within 1 ulp.

    Source: the C library, by way of ``math.erf``.
    """
    return np.asarray(_erf(x), np.float64)


def erfc(x: NDArray) -> NDArray:
    """``1 - erf(x)`` without cancellation, within 2 ulp.

    Source: the C library, by way of ``math.erfc``.
    """
    return np.asarray(_erfc(x), np.float64)


def erfinv(x: NDArray) -> NDArray:
    """Inverse of ``erf`` on [-1, 1], within 4 ulp; infinite at the ends, nan outside.

    Source: start by Winitzki 2008, "A handy approximation for the error function and its inverse"
    (relative error 1e-2 or less), then three steps of Halley's method, which cube the error.
    """
    size = np.abs(x)
    inside = size < 1
    p = np.where(inside, size, 0.0)
    a = 0.147
    logarithm = np.log1p(-p * p)
    t = 2 / (math.pi * a) + logarithm / 2
    y = np.sqrt((-logarithm / a) / (np.sqrt(t * t - logarithm / a) + t))
    for _ in range(3):
        # Each difference is of the quantity that is known to more digits.
        residual = np.where(p < 0.5, erf(y) - p, (1 - p) - erfc(y))
        newton = residual * _HALF_SQRT_PI * np.exp(y * y)
        y = y - newton / (1 + y * newton)
    ends = np.where(size == 1, np.inf, np.nan)
    return np.asarray(np.copysign(np.where(inside, y, ends), x))


def _at_pole(x: NDArray) -> Any:
    """Whether x is 0 or a negative integer, where the gamma function has its poles."""
    return (x <= 0) & (x == np.floor(x))


def lgamma(x: NDArray) -> NDArray:
    """``log |gamma(x)|``; infinite at the poles 0, -1, -2, … and at both infinities.

    Error: 4 ulp for x > 0; for x < 0, 4 ulp of the largest term of the reflection.
    Source: Abramowitz & Stegun 6.1.17 (reflection), 6.1.33 (series at 1), 6.1.40 (asymptotic).
    """
    size = np.abs(x)
    positive = _lgamma_positive(size)
    # For tiny sizes sin(pi x) could underflow; there gamma(x) is 1/x.
    sine = np.abs(np.sin(math.pi * (size - np.rint(size))))
    reflected = np.log(math.pi / sine) - np.log(size) - positive
    negative = np.where(size < 1e-20, positive, reflected)
    result = np.where(x < 0, negative, positive)
    return np.where(_at_pole(x) | np.isinf(x), np.inf, result)


def _lgamma_positive(x: NDArray) -> NDArray:
    """Compute by the series near 1 and 2, a product up to 10, and Stirling's series beyond."""
    center = np.rint(np.clip(np.nan_to_num(x), 0, _ASYMPTOTIC))
    offset = np.where(x < _ASYMPTOTIC, x - center, 0.0)
    result = _lgamma_series(offset)
    product = np.ones_like(result)
    for j in range(2, int(_ASYMPTOTIC)):
        product = np.where(center > j, product * (offset + j), product)
    result = np.where(center > 2, result + np.log(product), result)
    result = np.where(center < 2, result - np.log1p(offset), result)
    result = np.where(center < 1, result - np.log(x), result)
    return np.where(x < _ASYMPTOTIC, result, _stirling(x))


def _stirling(x: NDArray) -> NDArray:
    large = np.maximum(x, _ASYMPTOTIC)
    inverse = 1 / large
    series = np.zeros_like(large)
    for j in range(len(_BERNOULLI), 0, -1):
        series = series * inverse * inverse + _BERNOULLI[j - 1] / (2 * j * (2 * j - 1))
    return (large - 0.5) * np.log(large) - large + _HALF_LOG_2_PI + series * inverse


@functools.cache
def _lgamma_coefficients() -> tuple[float, ...]:
    """Return the coefficients of lgamma(2 + z) = c1 z + c2 z^2 + …, for |z| <= 1/2."""
    two = np.asarray(2.0)
    zeta = [float(_hurwitz_zeta(k, two)) for k in range(2, 32)]  # zeta(k) - 1
    tail = [(-1) ** k * value / k for k, value in enumerate(zeta, 2)]
    return (1 - _EULER_GAMMA, *tail)


def _lgamma_series(z: NDArray) -> NDArray:
    result = np.zeros_like(z)
    for coefficient in reversed(_lgamma_coefficients()):
        result = (result + coefficient) * z
    return result


def digamma(x: NDArray) -> NDArray:
    """Derivative of ``lgamma``; -inf at 0, inf at -0, nan at the poles -1, -2, ….

    Error: 4 ulp of max(1, |result|) for x > 0, which is not small beside the result near its zero
    1.4616; for x < 0, 4 ulp of the largest term of the reflection.
    Source: Abramowitz & Stegun 6.3.5, 6.3.7 (reflection), 6.3.18 (asymptotic).
    """
    negative = x < 0
    y = np.where(negative, 1 - x, x)
    total = np.zeros_like(y)
    for _ in range(int(_ASYMPTOTIC)):
        small = y < _ASYMPTOTIC
        total = np.where(small, total - 1 / y, total)
        y = np.where(small, y + 1, y)
    inverse = 1 / (y * y)
    series = np.zeros_like(y)
    for j in range(len(_BERNOULLI), 0, -1):
        series = (series + _BERNOULLI[j - 1] / (2 * j)) * inverse
    result = total + (np.log(y) - 0.5 / y - series)
    result = np.where(negative, result - math.pi * _cotangent(x), result)
    pole = np.where(x == 0, -np.copysign(np.inf, x), np.nan)
    return np.where(_at_pole(x), pole, result)


def _cotangent(x: NDArray) -> Any:
    """Compute cot(pi x) of the fraction of x, which is exact, from the nearer of its ends."""
    fraction = x - np.rint(x)
    rest = 0.5 - np.abs(fraction)
    near_half = np.copysign(np.tan(math.pi * rest), fraction)
    return np.where(rest < 0.25, near_half, 1 / np.tan(math.pi * fraction))


def polygamma(n: int, x: NDArray) -> NDArray:
    """Derivative number ``n`` >= 1 of ``digamma``; at the poles and -inf, inf or -inf (n even).

    Error: 8 ulp for x > 0; for x < 0, 8 ulp of the largest term of the reflection.
    Source: Abramowitz & Stegun 6.4.7 (reflection), 6.4.10 (Hurwitz zeta function).
    """
    factorial = float(math.factorial(n)) if n <= 170 else math.inf
    sign = -1.0 if n % 2 == 0 else 1.0
    negative = x < 0
    result = sign * factorial * _hurwitz_zeta(n + 1, np.where(negative, 1 - x, x))
    reflected = -sign * result - math.pi ** (n + 1) * _cotangent_derivative(n, _cotangent(x))
    result = np.where(negative, reflected, result)
    return np.where(_at_pole(x), sign * np.inf, result)


def _cotangent_derivative(n: int, cotangent: NDArray) -> NDArray:
    """Return the n-th derivative of cot at a point, from its value: P' (-1 - c^2) n times."""
    coefficients = np.array([0.0, 1.0])
    for _ in range(n):
        slope = np.polynomial.polynomial.polyder(coefficients)
        coefficients = np.polynomial.polynomial.polymul(slope, [-1.0, 0.0, -1.0])
    result = np.full_like(cotangent, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * cotangent + coefficient
    return result


def _hurwitz_zeta(s: int, x: NDArray) -> NDArray:
    """Sum ``(x + k)^-s`` over k >= 0 for s >= 2, x > 0, by the Euler-Maclaurin formula."""
    start = _ASYMPTOTIC + s
    y = np.asarray(x, np.float64)
    total = np.zeros_like(y)
    for _ in range(int(start)):
        small = y < start
        total = np.where(small, total + y**-s, total)
        y = np.where(small, y + 1, y)
    # The j-th term is B_2j / (2j)! * s (s + 1) … (s + 2j - 2) * y^(1 - s - 2j).
    tail, factor = np.zeros_like(y), s / 2 * y ** (-1 - s)
    for j, bernoulli in enumerate(_BERNOULLI, 1):
        tail = tail + bernoulli * factor
        factor = factor * ((s + 2 * j - 1) * (s + 2 * j) / ((2 * j + 1) * (2 * j + 2))) / (y * y)
    return total + (y ** (1 - s) / (s - 1) + 0.5 * y**-s + tail)
