"""Reductions: many elements to one along axes, and the position of the largest or least.

Imports ``program``, ``types`` and sibling families. Start at ``ReduceSum``.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np

from pullback.primitives.accumulate import accumulator, cast_scalar
from pullback.primitives.axes import (
    check_axes,
    check_dtype,
    interleave,
    remaining,
    select_items,
)
from pullback.program.loops import Index, LoopBuilder, Operand, Scalar
from pullback.program.primitive import (
    LINEAR,
    REDUCTION,
    Cotangents,
    NDArray,
    Primitive,
    Trait,
    primitive,
)
from pullback.program.value import Value
from pullback.types import NUMERIC, ArrayType, DType


class Reduction(Primitive):
    """Family of reductions over the field ``axes``: shapes, and loops through one scalar opcode.

    A member gives ``opcode`` and ``initial_value``; its field is ``axes``.
    """

    axes: tuple[int, ...]
    traits: ClassVar[Trait] = REDUCTION
    accepts: ClassVar[frozenset[DType]] = NUMERIC
    opcode: ClassVar[str]

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the type of ``x`` without the reduced axes."""
        check_dtype(self.name, x, self.accepts)
        check_axes(self.name, self.axes, x)
        return x.with_shape(select_items(x.shape, remaining(self.axes, x.ndim)))

    def initial_value(self, dtype: DType) -> Any:
        """Return what the reduction of no elements gives, in ``dtype``."""
        raise NotImplementedError(f"{self.name} has no initial value")

    def lower(self, b: LoopBuilder, index: Index, x: Operand) -> Scalar:
        """Loop over the reduced axes, in the accumulation dtype."""
        wide = accumulator(x.type.dtype)
        extents = select_items(x.type.shape, self.axes)
        initial = b.constant(self.initial_value(wide), wide)
        total = b.reduce(
            self.opcode,
            extents,
            lambda k: cast_scalar(b, x.at(interleave(index, k, self.axes)), wide),
            initial,
        )
        return cast_scalar(b, total, x.type.dtype)


def spread(x: Value, like: Value, axes: tuple[int, ...]) -> Value:
    """Return a reduced value repeated along the reduced ``axes`` of ``like``."""
    # The rules of `shape` need ReduceSum, those here need Broadcast: one of the two imports waits.
    from pullback.primitives.shape import Broadcast

    repeated: Value = Broadcast(shape=like.shape, axes=tuple(sorted(axes)))(x)
    return repeated


@final
@primitive
class ReduceSum(Reduction):
    """Sum over ``axes``; the summed axes leave the shape.

    Shapes: x: T[d0..dn] -> T[d without axes], T integer or floating. Integers wrap; 16-bit floats
    accumulate in float32 and round once. An empty sum is 0.

    Cost: size(x) adds, reads x once. Residuals: none. Non-differentiable points: none.
    Source: linear map; its VJP is the transpose.
    """

    axes: tuple[int, ...]
    name = "reduce_sum"
    traits = LINEAR | REDUCTION
    opcode = "add"

    def evaluate(self, x: NDArray) -> NDArray:
        """Sum with NumPy (pairwise for floats)."""
        total = x.sum(axis=self.axes, dtype=accumulator(x.dtype))
        return np.asarray(total).astype(x.dtype, copy=False)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Every summed element gets the cotangent of its sum."""
        return (spread(ct, x, self.axes),)

    def initial_value(self, dtype: DType) -> Any:
        """Return 0."""
        return 0
