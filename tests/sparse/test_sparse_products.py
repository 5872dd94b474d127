"""Matrix products with sparse operands, against NumPy and SciPy."""

from __future__ import annotations

import operator

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sparse_cases import (
    check,
    dense_of,
    few,
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

DTYPES = ["float32", "float64", "int32", "bool"]


def numbers_beside(x):
    """Dtypes that a product with ``x`` is defined for."""
    return [name for name in DTYPES if x.dtype != "bool" or name != "bool"]


@st.composite
def operand_shapes(draw):
    """Two shapes that ``numpy.matmul`` takes, vectors and leading axes that broadcast included."""
    m, k, n = (draw(st.integers(0, 3)) for _ in range(3))
    lead = [draw(st.integers(0, 3)) for _ in range(draw(st.integers(0, 2)))]
    first = [draw(st.sampled_from([a, a, 1])) for a in lead]
    second = [draw(st.sampled_from([a, a, 1])) for a in lead]
    first = first[draw(st.integers(0, len(first))) :]
    second = second[draw(st.integers(0, len(second))) :]
    x = (*first, m, k) if first or draw(st.booleans()) else draw(st.sampled_from([(k,), (m, k)]))
    y = (*second, k, n) if second or draw(st.booleans()) else draw(st.sampled_from([(k,), (k, n)]))
    return x, y


@several
@given(operand_shapes(), st.data())
def test_matmul_with_dense(pair, data):
    x = data.draw(with_shape(pair[0], DTYPES))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    y = random_values(rng, pair[1], data.draw(st.sampled_from(numbers_beside(x))))

    result = check(operator.matmul, meaning(x) @ y, x, y)

    assert result.dtype == (x.to_dense() @ pb.asarray(y)).dtype


@several
@given(operand_shapes(), st.data())
def test_dense_matmul(pair, data):
    y = data.draw(with_shape(pair[1], DTYPES))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = random_values(rng, pair[0], data.draw(st.sampled_from(numbers_beside(y))))

    result = check(operator.matmul, x @ meaning(y), x, y)
    check(operator.matmul, x @ meaning(y), pb.asarray(x), y)

    assert isinstance(result, pb.Array)


@several
@given(operand_shapes(), st.data())
def test_matmul_of_two_sparse(pair, data):
    x = data.draw(with_shape(pair[0], DTYPES))
    y = data.draw(with_shape(pair[1], numbers_beside(x)))
    expected = meaning(x) @ meaning(y)

    result = check(operator.matmul, expected, x, y)

    assert result.dtype == (x.to_dense() @ y.to_dense()).dtype
    assert isinstance(result, sparse.COO) == (np.ndim(expected) > 0)


@few
@given(st.integers(0, 99))
def test_everything_agrees_with_scipy(seed):
    rng = np.random.default_rng(seed)
    x, y = random_coo(rng, (30, 20), nse=90), random_coo(rng, (20, 25), nse=80)

    np.testing.assert_array_equal(
        meaning(x @ y), (x.to_scipy().tocsr() @ y.to_scipy().tocsr()).toarray()
    )
    z = random_coo(rng, (30, 20), nse=70)
    a, b = x.to_scipy().tocsr(), z.to_scipy().tocsr()
    pairs = [
        (x + z, a + b), (x - z, a - b), (x * z, a * b), (x.T, a.T), (x * 3.0, a * 3.0), (-x, -a),
        (abs(x), abs(a)), (x.reshape(20, 30), a.reshape(20, 30)),
        (x[3:20:2, ::-1], a[3:20:2, ::-1]), (sparse.take(x, [4, 0, 4]), a[[4, 0, 4]]), (x**2, a**2),
        (sparse.concatenate([x, z], 1), scipy.sparse.hstack([a, b])),
        (sparse.multiply(x, np.arange(20.0)), a * np.arange(20.0)),
    ]  # fmt: skip
    for ours, theirs in pairs:
        np.testing.assert_array_equal(meaning(ours), theirs.toarray())
    np.testing.assert_array_equal(dense_of(x.sum(0)), a.sum(axis=0))
    np.testing.assert_allclose(dense_of(x.mean()), a.mean(), rtol=1e-14, atol=1e-15)
    w = random_values(rng, (20, 7), "float64")
    np.testing.assert_array_equal(np.asarray(x @ w), x.to_scipy().tocsr() @ w)


def test_matmul_of_two_sparse_has_one_entry_a_place(rng):
    x, y = random_coo(rng, (4, 5), nse=20), random_coo(rng, (5, 3), nse=15)

    result = x @ y
    program = traced(operator.matmul, x, y)

    assert result.is_unique
    assert program.is_unique
    assert program.nse == 12
    assert sparse.matmul(x, y, nse=14).nse == 14
    assert traced(lambda x, y: sparse.matmul(x, y, nse=9), x, y).nse == 9


def test_matmul_of_traced_sparse_meets_every_duplicate():
    x = sparse.COO([2.0], [[0, 1]], (1, 2))
    y = sparse.COO([1.0, 4.0, 16.0], [[1, 0], [1, 0], [1, 0]], (2, 1))

    check(operator.matmul, [[42]], x, y)


def test_rows_stored_whole_are_multiplied_as_matrices(rng):
    x = random_coo(rng, (6, 4), "float32", sparse_ndim=1, nse=3)
    w = random_values(rng, (4, 5), "float32")

    check(operator.matmul, meaning(x) @ w, x, w)
    program = str(pb.make_program(operator.matmul)(x, w))

    assert " dot" in program


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_matmul_of_narrow_floats_sums_in_float32(dtype):
    """In float16, 2048 + 1 is 2048."""
    values = np.array([2048.0] + [1.0] * 64).astype(pb.types.as_dtype(dtype))
    x = sparse.COO(values, [[0, i] for i in range(65)], (1, 65))
    ones = pb.ones((65, 1), dtype=dtype)

    result = x @ ones

    assert result.dtype == values.dtype
    assert float(result[0, 0]) == float(np.float32(2112).astype(values.dtype))


def test_products_do_not_round_before_they_are_summed():
    """3 * (1 + 2**-10) is no float16, but less 3 it is one."""
    x = sparse.COO(np.array([3, -3], "float16"), [[0, 0], [0, 1]], (1, 2))
    column = np.array([[1 + 2**-10], [1]], "float16")

    check(operator.matmul, [[3 * 2**-10]], x, column)
    check(operator.matmul, [[3 * 2**-10]], x, sparse.from_dense(column))


def test_padding_passes_over_inf_and_nan():
    """Entries outside by the row, by the column, and by both, beside what would spoil the sum."""
    x = sparse.COO([1.0, 5.0, 5.0, 5.0], [[0, 0], [2, 1], [0, 2], [-1, 0]], (2, 2))
    w = np.array([[2.0], [np.inf]], "float32")

    check(operator.matmul, [[2], [0]], x, w)
    check(operator.matmul, [[2, 0]], w.T, x.T)
    gradient = pb.grad(lambda x: pb.sum(x @ w))(x)
    assert np.asarray(gradient.values).tolist() == [2, 0, 0, 0]


def test_undefined_products_are_refused(rng):
    x = random_coo(rng, (3, 4), "float32")
    b = random_coo(rng, (4, 4), "bool")
    with pytest.raises(ShapeError, match=r"matmul of f32\[3,4\] and f32\[3,4\]: the last axis"):
        x @ x
    with pytest.raises(ShapeError, match=r"matmul of f32\[3,4\] and f32\[5\]"):
        x @ pb.ones(5)
    with pytest.raises(ShapeError, match="expected axes; multiply by"):
        sparse.matmul(x, 2.0)
    with pytest.raises(DTypeError, match=r"matmul of bool\[4,4\] and bool\[4,4\]"):
        b @ b
    with pytest.raises(ShapeError, match="do not broadcast"):
        random_coo(rng, (2, 3, 4)) @ pb.ones((3, 4, 5))


def test_array_on_the_left_and_reflected(rng):
    x = random_coo(rng, (3, 4), "float32")

    assert dense_of(pb.ones((2, 3)) @ x).tolist() == (np.ones((2, 3)) @ meaning(x)).tolist()
    assert dense_of(np.ones(3, "float32") @ x).tolist() == meaning(x).sum(0).tolist()
