"""Forward mode through control flow: the jvp rules of the primitives that hold programs.

Each binds the same primitive over tangent programs: it carries the tangents beside the primals.
Imports ``jvp`` and ``reach``; ``control`` installs the rules. Start at ``joint_tangents``.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from pullback.autodiff.cotangents import is_floating, zeros
from pullback.autodiff.jvp import forward_pass
from pullback.autodiff.reach import moved_by_loop
from pullback.autodiff.vjp import close, extend, reader
from pullback.primitives.control import Call, Cond, Scan, WhileLoop
from pullback.primitives.custom import Checkpoint
from pullback.primitives.derive import Extension, merge_extended, note_extension
from pullback.program.core import Program, Var
from pullback.program.primitive import Primitive
from pullback.program.value import Value
from pullback.records import dataclass

Positions = tuple[int, ...]
Values = tuple[Value, ...]
Tangents = tuple[Value | None, ...]


def joint_tangents(
    program: Program, moving: Positions, required: Iterable[int] = ()
) -> tuple[Program, Positions]:
    """Return the program that also computes tangents, and the outputs it computes them for.

    Args:
        program: What to differentiate.
        moving: Positions of the inputs that have a tangent.
        required: Positions of outputs that get a tangent in any case, a zero if need be.

    Returns:
        ``(*inputs, *tangents at moving) -> (*outputs, *tangents)`` and the positions of the
        outputs that the tangents belong to: that of any other output is zero.
    """
    required = set(required)
    b = extend(program)
    with b:
        read = reader(b)
        given = [(program.inputs[i], b.input(program.inputs[i].type)) for i in moving]
        found = forward_pass(program.equations, read, given, program.outputs)
        tangents = {
            j: zeros(y.type) if t is None else t
            for j, (y, t) in enumerate(zip(program.outputs, found, strict=True))
            if is_floating(y.type) and (t is not None or j in required)
        }
        outputs = [*map(read, program.outputs), *tangents.values()]
        joint = close(b, b.finish(outputs, f"{program.name}_jvp"), program.constants)
    return merge_extended(joint), tuple(tangents)


def _moving(tangents: Sequence[Value | None]) -> Positions:
    return tuple(i for i, t in enumerate(tangents) if t is not None)


def _by_position(count: int, positions: Positions, values: Iterable[Value]) -> Tangents:
    found = dict(zip(positions, values, strict=True))
    return tuple(found.get(i) for i in range(count))


def _extend(extended: Primitive, original: Primitive, operands: int, outputs: int) -> None:
    note_extension(extended, Extension(original, tuple(range(operands)), tuple(range(outputs))))


@functools.lru_cache(maxsize=1024)
def _call_tangents(call: Call | Checkpoint, moving: Positions) -> tuple[Primitive, Positions]:
    program = call.program
    joint, moved = joint_tangents(program, moving)
    extended = replace(call, program=joint, name_=f"{call.name_}_jvp")
    _extend(extended, call, len(program.inputs), len(program.outputs))
    return extended, moved


def call_jvp(
    call: Call | Checkpoint, primals: Values, tangents: Tangents
) -> tuple[Values, Tangents]:
    """Outputs and tangents of a ``Call``, or of a ``Checkpoint``, whose tangent is one again."""
    extended, moved = _call_tangents(call, _moving(tangents))
    results = extended(*primals, *(t for t in tangents if t is not None))
    count = len(call.program.outputs)
    return results[:count], _by_position(count, moved, results[count:])


@functools.lru_cache(maxsize=1024)
def _cond_tangents(cond: Cond, moving: Positions) -> tuple[Cond, Positions]:
    found = {j for branch in cond.branches for j in joint_tangents(branch, moving)[1]}
    joints = [joint_tangents(branch, moving, found) for branch in cond.branches]
    extended = Cond(tuple(joint for joint, _ in joints))
    first = cond.branches[0]
    _extend(extended, cond, len(first.inputs) + 1, len(first.outputs))
    return extended, joints[0][1]


def cond_jvp(cond: Cond, primals: Values, tangents: Tangents) -> tuple[Values, Tangents]:
    """Outputs and tangents of a ``Cond``."""
    extended, moved = _cond_tangents(cond, _moving(tangents[1:]))
    results = extended(*primals, *(t for t in tangents[1:] if t is not None))
    count = len(cond.branches[0].outputs)
    return results[:count], _by_position(count, moved, results[count:])


@dataclass(frozen=True, eq=False, slots=True)
class _Moved:
    """A loop body that carries tangents: constants, carry and slices, each with its tangents.

    Attributes:
        body: ``(constants, tangents, carry, tangents, slices, tangents)`` to
            ``(carry, tangents, ys, tangents)``.
        moving: Positions, among the operands of the loop, of those that have a tangent.
        outputs: Positions, among the outputs of the loop, of those that have a tangent.
        extension: Where the operands and outputs of the loop are in the extended loop.
    """

    body: Program
    moving: Positions
    outputs: Positions
    operand_places: Positions
    output_places: Positions
    constants: int
    carry: int


def _move_loop(body: Program, first: int, carry: int, given: Positions) -> _Moved:
    """Give a loop body tangents of the operands ``given``, and of what these influence."""
    moving = tuple(sorted(moved_by_loop(body, given, first, carry)))
    carried = [i - first for i in moving if first <= i < first + carry]
    joint, moved = joint_tangents(body, moving, carried)
    count = len(body.inputs)
    inputs, places = _beside(joint.inputs[:count], moving, joint.inputs[count:], first, carry)
    outs = len(body.outputs)
    outputs, output_places = _beside(joint.outputs[:outs], moved, joint.outputs[outs:], 0, carry)
    return _Moved(
        replace(joint, inputs=inputs, outputs=outputs),
        moving,
        moved,
        places,
        output_places,
        first + sum(i < first for i in moving),
        carry + len(carried),
    )


def _beside(
    primals: Sequence[Any], positions: Positions, tangents: Sequence[Any], first: int, carry: int
) -> tuple[tuple[Any, ...], Positions]:
    """Put tangents behind the primals in each of three sections; also say where primals went."""
    tangent_at = dict(zip(positions, tangents, strict=True))
    result: list[Any] = []
    places: list[int] = []
    bounds = (0, first, first + carry, len(primals))
    for start, stop in itertools.pairwise(bounds):
        section = range(start, stop)
        places += [len(result) + i - start for i in section]
        result += [primals[i] for i in section]
        result += [tangent_at[i] for i in section if i in tangent_at]
    return tuple(result), tuple(places)


def _tangents_of(primals: Values, tangents: Tangents, moving: Positions) -> list[Value]:
    """Tangents at ``moving``; a carry that begins to move later begins with a zero."""
    return [zeros(primals[i].type) if (t := tangents[i]) is None else t for i in moving]


@functools.lru_cache(maxsize=1024)
def _scan_tangents(scan: Scan, given: Positions) -> tuple[Scan, _Moved]:
    moved = _move_loop(scan.body, scan.constants, scan.carry, given)
    extended = Scan(moved.body, scan.length, scan.reverse, moved.constants, moved.carry)
    note_extension(extended, Extension(scan, moved.operand_places, moved.output_places))
    return extended, moved


def scan_jvp(scan: Scan, primals: Values, tangents: Tangents) -> tuple[Values, Tangents]:
    """Outputs and tangents of a ``Scan``."""
    extended, moved = _scan_tangents(scan, _moving(tangents))
    return _run_loop(extended, moved, scan.constants, scan.carry, primals, tangents)


@functools.lru_cache(maxsize=1024)
def _while_loop_tangents(loop: WhileLoop, given: Positions) -> tuple[WhileLoop, _Moved]:
    carry = len(loop.body.outputs)
    moved = _move_loop(loop.body, loop.constants, carry, given)
    # The condition takes the tangents too, and reads none.
    unread = [Var(loop.body.inputs[i].type) for i in moved.moving]
    inputs, _ = _beside(loop.condition.inputs, moved.moving, unread, loop.constants, carry)
    condition = replace(loop.condition, inputs=inputs)
    extended = WhileLoop(condition, moved.body, moved.constants)
    note_extension(extended, Extension(loop, moved.operand_places, moved.output_places))
    return extended, moved


def while_loop_jvp(loop: WhileLoop, primals: Values, tangents: Tangents) -> tuple[Values, Tangents]:
    """Outputs and tangents of a ``WhileLoop``."""
    extended, moved = _while_loop_tangents(loop, _moving(tangents))
    carry = len(loop.body.outputs)
    return _run_loop(extended, moved, loop.constants, carry, primals, tangents)


def _run_loop(
    extended: Primitive,
    moved: _Moved,
    first: int,
    carry: int,
    primals: Values,
    tangents: Tangents,
) -> tuple[Values, Tangents]:
    given = _tangents_of(primals, tangents, moved.moving)
    operands, _ = _beside(primals, moved.moving, given, first, carry)
    results = extended(*operands)
    outs = tuple(results[i] for i in moved.output_places)
    others = iter(i for i in range(len(results)) if i not in set(moved.output_places))
    found = {j: results[next(others)] for j in moved.outputs}
    return outs, tuple(found.get(j) for j in range(len(outs)))
