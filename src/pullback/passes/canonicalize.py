"""One form for what can be written in several ways, so that later passes need to know only one.

Imports ``passes.base`` and ``primitives``. Start at ``canonicalize``; canonical forms that are
rewrites of a few equations are rules: transposed operands of contractions in ``layout_rules``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pullback.passes.base import PassLog, changed, program_pass, substitute, substitute_atoms
from pullback.primitives.shape import Broadcast, Reshape
from pullback.program.core import Atom, Equation, Program, Var
from pullback.program.primitive import ELEMENTWISE, IDENTITY, LAYOUT


@program_pass("canonicalize")
def canonicalize(program: Program, log: PassLog) -> Program:
    """Remove identities that mattered to differentiation alone, and repetition of one number.

    ``stop_gradient`` and its like have done their work. Elementwise primitives read a repeated
    number as an operand of rank 0; layout of a repeated number is the number, repeated. Axes of
    length 1 are added and removed after elementwise primitives, not before.

    rewrite:
        %1 = stop_gradient %0
        %2 = broadcast(shape=(3,), axes=(0,)) 2.0
        %3 = mul %1 %2                               ->      %3 = mul %0 2.0
        %4 = broadcast(shape=(3,), axes=(0,)) 1.0
        %5 = reshape(shape=(3, 1)) %4                ->      %5 = broadcast(…, axes=(0, 1)) 1.0

        %6 = reshape(shape=(3, 1)) %0                        %6 = log %0
        %7 = log %6                                  ->      %7 = reshape(shape=(3, 1)) %6
    """
    rewriter = _Canonicalizer(program, log)
    for eqn in program.equations:
        rewriter.equation(eqn)
    outputs = substitute_atoms(program.outputs, rewriter.atoms)
    return changed(program, rewriter.equations, outputs)


class _Canonicalizer:
    def __init__(self, program: Program, log: PassLog) -> None:
        self.log = log
        self.next_key = program.next_key()
        self.equations: list[Equation] = []
        self.atoms: dict[Var, Atom] = {}  # what a variable is replaced by
        self.numbers: dict[Var, Atom] = {}  # what a variable repeats in every element
        self.unshaped: dict[Var, Atom] = {}  # what a variable is, but for axes of length 1

    def equation(self, eqn: Equation) -> None:
        eqn = substitute(eqn, self.atoms)
        if eqn.primitive.has(IDENTITY) and eqn.primitive.differentiable == ():
            self.atoms[eqn.output] = eqn.inputs[0]
            self.log.record("erase-identity", eqn)
            return
        inputs = substitute_atoms(eqn.inputs, self.numbers)
        if inputs is not eqn.inputs:
            eqn = self.with_numbers(eqn, inputs)
        if eqn.primitive.has(ELEMENTWISE):
            eqn = self.without_unit_axes(eqn)
        self.note_layout(eqn)
        self.equations.append(eqn)

    def note_layout(self, eqn: Equation) -> None:
        if isinstance(eqn.primitive, Broadcast) and not eqn.inputs[0].type.shape:
            self.numbers[eqn.output] = eqn.inputs[0]
        elif isinstance(eqn.primitive, Reshape):
            before, after = eqn.inputs[0].type.shape, eqn.output.type.shape
            if before != after and _long_axes(before) == _long_axes(after):
                self.unshaped[eqn.output] = eqn.inputs[0]

    def with_numbers(self, eqn: Equation, inputs: tuple[Atom, ...]) -> Equation:
        """Return the equation in terms of the numbers that its operands repeat, if it can be."""
        if eqn.primitive.has(LAYOUT) and len(inputs) == 1:
            return self.repeated(eqn, inputs[0])
        if not eqn.primitive.has(ELEMENTWISE):
            return eqn
        if any(atom.type.shape for atom in inputs):
            self.log.record("read-number", eqn, eqn.key)
            return eqn.with_inputs(inputs)
        return self.computed(eqn, inputs, (), self.repeated)

    def without_unit_axes(self, eqn: Equation) -> Equation:
        """Return a reshape of what the equation is before axes of length 1 come and go."""
        inputs = substitute_atoms(eqn.inputs, self.unshaped)
        shapes = {atom.type.shape for atom in inputs if atom.type.shape}
        all_reshaped = all(
            new is not old or not old.type.shape
            for new, old in zip(inputs, eqn.inputs, strict=True)
        )
        if inputs is eqn.inputs or len(shapes) != 1 or not all_reshaped:
            return eqn
        return self.computed(eqn, inputs, shapes.pop(), self.reshaped)

    def computed(
        self,
        eqn: Equation,
        inputs: tuple[Atom, ...],
        shape: tuple[int, ...],
        lay_out: Callable[[Equation, Atom], Equation],
    ) -> Equation:
        """Add the same computation on operands of another shape; return its result laid out.

        The computation keeps the key of the equation.
        """
        value = Var(eqn.output.type.with_shape(shape))
        self.equations.append(replace(eqn, inputs=inputs, outputs=(value,)))
        self.next_key += 1
        return replace(lay_out(eqn, value), key=self.next_key - 1)

    def repeated(self, eqn: Equation, number: Atom) -> Equation:
        shape = eqn.output.type.shape
        self.log.record("repeat-number", eqn, eqn.key)
        repeat = Broadcast(shape, tuple(range(len(shape))))
        return replace(eqn, primitive=repeat, inputs=(number,))

    def reshaped(self, eqn: Equation, value: Atom) -> Equation:
        self.log.record("reshape-later", eqn, eqn.key)
        return replace(eqn, primitive=Reshape(eqn.output.type.shape), inputs=(value,))


def _long_axes(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]
