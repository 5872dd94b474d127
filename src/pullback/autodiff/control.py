"""Reverse mode through control flow: the vjp rules of ``Call``, ``Checkpoint`` and ``Cond``.

Each differentiates the programs that the primitive holds, splits the result in a forward part that
also puts out residuals and a backward part, and binds both. Imports ``joint`` and ``scan``, which
has the rule of ``Scan``; importing this installs the rules. Start at ``joint.joint_program``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from pullback.autodiff import control_jvp
from pullback.autodiff.cotangents import is_floating, zeros
from pullback.autodiff.joint import (
    Flags,
    Positions,
    at_positions,
    chosen,
    floating_flags,
    given_flags,
    joint_program,
    note_residuals,
    residuals_of,
)
from pullback.autodiff.scan import scan_vjp
from pullback.autodiff.split import Split, closure, split_program
from pullback.autodiff.vjp import close, extend, reader
from pullback.primitives.control import Call, Cond
from pullback.primitives.custom import Barrier, Checkpoint
from pullback.primitives.derive import install, where_made
from pullback.program.builder import Builder, inline
from pullback.program.core import Program
from pullback.program.primitive import Cotangents
from pullback.program.value import Value
from pullback.records import dataclass
from pullback.types import ArrayType


@dataclass(frozen=True, eq=False, slots=True)
class _CallPullback:
    split: Split
    forward: Call
    backward: Call
    gradients: Positions


@functools.lru_cache(maxsize=1024)
def _call_pullback(call: Call, given: Flags, wanted: Flags) -> _CallPullback:
    program = call.program
    joint, gradients = joint_program(program, chosen(given), chosen(wanted))
    everything = range(len(program.inputs)), range(len(program.outputs))
    split = split_program(joint, *map(len, everything), free=everything[0], reusable=everything[1])
    forward = Call(split.forward, f"{call.name_}_forward")
    backward = Call(split.backward, f"{call.name_}_backward")
    note_residuals(forward, call, *map(len, everything))
    return _CallPullback(split, forward, backward, gradients)


def _call_vjp(
    call: Call,
    cts: tuple[Value | None, ...],
    outs: tuple[Value, ...],
    args: tuple[Value, ...],
    wanted: Flags,
) -> Cotangents:
    plan = _call_pullback(call, given_flags(cts), floating_flags(args, wanted))
    if not plan.gradients:
        return (None,) * len(args)
    results = (*outs, *residuals_of(plan.forward, plan.split, args, outs))
    found = plan.backward(
        *(args[i] for i in plan.split.reads),
        *(results[i] for i in plan.split.saved),
        *(ct for ct in cts if ct is not None and is_floating(ct.type)),
    )
    return at_positions(len(args), plan.gradients, found)


# Checkpoint


@functools.lru_cache(maxsize=1024)
def _recomputing(program: Program, given: Flags, wanted: Flags) -> tuple[Program, Positions]:
    """The program ``(*inputs, *cotangents) -> gradients``, which computes all it needs."""
    joint, gradients = joint_program(program, chosen(given), chosen(wanted))
    outputs = joint.outputs[len(program.outputs) :]
    return closure(joint, joint.inputs, outputs, joint.name), gradients


def _checkpoint_vjp(
    checkpoint: Checkpoint,
    cts: tuple[Value | None, ...],
    outs: tuple[Value, ...],
    args: tuple[Value, ...],
    wanted: Flags,
) -> Cotangents:
    program, gradients = _recomputing(
        checkpoint.program, given_flags(cts), floating_flags(args, wanted)
    )
    floating = [ct for ct in cts if ct is not None and is_floating(ct.type)]
    held = [Barrier()(x, *floating) for x in args]
    return at_positions(len(args), gradients, inline(program, (*held, *floating)))


# Cond


@dataclass(frozen=True, eq=False, slots=True)
class _CondPullback:
    forward: Cond
    backward: Cond
    slots: int
    reads: Positions
    reused: Positions
    gradients: Positions


@functools.lru_cache(maxsize=1024)
def _cond_pullback(cond: Cond, given: Flags, wanted: Flags) -> _CondPullback:
    inputs, outputs = len(cond.branches[0].inputs), len(cond.branches[0].outputs)
    seeds = chosen(given)
    joints = [joint_program(branch, seeds, chosen(wanted)) for branch in cond.branches]
    splits = [
        split_program(joint, inputs, outputs, free=range(inputs), reusable=range(outputs))
        for joint, _ in joints
    ]
    gradients = tuple(sorted({i for _, positions in joints for i in positions}))
    slots = _Slots(splits, outputs)
    forward = Cond(tuple(slots.forward(split) for split in splits))
    note_residuals(forward, cond, inputs + 1, outputs)
    reads = tuple(sorted({i for split in splits for i in split.reads}))
    reused = tuple(sorted({i for split in splits for i in split.saved if i < outputs}))
    first = cond.branches[0]
    types = (
        [first.inputs[i].type for i in reads],
        [first.outputs[j].type for j in reused],
        slots.types,
        [first.outputs[j].type for j in seeds],
    )

    def backward(split: Split, found: Positions) -> Program:
        with Builder() as b:
            groups = [[b.input(t) for t in group] for group in types]
            inputs_read = dict(zip(reads, groups[0], strict=True))
            outs = dict(zip(reused, groups[1], strict=True))
            kept = [groups[2][k] for k in slots.places(split)]
            saved = [outs[i] if i < outputs else kept[i - outputs] for i in split.saved]
            args = [inputs_read[i] for i in split.reads]
            results = inline(split.backward, (*args, *saved, *groups[3]))
            by_position = dict(zip(found, results, strict=True))
            filled = [
                by_position[i] if i in by_position else zeros(first.inputs[i].type)
                for i in gradients
            ]
            return close(b, b.finish(filled, split.backward.name))

    branches = [backward(split, found) for split, (_, found) in zip(splits, joints, strict=True)]
    return _CondPullback(forward, Cond(tuple(branches)), len(slots.types), reads, reused, gradients)


class _Slots:
    """Places for the residuals of all branches: as many of each type as one branch needs."""

    def __init__(self, splits: Sequence[Split], outputs: int) -> None:
        self.outputs = outputs
        self.types: list[ArrayType] = []
        for split in splits:
            missing = [*self.types]
            for type in split.forward.output_types[outputs:]:
                if type in missing:
                    missing.remove(type)
                else:
                    self.types.append(type)

    def places(self, split: Split) -> list[int]:
        """The slot of each residual of a branch."""
        open_slots = list(enumerate(self.types))
        found = []
        for wanted in split.forward.output_types[self.outputs :]:
            slot = next(s for s in open_slots if s[1] == wanted)
            open_slots.remove(slot)
            found.append(slot[0])
        return found

    def forward(self, split: Split) -> Program:
        """The forward part of a branch with its residuals in their slots, zeros in the others."""
        program = split.forward
        b = extend(program)
        with b:
            values = [reader(b)(a) for a in program.outputs]
            kept = dict(zip(self.places(split), values[self.outputs :], strict=True))
            filled = [kept[k] if k in kept else zeros(t) for k, t in enumerate(self.types)]
            finished = b.finish([*values[: self.outputs], *filled], program.name)
            return close(b, finished, program.constants)


def _cond_vjp(
    cond: Cond,
    cts: tuple[Value | None, ...],
    outs: tuple[Value, ...],
    args: tuple[Value, ...],
    wanted: Flags,
) -> Cotangents:
    index, operands = args[0], args[1:]
    plan = _cond_pullback(cond, given_flags(cts), floating_flags(operands, wanted[1:]))
    if not plan.gradients:
        return (None,) * len(args)
    residuals: tuple[Value, ...] = ()
    if plan.slots:
        with where_made(outs):
            residuals = plan.forward(*args)[len(outs) :]
    found = plan.backward(
        index,
        *(operands[i] for i in plan.reads),
        *(outs[j] for j in plan.reused),
        *residuals,
        *(ct for ct in cts if ct is not None and is_floating(ct.type)),
    )
    return (None, *at_positions(len(operands), plan.gradients, found))


install("call", _call_vjp, control_jvp.call_jvp)
install("checkpoint", _checkpoint_vjp, control_jvp.call_jvp)
install("cond", _cond_vjp, control_jvp.cond_jvp)
install("scan", scan_vjp, control_jvp.scan_jvp)
install("while_loop", None, control_jvp.while_loop_jvp)
