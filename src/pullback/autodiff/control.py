"""Reverse mode through control flow: the vjp rules of ``Cond``, ``Scan``, ``Call``, ``Checkpoint``.

Each differentiates the programs that the primitive holds, splits the result in a forward part that
also puts out residuals and a backward part, and binds both. Imports ``vjp``, ``split`` and
``reach``; importing this installs the rules. Start at ``joint_program``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pullback.autodiff import control_jvp
from pullback.autodiff.cotangents import add, is_floating, zeros
from pullback.autodiff.reach import (
    moved_by_loop,
    moved_outputs,
    moving_in_loop,
    moving_inputs,
)
from pullback.autodiff.split import Split, closure, split_program
from pullback.autodiff.vjp import backward_pass, close, extend, reader
from pullback.primitives.control import Call, Cond, Scan
from pullback.primitives.custom import Barrier, Checkpoint
from pullback.primitives.derive import Extension, install, merge_extended, note_extension
from pullback.program.builder import Builder, inline
from pullback.program.core import Program
from pullback.program.primitive import Cotangents, Primitive
from pullback.program.value import Value
from pullback.types import ArrayType

Positions = tuple[int, ...]
Flags = tuple[bool, ...]


def joint_program(
    program: Program, seeds: Positions, wanted: Positions
) -> tuple[Program, Positions]:
    """Return the program that also computes cotangents, and the inputs it computes them for.

    Args:
        program: What to differentiate.
        seeds: Positions of the outputs that have a cotangent; the others' are zero.
        wanted: Positions of the inputs whose cotangents are asked for.

    Returns:
        ``(*inputs, *cotangents at seeds) -> (*outputs, *gradients)`` and the positions of the
        inputs that the gradients belong to: the cotangent of any other wanted input is zero.
    """
    inputs = [program.inputs[i] for i in wanted]
    b = extend(program)
    with b:
        read = reader(b)
        cts = [(program.outputs[j], b.input(program.outputs[j].type)) for j in seeds]
        found = backward_pass(program.equations, read, cts, inputs)
        gradients = [(i, ct) for i, ct in zip(wanted, found, strict=True) if ct is not None]
        outputs = [*map(read, program.outputs), *(ct for _, ct in gradients)]
        joint = close(b, b.finish(outputs, program.name), program.constants)
    return merge_extended(joint), tuple(i for i, _ in gradients)


def _given(cts: Sequence[Value | None]) -> Flags:
    return tuple(ct is not None and is_floating(ct.type) for ct in cts)


def _chosen(flags: Iterable[bool]) -> Positions:
    return tuple(i for i, flag in enumerate(flags) if flag)


def _at_positions(
    count: int, positions: Positions, values: Iterable[Value]
) -> tuple[Value | None, ...]:
    by_position = dict(zip(positions, values, strict=True))
    return tuple(by_position.get(i) for i in range(count))


def _extend(extended: Primitive, original: Primitive, operands: int, outputs: int) -> None:
    """Note that ``extended`` puts out more than ``original`` does for the same operands."""
    positions = tuple(range(operands)), tuple(range(outputs))
    note_extension(extended, Extension(original, *positions))


# Call


@dataclass(frozen=True, eq=False, slots=True)
class _CallPullback:
    split: Split
    forward: Call
    backward: Call
    gradients: Positions


@functools.lru_cache(maxsize=1024)
def _call_pullback(call: Call, given: Flags, wanted: Flags) -> _CallPullback:
    program = call.program
    joint, gradients = joint_program(program, _chosen(given), _chosen(wanted))
    everything = range(len(program.inputs)), range(len(program.outputs))
    split = split_program(joint, *map(len, everything), free=everything[0], reusable=everything[1])
    forward = Call(split.forward, f"{call.name_}_forward")
    backward = Call(split.backward, f"{call.name_}_backward")
    _extend(forward, call, *map(len, everything))
    return _CallPullback(split, forward, backward, gradients)


def _call_vjp(
    call: Call,
    cts: tuple[Value | None, ...],
    outs: tuple[Value, ...],
    args: tuple[Value, ...],
    wanted: Flags,
) -> Cotangents:
    plan = _call_pullback(call, _given(cts), _floating(args, wanted))
    if not plan.gradients:
        return (None,) * len(args)
    results = (*outs, *_residuals(plan.forward, plan.split, args, len(outs)))
    found = plan.backward(
        *(args[i] for i in plan.split.reads),
        *(results[i] for i in plan.split.saved),
        *(ct for ct in cts if ct is not None and is_floating(ct.type)),
    )
    return _at_positions(len(args), plan.gradients, found)


def _floating(args: Sequence[Value], wanted: Flags) -> Flags:
    return tuple(is_floating(x.type) and w for x, w in zip(args, wanted, strict=True))


def _residuals(
    forward: Primitive, split: Split, args: tuple[Value, ...], outputs: int
) -> tuple[Value, ...]:
    """What the extended forward primitive puts out behind the outputs, if anything."""
    if len(split.forward.outputs) == outputs:
        return ()
    return tuple(forward(*args)[outputs:])


# Checkpoint


@functools.lru_cache(maxsize=1024)
def _recomputing(program: Program, given: Flags, wanted: Flags) -> tuple[Program, Positions]:
    """The program ``(*inputs, *cotangents) -> gradients``, which computes all it needs."""
    joint, gradients = joint_program(program, _chosen(given), _chosen(wanted))
    outputs = joint.outputs[len(program.outputs) :]
    return closure(joint, joint.inputs, outputs, joint.name), gradients


def _checkpoint_vjp(
    checkpoint: Checkpoint,
    cts: tuple[Value | None, ...],
    outs: tuple[Value, ...],
    args: tuple[Value, ...],
    wanted: Flags,
) -> Cotangents:
    program, gradients = _recomputing(checkpoint.program, _given(cts), _floating(args, wanted))
    floating = [ct for ct in cts if ct is not None and is_floating(ct.type)]
    held = [Barrier()(x, *floating) for x in args]
    return _at_positions(len(args), gradients, inline(program, (*held, *floating)))


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
    seeds = _chosen(given)
    joints = [joint_program(branch, seeds, _chosen(wanted)) for branch in cond.branches]
    splits = [
        split_program(joint, inputs, outputs, free=range(inputs), reusable=range(outputs))
        for joint, _ in joints
    ]
    gradients = tuple(sorted({i for _, positions in joints for i in positions}))
    slots = _Slots(splits, outputs)
    forward = Cond(tuple(slots.forward(split) for split in splits))
    _extend(forward, cond, inputs + 1, outputs)
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
    plan = _cond_pullback(cond, _given(cts), _floating(operands, wanted[1:]))
    if not plan.gradients:
        return (None,) * len(args)
    residuals = plan.forward(*args)[len(outs) :] if plan.slots else ()
    found = plan.backward(
        index,
        *(operands[i] for i in plan.reads),
        *(outs[j] for j in plan.reused),
        *residuals,
        *(ct for ct in cts if ct is not None and is_floating(ct.type)),
    )
    return (None, *_at_positions(len(operands), plan.gradients, found))


# Scan


@dataclass(frozen=True, eq=False, slots=True)
class _ScanPullback:
    """How the backward scan gets its operands.

    Attributes:
        carried: Which positions of the carry have a cotangent that is carried backwards.
        seeded: Which positions of the stacked outputs have a cotangent.
        gradients: Positions of the operands that get one: constants, carry, slices.
    """

    split: Split
    forward: Scan
    backward: Scan
    carried: Positions
    seeded: Positions
    constants: Positions
    slices: Positions


@functools.lru_cache(maxsize=1024)
def _scan_pullback(scan: Scan, given: Flags, wanted: Flags) -> _ScanPullback:
    body, first, carry = scan.body, scan.constants, scan.carry
    inputs, outputs = len(body.inputs), len(body.outputs)
    moving = moved_by_loop(body, set(_chosen(wanted)), first, carry)
    moved = moved_outputs(body, moving)
    seeds = moving_in_loop(body, set(_chosen(given)), first, carry) & moved
    reached = moving & moving_inputs(body, seeds)
    carried = tuple(k for k in range(carry) if k in seeds and first + k in moving)
    seeded = tuple(j for j in sorted(seeds) if j >= carry)
    targets = (*sorted(reached - {*range(first, first + carry)}), *(first + k for k in carried))
    joint, found = joint_program(body, (*carried, *seeded), tuple(sorted(targets)))
    varying = range(first, first + carry)
    split = split_program(
        joint,
        inputs,
        outputs,
        free=[i for i in range(inputs) if i not in varying],
        invariant=range(first),
        reusable=range(carry, outputs),
    )
    forward = Scan(split.forward, scan.length, scan.reverse, first, carry)
    _extend(forward, scan, inputs, outputs)
    constants = tuple(i for i in found if i < first)
    slices = tuple(i for i in found if i >= first + carry)
    plan = _BackwardBody(scan, split, found, constants, carried, slices, seeded)
    backward = Scan(
        plan.program(),
        scan.length,
        not scan.reverse,
        plan.num_constants,
        len(constants) + len(carried),
    )
    return _ScanPullback(split, forward, backward, carried, seeded, constants, slices)


@dataclass(frozen=True, eq=False, slots=True)
class _BackwardBody:
    """One step backwards: sums for the constants, cotangents of the carry and of the slices."""

    scan: Scan
    split: Split
    found: Positions
    constants: Positions
    carried: Positions
    slices: Positions
    seeded: Positions

    @property
    def num_constants(self) -> int:
        """How many of the backward scan's operands are the same in every step."""
        reads = [i for i in self.split.reads if i < self.scan.constants]
        return len(reads) + len(self.split.invariant.outputs)

    def program(self) -> Program:
        """The body: constants, sums and cotangents, then slices."""
        body, first = self.scan.body, self.scan.constants
        split = self.split
        reads = [body.inputs[i].type for i in split.reads]
        fixed = [t for i, t in zip(split.reads, reads, strict=True) if i < first]
        sliced = reads[len(fixed) :]
        residuals = [split.forward.outputs[i].type for i in split.saved]
        with Builder() as b:
            held = [b.input(t) for t in fixed]
            invariant = [b.input(a.type) for a in split.invariant.outputs]
            sums = [b.input(body.inputs[i].type) for i in self.constants]
            cts = [b.input(body.outputs[k].type) for k in self.carried]
            cts_out = [b.input(body.outputs[j].type) for j in self.seeded]
            xs = [b.input(t) for t in sliced]
            saved = [b.input(t) for t in residuals]
            results = inline(split.backward, (*held, *xs, *invariant, *saved, *cts, *cts_out))
            gradients = dict(zip(self.found, results, strict=True))
            totals = [
                add(total, gradients[i]) for i, total in zip(self.constants, sums, strict=True)
            ]
            positions = [first + k for k in self.carried]
            carried = [
                gradients[i] if i in gradients else zeros(body.inputs[i].type) for i in positions
            ]
            slices = [gradients[i] for i in self.slices]
            return close(b, b.finish([*totals, *carried, *slices], f"{body.name}_backward"))


