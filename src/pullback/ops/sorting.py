"""The sorting chapter of the Array API standard, and ``top_k``.

Imports ``arguments``, ``indexing`` and ``primitives``. All sorts are stable; nan comes last in
ascending order and first in descending order, -0.0 equals 0.0.
"""

from __future__ import annotations

import operator

from pullback.errors import ShapeError
from pullback.ops.arguments import ArrayLike, as_array, normalize_axis
from pullback.ops.manipulation import reshape
from pullback.primitives.shape import Iota
from pullback.primitives.sort import Sort
from pullback.program.value import Value
from pullback.types import DEFAULT_INT

__all__ = ["argsort", "lexsort", "sort", "top_k"]


def sort(
    x: ArrayLike, /, axis: int | None = -1, *, descending: bool = False, stable: bool = True
) -> Value:
    """Elements in ascending order along an axis.

    Args:
        x: Array.
        axis: Along which axis; None to flatten ``x`` first. Static.
        descending: Whether the order is descending; equal elements keep their order.
        stable: Accepted for the standard; the order is always stable.

    Raises:
        ShapeError: ``axis`` is out of range.

    Differentiation: each cotangent goes back to where its element came from.
    Cost: linear in the size, a pass for each 8 bits or more of an element.

    Example:
        >>> pb.sort(pb.asarray([3.0, 1.0, 2.0]))
        Array([1., 2., 3.], f32)
    """
    value, place = _along("sort", x, axis)
    ordered: Value
    (ordered,) = Sort(place, 1, falling=descending)(value)
    return ordered


def argsort(
    x: ArrayLike, /, axis: int | None = -1, *, descending: bool = False, stable: bool = True
) -> Value:
    """Positions of the elements in ascending order along an axis.

    Args:
        x: Array.
        axis: Along which axis; None to flatten ``x`` first. Static.
        descending: Whether the order is descending; equal elements keep their order.
        stable: Accepted for the standard; the order is always stable.

    Returns:
        Array of int32 with the shape of ``x``.

    Raises:
        ShapeError: ``axis`` is out of range.

    Cost: linear in the size, a pass for each 8 bits or more of an element.

    Example:
        >>> pb.argsort(pb.asarray([3.0, 1.0, 2.0]))
        Array([1, 2, 0], i32)
    """
    value, place = _along("argsort", x, axis)
    return sort_with_positions(value, place, descending)[1]


def _along(name: str, x: ArrayLike, axis: int | None) -> tuple[Value, int]:
    value = as_array(x)
    if axis is None:
        return reshape(value, (value.size,)), 0
    return value, normalize_axis(name, axis, value.ndim)


def sort_with_positions(
    x: Value, axis: int, descending: bool, count: int | None = None
) -> tuple[Value, Value]:
    """Return elements in order along an axis, and the positions they came from.

    With ``count`` only so many, from the start.
    """
    positions: Value = Iota(x.shape, DEFAULT_INT, axis)()
    ordered, order = Sort(axis, 1, descending, count)(x, positions)
    return ordered, order


def lexsort(keys: tuple[ArrayLike, ...] | list[ArrayLike], /, axis: int = -1) -> Value:
    """Positions that sort by several keys, of which the last one counts most.

    Args:
        keys: Arrays of one shape.
        axis: Along which axis. Static.

    Raises:
        ShapeError: there is no key, shapes differ, or ``axis`` is out of range.

    Example:
        >>> pb.lexsort((pb.asarray([2, 1, 0]), pb.asarray([0, 1, 0])))
        Array([2, 0, 1], i32)
    """
    values = [as_array(key) for key in reversed(keys)]
    if not values:
        raise ShapeError("lexsort takes at least one key, got none")
    place = normalize_axis("lexsort", axis, values[0].ndim)
    positions = Iota(values[0].shape, DEFAULT_INT, place)()
    order: Value = Sort(place, len(values))(*values, positions)[-1]
    return order


def top_k(x: ArrayLike, k: int, /, *, axis: int = -1) -> tuple[Value, Value]:
    """The ``k`` largest elements along an axis, in descending order, and their positions.

    Of equal elements the first counts as larger; nan counts as largest.

    Args:
        x: Array ``[..., n, ...]``.
        k: How many, at most ``n``. Static.
        axis: The axis of length ``n``. Static.

    Returns:
        Arrays ``[..., k, ...]``: elements, and positions as int32.

    Raises:
        ShapeError: ``axis`` is out of range, or ``k`` is not in ``0 .. n``.

    Differentiation: each cotangent goes back to where its element came from.
    Cost: some walks over the array, and a sort of those elements that may be among the ``k``.

    Example:
        >>> pb.top_k(pb.asarray([3.0, 1.0, 2.0]), 2)
        (Array([3., 2.], f32), Array([0, 2], i32))
    """
    value, place = _along("top_k", x, axis)
    count, n = operator.index(k), value.shape[place]
    if not 0 <= count <= n:
        raise ShapeError(f"top_k of {value.type}: k is {count}; expected 0 <= k <= {n}")
    return sort_with_positions(value, place, True, count)
