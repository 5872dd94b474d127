"""Sums, products and functions of sparse arrays, element by element.

Imports ``entries``, ``duplicates`` and ``layout``. Start at ``map_values`` and ``multiply``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.ops.arguments import ArrayLike, as_array, as_operand
from pullback.ops.dtypes import astype as astype_
from pullback.ops.searching import searchsorted
from pullback.primitives import operators
from pullback.primitives.accumulate import accumulator
from pullback.primitives.indexing import Gather
from pullback.primitives.scatter import Scatter
from pullback.primitives.shape import Concatenate, Reshape
from pullback.program.value import Array, Value
from pullback.sparse.coo import COO, assemble, require_sparse
from pullback.sparse.duplicates import settled, sum_duplicates, unique, unique_booleans
from pullback.sparse.entries import (
    at_once,
    columns,
    inside,
    joined,
    lengths,
    numbers,
    ravel,
    rows,
    selected,
    with_dense_ndim,
)
from pullback.sparse.layout import broadcast_to, with_axes
from pullback.types import bool_, int32

Operation = Callable[[Any, Any], Value]


def map_values(f: Callable[[Value], Value], x: COO, /, *, linear: bool = False) -> COO:
    """``f`` of every element, for a function that maps 0 to 0: only what is stored is computed.

    Args:
        f: Takes the values, an array ``[nse, ...]``, to one of the same shape, element by element.
            That ``f(0)`` is 0 is not checked.
        x: Sparse array.
        linear: Whether ``f`` of a sum is the sum of ``f``: duplicates need not be summed then.

    Raises:
        ShapeError: ``f`` returns another shape.

    Example:
        >>> map_values(pb.square, COO([1.0, 2.0], [[1], [1]], (3,))).to_dense()
        Array([0., 9., 0.], f32)
    """
    require_sparse("map_values", x)
    x = x if linear else unique(x)
    values = as_array(f(x.values))
    if values.shape != x.values.shape:
        raise ShapeError(
            f"map_values: the function took {x.values.type} to {values.type}; expected the same "
            "shape, one value for each"
        )
    return x.with_values(values)


def negative(x: COO, /) -> COO:
    """``-x``.

    Example:
        >>> negative(COO([1.0], [[1]], (3,))).values
        Array([-1.], f32)
    """
    require_sparse("negative", x)
    return map_values(operators.negative, x, linear=True)


def abs(x: COO, /) -> COO:
    """Absolute values, after duplicates have been summed.

    Example:
        >>> abs(COO([1.0, -3.0], [[1], [1]], (3,))).values
        Array([2.], f32)
    """
    require_sparse("abs", x)
    return map_values(operators.abs_, x)


def astype(x: COO, dtype: Any, /) -> COO:
    """``x`` with elements of another dtype; converted after duplicates have been summed.

    Raises:
        DTypeError: ``dtype`` names no dtype that is supported.

    Example:
        >>> astype(COO([1.5], [[1]], (3,)), "int32").values
        Array([1], i32)
    """
    require_sparse("astype", x)
    return map_values(lambda values: astype_(values, dtype), x)


def add(x: Any, y: Any, /) -> COO | Value:
    """``x + y``.

    Args:
        x: Sparse array, or an array.
        y: Sparse array, or an array; one of the two is sparse. Shapes broadcast.

    Returns:
        Of two sparse arrays a sparse one, with the entries of both: at one place they are one
        entry if the indices are known, and two that mean their sum if they are traced. Of a sparse
        and a dense array an ``Array``.

    Raises:
        DTypeError: both are boolean; or one is a number, to which nothing sparse can be added.
        ShapeError: the shapes do not broadcast.

    Example:
        >>> add(COO([1.0], [[0]], (2,)), COO([2.0], [[0]], (2,))).values
        Array([3.], f32)
    """
    return _sum("add", x, y, operators.add)


def subtract(x: Any, y: Any, /) -> COO | Value:
    """``x - y``; otherwise as ``add``.

    Example:
        >>> subtract(COO([1.0], [[0]], (2,)), pb.ones(2))
        Array([ 0., -1.], f32)
    """
    return _sum("subtract", x, y, operators.subtract)


def _sum(name: str, x: Any, y: Any, operation: Operation) -> COO | Value:
    require_sparse(name, x, y)
    if isinstance(x, COO) and isinstance(y, COO):
        return _sum_of_sparse(name, x, y, operation)
    dense, sparse = (y, x) if isinstance(x, COO) else (x, y)
    other = as_operand(dense)
    if not getattr(other, "shape", ()):
        if isinstance(other, (int, float)) and other == 0:  # what `sum` of Python begins with
            return negative(sparse) if name == "subtract" and dense is x else sparse
        raise DTypeError(
            f"{name} of a sparse array {sparse.type} and a number has no zeros left: use "
            "`x.to_dense()`"
        )
    shape = _common_shape(name, sparse, other)
    whole = operators.broadcast_to(other, shape)
    dtype = operators.result_dtype(other, sparse.values)
    _refuse_booleans(name, sparse, dtype)
    sparse = broadcast_to(unique_booleans(sparse), shape)
    # As numbers of the result before they change their sign: an unsigned one has none.
    wide = accumulator(dtype)
    whole, values = operators.astype(whole, wide), operators.astype(sparse.values, wide)
    if name == "subtract" and dense is x:
        values = operators.negative(values)
    elif name == "subtract":
        whole = operators.negative(whole)
    axes = tuple(range(sparse.sparse_ndim))
    return operators.astype(Scatter(axes, 0, "add")(whole, sparse.indices, values), dtype)


def _refuse_booleans(name: str, x: COO, dtype: Any) -> None:
    if dtype == bool_:
        raise DTypeError(f"{name} of booleans, {x.type}, is not defined: cast with `x.astype(...)`")


def _common_shape(name: str, x: COO, y: Any) -> tuple[int, ...]:
    return operators.broadcast_shapes(x.shape, y.shape, given=f"{name}: {x.type} and {y.type}")


def _sum_of_sparse(name: str, x: COO, y: COO, operation: Operation) -> COO:
    shape = _common_shape(name, x, y)
    dtype = operators.result_dtype(x.values, y.values)
    _refuse_booleans(name, x, dtype)
    x, y = unique_booleans(x), unique_booleans(y)
    if x.shape == y.shape and _have_same_places(x, y):
        return x.with_values(operation(x.values, y.values))
    dense_ndim = min(x.dense_ndim, y.dense_ndim)
    x, y = (with_dense_ndim(broadcast_to(z, shape), dense_ndim) for z in (x, y))
    first, second = (operators.astype(z.values, dtype) for z in (x, y))
    if name == "subtract":
        second = operators.negative(second)
    values = Concatenate(0)(first, second)
    indices = at_once(Concatenate(0), x.indices, y.indices)
    return settled(assemble(values, indices, shape, False, False))


def _have_same_places(x: COO, y: COO) -> bool:
    """Whether two arrays are known to store the same places, entry by entry."""
    if x.indices is y.indices:
        return True
    if not (isinstance(x.indices, Array) and isinstance(y.indices, Array)):
        return False
    return np.array_equal(x.indices.data, y.indices.data)


def multiply(x: Any, y: Any, /) -> COO:
    """``x * y``: sparse if one of the two is.

    Args:
        x: Sparse array, array or number.
        y: Sparse array, array or number; one of the two is sparse. Shapes broadcast.

    Returns:
        The places of the sparse array; of two, the places that both have. Where nothing is
        stored there is 0, also beside inf and nan.

    Raises:
        ShapeError: the shapes do not broadcast.

    Differentiation: with respect to the values and to the array.
    Cost: an element of the array for each entry; of two sparse arrays a sort, and a binary search
    for each entry of one.

    Example:
        >>> multiply(COO([1.0, 2.0], [[0], [2]], (3,)), pb.asarray([5.0, 6.0, 7.0])).to_dense()
        Array([ 5.,  0., 14.], f32)
    """
    require_sparse("multiply", x, y)
    if isinstance(x, COO) and isinstance(y, COO):
        return _intersection(x, y)
    if isinstance(x, COO):
        return _scale("multiply", x, y, operators.multiply)
    return _scale("multiply", y, x, lambda values, factor: operators.multiply(factor, values))


def divide(x: Any, y: Any, /) -> COO:
    """``x / y`` for a sparse array and an array or number. Where nothing is stored there is 0.

    Raises:
        DTypeError: ``y`` is sparse: it would divide by zeros.
        ShapeError: the shapes do not broadcast.

    Example:
        >>> divide(COO([1.0, 2.0], [[0], [2]], (3,)), 4.0).values
        Array([0.25, 0.5 ], f32)
    """
    if isinstance(y, COO):
        raise DTypeError(
            f"divide by a sparse array {y.type}: where it stores nothing it is 0. Divide by "
            "`y.to_dense()`, or divide the values"
        )
    require_sparse("divide", x)
    return _scale("divide", x, y, operators.divide)


def power(x: COO, exponent: int | float, /) -> COO:
    """``x ** exponent`` for a positive number, so that 0 stays 0.

    Raises:
        DTypeError: ``exponent`` is no positive number.

    Example:
        >>> power(COO([3.0], [[1]], (3,)), 2).values
        Array([9.], f32)
    """
    require_sparse("power", x)
    if not isinstance(exponent, (int, float)) or not exponent > 0:
        what = f"{exponent!r}" if isinstance(exponent, (int, float)) else type(exponent).__name__
        raise DTypeError(
            f"power of a sparse array {x.type} with exponent {what}; expected a Python number "
            "above 0, so that 0 stays 0: use `x.to_dense()`"
        )
    return map_values(lambda values: operators.power(values, exponent), x)


def _scale(name: str, x: COO, other: ArrayLike, operation: Operation) -> COO:
    """``x`` with its values combined with the elements of a dense array at their places."""
    factor = as_operand(other) if not isinstance(other, (list, tuple)) else as_array(other)
    x = unique_booleans(x)
    if not getattr(factor, "shape", ()):
        return x.with_values(operation(x.values, factor))
    x = broadcast_to(x, _common_shape(name, x, factor))
    return x.with_values(operation(x.values, _elements(factor, x)))


def _elements(dense: Value, x: COO) -> Value:
    """Elements ``[nse, ...]`` of ``dense``, broadcast to the shape of ``x``, at its places."""
    split = x.sparse_ndim
    shape = (1,) * (x.ndim - dense.ndim) + dense.shape
    axes = [a for a in range(split) if shape[a] != 1]
    kept = (*(shape[a] for a in axes), *shape[split:])
    if kept != dense.shape:
        dense = Reshape(kept)(dense)
    if not axes:
        one: Value = Reshape((1, *kept))(dense)
        return operators.broadcast_to(one, (x.nse, *kept))
    parts = columns(x)
    indices = joined([parts[a] for a in axes], x.nse)
    mode = "fill" if 0 in kept[: len(axes)] else "clip"
    found: Value = Gather(tuple(range(len(axes))), 0, mode)(dense, indices)
    return found


def _intersection(x: COO, y: COO) -> COO:
    """The product of two sparse arrays: entries of the one, looked up among those of the other."""
    shape = _common_shape("multiply", x, y)
    is_swapped = x.shape != shape and y.shape == shape
    if is_swapped:
        x, y = y, x
    # A product is linear in `x`: its duplicates may stay.
    x = broadcast_to(unique_booleans(x), shape)
    y = with_axes(y, [*[None] * (len(shape) - y.ndim), *range(y.ndim)])
    dense_ndim = min(x.dense_ndim, y.dense_ndim)
    x = with_dense_ndim(x, dense_ndim)
    y = sum_duplicates(with_dense_ndim(y, dense_ndim))
    position, found = _looked_up(x, y)
    factor = rows(y.values, position)
    first, second = (factor, x.values) if is_swapped else (x.values, factor)
    return selected(x.with_values(operators.multiply(first, second)), found)


def _looked_up(x: COO, y: COO) -> tuple[Value, Value]:
    """For each entry of ``x`` which entry of ``y``, sorted, has its place, and whether one has."""
    where = inside(x)
    parts = [
        part if n == m else Array(np.zeros(x.nse, int32))
        for part, n, m in zip(columns(x), lengths(x), lengths(y), strict=True)
    ]
    wanted = ravel(parts, lengths(y), where)

    def find(present: Value, wanted: Value, where: Value) -> tuple[Value, Value]:
        if isinstance(present, Array) and isinstance(wanted, Array):
            at = np.searchsorted(present.data, wanted.data)
            position: Value = Array(at.astype(int32))
        else:
            position = searchsorted(present, wanted)
        has = operators.less(position, y.nse) & operators.equal(rows(present, position), wanted)
        return position, has & where

    found: tuple[Value, Value] = at_once(find, numbers(y), wanted, where)
    return found
