"""Matrix factorizations, evaluated by NumPy (LAPACK) on the host.

Imports ``program`` and ``matrices``. Start at ``Cholesky``. All take leading batch axes; 16-bit
floats are computed in float32 and rounded once.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np

from pullback.errors import DifferentiationError
from pullback.primitives import operators
from pullback.primitives.linalg import TriangularSolve
from pullback.primitives.matrices import (
    LinearAlgebra,
    along_columns,
    along_rows,
    columns_between,
    divide_by_gaps,
    matmul,
    on_diagonal,
    transposed,
    triangle,
    working,
)
from pullback.primitives.shape import Concatenate
from pullback.program.primitive import Cotangents, NDArray, primitive
from pullback.program.value import Value
from pullback.types import ArrayType


@final
@primitive
class Cholesky(LinearAlgebra):
    """Lower triangular ``l`` with ``l @ lᵀ = (x + xᵀ) / 2``; the identity on symmetric ``x``.

    Shapes: x: T[..., n, n] -> T[..., n, n].   Cost: 1/3 n³ (LAPACK).   Residuals: the output.
    Raises LinAlgError where ``x`` is not positive definite.
    Reference: Murray 2016, "Differentiation of the Cholesky decomposition", arXiv:1602.07527.
    """

    name = "cholesky"

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the operand's type."""
        self.check_matrix(x, square=True)
        return x

    def evaluate(self, x: NDArray) -> NDArray:
        """NumPy's ``cholesky`` of the symmetric part."""
        return np.linalg.cholesky(_symmetrized(working(x))).astype(x.dtype, copy=False)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Two triangular solves around the lower triangle of lᵀ ct with its diagonal halved."""
        inner = matmul(transposed(out), triangle(ct, lower=True, strict=False))
        low = triangle(inner, lower=True, strict=True)
        phi = operators.where(on_diagonal(x.shape[-1]), inner * 0.5, low)
        back = TriangularSolve(lower_triangle=True, transpose=True)
        ct_x = transposed(back(out, transposed(back(out, phi))))
        return ((ct_x + transposed(ct_x)) * 0.5,)


def _symmetrized(x: NDArray) -> NDArray:
    symmetric: NDArray = (x + x.swapaxes(-1, -2)) * np.asarray(0.5, x.dtype)
    return symmetric


@final
@primitive
class Eigh(LinearAlgebra):
    """Eigenvalues, ascending, and orthonormal eigenvectors (columns) of ``(x + xᵀ) / 2``.

    Shapes: x: T[..., n, n] -> (T[..., n], T[..., n, n]).   Cost: about 9 n³ (LAPACK).
    Residuals: the outputs.   Eigenvectors of equal eigenvalues are not differentiable: their
    cotangents give infinite ones. Reference: Giles 2008, section 3.1.
    """

    name = "eigh"

    def infer(self, x: ArrayType) -> tuple[ArrayType, ArrayType]:
        """Return the types of values and vectors."""
        self.check_matrix(x, square=True)
        return x.with_shape(x.shape[:-1]), x

    def evaluate(self, x: NDArray) -> tuple[NDArray, NDArray]:
        """NumPy's ``eigh`` of the symmetric part."""
        values, vectors = np.linalg.eigh(_symmetrized(working(x)))
        return values.astype(x.dtype, copy=False), vectors.astype(x.dtype, copy=False)

    def vjp(self, ct: tuple[Value, Value], out: tuple[Value, Value], x: Value) -> Cotangents:
        """Return v (diag(ct_w) + f * vᵀ ct_v) vᵀ with f one over the gaps."""
        values, vectors = out
        n = x.shape[-1]
        turn = matmul(transposed(vectors), ct[1])
        turn = (turn - transposed(turn)) * 0.5  # only rotations matter: vectors stay orthonormal
        turn = divide_by_gaps(turn, along_columns(values, n) - along_rows(values, n))
        inner = operators.where(on_diagonal(n), along_rows(ct[0], n), turn)
        return (matmul(matmul(vectors, inner), transposed(vectors)),)


