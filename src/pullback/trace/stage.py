"""Staging: a flat Python function of arrays becomes a ``Program``, with what it read from outside.

Imports ``program``. ``jit``, ``cond``, ``scan`` and the rest stage through ``stage``; start there.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pullback.primitives.custom import StopGradient
from pullback.program.builder import Builder
from pullback.program.core import Atom, Equation, Literal, Program, Var
from pullback.program.value import Array, Tracer, Value, as_value
from pullback.records import dataclass
from pullback.types import FLOATING, ArrayType

if TYPE_CHECKING:
    from pullback.trace.variable import Variable


class StageBuilder(Builder):
    """A builder that user code runs in: it also knows the variables read and assigned there.

    Attributes:
        reads: Variables that were read before they were assigned; each is an input.
        updates: Variables that were assigned; the value of each is an output.
    """

    def __init__(self, first_key: int = 0) -> None:
        super().__init__(first_key)
        self.reads: list[Variable] = []
        self.updates: list[Variable] = []
        #: What reading a variable gives, and what was assigned to it last.
        self._values: dict[int, Tracer] = {}
        self._assigned: dict[int, Tracer] = {}
        self._literals: list[weakref.ref[Array]] = []

    def read_variable(self, variable: Variable) -> Tracer:
        """What ``variable`` holds at this point of the trace; the first time, a new input."""
        value = self._values.get(id(variable))
        if value is None:
            assigned = self._assigned.get(id(variable))
            if assigned is None:
                value = self.input(variable.type)
                self.reads.append(variable)
            else:
                # No derivative flows through an assignment, in a program as in eager mode.
                value = _cut(assigned)
            self._values[id(variable)] = value
        return value

    def assign_variable(self, variable: Variable, value: Value) -> None:
        """Let ``variable`` hold ``value`` from this point of the trace on."""
        if not any(v is variable for v in self.updates):
            self.updates.append(variable)
        self._assigned[id(variable)] = self.lift(value)
        self._values.pop(id(variable), None)

    def updated_values(self) -> list[Tracer]:
        """What the variables in ``updates`` hold now."""
        return [self._assigned[id(variable)] for variable in self.updates]

    def lift(self, x: Value) -> Tracer:
        """Return ``x`` as a tracer of this builder, noting arrays that became literals."""
        tracer = super().lift(x)
        if isinstance(tracer.atom, Literal) and isinstance(x, Array):
            self._literals.append(weakref.ref(x))
        return tracer

    def living_literals(self) -> tuple[Array, ...]:
        """Arrays that became literals and that something outside still holds."""
        found = {id(x): x for ref in self._literals if (x := ref()) is not None}
        return tuple(found.values())


def _cut(x: Tracer) -> Tracer:
    """``x`` without its derivative; to a tape a source and not a result."""
    if x.dtype not in FLOATING:
        return x
    result: Tracer = StopGradient()(x)
    return result


@dataclass(frozen=True, eq=False)
class Staged:
    """A function that was traced.

    Attributes:
        program: Inputs are the arguments, then ``reads``, then ``captures``; outputs are the
            results, then ``updates``.
        captures: Values from outside that the function used.
        reads: Variables whose value at the start is an input.
        updates: Variables whose value at the end is an output. One that is assigned before it is
            read, or never read, is not in ``reads``.
        weak: Whether each result is weak in promotion.
        literals: Arrays from outside that were written into the program as literals.
    """

    program: Program
    captures: tuple[Value, ...] = ()
    reads: tuple[Variable, ...] = ()
    updates: tuple[Variable, ...] = ()
    weak: tuple[bool, ...] = ()
    literals: tuple[Array, ...] = ()

    @property
    def num_args(self) -> int:
        """Number of inputs that are arguments of the function."""
        return len(self.program.inputs) - len(self.reads) - len(self.captures)

    @property
    def num_results(self) -> int:
        """Number of outputs that are results of the function."""
        return len(self.program.outputs) - len(self.updates)

    def operands(self) -> list[Value]:
        """What to pass after the arguments: what the variables hold now, and the captures."""
        return [*(variable.read() for variable in self.reads), *self.captures]

    def assign(self, outputs: Sequence[Any]) -> tuple[Any, ...]:
        """Write the updates among the program's ``outputs`` back; return the results."""
        for variable, value in zip(self.updates, outputs[self.num_results :], strict=True):
            variable.assign(value)
        return tuple(outputs[: self.num_results])


