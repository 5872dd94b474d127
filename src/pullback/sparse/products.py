"""Matrix products of sparse arrays.

Imports ``entries``, ``duplicates`` and ``layout``. Start at ``matmul``.
"""

from __future__ import annotations

import math
from typing import Any

from pullback.errors import DTypeError, ShapeError
from pullback.ops import linear_algebra, manipulation
from pullback.ops.arguments import as_array
from pullback.primitives import operators
from pullback.primitives.accumulate import accumulator
from pullback.primitives.indexing import Gather
from pullback.primitives.shape import Reshape
from pullback.program.value import Value
from pullback.sparse.conversions import to_dense
from pullback.sparse.coo import COO, assemble, require_sparse
from pullback.sparse.duplicates import sum_duplicates, unique_booleans
from pullback.sparse.entries import (
    add_at,
    choose,
    columns,
    inside,
    joined,
    kept_values,
    ravel,
    rows,
    rows_at_once,
    with_dense_ndim,
)
from pullback.sparse.layout import broadcast_to, squeeze, swap_last, with_axes
from pullback.sparse.matches import match
from pullback.types import DType, bool_


def matmul(x: Any, y: Any, /, *, nse: int | None = None) -> COO | Value:
    """Matrix product with at least one sparse operand.

    Args:
        x: Sparse array or array ``[..., m, k]``, or a vector ``[k]``.
        y: Sparse array or array ``[..., k, n]``, or a vector ``[k]``; leading axes broadcast.
        nse: How many entries a sparse product stores, as in ``sum_duplicates``. Static.

    Returns:
        An ``Array`` if one operand is; of two sparse operands a sparse array with one entry a
        place, or an ``Array`` without axes of two vectors.

    Raises:
        DTypeError: both are boolean.
        ShapeError: the lengths ``k`` differ, leading axes do not broadcast, or an operand has no
            axes.

    Differentiation: with respect to the values that are stored, and to the array.
    Cost: ``2 n`` flops for each entry beside an array. Of two sparse operands: a sort, and 2 flops
    for each pair of entries that meet; with traced indices for each entry of ``x`` beside each that
    a row of ``y`` can have, so that these are better left to small arrays. Sums of 16-bit floats
    are kept in float32.

    Example:
        >>> matmul(COO([1.0, 2.0], [[0, 2], [1, 0]], (2, 3)), pb.ones((3, 2)))
        Array([[1., 1.],
               [2., 2.]], f32)
    """
    require_sparse("matmul", x, y)
    x, y = (unique_booleans(z) if isinstance(z, COO) else as_array(z) for z in (x, y))
    dtype = _check(x, y)
    if isinstance(x, COO) and isinstance(y, COO):
        return _sparse_by_sparse(x, y, dtype, nse)
    if isinstance(x, COO):
        return _sparse_by_dense(x, y, dtype)
    return _dense_by_sparse(x, y, dtype)


def _check(x: Any, y: Any) -> DType:
    """The dtype of a product that is defined."""
    if not x.ndim or not y.ndim:
        raise ShapeError(f"matmul of {x.type} and {y.type}: expected axes; multiply by `*`")
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ShapeError(
            f"matmul of {x.type} and {y.type}: the last axis of the first, of length "
            f"{x.shape[-1]}, must be as long as the {'second last' if y.ndim > 1 else 'only'} one "
            "of the second; transpose one of them with `.mT`"
        )
    operators.broadcast_shapes(x.shape[:-2], y.shape[:-2], given=f"matmul: {x.type} and {y.type}")
    first, second = (z.values if isinstance(z, COO) else z for z in (x, y))
    dtype = operators.result_dtype(first, second)
    if dtype == bool_:
        raise DTypeError(
            f"matmul of {x.type} and {y.type} is not defined: cast with `x.astype('int32')`"
        )
    return dtype


def _sparse_by_dense(x: COO, y: Value, dtype: DType) -> Value:
    if y.ndim == 1:
        column: Value = Reshape((*y.shape, 1))(y)
        return manipulation.squeeze(_sparse_by_dense(x, column, dtype), -1)
    if x.ndim == 1:
        return manipulation.squeeze(_sparse_by_dense(with_axes(x, [None, 0]), y, dtype), -2)
    if x.dense_ndim == 1 and y.ndim == 2:
        products = linear_algebra.matmul(x.values, y)
        shape = (*x.shape[:-1], y.shape[-1])
        return add_at(shape, range(x.sparse_ndim), x.indices, products, dtype)
    return _add_rows(with_dense_ndim(x, 0), y, dtype)


