"""Both sides of a rewrite rule for certain types, and where its left side occurs in a program.

Imports ``program``. Start at ``Instance``; rules and their application are in ``rewrite``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from functools import cached_property

from pullback.program.core import Atom, Equation, Literal, Var
from pullback.program.primitive import COMMUTATIVE, Primitive
from pullback.records import dataclass


@dataclass(frozen=True, eq=False)
class Instance:
    """Two atoms, computed by equations from shared inputs: pattern and replacement."""

    inputs: tuple[Var, ...]
    producers: Mapping[Var, Equation]
    left: Var
    right: Atom

    @cached_property
    def root(self) -> Equation:
        """The equation that makes the left side."""
        return self.producers[self.left]

    @cached_property
    def literals(self) -> set[Atom]:
        """The literals that the root reads."""
        return {atom for atom in self.root.inputs if isinstance(atom, Literal)}

    def leaves(self) -> Iterator[Atom]:
        """Yield the inputs and literals of the left side."""
        pending: list[Atom] = [self.left]
        while pending:
            atom = pending.pop()
            if isinstance(atom, Var) and atom in self.producers:
                pending += self.producers[atom].inputs
            else:
                yield atom

    def replacement(self, found: Mapping[Atom, Atom]) -> list[Equation]:
        """Return the equations of the right side that are not among those found, in order."""
        added: dict[int, Equation] = {}
        pending = [self.right]
        while pending:
            atom = pending.pop()
            if isinstance(atom, Var) and atom not in found:
                eqn = self.producers[atom]
                added[eqn.key] = eqn
                pending += eqn.inputs
        return [added[key] for key in sorted(added)]


def operand_kinds(eqn: Equation, producers: Mapping[Var, Equation]) -> set[type]:
    """Return what the operands are: ``Literal``, or the primitives' classes that made them.

    An equation that has not all the kinds of a pattern's root is no occurrence of the pattern: a
    test that is much cheaper than matching.
    """
    kinds: set[type] = set()
    for atom in eqn.inputs:
        if isinstance(atom, Literal):
            kinds.add(Literal)
        elif atom in producers:
            kinds.add(type(producers[atom].primitive))
    if len(set(eqn.inputs)) < len(eqn.inputs):
        kinds.add(Repeated)
    return kinds


class Repeated:
    """The kind of an operand that is there twice."""


@dataclass(frozen=True, slots=True)
class Match:
    """What the atoms and the primitives of a pattern stand for."""

    atoms: dict[Atom, Atom] = field(default_factory=dict)
    primitives: dict[Primitive, Primitive] = field(default_factory=dict)


class Matcher:
    """Finds occurrences of patterns, in time that depends on the pattern alone.

    Loose matching finds out which types, constants and parameters a rule must be traced for: there,
    primitives need only be of the pattern's class, and literals only be literals.
    """

    def __init__(self, definitions: Mapping[Var, Equation]) -> None:
        self.definitions = definitions

    def matches(self, pattern: Instance, eqn: Equation, *, loose: bool = False) -> Iterator[Match]:
        """Yield the ways in which ``eqn`` is an occurrence of the pattern's left side."""
        return self._equation(pattern, pattern.root, eqn, Match(), loose)

    def _equation(
        self, pattern: Instance, wanted: Equation, eqn: Equation, match: Match, loose: bool
    ) -> Iterator[Match]:
        if not _same_primitive(wanted.primitive, eqn.primitive, match, loose):
            return
        if len(eqn.outputs) != 1 or len(wanted.inputs) != len(eqn.inputs):
            return
        match = Match(
            {**match.atoms, wanted.output: eqn.output},
            {**match.primitives, wanted.primitive: eqn.primitive},
        )
        yield from self._all(pattern, wanted.inputs, eqn.inputs, match, loose)
        if eqn.primitive.has(COMMUTATIVE) and eqn.inputs[0] is not eqn.inputs[1]:
            yield from self._all(pattern, wanted.inputs, eqn.inputs[::-1], match, loose)

    def _all(
        self,
        pattern: Instance,
        wanted: tuple[Atom, ...],
        atoms: tuple[Atom, ...],
        match: Match,
        loose: bool,
    ) -> Iterator[Match]:
        if not wanted:
            yield match
            return
        for extended in self._atom(pattern, wanted[0], atoms[0], match, loose):
            yield from self._all(pattern, wanted[1:], atoms[1:], extended, loose)

    def _atom(
        self, pattern: Instance, wanted: Atom, atom: Atom, match: Match, loose: bool
    ) -> Iterator[Match]:
        if wanted in match.atoms:
            if match.atoms[wanted] == atom:
                yield match
        elif isinstance(wanted, Var) and wanted in pattern.producers:
            eqn = self.definitions.get(atom) if isinstance(atom, Var) else None
            if eqn is not None:
                yield from self._equation(pattern, pattern.producers[wanted], eqn, match, loose)
        elif _same_leaf(wanted, atom, loose):
            yield Match({**match.atoms, wanted: atom}, match.primitives)


def _same_primitive(wanted: Primitive, given: Primitive, match: Match, loose: bool) -> bool:
    if type(wanted) is not type(given):
        return False
    return match.primitives.get(wanted, given) == given if loose else wanted == given


def _same_leaf(wanted: Atom, atom: Atom, loose: bool) -> bool:
    if isinstance(wanted, Literal):
        return isinstance(atom, Literal) if loose else wanted == atom
    return loose or wanted.type == atom.type
