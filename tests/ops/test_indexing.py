"""Indexing: the standard's functions, ``x[key]`` and ``x.at[key]``, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import check, check_array, traced
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
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
from pullback.errors import DTypeError, ShapeError, TracerArrayError, TracerIntegerError

#: Keys for an array of shape (3, 4, 2): each way of indexing, and their combinations.
KEYS = [
    0,
    -1,
    (1, 2, 0),
    (slice(None), 1),
    ...,
    (..., 0),
    (0, ..., -1),
    None,
    (None, 0, None, slice(1, 3), None),
    slice(0, 0),
    slice(None, None, -1),
    (slice(None, None, 2), slice(3, 0, -2)),
    (slice(-2, None), slice(5, 1), slice(1)),
    np.array([0, 2, -1]),
    [2, 0],
    np.array([[0, 1], [2, 2]]),
    np.array(1),
    np.int64(2),
    np.array([], np.int32),
    (np.array([0, 1]), np.array([3, 3])),
    (np.array([[0], [1]]), np.array([3, 0])),
    (np.array([0, 1]), slice(None), np.array([1, 0])),
    (0, slice(None), np.array([1, 0])),
    (slice(None), 0, np.array([1, 0])),
    (slice(None), np.array([1, 0]), slice(1)),
    (slice(None, None, -1), np.array([1, 0, 2]), None),
    (np.array([2]), None, np.array([1])),
    (..., np.array([1, 1, 0])),
    (slice(1, None), np.array([0]), np.array([[1], [0]])),
    np.array([True, False, True]),
    (slice(None), np.array([True, False, False, True])),
    np.arange(12).reshape(3, 4) % 3 == 0,
    np.arange(24).reshape(3, 4, 2) % 5 == 0,
    (np.array([True, True, False]), np.array([0, 1])),
    np.zeros(3, bool),
    True,
    (False, 0),
]


def name_of(key):
    return str(key).replace(" ", "").replace("\n", "")[:40]


@pytest.fixture
def x():
    return np.arange(24, dtype=np.float32).reshape(3, 4, 2)


@pytest.mark.parametrize("key", KEYS, ids=name_of)
def test_getitem_agrees_with_numpy(x, key):
    found = pb.asarray(x)[key]

    check_array(np.asarray(found), np.asarray(x[key]), ulp=0)
    (again,) = traced(lambda x: x[key], (x,), {})
    np.testing.assert_array_equal(again, x[key])


@pytest.mark.parametrize("key", [k for k in KEYS if k is not True], ids=name_of)
@pytest.mark.parametrize(
    ("method", "ufunc"),
    [("add", np.add), ("multiply", np.multiply), ("min", np.minimum), ("max", np.maximum)],
)
def test_updates_agree_with_numpy(x, key, method, ufunc):
    values = np.random.default_rng(1).normal(size=x[key].shape).astype(np.float32) * 9
    expected = x.copy()
    ufunc.at(expected, tuple(key) if isinstance(key, tuple) else _as_key(key), values)

    (found,) = traced(lambda x, v: getattr(x.at[key], method)(v), (x, values), {})

    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.array_equal(np.asarray(getattr(pb.asarray(x).at[key], method)(values)), found)


def _as_key(key):
    return np.asarray(key) if isinstance(key, list) else key


@pytest.mark.parametrize("key", KEYS, ids=name_of)
def test_set_agrees_with_numpy(x, key):
    values = np.random.default_rng(1).normal(size=x[key].shape).astype(np.float32)
    expected, constant = x.copy(), x.copy()
    expected[key] = values
    constant[key] = 7

    (found,) = traced(lambda x, v: x.at[key].set(v), (x, values), {})

    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.asarray(pb.asarray(x).at[key].set(7)), constant)
    np.testing.assert_array_equal(np.asarray(pb.asarray(x).at[key].get()), x[key])


@st.composite
def array_and_key(draw):
    x = draw(operand(ALL, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
    return x, draw(hnp.basic_indices(x.shape, allow_newaxis=True))


@several
@given(drawn=array_and_key())
def test_basic_indexing(drawn):
    x, key = drawn
    found = pb.asarray(x)[key]

    check_array(np.asarray(found), np.asarray(x[key]), ulp=0)
    expected = x.copy()
    expected[key] = x.dtype.type(1)
    np.testing.assert_array_equal(np.asarray(pb.asarray(x).at[key].set(x.dtype.type(1))), expected)


@several
@given(data=st.data())
def test_integer_array_indexing(data):
    x = data.draw(operand(ALL, FULL_AXIS_SHAPES))
    shape = data.draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3))
    key = tuple(
        data.draw(
            st.just(slice(None))
            | st.integers(-n, n - 1)
            | hnp.arrays(np.int64, shape, elements=st.integers(-n, n - 1))
        )
        for n in x.shape
    )

    found = pb.asarray(x)[key]

    check_array(np.asarray(found), np.asarray(x[key]), ulp=0)


@several
@given(data=st.data(), x=operand(ALL, AXIS_SHAPES))
def test_mask_indexing(data, x):
    axes = data.draw(st.integers(1, x.ndim))
    mask = data.draw(hnp.arrays(bool, x.shape[:axes]))

    check_array(np.asarray(pb.asarray(x)[pb.asarray(mask)]), x[mask], ulp=0)


def test_bounds_of_slices_that_are_traced():
    """Python would say that a tracer is no int; the message says what to use."""
    x, i, start = np.arange(12.0).reshape(3, 4), np.array(1), pb.Variable(1)

    with pytest.raises(TracerIntegerError, match=r"axis 1 of f64\[3,4\].*i64\[\].*dynamic_slice"):
        traced(lambda x, i: x[:, i:], (x, i), {})
    with pytest.raises(TracerIntegerError, match="dynamic_slice"):
        traced(lambda x, i: x.at[: i + 1].set(0), (x, i), {})

    check_array(np.asarray(pb.asarray(x)[start:]), x[1:], ulp=0)


def test_masks_of_traced_values():
    """Indexing needs their elements; updating by a mask of the array's shape does not."""
    x, mask = np.arange(3.0), np.array([True, False, True])

    with pytest.raises(TracerArrayError, match=r"bool\[3\].*pullback.where"):
        traced(lambda x, mask: x[mask], (x, mask), {})
    (found,) = traced(lambda x, mask: x.at[mask].set(9), (x, mask), {})
    np.testing.assert_array_equal(found, [9, 1, 9])
    (found,) = traced(lambda x, mask: x.at[mask].add(x[0] + 1), (x, mask), {})
    np.testing.assert_array_equal(found, [1, 1, 3])
    rows = np.arange(6.0).reshape(3, 2)
    (found,) = traced(lambda x, mask: x.at[mask].set(pb.asarray([7.0, 8.0])), (rows, mask), {})
    np.testing.assert_array_equal(found, [[7, 8], [2, 3], [7, 8]])


