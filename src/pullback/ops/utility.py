"""The utility chapter of the Array API standard, and comparisons with a tolerance.

Imports ``arguments``, ``statistical`` and ``primitives``.
"""

from __future__ import annotations

from pullback.errors import ShapeError
from pullback.ops.arguments import (
    ArrayLike,
    Axis,
    as_array,
    as_operand,
    concrete,
    normalize_axes,
    normalize_axis,
    require_dtype,
)
from pullback.ops.creation import zeros
from pullback.ops.dtypes import astype
from pullback.ops.manipulation import concat, reshape, slice_along
from pullback.ops.statistical import keep_axes
from pullback.primitives import operators
from pullback.primitives.comparison import IsFinite
from pullback.primitives.reduce import ReduceAnd, ReduceOr
from pullback.primitives.scatter import Scatter
from pullback.program.value import Value
from pullback.types import DEFAULT_INT, INTEGER, bool_

__all__ = [
    "all",
    "allclose",
    "any",
    "array_equal",
    "bincount",
    "diff",
    "isclose",
    "ndim",
    "shape",
    "size",
]


def all(x: ArrayLike, /, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Whether all elements are true; numbers are true if not zero.

    Args:
        x: Array.
        axis: Along which axis or axes; None for all. Static.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        Array of booleans without the axes; of no elements true.

    Raises:
        ShapeError: ``axis`` is out of range.

    Example:
        >>> pb.all(pb.asarray([True, False]))
        Array(False, bool)
    """
    value = astype(x, bool_)
    axes = normalize_axes("all", axis, value.ndim)
    return keep_axes(ReduceAnd(axes)(value) if axes else value, value, axes, keepdims)


def any(x: ArrayLike, /, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Whether one element is true; numbers are true if not zero.

    Args:
        x: Array.
        axis: Along which axis or axes; None for all. Static.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        Array of booleans without the axes; of no elements false.

    Raises:
        ShapeError: ``axis`` is out of range.

    Example:
        >>> pb.any(pb.asarray([True, False]))
        Array(True, bool)
    """
    value = astype(x, bool_)
    axes = normalize_axes("any", axis, value.ndim)
    return keep_axes(ReduceOr(axes)(value) if axes else value, value, axes, keepdims)


def diff(
    x: ArrayLike,
    /,
    axis: int = -1,
    n: int = 1,
    *,
    prepend: ArrayLike | None = None,
    append: ArrayLike | None = None,
) -> Value:
    """Differences of neighbours along an axis; of booleans, whether they differ.

    Args:
        x: Array ``[..., m, ...]``.
        axis: The axis of length ``m``. Static.
        n: How many times to take differences. Static.
        prepend: What comes before ``x`` along ``axis``; a number counts as one element.
        append: What comes behind ``x`` along ``axis``.

    Returns:
        Array ``[..., m - n, ...]``, longer by what comes before and behind.

    Raises:
        ShapeError: ``axis`` is out of range, ``n`` is negative, or ``x`` has no axis.

    Example:
        >>> pb.diff(pb.asarray([1, 4, 9]))
        Array([3, 5], i32)
    """
    value = as_array(x)
    place = normalize_axis("diff", axis, value.ndim)
    if n < 0:
        raise ShapeError(f"diff: n is {n}; expected at least 0")
    if n == 0:
        return value
    parts = [_edge(prepend, value, place), value, _edge(append, value, place)]
    value = concat([part for part in parts if part is not None], axis=place)
    for _ in range(n):
        m = value.shape[place]
        before = slice_along(value, place, 0, max(m - 1, 0))
        after = slice_along(value, place, min(1, m), m)
        unequal = value.dtype == bool_
        value = (operators.not_equal if unequal else operators.subtract)(after, before)
    return value


def _edge(edge: ArrayLike | None, x: Value, axis: int) -> Value | None:
    if edge is None:
        return None
    value = as_array(edge)
    if value.ndim:
        return value
    return operators.broadcast_to(value, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))


