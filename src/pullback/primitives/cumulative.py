"""Running sums, products, maxima, minima and log-sum-exps along one axis.

Imports ``program``, ``types`` and sibling families. Start at ``Cumulative``; the derivatives of
the product and the log-sum-exp are linear recurrences, solved by ``linear_recurrence``.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np

from pullback.primitives.accumulate import accumulator, cast_scalar
from pullback.primitives.axes import check_axis, check_dtype
from pullback.primitives.elementwise import Select, as_zero
from pullback.primitives.reduce import finite_or_zero
from pullback.primitives.scatter import scatter_along
from pullback.primitives.shape import Concatenate, Iota, Pad, Slice
from pullback.primitives.transcendental import Exp
from pullback.program.loops import LoopBuilder, Scalar
from pullback.program.primitive import (
    LINEAR,
    PREFIX,
    Cotangents,
    NDArray,
    Primitive,
    Trait,
    primitive,
)
from pullback.program.value import Value
from pullback.types import COMPUTED, FLOATING, NUMERIC, ArrayType, DType, int32


class Cumulative(Primitive):
    """Family of running values along the field ``axis``, from its end if ``reverse``.

    A compiled program starts with ``initial``, replaces the running value by ``combine`` of it and
    the next element, and stores it converted to the operand's dtype. The running value has the
    dtype of ``initial``: float32 for 16-bit floats.
    """

    axis: int
    reverse: bool
    traits: ClassVar[Trait] = PREFIX
    accepts: ClassVar[frozenset[DType]] = NUMERIC
    ufunc: ClassVar[np.ufunc]
    opcode: ClassVar[str] = ""

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the operand's type."""
        check_dtype(self.name, x, self.accepts)
        check_axis(self.name, self.axis, x)
        return x

    def evaluate(self, x: NDArray) -> NDArray:
        """Accumulate in order with NumPy, in the accumulation dtype."""
        wide = accumulator(x.dtype)
        along = np.flip(x, self.axis) if self.reverse else x
        running = type(self).ufunc.accumulate(along.astype(wide, copy=False), self.axis, wide)
        running = running.astype(x.dtype, copy=False)
        return np.flip(running, self.axis) if self.reverse else running

    def initial(self, b: LoopBuilder, dtype: DType) -> Scalar:
        """Return the running value before the first element of an operand of ``dtype``."""
        wide = accumulator(dtype)
        return b.constant(self.initial_value(wide), wide)

    def initial_value(self, dtype: DType) -> Any:
        """Return what combines with any element to this element, in ``dtype``."""
        raise NotImplementedError(f"{self.name} has no initial value")

    def combine(self, b: LoopBuilder, acc: Scalar, x: Scalar) -> Scalar:
        """Return the running value after ``x``, in the dtype of ``acc``."""
        return b.op(self.opcode, acc, cast_scalar(b, x, acc.dtype))


@final
@primitive
class CumSum(Cumulative):
    """Running sum along ``axis``: y_i = x_0 + ... + x_i, or x_i + ... + x_n if ``reverse``.

    Shapes: x: T[d0..dn] -> T[d0..dn], T integer or floating. Integers wrap; 16-bit floats
    accumulate in float32 and each result is rounded once.

    Cost: size(x) adds. Residuals: none. Non-differentiable points: none.
    Source: linear map; its transpose sums in the other direction.
    """

    axis: int
    reverse: bool
    name = "cum_sum"
    traits = PREFIX | LINEAR
    ufunc = np.add
    opcode = "add"

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Sum in the other direction."""
        return (CumSum(self.axis, not self.reverse)(ct),)

    def initial_value(self, dtype: DType) -> Any:
        """Return 0."""
        return 0


@final
@primitive
class CumProd(Cumulative):
    """Running product along ``axis``: y_i = x_0 * ... * x_i, or x_i * ... * x_n if ``reverse``.

    Shapes: x: T[d0..dn] -> T[d0..dn], T integer or floating. Integers wrap; 16-bit floats
    accumulate in float32 and each result is rounded once.

    Cost: size(x) multiplications; the VJP costs about log2(n) times as much, for axis length n.
    Residuals: x. Non-differentiable points: none: the VJP never divides, so that it, and its own
    derivative, are right where elements are zero.
    Source: with P_i the product before i, ct_x_i = P_i S_i and S_i = ct_i + x_{i+1} S_{i+1};
    derived from ct_x_i = sum_j ct_j dy_j / dx_i.
    """

    axis: int
    reverse: bool
    name = "cum_prod"
    ufunc = np.multiply
    opcode = "mul"

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Multiply the products before each element by the recurrence over those after it."""
        before = exclusive_products(x, self.axis, reverse=self.reverse)
        following = shift(x, self.axis, by=1 if self.reverse else -1, fill=0.0)
        after = linear_recurrence(following, ct, self.axis, reverse=not self.reverse)
        return (before * after,)

    def initial_value(self, dtype: DType) -> Any:
        """Return 1."""
        return 1


