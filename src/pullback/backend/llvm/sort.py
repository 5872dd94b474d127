"""Writes sort kernels: rows ordered by ranks, or by the radix sort of ``sort_radix``.

A key becomes an integer that has its order (``rank_key``, ``digit_key``). Start at
``write_sort_kernel``; which method a row asks for is in ``kernels.sort_plan``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from pullback.backend.llvm.emit import (
    Function,
    Module,
    V,
    element_bytes,
    element_of,
    lanes_of,
    vector_type,
)
from pullback.backend.llvm.expression import LANES, Writer
from pullback.backend.llvm.loops import bind_row, task_range
from pullback.backend.llvm.scalar import element_type
from pullback.backend.llvm.sort_radix import (
    NARROW_BYTES,
    WIDE_BYTES,
    Digits,
    Team,
    radix_select,
    radix_sort,
)
from pullback.backend.llvm.threads import emit_barrier
from pullback.kernels.core import Buffer, Node, SortKernel, Store
from pullback.kernels.memory import access_of
from pullback.kernels.sort_plan import (
    SELECTED_BITS,
    digits_of,
    is_ranked,
    is_selected,
    is_wide,
    key_bits,
    table_size,
)
from pullback.types import (
    FLOATING,
    SIGNED,
    DType,
    bfloat16,
    bool_,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
)

#: The largest bits without sign that are a number: infinity, or the largest where there is none.
LARGEST_NUMBER: Final[dict[DType, int]] = {
    float8_e4m3fn: 0x7E, float8_e5m2: 0x7C, float16: 0x7C00, bfloat16: 0x7F80,
    float32: 0x7F800000, float64: 0x7FF0000000000000,
}  # fmt: skip


def rank_key(f: Function, x: V, dtype: DType, *, falling: bool) -> V:
    """A signed integer, or a vector of them, in the order of ``x``: i64 for 64 bits, else i32.

    Zeros of both signs give the same, and so does every nan, which comes last. In falling order
    everything is the other way round.
    """
    key = _rising_key(f, x, dtype)
    return f.binary("xor", key, f.const(key.type, -1)) if falling else key


def _rising_key(f: Function, x: V, dtype: DType) -> V:
    wide = "i64" if dtype.itemsize == 8 else "i32"
    if dtype == bool_:
        return f.convert("zext", x, wide)
    if dtype in FLOATING:
        return f.convert("sext", _float_key(f, x, dtype), wide)
    if dtype in SIGNED:
        return f.convert("sext", x, wide)
    if dtype.itemsize < 4:
        return f.convert("zext", x, wide)
    return f.binary("xor", x, f.const(x.type, -(2 ** (8 * dtype.itemsize - 1))))


def _float_key(f: Function, x: V, dtype: DType) -> V:
    bits = 8 * dtype.itemsize
    x = f.convert("bitcast", x, f"i{bits}")
    magnitude = f.binary("and", x, f.const(x.type, 2 ** (bits - 1) - 1))
    negative = f.compare("slt", x, f.const(x.type, 0))
    key = f.select(negative, f.sub(f.const(x.type, 0), magnitude), magnitude)
    is_nan = f.compare("sgt", magnitude, f.const(x.type, LARGEST_NUMBER[dtype]))
    return f.select(is_nan, f.const(x.type, 2 ** (bits - 1) - 1), key)


def digit_key(f: Function, x: V, dtype: DType, *, falling: bool) -> V:
    """The same as an unsigned integer of ``key_bits(dtype)`` bits, with zeros above, as i64."""
    key, bits = _rising_key(f, x, dtype), key_bits(dtype)
    if not (dtype == bool_ or (dtype not in FLOATING | SIGNED and bits < 32)):
        key = f.add(key, f.const(key.type, 2 ** (bits - 1)))
    if falling:
        key = f.binary("xor", key, f.const(key.type, 2**bits - 1))
    return f.convert("zext", key, "i64")


def write_sort_kernel(module: Module, name: str, kernel: SortKernel) -> tuple[list[Buffer], int]:
    """Write the function; return its buffers and the scratch bytes it needs of each thread.

    Its arguments are those of loop kernels. For a row that all threads sort together they are
    ``(buffers..., thread, threads, scratch, barrier)``, and all call it.
    """
    buffers = list(access_of(kernel).buffers)
    arguments = [("ptr", f"p{i}") for i in range(len(buffers))]
    if kernel.parts:
        arguments += [("i64", "thread"), ("i64", "threads"), ("ptr", "scratch"), ("ptr", "barrier")]
    else:
        arguments += [("i64", "begin"), ("i64", "end"), ("ptr", "scratch")]
    f = Function(module, name, "void", arguments)
    w = Writer(f, dict(zip(buffers, f.args, strict=False)))
    sorter = _Ranks(w, kernel) if is_ranked(kernel) else _Radix(w, kernel)
    with _each_row(w, kernel):
        sorter.write()
    f.ret()
    f.finish()
    return buffers, sorter.scratch_bytes


@contextlib.contextmanager
def _each_row(w: Writer, kernel: SortKernel) -> Iterator[None]:
    f = w.f
    first, last = V("i64", "0"), V("i64", str(kernel.row_count))
    if not kernel.parts:
        first, last = task_range(w, kernel, f.args[-3], f.args[-2])
    with f.loop(first, last) as row, w.scope():
        bind_row(w, kernel.rows, row)
        yield


def _store_lanes(w: Writer, value: V, table: V) -> None:
    """Write one value for each lane to a table that the spread counter indexes."""
    spread = w.spread
    if spread is None:
        raise ValueError("no counter is spread")
    f = w.f
    value = f.splat(value, spread.lanes)
    place = f.gep(element_of(value.type), table, spread.base)
    if spread.mask is None:
        f.store(value, place)
    else:
        f.masked_store(value, place, spread.mask)


class _Ranks:
    """Sorts a row by the number of elements that come before each.

    Of equal elements the earlier one comes before. Vectors of elements are compared with one
    element after the other, so no branch depends on data. Keys and ranks lie in scratch.

    Cost: the length squared, by 16 comparisons at a time.
    """

    def __init__(self, w: Writer, kernel: SortKernel) -> None:
        self.w, self.kernel = w, kernel
        self.padded = -(-kernel.length // LANES) * LANES
        self.types = ["i64" if k.dtype.itemsize == 8 else "i32" for k in kernel.keys]
        self.rank = self.types[0]
        at = 0
        places = []
        for type in (*self.types, self.rank):
            places.append(at)
            at += self.padded * element_bytes(type)
        self.scratch_bytes = at
        *self.keys, self.ranks = (w.f.gep("i8", w.f.args[-1], place) for place in places)

    def write(self) -> None:
        w, kernel = self.w, self.kernel
        for key, table in zip(kernel.keys, self.keys, strict=True):
            self._write_keys(key, table)
        with w.f.loop(0, kernel.length, LANES, hint="block") as start:
            self._write_ranks(start)
        with w.loop(kernel.source):
            rank = w.f.load(self.rank, w.f.gep(self.rank, self.ranks, w.counters[kernel.source]))
            w.counters[kernel.place] = place = w.f.convert("zext", rank, "i64")
            kept = w.f.compare("ult", place, V("i64", str(kernel.place.extent)))
            whole = kernel.place.extent == kernel.length
            with contextlib.nullcontext() if whole else w.f.when(kept), w.scope():
                values = [w.value(store.value) for store in kernel.stores]
                for store, value in zip(kernel.stores, values, strict=True):
                    w.store(store.buffer, store.offset, value)
            del w.counters[kernel.place]

    def _write_keys(self, key: Node, table: V) -> None:
        w = self.w

        def write(lanes: int) -> None:
            value = w.f.splat(w.value(key), lanes)
            falling = self.kernel.falling
            _store_lanes(w, rank_key(w.f, value, key.dtype, falling=falling), table)

        with w.scope():
            w.vector_loop(self.kernel.source, 0, self.kernel.length, write, roots=[key])

    def _write_ranks(self, start: V) -> None:
        """Count for the 16 elements from ``start`` on."""
        f, length = self.w.f, self.kernel.length
        own = [
            f.load(vector_type(LANES, type), f.gep(type, table, start))
            for type, table in zip(self.types, self.keys, strict=True)
        ]
        type = vector_type(LANES, self.rank)
        count = f.alloca(type)
        f.store(f.const(type, 0), count, align=64)

        def add(is_before: V) -> None:
            counted = f.convert("sext", is_before, self.rank)
            f.store(f.sub(f.load(type, count, align=64), counted), count, align=64)

        stop = f.intrinsic("smin", f.add(start, V("i64", str(LANES))), V("i64", str(length)))
        if length > LANES:
            with f.loop(0, start) as j:
                add(self._is_before(self._keys_at(j), own, "sle"))
        with f.loop(start, stop) as j:
            other = self._keys_at(j)
            lane = f.splat(f.convert("trunc", f.sub(j, start), "i32"), LANES)
            is_earlier = f.compare("slt", lane, f.const_lanes("i32", list(range(LANES))))
            less, not_more = (self._is_before(other, own, p) for p in ("slt", "sle"))
            add(f.binary("or", less, f.binary("and", is_earlier, not_more)))
        if length > LANES:
            with f.loop(stop, length) as j:
                add(self._is_before(self._keys_at(j), own, "slt"))
        f.store(f.load(type, count, align=64), f.gep(self.rank, self.ranks, start))

    def _keys_at(self, j: V) -> list[V]:
        f = self.w.f
        return [
            f.splat(f.load(type, f.gep(type, table, j)), LANES)
            for type, table in zip(self.types, self.keys, strict=True)
        ]

    def _is_before(self, xs: list[V], ys: list[V], last: str) -> V:
        """Lexicographic comparison; ``last`` compares the last keys."""
        f = self.w.f
        result = f.compare(last, xs[-1], ys[-1])
        for x, y in zip(reversed(xs[:-1]), reversed(ys[:-1]), strict=True):
            ties = f.binary("and", f.compare("eq", x, y), result)
            result = f.binary("or", f.compare("slt", x, y), ties)
        return result


class _Radix:
    """Sorts a row by the digits of its keys, the last key first.

    A record holds a key and what is moved: the element's position; or, where the only key is the
    only result, its own bits, so that nothing needs to be read again.

    Cost: linear; see ``radix_sort``.
    """

    def __init__(self, w: Writer, kernel: SortKernel) -> None:
        self.w, self.kernel = w, kernel
        self.width = WIDE_BYTES if is_wide(kernel) else NARROW_BYTES
        self.word = V("i64", str(self.width // 8))
        values = tuple(store.value for store in kernel.stores)
        self.is_bare = len(values) == 1 and values == kernel.keys
        f, length = w.f, kernel.length
        if kernel.parts:
            self.scratch_bytes = 0
            self.records, self.others, self.counts = (w.pointers[b] for b in kernel.workspace)
            self.team: Team | None = self._team()
        else:
            records = -(-length * self.width // 64) * 64
            self.scratch_bytes = 2 * records + 4 * table_size(kernel)
            places = (0, records, 2 * records)
            scratch = f.args[-1]
            self.records, self.others, self.counts = (f.gep("i8", scratch, p) for p in places)
            self.team = None
        self.length = V("i64", str(length))
        self.span = self._span(self.length)
        #: Of the records in order, this thread's part of those that are stored.
        self.kept = self._span(V("i64", str(kernel.place.extent)))

    def _team(self) -> Team:
        thread, threads, _, barrier = self.w.f.args[-4:]
        parts = self.w.f.intrinsic("smin", threads, V("i64", str(self.kernel.parts)))
        part = self.w.f.intrinsic("smin", thread, parts)
        return Team(part, parts, barrier, thread, threads)

    def _span(self, length: V) -> tuple[V, V]:
        """This thread's part of ``length`` records."""
        f, team = self.w.f, self.team
        if team is None:
            return V("i64", "0"), length
        after = f.intrinsic("smin", f.add(team.part, V("i64", "1")), team.parts)
        begin, end = (
            f.binary("udiv", f.mul(part, length), team.parts) for part in (team.part, after)
        )
        return begin, end

    def write(self) -> None:
        *others, last = self.kernel.keys
        if self.width == NARROW_BYTES:
            self._write_narrow(last)
        else:
            self._write_wide(last)
        if is_selected(self.kernel):
            records = self._selected(last)
        else:
            records = self._sorted(self.records, last, self.span, self.length)
        for key in reversed(others):
            self._write_next(records, key)
            records = self._sorted(records, key, self.span, self.length)
        if self.is_bare and self.width == NARROW_BYTES:
            self._store_bare(records, self.kernel.stores[0])
        else:
            self._store(records)
        if self.team is not None and self.kernel.place.extent < self.kernel.length:
            # The parts of what is kept are not those of the next row's records.
            emit_barrier(self.w.f, self.team.barrier, self.team.thread, self.team.threads)

    def _selected(self, key: Node) -> V:
        """Sort the records that may be kept."""
        bits = key_bits(key.dtype)
        digit = min(bits, SELECTED_BITS)
        found = radix_select(
            self.w.f,
            self.width,
            (bits - digit, max(digit, 4)),
            (self.records, self.others),
            self.counts,
            self.span,
            self.length,
            self.kernel.place.extent,
            self.team,
        )
        return self._sorted(self.others, key, self._span(found), found)

    def _sorted(self, records: V, key: Node, span: tuple[V, V], length: V) -> V:
        f = self.w.f
        is_first = f.compare("eq", records, self.records)
        others = f.select(is_first, self.others, self.records)
        digits = Digits(*digits_of(key.dtype, self.kernel.length))
        return radix_sort(
            f,
            self.width,
            digits,
            (records, others),
            self.counts,
            span,
            length,
            self.team,
        )

    def _moved(self, value: V) -> V:
        """What a record moves, as i64 in every lane: positions, or the bits of ``value``."""
        w, f = self.w, self.w.f
        lanes = lanes_of(value.type)
        if not self.is_bare:
            source = self.kernel.source
            if w.spread is None:
                return w.counters[source]
            steps = f.const_lanes("i64", list(range(lanes)))
            return f.add(f.splat(w.spread.base, lanes), steps)
        dtype = self.kernel.keys[0].dtype
        bits = f.convert("bitcast", value, "i1" if dtype == bool_ else f"i{8 * dtype.itemsize}")
        return f.convert("zext", bits, "i64")

    def _write_narrow(self, key: Node) -> None:
        """Write the records: vectors of them."""
        w, f = self.w, self.w.f

        def write(lanes: int) -> None:
            value = f.splat(w.value(key), lanes)
            high = self._high(value, key)
            high = f.binary("shl", high, f.const(high.type, 32))
            _store_lanes(w, f.binary("or", high, self._moved(value)), self.records)

        with w.scope():
            w.vector_loop(self.kernel.source, *self.span, write, roots=[key])

    def _write_wide(self, key: Node) -> None:
        w, f = self.w, self.w.f
        with w.loop(self.kernel.source, *self.span):
            i, value = w.counters[self.kernel.source], w.value(key)
            record = f.gep("i64", self.records, f.mul(i, self.word))
            f.store(self._moved(value), record)
            f.store(self._high(value, key), f.gep("i64", record, 1))

    def _high(self, value: V, key: Node) -> V:
        return digit_key(self.w.f, value, key.dtype, falling=self.kernel.falling)

    def _write_next(self, records: V, key: Node) -> None:
        """Replace the keys of sorted records by those of the next key."""
        w, f = self.w, self.w.f
        with f.loop(*self.span) as i, w.scope():
            record = f.gep("i64", records, f.mul(i, self.word))
            w.counters[self.kernel.source] = moved = self._low(record)
            high = self._high(w.value(key), key)
            if self.width == NARROW_BYTES:
                shifted = f.binary("shl", high, V("i64", "32"))
                f.store(f.binary("or", shifted, moved), record)
            else:
                f.store(high, f.gep("i64", record, 1))
            del w.counters[self.kernel.source]

    def _low(self, record: V) -> V:
        """What the record moves."""
        f = self.w.f
        if self.width == WIDE_BYTES:
            return f.load("i64", record)
        return f.convert("zext", f.convert("trunc", f.load("i64", record), "i32"), "i64")

    def _store(self, records: V) -> None:
        """Write the results, reading them where the records say they come from."""
        w, f, kernel = self.w, self.w.f, self.kernel
        with w.loop(kernel.place, *self.kept):
            record = f.gep("i64", records, f.mul(w.counters[kernel.place], self.word))
            moved = self._low(record)
            if self.is_bare:
                values = [self._element(moved, kernel.keys[0].dtype)]
            else:
                w.counters[kernel.source] = moved
                values = [w.value(store.value) for store in kernel.stores]
                del w.counters[kernel.source]
            for store, value in zip(kernel.stores, values, strict=True):
                w.store(store.buffer, store.offset, value)

    def _store_bare(self, records: V, store: Store) -> None:
        """Write the elements that narrow records hold, in vectors."""
        w, f = self.w, self.w.f

        def write(lanes: int) -> None:
            spread = w.spread
            if spread is None:
                raise ValueError("no counter is spread")
            type, place = vector_type(lanes, "i64"), f.gep("i64", records, spread.base)
            if spread.mask is None:
                moved = f.load(type, place)
            else:
                moved = f.masked_load(type, place, spread.mask)
            w.store(store.buffer, store.offset, self._element(moved, store.value.dtype))

        with w.scope():
            w.vector_loop(self.kernel.place, *self.kept, write)

    def _element(self, moved: V, dtype: DType) -> V:
        """The element of these bits."""
        f = self.w.f
        bits = f.convert("trunc", moved, f"i{key_bits(dtype)}")
        return f.convert("bitcast", bits, element_type(dtype))
