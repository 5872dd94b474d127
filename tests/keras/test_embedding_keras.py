"""``fit`` of an embedding: its gradient is kept as rows, and no bit of the table changes."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from pullback import config
from pullback.passes import compact_scatters as module

WORDS, WIDTH = 5000, 64

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.5),
    "schedule": lambda: keras.optimizers.SGD(
        keras.optimizers.schedules.ExponentialDecay(0.5, 2, 0.9)
    ),
    "momentum": lambda: keras.optimizers.SGD(0.5, momentum=0.9),
    "clipped": lambda: keras.optimizers.SGD(0.5, clipvalue=1e-4),
    "adam": lambda: keras.optimizers.Adam(0.01),
}


def trained(optimizer: str) -> list[np.ndarray]:
    """The weights after an epoch, from fixed data and seeds."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    tokens, y = rng.integers(0, WORDS, (64, 12)).astype(np.int32), rng.integers(0, 3, 64)
    model = keras.Sequential(
        [
            keras.layers.Input((12,), dtype="int32"),
            keras.layers.Embedding(WORDS, WIDTH),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(OPTIMIZERS[optimizer](), loss)
    model.fit(tokens, y, batch_size=16, epochs=1, verbose=0)
    weights: list[np.ndarray] = model.get_weights()
    return weights


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fit_has_the_bits_of_a_whole_table_of_gradients(optimizer, monkeypatch):
    rewrites: list[Any] = []
    traced = module._traced

    def noted(scatter, steps, first_key):
        rewrites.append(steps)
        return traced(scatter, steps, first_key)

    monkeypatch.setattr(module, "_traced", noted)
    with config.override(cache_dir="off"):
        in_rows = trained(optimizer)
    assert rewrites
    in_place = optimizer in ("sgd", "schedule", "clipped")
    assert all(bool(steps) == in_place for steps in rewrites)

    rewrites.clear()
    monkeypatch.setattr(module, "LEAST_BYTES", 1 << 40)
    with config.override(cache_dir="off"):
        whole = trained(optimizer)

    assert not rewrites
    for mine, other in zip(in_rows, whole, strict=True):
        np.testing.assert_array_equal(mine.view(np.int32), other.view(np.int32))
