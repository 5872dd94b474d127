"""Random tensors: repeatable from seeds, of the right distributions, equal inside ``jit``."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb

pytest.importorskip("keras")

from keras_pullback.src import random
from keras_pullback.src.ops.core import convert_to_tensor

DRAWS: dict[str, Any] = {
    "normal": lambda seed: random.normal((4, 3), 1.0, 2.0, seed=seed),
    "uniform": lambda seed: random.uniform((4, 3), -1.0, 2.0, seed=seed),
    "randint": lambda seed: random.randint((4, 3), 0, 100, seed=seed),
    "truncated_normal": lambda seed: random.truncated_normal((4, 3), seed=seed),
    "categorical": lambda seed: random.categorical(np.zeros((2, 50), "float32"), 9, seed=seed),
    "shuffle": lambda seed: random.shuffle(np.arange(40), seed=seed),
    "dropout": lambda seed: random.dropout(np.ones((8, 8), "float32"), 0.5, seed=seed),
    "gamma": lambda seed: random.gamma((4, 3), 2.0, seed=seed),
    "beta": lambda seed: random.beta((4, 3), 2.0, 3.0, seed=seed),
    "binomial": lambda seed: random.binomial((4, 3), 1000.0, 0.4, seed=seed),
}


def key(seed: int) -> Any:
    return convert_to_tensor(np.array([seed, 0], "uint32"))


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_equal_for_equal_seeds_only(name: str) -> None:
    draw = DRAWS[name]

    first, again, other = (np.asarray(draw(seed)) for seed in (5, 5, 6))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", DRAWS)
def test_draws_are_equal_inside_jit(name: str) -> None:
    draw = DRAWS[name]

    expected = np.asarray(draw(key(3)))

    np.testing.assert_allclose(np.asarray(pb.jit(draw)(key(3))), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (random.uniform, [0.330711, 0.2777543, 0.59698844, 0.7263453]),
        (random.normal, [-0.43795067, -0.58952576, 0.24555974, 0.6017969]),
        (random.truncated_normal, [-0.4167964, -0.5596282, 0.23417501, 0.57113683]),
        (lambda shape, seed: random.randint(shape, -5, 100, seed=seed), [10, 74, 59, 43]),
        (
            lambda _, seed: random.categorical(np.zeros((2, 9), "float32"), 4, seed=seed),
            [[8, 2, 3, 8], [3, 0, 3, 8]],
        ),
        (lambda _, seed: random.shuffle(np.arange(8), seed=seed), [5, 3, 0, 2, 7, 1, 6, 4]),
        (
            lambda _, seed: random.dropout(np.ones(8, "float32"), 0.5, seed=seed),
            [2, 2, 0, 0, 2, 2, 2, 0],
        ),
    ],
)
def test_draws_equal_those_of_jax(draw: Any, expected: Any) -> None:
    """What Keras 3.15 draws for the seed 7 on JAX 0.10.2."""
    drawn = np.asarray(draw((4,), seed=7))

    np.testing.assert_allclose(drawn, np.asarray(expected, drawn.dtype), rtol=1e-6)


def test_seed_generator_advances() -> None:
    seeds = random.SeedGenerator(1)

    first, second = (np.asarray(random.normal((3,), seed=seeds)) for _ in range(2))

    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(first, np.asarray(random.normal((3,), seed=key(1))))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_draws_have_the_dtype(dtype: str) -> None:
    for draw in (random.normal, random.uniform, random.truncated_normal):
        assert str(draw((2,), dtype=dtype, seed=0).dtype) == dtype
    assert str(random.gamma((2,), 1.0, dtype=dtype, seed=0).dtype) == dtype


@pytest.mark.parametrize(
    ("sample", "mean", "variance"),
    [
        (lambda: random.normal((20000,), 1.0, 2.0, seed=1), 1.0, 4.0),
        (lambda: random.gamma((20000,), 2.5, seed=1), 2.5, 2.5),
        (lambda: random.beta((20000,), 2.0, 3.0, seed=1), 0.4, 0.04),
        (lambda: random.binomial((20000,), 10.0, 0.3, seed=1), 3.0, 2.1),
    ],
)
def test_moments(sample: Any, mean: float, variance: float) -> None:
    drawn = np.asarray(sample())

    assert drawn.mean() == pytest.approx(mean, rel=0.03)
    assert drawn.var() == pytest.approx(variance, rel=0.05)


def test_dropout_keeps_the_mean_and_the_noise_shape() -> None:
    x = np.ones((64, 32), "float32")

    dropped = np.asarray(random.dropout(x, 0.25, noise_shape=(None, 1), seed=2))

    assert set(np.unique(dropped)) == {np.float32(0), np.float32(1) / np.float32(0.75)}
    assert np.all(dropped == dropped[:, :1])
    assert np.all(np.asarray(random.dropout(x, 1.0, seed=2)) == 0)
    np.testing.assert_array_equal(np.asarray(random.dropout(x, 0.0, seed=2)), x)


def test_dropout_differentiates_by_its_mask() -> None:
    x = pb.ones((5, 7))

    gradient = pb.grad(lambda x: pb.sum(random.dropout(x, 0.5, seed=4)))(x)

    np.testing.assert_array_equal(np.asarray(gradient), random.dropout(x, 0.5, seed=4))


def test_shuffle_permutes() -> None:
    shuffled = np.asarray(random.shuffle(np.arange(60).reshape(3, 20), axis=1, seed=0))

    np.testing.assert_array_equal(np.sort(shuffled, axis=1), np.arange(60).reshape(3, 20))
