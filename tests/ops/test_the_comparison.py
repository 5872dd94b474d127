"""The comparison with array-api-strict is itself tried: it must find what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import DEFAULT, check, check_array, same_bits

import pullback as pb

ONES = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        (np.ones(4, np.float32), "shape"),
        (np.ones(3, np.float64), "dtype float64"),
        (np.nextafter(ONES, 2) + 5e-7, "instead of"),
        (np.full(3, np.nan, np.float32), "instead of"),
        (np.full(3, np.inf, np.float32), "instead of"),
    ],
)
def test_wrong_arrays_are_found(actual, message):
    with pytest.raises(AssertionError, match=message):
        check_array(actual.astype(actual.dtype), ONES, ulp=4)


def test_default_dtypes_are_narrower_only_where_allowed():
    found, expected = np.zeros(2, np.int32), np.zeros(2, np.int64)

    check_array(found, expected, ulp=0, dtype=DEFAULT)
    with pytest.raises(AssertionError, match="dtype"):
        check_array(found, expected, ulp=0)
    with pytest.raises(AssertionError, match="dtype"):
        check_array(np.zeros(2, np.int16), expected, ulp=0, dtype=DEFAULT)


def test_wrong_integers_are_found():
    with pytest.raises(AssertionError):
        check_array(np.array([1, 2]), np.array([1, 3]), ulp=4)


def test_traces_must_give_the_same_bits():
    assert same_bits(np.array([np.nan, 1.0]), np.array([np.nan, 1.0]))
    assert not same_bits(np.array([0.0]), np.array([-0.0]))
    assert not same_bits(np.array([1.0]), np.array([1.0 + 2**-52]))
    assert not same_bits(np.array([1]), np.array([1], np.int32))
    assert not same_bits(np.zeros(2), np.zeros(3))


def test_a_wrong_function_is_found(monkeypatch):
    monkeypatch.setattr(pb, "sin", lambda x: pb.cos(x))

    with pytest.raises(AssertionError, match="instead of"):
        check("sin", ONES)


def test_a_function_that_traces_to_something_else_is_found(monkeypatch):
    real = pb.exp

    def exp(x):
        return real(x) if isinstance(x, pb.Array) else real(x) + 1

    monkeypatch.setattr(pb, "exp", exp)
    with pytest.raises(AssertionError, match="traced"):
        check("exp", ONES)
