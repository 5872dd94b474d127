"""Writing at places that are data: ``Scatter`` and its derivatives.

Imports ``program``, ``types`` and sibling families; ``indexing.Places`` says how index vectors
address an array. Start at ``Scatter``.
"""

from __future__ import annotations

import math
from typing import final

import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.primitives.accumulate import accumulator, cast_value
from pullback.primitives.axes import check_dtype, select_items
from pullback.primitives.elementwise import Select, as_zero
from pullback.primitives.indexing import (
    Gather,
    Places,
    filled,
    index_columns,
    move_from_last,
    move_last,
    position_dtype,
)
from pullback.primitives.shape import Broadcast, Iota, Pad, Reshape
from pullback.primitives.sort import Sort
from pullback.program.primitive import SCATTER, Cotangents, NDArray, Primitive, primitive
from pullback.program.value import Value
from pullback.types import ANY, NUMERIC, SIGNED, ArrayType, bool_

_UFUNCS = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}


@final
@primitive
class Scatter(Primitive):
    """A copy of ``x`` with ``updates`` written, added, ... at index vectors that are data.

    The first ``batch`` axes of ``x`` and ``indices`` are aligned. The last axis of ``indices``
    holds vectors that address ``axes`` of ``x``; the other axes of ``x`` are updated whole.
    Updates whose vector lies outside are dropped; negative indices are outside. Updates apply in
    row-major order of ``indices``: for "set" the last one to a place wins. Each step rounds to T.
    ``unique`` promises that no two vectors of a batch that lie inside are equal.

    Shapes: x: T[..], indices: int[lead.., len(axes)], updates: T[lead.., rest axes of x] -> the
    type of x. T is any dtype for "set", numeric for "add", "mul", "min", "max".

    Cost: copies x (in place where the compiler can), reads indices and updates. The VJP of "set"
    scatters and gathers positions to find the last update to each place; that of "mul" with more
    than one update a batch sorts the places and multiplies log2(n) times an update.
    Residuals: the indices; for "mul" x and updates, for "min" and "max" the output too.
    Non-differentiable points: ties of "min" and "max", which share the cotangent evenly.
    Source: "set" and "add" are linear; "mul": the cotangent times all other factors of the place,
    without division, so that zeros are right.
    """

    axes: tuple[int, ...]
    batch: int
    kind: str
    unique: bool = False
    name = "scatter"
    traits = SCATTER
    differentiable = (0, 2)

    def infer(self, x: ArrayType, indices: ArrayType, updates: ArrayType) -> ArrayType:
        """Return the type of ``x``."""
        if self.kind != "set" and self.kind not in _UFUNCS:
            raise ShapeError(
                f"scatter: kind {self.kind!r}; expected 'set', 'add', 'mul', 'min' or 'max'"
            )
        check_dtype(f"scatter {self.kind}", x, ANY if self.kind == "set" else NUMERIC)
        if x.dtype != updates.dtype:
            raise DTypeError(f"scatter into {x} of updates {updates}: the dtypes differ; cast one")
        expected = Places(self.axes, self.batch, x.shape).infer(self.name, x, indices)
        if updates.shape != expected:
            raise ShapeError(
                f"scatter into {x} at indices {indices}: updates {updates}; expected "
                f"{updates.with_shape(expected)}"
            )
        return x

    def evaluate(self, x: NDArray, indices: NDArray, updates: NDArray) -> NDArray:
        """Assign, or apply ``ufunc.at``, to a copy with NumPy."""
        result = x.copy()
        places = Places(self.axes, self.batch, x.shape)
        key, inside = places.numpy_key(indices)
        rest = select_items(x.shape, places.rest)
        chosen = updates.reshape((inside.size, *rest))[inside.reshape(-1)]
        # One row of index arrays: NumPy then works in row-major order of the indices.
        rows = tuple(k[inside] for k in key)
        target = result.transpose((*places.fixed, *places.rest))
        if not rows:
            # No axis is addressed: every update is to the whole array.
            target, rows = target[np.newaxis], (np.zeros(chosen.shape[0], np.intp),)
        if self.kind == "set":
            target[rows] = chosen
        else:
            size = math.prod(rest)
            if size > 1 and target.flags.c_contiguous:
                # NumPy is several times as fast where there is one axis.
                row = np.ravel_multi_index(rows, target.shape[: len(rows)])
                rows = ((row[:, np.newaxis] * size + np.arange(size)).reshape(-1),)
                target, chosen = target.reshape(-1), chosen.reshape(-1)
            _UFUNCS[self.kind].at(target, rows, chosen)
        return result

    def vjp(self, ct: Value, out: Value, x: Value, indices: Value, updates: Value) -> Cotangents:
        """Differentiate by kind."""
        places = Places(self.axes, self.batch, x.shape)
        match self.kind:
            case "add":
                return ct, None, _taken(places, ct, indices, are_inside(indices, places.limits))
            case "set":
                zeros = filled(updates.shape, 0, ct.dtype)
                wins = _are_last(places, indices) & are_inside(indices, places.limits)
                return self(ct, indices, zeros), None, _taken(places, ct, indices, wins)
            case "mul":
                return _product_cotangents(places, ct, x, indices, updates)
            case _:
                return _extremum_cotangents(places, ct, out, x, indices, updates)


