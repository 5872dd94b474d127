"""Reading and writing at indices: ``x[...]``, ``x.at[...]``, and the standard's indexing chapter.

Imports ``keys`` (how an index is taken apart), ``manipulation`` and ``primitives``. Start at
``getitem``. Arrays never change: ``x.at[i].set(y)`` returns a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pullback.errors import ShapeError
from pullback.ops.arguments import ArrayLike, as_array, normalize_axis, require_dtype, scalar_of
from pullback.ops.dtypes import astype, strong
from pullback.ops.keys import Key, parse_key, refuse_lossy_update, wrap_index
from pullback.ops.manipulation import moveaxis, permute_dims, reshape
from pullback.primitives import operators
from pullback.primitives.elementwise import Select
from pullback.primitives.indexing import (
    DynamicSlice,
    DynamicUpdateSlice,
    Gather,
    position_dtype,
)
from pullback.primitives.scatter import Scatter
from pullback.primitives.shape import Broadcast, Pad, Reshape, Reverse
from pullback.program.value import Array, Value
from pullback.types import FLOATING, INTEGER, bool_

__all__ = [
    "dynamic_slice",
    "dynamic_update_slice",
    "put_along_axis",
    "take",
    "take_along_axis",
]


def getitem(x: Value, key: Any) -> Value:
    """Return ``x[key]`` by NumPy's rules.

    Args:
        x: Array.
        key: Integers, slices, ``None``, ``...``, arrays of integers, masks, or a tuple of these.
            Integers out of range raise if they are known; traced ones read nan, or 0.

    Raises:
        IndexError: an index is out of range, there are too many, or one is of a wrong kind.
        TracerArrayError: a mask is traced, so that the shape of the result is not known.

    Differentiation: the cotangent is put, or added, into zeros.
    """
    x = x.read()
    parsed = parse_key(x.type, key)
    part = parsed.static_part(x)
    if not parsed.arrays:
        return part
    axes = tuple(axis for axis, _ in parsed.arrays)
    vectors = parsed.index_vectors(part.shape)
    found: Value = Gather(axes, 0, "fill")(part, vectors)
    return permute_dims(found, _lead_to_place(parsed, vectors, found.ndim))


def _lead_to_place(key: Key, vectors: Value, ndim: int) -> tuple[int, ...]:
    """Permutation that moves the arrays' axes from the front to their place."""
    n = vectors.ndim - 1
    return (*range(n, n + key.place), *range(n), *range(n + key.place, ndim))


class IndexedArray:
    """``x.at``: index it, then say what is to be done there, as in ``x.at[i].add(1)``."""

    def __init__(self, x: Value) -> None:
        self._x = x

    def __getitem__(self, key: Any) -> Update:
        return Update(self._x.read(), key)


