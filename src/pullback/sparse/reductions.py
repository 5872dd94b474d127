"""Sums and means of sparse arrays.

Imports ``entries`` and ``duplicates``. Start at ``sum``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.ops import statistical
from pullback.ops.arguments import Axis, normalize_axes
from pullback.primitives import operators
from pullback.primitives.accumulate import accumulator
from pullback.program.value import Array, Value
from pullback.sparse.coo import COO, assemble, require_sparse
from pullback.sparse.duplicates import settled, unique
from pullback.sparse.entries import choose, columns, inside, joined, kept_values
from pullback.types import DEFAULT_FLOAT, FLOATING, bool_, int32


def sum(x: COO, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> COO | Value:
    """Sum of the elements.

    Args:
        x: Sparse array.
        axis: Along which axis or axes; None for all. Static.
        dtype: The dtype to sum in; None for that of ``x``, but at least 32 bits for integers.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        A sparse array without the axes; an ``Array`` if no axis that is sparse is left but those
        that ``keepdims`` keeps.

    Raises:
        ShapeError: ``axis`` is out of range.

    Differentiation: every value gets the cotangent of its sum.

    Example:
        >>> sum(COO([1.0, 2.0], [[0, 2], [1, 0]], (2, 3)))
        Array(3., f32)
        >>> sum(COO([1.0, 2.0], [[0, 2], [1, 2]], (2, 3)), axis=0).to_dense()
        Array([0., 0., 3.], f32)
    """
    require_sparse("sum", x)
    axes = normalize_axes("sum", axis, x.ndim)
    if x.dtype == bool_:
        x = unique(x)  # two entries at one place are one element, and count once
    split = x.sparse_ndim
    along = tuple(a - split + 1 for a in axes if a >= split)
    if all(a in axes for a in range(split)):
        summed = statistical.sum(kept_values(x), axis=(0, *along), dtype=dtype)
        shape = tuple(n for a, n in enumerate(x.shape) if a not in axes)
        if keepdims:
            shape = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
        return summed if summed.shape == shape else summed.reshape(shape)
    values = statistical.sum(x.values, axis=along, dtype=dtype, keepdims=keepdims)
    if not any(a < split for a in axes):
        return x.with_values(values)
    return settled(_without(x.with_values(values), [a for a in axes if a < split], keepdims))


def _without(x: COO, axes: list[int], keepdims: bool) -> COO:
    """``x`` with the indices along sparse ``axes`` forgotten."""
    where = inside(x)
    parts, shape = [], []
    for axis, part in enumerate(columns(x)):
        if axis not in axes:
            parts.append(choose(where, part, x.shape[axis]))
            shape.append(x.shape[axis])
        elif keepdims:
            parts.append(choose(where, Array(np.zeros(x.nse, int32)), 1))
            shape.append(1)
    return assemble(
        x.values, joined(parts, x.nse), (*shape, *x.shape[x.sparse_ndim :]), False, False
    )


def mean(x: COO, /, axis: Axis = None, *, keepdims: bool = False) -> COO | Value:
    """Mean of all elements, those that are not stored included.

    Args:
        x: Sparse array; integers and booleans become float32.
        axis: Along which axis or axes; None for all. Static.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        As ``sum``; nan along an axis without elements, where it is dense.

    Raises:
        ShapeError: ``axis`` is out of range.

    Example:
        >>> mean(COO([1.0, 2.0], [[0, 2], [1, 0]], (2, 3)))
        Array(0.5, f32)
    """
    require_sparse("mean", x)
    axes = normalize_axes("mean", axis, x.ndim)
    if x.dtype == bool_:
        x = unique(x)
    dtype = x.dtype if x.dtype in FLOATING else DEFAULT_FLOAT
    count = math.prod(x.shape[a] for a in axes)
    total = sum(x, axes, dtype=accumulator(dtype), keepdims=keepdims)
    if isinstance(total, COO):
        return total.with_values(operators.astype(operators.divide(total.values, count), dtype))
    return operators.astype(operators.divide(total, count), dtype)
