"""Programs with free lengths: exported once, run with many sizes; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from tests.export.onnx_run import exported, kinds, run, session

import pullback as pb
from pullback.export.errors import ExportError
from pullback.primitives.shape import Broadcast

FUNCTIONS = {
    "reshape": lambda x: pb.reshape(x, (-1, 2)),
    "flatten": lambda x: pb.reshape(x, (x.shape[0], -1)),
    "merge and split": lambda x: pb.reshape(x, (x.shape[0] * 3, 2, 2)),
    "to the end": lambda x: pb.reshape(x, (3, 4, x.shape[0])),
    "broadcast": lambda x: pb.broadcast_to(pb.asarray([1.0, 2.0], "f4"), (x.shape[0], 2)) + 0.0,
    "outer": lambda x: x[:, None, 0] - x[None, :, 0],
    "mean of rows": lambda x: x - pb.mean(x, axis=0),
    "reciprocal": lambda x: pb.sum(x, axis=0) * (1.0 / x.shape[0]),
    "iota": lambda x: x * pb.astype(pb.arange(x.shape[0]), "f4")[:, None, None],
    "last row": lambda x: x[-1],
    "all but the last": lambda x: x[:-1],
    "every other": lambda x: x[:, ::2],
    "reversed": lambda x: pb.flip(x, axis=0),
    "doubled": lambda x: pb.concat([x, x], axis=0),
    "padded": lambda x: pb.pad(x, ((1, 2), (0, 0), (0, 0))),
    "gathered": lambda x: pb.take(x, pb.asarray([0, 0]), axis=0),
    "along": lambda x: pb.take_along_axis(x, pb.argsort(x, axis=1), axis=1),
    "sorted": lambda x: pb.sort(x, axis=0),
    "running": lambda x: pb.cumulative_sum(x, axis=0),
    "scan of rows": lambda x: pb.scan(lambda c, y: (c + y, c * y), pb.zeros((3, 4)), x)[1],
    "reverse scan": lambda x: pb.scan(
        lambda c, y: (c + y, c), pb.zeros((3, 4)), x, reverse=True
    )[1],
    "loop": lambda x: pb.fori_loop(0, x.shape[0], lambda i, y: y * 1.25, x),
    "while": lambda x: pb.while_loop(lambda y: pb.max(y) < 50.0, lambda y: pb.abs(y) * 2 + 1, x),
    "branch": lambda x: pb.cond(pb.sum(x) > 0, lambda y: y + 1, lambda y: y * 2, x),
    "switch": lambda x: pb.switch(
        pb.asarray(1), [lambda y: y, lambda y: y * 3, lambda y: y - 5], x
    ),
    "products": lambda x: pb.einsum("bij,bkj->bik", x, x),
    "gram": lambda x: pb.einsum("bij,cij->bc", x, x),
    "updated": lambda x: x.at[0].set(7.0),
    "added": lambda x: x.at[pb.asarray([0, 0])].add(1.0),
    "block": lambda x: pb.dynamic_update_slice(x, x[:, :2] * 2, (0, 1, 2)),
    "checkpoint": lambda x: pb.checkpoint(lambda y: pb.tanh(y) * y)(x),
    "called": lambda x: pb.jit(lambda y: y * y + 1)(x),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_file_serves_all_numbers_of_rows(name, rng):
    f = FUNCTIONS[name]
    made = session(exported(f, (("batch", 3, 4), "f4")))
    for n in (1, 2, 3, 7):
        x = rng.normal(size=(n, 3, 4)).astype("f4")

        (actual,) = made.run(None, {"x0": x})

        expected = np.asarray(f(pb.asarray(x)))
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_several_lengths_are_free_at_once(rng):
    def f(x, y):
        scores = pb.einsum("bth,bsh->bts", x, y)
        flat = pb.reshape(scores, (x.shape[0], x.shape[1] * y.shape[1]))
        return flat / (x.shape[1] * y.shape[1]) + pb.astype(pb.arange(flat.shape[1]), "f4")

    made = session(exported(f, (("batch", "t", 5), "f4"), (("batch", "s", 5), "f4")))
    for b, t, s in [(1, 1, 1), (2, 3, 4), (3, 16, 1)]:
        x, y = rng.normal(size=(b, t, 5)).astype("f4"), rng.normal(size=(b, s, 5)).astype("f4")
        expected = np.asarray(f(pb.asarray(x), pb.asarray(y)))

        (actual,) = made.run(None, {"x0": x, "x1": y})

        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_what_is_expanded_inside_a_loop_is_not_taken_for_known_outside(rng):
    def f(x):
        repeated = pb.broadcast_to(pb.asarray([1.0, 2.0, 3.0, 4.0], "f4"), x.shape)
        _, ys = pb.scan(lambda c, r: (c + r, r + pb.sum(repeated, axis=0)), pb.zeros(4), x)
        return ys + pb.cumulative_sum(repeated, axis=0)

    x = rng.normal(size=(3, 4)).astype("f4")

    (actual,) = run(exported(f, (("batch", 4), "f4")), x)

    np.testing.assert_allclose(actual, np.asarray(f(pb.asarray(x))), rtol=1e-5)


def test_shapes_are_declared_with_their_free_lengths():
    model = exported(lambda x: pb.concat([x, x, x[:1]], axis=0), (("batch", 4), "f4"))

    shape = model.graph.output[0].type.tensor_type.shape
    assert [d.dim_param or d.dim_value for d in shape.dim] == ["1 + 2*batch", 4]


REFUSED = {
    "rounded": (lambda x: x[: x.shape[0] // 2], "a length that is no polynomial"),
    "every other": (lambda x: x[::2], "a length that is no polynomial"),
    "clipped": (lambda x: x[: min(x.shape[0] - 1, 512)], "a length that is no polynomial"),
    "clipped to all": (lambda x: x[: min(x.shape[0], 512)], "another number of equations"),
    "squared": (lambda x: pb.zeros((x.shape[0] ** 2,)), "a length that is no polynomial"),
    "unrolled": (
        lambda x: sum(x[i] for i in range(x.shape[0] % 5 + 1)),
        "another number of equations",
    ),
    "chosen": (
        lambda x: pb.sin(x) if x.shape[0] % 2 else pb.cos(x),
        "another operation .*: sin for batch = 83; cos for",
    ),
    "a number": (lambda x: x * float(x.shape[0]) ** 0.5, "a number that is no polynomial"),
    "a constant": (
        lambda x: x + pb.asarray(np.eye(x.shape[0], 4, dtype="f4")),
        r"a constant of \(83, 4\) values depends",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_polynomial_says_is_refused(name):
    f, message = REFUSED[name]

    with pytest.raises(ExportError, match=message) as caught:
        exported(f, (("batch", 4), "f4"))

    assert "Give all lengths" in str(caught.value)
    exported(f, ((6, 4), "f4"))  # a given length is no problem


def test_a_function_that_takes_no_size_says_why():
    def f(x):
        raise ValueError("expected 12 rows")

    with pytest.raises(ExportError, match="expected 12 rows"):
        exported(f, (("batch", 4), "f4"))


def test_sizes_that_the_function_refuses_are_left_out(rng):
    """Many models have a largest length: smaller ones tell enough."""
    table = pb.asarray(rng.normal(size=(64, 5)).astype("f4"))

    def f(x):
        if x.shape[0] > 64:
            raise ValueError("at most 64")
        return x + table[: x.shape[0]]

    x = rng.normal(size=(11, 5)).astype("f4")

    (actual,) = run(exported(f, (("t", 5), "f4")), x)

    np.testing.assert_allclose(actual, x + np.asarray(table)[:11], rtol=1e-6)


def test_larger_sizes_are_tried_where_small_ones_are_refused(rng):
    def f(x):
        if x.shape[0] < 40:
            raise ValueError("at least 40")
        return pb.reshape(x[20:], (-1,))

    x = rng.normal(size=(45, 5)).astype("f4")

    (actual,) = run(exported(f, (("t", 5), "f4")), x)

    np.testing.assert_array_equal(actual, x[20:].reshape(-1))


def test_variables_are_initializers_and_may_not_be_assigned():
    w = pb.Variable(np.ones((4, 2), "f4"), name="w")
    model = exported(lambda x: x @ w, (("batch", 4), "f4"))
    assert [t.name for t in model.graph.initializer] == ["w"]

    def count(x):
        w.assign_add(1.0)
        return x @ w

    with pytest.raises(ExportError, match="assigns the variables 'w'"):
        exported(count, (("batch", 4), "f4"))
    np.testing.assert_array_equal(np.asarray(w), np.ones((4, 2)))


def test_an_error_names_the_operation_and_the_line():
    def f(x):
        return pb.linalg.inv(x)

    line = f.__code__.co_firstlineno + 1
    with pytest.raises(ExportError, match=rf"`inv` of \(f32\[batch,2,2\]\).*{__file__}:{line}"):
        exported(f, (("batch", 2, 2), "f4"))


# What runtimes recognise


def test_a_dense_layer_is_a_product_and_a_sum():
    w, b = pb.asarray(np.ones((4, 3), "f4")), pb.asarray(np.ones(3, "f4"))

    assert kinds(exported(lambda x: pb.nn.relu(x @ w + b), (("batch", 4), "f4"))) == [
        "MatMul", "Add", "Relu", "Identity",
    ]  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_softmax_is_one_operator(axis, rng):
    f = lambda x: pb.nn.softmax(x, axis=axis)  # noqa: E731  # parametrised
    x = rng.normal(size=(2, 3, 4)).astype("f4") * 30

    model = exported(f, (("batch", 3, 4), "f4"))

    assert kinds(model) == ["Softmax", "Identity"]
    np.testing.assert_allclose(run(model, x)[0], np.asarray(f(pb.asarray(x))), rtol=1e-5, atol=1e-7)


def test_what_only_looks_like_a_softmax_is_none(rng):
    """The sum is over another axis than the maximum."""

    def f(x):
        e = pb.exp(x - Broadcast(x.shape, (1,))(pb.max(x, axis=1)))
        return e / Broadcast(x.shape, (0,))(pb.sum(e, axis=0))

    x = rng.normal(size=(3, 4)).astype("f4")
    model = exported(f, (("batch", 4), "f4"))

    assert "Softmax" not in kinds(model)
    np.testing.assert_allclose(run(model, x)[0], np.asarray(f(pb.asarray(x))), rtol=1e-5)


def test_what_nobody_reads_is_left_out():
    def f(x):
        pb.linalg.norm(pb.exp(x))
        return x + 1.0

    assert kinds(exported(f, (("batch", 4), "f4"))) == ["Add", "Identity"]
