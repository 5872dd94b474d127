"""Sums of the updates of a scatter, a row for each place that has some: arithmetic on values.

Imports ``primitives``. ``compact_scatters`` says where it is used. Start at ``sum_rows``.
"""

from __future__ import annotations

import math

from pullback.primitives.accumulate import cast_value
from pullback.primitives.comparison import Eq, Ge
from pullback.primitives.elementwise import Select
from pullback.primitives.indexing import Gather, Places, filled, index_columns, position_dtype
from pullback.primitives.scatter import Scatter, are_inside
from pullback.primitives.shape import Broadcast, Concatenate, Iota, Reshape
from pullback.program.value import Array, Value
from pullback.records import dataclass


@dataclass(frozen=True)
class RowSums:
    """What a scatter with "add" into zeros gives, in the rows of each place's last update.

    Attributes:
        last: For each place the number of its last update, or -1. Shape: the places.
        rows: The sums, at the number of the place's last update. Shape: updates, rest axes.
        vectors: The index vectors of the last updates; others lie outside. Shape: updates, axes.
    """

    last: Value
    rows: Value
    vectors: Value


def sum_rows(shape: tuple[int, ...], indices: Value, updates: Value) -> RowSums:
    """Add updates with the same index vector, in order, from zero.

    Args:
        shape: Of the array that the vectors address; they address its first axes.
        indices: Vectors, ``int[lead.., axes]``.
        updates: ``T[lead.., rest axes]``.
    """
    axes = indices.shape[-1]
    limits, rest = shape[:axes], shape[axes:]
    count = math.prod(indices.shape[:-1])
    vectors: Value = Reshape((count, axes))(indices)
    addressed = tuple(range(axes))
    dtype = position_dtype(max(count, *limits))
    number = Iota((count,), dtype, 0)()
    last = Scatter(addressed, 0, "set")(filled(limits, -1, dtype), vectors, number)
    inside = are_inside(vectors, Places(addressed, 0, shape).limits)
    found = Gather(addressed, 0, "clip")(last, vectors)
    own = Select()(inside, found, filled((count,), count, dtype))
    zeros = filled((count, *rest), 0, updates.dtype)
    rows = Scatter((0,), 0, "add")(
        zeros, Reshape((count, 1))(own), Reshape((count, *rest))(updates)
    )
    columns = [cast_value(c, dtype) for c in index_columns(vectors)]
    columns[0] = Select()(Eq()(own, number), columns[0], filled((count,), limits[0], dtype))
    columns = [Reshape((count, 1))(c) for c in columns]
    joined: Value = columns[0] if axes == 1 else Concatenate(1)(*columns)
    return RowSums(last, rows, joined)


def all_places(last: Value, rows: Value) -> Value:
    """Return the sums of all places: of those without updates, zero."""
    shape = (*last.shape, *rows.shape[1:])
    found = Gather((0,), 0, "clip")(rows, Reshape((*last.shape, 1))(last))
    is_updated = Ge()(last, Array(last.dtype.type(0)))
    everywhere = Broadcast(shape, tuple(range(last.ndim, len(shape))))(is_updated)
    sums: Value = Select()(everywhere, found, filled((), 0, rows.dtype))
    return sums
