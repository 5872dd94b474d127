"""How a contraction is cut into tiles, blocks and tasks.

Pure arithmetic on static shapes: nothing here writes LLVM. ``gemm`` reads the plan.
Start reading at ``choose_schedule``.
"""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Literal

from pullback.backend.llvm.emit import element_bytes
from pullback.backend.llvm.gemm_spec import (
    ContractionSpec,
    Schedule,
    ceil_div,
    packs_along_rows,
)
from pullback.kernels.core import CACHE_LINE_BYTES

#: Numbers of threads that blocks are chosen for; the commonest stand twice.
THREADS = (1, 2, 2, 3, 4, 4, 8)
#: More tasks than this are made only where a row block would not fit a cache.
MOST_TASKS = 48
FMA_PIPES = 2
#: Four cycles, and what scheduling loses where nothing else hides them.
FMA_LATENCY_CYCLES = 5.5
#: Estimated cycles to pack one element: contiguous copy, register transpose, one by one.
COPY_CYCLES, TRANSPOSE_CYCLES, GATHER_CYCLES = 0.5, 0.4, 2.0
_B_CYCLES = {
    "no": 0.0,
    "copy": COPY_CYCLES,
    "transpose": TRANSPOSE_CYCLES,
    "gather": GATHER_CYCLES,
}
#: Numbers of blocks to choose from.
_SPLITS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 96, 192)
TILE_OVERHEAD_CYCLES, TASK_OVERHEAD_CYCLES = 25.0, 150.0
#: Rows and most columns of a tile of dot products; estimated cycles of one of its multiply-adds
#: relative to the pipes' best, to sum a result's lanes, and to pack a line of B.
DOT_ROWS, MOST_DOT_COLUMNS = 4, 5
DOT_CYCLES, DOT_SUM_CYCLES, PACKED_COLUMN_CYCLES = 1.1, 1.5, 4.5
#: Estimated cycles to turn one vector of results from the transposed product.
TURN_CYCLES = 3.0
#: Estimated cycles to bring a register's worth of B from the second-level cache.
L2_CYCLES = 2.7
#: Estimated cycles that a term of k costs a tile besides its arithmetic.
STEP_CYCLES = 0.15
#: Relative cost of a row block twice the size of a second-level cache.
SPILL_COST = 0.02
#: Estimated cycles an element of A takes to come from beyond the second-level cache.
FAR_CYCLES = 0.25
#: Estimated cycles that one more row of A costs a term of k when A comes from far.
LINE_CYCLES = 0.05
#: The same for a tile's rows that lie side by side, in rows.
COLUMN_LINES = 8
#: Estimated cycles that a panel waits for each line of B when it is read for the first time.
MEMORY_CYCLES = 3.0
#: Cost of a last panel of another width: one more microkernel to compile.
NARROW_PANEL = 1.01
#: Columns that a sweep reads in one stretch, at least and at most; lines read side by side.
SWEEP_COLUMNS, MOST_SWEEP_COLUMNS, SWEEP_LINES = 128, 2048, 4
#: Lines at this stride share one set of a first-level cache.
ALIASING_BYTES = 4096
#: Lines at an aliasing stride that a first-level cache holds beside other data.
MOST_ALIASED_ROWS = 8
#: Longest stretch of k that is summed before the next operand block is packed.
K_BLOCK_BYTES = 4096
#: A thread keeps at most this multiple of its L2 cache of packed columns from task to task.
RESIDENT_L2_MULTIPLE = 4
#: A tile of more rows does not hold a pointer to each: their stride is built into its code.
MOST_ROW_POINTERS = 14
#: Heights of tiles that divide most products' rows.
COMMON_ROWS = (6, 8, 16)
#: With tables, LLVM runs out of registers before that.
MOST_INDEXED_ROWS = 8
#: Fewer rows of accumulators than this would wait for each other: vectors are halved instead.
FEW_ROWS = 4
#: Most vectors across a tile.
MAX_VECTORS = 8


def contraction_tasks(spec: ContractionSpec) -> int:
    """Number of independent tasks: a function of the spec alone; 0 for an empty result."""
    if 0 in (spec.batch, spec.m, spec.n):
        return 0
    plan = choose_schedule(spec)
    return spec.batch * plan.row_blocks * plan.column_blocks


