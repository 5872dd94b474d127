"""Variables of a graph: ``Variable``, what reads and assigns them.

Imports ``tensor`` and ``frame``. What a variable holds is the session's: ``frame.Store``. Scopes
and ``get_variable`` are in ``scope``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.frame import Frame
from pullback.compat.v1.graph import Graph, GraphKeys, get_default_graph
from pullback.compat.v1.shapes import TensorShape, full_dims, show_type
from pullback.compat.v1.tensor import (
    Node,
    Operation,
    Operators,
    Tensor,
    convert_to_tensor,
)
from pullback.errors import ShapeError
from pullback.program.source import current_source


class Variable(Operators):
    """An array that changes, whose value each session holds for itself.

    Args:
        initial_value: A tensor, numbers, or a function that returns one: the value that
            ``initializer`` assigns. Its shape must be known.
        trainable: Whether optimizers train it by default.
        name: Its name. Default: ``Variable``, ``Variable_1`` and so on.
        dtype: Default: that of ``initial_value``.

    Raises:
        GraphError: the shape of ``initial_value`` is not known.
        DTypeError: it is a tensor of another dtype than ``dtype``.

    Used as an operand it is read: at the start of a run, or, inside ``control_dependencies``, after
    those.
    """

    def __init__(
        self,
        initial_value: Any = None,
        trainable: bool = True,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        if initial_value is None:
            raise GraphError("tf.Variable needs an `initial_value`, such as tf.zeros([2, 3])")
        graph = get_default_graph()
        self.graph: Graph = graph
        self.source = current_source()
        self.trainable = trainable
        with graph.control_dependencies(None):
            self.op_name = graph.unique_name(name or "Variable")
            with graph.inside(f"{self.op_name}/"):
                value = initial_value() if callable(initial_value) else initial_value
                self.initial_value = convert_to_tensor(value, dtype, name="initial_value")
                self.dtype = self.initial_value.dtype
                self.lengths = full_dims(f"variable {self.op_name!r}", self.initial_value.dims)
                self._at_start = _Read(self)
                self.initializer: Tensor = Assign(self, self.initial_value)
        graph.add_to_collection(GraphKeys.GLOBAL_VARIABLES, self)
        if trainable:
            graph.add_to_collection(GraphKeys.TRAINABLE_VARIABLES, self)

    @property
    def name(self) -> str:
        """Its name, such as ``"W:0"``."""
        return f"{self.op_name}:0"

    @property
    def op(self) -> Node:
        """The operation that its name without ``:0`` belongs to."""
        return self._at_start.op

    @property
    def shape(self) -> TensorShape:
        """Its shape."""
        return TensorShape(self.lengths)

    def get_shape(self) -> TensorShape:
        """Its shape."""
        return self.shape

    def as_node(self) -> Tensor:
        """What it holds, as an operand."""
        return _Read(self) if self.graph.controls else self._at_start

    def is_read_by(self, node: Node) -> bool:
        """Whether ``node`` reads this variable."""
        return isinstance(node, _Read) and node.variable is self

    def value(self) -> Tensor:
        """What it holds."""
        return self.as_node()

    def read_value(self) -> Tensor:
        """What it holds, read by a node of its own."""
        return _Read(self)

    def initialized_value(self) -> Tensor:
        """What it holds, or its initial value if it holds none yet."""
        return _Initialized(self)

    def eval(self, session: Any = None) -> Any:
        """What it holds in ``session``, by default the default session."""
        return self._at_start.eval(session=session)

    def load(self, value: Any, session: Any = None) -> None:
        """Let it hold numbers in ``session`` at once, by default in the default session."""
        from pullback.compat.v1.session import session_or_default

        session_or_default(session, self._at_start).load(self, value)

    def assign(self, value: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
        """A node that lets it hold ``value``, and whose value is that."""
        return assign(self, value, name=name)

    def assign_add(self, delta: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
        """A node that adds ``delta`` to it, and whose value is the sum."""
        return assign_add(self, delta, name=name)

    def assign_sub(self, delta: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
        """A node that subtracts ``delta`` from it, and whose value is the difference."""
        return assign_sub(self, delta, name=name)

    def where(self) -> str:
        """``'W:0' made at train.py:12``, for messages."""
        line = "" if self.source is None else f" made at {self.source.file}:{self.source.line}"
        return f"{self.name!r}{line}"

    def describe(self) -> str:
        """``f32[3,2]``."""
        return show_type(self.lengths, self.dtype)

    def __repr__(self) -> str:
        return f"Variable({self.name!r}, {self.describe()})"


class _Read(Tensor):
    """What a variable holds when this node runs."""

    def __init__(self, variable: Variable, name: str = "read", inputs: Iterable[Node] = ()) -> None:
        self.variable = variable
        with variable.graph.inside(f"{variable.op_name}/"):
            super().__init__(name, variable.lengths, variable.dtype, inputs, graph=variable.graph)

    @property
    def name(self) -> str:
        return self.variable.name

    def evaluate(self, frame: Frame) -> Any:
        return frame.read(self.variable)


class _Initialized(_Read):
    """What a variable holds, or its initial value."""

    def __init__(self, variable: Variable) -> None:
        super().__init__(variable, "initialized_value", [variable.initial_value])

    def evaluate(self, frame: Frame) -> Any:
        is_set = self.variable in frame.store.initialized or self.variable in frame.assigned
        return frame.read(self.variable) if is_set else frame.values[self.inputs[0]]


class Assign(Tensor):
    """Changes a variable; its value is the new one.

    Args:
        variable: What to change.
        value: The operand, of the variable's dtype.
        update: From the old value and the operand to the new value. None: the operand itself.
        name: Its name.
    """

    is_update = True

    def __init__(
        self,
        variable: Variable,
        value: Tensor,
        update: Callable[[Any, Any], Any] | None = None,
        name: str = "Assign",
    ) -> None:
        _check_assigned(variable, value, update is not None)
        self.variable = variable
        self._update = update
        super().__init__(name, variable.lengths, variable.dtype, [value], is_differentiable=False)

    @property
    def is_initial(self) -> bool:
        """Whether it is the variable's initializer."""
        return self is getattr(self.variable, "initializer", None)

    def evaluate(self, frame: Frame) -> Any:
        """Assign; return the new value."""
        value = frame.values[self.inputs[0]]
        if self._update is not None:
            value = self._update(frame.read(self.variable), value)
        frame.assign(self.variable, value)
        return value


