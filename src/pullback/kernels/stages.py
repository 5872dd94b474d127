"""Orders the work inside one row: which reductions and stores share a pass over the row.

A reduction whose value depends on the row alone is computed once a row, in a stage before its
readers. Items with the same inner loop share a stage when neither needs the other's result.
An expensive value that several stages need is kept in a scratch row of the thread.
"""

from __future__ import annotations

from pullback.kernels.core import Buffer, Node, Space, Stage, Store
from pullback.kernels.expression import Expressions, children, topological
from pullback.kernels.index import LoopVar, as_index, linear_index
from pullback.program.loops import SCALAR_OPS

#: Operations about as cheap as reading memory; everything else is worth a scratch row.
CHEAP_OPS = frozenset({
    "add", "sub", "mul", "neg", "abs", "max", "min", "and", "or", "xor", "not", "eq", "ne", "lt",
    "le", "gt", "ge", "floor", "ceil", "round", "trunc", "shl", "shr", "sar", "sign", "is_finite",
})  # fmt: skip
#: Longest scratch row, in bytes; a longer value is computed again.
SCRATCH_BYTES = 64 * 1024


def hoisted_reductions(order: list[Node], rows: frozenset[LoopVar]) -> set[Node]:
    """Reductions among the nodes whose value is fixed for a row."""
    return {n for n in order if n.op in ("reduce", "argreduce") and n.free <= rows}


def make_stages(
    stores: list[tuple[tuple[LoopVar, ...], Store]], rows: tuple[LoopVar, ...]
) -> list[Stage]:
    """Arrange stores, each with its inner loop counters, and the reductions they need.

    Args:
        stores: ``(inner counters, store)``.
        rows: The counters of the row.
    """
    order = topological([s.value for _, s in stores])
    hoisted = hoisted_reductions(order, frozenset(rows))
    stages: list[Stage] = []
    stage_of: dict[Node, int] = {}
    ready: dict[Node, int] = {}  # first stage in which a node's row-level operands are known
    for node in order:
        after = max((ready[c] for c in children(node)), default=0)
        if node in hoisted:
            vars = tuple(v for v in node.payload.vars if v.extent > 1)
            place = _find_stage(stages, vars, after)
            stages[place].reductions.append(node)
            stage_of[node] = place
            after = place + 1
        ready[node] = after
    for vars, store in stores:
        inner = tuple(v for v in vars if v.extent > 1)
        stages[_find_stage(stages, inner, ready[store.value])].stores.append(store)
    return stages


def _find_stage(stages: list[Stage], vars: tuple[LoopVar, ...], first: int) -> int:
    for place in range(first, len(stages)):
        if stages[place].vars == vars:
            return place
    stages.append(Stage(vars))
    return len(stages) - 1


def stage_roots(stage: Stage) -> list[Node]:
    """The nodes that a stage's loop evaluates directly."""
    return [s.value for s in stage.stores] + [r.args[0] for r in stage.reductions]


def nodes_in_loop(stage: Stage, rows: frozenset[LoopVar], reuse: dict[Node, Node]) -> list[Node]:
    """Nodes that the stage's loop computes: those that depend on its counters, operands first."""
    inner = frozenset(stage.vars)
    found: list[Node] = []
    seen: set[Node] = set()
    stack = [(n, False) for n in stage_roots(stage)]
    while stack:
        node, done = stack.pop()
        if done:
            found.append(node)
            continue
        if node in seen or node in reuse or not node.free & inner:
            continue
        seen.add(node)
        stack.append((node, True))
        if node.op not in ("reduce", "argreduce") or not node.free <= rows:
            stack.extend((c, False) for c in children(node))
    return found


def share_through_scratch(
    stages: list[Stage], rows: tuple[LoopVar, ...], b: Expressions
) -> list[dict[Node, Node]]:
    """Keep expensive values that several stages need; returns, by stage, what is read back.

    Stages get an extra store to a scratch buffer where the value is first computed.
    """
    row_set = frozenset(rows)
    reuse: list[dict[Node, Node]] = [{} for _ in stages]
    for first, stage in enumerate(stages):
        if not stage.vars or not _is_small(stage.vars):
            continue
        later = [k for k in range(first + 1, len(stages)) if stages[k].vars == stage.vars]
        if not later:
            continue
        computed = nodes_in_loop(stage, row_set, reuse[first])
        needed = set().union(*(nodes_in_loop(stages[k], row_set, reuse[k]) for k in later))
        known = row_set.union(stage.vars)
        shared = [n for n in computed if n in needed and is_expensive(n) and n.free <= known]
        for node in _outermost(shared):
            size = 1
            for v in stage.vars:
                size *= v.extent
            buffer = Buffer(node.dtype, size, Space.SCRATCH, f"row{node.number}")
            shape = tuple(v.extent for v in stage.vars)
            offset = linear_index([as_index(v) for v in stage.vars], shape)
            stage.stores.append(Store(buffer, offset, node))
            for k in later:
                reuse[k][node] = b.load(buffer, offset)
    return reuse


def _is_small(vars: tuple[LoopVar, ...]) -> bool:
    size = 8
    for v in vars:
        size *= v.extent
    return size <= SCRATCH_BYTES


def is_expensive(node: Node) -> bool:
    """Whether computing the node costs clearly more than a load."""
    return (node.op in SCALAR_OPS and node.op not in CHEAP_OPS) or node.op in (
        "reduce", "argreduce", "polygamma",
    )  # fmt: skip


def _outermost(shared: list[Node]) -> list[Node]:
    """Those of the nodes that no other of them is computed from."""
    inside: set[Node] = set()
    for node in shared:
        inside.update(topological([node])[:-1])
    return [n for n in shared if n not in inside]
