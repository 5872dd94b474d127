"""NumPy's additions to the manipulation chapter: splitting, padding, joining by kind.

Imports ``manipulation``, ``arguments`` and ``primitives``. Start at ``pad``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from pullback.errors import ShapeError
from pullback.ops.arguments import ArrayLike, as_array, normalize_axis
from pullback.ops.dtypes import astype
from pullback.ops.manipulation import concat, flip, reshape, slice_along
from pullback.primitives.shape import Pad
from pullback.program.value import Value

__all__ = [
    "array_split",
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "column_stack",
    "dstack",
    "flatten",
    "fliplr",
    "flipud",
    "hsplit",
    "hstack",
    "pad",
    "ravel",
    "rot90",
    "split",
    "vsplit",
    "vstack",
]


def ravel(x: ArrayLike, /) -> Value:
    """Put all elements, in row-major order, along one axis.

    Example:
        >>> pb.ravel(pb.asarray([[1, 2], [3, 4]]))
        Array([1, 2, 3, 4], i32)
    """
    return reshape(x, (-1,)) if as_array(x).size else reshape(x, (0,))


flatten = ravel


def split(x: ArrayLike, indices_or_sections: int | Sequence[int], /, axis: int = 0) -> list[Value]:
    """Cut an array into parts along an axis.

    Args:
        x: Array ``[..., n, ...]``.
        indices_or_sections: How many equal parts, or the places to cut at. Static.
        axis: The axis of length ``n``. Static.

    Raises:
        ShapeError: ``axis`` is out of range, or ``n`` is not a multiple of the number of parts.

    Differentiation: the cotangents of the parts are joined.

    Example:
        >>> pb.split(pb.arange(4), 2)
        [Array([0, 1], i32), Array([2, 3], i32)]
    """
    value = as_array(x)
    place = normalize_axis("split", axis, value.ndim)
    if isinstance(indices_or_sections, (int, np.integer)):
        parts, n = int(indices_or_sections), value.shape[place]
        if parts <= 0 or n % parts:
            raise ShapeError(
                f"split of {value.type}: axis {place} of length {n} does not divide into {parts} "
                "equal parts; use `array_split` for unequal ones"
            )
    return array_split(value, indices_or_sections, place)


def array_split(
    x: ArrayLike, indices_or_sections: int | Sequence[int], /, axis: int = 0
) -> list[Value]:
    """Cut an array into parts along an axis; the first ones may be one element longer.

    Args:
        x: Array ``[..., n, ...]``.
        indices_or_sections: How many parts, or the places to cut at. Static.
        axis: The axis of length ``n``. Static.

    Raises:
        ShapeError: ``axis`` is out of range, or the number of parts is not positive.

    Example:
        >>> pb.array_split(pb.arange(3), 2)
        [Array([0, 1], i32), Array([2], i32)]
    """
    value = as_array(x)
    place = normalize_axis("array_split", axis, value.ndim)
    n = value.shape[place]
    if isinstance(indices_or_sections, (int, np.integer)):
        parts = int(indices_or_sections)
        if parts <= 0:
            raise ShapeError(f"array_split: expected at least 1 part, got {parts}")
        each, longer = divmod(n, parts)
        cuts = [i * each + min(i, longer) for i in range(parts + 1)]
    else:
        inner = [operator.index(i) for i in indices_or_sections]
        cuts = [0, *(min(max(i + n if i < 0 else i, 0), n) for i in inner), n]
    return [slice_along(value, place, start, max(start, stop)) for start, stop in pairwise(cuts)]


def hsplit(x: ArrayLike, indices_or_sections: int | Sequence[int], /) -> list[Value]:
    """Cut along the second axis, or the only one, as ``split`` does.

    Example:
        >>> [part.shape for part in pb.hsplit(pb.zeros((2, 4)), 2)]
        [(2, 2), (2, 2)]
    """
    return split(x, indices_or_sections, axis=min(as_array(x).ndim - 1, 1))


def vsplit(x: ArrayLike, indices_or_sections: int | Sequence[int], /) -> list[Value]:
    """Cut along the first axis, as ``split`` does.

    Example:
        >>> [part.shape for part in pb.vsplit(pb.zeros((2, 4)), 2)]
        [(1, 4), (1, 4)]
    """
    return split(x, indices_or_sections, axis=0)


def atleast_1d(x: ArrayLike, /) -> Value:
    """Give an array without axes one.

    Example:
        >>> pb.atleast_1d(3).shape
        (1,)
    """
    value = as_array(x)
    return reshape(value, (1,)) if value.ndim == 0 else value


def atleast_2d(x: ArrayLike, /) -> Value:
    """Put axes of length 1 in front until there are two.

    Example:
        >>> pb.atleast_2d(pb.zeros(3)).shape
        (1, 3)
    """
    value = as_array(x)
    return reshape(value, (1,) * (2 - value.ndim) + value.shape) if value.ndim < 2 else value


def atleast_3d(x: ArrayLike, /) -> Value:
    """Put an axis of length 1 in front of a vector, and one behind, until there are three.

    Example:
        >>> pb.atleast_3d(pb.zeros((3, 4))).shape
        (3, 4, 1)
    """
    value = atleast_2d(x)
    return reshape(value, (*value.shape, 1)) if value.ndim == 2 else value


def vstack(arrays: Sequence[ArrayLike], /) -> Value:
    """Join along the first axis; vectors are rows.

    Example:
        >>> pb.vstack([pb.zeros(3), pb.ones(3)]).shape
        (2, 3)
    """
    return concat([atleast_2d(x) for x in arrays], axis=0)


def hstack(arrays: Sequence[ArrayLike], /) -> Value:
    """Join along the second axis; vectors along their only one.

    Example:
        >>> pb.hstack([pb.zeros(3), pb.ones(2)]).shape
        (5,)
    """
    values = [atleast_1d(x) for x in arrays]
    return concat(values, axis=0 if values and values[0].ndim == 1 else 1)


def dstack(arrays: Sequence[ArrayLike], /) -> Value:
    """Join along the third axis.

    Example:
        >>> pb.dstack([pb.zeros((2, 3)), pb.ones((2, 3))]).shape
        (2, 3, 2)
    """
    return concat([atleast_3d(x) for x in arrays], axis=2)


def column_stack(arrays: Sequence[ArrayLike], /) -> Value:
    """Join matrices, and vectors as columns, along the second axis.

    Example:
        >>> pb.column_stack([pb.zeros(3), pb.ones(3)]).shape
        (3, 2)
    """
    values = [as_array(x) for x in arrays]
    return concat([reshape(x, (x.size, 1)) if x.ndim < 2 else x for x in values], axis=1)


def fliplr(x: ArrayLike, /) -> Value:
    """Reverse the second axis.

    Example:
        >>> pb.fliplr(pb.asarray([[1, 2]]))
        Array([[2, 1]], i32)
    """
    return flip(x, axis=1)


def flipud(x: ArrayLike, /) -> Value:
    """Reverse the first axis.

    Example:
        >>> pb.flipud(pb.asarray([1, 2]))
        Array([2, 1], i32)
    """
    return flip(x, axis=0)


def rot90(x: ArrayLike, /, k: int = 1, axes: tuple[int, int] = (0, 1)) -> Value:
    """Turn the plane of two axes by ``k`` quarters, from the first axis to the second.

    Example:
        >>> pb.rot90(pb.asarray([[1, 2], [3, 4]]))
        Array([[2, 4],
               [1, 3]], i32)
    """
    from pullback.ops.manipulation import swapaxes

    value = as_array(x)
    first, second = (normalize_axis("rot90", a, value.ndim) for a in axes)
    quarters = operator.index(k) % 4
    if quarters == 0:
        return value
    if quarters == 2:
        return flip(value, axis=(first, second))
    if quarters == 1:
        return swapaxes(flip(value, axis=second), first, second)
    return flip(swapaxes(value, first, second), axis=second)


def pad(
    x: ArrayLike,
    pad_width: int | Sequence[Any],
    /,
    mode: str = "constant",
    *,
    constant_values: ArrayLike = 0,
) -> Value:
    """Put elements around an array.

    Args:
        x: Array.
        pad_width: How many elements: one number for all sides, ``(before, after)`` for all axes,
            or a pair for each axis. Static.
        mode: ``"constant"``, ``"edge"`` (the last element again), ``"reflect"`` (mirrored at the
            last element), ``"symmetric"`` (mirrored behind it) or ``"wrap"`` (from the other end).
        constant_values: The element, if ``mode`` is ``"constant"``.

    Raises:
        ShapeError: ``pad_width`` does not fit, is negative, or asks elements of an empty axis.
        ValueError: ``mode`` is another one.

    Differentiation: the cotangent of each element of ``x`` and of its copies is added.

    Example:
        >>> pb.pad(pb.asarray([1, 2, 3]), 1)
        Array([0, 1, 2, 3, 0], i32)
        >>> pb.pad(pb.asarray([1, 2, 3]), (2, 0), "reflect")
        Array([3, 2, 1, 2, 3], i32)
    """
    value = as_array(x)
    widths = _pad_widths(value, pad_width)
    if mode == "constant":
        fill = astype(constant_values, value.dtype)
        low, high = (tuple(w[i] for w in widths) for i in (0, 1))
        result: Value = Pad(low, high, (0,) * value.ndim)(value, fill)
        return result
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise ValueError(
            f"pad: mode {mode!r}; expected 'constant', 'edge', 'reflect', 'symmetric' or 'wrap'"
        )
    from pullback.ops.indexing import take

    for axis, (before, after) in enumerate(widths):
        n = value.shape[axis]
        if before or after:
            if n == 0:
                raise ShapeError(f"pad of {value.type} by mode {mode!r}: axis {axis} is empty")
            value = take(value, np.pad(np.arange(n, dtype=np.int32), (before, after), mode), axis)  # type: ignore[call-overload]
    return value


def _pad_widths(x: Value, pad_width: Any) -> list[tuple[int, int]]:
    try:
        widths = np.broadcast_to(np.asarray(pad_width, dtype=np.int64), (x.ndim, 2))
    except ValueError:
        raise ShapeError(
            f"pad of {x.type} by {pad_width}: expected a number, a pair, or a pair for each axis"
        ) from None
    if widths.size and widths.min() < 0:
        raise ShapeError(f"pad of {x.type} by {pad_width}: expected no negative width; slice first")
    return [(int(before), int(after)) for before, after in widths]
