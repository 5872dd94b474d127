"""Creation and conversion, against array-api-strict and NumPy."""

from __future__ import annotations

import array
import enum

import array_api_strict as strict
import ml_dtypes
import numpy as np
import pytest
from agreement import DEFAULT, check, check_array, in_strict, traced
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies_ops import ALL, FLOATING, NUMERIC, SHAPES, few, operand, several

import pullback as pb
from pullback.errors import DTypeError, ShapeError, TracerIntegerError

#: The dtypes that numbers get without a ``dtype``: 64 bits wide in strict, 32 here.
DTYPES = st.sampled_from([None, *ALL])


def check_created(name, *args, dtype=None, ulp=0.0, **kwargs):
    """Compare a function that takes no array; a trace of it computes the same."""
    ours = {} if dtype is None else {"dtype": getattr(pb, dtype)}
    theirs = {} if dtype is None else {"dtype": getattr(strict, dtype)}
    found = getattr(pb, name)(*args, **ours, **kwargs)
    (expected,) = in_strict(name, args, {**theirs, **kwargs})
    check_array(np.asarray(found), expected, ulp=ulp, dtype=DEFAULT)
    (again,) = traced(getattr(pb, name), args, {**ours, **kwargs})
    np.testing.assert_array_equal(again, np.asarray(found))


@pytest.mark.parametrize("name", ["zeros", "ones"])
@few
@given(shape=SHAPES | st.integers(0, 3), dtype=DTYPES)
def test_zeros_and_ones(name, shape, dtype):
    check_created(name, shape, dtype=dtype)


@few
@given(shape=SHAPES | st.integers(0, 3), dtype=DTYPES)
def test_empty(shape, dtype):
    """Its elements do not matter, but must be the same in every run."""
    found = pb.empty(shape, dtype=dtype)

    (expected,) = in_strict("empty", (shape,), {"dtype": dtype and getattr(strict, dtype)})
    assert found.shape == expected.shape
    assert dtype is None or found.dtype == expected.dtype
    np.testing.assert_array_equal(np.asarray(found), 0)


@few
@given(shape=SHAPES, value=st.sampled_from([True, 3, -2, 1.5, float("inf"), float("nan")]))
def test_full(shape, value):
    check_created("full", shape, value)


@few
@given(x=operand(ALL), dtype=DTYPES)
def test_like(x, dtype):
    ours = {} if dtype is None else {"dtype": getattr(pb, dtype)}
    for name, args in (("zeros_like", ()), ("ones_like", ()), ("full_like", (1,))):
        found = getattr(pb, name)(pb.asarray(x), *args, **ours)
        expected = getattr(np, name)(x, *args, dtype=dtype)
        check_array(np.asarray(found), expected, ulp=0)


def test_full_takes_arrays_and_traced_values():
    row = pb.full((2, 3), pb.asarray([1.0, 2.0, 3.0]))

    np.testing.assert_array_equal(np.asarray(row), [[1, 2, 3], [1, 2, 3]])
    (found,) = traced(lambda x: pb.full((2,), x), (np.float32(5) * np.ones(()),), {})
    np.testing.assert_array_equal(found, [5, 5])


@several
@given(
    start=st.integers(-5, 5),
    stop=st.none() | st.integers(-10, 10),
    step=st.sampled_from([1, 2, 3, -1, -4]),
    dtype=DTYPES.filter(lambda d: d not in ("bool", "uint8", "uint16", "uint32", "uint64")),
)
def test_arange_of_integers(start, stop, step, dtype):
    check_created("arange", start, stop, step, dtype=dtype)


@few
@given(
    start=st.integers(-20, 20).map(lambda i: i / 4),
    stop=st.integers(-20, 20).map(lambda i: i / 4),
    step=st.sampled_from([0.25, 0.5, -0.75, 2.0]),
    dtype=st.sampled_from([None, *FLOATING]),
)
def test_arange_of_floats(start, stop, step, dtype):
    check_created("arange", start, stop, step, dtype=dtype, ulp=1)


def test_arange_in_narrow_dtypes():
    np.testing.assert_array_equal(
        np.asarray(pb.arange(250, 0, -50, dtype=pb.uint8)), range(250, 0, -50)
    )
    np.testing.assert_array_equal(
        np.asarray(pb.arange(-128, 127, 100, dtype=pb.int8)), [-128, -28, 72]
    )
    with pytest.raises(OverflowError, match="out of bounds"):
        pb.arange(300, dtype=pb.int8)
    with pytest.raises(ZeroDivisionError):
        pb.arange(0, 3, 0)


@several
@given(
    start=st.integers(-20, 20).map(lambda i: i / 4),
    stop=st.integers(-20, 20).map(lambda i: i / 4),
    num=st.integers(0, 6),
    endpoint=st.booleans(),
    dtype=st.sampled_from([None, *FLOATING]),
)
def test_linspace(start, stop, num, endpoint, dtype):
    check_created("linspace", start, stop, num, endpoint=endpoint, dtype=dtype, ulp=1)


