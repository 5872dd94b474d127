"""Which entries of two lists have equal numbers: what a sparse product and a selection come to.

Imports ``entries``. Start at ``match``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pullback.ops.arguments import scalar_of
from pullback.ops.searching import searchsorted
from pullback.primitives import operators
from pullback.primitives.indexing import filled
from pullback.primitives.shape import Broadcast, Iota, Reshape
from pullback.primitives.sort import Sort
from pullback.program.value import Array, Value
from pullback.sparse.entries import rows
from pullback.types import bool_, int32


class Matches(NamedTuple):
    """Pairs of positions, one from each list.

    Attributes:
        first: Positions in the first list, int32 ``[pairs]``, rising.
        second: Positions in the second list.
        where: Which pairs count: all of them if both lists were known.
    """

    first: Value
    second: Value
    where: Value

    @property
    def size(self) -> int:
        """Number of pairs."""
        return int(self.first.shape[0])


def match(wanted: Value, present: Value, none: int, limit: int) -> Matches:
    """The pairs of equal numbers, by the order of ``wanted``.

    Args:
        wanted: Integers ``[m]``.
        present: Integers ``[n]``, in any order.
        none: The number that equals nothing.
        limit: How many of ``present`` can be equal at most: traced lists make as many pairs for
            each of ``wanted``. Static.
    """
    if isinstance(wanted, Array) and isinstance(present, Array):
        return _match_known(wanted.data, present.data, none)
    return _match_traced(wanted, present, none, limit)


def _match_known(
    wanted: np.ndarray[tuple[int], np.dtype[np.integer]],
    present: np.ndarray[tuple[int], np.dtype[np.integer]],
    none: int,
) -> Matches:
    order = np.argsort(present, kind="stable")
    ordered = present[order]
    start = np.searchsorted(ordered, wanted, side="left")
    counts = np.searchsorted(ordered, wanted, side="right") - start
    counts[wanted == none] = 0
    first = np.repeat(np.arange(len(wanted)), counts)
    within = np.arange(len(first)) - np.repeat(np.cumsum(counts) - counts, counts)
    second = order[np.repeat(start, counts) + within]
    where = np.ones(len(first), bool_)
    return Matches(Array(first.astype(int32)), Array(second.astype(int32)), Array(where))


def _match_traced(wanted: Value, present: Value, none: int, limit: int) -> Matches:
    m, n = wanted.shape[0], present.shape[0]
    limit = min(limit, n)
    shape = (m, limit)
    if not m * limit:
        empty = filled((0,), 0, int32)
        return Matches(empty, empty, filled((0,), False, bool_))
    ordered, order = Sort(0, 1)(present, Iota((n,), int32, 0)())
    start = searchsorted(ordered, wanted)
    position = operators.add(Reshape((m, 1))(start), Iota(shape, int32, 1)())
    number = Broadcast(shape, (1,))(wanted)
    where = (
        operators.less(position, scalar_of(n, int32))
        & operators.equal(rows(ordered, position), number)
        & operators.not_equal(number, scalar_of(none, number.dtype))
    )
    flat = Reshape((m * limit,))
    first: Value = flat(Iota(shape, int32, 0)())
    second: Value = flat(rows(order, position))
    return Matches(first, second, flat(where))
