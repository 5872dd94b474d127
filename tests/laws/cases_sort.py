"""Cases of sorting: the reference is Python's ``sorted``, row by row."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
from case import Case, given, integers, normal

from pullback.primitives.sort import Sort

BF16 = ml_dtypes.bfloat16
E4M3FN = ml_dtypes.float8_e4m3fn
E5M2 = ml_dtypes.float8_e5m2
NAN, INF = np.nan, np.inf


def rank(value):
    """Return a Python sort key in which nan is last and all nans are equal."""
    value = float(value)
    return (1, 0.0) if math.isnan(value) else (0, value)


def sorted_rows(axis, keys, falling=False, count=None):
    def reference(*xs):
        outs = [x.copy() for x in xs]
        lines = [np.moveaxis(x, axis, -1) for x in xs]
        targets = [np.moveaxis(x, axis, -1) for x in outs]
        for at in np.ndindex(lines[0].shape[:-1]):
            rows = [line[at] for line in lines]
            order = sorted(
                range(len(rows[0])),
                key=lambda i: [rank(row[i]) for row in rows[:keys]],
                reverse=falling,  # which keeps the order of equal ones
            )
            for row, target in zip(rows, targets, strict=True):
                target[at] = row[order]
        return tuple(
            np.take(x, range(x.shape[axis] if count is None else count), axis) for x in outs
        )

    return reference


def case(axis, keys, make, *order, **options):
    return Case(Sort(axis, keys, *order), make, sorted_rows(axis, keys, *order), **options)


def keyed(rng):
    """Two keys, the first with ties, and two passengers."""
    return (
        rng.integers(0, 3, (3, 7)).astype(np.int32),
        rng.permutation(21).reshape(3, 7) * 0.1,
        rng.normal(size=(3, 7)),
        np.arange(21, dtype=np.int32).reshape(3, 7),
    )


def apart(rng):
    return (rng.permutation(30).reshape(3, 5, 2) * 0.1,)


SPECIAL = [[NAN, 1, -INF, NAN, INF, 0, -0.0], [3, NAN, 3, 1, 2, 2, NAN]]

CASES = [
    case(1, 1, apart),
    case(0, 2, lambda rng: tuple(x.T for x in keyed(rng)), label="two-keys"),
    case(1, 2, keyed, label="two-keys-last"),
    case(1, 2, keyed, True, label="falling"),
    case(1, 1, apart, True, 2, label="falling-first"),
    case(0, 1, apart, False, 1, label="first"),
    case(1, 1, normal((2, 3)), False, 0, label="none"),
    case(1, 1, normal((2, 0)), label="empty"),
    case(1, 1, normal((2, 1)), label="one"),
    *(
        case(
            1,
            1,
            lambda rng, d=d: (np.asarray(SPECIAL, d), np.arange(14).reshape(2, 7)),
            *order,
            orders=(),
            exact_zeros=True,
            label="special",
        )
        for d in (np.float64, np.float32, np.float16, BF16, E4M3FN, E5M2)
        for order in ((), (True, 5))
    ),
    case(0, 2, given([NAN, 1, NAN, NAN, 1], [2, NAN, 1, NAN, 0]), orders=(), label="nan-keys"),
    *(
        case(0, 1, integers(0, 2 if d is np.bool_ else 100, (20,), dtype=d), *order)
        for d in (np.bool_, np.int8, np.uint8, np.int16, np.int64, np.uint64)
        for order in ((), (True,))
    ),
]
