"""Writes loop and prefix kernels as functions ``(ptr buffers..., begin, end, scratch)``.

``begin`` and ``end`` number tasks; any split of the tasks gives bitwise the same result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pullback.backend.llvm.emit import Function, Module, V, lanes_of, vector_type
from pullback.backend.llvm.expression import LANES, Writer, is_better
from pullback.backend.llvm.scalar import constant, element_type, emit_op, memory_type
from pullback.kernels.core import (
    CACHE_LINE_BYTES,
    Buffer,
    LoopKernel,
    Node,
    PrefixKernel,
    Reduction,
    ScatterKernel,
    SortKernel,
    Space,
    Stage,
)
from pullback.kernels.expression import topological
from pullback.kernels.foresight import Stretch, far_stretches
from pullback.kernels.index import LoopVar, as_index, split_index
from pullback.kernels.memory import access_of
from pullback.kernels.stages import CHEAP_OPS, share_through_scratch, stage_roots
from pullback.program.loops import SCALAR_OPS
from pullback.types import FLOATING, SIGNED, UNSIGNED, DType, bool_

#: Four vectors at once hide the latency of an accumulation.
WIDE_LANES = 64
#: Bodies with more operations than this don't fit the registers four times.
WIDE_OPERATIONS = 12
#: Rows at places that are data are asked for so many rows ahead.
ROWS_AHEAD = 2


def start_function(module: Module, name: str, buffers: Iterable[Buffer]) -> Writer:
    """Begin a kernel function; pointers of its buffers are its first arguments."""
    buffers = list(buffers)
    arguments = [("ptr", f"p{i}") for i in range(len(buffers))]
    arguments += [("i64", "begin"), ("i64", "end"), ("ptr", "scratch")]
    f = Function(module, name, "void", arguments)
    return Writer(f, dict(zip(buffers, f.args, strict=False)))


def write_loop_kernel(
    module: Module, name: str, kernel: LoopKernel, *, foreseen: bool = False
) -> tuple[list[Buffer], int]:
    """Write the function; return its buffers and the scratch bytes it needs of each thread.

    ``foreseen``: what it gathers has been asked for before it runs.
    """
    scratch = 0
    reuse: list[dict[Node, Node]] = [{} for _ in kernel.stages]
    buffers = list(access_of(kernel).buffers)
    if kernel.expressions is not None and not kernel.vector_rows:
        reuse = share_through_scratch(kernel.stages, kernel.rows, kernel.expressions)
    w = start_function(module, name, buffers)
    for stage in kernel.stages:
        for store in stage.stores:
            if store.buffer.space is Space.SCRATCH and store.buffer not in w.pointers:
                w.pointers[store.buffer] = w.f.gep("i8", w.f.args[-1], scratch)
                scratch += -(-store.buffer.nbytes // 64) * 64
    begin, end = w.f.args[-3], w.f.args[-2]
    if kernel.vector_rows:
        _write_rows_in_lanes(w, kernel, begin, end)
    else:
        _write_rows(w, kernel, begin, end, reuse, [] if foreseen else far_stretches(kernel))
    w.f.ret()
    w.f.finish()
    return buffers, scratch


def _all_roots(stages: list[Stage]) -> list[Node]:
    return [n for stage in stages for n in stage_roots(stage)]


def task_range(
    w: Writer, kernel: LoopKernel | ScatterKernel | SortKernel, begin: V, end: V
) -> tuple[V, V]:
    """Rows of the tasks ``begin..end``."""
    f = w.f
    size = V("i64", str(kernel.rows_per_task))
    first = f.mul(begin, size)
    last = f.intrinsic("smin", f.mul(end, size), V("i64", str(kernel.row_count)))
    return first, last


def bind_row(w: Writer, vars: tuple[LoopVar, ...], number: V) -> None:
    """Set the counters of the row with this number (row-major)."""
    flat = LoopVar(math.prod(v.extent for v in vars), "row")
    w.counters[flat] = number
    for var, index in zip(
        vars, split_index(as_index(flat), tuple(v.extent for v in vars)), strict=True
    ):
        w.counters[var] = w.scalar_index(index)


def _write_rows_in_lanes(w: Writer, kernel: LoopKernel, begin: V, end: V) -> None:
    stores = [s for stage in kernel.stages for s in stage.stores]
    roots = [s.value for s in stores]
    first, last = task_range(w, kernel, begin, end)
    *outer, var = kernel.rows
    wide = WIDE_LANES if is_light(roots, var) else LANES

    def body(lanes: int) -> None:
        w.hoist(roots)
        values = [w.value(s.value) for s in stores]
        for store, value in zip(stores, values, strict=True):
            w.store(store.buffer, store.offset, value)

    w.hoist(roots)
    if not outer:
        w.vector_loop(var, first, last, body, wide=wide, roots=roots)
        return
    with w.f.loop(first, last) as row, w.scope():
        bind_row(w, tuple(outer), row)
        w.vector_loop(var, 0, var.extent, body, wide=wide, roots=roots)


def is_light(roots: list[Node], var: LoopVar) -> bool:
    """Whether what these compute in lanes along ``var`` fits the registers ``WIDE_LANES`` wide."""
    nodes = topological(roots)
    heavy = any(n.op in SCALAR_OPS and n.op not in CHEAP_OPS for n in nodes)
    gathers = any(n.op == "argreduce" for n in nodes)
    if not heavy and not gathers and len(nodes) <= WIDE_OPERATIONS:
        return True
    in_lanes = [n for n in nodes if var in n.free]
    return len(in_lanes) <= WIDE_OPERATIONS and all(_is_simple(n, var) for n in in_lanes)


def _is_simple(node: Node, var: LoopVar) -> bool:
    """Whether the node is an instruction or a sum, and lanes along ``var`` are neighbours."""
    if node.op == "load":
        return bool(node.payload[1].coefficient(var) == 1)
    return node.op in CHEAP_OPS or node.op in ("select", "div", "sqrt", "reduce")


def _write_rows(
    w: Writer,
    kernel: LoopKernel,
    begin: V,
    end: V,
    reuse: list[dict[Node, Node]],
    stretches: list[Stretch],
) -> None:
    first, last = task_range(w, kernel, begin, end)
    w.hoist(_before_stages(_all_roots(kernel.stages), kernel))
    with w.f.loop(first, last) as row, w.scope():
        _prefetch_rows(w, kernel, row, stretches)
        bind_row(w, kernel.rows, row)
        for stage, known in zip(kernel.stages, reuse, strict=True):
            w.reuse = known
            write_stage(w, stage)


def _prefetch_rows(w: Writer, kernel: LoopKernel, row: V, stretches: list[Stretch]) -> None:
    """Ask for what a row further on gathers: many lines on their way at once, not a few."""
    if not stretches:
        return
    f = w.f
    last = V("i64", str(kernel.row_count - 1))
    ahead = f.intrinsic("smin", f.add(row, V("i64", str(ROWS_AHEAD))), last)
    with w.rebinding(kernel.rows), w.scope():
        bind_row(w, kernel.rows, ahead)
        for stretch in stretches:
            element = memory_type(stretch.buffer.dtype)
            start = f.gep(element, w.pointers[stretch.buffer], w.scalar_index(stretch.first))
            with f.loop(0, stretch.nbytes + CACHE_LINE_BYTES - 1, CACHE_LINE_BYTES) as byte:
                f.prefetch(f.gep("i8", start, byte))


def _before_stages(roots: list[Node], kernel: LoopKernel) -> list[Node]:
    """Nodes that no row-level reduction feeds: they may be computed before the first stage."""
    reductions = {r for stage in kernel.stages for r in stage.reductions}
    tainted: set[Node] = set()
    clean = []
    for node in topological(roots):
        from pullback.kernels.expression import children

        if node in reductions or any(c in tainted for c in children(node)):
            tainted.add(node)
        elif not node.free:
            clean.append(node)
    return clean


def write_stage(w: Writer, stage: Stage) -> None:
    """One pass over a row: its reductions and stores."""
    roots = stage_roots(stage)
    accumulators = [_Accumulator(w, r) for r in stage.reductions]
    if not stage.vars:
        w.hoist(roots)
        for store in stage.stores:
            w.store(store.buffer, store.offset, w.value(store.value))
        for accumulator in accumulators:
            accumulator.update(1)
    else:
        *outer, var = stage.vars
        light = is_light(roots, var) and var.extent >= WIDE_LANES
        wide = WIDE_LANES if light else LANES
        for accumulator in accumulators:
            accumulator.widen(wide)

        def body(lanes: int) -> None:
            w.hoist(roots)
            for store in stage.stores:
                w.store(store.buffer, store.offset, w.value(store.value))
            for accumulator in accumulators:
                accumulator.update(lanes)

        with w.loops(tuple(outer), roots):
            w.vector_loop(var, 0, var.extent, body, wide=wide, roots=roots)
    for accumulator in accumulators:
        w.remember(accumulator.node, accumulator.result())


class _Accumulator:
    """Running values of one row-level reduction, in vectors; lanes are combined at the end."""

    def __init__(self, w: Writer, node: Node) -> None:
        self.w = w
        self.node = node
        self.reduction: Reduction = node.payload
        self.body = node.args[0]
        self.dtype: DType = self.body.dtype
        self.is_arg = node.op == "argreduce"
        self.slots: dict[int, tuple[V, V | None]] = {}
        self._make(1 if not self.reduction.vars else 0)

    def _make(self, lanes: int) -> None:
        if lanes == 0:
            return
        f = self.w.f
        element = element_type(self.dtype)
        type = vector_type(lanes, element)
        if self.is_arg:
            # Index -1 marks a lane that has seen nothing yet.
            index_type = vector_type(lanes, "i64")
            slot, where = f.alloca(type), f.alloca(index_type)
            f.store(V(type, "zeroinitializer"), slot, align=64)
            f.store(f.const(index_type, -1), where, align=64)
            self.slots[lanes] = (slot, where)
            return
        slot = f.alloca(type)
        neutral = identity(self.reduction.opcode, self.dtype)
        f.store(constant(f, type, self.dtype, neutral), slot, align=64)
        self.slots[lanes] = (slot, None)

    def widen(self, lanes: int) -> None:
        """Prepare accumulators for the vector widths of the loop."""
        for width in {lanes, LANES}:
            self._make(width)

    def update(self, lanes: int) -> None:
        """Take in the body's value(s) at the current counters."""
        w, f = self.w, self.w.f
        if lanes not in self.slots:
            self._make(lanes)
        slot, where = self.slots[lanes]
        type = vector_type(lanes, element_type(self.dtype))
        value = f.splat(w.value(self.body), lanes)
        old = f.load(type, slot, align=64)
        mask = w.spread.mask if w.spread is not None else None
        if where is not None:
            self._update_index(lanes, slot, where, value, old, mask)
            return
        new = emit_op(f, self.reduction.opcode, self.dtype, [old, value])
        f.store(new if mask is None else f.select(mask, new, old), slot, align=64)

    def _update_index(
        self, lanes: int, slot: V, where: V, value: V, old: V, mask: V | None
    ) -> None:
        f = self.w.f
        index_type = vector_type(lanes, "i64")
        old_index = f.load(index_type, where, align=64)
        better = is_better(f, self.reduction.opcode, self.dtype, value, old)
        unseen = f.compare("eq", old_index, f.const(index_type, -1))
        better = f.binary("or", better, unseen)
        if mask is not None:
            better = f.binary("and", better, mask)
        number = self._position(lanes)
        f.store(f.select(better, value, old), slot, align=64)
        f.store(f.select(better, number, old_index), where, align=64)

    def _position(self, lanes: int) -> V:
        (var,) = self.reduction.vars
        index = as_index(var)
        return self.w.vector_index(index) if lanes > 1 else self.w.scalar_index(index)

    def result(self) -> V:
        """Combine all lanes in a fixed order, then the initial value."""
        f = self.w.f
        if self.is_arg:
            return self._index_result()
        total: V | None = None
        for lanes, (slot, _) in sorted(self.slots.items(), reverse=True):
            vector = f.load(vector_type(lanes, element_type(self.dtype)), slot, align=64)
            value = self._fold(vector)
            total = value if total is None else self._combine(total, value)
        initial = self.w.value(self.node.args[1])
        return initial if total is None else self._combine(initial, total)

    def _combine(self, x: V, y: V) -> V:
        return emit_op(self.w.f, self.reduction.opcode, self.dtype, [x, y])

    def _fold(self, vector: V) -> V:
        f = self.w.f
        while (lanes := lanes_of(vector.type)) > 1:
            half = lanes // 2
            low = f.shuffle(vector, None, list(range(half)))
            high = f.shuffle(vector, None, list(range(half, lanes)))
            if half == 1:
                low, high = f.extract(vector, 0), f.extract(vector, 1)
            vector = self._combine(low, high)
        return vector

    def _index_result(self) -> V:
        """The best lane: better value first, then the smaller index; unseen lanes never."""
        f = self.w.f
        best: tuple[V, V] | None = None
        for lanes, (slot, where) in sorted(self.slots.items()):
            values = f.load(vector_type(lanes, element_type(self.dtype)), slot, align=64)
            indices = f.load(vector_type(lanes, "i64"), where or slot, align=64)
            found = self._fold_index(values, indices)
            best = found if best is None else self._better_of(best, found)
        bits = element_type(self.node.dtype)
        if best is None:
            return f.const(bits, 0)
        return best[1] if bits == "i64" else f.convert("trunc", best[1], bits)

    def _fold_index(self, values: V, indices: V) -> tuple[V, V]:
        """The best of the lanes and its index, by halves."""
        f = self.w.f
        while (lanes := lanes_of(values.type)) > 1:
            half = lanes // 2
            low, high = list(range(half)), list(range(half, lanes))
            if half == 1:
                parts = [(f.extract(values, i), f.extract(indices, i)) for i in (0, 1)]
            else:
                parts = [
                    (f.shuffle(values, None, x), f.shuffle(indices, None, x)) for x in (low, high)
                ]
            values, indices = self._better_of(*parts)
        return values, indices

    def _better_of(self, best: tuple[V, V], other: tuple[V, V]) -> tuple[V, V]:
        """Value and index of the better one."""
        f = self.w.f
        take = self._takes(*other, *best)
        return f.select(take, other[0], best[0]), f.select(take, other[1], best[1])

    def _takes(self, value: V, at: V, best: V, best_at: V) -> V:
        f = self.w.f
        better = is_better(f, self.reduction.opcode, self.dtype, value, best)
        worse = is_better(f, self.reduction.opcode, self.dtype, best, value)
        tie = f.binary("xor", f.binary("or", better, worse), V("i1", "true"))
        earlier = f.binary("and", tie, f.compare("slt", at, best_at))
        take = f.binary("or", better, earlier)
        seen = f.compare("sge", at, V("i64", "0"))
        first = f.compare("slt", best_at, V("i64", "0"))
        return f.binary("and", seen, f.binary("or", first, take))


