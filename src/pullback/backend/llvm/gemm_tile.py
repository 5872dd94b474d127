"""Microkernels: one function for each tile shape, shared by every contraction of a module.

Strides and lengths are arguments, so that a program of many contractions compiles few bodies.
Imports ``emit`` and the target's facts alone. Start reading at ``outer_tile``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pullback.backend.llvm.emit import Function, Module, V, is_float, lanes_of, mangle, vector_type


@dataclass(frozen=True)
class Element:
    """How an operand's elements become accumulator elements."""

    memory: str
    signed: bool
    accumulate: str
    has_half: bool

    @property
    def tag(self) -> str:
        """Part of a function's name."""
        sign = "" if self.signed or is_float(self.memory) else "u"
        soft = "s" if self.memory == "half" and not self.has_half else ""
        return f"{sign}{mangle(self.memory)}{soft}"

    def load(self, f: Function, pointer: V, lanes: int, mask: V | None = None) -> V:
        """Load ``lanes`` consecutive elements (those of the mask) as accumulator elements."""
        memory = "i16" if self._widens_bits else self.memory
        type = vector_type(lanes, memory)
        raw = f.load(type, pointer) if mask is None else f.masked_load(type, pointer, mask)
        return self.widen(f, raw)

    @property
    def _widens_bits(self) -> bool:
        return self.memory == "bfloat" or (self.memory == "half" and not self.has_half)

    def widen(self, f: Function, value: V) -> V:
        """Convert memory elements to accumulator elements, exactly."""
        if self.memory == self.accumulate:
            return value
        if self.memory == "bfloat":
            return self._from_float(f, _bfloat_bits(f, value))
        if self.memory == "half" and not self.has_half:
            return self._from_float(f, _half_bits(f, value))
        if is_float(self.memory):
            return f.convert("fpext", value, self.accumulate)
        extend = "sext" if self.signed else "zext"
        if is_float(self.accumulate):
            return f.convert("sitofp" if self.signed else "uitofp", value, self.accumulate)
        return f.convert(extend, value, self.accumulate)

    def _from_float(self, f: Function, value: V) -> V:
        same = self.accumulate == "float"
        return value if same else f.convert("fpext", value, self.accumulate)


def _bfloat_bits(f: Function, bits: V) -> V:
    """The floats whose upper halves are ``bits``."""
    wide = f.convert("zext", bits, "i32")
    return f.convert("bitcast", f.binary("shl", wide, f.const(wide.type, 16)), "float")


def _half_bits(f: Function, bits: V) -> V:
    """The floats equal to half-precision ``bits``, subnormals, infinities and nan included.

    The exponent is rebased by an exact multiplication, which also normalises subnormals.
    """
    wide = f.convert("zext", bits, "i32")
    magnitude = f.binary("and", wide, f.const(wide.type, 0x7FFF))
    shifted = f.binary("shl", magnitude, f.const(wide.type, 13))
    scaled = f.convert("bitcast", shifted, "float")
    scaled = f.convert("bitcast", f.fmul(scaled, f.const(scaled.type, 2.0**112)), "i32")
    special = f.compare("uge", magnitude, f.const(wide.type, 0x7C00))
    infinite = f.binary("or", shifted, f.const(wide.type, 0x7F800000))
    sign = f.binary("shl", f.binary("and", wide, f.const(wide.type, 0x8000)), _sixteen(f, wide))
    joined = f.binary("or", f.select(special, infinite, scaled), sign)
    return f.convert("bitcast", joined, "float")


def _sixteen(f: Function, like: V) -> V:
    return f.const(like.type, 16)


def multiply_add(f: Function, x: V, y: V, z: V, has_fma: bool) -> V:
    """``x * y + z``: one rounding where the target has it, wrapping for integers."""
    if not is_float(z.type):
        return f.add(f.mul(x, y), z)
    return f.fma(x, y, z) if has_fma else f.fadd(f.fmul(x, y), z)


def zero(type: str) -> V:
    """Zero in every lane."""
    return V(type, "zeroinitializer") if type.startswith("<") else _scalar_zero(type)


def _scalar_zero(type: str) -> V:
    return V(type, "0.0" if is_float(type) else "0")


