"""Nodes of a graph: ``Tensor``, which has a value, and ``Operation``, which is run for its effect.

Imports ``graph``, ``shapes`` and ``infer``. Every function of this package makes its nodes with
``apply``; a node says in ``evaluate`` how it is computed in a ``Frame``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.graph import Graph, get_default_graph
from pullback.compat.v1.infer import infer
from pullback.compat.v1.shapes import Dims, TensorShape, as_dims, full_dims, show_type
from pullback.errors import DTypeError, ShapeError
from pullback.program.source import current_source
from pullback.program.value import Array, Value
from pullback.types import DType, as_dtype, default_dtype

if TYPE_CHECKING:
    from pullback.compat.v1.frame import Frame

#: What the operators of tensors do, filled by ``arithmetic`` and ``arrays``.
OPERATORS: dict[str, Callable[..., Any]] = {}


class Node:
    """Something that a session can run.

    Attributes:
        graph: The graph it belongs to.
        op_name: Its name in the graph.
        source: The user's line that made it.
        inputs: The nodes that it computes with.
        controls: The nodes that it runs after.
        number: How many nodes were made before it.
        is_update: Whether it changes a variable: then it runs after what need not run after it.
    """

    is_update = False

    def __init__(self, name: str, inputs: Iterable[Node] = (), graph: Graph | None = None) -> None:
        self.inputs = tuple(inputs)
        self.graph = _common_graph(self.inputs) if graph is None else graph
        self.op_name = self.graph.unique_name(name)
        self.source = current_source()
        self.controls = self.graph.controls
        self.number = self.graph.add(self)

    @property
    def name(self) -> str:
        """Its name."""
        return self.op_name

    def evaluate(self, frame: Frame) -> Any:
        """Compute it from what the frame holds for ``inputs``."""
        raise NotImplementedError

    def run(self, feed_dict: Any = None, session: Any = None) -> None:
        """Run it in ``session``, by default the default session."""
        from pullback.compat.v1.session import session_or_default

        session_or_default(session, self).run(self, feed_dict)

    def where(self) -> str:
        """``'MatMul' made at train.py:12``, for messages."""
        line = "" if self.source is None else f" made at {self.source.file}:{self.source.line}"
        return f"{self.name!r}{line}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def _common_graph(nodes: Sequence[Node]) -> Graph:
    graph = nodes[0].graph if nodes else get_default_graph()
    for node in nodes:
        if node.graph is not graph:
            raise GraphError(
                f"{node.where()} is of another graph than {nodes[0].where()}: make both inside "
                "the same `with graph.as_default():`"
            )
    return graph


class Operation(Node):
    """A node without a value: ``Session.run`` gives None for it.

    Args:
        name: Its name.
        effect: Called with the frame and the values of ``inputs``. Default: nothing happens.
        inputs: The nodes that must run before, whose values it gets.
    """

    def __init__(
        self,
        name: str,
        effect: Callable[..., None] | None = None,
        inputs: Iterable[Node] = (),
        graph: Graph | None = None,
    ) -> None:
        super().__init__(name, inputs, graph)
        self._effect = effect
        self.is_update = effect is not None

    def evaluate(self, frame: Frame) -> None:
        """Let the effect happen."""
        if self._effect is not None:
            self._effect(frame, *(frame.values[x] for x in self.inputs))


class Operators:
    """The operators of tensors and variables. ``==`` compares identity, as in TensorFlow 1."""

    __slots__ = ()
    __array_ufunc__ = None  # `numpy_array * tensor` is `tensor.__rmul__(numpy_array)`

    def __add__(self, other: Any) -> Tensor:
        return _operate("add", self, other)

    def __radd__(self, other: Any) -> Tensor:
        return _operate("add", other, self)

    def __sub__(self, other: Any) -> Tensor:
        return _operate("subtract", self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return _operate("subtract", other, self)

    def __mul__(self, other: Any) -> Tensor:
        return _operate("multiply", self, other)

    def __rmul__(self, other: Any) -> Tensor:
        return _operate("multiply", other, self)

    def __truediv__(self, other: Any) -> Tensor:
        return _operate("divide", self, other)

    def __rtruediv__(self, other: Any) -> Tensor:
        return _operate("divide", other, self)

    def __floordiv__(self, other: Any) -> Tensor:
        return _operate("floordiv", self, other)

    def __rfloordiv__(self, other: Any) -> Tensor:
        return _operate("floordiv", other, self)

    def __mod__(self, other: Any) -> Tensor:
        return _operate("mod", self, other)

    def __rmod__(self, other: Any) -> Tensor:
        return _operate("mod", other, self)

    def __pow__(self, other: Any) -> Tensor:
        return _operate("pow", self, other)

    def __rpow__(self, other: Any) -> Tensor:
        return _operate("pow", other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return _operate("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return _operate("matmul", other, self)

    def __lt__(self, other: Any) -> Tensor:
        return _operate("less", self, other)

    def __le__(self, other: Any) -> Tensor:
        return _operate("less_equal", self, other)

    def __gt__(self, other: Any) -> Tensor:
        return _operate("greater", self, other)

    def __ge__(self, other: Any) -> Tensor:
        return _operate("greater_equal", self, other)

    def __and__(self, other: Any) -> Tensor:
        return _operate("logical_and", self, other)

    def __or__(self, other: Any) -> Tensor:
        return _operate("logical_or", self, other)

    def __invert__(self) -> Tensor:
        return _operate("logical_not", self)

    def __neg__(self) -> Tensor:
        return _operate("negative", self)

    def __abs__(self) -> Tensor:
        return _operate("abs", self)

    def __getitem__(self, key: Any) -> Tensor:
        return _operate("getitem", self, key)

    def __iter__(self) -> Any:
        raise TypeError(f"{self!r} cannot be iterated over before it runs: use tf.unstack")

    def __bool__(self) -> bool:
        raise TypeError(
            f"{self!r} has no value before a session runs it, so `if` cannot ask for it: use "
            "tf.where in the graph, or `if sess.run(...)`"
        )


#: Names of what operators make, where TensorFlow's differ from those of its functions.
_LABELS = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "truediv",
    "floordiv": "floordiv",
    "mod": "mod",
    "pow": "pow",
    "matmul": "matmul",
}


def _operate(name: str, *operands: Any) -> Tensor:
    label = {"name": _LABELS[name]} if name in _LABELS else {}
    result: Tensor = OPERATORS[name](*operands, **label)
    return result


class Tensor(Operators, Node):
    """An array of the graph: nothing is computed before a session runs it.

    Attributes:
        dims: What is known of its shape.
        dtype: Its dtype.
        is_differentiable: Whether gradients pass through it.
    """

    def __init__(
        self,
        name: str,
        dims: Dims,
        dtype: DType,
        inputs: Iterable[Node] = (),
        compute: Callable[..., Any] | None = None,
        graph: Graph | None = None,
        is_differentiable: bool = True,
    ) -> None:
        self.dims = dims
        self.dtype = dtype
        self.is_differentiable = is_differentiable
        self._compute = compute
        super().__init__(name, inputs, graph)

    @property
    def name(self) -> str:
        """Its name, such as ``"Mul:0"``."""
        return f"{self.op_name}:0"

    @property
    def op(self) -> Node:
        """An operation that computes it, and whose ``name`` has no ``:0``."""
        return _ComputedBy(self)

    @property
    def shape(self) -> TensorShape:
        """What is known of its shape."""
        return TensorShape(self.dims)

    def get_shape(self) -> TensorShape:
        """What is known of its shape."""
        return self.shape

    def set_shape(self, shape: Any) -> None:
        """Say what is known of its shape besides.

        Raises:
            ShapeError: it contradicts what is known.
        """
        given = as_dims(shape)
        if given is None:
            return
        known = (None,) * len(given) if self.dims is None else self.dims
        pairs = [*zip(known, given, strict=False)]
        if len(known) != len(given) or any(None not in p and p[0] != p[1] for p in pairs):
            raise ShapeError(f"set_shape({shape}) of {self!r}: it contradicts what is known")
        self.dims = tuple(m if n is None else n for n, m in pairs)

    def eval(self, feed_dict: Any = None, session: Any = None) -> Any:
        """Its value in ``session``, by default the default session."""
        from pullback.compat.v1.session import session_or_default

        return session_or_default(session, self).run(self, feed_dict)

    def evaluate(self, frame: Frame) -> Any:
        """Its value from those of ``inputs``."""
        if self._compute is None:
            raise GraphError(f"{self.where()} has no value of its own")
        return self._compute(*(frame.values[x] for x in self.inputs))

    def describe(self) -> str:
        """``f32[?,2]``."""
        return show_type(self.dims, self.dtype)

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, {self.describe()})"


class _ComputedBy(Node):
    """What computes a tensor, as a node without a value. Not listed in the graph."""

    def __init__(self, tensor: Tensor) -> None:
        self.inputs = (tensor,)
        self.graph, self.op_name, self.source = tensor.graph, tensor.op_name, tensor.source
        self.controls, self.number = (), tensor.number
        self.tensor = tensor

    def evaluate(self, frame: Frame) -> None:
        """Nothing: the tensor has been computed."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ComputedBy) and other.tensor is self.tensor

    def __hash__(self) -> int:
        return hash((_ComputedBy, self.tensor))


