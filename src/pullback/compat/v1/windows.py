"""Convolution and pooling of images ``[batch, height, width, channels]``.

Imports ``arithmetic``. Each is composed of shifted slices of the padded image: right, and slower
than a kernel of its own would be. ``nn`` and ``layers`` export what is here.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

from pullback import ops
from pullback.compat.v1.arithmetic import require_floating
from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.tensor import Tensor, apply, convert_operands, convert_to_tensor
from pullback.errors import ShapeError

Pair = tuple[int, int]


def conv2d(
    input: Any,
    filter: Any = None,
    strides: Any = (1, 1, 1, 1),
    padding: str = "SAME",
    data_format: str = "NHWC",
    name: str | None = None,
    filters: Any = None,
) -> Tensor:
    """The sums of products of a kernel with every window of an image.

    Args:
        input: A floating tensor ``[n, h, w, c]``.
        filter: The kernel ``[kh, kw, c, d]``.
        strides: A number, a pair, or four numbers of which the outer are 1.
        padding: ``"SAME"``: zeros around, so that without strides the size stays; ``"VALID"``.
        data_format: Must be ``"NHWC"``.
        name: Name of the result.
        filters: The same as ``filter``.

    Returns:
        A tensor ``[n, h', w', d]``.

    Raises:
        GraphError: an option is none of these.
        ShapeError: the shapes do not fit.
    """
    steps = _settings("conv2d", strides, padding, data_format)
    operands = convert_operands(input, filter if filters is None else filters)
    require_floating("conv2d", operands[0])

    def convolved(x: Any, kernel: Any) -> Any:
        if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
            raise ShapeError(
                f"image {x.type} and kernel {kernel.type}: expected [n, h, w, c] and [kh, kw, c, d]"
            )
        size = kernel.shape[:2]
        joined = ops.concat(_windows(x, size, steps, padding, 0.0), axis=3)
        return joined @ ops.reshape(kernel, (math.prod(kernel.shape[:3]), kernel.shape[3]))

    return apply("Conv2D", convolved, *operands, label=name)


def max_pool(
    value: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str = "NHWC",
    name: str | None = None,
) -> Tensor:
    """The largest of every window.

    Args:
        value: A floating tensor ``[n, h, w, c]``.
        ksize: The window: a number, a pair, or four numbers of which the outer are 1.
        strides: How far windows are apart, in the same forms.
        padding: ``"SAME"`` or ``"VALID"``.
        data_format: Must be ``"NHWC"``.
        name: Name of the result.

    Raises:
        GraphError: an option is none of these.
        ShapeError: the image is smaller than a window, or no image.
    """

    def largest(x: Any, size: Pair, steps: Pair) -> Any:
        return functools.reduce(ops.maximum, _windows(x, size, steps, padding, -math.inf))

    return _pool("MaxPool", largest, value, ksize, strides, padding, data_format, name)


def avg_pool(
    value: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str = "NHWC",
    name: str | None = None,
) -> Tensor:
    """The mean of every window, of what is inside the image; see ``max_pool``."""

    def mean(x: Any, size: Pair, steps: Pair) -> Any:
        total = functools.reduce(ops.add, _windows(x, size, steps, padding, 0.0))
        inside = ops.ones((1, *x.shape[1:3], 1), dtype=x.dtype)
        return total / functools.reduce(ops.add, _windows(inside, size, steps, padding, 0.0))

    return _pool("AvgPool", mean, value, ksize, strides, padding, data_format, name)


def _pool(
    kind: str,
    compute: Callable[[Any, Pair, Pair], Any],
    value: Any,
    ksize: Any,
    strides: Any,
    padding: str,
    data_format: str,
    name: str | None,
) -> Tensor:
    steps, size = _settings(kind, strides, padding, data_format), _pair(kind, ksize)
    x = convert_to_tensor(value)
    require_floating(kind, x)

    def pooled(x: Any) -> Any:
        if x.ndim != 4:
            raise ShapeError(f"image {x.type}: expected [n, h, w, c]")
        return compute(x, size, steps)

    return apply(kind, pooled, x, label=name)


def _settings(kind: str, strides: Any, padding: str, data_format: str) -> Pair:
    if padding not in ("SAME", "VALID") or data_format != "NHWC":
        raise GraphError(
            f"{kind} with padding {padding!r} and data_format {data_format!r}: expected 'SAME' or "
            "'VALID', and 'NHWC'"
        )
    return _pair(kind, strides)


def _pair(kind: str, given: Any) -> Pair:
    """Height and width, from one, two or four numbers."""
    numbers = [given] * 2 if isinstance(given, int) else [int(n) for n in given]
    if len(numbers) == 4 and numbers[0] == numbers[3] == 1:
        numbers = numbers[1:3]
    if len(numbers) != 2 or min(numbers) < 1:
        raise GraphError(f"{kind} with {given}: expected two positive numbers, or [1, h, w, 1]")
    return numbers[0], numbers[1]


def _windows(x: Any, size: Pair, steps: Pair, padding: str, around: float) -> list[Any]:
    """For each place in a window the array ``[n, h', w', c]`` of what is there in each window."""
    counts = []
    for axis, (length, step) in enumerate(zip(size, steps, strict=True), 1):
        n = x.shape[axis]
        if padding == "SAME":
            counts.append(-(-n // step))
            missing = max((counts[-1] - 1) * step + length - n, 0)
            widths = [(0, 0)] * 4
            widths[axis] = missing // 2, missing - missing // 2
            x = ops.pad(x, widths, constant_values=around) if missing else x
        else:
            counts.append((n - length) // step + 1)
        if counts[-1] < 1:
            raise ShapeError(f"{x.type} has no window of {size[0]} by {size[1]}")
    (h, w), (down, right) = counts, steps
    return [
        x[:, i : i + (h - 1) * down + 1 : down, j : j + (w - 1) * right + 1 : right]
        for i, j in itertools.product(*map(range, size))
    ]
