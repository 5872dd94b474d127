"""Checks and conversions of arguments that every chapter of the namespace shares.

Imports ``types``, ``errors`` and ``program``; imported by all of ``ops``. Start at ``as_array``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.errors import DTypeError, ShapeError, TracerArrayError, TracerIntegerError
from pullback.program.value import Array, Tracer, Value, as_value
from pullback.types import DEFAULT_FLOAT, FLOATING, SHORT_NAMES, DType

NDArray = np.ndarray[Any, Any]

#: What functions take as an array: a Value, a NumPy array or scalar, a Python number, and (where
#: no other meaning is possible) nested lists of these.
ArrayLike = Any

#: An axis, several axes, or ``None`` for all.
Axis = int | Sequence[int] | None

#: The only device: the host's memory.
CPU = "cpu"


def as_array(x: ArrayLike) -> Value:
    """Return ``x`` as a Value; lists are converted as ``asarray`` does."""
    if isinstance(x, (list, tuple)):
        from pullback.ops.conversion import asarray

        return asarray(x)
    return as_value(x)


def as_floating(x: ArrayLike) -> Value:
    """Return ``x`` as a floating Value; integers and booleans become float32."""
    value = as_array(x)
    if value.dtype in FLOATING:
        return value
    from pullback.primitives.cast import Convert

    floating: Value = Convert(DEFAULT_FLOAT)(value)
    floating.weak = value.weak
    return floating


def check_device(device: Any) -> None:
    """Require that ``device`` is None or ``"cpu"``.

    Raises:
        ValueError: it is anything else.
    """
    if device is not None and device != CPU:
        raise ValueError(f"device {device!r} does not exist; the only one is {CPU!r}")


def as_integers(what: str, items: Sequence[Any]) -> tuple[int, ...]:
    """Return ``items`` as Python integers.

    Raises:
        DTypeError: one is no integer; the message calls it ``what``.
        TracerIntegerError: one is traced.
    """
    try:
        return tuple(map(operator.index, items))
    except TracerIntegerError:
        raise
    except TypeError:
        given = items[0] if len(items) == 1 else (*items,)
        raise DTypeError(f"{what} {given!r}; expected integers") from None


def normalize_axis(name: str, axis: int, ndim: int) -> int:
    """Return ``axis`` counted from the front.

    Raises:
        ShapeError: it is outside ``-ndim .. ndim - 1``.
        DTypeError: it is no integer.
    """
    (index,) = as_integers(f"{name}: axis", (axis,))
    if not -ndim <= index < ndim:
        expected = f"expected {-ndim} <= axis < {ndim}" if ndim else "the array has no axes"
        raise ShapeError(f"{name}: axis {index} is out of range; {expected}")
    return index % ndim


def normalize_axes(name: str, axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return one or several axes counted from the front; ``None`` stands for all of them.

    Raises:
        ShapeError: an axis is out of range or given twice.
    """
    if axis is None:
        return tuple(range(ndim))
    items: Sequence[int] = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = tuple(normalize_axis(name, a, ndim) for a in items)
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{name}: an axis is given twice in {tuple(items)}")
    return axes


def as_shape(name: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    """Return ``shape``, an int or a sequence of ints, as a tuple.

    Raises:
        ShapeError: a length is negative.
        DTypeError: a length is no integer.
        TracerIntegerError: a length is traced.
    """
    items = shape if isinstance(shape, (tuple, list)) else (shape,)
    lengths = as_integers(f"{name}: shape", items)
    if min(lengths, default=0) < 0:
        raise ShapeError(f"{name}: shape {lengths} has a negative length")
    return lengths


def require_dtype(name: str, x: Value, accepted: frozenset[DType]) -> None:
    """Require that the dtype of ``x`` is one of ``accepted``.

    Raises:
        DTypeError: it is not.
    """
    if x.dtype not in accepted:
        expected = ", ".join(short for d, short in SHORT_NAMES.items() if d in accepted)
        raise DTypeError(
            f"{name} of {x.type} is not defined; expected {expected}: cast with `x.astype(...)`"
        )


def is_concrete(*values: Any) -> bool:
    """Whether all of ``values`` have elements that can be looked at now."""
    return not any(isinstance(as_array(x), Tracer) for x in values)


def concrete(name: str, x: ArrayLike, suggestion: str) -> NDArray:
    """Return the elements of ``x``, which decide about the shape of a result.

    Raises:
        TracerArrayError: ``x`` is traced: it has a type but no elements.
    """
    value = as_array(x)
    if isinstance(value, Array):
        return value.data
    raise TracerArrayError(
        f"{name} of a traced value of type {value.type}: the shape of the result would depend on "
        f"its elements, and shapes are static in a traced function. {suggestion}"
    )


def scalar_of(value: Any, dtype: DType) -> Array:
    """Return a number as a constant of rank 0 and ``dtype``."""
    return Array(np.asarray(value, dtype))


def as_operand(x: ArrayLike) -> Any:
    """Return a Python number as it is, since its value may matter; else ``x`` as a Value."""
    return x if isinstance(x, (bool, int, float)) else as_array(x)
