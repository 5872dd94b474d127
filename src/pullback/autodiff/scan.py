"""Reverse mode through ``Scan``: a forward scan that stacks residuals, and one that goes back.

Imports ``joint``, ``reach``, ``split`` and ``step_sums``; ``control`` installs the rule. Start at
``scan_vjp``.
"""

from __future__ import annotations

import functools
from dataclasses import replace

from pullback.autodiff.cotangents import add, zeros
from pullback.autodiff.joint import (
    Flags,
    Positions,
    chosen,
    floating_flags,
    given_flags,
    joint_program,
    note_residuals,
    residuals_of,
)
from pullback.autodiff.reach import (
    moved_by_loop,
    moved_outputs,
    moving_in_loop,
    moving_inputs,
)
from pullback.autodiff.split import Split, closure, split_program
from pullback.autodiff.step_sums import Term, deferred_terms, sum_terms
from pullback.autodiff.vjp import close
from pullback.primitives.control import Scan
from pullback.program.builder import Builder, inline
from pullback.program.core import Atom, Program, Var
from pullback.program.primitive import Cotangents
from pullback.program.value import Value
from pullback.records import dataclass


@dataclass(frozen=True, eq=False, slots=True)
class _Reverse:
    """What goes back through one step of a scan, and where the operands of that come from.

    Positions among the body's inputs are constants, then the carry, then slices; among its
    outputs the carry, then what is stacked.

    Attributes:
        split: The body and its pullback, as programs of two times.
        gradients: For each input that gets a cotangent, its value in ``split.backward``.
        carried: Which positions of the carry have a cotangent, carried back.
        seeded: Which positions of the stacked outputs have one.
        deferred: For the constants whose sum over the steps is made after the loop, its terms.
        stacked: Values of ``split.backward`` to be stacked for these.
    """

    scan: Scan
    split: Split
    gradients: dict[int, Atom]
    carried: Positions
    seeded: Positions
    deferred: dict[int, tuple[Term, ...]]
    stacked: tuple[Var, ...]

    @property
    def summed(self) -> Positions:
        """The constants whose cotangent the loop sums up."""
        return tuple(
            i for i in self.gradients if i < self.scan.constants and i not in self.deferred
        )

    @property
    def slices(self) -> Positions:
        """The inputs that are slices and get a cotangent."""
        return tuple(i for i in self.gradients if i >= self.scan.constants + self.scan.carry)

    @property
    def fixed(self) -> Positions:
        """The constants that the backward steps read."""
        return tuple(i for i in self.split.reads if i < self.scan.constants)

    def stack_inputs(self) -> tuple[Var, ...]:
        """The inputs of ``split.backward`` that differ from step to step, but for the carry."""
        split, fixed = self.split, len(self.fixed)
        inputs, reads = split.backward.inputs, len(split.reads)
        after = reads + len(split.invariant.outputs)
        cts = after + len(split.saved)
        return (*inputs[fixed:reads], *inputs[after:cts], *inputs[cts + len(self.carried) :])

    def body(self) -> Program:
        """One step back: constants, sums and cotangents of the carry, then slices."""
        split, first = self.split, self.scan.constants
        inputs = self.scan.body.inputs
        carry = [first + k for k in self.carried]
        outputs = [
            *(self.gradients[i] for i in self.summed),
            *(self.gradients[i] for i in carry if i in self.gradients),
            *(self.gradients[i] for i in self.slices),
            *self.stacked,
        ]
        step = closure(split.backward, split.backward.inputs, outputs, split.backward.name)
        with Builder() as b:
            reads = len(self.fixed)
            held = [b.input(v.type) for v in step.inputs[:reads]]
            invariant = [b.input(a.type) for a in split.invariant.outputs]
            sums = [b.input(inputs[i].type) for i in self.summed]
            cts = [b.input(inputs[i].type) for i in carry]
            stacks = [b.input(v.type) for v in self.stack_inputs()]
            xs, saved = len(split.reads) - reads, len(split.saved)
            results = iter(
                inline(
                    step,
                    (
                        *held,
                        *stacks[:xs],
                        *invariant,
                        *stacks[xs : xs + saved],
                        *cts,
                        *stacks[xs + saved :],
                    ),
                )
            )
            totals = [add(total, next(results)) for total in sums]
            carried = [
                next(results) if i in self.gradients else zeros(inputs[i].type) for i in carry
            ]
            name = f"{self.scan.body.name}_backward"
            return close(b, b.finish([*totals, *carried, *results], name))


