"""Counting and grouping: distinct values, occurrences, bins and flat indices.

How many distinct values there are depends on the data: without a given size, ``unique`` and
``bincount`` work on known values only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import pullback as pb
from keras_pullback.src.ops.core import convert_to_numpy, real_tensor
from keras_pullback.src.ops.numpy_common import floating, is_floating, to, widened, without_bool
from keras_pullback.src.ops.sparse_arrays import SparseOperandError


def unique(
    x: Any,
    sorted: bool = True,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    size: Any = None,
    fill_value: Any = None,
) -> Any:
    """Return the distinct elements, or slices along ``axis``, in ascending order."""
    del sorted  # sorted they are in any case
    x = real_tensor(x)
    if axis is None and size is not None:
        return _sized_unique(x, (return_index, return_inverse, return_counts), size, fill_value)
    host = convert_to_numpy(x)  # refuses what is being traced, by name
    found = np.unique(
        host, return_index=True, return_inverse=True, return_counts=True, axis=axis, equal_nan=False
    )
    values, index, inverse, counts = (np.asarray(part) for part in found)
    inverse = inverse.reshape(host.shape if axis is None else (-1,))
    if size is not None:
        values, index, counts = _sized(values, index, counts, int(size), axis, fill_value)
    parts = [values]
    asked = (return_index, return_inverse, return_counts)
    for wanted, part in zip(asked, (index, inverse, counts), strict=True):
        if wanted:
            parts.append(part.astype(np.int32))
    tensors = tuple(pb.asarray(np.ascontiguousarray(part)) for part in parts)
    return tensors if len(tensors) > 1 else tensors[0]


def _sized_unique(x: Any, asked: tuple[bool, bool, bool], size: Any, fill_value: Any) -> Any:
    """Return ``size`` distinct elements and what is asked for of their places and counts."""
    values, index, inverse, counts = pb.unique(
        x, True, True, True, size=int(size), fill_value=fill_value
    )
    if size:
        index = pb.where(pb.equal(counts, 0), index[0], index)  # what fills up has no place
    parts = zip(asked, (index, inverse, counts), strict=True)
    found = (values, *(part for wanted, part in parts if wanted))
    return found if len(found) > 1 else values


def _sized(
    values: Any, index: Any, counts: Any, size: int, axis: Any, fill_value: Any
) -> tuple[Any, Any, Any]:
    """Cut or fill the distinct values, their first places and their counts to ``size``."""
    rows = np.moveaxis(values, axis or 0, 0)
    missing = size - len(rows)
    if missing <= 0:
        return np.moveaxis(rows[:size], 0, axis or 0), index[:size], counts[:size]
    fill = rows[:1] if fill_value is None else np.full_like(rows[:1], fill_value)
    rows = np.concatenate([rows, np.repeat(fill, missing, 0)])
    index = np.concatenate([index, np.full(missing, index[0] if len(index) else 0)])
    counts = np.concatenate([counts, np.zeros(missing, counts.dtype)])
    return np.moveaxis(rows, 0, axis or 0), index, counts


def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    """Return how often each of 0, 1, 2, ... occurs, or the sum of weights, row by row."""
    if sparse:
        raise SparseOperandError("bincount: the result is to be sparse")  # numpy_sparse makes it
    x = _int32(real_tensor(x))
    weights = None if weights is None else real_tensor(weights)
    if x.ndim == 1:
        return pb.bincount(x, weights, int(minlength))
    if x.ndim != 2:
        raise ValueError(f"`bincount` takes a tensor of one or two axes, got {x.ndim}")
    host = convert_to_numpy(x)
    length = max(int(minlength), int(host.max()) + 1 if host.size else 0)
    rows = range(x.shape[0])
    counts = [
        pb.bincount(x[i], None if weights is None else weights[i], length=length) for i in rows
    ]
    return pb.stack(counts)


def _int32(x: Any) -> Any:
    """Return integers and booleans as int32, which holds any length."""
    if is_floating(x):
        raise ValueError(f"`bincount` takes integers, got {x.dtype}")
    return to(x, "int32")


def digitize(x: Any, bins: Any) -> Any:
    """Return the index of the bin that each element is in, for ascending or descending bins."""
    x, bins = real_tensor(x), real_tensor(bins)
    if bins.ndim != 1:
        raise ValueError(f"`bins` must have one axis, got {bins.ndim}")
    dtype = pb.result_type(x, bins)
    x, bins = without_bool(to(x, dtype)), without_bool(to(bins, dtype))
    length = bins.shape[0]
    if length == 0:
        return pb.zeros(x.shape, dtype="int32")
    up = pb.searchsorted(bins, x, side="right")
    down = pb.subtract(length, pb.searchsorted(pb.flip(bins), x, side="right"))
    found = pb.where(pb.greater_equal(bins[length - 1], bins[0]), up, down)
    return pb.astype(found, "int32")


def histogram(x: Any, bins: int = 10, range: Any = None) -> Any:
    """Return how many elements are in each of ``bins`` equal bins, and the edges of the bins."""
    x = pb.reshape(floating(x), (-1,))
    wide = widened(x)
    if range is not None:
        low = pb.asarray(range[0], dtype=wide.dtype)
        high = pb.asarray(range[1], dtype=wide.dtype)
    elif x.size:
        low, high = pb.min(wide), pb.max(wide)
    else:
        low, high = pb.zeros((), dtype=wide.dtype), pb.ones((), dtype=wide.dtype)
    flat = pb.equal(low, high)
    low, high = pb.where(flat, low - 0.5, low), pb.where(flat, high + 0.5, high)
    steps = pb.asarray(np.arange(bins + 1) / bins, dtype=wide.dtype)
    edges = low * (1 - steps) + high * steps
    place = pb.searchsorted(edges, wide, side="right")
    place = pb.where(pb.equal(wide, edges[bins]), bins, place)
    counts = pb.bincount(place, length=bins + 2)[1:-1]
    return pb.astype(counts, x.dtype), pb.astype(edges, x.dtype)


def unravel_index(indices: Any, shape: Any) -> Any:
    """Return the index along each axis of a shape for flat indices."""
    indices = real_tensor(indices)
    sizes = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    total = int(np.prod(sizes, dtype=np.int64))
    rest = pb.clip(indices, -total, total - 1)
    rest = pb.where(pb.less(rest, 0), pb.add(rest, total), rest)
    found = []
    for length in reversed(sizes):
        found.append(pb.remainder(rest, length))
        rest = pb.floor_divide(rest, length)
    return tuple(reversed(found))


def argpartition(x: Any, kth: int, axis: Any = -1) -> Any:
    """Return indices that put the ``kth`` smallest element in its place: those that sort."""
    del kth  # sorted, every element is in its place
    x = real_tensor(x)
    return pb.argsort(pb.reshape(x, (-1,)), 0) if axis is None else pb.argsort(x, axis)
