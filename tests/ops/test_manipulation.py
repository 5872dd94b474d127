"""Manipulation functions, against array-api-strict and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import check, check_array, traced
from hypothesis import given
from hypothesis import strategies as st
from strategies_ops import (
    ALL,
    AXIS_SHAPES,
    axes_of,
    axis_of,
    few,
    operand,
    operands,
    several,
)

import pullback as pb
from pullback.errors import ShapeError, TracerArrayError


@st.composite
def same_but_one_axis(draw):
    """Arrays of one dtype whose shapes differ along one axis only."""
    first = draw(operand(ALL, AXIS_SHAPES))
    axis = draw(axis_of(first))
    lengths = draw(st.lists(st.integers(0, 3), max_size=2))
    place = axis % first.ndim
    shapes = [(*first.shape[:place], n, *first.shape[place + 1 :]) for n in lengths]
    return [first, *(draw(operand((first.dtype.name,), s)) for s in shapes)], axis


@several
@given(drawn=same_but_one_axis())
def test_concat(drawn):
    arrays, axis = drawn
    check("concat", arrays, axis=axis)
    check("concat", tuple(arrays), axis=None)


@few
@given(data=st.data(), x=operand(ALL))
def test_stack(data, x):
    y = data.draw(operand((x.dtype.name,), x.shape))
    check("stack", [x, y], axis=data.draw(st.integers(-x.ndim - 1, x.ndim)))


def test_joins_promote():
    x, y = pb.zeros(2, dtype=pb.int8), pb.ones(2)

    assert pb.concat([x, y]).dtype == np.float32
    assert pb.stack([x, pb.asarray(y, dtype=pb.float64)]).dtype == np.float64
    assert pb.concatenate([np.zeros(1), np.ones(1)], 0).dtype == np.float64


@few
@given(data=st.data(), x=operand(ALL, AXIS_SHAPES))
def test_unstack(data, x):
    check("unstack", x, axis=data.draw(axis_of(x))) if x.size else None


@several
@given(data=st.data(), x=operand(ALL))
def test_expand_dims_and_squeeze(data, x):
    axis = data.draw(st.integers(-x.ndim - 1, x.ndim))
    check("expand_dims", x, axis=axis)
    ones = tuple(i for i, n in enumerate(x.shape) if n == 1)
    check("squeeze", x, data.draw(st.sampled_from([ones, ones[:1]])))


@few
@given(data=st.data(), x=operand(ALL))
def test_flip(data, x):
    check("flip", x, axis=data.draw(axes_of(x)))


@several
@given(data=st.data(), x=operand(ALL))
def test_permute_dims(data, x):
    order = data.draw(st.permutations(range(x.ndim)))
    check("permute_dims", x, tuple(order))


@several
@given(data=st.data(), x=operand(ALL, AXIS_SHAPES))
def test_moveaxis(data, x):
    order = data.draw(st.permutations(range(x.ndim)))
    check("moveaxis", x, data.draw(axis_of(x)), data.draw(axis_of(x)))
    check("moveaxis", x, tuple(order), tuple(range(x.ndim)))


@several
@given(data=st.data(), x=operand(ALL))
def test_reshape(data, x):
    divisors = [n for n in range(1, x.size + 1) if x.size % n == 0] or [1]
    rows = data.draw(st.sampled_from(divisors))
    shape = (rows, x.size // rows)
    check("reshape", x, shape)
    check("reshape", x, (*shape, 1), copy=True)
    if x.size:
        check("reshape", x, (1, -1, rows))


@several
@given(data=st.data(), x=operand(ALL))
def test_roll(data, x):
    shift = st.integers(-5, 5)
    check("roll", x, data.draw(shift))
    if x.ndim:
        check("roll", x, data.draw(shift), axis=data.draw(axis_of(x)))
        axes = tuple(range(x.ndim))
        check("roll", x, tuple(data.draw(shift) for _ in axes), axis=axes)


def test_roll_by_a_traced_number():
    x = np.arange(5)

    for by in (-7, 0, 2):
        (found,) = traced(lambda x, by: pb.roll(x, by, axis=0), (x, np.asarray(by)), {})
        np.testing.assert_array_equal(found, np.roll(x, by))


@several
@given(data=st.data(), x=operand(ALL, AXIS_SHAPES))
def test_repeat(data, x):
    axis = data.draw(axis_of(x))
    check("repeat", x, data.draw(st.integers(0, 3)), axis=axis)
    check("repeat", x, 2)
    n = x.shape[axis]
    counts = np.asarray(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), np.int64)
    check("repeat", x, counts, axis=axis, eager_only=True)


def test_repeat_by_traced_counts_needs_a_length():
    x, counts = np.array([1.0, 2.0, 3.0]), np.array([2, 0, 1])

    with pytest.raises(TracerArrayError, match="total_repeat_length"):
        traced(pb.repeat, (x, counts), {})
    for total in (2, 3, 5):
        (found,) = traced(pb.repeat, (x, counts), {"total_repeat_length": total})
        np.testing.assert_array_equal(found, [1, 1, 3, 3, 3][:total])
    with pytest.raises(ShapeError, match="at least 0"):
        pb.repeat(pb.asarray(x), pb.asarray([-1, 0, 0]))
    with pytest.raises(ShapeError, match="at least 0"):
        pb.repeat(pb.asarray(x), -1)
    with pytest.raises(ShapeError, match="expected one, or 3"):
        pb.repeat(pb.asarray(x), pb.asarray([1, 2]))


@several
@given(x=operand(ALL), counts=st.lists(st.integers(0, 2), max_size=4))
def test_tile(x, counts):
    check("tile", x, tuple(counts))


# ---- NumPy's additions


@several
@given(data=st.data(), x=operand(ALL, AXIS_SHAPES))
def test_splits_agree_with_numpy(data, x):
    axis = data.draw(axis_of(x))
    parts = data.draw(st.integers(1, 4) | st.lists(st.integers(-3, 4), max_size=3).map(sorted))

    found = pb.array_split(pb.asarray(x), parts, axis)

    expected = np.array_split(x, parts, axis)
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        check_array(np.asarray(a), b, ulp=0)


def test_split_needs_equal_parts():
    assert [p.shape for p in pb.split(pb.zeros((4, 2)), 2)] == [(2, 2), (2, 2)]
    with pytest.raises(ShapeError, match="does not divide into 3"):
        pb.split(pb.zeros(4), 3)
    with pytest.raises(ShapeError, match="at least 1 part"):
        pb.array_split(pb.zeros(4), 0)


@pytest.mark.parametrize("name", ["vstack", "hstack", "dstack", "column_stack"])
@few
@given(xs=operands(2, ALL))
def test_joins_by_kind_agree_with_numpy(name, xs):
    x, y = np.broadcast_arrays(*xs)

    found = getattr(pb, name)([pb.asarray(x), pb.asarray(y)]) if _joins(name, x) else None

    if found is not None:
        check_array(np.asarray(found), getattr(np, name)([x, y]), ulp=0)


def _joins(name, x):
    return name != "column_stack" or x.ndim <= 2


@few
@given(data=st.data(), x=operand(ALL, AXIS_SHAPES))
def test_reorderings_agree_with_numpy(data, x):
    first, second = data.draw(axis_of(x)), data.draw(axis_of(x))
    pairs = [
        (pb.swapaxes(x, first, second), np.swapaxes(x, first, second)),
        (pb.transpose(x), np.transpose(x)),
        (pb.ravel(x), np.ravel(x)),
        (pb.flipud(x), np.flipud(x)),
        *((getattr(pb, n)(x), getattr(np, n)(x)) for n in ("atleast_1d", "atleast_2d")),
        (pb.atleast_3d(x), np.atleast_3d(x)),
    ]
    if x.ndim > 1:
        k = data.draw(st.integers(-4, 4))
        pairs += [(pb.rot90(x, k), np.rot90(x, k)), (pb.fliplr(x), np.fliplr(x))]

    for found, expected in pairs:
        check_array(np.asarray(found), expected, ulp=0)


MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


@pytest.mark.parametrize("mode", MODES)
@few
@given(data=st.data(), x=operand(ALL, AXIS_SHAPES))
def test_pad_agrees_with_numpy(mode, data, x):
    if x.size == 0 and mode != "constant":
        with pytest.raises(ShapeError, match="is empty"):
            pb.pad(x, 1, mode)
        return
    pair = st.tuples(st.integers(0, 4), st.integers(0, 4))
    widths = data.draw(st.integers(0, 3) | pair | st.tuples(*[pair] * x.ndim))
    options = {"constant_values": x.dtype.type(1)} if mode == "constant" else {}

    (found,) = traced(pb.pad, (x, widths, mode), options)

    check_array(found, np.pad(x, widths, mode, **options), ulp=0)


def test_bad_axes_and_shapes_are_refused():
    x = pb.zeros((2, 3))

    for call, text in [
        (lambda: pb.concat([]), "at least one array"),
        (lambda: pb.concat([x], axis=2), "expected -2 <= axis < 2"),
        (lambda: pb.stack([x, pb.zeros(3)]), r"f32\[2,3\] and f32\[3\]"),
        (lambda: pb.reshape(x, (4, 2)), r"f32\[2,3\] to \(4, 2\)"),
        (lambda: pb.reshape(x, (-1, -1)), "one length may be -1"),
        (lambda: pb.squeeze(x, 0), "not of length 1"),
        (lambda: pb.permute_dims(x, (0, 0)), "given twice"),
        (lambda: pb.permute_dims(x, (0,)), "not a permutation"),
        (lambda: pb.flip(pb.asarray(1.0), axis=0), "has no axes"),
        (lambda: pb.moveaxis(x, (0, 1), (0,)), "2 axes cannot move to 1"),
        (lambda: pb.roll(x, (1, 2, 3), axis=(0, 1)), "3 shifts for 2 axes"),
        (lambda: pb.tile(x, (-1,)), "negative length"),
        (lambda: pb.pad(x, (1, 2, 3)), "a pair for each axis"),
        (lambda: pb.pad(x, -1), "no negative width"),
    ]:
        with pytest.raises(ShapeError, match=text):
            call()
    with pytest.raises(ValueError, match="mode 'other'"):
        pb.pad(x, 1, "other")
