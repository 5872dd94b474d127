"""An index ``x[...]`` taken apart: what is static slicing, and what is data.

Imports ``arguments`` and ``primitives``. Start at ``parse_key``. NumPy's rules: integer arrays
broadcast against each other; their axes stand where they were if they are next to each other, else
first.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from pullback.errors import DTypeError, ShapeError, TracerIntegerError
from pullback.ops.arguments import as_array, concrete
from pullback.ops.conversion import asarray
from pullback.ops.dtypes import astype
from pullback.primitives import operators
from pullback.primitives.indexing import position_dtype
from pullback.primitives.shape import Concatenate, Reshape, Reverse, Slice
from pullback.program.value import Array, Tracer, Value
from pullback.records import dataclass
from pullback.types import INTEGER, SIGNED, ArrayType, bool_

#: Where a new axis of length 1 is put.
_NEW = None


@dataclass(frozen=True)
class Key:
    """A parsed index.

    Attributes:
        starts: First element taken, for each axis of the array.
        stops: Bound of the elements taken, for each axis.
        strides: Distance of the elements taken, for each axis.
        reversed: Axes whose elements are taken in falling order.
        kept: For each axis of the static part's result: the axis it comes from, or None for a new
            one.
        arrays: Integer arrays, each with the axis of the static part's result that it addresses.
        place: Where the arrays' axes are in the result.
    """

    starts: tuple[int, ...]
    stops: tuple[int, ...]
    strides: tuple[int, ...]
    reversed: tuple[int, ...]
    kept: tuple[int | None, ...]
    arrays: tuple[tuple[int, Value], ...]
    place: int

    @property
    def sliced(self) -> tuple[int, ...]:
        """Lengths of the axes after slicing, before axes are dropped and inserted."""
        bounds = zip(self.starts, self.stops, self.strides, strict=True)
        return tuple(len(range(*bound)) for bound in bounds)

    def static_part(self, x: Value) -> Value:
        """Slice, reverse, drop and insert axes."""
        if self.sliced != x.shape:
            x = Slice(self.starts, self.stops, self.strides)(x)
        if self.reversed:
            x = Reverse(self.reversed)(x)
        shape = tuple(1 if a is None else x.shape[a] for a in self.kept)
        return x if shape == x.shape else Reshape(shape)(x)

    def index_vectors(self, shape: tuple[int, ...]) -> Value:
        """The arrays, broadcast together, as vectors that address the static part's result."""
        columns = [wrap_index(i, shape[axis], axis) for axis, i in self.arrays]
        lead = operators.broadcast_shapes(*(c.shape for c in columns))
        dtype = position_dtype(max(shape[axis] for axis, _ in self.arrays))
        parts = []
        for column in columns:
            spread = operators.broadcast_to(astype(column, dtype), lead)
            parts.append(Reshape((*lead, 1))(spread))
        if len(parts) == 1:
            only: Value = parts[0]
            return only
        vectors: Value = Concatenate(len(lead))(*parts)
        return vectors


def wrap_index(index: Value, length: int, axis: int) -> Value:
    """Return indices with negative ones counted from the end.

    Raises:
        IndexError: the indices are known and one is out of range.
    """
    if isinstance(index, Array):
        return Array(_checked(index.data, length, axis))
    if index.dtype not in SIGNED:
        return index
    index = astype(index, operators.result_dtype(index, Array(np.zeros((), np.int32))))
    return operators.where(operators.less(index, 0), operators.add(index, length), index)


def _checked(index: np.ndarray[Any, Any], length: int, axis: int) -> np.ndarray[Any, Any]:
    if index.size == 0:
        return index.astype(position_dtype(length))
    low, high = int(index.min()), int(index.max())
    if low < -length or high >= length:
        worst = low if low < -length else high
        raise IndexError(f"index {worst} is out of range for axis {axis} of length {length}")
    wide = index.astype(np.int64)
    wrapped = np.where(wide < 0, wide + length, wide) if low < 0 else wide
    return wrapped.astype(position_dtype(length))


def parse_key(x: ArrayType, key: Any) -> Key:
    """Take apart what stands between the brackets of ``x[...]``.

    Raises:
        IndexError: an index is out of range, there are too many, or one is of a wrong kind.
        TracerArrayError: a mask is traced, so that the shape of the result is not known.
        TracerIntegerError: a bound of a slice is traced.
        ShapeError: a mask does not have the shape of what it selects from.
    """
    items = [_item(k) for k in (key if isinstance(key, tuple) else (key,))]
    return _Parser(x, _without_ellipsis(x, items)).parse()


