"""Rules that round anew or change special values: for ``numerics="fast"`` only.

Imports ``rewrite`` and ``primitives``. Each says what it changes by its promise: ``REASSOCIATES``
keeps the real number, ``APPROXIMATES`` also loses zeros' signs, nans or overflows.
"""

from __future__ import annotations

import math

import numpy as np

from pullback.passes.base import APPROXIMATES, REASSOCIATES
from pullback.passes.layout_rules import MATRIX, without_axes
from pullback.passes.rewrite import Rewrite, rule
from pullback.passes.rules import F32, is_normal, uniform
from pullback.primitives.dot import Dot
from pullback.primitives.reduce import ReduceLogSumExp, ReduceSum
from pullback.primitives.shape import Broadcast
from pullback.primitives.transcendental import Exp, Log, Rsqrt, Sqrt
from pullback.program.core import Literal
from pullback.program.value import Array, Value
from pullback.types import FLOATING, ArrayType, float32

A, B = Literal(np.float32(3.0)), Literal(np.float32(0.7))


# Zeros and infinities -----------------------------------------------------------------------------


@rule(APPROXIMATES)
def add_positive_zero(x: Value) -> Rewrite:
    """``x + 0 -> x``: keeps -0.0 where the sum is 0.0."""
    return (x + 0.0, x) if x.dtype in FLOATING else None


@rule(APPROXIMATES)
def subtract_from_positive_zero(x: Value) -> Rewrite:
    """``0 - x -> -x``: -0.0 for 0.0."""
    return (0.0 - x, -x) if x.dtype in FLOATING else None


@rule(APPROXIMATES)
def multiply_by_floating_zero(x: Value) -> Rewrite:
    """``x * 0 -> 0``: also for infinities and nan."""
    return (x * 0.0, uniform(0, x)) if x.dtype in FLOATING else None


@rule(APPROXIMATES)
def subtract_floating_itself(x: Value) -> Rewrite:
    """``x - x -> 0``: also for infinities and nan."""
    return (x - x, uniform(0, x)) if x.dtype in FLOATING else None


@rule(APPROXIMATES)
def negate_difference(x: Value, y: Value) -> Rewrite:
    """``-(x - y) -> y - x``: 0.0 for -0.0 where they are equal."""
    return -(x - y), y - x


# Constants ----------------------------------------------------------------------------------------


@rule(REASSOCIATES, cases=[(F32, A, B)])
def multiply_constants(x: Value, a: Array, b: Array) -> Rewrite:
    """``(x * a) * b -> x * (a * b)``."""
    return (x * a) * b, x * Array(np.asarray(a.data * b.data))


@rule(REASSOCIATES, cases=[(F32, A, B)])
def add_constants(x: Value, a: Array, b: Array) -> Rewrite:
    """``(x + a) + b -> x + (a + b)``."""
    return (x + a) + b, x + Array(np.asarray(a.data + b.data))


@rule(REASSOCIATES, cases=[(F32, A)])
def divide_by_constant(x: Value, c: Array) -> Rewrite:
    """``x / c -> x * (1 / c)`` where ``1 / c`` is a normal number."""
    if c.dtype not in FLOATING or not math.isfinite(float(c)) or float(c) == 0.0:
        return None
    reciprocal = np.asarray(1.0 / float(c)).astype(c.dtype)
    if not is_normal(float(reciprocal), c.dtype):
        return None
    return x / c, x * Array(reciprocal)


# Roots, logarithms --------------------------------------------------------------------------------


@rule(REASSOCIATES)
def reciprocal_root(x: Value) -> Rewrite:
    """``1 / sqrt(x) -> rsqrt(x)``."""
    return (1.0 / Sqrt()(x), Rsqrt()(x)) if x.dtype in FLOATING else None


@rule(APPROXIMATES)
def divide_by_root(x: Value, y: Value) -> Rewrite:
    """``x / sqrt(y) -> x * rsqrt(y)``: nan for 0 / 0 either way, but also for inf / inf."""
    return x / Sqrt()(y), x * Rsqrt()(y)


@rule(APPROXIMATES)
def square_of_root(x: Value) -> Rewrite:
    """``sqrt(x) * sqrt(x) -> x``: negative for negative numbers, where it was nan."""
    return Sqrt()(x) * Sqrt()(x), x


@rule(APPROXIMATES)
def logarithm_of_exponential(x: Value) -> Rewrite:
    """``log(exp(x)) -> x``: also where the exponential overflows or is 0."""
    return Log()(Exp()(x)), x


@rule(APPROXIMATES, cases=[(MATRIX, ReduceLogSumExp(()))])
def reduce_log_sum_exp_of_one(x: Value, reduce: ReduceLogSumExp) -> Rewrite:
    """``logsumexp(x) -> x`` over axes of length 1, or none: keeps -0.0."""
    if any(x.shape[axis] != 1 for axis in reduce.axes):
        return None
    return reduce(x), without_axes(x, reduce.axes)


# Sums and contractions ----------------------------------------------------------------------------


@rule(REASSOCIATES, cases=[(ArrayType((2, 3, 4), float32), ReduceSum((0,)), ReduceSum((1,)))])
def sum_twice(x: Value, outer: ReduceSum, inner: ReduceSum) -> Rewrite:
    """``sum(sum(x)) -> sum(x)`` over all the axes."""
    kept = [axis for axis in range(x.ndim) if axis not in inner.axes]
    axes = tuple(sorted({*inner.axes, *(kept[axis] for axis in outer.axes)}))
    return outer(inner(x)), ReduceSum(axes)(x)


@rule(REASSOCIATES, cases=[(F32, ReduceSum((0,)), Broadcast((2, 3), (0,)))])
def sum_of_broadcast(x: Value, reduce: ReduceSum, broadcast: Broadcast) -> Rewrite:
    """``sum(broadcast(x)) -> broadcast(x) * n`` over some of the new axes, of ``n`` elements."""
    if not reduce.axes or not set(reduce.axes) <= set(broadcast.axes):
        return None
    if x.dtype not in FLOATING:
        return None
    count = math.prod(broadcast.shape[axis] for axis in reduce.axes)
    kept = [axis for axis in range(len(broadcast.shape)) if axis not in reduce.axes]
    shape = tuple(broadcast.shape[axis] for axis in kept)
    axes = tuple(i for i, axis in enumerate(kept) if axis in broadcast.axes)
    return reduce(broadcast(x)), Broadcast(shape, axes)(x * float(count))


@rule(REASSOCIATES, cases=[(MATRIX, ArrayType((), float32), ReduceSum((0,)))])
def sum_of_scaled(x: Value, scale: Value, reduce: ReduceSum) -> Rewrite:
    """``sum(x * c) -> sum(x) * c`` for a ``c`` of rank 0."""
    if scale.shape or not x.shape:
        return None
    return reduce(x * scale), reduce(x) * scale


@rule(
    REASSOCIATES,
    cases=[
        (
            ArrayType((8, 2), float32),
            ArrayType((8, 3), float32),
            ArrayType((), float32),
            Dot(((0,), (0,)), ((), ())),
        )
    ],
)
def dot_of_scaled(x: Value, y: Value, scale: Value, dot: Dot) -> Rewrite:
    """``dot(x * c, y) -> dot(x, y) * c`` for a ``c`` of rank 0, where the result is the smaller."""
    result = dot(x, y)
    if scale.shape or not x.shape or result.dtype != x.dtype:
        return None
    return (dot(x * scale, y), result * scale) if result.size < x.size else None