def identity(opcode: str, dtype: DType) -> float | int | bool:
    """The neutral element of a reduction, exact for every operand."""
    if opcode == "add":
        return -0.0 if dtype in FLOATING else 0
    if opcode in ("or", "xor"):
        return False if dtype == bool_ else 0
    if opcode == "and":
        return True if dtype == bool_ else -1
    if opcode == "mul":
        return 1
    largest: bool = opcode == "min"
    if dtype in FLOATING:
        return math.inf if largest else -math.inf
    if dtype == bool_:
        return largest
    bits = dtype.itemsize * 8
    if dtype in UNSIGNED:
        return 2**bits - 1 if largest else 0
    if dtype in SIGNED:
        half = int(2 ** (bits - 1))
        return half - 1 if largest else -half
    raise ValueError(f"{opcode} over {dtype} has no neutral element")


def write_prefix_kernel(module: Module, name: str, kernel: PrefixKernel) -> list[Buffer]:
    """Write the function of a running reduction; rows are tasks."""
    buffers = list(access_of(kernel).buffers)
    w = start_function(module, name, buffers)
    begin, end = w.f.args[-3], w.f.args[-2]
    rows = tuple(v for v in kernel.rows if v.extent > 1)
    spread = rows[-1] if rows and kernel.store_offset.coefficient(rows[-1]) == 1 else None
    outer = tuple(v for v in rows if v is not spread)

    def run(lanes: int) -> None:
        _write_running(w, kernel, lanes)

    with w.f.loop(begin, end) as row, w.scope():
        bind_row(w, outer, row)
        if spread is not None:
            w.vector_loop(spread, 0, spread.extent, run)
        else:
            run(1)
    w.f.ret()
    w.f.finish()
    return buffers


def prefix_tasks(kernel: PrefixKernel) -> int:
    """Number of independent rows (or vectors of rows)."""
    rows = tuple(v for v in kernel.rows if v.extent > 1)
    if rows and kernel.store_offset.coefficient(rows[-1]) == 1:
        rows = rows[:-1]
    return math.prod(v.extent for v in rows)


def _write_running(w: Writer, kernel: PrefixKernel, lanes: int) -> None:
    f = w.f
    type = vector_type(lanes, element_type(kernel.combined.dtype))
    slot = f.alloca(type)
    f.store(f.splat(w.value(kernel.initial), lanes), slot, align=64)
    with w.loop(kernel.axis_var):
        if kernel.axis_var.extent == 1:
            w.counters[kernel.axis_var] = V("i64", "0")
        w.remember(kernel.accumulator, f.load(type, slot, align=64))
        new = f.splat(w.value(kernel.combined), lanes)
        f.store(new, slot, align=64)
        w.store(kernel.store_buffer, kernel.store_offset, w.value(kernel.stored))
