"""Reading at places that are data: ``DynamicSlice``, ``DynamicUpdateSlice`` and ``Gather``.

Imports ``program``, ``types`` and sibling families. ``Scatter``, the transpose of ``Gather``, is
in ``scatter``. Start at ``Places``: how index vectors address an array.
"""

from __future__ import annotations

from typing import Any, final

import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.primitives.axes import check_axes, interleave, remaining, select_items
from pullback.primitives.elementwise import Clip
from pullback.primitives.shape import Broadcast, Concatenate, Reshape, Slice, Transpose
from pullback.program.loops import Index, LoopBuilder, Operand, Scalar
from pullback.program.primitive import (
    LAYOUT,
    LINEAR,
    Cotangents,
    NDArray,
    Primitive,
    primitive,
)
from pullback.program.value import Value
from pullback.records import dataclass
from pullback.types import (
    FLOATING,
    INTEGER,
    SIGNED,
    ArrayType,
    DType,
    bool_,
    int32,
    int64,
    uint64,
)


def filled(shape: tuple[int, ...], value: Any, dtype: DType) -> Value:
    """Return an array of ``shape`` with ``value`` everywhere."""
    scalar = np.asarray(value, dtype)
    whole: Value = Broadcast(shape, tuple(range(len(shape))))(scalar)
    return whole


@dataclass(frozen=True)
class Places:
    """Where index vectors ``int[lead.., len(axes)]`` point in an array with these dimensions.

    The first ``batch`` axes of array and indices are aligned; the vectors address ``axes``; the
    remaining axes, ``rest``, are taken whole.
    """

    axes: tuple[int, ...]
    batch: int
    shape: tuple[int, ...]

    @property
    def fixed(self) -> tuple[int, ...]:
        """Axes with one position a vector: batch axes, then the addressed axes."""
        return (*range(self.batch), *self.axes)

    @property
    def rest(self) -> tuple[int, ...]:
        """Axes that are taken whole, in order."""
        return remaining(self.fixed, len(self.shape))

    @property
    def limits(self) -> tuple[int, ...]:
        """Lengths of the addressed axes."""
        return select_items(self.shape, self.axes)

    @property
    def without_rest(self) -> Places:
        """The same places in an array that has only the batch and the addressed axes."""
        axes = tuple(range(self.batch, self.batch + len(self.axes)))
        return Places(axes, self.batch, select_items(self.shape, self.fixed))

    def infer(self, name: str, x: ArrayType, indices: ArrayType) -> tuple[int, ...]:
        """Return the shape that the vectors select: lead axes of ``indices``, then ``rest``.

        Raises:
            DTypeError: the indices are not integers.
            ShapeError: axes or shapes do not fit.
        """
        check_axes(name, self.axes, x)
        if indices.dtype not in INTEGER:
            raise DTypeError(f"{name}: indices {indices}; expected an integer dtype")
        if any(axis < self.batch for axis in self.axes) or self.batch > x.ndim:
            raise ShapeError(
                f"{name}: axes {self.axes} of {x} must lie behind its {self.batch} batch axes"
            )
        if indices.ndim <= self.batch or indices.shape[-1] != len(self.axes):
            raise ShapeError(
                f"{name}: indices {indices}; expected {self.batch} batch axes and a last axis of "
                f"length {len(self.axes)}, one component for each of the axes {self.axes}"
            )
        if indices.shape[: self.batch] != x.shape[: self.batch]:
            raise ShapeError(
                f"{name}: the {self.batch} batch axes of {x} and of indices {indices} differ"
            )
        return (*indices.shape[:-1], *select_items(x.shape, self.rest))

    def numpy_key(self, indices: NDArray) -> tuple[tuple[NDArray, ...], NDArray]:
        """Return NumPy index arrays for the ``fixed`` axes, clamped, and which were inside."""
        if indices.dtype == uint64:
            indices = np.minimum(indices, np.uint64(np.iinfo(np.int64).max))
        wide = indices.astype(int64, copy=False)
        lead = indices.shape[:-1]
        limits = np.asarray(self.limits, int64)
        inside = np.asarray(((wide >= 0) & (wide < limits)).all(axis=-1))
        clamped = np.clip(wide, 0, np.maximum(limits - 1, 0))
        batch = np.indices(lead, sparse=True)[: self.batch] if lead else ()
        addressed = (clamped[..., j] for j in range(len(self.axes)))
        key = (*batch, *addressed)
        return tuple(np.broadcast_to(k, lead) for k in key), inside

    def element(self, i: Index, index: Index) -> Index:
        """Return the place in the array: ``i`` at the ``fixed`` axes, ``index`` elsewhere."""
        return interleave(index, i, self.fixed)


