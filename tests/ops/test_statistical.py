"""Statistical and utility functions, against array-api-strict and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import DEFAULT, check, check_array, traced
from hypothesis import given
from hypothesis import strategies as st
from strategies_ops import (
    ALL,
    AXIS_SHAPES,
    FLOATING,
    FULL_SHAPES,
    INTEGER,
    NUMERIC,
    axes_of,
    axis_of,
    few,
    operand,
    several,
)

import pullback as pb
from pullback.errors import DTypeError, ShapeError, TracerArrayError


def near(x):
    """Sums of at most 27 numbers of at most 100, added in another order."""
    return {"atol": 1e-3 if x.dtype == np.float32 else 1e-11} if x.dtype.kind == "f" else {}


@st.composite
def reduced(draw, /, dtypes=NUMERIC, shapes=None, **options):
    x = draw(operand(dtypes, **({} if shapes is None else {"shapes": shapes}), **options))
    return x, {"axis": draw(axes_of(x)), "keepdims": draw(st.booleans())}


@several
@given(drawn=reduced(finite=True))
def test_sum(drawn):
    x, options = drawn
    check("sum", x, dtype=DEFAULT, **options, **near(x))


@several
@given(drawn=reduced(finite=True, bound=3))
def test_prod(drawn):
    x, options = drawn
    check("prod", x, dtype=DEFAULT, ulp=64, **options)


@pytest.mark.parametrize("name", ["sum", "prod"])
@pytest.mark.parametrize("dtype", [*INTEGER, "float32", "float64"])
def test_sums_in_a_dtype(name, dtype):
    x = np.array([3, 4, 5], np.int8)

    found = getattr(pb, name)(x, dtype=getattr(pb, dtype))

    check_array(np.asarray(found), np.asarray(getattr(np, name)(x, dtype=dtype)), ulp=0)


def test_sums_of_narrow_integers_are_wide():
    for dtype, wide in [
        ("int8", "int32"),
        ("uint8", "uint32"),
        ("int64", "int64"),
        ("bool", "int32"),
    ]:
        x = np.ones(300, dtype)
        assert pb.sum(x).dtype.name == pb.prod(x).dtype.name == wide
        assert pb.cumsum(x).dtype.name == wide
        assert int(pb.sum(x)) == 300


@pytest.mark.parametrize("dtype", [pb.float16, pb.bfloat16])
def test_half_precision_is_kept_and_summed_wide(dtype):
    x = pb.full((3000,), 50.0, dtype=dtype)

    assert pb.mean(x).dtype == pb.var(x).dtype == pb.sum(x).dtype == dtype
    assert float(pb.mean(x)) == 50
    assert float(pb.std(x)) == 0
    assert float(pb.median(x)) == 50


@pytest.mark.parametrize("name", ["max", "min"])
@several
@given(drawn=reduced(shapes=FULL_SHAPES))
def test_extremes(name, drawn):
    x, options = drawn
    check(name, x, **options)


@few
@given(drawn=reduced(FLOATING, FULL_SHAPES, finite=True))
def test_mean(drawn):
    x, options = drawn
    check("mean", x, **options, **near(x))


@pytest.mark.parametrize("name", ["var", "std"])
@several
@given(drawn=reduced(FLOATING, FULL_SHAPES, finite=True), correction=st.sampled_from([0, 1, 0.5]))
def test_spread(name, drawn, correction):
    x, options = drawn
    axis = options["axis"]
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if np.prod([x.shape[a] for a in axes]) <= correction:
        found = getattr(pb, name)(x, **options, correction=correction)
        assert np.isnan(np.asarray(found)).all()
        return
    tolerance = {"atol": 2e-2 if x.dtype == np.float32 else 1e-9}
    check(name, x, correction=correction, **options, **tolerance)


def test_empty_and_special_sums():
    assert np.isnan(float(pb.mean(pb.zeros(0))))
    assert float(pb.sum(pb.zeros(0))) == 0
    assert float(pb.prod(pb.zeros(0))) == 1
    assert np.isnan(float(pb.max(pb.asarray([1.0, np.nan]))))
    assert pb.mean(pb.asarray([1, 2])).dtype == np.float32
    assert pb.max(pb.asarray([True, False])).dtype == bool
    assert pb.var(pb.asarray([1.0, 3.0]), ddof=1).tolist() == 2
    with pytest.raises(ShapeError, match="no elements"):
        pb.max(pb.zeros((0, 3)), axis=0)
    assert pb.max(pb.zeros((0, 3)), axis=1).shape == (0,)


@pytest.mark.parametrize("name", ["cumulative_sum", "cumulative_prod"])
@several
@given(data=st.data(), x=operand(NUMERIC, AXIS_SHAPES, finite=True, bound=3))
def test_running(name, data, x):
    options = {"axis": data.draw(axis_of(x)), "include_initial": data.draw(st.booleans())}
    check(name, x, dtype=DEFAULT, ulp=16, **options)
    if x.ndim == 1:
        check(name, x, dtype=DEFAULT, ulp=16)


@few
@given(data=st.data(), x=operand(NUMERIC, AXIS_SHAPES))
def test_running_extremes_agree_with_numpy(data, x):
    axis = data.draw(axis_of(x))

    for name, ufunc in (("cummax", np.maximum), ("cummin", np.minimum)):
        (found,) = traced(getattr(pb, name), (x,), {"axis": axis})
        check_array(found, ufunc.accumulate(x, axis), ulp=0)
    (found,) = traced(pb.cumsum, (x[..., :1],), {"axis": axis, "reverse": True})
    assert found.shape == x[..., :1].shape


@few
@given(drawn=reduced(FLOATING, FULL_SHAPES))
def test_median_agrees_with_numpy(drawn):
    x, options = drawn
    with np.errstate(all="ignore"):
        expected = np.asarray(np.median(x, **options))
        if np.isnan(expected).any() or np.isinf(x).any():
            expected = np.asarray(np.quantile(x, 0.5, **options))

    (found,) = traced(pb.median, (x,), options)

    if not np.isinf(x).any():
        check_array(found, expected.astype(x.dtype), ulp=8)


@pytest.mark.parametrize("q", [0, 0.25, 0.5, 1, [0.1, 0.9]])
@pytest.mark.parametrize("axis", [None, 0, (0, 2)])
def test_quantiles_agree_with_numpy(q, axis, rng):
    x = rng.normal(size=(3, 4, 2))

    found = pb.quantile(x, np.asarray(q, np.float64), axis, keepdims=True)

    np.testing.assert_allclose(
        np.asarray(found), np.quantile(x, q, axis, keepdims=True), rtol=1e-12
    )
    np.testing.assert_allclose(
        np.asarray(pb.percentile(x, 30.0, axis)), np.percentile(x, 30.0, axis), rtol=1e-12
    )


def test_quantiles_of_nan_and_nothing():
    assert np.isnan(float(pb.median(pb.asarray([1.0, np.nan, 2.0]))))
    assert float(pb.median(pb.asarray([1.0, np.inf, 2.0]))) == 2
    with pytest.raises(ShapeError, match="no element"):
        pb.median(pb.zeros(0))


def test_average_and_ptp(rng):
    x, w = rng.normal(size=(3, 4)), rng.uniform(size=4)

    np.testing.assert_allclose(
        np.asarray(pb.average(x, 1, weights=w)), np.average(x, 1, w), rtol=1e-12
    )
    np.testing.assert_allclose(float(pb.average(x)), np.average(x), rtol=1e-12)
    np.testing.assert_allclose(np.asarray(pb.ptp(x, 0)), np.ptp(x, 0))


# ---- utility


@pytest.mark.parametrize("name", ["all", "any"])
@several
@given(drawn=reduced(ALL))
def test_all_and_any(name, drawn):
    x, options = drawn
    check(name, x, **options)


@several
@given(data=st.data(), x=operand(NUMERIC, AXIS_SHAPES, finite=True))
def test_diff(data, x):
    axis, n = data.draw(axis_of(x)), data.draw(st.integers(0, 3))
    check("diff", x, axis=axis, n=n)
    check("diff", x, axis=axis, prepend=x, append=x)


def test_diff_of_booleans_and_numbers_before():
    assert pb.diff(pb.asarray([True, False, False])).tolist() == [True, False]
    assert pb.diff(pb.asarray([1, 4]), prepend=0).tolist() == [1, 3]
    with pytest.raises(ShapeError, match="n is -1"):
        pb.diff(pb.zeros(2), n=-1)


@several
@given(data=st.data(), x=operand(FLOATING))
def test_isclose_agrees_with_numpy(data, x):
    factor = data.draw(st.sampled_from([1.0, 1.0 + 1e-6, 1.1]))
    with np.errstate(all="ignore"):
        y = (x * factor).astype(x.dtype)
        for equal_nan in (False, True):
            expected = np.isclose(x, y, equal_nan=equal_nan)
            (found,) = traced(pb.isclose, (x, y), {"equal_nan": equal_nan})
            np.testing.assert_array_equal(found, expected)
            assert bool(pb.allclose(x, y, equal_nan=equal_nan)) == expected.all()


def test_array_equal():
    x = pb.asarray([1.0, np.nan])

    assert bool(pb.array_equal(x, x, equal_nan=True))
    assert not bool(pb.array_equal(x, x))
    assert not bool(pb.array_equal(x, pb.zeros(3)))


def test_bincount_agrees_with_numpy(rng):
    x, w = rng.integers(0, 5, 20), rng.normal(size=20)

    np.testing.assert_array_equal(np.asarray(pb.bincount(x)), np.bincount(x))
    np.testing.assert_array_equal(
        np.asarray(pb.bincount(pb.asarray([1, 2, 2], "uint8"))), [0, 1, 2]
    )
    np.testing.assert_array_equal(
        np.asarray(pb.bincount(x, minlength=9)), np.bincount(x, minlength=9)
    )
    np.testing.assert_allclose(np.asarray(pb.bincount(x, w)), np.bincount(x, w))
    (found,) = traced(pb.bincount, (x,), {"length": 3})
    np.testing.assert_array_equal(found, np.bincount(x)[:3])
    with pytest.raises(TracerArrayError, match="Pass `length`"):
        traced(pb.bincount, (x,), {})
    with pytest.raises(ValueError, match="negative"):
        pb.bincount(np.array([-1]))
    with pytest.raises(DTypeError, match=r"f64\[20\]"):
        pb.bincount(w)
    with pytest.raises(ShapeError, match="differ in shape"):
        pb.bincount(x, w[:3])
