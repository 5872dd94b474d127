"""Elementwise primitives where the laws do not look: kinks, ties, special points, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from pullback.errors import DifferentiationError, DTypeError, ShapeError
from pullback.primitives.bitwise import And, ShiftRightArithmetic
from pullback.primitives.cast import Bitcast, Convert
from pullback.primitives.comparison import Eq
from pullback.primitives.elementwise import (
    Abs,
    Add,
    Clip,
    Copysign,
    Div,
    Floor,
    Max,
    Min,
    Rem,
    Select,
)
from pullback.primitives.special import Lgamma, Polygamma
from pullback.primitives.transcendental import Cbrt, Log, Pow, Rsqrt, Sigmoid, Sqrt, Tanh
from pullback.program.value import Array
from pullback.testing import pull_back_eagerly
from pullback.types import (
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    type_of,
    uint32,
)


def cotangents(primitive, *args, ct=1.0):
    """Return the cotangents of ``args`` for a constant cotangent of the output."""
    values = [Array(np.asarray(x)) for x in args]
    out = primitive(*values)
    seed = Array(np.full(out.shape, ct, out.dtype))
    found = pull_back_eagerly(lambda xs: (primitive(*xs),), values, [seed])
    return [None if x is None else np.asarray(x).tolist() for x in found]


def test_equal_operands_of_max_share_the_cotangent():
    x, y = np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 2.0])

    assert cotangents(Max(), x, y) == [[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]]
    assert cotangents(Min(), x, y) == [[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]


def test_nan_operand_of_max_stops_the_cotangent():
    assert cotangents(Max(), np.array([np.nan]), np.array([1.0])) == [[0.0], [0.0]]


def test_infinite_cotangent_of_max_makes_no_nan():
    found = cotangents(Max(), np.array([1.0]), np.array([2.0]), ct=np.inf)

    assert found == [[0.0], [np.inf]]


def test_abs_has_slope_zero_at_zero():
    assert cotangents(Abs(), np.array([0.0, -0.0, 2.0, -3.0])) == [[0.0, 0.0, 1.0, -1.0]]


def test_clip_passes_the_cotangent_inside_and_at_the_bounds():
    x = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])

    found = cotangents(Clip(), x, np.full(5, -1.0), np.full(5, 1.0))

    assert found[0] == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert found[1] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert found[2] == [0.0, 0.0, 0.0, 0.0, 1.0]


def test_select_gives_each_side_its_part():
    predicate = np.array([True, False])

    found = cotangents(Select(), predicate, np.ones(2), np.ones(2), ct=3.0)

    assert found == [None, [3.0, 0.0], [0.0, 3.0]]


def test_select_keeps_a_nan_of_the_other_side_away():
    found = cotangents(Select(), np.array([True]), np.array([1.0]), np.array([np.nan]))

    assert found == [None, [1.0], [0.0]]


def test_power_is_differentiable_at_zero():
    x = np.array([0.0, 0.0, 0.0])

    found = cotangents(Pow(), x, np.array([2.0, 1.0, 0.0]))

    assert found == [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_power_of_negative_bases():
    """Whole exponents have a derivative in x; in y there is none."""
    ct_x, ct_y = cotangents(Pow(), np.array([-2.0, -3.0]), np.array([3.0, 2.0]))

    assert ct_x == [12.0, -6.0]
    assert np.isnan(ct_y).all()


def test_slopes_at_the_edges_are_infinite():
    zero = np.array([0.0])

    assert cotangents(Sqrt(), zero) == [[np.inf]]
    assert cotangents(Cbrt(), zero) == [[np.inf]]
    assert cotangents(Log(), zero) == [[np.inf]]
    assert cotangents(Rsqrt(), zero) == [[-np.inf]]


def test_saturated_functions_have_slope_zero():
    x = np.array([-1000.0, 1000.0])

    assert cotangents(Tanh(), x) == [[0.0, 0.0]]
    assert cotangents(Sigmoid(), x) == [[0.0, 0.0]]


def test_copysign_flips_the_cotangent_where_signs_differ():
    found = cotangents(Copysign(), np.array([2.0, -2.0]), np.array([-1.0, -1.0]))

    assert found == [[-1.0, 1.0], None]


def test_rank_0_operand_gets_the_sum():
    found = cotangents(Add(), np.ones((2, 3)), np.asarray(1.0))

    assert found == [np.ones((2, 3)).tolist(), 6.0]


def test_functions_that_are_constant_almost_everywhere_declare_no_gradient():
    f64 = type_of(np.ones(2))

    for primitive in (Floor(), Eq()):
        assert not primitive.is_differentiable(0, f64)
        with pytest.raises(DifferentiationError, match=primitive.name):
            primitive.vjp(None, None, f64)
    assert not Convert(int32).is_differentiable(0, f64)
    assert cotangents(Convert(int32), np.ones(2)) == [None]


@pytest.mark.parametrize(("source", "target"), [(float32, float64), (float64, float32)])
def test_convert_carries_the_cotangent_back_in_the_operand_dtype(source, target):
    x = Array(np.ones(2, source))
    ct = Array(np.array([0.5, 2.0], target))

    (found,) = pull_back_eagerly(lambda xs: (Convert(target)(*xs),), [x], [ct])

    assert found is not None
    assert found.dtype == source
    assert found.tolist() == [0.5, 2.0]


def test_float_to_integer_saturates():
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1.9, 300.0, -300.0])

    assert np.asarray(Convert(int8)(x)).tolist() == [0, 127, -128, 127, -1, 127, -128]
    assert np.asarray(Convert(uint32)(x)).tolist() == [0, 2**32 - 1, 0, 2**32 - 1, 0, 300, 0]
    assert np.asarray(Convert(int64)(x)).tolist()[1:4] == [2**63 - 1, -(2**63), 2**63 - 1]


def test_integer_division_edge_cases():
    x = np.array([7, -7, 7, -128, -7], np.int8)
    y = np.array([2, 2, 0, -1, -2], np.int8)

    assert np.asarray(Div()(x, y)).tolist() == [3, -3, 0, -128, 3]
    assert np.asarray(Rem()(x, y)).tolist() == [1, -1, 0, 0, -1]


@pytest.mark.parametrize("dtype", [float16, bfloat16])
def test_16_bit_floats_are_rounded_once(dtype):
    x = np.linspace(0.1, 3.0, 50).astype(dtype)

    expected = np.log(x.astype(np.float32) * np.float32(1)).astype(dtype)

    np.testing.assert_array_equal(np.asarray(Log()(x)).astype(float), expected.astype(float))


def test_shape_mismatch_names_both_types():
    with pytest.raises(ShapeError, match=r"add .* f32\[3\] and f32\[2\]"):
        Add()(np.ones(3, np.float32), np.ones(2, np.float32))


def test_dtype_mismatch_names_both_types_and_a_way_out():
    with pytest.raises(DTypeError, match=r"f32\[3\] and f64\[3\].*astype"):
        Add()(np.ones(3, np.float32), np.ones(3))


def test_unsupported_dtype_lists_those_supported():
    with pytest.raises(DTypeError, match=r"lgamma takes f16, bf16, f32, f64, got i32\[2\]"):
        Lgamma()(np.ones(2, np.int32))
    with pytest.raises(DTypeError, match="and takes bool"):
        And()(np.ones(2), np.ones(2))
    with pytest.raises(DTypeError, match="shift_right_arithmetic takes i8, i16, i32, i64"):
        ShiftRightArithmetic()(np.ones(2, np.uint8), np.ones(2, np.uint8))


def test_wrong_number_of_operands_is_refused():
    with pytest.raises(ShapeError, match="add takes 2 operands, got 3"):
        Add()(np.ones(2), np.ones(2), np.ones(2))


def test_select_needs_a_bool_predicate():
    with pytest.raises(DTypeError, match=r"bool predicate, got i64\[2\]"):
        Select()(np.ones(2, np.int64), np.ones(2), np.ones(2))


def test_bitcast_needs_equal_widths():
    with pytest.raises(DTypeError, match=r"same width .* f32\[2\] and f64"):
        Bitcast(float64)(np.ones(2, np.float32))
    with pytest.raises(DTypeError, match="no bool"):
        Bitcast(bool_)(np.ones(2, np.int8))


def test_polygamma_refuses_negative_orders():
    with pytest.raises(ShapeError, match="n >= 0"):
        Polygamma(-1)(np.ones(2))


def test_poles_of_the_gamma_functions():
    x = np.array([0.0, -0.0, -1.0, -5.0])

    assert np.asarray(Lgamma()(x)).tolist() == [np.inf] * 4
    assert np.asarray(Polygamma(1)(x)).tolist() == [np.inf] * 4
    np.testing.assert_array_equal(np.asarray(Polygamma(0)(x)), [-np.inf, np.inf, np.nan, np.nan])
    assert np.asarray(Polygamma(2)(x)).tolist() == [-np.inf] * 4
