"""Lowers a sort to a kernel that orders rows. Start at ``lower_sort``; methods: ``sort_plan``."""

from __future__ import annotations

import math
from typing import Any

from pullback.errors import ShapeError
from pullback.kernels.core import Kernel, SortKernel, Store
from pullback.kernels.cost import TASK_S
from pullback.kernels.index import as_index, linear_index
from pullback.kernels.lower import GroupLowering
from pullback.kernels.sort_plan import (
    MOST_LENGTH,
    is_shared,
    is_wide,
    parts_of,
    sort_seconds,
    table_size,
)
from pullback.program.core import Atom, Equation
from pullback.types import int32, uint64


def lower_sort(lowering: GroupLowering, eqn: Equation, read: set[Atom]) -> list[Kernel]:
    """The kernel that puts rows in order.

    Args:
        lowering: Of the equation's group.
        eqn: The sort.
        read: What the program reads; results that it does not are not stored.

    Raises:
        ShapeError: A row is too long to count its elements in 32 bits.
    """
    primitive: Any = eqn.primitive
    b, shape, result = lowering.b, eqn.inputs[0].type.shape, eqn.outputs[0].type.shape
    moved = [(x, v) for x, v in zip(eqn.inputs, eqn.outputs, strict=True) if v in read]
    if not moved or not math.prod(result):
        return []
    vars = b.fresh_vars(shape, frozenset())
    source = vars[primitive.axis]
    at = tuple(map(as_index, vars))
    by = [lowering.read(x, at) for x in eqn.inputs[: primitive.keys]]
    keys = tuple(key for key in dict.fromkeys(by) if source in key.free) or (by[0],)
    if source not in keys[0].free and shape == result:  # nothing to order
        return [k for x, v in moved for k in lowering.evaluate_into(x, lowering.storage[v])]
    if source.extent > MOST_LENGTH:
        raise ShapeError(
            f"sort of {eqn.inputs[0].type}: a compiled program sorts rows of at most {MOST_LENGTH} "
            "elements; call it outside `jit`"
        )
    (place,) = b.fresh_vars((result[primitive.axis],), frozenset(vars))
    to = tuple(as_index(place if v is source else v) for v in vars)
    stores = []
    for x, v in moved:
        target = lowering.storage[v]
        offset = linear_index(to, result) + target.offset
        stores.append(Store(target.buffer, offset, lowering.read(x, at)))
    rows = tuple(v for v in vars if v is not source and v.extent > 1)
    kernel = SortKernel(
        lowering.name(), rows, source, place, keys, stores, lowering.provenance(), primitive.falling
    )
    if is_shared(kernel):
        kernel.parts = parts_of(kernel)
        words = kernel.length * (2 if is_wide(kernel) else 1)
        # One part more, of threads that have none.
        counts = (kernel.parts + 1) * table_size(kernel)
        kernel.workspace = tuple(
            lowering.new_buffer(dtype, size)
            for dtype, size in ((uint64, words), (uint64, words), (int32, counts))
        )
    kernel.rows_per_task = max(1, round(TASK_S / sort_seconds(kernel)))
    return [kernel]
