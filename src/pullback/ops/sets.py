"""The set chapter of the Array API standard: distinct elements.

Imports ``arguments``, ``searching``, ``sorting`` and ``primitives``. Inside a traced function the
number of distinct elements must be given as ``size``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from pullback.ops.arguments import ArrayLike, as_array, as_operand, concrete
from pullback.ops.creation import full, ones, zeros
from pullback.ops.dtypes import astype
from pullback.ops.indexing import take
from pullback.ops.manipulation import concat, reshape, slice_along
from pullback.ops.searching import first_positions, searchsorted
from pullback.ops.sorting import sort, sort_with_positions
from pullback.primitives import operators
from pullback.primitives.cast import NARROW
from pullback.primitives.cumulative import CumSum
from pullback.primitives.scatter import Scatter
from pullback.program.value import Array, Value
from pullback.types import DEFAULT_INT, bool_

__all__ = ["isin", "unique", "unique_all", "unique_counts", "unique_inverse", "unique_values"]

_SIZE = "Pass `size`, the number of distinct elements to return."


class UniqueAll(NamedTuple):
    """Distinct elements, their first positions, where they went, and how many there were."""

    values: Value
    indices: Value
    inverse_indices: Value
    counts: Value


class UniqueCounts(NamedTuple):
    """Distinct elements, and how many there were of each."""

    values: Value
    counts: Value


class UniqueInverse(NamedTuple):
    """Distinct elements, and for each element of the array the position of its equal."""

    values: Value
    inverse_indices: Value


def unique_all(
    x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None
) -> UniqueAll:
    """Distinct elements in ascending order, with positions and counts. Every nan is distinct.

    Args:
        x: Array of any shape.
        size: How many to return; needed if ``x`` is traced. What is more is cut off. Static.
        fill_value: What is returned for missing ones; None for the least element.

    Returns:
        ``values`` ``[k]``; ``indices`` ``[k]``, their first positions in the flattened ``x``;
        ``inverse_indices`` of the shape of ``x``, positions in ``values``; ``counts`` ``[k]``.
        Positions and counts are int32.

    Raises:
        TracerArrayError: ``x`` is traced and ``size`` is not given.

    Cost: a sort.

    Example:
        >>> pb.unique_all(pb.asarray([2, 1, 2])).counts
        Array([1, 2], i32)
    """
    value = as_array(x)
    if size is not None:
        return _sized(value, size, fill_value)
    data = concrete("unique_all", value, _SIZE)
    # NumPy's order of ml_dtypes' floats does not put nan last; that of float32 does.
    values, *found = np.unique(
        data.astype(np.float32) if value.dtype in NARROW else data,
        return_index=True,
        return_inverse=True,
        return_counts=True,
        equal_nan=False,
    )
    indices, inverse, counts = (Array(a.astype(DEFAULT_INT)) for a in found)
    distinct = Array(values.astype(data.dtype, copy=False))
    return UniqueAll(distinct, indices, reshape(inverse, value.shape), counts)


def _sized(x: Value, size: int, fill_value: ArrayLike | None) -> UniqueAll:
    if x.size == 0:
        nothing = zeros(size, dtype=DEFAULT_INT)
        fill = full(size, 0 if fill_value is None else fill_value, dtype=x.dtype)
        return UniqueAll(fill, nothing, zeros(x.shape, dtype=DEFAULT_INT), nothing)
    flat = reshape(x, (x.size,))
    ordered, origin = sort_with_positions(flat, 0, False)
    before, after = slice_along(ordered, 0, 0, x.size - 1), slice_along(ordered, 0, 1, x.size)
    is_new = concat([ones(1, dtype=bool_), operators.not_equal(before, after)])
    firsts, found = first_positions(is_new, size)
    missing = take(ordered, 0) if fill_value is None else operators.astype(fill_value, x.dtype)
    values = operators.where(found, take(ordered, firsts, mode="clip"), missing)
    indices = operators.where(found, take(origin, firsts, mode="clip"), 0)
    rank: Value = CumSum(0, False)(astype(is_new, DEFAULT_INT)) - 1
    start = zeros(x.size, dtype=DEFAULT_INT)
    inverse = Scatter((0,), 0, "set")(start, reshape(origin, (x.size, 1)), rank)
    nothing = zeros(size, dtype=DEFAULT_INT)
    one = ones(x.size, dtype=DEFAULT_INT)
    counts = Scatter((0,), 0, "add")(nothing, reshape(rank, (x.size, 1)), one)
    return UniqueAll(values, indices, reshape(inverse, x.shape), counts)


def unique_counts(
    x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None
) -> UniqueCounts:
    """Distinct elements in ascending order, and how many there are of each.

    Args:
        x: Array of any shape.
        size: As for ``unique_all``.
        fill_value: As for ``unique_all``.

    Raises:
        TracerArrayError: ``x`` is traced and ``size`` is not given.

    Example:
        >>> pb.unique_counts(pb.asarray([2, 1, 2])).counts
        Array([1, 2], i32)
    """
    found = unique_all(x, size=size, fill_value=fill_value)
    return UniqueCounts(found.values, found.counts)


def unique_inverse(
    x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None
) -> UniqueInverse:
    """Distinct elements in ascending order, and the position of each element among them.

    Args:
        x: Array of any shape.
        size: As for ``unique_all``.
        fill_value: As for ``unique_all``.

    Raises:
        TracerArrayError: ``x`` is traced and ``size`` is not given.

    Example:
        >>> pb.unique_inverse(pb.asarray([2, 1, 2])).inverse_indices
        Array([1, 0, 1], i32)
    """
    found = unique_all(x, size=size, fill_value=fill_value)
    return UniqueInverse(found.values, found.inverse_indices)


def unique_values(
    x: ArrayLike, /, *, size: int | None = None, fill_value: ArrayLike | None = None
) -> Value:
    """Distinct elements in ascending order.

    Args:
        x: Array of any shape.
        size: As for ``unique_all``.
        fill_value: As for ``unique_all``.

    Raises:
        TracerArrayError: ``x`` is traced and ``size`` is not given.

    Example:
        >>> pb.unique_values(pb.asarray([2, 1, 2]))
        Array([1, 2], i32)
    """
    return unique_all(x, size=size, fill_value=fill_value).values


def unique(
    x: ArrayLike,
    /,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    *,
    size: int | None = None,
    fill_value: ArrayLike | None = None,
) -> Value | tuple[Value, ...]:
    """NumPy's ``unique``: distinct elements, and what else is asked for. Every nan is distinct.

    Args:
        x: Array of any shape.
        return_index: Whether to return first positions.
        return_inverse: Whether to return the position of each element among the distinct ones.
        return_counts: Whether to return how many there are of each.
        size: As for ``unique_all``.
        fill_value: As for ``unique_all``.

    Raises:
        TracerArrayError: ``x`` is traced and ``size`` is not given.

    Example:
        >>> pb.unique(pb.asarray([2, 1, 2]), return_counts=True)
        (Array([1, 2], i32), Array([1, 2], i32))
    """
    found = unique_all(x, size=size, fill_value=fill_value)
    wanted = (True, return_index, return_inverse, return_counts)
    results = tuple(part for part, is_wanted in zip(found, wanted, strict=True) if is_wanted)
    return results if len(results) > 1 else found.values


def isin(x1: ArrayLike, x2: ArrayLike, /, *, invert: bool = False) -> Value:
    """Whether each element of ``x1`` is among those of ``x2``; nan is not.

    Args:
        x1: Array.
        x2: Array of any shape.
        invert: Whether to return the opposite.

    Returns:
        Array of booleans with the shape of ``x1``.

    Example:
        >>> pb.isin(pb.asarray([1, 2, 3]), pb.asarray([3, 1]))
        Array([ True, False,  True], bool)
    """
    value, others = operators.promote_operands(as_operand(x1), as_operand(x2))
    if others.size == 0:
        return full(value.shape, invert)
    if value.dtype == bool_:
        value, others = astype(value, DEFAULT_INT), astype(others, DEFAULT_INT)
    ordered = sort(others, axis=None)
    places = searchsorted(ordered, value)
    found = operators.equal(take(ordered, places, mode="clip"), value)
    return operators.bitwise_invert(found) if invert else found
