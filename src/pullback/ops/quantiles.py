"""Median and quantiles, by sorting.

Imports ``statistical``, ``sorting`` and ``indexing``. Start at ``quantile``.
"""

from __future__ import annotations

import math

from pullback.errors import ShapeError
from pullback.ops.arguments import (
    ArrayLike,
    Axis,
    as_array,
    as_floating,
    as_operand,
    normalize_axes,
)
from pullback.ops.dtypes import astype
from pullback.ops.indexing import take
from pullback.ops.manipulation import expand_dims, moveaxis, permute_dims, reshape
from pullback.ops.sorting import sort
from pullback.primitives import operators
from pullback.primitives.elementwise import Floor
from pullback.program.value import Value
from pullback.types import DEFAULT_FLOAT, DEFAULT_INT, bfloat16, float16

__all__ = ["median", "percentile", "quantile"]


def quantile(x: ArrayLike, q: ArrayLike, /, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """The value below which a share ``q`` of the elements lies, interpolated linearly.

    Args:
        x: Array, with at least one element along ``axis``.
        q: Share or shares in 0 .. 1, ``[]`` or ``[k]``.
        axis: Along which axis or axes; None for all. Static.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        Array without the axes, with the axis of ``q`` first; nan where an element is nan.

    Raises:
        ShapeError: ``axis`` is out of range, there is no element, or ``q`` has several axes.

    Differentiation: to the two elements around the place, by their weights.
    Cost: a sort.

    Example:
        >>> pb.quantile(pb.asarray([1.0, 2.0, 3.0, 4.0]), 0.5)
        Array(2.5, f32)
    """
    value = as_floating(x)
    share = as_operand(q)
    axes = normalize_axes("quantile", axis, value.ndim)
    if as_array(share).ndim > 1:
        raise ShapeError(f"quantile: shares {share.type}; expected a number or a vector")
    kept = tuple(i for i in range(value.ndim) if i not in axes)
    count = math.prod(value.shape[i] for i in axes)
    if count == 0:
        raise ShapeError(f"quantile of {value.type}: there is no element along {axes}")
    flat = reshape(permute_dims(value, (*kept, *axes)), (*(value.shape[i] for i in kept), count))
    wide = astype(flat, DEFAULT_FLOAT) if flat.dtype in (float16, bfloat16) else flat
    share = operators.astype(share, wide.dtype)
    found = _interpolated(sort(wide), share)
    if keepdims:
        for i in sorted(axes):
            found = expand_dims(found, i + share.ndim)
    return astype(found, value.dtype)


def _interpolated(ordered: Value, share: Value) -> Value:
    last = ordered.shape[-1] - 1
    place = operators.multiply(share, float(last))
    below: Value = Floor()(place)
    weight = operators.subtract(place, below)
    low = astype(below, DEFAULT_INT)
    high = operators.minimum(operators.add(low, 1), last)
    first = take(ordered, low, axis=-1, mode="clip")
    second = take(ordered, high, axis=-1, mode="clip")
    # An infinite neighbour of weight 0 must not make a nan.
    step = operators.where(
        operators.equal(weight, 0), 0, operators.multiply(operators.subtract(second, first), weight)
    )
    highest = take(ordered, last, axis=-1)
    has_nan = operators.not_equal(highest, highest)
    if share.ndim:
        has_nan = expand_dims(has_nan, -1)
    found = operators.where(has_nan, float("nan"), operators.add(first, step))
    return moveaxis(found, -1, 0) if share.ndim else found


def percentile(
    x: ArrayLike, q: ArrayLike, /, axis: Axis = None, *, keepdims: bool = False
) -> Value:
    """The quantile of ``q`` hundredths.

    Example:
        >>> pb.percentile(pb.asarray([1.0, 2.0, 3.0]), 50)
        Array(2., f32)
    """
    share = as_operand(q)
    if operators.is_python_scalar(share):
        return quantile(x, share / 100, axis, keepdims=keepdims)
    return quantile(x, operators.divide(share, 100.0), axis, keepdims=keepdims)


def median(x: ArrayLike, /, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """The middle element in ascending order, or the mean of the two middle ones.

    Args:
        x: Array, with at least one element along ``axis``.
        axis: Along which axis or axes; None for all. Static.
        keepdims: Whether these axes stay, with length 1.

    Raises:
        ShapeError: ``axis`` is out of range, or there is no element.

    Differentiation: to the middle elements.
    Cost: a sort.

    Example:
        >>> pb.median(pb.asarray([1.0, 5.0, 2.0]))
        Array(2., f32)
    """
    return quantile(x, 0.5, axis, keepdims=keepdims)
