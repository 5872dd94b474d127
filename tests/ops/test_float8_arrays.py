"""Arrays of 8-bit floats: what can be done with them, and how the rest is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import pullback as pb
from pullback.errors import DTypeError
from pullback.types import FLOAT8, DType

KINDS = sorted(FLOAT8, key=str)
VALUES = np.array([1.5, -2.0, 0.25, 3.0], np.float32)

each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def array(kind: DType) -> Any:
    return pb.asarray(VALUES.astype(kind))


def check(actual: Any, expected: Any, kind: DType) -> None:
    """Require an array of the kind with these numbers."""
    assert actual.dtype == kind
    np.testing.assert_array_equal(np.asarray(actual.astype("float32")), expected)


@each_kind
def test_arrays_are_made(kind: DType) -> None:
    rounded = np.array([1.1, 300.0], np.float32).astype(kind).astype(np.float32)

    check(pb.asarray([1.1, 300.0], dtype=kind), rounded, kind)
    check(pb.asarray([1.1, 300.0], dtype=kind.name), rounded, kind)
    check(pb.asarray([1, 300], dtype=kind), [1, rounded[1]], kind)
    check(pb.asarray([True, False], dtype=kind), [1, 0], kind)
    check(pb.asarray([array(kind)[0], array(kind)[1]]), VALUES[:2], kind)
    check(pb.zeros(2, dtype=kind), [0, 0], kind)
    check(pb.full((2, 2), 1.5, dtype=kind), np.full((2, 2), 1.5), kind)
    check(pb.arange(4, dtype=kind), [0, 1, 2, 3], kind)
    check(pb.ones_like(array(kind)), np.ones(4), kind)


@each_kind
def test_arrays_are_given_back(kind: DType) -> None:
    x = array(kind)

    assert np.asarray(x).dtype == kind
    assert x.tolist() == VALUES.tolist()
    assert (float(x[0]), int(x[0]), bool(x[0]), x[0].item()) == (1.5, 1, True, 1.5)
    assert np.asarray(x, np.float64).tolist() == VALUES.tolist()
    assert (x.itemsize, x.nbytes) == (1, 4)
    assert repr(x) == f"Array([1.5, -2, 0.25, 3], {pb.ArrayType((), kind)})".replace("[]", "")


@each_kind
def test_memory_is_shared_with_numpy(kind: DType) -> None:
    data = VALUES.astype(kind)

    assert np.shares_memory(np.asarray(pb.asarray(data)), data)


MOVES: dict[str, Callable[[Any], Any]] = {
    "reshape": lambda x: x.reshape((2, 2)),
    "transpose": lambda x: x.reshape((2, 2)).T,
    "index": lambda x: x[1:3],
    "strides": lambda x: x[::-2],
    "positions": lambda x: x[pb.asarray([3, 0, 0])],
    "broadcast": lambda x: pb.broadcast_to(x, (3, 4)),
    "concat": lambda x: pb.concat([x, x]),
    "stack": lambda x: pb.stack([x, x], axis=1),
    "flip": pb.flip,
    "roll": lambda x: pb.roll(x, 1),
    "tile": lambda x: pb.tile(x, (2,)),
    "repeat": lambda x: pb.repeat(x, 2),
    "pad": lambda x: pb.pad(x, ((1, 2),)),
    "take_along_axis": lambda x: pb.take_along_axis(x, pb.asarray([1, 0])),
    "where": lambda x: pb.where(x > 1, x, x[1]),
    "where_number": lambda x: pb.where(x >= 1, x, 0.5),
    "set": lambda x: x.at[1].set(7.0),
    "triangle": lambda x: pb.tril(x.reshape((2, 2))),
}


@pytest.mark.parametrize("name", MOVES)
@each_kind
def test_elements_are_moved_as_those_of_float32(name: str, kind: DType) -> None:
    move = MOVES[name]
    expected = np.asarray(move(pb.asarray(VALUES)))

    check(move(array(kind)), expected, kind)
    check(pb.jit(move)(array(kind)), expected, kind)


@each_kind
def test_bits_are_read_and_written(kind: DType) -> None:
    every = np.arange(256, dtype=np.uint8)

    x = pb.bitcast(pb.asarray(every), kind)

    assert x.dtype == kind
    np.testing.assert_array_equal(np.asarray(pb.bitcast(x, "uint8")), every)
    np.testing.assert_array_equal(np.asarray(pb.jit(lambda v: pb.bitcast(v, "uint8"))(x)), every)
    with pytest.raises(DTypeError, match="a dtype of the same width"):
        pb.bitcast(x, "uint16")


@pytest.mark.parametrize("compile", [False, True])
@each_kind
def test_every_pair_compares(kind: DType, compile: bool) -> None:
    every = np.arange(256, dtype=np.uint8).view(kind)
    x, y = np.repeat(every, 256), np.tile(every, 256)
    wide = x.astype(np.float32), y.astype(np.float32)

    def compare(x: Any, y: Any) -> Any:
        return x == y, x != y, x < y, x <= y, x > y, x >= y

    found = (pb.jit(compare) if compile else compare)(pb.asarray(x), pb.asarray(y))

    for actual, expected in zip(found, compare(*wide), strict=True):
        np.testing.assert_array_equal(np.asarray(actual), expected)


@each_kind
def test_every_value_is_classified(kind: DType) -> None:
    every = np.arange(256, dtype=np.uint8).view(kind)
    wide = every.astype(np.float32)

    for name in ("isnan", "isfinite", "isinf", "signbit"):
        expected = getattr(np, name)(wide)
        f = getattr(pb, name)
        np.testing.assert_array_equal(np.asarray(f(pb.asarray(every))), expected)
        np.testing.assert_array_equal(np.asarray(pb.jit(f)(pb.asarray(every))), expected)


@each_kind
def test_loops_and_branches_carry_them(kind: DType) -> None:
    def shift(x: Any) -> Any:
        return pb.scan(lambda last, now: (now, last), x[0], x)

    for f in (shift, pb.jit(shift)):
        last, moved = f(array(kind))
        check(last, 3.0, kind)
        check(moved, [1.5, 1.5, -2.0, 0.25], kind)
    check(pb.cond(True, lambda x: x, pb.flip, array(kind)), VALUES, kind)


ARITHMETIC: dict[str, Callable[[Any], Any]] = {
    "add": lambda x: x + x,
    "multiply": lambda x: x * 2,
    "negative": lambda x: -x,
    "matmul": lambda x: x @ x,
    "power": lambda x: x**2,
    "sum": pb.sum,
    "max": pb.max,
    "mean": pb.mean,
    "cumulative_sum": pb.cumulative_sum,
    "maximum": lambda x: pb.maximum(x, x),
    "clip": lambda x: pb.clip(x, 0, 1),
    "scatter": lambda x: x.at[0].add(1),
    "softmax": pb.nn.softmax,
}


@pytest.mark.parametrize("name", ARITHMETIC)
@pytest.mark.parametrize("compile", [False, True])
def test_arithmetic_is_refused_with_dtype_and_mend(name: str, compile: bool) -> None:
    f = ARITHMETIC[name]
    with pytest.raises(TypeError, match=r"f8e4m3fn.*([Cc]ast|x\.astype)"):
        (pb.jit(f) if compile else f)(pb.asarray(VALUES, dtype="float8_e4m3fn"))


def test_promotion_takes_numbers_and_refuses_other_floats() -> None:
    e4m3fn, e5m2 = KINDS

    for taken in (1, 1.5, True, "int64", "uint8", "bool"):
        assert pb.result_type(e4m3fn, taken) == e4m3fn
    for other in ("float16", "bfloat16", "float32", "float64", e5m2):
        with pytest.raises(DTypeError, match="no common dtype: 8-bit floats are not promoted"):
            pb.result_type(e4m3fn, other)
        assert not pb.can_cast(e4m3fn, other)
        assert not pb.can_cast(other, e4m3fn)
    assert pb.can_cast("int8", e4m3fn)
    assert pb.can_cast(e4m3fn, e4m3fn)
    assert not pb.can_cast(e4m3fn, "int32")
    with pytest.raises(DTypeError, match=r"f8e4m3fn and f32 have no common dtype.*x\.astype"):
        pb.concat([array(e4m3fn), pb.ones(2)])


@each_kind
def test_limits_are_those_of_ml_dtypes(kind: DType) -> None:
    info, expected = pb.finfo(kind), ml_dtypes.finfo(kind)

    assert info.bits == 8
    assert info.dtype == kind
    for name in ("eps", "max", "min", "smallest_normal"):
        assert getattr(info, name) == float(getattr(expected, name))
    assert pb.isdtype(kind, "real floating")
    assert not pb.isdtype(kind, "numeric")  # which is: what arithmetic is defined on
    assert kind.name not in pb.__array_namespace_info__().dtypes()  # the standard has no such


@pytest.mark.parametrize("compile", [False, True])
@each_kind
def test_cotangents_pass_conversions_and_are_rounded(kind: DType, compile: bool) -> None:
    """As in JAX: the cotangent of an array of 8 bits has 8 bits."""
    weights = pb.asarray([1.1, -0.3, 2.6, 1e-4])

    def loss(x: Any) -> Any:
        return pb.sum(x.astype(kind).astype("float32") * weights)

    gradient = pb.grad(loss)
    found = (pb.jit(gradient) if compile else gradient)(pb.asarray(VALUES))

    rounded = np.asarray(weights).astype(kind).astype(np.float32)
    np.testing.assert_array_equal(np.asarray(found), rounded)
    assert found[3] == 0.0 if kind.name == "float8_e4m3fn" else found[3] > 0.0


@each_kind
def test_tangents_pass_conversions(kind: DType) -> None:
    primal, tangent = pb.jvp(
        lambda x: x.astype(kind).astype("float32"),
        (pb.asarray(VALUES),),
        (pb.asarray([1.5, 0.0, -1.0, 4.0]),),
    )

    np.testing.assert_array_equal(np.asarray(primal), VALUES)
    np.testing.assert_array_equal(np.asarray(tangent), [1.5, 0.0, -1.0, 4.0])


@each_kind
def test_products_of_stored_weights_are_fused_with_their_conversion(kind: DType) -> None:
    """What is stored in 8 bits is multiplied in float32, bit for bit as if converted before."""
    rng = np.random.default_rng(0)
    x = pb.asarray(rng.normal(size=(33, 47)).astype(np.float32))
    stored = pb.asarray(rng.normal(size=(47, 29)).astype(kind))

    found = pb.jit(lambda x, w: x @ w.astype("float32"))(x, stored)
    expected = pb.jit(lambda x, w: x @ w)(x, stored.astype("float32"))

    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


@each_kind
def test_variables_hold_them(kind: DType) -> None:
    kept = pb.Variable(array(kind))

    @pb.jit
    def store(x: Any) -> Any:
        kept.assign(x.astype(kind))
        return kept.value.astype("float32")

    store(pb.asarray([500.0, -0.1, math.inf, 1.0]))

    with np.errstate(all="ignore"):
        expected = np.array([500.0, -0.1, math.inf, 1.0], np.float32).astype(kind)
    assert kept.dtype == kind
    assert np.asarray(kept.value).tobytes() == expected.tobytes()
