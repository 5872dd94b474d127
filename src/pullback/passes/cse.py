"""Common subexpressions: equal equations are computed once.

Imports ``passes.base`` and ``program``. Start at ``eliminate_common_subexpressions``.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any, Final

from pullback.passes.base import PassLog, changed, program_pass, substitute, substitute_atoms
from pullback.program.core import Atom, Equation, Literal, NDArray, Program, Var
from pullback.program.primitive import COMMUTATIVE, CONTROL, IDENTITY, Primitive
from pullback.program.printer import program_text

#: Longer constants are equal only if they are the same array.
MAX_COMPARED_BYTES: Final = 4096


@program_pass("common-subexpressions")
def eliminate_common_subexpressions(program: Program, log: PassLog) -> Program:
    """Compute each equation once; later ones with the same primitive and operands read the first.

    Operands of commutative primitives may stand in either order; bodies of control flow are the
    same if their texts are. Every ``IDENTITY`` equation is one of its kind: a barrier is there so
    that what is computed from it is not merged with what is computed from its operand.

    rewrite:
        %2 = mul %0 %1
        %3 = mul %1 %0      ->      %2 = mul %0 %1
        %4 = add %2 %3              %4 = add %2 %2
    """
    constants, atoms = _merge_constants(program)
    numbers: dict[Var, int] = {}
    first: dict[Hashable, Equation] = {}
    equations = []
    for eqn in program.equations:
        eqn = substitute(eqn, atoms)
        key = _key(eqn, numbers)
        kept = eqn if key is None else first.setdefault(key, eqn)
        if kept is eqn:
            equations.append(eqn)
        else:
            atoms.update(zip(eqn.outputs, kept.outputs, strict=True))
            log.record("common-subexpressions", eqn, kept.key)
    merged = changed(program, equations, substitute_atoms(program.outputs, atoms))
    if len(constants) != len(program.constants):
        merged = replace(merged, constants=constants)
    return merged


def _key(eqn: Equation, numbers: dict[Var, int]) -> Hashable | None:
    """Return what equal equations have in common; None for equations that equal no other."""
    primitive = eqn.primitive
    if primitive.has(IDENTITY):
        return None
    inputs = [_atom_key(atom, numbers) for atom in eqn.inputs]
    if primitive.has(COMMUTATIVE):
        inputs.sort(key=repr)
    key = (type(primitive), _parameters_key(primitive), tuple(inputs))
    try:
        hash(key)
    except TypeError:  # a host function that is not hashable
        return None
    return key


def _atom_key(atom: Atom, numbers: dict[Var, int]) -> Hashable:
    if isinstance(atom, Literal):
        return atom
    return numbers.setdefault(atom, len(numbers))


def _parameters_key(primitive: Primitive) -> Hashable:
    if not primitive.has(CONTROL):
        return primitive
    return tuple(map(_value_key, primitive.parameters().values()))


def _value_key(value: Any) -> Any:
    if isinstance(value, Program):
        return program_text(value)
    return tuple(map(_value_key, value)) if isinstance(value, tuple) else value


def _merge_constants(
    program: Program,
) -> tuple[tuple[tuple[Var, NDArray], ...], dict[Var, Atom]]:
    """Return the different constants, and by which of them the others are replaced."""
    first: dict[Hashable, Var] = {}
    atoms: dict[Var, Atom] = {}
    for var, array in program.constants:
        small = array.nbytes <= MAX_COMPARED_BYTES
        kept = first.setdefault((var.type, array.tobytes() if small else id(array)), var)
        if kept is not var:
            atoms[var] = kept
    return tuple((v, a) for v, a in program.constants if v not in atoms), atoms
