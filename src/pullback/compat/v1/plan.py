"""One combination of fetches and fed tensors: what to run, in which order, compiled.

Imports ``frame`` and ``jit``. ``session`` makes plans and keeps them. Start at ``Plan.run``.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from pullback.compat.v1.frame import Frame, Store
from pullback.compat.v1.placeholder import as_fed
from pullback.compat.v1.tensor import Node, Tensor
from pullback.compat.v1.variable import Assign
from pullback.jit import jit
from pullback.program.value import Array, Value, as_value


class Plan:
    """What a session runs for one combination of fetches and fed tensors.

    Attributes:
        traces: How often it was traced: once for each combination of fed shapes.

    Args:
        store: What variables hold.
        fetches: The nodes whose values are wanted.
        build: From these values to what the user gets.
        fed: The tensors whose values the user gives.
    """

    def __init__(
        self,
        store: Store,
        fetches: Sequence[Node],
        build: Callable[[list[Any]], Any],
        fed: Sequence[Tensor],
    ) -> None:
        self.traces = 0
        self._store = store
        self._fetches = fetches
        self._build = build
        self._fed = fed
        self._order = order(fetches, fed)
        self._assigned: set[Any] = set()
        #: Places of the fetches that have a value.
        self._places = [i for i, node in enumerate(fetches) if isinstance(node, Tensor)]
        # Initializers run once: compiling them would take longer than running them.
        updates = [node for node in self._order if node.is_update]
        is_once = updates and all(isinstance(x, Assign) and x.is_initial for x in updates)
        self._compute = self._trace if is_once else jit(self._trace)

    def run(self, values: Iterable[Any]) -> Any:
        """Run the plan on what is fed, in the order of ``fed``."""
        arrays = [as_fed(x, value) for x, value in zip(self._fed, values, strict=True)]
        found = self._compute(*arrays)
        if self._assigned:
            self._store.initialized |= self._assigned
        results: list[Any] = [None] * len(self._fetches)
        for i, value in zip(self._places, found, strict=True):
            data = value._data
            results[i] = data if data.shape else data[()]
        return self._build(results)

    def _trace(self, *arrays: Any) -> tuple[Value, ...]:
        """Evaluate the nodes: on tracers when compiled, on arrays otherwise."""
        self.traces += 1
        fed = zip(self._fed, map(as_value, arrays), strict=True)
        frame = Frame(self._store, dict(fed))
        frame.evaluate(self._order)
        self._assigned = frame.assigned
        found = [as_value(frame.values[self._fetches[i]]) for i in self._places]
        return tuple(Array(np.array(x.data)) if isinstance(x, Array) else x for x in found)


def order(fetches: Sequence[Node], fed: Sequence[Node]) -> list[Node]:
    """What must run for ``fetches``, in the order in which it runs.

    A node comes after its inputs and controls. Of those that are free, updates come last, and what
    was made first comes first.
    """
    needed = _ancestors(fetches, fed)
    waits = {node: {*node.inputs, *node.controls} & needed for node in needed}
    readers: dict[Node, list[Node]] = {node: [] for node in needed}
    for node, before in waits.items():
        for x in before:
            readers[x].append(node)
    free = [(*_rank(node), node) for node in needed if not waits[node]]
    heapq.heapify(free)
    found: list[Node] = []
    while free:
        node = heapq.heappop(free)[-1]
        found.append(node)
        for reader in readers[node]:
            waits[reader].discard(node)
            if not waits[reader]:
                heapq.heappush(free, (*_rank(reader), reader))
    return found


def _rank(node: Node) -> tuple[bool, int, int]:
    return node.is_update, node.number, id(node)


def _ancestors(fetches: Sequence[Node], fed: Sequence[Node]) -> set[Node]:
    """``fetches`` and what they need, up to what is fed."""
    known, found, rest = set(fed), set[Node](), [*fetches]
    while rest:
        node = rest.pop()
        if node not in known and node not in found:
            found.add(node)
            rest += (*node.inputs, *node.controls)
    return found
