"""Operators and methods of sparse arrays, by the names that dense ones have: fills ``METHODS``.

Imports every other module of ``sparse``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pullback.sparse import (
    arithmetic,
    conversions,
    duplicates,
    layout,
    products,
    reductions,
    selections,
)
from pullback.sparse.coo import COO, METHODS


def _reshape(x: COO, *shape: Any) -> COO:
    return layout.reshape(x, shape[0] if len(shape) == 1 else shape)


def _transpose(x: COO, *axes: Any) -> COO:
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    return layout.transpose(x, order or None)


def _opposite(x: COO) -> COO:
    return layout.transpose(x)


_METHODS: dict[str, Callable[..., Any]] = {
    "T": _opposite,
    "__getitem__": selections.getitem,
    "abs": arithmetic.abs,
    "add": arithmetic.add,
    "astype": arithmetic.astype,
    "divide": arithmetic.divide,
    "mT": layout.swap_last,
    "matmul": products.matmul,
    "mean": reductions.mean,
    "multiply": arithmetic.multiply,
    "pow": arithmetic.power,
    "reshape": _reshape,
    "sort_indices": duplicates.sort_indices,
    "squeeze": layout.squeeze,
    "subtract": arithmetic.subtract,
    "sum": reductions.sum,
    "sum_duplicates": duplicates.sum_duplicates,
    "take": selections.take,
    "to_dense": conversions.to_dense,
    "to_scipy": conversions.to_scipy,
    "transpose": _transpose,
}
METHODS.update(_METHODS)