def test_traced_indices_out_of_range():
    """Reading gives nan, or 0; writing leaves out. Negative ones count from the end."""
    x, i = np.arange(3.0), np.array([-1, 3, -4, 0])

    (found,) = traced(lambda x, i: x[i], (x, i), {})
    np.testing.assert_array_equal(found, [2, np.nan, np.nan, 0])
    (found,) = traced(lambda x, i: x[i], (x.astype(np.int32), i.astype(np.int8)), {})
    np.testing.assert_array_equal(found, [2, 0, 0, 0])
    (found,) = traced(lambda x, i: x.at[i].add(1.0), (x, i), {})
    np.testing.assert_array_equal(found, [1, 1, 3])
    (found,) = traced(lambda x, i: x[i[0]], (x, i), {})
    assert found == 2


def test_known_indices_out_of_range_raise():
    x = pb.zeros((2, 3))

    for key, text in [
        (2, r"index 2 is out of range for axis 0 of f32\[2,3\]"),
        ((0, -4), r"index -4 is out of range for axis 1"),
        (np.array([0, 5]), "index 5 is out of range for axis 0 of length 2"),
        ((0, 0, 0), r"3 indices for f32\[2,3\], which has 2 axes"),
        ((..., ...), "more than one"),
        (1.5, "a float is no index"),
        ("a", "a str is no index"),
        (np.array([0.5]), r"f64\[1\] is no index"),
    ]:
        with pytest.raises(IndexError, match=text):
            x[key]
        with pytest.raises(IndexError, match=text):
            x.at[key].set(1.0)
    with pytest.raises(ShapeError, match=r"a mask bool\[3\] does not fit"):
        x[np.zeros(3, bool)]
    with pytest.raises(TypeError):
        x[0] = 1.0


