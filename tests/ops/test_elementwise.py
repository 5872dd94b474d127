"""Element-wise functions and operators, against array-api-strict."""

from __future__ import annotations

import operator

import array_api_strict as strict
import numpy as np
import pytest
from agreement import check, check_array
from hypothesis import given
from hypothesis import strategies as st
from strategies_ops import (
    ALL,
    FLOATING,
    INTEGER,
    NUMERIC,
    few,
    operand,
    operands,
    several,
)

import pullback as pb
from pullback.errors import DTypeError, ShapeError

UNARY = {
    **dict.fromkeys(
        (
            *("acos", "acosh", "asin", "asinh", "atan", "atanh", "cos", "cosh", "exp", "expm1"),
            *("log", "log1p", "log2", "log10", "reciprocal", "signbit", "sin", "sinh", "sqrt"),
            *("tan", "tanh"),
        ),
        FLOATING,
    ),
    **dict.fromkeys(
        (
            *("abs", "ceil", "floor", "isfinite", "isinf", "isnan", "negative", "positive"),
            *("round", "sign", "square", "trunc", "conj", "real"),
        ),
        NUMERIC,
    ),
    "bitwise_invert": ("bool", *INTEGER),
    "logical_not": ("bool",),
}
BINARY = {
    **dict.fromkeys(("atan2", "copysign", "divide", "hypot", "logaddexp", "nextafter"), FLOATING),
    **dict.fromkeys(
        (
            *("add", "subtract", "multiply", "floor_divide", "remainder", "maximum", "minimum"),
            *("less", "less_equal", "greater", "greater_equal"),
        ),
        NUMERIC,
    ),
    **dict.fromkeys(("equal", "not_equal"), ALL),
    **dict.fromkeys(("bitwise_and", "bitwise_or", "bitwise_xor"), ("bool", *INTEGER)),
    **dict.fromkeys(("logical_and", "logical_or", "logical_xor"), ("bool",)),
}
OPERATORS = {
    **dict.fromkeys(
        ("add", "sub", "mul", "floordiv", "mod", "lt", "le", "gt", "ge", "eq", "ne"), NUMERIC
    ),
    "truediv": FLOATING,
    **dict.fromkeys(("and_", "or_", "xor"), ("bool", *INTEGER)),
}


@pytest.mark.parametrize("name", sorted(UNARY))
@few
@given(data=st.data())
def test_unary_functions(name, data):
    check(name, data.draw(operand(UNARY[name])))


@pytest.mark.parametrize("name", sorted(BINARY))
@several
@given(data=st.data())
def test_binary_functions(name, data):
    check(name, *data.draw(operands(2, BINARY[name], mixed=name not in ("nextafter",))))


@few
@given(x=operand(NUMERIC, bound=10), y=st.integers(0, 5))
def test_pow_with_number(x, y):
    check("pow", x, np.asarray(y, x.dtype))


@several
@given(xs=operands(2, FLOATING, mixed=True))
def test_pow_of_floats(xs):
    check("pow", *xs)


@pytest.mark.parametrize("name", ["bitwise_left_shift", "bitwise_right_shift"])
@few
@given(data=st.data())
def test_shifts(name, data):
    x, y = data.draw(operands(2, INTEGER, bound=70))
    check(name, x, np.asarray(np.abs(y)))


@pytest.mark.parametrize("name", sorted(OPERATORS))
@few
@given(data=st.data())
def test_operators_with_arrays_and_numbers(name, data):
    """An array and an array, an array and a Python number, a number and an array."""
    function = getattr(operator, name)
    x, y = data.draw(operands(2, OPERATORS[name]))
    number = data.draw(
        {"b": st.booleans(), "f": st.sampled_from([-1.5, 0.0, 2.0])}.get(
            x.dtype.kind, st.integers(1, 3)
        )
    )
    for left, right in ((x, y), (x, number), (number, x)):
        with np.errstate(all="ignore"):
            expected = function(*(_as(strict, v) for v in (left, right)))
        found = function(*(_as(pb, v) for v in (left, right)))
        check_array(np.asarray(found), np.asarray(expected._array), ulp=4)


def _as(namespace, x):
    return namespace.asarray(x) if isinstance(x, np.ndarray) else x


def test_operators_with_numpy_arrays_give_our_arrays():
    x = pb.asarray([1.0, 2.0])
    y = np.array([1.0, 2.0], np.float32)

    for result in (x + y, y + x, y - x, y @ x, y < x):
        assert isinstance(result, pb.Array)


@several
@given(xs=operands(3, NUMERIC))
def test_clip(xs):
    x, *bounds = xs
    low, high = np.broadcast_arrays(*bounds)
    check("clip", x, np.asarray(np.fmin(low, high)), np.asarray(np.fmax(low, high)))
    check("clip", x, bounds[0])


