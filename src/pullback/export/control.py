"""Rules of calls, loops and branches. Imports ``translate``; start at ``scan``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pullback.export.dimensions import is_static
from pullback.export.graph import Graph, Name
from pullback.export.layout import counts
from pullback.export.translate import Operand, Translator, translates
from pullback.primitives.control import Call, Cond, Scan, WhileLoop
from pullback.primitives.custom import Checkpoint, CustomVjp
from pullback.program.core import Equation, Program
from pullback.types import ArrayType, bool_, int32, int64

Operands = tuple[Operand, ...]


@translates(Call, Checkpoint, CustomVjp)
def call(t: Translator, primitive: Any, eqn: Equation, xs: Operands) -> list[Name]:
    """The equations of the program that is called."""
    called = primitive.primal if isinstance(primitive, CustomVjp) else primitive.program
    return [t.full(x) for x in t.program(called, [replace(x) for x in xs])]


def _in_body(t: Translator, graph: Graph, program: Program, args: Sequence[Operand]) -> list[Name]:
    """Write a program into the body of a loop or a branch; return its outputs."""
    outer, t.graph = t.graph, graph
    try:
        # Copies: what is expanded in here is not known outside.
        return [t.full(x) for x in t.program(program, [replace(x) for x in args])]
    finally:
        t.graph = outer


def _declared(t: Translator, types: Sequence[ArrayType], hint: str) -> list[tuple[Name, ArrayType]]:
    return [(t.root.fresh(hint), type_) for type_ in types]


def _operands(declared: Sequence[tuple[Name, ArrayType]]) -> list[Operand]:
    return [Operand(type_, name, type_.shape) for name, type_ in declared]


@translates(Scan)
def scan(t: Translator, primitive: Scan, eqn: Equation, xs: Operands) -> list[Name]:
    """``Scan``; what stays the same is read from outside."""
    g = t.graph
    constants, carry, scanned = primitive.parts(xs)
    if is_static(primitive.length) and primitive.length == 0:  # runtimes fail at loops over nothing
        stacked = [v.type for v in eqn.outputs[len(carry) :]]
        empty = [g.expand(g.constant(0, y.dtype), (), y.shape) for y in stacked]
        return [*(t.full(x) for x in carry), *empty]
    states = _declared(t, [x.type for x in carry], "state")
    slices = _declared(t, [x.type.with_shape(x.type.shape[1:]) for x in scanned], "slice")
    body = g.inner()
    args = [*constants, *_operands(states), *_operands(slices)]
    results = _in_body(t, body, primitive.body, args)
    stacks = [t.full(x) for x in scanned]
    if not scanned:  # ONNX counts the steps by what is scanned
        stacks = [counts(g, primitive.length, int64)]
        slices = _declared(t, [ArrayType((), np.dtype(np.int64))], "step")
    directions = {}
    if primitive.reverse:
        directions["scan_input_directions"] = [1] * len(stacks)
        if len(eqn.outputs) > len(carry):
            directions["scan_output_directions"] = [1] * (len(eqn.outputs) - len(carry))
    return g.ops(
        "Scan",
        [*(t.full(x) for x in carry), *stacks],
        len(eqn.outputs),
        body=body.body(primitive.body.name, [*states, *slices], results),
        num_scan_inputs=len(stacks),
        **directions,
    )


@translates(WhileLoop)
def while_loop(t: Translator, primitive: WhileLoop, eqn: Equation, xs: Operands) -> list[Name]:
    """``Loop`` without a largest number of iterations."""
    g = t.graph
    constants, carry = xs[: primitive.constants], xs[primitive.constants :]
    (holds,) = t.program(primitive.condition, [replace(x) for x in xs])
    count, goes_on = t.root.fresh("iteration"), t.root.fresh("holds")
    states = _declared(t, [x.type for x in carry], "state")
    body = g.inner()
    results = _in_body(t, body, primitive.body, [*constants, *_operands(states)])
    named = [(name, x.type) for name, x in zip(results, carry, strict=True)]
    (after,) = _in_body(t, body, primitive.condition, [*constants, *_operands(named)])
    inputs = [
        (count, ArrayType((), np.dtype(np.int64))),
        (goes_on, ArrayType((), bool_)),
        *states,
    ]
    inner = body.body(primitive.body.name, inputs, [after, *results])
    started = ["", t.full(holds), *(t.full(x) for x in carry)]
    return g.ops("Loop", started, len(carry), body=inner)


@translates(Cond)
def cond(t: Translator, primitive: Cond, eqn: Equation, xs: Operands) -> list[Name]:
    """``If``, one in the other where there are more than two branches."""
    index, *operands = xs
    return _choose(t, t.full(index), primitive.branches, operands, len(eqn.outputs))


def _choose(
    t: Translator, index: Name, branches: Sequence[Program], xs: Sequence[Operand], count: int
) -> list[Name]:
    g = t.graph
    first, *rest = branches
    if not rest:
        return [t.full(x) for x in t.program(first, [replace(x) for x in xs])]
    is_first = g.op("LessOrEqual", index, g.constant(0, int32))
    taken, other = g.inner(), g.inner()
    results = _in_body(t, taken, first, xs)
    t.graph = other
    lower = t.graph.op("Sub", index, g.constant(1, int32))
    others = _choose(t, lower, rest, [replace(x) for x in xs], count)
    t.graph = g
    return g.ops(
        "If",
        [is_first],
        count,
        then_branch=taken.body(first.name, [], results),
        else_branch=other.body("else", [], others),
    )