def _item(item: Any) -> Any:
    """An item of a key as an int, slice, None, Ellipsis, or Value of integers or booleans."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return item
    if isinstance(item, (bool, np.bool_)):
        return Array(np.asarray(item, bool_))
    if isinstance(item, (list, tuple)):
        item = asarray(item, dtype=np.int32) if len(item) == 0 else asarray(item)
    if isinstance(item, (Value, np.ndarray, np.generic)):
        value = as_array(item)
        if value.dtype not in INTEGER and value.dtype != bool_:
            raise IndexError(
                f"an array of type {value.type} is no index; expected integers or booleans: cast "
                "with `x.astype('int32')`"
            )
        known = isinstance(value, Array) and not value.shape and value.dtype != bool_
        return int(value.data) if known else value
    try:
        return operator.index(item)
    except TypeError:
        raise IndexError(
            f"a {type(item).__name__} is no index; expected integers, slices, None, ... or arrays "
            "of integers or booleans"
        ) from None


def _axes_taken(item: Any) -> int:
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, Value) and item.dtype == bool_ else 1


def _without_ellipsis(x: ArrayType, items: list[Any]) -> list[Any]:
    taken = sum(map(_axes_taken, items))
    if taken > x.ndim:
        raise IndexError(f"{taken} indices for {x}, which has {x.ndim} axes")
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index has more than one `...`; keep one")
    at = dots[0] if dots else len(items)
    return [*items[:at], *[slice(None)] * (x.ndim - taken), *items[at + 1 :]]


class _Parser:
    """Walks over the items of a key, axis by axis."""

    def __init__(self, x: ArrayType, items: Sequence[Any]) -> None:
        self.x = x
        self.items = items
        self.starts: list[int] = []
        self.stops: list[int] = []
        self.strides: list[int] = []
        self.reversed: list[int] = []
        self.kept: list[int | None] = []
        self.arrays: list[tuple[int, Value]] = []
        # Position in the key, and result axes before it, of every int and array.
        self.advanced: list[tuple[int, int]] = []

    def parse(self) -> Key:
        for position, item in enumerate(self.items):
            if item is None:
                self.kept.append(_NEW)
            elif isinstance(item, slice):
                self._take_slice(item)
            elif isinstance(item, int):
                self._note_advanced(position)
                self._take_integer(item)
            else:
                self._note_advanced(position)
                self._take_array(item)
        return Key(
            tuple(self.starts),
            tuple(self.stops),
            tuple(self.strides),
            tuple(self.reversed),
            tuple(self.kept),
            tuple(self.arrays),
            self._place(),
        )

    def _place(self) -> int:
        positions = [position for position, _ in self.advanced]
        if not positions or positions[-1] - positions[0] != len(positions) - 1:
            return 0
        return self.advanced[0][1]

    def _note_advanced(self, position: int) -> None:
        self.advanced.append((position, len(self.kept) - len(self.arrays)))

    def _take_range(self, start: int, stop: int, stride: int) -> None:
        self.starts.append(start)
        self.stops.append(stop)
        self.strides.append(stride)

    def _take_slice(self, item: slice) -> None:
        axis = len(self.starts)
        for bound in (item.start, item.stop, item.step):
            if isinstance(bound, Value) and isinstance(bound.read(), Tracer):
                raise TracerIntegerError(
                    f"a slice of axis {axis} of {self.x} has a bound that is traced, {bound.type}, "
                    "and lengths are static in a traced function. Use "
                    "`pullback.dynamic_slice(x, starts, sizes)`"
                )
        indices = range(*item.indices(self.x.shape[axis]))
        if len(indices) == 0:
            self._take_range(0, 0, 1)
        elif indices.step > 0:
            self._take_range(indices[0], indices[-1] + 1, indices.step)
        else:
            self._take_range(indices[-1], indices[0] + 1, -indices.step)
            self.reversed.append(axis)
        self.kept.append(axis)

    def _take_integer(self, item: int) -> None:
        axis = len(self.starts)
        length = self.x.shape[axis]
        if not -length <= item < length:
            raise IndexError(f"index {item} is out of range for axis {axis} of {self.x}")
        self._take_range(item % length, item % length + 1, 1)

    def _take_array(self, item: Value) -> None:
        if item.dtype != bool_:
            self._take_whole(item)
            return
        mask = concrete(
            "indexing by a mask",
            item,
            "Use `pullback.where(mask, x, y)`, which keeps the shape, or `nonzero` with `size`.",
        )
        if mask.ndim == 0:
            self.arrays.append((len(self.kept), Array(np.zeros(int(mask), np.int32))))
            self.kept.append(_NEW)
            return
        axis = len(self.starts)
        if mask.shape != self.x.shape[axis : axis + mask.ndim]:
            raise ShapeError(
                f"a mask {item.type} does not fit the axes it selects from, {axis} .. "
                f"{axis + mask.ndim - 1} of {self.x}; expected the same lengths"
            )
        for indices in np.nonzero(mask):
            self._take_whole(Array(indices.astype(np.int64)))

    def _take_whole(self, index: Value) -> None:
        axis = len(self.starts)
        self.arrays.append((len(self.kept), index))
        self._take_range(0, self.x.shape[axis], 1)
        self.kept.append(axis)


def refuse_lossy_update(x: Value, update: Any) -> None:
    """Require that an update fits the dtype's kind.

    Raises:
        DTypeError: the update would lose its fraction, or its number.
    """
    dtype = operators.result_dtype(x, update)
    kinds = (x.dtype.kind == "b", x.dtype in INTEGER)
    if kinds != (dtype.kind == "b", dtype in INTEGER):
        raise DTypeError(
            f"an update of dtype {operators.result_dtype(update)} does not fit {x.type}; cast one "
            "of them with `astype`"
        )
