"""Reductions: many elements to one along axes, and the position of the largest or least.

Imports ``program``, ``types`` and sibling families. Start at ``ReduceSum``.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.primitives.accumulate import accumulator, cast_scalar, cast_value
from pullback.primitives.axes import (
    check_axes,
    check_axis,
    check_dtype,
    interleave,
    remaining,
    select_items,
)
from pullback.primitives.elementwise import Select, as_zero
from pullback.primitives.shape import Broadcast, Reshape, Transpose
from pullback.primitives.transcendental import Exp
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
from pullback.types import (
    ANY,
    BITS,
    COMPUTED,
    FLOATING,
    INTEGER,
    NUMERIC,
    SHORT_NAMES,
    SIGNED,
    ArrayType,
    DType,
    bool_,
    uint8,
)


class Reduction(Primitive):
    """Family of reductions over the field ``axes`` by one scalar opcode.

    A member gives ``opcode``, and ``initial_value``: what the reduction of no elements gives.
    """

    axes: tuple[int, ...]
    traits: ClassVar[Trait] = REDUCTION
    accepts: ClassVar[frozenset[DType]] = NUMERIC
    opcode: ClassVar[str]
    #: Whether the reduction of no elements is an error.
    needs_elements: ClassVar[bool] = False

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the type of ``x`` without the reduced axes."""
        check_dtype(self.name, x, self.accepts)
        check_axes(self.name, self.axes, x)
        if self.needs_elements:
            for axis in self.axes:
                check_not_empty(self.name, axis, x)
        return x.with_shape(select_items(x.shape, remaining(self.axes, x.ndim)))

    def initial_value(self, dtype: DType) -> Any:
        """Return what the reduction of no elements gives, in ``dtype``."""
        raise NotImplementedError(f"{self.name} has no initial value")

    def lower(self, b: LoopBuilder, index: Index, x: Operand) -> Scalar:
        """Loop over the reduced axes, in the accumulation dtype."""
        wide = accumulator(x.type.dtype)
        total = b.reduce(
            self.opcode,
            select_items(x.type.shape, self.axes),
            lambda k: cast_scalar(b, x.at(interleave(index, k, self.axes)), wide),
            b.constant(self.initial_value(wide), wide),
        )
        return cast_scalar(b, total, x.type.dtype)


def check_not_empty(name: str, axis: int, x: ArrayType) -> None:
    """Require that ``axis`` of ``x`` has at least one element.

    Raises:
        ShapeError: it has none.
    """
    if x.shape[axis] == 0:
        raise ShapeError(
            f"{name} of {x}: axis {axis} has no elements, so there is no largest or least one; "
            "expected a length of at least 1"
        )


def spread(x: Value, like: Value, axes: tuple[int, ...]) -> Value:
    """Return a reduced value repeated along the reduced ``axes`` of ``like``."""
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


@final
@primitive
class ReduceProd(Reduction):
    """Product over ``axes``; these axes leave the shape.

    Shapes: x: T[d0..dn] -> T[d without axes], T integer or floating. Integers wrap; 16-bit floats
    accumulate in float32 and round once. An empty product is 1.

    Cost: size(x) multiplications; the VJP has two cumulative products more. Residuals: x.
    Non-differentiable points: none: the VJP multiplies all other elements and never divides, so
    that it, and its own derivative, are right where elements are zero.
    Source: d prod(x) / dx_i = prod(x_j, j != i).
    """

    axes: tuple[int, ...]
    name = "reduce_prod"
    opcode = "mul"

    def evaluate(self, x: NDArray) -> NDArray:
        """Multiply with NumPy."""
        product = x.prod(axis=self.axes, dtype=accumulator(x.dtype))
        return np.asarray(product).astype(x.dtype, copy=False)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Multiply by the product of the elements before and of those after."""
        return (spread(ct, x, self.axes) * _products_of_others(x, self.axes),)

    def initial_value(self, dtype: DType) -> Any:
        """Return 1."""
        return 1


def _products_of_others(x: Value, axes: tuple[int, ...]) -> Value:
    """Return, at each element, the product over ``axes`` of all elements but this one."""
    # `cumulative` imports this module.
    from pullback.primitives.cumulative import exclusive_products

    order = (*remaining(axes, x.ndim), *axes)
    kept = select_items(x.shape, remaining(axes, x.ndim))
    moved = Transpose(order)(x)
    flat = Reshape((*kept, int(np.prod(select_items(x.shape, axes)))))(moved)
    before = exclusive_products(flat, len(kept), reverse=False)
    after = exclusive_products(flat, len(kept), reverse=True)
    others = Reshape(moved.shape)(before * after)
    back: Value = Transpose(tuple(order.index(axis) for axis in range(x.ndim)))(others)
    return back


class Extremum(Reduction):
    """Family of the largest and the least element; a nan anywhere gives nan."""

    axes: tuple[int, ...]
    needs_elements: ClassVar[bool] = True

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Share the cotangent evenly among the elements equal to the extremum (nan equals nan)."""
        wide = accumulator(x.dtype)
        tied = (x == spread(out, x, self.axes)) | (x != x)
        count = ReduceSum(self.axes)(cast_value(tied, wide))
        share = cast_value(cast_value(ct, wide) / count, x.dtype)
        return (Select()(tied, spread(share, x, self.axes), as_zero(x)),)