def isclose(
    x1: ArrayLike,
    x2: ArrayLike,
    /,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    *,
    equal_nan: bool = False,
) -> Value:
    """Whether ``abs(x1 - x2) <= atol + rtol * abs(x2)``; infinities are close to their equals.

    Args:
        x1: Array.
        x2: Array.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        equal_nan: Whether nan is close to nan.

    Raises:
        ShapeError: the shapes do not broadcast.

    Example:
        >>> pb.isclose(pb.asarray([1.0, 2.0]), pb.asarray([1.0, 2.1]))
        Array([ True, False], bool)
    """
    x, y = operators.promote_operands(as_operand(x1), as_operand(x2), floating=True)
    error = operators.abs_(operators.subtract(x, y))
    bound = operators.add(atol, operators.multiply(operators.abs_(y), rtol))
    near = operators.bitwise_and(operators.less_equal(error, bound), IsFinite()(y))
    result = operators.bitwise_or(near, operators.equal(x, y))
    if not equal_nan:
        return result
    both = operators.bitwise_and(operators.not_equal(x, x), operators.not_equal(y, y))
    return operators.bitwise_or(result, both)


def allclose(
    x1: ArrayLike,
    x2: ArrayLike,
    /,
    rtol: float = 1e-5,
    atol: float = 1e-8,
    *,
    equal_nan: bool = False,
) -> Value:
    """Whether all elements are close in the sense of ``isclose``.

    Example:
        >>> pb.allclose(pb.asarray([1.0, 2.0]), pb.asarray([1.0, 2.0]))
        Array(True, bool)
    """
    return all(isclose(x1, x2, rtol, atol, equal_nan=equal_nan))


def array_equal(x1: ArrayLike, x2: ArrayLike, /, *, equal_nan: bool = False) -> Value:
    """Whether two arrays have the same shape and equal elements.

    Example:
        >>> pb.array_equal(pb.asarray([1, 2]), pb.asarray([1, 2]))
        Array(True, bool)
    """
    x, y = as_array(x1), as_array(x2)
    if x.shape != y.shape:
        return as_array(False)
    same = operators.equal(x, y)
    if equal_nan:
        both = operators.bitwise_and(operators.not_equal(x, x), operators.not_equal(y, y))
        same = operators.bitwise_or(same, both)
    return all(same)


def bincount(
    x: ArrayLike,
    /,
    weights: ArrayLike | None = None,
    minlength: int = 0,
    *,
    length: int | None = None,
) -> Value:
    """How often each of the numbers 0, 1, 2, … occurs, or the sum of the weights where it does.

    Args:
        x: Array of integers ``[n]``.
        weights: Array ``[n]``; None for ones.
        minlength: Least length of the result. Static.
        length: Length of the result; needed if ``x`` is traced. Numbers outside are left out.

    Returns:
        Array ``[max(x) + 1]``, or of the lengths given; int32, or the dtype of ``weights``.

    Raises:
        DTypeError: ``x`` is not of integers.
        ShapeError: ``x`` is not a vector, or ``weights`` differ in shape.
        TracerArrayError: ``x`` is traced and ``length`` is not given.
        ValueError: a known number is negative.

    Differentiation: each weight gets the cotangent of its sum.

    Example:
        >>> pb.bincount(pb.asarray([0, 2, 2]))
        Array([1, 0, 2], i32)
    """
    value = as_array(x)
    require_dtype("bincount", value, INTEGER)
    if value.ndim != 1:
        raise ShapeError(f"bincount takes a vector [n], not {value.type}; flatten it with `ravel`")
    amounts = None if weights is None else as_array(weights)
    if amounts is not None and amounts.shape != value.shape:
        raise ShapeError(f"bincount of {value.type}: weights {amounts.type} differ in shape")
    if length is None:
        data = concrete("bincount", value, "Pass `length`.")
        if data.size and data.min() < 0:
            raise ValueError(f"bincount: {data.min()} is negative; expected numbers of at least 0")
        length = max(int(data.max()) + 1 if data.size else 0, minlength)
    if amounts is None:
        amounts = operators.broadcast_to(astype(1, DEFAULT_INT), value.shape)
    places = value
    start = zeros(length, dtype=amounts.dtype)
    counts: Value = Scatter((0,), 0, "add")(start, reshape(places, (value.size, 1)), amounts)
    return counts


def shape(x: ArrayLike, /) -> tuple[int, ...]:
    """Lengths of the axes.

    Example:
        >>> pb.shape(pb.zeros((2, 3)))
        (2, 3)
    """
    return as_array(x).shape


def ndim(x: ArrayLike, /) -> int:
    """Number of axes.

    Example:
        >>> pb.ndim(pb.zeros((2, 3)))
        2
    """
    return as_array(x).ndim


def size(x: ArrayLike, /) -> int:
    """Number of elements.

    Example:
        >>> pb.size(pb.zeros((2, 3)))
        6
    """
    return as_array(x).size