def apply(
    name: str,
    compute: Callable[..., Any],
    *operands: Tensor,
    label: str | None = None,
    is_differentiable: bool = True,
) -> Tensor:
    """Make the tensor that ``compute`` gives for the values of ``operands``.

    Args:
        name: The operation's, for messages and as default name of the tensor.
        compute: A function of arrays of the engine. It is traced here on types alone.
        operands: Tensors.
        label: The user's name for the tensor.
        is_differentiable: Whether gradients pass through it.

    Raises:
        ShapeError, DTypeError: ``compute`` refuses operands of these types, whatever the lengths
            that are not known.

    Cost: tracing ``compute`` twice, some 100 microseconds.
    """
    dims, dtype = infer(name, compute, [(x.dims, x.dtype) for x in operands])
    return Tensor(
        label or name, dims, dtype, operands, compute, is_differentiable=is_differentiable
    )


def as_node(x: Any) -> Node:
    """The node that a user's object stands for: a tensor, an operation, or what a variable holds.

    Raises:
        GraphError: it is none of these.
    """
    if isinstance(x, Node):
        return x
    node = getattr(x, "as_node", None)
    if node is None:
        raise GraphError(
            f"{x!r} of type {type(x).__name__} is no tensor, operation or variable of a graph"
        )
    found: Node = node()
    return found


