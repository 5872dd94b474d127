"""The linear algebra extension of the Array API standard, as ``pullback.linalg``.

Imports ``linear_algebra``, ``statistical`` and the linear algebra primitives, which NumPy (LAPACK)
evaluates on the host, also inside compiled programs. All functions take leading batch axes.
"""

from __future__ import annotations

import operator
from typing import Any, Literal, NamedTuple

from pullback.errors import ShapeError
from pullback.ops import linear_algebra
from pullback.ops.arguments import ArrayLike, as_array, as_floating, normalize_axes
from pullback.ops.creation import eye
from pullback.ops.dtypes import astype, finfo
from pullback.ops.linear_algebra import matmul, matrix_transpose, tensordot, vecdot
from pullback.ops.manipulation import expand_dims, reshape, roll
from pullback.ops.norms import matrix_norm, norm, vector_norm
from pullback.ops.statistical import max as max_
from pullback.ops.statistical import sum as sum_
from pullback.primitives import factorizations, operators
from pullback.primitives import linalg as primitives
from pullback.program.value import Value
from pullback.types import DEFAULT_INT

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eigh",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "norm",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


class EighResult(NamedTuple):
    """Eigenvalues, ascending, and eigenvectors in the columns."""

    eigenvalues: Value
    eigenvectors: Value


class QRResult(NamedTuple):
    """Orthonormal columns and an upper triangular factor."""

    Q: Value
    R: Value


class SlogdetResult(NamedTuple):
    """Sign of the determinant and logarithm of its absolute value."""

    sign: Value
    logabsdet: Value


class SVDResult(NamedTuple):
    """Left vectors in columns, singular values, descending, and right vectors in rows."""

    U: Value
    S: Value
    Vh: Value


def cholesky(x: ArrayLike, /, *, upper: bool = False) -> Value:
    """Triangular factor ``L`` of ``x = L @ L.mT``.

    Args:
        x: Symmetric positive definite matrices ``[..., n, n]``; the symmetric part is taken.
        upper: Whether to return the upper factor ``L.mT``.

    Raises:
        DTypeError: ``x`` is not floating.
        ShapeError: ``x`` is not of square matrices.
        LinAlgError: a matrix is not positive definite (NumPy's error).

    Differentiation: symmetric cotangent; two triangular solves.

    Example:
        >>> pb.linalg.cholesky(pb.asarray([[4.0, 2.0], [2.0, 5.0]]))
        Array([[2., 0.],
               [1., 2.]], f32)
    """
    factor: Value = factorizations.Cholesky()(as_floating(x))
    return matrix_transpose(factor) if upper else factor


def cross(x1: ArrayLike, x2: ArrayLike, /, *, axis: int = -1) -> Value:
    """Cross product of vectors in three dimensions.

    Args:
        x1: Array ``[..., 3, ...]``.
        x2: Array ``[..., 3, ...]``; the other axes broadcast.
        axis: The axis of length 3. Static.

    Raises:
        ShapeError: ``axis`` is out of range or not of length 3, or shapes do not broadcast.

    Example:
        >>> pb.linalg.cross(pb.asarray([1.0, 0.0, 0.0]), pb.asarray([0.0, 1.0, 0.0]))
        Array([0., 0., 1.], f32)
    """
    x, y = operators.promote_operands(as_array(x1), as_array(x2))
    (place,) = normalize_axes("cross", (axis,), max(x.ndim, y.ndim))
    place -= max(x.ndim, y.ndim)
    for value in (x, y):
        if value.ndim < -place or value.shape[place] != 3:
            raise ShapeError(f"cross of {x.type} and {y.type}: axis {place} must have length 3")
    shape = operators.broadcast_shapes(x.shape, y.shape)
    x, y = operators.broadcast_to(x, shape), operators.broadcast_to(y, shape)
    forward = operators.multiply(roll(x, -1, axis=place), roll(y, -2, axis=place))
    backward = operators.multiply(roll(x, -2, axis=place), roll(y, -1, axis=place))
    return operators.subtract(forward, backward)


def det(x: ArrayLike, /) -> Value:
    """Determinants of matrices ``[..., n, n]``.

    Raises:
        ShapeError: ``x`` is not of square matrices.

    Differentiation: ``ct`` times the cofactors, also of singular matrices.

    Example:
        >>> pb.linalg.det(pb.asarray([[2.0, 0.0], [0.0, 3.0]]))
        Array(6., f32)
    """
    result: Value = primitives.Det()(as_floating(x))
    return result


