"""Parts of sparse arrays: ``x[...]`` and rows at positions.

Imports ``layout`` and ``matches``. Start at ``getitem``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pullback.ops.arguments import ArrayLike, as_array, normalize_axis, require_dtype, scalar_of
from pullback.ops.indexing import getitem as getitem_
from pullback.ops.indexing import take as take_
from pullback.ops.keys import Key, parse_key, wrap_index
from pullback.primitives import operators
from pullback.primitives.elementwise import Div, Rem
from pullback.primitives.shape import Reshape
from pullback.program.value import Array, Value
from pullback.sparse.conversions import to_dense
from pullback.sparse.coo import COO, assemble, require_sparse
from pullback.sparse.entries import (
    at_once,
    choose,
    columns,
    drop_padding,
    inside,
    joined,
    lengths,
    rows,
    rows_at_once,
    selected,
)
from pullback.sparse.layout import reshape, transpose, with_axes
from pullback.sparse.matches import match
from pullback.types import INTEGER, int32


def getitem(x: COO, key: Any, /) -> COO | Value:
    """``x[key]`` by NumPy's rules.

    Args:
        x: Sparse array.
        key: Integers, slices, ``None``, ``...``, and at most one array of integers or mask of one
            axis, which selects as ``take`` does.

    Returns:
        A sparse array; an ``Array`` if no axis that is sparse is left.

    Raises:
        IndexError: an index is out of range, there are too many, or two are arrays.
        TracerArrayError: a mask is traced.

    Example:
        >>> COO([1.0, 2.0], [[0, 2], [1, 0]], (2, 3))[0].to_dense()
        Array([0., 0., 1.], f32)
    """
    parsed = parse_key(x.type, key)
    if len(parsed.arrays) > 1:
        raise IndexError(
            f"a sparse array {x.type} is indexed by one array at most, got {len(parsed.arrays)}: "
            "index by one after the other, or index `x.to_dense()`"
        )
    part = _sliced(x, parsed)
    for axis, index in parsed.arrays:
        part = take(part, index, axis)
        if parsed.place != axis:
            # As in NumPy: apart from an integer in the key, the array's axes come first.
            moved = range(axis, axis + index.ndim)
            others = [a for a in range(part.ndim) if a not in moved]
            part = transpose(part, (*others[: parsed.place], *moved, *others[parsed.place :]))
    return part if part.sparse_ndim else to_dense(part)


def _sliced(x: COO, key: Key) -> COO:
    """The part that integers and slices select, with axes dropped and inserted."""
    split, shape = x.sparse_ndim, key.sliced
    bounds = list(zip(key.starts, key.stops, key.strides, strict=True))
    values = x.values
    if shape[split:] != x.shape[split:] or any(a >= split for a in key.reversed):
        forward = (slice(*bound) for bound in bounds[split:])
        values = getitem_(values, (slice(None), *forward))
        turned = (slice(None, None, -1 if a in key.reversed else 1) for a in range(split, x.ndim))
        values = getitem_(values, (slice(None), *turned))
    where, parts, is_cut = inside(x), columns(x), False
    for axis, (start, _, stride) in enumerate(bounds[:split]):
        if shape[axis] != x.shape[axis] or axis in key.reversed:
            is_cut = True
            place = _Range(start, stride, shape[axis], axis in key.reversed)
            parts[axis], where = at_once(place.number, parts[axis], where)
    if is_cut:
        parts = [choose(where, part, n) for part, n in zip(parts, shape, strict=False)]
        is_sorted = x.is_sorted and x.is_known and not key.reversed
        cut = assemble(values, joined(parts, x.nse), shape, is_sorted, x.is_unique)
        return with_axes(drop_padding(cut), key.kept)
    return with_axes(assemble(values, x.indices, shape, x.is_sorted, x.is_unique), key.kept)


class _Range(NamedTuple):
    """What a slice takes of an axis: ``length`` places from ``start`` on, ``stride`` apart."""

    start: int
    stride: int
    length: int
    is_reversed: bool

    def number(self, part: Value, where: Value) -> tuple[Value, Value]:
        """The positions of indices in the slice, and which of those in ``where`` are in it."""
        offset = operators.subtract(part, scalar_of(self.start, int32))
        stride = scalar_of(self.stride, int32)
        number = Div()(offset, stride)
        fits = operators.equal(Rem()(offset, stride), scalar_of(0, int32))
        has = (
            operators.greater_equal(offset, scalar_of(0, int32))
            & operators.less(number, scalar_of(self.length, int32))
            & fits
        )
        if self.is_reversed:
            number = operators.subtract(scalar_of(self.length - 1, int32), number)
        return number, has & where


def take(x: COO, indices: ArrayLike, /, axis: int = 0) -> COO:
    """Slices at positions along an axis.

    Args:
        x: Sparse array ``[..., n, ...]``.
        indices: Array of integers; negative ones count from the end.
        axis: The axis of length ``n``. Static.

    Returns:
        Sparse array ``[..., indices.shape, ...]``. Traced positions outside select zeros.

    Raises:
        DTypeError: ``indices`` are not integers.
        IndexError: an index is known and out of range.
        ShapeError: ``axis`` is out of range.

    Differentiation: each value gets the sum of the cotangents of the places that it went to.
    Cost: a sort of the entries along the axis. Where indices are traced the result has room for
    each position beside each entry that one slice can have: for all of ``x`` if it is not known to
    be free of duplicates. For one position it has as many entries as ``x``.

    Example:
        >>> x = COO([1.0, 2.0], [[0, 2], [1, 0]], (2, 3))
        >>> take(x, [1, 0, 1]).to_dense()
        Array([[2., 0., 0.],
               [0., 0., 1.],
               [2., 0., 0.]], f32)
    """
    require_sparse("take", x)
    place = normalize_axis("take", axis, x.ndim)
    wanted = as_array(indices)
    require_dtype("take: indices", wanted, INTEGER)
    length, split = x.shape[place], x.sparse_ndim
    shape = (*x.shape[:place], *wanted.shape, *x.shape[place + 1 :])
    if place >= split:
        values = take_(x.values, wanted, axis=place - split + 1)
        return assemble(values, x.indices, shape, x.is_sorted, x.is_unique)
    wanted = wrap_index(wanted, length, place)
    flat: Value = Reshape((wanted.size,))(operators.astype(wanted, int32))
    taken = _take_one(x, flat, place) if wanted.size == 1 else _take_several(x, flat, place)
    if wanted.ndim == 1:
        return taken
    kept: list[int | None] = list(range(x.ndim))
    if wanted.ndim == 0:
        return with_axes(taken, [a for a in kept if a != place])
    return reshape(taken, shape)


def _take_one(x: COO, position: Value, axis: int) -> COO:
    """The slice at one position ``[1]``, with its axis of length 1."""
    parts = columns(x)

    def find(part: Value, where: Value, position: Value) -> Value:
        spread = operators.broadcast_to(position, part.shape)
        return operators.bitwise_and(operators.equal(part, spread), where)

    where = at_once(find, parts[axis], inside(x), position)
    parts[axis] = choose(where, Array(np.zeros(x.nse, int32)), 1)
    shape = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
    moved = assemble(x.values, joined(parts, x.nse), shape, x.is_sorted, x.is_unique)
    return selected(moved, where)


def _take_several(x: COO, positions: Value, axis: int) -> COO:
    """The slices at positions ``[p]``."""
    length = x.shape[axis]
    parts = columns(x)
    present = choose(inside(x), parts[axis], length)
    places = math.prod(n for a, n in enumerate(lengths(x)) if a != axis)
    pairs = at_once(
        lambda wanted, present: match(wanted, present, length, places if x.is_unique else x.nse),
        positions,
        present,
    )
    moved = [rows_at_once(part, pairs.second) for part in parts]
    moved[axis] = pairs.first
    shape = (*x.shape[:axis], positions.shape[0], *x.shape[axis + 1 :])
    marked = [choose(pairs.where, part, n) for part, n in zip(moved, shape, strict=False)]
    values = rows(x.values, pairs.second)
    is_sorted = x.is_sorted and x.is_known and isinstance(pairs.where, Array) and axis == 0
    return assemble(values, joined(marked, pairs.size), shape, is_sorted, x.is_unique)
