"""Random tensors and initializers: distributions, and when numbers are the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback.compat.v1 as tf

N = 4000


def draw(x: Any, times: int = 1) -> list[Any]:
    with tf.Session() as sess:
        return [sess.run(x) for _ in range(times)]


@pytest.mark.parametrize(
    ("make", "mean", "deviation", "bounds"),
    [
        (lambda: tf.random_normal([N], 2.0, 3.0, seed=1), 2.0, 3.0, (-20, 24)),
        (lambda: tf.truncated_normal([N], 2.0, 3.0, seed=1), 2.0, 3 * 0.8796, (-4, 8)),
        (lambda: tf.random_uniform([N], -1, 3, seed=1), 1.0, 4 / 12**0.5, (-1, 3)),
        (lambda: tf.random_uniform([N], seed=1), 0.5, 12**-0.5, (0, 1)),
        (lambda: tf.random_uniform([N], 0, 10, tf.int32, seed=1), 4.5, (99 / 12) ** 0.5, (0, 9)),
    ],
)
def test_the_distribution(make: Any, mean: float, deviation: float, bounds: Any) -> None:
    (x,) = draw(make())

    assert abs(x.mean() - mean) < 4 * deviation / N**0.5
    assert abs(x.std() / deviation - 1) < 0.06
    assert bounds[0] <= x.min()
    assert x.max() <= bounds[1]


@pytest.mark.parametrize(
    ("make", "deviation"),
    [
        (tf.initializers.glorot_uniform, (2 / 150) ** 0.5),
        (tf.initializers.glorot_normal, (2 / 150) ** 0.5),
        (tf.initializers.he_uniform, (2 / 50) ** 0.5),
        (tf.initializers.he_normal, (2 / 50) ** 0.5),
        (lambda seed: tf.variance_scaling_initializer(3.0, "fan_out", seed=seed), 0.03**0.5),
        (
            lambda seed: tf.variance_scaling_initializer(
                3.0, "fan_out", "untruncated_normal", seed
            ),
            0.1732,
        ),
        (lambda seed: tf.random_normal_initializer(0.0, 0.3, seed), 0.3),
        (lambda seed: tf.truncated_normal_initializer(0.0, 0.3, seed), 0.3 * 0.8796),
        (lambda seed: tf.random_uniform_initializer(-0.6, 0.6, seed), 0.6 / 3**0.5),
    ],
)
def test_initializers_spread_as_they_should(make: Any, deviation: float) -> None:
    (x,) = draw(make(seed=3)((50, 100)))

    assert abs(x.std() / deviation - 1) < 0.05
    assert abs(x.mean()) < 4 * deviation / 5000**0.5


def test_fans_of_other_shapes() -> None:
    for shape, fan in [((), 1), ((400,), 400), ((3, 3, 4, 5), 36)]:
        (x,) = draw(tf.initializers.he_uniform(seed=1)(shape))
        assert np.abs(x).max() <= (6 / fan) ** 0.5


def test_a_run_draws_anew_and_a_node_once() -> None:
    x = tf.random_normal([3], seed=1)
    with tf.Session() as sess:
        first, second = sess.run([x, x + 0.0])
        third = sess.run(x)
    assert (first == second).all()
    assert (first != third).all()


def test_seeds_make_numbers_the_same() -> None:
    def sequence(graph_seed: int | None, seed: int | None) -> list[float]:
        with tf.Graph().as_default():
            tf.set_random_seed(graph_seed)
            return [float(v) for v in draw(tf.random_normal([], seed=seed), 3)]

    assert sequence(1, None) == sequence(1, None)
    assert sequence(None, 1) == sequence(None, 1)
    assert sequence(1, 2) == sequence(1, 2)
    others = [sequence(1, None), sequence(2, None), sequence(None, 1), sequence(1, 2)]
    assert len({*map(tuple, others)}) == 4
    assert sequence(None, None) != sequence(None, None)


def test_two_nodes_of_a_seeded_graph_differ() -> None:
    tf.set_random_seed(1)
    x, y = tf.random_normal([3]), tf.random_normal([3])
    (found,) = draw([x, y])
    assert (found[0] != found[1]).all()


def test_what_a_node_draws_does_not_depend_on_other_nodes() -> None:
    x, y = tf.random_normal([], seed=1), tf.random_normal([], seed=2)
    with tf.Session() as sess:
        sess.run(y)
        first = [sess.run(x), sess.run(x)]
    with tf.Session() as sess:
        assert first == [sess.run(x), sess.run(x)]


def test_dropout_keeps_the_mean_and_its_gradient_the_mask() -> None:
    x, keep = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [])
    y = tf.nn.dropout(x, keep, seed=5)
    (gradient,) = tf.gradients(y, x)
    with tf.Session() as sess:
        feed = {x: np.ones(N), keep: 0.8}
        value, slope = sess.run([y, gradient], feed)
        assert (sess.run(y, {x: np.ones(N), keep: 1.0}) == 1).all()
    assert set(np.round(value, 6)) == {0.0, 1.25}
    assert abs((value == 0).mean() - 0.2) < 0.03
    np.testing.assert_array_equal(value, slope)


def test_an_initializer_run_again_draws_anew() -> None:
    v = tf.get_variable("v", [100])
    with tf.Session() as sess:
        sess.run(v.initializer)
        first = sess.run(v)
        sess.run(v.initializer)
        assert (first != sess.run(v)).any()
