"""Cases of the arithmetic primitives, select and clip."""

from __future__ import annotations

import numpy as np
from case import Case, NDArray, uniform
from families import float_cases, given_as, integer_cases, special_pairs, wide, wrapped

from pullback.primitives.elementwise import (
    Abs,
    Add,
    Ceil,
    Clip,
    Copysign,
    Div,
    Floor,
    Max,
    Min,
    Mul,
    Neg,
    Nextafter,
    Rem,
    Round,
    Select,
    Sign,
    Sub,
    Trunc,
)
from pullback.types import (
    bfloat16,
    bool_,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint32,
    uint64,
)

INTEGERS = [int8, int16, int32, int64, uint8, uint32, uint64]
ANYWHERE = (-3.0, 3.0)
#: Away from 0 by more than a step of the differences moves.
POSITIVE = (0.3, 3.0)


def _sign(x: NDArray) -> NDArray:
    return np.where(x > 0, np.longdouble(1), np.where(x < 0, np.longdouble(-1), x))


def _whole(x: int) -> int:
    return (x > 0) - (x < 0)


def truncated_quotient(x: int, y: int) -> int:
    """Divide integers, rounding towards zero; 0 where y is 0."""
    if y == 0:
        return 0
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


def remainder(x: int, y: int) -> int:
    """Return what ``truncated_quotient`` leaves; 0 where y is 0."""
    return x - y * truncated_quotient(x, y) if y else 0


def _pick(choose: str):
    def pick(x: NDArray, y: NDArray) -> NDArray:
        first = x >= y if choose == "max" else x <= y
        return np.where(np.isnan(x) | np.isnan(y), np.nan, np.where(first, x, y))

    return pick


def _nextafter(x: NDArray, y: NDArray) -> NDArray:
    """Step through the bit patterns, which are ordered like the numbers of one sign."""
    bits = np.dtype(f"i{x.dtype.itemsize}")
    target = np.where(np.isnan(x) | np.isnan(y), np.full_like(x, np.nan), y)
    grows = np.where(x == 0, True, (y > x) == (x > 0))
    start = np.where(x == 0, np.copysign(np.zeros_like(x), y), x)
    stepped = (start.view(bits) + np.where(grows, 1, -1).astype(bits)).view(x.dtype)
    return np.where((x == y) | np.isnan(target), target, stepped)


def _nextafter_cases() -> list[Case]:
    cases = []
    for dtype in (float64, float32, float16, bfloat16):
        cases.append(Case(Nextafter(), given_as(*special_pairs(dtype)), _nextafter, orders=()))
    shapes = ((0, 2), (0, 2)), ((), (1,)), ((2, 3), (2, 3))
    for pair in shapes:
        cases.append(Case(Nextafter(), uniform(-1, 1, *pair), _nextafter, orders=()))
    return cases


def _select_cases() -> list[Case]:
    cases = []
    shapes: list[list[tuple[int, ...]]] = [
        [(2, 3), (2, 3), (2, 3)],
        [(3,), (), (3,)],
        [(), (3,), (3,)],
        [(), (), ()],
        [(0,), (0,), ()],
    ]
    for dtype in (float64, float32, int32, bool_, bfloat16, float8_e4m3fn, float8_e5m2):
        for each in shapes if dtype == float64 else shapes[:1]:

            def make(rng: np.random.Generator, each=each, dtype=dtype) -> tuple[NDArray, ...]:
                predicate = rng.integers(0, 2, each[0]).astype(bool)
                values = (rng.normal(size=s) * 3 for s in each[1:])
                return (np.asarray(predicate), *(np.asarray(v).astype(dtype) for v in values))

            cases.append(Case(Select(), make, _select, orders=(1, 2)))
    return cases


def _select(predicate: NDArray, on_true: NDArray, on_false: NDArray) -> NDArray:
    shape = np.broadcast_shapes(predicate.shape, on_true.shape, on_false.shape)
    result = np.broadcast_to(on_false, shape).copy()
    np.copyto(result, on_true, where=predicate)
    return result


def _clip(x: NDArray, low: NDArray, high: NDArray) -> NDArray:
    raised = np.where(x < low, low, x)
    return np.where(np.isnan(raised), raised, np.where(raised > high, high, raised))


