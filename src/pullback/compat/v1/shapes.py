"""Shapes that are known in part: what a graph knows of an array before it runs.

Imports ``types`` alone. Inside this package a shape is a ``Dims``: None, or a tuple of lengths of
which each may be None. ``TensorShape`` and ``Dimension`` are what users see of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

from pullback.compat.v1.errors import GraphError
from pullback.types import SHORT_NAMES, DType

#: None: even the number of axes is unknown. None in it: that length is unknown.
Dims = tuple[int | None, ...] | None


def as_dims(shape: Any) -> Dims:
    """Return what users write for a shape as ``Dims``: None, an int, or a sequence."""
    if shape is None or isinstance(shape, TensorShape):
        return shape.dims if isinstance(shape, TensorShape) else None
    lengths = shape if isinstance(shape, Sequence) or hasattr(shape, "tolist") else (shape,)
    found = tuple(None if x is None else _length(x) for x in lengths)
    return tuple(None if x == -1 else x for x in found)


def _length(x: Any) -> int | None:
    if isinstance(x, Dimension):
        return x.value
    try:
        return int(x.__index__())
    except (AttributeError, TypeError):
        raise GraphError(
            f"a shape has the length {x!r}; expected an integer, or None where it is not known. "
            "Lengths that are computed in the graph are not supported"
        ) from None


def full_dims(name: str, shape: Any) -> tuple[int, ...]:
    """Return a shape of which all must be known.

    Raises:
        GraphError: a length, or the whole shape, is unknown.
    """
    dims = as_dims(shape)
    known = () if dims is None else tuple(n for n in dims if n is not None)
    if dims is None or len(known) < len(dims):
        raise GraphError(f"{name} needs a shape that is wholly known, got {show_dims(dims)}")
    return known


def show_dims(dims: Dims) -> str:
    """``[?,2]``; ``[...]`` where the number of axes is unknown."""
    if dims is None:
        return "[...]"
    return f"[{','.join('?' if n is None else str(n) for n in dims)}]"


def show_type(dims: Dims, dtype: DType) -> str:
    """``f32[?,2]``."""
    return f"{SHORT_NAMES[dtype]}{show_dims(dims)}"


def fits(shape: tuple[int, ...], dims: Dims) -> bool:
    """Whether an array of this shape is one that ``dims`` describes."""
    if dims is None:
        return True
    if len(shape) != len(dims):
        return False
    return all(n is None or n == m for n, m in zip(dims, shape, strict=True))


def common_dims(x: Dims, y: Dims) -> Dims:
    """What is known of an array that is of either shape."""
    if x is None or y is None or len(x) != len(y):
        return None
    return tuple(n if n == m else None for n, m in zip(x, y, strict=True))


class Dimension:
    """One length of a shape. ``value`` is None where it is not known."""

    __slots__ = ("value",)

    def __init__(self, value: int | None) -> None:
        self.value = value

    def __index__(self) -> int:
        if self.value is None:
            raise GraphError("this length is not known before the graph runs")
        return self.value

    __int__ = __index__

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, Dimension) else other)

    def __hash__(self) -> int:
        return hash(self.value)

    def __mul__(self, other: Any) -> int:
        return self.__index__() * int(other)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return "?" if self.value is None else str(self.value)


class TensorShape(Sequence[Dimension]):
    """The shape of a tensor, known in part.

    Attributes:
        dims: None, or a tuple with a length or None for each axis.
    """

    def __init__(self, dims: Any = None) -> None:
        self.dims: Dims = as_dims(dims)

    @property
    def ndims(self) -> int | None:
        """Number of axes, or None."""
        return None if self.dims is None else len(self.dims)

    rank = ndims

    def as_list(self) -> list[int | None]:
        """The lengths, None where one is unknown.

        Raises:
            GraphError: the number of axes is unknown.
        """
        return [*self._known()]

    def is_fully_defined(self) -> bool:
        """Whether every length is known."""
        return self.dims is not None and None not in self.dims

    def _known(self) -> tuple[int | None, ...]:
        if self.dims is None:
            raise GraphError("the number of axes of this tensor is not known before the graph runs")
        return self.dims

    @overload
    def __getitem__(self, index: int) -> Dimension: ...

    @overload
    def __getitem__(self, index: slice) -> TensorShape: ...

    def __getitem__(self, index: int | slice) -> Dimension | TensorShape:
        found = self._known()[index]
        return TensorShape(found) if isinstance(found, tuple) else Dimension(found)

    def __len__(self) -> int:
        return len(self._known())

    def __iter__(self) -> Iterator[Dimension]:
        return map(Dimension, self._known())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (TensorShape, Sequence)):
            return self.dims == as_dims(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.dims)

    def __str__(self) -> str:
        return show_dims(self.dims)

    def __repr__(self) -> str:
        return f"TensorShape({show_dims(self.dims)})"
