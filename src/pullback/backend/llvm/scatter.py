"""Writes scatter kernels as functions ``(ptr buffers..., begin, end, scratch)``.

``begin`` and ``end`` number tasks; any split of the tasks gives bitwise the same result, as each
element of the target is updated by one task, in row-major order of the indices.
"""

from __future__ import annotations

from pullback.backend.llvm.emit import Module, V
from pullback.backend.llvm.expression import LANES, Writer
from pullback.backend.llvm.loops import WIDE_LANES, bind_row, is_light, start_function, task_range
from pullback.kernels.core import Buffer, Node, ScatterKernel, Store
from pullback.kernels.expression import dynamic_nodes
from pullback.kernels.index import LoopVar
from pullback.kernels.memory import access_of


def write_scatter_kernel(module: Module, name: str, kernel: ScatterKernel) -> list[Buffer]:
    """Write the function that applies updates in row-major order of their indices."""
    buffers = list(access_of(kernel).buffers)
    w = start_function(module, name, buffers)
    _Writing(w, kernel).write(*w.f.args[-3:-1])
    w.f.ret()
    w.f.finish()
    return buffers


class _Writing:
    def __init__(self, w: Writer, kernel: ScatterKernel) -> None:
        self.w = w
        self.kernel = kernel
        self.indices = tuple(v for v in kernel.indices if v.extent > 1)
        self.window = tuple(v for v in kernel.window if v.extent > 1)

    def write(self, begin: V, end: V) -> None:
        w, divided = self.w, self.kernel.divided
        if not divided:
            with w.f.when(w.f.compare("slt", begin, end)):
                self._fill()
                self._updates(self.indices)
            return
        first, last = task_range(w, self.kernel, begin, end)
        if divided == self.window[-1:]:
            self._columns(first, last)
        elif divided == self.window[:-1]:
            self._fill((first, last))
            self._updates(self.indices, (first, last))
        else:
            rest = tuple(v for v in self.indices if v not in divided)
            with w.f.loop(first, last) as row, w.scope():
                bind_row(w, divided, row)
                self._fill()
                self._updates(rest)

    def _columns(self, first: V, last: V) -> None:
        """Whole rows where one thread has all columns: loops of known length are faster."""
        f = self.w.f
        length = V("i64", str(self.window[-1].extent))
        whole = f.compare("eq", f.sub(last, first), length)
        with f.when(whole), self.w.scope():
            self._fill()
            self._updates(self.indices)
        with f.when(f.binary("xor", whole, V("i1", "true"))), self.w.scope():
            self._fill((first, last))
            self._updates(self.indices, (first, last))

    def _fill(self, divided: tuple[V, V] | None = None) -> None:
        """The first values; of the window the range that is divided, or all."""
        fill, bound = self.kernel.fill, self.kernel.divided
        if fill is not None:
            places = tuple(v for v in self.kernel.places if v.extent > 1 and v not in bound)
            with self.w.scope():
                self._sweep(places, fill, divided)

    def _updates(self, indices: tuple[LoopVar, ...], divided: tuple[V, V] | None = None) -> None:
        """All updates of these indices; of the window the range that is divided, or all."""
        w, valid = self.w, self.kernel.valid
        with w.loops(indices, [valid]), w.f.when(w.value(valid)), w.scope():
            self._sweep((), self.kernel.store, divided)

    def _sweep(self, outer: tuple[LoopVar, ...], store: Store, divided: tuple[V, V] | None) -> None:
        """Store an element for every value of ``outer`` and of the window's counters."""
        w = self.w
        vars, roots = (*outer, *self.window), [store.value, *dynamic_nodes(store.offset)]
        if not vars:
            self._element(store, roots)
        elif divided is None:
            with w.loops(vars[:-1], roots):
                self._lanes(vars[-1], 0, vars[-1].extent, store, roots)
        elif len(self.window) > 1:
            with w.loops(outer, roots), w.f.loop(*divided) as row, w.scope():
                bind_row(w, self.window[:-1], row)
                self._lanes(vars[-1], 0, vars[-1].extent, store, roots)
        else:
            with w.loops(outer, roots):
                self._lanes(vars[-1], *divided, store, roots)

    def _lanes(
        self, var: LoopVar, first: V | int, last: V | int, store: Store, roots: list[Node]
    ) -> None:
        fits = isinstance(last, int) and last >= WIDE_LANES
        wide = WIDE_LANES if fits and is_light([store.value], var) else LANES
        units = self.kernel.rows_per_task
        whole = isinstance(last, V) and var.extent % LANES == 0 and units % LANES == 0

        def body(lanes: int) -> None:
            self._element(store, roots)

        self.w.vector_loop(var, first, last, body, wide=wide, multiple=whole, roots=roots)

    def _element(self, store: Store, roots: list[Node]) -> None:
        self.w.hoist(roots)
        self.w.store(store.buffer, store.offset, self.w.value(store.value))
