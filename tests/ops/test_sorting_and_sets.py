"""Sorting and set functions, against array-api-strict."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import DEFAULT, check, traced
from hypothesis import given
from hypothesis import strategies as st
from strategies_ops import (
    ALL,
    AXIS_SHAPES,
    FULL_AXIS_SHAPES,
    NUMERIC,
    axis_of,
    few,
    operand,
    several,
)

import pullback as pb
from pullback.errors import ShapeError, TracerArrayError


@pytest.mark.parametrize("name", ["sort", "argsort"])
@several
@given(data=st.data(), x=operand(NUMERIC, AXIS_SHAPES))
def test_sorts(name, data, x):
    options = {"axis": data.draw(axis_of(x)), "descending": data.draw(st.booleans())}
    check(name, x, dtype=DEFAULT if name == "argsort" else "same", **options)


def test_sorts_are_stable_in_both_directions():
    x = pb.asarray([2.0, 1.0, 2.0, 1.0])

    assert pb.argsort(x).tolist() == [1, 3, 0, 2]
    assert pb.argsort(x, descending=True).tolist() == [0, 2, 1, 3]
    assert pb.sort(pb.asarray([[3, 1], [2, 0]]), axis=None).tolist() == [0, 1, 2, 3]


def test_nan_is_last_or_first():
    x = pb.asarray([np.nan, 1.0, -np.inf], dtype=pb.bfloat16)

    assert pb.argsort(x).tolist() == [2, 1, 0]
    assert pb.argsort(x, descending=True).tolist() == [0, 1, 2]


@several
@given(data=st.data(), x=operand(NUMERIC, FULL_AXIS_SHAPES))
def test_top_k(data, x):
    axis = data.draw(axis_of(x))
    k = data.draw(st.integers(0, x.shape[axis]))

    values, positions = traced(pb.top_k, (x, k), {"axis": axis})

    order = np.asarray(pb.argsort(x, axis=axis, descending=True)).take(range(k), axis)
    np.testing.assert_array_equal(positions, order)
    np.testing.assert_array_equal(values, np.take_along_axis(x, order, axis))


def test_lexsort_and_gradients():
    keys = (np.array([1, 0, 1, 0]), np.array([0, 0, -1, 0]))

    assert pb.lexsort(keys).tolist() == np.lexsort(keys).tolist()
    x = pb.asarray([3.0, 1.0, 2.0])
    found = pb.grad(lambda x: pb.sum(pb.sort(x) * pb.asarray([1.0, 2.0, 3.0])))(x)
    assert found.tolist() == [3, 1, 2]
    found = pb.grad(lambda x: pb.sum(pb.top_k(x, 2)[0] * pb.asarray([1.0, 2.0])))(x)
    assert found.tolist() == [1, 0, 2]


def test_errors_of_sorts():
    with pytest.raises(ShapeError, match="0 <= k <= 2"):
        pb.top_k(pb.zeros(2), 3)
    with pytest.raises(ShapeError, match="at least one key"):
        pb.lexsort(())
    with pytest.raises(ShapeError, match="has no axes"):
        pb.sort(pb.asarray(1.0))


@pytest.mark.parametrize("name", ["unique_all", "unique_counts", "unique_inverse", "unique_values"])
@several
@given(x=operand(ALL))
def test_unique(name, x):
    """The order of several nans among each other is open: they are compared by their number."""
    if x.dtype.kind == "f":
        x = np.asarray(np.nan_to_num(x, nan=3.0)).astype(x.dtype)
    check(name, x, dtype=DEFAULT, eager_only=True)


def same_dtypes(found, x):
    return found.values.dtype == x.dtype and found.counts.dtype == np.int32


@several
@given(x=operand(ALL), size=st.integers(0, 5))
def test_unique_of_a_size(x, size):
    """Cut off, or filled with the least element; inverse positions and counts of what is left."""
    x = np.asarray(np.nan_to_num(x, nan=3.0)).astype(x.dtype)
    values, indices, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True
    )
    n = min(size, len(values))

    found = traced(lambda x: tuple(pb.unique_all(x, size=size)), (x,), {})

    np.testing.assert_array_equal(found[0][:n], values[:n])
    if len(values):
        np.testing.assert_array_equal(found[0][n:], values[0])
    np.testing.assert_array_equal(found[1][:n], indices[:n])
    np.testing.assert_array_equal(found[2], inverse.reshape(x.shape))
    np.testing.assert_array_equal(found[3][:n], counts[:n])
    assert (found[3][n:] == 0).all()


def test_every_nan_is_distinct():
    x = pb.asarray([np.nan, 1.0, np.nan])

    assert pb.unique_counts(x).counts.tolist() == [1, 1, 1]
    assert pb.unique_counts(x, size=3).counts.tolist() == [1, 1, 1]
    assert pb.unique_values(pb.asarray([2.0, 1.0], dtype=pb.bfloat16)).dtype == pb.bfloat16


def test_unique_of_traced_values_needs_a_size():
    x = np.array([2, 1, 2])

    with pytest.raises(TracerArrayError, match="Pass `size`"):
        traced(pb.unique_values, (x,), {})
    (found,) = traced(pb.unique_values, (x,), {"size": 3, "fill_value": -1})
    np.testing.assert_array_equal(found, [1, 2, -1])
    assert pb.unique_all(x)._fields == ("values", "indices", "inverse_indices", "counts")
    assert same_dtypes(pb.unique_all(pb.asarray(x)), x)


@few
@given(x=operand(ALL), y=operand(ALL))
def test_isin(x, y):
    if x.dtype != y.dtype:
        y = y[:0].astype(x.dtype) if y.ndim else np.asarray(1, x.dtype)
    y = np.append(y, x.ravel()[:1])

    for invert in (False, True):
        (found,) = traced(pb.isin, (x, y), {"invert": invert})
        np.testing.assert_array_equal(found, np.isin(x, y, invert=invert))


@few
@given(x=operand(("int8", "bool")), size=st.none() | st.integers(1, 4))
def test_unique_by_numpy_name(x, size):
    found = pb.unique(x, return_index=True, return_counts=True, size=size)

    expected = np.unique(x, return_index=True, return_counts=True)
    for a, b in zip(found, expected, strict=True):
        n = min(len(b), len(b) if size is None else size)
        np.testing.assert_array_equal(np.asarray(a)[:n], b[:n])
    assert isinstance(pb.unique(x), pb.Array)
