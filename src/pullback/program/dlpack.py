"""DLPack of the dtypes that NumPy cannot exchange: bfloat16 and 8-bit floats.

NumPy exports and imports their bits as unsigned integers; here the dtype in the capsule is written
over, so that memory is shared and freed as NumPy does it. Imports ``types``. Start at
``export_memory`` and ``import_memory``.

Source: DLPack 1.1, ``dlpack.h``.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

import numpy as np

from pullback.errors import DTypeError
from pullback.types import DType, bfloat16, float8_e4m3fn, float8_e5m2

#: Codes of ``DLDataTypeCode``.
_UNSIGNED: Final = 1
_CODES: Final[dict[DType, int]] = {bfloat16: 4, float8_e4m3fn: 10, float8_e5m2: 12}
_DTYPES: Final = {(code, 8 * d.itemsize, 1): d for d, code in _CODES.items()}
#: Where the capsules of both generations have their ``DLTensor``.
_TENSOR_BYTES: Final = {b"dltensor": 0, b"dltensor_versioned": 32}


class _DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device", ctypes.c_int32 * 2),
        ("ndim", ctypes.c_int32),
        ("dtype", _DataType),
    )


_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.argtypes, _is_valid.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_int
_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.argtypes, _pointer.restype = (ctypes.py_object, ctypes.c_char_p), ctypes.c_void_p


def _dtype_in(capsule: Any) -> _DataType | None:
    """The dtype of the array in a capsule, in place; None if the capsule has been used."""
    for name, offset in _TENSOR_BYTES.items():
        if _is_valid(capsule, name):
            found: _DataType = _Tensor.from_address(_pointer(capsule, name) + offset).dtype
            return found
    return None


def export_memory(data: np.ndarray[Any, Any], **options: Any) -> Any:
    """The DLPack capsule of an array of one of these dtypes; ``options`` are the protocol's."""
    capsule = data.view(f"u{data.dtype.itemsize}").__dlpack__(**options)
    found = _dtype_in(capsule)
    if found is not None:
        found.code = _CODES[data.dtype]
    return capsule


def import_memory(x: Any, *, copy: bool | None = None) -> np.ndarray[Any, Any]:
    """The array that ``x`` exports, of any dtype that NumPy or pullback has; shared if it can be.

    Raises:
        BufferError: the memory is not on the CPU.
        DTypeError: no dtype that NumPy or pullback has is that of the elements.
        ValueError: ``copy`` is False, and the exporter has to copy.
    """
    source = _Bits(x)
    try:
        data = np.from_dlpack(source, copy=copy)
    except RuntimeError as error:
        if "dtype" not in str(error):
            raise
        raise DTypeError(
            f"the elements that {type(x).__name__} exports by DLPack are of a dtype that is not "
            f"supported ({source.kind}); convert them first, or export their bits as integers"
        ) from None
    return data if source.dtype is None else data.view(source.dtype)


class _Bits:
    """Exports what another object does, but for the dtypes that NumPy does not know their bits."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter
        #: Of the elements, where it is such a dtype; known once exported.
        self.dtype: DType | None = None
        #: Code, bits and lanes, for errors.
        self.kind = ""

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self._exporter.__dlpack__(**options)
        found = _dtype_in(capsule)
        if found is not None:
            self.dtype = _DTYPES.get((found.code, found.bits, found.lanes))
            self.kind = f"code {found.code}, {found.bits} bits, {found.lanes} lanes"
            if self.dtype is not None:
                found.code = _UNSIGNED
        return capsule

    def __dlpack_device__(self) -> Any:
        return self._exporter.__dlpack_device__()
