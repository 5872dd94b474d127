"""Making, reshaping, joining and indexing tensors, under TensorFlow's names.

Imports ``tensor`` and the engine's namespace. Shapes, axes and repetitions are Python numbers:
what is computed in the graph cannot be the shape of something.
"""

from __future__ import annotations

import builtins
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback import ops
from pullback.compat.v1.arithmetic import short_name
from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.reductions import as_axes
from pullback.compat.v1.shapes import Dims, as_dims, full_dims
from pullback.compat.v1.tensor import (
    OPERATORS,
    Operators,
    Tensor,
    apply,
    constant,
    convert_operands,
    convert_to_tensor,
)
from pullback.errors import DTypeError, ShapeError
from pullback.ops import nn
from pullback.types import INTEGER, as_dtype, float32


def zeros(shape: Any, dtype: Any = float32, name: str | None = None) -> Tensor:
    """A tensor of zeros."""
    return fill_with("zeros", 0, shape, dtype, name)


def ones(shape: Any, dtype: Any = float32, name: str | None = None) -> Tensor:
    """A tensor of ones."""
    return fill_with("ones", 1, shape, dtype, name)


def fill(dims: Any, value: Any, name: str | None = None) -> Tensor:
    """A tensor of the shape ``dims`` with ``value`` everywhere."""
    number = constant(value).dtype
    return fill_with("Fill", value, dims, number, name)


def fill_with(kind: str, value: Any, shape: Any, dtype: Any, name: str | None) -> Tensor:
    """A constant of a shape that must be known."""
    lengths = full_dims(kind, shape)
    return constant(np.full(lengths, value, as_dtype(dtype)), name=name or kind)


