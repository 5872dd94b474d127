"""Axes in another order, number or length; parts of sparse arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sparse_cases import (
    arrays,
    check,
    few,
    meaning,
    random_coo,
    several,
    shapes,
    traced,
    with_shape,
)

import pullback as pb
from pullback import sparse
from pullback.errors import DTypeError, ShapeError, TracerArrayError


@several
@given(arrays(), st.randoms(use_true_random=False))
def test_transpose(x, random):
    axes = list(range(x.ndim))
    random.shuffle(axes)

    check(lambda x: sparse.transpose(x, axes), meaning(x).transpose(axes), x)
    check(sparse.transpose, meaning(x).T, x)


def test_transpose_of_dense_axes_keeps_them_dense():
    x = random_coo(np.random.default_rng(0), (3, 2, 4), sparse_ndim=1)

    assert sparse.transpose(x, (0, 2, 1)).sparse_ndim == 1
    assert sparse.transpose(x, (1, 0, 2)).sparse_ndim == 3
    check(lambda x: x.mT, meaning(x).swapaxes(1, 2), x)
    check(lambda x: x.T, meaning(x).T, x)
    check(lambda x: x.transpose(1, 2, 0), meaning(x).transpose(1, 2, 0), x)


@several
@given(arrays(0, 3), st.data())
def test_reshape(x, data):
    size = math.prod(x.shape)
    options = [(size,), (1, *x.shape), (*x.shape, 1), x.shape[::-1]]
    if size:
        options += [(-1,), (-1, 1)]
        options += [(n, size // n) for n in range(1, size) if size % n == 0]
        options += [(-1, *x.shape[1:]), (*x.shape[:-1], -1) if x.shape else ()]
    else:
        options += [(0, 5), (3, 0, 2)]
    shape = data.draw(st.sampled_from(options))

    check(lambda x: sparse.reshape(x, shape), meaning(x).reshape(shape), x)


def test_reshape_keeps_dense_axes_where_it_can():
    x = random_coo(np.random.default_rng(0), (3, 4, 2), sparse_ndim=2)

    assert x.reshape(12, 2).dense_ndim == 1
    assert x.reshape((2, 6, 2)).dense_ndim == 1
    assert x.reshape(24).dense_ndim == 0


def test_two_slices_at_one_place_are_not_sorted_as_elements():
    x = sparse.COO([[1.0, 2.0], [4.0, 8.0]], [[1], [1]], (2, 2), is_sorted=True)

    flat = check(lambda x: x.reshape(4), [0, 0, 5, 10], x)
    check(sparse.sum_duplicates, [0, 0, 5, 10], flat)

    assert not flat.is_sorted


def test_reshape_of_more_places_than_int32_numbers():
    x = sparse.COO([1.0, 2.0], [[2**20, 5], [2**21 - 1, 2**21 - 1]], (2**21, 2**21))

    result = sparse.reshape(x, (2**22, 2**20))
    back = sparse.reshape(result, x.shape)

    assert np.asarray(result.indices).tolist() == [[2**21, 5], [2**22 - 1, 2**20 - 1]]
    assert np.asarray(back.indices).tolist() == np.asarray(x.indices).tolist()


@several
@given(arrays(0, 3), st.data())
def test_expand_dims_and_squeeze(x, data):
    count = data.draw(st.integers(1, 2))
    ndim = x.ndim + count
    axes = data.draw(st.permutations(range(ndim)))[:count]
    given_axes = tuple(a - ndim if data.draw(st.booleans()) else a for a in axes)

    expanded = check(
        lambda x: sparse.expand_dims(x, given_axes), np.expand_dims(meaning(x), given_axes), x
    )
    check(lambda x: sparse.squeeze(x, given_axes), meaning(x), expanded)
    check(sparse.squeeze, meaning(x).squeeze(), expanded)


def test_squeeze_does_not_bring_padding_to_life():
    """The entry is outside by the axis that goes."""
    x = sparse.COO([1.0, 2.0], [[0, 1], [1, 0]], (3, 1))

    check(lambda x: sparse.squeeze(x, 1), [0, 2, 0], x)


@several
@given(arrays(0, 2), st.data())
def test_broadcast_to(x, data):
    lengths = [data.draw(st.integers(0, 3)) if n == 1 else n for n in x.shape]
    shape = (*data.draw(shapes(0, 2)), *lengths)

    check(lambda x: sparse.broadcast_to(x, shape), np.broadcast_to(meaning(x), shape), x)


@several
@given(arrays(1, 3), st.data())
def test_concatenate(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    others = []
    for _ in range(data.draw(st.integers(0, 2))):
        shape = list(x.shape)
        shape[axis] = data.draw(st.integers(0, 3))
        others.append(data.draw(with_shape(tuple(shape), [x.dtype.name])))

    expected = np.concatenate([meaning(y) for y in (x, *others)], axis)
    check(lambda *xs: sparse.concatenate(xs, axis), expected, x, *others)


def test_concatenate_promotes():
    x, y = sparse.COO([1], [[0]], (1,)), sparse.COO([0.5], [[0]], (1,))

    assert sparse.concatenate([x, y]).dtype == np.float32
    twice = sparse.COO([True, True], [[0], [0]], (1,))
    check(lambda x, y: sparse.concatenate([x, y]), [1, 0.5], twice, y)
    check(lambda x: sparse.concatenate([x, x]), [True, True], twice)


def test_axes_that_int32_does_not_number_are_refused():
    x = sparse.COO([1.0], [[0, 0]], (2**16, 2**16))
    for f in (lambda: x.reshape(-1), lambda: sparse.broadcast_to(x[:0, :1], (0, 2**31))):
        with pytest.raises(ShapeError, match="at most 2147483647 places"):
            f()
    with pytest.raises(ShapeError, match="at most 2147483647 places"):
        sparse.concatenate([x.reshape(2**30, 4)] * 2)


def keys_for(data, shape):
    """A key of integers, slices, None and an ellipsis."""
    items = []
    for n in shape[: data.draw(st.integers(0, len(shape)))]:
        kinds = ["slice", "all"] + (["int"] if n else [])
        match data.draw(st.sampled_from(kinds)):
            case "int":
                items.append(data.draw(st.integers(-n, n - 1)))
            case "slice":
                bound = st.none() | st.integers(-n - 1, n + 1)
                step = data.draw(st.sampled_from([None, 1, 2, 3, -1, -2]))
                items.append(slice(data.draw(bound), data.draw(bound), step))
            case "all":
                items.append(slice(None))
    for _ in range(data.draw(st.integers(0, 2))):
        items.insert(data.draw(st.integers(0, len(items))), None)
    if len([i for i in items if i is not None]) == len(shape) or data.draw(st.booleans()):
        items.insert(data.draw(st.integers(0, len(items))), ...)
        if [i for i in items if i not in (None, ...)] and items[-1] is not ...:
            # Items behind an ellipsis count from the end: keep to the front ones.
            items.remove(...)
    return tuple(items)


@several
@given(arrays(0, 3), st.data())
def test_getitem(x, data):
    key = keys_for(data, x.shape)

    result = check(lambda x: x[key], meaning(x)[key], x)

    assert isinstance(result, sparse.COO) or result.shape == meaning(x)[key].shape


@pytest.mark.parametrize("sparse_ndim", [1, 2, 3])
@pytest.mark.parametrize(
    "key",
    [
        (..., 0),
        (0, ..., slice(1, 3)),
        (..., None),
        ([2, 0, 0],),
        (slice(None), [1, -1]),
        (slice(None, None, -1), [1, 0, 1]),
        (0, slice(None), [1, 0]),
        (0, [1, 0]),
        (slice(None), 1, [0, 1]),
        (np.array([[0, 2], [1, 1]]),),
        (slice(1, 3), None, np.array([[0], [2]])),
        (np.array([True, False, True]),),
        (slice(None), np.array([False, False, True, True])),
        (slice(None), slice(None), np.array([], int)),
        np.array(1),
    ],
    ids=str,
)
def test_getitem_by_keys_of_every_kind(key, sparse_ndim):
    rng = np.random.default_rng(0)
    for canonical in (False, True):
        x = random_coo(rng, (3, 4, 2), sparse_ndim=sparse_ndim, nse=12, canonical=canonical)

        check(lambda x: x[key], meaning(x)[key], x)


@pytest.mark.parametrize("sparse_ndim", [1, 2])
def test_getitem_by_a_traced_index(sparse_ndim):
    x = random_coo(np.random.default_rng(0), (3, 4), sparse_ndim=sparse_ndim, nse=12)

    for i in (-1, 0, 2):
        found = traced(lambda x, i: x[i], x, np.int32(i))
        np.testing.assert_array_equal(
            meaning(found) if isinstance(found, sparse.COO) else found, meaning(x)[i]
        )


@several
@given(arrays(1, 3), st.data())
def test_take(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    shape = data.draw(shapes(0, 2)) if n else (0,)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    indices = rng.integers(-n, n, shape) if n else np.zeros(shape, int)
    expected = np.take(meaning(x), indices, axis)

    check(lambda x: sparse.take(x, indices, axis), expected, x)
    check(lambda x, indices: sparse.take(x, indices, axis), expected, x, indices)


def test_take_of_unique_entries_has_room_for_one_row_each():
    x = random_coo(np.random.default_rng(0), (5, 2), nse=9, canonical=True)

    assert traced(lambda x: sparse.take(x, np.array([0, 1, 2])), x).nse == 6


@few
@given(arrays(1, 3))
def test_iterating_gives_the_rows(x):
    rows = [*x]

    assert len(rows) == len(x) == x.shape[0]
    for row, expected in zip(rows, meaning(x), strict=True):
        np.testing.assert_array_equal(
            meaning(row) if isinstance(row, sparse.COO) else row, expected
        )


def test_known_indices_leave_no_padding():
    x = random_coo(np.random.default_rng(0), (4, 4), nse=20)

    i, j = np.asarray(x.indices).T
    assert x[1:3].nse == np.count_nonzero((i >= 1) & (i < 3) & (j >= 0) & (j < 4))
    rows = sparse.take(x, [2, 1])
    assert rows.nse == x[1:3].nse
    assert sparse.take(x, [2]).nse == np.count_nonzero((i == 2) & (j >= 0) & (j < 4))


def test_bad_arguments_are_refused():
    x = random_coo(np.random.default_rng(0), (3, 4), "float32")
    with pytest.raises(ShapeError, match=r"transpose of f32\[3,4\]: axes \(0,\)"):
        sparse.transpose(x, (0,))
    with pytest.raises(ShapeError, match=r"reshape of f32\[3,4\] to \(5, 2\): 12 elements"):
        sparse.reshape(x, (5, 2))
    with pytest.raises(ShapeError, match="reshape"):
        sparse.reshape(x, (5, -1))
    with pytest.raises(ShapeError, match=r"squeeze of f32\[3,4\]: axes \(0,\)"):
        sparse.squeeze(x, 0)
    with pytest.raises(ShapeError, match=r"f32\[3,4\] does not broadcast to \(4, 3\)"):
        sparse.broadcast_to(x, (4, 3))
    with pytest.raises(DTypeError, match="Array among sparse arrays"):
        sparse.concatenate([x, x.to_dense()])
    with pytest.raises(ShapeError, match=r"f32\[3,4\], f32\[4,3\] along axis 0"):
        sparse.concatenate([x, x.T])
    with pytest.raises(ShapeError, match="no arrays"):
        sparse.concatenate([])
    with pytest.raises(IndexError, match="out of range"):
        x[3]
    with pytest.raises(IndexError, match="out of range"):
        sparse.take(x, [0, 4], 1)
    with pytest.raises(DTypeError, match="indices"):
        sparse.take(x, [0.5])
    with pytest.raises(IndexError, match=r"f32\[3,4\] is indexed by one array at most, got 2"):
        x[[0, 1], [1, 2]]
    with pytest.raises(TracerArrayError, match="mask"):
        pb.make_program(lambda x, m: x[m])(x, np.array([True, False, True]))
