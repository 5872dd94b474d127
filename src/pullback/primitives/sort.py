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
from pullback.program.primitive import SORT, Cotangents, NDArray, Primitive, primitive
from pullback.program.value import Value
from pullback.types import FLOATING, ArrayType


@final
@primitive
class Sort(Primitive):
    """Operands permuted together along ``axis`` so that the first ``keys`` of them rise or fall.

    Lexicographic by the first ``keys`` operands, stable in both orders. nan comes after everything
    where keys rise, and before it where they fall, and equals nan; -0.0 equals 0.0. With ``count``
    the first elements of the order are kept, the others dropped.

    Shapes: xs: Ti[d0..n..dn], one shape -> a tuple of Ti[d0..n..dn], or Ti[d0..count..dn].
    Cost: linear, by the digits of the keys, and those of few elements where ``count`` is small;
    short rows n² / 16 comparisons. Residuals: the keys, from which the VJP finds the permutation
    again. Non-differentiable points: ties, where the stable order decides.
    Source: locally a permutation, whose transpose is its inverse.
    """

    axis: int
    keys: int
    falling: bool = False
    count: int | None = None
    name = "sort"
    traits = SORT

    def infer(self, *xs: ArrayType) -> tuple[ArrayType, ...]:
        """Return the operands' types, with ``count`` elements along the axis."""
        if not 1 <= self.keys <= len(xs):
            raise ShapeError(f"sort by {self.keys} keys of {len(xs)} operands; expected 1 to all")
        check_axis(self.name, self.axis, xs[0])
        if any(x.shape != xs[0].shape for x in xs):
            raise ShapeError(f"sort of {', '.join(map(str, xs))}: expected operands of one shape")
        if self.count is None:
            return xs
        shape = list(xs[0].shape)
        if not 0 <= self.count <= shape[self.axis]:
            raise ShapeError(
                f"sort of {xs[0]}: count is {self.count}; expected 0 <= count <= {shape[self.axis]}"
            )
        shape[self.axis] = self.count
        return tuple(x.with_shape(tuple(shape)) for x in xs)

    def evaluate(self, *xs: NDArray) -> tuple[NDArray, ...]:
        """Find the permutation with NumPy's stable sorts, and apply it."""
        # NumPy's order of ml_dtypes' floats does not put nan last; that of float32 does.
        keys = [x.astype(accumulator(x.dtype), copy=False) for x in xs[: self.keys]]
        if self.falling:
            # Reversed twice, so that equal elements keep their order.
            keys = [np.flip(key, self.axis) for key in keys]
        order: NDArray
        if self.keys == 1:
            order = np.argsort(keys[0], axis=self.axis, kind="stable")
        else:
            order = np.lexsort(keys[::-1], axis=self.axis)
        if self.falling:
            order = order.shape[self.axis] - 1 - np.flip(order, self.axis)
        if self.count is not None:
            order = np.take(order, range(self.count), self.axis)
        return tuple(np.take_along_axis(x, order, self.axis) for x in xs)

    def vjp(self, ct: tuple[Value, ...], out: tuple[Value, ...], *xs: Value) -> Cotangents:
        """Put every cotangent back to where its element came from."""
        # `scatter` sorts in one of its own derivatives.
        from pullback.primitives.scatter import scatter_along

        keys = xs[: self.keys]
        shape = xs[0].shape
        position = Iota(shape, position_dtype(shape[self.axis]), self.axis)()
        origin = Sort(self.axis, self.keys, self.falling, self.count)(*keys, position)[-1]
        return tuple(
            scatter_along(c, origin, self.axis, shape[self.axis]) if x.dtype in FLOATING else None
            for c, x in zip(ct, xs, strict=True)
        )
