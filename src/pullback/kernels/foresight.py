"""Finds memory that kernels will read at places only data tell, while there is time to ask for it.

A processor foresees regular walks, not rows that an array of numbers picks: the gather of a
shuffled batch waits for memory row after row. Two remedies are planned here. Inside a kernel, what
a row further on reads is known (``far_stretches``). In a loop, what the gather of the *next*
iteration reads is often known in this one: contractions, which leave memory idle, then ask for it
line by line (``plan_foresight``). Prefetching changes no result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from pullback.kernels.core import (
    CACHE_LINE_BYTES,
    Block,
    BranchStep,
    Buffer,
    ContractionKernel,
    LoopKernel,
    LoopStep,
    Stage,
    Step,
    WhileStep,
    inner_blocks,
)
from pullback.kernels.expression import dynamic_nodes, topological
from pullback.kernels.index import Affine, Dynamic
from pullback.kernels.memory import access_of
from pullback.kernels.stages import stage_roots
from pullback.records import dataclass

#: Rows at places that are data come from a buffer larger than this, in stretches of at least so
#: many bytes: the processor cannot foresee them.
FAR_BYTES, LEAST_STRETCH_BYTES = 1 << 20, 256
#: Most rows and bytes of a gather that are asked for an iteration ahead: half of a core's
#: second-level cache.
MOST_FORESEEN_ROWS, MOST_FORESEEN_BYTES = 1024, 256 << 10


@dataclass(frozen=True, slots=True)
class Stretch:
    """What each row of a kernel reads of a far buffer: ``count`` elements from ``first`` on."""

    buffer: Buffer
    first: Affine
    count: int

    @property
    def nbytes(self) -> int:
        """Bytes of one row's stretch."""
        return self.count * self.buffer.dtype.itemsize

    @property
    def lines(self) -> int:
        """Most cache lines that one row's stretch touches."""
        return (self.nbytes - 1) // CACHE_LINE_BYTES + 2

    @property
    def index_buffers(self) -> tuple[Buffer, ...]:
        """The buffers whose data say where the stretch lies."""
        nodes = topological(dynamic_nodes(self.first))
        return tuple(dict.fromkeys(n.payload[0] for n in nodes if n.op == "load"))


@dataclass(frozen=True, slots=True)
class Foresight:
    """A gather of the next iteration of ``loop``, known from some step of its body on.

    ``writers`` are the steps of the body that have written what says where: threads must have
    waited for each other since. ``in_time``: all of it can be asked for before it is read.
    """

    loop: LoopStep | WhileStep
    gather: LoopKernel
    stretch: Stretch
    writers: tuple[Step, ...]
    in_time: bool


def far_stretches(kernel: LoopKernel) -> list[Stretch]:
    """The stretches that each row of the kernel gathers, known before the row begins.

    A row here is one value of the counters that tasks divide.
    """
    found = (s for stage in kernel.stages for s in _stretches_of_stage(stage, kernel))
    return list(dict.fromkeys(found))


def _stretches_of_stage(stage: Stage, kernel: LoopKernel) -> Iterator[Stretch]:
    inner = (*(v for v in kernel.rows if v not in kernel.divided), *stage.vars)
    for node in topological(stage_roots(stage)):
        if node.op != "load":
            continue
        buffer, offset = node.payload
        places = [t for t, _ in offset.terms if isinstance(t, Dynamic)]
        if buffer.nbytes < FAR_BYTES or not any(_is_known_ahead(t, kernel) for t in places):
            continue
        first = Affine(
            offset.constant, tuple(x for x in offset.terms if x[0].free().isdisjoint(inner))
        )
        strides = [(v, offset.coefficient(v)) for v in inner]
        if any(stride is None or stride < 0 for _, stride in strides):
            continue
        count = 1 + sum((v.extent - 1) * (stride or 0) for v, stride in strides)
        dense = count <= 2 * math.prod(v.extent for v, stride in strides if stride)
        if dense and count * buffer.dtype.itemsize >= LEAST_STRETCH_BYTES:
            yield Stretch(buffer, first, count)


def _is_known_ahead(term: Dynamic, kernel: LoopKernel) -> bool:
    """Whether the place depends on the row, and on nothing that only the row's own stages tell."""
    nodes = topological([term.node])
    loads = [n.payload[0] for n in nodes if n.op == "load"]
    made_here = {s.buffer for stage in kernel.stages for s in stage.stores}
    reduces = any(n.op in ("reduce", "argreduce") for n in nodes)
    fixed = term.free() <= frozenset(kernel.divided) and bool(term.free())
    return fixed and not reduces and made_here.isdisjoint(loads)


# --- the next iteration --------------------------------------------------------------------------
def plan_foresight(
    block: Block, slots: Callable[[ContractionKernel], int]
) -> dict[Step, Foresight]:
    """For each loop that gathers, the contraction from which on the next gather is asked for.

    It is the last one that leaves time for all of it: what comes too early would be gone again.

    Args:
        block: The program.
        slots: How many cache lines a contraction can ask for.

    Cost: a walk over the steps and, for each kernel that gathers, one over its expressions.
    """
    return dict(planned for loop in _loops(block) for planned in _plan_loop(loop, slots))


def _loops(block: Block) -> Iterator[LoopStep | WhileStep]:
    for step in block.steps:
        if isinstance(step, (LoopStep, WhileStep)):
            yield step
        for inner in inner_blocks(step):
            yield from _loops(inner)


def _plan_loop(
    loop: LoopStep | WhileStep, slots: Callable[[ContractionKernel], int]
) -> Iterator[tuple[Step, Foresight]]:
    """Plan the loop's first gather that can be foreseen, if there is one."""
    steps = loop.body.steps
    for place, gather in enumerate(steps):
        if not isinstance(gather, LoopKernel):
            continue
        stretch = max(far_stretches(gather), key=lambda s: s.nbytes, default=None)
        if stretch is None or not _is_small(gather, stretch):
            continue
        writers = _writers(loop, place, stretch)
        if writers is None:
            continue
        known = steps[max([place, *writers]) + 1 :]
        contractions = [s for s in known if isinstance(s, ContractionKernel)]
        if not contractions:
            continue
        lines = gather.row_count * stretch.lines
        while len(contractions) > 1 and sum(map(slots, contractions[1:])) >= lines:
            del contractions[0]
        written_by = tuple(steps[i] for i in writers)
        in_time = sum(map(slots, contractions)) >= lines
        yield contractions[0], Foresight(loop, gather, stretch, written_by, in_time)
        return


def _is_small(gather: LoopKernel, stretch: Stretch) -> bool:
    rows = gather.row_count
    return rows <= MOST_FORESEEN_ROWS and rows * stretch.nbytes <= MOST_FORESEEN_BYTES


def _writers(loop: LoopStep | WhileStep, place: int, stretch: Stretch) -> list[int] | None:
    """Positions in the body of what writes the next iteration's places; None: known too late.

    After the last of them nothing may write the places before the gather has read them. A counted
    loop's slices move with its counter, which is known as well.
    """
    needed = {b.root for b in stretch.index_buffers}
    early = loop.condition.steps if isinstance(loop, WhileStep) else []
    if any(needed & _written(step) for step in [*early, *loop.body.steps[:place]]):
        return None
    return [i for i, step in enumerate(loop.body.steps) if needed & _written(step)]


def _written(step: Step) -> set[Buffer]:
    """The memory that a step, and what is inside it, writes."""
    if isinstance(step, (LoopStep, WhileStep, BranchStep)):
        return {b for block in inner_blocks(step) for s in block.steps for b in _written(s)}
    return {b.root for b in access_of(step).writes}
