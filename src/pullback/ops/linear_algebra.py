"""Products of vectors, matrices and tensors: the standard's chapter "Linear algebra functions".

Imports ``arguments``, ``manipulation`` and ``primitives``. Start at ``matmul``. ``einsum`` has a
module of its own; factorizations and solving are in ``linalg``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

from pullback.errors import ShapeError
from pullback.ops.arguments import (
    ArrayLike,
    as_array,
    as_operand,
    normalize_axes,
    normalize_axis,
)
from pullback.ops.creation import zeros
from pullback.ops.manipulation import expand_dims, moveaxis, permute_dims, reshape, slice_along
from pullback.ops.statistical import sum as sum_
from pullback.primitives import operators
from pullback.primitives.dot import Dot
from pullback.program.value import Value

__all__ = [
    "diagonal",
    "dot",
    "inner",
    "kron",
    "matmul",
    "matrix_transpose",
    "outer",
    "tensordot",
    "trace",
    "vdot",
    "vecdot",
]


def _pair(x1: ArrayLike, x2: ArrayLike) -> tuple[Value, Value]:
    x, y = operators.promote_operands(as_operand(x1), as_operand(x2))
    return x, y


def _contract(x: Value, y: Value, x_axes: Sequence[int], y_axes: Sequence[int]) -> Value:
    """Products summed over pairs of axes: the other axes of ``x``, then those of ``y``."""
    result: Value = Dot((tuple(x_axes), tuple(y_axes)), ((), ()))(x, y)
    return result


def matmul(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Matrix product.

    Args:
        x1: Array ``[..., m, k]``, or a vector ``[k]``.
        x2: Array ``[..., k, n]``, or a vector ``[k]``; leading axes broadcast.

    Returns:
        Array ``[..., m, n]``, without ``m`` or ``n`` where a vector was given.

    Raises:
        DTypeError: both are boolean.
        ShapeError: the lengths ``k`` differ, leading axes do not broadcast, or a number is given.

    Differentiation: ``ct @ x2.mT`` and ``x1.mT @ ct``.
    Cost: ``2 m n k`` flops for each matrix; sums of 16-bit floats accumulate in float32.

    Example:
        >>> pb.matmul(pb.ones((2, 3)), pb.ones((3, 2)))
        Array([[3., 3.],
               [3., 3.]], f32)
    """
    x, y = _pair(x1, x2)
    if not x.ndim or not y.ndim:
        raise ShapeError(f"matmul of {x.type} and {y.type}: expected axes; multiply by `*`")
    if x.shape[-1] != y.shape[-2 if y.ndim > 1 else 0]:
        raise ShapeError(
            f"matmul of {x.type} and {y.type}: the last axis of the first, of length "
            f"{x.shape[-1]}, must be as long as the {'second last' if y.ndim > 1 else 'only'} one "
            "of the second; transpose one of them with `.mT`"
        )
    if x.ndim == 1 or y.ndim <= 2:
        return _contract(x, y, (x.ndim - 1,), (max(y.ndim - 2, 0),))
    if x.ndim == 2:
        return moveaxis(_contract(x, y, (1,), (y.ndim - 2,)), 0, -2)
    lead = operators.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x = operators.broadcast_to(x, (*lead, *x.shape[-2:]))
    y = operators.broadcast_to(y, (*lead, *y.shape[-2:]))
    batch = tuple(range(len(lead)))
    result: Value = Dot(((x.ndim - 1,), (x.ndim - 2,)), (batch, batch))(x, y)
    return result


def matrix_transpose(x: ArrayLike, /) -> Value:
    """Matrices with rows and columns exchanged.

    Args:
        x: Array ``[..., m, n]``.

    Returns:
        Array ``[..., n, m]``.

    Raises:
        ShapeError: ``x`` has fewer than two axes.

    Example:
        >>> pb.matrix_transpose(pb.zeros((2, 3, 4))).shape
        (2, 4, 3)
    """
    value = as_array(x)
    if value.ndim < 2:
        raise ShapeError(f"matrix_transpose takes matrices [..., m, n], not {value.type}")
    return permute_dims(value, (*range(value.ndim - 2), value.ndim - 1, value.ndim - 2))


