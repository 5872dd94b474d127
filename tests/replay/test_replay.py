"""What compiling typical training steps comes to: equations, kernels, barriers, memory, work.

The counts are in ``replay.json``. They depend on no machine: code is written for one fixed target
and not compiled.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from training_steps import STEPS

from pullback.backend.llvm.build import build_program
from pullback.backend.llvm.target import Target
from pullback.kernels.core import (
    Block,
    BranchStep,
    ContractionKernel,
    HostStep,
    LoopStep,
    WhileStep,
)
from pullback.passes.base import count_equations
from pullback.passes.pipeline import run_pipeline
from pullback.program.core import Program

REPLAY = Path(__file__).parent / "replay.json"
TARGET = Target("avx2", "x86_64", "x86-64-v3", "", 32, 16, has_fma=True)
HINT = (
    "If the change is meant, run `pytest tests/replay --update-golden` and say in the commit why "
    "each count moved."
)


def kernels(block: Block) -> int:
    """Kernels and host calls in a block, each once however often it runs."""
    total = 0
    for step in block.steps:
        if isinstance(step, LoopStep):
            total += kernels(step.body)
        elif isinstance(step, BranchStep):
            total += sum(map(kernels, step.branches))
        elif isinstance(step, WhileStep):
            total += kernels(step.condition) + kernels(step.body)
        else:
            total += 1
    return total


def product_flops(block: Block) -> int:
    """Multiplications and additions of the products in one run, of branches the longest."""
    total = 0
    for step in block.steps:
        if isinstance(step, LoopStep):
            total += step.counter.extent * product_flops(step.body)
        elif isinstance(step, BranchStep):
            total += max(map(product_flops, step.branches))
        elif isinstance(step, ContractionKernel):
            outputs = step.batch.extent * step.row.extent * step.column.extent
            total += 2 * outputs * step.inner.extent
        elif isinstance(step, (WhileStep, HostStep)):
            raise TypeError("no training step here has one")
    return total


def counts(program: Program, in_place: int) -> dict[str, int]:
    """What compiling the program comes to."""
    optimized, _ = run_pipeline(program)
    built = build_program(program, {i: i for i in range(in_place)}, TARGET)
    return {
        "equations": count_equations(program),
        "equations after passes": count_equations(optimized),
        "kernels": kernels(built.lowered.block),
        "kernel functions": len(re.findall(r"define internal void @\"?k\d+\.", built.text)),
        "barriers": built.text.count("call void @pullback.barrier("),
        "arena bytes": built.arena_bytes,
        "flops of products": product_flops(built.lowered.block),
    }


@pytest.fixture(scope="module")
def replay(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.config.getoption("--update-golden"):
        found = {name: counts(*make()) for name, make in STEPS.items()}
        REPLAY.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    recorded: dict[str, Any] = json.loads(REPLAY.read_text(encoding="utf-8"))
    return recorded


@pytest.mark.parametrize("name", STEPS)
def test_counts(name, replay):
    assert counts(*STEPS[name]()) == replay.get(name), HINT


def test_every_record_has_its_step(replay):
    assert [*replay] == [*STEPS], HINT
