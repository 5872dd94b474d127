"""The program: a flat list of equations over typed variables, single assignment, immutable.

Imports ``types`` and ``source``. Start at ``Program``; the text form is in ``printer``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.program.source import Origin, Source
from pullback.records import dataclass
from pullback.types import ArrayType, type_of

if TYPE_CHECKING:
    from pullback.program.primitive import Primitive

NDArray = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False, slots=True)
class Var:
    """A variable: assigned once. Identity is equality; its name is given when printing."""

    type: ArrayType

    def __repr__(self) -> str:
        return f"Var({self.type})"


@dataclass(frozen=True, slots=True)
class Literal:
    """A rank-0 constant written in the program's text."""

    value: np.generic

    @property
    def type(self) -> ArrayType:
        """The rank-0 type of the value."""
        return type_of(self.value)

    def __eq__(self, other: object) -> bool:
        # Bitwise: 0.0 and -0.0 are different literals, and a nan equals itself.
        return (
            isinstance(other, Literal)
            and self.value.dtype == other.value.dtype
            and self.value.tobytes() == other.value.tobytes()
        )

    def __hash__(self) -> int:
        return hash((self.value.dtype, self.value.tobytes()))


Atom = Var | Literal


@dataclass(frozen=True, eq=False, slots=True)
class Equation:
    """``outputs = primitive(inputs)``, with where it came from.

    ``key`` names the equation in reports and in the ``origin`` of equations made from it; it is
    unique in a program and survives every transformation.
    """

    primitive: Primitive
    inputs: tuple[Atom, ...]
    outputs: tuple[Var, ...]
    key: int
    source: Source | None = None
    origin: Origin | None = None

    @property
    def output(self) -> Var:
        """The only output of an equation that has one."""
        (out,) = self.outputs
        return out

    def with_inputs(self, inputs: tuple[Atom, ...]) -> Equation:
        """Return the same equation reading other atoms; its outputs are the same variables."""
        return replace(self, inputs=inputs)


@dataclass(frozen=True, eq=False, slots=True)
class Program:
    """A typed function of arrays: inputs and constants in, equations in order, outputs out.

    ``constants`` maps variables to captured arrays. An output may be any atom, also an input.
    """

    inputs: tuple[Var, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[Atom, ...]
    constants: tuple[tuple[Var, NDArray], ...] = ()
    name: str = field(default="main")

    @property
    def input_types(self) -> tuple[ArrayType, ...]:
        """Types of the inputs."""
        return tuple(v.type for v in self.inputs)

    @property
    def output_types(self) -> tuple[ArrayType, ...]:
        """Types of the outputs."""
        return tuple(a.type for a in self.outputs)

    def next_key(self) -> int:
        """Return the smallest equation key greater than every key in the program."""
        return max((eqn.key for eqn in self.equations), default=-1) + 1

    def with_equations(
        self, equations: tuple[Equation, ...], outputs: tuple[Atom, ...] | None = None
    ) -> Program:
        """Return the program with other equations and, if given, other outputs."""
        return replace(
            self, equations=equations, outputs=self.outputs if outputs is None else outputs
        )

    def __call__(self, *args: Any) -> Any:
        """Evaluate on NumPy arrays with the interpreter; one array or a tuple of them."""
        from pullback.program.interpret import interpret

        results = interpret(self, *args)
        return results[0] if len(results) == 1 else tuple(results)

    def __str__(self) -> str:
        from pullback.program.printer import print_program

        return print_program(self)


def subprograms(primitive: Primitive) -> Iterator[Program]:
    """Yield the programs among a primitive's parameters (the bodies of control flow)."""
    for value in primitive.parameters().values():
        if isinstance(value, Program):
            yield value
        elif isinstance(value, tuple):
            yield from (v for v in value if isinstance(v, Program))
