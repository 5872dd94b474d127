"""Control flow: primitives whose parameters are programs.

Imports ``program`` and ``derive``. Start at ``Scan``; ``Cond`` and ``WhileLoop`` have its form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from pullback.errors import DifferentiationError, DTypeError, ShapeError
from pullback.primitives.derive import HoldsPrograms
from pullback.program.core import Program
from pullback.program.interpret import interpret
from pullback.program.primitive import Cotangents, NDArray, primitive
from pullback.program.value import Value
from pullback.types import ArrayType, bool_, int32


@final
@primitive
class Cond(HoldsPrograms):
    """The outputs of ``branches[index]`` applied to the operands; only that branch is computed.

    Shapes: index: i32[] (clamped to the branches), operands: the inputs of every branch -> the
    outputs of every branch.   Cost: that of the branch taken.
    Residuals: the branches share slots by type, so the memory is that of the branch that needs
    most; slots that the branch taken does not use hold zeros.
    Non-differentiable points: none are added; the index has no derivative.
    Reference: JAX ``lax.switch``.
    """

    branches: tuple[Program, ...]
    name = "cond"

    def infer(self, index: ArrayType, *operands: ArrayType) -> tuple[ArrayType, ...]:
        """Types of the branches' outputs, which must agree."""
        if index != ArrayType((), int32):
            raise DTypeError(f"cond: the branch index has type {index}, expected i32[]")
        first = self.branches[0]
        for number, branch in enumerate(self.branches):
            check_operands(f"cond: branch {number}", branch.input_types, operands)
            if branch.output_types != first.output_types:
                raise ShapeError(
                    f"cond: branch 0 returns {listed(first.output_types)}, branch {number} "
                    f"returns {listed(branch.output_types)}; all branches must agree"
                )
        return first.output_types

    def evaluate(self, index: NDArray, *operands: NDArray) -> tuple[NDArray, ...]:
        """Interpret the branch that the clamped index names."""
        taken = self.branches[min(max(int(index), 0), len(self.branches) - 1)]
        return tuple(interpret(taken, *operands))


@final
@primitive
class WhileLoop(HoldsPrograms):
    """Repeat ``carry = body(constants, carry)`` while ``condition(constants, carry)`` holds.

    Shapes: the first ``constants`` operands are read only, the rest is the carry, whose types the
    body keeps -> the carry.      Cost: that of the iterations made; O(1) memory.
    Residuals: unbounded, hence no reverse mode: use ``scan``. Forward mode works.
    Reference: JAX ``lax.while_loop``.
    """

    condition: Program
    body: Program
    constants: int
    name = "while_loop"

    def infer(self, *operands: ArrayType) -> tuple[ArrayType, ...]:
        """Types of the carry."""
        check_operands("while_loop: the condition", self.condition.input_types, operands)
        check_operands("while_loop: the body", self.body.input_types, operands)
        if self.condition.output_types != (ArrayType((), bool_),):
            raise DTypeError(
                f"while_loop: the condition returns {listed(self.condition.output_types)}, "
                "expected bool[]"
            )
        carry = tuple(operands[self.constants :])
        _check_carry("while_loop", carry, self.body.output_types)
        return carry

    def evaluate(self, *operands: NDArray) -> tuple[NDArray, ...]:
        """Interpret condition and body in turn."""
        constants, carry = operands[: self.constants], operands[self.constants :]
        while interpret(self.condition, *constants, *carry)[0]:
            carry = tuple(interpret(self.body, *constants, *carry))
        return tuple(carry)

    def partial_vjp(
        self,
        cts: Sequence[Value | None],
        outs: Sequence[Value],
        args: Sequence[Value],
        wanted: Sequence[bool],
    ) -> Cotangents:
        """Refused: the number of iterations, and so of residuals, is not known."""
        raise DifferentiationError(
            "reverse-mode differentiation through `while_loop` is not defined, because the number "
            "of iterations to keep residuals for is not known. Use `scan`, or `fori_loop` with "
            "bounds that are Python integers; `jvp` (forward mode) works through `while_loop`."
        )


