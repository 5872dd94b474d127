"""Running: what is fetched and fed, in which order, what is kept, and what is refused."""

from __future__ import annotations

import re
from collections import namedtuple
from typing import Any

import numpy as np
import pytest

import pullback.compat.v1 as tf
from pullback.compat.v1.frame import Frame
from pullback.compat.v1.tensor import Tensor
from pullback.errors import DTypeError, ShapeError

HERE = re.escape(__file__)


class Counted(Tensor):
    """A tensor that counts how often it is evaluated."""

    evaluations = 0

    def evaluate(self, frame: Frame) -> Any:
        self.evaluations += 1
        return super().evaluate(frame)


# Fetches ------------------------------------------------------------------------------------------


def test_fetches_keep_their_structure() -> None:
    pair = namedtuple("pair", "first second")
    x = tf.constant([1.0, 2.0])
    y, nothing = x + 1, tf.no_op()

    with tf.Session() as sess:
        found = sess.run({"a": [x, (y, nothing)], "b": pair(x[0], y.name)})

        assert (type(sess.run([y])), type(sess.run((y,))), [*sess.run({"y": y})]) == (
            list,
            tuple,
            ["y"],
        )
    assert [*found] == ["a", "b"]
    assert found["a"][0].tolist() == [1.0, 2.0]
    assert isinstance(found["a"], list)
    assert isinstance(found["a"][1], tuple)
    assert found["a"][1][1] is None
    assert found["b"].first == 1.0
    assert found["b"].second.tolist() == [2.0, 3.0]


def test_a_scalar_is_a_numpy_scalar_and_an_array_is_yours() -> None:
    v = tf.Variable([1.0, 2.0])
    with tf.Session() as sess:
        sess.run(v.initializer)
        assert type(sess.run(tf.reduce_sum(v))) is np.float32
        found = sess.run(v)
        found += 1
        assert sess.run(v).tolist() == [1.0, 2.0]
        update = v.assign_add([1.0, 1.0])
        found = sess.run(update)
        found += 5
        assert sess.run(v).tolist() == [2.0, 3.0]
        x = tf.constant([1.0, 2.0])
        for _ in range(2):
            found = sess.run(x)
            assert found.tolist() == [1.0, 2.0]
            found += 1
        data, given = np.ones(2, np.float32), tf.placeholder(tf.float32, [2])
        found = sess.run(tf.identity(given), {given: data})
        found += 1
        assert data.tolist() == [1.0, 1.0]


def test_a_node_runs_once_a_run_and_only_when_needed() -> None:
    node = Counted("counted", (), np.dtype("float32"), (), lambda: np.float32(2))
    unused = Counted("unused", (), np.dtype("float32"), (), lambda: np.float32(2))
    y = node * 1 + node * 2

    with tf.Session() as sess:
        assert node.evaluations == 0
        assert sess.run([y, node, y]) == [6.0, 2.0, 6.0]
        assert node.evaluations == 1
        sess.run([y, node, y])
    assert node.evaluations == 1
    assert unused.evaluations == 0


def test_a_program_is_made_once_for_each_shape_and_dtype_fed() -> None:
    x = tf.placeholder(tf.float32, [None])
    y = x * 2
    with tf.Session() as sess:
        for n in (3, 3, 4, 3, 4):
            sess.run(y, {x: np.zeros(n)})
            sess.run(y, {x: np.zeros(n, np.int64)})
        assert sess.traces(y, {x: None}) == 2
        sess.run([y], {x: np.zeros(3)})
        assert sess.traces([y], {x: None}) == 1
        assert sess.traces(y, {}) == 0


def test_any_tensor_can_be_fed() -> None:
    x = tf.placeholder(tf.float32, [2])
    h = x * 10
    y = h + 1
    with tf.Session() as sess:
        assert sess.run(y, {h: [1.0, 2.0]}).tolist() == [2.0, 3.0]
        assert sess.run([h, x], {h: [1.0, 2.0], x: [0.0, 0.0]})[0].tolist() == [1.0, 2.0]


def test_a_default_stands_in() -> None:
    rate = tf.placeholder_with_default(0.5, [])
    with tf.Session() as sess:
        assert sess.run(rate * 2) == 1.0
        assert sess.run(rate * 2, {rate: 3}) == 6.0


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [
        (tf.float32, np.array([1, 2]), [1.0, 2.0]),
        (tf.float32, np.array([1.5, 2], np.float64), [1.5, 2.0]),
        (tf.float32, [True, False], [1.0, 0.0]),
        (tf.float64, [1, 2], [1.0, 2.0]),
        (tf.int32, np.array([1, 2]), [1, 2]),
        (tf.int32, np.array([1.0, 2.0]), [1, 2]),
        (tf.uint8, [0, 255], [0, 255]),
        (tf.int64, np.array([1, 2], np.int32), [1, 2]),
        (tf.bool, [True, False], [True, False]),
        (tf.float32, np.array([1, 2], ">f4"), [1.0, 2.0]),
        (tf.float32, np.arange(4, dtype=np.float32)[::2], [0.0, 2.0]),
    ],
)
def test_what_is_fed_is_cast(dtype: Any, value: Any, expected: list[Any]) -> None:
    x = tf.placeholder(dtype, [2])
    with tf.Session() as sess:
        found = sess.run(tf.identity(x), {x: value})
    assert found.dtype == dtype
    assert found.tolist() == expected


