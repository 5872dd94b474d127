"""Which inputs of a program influence which outputs differentiably, also around a loop.

Imports ``program``. ``control`` asks; start at ``moved_outputs``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from pullback.autodiff.cotangents import is_floating
from pullback.program.core import Program, Var


def moved_outputs(program: Program, inputs: Iterable[int]) -> set[int]:
    """Positions of the outputs that the inputs at the given positions influence."""
    moving = {program.inputs[i] for i in inputs}
    for eqn in program.equations:
        operands = enumerate(eqn.inputs)
        if any(a in moving and eqn.primitive.is_differentiable(i, a.type) for i, a in operands):
            moving.update(v for v in eqn.outputs if is_floating(v.type))
    return {j for j, a in enumerate(program.outputs) if a in moving}


def moving_inputs(program: Program, outputs: Iterable[int]) -> set[int]:
    """Positions of the inputs that influence the outputs at the given positions."""
    moved = {a for j in outputs if isinstance(a := program.outputs[j], Var)}
    for eqn in reversed(program.equations):
        if not moved.isdisjoint(eqn.outputs):
            moved.update(
                a
                for i, a in enumerate(eqn.inputs)
                if isinstance(a, Var) and eqn.primitive.is_differentiable(i, a.type)
            )
    return {i for i, v in enumerate(program.inputs) if v in moved and is_floating(v.type)}


def moved_by_loop(body: Program, inputs: Collection[int], first: int, carry: int) -> set[int]:
    """``inputs`` and those that they influence by way of the carry.

    Args:
        body: Its first ``carry`` outputs are the next values of its inputs from ``first`` on.
        inputs: Positions of inputs.
        first: Position of the first input that is carried.
        carry: How many are.
    """
    moving = {*inputs}
    while True:
        later = {first + j for j in moved_outputs(body, moving) if j < carry}
        if later <= moving:
            return moving
        moving |= later


def moving_in_loop(body: Program, outputs: Collection[int], first: int, carry: int) -> set[int]:
    """``outputs`` and those of the carry that influence them in later steps."""
    moved = {*outputs}
    while True:
        inputs = moving_inputs(body, moved)
        earlier = {i - first for i in inputs if first <= i < first + carry}
        if earlier <= moved:
            return moved
        moved |= earlier
