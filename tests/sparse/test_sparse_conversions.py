"""From and to dense arrays and SciPy's; duplicates and order."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from sparse_cases import (
    DTYPES,
    arrays,
    check,
    check_flags,
    dense_of,
    few,
    meaning,
    random_coo,
    random_values,
    several,
    shapes,
    traced,
)

import pullback as pb
from pullback import sparse
from pullback.errors import ShapeError, TracerArrayError


@several
@given(arrays())
def test_to_dense_sums_duplicates_and_passes_over_padding(x):
    result = check(sparse.to_dense, meaning(x), x)

    assert result.dtype == x.dtype


def test_to_dense_of_many_booleans_does_not_wrap():
    x = sparse.COO(np.ones(256, bool), np.zeros((256, 1), int), (2,))

    assert np.asarray(x.to_dense()).tolist() == [True, False]


def test_to_dense_sums_narrow_floats_in_float32():
    """In float16, 2048 + 1 is 2048."""
    x = sparse.COO(np.array([2048] + [1] * 64, "float16"), np.zeros((65, 1), int), (1,))

    assert float(x.to_dense()[0]) == 2112


@several
@given(shapes(), st.sampled_from(DTYPES), st.integers(0, 3), st.integers(0, 99), st.booleans())
def test_from_dense_stores_what_is_not_zero_in_order(shape, dtype, dense_ndim, seed, spare):
    rng = np.random.default_rng(seed)
    dense = random_values(rng, shape, dtype)
    dense_ndim = min(dense_ndim, len(shape))
    axes = tuple(range(len(shape) - dense_ndim, len(shape)))
    count = int(np.count_nonzero((dense != 0).any(axis=axes) if axes else dense != 0))
    nse = count + 2 if spare else count

    def convert(x):
        return sparse.from_dense(x, nse=nse, dense_ndim=dense_ndim)

    result = check(convert, dense, dense)

    assert (result.nse, result.dense_ndim, result.dtype) == (nse, dense_ndim, dense.dtype)
    assert result.is_sorted
    assert result.is_unique or not result.sparse_ndim
    for found in (result, traced(convert, dense)):
        assert not np.asarray(found.values)[count:].any(), "padding is 0"
    assert sparse.from_dense(dense, dense_ndim=dense_ndim).nse == count


def test_from_dense_stores_nan():
    assert sparse.from_dense(np.array([0.0, np.nan])).nse == 1


def test_from_dense_traced_keeps_the_first():
    found = traced(lambda x: sparse.from_dense(x, nse=2), np.array([0.0, 1.0, 2.0, 3.0]))

    assert dense_of(found).tolist() == [0, 1, 2, 0]


def test_from_dense_says_what_nse_is_needed():
    with pytest.raises(ShapeError, match=r"f32\[3\]: 2 entries are not 0, more than nse=1"):
        sparse.from_dense(pb.asarray([1.0, 0.0, 2.0]), nse=1)
    with pytest.raises(TracerArrayError, match=r"f32\[3\].*from_dense\(x, nse=\.\.\.\)"):
        pb.make_program(sparse.from_dense)(pb.ones(3))
    with pytest.raises(ShapeError, match="nse -1"):
        sparse.from_dense(pb.zeros(3), nse=-1)
    with pytest.raises(ShapeError, match=r"dense_ndim 2; expected 0 \.\. 1"):
        sparse.from_dense(pb.zeros(3), dense_ndim=2)


@several
@given(arrays(), st.integers(0, 3))
def test_sum_duplicates_has_an_entry_a_place(x, spare):
    def summed(x):
        return sparse.sum_duplicates(x)

    result = check(summed, meaning(x), x)

    assert result.is_sorted
    assert result.is_unique or not x.sparse_ndim
    lengths = np.asarray(x.shape[: x.sparse_ndim])
    indices = np.asarray(x.indices)
    inside = ((indices >= 0) & (indices < lengths)).all(axis=1)
    places = len(np.unique(indices[inside], axis=0)) if x.sparse_ndim else min(x.nse, 1)
    if not (x.is_sorted and x.is_unique):
        assert result.nse == places
    more = check(lambda x: sparse.sum_duplicates(x, places + spare), meaning(x), x)
    assert more.nse == places + spare


def test_sum_duplicates_in_program_has_room_for_every_place_at_most():
    x = random_coo(np.random.default_rng(0), (2,), nse=7)

    assert traced(sparse.sum_duplicates, x).nse == 2


def test_sum_duplicates_leaves_nothing_in_padding():
    """What stood in padding before is gone, whether the indices are known or traced."""
    x = sparse.COO([1.0, 7.0, 2.0, 7.0], [[1], [3], [1], [-1]], (3,))

    for found in (sparse.sum_duplicates(x, 3), traced(lambda x: sparse.sum_duplicates(x, 3), x)):
        assert np.asarray(found.values).tolist() == [3, 0, 0]
        assert np.asarray(found.indices).tolist() == [[1], [3], [3]]


def test_sum_duplicates_where_int32_does_not_number_the_places():
    x = sparse.COO([1.0, 2.0, 4.0], [[2**20, 5], [0, 5], [2**20, 5]], (2**21, 2**21))

    for f in (sparse.sum_duplicates, lambda x: traced(sparse.sum_duplicates, x)):
        found = f(x)
        assert np.asarray(found.values)[:2].tolist() == [2, 5]
        assert np.asarray(found.indices)[:2].tolist() == [[0, 5], [2**20, 5]]


def test_sum_duplicates_refuses_too_few():
    x = sparse.COO([1.0, 2.0], [[0], [1]], (3,))

    with pytest.raises(ShapeError, match=r"2 places, more than nse=1"):
        sparse.sum_duplicates(x, 1)


@several
@given(arrays())
def test_sort_indices_keeps_every_entry(x):
    result = check(sparse.sort_indices, meaning(x), x)

    assert result.is_sorted
    assert result.nse == x.nse


def test_sort_indices_is_stable():
    x = sparse.COO([1.0, 2.0, 3.0], [[1], [0], [1]], (2,))

    assert np.asarray(sparse.sort_indices(x).values).tolist() == [2, 1, 3]


@pytest.mark.parametrize("form", ["bsr", "coo", "csc", "csr", "dia", "dok", "lil"])
def test_from_scipy_takes_every_format(form):
    dense = np.array([[0, 1.5, 0], [0, 0, 0], [2, 0, 3]])
    matrix = scipy.sparse.coo_array(dense).asformat(form)

    result = sparse.from_scipy(matrix)

    assert result.dtype == np.float64
    assert meaning(result).tolist() == dense.tolist()
    check_flags(result)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "uint8"])
def test_from_scipy_keeps_dtype_and_duplicates(dtype):
    parts = (np.ones(3, dtype), (np.array([0, 0, 1]), np.array([1, 1, 0])))
    matrix = scipy.sparse.coo_matrix(parts, shape=(2, 3))

    result = sparse.from_scipy(matrix)

    assert (result.dtype, result.nse) == (np.dtype(dtype), 3)
    assert meaning(result).tolist() == matrix.toarray().tolist()


def test_from_scipy_does_not_share_memory():
    matrix = scipy.sparse.coo_array(np.eye(2))
    result = sparse.from_scipy(matrix)

    matrix.data[:] = 7

    assert meaning(result).tolist() == np.eye(2).tolist()


@few
@given(arrays(1, 3, ["float32", "float64", "int32", "bool"]))
def test_to_scipy_is_the_same_array(x):
    result = x.to_scipy()

    assert result.shape == x.shape
    assert result.dtype == x.dtype
    # Where elements are booleans, SciPy's sum of two of them is one as well.
    np.testing.assert_array_equal(result.todense().astype(x.dtype), meaning(x))


def test_from_scipy_refuses_arrays():
    with pytest.raises(pb.errors.DTypeError, match="ndarray; expected a matrix"):
        sparse.from_scipy(np.eye(2))
    with pytest.raises(ShapeError, match=r"to_scipy of f32\[\]"):
        sparse.from_dense(1.0).to_scipy()
