"""JAX's BCOO as a third opinion: products and derivatives, with duplicates and padding."""

from __future__ import annotations

import numpy as np
import pytest
from sparse_cases import random_coo, random_values

import pullback as pb

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("seed", range(5))
def test_products_and_gradients_are_those_of_bcoo(seed):
    jax = pytest.importorskip("jax")
    bcoo = pytest.importorskip("jax.experimental.sparse")
    rng = np.random.default_rng(seed)
    x = random_coo(rng, (6, 5), "float32", nse=20)
    # JAX counts negative indices from the end: there padding is only behind the array.
    indices = np.asarray(x.indices)
    indices = np.where((indices < 0).any(axis=1, keepdims=True), [6, 5], indices)
    w = random_values(rng, (5, 3), "float32")

    def loss(values, w):
        return (((bcoo.BCOO((values, indices), shape=x.shape)) @ w) ** 2).sum()

    expected = jax.value_and_grad(loss, argnums=(0, 1))(np.asarray(x.values), w)
    value, (gx, gw) = pb.value_and_grad(lambda x, w: pb.sum((x @ w) ** 2), argnums=(0, 1))(x, w)

    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    np.testing.assert_allclose(gx.values, expected[1][0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gw, expected[1][1], rtol=1e-5, atol=1e-5)