def _clip_cases() -> list[Case]:
    cases = []
    for dtype in (float64, float32, int32, float16):

        def make(rng: np.random.Generator, dtype=dtype) -> tuple[NDArray, ...]:
            x = np.array([[-3.0, -0.5, 0.25], [0.75, 2.0, 5.0]]) * 2
            return x.astype(dtype), np.asarray(-2, dtype), np.asarray(3, dtype)

        cases.append(Case(Clip(), make, _clip, notes="no operand near another"))
    crossed = np.array([-3.0, 0.5, 2.0, 5.0]), np.full(4, 1.5), np.full(4, 1.0)
    cases.append(Case(Clip(), given_as(*crossed), _clip, label="crossed"))
    special = np.array([np.nan, np.inf, -np.inf, -0.0]), np.full(4, -1.0), np.full(4, 1.0)
    cases.append(Case(Clip(), given_as(*special), _clip, label="special", orders=()))
    empty = np.ones((0, 2)), np.zeros(()), np.ones(())
    cases.append(Case(Clip(), given_as(*empty), _clip))
    return cases


FRACTIONS = (-2.9, 2.9)

CASES: list[Case] = [
    *float_cases(Neg(), wide(np.negative), ANYWHERE, ulp=0),
    *integer_cases(Neg(), wrapped(lambda x: -x), INTEGERS, arity=1),
    *float_cases(Abs(), wide(np.abs), POSITIVE, ulp=0, notes="kink at 0"),
    *float_cases(Abs(), wide(np.abs), (-3.0, -0.3), ulp=0, special=False),
    *integer_cases(Abs(), wrapped(abs), INTEGERS, arity=1),
    *float_cases(Sign(), wide(_sign), ANYWHERE, ulp=0),
    *integer_cases(Sign(), wrapped(_whole), INTEGERS, arity=1),
    *float_cases(Floor(), wide(np.floor), FRACTIONS, ulp=0),
    *float_cases(Ceil(), wide(np.ceil), FRACTIONS, ulp=0),
    *float_cases(Round(), wide(np.rint), FRACTIONS, ulp=0),
    *float_cases(Trunc(), wide(np.trunc), FRACTIONS, ulp=0),
    *float_cases(Add(), wide(np.add), ANYWHERE, ANYWHERE, ulp=0.501),
    *integer_cases(Add(), wrapped(lambda x, y: x + y), INTEGERS, arity=2),
    *float_cases(Sub(), wide(np.subtract), ANYWHERE, ANYWHERE, ulp=0.501),
    *integer_cases(Sub(), wrapped(lambda x, y: x - y), INTEGERS, arity=2),
    *float_cases(Mul(), wide(np.multiply), ANYWHERE, ANYWHERE, ulp=0.501),
    *integer_cases(Mul(), wrapped(lambda x, y: x * y), INTEGERS, arity=2),
    *float_cases(Div(), wide(np.divide), ANYWHERE, POSITIVE, ulp=0.501, notes="pole at y = 0"),
    *integer_cases(Div(), wrapped(truncated_quotient), INTEGERS, arity=2),
    *float_cases(Rem(), wide(np.fmod), (-0.9, -0.1), (1.0, 2.0), ulp=0),
    *float_cases(Rem(), wide(np.fmod), (2.1, 2.9), (0.9, 1.0), ulp=0, special=False),
    *integer_cases(Rem(), wrapped(remainder), INTEGERS, arity=2),
    *float_cases(Max(), wide(_pick("max")), (-1.0, 0.4), (0.5, 2.0), ulp=0, exact_zeros=False),
    *float_cases(
        Max(), wide(_pick("max")), (0.5, 2.0), (-1.0, 0.4), ulp=0, exact_zeros=False, special=False
    ),
    *integer_cases(Max(), wrapped(max), INTEGERS, arity=2),
    *float_cases(Min(), wide(_pick("min")), (-1.0, 0.4), (0.5, 2.0), ulp=0, exact_zeros=False),
    *float_cases(
        Min(), wide(_pick("min")), (0.5, 2.0), (-1.0, 0.4), ulp=0, exact_zeros=False, special=False
    ),
    *integer_cases(Min(), wrapped(min), INTEGERS, arity=2),
    *_nextafter_cases(),
    *float_cases(Copysign(), wide(np.copysign), POSITIVE, (-2.0, -1.0), ulp=0, notes="kink at 0"),
    *float_cases(Copysign(), wide(np.copysign), (-2.0, -1.0), (-2.0, -1.0), ulp=0, special=False),
    *_select_cases(),
    *_clip_cases(),
]
