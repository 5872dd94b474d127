"""Cases of the comparisons and ``IsFinite``: exact, without gradients."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from case import Case, NDArray
from families import given_as, special_pairs, specials

from pullback.primitives.comparison import Eq, Ge, Gt, IsFinite, Le, Lt, Ne
from pullback.types import (
    bfloat16,
    bool_,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int8,
    int64,
    uint8,
    uint64,
)

FLOATS = [float8_e4m3fn, float8_e5m2, float16, bfloat16, float32, float64]
DTYPES = [bool_, int8, int64, uint8, uint64, *FLOATS]


def _each(function: Callable[[Any, Any], bool]) -> Callable[[NDArray, NDArray], NDArray]:
    """Compare element by element as Python numbers, exactly."""

    def reference(x: NDArray, y: NDArray) -> NDArray:
        shape = np.broadcast_shapes(x.shape, y.shape)
        pairs = zip(np.broadcast_to(x, shape).flat, np.broadcast_to(y, shape).flat, strict=True)
        exact = float if x.dtype in FLOATS else int
        return np.array([function(exact(a), exact(b)) for a, b in pairs], bool).reshape(shape)

    return reference


def _comparison_cases() -> list[Case]:
    table = {Eq(): operator.eq, Ne(): operator.ne, Lt(): operator.lt}
    table |= {Le(): operator.le, Gt(): operator.gt, Ge(): operator.ge}
    cases = []
    for primitive, function in table.items():
        reference = _each(function)
        for dtype in DTYPES:
            cases.append(Case(primitive, given_as(*special_pairs(dtype)), reference))
        few = np.arange(3.0)
        cases.append(Case(primitive, given_as(few, np.asarray(1.0)), reference))
        cases.append(Case(primitive, given_as(np.asarray(2.0), np.asarray(1.0)), reference))
        cases.append(Case(primitive, given_as(np.ones((0, 2)), np.ones((0, 2))), reference))
    return cases


def _is_finite(x: NDArray) -> NDArray:
    return np.array([math.isfinite(float(v)) for v in x.flat], bool).reshape(x.shape)


CASES: list[Case] = [
    *_comparison_cases(),
    *(Case(IsFinite(), given_as(specials(dtype)), _is_finite) for dtype in FLOATS),
    Case(IsFinite(), given_as(np.asarray(1.0)), _is_finite),
    Case(IsFinite(), given_as(np.ones((0, 2))), _is_finite),
]
