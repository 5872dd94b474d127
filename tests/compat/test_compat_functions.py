"""Every function of tensors against NumPy or SciPy, all of them in one run of one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

import pullback.compat.v1 as tf
from pullback import config

X = np.array([[-1.5, 0.25, 2.0], [0.5, -0.75, 1.0]], np.float32)
Y = np.array([[2.0, -0.5, 2.0], [1.5, 0.75, -3.0]], np.float32)
POSITIVE = np.abs(X)
UNIT = X / 2
BITS = X > 0
INDICES = np.array([2, 0, 1])
ODD = np.array([np.nan, np.inf, 1.0], np.float32)

Case = tuple[Callable[..., Any], tuple[Any, ...], Any]


def softmax(x: Any) -> Any:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


CASES: dict[str, Case] = {
    "abs": (tf.abs, (X,), np.abs(X)),
    "acos": (tf.acos, (UNIT,), np.arccos(UNIT)),
    "add": (tf.add, (X, Y), X + Y),
    "add_n": (lambda *xs: tf.add_n([*xs]), (X, Y, Y), X + Y + Y),
    "argmax": (lambda x: tf.argmax(x, 1), (X,), [2, 2]),
    "argmax of the first axis": (tf.argmax, (X,), [1, 0, 0]),
    "argmin": (lambda x: tf.argmin(x, 1), (X,), [0, 1]),
    "asin": (tf.asin, (UNIT,), np.arcsin(UNIT)),
    "atan": (tf.atan, (X,), np.arctan(X)),
    "atan2": (tf.atan2, (X, Y), np.arctan2(X, Y)),
    "cast": (lambda x: tf.cast(x, tf.int32), (X,), X.astype(int)),
    "ceil": (tf.ceil, (X,), np.ceil(X)),
    "clip_by_value": (lambda x: tf.clip_by_value(x, -0.5, 1.0), (X,), np.clip(X, -0.5, 1)),
    "concat": (lambda x, y: tf.concat([x, y], 1), (X, Y), np.concatenate([X, Y], 1)),
    "constant": (lambda: tf.constant(2.5, shape=[2, 2]), (), np.full((2, 2), 2.5)),
    "convert_to_tensor": (lambda x: tf.convert_to_tensor([x[0, 0], 1.0]), (X,), [-1.5, 1.0]),
    "cos": (tf.cos, (X,), np.cos(X)),
    "cosh": (tf.cosh, (X,), np.cosh(X)),
    "div": (tf.div, (X, Y), X / Y),
    "divide": (tf.divide, (X, Y), X / Y),
    "divide integers": (lambda: tf.divide(tf.constant([1, 7]), 2), (), [0.5, 3.5]),
    "equal": (tf.equal, (X, Y), X == Y),
    "erf": (tf.erf, (X,), scipy.special.erf(X)),
    "exp": (tf.exp, (X,), np.exp(X)),
    "expand_dims": (lambda x: tf.expand_dims(x, 1), (X,), X[:, None]),
    "expm1": (tf.expm1, (X,), np.expm1(X)),
    "eye": (lambda: tf.eye(2, 3), (), np.eye(2, 3)),
    "fill": (lambda: tf.fill([2, 3], 7), (), np.full((2, 3), 7)),
    "floor": (tf.floor, (X,), np.floor(X)),
    "floordiv": (tf.floordiv, (X, Y), X // Y),
    "gather": (lambda x, i: tf.gather(x, i, axis=1), (X, INDICES), X[:, INDICES]),
    "greater": (tf.greater, (X, Y), X > Y),
    "greater_equal": (tf.greater_equal, (X, Y), X >= Y),
    "identity": (tf.identity, (X,), X),
    "is_finite": (tf.is_finite, (ODD,), np.isfinite(ODD)),
    "is_inf": (tf.is_inf, (ODD,), np.isinf(ODD)),
    "is_nan": (tf.is_nan, (ODD,), np.isnan(ODD)),
    "less": (tf.less, (X, Y), X < Y),
    "less_equal": (tf.less_equal, (X, Y), X <= Y),
    "linspace": (lambda: tf.linspace(0.0, 1.0, 5), (), np.linspace(0, 1, 5)),
    "log": (tf.log, (POSITIVE,), np.log(POSITIVE)),
    "log1p": (tf.log1p, (POSITIVE,), np.log1p(POSITIVE)),
    "logical_and": (tf.logical_and, (BITS, ~BITS), np.zeros((2, 3), bool)),
    "logical_not": (tf.logical_not, (BITS,), ~BITS),
    "logical_or": (tf.logical_or, (BITS, ~BITS), np.ones((2, 3), bool)),
    "matmul": (lambda x, y: tf.matmul(x, y, transpose_b=True), (X, Y), X @ Y.T),
    "matmul transposed first": (lambda x, y: tf.matmul(x, y, True), (X, Y), X.T @ Y),
    "maximum": (tf.maximum, (X, Y), np.maximum(X, Y)),
    "minimum": (tf.minimum, (X, Y), np.minimum(X, Y)),
    "mod": (tf.mod, (X, Y), X % Y),
    "multiply": (tf.multiply, (X, Y), X * Y),
    "negative": (tf.negative, (X,), -X),
    "norm": (lambda x: tf.norm(x, axis=1), (X,), np.linalg.norm(X, axis=1)),
    "not_equal": (tf.not_equal, (X, Y), X != Y),
    "one_hot": (lambda i: tf.one_hot(i, 3), (INDICES,), np.eye(3)[INDICES]),
    "one_hot with values": (
        lambda i: tf.one_hot(i, 3, on_value=5, off_value=-1, dtype=tf.int32),
        (INDICES,),
        np.where(np.eye(3)[INDICES] == 1, 5, -1),
    ),
    "ones": (lambda: tf.ones([2, 3]), (), np.ones((2, 3))),
    "ones_like": (tf.ones_like, (X,), np.ones_like(X)),
    "pad": (lambda x: tf.pad(x, [[1, 0], [0, 2]]), (X,), np.pad(X, [(1, 0), (0, 2)])),
    "pow": (tf.pow, (POSITIVE, Y), POSITIVE**Y),
    "range": (lambda: tf.range(1, 7, 2), (), [1, 3, 5]),
    "range to": (lambda: tf.range(3.0), (), [0.0, 1.0, 2.0]),
    "rank": (tf.rank, (X,), 2),
    "realdiv": (tf.realdiv, (X, Y), X / Y),
    "reciprocal": (tf.reciprocal, (X,), 1 / X),
    "reduce_all": (lambda x: tf.reduce_all(x, 1), (BITS,), BITS.all(1)),
    "reduce_any": (lambda x: tf.reduce_any(x, 1), (BITS,), BITS.any(1)),
    "reduce_logsumexp": (tf.reduce_logsumexp, (X,), np.log(np.exp(X).sum())),
    "reduce_max": (lambda x: tf.reduce_max(x, axis=0), (X,), X.max(0)),
    "reduce_mean": (lambda x: tf.reduce_mean(x, [0, 1]), (X,), X.mean()),
    "reduce_min": (lambda x: tf.reduce_min(x, reduction_indices=[1]), (X,), X.min(1)),
    "reduce_prod": (lambda x: tf.reduce_prod(x, -1), (X,), X.prod(-1)),
    "reduce_sum": (lambda x: tf.reduce_sum(x, 1, keepdims=True), (X,), X.sum(1, keepdims=True)),
    "reshape": (lambda x: tf.reshape(x, [-1, 2]), (X,), X.reshape(-1, 2)),
    "round": (tf.round, (X,), np.round(X)),
    "rsqrt": (tf.rsqrt, (POSITIVE,), POSITIVE**-0.5),
    "shape": (tf.shape, (X,), [2, 3]),
    "sigmoid": (tf.sigmoid, (X,), scipy.special.expit(X)),
    "sign": (tf.sign, (X,), np.sign(X)),
    "sin": (tf.sin, (X,), np.sin(X)),
    "sinh": (tf.sinh, (X,), np.sinh(X)),
    "size": (tf.size, (X,), 6),
    "slice": (lambda x: tf.slice(x, [0, 1], [-1, 2]), (X,), X[:, 1:3]),
    "split": (lambda x: tf.split(x, [1, 2], axis=1)[1], (X,), X[:, 1:]),
    "split in equal parts": (lambda x: tf.split(x, 2)[1], (X,), X[1:]),
    "sqrt": (tf.sqrt, (POSITIVE,), np.sqrt(POSITIVE)),
    "square": (tf.square, (X,), X**2),
    "squared_difference": (tf.squared_difference, (X, Y), (X - Y) ** 2),
    "squeeze": (lambda x: tf.squeeze(x[:1]), (X,), X[0]),
    "stack": (lambda x, y: tf.stack([x, y], axis=1), (X, Y), np.stack([X, Y], 1)),
    "stop_gradient": (tf.stop_gradient, (X,), X),
    "subtract": (tf.subtract, (X, Y), X - Y),
    "tan": (tf.tan, (X,), np.tan(X)),
    "tanh": (tf.tanh, (X,), np.tanh(X)),
    "tensordot": (lambda x, y: tf.tensordot(x, y, [[1], [1]]), (X, Y), X @ Y.T),
    "tile": (lambda x: tf.tile(x, [2, 1]), (X,), np.tile(X, (2, 1))),
    "to_float": (tf.to_float, (BITS,), BITS.astype(np.float32)),
    "to_int32": (tf.to_int32, (X,), X.astype(int)),
    "transpose": (tf.transpose, (X,), X.T),
    "transpose as it is": (lambda x: tf.transpose(x, [0, 1]), (X,), X),
    "truediv": (tf.truediv, (X, Y), X / Y),
    "unstack": (lambda x: tf.unstack(x, axis=1)[2], (X,), X[:, 2]),
    "where": (tf.where, (BITS, X, Y), np.where(BITS, X, Y)),
    "where by rows": (tf.where, (BITS[:, 1], X, Y), np.where(BITS[:, 1:2], X, Y)),
    "zeros": (lambda: tf.zeros([2]), (), np.zeros(2)),
    "zeros_like": (tf.zeros_like, (X,), np.zeros_like(X)),
    # Operators.
    "x + y": (lambda x, y: x + y, (X, Y), X + Y),
    "1 + x": (lambda x: 1 + x, (X,), 1 + X),
    "array + x": (lambda x: Y + x, (X,), X + Y),
    "x - y": (lambda x, y: x - y, (X, Y), X - Y),
    "1 - x": (lambda x: 1 - x, (X,), 1 - X),
    "x * y": (lambda x, y: x * y, (X, Y), X * Y),
    "2 * x": (lambda x: 2 * x, (X,), 2 * X),
    "x / y": (lambda x, y: x / y, (X, Y), X / Y),
    "1 / x": (lambda x: 1 / x, (X,), 1 / X),
    "x // y": (lambda x, y: x // y, (X, Y), X // Y),
    "1 // x": (lambda x: 1 // x, (X,), 1 // X),
    "x % y": (lambda x, y: x % y, (X, Y), X % Y),
    "3 % x": (lambda x: 3 % x, (X,), 3 % X),
    "x ** 2": (lambda x: x**2, (X,), X**2),
    "2 ** x": (lambda x: 2**x, (X,), 2**X),
    "x @ y": (lambda x, y: x @ tf.transpose(y), (X, Y), X @ Y.T),
    "array @ x": (lambda x: Y.T @ x, (X,), Y.T @ X),
    "x < y": (lambda x, y: x < y, (X, Y), X < Y),
    "x <= y": (lambda x, y: x <= y, (X, Y), X <= Y),
    "x > 0": (lambda x: x > 0, (X,), X > 0),
    "x >= y": (lambda x, y: x >= y, (X, Y), X >= Y),
    "x & y": (lambda x, y: x & y, (BITS, BITS), BITS),
    "x | y": (lambda x, y: x | y, (BITS, ~BITS), BITS | ~BITS),
    "~x": (lambda x: ~x, (BITS,), ~BITS),
    "-x": (lambda x: -x, (X,), -X),
    "abs(x)": (lambda x: abs(x), (X,), np.abs(X)),
    "x[0]": (lambda x: x[0], (X,), X[0]),
    "x[:, -1:]": (lambda x: x[:, -1:], (X,), X[:, -1:]),
    "x[..., newaxis]": (lambda x: x[..., tf.newaxis], (X,), X[..., None]),
    # tf.nn.
    "nn.bias_add": (tf.nn.bias_add, (X, Y[0]), X + Y[0]),
    "nn.elu": (tf.nn.elu, (X,), np.where(X > 0, X, np.expm1(X))),
    "nn.embedding_lookup": (tf.nn.embedding_lookup, (X, np.array([1, 0, 1])), X[[1, 0, 1]]),
    "nn.in_top_k": (lambda x, i: tf.nn.in_top_k(x, i, 2), (X, np.array([0, 2])), [False, True]),
    "nn.l2_loss": (tf.nn.l2_loss, (X,), (X**2).sum() / 2),
    "nn.l2_normalize": (
        lambda x: tf.nn.l2_normalize(x, 1),
        (X,),
        X / np.linalg.norm(X, axis=1, keepdims=True),
    ),
    "nn.leaky_relu": (tf.nn.leaky_relu, (X,), np.where(X > 0, X, 0.2 * X)),
    "nn.log_sigmoid": (tf.nn.log_sigmoid, (X,), np.log(scipy.special.expit(X))),
    "nn.log_softmax": (tf.nn.log_softmax, (X,), np.log(softmax(X))),
    "nn.moments": (lambda x: tf.nn.moments(x, [0])[1], (X,), X.var(0)),
    "nn.relu": (tf.nn.relu, (X,), np.maximum(X, 0)),
    "nn.relu6": (tf.nn.relu6, (X * 5,), np.clip(X * 5, 0, 6)),
    "nn.selu": (
        tf.nn.selu,
        (X,),
        1.0507009873554805 * np.where(X > 0, X, 1.6732632423543772 * np.expm1(X)),
    ),
    "nn.sigmoid": (tf.nn.sigmoid, (X,), scipy.special.expit(X)),
    "nn.sigmoid_cross_entropy_with_logits": (
        lambda x, y: tf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=x),
        (X, np.abs(Y) / 3),
        np.log1p(np.exp(X)) - X * np.abs(Y) / 3,
    ),
    "nn.softmax": (tf.nn.softmax, (X,), softmax(X)),
    "nn.softmax of the first axis": (lambda x: tf.nn.softmax(x, 0), (X,), softmax(X.T).T),
    "nn.softmax_cross_entropy_with_logits": (
        lambda x, y: tf.nn.softmax_cross_entropy_with_logits(labels=y, logits=x),
        (X, softmax(Y)),
        -(softmax(Y) * np.log(softmax(X))).sum(1),
    ),
    "nn.softmax_cross_entropy_with_logits_v2": (
        lambda x, y: tf.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=x),
        (X, softmax(Y)),
        -(softmax(Y) * np.log(softmax(X))).sum(1),
    ),
    "nn.softplus": (tf.nn.softplus, (X,), np.log1p(np.exp(X))),
    "nn.softsign": (tf.nn.softsign, (X,), X / (1 + np.abs(X))),
    "nn.sparse_softmax_cross_entropy_with_logits": (
        lambda x, i: tf.nn.sparse_softmax_cross_entropy_with_logits(labels=i, logits=x),
        (X, np.array([2, 0])),
        -np.log(softmax(X))[[0, 1], [2, 0]],
    ),
    "nn.swish": (tf.nn.swish, (X,), X * scipy.special.expit(X)),
    "nn.tanh": (tf.nn.tanh, (X,), np.tanh(X)),
    # tf.losses.
    "losses.absolute_difference": (tf.losses.absolute_difference, (Y, X), np.abs(X - Y).mean()),
    "losses.compute_weighted_loss": (
        lambda x: tf.losses.compute_weighted_loss(x, [[0.0], [2.0]]),
        (X,),
        2 * X[1].mean(),
    ),
    "losses.huber_loss": (
        tf.losses.huber_loss,
        (Y, X),
        np.where(np.abs(X - Y) <= 1, (X - Y) ** 2 / 2, np.abs(X - Y) - 0.5).mean(),
    ),
    "losses.log_loss": (
        tf.losses.log_loss,
        (BITS, scipy.special.expit(Y)),
        -np.where(BITS, np.log(scipy.special.expit(Y)), np.log(scipy.special.expit(-Y))).mean(),
    ),
    "losses.mean_squared_error": (tf.losses.mean_squared_error, (Y, X), ((X - Y) ** 2).mean()),
    "losses.sigmoid_cross_entropy": (
        tf.losses.sigmoid_cross_entropy,
        (BITS, X),
        (np.log1p(np.exp(X)) - X * BITS).mean(),
    ),
    "losses.softmax_cross_entropy": (
        tf.losses.softmax_cross_entropy,
        (np.eye(3)[[2, 0]], X),
        -np.log(softmax(X))[[0, 1], [2, 0]].mean(),
    ),
    "losses.sparse_softmax_cross_entropy": (
        tf.losses.sparse_softmax_cross_entropy,
        (np.array([2, 0]), X),
        -np.log(softmax(X))[[0, 1], [2, 0]].mean(),
    ),
    "losses.get_total_loss": (
        lambda: (tf.losses.mean_squared_error([1.0], [4.0]), tf.losses.get_total_loss())[1],
        (),
        None,  # of all the losses above: see below
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def results() -> dict[str, tuple[Any, tf.Tensor]]:
    """The value of each case and its tensor, with operands whose first length is not known."""
    feeds: dict[tf.Tensor, Any] = {}
    with config.override(threads=1), tf.Graph().as_default():
        tensors = {}
        for name, (function, arrays, _) in CASES.items():
            operands = []
            for array in arrays:
                # Parts of a tensor need their lengths.
                lengths = array.shape if "split" in name else (None, *array.shape[1:])
                feeds[x := tf.placeholder(array.dtype, lengths)] = array
                operands.append(x)
            tensors[name] = function(*operands)
        with tf.Session() as sess:
            found = sess.run(tensors, feeds)
    return {name: (found[name], x) for name, x in tensors.items()}


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][2] is not None])
def test_the_value_is_numpys(name: str, results: dict[str, tuple[Any, tf.Tensor]]) -> None:
    found, _ = results[name]
    expected = np.asarray(CASES[name][2])

    assert np.shape(found) == expected.shape
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_what_was_known_before_the_run_holds(
    name: str, results: dict[str, tuple[Any, tf.Tensor]]
) -> None:
    found, tensor = results[name]

    assert tensor.dtype == np.asarray(found).dtype
    dims = tensor.get_shape().as_list()
    assert len(dims) == np.ndim(found)
    assert all(n in (None, m) for n, m in zip(dims, np.shape(found), strict=True))


def test_the_total_loss_is_the_sum_of_all_losses(
    results: dict[str, tuple[Any, tf.Tensor]],
) -> None:
    losses = [v for name, (v, _) in results.items() if name.startswith("losses.")]

    np.testing.assert_allclose(losses[-1], sum(losses[:-1]) + 9.0, rtol=1e-5)


def test_every_function_has_a_case() -> None:
    elsewhere = {
        *("assign", "assign_add", "assign_sub", "control_dependencies", "gradients", "group"),
        *("no_op", "placeholder", "placeholder_with_default", "random_normal", "random_uniform"),
        *("truncated_normal", "name_scope", "variable_scope", "set_random_seed"),
        *("add_to_collection", "get_collection", "disable_eager_execution", "disable_v2_behavior"),
    }
    functions = {
        name
        for name in tf.__all__
        if callable(getattr(tf, name)) and not isinstance(getattr(tf, name), type)
        if not name.startswith(("get_", "reset_"))
        and not name.endswith(("variables", "initializer"))
    }
    modules = {
        f"{module}.{name}"
        for module, names in {"nn": tf.nn, "losses": tf.losses}.items()
        for name, x in vars(names).items()
        if not name.startswith("_") and getattr(x, "__module__", "").startswith("pullback.compat")
        if name not in vars(tf) or module == "losses"
        if not isinstance(x, type) and callable(x)
    }
    helpers = {
        *(
            "nn.conv2d",
            "nn.max_pool",
            "nn.avg_pool",
            "nn.dropout",
            "nn.dropped",
            "nn.refuse",
            "nn.require_floating",
            "nn.as_axes",
        ),
        *("nn.apply", "nn.convert_operands", "losses.add_n", "losses.apply", "losses.cast"),
        *("losses.convert_operands", "losses.convert_to_tensor", "losses.get_default_graph"),
        *("losses.get_losses", "losses.refuse", "losses.require_floating"),
    }

    assert (functions | modules) - elsewhere - helpers <= {name.split(" ")[0] for name in CASES}
