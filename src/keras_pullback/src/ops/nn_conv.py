"""Convolutions of one to three spatial axes, and their transposition.

Imports ``nn_windows``; ``nn`` exports every name here. A convolution is a sum of matrix products,
one for each position in the kernel, over slices of the padded input; where there are few channels,
positions are joined to wider products first. 16-bit floats are summed in float32.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from keras.src.backend import config
from keras.src.backend.common.backend_utils import compute_conv_transpose_padding_args_for_jax

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor
from keras_pullback.src.ops.nn_windows import (
    Axis,
    axes_of,
    interleaved,
    kernel_blocks,
    pad_axes,
    same_padding,
    shifted,
    split_strides,
    window,
)
from pullback.export.operators import Convolution, TransposedConvolution, operator

__all__ = ["conv", "conv_transpose", "depthwise_conv", "separable_conv"]

#: Positions are joined while the joined channels are at most so many. Measured on CPUs: below it
#: one wide product is several times faster than many thin ones, above it the sum is.
_JOINED_CHANNELS = 32
#: Or while there are more products than this: each costs time to compile.
_PRODUCTS = 25


def _channels_last(x: Any, data_format: str) -> Any:
    return x if data_format == "channels_last" else pb.moveaxis(x, 1, -1)


def _formatted(x: Any, data_format: str) -> Any:
    return x if data_format == "channels_last" else pb.moveaxis(x, -1, 1)


def _operands(inputs: Any, kernel: Any, data_format: str | None) -> tuple[Any, Any, str]:
    """The input in the kernel's dtype, the kernel, and the data format, of Keras's if not given."""
    kernel = real_tensor(kernel)
    inputs = real_tensor(inputs, dtype=kernel.dtype)
    return inputs, kernel, config.standardize_data_format(data_format)


def _channels(inputs: Any, data_format: str) -> int:
    channels: int = inputs.shape[-1 if data_format == "channels_last" else 1]
    return channels


def _wide(x: Any) -> Any:
    return cast(x, "float32") if x.dtype in (pb.float16, pb.bfloat16) else x


def _widths(x: Any, axes: Sequence[Axis], padding: Any) -> tuple[tuple[int, int], ...]:
    """Zeros to add before and after each axis."""
    if not isinstance(padding, str):
        return tuple((int(before), int(after)) for before, after in padding)
    if padding.lower() not in ("valid", "same"):
        raise ValueError(f"Invalid padding '{padding}', must be 'same' or 'valid'.")
    return tuple(same_padding(axes, x.shape)) if _is_same(padding) else ((0, 0),) * len(axes)


def _is_same(padding: Any) -> bool:
    return isinstance(padding, str) and padding.lower() == "same"


def _padded(x: Any, axes: Sequence[Axis], widths: Any) -> tuple[Any, list[int]]:
    """The padded input, and the number of windows along each axis."""
    lengths = [x.shape[a.place] + sum(p) for a, p in zip(axes, widths, strict=True)]
    counts = [a.count(n) for a, n in zip(axes, lengths, strict=True)]
    if 0 in counts and x.size:
        raise ValueError(
            "The convolution operation resulted in an empty output. This can happen if the input "
            "is too small for the given kernel size, strides, dilation rate, and padding mode. "
            f"Received lengths {lengths} after padding, for kernels that reach over "
            f"{[a.reach for a in axes]}."
        )
    return pad_axes(x, axes, widths), counts


def _joined(sizes: Sequence[int], channels: int) -> int:
    """Number of spatial axes, counted from the first, whose positions are not joined."""
    kept, width = len(sizes), channels
    while kept and (
        width * sizes[kept - 1] <= _JOINED_CHANNELS or math.prod(sizes[:kept]) > _PRODUCTS
    ):
        kept -= 1
        width *= sizes[kept]
    return kept


def _sum_of_products(
    x: Any, kernel: Any, axes: Sequence[Axis], counts: Sequence[int], groups: int
) -> Any:
    """The convolution of a padded input, channels last."""
    sizes = kernel.shape[:-2]
    kept = _joined(sizes, kernel.shape[-2]) if groups == 1 else len(sizes)
    inner = list(itertools.product(*(range(k) for k in sizes[kept:])))
    x = split_strides(x, axes, counts)
    total = None
    for outer in itertools.product(*(range(k) for k in sizes[:kept])):
        parts = [window(x, axes, (*outer, *rest), counts) for rest in inner]
        patch = parts[0] if len(parts) == 1 else pb.concat(parts, axis=-1)
        matrix = pb.reshape(kernel[outer], (-1, kernel.shape[-1]))
        part = _product(patch, matrix, groups)
        total = part if total is None else total + part
    return total


def _product(patch: Any, matrix: Any, groups: int) -> Any:
    """Channels of a patch contracted with one position of the kernel, group by group."""
    if groups == 1:
        return pb.tensordot(patch, matrix, 1)
    fan_in, filters = matrix.shape
    split = pb.reshape(patch, (*patch.shape[:-1], groups, fan_in))
    matrices = pb.reshape(matrix, (fan_in, groups, filters // groups))
    # One channel a group: nothing is contracted, and the sum fuses into one loop.
    alone = fan_in == 1
    result = split * matrices[0] if alone else pb.einsum("...gc,cgo->...go", split, matrices)
    return pb.reshape(result, (*patch.shape[:-1], filters))


def _convolve(
    inputs: Any, kernel: Any, strides: Any, padding: Any, data_format: str, dilation_rate: Any
) -> Any:
    channels_last = data_format == "channels_last"
    axes = axes_of(1 if channels_last else 2, kernel.shape[:-2], strides, dilation_rate)
    what = Convolution(
        strides=tuple(a.stride for a in axes),
        dilations=tuple(a.dilation for a in axes),
        widths=_widths(inputs, axes, padding),
        is_same=_is_same(padding),
        channels_last=channels_last,
    )
    return operator(what, lambda x, k: _composed(what, x, k), inputs, kernel)


def _composed(what: Convolution, inputs: Any, kernel: Any) -> Any:
    """The convolution, made of slices and products."""
    dtype = kernel.dtype
    data_format = "channels_last" if what.channels_last else "channels_first"
    x, kernel = _wide(_channels_last(inputs, data_format)), _wide(kernel)
    axes = axes_of(1, kernel.shape[:-2], what.strides, what.dilations)
    groups = x.shape[-1] // kernel.shape[-2]
    padded, counts = _padded(x, axes, what.widths)
    return cast(
        _formatted(_sum_of_products(padded, kernel, axes, counts, groups), data_format), dtype
    )


def conv(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: Any = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    """Convolution with ``kernel`` of shape ``(*sizes, channels of a group, filters)``."""
    inputs, kernel, data_format = _operands(inputs, kernel, data_format)
    channels = _channels(inputs, data_format)
    if channels % kernel.shape[-2]:
        raise ValueError(
            "The number of input channels must be evenly divisible by kernel's in_channels. "
            f"Received input channels {channels} and kernel in_channels {kernel.shape[-2]}."
        )
    return _convolve(inputs, kernel, strides, padding, data_format, dilation_rate)


def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: Any = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    """Convolution of each channel alone, ``kernel`` of shape ``(*sizes, channels, multiplier)``."""
    inputs, kernel, data_format = _operands(inputs, kernel, data_format)
    _check_channels(inputs, kernel.shape[-2], data_format)
    *sizes, channels, multiplier = kernel.shape
    kernel = pb.reshape(kernel, (*sizes, 1, channels * multiplier))
    return _convolve(inputs, kernel, strides, padding, data_format, dilation_rate)


def separable_conv(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any = 1,
    padding: Any = "valid",
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    """Depthwise convolution, then one with a kernel of a single position."""
    data_format = config.standardize_data_format(data_format)
    result = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(result, pointwise_kernel, data_format=data_format)


def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: Any = "valid",
    output_padding: Any = None,
    data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:
    """The transposition of ``conv``, ``kernel`` of shape ``(*sizes, filters, channels)``."""
    inputs, kernel, data_format = _operands(inputs, kernel, data_format)
    _check_channels(inputs, kernel.shape[-1], data_format)
    channels_last = data_format == "channels_last"
    spatial = inputs.shape[1:-1] if channels_last else inputs.shape[2:]
    pads = compute_conv_transpose_padding_args_for_jax(
        input_shape=(inputs.shape[0], *spatial, kernel.shape[-1]),
        kernel_shape=kernel.shape,
        strides=strides,
        padding=padding,
        output_padding=output_padding,
        dilation_rate=dilation_rate,
    )
    axes = axes_of(1, kernel.shape[:-2], strides, dilation_rate)
    what = TransposedConvolution(
        strides=tuple(a.stride for a in axes),
        dilations=tuple(a.dilation for a in axes),
        # Keras counts the zeros around a dilated input; this is what they leave of the whole
        # result.
        widths=tuple(
            (p - a.reach + 1, q - a.reach + 1) for a, (p, q) in zip(axes, pads, strict=True)
        ),
        channels_last=channels_last,
    )
    return operator(what, lambda x, k: _transposed(what, x, k), inputs, kernel)


def _transposed(what: TransposedConvolution, inputs: Any, kernel: Any) -> Any:
    """The transposed convolution, made of products, moved and added."""
    dtype = kernel.dtype
    data_format = "channels_last" if what.channels_last else "channels_first"
    x, kernel = _wide(_channels_last(inputs, data_format)), _wide(kernel)
    axes = axes_of(1, kernel.shape[:-2], what.strides, what.dilations)
    n = len(axes)
    total = None
    for place, block in kernel_blocks(kernel, axes).items():
        part = pb.tensordot(shifted(x, axes, place), block, ((n + 1,), (n + 1,)))
        total = part if total is None else total + part
    # Blocks, places in a block, filters; the last block may reach beyond the result.
    full = interleaved(total, axes, range(n + 1, 2 * n + 1))
    widths = []
    for axis, (before, after) in zip(axes, what.widths, strict=True):
        whole = (x.shape[axis.place] - 1) * axis.stride + axis.reach
        widths.append((before, after + whole - full.shape[axis.place]))
    return cast(_formatted(pad_axes(full, axes, widths), data_format), dtype)


def _check_channels(inputs: Any, expected: int, data_format: Any) -> None:
    channels = _channels(inputs, data_format)
    if channels != expected:
        raise ValueError(
            f"input channels must match the kernel, which has {expected}: the input is "
            f"{inputs.type}, which has {channels} with data_format={data_format!r}"
        )
