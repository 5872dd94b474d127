"""Fit the polynomials of ``backend/llvm/math_*.py`` and print ``math_tables.py``.

Run ``python tools/fit_polynomials.py > src/pullback/backend/llvm/math_tables.py``; needs mpmath.
Every fit is a weighted minimax polynomial (Remez' exchange algorithm) in 50 digits, rounded to the
element type. Takes about a minute.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

mp.mp.dps = 50
Real = Any  # mpmath has no types
Fn = Callable[[Real], Real]
Functions = tuple[Fn, Fn]  # the function, the weight of its error
Ends = tuple[Real, Real]
GRID = 1200
ROUNDS = 25


@dataclass(frozen=True)
class Fit:
    """A polynomial ``p`` of ``degree`` with least maximum of ``|weight * (p - function)|``."""

    name: str
    meaning: str
    function: Fn
    low: Real
    high: Real
    degree: int
    weight: Fn
    element: str


def remez(fit: Fit) -> tuple[list[Real], Real]:
    """Coefficients, constant first, and the largest weighted error."""
    n = fit.degree + 2
    low, high = mp.mpf(fit.low), mp.mpf(fit.high)
    middle, half = (low + high) / 2, (high - low) / 2
    nodes = [middle - half * mp.cos(mp.pi * (i + mp.mpf("0.45")) / n) for i in range(n)]
    grid = [middle - half * mp.cos(mp.pi * (i + mp.mpf("0.5")) / GRID) for i in range(GRID)]
    exact = [(x, fit.function(x), fit.weight(x)) for x in grid]
    best: tuple[list[Real], Real] | None = None
    for _ in range(ROUNDS):
        coefficients = _level(fit, nodes, middle)
        errors = [(w * (_value(coefficients, x - middle) - y), x) for x, y, w in exact]
        largest = max(abs(e) for e, _ in errors)
        if best is None or largest < best[1]:
            best = (coefficients, largest)
        peaks = _alternating_peaks(errors, n)
        if len(peaks) < n or _spread(peaks) < mp.mpf("1.001"):
            break
        nodes = [x for _, x in peaks]
    if best is None:
        raise RuntimeError(fit.name)
    return _shifted(best[0], -middle), best[1]


def _level(fit: Fit, nodes: list[Real], middle: Real) -> list[Real]:
    """Polynomial in ``x - middle`` whose weighted error alternates at the nodes."""
    n = len(nodes)
    matrix, right = mp.matrix(n, n), mp.matrix(n, 1)
    for i, x in enumerate(nodes):
        power = mp.mpf(1)
        for j in range(n - 1):
            matrix[i, j] = power
            power *= x - middle
        weight = fit.weight(x)
        matrix[i, n - 1] = (-1) ** i / weight if weight else mp.mpf(0)
        right[i] = fit.function(x)
    solution = mp.lu_solve(matrix, right)
    return [solution[j] for j in range(n - 1)]


def _alternating_peaks(errors: list[tuple[Real, Real]], n: int) -> list[tuple[Real, Real]]:
    """The largest error of each run of one sign; the ``n`` most useful neighbours of them."""
    peaks: list[tuple[Real, Real]] = []
    for error, x in errors:
        if peaks and (peaks[-1][0] > 0) == (error > 0):
            if abs(error) > abs(peaks[-1][0]):
                peaks[-1] = (error, x)
        else:
            peaks.append((error, x))
    while len(peaks) > n:
        peaks.pop(0 if abs(peaks[0][0]) < abs(peaks[-1][0]) else -1)
    return peaks


def _spread(peaks: list[tuple[Real, Real]]) -> Real:
    sizes = [abs(e) for e, _ in peaks]
    return max(sizes) / min(sizes)


def _value(coefficients: list[Real], x: Real) -> Real:
    total = mp.mpf(0)
    for c in reversed(coefficients):
        total = total * x + c
    return total


def _shifted(coefficients: list[Real], shift: Real) -> list[Real]:
    """Coefficients of ``p(x + shift)``: Horner's scheme on polynomials."""
    result = [mp.mpf(0)] * len(coefficients)
    for c in reversed(coefficients):
        result = [a + shift * b for a, b in zip([c, *result[:-1]], result, strict=True)]
    return result


def _log_tail(x: Real) -> Real:
    return (mp.log1p(x) - x + x * x / 2) / x**3


def _atanh_tail(z: Real) -> Real:
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) / s - 2) / z


def _odd_tail(function: Fn) -> Fn:
    """``z -> (f(x) - x) / x**3`` for an odd function, with ``x = sqrt(z)``."""
    return lambda z: (function(mp.sqrt(z)) - mp.sqrt(z)) / (z * mp.sqrt(z))


def _odd_weight(function: Fn) -> Fn:
    return lambda z: z * mp.sqrt(z) / function(mp.sqrt(z))


