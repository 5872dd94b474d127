"""The rule of ``Dot``: ``MatMul`` on operands brought into its form. Imports ``translate``."""

from __future__ import annotations

from collections.abc import Sequence

from pullback.export.dimensions import product
from pullback.export.elementwise import WIDE
from pullback.export.graph import Name
from pullback.export.translate import Operand, Translator, translates
from pullback.primitives.axes import select_items
from pullback.primitives.dot import Dot, Side
from pullback.program.core import Equation


@translates(Dot)
def dot(t: Translator, primitive: Dot, eqn: Equation, xs: tuple[Operand, ...]) -> Name:
    """``MatMul`` of ``[batch, rows, depth]`` and ``[batch, depth, columns]``.

    Without batch axes the rows stay several axes, and a weight that is a matrix stays as it is.
    """
    x, y = xs
    out = eqn.output.type
    wide = WIDE.get(out.dtype, out.dtype)
    x_side, y_side = primitive.sides(x.type.ndim, y.type.ndim)
    lengths = select_items(x.type.shape, x_side.batch)
    depth = product(select_items(x.type.shape, x_side.contract))
    rows = select_items(x.type.shape, x_side.free)
    columns = select_items(y.type.shape, y_side.free)
    # MatMul repeats a matrix over the leading axes of the other operand.
    joined = rows if not lengths and rows else (product(rows),)
    left = _arranged(t, x, x_side, (*x_side.free, *x_side.contract), (*lengths, *joined, depth))
    width = product(columns)
    right = _arranged(t, y, y_side, (*y_side.contract, *y_side.free), (*lengths, depth, width))
    g = t.graph
    left, right = (g.cast(name, x.dtype, wide) for name in (left, right))
    result = g.op("MatMul", left, right)
    result = g.reshape(result, (*lengths, *joined, width), out.shape)
    return g.cast(result, wide, out.dtype)


def _arranged(
    t: Translator, x: Operand, side: Side, axes: Sequence[int], shape: tuple[int, ...]
) -> Name:
    """The operand with batch axes first, then ``axes``, as ``shape``."""
    order = (*side.batch, *axes)
    moved = t.graph.transpose(t.full(x), order)
    return t.graph.reshape(moved, select_items(x.type.shape, order), shape)
