"""DLPack of the dtypes that NumPy does not exchange, with PyTorch too where it is installed."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.errors import DTypeError
from pullback.types import FLOAT8, FLOATING, DType, bfloat16

NARROW = sorted({bfloat16, *FLOAT8}, key=str)
VALUES = np.array([[1.5, -2.0, 0.25], [3.0, 4.0, -0.0]])
each_dtype = pytest.mark.parametrize("dtype", NARROW, ids=str)


class Foreign:
    """An exporter that is no array of pullback; ``versioned``: it knows version 1 of DLPack."""

    def __init__(self, x: Any, *, versioned: bool) -> None:
        self.x, self.versioned = x, versioned

    def __dlpack__(self, **options: Any) -> Any:
        if not self.versioned:
            if options:
                raise TypeError("takes no options")
            return self.x.__dlpack__()
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.x.__dlpack_device__()


def values(dtype: DType) -> Any:
    return VALUES.astype(dtype)


@each_dtype
@pytest.mark.parametrize("versioned", [True, False])
def test_memory_is_shared_and_has_its_dtype(dtype, versioned):
    data = values(dtype)

    found = pb.from_dlpack(Foreign(pb.asarray(data), versioned=versioned))

    assert found.type == pb.ArrayType((2, 3), dtype)
    assert np.asarray(found).tobytes() == data.tobytes()
    assert np.shares_memory(np.asarray(found), data)
    copied = pb.from_dlpack(Foreign(pb.asarray(data), versioned=True), copy=True)
    assert np.asarray(copied).tobytes() == data.tobytes()
    assert not np.shares_memory(np.asarray(copied), data)


@each_dtype
def test_memory_lives_as_long_as_it_is_used(dtype):
    data = values(dtype)
    gone = weakref.ref(data)
    found: Any = pb.from_dlpack(Foreign(pb.asarray(data), versioned=True))
    expected = data.tobytes()

    del data
    gc.collect()
    assert gone() is not None
    assert np.asarray(found).tobytes() == expected
    del found
    gc.collect()
    assert gone() is None


@each_dtype
def test_a_capsule_that_nobody_takes_frees_its_memory(dtype):
    data = values(dtype)
    gone = weakref.ref(data)

    for options in ({}, {"max_version": (1, 0)}):
        pb.asarray(data).__dlpack__(**options)
    del data
    gc.collect()

    assert gone() is None


def test_a_capsule_says_the_dtype():
    """Laid out as DLPack's header has it; read by ctypes here too, but by offsets."""
    import ctypes

    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p
    codes = {"bfloat16": (4, 16), "float8_e4m3fn": (10, 8), "float8_e5m2": (12, 8)}
    for name, offset, options in (
        (b"dltensor", 20, {}),
        (b"dltensor_versioned", 52, {"max_version": (1, 0)}),
    ):
        for dtype, (code, bits) in codes.items():
            capsule = pb.ones(3, dtype=dtype).__dlpack__(**options)
            found = ctypes.string_at(pointer(capsule, name) + offset, 4)
            assert (*found,) == (code, bits, 1, 0)


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "int8", "bool"])
def test_other_dtypes_are_exchanged_as_before(dtype, versioned):
    data = np.array([[1, 0], [1, 1]], dtype)

    found = pb.from_dlpack(Foreign(pb.asarray(data), versioned=versioned))

    assert found.type == pb.ArrayType((2, 2), np.dtype(dtype))
    np.testing.assert_array_equal(found, data)


def test_numpy_refuses_what_it_does_not_know():
    with pytest.raises(RuntimeError, match="Unsupported dtype"):
        np.from_dlpack(pb.ones(2, dtype="bfloat16"))


@pytest.mark.parametrize("dtype", sorted({d.name for d in FLOATING}))
def test_pytorch(dtype):
    torch = pytest.importorskip("torch")
    theirs = torch.tensor(VALUES[:, :2]).to(getattr(torch, dtype))

    ours = pb.from_dlpack(theirs)
    back = torch.from_dlpack(ours)

    assert ours.type == pb.ArrayType((2, 2), getattr(pb, dtype))
    np.testing.assert_array_equal(np.asarray(ours).astype(np.float64), VALUES[:, :2])
    assert np.asarray(ours).ctypes.data == theirs.data_ptr() == back.data_ptr()
    assert back.dtype == theirs.dtype
    assert torch.equal(back.to(torch.float64), theirs.to(torch.float64))
    # Strides that PyTorch dies of, and memory that is not dense, are copied.
    turned = torch.from_dlpack(ours.T[::-1])
    np.testing.assert_array_equal(turned.to(torch.float64).numpy(), VALUES[:, :2].T[::-1])


def test_asarray_of_what_pytorch_does_not_give_numpy():
    torch = pytest.importorskip("torch")
    theirs = torch.tensor([1.5, 2.0], dtype=torch.bfloat16)

    assert pb.asarray(theirs).type == pb.ArrayType((2,), bfloat16)
    assert pb.asarray(theirs, dtype="float32").tolist() == [1.5, 2.0]
    with pytest.raises(
        DTypeError, match=r"Tensor exports by DLPack .* \(code 13, 8 bits, 1 lanes\)"
    ):
        pb.from_dlpack(theirs.to(torch.float8_e5m2fnuz))
    with pytest.raises(DTypeError, match="complex64 is not supported"):
        pb.asarray(theirs.to(torch.complex64))
