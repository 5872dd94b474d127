"""Writes ONNX graphs node by node: names, constants, lengths, bodies of loops.

Imports ``dimensions`` and, alone with ``model``, the library ``onnx``. Start at ``Graph``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from pullback.export.dimensions import Dim, is_static, terms_of
from pullback.export.errors import ExportError
from pullback.program.core import NDArray
from pullback.types import FLOAT8, ArrayType, DType, int64

#: A value of the graph, by name.
Name = str

#: More elements than this, and an array counts as a weight: it is not merged with equal ones.
_SHARED_ELEMENTS: Final = 64


def element_type(dtype: DType) -> int:
    """ONNX's number for a dtype."""
    return int(helper.np_dtype_to_tensor_dtype(dtype))


class Root:
    """What all graphs of a model share: names, arrays, lengths, the version of the operators."""

    def __init__(self, opset: int) -> None:
        self.opset = opset
        self.taken: set[str] = set()
        self.initializers: dict[Name, Any] = {}
        #: Nodes that compute lengths from the inputs; they come before all others.
        self.prologue: list[Any] = []
        #: Where each free length is found: an input and an axis.
        self.symbols: dict[str, tuple[Name, int]] = {}
        self._constants: dict[tuple[Any, ...], Name] = {}
        self._lengths: dict[Any, Name] = {}

    def fresh(self, hint: str) -> Name:
        """A name that nothing has yet."""
        name, count = hint, 0
        while not name or name in self.taken:
            count += 1
            name = f"{hint}_{count}"
        self.taken.add(name)
        return name

    def array(self, array: NDArray, hint: str) -> Name:
        """An initializer of its own."""
        name = self.fresh(hint)
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        if not array.shape:  # ascontiguousarray makes it one of rank 1
            self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def constant(self, array: NDArray) -> Name:
        """An initializer with these values; small ones are shared."""
        if array.size > _SHARED_ELEMENTS:
            return self.array(array, "constant")
        key = (array.dtype, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.array(array, "constant")
        return self._constants[key]

    def symbol(self, symbol: str) -> Name:
        """A free length of an input as ``int64[1]``."""
        if symbol not in self._lengths:
            name, axis = self.symbols[symbol]
            node = self._prologue_node("Shape", name, start=axis, end=axis + 1)
            self._lengths[symbol] = node
        return self._lengths[symbol]

    def length(self, n: int) -> Name:
        """A polynomial of free lengths of inputs as ``int64[1]``, computed once, at the start."""
        if n not in self._lengths:
            self._lengths[n] = polynomial(n, self.symbol, self.constant, self._prologue_node)
        return self._lengths[n]

    def _prologue_node(self, kind: str, *inputs: Name, **attributes: Any) -> Name:
        name = self.fresh(f"lengths/{kind}")
        self.prologue.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name


def polynomial(
    n: int,
    symbol: Callable[[str], Name],
    constant: Callable[[NDArray], Name],
    node: Callable[..., Name],
) -> Name:
    """Write the nodes that compute a length."""
    total: Name | None = None
    for monomial, factor in terms_of(n).items():
        parts = [symbol(s) for s in monomial]
        if factor != 1 or not parts:
            parts.append(constant(np.asarray([factor], int64)))
        term = parts[0]
        for part in parts[1:]:
            term = node("Mul", term, part)
        total = term if total is None else node("Add", total, term)
    assert total is not None  # noqa: S101  # a Dim has terms
    return total


class Graph:
    """A graph being written: the model's, or the body of a loop or a branch.

    Names of outer graphs are visible in inner ones, as in ONNX.
    """

    def __init__(self, root: Root, outer: Graph | None = None) -> None:
        self.root = root
        self.outer = outer
        self.nodes: list[Any] = []
        #: Lengths that values of this graph have, and inputs do not tell.
        self.derived: dict[str, Name] = {}
        #: The layer that nodes are named after.
        self.scope = ""

    def op(self, kind: str, *inputs: Name, **attributes: Any) -> Name:
        """Append a node with one output, and return it."""
        return self.ops(kind, inputs, 1, **attributes)[0]

    def ops(self, kind: str, inputs: Iterable[Name], count: int, **attributes: Any) -> list[Name]:
        """Append a node with ``count`` outputs."""
        hint = f"{self.scope}/{kind}" if self.scope else kind
        names = [self.root.fresh(hint) for _ in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=names[0], **attributes))
        return names

    def constant(self, value: Any, dtype: DType) -> Name:
        """An array of the dtype."""
        return self.root.constant(np.asarray(value, dtype))

    def integers(self, values: Sequence[int]) -> Name:
        """Integers as ``int64[n]``, computed where one of them is a free length."""
        if all(map(is_static, values)):
            return self.constant(list(values), int64)
        if len(values) == 1:
            return self.length(values[0])
        parts: list[Name] = []
        run: list[int] = []
        for n in values:
            if is_static(n):
                run.append(n)
                continue
            if run:
                parts.append(self.constant(run, int64))
                run = []
            parts.append(self.length(n))
        if run:
            parts.append(self.constant(run, int64))
        return self.op("Concat", *parts, axis=0)

    def length(self, n: int) -> Name:
        """A length as ``int64[1]``."""
        if is_static(n):
            return self.constant([n], int64)
        symbols = {symbol for monomial in terms_of(n) for symbol in monomial}
        if symbols <= self.root.symbols.keys():
            return self.root.length(n)
        return polynomial(n, self._symbol, self.root.constant, self.op)

    def _symbol(self, symbol: str) -> Name:
        if symbol in self.root.symbols:
            return self.root.symbol(symbol)
        graph: Graph | None = self
        while graph is not None:
            if symbol in graph.derived:
                return graph.derived[symbol]
            graph = graph.outer
        raise ExportError(
            f"the length {symbol!r} is known only inside a loop: it comes from a strided window on "
            "an axis of free length. Give all lengths in the signature"
        )

    def define(self, x: Name, type_: ArrayType) -> None:
        """Note the lengths that only the value ``x`` tells."""
        for axis, n in enumerate(type_.shape):
            for symbol in {s for monomial in terms_of(n) for s in monomial}:
                if symbol not in self.root.symbols and symbol not in self.derived:
                    self.derived[symbol] = self.op("Shape", x, start=axis, end=axis + 1)

    def cast(self, x: Name, source: DType, target: DType) -> Name:
        """``x`` in another dtype; ``x`` itself where it is the same."""
        if source == target:
            return x
        exact = {"saturate": 0} if target in FLOAT8 else {}  # else infinity becomes finite
        return self.op("Cast", x, to=element_type(target), **exact)

    def reduce(self, kind: str, x: Name, axes: Sequence[int]) -> Name:
        """Reduce over static axes, which leave the shape."""
        if self.root.opset < 18 and kind != "ReduceSum":
            return self.op(kind, x, axes=list(axes), keepdims=0)
        return self.op(kind, x, self.integers(axes), keepdims=0)

    def squeeze(self, x: Name, axes: Sequence[int]) -> Name:
        """Take away axes of length 1."""
        return self.op("Squeeze", x, self.integers(axes)) if axes else x

    def unsqueeze(self, x: Name, axes: Sequence[int]) -> Name:
        """Put in axes of length 1."""
        return self.op("Unsqueeze", x, self.integers(sorted(axes))) if axes else x

    def transpose(self, x: Name, permutation: Sequence[int]) -> Name:
        """Reorder axes; ``x`` itself where they stay."""
        if list(permutation) == list(range(len(permutation))):
            return x
        return self.op("Transpose", x, perm=list(permutation))

    def reshape(self, x: Name, source: Sequence[int], target: Sequence[int]) -> Name:
        """The same elements in the shape ``target``; ``x`` itself where it is the same.

        A free length stays symbolic: 0 repeats the length at the same axis of ``x``, one other
        length is -1, found from the rest; where that does not do, the shape is computed.
        """
        if tuple(source) == tuple(target):
            return x
        if all(map(is_static, target)):
            return self.op("Reshape", x, self.integers(target), allowzero=int(0 in target))
        short = [
            0 if not is_static(n) and i < len(source) and source[i] == n else n
            for i, n in enumerate(target)
        ]
        if 0 in [n for n in target if is_static(n)]:
            return self.op("Reshape", x, self.integers(target), allowzero=1)
        free = [i for i, n in enumerate(short) if not is_static(n)]
        if len(free) == 1:
            short[free[0]] = -1
        return self.op("Reshape", x, self.integers(short))

    def expand(self, x: Name, source: Sequence[int], target: Sequence[int]) -> Name:
        """Repeat along new leading axes and axes of length 1; ``x`` itself where nothing grows."""
        if tuple(source) == tuple(target):
            return x
        padded = [1] * (len(target) - len(source)) + list(source)
        grown = [1 if n == m else m for n, m in zip(padded, target, strict=True)]
        return self.op("Expand", x, self.integers(grown))

    def slice(
        self,
        x: Name,
        starts: Sequence[int],
        stops: Sequence[int],
        shape: Sequence[int],
        strides: Sequence[int] | None = None,
    ) -> Name:
        """Part of ``x`` of the given shape; axes that are taken whole are left out."""
        steps = list(strides) if strides is not None else [1] * len(shape)
        axes = [
            i
            for i, n in enumerate(shape)
            if not (is_static(starts[i]) and starts[i] == 0 and stops[i] == n and steps[i] == 1)
        ]
        if not axes:
            return x
        first = [_from_end(starts[i], shape[i]) for i in axes]
        last = [
            np.iinfo(np.int64).max if stops[i] == shape[i] else _from_end(stops[i], shape[i])
            for i in axes
        ]
        inputs = [x, self.integers(first), self.integers(last), self.integers(axes)]
        taken = [steps[i] for i in axes]
        if any(step != 1 for step in taken):
            inputs.append(self.integers(taken))
        return self.op("Slice", *inputs)

    def inner(self) -> Graph:
        """A graph for a body, whose nodes see the names of this one."""
        graph = Graph(self.root, self)
        graph.scope = self.scope
        return graph

    def body(
        self, name: str, inputs: Sequence[tuple[Name, ArrayType]], outputs: Sequence[Name]
    ) -> Any:
        """This graph, finished, as the body of a loop or a branch."""
        made = {out for node in self.nodes for out in node.output}
        results: list[Name] = []
        for out in outputs:
            # An output must be made here, and named once.
            fresh = out not in made or out in results
            results.append(self.op("Identity", out) if fresh else out)
        return helper.make_graph(
            live_nodes(self.nodes, results),
            name,
            [value_info(x, t) for x, t in inputs],
            [onnx.ValueInfoProto(name=out) for out in results],
        )


def _from_end(place: int, length: int) -> int:
    """A place counted from the end where it is free and the distance is not."""
    if is_static(place):
        return place
    distance = place - length
    return distance if is_static(distance) and distance < 0 else place


def value_info(name: Name, type_: ArrayType) -> Any:
    """The declaration of an input or output; a free length is written as its polynomial."""
    shape = [str(n) if isinstance(n, Dim) else n for n in type_.shape]
    return helper.make_tensor_value_info(name, element_type(type_.dtype), shape)


def live_nodes(nodes: Sequence[Any], outputs: Sequence[Name]) -> list[Any]:
    """The nodes that the outputs need, in order."""
    needed = set(outputs)
    kept: list[Any] = []
    for node in reversed(nodes):
        if needed.isdisjoint(node.output):
            continue
        needed |= names_read([node])
        kept.append(node)
    return kept[::-1]


def names_read(nodes: Iterable[Any]) -> set[Name]:
    """All names that nodes and the graphs inside them read."""
    names: set[Name] = set()
    for node in nodes:
        names.update(node.input)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                names |= names_read(attribute.g.node)
                names.update(out.name for out in attribute.g.output)
    return names
