"""Cases of dynamic slices and gather: references by Python loops over index vectors."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from case import Case

from pullback.primitives.indexing import DynamicSlice, DynamicUpdateSlice, Gather

BF16 = ml_dtypes.bfloat16
E4M3FN = ml_dtypes.float8_e4m3fn
E5M2 = ml_dtypes.float8_e5m2


def start(*values, dtype=np.int32):
    return tuple(np.asarray(v, dtype) for v in values)


def made(shape, *rest, dtype=np.float64):
    """Return a maker of a random array, then of exactly ``rest``; a shape among them is random."""

    def make(rng):
        return (
            np.asarray(rng.normal(size=shape) * 9).astype(dtype),
            *(
                np.asarray(rng.normal(size=x) * 9).astype(dtype) if isinstance(x, tuple) else x
                for x in rest
            ),
        )

    return make


def clamped_slice(sizes):
    def reference(x, *starts):
        out = x
        for axis, (at, size) in enumerate(zip(starts, sizes, strict=True)):
            first = max(0, min(int(at), x.shape[axis] - size))
            out = np.take(out, range(first, first + size), axis=axis)
        return out

    return reference


def clamped_update(x, update, *starts):
    out = x.copy()
    for index in np.ndindex(update.shape):
        place = tuple(
            i + max(0, min(int(at), n - size))
            for i, at, n, size in zip(index, starts, x.shape, update.shape, strict=True)
        )
        out[place] = update[index]
    return out


def rest_axes(ndim, axes, batch):
    return [i for i in range(batch, ndim) if i not in axes]


def selector(x, axes, batch, lead, vector) -> tuple[tuple[int | slice, ...], bool]:
    """Return the NumPy index of one index vector, and whether it lies inside."""
    key: list[int | slice] = [slice(None)] * x.ndim
    inside = True
    for axis in range(batch):
        key[axis] = lead[axis]
    for axis, component in zip(axes, vector, strict=True):
        inside &= 0 <= int(component) < x.shape[axis]
        key[axis] = int(min(max(int(component), 0), x.shape[axis] - 1))
    return tuple(key), inside


def gathered(axes, batch, mode):
    def reference(x, indices):
        lead = indices.shape[:-1]
        rest = [x.shape[i] for i in rest_axes(x.ndim, axes, batch)]
        fill = np.nan if x.dtype.kind in "fV" else 0
        out = np.full((*lead, *rest), fill, x.dtype)
        for at in np.ndindex(lead):
            key, inside = selector(x, axes, batch, at, indices[at])
            if inside or mode == "clip":
                out[at] = x[key]
        return out

    return reference


SLICES = [
    Case(
        DynamicSlice(sizes),
        made(shape, *start(*starts, dtype=dtype)),
        clamped_slice(sizes),
        label=label,
    )
    for label, shape, sizes, starts, dtype in (
        ("inside", (4, 5), (2, 3), (1, 1), np.int32),
        ("clamped", (4, 5), (2, 3), (-7, 9), np.int32),
        ("whole", (4, 5), (4, 5), (2, -2), np.int64),
        ("nothing", (4, 5), (0, 3), (4, 1), np.int8),
        ("rank-0", (), (), (), np.int32),
        ("unsigned", (9,), (2,), (255,), np.uint8),
        ("huge", (9,), (2,), (2**64 - 1,), np.uint64),
    )
] + [
    Case(DynamicSlice((2,)), made((5,), *start(2), dtype=d), clamped_slice((2,)))
    for d in (np.bool_, np.int16, E4M3FN, E5M2, np.float16, BF16, np.float32)
]

UPDATES = [
    Case(DynamicUpdateSlice(), made(shape, sizes, *start(*starts)), clamped_update, label=label)
    for label, shape, sizes, starts in (
        ("inside", (4, 5), (2, 3), (1, 1)),
        ("clamped", (4, 5), (2, 3), (9, -9)),
        ("whole", (4, 5), (4, 5), (1, 1)),
        ("nothing", (4, 5), (2, 0), (1, 1)),
        ("rank-0", (), (), ()),
        ("empty", (0, 3), (0, 2), (1, 1)),
    )
] + [
    Case(DynamicUpdateSlice(), made((5,), (2,), *start(2), dtype=d), clamped_update)
    for d in (np.bool_, np.uint64, E4M3FN, E5M2, np.float16, BF16, np.float32)
]


def vectors(values, dtype=np.int32):
    return np.asarray(values, dtype)


def gather_case(label, shape, axes, batch, mode, indices, dtype=np.float64):
    # A gathered nan has no differences to compare; the clamped cases have the same derivative rule
    # but for the places outside, which `test_indexing` checks.
    outside = mode == "fill" and any(
        not 0 <= int(i) < shape[axis]
        for j, axis in enumerate(axes)
        for i in indices[..., j].reshape(-1)
    )
    return Case(
        Gather(axes, batch, mode),
        made(shape, indices, dtype=dtype),
        gathered(axes, batch, mode),
        orders=() if outside else (1, 2),
        label=f"{mode}-{label}",
    )


GATHERS = [
    gather_case(label, shape, axes, batch, mode, indices)
    for mode in ("clip", "fill")
    for label, shape, axes, batch, indices in (
        ("rows", (5, 3), (0,), 0, vectors([[4], [0], [4], [2]])),
        ("one", (5, 3), (0,), 0, vectors([2])),
        ("columns", (2, 5, 3), (1,), 0, vectors([[[4], [0]], [[1], [1]]], np.int64)),
        ("vectors", (4, 2, 3), (2, 0), 0, vectors([[[2, 0], [0, 3]], [[1, 1], [1, 1]]])),
        ("batch", (2, 5, 3), (1,), 1, vectors([[[4], [0], [4]], [[1], [1], [2]]], np.uint8)),
        ("batch-vectors", (2, 3, 2, 4), (3, 1), 1, vectors([[[0, 2]], [[3, 0]]])),
        ("outside", (5, 3), (0,), 0, vectors([[-1], [5], [4], [0], [-(2**31)]])),
        ("outside-unsigned", (5, 3), (0,), 0, vectors([[2**63 + 1], [4]], np.uint64)),
        ("outside-vectors", (4, 3), (0, 1), 0, vectors([[0, 3], [4, 1], [-1, -1], [3, 2]])),
        ("no-vectors", (4, 3), (0,), 0, np.zeros((2, 0, 1), np.int32)),
        ("no-components", (3,), (), 0, np.zeros((2, 0), np.int32)),
        ("batch-only", (2, 3), (), 1, np.zeros((2, 0), np.int32)),
        ("long-axis", (300,), (0,), 0, vectors([[0], [255], [7]], np.uint8)),
    )
] + [
    gather_case("from-nothing", (0, 3), (0,), 0, "fill", vectors([[0], [1]])),
    *(
        gather_case("outside", (5, 2), (0,), 0, "fill", vectors([[-1], [4]]), d)
        for d in (np.bool_, np.int8, np.uint32, E4M3FN, E5M2, np.float16, BF16, np.float32)
    ),
    gather_case("inside", (5, 2), (0,), 0, "clip", vectors([[1], [4], [1]]), np.float32),
]

CASES = [*SLICES, *UPDATES, *GATHERS]