def index_columns(indices: Value) -> tuple[Value, ...]:
    """Return the components of index vectors, each of the lead shape."""
    lead = indices.shape[:-1]
    starts, strides = (0,) * len(lead), (1,) * indices.ndim
    return tuple(
        Reshape(lead)(Slice((*starts, j), (*lead, j + 1), strides)(indices))
        for j in range(indices.shape[-1])
    )


def clamp_indices(indices: Value, limits: tuple[int, ...]) -> Value:
    """Return index vectors with component ``j`` clamped to ``0 .. limits[j] - 1``."""
    highest = np.iinfo(indices.dtype).max
    columns = []
    for column, limit in zip(index_columns(indices), limits, strict=True):
        high = np.asarray(min(max(limit - 1, 0), highest), indices.dtype)
        clamped = Clip()(column, np.zeros((), indices.dtype), high)
        columns.append(Reshape((*column.shape, 1))(clamped))
    if len(columns) == 1:
        only: Value = columns[0]
        return only
    joined: Value = Concatenate(indices.ndim - 1)(*columns) if columns else indices
    return joined


@final
@primitive
class DynamicSlice(Primitive):
    """The block of the given ``sizes`` that begins at ``starts``, one an axis, which are data.

    Starts are clamped so that the block lies inside, as in JAX.

    Shapes: x: T[d0..dn], starts: n + 1 integers i[] -> T[sizes].
    Cost: reads and writes the block. Residuals: the starts. Non-differentiable points: none.
    Source: linear in x; the transpose writes the block into zeros.
    """

    sizes: tuple[int, ...]
    name = "dynamic_slice"
    traits = LAYOUT | LINEAR
    differentiable = (0,)

    def infer(self, x: ArrayType, *starts: ArrayType) -> ArrayType:
        """Return the shape ``sizes``."""
        _check_starts(self.name, x, starts)
        _check_block(self.name, x, self.sizes)
        return x.with_shape(self.sizes)

    def evaluate(self, x: NDArray, *starts: NDArray) -> NDArray:
        """Slice with NumPy."""
        return x[_block(x.shape, self.sizes, starts)]

    def vjp(self, ct: Value, out: Value, x: Value, *starts: Value) -> Cotangents:
        """Write the cotangent into zeros."""
        x_ct = DynamicUpdateSlice()(filled(x.shape, 0, x.dtype), ct, *starts)
        return (x_ct, *(None for _ in starts))

    def lower(self, b: LoopBuilder, index: Index, x: Operand, *starts: Operand) -> Scalar:
        """Add the clamped starts to the index."""
        offsets = _start_indices(b, x.type.shape, self.sizes, starts)
        return x.at(tuple(i + offset for i, offset in zip(index, offsets, strict=True)))