@final
@primitive
class Eigvalsh(LinearAlgebra):
    """Eigenvalues, ascending, of ``(x + xᵀ) / 2``; differentiable also where some are equal.

    Shapes: x: T[..., n, n] -> T[..., n].   Cost: about 4/3 n³ (LAPACK).   Residuals: x.
    Reference: ``ct_x = v diag(ct) vᵀ``; Giles 2008, section 3.1.
    """

    name = "eigvalsh"

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the type of the values."""
        self.check_matrix(x, square=True)
        return x.with_shape(x.shape[:-1])

    def evaluate(self, x: NDArray) -> NDArray:
        """NumPy's ``eigvalsh`` of the symmetric part."""
        return np.linalg.eigvalsh(_symmetrized(working(x))).astype(x.dtype, copy=False)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return v diag(ct) vᵀ."""
        _, vectors = Eigh()(x)
        scaled = vectors * along_columns(ct, x.shape[-1])
        return (matmul(scaled, transposed(vectors)),)


@final
@primitive
class Svd(LinearAlgebra):
    """Singular value decomposition ``x = u @ diag(s) @ vt``, ``s`` descending.

    Shapes: x: T[..., m, n] -> (T[..., m, k], T[..., k], T[..., k, n]) with k = min(m, n);
    with ``full_matrices`` u is T[..., m, m] and vt T[..., n, n].
    Cost: about 14 m n k (LAPACK).   Residuals: the outputs.
    Not differentiable: vectors of equal or (for m != n) zero singular values, whose cotangents
    give infinite ones; and ``full_matrices`` with m != n, which is refused.
    Reference: Townsend 2016, "Differentiating the singular value decomposition".
    """

    full_matrices: bool
    name = "svd"

    def infer(self, x: ArrayType) -> tuple[ArrayType, ArrayType, ArrayType]:
        """Return the types of u, s and vt."""
        self.check_matrix(x, square=False)
        *batch, m, n = x.shape
        k = min(m, n)
        rows, columns = (m, n) if self.full_matrices else (k, k)
        return (
            x.with_shape((*batch, m, rows)),
            x.with_shape((*batch, k)),
            x.with_shape((*batch, columns, n)),
        )

    def evaluate(self, x: NDArray) -> tuple[NDArray, NDArray, NDArray]:
        """NumPy's ``svd``."""
        u, s, vt = np.linalg.svd(working(x), full_matrices=self.full_matrices)
        dtype = x.dtype
        return (
            u.astype(dtype, copy=False),
            s.astype(dtype, copy=False),
            vt.astype(dtype, copy=False),
        )

    def vjp(self, ct: Any, out: Any, x: Value) -> Cotangents:
        """Townsend's equations 20 to 22, transposed."""
        m, n = x.shape[-2:]
        if self.full_matrices and m != n:
            raise DifferentiationError(
                f"svd of {x.type} with full_matrices=True has no derivative: the extra vectors are "
                "arbitrary. Pass full_matrices=False"
            )
        (ct_u, ct_s, ct_vt), (u, s, vt) = ct, out
        k = s.shape[-1]
        v, ct_v = transposed(vt), transposed(ct_vt)
        gaps = (along_columns(s, k) - along_rows(s, k)) * (along_columns(s, k) + along_rows(s, k))
        turn_u, turn_v = matmul(transposed(u), ct_u), matmul(vt, ct_v)
        f_u = divide_by_gaps(turn_u - transposed(turn_u), gaps)
        f_v = divide_by_gaps(turn_v - transposed(turn_v), gaps)
        inner = f_u * along_columns(s, k) + f_v * along_rows(s, k)
        inner = inner + operators.where(on_diagonal(k), along_rows(ct_s, k), 0)
        ct_x = matmul(matmul(u, inner), vt)
        if m > k:
            outside = ct_u - matmul(u, turn_u)
            ct_x = ct_x + matmul(outside / along_columns(s, m), vt)
        if n > k:
            outside = ct_v - matmul(v, turn_v)
            ct_x = ct_x + matmul(u, transposed(outside / along_columns(s, n)))
        return (ct_x,)