@dataclass(frozen=True, eq=False, slots=True)
class _ScanPullback:
    forward: Scan
    backward: Scan
    reverse: _Reverse


@functools.lru_cache(maxsize=1024)
def _scan_pullback(scan: Scan, given: Flags, wanted: Flags) -> _ScanPullback:
    body, first, carry = scan.body, scan.constants, scan.carry
    inputs, outputs = len(body.inputs), len(body.outputs)
    moving = moved_by_loop(body, set(chosen(wanted)), first, carry)
    seeds = moving_in_loop(body, set(chosen(given)), first, carry) & moved_outputs(body, moving)
    carried = tuple(k for k in range(carry) if k in seeds and first + k in moving)
    seeded = tuple(j for j in sorted(seeds) if j >= carry)
    varying = range(first, first + carry)
    reached = (moving & moving_inputs(body, seeds)).difference(varying)
    targets = tuple(sorted({*reached, *(first + k for k in carried)}))
    joint, found = joint_program(body, (*carried, *seeded), targets)
    split = split_program(
        joint,
        inputs,
        outputs,
        free=[i for i in range(inputs) if i not in varying],
        invariant=range(first),
        reusable=range(carry, outputs),
    )
    forward = Scan(split.forward, scan.length, scan.reverse, first, carry)
    note_residuals(forward, scan, inputs, outputs)
    gradients = dict(zip(found, split.backward.outputs, strict=True))
    reverse = _with_deferred(_Reverse(scan, split, gradients, carried, seeded, {}, ()))
    backward = Scan(
        reverse.body(),
        scan.length,
        not scan.reverse,
        len(reverse.fixed) + len(split.invariant.outputs),
        len(reverse.summed) + len(carried),
    )
    return _ScanPullback(forward, backward, reverse)


def _with_deferred(reverse: _Reverse) -> _Reverse:
    """Take sums out of the loop; each may find operands at hand that another one stacks."""
    step = reverse.split.backward
    deferred: dict[int, tuple[Term, ...]] = {}
    slices = {reverse.gradients[i] for i in reverse.slices}
    at_hand = {*reverse.stack_inputs(), *(a for a in slices if isinstance(a, Var))}
    stacked: dict[Var, None] = {}
    pending = [*reverse.summed]
    while True:
        before = len(deferred)
        for i in [i for i in pending if i not in deferred]:
            terms = deferred_terms(step, reverse.gradients[i], at_hand)
            if terms is not None:
                deferred[i] = terms
                new = [v for t in terms for v in t.operands if v not in at_hand]
                stacked.update(dict.fromkeys(new))
                at_hand.update(new)
        if len(deferred) == before:
            break
    return replace(reverse, deferred=deferred, stacked=tuple(stacked))


def scan_vjp(
    scan: Scan,
    cts: tuple[Value | None, ...],
    outs: tuple[Value, ...],
    args: tuple[Value, ...],
    wanted: Flags,
) -> Cotangents:
    """Cotangents of the operands of a ``Scan``."""
    plan = _scan_pullback(scan, given_flags(cts), floating_flags(args, wanted))
    reverse, first = plan.reverse, scan.constants
    split = reverse.split
    if not (reverse.gradients or reverse.carried):
        return (None,) * len(args)
    results = (*outs, *residuals_of(plan.forward, split, args, outs))
    stacks = [
        *(args[i] for i in split.reads if i >= first),
        *(results[i] for i in split.saved),
        *(ct for j in reverse.seeded if (ct := cts[j]) is not None),
    ]
    found = plan.backward(
        *(args[i] for i in reverse.fixed),
        *inline(split.invariant, args[:first]),
        *(zeros(args[i].type) for i in reverse.summed),
        *(zeros(outs[k].type) if (ct := cts[k]) is None else ct for k in reverse.carried),
        *stacks,
    )
    carry = [first + k for k in reverse.carried]
    in_loop = (*reverse.summed, *carry, *reverse.slices)
    cotangents = dict(zip(in_loop, found, strict=False))
    values = dict(zip(reverse.stack_inputs(), stacks, strict=True))
    for i in reverse.slices:
        if isinstance(atom := reverse.gradients[i], Var):
            values[atom] = cotangents[i]
    values.update(zip(reverse.stacked, found[len(in_loop) :], strict=True))
    for i, terms in reverse.deferred.items():
        cotangents[i] = sum_terms(terms, values)
    return tuple(cotangents.get(i) for i in range(len(args)))