def _check_assigned(variable: Variable, value: Tensor, broadcasts: bool) -> None:
    dims = value.dims
    if dims is None or (broadcasts and not dims):
        return
    pairs = [*zip(dims, variable.lengths, strict=False)]
    if len(dims) != len(variable.lengths) or any(n not in (None, m) for n, m in pairs):
        raise ShapeError(
            f"variable {variable.where()} is {variable.describe()}, but {value.describe()} is "
            "assigned: reshape it first"
        )


def _variable(name: str, ref: Any) -> Variable:
    if not isinstance(ref, Variable):
        raise GraphError(f"{name} needs a tf.Variable, got {ref!r} of type {type(ref).__name__}")
    return ref


def assign(
    ref: Any,
    value: Any,
    validate_shape: bool = True,
    use_locking: bool = False,
    name: str | None = None,
) -> Tensor:
    """A node that lets variable ``ref`` hold ``value``, and whose value is that.

    Raises:
        GraphError: ``ref`` is no variable, or ``validate_shape`` is False: shapes never change.
        ShapeError, DTypeError: ``value`` is of another shape or dtype.
    """
    if not validate_shape:
        raise GraphError("tf.assign with validate_shape=False: a variable's shape does not change")
    variable = _variable("tf.assign", ref)
    return Assign(variable, convert_to_tensor(value, variable.dtype), name=name or "Assign")


def assign_add(ref: Any, value: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
    """A node that adds ``value`` to variable ``ref``, and whose value is the sum."""
    variable = _variable("tf.assign_add", ref)
    operand = convert_to_tensor(value, variable.dtype)
    return Assign(variable, operand, lambda old, x: old + x, name or "AssignAdd")


def assign_sub(ref: Any, value: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
    """A node that subtracts ``value`` from variable ``ref``, and whose value is the difference."""
    variable = _variable("tf.assign_sub", ref)
    operand = convert_to_tensor(value, variable.dtype)
    return Assign(variable, operand, lambda old, x: old - x, name or "AssignSub")


def group(*inputs: Any, name: str | None = None) -> Operation:
    """An operation that runs all of ``inputs``: tensors, operations or variables."""
    from pullback.compat.v1.tensor import as_node

    nodes = [as_node(x) for given in inputs for x in _flat(given)]
    return Operation(name or "group_deps", inputs=nodes)


def _flat(x: Any) -> list[Any]:
    return [*x] if isinstance(x, (list, tuple)) else [x]


def no_op(name: str | None = None) -> Operation:
    """An operation that does nothing but run after the ``control_dependencies`` around it."""
    return Operation(name or "NoOp")


def variables_initializer(var_list: Iterable[Variable], name: str = "init") -> Operation:
    """An operation that lets each variable hold its initial value."""
    return group(*(v.initializer for v in var_list), name=name)


def global_variables_initializer() -> Operation:
    """An operation that gives all variables that exist by now, optimizers' too, their first value.

    Make it after the whole graph.
    """
    graph = get_default_graph()
    return variables_initializer(graph.get_collection(GraphKeys.GLOBAL_VARIABLES))
