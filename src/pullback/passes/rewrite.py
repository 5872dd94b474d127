"""Rewrite rules: two traced functions and a promise, applied in one sweep.

Imports ``passes.base`` and ``passes.pattern``. Start at ``rule``; the rules are in ``rules``.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, final

from pullback.errors import DTypeError, RegistrationError, ShapeError, VerificationError
from pullback.passes.base import (
    EXACT,
    PassLog,
    Promise,
    changed,
    substitute,
    substitute_atoms,
)
from pullback.passes.pattern import Instance, Match, Matcher, operand_kinds
from pullback.program.builder import Builder
from pullback.program.core import Atom, Equation, Literal, Program, Var
from pullback.program.primitive import Primitive
from pullback.program.source import provenance
from pullback.program.value import Array, Value, as_value
from pullback.records import dataclass
from pullback.types import ArrayType, float32

#: What a rule returns: the two sides, or None where it does not hold.
Rewrite = tuple[Value, Value] | None
#: What an operand of a rule is traced for: a type, the very literal, or the very primitive.
Argument = ArrayType | Literal | Primitive

#: Rewrites begun by one equation after which the rules are taken to go round in a circle.
MAX_REWRITES: Final = 64


@final
@dataclass(frozen=True, eq=False)
class Rule:
    """A rewrite rule: its function, traced on symbolic values, gives pattern and replacement."""

    name: str
    promise: Promise
    function: Callable[..., Rewrite]
    cases: tuple[tuple[Argument, ...], ...]

    @functools.cached_property
    def skeleton(self) -> Instance:
        """The instance for the first case: which primitives the pattern is made of, and how."""
        instance = self.instance(self.cases[0])
        if instance is None:
            raise RegistrationError(f"rule {self.name!r} does not hold for its first case")
        if not set(instance.inputs) <= set(instance.leaves()):
            raise RegistrationError(f"rule {self.name!r}: an operand is not in its left side")
        return instance

    @functools.cached_property
    def kinds(self) -> set[type]:
        """What the operands of an equation must be for it to be an occurrence."""
        return operand_kinds(self.skeleton.root, self.skeleton.producers)

    def instance(self, arguments: Iterable[Argument]) -> Instance | None:
        """Trace both sides for these arguments; None where the rule does not hold for them."""
        return _instance(self, tuple(arguments))

    def arguments(self, match: Match) -> Iterator[Argument]:
        """Yield what a loose match of the skeleton found for each operand of the rule."""
        inputs = iter(self.skeleton.inputs)
        for example in self.cases[0]:
            if isinstance(example, ArrayType):
                yield match.atoms[next(inputs)].type
            elif isinstance(example, Literal):
                yield typing.cast(Literal, match.atoms[example])
            else:
                yield match.primitives[example]

    def occurrence(self, matcher: Matcher, eqn: Equation) -> tuple[Instance, Match] | None:
        """Return how ``eqn`` is an occurrence of the left side, if it is."""
        for loose in matcher.matches(self.skeleton, eqn, loose=True):
            instance = self.instance(self.arguments(loose))
            if instance is not None and instance.literals <= set(eqn.inputs):
                for match in matcher.matches(instance, eqn):
                    return instance, match
        return None


@functools.lru_cache(maxsize=4096)
def _instance(rule: Rule, arguments: tuple[Argument, ...]) -> Instance | None:
    with provenance(None, None), Builder() as b:
        try:
            sides = rule.function(*(_operand(b, a) for a in arguments))
        except (ShapeError, DTypeError, OverflowError):  # not defined for these types
            return None
        if sides is None:
            return None
        left, right = (b.lift(as_value(side)).atom for side in sides)
    if b.captures:
        raise RegistrationError(f"rule {rule.name!r} uses a constant that is not of rank 0")
    producers = {eqn.output: eqn for eqn in b.equations if len(eqn.outputs) == 1}
    if not isinstance(left, Var) or left not in producers:
        raise RegistrationError(f"rule {rule.name!r}: its left side is not an operation")
    return Instance(tuple(b.inputs), producers, left, right) if left.type == right.type else None


def _operand(b: Builder, argument: Argument) -> Any:
    if isinstance(argument, ArrayType):
        return b.input(argument)
    return as_value(argument.value) if isinstance(argument, Literal) else argument


# Declaring rules ----------------------------------------------------------------------------------

RULES: Final[dict[str, Rule]] = {}


def rule(
    promise: Promise = EXACT, cases: Sequence[tuple[Argument, ...]] = ()
) -> Callable[[Callable[..., Rewrite]], Rule]:
    """Register a rewrite rule, named after its function.

    The function's parameters are annotated ``Value`` (any operand), ``Array`` (a literal, whose
    value the rule may read), or with the class of a primitive (any primitive of this class). What
    occurs twice on the left must be the same in the program. The function is traced for each
    combination of types, literals and primitives that is met, so it may look at shapes, dtypes and
    parameters, and return None where it does not hold.

    Args:
        promise: What the rewrite may do to results.
        cases: Arguments that the rule holds for: an ``ArrayType`` for a Value, a ``Literal`` for an
            Array, a primitive. In the first, literals and primitives must be different from
            each other and from those written in the rule. By default one ``f32[3]`` for each Value.

    Raises:
        RegistrationError: the name is taken, or a parameter is annotated otherwise.
    """
    return lambda function: register_rule(make_rule(function, promise, cases))


def register_rule(made: Rule) -> Rule:
    """Add a rule to ``RULES``.

    Raises:
        RegistrationError: the name is taken.
    """
    if made.name in RULES:
        raise RegistrationError(f"a rule is named {made.name!r} already")
    RULES[made.name] = made
    return made


def make_rule(
    function: Callable[..., Rewrite],
    promise: Promise = EXACT,
    cases: Sequence[tuple[Argument, ...]] = (),
) -> Rule:
    """Return ``function`` as a rule, without registering it; see ``rule``."""
    name = function.__name__
    hints = typing.get_type_hints(function)
    kinds = [hints.get(parameter) for parameter in inspect.signature(function).parameters]
    for kind in kinds:
        if kind not in (Value, Array) and not _is_primitive_class(kind):
            raise RegistrationError(
                f"rule {name!r}: annotate parameters Value, Array or with a primitive's class"
            )
    if not cases:
        if set(kinds) != {Value}:
            raise RegistrationError(f"rule {name!r} needs cases")
        cases = ((ArrayType((3,), float32),) * len(kinds),)
    return Rule(name, promise, function, tuple(cases))


def _is_primitive_class(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Primitive)


# Applying rules -----------------------------------------------------------------------------------


def apply_rules(program: Program, rules: Iterable[Rule], log: PassLog) -> Program:
    """Rewrite every occurrence of the rules, what replaces it included, from first to last.

    The new equations have source and origin of the equation they replace. The one that computes
    its value has its key, too.

    Raises:
        VerificationError: the rules rewrite without end.

    Cost: linear in the size of the program.
    """
    sweep = _Sweep(program, rules, log)
    for eqn in program.equations:
        sweep.equation(eqn)
    outputs = substitute_atoms(program.outputs, sweep.replaced)
    return changed(program, sweep.equations, outputs)


class _Sweep:
    def __init__(self, program: Program, rules: Iterable[Rule], log: PassLog) -> None:
        self.log = log
        self.next_key = program.next_key()
        self.equations: list[Equation] = []
        self.definitions: dict[Var, Equation] = {}
        self.replaced: dict[Var, Atom] = {}
        self.matcher = Matcher(self.definitions)
        self.by_root: dict[type[Primitive], list[Rule]] = defaultdict(list)
        for rule in rules:
            self.by_root[type(rule.skeleton.root.primitive)].append(rule)

    def equation(self, first: Equation) -> None:
        pending, applied = [first], []
        while pending:
            eqn = substitute(pending.pop(), self.replaced)
            occurrence = self.occurrence(eqn)
            if occurrence is None:
                self.equations.append(eqn)
                self.definitions.update(dict.fromkeys(eqn.outputs, eqn))
                continue
            rule, instance, match = occurrence
            applied.append(rule.name)
            if len(applied) > MAX_REWRITES:
                raise VerificationError(
                    f"rewrite rules go round in a circle: {', '.join(sorted(set(applied)))}"
                )
            pending += reversed(self.rewrite(eqn, rule, instance, match))

    def occurrence(self, eqn: Equation) -> tuple[Rule, Instance, Match] | None:
        rules = self.by_root.get(type(eqn.primitive))
        if rules is None:
            return None
        kinds = operand_kinds(eqn, self.definitions)
        for rule in rules:
            if rule.kinds <= kinds:
                found = rule.occurrence(self.matcher, eqn)
                if found is not None:
                    return rule, *found
        return None

    def rewrite(
        self, eqn: Equation, rule: Rule, instance: Instance, match: Match
    ) -> list[Equation]:
        """Return the equations that compute ``eqn.output`` now, or note what it is equal to."""
        atoms = match.atoms
        if instance.right in atoms or isinstance(instance.right, Literal):
            value = atoms.get(instance.right, instance.right)
            self.replaced[eqn.output] = value
            made_by = self.definitions.get(value) if isinstance(value, Var) else None
            self.log.record(rule.name, eqn, None if made_by is None else made_by.key)
            return []
        added = []
        for new in instance.replacement(atoms):
            inputs = tuple(atoms.get(a, a) for a in new.inputs)
            last = new.output is instance.right
            output = eqn.output if last else Var(new.output.type)
            key = eqn.key if last else self.next_key
            self.next_key += not last
            atoms[new.output] = output
            added.append(
                replace(eqn, primitive=new.primitive, inputs=inputs, key=key, outputs=(output,))
            )
        self.log.record(rule.name, eqn, eqn.key)
        return added
