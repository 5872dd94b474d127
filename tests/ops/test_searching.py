"""Searching functions, against array-api-strict."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import DEFAULT, check, check_array, traced
from hypothesis import given
from hypothesis import strategies as st
from strategies_ops import (
    ALL,
    AXIS_SHAPES,
    FULL_SHAPES,
    NUMERIC,
    axes_of,
    axis_of,
    few,
    operand,
    operands,
    several,
)

import pullback as pb
from pullback.errors import ShapeError, TracerArrayError


@pytest.mark.parametrize("name", ["argmax", "argmin"])
@several
@given(data=st.data(), x=operand(NUMERIC, FULL_SHAPES))
def test_positions_of_extremes(name, data, x):
    axis = data.draw(st.none() | axis_of(x)) if x.ndim else None
    check(name, x, axis=axis, keepdims=data.draw(st.booleans()), dtype=DEFAULT)


@several
@given(data=st.data(), x=operand(ALL))
def test_count_nonzero(data, x):
    options = {"axis": data.draw(axes_of(x)), "keepdims": data.draw(st.booleans())}
    check("count_nonzero", x, dtype=DEFAULT, **options)


@several
@given(x=operand(ALL, AXIS_SHAPES))
def test_nonzero(x):
    check("nonzero", x, dtype=DEFAULT, eager_only=True)


@several
@given(x=operand(ALL, AXIS_SHAPES), size=st.integers(0, 6))
def test_nonzero_of_a_size(x, size):
    """Cut off, or filled, in eager and in traced mode."""
    expected = np.stack(np.nonzero(x))[:, :size]
    expected = np.pad(expected, ((0, 0), (0, size - expected.shape[1])), constant_values=-7)

    found = traced(pb.nonzero, (x,), {"size": size, "fill_value": -7})

    np.testing.assert_array_equal(np.stack(found), expected)
    eager = pb.nonzero(x, size=size, fill_value=-7)
    np.testing.assert_array_equal(np.stack(list(map(np.asarray, eager))), expected)


def test_positions_of_traced_values_need_a_size():
    x = np.array([1.0, 0.0, 2.0])

    with pytest.raises(TracerArrayError, match=r"nonzero of a traced value of type f64\[3\].*size"):
        traced(pb.nonzero, (x,), {})
    with pytest.raises(TracerArrayError, match="size"):
        traced(pb.where, (x,), {})
    with pytest.raises(ShapeError, match=r"x != 0"):
        pb.nonzero(pb.asarray(1))
    assert pb.argwhere(pb.asarray(x)).tolist() == [[0], [2]]
    assert pb.flatnonzero(x.reshape(3, 1)).tolist() == [0, 2]
    with pytest.raises(ShapeError, match="with axes"):
        pb.argwhere(pb.asarray(1))


@several
@given(data=st.data(), xs=operands(3, ALL))
def test_where(data, xs):
    condition, x, y = xs
    condition = np.asarray(condition != 0)
    check("where", condition, x, y)
    number = data.draw(st.sampled_from([True] if x.dtype == bool else [1, 0]))
    check("where", condition, x, number)


def test_where_takes_what_numpy_does() -> None:
    assert pb.where(pb.asarray([0.5, 0.0]), 1, 2).tolist() == [1, 2]
    assert pb.where(True, 1.5, 2).dtype == np.float32
    assert pb.where(pb.asarray([True, False]))[0].tolist() == [0]
    with pytest.raises(TypeError, match="two arrays"):
        pb.where(True, 1)  # type: ignore[call-overload]


@pytest.mark.parametrize("side", ["left", "right"])
@several
@given(data=st.data(), x=operand(NUMERIC, st.sampled_from([(0,), (1,), (4,), (7,)])))
def test_searchsorted(side, data, x):
    wanted = data.draw(operand((x.dtype.name,)))
    wanted = np.where(
        data.draw(st.booleans()), wanted, np.resize(np.append(x, x.dtype.type(0)), wanted.shape)
    )
    check("searchsorted", np.sort(x), wanted.astype(x.dtype), side=side, dtype=DEFAULT)
    order = np.argsort(x, kind="stable")
    check(
        "searchsorted",
        x,
        wanted.astype(x.dtype),
        side=side,
        sorter=order,
        dtype=DEFAULT,
        eager_only=True,
    )


def test_searchsorted_takes_numbers_and_refuses_matrices() -> None:
    x = pb.asarray([1.0, 2.0])

    assert int(pb.searchsorted(x, 1.5)) == 1
    assert pb.asarray(x).searchsorted(5).dtype == np.int32
    with pytest.raises(ShapeError, match=r"f32\[2,2\]"):
        pb.searchsorted(pb.zeros((2, 2)), x)
    with pytest.raises(ValueError, match="side 'middle'"):
        pb.searchsorted(x, x, side="middle")  # type: ignore[arg-type]


def test_extremes_need_elements():
    with pytest.raises(ShapeError, match="no elements"):
        pb.argmax(pb.zeros((0, 2)), axis=0)
    assert pb.argmax(pb.zeros((0, 2)), axis=1).shape == (0,)
    with pytest.raises(ShapeError, match="out of range"):
        pb.argmin(pb.zeros(2), axis=1)


@few
@given(x=operand(("bool",), FULL_SHAPES))
def test_extremes_of_booleans(x):
    check_array(np.asarray(pb.argmax(x)), np.asarray(np.argmax(x)).astype(np.int32), ulp=0)
