"""Making graphs: names and scopes, what is known of shapes, and what is refused while making."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb
import pullback.compat.v1 as tf
from pullback.compat.v1 import refusals
from pullback.errors import DTypeError, ShapeError

# Names and scopes ---------------------------------------------------------------------------------


def test_names_count_up_and_scopes_stand_before_them() -> None:
    first, second = tf.constant(1.0), tf.constant(2.0)
    with tf.name_scope("part"):
        inner = tf.add(first, second)
        named = tf.add(first, second, name="total")
    with tf.name_scope("part") as again:
        pass

    names = [x.name for x in (first, second, inner, named)]
    assert names == ["Const:0", "Const_1:0", "part/Add:0", "part/total:0"]
    assert again == "part_1/"
    assert first.op.name == "Const"
    assert repr(inner) == "Tensor('part/Add:0', f32[])"
    assert first.graph.get_tensor_by_name("part/total:0") is named
    assert first.graph.get_operation_by_name("part/total") is named


def test_a_name_that_was_given_is_not_given_again() -> None:
    names = [tf.constant(0, name=n).name for n in ("a", "a_1", "a", "a", "a_1")]
    assert len({*names}) == 5


def test_get_variable_finds_by_name(graph: tf.Graph) -> None:
    with tf.variable_scope("outer"), tf.variable_scope("inner") as inner:
        v = tf.get_variable("v", [2, 3])
        made = tf.Variable(0.0, name="plain")
    with tf.variable_scope(inner, reuse=True):
        assert tf.get_variable("v", [2, 3]) is v
        with pytest.raises(tf.errors.GraphError, match="'outer/inner/w' does not exist"):
            tf.get_variable("w", [2])
        with pytest.raises(ShapeError, match=r"f32\[2,3\], asked for with the shape \(3, 2\)"):
            tf.get_variable("v", [3, 2])
    with tf.variable_scope("outer/inner", reuse=tf.AUTO_REUSE):
        assert tf.get_variable("v") is v
        assert tf.get_variable("w", [2]).name == "outer/inner/w:0"
    with tf.variable_scope("outer/inner"), pytest.raises(tf.errors.GraphError, match="exists"):
        tf.get_variable("v", [2, 3])
    with tf.variable_scope("outer/inner") as scope:
        scope.reuse_variables()
        assert tf.get_variable("v") is v
    assert (v.name, made.name) == ("outer/inner/v:0", "outer/inner/plain:0")
    assert tf.trainable_variables("outer/inner/w")[0].name == "outer/inner/w:0"
    assert tf.get_variable_scope().name == ""


def test_get_variable_takes_initializers_of_many_kinds() -> None:
    with tf.variable_scope("a", initializer=tf.constant_initializer(3.0)):
        scoped = tf.get_variable("scoped", [2])
    given = tf.get_variable("given", [2], initializer=tf.ones_initializer)
    called = tf.get_variable("called", [2], initializer=tf.zeros_initializer())
    numbers = tf.get_variable("numbers", initializer=np.array([1.5, 2.5], np.float32))
    function = tf.get_variable(
        "function", [2], initializer=lambda shape, dtype: tf.fill(shape, 9.0)
    )
    integer = tf.get_variable("integer", [2], tf.int32, trainable=False)
    with pytest.raises(tf.errors.GraphError, match="'lacking' needs a shape"):
        tf.get_variable("lacking")

    everything = [scoped, given, called, numbers, function, integer]
    with tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        found = [x.tolist() for x in sess.run(everything)]
    assert found == [[3, 3], [1, 1], [0, 0], [1.5, 2.5], [9, 9], [0, 0]]
    assert integer not in tf.trainable_variables()


def test_default_scope_names_count_up() -> None:
    names = []
    for _ in range(2):
        with tf.variable_scope(None, "layer"):
            names.append(tf.get_variable("v", []).name)
    assert names == ["layer/v:0", "layer_1/v:0"]
    with pytest.raises(tf.errors.GraphError, match="needs a name"), tf.variable_scope(None):
        pass


def test_collections_keep_order() -> None:
    tf.add_to_collection("mine", 1)
    tf.add_to_collection("mine", 2)
    assert tf.get_collection("mine") == [1, 2]
    assert tf.get_collection("none") == []


def test_the_default_graph_can_be_left() -> None:
    outer = tf.get_default_graph()
    with pytest.raises(tf.errors.GraphError, match="inside a `with` block"):
        tf.reset_default_graph()
    with tf.Graph().as_default() as inner:
        assert tf.constant(1).graph is inner
    assert tf.get_default_graph() is outer


# Shapes -------------------------------------------------------------------------------------------

f32 = tf.float32


SHAPES = [
    (lambda: tf.placeholder(f32, [None, 2]) + 1, "f32[?,2]"),
    (lambda: tf.placeholder(f32, [None, 3]) + tf.zeros([4, 3]), "f32[4,3]"),
    (lambda: tf.placeholder(f32, [None, 1]) + tf.placeholder(f32, [None]), "f32[?,?]"),
    (lambda: tf.placeholder(f32, [None, None]) @ tf.zeros([4, 5]), "f32[?,5]"),
    (lambda: tf.placeholder(f32, [2, None]) @ tf.zeros([4, 5]), "f32[2,5]"),
    (lambda: tf.placeholder(f32) * tf.zeros([1, 1]), "f32[...]"),
    (lambda: tf.reduce_mean(tf.placeholder(f32)), "f32[]"),
    (lambda: tf.matmul(tf.placeholder(f32), tf.zeros([3, 4])), "f32[...]"),
    (lambda: tf.placeholder(f32) - tf.placeholder(f32), "f32[...]"),
    (lambda: tf.reshape(tf.placeholder(f32, [None, 28, 28]), [-1, 784]), "f32[?,784]"),
    (lambda: tf.reshape(tf.placeholder(f32, [None, None]), [3, 4]), "f32[3,4]"),
    (lambda: tf.reshape(tf.placeholder(f32), (2, -1)), "f32[2,?]"),
    (lambda: tf.reshape(tf.zeros([2, 6]), [3, -1]), "f32[3,4]"),
    (lambda: tf.argmax(tf.placeholder(f32, [None, 10]), 1), "i64[?]"),
    (lambda: tf.transpose(tf.placeholder(f32, [None, 2, 3])), "f32[3,2,?]"),
    (lambda: tf.concat([tf.placeholder(f32, [None, 2])] * 2, 1), "f32[?,4]"),
    (lambda: tf.squeeze(tf.placeholder(f32, [None, 1, 3]), [0]), "f32[1,3]"),
    (lambda: tf.one_hot(tf.placeholder(tf.uint8, [None]), 10), "f32[?,10]"),
    (lambda: tf.placeholder(f32, [None, 5])[:, 1:3], "f32[?,2]"),
    (lambda: tf.equal(tf.placeholder(f32, [None]), 0), "bool[?]"),
    (lambda: tf.cast(tf.placeholder(tf.int64, [3]), tf.float64), "f64[3]"),
    (lambda: tf.nn.dropout(tf.placeholder(f32, [None, 4]), 0.5), "f32[?,4]"),
    (
        lambda: tf.gradients(tf.reduce_sum(y := tf.placeholder(f32, [None, 4])), y)[0],
        "f32[?,4]",
    ),
]


@pytest.mark.parametrize(("make", "expected"), SHAPES, ids=map(str, range(len(SHAPES))))
def test_what_is_known_of_a_shape(make: Any, expected: str) -> None:
    assert make().describe() == expected


def test_a_known_shape_helps() -> None:
    x = tf.placeholder(f32)
    x.set_shape([None, 3])
    x.set_shape([2, None])
    assert x.describe() == "f32[2,3]"
    with pytest.raises(ShapeError, match="contradicts"):
        x.set_shape([2, 4])


def test_shapes_are_sequences() -> None:
    shape = tf.placeholder(f32, [None, 3]).get_shape()
    assert shape.as_list() == [None, 3] == list(shape)
    assert shape[1] == 3 == int(shape[1])
    assert shape[1].value == 3
    assert shape[0].value is None
    assert shape[1:].as_list() == [3]
    assert (shape.ndims, len(shape), shape.is_fully_defined()) == (2, 2, False)
    assert shape[1] * 2 == 2 * shape[1] == 6
    assert (str(shape), repr(shape[0])) == ("[?,3]", "?")
    assert tf.zeros([shape[1], 2]).describe() == "f32[3,2]"
    unknown = tf.placeholder(f32).shape
    assert unknown.ndims is None
    assert tf.TensorShape([2, None]) == [2, None]
    with pytest.raises(tf.errors.GraphError, match="number of axes of this tensor is not known"):
        unknown.as_list()
    with pytest.raises(tf.errors.GraphError, match="not known before the graph runs"):
        int(shape[0])


# Refusals -----------------------------------------------------------------------------------------

MISTAKES = [
        (
            lambda: tf.placeholder(f32, [None, 3]) @ tf.zeros([4, 5]),
            ShapeError, r"MatMul of f32\[\?,3\] and f32\[4,5\]: ",
        ),
        (
            lambda: tf.placeholder(f32, [None, 3]) + tf.zeros([2]),
            ShapeError, r"Add of f32\[\?,3\] and f32\[2\]: ",
        ),
        (lambda: tf.zeros([3]) @ tf.zeros([3, 2]), ShapeError, r"f32\[3\] is no matrix"),
        (
            lambda: tf.constant([1, 2]) + tf.constant([1.0, 2.0]),
            DTypeError, r"i32\[2\].*f32\[2\].*different dtypes: cast one with tf.cast",
        ),
        (lambda: tf.exp(tf.constant([1, 2])), DTypeError, r"Exp of .*i32\[2\].*tf.float32"),
        (lambda: tf.reduce_mean([1, 2]), DTypeError, "expected a floating dtype"),
        (lambda: tf.logical_not(tf.zeros([2])), DTypeError, "expected booleans"),
        (lambda: tf.reduce_all([1.0]), DTypeError, "expected booleans"),
        (lambda: tf.constant("text"), DTypeError, "holds no numbers"),
        (lambda: tf.placeholder("complex64"), DTypeError, "complex64"),
        (lambda: tf.convert_to_tensor(tf.constant(1), f32), DTypeError, "expected float32"),
        (lambda: tf.reshape(tf.zeros([4]), [3]), ShapeError, r"Reshape of f32\[4\]"),
        (lambda: tf.reshape(tf.placeholder(f32, [None, 4]), [6]), ShapeError, "no multiple of 4"),
        (lambda: tf.reshape(tf.zeros([4]), tf.constant([2, 2])), tf.errors.GraphError, "length"),
        (lambda: tf.zeros([None, 2]), tf.errors.GraphError, r"wholly known, got \[\?,2\]"),
        (lambda: tf.constant([1, 2, 3], shape=[2, 2]), ShapeError, r"3 elements"),
        (lambda: tf.gather([1.0, 2.0], [0.0]), DTypeError, "expected integers"),
        (lambda: tf.one_hot([1.0], 3), DTypeError, "expected integers"),
        (lambda: tf.split(tf.zeros([5, 2]), 2), ShapeError, r"f32\[5,2\] along axis 0"),
        (lambda: tf.split(tf.placeholder(f32, [None]), 2), tf.errors.GraphError, "not known"),
        (lambda: tf.unstack(tf.placeholder(f32, [None])), tf.errors.GraphError, "give `num`"),
        (lambda: tf.where(tf.constant([True])), tf.errors.GraphError, "give x and y"),
        (lambda: tf.range(tf.constant(3)), tf.errors.GraphError, "give Python numbers"),
        (lambda: tf.zeros([3])[tf.constant(1)], tf.errors.GraphError, "use tf.gather"),
        (lambda: tf.add_n([]), tf.errors.GraphError, "no tensors"),
        (lambda: tf.nn.dropout([1.0], 0.5, rate=0.5), tf.errors.GraphError, "either"),
        (lambda: tf.nn.dropout([1.0], 1.5), tf.errors.GraphError, r"expected one in \(0, 1\]"),
        (
            lambda: tf.nn.softmax_cross_entropy_with_logits(tf.zeros([2]), tf.zeros([2])),
            tf.errors.GraphError, "with both names",
        ),
        (
            lambda: tf.nn.softmax_cross_entropy_with_logits(
                labels=tf.zeros([1, 3]), logits=tf.zeros([2, 3])
            ),
            ShapeError, "expected the same shape",
        ),
        (
            lambda: tf.nn.sparse_softmax_cross_entropy_with_logits(
                labels=tf.zeros([2]), logits=tf.zeros([2, 3])
            ),
            DTypeError, "expected integers",
        ),
        (
            lambda: tf.losses.mean_squared_error(tf.zeros([2, 1]), tf.zeros([2])),
            ShapeError, r"labels f32\[2,1\] and predictions f32\[2\]",
        ),
        (lambda: tf.losses.get_total_loss(), tf.errors.GraphError, "no function of tf.losses"),
        (lambda: tf.Variable(), tf.errors.GraphError, "needs an `initial_value`"),
        (lambda: tf.Variable(tf.placeholder(f32)), tf.errors.GraphError, "wholly known"),
        (lambda: tf.Variable([1.0]).assign([1.0, 2.0]), ShapeError, r"f32\[1\], but f32\[2\]"),
        (lambda: tf.Variable([1.0]).assign(tf.constant([1])), DTypeError, "expected float32"),
        (lambda: tf.assign(tf.zeros([2]), 0.0), tf.errors.GraphError, "needs a tf.Variable"),
        (lambda: tf.group(3), tf.errors.GraphError, "3 of type int is no tensor"),
        (lambda: tf.identity(tf.no_op()), tf.errors.GraphError, "operation without a value"),
        (
            lambda: tf.initializers.variance_scaling(mode="fan"),
            tf.errors.GraphError, "expected one of",
        ),
    ]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), MISTAKES, ids=map(str, range(len(MISTAKES))))
def test_what_does_not_fit_is_refused_at_once(
    make: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make()


def test_a_tensor_has_no_value_before_it_runs() -> None:
    x = tf.constant([1.0])
    with pytest.raises(TypeError, match=r"use tf\.where in the graph"):
        bool(x > 0)
    with pytest.raises(TypeError, match=r"use tf\.unstack"):
        list(x)
    assert x == x  # identity, as in TensorFlow 1
    assert len({x, x}) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("contrib", "use tf.layers and tf.initializers here"),
        ("data", "feed NumPy arrays"),
        ("keras", "with `import pullback as tf` use tf.keras"),
        ("while_loop", "loop in Python around sess.run"),
        ("GradientTape", "use tf.gradients here"),
        ("reduce_means", "close to it: reduce_mean"),
        ("no_such_thing", "compat_v1.md lists what there is"),
    ],
)
def test_what_is_not_there_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=f"has no tf.{name}.*{message}"):
        getattr(tf, name)


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        (tf.nn, "dynamic_rnn", r"has no tf\.nn\.dynamic_rnn: .*tf\.keras\.layers\.LSTM"),
        (tf.nn, "relu7", "close to it: relu"),
        (tf.layers, "conv3d", r"has no tf\.layers\.conv3d.*close to it: conv2d"),
        (tf.train, "FtrlOptimizer", "use tf.train.AdagradOptimizer"),
        (tf.losses, "cosine", r"has no tf\.losses\.cosine"),
        (tf.initializers, "orthogonal", r"has no tf\.initializers\.orthogonal"),
    ],
)
def test_so_it_is_in_the_modules(module: Any, name: str, message: str) -> None:
    with pytest.raises(AttributeError, match=message):
        getattr(module, name)


def test_nothing_is_refused_that_is_there() -> None:
    for name in refusals.INSTEAD:
        place: Any = tf
        *parts, last = name.split(".")[1:]
        for part in parts:
            place = getattr(place, part)
        assert last not in vars(place)


def test_what_is_announced_is_there() -> None:
    assert {*tf.__all__} <= {*dir(tf)}


def test_the_package_names_the_place_of_names_that_are_here() -> None:
    with pytest.raises(AttributeError, match=r"use pullback\.compat\.v1\.placeholder"):
        _ = pb.placeholder
    for name, text in pb._INSTEAD.items():
        assert not hasattr(pb, name)
        for place in text.replace(",", "").split():
            if place.startswith("pullback.") and ".keras" not in place:
                value: Any = pb
                for part in place.split(".")[1:]:
                    value = getattr(value, part)
    assert pb.compat.v1 is tf


def test_switches_of_tensorflow_2_do_nothing() -> None:
    tf.disable_v2_behavior()
    tf.disable_eager_execution()
