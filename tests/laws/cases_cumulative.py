"""Cases of the running values: references by Python loops in long double."""

from __future__ import annotations

import functools

import ml_dtypes
import numpy as np
from case import Case, NDArray, given, integers, normal, short, uniform
from cases_reduce import exact, largest, least, log_sum_exp, wrapped

from pullback.primitives.cumulative import CumLogSumExp, CumMax, CumMin, CumProd, CumSum

NAN, INF = np.nan, np.inf
BF16 = ml_dtypes.bfloat16


def running(function, axis, reverse):
    """Return the reference that applies a function of a list to every prefix, or suffix."""

    def along(row: NDArray) -> NDArray:
        values = list(row)
        n = len(values)
        parts = [values[i:] if reverse else values[: i + 1] for i in range(n)]
        return np.array([function(part) for part in parts], row.dtype)

    def reference(x: NDArray) -> NDArray:
        if not x.size:
            return x
        return wrapped(np.apply_along_axis(along, axis, exact(x)), x)

    return reference


def product(row):
    return functools.reduce(lambda x, y: x * y, row)


def spaced(*shape):
    def make(rng):
        return (rng.permutation(int(np.prod(shape))).reshape(shape) * 0.1 - 0.7,)

    return make


def with_zeros(rng):
    x = rng.uniform(0.5, 1.5, (3, 7))
    x[0, 2] = x[1, 1] = x[1, 4] = x[2, 0] = x[2, 6] = x[2, 5] = 0.0
    return (x,)


def both_ways(cls, function, make, shape_axis, **options):
    label = options.pop("label", "")
    return [
        Case(
            cls(shape_axis, reverse),
            make,
            running(function, shape_axis, reverse),
            label="-".join(filter(None, (label, "reverse" if reverse else ""))),
            **options,
        )
        for reverse in (False, True)
    ]


SUM = [
    *both_ways(CumSum, sum, uniform(0.5, 2, (3, 5, 2)), 1, ulp=4),
    *both_ways(CumSum, sum, uniform(0.5, 2, (40,), dtype=np.float32), 0, ulp=20),
    *both_ways(CumSum, sum, given(np.ones(2500), dtype=np.float16), 0, ulp=0.5),
    *both_ways(CumSum, sum, given(np.ones(300), dtype=BF16), 0, ulp=0.5),
    *both_ways(CumSum, sum, normal((2, 0)), 1, label="empty"),
    *both_ways(CumSum, sum, normal((2, 1)), 1, label="one"),
    *both_ways(CumSum, sum, given([1.0, INF, -INF, 2.0]), 0, orders=(), label="special"),
    *(
        case
        for d in (np.int8, np.uint8, np.int64, np.uint64)
        for case in both_ways(CumSum, sum, integers(50, 127, (9,), dtype=d), 0, label=short(d))
    ),
]

PROD = [
    *both_ways(CumProd, product, uniform(0.5, 1.5, (3, 5, 2)), 1, ulp=4),
    *both_ways(CumProd, product, uniform(0.5, 1.5, (13,)), 0, ulp=13, label="long"),
    *both_ways(CumProd, product, with_zeros, 1, ulp=4, label="zeros"),
    *both_ways(CumProd, product, normal((2, 0)), 1, label="empty"),
    *both_ways(CumProd, product, normal((2, 1)), 1, label="one"),
    *both_ways(CumProd, product, uniform(0.5, 1.5, (20,), dtype=np.float32), 0, ulp=20),
    *both_ways(CumProd, product, given([300.0, 0.001, 300.0], dtype=np.float16), 0, ulp=1),
    *both_ways(CumProd, product, given([3.0, 1.5, -7.0], dtype=BF16), 0, ulp=1),
    *both_ways(CumProd, product, integers(1, 127, (9,), dtype=np.int8), 0),
    *both_ways(CumProd, product, integers(1, 2**40, (5,), dtype=np.uint64), 0),
]

EXTREMA = [
    case
    for cls, function in ((CumMax, largest), (CumMin, least))
    for case in (
        *both_ways(cls, function, spaced(3, 5, 2), 1),
        *both_ways(cls, function, spaced(7), 0),
        *both_ways(cls, function, normal((2, 0)), 1, label="empty"),
        *both_ways(cls, function, normal((2, 1)), 1, label="one"),
        *both_ways(
            cls,
            function,
            given([[1, NAN, 2, NAN], [-INF, INF, 0, 1], [INF, -INF, 2, 3]]),
            1,
            orders=(),
            label="special",
        ),
        *(
            case
            for d in (np.int8, np.uint64, np.float32, np.float16, BF16)
            for case in both_ways(cls, function, integers(0, 99, (9,), dtype=d), 0, label=short(d))
        ),
    )
]

LOG_SUM_EXP = [
    *both_ways(CumLogSumExp, log_sum_exp, normal((3, 5, 2), scale=2), 1, ulp=8, atol=1e-15),
    *both_ways(CumLogSumExp, log_sum_exp, normal((9,)), 0, ulp=8, atol=1e-15, label="long"),
    *both_ways(CumLogSumExp, log_sum_exp, normal((2, 0)), 1, label="empty"),
    *both_ways(CumLogSumExp, log_sum_exp, normal((2, 1)), 1, label="one"),
    *both_ways(
        CumLogSumExp, log_sum_exp, given([-800.0, 900.0, 901.0, -900.0]), 0, ulp=2, label="large"
    ),
    *both_ways(
        CumLogSumExp,
        log_sum_exp,
        given([[-INF, -INF, 1, 2], [INF, -INF, 2, INF], [1, INF, -INF, 0]]),
        1,
        ulp=2,
        orders=(),
        label="special",
    ),
    *(
        case
        for d in (np.float32, np.float16, BF16)
        for case in both_ways(
            CumLogSumExp, log_sum_exp, uniform(0, 2, (9,), dtype=d), 0, ulp=8, label=short(d)
        )
    ),
]

CASES = [*SUM, *PROD, *EXTREMA, *LOG_SUM_EXP]
