"""Writes the radix sort of records: functions that a module holds once, whoever sorts.

A record is what is moved (its low bits) and an unsigned key (its high bits). Each pass counts how
often each value of a digit occurs, so knows where the records of that value begin, and moves every
record there in order; passes go from the lowest digit to the highest (LSD), so equal keys keep
their order. Start at ``radix_sort``.

Source: Knuth 1998, "The art of computer programming", volume 3, section 5.2.5; shared among
threads as in Zagha & Blelloch 1991, "Radix sort for vector multiprocessors".
"""

from __future__ import annotations

import contextlib

from pullback.backend.llvm.emit import Function, V
from pullback.backend.llvm.threads import emit_barrier
from pullback.records import dataclass

#: Bytes of the records that hold a 32-bit key and 32 bits to move, and of those with 64 of each.
NARROW_BYTES, WIDE_BYTES = 8, 16
#: Counts are cleared so many at a time: tables have at least as many.
CLEARED = 16


@dataclass(frozen=True, slots=True)
class Team:
    """The threads that sort a row together, as values of a function.

    Attributes:
        part: Which of the parts of the row is this thread's.
        parts: How many there are.
        barrier: What all threads meet at; there are ``threads`` of them.
        thread: The number of this thread.
        threads: How many threads run the program, some of them perhaps without a part.
    """

    part: V
    parts: V
    barrier: V
    thread: V
    threads: V


@dataclass(frozen=True, slots=True)
class Digits:
    """How a key is cut: ``count`` digits of ``bits`` bits each."""

    count: int
    bits: int

    @property
    def buckets(self) -> int:
        """Number of values of a digit."""
        return int(2**self.bits)


def radix_sort(
    f: Function,
    width: int,
    digits: Digits,
    records: tuple[V, V],
    counts: V,
    span: tuple[V, V],
    length: V,
    team: Team | None,
) -> V:
    """Emit the sort of ``length`` records by their keys; return where they lie then.

    Args:
        f: The function being written.
        width: Bytes of a record.
        digits: How the keys are cut.
        records: Where the records lie, and as much memory again.
        counts: Memory for ``2 * buckets`` i32, of each part.
        span: The first record of this thread's part, and one past the last.
        length: Number of records.
        team: Who sorts together; None for one thread alone.

    Cost: two walks over the records for each digit, but one for a digit that is always the same;
    two barriers a digit.
    """
    first_bit = V("i64", "32" if width == NARROW_BYTES else "0")
    last = [first_bit, V("i64", str(digits.count)), V("i64", str(digits.bits))]
    return _call(f, "sort", width, [*records, counts, *span, length, *last], team)


def radix_select(
    f: Function,
    width: int,
    digit: tuple[int, int],
    records: tuple[V, V],
    counts: V,
    span: tuple[V, V],
    length: V,
    least: int,
    team: Team | None,
) -> V:
    """Emit the search for the records with the ``least`` smallest keys; return how many it found.

    It moves to the other memory, in order, all whose highest digit is not above that of the last of
    them: so many, or a few more; all where the digit does not tell them apart.

    Args:
        f: The function being written.
        width: Bytes of a record.
        digit: Where the highest digit begins in the key, and its bits.
        records: Where the records lie, and the other memory.
        counts: As for ``radix_sort``.
        span: The first record of this thread's part, and one past the last.
        length: Number of records.
        least: How many are wanted.
        team: Who searches together; None for one thread alone.

    Cost: two walks over the records; two meetings.
    """
    first_bit, bits = digit
    shift = V("i64", str(first_bit + (32 if width == NARROW_BYTES else 0)))
    last = [shift, V("i64", str(least)), V("i64", str(bits))]
    return _call(f, "select", width, [*records, counts, *span, length, *last], team)


_ARGUMENTS = [
    ("ptr", "records"), ("ptr", "others"), ("ptr", "counts"), ("i64", "begin"), ("i64", "end"),
    ("i64", "length"), ("i64", "first_bit"), ("i64", "wanted"), ("i64", "bits"),
]  # fmt: skip
_TEAM_ARGUMENTS = [
    ("i64", "part"), ("i64", "parts"), ("i64", "thread"), ("i64", "threads"), ("ptr", "barrier"),
]  # fmt: skip


def _call(f: Function, kind: str, width: int, arguments: list[V], team: Team | None) -> V:
    """Call one of the functions; write it if the module does not have it yet."""
    name = f"pullback.radix.{kind}{8 * width}" + ("" if team is None else ".team")
    result = "ptr" if kind == "sort" else "i64"
    if not any(f"@{name}(" in text.split("\n", 1)[0] for text in f.module.functions):
        named = _ARGUMENTS + (_TEAM_ARGUMENTS if team is not None else [])
        function = Function(f.module, name, result, named)
        writer = _Radix(function, width, has_team=team is not None)
        writer.write_sort() if kind == "sort" else writer.write_select()
        function.finish()
    if team is not None:
        arguments = [*arguments, team.part, team.parts, team.thread, team.threads, team.barrier]
    return f.emit(result, f"call {result} @{name}({', '.join(map(str, arguments))})")