@final
@primitive
class Scan(HoldsPrograms):
    """Apply ``body`` to each slice of ``xs`` in turn, carrying a state; stack what it puts out.

    Shapes: (*constants, *carry, *xs: T[length, ...]) -> (*carry, *ys: T[length, ...]) where
    ``body(*constants, *carry, *slices of xs) -> (*carry, *slices of ys)``. ``reverse`` goes from
    the last slice to the first; ``ys[i]`` belongs to ``xs[i]`` either way.
    Cost: ``length`` times the body's.
    Residuals: what the body's pullback needs and cannot cheaply recompute, stacked over the
    steps; loop-invariant values are kept once, slices of ``xs`` and ``ys`` are not kept again.
    Differentiation: a second scan in the other direction, carrying the cotangents of the carry
    and the sums for the constants. ``passes.merge_scans`` removes the forward scan that kept no
    residuals, so that a compiled gradient makes each step once.
    Reference: JAX ``lax.scan``; Griewank & Walther 2008, "Evaluating Derivatives", ch. 4.
    """

    body: Program
    length: int
    reverse: bool
    constants: int
    carry: int
    name = "scan"

    def infer(self, *operands: ArrayType) -> tuple[ArrayType, ...]:
        """Types of the carry, then of the stacked outputs."""
        constants, carry, xs = self.parts(operands)
        for x in xs:
            if x.shape[:1] != (self.length,):
                raise ShapeError(
                    f"scan: an operand of type {x} is scanned, expected a leading axis of length "
                    f"{self.length}"
                )
        slices = tuple(x.with_shape(x.shape[1:]) for x in xs)
        check_operands("scan: the body", self.body.input_types, (*constants, *carry, *slices))
        outputs = self.body.output_types
        _check_carry("scan", carry, outputs[: self.carry])
        stacked = (y.with_shape((self.length, *y.shape)) for y in outputs[self.carry :])
        return (*carry, *stacked)

    def evaluate(self, *operands: NDArray) -> tuple[NDArray, ...]:
        """Interpret the body once a step."""
        constants, carry, xs = self.parts(operands)
        stacked = [
            np.empty((self.length, *y.shape), y.dtype) for y in self.body.output_types[self.carry :]
        ]
        steps = range(self.length)
        for i in reversed(steps) if self.reverse else steps:
            results = interpret(self.body, *constants, *carry, *(x[i, ...] for x in xs))
            carry = tuple(results[: self.carry])
            for stack, y in zip(stacked, results[self.carry :], strict=True):
                stack[i] = y
        return (*carry, *stacked)

    def parts(self, operands: Sequence[Any]) -> tuple[tuple[Any, ...], ...]:
        """Return the constants, the carry and the scanned operands among ``operands``."""
        carry, xs = self.constants, self.constants + self.carry
        return tuple(operands[:carry]), tuple(operands[carry:xs]), tuple(operands[xs:])


@final
@primitive
class Call(HoldsPrograms):
    """The outputs of ``program`` applied to the operands: a function call, named ``name_``.

    Shapes: those of the program.      Cost: that of the program.
    Residuals: those of the program's pullback, whose forward part is a second call that
    ``passes.merge_scans`` puts in this one's place.
    """

    program: Program
    name_: str
    name = "call"

    def infer(self, *operands: ArrayType) -> tuple[ArrayType, ...]:
        """Types of the program's outputs."""
        check_operands(f"call of {self.name_}", self.program.input_types, operands)
        return self.program.output_types

    def evaluate(self, *operands: NDArray) -> tuple[NDArray, ...]:
        """Interpret the program."""
        return tuple(interpret(self.program, *operands))


def listed(types: Sequence[ArrayType]) -> str:
    """Types as they are written in messages: ``(f32[3], i32[])``."""
    return f"({', '.join(map(str, types))})"


def check_operands(what: str, expected: tuple[ArrayType, ...], given: Sequence[ArrayType]) -> None:
    """Raise ShapeError, naming ``what``, unless the operands have the expected types."""
    if expected != tuple(given):
        raise ShapeError(f"{what} takes {listed(expected)}, was given {listed(given)}")


def _check_carry(what: str, given: tuple[ArrayType, ...], returned: tuple[ArrayType, ...]) -> None:
    if given != returned:
        raise ShapeError(
            f"{what}: the carry is {listed(given)}, the body returns {listed(returned)}; "
            "the body must keep the types of the carry"
        )