def _taken(places: Places, x: Value, indices: Value, where: Value) -> Value:
    """Return ``x`` gathered at the indices where the lead-shaped condition holds, else 0."""
    found = Gather(places.axes, places.batch, "fill")(x, indices)
    taken: Value = Select()(_over_rest(where, found.shape), found, as_zero(x))
    return taken


def _over_rest(x: Value, shape: tuple[int, ...]) -> Value:
    """Return a lead-shaped value repeated along the rest axes of ``shape``."""
    if x.shape == shape:
        return x
    repeated: Value = Broadcast(shape, tuple(range(x.ndim, len(shape))))(x)
    return repeated


def are_inside(indices: Value, limits: tuple[int, ...]) -> Value:
    """Return for each index vector whether ``0 <= component j < limits[j]`` for all ``j``."""
    inside = filled(indices.shape[:-1], True, bool_)
    highest = np.iinfo(indices.dtype).max
    for column, limit in zip(index_columns(indices), limits, strict=True):
        if indices.dtype in SIGNED:
            inside = inside & (column >= 0)
        if limit <= highest:
            inside = inside & (column < limit)
    return inside


def _are_last(places: Places, indices: Value) -> Value:
    """Return for each index vector whether it is the last, in row-major order, to its place."""
    lead = indices.shape[:-1]
    if math.prod(lead[places.batch :]) <= 1:
        return filled(lead, True, bool_)
    count = math.prod(lead)
    order = Reshape(lead)(Iota((count,), position_dtype(count), 0)())
    flat = places.without_rest
    nothing = filled(flat.shape, -1, order.dtype)
    last = Scatter(flat.axes, flat.batch, "max")(nothing, indices, order)
    winners: Value = Gather(flat.axes, flat.batch, "fill")(last, indices)
    wins: Value = winners == order
    return wins


def _extremum_cotangents(
    places: Places, ct: Value, out: Value, x: Value, indices: Value, updates: Value
) -> Cotangents:
    """Share each cotangent evenly among the operand and the updates that equal the result."""
    inside = are_inside(indices, places.limits)
    chosen = Gather(places.axes, places.batch, "fill")(out, indices)
    x_ties = (x == out) | (x != x)
    update_ties = ((updates == chosen) | (updates != updates)) & _over_rest(inside, updates.shape)
    wide = accumulator(x.dtype)
    add = Scatter(places.axes, places.batch, "add")
    count = add(cast_value(x_ties, wide), indices, cast_value(update_ties, wide))
    share = cast_value(cast_value(ct, wide) / count, ct.dtype)
    x_ct = Select()(x_ties, share, as_zero(ct))
    taken = _taken(places, share, indices, inside)
    return x_ct, None, Select()(update_ties, taken, as_zero(ct))