class Update:
    """``x.at[key]``: its methods return ``x`` changed at the places that ``key`` selects.

    Known indices out of range raise; traced ones are left out.
    """

    def __init__(self, x: Value, key: Any) -> None:
        self._x = x
        self._key = key

    def get(self) -> Value:
        """Return ``x[key]``."""
        return getitem(self._x, self._key)

    def set(self, values: ArrayLike) -> Value:
        """Return ``x`` with ``values`` at the places; of several for one place the last counts."""
        return self._apply("set", values, lambda _, new: new)

    def add(self, values: ArrayLike) -> Value:
        """Return ``x`` with ``values`` added at the places; several for one place add up."""
        return self._apply("add", values, operators.add)

    def subtract(self, values: ArrayLike) -> Value:
        """Return ``x`` with ``values`` subtracted at the places."""
        return self.add(operators.negative(as_array(values)))

    def multiply(self, values: ArrayLike) -> Value:
        """Return ``x`` multiplied by ``values`` at the places."""
        return self._apply("mul", values, operators.multiply)

    mul = multiply

    def divide(self, values: ArrayLike) -> Value:
        """Return ``x``, which is floating, divided by ``values`` at the places."""
        require_dtype("an update that divides", self._x, FLOATING)
        axes = tuple(range(self._x.ndim))
        ones = Broadcast(self._x.shape, axes)(scalar_of(1, self._x.dtype))
        return operators.divide(self._x, Update(ones, self._key).multiply(values))

    def power(self, values: ArrayLike) -> Value:
        """Return ``x`` raised to ``values`` at the places, each once."""
        return self.set(operators.power(self.get(), as_array(values)))

    def apply(self, function: Callable[[Value], ArrayLike]) -> Value:
        """Return ``x`` with ``function`` of the elements at the places, each once."""
        return self.set(function(self.get()))

    def min(self, values: ArrayLike) -> Value:
        """Return ``x`` with the lesser of it and ``values`` at the places."""
        return self._apply("min", values, operators.minimum)

    def max(self, values: ArrayLike) -> Value:
        """Return ``x`` with the greater of it and ``values`` at the places."""
        return self._apply("max", values, operators.maximum)

    def _apply(
        self, kind: str, values: ArrayLike, combine: Callable[[Value, Value], Value]
    ) -> Value:
        x = self._x
        if isinstance(values, (list, tuple)):
            values = as_array(values)
        refuse_lossy_update(x, values)
        new = operators.astype(values, x.dtype)
        mask = self._mask(new)
        if mask is not None:
            return operators.where(mask, combine(x, new), x)
        key = parse_key(x.type, self._key)
        part = key.static_part(x)
        if key.arrays:
            return _write(x, key, _scatter(part, key, kind, new))
        new = _spread(new, part.shape)
        return _write(x, key, combine(part, new))

    def _mask(self, new: Value) -> Value | None:
        """The key as a mask of the shape of ``x``, if it is one and ``new`` fits what is left."""
        key = self._key
        if not isinstance(key, Value) or key.dtype != bool_ or key.ndim == 0:
            return None
        mask = key.read()
        x, rest = self._x, self._x.ndim - mask.ndim
        if mask.shape != x.shape[: mask.ndim] or new.ndim > rest:
            return None
        return reshape(mask, mask.shape + (1,) * rest)


def _spread(x: Value, shape: tuple[int, ...]) -> Value:
    fits = x.ndim <= len(shape) and all(
        n in (1, m) for n, m in zip(reversed(x.shape), reversed(shape), strict=False)
    )
    if not fits:
        raise ShapeError(f"an update {x.type} does not broadcast to the places, of shape {shape}")
    return operators.broadcast_to(x, shape)


def _scatter(part: Value, key: Key, kind: str, new: Value) -> Value:
    axes = tuple(axis for axis, _ in key.arrays)
    vectors = key.index_vectors(part.shape)
    rest = tuple(n for i, n in enumerate(part.shape) if i not in axes)
    shape = (*vectors.shape[:-1], *rest)
    order = _lead_to_place(key, vectors, len(shape))
    placed = _spread(new, tuple(shape[i] for i in order))
    updates = permute_dims(placed, tuple(order.index(i) for i in range(len(order))))
    result: Value = Scatter(axes, 0, kind)(part, vectors, updates)
    return result


def _write(x: Value, key: Key, part: Value) -> Value:
    """Return ``x`` with ``part`` where ``key.static_part`` read it."""
    sizes = key.sliced
    block = part if part.shape == sizes else Reshape(sizes)(part)
    if key.reversed:
        block = Reverse(key.reversed)(block)
    if sizes == x.shape:
        return block
    if block.size == 0:
        return strong(x)
    if max(key.strides) == 1:
        starts = (scalar_of(start, position_dtype(max(x.shape))) for start in key.starts)
        result: Value = DynamicUpdateSlice()(x, block, *starts)
        return result
    return _write_strided(x, key, block)


def _write_strided(x: Value, key: Key, block: Value) -> Value:
    interior = tuple(stride - 1 for stride in key.strides)
    covered = zip(x.shape, key.starts, block.shape, key.strides, strict=True)
    high = tuple(n - start - (m - 1) * stride - 1 for n, start, m, stride in covered)
    spread = Pad(key.starts, high, interior)
    everywhere = Broadcast(block.shape, tuple(range(block.ndim)))(scalar_of(True, bool_))
    mask = spread(everywhere, scalar_of(False, bool_))
    result: Value = Select()(mask, spread(block, scalar_of(0, x.dtype)), x)
    return result


