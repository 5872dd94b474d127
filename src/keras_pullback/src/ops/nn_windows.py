"""Windows that slide over spatial axes: padding, strided slices, and their transposition.

Imports the array namespace only; used by convolutions, pooling and patches. A window's position
``k`` is one strided slice of the padded input for the whole batch, so everything built on it is
traced and differentiated as ordinary slices.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import pullback as pb

__all__ = [
    "Axis",
    "axes_of",
    "interleaved",
    "kernel_blocks",
    "pad_axes",
    "per_axis",
    "same_padding",
    "shifted",
    "split_strides",
    "window",
]


class Axis(NamedTuple):
    """One spatial axis: its place, and the kernel's size, stride and dilation along it."""

    place: int
    size: int
    stride: int
    dilation: int = 1

    @property
    def reach(self) -> int:
        """Number of elements from the first that the kernel reads to its last."""
        return (self.size - 1) * self.dilation + 1

    def count(self, length: int) -> int:
        """Number of whole windows in a (padded) axis of ``length``."""
        return max((length - self.reach) // self.stride + 1, 0)


def per_axis(value: Any, count: int) -> tuple[int, ...]:
    """One integer for each of ``count`` spatial axes, given as one or as a sequence."""
    return (value,) * count if isinstance(value, int) else tuple(int(v) for v in value)


def axes_of(first: int, sizes: Sequence[int], strides: Any, dilations: Any = 1) -> tuple[Axis, ...]:
    """The spatial axes from place ``first`` on."""
    n = len(sizes)
    rows = zip(sizes, per_axis(strides, n), per_axis(dilations, n), strict=True)
    return tuple(Axis(first + i, *row) for i, row in enumerate(rows))


def same_padding(axes: Sequence[Axis], shape: Sequence[int]) -> list[tuple[int, int]]:
    """Zeros before and after each axis that give ``ceil(length / stride)`` windows."""
    result = []
    for axis in axes:
        length = shape[axis.place]
        windows = -(-length // axis.stride)
        total = max((windows - 1) * axis.stride + axis.reach - length, 0)
        result.append((total // 2, total - total // 2))
    return result


def pad_axes(x: Any, axes: Sequence[Axis], widths: Any, value: Any = 0) -> Any:
    """``x`` with ``value`` added before and after each axis; widths below 0 cut off."""
    if not any(itertools.chain.from_iterable(widths)):
        return x
    pads, cuts = [(0, 0)] * x.ndim, [slice(None)] * x.ndim
    for axis, (before, after) in zip(axes, widths, strict=True):
        pads[axis.place] = (max(before, 0), max(after, 0))
        cuts[axis.place] = slice(max(-before, 0), x.shape[axis.place] + min(after, 0))
    return pb.pad(x[tuple(cuts)], tuple(pads), constant_values=value)


def split_strides(x: Any, axes: Sequence[Axis], counts: Sequence[int]) -> Any:
    """``x`` with each strided axis split in two, of blocks and of the places in a block.

    Windows are then slices without a step, which move and differentiate faster than those with one.
    """
    widths = []
    for axis, n in zip(axes, counts, strict=True):
        blocks = n + (axis.reach - 1) // axis.stride
        strided = axis.stride > 1
        widths.append((0, blocks * axis.stride - x.shape[axis.place] if strided else 0))
    x = pad_axes(x, axes, widths)
    shape: list[int] = []
    strides = {axis.place: axis.stride for axis in axes}
    for place, n in enumerate(x.shape):
        s = strides.get(place, 1)
        shape += [n] if s == 1 else [n // s, s]
    return pb.reshape(x, tuple(shape))


def window(x: Any, axes: Sequence[Axis], position: Sequence[int], counts: Sequence[int]) -> Any:
    """What the kernel's element at ``position`` meets, for every window of split ``x``."""
    index: list[Any] = [slice(None)] * axes[0].place
    for axis, k, n in zip(axes, position, counts, strict=True):
        block, place = divmod(k * axis.dilation, axis.stride)
        index.append(slice(block, block + n))
        if axis.stride > 1:
            index.append(place)
    return x[tuple(index)]


def kernel_blocks(kernel: Any, axes: Sequence[Axis]) -> dict[tuple[int, ...], Any]:
    """A kernel whose first axes are spatial, cut into blocks of one stride's length each.

    Returns:
        The blocks ``[*strides, ...]`` by their place. Zeros fill the last one, and the gaps that
        dilation leaves; blocks without anything else are left out.
    """
    n = len(axes)
    kernel = _dilated(kernel, axes)
    blocks = [-(-a.reach // a.stride) for a in axes]
    ends = [(0, m * a.stride - a.reach) for m, a in zip(blocks, axes, strict=True)]
    kernel = pb.pad(kernel, (*ends, *[(0, 0)] * (kernel.ndim - n)))
    used = [sorted({k * a.dilation // a.stride for k in range(a.size)}) for a in axes]
    return {
        place: kernel[
            tuple(slice(j * a.stride, (j + 1) * a.stride) for j, a in zip(place, axes, strict=True))
        ]
        for place in itertools.product(*used)
    }


def _dilated(kernel: Any, axes: Sequence[Axis]) -> Any:
    for i, axis in enumerate(axes):
        if axis.dilation > 1:
            spread = pb.expand_dims(kernel, axis=i + 1)
            pads = [(0, 0)] * spread.ndim
            pads[i + 1] = (0, axis.dilation - 1)
            shape = list(kernel.shape)
            shape[i] *= axis.dilation
            kernel = pb.reshape(pb.pad(spread, tuple(pads)), tuple(shape))
            kernel = kernel[(slice(None),) * i + (slice(0, axis.reach),)]
    return kernel


def shifted(x: Any, axes: Sequence[Axis], blocks: Sequence[int]) -> Any:
    """``x`` moved by whole blocks along axes, with zeros where it came from and went beyond."""
    last = [(a.reach - 1) // a.stride for a in axes]
    return pad_axes(x, axes, [(j, m - j) for j, m in zip(blocks, last, strict=True)])


def interleaved(x: Any, axes: Sequence[Axis], places: Sequence[int]) -> Any:
    """The transposition of ``split_strides``: ``x`` with blocks and places in them joined again.

    Args:
        x: Array with the blocks along ``axes``.
        axes: The spatial axes.
        places: Which axes of ``x`` hold the places in a block.
    """
    order: list[int] = []
    shape: list[int] = []
    inner = {a.place: p for a, p in zip(axes, places, strict=True)}
    for i in range(x.ndim):
        if i in inner:
            order += [i, inner[i]]
            shape.append(x.shape[i] * x.shape[inner[i]])
        elif i not in places:
            order.append(i)
            shape.append(x.shape[i])
    return pb.reshape(pb.permute_dims(x, tuple(order)), tuple(shape))