@final
@primitive
class DynamicUpdateSlice(Primitive):
    """A copy of ``x`` with the block that begins at ``starts``, which are data, replaced.

    Starts are clamped so that the block lies inside, as in JAX.

    Shapes: x: T[d0..dn], update: T[e0..en], starts: n + 1 integers i[] -> T[d0..dn].
    Cost: copies x (in place where the compiler can), writes the block. Residuals: the starts.
    Non-differentiable points: none.
    Source: linear in x and update; the transpose zeroes the block of one and slices the other.
    """

    name = "dynamic_update_slice"
    traits = LAYOUT | LINEAR
    differentiable = (0, 1)

    def infer(self, x: ArrayType, update: ArrayType, *starts: ArrayType) -> ArrayType:
        """Return the type of ``x``."""
        if x.dtype != update.dtype:
            raise DTypeError(f"{self.name}: {x} and update {update} differ in dtype; cast one")
        _check_starts(self.name, x, starts)
        _check_block(self.name, x, update.shape)
        return x

    def evaluate(self, x: NDArray, update: NDArray, *starts: NDArray) -> NDArray:
        """Assign to a slice of a copy."""
        result = x.copy()
        result[_block(x.shape, update.shape, starts)] = update
        return result

    def vjp(self, ct: Value, out: Value, x: Value, update: Value, *starts: Value) -> Cotangents:
        """Zero the block for ``x``, slice it for ``update``."""
        x_ct = DynamicUpdateSlice()(ct, filled(update.shape, 0, ct.dtype), *starts)
        update_ct = DynamicSlice(update.shape)(ct, *starts)
        return (x_ct, update_ct, *(None for _ in starts))

    def lower(
        self, b: LoopBuilder, index: Index, x: Operand, update: Operand, *starts: Operand
    ) -> Scalar:
        """Select between the update, read at a clamped place, and the operand."""
        sizes = update.type.shape
        if update.type.size == 0:
            return x.at(index)
        offsets = _start_indices(b, x.type.shape, sizes, starts)
        inside = b.constant(True, bool_)
        place = []
        for i, offset, size in zip(index, offsets, sizes, strict=True):
            inside = b.op("and", inside, b.within(i - offset, 0, size))
            number = b.index_value(i - offset, position_dtype(max(x.type.shape)))
            place.append(b.to_index(number, 0, size - 1))
        return b.select(inside, update.at(tuple(place)), x.at(index))


def _check_starts(name: str, x: ArrayType, starts: tuple[ArrayType, ...]) -> None:
    if len(starts) != x.ndim or any(s.shape or s.dtype not in INTEGER for s in starts):
        given = ", ".join(map(str, starts)) or "none"
        raise ShapeError(
            f"{name} of {x}: starts {given}; expected one integer without axes for each axis of x"
        )


def _check_block(name: str, x: ArrayType, sizes: tuple[int, ...]) -> None:
    if len(sizes) != x.ndim or any(
        not 0 <= size <= length for size, length in zip(sizes, x.shape, strict=True)
    ):
        raise ShapeError(f"{name} of {x}: a block of shape {sizes} does not lie inside it")


def _block(
    shape: tuple[int, ...], sizes: tuple[int, ...], starts: tuple[NDArray, ...]
) -> tuple[slice, ...]:
    clamped = (
        min(max(int(start), 0), length - size)
        for start, length, size in zip(starts, shape, sizes, strict=True)
    )
    return tuple(slice(i, i + size) for i, size in zip(clamped, sizes, strict=True))


def _start_indices(
    b: LoopBuilder, shape: tuple[int, ...], sizes: tuple[int, ...], starts: tuple[Operand, ...]
) -> Index:
    return tuple(
        b.to_index(start.at(()), 0, length - size)
        for start, length, size in zip(starts, shape, sizes, strict=True)
    )


