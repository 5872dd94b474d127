"""Microkernels: one function for each tile shape, shared by every contraction of a module.

Strides and lengths are arguments, so that a program of many contractions compiles few bodies.
Imports ``emit`` and the target's facts alone. Start reading at ``outer_tile``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pullback.backend.llvm.emit import (
    Function,
    Module,
    V,
    is_float,
    mangle,
    vector_type,
)
from pullback.backend.llvm.errands import ask_for_line, begin_errand, end_errand
from pullback.records import dataclass

#: Metadata from this number on is ours.
ROLLED = 700_000
#: How many terms of k ahead a packing tile asks for memory.
PREFETCH_TERMS = 32
#: Linkage of shared functions: not ``internal``, lest LLVM makes copies for constant arguments.
LOCAL = "linkonce_odr hidden"
SHARED = "noinline nounwind"


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
    sign = f.binary("and", wide, f.const(wide.type, 0x8000))
    sign = f.binary("shl", sign, f.const(wide.type, 16))
    joined = f.binary("or", f.select(special, infinite, scaled), sign)
    return f.convert("bitcast", joined, "float")


def multiply_add(f: Function, x: V, y: V, z: V, has_fma: bool) -> V:
    """``x * y + z``: one rounding where the target has it, wrapping for integers."""
    if not is_float(z.type):
        return f.add(f.mul(x, y), z)
    return f.fma(x, y, z) if has_fma else f.fadd(f.fmul(x, y), z)


def i64(x: int) -> V:
    """A constant index."""
    return V("i64", str(x))


def plus(f: Function, x: V, y: V) -> V:
    """Sum of indices; constants are added here, so that LLVM has less to read."""
    if x.text.isdigit() and y.text.isdigit():
        return i64(int(x.text) + int(y.text))
    if "0" in (x.text, y.text):
        return y if x.text == "0" else x
    return f.add(x, y)


def minus(f: Function, x: V, y: V) -> V:
    """Difference of indices."""
    if x.text.isdigit() and y.text.isdigit():
        return i64(int(x.text) - int(y.text))
    return x if y.text == "0" else f.sub(x, y)


def times(f: Function, x: V, factor: int) -> V:
    """An index times a constant."""
    if x.text.isdigit():
        return i64(int(x.text) * factor)
    return x if factor == 1 else f.mul(x, i64(factor))


def zero(type: str) -> V:
    """Zero in every lane."""
    if type.startswith("<"):
        return V(type, "zeroinitializer")
    return V(type, "0.0" if is_float(type) else "0")


def define_once(module: Module, name: str, write: Callable[[], None]) -> str:
    """Write a shared function unless the module has it; returns its name."""
    head = f"define {LOCAL} void @{name}("
    if not any(text.startswith(head) for text in module.functions):
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


@contextmanager
def rolled_loop(
    f: Function, start: V | int, stop: V | int, step: V | int = 1, hint: str = "loop"
) -> Iterator[V]:
    """``Function.loop`` that LLVM shall not unroll: its body is long enough, compiling is not free.

    A single iteration is written without a loop. Carry values through ``alloca`` slots.
    """
    start, stop, step = (x if isinstance(x, V) else i64(x) for x in (start, stop, step))
    if _runs_once(start, stop, step):
        yield start
        return
    slot = f.alloca("i64", start)
    head, body, done = f.label(hint), f.label("body"), f.label("done")
    f.branch(head)
    f.start(head)
    i = f.load("i64", slot)
    f.branch_if(f.compare("slt", i, stop), body, done)
    f.start(body)
    yield i
    f.store(f.emit("i64", f"add nsw i64 {i.text}, {step.text}"), slot)
    f.raw(f"br label %{head}, !llvm.loop {_rolled(f.module)}")
    f.start(done)


def _runs_once(start: V, stop: V, step: V) -> bool:
    """Whether the bounds are constants of which one iteration follows."""
    if any(x.text.startswith("%") for x in (start, stop, step)):
        return False
    return int(start.text) < int(stop.text) <= int(start.text) + int(step.text)


def _rolled(module: Module) -> str:
    """A new loop identity that forbids unrolling."""
    known = module.globals
    known.setdefault("rolled", f'!{ROLLED} = !{{!"llvm.loop.unroll.disable"}}')
    number = ROLLED + len(known)
    known[f"rolled{number}"] = f"!{number} = distinct !{{!{number}, !{ROLLED}}}"
    return f"!{number}"


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
    masked: bool = False
    packs: bool = False
    a_row: int | None = None
    indexed: bool = False
    errands: bool = False

    @property
    def name(self) -> str:
        """The function's name: everything that its body depends on."""
        kind = f"{self.a.tag}_{self.b.tag}_{mangle(self.a.accumulate)}"
        flags = "m" * self.masked + "p" * self.packs + "i" * self.indexed + "f" * self.has_fma
        flags += "e" * self.errands
        flags += "" if self.a_row is None else f"a{self.a_row}".replace("-", "n")
        return f"outer{flags}_{self.rows}x{self.vectors}x{self.lanes}_{kind}"

    @property
    def type(self) -> str:
        """Type of an accumulator."""
        return vector_type(self.lanes, self.a.accumulate)

    @property
    def panel(self) -> int:
        """Columns of the tile."""
        return self.vectors * self.lanes


