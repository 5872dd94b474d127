"""Norms of vectors and matrices.

Imports ``statistical`` and the linear algebra primitives; exported by ``linalg``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pullback.errors import ShapeError
from pullback.ops.arguments import ArrayLike, Axis, as_floating, normalize_axes
from pullback.ops.dtypes import astype, strong
from pullback.ops.manipulation import expand_dims, moveaxis
from pullback.ops.statistical import max as max_
from pullback.ops.statistical import min as min_
from pullback.ops.statistical import sum as sum_
from pullback.primitives import operators
from pullback.primitives.factorizations import SvdVals
from pullback.primitives.transcendental import Sqrt
from pullback.program.value import Value
from pullback.types import DEFAULT_FLOAT, bfloat16, bool_, float16

__all__ = ["matrix_norm", "norm", "vector_norm"]


def _root(squares: Value) -> Value:
    """Square root with derivative 0 at 0, where the norm has none."""
    zero = operators.equal(squares, 0)
    safe = operators.where(zero, 1, squares)
    return operators.where(zero, 0, Sqrt()(safe))


def vector_norm(
    x: ArrayLike, /, *, axis: Axis = None, keepdims: bool = False, ord: float = 2
) -> Value:
    """Norms of vectors: ``sum(abs(x) ** ord) ** (1 / ord)``.

    Args:
        x: Array, floating.
        axis: Along which axis or axes; None for all. Static.
        keepdims: Whether these axes stay, with length 1.
        ord: The order; ``inf`` and ``-inf`` for the largest and least absolute value, 0 for the
            number of elements that are not 0. Static.

    Raises:
        ShapeError: ``axis`` is out of range.

    Differentiation: 0 where the norm of order 2 is 0.

    Example:
        >>> pb.linalg.vector_norm(pb.asarray([3.0, 4.0]))
        Array(5., f32)
    """
    value = strong(as_floating(x))
    if value.dtype in (float16, bfloat16):
        wide = vector_norm(astype(value, DEFAULT_FLOAT), axis=axis, keepdims=keepdims, ord=ord)
        return astype(wide, value.dtype)
    size = operators.abs_(value)
    if ord == float("inf"):
        return max_(size, axis, keepdims=keepdims)
    if ord == -float("inf"):
        return min_(size, axis, keepdims=keepdims)
    if ord == 0:
        return sum_(astype(astype(value, bool_), value.dtype), axis, keepdims=keepdims)
    if ord == 1:
        return sum_(size, axis, keepdims=keepdims)
    if ord == 2:
        return _root(sum_(operators.multiply(value, value), axis, keepdims=keepdims))
    powers = sum_(operators.power(size, float(ord)), axis, keepdims=keepdims)
    return operators.power(powers, 1.0 / ord)


def matrix_norm(
    x: ArrayLike,
    /,
    *,
    keepdims: bool = False,
    ord: float | Literal["fro", "nuc"] | None = "fro",
) -> Value:
    """Norms of matrices ``[..., m, n]``.

    Args:
        x: Array, floating.
        keepdims: Whether the two axes stay, with length 1.
        ord: ``"fro"``: square root of the sum of squares; ``"nuc"``: sum of singular values; 2 and
            -2: largest and least singular value; 1 and -1: largest and least sum of absolute values
            of a column; ``inf`` and ``-inf``: of a row. Static.

    Raises:
        ShapeError: ``x`` has fewer than two axes.
        ValueError: ``ord`` is another one.

    Example:
        >>> pb.linalg.matrix_norm(pb.asarray([[3.0, 4.0]]))
        Array(5., f32)
    """
    value = as_floating(x)
    if value.ndim < 2:
        raise ShapeError(f"matrix_norm takes matrices [..., m, n], not {value.type}")
    if ord is None or ord == "fro":
        return vector_norm(value, axis=(-2, -1), keepdims=keepdims)
    infinity = float("inf")
    pick: dict[Any, Callable[..., Value]] = {
        1: max_,
        -1: min_,
        2: max_,
        -2: min_,
        infinity: max_,
        -infinity: min_,
        "nuc": sum_,
    }
    if ord not in pick:
        raise ValueError(f"matrix_norm: ord {ord!r}; expected one of 'fro', {list(pick)}")
    if ord in (2, -2, "nuc"):
        sizes = SvdVals()(value)
    else:
        sizes = sum_(operators.abs_(value), -2 if ord in (1, -1) else -1)
    result = pick[ord](sizes, -1)
    return expand_dims(result, (-2, -1)) if keepdims else result


def norm(
    x: ArrayLike,
    /,
    ord: float | Literal["fro", "nuc"] | None = None,
    axis: Axis = None,
    *,
    keepdims: bool = False,
) -> Value:
    """NumPy's ``norm``: of vectors along one axis, or of matrices along two.

    Args:
        x: Array, floating.
        ord: As for ``vector_norm`` or ``matrix_norm``; None for the root of the sum of squares.
        axis: One axis or two; None for all of ``x`` (if ``ord`` is None) or its only ones. Static.
        keepdims: Whether these axes stay, with length 1.

    Raises:
        ShapeError: ``axis`` is out of range, or there are more than two.

    Example:
        >>> pb.linalg.norm(pb.asarray([[3.0, 4.0], [0.0, 0.0]]), axis=1)
        Array([5., 0.], f32)
    """
    value = as_floating(x)
    axes = normalize_axes("norm", axis, value.ndim)
    if ord is None or len(axes) == 1:
        return vector_norm(value, axis=axes, keepdims=keepdims, ord=2 if ord is None else ord)  # type: ignore[arg-type]
    if len(axes) != 2:
        raise ShapeError(f"norm of {value.type}: expected one axis or two, got {axes}")
    moved = moveaxis(value, axes, (-2, -1))
    result = matrix_norm(moved, keepdims=keepdims, ord=ord)
    return moveaxis(result, (-2, -1), axes) if keepdims else result