def test_updates_that_lose_something_are_refused():
    x = pb.asarray([1, 2, 3])

    with pytest.raises(DTypeError, match=r"does not fit i32\[3\]"):
        x.at[0].set(1.5)
    with pytest.raises(DTypeError, match=r"bool\[1\]"):
        pb.asarray([True]).at[0].set(2)
    with pytest.raises(ShapeError, match=r"f32\[2\] does not broadcast to the places"):
        pb.zeros(3).at[:].set(pb.zeros(2))
    assert pb.zeros(3).at[0].set(2).dtype == np.float32


def test_repeated_places_add_up_in_order():
    x = pb.zeros(3)
    i = np.array([1, 1, 1])

    np.testing.assert_array_equal(np.asarray(x.at[i].add(1.0)), [0, 3, 0])
    np.testing.assert_array_equal(np.asarray(x.at[i].set(np.arange(3.0, dtype="f4"))), [0, 2, 0])
    np.testing.assert_array_equal(np.asarray(x.at[i].subtract(1.0)), [0, -3, 0])


def test_updates_by_division_powers_and_functions():
    x, i, mask = np.array([3.0, 5.0, 7.0], "f4"), np.array([0, 2, 0]), np.array([True, False, True])

    (divided,) = traced(lambda x, i: x.at[i].divide(3.0), (x, i), {})
    (squared,) = traced(lambda x, i: x.at[i].power(2), (x, i), {})
    (halved,) = traced(lambda x, i: x.at[i].apply(lambda part: part / 2), (x, i), {})
    masked = pb.asarray(x).at[mask].apply(pb.negative)

    np.testing.assert_array_equal(divided, [x[0] / 9, 5, x[2] / 3])
    np.testing.assert_array_equal(squared, [9, 5, 49])
    np.testing.assert_array_equal(halved, [1.5, 5, 3.5])
    np.testing.assert_array_equal(np.asarray(masked), [-3, 5, -7])
    with pytest.raises(DTypeError, match=r"i32\[3\]"):
        pb.asarray([1, 2, 3]).at[0].divide(2)


def test_iteration_and_length():
    x = pb.asarray([[1, 2], [3, 4]])

    assert len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    with pytest.raises(TypeError, match="without axes"):
        len(pb.asarray(1))


# ---- functions


@several
@given(data=st.data(), x=operand(ALL, FULL_AXIS_SHAPES))
def test_take(data, x):
    axis = data.draw(axis_of(x))
    n = x.shape[axis]
    shape = data.draw(st.integers(0, 4))
    indices = data.draw(hnp.arrays(np.int64, shape, elements=st.integers(-n, n - 1)))
    check("take", x, indices, axis=axis, eager_only=True)
    (found,) = traced(pb.take, (x, indices), {"axis": axis})
    np.testing.assert_array_equal(found, np.take(x, indices, axis))