@final
@primitive
class ReduceMax(Extremum):
    """Largest element over ``axes``; these axes leave the shape.

    Shapes: x: T[d0..dn] -> T[d without axes], T integer or floating. A nan gives nan, as in NumPy.
    An empty axis is a ShapeError.

    Cost: size(x) comparisons, reads x once. Residuals: x and the output.
    Non-differentiable points: ties; the tied elements share the cotangent evenly, as in JAX.
    Source: subgradient of max.
    """

    axes: tuple[int, ...]
    name = "reduce_max"
    opcode = "max"

    def evaluate(self, x: NDArray) -> NDArray:
        """Maximum with NumPy."""
        largest = x.astype(accumulator(x.dtype), copy=False).max(axis=self.axes)
        return np.asarray(largest).astype(x.dtype, copy=False)

    def initial_value(self, dtype: DType) -> Any:
        """Return the least value."""
        return -np.inf if dtype in FLOATING else np.iinfo(dtype).min


@final
@primitive
class ReduceMin(Extremum):
    """Least element over ``axes``; these axes leave the shape.

    Shapes: x: T[d0..dn] -> T[d without axes], T integer or floating. A nan gives nan, as in NumPy.
    An empty axis is a ShapeError.

    Cost: size(x) comparisons, reads x once. Residuals: x and the output.
    Non-differentiable points: ties; the tied elements share the cotangent evenly, as in JAX.
    Source: subgradient of min.
    """

    axes: tuple[int, ...]
    name = "reduce_min"
    opcode = "min"

    def evaluate(self, x: NDArray) -> NDArray:
        """Minimum with NumPy."""
        least = x.astype(accumulator(x.dtype), copy=False).min(axis=self.axes)
        return np.asarray(least).astype(x.dtype, copy=False)

    def initial_value(self, dtype: DType) -> Any:
        """Return the greatest value."""
        return np.inf if dtype in FLOATING else np.iinfo(dtype).max


@final
@primitive
class ReduceAnd(Reduction):
    """Logical (bool) or bitwise (integer) conjunction over ``axes``; these axes leave the shape.

    Shapes: x: T[d0..dn] -> T[d without axes], T bool or integer. Of no elements: all bits set.
    Cost: size(x) operations. No gradient. Source: Array API ``all``.
    """

    axes: tuple[int, ...]
    name = "reduce_and"
    differentiable = ()
    accepts = BITS
    opcode = "and"

    def evaluate(self, x: NDArray) -> NDArray:
        """Reduce with NumPy."""
        initial = self.initial_value(x.dtype)
        return np.asarray(np.bitwise_and.reduce(x, axis=self.axes, initial=initial))

    def initial_value(self, dtype: DType) -> Any:
        """Return the value with all bits set."""
        if dtype == bool_:
            return True
        return -1 if dtype in SIGNED else np.iinfo(dtype).max


@final
@primitive
class ReduceOr(Reduction):
    """Logical (bool) or bitwise (integer) disjunction over ``axes``; these axes leave the shape.

    Shapes: x: T[d0..dn] -> T[d without axes], T bool or integer. Of no elements: no bit set.
    Cost: size(x) operations. No gradient. Source: Array API ``any``.
    """

    axes: tuple[int, ...]
    name = "reduce_or"
    differentiable = ()
    accepts = BITS
    opcode = "or"

    def evaluate(self, x: NDArray) -> NDArray:
        """Reduce with NumPy."""
        initial = self.initial_value(x.dtype)
        return np.asarray(np.bitwise_or.reduce(x, axis=self.axes, initial=initial))

    def initial_value(self, dtype: DType) -> Any:
        """Return the value with no bit set."""
        return False if dtype == bool_ else 0


