"""What JAX does with 64-bit data: it becomes 32 bits wide.

Imports ``trace``. A program whose state is float32 would otherwise not take NumPy's float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback import tree
from pullback.program.value import Array, Value

_NARROW = {
    np.dtype(np.float64): np.dtype(np.float32),
    np.dtype(np.int64): np.dtype(np.int32),
    np.dtype(np.uint64): np.dtype(np.uint32),
}


def narrow(x: Value) -> Value:
    """Return an array of 64 bits as one of 32 bits; others as they are."""
    if isinstance(x, Array) and x.dtype in _NARROW:
        return Array(x.data.astype(_NARROW[x.dtype]), weak=x.weak)
    return x


def narrow_leaves(given: Any) -> Any:
    """Return a tree whose NumPy arrays and scalars of 64 bits are 32 bits wide."""
    leaves, treedef = tree.flatten(given)
    if not any(map(_is_wide, leaves)):
        return given
    return treedef.unflatten([_narrowed(x) if _is_wide(x) else x for x in leaves])


def _is_wide(x: Any) -> bool:
    return isinstance(x, (np.ndarray, np.generic)) and x.dtype in _NARROW


def _narrowed(x: Any) -> Any:
    return x.astype(_NARROW[x.dtype])
