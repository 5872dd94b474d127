"""Packing: copies of operand blocks that microkernels read with short, unaliased strides.

A packing reads through a ``Source``, memory or a callback, so that an elementwise producer or an
index map is fused into it. Imports ``emit`` and ``gemm_tile``. Start reading at ``Source``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pullback.backend.llvm.emit import Function, Module, V, element_of, lanes_of, vector_type
from pullback.backend.llvm.gemm_tile import Element, call_function, define_once

#: Reads lanes of one line: (f, line, position, lanes, mask) -> value. Lines run across the lanes.
Source = Callable[[Function, V, V, int, V | None], V]


def i64(x: int) -> V:
    """A constant index."""
    return V("i64", str(x))


def memory_source(element: Element, base: V, line_stride: V, stride: V) -> Source:
    """Elements at ``base[line * line_stride + position * stride]``; lanes need stride 1."""

    def read(f: Function, line: V, position: V, lanes: int, mask: V | None) -> V:
        at = f.mul(line, line_stride)
        along = position if stride.text == "1" else f.mul(position, stride)
        return element.load(f, f.gep(element.memory, base, f.add(at, along)), lanes, mask)

    return read


# --- lines ---------------------------------------------------------------------------------------
@dataclass(frozen=True)
class LineCopy:
    """How lines are copied: ``vectors`` at a time, each group to its own panel.

    Attributes:
        lanes: Lanes of a vector; 1 copies element by element.
        vectors: Vectors of a panel's line.
    """

    lanes: int
    vectors: int

    @property
    def panel(self) -> int:
        """Elements of a panel's line."""
        return self.lanes * self.vectors


def write_line_copy(
    f: Function,
    copy: LineCopy,
    source: Source,
    element: str,
    to: V,
    *,
    lines: V,
    length: V,
    line_stride: V,
    panel_stride: V,
) -> None:
    """Copy ``lines`` x ``length`` elements; element (l, x) of panel x // panel goes to
    ``to[l * line_stride + x // panel * panel_stride + x % panel]``.

    A partial last panel is filled up with zeros.
    """
    whole = f.binary("sdiv", length, i64(copy.panel))
    rest = f.sub(length, f.mul(whole, i64(copy.panel)))
    with f.loop(0, lines) as line:
        start = f.gep(element, to, f.mul(line, line_stride))
        with f.loop(0, whole) as panel:
            place = f.gep(element, start, f.mul(panel, panel_stride))
            for v in range(copy.vectors):
                at = f.add(f.mul(panel, i64(copy.panel)), i64(v * copy.lanes))
                value = source(f, line, at, copy.lanes, None)
                f.store(value, f.gep(element, place, v * copy.lanes))
        if copy.panel > 1:
            with f.when(f.compare("sgt", rest, i64(0))):
                place = f.gep(element, start, f.mul(whole, panel_stride))
                _copy_rest(f, copy, source, element, place, line, whole, rest)


def _copy_rest(
    f: Function,
    copy: LineCopy,
    source: Source,
    element: str,
    place: V,
    line: V,
    whole: V,
    rest: V,
) -> None:
    with f.loop(0, copy.vectors) as v:
        offset = f.mul(v, i64(copy.lanes))
        valid = f.intrinsic("smax", f.sub(rest, offset), i64(0))
        at = f.add(f.mul(whole, i64(copy.panel)), offset)
        value = source(f, line, at, copy.lanes, f.lane_mask(valid, copy.lanes))
        f.store(value, f.gep(element, place, offset))


_LINE_ARGUMENTS = ["lines", "length", "line_stride", "panel_stride", "from_line", "from_step"]