def convert_to_tensor(value: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Return ``value`` as a tensor.

    Args:
        value: A tensor, a variable, or numbers.
        dtype: Wanted dtype; numbers are cast to it. Default: float32 and int32 for Python numbers,
            that of the array for NumPy arrays.
        name: Name of the constant.

    Raises:
        DTypeError: a tensor has another dtype, or ``value`` holds no numbers.
    """
    wanted = None if dtype is None else as_dtype(dtype)
    if isinstance(value, Operation):
        raise GraphError(f"{value.where()} is an operation without a value, not a tensor")
    if hasattr(value, "as_node") or isinstance(value, Tensor):
        node = as_node(value)
        if not isinstance(node, Tensor):
            raise GraphError(f"{node.where()} has no value")
        if wanted is not None and node.dtype != wanted:
            raise DTypeError(
                f"{node!r} has the dtype {node.dtype}, expected {wanted}: cast it with tf.cast"
            )
        return node
    if isinstance(value, (list, tuple)) and any(isinstance(x, Operators) for x in _flat(value)):
        packed: Tensor = OPERATORS["stack"]([convert_to_tensor(x, wanted) for x in value])
        return packed
    return constant(value, wanted, name=name or "Const")


def _flat(x: Any) -> Iterable[Any]:
    for item in x:
        if isinstance(item, (list, tuple)):
            yield from _flat(item)
        else:
            yield item


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str = "Const") -> Tensor:
    """A tensor with the given elements.

    Args:
        value: A number, nested lists of numbers, or a NumPy array; copied.
        dtype: Default: float32 and int32 for Python numbers, that of the array for NumPy arrays.
        shape: A number is repeated to it, an array reshaped.
        name: Name of the tensor.

    Raises:
        DTypeError: ``value`` holds no numbers.
        ShapeError: it cannot be reshaped.
    """
    data = _numbers(value, None if dtype is None else as_dtype(dtype))
    if shape is not None:
        lengths = full_dims("constant", shape)
        if data.size != 1 and data.size != np.prod(lengths, dtype=int):
            raise ShapeError(f"constant of {data.size} elements cannot have the shape {lengths}")
        data = np.broadcast_to(data.reshape(()), lengths) if data.size == 1 else data
        data = data.reshape(lengths)
    held = Array(np.array(data, order="C"))
    return Tensor(name, data.shape, held.dtype, (), lambda: held)


def _numbers(value: Any, dtype: DType | None) -> np.ndarray[Any, Any]:
    if isinstance(value, Value):
        value = np.asarray(value)
    data = np.asarray(value)
    if data.dtype.kind not in "biufV" or (data.dtype.kind == "V" and data.dtype.names):
        raise DTypeError(f"{value!r} of dtype {data.dtype} holds no numbers that a tensor can hold")
    if dtype is None:
        is_plain = not isinstance(value, (np.ndarray, np.generic))
        dtype = default_dtype(data.flat[0].item()) if is_plain and data.size else None
        if is_plain and not data.size:
            dtype = as_dtype("float32")
        if is_plain and data.dtype.kind == "f":
            dtype = as_dtype("float32")
        dtype = as_dtype(data.dtype) if dtype is None else dtype
    return data.astype(dtype)


def convert_operands(*values: Any) -> list[Tensor]:
    """Convert the operands of one operation: numbers take the dtype of the tensors.

    Raises:
        DTypeError: two tensors have different dtypes.
    """
    given = [x for x in values if isinstance(x, Tensor) or hasattr(x, "as_node")]
    tensors = [convert_to_tensor(x) for x in given]
    if not tensors:
        first = convert_to_tensor(values[0])
        return [first, *(convert_to_tensor(x, first.dtype) for x in values[1:])]
    for x in tensors[1:]:
        if x.dtype != tensors[0].dtype:
            raise DTypeError(
                f"operands {tensors[0]!r} and {x!r} have different dtypes: cast one with tf.cast"
            )
    return [
        convert_to_tensor(x, tensors[0].dtype) if not isinstance(x, Tensor) else x for x in values
    ]