def _scan_vjp(
    scan: Scan,
    cts: tuple[Value | None, ...],
    outs: tuple[Value, ...],
    args: tuple[Value, ...],
    wanted: Flags,
) -> Cotangents:
    plan = _scan_pullback(scan, _given(cts), _floating(args, wanted))
    if not (plan.carried or plan.constants or plan.slices):
        return (None,) * len(args)
    split, first = plan.split, scan.constants
    results = (*outs, *_residuals(plan.forward, split, args, len(outs)))
    start = [cts[k] for k in plan.carried]
    found = plan.backward(
        *(args[i] for i in split.reads if i < first),
        *inline(split.invariant, args[:first]),
        *(zeros(args[i].type) for i in plan.constants),
        *(
            zeros(outs[k].type) if ct is None else ct
            for k, ct in zip(plan.carried, start, strict=True)
        ),
        *(cts[j] for j in plan.seeded),
        *(args[i] for i in split.reads if i >= first),
        *(results[i] for i in split.saved),
    )
    positions = (*plan.constants, *(first + k for k in plan.carried), *plan.slices)
    return _at_positions(len(args), positions, found)


install("call", _call_vjp, control_jvp.call_jvp)
install("checkpoint", _checkpoint_vjp, control_jvp.call_jvp)
install("cond", _cond_vjp, control_jvp.cond_jvp)
install("scan", _scan_vjp, control_jvp.scan_jvp)
install("while_loop", None, control_jvp.while_loop_jvp)