class _Radix:
    """Writes the function: ``source`` and ``target`` are the two memories, in turn."""

    def __init__(self, f: Function, width: int, *, has_team: bool) -> None:
        self.f = f
        self.width = width
        self.record = f"i{8 * NARROW_BYTES}" if width == NARROW_BYTES else "<2 x i64>"
        x = {a.text[1:]: a for a in f.args}
        self.begin, self.end, self.length = x["begin"], x["end"], x["length"]
        self.wanted, self.bits, self.first_bit = x["wanted"], x["bits"], x["first_bit"]
        self.team = (
            Team(x["part"], x["parts"], x["barrier"], x["thread"], x["threads"])
            if has_team
            else None
        )
        self.buckets = f.binary("shl", V("i64", "1"), self.bits)
        self.mask = f.sub(self.buckets, V("i64", "1"))
        self.source = f.alloca("ptr", x["records"])
        self.target = f.alloca("ptr", x["others"])
        #: Of each part: its counts, then where its records go.
        self.counts = x["counts"]
        own = self.counts
        if self.team is not None:
            own = f.gep("i32", own, f.mul(self.team.part, self._per_part()))
        self.own = own
        self.starts = own if self.team is None else f.gep("i32", own, self.buckets)

    def write_sort(self) -> None:
        f = self.f
        with f.loop(0, self.wanted, hint="digit") as number:
            shift = f.add(self.first_bit, f.mul(number, self.bits))
            source = f.load("ptr", self.source)
            self._count(source, shift)
            self._meet()
            first = self._digit(source, V("i64", "0"), shift)
            same = f.compare("eq", self._total(first), self.length)
            with f.when(f.binary("xor", same, V("i1", "true"))):
                self._place()
                target = f.load("ptr", self.target)
                self._move(source, target, shift)
                f.store(target, self.source)
                f.store(source, self.target)
            self._meet()
        f.ret(f.load("ptr", self.source))

    def write_select(self) -> None:
        f = self.f
        source, target = f.load("ptr", self.source), f.load("ptr", self.target)
        self._count(source, self.first_bit)
        self._meet()
        found, last = f.alloca("i64", V("i64", "0")), f.alloca("i64", V("i64", "0"))
        with f.loop(0, self.buckets, hint="bucket") as b:
            before = f.load("i64", found)
            with f.when(f.compare("ult", before, self.wanted)):
                f.store(f.add(before, self._total(b)), found)
                f.store(b, last)
        self._place()
        self._move(source, target, self.first_bit, f.load("i64", last))
        self._meet()
        f.ret(f.load("i64", found))

    def _meet(self) -> None:
        if self.team is not None:
            emit_barrier(self.f, self.team.barrier, self.team.thread, self.team.threads)

    def _per_part(self) -> V:
        return self.f.binary("shl", self.buckets, V("i64", "1"))

    def _digit(self, records: V, i: V, shift: V) -> V:
        f = self.f
        where = f.gep(self.record, records, i)
        if self.width == WIDE_BYTES:
            where = f.gep("i64", where, 1)
        return f.binary("and", f.binary("lshr", f.load("i64", where), shift), self.mask)

    def _count(self, records: V, shift: V) -> None:
        f = self.f
        step = V("i64", str(CLEARED))
        with f.loop(0, self.buckets, step) as b:
            f.store(f.const(f"<{CLEARED} x i32>", 0), f.gep("i32", self.own, b))
        with f.loop(self.begin, self.end) as i:
            self._take(self.own, self._digit(records, i, shift))

    def _take(self, table: V, digit: V) -> V:
        """Add one to the digit's entry; return what it was."""
        f = self.f
        place = f.gep("i32", table, digit)
        old = f.load("i32", place)
        f.store(f.add(old, V("i32", "1")), place)
        return old

    def _total(self, digit: V) -> V:
        """How many records of the whole row have this digit."""
        f = self.f
        if self.team is None:
            return f.convert("zext", f.load("i32", f.gep("i32", self.own, digit)), "i64")
        total = f.alloca("i32")
        f.store(V("i32", "0"), total)
        self._sum(self.counts, digit, self.team.parts, total)
        return f.convert("zext", f.load("i32", total), "i64")

    def _sum(self, counts: V, digit: V, parts: V, total: V) -> None:
        """Add the counts of the first ``parts`` parts to ``total``."""
        f = self.f
        with f.loop(0, parts, hint="part") as part:
            place = f.gep("i32", counts, f.add(f.mul(part, self._per_part()), digit))
            f.store(f.add(f.load("i32", total), f.load("i32", place)), total)

    def _place(self) -> None:
        """Compute where this part's records of each digit begin: the prefix sums of the counts."""
        f = self.f
        running = f.alloca("i32")
        f.store(V("i32", "0"), running)
        with f.loop(0, self.buckets, hint="bucket") as b:
            start = f.load("i32", running)
            if self.team is None:
                self._sum_one(b, running)
                f.store(start, f.gep("i32", self.starts, b))
            else:
                before = f.alloca("i32")
                f.store(start, before)
                self._sum(self.counts, b, self.team.part, before)
                self._sum(self.counts, b, self.team.parts, running)
                f.store(f.load("i32", before), f.gep("i32", self.starts, b))

    def _sum_one(self, digit: V, total: V) -> None:
        f = self.f
        f.store(f.add(f.load("i32", total), f.load("i32", f.gep("i32", self.own, digit))), total)

    def _move(self, source: V, target: V, shift: V, last: V | None = None) -> None:
        """Move the records to where their digits begin; only those of digits up to ``last``."""
        f = self.f
        with f.loop(self.begin, self.end) as i, contextlib.ExitStack() as stack:
            digit = self._digit(source, i, shift)
            if last is not None:
                stack.enter_context(f.when(f.compare("ule", digit, last)))
            place = f.convert("zext", self._take(self.starts, digit), "i64")
            record = f.load(self.record, f.gep(self.record, source, i), align=8)
            f.store(record, f.gep(self.record, target, place), align=8)