@several
@given(
    rows=st.integers(0, 4),
    columns=st.none() | st.integers(0, 4),
    k=st.integers(-5, 5),
    dtype=DTYPES,
)
def test_eye(rows, columns, k, dtype):
    check_created("eye", rows, columns, k=k, dtype=dtype)


@pytest.mark.parametrize("name", ["tril", "triu"])
@few
@given(
    x=operand(ALL, hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=4)),
    k=st.integers(-5, 5),
)
def test_triangles(name, x, k):
    check(name, x, k=k)


@few
@given(
    dtype=st.sampled_from(NUMERIC),
    lengths=st.lists(st.integers(0, 3), max_size=3),
    indexing=st.sampled_from(["xy", "ij"]),
)
def test_meshgrid(dtype, lengths, indexing):
    arrays = [np.arange(n).astype(dtype) for n in lengths]

    found = pb.meshgrid(*map(pb.asarray, arrays), indexing=indexing)

    expected = np.meshgrid(*arrays, indexing=indexing)
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        check_array(np.asarray(x), y, ulp=0)


@pytest.mark.parametrize("k", [-2, 0, 1])
def test_diag_tri_identity_logspace(k):
    vector, matrix = np.arange(3.0, dtype=np.float32), np.arange(6).reshape(2, 3)

    np.testing.assert_array_equal(np.asarray(pb.diag(vector, k)), np.diag(vector, k))
    np.testing.assert_array_equal(np.asarray(pb.diag(matrix, k)), np.diag(matrix, k))
    np.testing.assert_array_equal(np.asarray(pb.tri(2, 4, k)), np.tri(2, 4, k))
    np.testing.assert_array_equal(np.asarray(pb.identity(3)), np.identity(3))
    np.testing.assert_allclose(np.asarray(pb.logspace(0, 3, 4, base=2)), [1, 2, 4, 8])
    with pytest.raises(ShapeError, match=r"f32\[1,1,1\]"):
        pb.diag(pb.zeros((1, 1, 1)))


# ---- conversion


@few
@given(
    values=st.lists(st.booleans(), max_size=4)
    | st.lists(st.integers(-100, 100), max_size=4)
    | st.lists(st.floats(-100, 100, width=32), max_size=4)
    | st.lists(st.sampled_from([True, 2, 0.5]), max_size=4)
    | st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=2), max_size=3)
    | st.booleans()
    | st.integers(-100, 100)
    | st.floats(-100, 100, width=32)
)
def test_asarray_of_python_numbers(values):
    """Float lists are float32, int lists int32; else as NumPy."""
    expected = np.asarray(values)

    check_array(np.asarray(pb.asarray(values)), expected, ulp=0, dtype=DEFAULT)


@few
@given(x=operand(ALL), dtype=DTYPES)
def test_asarray_of_arrays(x, dtype):
    if dtype is not None and np.dtype(dtype).kind in "iu" and x.dtype.kind == "f":
        x = np.nan_to_num(x, posinf=0, neginf=0) % 100
    if dtype is not None:
        with np.errstate(over="ignore"):
            expected = x.astype(dtype)
        check_array(np.asarray(pb.asarray(x, dtype=dtype)), expected, ulp=0)
        return

    assert pb.asarray(x).dtype == x.dtype
    np.testing.assert_array_equal(np.asarray(pb.asarray(x.tolist(), dtype=x.dtype)), x)


def test_asarray_promotes_what_lists_hold():
    assert pb.asarray([np.float64(1), 2]).dtype == np.float64
    assert pb.asarray([np.int8(1), 2.5]).dtype == np.float32
    assert pb.asarray([np.zeros(2, np.int8), np.ones(2, np.int16)]).dtype == np.int16
    assert pb.asarray([pb.asarray([1.0]), pb.asarray([2.0])]).shape == (2, 1)
    assert pb.asarray([[1, pb.asarray(2.0)], [3, 4]]).dtype == np.float32
    assert pb.asarray([]).dtype == np.float32
    assert pb.asarray([[], []]).shape == (2, 0)
    assert pb.asarray(np.float64(1)).dtype == np.float64
    assert pb.asarray(ml_dtypes.bfloat16(1)).dtype == pb.bfloat16


def test_asarray_stacks_traced_values_in_lists():
    (found,) = traced(lambda x: pb.asarray([x[0], 2.0, x[1]]), (np.ones(2, np.float32),), {})

    np.testing.assert_array_equal(found, [1, 2, 1])


