"""Cases of matrix factorizations.

Vectors have signs that no reference can foresee: ``tests/primitives/test_factorizations.py`` checks
that the factors are orthonormal or triangular and multiply to the matrix.
"""

from __future__ import annotations

import ml_dtypes
import numpy as np
from case import Case, given, normal

from pullback.primitives.factorizations import Cholesky, Eigh, Eigvalsh, Qr, Svd, SvdVals

BF16 = ml_dtypes.bfloat16
FACTORS = "reference: tests/primitives/test_factorizations.py"


def positive(*shape, dtype=np.float64):
    """Make positive definite matrices that are not quite symmetric."""

    def make(rng):
        x = rng.normal(size=shape)
        x = x @ x.swapaxes(-1, -2) + np.eye(shape[-1]) + rng.normal(size=shape) / 10
        return (x.astype(dtype),)

    return make


def symmetric_part(x):
    return (x + x.swapaxes(-1, -2)) / 2


def cholesky(x):
    """Row by row, in long double."""
    a = symmetric_part(x.astype(np.float64).astype(np.longdouble))
    low = np.zeros_like(a)
    for i in range(a.shape[-1]):
        for j in range(i + 1):
            rest = a[..., i, j] - (low[..., i, :j] * low[..., j, :j]).sum(-1)
            low[..., i, j] = np.sqrt(rest) if i == j else rest / low[..., j, j]
    return low


def by_general_solver(x):
    values = np.linalg.eigvals(symmetric_part(x.astype(np.float64)))
    return np.sort(values.real, axis=-1)


def by_normal_matrix(x):
    x = x.astype(np.float64)
    if x.shape[-2] < x.shape[-1]:
        x = x.swapaxes(-1, -2)
    values = np.linalg.eigvalsh(x.swapaxes(-1, -2) @ x)
    return np.sqrt(values)[..., ::-1]


NEAR = {"atol": 1e-13, "ulp": 64}
SINGLE = {"atol": 1e-5, "ulp": 64}
UNREFERENCED = {"reference": None, "notes": FACTORS}

CASES = [
    Case(Cholesky(), positive(3, 3), cholesky, **NEAR),
    Case(Cholesky(), positive(2, 2, 2), cholesky, label="batch", **NEAR),
    Case(Cholesky(), positive(1, 1), cholesky, label="one", **NEAR),
    Case(Cholesky(), normal((0, 0)), lambda x: x, label="empty"),
    Case(Cholesky(), positive(3, 3, dtype=np.float32), cholesky, **SINGLE),
    Case(Cholesky(), positive(3, 3, dtype=BF16), cholesky, ulp=1, orders=()),
    Case(Eigvalsh(), normal((3, 3)), by_general_solver, **NEAR),
    Case(Eigvalsh(), normal((2, 2, 2)), by_general_solver, label="batch", **NEAR),
    Case(Eigvalsh(), normal((3, 3), dtype=np.float32), by_general_solver, **SINGLE),
    Case(Eigvalsh(), normal((3, 3), dtype=np.float16), by_general_solver, ulp=1, orders=()),
    Case(Eigvalsh(), given(np.eye(3)), by_general_solver, orders=(), label="equal-values", **NEAR),
    Case(SvdVals(), normal((4, 2)), by_normal_matrix, label="tall", **NEAR),
    Case(SvdVals(), normal((2, 4)), by_normal_matrix, label="wide", **NEAR),
    Case(SvdVals(), normal((2, 2, 2)), by_normal_matrix, label="batch", **NEAR),
    Case(SvdVals(), normal((4, 2), dtype=np.float32), by_normal_matrix, **SINGLE),
    Case(Eigh(), normal((3, 3)), **UNREFERENCED),
    Case(Eigh(), normal((2, 2, 2)), label="batch", **UNREFERENCED),
    Case(Eigh(), normal((1, 1)), label="one", **UNREFERENCED),
    Case(Eigh(), normal((3, 3), dtype=np.float32), **UNREFERENCED),
    Case(Eigh(), normal((3, 3), dtype=BF16), orders=(), **UNREFERENCED),
    *(
        Case(Svd(full), normal(shape), label=f"{'full' if full else 'thin'}", **UNREFERENCED)
        for full, shape in [
            (False, (4, 2)),
            (False, (2, 4)),
            (False, (3, 3)),
            (True, (3, 3)),
            (False, (2, 3, 2)),
        ]
    ),
    Case(Svd(True), normal((4, 2)), orders=(), label="full", **UNREFERENCED),
    Case(Svd(False), normal((4, 2), dtype=np.float32), **UNREFERENCED),
    *(
        Case(Qr(complete), normal(shape), label=f"{'complete' * complete}", **UNREFERENCED)
        for complete, shape in [
            (False, (4, 2)),
            (False, (2, 4)),
            (False, (3, 3)),
            (True, (3, 3)),
            (True, (2, 4)),
            (False, (2, 3, 2)),
        ]
    ),
    Case(Qr(True), normal((4, 2)), orders=(), label="complete", **UNREFERENCED),
    Case(Qr(False), normal((4, 2), dtype=np.float32), **UNREFERENCED),
]
