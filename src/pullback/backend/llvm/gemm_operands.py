"""Where a contraction's operands lie, in memory and packed, and how blocks of them are packed.

Imports ``emit`` and the parts ``gemm_spec``, ``gemm_tile``, ``gemm_pack``. Start reading at
``Operands``.
"""

from __future__ import annotations

from collections.abc import Callable

from pullback.backend.llvm.emit import Function, V, element_bytes, vector_type
from pullback.backend.llvm.gemm_pack import (
    Lines,
    Source,
    call_line_copy,
    call_transposition,
    write_line_copy,
    write_transposition,
)
from pullback.backend.llvm.gemm_spec import ContractionSpec, Schedule
from pullback.backend.llvm.gemm_tile import Element, i64, minus, plus, times
from pullback.kernels.core import CACHE_LINE_BYTES
from pullback.records import dataclass

#: load(f, batch, x, y, lanes, mask) -> value: a fused operand's element (b, x, y) and its lanes.
Load = Callable[[Function, V, V, V, int, V | None], V]

#: Elements past the end of a scratch region that a whole vector may touch.
SLACK = 16


@dataclass(frozen=True)
class Layout:
    """A thread's scratch: packed A, packed B, accumulators, a turned square. Offsets in bytes."""

    a_line: int
    b_offset: int
    b_line: int
    b_panel: int
    c_offset: int
    c_tile: int
    turned_offset: int
    total: int


