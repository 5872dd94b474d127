"""Matrix factorizations: the factors have their forms and multiply to the matrix."""

from __future__ import annotations

import numpy as np
import pytest

from pullback.errors import DifferentiationError, DTypeError, ShapeError
from pullback.primitives.factorizations import Cholesky, Eigh, Eigvalsh, Qr, Svd, SvdVals
from pullback.primitives.linalg import Inv, Solve
from pullback.program.value import Array
from pullback.testing import pull_back_eagerly

SHAPES = [(3, 3), (4, 2), (2, 4), (1, 1), (2, 3, 2), (5, 1)]
SQUARE = [(3, 3), (1, 1), (2, 4, 4), (0, 0)]


def is_close(x, y):
    dtype = np.asarray(x).dtype
    return np.allclose(x, y, rtol=0, atol=1e-12 if dtype == np.float64 else 3e-6)


def identities(x):
    return np.broadcast_to(np.eye(x.shape[-1]), x.shape)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SQUARE)
def test_eigh_gives_orthonormal_vectors_of_the_symmetric_part(shape, dtype, rng):
    x = rng.normal(size=shape).astype(dtype)

    values, vectors = Eigh().evaluate(x)

    assert is_close(vectors.swapaxes(-1, -2) @ vectors, identities(x))
    product = (vectors * values[..., None, :]) @ vectors.swapaxes(-1, -2)
    assert is_close(product, (x + x.swapaxes(-1, -2)) / 2)
    assert (np.diff(values) >= 0).all()
    assert is_close(values, Eigvalsh().evaluate(x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_svd_gives_orthonormal_factors_of_the_matrix(shape, full, dtype, rng):
    x = rng.normal(size=shape).astype(dtype)
    k = min(shape[-2:])

    u, s, vt = Svd(full).evaluate(x)

    assert is_close(u.swapaxes(-1, -2) @ u, np.eye(u.shape[-1]))
    assert is_close(vt @ vt.swapaxes(-1, -2), np.eye(vt.shape[-2]))
    assert is_close((u[..., :k] * s[..., None, :]) @ vt[..., :k, :], x)
    assert (np.diff(s) <= 0).all()
    assert (s >= 0).all()
    assert is_close(s, SvdVals().evaluate(x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("complete", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_qr_gives_orthonormal_columns_and_a_triangle(shape, complete, dtype, rng):
    x = rng.normal(size=shape).astype(dtype)

    q, r = Qr(complete).evaluate(x)

    assert is_close(q.swapaxes(-1, -2) @ q, np.eye(q.shape[-1]))
    assert is_close(q @ r, x)
    assert (np.tril(r, -1) == 0).all()


def gradient(apply, x, *cotangents):
    cts = [Array(np.asarray(c)) for c in cotangents]
    (found,) = pull_back_eagerly(lambda xs: apply(*xs), [Array(x)], cts)
    return np.asarray(found)


def test_eigh_vectors_of_equal_values_get_an_infinite_gradient_only_if_asked():
    """A cotangent of the values alone passes; one of the vectors has no right answer."""
    x = np.eye(2)

    values_only = gradient(Eigh(), x, np.ones(2), np.zeros((2, 2)))
    vectors = gradient(Eigh(), x, np.zeros(2), np.array([[0.0, 1.0], [0.0, 0.0]]))

    np.testing.assert_allclose(values_only, np.eye(2))
    assert np.isinf(vectors).any() or np.isnan(vectors).any()


def test_svd_of_equal_values_has_the_gradient_of_its_values():
    x = np.eye(3)

    found = gradient(Svd(False), x, np.zeros((3, 3)), np.ones(3), np.zeros((3, 3)))

    np.testing.assert_allclose(found, np.eye(3), atol=1e-14)


@pytest.mark.parametrize("primitive", [Svd(True), Qr(True)], ids=lambda p: p.name)
def test_extra_vectors_have_no_derivative(primitive, rng):
    x = rng.normal(size=(4, 2))
    cotangents = [np.ones_like(out) for out in primitive.evaluate(x)]

    with pytest.raises(DifferentiationError, match=r"f64\[4,2\]"):
        gradient(primitive, x, *cotangents)


def test_errors_name_the_operand():
    with pytest.raises(ShapeError, match=r"cholesky takes square matrices .* not f32\[2,3\]"):
        Cholesky()(np.ones((2, 3), np.float32))
    with pytest.raises(DTypeError, match=r"inv takes floating matrices, not i32\[2,2\]"):
        Inv()(np.ones((2, 2), np.int32))
    with pytest.raises(ShapeError, match=r"not f32\[2,2\] and f32\[3,1\]"):
        Solve()(np.ones((2, 2), np.float32), np.ones((3, 1), np.float32))
    with pytest.raises(DTypeError, match="dtypes differ"):
        Solve()(np.ones((2, 2), np.float32), np.ones((2, 1), np.float64))
    with pytest.raises(np.linalg.LinAlgError):
        Inv()(np.zeros((2, 2), np.float32))
