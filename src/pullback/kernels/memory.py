"""Plans the arena: every temporary gets an offset, shared by those that never live together.

A buffer lives from the first to the last step that uses it; one that is used outside a loop and
inside it lives for the whole loop.
"""

from __future__ import annotations

from collections.abc import Iterable

from pullback.kernels.core import (
    Block,
    BranchStep,
    Buffer,
    ContractionKernel,
    HostStep,
    LoopKernel,
    LoopStep,
    PrefixKernel,
    ScatterKernel,
    SortKernel,
    Space,
    Step,
    Store,
    WhileStep,
    inner_blocks,
)
from pullback.kernels.expression import dynamic_nodes, topological
from pullback.kernels.schedule import Lowered
from pullback.records import dataclass

ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Access:
    """The buffers that a kernel or host call reads and writes, each once, in order of use."""

    reads: tuple[Buffer, ...]
    writes: tuple[Buffer, ...]

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """All of them; equal kernels have equal orders."""
        return tuple(dict.fromkeys((*self.reads, *self.writes)))


def access_of(step: Step) -> Access:
    """What one kernel or host call touches; control flow is walked by the caller."""
    if isinstance(step, HostStep):
        return Access(_once(s.buffer for s in step.inputs), _once(s.buffer for s in step.outputs))
    if isinstance(step, LoopKernel):
        stores = [s for stage in step.stages for s in stage.stores]
        roots = [s.value for s in stores] + [r for t in step.stages for r in t.reductions]
    elif isinstance(step, ContractionKernel):
        stores, roots = step.stores, [step.a, step.b, *(s.value for s in step.stores)]
    elif isinstance(step, PrefixKernel):
        stores = [Store(step.store_buffer, step.store_offset, step.stored)]
        roots = [step.stored, step.combined, step.initial]
    elif isinstance(step, ScatterKernel):
        stores, roots = step.stores, [*(s.value for s in step.stores), step.valid]
    elif isinstance(step, SortKernel):
        stores, roots = step.stores, [*step.keys, *(s.value for s in step.stores)]
    else:
        raise TypeError(f"{type(step).__name__} is control flow")
    roots += [n for s in stores for n in dynamic_nodes(s.offset)]
    reads = (n.payload[0] for n in topological(roots) if n.op == "load")
    if isinstance(step, ScatterKernel) and step.fill is not None:
        # What it updates it has written itself.
        reads = (b for b in reads if b is not step.store.buffer)
    workspace = step.workspace if isinstance(step, SortKernel) else ()
    return Access(_once(reads), _once((*(s.buffer for s in stores), *workspace)))


def _once(buffers: Iterable[Buffer]) -> tuple[Buffer, ...]:
    return tuple(dict.fromkeys(b for b in buffers if b.space is not Space.SCRATCH))


Span = tuple[int, int]


def plan_memory(lowered: Lowered) -> int:
    """Give every temporary its place in the arena; return the arena's bytes."""
    uses: dict[Buffer, list[tuple[int, tuple[Span, ...]]]] = {}
    _walk(lowered.block, 0, (), uses)
    intervals = []
    for buffer in lowered.temporaries:
        if buffer in uses:
            first, last = _lifetime(uses[buffer])
            intervals.append((first, last, buffer))
    intervals.sort(key=lambda x: (-x[2].nbytes, x[0]))
    placed: list[tuple[int, int, Buffer]] = []
    total = 0
    for first, last, buffer in intervals:
        size = _aligned(buffer.nbytes)
        overlapping = sorted(
            (p.position, p.position + _aligned(p.nbytes))
            for f, t, p in placed
            if f <= last and first <= t
        )
        position = 0
        for start, end in overlapping:
            if position + size <= start:
                break
            position = max(position, end)
        buffer.position = position
        placed.append((first, last, buffer))
        total = max(total, position + size)
    return total


def _aligned(size: int) -> int:
    return -(-max(size, 1) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _walk(
    block: Block,
    clock: int,
    loops: tuple[Span, ...],
    uses: dict[Buffer, list[tuple[int, tuple[Span, ...]]]],
) -> int:
    for step in block.steps:
        clock += 1
        if isinstance(step, (LoopStep, BranchStep, WhileStep)):
            inner = inner_blocks(step)
            end = clock + 1 + sum(_length(b) for b in inner)
            span = (clock, end)
            for buffer in _control_reads(step):
                uses.setdefault(buffer.root, []).append((clock, loops))
            inner_loops = loops if isinstance(step, BranchStep) else (*loops, span)
            for b in inner:
                clock = _walk(b, clock, inner_loops, uses)
            if isinstance(step, WhileStep):
                uses.setdefault(step.flag.buffer.root, []).append((clock, loops))
            clock = end
        else:
            access = access_of(step)
            for buffer in access.buffers:
                uses.setdefault(buffer.root, []).append((clock, loops))
    return clock


def _control_reads(step: Step) -> list[Buffer]:
    if isinstance(step, BranchStep):
        return [step.index.buffer]
    if isinstance(step, WhileStep):
        return [step.flag.buffer]
    return []


def _length(block: Block) -> int:
    return sum(2 + sum(_length(b) for b in inner_blocks(s)) for s in block.steps)


def _lifetime(uses: list[tuple[int, tuple[Span, ...]]]) -> Span:
    common = min(len(loops) for _, loops in uses)
    for depth in range(common):
        if len({loops[depth] for _, loops in uses}) > 1:
            common = depth
            break
    spans = [loops[common] if len(loops) > common else (clock, clock) for clock, loops in uses]
    return min(s[0] for s in spans), max(s[1] for s in spans)
