"""Gradients against central differences, optimizers against their formulas, whole programs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pullback.compat.v1 as tf
from pullback.errors import DTypeError

Rng = np.random.Generator


# Gradients ----------------------------------------------------------------------------------------


def test_gradients_are_central_differences(rng: Rng) -> None:
    x = tf.placeholder(tf.float64, [None, 3])
    w = tf.Variable(rng.normal(size=(3, 2)))
    b = tf.Variable(rng.normal(size=2))
    h = tf.tanh(tf.matmul(x, w) + b)
    y = tf.reduce_mean(tf.nn.softmax(h) * tf.exp(h[:, :1])) + tf.nn.l2_loss(w)
    targets = [w, b, x, h]
    feed = {x: rng.normal(size=(4, 3))}
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        found = sess.run(tf.gradients(y, targets), feed)
        values = sess.run([v.value() if v is w or v is b else v for v in targets], feed)
        step = 1e-6
        for node, gradient, value in zip(targets, found, values, strict=True):
            fed = node.value() if isinstance(node, tf.Variable) else node
            direction = rng.normal(size=value.shape)
            moved = [
                sess.run(y, {**feed, fed: value + sign * step * direction}) for sign in (1, -1)
            ]
            expected = (moved[0] - moved[1]) / (2 * step)
            np.testing.assert_allclose((gradient * direction).sum(), expected, rtol=1e-6)


def test_gradients_of_gradients() -> None:
    x = tf.placeholder(tf.float32)
    (first,) = tf.gradients(x**4, x)
    assert first is not None
    (second,) = tf.gradients(first, [x])
    assert second is not None
    (third,) = tf.gradients(second * x, [x])

    with tf.Session() as sess:
        assert sess.run([first, second, third], {x: 2.0}) == [32.0, 48.0, 144.0]


def test_gradients_that_are_not_there_are_none() -> None:
    x, y = tf.placeholder(tf.float32, [3]), tf.placeholder(tf.float32, [3])
    v = tf.Variable([1.0, 2.0, 3.0])
    hidden = tf.stop_gradient(x) * tf.cast(tf.equal(y, v), tf.float32)

    assert tf.gradients(hidden, [x, y, v, tf.constant(1)]) == [None] * 4


def test_gradients_sum_weighted_outputs() -> None:
    x = tf.placeholder(tf.float32, [2])
    plain = tf.gradients([x * 2, x * x], x)[0]
    weighted = tf.gradients([x * 2, x * x], x, grad_ys=[tf.constant([1.0, 0.0]), x])[0]
    own = tf.gradients(x, x)[0]

    with tf.Session() as sess:
        found = sess.run([plain, weighted, own], {x: [3.0, 5.0]})
    np.testing.assert_allclose(found, [[8, 12], [20, 50], [1, 1]])


def test_gradients_by_a_variable_sum_all_its_reads() -> None:
    v = tf.Variable(3.0)
    with tf.control_dependencies([tf.no_op()]):
        again = v * v
    (gradient,) = tf.gradients(v * 5 + again, v)

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run(gradient) == 11.0


def test_labels_have_a_gradient_in_the_second_version_alone() -> None:
    x, p = tf.placeholder(tf.float32, [1, 2]), tf.placeholder(tf.float32, [1, 2])
    first = tf.nn.softmax_cross_entropy_with_logits(labels=p, logits=x)
    second = tf.nn.softmax_cross_entropy_with_logits_v2(labels=p, logits=x)

    assert tf.gradients(first, p) == [None]
    (gradient,) = tf.gradients(second, p)
    with tf.Session() as sess:
        found = sess.run(gradient, {x: [[0.0, 0.0]], p: [[1.0, 0.0]]})
    np.testing.assert_allclose(found, np.full((1, 2), np.log(2)), rtol=1e-6)


def test_integers_have_no_gradient() -> None:
    with pytest.raises(DTypeError, match=r"gradients of .*i32\[2\].*tf.cast"):
        tf.gradients(tf.constant([1, 2]), tf.Variable(1.0))


# Optimizers ---------------------------------------------------------------------------------------


def momentum(nesterov: bool) -> Callable[..., Any]:
    def steps(v: Any, grads: Any) -> Any:
        a = np.zeros_like(v)
        for g in grads:
            a = 0.9 * a + g
            v = v - 0.1 * (g + 0.9 * a if nesterov else a)
        return v

    return steps


def adagrad(v: Any, grads: Any) -> Any:
    a = np.full_like(v, 0.1)
    for g in grads:
        a = a + g**2
        v = v - 0.1 * g / np.sqrt(a)
    return v


def adadelta(v: Any, grads: Any) -> Any:
    a = d = np.zeros_like(v)
    for g in grads:
        a = 0.95 * a + 0.05 * g**2
        step = np.sqrt(d + 1e-2) / np.sqrt(a + 1e-2) * g
        d = 0.95 * d + 0.05 * step**2
        v = v - 0.1 * step
    return v


def rmsprop(centered: bool) -> Callable[..., Any]:
    def steps(v: Any, grads: Any) -> Any:
        a, m, mean = np.ones_like(v), np.zeros_like(v), np.zeros_like(v)
        for g in grads:
            a = 0.8 * a + 0.2 * g**2
            mean = 0.8 * mean + 0.2 * g
            m = 0.5 * m + 0.1 * g / np.sqrt(a - (mean**2 if centered else 0) + 0.1)
            v = v - m
        return v

    return steps


def adam(v: Any, grads: Any) -> Any:
    m = s = np.zeros_like(v)
    for t, g in enumerate(grads, 1):
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g**2
        rate = 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        v = v - rate * m / (np.sqrt(s) + 0.01)
    return v


def descent(v: Any, grads: Any) -> Any:
    return v - 0.1 * sum(grads)


OPTIMIZERS: dict[str, tuple[Callable[[], Any], Callable[..., Any]]] = {
    "descent": (lambda: tf.train.GradientDescentOptimizer(0.1), descent),
    "momentum": (lambda: tf.train.MomentumOptimizer(0.1, 0.9), momentum(False)),
    "nesterov": (
        lambda: tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True),
        momentum(True),
    ),
    "adagrad": (lambda: tf.train.AdagradOptimizer(0.1), adagrad),
    "adadelta": (lambda: tf.train.AdadeltaOptimizer(0.1, epsilon=1e-2), adadelta),
    "rmsprop": (lambda: tf.train.RMSPropOptimizer(0.1, 0.8, 0.5, 0.1), rmsprop(False)),
    "centered": (
        lambda: tf.train.RMSPropOptimizer(0.1, 0.8, 0.5, 0.1, centered=True),
        rmsprop(True),
    ),
    "adam": (lambda: tf.train.AdamOptimizer(0.1, epsilon=0.01), adam),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_follow_the_formula(name: str, rng: Rng) -> None:
    make, formula = OPTIMIZERS[name]
    start, grads = rng.normal(size=3), rng.normal(size=(4, 3))
    v, g = tf.Variable(start), tf.placeholder(tf.float64, [3])
    train = make().minimize(tf.reduce_sum(v * g))

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for gradient in grads:
            sess.run(train, {g: gradient})
        found = sess.run(v)

    np.testing.assert_allclose(found, formula(start, grads), rtol=1e-6)


def test_the_defaults_are_those_of_tensorflow() -> None:
    start, g = np.array([1.0, -2.0]), np.array([0.5, 0.25])
    squares = 0.9 + 0.1 * g**2
    expected = {
        "RMSProp": start - 0.1 * g / np.sqrt(squares + 1e-10),
        "Adam": start - 0.001 * np.sqrt(0.001) / 0.1 * 0.1 * g / (np.sqrt(0.001) * g + 1e-8),
    }
    optimizers = {"RMSProp": tf.train.RMSPropOptimizer(0.1), "Adam": tf.train.AdamOptimizer()}
    for name, optimizer in optimizers.items():
        v = tf.Variable(start)
        train = optimizer.minimize(tf.reduce_sum(v * g), var_list=[v])
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            sess.run(train)
            np.testing.assert_allclose(sess.run(v), expected[name], rtol=1e-6)


def test_slots_are_variables_that_are_not_trained() -> None:
    v = tf.Variable([1.0, 2.0], name="v")
    optimizer = tf.train.AdamOptimizer()
    optimizer.minimize(tf.reduce_sum(v))

    names = [x.name for x in tf.global_variables()]
    assert tf.trainable_variables() == [v]
    assert optimizer.get_slot_names() == ["m", "v"]
    assert names == ["v:0", "v/Adam:0", "v/Adam_1:0", "beta1_power:0", "beta2_power:0"]
    assert optimizer.get_slot(v, "v") is tf.global_variables()[2]
    assert optimizer.get_slot(v, "w") is None
    assert len(optimizer.variables()) == 4


def test_gradients_can_be_changed_on_their_way() -> None:
    v, unused = tf.Variable([3.0, -4.0]), tf.Variable(1.0)
    optimizer = tf.train.GradientDescentOptimizer(1.0)
    pairs = optimizer.compute_gradients(tf.nn.l2_loss(v))
    assert pairs[1] == (None, unused)
    clipped = [(tf.clip_by_value(g, -1.0, 1.0), x) for g, x in pairs if g is not None]
    train = optimizer.apply_gradients(clipped)

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run(train)
        assert sess.run(v).tolist() == [2.0, -3.0]


def test_the_rate_may_decay_with_the_global_step() -> None:
    step = tf.train.get_or_create_global_step()
    assert tf.train.get_or_create_global_step() is step
    rate = tf.train.exponential_decay(0.5, step, 2, 0.1, staircase=True)
    smooth = tf.train.exponential_decay(0.5, step, 2, 0.1)
    v = tf.Variable(0.0)
    train = tf.train.GradientDescentOptimizer(rate).minimize(v, global_step=step)

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        for _ in range(4):
            sess.run(train)
        found = sess.run([v, step, rate, smooth])
    np.testing.assert_allclose(found, [-1.1, 4, 0.005, 0.005], rtol=1e-6)


def test_a_loss_that_depends_on_nothing_is_refused() -> None:
    x = tf.placeholder(tf.float32)
    with pytest.raises(tf.errors.GraphError, match="no variables to train"):
        tf.train.AdamOptimizer().minimize(x)
    tf.Variable(1.0, name="v")
    with pytest.raises(tf.errors.GraphError, match=r"no gradients for any variable \(v:0\)"):
        tf.train.AdamOptimizer().minimize(x)
    with pytest.raises(tf.errors.GraphError, match="expected one above 0"):
        tf.train.AdagradOptimizer(0.1, 0.0)


# Layers and programs ------------------------------------------------------------------------------


def test_dense_is_a_product_with_a_bias(rng: Rng) -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    first = tf.layers.dense(x, 4, tf.nn.relu, bias_initializer=tf.ones_initializer)
    second = tf.layers.dense(first, 2, use_bias=False)
    data = rng.normal(size=(5, 3)).astype(np.float32)

    names = ["dense/kernel:0", "dense/bias:0", "dense_1/kernel:0"]
    assert [v.name for v in tf.trainable_variables()] == names
    assert second.get_shape().as_list() == [None, 2]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        (kernel, bias, last), found = sess.run([tf.trainable_variables(), second], {x: data})
    assert bias.tolist() == [1.0] * 4
    assert np.abs(kernel).max() <= np.sqrt(6 / 7)
    np.testing.assert_allclose(found, np.maximum(data @ kernel + bias, 0) @ last, rtol=1e-4)


def test_dense_shares_variables_by_name() -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    tf.layers.dense(x, 3, name="shared")
    with pytest.raises(tf.errors.GraphError, match="'shared/kernel' exists"):
        tf.layers.dense(x, 3, name="shared")
    tf.layers.dense(x, 3, name="shared", reuse=True)

    assert len(tf.global_variables()) == 2


def test_dense_needs_to_know_its_inputs() -> None:
    with pytest.raises(tf.errors.GraphError, match="its last length must be known"):
        tf.layers.dense(tf.placeholder(tf.float32), 3)


def test_flatten_and_dropout(rng: Rng) -> None:
    x = tf.placeholder(tf.float32, [None, 2, 3])
    training = tf.placeholder(tf.bool, [])
    flat = tf.layers.flatten(x)
    dropped = tf.layers.dropout(flat, 0.5, training=training)
    assert flat.get_shape().as_list() == [None, 6]
    assert tf.layers.dropout(flat) is flat

    data = np.ones((100, 2, 3), np.float32)
    with tf.Session() as sess:
        assert (sess.run(dropped, {x: data, training: False}) == 1).all()
        found = sess.run(dropped, {x: data, training: True})
    assert set(found.flat) == {0.0, 2.0}
    assert 0.4 < (found == 0).mean() < 0.6
    with pytest.raises(tf.errors.GraphError, match="all lengths but the first"):
        tf.layers.flatten(tf.placeholder(tf.float32, [2, None]))


def test_a_line_through_points() -> None:
    """Integers are fed to placeholders without a shape, and [5] times [1, 1] is [1, 5]."""
    points, values = np.arange(1, 6), 3 * np.arange(1, 6)
    x, y = tf.placeholder(tf.float32), tf.placeholder(tf.float32)
    slope = tf.Variable(tf.random_normal([1, 1], seed=1))
    cost = tf.reduce_mean(tf.square(y - tf.multiply(x, slope)))
    train = tf.train.GradientDescentOptimizer(learning_rate=0.01).minimize(cost)

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        expected = sess.run(slope)
        assert expected.shape == (1, 1)
        for _ in range(30):
            sess.run(train, feed_dict={x: points, y: values})
            expected = expected - 0.01 * 2 * np.mean(points * (points * expected - values))
        np.testing.assert_allclose(sess.run(slope), expected, rtol=1e-5)
        assert sess.run(cost, {x: points, y: values}) < 1e-3


def test_a_network_learns_xor() -> None:
    tf.set_random_seed(3)
    x = tf.placeholder(tf.float32, [None, 2])
    y = tf.placeholder(tf.float32, [None, 1])
    hidden = tf.layers.dense(x, 8, activation=tf.nn.tanh)
    logits = tf.layers.dense(hidden, 1)
    loss = tf.losses.sigmoid_cross_entropy(y, logits)
    right = tf.equal(tf.cast(logits > 0, tf.float32), y)
    accuracy = tf.reduce_mean(tf.cast(right, tf.float32))
    train = tf.train.AdamOptimizer(0.05).minimize(loss)
    feed = {x: [[0, 0], [0, 1], [1, 0], [1, 1]], y: [[0], [1], [1], [0]]}

    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        losses = [sess.run([train, loss], feed)[1] for _ in range(300)]
        assert sess.run(accuracy, feed) == 1.0
        assert losses[-1] < 0.1 < losses[0]
        assert sess.traces([train, loss], feed) == 1


# Files --------------------------------------------------------------------------------------------


def test_a_saver_brings_values_back(tmp_path: Path) -> None:
    v = tf.Variable([1.0, 2.0], name="v")
    count = tf.get_variable("n", [], tf.int64)
    saver = tf.train.Saver()
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        sess.run([v.assign([3.0, 4.0]), count.assign_add(7)])
        path = saver.save(sess, str(tmp_path / "model.ckpt"), global_step=5)
    assert path.endswith("model.ckpt-5")
    assert [p.name for p in tmp_path.iterdir()] == ["model.ckpt-5.npz"]

    with tf.Session() as sess:
        saver.restore(sess, path)
        assert sess.run(v).tolist() == [3.0, 4.0]
        assert sess.run(count) == 7

    tf.Variable(0.0, name="late")
    with tf.Session() as sess, pytest.raises(tf.errors.GraphError, match="lacks late:0"):
        tf.train.Saver().restore(sess, path)


def test_a_failed_save_leaves_no_file(tmp_path: Path) -> None:
    v = tf.Variable(1.0)
    with tf.Session() as sess, pytest.raises(tf.errors.FailedPreconditionError):
        tf.train.Saver([v]).save(sess, str(tmp_path / "m"))
    assert not [*tmp_path.iterdir()]


def test_a_saver_needs_variables() -> None:
    with pytest.raises(tf.errors.GraphError, match="no variables to save"):
        tf.train.Saver()
