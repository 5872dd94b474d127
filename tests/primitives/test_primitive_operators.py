"""Operators on values: promotion, weak scalars, broadcasting, Python's division, powers."""

from __future__ import annotations

import itertools
import math

import ml_dtypes
import numpy as np
import pytest

import pullback.primitives  # noqa: F401  (installs the operators)
from pullback.api import vjp
from pullback.errors import DTypeError, ShapeError
from pullback.primitives import operators
from pullback.primitives.elementwise import Mul
from pullback.primitives.transcendental import Pow, Sqrt
from pullback.program.builder import Builder
from pullback.program.core import Literal
from pullback.program.value import METHODS, Array
from pullback.testing import check_vjp
from pullback.types import (
    NUMERIC,
    SHORT_NAMES,
    ArrayType,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    promote_types,
    uint8,
    uint64,
)

NUMBERS = [d for d in SHORT_NAMES if d in NUMERIC]


def array(values, dtype=float32) -> Array:
    return Array(np.asarray(values, dtype))


def equations(f, *types):
    """Return the names of the primitives that ``f`` records."""
    with Builder() as b:
        out = f(*(b.input(t) for t in types))
    return [eqn.primitive.name for eqn in b.finish([out]).equations]


F32 = ArrayType((3,), float32)


def test_every_operator_name_is_installed():
    assert METHODS.items() >= {k: METHODS[k] for k in operators.OPERATORS}.items()


@pytest.mark.parametrize("x", NUMBERS, ids=str)
@pytest.mark.parametrize("y", NUMBERS, ids=str)
def test_dtypes_promote_by_the_table(x, y):
    assert operators.add(array([1, 2], x), array([3, 4], y)).dtype == promote_types(x, y)


def test_rank_0_arrays_promote_like_others():
    assert operators.add(array([1.0], float32), array(1.0, float64)).dtype == float64
    assert operators.add(array([1], int8), np.int64(1)).dtype == int64


@pytest.mark.parametrize(
    ("dtype", "scalar", "expected"),
    [
        (float16, 1.5, float16),
        (bfloat16, 2, bfloat16),
        (float64, True, float64),
        (int8, 1, int8),
        (int8, True, int8),
        (int8, 1.5, float32),
        (int64, 1.5, float32),
        (uint64, 1, uint64),
        (bool_, 1, int32),
        (bool_, 1.0, float32),
    ],
)
def test_python_scalars_are_weak(dtype, scalar, expected):
    assert operators.add(array([1], dtype), scalar).dtype == expected
    assert operators.add(scalar, array([1], dtype)).dtype == expected


def test_values_of_python_scalars_stay_weak():
    weak = operators.multiply(2, 1.5)
    negated = -weak

    assert weak.weak
    assert negated.weak
    assert (negated + 1).weak
    assert operators.add(array([1], float16), negated).dtype == float16
    assert not (weak + array([1.0])).weak
    assert not (weak < 2).weak


def test_large_python_integers_take_the_other_dtype():
    x = array([0], int64) + 2**40

    assert x.item() == 2**40
    with pytest.raises(OverflowError):
        array([0], uint8) + 300


def test_shapes_broadcast_like_numpy():
    shapes = [(), (1,), (3,), (2, 1), (2, 3), (4, 1, 3), (0, 3), (1, 0)]
    for s, t in itertools.product(shapes, shapes):
        x, y = np.ones(s, np.float32), np.ones(t, np.float32)
        try:
            expected = (x + y).shape
        except ValueError:
            with pytest.raises(ShapeError, match="do not broadcast"):
                array(x) + array(y)
            continue
        assert (array(x) + array(y)).shape == expected


def test_scalar_operand_is_a_literal_of_one_equation():
    """``x * 2.0`` needs no broadcast and no conversion."""
    with Builder() as b:
        y = b.input(F32) * 2.0
    (eqn,) = b.finish([y]).equations

    assert eqn.primitive == Mul()
    assert eqn.inputs[1] == Literal(np.float32(2.0))


def test_numpy_arrays_are_operands_on_either_side():
    x = array([1.0, 2.0])

    assert np.asarray(np.array([1.0, 1.0], np.float32) + x).tolist() == [2.0, 3.0]
    assert np.asarray(x - np.float32(1)).tolist() == [0.0, 1.0]


def test_other_objects_are_refused():
    with pytest.raises(TypeError):
        array([1.0]) + "1"
    assert (array([1.0]) == None) is False  # noqa: E711


def test_arithmetic_on_booleans_is_refused():
    with pytest.raises(DTypeError, match="add takes i8"):
        array([True], bool_) + array([True], bool_)


def test_division_of_integers_is_floating():
    x = array([7, -7], int32) / array([2, 2], int32)

    assert x.dtype == float32
    assert x.tolist() == [3.5, -3.5]


INTEGERS = [*range(-9, 10), 127, -128]


