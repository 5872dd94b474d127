"""Primitives that change how a computation is differentiated, and calls of host functions.

Imports ``program``, ``control`` and ``derive``. Start at ``CustomVjp``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np

from pullback.errors import DifferentiationError, DTypeError, ShapeError
from pullback.primitives.control import Call, check_operands
from pullback.primitives.derive import Extension, HoldsPrograms, note_extension, where_made
from pullback.primitives.indexing import filled
from pullback.program.core import Program
from pullback.program.interpret import interpret
from pullback.program.loops import Index, LoopBuilder, Operand, Scalar
from pullback.program.primitive import (
    CHEAP,
    HOST,
    IDENTITY,
    LINEAR,
    Cotangents,
    NDArray,
    Primitive,
    primitive,
)
from pullback.program.value import Value
from pullback.types import FLOATING, ArrayType, type_of


@final
@primitive
class StopGradient(Primitive):
    """The operand, as a constant for differentiation.

    Shapes: x: T[...] -> T[...].      Cost: none.
    Residuals: none.   Non-differentiable points: all, by declaration.
    """

    name = "stop_gradient"
    traits = IDENTITY | CHEAP
    differentiable = ()

    def infer(self, x: ArrayType) -> ArrayType:
        """The operand's type."""
        return x

    def evaluate(self, x: NDArray) -> NDArray:
        """The operand's memory; a new array object, since captures go by the object."""
        return x.view()

    def lower(self, b: LoopBuilder, index: Index, x: Operand) -> Scalar:
        """The operand's element."""
        return x.at(index)


@final
@primitive
class Barrier(Primitive):
    """The first operand, once all operands are known.

    ``checkpoint`` recomputes from barriers that wait for a cotangent: the equation of the
    recomputation is then not equal to the forward one (nothing merges them), depends on the
    cotangent (so it is no residual) and cannot be scheduled before it. Passes may remove a
    barrier only after equal equations have been merged for the last time.

    Shapes: x: T[...], *others: any -> T[...].      Cost: none.
    Residuals: none. Linear in x; the other operands have no derivative.
    """

    name = "barrier"
    traits = IDENTITY | LINEAR
    differentiable = (0,)

    def infer(self, x: ArrayType, *others: ArrayType) -> ArrayType:
        """The first operand's type."""
        return x

    def evaluate(self, x: NDArray, *others: NDArray) -> NDArray:
        """The first operand's memory; a new array object, since captures go by the object."""
        return x.view()

    def vjp(self, ct: Value, out: Value, x: Value, *others: Value) -> Cotangents:
        """The cotangent itself."""
        return (ct, *(None for _ in others))

    def lower(self, b: LoopBuilder, index: Index, x: Operand, *others: Operand) -> Scalar:
        """The first operand's element."""
        return x.at(index)


@final
@primitive
class CustomVjp(HoldsPrograms):
    """A function with a derivative of the user's.

    ``primal`` computes the outputs; ``forward`` the outputs, then ``residuals`` more values;
    ``backward`` takes these and one cotangent for each floating output to the cotangents of the
    operands at the positions ``gradients``. The first ``arguments`` operands are the user's; the
    others are values from outside that the programs use, for which there is no rule. A call that a
    user's rule makes of its own function has a ``deferred`` rule in place of the two programs: it
    is traced when it is differentiated.

    Shapes: the operands of ``primal`` (and ``forward``) -> its outputs.   Cost: that of
    ``primal``; when differentiated ``passes.merge_scans`` puts ``forward`` in its place.
    Residuals: those ``forward`` returns.      Reference: JAX ``custom_vjp``.
    """

    primal: Program
    forward: Program | None
    backward: Program | None
    residuals: int
    gradients: tuple[int, ...]
    arguments: int
    name_: str
    deferred: Callable[[], tuple[CustomVjp, Sequence[Value]]] | None = None
    name = "custom_vjp"

    def infer(self, *operands: ArrayType) -> tuple[ArrayType, ...]:
        """Types of the primal outputs, which ``forward`` must return too."""
        check_operands(f"custom_vjp {self.name_}", self.primal.input_types, operands)
        outputs = self.primal.output_types
        if self.forward is not None:
            check_operands(f"custom_vjp {self.name_}: fwd", self.forward.input_types, operands)
            if self.forward.output_types[: len(outputs)] != outputs:
                raise ShapeError(
                    f"custom_vjp {self.name_}: the function and fwd return different types"
                )
        return outputs

    def evaluate(self, *operands: NDArray) -> tuple[NDArray, ...]:
        """Interpret the primal program."""
        return tuple(interpret(self.primal, *operands))

    def vjp(self, ct: Any, out: Any, *args: Any) -> Cotangents:
        """Cotangents of the arguments."""
        wanted = [i < self.arguments for i in range(len(args))]
        return self.partial_vjp(ct, out, args, wanted)

    def partial_vjp(
        self,
        cts: Sequence[Value | None],
        outs: Sequence[Value],
        args: Sequence[Value],
        wanted: Sequence[bool],
    ) -> Cotangents:
        """The user's backward program on the residuals of the user's forward program."""
        self._check_wanted(wanted)
        if self.forward is None or self.backward is None:
            return self._deferred_vjp(cts, outs, args, wanted)
        forward = Call(self.forward, f"{self.name_}_fwd")
        positions = tuple(range(len(args))), tuple(range(len(outs)))
        note_extension(forward, Extension(self, *positions))
        with where_made(outs):
            residuals = forward(*args)[len(outs) :]
        floating = [(c, o.type) for c, o in zip(cts, outs, strict=True) if o.dtype in FLOATING]
        given = [filled(t.shape, 0, t.dtype) if c is None else c for c, t in floating]
        found = Call(self.backward, f"{self.name_}_bwd")(*residuals, *given)
        by_position = dict(zip(self.gradients, found, strict=True))
        return tuple(by_position.get(i) for i in range(len(args)))

    def _deferred_vjp(
        self,
        cts: Sequence[Value | None],
        outs: Sequence[Value],
        args: Sequence[Value],
        wanted: Sequence[bool],
    ) -> Cotangents:
        if self.deferred is None:
            raise DifferentiationError(
                f"the rule of the `custom_vjp` function {self.name_!r} is lost: a program that was "
                "read from text cannot be differentiated through it"
            )
        traced, captures = self.deferred()
        count = self.arguments
        full = (*args[:count], *captures)
        asked = (*wanted[:count], *(False for _ in captures))
        found = traced.partial_vjp(cts, outs, full, asked)
        return (*found[:count], *(None for _ in args[count:]))

    def _check_wanted(self, wanted: Sequence[bool]) -> None:
        read = {a for eqn in self.primal.equations for a in eqn.inputs} | {*self.primal.outputs}
        for i, (var, is_wanted) in enumerate(zip(self.primal.inputs, wanted, strict=True)):
            if is_wanted and i >= self.arguments and var.type.dtype in FLOATING and var in read:
                raise DifferentiationError(
                    f"the `custom_vjp` function {self.name_!r} uses a value {var.type} from "
                    "outside that is being differentiated; its rule covers the arguments only: "
                    "pass the value as an argument"
                )

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        """Refused: the rule given is for reverse mode."""
        raise DifferentiationError(
            f"forward-mode differentiation (jvp) of {self.name_!r} is not defined: it is a "
            "`custom_vjp` function, whose rule is for reverse mode. Use `grad` or `vjp`."
        )


