"""Abstract array types, dtypes and the one promotion table.

Imports nothing of pullback but ``errors``; everything else imports this.
Start reading at ``ArrayType``.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Final

import ml_dtypes
import numpy as np

from pullback.errors import DTypeError
from pullback.records import dataclass

DType = np.dtype[Any]

bool_: Final[DType] = np.dtype(np.bool_)
int8: Final[DType] = np.dtype(np.int8)
int16: Final[DType] = np.dtype(np.int16)
int32: Final[DType] = np.dtype(np.int32)
int64: Final[DType] = np.dtype(np.int64)
uint8: Final[DType] = np.dtype(np.uint8)
uint16: Final[DType] = np.dtype(np.uint16)
uint32: Final[DType] = np.dtype(np.uint32)
uint64: Final[DType] = np.dtype(np.uint64)
float8_e4m3fn: Final[DType] = np.dtype(ml_dtypes.float8_e4m3fn)
float8_e5m2: Final[DType] = np.dtype(ml_dtypes.float8_e5m2)
float16: Final[DType] = np.dtype(np.float16)
bfloat16: Final[DType] = np.dtype(ml_dtypes.bfloat16)
float32: Final[DType] = np.dtype(np.float32)
float64: Final[DType] = np.dtype(np.float64)

SHORT_NAMES: Final[dict[DType, str]] = {
    bool_: "bool",
    int8: "i8",
    int16: "i16",
    int32: "i32",
    int64: "i64",
    uint8: "u8",
    uint16: "u16",
    uint32: "u32",
    uint64: "u64",
    float8_e4m3fn: "f8e4m3fn",
    float8_e5m2: "f8e5m2",
    float16: "f16",
    bfloat16: "bf16",
    float32: "f32",
    float64: "f64",
}
DTYPES_BY_SHORT_NAME: Final[dict[str, DType]] = {name: d for d, name in SHORT_NAMES.items()}
#: Short names count bits; as strings for NumPy, which counts bytes, these mean something else.
_READ_OTHERWISE: Final = {"i8": "int64", "u8": "uint64", "f16": "longdouble"}

SIGNED: Final = frozenset({int8, int16, int32, int64})
UNSIGNED: Final = frozenset({uint8, uint16, uint32, uint64})
INTEGER: Final = SIGNED | UNSIGNED
#: Storage: moved, compared, converted and differentiated through, but never computed in.
FLOAT8: Final = frozenset({float8_e4m3fn, float8_e5m2})
#: The floating dtypes that arithmetic and elementary functions take.
COMPUTED: Final = frozenset({float16, bfloat16, float32, float64})
FLOATING: Final = FLOAT8 | COMPUTED
BOOLEAN: Final = frozenset({bool_})
NUMERIC: Final = INTEGER | COMPUTED
SIGNED_NUMERIC: Final = SIGNED | COMPUTED
BITS: Final = INTEGER | BOOLEAN
ANY: Final = frozenset(SHORT_NAMES)

DEFAULT_FLOAT: Final = float32
DEFAULT_INT: Final = int32

_FLOAT_RANK: Final = {float16: 0, bfloat16: 0, float32: 1, float64: 2}


@dataclass(frozen=True, slots=True)
class ArrayType:
    """The static type of an array: its shape and dtype. Prints as ``f32[32,784]``."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of a contiguous array of this type."""
        return self.size * self.dtype.itemsize

    def with_shape(self, shape: tuple[int, ...]) -> ArrayType:
        """Return the same dtype with another shape."""
        return ArrayType(tuple(shape), self.dtype)

    def with_dtype(self, dtype: DType) -> ArrayType:
        """Return the same shape with another dtype."""
        return ArrayType(self.shape, dtype)

    def __str__(self) -> str:
        return f"{SHORT_NAMES[self.dtype]}[{','.join(map(str, self.shape))}]"


