"""Rules of reductions and running values. Imports ``translate``; start at ``reduction``."""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.export.elementwise import WIDE
from pullback.export.graph import Graph, Name
from pullback.export.translate import Operand, Refusal, Translator, translates
from pullback.primitives import cumulative as c
from pullback.primitives import reduce as r
from pullback.primitives.axes import remaining, select_items
from pullback.program.core import Equation
from pullback.types import bool_, int32, int64

Operands = tuple[Operand, ...]


def _reduction(kind: str) -> Any:
    def rule(t: Translator, primitive: Any, eqn: Equation, xs: Operands) -> Name:
        return _reduce(t, kind, primitive.axes, xs[0])

    return rule


def _reduce(t: Translator, kind: str, axes: tuple[int, ...], x: Operand) -> Name:
    g = t.graph
    if not axes:
        return t.full(x)
    wide = WIDE.get(x.dtype, x.dtype)
    name = g.reduce(kind, g.cast(t.full(x), x.dtype, wide), sorted(axes))
    return g.cast(name, wide, x.dtype)


translates(r.ReduceSum)(_reduction("ReduceSum"))
translates(r.ReduceProd)(_reduction("ReduceProd"))
translates(r.ReduceMax)(_reduction("ReduceMax"))
translates(r.ReduceMin)(_reduction("ReduceMin"))
translates(r.ReduceLogSumExp)(_reduction("ReduceLogSumExp"))


def _logical(kind: str, of_none: int) -> Any:
    def rule(t: Translator, primitive: Any, eqn: Equation, xs: Operands) -> Name:
        (x,) = xs
        if x.dtype != bool_:
            raise Refusal("ONNX reduces no bit patterns; it does reduce bool")
        g = t.graph
        name = _reduce(t, kind, primitive.axes, x)
        if 0 in select_items(x.type.shape, primitive.axes):
            return g.expand(g.constant(bool(of_none), bool_), (), eqn.output.type.shape)
        return name

    return rule


translates(r.ReduceAnd)(_logical("ReduceMin", 1))
translates(r.ReduceOr)(_logical("ReduceMax", 0))


@translates(r.ArgMax, r.ArgMin)
def position(t: Translator, primitive: Any, eqn: Equation, xs: Operands) -> Name:
    """``ArgMax`` and ``ArgMin``."""
    (x,) = xs
    g = t.graph
    wide = WIDE.get(x.dtype, x.dtype)
    kind = "ArgMax" if isinstance(primitive, r.ArgMax) else "ArgMin"
    name = g.op(kind, g.cast(t.full(x), x.dtype, wide), axis=primitive.axis, keepdims=0)
    return g.cast(name, int64, primitive.dtype)


@translates(c.CumSum)
def running_sum(t: Translator, primitive: c.CumSum, eqn: Equation, xs: Operands) -> Name:
    """``CumSum``."""
    (x,) = xs
    g = t.graph
    wide = WIDE.get(x.dtype, x.dtype)
    axis = g.constant(primitive.axis, int32)
    name = g.cast(t.full(x), x.dtype, wide)
    return g.cast(g.op("CumSum", name, axis, reverse=int(primitive.reverse)), wide, x.dtype)


@translates(c.CumProd, c.CumMax, c.CumMin, c.CumLogSumExp)
def running(t: Translator, primitive: c.Cumulative, eqn: Equation, xs: Operands) -> Name:
    """A ``Scan`` that carries the running value."""
    (x,) = xs
    g, axis = t.graph, primitive.axis
    if _is_empty(x):
        return t.full(x)
    wide = WIDE.get(x.dtype, x.dtype)
    rest = x.type.with_dtype(wide).with_shape(
        select_items(x.type.shape, remaining((axis,), x.type.ndim))
    )
    start = g.constant(np.asarray(primitive.initial_value(wide)).astype(wide), wide)
    body = g.inner()
    before, element = t.root.fresh("running"), t.root.fresh("element")
    after = _combined(body, primitive, before, element)
    inner = body.body("running", [(before, rest), (element, rest)], [after, after])
    direction = int(primitive.reverse)
    _, stacked = g.ops(
        "Scan",
        [g.expand(start, (), rest.shape), g.cast(t.full(x), x.dtype, wide)],
        2,
        body=inner,
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_output_axes=[axis],
        scan_input_directions=[direction],
        scan_output_directions=[direction],
    )
    return g.cast(stacked, wide, x.dtype)


def _is_empty(x: Operand) -> bool:
    """Whether there are no elements at all: runtimes fail at loops over none."""
    return 0 in x.type.shape


def _combined(g: Graph, primitive: c.Cumulative, x: Name, y: Name) -> Name:
    match primitive:
        case c.CumProd():
            return g.op("Mul", x, y)
        case c.CumMax():
            return g.op("Max", x, y)
        case c.CumMin():
            return g.op("Min", x, y)
        case _:
            both = [g.op("Unsqueeze", z, g.integers([0])) for z in (x, y)]
            joined = g.op("Concat", *both, axis=0)
            return g.reduce("ReduceLogSumExp", joined, [0])
