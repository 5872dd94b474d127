"""Writes kernel expressions as LLVM IR: nodes to values, indices to addresses, lanes to vectors.

One counter may be *spread*: its lanes are computed together in a vector. Nodes that don't depend
on it stay scalars. Values are remembered by scope, so each is computed in the outermost loop that
knows its counters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import field
from typing import Any

from pullback.backend.llvm.emit import (
    Function,
    V,
    element_bytes,
    lanes_of,
    mangle,
    vector_type,
)
from pullback.backend.llvm.math import emit_math
from pullback.backend.llvm.scalar import (
    constant,
    element_type,
    emit_cast,
    emit_integer_cast,
    emit_op,
    is_narrow,
    memory_type,
)
from pullback.kernels.core import Buffer, Node, Reduction
from pullback.kernels.expression import topological
from pullback.kernels.index import Affine, Dynamic, LoopVar, Remainder
from pullback.records import dataclass
from pullback.types import FLOATING, DType, bool_, float32, int64

LANES = 16


@dataclass
class Spread:
    """The counter whose lanes are computed together, and which lanes exist."""

    var: LoopVar
    base: V  # value of the counter in lane 0
    lanes: int
    mask: V | None = None  # None: all lanes


@dataclass
class Writer:
    """State while one kernel function is written."""

    f: Function
    pointers: dict[Buffer, V]
    counters: dict[LoopVar, V] = field(default_factory=dict)
    scopes: list[dict[Any, V]] = field(default_factory=lambda: [{}])
    spread: Spread | None = None
    reuse: dict[Node, Node] = field(default_factory=dict)
    #: Number of scopes outside of which values that depend on these counters are not visible.
    _rebound: list[tuple[int, frozenset[LoopVar]]] = field(default_factory=list)

    # --- scopes ----------------------------------------------------------------------------------
    @contextlib.contextmanager
    def scope(self) -> Iterator[None]:
        """Values computed inside are forgotten afterwards."""
        self.scopes.append({})
        try:
            yield
        finally:
            self.scopes.pop()

    def known(self, key: Any, free: frozenset[LoopVar]) -> V | None:
        """The value of what depends on ``free``, if an enclosing scope has computed it."""
        outermost = 0
        for depth, counters in self._rebound:
            if counters & free:
                outermost = depth
        for scope in reversed(self.scopes[outermost:]):
            value: V | None = scope.get(key)
            if value is not None:
                return value
        return None

    def remember(self, key: Any, value: V) -> V:
        """Keep a value for the rest of the innermost scope."""
        self.scopes[-1][key] = value
        return value

    @contextlib.contextmanager
    def rebinding(self, vars: tuple[LoopVar, ...]) -> Iterator[None]:
        """Inside, these counters may run anew: two loops of a kernel may share a counter.

        What was computed with their outer values is not seen inside.
        """
        outer = {v: self.counters.pop(v) for v in vars if v in self.counters}
        spread = self.spread
        hidden = set(outer)
        if spread is not None and spread.var in vars:
            hidden.add(spread.var)
            self.spread = None
        if not hidden:
            yield
            return
        self._rebound.append((len(self.scopes), frozenset(hidden)))
        try:
            with self.scope():
                yield
        finally:
            self._rebound.pop()
            self.counters.update(outer)
            self.spread = spread

    @contextlib.contextmanager
    def loop(self, var: LoopVar, start: V | int = 0, stop: V | int | None = None) -> Iterator[None]:
        """A scalar loop over one counter."""
        with self.f.loop(start, var.extent if stop is None else stop) as i, self.scope():
            self.counters[var] = i
            yield
            del self.counters[var]

    @contextlib.contextmanager
    def loops(self, vars: tuple[LoopVar, ...], roots: list[Node]) -> Iterator[None]:
        """Nested scalar loops; before each, what does not depend on it is computed."""
        with contextlib.ExitStack() as stack:
            for var in vars:
                self.hoist(roots)
                stack.enter_context(self.loop(var))
            self.hoist(roots)
            yield

    @contextlib.contextmanager
    def spreading(self, var: LoopVar, base: V, lanes: int, mask: V | None) -> Iterator[None]:
        """Compute ``lanes`` values of ``var`` from ``base`` on together."""
        outer = self.spread
        self.spread = Spread(var, base, lanes, mask)
        try:
            with self.scope():
                yield
        finally:
            self.spread = outer

    def hoist(self, roots: list[Node]) -> None:
        """Compute now every node under ``roots`` that depends on no counter still to come.

        Operands come first, so that writing a deep expression never recurses deeply.
        """
        bound = frozenset(self.counters)
        if self.spread is not None:
            bound |= {self.spread.var}
        for node in topological(roots):
            if node.op != "constant" and node.free <= bound and node not in self.reuse:
                self.value(node)

    def vector_loop(
        self,
        var: LoopVar,
        start: V | int,
        stop: V | int,
        emit_lanes: Callable[[int], None],
        *,
        wide: int = LANES,
        multiple: bool = False,
        roots: list[Node] | None = None,
    ) -> None:
        """Run ``emit_lanes(lanes)`` over ``start..stop`` of ``var``, vectors first, then a rest.

        Args:
            var: The counter to spread.
            start: First value.
            stop: One past the last.
            emit_lanes: Writes the body; called once for each vector width in use.
            wide: Widest vector; then 16 lanes; then one masked vector.
            multiple: Whether the range is known to be a multiple of 16.
            roots: Nodes whose loop-invariant parts are computed before the loop.
        """
        f = self.f
        if roots:
            self.hoist(roots)
        position = start
        known = isinstance(start, int) and isinstance(stop, int)
        for lanes in dict.fromkeys((wide, LANES)):
            if known:
                whole: V | int = start + (stop - start) // lanes * lanes  # type: ignore[operator]
                if whole == position:
                    continue
            else:
                start_v = position if isinstance(position, V) else V("i64", str(position))
                stop_v = stop if isinstance(stop, V) else V("i64", str(stop))
                length = f.sub(stop_v, start_v)
                rest = f.binary("srem", length, V("i64", str(lanes)))
                whole = f.sub(stop_v, rest)
            with f.loop(position, whole, lanes) as i, self.spreading(var, i, lanes, None):
                emit_lanes(lanes)
            position = whole
        if multiple or (known and position == stop):
            return
        stop_v = stop if isinstance(stop, V) else V("i64", str(stop))
        position_v = position if isinstance(position, V) else V("i64", str(position))
        if known:
            self._masked(var, position_v, stop_v, emit_lanes)
        else:
            with f.when(f.compare("slt", position_v, stop_v)):
                self._masked(var, position_v, stop_v, emit_lanes)

    def _masked(
        self, var: LoopVar, position: V, stop: V, emit_lanes: Callable[[int], None]
    ) -> None:
        mask = self.f.lane_mask(self.f.sub(stop, position), LANES)
        with self.spreading(var, position, LANES, mask):
            emit_lanes(LANES)

    # --- indices ---------------------------------------------------------------------------------
    def scalar_index(self, index: Affine) -> V:
        """The index in lane 0, as i64."""
        total: V | None = V("i64", str(index.constant)) if index.constant else None
        for term, coefficient in index.terms:
            value = self._term(term)
            if coefficient != 1:
                value = self.f.mul(value, V("i64", str(coefficient)))
            total = value if total is None else self.f.add(total, value)
        return total if total is not None else V("i64", "0")

    def _term(self, term: Any) -> V:
        if isinstance(term, LoopVar):
            if self.spread is not None and term is self.spread.var:
                return self.spread.base
            return self.counters[term]
        found = self.known(term, term.free())
        if found is not None:
            return found
        if isinstance(term, Dynamic):
            value = self._clamped(term)
        else:
            operand = self.scalar_index(term.operand)
            value = self._divide(term, operand)
        return self.remember(term, value)

    def _clamped(self, term: Dynamic) -> V:
        value = self.value(term.node)
        low, high = (self.f.const(value.type, x) for x in (term.low, term.high))
        value = self.f.intrinsic("smax", value, low)
        return self.f.intrinsic("smin", value, high)

    def _divide(self, term: Any, operand: V) -> V:
        divisor = self.f.const(operand.type, term.divisor)
        signed = term.operand.bounds[0] < 0
        if not signed:
            return self.f.binary(
                "urem" if isinstance(term, Remainder) else "udiv", operand, divisor
            )
        rest = self.f.binary("srem", operand, divisor)
        negative = self.f.compare("slt", rest, self.f.const(rest.type, 0))
        rest = self.f.select(negative, self.f.add(rest, divisor), rest)
        if isinstance(term, Remainder):
            return rest
        return self.f.binary("sdiv", self.f.sub(operand, rest), divisor)

    def vector_index(self, index: Affine) -> V:
        """The index in every lane, as a vector of i64."""
        spread = self.spread
        if spread is None:
            return self.scalar_index(index)
        lanes = spread.lanes
        scalar = Affine(
            index.constant, tuple((t, c) for t, c in index.terms if spread.var not in t.free())
        )
        total = self.f.splat(self.scalar_index(scalar), lanes)
        for term, coefficient in index.terms:
            if spread.var not in term.free():
                continue
            value = self._vector_term(term, spread)
            if coefficient != 1:
                value = self.f.mul(value, self.f.const(value.type, coefficient))
            total = self.f.add(total, value)
        return total

    def _vector_term(self, term: Any, spread: Spread) -> V:
        key = ("lanes", term)
        found = self.known(key, term.free())
        if found is not None:
            return found
        if isinstance(term, LoopVar):
            steps = self.f.const_lanes("i64", list(range(spread.lanes)))
            value = self.f.add(self.f.splat(spread.base, spread.lanes), steps)
        elif isinstance(term, Dynamic):
            value = self._clamped(term)
        else:
            value = self._divide(term, self.vector_index(term.operand))
        return self.remember(key, value)

    # --- memory ----------------------------------------------------------------------------------
    def load(self, buffer: Buffer, offset: Affine) -> V:
        """The element at ``offset``: a scalar, or one for each lane."""
        memory = memory_type(buffer.dtype)
        pointer = self.pointers[buffer]
        spread = self.spread
        if spread is None or spread.var not in offset.free:
            value = self.f.load(memory, self.f.gep(memory, pointer, self.scalar_index(offset)))
        elif offset.coefficient(spread.var) == 1:
            address = self.f.gep(memory, pointer, self.scalar_index(offset))
            type = vector_type(spread.lanes, memory)
            value = (
                self.f.load(type, address)
                if spread.mask is None
                else self.f.masked_load(type, address, spread.mask)
            )
        else:
            value = self._gather(memory, pointer, self.vector_index(offset), spread)
        if buffer.dtype == bool_:
            return self.f.compare("ne", value, self.f.const(value.type, 0))
        return value

    def _gather(self, memory: str, pointer: V, index: V, spread: Spread) -> V:
        lanes = spread.lanes
        type, pointers = vector_type(lanes, memory), f"<{lanes} x ptr>"
        addresses = self.f.emit(pointers, f"getelementptr {memory}, {pointer}, {index}")
        mask = spread.mask or self.f.const(f"<{lanes} x i1>", True)
        name = f"llvm.masked.gather.{mangle(type)}.v{lanes}p0"
        self.f.module.declare(name, type, (pointers, mask.type, type))
        align = element_bytes(memory)
        return self.f.emit(
            type,
            f"call {type} @{name}({pointers} align {align} {addresses.text}, {mask}, "
            f"{type} zeroinitializer)",
        )

    def store(self, buffer: Buffer, offset: Affine, value: V) -> None:
        """Write a scalar, or one element for each lane."""
        memory = memory_type(buffer.dtype)
        if buffer.dtype == bool_:
            value = self.f.convert("zext", value, "i8")
        pointer = self.pointers[buffer]
        spread = self.spread
        if spread is None or spread.var not in offset.free:
            self.f.store(value, self.f.gep(memory, pointer, self.scalar_index(offset)))
            return
        value = self.f.splat(value, spread.lanes)
        if offset.coefficient(spread.var) == 1:
            address = self.f.gep(memory, pointer, self.scalar_index(offset))
            if spread.mask is None:
                self.f.store(value, address)
            else:
                self.f.masked_store(value, address, spread.mask)
            return
        lanes = spread.lanes
        pointers = f"<{lanes} x ptr>"
        index = self.vector_index(offset)
        addresses = self.f.emit(pointers, f"getelementptr {memory}, {pointer}, {index}")
        mask = spread.mask or self.f.const(f"<{lanes} x i1>", True)
        name = f"llvm.masked.scatter.{mangle(value.type)}.v{lanes}p0"
        self.f.module.declare(name, "void", (value.type, pointers, mask.type))
        align = element_bytes(memory)
        self.f.raw(f"call void @{name}({value}, {pointers} align {align} {addresses.text}, {mask})")

    # --- nodes -----------------------------------------------------------------------------------
    def value(self, node: Node) -> V:
        """The node's value: computed now unless an enclosing scope knows it."""
        if node.op == "constant":
            return constant(self.f, element_type(node.dtype), node.dtype, node.payload)
        found = self.known(node, node.free)
        if found is not None:
            return found
        if node in self.reuse:
            return self.remember(node, self.value(self.reuse[node]))
        return self.remember(node, self._compute(node))

    def _compute(self, node: Node) -> V:
        if node.op == "load":
            return self.load(*node.payload)
        if node.op == "index":
            return self._index_value(node)
        if node.op == "within":
            return self._within(*node.payload)
        if node.op == "reduce":
            return self._reduce_in_lane(node)
        if node.op == "argreduce":
            return self._argreduce_in_lane(node)
        args = [self.value(a) for a in node.args]
        if node.op == "select":
            return self._select(*args)
        if node.op == "cast":
            return emit_cast(self.f, args[0], node.args[0].dtype, node.dtype)
        if node.op == "bitcast":
            return self._bitcast(args[0], node)
        if node.op == "polygamma":
            return self._polygamma(node, args[0])
        return emit_op(self.f, node.op, node.args[0].dtype, args)

    def _polygamma(self, node: Node, x: V) -> V:
        if not is_narrow(node.dtype):
            return emit_math(self.f, "polygamma", x, order=node.payload)
        wide = emit_cast(self.f, x, node.dtype, float32)
        value = emit_math(self.f, "polygamma", wide, order=node.payload)
        return emit_cast(self.f, value, float32, node.dtype)

    def _select(self, predicate: V, x: V, y: V) -> V:
        lanes = max(lanes_of(v.type) for v in (predicate, x, y))
        return self.f.select(*(self.f.splat(v, lanes) for v in (predicate, x, y)))

    def _bitcast(self, x: V, node: Node) -> V:
        return self.f.convert("bitcast", x, element_type(node.dtype))

    def _index_value(self, node: Node) -> V:
        index: Affine = node.payload
        spread = self.spread
        lanes = spread is not None and spread.var in index.free
        value = self.vector_index(index) if lanes else self.scalar_index(index)
        if node.dtype == int64:
            return value
        if node.dtype.kind in "iu":
            return emit_integer_cast(self.f, value, int64, element_type(node.dtype))
        return emit_cast(self.f, value, int64, node.dtype)

    def _within(self, index: Affine, low: int, high: int) -> V:
        spread = self.spread
        lanes = spread is not None and spread.var in index.free
        value = self.vector_index(index) if lanes else self.scalar_index(index)
        shifted = self.f.sub(value, self.f.const(value.type, low)) if low else value
        return self.f.compare("ult", shifted, self.f.const(value.type, max(high - low, 0)))

    # --- reductions inside a lane ----------------------------------------------------------------
    def _lanes_of_node(self, node: Node) -> int:
        spread = self.spread
        return spread.lanes if spread is not None and spread.var in node.free else 1

    def _reduce_in_lane(self, node: Node) -> V:
        reduction: Reduction = node.payload
        body, initial = node.args
        type = vector_type(self._lanes_of_node(node), element_type(node.dtype))
        start = self.f.splat(self.value(initial), lanes_of(type))
        slot = self.f.alloca(type)
        self.f.store(start, slot, align=64)
        vars = tuple(v for v in reduction.vars if v.extent > 1)
        with self.rebinding(vars), self.loops(vars, [body]):
            value = self.f.splat(self.value(body), lanes_of(type))
            old = self.f.load(type, slot, align=64)
            new = emit_op(self.f, reduction.opcode, node.dtype, [old, value])
            self.f.store(new, slot, align=64)
        return self.f.load(type, slot, align=64)

    def _argreduce_in_lane(self, node: Node) -> V:
        reduction: Reduction = node.payload
        (body,) = node.args
        (var,) = reduction.vars
        lanes = self._lanes_of_node(node)
        value_type = vector_type(lanes, element_type(body.dtype))
        index_type = vector_type(lanes, element_type(node.dtype))
        best, where = self.f.alloca(value_type), self.f.alloca(index_type)
        self.f.store(self.f.const(index_type, 0), where, align=64)
        if var.extent == 1:
            return self.f.load(index_type, where, align=64)
        # The first element starts the search: it is written before the comparison at 0 is used.
        self.f.store(V(value_type, "zeroinitializer"), best, align=64)
        with self.rebinding((var,)), self.loops((var,), [body]):
            value = self.f.splat(self.value(body), lanes)
            old = self.f.load(value_type, best, align=64)
            better = is_better(self.f, reduction.opcode, body.dtype, value, old)
            counter = self.counters[var]
            first = self.f.compare("eq", counter, V("i64", "0"))
            better = self.f.binary("or", better, self.f.splat(first, lanes))
            number = emit_integer_cast(self.f, counter, int64, element_type(node.dtype))
            old_index = self.f.load(index_type, where, align=64)
            self.f.store(self.f.select(better, value, old), best, align=64)
            self.f.store(
                self.f.select(better, self.f.splat(number, lanes), old_index), where, align=64
            )
        return self.f.load(index_type, where, align=64)


def is_better(f: Function, opcode: str, dtype: DType, value: V, best: V) -> V:
    """Whether ``value`` replaces ``best`` in an arg-reduction: the first nan wins."""
    compare = "gt" if opcode == "max" else "lt"
    better = emit_op(f, compare, dtype, [value, best])
    if dtype not in FLOATING:
        return better
    value_nan, best_nan = (emit_op(f, "ne", dtype, [x, x]) for x in (value, best))
    first_nan = f.binary("and", value_nan, f.binary("xor", best_nan, f.const(best_nan.type, True)))
    return f.binary("or", better, first_nan)