def scratch_layout(spec: ContractionSpec, plan: Schedule) -> Layout:
    """Lay out the scratch of an (already transposed, if swapped) contraction."""
    size = element_bytes(spec.accumulate)
    a_elements, a_line = 0, 0
    if plan.pack_a == "along k":
        a_line = _unaliased(plan.k_block, size)
        a_elements = plan.block_rows * a_line + SLACK
    elif plan.pack_a == "along rows":
        a_line = _unaliased(plan.block_rows, size)
        a_elements = plan.k_block * a_line + SLACK
    depth = (spec.k if plan.resident else plan.k_block) if plan.pack_b != "no" else 0
    b_line = _unaliased(depth, size) if plan.kind == "dot" and depth else 0
    b_panel = (b_line or depth) * plan.panel
    b_offset = _aligned(a_elements * size)
    c_offset = b_offset + _aligned((plan.block_panels * b_panel + SLACK) * size)
    c_tile = plan.rows * plan.panel
    tiles = 1
    if plan.k_blocks > 1:
        tiles = plan.block_panels * (plan.block_rows // plan.rows)
    turned_offset = c_offset + _aligned((tiles * c_tile + SLACK) * size)
    turned = plan.lanes * plan.lanes if plan.turns else 0
    total = turned_offset + _aligned(turned * size)
    return Layout(a_line, b_offset, b_line, b_panel, c_offset, c_tile, turned_offset, total)


def _aligned(size: int) -> int:
    return -(-size // CACHE_LINE_BYTES) * CACHE_LINE_BYTES


def _unaliased(length: int, size: int) -> int:
    """A line length of whole cache lines, an odd number of them, that holds ``length``."""
    lines = -(-length * size // CACHE_LINE_BYTES)
    return (lines | 1) * CACHE_LINE_BYTES // size


@dataclass(frozen=True)
class Block:
    """A row block x column block of one batch element: values of the code being written."""

    batch: V
    first_tile: V
    last_tile: V
    first_panel: V
    last_panel: V


@dataclass(frozen=True)
class Slice:
    """The terms of k of one K block.

    Attributes:
        start: First term.
        length: Number of terms.
        first: Whether sums start from zero.
        last: Whether sums are results after it; None: always.
        fresh: Whether B's columns are yet to be packed.
    """

    start: V
    length: V
    first: V
    last: V | None
    fresh: V


class Operands:
    """Addresses and packing of one contraction's operands, for the code being written."""

    def __init__(
        self,
        f: Function,
        spec: ContractionSpec,
        plan: Schedule,
        pointers: tuple[V, V, V],
        loads: tuple[Load | None, Load | None],
        tables: tuple[V, V] | None,
    ) -> None:
        self.f, self.spec, self.plan = f, spec, plan
        self.a, self.b, self.scratch = pointers
        self._load_a, self._load_b = loads
        self._tables = tables
        self.layout = scratch_layout(spec, plan)
        half = spec.target.has_half
        self.memory_a = Element(spec.a.dtype, spec.a.signed, spec.accumulate, half)
        self.memory_b = Element(spec.b.dtype, spec.b.signed, spec.accumulate, half)
        self._packed = Element(spec.accumulate, True, spec.accumulate, half)

    # --- places ----------------------------------------------------------------------------------
    @property
    def element_a(self) -> Element:
        """A's elements as tiles read them."""
        return self.memory_a if self.plan.pack_a == "no" else self._packed

    @property
    def element_b(self) -> Element:
        """B's elements as tiles read them."""
        return self.memory_b if self.plan.pack_b == "no" else self._packed

    @property
    def a_strides(self) -> tuple[int, int]:
        """Element strides along rows and k of A as tiles read it."""
        line = self.layout.a_line
        if self.plan.pack_a == "no":
            return self.spec.a.strides[1:]
        return (1, line) if self.plan.pack_a == "along rows" else (line, 1)

    def row(self, tile: V) -> V:
        """First row of a tile: the last tile ends with the result's last row."""
        row = times(self.f, tile, self.plan.rows)
        if self.plan.rows * self.plan.row_tiles == self.spec.m:
            return row
        return self.f.intrinsic("smin", row, i64(self.spec.m - self.plan.rows))

    def column(self, panel: V) -> V:
        """First column of a panel."""
        return times(self.f, panel, self.plan.panel)

    def columns_from(self, column: V) -> V:
        """Number of columns of the panel that begins at ``column``."""
        panel = self.plan.panel
        if self.plan.panels * panel == self.spec.n:
            return i64(panel)
        return self.f.intrinsic("smin", minus(self.f, i64(self.spec.n), column), i64(panel))

    def a_operand(self, block: Block, part: Slice, row: V) -> tuple[V, V, V]:
        """Pointer to A's element (row, start of the K block), strides along rows and k.

        An indexed A: pointer to the batch element, tables from this row and term on.
        """
        f, spec = self.f, self.spec
        if self._tables is not None:
            rows, terms = self._tables
            batch = f.gep(spec.a.dtype, self.a, times(f, block.batch, spec.a.strides[0]))
            return batch, f.gep("i64", rows, row), f.gep("i64", terms, part.start)
        along_rows, along_k = map(i64, self.a_strides)
        if self.plan.pack_a == "no":
            at = (block.batch, row, part.start)
            return self._address(self.memory_a, self.a, spec.a.strides, *at), along_rows, along_k
        row = minus(f, row, self.row(block.first_tile))
        pointer = f.gep(spec.accumulate, self.scratch, times(f, row, self.a_strides[0]))
        return pointer, along_rows, along_k

    def b_memory(self, batch: V, p: V, column: V) -> V:
        """Where B's element (p, column) lies in memory."""
        return self._address(self.memory_b, self.b, self.spec.b.strides, batch, p, column)

    def b_packed(self, start: V, panel_in_block: V) -> V:
        """Where the packed panel's line of the term ``start`` begins."""
        f = self.f
        to = f.gep("i8", self.scratch, self.layout.b_offset)
        offset = times(f, panel_in_block, self.layout.b_panel)
        if self.plan.resident:
            offset = plus(f, offset, times(f, start, self.plan.panel))
        return f.gep(self.spec.accumulate, to, offset)

    def _address(self, element: Element, pointer: V, strides: tuple[int, int, int], *index: V) -> V:
        f, offset = self.f, i64(0)
        for stride, at in zip(strides, index, strict=True):
            if stride:
                offset = plus(f, offset, times(f, at, stride))
        return f.gep(element.memory, pointer, offset)

    # --- packing A -------------------------------------------------------------------------------
    def pack_a(self, block: Block, part: Slice) -> None:
        """Pack the row block's terms of one K block."""
        f, spec = self.f, self.spec
        along_rows = self.plan.pack_a == "along rows"
        first_row = self.row(block.first_tile)
        rows = plus(f, self.row(minus(f, block.last_tile, i64(1))), i64(self.plan.rows))
        rows = minus(f, rows, first_row)
        count, length = (part.length, rows) if along_rows else (rows, part.length)
        lines = Lines(count, length, i64(self.layout.a_line))
        if spec.fused_a:

            def read(g: Function, line: V, at: V, lanes: int, mask: V | None) -> V:
                i, p = (at, line) if along_rows else (line, at)
                i, p = plus(g, first_row, i), plus(g, part.start, p)
                return self._fused(self._load_a, block.batch, i, p, lanes, mask)

            write_line_copy(f, 16, read, spec.accumulate, self.scratch, lines)
            return
        row_stride, k_stride = spec.a.strides[1:]
        strides = (k_stride, row_stride) if along_rows else (row_stride, k_stride)
        where = (block.batch, first_row, part.start)
        base = self._address(self.memory_a, self.a, spec.a.strides, *where)
        lanes = 16 if strides[1] == 1 else 1
        call_line_copy(f, lanes, self.memory_a, base, self.scratch, lines, strides)

    # --- packing B -------------------------------------------------------------------------------
    def pack_panel(self, block: Block, part: Slice, panel: V) -> None:
        """Pack a panel's terms of one K block."""
        f, spec, plan = self.f, self.spec, self.plan
        column = self.column(panel)
        columns = self.columns_from(column)
        to = self.b_packed(part.start, minus(f, panel, block.first_panel))

        def read(g: Function, p: V, j: V, lanes: int, mask: V | None) -> V:
            p, j = plus(g, part.start, p), plus(g, column, j)
            return self._fused(self._load_b, block.batch, p, j, lanes, mask)

        base = self.b_memory(block.batch, part.start, column)
        if plan.kind == "dot":
            lines = Lines(part.length, columns, i64(self.layout.b_line))
            step = spec.b.strides[1]
            call_transposition(f, plan.lanes, self.memory_b, base, to, lines, step, spec.n)
            return
        if plan.pack_b == "transpose":
            self._transpose(base, to, Lines(columns, part.length, i64(plan.panel)), read)
            return
        lanes = plan.lanes if plan.pack_b == "copy" else 1
        lines = Lines(part.length, columns, i64(plan.panel))
        if spec.fused_b:
            write_line_copy(f, lanes, read, spec.accumulate, to, lines)
        else:
            call_line_copy(f, lanes, self.memory_b, base, to, lines, spec.b.strides[1:])

    def _transpose(self, base: V, to: V, lines: Lines, read: Source) -> None:
        """Transpose by squares as large as a register holds lanes, and K blocks terms."""
        f, spec, plan = self.f, self.spec, self.plan
        most = spec.target.vector_bytes // element_bytes(spec.accumulate)
        shortest = spec.k - (plan.k_blocks - 1) * plan.k_block
        side = min(most, plan.lanes, 1 << (shortest.bit_length() - 1))
        if not spec.fused_b:
            call_transposition(f, side, self.memory_b, base, to, lines, spec.b.strides[2])
            return

        def turned(g: Function, j: V, p: V, lanes: int, mask: V | None) -> V:
            return read(g, p, j, lanes, mask)

        write_transposition(f, side, turned, spec.accumulate, to, lines)

    def _fused(self, load: Load | None, batch: V, x: V, y: V, lanes: int, mask: V | None) -> V:
        """Elements of a fused operand, of the type that was asked for."""
        if load is None:
            raise TypeError("a fused operand needs its callback load_a / load_b")
        value = load(self.f, batch, x, y, lanes, mask)
        expected = vector_type(lanes, self.spec.accumulate)
        if value.type != expected:
            raise TypeError(
                f"a fused operand's callback returned {value.type}, expected {expected}"
            )
        return value
