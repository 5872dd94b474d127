"""Layout primitives with random parameters: lowered = evaluated, and vjp is the transpose."""

from __future__ import annotations

import numpy as np
import pytest
from python_loops import run_lowered

from pullback.primitives.shape import Broadcast, Concatenate, Pad, Reshape, Slice, Transpose
from pullback.program.primitive import Primitive
from pullback.program.value import Array
from pullback.testing import check_types, pull_back_eagerly

TRIALS = 60


def some(rng: np.random.Generator, low: int, high: int, count: int) -> tuple[int, ...]:
    return tuple(int(n) for n in rng.integers(low, high, count))


def random_pad(rng):
    shape = some(rng, 0, 5, 2)
    interior = some(rng, 0, 3, 2)
    dilated = [n + max(n - 1, 0) * k for n, k in zip(shape, interior, strict=True)]
    low = [int(rng.integers(-n - 1, 4)) for n in dilated]
    high = [int(rng.integers(-(n + lo), 4)) for n, lo in zip(dilated, low, strict=True) if n >= -lo]
    if len(high) < 2:
        low, high = [0, 0], [1, 1]
    return Pad(tuple(low), tuple(high), interior), [shape, ()]


def random_slice(rng):
    shape = some(rng, 0, 6, 2)
    starts = tuple(int(rng.integers(0, n + 1)) for n in shape)
    stops = tuple(int(rng.integers(s, n + 1)) for s, n in zip(starts, shape, strict=True))
    return Slice(starts, stops, some(rng, 1, 4, 2)), [shape]


def random_reshape(rng):
    factors = list(rng.choice([1, 2, 2, 3, 5], 4))

    def joined() -> tuple[int, ...]:
        cuts = sorted(int(i) for i in rng.integers(0, 5, int(rng.integers(1, 4))))
        bounds = zip([0, *cuts], [*cuts, 4], strict=True)
        return tuple(int(np.prod(factors[a:b], dtype=int)) for a, b in bounds)

    source = joined()
    rng.shuffle(factors)
    return Reshape(joined()), [source]


def random_broadcast(rng):
    shape = some(rng, 0, 4, 4)
    axes = tuple(int(i) for i in np.flatnonzero(rng.integers(0, 2, 4)))
    source = [n if rng.integers(2) else 1 for i, n in enumerate(shape) if i not in axes]
    return Broadcast(shape, axes), [tuple(source)]


def random_transpose(rng):
    return Transpose(tuple(int(i) for i in rng.permutation(4))), [some(rng, 0, 4, 4)]


def random_concatenate(rng):
    axis = int(rng.integers(0, 2))
    other = int(rng.integers(1, 3))
    lengths = some(rng, 0, 4, int(rng.integers(1, 5)))
    return Concatenate(axis), [(n, other) if axis == 0 else (other, n) for n in lengths]


MAKERS = [
    random_pad,
    random_slice,
    random_reshape,
    random_broadcast,
    random_transpose,
    random_concatenate,
]


def check_transpose(primitive: Primitive, operands: list[np.ndarray], rng) -> None:
    """Require ``<ct, f(x)> = <vjp(ct), x>``: the functions are linear."""
    values = [Array(x) for x in operands]
    out = primitive(*values)
    ct = rng.normal(size=out.shape)

    found = pull_back_eagerly(lambda xs: (primitive(*xs),), values, [Array(np.asarray(ct))])

    there = float(np.sum(ct * np.asarray(out)))
    back = sum(float(np.sum(np.asarray(c) * x)) for c, x in zip(found, operands, strict=True))
    assert there == pytest.approx(back, abs=1e-12)


@pytest.mark.parametrize("make", MAKERS, ids=lambda f: f.__name__)
def test_random_layout(make):
    for trial in range(TRIALS):
        rng = np.random.default_rng([7, trial])
        primitive, shapes = make(rng)
        operands = [np.asarray(rng.normal(size=shape)) for shape in shapes]

        check_types(primitive, *operands)
        np.testing.assert_array_equal(
            run_lowered(primitive, *operands), primitive.evaluate(*operands)
        )
        check_transpose(primitive, operands, rng)
