"""Contractions (dot products, convolutions): blocked loops around register-tiled microkernels.

``emit_contraction`` writes one into a function; the caller's epilogue takes the results. Imports
``emit`` and its own parts: ``gemm_spec``, ``gemm_schedule``, ``gemm_tile``, ``gemm_dot``,
``gemm_pack``, ``gemm_operands``. Start reading at ``emit_contraction``.

Source: Goto & van de Geijn 2008, "Anatomy of high-performance matrix multiplication"; Van Zee &
van de Geijn 2015, "BLIS: a framework for rapidly instantiating BLAS functionality".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from pullback.backend.llvm.emit import Function, V, element_bytes, vector_type
from pullback.backend.llvm.gemm_dot import LINES_A_STEP, DotTile, dot_tile
from pullback.backend.llvm.gemm_operands import Block, Load, Operands, Slice, scratch_layout
from pullback.backend.llvm.gemm_pack import transpose_square
from pullback.backend.llvm.gemm_schedule import (
    MOST_ROW_POINTERS,
    choose_schedule,
    contraction_tasks,
)
from pullback.backend.llvm.gemm_spec import (
    AVX2,
    AVX512,
    GENERIC,
    NEON,
    ContractionSpec,
    Matrix,
    Schedule,
    Target,
    flop_count,
    packs_along_rows,
)
from pullback.backend.llvm.gemm_tile import (
    OuterTile,
    SweepTile,
    branches,
    call_function,
    i64,
    minus,
    outer_tile,
    plus,
    rolled_loop,
    sweep_tile,
    times,
    zero,
)
from pullback.kernels.core import CACHE_LINE_BYTES
from pullback.records import dataclass

__all__ = [
    "AVX2",
    "AVX512",
    "GENERIC",
    "NEON",
    "ContractionSpec",
    "Epilogue",
    "Load",
    "Matrix",
    "Schedule",
    "Target",
    "choose_schedule",
    "contraction_scratch_bytes",
    "contraction_tasks",
    "emit_contraction",
    "flop_count",
    "packs_along_rows",
    "prefetch_slots",
]

#: epilogue(f, batch, row, column, lanes, value, mask): takes finished results of one row.
Epilogue = Callable[[Function, V, V, V, int, V, V | None], None]


def contraction_scratch_bytes(spec: ContractionSpec) -> int:
    """Bytes of scratch, aligned to 64, that each thread must bring."""
    if contraction_tasks(spec) == 0:
        return 0
    plan = choose_schedule(spec)
    return scratch_layout(spec.transposed() if plan.swapped else spec, plan).total


def prefetch_slots(spec: ContractionSpec) -> int:
    """Number of lines that the contraction asks for on an errand, shared among threads."""
    if contraction_tasks(spec) == 0:
        return 0
    plan = choose_schedule(spec)
    tiles = spec.batch * plan.row_tiles * plan.panels
    if not plan.runs_errands:
        return 0
    if plan.kind == "outer":
        return tiles * spec.k
    return tiles * (plan.panel // plan.vectors) * (spec.k // plan.lanes) * LINES_A_STEP


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
    tables: tuple[V, V] | None = None,
    errand: V | None = None,
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
            result; the callback itself is called at most twice.
        load_a: For ``spec.fused_a``: called with ``(f, batch, i, p, lanes, mask)``, returns
            ``<lanes x accumulate>`` (a scalar for one lane): A's elements (i, p), (i, p + 1), …
            or, if ``packs_along_rows(spec.a)``, (i, p), (i + 1, p), … The lanes of the mask are
            in range; the others must not be read and may be anything.
        load_b: For ``spec.fused_b``: the same with ``(f, batch, p, j, lanes, mask)``: elements
            (p, j), (p, j + 1), … or, if ``packs_along_rows(spec.b)``, (p, j), (p + 1, j), …
        tables: For ``spec.indexed_a``: pointers to m and k element offsets, ``i64``: ``rows`` and
            ``terms`` of the spec.
        errand: This thread's block of memory to ask for on the way (``errands``).

    The sum of each result is one chain over k (for lanes along k, one chain a lane and then a
    tree), whatever the tasks: splitting the tasks over calls never changes a bit.

    Raises:
        TypeError: a fused operand has no callback, or it returned another type; an indexed
            operand has no tables.
    """
    if spec.indexed_a and tables is None:
        raise TypeError("an indexed operand needs its tables")
    if (spec.fused_a and load_a is None) or (spec.fused_b and load_b is None):
        raise TypeError("a fused operand needs its callback load_a / load_b")
    if contraction_tasks(spec) == 0:
        return
    plan = choose_schedule(spec)
    if plan.swapped:
        spec, a, b = spec.transposed(), b, a
    operands = Operands(f, spec, plan, (a, b, scratch), (load_a, load_b), tables)
    writer = _Writer(f, spec, plan, operands, epilogue, errand if plan.runs_errands else None)
    with rolled_loop(f, begin, end, hint="task") as task:
        writer.write_task(task, begin)