def _product_cotangents(
    places: Places, ct: Value, x: Value, indices: Value, updates: Value
) -> Cotangents:
    """Multiply each cotangent by all other factors of its place."""
    factors = Scatter(places.axes, places.batch, "mul")(
        filled(x.shape, 1, x.dtype), indices, updates
    )
    taken = _taken(places, ct * x, indices, are_inside(indices, places.limits))
    if math.prod(indices.shape[places.batch : -1]) > 1:
        taken = taken * _other_factors(places, indices, updates)
    return ct * factors, None, taken


def _other_factors(places: Places, indices: Value, updates: Value) -> Value:
    """Return for each update the product of all other updates to its place.

    Sorting the places makes the updates to one place neighbours; then the product of those before
    and of those after is a scan that does not pass from one place to the next.
    """
    count = math.prod(indices.shape[:-1])
    places_of = _numbers(places, indices)
    order = Iota((count,), places_of.dtype, 0)()
    place, permutation = Sort(0, 1)(places_of, order)
    vectors = Reshape((count, 1))(permutation)
    rows = Reshape((count, math.prod(updates.shape[indices.ndim - 1 :])))(updates)
    ordered = Gather((0,), 0, "clip")(rows, vectors)
    others = _products_before(ordered, place, 1) * _products_before(ordered, place, -1)
    zeros = filled(rows.shape, 0, rows.dtype)
    restored: Value = Reshape(updates.shape)(Scatter((0,), 0, "add")(zeros, vectors, others))
    return restored


def _numbers(places: Places, indices: Value) -> Value:
    """Return for each index vector, flattened, the number of its place; -1 where outside."""
    flat = places.without_rest
    dtype = position_dtype(math.prod(flat.shape))
    lead = indices.shape[:-1]
    number = filled(lead, 0, dtype)
    components = [Iota(lead, dtype, axis)() for axis in range(places.batch)]
    components += [cast_value(c, dtype) for c in index_columns(indices)]
    for component, length in zip(components, flat.shape, strict=True):
        number = number * np.asarray(length, dtype) + component
    outside = np.asarray(-1, dtype)
    numbers = Select()(are_inside(indices, places.limits), number, outside)
    flattened: Value = Reshape((math.prod(lead),))(numbers)
    return flattened


def _products_before(rows: Value, place: Value, by: int) -> Value:
    """Return the product of the rows of the same place before each, or after it if ``by`` is -1."""
    products = _from_neighbour(rows, place, by)
    step = 1
    while step < rows.shape[0]:
        products = products * _from_neighbour(products, place, by * step)
        step *= 2
    return products


def _from_neighbour(rows: Value, place: Value, by: int) -> Value:
    """Return the rows ``by`` places earlier; 1 where there is none or it is of another place."""
    moved = _shift_rows(rows, by, 1)
    same = _shift_rows(place, by, -2) == place
    chosen: Value = Select()(_over_rest(same, rows.shape), moved, np.ones((), rows.dtype))
    return chosen


def _shift_rows(x: Value, by: int, fill: int) -> Value:
    low = (by, *(0 for _ in x.shape[1:]))
    high = (-by, *(0 for _ in x.shape[1:]))
    moved: Value = Pad(low, high, (0,) * x.ndim)(x, np.asarray(fill, x.dtype))
    return moved


def scatter_along(x: Value, positions: Value, axis: int, length: int | None = None) -> Value:
    """Return zeros with ``x`` added at ``positions`` along ``axis``.

    They have the shape of ``x``, but for the ``length`` of the axis if it is given.
    """
    moved, places = move_last(x, axis), move_last(positions, axis)
    vectors = Reshape((*places.shape, 1))(places)
    batch = x.ndim - 1
    last = moved.shape[-1] if length is None else length
    zeros = filled((*moved.shape[:-1], last), 0, x.dtype)
    return move_from_last(Scatter((batch,), batch, "add")(zeros, vectors, moved), axis)
