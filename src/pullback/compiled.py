"""A staged function that was compiled: running it, with its variables, donations and derivatives.

Imports everything below ``jit``, which alone uses it. Start at ``Compiled.run``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from pullback.autodiff.cotangents import is_floating
from pullback.autodiff.jvp import jvp_program
from pullback.autodiff.vjp import vjp_program
from pullback.backend.executable import Executable, compile_program
from pullback.program.builder import inline
from pullback.program.core import NDArray, Program
from pullback.program.primitive import CONTROL, Cotangents, Primitive
from pullback.program.value import STACKS, Array, Value, current_builder
from pullback.trace.leaves import wrap
from pullback.trace.stage import Staged
from pullback.trace.variable import exclusive, is_writable, put, take
from pullback.tree import LEAF, TreeDef
from pullback.types import ArrayType


class Compiled:
    """One signature of a ``jit`` function: its program, and what goes in and comes out.

    Args:
        staged: What was traced.
        out_tree: Structure of the result.
        donated: Positions of the arguments whose memory the program may take.
        numerics: ``"strict"`` or ``"fast"``.
    """

    def __init__(
        self, staged: Staged, out_tree: TreeDef, donated: Sequence[int], numerics: str
    ) -> None:
        self.staged = staged
        self._numerics = numerics
        self._donated = tuple(donated)
        self._build = _tree_builder(out_tree)
        types = staged.program.output_types[: staged.num_results]
        self._results = tuple(zip(types, staged.weak, strict=True))
        self._captures = [x._data for x in staged.captures if isinstance(x, Array)]
        updated = {id(v): place for place, v in enumerate(staged.updates)}
        #: For each variable read: its place among those updated, or None.
        self._places = [updated.get(id(v)) for v in staged.reads]
        self._is_pure = not (staged.reads or staged.updates or staged.captures or donated)
        taken = (staged.num_args + i for i, place in enumerate(self._places) if place is not None)
        self._executable = _compile(staged.program, frozenset([*donated, *taken]), numerics)

    def run(self, arrays: list[NDArray], leaves: Sequence[Any]) -> Any:
        """Run the program on arrays, which are the memory of the argument leaves ``leaves``."""
        if self._is_pure:
            outputs = self._executable(*arrays)
        else:
            outputs = self._run_with_state(arrays, leaves)
        values: list[Value] = []
        for data, (type, weak) in zip(outputs, self._results, strict=True):
            value = Array.__new__(Array)
            value._data = data
            value.type = type
            value.weak = weak
            values.append(value)
        return self._build(values)

    def _run_with_state(self, arrays: list[NDArray], leaves: Sequence[Any]) -> list[NDArray]:
        """Run the program in the memory of the variables that it updates; return the results."""
        staged = self.staged
        for i in self._donated:
            arrays[i] = _donate(arrays, leaves, i)
        # First what is only read, which may wait for another thread; then what is held on to.
        places = self._places
        held = [v._held()._data for v, i in zip(staged.reads, places, strict=True) if i is None]
        taken, rest = take(staged.updates), iter(held)
        try:
            arrays += [next(rest) if i is None else exclusive(taken, i) for i in places]
            outputs = self._executable(*arrays, *self._captures)
        except BaseException:
            put(staged.updates, taken)
            raise
        count = staged.num_results
        pairs = zip(outputs[count:], staged.updates, strict=True)
        put(staged.updates, [wrap(data, variable.type) for data, variable in pairs])
        return outputs[:count]

    def run_recorded(self, args: Sequence[Value]) -> Any:
        """Run the program on values while a tape listens, as one application of a primitive."""
        staged = self.staged
        inputs = (*args, *staged.operands())
        call = JitCall(staged.program, self._numerics)
        arrays = [x._data for x in inputs if isinstance(x, Array)]
        weak = (*staged.weak, *(False for _ in staged.updates))
        outputs = tuple(
            wrap(data, type, is_weak)
            for data, type, is_weak in zip(
                call.evaluate(*arrays), staged.program.output_types, weak, strict=True
            )
        )
        for recorder in STACKS.recorders:
            if recorder.builder is None:
                wanted = tuple(i for i, x in enumerate(inputs) if recorder.tracks(x))
                recorder.record(JitCall(staged.program, self._numerics, wanted), inputs, outputs)
        return self._build([*staged.assign(outputs)])

    def has_stale_literals(self) -> bool:
        """Whether a tape now listens to an array that was written into the program as a literal."""
        return any(r.tracks(x) for r in STACKS.recorders for x in self.staged.literals)


@final
@dataclass(frozen=True)
class JitCall(Primitive):
    """A compiled program as a primitive that a tape records.

    It occurs on tapes alone, never in a program: inside a trace ``jit`` functions are traced on.
    Its derivatives are compiled programs too; they compute the forward part again.
    """

    program: Program
    numerics: str
    #: Operands whose derivative may be asked for; None stands for all.
    wanted: tuple[int, ...] | None = None
    name = "call"
    traits = CONTROL

    def infer(self, *operands: ArrayType) -> tuple[ArrayType, ...]:
        """Types of the program's outputs."""
        return self.program.output_types

    def evaluate(self, *operands: NDArray) -> tuple[NDArray, ...]:
        """Run the compiled program."""
        return tuple(_compile(self.program, frozenset(), self.numerics)(*operands))

    def is_differentiable(self, position: int, operand: ArrayType) -> bool:
        """Whether the operand is floating and wanted."""
        return is_floating(operand) and (self.wanted is None or position in self.wanted)

    def vjp(self, ct: Any, out: Any, *operands: Value) -> Cotangents:
        """A call of the compiled pullback."""
        positions = self._positions(operands)
        cts = [c for c, y in zip(ct, out, strict=True) if is_floating(y.type)]
        results = self._apply(_vjp_program(self.program, positions), [*operands, *cts])
        found = dict(zip(positions, results, strict=True))
        return tuple(found.get(i) for i in range(len(operands)))

    def jvp(
        self, primals: Sequence[Value], tangents: Sequence[Value | None]
    ) -> tuple[Any, tuple[Value | None, ...]]:
        """A call of the compiled tangent program."""
        moving = tuple(i for i, t in enumerate(tangents) if t is not None)
        given = [t for t in tangents if t is not None]
        results = self._apply(_jvp_program(self.program, moving), [*primals, *given])
        outs, rest = (
            results[: len(self.program.outputs)],
            iter(results[len(self.program.outputs) :]),
        )
        return outs, tuple(next(rest) if is_floating(y.type) else None for y in outs)

    def _positions(self, operands: Sequence[Value]) -> tuple[int, ...]:
        return tuple(i for i, x in enumerate(operands) if self.is_differentiable(i, x.type))

    def _apply(self, program: Program, values: Sequence[Value]) -> tuple[Value, ...]:
        if current_builder() is not None:
            return inline(program, values)
        results: tuple[Value, ...] = JitCall(program, self.numerics)(*values)
        return results


