"""Cases of the reductions: sums in long double, extrema and logic by Python's own."""

from __future__ import annotations

import functools
import operator

import ml_dtypes
import numpy as np
from case import Case, NDArray, given, integers, normal, short, uniform

from pullback.primitives.reduce import (
    ArgMax,
    ArgMin,
    ReduceAnd,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMin,
    ReduceOr,
    ReduceProd,
    ReduceSum,
)
from pullback.types import bool_, int8, int32, int64, uint8

NAN, INF = np.nan, np.inf
BF16 = ml_dtypes.bfloat16
E4M3FN = ml_dtypes.float8_e4m3fn
E5M2 = ml_dtypes.float8_e5m2


def exact(x: NDArray) -> NDArray:
    """Return floats in long double and integers as Python integers."""
    if x.dtype.kind in "iu":
        return x.astype(object)
    return x.astype(np.float32 if x.dtype == BF16 else x.dtype).astype(np.longdouble)


def wrapped(total: NDArray, x: NDArray) -> NDArray:
    """Return Python integers modulo the width of the dtype of ``x``; floats as they are."""
    if x.dtype.kind not in "iu":
        return total
    bits = np.asarray(total, object) & (2 ** (8 * x.dtype.itemsize) - 1)
    return bits.astype(f"u{x.dtype.itemsize}").view(x.dtype)


def sums(axes):
    return lambda x: wrapped(np.add.reduce(exact(x), axis=axes, initial=0), x)


def products(axes):
    return lambda x: wrapped(np.multiply.reduce(exact(x), axis=axes, initial=1), x)


def by_rows(function, axes):
    """Return the reference that applies a function of a list of Python numbers to every group."""

    def reference(x: NDArray) -> NDArray:
        kept = [i for i in range(x.ndim) if i not in axes]
        moved = x.transpose([*kept, *axes])
        shape = moved.shape[: len(kept)]
        rows = moved.reshape((*shape, int(np.prod(moved.shape[len(kept) :]))))
        found = [function(rows[index].tolist()) for index in np.ndindex(shape)]
        return np.array(found, object).reshape(shape)

    return reference


def typed(reference, dtype):
    return lambda x: reference(x).astype(dtype)


def largest(row):
    return NAN if any(v != v for v in row) else max(row)


def least(row):
    return NAN if any(v != v for v in row) else min(row)


def log_sum_exp(row):
    top = max(row, default=-INF)
    if top in (INF, -INF):
        return top
    total = sum(np.exp(np.longdouble(v) - np.longdouble(top)) for v in row)
    return np.log(total) + np.longdouble(top)


def first_position(choose):
    def position(row):
        nans = [i for i, v in enumerate(row) if v != v]
        return nans[0] if nans else row.index(choose(row))

    return position


def spaced(*shape):
    """Return a maker of an array without ties: its values are 0.1 apart, in random order."""

    def make(rng):
        return (rng.permutation(int(np.prod(shape))).reshape(shape) * 0.1 - 0.7,)

    return make


def with_zeros(*zeros):
    """Return a maker of a [3,4] array that is 0 at the given places."""

    def make(rng):
        x = rng.uniform(0.5, 1.5, (3, 4))
        for place in zeros:
            x[place] = 0.0
        return (x,)

    return make


SUM = [
    Case(ReduceSum((1,)), uniform(0.5, 2, (3, 4, 2)), sums((1,)), ulp=2),
    Case(ReduceSum((0, 2)), uniform(0.5, 2, (3, 4, 2)), sums((0, 2)), ulp=2, label="two"),
    Case(ReduceSum((2, 0)), uniform(0.5, 2, (3, 4, 2)), sums((0, 2)), ulp=2, label="unsorted"),
    Case(ReduceSum(()), normal((2, 3)), sums(()), label="no-axes"),
    Case(ReduceSum(()), normal(()), sums(()), label="rank-0"),
    Case(ReduceSum((0,)), normal((0, 3)), sums((0,)), label="empty"),
    Case(ReduceSum((0,)), normal((1, 3)), sums((0,)), label="one"),
    Case(ReduceSum((1,)), normal((3, 0)), sums((1,)), label="empty-last"),
    Case(ReduceSum((1,)), given([[1.0, NAN], [INF, -INF], [INF, 1.0]]), sums((1,)), orders=()),
    Case(ReduceSum((0,)), uniform(0.5, 2, (50, 3), dtype=np.float32), sums((0,)), ulp=16),
    *(
        # 5000 ones stop at 2048 or 256 unless they are added up in float32.
        Case(ReduceSum((0,)), given(np.ones(5000), dtype=d), sums((0,)), ulp=0.5, label=short(d))
        for d in (np.float16, BF16)
    ),
    *(
        Case(ReduceSum((0,)), integers(0, 127, (9, 2), dtype=d), sums((0,)), label=short(d))
        for d in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32)
    ),
    *(
        Case(ReduceSum((1,)), integers(2**62, 2**63 - 1, (2, 5), dtype=d), sums((1,)))
        for d in (np.int64, np.uint64)
    ),
]

