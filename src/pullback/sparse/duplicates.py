"""Entries at one place made one, and entries in row-major order.

Imports ``entries``. Start at ``sum_duplicates``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.errors import ShapeError
from pullback.ops.arguments import scalar_of
from pullback.primitives import operators
from pullback.primitives.cumulative import CumSum
from pullback.primitives.indexing import filled
from pullback.primitives.scatter import Scatter
from pullback.primitives.shape import Concatenate, Iota, Reshape, Slice
from pullback.primitives.sort import Sort
from pullback.program.value import Array, Value
from pullback.sparse.conversions import as_count
from pullback.sparse.coo import COO, assemble, require_sparse
from pullback.sparse.entries import (
    add_at,
    at_once,
    joined,
    lengths,
    numbers,
    rows,
    rows_at_once,
    tail,
    unravel,
)
from pullback.types import bool_, int32


def sum_duplicates(x: COO, /, nse: int | None = None) -> COO:
    """The same array with one entry a place, in row-major order.

    Args:
        x: Sparse array.
        nse: How many entries to store; padding fills what is too many. None for as many as there
            are places, if the indices are known; if they are traced, as many as before, and not
            more than there are places. Of traced ones those beyond ``nse`` are lost. Static.

    Raises:
        ShapeError: known indices have more than ``nse`` places.

    Differentiation: each value gets the cotangent of its sum.
    Cost: a sort of the places.

    Example:
        >>> sum_duplicates(COO([1.0, 2.0], [[1], [1]], (3,))).values
        Array([3.], f32)
    """
    require_sparse("sum_duplicates", x)
    if nse is not None:
        nse = as_count("sum_duplicates", nse)
    if x.is_unique and x.is_sorted and nse in (None, x.nse):
        return x
    if x.is_known:
        return _sum_known(x, nse)
    return _sum_traced(x, min(x.nse, math.prod(lengths(x))) if nse is None else nse)


def _sum_known(x: COO, nse: int | None) -> COO:
    size = math.prod(lengths(x))
    found, group = np.unique(np.asarray(numbers(x)), return_inverse=True)
    count = int(np.count_nonzero(found < size))
    nse = count if nse is None else nse
    if count > nse:
        raise ShapeError(
            f"sum_duplicates of {x!r}: {count} places, more than nse={nse}; give at least "
            f"{count}, or leave it out"
        )
    number = np.full(nse, size, found.dtype)
    number[:count] = found[:count]
    # The group of padding must not take a place that `nse` leaves free.
    group = np.where(group < count, group, nse).reshape(-1, 1)
    values = add_at((nse, *tail(x)), (0,), Array(group.astype(int32)), x.values, x.dtype)
    indices = joined(unravel(Array(number), lengths(x)), nse)
    return assemble(values, indices, x.shape, True, True)


def _sum_traced(x: COO, nse: int) -> COO:
    number, order = _sorted_numbers(x)
    size = scalar_of(math.prod(lengths(x)), number.dtype)
    if not x.nse:
        starts = filled((0,), 0, int32)
    else:
        changed = operators.not_equal(_slice(number, 1, x.nse), _slice(number, 0, x.nse - 1))
        starts = Concatenate(0)(filled((1,), 0, int32), operators.astype(changed, int32))
    group = CumSum(0, False)(starts)
    inside = operators.less(number, size)
    target = Reshape((x.nse, 1))(operators.where(inside, group, scalar_of(nse, int32)))
    values = add_at((nse, *tail(x)), (0,), target, rows(x.values, order), x.dtype)
    empty = operators.broadcast_to(size, (nse,))
    place = Scatter((0,), 0, "set")(empty, target, number)
    indices = joined(unravel(place, lengths(x)), nse)
    return assemble(values, indices, x.shape, True, True)


def _slice(x: Value, start: int, stop: int) -> Value:
    part: Value = Slice((start,), (stop,), (1,))(x)
    return part


def _sorted_numbers(x: COO) -> tuple[Value, Value]:
    """The numbers of the places in rising order, and the entries that they are of."""
    number, entry = numbers(x), Iota((x.nse,), int32, 0)()
    if x.is_sorted:
        return number, entry
    ordered, order = Sort(0, 1)(number, entry)
    return ordered, order


def sort_indices(x: COO, /) -> COO:
    """The same entries in row-major order of their places, padding last; stable.

    Differentiation: each value gets the cotangent of where it went.
    Cost: a sort of the places.

    Example:
        >>> sort_indices(COO([1.0, 2.0], [[2], [0]], (3,))).values
        Array([2., 1.], f32)
    """
    require_sparse("sort_indices", x)
    if x.is_sorted:
        return x

    def find(number: Value) -> Any:
        return Sort(0, 1)(number, Iota((x.nse,), int32, 0)())[1]

    order = at_once(find, numbers(x))
    return assemble(
        rows(x.values, order), rows_at_once(x.indices, order), x.shape, True, x.is_unique
    )


def unique(x: COO) -> COO:
    """``x`` with at most one entry a place, in any order."""
    return x if x.is_unique else sum_duplicates(x)


def unique_booleans(x: COO) -> COO:
    """``x`` with duplicates summed if its elements are booleans.

    Their sum is a disjunction: as numbers of another dtype they would count twice.
    """
    return unique(x) if x.dtype == bool_ else x


def settled(x: COO) -> COO:
    """``x`` with its duplicates summed and padding dropped, if its indices are known; else ``x``.

    What functions return whose entries depend on data: as few as there can be eagerly, without a
    sort inside compiled programs.
    """
    return sum_duplicates(x) if x.is_known else x
