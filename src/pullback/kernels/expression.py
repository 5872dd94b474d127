"""Builds kernel expressions: the ``LoopBuilder`` that every primitive's ``lower`` rule talks to.

Equal nodes are one object, so common subexpressions cost nothing. Where ``x.at(index)`` leads is
the business of the ``read`` callback (``kernels.lower``).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from pullback.kernels.core import Buffer, Node, Reduction
from pullback.kernels.index import Affine, Dynamic, LoopVar, as_index
from pullback.program.loops import PREDICATES, SCALAR_OPS, Index
from pullback.types import ArrayType, DType, bool_, int64, uint64

_COMMUTATIVE = frozenset({"add", "mul", "max", "min", "and", "or", "xor", "eq", "ne"})


class Expressions:
    """Hash-consing node factory of one kernel; implements ``LoopBuilder``."""

    def __init__(self) -> None:
        self._nodes: dict[Any, Node] = {}
        self._vars: dict[tuple[int, int], LoopVar] = {}
        self._active: list[frozenset[LoopVar]] = []

    # --- nodes -----------------------------------------------------------------------------------
    def node(
        self,
        op: str,
        dtype: DType,
        args: tuple[Node, ...] = (),
        payload: Any = None,
        free: frozenset[LoopVar] = frozenset(),
    ) -> Node:
        """The node with these parts, new or known."""
        key = (op, dtype, tuple(a.number for a in args), payload)
        found = self._nodes.get(key)
        if found is None:
            free = free.union(*(a.free for a in args)) if args else free
            found = Node(op, dtype, args, payload, free, len(self._nodes))
            self._nodes[key] = found
        return found

    def var(self, extent: int, ordinal: int) -> LoopVar:
        """The kernel's loop counter number ``ordinal`` of that extent; the same object each time.

        Sharing counters between loops of equal length makes their expressions equal nodes, so
        that two passes over a row can become one.
        """
        key = (extent, ordinal)
        if key not in self._vars:
            self._vars[key] = LoopVar(extent, f"i{len(self._vars)}")
        return self._vars[key]

    def fresh_vars(self, extents: tuple[int, ...], used: frozenset[LoopVar]) -> tuple[LoopVar, ...]:
        """Counters for these extents, none of them in ``used``."""
        taken = set(used)
        result = []
        for extent in extents:
            ordinal = 0
            while (var := self.var(extent, ordinal)) in taken:
                ordinal += 1
            taken.add(var)
            result.append(var)
        return tuple(result)

    @contextlib.contextmanager
    def inside(self, index: Index) -> Iterator[None]:
        """While a rule is asked for the element at ``index``, its counters are in use.

        Only these: a value that depends on fewer counters is then written with the same loops,
        and so is the same node, wherever it is asked for.
        """
        self._active.append(frozenset().union(*(as_index(i).free for i in index)))
        try:
            yield
        finally:
            self._active.pop()

    def load(self, buffer: Buffer, offset: Affine) -> Node:
        """The element of ``buffer`` at ``offset``."""
        return self.node("load", buffer.dtype, (), (buffer, offset), offset.free)

    # --- LoopBuilder -----------------------------------------------------------------------------
    def constant(self, value: Any, dtype: DType) -> Node:
        """A constant of ``dtype``."""
        scalar = np.asarray(value).astype(dtype)[()]
        found = self._nodes.get(("constant", dtype, scalar.tobytes()))
        if found is None:
            found = Node("constant", dtype, (), scalar, frozenset(), len(self._nodes))
            self._nodes[("constant", dtype, scalar.tobytes())] = found
        return found

    def op(self, opcode: str, *args: Any) -> Node:
        """Apply a scalar opcode."""
        if SCALAR_OPS[opcode][0] != len(args):
            raise ValueError(f"{opcode} takes {SCALAR_OPS[opcode][0]} operands, got {len(args)}")
        if opcode in _COMMUTATIVE and args[1].number < args[0].number:
            args = (args[1], args[0])
        dtype = bool_ if opcode in PREDICATES else args[0].dtype
        return self.node(opcode, dtype, args)

    def polygamma(self, order: int, x: Any) -> Node:
        """Derivative number ``order`` of digamma."""
        return self.node("polygamma", x.dtype, (x,), order)

    def select(self, predicate: Any, on_true: Any, on_false: Any) -> Node:
        """``on_true`` where the predicate holds."""
        if predicate.op == "constant":
            chosen: Node = on_true if predicate.payload else on_false
            return chosen
        return self.node("select", on_true.dtype, (predicate, on_true, on_false))

    def cast(self, x: Any, dtype: DType) -> Node:
        """Convert the value."""
        return x if x.dtype == dtype else self.node("cast", dtype, (x,))

    def bitcast(self, x: Any, dtype: DType) -> Node:
        """Reinterpret the bits."""
        return x if x.dtype == dtype else self.node("bitcast", dtype, (x,))

    def index_value(self, index: Any, dtype: DType) -> Node:
        """An index expression as a number."""
        index = as_index(index)
        if not index.terms:
            return self.constant(index.constant, dtype)
        return self.node("index", dtype, (), index, index.free)

    def to_index(self, x: Any, low: int, high: int) -> Affine:
        """An integer element as an index, clamped."""
        if x.op == "constant":
            return Affine(min(max(int(x.payload), low), high))
        if low >= high:
            return Affine(low)
        if x.dtype == uint64:
            x = self.op("min", x, self.constant(high, x.dtype))
        return Affine(0, ((Dynamic(self.cast(x, int64), low, high), 1),))

    def within(self, index: Any, low: int, high: int) -> Node:
        """The boolean ``low <= index < high``."""
        index = as_index(index)
        smallest, largest = index.bounds
        if smallest >= low and largest < high:
            return self.constant(True, bool_)
        if largest < low or smallest >= high:
            return self.constant(False, bool_)
        return self.node("within", bool_, (), (index, low, high), index.free)

    def _loop(
        self, extents: tuple[int, ...], body: Callable[[Index], Any]
    ) -> tuple[tuple[LoopVar, ...], Node]:
        used = self._active[-1] if self._active else frozenset()
        vars = self.fresh_vars(extents, used)
        index = tuple(as_index(v) for v in vars)
        self._active.append(used.union(vars))
        try:
            return vars, body(index)
        finally:
            self._active.pop()

    def reduce(
        self, opcode: str, extents: tuple[int, ...], body: Callable[[Index], Any], initial: Any
    ) -> Node:
        """Combine ``body(k)`` over all ``k``."""
        if 0 in extents:
            return initial  # type: ignore[no-any-return]
        if not extents:
            return self.op(opcode, initial, body(()))
        vars, value = self._loop(extents, body)
        free = (value.free | initial.free) - frozenset(vars)
        key = ("reduce", value.number, initial.number, opcode, vars)
        if key not in self._nodes:
            node = Node(
                "reduce",
                value.dtype,
                (value, initial),
                Reduction(opcode, vars),
                free,
                len(self._nodes),
            )
            self._nodes[key] = node
        return self._nodes[key]

    def argreduce(self, opcode: str, extent: int, body: Callable[[Any], Any], dtype: DType) -> Node:
        """The first index at which ``body`` is largest or least."""
        vars, value = self._loop((extent,), lambda index: body(index[0]))
        key = ("argreduce", value.number, opcode, vars, dtype)
        if key not in self._nodes:
            free = value.free - frozenset(vars)
            node = Node(
                "argreduce", dtype, (value,), Reduction(opcode, vars), free, len(self._nodes)
            )
            self._nodes[key] = node
        return self._nodes[key]


class ReadOperand:
    """An operand of the equation being lowered: ``at`` asks the scheduler's ``read``."""

    def __init__(self, type: ArrayType, read: Callable[[tuple[Affine, ...]], Node]) -> None:
        self.type = type
        self._read = read

    def at(self, index: Index) -> Node:
        """The element at ``index``."""
        return self._read(tuple(as_index(i) for i in index))