PROD = [
    Case(ReduceProd((1,)), uniform(0.5, 1.5, (3, 4)), products((1,)), ulp=4),
    Case(ReduceProd((2, 0)), uniform(0.5, 1.5, (3, 2, 2)), products((0, 2)), ulp=4, label="two"),
    Case(ReduceProd(()), normal((3,)), products(()), label="no-axes"),
    Case(ReduceProd((0,)), normal((0, 3)), products((0,)), label="empty"),
    Case(ReduceProd((0,)), normal((1, 3)), products((0,)), label="one"),
    Case(ReduceProd((1,)), with_zeros((0, 1)), products((1,)), ulp=4, label="one-zero"),
    Case(
        ReduceProd((1,)),
        with_zeros((0, 1), (0, 3), (2, 0), (2, 1), (2, 2)),
        products((1,)),
        ulp=4,
        label="two-and-three-zeros",
    ),
    Case(ReduceProd((0, 1)), with_zeros((0, 1), (2, 3)), products((0, 1)), label="two-axes-zeros"),
    Case(ReduceProd((0,)), uniform(0.5, 1.5, (20, 2), dtype=np.float32), products((0,)), ulp=20),
    Case(ReduceProd((0,)), given([300.0, 300.0, 0.001], dtype=np.float16), products((0,)), ulp=1),
    Case(ReduceProd((0,)), given([3.0, 1.5, -7.0], dtype=BF16), products((0,)), ulp=0.5),
    *(
        Case(ReduceProd((0,)), integers(1, 127, (9, 2), dtype=d), products((0,)), label=short(d))
        for d in (np.int8, np.uint8, np.int32, np.uint64)
    ),
]

EXTREMA = [
    case
    for cls, function in ((ReduceMax, largest), (ReduceMin, least))
    for case in (
        Case(cls((1,)), spaced(3, 4, 2), typed(by_rows(function, (1,)), float)),
        Case(cls((2, 0)), spaced(3, 4, 2), typed(by_rows(function, (2, 0)), float), label="two"),
        Case(cls(()), normal((3,)), lambda x: x, label="no-axes"),
        Case(cls((1,)), normal((0, 2)), lambda x: x[:, 0], label="empty-rest"),
        Case(
            cls((1,)),
            given([[1.0, NAN, 2.0], [INF, -INF, 0.0], [-INF, -INF, -INF]]),
            typed(by_rows(function, (1,)), float),
            orders=(),
            label="special",
        ),
        *(
            Case(
                cls((0,)),
                integers(0, 100, (5, 2), dtype=d),
                typed(by_rows(function, (0,)), d),
                label=short(d),
            )
            for d in (np.int8, np.uint8, np.int64, np.uint64, np.float16, BF16, np.float32)
        ),
    )
]

LOGIC = [
    case
    for cls, function, start in (
        (ReduceAnd, operator.and_, -1),
        (ReduceOr, operator.or_, 0),
    )
    for case in (
        *(
            Case(
                cls((1,)),
                integers(0, 2 if d == bool_ else 100, (4, 3), dtype=d),
                typed(by_rows(functools.partial(functools.reduce, function), (1,)), d),
                label=short(d),
            )
            for d in (bool_, int8, uint8, int64)
        ),
        *(
            Case(
                cls((0, 1)),
                integers(0, 2, (0, 3), dtype=d),
                lambda x, start=start: np.asarray(start).astype(x.dtype),
                label=f"empty-{short(d)}",
            )
            for d in (bool_, int32, uint8)
        ),
    )
]

LOG_SUM_EXP = [
    Case(ReduceLogSumExp((1,)), normal((3, 4, 2), scale=3), by_rows(log_sum_exp, (1,)), ulp=4),
    Case(
        ReduceLogSumExp((2, 0)), normal((3, 4, 2)), by_rows(log_sum_exp, (2, 0)), ulp=4, label="two"
    ),
    Case(ReduceLogSumExp(()), normal((3,)), lambda x: x, ulp=1, label="no-axes"),
    Case(
        ReduceLogSumExp((0,)),
        normal((0, 2)),
        by_rows(log_sum_exp, (0,)),
        orders=(),
        label="empty",
    ),
    Case(
        ReduceLogSumExp((1,)),
        given([[1000.0, 1001.0], [-1000.0, -1001.0]]),
        by_rows(log_sum_exp, (1,)),
        ulp=2,
        label="large",
    ),
    Case(
        ReduceLogSumExp((1,)),
        given([[-INF, -INF], [-INF, 1.0], [INF, 1.0], [INF, -INF]]),
        by_rows(log_sum_exp, (1,)),
        ulp=1,
        orders=(),
        label="special",
    ),
    *(
        Case(
            ReduceLogSumExp((0,)),
            normal((9, 2), dtype=d),
            by_rows(log_sum_exp, (0,)),
            ulp=1 if d != np.float32 else 4,
            atol=1e-6,
            label=short(d),
        )
        for d in (np.float32, np.float16, BF16)
    ),
]

POSITIONS = [
    case
    for cls, choose in ((ArgMax, max), (ArgMin, min))
    for case in (
        Case(cls(1, int32), integers(0, 4, (3, 9, 2)), by_rows(first_position(choose), (1,))),
        Case(cls(0, int64), normal((1,)), lambda x: np.zeros(()), label="one"),
        Case(cls(1, int32), normal((0, 2)), lambda x: np.zeros(0), label="empty-rest"),
        *(
            Case(
                cls(1, int32),
                given([[1, NAN, 5, NAN], [INF, 1, INF, -INF], [2, 7, 7, 2]], dtype=d),
                by_rows(first_position(choose), (1,)),
                label=f"special-{short(d)}",
            )
            for d in (np.float64, np.float32, np.float16, BF16, E4M3FN, E5M2)
        ),
        Case(
            cls(0, uint8),
            integers(0, 2, (4, 2), dtype=bool_),
            by_rows(first_position(choose), (0,)),
            label="bool",
        ),
    )
]

CASES = [*SUM, *PROD, *EXTREMA, *LOGIC, *LOG_SUM_EXP, *POSITIONS]
