"""Hypothesis strategies for operands: dtypes of a kind, small shapes with 0 and 1, special values.

Start at ``operand``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

#: Examples for each test. Tests repeat: the profile of ``tests/conftest.py`` is derandomized.
few = settings(max_examples=20)
several = settings(max_examples=40)

SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
INTEGER = SIGNED + UNSIGNED
FLOATING = ("float32", "float64")
NUMERIC = INTEGER + FLOATING
ALL = ("bool", *NUMERIC)

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)
#: Shapes without an empty axis.
FULL_SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=3)
#: Shapes with at least one axis.
AXIS_SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3)
FULL_AXIS_SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=3)

_SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.5, 3.0, 1e-8, 1e8)
_WILD = (*_SPECIAL, np.inf, -np.inf, np.nan, 1e30, -1e30, 1e-30)


def elements(dtype: str, *, finite: bool = False, bound: int | None = None) -> Any:
    """Return a strategy for elements of a dtype, often special ones.

    Args:
        dtype: The dtype's name.
        finite: Whether infinities, nan and huge numbers are left out.
        bound: Largest magnitude; None for the dtype's.
    """
    kind = np.dtype(dtype).kind
    if kind == "b":
        return st.booleans()
    if kind in "iu":
        info = np.iinfo(dtype)
        low, high = int(info.min), int(info.max)
        if bound is not None:
            low, high = max(low, -bound), min(high, bound)
        small = st.integers(max(low, -3), min(high, 5))
        return small | st.integers(low, high) | st.sampled_from((low, high))
    if finite or bound is not None:
        largest = 100.0 if bound is None else float(bound)
        narrow = st.sampled_from([x for x in _SPECIAL if abs(x) <= largest])
        return narrow | st.integers(-int(largest * 8), int(largest * 8)).map(lambda i: i / 8)
    ordinary = st.floats(-100, 100, width=32 if dtype == "float32" else 64)
    return st.sampled_from(_WILD) | ordinary


@st.composite
def operand(
    draw: Any,
    dtypes: Sequence[str] = ALL,
    shapes: Any = SHAPES,
    *,
    finite: bool = False,
    bound: int | None = None,
) -> np.ndarray:
    """Draw an array."""
    dtype = draw(st.sampled_from(dtypes))
    shape = draw(shapes) if hasattr(shapes, "example") else shapes
    items = elements(dtype, finite=finite, bound=bound)
    return draw(hnp.arrays(dtype, shape, elements=items))


@st.composite
def operands(
    draw: Any,
    count: int,
    dtypes: Sequence[str] = ALL,
    *,
    finite: bool = False,
    bound: int | None = None,
    mixed: bool = False,
) -> tuple[np.ndarray, ...]:
    """Draw arrays whose shapes broadcast, of one dtype, or of dtypes of one kind if ``mixed``."""
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=3))
    first = draw(st.sampled_from(dtypes))
    family = next(f for f in (("bool",), SIGNED, UNSIGNED, FLOATING) if first in f)
    chosen = [first] + [
        draw(st.sampled_from([d for d in family if d in dtypes])) if mixed else first
        for _ in range(count - 1)
    ]
    return tuple(
        draw(operand((dtype,), shape, finite=finite, bound=bound))
        for dtype, shape in zip(chosen, shapes.input_shapes, strict=True)
    )


def axis_of(x: np.ndarray) -> Any:
    """Return a strategy for one axis, counted from either end."""
    return st.integers(-x.ndim, x.ndim - 1)


@st.composite
def axes_of(draw: Any, x: np.ndarray) -> int | tuple[int, ...] | None:
    """Draw None, an axis, or several."""
    if x.ndim == 0:
        return draw(st.sampled_from([None, ()]))
    several_axes = draw(st.lists(st.integers(0, x.ndim - 1), unique=True).map(tuple))
    return draw(st.sampled_from([None, draw(axis_of(x)), several_axes]))
