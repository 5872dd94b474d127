"""``ops.numpy`` against NumPy in float64, its dtype rules, tracing and derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.testing import check_vjp

pytest.importorskip("keras")

from keras_pullback.src.ops import numpy as knp

UNARY = [
    "absolute",
    "arcsinh",
    "arctan",
    "cbrt",
    "ceil",
    "cos",
    "cosh",
    "deg2rad",
    "exp",
    "exp2",
    "expm1",
    "fabs",
    "floor",
    "i0",
    "isfinite",
    "isnan",
    "logical_not",
    "negative",
    "reciprocal",
    "sign",
    "signbit",
    "sin",
    "sinc",
    "square",
    "tan",
    "tanh",
    "trunc",
]
BINARY = [
    "add",
    "arctan2",
    "divide",
    "equal",
    "floor_divide",
    "fmax",
    "fmin",
    "fmod",
    "greater",
    "heaviside",
    "hypot",
    "logaddexp",
    "logaddexp2",
    "maximum",
    "mod",
    "multiply",
    "nextafter",
    "subtract",
]
NAN = ["nanmax", "nanmean", "nanmedian", "nanmin", "nanprod", "nanstd", "nansum", "nanvar"]
REDUCTIONS = ["max", "mean", "median", "min", "prod", "ptp", "std", "sum", "var"]
METHODS = ["linear", "lower", "higher", "midpoint", "nearest"]


def same(found: Any, expected: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(np.asarray(found), expected, rtol=tolerance, atol=tolerance)


def names(*dtypes: Any) -> list[str]:
    return [np.dtype(dtype).name for dtype in dtypes]


@pytest.mark.parametrize("name", UNARY)
def test_unary_equals_numpy(rng: np.random.Generator, name: str) -> None:
    x = rng.normal(size=(4, 5)) * 3

    same(getattr(knp, name)(x), getattr(np, name)(x))


@pytest.mark.parametrize("name", BINARY)
def test_binary_equals_numpy(rng: np.random.Generator, name: str) -> None:
    x1, x2 = rng.normal(size=(4, 5)), rng.normal(size=5)

    same(getattr(knp, name)(x1, x2), getattr(np, name)(x1, x2))


@pytest.mark.parametrize("axis", [None, 1, (0, -1)])
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduction_equals_numpy(rng: np.random.Generator, name: str, axis: Any) -> None:
    x = rng.normal(size=(2, 3, 4))

    for keepdims in (False, True):
        found = getattr(knp, name)(x, axis=axis, keepdims=keepdims)
        same(found, getattr(np, name)(x, axis=axis, keepdims=keepdims))


@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("name", NAN)
def test_nan_reduction_equals_numpy(rng: np.random.Generator, name: str, axis: Any) -> None:
    x = rng.normal(size=(3, 4))
    x[0, 1] = x[2, 0] = np.nan

    same(getattr(knp, name)(x, axis=axis), getattr(np, name)(x, axis=axis))


def test_nan_reduction_of_nothing_is_nan() -> None:
    x = np.array([[np.nan, np.nan], [1.0, np.nan]])

    same(knp.nanmax(x, axis=1), [np.nan, 1.0])
    same(knp.nanmean(x, axis=1), [np.nan, 1.0])
    same(knp.nanmedian(x, axis=1), [np.nan, 1.0])
    same(knp.nanargmax(x, axis=1), [-1, 0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("axis", [None, 0, (0, 2)])
def test_quantile_equals_numpy(rng: np.random.Generator, method: Any, axis: Any) -> None:
    x, q = rng.normal(size=(3, 4, 5)), np.array([0.0, 0.3, 0.77, 1.0])

    same(knp.quantile(x, q, axis, method, True), np.quantile(x, q, axis, None, False, method, True))
    x[1, 2, 3] = np.nan
    same(knp.quantile(x, q, axis, method), np.quantile(x, q, axis, method=method))
    same(knp.nanquantile(x, q, axis, method), np.nanquantile(x, q, axis, method=method), 1e-6)


@pytest.mark.parametrize("mode", ["valid", "same", "full"])
@pytest.mark.parametrize("sizes", [(7, 4), (4, 7), (7, 3), (3, 7), (4, 4)])
def test_correlate_equals_numpy(rng: np.random.Generator, mode: Any, sizes: Any) -> None:
    x1, x2 = rng.normal(size=sizes[0]), rng.normal(size=sizes[1])

    same(knp.correlate(x1, x2, mode), np.correlate(x1, x2, mode))


@pytest.mark.parametrize(("left", "right"), [(2, 2), (2, 3), (3, 2), (3, 3)])
def test_cross_equals_the_product_of_padded_vectors(
    rng: np.random.Generator, left: int, right: int
) -> None:
    x1, x2 = rng.normal(size=(4, left)), rng.normal(size=(4, right))

    found = knp.cross(x1, x2)

    three = [np.pad(x, ((0, 0), (0, 3 - x.shape[1]))) for x in (x1, x2)]
    expected = np.cross(three[0], three[1])
    same(found, expected[:, 2] if left == right == 2 else expected)


def test_spaced_numbers_equal_numpy() -> None:
    low, high = np.array([1.0, -2.0]), np.array([3.0, 5.0])

    for endpoint in (True, False):
        same(knp.linspace(low, high, 7, endpoint, axis=-1), np.linspace(low, high, 7, endpoint).T)
        same(knp.logspace(low, high, 7, endpoint), np.logspace(low, high, 7, endpoint), 1e-9)
        same(knp.geomspace(1.0, 64.0, 7, endpoint), np.geomspace(1, 64, 7, endpoint), 1e-5)
    points, gap = knp.linspace(low, high, 5, retstep=True)
    same(gap, [0.5, 1.75])
    assert np.asarray(points)[-1].tolist() == [3.0, 5.0]


@pytest.mark.parametrize("name", ["bartlett", "blackman", "hamming", "hanning"])
@pytest.mark.parametrize("points", [0, 1, 2, 9])
def test_window_equals_numpy(name: str, points: int) -> None:
    same(getattr(knp, name)(points), getattr(np, name)(points), 1e-6)
    same(knp.kaiser(points, 5.0), np.kaiser(points, 5.0), 1e-6)


def test_i0_far_out() -> None:
    x = np.array([0.0, 7.99, 8.0, 8.01, 40.0, 300.0, -650.0])

    same(np.asarray(knp.i0(x)) / np.i0(x), np.ones(7))


def test_integers_equal_numpy() -> None:
    x1, x2 = np.array([0, 12, -18, 35]), np.array([[4], [0], [-27]])

    assert np.asarray(knp.gcd(x1, x2)).tolist() == np.gcd(x1, x2).tolist()
    assert np.asarray(knp.lcm(x1, x2)).tolist() == np.lcm(x1, x2).tolist()
    assert np.asarray(knp.digitize(x1, np.array([-20, 0, 12]))).tolist() == [2, 3, 1, 3]
    assert np.asarray(knp.digitize(x1, np.array([12, 0, -20]))).tolist() == [1, 0, 2, 0]
    found = knp.unravel_index(np.array([5, 11, -1]), (3, 4))
    assert [np.asarray(part).tolist() for part in found] == [[1, 2, 2], [1, 3, 3]]


def test_ldexp_reaches_subnormals_and_refuses_floats() -> None:
    same(
        knp.ldexp(np.array([1.5, 3.0]), np.array([-1070, 1020])), [1.5 * 2.0**-1070, 3 * 2.0**1020]
    )
    with pytest.raises(TypeError, match="integer"):
        knp.ldexp(np.ones(2), np.ones(2))


def test_view_cuts_and_glues() -> None:
    x = np.array([[1.5, -2.0], [3.25, 1e30]], np.float32)

    for dtype in ("int32", "uint8", "int16", "float64", "float16"):
        found = knp.view(x, dtype)
        assert found.dtype == dtype
        assert np.asarray(found).tobytes() == x.view(dtype).tobytes()
    with pytest.raises(ValueError, match="multiple"):
        knp.view(x[:, :1], "float64")


def test_unique_with_and_without_a_size() -> None:
    x = np.array([[3, 1], [2, 1]], np.int32)

    values, index, inverse, counts = knp.unique(x, True, True, True, True)
    assert np.asarray(values).tolist() == [1, 2, 3]
    assert np.asarray(index).tolist() == [1, 2, 0]
    assert np.asarray(inverse).tolist() == [[2, 0], [1, 0]]
    assert np.asarray(counts).tolist() == [2, 1, 1]
    sized = pb.jit(lambda x: knp.unique(x, return_counts=True, size=4, fill_value=-1))(x)
    assert [np.asarray(part).tolist() for part in sized] == [[1, 2, 3, -1], [2, 1, 1, 0]]
    rows = knp.unique(np.array([[1, 2], [0, 5], [1, 2]]), axis=0, size=3, fill_value=9)
    assert np.asarray(rows).tolist() == [[0, 5], [1, 2], [9, 9]]


def test_counting_equals_numpy(rng: np.random.Generator) -> None:
    x, weights = rng.integers(0, 6, size=20), rng.normal(size=20)

    for dtype in ("uint8", "int32"):
        same(knp.bincount(x.astype(dtype), minlength=9), np.bincount(x, minlength=9))
    same(knp.bincount(x, weights), np.bincount(x, weights))
    same(knp.bincount(x.reshape(2, 10), minlength=7)[1], np.bincount(x[10:], minlength=7))
    for limits in (None, (-1.0, 0.5)):
        counts, edges = knp.histogram(weights, 7, limits)
        expected = np.histogram(weights, 7, limits)
        same(counts, expected[0])
        same(edges, expected[1])


def test_python_numbers_promote_weakly() -> None:
    half, byte = np.ones(2, np.float16), np.ones(2, np.int8)

    assert names(knp.add(half, 2.5).dtype, knp.add(byte, 1).dtype) == ["float16", "int8"]
    assert names(knp.where(byte > 0, half, 0.0).dtype) == ["float16"]
    assert names(knp.multiply(byte, 2.5).dtype, knp.add(1, 2).dtype) == ["float32", "int32"]


def test_dtypes_of_results() -> None:
    byte, unsigned, truth = np.ones((2, 2), np.int8), np.ones(2, np.uint32), np.ones(2, bool)

    assert names(knp.add(byte, unsigned).dtype) == ["int32"]  # never 64 bits from fewer
    assert names(knp.concatenate([byte[0], unsigned]).dtype) == ["int32"]
    assert names(knp.matmul(byte, byte).dtype) == ["int32"]
    assert names(knp.mean(byte).dtype, knp.exp(truth).dtype) == ["float32", "float32"]
    assert names(knp.cumsum(byte).dtype, knp.sum(byte).dtype) == ["int8", "int32"]
    assert names(knp.add(truth, truth).dtype, knp.multiply(truth, truth).dtype) == ["bool", "bool"]
    assert names(knp.arange(3).dtype, knp.arange(3.0).dtype, knp.zeros(2).dtype) == [
        "int32",
        "float32",
        "float32",
    ]


def test_half_precision_does_not_overflow_in_means() -> None:
    x = np.full((4, 2), 300.0, np.float16)
    x[::2] = -300.0

    assert float(knp.std(x)) == 300.0
    assert float(knp.mean(np.full(1000, 300.0, np.float16))) == 300.0


TRACED: list[tuple[str, Callable[[Any], Any]]] = [
    ("quantile", lambda x: knp.quantile(x, 0.3, 1)),
    ("nanvar", lambda x: knp.nanvar(x, 0)),
    ("histogram", lambda x: knp.histogram(x[0], 4)[0]),
    ("gcd", lambda x: knp.gcd(pb.astype(x * 10, "int32"), 6)),
    ("vectorize", lambda x: knp.vectorize(knp.dot, signature="(n),(n)->()")(x, x[0])),
    ("cross", lambda x: knp.cross(x, x[::-1])),
    ("split", lambda x: knp.split(x, [1, 2], 1)[1]),
    ("argpartition", lambda x: knp.argpartition(x, 1)),
    ("select", lambda x: knp.select([x > 1, x < 0], [x, -x], 0.5)),
    ("digitize", lambda x: knp.digitize(x, np.array([-1.0, 0.0, 1.0]))),
    ("ldexp", lambda x: knp.ldexp(x, np.array([1, 2, 3]))),
    ("trapezoid", lambda x: knp.trapezoid(x, axis=0)),
]


@pytest.mark.parametrize(("name", "f"), TRACED, ids=[name for name, _ in TRACED])
def test_traced_equals_eager(rng: np.random.Generator, name: str, f: Callable[[Any], Any]) -> None:
    x = pb.asarray(rng.normal(size=(4, 3)))

    same(pb.jit(f)(x), np.asarray(f(x)))


@pytest.mark.parametrize(
    "f",
    [
        knp.i0,
        knp.median,
        lambda x: knp.quantile(x, 0.4, 0),
        lambda x: knp.correlate(x[0], x[1], "same"),
        lambda x: knp.trapezoid(x, x * x + 1),
        lambda x: knp.cross(x, x[::-1]),
        lambda x: knp.nanstd(x, 1),
        lambda x: knp.divide_no_nan(x, x + 3),
        lambda x: knp.logaddexp2(x, 1.0),
        knp.corrcoef,
    ],
    ids=[
        "i0",
        "median",
        "quantile",
        "correlate",
        "trapezoid",
        "cross",
        "nanstd",
        "divide_no_nan",
        "logaddexp2",
        "corrcoef",
    ],
)
def test_derivatives(rng: np.random.Generator, f: Callable[[Any], Any]) -> None:
    check_vjp(f, rng.normal(size=(4, 3)), order=1)


def test_divide_no_nan_has_a_gradient_at_zero() -> None:
    gradient = pb.grad(lambda x: pb.sum(knp.divide_no_nan(1.0, x)))(pb.asarray([0.0, 2.0]))

    same(gradient, [0.0, -0.25])


def test_vectorize_leaves_excluded_arguments_alone() -> None:
    vectorized = knp.vectorize(lambda x, power: x**power, excluded={1})

    same(vectorized(np.array([[1.0, 2.0], [3.0, 4.0]]), 2), [[1.0, 4.0], [9.0, 16.0]])


def test_what_depends_on_values_is_refused_while_tracing() -> None:
    from pullback.errors import PullbackError

    for f in (knp.nonzero, knp.unique, knp.bincount):
        with pytest.raises(PullbackError):
            pb.jit(f)(pb.asarray([1, 2, 2]))
