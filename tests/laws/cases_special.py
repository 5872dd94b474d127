"""Cases of the error and gamma functions, against SciPy in float64.

Special values leave out the poles of digamma and polygamma, where libraries differ.
"""

from __future__ import annotations

import numpy as np
import scipy.special
from case import Case, MakeArgs, NDArray
from families import float_cases, given_as, in_float64

from pullback.primitives.special import (
    Digamma,
    Erf,
    Erfc,
    Erfinv,
    Lgamma,
    Polygamma,
)
from pullback.types import DType, bfloat16, float16, float32, float64

POSITIVE = (0.3, 12.0)
ANYWHERE = (-3.0, 3.0)
#: Between two poles.
NEGATIVE = (-2.9, -2.1)
#: The gamma functions have zeros: there the error is bounded absolutely.
NEAR_ZERO = {float64: 2e-15, float32: 1e-6, float16: 1e-3, bfloat16: 8e-3}


def _at(*values: float, dtype: DType = float64) -> MakeArgs:
    return given_as(np.array(values).astype(dtype))


def _lgamma(x: NDArray) -> NDArray:
    """SciPy's, but for -inf and tiny numbers, where it overflows and C's standard says more."""
    known = np.where(np.isinf(x), np.inf, scipy.special.gammaln(x))
    return np.where(np.abs(x) < 1e-300, -np.log(np.abs(x)), known)


def _erfinv(x: NDArray) -> NDArray:
    """SciPy's, with the sign of a zero kept."""
    return np.copysign(scipy.special.erfinv(x), x)


def _erfinv_tails() -> list[Case]:
    x = np.array([1e-300, 1e-17, 1e-9, 0.5, 0.9, 0.999, 1 - 1e-9, 1 - 2**-53])
    values = np.concatenate([x, -x])
    tails = Case(Erfinv(), given_as(values), in_float64(_erfinv), ulp=8, orders=())
    return [tails]


def _polygamma(n: int):
    def reference(x: NDArray) -> NDArray:
        return scipy.special.polygamma(n, x.astype(np.float64))

    return reference


def _stepped(n: int):
    """Step from negative x, where SciPy gives nan, to positive x by the recurrence."""

    def reference(x: NDArray) -> NDArray:
        total = scipy.special.polygamma(n, x + 4.0)
        for k in range(4):
            total = total - (-1.0) ** n * scipy.special.factorial(n) / (x + k) ** (n + 1)
        return total

    return reference


CASES: list[Case] = [
    *float_cases(Erf(), in_float64(scipy.special.erf), ANYWHERE, ulp=3),
    *float_cases(Erfc(), in_float64(scipy.special.erfc), ANYWHERE, ulp=5),
    Case(Erfc(), _at(5.0, 10.0, 20.0, 26.5, 30.0), scipy.special.erfc, ulp=64, orders=()),
    *float_cases(Erfinv(), in_float64(_erfinv), (-0.9, 0.9), ulp=6),
    *_erfinv_tails(),
    *float_cases(Lgamma(), in_float64(_lgamma), POSITIVE, ulp=6, atol=NEAR_ZERO),
    *float_cases(Lgamma(), in_float64(_lgamma), NEGATIVE, ulp=8, atol=NEAR_ZERO, special=False),
    Case(Lgamma(), _at(1e-300, 20.0, 1e5, 1e30, 1e300, -55.5), _lgamma, ulp=6, orders=()),
    *float_cases(
        Digamma(), in_float64(scipy.special.digamma), POSITIVE, ulp=6, atol=NEAR_ZERO, special=False
    ),
    *float_cases(
        Digamma(), in_float64(scipy.special.digamma), NEGATIVE, ulp=8, atol=NEAR_ZERO, special=False
    ),
    Case(
        Digamma(),
        _at(1e-300, 1e-9, 20.0, 1e5, 1e300, np.inf, np.nan),
        scipy.special.digamma,
        ulp=6,
        orders=(),
    ),
    *(
        case
        for n in (1, 2, 5)
        for case in float_cases(Polygamma(n), _polygamma(n), POSITIVE, ulp=12, special=False)
    ),
    *float_cases(Polygamma(0), in_float64(scipy.special.digamma), (2.0, 9.0), ulp=6, special=False),
    *(
        Case(
            Polygamma(n), _at(-0.25, -2.4, -2.6), _stepped(n), ulp=16, atol=1e-11, label="negative"
        )
        for n in (1, 2, 3)
    ),
]
