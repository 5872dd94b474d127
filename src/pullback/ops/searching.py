"""The searching chapter of the Array API standard.

Imports ``arguments``, ``indexing`` and ``primitives``. Functions whose result's shape depends on
elements take ``size`` inside a traced function, as in JAX.
"""

from __future__ import annotations

import math
from typing import Literal, overload

import numpy as np

from pullback.errors import ShapeError
from pullback.ops.arguments import (
    ArrayLike,
    Axis,
    as_array,
    as_operand,
    concrete,
    is_concrete,
    normalize_axes,
    normalize_axis,
    require_dtype,
    scalar_of,
)
from pullback.ops.creation import arange, full
from pullback.ops.dtypes import astype
from pullback.ops.indexing import take
from pullback.ops.manipulation import expand_dims, reshape
from pullback.primitives import operators
from pullback.primitives.cumulative import CumSum
from pullback.primitives.indexing import position_dtype
from pullback.primitives.reduce import ArgMax, ArgMin, ReduceSum
from pullback.primitives.scatter import Scatter
from pullback.program.value import Array, Value
from pullback.types import DEFAULT_INT, FLOATING, INTEGER, NUMERIC, bool_

__all__ = [
    "argmax",
    "argmin",
    "argwhere",
    "count_nonzero",
    "flatnonzero",
    "nonzero",
    "searchsorted",
    "where",
]


def argmax(x: ArrayLike, /, axis: int | None = None, *, keepdims: bool = False) -> Value:
    """Position of the largest element; of the first of several, and of the first nan.

    Args:
        x: Array, with at least one element along ``axis``.
        axis: Along which axis; None for the position in the flattened array. Static.
        keepdims: Whether the axis stays, with length 1.

    Returns:
        Array of int32.

    Raises:
        ShapeError: ``axis`` is out of range, or there is no element.

    Example:
        >>> pb.argmax(pb.asarray([1.0, 3.0, 2.0]))
        Array(1, i32)
    """
    return _position(ArgMax, "argmax", x, axis, keepdims)


def argmin(x: ArrayLike, /, axis: int | None = None, *, keepdims: bool = False) -> Value:
    """Position of the least element; of the first of several, and of the first nan.

    Args:
        x: Array, with at least one element along ``axis``.
        axis: Along which axis; None for the position in the flattened array. Static.
        keepdims: Whether the axis stays, with length 1.

    Returns:
        Array of int32.

    Raises:
        ShapeError: ``axis`` is out of range, or there is no element.

    Example:
        >>> pb.argmin(pb.asarray([1.0, 3.0, 0.0]))
        Array(2, i32)
    """
    return _position(ArgMin, "argmin", x, axis, keepdims)


def _position(
    primitive: type[ArgMax] | type[ArgMin],
    name: str,
    x: ArrayLike,
    axis: int | None,
    keepdims: bool,
) -> Value:
    value = as_array(x)
    ndim = value.ndim
    if axis is None:
        value, place = reshape(value, (value.size,)), 0
    else:
        place = normalize_axis(name, axis, ndim)
    found: Value = primitive(place, DEFAULT_INT)(value)
    if not keepdims:
        return found
    return reshape(found, (1,) * ndim) if axis is None else expand_dims(found, place)


