"""Decides where a run looks for Ctrl-C, beside the start of every iteration of its loops.

A run that ends early must leave the memory that it updates in place as the last whole iteration
made it. So it may end before the first write in place of an iteration, or of the program, and not
after. Start at ``plan_looks``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import field

from pullback.kernels.core import (
    Block,
    BranchStep,
    HostStep,
    Kernel,
    LoopStep,
    Space,
    Step,
    WhileStep,
    inner_blocks,
)
from pullback.kernels.cost import block_cost
from pullback.kernels.memory import access_of
from pullback.records import dataclass

#: Estimated seconds of one thread between two looks. Estimates are off by several times.
LOOK_S = 0.03


@dataclass
class Looks:
    """Where threads look whether Ctrl-C was pressed.

    Attributes:
        pieces: Long kernels. A thread takes so many tasks at a time and looks before each time.
        after: Steps behind which all threads agree whether to leave; among them the long kernels.
        leaves: Host calls behind which Ctrl-C ends the run. Their failure does that everywhere.
    """

    pieces: dict[Kernel, int] = field(default_factory=dict)
    after: set[Step] = field(default_factory=set)
    leaves: set[HostStep] = field(default_factory=set)


def plan_looks(block: Block, tasks: Callable[[Kernel], int], depth: int) -> Looks:
    """Place the looks of a program.

    Args:
        block: The program.
        tasks: How many tasks a kernel has.
        depth: Loops nested deeper than this don't look themselves.
    """
    planner = _Planner(tasks, depth)
    planner.walk(block, 0, is_whole=True)
    return planner.plan


class _Planner:
    def __init__(self, tasks: Callable[[Kernel], int], depth: int) -> None:
        self._tasks = tasks
        self._depth = depth
        #: Estimated seconds since the last look.
        self._spent = 0.0
        self.plan = Looks()

    def walk(self, block: Block, depth: int, *, is_whole: bool) -> bool:
        """Place looks; return whether nothing was written in place since the state was whole."""
        for step in block.steps:
            if isinstance(step, (LoopStep, WhileStep)):
                is_whole &= self._loop(step, depth)
            elif isinstance(step, BranchStep):
                is_whole = self._branch(step, depth, is_whole)
            else:
                is_whole &= not _writes_in_place(step)
                if is_whole:
                    self._step(step)
        return is_whole

    def _step(self, step: Kernel | HostStep) -> None:
        if isinstance(step, HostStep):
            self.plan.leaves.add(step)
            self._spent = 0.0
            return
        seconds = block_cost(Block([step])).seconds
        self._spent += seconds
        if self._spent <= LOOK_S:
            return
        self._spent = 0.0
        self.plan.after.add(step)
        tasks = self._tasks(step)
        if seconds > LOOK_S and tasks > 1:
            self.plan.pieces[step] = max(1, math.floor(tasks * LOOK_S / seconds))

    def _loop(self, step: LoopStep | WhileStep, depth: int) -> bool:
        """Walk a loop, which looks at the start of every iteration."""
        is_whole = depth < self._depth
        self._spent = 0.0
        for inner in inner_blocks(step):
            is_whole = self.walk(inner, depth + 1, is_whole=is_whole)
        return is_whole

    def _branch(self, step: BranchStep, depth: int, is_whole: bool) -> bool:
        before, spent, whole = self._spent, [], [is_whole]
        for branch in step.branches:
            self._spent = before
            whole.append(self.walk(branch, depth, is_whole=is_whole))
            spent.append(self._spent)
        self._spent = max(spent, default=before)
        return all(whole)


def _writes_in_place(step: Kernel | HostStep) -> bool:
    """Whether a step writes into memory of an input, which an output has taken over."""
    return any(b.root.space is Space.INPUT for b in access_of(step).writes)