def as_dtype(dtype: Any) -> DType:
    """Return the supported dtype that ``dtype`` names.

    Args:
        dtype: A NumPy dtype, a scalar type, ``float``/``int``/``bool``, a NumPy name such as
            ``"float32"``, or a short name such as ``"f32"``.

    Raises:
        DTypeError: it names no supported dtype (complex, string, object, …), or two: ``"i8"``,
            ``"u8"`` and ``"f16"`` are 8 or 16 bits where types are printed, and bytes in NumPy.
    """
    try:
        return _as_dtype(dtype)
    except TypeError:
        found: DType = _as_dtype.__wrapped__(dtype)
        return found


@functools.cache
def _as_dtype(dtype: Any) -> DType:
    if dtype is float:
        return DEFAULT_FLOAT
    if dtype is int:
        return DEFAULT_INT
    if isinstance(dtype, str) and dtype in DTYPES_BY_SHORT_NAME:
        short = DTYPES_BY_SHORT_NAME[dtype]
        if dtype in _READ_OTHERWISE:
            raise DTypeError(
                f"dtype {dtype!r} is ambiguous: {short} as types are printed here, "
                f"{_READ_OTHERWISE[dtype]} in NumPy; write {str(short)!r} or the one you mean"
            )
        return short
    try:
        found: DType = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"{dtype!r} names no dtype; use one of {_dtype_list()}") from None
    if not found.isnative:
        found = found.newbyteorder("=")
    if found not in SHORT_NAMES:
        raise DTypeError(f"dtype {found} is not supported; use one of {_dtype_list()}")
    return found


def _dtype_list() -> str:
    return ", ".join(d.name for d in SHORT_NAMES)


def type_of(array: np.ndarray[Any, Any] | np.generic) -> ArrayType:
    """Return the type of a NumPy array or scalar."""
    return ArrayType(array.shape, as_dtype(array.dtype))


def promote_types(x: DType, y: DType) -> DType:
    """Return the dtype that an operation on ``x`` and ``y`` computes in.

    The Array API's table, widened where the standard leaves it open: a boolean takes the other
    dtype; an integer and a floating dtype give the floating dtype; ``uint64`` and a signed integer
    give ``float32``; ``float16`` and ``bfloat16`` give ``float32``; the 8-bit floats take booleans
    and integers, and no other floating dtype. It is commutative.

    Raises:
        DTypeError: an 8-bit float and another floating dtype: which of them is meant, and with
            what precision, only the caller knows.

    Source: Array API standard 2024.12, "Type promotion rules"; the mixed cells follow JAX.
    """
    if x == y:
        return x
    if x == bool_ or y == bool_:
        return y if x == bool_ else x
    if x in FLOATING and y in FLOATING:
        if x in FLOAT8 or y in FLOAT8:
            raise DTypeError(
                f"{SHORT_NAMES[x]} and {SHORT_NAMES[y]} have no common dtype: 8-bit floats are not "
                "promoted; convert one of them with x.astype(...)"
            )
        if _FLOAT_RANK[x] == _FLOAT_RANK[y]:
            return float32
        return max(x, y, key=lambda d: _FLOAT_RANK[d])
    if x in FLOATING or y in FLOATING:
        return x if x in FLOATING else y
    if {x, y} & {uint64} and {x, y} & SIGNED:
        return DEFAULT_FLOAT
    return np.promote_types(x, y)


def promote_scalar(scalar: bool | int | float, dtype: DType) -> DType:
    """Return the dtype that a Python scalar takes beside an array of ``dtype`` (weak promotion)."""
    if isinstance(scalar, bool):
        return dtype
    if isinstance(scalar, int):
        return DEFAULT_INT if dtype == bool_ else dtype
    return dtype if dtype in FLOATING else DEFAULT_FLOAT


def default_dtype(scalar: bool | int | float) -> DType:
    """Return the dtype of an array made from a Python scalar alone."""
    if isinstance(scalar, (bool, np.bool_)):
        return bool_
    return DEFAULT_INT if isinstance(scalar, int) else DEFAULT_FLOAT
