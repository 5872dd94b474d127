"""Microkernels of dot products: lanes run along k, and are summed at the end.

Imports ``gemm_tile``, whose elements and helpers they share, and ``errands``. Start reading at
``dot_tile``.
"""

from __future__ import annotations

from pullback.backend.llvm.emit import Function, Module, V, is_float, lanes_of, mangle, vector_type
from pullback.backend.llvm.errands import ask_for_line, begin_errand, end_errand
from pullback.backend.llvm.gemm_tile import (
    LOCAL,
    SHARED,
    Element,
    define_once,
    i64,
    multiply_add,
    rolled_loop,
    zero,
)
from pullback.records import dataclass

#: Lines that a thread asks for with each step of a vector of terms.
LINES_A_STEP = 2


@dataclass(frozen=True)
class DotTile:
    """A tile of ``rows`` x ``panel`` dot products, lanes along k, ``columns`` at a time."""

    rows: int
    columns: int
    panel: int
    lanes: int
    a: Element
    b: Element
    has_fma: bool
    errands: bool = False

    @property
    def name(self) -> str:
        """The function's name: everything that its body depends on."""
        kind = f"{self.a.tag}_{self.b.tag}_{mangle(self.a.accumulate)}"
        flags = "f" * self.has_fma + "e" * self.errands
        return f"dot{flags}_{self.rows}x{self.columns}of{self.panel}x{self.lanes}_{kind}"

    @property
    def type(self) -> str:
        """Type of an accumulator."""
        return vector_type(self.lanes, self.a.accumulate)


def dot_tile(module: Module, tile: DotTile) -> str:
    """Define ``C = A B`` for one tile whose operands are contiguous along k; return its name.

    Arguments: A's pointer and element stride along rows; B's pointer, element stride along
    columns and number of valid columns (the others repeat the last valid one); C, ``rows`` x
    ``panel`` accumulators, dense; the number of terms; the block of the thread's errand
    (``errands``). Each lane sums every ``lanes``-th term in
    the order of k; the lanes are then added pairwise.
    """
    return define_once(module, tile.name, lambda: _write_dot_tile(module, tile))


def _write_dot_tile(module: Module, tile: DotTile) -> None:
    arguments = [("ptr", "a"), ("i64", "a_row"), ("ptr", "b"), ("i64", "b_column")]
    arguments += [("i64", "valid"), ("ptr", "c"), ("i64", "k")]
    arguments += [("ptr", "errand")] * tile.errands
    f = Function(module, tile.name, "void", arguments, linkage=LOCAL, attributes=SHARED)
    a, a_row, b, b_column, valid, c, k = f.args[:7]
    errand = begin_errand(f, f.args[-1]) if tile.errands else None
    rows = [f.gep(tile.a.memory, a, f.mul(a_row, i64(r))) for r in range(tile.rows)]
    whole = f.binary("and", k, i64(-tile.lanes))
    last = f.sub(valid, V("i64", "1"))
    with rolled_loop(f, 0, tile.panel, tile.columns) as column:
        columns = []
        for offset in range(tile.columns):
            at = f.intrinsic("smin", f.add(column, i64(offset)), last)
            columns.append(f.gep(tile.b.memory, b, f.mul(at, b_column)))
        sums = [f.alloca(tile.type) for _ in range(tile.rows * tile.columns)]
        for slot in sums:
            f.store(zero(tile.type), slot)
        with rolled_loop(f, 0, whole, tile.lanes) as p:
            if errand is not None:
                for _ in range(LINES_A_STEP):
                    ask_for_line(f, errand)
            _dot_step(f, tile, rows, columns, p, None, sums)
        with f.when(f.compare("slt", whole, k)):
            mask = f.lane_mask(f.sub(k, whole), tile.lanes)
            _dot_step(f, tile, rows, columns, whole, mask, sums)
        for r in range(tile.rows):
            slots = sums[r * tile.columns : (r + 1) * tile.columns]
            place = f.add(column, i64(r * tile.panel))
            _store_sums(f, tile, slots, f.gep(tile.a.accumulate, c, place))
    if errand is not None:
        end_errand(f, errand)
    f.ret()
    f.finish()


def _dot_step(
    f: Function,
    tile: DotTile,
    rows: list[V],
    columns: list[V],
    p: V,
    mask: V | None,
    sums: list[V],
) -> None:
    held = [tile.a.load(f, f.gep(tile.a.memory, x, p), tile.lanes, mask) for x in rows]
    for c, pointer in enumerate(columns):
        y = tile.b.load(f, f.gep(tile.b.memory, pointer, p), tile.lanes, mask)
        for r, x in enumerate(held):
            slot = sums[r * tile.columns + c]
            f.store(multiply_add(f, x, y, f.load(tile.type, slot), tile.has_fma), slot)


def _store_sums(f: Function, tile: DotTile, slots: list[V], place: V) -> None:
    """Store the sums of the lanes of a row's accumulators."""
    totals = sums_of_lanes(f, [f.load(tile.type, slot) for slot in slots])
    lanes = lanes_of(totals.type)
    if lanes == len(slots):
        f.store(totals, place)
    else:
        mask = f.const_lanes("i1", [x < len(slots) for x in range(lanes)])
        f.masked_store(totals, place, mask)


def sums_of_lanes(f: Function, vectors: list[V]) -> V:
    """The sum of each vector's lanes, in a vector of as many lanes or the next power of two.

    Each sum adds the upper half of the lanes to the lower half until one lane is left; vectors are
    merged on the way, so that most additions work for two and more of them.
    """
    lanes = lanes_of(vectors[0].type)
    count = min(lanes, 1 << (len(vectors) - 1).bit_length())
    if count < len(vectors):
        raise ValueError(f"{len(vectors)} vectors have more sums than {lanes} lanes hold")
    vectors = vectors + [zero(vectors[0].type)] * (count - len(vectors))
    add, width = f.fadd if is_float(vectors[0].type) else f.add, lanes
    while len(vectors) > 1:
        pairs = zip(vectors[::2], vectors[1::2], strict=True)
        low, high = _halves(2 * lanes, width)
        vectors = [add(f.shuffle(x, y, low), f.shuffle(x, y, high)) for x, y in pairs]
        width //= 2
    (x,) = vectors
    while width > 1:
        if width == lanes_of(x.type) == 2:
            return add(f.extract(x, 0), f.extract(x, 1))
        low, high = _halves(lanes_of(x.type), width)
        x = add(f.shuffle(x, None, low), f.shuffle(x, None, high))
        width //= 2
    return x


def _halves(lanes: int, width: int) -> tuple[list[int], list[int]]:
    """The lower and the upper lanes of each group of ``width``."""
    low = [x for x in range(lanes) if x % width < width // 2]
    return low, [x + width // 2 for x in low]
