"""Checks the invariants that every transformation relies on and must keep.

Imports ``core`` and ``printer``. Start at ``verify``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from pullback.errors import VerificationError
from pullback.program.core import Atom, Equation, Literal, Program, Var, subprograms
from pullback.types import ArrayType


def verify(program: Program) -> None:
    """Check that ``program``, and every program inside it, is well formed.

    Every variable is assigned once and before it is read, every equation has the types that its
    primitive infers, constants have their variables' types, literals have rank 0, and keys are
    unique.

    Raises:
        VerificationError: it is not. The message names the equation, its source and the fault.

    Cost: one ``infer`` an equation.
    """
    _Verifier(program, f"program {program.name!r}").run()


class _Verifier:
    def __init__(self, program: Program, where: str) -> None:
        self.program = program
        self.where = where
        self.defined: set[Var] = set()
        self.keys: set[int] = set()

    def run(self) -> None:
        for position, var in enumerate(self.program.inputs):
            self.define(var, f"input {position}")
        for position, (var, array) in enumerate(self.program.constants):
            self.define(var, f"constant {position}")
            if (array.shape, array.dtype) != (var.type.shape, var.type.dtype):
                given = f"{array.dtype} array of shape {array.shape}"
                self.fail(f"constant {position}", f"its type is {var.type}, its value a {given}")
        for eqn in self.program.equations:
            self.equation(eqn)
        for position, atom in enumerate(self.program.outputs):
            self.read(atom, f"output {position}")

    def equation(self, eqn: Equation) -> None:
        what = describe(eqn)
        if eqn.key in self.keys:
            self.fail(what, f"key #{eqn.key} is used twice")
        self.keys.add(eqn.key)
        for atom in eqn.inputs:
            self.read(atom, what)
        for body in subprograms(eqn.primitive):
            _Verifier(body, f"{self.where}, {what}, body {body.name!r}").run()
        stated = tuple(var.type for var in eqn.outputs)
        inferred = self.inferred(eqn, what)
        if stated != inferred:
            self.fail(
                what, f"the outputs have the types {_list(stated)}, inferred are {_list(inferred)}"
            )
        for var in eqn.outputs:
            self.define(var, what)

    def inferred(self, eqn: Equation, what: str) -> tuple[ArrayType, ...]:
        given = tuple(atom.type for atom in eqn.inputs)
        try:
            types: Any = eqn.primitive.infer(*given)
        except Exception as error:
            raise VerificationError(
                f"{self.where}, {what}: its operands are {_list(given)}: {error}"
            ) from error
        return types if isinstance(types, tuple) else (types,)

    def define(self, var: Var, what: str) -> None:
        if var in self.defined:
            self.fail(what, f"a variable of type {var.type} is assigned a second time")
        self.defined.add(var)

    def read(self, atom: Atom, what: str) -> None:
        if isinstance(atom, Literal):
            if not isinstance(atom.value, np.generic):
                self.fail(what, f"literal {atom.value!r} is not a NumPy scalar (of rank 0)")
        elif atom not in self.defined:
            self.fail(what, f"a variable of type {atom.type} is read before it is assigned")

    def fail(self, what: str, fault: str) -> NoReturn:
        raise VerificationError(f"{self.where}, {what}: {fault}")


def describe(eqn: Equation) -> str:
    """Return how messages name an equation: ``equation #3 tanh (vjp of #1 exp, train.py:12)``."""
    return f"equation #{eqn.key} {eqn.primitive.name}{_provenance(eqn)}"


def _provenance(eqn: Equation) -> str:
    parts = ", ".join(map(str, _known(eqn)))
    return f" ({parts})" if parts else ""


def _known(eqn: Equation) -> Iterator[object]:
    if eqn.origin is not None:
        yield eqn.origin
    if eqn.source is not None:
        yield eqn.source


def _list(types: tuple[ArrayType, ...]) -> str:
    return f"({', '.join(map(str, types))})"
