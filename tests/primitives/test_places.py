"""What the laws do not say of gather, scatter and dynamic slices: gradients where updates meet."""

from __future__ import annotations

import numpy as np
import pytest

from pullback.errors import DTypeError, ShapeError
from pullback.primitives.indexing import DynamicSlice, DynamicUpdateSlice, Gather
from pullback.primitives.scatter import Scatter
from pullback.program.value import Array
from pullback.testing import pull_back_eagerly
from pullback.types import ArrayType, bool_, float32, int32

NAN = np.nan
ROWS = np.array([[1], [3], [1], [-1], [4], [1]], np.int32)
UPDATES = np.array([10.0, 20.0, 30.0, 40.0, 50.0, 60.0])
X = np.array([1.0, 2.0, 3.0, 4.0])


def scatter_gradients(kind, x, updates, ct, indices=ROWS):
    primitive = Scatter((0,), 0, kind)
    operands = [Array(np.asarray(a)) for a in (x, indices, updates)]
    out = primitive(*operands)
    x_ct, indices_ct, updates_ct = primitive.vjp(Array(np.asarray(ct)), out, *operands)
    assert indices_ct is None
    return np.asarray(x_ct), np.asarray(updates_ct)


CT = np.array([1.0, 2.0, 4.0, 8.0])


def test_only_the_last_update_to_a_place_gets_its_cotangent():
    x_ct, updates_ct = scatter_gradients("set", X, UPDATES, CT)

    np.testing.assert_array_equal(x_ct, [1, 0, 4, 0])
    np.testing.assert_array_equal(updates_ct, [0, 8, 0, 0, 0, 2])


def test_every_added_update_gets_the_cotangent_of_its_place():
    x_ct, updates_ct = scatter_gradients("add", X, UPDATES, CT)

    np.testing.assert_array_equal(x_ct, CT)
    np.testing.assert_array_equal(updates_ct, [2, 8, 2, 0, 0, 2])


@pytest.mark.parametrize(
    ("x", "updates"),
    [
        (X, UPDATES),
        (X, [0.0, 20, 30, 40, 50, 60]),
        (X, [0.0, 20, 30, 40, 50, 0.0]),
        (X, [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]),
        ([1.0, 0.0, 3.0, 0.0], [10.0, 20, 0.0, 40, 50, 60]),
        ([1.0, 0.0, 3.0, 0.0], UPDATES),
    ],
)
def test_a_factor_gets_the_product_of_all_others(x, updates):
    """By hand: place 1 is x1 u0 u2 u5, place 3 is x3 u1."""
    u = np.asarray(updates)

    x_ct, updates_ct = scatter_gradients("mul", x, u, CT)

    np.testing.assert_array_equal(x_ct, [1, 2 * u[0] * u[2] * u[5], 4, 8 * u[1]])
    np.testing.assert_array_equal(
        updates_ct,
        [2 * x[1] * u[2] * u[5], 8 * x[3], 2 * x[1] * u[0] * u[5], 0, 0, 2 * x[1] * u[0] * u[2]],
    )


def test_factors_that_do_not_meet_are_right_at_zero():
    x_ct, updates_ct = scatter_gradients(
        "mul", [0.0, 2.0], [0.0, 0.0], [1.0, 1.0], np.array([[1], [0]], np.int32)
    )

    np.testing.assert_array_equal(x_ct, [0, 0])
    np.testing.assert_array_equal(updates_ct, [2, 0])


@pytest.mark.parametrize("kind", ["max", "min"])
def test_tied_extrema_share_the_cotangent_evenly(kind):
    sign = 1.0 if kind == "max" else -1.0
    x = sign * np.array([1.0, 7.0, 3.0, 4.0])
    updates = sign * np.array([7.0, 4.0, 7.0, 99.0, 99.0, 5.0])

    x_ct, updates_ct = scatter_gradients(kind, x, updates, [1.0, 3.0, 4.0, 8.0])

    np.testing.assert_array_equal(x_ct, [1, 1, 4, 4])
    np.testing.assert_array_equal(updates_ct, [1, 4, 1, 0, 0, 0])


def test_the_cotangent_of_a_nan_extremum_goes_to_the_nans():
    x_ct, updates_ct = scatter_gradients("max", X, [NAN, 9, 1, NAN, NAN, NAN], CT)

    np.testing.assert_array_equal(x_ct, [1, 0, 4, 0])
    np.testing.assert_array_equal(updates_ct, [1, 8, 0, 0, 0, 1])


