"""Compiled programs on tapes: a call of a ``jit`` function as one differentiable operation.

Imports everything below; ``compiled`` uses it. Start at ``recorded_call``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

from pullback.autodiff.cotangents import is_floating, zeros
from pullback.autodiff.joint import joint_program
from pullback.autodiff.jvp import jvp_program
from pullback.autodiff.split import Split, split_program
from pullback.errors import DifferentiationError
from pullback.program.builder import inline
from pullback.program.core import NDArray, Program
from pullback.program.primitive import CONTROL, Cotangents, Primitive
from pullback.program.value import Value, current_builder
from pullback.records import dataclass
from pullback.types import ArrayType

if TYPE_CHECKING:
    from pullback.backend.executable import Executable
    from pullback.passes.pipeline import Numerics

Flags = tuple[bool, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Residual:
    """How a call that puts out residuals is differentiated without computing it again.

    Attributes:
        split: The forward part with residuals, and the backward part.
        seeds: Positions of the outputs whose cotangents the backward part takes.
        gradients: Positions of the operands that it gives cotangents for.
    """

    split: Split
    seeds: tuple[int, ...]
    gradients: tuple[int, ...]


@final
@dataclass(frozen=True)
class JitCall(Primitive):
    """A compiled program as a primitive that a tape records.

    It occurs on tapes alone, never in a program: inside a trace ``jit`` functions are traced on.
    Its derivatives are compiled programs too.
    """

    program: Program
    numerics: Numerics
    residual: Residual | None = None
    name = "call"
    traits = CONTROL

    def infer(self, *operands: ArrayType) -> tuple[ArrayType, ...]:
        """Types of the program's outputs."""
        return self.program.output_types

    def evaluate(self, *operands: NDArray) -> tuple[NDArray, ...]:
        """Run the compiled program."""
        return tuple(compile_once(self.program, self.numerics)(*operands))

    def vjp(self, ct: Any, out: Any, *operands: Value) -> Cotangents:
        """Cotangents of all floating operands."""
        return self.partial_vjp(ct, out, operands, [True] * len(operands))

    def partial_vjp(
        self,
        cts: Sequence[Value | None],
        outs: Sequence[Value],
        operands: Sequence[Value],
        wanted: Sequence[bool],
    ) -> Cotangents:
        """A call of the compiled pullback; a cotangent that is None is a zero."""
        given = [i for i, ct in enumerate(cts) if ct is not None and is_floating(ct.type)]
        if self.residual is not None and set(given) <= {*self.residual.seeds}:
            gradients = self.residual.gradients
            found = self._pull_residuals(self.residual, cts, outs, operands)
        else:
            positions = [i for i, x in enumerate(operands) if wanted[i] and is_floating(x.type)]
            program, gradients = _pullback(self.program, tuple(given), tuple(positions))
            seeds = [ct for i, ct in enumerate(cts) if ct is not None and i in given]
            found = self._apply(program, [*operands, *seeds])
        by_position = dict(zip(gradients, found, strict=True))
        return tuple(by_position.get(i) for i in range(len(operands)))

    def _pull_residuals(
        self,
        residual: Residual,
        cts: Sequence[Value | None],
        outs: Sequence[Value],
        operands: Sequence[Value],
    ) -> tuple[Value, ...]:
        seeds = [zeros(outs[j].type) if (ct := cts[j]) is None else ct for j in residual.seeds]
        reads = [operands[i] for i in residual.split.reads]
        saved = [outs[j] for j in residual.split.saved]
        return self._apply(residual.split.backward, [*reads, *saved, *seeds])

    def jvp(
        self, primals: Sequence[Value], tangents: Sequence[Value | None]
    ) -> tuple[Any, tuple[Value | None, ...]]:
        """A call of the compiled tangent program; a tangent that is None is a zero."""
        moving = tuple(i for i, t in enumerate(tangents) if t is not None)
        given = [t for t in tangents if t is not None]
        results = self._apply(_tangents(self.program, moving), [*primals, *given])
        outs, rest = (
            results[: len(self.program.outputs)],
            iter(results[len(self.program.outputs) :]),
        )
        return outs, tuple(next(rest) if is_floating(y.type) else None for y in outs)

    def _apply(self, program: Program, values: Sequence[Value]) -> tuple[Value, ...]:
        if current_builder() is not None:
            return inline(program, values)
        results: tuple[Value, ...] = JitCall(program, self.numerics)(*values)
        return results


# Caches are keyed by the identity of a program: derivatives of a `jit` function are made once.


@functools.lru_cache(maxsize=512)
def recorded_call(program: Program, numerics: Numerics, wanted: Flags) -> JitCall:
    """The call of ``program`` that a tape records.

    Args:
        program: Of a ``jit`` function.
        numerics: ``"strict"`` or ``"fast"``.
        wanted: Which operands a derivative may be asked for.

    Returns:
        A call whose outputs are those of ``program``, then residuals.
    """
    seeds = tuple(i for i, y in enumerate(program.outputs) if is_floating(y.type))
    positions = [i for i, v in enumerate(program.inputs) if wanted[i] and is_floating(v.type)]
    if not seeds or not positions:
        return JitCall(program, numerics)
    try:
        joint, gradients = joint_program(program, seeds, tuple(positions))
    except DifferentiationError:  # said when a derivative is asked for
        return JitCall(program, numerics)
    inputs, outputs = range(len(program.inputs)), range(len(program.outputs))
    split = split_program(joint, len(inputs), len(outputs), free=inputs, reusable=outputs)
    return JitCall(split.forward, numerics, Residual(split, seeds, gradients))


def compile_now(program: Program, donate: frozenset[int], numerics: Numerics) -> Executable:
    """Compile ``program``; who calls keeps the result, which goes with its last holder."""
    # Imported here: LLVM costs a third of a second, and not every process compiles.
    from pullback.backend.executable import compile_program

    return compile_program(program, donate=donate, name=program.name, numerics=numerics)


@functools.lru_cache(maxsize=512)
def compile_once(program: Program, numerics: Numerics) -> Executable:
    """Compile ``program``, or return what compiling it gave before."""
    return compile_now(program, frozenset(), numerics)


@functools.lru_cache(maxsize=512)
def _pullback(
    program: Program, seeds: tuple[int, ...], wanted: tuple[int, ...]
) -> tuple[Program, tuple[int, ...]]:
    """``(*inputs, *cotangents) -> gradients``, and the positions of the inputs they belong to."""
    joint, gradients = joint_program(program, seeds, wanted)
    return replace(joint, outputs=joint.outputs[len(program.outputs) :]), gradients


@functools.lru_cache(maxsize=512)
def _tangents(program: Program, moving: tuple[int, ...]) -> Program:
    return jvp_program(program, moving)
