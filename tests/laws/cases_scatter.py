"""Cases of scatter: the reference applies one update after the other in row-major order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from case import Case
from cases_indexing import rest_axes, selector, vectors

from pullback.primitives.scatter import Scatter

BF16 = ml_dtypes.bfloat16
E4M3FN = ml_dtypes.float8_e4m3fn
E5M2 = ml_dtypes.float8_e5m2

STEPS: dict[str, Callable[[Any, Any], Any]] = {
    "set": lambda x, u: u,
    "add": lambda x, u: x + u,
    "mul": lambda x, u: x * u,
    "min": np.minimum,
    "max": np.maximum,
}


def scattered(axes, batch, kind):
    def reference(x, indices, updates):
        out = x.copy()
        for at in np.ndindex(indices.shape[:-1]):
            key, inside = selector(x, axes, batch, at, indices[at])
            if inside:
                out[key] = STEPS[kind](out[key], updates[at]).astype(x.dtype)
        return out

    return reference


def made(shape, indices, rest, dtype):
    """Return a maker of an operand, the indices and updates; all numbers are 0.01 apart."""

    def make(rng):
        updates = (*indices.shape[:-1], *rest)
        count = int(np.prod(shape)) + int(np.prod(updates))
        values = (rng.permutation(count) - count / 3) * (1.0 if dtype != np.float64 else 0.01)
        values = values.astype(dtype)
        split = int(np.prod(shape))
        return values[:split].reshape(shape), indices, values[split:].reshape(updates)

    return make


def scatter_case(label, kind, shape, axes, batch, indices, dtype=np.float64):
    rest = [shape[i] for i in rest_axes(len(shape), axes, batch)]
    return Case(
        Scatter(axes, batch, kind),
        made(shape, indices, rest, dtype),
        scattered(axes, batch, kind),
        label=f"{kind}-{label}",
    )


def zero_factors(rng):
    """Operands of a scatter by multiplication with zeros on every side."""
    x, updates = rng.uniform(0.5, 1.5, (3, 2)), rng.uniform(0.5, 1.5, (6, 2))
    x[0] = updates[1] = updates[3, 0] = updates[4] = 0.0
    return x, vectors([[0], [1], [1], [2], [2], [2]]), updates


FORMS = (
    ("rows", (5, 3), (0,), 0, vectors([[4], [0], [2]])),
    ("twice", (5, 3), (0,), 0, vectors([[4], [0], [4], [4], [2], [0]])),
    ("one", (5, 3), (0,), 0, vectors([2])),
    ("columns", (2, 5, 3), (1,), 0, vectors([[[4], [0]], [[1], [4]]], np.int64)),
    ("vectors", (4, 2, 3), (2, 0), 0, vectors([[[2, 0], [0, 3]], [[1, 1], [2, 0]]])),
    ("batch", (2, 5, 3), (1,), 1, vectors([[[4], [0], [4]], [[1], [1], [2]]], np.uint8)),
    ("batch-once", (2, 5), (1,), 1, vectors([[[4]], [[1]]])),
    ("outside", (5, 3), (0,), 0, vectors([[-1], [5], [4], [-(2**31)], [4]])),
    ("outside-unsigned", (5, 3), (0,), 0, vectors([[2**63 + 1], [4]], np.uint64)),
    ("no-vectors", (4, 3), (0,), 0, np.zeros((2, 0, 1), np.int32)),
    ("into-nothing", (0, 3), (0,), 0, vectors([[0], [1]])),
    ("no-components", (3,), (), 0, np.zeros((2, 0), np.int32)),
    ("batch-only", (2, 3), (), 1, np.zeros((2, 0), np.int32)),
)

CASES = [
    *(
        scatter_case(label, kind, shape, axes, batch, indices)
        for kind in STEPS
        for label, shape, axes, batch, indices in FORMS
    ),
    *(
        scatter_case("twice", kind, (5, 3), (0,), 0, vectors([[4], [0], [4]]), dtype)
        for kind in STEPS
        for dtype in (np.int8, np.uint64, np.float16, BF16, np.float32)
    ),
    *(
        scatter_case("twice", "set", (5, 3), (0,), 0, vectors([[4], [0], [4]]), dtype)
        for dtype in (np.bool_, E4M3FN, E5M2)
    ),
    Case(Scatter((0,), 0, "mul"), zero_factors, scattered((0,), 0, "mul"), label="mul-zeros"),
]
