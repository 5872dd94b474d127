"""Packing: copies of operand blocks that microkernels read with short, unaliased strides.

A packing reads through a ``Source``, memory or a callback, so that an elementwise producer or an
index map is fused into it. Imports ``emit`` and ``gemm_tile``. Start reading at ``Source``.
"""

from __future__ import annotations

from collections.abc import Callable

from pullback.backend.llvm.emit import Function, V
from pullback.backend.llvm.gemm_tile import (
    LOCAL,
    SHARED,
    Element,
    call_function,
    define_once,
    i64,
    rolled_loop,
)
from pullback.records import dataclass

#: Reads lanes of one line: (f, line, position, lanes, mask) -> value. Lines run across the lanes.
Source = Callable[[Function, V, V, int, V | None], V]


def memory_source(element: Element, base: V, line_stride: V, stride: V) -> Source:
    """Elements at ``base[line * line_stride + position * stride]``; lanes need stride 1."""

    def read(f: Function, line: V, position: V, lanes: int, mask: V | None) -> V:
        along = position if stride.text == "1" else f.mul(position, stride)
        place = f.gep(element.memory, base, f.add(f.mul(line, line_stride), along))
        return element.load(f, place, lanes, mask)

    return read


# --- lines ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Lines:
    """Lines to copy: their number, their length, and the stride of their copies."""

    count: V
    length: V
    stride: V


def write_line_copy(
    f: Function, lanes: int, source: Source, element: str, to: V, lines: Lines
) -> None:
    """Copy element (l, x) to ``to[l * lines.stride + x]``, ``lanes`` at a time.

    The rest of a last vector is filled up with zeros.
    """
    whole = f.binary("and", lines.length, i64(-lanes))
    with rolled_loop(f, 0, lines.count) as line:
        start = f.gep(element, to, f.mul(line, lines.stride))
        with rolled_loop(f, 0, whole, lanes) as at:
            f.store(source(f, line, at, lanes, None), f.gep(element, start, at))
        if lanes > 1:
            with f.when(f.compare("slt", whole, lines.length)):
                mask = f.lane_mask(f.sub(lines.length, whole), lanes)
                f.store(source(f, line, whole, lanes, mask), f.gep(element, start, whole))


def call_line_copy(
    f: Function,
    lanes: int,
    element: Element,
    base: V,
    to: V,
    lines: Lines,
    strides: tuple[int, int],
) -> None:
    """Copy lines from memory by a function that all contractions of the module share.

    ``strides`` are the element strides of memory from line to line and along a line.
    """
    name = f"pack_lines_{lanes}_{element.tag}_{element.accumulate}"

    def write() -> None:
        names = ("count", "length", "stride", "from_line", "from_step")
        arguments = [("ptr", "base"), ("ptr", "to"), *(("i64", n) for n in names)]
        g = Function(f.module, name, "void", arguments, linkage=LOCAL, attributes=SHARED)
        base, to, count, length, stride, from_line, from_step = g.args
        step = i64(1) if lanes > 1 else from_step
        source = memory_source(element, base, from_line, step)
        write_line_copy(g, lanes, source, element.accumulate, to, Lines(count, length, stride))
        g.ret()
        g.finish()

    define_once(f.module, name, write)
    sizes = (lines.count, lines.length, lines.stride, *map(i64, strides))
    call_function(f, name, base, to, *sizes)


# --- transposition -------------------------------------------------------------------------------
def write_transposition(
    f: Function,
    side: int,
    source: Source,
    element: str,
    to: V,
    lines: Lines,
    short: int | None = None,
) -> None:
    """Copy element (l, x) to ``to[x * lines.stride + l]`` by squares in registers.

    ``lines.length`` is at least ``side``; the last square overlaps the one before it. Lines that
    are shorter have ``short`` elements. Where the number of lines is no multiple of ``side``, the
    last line is repeated.
    """
    length = lines.length if short is None else i64(side)
    mask = None if short is None else f.const_lanes("i1", [x < short for x in range(side)])
    last = f.sub(lines.count, i64(1))
    with rolled_loop(f, 0, lines.count, side) as line:
        start = f.gep(element, to, line)
        here = [f.intrinsic("smin", f.add(line, i64(i)), last) for i in range(side)]
        with rolled_loop(f, 0, length, side) as step:
            at = f.intrinsic("smin", step, f.sub(length, i64(side)))
            square = [source(f, x, at, side, mask) for x in here]
            for i, column in enumerate(transpose_square(f, square)[:short]):
                row = f.mul(f.add(at, i64(i)), lines.stride)
                f.store(column, f.gep(element, start, row))


def call_transposition(
    f: Function,
    side: int,
    element: Element,
    base: V,
    to: V,
    lines: Lines,
    line_stride: int,
    short: int | None = None,
) -> None:
    """Transpose from memory by a function that all contractions of the module share."""
    size = side if short is None else f"{side}of{short}"
    name = f"pack_transposed_{size}_{element.tag}_{element.accumulate}"

    def write() -> None:
        names = ("count", "length", "stride", "from_line")
        arguments = [("ptr", "base"), ("ptr", "to"), *(("i64", n) for n in names)]
        g = Function(f.module, name, "void", arguments, linkage=LOCAL, attributes=SHARED)
        base, to, count, length, stride, from_line = g.args
        source = memory_source(element, base, from_line, i64(1))
        sizes = Lines(count, length, stride)
        write_transposition(g, side, source, element.accumulate, to, sizes, short)
        g.ret()
        g.finish()

    define_once(f.module, name, write)
    call_function(f, name, base, to, lines.count, lines.length, lines.stride, i64(line_stride))


def transpose_square(f: Function, rows: list[V]) -> list[V]:
    """Columns of a square of vectors, by log2 rounds of two-operand shuffles."""
    distance = 1
    while distance < len(rows):
        rows = _exchange_blocks(f, rows, distance)
        distance *= 2
    return rows


def _exchange_blocks(f: Function, rows: list[V], distance: int) -> list[V]:
    """Exchange lanes x + distance of row r with lanes x of row r + distance."""
    side = len(rows)
    out = list(rows)
    for r in range(side):
        if r & distance:
            continue
        low = [x if not x & distance else side + (x ^ distance) for x in range(side)]
        high = [x ^ distance if not x & distance else side + x for x in range(side)]
        out[r] = f.shuffle(rows[r], rows[r + distance], low)
        out[r + distance] = f.shuffle(rows[r], rows[r + distance], high)
    return out
