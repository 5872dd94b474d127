"""Solving linear systems, inverses and determinants, evaluated by NumPy (LAPACK) on the host.

Imports ``program`` and ``matrices``. Start at ``Solve``. All take leading batch axes; 16-bit floats
are computed in float32 and rounded once.
"""

from __future__ import annotations

from typing import final

import numpy as np

from pullback.primitives.matrices import (
    LinearAlgebra,
    as_matrices,
    matmul,
    transposed,
    triangle,
    working,
)
from pullback.primitives.reduce import ReduceSum
from pullback.program.primitive import Cotangents, NDArray, primitive
from pullback.program.value import Value
from pullback.types import ArrayType

#: Largest triangular system that is handed to NumPy's general solver in one piece.
_SOLVE_BLOCK = 64


@final
@primitive
class Solve(LinearAlgebra):
    """Solution ``x`` of ``a @ x = b``.

    Shapes: a: T[..., n, n], b: T[..., n, k] -> T[..., n, k]. Cost: 2/3 n³ + 2 k n² (LU, LAPACK).
    Residuals: a and the output.   Raises LinAlgError where ``a`` is singular.
    Reference: ``ct_b = solve(aᵀ, ct)``, ``ct_a = -ct_b xᵀ``; Giles 2008, section 2.3.1.
    """

    name = "solve"

    def infer(self, a: ArrayType, b: ArrayType) -> ArrayType:
        """Return the type of ``b``."""
        self.check_system(a, b)
        return b

    def evaluate(self, a: NDArray, b: NDArray) -> NDArray:
        """LAPACK's LU solve."""
        return np.linalg.solve(working(a), working(b)).astype(b.dtype, copy=False)

    def vjp(self, ct: Value, out: Value, a: Value, b: Value) -> Cotangents:
        """Solve with the transpose; the outer product for ``a``."""
        ct_b = Solve()(transposed(a), ct)
        return -matmul(ct_b, transposed(out)), ct_b


@final
@primitive
class TriangularSolve(LinearAlgebra):
    """Solution ``x`` of ``t @ x = b``, or of ``tᵀ @ x = b``, for a triangle ``t`` of ``a``.

    Elements outside the triangle, and the diagonal if ``unit_diagonal``, are not read.

    Shapes: a: T[..., n, n], b: T[..., n, k] -> T[..., n, k].   Cost: k n².
    Residuals: a and the output.   Raises LinAlgError where the diagonal holds a zero.
    Reference: as ``Solve``, with the cotangent of ``a`` restricted to the triangle.
    """

    lower_triangle: bool
    transpose: bool = False
    unit_diagonal: bool = False
    name = "triangular_solve"

    def infer(self, a: ArrayType, b: ArrayType) -> ArrayType:
        """Return the type of ``b``."""
        self.check_system(a, b)
        return b

    def evaluate(self, a: NDArray, b: NDArray) -> NDArray:
        """Substitute, by halves."""
        t = np.tril(working(a)) if self.lower_triangle else np.triu(working(a))
        if self.unit_diagonal:
            i = np.arange(t.shape[-1])
            t[..., i, i] = 1
        if self.transpose:
            t = t.swapaxes(-1, -2)
        return _substitute(t, working(b), self.lower_triangle != self.transpose).astype(
            b.dtype, copy=False
        )

    def vjp(self, ct: Value, out: Value, a: Value, b: Value) -> Cotangents:
        """Solve with the transpose; the triangle of the outer product for ``a``."""
        ct_b = TriangularSolve(self.lower_triangle, not self.transpose, self.unit_diagonal)(a, ct)
        ct_t = -matmul(ct_b, transposed(out))
        ct_a = transposed(ct_t) if self.transpose else ct_t
        return triangle(ct_a, lower=self.lower_triangle, strict=self.unit_diagonal), ct_b


def _substitute(t: NDArray, b: NDArray, lower: bool) -> NDArray:
    """Solve by halves, so that the work is in matrix products and small systems."""
    n = t.shape[-1]
    if n <= _SOLVE_BLOCK:
        return np.linalg.solve(t, b)
    half = n // 2
    first, second = (slice(0, half), slice(half, n)) if lower else (slice(half, n), slice(0, half))
    x_first = _substitute(t[..., first, first], b[..., first, :], lower)
    rest = b[..., second, :] - t[..., second, first] @ x_first
    x_second = _substitute(t[..., second, second], rest, lower)
    parts = (x_first, x_second) if lower else (x_second, x_first)
    return np.concatenate(parts, axis=-2)


@final
@primitive
class Inv(LinearAlgebra):
    """Matrix inverse.

    Shapes: x: T[..., n, n] -> T[..., n, n].   Cost: 2 n³ (LU, LAPACK).   Residuals: the output.
    Raises LinAlgError where ``x`` is singular.
    Reference: ``ct_x = -yᵀ ct yᵀ``; Giles 2008, section 2.2.3.
    """

    name = "inv"

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the operand's type."""
        self.check_matrix(x, square=True)
        return x

    def evaluate(self, x: NDArray) -> NDArray:
        """NumPy's ``inv``."""
        return np.linalg.inv(working(x)).astype(x.dtype, copy=False)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """-yᵀ ct yᵀ."""
        y = transposed(out)
        return (-matmul(matmul(y, ct), y),)


