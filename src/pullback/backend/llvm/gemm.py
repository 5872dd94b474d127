"""Contractions (dot products, convolutions): blocked loops around register-tiled microkernels.

``emit_contraction`` writes one into a function; the caller's epilogue takes the results. Imports
``emit`` and its own parts ``gemm_schedule``, ``gemm_tile``, ``gemm_pack``. Start reading at
``emit_contraction``.

Source: Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication"; Van Zee &
van de Geijn 2015, "BLIS: a framework for rapidly instantiating BLAS functionality".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pullback.backend.llvm.emit import Function, V, element_bytes, vector_type
from pullback.backend.llvm.gemm_pack import (
    Lines,
    Source,
    call_line_copy,
    call_transposition,
    write_line_copy,
    write_transposition,
)
from pullback.backend.llvm.gemm_schedule import (
    AVX2,
    AVX512,
    GENERIC,
    NEON,
    ContractionSpec,
    Matrix,
    Schedule,
    Target,
    choose_schedule,
    contraction_tasks,
    flop_count,
    packs_along_rows,
)
from pullback.backend.llvm.gemm_tile import (
    DotTile,
    Element,
    OuterTile,
    branches,
    call_function,
    dot_tile,
    i64,
    outer_tile,
    rolled_loop,
)

__all__ = [
    "AVX2",
    "AVX512",
    "GENERIC",
    "NEON",
    "ContractionSpec",
    "Matrix",
    "Schedule",
    "Target",
    "choose_schedule",
    "contraction_scratch_bytes",
    "contraction_tasks",
    "emit_contraction",
    "flop_count",
    "packs_along_rows",
]

#: epilogue(f, batch, row, column, lanes, value, mask): takes finished results of one row.
Epilogue = Callable[[Function, V, V, V, int, V, V | None], None]
#: load(f, batch, x, y, lanes, mask) -> value: a fused operand's element (b, x, y) and its lanes.
Load = Callable[[Function, V, V, V, int, V | None], V]

ALIGNMENT_BYTES = 64
#: Elements past the end of a scratch region that a whole vector may touch.
SLACK = 16
CACHE_LINE_BYTES = 64
#: A tile of more rows does not hold a pointer to each: their stride is built into its code.
MOST_ROW_POINTERS = 14


def contraction_scratch_bytes(spec: ContractionSpec) -> int:
    """Bytes of scratch, aligned to 64, that each thread must bring."""
    if contraction_tasks(spec) == 0:
        return 0
    plan = choose_schedule(spec)
    oriented = spec.transposed() if plan.swapped else spec
    return _Layout.of(oriented, plan).total


def emit_contraction(
    f: Function,
    spec: ContractionSpec,
    *,
    a: V,
    b: V,
    begin: V,
    end: V,
    scratch: V,
    epilogue: Epilogue,
    load_a: Load | None = None,
    load_b: Load | None = None,
) -> None:
    """Append the code that computes tasks ``begin`` to ``end`` of a contraction.

    Args:
        f: The function being written.
        spec: The contraction.
        a: Pointer to A's element (0, 0, 0); not read when A is fused.
        b: Pointer to B's element (0, 0, 0); not read when B is fused.
        begin: First task, ``i64``.
        end: One past the last task, ``i64``; at most ``contraction_tasks(spec)``.
        scratch: This thread's ``contraction_scratch_bytes(spec)`` bytes, aligned to 64.
        epilogue: Called with ``(f, batch, row, column, lanes, value, mask)``: writes the code
            that takes the results of columns ``column`` to ``column + lanes - 1`` of a row.
            ``value`` is ``<lanes x accumulate>``, a scalar for one lane; ``mask`` is
            ``<lanes x i1>``, or None when every lane is a result. The code runs once for each
            result; the callback itself is called a few times.
        load_a: For ``spec.fused_a``: called with ``(f, batch, i, p, lanes, mask)``, returns
            ``<lanes x accumulate>`` (a scalar for one lane): A's elements (i, p), (i, p + 1), …
            or, if ``packs_along_rows(spec.a)``, (i, p), (i + 1, p), … The lanes of the mask are
            in range; the others must not be read and may be anything.
        load_b: For ``spec.fused_b``: the same with ``(f, batch, p, j, lanes, mask)``: elements
            (p, j), (p, j + 1), … or, if ``packs_along_rows(spec.b)``, (p, j), (p + 1, j), …

    The sum of each result is one chain over k (for lanes along k, one chain a lane and then a
    tree), whatever the tasks: splitting the tasks over calls never changes a bit.

    Raises:
        TypeError: a fused operand has no callback, or it returned another type.
    """
    if (spec.fused_a and load_a is None) or (spec.fused_b and load_b is None):
        raise TypeError("a fused operand needs its callback load_a / load_b")
    tasks = contraction_tasks(spec)
    if tasks == 0:
        return
    plan = choose_schedule(spec)
    if plan.swapped:
        spec, a, b = spec.transposed(), b, a
    writer = _Writer(f, spec, plan, a, b, scratch, epilogue, load_a, load_b)
    with rolled_loop(f, begin, end, hint="task") as task:
        writer.write_task(task, begin)


@dataclass(frozen=True)
class _Layout:
    """Byte offsets of a thread's scratch: packed A, packed B, accumulators."""

    a_line: int
    b_offset: int
    b_panel: int
    c_offset: int
    c_tile: int
    total: int

    @staticmethod
    def of(spec: ContractionSpec, plan: Schedule) -> _Layout:
        size = element_bytes(spec.accumulate)
        a_elements, a_line = 0, 0
        if plan.pack_a == "along k":
            a_line = _unaliased(plan.k_block, size)
            a_elements = plan.block_rows * a_line + SLACK
        elif plan.pack_a == "along rows":
            a_line = _unaliased(plan.block_rows, size)
            a_elements = plan.k_block * a_line + SLACK
        depth = (spec.k if plan.resident else plan.k_block) if plan.pack_b != "no" else 0
        b_panel = depth * plan.panel
        b_offset = _aligned(a_elements * size)
        c_offset = b_offset + _aligned((plan.block_panels * b_panel + SLACK) * size)
        c_tile = plan.rows * plan.panel
        tiles = 1
        if plan.k_blocks > 1:
            tiles = plan.block_panels * (plan.block_rows // plan.rows)
        total = c_offset + _aligned((tiles * c_tile + SLACK) * size)
        return _Layout(a_line, b_offset, b_panel, c_offset, c_tile, total)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def _unaliased(length: int, size: int) -> int:
    """A line length of whole cache lines, an odd number of them, that holds ``length``."""
    lines = -(-length * size // 64)
    return (lines | 1) * 64 // size


@dataclass(frozen=True)
class _Block:
    """A row block x column block of one batch element: values of the code being written."""

    batch: V
    first_tile: V
    last_tile: V
    first_panel: V
    last_panel: V


@dataclass(frozen=True)
class _Slice:
    """The terms of k of one K block, and whether B's columns are yet to be packed."""

    start: V
    length: V
    first: V
    last: V | None
    fresh: V


class _Writer:
    """Writes the loops of one contraction; see ``emit_contraction`` for the fields."""

    def __init__(
        self,
        f: Function,
        spec: ContractionSpec,
        plan: Schedule,
        a: V,
        b: V,
        scratch: V,
        epilogue: Epilogue,
        load_a: Load | None,
        load_b: Load | None,
    ) -> None:
        self.f, self.spec, self.plan = f, spec, plan
        self.a, self.b, self.scratch = a, b, scratch
        self.epilogue, self.load_a, self.load_b = epilogue, load_a, load_b
        self.layout = _Layout.of(spec, plan)
        half = spec.target.has_half
        self.element_a, self.element_b, self.packed = (
            Element(dtype, signed, spec.accumulate, half)
            for dtype, signed in (
                (spec.a.dtype, spec.a.signed),
                (spec.b.dtype, spec.b.signed),
                (spec.accumulate, True),
            )
        )

    # --- loops -----------------------------------------------------------------------------------
    def write_task(self, task: V, begin: V) -> None:
        """One row block x column block; row blocks of one column block follow each other."""
        f, plan = self.f, self.plan
        batch, rest = self._split(task, plan.row_blocks * plan.column_blocks)
        across, down = self._split(rest, plan.row_blocks)
        first_tile, last_tile = self._range(down, plan.row_tiles, plan.row_blocks)
        first_panel, last_panel = self._range(across, plan.panels, plan.column_blocks)
        block = _Block(batch, first_tile, last_tile, first_panel, last_panel)
        fresh = V("i1", "true")
        if plan.resident:
            fresh = f.compare("eq", task, begin)
            fresh = f.binary("or", fresh, f.compare("eq", down, i64(0)))
        if plan.k_blocks == 1:
            part = _Slice(i64(0), i64(self.spec.k), V("i1", "true"), None, fresh)
            self._write_slice(block, part)
            return
        with rolled_loop(f, 0, self.spec.k, plan.k_block, hint="slice") as start:
            left = f.sub(i64(self.spec.k), start)
            length = f.intrinsic("smin", left, i64(plan.k_block))
            first = f.compare("eq", start, i64(0))
            last = f.compare("sle", left, i64(plan.k_block))
            self._write_slice(block, _Slice(start, length, first, last, fresh))

    def _write_slice(self, block: _Block, part: _Slice) -> None:
        f, plan = self.f, self.plan
        if plan.pack_a != "no":
            self._pack_a(block, part)
        with rolled_loop(f, block.first_panel, block.last_panel, hint="panel") as panel:
            if plan.pack_b != "no" and not self._tiles_pack:
                with f.when(part.fresh):
                    self._pack_b(block, part, panel)
            with rolled_loop(f, block.first_tile, block.last_tile, hint="tile") as tile:
                c = self._c_tile(block, panel, tile)
                self._multiply_tile(block, part, panel, tile, c)
                if part.last is None:
                    self._finish_tile(block, panel, tile, c)
                else:
                    with f.when(part.last):
                        self._finish_tile(block, panel, tile, c)

    @property
    def _tiles_pack(self) -> bool:
        """Whether the first tile of each panel packs B on its way."""
        return self.plan.pack_b == "copy" and not self.spec.fused_b

    def _split(self, x: V, parts: int) -> tuple[V, V]:
        """Quotient and remainder by a constant."""
        if parts == 1:
            return x, i64(0)
        quotient = self.f.binary("udiv", x, i64(parts))
        return quotient, self.f.sub(x, self.f.mul(quotient, i64(parts)))

    def _range(self, block: V, count: int, blocks: int) -> tuple[V, V]:
        """First and one past the last of ``count`` things in block number ``block``."""
        if blocks == 1:
            return i64(0), i64(count)
        f = self.f
        low = f.binary("udiv", f.mul(block, i64(count)), i64(blocks))
        above = f.mul(f.add(block, i64(1)), i64(count))
        return low, f.binary("udiv", above, i64(blocks))

    def _row(self, tile: V) -> V:
        """First row of a tile: the last tile ends with the result's last row."""
        row = self.f.mul(tile, i64(self.plan.rows))
        if self.plan.rows * self.plan.row_tiles == self.spec.m:
            return row
        return self.f.intrinsic("smin", row, i64(self.spec.m - self.plan.rows))

    # --- packing ---------------------------------------------------------------------------------
    def _pack_a(self, block: _Block, part: _Slice) -> None:
        f, spec = self.f, self.spec
        along_rows = self.plan.pack_a == "along rows"
        first_row = self._row(block.first_tile)
        rows = f.add(self._row(f.sub(block.last_tile, i64(1))), i64(self.plan.rows))
        rows = f.sub(rows, first_row)
        lines, length = (part.length, rows) if along_rows else (rows, part.length)
        row_stride, k_stride = spec.a.strides[1:]
        line, step = (k_stride, row_stride) if along_rows else (row_stride, k_stride)
        base = self._address(
            self.element_a.memory, self.a, spec.a.strides, block.batch, first_row, part.start
        )
        copied = Lines(lines, length, i64(self.layout.a_line))
        if not spec.fused_a:
            lanes = 16 if step == 1 else 1
            call_line_copy(f, lanes, self.element_a, base, self.scratch, copied, (line, step))
            return

        def read(g: Function, line: V, at: V, lanes: int, mask: V | None) -> V:
            i, p = (at, line) if along_rows else (line, at)
            i, p = g.add(first_row, i), g.add(part.start, p)
            return self._checked(_required(self.load_a)(g, block.batch, i, p, lanes, mask), lanes)

        write_line_copy(f, 16, read, spec.accumulate, self.scratch, copied)

    def _pack_b(self, block: _Block, part: _Slice, panel: V) -> None:
        """Pack a panel's columns, those that this K block or the following tasks will read."""
        f, spec, plan = self.f, self.spec, self.plan
        column = f.mul(panel, i64(plan.panel))
        columns = f.intrinsic("smin", f.sub(i64(spec.n), column), i64(plan.panel))
        to = self._b_packed(block, part, panel)

        def read(g: Function, p: V, j: V, lanes: int, mask: V | None) -> V:
            p, j = g.add(part.start, p), g.add(column, j)
            return self._checked(_required(self.load_b)(g, block.batch, p, j, lanes, mask), lanes)

        if plan.pack_b == "transpose":
            self._pack_b_transposed(block, part, column, to, columns, read)
            return
        lanes = plan.lanes if plan.pack_b == "copy" else 1
        lines = Lines(part.length, columns, i64(plan.panel))
        if spec.fused_b:
            write_line_copy(f, lanes, read, spec.accumulate, to, lines)
        else:
            base = self._b_memory(block, part, column)
            call_line_copy(f, lanes, self.element_b, base, to, lines, spec.b.strides[1:])

    def _pack_b_transposed(
        self, block: _Block, part: _Slice, column: V, to: V, columns: V, read: Source
    ) -> None:
        """Squares as large as a register holds lanes, and K blocks terms."""
        f, spec, plan = self.f, self.spec, self.plan
        most = spec.target.vector_bytes // element_bytes(spec.accumulate)
        shortest = spec.k - (plan.k_blocks - 1) * plan.k_block
        side = min(most, plan.lanes, 1 << (shortest.bit_length() - 1))
        lines = Lines(columns, part.length, i64(plan.panel))
        if not spec.fused_b:
            base = self._b_memory(block, part, column)
            call_transposition(f, side, self.element_b, base, to, lines, spec.b.strides[2])
            return

        def turned(g: Function, j: V, p: V, lanes: int, mask: V | None) -> V:
            return read(g, p, j, lanes, mask)

        write_transposition(f, side, turned, spec.accumulate, to, lines)

    def _checked(self, value: V, lanes: int) -> V:
        """What a fused operand's callback returned, if it has the type that was asked for."""
        expected = vector_type(lanes, self.spec.accumulate)
        if value.type != expected:
            raise TypeError(
                f"a fused operand's callback returned {value.type}, expected {expected}"
            )
        return value

    def _address(self, memory: str, pointer: V, strides: tuple[int, int, int], *index: V) -> V:
        f = self.f
        offset = i64(0)
        for stride, at in zip(strides, index, strict=True):
            if stride and at.text != "0":
                offset = f.add(offset, f.mul(at, i64(stride)))
        return f.gep(memory, pointer, offset)

    # --- tiles -----------------------------------------------------------------------------------
    def _c_tile(self, block: _Block, panel: V, tile: V) -> V:
        """Where a tile's accumulators are kept: one place, or each its own between K blocks."""
        f, plan = self.f, self.plan
        c = f.gep("i8", self.scratch, self.layout.c_offset)
        if plan.k_blocks == 1:
            return c
        tiles = f.sub(block.last_tile, block.first_tile)
        number = f.mul(f.sub(panel, block.first_panel), tiles)
        number = f.add(number, f.sub(tile, block.first_tile))
        return f.gep(self.spec.accumulate, c, f.mul(number, i64(self.layout.c_tile)))

    def _multiply_tile(self, block: _Block, part: _Slice, panel: V, tile: V, c: V) -> None:
        """Call the microkernel of the tile's shape."""
        f, plan = self.f, self.plan
        row, column = self._row(tile), f.mul(panel, i64(plan.panel))
        a = self._a_operand(block, part, row)
        b = self._b_operand(block, part, panel, column)

        ahead = self._ahead(block, part, panel, tile) if plan.kind == "outer" else ()

        def call(last_panel: bool) -> None:
            arguments = (*a, *b, c, part.length)
            if plan.kind == "dot":
                self._call_dot_tile(arguments)
                return
            if not self._tiles_pack:
                self._call_tile(last_panel, arguments, part, ahead)
                return
            fresh = f.compare("eq", tile, block.first_tile)
            with branches(f, f.binary("and", part.fresh, fresh)) as turn:
                self._call_packing_tile(block, part, panel, last_panel, (*a, c), ahead)
                turn()
                self._call_tile(last_panel, arguments, part, ahead)

        if plan.panels == 1:
            call(True)
            return
        with branches(f, f.compare("eq", panel, i64(plan.panels - 1))) as turn:
            call(True)
            turn()
            call(False)

    @property
    def _a_strides(self) -> tuple[int, int]:
        """Element strides along rows and k of A as tiles read it."""
        line = self.layout.a_line
        if self.plan.pack_a == "no":
            return self.spec.a.strides[1:]
        return (1, line) if self.plan.pack_a == "along rows" else (line, 1)

    def _a_operand(self, block: _Block, part: _Slice, row: V) -> tuple[V, ...]:
        """Pointer and strides along rows and k."""
        f, spec = self.f, self.spec
        strides = tuple(map(i64, self._a_strides))
        if self.plan.pack_a == "no":
            at = (block.batch, row, part.start)
            return self._address(self.element_a.memory, self.a, spec.a.strides, *at), *strides
        row = f.sub(row, self._row(block.first_tile))
        return f.gep(spec.accumulate, self.scratch, f.mul(row, strides[0])), *strides

    def _b_operand(self, block: _Block, part: _Slice, panel: V, column: V) -> tuple[V, ...]:
        """Pointer, stride along k (``dot``: along columns), number of valid lanes."""
        f, spec, plan = self.f, self.spec, self.plan
        if plan.kind == "dot":
            valid = f.intrinsic("smin", f.sub(i64(spec.n), column), i64(plan.panel))
            pointer = self._b_memory(block, part, column)
            return pointer, i64(spec.b.strides[2]), valid
        if plan.pack_b == "no":
            pointer = self._b_memory(block, part, column)
            return pointer, i64(spec.b.strides[1]), i64(self._tail)
        return self._b_packed(block, part, panel), i64(plan.panel), i64(plan.lanes)

    def _b_memory(self, block: _Block, part: _Slice, column: V) -> V:
        at = (block.batch, part.start, column)
        return self._address(self.element_b.memory, self.b, self.spec.b.strides, *at)

    def _b_packed(self, block: _Block, part: _Slice, panel: V) -> V:
        f = self.f
        to = f.gep("i8", self.scratch, self.layout.b_offset)
        offset = f.mul(f.sub(panel, block.first_panel), i64(self.layout.b_panel))
        if self.plan.resident:
            offset = f.add(offset, f.mul(part.start, i64(self.plan.panel)))
        return f.gep(self.spec.accumulate, to, offset)

    @property
    def _tail(self) -> int:
        """Results in the last vector of the last panel."""
        return (self.spec.n - 1) % self._result_lanes + 1

    @property
    def _result_lanes(self) -> int:
        """Lanes of the vectors handed to the epilogue."""
        if self.plan.kind == "outer":
            return self.plan.lanes
        return 1 << (min(self.plan.panel, self.spec.n, 16) - 1).bit_length()

    @property
    def _last_columns(self) -> int:
        """Results in a row of the last panel."""
        return self.spec.n - (self.plan.panels - 1) * self.plan.panel

    def _ahead(self, block: _Block, part: _Slice, panel: V, tile: V) -> tuple[V, V]:
        """Memory of the next panel that this tile prefetches, and its byte stride along k.

        The first tiles of a panel whose successor is yet to be packed ask for one column of cache
        lines each, one line a term: the memory's latency hides behind the arithmetic.
        """
        f, spec, plan = self.f, self.spec, self.plan
        along_k, across = spec.b.strides[1:]
        line = CACHE_LINE_BYTES // element_bytes(spec.b.dtype)
        dense = plan.pack_b == "transpose" and abs(across) == spec.k
        if spec.fused_b or plan.panels == 1 or not (self._tiles_pack or dense):
            return self.scratch, i64(0)
        number = f.sub(tile, block.first_tile)
        column = f.add(f.mul(f.add(panel, i64(1)), i64(plan.panel)), f.mul(number, i64(line)))
        pointer = self._b_memory(block, part, column)
        useful = f.compare("slt", number, i64(-(-plan.panel // line)))
        useful = f.binary("and", useful, part.fresh)
        stride = element_bytes(spec.b.dtype) * along_k if self._tiles_pack else CACHE_LINE_BYTES
        return f.select(useful, pointer, self.scratch), f.select(useful, i64(stride), i64(0))

    def _call_dot_tile(self, arguments: tuple[V, ...]) -> None:
        f, plan, fma = self.f, self.plan, self.spec.target.has_fma
        elements = (self.element_a, self.element_b)
        dot = DotTile(plan.rows, plan.vectors, plan.panel, plan.lanes, *elements, fma)
        a, a_row, _, *others = arguments
        call_function(f, dot_tile(f.module, dot), a, a_row, *others)

    def _call_tile(
        self, last_panel: bool, arguments: tuple[V, ...], part: _Slice, ahead: tuple[V, ...]
    ) -> None:
        plan = self.plan
        b = self.element_b if plan.pack_b == "no" else self.packed
        masked = last_panel and plan.pack_b == "no" and self._tail != plan.lanes
        name = self._outer_tile(last_panel, b, masked, packs=False)
        unpacked = (V("ptr", "null"), i64(0))
        call_function(self.f, name, *arguments, part.first, *unpacked, *ahead)

    def _call_packing_tile(
        self,
        block: _Block,
        part: _Slice,
        panel: V,
        last_panel: bool,
        a_and_c: tuple[V, ...],
        ahead: tuple[V, ...],
    ) -> None:
        """Multiply from B's own memory and leave the packed panel behind."""
        f, spec, plan = self.f, self.spec, self.plan
        *a, c = a_and_c
        masked = last_panel and self._tail != plan.lanes
        name = self._outer_tile(last_panel, self.element_b, masked, packs=True)
        b = self._b_memory(block, part, f.mul(panel, i64(plan.panel)))
        b_operand = (b, i64(spec.b.strides[1]), i64(self._tail))
        packed = (self._b_packed(block, part, panel), i64(plan.panel))
        call_function(f, name, *a, *b_operand, c, part.length, part.first, *packed, *ahead)

    def _outer_tile(self, last_panel: bool, b: Element, masked: bool, *, packs: bool) -> str:
        """Name of the microkernel for a whole or the last panel."""
        spec, plan = self.spec, self.plan
        a = self.element_a if plan.pack_a == "no" else self.packed
        vectors = self._vectors(last_panel)
        fixed = self._a_strides[0] if plan.rows > MOST_ROW_POINTERS or vectors == 1 else None
        tile = OuterTile(
            plan.rows, vectors, plan.lanes, a, b, spec.target.has_fma, masked, packs, fixed
        )
        return outer_tile(self.f.module, tile)

    def _vectors(self, last_panel: bool) -> int:
        """Vectors across a tile's accumulators."""
        if not last_panel:
            return self.plan.vectors
        return -(-self._last_columns // self.plan.lanes)

    # --- results ---------------------------------------------------------------------------------
    def _finish_tile(self, block: _Block, panel: V, tile: V, c: V) -> None:
        """Hand a tile's results over, row by row."""
        f, plan = self.f, self.plan
        row, column = self._row(tile), f.mul(panel, i64(plan.panel))
        skipped = f.sub(f.mul(tile, i64(plan.rows)), row)
        is_last = f.compare("eq", panel, i64(plan.panels - 1))
        lanes = self._result_lanes
        full = self._by_panel(is_last, plan.panel // lanes, self._last_columns // lanes)
        stride = i64(plan.panel)
        if plan.kind == "outer":
            stride = self._by_panel(is_last, plan.panel, self._vectors(True) * lanes)
        with rolled_loop(f, skipped, plan.rows, hint="row") as r:
            line = f.gep(self.spec.accumulate, c, f.mul(r, stride))
            result = _Result(block.batch, f.add(row, r), column, line)
            if plan.swapped:
                columns = self._by_panel(is_last, plan.panel, self._last_columns)
                self._hand_over_scalars(result, columns)
            else:
                self._hand_over_vectors(result, full, is_last)

    def _hand_over_vectors(self, result: _Result, full: V, is_last: V) -> None:
        """Whole vectors in a loop, then the masked rest of the last panel."""
        f, lanes = self.f, self._result_lanes
        with rolled_loop(f, 0, full, hint="vector") as v:
            self._hand_over(result, f.mul(v, i64(lanes)), lanes, None)
        if self._tail != lanes:
            with f.when(is_last):
                mask = f.const_lanes("i1", [x < self._tail for x in range(lanes)])
                self._hand_over(result, f.mul(full, i64(lanes)), lanes, mask)

    def _by_panel(self, is_last: V, full: int, last: int) -> V:
        """One number for whole panels, another for the last."""
        if full == last or self.plan.panels == 1:
            return i64(last)
        return self.f.select(is_last, i64(last), i64(full))

    def _hand_over(self, result: _Result, offset: V, lanes: int, mask: V | None) -> None:
        f, accumulate = self.f, self.spec.accumulate
        value = f.load(vector_type(lanes, accumulate), f.gep(accumulate, result.line, offset))
        column = f.add(result.column, offset)
        self.epilogue(f, result.batch, result.row, column, lanes, value, mask)

    def _hand_over_scalars(self, result: _Result, columns: V) -> None:
        """Results of the transposed product: its columns are the caller's rows."""
        f, accumulate = self.f, self.spec.accumulate
        with rolled_loop(f, 0, columns, hint="scalar") as j:
            value = f.load(accumulate, f.gep(accumulate, result.line, j))
            row = f.add(result.column, j)
            self.epilogue(f, result.batch, row, result.row, 1, value, None)


@dataclass(frozen=True)
class _Result:
    """A row of a tile's results."""

    batch: V
    row: V
    column: V
    line: V


def _required(load: Load | None) -> Load:
    if load is None:
        raise TypeError("a fused operand needs its callback load_a / load_b")
    return load
