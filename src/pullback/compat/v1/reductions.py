"""Reductions under TensorFlow's names.

Imports ``tensor`` and the engine's namespace. ``axis`` None is all axes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback import ops
from pullback.compat.v1.arithmetic import require_bool, require_floating
from pullback.compat.v1.tensor import Tensor, apply, convert_to_tensor
from pullback.ops import nn
from pullback.types import as_dtype


def _reduction(
    kind: str,
    compute: Callable[..., Any],
    summary: str,
    *,
    check: Callable[[str, Tensor], None] | None = None,
    has_gradient: bool = True,
) -> Callable[..., Tensor]:
    """Make a function that reduces some axes of a tensor."""

    def function(
        input_tensor: Any,
        axis: Any = None,
        keepdims: bool | None = None,
        name: str | None = None,
        reduction_indices: Any = None,
        keep_dims: bool | None = None,
    ) -> Tensor:
        operand = convert_to_tensor(input_tensor)
        if check is not None:
            check(kind, operand)
        axes = as_axes(reduction_indices if axis is None else axis)
        keeps = bool(keepdims or keep_dims)
        dtype = operand.dtype

        def reduced(x: Any) -> Any:
            return ops.astype(compute(x, axis=axes, keepdims=keeps), dtype)

        return apply(kind, reduced, operand, label=name, is_differentiable=has_gradient)

    function.__doc__ = summary
    return function


def as_axes(axis: Any) -> int | tuple[int, ...] | None:
    """An axis or axes as plain integers."""
    if axis is None:
        return None
    if isinstance(axis, (list, tuple, np.ndarray)) and np.ndim(axis):
        return tuple(int(i) for i in axis)
    return int(axis)


reduce_sum = _reduction("Sum", ops.sum, "The sum over ``axis``.")
reduce_mean = _reduction(
    "Mean", ops.mean, "The mean over ``axis`` of floating numbers.", check=require_floating
)
reduce_max = _reduction("Max", ops.max, "The largest over ``axis``.")
reduce_min = _reduction("Min", ops.min, "The smallest over ``axis``.")
reduce_prod = _reduction("Prod", ops.prod, "The product over ``axis``.")
reduce_logsumexp = _reduction(
    "LogSumExp", nn.logsumexp, "``log(sum(exp(x)))`` over ``axis``.", check=require_floating
)
reduce_all = _reduction(
    "All", ops.all, "Whether all hold over ``axis``.", check=require_bool, has_gradient=False
)
reduce_any = _reduction(
    "Any", ops.any, "Whether one holds over ``axis``.", check=require_bool, has_gradient=False
)


def argmax(
    input: Any,
    axis: int | None = None,
    name: str | None = None,
    dimension: int | None = None,
    output_type: Any = "int64",
) -> Tensor:
    """Where the largest along ``axis`` is, by default along the first; of equals the first."""
    return _position("ArgMax", ops.argmax, input, axis, dimension, output_type, name)


def argmin(
    input: Any,
    axis: int | None = None,
    name: str | None = None,
    dimension: int | None = None,
    output_type: Any = "int64",
) -> Tensor:
    """Where the smallest along ``axis`` is, by default along the first; of equals the first."""
    return _position("ArgMin", ops.argmin, input, axis, dimension, output_type, name)


def _position(
    kind: str,
    compute: Callable[..., Any],
    input: Any,
    axis: int | None,
    dimension: int | None,
    output_type: Any,
    name: str | None,
) -> Tensor:
    place = axis if axis is not None else dimension or 0
    dtype = as_dtype(output_type)

    def found(x: Any) -> Any:
        return ops.astype(compute(x, axis=place), dtype)

    return apply(kind, found, convert_to_tensor(input), label=name, is_differentiable=False)


def norm(tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
    """The Euclidean norm over ``axis``."""
    x = convert_to_tensor(tensor)
    require_floating("norm", x)
    axes = as_axes(axis)

    def length(x: Any) -> Any:
        return ops.sqrt(ops.sum(x * x, axis=axes, keepdims=keepdims))

    return apply("norm", length, x, label=name)