def slogdet(x: ArrayLike, /) -> SlogdetResult:
    """Sign and logarithm of the absolute value of the determinants of matrices ``[..., n, n]``.

    Raises:
        ShapeError: ``x`` is not of square matrices.

    Differentiation: ``ct_logabsdet * inv(x).mT``; raises LinAlgError for singular matrices.

    Example:
        >>> pb.linalg.slogdet(pb.asarray([[2.0, 0.0], [0.0, -3.0]])).sign
        Array(-1., f32)
    """
    return SlogdetResult(*primitives.SlogDet()(as_floating(x)))


def diagonal(x: ArrayLike, /, *, offset: int = 0) -> Value:
    """Diagonals of matrices ``[..., m, n]``.

    Args:
        x: Array.
        offset: Which diagonal: 0 the main one, positive above, negative below. Static.

    Raises:
        ShapeError: ``x`` has fewer than two axes.

    Example:
        >>> pb.linalg.diagonal(pb.asarray([[1, 2], [3, 4]]))
        Array([1, 4], i32)
    """
    return linear_algebra.diagonal(x, offset, -2, -1)


def trace(x: ArrayLike, /, *, offset: int = 0, dtype: Any = None) -> Value:
    """Sums of the diagonals of matrices ``[..., m, n]``.

    Args:
        x: Array.
        offset: Which diagonal: 0 the main one, positive above, negative below. Static.
        dtype: The dtype to sum in; None as for ``sum``.

    Raises:
        ShapeError: ``x`` has fewer than two axes.

    Example:
        >>> pb.linalg.trace(pb.asarray([[1, 2], [3, 4]]))
        Array(5, i32)
    """
    return sum_(diagonal(x, offset=offset), -1, dtype=dtype)