def _positions(name: str, indices: ArrayLike, length: int, axis: int, mode: str) -> Value:
    """Indices as positions for ``Gather``, whose mode tells what to do with those outside."""
    value = as_array(indices)
    require_dtype(f"{name}: indices", value, INTEGER)
    if mode == "fill":
        return wrap_index(value, length, axis)
    if mode == "wrap":
        return operators.remainder(astype(value, position_dtype(length)), max(length, 1))
    if mode == "clip":
        return value
    raise ValueError(f"{name}: mode {mode!r}; expected 'fill', 'wrap' or 'clip'")


def take(
    x: ArrayLike, indices: ArrayLike, /, axis: int | None = None, *, mode: str = "fill"
) -> Value:
    """Elements, or slices, at positions along an axis.

    Args:
        x: Array ``[..., n, ...]``.
        indices: Array of integers; negative ones count from the end.
        axis: The axis of length ``n``; None to flatten ``x`` first. Static.
        mode: What positions outside read: ``"fill"`` nan, or 0 if ``x`` is not floating (known
            ones raise); ``"clip"`` the nearest element; ``"wrap"`` the position modulo ``n``.

    Returns:
        Array ``[..., indices.shape, ...]``.

    Raises:
        DTypeError: ``indices`` are not integers.
        IndexError: an index is known and out of range.
        ShapeError: ``axis`` is out of range.

    Differentiation: the cotangents are added into zeros at their positions.

    Example:
        >>> pb.take(pb.asarray([10, 20, 30]), pb.asarray([2, 0]))
        Array([30, 10], i32)
    """
    value = as_array(x)
    if axis is None:
        value, axis = reshape(value, (value.size,)), 0
    place = normalize_axis("take", axis, value.ndim)
    positions = _positions("take", indices, value.shape[place], place, mode)
    vectors = reshape(positions, (*positions.shape, 1))
    gather = Gather((place,), 0, "clip" if mode == "clip" else "fill")
    found: Value = gather(value, vectors)
    n = positions.ndim
    return permute_dims(found, (*range(n, n + place), *range(n), *range(n + place, found.ndim)))


def take_along_axis(
    x: ArrayLike, indices: ArrayLike, /, axis: int | None = -1, *, mode: str = "fill"
) -> Value:
    """Elements at positions along an axis, with positions of their own for every slice.

    Args:
        x: Array ``[..., n, ...]``.
        indices: Array of integers ``[..., k, ...]``; the other axes broadcast against those of
            ``x``. Negative ones count from the end.
        axis: The axis of length ``n``; None to flatten ``x`` first. Static.
        mode: As for ``take``.

    Returns:
        Array ``[..., k, ...]``.

    Raises:
        DTypeError: ``indices`` are not integers.
        IndexError: an index is known and out of range.
        ShapeError: ``axis`` is out of range, the numbers of axes differ, or axes do not broadcast.

    Differentiation: the cotangents are added into zeros at their positions.

    Example:
        >>> pb.take_along_axis(pb.asarray([[1, 2], [3, 4]]), pb.asarray([[1], [0]]), axis=1)
        Array([[2],
               [3]], i32)
    """
    value = as_array(x)
    if axis is None:
        value, axis = reshape(value, (value.size,)), 0
    value, positions, place = _aligned("take_along_axis", value, indices, axis, mode)
    n = value.ndim - 1
    gather = Gather((n,), n, "clip" if mode == "clip" else "fill")
    found: Value = gather(value, reshape(positions, (*positions.shape, 1)))
    return moveaxis(found, n, place)


def _aligned(
    name: str, x: Value, indices: ArrayLike, axis: int, mode: str
) -> tuple[Value, Value, int]:
    """Array and positions with ``axis`` last and their other axes broadcast."""
    place = normalize_axis(name, axis, x.ndim)
    positions = _positions(name, indices, x.shape[place], place, mode)
    if positions.ndim != x.ndim:
        raise ShapeError(
            f"{name} of {x.type}: indices {positions.type}; expected {x.ndim} axes: insert them "
            "with `expand_dims`"
        )
    moved, at = moveaxis(x, place, -1), moveaxis(positions, place, -1)
    batch = operators.broadcast_shapes(moved.shape[:-1], at.shape[:-1])
    moved = operators.broadcast_to(moved, (*batch, moved.shape[-1]))
    return moved, operators.broadcast_to(at, (*batch, at.shape[-1])), place


