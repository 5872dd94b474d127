"""Contraction: sums of products over pairs of axes, with batch axes.

Imports ``program``, ``types`` and sibling families. Start at ``Dot``.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.primitives.accumulate import accumulator, cast_scalar, cast_value
from pullback.primitives.axes import (
    check_axes,
    check_dtype,
    remaining,
    select_items,
)
from pullback.primitives.shape import Transpose
from pullback.program.loops import Index, LoopBuilder, Operand, Scalar
from pullback.program.primitive import CONTRACTION, Cotangents, NDArray, Primitive, primitive
from pullback.program.value import Value
from pullback.records import dataclass
from pullback.types import FLOATING, NUMERIC, SHORT_NAMES, ArrayType, DType, promote_types

AxisPairs = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Side:
    """The roles of one operand's axes: each axis is batch, contracted or free."""

    batch: tuple[int, ...]
    contract: tuple[int, ...]
    free: tuple[int, ...]

    def index(self, batch: Index, free: Index, contract: Index) -> Index:
        """Return an index of the operand from the index of each role."""
        parts = (
            (self.batch, batch),
            (self.free, free),
            (self.contract, contract),
        )
        at = {axis: i for axes, index in parts for axis, i in zip(axes, index, strict=True)}
        return tuple(at[axis] for axis in range(len(at)))


