"""How long a program will take, roughly.

Decides the number of threads, the size of tasks, and whether a run listens to Ctrl-C.
"""

from __future__ import annotations

import math

from pullback.kernels.core import (
    Block,
    BranchStep,
    ContractionKernel,
    HostStep,
    LoopKernel,
    LoopStep,
    Node,
    PrefixKernel,
    ScatterKernel,
    SortKernel,
    Step,
    WhileStep,
)
from pullback.kernels.expression import topological
from pullback.kernels.index import LoopVar
from pullback.kernels.sort_plan import sort_meetings, sort_seconds
from pullback.kernels.stages import CHEAP_OPS, stage_roots
from pullback.program.loops import SCALAR_OPS
from pullback.records import dataclass

#: A run expected to take longer polls for Ctrl-C from a helper thread.
LONG_S = 0.02
#: Wake-up of the team and what a barrier costs, with some imbalance.
_START_S = 3e-6
#: A task should take about this long: sharing then costs little, and shares come out even.
TASK_S = 0.7e-6
_BARRIER_S = 0.4e-6
#: One core, roughly: multiply-adds, vector operations, elementary functions, host calls.
_FLOP_S = 1 / 100e9
_CHEAP_S = 0.08e-9
_COSTLY_S = 1e-9
_STEP_S = 20e-9
_UPDATE_S = 1.5e-9
_HOST_S = 20e-6
_UNKNOWN_TRIPS = 100


@dataclass(frozen=True)
class Cost:
    """Seconds on one thread, and how many times a team would have to meet."""

    seconds: float
    barriers: float

    def threads(self, most: int) -> int:
        """The number of threads that is expected to be fastest; results don't depend on it."""
        best, best_s = 1, self.seconds
        for count in range(2, most + 1):
            team_s = self.seconds / count + _START_S + self.barriers * _BARRIER_S
            if team_s < best_s * 0.95:
                best, best_s = count, team_s
        return best


def block_cost(block: Block) -> Cost:
    """The sum over the block's steps."""
    costs = [_step_cost(step) for step in block.steps]
    return Cost(sum(c.seconds for c in costs), sum(c.barriers for c in costs))


def _step_cost(step: Step) -> Cost:
    if isinstance(step, LoopStep):
        body = block_cost(step.body)
        trips = step.counter.extent
        return Cost(body.seconds * trips, (body.barriers + 1) * trips)
    if isinstance(step, WhileStep):
        body, condition = block_cost(step.body), block_cost(step.condition)
        return Cost(
            (body.seconds + condition.seconds) * _UNKNOWN_TRIPS,
            (body.barriers + condition.barriers + 1) * _UNKNOWN_TRIPS,
        )
    if isinstance(step, BranchStep):
        branches = [block_cost(b) for b in step.branches]
        return Cost(max(b.seconds for b in branches), max(b.barriers for b in branches))
    if isinstance(step, HostStep):
        return Cost(_HOST_S, 1)
    if isinstance(step, SortKernel):
        return Cost(sort_seconds(step) * step.row_count + _STEP_S, 1 + sort_meetings(step))
    return Cost(_kernel_seconds(step) + _STEP_S, 1)


def _kernel_seconds(
    step: LoopKernel | ContractionKernel | PrefixKernel | ScatterKernel,
) -> float:
    if isinstance(step, ContractionKernel):
        outputs = step.batch.extent * step.row.extent * step.column.extent
        # A result narrower than a vector wastes the rest of it.
        padded = outputs * math.ceil(step.column.extent / 16) * 16 / max(step.column.extent, 1)
        epilogue = nodes_seconds([s.value for s in step.stores]) * outputs
        return 2 * padded * step.inner.extent * _FLOP_S + epilogue
    if isinstance(step, LoopKernel):
        rows = math.prod(v.extent for v in step.rows)
        return rows * sum(
            math.prod(v.extent for v in stage.vars) * nodes_seconds(stage_roots(stage))
            for stage in step.stages
        )
    if isinstance(step, PrefixKernel):
        size = step.axis_var.extent * math.prod(v.extent for v in step.rows)
        return size * nodes_seconds([step.combined]) * 4
    return scatter_seconds(step.indices, step.window, step.store.value)


def scatter_seconds(
    indices: tuple[LoopVar, ...], window: tuple[LoopVar, ...], value: Node
) -> float:
    """Seconds of a scatter on one core, where the target is near."""
    elements = math.prod(v.extent for v in window)
    return math.prod(v.extent for v in indices) * (_UPDATE_S + elements * nodes_seconds([value]))


def nodes_seconds(roots: list[Node]) -> float:
    """Seconds to compute each of the nodes once on one core, in vectors."""
    total = 0.0
    for node in topological(roots):
        if node.op in ("reduce", "argreduce"):
            extent = math.prod(v.extent for v in node.payload.vars)
            total += _CHEAP_S * 2 * extent
        elif node.op in SCALAR_OPS and node.op not in CHEAP_OPS:
            total += _COSTLY_S
        elif node.op == "load":
            total += _CHEAP_S * 2
        elif node.op != "constant":
            total += _CHEAP_S
    return total
