"""Sums, products, functions and reductions of sparse arrays, against NumPy on dense ones."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sparse_cases import (
    DTYPES,
    PLAIN,
    arrays,
    check,
    meaning,
    random_coo,
    random_values,
    several,
    traced,
    with_shape,
)

import pullback as pb
from pullback import sparse
from pullback.errors import DTypeError, ShapeError

NUMBERS = [name for name in DTYPES if name != "bool"]


@st.composite
def broadcastable(draw, shape):
    """A shape that broadcasts with ``shape``: some axes of length 1, some left out, some added."""
    lengths = [draw(st.sampled_from([n, n, 1])) for n in shape]
    if draw(st.booleans()):
        lengths = lengths[draw(st.integers(0, len(lengths))) :]
    elif len(lengths) < 3 and draw(st.booleans()):
        lengths = [draw(st.integers(0, 3)), *lengths]
    # Where `shape` has length 1, the other may be longer.
    at = len(lengths) - len(shape)
    return tuple(
        draw(st.sampled_from([1, 1, 0, 3])) if i >= at >= 0 and shape[i - at] == 1 else n
        for i, n in enumerate(lengths)
    )


@several
@given(arrays(dtypes=NUMBERS))
def test_unary_functions(x):
    dense = meaning(x)

    check(operator.neg, -dense, x)
    check(sparse.negative, -dense, x)
    check(operator.abs, abs(dense), x)
    check(sparse.abs, abs(dense), x)
    assert operator.pos(x) is x


@several
@given(arrays(), st.sampled_from(DTYPES))
def test_astype(x, dtype):
    if x.dtype.kind == "V" or meaning(x).astype(np.float64).min(initial=0) < 0:
        dtype = "float64"  # NumPy and pullback need not agree on negative numbers as unsigned
    target = pb.types.as_dtype(dtype)

    result = check(lambda x: x.astype(dtype), meaning(x).astype(target), x)

    assert result.dtype == target


def test_astype_converts_sums():
    """0.5 + 0.5 is 1 as an integer, and 0 + 0 is not."""
    x = sparse.COO([0.5, 0.5], [[0], [0]], (1,))

    check(lambda x: sparse.astype(x, "int32"), [1], x)


@several
@given(arrays(dtypes=PLAIN))
def test_map_values(x):
    dense = meaning(x)

    check(lambda x: sparse.map_values(pb.square, x), dense**2, x)
    check(lambda x: sparse.map_values(lambda v: v * 3, x, linear=True), dense * 3, x)
    check(lambda x: x**2, dense**2, x)
    check(lambda x: sparse.power(x, 3), dense**3, x)


@several
@given(arrays(dtypes=PLAIN), st.data())
def test_add_and_subtract_sparse(x, data):
    y = data.draw(with_shape(data.draw(broadcastable(x.shape)), [*PLAIN, "bool"]))

    for f in (operator.add, operator.sub):
        expected = f(meaning(x), meaning(y))
        check(f, expected, x, y)
        check(f, f(meaning(y), meaning(x)), y, x)
    result = x + y
    assert result.dtype == (x.to_dense() + y.to_dense()).dtype


@pytest.mark.parametrize("dtype", NUMBERS)
def test_add_of_each_dtype(dtype, rng):
    x, y = (random_coo(rng, (3, 4), dtype, nse=8) for _ in range(2))

    result = check(sparse.add, meaning(x) + meaning(y), x, y)
    check(sparse.subtract, meaning(x) + meaning(x) - meaning(x), x + x, x)

    assert result.dtype == x.dtype


def test_add_merges_entries_that_are_known(rng):
    x, y = random_coo(rng, (3, 4), nse=8), random_coo(rng, (3, 4), nse=8)

    assert (x + y).is_unique
    assert (x + y).nse <= 12
    assert traced(operator.add, x, y).nse == 16


def test_add_of_the_same_places_adds_values(rng):
    """A step of gradient descent must not store every entry twice."""
    x = random_coo(rng, (3, 4), nse=8)
    y = sparse.COO(np.asarray(x.values) * 2, np.asarray(x.indices).copy(), x.shape)

    assert (x + y).nse == 8
    assert traced(lambda x: x - x * 2.0, x).nse == 8
    check(operator.sub, meaning(x) - meaning(y), x, y)


@several
@given(arrays(dtypes=[*PLAIN, "bool"]), st.data())
def test_add_and_subtract_dense(x, data):
    shape = data.draw(broadcastable(x.shape))
    dtype = data.draw(st.sampled_from(PLAIN))
    dense = random_values(np.random.default_rng(data.draw(st.integers(0, 99))), shape, dtype)
    if not shape:
        return

    for f in (operator.add, operator.sub):
        check(f, f(meaning(x), dense), x, dense)
        check(f, f(dense, meaning(x)), dense, x)
        result = f(pb.asarray(dense), x)
        assert isinstance(result, pb.Array)
        assert result.dtype == f(pb.asarray(dense), x.to_dense()).dtype


def test_subtracting_unsigned_numbers_from_floats():
    """-1 as uint8 is 255."""
    x = sparse.COO(np.array([1], "uint8"), [[0]], (2,))
    dense = np.array([0.5, 0.25], "float32")

    check(operator.sub, [-0.5, 0.25], dense, x)
    check(operator.sub, [0.5, -0.25], x, dense)
    check(operator.sub, [-1, 0], sparse.COO(np.zeros(0, "float32"), np.zeros((0, 1)), (2,)), x)


def test_python_sums_sparse_arrays(rng):
    xs = [random_coo(rng, (3, 4)) for _ in range(3)]

    check(lambda *xs: sum(xs), sum(map(meaning, xs)), *xs)
    check(lambda x: 0 - x, -meaning(xs[0]), xs[0])
    check(lambda x: x - 0, meaning(xs[0]), xs[0])


@several
@given(arrays(dtypes=PLAIN), st.data())
def test_multiply_and_divide_dense(x, data):
    shape = data.draw(broadcastable(x.shape))
    dtype = data.draw(st.sampled_from(PLAIN))
    dense = random_values(np.random.default_rng(data.draw(st.integers(0, 99))), shape, dtype)
    divisor = np.abs(dense) * 2 + 1

    result = check(operator.mul, meaning(x) * dense, x, dense)
    check(operator.mul, dense * meaning(x), dense, x)
    check(sparse.multiply, dense * meaning(x), dense, x)
    check(operator.truediv, meaning(x) / divisor, x, divisor, exact=False)
    assert result.dtype == (x.to_dense() * pb.asarray(dense)).dtype


@several
@given(arrays(dtypes=PLAIN), st.sampled_from([2, 0.5, -1, 0]))
def test_scaling_keeps_the_weak_dtype(x, scalar):
    result = check(lambda x: x * scalar, meaning(x) * scalar, x)

    assert result.dtype == (x.to_dense() * scalar).dtype
    check(lambda x: scalar * x, meaning(x) * scalar, x)
    check(lambda x: x / 4, meaning(x) / 4, x)


@several
@given(arrays(dtypes=[*PLAIN, "bool"]), st.data())
def test_multiply_sparse(x, data):
    y = data.draw(with_shape(data.draw(broadcastable(x.shape)), PLAIN))

    result = check(operator.mul, meaning(x) * meaning(y), x, y)
    check(sparse.multiply, meaning(x) * meaning(y), y, x)

    assert result.dtype == (x.to_dense() * y.to_dense()).dtype


def test_multiply_sparse_where_both_are_broadcast(rng):
    x = random_coo(rng, (3, 1, 2), nse=8)
    for split in (0, 1, 2):
        y = random_coo(rng, (4, 1), sparse_ndim=split, nse=5)

        check(operator.mul, meaning(x) * meaning(y), x, y)
        check(operator.add, meaning(x) + meaning(y), x, y)
        check(operator.sub, meaning(y) - meaning(x), y, x)


def test_multiply_keeps_what_both_store(rng):
    x, y = (random_coo(rng, (5, 5), nse=9, padding=False) for _ in range(2))
    both = {map(int, i) and tuple(i) for i in np.asarray(x.indices).tolist()} & {
        tuple(i) for i in np.asarray(y.indices).tolist()
    }

    result = x * y

    assert {tuple(i) for i in np.asarray(result.indices).tolist()} == both


def test_without_an_axis_entries_are_at_one_place():
    x = sparse.COO([1.0, 2.0], np.zeros((2, 0), int), (), is_sorted=True, is_unique=True)

    assert not x.is_unique
    check(lambda x: x**2, 9, x)
    check(lambda x: x * x, 9, x)


def test_multiply_with_nothing_stored(rng):
    x = random_coo(rng, (3, 4), nse=6)
    empty = random_coo(rng, (3, 4), nse=0)

    check(operator.mul, np.zeros((3, 4)), x, empty)
    check(operator.mul, np.zeros((3, 4)), empty, x)


def test_what_is_not_stored_stays_zero_beside_inf_and_nan():
    x = sparse.COO([2.0], [[1]], (3,))

    check(operator.mul, [0, 6, 0], x, np.array([np.nan, 3, np.inf], "float32"))
    check(operator.truediv, [0, 0.5, 0], x, np.array([0, 4, np.nan], "float32"))


@several
@given(arrays(), st.data())
def test_sum(x, data):
    axes = data.draw(st.none() | st.sets(st.integers(0, max(x.ndim - 1, 0)), max_size=x.ndim))
    axis = None if axes is None else tuple(a for a in axes if a < x.ndim)
    keepdims = data.draw(st.booleans())
    dense = pb.asarray(meaning(x))
    expected = pb.sum(dense, axis=axis, keepdims=keepdims)

    result = check(
        lambda x: sparse.sum(x, axis, keepdims=keepdims), np.asarray(expected), x, exact=False
    )

    assert result.dtype == expected.dtype
    left = x.sparse_ndim - len([a for a in range(x.sparse_ndim) if axis is None or a in axis])
    assert isinstance(result, sparse.COO) == (left > 0)


def test_sum_does_not_bring_padding_to_life():
    """Entries outside by the axis that goes, by the one that stays, and by both."""
    x = sparse.COO([1.0, 2.0, 4.0, 8.0], [[0, 2], [1, 0], [3, 1], [-1, -1]], (3, 2))

    check(lambda x: x.sum(1), [0, 2, 0], x)
    check(lambda x: x.sum(0, keepdims=True), [[2, 0]], x)
    check(lambda x: x.sum(), 2, x)


@several
@given(arrays(1, 3, PLAIN), st.data())
def test_mean(x, data):
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1))
    if 0 in (x.shape if axis is None else (x.shape[axis],)):
        return
    keepdims = data.draw(st.booleans())
    expected = meaning(x).mean(axis, keepdims=keepdims)

    result = check(lambda x: x.mean(axis, keepdims=keepdims), expected, x, exact=False)

    assert result.dtype == pb.mean(x.to_dense()).dtype


def test_sum_of_booleans_counts_places_once():
    x = sparse.COO([True, True, True], [[0], [0], [2]], (3,))

    check(sparse.sum, 2, x)
    check(sparse.mean, np.float32(2 / 3), x, exact=False)
    check(lambda x: sparse.multiply(x, 3), [3, 0, 3], x)
    check(lambda x: sparse.divide(x, 2), [0.5, 0, 0.5], x)


def test_mean_of_float16_does_not_overflow():
    x = sparse.COO(np.full(40, 6e4, "float16"), np.arange(40)[:, None], (40,))

    assert float(x.mean()) == np.float16(6e4)


def test_numpy_operands_and_scalars(rng):
    x = random_coo(rng, (3, 4), "float32")

    check(lambda x: np.float32(2) * x, 2 * meaning(x), x)
    check(lambda x: np.ones((3, 4), "float32") + x, 1 + meaning(x), x)
    check(lambda x: x * pb.asarray(2.0), 2 * meaning(x), x)
    check(lambda x: sparse.multiply(x, [1, 2, 3, 4]), meaning(x) * [1, 2, 3, 4], x)


def test_undefined_arithmetic_is_refused(rng):
    x = random_coo(rng, (3, 4), "float32")
    y = random_coo(rng, (2,), "float32")
    b = random_coo(rng, (3, 4), "bool")
    for call in (lambda: x + 1, lambda: 1 - x, lambda: x - pb.asarray(1.0)):
        with pytest.raises(
            DTypeError, match=r"f32\[3,4\] and a number has no zeros left.*to_dense"
        ):
            call()
    with pytest.raises(DTypeError, match=r"divide by a sparse array f32\[3,4\]"):
        1 / x
    with pytest.raises(DTypeError, match=r"divide by a sparse array"):
        x / x
    for exponent in (0, -1, x.values):
        with pytest.raises(DTypeError, match=r"power of a sparse array f32\[3,4\]"):
            x**exponent
    for f in (operator.add, operator.sub):
        with pytest.raises(DTypeError, match=r"of booleans, bool\[3,4\]"):
            f(b, b)
        with pytest.raises(DTypeError, match="of booleans"):
            f(b, np.ones((3, 4), bool))
    for f in (operator.add, operator.sub, operator.mul):
        with pytest.raises(ShapeError, match=r"f32\[3,4\] and f32\[2\] do not broadcast"):
            f(x, y)
        with pytest.raises(ShapeError, match=r"f32\[3,4\] and f32\[2\] do not broadcast"):
            f(x, y.to_dense())
    with pytest.raises(ShapeError, match=r"took f32\[6\] to f32\[\]"):
        sparse.map_values(pb.sum, x, linear=True)
    with pytest.raises(ShapeError, match="sum: axis 2"):
        sparse.sum(x, 2)
    with pytest.raises(TypeError, match="unsupported operand"):
        x + "a"