_OUTER_ARGUMENTS = [
    ("ptr", "b"),
    ("i64", "b_step"),
    ("i64", "valid"),
    ("ptr", "c"),
    ("i64", "k"),
    ("i1", "first"),
    ("ptr", "other"),
    ("i64", "other_bytes"),
    ("i64", "other_step"),
]


def outer_tile(module: Module, tile: OuterTile) -> str:
    """Define ``C (+)= A B`` for one tile and return the function's name.

    Arguments: A's pointer and element strides along rows (unless the tile's own ``a_row`` fixes
    it) and k, or tables of element offsets along both (``indexed``); B's pointer and element
    stride along k, its columns being contiguous; the number of valid lanes of the last vector
    (masked tiles); C, ``rows`` x ``vectors * lanes`` accumulators, dense; the number of terms;
    whether C starts from zero; then, for a packing tile, where it leaves a copy of B (element
    stride along k ``other_step``), for the others memory to prefetch with each term (byte stride
    ``other_bytes``); the block of the thread's errand (``errands``). The sum of each element of C
    is one chain in the order of k.
    """
    return define_once(module, tile.name, lambda: _write_outer_tile(module, tile))


def _write_outer_tile(module: Module, tile: OuterTile) -> None:
    way = "ptr" if tile.indexed else "i64"
    arguments = [("ptr", "a"), (way, "a_rows"), (way, "a_terms"), *_OUTER_ARGUMENTS]
    arguments += [("ptr", "errand")] * tile.errands
    f = Function(module, tile.name, "void", arguments, linkage=LOCAL, attributes=SHARED)
    a, a_rows, a_terms, b, b_step, valid, c, k, first, other, other_bytes, other_step = f.args[:12]
    errand = begin_errand(f, f.args[-1]) if tile.errands else None
    mask = f.lane_mask(valid, tile.lanes) if tile.masked else None
    places = [f.gep(tile.a.accumulate, c, i * tile.lanes) for i in range(tile.rows * tile.vectors)]
    sums = [f.alloca(tile.type, zero(tile.type)) for _ in places]
    with f.when(f.compare("eq", first, V("i1", "false"))):
        for slot, place in zip(sums, places, strict=True):
            f.store(f.load(tile.type, place), slot)
    rows = _row_pointers(f, tile, a, a_rows)
    a_slot, b_slot, other_slot = f.alloca("i64", i64(0)), f.alloca("ptr", b), f.alloca("ptr", other)
    ahead = f.mul(b_step, i64(PREFETCH_TERMS))
    with rolled_loop(f, 0, k) as p:
        a_at, b_at, other_at = (
            f.load("i64", a_slot),
            f.load("ptr", b_slot),
            f.load("ptr", other_slot),
        )
        columns = _load_columns(f, tile, b_at, mask)
        if tile.packs:
            _leave_copy(f, tile, columns, other_at, f.gep(tile.b.memory, b_at, ahead))
            f.store(f.gep(tile.a.accumulate, other_at, other_step), other_slot)
        else:
            f.prefetch(other_at)
            f.store(f.gep("i8", other_at, other_bytes), other_slot)
        if errand is not None:
            ask_for_line(f, errand)
        if tile.indexed:
            a_at = f.load("i64", f.gep("i64", a_terms, p))
        else:
            f.store(f.add(a_at, a_terms), a_slot)
        _outer_step(f, tile, [f.gep(tile.a.memory, x, a_at) for x in rows], columns, sums)
        f.store(f.gep(tile.b.memory, b_at, b_step), b_slot)
    for slot, place in zip(sums, places, strict=True):
        f.store(f.load(tile.type, slot), place)
    if errand is not None:
        end_errand(f, errand)
    f.ret()
    f.finish()


def _row_pointers(f: Function, tile: OuterTile, a: V, a_rows: V) -> list[V]:
    """A pointer to each row; an index moves along k.

    One pointer and offsets would do, but LLVM would walk from row to row by additions.
    """
    if tile.indexed:
        offsets = [f.load("i64", f.gep("i64", a_rows, r)) for r in range(tile.rows)]
    else:
        stride = a_rows if tile.a_row is None else i64(tile.a_row)
        offsets = [f.mul(stride, i64(r)) for r in range(tile.rows)]
    return [f.gep(tile.a.memory, a, x) for x in offsets]


