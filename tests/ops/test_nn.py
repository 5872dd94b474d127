"""Functions for neural networks, against closed forms, also at extreme scale in float32."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from agreement import traced
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies_ops import AXIS_SHAPES, few, operand

import pullback as pb
from pullback.errors import DTypeError, ShapeError, TracerArrayError
from pullback.testing import check_vjp

nn = pb.nn
EXTREME = np.array([-1e30, -1e4, -100, -1, -1e-4, 0, 1e-4, 1, 100, 1e4, 1e30], np.float32)
X = np.array([-30.0, -3.0, -1.0, -0.25, 0.25, 1.0, 2.0, 30.0])


def sigmoid(x):
    return np.where(
        x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))
    )


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def erfc(x):
    return np.vectorize(math.erfc)(x)


#: Function -> (value, derivative) in float64.
FORMS: dict[str, tuple[Callable[..., Any], Callable[..., Any] | None]] = {
    "relu": (lambda x: np.maximum(x, 0), lambda x: x > 0),
    "relu6": (lambda x: np.clip(x, 0, 6), lambda x: (x > 0) & (x < 6)),
    "leaky_relu": (lambda x: np.where(x < 0, 0.01 * x, x), lambda x: np.where(x < 0, 0.01, 1)),
    "elu": (
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
    ),
    "celu": (
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0))),
    ),
    "selu": (
        lambda x: (
            1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0)))
        ),
        lambda x: (
            1.0507009873554805 * np.where(x > 0, 1, 1.6732632423543772 * np.exp(np.minimum(x, 0)))
        ),
    ),
    "sigmoid": (sigmoid, lambda x: sigmoid(x) * sigmoid(-x)),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(np.clip(x, -300, 300)) ** 2),
    "silu": (lambda x: x * sigmoid(x), lambda x: sigmoid(x) * (1 + x * sigmoid(-x))),
    "softplus": (softplus, sigmoid),
    "log_sigmoid": (lambda x: -softplus(-x), lambda x: sigmoid(-x)),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x: 1 / (1 + np.abs(x)) ** 2),
    "hard_sigmoid": (lambda x: np.clip(x + 3, 0, 6) / 6, lambda x: (np.abs(x) < 3) / 6),
    "hard_tanh": (lambda x: np.clip(x, -1, 1), lambda x: np.abs(x) < 1),
    "hard_silu": (
        lambda x: x * np.clip(x + 3, 0, 6) / 6,
        lambda x: np.clip(x + 3, 0, 6) / 6 + x * (np.abs(x) < 3) / 6,
    ),
    "mish": (lambda x: x * np.tanh(softplus(x)), None),
}
KINKS = {"relu6": 6, "hard_sigmoid": 3, "hard_silu": 3, "hard_tanh": 1}


@pytest.mark.parametrize("name", sorted(FORMS))
def test_activations_and_their_gradients(name):
    value, derivative = FORMS[name]
    function = getattr(nn, name)
    x = X[np.abs(X) != KINKS.get(name)]

    (found,) = traced(function, (x,), {})
    gradient = np.asarray(pb.grad(lambda x: pb.sum(function(x)))(x))

    np.testing.assert_allclose(found, value(x), rtol=1e-14)
    if derivative is not None:
        np.testing.assert_allclose(gradient, derivative(x), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", sorted(FORMS))
def test_activations_at_extreme_scale(name):
    """In float32 from -1e30 to 1e30: right values and finite gradients."""
    value, derivative = FORMS[name]
    x = EXTREME.astype(np.float64)

    found = np.asarray(getattr(nn, name)(EXTREME))
    gradient = np.asarray(pb.grad(lambda x: pb.sum(getattr(nn, name)(x)))(EXTREME))

    assert found.dtype == np.float32
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found, value(x), rtol=3e-6, atol=1e-30)
        assert np.isfinite(gradient).all()
        if derivative is not None:
            inside = x != 0
            expected = derivative(x)[inside]
            np.testing.assert_allclose(gradient[inside], expected, rtol=1e-5, atol=1e-11)


def test_gradients_at_the_kinks():
    for name, expected in [
        ("relu", 0),
        ("relu6", 0),
        ("leaky_relu", 1),
        ("elu", 1),
        ("softplus", 0.5),
    ]:
        assert float(pb.grad(getattr(nn, name))(0.0)) == expected, name
    assert float(pb.grad(nn.relu6)(6.0)) == 0


def test_nan_stays_nan():
    x = pb.asarray([np.nan])

    for name in (*FORMS, "gelu", "softmax", "log_softmax", "logsumexp"):
        assert np.isnan(np.asarray(getattr(nn, name)(x))).all(), name


@pytest.mark.parametrize("dtype", [pb.float16, pb.bfloat16, pb.float64])
def test_dtypes_are_kept(dtype):
    x = pb.asarray([[-1.0, 0.5]], dtype=dtype)

    for name in (
        *FORMS,
        "gelu",
        "softmax",
        "log_softmax",
        "logsumexp",
        "standardize",
        "layer_norm",
    ):
        assert getattr(nn, name)(x).dtype == dtype, name


def test_gelu_exact_and_by_tanh():
    exact = 0.5 * X * erfc(-X / np.sqrt(2))
    by_tanh = 0.5 * X * (1 + np.tanh(np.sqrt(2 / np.pi) * (X + 0.044715 * X**3)))

    np.testing.assert_allclose(np.asarray(nn.gelu(X, approximate=False)), exact, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(nn.gelu(X)), by_tanh, rtol=1e-13)
    found = np.asarray(nn.gelu(np.array([-8.0], np.float32), approximate=False))
    np.testing.assert_allclose(found, [-8 * 0.5 * math.erfc(8 / math.sqrt(2))], rtol=1e-5)
    for approximate in (True, False):
        gradient = pb.grad(lambda x: pb.sum(nn.gelu(x, approximate=approximate)))  # noqa: B023
        assert np.isfinite(np.asarray(gradient(EXTREME[1:-1]))).all()


@pytest.mark.parametrize("dtype", [pb.float16, pb.bfloat16, pb.float32, pb.float64])
def test_derivatives_of_gelu_by_tanh_where_the_cube_overflows(dtype):
    large = 6e4 if dtype == pb.float16 else 1e30
    x = pb.asarray([-large, -1e4, -33, -32, -31, 31, 32, 33, 1e4, large], dtype=dtype)
    gradient = pb.grad(lambda x: pb.sum(nn.gelu(x)))
    second = pb.grad(lambda x: pb.sum(gradient(x)))

    for compiled in (False, True):
        slopes = (pb.jit(gradient) if compiled else gradient)(x)
        curvatures = (pb.jit(second) if compiled else second)(x)

        np.testing.assert_array_equal(np.asarray(slopes).astype(float), [0] * 5 + [1] * 5)
        np.testing.assert_array_equal(np.asarray(curvatures).astype(float), 0)


def test_glu():
    x = np.array([[1.0, 2.0, 0.0, 100.0]])

    np.testing.assert_allclose(np.asarray(nn.glu(x)), [[0.5, 2.0]])
    with pytest.raises(ShapeError, match="2 equal parts"):
        nn.glu(pb.zeros(3))


# ---- normalised exponentials


def softmax(x, axis):
    x = x.astype(np.longdouble)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@few
@given(
    data=st.data(),
    x=operand(("float32", "float64"), hnp.array_shapes(min_dims=1, max_dims=3, min_side=1)),
)
def test_softmax_family(data, x):
    x = np.nan_to_num(x, nan=0, posinf=1e4, neginf=-1e4).clip(-1e4, 1e4).astype(x.dtype)
    axis = data.draw(st.sampled_from([-1, 0, tuple(range(x.ndim))]))
    tolerance = 2e-6 if x.dtype == np.float32 else 1e-14

    for name, expected in [
        ("softmax", softmax(x, axis)),
        ("log_softmax", x - _logsumexp(x, axis)),
    ]:
        (found,) = traced(getattr(nn, name), (x,), {"axis": axis})
        np.testing.assert_allclose(
            found, expected.astype(np.float64), rtol=tolerance * 10, atol=tolerance
        )
    (found,) = traced(nn.logsumexp, (x,), {"axis": axis, "keepdims": True})
    np.testing.assert_allclose(found, _logsumexp(x, axis).astype(np.float64), rtol=tolerance)
    total = np.asarray(pb.sum(nn.softmax(x, axis), axis))
    np.testing.assert_allclose(total, 1, rtol=4 * np.finfo(x.dtype).eps)


def _logsumexp(x, axis):
    x = x.astype(np.longdouble)
    largest = x.max(axis=axis, keepdims=True)
    return np.log(np.exp(x - largest).sum(axis=axis, keepdims=True)) + largest


def test_softmax_of_large_logits():
    x = np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [1e30, -1e30, 0.0]], np.float32)

    expected = np.array([[1, 0, 0], [1 / 3] * 3, [1, 0, 0]])
    np.testing.assert_allclose(np.asarray(nn.softmax(x)), expected, rtol=1e-6)
    np.testing.assert_allclose(np.asarray(nn.log_softmax(x))[0], [0, -1e4, -2e4])
    assert float(nn.logsumexp(pb.asarray([-np.inf, -np.inf]))) == -np.inf
    assert float(nn.logsumexp(pb.zeros(0))) == -np.inf
    assert nn.softmax(pb.zeros((0, 3))).shape == (0, 3)


def test_softmax_gradients_are_those_of_the_formula(rng):
    x, ct = rng.normal(size=(2, 2, 4))
    s = softmax(x, -1).astype(np.float64)

    (found,) = pb.vjp(nn.softmax, x)[1](ct)
    (logarithmic,) = pb.vjp(nn.log_softmax, x)[1](ct)
    (summed,) = pb.vjp(lambda x: nn.logsumexp(x, -1), x)[1](ct[:, 0])

    np.testing.assert_allclose(
        np.asarray(found), s * (ct - (ct * s).sum(-1, keepdims=True)), atol=1e-15
    )
    np.testing.assert_allclose(
        np.asarray(logarithmic), ct - s * ct.sum(-1, keepdims=True), atol=1e-15
    )
    np.testing.assert_allclose(np.asarray(summed), s * ct[:, :1], atol=1e-15)


def test_the_maximum_is_a_constant_of_the_gradient():
    """Ties would split the cotangent of a maximum; the result does not depend on it at all."""
    program = pb.make_program(pb.grad(lambda x: nn.softmax(x)[0]))(pb.zeros(3))

    assert "eq" not in str(program).split()


@few
@given(
    x=operand(("int8", "int32", "uint8"), AXIS_SHAPES, bound=4),
    dtype=st.sampled_from([pb.float32, pb.bool]),
)
def test_one_hot(x, dtype):
    (found,) = traced(nn.one_hot, (x, 3), {"dtype": dtype})

    assert found.dtype == dtype
    np.testing.assert_array_equal(found, x[..., None] == np.arange(3))
    moved = np.asarray(nn.one_hot(x, 3, axis=0))
    np.testing.assert_array_equal(moved, np.moveaxis(found, -1, 0))


def test_one_hot_of_many_classes_and_errors():
    assert int(pb.argmax(nn.one_hot(np.array([200], np.uint8), 300)[0])) == 200
    with pytest.raises(DTypeError, match="one_hot"):
        nn.one_hot(pb.zeros(2), 3)
    with pytest.raises(ShapeError, match="classes"):
        nn.one_hot(pb.asarray([0]), -1)


# ---- normalisation


def test_standardize_and_layer_norm(rng):
    x = rng.normal(3, 2, size=(4, 3, 5))
    scale, offset = rng.normal(size=(2, 5))
    center, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    expected = (x - center) / np.sqrt(variance + 1e-5)

    np.testing.assert_allclose(np.asarray(nn.standardize(x)), expected, rtol=1e-12)
    np.testing.assert_allclose(
        np.asarray(nn.standardize(x, mean=center, variance=variance)), expected, rtol=1e-12
    )
    np.testing.assert_allclose(
        np.asarray(nn.layer_norm(x, scale, offset)), expected * scale + offset, rtol=1e-10
    )
    both = np.asarray(nn.layer_norm(x, rng.normal(size=(3, 5)) * 0 + 2, axis=(-2, -1)))
    np.testing.assert_allclose(both.std((1, 2)), 2, rtol=1e-4)
    with pytest.raises(ShapeError, match=r"expected \(5,\)"):
        nn.layer_norm(x, np.ones(3))


def test_rms_norm(rng):
    x, scale = rng.normal(size=(4, 5)), rng.normal(size=5)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale

    np.testing.assert_allclose(np.asarray(nn.rms_norm(x, scale)), expected, rtol=1e-12)


@pytest.mark.parametrize("axis", [-1, 1, 0])
def test_batch_norm(axis, rng):
    x = rng.normal(3, 2, size=(4, 3, 5))
    n = x.shape[axis]
    others = tuple(i for i in range(3) if i != axis % 3)
    scale, offset = rng.normal(size=(2, n))
    shape = [n if i == axis % 3 else 1 for i in range(3)]
    center, variance = x.mean(others), x.var(others)
    expected = (x - center.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-3)
    expected = expected * scale.reshape(shape) + offset.reshape(shape)

    found = nn.batch_norm(x, scale, offset, axis=axis, epsilon=1e-3)
    again = nn.batch_norm(
        x, scale, offset, axis=axis, epsilon=1e-3, mean=found.mean, variance=found.variance
    )

    np.testing.assert_allclose(np.asarray(found.y), expected, rtol=1e-10)
    np.testing.assert_allclose(np.asarray(found.mean), center, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(found.variance), variance, rtol=1e-12)
    np.testing.assert_allclose(np.asarray(again.y), expected, rtol=1e-10)


def test_batch_norm_of_half_precision_keeps_wide_statistics():
    found = nn.batch_norm(pb.full((2000, 1), 60000.0, dtype=pb.float16))

    assert found.y.dtype == np.float16
    assert found.mean.dtype == np.float32
    assert float(found.mean[0]) == 60000
    with pytest.raises(ValueError, match="both"):
        nn.batch_norm(pb.zeros((2, 2)), mean=pb.zeros(2))


@pytest.mark.parametrize("name", ["layer_norm", "batch_norm", "rms_norm"])
def test_normalisations_have_right_gradients(name, rng):
    x, scale, offset = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=3)
    parameters = (scale,) if name == "rms_norm" else (scale, offset)

    check_vjp(lambda *xs: pb.asarray(first(getattr(nn, name)(*xs))), x, *parameters)


def first(x):
    return x[0] if isinstance(x, tuple) else x


def test_dropout():
    key = pb.random.key(7)
    x = pb.ones((200, 50))

    found = np.asarray(nn.dropout(key, x, 0.25))

    kept = np.asarray(pb.random.bernoulli(key, 0.75, (200, 50)))
    np.testing.assert_array_equal(found, np.where(kept, np.float32(1) / np.float32(0.75), 0))
    assert abs(kept.mean() - 0.75) < 0.02
    (again,) = traced(lambda k, x: nn.dropout(k, x, 0.25), (np.asarray(key), np.asarray(x)), {})
    np.testing.assert_array_equal(again, found)
    rows = np.asarray(nn.dropout(key, x, 0.5, shape=(200, 1)))
    assert (rows == rows[:, :1]).all()
    gradient = np.asarray(pb.grad(lambda x: pb.sum(nn.dropout(key, x, 0.25)))(x))
    np.testing.assert_array_equal(gradient, found)


def test_dropout_of_none_and_all():
    key, x = pb.random.key(0), pb.ones(5)

    assert nn.dropout(key, x, 0.0) is x
    assert nn.dropout(key, x, 1.0).tolist() == [0] * 5
    with pytest.raises(ValueError, match=r"rate 1\.5"):
        nn.dropout(key, x, 1.5)
    with pytest.raises(TracerArrayError, match=r"rate is traced, f32\[\]; expected a number"):
        traced(lambda rate: nn.dropout(key, x, rate), (np.asarray(0.5, np.float32),), {})


# ---- losses


def cross_entropy(x, p):
    terms = np.where(p == 0, 0, p * (x.astype(np.longdouble) - _logsumexp(x, -1)))
    return -terms.sum(-1)


@pytest.mark.parametrize("scale", [1, 100, 1e4])
def test_softmax_cross_entropies_at_any_scale(scale, rng):
    x = (rng.normal(size=(8, 5)) * scale).astype(np.float32)
    labels = rng.integers(0, 5, 8)
    p = np.eye(5, dtype=np.float32)[labels]
    expected = cross_entropy(x, p).astype(np.float64)
    s = softmax(x, -1).astype(np.float64)

    for name, target in [
        ("softmax_cross_entropy", p),
        ("softmax_cross_entropy_with_integer_labels", labels),
    ]:
        function = getattr(nn, name)
        (found,) = traced(function, (x, target), {})
        np.testing.assert_allclose(found, expected, rtol=3e-6, atol=1e-6)
        np.testing.assert_allclose(np.asarray(function(x, target)), expected, rtol=3e-6, atol=1e-6)
        gradient = pb.grad(lambda x, f=function, t=target: pb.sum(f(x, t)))(x)
        np.testing.assert_allclose(np.asarray(gradient), s - p, atol=1e-6)
        moved = function(x.T, target.T, axis=0)
        np.testing.assert_allclose(np.asarray(moved), expected, rtol=3e-6, atol=1e-6)


def test_softmax_cross_entropy_of_soft_labels(rng):
    x, p = rng.normal(size=(8, 5)), rng.dirichlet(np.ones(5), 8)

    found = np.asarray(nn.softmax_cross_entropy(x, p))

    np.testing.assert_allclose(found, cross_entropy(x, p).astype(np.float64), rtol=1e-13)
    check_vjp(nn.softmax_cross_entropy, x, p)


def test_masked_logits_do_not_spoil_the_loss():
    """A logit of -inf, as a mask gives, under a label of 0."""
    x = np.array([[0.0, -np.inf, 1.0]], np.float32)

    for target in (np.array([[0, 0, 1]], np.float32), np.array([2])):
        name = "softmax_cross_entropy" + ("_with_integer_labels" if target.ndim == 1 else "")
        loss, gradient = pb.value_and_grad(lambda x: pb.sum(getattr(nn, name)(x, target)))(x)  # noqa: B023
        np.testing.assert_allclose(float(loss), math.log1p(math.exp(-1)), rtol=1e-6)
        assert np.isfinite(np.asarray(gradient)).all()
        assert np.asarray(gradient)[0, 1] == 0


def test_labels_that_name_no_class():
    x = np.zeros((2, 3), np.float32)
    function = nn.softmax_cross_entropy_with_integer_labels

    with pytest.raises(ValueError, match="labels from 0 to 3 for 3 classes"):
        function(x, np.array([0, 3]))
    (found,) = traced(function, (x, np.array([0, 3])), {})
    assert np.isfinite(found[0])
    assert np.isnan(found[1])
    with pytest.raises(ShapeError, match=r"expected labels of shape \(2,\)"):
        function(x, np.array([[0], [1]]))
    with pytest.raises(DTypeError, match="labels"):
        function(x, np.zeros(2))


@pytest.mark.parametrize("scale", [1, 100, 1e4])
def test_sigmoid_binary_cross_entropy_at_any_scale(scale, rng):
    x = (rng.normal(size=20) * scale).astype(np.float32)
    p = np.append(rng.integers(0, 2, 10), rng.uniform(size=10)).astype(np.float32)
    wide, q = x.astype(np.float64), p.astype(np.float64)
    expected = softplus(-wide) * q + softplus(wide) * (1 - q)

    found = np.asarray(nn.sigmoid_binary_cross_entropy(x, p))
    gradient = pb.grad(lambda x: pb.sum(nn.sigmoid_binary_cross_entropy(x, p)))(x)

    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-30)
    np.testing.assert_allclose(np.asarray(gradient), sigmoid(wide) - q, atol=1e-6)


def test_squared_error_and_huber():
    x, y = np.array([0.5, 3.0, -4.0, 1.0]), np.array([0.0, 0.0, 0.0, 1.0])

    np.testing.assert_array_equal(np.asarray(nn.squared_error(x, y)), [0.25, 9, 16, 0])
    np.testing.assert_array_equal(np.asarray(nn.huber(x, y)), [0.125, 2.5, 3.5, 0])
    np.testing.assert_array_equal(np.asarray(nn.huber(x, y, 2.0)), [0.125, 4, 6, 0])
    gradient = pb.grad(lambda x: pb.sum(nn.huber(x, y)))
    assert gradient(np.array([0.5, 3.0, -4.0, 2.0])).tolist() == [0.5, 1, -1, 1]


def test_the_whole_namespace_compiles():
    """One compiled program of everything that is not a single primitive agrees with eager mode."""
    names = [n for n in FORMS if n not in ("tanh", "sigmoid")] + ["gelu", "softmax", "log_softmax"]
    x = np.linspace(-4, 4, 24, dtype=np.float32).reshape(4, 6)

    def everything(x):
        found = [getattr(nn, name)(x) for name in names]
        return [*found, nn.layer_norm(x), nn.batch_norm(x).y, nn.logsumexp(x, -1)]

    for compiled, eager in zip(pb.jit(everything)(x), everything(pb.asarray(x)), strict=True):
        np.testing.assert_allclose(np.asarray(compiled), np.asarray(eager), rtol=2e-5, atol=2e-6)