@functools.lru_cache(maxsize=4096)
def choose_schedule(spec: ContractionSpec) -> Schedule:
    """Choose tiles, packing, blocks and tasks of a contraction that is not empty.

    Every estimate is in core cycles and depends on the spec alone, so tasks and the order of
    every sum never depend on the number of threads.
    """
    if _sums_along_lanes(spec):
        return _with_blocks(spec, _dot_tiles(spec))
    dots = _packed_dots(spec)
    if dots is not None:
        return _with_blocks(spec, dots)
    narrow = _narrow_tiles(spec)
    if narrow is not None:
        return replace(_with_blocks(spec.transposed(), narrow), swapped=True)
    turned = spec.transposed() if _is_column_of_rows(spec) else spec
    tiles = _sweep_tiles(turned) if _is_wide_row(turned) else _outer_tiles(turned)
    tiles = tiles if tiles.kind == "sweep" else _with_packing(turned, tiles)
    return replace(_with_blocks(turned, tiles), swapped=turned is not spec)


# --- kinds ---------------------------------------------------------------------------------------
def _sums_along_lanes(spec: ContractionSpec) -> bool:
    """Few rows or columns, both operands contiguous in k: read each once, lanes along k."""
    contiguous = spec.a.strides[2] == 1 and spec.b.strides[1] == 1
    return contiguous and spec.is_plain and min(spec.m, spec.n) <= 4 and spec.k >= 32


def _is_column_of_rows(spec: ContractionSpec) -> bool:
    """One result column, A contiguous along rows: lanes run down the rows."""
    return spec.n == 1 and spec.a.strides[1] == 1 and spec.is_plain and spec.m > 1


def _is_wide_row(spec: ContractionSpec) -> bool:
    """One result row, B contiguous along columns and larger than a first-level cache."""
    wide = spec.n >= SWEEP_COLUMNS and spec.b.strides[2] == 1
    size = spec.k * spec.n * element_bytes(spec.b.dtype)
    return spec.m == 1 and wide and spec.is_plain and size > spec.target.l1_bytes


def _packed_dots(spec: ContractionSpec) -> Schedule | None:
    """Tiles of dot products where the result's few columns would leave lanes empty.

    Lanes then run along k, in which A is contiguous; B's columns are packed to be so.
    """
    lanes = spec.target.lanes
    same = spec.a.dtype == spec.b.dtype == spec.accumulate == "float"
    contiguous = spec.a.strides[2] == 1 and spec.b.strides[2] == 1
    if not (same and contiguous and spec.is_plain and lanes == 16 == _lanes(spec)):
        return None
    if spec.n >= lanes or spec.m < 2 * DOT_ROWS or spec.k < 8 * lanes:
        return None
    groups = ceil_div(spec.n, MOST_DOT_COLUMNS)
    columns = ceil_div(spec.n, groups)
    tiles = _tiles("dot", spec, lanes, columns, DOT_ROWS, groups * columns)
    results = spec.batch * tiles.row_tiles * DOT_ROWS * tiles.panel
    cost = results * (DOT_CYCLES * ceil_div(spec.k, lanes) / FMA_PIPES + DOT_SUM_CYCLES)
    cost += spec.batch * spec.k * PACKED_COLUMN_CYCLES
    if cost > spec.batch * _compute_cycles(spec, _outer_tiles(spec)):
        return None
    return replace(tiles, pack_b="transpose", k_block=spec.k)