@several
@given(data=st.data(), x=operand(ALL, FULL_AXIS_SHAPES))
def test_take_along_axis(data, x):
    axis = data.draw(axis_of(x))
    n = x.shape[axis]
    place = axis % x.ndim
    shape = list(x.shape)
    shape[place] = data.draw(st.integers(0, 4))
    indices = data.draw(hnp.arrays(np.int64, tuple(shape), elements=st.integers(-n, n - 1)))
    check("take_along_axis", x, indices, axis=axis, eager_only=True)
    (found,) = traced(pb.take_along_axis, (x, indices), {"axis": axis})
    np.testing.assert_array_equal(found, np.take_along_axis(x, indices, axis))


@few
@given(data=st.data(), x=operand(NUMERIC, FULL_AXIS_SHAPES))
def test_put_along_axis(data, x):
    axis = data.draw(axis_of(x))
    shape = list(x.shape)
    shape[axis] = 1
    indices = data.draw(
        hnp.arrays(np.int64, tuple(shape), elements=st.integers(0, x.shape[axis] - 1))
    )
    expected = x.copy()
    np.put_along_axis(expected, indices, x.dtype.type(3), axis)

    found = pb.put_along_axis(x, indices, x.dtype.type(3), axis)

    np.testing.assert_array_equal(np.asarray(found), expected)


def test_take_modes():
    x = pb.asarray([10.0, 20.0, 30.0])
    i = np.array([-5, -1, 1, 7])

    assert pb.take(x, i, mode="clip").tolist() == [10, 10, 20, 30]
    assert pb.take(x, i, mode="wrap").tolist() == [20, 30, 20, 20]
    with pytest.raises(IndexError, match="index -5"):
        pb.take(x, i)
    with pytest.raises(ValueError, match="mode 'raise'"):
        pb.take(x, i, mode="raise")
    with pytest.raises(DTypeError, match="indices"):
        pb.take(x, pb.zeros(1))
    with pytest.raises(ShapeError, match="insert them"):
        pb.take_along_axis(pb.zeros((2, 2)), pb.asarray([0]))
    assert pb.take(pb.ones((2, 2)), pb.asarray([3])).tolist() == [1]
    assert pb.take_along_axis(pb.asarray([[1, 2]]), pb.asarray([1]), axis=None).tolist() == [2]


def test_dynamic_slices_clamp():
    x = np.arange(12.0).reshape(3, 4)

    for start in [(0, 0), (1, 2), (9, -1)]:
        starts = tuple(np.asarray(s) for s in start)
        block = pb.dynamic_slice(x, start, (2, 2))
        (again,) = traced(lambda x, s: pb.dynamic_slice(x, s, (2, 2)), (x, starts), {})
        row, column = min(start[0], 1), min(start[1] % 4, 2)
        np.testing.assert_array_equal(np.asarray(block), x[row : row + 2, column : column + 2])
        np.testing.assert_array_equal(again, np.asarray(block))
        found = np.asarray(pb.dynamic_update_slice(x, -np.ones((2, 2)), start))
        assert (found[row : row + 2, column : column + 2] == -1).all()
        assert (found == -1).sum() == 4
    with pytest.raises(ShapeError, match="1 starts"):
        pb.dynamic_slice(x, (0,), (2, 2))


def test_gradients_of_indexing():
    x = pb.asarray(np.arange(6.0).reshape(2, 3))

    def loss(x):
        part = x[:, ::-2] * 2.0
        return pb.sum(part) + pb.sum(x[np.array([0, 0]), np.array([1, 1])]) + x[-1, -1] * 5.0

    np.testing.assert_array_equal(np.asarray(pb.grad(loss)(x)), [[2, 2, 2], [2, 0, 7]])
    found = pb.grad(lambda x, v: pb.sum(x.at[0, 1:].set(v) ** 2.0), argnums=(0, 1))(
        x, pb.asarray(np.array([3.0, 4.0]))
    )
    np.testing.assert_array_equal(np.asarray(found[0]), [[0, 0, 0], [6, 8, 10]])
    np.testing.assert_array_equal(np.asarray(found[1]), [6, 8])
