"""Shapes and layout: reshape, transpose, join, split, repeat, pad and pick.

Joined tensors take their common dtype; nothing here computes with the elements.
"""

from __future__ import annotations

from typing import Any, Literal

import pullback as pb
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.numpy_common import axis_argument, operand, unified


def reshape(x: Any, newshape: Any) -> Any:
    """Return ``x`` in another shape, where one size may be -1."""
    x = real_tensor(x)
    return pb.reshape(x, newshape if isinstance(newshape, int) else tuple(newshape))


def ravel(x: Any) -> Any:
    """Return ``x`` with one axis."""
    return pb.reshape(real_tensor(x), (-1,))


def expand_dims(x: Any, axis: Any) -> Any:
    """Insert axes of size one at ``axis``."""
    return pb.expand_dims(real_tensor(x), axis_argument(axis))


def squeeze(x: Any, axis: Any = None) -> Any:
    """Drop the axes of size one, or those of ``axis``."""
    return pb.squeeze(real_tensor(x), axis_argument(axis))


def transpose(x: Any, axes: Any = None) -> Any:
    """Permute the axes, reversed by default."""
    x = real_tensor(x)
    return pb.transpose(x, None if axes is None else tuple(axes))


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Exchange two axes."""
    return pb.swapaxes(real_tensor(x), axis1, axis2)


def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Move axes to other places."""
    return pb.moveaxis(real_tensor(x), axis_argument(source), axis_argument(destination))


def broadcast_to(x: Any, shape: Any) -> Any:
    """Broadcast ``x`` to a shape."""
    return pb.broadcast_to(real_tensor(x), shape if isinstance(shape, int) else tuple(shape))


def concatenate(xs: Any, axis: Any = 0) -> Any:
    """Join tensors along an axis that they have."""
    return pb.concatenate(unified(xs), axis)


def stack(x: Any, axis: int = 0) -> Any:
    """Join tensors along a new axis."""
    return pb.stack(unified(x), axis)


def hstack(xs: Any) -> Any:
    """Join tensors along their second axis, vectors along their first."""
    return pb.hstack(unified(xs))


def vstack(xs: Any) -> Any:
    """Join tensors along their first axis, vectors as rows."""
    return pb.vstack(unified(xs))


def dstack(xs: Any) -> Any:
    """Join tensors along their third axis."""
    return pb.dstack(unified(xs))


def append(x1: Any, x2: Any, axis: Any = None) -> Any:
    """Join two tensors along ``axis``, flattened where it is ``None``."""
    x1, x2 = unified((x1, x2))
    if axis is None:
        return pb.concatenate([pb.reshape(x1, (-1,)), pb.reshape(x2, (-1,))], 0)
    return pb.concatenate([x1, x2], axis)


def _cuts(indices_or_sections: Any) -> Any:
    if isinstance(indices_or_sections, (int, tuple)):
        return indices_or_sections
    if hasattr(indices_or_sections, "tolist"):
        return indices_or_sections.tolist()
    return [int(i) for i in indices_or_sections]