@final
@primitive
class SvdVals(LinearAlgebra):
    """Singular values, descending; differentiable also where some are equal, not where zero.

    Shapes: x: T[..., m, n] -> T[..., min(m, n)].   Cost: about 4 m n min(m, n) (LAPACK).
    Residuals: x.   Reference: ``ct_x = u diag(ct) vᵀ``; Giles 2008, section 3.2.
    """

    name = "svdvals"

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the type of the values."""
        self.check_matrix(x, square=False)
        return x.with_shape((*x.shape[:-2], min(x.shape[-2:])))

    def evaluate(self, x: NDArray) -> NDArray:
        """NumPy's ``svd`` without vectors."""
        return np.linalg.svd(working(x), compute_uv=False).astype(x.dtype, copy=False)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return u diag(ct) vᵀ."""
        u, _, vt = Svd(full_matrices=False)(x)
        return (matmul(u * along_columns(ct, x.shape[-2]), vt),)


@final
@primitive
class Qr(LinearAlgebra):
    """Orthonormal ``q`` and upper triangular ``r`` with ``x = q @ r``.

    Shapes: x: T[..., m, n] -> (T[..., m, k], T[..., k, n]) with k = min(m, n), or k = m if
    ``complete``.   Cost: 4 m n k (Householder, LAPACK).   Residuals: x and the outputs.
    Not differentiable: rank-deficient leading columns; ``complete`` with m > n, which is refused.
    Reference: Walter & Lehmann 2018, "Algorithmic differentiation of linear algebra functions",
    arXiv:1001.1654; for m < n, Roberts & Roberts 2020, "QR and LQ decomposition matrix
    backpropagation algorithms", arXiv:2009.10071.
    """

    complete: bool
    name = "qr"

    def infer(self, x: ArrayType) -> tuple[ArrayType, ArrayType]:
        """Return the types of q and r."""
        self.check_matrix(x, square=False)
        *batch, m, n = x.shape
        k = m if self.complete else min(m, n)
        return x.with_shape((*batch, m, k)), x.with_shape((*batch, k, n))

    def evaluate(self, x: NDArray) -> tuple[NDArray, NDArray]:
        """NumPy's ``qr``."""
        q, r = np.linalg.qr(working(x), mode="complete" if self.complete else "reduced")
        return q.astype(x.dtype, copy=False), r.astype(x.dtype, copy=False)

    def vjp(self, ct: tuple[Value, Value], out: tuple[Value, Value], x: Value) -> Cotangents:
        """Walter and Lehmann's rule for the leading columns; the others are linear."""
        (ct_q, ct_r), (q, r) = ct, out
        m, n = x.shape[-2:]
        if self.complete and m > n:
            raise DifferentiationError(
                f"qr of {x.type} with mode='complete' has no derivative: the extra columns of q "
                "are arbitrary. Pass mode='reduced'"
            )
        if m >= n:
            return (_qr_tall(ct_q, ct_r, q, r),)
        ct_rest = columns_between(ct_r, m, n)
        ct_q = ct_q + matmul(columns_between(x, m, n), transposed(ct_rest))
        ct_first = _qr_tall(ct_q, columns_between(ct_r, 0, m), q, columns_between(r, 0, m))
        return (Concatenate(axis=x.ndim - 1)(ct_first, matmul(q, ct_rest)),)


def _qr_tall(ct_q: Any, ct_r: Any, q: Any, r: Any) -> Any:
    """Cotangent of ``x`` of at least as many rows as columns."""
    ct_r = triangle(ct_r, lower=False, strict=False)
    m = matmul(r, transposed(ct_r)) - matmul(transposed(ct_q), q)
    low = triangle(m, lower=True, strict=True)
    symmetric = triangle(m, lower=True, strict=False) + transposed(low)
    right = ct_q + matmul(q, symmetric)
    # right @ r⁻ᵀ, as the transpose of r⁻¹ @ rightᵀ
    return transposed(TriangularSolve(lower_triangle=False)(r, transposed(right)))
