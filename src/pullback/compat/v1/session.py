"""``Session``: runs parts of a graph, compiled, and holds what its variables hold.

Imports ``plan`` and ``tensor``. Start at ``Session.run``: all but its first call with the same
fetches and fed tensors is a look-up and a call of machine code.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.frame import Store
from pullback.compat.v1.graph import Graph, get_default_graph
from pullback.compat.v1.plan import Plan
from pullback.compat.v1.tensor import Node, Tensor, as_node
from pullback.compat.v1.variable import Variable

_stack: list[Session] = []


class Session:
    """Runs nodes of a graph. What variables hold is its own.

    Args:
        target: Must be empty: there are no other machines.
        graph: What to run. Default: the default graph.
        config: Not used: threads are set by ``PULLBACK_THREADS``.

    In a ``with`` block it is the default session, and its graph the default graph.
    """

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None) -> None:
        if target:
            raise GraphError(f"session target {target!r}: only this process can run a graph")
        self.graph = get_default_graph() if graph is None else graph
        self._store = Store()
        self._plans: dict[Hashable, Plan] = {}
        self._is_open = True
        self._entered: list[Any] = []

    def run(
        self,
        fetches: Any,
        feed_dict: dict[Any, Any] | None = None,
        options: None = None,
        run_metadata: None = None,
    ) -> Any:
        """Run what ``fetches`` need, each node once, and return what they are.

        Args:
            fetches: A tensor, variable, operation or name of one, or lists, tuples and dicts of
                them, nested as you like.
            feed_dict: Values for placeholders, or for any other tensor in place of its own. They
                are cast to its dtype where that keeps every integer.
            options: Must be None.
            run_metadata: Must be None.

        Returns:
            A structure like ``fetches``: NumPy arrays, or NumPy scalars where there are no axes,
            which are yours to change; None for an operation.

        Raises:
            InvalidArgumentError: a placeholder is needed and not fed.
            FailedPreconditionError: a variable is read that has no value yet.
            ShapeError, DTypeError: a value does not fit its placeholder, or shapes that were not
                known before do not fit each other.
            GraphError: a fetch or a fed tensor is not of this graph, or the session is closed.

        Order: a node runs after its inputs and its control dependencies. Of what is then free,
        updates of variables run last, in the order in which they were made: a fetch that does not
        depend on an update sees what variables held before the run.

        Cost: the first call with the same fetches and fed tensors compiles a program, and again for
        other shapes; others take some ten microseconds beside the program's own time.
        """
        feeds = feed_dict or {}
        key = (_key(fetches), *feeds)
        plan = self._plans.get(key)
        if plan is None:
            if options is not None or run_metadata is not None:
                raise GraphError("Session.run has no `options` and `run_metadata`: leave them out")
            plan = self._plans[key] = self._plan(fetches, feeds)
        if not self._is_open:
            raise GraphError("the session is closed: run inside its `with` block")
        return plan.run(feeds.values())

    def _plan(self, fetches: Any, feeds: dict[Any, Any]) -> Plan:
        nodes: list[Node] = []
        build = _structure(fetches, self._node, nodes)
        fed = [self._node(x) for x in feeds]
        for node in fed:
            if not isinstance(node, Tensor):
                raise GraphError(f"{node.where()} is no tensor and cannot be fed")
        return Plan(self._store, nodes, build, [x for x in fed if isinstance(x, Tensor)])

    def _node(self, x: Any) -> Node:
        """The node that a fetch or a key of ``feed_dict`` names.

        Raises:
            GraphError: it is none, or one of another graph.
        """
        if isinstance(x, str):
            is_tensor = x.endswith(":0")
            graph = self.graph
            return graph.get_tensor_by_name(x) if is_tensor else graph.get_operation_by_name(x)
        node = as_node(x)
        if node.graph is not self.graph:
            raise GraphError(
                f"{node.where()} is not of the graph of this session: make the session inside "
                "`with graph.as_default():`, or with `tf.Session(graph=graph)`"
            )
        return node

    def load(self, variable: Variable, value: Any) -> None:
        """Let a variable hold numbers at once.

        Raises:
            ShapeError, DTypeError: they are of another shape or dtype.
        """
        holder = self._store.holder(variable)
        holder.assign(np.asarray(value, variable.dtype))
        self._store.initialized.add(variable)

    def traces(self, fetches: Any, feed_dict: Any = ()) -> int:
        """How often ``run(fetches, feed_dict)`` has made a program: once for each shape fed."""
        plan = self._plans.get((_key(fetches), *feed_dict))
        return 0 if plan is None else plan.traces

    def as_default(self) -> Any:
        """A ``with`` block in which this is the default session, and which does not close it."""
        return _AsDefault(self)

    def close(self) -> None:
        """Forget what variables hold and what was compiled."""
        self._is_open = False
        self._plans.clear()
        self._store = Store()

    def __enter__(self) -> Session:
        context = self.graph.as_default()
        context.__enter__()
        self._entered.append(context)
        _stack.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _stack.remove(self)
        self._entered.pop().__exit__(None, None, None)
        if not self._entered:
            self.close()


class InteractiveSession(Session):
    """A session that is the default one from the moment it is made until it is closed."""

    def __init__(self, target: str = "", graph: Graph | None = None, config: Any = None) -> None:
        super().__init__(target, graph, config)
        _stack.append(self)

    def close(self) -> None:
        """Close it; the session before is the default again."""
        if self in _stack:
            _stack.remove(self)
        super().close()


class _AsDefault:
    def __init__(self, session: Session) -> None:
        self._session = session

    def __enter__(self) -> Session:
        _stack.append(self._session)
        return self._session

    def __exit__(self, *exc: object) -> None:
        _stack.remove(self._session)


def get_default_session() -> Session | None:
    """The session of the innermost ``with`` block, or the ``InteractiveSession``; else None."""
    return _stack[-1] if _stack else None


def session_or_default(session: Session | None, node: Node) -> Session:
    """The session to use for ``node.eval()``.

    Raises:
        GraphError: there is none.
    """
    found = get_default_session() if session is None else session
    if found is None:
        raise GraphError(
            f"there is no session to run {node.where()} in: use `sess.run(...)`, pass "
            "`session=sess`, or make a tf.InteractiveSession"
        )
    return found


def _key(fetches: Any) -> Hashable:
    """What tells one structure of fetches from another."""
    if isinstance(fetches, (list, tuple)):
        return (type(fetches), *map(_key, fetches))
    if isinstance(fetches, dict):
        return (dict, *fetches, *map(_key, fetches.values()))
    try:
        hash(fetches)
    except TypeError:
        as_node(fetches)  # says what it is
        raise
    found: Hashable = fetches
    return found


def _structure(fetches: Any, as_node: Any, nodes: list[Node]) -> Any:
    """List the nodes of ``fetches``; return the function from their values to the result."""
    if isinstance(fetches, (list, tuple)):
        parts = [_structure(x, as_node, nodes) for x in fetches]
        if hasattr(fetches, "_fields"):
            return lambda values: type(fetches)(*[part(values) for part in parts])
        kind = type(fetches)
        return lambda values: kind([part(values) for part in parts])
    if isinstance(fetches, dict):
        named = {name: _structure(x, as_node, nodes) for name, x in fetches.items()}
        return lambda values: {name: part(values) for name, part in named.items()}
    place = len(nodes)
    nodes.append(as_node(fetches))
    return lambda values: values[place]
