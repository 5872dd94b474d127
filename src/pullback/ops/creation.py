"""Arrays of a shape: the rest of the standard's chapter "Creation functions".

Imports ``arguments``, ``dtypes`` and ``primitives``. Start at ``full``. What a
function makes from static numbers is a few equations in a traced program, not a stored array,
except ``linspace`` and a floating ``arange``, computed in float64 and rounded once.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from pullback.errors import ShapeError
from pullback.ops.arguments import (
    ArrayLike,
    as_array,
    as_shape,
    check_device,
    concrete,
    scalar_of,
)
from pullback.ops.conversion import asarray, numbers
from pullback.ops.dtypes import astype, broadcast_to, strong
from pullback.primitives import operators
from pullback.primitives.cast import convert
from pullback.primitives.shape import Broadcast, Iota, Pad
from pullback.program.value import Array, Value
from pullback.types import (
    DEFAULT_FLOAT,
    DEFAULT_INT,
    INTEGER,
    DType,
    as_dtype,
    int32,
)

__all__ = [
    "arange",
    "diag",
    "empty",
    "empty_like",
    "eye",
    "full",
    "full_like",
    "identity",
    "linspace",
    "logspace",
    "meshgrid",
    "ones",
    "ones_like",
    "tri",
    "tril",
    "triu",
    "zeros",
    "zeros_like",
]

Shape = int | Sequence[int]


def full(shape: Shape, fill_value: ArrayLike, dtype: Any = None, *, device: Any = None) -> Value:
    """Make an array with one value everywhere.

    Args:
        shape: Its shape: an int or several.
        fill_value: A number, or an array that broadcasts to ``shape``.
        dtype: Its dtype; None for that of ``fill_value``.
        device: None or ``"cpu"``.

    Raises:
        ShapeError: ``shape`` has a negative length, or ``fill_value`` does not broadcast to it.

    Example:
        >>> pb.full((2, 2), 7)
        Array([[7, 7],
               [7, 7]], i32)
    """
    check_device(device)
    lengths = as_shape("full", shape)
    if operators.is_python_scalar(fill_value):
        value: Value = asarray(fill_value, dtype=dtype)
    else:
        value = strong(as_array(fill_value))
        value = value if dtype is None else astype(value, dtype)
    if not value.shape:
        return _filled(value, lengths)
    return broadcast_to(value, lengths)


def _filled(scalar: Value, shape: tuple[int, ...]) -> Value:
    if not shape:
        return scalar
    result: Value = Broadcast(shape, tuple(range(len(shape))))(scalar)
    return result


def zeros(shape: Shape, dtype: Any = None, *, device: Any = None) -> Value:
    """Make an array of zeros.

    Args:
        shape: Its shape: an int or several.
        dtype: Its dtype; None for float32.
        device: None or ``"cpu"``.

    Raises:
        ShapeError: ``shape`` has a negative length.

    Example:
        >>> pb.zeros((2, 3))
        Array([[0., 0., 0.],
               [0., 0., 0.]], f32)
    """
    return full(shape, 0, dtype=DEFAULT_FLOAT if dtype is None else dtype, device=device)


def ones(shape: Shape, dtype: Any = None, *, device: Any = None) -> Value:
    """Make an array of ones.

    Args:
        shape: Its shape: an int or several.
        dtype: Its dtype; None for float32.
        device: None or ``"cpu"``.

    Raises:
        ShapeError: ``shape`` has a negative length.

    Example:
        >>> pb.ones(3, dtype=pb.int32)
        Array([1, 1, 1], i32)
    """
    return full(shape, 1, dtype=DEFAULT_FLOAT if dtype is None else dtype, device=device)


def empty(shape: Shape, dtype: Any = None, *, device: Any = None) -> Value:
    """Make an array whose elements do not matter: zeros, so that every run gives the same.

    Args:
        shape: Its shape: an int or several.
        dtype: Its dtype; None for float32.
        device: None or ``"cpu"``.

    Raises:
        ShapeError: ``shape`` has a negative length.

    Example:
        >>> pb.empty((2, 3)).shape
        (2, 3)
    """
    return zeros(shape, dtype=dtype, device=device)


def full_like(
    x: ArrayLike,
    /,
    fill_value: ArrayLike,
    dtype: Any = None,
    *,
    shape: Shape | None = None,
    device: Any = None,
) -> Value:
    """Make an array of the shape of ``x`` with one value everywhere.

    Args:
        x: Array.
        fill_value: A number, or an array that broadcasts to the shape.
        dtype: The dtype; None for that of ``x``.
        shape: Another shape; None for that of ``x``.
        device: None or ``"cpu"``.

    Raises:
        ShapeError: ``fill_value`` does not broadcast to the shape.

    Example:
        >>> pb.full_like(pb.asarray([1.0, 2.0]), 7)
        Array([7., 7.], f32)
    """
    value = as_array(x)
    lengths = value.shape if shape is None else shape
    return full(lengths, fill_value, dtype=value.dtype if dtype is None else dtype, device=device)


def zeros_like(
    x: ArrayLike, /, dtype: Any = None, *, shape: Shape | None = None, device: Any = None
) -> Value:
    """Make an array of zeros with the shape and dtype of ``x``, or those given.

    Example:
        >>> pb.zeros_like(pb.asarray([1, 2]))
        Array([0, 0], i32)
    """
    return full_like(x, 0, dtype=dtype, shape=shape, device=device)


def ones_like(
    x: ArrayLike, /, dtype: Any = None, *, shape: Shape | None = None, device: Any = None
) -> Value:
    """Make an array of ones with the shape and dtype of ``x``, or those given.

    Example:
        >>> pb.ones_like(pb.asarray([1, 2]))
        Array([1, 1], i32)
    """
    return full_like(x, 1, dtype=dtype, shape=shape, device=device)


def empty_like(
    x: ArrayLike, /, dtype: Any = None, *, shape: Shape | None = None, device: Any = None
) -> Value:
    """Make an array with the shape and dtype of ``x`` whose elements do not matter.

    Example:
        >>> pb.empty_like(pb.asarray([1, 2])).dtype.name
        'int32'
    """
    return zeros_like(x, dtype=dtype, shape=shape, device=device)


def arange(
    start: float,
    /,
    stop: float | None = None,
    step: float = 1,
    dtype: Any = None,
    *,
    device: Any = None,
) -> Value:
    """Numbers from ``start`` to before ``stop``, ``step`` apart.

    Args:
        start: First number; or ``stop``, if that is None, and the first is 0. Static.
        stop: Bound, not included. Static.
        step: Distance, not 0. Static.
        dtype: The dtype; None for int32, or float32 if an argument is a float.
        device: None or ``"cpu"``.

    Returns:
        Array ``[n]`` with ``n = max(ceil((stop - start) / step), 0)``.

    Raises:
        ZeroDivisionError: ``step`` is 0.
        OverflowError: a number does not fit the dtype.

    Example:
        >>> pb.arange(5)
        Array([0, 1, 2, 3, 4], i32)
        >>> pb.arange(1.0, 2.0, 0.25)
        Array([1.  , 1.25, 1.5 , 1.75], f32)
    """
    check_device(device)
    first, last = (0, start) if stop is None else (start, stop)
    first, last, by = (_static_number("arange", x) for x in (first, last, step))
    floating = any(isinstance(x, float) for x in (first, last, by))
    target = as_dtype(dtype) if dtype is not None else DEFAULT_FLOAT if floating else DEFAULT_INT
    if by == 0:
        raise ZeroDivisionError("arange: the step is 0; expected another number")
    if floating or target not in INTEGER:
        return Array(convert(np.arange(float(first), float(last), float(by)), target))
    length = len(range(int(first), int(last), int(by)))
    if not length:
        return zeros(0, dtype=target)
    for bound in (first, first + (length - 1) * by):
        numbers(bound, target)
    steps: Value = Iota((length,), target, 0)()
    # In unsigned dtypes a negative step wraps, and so does the product: the sum is right.
    scaled: Value = steps if by == 1 else steps * _wrapped(int(by), target)
    return scaled if first == 0 else scaled + scalar_of(int(first), target)


def _wrapped(x: int, dtype: DType) -> Value:
    info = np.iinfo(dtype)
    return scalar_of((x - int(info.min)) % 2**info.bits + int(info.min), dtype)


def _static_number(name: str, x: Any) -> int | float:
    """A number that decides about a shape, as a Python number."""
    if isinstance(x, (Value, np.ndarray, np.generic)):
        number: int | float = concrete(name, x, "Pass a Python number.").item()
        return number
    return x if isinstance(x, float) else operator.index(x)


def linspace(
    start: float,
    stop: float,
    /,
    num: int = 50,
    *,
    endpoint: bool = True,
    dtype: Any = None,
    device: Any = None,
) -> Value:
    """``num`` numbers evenly spread from ``start`` to ``stop``.

    Args:
        start: First number. Static.
        stop: Last number, or the bound if not ``endpoint``. Static.
        num: How many. Static.
        endpoint: Whether ``stop`` is included.
        dtype: The dtype; None for float32.
        device: None or ``"cpu"``.

    Raises:
        ValueError: ``num`` is negative.

    Example:
        >>> pb.linspace(0.0, 1.0, 5)
        Array([0.  , 0.25, 0.5 , 0.75, 1.  ], f32)
    """
    check_device(device)
    target = DEFAULT_FLOAT if dtype is None else as_dtype(dtype)
    first, last = (_static_number("linspace", x) for x in (start, stop))
    count = operator.index(num)
    if target in INTEGER:
        return Array(np.linspace(first, last, count, endpoint=endpoint, dtype=target))
    return Array(convert(np.linspace(first, last, count, endpoint=endpoint), target))


def logspace(
    start: float,
    stop: float,
    /,
    num: int = 50,
    *,
    endpoint: bool = True,
    base: float = 10.0,
    dtype: Any = None,
) -> Value:
    """Powers of ``base`` with exponents evenly spread from ``start`` to ``stop``.

    Example:
        >>> pb.logspace(0, 2, 3)
        Array([  1.,  10., 100.], f32)
    """
    target = DEFAULT_FLOAT if dtype is None else as_dtype(dtype)
    return Array(convert(np.logspace(start, stop, num, endpoint=endpoint, base=base), target))


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    k: int = 0,
    dtype: Any = None,
    *,
    device: Any = None,
) -> Value:
    """Make a matrix with ones on a diagonal and zeros elsewhere.

    Args:
        n_rows: Number of rows.
        n_cols: Number of columns; None for as many.
        k: Which diagonal: 0 the main one, positive above, negative below.
        dtype: The dtype; None for float32.
        device: None or ``"cpu"``.

    Example:
        >>> pb.eye(2)
        Array([[1., 0.],
               [0., 1.]], f32)
    """
    check_device(device)
    shape = as_shape("eye", (n_rows, n_rows if n_cols is None else n_cols))
    row, column = _row_and_column(shape, operator.index(k))
    mask = operators.equal(row, column)
    return astype(mask, DEFAULT_FLOAT if dtype is None else dtype)


def identity(n: int, dtype: Any = None) -> Value:
    """Make the identity matrix.

    Example:
        >>> pb.identity(2, dtype=pb.int32)
        Array([[1, 0],
               [0, 1]], i32)
    """
    return eye(n, dtype=dtype)


def _row_and_column(shape: tuple[int, ...], k: int) -> tuple[Value, Value]:
    """Row numbers plus ``k``, and column numbers: equal on diagonal ``k``."""
    row: Value = Iota(shape, int32, 0)()
    return row + k if k else row, Iota(shape, int32, 1)()


def tri(n: int, m: int | None = None, k: int = 0, dtype: Any = None) -> Value:
    """Make a matrix with ones at and below a diagonal, zeros above.

    Example:
        >>> pb.tri(2, 3)
        Array([[1., 0., 0.],
               [1., 1., 0.]], f32)
    """
    ones_ = ones((n, n if m is None else m), dtype=dtype)
    return tril(ones_, k=k)


def tril(x: ArrayLike, /, k: int = 0) -> Value:
    """Matrices with zeros above a diagonal.

    Args:
        x: Array ``[..., m, n]``.
        k: Which diagonal: 0 the main one, positive above, negative below.

    Raises:
        ShapeError: ``x`` has fewer than two axes.

    Differentiation: ``tril`` of the cotangent.

    Example:
        >>> pb.tril(pb.ones((2, 2)))
        Array([[1., 0.],
               [1., 1.]], f32)
    """
    value = _matrices("tril", x)
    row, column = _row_and_column(value.shape[-2:], operator.index(k))
    mask = operators.greater_equal(row, column)
    return operators.where(mask, value, scalar_of(0, value.dtype))


def triu(x: ArrayLike, /, k: int = 0) -> Value:
    """Matrices with zeros below a diagonal.

    Args:
        x: Array ``[..., m, n]``.
        k: Which diagonal: 0 the main one, positive above, negative below.

    Raises:
        ShapeError: ``x`` has fewer than two axes.

    Differentiation: ``triu`` of the cotangent.

    Example:
        >>> pb.triu(pb.ones((2, 2)))
        Array([[1., 1.],
               [0., 1.]], f32)
    """
    value = _matrices("triu", x)
    row, column = _row_and_column(value.shape[-2:], operator.index(k))
    mask = operators.less_equal(row, column)
    return operators.where(mask, value, scalar_of(0, value.dtype))


def _matrices(name: str, x: ArrayLike) -> Value:
    value = strong(as_array(x))
    if value.ndim < 2:
        raise ShapeError(f"{name} takes matrices [..., m, n], not {value.type}")
    return value


def diag(x: ArrayLike, /, k: int = 0) -> Value:
    """The matrix with vector ``x`` on a diagonal; or the diagonal of a matrix ``x``.

    Args:
        x: Array ``[n]`` or ``[m, n]``.
        k: Which diagonal: 0 the main one, positive above, negative below.

    Raises:
        ShapeError: ``x`` has no axis, or more than two.

    Example:
        >>> pb.diag(pb.asarray([1, 2]))
        Array([[1, 0],
               [0, 2]], i32)
        >>> pb.diag(pb.asarray([[1, 2], [3, 4]]))
        Array([1, 4], i32)
    """
    value = as_array(x)
    if value.ndim == 2:
        from pullback.ops.linear_algebra import diagonal

        return diagonal(value, offset=k)
    if value.ndim != 1:
        raise ShapeError(f"diag takes a vector [n] or a matrix [m, n], not {value.type}")
    n, offset = value.shape[0], operator.index(k)
    size = n + abs(offset)
    padded = Pad((0,), (abs(offset),), (0,))(strong(value), scalar_of(0, value.dtype))
    spread = Broadcast((size, size), (1,) if offset >= 0 else (0,))(padded)
    row, column = _row_and_column((size, size), offset)
    mask = operators.equal(row, column)
    return operators.where(mask, spread, scalar_of(0, value.dtype))


def meshgrid(*arrays: ArrayLike, indexing: Literal["xy", "ij"] = "xy") -> list[Value]:
    """Coordinates of a grid, one array an axis, from the coordinates along each axis.

    Args:
        arrays: Arrays ``[n_i]`` or numbers.
        indexing: ``"ij"``: shape ``[n_0, n_1, ...]``; ``"xy"``: the first two exchanged.

    Raises:
        ShapeError: an argument has more than one axis.
        ValueError: ``indexing`` is neither.

    Example:
        >>> x, y = pb.meshgrid(pb.arange(3), pb.arange(2))
        >>> x
        Array([[0, 1, 2],
               [0, 1, 2]], i32)
    """
    if indexing not in ("xy", "ij"):
        raise ValueError(f"meshgrid: indexing {indexing!r}; expected 'xy' or 'ij'")
    values = [as_array(x) for x in arrays]
    for value in values:
        if value.ndim > 1:
            raise ShapeError(f"meshgrid takes vectors [n], not {value.type}")
    order = list(range(len(values)))
    if indexing == "xy" and len(values) > 1:
        order[:2] = [1, 0]
    shape = tuple(values[i].size for i in order)
    return [_along(x, order.index(i), shape) for i, x in enumerate(values)]


def _along(x: Value, axis: int, shape: tuple[int, ...]) -> Value:
    if not x.shape:
        return _filled(strong(x), shape)
    result: Value = Broadcast(shape, tuple(i for i in range(len(shape)) if i != axis))(x)
    return result
