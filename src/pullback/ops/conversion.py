"""Arrays from numbers, lists, NumPy arrays and memory of other libraries.

Imports ``arguments``, ``dtypes`` and ``primitives``. Start at ``asarray``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.ops.arguments import check_device
from pullback.ops.dtypes import astype, strong
from pullback.primitives import operators
from pullback.primitives.cast import Convert, convert
from pullback.program.dlpack import import_memory
from pullback.program.value import Array, Value
from pullback.types import DEFAULT_FLOAT, INTEGER, DType, as_dtype, default_dtype

__all__ = ["array", "asarray", "from_dlpack"]


def asarray(
    obj: Any, /, dtype: Any = None, *, device: Any = None, copy: bool | None = None
) -> Value:
    """Make an array of numbers, nested lists, NumPy arrays, or anything that exports memory.

    Args:
        obj: A Python number or nested lists of them (float lists become float32, int lists int32),
            an array (which keeps its dtype), nested lists of arrays, or an object with
            ``__array__``, ``__dlpack__`` or the buffer protocol.
        dtype: The dtype of the result; None to find it as above.
        device: None or ``"cpu"``.
        copy: True always copies, False never does, None shares the memory of ``obj`` if it can.
            Do not write to memory that is shared.

    Raises:
        DTypeError: the elements are complex numbers, strings or objects.
        OverflowError: an integer does not fit the dtype; pass a wider ``dtype``.
        ShapeError: lists of one level differ in length.
        ValueError: ``copy`` is False and the array cannot be shared.

    Example:
        >>> pb.asarray([[1, 2], [3, 4]])
        Array([[1, 2],
               [3, 4]], i32)
        >>> pb.asarray(1.5)
        Array(1.5, f32)
    """
    check_device(device)
    target = None if dtype is None else as_dtype(dtype)
    read = getattr(obj, "__pullback_value__", None)
    if read is not None:  # a variable of another library, which may be traced or differentiated
        obj = read()
    if isinstance(obj, Value):
        return _from_value(obj, target, copy)
    if isinstance(obj, range):
        obj = [*obj]
    if isinstance(obj, (list, tuple)):
        _refuse_sharing(obj, copy)
        return _from_sequence(obj, target)
    if isinstance(obj, (bool, int, float, complex)) and not isinstance(obj, np.generic):
        _refuse_sharing(obj, copy)
        return Array(numbers(obj, target or _number_dtype(obj)))
    if not hasattr(obj, "__array__") and hasattr(obj, "__dlpack__"):
        shared = from_dlpack(obj, copy=copy)
        return shared if target is None else astype(shared, target)
    try:
        return Array(_as_numpy(obj, target, copy))
    except TypeError:
        if isinstance(obj, np.ndarray) or not hasattr(obj, "__dlpack__"):
            raise
        # PyTorch exports bfloat16 by DLPack alone.
        shared = from_dlpack(obj, copy=copy)
        return shared if target is None else astype(shared, target)


def array(obj: Any, /, dtype: Any = None, *, device: Any = None, copy: bool | None = True) -> Value:
    """Make an array as ``asarray`` does, with memory of its own.

    Args:
        obj: As for ``asarray``.
        dtype: As for ``asarray``.
        device: None or ``"cpu"``.
        copy: As for ``asarray``.

    Raises:
        DTypeError: the elements are complex numbers, strings or objects.
        OverflowError: an integer does not fit the dtype.
        ShapeError: lists of one level differ in length.

    Example:
        >>> pb.array([1.0, 2.0])
        Array([1., 2.], f32)
    """
    own = None if copy and isinstance(obj, (list, tuple, bool, int, float, complex)) else copy
    return asarray(obj, dtype=dtype, device=device, copy=own)


def _refuse_sharing(obj: Any, copy: bool | None) -> None:
    if copy is False:
        raise ValueError(
            f"asarray: a {type(obj).__name__} has no array memory to share; use copy=None"
        )


def _from_value(x: Value, dtype: DType | None, copy: bool | None) -> Value:
    value = strong(x.read())
    if dtype is not None and dtype != value.dtype:
        if copy is False:
            raise ValueError(f"asarray: {value.type} cannot be shared as {dtype}; use copy=None")
        return astype(value, dtype)
    # By an equation, so that a derivative finds its way through.
    return Convert(value.dtype)(value) if copy else value


def _as_numpy(obj: Any, dtype: DType | None, copy: bool | None) -> np.ndarray[Any, Any]:
    data = np.asarray(obj, copy=copy)
    found = as_dtype(data.dtype)
    if dtype is None or dtype == found:
        return data.astype(found, copy=False)
    if copy is False:
        raise ValueError(f"asarray: {found} cannot be shared as {dtype}; use copy=None")
    return convert(data.astype(found, copy=False), dtype)


def _number_dtype(x: Any) -> DType:
    if isinstance(x, complex):
        raise DTypeError(
            f"asarray of the complex number {x}: complex numbers are not supported; keep the real "
            "and the imaginary part in two arrays"
        )
    return default_dtype(x)


def numbers(obj: Any, dtype: DType) -> np.ndarray[Any, Any]:
    """Return Python numbers as a NumPy array of ``dtype``.

    Raises:
        OverflowError: an integer does not fit.
    """
    if dtype in INTEGER and isinstance(obj, float):
        return convert(np.asarray(obj), dtype)
    try:
        return np.asarray(obj, dtype)
    except OverflowError as error:
        raise OverflowError(f"{error}; pass a wider dtype, such as dtype='int64'") from None


def _leaves(obj: Any) -> Iterator[Any]:
    if isinstance(obj, (list, tuple)):
        for item in obj:
            yield from _leaves(item)
    else:
        yield obj


def _from_sequence(obj: Sequence[Any], dtype: DType | None) -> Value:
    leaves = list(_leaves(obj))
    if any(isinstance(leaf, Value) for leaf in leaves):
        return _stacked(obj, dtype)
    found = dtype if dtype is not None else _common_dtype(leaves)
    try:
        rough = np.asarray(obj)
    except ValueError:
        raise ShapeError(
            "asarray: nested lists of one level differ in length; make them equal, or pad them"
        ) from None
    if not all(operators.is_python_scalar(leaf) for leaf in leaves):
        return Array(convert(rough.astype(as_dtype(rough.dtype), copy=False), found))
    if found in INTEGER and any(isinstance(leaf, float) for leaf in leaves):
        return Array(convert(rough, found))
    # Again from the numbers: integers between int64 and uint64 would have become floats.
    return Array(numbers(obj, found))


def _common_dtype(leaves: Sequence[Any]) -> DType:
    if not leaves:
        return DEFAULT_FLOAT
    scalars = {type(x): x for x in leaves if operators.is_python_scalar(x)}.values()
    others = {np.asarray(x).dtype: x for x in leaves if not operators.is_python_scalar(x)}
    weak = (False if isinstance(x, bool) else 0 if isinstance(x, int) else 0.0 for x in scalars)
    strong_ = (np.zeros((), _dtype_of_leaf(x)) for x in others.values())
    return operators.result_dtype(*weak, *strong_)


def _dtype_of_leaf(x: Any) -> DType:
    return _number_dtype(x) if type(x) is complex else as_dtype(np.asarray(x).dtype)


def _stacked(obj: Sequence[Any], dtype: DType | None) -> Value:
    from pullback.ops.manipulation import stack

    rows = [_stacked(x, None) if isinstance(x, (list, tuple)) else x for x in obj]
    whole = stack(rows)
    return whole if dtype is None else astype(whole, dtype)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Value:
    """Make an array of the memory that ``x`` exports by the DLPack protocol.

    Args:
        x: An object with ``__dlpack__`` and ``__dlpack_device__``, on the CPU.
        device: None or ``"cpu"``.
        copy: As for ``asarray``; the memory is shared unless it is True.

    Raises:
        BufferError: the memory is not on the CPU.
        DTypeError: the elements are of a dtype that is not supported.

    Example:
        >>> import numpy
        >>> pb.from_dlpack(numpy.arange(3))
        Array([0, 1, 2], i64)
    """
    check_device(device)
    if isinstance(x, Value):
        return _from_value(x, None, copy)
    data = import_memory(x, copy=copy)
    return Array(data.astype(as_dtype(data.dtype), copy=False))