# Order --------------------------------------------------------------------------------------------


def test_a_fetch_sees_values_before_the_update() -> None:
    v = tf.Variable(1.0)
    update = v.assign_add(1.0)
    loss = v * 10
    with tf.Session() as sess:
        sess.run(v.initializer)
        assert sess.run([update, loss, v]) == [2.0, 10.0, 1.0]
        assert sess.run([loss, v, update]) == [20.0, 2.0, 3.0]
        assert sess.run(v) == 3.0


def test_a_read_that_was_made_later_comes_before_the_update_too() -> None:
    v = tf.Variable(3.0)
    update = v.assign_add(1.0)
    late = v.read_value() * 1.0
    first = tf.train.GradientDescentOptimizer(1.0).minimize(v * v / 2)
    second = tf.train.GradientDescentOptimizer(0.5).minimize(v * v / 2)
    with tf.Session() as sess:
        sess.run(v.initializer)
        assert sess.run([update, late]) == [4.0, 3.0]
        sess.run([first, second])  # both gradients are 4
        assert sess.run(v) == 4.0 - 4.0 - 2.0


def test_a_variable_made_under_control_dependencies_does_not_wait() -> None:
    x = tf.placeholder(tf.float32)
    with tf.control_dependencies([x]):
        v = tf.Variable([2.0, 2.0])
        w = tf.get_variable("w", [1], initializer=tf.ones_initializer())
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        assert sess.run([v.initialized_value(), w.initialized_value()])[0].tolist() == [2.0, 2.0]


def test_control_dependencies_come_first() -> None:
    v = tf.Variable(1.0)
    early = v * 10
    update = v.assign(5.0)
    with tf.control_dependencies([update]):
        late = v * 10
        with tf.control_dependencies(None):
            free = tf.identity(v)
        last = v.assign_sub(1.0)
    with tf.Session() as sess:
        sess.run(v.initializer)
        assert sess.run([early, late, free]) == [10.0, 50.0, 1.0]
        assert sess.run(v) == 5.0
        assert sess.run(last) == 4.0


def test_updates_run_in_the_order_in_which_they_were_made() -> None:
    v = tf.Variable(1.0)
    double, add = v.assign(v * 2), v.assign_add(10.0)
    both = tf.group(add, [double], name="both")
    with tf.Session() as sess:
        sess.run(v.initializer)
        sess.run(both)
        assert sess.run(v) == 12.0


def test_two_sessions_hold_values_of_their_own() -> None:
    v = tf.Variable(1.0)
    first, second = tf.Session(), tf.Session()
    for sess in (first, second):
        sess.run(v.initializer)
    first.run(v.assign(7.0))
    assert (first.run(v), second.run(v)) == (7.0, 1.0)


def test_eval_uses_the_default_session() -> None:
    v = tf.Variable([1.0])
    x = tf.placeholder(tf.float32, [1])
    with pytest.raises(tf.errors.GraphError, match="there is no session to run"):
        x.eval({x: [1.0]})
    sess = tf.InteractiveSession()
    v.initializer.run()
    assert (v + x).eval({x: [1.0]}).tolist() == [2.0]
    assert tf.get_default_session() is sess
    sess.close()
    assert tf.get_default_session() is None
    other = tf.Session()
    with other.as_default():
        v.load([4.0])
    assert v.eval(other).tolist() == [4.0]


def test_initial_values_may_depend_on_each_other() -> None:
    first = tf.Variable(tf.random_normal([2], seed=1))
    second = tf.Variable(first.initialized_value() * 2)
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        x, y = sess.run([first, second])
    np.testing.assert_allclose(y, 2 * x)


# Refusals -----------------------------------------------------------------------------------------


def test_a_placeholder_that_is_not_fed_is_named_with_its_line() -> None:
    x = tf.placeholder(tf.float32, [None, 2], name="points")
    with (
        tf.Session() as sess,
        pytest.raises(
            tf.errors.InvalidArgumentError,
            match=rf"placeholder 'points:0' made at {HERE}:\d+ is f32\[\?,2\], and was not fed",
        ),
    ):
        sess.run(x + 1)


