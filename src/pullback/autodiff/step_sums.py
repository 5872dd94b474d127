"""Sums over the steps of a loop that need no loop: one contraction over all steps at once.

The cotangent of a loop's constant is a sum over the steps. Where each step adds a product, as for
the weights of a recurrent layer, the factors of all steps are stacked, and one matrix product
contracts the steps too: the sum is not read and written in every step, and the product is a large
one. Imports ``primitives``; ``scan`` uses it. Start at ``deferred_terms``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from pullback.autodiff.cotangents import add
from pullback.primitives.dot import Dot
from pullback.primitives.elementwise import Add
from pullback.primitives.reduce import ReduceSum
from pullback.program.core import Atom, Equation, Program, Var
from pullback.program.primitive import LAYOUT, Primitive
from pullback.program.value import Value
from pullback.records import dataclass

#: A sum in the loop reads and writes its total in each step.
_PASSES: Final = 2


@dataclass(frozen=True, slots=True)
class Term:
    """A part of a sum: ``primitive`` of stacked operands, then ``after``, the first one first."""

    primitive: Primitive
    operands: tuple[Var, ...]
    after: tuple[Primitive, ...]


def deferred_terms(
    program: Program, gradient: Atom, stacked: Collection[Var]
) -> tuple[Term, ...] | None:
    """Return what sums ``gradient`` over all steps, or None where the loop had better do it.

    Args:
        program: One step.
        gradient: A value of the program, to be summed over the steps.
        stacked: Variables whose values in all steps are at hand.

    Returns:
        Terms to be added up. Their operands that are not in ``stacked`` have to be stacked; they
        are smaller than what a sum in the loop moves.
    """
    made_by = {v: eqn for eqn in program.equations for v in eqn.outputs}
    varying = _varying(program, stacked)
    terms = _terms(gradient, (), made_by, stacked, varying)
    if terms is None:
        return None
    new = {v for term in terms for v in term.operands} - {*stacked}
    if sum(v.type.nbytes for v in new) > _PASSES * gradient.type.nbytes:
        return None
    return tuple(terms)


def _varying(program: Program, stacked: Collection[Var]) -> set[Var]:
    """What the program computes: inputs that are not stacked may be the same in every step."""
    return {*stacked, *(v for eqn in program.equations for v in eqn.outputs)}


def _terms(
    atom: Atom,
    after: tuple[Primitive, ...],
    made_by: Mapping[Var, Equation],
    stacked: Collection[Var],
    varying: Collection[Var],
) -> list[Term] | None:
    if not isinstance(atom, Var):
        return None
    if atom in stacked:
        return [Term(ReduceSum((0,)), (atom,), after)]
    eqn = made_by.get(atom)
    if eqn is None or not all(isinstance(a, Var) and a in varying for a in eqn.inputs):
        return None
    operands = tuple(a for a in eqn.inputs if isinstance(a, Var))
    match eqn.primitive:
        case Add() if operands[0].type == operands[1].type:
            parts = [_terms(a, after, made_by, stacked, varying) for a in operands]
            return None if None in parts else [t for part in parts for t in part or ()]
        case Dot() as dot:
            return [Term(_over_steps(dot), operands, after)]
        case ReduceSum() as total:
            return [Term(ReduceSum((0, *(a + 1 for a in total.axes))), operands, after)]
        case layout if layout.has(LAYOUT) and len(operands) == 1:
            return _terms(operands[0], (layout, *after), made_by, stacked, varying)
    return None


def _over_steps(dot: Dot) -> Dot:
    """The contraction of operands with a leading axis of steps, which is contracted too."""
    (x_axes, y_axes), (x_batch, y_batch) = dot.contract, dot.batch
    contract = (0, *(a + 1 for a in x_axes)), (0, *(a + 1 for a in y_axes))
    batch = tuple(a + 1 for a in x_batch), tuple(a + 1 for a in y_batch)
    return Dot(contract, batch, dot.dtype)


def sum_terms(terms: Sequence[Term], stacks: Mapping[Var, Value]) -> Value:
    """Add up ``terms``, whose operands have the stacked values ``stacks``."""
    total: Value | None = None
    for term in terms:
        value: Any = term.primitive(*(stacks[v] for v in term.operands))
        for primitive in term.after:
            value = primitive(value)
        total = add(total, value)
    if total is None:
        raise ValueError("there are no terms")
    return total
