"""Decides where the threads that run a program together must wait for each other.

All threads walk the same steps. A barrier stands before a step that touches memory which another
thread may have written, or may still read, since the last barrier; and once in each iteration of
a loop. Start at ``plan_barriers``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field

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
from pullback.kernels.memory import access_of
from pullback.records import dataclass


@dataclass(frozen=True, slots=True)
class Hazard:
    """An access since the last barrier: of a buffer or of arena bytes, by one or all threads."""

    space: object
    start: int
    stop: int
    writes: bool
    alone: bool  # by thread 0 only

    def clashes(self, other: Hazard) -> bool:
        """Whether the two accesses need a barrier between them."""
        return (
            self.space is other.space
            and self.start < other.stop
            and other.start < self.stop
            and (self.writes or other.writes)
            and not (self.alone and other.alone)
        )


def hazard_of(buffer: Buffer, *, writes: bool, alone: bool) -> Hazard:
    """The access of a buffer, in planned memory if it lives in the arena."""
    root = buffer.root
    if root.space is Space.ARENA:
        return Hazard(Space.ARENA, root.position, root.position + root.nbytes, writes, alone)
    return Hazard(root, 0, 1, writes, alone)


def hazards_of(step: Step, tasks: int) -> set[Hazard]:
    """What a step itself touches; control flow reads its index, or nothing before its inside."""
    if isinstance(step, BranchStep):
        return {hazard_of(step.index.buffer, writes=False, alone=False)}
    if isinstance(step, (LoopStep, WhileStep)) or not tasks:
        return set()
    access, alone = access_of(step), tasks == 1
    reads = {hazard_of(b, writes=False, alone=alone) for b in access.reads}
    return reads | {hazard_of(b, writes=True, alone=alone) for b in access.writes}


@dataclass
class Barriers:
    """Where barriers stand.

    Beside these there is always one after a host call, and one in a while loop between its
    condition and the look at its flag.

    Attributes:
        before: Steps that are preceded by one.
        closing: Loops whose every iteration ends with one, as none inside is certain to be passed.
    """

    before: set[Step] = field(default_factory=set)
    closing: set[LoopStep] = field(default_factory=set)


def plan_barriers(block: Block, tasks: Callable[[Kernel], int]) -> Barriers:
    """Place the barriers of a program whose memory is planned.

    Args:
        block: The program.
        tasks: How many tasks a kernel has: one runs on thread 0 alone, none runs nowhere.

    Cost: some walks over the steps, one more for each level of nested loops.
    """
    planner = _Planner(tasks)
    while planner.walk(block):
        pass
    return planner.plan


class _Planner:
    """Walks the program until it knows what is under way at the start of every iteration."""

    def __init__(self, tasks: Callable[[Kernel], int]) -> None:
        self._tasks = tasks
        self._starts: dict[Step, set[Hazard]] = {}
        self.plan = Barriers()

    def walk(self, block: Block) -> bool:
        """Place barriers by what is known; return whether more became known on the way."""
        self.plan = Barriers()
        self._hazards: set[Hazard] = set()
        #: Barriers that were passed on every path.
        self._passed = 0
        self._grew = False
        self._block(block)
        return self._grew

    def _block(self, block: Block) -> None:
        for step in block.steps:
            if isinstance(step, LoopStep):
                self._loop(step)
            elif isinstance(step, WhileStep):
                self._while(step)
            elif isinstance(step, BranchStep):
                self._branch(step)
            elif isinstance(step, HostStep):
                self._access(step, hazards_of(step, 1))
                self._barrier()
            else:
                self._access(step, hazards_of(step, self._tasks(step)))

    def _access(self, step: Step, new: set[Hazard]) -> None:
        if any(old.clashes(h) for old in self._hazards for h in new):
            self.plan.before.add(step)
            self._barrier()
        self._hazards |= new

    def _barrier(self) -> None:
        self._hazards = set()
        self._passed += 1

    def _enter(self, step: Step) -> None:
        """Begin an iteration: what is under way comes from before the loop or from its end."""
        self._hazards |= self._starts.get(step, set())
        self._starts[step] = set(self._hazards)

    def _repeat(self, step: Step) -> None:
        """End an iteration."""
        if not self._hazards <= self._starts[step]:
            self._starts[step] |= self._hazards
            self._grew = True

    def _loop(self, step: LoopStep) -> None:
        if not step.counter.extent:
            return
        self._enter(step)
        passed = self._passed
        self._block(step.body)
        if self._passed == passed:
            self.plan.closing.add(step)
            self._barrier()
        self._repeat(step)

    def _while(self, step: WhileStep) -> None:
        self._enter(step)
        self._block(step.condition)
        self._barrier()
        seen = {hazard_of(step.flag.buffer, writes=False, alone=False)}
        passed = self._passed
        self._hazards = set(seen)
        self._block(step.body)
        self._repeat(step)
        self._hazards, self._passed = seen, passed

    def _branch(self, step: BranchStep) -> None:
        self._access(step, hazards_of(step, 1))
        before, passed = self._hazards, self._passed
        after: set[Hazard] = set()
        certain = []
        for branch in step.branches:
            self._hazards, self._passed = set(before), passed
            self._block(branch)
            after |= self._hazards
            certain.append(self._passed)
        self._hazards, self._passed = after, min(certain, default=passed)
