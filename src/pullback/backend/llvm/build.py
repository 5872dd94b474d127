"""From a program to the text of its machine code: passes, kernels, memory, LLVM IR."""

from __future__ import annotations

from pullback.backend.llvm.program import ProgramWriter
from pullback.backend.llvm.target import Target
from pullback.kernels.cost import Cost, block_cost
from pullback.kernels.memory import plan_memory
from pullback.kernels.schedule import Lowered, lower_program
from pullback.passes.compact_scatters import compact_scatters
from pullback.passes.pipeline import Numerics, run_pipeline
from pullback.passes.split_reductions import split_reductions
from pullback.program.core import NDArray, Program
from pullback.program.primitive import Primitive
from pullback.records import dataclass
from pullback.types import ArrayType


@dataclass(frozen=True)
class Built:
    """LLVM text and what must be known to run it."""

    text: str
    arena_bytes: int
    scratch_bytes: int
    constants: list[NDArray]
    host_calls: list[tuple[Primitive, list[ArrayType], list[ArrayType]]]
    cost: Cost
    lowered: Lowered


def build_program(
    program: Program, shared: dict[int, int], target: Target, numerics: Numerics = "strict"
) -> Built:
    """Write the LLVM text of ``program``; see ``compile_program``."""
    optimized, log = run_pipeline(program, numerics=numerics)
    optimized = split_reductions(compact_scatters(optimized, log), log)
    lowered = lower_program(optimized, shared)
    arena_bytes = plan_memory(lowered)
    writer = ProgramWriter(lowered, target)
    text = writer.write()
    return Built(
        text,
        arena_bytes,
        writer.scratch_bytes,
        [data for _, data in lowered.constants],
        lowered.host_calls,
        block_cost(lowered.block),
        lowered,
    )
