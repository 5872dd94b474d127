"""How often the loop of a program runs, read from the program's inputs.

Imports ``primitives``; ``executable`` uses it, to compare runs that do different amounts of work.
Start at ``find_trips``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pullback.primitives.bitwise import And
from pullback.primitives.cast import Convert
from pullback.primitives.comparison import Lt
from pullback.primitives.control import WhileLoop
from pullback.program.core import Atom, Equation, Literal, NDArray, Program


class Bound(NamedTuple):
    """A number that a loop counts from or to.

    Attributes:
        place: The input of the program that has it; None: it is always the same.
        number: Which number that is then.
    """

    place: int | None
    number: int = 0

    def value(self, arrays: Sequence[NDArray]) -> int:
        """The number in a run on these inputs."""
        return self.number if self.place is None else int(arrays[self.place])


class Trips(NamedTuple):
    """What a loop counts from, and to at most."""

    start: Bound
    stop: Bound

    def count(self, arrays: Sequence[NDArray]) -> int:
        """How often the loop runs on these inputs, and never less than 1."""
        return max(1, self.stop.value(arrays) - self.start.value(arrays))


def find_trips(program: Program) -> Trips | None:
    """The bounds of the only loop of ``program`` that runs while ``i < stop``; None without one.

    A condition that has more to it, ``(i < stop) & more``, counts as if it were always met. Loops
    whose trips are known when they are compiled, such as ``scan``, do the same work in each run.
    """
    found = [
        (eqn, eqn.primitive) for eqn in program.equations if isinstance(eqn.primitive, WhileLoop)
    ]
    if len(found) != 1:
        return None
    loop, primitive = found[0]
    compared = _comparison(primitive.condition, primitive.condition.outputs[0])
    if compared is None:
        return None
    places = dict(zip(primitive.condition.inputs, loop.inputs, strict=True))
    start, stop = (
        _bound(atom if isinstance(atom, Literal) else places.get(atom), program)
        for atom in compared.inputs
    )
    return None if start is None or stop is None else Trips(start, stop)


def _comparison(condition: Program, atom: Atom) -> Equation | None:
    """The ``i < stop`` that ``atom`` is, or is the conjunction of with something else."""
    eqn = next((eqn for eqn in condition.equations if atom in eqn.outputs), None)
    if eqn is not None and isinstance(eqn.primitive, And):
        parts = (_comparison(condition, part) for part in eqn.inputs)
        return next((part for part in parts if part is not None), None)
    return eqn if eqn is not None and isinstance(eqn.primitive, Lt) else None


def _bound(atom: Atom | None, program: Program) -> Bound | None:
    """Where the program has an operand of the loop from; None if it computes it."""
    for eqn in reversed(program.equations):
        if atom in eqn.outputs and isinstance(eqn.primitive, Convert):
            atom = eqn.inputs[0]
    if atom is None or atom.type.shape or atom.type.dtype.kind not in "iu":
        return None
    if isinstance(atom, Literal):
        return Bound(None, int(atom.value))
    return Bound(program.inputs.index(atom)) if atom in program.inputs else None