def _erfc_variable(x: Real) -> Real:
    return (x - ERFC_CENTRE) / (x + ERFC_CENTRE)


def _scaled_erfc(t: Real) -> Real:
    x = ERFC_CENTRE * (1 + t) / (1 - t)
    return mp.exp(x * x) * (1 + 2 * x) * mp.erfc(x)


def _erfinv_ratio(w: Real) -> Real:
    """``erfinv(x) / x`` as a function of ``w = -log(1 - x*x)``."""
    x = mp.sqrt(-mp.expm1(-w))
    # Newton on erfc keeps digits that erfinv loses where x is close to 1.
    rest = mp.exp(-w) / (1 + x)
    y = mp.sqrt(w) * mp.mpf("0.9")
    for _ in range(12):
        y += (mp.erfc(y) - rest) * mp.sqrt(mp.pi) / 2 * mp.exp(y * y)
    return y / x


def _erfinv_tail(t: Real) -> Real:
    return _erfinv_ratio((t + 3) ** 2)


def _reciprocal(function: Fn) -> Fn:
    return lambda x: 1 / abs(function(x))


ERFC_CENTRE = mp.mpf("5.25")
DIGAMMA_ROOT = mp.findroot(mp.digamma, mp.mpf("1.4616321449683623"))
HALF_LOG2 = mp.mpf("0.3470")  # a little more than log(2) / 2: the reduction rounds
ROOT = mp.sqrt(mp.mpf("0.5")) - 1
LOG_END = mp.mpf("0.02945")
QUARTER = mp.mpf("0.78551") ** 2


def _exp_tail(r: Real) -> Real:
    return (mp.expm1(r) - r) / r**2


def _exp_weight(r: Real) -> Real:
    return r**2 / abs(mp.expm1(r))


def _cos_tail(z: Real) -> Real:
    return (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2


def _cos_weight(z: Real) -> Real:
    return z**2 / mp.cos(mp.sqrt(z))


def _erf_ratio(z: Real) -> Real:
    return mp.erf(mp.sqrt(z)) / mp.sqrt(z)


def _lgamma_core(t: Real) -> Real:
    return mp.loggamma(2 + t) / t


def _digamma_core(t: Real) -> Real:
    w = mp.mpf("1.5") + t
    return mp.digamma(w) / (w - DIGAMMA_ROOT)


def _log_pair_tail(z: Real) -> Real:
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) / s - 2 - 2 * z / 3) / z**2


def fits() -> list[Fit]:
    """Every polynomial, in the order of the table."""
    result: list[Fit] = []

    def add(name: str, meaning: str, functions: Functions, ends: Ends, **degrees: int) -> None:
        for element, degree in degrees.items():
            result.append(Fit(name, meaning, functions[0], *ends, degree, functions[1], element))

    near_zero = mp.mpf("1e-12")
    half = mp.mpf("0.5")
    add(
        "EXP",
        "(exp(r) - 1 - r) / r**2",
        (_exp_tail, _exp_weight),
        (-HALF_LOG2, HALF_LOG2),
        float=4,
        double=10,
    )
    add(
        "TANH",
        "(tanh(x) - x) / x**3 of z = x*x, |x| <= 0.61",
        (_odd_tail(mp.tanh), _odd_weight(mp.tanh)),
        (near_zero, mp.mpf("0.3721")),
        float=5,
    )
    add(
        "LOG",
        "float: (log(1+x) - x + x*x/2) / x**3",
        (_log_tail, lambda x: abs(x**3 / mp.log1p(x))),
        (ROOT, mp.sqrt(2) - 1),
        float=7,
    )
    add(
        "LOG",
        "double: (2 atanh(s)/s - 2) / z of z = s*s",
        (_atanh_tail, lambda z: z),
        (near_zero, LOG_END),
        double=6,
    )
    add(
        "LOG_PAIR",
        "(2 atanh(s)/s - 2 - 2z/3) / z**2 of z = s*s",
        (_log_pair_tail, lambda z: z * z),
        (near_zero, LOG_END),
        double=7,
    )
    add(
        "SIN",
        "(sin(r) - r) / r**3 of z = r*r",
        (_odd_tail(mp.sin), _odd_weight(mp.sin)),
        (near_zero, QUARTER),
        float=2,
        double=5,
    )
    add(
        "COS",
        "(cos(r) - 1 + z/2) / z**2 of z = r*r",
        (_cos_tail, _cos_weight),
        (near_zero, QUARTER),
        float=2,
        double=5,
    )
    add(
        "ATAN",
        "(atan(t) - t) / t**3 of z = t*t",
        (_odd_tail(mp.atan), _odd_weight(mp.atan)),
        (near_zero, mp.tan(mp.pi / 8) ** 2),
        double=10,
    )
    add(
        "ASIN",
        "(asin(t) - t) / t**3 of z = t*t",
        (_odd_tail(mp.asin), _odd_weight(mp.asin)),
        (near_zero, half / 2),
        double=12,
    )
    add(
        "ERF",
        "erf(x) / x - 1 of z = x*x, |x| <= 0.91",
        (lambda z: _erf_ratio(z) - 1, _reciprocal(_erf_ratio)),
        (near_zero, mp.mpf("0.8281")),
        float=6,
        double=12,
    )
    add(
        "ERF_TAIL",
        "-log(erfc(x)), 0.9 <= x <= 3.95",
        (lambda x: -mp.log(mp.erfc(x)), lambda x: mp.erfc(x) / mp.erf(x)),
        (mp.mpf("0.9"), mp.mpf("3.95")),
        float=6,
    )
    add(
        "ERFC",
        "exp(x*x) (1+2x) erfc(x) of t = (x-c)/(x+c), 0.45 <= x <= 28",
        (_scaled_erfc, _reciprocal(_scaled_erfc)),
        (_erfc_variable(mp.mpf("0.45")), _erfc_variable(mp.mpf(28))),
        double=22,
    )
    add(
        "ERFINV_CENTRE",
        "erfinv(x) / x of w = -log(1-x*x) <= 5",
        (_erfinv_ratio, _reciprocal(_erfinv_ratio)),
        (mp.mpf("1e-5"), mp.mpf(5)),
        float=9,
    )
    add(
        "ERFINV_TAIL",
        "erfinv(x) / x of t = sqrt(w) - 3, 5 <= w <= 16.1",
        (_erfinv_tail, _reciprocal(_erfinv_tail)),
        (mp.sqrt(5) - 3, mp.mpf("1.02")),
        float=9,
    )
    add(
        "ERFINV_TAIL",
        "a first guess for w <= 37",
        (_erfinv_tail, _reciprocal(_erfinv_tail)),
        (mp.sqrt(5) - 3, mp.mpf("3.1")),
        double=9,
    )
    add(
        "LGAMMA",
        "lgamma(2+t) / t, |t| <= 1/2",
        (_lgamma_core, _reciprocal(_lgamma_core)),
        (-half, half),
        double=18,
    )
    add(
        "DIGAMMA",
        "digamma(1.5+t) / (1.5 + t - root), |t| <= 1/2",
        (_digamma_core, _reciprocal(_digamma_core)),
        (-half, half),
        double=22,
    )
    return result


