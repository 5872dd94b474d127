"""8-bit floats in passes, derivatives, sorting and the functions that refuse them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.types import FLOAT8, DType

KINDS = sorted(FLOAT8, key=str)
VALUES = np.array([1.5, -2.0, 0.25, 3.0], np.float32)

each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def test_dtypes_have_names() -> None:
    assert [pb.float8_e4m3fn, pb.float8_e5m2] == KINDS


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    **{
        name: getattr(pb, name)
        for name in ("exp", "log", "sqrt", "sin", "tanh", "floor", "round", "trunc", "reciprocal")
    },
    "power": lambda x: x**0.5,
    "copysign": lambda x: pb.copysign(x, x),
    "nextafter": lambda x: pb.nextafter(x, x),
    "sigmoid": pb.nn.sigmoid,
    "logsumexp": pb.nn.logsumexp,
    "inv": lambda x: pb.linalg.inv(x.reshape((2, 2))),
    "svd": lambda x: pb.linalg.svd(x.reshape((2, 2))),
    "uniform": lambda x: pb.random.uniform(pb.random.key(0), (2,), dtype=x.dtype),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("compile", [False, True])
def test_functions_refuse_them_with_dtype_and_mend(name: str, compile: bool) -> None:
    f = FUNCTIONS[name]
    with pytest.raises(TypeError, match=r"f8e5m2.*x\.astype"):
        (pb.jit(f) if compile else f)(pb.asarray(VALUES, dtype="float8_e5m2"))


@pytest.mark.parametrize("source", ["bool", "int8", "uint8", "int64"])
@each_kind
def test_two_conversions_are_made_one_only_where_nothing_is_lost(kind: DType, source: str) -> None:
    """Whole numbers of 8 bits are more than 8-bit floats hold."""
    x = np.arange(-128, 128).astype(source)

    def f(x: Any) -> Any:
        return x.astype(kind).astype("float32"), x.astype("float32").astype(kind).astype("int32")

    for actual, expected in zip(pb.jit(f)(pb.asarray(x)), f(pb.asarray(x)), strict=True):
        np.testing.assert_array_equal(np.asarray(actual), np.asarray(expected))


@each_kind
def test_cotangents_of_one_array_are_added(kind: DType) -> None:
    """In float32, and rounded to 8 bits: 3.6 is not among them."""

    def loss(x: Any) -> Any:
        narrow = x.astype(kind)
        return pb.sum(narrow.astype("float32") * 3.0) + pb.sum(narrow.astype("float32") * 0.6)

    parts = np.array([3.0, 0.6], np.float32).astype(kind).astype(np.float32)
    expected = np.full(4, parts.sum()).astype(kind).astype(np.float32)
    for gradient in (pb.grad(loss), pb.jit(pb.grad(loss))):
        np.testing.assert_array_equal(np.asarray(gradient(pb.asarray(VALUES))), expected)


@each_kind
def test_nan_is_sorted_last_and_found_first(kind: DType) -> None:
    x = pb.asarray([3.0, np.nan, -1.0, 0.5, np.nan, 2.0], dtype=kind)

    for sort in (pb.sort, pb.jit(pb.sort)):
        found = np.asarray(sort(x).astype("float32"))
        np.testing.assert_array_equal(found, [-1.0, 0.5, 2.0, 3.0, np.nan, np.nan])
    assert int(pb.argmax(x)) == int(pb.jit(pb.argmax)(x)) == 1
    distinct = np.asarray(pb.unique_values(x[:4]).astype("float32"))
    np.testing.assert_array_equal(distinct, [-1.0, 0.5, 3.0, np.nan])
