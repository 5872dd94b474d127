"""Rules of the primitives that move elements. Imports ``translate``; start at ``broadcast``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pullback.export.dimensions import is_static
from pullback.export.elementwise import WIDE
from pullback.export.graph import Graph, Name
from pullback.export.translate import Operand, Refusal, Translator, has_free_lengths, translates
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
from pullback.program.core import Equation
from pullback.types import DType, int64

Operands = tuple[Operand, ...]


@translates(Broadcast)
def broadcast(t: Translator, primitive: Broadcast, eqn: Equation, xs: Operands) -> Operand:
    """Nothing where new axes come first, else axes of length 1; whoever needs more expands."""
    (x,) = xs
    if not x.shape:
        return Operand(eqn.output.type, x.name, ())
    kept = primitive.kept()[len(x.type.shape) - len(x.shape) :]
    ndim = len(primitive.shape)
    added = [axis - kept[0] for axis in range(kept[0], ndim) if axis not in kept]
    shape = [1] * (ndim - kept[0])
    for axis, n in zip(kept, x.shape, strict=True):
        shape[axis - kept[0]] = n
    return Operand(eqn.output.type, t.graph.unsqueeze(x.name, added), tuple(shape))


@translates(Reshape)
def reshape(t: Translator, primitive: Reshape, eqn: Equation, xs: Operands) -> Name:
    """``Reshape``."""
    (x,) = xs
    return t.graph.reshape(t.full(x), x.type.shape, primitive.shape)


@translates(Transpose)
def transpose(t: Translator, primitive: Transpose, eqn: Equation, xs: Operands) -> Name:
    """``Transpose``."""
    return t.graph.transpose(t.full(xs[0]), primitive.permutation)


@translates(Reverse)
def reverse(t: Translator, primitive: Reverse, eqn: Equation, xs: Operands) -> Name:
    """``Slice`` by steps of -1."""
    g, axes = t.graph, primitive.axes
    if not axes:
        return t.full(xs[0])
    lowest = np.iinfo(np.int64).min
    starts, stops, steps = [-1] * len(axes), [lowest] * len(axes), [-1] * len(axes)
    inputs = [g.integers(list(numbers)) for numbers in (starts, stops, axes, steps)]
    return g.op("Slice", t.full(xs[0]), *inputs)


@translates(Slice)
def slice_(t: Translator, primitive: Slice, eqn: Equation, xs: Operands) -> Name:
    """``Slice``."""
    (x,) = xs
    return t.graph.slice(
        t.full(x), primitive.starts, primitive.stops, x.type.shape, primitive.strides
    )


@translates(Concatenate)
def concatenate(t: Translator, primitive: Concatenate, eqn: Equation, xs: Operands) -> Name:
    """``Concat``."""
    return t.graph.op("Concat", *(t.full(x) for x in xs), axis=primitive.axis)


@translates(Iota)
def iota(t: Translator, primitive: Iota, eqn: Equation, xs: Operands) -> Operand:
    """A constant along the axis, or a ``Range`` of a free length; repeated by whoever needs it."""
    shape, axis, dtype = primitive.shape, primitive.axis, primitive.dtype
    name = counts(t.graph, shape[axis], dtype)
    behind = len(shape) - axis - 1
    name = t.graph.unsqueeze(name, list(range(1, behind + 1)))
    return Operand(eqn.output.type, name, (shape[axis], *[1] * behind))


def counts(g: Graph, n: int, dtype: DType) -> Name:
    """0, 1, ... n - 1 as an array of the dtype."""
    if is_static(n):
        return g.constant(np.arange(n), dtype)
    stop = g.squeeze(g.length(n), [0])
    return g.cast(g.op("Range", g.constant(0, int64), stop, g.constant(1, int64)), int64, dtype)


@translates(Pad)
def pad(t: Translator, primitive: Pad, eqn: Equation, xs: Operands) -> Name:
    """``Pad`` and ``Slice``; elements between neighbours by an axis of their own."""
    x, value = xs
    g, dtype = t.graph, x.dtype
    wide = WIDE.get(dtype, dtype)
    name = g.cast(t.full(x), dtype, wide)
    fill = g.cast(value.name, dtype, wide)
    shape = list(x.type.shape)
    for axis, between in enumerate(primitive.interior):
        if between:
            name = _spread(g, name, shape, axis, between, fill)
            shape[axis] = shape[axis] + (shape[axis] - 1) * between
    # Added first, then cut off: more may be cut off than there was.
    ends = _ends(primitive)
    lows, highs = [max(low, 0) for low, _ in ends], [max(high, 0) for _, high in ends]
    if any(lows) or any(highs):
        name = g.op("Pad", name, g.constant([*lows, *highs], int64), fill)
        shape = [low + n + high for low, n, high in zip(lows, shape, highs, strict=True)]
    starts = [max(-low, 0) for low, _ in ends]
    stops = [n + min(high, 0) for n, (_, high) in zip(shape, ends, strict=True)]
    name = g.slice(name, starts, stops, shape)
    return g.cast(name, wide, dtype)


def _ends(primitive: Pad) -> list[tuple[int, int]]:
    ends = list(zip(primitive.low, primitive.high, strict=True))
    if any(map(has_free_lengths, ends)):
        raise Refusal("the number of elements added depends on a free length")
    return ends


def _spread(g: Graph, x: Name, shape: Sequence[int], axis: int, between: int, fill: Name) -> Name:
    """Put ``between`` elements behind each along an axis, but not behind the last."""
    if is_static(shape[axis]) and shape[axis] == 0:
        return x
    spread = g.unsqueeze(x, [axis + 1])
    ends = [0] * (len(shape) + 1)
    ends[axis + 1] = between
    spread = g.op("Pad", spread, g.constant([0] * len(ends) + ends, int64), fill)
    longer = [*shape[:axis], shape[axis] * (between + 1), *shape[axis + 1 :]]
    split = [*shape[: axis + 1], between + 1, *shape[axis + 1 :]]
    joined = g.reshape(spread, split, longer)
    stops = list(longer)
    stops[axis] = longer[axis] - between
    return g.slice(joined, [0] * len(longer), stops, longer)