# --- printing ------------------------------------------------------------------------------------
def main() -> None:
    """Print the table, errors as comments."""
    lines = [HEADER]
    groups: dict[str, list[Fit]] = {}
    for fit in fits():
        groups.setdefault(fit.name, []).append(fit)
    for name, members in groups.items():
        lines.append("")
        tables = []
        for fit in members:
            coefficients, error = remez(fit)
            lines.append(f"#: {fit.meaning}; largest error 2**{float(mp.log(error, 2)):.1f}")
            tables.append((fit.element, [_rounded(c, fit.element) for c in coefficients]))
        lines.append(f"{name}: Final = {{")
        for element, values in tables:
            lines += [f'    "{element}": (', *(f"        {v!r}," for v in values), "    ),"]
        lines.append("}")
    lines += _constants()
    sys.stdout.write("\n".join(lines) + "\n")


def _rounded(value: Real, element: str) -> float:
    return float(np.float32(float(value))) if element == "float" else float(value)


def _constants() -> list[str]:
    with mp.workprec(1500):
        parts, rest = [], mp.pi / 2
        for _ in range(3):
            exponent = mp.floor(mp.log(rest, 2)) - 32
            part = mp.floor(rest / 2**exponent) * 2**exponent
            parts.append(float(part))
            rest -= part
        parts.append(float(rest))
        words, fraction = [0], 2 / mp.pi
        for _ in range(19):
            fraction *= 2**64
            words.append(int(mp.floor(fraction)))
            fraction -= words[-1]
    root = DIGAMMA_ROOT - 1
    high = float(root)
    return [
        "",
        "#: The root of digamma, less one, as a sum",
        f"DIGAMMA_ROOT_LESS_ONE: Final = ({high!r}, {float(root - high)!r})",
        "#: ``c`` of ERFC",
        f"ERFC_CENTRE: Final = {float(ERFC_CENTRE)!r}",
        "#: pi/2 as a sum; the first three parts have 33 digits",
        "HALF_PI_PARTS: Final = (",
        *(f"    {p!r}," for p in parts),
        ")",
        "#: The bits of 2/pi after the point, behind 64 zeros",
        "TWO_OVER_PI_WORDS: Final = (",
        *(f"    0x{w:016X}," for w in words),
        ")",
    ]


HEADER = '''"""Coefficients of the elementary functions, printed by ``tools/fit_polynomials.py``.

Do not edit. The constant coefficient comes first.
"""

from __future__ import annotations

from typing import Final'''

if __name__ == "__main__":
    main()