class CumulativeExtremum(Cumulative):
    """Family of running maxima and minima."""

    axis: int
    reverse: bool

    def exceeds(self, x: Value, y: Value) -> Value:
        """Return where ``x`` replaces a running ``y``, nan apart."""
        raise NotImplementedError(f"{self.name} has no order")

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Add every cotangent to the position that set the running value."""
        start = x.shape[self.axis] - 1 if self.reverse else 0
        before = shift(out, self.axis, by=-1 if self.reverse else 1, fill=0.0)
        replaced = self.exceeds(x, before) | ((x != x) & (before == before))
        position = Iota(x.shape, int32, self.axis)()
        record = Select()(replaced, position, np.asarray(start, int32))
        latest = CumMin(self.axis, True) if self.reverse else CumMax(self.axis, False)
        return (scatter_along(ct, latest(record), self.axis),)


@final
@primitive
class CumMax(CumulativeExtremum):
    """Running maximum along ``axis``, from its end if ``reverse``; nan from the first nan on.

    Shapes: x: T[d0..dn] -> T[d0..dn], T integer or floating.
    Cost: size(x) comparisons; the VJP has one running maximum and one scatter more.
    Residuals: x and the output. Non-differentiable points: ties; the cotangent goes to the element
    that first set the running value. Source: subgradient of max.
    """

    axis: int
    reverse: bool
    name = "cum_max"
    ufunc = np.maximum
    opcode = "max"

    def exceeds(self, x: Value, y: Value) -> Value:
        """X > y."""
        greater: Value = x > y
        return greater

    def initial_value(self, dtype: DType) -> Any:
        """Return the least value."""
        return -np.inf if dtype in FLOATING else np.iinfo(dtype).min


@final
@primitive
class CumMin(CumulativeExtremum):
    """Running minimum along ``axis``, from its end if ``reverse``; nan from the first nan on.

    Shapes: x: T[d0..dn] -> T[d0..dn], T integer or floating.
    Cost: size(x) comparisons; the VJP has one running maximum and one scatter more.
    Residuals: x and the output. Non-differentiable points: ties; the cotangent goes to the element
    that first set the running value. Source: subgradient of min.
    """

    axis: int
    reverse: bool
    name = "cum_min"
    ufunc = np.minimum
    opcode = "min"

    def exceeds(self, x: Value, y: Value) -> Value:
        """X < y."""
        less: Value = x < y
        return less

    def initial_value(self, dtype: DType) -> Any:
        """Return the greatest value."""
        return np.inf if dtype in FLOATING else np.iinfo(dtype).max


@final
@primitive
class CumLogSumExp(Cumulative):
    """Running logarithm of the sum of exponentials along ``axis``, from its end if ``reverse``.

    Shapes: x: T[d0..dn] -> T[d0..dn], T floating. Nothing overflows; leading -inf give -inf.

    Cost: two elementary functions an element; the VJP costs about log2(n) multiplications an
    element more, for axis length n. Residuals: x and the output.
    Non-differentiable points: where x is -inf; the gradient there is 0.
    Source: ct_x_i = exp(x_i - y_i) T_i with T_i = ct_i + exp(y_i - y_{i+1}) T_{i+1}, in which no
    exponent is positive; derived from ct_x_i = sum_j ct_j exp(x_i - y_j).
    """

    axis: int
    reverse: bool
    name = "cum_log_sum_exp"
    accepts = COMPUTED
    ufunc = np.logaddexp

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Solve the recurrence for the decaying sums of cotangents."""
        running = finite_or_zero(out)
        following = shift(running, self.axis, by=1 if self.reverse else -1, fill=0.0)
        # Nothing is handed on from -inf, and nothing comes from beyond the end. The differences
        # there are set to 0 so that the derivative of this rule multiplies no zero by infinity.
        end = 0 if self.reverse else x.shape[self.axis] - 1
        void = (out == -np.inf) | (Iota(x.shape, int32, self.axis)() == end)
        difference = Select()(void, as_zero(x), running - following)
        decay = Select()(void, as_zero(x), Exp()(difference))
        decayed = linear_recurrence(decay, ct, self.axis, reverse=not self.reverse)
        return (Exp()(x - running) * decayed,)

    def initial_value(self, dtype: DType) -> Any:
        """Return -inf."""
        return -np.inf

    def combine(self, b: LoopBuilder, acc: Scalar, x: Scalar) -> Scalar:
        """Return log(exp(acc) + exp(x)), by the larger and the difference."""
        x = cast_scalar(b, x, acc.dtype)
        larger, smaller = b.op("max", acc, x), b.op("min", acc, x)
        correction = b.op("log1p", b.op("exp", b.op("sub", smaller, larger)))
        # Where the larger is infinite or nan the difference may be nan, and the larger is right.
        total = b.op("add", larger, correction)
        return b.select(b.op("is_finite", larger), total, larger)


