"""The manipulation chapter of the Array API standard: shapes, joins and order.

Imports ``arguments``, ``dtypes`` and ``primitives``. NumPy's additions are in ``rearrange``. In a
fused kernel most of these cost nothing: they change how indices are computed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.errors import ShapeError
from pullback.ops.arguments import (
    ArrayLike,
    Axis,
    as_array,
    as_integers,
    as_shape,
    concrete,
    normalize_axes,
    normalize_axis,
)
from pullback.primitives import operators
from pullback.primitives.shape import Broadcast, Concatenate, Reshape, Reverse, Slice, Transpose
from pullback.program.value import Array, Tracer, Value

__all__ = [
    "concat",
    "concatenate",
    "expand_dims",
    "flip",
    "moveaxis",
    "permute_dims",
    "repeat",
    "reshape",
    "roll",
    "squeeze",
    "stack",
    "swapaxes",
    "tile",
    "transpose",
    "unstack",
]


def _promoted(name: str, arrays: Any) -> tuple[Value, ...]:
    values = [as_array(x) for x in arrays]
    if not values:
        raise ShapeError(f"{name} takes at least one array, got none")
    return operators.promote_operands(*values)


def concat(arrays: Sequence[ArrayLike], /, axis: int | None = 0) -> Value:
    """Join arrays along an axis that they have.

    Args:
        arrays: Arrays ``[..., n_i, ...]``; their dtypes promote.
        axis: The axis of lengths ``n_i``; None to flatten the arrays first. Static.

    Returns:
        Array ``[..., sum of n_i, ...]``.

    Raises:
        ShapeError: there is no array, ``axis`` is out of range, or another axis differs in length.

    Differentiation: each array gets its part of the cotangent.

    Example:
        >>> pb.concat([pb.asarray([1, 2]), pb.asarray([3])])
        Array([1, 2, 3], i32)
    """
    values = _promoted("concat", arrays)
    if axis is None:
        values, axis = tuple(_reshaped(x, (x.size,)) for x in values), 0
    place = normalize_axis("concat", axis, values[0].ndim)
    if len(values) == 1:
        return values[0]
    result: Value = Concatenate(place)(*values)
    return result


concatenate = concat


def stack(arrays: Sequence[ArrayLike], /, axis: int = 0) -> Value:
    """Join arrays of one shape along a new axis.

    Args:
        arrays: Arrays of one shape; their dtypes promote.
        axis: Where the new axis is in the result. Static.

    Raises:
        ShapeError: there is no array, ``axis`` is out of range, or shapes differ.

    Differentiation: each array gets its part of the cotangent.

    Example:
        >>> pb.stack([pb.asarray([1, 2]), pb.asarray([3, 4])], axis=1)
        Array([[1, 3],
               [2, 4]], i32)
    """
    values = _promoted("stack", arrays)
    for value in values[1:]:
        if value.shape != values[0].shape:
            raise ShapeError(
                f"stack takes arrays of one shape, got {values[0].type} and {value.type}; join "
                "different lengths with `concat`"
            )
    place = normalize_axis("stack", axis, values[0].ndim + 1)
    return concat([expand_dims(x, place) for x in values], axis=place)


def unstack(x: ArrayLike, /, *, axis: int = 0) -> tuple[Value, ...]:
    """Split an array into one array for each index along an axis, which leaves the shape.

    Args:
        x: Array ``[..., n, ...]``.
        axis: The axis of length ``n``. Static.

    Returns:
        A tuple of ``n`` arrays.

    Raises:
        ShapeError: ``axis`` is out of range.

    Example:
        >>> pb.unstack(pb.asarray([[1, 2], [3, 4]]))
        (Array([1, 2], i32), Array([3, 4], i32))
    """
    value = as_array(x)
    place = normalize_axis("unstack", axis, value.ndim)
    parts = (slice_along(value, place, i, i + 1) for i in range(value.shape[place]))
    return tuple(squeeze(part, place) for part in parts)


def slice_along(x: Value, axis: int, start: int, stop: int, stride: int = 1) -> Value:
    """Return the part ``start:stop:stride`` along one axis, counted from the front."""
    if (start, stop, stride) == (0, x.shape[axis], 1):
        return x
    starts, stops, strides = [0] * x.ndim, list(x.shape), [1] * x.ndim
    starts[axis], stops[axis], strides[axis] = start, stop, stride
    result: Value = Slice(tuple(starts), tuple(stops), tuple(strides))(x)
    return result


def _reshaped(x: Value, shape: tuple[int, ...]) -> Value:
    if x.shape == shape:
        return x
    result: Value = Reshape(shape)(x)
    return result


def reshape(x: ArrayLike, /, shape: int | Sequence[int], *, copy: bool | None = None) -> Value:
    """Give the elements, in row-major order, another shape.

    Args:
        x: Array.
        shape: The new shape; one length may be -1, which stands for what fits. Static.
        copy: Accepted for the standard; arrays are never changed, so it makes no difference.

    Raises:
        ShapeError: the number of elements differs, or two lengths are -1.

    Differentiation: the cotangent gets the old shape.

    Example:
        >>> pb.reshape(pb.arange(6), (2, -1))
        Array([[0, 1, 2],
               [3, 4, 5]], i32)
    """
    value = as_array(x)
    items = shape if isinstance(shape, (tuple, list)) else (shape,)
    return _reshaped(value, _resolve(value, as_integers("reshape: shape", items)))


def _resolve(x: Value, shape: tuple[int, ...]) -> tuple[int, ...]:
    known = math.prod(n for n in shape if n != -1)
    missing = shape.count(-1)
    fits = known == x.size if not missing else missing == 1 and known > 0 and x.size % known == 0
    if not fits or min(shape, default=0) < -1:
        raise ShapeError(
            f"reshape of {x.type} to {shape}: expected a shape of {x.size} elements; one length "
            "may be -1"
        )
    return tuple(x.size // known if n == -1 else n for n in shape)


def expand_dims(x: ArrayLike, /, axis: int | Sequence[int] = 0) -> Value:
    """Insert axes of length 1.

    Args:
        x: Array.
        axis: Where the new axis is, or several are, in the result. Static.

    Raises:
        ShapeError: ``axis`` is out of range or given twice.

    Example:
        >>> pb.expand_dims(pb.asarray([1, 2]), 1).shape
        (2, 1)
    """
    value = as_array(x)
    items: Sequence[int] = axis if isinstance(axis, (tuple, list)) else (axis,)
    new = normalize_axes("expand_dims", items, value.ndim + len(items))
    rest = iter(value.shape)
    shape = (1 if i in new else next(rest) for i in range(value.ndim + len(items)))
    return _reshaped(value, tuple(shape))


def squeeze(x: ArrayLike, /, axis: Axis = None) -> Value:
    """Remove axes of length 1.

    Args:
        x: Array.
        axis: The axis or axes; None for all of length 1. Static.

    Raises:
        ShapeError: an axis is out of range, or of another length.

    Example:
        >>> pb.squeeze(pb.asarray([[1, 2]]), 0)
        Array([1, 2], i32)
    """
    value = as_array(x)
    if axis is None:
        axis = tuple(i for i, n in enumerate(value.shape) if n == 1)
    axes = normalize_axes("squeeze", axis, value.ndim)
    for i in axes:
        if value.shape[i] != 1:
            raise ShapeError(f"squeeze of {value.type}: axis {i} is not of length 1")
    return _reshaped(value, tuple(n for i, n in enumerate(value.shape) if i not in axes))


def flip(x: ArrayLike, /, axis: Axis = None) -> Value:
    """Reverse the order of the elements along axes.

    Args:
        x: Array.
        axis: The axis or axes; None for all. Static.

    Raises:
        ShapeError: an axis is out of range.

    Differentiation: the cotangent is reversed.

    Example:
        >>> pb.flip(pb.asarray([1, 2, 3]))
        Array([3, 2, 1], i32)
    """
    value = as_array(x)
    axes = normalize_axes("flip", axis, value.ndim)
    if not axes:
        return value
    result: Value = Reverse(axes)(value)
    return result


def permute_dims(x: ArrayLike, /, axes: Sequence[int]) -> Value:
    """Reorder the axes: axis ``i`` of the result is axis ``axes[i]`` of ``x``.

    Args:
        x: Array.
        axes: A permutation of the axes. Static.

    Raises:
        ShapeError: ``axes`` is not a permutation of the axes of ``x``.

    Differentiation: the cotangent's axes are put back.

    Example:
        >>> pb.permute_dims(pb.zeros((2, 3, 4)), (2, 0, 1)).shape
        (4, 2, 3)
    """
    value = as_array(x)
    order = normalize_axes("permute_dims", tuple(axes), value.ndim)
    if order == tuple(range(value.ndim)):
        return value
    result: Value = Transpose(order)(value)
    return result


def transpose(x: ArrayLike, /, axes: Sequence[int] | None = None) -> Value:
    """Reorder the axes, by default into the opposite order.

    Args:
        x: Array.
        axes: A permutation of the axes; None for the opposite order. Static.

    Raises:
        ShapeError: ``axes`` is not a permutation of the axes of ``x``.

    Example:
        >>> pb.transpose(pb.zeros((2, 3))).shape
        (3, 2)
    """
    value = as_array(x)
    return permute_dims(value, tuple(reversed(range(value.ndim))) if axes is None else axes)


def moveaxis(
    x: ArrayLike, source: int | Sequence[int], destination: int | Sequence[int], /
) -> Value:
    """Move axes to other places; the others keep their order.

    Args:
        x: Array.
        source: The axis or axes to move. Static.
        destination: Where each is in the result. Static.

    Raises:
        ShapeError: an axis is out of range or given twice, or the numbers of axes differ.

    Example:
        >>> pb.moveaxis(pb.zeros((2, 3, 4)), 0, -1).shape
        (3, 4, 2)
    """
    value = as_array(x)
    origin = normalize_axes("moveaxis", source, value.ndim)
    target = normalize_axes("moveaxis", destination, value.ndim)
    if len(origin) != len(target):
        raise ShapeError(f"moveaxis: {len(origin)} axes cannot move to {len(target)} places")
    rest = iter(i for i in range(value.ndim) if i not in origin)
    moved = dict(zip(target, origin, strict=True))
    return permute_dims(value, [moved[i] if i in moved else next(rest) for i in range(value.ndim)])


def swapaxes(x: ArrayLike, axis1: int, axis2: int, /) -> Value:
    """Exchange two axes.

    Example:
        >>> pb.swapaxes(pb.zeros((2, 3, 4)), 0, 2).shape
        (4, 3, 2)
    """
    value = as_array(x)
    first, second = (normalize_axis("swapaxes", a, value.ndim) for a in (axis1, axis2))
    order = list(range(value.ndim))
    order[first], order[second] = second, first
    return permute_dims(value, order)


def repeat(
    x: ArrayLike,
    repeats: int | ArrayLike,
    /,
    axis: int | None = None,
    *,
    total_repeat_length: int | None = None,
) -> Value:
    """Repeat each element along an axis.

    Args:
        x: Array ``[..., n, ...]``.
        repeats: How often: a number, or an array ``[n]`` or ``[1]`` of numbers.
        axis: The axis of length ``n``; None to flatten ``x`` first. Static.
        total_repeat_length: Length of the result along ``axis``; needed if ``repeats`` is traced.
            What is more is cut off, what is missing repeats the last element. Static.

    Raises:
        ShapeError: ``axis`` is out of range, or ``repeats`` is negative or of another length.
        TracerArrayError: ``repeats`` is traced and ``total_repeat_length`` is not given.

    Differentiation: the cotangents of the copies are added.

    Example:
        >>> pb.repeat(pb.asarray([1, 2]), 2)
        Array([1, 1, 2, 2], i32)
        >>> pb.repeat(pb.asarray([1, 2]), pb.asarray([2, 1]))
        Array([1, 1, 2], i32)
    """
    value = as_array(x)
    if axis is None:
        value, axis = _reshaped(value, (value.size,)), 0
    place = normalize_axis("repeat", axis, value.ndim)
    if isinstance(repeats, (int, np.integer)) and total_repeat_length is None:
        return _repeat_each(value, operator.index(repeats), place)
    from pullback.ops.indexing import take
    from pullback.ops.searching import repeated_indices

    n = value.shape[place]
    indices = repeated_indices(n, as_array(repeats), total_repeat_length)
    return take(value, indices, axis=place)


def _repeat_each(x: Value, count: int, axis: int) -> Value:
    if count < 0:
        raise ShapeError(f"repeat: expected a number of at least 0, got {count}")
    shape = x.shape
    spread: Value = Broadcast((*shape[: axis + 1], count, *shape[axis + 1 :]), (axis + 1,))(x)
    return _reshaped(spread, (*shape[:axis], shape[axis] * count, *shape[axis + 1 :]))


def tile(x: ArrayLike, repetitions: int | Sequence[int], /) -> Value:
    """Lay copies of an array side by side.

    Args:
        x: Array.
        repetitions: How many copies along each axis, aligned at the last axis. Static.

    Returns:
        Array of as many axes as the longer of ``x.shape`` and ``repetitions``.

    Raises:
        ShapeError: a repetition is negative.

    Differentiation: the cotangents of the copies are added.

    Example:
        >>> pb.tile(pb.asarray([1, 2]), (2, 2))
        Array([[1, 2, 1, 2],
               [1, 2, 1, 2]], i32)
    """
    value, counts = as_array(x), as_shape("tile", repetitions)
    ndim = max(value.ndim, len(counts))
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - value.ndim) + value.shape
    if set(counts) <= {1}:
        return _reshaped(value, shape)
    pairs = tuple(n for pair in zip(counts, shape, strict=True) for n in pair)
    new = tuple(i for i in range(2 * ndim) if i % 2 == 0 or i // 2 < ndim - value.ndim)
    spread: Value = Broadcast(pairs, new)(value)
    return _reshaped(spread, tuple(c * n for c, n in zip(counts, shape, strict=True)))


def roll(
    x: ArrayLike, /, shift: int | Sequence[int] | ArrayLike, axis: int | Sequence[int] | None = None
) -> Value:
    """Move the elements along axes; what leaves at the end comes back at the start.

    Args:
        x: Array.
        shift: By how many places, for each axis; a traced number without axes will do.
        axis: The axis or axes; None to roll the flattened array. Static.

    Raises:
        ShapeError: ``axis`` is out of range, or the numbers of shifts and axes differ.

    Differentiation: the cotangent is rolled back.

    Example:
        >>> pb.roll(pb.asarray([1, 2, 3]), 1)
        Array([3, 1, 2], i32)
    """
    value = as_array(x)
    if axis is None:
        flat = _reshaped(value, (value.size,))
        shifts = shift if isinstance(shift, (tuple, list)) else (shift,)
        for by in shifts:
            flat = _roll_along(flat, by, 0)
        return _reshaped(flat, value.shape)
    axes: Sequence[int] = axis if isinstance(axis, (tuple, list)) else (axis,)
    shifts = shift if isinstance(shift, (tuple, list)) else (shift,) * len(axes)
    if len(shifts) != len(axes):
        if len(axes) != 1:
            raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes; give one for each")
        axes = tuple(axes) * len(shifts)
    for by, along in zip(shifts, axes, strict=True):
        value = _roll_along(value, by, normalize_axis("roll", along, value.ndim))
    return value


def _roll_along(x: Value, shift: Any, axis: int) -> Value:
    n = x.shape[axis]
    if n == 0:
        return x
    if isinstance(shift, Tracer):
        from pullback.ops.creation import arange
        from pullback.ops.indexing import take

        places = operators.remainder(operators.subtract(arange(n), shift), n)
        return take(x, places, axis=axis)
    if isinstance(shift, Array):
        shift = concrete("roll", shift, "").item()
    by = operator.index(shift) % n
    if by == 0:
        return x
    last, first = slice_along(x, axis, n - by, n), slice_along(x, axis, 0, n - by)
    return concat([last, first], axis=axis)