def test_updates_apply_in_order_and_round_each_time():
    """2048 + 1 + 1 in float16 stays 2048: a scatter adds where it lies."""
    x = np.array([2048.0], np.float16)
    ones = np.ones(2, np.float16)

    found = Scatter((0,), 0, "add").evaluate(x, np.zeros((2, 1), np.int32), ones)

    assert found == 2048


def test_the_last_update_wins_also_among_strided_indices():
    """NumPy may walk an index array backwards in memory; the order is that of the array."""
    indices = np.zeros((5, 1), np.int32)[::-1]
    updates = np.arange(5.0)[::-1]

    found = Scatter((0,), 0, "set").evaluate(np.zeros(1), indices, updates)

    assert found == 0.0


@pytest.mark.parametrize(("mode", "expected"), [("clip", [1, 2, 0, 12]), ("fill", [0, 2, 0, 8])])
def test_places_outside_get_cotangents_only_where_they_were_read(mode, expected):
    x = Array(X)
    indices = Array(np.array([[-1], [1], [3], [9]], np.int32))
    gather = Gather((0,), 0, mode)

    (ct,) = pull_back_eagerly(lambda v: (gather(v[0], indices),), [x], [Array(CT[[0, 1, 3, 2]])])

    np.testing.assert_array_equal(np.asarray(ct), expected)


def test_fill_reads_nan_or_zero_outside():
    indices = np.array([[-1], [0]], np.int64)

    floats = Gather((0,), 0, "fill").evaluate(X, indices)
    integers = Gather((0,), 0, "fill").evaluate(np.array([5, 6]), indices)

    np.testing.assert_array_equal(floats, [NAN, 1])
    np.testing.assert_array_equal(integers, [0, 5])


MATRIX = ArrayType((2, 3), float32)
SCALAR = ArrayType((), int32)


def indices(*shape):
    return ArrayType(shape, int32)


ERRORS = [
    (Gather((0,), 0, "wrap"), [MATRIX, indices(4, 1)], ShapeError, "expected 'clip' or 'fill'"),
    (Gather((0,), 0, "clip"), [MATRIX, MATRIX], DTypeError, "expected an integer dtype"),
    (Gather((0,), 0, "clip"), [MATRIX, indices(4, 2)], ShapeError, "a last axis of length 1"),
    (Gather((0,), 0, "clip"), [MATRIX, SCALAR], ShapeError, "a last axis of length 1"),
    (Gather((2,), 0, "clip"), [MATRIX, indices(4, 1)], ShapeError, "axis 2"),
    (Gather((0, 0), 0, "clip"), [MATRIX, indices(4, 2)], ShapeError, "given twice"),
    (Gather((0,), 1, "clip"), [MATRIX, indices(2, 1)], ShapeError, "behind its 1 batch axes"),
    (Gather((1,), 1, "clip"), [MATRIX, indices(3, 1)], ShapeError, "batch axes of f32"),
    (Gather((0,), 0, "clip"), [ArrayType((0,), float32), indices(4, 1)], ShapeError, "no elements"),
    (Scatter((0,), 0, "mean"), [MATRIX, indices(4, 1), MATRIX], ShapeError, "expected 'set'"),
    (
        Scatter((0,), 0, "add"),
        [MATRIX, indices(4, 1), MATRIX],
        ShapeError,
        r"updates f32\[2,3\]; expected f32\[4,3\]",
    ),
    (
        Scatter((0,), 0, "set"),
        [MATRIX, indices(4, 1), indices(4, 3)],
        DTypeError,
        "dtypes differ",
    ),
    (
        Scatter((0,), 0, "add"),
        [MATRIX.with_dtype(bool_), indices(2, 1), MATRIX.with_dtype(bool_)],
        DTypeError,
        "scatter add",
    ),
    (DynamicSlice((3, 3)), [MATRIX, SCALAR, SCALAR], ShapeError, "does not lie inside"),
    (DynamicSlice((1,)), [MATRIX, SCALAR, SCALAR], ShapeError, "does not lie inside"),
    (DynamicSlice((1, 1)), [MATRIX, SCALAR], ShapeError, "one integer without axes for each axis"),
    (DynamicSlice((1, 1)), [MATRIX, SCALAR, indices(1)], ShapeError, "one integer without axes"),
    (
        DynamicUpdateSlice(),
        [MATRIX, MATRIX.with_dtype(int32), SCALAR, SCALAR],
        DTypeError,
        "differ in dtype",
    ),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors_name_what_was_expected(number):
    primitive, types, error, message = ERRORS[number]

    with pytest.raises(error, match=message):
        primitive.infer(*types)
