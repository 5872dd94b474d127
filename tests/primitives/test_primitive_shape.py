"""Layout primitives: refusals, and how reshapes are split into groups of axes."""

from __future__ import annotations

import numpy as np
import pytest

from pullback.errors import DTypeError, ShapeError
from pullback.primitives.shape import (
    Broadcast,
    Concatenate,
    Iota,
    Pad,
    Reshape,
    Reverse,
    Slice,
    Transpose,
    reshape_groups,
)
from pullback.program.value import Array
from pullback.testing import pull_back_eagerly
from pullback.types import bool_, int32

X = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("primitive", "message"),
    [
        (Broadcast((4, 2, 3), ()), "expected 1 different new axes"),
        (Broadcast((4, 2, 3), (3,)), "each in the new shape"),
        (Broadcast((4, 5, 3), (0,)), "length 2 cannot become 5"),
        (Broadcast((-1, 2, 3), (0,)), "a length is negative"),
        (Reshape((4, 2)), "6 elements do not fill 8"),
        (Reshape((-1, 6)), "negative"),
        (Transpose((0, 0)), "not a permutation of its 2 axes"),
        (Transpose((1,)), "not a permutation"),
        (Reverse((2,)), r"expected different axes in 0..1"),
        (Reverse((0, 0)), "different axes"),
        (Slice((0,), (2,), (1,)), "one start, stop and stride for each of 2 axes"),
        (Slice((0, 0), (2, 4), (1, 1)), "0 <= start <= stop <= length"),
        (Slice((0, 0), (2, 3), (1, 0)), "positive stride"),
        (Concatenate(2), r"along axis 2: expected 0..1"),
    ],
    ids=lambda x: x if isinstance(x, str) else x.name,
)
def test_wrong_parameters_are_refused_with_the_type(primitive, message):
    with pytest.raises(ShapeError, match=message) as error:
        primitive(X)

    assert "f64[2,3]" in str(error.value) or primitive.name in str(error.value)


@pytest.mark.parametrize(
    ("low", "high", "interior", "message"),
    [
        ((0,), (0, 0), (0, 0), "expected one of each for 2 axes"),
        ((0, 0), (0, 0), (0, -1), "must not be negative"),
        ((-1, 0), (-2, 0), (0, 0), "cuts off more than there is"),
    ],
)
def test_wrong_padding_is_refused(low, high, interior, message):
    with pytest.raises(ShapeError, match=message):
        Pad(low, high, interior)(X, 0.0 + np.zeros(()))


def test_padding_value_must_be_a_scalar_of_the_dtype():
    with pytest.raises(ShapeError, match="rank 0"):
        Pad((0, 0), (0, 0), (0, 0))(X, np.zeros(1))
    with pytest.raises(DTypeError, match="one dtype"):
        Pad((0, 0), (0, 0), (0, 0))(X, np.zeros((), np.float32))


def test_concatenate_needs_equal_lengths_elsewhere():
    with pytest.raises(ShapeError, match=r"f64\[2,3\] and f64\[2,2\]"):
        Concatenate(0)(X, X[:, :2])
    with pytest.raises(ShapeError, match="at least one"):
        Concatenate(0)()


def test_iota_needs_a_numeric_dtype_and_an_axis():
    with pytest.raises(DTypeError, match="numeric"):
        Iota((3,), bool_, 0)()
    with pytest.raises(ShapeError, match="axis"):
        Iota((), int32, 0)()


def test_cotangent_of_the_padding_value_is_exact():
    """Not the difference of two sums, in which a large inner cotangent would hide it."""
    pad = Pad((1,), (0,), (0,))
    x, value = Array(np.ones(2)), Array(np.asarray(0.0))
    ct = Array(np.array([1.0, 1e30, -np.inf]))

    ct_x, ct_value = pull_back_eagerly(lambda xs: (pad(*xs),), [x, value], [ct])

    assert ct_x is not None
    assert ct_value is not None
    assert ct_x.tolist() == [1e30, -np.inf]
    assert ct_value.item() == 1.0


@pytest.mark.parametrize(
    ("source", "target", "groups"),
    [
        ((4, 6), (2, 2, 6), [((0,), (0, 1)), ((1,), (2,))]),
        ((2, 3, 5), (6, 5), [((0, 1), (0,)), ((2,), (1,))]),
        ((2, 3), (3, 2), [((0, 1), (0, 1))]),
        ((1, 4, 1), (4,), [((1,), (0,))]),
        ((), (1, 1), []),
    ],
    ids=str,
)
def test_reshape_groups_are_the_smallest(source, target, groups):
    assert reshape_groups(source, target) == groups
