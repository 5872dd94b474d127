"""Sorting, searching and counting."""

from __future__ import annotations

from typing import Any, Literal

import pullback as pb
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.numpy_common import operands


def sort(x: Any, axis: Any = -1) -> Any:
    """Return ``x`` sorted along ``axis``."""
    return pb.sort(real_tensor(x), axis)


def argsort(x: Any, axis: Any = -1) -> Any:
    """Return the indices that sort ``x`` along ``axis``."""
    x = real_tensor(x)
    return pb.argsort(pb.reshape(x, (-1,)), 0) if x.ndim == 0 else pb.argsort(x, axis)


def nonzero(x: Any) -> Any:
    """Return the indices of the elements that are not zero, one tensor for each axis."""
    return pb.nonzero(real_tensor(x))


def searchsorted(sorted_sequence: Any, values: Any, side: Literal["left", "right"] = "left") -> Any:
    """Return where ``values`` would be inserted into a sorted sequence."""
    sorted_sequence, values = real_tensor(sorted_sequence), real_tensor(values)
    if sorted_sequence.ndim != 1:
        raise ValueError(
            "`searchsorted` only supports 1-D sorted sequences. You can use "
            "`keras.ops.vectorized_map` to extend it to N-D sequences. Received: "
            f"sorted_sequence.shape={sorted_sequence.shape}"
        )
    return pb.searchsorted(sorted_sequence, values, side=side)


def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    """Say of each element of ``x1`` whether it is among the elements of ``x2``."""
    del assume_unique  # only a hint
    return pb.isin(*operands(x1, x2), invert=invert)