def shift(x: Value, axis: int, *, by: int, fill: float) -> Value:
    """Return ``x`` moved ``by`` places along ``axis``; what is left free holds ``fill``."""
    low = tuple(by if i == axis else 0 for i in range(x.ndim))
    high = tuple(-n for n in low)
    moved: Value = Pad(low, high, (0,) * x.ndim)(x, np.asarray(fill, x.dtype))
    return moved


def exclusive_products(x: Value, axis: int, *, reverse: bool) -> Value:
    """Return the products of the elements before each along ``axis``, or after if ``reverse``."""
    products: Value = CumProd(axis, reverse)(shift(x, axis, by=-1 if reverse else 1, fill=1.0))
    return products


def linear_recurrence(a: Value, b: Value, axis: int, *, reverse: bool) -> Value:
    """Solve ``s_i = b_i + a_i s_{i-1}`` along ``axis``, or with ``s_{i+1}`` if ``reverse``.

    The factor that stands at the start of the recurrence is not read.

    Cost: log2(n) rounds of two multiplications and an add an element.
    Source: Hillis & Steele 1986, "Data parallel algorithms", on the maps ``s -> b + a s``.
    """
    length = a.shape[axis]
    step = 1
    while step < length:
        # Elements that have fewer than `step` before them are complete.
        head, tail = (0, length - step), (step, length)
        near, far, done = (
            (head, tail, (length - step, length)) if reverse else (tail, head, (0, step))
        )
        a_near, b_near = _part(a, axis, near), _part(b, axis, near)
        b_far = b_near + a_near * _part(b, axis, far)
        a_far = a_near * _part(a, axis, far)
        b = _join(_part(b, axis, done), b_far, axis, reverse)
        a = _join(_part(a, axis, done), a_far, axis, reverse)
        step *= 2
    return b


def _part(x: Value, axis: int, bounds: tuple[int, int]) -> Value:
    starts = tuple(bounds[0] if i == axis else 0 for i in range(x.ndim))
    stops = tuple(bounds[1] if i == axis else n for i, n in enumerate(x.shape))
    part: Value = Slice(starts, stops, (1,) * x.ndim)(x)
    return part


def _join(first: Value, second: Value, axis: int, reverse: bool) -> Value:
    parts = (second, first) if reverse else (first, second)
    joined: Value = Concatenate(axis)(*parts)
    return joined
