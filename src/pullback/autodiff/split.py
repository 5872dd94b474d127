"""Partial evaluation of a pullback: what can run forward, what must wait, what is kept between.

Imports ``program`` and ``primitives.derive``. Start at ``split_program``; ``control`` uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from pullback.program.core import Atom, Equation, Program, Var
from pullback.program.primitive import CHEAP, LAYOUT
from pullback.records import dataclass

#: How many cheap equations in a row are computed again to keep one value less.
CHAIN: Final = 4


@dataclass(frozen=True, eq=False, slots=True)
class Split:
    """A joint program (inputs, cotangents -> outputs, gradients) as programs of two times.

    Attributes:
        forward: Inputs -> outputs, then the residuals that are no outputs.
        saved: Residual ``k`` is output ``saved[k]`` of ``forward``.
        invariant: The invariant inputs -> values that depend on nothing else.
        backward: ``(*inputs at reads, *invariant values, *residuals, *cotangents)`` -> gradients.
        reads: Positions of the inputs that ``backward`` reads as they are.
    """

    forward: Program
    saved: tuple[int, ...]
    invariant: Program
    backward: Program
    reads: tuple[int, ...]


def split_program(
    joint: Program,
    inputs: int,
    outputs: int,
    *,
    free: Iterable[int],
    invariant: Iterable[int] | None = None,
    reusable: Iterable[int] = (),
) -> Split:
    """Split a joint program at the line between known values and those that need a cotangent.

    A known value that the backward part needs is, in this order of preference: an input it may
    read as it is; computed again, if that is as cheap as loading it and needs less kept; computed
    once, outside, from invariant inputs; an output; kept as a residual.

    Args:
        joint: ``(*inputs, *cotangents) -> (*outputs, *gradients)``.
        inputs: How many inputs are known in the forward part; the others are cotangents.
        outputs: How many outputs the forward part returns; the others are gradients.
        free: Positions of inputs that the backward part may read without keeping them.
        invariant: Positions among ``free`` of inputs that are the same in every use of the
            program (a loop's constants). None: the program is used once.
        reusable: Positions of outputs that need not be kept again to be residuals.

    Cost: linear in the equations.
    """
    return _Splitter(joint, inputs, outputs, set(free), invariant, set(reusable)).split()


class _Splitter:
    def __init__(
        self,
        joint: Program,
        inputs: int,
        outputs: int,
        free: set[int],
        invariant: Iterable[int] | None,
        reusable: set[int],
    ) -> None:
        self.joint = joint
        self.primals = joint.inputs[:inputs]
        self.cotangents = joint.inputs[inputs:]
        self.outputs = joint.outputs[:outputs]
        self.gradients = joint.outputs[outputs:]
        self.reusable = {self.outputs[i]: i for i in sorted(reusable, reverse=True)}
        self.free = {self.primals[i] for i in free}
        self.constants = {var for var, _ in joint.constants}
        self.invariant_inputs = [self.primals[i] for i in sorted(invariant or ())]
        self.made_by = {v: eqn for eqn in joint.equations for v in eqn.outputs}
        self.unknown = _reached(joint, self.cotangents)
        self.varying = set(self.primals)
        if invariant is None:
            self.varying.update(v for eqn in joint.equations for v in eqn.outputs)
        else:
            self.varying.difference_update(self.invariant_inputs)
            self.varying = _reached(joint, (*self.varying, *self.cotangents))

    def split(self) -> Split:
        """Sort the equations and make the programs."""
        live = self._live_unknown()
        needed = {a for eqn in live for a in _vars(eqn.inputs) if a not in self.unknown}
        needed |= {a for a in _vars(self.gradients) if a not in self.unknown}
        again = self._recompute(needed)
        needed -= self.constants
        reads = [i for i, v in enumerate(self.primals) if v in needed and v in self.free]
        needed -= self.free
        hoisted = [v for v in self._in_order(needed) if v not in self.varying]
        residuals = [v for v in self._in_order(needed) if v in self.varying]
        backward_set = {*live, *again}
        backward = program_of(
            self.joint,
            (*(self.primals[i] for i in reads), *hoisted, *residuals, *self.cotangents),
            (eqn for eqn in self.joint.equations if eqn in backward_set),
            self.gradients,
            f"{self.joint.name}_backward",
        )
        extra = [v for v in residuals if v not in self.reusable]
        position: dict[Atom, int] = {
            **{v: len(self.outputs) + k for k, v in enumerate(extra)},
            **self.reusable,
        }
        return Split(
            forward=self._closure(self.primals, (*self.outputs, *extra), "forward"),
            saved=tuple(position[v] for v in residuals),
            invariant=self._closure(self.invariant_inputs, hoisted, "invariant"),
            backward=backward,
            reads=tuple(reads),
        )

    def _live_unknown(self) -> list[Equation]:
        """The equations that need a cotangent and that a gradient needs."""
        wanted = set(_vars(self.gradients))
        live = []
        for eqn in reversed(self.joint.equations):
            if not wanted.isdisjoint(eqn.outputs) and eqn.outputs[0] in self.unknown:
                live.append(eqn)
                wanted.update(_vars(eqn.inputs))
        return live

    def _recompute(self, needed: set[Var]) -> list[Equation]:
        """Replace needed values by the operands of the cheap equations that made them.

        Changes ``needed``; returns the equations to compute again.
        """
        again = []
        for eqn in reversed(self.joint.equations):
            if len(eqn.outputs) == 1 and eqn.output in needed and self._is_cheaper(eqn, needed):
                again.append(eqn)
                needed.discard(eqn.output)
                needed.update(_vars(eqn.inputs))
        return again

    def _is_cheaper(self, eqn: Equation, needed: set[Var]) -> bool:
        """Whether computing ``eqn`` again takes cheap equations only and less memory kept."""
        if eqn.output in self.reusable or not _is_cheap(eqn):
            return False
        return self._kept_for(eqn, needed, CHAIN) < eqn.output.type.nbytes

    def _kept_for(self, eqn: Equation, needed: set[Var], chain: int) -> int:
        """Bytes to keep beside ``needed`` to compute a cheap equation again."""
        return sum(self._kept(v, needed, chain) for v in set(_vars(eqn.inputs)))

    def _kept(self, v: Var, needed: set[Var], chain: int) -> int:
        if v in needed or v in self.free or v in self.constants or v not in self.varying:
            return 0
        eqn = self.made_by.get(v)
        if eqn is None or chain == 0 or not _is_cheap(eqn):
            return v.type.nbytes
        return min(v.type.nbytes, self._kept_for(eqn, needed, chain - 1))

    def _in_order(self, chosen: set[Var]) -> list[Var]:
        """``chosen`` in the order of definition, so that the result is the same every time."""
        defined = [*self.primals, *(v for eqn in self.joint.equations for v in eqn.outputs)]
        return [v for v in defined if v in chosen]

    def _closure(self, inputs: Iterable[Var], outputs: Iterable[Atom], name: str) -> Program:
        return closure(self.joint, inputs, outputs, f"{self.joint.name}_{name}")


def closure(program: Program, inputs: Iterable[Var], outputs: Iterable[Atom], name: str) -> Program:
    """The program of the equations that ``outputs`` need."""
    outputs = tuple(outputs)
    wanted = set(_vars(outputs))
    kept = []
    for eqn in reversed(program.equations):
        if not wanted.isdisjoint(eqn.outputs):
            kept.append(eqn)
            wanted.update(_vars(eqn.inputs))
    return program_of(program, inputs, kept[::-1], outputs, name)


def program_of(
    program: Program,
    inputs: Iterable[Var],
    equations: Iterable[Equation],
    outputs: Iterable[Atom],
    name: str,
) -> Program:
    """A program of some of the equations of ``program``, with the constants that they read."""
    equations, outputs = tuple(equations), tuple(outputs)
    used = {v for eqn in equations for v in _vars(eqn.inputs)} | set(_vars(outputs))
    constants = tuple((v, a) for v, a in program.constants if v in used)
    return Program(tuple(inputs), equations, outputs, constants, name)


def _is_cheap(eqn: Equation) -> bool:
    return eqn.primitive.has(LAYOUT) or eqn.primitive.has(CHEAP)


def _vars(atoms: Iterable[Atom]) -> Iterable[Var]:
    return (a for a in atoms if isinstance(a, Var))


def _reached(program: Program, start: Iterable[Var]) -> set[Var]:
    """The variables whose value depends on one of ``start``, and these."""
    reached = set(start)
    for eqn in program.equations:
        if not reached.isdisjoint(_vars(eqn.inputs)):
            reached.update(eqn.outputs)
    return reached
