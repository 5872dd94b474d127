"""Lowers a scatter: where its updates go, and how tasks share them.

An element of the target takes its updates in row-major order of the indices, whatever the number
of threads. So tasks divide the target: ``lower_scatter`` chooses along which axes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pullback.kernels.core import Kernel, Node, ScatterKernel, Store
from pullback.kernels.cost import TASK_S, scatter_seconds
from pullback.kernels.expression import Expressions
from pullback.kernels.index import Affine, LoopVar, as_index, linear_index
from pullback.kernels.lower import LANES, GroupLowering
from pullback.program.core import Equation
from pullback.types import SIGNED, bool_

#: Scatters that take less are over before a second thread would help.
_SHARED_S = 4 * TASK_S
#: Targets up to so many bytes are filled by one thread as fast as by several; and larger ones, up
#: to so many elements for each update, had better be in its cache when it updates them.
_FILLED_BYTES, _FILLED_ELEMENTS = 1 << 17, 4
#: Rows are cut into pieces of at least so many bytes. Of a target that fits a core's cache they are
#: worth it only if they are long: threads that write neighbouring pieces take lines from another.
_PIECE_BYTES, _NEAR_BYTES, _LONG_BYTES = 128, 1 << 20, 1 << 10


def lower_scatter(lowering: GroupLowering, eqn: Equation, *, filled: bool) -> list[Kernel]:
    """The kernel that applies the updates.

    ``filled``: the target does not hold the operand yet. The kernel writes it, if it has a fill;
    where few updates go to a large target this is work for more threads, and not done here.
    """
    primitive: Any = eqn.primitive
    x, indices, updates = eqn.inputs
    if not updates.type.size or not x.type.size:
        return []
    b = lowering.b
    lead = b.fresh_vars(indices.type.shape[:-1], frozenset())
    window = b.fresh_vars(updates.type.shape[len(lead) :], frozenset(lead))
    at = tuple(map(as_index, lead))
    valid = b.constant(True, bool_)
    position: dict[int, Affine] = {k: at[k] for k in range(primitive.batch)}
    for n, axis in enumerate(primitive.axes):
        component = lowering.read(indices, (*at, as_index(n)))
        extent = x.type.shape[axis]
        valid = _both(b, valid, _is_inside(b, component, extent))
        position[axis] = b.to_index(component, 0, extent - 1)
    target = lowering.storage[eqn.output]
    index = _merged(position, window, x.type.ndim)
    offset = linear_index(index, x.type.shape) + target.offset
    update = lowering.read(updates, (*at, *map(as_index, window)))
    value = update
    if primitive.kind != "set":
        value = b.op(primitive.kind, b.load(target.buffer, offset), update)
    store = Store(target.buffer, offset, value)
    kernel = ScatterKernel(
        lowering.name(), lead, window, valid, update, store, lowering.provenance()
    )
    nbytes = x.type.size * x.type.dtype.itemsize
    _divide(kernel, primitive.batch, nbytes, unique=primitive.unique)
    if filled and _fills(kernel, x.type.size, updates.type.size):
        used = frozenset((*lead, *window))
        addressed = b.fresh_vars(tuple(x.type.shape[a] for a in primitive.axes), used)
        position.update(zip(primitive.axes, map(as_index, addressed), strict=True))
        kernel.places = (*lead[: primitive.batch], *addressed)
        at = _merged(position, window, x.type.ndim)
        offset = linear_index(at, x.type.shape) + target.offset
        kernel.fill = Store(target.buffer, offset, lowering.read(x, at))
    return [kernel]


def _fills(kernel: ScatterKernel, size: int, updates: int) -> bool:
    """Whether the tasks fill their parts of the target: they must have some, or be fast."""
    if kernel.divided:
        return kernel.divided != _running(kernel.indices)
    nbytes = size * kernel.store.buffer.dtype.itemsize
    return nbytes <= (_NEAR_BYTES if size <= _FILLED_ELEMENTS * updates else _FILLED_BYTES)


def _merged(
    position: dict[int, Affine], window: tuple[LoopVar, ...], ndim: int
) -> tuple[Affine, ...]:
    """The index with these positions, and the window's counters at the other axes."""
    free = iter(window)
    return tuple(position[k] if k in position else as_index(next(free)) for k in range(ndim))


def _both(b: Expressions, x: Node, y: Node) -> Node:
    known = [n for n in (x, y) if n.op == "constant" and n.payload]
    if known:
        return y if known[0] is x else x
    return b.op("and", x, y)


def _is_inside(b: Expressions, x: Node, extent: int) -> Node:
    """``0 <= x < extent``, as a constant where it is known."""
    low, high = _bounds(x)
    inside = b.constant(True, bool_)
    if low < 0:
        inside = b.op("ge", x, b.constant(0, x.dtype))
    if high >= extent:
        inside = _both(b, inside, b.op("lt", x, b.constant(extent, x.dtype)))
    return inside


def _bounds(x: Node) -> tuple[int, int]:
    """The range of an integer that is clamped to constants; otherwise that of its dtype."""
    limits = np.iinfo(x.dtype)
    low, high = (0 if x.dtype not in SIGNED else int(limits.min)), int(limits.max)
    if x.op == "constant":
        return int(x.payload), int(x.payload)
    if x.op == "index":
        bounds: tuple[int, int] = x.payload.bounds
        return bounds if low <= bounds[0] and bounds[1] <= high else (low, high)
    if x.op in ("min", "max"):
        combine = min if x.op == "min" else max
        (low_0, high_0), (low_1, high_1) = map(_bounds, x.args)
        return combine(low_0, low_1), combine(high_0, high_1)
    return low, high


def _divide(kernel: ScatterKernel, batch: int, nbytes: int, *, unique: bool) -> None:
    """Choose which counters tasks divide, and how many values of them a task takes."""
    seconds = scatter_seconds(kernel.indices, kernel.window, kernel.store.value)
    if seconds < _SHARED_S:
        return
    aligned, window = _running(kernel.indices[:batch]), _running(kernel.window)
    itemsize = kernel.store.buffer.dtype.itemsize
    unit = 1
    if unique:
        kernel.divided = _running(kernel.indices)
    elif aligned:
        kernel.divided = aligned
    elif len(window) > 1:
        kernel.divided = window[:-1]
    elif window and (nbytes > _NEAR_BYTES or window[0].extent * itemsize >= _LONG_BYTES):
        # Every task walks over all indices; the columns of a row are cut between cache lines.
        kernel.divided, unit = window, max(LANES, _PIECE_BYTES // itemsize)
    units = kernel.row_count // unit
    if units < 2:
        kernel.divided = ()
    else:
        kernel.rows_per_task = math.ceil(units * TASK_S / seconds) * unit


def _running(vars: tuple[LoopVar, ...]) -> tuple[LoopVar, ...]:
    return tuple(v for v in vars if v.extent > 1)
