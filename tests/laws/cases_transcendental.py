"""Cases of powers, exponentials, logarithms, trigonometric and hyperbolic functions.

References are computed in long double. The bounds are those of NumPy's vectorised functions.
"""

from __future__ import annotations

import numpy as np
from case import Case, NDArray
from families import float_cases, given_as, integer_cases, wide, wrapped

from pullback.primitives.transcendental import (
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atan2,
    Atanh,
    Cbrt,
    Cos,
    Cosh,
    Exp,
    Exp2,
    Expm1,
    Log,
    Log1p,
    Log2,
    Log10,
    Pow,
    Rsqrt,
    Sigmoid,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
)
from pullback.types import int8, int16, int32, int64, uint8, uint32, uint64

POSITIVE = (0.2, 4.0)
ANYWHERE = (-3.0, 3.0)
INSIDE = (-0.9, 0.9)


def _sigmoid(x: NDArray) -> NDArray:
    return np.where(x < -700, np.exp(x), 1 / (1 + np.exp(-x)))


def _integer_power(x: int, y: int) -> int:
    if y >= 0:
        return pow(x, y, 2**64) if y > 64 else x**y
    if x in (1, -1):
        return x if y % 2 else 1
    return 0


def _tails() -> list[Case]:
    """Where the functions saturate or overflow."""
    x = np.array([-1e4, -800.0, -745.0, -100.0, -37.0, -1e-9, 1e-300, 1e-9, 37.0, 100.0, 709.0])
    functions = {
        Exp(): np.exp,
        Expm1(): np.expm1,
        Sigmoid(): _sigmoid,
        Tanh(): np.tanh,
        Sinh(): np.sinh,
        Asinh(): np.arcsinh,
        Atan(): np.arctan,
        Cbrt(): np.cbrt,
    }
    return [
        Case(p, given_as(x), wide(f), ulp=4, label="tails", orders=()) for p, f in functions.items()
    ]


def _saturated() -> list[Case]:
    """Derivatives where the functions are flat."""
    x = np.array([-1000.0, -30.0, 30.0, 1000.0])
    return [
        Case(Tanh(), given_as(x), wide(np.tanh), ulp=4, label="saturated"),
        Case(Sigmoid(), given_as(x), wide(_sigmoid), ulp=4, label="saturated"),
    ]


CASES: list[Case] = [
    *float_cases(Sqrt(), wide(np.sqrt), POSITIVE, ulp=0.501),
    *float_cases(Rsqrt(), wide(lambda x: 1 / np.sqrt(x)), POSITIVE, ulp=1.5),
    *float_cases(Cbrt(), wide(np.cbrt), POSITIVE, ulp=2, notes="infinite slope at 0"),
    *float_cases(Cbrt(), wide(np.cbrt), (-4.0, -0.2), ulp=2, special=False),
    *float_cases(Exp(), wide(np.exp), ANYWHERE, ulp=3),
    *float_cases(Exp2(), wide(np.exp2), ANYWHERE, ulp=3),
    *float_cases(Expm1(), wide(np.expm1), ANYWHERE, ulp=3),
    *float_cases(Log(), wide(np.log), POSITIVE, ulp=3),
    *float_cases(Log2(), wide(np.log2), POSITIVE, ulp=3),
    *float_cases(Log10(), wide(np.log10), POSITIVE, ulp=3),
    *float_cases(Log1p(), wide(np.log1p), (-0.8, 3.0), ulp=3),
    *float_cases(Pow(), wide(np.power), POSITIVE, (-2.0, 3.0), ulp=4, notes="x > 0"),
    *integer_cases(
        Pow(), wrapped(_integer_power), [int8, int16, int32, int64, uint8, uint32, uint64], arity=2
    ),
    *float_cases(Sin(), wide(np.sin), ANYWHERE, ulp=3, special=False),
    *float_cases(Cos(), wide(np.cos), ANYWHERE, ulp=3, special=False),
    *float_cases(Tan(), wide(np.tan), (-1.2, 1.2), ulp=4, special=False),
    *float_cases(Asin(), wide(np.arcsin), INSIDE, ulp=4),
    *float_cases(Acos(), wide(np.arccos), INSIDE, ulp=4),
    *float_cases(Atan(), wide(np.arctan), ANYWHERE, ulp=4),
    *float_cases(Atan2(), wide(np.arctan2), ANYWHERE, POSITIVE, ulp=4, notes="x > 0"),
    *float_cases(Atan2(), wide(np.arctan2), POSITIVE, (-4.0, -0.2), ulp=4, special=False),
    *float_cases(Sinh(), wide(np.sinh), ANYWHERE, ulp=4),
    *float_cases(Cosh(), wide(np.cosh), ANYWHERE, ulp=4),
    *float_cases(Tanh(), wide(np.tanh), ANYWHERE, ulp=4),
    *float_cases(Asinh(), wide(np.arcsinh), ANYWHERE, ulp=4),
    *float_cases(Acosh(), wide(np.arccosh), (1.1, 4.0), ulp=4),
    *float_cases(Atanh(), wide(np.arctanh), INSIDE, ulp=4),
    *float_cases(Sigmoid(), wide(_sigmoid), ANYWHERE, ulp=4),
    *_tails(),
    *_saturated(),
]
