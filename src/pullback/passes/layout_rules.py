"""The exact algebra of layout, of trivial reductions, and of contractions of transposed operands.

Imports ``rewrite`` and ``primitives``. Like ``rules``: a pattern and what replaces it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pullback.passes.rewrite import Rewrite, make_rule, register_rule, rule
from pullback.passes.rules import BOOL, F32, I32, constant
from pullback.primitives.dot import Dot
from pullback.primitives.reduce import (
    ReduceAnd,
    ReduceMax,
    ReduceMin,
    ReduceOr,
    ReduceProd,
    ReduceSum,
)
from pullback.primitives.shape import (
    Broadcast,
    Concatenate,
    Pad,
    Reshape,
    Reverse,
    Slice,
    Transpose,
)
from pullback.program.primitive import Primitive
from pullback.program.value import Value
from pullback.types import ArrayType, float32

Axes = tuple[int, ...]

MATRIX = ArrayType((2, 3), float32)
CUBE = ArrayType((2, 3, 4), float32)
SCALAR = ArrayType((), float32)


def permuted(x: Value, permutation: Axes) -> Value:
    """Return ``x`` transposed; ``x`` itself where the axes stay."""
    if permutation == tuple(range(x.ndim)):
        return x
    transposed: Value = Transpose(permutation)(x)
    return transposed


# Nothing moves ------------------------------------------------------------------------------------


@rule(cases=[(F32,), (SCALAR,)])
def reshape_to_same(x: Value) -> Rewrite:
    """``reshape(x) -> x`` to the shape that ``x`` has."""
    return Reshape(x.shape)(x), x


@rule(cases=[(MATRIX,), (SCALAR,)])
def transpose_nothing(x: Value) -> Rewrite:
    """``transpose(x) -> x`` by the permutation that moves no axis."""
    return Transpose(tuple(range(x.ndim)))(x), x


@rule(cases=[(ArrayType((1, 3), float32), Reverse((0,))), (MATRIX, Reverse(()))])
def reverse_nothing(x: Value, reverse: Reverse) -> Rewrite:
    """``reverse(x) -> x`` along axes of length 1, or none."""
    return (reverse(x), x) if all(x.shape[axis] <= 1 for axis in reverse.axes) else None


@rule(cases=[(F32,), (SCALAR,)])
def broadcast_to_same(x: Value) -> Rewrite:
    """``broadcast(x) -> x`` to the shape that ``x`` has."""
    return Broadcast(x.shape, ())(x), x


@rule(cases=[(MATRIX,), (SCALAR,)])
def slice_everything(x: Value) -> Rewrite:
    """``slice(x) -> x`` from the first to the last element of each axis."""
    return Slice((0,) * x.ndim, x.shape, (1,) * x.ndim)(x), x


@rule(cases=[(MATRIX, SCALAR)])
def pad_with_nothing(x: Value, value: Value) -> Rewrite:
    """``pad(x) -> x`` by no elements."""
    none = (0,) * x.ndim
    return Pad(none, none, none)(x, value), x


@rule(cases=[(MATRIX, Concatenate(0)), (MATRIX, Concatenate(1))])
def concatenate_one(x: Value, concatenate: Concatenate) -> Rewrite:
    """``concatenate(x) -> x``."""
    return concatenate(x), x


# Two moves are one --------------------------------------------------------------------------------


@rule(cases=[(MATRIX, Reshape((6,)), Reshape((3, 2)))])
def reshape_twice(x: Value, outer: Reshape, inner: Reshape) -> Rewrite:
    """``reshape(reshape(x)) -> reshape(x)``."""
    return outer(inner(x)), outer(x)


@rule(cases=[(CUBE, Transpose((1, 2, 0)), Transpose((0, 2, 1)))])
def transpose_twice(x: Value, outer: Transpose, inner: Transpose) -> Rewrite:
    """``transpose(transpose(x)) -> transpose(x)``."""
    both = tuple(inner.permutation[axis] for axis in outer.permutation)
    return outer(inner(x)), permuted(x, both)


@rule(cases=[(CUBE, Reverse((0, 1)), Reverse((1, 2))), (CUBE, Reverse((1,)), Reverse((1,)))])
def reverse_twice(x: Value, outer: Reverse, inner: Reverse) -> Rewrite:
    """``reverse(reverse(x)) -> reverse(x)`` along the axes of only one of them."""
    axes = tuple(sorted(set(outer.axes) ^ set(inner.axes)))
    return outer(inner(x)), Reverse(axes)(x) if axes else x


@rule(
    cases=[
        (F32, Broadcast((2, 3, 5), (2,)), Broadcast((2, 3), (0,))),
        (ArrayType((1, 3), float32), Broadcast((2, 4, 3), (0,)), Broadcast((4, 3), ())),
    ]
)
def broadcast_twice(x: Value, outer: Broadcast, inner: Broadcast) -> Rewrite:
    """``broadcast(broadcast(x)) -> broadcast(x)``."""
    kept = outer.kept()
    axes = tuple(sorted({*outer.axes, *(kept[axis] for axis in inner.axes)}))
    return outer(inner(x)), Broadcast(outer.shape, axes)(x)


def new_unit_axes(source: Axes, target: Axes) -> Axes | None:
    """Return the axes of ``target`` that a reshape from ``source`` adds, if it only adds some."""
    added, matched = [], 0
    for axis, length in enumerate(target):
        if matched < len(source) and source[matched] == length:
            matched += 1
        elif length == 1:
            added.append(axis)
        else:
            return None
    return tuple(added) if matched == len(source) else None


@rule(cases=[(F32, Broadcast((3, 4), ()), Reshape((3, 1)))])
def broadcast_of_reshape(x: Value, broadcast: Broadcast, reshape: Reshape) -> Rewrite:
    """``broadcast(reshape(x)) -> broadcast(x)`` where the reshape adds axes of length 1."""
    added = new_unit_axes(x.shape, reshape.shape)
    if added is None:
        return None
    kept = broadcast.kept()
    axes = tuple(sorted({*broadcast.axes, *(kept[axis] for axis in added)}))
    return broadcast(reshape(x)), Broadcast(broadcast.shape, axes)(x)


@rule(cases=[(MATRIX, Transpose((2, 1, 0)), Broadcast((2, 3, 4), (2,)))])
def transpose_of_broadcast(x: Value, transpose: Transpose, broadcast: Broadcast) -> Rewrite:
    """``transpose(broadcast(x)) -> broadcast(transpose(x))``, which moves fewer elements."""
    order = transpose.permutation
    shape = tuple(broadcast.shape[axis] for axis in order)
    axes = tuple(i for i, axis in enumerate(order) if axis in broadcast.axes)
    kept = broadcast.kept()
    inner = tuple(kept.index(axis) for axis in order if axis not in broadcast.axes)
    return transpose(broadcast(x)), Broadcast(shape, axes)(permuted(x, inner))


@rule(
    cases=[
        (
            ArrayType((9, 7), float32),
            Slice((1, 0), (4, 3), (2, 1)),
            Slice((0, 1), (8, 7), (2, 2)),
        )
    ]
)
def slice_twice(x: Value, outer: Slice, inner: Slice) -> Rewrite:
    """``slice(slice(x)) -> slice(x)``."""
    taken = outer(inner(x))
    starts, stops, strides = [], [], []
    for axis, length in enumerate(taken.shape):
        stride = inner.strides[axis] * outer.strides[axis]
        start = inner.starts[axis] + outer.starts[axis] * inner.strides[axis]
        if length == 0:  # the start may lie beyond the end
            start = 0
        starts.append(start)
        stops.append(start + (length - 1) * stride + 1 if length else start)
        strides.append(stride)
    return taken, Slice(tuple(starts), tuple(stops), tuple(strides))(x)


# Reductions of nothing ----------------------------------------------------------------------------


def without_axes(x: Value, axes: Axes) -> Value:
    """Return ``x`` without these axes, which have length 1."""
    shape = tuple(n for axis, n in enumerate(x.shape) if axis not in axes)
    reshaped: Value = Reshape(shape)(x) if axes else x
    return reshaped


@rule(cases=[(ArrayType((1, 3), float32), ReduceSum((0,))), (MATRIX, ReduceSum(()))])
def reduce_sum_of_one(x: Value, reduce: ReduceSum) -> Rewrite:
    """``sum(x) -> x + 0`` over axes of length 1, or none: sums begin with 0, which -0.0 loses."""
    if any(x.shape[axis] != 1 for axis in reduce.axes):
        return None
    return reduce(x), without_axes(x, reduce.axes) + constant(0, x)


def _reduction_of_one(reduction: type[Primitive], operand: ArrayType) -> None:
    def reduce_one(x: Value, reduce: Primitive) -> Rewrite:
        """``reduce(x) -> x`` over axes of length 1, or none."""
        axes: Axes = reduce.parameters()["axes"]
        if any(x.shape[axis] != 1 for axis in axes):
            return None
        return reduce(x), without_axes(x, axes)

    reduce_one.__name__ = f"{reduction.name}_of_one"
    of_one = operand.with_shape((1, *operand.shape))
    make: Callable[..., Primitive] = reduction
    register_rule(make_rule(reduce_one, cases=[(of_one, make((0,))), (operand, make(()))]))


for _reduction, _operand in (
    (ReduceProd, F32),
    (ReduceMax, F32),
    (ReduceMin, F32),
    (ReduceAnd, BOOL),
    (ReduceOr, I32),
):
    _reduction_of_one(_reduction, _operand)


# Contractions -------------------------------------------------------------------------------------
# EXACT because a contraction adds the products in the order of the contracted axes, whatever the
# layout of its operands. (NumPy's matrix product, which evaluates it, leaves the order open.)


def _of_transposed(dot: Dot, side: int, permutation: Axes) -> Dot | None:
    """Return ``dot`` for the operand ``side`` before its transposition; None if free axes cross."""
    ndim = len(permutation)
    bound = {*dot.contract[side], *dot.batch[side]}
    free = [permutation[axis] for axis in range(ndim) if axis not in bound]
    if free != sorted(free):
        return None

    def moved(pair: tuple[Axes, Axes]) -> tuple[Axes, Axes]:
        axes = tuple(permutation[axis] for axis in pair[side])
        return (axes, pair[1]) if side == 0 else (pair[0], axes)

    return Dot(moved(dot.contract), moved(dot.batch), dot.dtype)


MATRICES = (MATRIX, ArrayType((2, 4), float32))


@rule(cases=[(*MATRICES, Dot(((0,), (0,)), ((), ()), float32))])
def dot_of_own_dtype(x: Value, y: Value, dot: Dot) -> Rewrite:
    """``dot(x, y)`` with the dtype of the operands as its dtype -> without a dtype."""
    if dot.dtype is None or dot.dtype != x.dtype:  # None equals float64, says NumPy
        return None
    return dot(x, y), replace(dot, dtype=None)(x, y)


@rule(cases=[(*MATRICES, Dot(((1,), (0,)), ((), ())), Transpose((1, 0)))])
def dot_of_transposed_left(x: Value, y: Value, dot: Dot, transpose: Transpose) -> Rewrite:
    """``dot(transpose(x), y) -> dot(x, y)`` over other axes, where the free axes stay in order."""
    direct = _of_transposed(dot, 0, transpose.permutation)
    return None if direct is None else (dot(transpose(x), y), direct(x, y))


@rule(cases=[(*MATRICES, Dot(((0,), (1,)), ((), ())), Transpose((1, 0)))])
def dot_of_transposed_right(x: Value, y: Value, dot: Dot, transpose: Transpose) -> Rewrite:
    """``dot(x, transpose(y)) -> dot(x, y)`` over other axes, where the free axes stay in order."""
    direct = _of_transposed(dot, 1, transpose.permutation)
    return None if direct is None else (dot(x, transpose(y)), direct(x, y))


@rule(
    cases=[
        (*MATRICES, Transpose((1, 0)), Dot(((0,), (0,)), ((), ()))),
        (CUBE, CUBE, Transpose((0, 2, 1)), Dot(((1,), (1,)), ((0,), (0,)))),
    ]
)
def transpose_of_dot(x: Value, y: Value, transpose: Transpose, dot: Dot) -> Rewrite:
    """``transpose(dot(x, y)) -> dot(y, x)`` where rows and columns change places as blocks."""
    n_batch = len(dot.batch[0])
    n_rows = x.ndim - n_batch - len(dot.contract[0])
    batch, rows, columns = (
        transpose.permutation[:n_batch],
        tuple(range(n_batch, n_batch + n_rows)),
        tuple(range(n_batch + n_rows, len(transpose.permutation))),
    )
    if transpose.permutation[n_batch:] != columns + rows:
        return None
    y_batch, x_batch = (tuple(axes[i] for i in batch) for axes in reversed(dot.batch))
    swapped = Dot((dot.contract[1], dot.contract[0]), (y_batch, x_batch), dot.dtype)
    return transpose(dot(x, y)), swapped(y, x)