@few
@given(x=operand(NUMERIC), low=st.integers(-300, 0), high=st.integers(1, 300))
def test_clip_by_numbers(x, low, high):
    check("clip", x, low, high)
    check("clip", x, None, high)
    check("clip", x, max=high)


def test_clip_does_not_wrap_bounds_of_wider_dtypes():
    x = np.array([-128, 5, 127], np.int8)

    found = pb.clip(x, np.array(-1000, np.int32), np.array(1000, np.int32))

    np.testing.assert_array_equal(np.asarray(found), x)
    assert found.dtype == np.int8


def test_python_numbers_are_weak():
    x = pb.asarray([1, 2], dtype=pb.int8)

    assert (x + 1).dtype == np.int8
    assert (x + 1.5).dtype == np.float32
    assert (pb.asarray([True]) + 1).dtype == np.int32
    assert pb.add(pb.asarray([1.0], dtype=pb.bfloat16), 2.5).dtype == pb.bfloat16
    assert pb.maximum(2.0, pb.asarray([1.0], dtype=pb.float16)).dtype == np.float16


@pytest.mark.parametrize("dtype", [pb.float16, pb.bfloat16])
def test_half_precision_is_kept(dtype):
    x = pb.asarray([0.5, 1.5], dtype=dtype)

    for name in ("exp", "sqrt", "tanh", "square", "floor", "negative", "erf", "rsqrt", "cbrt"):
        assert getattr(pb, name)(x).dtype == dtype, name


def test_integers_become_float32_where_the_result_is_not_whole():
    assert pb.exp(pb.asarray([1])).dtype == np.float32
    assert pb.divide(pb.asarray([1]), pb.asarray([2])).dtype == np.float32
    assert pb.sqrt(4).dtype == np.float32


@pytest.mark.parametrize(
    ("name", "numpy_name"),
    [
        *((n, n) for n in ("cbrt", "exp2", "sinc", "deg2rad", "rad2deg", "nan_to_num")),
        ("arcsin", "arcsin"),
        ("absolute", "absolute"),
        ("fix", "trunc"),
    ],
)
def test_numpy_names(name, numpy_name):
    x = np.array([-0.75, 0.0, 0.5, 1.0], np.float32)

    check_array(np.asarray(getattr(pb, name)(x)), getattr(np, numpy_name)(x), ulp=4)


def test_special_functions_agree_with_scipy():
    special = pytest.importorskip("scipy.special")
    x = np.linspace(-0.9, 0.9, 7)

    for name, theirs in (("erf", "erf"), ("erfc", "erfc"), ("erfinv", "erfinv")):
        check_array(np.asarray(getattr(pb, name)(x)), getattr(special, theirs)(x), ulp=16)
    check_array(np.asarray(pb.lgamma(x + 2)), special.gammaln(x + 2), ulp=0, atol=1e-15)
    check_array(np.asarray(pb.digamma(x + 2)), special.digamma(x + 2), ulp=0, atol=1e-14)


def test_round_to_decimals():
    x = np.array([1.2345, -2.675, 1000.5])

    np.testing.assert_allclose(np.asarray(pb.round(x, 2)), np.round(x, 2), rtol=1e-15)


def test_nan_to_num_replaces_what_is_asked():
    x = pb.asarray([np.nan, np.inf, -np.inf, 1.0])

    found = pb.nan_to_num(x, nan=5.0, posinf=6.0, neginf=7.0)

    np.testing.assert_array_equal(np.asarray(found), [5, 6, 7, 1])


def test_divmod_and_fmod():
    quotient, rest = pb.divmod(pb.asarray([7, -7]), 3)

    np.testing.assert_array_equal(np.asarray(quotient), [2, -3])
    np.testing.assert_array_equal(np.asarray(rest), [1, 2])
    np.testing.assert_array_equal(np.asarray(pb.fmod(pb.asarray([7, -7]), 3)), [1, -1])


def test_bitwise_count_and_bitcast():
    assert int(pb.bitwise_count(pb.asarray(255))) == 8
    assert int(pb.bitcast(pb.asarray(1.0), pb.int32)) == 0x3F800000


def test_errors_name_types_and_what_to_do():
    with pytest.raises(ShapeError, match=r"add: f32\[2\] and f32\[3\] do not"):
        pb.add(pb.zeros(2), pb.zeros(3))
    with pytest.raises(DTypeError, match="cast"):
        pb.clip(pb.asarray([True]), 0, 1)
    with pytest.raises(DTypeError):
        pb.bitwise_and(pb.zeros(2), pb.zeros(2))