def call_line_copy(
    f: Function, copy: LineCopy, element: Element, base: V, to: V, sizes: dict[str, V]
) -> None:
    """Copy lines from memory by a function that all contractions of the module share."""
    name = f"pack_lines_{copy.vectors}x{copy.lanes}_{element.tag}_{element.accumulate}"

    def write() -> None:
        arguments = [("ptr", "base"), ("ptr", "to"), *(("i64", n) for n in _LINE_ARGUMENTS)]
        g = Function(f.module, name, "void", arguments, attributes="nounwind noinline")
        named = dict(zip(_LINE_ARGUMENTS, g.args[2:], strict=True))
        step = i64(1) if copy.lanes > 1 else named["from_step"]
        source = memory_source(element, g.args[0], named["from_line"], step)
        write_line_copy(
            g,
            copy,
            source,
            element.accumulate,
            g.args[1],
            lines=named["lines"],
            length=named["length"],
            line_stride=named["line_stride"],
            panel_stride=named["panel_stride"],
        )
        g.ret()
        g.finish()

    define_once(f.module, name, write)
    call_function(f, name, base, to, *(sizes[n] for n in _LINE_ARGUMENTS))


# --- transposition -------------------------------------------------------------------------------
def write_transposition(
    f: Function,
    side: int,
    panel: int,
    source: Source,
    element: str,
    to: V,
    *,
    lines: V,
    length: V,
    panel_stride: V,
) -> None:
    """Write element (l, x) to ``to[l // panel * panel_stride + x * panel + l % panel]``.

    ``length`` is at least ``side``; the last square overlaps the one before it. Lines that fill
    up the last panel repeat the last line: their values are never used.
    """
    last = f.sub(lines, i64(1))
    with f.loop(0, lines, side) as line:
        start = f.gep(element, to, _panel_offset(f, line, panel, panel_stride))
        with f.loop(0, length, side) as step:
            at = f.intrinsic("smin", step, f.sub(length, i64(side)))
            square = []
            for i in range(side):
                here = f.intrinsic("smin", f.add(line, i64(i)), last)
                square.append(source(f, here, at, side, None))
            for i, column in enumerate(transpose_square(f, square)):
                row = f.mul(f.add(at, i64(i)), i64(panel))
                f.store(column, f.gep(element, start, row))


def _panel_offset(f: Function, line: V, panel: int, panel_stride: V) -> V:
    """Offset of line ``line`` within its panel, plus that of the panel."""
    number = f.binary("udiv", line, i64(panel))
    within = f.sub(line, f.mul(number, i64(panel)))
    return f.add(f.mul(number, panel_stride), within)


_TRANSPOSE_ARGUMENTS = ["lines", "length", "panel_stride", "from_line"]


def call_transposition(
    f: Function, side: int, panel: int, element: Element, base: V, to: V, sizes: dict[str, V]
) -> None:
    """Transpose from memory by a function that all contractions of the module share."""
    name = f"pack_transposed_{side}of{panel}_{element.tag}_{element.accumulate}"

    def write() -> None:
        arguments = [("ptr", "base"), ("ptr", "to"), *(("i64", n) for n in _TRANSPOSE_ARGUMENTS)]
        g = Function(f.module, name, "void", arguments, attributes="nounwind noinline")
        base_v, to_v, lines, length, panel_stride, from_line = g.args
        source = memory_source(element, base_v, from_line, i64(1))
        write_transposition(
            g,
            side,
            panel,
            source,
            element.accumulate,
            to_v,
            lines=lines,
            length=length,
            panel_stride=panel_stride,
        )
        g.ret()
        g.finish()

    define_once(f.module, name, write)
    call_function(f, name, base, to, *(sizes[n] for n in _TRANSPOSE_ARGUMENTS))


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


def check_lanes(value: V, lanes: int, element: str) -> V:
    """The callback's value, if it has the type that was asked for.

    Raises:
        TypeError: a fused operand's callback returned another type.
    """
    if lanes_of(value.type) != lanes or element_of(value.type) != element:
        raise TypeError(
            f"a fused operand's callback returned {value.type}, expected "
            f"{vector_type(lanes, element)}"
        )
    return value