def test_a_variable_without_a_value_is_named_with_its_line() -> None:
    v = tf.Variable([1.0], name="weights")
    with (
        tf.Session() as sess,
        pytest.raises(
            tf.errors.FailedPreconditionError,
            match=rf"variable 'weights:0' made at {HERE}:\d+ is f32\[1\] and has no value yet: run "
            r"`sess.run\(tf.global_variables_initializer\(\)\)`",
        ),
    ):
        sess.run(v)


@pytest.mark.parametrize(
    ("dtype", "value", "error", "message"),
    [
        (tf.float32, np.zeros((2, 3)), ShapeError, r"is f32\[\?,2\], but f32\[2,3\] was fed"),
        (tf.float32, np.zeros(2), ShapeError, r"is f32\[\?,2\], but f32\[2\] was fed"),
        (tf.float32, [["a", "b"]], DTypeError, r"an array of dtype <U1 and shape \(1, 2\)"),
        (tf.float32, [[1], [1, 2]], ShapeError, "what was fed is no array"),
        (tf.int32, [[0.5, 1.0]], DTypeError, "cannot hold the values fed, of dtype float64"),
        (tf.int32, [[2**40, 1]], DTypeError, "cannot hold the values fed, of dtype int64"),
        (tf.uint8, [[-1, 1]], DTypeError, "cannot hold"),
        (tf.bool, [[1, 0]], DTypeError, "cannot hold"),
        (tf.float32, None, DTypeError, "array of dtype object"),
    ],
)
def test_what_does_not_fit_a_placeholder_is_refused(
    dtype: Any, value: Any, error: type[Exception], message: str
) -> None:
    x = tf.placeholder(dtype, [None, 2], name="x")
    where = rf"placeholder 'x:0' made at {HERE}:\d+ "
    with tf.Session() as sess, pytest.raises(error, match=where + ".*" + message):
        sess.run(tf.identity(x), {x: value})


def test_a_tensor_is_no_value_to_feed() -> None:
    x = tf.placeholder(tf.float32)
    with tf.Session() as sess, pytest.raises(DTypeError, match="feed numbers"):
        sess.run(x, {x: tf.constant(1.0)})


@pytest.mark.parametrize(
    ("fetch", "message"),
    [
        (3.5, "3.5 of type float is no tensor"),
        (None, "None of type NoneType is no tensor"),
        (np.zeros(2), "of type ndarray is no tensor"),
        ("no_such:0", "no tensor of this graph has the name 'no_such:0'"),
        ("no_such", "no operation of this graph has the name 'no_such'"),
    ],
)
def test_a_fetch_that_is_none_is_refused(fetch: Any, message: str) -> None:
    with tf.Session() as sess, pytest.raises(tf.errors.GraphError, match=message):
        sess.run([fetch])


def test_other_graphs_are_refused() -> None:
    own = tf.constant(1.0)
    with tf.Graph().as_default() as other:
        foreign = tf.constant(2.0, name="foreign")
    with pytest.raises(tf.errors.GraphError, match="is of another graph than"):
        own + foreign
    with tf.Session() as sess, pytest.raises(tf.errors.GraphError, match="'foreign:0' made at"):
        sess.run(foreign)
    with tf.Session(graph=other) as sess:
        assert sess.run(foreign) == 2.0


def test_a_closed_session_is_refused() -> None:
    x = tf.constant(1.0)
    with tf.Session() as sess:
        sess.run(x)
    with pytest.raises(tf.errors.GraphError, match="the session is closed"):
        sess.run(x)


def test_only_tensors_can_be_fed() -> None:
    with tf.Session() as sess, pytest.raises(tf.errors.GraphError, match="cannot be fed"):
        sess.run(tf.constant(1.0), {tf.no_op(): 1})


def test_shapes_that_do_not_fit_at_a_run_name_the_node_and_its_line() -> None:
    x, w = tf.placeholder(tf.float32), tf.placeholder(tf.float32, [3, 2])
    product = tf.matmul(x, w, name="product")
    with tf.Session() as sess, pytest.raises(ShapeError) as raised:
        sess.run(product, {x: np.zeros((4, 5)), w: np.zeros((3, 2))})
    notes = "\n".join(raised.value.__notes__)
    assert re.search(rf"while running 'product:0' made at {HERE}:\d+", notes)
    assert "f32[4,5]" in notes


def test_options_are_refused() -> None:
    with tf.Session() as sess, pytest.raises(tf.errors.GraphError, match="no `options`"):
        sess.run(tf.constant(1), options=object())  # type: ignore[arg-type]  # refused
    with pytest.raises(tf.errors.GraphError, match="only this process"):
        tf.Session("grpc://elsewhere")
