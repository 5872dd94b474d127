"""A program's equations as nodes: which rule translates a primitive, and the values it reads.

Imports ``graph`` and ``symbolic``; the rules are in the other modules of ``export``, one file a
family, each under ``@translates``. Start at ``Translator.program``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from pullback.export.dimensions import Dim
from pullback.export.errors import ExportError
from pullback.export.graph import Graph, Name, Root
from pullback.program.core import Atom, Equation, Program, Var
from pullback.program.primitive import ELEMENTWISE, IDENTITY, Primitive
from pullback.records import dataclass
from pullback.types import FLOAT8, ArrayType, DType


@dataclass
class Operand:
    """A value of the program in the graph.

    Attributes:
        type: What it is in the program.
        name: The graph's value, which may have length 1, or no axis at all, where the program's
            is repeated: elementwise operators repeat by themselves.
        shape: The shape of the graph's value; it broadcasts to that of ``type``.
    """

    type: ArrayType
    name: Name
    shape: tuple[int, ...]

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.type.dtype


Rule = Callable[["Translator", Any, Equation, tuple[Operand, ...]], "Name | Operand | list[Name]"]
R = TypeVar("R", bound=Callable[..., Any])

_RULES: dict[type[Primitive], Callable[..., Any]] = {}


def translates(*primitives: type[Primitive]) -> Callable[[R], R]:
    """Register a rule: it gets the translator, the primitive and one operand for each of its own.

    It returns the name of a graph's value of exactly the output's type, a list of them where the
    primitive has several outputs, or an ``Operand``.
    """

    def register(rule: R) -> R:
        for primitive in primitives:
            _RULES[primitive] = rule
        return rule

    return register


def is_translated(primitive: type[Primitive]) -> bool:
    """Whether there is a rule."""
    return primitive in _RULES


class Refusal(Exception):
    """A rule cannot translate these parameters or types; the message completes ``cannot ...``."""


class Translator:
    """Translates programs into graphs of one model."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.graph = Graph(root)
        #: Which equation makes a variable, for rules that recognise several equations as one.
        self.makers: dict[Var, Equation] = {}
        self._values: dict[Var, Operand] = {}

    # Values

    def read(self, atom: Atom) -> Operand:
        """The operand of an atom."""
        if isinstance(atom, Var):
            return self._values[atom]
        return Operand(atom.type, self.root.constant(np.asarray(atom.value)), ())

    def bind(self, var: Var, name: Name) -> None:
        """Let ``var`` be the graph's value ``name``."""
        self._values[var] = Operand(var.type, name, var.type.shape)

    def full(self, x: Operand) -> Name:
        """The graph's value with all elements; expanded at most once."""
        if x.shape != x.type.shape:
            x.name = self.graph.expand(x.name, x.shape, x.type.shape)
            x.shape = x.type.shape
        return x.name

    def maker(self, atom: Atom, kind: type[Primitive]) -> Equation | None:
        """The equation that makes ``atom``, if it is one of ``kind``."""
        eqn = self.makers.get(atom) if isinstance(atom, Var) else None
        return eqn if eqn is not None and isinstance(eqn.primitive, kind) else None

    def require(self, opset: int) -> None:
        """Refuse what the version of ONNX's operators that is written does not have."""
        if self.root.opset < opset:
            raise Refusal(f"ONNX has it from opset_version {opset} on")

    # Equations

    def program(self, program: Program, args: Sequence[Operand]) -> list[Operand]:
        """Write the nodes of a program into the current graph; return its outputs."""
        for var, x in zip(program.inputs, args, strict=True):
            self._values[var] = x
        for var, array in program.constants:
            self.bind(var, self.root.constant(array))
        for eqn in program.equations:
            self.makers.update(dict.fromkeys(eqn.outputs, eqn))
            self.equation(eqn)
        return [self.read(atom) for atom in program.outputs]

    def equation(self, eqn: Equation) -> None:
        """Write the nodes of one equation."""
        rule = _RULES.get(type(eqn.primitive))
        if rule is None:
            raise _unsupported(eqn, "there is no such operation in ONNX, or none is known here")
        if eqn.source is not None and eqn.source.path:
            self.graph.scope = "/".join(eqn.source.path)
        operands = tuple(map(self.read, eqn.inputs))
        try:
            self._check_float8(eqn)
            result = rule(self, eqn.primitive, eqn, operands)
        except Refusal as refusal:
            raise _unsupported(eqn, str(refusal)) from None
        if isinstance(result, Operand):
            self._values[eqn.output] = result
            return
        names = [result] if isinstance(result, str) else result
        for var, name in zip(eqn.outputs, names, strict=True):
            self.bind(var, name)

    def _check_float8(self, eqn: Equation) -> None:
        if not any(x.type.dtype in FLOAT8 for x in (*eqn.inputs, *eqn.outputs)):
            return
        self.require(19)
        if not eqn.primitive.traits & (ELEMENTWISE | IDENTITY):
            raise Refusal(
                "ONNX has no such operation on 8-bit floats; convert them before with "
                "x.astype('float32')"
            )


def _unsupported(eqn: Equation, why: str) -> ExportError:
    types = ", ".join(str(a.type) for a in eqn.inputs)
    source = eqn.source
    layer = f"layer {'/'.join(source.path)}: " if source is not None and source.path else ""
    where = f", at {source.file}:{source.line}" if source is not None else ""
    return ExportError(
        f"{layer}`{eqn.primitive.name}` of ({types}) cannot be exported to ONNX: {why}{where}. "
        "Leave it out of the exported model, or write it with other operations; "
        "docs/reference/onnx.md lists those that can be exported."
    )


def has_free_lengths(shape: Sequence[int]) -> bool:
    """Whether a length is free."""
    return any(isinstance(n, Dim) for n in shape)