def _narrow_tiles(spec: ContractionSpec) -> Schedule | None:
    """Tiles of the transposed result, where the result's few columns would leave lanes empty.

    Lanes then run down A's contiguous rows, and one tile holds all columns; finished squares are
    transposed in registers.
    """
    lanes, turned = _lanes(spec), spec.transposed()
    if not (spec.is_plain and spec.a.strides[1] == 1 and 4 < spec.n < lanes <= spec.m):
        return None
    widths = [
        vectors
        for vectors in range(1, min(MAX_VECTORS, spec.m // lanes) + 1)
        if spec.n <= _most_rows(turned, vectors * _registers(turned, lanes))
    ]
    if not widths:
        return None
    choices = [_tiles("outer", turned, lanes, x, spec.n, x * lanes) for x in widths]
    tiles = _with_packing(turned, min(choices, key=lambda x: _tiles_cost(turned, x)))
    turning = 4 * TURN_CYCLES * _round_up(spec.m, lanes) * spec.batch
    cost = _tiles_cost(turned, tiles) + turning
    fits = tiles.k_blocks == 1 and cost < _tiles_cost(spec, _outer_tiles(spec))
    return tiles if fits else None


# --- tiles ---------------------------------------------------------------------------------------
def _registers(spec: ContractionSpec, lanes: int) -> int:
    """Registers of a logical vector of accumulators."""
    return ceil_div(lanes * element_bytes(spec.accumulate), spec.target.vector_bytes)


def _most_rows(spec: ContractionSpec, width: int) -> int:
    """Rows of accumulators of ``width`` registers beside a row of B and an element of A."""
    free = spec.target.registers - 1 - (not spec.target.has_fma)
    return (free - width) // width


def _lanes(spec: ContractionSpec) -> int:
    """16, halved while half holds every column or registers would hold but a few rows."""
    lanes, few = 16, min(FEW_ROWS if spec.target.has_fma else 2, spec.m)
    while lanes > 4 and (2 * spec.n <= lanes or _most_rows(spec, _registers(spec, lanes)) < few):
        lanes //= 2
    return lanes


def _tile_cycles(rows: int, width: int) -> float:
    """Cycles a term of k costs a tile ``rows`` high and ``width`` registers wide."""
    arithmetic = rows * width / FMA_PIPES
    loads = (rows + width) / 2
    streamed = width * L2_CYCLES
    return max(arithmetic, loads, streamed, FMA_LATENCY_CYCLES) + STEP_CYCLES + 0.04 * width


def _outer_tiles(spec: ContractionSpec) -> Schedule:
    """The tile whose estimated time, averaged over few threads, is least."""
    lanes = _lanes(spec)
    return min(
        (
            _tiles("outer", spec, lanes, vectors, rows, vectors * lanes)
            for vectors in range(1, min(MAX_VECTORS, ceil_div(spec.n, lanes)) + 1)
            for rows in _heights(spec, vectors * _registers(spec, lanes))
        ),
        key=lambda tiles: _tiles_cost(spec, tiles),
    )


def _heights(spec: ContractionSpec, width: int) -> set[int]:
    """Candidate rows of a tile: few, so that contractions share microkernels.

    Common heights, what divides the rows evenly, and what gives two or four tiles.
    """
    most = _most_rows(spec, width)
    most = min(most, MOST_INDEXED_ROWS) if spec.indexed_a else most
    if most < 1:
        return set()
    fewest = ceil_div(spec.m, most)
    even = {ceil_div(spec.m, tiles) for tiles in (fewest, fewest + 1, fewest + 2, 2, 4)}
    return {x for x in even | set(COMMON_ROWS) if x <= min(most, spec.m)}


def _tiles(
    kind: Literal["outer", "dot", "sweep"],
    spec: ContractionSpec,
    lanes: int,
    vectors: int,
    rows: int,
    panel: int,
) -> Schedule:
    row_tiles, panels = ceil_div(spec.m, rows), ceil_div(spec.n, panel)
    return Schedule(kind, False, lanes, rows, vectors, row_tiles, panel, panels)


def _tiles_cost(spec: ContractionSpec, tiles: Schedule) -> float:
    serial = _compute_cycles(spec, tiles) + tiles.panels * spec.k * MEMORY_CYCLES
    if _is_far(spec):
        lines = tiles.row_tiles * COLUMN_LINES if packs_along_rows(spec.a) else spec.m
        serial += lines * spec.k * tiles.panels * LINE_CYCLES
    packed = replace(tiles, pack_a=_pack_a(spec, tiles))
    if packed.pack_a != "no":
        serial += 2 * spec.m * spec.k * _a_cycles(spec, packed)
    if tiles.panels > 1 and spec.n % tiles.panel and ceil_div(spec.n, tiles.lanes) % tiles.vectors:
        serial *= NARROW_PANEL
    packing = _B_CYCLES[_pack_b(spec, tiles)] * spec.n * spec.k
    return sum(_parallel_cycles(spec, tiles, serial, packing, threads) for threads in (1, 2, 2, 4))


def _parallel_cycles(
    spec: ContractionSpec, tiles: Schedule, serial: float, packing: float, threads: int
) -> float:
    """Time on ``threads`` relative to a perfect split: by columns, or by rows packing B anew."""
    across, units = spec.batch * tiles.panels, spec.batch * tiles.panels * tiles.row_tiles
    by_columns = (spec.batch * serial + packing) * _imbalance(across, threads)
    by_columns *= across * tiles.vectors * tiles.lanes / _round_up(spec.n, tiles.lanes) / spec.batch
    by_rows = (spec.batch * serial + threads * packing) * _imbalance(units, threads)
    return min(by_columns, by_rows)


def _imbalance(units: int, threads: int) -> float:
    """Time of equal ``units`` on ``threads``, relative to a perfect split."""
    return ceil_div(units, threads) * threads / units


def _compute_cycles(spec: ContractionSpec, plan: Schedule) -> float:
    """Estimated cycles of the tiles of one batch element."""
    each = _registers(spec, plan.lanes)
    last = ceil_div(spec.n - (plan.panels - 1) * plan.panel, plan.lanes)
    total = 0.0
    for vectors, panels in ((plan.vectors, plan.panels - 1), (last, 1)):
        width = vectors * each
        cost = _tile_cycles(plan.rows, width) * spec.k
        cost += TILE_OVERHEAD_CYCLES + 2 * plan.rows * width
        total += cost * plan.row_tiles * panels
    return total


def _dot_tiles(spec: ContractionSpec) -> Schedule:
    """Accumulators of lanes along k for as many rows and columns as registers hold."""
    lanes = min(16, 4 * spec.target.lanes)
    budget = max(1, (spec.target.registers - 8) // _registers(spec, lanes))
    if spec.m <= spec.n:
        rows = min(spec.m, max(1, budget // 4), 4)
        columns = _power_of_two(min(budget // rows, MOST_ALIASED_ROWS))
        panel = min(16, spec.n)
    else:
        columns = panel = min(spec.n, 4)
        columns = min(columns, max(1, budget // 2))
        rows = min(spec.m, max(1, budget // columns), 8)
    columns = min(columns, panel)
    return _tiles("dot", spec, lanes, columns, rows, _round_up(panel, columns))


def _sweep_tiles(spec: ContractionSpec) -> Schedule:
    """One row; panels as wide as leaves one for each of a few threads."""
    lanes = min(16, 4 * spec.target.lanes)
    panels = max(1, min(4, spec.n // SWEEP_COLUMNS), ceil_div(spec.n, MOST_SWEEP_COLUMNS))
    panel = _round_up(ceil_div(spec.n, panels), lanes)
    return _tiles("sweep", spec, lanes, SWEEP_LINES, 1, panel)


# --- packing -------------------------------------------------------------------------------------
def _with_packing(spec: ContractionSpec, tiles: Schedule) -> Schedule:
    pack_b = _pack_b(spec, tiles)
    pack_a = _pack_a(spec, tiles)
    k_block, k_blocks = max(1, spec.k), 1
    if pack_a != "no" or pack_b != "no":
        longest = K_BLOCK_BYTES // element_bytes(spec.accumulate)
        k_blocks = max(1, ceil_div(spec.k, longest + longest // 4))
        k_block = _round_up(max(1, ceil_div(spec.k, k_blocks)), 16 if k_blocks > 1 else 1)
        k_blocks = max(1, ceil_div(spec.k, k_block))
    return replace(tiles, pack_a=pack_a, pack_b=pack_b, k_block=k_block, k_blocks=k_blocks)


def _pack_a(spec: ContractionSpec, tiles: Schedule) -> Literal["no", "along k", "along rows"]:
    along: Literal["along k", "along rows"] = (
        "along rows" if packs_along_rows(spec.a) else "along k"
    )
    if spec.fused_a:
        return along
    if spec.indexed_a:
        return "no"
    if spec.a.dtype != spec.accumulate:
        return along if tiles.panels * tiles.vectors > 4 else "no"
    if tiles.panels < 4:
        return "no"
    if along == "along k":
        line, step = spec.a.strides[1:]
        aliased = tiles.rows > MOST_ALIASED_ROWS and _aliases(spec, line, 2)
    else:
        step, line = spec.a.strides[1:]
        aliased = _aliases(spec, line, 1)
    return along if abs(step) != 1 or aliased else "no"


def _aliases(spec: ContractionSpec, stride: int, sets: int) -> bool:
    """Whether lines of A at this stride fall into so few sets of a first-level cache."""
    return stride * element_bytes(spec.a.dtype) * sets % ALIASING_BYTES == 0


def _pack_b(spec: ContractionSpec, tiles: Schedule) -> Literal["no", "copy", "transpose", "gather"]:
    along_k, along_columns = (abs(x) for x in spec.b.strides[1:])
    if spec.fused_b:
        if not packs_along_rows(spec.b):
            return "copy"
        return "transpose" if spec.k >= 4 else "gather"
    if spec.b.strides[2] != 1:
        along = along_k == 1 and spec.b.strides[1] == 1 and spec.k >= 4 and along_columns > 0
        return "transpose" if along else "gather"
    near = spec.k * along_k * element_bytes(spec.b.dtype) <= spec.target.l1_bytes * 2 // 3
    same = spec.b.dtype == spec.accumulate
    return "no" if tiles.row_tiles <= 2 or (near and same) else "copy"


# --- blocks --------------------------------------------------------------------------------------
def _with_blocks(spec: ContractionSpec, tiles: Schedule) -> Schedule:
    """Cut the result into row x column blocks: the pair that is cheapest on average."""
    tiles = replace(tiles, k_block=max(1, spec.k)) if tiles.k_blocks == 1 else tiles
    compute = _compute_cycles(spec, tiles)
    down, across = min(
        _block_counts(spec, tiles), key=lambda x: _blocks_cost(spec, tiles, compute, *x)
    )
    plan = replace(tiles, row_blocks=down, column_blocks=across)
    return replace(plan, resident=_is_resident(spec, plan, plan.block_panels))


def _block_counts(spec: ContractionSpec, tiles: Schedule) -> list[tuple[int, int]]:
    """Pairs of row and column blocks: at most as many tasks as ever help, or as caches need."""
    needed = ceil_div(spec.m * tiles.k_block * element_bytes(spec.accumulate), spec.target.l2_bytes)
    most = max(MOST_TASKS, 8 * needed)
    return [
        (down, across)
        for down in _SPLITS
        for across in _SPLITS
        if down <= tiles.row_tiles and across <= tiles.panels and down * across <= most
    ]


def _is_resident(spec: ContractionSpec, plan: Schedule, block_panels: int) -> bool:
    """Whether a thread can keep a column block, all of k, packed from task to task."""
    size = spec.k * block_panels * plan.panel * element_bytes(spec.accumulate)
    return plan.pack_b != "no" and size <= RESIDENT_L2_MULTIPLE * spec.target.l2_bytes


def _blocks_cost(
    spec: ContractionSpec, plan: Schedule, compute: float, down: int, across: int
) -> float:
    """Estimated cycles on each number of threads, summed."""
    size, l2 = element_bytes(spec.accumulate), spec.target.l2_bytes
    block_rows = ceil_div(plan.row_tiles, down) * plan.rows
    block_panels = ceil_div(plan.panels, across)
    resident = _is_resident(spec, plan, block_panels)
    a_cycles = spec.m * spec.k * _a_cycles(spec, plan)
    if packs_along_rows(spec.a):
        a_cycles *= 1 + CACHE_LINE_BYTES / (block_rows * size)
    b_cycles = _B_CYCLES[plan.pack_b] * spec.n * spec.k / across
    spill = max(0.0, 2 * block_rows * plan.k_block * size / l2 - 1) * SPILL_COST
    if plan.pack_b != "no" and not resident:
        wide = block_panels * plan.panel * plan.k_block * size
        spill += max(0.0, wide / (2 * l2) - 1)
    tasks = spec.batch * down * across
    work = spec.batch * (compute * (1 + spill) + a_cycles * across) + tasks * TASK_OVERHEAD_CYCLES
    total = 0.0
    for threads in THREADS:
        packs = tasks
        if resident:
            columns = spec.batch * across
            packs = columns + (threads - 1 if down > 1 and columns % threads else 0)
        total += (work + packs * b_cycles) * _largest_share(spec, plan, down, across, threads)
    return total


def _largest_share(
    spec: ContractionSpec, plan: Schedule, down: int, across: int, threads: int
) -> float:
    """Work of the busiest thread, relative to a perfect split."""
    tasks, each = spec.batch * down * across, down * across
    whole = plan.row_tiles * plan.panels
    share, before = 0, 0
    for thread in range(1, threads + 1):
        batch, rest = divmod(tasks * thread // threads, each)
        column, row = divmod(rest, down)
        first = column * plan.panels // across
        width = (column + 1) * plan.panels // across - first
        done = batch * whole + first * plan.row_tiles + width * (row * plan.row_tiles // down)
        share, before = max(share, done - before), done
    return share * threads / (spec.batch * whole)


def _a_cycles(spec: ContractionSpec, plan: Schedule) -> float:
    """Estimated cycles an element of A costs each column block: packing, or coming from far."""
    if plan.pack_a != "no":
        unit = min(abs(spec.a.strides[1]), abs(spec.a.strides[2])) == 1
        return COPY_CYCLES if unit or spec.fused_a else GATHER_CYCLES
    if not _is_far(spec):
        return 0.0
    return 2 * FAR_CYCLES if packs_along_rows(spec.a) else FAR_CYCLES


def _is_far(spec: ContractionSpec) -> bool:
    """Whether A does not stay in a second-level cache."""
    return 2 * spec.m * spec.k * element_bytes(spec.a.dtype) > spec.target.l2_bytes


# --- arithmetic ----------------------------------------------------------------------------------
def _round_up(x: int, multiple: int) -> int:
    return ceil_div(x, multiple) * multiple


def _power_of_two(x: int) -> int:
    """Largest power of two not above ``x``, at least 1."""
    return 1 << max(0, x.bit_length() - 1)
