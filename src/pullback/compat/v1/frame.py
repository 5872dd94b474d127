"""One run of a graph: the values computed so far, and the state behind variables.

Imports ``graph``'s nodes and the engine. ``plan`` makes frames; nodes compute in them. What a frame
holds are arrays where a plan runs operation by operation, and tracers where it is compiled.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pullback import random
from pullback.compat.v1.errors import FailedPreconditionError
from pullback.compat.v1.tensor import Node, Tensor
from pullback.errors import PullbackError
from pullback.program.source import provenance
from pullback.program.value import Value
from pullback.trace.variable import Variable as Holder

if TYPE_CHECKING:
    from pullback.compat.v1.variable import Variable


class Store:
    """What the variables of a graph hold in one session.

    Attributes:
        initialized: The variables that have a value.
    """

    def __init__(self) -> None:
        self.initialized: set[Variable] = set()
        self._holders: dict[Any, Holder] = {}

    def holder(self, variable: Variable) -> Holder:
        """The engine's variable; zeros before the first assignment."""
        found = self._holders.get(variable)
        if found is None:
            zeros = np.zeros(variable.lengths, variable.dtype)
            found = self._holders[variable] = Holder(zeros, name=variable.op_name)
        return found

    def counter(self, node: Node) -> Holder:
        """How often a random node has drawn."""
        found = self._holders.get(node)
        if found is None:
            found = self._holders[node] = Holder(np.zeros((), np.uint32), name=node.op_name)
        return found


class Frame:
    """One run.

    Attributes:
        store: What variables hold.
        values: The value of each node that was evaluated.
        assigned: Variables that were assigned.
    """

    def __init__(self, store: Store, values: dict[Node, Any] | None = None) -> None:
        self.store = store
        self.values: dict[Node, Any] = {} if values is None else values
        self.assigned: set[Variable] = set()
        #: The keys of random nodes: evaluated again, a node draws the same.
        self._keys: dict[Node, Value] = {}

    def read(self, variable: Variable) -> Value:
        """What a variable holds at this point of the run.

        Raises:
            FailedPreconditionError: it has no value yet.
        """
        if variable not in self.store.initialized and variable not in self.assigned:
            raise FailedPreconditionError(
                f"variable {variable.where()} is {variable.describe()} and has no value yet: run "
                "`sess.run(tf.global_variables_initializer())` first, once the whole graph is made"
            )
        return self.store.holder(variable).read()

    def assign(self, variable: Variable, value: Any) -> None:
        """Let a variable hold ``value`` from this point of the run on."""
        self.store.holder(variable).assign(value)
        self.assigned.add(variable)

    def key(self, node: Node, seeds: tuple[int, int]) -> Value:
        """The key of what ``node`` draws in this run, another one in the next."""
        if node in self._keys:
            return self._keys[node]
        counter = self.store.counter(node)
        drawn = counter.read()
        counter.assign(drawn + np.uint32(1))
        first, second = seeds
        key = random.fold_in(random.key(first & _SEED_BITS), second & _SEED_BITS)
        self._keys[node] = found = random.fold_in(key, drawn)
        return found

    def evaluate(self, nodes: Iterable[Node]) -> None:
        """Evaluate nodes in this order; those that have a value are left.

        Raises:
            PullbackError: with a note that names the node and the line that made it.
        """
        for node in nodes:
            if node in self.values:
                continue
            try:
                with provenance(None, node.source):
                    self.values[node] = node.evaluate(self)
            except PullbackError as error:
                _note(error, node, self.values)
                raise

    def again(self, nodes: Sequence[Node], changed: dict[Node, Any]) -> dict[Node, Any]:
        """What ``nodes`` would be if some values were others; nothing here changes."""
        stale = {*nodes}
        kept = {node: value for node, value in self.values.items() if node not in stale}
        frame = Frame(self.store, {**kept, **changed})
        frame.assigned, frame._keys = self.assigned, self._keys
        frame.evaluate(nodes)
        return frame.values


_SEED_BITS = 2**32 - 1


def _note(error: PullbackError, node: Node, values: dict[Node, Any]) -> None:
    marker = "while running "
    if any(marker in note for note in getattr(error, "__notes__", ())):
        return
    given = [
        f"{x.name} = {values[x].type}"
        for x in node.inputs
        if isinstance(x, Tensor) and isinstance(values.get(x), Value)
    ]
    error.add_note(f"{marker}{node.where()}" + (f" on {', '.join(given)}" if given else ""))
