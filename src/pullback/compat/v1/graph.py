"""``Graph``: what the functions of this package add nodes to; names, scopes and collections.

Imports ``errors`` alone. The nodes are in ``tensor``; ``session`` runs them.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pullback.compat.v1.errors import GraphError

if TYPE_CHECKING:
    from pullback.compat.v1.scope import VariableScope
    from pullback.compat.v1.tensor import Node, Tensor
    from pullback.compat.v1.variable import Variable


class GraphKeys:
    """Names of the collections that this package fills itself."""

    GLOBAL_VARIABLES = "variables"
    TRAINABLE_VARIABLES = "trainable_variables"
    LOSSES = "losses"
    GLOBAL_STEP = "global_step"


class Graph:
    """Nodes that may depend on each other. There is a default one; most programs need no other.

    Attributes:
        seed: The seed of ``set_random_seed``, or None.
        nodes: All nodes by their names.
    """

    def __init__(self) -> None:
        self.seed: int | None = None
        self.nodes: dict[str, Node] = {}
        self._count = itertools.count()
        self._names: dict[str, int] = {}
        self._scopes: list[str] = [""]
        self._controls: list[tuple[Node, ...]] = [()]
        self._collections: dict[str, list[Any]] = {}
        #: What ``scope`` keeps: its stack, how often names were given, variables by their names.
        self.variable_scopes: list[VariableScope] = []
        self.scope_counts: dict[str, int] = {}
        self.variables: dict[str, Variable] = {}

    def add(self, node: Node) -> int:
        """Add a node; return its number, which counts up."""
        self.nodes[node.op_name] = node
        return next(self._count)

    def next_number(self) -> int:
        """How many nodes there are: the seed of the next random one."""
        return len(self.nodes)

    def unique_name(self, name: str) -> str:
        """A name that no node has yet, inside the present scope: ``Mul``, ``Mul_1`` and so on."""
        full = name[:-1] if name.endswith("/") else self._scopes[-1] + name
        return self._unique(full)

    def _unique(self, full: str) -> str:
        count = self._names.get(full, 0)
        self._names[full] = count + 1
        if not count:
            return full
        candidate = f"{full}_{count}"
        return self._unique(full) if candidate in self._names else self._claim(candidate)

    def _claim(self, name: str) -> str:
        self._names[name] = 1
        return name

    @property
    def controls(self) -> tuple[Node, ...]:
        """What new nodes must run after."""
        return self._controls[-1]

    @contextlib.contextmanager
    def name_scope(self, name: str | None, default_name: str | None = None) -> Iterator[str]:
        """Put ``name/`` before the names of nodes that are made in the block."""
        name = default_name if name is None else name
        scope = f"{self.unique_name(name)}/" if name else ""
        self._scopes.append(scope)
        try:
            yield scope
        finally:
            self._scopes.pop()

    @contextlib.contextmanager
    def inside(self, scope: str) -> Iterator[None]:
        """Make nodes under ``scope``, which is a whole prefix such as ``layer/``."""
        self._scopes.append(scope)
        try:
            yield
        finally:
            self._scopes.pop()

    @contextlib.contextmanager
    def control_dependencies(self, control_inputs: Any) -> Iterator[None]:
        """Have nodes that are made in the block run after ``control_inputs``.

        Args:
            control_inputs: A list of tensors, operations or variables; None: forget those of
                enclosing blocks.
        """
        from pullback.compat.v1.tensor import as_node

        if control_inputs is None:
            controls: tuple[Node, ...] = ()
        else:
            controls = (*self.controls, *map(as_node, control_inputs))
        self._controls.append(controls)
        try:
            yield
        finally:
            self._controls.pop()

    @contextlib.contextmanager
    def as_default(self) -> Iterator[Graph]:
        """Make this the graph that functions add to in the block."""
        _stack.append(self)
        try:
            yield self
        finally:
            _stack.remove(self)

    def add_to_collection(self, name: str, value: Any) -> None:
        """Append ``value`` to the collection ``name``."""
        self._collections.setdefault(name, []).append(value)

    def get_collection(self, name: str, scope: str | None = None) -> list[Any]:
        """What was added to the collection, in order; with ``scope``, what is named under it."""
        found = self._collections.get(name, [])
        return [x for x in found if scope is None or x.name.startswith(scope)]

    def get_tensor_by_name(self, name: str) -> Tensor:
        """The tensor of that name, such as ``"x:0"``.

        Raises:
            GraphError: there is none.
        """
        from pullback.compat.v1.tensor import Tensor

        found = self.nodes.get(name.removesuffix(":0")) if name.endswith(":0") else None
        if not isinstance(found, Tensor):
            raise GraphError(f"no tensor of this graph has the name {name!r}; a name ends in ':0'")
        return found

    def get_operation_by_name(self, name: str) -> Node:
        """The node of that name, such as ``"train"``.

        Raises:
            GraphError: there is none.
        """
        if name not in self.nodes:
            raise GraphError(f"no operation of this graph has the name {name!r}")
        return self.nodes[name]


_stack: list[Graph] = [Graph()]


def get_default_graph() -> Graph:
    """The graph that functions add nodes to now."""
    return _stack[-1]


def reset_default_graph() -> None:
    """Begin with an empty default graph.

    Raises:
        GraphError: inside a ``with`` block of a graph or a session.
    """
    if len(_stack) > 1:
        raise GraphError("reset_default_graph() inside a `with` block of a graph or a session")
    _stack[0] = Graph()


def name_scope(name: str | None, default_name: str | None = None, values: Any = None) -> Any:
    """``Graph.name_scope`` of the default graph; ``values`` is not used."""
    return get_default_graph().name_scope(name, default_name)


def control_dependencies(control_inputs: Any) -> Any:
    """``Graph.control_dependencies`` of the default graph."""
    return get_default_graph().control_dependencies(control_inputs)


def set_random_seed(seed: int | None) -> None:
    """Make what nodes draw that are made from now on the same in every process."""
    get_default_graph().seed = seed


def add_to_collection(name: str, value: Any) -> None:
    """``Graph.add_to_collection`` of the default graph."""
    get_default_graph().add_to_collection(name, value)


def get_collection(name: str, scope: str | None = None) -> list[Any]:
    """``Graph.get_collection`` of the default graph."""
    return get_default_graph().get_collection(name, scope)


def trainable_variables(scope: str | None = None) -> list[Variable]:
    """The variables that an optimizer trains, in the order in which they were made."""
    return get_collection(GraphKeys.TRAINABLE_VARIABLES, scope)


def global_variables(scope: str | None = None) -> list[Variable]:
    """All variables, those of optimizers too, in the order in which they were made."""
    return get_collection(GraphKeys.GLOBAL_VARIABLES, scope)