def count_nonzero(x: ArrayLike, /, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Number of elements that are not zero; nan is not zero.

    Args:
        x: Array.
        axis: Along which axis or axes; None for all. Static.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        Array of int32.

    Raises:
        ShapeError: ``axis`` is out of range.

    Example:
        >>> pb.count_nonzero(pb.asarray([1, 0, 2]))
        Array(2, i32)
    """
    value = as_array(x)
    axes = normalize_axes("count_nonzero", axis, value.ndim)
    count: Value = ReduceSum(axes)(astype(astype(value, bool_), DEFAULT_INT))
    if not keepdims:
        return count
    return reshape(count, tuple(1 if i in axes else n for i, n in enumerate(value.shape)))


def nonzero(
    x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike = 0
) -> tuple[Value, ...]:
    """Positions of the elements that are not zero, in row-major order.

    Args:
        x: Array with at least one axis.
        size: How many positions to return; needed if ``x`` is traced. What is more is cut off,
            what is missing is ``fill_value``. Static.
        fill_value: The position that stands for none.

    Returns:
        For each axis an array of int32 ``[number of positions]``, or ``[size]``.

    Raises:
        ShapeError: ``x`` has no axis.
        TracerArrayError: ``x`` is traced and ``size`` is not given.

    Example:
        >>> pb.nonzero(pb.asarray([1, 0, 2]))
        (Array([0, 2], i32),)
        >>> pb.nonzero(pb.asarray([1, 0, 2]), size=3, fill_value=-1)
        (Array([ 0,  2, -1], i32),)
    """
    value = as_array(x)
    if value.ndim == 0:
        raise ShapeError(f"nonzero takes an array with axes, not {value.type}; use `x != 0`")
    if size is None:
        data = concrete("nonzero", value, "Pass `size`, or use `where` with three arguments.")
        return tuple(Array(i.astype(DEFAULT_INT)) for i in np.nonzero(data))
    flat, found = first_positions(reshape(astype(value, bool_), (value.size,)), size)
    results = []
    for axis, n in enumerate(value.shape):
        stride = math.prod(value.shape[axis + 1 :])
        index = (flat // max(stride, 1)) % max(n, 1)
        results.append(operators.where(found, index, astype(fill_value, DEFAULT_INT)))
    return tuple(results)


def first_positions(mask: Value, size: int) -> tuple[Value, Value]:
    """The first ``size`` positions where a mask ``[n]`` holds, and which of them there are."""
    (n,) = mask.shape
    counts = astype(mask, position_dtype(n))
    running: Value = CumSum(0, False)(counts)
    # Where the mask does not hold, a place outside, which is dropped.
    places = operators.where(mask, running - 1, size)
    start = full((size,), 0, dtype=DEFAULT_INT)
    found: Value = Scatter((0,), 0, "set")(start, reshape(places, (n, 1)), arange(n))
    total: Value = ReduceSum((0,))(counts)
    return found, operators.less(astype(arange(size), total.dtype), total)


def flatnonzero(x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike = 0) -> Value:
    """Positions in the flattened array of the elements that are not zero.

    Example:
        >>> pb.flatnonzero(pb.asarray([[1, 0], [0, 2]]))
        Array([0, 3], i32)
    """
    value = as_array(x)
    return nonzero(reshape(value, (value.size,)), size=size, fill_value=fill_value)[0]


def argwhere(x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike = 0) -> Value:
    """Positions of the elements that are not zero, one row each.

    Example:
        >>> pb.argwhere(pb.asarray([[1, 0], [0, 2]]))
        Array([[0, 0],
               [1, 1]], i32)
    """
    from pullback.ops.manipulation import stack

    value = as_array(x)
    if value.ndim == 0:
        raise ShapeError(f"argwhere takes an array with axes, not {value.type}")
    return stack(nonzero(value, size=size, fill_value=fill_value), axis=1)


@overload
def where(condition: ArrayLike, /) -> tuple[Value, ...]: ...


@overload
def where(condition: ArrayLike, x1: ArrayLike, x2: ArrayLike, /) -> Value: ...


def where(
    condition: ArrayLike, x1: ArrayLike | None = None, x2: ArrayLike | None = None, /
) -> Value | tuple[Value, ...]:
    """Elements of ``x1`` where a condition holds, else of ``x2``.

    Args:
        condition: Array of booleans; numbers are true if not zero.
        x1: Array; all three broadcast.
        x2: Array; the dtypes of ``x1`` and ``x2`` promote.

    Returns:
        An array; with the condition alone, ``nonzero(condition)``.

    Raises:
        ShapeError: the shapes do not broadcast.

    Differentiation: the cotangent goes to the array chosen. A derivative that is infinite or nan
    in the other one may still become nan: make its argument harmless, too, with another ``where``.

    Example:
        >>> pb.where(pb.asarray([True, False]), 1.0, 2.0)
        Array([1., 2.], f32)
    """
    predicate = astype(condition, bool_)
    if x1 is None and x2 is None:
        return nonzero(predicate)
    if x1 is None or x2 is None:
        raise TypeError("where takes a condition alone, or with two arrays")
    return operators.where(predicate, as_operand(x1), as_operand(x2))


def searchsorted(
    x1: ArrayLike,
    x2: ArrayLike,
    /,
    *,
    side: Literal["left", "right"] = "left",
    sorter: ArrayLike | None = None,
) -> Value:
    """Where elements would have to be inserted to keep a sorted array sorted.

    Args:
        x1: Array ``[n]``, ascending, nan last; or in the order that ``sorter`` makes.
        x2: The elements.
        side: ``"left"``: before equal elements; ``"right"``: behind them.
        sorter: Array of integers ``[n]``: the positions of ``x1`` in ascending order.

    Returns:
        Array of int32 with the shape of ``x2``.

    Raises:
        ShapeError: ``x1`` is not a vector.
        ValueError: ``side`` is another one.

    Cost: ``log2(n)`` comparisons for each element.

    Example:
        >>> pb.searchsorted(pb.asarray([1.0, 2.0, 3.0]), pb.asarray([2.0, 5.0]))
        Array([1, 3], i32)
    """
    if side not in ("left", "right"):
        raise ValueError(f"searchsorted: side {side!r}; expected 'left' or 'right'")
    ordered, wanted = operators.promote_operands(as_array(x1), as_operand(x2))
    require_dtype("searchsorted", ordered, NUMERIC)
    if ordered.ndim != 1:
        raise ShapeError(f"searchsorted takes a vector [n], not {ordered.type}")
    if sorter is not None:
        ordered = take(ordered, sorter)
    n = ordered.size
    low = full(wanted.shape, 0, dtype=DEFAULT_INT)
    high = full(wanted.shape, n, dtype=DEFAULT_INT)
    for _ in range(n.bit_length()):
        middle = (low + high) // 2
        pivot = take(ordered, middle, mode="clip")
        before = _precedes(pivot, wanted) if side == "left" else ~_precedes(wanted, pivot)
        before = before & operators.less(low, high)
        low = operators.where(before, middle + 1, low)
        high = operators.where(before, high, middle)
    return low


def _precedes(x: Value, y: Value) -> Value:
    """Whether ``x`` comes before ``y`` in an order that has nan last."""
    smaller = operators.less(x, y)
    if x.dtype not in FLOATING:
        return smaller
    only_y_is_nan = operators.bitwise_and(operators.not_equal(y, y), operators.equal(x, x))
    return operators.bitwise_or(smaller, only_y_is_nan)


def repeated_indices(n: int, repeats: Value, total: int | None) -> Value:
    """The positions ``0 .. n - 1``, each as often as ``repeats`` says, ``total`` in all.

    Raises:
        ShapeError: ``repeats`` is negative, or of another shape than ``[n]``, ``[1]`` and ``[]``.
        TracerArrayError: ``repeats`` is traced and ``total`` is not given.
    """
    require_dtype("repeat: repeats", repeats, INTEGER)
    if repeats.ndim > 1 or (repeats.ndim == 1 and repeats.size not in (1, n)):
        raise ShapeError(f"repeat: repeats {repeats.type}; expected one, or {n}")
    counts = operators.broadcast_to(reshape(repeats, (repeats.size,)), (n,))
    if is_concrete(counts) and concrete("repeat", counts, "").min(initial=0) < 0:
        raise ShapeError("repeat: expected numbers of at least 0")
    if total is None:
        data = concrete("repeat", counts, "Pass `total_repeat_length`.")
        return Array(np.repeat(np.arange(n, dtype=np.int32), data.astype(np.int64)))
    ends: Value = CumSum(0, False)(astype(counts, DEFAULT_INT))
    places = searchsorted(ends, arange(total), side="right")
    return operators.minimum(places, scalar_of(max(n - 1, 0), DEFAULT_INT))