@final
@primitive
class Gather(Primitive):
    """Slices of ``x`` at index vectors that are data.

    The first ``batch`` axes of ``x`` and ``indices`` are aligned. The last axis of ``indices``
    holds vectors that address ``axes`` of ``x``; the other axes of ``x`` are taken whole. Places
    outside are clamped (``mode`` "clip") or read as nan or 0 ("fill"); negative indices are
    outside.

    Shapes: x: T[..], indices: int[lead.., len(axes)] -> T[lead.., rest axes of x].
    Cost: reads the indices, reads and writes the output. Residuals: the indices.
    Non-differentiable points: none. Source: linear in x; the transpose is ``Scatter`` with "add".
    """

    axes: tuple[int, ...]
    batch: int
    mode: str
    name = "gather"
    traits = LAYOUT
    differentiable = (0,)

    def infer(self, x: ArrayType, indices: ArrayType) -> ArrayType:
        """Return the lead axes of the indices, then the axes of ``x`` that are taken whole."""
        if self.mode not in ("clip", "fill"):
            raise ShapeError(f"gather: mode {self.mode!r}; expected 'clip' or 'fill'")
        places = Places(self.axes, self.batch, x.shape)
        result = x.with_shape(places.infer(self.name, x, indices))
        if self.mode == "clip" and result.size and 0 in places.limits:
            raise ShapeError(f"gather from {x}: an axis among {self.axes} has no elements")
        return result

    def evaluate(self, x: NDArray, indices: NDArray) -> NDArray:
        """Index with NumPy."""
        places = Places(self.axes, self.batch, x.shape)
        rest = select_items(x.shape, places.rest)
        fill = _fill_value(x.dtype)
        if 0 in places.limits:
            return np.full((*indices.shape[:-1], *rest), fill, x.dtype)
        key, inside = places.numpy_key(indices)
        moved = x.transpose((*places.fixed, *places.rest))
        found: NDArray = moved[key] if key else np.broadcast_to(moved, (*inside.shape, *rest))
        if self.mode == "clip" or inside.all():
            return found
        return np.where(inside.reshape(inside.shape + (1,) * len(rest)), found, fill)

    def vjp(self, ct: Value, out: Value, x: Value, indices: Value) -> Cotangents:
        """Add the cotangents into zeros at the same places."""
        # `scatter` imports this module for its own derivatives.
        from pullback.primitives.scatter import Scatter

        if self.mode == "clip":
            indices = clamp_indices(indices, Places(self.axes, self.batch, x.shape).limits)
        zeros = filled(x.shape, 0, x.dtype)
        return (Scatter(self.axes, self.batch, "add")(zeros, indices, ct), None)

    def lower(self, b: LoopBuilder, index: Index, x: Operand, indices: Operand) -> Scalar:
        """Read the index vector, clamp it, read ``x``; select the fill value where outside."""
        places = Places(self.axes, self.batch, x.type.shape)
        fill = b.constant(_fill_value(x.type.dtype), x.type.dtype)
        if 0 in places.limits:
            return fill
        split = indices.type.ndim - 1
        lead, rest = index[:split], index[split:]
        vector = [indices.at((*lead, j)) for j in range(len(self.axes))]
        addressed = (
            b.to_index(v, 0, limit - 1) for v, limit in zip(vector, places.limits, strict=True)
        )
        found = x.at(places.element((*lead[: self.batch], *addressed), rest))
        if self.mode == "clip":
            return found
        inside = b.constant(True, bool_)
        for v, limit in zip(vector, places.limits, strict=True):
            inside = b.op("and", inside, _is_inside(b, v, limit))
        return b.select(inside, found, fill)


def _fill_value(dtype: DType) -> Any:
    if dtype in FLOATING:
        return np.asarray(np.nan, dtype)
    return np.zeros((), dtype)


def _is_inside(b: LoopBuilder, v: Scalar, limit: int) -> Scalar:
    """Return ``0 <= v < limit``; a bound that the dtype cannot pass is left out."""
    inside = b.constant(True, bool_)
    if v.dtype in SIGNED:
        inside = b.op("ge", v, b.constant(0, v.dtype))
    if limit <= np.iinfo(v.dtype).max:
        inside = b.op("and", inside, b.op("lt", v, b.constant(limit, v.dtype)))
    return inside


def move_last(x: Value, axis: int) -> Value:
    """Return ``x`` with ``axis`` moved behind the others."""
    if axis == x.ndim - 1:
        return x
    moved: Value = Transpose((*remaining((axis,), x.ndim), axis))(x)
    return moved


def move_from_last(x: Value, axis: int) -> Value:
    """Return ``x`` with the last axis moved to ``axis``: the inverse of ``move_last``."""
    last = x.ndim - 1
    if axis == last:
        return x
    moved: Value = Transpose((*range(axis), last, *range(axis, last)))(x)
    return moved


def position_dtype(count: int) -> DType:
    """Return the integer dtype that numbers ``count`` places."""
    return int32 if count <= np.iinfo(np.int32).max else int64
