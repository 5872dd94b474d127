"""Replays a lowered program step by step, as threads would walk it, to check what was planned.

``check_memory``: nothing is overwritten that is read later. ``check_barriers``: no two threads
touch the same bytes, one of them writing, without a barrier between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.backend.llvm.program import ProgramWriter
from pullback.backend.llvm.target import select_target
from pullback.kernels.barriers import Barriers, plan_barriers
from pullback.kernels.core import (
    Block,
    BranchStep,
    Buffer,
    HostStep,
    Kernel,
    LoopStep,
    Space,
    Step,
    WhileStep,
)
from pullback.kernels.index import LoopVar
from pullback.kernels.memory import Access, access_of, plan_memory
from pullback.kernels.schedule import Lowered, lower_program
from pullback.passes.pipeline import run_pipeline
from pullback.program.core import Program

Counters = dict[LoopVar, int]
#: Iterations of a loop that are replayed.
ITERATIONS = 3


def lowered_program(program: Program, shared: dict[int, int] | None = None) -> Lowered:
    """The program as steps with planned memory."""
    lowered = lower_program(run_pipeline(program)[0], shared)
    plan_memory(lowered)
    return lowered


def tasks_of(lowered: Lowered) -> Callable[[Kernel], int]:
    """How many tasks each kernel of a program has."""
    writer = ProgramWriter(lowered, select_target())
    writer.write()
    return lambda kernel: writer.functions[kernel].tasks


@dataclass(frozen=True)
class Touch:
    """One access of a step at the time it runs: bytes of some memory."""

    memory: Any
    start: int
    stop: int
    writes: bool
    alone: bool

    def clashes(self, other: Touch) -> bool:
        """Whether two threads may disturb each other by these accesses."""
        overlap = self.memory is other.memory and max(self.start, other.start) < min(
            self.stop, other.stop
        )
        return overlap and (self.writes or other.writes) and not (self.alone and other.alone)


class MemoryClash(AssertionError):
    """Two buffers that live together share bytes."""


class Race(AssertionError):
    """Two threads touch the same bytes at the same time."""


def _bytes(buffer: Buffer, counters: Counters) -> tuple[Buffer, int, int]:
    """The buffer that owns the memory, and where in it (or in the arena) the buffer lies now."""
    if buffer.base is None:
        start = buffer.position if buffer.space is Space.ARENA else 0
        return buffer, start, start + buffer.nbytes
    root, start, stop = _bytes(buffer.base, counters)
    if buffer.counter is None:
        return root, start, stop
    step = counters[buffer.counter]
    if buffer.reverse:
        step = buffer.counter.extent - 1 - step
    start += step * buffer.stride * buffer.dtype.itemsize
    return root, start, start + buffer.nbytes


def _touch(buffer: Buffer, counters: Counters, *, writes: bool, alone: bool) -> Touch:
    root, start, stop = _bytes(buffer, counters)
    return Touch(Space.ARENA if root.space is Space.ARENA else root, start, stop, writes, alone)


class Walk:
    """One run through the steps: few iterations of loops, branches by chance.

    Yields ``("step", step, counters)``, ``("flag", step, counters)`` and ``("barrier",)``.
    """

    def __init__(self, plan: Barriers, rng: np.random.Generator) -> None:
        self.plan = plan
        self.rng = rng
        self.counters: Counters = {}

    def block(self, block: Block) -> Iterator[tuple[Any, ...]]:
        """The events of a block."""
        for step in block.steps:
            if step in self.plan.before:
                yield ("barrier",)
            yield from self._step(step)

    def _step(self, step: Step) -> Iterator[tuple[Any, ...]]:
        if isinstance(step, LoopStep):
            yield from self._loop(step)
        elif isinstance(step, WhileStep):
            yield from self._while(step)
        elif isinstance(step, BranchStep):
            yield "step", step, dict(self.counters)
            yield from self.block(step.branches[self.rng.integers(len(step.branches))])
        else:
            yield "step", step, dict(self.counters)
            if isinstance(step, HostStep):
                yield ("barrier",)

    def _loop(self, step: LoopStep) -> Iterator[tuple[Any, ...]]:
        extent = step.counter.extent
        for i in range(min(extent, ITERATIONS)):
            self.counters[step.counter] = i
            events = list(self.block(step.body))
            if step in self.plan.closing:
                events.append(("barrier",))
            assert ("barrier",) in events, "an iteration in which the threads never meet"
            yield from events

    def _while(self, step: WhileStep) -> Iterator[tuple[Any, ...]]:
        for i in range(int(self.rng.integers(ITERATIONS)) + 1):
            if i:
                yield from self.block(step.body)
            yield from self.block(step.condition)
            yield ("barrier",)
            yield "flag", step, dict(self.counters)


def _control_read(kind: str, step: Any) -> Buffer | None:
    """What all threads look at to choose their way."""
    if kind == "flag":
        return step.flag.buffer
    return step.index.buffer if isinstance(step, BranchStep) else None


def _touches(event: tuple[Any, ...], tasks: Callable[[Kernel], int]) -> set[Touch]:
    kind, step, counters = event
    looked_at = _control_read(kind, step)
    if looked_at is not None:
        return {_touch(looked_at, counters, writes=False, alone=False)}
    count = 1 if isinstance(step, HostStep) else tasks(step)
    if not count:
        return set()
    access = access_of(step)
    alone = count == 1
    reads = {_touch(b, counters, writes=False, alone=alone) for b in access.reads}
    return reads | {_touch(b, counters, writes=True, alone=alone) for b in access.writes}


def check_barriers(
    block: Block, tasks: Callable[[Kernel], int], plan: Barriers, rng: np.random.Generator
) -> None:
    """Raise ``Race`` where two accesses since the last barrier clash, on some ways through."""
    for _ in range(4):
        under_way: set[Touch] = set()
        for event in Walk(plan, rng).block(block):
            if event[0] == "barrier":
                under_way = set()
                continue
            new = _touches(event, tasks)
            for x in new:
                for y in under_way:
                    if x.clashes(y):
                        raise Race(f"{event[1]} against {y}")
            under_way |= new


def check_memory(lowered: Lowered, rng: np.random.Generator) -> None:
    """Raise ``MemoryClash`` where bytes are read that another buffer has overwritten."""
    plan = plan_barriers(lowered.block, lambda kernel: 2)
    size = max([b.position + b.nbytes for b in lowered.temporaries if b.position >= 0], default=0)
    numbers = {b: i + 1 for i, b in enumerate(lowered.temporaries)}
    for _ in range(4):
        owner = np.zeros(size, np.int32)
        for event in Walk(plan, rng).block(lowered.block):
            if event[0] == "barrier":
                continue
            kind, step, counters = event
            looked_at = _control_read(kind, step)
            access = access_of(step) if looked_at is None else Access((looked_at,), ())
            for buffer in access.reads:
                root, start, stop = _bytes(buffer, counters)
                expected = (0, numbers.get(root, 0))
                if root.space is Space.ARENA and not np.isin(owner[start:stop], expected).all():
                    raise MemoryClash(f"{step} reads {buffer}, which was overwritten")
            for buffer in access.writes:
                root, start, stop = _bytes(buffer, counters)
                if root.space is Space.ARENA:
                    owner[start:stop] = numbers[root]