def stage(
    f: Callable[..., Sequence[Any]],
    arg_types: Sequence[ArrayType],
    *,
    weak: Sequence[bool] | None = None,
    name: str = "main",
) -> Staged:
    """Trace ``f`` on arguments of the given types.

    Args:
        f: Takes one tracer an argument and returns a flat sequence of values. Whatever arrays it
            uses besides are captured; variables that it reads or assigns are listed.
        arg_types: Types of the arguments.
        weak: Which arguments are weak in promotion. Default: none.
        name: Name of the program.

    Raises:
        LeakedTracerError: ``f`` uses a tracer of a trace that is over.
        PullbackError: whatever an operation that ``f`` applies raises.
    """
    flags = [False] * len(arg_types) if weak is None else weak
    b = StageBuilder()
    with b:
        args = [b.input(t, weak=w) for t, w in zip(arg_types, flags, strict=True)]
        results = [b.lift(as_value(x)) for x in f(*args)]
        program = b.finish([*results, *b.updated_values()], name)
    return Staged(
        program,
        tuple(b.captures),
        tuple(b.reads),
        tuple(b.updates),
        tuple(x.weak for x in results),
        b.living_literals(),
    )


def unify(staged: Sequence[Staged], *, carry: bool = False) -> list[Staged]:
    """Give several staged functions the same inputs after the arguments and the same updates.

    A function that does not assign a variable which another one assigns returns what it got.

    Args:
        staged: For example the branches of a ``cond``. Captures and variables are united in order
            of first use.
        carry: Make every updated variable an input of all, as the body of a loop needs. No
            derivative flows from one step to the next through a variable.
    """
    captures = _unite(s.captures for s in staged)
    updates = _unite(s.updates for s in staged)
    reads = _unite(s.reads for s in staged)
    for variable in updates:
        if carry or any(not _contains(s.updates, variable) for s in staged):
            reads = _unite([reads, [variable]])
    united = [_with_interface(s, reads, captures, updates) for s in staged]
    return [_with_cut_updates(s) for s in united] if carry else united


def _unite(groups: Iterable[Sequence[Any]]) -> tuple[Any, ...]:
    return tuple({id(x): x for group in groups for x in group}.values())


def _contains(group: Sequence[Any], x: Any) -> bool:
    return any(y is x for y in group)


def _with_interface(
    staged: Staged,
    reads: tuple[Variable, ...],
    captures: tuple[Value, ...],
    updates: tuple[Variable, ...],
) -> Staged:
    program, count = staged.program, staged.num_args
    extra: tuple[Any, ...] = (*staged.reads, *staged.captures)
    known = {id(x): v for x, v in zip(extra, program.inputs[count:], strict=True)}
    inputs = {id(x): known.get(id(x)) or Var(x.type) for x in (*reads, *captures)}
    updated = zip(staged.updates, program.outputs[staged.num_results :], strict=True)
    final: dict[int, Atom] = {**inputs, **{id(v): atom for v, atom in updated}}
    return replace(
        staged,
        program=replace(
            program,
            inputs=(*program.inputs[:count], *inputs.values()),
            outputs=(*program.outputs[: staged.num_results], *(final[id(v)] for v in updates)),
        ),
        captures=captures,
        reads=reads,
        updates=updates,
    )


def _with_cut_updates(staged: Staged) -> Staged:
    program, count = staged.program, staged.num_results
    equations, outputs = [*program.equations], [*program.outputs]
    for j, atom in enumerate(outputs[count:], count):
        if atom.type.dtype in FLOATING and atom not in program.inputs:
            outputs[j] = held = Var(atom.type)
            equations.append(Equation(StopGradient(), (atom,), (held,), program.next_key() + j))
    return replace(staged, program=program.with_equations((*equations,), (*outputs,)))
