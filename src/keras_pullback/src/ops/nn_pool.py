"""Pooling over windows, of a given size or adapted to a given number of results.

Imports ``nn_windows``; ``nn`` exports every name here. Windows are products of intervals, so each
axis is pooled in its turn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras.src.backend import config

import pullback as pb
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.nn_windows import (
    Axis,
    axes_of,
    pad_axes,
    per_axis,
    same_padding,
    split_strides,
    window,
)
from pullback.export.operators import Pooling, operator

__all__ = ["adaptive_average_pool", "adaptive_max_pool", "average_pool", "max_pool"]


def _later(x: Any, y: Any) -> Any:
    """The larger; of equal ones the first, so that the gradient goes to one element only."""
    return pb.where((y > x) | (y != y), y, x)  # nan stays nan


def _add(x: Any, y: Any) -> Any:
    return x + y


def _lowest(dtype: Any) -> Any:
    if pb.isdtype(dtype, "real floating"):
        return -math.inf
    return False if dtype == pb.bool else int(pb.iinfo(dtype).min)


def _pooling(
    kind: str, x: Any, pool_size: Any, strides: Any, padding: str, data_format: str | None
) -> Pooling:
    """What is computed, with numbers for each spatial axis."""
    if padding.lower() not in ("same", "valid"):
        raise ValueError(f"Invalid padding '{padding}', must be 'same' or 'valid'.")
    channels_last = config.standardize_data_format(data_format) == "channels_last"
    sizes = per_axis(pool_size, x.ndim - 2)
    axes = axes_of(1 if channels_last else 2, sizes, sizes if strides is None else strides)
    is_same = padding.lower() == "same"
    return Pooling(
        kind=kind,
        sizes=sizes,
        strides=tuple(a.stride for a in axes),
        widths=tuple(same_padding(axes, x.shape)) if is_same else ((0, 0),) * len(axes),
        is_same=is_same,
        channels_last=channels_last,
    )


def _axes(what: Pooling) -> tuple[Axis, ...]:
    return axes_of(1 if what.channels_last else 2, what.sizes, what.strides)


def _pool(
    x: Any, axes: Sequence[Axis], widths: Any, value: Any, combine: Callable[[Any, Any], Any]
) -> Any:
    x = pad_axes(x, axes, widths, value)
    # The last axis first: of equal elements, the first in the window's order is kept.
    for axis in reversed(axes):
        counts = [axis.count(x.shape[axis.place])]
        x = split_strides(x, [axis], counts)
        result = window(x, [axis], [0], counts)
        for k in range(1, axis.size):
            result = combine(result, window(x, [axis], [k], counts))
        x = result
    return x


def max_pool(
    inputs: Any,
    pool_size: Any,
    strides: Any = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Any:
    """The largest element of each window."""
    x = real_tensor(inputs)
    what = _pooling("max", x, pool_size, strides, padding, data_format)
    return operator(what, lambda x: _largest(what, x), x)


def _largest(what: Pooling, x: Any) -> Any:
    return _pool(x, _axes(what), what.widths, _lowest(x.dtype), _later)


def average_pool(
    inputs: Any,
    pool_size: Any,
    strides: Any = None,
    padding: str = "valid",
    data_format: str | None = None,
) -> Any:
    """The mean of each window; padding does not count."""
    x = real_tensor(inputs)
    what = _pooling("average", x, pool_size, strides, padding, data_format)
    return operator(what, lambda x: _mean(what, x), x)


def _mean(what: Pooling, x: Any) -> Any:
    axes = _axes(what)
    widths: Any = what.widths
    total = _pool(x, axes, widths, 0, _add)
    if not any(map(any, widths)):
        return total / math.prod(a.size for a in axes)
    counts = np.ones((), dtype="float64")
    for axis, (before, after) in zip(axes, widths, strict=True):
        inside = np.pad(np.ones(x.shape[axis.place]), (before, after))
        n = axis.count(inside.size)
        along = [inside[i * axis.stride : i * axis.stride + axis.size].sum() for i in range(n)]
        counts = counts[..., None] * np.asarray(along)
    trailing = (1,) * (x.ndim - axes[-1].place - 1)
    return total / pb.asarray(counts.reshape(counts.shape + trailing).astype(total.dtype))


def _intervals(length: int, results: int) -> tuple[Any, Any]:
    """Where each of ``results`` windows over an axis begins and ends."""
    steps = np.arange(results)
    return steps * length // results, -(-(steps + 1) * length // results)


def _adaptive_axes(inputs: Any, output_size: Any, data_format: str | None) -> Any:
    n = inputs.ndim - 2
    if not 1 <= n <= 3:
        raise ValueError(f"adaptive pooling supports only 1D/2D/3D inputs, not {inputs.shape}")
    first = 1 if config.standardize_data_format(data_format) == "channels_last" else 2
    return list(enumerate(per_axis(output_size, n), first))


def adaptive_average_pool(inputs: Any, output_size: Any, data_format: str | None = None) -> Any:
    """The mean of each of ``output_size`` windows that share the axis evenly."""
    x = real_tensor(inputs)
    for place, results in _adaptive_axes(x, output_size, data_format):
        begin, end = _intervals(x.shape[place], results)
        index = np.arange(x.shape[place])
        inside = (index >= begin[:, None]) & (index < end[:, None])
        weights = (inside / (end - begin)[:, None]).T
        total = pb.tensordot(x, pb.asarray(weights.astype(x.dtype)), ((place,), (0,)))
        x = pb.moveaxis(total, -1, place)
    return x


def adaptive_max_pool(inputs: Any, output_size: Any, data_format: str | None = None) -> Any:
    """The largest element of each of ``output_size`` windows that share the axis evenly."""
    x = real_tensor(inputs)
    for place, results in _adaptive_axes(x, output_size, data_format):
        begin, end = _intervals(x.shape[place], results)
        widest = int((end - begin).max())
        # Narrower windows repeat their last element, which is never preferred to the first of it.
        index = np.minimum(begin + np.arange(widest)[:, None], end - 1)
        parts = [pb.take(x, pb.asarray(i.astype("int32")), axis=place) for i in index]
        x = parts[0]
        for part in parts[1:]:
            x = _later(x, part)
    return x
