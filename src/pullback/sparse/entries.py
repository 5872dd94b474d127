"""What all functions of sparse arrays need: where entries are, and sums at their places.

Imports ``coo`` and ``primitives``. Start at ``inside`` and ``numbers``. Indices that are known, not
traced, are worked on at once, also while a function around them is being traced: results then have
exactly as many entries as they need.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.ops.arguments import scalar_of
from pullback.ops.creation import full
from pullback.primitives import operators
from pullback.primitives.accumulate import accumulator
from pullback.primitives.elementwise import Div, Rem
from pullback.primitives.indexing import Gather, filled, index_columns, position_dtype
from pullback.primitives.scatter import Scatter, are_inside
from pullback.primitives.shape import Concatenate, Reshape
from pullback.program.value import Array, Value, outside_traces
from pullback.sparse.coo import COO, assemble
from pullback.types import DType, bool_, int32, uint8

NDArray = np.ndarray[Any, Any]


def at_once(f: Callable[..., Any], *arrays: Value) -> Any:
    """``f(*arrays)``, evaluated now where all of them are known, else traced."""
    if all(isinstance(x, Array) for x in arrays):
        with outside_traces():
            return f(*arrays)
    return f(*arrays)


def lengths(x: COO) -> tuple[int, ...]:
    """Lengths of the sparse axes."""
    return x.shape[: x.sparse_ndim]


def tail(x: COO) -> tuple[int, ...]:
    """Lengths of the dense axes."""
    return x.shape[x.sparse_ndim :]


def columns(x: COO) -> list[Value]:
    """For each sparse axis the index of every entry, int32 ``[nse]``."""
    return list(at_once(index_columns, x.indices))


def joined(parts: Sequence[Value], nse: int) -> Value:
    """Columns as an array of indices, int32 ``[nse, len(parts)]``: the inverse of ``columns``."""
    if not parts:
        return Array(np.zeros((nse, 0), int32))

    def join(*parts: Value) -> Value:
        stood = [Reshape((nse, 1))(operators.astype(part, int32)) for part in parts]
        only: Value = stood[0] if len(stood) == 1 else Concatenate(1)(*stood)
        return only

    joint: Value = at_once(join, *parts)
    return joint


def inside(x: COO) -> Value:
    """Which entries are not padding, bool ``[nse]``."""
    found: Value = at_once(lambda indices: are_inside(indices, lengths(x)), x.indices)
    return found


def choose(where: Value, x: Value, otherwise: int) -> Value:
    """``x`` where the condition holds, else a number; at once if both are known."""
    other = scalar_of(otherwise, x.dtype)
    chosen: Value = at_once(lambda w, v: operators.where(w, v, other), where, x)
    return chosen


def over_tail(where: Value, values: Value) -> Value:
    """A condition ``[nse]`` with axes of length 1 for those of ``values`` behind the first."""
    shape = (*where.shape, *(1 for _ in values.shape[1:]))
    return where if shape == where.shape else Reshape(shape)(where)


def kept_values(x: COO, where: Value | None = None) -> Value:
    """The values, with 0 for padding; ``where`` is ``inside(x)``, if it is there already."""
    if not x.sparse_ndim:
        return x.values
    where = inside(x) if where is None else where
    zero = scalar_of(0, x.dtype)
    return operators.where(over_tail(where, x.values), x.values, zero)


def ravel(parts: Sequence[Value], shape: Sequence[int], where: Value) -> Value:
    """Row-major numbers of places, ``[nse]``; the number of all places where ``where`` fails."""
    size = math.prod(shape)
    dtype = position_dtype(size + 1)

    def number(where: Value, *parts: Value) -> Value:
        found = full(where.shape, 0, dtype=dtype)
        for part, length in zip(parts, shape, strict=True):
            found = found * scalar_of(length, dtype) + operators.astype(part, dtype)
        return operators.where(where, found, scalar_of(size, dtype))

    numbers: Value = at_once(number, where, *parts)
    return numbers


def numbers(x: COO) -> Value:
    """For each entry the row-major number of its place; that of all places for padding."""
    return ravel(columns(x), lengths(x), inside(x))


def unravel(number: Value, shape: Sequence[int]) -> list[Value]:
    """Columns of the places that ``ravel`` numbered; padding gets the length of every axis."""
    size = math.prod(shape)

    def split(number: Value) -> list[Value]:
        padding = operators.equal(number, scalar_of(size, number.dtype))
        parts = []
        stride = size
        for length in shape:
            stride //= max(length, 1)
            # None is negative: the primitives that cut towards zero will do.
            part = Div()(number, scalar_of(max(stride, 1), number.dtype))
            part = Rem()(part, scalar_of(max(length, 1), number.dtype))
            end = scalar_of(length, int32)
            parts.append(operators.where(padding, end, operators.astype(part, int32)))
        return parts

    return list(at_once(split, number))


def rows(x: Value, positions: Value) -> Value:
    """``x[positions]`` along the first axis; positions outside read the nearest."""
    if not x.shape[0]:
        return filled((*positions.shape, *x.shape[1:]), 0, x.dtype)
    taken: Value = Gather((0,), 0, "clip")(x, Reshape((*positions.shape, 1))(positions))
    return taken


def rows_at_once(x: Value, positions: Value) -> Value:
    """``rows``, evaluated now where both are known."""
    taken: Value = at_once(rows, x, positions)
    return taken


def sum_dtype(dtype: DType) -> DType:
    """What sums of ``dtype`` at places are kept in; booleans as their greatest."""
    return uint8 if dtype == bool_ else accumulator(dtype)


def add_at(
    shape: Sequence[int], axes: Sequence[int], places: Value, updates: Value, dtype: DType
) -> Value:
    """Zeros of ``shape`` with ``updates`` added at ``places`` of ``axes``.

    Sums of narrow floats are kept in float32 and rounded once; of booleans it is whether one is
    true. Places outside are left out.

    Args:
        shape: The shape of the result.
        axes: The axes that are addressed.
        places: Integers ``[nse, len(axes)]``.
        updates: Array ``[nse, *other axes]``.
        dtype: The dtype of the result.
    """
    wide = sum_dtype(dtype)
    kind = "max" if dtype == bool_ else "add"
    zeros = filled(tuple(shape), 0, wide)
    found = Scatter(tuple(axes), 0, kind)(zeros, places, operators.astype(updates, wide))
    return operators.astype(found, dtype)


def selected(x: COO, where: Value) -> COO:
    """The entries where a condition holds: the others are dropped if it is known, else padding."""
    if isinstance(where, Array) and x.is_known:
        keep = np.flatnonzero(where.data)
        if len(keep) == x.nse:
            return x
        position = Array(keep.astype(int32))
        kept = rows(x.values, position)
        return assemble(kept, rows_at_once(x.indices, position), x.shape, x.is_sorted, x.is_unique)
    parts = [
        choose(where, part, length) for part, length in zip(columns(x), lengths(x), strict=True)
    ]
    return assemble(x.values, joined(parts, x.nse), x.shape, False, x.is_unique)


def drop_padding(x: COO) -> COO:
    """``x`` without its padding, if its indices are known; else ``x``."""
    return selected(x, inside(x)) if x.is_known else x


def with_dense_ndim(x: COO, dense_ndim: int) -> COO:
    """``x`` with fewer dense axes: the first of them become sparse, each slice many entries."""
    if dense_ndim == x.dense_ndim:
        return x
    moved = x.shape[x.sparse_ndim : x.ndim - dense_ndim]
    count = math.prod(moved)
    nse = x.nse * count
    where = inside(x)

    def repeat(part: Value) -> Value:
        repeated = operators.broadcast_to(Reshape((*part.shape, 1))(part), (x.nse, count))
        flat: Value = Reshape((nse,))(repeated)
        return flat

    parts = [at_once(repeat, part) for part in columns(x)]
    inner = np.indices(moved, np.int32).reshape(len(moved), count)
    whole = at_once(repeat, where)
    for position, length in zip(inner, moved, strict=True):
        tiled = Array(np.tile(position, x.nse))
        # An entry without a sparse axis, which cannot be padding, needs no mark.
        parts.append(choose(whole, tiled, length))
    values = Reshape((nse, *x.shape[x.ndim - dense_ndim :]))(x.values)
    # Two slices at one place come one behind the other, and their elements not in order.
    is_sorted = x.is_sorted and x.is_unique
    return assemble(values, joined(parts, nse), x.shape, is_sorted, x.is_unique)
