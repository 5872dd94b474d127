"""Sorting several arrays together along an axis.

Imports ``program``, ``types`` and sibling families. Start at ``Sort``.
"""

from __future__ import annotations

from typing import final

import numpy as np

from pullback.errors import ShapeError
from pullback.primitives.accumulate import accumulator
from pullback.primitives.axes import check_axis
from pullback.primitives.indexing import position_dtype
from pullback.primitives.shape import Iota
from pullback.program.primitive import HOST, Cotangents, NDArray, Primitive, primitive
from pullback.program.value import Value
from pullback.types import FLOATING, ArrayType


@final
@primitive
class Sort(Primitive):
    """Operands permuted together along ``axis`` so that the first ``keys`` of them rise.

    Lexicographic by the first ``keys`` operands, stable; nan comes last and equals nan, -0.0
    equals 0.0. For falling order sort negated keys.

    Shapes: xs: Ti[d0..dn], one shape -> a tuple of the same types.
    Cost: n log n comparisons along the axis, on the host. Residuals: the keys, from which the VJP
    finds the permutation again. Non-differentiable points: ties, where the stable order decides.
    Source: locally a permutation, whose transpose is its inverse.
    """

    axis: int
    keys: int
    name = "sort"
    traits = HOST

    def infer(self, *xs: ArrayType) -> tuple[ArrayType, ...]:
        """Return the operands' types."""
        if not 1 <= self.keys <= len(xs):
            raise ShapeError(f"sort by {self.keys} keys of {len(xs)} operands; expected 1 to all")
        check_axis(self.name, self.axis, xs[0])
        if any(x.shape != xs[0].shape for x in xs):
            raise ShapeError(f"sort of {', '.join(map(str, xs))}: expected operands of one shape")
        return xs

    def evaluate(self, *xs: NDArray) -> tuple[NDArray, ...]:
        """Find the permutation with NumPy's stable sorts, and apply it."""
        # NumPy's order of ml_dtypes' floats does not put nan last; that of float32 does.
        keys = [x.astype(accumulator(x.dtype), copy=False) for x in xs[: self.keys]]
        order: NDArray
        if self.keys == 1:
            order = np.argsort(keys[0], axis=self.axis, kind="stable")
        else:
            order = np.lexsort(keys[::-1], axis=self.axis)
        return tuple(np.take_along_axis(x, order, self.axis) for x in xs)

    def vjp(self, ct: tuple[Value, ...], out: tuple[Value, ...], *xs: Value) -> Cotangents:
        """Put every cotangent back to where its element came from."""
        # `scatter` sorts in one of its own derivatives.
        from pullback.primitives.scatter import scatter_along

        keys = xs[: self.keys]
        shape = xs[0].shape
        position = Iota(shape, position_dtype(shape[self.axis]), self.axis)()
        origin = Sort(self.axis, self.keys)(*keys, position)[-1]
        return tuple(
            scatter_along(c, origin, self.axis) if x.dtype in FLOATING else None
            for c, x in zip(ct, xs, strict=True)
        )