def topological(roots: list[Node]) -> list[Node]:
    """All nodes under ``roots``, operands first, not entering index expressions' nodes twice."""
    order: list[Node] = []
    seen: set[Node] = set()
    stack: list[tuple[Node, bool]] = [(r, False) for r in reversed(roots)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
            continue
        if node in seen:
            continue
        seen.add(node)
        stack.append((node, True))
        stack.extend((child, False) for child in children(node) if child not in seen)
    return order


def children(node: Node) -> list[Node]:
    """The nodes a node needs: its operands and those inside its index expression."""
    result = list(node.args)
    index = index_of(node)
    if index is not None:
        result.extend(dynamic_nodes(index))
    return result


def index_of(node: Node) -> Affine | None:
    """The index expression in a node's payload, if it has one."""
    if node.op == "load":
        return node.payload[1]  # type: ignore[no-any-return]
    if node.op == "index":
        return node.payload  # type: ignore[no-any-return]
    if node.op == "within":
        return node.payload[0]  # type: ignore[no-any-return]
    return None


def dynamic_nodes(index: Affine) -> list[Node]:
    """Nodes that an index expression reads."""
    result: list[Node] = []
    for term, _ in index.terms:
        if isinstance(term, Dynamic):
            result.append(term.node)
        elif not isinstance(term, LoopVar):
            result.extend(dynamic_nodes(term.operand))
    return result
