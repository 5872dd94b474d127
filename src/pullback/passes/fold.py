"""Constant folding: equations of constants are computed once, by the interpreter.

Imports ``passes.base`` and ``program``. Start at ``fold_constants``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from pullback.passes.base import PassLog, changed, program_pass, substitute, substitute_atoms
from pullback.program.core import Atom, Equation, Literal, NDArray, Program, Var
from pullback.program.interpret import interpret
from pullback.program.primitive import CONTROL, HOST, IDENTITY, LAYOUT

#: Results of more elements are folded only if they are no larger than the operands together.
MAX_ELEMENTS: Final = 64


@program_pass("fold-constants")
def fold_constants(program: Program, log: PassLog) -> Program:
    """Replace equations that read only literals and constants by their values.

    Values of rank 0 become literals, others constants of the program. Layout of a literal stays
    as it is: a broadcast zero is cheaper than an array of zeros.

    rewrite:
        %1 = add 1.0 2.0            %1 = add 1.0 2.0
        %2 = mul %0 %1      ->      %2 = mul %0 3.0
    """
    arrays = {var: array for var, array in program.constants if array.shape}
    literals: dict[Var, Atom] = {v: _literal(a) for v, a in program.constants if not a.shape}
    equations = []
    for eqn in program.equations:
        eqn = substitute(eqn, literals)
        values = _fold(eqn, arrays)
        if values is None:
            equations.append(eqn)
            continue
        log.record("fold-constants", eqn)
        for var, value in zip(eqn.outputs, values, strict=True):
            if value.shape:
                arrays[var] = value
            else:
                literals[var] = _literal(value)
    outputs = substitute_atoms(program.outputs, literals)
    folded = changed(program, equations, outputs)
    return folded if folded is program else replace(folded, constants=tuple(arrays.items()))


def _literal(array: NDArray) -> Literal:
    scalar: Any = array[()]
    return Literal(scalar)


def _fold(eqn: Equation, arrays: dict[Var, NDArray]) -> tuple[NDArray, ...] | None:
    variables = [atom for atom in eqn.inputs if isinstance(atom, Var)]
    if not eqn.inputs or not all(var in arrays for var in variables):
        return None
    primitive = eqn.primitive
    if any(map(primitive.has, (CONTROL, HOST, IDENTITY))):  # may run long; may be a barrier
        return None
    if primitive.has(LAYOUT) and not variables:
        return None
    size = sum(var.type.size for var in eqn.outputs)
    if size > max(MAX_ELEMENTS, sum(atom.type.size for atom in eqn.inputs)):
        return None
    given = tuple(dict.fromkeys(variables))
    alone = Program(given, (eqn,), eqn.outputs)
    return interpret(alone, *(arrays[var] for var in given))