def tensordot(
    x1: ArrayLike, x2: ArrayLike, /, axes: int | Sequence[Sequence[int]] | Sequence[int] = 2
) -> Value:
    """Products summed over pairs of axes.

    Args:
        x1: Array.
        x2: Array.
        axes: How many of the last axes of ``x1`` pair with as many of the first of ``x2``; or the
            axes of ``x1`` and those of ``x2`` that pair. Static.

    Returns:
        Array with the other axes of ``x1``, then those of ``x2``.

    Raises:
        ShapeError: axes that pair differ in length, or are out of range.

    Differentiation: the cotangent's product with the other array.

    Example:
        >>> pb.tensordot(pb.ones((2, 3)), pb.ones((3, 4)), axes=1).shape
        (2, 4)
    """
    x, y = _pair(x1, x2)
    if isinstance(axes, (tuple, list)):
        first, second = axes
        x_axes = normalize_axes("tensordot", first, x.ndim)
        y_axes = normalize_axes("tensordot", second, y.ndim)
    else:
        n = operator.index(axes)  # type: ignore[arg-type]
        if not 0 <= n <= min(x.ndim, y.ndim):
            raise ShapeError(f"tensordot of {x.type} and {y.type}: there are no {n} axes to pair")
        x_axes, y_axes = tuple(range(x.ndim - n, x.ndim)), tuple(range(n))
    if [x.shape[a] for a in x_axes] != [y.shape[a] for a in y_axes]:
        raise ShapeError(
            f"tensordot of {x.type} and {y.type}: the axes {x_axes} of the first and {y_axes} of "
            "the second must have the same lengths"
        )
    return _contract(x, y, x_axes, y_axes)


def vecdot(x1: ArrayLike, x2: ArrayLike, /, axis: int = -1) -> Value:
    """Dot products of vectors along an axis.

    Args:
        x1: Array ``[..., n, ...]``.
        x2: Array ``[..., n, ...]``; the other axes broadcast.
        axis: The axis of length ``n``, counted from the end. Static.

    Returns:
        Array without the axis.

    Raises:
        ShapeError: ``axis`` is out of range, or its lengths differ, or others do not broadcast.

    Differentiation: the cotangent times the other array.

    Example:
        >>> pb.vecdot(pb.asarray([1.0, 2.0]), pb.asarray([3.0, 4.0]))
        Array(11., f32)
    """
    x, y = _pair(x1, x2)
    ndim = max(x.ndim, y.ndim)
    place = normalize_axis("vecdot", axis, ndim) - ndim
    if not (-place <= x.ndim and -place <= y.ndim and x.shape[place] == y.shape[place]):
        raise ShapeError(f"vecdot of {x.type} and {y.type}: axis {place} must have one length")
    shape = operators.broadcast_shapes(x.shape, y.shape)
    x, y = operators.broadcast_to(x, shape), operators.broadcast_to(y, shape)
    along = ndim + place
    batch = tuple(i for i in range(ndim) if i != along)
    result: Value = Dot(((along,), (along,)), (batch, batch))(x, y)
    return result


