"""Helpers for static axis parameters, shared by the families that have them.

Imports ``errors`` and ``types`` only. Start at ``check_axes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.errors import DTypeError, ShapeError
from pullback.types import SHORT_NAMES, ArrayType, DType


def check_axis(name: str, axis: int, x: ArrayType) -> None:
    """Require that ``axis`` is one of the axes of ``x``, counted from the front.

    Raises:
        ShapeError: it is not.
    """
    if not 0 <= axis < x.ndim:
        raise ShapeError(
            f"{name}: axis {axis} is not an axis of {x}; expected 0 <= axis < {x.ndim}"
        )


def check_axes(name: str, axes: tuple[int, ...], x: ArrayType) -> None:
    """Require distinct axes of ``x``, counted from the front.

    Raises:
        ShapeError: an axis is out of range or given twice.
    """
    for axis in axes:
        check_axis(name, axis, x)
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{name}: an axis is given twice in {axes} for {x}")


def check_dtype(name: str, x: ArrayType, accepted: frozenset[DType]) -> None:
    """Require that the dtype of ``x`` is one of ``accepted``.

    Raises:
        DTypeError: it is not.
    """
    if x.dtype not in accepted:
        expected = ", ".join(short for d, short in SHORT_NAMES.items() if d in accepted)
        raise DTypeError(
            f"{name} of {x} is not defined; expected one of {expected}; convert with x.astype(...)"
        )


def remaining(axes: Sequence[int], ndim: int) -> tuple[int, ...]:
    """Return the axes in ``range(ndim)`` that are not in ``axes``, in order."""
    return tuple(axis for axis in range(ndim) if axis not in axes)


def select_items(items: Sequence[Any], axes: Sequence[int]) -> tuple[Any, ...]:
    """Return the items at ``axes``, in the order of ``axes``."""
    return tuple(items[axis] for axis in axes)


def interleave(kept: Sequence[Any], taken: Sequence[Any], axes: Sequence[int]) -> tuple[Any, ...]:
    """Return the sequence that has ``taken`` at ``axes`` and ``kept``, in order, elsewhere."""
    at = dict(zip(axes, taken, strict=True))
    rest = iter(kept)
    return tuple(at[i] if i in at else next(rest) for i in range(len(kept) + len(taken)))