@final
@primitive
class Pinv(LinearAlgebra):
    """Moore-Penrose inverse; singular values below ``rtol`` times the largest count as zero.

    Shapes: x: T[..., m, n] -> T[..., n, m].   Cost: one singular value decomposition.
    Residuals: x and the output.   Not differentiable where the rank changes.
    Reference: Golub & Pereyra 1973, "The differentiation of pseudo-inverses …", equation 4.12.
    """

    rtol: float
    name = "pinv"

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the transposed shape."""
        self.check_matrix(x, square=False)
        return x.with_shape((*x.shape[:-2], x.shape[-1], x.shape[-2]))

    def evaluate(self, x: NDArray) -> NDArray:
        """NumPy's ``pinv``."""
        return np.linalg.pinv(working(x), rcond=self.rtol).astype(x.dtype, copy=False)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """The transpose of Golub and Pereyra's three terms."""
        p, pt, ct_t = out, transposed(out), transposed(ct)
        image = matmul(matmul(ct_t, p), pt)  # ctᵀ p pᵀ
        kernel = matmul(matmul(pt, p), ct_t)  # pᵀ p ctᵀ
        ct_x = image - matmul(x, matmul(p, image))
        ct_x = ct_x + kernel - matmul(matmul(kernel, p), x)
        return (ct_x - matmul(matmul(pt, ct), pt),)


@final
@primitive
class Det(LinearAlgebra):
    """Determinant.

    Shapes: x: T[..., n, n] -> T[...].   Cost: 2/3 n³ (LU, LAPACK).   Residuals: x.
    Reference: Jacobi's formula, ``ct_x = ct * cofactors(x)``; defined for singular ``x`` too.
    """

    name = "det"

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the batch shape."""
        self.check_matrix(x, square=True)
        return x.with_shape(x.shape[:-2])

    def evaluate(self, x: NDArray) -> NDArray:
        """NumPy's ``det``."""
        return np.asarray(np.linalg.det(working(x)), x.dtype)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Ct times the cofactors."""
        return (as_matrices(ct, x.shape) * Cofactors()(x),)


@final
@primitive
class Cofactors(LinearAlgebra):
    """Matrix of cofactors: the gradient of the determinant.

    Shapes: x: T[..., n, n] -> T[..., n, n].   Cost: one singular value decomposition.
    Residuals: x and the output.   The derivative needs a non-singular ``x``.
    Reference: ``x = u s vᵀ`` gives ``det(u) det(v) u adj(s) vᵀ``; for the derivative,
    ``cof(x) = det(x) x⁻ᵀ``.
    """

    name = "cofactors"

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the operand's type."""
        self.check_matrix(x, square=True)
        return x

    def evaluate(self, x: NDArray) -> NDArray:
        """Multiply, for each singular value, all the others."""
        if x.size == 0:
            return x
        u, s, vt = np.linalg.svd(working(x))
        n = s.shape[-1]
        others = np.where(np.eye(n, dtype=bool), 1, s[..., None, :]).prod(axis=-1)
        sign = np.round(np.linalg.det(u) * np.linalg.det(vt)).astype(s.dtype)
        cofactors: NDArray = (u * (others * sign[..., None])[..., None, :]) @ vt
        return cofactors.astype(x.dtype, copy=False)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """<ct, out> x⁻ᵀ - out ctᵀ x⁻ᵀ."""
        inverse_t = transposed(Inv()(x))
        axes = (x.ndim - 2, x.ndim - 1)
        along = as_matrices(ReduceSum(axes=axes)(ct * out), x.shape) * inverse_t
        return (along - matmul(matmul(out, transposed(ct)), inverse_t),)


@final
@primitive
class SlogDet(LinearAlgebra):
    """Sign and logarithm of the absolute value of the determinant.

    Shapes: x: T[..., n, n] -> (T[...], T[...]).   Cost: 2/3 n³ (LU, LAPACK).   Residuals: x.
    Reference: ``ct_x = ct_log x⁻ᵀ``; the derivative needs a non-singular ``x``.
    """

    name = "slogdet"

    def infer(self, x: ArrayType) -> tuple[ArrayType, ArrayType]:
        """Return the batch shape twice."""
        self.check_matrix(x, square=True)
        out = x.with_shape(x.shape[:-2])
        return out, out

    def evaluate(self, x: NDArray) -> tuple[NDArray, NDArray]:
        """NumPy's ``slogdet``."""
        sign, logarithm = np.linalg.slogdet(working(x))
        return np.asarray(sign, x.dtype), np.asarray(logarithm, x.dtype)

    def vjp(self, ct: tuple[Value, Value], out: tuple[Value, Value], x: Value) -> Cotangents:
        """The logarithm's ct times x⁻ᵀ; the sign is constant."""
        return (as_matrices(ct[1], x.shape) * transposed(Inv()(x)),)