def outer(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """All products of an element of a vector and one of another.

    Raises:
        ShapeError: an argument is not a vector.

    Example:
        >>> pb.linalg.outer(pb.asarray([1.0, 2.0]), pb.asarray([3.0]))
        Array([[3.],
               [6.]], f32)
    """
    for value in (as_array(x1), as_array(x2)):
        if value.ndim != 1:
            raise ShapeError(f"linalg.outer takes vectors [n], not {value.type}")
    return linear_algebra.outer(x1, x2)


def eigh(x: ArrayLike, /) -> EighResult:
    """Eigenvalues and eigenvectors of symmetric matrices ``[..., n, n]``.

    Raises:
        ShapeError: ``x`` is not of square matrices.

    Differentiation: the vectors of equal eigenvalues have no derivative (it becomes infinite); for
    functions of the eigenvalues alone use ``eigvalsh``.

    Example:
        >>> pb.linalg.eigh(pb.asarray([[2.0, 0.0], [0.0, 1.0]])).eigenvalues
        Array([1., 2.], f32)
    """
    return EighResult(*factorizations.Eigh()(as_floating(x)))


def eigvalsh(x: ArrayLike, /) -> Value:
    """Eigenvalues of symmetric matrices ``[..., n, n]``, ascending.

    Raises:
        ShapeError: ``x`` is not of square matrices.

    Differentiation: ``V @ diag(ct) @ V.mT``, also where eigenvalues are equal.

    Example:
        >>> pb.linalg.eigvalsh(pb.asarray([[2.0, 0.0], [0.0, 1.0]]))
        Array([1., 2.], f32)
    """
    result: Value = factorizations.Eigvalsh()(as_floating(x))
    return result


def svd(x: ArrayLike, /, *, full_matrices: bool = True) -> SVDResult:
    """Singular value decomposition ``x = U @ diag(S) @ Vh``.

    Args:
        x: Matrices ``[..., m, n]``.
        full_matrices: Whether ``U`` is ``[..., m, m]`` and ``Vh`` ``[..., n, n]``; else
            ``[..., m, k]`` and ``[..., k, n]`` with ``k = min(m, n)``.

    Raises:
        ShapeError: ``x`` has fewer than two axes.

    Differentiation: needs distinct singular values (and, for ``m != n``, none that is 0) where the
    vectors matter, and is refused with ``full_matrices`` and ``m != n``.

    Example:
        >>> pb.linalg.svd(pb.asarray([[3.0, 0.0], [0.0, 4.0]])).S
        Array([4., 3.], f32)
    """
    return SVDResult(*factorizations.Svd(full_matrices)(as_floating(x)))


def svdvals(x: ArrayLike, /) -> Value:
    """Singular values of matrices ``[..., m, n]``, descending.

    Raises:
        ShapeError: ``x`` has fewer than two axes.

    Differentiation: ``U @ diag(ct) @ Vh``, also where singular values are equal.

    Example:
        >>> pb.linalg.svdvals(pb.asarray([[3.0, 0.0], [0.0, 4.0]]))
        Array([4., 3.], f32)
    """
    result: Value = factorizations.SvdVals()(as_floating(x))
    return result


def qr(x: ArrayLike, /, *, mode: Literal["reduced", "complete"] = "reduced") -> QRResult:
    """Orthonormal ``Q`` and upper triangular ``R`` with ``x = Q @ R``.

    Args:
        x: Matrices ``[..., m, n]``.
        mode: ``"reduced"``: ``Q`` is ``[..., m, k]`` with ``k = min(m, n)``; ``"complete"``:
            ``[..., m, m]``.

    Raises:
        ShapeError: ``x`` has fewer than two axes.
        ValueError: ``mode`` is another one.

    Differentiation: needs linearly independent leading columns; refused for ``"complete"`` and
    ``m > n``.

    Example:
        >>> pb.linalg.qr(pb.asarray([[3.0], [4.0]])).R.shape
        (1, 1)
    """
    if mode not in ("reduced", "complete"):
        raise ValueError(f"qr: mode {mode!r}; expected 'reduced' or 'complete'")
    return QRResult(*factorizations.Qr(mode == "complete")(as_floating(x)))


def inv(x: ArrayLike, /) -> Value:
    """Inverses of matrices ``[..., n, n]``. To solve a system use ``solve``: it is more accurate.

    Raises:
        ShapeError: ``x`` is not of square matrices.
        LinAlgError: a matrix is singular (NumPy's error).

    Differentiation: ``-out.mT @ ct @ out.mT``.

    Example:
        >>> pb.linalg.inv(pb.asarray([[2.0, 0.0], [0.0, 4.0]]))
        Array([[0.5 , 0.  ],
               [0.  , 0.25]], f32)
    """
    result: Value = primitives.Inv()(as_floating(x))
    return result


def _rtol(x: Value, rtol: ArrayLike | None) -> Value:
    if rtol is None:
        return as_array(max(x.shape[-2:]) * finfo(x.dtype).eps)
    return as_array(rtol)


def pinv(x: ArrayLike, /, *, rtol: ArrayLike | None = None) -> Value:
    """Moore-Penrose inverses of matrices ``[..., m, n]``.

    Args:
        x: Array.
        rtol: Singular values below this times the largest count as 0; a number without axes, known
            while tracing. None for ``max(m, n) * eps``.

    Raises:
        ShapeError: ``x`` has fewer than two axes, or ``rtol`` has axes.

    Differentiation: where the rank does not change.

    Example:
        >>> pb.linalg.pinv(pb.asarray([[2.0], [0.0]]))
        Array([[0.5, 0. ]], f32)
    """
    value = as_floating(x)
    if value.ndim < 2:
        raise ShapeError(f"pinv takes matrices [..., m, n], not {value.type}")
    share = _rtol(value, rtol)
    if share.ndim:
        raise ShapeError(f"pinv: rtol {share.type}; expected a number without axes")
    result: Value = primitives.Pinv(float(share))(value)
    return result


def matrix_rank(x: ArrayLike, /, *, rtol: ArrayLike | None = None) -> Value:
    """Ranks of matrices ``[..., m, n]``: how many singular values count.

    Args:
        x: Array.
        rtol: Singular values up to this times the largest count as 0. None for
            ``max(m, n) * eps``.

    Returns:
        Array of int32 ``[...]``.

    Raises:
        ShapeError: ``x`` has fewer than two axes.

    Example:
        >>> pb.linalg.matrix_rank(pb.asarray([[1.0, 2.0], [2.0, 4.0]]))
        Array(1, i32)
    """
    values = svdvals(x)
    share = _rtol(as_floating(x), rtol)
    if share.ndim:
        share = expand_dims(share, -1)
    bound = operators.multiply(max_(values, -1, keepdims=True), share)
    return sum_(astype(operators.greater(values, bound), DEFAULT_INT), -1)


def matrix_power(x: ArrayLike, n: int, /) -> Value:
    """Matrices ``[..., k, k]`` multiplied with themselves ``n`` times.

    Args:
        x: Array.
        n: The exponent; negative for powers of the inverse. Static.

    Raises:
        ShapeError: ``x`` is not of square matrices.

    Cost: ``log2(n)`` to ``2 log2(n)`` products.

    Example:
        >>> pb.linalg.matrix_power(pb.asarray([[2.0, 0.0], [0.0, 3.0]]), 3)
        Array([[ 8.,  0.],
               [ 0., 27.]], f32)
    """
    base, exponent = as_array(x), operator.index(n)
    if base.ndim < 2 or base.shape[-1] != base.shape[-2]:
        raise ShapeError(f"matrix_power takes square matrices [..., n, n], not {base.type}")
    if exponent < 0:
        base, exponent = inv(base), -exponent
    if exponent == 0:
        return operators.broadcast_to(eye(base.shape[-1], dtype=base.dtype), base.shape)
    result: Value | None = None
    while exponent:
        if exponent & 1:
            result = base if result is None else matmul(result, base)
        exponent >>= 1
        if exponent:
            base = matmul(base, base)
    return base if result is None else result


def _system(a: ArrayLike, b: ArrayLike, name: str) -> tuple[Value, Value, bool]:
    """Matrices and right-hand sides of one batch shape, and whether these are one vector."""
    x, y = operators.promote_operands(as_array(a), as_array(b), floating=True)
    if x.ndim < 2 or x.shape[-1] != x.shape[-2] or not y.ndim:
        raise ShapeError(
            f"{name} takes square matrices and right-hand sides, not {x.type}, {y.type}"
        )
    vector = y.ndim == 1
    if vector:
        y = expand_dims(y, -1)
    if y.shape[-2] != x.shape[-1]:
        raise ShapeError(
            f"{name} of {x.type} and {as_array(b).type}: the right-hand sides must have "
            f"{x.shape[-1]} rows"
        )
    lead = operators.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x = operators.broadcast_to(x, (*lead, *x.shape[-2:]))
    return x, operators.broadcast_to(y, (*lead, *y.shape[-2:])), vector


def solve(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Solutions ``x`` of ``x1 @ x = x2``.

    Args:
        x1: Matrices ``[..., n, n]``.
        x2: Right-hand sides ``[..., n, k]``, or one vector ``[n]``; leading axes broadcast.

    Raises:
        ShapeError: ``x1`` is not of square matrices, or shapes do not fit.
        LinAlgError: a matrix is singular (NumPy's error).

    Differentiation: another solve with the transpose.

    Example:
        >>> pb.linalg.solve(pb.asarray([[2.0, 0.0], [0.0, 4.0]]), pb.asarray([2.0, 4.0]))
        Array([1., 1.], f32)
    """
    a, b, vector = _system(x1, x2, "solve")
    result: Value = primitives.Solve()(a, b)
    return reshape(result, result.shape[:-1]) if vector else result


def solve_triangular(
    x1: ArrayLike,
    x2: ArrayLike,
    /,
    *,
    lower: bool = False,
    trans: bool = False,
    unit_diagonal: bool = False,
) -> Value:
    """Solutions ``x`` of ``t @ x = x2`` for a triangle ``t`` of ``x1``.

    Args:
        x1: Matrices ``[..., n, n]``; what is outside the triangle is not read.
        x2: Right-hand sides ``[..., n, k]``, or one vector ``[n]``; leading axes broadcast.
        lower: Whether the triangle is the lower one.
        trans: Whether to solve ``t.mT @ x = x2``.
        unit_diagonal: Whether the diagonal counts as ones.

    Raises:
        ShapeError: ``x1`` is not of square matrices, or shapes do not fit.
        LinAlgError: the diagonal holds a 0 (NumPy's error).

    Differentiation: another triangular solve.

    Example:
        >>> a = pb.asarray([[2.0, 0.0], [1.0, 1.0]])
        >>> pb.linalg.solve_triangular(a, pb.asarray([2.0, 2.0]), lower=True)
        Array([1., 1.], f32)
    """
    a, b, vector = _system(x1, x2, "solve_triangular")
    result: Value = primitives.TriangularSolve(lower, trans, unit_diagonal)(a, b)
    return reshape(result, result.shape[:-1]) if vector else result
