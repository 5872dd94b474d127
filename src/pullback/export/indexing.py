"""Rules of reading and writing at places that are data, and of sorting. Imports ``translate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.export.dimensions import is_static
from pullback.export.elementwise import WIDE
from pullback.export.graph import Graph, Name
from pullback.export.layout import counts
from pullback.export.translate import Operand, Refusal, Translator, translates
from pullback.primitives.axes import select_items
from pullback.primitives.indexing import DynamicSlice, DynamicUpdateSlice, Gather, Places
from pullback.primitives.scatter import Scatter
from pullback.primitives.sort import Sort
from pullback.program.core import Equation
from pullback.types import FLOATING, ArrayType, bool_, int64, uint64

Operands = tuple[Operand, ...]


def _clamped(g: Graph, x: Name, high: Name) -> Name:
    """Whole numbers ``int64`` clamped to ``0 .. high``."""
    return g.op("Min", g.op("Max", x, g.constant(0, int64)), high)


def _starts(t: Translator, starts: Sequence[Operand], x: ArrayType, block: Sequence[int]) -> Name:
    """Where a block begins, as ``int64[ndim]``, clamped so that it lies inside."""
    g = t.graph
    for start in starts:
        _refuse_unsigned(start)
    parts = [g.unsqueeze(g.cast(s.name, s.dtype, int64), [0]) for s in starts]
    room = [n - m for n, m in zip(x.shape, block, strict=True)]
    return _clamped(g, g.op("Concat", *parts, axis=0), g.integers(room))


@translates(DynamicSlice)
def dynamic_slice(t: Translator, primitive: DynamicSlice, eqn: Equation, xs: Operands) -> Name:
    """``Slice`` from computed starts."""
    x, *starts = xs
    g = t.graph
    if not starts:
        return t.full(x)
    begin = _starts(t, starts, x.type, primitive.sizes)
    end = g.op("Add", begin, g.integers(primitive.sizes))
    return g.op("Slice", t.full(x), begin, end, g.integers(list(range(x.type.ndim))))


@translates(DynamicUpdateSlice)
def dynamic_update_slice(t: Translator, primitive: Any, eqn: Equation, xs: Operands) -> Name:
    """``ScatterND`` at the places of the block."""
    x, update, *starts = xs
    g = t.graph
    if not starts:
        return t.full(update)
    if 0 in update.type.shape:
        return t.full(x)
    sizes = update.type.shape
    ndim = len(sizes)
    columns = []
    for axis, n in enumerate(sizes):
        column = g.unsqueeze(counts(g, n, int64), list(range(1, ndim - axis + 1)))
        shape = (n, *[1] * (ndim - axis))
        columns.append(g.expand(column, shape, (*sizes, 1)))
    places = g.op("Concat", *columns, axis=ndim)
    places = g.op("Add", places, _starts(t, starts, x.type, sizes))
    return g.op("ScatterND", t.full(x), places, t.full(update))


@translates(Gather)
def gather(t: Translator, primitive: Gather, eqn: Equation, xs: Operands) -> Name:
    """``Gather`` along one axis, else ``GatherND``; places outside are clamped, or filled."""
    x, indices = xs
    g = t.graph
    places = Places(primitive.axes, primitive.batch, x.type.shape)
    if any(is_static(n) and n == 0 for n in places.limits):
        raise Refusal("it reads from an axis without elements")
    wide = _wide_indices(t, indices)
    limits = g.integers([n - 1 for n in places.limits])
    clamped = _clamped(g, wide, limits)
    moved = g.transpose(t.full(x), (*places.fixed, *places.rest))
    if not primitive.axes:
        raise Refusal("it addresses no axis")
    if len(primitive.axes) == 1 and not primitive.batch:
        flat = g.squeeze(clamped, [indices.type.ndim - 1])
        found = g.op("Gather", moved, flat, axis=0)
    else:
        found = g.op("GatherND", moved, clamped, batch_dims=primitive.batch)
    if primitive.mode == "clip":
        return found
    inside = _all_equal(g, wide, clamped, indices.type.ndim - 1)
    return _filled(t, eqn.output.type, found, inside, len(places.rest))


def _wide_indices(t: Translator, indices: Operand) -> Name:
    _refuse_unsigned(indices)
    return t.graph.cast(t.full(indices), indices.dtype, int64)


def _refuse_unsigned(indices: Operand) -> None:
    if indices.dtype == uint64:
        raise Refusal("ONNX has no indices of 64 bits without a sign; convert them to int64")


def _all_equal(g: Graph, x: Name, y: Name, axis: int) -> Name:
    """Whether all components of vectors along the last axis are equal."""
    same = g.cast(g.op("Equal", x, y), bool_, np.dtype(np.int32))
    least = g.reduce("ReduceMin", same, [axis])
    return g.cast(least, np.dtype(np.int32), bool_)


def _filled(t: Translator, out: ArrayType, found: Name, inside: Name, rest: int) -> Name:
    """What was found, nan or 0 where the place is outside."""
    g = t.graph
    ndim = len(out.shape)
    inside = g.unsqueeze(inside, list(range(ndim - rest, ndim)))
    wide = WIDE.get(out.dtype, out.dtype)
    fill = g.constant(np.nan if out.dtype in FLOATING else 0, wide)
    chosen = g.op("Where", inside, g.cast(found, out.dtype, wide), fill)
    return g.cast(chosen, wide, out.dtype)


_REDUCTIONS = {"set": "none", "add": "add", "mul": "mul", "min": "min", "max": "max"}


@translates(Scatter)
def scatter(t: Translator, primitive: Scatter, eqn: Equation, xs: Operands) -> Name:
    """``ScatterND`` into a copy with one more place, for updates that lie outside."""
    x, indices, updates = xs
    g, dtype = t.graph, x.dtype
    if primitive.batch or not primitive.axes:
        raise Refusal("it has batch axes, or addresses no axis")
    places = Places(primitive.axes, 0, x.type.shape)
    wide = WIDE.get(dtype, dtype)
    order = (*places.fixed, *places.rest)
    moved = g.cast(g.transpose(t.full(x), order), dtype, wide)
    shape = select_items(x.type.shape, order)
    # One place more behind the first axis: what lies outside goes there, and is cut off.
    ends = [0] * len(order)
    moved = g.op("Pad", moved, g.constant([*ends, 1, *ends[1:]], int64))
    vectors = _wide_indices(t, indices)
    clamped = _clamped(g, vectors, g.integers([n - 1 for n in places.limits]))
    last = indices.type.ndim - 1
    inside = g.unsqueeze(_all_equal(g, vectors, clamped, last), [last])
    outside = g.integers([places.limits[0], *[0] * (len(places.limits) - 1)])
    target = g.op("Where", inside, clamped, outside)
    values = g.cast(t.full(updates), dtype, wide)
    kind = _REDUCTIONS[primitive.kind]
    if kind in ("min", "max"):
        t.require(18)
    result = g.op("ScatterND", moved, target, values, reduction=kind)
    longer = (shape[0] + 1, *shape[1:])
    result = g.slice(result, [0] * len(shape), shape, longer)
    back = tuple(order.index(axis) for axis in range(len(order)))
    return g.transpose(g.cast(result, wide, dtype), back)


@translates(Sort)
def sort(t: Translator, primitive: Sort, eqn: Equation, xs: Operands) -> list[Name]:
    """``TopK``, by each key in turn, the last first: it keeps the order of ties."""
    g, axis = t.graph, primitive.axis
    names = [t.full(x) for x in xs]
    count = eqn.outputs[0].type.shape[axis]
    for k in reversed(range(primitive.keys)):
        dtype = xs[k].dtype
        wide = WIDE.get(dtype, dtype)
        key = g.cast(names[k], dtype, wide)
        # The last of the sorts may drop what is not wanted.
        kept = g.integers([xs[0].type.shape[axis] if k else count])
        largest = int(primitive.falling)
        _, order = g.ops("TopK", [key, kept], 2, axis=axis, largest=largest, sorted=1)
        names = [g.op("GatherElements", name, order, axis=axis) for name in names]
    return names