def dot(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """NumPy's ``dot``: products summed over the last axis of ``x1`` and the second last of ``x2``.

    Args:
        x1: Array ``[..., k]``, or a number.
        x2: Array ``[..., k, n]`` or ``[k]``, or a number.

    Returns:
        Array with the other axes of ``x1``, then those of ``x2``. Unlike with ``matmul`` leading
        axes do not pair.

    Raises:
        ShapeError: the lengths ``k`` differ.

    Example:
        >>> pb.dot(pb.asarray([1.0, 2.0]), pb.asarray([3.0, 4.0]))
        Array(11., f32)
    """
    x, y = _pair(x1, x2)
    if not x.ndim or not y.ndim:
        return operators.multiply(x, y)
    return tensordot(x, y, axes=((x.ndim - 1,), (max(y.ndim - 2, 0),)))


def inner(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Products summed over the last axes.

    Example:
        >>> pb.inner(pb.ones((2, 3)), pb.ones((4, 3))).shape
        (2, 4)
    """
    x, y = _pair(x1, x2)
    if not x.ndim or not y.ndim:
        return operators.multiply(x, y)
    return tensordot(x, y, axes=((x.ndim - 1,), (y.ndim - 1,)))


def vdot(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Dot product of the flattened arrays.

    Example:
        >>> pb.vdot(pb.ones((2, 3)), pb.ones((2, 3)))
        Array(6., f32)
    """
    x, y = _pair(x1, x2)
    return tensordot(reshape(x, (x.size,)), reshape(y, (y.size,)), axes=1)


def outer(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """All products of an element of ``x1`` and one of ``x2``; both are flattened first.

    Returns:
        Array ``[x1.size, x2.size]``.

    Example:
        >>> pb.outer(pb.asarray([1.0, 2.0]), pb.asarray([3.0, 4.0]))
        Array([[3., 4.],
               [6., 8.]], f32)
    """
    x, y = _pair(x1, x2)
    return operators.multiply(reshape(x, (x.size, 1)), reshape(y, (1, y.size)))


def kron(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Kronecker product: ``x1`` with every element replaced by its product with ``x2``.

    Example:
        >>> pb.kron(pb.asarray([1, 10]), pb.asarray([1, 2]))
        Array([ 1,  2, 10, 20], i32)
    """
    x, y = _pair(x1, x2)
    ndim = max(x.ndim, y.ndim)
    x = reshape(x, (1,) * (ndim - x.ndim) + x.shape)
    y = reshape(y, (1,) * (ndim - y.ndim) + y.shape)
    product = operators.multiply(
        expand_dims(x, tuple(range(1, 2 * ndim, 2))), expand_dims(y, tuple(range(0, 2 * ndim, 2)))
    )
    return reshape(product, tuple(m * n for m, n in zip(x.shape, y.shape, strict=True)))


def diagonal(x: ArrayLike, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """The diagonal of the matrices that two axes make.

    Args:
        x: Array with at least two axes.
        offset: Which diagonal: 0 the main one, positive above, negative below. Static.
        axis1: The axis of the rows. Static.
        axis2: The axis of the columns. Static.

    Returns:
        Array without the two axes, with the diagonal as its last axis.

    Raises:
        ShapeError: an axis is out of range, or both are the same.

    Differentiation: the cotangent is put on the diagonal of zeros.

    Example:
        >>> pb.diagonal(pb.asarray([[1, 2], [3, 4]]))
        Array([1, 4], i32)
    """
    value = as_array(x)
    rows, columns = normalize_axes("diagonal", (axis1, axis2), value.ndim)
    value = moveaxis(value, (rows, columns), (-2, -1))
    last = value.ndim - 1
    m, n = value.shape[-2:]
    value = slice_along(value, last, min(max(offset, 0), n), n)
    value = slice_along(value, last - 1, min(max(-offset, 0), m), m)
    m, n = value.shape[-2:]
    length, lead = min(m, n), value.shape[:-2]
    if length == 0:
        return zeros((*lead, 0), dtype=value.dtype)
    flat = reshape(slice_along(value, last - 1, 0, length), (*lead, length * n))
    return slice_along(flat, last - 1, 0, (length - 1) * (n + 1) + 1, n + 1)


def trace(x: ArrayLike, /, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Value:
    """Sum of the diagonal of the matrices that two axes make.

    Args:
        x: Array with at least two axes.
        offset: Which diagonal: 0 the main one, positive above, negative below. Static.
        axis1: The axis of the rows. Static.
        axis2: The axis of the columns. Static.

    Raises:
        ShapeError: an axis is out of range, or both are the same.

    Example:
        >>> pb.trace(pb.asarray([[1, 2], [3, 4]]))
        Array(5, i32)
    """
    return sum_(diagonal(x, offset, axis1, axis2), -1)
