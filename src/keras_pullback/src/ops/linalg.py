"""Keras's ``ops.linalg``: factorizations, solutions and norms of batches of matrices.

Imports ``ops.core`` and ``pullback.linalg``. ``eig`` and ``lu_factor``, which have no derivative,
are computed by NumPy on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from keras.src.backend import config, standardize_dtype
from keras.src.backend.common import dtypes

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor

__all__ = [
    "cholesky",
    "cholesky_inverse",
    "det",
    "eig",
    "eigh",
    "inv",
    "jvp",
    "lstsq",
    "lu_factor",
    "matrix_rank",
    "norm",
    "pinv",
    "qr",
    "solve",
    "solve_triangular",
    "svd",
]


def _floating(x: Any) -> Any:
    """Return a floating tensor; integers become what Keras makes of them."""
    x = real_tensor(x)
    if pb.isdtype(x.dtype, "real floating"):
        return x
    name = standardize_dtype(x.dtype)
    return cast(x, config.floatx() if name == "int64" else dtypes.result_type(name, float))


def _matrices(x: Any) -> Any:
    x = _floating(x)
    if x.ndim < 2:
        raise ValueError(f"Expected input to have rank >= 2. Received input with shape {x.shape}.")
    return x


def cholesky(a: Any, upper: bool = False) -> Any:
    """Triangular factor of positive definite matrices; raises ValueError for others."""
    try:
        return pb.linalg.cholesky(_floating(a), upper=upper)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            "Cholesky decomposition failed. The input might not be a valid positive definite "
            "matrix."
        ) from error


def cholesky_inverse(a: Any, upper: bool = False) -> Any:
    """Inverse of the matrices that have the Cholesky factor ``a``."""
    a = _floating(a)
    identity = pb.eye(a.shape[-1], dtype=a.dtype)
    inverse = pb.linalg.solve_triangular(a, identity, lower=not upper)
    transposed = pb.matrix_transpose(inverse)
    return pb.matmul(inverse, transposed) if upper else pb.matmul(transposed, inverse)


def det(a: Any) -> Any:
    """Determinants."""
    return pb.linalg.det(_floating(a))


def eig(x: Any) -> tuple[Any, Any]:
    """Eigenvalues and eigenvectors, which must be real: there are no complex tensors."""
    x = _matrices(x)
    values = pb.ArrayType(x.shape[:-1], x.dtype)
    found, vectors = pb.pure_callback(_eig, (values, x.type), x)
    return found, vectors


def _eig(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, vectors = np.linalg.eig(x)
    if np.any(values.imag):
        raise ValueError("eig: some eigenvalues are complex; pullback has no complex tensors")
    return values.real.astype(x.dtype), vectors.real.astype(x.dtype)


def eigh(x: Any) -> tuple[Any, Any]:
    """Eigenvalues, ascending, and eigenvectors of symmetric matrices."""
    values, vectors = pb.linalg.eigh(_floating(x))
    return values, vectors


def inv(a: Any) -> Any:
    """Inverse matrices."""
    return pb.linalg.inv(_floating(a))


def lu_factor(x: Any) -> tuple[Any, Any]:
    """LU factors in one matrix, and for each column the row that was exchanged with its own."""
    x = _matrices(x)
    pivots = pb.ArrayType((*x.shape[:-2], min(x.shape[-2:])), np.dtype("int32"))
    factors, rows = pb.pure_callback(_lu_factor, (x.type, pivots), x)
    return factors, rows


def _lu_factor(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    lead, (rows, columns) = x.shape[:-2], x.shape[-2:]
    lu = x.reshape(-1, rows, columns).astype(np.float64)
    batch, count = np.arange(len(lu)), min(rows, columns)
    pivots = np.zeros((len(lu), count), np.int32)
    for k in range(count):
        pivot = pivots[:, k] = k + np.argmax(np.abs(lu[:, k:, k]), axis=1)
        lu[batch, k], lu[batch, pivot] = lu[batch, pivot], lu[:, k].copy()
        head = lu[:, k, k]
        lu[:, k + 1 :, k] /= np.where(head == 0, 1, head)[:, None]
        lu[:, k + 1 :, k + 1 :] -= lu[:, k + 1 :, k, None] * lu[:, k, None, k + 1 :]
    return lu.reshape(x.shape).astype(x.dtype), pivots.reshape(*lead, count)


def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """Norms of vectors (one axis) or matrices (two axes)."""
    if isinstance(axis, list):
        axis = tuple(axis)
    x = _floating(x)
    count = x.ndim if axis is None else len(axis) if isinstance(axis, tuple) else 1
    if isinstance(ord, str) and count != 2:
        raise ValueError(f"norm: the order {ord!r} is for matrices. Received: axis={axis}")
    return pb.linalg.norm(x, ord=ord, axis=axis, keepdims=keepdims)


def qr(x: Any, mode: Literal["reduced", "complete"] = "reduced") -> tuple[Any, Any]:
    """Orthonormal columns and upper triangular factors."""
    if mode not in {"reduced", "complete"}:
        raise ValueError(
            "`mode` argument value not supported. Expected one of {'reduced', 'complete'}. "
            f"Received: mode={mode}"
        )
    orthonormal, triangular = pb.linalg.qr(_floating(x), mode=mode)
    return orthonormal, triangular


def solve(a: Any, b: Any) -> Any:
    """Solutions ``x`` of ``a @ x = b``."""
    a, b = _floating(a), _floating(b)
    if b.ndim == a.ndim - 1 and b.ndim > 1 and b.shape == a.shape[:-1]:
        return pb.squeeze(pb.linalg.solve(a, pb.expand_dims(b, axis=-1)), axis=-1)
    return pb.linalg.solve(a, b)


def solve_triangular(a: Any, b: Any, lower: bool = False) -> Any:
    """Solutions ``x`` of ``a @ x = b``, of which one triangle of ``a`` is read."""
    a, b = _floating(a), _floating(b)
    if b.ndim == a.ndim - 1 and b.ndim > 1:
        b = pb.expand_dims(b, axis=-1)
        return pb.squeeze(pb.linalg.solve_triangular(a, b, lower=lower), axis=-1)
    return pb.linalg.solve_triangular(a, b, lower=lower)


def svd(x: Any, full_matrices: bool = True, compute_uv: bool = True) -> Any:
    """Singular values, descending, with the left and right vectors if ``compute_uv``."""
    x = _floating(x)
    if not compute_uv:
        return pb.linalg.svdvals(x)
    left, values, right = pb.linalg.svd(x, full_matrices=full_matrices)
    return left, values, right


def lstsq(a: Any, b: Any, rcond: Any = None) -> Any:
    """Shortest ``x`` for which ``a @ x - b`` is shortest."""
    return pb.matmul(pb.linalg.pinv(_matrices(a), rtol=rcond), _floating(b))


def matrix_rank(x: Any, tol: Any = None) -> Any:
    """Number of singular values above ``tol``; by default, what rounding leaves of a zero."""
    x = _matrices(x)
    if tol is None:
        return pb.linalg.matrix_rank(x)
    return pb.sum(pb.astype(pb.linalg.svdvals(x) > tol, pb.int32), axis=-1)


def pinv(x: Any, rcond: Any = None) -> Any:
    """Moore-Penrose inverses."""
    return pb.linalg.pinv(_matrices(x), rtol=rcond)


def jvp(
    fun: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> Any:
    """Result of ``fun`` and its derivative in the direction of ``tangents``."""
    return pb.jvp(fun, primals, tangents, has_aux=has_aux)