def _add_rows(x: COO, y: Value, dtype: DType) -> Value:
    """Each entry of ``x`` times a row of ``y``, added to a row of the result.

    Along a leading axis that ``x`` has, an entry has its place; along one that ``y`` alone has, or
    has longer, an entry meets all of them at once.
    """
    lead = operators.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x = with_axes(x, [*[None] * (len(lead) + 2 - x.ndim), *range(x.ndim)])
    y_shape = (*(1,) * (len(lead) + 2 - y.ndim), *y.shape)
    placed = [a for a, n in enumerate(lead) if x.shape[a] == n]
    read = [a for a in placed if y_shape[a] == lead[a]]
    parts, where = columns(x), inside(x)

    # Where entries have a place and all of them meet the same row, `y` needs no axis.
    kept = [a for a in range(len(y_shape)) if a not in placed or a in read]
    rows_of: Value = manipulation.reshape(y, tuple(y_shape[a] for a in kept))
    axes = tuple(kept.index(a) for a in (*read, len(lead)))
    indices = joined([*(parts[a] for a in read), parts[-1]], x.nse)
    mode = "fill" if 0 in (rows_of.shape[a] for a in axes) else "clip"
    found = Gather(axes, 0, mode)(rows_of, indices)
    factor = Reshape((x.nse, *(1,) * (found.ndim - 1)))(kept_values(x, where))
    terms = _products(factor, found, dtype)

    targets = [*placed, len(lead)]
    # Padding that is so by its column alone must not reach a row.
    places = joined([choose(where, parts[a], x.shape[a]) for a in targets], x.nse)
    return add_at((*lead, x.shape[-2], y.shape[-1]), targets, places, terms, dtype)


def _products(x: Value, y: Value, dtype: DType) -> Value:
    """``x * y`` in the dtype that their sums are kept in: rounded once, at the end."""
    wide = accumulator(dtype)
    return operators.multiply(operators.astype(x, wide), operators.astype(y, wide))


def _dense_by_sparse(x: Value, y: COO, dtype: DType) -> Value:
    if y.ndim == 1:
        return _sparse_by_dense(y, x if x.ndim == 1 else linear_algebra.matrix_transpose(x), dtype)
    if x.ndim == 1:
        return _sparse_by_dense(swap_last(y), x, dtype)
    turned = _sparse_by_dense(swap_last(y), linear_algebra.matrix_transpose(x), dtype)
    return linear_algebra.matrix_transpose(turned)


def _sparse_by_sparse(x: COO, y: COO, dtype: DType, nse: int | None) -> COO | Value:
    is_row, is_column = x.ndim == 1, y.ndim == 1
    x, y = with_dense_ndim(x, 0), with_dense_ndim(y, 0)
    x = with_axes(x, [None, 0]) if is_row else x
    y = with_axes(y, [0, None]) if is_column else y
    lead = operators.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x = broadcast_to(x, (*lead, *x.shape[-2:]))
    y = broadcast_to(y, (*lead, *y.shape[-2:]))
    product = _join(x, y, len(lead), dtype, nse)
    if is_row and is_column:
        scalar: Value = Reshape(())(to_dense(product))
        return scalar
    return squeeze(product, -2 if is_row else -1) if is_row or is_column else product


def _join(x: COO, y: COO, batch: int, dtype: DType, nse: int | None) -> COO:
    """The sums of products of entries that meet, of arrays with the same ``batch`` axes."""
    xs, ys = columns(x), columns(y)
    inner = x.shape[:batch] + x.shape[-1:]
    wanted = ravel([*xs[:batch], xs[-1]], inner, inside(x))
    present = ravel(ys[: batch + 1], inner, inside(y))
    limit = y.shape[-1] if y.is_unique else y.nse
    pairs = match(wanted, present, math.prod(inner), limit)
    first, second = rows(x.values, pairs.first), rows(y.values, pairs.second)
    parts = [rows_at_once(part, pairs.first) for part in xs[: batch + 1]]
    parts.append(rows_at_once(ys[-1], pairs.second))
    shape = (*x.shape[: batch + 1], y.shape[-1])
    marked = [choose(pairs.where, part, n) for part, n in zip(parts, shape, strict=True)]
    products = assemble(
        _products(first, second, dtype), joined(marked, pairs.size), shape, False, False
    )
    summed = sum_duplicates(products, nse)
    return summed.with_values(operators.astype(summed.values, dtype))
