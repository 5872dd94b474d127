"""A staged function that was compiled: running it, with its variables, donations and derivatives.

Imports everything below ``jit``, which alone uses it. Start at ``Compiled.run``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.calls import compile_now, recorded_call
from pullback.program.core import NDArray, Program
from pullback.program.value import STACKS, Array, Value
from pullback.trace.leaves import wrap
from pullback.trace.stage import Staged
from pullback.trace.variable import Variable, exclusive, is_writable, put, take
from pullback.tree import LEAF, TreeDef

if TYPE_CHECKING:
    from pullback.backend.direct import DirectCall
    from pullback.passes.pipeline import Numerics


class Compiled:
    """One signature of a ``jit`` function: its program, and what goes in and comes out.

    Args:
        staged: What was traced.
        out_tree: Structure of the result.
        donated: Positions of the arguments whose memory the program may take.
        numerics: ``"strict"`` or ``"fast"``.
    """

    def __init__(
        self, staged: Staged, out_tree: TreeDef, donated: Sequence[int], numerics: Numerics
    ) -> None:
        self.staged = staged
        self._numerics = numerics
        self._donated = tuple(donated)
        self._build = _tree_builder(out_tree)
        types = staged.program.output_types[: staged.num_results]
        self._results = tuple(zip(types, staged.weak, strict=True))
        self._captures = [x._data for x in staged.captures if isinstance(x, Array)]
        program, self._updates = _updates_first(staged)
        updated = {id(v): place for place, v in enumerate(self._updates)}
        #: For each variable read: its place among those updated, or None.
        self._places = [updated.get(id(v)) for v in staged.reads]
        self._is_pure = not (staged.reads or staged.updates or staged.captures or donated)
        # Outputs take over donated inputs of their type in order. That variables keep their own
        # memory is relied on when a program is interrupted, so nothing else is donated then.
        self._in_place = not donated
        taken = [staged.num_args + i for i, place in enumerate(self._places) if place is not None]
        donate = frozenset(taken if self._in_place else donated)
        # Kept here alone: what a dropped function compiled must go with it.
        self._executable = compile_now(program, donate, numerics)
        #: Takes the argument arrays; refuses others and those of other types. Or None.
        self.direct = self._direct_call()

    def _direct_call(self) -> DirectCall | None:
        # Imported here as LLVM is.
        from pullback.backend.direct import CallTypes, direct_call

        staged = self.staged
        if staged.updates or self._donated or any(staged.weak):
            return None
        inputs = staged.program.input_types[: staged.num_args]
        results = [type for type, _ in self._results]
        known: dict[Any, Callable[[Any], Any] | None] = {_only: None, _all: list}
        build = known.get(self._build, self._build)
        types = CallTypes(inputs, staged.reads, self._captures, results, build)
        return direct_call(self._executable, types)

    def run(self, arrays: list[NDArray], leaves: Sequence[Any]) -> Any:
        """Run the program on arrays, which are the memory of the argument leaves ``leaves``."""
        if self._is_pure:
            outputs = self._executable(*arrays)
        else:
            outputs = self._run_with_state(arrays, leaves)
        values: list[Value] = []
        new = Array.__new__
        for data, (type, weak) in zip(outputs, self._results, strict=True):
            value = new(Array)
            value._data = data
            value.type = type
            value.weak = weak
            values.append(value)
        return self._build(values)

    def _run_with_state(self, arrays: list[NDArray], leaves: Sequence[Any]) -> list[NDArray]:
        """Run the program with variables, captured and donated arrays; return the results."""
        staged = self.staged
        for i in self._donated:
            arrays[i] = _donate(arrays, leaves, i)
        if staged.updates:
            return self._run_in_place(arrays)
        arrays += [v._held()._data for v in staged.reads]
        return self._executable(*arrays, *self._captures)

    def _run_in_place(self, arrays: list[NDArray]) -> list[NDArray]:
        """Run the program in the memory of the variables that it updates, and let them hold it."""
        places, updates = self._places, self._updates
        # First what is only read, which may wait for another thread; then what is held on to.
        pairs = zip(self.staged.reads, places, strict=True)
        read_only = iter([v._held()._data for v, place in pairs if place is None])
        taken = take(updates)
        memory: list[NDArray] = []
        try:
            for place in places:
                if place is None:
                    memory.append(next(read_only))
                else:
                    memory.append(exclusive(taken, place) if self._in_place else taken[place].data)
            outputs = self._executable(*arrays, *memory, *self._captures)
        except BaseException:
            # Interrupted, a loop leaves what its last whole step made, in all variables alike.
            for place, data in zip(places, memory, strict=False):
                if place is not None:
                    taken[place] = wrap(data, updates[place].type)
            put(updates, taken)
            raise
        put(updates, [wrap(data, v.type) for data, v in zip(outputs, updates, strict=False)])
        return outputs[len(updates) :]

    def run_recorded(self, args: Sequence[Value]) -> Any:
        """Run the program on values while a tape listens, as one application of a primitive."""
        staged = self.staged
        inputs = (*args, *staged.operands())
        recorders = [r for r in STACKS.recorders if r.builder is None]
        call = recorded_call(
            staged.program,
            self._numerics,
            tuple(any(r.tracks(x) for r in recorders) for x in inputs),
        )
        arrays = [x._data for x in inputs if isinstance(x, Array)]
        types = call.program.output_types
        outputs = tuple(map(wrap, call.evaluate(*arrays), types))
        for recorder in recorders:
            recorder.record(call, inputs, outputs)
        results = staged.assign(outputs[: len(staged.program.outputs)])
        for value, (_, weak) in zip(results, self._results, strict=True):
            value.weak = weak
        return self._build([*results])

    def has_stale_literals(self) -> bool:
        """Whether a tape now listens to an array that was written into the program as a literal."""
        return any(r.tracks(x) for r in STACKS.recorders for x in self.staged.literals)


def _updates_first(staged: Staged) -> tuple[Program, list[Variable]]:
    """The program with the updates before the results, those of variables read in their order."""
    if not staged.updates:
        return staged.program, []
    order = {id(v): i for i, v in enumerate(staged.reads)}
    pairs = [*zip(staged.updates, staged.program.outputs[staged.num_results :], strict=True)]
    pairs.sort(key=lambda pair: order.get(id(pair[0]), len(order)))
    results = staged.program.outputs[: staged.num_results]
    program = replace(staged.program, outputs=(*(atom for _, atom in pairs), *results))
    return program, [variable for variable, _ in pairs]


def _donate(arrays: list[NDArray], leaves: Sequence[Any], i: int) -> NDArray:
    """The memory of argument ``i``, whose Array is void from now on; a copy if others see it."""
    data, leaf = arrays[i], leaves[i]
    # References: the list, the slot of the Array, the local name, getrefcount's argument.
    is_shared = type(leaf) is not Array or sys.getrefcount(data) > 4
    if type(leaf) is Array and not any(other is leaf for other in leaves[:i]):
        del leaf._data
    return np.array(data, order="C") if is_shared or not is_writable(data) else data


def _tree_builder(treedef: TreeDef) -> Callable[[list[Value]], Any]:
    """How to make the result from its leaves; quick where it is one array or a row of them."""
    if treedef.spec is LEAF:
        return _only
    if treedef == TreeDef((tuple, None, (LEAF,) * treedef.num_leaves), treedef.num_leaves):
        return tuple
    if treedef == TreeDef((list, None, (LEAF,) * treedef.num_leaves), treedef.num_leaves):
        return _all
    return treedef.unflatten


def _only(values: list[Value]) -> Value:
    return values[0]


def _all(values: list[Value]) -> list[Value]:
    return values