def split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Split ``x`` into equal parts or at indices, as a list."""
    return pb.split(real_tensor(x), _cuts(indices_or_sections), axis)


def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """Split ``x`` into parts of nearly equal size, as a list."""
    return pb.array_split(real_tensor(x), _cuts(indices_or_sections), axis)


def hsplit(x: Any, indices_or_sections: Any) -> Any:
    """Split ``x`` along its second axis, a vector along its first."""
    x = real_tensor(x)
    return split(x, indices_or_sections, 0 if x.ndim == 1 else 1)


def vsplit(x: Any, indices_or_sections: Any) -> Any:
    """Split ``x`` along its first axis."""
    return split(x, indices_or_sections, 0)


def dsplit(x: Any, indices_or_sections: Any) -> Any:
    """Split ``x`` along its third axis."""
    return split(x, indices_or_sections, 2)


def tile(x: Any, repeats: Any) -> Any:
    """Repeat the whole of ``x`` along its axes."""
    x = real_tensor(x)
    if hasattr(repeats, "tolist"):
        repeats = repeats.tolist()
    return pb.tile(x, repeats if isinstance(repeats, int) else tuple(int(n) for n in repeats))


def repeat(x: Any, repeats: Any, axis: Any = None) -> Any:
    """Repeat each element along ``axis``, of all elements where it is ``None``."""
    x = real_tensor(x)
    if not isinstance(repeats, int):
        repeats = real_tensor(repeats)
        if repeats.size == 1:
            repeats = pb.reshape(repeats, ())
    return pb.repeat(x, repeats, axis)


def flip(x: Any, axis: Any = None) -> Any:
    """Reverse the order along axes, all of them by default."""
    return pb.flip(real_tensor(x), axis_argument(axis))


def fliplr(x: Any) -> Any:
    """Reverse the order along the second axis."""
    return pb.flip(real_tensor(x), 1)


def flipud(x: Any) -> Any:
    """Reverse the order along the first axis."""
    return pb.flip(real_tensor(x), 0)


def rot90(array: Any, k: int = 1, axes: Any = (0, 1)) -> Any:
    """Rotate by 90 degrees ``k`` times in the plane of two axes."""
    array = real_tensor(array)
    if array.ndim < 2:
        raise ValueError(
            f"Input array must have at least 2 dimensions. Received: array.ndim={array.ndim}"
        )
    if len(axes) != 2 or axes[0] == axes[1]:
        raise ValueError(f"Invalid axes: {axes}. Axes must be a tuple of two different dimensions.")
    return pb.rot90(array, k, tuple(axes))


def roll(x: Any, shift: Any, axis: Any = None) -> Any:
    """Shift elements along axes; those that leave come in at the other end."""
    return pb.roll(real_tensor(x), axis_argument(shift), axis_argument(axis))


def pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Any:
    """Pad the edges of ``x``."""
    x = real_tensor(x)
    if constant_values is None:
        return pb.pad(x, pad_width, mode)
    if mode != "constant":
        raise ValueError(
            "Argument `constant_values` can only be provided when `mode == 'constant'`. "
            f"Received: mode={mode}"
        )
    return pb.pad(x, pad_width, mode, constant_values=operand(constant_values))


def take(x: Any, indices: Any, axis: Any = None) -> Any:
    """Pick elements along ``axis`` by index, of all elements where it is ``None``."""
    return pb.take(real_tensor(x), real_tensor(indices), axis)


def take_along_axis(x: Any, indices: Any, axis: Any = None) -> Any:
    """Pick one element per position along ``axis`` by index."""
    return pb.take_along_axis(real_tensor(x), real_tensor(indices), axis)


def meshgrid(*x: Any, indexing: Literal["xy", "ij"] = "xy") -> Any:
    """Return the coordinates of a grid, one tensor for each axis."""
    return pb.meshgrid(*[real_tensor(axis) for axis in x], indexing=indexing)


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return a diagonal of the plane of two axes."""
    return pb.diagonal(real_tensor(x), offset, axis1, axis2)


def diag(x: Any, k: int = 0) -> Any:
    """Return a diagonal of a matrix, or the matrix with a vector as its diagonal."""
    return pb.diag(real_tensor(x), k)


def diagflat(x: Any, k: int = 0) -> Any:
    """Return the matrix with the flattened ``x`` as its diagonal."""
    return pb.diag(ravel(x), k)


def tril(x: Any, k: int = 0) -> Any:
    """Return ``x`` with zeros above a diagonal of its last two axes."""
    return pb.tril(real_tensor(x), k)


def triu(x: Any, k: int = 0) -> Any:
    """Return ``x`` with zeros below a diagonal of its last two axes."""
    return pb.triu(real_tensor(x), k)


def ndim(x: Any) -> int:
    """Return the number of axes."""
    return int(real_tensor(x).ndim)


def size(x: Any) -> int:
    """Return the number of elements."""
    return int(real_tensor(x).size)
