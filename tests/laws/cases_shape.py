"""Cases of the layout primitives: exact, against loops over indices in Python."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from case import Case, NDArray, integers, normal

from pullback.primitives.shape import (
    Broadcast,
    Concatenate,
    Iota,
    Pad,
    Reshape,
    Reverse,
    Slice,
    Transpose,
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
    int32,
    uint64,
)


def _gathered(shape: tuple[int, ...], dtype: Any, source: Any) -> NDArray:
    """Fill an array by calling ``source(index)``."""
    result = np.empty(shape, dtype)
    for index in np.ndindex(shape):
        result[index] = source(index)
    return result


def _broadcast(shape: tuple[int, ...], axes: tuple[int, ...]):
    def reference(x: NDArray) -> NDArray:
        kept = [i for i in range(len(shape)) if i not in axes]
        return _gathered(
            shape,
            x.dtype,
            lambda i: x[tuple(min(i[k], n - 1) for k, n in zip(kept, x.shape, strict=True))],
        )

    return reference


def _broadcast_cases() -> list[Case]:
    table: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = [
        ((), (2, 3), (0, 1)),
        ((), (), ()),
        ((3,), (2, 3), (0,)),
        ((3,), (3, 2), (1,)),
        ((1, 3), (4, 3), ()),
        ((2, 1), (2, 3, 4), (1,)),
        ((1,), (0,), ()),
        ((0,), (2, 0), (0,)),
        ((1, 1), (1, 5, 1), (1,)),
    ]
    return [
        Case(Broadcast(shape, axes), normal(source), _broadcast(shape, axes), label=f"{shape}")
        for source, shape, axes in table
    ]


def _reshape(shape: tuple[int, ...]):
    def reference(x: NDArray) -> NDArray:
        elements = iter([x[i] for i in np.ndindex(x.shape)])
        return _gathered(shape, x.dtype, lambda i: next(elements))

    return reference


def _reshape_cases() -> list[Case]:
    table: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((), (1, 1)),
        ((1,), ()),
        ((2, 3), (3, 2)),
        ((4, 6), (2, 2, 6)),
        ((4, 6), (2, 1, 3, 4)),
        ((2, 3, 5), (6, 5)),
        ((2, 3, 4), (24,)),
        ((24,), (2, 1, 3, 4)),
        ((0, 3), (5, 0)),
        ((1, 2, 1), (2,)),
    ]
    return [
        Case(Reshape(shape), normal(source), _reshape(shape), label=f"{shape}")
        for source, shape in table
    ]


def _transpose(permutation: tuple[int, ...]):
    def reference(x: NDArray) -> NDArray:
        shape = tuple(x.shape[p] for p in permutation)

        def source(index: tuple[int, ...]) -> Any:
            position = [0] * len(index)
            for i, p in zip(index, permutation, strict=True):
                position[p] = i
            return x[tuple(position)]

        return _gathered(shape, x.dtype, source)

    return reference


def _transpose_cases() -> list[Case]:
    table: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((), ()),
        ((3,), (0,)),
        ((2, 3), (1, 0)),
        ((2, 3, 4), (2, 0, 1)),
        ((2, 3, 4), (1, 2, 0)),
        ((0, 3), (1, 0)),
        ((1, 3, 1, 2), (3, 1, 0, 2)),
    ]
    return [Case(Transpose(p), normal(source), _transpose(p), label=f"{p}") for source, p in table]


def _reverse(axes: tuple[int, ...]):
    def reference(x: NDArray) -> NDArray:
        return _gathered(
            x.shape,
            x.dtype,
            lambda i: x[tuple(x.shape[a] - 1 - k if a in axes else k for a, k in enumerate(i))],
        )

    return reference


def _reverse_cases() -> list[Case]:
    table: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
        ((), ()),
        ((5,), (0,)),
        ((2, 3), (1,)),
        ((2, 3), (0, 1)),
        ((0, 3), (0,)),
        ((1,), (0,)),
    ]
    return [
        Case(Reverse(axes), normal(source), _reverse(axes), label=f"{axes}")
        for source, axes in table
    ]


Triple = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


def _slice(starts: tuple[int, ...], stops: tuple[int, ...], strides: tuple[int, ...]):
    def reference(x: NDArray) -> NDArray:
        taken = [list(range(*bounds)) for bounds in zip(starts, stops, strides, strict=True)]
        return _gathered(
            tuple(map(len, taken)),
            x.dtype,
            lambda i: x[tuple(t[k] for t, k in zip(taken, i, strict=True))],
        )

    return reference


def _slice_cases() -> list[Case]:
    table: list[tuple[tuple[int, ...], Triple]] = [
        ((), ((), (), ())),
        ((5,), ((1,), (4,), (1,))),
        ((7,), ((0,), (7,), (3,))),
        ((7,), ((1,), (6,), (2,))),
        ((2, 3), ((0, 2), (2, 3), (1, 1))),
        ((4, 6), ((1, 0), (4, 5), (2, 4))),
        ((4,), ((2,), (2,), (1,))),
        ((0, 3), ((0, 0), (0, 3), (1, 2))),
        ((1,), ((0,), (1,), (5,))),
    ]
    return [
        Case(Slice(*bounds), normal(source), _slice(*bounds), label=f"{bounds}")
        for source, bounds in table
    ]


def _pad(low: tuple[int, ...], high: tuple[int, ...], interior: tuple[int, ...]):
    def reference(x: NDArray, value: NDArray) -> NDArray:
        places = [
            {lo + i * (between + 1): i for i in range(n)}
            for lo, between, n in zip(low, interior, x.shape, strict=True)
        ]
        shape = tuple(
            lo + n + max(n - 1, 0) * between + hi
            for lo, hi, between, n in zip(low, high, interior, x.shape, strict=True)
        )

        def source(index: tuple[int, ...]) -> Any:
            inside = all(i in place for i, place in zip(index, places, strict=True))
            if not inside:
                return value[()]
            return x[tuple(place[i] for i, place in zip(index, places, strict=True))]

        return _gathered(shape, x.dtype, source)

    return reference


def _pad_cases() -> list[Case]:
    table: list[tuple[tuple[int, ...], Triple]] = [
        ((), ((), (), ())),
        ((3,), ((1,), (2,), (0,))),
        ((3,), ((0,), (0,), (2,))),
        ((3,), ((2,), (1,), (1,))),
        ((5,), ((-1,), (-2,), (0,))),
        ((5,), ((-2,), (3,), (0,))),
        ((4,), ((-2,), (-1,), (1,))),
        ((4,), ((2,), (-3,), (2,))),
        ((3,), ((-5,), (6,), (0,))),
        ((2, 3), ((1, 0), (0, -1), (0, 1))),
        ((2, 3), ((0, 2), (1, 1), (2, 0))),
        ((0, 2), ((2, 0), (1, 1), (3, 0))),
        ((1,), ((0,), (0,), (4,))),
        ((3,), ((0,), (-3,), (0,))),
    ]
    return [
        Case(Pad(*bounds), normal(source, ()), _pad(*bounds), label=f"{bounds}")
        for source, bounds in table
    ]


def _concatenate(axis: int):
    def reference(*xs: NDArray) -> NDArray:
        starts = list(itertools.accumulate((x.shape[axis] for x in xs), initial=0))
        shape = list(xs[0].shape)
        shape[axis] = starts[-1]

        def source(index: tuple[int, ...]) -> Any:
            k = next(
                k for k, x in enumerate(xs) if starts[k] <= index[axis] < starts[k] + x.shape[axis]
            )
            position = list(index)
            position[axis] -= starts[k]
            return xs[k][tuple(position)]

        return _gathered(tuple(shape), xs[0].dtype, source)

    return reference


def _concatenate_cases() -> list[Case]:
    table: list[tuple[int, list[tuple[int, ...]]]] = [
        (0, [(2,), (3,)]),
        (0, [(3,)]),
        (1, [(2, 1), (2, 3), (2, 2)]),
        (0, [(0, 2), (2, 2), (0, 2), (1, 2)]),
        (0, [(0,), (0,)]),
        (1, [(0, 2), (0, 3)]),
        (0, [(1,)] * 5),
    ]
    return [
        Case(Concatenate(axis), normal(*shapes), _concatenate(axis), label=f"axis {axis}")
        for axis, shapes in table
    ]


def _iota(shape: tuple[int, ...], axis: int):
    def reference() -> NDArray:
        return _gathered(shape, np.float64, lambda i: i[axis])

    return reference


def _iota_cases() -> list[Case]:
    table: list[tuple[tuple[int, ...], Any, int]] = [
        ((4,), int32, 0),
        ((2, 3), int8, 0),
        ((2, 3), float32, 1),
        ((0,), uint64, 0),
        ((1,), float64, 0),
        ((5,), float16, 0),
        ((5, 2), bfloat16, 0),
    ]
    return [
        Case(Iota(shape, dtype, axis), lambda rng: (), _iota(shape, axis), label=f"{shape}-{dtype}")
        for shape, dtype, axis in table
    ]


def _other_dtypes() -> list[Case]:
    """Layout does not depend on the dtype: one case each of some."""
    cases = []
    for dtype in (bool_, int8, float8_e4m3fn, float8_e5m2, float16, bfloat16, float32, uint64):
        make = integers(0, 2, (2, 3), dtype=dtype)
        cases += [
            Case(Broadcast((4, 2, 3), (0,)), make, _broadcast((4, 2, 3), (0,))),
            Case(Reshape((3, 2)), make, _reshape((3, 2))),
            Case(Transpose((1, 0)), make, _transpose((1, 0))),
            Case(Reverse((0,)), make, _reverse((0,))),
            Case(Slice((0, 1), (2, 3), (1, 1)), make, _slice((0, 1), (2, 3), (1, 1))),
            Case(
                Pad((1, 0), (0, 1), (0, 0)),
                integers(0, 2, (2, 3), (), dtype=dtype),
                _pad((1, 0), (0, 1), (0, 0)),
            ),
            Case(
                Concatenate(0),
                integers(0, 2, (2, 3), (1, 3), dtype=dtype),
                _concatenate(0),
            ),
        ]
    return cases


CASES: list[Case] = [
    *_broadcast_cases(),
    *_reshape_cases(),
    *_transpose_cases(),
    *_reverse_cases(),
    *_slice_cases(),
    *_pad_cases(),
    *_concatenate_cases(),
    *_iota_cases(),
    *_other_dtypes(),
]
