"""What the laws do not say of reductions, running values and sorting: kinks and errors."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from pullback.errors import DTypeError, ShapeError
from pullback.primitives.cumulative import CumLogSumExp, CumMax, CumMin, CumProd, CumSum
from pullback.primitives.dot import Dot
from pullback.primitives.reduce import (
    ArgMax,
    ReduceAnd,
    ReduceLogSumExp,
    ReduceMax,
    ReduceMin,
    ReduceProd,
    ReduceSum,
)
from pullback.primitives.sort import Sort
from pullback.program.value import Array
from pullback.types import ArrayType, bfloat16, bool_, float16, float32, float64, int32

NAN, INF = np.nan, np.inf


def gradient(primitive, x, ct, dtype=float64):
    """Return the cotangent of the only operand."""
    x = Array(np.asarray(x, dtype))
    out = primitive(x)
    (found,) = primitive.vjp(Array(np.asarray(ct, dtype)), out, x)
    assert found.type == x.type
    return np.asarray(found).astype(float)


@pytest.mark.parametrize("primitive", [ReduceMax((1,)), ReduceMin((1,))])
@pytest.mark.parametrize("dtype", [float64, float16, bfloat16])
def test_tied_extrema_share_the_cotangent_evenly(primitive, dtype):
    x = [[2, 2, 2, 2], [3, 3, 3, 3]]

    found = gradient(primitive, x, [4, 1], dtype)

    np.testing.assert_array_equal(found, [[1, 1, 1, 1], [0.25, 0.25, 0.25, 0.25]])


def test_a_thousand_ties_are_counted_in_float32():
    """In bfloat16 the count would stop at 256."""
    found = gradient(ReduceMax((0,)), np.ones(1024), 1.0, bfloat16)

    np.testing.assert_array_equal(found, np.full(1024, 2.0**-10))


def test_the_cotangent_of_a_nan_extremum_goes_to_the_nans():
    found = gradient(ReduceMax((1,)), [[1, NAN, 2, NAN], [-INF, -INF, -INF, -INF]], [2, 4])

    np.testing.assert_array_equal(found, [[0, 1, 0, 1], [1, 1, 1, 1]])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("primitive", [ReduceMax((0, 1)), ReduceMin((0, 1)), ArgMax])
def test_an_extremum_of_nothing_names_the_axis(primitive, axis):
    shape = (0, 3) if axis == 0 else (3, 0)
    primitive = ArgMax(axis, int32) if primitive is ArgMax else primitive

    with pytest.raises(ShapeError, match=f"axis {axis} has no elements"):
        primitive(np.zeros(shape))


def test_log_sum_exp_of_minus_infinities_has_no_gradient():
    found = gradient(ReduceLogSumExp((1,)), [[-INF, -INF], [-INF, 1.0], [1000, 1000]], [1, 1, 1])

    np.testing.assert_allclose(found, np.array([[0, 0], [0, 1], [0.5, 0.5]]), rtol=1e-12)


def test_running_log_sum_exp_of_minus_infinities_has_no_gradient():
    x = [-INF, -INF, 0.0, 0.0]

    forwards = gradient(CumLogSumExp(0, False), x, [1, 1, 1, 1])
    backwards = gradient(CumLogSumExp(0, True), x[::-1], [1, 1, 1, 1])

    np.testing.assert_allclose(forwards, [0, 0, 1.5, 0.5])
    np.testing.assert_allclose(backwards, forwards[::-1])


@pytest.mark.parametrize("reduction", [ReduceLogSumExp((0,)), CumLogSumExp(0, False)])
def test_second_derivatives_at_minus_infinity_are_finite(reduction):
    """The rule multiplies no zero by infinity: the derivative of a selected exponential."""
    from pullback.testing import pull_back_eagerly

    x = Array(np.array([-INF, -1000.0, 2.0]))
    ct = Array(np.ones(() if isinstance(reduction, ReduceLogSumExp) else 3))

    def first(values):
        return (pull_back_eagerly(lambda v: (reduction(v[0]),), values, [ct])[0],)

    (second,) = pull_back_eagerly(first, [x], [Array(np.array([1.0, 2.0, 3.0]))])

    assert np.isfinite(np.asarray(second)).all()
    assert np.asarray(second)[0] == 0


@pytest.mark.parametrize(
    ("x", "expected"),
    [
        ([2.0, 3.0, 5.0], [15, 10, 6]),
        ([2.0, 0.0, 5.0], [0, 10, 0]),
        ([0.0, 0.0, 5.0], [0, 0, 0]),
        ([0.0, INF, 2.0], [INF, 0, NAN]),
    ],
)
def test_the_derivative_of_a_product_is_the_product_of_the_others(x, expected):
    found = gradient(ReduceProd((0,)), x, 1.0)

    np.testing.assert_array_equal(found, expected)


def test_the_derivative_of_a_running_product_with_zeros():
    found = gradient(CumProd(0, False), [2.0, 0.0, 5.0, 0.0], [1, 1, 1, 1])

    # y = (x0, x0 x1, x0 x1 x2, x0 x1 x2 x3): by hand, one product at a time.
    np.testing.assert_array_equal(found, [1, 2 + 10, 0, 0])


RUNNING = [
    (CumMax(0, False), [1, 3, 3, 2, 3], [1, 30, 0, 0, 0]),
    (CumMax(0, True), [1, 3, 3, 2, 3], [0, 0, 0, 0, 31]),
    (CumMin(0, False), [2, 2, 1, 1, 5], [3, 0, 28, 0, 0]),
    (CumMin(0, True), [2, 2, 1, 1, 5], [0, 0, 0, 15, 16]),
    (CumMax(0, False), [1, NAN, 2, NAN, 5], [1, 30, 0, 0, 0]),
    (CumMax(0, False), [-np.inf, -np.inf, 0, 0, 0], [3, 0, 28, 0, 0]),
]


@pytest.mark.parametrize(("primitive", "x", "expected"), RUNNING, ids=range(len(RUNNING)))
def test_a_running_extremum_owes_its_cotangent_to_the_first_that_set_it(primitive, x, expected):
    found = gradient(primitive, x, [1, 2, 4, 8, 16])

    np.testing.assert_array_equal(found, expected)


def test_sorted_ties_keep_their_order_in_the_gradient():
    x, tags = Array(np.array([2.0, 1.0, 2.0, 1.0])), Array(np.arange(4))
    primitive = Sort(0, 1)
    out = primitive(x, tags)
    ct = (Array(np.array([1.0, 2.0, 4.0, 8.0])), Array(np.zeros(4, np.int64)))

    x_ct, tags_ct = primitive.vjp(ct, out, x, tags)

    assert np.asarray(out[1]).tolist() == [1, 3, 0, 2]
    assert np.asarray(x_ct).tolist() == [4, 1, 8, 2]
    assert tags_ct is None


def test_sums_of_halves_round_once():
    """2048 + 1 + 1: added in float16 the ones are lost one by one."""
    x = np.array([2048, 1, 1], np.float16)

    assert ReduceSum((0,)).evaluate(x) == 2050
    assert CumSum(0, False).evaluate(x)[-1] == 2050
    assert Dot(((0,), (0,)), ((), ())).evaluate(x, np.ones(3, np.float16)) == 2050


def test_dot_with_a_wider_result_gives_gradients_of_the_operands_dtype():
    primitive = Dot(((1,), (0,)), ((), ()), dtype=float32)
    x, y = (Array(np.ones(s, ml_dtypes.bfloat16)) for s in ((2, 3), (3, 4)))

    out = primitive(x, y)
    x_ct, y_ct = primitive.vjp(out, out, x, y)

    assert out.dtype == float32
    assert x_ct is not None
    assert y_ct is not None
    assert (x_ct.type, y_ct.type) == (x.type, y.type)
    np.testing.assert_array_equal(np.asarray(x_ct).astype(float), np.full((2, 3), 12.0))


MATRIX, VECTOR = ArrayType((2, 3), float32), ArrayType((3,), float32)

ERRORS = [
    (ReduceSum((2,)), [MATRIX], ShapeError, r"axis 2 is not an axis of f32\[2,3\]"),
    (ReduceSum((-1,)), [MATRIX], ShapeError, "axis -1"),
    (ReduceSum((0, 0)), [MATRIX], ShapeError, "given twice"),
    (ReduceSum((0,)), [MATRIX.with_dtype(bool_)], DTypeError, r"bool\[2,3\] is not defined"),
    (ReduceAnd((0,)), [MATRIX], DTypeError, "expected one of bool"),
    (ReduceLogSumExp((0,)), [MATRIX.with_dtype(int32)], DTypeError, "expected one of f16"),
    (ArgMax(0, float32), [MATRIX], DTypeError, "expected an integer dtype"),
    (CumSum(2, False), [MATRIX], ShapeError, "axis 2"),
    (CumLogSumExp(0, False), [MATRIX.with_dtype(int32)], DTypeError, "not defined"),
    (Sort(0, 2), [MATRIX], ShapeError, "2 keys of 1 operands"),
    (Sort(0, 1), [MATRIX, VECTOR], ShapeError, "one shape"),
    (Sort(5, 1), [MATRIX], ShapeError, "axis 5"),
    (Dot(((1,), (0,)), ((), ())), [MATRIX, MATRIX], ShapeError, "the contract axes"),
    (Dot(((), ()), ((0,), (0,))), [MATRIX, VECTOR], ShapeError, "the batch axes"),
    (Dot(((1,), (1,)), ((), ())), [MATRIX, VECTOR], ShapeError, "axis 1"),
    (Dot(((0,), (0,)), ((0,), (1,))), [MATRIX, MATRIX], ShapeError, "given twice"),
    (Dot(((), ()), ((), ())), [MATRIX, VECTOR.with_dtype(int32)], DTypeError, "differ"),
    (Dot(((), ()), ((), ()), int32), [MATRIX, MATRIX], DTypeError, "cannot hold"),
    (Dot(((), ()), ((), ()), float16), [MATRIX, MATRIX], DTypeError, "cannot hold"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors_name_what_was_expected(number):
    primitive, types, error, message = ERRORS[number]

    with pytest.raises(error, match=message):
        primitive.infer(*types)