def put_along_axis(
    x: ArrayLike, indices: ArrayLike, values: ArrayLike, /, axis: int = -1, *, kind: str = "set"
) -> Value:
    """``x`` changed at positions along an axis: the inverse of ``take_along_axis``.

    Args:
        x: Array ``[..., n, ...]``.
        indices: Array of integers ``[..., k, ...]``; negative ones count from the end.
        values: Array that broadcasts to ``[..., k, ...]``.
        axis: The axis of length ``n``. Static.
        kind: ``"set"``, ``"add"``, ``"mul"``, ``"min"`` or ``"max"``.

    Raises:
        DTypeError: ``indices`` are not integers, or ``values`` do not fit the dtype of ``x``.
        IndexError: an index is known and out of range.
        ShapeError: shapes do not fit.

    Differentiation: with respect to ``x`` and ``values``.

    Example:
        >>> pb.put_along_axis(pb.zeros((2, 2)), pb.asarray([[1], [0]]), 5.0, axis=1)
        Array([[0., 5.],
               [5., 0.]], f32)
    """
    value = as_array(x)
    refuse_lossy_update(value, values)
    shape = value.shape
    value, positions, place = _aligned("put_along_axis", value, indices, axis, "fill")
    if value.size != as_array(x).size:
        raise ShapeError(f"put_along_axis: indices do not broadcast to the shape {shape}")
    new = operators.astype(values, value.dtype)
    if new.ndim:
        new = moveaxis(reshape(new, (1,) * (value.ndim - new.ndim) + new.shape), place, -1)
    n = value.ndim - 1
    vectors = reshape(positions, (*positions.shape, 1))
    result = Scatter((n,), n, kind)(value, vectors, _spread(new, positions.shape))
    return moveaxis(result, n, place)


def _starts(x: Value, starts: Sequence[ArrayLike]) -> list[Value]:
    """Starts as integers without axes, negative ones counted from the end."""
    if len(starts) != x.ndim:
        raise ShapeError(f"{len(starts)} starts for {x.type}; expected one for each axis")
    values = []
    for start, length in zip(starts, x.shape, strict=True):
        value = as_array(start)
        require_dtype("a start", value, INTEGER)
        if not isinstance(value, Array):
            values.append(wrap_index(value, length, 0))
        else:
            number = int(value.data)
            number = min(max(number + length if number < 0 else number, 0), length)
            values.append(scalar_of(number, position_dtype(length)))
    return values


def dynamic_slice(x: ArrayLike, starts: Sequence[ArrayLike], sizes: Sequence[int], /) -> Value:
    """The block of static ``sizes`` that begins at ``starts``, which may be traced.

    Args:
        x: Array.
        starts: An integer for each axis; clamped so that the block lies inside.
        sizes: The shape of the block. Static.

    Raises:
        ShapeError: the block is larger than ``x``, or the numbers of axes differ.

    Differentiation: the cotangent is written into zeros.

    Example:
        >>> pb.dynamic_slice(pb.arange(5), (3,), (2,))
        Array([3, 4], i32)
    """
    value = as_array(x)
    result: Value = DynamicSlice(tuple(sizes))(value, *_starts(value, starts))
    return result


def dynamic_update_slice(x: ArrayLike, update: ArrayLike, starts: Sequence[ArrayLike], /) -> Value:
    """A copy of ``x`` with the block that begins at ``starts``, which may be traced, replaced.

    Args:
        x: Array.
        update: The block.
        starts: An integer for each axis; clamped so that the block lies inside.

    Raises:
        DTypeError: ``update`` does not fit the dtype of ``x``.
        ShapeError: the block is larger than ``x``, or the numbers of axes differ.

    Differentiation: with respect to ``x`` and ``update``.

    Example:
        >>> pb.dynamic_update_slice(pb.zeros(4), pb.ones(2), (1,))
        Array([0., 1., 1., 0.], f32)
    """
    value = as_array(x)
    refuse_lossy_update(value, update)
    block = operators.astype(update, value.dtype)
    result: Value = DynamicUpdateSlice()(value, block, *_starts(value, starts))
    return result