def _load_columns(f: Function, tile: OuterTile, b: V, mask: V | None) -> list[V]:
    """One term's line of B."""
    last = tile.vectors - 1
    return [
        tile.b.load(
            f, f.gep(tile.b.memory, b, v * tile.lanes), tile.lanes, mask if v == last else None
        )
        for v in range(tile.vectors)
    ]


def _leave_copy(f: Function, tile: OuterTile, columns: list[V], to: V, ahead: V) -> None:
    """Store a line of B; ask for a later one: hardware does not foresee a strided walk."""
    for v, y in enumerate(columns):
        f.store(y, f.gep(tile.a.accumulate, to, v * tile.lanes))
        f.prefetch(f.gep(tile.b.memory, ahead, v * tile.lanes))


def _outer_step(
    f: Function, tile: OuterTile, rows: list[V], columns: list[V], sums: list[V]
) -> None:
    """One term of k: B's line stays in registers, A's elements pass through one."""
    for r, place in enumerate(rows):
        x = f.splat(tile.a.load(f, place, 1), tile.lanes)
        for v, y in enumerate(columns):
            slot = sums[r * tile.vectors + v]
            f.store(multiply_add(f, x, y, f.load(tile.type, slot), tile.has_fma), slot)


# --- sweeps --------------------------------------------------------------------------------------
@dataclass(frozen=True)
class SweepTile:
    """One row of results: ``terms`` lines of B at a time are swept from end to end."""

    terms: int
    lanes: int
    a: Element
    b: Element
    has_fma: bool

    @property
    def name(self) -> str:
        """The function's name: everything that its body depends on."""
        kind = f"{self.a.tag}_{self.b.tag}_{mangle(self.a.accumulate)}"
        return f"sweep{'f' * self.has_fma}_{self.terms}x{self.lanes}_{kind}"

    @property
    def type(self) -> str:
        """Type of an accumulator."""
        return vector_type(self.lanes, self.a.accumulate)


def sweep_tile(module: Module, tile: SweepTile) -> str:
    """Define ``C = A B`` for a row A and a wide B, read in long stretches; return its name.

    Arguments: A's pointer and element stride along k; B's pointer and element stride along k, its
    columns being contiguous; the number of columns; C, as many accumulators rounded up to whole
    vectors; the number of terms. The sum of each element is one chain in the order of k.
    """
    return define_once(module, tile.name, lambda: _write_sweep_tile(module, tile))


def _write_sweep_tile(module: Module, tile: SweepTile) -> None:
    arguments = [("ptr", "a"), ("i64", "a_step"), ("ptr", "b"), ("i64", "b_step")]
    arguments += [("i64", "valid"), ("ptr", "c"), ("i64", "k")]
    f = Function(module, tile.name, "void", arguments, linkage=LOCAL, attributes=SHARED)
    a, a_step, b, b_step, valid, c, k = f.args
    with rolled_loop(f, 0, valid, tile.lanes) as j:
        f.store(zero(tile.type), f.gep(tile.a.accumulate, c, j))
    whole = f.binary("and", k, i64(-tile.terms))
    for start, stop, terms in ((i64(0), whole, tile.terms), (whole, k, 1)):
        with rolled_loop(f, start, stop, terms) as p:
            steps = [f.add(p, i64(i)) for i in range(terms)]
            places = [f.gep(tile.a.memory, a, f.mul(x, a_step)) for x in steps]
            factors = [f.splat(tile.a.load(f, x, 1), tile.lanes) for x in places]
            lines = [f.gep(tile.b.memory, b, f.mul(x, b_step)) for x in steps]
            _sweep(f, tile, factors, lines, valid, c)
    f.ret()
    f.finish()


def _sweep(f: Function, tile: SweepTile, factors: list[V], lines: list[V], valid: V, c: V) -> None:
    """Add the lines' multiples to C, column vector by column vector."""

    def step(j: V, mask: V | None) -> None:
        place = f.gep(tile.a.accumulate, c, j)
        total = f.load(tile.type, place)
        for factor, line in zip(factors, lines, strict=True):
            y = tile.b.load(f, f.gep(tile.b.memory, line, j), tile.lanes, mask)
            total = multiply_add(f, factor, y, total, tile.has_fma)
        f.store(total, place)

    whole = f.binary("and", valid, i64(-tile.lanes))
    with rolled_loop(f, 0, whole, tile.lanes) as j:
        step(j, None)
    with f.when(f.compare("slt", whole, valid)):
        step(whole, f.lane_mask(f.sub(valid, whole), tile.lanes))
