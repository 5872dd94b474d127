"""Lowers one fused group of equations to a kernel.

``GroupLowering`` answers ``x.at(index)``: the equation's own rule inside the group, memory
outside it. Control flow and the order of kernels are in ``kernels.schedule``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pullback.kernels.core import (
    Buffer,
    ContractionKernel,
    Kernel,
    LoopKernel,
    Node,
    PrefixKernel,
    Provenance,
    Stage,
    Storage,
    Store,
)
from pullback.kernels.cost import TASK_S, nodes_seconds
from pullback.kernels.expression import Expressions, ReadOperand, topological
from pullback.kernels.fuse import Fusion, Group
from pullback.kernels.index import Affine, LoopVar, as_index, linear_index, split_index
from pullback.kernels.stages import hoisted_reductions, make_stages, stage_roots
from pullback.program.core import Atom, Equation, Literal, Var

#: Reads that are answered one inside the other; deeper ones are answered first.
READ_DEPTH = 32
#: Rows of a vectorised loop come in multiples of this many.
LANES = 16


class _TooDeep(Exception):
    """No failure: an element must be known before the reading goes on."""

    def __init__(self, atom: Var, index: tuple[Affine, ...]) -> None:
        self.atom = atom
        self.index = index


class GroupLowering:
    """Makes the kernel (and any helper kernels before it) of one group."""

    def __init__(
        self,
        group: Group,
        fusion: Fusion,
        storage: dict[Var, Storage],
        new_buffer: Callable[..., Buffer],
    ) -> None:
        self.group = group
        self.fusion = fusion
        self.storage = storage
        self.new_buffer = new_buffer
        self.members = {v: eqn for eqn in group.equations for v in eqn.outputs}
        self.b = Expressions()
        self.before: list[Kernel] = []
        self._memo: dict[Any, Node] = {}
        self._depth = 0
        self._override: dict[Var, Callable[[tuple[Affine, ...]], Node]] = {}

    # --- reading ---------------------------------------------------------------------------------
    def read(self, atom: Atom, index: tuple[Affine, ...]) -> Node:
        """The element of ``atom`` at ``index``, however long the chain of equations behind it."""
        waiting: list[tuple[Atom, tuple[Affine, ...]]] = [(atom, index)]
        while True:
            self._depth = 0
            try:
                node = self._read(*waiting[-1])
            except _TooDeep as deeper:
                waiting.append((deeper.atom, deeper.index))
                continue
            waiting.pop()
            if not waiting:
                return node

    def _read(self, atom: Atom, index: tuple[Affine, ...]) -> Node:
        if isinstance(atom, Literal):
            return self.b.constant(atom.value, atom.type.dtype)
        if atom in self._override:
            return self._override[atom](index)
        stored = self.storage.get(atom)
        if stored is not None and atom not in self.members:
            offset = linear_index(index, atom.type.shape) + stored.offset
            return self.b.load(stored.buffer, offset)
        key = (atom, index)
        if key not in self._memo:
            if self._depth == READ_DEPTH:
                raise _TooDeep(atom, index)
            self._depth += 1
            self._memo[key] = self._element(self.fusion.producer[atom], index)
            self._depth -= 1
        return self._memo[key]

    def _element(self, eqn: Equation, index: tuple[Affine, ...]) -> Node:
        """The element of the equation's output at ``index``, by its ``lower`` rule."""
        operands = [
            ReadOperand(a.type, lambda i, a=a: self._read(a, i))  # type: ignore[misc]
            for a in eqn.inputs
        ]
        with self.b.inside(index):
            return eqn.primitive.lower(self.b, index, *operands)  # type: ignore[return-value]

    def provenance(self) -> Provenance:
        """The equations fused here, for reports."""
        eqns = self.group.equations
        return Provenance(
            tuple(e.key for e in eqns),
            tuple(e.primitive.name for e in eqns),
            tuple(e.source for e in eqns),
            tuple(e.origin for e in eqns),
        )

    def name(self) -> str:
        """A readable name: the primitives, first to last."""
        names = list(dict.fromkeys(e.primitive.name for e in self.group.equations))
        return "_".join(
            names if len(names) < 5 else [*names[:2], f"{len(names) - 3}more", names[-1]]
        )

    def roots(self) -> list[Var]:
        """Member variables that are stored, in order."""
        return [v for e in self.group.equations for v in e.outputs if v in self.fusion.stored]

    # --- kernels ---------------------------------------------------------------------------------
    def lower(self) -> list[Kernel]:
        """The group's kernels, in order."""
        if self.group.is_contraction:
            return [*self.before, *self._contraction()]
        if self.group.heavy is not None:
            raise TypeError(f"{self.group.heavy.primitive.name} is lowered by the schedule")
        kernel = self._loops()
        return [] if kernel is None else [*self.before, kernel]

    def _loops(self) -> LoopKernel | None:
        roots = [v for v in self.roots() if v.type.size]
        if not roots:
            return None
        rows_shape = self.group.rows
        if all(v.type.shape == rows_shape for v in roots):
            flat = self._flat_kernel(rows_shape, lambda at: [self._store(v, at) for v in roots])
            if flat is not None:
                return flat
        rows = self.b.fresh_vars(rows_shape, frozenset())
        stores: list[tuple[tuple[LoopVar, ...], Store]] = []
        for v in roots:
            inner = self.b.fresh_vars(v.type.shape[len(rows) :], frozenset(rows))
            stores.append((inner, self._store(v, tuple(map(as_index, (*rows, *inner))))))
        return self._row_kernel(rows, stores)

    def _store(self, v: Var, index: tuple[Affine, ...]) -> Store:
        target = self.storage[v]
        offset = linear_index(index, v.type.shape) + target.offset
        return Store(target.buffer, offset, self.read(v, index))

    def _flat_kernel(
        self, shape: tuple[int, ...], make_stores: Callable[[tuple[Affine, ...]], list[Store]]
    ) -> LoopKernel | None:
        """One loop over all elements, when every access stays affine in the flat position."""
        if len(shape) < 2:
            return None
        position = self.b.var(math.prod(shape), 0)
        stores = make_stores(split_index(as_index(position), shape))
        for node in topological([s.value for s in stores]):
            if node.op in ("reduce", "argreduce"):
                return None
            if node.op == "load" and node.payload[1].coefficient(position) is None:
                return None
            if node.op in ("within", "index") and node.free:
                return None
        if any(s.offset.coefficient(position) is None for s in stores):
            return None
        return self._row_kernel((position,), [((), s) for s in stores])

    def _row_kernel(
        self, rows: tuple[LoopVar, ...], stores: list[tuple[tuple[LoopVar, ...], Store]]
    ) -> LoopKernel:
        rows = tuple(v for v in rows if v.extent > 1)
        if rows and not any(inner for inner, _ in stores) and self._vectorise_rows(rows, stores):
            kernel = LoopKernel(
                self.name(), rows, [Stage((), [s for _, s in stores])], self.provenance()
            )
            kernel.vector_rows = True
            kernel.rows_per_task = _rows_per_task(kernel)
            return kernel
        stages = make_stages(stores, rows)
        kernel = LoopKernel(self.name(), rows, stages, self.provenance())
        seconds = sum(_count(s.vars) * nodes_seconds(stage_roots(s)) for s in stages)
        kernel.rows_per_task = max(1, round(TASK_S / max(seconds, 1e-12)))
        kernel.expressions = self.b
        return kernel

    def _vectorise_rows(
        self, rows: tuple[LoopVar, ...], stores: list[tuple[tuple[LoopVar, ...], Store]]
    ) -> bool:
        """Whether lanes should be neighbouring rows, not neighbours within a reduction."""
        order = topological([s.value for _, s in stores])
        reductions = hoisted_reductions(order, frozenset(rows))
        if not reductions:
            return True
        along_rows = along_inner = 0
        for reduction in reductions:
            inner = reduction.payload.vars[-1]
            for node in topological([reduction.args[0]]):
                if node.op == "load":
                    along_rows += node.payload[1].coefficient(rows[-1]) == 1
                    along_inner += node.payload[1].coefficient(inner) == 1
        return along_rows > along_inner

    # --- contraction -----------------------------------------------------------------------------
    def _contraction(self) -> list[Kernel]:
        eqn = self.group.heavy
        if eqn is None:
            return []
        x, y = eqn.inputs
        (cx, cy), (bx, by) = eqn.primitive.contract, eqn.primitive.batch  # type: ignore[attr-defined]
        free_x = tuple(i for i in range(x.type.ndim) if i not in (*cx, *bx))
        free_y = tuple(i for i in range(y.type.ndim) if i not in (*cy, *by))
        shape_b = tuple(x.type.shape[i] for i in bx)
        shape_i = tuple(x.type.shape[i] for i in free_x)
        shape_j = tuple(y.type.shape[i] for i in free_y)
        shape_p = tuple(x.type.shape[i] for i in cx)
        batch = LoopVar(math.prod(shape_b), "b")
        row = LoopVar(math.prod(shape_i), "i")
        column = LoopVar(math.prod(shape_j), "j")
        inner = LoopVar(math.prod(shape_p), "p")
        parts = {
            v: split_index(as_index(v), s)
            for v, s in ((batch, shape_b), (row, shape_i), (column, shape_j), (inner, shape_p))
        }
        a = self._operand(
            x,
            _place(x.type.ndim, (bx, parts[batch]), (free_x, parts[row]), (cx, parts[inner])),
            (batch, row, inner),
        )
        b = self._operand(
            y,
            _place(y.type.ndim, (by, parts[batch]), (free_y, parts[column]), (cy, parts[inner])),
            (batch, inner, column),
        )
        out = eqn.output
        own = (*parts[batch], *parts[row], *parts[column])
        accumulator = self.b.node(
            "accumulator", out.type.dtype, (), None, frozenset((batch, row, column))
        )

        def result(index: tuple[Affine, ...]) -> Node:
            if index != own:
                raise ValueError(f"the epilogue of {eqn.primitive.name} reads its result elsewhere")
            return accumulator

        self._override[out] = result
        stores = [self._store(v, own) for v in self.roots() if v.type.size]
        if not stores:
            return []
        kernel = ContractionKernel(
            self.name(), batch, row, column, inner, a, b, accumulator, stores, self.provenance()
        )
        return [*self.before, kernel]

    def _operand(self, atom: Atom, index: tuple[Affine, ...], vars: tuple[LoopVar, ...]) -> Node:
        """The operand's element as one load with fixed strides, copying it first if need be."""
        node = self.read(atom, index)
        if (
            node.op == "load"
            and all(node.payload[1].coefficient(v) is not None for v in vars)
            and not node.payload[1].free - set(vars)
        ):
            return node
        shape = tuple(v.extent for v in vars)
        buffer = self.new_buffer(node.dtype, math.prod(shape))
        offset = linear_index([as_index(v) for v in vars], shape)
        if math.prod(shape):
            copy = self._row_kernel(vars, [((), Store(buffer, offset, node))])
            copy.name = "pack"
            self.before.append(copy)
        return self.b.load(buffer, offset)

    # --- prefix ----------------------------------------------------------------------
    def prefix(self, eqn: Equation) -> list[Kernel]:
        """The kernel of a running reduction along an axis."""
        primitive: Any = eqn.primitive
        out = eqn.output
        if not out.type.size:
            return []
        axis = primitive.axis % out.type.ndim
        vars = self.b.fresh_vars(out.type.shape, frozenset())
        step = as_index(vars[axis])
        index = [as_index(v) for v in vars]
        if primitive.reverse:
            index[axis] = out.type.shape[axis] - 1 - step
        x = self.read(eqn.inputs[0], tuple(index))
        initial: Any = primitive.initial(self.b, x.dtype)
        accumulator = self.b.node("accumulator", initial.dtype, (), None, frozenset(vars))
        combined: Any = primitive.combine(self.b, accumulator, x)
        stored = self.b.cast(combined, out.type.dtype)
        rows = tuple(v for v in vars if v is not vars[axis])
        target = self.storage[out]
        return [
            PrefixKernel(
                self.name(),
                rows,
                vars[axis],
                x,
                initial,
                accumulator,
                combined,
                stored,
                target.buffer,
                linear_index(index, out.type.shape) + target.offset,
                self.provenance(),
            )
        ]

    def evaluate_into(self, atom: Atom, target: Storage) -> list[Kernel]:
        """A kernel that writes any atom's elements to ``target``."""
        if not atom.type.size:
            return []
        shape = atom.type.shape

        def store(index: tuple[Affine, ...]) -> Store:
            offset = linear_index(index, shape) + target.offset
            return Store(target.buffer, offset, self.read(atom, index))

        flat = self._flat_kernel(shape, lambda index: [store(index)])
        if flat is not None:
            return [flat]
        vars = self.b.fresh_vars(shape, frozenset())
        return [self._row_kernel(vars, [((), store(tuple(map(as_index, vars))))])]


def _place(ndim: int, *parts: tuple[tuple[int, ...], tuple[Affine, ...]]) -> tuple[Affine, ...]:
    index: list[Affine] = [Affine(0)] * ndim
    for axes, values in parts:
        for axis, value in zip(axes, values, strict=True):
            index[axis] = value
    return tuple(index)


def _count(vars: tuple[LoopVar, ...]) -> int:
    return math.prod(v.extent for v in vars)


def _rows_per_task(kernel: LoopKernel) -> int:
    """How many rows a task takes; tasks of one loop are whole vectors."""
    seconds = sum(nodes_seconds(stage_roots(stage)) for stage in kernel.stages)
    if len(kernel.rows) == 1:
        return max(1, round(TASK_S / max(seconds, 1e-10) / LANES)) * LANES
    return max(1, round(TASK_S / max(seconds * kernel.rows[-1].extent, 1e-10)))
