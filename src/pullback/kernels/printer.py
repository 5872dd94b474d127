"""Kernels as text: what each loop nest reads, computes and writes, for people and golden tests."""

from __future__ import annotations

from collections.abc import Iterator

from pullback.kernels.core import (
    Block,
    BranchStep,
    Buffer,
    ContractionKernel,
    HostStep,
    Kernel,
    LoopKernel,
    LoopStep,
    Node,
    PrefixKernel,
    SortKernel,
    Stage,
    Step,
    Storage,
    Store,
    WhileStep,
)
from pullback.kernels.index import LoopVar
from pullback.kernels.schedule import Lowered
from pullback.types import SHORT_NAMES


def print_lowered(lowered: Lowered) -> str:
    """The whole program as steps.

    Cost: linear in the number of nodes.
    """
    memory = [
        f"  {b.name}: {SHORT_NAMES[b.dtype]}[{b.size}]"
        + (f" = {b.base.name}" if b.base is not None else "")
        for b in (*lowered.inputs, *lowered.outputs, *(c for c, _ in lowered.constants))
    ]
    return "\n".join([f"kernels {lowered.name}:", *memory, *_block(lowered.block, "  "), ""])


def _block(block: Block, indent: str) -> Iterator[str]:
    for step in block.steps:
        yield from _step(step, indent)


def _step(step: Step, indent: str) -> Iterator[str]:
    inner = indent + "  "
    if isinstance(step, LoopStep):
        yield f"{indent}repeat {step.counter.extent} times:"
        yield from _block(step.body, inner)
    elif isinstance(step, BranchStep):
        for number, branch in enumerate(step.branches):
            yield f"{indent}case {number} of {_storage(step.index)}:"
            yield from _block(branch, inner)
    elif isinstance(step, WhileStep):
        yield f"{indent}while {_storage(step.flag)}, computed by:"
        yield from _block(step.condition, inner)
        yield f"{indent}do:"
        yield from _block(step.body, inner)
    elif isinstance(step, HostStep):
        inputs, outputs = (", ".join(map(_storage, s)) for s in (step.inputs, step.outputs))
        yield f"{indent}host {step.name}({inputs}) -> {outputs}"
    else:
        yield from _kernel(step, indent, inner)


def _kernel(step: Kernel, indent: str, inner: str) -> Iterator[str]:
    text = _Nodes()
    if isinstance(step, LoopKernel):
        lanes = ", lanes along rows" if step.vector_rows else ""
        yield f"{indent}kernel {step.name} rows {_vars(step.rows)}{lanes}:"
        for stage in step.stages:
            yield from _stage(stage, text, inner)
    elif isinstance(step, ContractionKernel):
        sizes = "x".join(str(v.extent) for v in (step.batch, step.row, step.inner, step.column))
        yield f"{indent}contraction {step.name} {sizes}: {text(step.a)} @ {text(step.b)}"
        yield from _stores(step.stores, text, inner)
    elif isinstance(step, PrefixKernel):
        yield f"{indent}running {step.name} along {_vars((step.axis_var,))}: {text(step.combined)}"
        yield f"{inner}{step.store_buffer}[{step.store_offset}] = {text(step.stored)}"
    elif isinstance(step, SortKernel):
        keys = ", ".join(map(text, step.keys))
        order = "falling" if step.falling else "rising"
        yield f"{indent}sort {step.name} rows {_vars(step.rows)} by {order} ({keys}):"
        yield f"{inner}for {_vars((step.place,))}, {step.source.name} where it comes from:"
        yield from _stores(step.stores, text, inner + "  ")
    else:
        yield f"{indent}scatter {step.name} for {_vars(step.indices)} if {text(step.valid)}:"
        if step.fill is not None:
            yield f"{inner}at first, for {_vars((*step.places, *step.window))}:"
            yield from _stores([step.fill], text, inner + "  ")
        yield from _stores([step.store], text, inner)


def _stage(stage: Stage, text: _Nodes, indent: str) -> Iterator[str]:
    if stage.vars:
        yield f"{indent}for {_vars(stage.vars)}:"
        indent += "  "
    for reduction in stage.reductions:
        body = text(reduction.args[0])
        yield f"{indent}%{reduction.number} = {reduction.op} {reduction.payload.opcode} {body}"
        text.known.add(reduction)
    yield from _stores(stage.stores, text, indent)


def _stores(stores: list[Store], text: _Nodes, indent: str) -> Iterator[str]:
    for store in stores:
        yield f"{indent}{store.buffer}[{store.offset}] = {text(store.value)}"


def _vars(vars: tuple[LoopVar, ...]) -> str:
    return "(" + ", ".join(f"{v.name}<{v.extent}" for v in vars) + ")"


def _storage(stored: Storage) -> str:
    return f"{stored.buffer}+{stored.offset}" if stored.offset else str(stored.buffer)


class _Nodes:
    """Writes nodes as nested expressions; reductions of a row by number once defined."""

    def __init__(self) -> None:
        self.known: set[Node] = set()

    def __call__(self, node: Node, depth: int = 0) -> str:
        if node in self.known:
            return f"%{node.number}"
        if node.op == "constant":
            return str(node.payload)
        if node.op == "load":
            buffer: Buffer = node.payload[0]
            return f"{buffer}[{node.payload[1]}]"
        if node.op == "index":
            return f"({node.payload})"
        if node.op == "within":
            index, low, high = node.payload
            return f"({low} <= {index} < {high})"
        if node.op == "accumulator":
            return "acc"
        if depth > 40:
            return "…"
        args = ", ".join(self(a, depth + 1) for a in node.args)
        if node.op in ("reduce", "argreduce"):
            return f"{node.op} {node.payload.opcode} {_vars(node.payload.vars)} ({args})"
        if node.op in ("cast", "bitcast"):
            return f"{node.op}<{SHORT_NAMES[node.dtype]}>({args})"
        return f"{node.op}({args})"