def test_asarray_of_other_memory():
    class Exporter:
        def __array__(self, dtype=None, copy=None):
            return np.arange(3)

    assert pb.asarray(Exporter()).dtype == np.int64
    assert pb.asarray(array.array("f", [1.0, 2.0])).dtype == np.float32
    assert pb.asarray(memoryview(bytes(3))).dtype == np.uint8
    assert pb.asarray(strict.asarray([1, 2])).shape == (2,)


def test_asarray_copies_as_asked():
    data = np.zeros(3, np.float32)

    shared, own = pb.asarray(data), pb.asarray(data, copy=True)
    made = pb.array(data)
    data[0] = 1

    assert float(shared[0]) == 1
    assert float(own[0]) == float(made[0]) == 0
    assert np.shares_memory(np.asarray(pb.asarray(data, copy=False)), data)
    with pytest.raises(ValueError, match="no array memory to share"):
        pb.asarray([1.0], copy=False)
    with pytest.raises(ValueError, match="cannot be shared"):
        pb.asarray(data, dtype=pb.float64, copy=False)
    with pytest.raises(ValueError, match="cannot be shared"):
        pb.asarray(pb.asarray(data), dtype=pb.float64, copy=False)


def test_a_copy_keeps_the_gradient():
    """It must not cut what a tape or a trace knows of the original."""
    tape = pb.GradientTape()
    x = pb.asarray([1.0, 2.0])
    with tape:
        tape.watch(x)
        y = pb.sum(pb.array(x) * x.copy())

    np.testing.assert_array_equal(np.asarray(tape.gradient(y, x)), [2, 4])


def test_what_cannot_be_an_array_is_refused():
    with pytest.raises(DTypeError, match="complex"):
        pb.asarray(1j)
    with pytest.raises(DTypeError, match="complex"):
        pb.asarray([1.0, 2j])
    with pytest.raises(DTypeError, match="not supported"):
        pb.asarray("text")
    with pytest.raises(DTypeError, match="not supported"):
        pb.asarray(np.zeros(2, np.complex64))
    with pytest.raises(ShapeError, match="differ in length"):
        pb.asarray([[1, 2], [3]])
    with pytest.raises(OverflowError, match="wider dtype"):
        pb.asarray(2**40)
    with pytest.raises(OverflowError, match="wider dtype"):
        pb.asarray([2**63, -1])
    assert int(pb.asarray(2**40, dtype=pb.int64)) == 2**40


def test_integer_subclasses_are_integers():
    class Color(enum.IntEnum):
        RED = 3

    assert int(pb.asarray([Color.RED, 1])[0]) == 3
    assert pb.zeros(Color.RED).shape == (3,)


@few
@given(x=operand(NUMERIC))
def test_dlpack_round_trip(x):
    there = np.from_dlpack(pb.asarray(x))
    back = pb.from_dlpack(x)

    np.testing.assert_array_equal(there, x)
    check_array(np.asarray(back), x, ulp=0)
    assert pb.asarray(x).__dlpack_device__() == (1, 0)
    assert pb.from_dlpack(strict.asarray(x)).dtype == x.dtype
    assert pb.from_dlpack(pb.asarray(x)).shape == x.shape


def test_numpy_reads_arrays_without_a_copy():
    x = pb.asarray(np.arange(4.0))

    view = np.asarray(x)

    assert np.shares_memory(view, np.asarray(x))
    assert not view.flags.writeable


def test_devices():
    x = pb.asarray([1.0])

    assert x.device == "cpu"
    assert x.to_device("cpu") is x
    assert pb.zeros(2, device="cpu").device == "cpu"
    with pytest.raises(ValueError, match="'gpu' does not exist"):
        pb.zeros(2, device="gpu")
    with pytest.raises(ValueError, match="'gpu' does not exist"):
        x.to_device("gpu")
    with pytest.raises(ValueError, match="stream"):
        x.to_device("cpu", stream=1)


def test_shape_functions():
    x = np.zeros((2, 3))

    assert (pb.shape(x), pb.ndim(x), pb.size(x)) == ((2, 3), 2, 6)
    assert (pb.shape([1, 2]), pb.ndim(1.5), pb.size(1)) == ((2,), 0, 1)


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match="negative length"):
        pb.zeros((2, -1))
    with pytest.raises(DTypeError, match=r"shape 2\.5; expected integers"):
        pb.zeros((2.5,))  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match=r"reshape: shape \(2, 'a'\); expected integers"):
        pb.reshape(pb.zeros(4), (2, "a"))  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match=r"axis 0\.5; expected integers"):
        pb.sum(pb.zeros(4), axis=0.5)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"f32\[3,4\] to \(2,\)"):
        pb.full((2,), pb.zeros((3, 4)))
    with pytest.raises(TracerIntegerError):
        traced(lambda n: pb.zeros(n), (np.asarray(3),), {})
    with pytest.raises(ValueError, match="indexing"):
        pb.meshgrid(pb.arange(2), indexing="other")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"f32\[3\]"):
        pb.tril(pb.zeros(3))