# Keyed by identity of the program: derivatives of a `jit` function are made once.
@functools.lru_cache(maxsize=512)
def _compile(program: Program, donate: frozenset[int], numerics: str) -> Executable:
    return compile_program(program, donate=donate, name=program.name, numerics=numerics)


@functools.lru_cache(maxsize=512)
def _vjp_program(program: Program, wanted: tuple[int, ...]) -> Program:
    return vjp_program(program, wanted, keep_outputs=False)


@functools.lru_cache(maxsize=512)
def _jvp_program(program: Program, wanted: tuple[int, ...]) -> Program:
    return jvp_program(program, wanted)


def _donate(arrays: list[NDArray], leaves: Sequence[Any], i: int) -> NDArray:
    """The memory of argument ``i``, whose Array is void from now on; a copy if others see it."""
    data, leaf = arrays[i], leaves[i]
    # References: the list, the slot of the Array, the local name, getrefcount's argument.
    is_shared = type(leaf) is not Array or sys.getrefcount(data) > 4
    if type(leaf) is Array and not any(other is leaf for other in leaves[:i]):
        del leaf._data
    return np.array(data) if is_shared or not is_writable(data) else data


def _tree_builder(treedef: TreeDef) -> Callable[[list[Value]], Any]:
    """How to make the result from its leaves; quick where it is one array or a tuple of them."""
    if treedef.spec is LEAF:
        return _only
    if treedef == TreeDef((tuple, None, (LEAF,) * treedef.num_leaves), treedef.num_leaves):
        return tuple
    return treedef.unflatten


def _only(values: list[Value]) -> Value:
    return values[0]