def test_integer_floor_division_and_remainder_are_those_of_python():
    pairs = [(x, y) for x, y in itertools.product(INTEGERS, INTEGERS) if y]
    x, y = (array(column, int8) for column in zip(*pairs, strict=True))

    wrapped = [(a // b + 128) % 256 - 128 for a, b in pairs]
    assert (x // y).tolist() == wrapped
    assert (x % y).tolist() == [a % b for a, b in pairs]
    assert (x // 0).tolist() == [0] * len(pairs)
    assert (x % 0).tolist() == [0] * len(pairs)


def test_unsigned_floor_division_and_remainder():
    x = array([0, 7, 255], uint8)

    assert (x // 2).tolist() == [0, 3, 127]
    assert (x % 4).tolist() == [0, 3, 3]


FLOATS = [0.0, 1.0, 2.5, 7.0, 0.1, 1e30, math.inf]


def test_floating_remainder_is_that_of_python():
    values = FLOATS + [-x for x in FLOATS]
    pairs = [(x, y) for x, y in itertools.product(values, values) if y and math.isfinite(x)]
    x, y = (array(column, float64) for column in zip(*pairs, strict=True))

    expected = [a % b for a, b in pairs]
    assert (x % y).tolist() == expected
    assert np.signbit(np.asarray(x % y)).tolist() == np.signbit(expected).tolist()


def test_floating_floor_division_is_that_of_python():
    values = FLOATS + [-x for x in FLOATS]
    pairs = [(x, y) for x, y in itertools.product(values, values) if y and math.isfinite(x)]
    x, y = (array(column, float64) for column in zip(*pairs, strict=True))

    expected = [a // b for a, b in pairs]
    np.testing.assert_array_equal(np.asarray(x // y), expected)
    assert np.signbit(np.asarray(x // y)).tolist() == np.signbit(expected).tolist()


def test_floating_division_by_zero_follows_the_standard():
    x = array([1.0, -1.0, 0.0], float64)

    np.testing.assert_array_equal(np.asarray(x // 0.0), [np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(np.asarray(x % 0.0), [np.nan] * 3)


@pytest.mark.parametrize("dtype", [float32, float64, float16, bfloat16])
@pytest.mark.parametrize("y", [1, 2, 3, 4, 2.0, -1, 0.5, -0.5, 0, 5, 1.5, -2])
def test_power_of_a_python_scalar(dtype, y):
    x = np.array([0.5, 1.0, 3.0, 7.5]).astype(dtype)

    actual = np.asarray(array(x, dtype) ** y)

    assert actual.dtype == dtype
    eps = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(actual.astype(float), x.astype(float) ** y, rtol=3 * eps)


def test_small_powers_are_products():
    assert equations(lambda x: x**2, F32) == ["mul"]
    assert equations(lambda x: x**3, F32) == ["mul", "mul"]
    assert equations(lambda x: x**4.0, F32) == ["mul", "mul"]
    assert equations(lambda x: x**0.5, F32) == [Sqrt.name]
    assert equations(lambda x: x**-1, F32) == ["div"]
    assert equations(lambda x: x**7, F32) == [Pow.name]


def test_integer_powers():
    x = array([-3, 0, 1, 2], int32)

    assert (x**2).tolist() == [9, 0, 1, 4]
    assert (x**5).tolist() == [-243, 0, 1, 32]
    assert (x**-1).tolist() == [0, 0, 1, 0]
    assert (x**0.5).dtype == float32
    assert (2**x).tolist() == [0, 1, 2, 4]


def test_power_and_abs_of_weak_values_stay_weak():
    weak = operators.add(1.0, 1.0)

    assert (weak**2).weak
    assert abs(weak).weak
    assert (+weak).weak


def test_where_promotes_and_broadcasts():
    out = operators.where(array([True, False], bool_), array([[1], [2]], int32), 0.5)

    assert out.dtype == float32
    assert out.tolist() == [[1.0, 0.5], [2.0, 0.5]]


def test_right_shift_depends_on_the_sign():
    assert (array([-8], int8) >> 1).tolist() == [-4]
    assert (array([248], uint8) >> 1).tolist() == [124]
    assert (array([1], int8) << 9).tolist() == [0]


def test_comparisons_and_logic():
    x, y = array([1.0, 2.0, np.nan]), array([2.0, 2.0, np.nan])

    assert (x < y).tolist() == [True, False, False]
    assert (x != y).tolist() == [True, False, True]
    assert ((x < y) | (x == y)).tolist() == [True, True, False]
    assert (~(x < y)).tolist() == [False, True, True]
    assert (array([5], int8) & 4).tolist() == [4]
    assert (array([5], int8) ^ 1).tolist() == [4]


def test_rounding_leaves_integers_alone():
    assert operators.round_(array([3], int32)).dtype == int32
    assert operators.round_(array([2.5, 3.5])).tolist() == [2.0, 4.0]


def test_gradients_of_remainder_and_floor_division():
    x, y = np.array([5.5, -5.5, 2.5]), np.array([2.0, 1.5, -2.0])

    check_vjp(operators.remainder, x, y)
    check_vjp(operators.floor_divide, x, y)


def test_remainder_has_slope_one_where_it_is_zero():
    found = vjp(lambda x: x % 3.0, array([6.0, -6.0], float64))[1](array([1.0, 1.0], float64))

    assert found[0].tolist() == [1.0, 1.0]


def test_floor_division_lets_no_nan_into_a_gradient():
    x, y = array([1.0, np.inf, 0.0], float64), array([0.0, 2.0, 0.0], float64)

    found = vjp(operators.floor_divide, x, y)[1](array([1.0, 1.0, 1.0], float64))

    assert [ct.tolist() for ct in found] == [[0.0] * 3, [0.0] * 3]
