"""The namespace against ``jax.numpy`` and ``jax.nn``: values and gradients, in float32."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.peer

X = np.linspace(-4, 4, 24, dtype=np.float32).reshape(4, 6)
SAME_NAMES = (
    *("relu", "relu6", "leaky_relu", "elu", "celu", "selu", "gelu", "sigmoid", "silu", "softplus"),
    *("log_sigmoid", "soft_sign", "hard_sigmoid", "hard_silu", "hard_tanh", "mish", "glu"),
    *("softmax", "log_softmax", "standardize"),
)


@pytest.mark.parametrize("name", SAME_NAMES)
def test_nn_agrees_with_jax(name):
    ours, theirs = getattr(pb.nn, name), getattr(jax.nn, name)

    np.testing.assert_allclose(np.asarray(ours(X)), np.asarray(theirs(X)), rtol=1e-5, atol=1e-6)
    found = pb.grad(lambda x: pb.sum(ours(x) * X[:, : ours(X).shape[1]]))(X)
    expected = jax.grad(lambda x: (theirs(x) * X[:, : ours(X).shape[1]]).sum())(X)
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["relu", "relu6", "elu", "leaky_relu", "softplus", "hard_tanh"])
def test_gradients_at_zero_agree_with_jax(name):
    expected = float(jax.grad(getattr(jax.nn, name))(0.0))

    assert float(pb.grad(getattr(pb.nn, name))(0.0)) == expected


def test_dropout_draws_the_mask_of_jax():
    key = jax.random.key(3, impl="threefry2x32")
    mask = np.asarray(jax.random.bernoulli(key, 0.7, (40, 5)))

    found = np.asarray(pb.nn.dropout(pb.random.key(3), pb.ones((40, 5)), 1 - 0.7))

    np.testing.assert_array_equal(found != 0, mask)


CALLS = {
    "clip": lambda n: n.clip(X, -1.0, 1.0),
    "cumsum": lambda n: n.cumsum(X, 1),
    "einsum": lambda n: n.einsum("ij,kj->ik", X, X),
    "floor_divide": lambda n: n.floor_divide(X, 0.7),
    "kron": lambda n: n.kron(X[:2], X[:, :2]),
    "maximum": lambda n: n.maximum(X, X[::-1]),
    "mixed dtypes": lambda n: n.asarray(X) + np.arange(6, dtype=np.int32),
    "pad": lambda n: n.pad(X, ((1, 2), (0, 3)), "reflect"),
    "percentile": lambda n: n.percentile(X, 30.0, axis=0),
    "power": lambda n: n.asarray(X) ** 3,
    "repeat": lambda n: n.repeat(X, np.array([1, 0, 2, 1]), axis=0, total_repeat_length=4),
    "roll": lambda n: n.roll(X, (1, -2), axis=(0, 1)),
    "searchsorted": lambda n: n.searchsorted(np.sort(X[0]), X),
    "std": lambda n: n.std(X, axis=0, ddof=1),
    "tensordot": lambda n: n.tensordot(X, X.T, axes=1),
    "unique": lambda n: n.unique_values(n.asarray(X > 0)),
    "update": lambda n: n.asarray(X).at[np.array([0, 0]), 1:3].add(1.0),
    "update with a mask": lambda n: n.asarray(X).at[X > 0].set(0.0),
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_numpy_functions_agree_with_jax(name):
    found, expected = CALLS[name](pb), CALLS[name](jax.numpy)

    assert found.dtype == expected.dtype
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-5, atol=1e-6)