@final
@primitive
class Dot(Primitive):
    """Products of ``x`` and ``y`` summed over the ``contract`` axes, separately for each batch.

    ``contract`` and ``batch`` pair axes of ``x`` with axes of ``y`` of the same length.

    Shapes: x: T[..], y: T[..] -> R[batch axes, free axes of x, free axes of y], T integer or
    floating; R is ``dtype``, by default T. Sums are in R, those of 16-bit floats in float32 and
    rounded once; integers wrap; an empty sum is 0.

    Cost: 2 * batch * free(x) * free(y) * contract flops. Residuals: x and y.
    Non-differentiable points: none. Source: bilinear map; each VJP is a Dot with the other operand.
    """

    contract: AxisPairs
    batch: AxisPairs
    dtype: DType | None = None
    name = "dot"
    traits = CONTRACTION

    def sides(self, x_ndim: int, y_ndim: int) -> tuple[Side, Side]:
        """Return the roles of the axes of both operands."""
        x, y = (
            Side(batch, contract, remaining((*batch, *contract), ndim))
            for batch, contract, ndim in zip(
                self.batch, self.contract, (x_ndim, y_ndim), strict=True
            )
        )
        return x, y

    def infer(self, x: ArrayType, y: ArrayType) -> ArrayType:
        """Return batch axes, free axes of x, free axes of y, in the result dtype."""
        check_dtype(self.name, x, NUMERIC)
        if x.dtype != y.dtype:
            raise DTypeError(f"dot of {x} and {y}: the dtypes differ; cast one of them")
        check_axes(self.name, (*self.batch[0], *self.contract[0]), x)
        check_axes(self.name, (*self.batch[1], *self.contract[1]), y)
        for role, (x_axes, y_axes) in (("batch", self.batch), ("contract", self.contract)):
            if select_items(x.shape, x_axes) != select_items(y.shape, y_axes):
                raise ShapeError(
                    f"dot of {x} and {y}: the {role} axes {x_axes} of the first and {y_axes} of "
                    "the second must have the same lengths"
                )
        x_side, y_side = self.sides(x.ndim, y.ndim)
        shape = (
            *select_items(x.shape, (*x_side.batch, *x_side.free)),
            *select_items(y.shape, y_side.free),
        )
        return ArrayType(shape, self._result_dtype(x))

    def _result_dtype(self, x: ArrayType) -> DType:
        if self.dtype is None:
            return x.dtype
        same_kind = (self.dtype in FLOATING) == (x.dtype in FLOATING)
        if not same_kind or promote_types(x.dtype, self.dtype) != self.dtype:
            raise DTypeError(
                f"dot of {x}: the result dtype {SHORT_NAMES[self.dtype]} cannot hold it; expected "
                f"{SHORT_NAMES[x.dtype]} or a wider dtype of its kind"
            )
        return self.dtype

    def evaluate(self, x: NDArray, y: NDArray) -> NDArray:
        """Bring both to matrices ``[batch, free, contract]`` and multiply (BLAS for floats)."""
        result = self.infer(ArrayType(x.shape, x.dtype), ArrayType(y.shape, y.dtype))
        wide = accumulator(result.dtype)
        x_side, y_side = self.sides(x.ndim, y.ndim)
        batch = math.prod(select_items(x.shape, x_side.batch))
        rows = math.prod(select_items(x.shape, x_side.free))
        columns = math.prod(select_items(y.shape, y_side.free))
        depth = math.prod(select_items(x.shape, x_side.contract))
        left = x.transpose(x_side.batch + x_side.free + x_side.contract)
        right = y.transpose(y_side.batch + y_side.contract + y_side.free)
        left = left.reshape(batch, rows, depth).astype(wide, copy=False)
        right = right.reshape(batch, depth, columns).astype(wide, copy=False)
        product = left[0] @ right[0] if batch == 1 else np.matmul(left, right)
        shaped: NDArray = product.reshape(result.shape)
        return shaped.astype(result.dtype, copy=False)

    def vjp(self, ct: Value, out: Value, x: Value, y: Value) -> Cotangents:
        """Contract the cotangent with the other operand over that operand's free axes."""
        x_side, y_side = self.sides(x.ndim, y.ndim)
        n_batch, n_rows = len(x_side.batch), len(x_side.free)
        batch = tuple(range(n_batch))
        rows = tuple(range(n_batch, n_batch + n_rows))
        columns = tuple(range(n_batch + n_rows, ct.ndim))
        x_ct = _transposed_dot(ct, columns, batch, y, y_side, x_side, x.dtype)
        y_ct = _transposed_dot(ct, rows, batch, x, x_side, y_side, y.dtype)
        return x_ct, y_ct

    def lower(self, b: LoopBuilder, index: Index, x: Operand, y: Operand) -> Scalar:
        """Sum products over the contracted axes, in the accumulation dtype."""
        result = self._result_dtype(x.type)
        wide = accumulator(result)
        x_side, y_side = self.sides(x.type.ndim, y.type.ndim)
        split = len(x_side.batch)
        batch, rows = index[:split], index[split : split + len(x_side.free)]
        columns = index[split + len(x_side.free) :]

        def product(k: Index) -> Scalar:
            left = x.at(x_side.index(batch, rows, k))
            right = y.at(y_side.index(batch, columns, k))
            return b.op("mul", cast_scalar(b, left, wide), cast_scalar(b, right, wide))

        extents = select_items(x.type.shape, x_side.contract)
        return cast_scalar(b, b.reduce("add", extents, product, b.constant(0, wide)), result)


def _transposed_dot(
    ct: Value,
    ct_axes: tuple[int, ...],
    ct_batch: tuple[int, ...],
    other: Value,
    other_side: Side,
    side: Side,
    dtype: DType,
) -> Value:
    """Return the cotangent of the operand with ``side``, whose partner is ``other``."""
    transposed = Dot(contract=(ct_axes, other_side.free), batch=(ct_batch, other_side.batch))(
        ct, cast_value(other, ct.dtype)
    )
    # The result's axes: batch, the operand's free axes, the partner's contracted axes in rising
    # order. Name each by the axis of the operand that it belongs to, then put them in place.
    partner_order = sorted(range(len(side.contract)), key=lambda i: other_side.contract[i])
    axes = (*side.batch, *side.free, *(side.contract[i] for i in partner_order))
    permutation = tuple(axes.index(axis) for axis in range(len(axes)))
    if permutation != tuple(range(len(axes))):
        transposed = Transpose(permutation)(transposed)
    return cast_value(transposed, dtype)