@final
@primitive
class Checkpoint(HoldsPrograms):
    """The program's outputs; its intermediate values are computed again for the backward pass.

    Shapes: those of the program.      Cost: that of the program, twice when differentiated.
    Residuals: the operands only. The recomputation starts from ``Barrier`` operands that wait
    for the cotangents, so nothing merges it with the first computation.
    Reference: Griewank & Walther 2000, "Algorithm 799: revolve", doi:10.1145/347837.347846.
    """

    program: Program
    name_: str
    name = "checkpoint"

    def infer(self, *operands: ArrayType) -> tuple[ArrayType, ...]:
        """Types of the program's outputs."""
        check_operands(f"checkpoint of {self.name_}", self.program.input_types, operands)
        return self.program.output_types

    def evaluate(self, *operands: NDArray) -> tuple[NDArray, ...]:
        """Interpret the program."""
        return tuple(interpret(self.program, *operands))


@final
@primitive
class HostCall(Primitive):
    """What the Python function ``function`` returns for the operands, as NumPy arrays.

    The function must be pure: it may be called again or not at all. It returns a sequence of
    arrays of exactly the types ``results``.

    Shapes: any operands -> ``results``.      Cost: the function's; runs on the host.
    Residuals: none; no derivative unless inside ``custom_vjp``.
    """

    function: Callable[..., Sequence[Any]]
    results: tuple[ArrayType, ...]
    name_: str
    name = "host_call"
    traits = HOST

    def infer(self, *operands: ArrayType) -> tuple[ArrayType, ...]:
        """The declared types."""
        return self.results

    def evaluate(self, *operands: NDArray) -> tuple[NDArray, ...]:
        """Call the function and check what it returns."""
        returned = [np.asarray(r) for r in self.function(*map(_read_only, operands))]
        if len(returned) != len(self.results):
            raise ShapeError(
                f"the callback {self.name_!r} returned {len(returned)} arrays, declared are "
                f"{len(self.results)}"
            )
        for array, declared in zip(returned, self.results, strict=True):
            if array.shape != declared.shape:
                raise ShapeError(
                    f"the callback {self.name_!r} returned {type_of(array)}, declared is {declared}"
                )
            if array.dtype != declared.dtype:
                raise DTypeError(
                    f"the callback {self.name_!r} returned dtype {array.dtype}, declared is "
                    f"{declared}; cast with `.astype` inside the callback"
                )
        return tuple(returned)

    def vjp(self, ct: Any, out: Any, *operands: Value) -> Cotangents:
        """Refused: nothing is known of the function."""
        raise self._refusal()

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        """Refused: nothing is known of the function."""
        raise self._refusal()

    def _refusal(self) -> DifferentiationError:
        return DifferentiationError(
            f"the derivative of the callback {self.name_!r} is not defined: wrap the call in a "
            "`custom_vjp` function, or its operands in `stop_gradient`"
        )


def _read_only(array: NDArray) -> NDArray:
    view = array.view()
    view.flags.writeable = False
    return view
