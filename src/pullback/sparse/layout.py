"""Sparse arrays with their axes in another order, number or length: no value is computed.

Imports ``entries`` and ``duplicates``. Start at ``transpose``. Axes that are dense stay dense where
they can; where they cannot, as when they change places with sparse ones, they become sparse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.ops import manipulation
from pullback.ops.arguments import Axis, as_shape, normalize_axes, normalize_axis, scalar_of
from pullback.primitives import operators
from pullback.primitives.shape import Concatenate, Pad, Reshape
from pullback.program.value import Array, Value
from pullback.sparse.coo import COO, assemble, check_lengths, require_sparse
from pullback.sparse.duplicates import settled, unique_booleans
from pullback.sparse.entries import (
    at_once,
    choose,
    columns,
    inside,
    joined,
    kept_values,
    lengths,
    ravel,
    tail,
    unravel,
    with_dense_ndim,
)
from pullback.types import int32


def transpose(x: COO, /, axes: Sequence[int] | None = None) -> COO:
    """``x`` with its axes in another order.

    Args:
        x: Sparse array.
        axes: For each axis of the result the axis it comes from; None reverses them. Static.

    Raises:
        ShapeError: ``axes`` is no permutation of the axes.

    Cost: moves indices; copies values only if axes that are dense move.

    Example:
        >>> transpose(COO([1.0], [[0, 2]], (2, 3)))
        COO(f32[3,2], nse=1)
    """
    require_sparse("transpose", x)
    order = (
        tuple(range(x.ndim))[::-1] if axes is None else normalize_axes("transpose", axes, x.ndim)
    )
    if len(order) != x.ndim:
        raise ShapeError(f"transpose of {x.type}: axes {order}; expected all {x.ndim} of them")
    if order == tuple(range(x.ndim)):
        return x
    split = x.sparse_ndim
    if any(axis >= split for axis in order[:split]):
        x = with_dense_ndim(x, 0)
        split = x.ndim
    parts = columns(x)
    indices = joined([parts[axis] for axis in order[:split]], x.nse)
    values = x.values
    if order[split:] != tuple(range(split, x.ndim)):
        values = manipulation.transpose(values, (0, *(axis - split + 1 for axis in order[split:])))
    shape = tuple(x.shape[axis] for axis in order)
    is_sorted = x.is_sorted and order[:split] == tuple(range(split))
    return assemble(values, indices, shape, is_sorted, x.is_unique)


def swap_last(x: COO) -> COO:
    """``x`` with its last two axes exchanged."""
    if x.ndim < 2:
        raise ShapeError(f"expected matrices [..., m, n], not {x.type}")
    return transpose(x, (*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))


def reshape(x: COO, /, shape: int | Sequence[int]) -> COO:
    """``x`` with another shape of as many elements, in row-major order.

    Args:
        x: Sparse array.
        shape: The new shape; one length may be -1, for what is left. Static.

    Raises:
        ShapeError: the number of elements differs.

    Example:
        >>> reshape(COO([1.0], [[1, 2]], (2, 3)), (3, 2)).indices
        Array([[2, 1]], i32)
    """
    require_sparse("reshape", x)
    new = _filled_in(x, shape)
    if new == x.shape:
        return x
    rest = tail(x)
    if rest and (len(new) < len(rest) or new[len(new) - len(rest) :] != rest):
        x = with_dense_ndim(x, 0)
        rest = ()
    elif rest and math.prod(new[: len(new) - len(rest)]) != math.prod(lengths(x)):
        x = with_dense_ndim(x, 0)  # an axis without elements hides the lengths of the others
        rest = ()
    front = new[: len(new) - len(rest)]
    check_lengths(new, len(front))
    number = ravel(columns(x), lengths(x), inside(x))
    if not front:
        return assemble(kept_values(x), joined([], x.nse), new, x.is_sorted, x.is_unique)
    return assemble(x.values, joined(unravel(number, front), x.nse), new, x.is_sorted, x.is_unique)


def _filled_in(x: COO, shape: int | Sequence[int]) -> tuple[int, ...]:
    items: list[Any] = list(shape) if isinstance(shape, (tuple, list)) else [shape]
    if items.count(-1) == 1:
        known = math.prod(n for n in items if n != -1)
        if known <= 0 or x.size % known:
            raise ShapeError(f"reshape of {x.type}, {x.size} elements, to {tuple(items)}")
        items[items.index(-1)] = x.size // known
    new = as_shape("reshape", items)
    if math.prod(new) != x.size:
        raise ShapeError(
            f"reshape of {x.type} to {new}: {x.size} elements do not fill {math.prod(new)} places; "
            "expected a shape of as many elements"
        )
    return new


def expand_dims(x: COO, /, axis: int | Sequence[int]) -> COO:
    """``x`` with axes of length 1 inserted.

    Args:
        x: Sparse array.
        axis: Where the new axes are in the result. Behind an axis that is dense they are dense.

    Raises:
        ShapeError: ``axis`` is out of range or given twice.

    Example:
        >>> expand_dims(COO([1.0], [[2]], (3,)), 0).indices
        Array([[0, 2]], i32)
    """
    require_sparse("expand_dims", x)
    count = len(axis) if isinstance(axis, (tuple, list)) else 1
    new = set(normalize_axes("expand_dims", axis, x.ndim + count))
    old = iter(range(x.ndim))
    return with_axes(x, [None if i in new else next(old) for i in range(x.ndim + count)])


def squeeze(x: COO, /, axis: Axis = None) -> COO:
    """``x`` without axes of length 1.

    Args:
        x: Sparse array.
        axis: Which of them; None for all. Static.

    Raises:
        ShapeError: an axis is longer, out of range or given twice.

    Example:
        >>> squeeze(COO([1.0], [[0, 2]], (1, 3))).indices
        Array([[2]], i32)
    """
    require_sparse("squeeze", x)
    gone = normalize_axes("squeeze", axis, x.ndim)
    if axis is None:
        gone = tuple(i for i in gone if x.shape[i] == 1)
    if any(x.shape[i] != 1 for i in gone):
        raise ShapeError(f"squeeze of {x.type}: axes {gone}; expected axes of length 1")
    return with_axes(x, [i for i in range(x.ndim) if i not in gone])


def with_axes(x: COO, kept: Sequence[int | None]) -> COO:
    """``x`` with the axes ``kept``, in order; None stands for a new one.

    Axes that are left out have length 1 or, if they are sparse, have had their entries chosen.
    """
    if list(kept) == list(range(x.ndim)):
        return x
    split = x.sparse_ndim
    dense = [i for i, axis in enumerate(kept) if axis is not None and axis >= split]
    border = dense[0] if dense else len(kept)
    if not dense and x.dense_ndim:  # all axes that were dense are gone: new ones stay in front
        border = len(kept)
    shape = tuple(1 if axis is None else x.shape[axis] for axis in kept)
    parts = columns(x)
    front = [axis for axis in kept[:border] if axis is not None]
    where = None if len(front) == split and None not in kept[:border] else inside(x)
    chosen: list[Value] = []
    for axis in kept[:border]:
        part = Array(np.zeros(x.nse, int32)) if axis is None else parts[axis]
        length = 1 if axis is None else x.shape[axis]
        chosen.append(part if where is None else choose(where, part, length))
    values = x.values if border else kept_values(x)
    expected = (x.nse, *shape[border:])
    if values.shape != expected:
        values = Reshape(expected)(values)
    return assemble(values, joined(chosen, x.nse), shape, x.is_sorted, x.is_unique)


def broadcast_to(x: COO, /, shape: Sequence[int]) -> COO:
    """``x`` repeated along new leading axes and along axes of length 1.

    Args:
        x: Sparse array.
        shape: The shape of the result. Static.

    Raises:
        ShapeError: ``x`` does not broadcast to ``shape``.

    Cost: every entry is stored as often as it is repeated along axes that are sparse.

    Example:
        >>> broadcast_to(COO([1.0], [[2]], (3,)), (2, 3)).indices
        Array([[0, 2],
               [1, 2]], i32)
    """
    require_sparse("broadcast_to", x)
    new = as_shape("broadcast_to", tuple(shape))
    if new == x.shape:
        return x
    extra = len(new) - x.ndim
    fits = extra >= 0 and all(n in (1, m) for n, m in zip(x.shape, new[extra:], strict=True))
    if not fits:
        raise ShapeError(
            f"broadcast_to: {x.type} does not broadcast to {new}; expected equal lengths, or 1, "
            "aligned at the last axis"
        )
    check_lengths(new, len(new) - x.dense_ndim)
    if extra:
        x = with_axes(x, [*[None] * extra, *range(x.ndim)])
    if tail(x) != new[x.sparse_ndim :]:
        x = x.with_values(operators.broadcast_to(x.values, (x.nse, *new[x.sparse_ndim :])))
    repeated = [i for i, n in enumerate(lengths(x)) if n != new[i]]
    return _repeat(x, new, repeated) if repeated else x


def _repeat(x: COO, shape: tuple[int, ...], axes: Sequence[int]) -> COO:
    """Store every entry once for each place along ``axes``, which have length 1."""
    counts = tuple(shape[axis] for axis in axes)
    count = math.prod(counts)
    nse = count * x.nse
    where = inside(x)

    def over(part: Value) -> Value:
        spread = operators.broadcast_to(part, (count, *part.shape))
        flat: Value = Reshape((nse, *part.shape[1:]))(spread)
        return flat

    parts = [at_once(over, part) for part in columns(x)]
    whole = at_once(over, where)
    places = np.indices(counts, np.int32).reshape(len(axes), count)
    for axis, place in zip(axes, places, strict=True):
        parts[axis] = Array(np.repeat(place, x.nse))
    marked = [choose(whole, part, n) for part, n in zip(parts, shape, strict=False)]
    return assemble(over(x.values), joined(marked, nse), shape, False, x.is_unique)


def concatenate(xs: Sequence[COO], /, axis: int = 0) -> COO:
    """Sparse arrays one behind the other along an axis.

    Args:
        xs: Sparse arrays ``[..., ni, ...]``, alike in all other axes.
        axis: The axis of lengths ``ni``. Static.

    Raises:
        DTypeError: one of ``xs`` is not sparse.
        ShapeError: there is none, or the other axes differ.

    Example:
        >>> x = COO([1.0], [[1]], (2,))
        >>> concatenate([x, x]).to_dense()
        Array([0., 1., 0., 1.], f32)
    """
    xs = list(xs)
    for x in xs:
        if not isinstance(x, COO):
            raise DTypeError(
                f"concatenate: {type(x).__name__} among sparse arrays; make it sparse with "
                "`from_dense`, or the others dense with `x.to_dense()`"
            )
    if not xs:
        raise ShapeError("concatenate of no arrays; expected one or more")
    place = normalize_axis("concatenate", axis, xs[0].ndim)
    others = {(*x.shape[:place], *x.shape[place + 1 :]) for x in xs}
    if len(others) > 1:
        types = ", ".join(str(x.type) for x in xs)
        raise ShapeError(f"concatenate of {types} along axis {place}: the other axes differ")
    dense_ndim = min(x.dense_ndim for x in xs)
    dtype = operators.result_dtype(*(x.values for x in xs))
    xs = [with_dense_ndim(x if x.dtype == dtype else unique_booleans(x), dense_ndim) for x in xs]
    total = sum(x.shape[place] for x in xs)
    starts = np.cumsum([0, *(x.shape[place] for x in xs)]).tolist()
    moved = [_moved(x, place, start, total) for x, start in zip(xs, starts, strict=False)]
    values = Concatenate(0)(*(operators.astype(x.values, dtype) for x in moved))
    indices = at_once(Concatenate(0), *(x.indices for x in moved))
    is_unique = place < xs[0].sparse_ndim and all(x.is_unique for x in xs)
    joint = assemble(values, indices, moved[0].shape, False, is_unique)
    return joint if is_unique else settled(joint)


def _moved(x: COO, axis: int, start: int, total: int) -> COO:
    """``x`` in an array of length ``total`` along ``axis``, from ``start`` on."""
    shape = (*x.shape[:axis], total, *x.shape[axis + 1 :])
    if axis < x.sparse_ndim:
        check_lengths(shape, x.sparse_ndim)
        parts = columns(x)
        offset = scalar_of(start, int32)
        parts[axis] = at_once(lambda part: operators.add(part, offset), parts[axis])
        where = inside(x)
        # What was behind the end of one must not get into the next.
        parts = [choose(where, part, n) for part, n in zip(parts, shape, strict=False)]
        return assemble(x.values, joined(parts, x.nse), shape, False, x.is_unique)
    before = [0] * x.values.ndim
    behind = [0] * x.values.ndim
    at = axis - x.sparse_ndim + 1
    before[at], behind[at] = start, total - start - x.shape[axis]
    zero = scalar_of(0, x.dtype)
    values = Pad(tuple(before), tuple(behind), (0,) * x.values.ndim)(x.values, zero)
    return assemble(values, x.indices, shape, x.is_sorted, x.is_unique)