@dataclass(frozen=True)
class _Place:
    """Where the code being written is: a tile of a panel of a block, and its accumulators."""

    block: Block
    part: Slice
    panel: V
    tile: V
    sums: V


@dataclass(frozen=True)
class _Result:
    """A tile's results: where they belong, where they are, and the element stride of rows."""

    batch: V
    row: V
    column: V
    sums: V
    stride: V


class _Writer:
    """Writes the loops of one contraction."""

    def __init__(
        self,
        f: Function,
        spec: ContractionSpec,
        plan: Schedule,
        operands: Operands,
        epilogue: Epilogue,
        errand: V | None,
    ) -> None:
        self.f, self.spec, self.plan = f, spec, plan
        self.operands, self.epilogue, self.errand = operands, epilogue, errand

    # --- loops -----------------------------------------------------------------------------------
    def write_task(self, task: V, begin: V) -> None:
        """One row block x column block; row blocks of one column block follow each other."""
        f, spec, plan = self.f, self.spec, self.plan
        block, down = self._block(task)
        fresh = V("i1", "true")
        if plan.resident:
            fresh = f.compare("eq", task, begin)
            fresh = f.binary("or", fresh, f.compare("eq", down, i64(0)))
        if plan.k_blocks == 1:
            self._write_slice(block, Slice(i64(0), i64(spec.k), V("i1", "true"), None, fresh))
            return
        with rolled_loop(f, 0, spec.k, plan.k_block, hint="slice") as start:
            left = f.sub(i64(spec.k), start)
            length = f.intrinsic("smin", left, i64(plan.k_block))
            first = f.compare("eq", start, i64(0))
            last = f.compare("sle", left, i64(plan.k_block))
            self._write_slice(block, Slice(start, length, first, last, fresh))

    def _write_slice(self, block: Block, part: Slice) -> None:
        f, plan = self.f, self.plan
        if plan.pack_a != "no":
            self.operands.pack_a(block, part)
        tiles = minus(f, block.last_tile, block.first_tile)
        panels = minus(f, block.last_panel, block.first_panel)
        # One loop over pairs, not two: to LLVM every loop costs milliseconds.
        pairs = times(f, panels, int(tiles.text)) if tiles.text.isdigit() else f.mul(panels, tiles)
        with rolled_loop(f, 0, pairs, hint="tile") as pair:
            across, down = self._divide(pair, tiles)
            panel = plus(f, block.first_panel, across)
            tile = plus(f, block.first_tile, down)
            if plan.pack_b != "no" and not self._tiles_pack:
                with f.when(f.binary("and", part.fresh, f.compare("eq", down, i64(0)))):
                    self.operands.pack_panel(block, part, panel)
            place = _Place(block, part, panel, tile, self._sums(pair))
            self._multiply_tile(place)
            if part.last is None:
                self._finish_tile(place)
            else:
                with f.when(part.last):
                    self._finish_tile(place)

    def _block(self, task: V) -> tuple[Block, V]:
        """A task's block, and the number of its row block."""
        plan = self.plan
        batch, rest = i64(0), task
        if self.spec.batch > 1:
            batch, rest = self._divide(task, i64(plan.row_blocks * plan.column_blocks))
        across, down = self._divide(rest, i64(plan.row_blocks))
        tiles = self._range(down, plan.row_tiles, plan.row_blocks)
        panels = self._range(across, plan.panels, plan.column_blocks)
        return Block(batch, *tiles, *panels), down

    def _divide(self, x: V, parts: V) -> tuple[V, V]:
        """Quotient and remainder."""
        if parts.text == "1":
            return x, i64(0)
        quotient = self.f.binary("udiv", x, parts)
        return quotient, self.f.sub(x, self.f.mul(quotient, parts))

    def _range(self, block: V, count: int, blocks: int) -> tuple[V, V]:
        """First and one past the last of ``count`` things in block number ``block``."""
        if blocks == 1:
            return i64(0), i64(count)
        f = self.f
        following = plus(f, block, i64(1))
        if count % blocks == 0:
            return times(f, block, count // blocks), times(f, following, count // blocks)
        low, above = (f.binary("udiv", times(f, x, count), i64(blocks)) for x in (block, following))
        return low, above

    # --- tiles -----------------------------------------------------------------------------------
    @property
    def _tiles_pack(self) -> bool:
        """Whether the first tile of each panel packs B on its way: memory's latency is hidden."""
        return self.plan.pack_b == "copy" and not self.spec.fused_b

    @property
    def _panels_are_alike(self) -> bool:
        """Whether the last panel needs no microkernel of its own."""
        last, whole = (
            [self._outer_tile(last, packs=packs) for packs in (False, True)]
            for last in (True, False)
        )
        return self.plan.panels == 1 or last == whole

    @property
    def _foresees_transposition(self) -> bool:
        """Whether the next panel's columns are one stretch of memory that tiles can prefetch."""
        spec, plan = self.spec, self.plan
        dense = plan.pack_b == "transpose" and spec.b.strides[2] == spec.k
        return dense and not spec.fused_b and plan.panels > 1

    def _prefetched(self, place: _Place) -> tuple[V, V]:
        """Memory that a tile prefetches, a line with each term of k, and the lines' byte stride.

        Each of a panel's first tiles asks for as many of the next panel's columns as a line has
        elements; a tile without an errand asks for the same line again and again.
        """
        f, plan, block = self.f, self.plan, place.block
        if not self._foresees_transposition:
            return self.operands.scratch, i64(0)
        columns = CACHE_LINE_BYTES // element_bytes(self.spec.b.dtype)
        offset = times(f, minus(f, place.tile, block.first_tile), columns)
        column = plus(f, self.operands.column(plus(f, place.panel, i64(1))), offset)
        useful = f.compare("slt", offset, i64(plan.panel))
        useful = f.binary("and", useful, place.part.fresh)
        memory = self.operands.b_memory(block.batch, place.part.start, column)
        stride = f.select(useful, i64(CACHE_LINE_BYTES), i64(0))
        return f.select(useful, memory, self.operands.scratch), stride

    def _sums(self, pair: V) -> V:
        """Where a tile's accumulators are kept: one place, or each its own between K blocks."""
        f, layout = self.f, self.operands.layout
        sums = f.gep("i8", self.operands.scratch, layout.c_offset)
        if self.plan.k_blocks == 1:
            return sums
        return f.gep(self.spec.accumulate, sums, times(f, pair, layout.c_tile))

    def _multiply_tile(self, place: _Place) -> None:
        """Call the microkernel of the tile's width."""
        f, plan, operands = self.f, self.plan, self.operands
        row = operands.row(place.tile)
        a = operands.a_operand(place.block, place.part, row)
        if plan.kind != "outer":
            self._call_thin_tile(place, a[0])
            return
        if self._panels_are_alike:
            self._call_outer_tile(place, a, last_panel=True)
            return
        with branches(f, f.compare("eq", place.panel, i64(plan.panels - 1))) as turn:
            self._call_outer_tile(place, a, last_panel=True)
            turn()
            self._call_outer_tile(place, a, last_panel=False)

    def _call_outer_tile(self, place: _Place, a: tuple[V, ...], *, last_panel: bool) -> None:
        """Call the tile, or its packing twin where the panel is read for the first time."""
        f, part = self.f, place.part
        sums = (place.sums, part.length, part.first)
        plain = outer_tile(f.module, self._outer_tile(last_panel, packs=False))
        arguments = (*a, *self._b_operand(place), *sums, *self._prefetched(place), i64(0))
        if self.errand is not None:
            arguments = (*arguments, self.errand)
        if not self._tiles_pack:
            call_function(f, plain, *arguments)
            return
        starts = f.compare("eq", place.tile, place.block.first_tile)
        with branches(f, f.binary("and", part.fresh, starts)) as turn:
            packing = outer_tile(f.module, self._outer_tile(last_panel, packs=True))
            b = (self._b_memory(place), i64(self.spec.b.strides[1]), i64(self._tail))
            packed = (self._b_packed(place), i64(0), i64(self.plan.panel))
            call_function(f, packing, *a, *b, *sums, *packed)
            turn()
            call_function(f, plain, *arguments)

    def _b_memory(self, place: _Place) -> V:
        column = self.operands.column(place.panel)
        return self.operands.b_memory(place.block.batch, place.part.start, column)

    def _b_packed(self, place: _Place) -> V:
        slot = minus(self.f, place.panel, place.block.first_panel)
        return self.operands.b_packed(place.part.start, slot)

    def _b_operand(self, place: _Place) -> tuple[V, V, V]:
        """Pointer, stride along k, number of valid lanes in a masked vector."""
        if self.plan.pack_b == "no":
            return self._b_memory(place), i64(self.spec.b.strides[1]), i64(self._tail)
        return self._b_packed(place), i64(self.plan.panel), i64(self.plan.lanes)

    def _outer_tile(self, last_panel: bool, *, packs: bool) -> OuterTile:
        """The microkernel for a whole or the last panel."""
        plan, operands = self.plan, self.operands
        vectors = self._last_vectors if last_panel else plan.vectors
        few = plan.rows <= MOST_ROW_POINTERS and vectors > 1
        from_memory = packs or plan.pack_b == "no"
        return OuterTile(
            plan.rows,
            vectors,
            plan.lanes,
            operands.element_a,
            operands.memory_b if from_memory else operands.element_b,
            self.spec.target.has_fma,
            masked=last_panel and from_memory and self._tail != plan.lanes,
            packs=packs,
            a_row=None if few or self.spec.indexed_a else operands.a_strides[0],
            indexed=self.spec.indexed_a,
            errands=self.errand is not None and not packs,
        )

    def _call_thin_tile(self, place: _Place, a: V) -> None:
        """Call the microkernel of a product with few rows or columns."""
        f, spec, plan, operands = self.f, self.spec, self.plan, self.operands
        column = operands.column(place.panel)
        valid = operands.columns_from(column)
        elements = (operands.memory_a, operands.memory_b, spec.target.has_fma)
        rest: tuple[V, ...] = (valid, place.sums, place.part.length)
        b = self._b_memory(place)
        if plan.kind == "dot":
            sizes = (plan.rows, plan.vectors, plan.panel, plan.lanes)
            dot = DotTile(*sizes, *elements, errands=self.errand is not None)
            name = dot_tile(f.module, dot)
            strides = i64(spec.a.strides[1]), i64(spec.b.strides[2])
            if plan.pack_b != "no":
                b, strides = self._b_packed(place), (strides[0], i64(operands.layout.b_line))
            if self.errand is not None:
                rest = (*rest, self.errand)
        else:
            strides = i64(spec.a.strides[2]), i64(spec.b.strides[1])
            name = sweep_tile(f.module, SweepTile(plan.vectors, plan.lanes, *elements))
        call_function(f, name, a, strides[0], b, strides[1], *rest)

    # --- results ---------------------------------------------------------------------------------
    @property
    def _result_lanes(self) -> int:
        """Lanes of the vectors handed to the epilogue."""
        if self.plan.kind != "dot":
            return self.plan.lanes
        return 1 << (min(self.plan.panel, self.spec.n, 16) - 1).bit_length()

    @property
    def _tail(self) -> int:
        """Results in the last vector of the last panel."""
        return (self.spec.n - 1) % self._result_lanes + 1

    @property
    def _last_columns(self) -> int:
        """Results in a row of the last panel."""
        return self.spec.n - (self.plan.panels - 1) * self.plan.panel

    @property
    def _last_vectors(self) -> int:
        """Vectors across the last panel."""
        return -(-self._last_columns // self.plan.lanes)

    def _finish_tile(self, place: _Place) -> None:
        """Hand a tile's results over, row by row, but for rows of the tile before."""
        f, plan = self.f, self.plan
        row, column = self.operands.row(place.tile), self.operands.column(place.panel)
        skipped = i64(0)
        if plan.rows * plan.row_tiles != self.spec.m:
            skipped = minus(f, times(f, place.tile, plan.rows), row)
        is_last = f.compare("eq", place.panel, i64(plan.panels - 1))
        stride = i64(plan.panel)
        if plan.kind == "outer":
            stride = self._by_panel(is_last, plan.panel, self._last_vectors * plan.lanes)
        result = _Result(place.block.batch, row, column, place.sums, stride)
        if plan.swapped:
            columns = self._by_panel(is_last, plan.panel, self._last_columns)
            (self._hand_over_turned if plan.turns else self._hand_over_scalars)(result, columns)
        else:
            self._hand_over_vectors(result, skipped, is_last)

    def _by_panel(self, is_last: V, full: int, last: int) -> V:
        """One number for whole panels, another for the last."""
        if full == last or self.plan.panels == 1:
            return i64(last)
        return self.f.select(is_last, i64(last), i64(full))

    def _hand_over_vectors(self, result: _Result, skipped: V, is_last: V) -> None:
        """Row by row the vectors of a tile; the last of the last panel may be masked."""
        last = -(-self._last_columns // self._result_lanes)
        width = self._by_panel(is_last, self.plan.panel // self._result_lanes, last)
        with self._each_vector(skipped, width) as (r, v):
            if self._tail == self._result_lanes:
                self._hand_over(result, r, v, None)
            else:
                ends = self.f.compare("eq", v, i64(last - 1))
                self._hand_over_edge(result, r, v, self.f.binary("and", is_last, ends))

    def _hand_over_edge(self, result: _Result, r: V, v: V, is_edge: V) -> None:
        """Hand over a vector that may be the masked one."""
        f, lanes = self.f, self._result_lanes
        mask = f.const_lanes("i1", [x < self._tail for x in range(lanes)])
        if self.spec.n < lanes:
            self._hand_over(result, r, v, mask)
            return
        with branches(f, is_edge) as turn:
            self._hand_over(result, r, v, mask)
            turn()
            self._hand_over(result, r, v, None)

    @contextmanager
    def _each_vector(self, skipped: V, width: V) -> Iterator[tuple[V, V]]:
        """Loop over the rows from ``skipped`` on and the ``width`` vectors of each.

        LLVM may unroll the short inner loop: it takes a few cycles where a tile takes hundreds.
        """
        f = self.f
        inner = f.loop if width.text.isdigit() and width.text != "1" else partial(rolled_loop, f)
        with rolled_loop(f, skipped, self.plan.rows, hint="row") as r, inner(0, width) as v:
            yield r, v

    def _hand_over(self, result: _Result, r: V, v: V, mask: V | None) -> None:
        f, accumulate, lanes = self.f, self.spec.accumulate, self._result_lanes
        offset = times(f, v, lanes)
        place = f.gep(accumulate, result.sums, plus(f, f.mul(r, result.stride), offset))
        value = f.load(vector_type(lanes, accumulate), place)
        row, column = plus(f, result.row, r), plus(f, result.column, offset)
        self.epilogue(f, result.batch, row, column, lanes, value, mask)

    def _hand_over_turned(self, result: _Result, columns: V) -> None:
        """Results of the transposed product, turned square by square into the caller's rows."""
        f, accumulate, side, rows = self.f, self.spec.accumulate, self.plan.lanes, self.plan.rows
        type = vector_type(side, accumulate)
        turned = f.gep("i8", self.operands.scratch, self.operands.layout.turned_offset)
        mask = f.const_lanes("i1", [x < rows for x in range(side)]) if rows < side else None
        with rolled_loop(f, 0, columns, side, hint="square") as first:
            starts = [plus(f, first, times(f, result.stride, r)) for r in range(rows)]
            square = [f.load(type, f.gep(accumulate, result.sums, x)) for x in starts]
            square += [zero(type)] * (side - rows)
            for i, line in enumerate(transpose_square(f, square)):
                f.store(line, f.gep(accumulate, turned, i * side))
            count = f.intrinsic("smin", minus(f, columns, first), i64(side))
            with rolled_loop(f, 0, count, hint="row") as r:
                value = f.load(type, f.gep(accumulate, turned, times(f, r, side)))
                row = plus(f, result.column, plus(f, first, r))
                self.epilogue(f, result.batch, row, result.row, side, value, mask)

    def _hand_over_scalars(self, result: _Result, columns: V) -> None:
        """Results of the transposed product: its columns are the caller's rows."""
        f, accumulate = self.f, self.spec.accumulate
        with rolled_loop(f, 0, columns, hint="scalar") as j:
            value = f.load(accumulate, f.gep(accumulate, result.sums, j))
            row = plus(f, result.column, j)
            self.epilogue(f, result.batch, row, result.row, 1, value, None)