def zeros_like(tensor: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Zeros of the shape of ``tensor``."""
    return _like("zeros_like", 0, tensor, dtype, name)


def ones_like(tensor: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Ones of the shape of ``tensor``."""
    return _like("ones_like", 1, tensor, dtype, name)


def _like(kind: str, value: int, tensor: Any, dtype: Any, name: str | None) -> Tensor:
    x = convert_to_tensor(tensor)
    wanted = x.dtype if dtype is None else as_dtype(dtype)

    def filled(x: Any) -> Any:
        return ops.full(x.shape, value, dtype=wanted)

    return apply(kind, filled, x, label=name, is_differentiable=False)


def eye(num_rows: int, num_columns: int | None = None, dtype: Any = float32) -> Tensor:
    """The identity matrix."""
    return constant(np.eye(num_rows, num_columns, dtype=as_dtype(dtype)), name="eye")


def range(
    start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str = "range"
) -> Tensor:
    """Numbers from ``start``, or 0 if ``limit`` is left out, up to ``limit`` by ``delta``."""
    first, last = (0, start) if limit is None else (start, limit)
    if any(isinstance(x, Operators) for x in (first, last, delta)):
        raise GraphError("tf.range of tensors: its length would not be known; give Python numbers")
    return constant(np.arange(first, last, delta).tolist(), dtype, name=name)


def linspace(start: float, stop: float, num: int, name: str = "LinSpace") -> Tensor:
    """``num`` evenly spaced float32 numbers from ``start`` to ``stop``."""
    return constant(np.linspace(start, stop, num, dtype=np.float32), name=name)


def shape(input: Any, name: str | None = None, out_type: Any = "int32") -> Tensor:
    """The lengths of the axes, as a tensor of integers, known when the graph runs."""
    dtype = as_dtype(out_type)

    def lengths(x: Any) -> Any:
        return ops.asarray(np.array(x.shape, dtype))

    return apply("Shape", lengths, convert_to_tensor(input), label=name, is_differentiable=False)


def size(input: Any, name: str | None = None, out_type: Any = "int32") -> Tensor:
    """The number of elements, known when the graph runs."""
    dtype = as_dtype(out_type)

    def count(x: Any) -> Any:
        return ops.asarray(np.array(x.size, dtype))

    return apply("Size", count, convert_to_tensor(input), label=name, is_differentiable=False)


def rank(input: Any, name: str | None = None) -> Tensor:
    """The number of axes."""

    def count(x: Any) -> Any:
        return ops.asarray(np.array(x.ndim, np.int32))

    return apply("Rank", count, convert_to_tensor(input), label=name, is_differentiable=False)


def reshape(tensor: Any, shape: Any, name: str | None = None) -> Tensor:
    """``tensor`` with another shape; one length may be -1, which stands for what fits.

    Raises:
        GraphError: ``shape`` is computed in the graph.
        ShapeError: the number of elements does not fit.
    """
    x = convert_to_tensor(tensor)
    dims = as_dims(shape)
    if dims is None:
        raise GraphError("tf.reshape needs a shape")
    wanted = tuple(-1 if n is None else n for n in dims)
    if x.dims is not None and None not in x.dims:
        return apply("Reshape", lambda x: ops.reshape(x, wanted), x, label=name)
    found = _reshaped(x.dims, dims)
    return Tensor(name or "Reshape", found, x.dtype, [x], lambda x: ops.reshape(x, wanted))


def _reshaped(dims: Dims, wanted: tuple[int | None, ...]) -> Dims:
    """Where the lengths are not known, all that can be checked is what divides them."""
    if wanted.count(None) > 1:
        raise ShapeError("tf.reshape with more than one length of -1")
    known = [n for n in dims or () if n is not None]
    total, rest = np.prod(known, dtype=int), [n for n in wanted if n is not None]
    if dims is not None and dims.count(None) == 1 and None not in wanted:
        count = np.prod(rest, dtype=int)
        if total and count % total:
            raise ShapeError(f"tf.reshape to {wanted}: {count} is no multiple of {total}")
    return wanted


def transpose(a: Any, perm: Sequence[int] | None = None, name: str | None = None) -> Tensor:
    """``a`` with its axes in the order ``perm``, by default the opposite one."""
    axes = None if perm is None else tuple(int(i) for i in perm)
    return apply("Transpose", lambda x: ops.transpose(x, axes), convert_to_tensor(a), label=name)


def expand_dims(
    input: Any, axis: int | None = None, name: str | None = None, dim: int | None = None
) -> Tensor:
    """``input`` with one more axis, of length 1, at ``axis``."""
    place = axis if axis is not None else dim or 0
    x = convert_to_tensor(input)
    return apply("ExpandDims", lambda x: ops.expand_dims(x, axis=place), x, label=name)


def squeeze(
    input: Any, axis: Any = None, name: str | None = None, squeeze_dims: Any = None
) -> Tensor:
    """``input`` without the axes ``axis``, by default without all of length 1."""
    axes = as_axes(squeeze_dims if axis is None else axis)
    axes = None if axes == () else axes
    x = convert_to_tensor(input)
    return apply("Squeeze", lambda x: ops.squeeze(x, axis=axes), x, label=name)


def concat(values: Any, axis: int, name: str | None = None) -> Tensor:
    """Tensors joined along ``axis``."""
    operands = convert_operands(*values)
    return apply("concat", lambda *xs: ops.concat(xs, axis=axis), *operands, label=name)


def stack(values: Any, axis: int = 0, name: str | None = None) -> Tensor:
    """Tensors of one shape along a new axis."""
    operands = convert_operands(*values)
    return apply("stack", lambda *xs: ops.stack(xs, axis=axis), *operands, label=name)


def unstack(
    value: Any, num: int | None = None, axis: int = 0, name: str | None = None
) -> list[Tensor]:
    """The list of the parts of ``value`` along ``axis``, whose length must be known.

    Raises:
        GraphError: it is not known, and ``num`` does not say it.
    """
    x = convert_to_tensor(value)
    count = num if x.dims is None or x.dims[axis] is None else x.dims[axis]
    if count is None:
        raise GraphError(f"tf.unstack of {x!r} along axis {axis}: give `num`, its length")
    return [_part("unstack", x, axis, i, 1, name, True) for i in builtins.range(count)]


def split(
    value: Any, num_or_size_splits: Any, axis: int = 0, name: str | None = None
) -> list[Tensor]:
    """``value`` cut along ``axis`` into equal parts, or into parts of the given lengths.

    Raises:
        GraphError: the length of the axis is not known.
        ShapeError: it cannot be cut so.
    """
    x = convert_to_tensor(value)
    total = None if x.dims is None else x.dims[axis]
    if total is None:
        raise GraphError(f"tf.split of {x!r} along axis {axis}: its length is not known")
    if isinstance(num_or_size_splits, (list, tuple)):
        sizes = [int(n) for n in num_or_size_splits]
    else:
        parts = int(num_or_size_splits)
        sizes = [total // parts] * parts
    if sum(sizes) != total:
        raise ShapeError(f"tf.split of {x.describe()} along axis {axis} into parts of {sizes}")
    starts = np.cumsum([0, *sizes[:-1]]).tolist()
    return [
        _part("split", x, axis, start, n, name, False)
        for start, n in zip(starts, sizes, strict=True)
    ]


def _part(
    kind: str, x: Tensor, axis: int, start: int, length: int, name: str | None, drops: bool
) -> Tensor:
    def part(x: Any) -> Any:
        place = axis % x.ndim
        index: Any = start if drops else slice(start, start + length)
        return x[(*(slice(None),) * place, index)]

    return apply(kind, part, x, label=name)


def tile(input: Any, multiples: Sequence[int], name: str | None = None) -> Tensor:
    """``input`` repeated ``multiples`` times along each axis."""
    times = full_dims("tf.tile", multiples)
    return apply("Tile", lambda x: ops.tile(x, times), convert_to_tensor(input), label=name)


def pad(
    tensor: Any, paddings: Any, mode: str = "CONSTANT", name: str | None = None,
    constant_values: float = 0,
) -> Tensor:  # fmt: skip
    """``tensor`` with more elements before and behind along each axis.

    Args:
        tensor: A tensor.
        paddings: A pair of numbers for each axis.
        mode: ``"CONSTANT"``, ``"REFLECT"`` or ``"SYMMETRIC"``.
        name: Name of the result.
        constant_values: What is put there in the first mode.
    """
    pairs = [(int(before), int(behind)) for before, behind in paddings]
    how = mode.lower()
    fixed = {"constant_values": constant_values} if how == "constant" else {}

    def padded(x: Any) -> Any:
        return ops.pad(x, pairs, mode=how, **fixed)

    return apply("Pad", padded, convert_to_tensor(tensor), label=name)


def gather(params: Any, indices: Any, axis: int = 0, name: str | None = None) -> Tensor:
    """The slices of ``params`` along ``axis`` that ``indices`` name."""
    x, places = convert_to_tensor(params), convert_to_tensor(indices)
    if places.dtype not in INTEGER:
        raise DTypeError(f"tf.gather with indices {places!r}: expected integers")
    return apply("Gather", lambda x, i: ops.take(x, i, axis=axis), x, places, label=name)


def one_hot(
    indices: Any,
    depth: int,
    on_value: Any = 1.0,
    off_value: Any = 0.0,
    axis: int = -1,
    dtype: Any = float32,
    name: str | None = None,
) -> Tensor:
    """``on_value`` at the place that each index names, ``off_value`` elsewhere."""
    places, wanted = convert_to_tensor(indices), as_dtype(dtype)
    if places.dtype not in INTEGER:
        raise DTypeError(f"tf.one_hot of {short_name(places.dtype)}: expected integers")

    def hot(i: Any) -> Any:
        found = nn.one_hot(i, int(depth), dtype=wanted, axis=axis)
        if (on_value, off_value) == (1, 0):
            return found
        return ops.where(ops.equal(found, 1), ops.astype(on_value, wanted), off_value)

    return apply("one_hot", hot, places, label=name, is_differentiable=False)


def getitem(x: Any, key: Any) -> Tensor:
    """``x[key]`` with integers, slices, ``...`` and ``tf.newaxis``."""
    operand = convert_to_tensor(x)
    keys = key if isinstance(key, tuple) else (key,)
    if any(isinstance(k, Operators) for k in keys):
        raise GraphError("indexing a tensor with a tensor: use tf.gather")
    index = tuple(_index(k) for k in keys)
    return apply("strided_slice", lambda x: x[index], operand)


def _index(key: Any) -> Any:
    if key is None or key is Ellipsis or isinstance(key, slice):
        return key
    return operator.index(key)


def slice_(input_: Any, begin: Sequence[int], size: Sequence[int], name: Any = None) -> Tensor:
    """The part of ``input_`` that starts at ``begin``; a size of -1 is all that follows."""
    index = tuple(slice(b, None if n == -1 else b + n) for b, n in zip(begin, size, strict=True))
    return apply("Slice", lambda x: x[index], convert_to_tensor(input_), label=name)


OPERATORS.update(getitem=getitem, stack=stack)