@final
@primitive
class ReduceLogSumExp(Primitive):
    """Logarithm of the sum of exponentials over ``axes``; these axes leave the shape.

    Shapes: x: T[d0..dn] -> T[d without axes], T floating. The largest element is subtracted first,
    so that nothing overflows. Elements that are all -inf, or none at all, give -inf.

    Cost: size(x) exponentials, reads x twice. Residuals: x and the output.
    Non-differentiable points: where the output is -inf; the gradient there is 0.
    Source: d lse(x) / dx = softmax(x) = exp(x - lse(x)), whose relative error is that of the
    difference: |lse(x)| times the dtype's epsilon.
    """

    axes: tuple[int, ...]
    name = "reduce_log_sum_exp"
    traits = REDUCTION

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the type of ``x`` without the reduced axes."""
        check_dtype(self.name, x, COMPUTED)
        check_axes(self.name, self.axes, x)
        return x.with_shape(select_items(x.shape, remaining(self.axes, x.ndim)))

    def evaluate(self, x: NDArray) -> NDArray:
        """Subtract the maximum where it is finite, sum, and add it again."""
        wide = x.astype(accumulator(x.dtype), copy=False)
        largest = wide.max(axis=self.axes, initial=-np.inf, keepdims=True)
        largest = np.where(np.isfinite(largest), largest, np.zeros((), wide.dtype))
        with np.errstate(divide="ignore", over="ignore"):
            total = np.log(np.exp(wide - largest).sum(axis=self.axes, keepdims=True)) + largest
        return np.asarray(total.squeeze(axis=self.axes)).astype(x.dtype, copy=False)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Multiply by ``exp(x - out)``."""
        return (spread(ct, x, self.axes) * Exp()(x - spread(finite_or_zero(out), x, self.axes)),)

    def lower(self, b: LoopBuilder, index: Index, x: Operand) -> Scalar:
        """Find the maximum in one loop, sum exponentials in a second."""
        wide = accumulator(x.type.dtype)
        extents = select_items(x.type.shape, self.axes)
        zero = b.constant(0, wide)

        def element(k: Index) -> Scalar:
            return cast_scalar(b, x.at(interleave(index, k, self.axes)), wide)

        largest = b.reduce("max", extents, element, b.constant(-np.inf, wide))
        largest = b.select(b.op("is_finite", largest), largest, zero)
        total = b.reduce(
            "add", extents, lambda k: b.op("exp", b.op("sub", element(k), largest)), zero
        )
        return cast_scalar(b, b.op("add", b.op("log", total), largest), x.type.dtype)


def finite_or_zero(x: Value) -> Value:
    """Return ``x`` with 0 in place of -inf, whose exponent would be nan in a difference."""
    replaced: Value = Select()(x == -np.inf, as_zero(x), x)
    return replaced


class ArgReduction(Primitive):
    """Family of positions along the field ``axis``, which leaves the shape; nan comes first."""

    axis: int
    dtype: DType
    traits: ClassVar[Trait] = REDUCTION
    differentiable = ()
    opcode: ClassVar[str]

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the shape without ``axis``, in the integer dtype asked for."""
        check_dtype(self.name, x, ANY)
        check_axis(self.name, self.axis, x)
        check_not_empty(self.name, self.axis, x)
        if self.dtype not in INTEGER:
            raise DTypeError(
                f"{self.name}: positions in {SHORT_NAMES[self.dtype]}; expected an integer dtype"
            )
        return ArrayType(select_items(x.shape, remaining((self.axis,), x.ndim)), self.dtype)

    def lower(self, b: LoopBuilder, index: Index, x: Operand) -> Scalar:
        """Search along the axis."""
        wide = uint8 if x.type.dtype == bool_ else accumulator(x.type.dtype)
        return b.argreduce(
            self.opcode,
            x.type.shape[self.axis],
            lambda k: cast_scalar(b, x.at(interleave(index, (k,), (self.axis,))), wide),
            self.dtype,
        )


@final
@primitive
class ArgMax(ArgReduction):
    """Position of the first largest element along ``axis``; the first nan counts as largest.

    Shapes: x: T[d0..dn] -> dtype[d without axis], T any. An empty axis is a ShapeError.
    Cost: size(x) comparisons. No gradient. Source: NumPy ``argmax``.
    """

    axis: int
    dtype: DType
    name = "arg_max"
    opcode = "max"

    def evaluate(self, x: NDArray) -> NDArray:
        """Search with NumPy."""
        found = x.astype(accumulator(x.dtype), copy=False).argmax(axis=self.axis)
        return np.asarray(found).astype(self.dtype)


@final
@primitive
class ArgMin(ArgReduction):
    """Position of the first least element along ``axis``; the first nan counts as least.

    Shapes: x: T[d0..dn] -> dtype[d without axis], T any. An empty axis is a ShapeError.
    Cost: size(x) comparisons. No gradient. Source: NumPy ``argmin``.
    """

    axis: int
    dtype: DType
    name = "arg_min"
    opcode = "min"

    def evaluate(self, x: NDArray) -> NDArray:
        """Search with NumPy."""
        found = x.astype(accumulator(x.dtype), copy=False).argmin(axis=self.axis)
        return np.asarray(found).astype(self.dtype)
