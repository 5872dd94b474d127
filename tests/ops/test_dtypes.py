"""Data type functions and broadcasting, against array-api-strict."""

from __future__ import annotations

import itertools

import array_api_strict as strict
import numpy as np
import pytest
from agreement import check, check_array, traced
from hypothesis import given
from hypothesis import strategies as st
from strategies_ops import ALL, FLOATING, INTEGER, few, operand, operands, several

import pullback as pb
from pullback.errors import DTypeError, ShapeError
from pullback.program.parser import parse_program
from pullback.types import SHORT_NAMES


@several
@given(x=operand(ALL, finite=True, bound=100), dtype=st.sampled_from(ALL))
def test_astype(x, dtype):
    if np.dtype(dtype).kind == "u":
        x = np.abs(x.astype(np.float64)).astype(x.dtype)

    found = pb.astype(pb.asarray(x), getattr(pb, dtype))

    expected = strict.astype(strict.asarray(x), getattr(strict, dtype))
    check_array(np.asarray(found), np.asarray(expected._array), ulp=0)


def test_astype_saturates_where_the_standard_leaves_it_open():
    x = pb.asarray([300.0, -1.0, float("nan"), float("inf")])

    np.testing.assert_array_equal(np.asarray(x.astype(pb.uint8)), [255, 0, 0, 255])


@few
@given(xs=operands(3, ALL))
def test_broadcast_arrays(xs):
    check("broadcast_arrays", *xs)


@few
@given(xs=operands(2, ALL))
def test_broadcast_to(xs):
    x, y = xs
    check("broadcast_to", x, np.broadcast_shapes(x.shape, y.shape))


def test_broadcast_shapes():
    assert pb.broadcast_shapes((3, 1), 4, (1, 1, 1)) == (1, 3, 4)
    assert pb.broadcast_shapes() == ()
    with pytest.raises(ShapeError, match="lengths 3 and 4"):
        pb.broadcast_shapes((3,), (4,))
    with pytest.raises(ShapeError, match=r"f32\[3\] to \(4,\)"):
        pb.broadcast_to(pb.zeros(3), (4,))
    with pytest.raises(ShapeError, match="aligned"):
        pb.broadcast_to(pb.zeros((2, 3)), (3,))


def of_one_kind(a, b):
    kinds = {np.dtype(d).kind for d in (a, b)}
    return len(kinds) == 1 or (kinds == {"i", "u"} and "uint64" not in (a, b))


@pytest.mark.parametrize(("a", "b"), list(itertools.product(ALL, ALL)))
def test_result_type_and_can_cast(a, b):
    """All pairs that the standard defines: those of one kind, and signed with unsigned."""
    if not of_one_kind(a, b):
        return
    expected = strict.result_type(getattr(strict, a), getattr(strict, b))

    found = pb.result_type(getattr(pb, a), getattr(pb, b))

    assert found.name == expected._np_dtype.name
    assert pb.result_type(pb.zeros(2, dtype=a), getattr(pb, b)) == found
    assert pb.can_cast(getattr(pb, a), getattr(pb, b)) == strict.can_cast(
        getattr(strict, a), getattr(strict, b)
    )


def test_result_type_of_numbers():
    assert pb.result_type(pb.int8, 1) == np.int8
    assert pb.result_type(pb.float16, 1.5) == np.float16
    assert pb.result_type(pb.float16, pb.bfloat16) == np.float32
    assert pb.result_type(pb.int64, pb.float32) == np.float32
    assert pb.result_type(1, 2.0) == np.float32
    with pytest.raises(ValueError, match="at least one"):
        pb.result_type()


@pytest.mark.parametrize(
    ("name", "readings"),
    [("i8", "int8 .* int64"), ("u8", "uint8 .* uint64"), ("f16", "float16 .*")],
)
def test_names_that_mean_another_width_in_numpy_are_refused(name, readings):
    ones = pb.ones(2)
    for use in (
        lambda: pb.zeros(2, dtype=name),
        lambda: pb.asarray([1], dtype=name),
        lambda: ones.astype(name),
        lambda: pb.Variable(1, dtype=name),
        lambda: pb.jit(lambda x: pb.astype(x, name))(ones),
    ):
        with pytest.raises(DTypeError, match=f"'{name}' is ambiguous: {readings} in NumPy; write"):
            use()


def test_every_name_of_a_dtype_has_one_reading():
    """A string is taken as NumPy takes it, or NumPy does not know it, or it is refused."""
    for dtype, name in SHORT_NAMES.items():
        try:
            numpys = np.dtype(name)
        except TypeError:
            assert pb.zeros(1, dtype=name).dtype == dtype
        else:
            if numpys == dtype:
                assert pb.zeros(1, dtype=name).dtype == dtype
            else:
                with pytest.raises(DTypeError, match="ambiguous"):
                    pb.zeros(1, dtype=name)


def test_printed_types_are_still_read():
    text = str(pb.make_program(lambda x: x + x)(pb.ArrayType((3,), pb.int8)))

    assert "i8[3]" in text
    assert parse_program(text).input_types == (pb.ArrayType((3,), pb.int8),)


KINDS = ("bool", "signed integer", "unsigned integer", "integral", "real floating", "numeric")


@pytest.mark.parametrize("dtype", ALL)
def test_isdtype(dtype):
    ours, theirs = getattr(pb, dtype), getattr(strict, dtype)
    for kind in (*KINDS, "complex floating", KINDS[:2], (KINDS[4], KINDS[0])):
        assert pb.isdtype(ours, kind) == strict.isdtype(theirs, kind)
    for other in ALL:
        expected = strict.isdtype(theirs, getattr(strict, other))
        assert pb.isdtype(ours, getattr(pb, other)) == expected
    with pytest.raises(ValueError, match="no kind 'floats'"):
        pb.isdtype(ours, "floats")


@pytest.mark.parametrize("dtype", FLOATING)
def test_finfo(dtype):
    found, expected = pb.finfo(getattr(pb, dtype)), strict.finfo(getattr(strict, dtype))

    for name in ("bits", "eps", "max", "min", "smallest_normal"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.dtype == pb.finfo(pb.zeros(1, dtype=dtype)).dtype == np.dtype(dtype)
    assert isinstance(found.eps, float)


@pytest.mark.parametrize("dtype", INTEGER)
def test_iinfo(dtype):
    found, expected = pb.iinfo(getattr(pb, dtype)), strict.iinfo(getattr(strict, dtype))

    assert (found.bits, found.max, found.min) == (expected.bits, expected.max, expected.min)
    assert found.dtype == pb.iinfo(pb.zeros(1, dtype=dtype)).dtype == np.dtype(dtype)


def test_limits_of_bfloat16_and_refusals():
    assert pb.finfo(pb.bfloat16).eps == 2.0**-7
    with pytest.raises(DTypeError, match="finfo takes a floating dtype"):
        pb.finfo(pb.int8)
    with pytest.raises(DTypeError, match="iinfo takes an integer dtype"):
        pb.iinfo(pb.float32)


def test_a_cast_number_is_no_longer_weak():
    """Also where the dtype stays: the user has named it."""

    def function(x):
        return pb.astype(pb.asarray(2.0), pb.float32) * x, pb.asarray(2) * x

    x = np.ones(2, np.float16)

    for a, b in (function(pb.asarray(x)), traced(function, (x,), {})):
        assert a.dtype == np.float32
        assert b.dtype == np.float16
