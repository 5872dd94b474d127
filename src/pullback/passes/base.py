"""What every pass is made of: its promise, its log, and the recursion into bodies.

Imports ``program``. Every file of this folder imports it; the pipeline itself is in ``pipeline``.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from typing import Any, Final, final

from pullback.errors import RegistrationError
from pullback.program.core import Atom, Equation, Program, Var, subprograms
from pullback.program.primitive import CONTROL, Primitive
from pullback.records import dataclass


class Promise(enum.IntEnum):
    """How far the results of a rewritten program may be from those of the program it came from."""

    EXACT = 0  # the same bits for all inputs, payloads and signs of nans excepted
    REASSOCIATES = 1  # the same real number, rounded in another order
    APPROXIMATES = 2  # equal for ordinary numbers: zeros' signs, nans, overflow may differ


EXACT: Final = Promise.EXACT
REASSOCIATES: Final = Promise.REASSOCIATES
APPROXIMATES: Final = Promise.APPROXIMATES


@dataclass(frozen=True, slots=True)
class Change:
    """What one rule did to one equation."""

    rule: str
    key: int
    primitive: str
    by: int | None  # key of the equation that computes its value now; None where none does
    scope: tuple[int, ...]  # keys of the equations whose body it is in, outermost first


@dataclass(frozen=True, slots=True)
class PassRecord:
    """One run of a pass: equations, those of all bodies included, before and after."""

    name: str
    promise: Promise
    before: int
    after: int
    milliseconds: float


@dataclass(slots=True)
class PassLog:
    """Everything the passes did: answers "where did equation 7 go?"."""

    changes: list[Change] = field(default_factory=list)
    passes: list[PassRecord] = field(default_factory=list)
    _scope: tuple[int, ...] = ()

    def record(self, rule: str, eqn: Equation, by: int | None = None) -> None:
        """Note that ``rule`` removed ``eqn``, or replaced it by the equation with the key ``by``.

        ``by`` is the equation's own key when the rule kept its outputs and computes them otherwise.
        """
        self.changes.append(Change(rule, eqn.key, eqn.primitive.name, by, self._scope))

    @contextlib.contextmanager
    def inside(self, eqn: Equation) -> Iterator[None]:
        """Attribute changes made in the block to a body of ``eqn``."""
        before, self._scope = self._scope, (*self._scope, eqn.key)
        try:
            yield
        finally:
            self._scope = before

    def fate(self, key: int, scope: tuple[int, ...] = ()) -> tuple[Change, ...]:
        """Return what happened to the equation ``key``, in order, following its replacements."""
        story = []
        for change in self.changes:
            if change.scope == scope and change.key == key:
                story.append(change)
                key = change.key if change.by is None else change.by
        return tuple(story)


PassFunction = Callable[[Program, PassLog], Program]


@final
@dataclass(frozen=True)
class Pass:
    """A named ``Program -> Program`` function with a promise, applied to bodies first."""

    name: str
    promise: Promise
    function: PassFunction
    bodies: bool = True

    @property
    def summary(self) -> str:
        """The first line of the function's docstring."""
        return (self.function.__doc__ or "").partition("\n")[0]

    def __call__(self, program: Program, log: PassLog | None = None) -> Program:
        """Return the rewritten program; the same object when nothing changed."""
        log = PassLog() if log is None else log
        if self.bodies:
            program = map_bodies(program, lambda body: self(body, log), log)
        return self.function(program, log)


PASSES: Final[dict[str, Pass]] = {}


def program_pass(
    name: str, promise: Promise = EXACT, *, bodies: bool = True
) -> Callable[[PassFunction], Pass]:
    """Register a pass under ``name``.

    Args:
        name: How reports call it; unique.
        promise: What it may do to results. ``numerics="strict"`` runs only ``EXACT`` passes.
        bodies: Apply it to the bodies of control flow too, before the program that holds them.

    Raises:
        RegistrationError: the name is taken.
    """

    def register(function: PassFunction) -> Pass:
        if name in PASSES:
            raise RegistrationError(f"a pass is named {name!r} already")
        made = Pass(name, promise, function, bodies)
        PASSES[name] = made
        return made

    return register


def map_bodies(
    program: Program, function: Callable[[Program], Program], log: PassLog | None = None
) -> Program:
    """Return ``program`` with ``function`` applied to the bodies of its control flow.

    A body that several equations share is rewritten once, and shared again. The same object is
    returned when no body changed.
    """
    rewritten: dict[int, Program] = {}
    equations = []
    for eqn in program.equations:
        if eqn.primitive.has(CONTROL):
            with log.inside(eqn) if log is not None else contextlib.nullcontext():
                primitive = _with_bodies(eqn.primitive, function, rewritten)
            if primitive is not eqn.primitive:
                eqn = replace(eqn, primitive=primitive)
        equations.append(eqn)
    return changed(program, equations)


def _with_bodies(
    primitive: Primitive, function: Callable[[Program], Program], rewritten: dict[int, Program]
) -> Primitive:
    def rewrite(value: Any) -> Any:
        if isinstance(value, Program):
            if id(value) not in rewritten:
                rewritten[id(value)] = function(value)
            return rewritten[id(value)]
        if isinstance(value, tuple):
            items = tuple(map(rewrite, value))
            return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
        return value

    before = primitive.parameters()
    after = {name: rewrite(value) for name, value in before.items()}
    if all(after[name] is before[name] for name in before):
        return primitive
    return replace(primitive, **after)


def changed(
    program: Program, equations: Iterable[Equation], outputs: tuple[Atom, ...] | None = None
) -> Program:
    """Return the program with these equations and outputs; ``program`` itself if it has them."""
    equations = tuple(equations)
    outputs = program.outputs if outputs is None else outputs
    if _same(equations, program.equations) and _same(outputs, program.outputs):
        return program
    return program.with_equations(equations, outputs)


def _same(these: tuple[Any, ...], those: tuple[Any, ...]) -> bool:
    return len(these) == len(those) and all(a is b for a, b in zip(these, those, strict=True))


def substitute(eqn: Equation, atoms: Mapping[Var, Atom]) -> Equation:
    """Return ``eqn`` reading ``atoms[v]`` for ``v``; the same object if it reads no such ``v``."""
    inputs = substitute_atoms(eqn.inputs, atoms)
    return eqn if inputs is eqn.inputs else eqn.with_inputs(inputs)


def substitute_atoms(given: tuple[Atom, ...], atoms: Mapping[Var, Atom]) -> tuple[Atom, ...]:
    """Return ``given`` with ``atoms[v]`` for ``v``; the same tuple if there is no such ``v``."""
    if any(isinstance(a, Var) and a in atoms for a in given):
        return tuple(atoms.get(a, a) if isinstance(a, Var) else a for a in given)
    return given


def count_equations(program: Program) -> int:
    """Return how many equations a program and the bodies in it have."""
    total = len(program.equations)
    for eqn in program.equations:
        if eqn.primitive.has(CONTROL):
            total += sum(map(count_equations, subprograms(eqn.primitive)))
    return total