def define_once(module: Module, name: str, write: Callable[[], None]) -> str:
    """Write an internal function unless the module has it; returns its name."""
    if not any(f" @{name}(" in text[:400] for text in module.functions):
        write()
    return name


def call_function(f: Function, name: str, *args: V) -> None:
    """Call a function that this module defines (``Function.call`` would also declare it)."""
    f.raw(f"call void @{name}({', '.join(map(str, args))})")


@contextmanager
def branches(f: Function, condition: V) -> Iterator[Callable[[], None]]:
    """Two-way branch: write the ``then`` part, call the yielded function, write the other part."""
    then, otherwise, done = f.label("then"), f.label("else"), f.label("done")
    f.branch_if(condition, then, otherwise)
    f.start(then)

    def turn() -> None:
        f.branch(done)
        f.start(otherwise)

    yield turn
    f.branch(done)
    f.start(done)


# --- outer products ------------------------------------------------------------------------------
@dataclass(frozen=True)
class OuterTile:
    """A tile of ``rows`` x ``vectors`` vectors that sums outer products over k."""

    rows: int
    vectors: int
    lanes: int
    a: Element
    b: Element
    has_fma: bool
    masked: bool

    @property
    def name(self) -> str:
        """The function's name: everything that its body depends on."""
        mask = "m" if self.masked else ""
        kind = f"{self.a.tag}_{self.b.tag}_{mangle(self.a.accumulate)}"
        return f"outer{mask}_{self.rows}x{self.vectors}x{self.lanes}_{kind}"

    @property
    def type(self) -> str:
        """Type of an accumulator."""
        return vector_type(self.lanes, self.a.accumulate)


_OUTER_ARGUMENTS = [
    ("ptr", "a"),
    ("i64", "a_row"),
    ("i64", "a_step"),
    ("ptr", "b"),
    ("i64", "b_step"),
    ("i64", "valid"),
    ("ptr", "c"),
    ("i64", "k"),
    ("i1", "first"),
]


def outer_tile(module: Module, tile: OuterTile) -> str:
    """Define ``C (+)= A B`` for one tile and return the function's name.

    Arguments: A's pointer and element strides along rows and k; B's pointer and element stride
    along k, its columns being contiguous; the number of valid lanes of the last vector (masked
    tiles); C, ``rows`` x ``vectors * lanes`` accumulators, dense; the number of terms; whether C
    starts from zero. The sum of each element is one chain in the order of k.
    """
    return define_once(module, tile.name, lambda: _write_outer_tile(module, tile))


def _write_outer_tile(module: Module, tile: OuterTile) -> None:
    f = Function(module, tile.name, "void", _OUTER_ARGUMENTS, attributes="nounwind noinline")
    a, a_row, a_step, b, b_step, valid, c, k, first = f.args
    rows = [f.gep(tile.a.memory, a, f.mul(a_row, V("i64", str(r)))) for r in range(tile.rows)]
    mask = f.lane_mask(valid, tile.lanes) if tile.masked else None
    places = [
        f.gep(tile.a.accumulate, c, i * tile.lanes) for i in range(tile.rows * tile.vectors)
    ]
    sums = [f.alloca(tile.type, zero(tile.type)) for _ in places]
    with f.when(f.compare("eq", first, V("i1", "false"))):
        for slot, place in zip(sums, places, strict=True):
            f.store(f.load(tile.type, place), slot)
    a_at, b_at = f.alloca("i64", V("i64", "0")), f.alloca("ptr", b)
    with f.loop(0, k):
        _outer_step(f, tile, rows, f.load("i64", a_at), f.load("ptr", b_at), mask, sums)
        f.store(f.add(f.load("i64", a_at), a_step), a_at)
        f.store(f.gep(tile.b.memory, f.load("ptr", b_at), b_step), b_at)
    for slot, place in zip(sums, places, strict=True):
        f.store(f.load(tile.type, slot), place)
    f.ret()
    f.finish()


