"""``ops.linalg``: factors multiply to the matrix, and everything that can differentiates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.testing import check_vjp

pytest.importorskip("keras")

from keras_pullback.src.ops import linalg


@pytest.fixture
def positive(rng: np.random.Generator) -> np.ndarray:
    """Two symmetric positive definite matrices."""
    x = rng.normal(size=(2, 4, 4))
    return x @ np.swapaxes(x, 1, 2) + 4 * np.eye(4)


def transposed(x: Any) -> np.ndarray:
    return np.swapaxes(np.asarray(x), -1, -2)


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_and_its_inverse(positive: np.ndarray, upper: bool) -> None:
    factor = linalg.cholesky(positive, upper=upper)
    inverse = linalg.cholesky_inverse(factor, upper=upper)

    product = (
        transposed(factor) @ np.asarray(factor)
        if upper
        else np.asarray(factor) @ transposed(factor)
    )
    np.testing.assert_allclose(product, positive, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.asarray(inverse), np.linalg.inv(positive), atol=1e-12)


def test_cholesky_refuses_indefinite_matrices() -> None:
    with pytest.raises(ValueError, match="Cholesky decomposition failed"):
        linalg.cholesky(-np.eye(3))


@pytest.mark.parametrize("shape", [(4, 4), (4, 3), (3, 5), (2, 3, 3)])
def test_lu_factors(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    x = rng.normal(size=shape)
    rows, columns = shape[-2:]
    count = min(rows, columns)

    factors, pivots = (np.asarray(part) for part in linalg.lu_factor(x))

    for lu, exchanged, matrix in zip(
        factors.reshape(-1, rows, columns),
        pivots.reshape(-1, count),
        x.reshape(-1, rows, columns),
        strict=True,
    ):
        permuted = matrix.copy()
        for i, j in enumerate(exchanged):
            permuted[[i, j]] = permuted[[j, i]]
        lower = np.tril(lu[:, :count], -1) + np.eye(rows, count)
        np.testing.assert_allclose(lower @ np.triu(lu[:count]), permuted, atol=1e-12)
        assert np.all(np.abs(lower) <= 1)


def test_eigenvalues(positive: np.ndarray) -> None:
    for function in (linalg.eig, linalg.eigh):
        values, vectors = (np.asarray(part) for part in function(positive))
        np.testing.assert_allclose(positive @ vectors, vectors * values[:, None], atol=1e-10)


def test_eig_refuses_complex_eigenvalues() -> None:
    with pytest.raises(Exception, match="no complex tensors"):
        np.asarray(linalg.eig(np.array([[0.0, 1.0], [-1.0, 0.0]]))[0])


@pytest.mark.parametrize("mode", ["reduced", "complete"])
def test_qr(rng: np.random.Generator, mode: Any) -> None:
    x = rng.normal(size=(2, 5, 3))

    q, r = (np.asarray(part) for part in linalg.qr(x, mode=mode))

    assert q.shape == (2, 5, 3 if mode == "reduced" else 5)
    np.testing.assert_allclose(q @ r, x, atol=1e-12)
    with pytest.raises(ValueError, match="mode"):
        linalg.qr(x, mode="raw")  # type: ignore[arg-type]


def test_svd(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 5, 3))

    left, values, right = (np.asarray(part) for part in linalg.svd(x, full_matrices=False))

    np.testing.assert_allclose((left * values[:, None]) @ right, x, atol=1e-12)
    alone = np.asarray(linalg.svd(x, compute_uv=False))
    np.testing.assert_allclose(alone, values, rtol=1e-12)


def test_solutions(positive: np.ndarray, rng: np.random.Generator) -> None:
    matrix, vector = rng.normal(size=(2, 4, 3)), rng.normal(size=(2, 4))
    lower = np.tril(positive)

    for b in (matrix, vector):
        right = b if b.ndim == 3 else b[..., None]
        found = np.asarray(linalg.solve(positive, b)).reshape(right.shape)
        np.testing.assert_allclose(positive @ found, right, atol=1e-10)
        found = np.asarray(linalg.solve_triangular(positive, b, lower=True)).reshape(right.shape)
        np.testing.assert_allclose(lower @ found, right, atol=1e-10)


@pytest.mark.parametrize("shape", [(6, 3), (3, 6)])
def test_least_squares(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    a, b = rng.normal(size=shape), rng.normal(size=(shape[0], 2))

    found = np.asarray(linalg.lstsq(a, b))

    np.testing.assert_allclose(found, np.linalg.lstsq(a, b, rcond=None)[0], atol=1e-10)
    vector = np.asarray(linalg.lstsq(a, b[:, 0]))
    np.testing.assert_allclose(vector, found[:, 0], atol=1e-10)


def test_ranks() -> None:
    x = np.diag([3.0, 1.0, 1e-3, 0.0])

    assert int(linalg.matrix_rank(x)) == 3
    assert int(linalg.matrix_rank(x, tol=0.01)) == 2
    with pytest.raises(ValueError, match="rank >= 2"):
        linalg.matrix_rank(np.ones(3))


@pytest.mark.parametrize("order", [None, 1, 2, 3, np.inf, -np.inf, 0])
def test_norms_of_vectors(rng: np.random.Generator, order: Any) -> None:
    x = rng.normal(size=(4, 5))

    found = np.asarray(linalg.norm(x, ord=order, axis=1, keepdims=True))

    expected = np.linalg.norm(x, ord=order, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_norm_refuses_matrix_orders_for_vectors() -> None:
    with pytest.raises(ValueError, match="nuc"):
        linalg.norm(np.ones(3), ord="nuc")


def test_integers_are_computed_in_floating_point() -> None:
    x = np.array([[2, 0], [0, 4]], "int32")

    for function in (linalg.det, linalg.inv, linalg.norm, linalg.pinv, linalg.cholesky):
        assert str(function(x).dtype) == "float32"


@pytest.mark.parametrize("name", ["det", "inv", "cholesky", "norm", "pinv"])
def test_derivatives(positive: np.ndarray, name: str) -> None:
    def symmetric(x: Any) -> Any:
        return getattr(linalg, name)(x + pb.matrix_transpose(x))

    check_vjp(symmetric, positive, order=1, tolerance=1e-5)


def test_factorizations_inside_jit(positive: np.ndarray) -> None:
    x = pb.asarray(positive)

    for function in (linalg.lu_factor, linalg.eigh, linalg.qr):
        for found, expected in zip(pb.jit(function)(x), function(x), strict=True):
            np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-12)


def test_jvp_returns_result_and_derivative() -> None:
    result, tangent = linalg.jvp(lambda x: x * x, (pb.asarray(3.0),), (pb.asarray(1.0),))

    assert (float(result), float(tangent)) == (9.0, 6.0)