def _outer_step(
    f: Function, tile: OuterTile, rows: list[V], a_at: V, b: V, mask: V | None, sums: list[V]
) -> None:
    """One term of k: the shorter side of the tile stays in registers."""

    def column(v: int) -> V:
        place = f.gep(tile.b.memory, b, v * tile.lanes)
        return tile.b.load(f, place, tile.lanes, mask if v == tile.vectors - 1 else None)

    def row(r: int) -> V:
        return f.splat(tile.a.load(f, f.gep(tile.a.memory, rows[r], a_at), 1), tile.lanes)

    def accumulate(r: int, v: int, x: V, y: V) -> None:
        slot = sums[r * tile.vectors + v]
        f.store(multiply_add(f, x, y, f.load(tile.type, slot), tile.has_fma), slot)

    if tile.rows < tile.vectors:
        held = [row(r) for r in range(tile.rows)]
        for v in range(tile.vectors):
            y = column(v)
            for r in range(tile.rows):
                accumulate(r, v, held[r], y)
        return
    held = [column(v) for v in range(tile.vectors)]
    for r in range(tile.rows):
        x = row(r)
        for v in range(tile.vectors):
            accumulate(r, v, x, held[v])


# --- dot products --------------------------------------------------------------------------------
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

    @property
    def name(self) -> str:
        """The function's name: everything that its body depends on."""
        kind = f"{self.a.tag}_{self.b.tag}_{mangle(self.a.accumulate)}"
        return f"dot_{self.rows}x{self.columns}of{self.panel}x{self.lanes}_{kind}"

    @property
    def type(self) -> str:
        """Type of an accumulator."""
        return vector_type(self.lanes, self.a.accumulate)


def dot_tile(module: Module, tile: DotTile) -> str:
    """Define ``C = A B`` for one tile whose operands are contiguous along k; return its name.

    Arguments: A's pointer and element stride along rows; B's pointer, element stride along
    columns and number of valid columns (the others repeat the last valid one); C, ``rows`` x
    ``panel`` accumulators, dense; the number of terms. Each lane sums every ``lanes``-th term in
    the order of k; the lanes are then added pairwise.
    """
    return define_once(module, tile.name, lambda: _write_dot_tile(module, tile))


def _write_dot_tile(module: Module, tile: DotTile) -> None:
    arguments = [("ptr", "a"), ("i64", "a_row"), ("ptr", "b"), ("i64", "b_column")]
    arguments += [("i64", "valid"), ("ptr", "c"), ("i64", "k")]
    f = Function(module, tile.name, "void", arguments, attributes="nounwind noinline")
    a, a_row, b, b_column, valid, c, k = f.args
    rows = [f.gep(tile.a.memory, a, f.mul(a_row, V("i64", str(r)))) for r in range(tile.rows)]
    whole = f.binary("and", k, V("i64", str(-tile.lanes)))
    last = f.sub(valid, V("i64", "1"))
    with f.loop(0, tile.panel, tile.columns) as column:
        columns = []
        for offset in range(tile.columns):
            at = f.intrinsic("smin", f.add(column, V("i64", str(offset))), last)
            columns.append(f.gep(tile.b.memory, b, f.mul(at, b_column)))
        sums = [f.alloca(tile.type) for _ in range(tile.rows * tile.columns)]
        for slot in sums:
            f.store(zero(tile.type), slot)
        with f.loop(0, whole, tile.lanes) as p:
            _dot_step(f, tile, rows, columns, p, None, sums)
        with f.when(f.compare("slt", whole, k)):
            mask = f.lane_mask(f.sub(k, whole), tile.lanes)
            _dot_step(f, tile, rows, columns, whole, mask, sums)
        for i, slot in enumerate(sums):
            total = sum_lanes(f, f.load(tile.type, slot))
            r, offset = divmod(i, tile.columns)
            at = f.add(column, V("i64", str(r * tile.panel + offset)))
            f.store(total, f.gep(tile.a.accumulate, c, at))
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


def sum_lanes(f: Function, x: V) -> V:
    """Sum of the lanes: upper half onto lower half until one is left."""
    lanes = lanes_of(x.type)
    while lanes > 1:
        lanes //= 2
        low, high = list(range(lanes)), list(range(lanes, 2 * lanes))
        if lanes == 1:
            parts = f.extract(x, 0), f.extract(x, 1)
        else:
            parts = f.shuffle(x, None, low), f.shuffle(x, None, high)
        x = (f.fadd if is_float(x.type) else f.add)(*parts)
    return x
