"""Sparse arrays from dense ones and from SciPy's, and back.

Imports ``entries``. Start at ``from_dense`` and ``to_dense``.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from pullback.errors import DTypeError, ShapeError, TracerArrayError
from pullback.ops.arguments import ArrayLike, as_array, scalar_of
from pullback.ops.dtypes import strong
from pullback.ops.utility import any as any_
from pullback.primitives import operators
from pullback.primitives.cumulative import CumSum
from pullback.primitives.indexing import Gather, filled, position_dtype
from pullback.primitives.scatter import Scatter
from pullback.primitives.shape import Iota, Reshape
from pullback.program.value import Array, Value
from pullback.sparse.coo import COO, assemble, require_sparse
from pullback.sparse.entries import (
    add_at,
    inside,
    joined,
    lengths,
    over_tail,
    unravel,
    with_dense_ndim,
)
from pullback.types import int32


def from_dense(x: ArrayLike, /, *, nse: int | None = None, dense_ndim: int = 0) -> COO:
    """The sparse array of the elements that are not 0, in row-major order.

    Args:
        x: Array ``[..., *dense axes]``.
        nse: How many entries to store; padding fills what is too many. None to count them, which
            needs ``x`` to be known: in a traced function say it. Of a traced array those beyond
            ``nse``, in row-major order, are lost. Static.
        dense_ndim: How many of the last axes stay dense: a slice is stored if one of its elements
            is not 0. Static.

    Raises:
        ShapeError: a known ``x`` has more than ``nse`` entries, or ``dense_ndim`` is not between 0
            and the number of axes.
        TracerArrayError: ``x`` is traced and ``nse`` is not given.

    Differentiation: the cotangents of the values, at their places in zeros.

    Example:
        >>> from_dense(pb.asarray([[0.0, 2.0], [0.0, 0.0]]))
        COO(f32[2,2], nse=1, is_sorted, is_unique)
    """
    value = strong(as_array(x))
    dense_ndim = operator.index(dense_ndim)
    if not 0 <= dense_ndim <= value.ndim:
        raise ShapeError(
            f"from_dense of {value.type}: dense_ndim {dense_ndim}; expected 0 .. {value.ndim}"
        )
    split = value.ndim - dense_ndim
    if isinstance(value, Array):
        return _from_known(value, split, nse)
    if nse is None:
        raise TracerArrayError(
            f"from_dense of a traced value of type {value.type}: how many elements are not 0 "
            "depends on data, and shapes are static in a traced function. Give the number of "
            "entries to store, `from_dense(x, nse=...)`"
        )
    return _from_traced(value, split, as_count("from_dense", nse))


def as_count(name: str, nse: Any) -> int:
    """``nse`` as a number of entries.

    Raises:
        ShapeError: it is negative.
    """
    count = operator.index(nse)
    if count < 0:
        raise ShapeError(f"{name}: nse {count}; expected 0 or more")
    return count


def _from_known(x: Array, split: int, nse: int | None) -> COO:
    stored = x.data != 0
    if split < x.ndim:
        stored = stored.any(axis=tuple(range(split, x.ndim)))
    places = np.argwhere(stored).astype(int32)
    if not split:
        places = np.zeros((int(stored), 0), int32)
    count = len(places)
    nse = count if nse is None else as_count("from_dense", nse)
    if count > nse:
        raise ShapeError(
            f"from_dense of {x.type}: {count} entries are not 0, more than nse={nse}; give at "
            f"least {count}, or leave it out"
        )
    indices = np.empty((nse, split), int32)
    indices[:count] = places
    indices[count:] = x.shape[:split]
    values: Value = Gather(tuple(range(split)), 0, "fill")(x, Array(indices))
    if nse > count:
        kept = over_tail(Array(np.arange(nse) < count), values)
        values = operators.where(kept, values, scalar_of(0, x.dtype))
    return assemble(values, Array(indices), x.shape, True, True)


def _from_traced(x: Value, split: int, nse: int) -> COO:
    shape = x.shape[:split]
    size = math.prod(shape)
    stored = operators.not_equal(x, scalar_of(0, x.dtype))
    if split < x.ndim:
        stored = any_(stored, axis=tuple(range(split, x.ndim)))
    flat = Reshape((size,))(stored)
    dtype = position_dtype(size + 1)
    position = CumSum(0, False)(operators.astype(flat, dtype)) - scalar_of(1, dtype)
    target = operators.where(flat, position, scalar_of(nse, dtype))
    # Entry number `target` comes from place number `place`; what nothing comes to stays padding.
    place = Iota((size,), dtype, 0)()
    empty = filled((nse,), size, dtype)
    number = Scatter((0,), 0, "set")(empty, Reshape((size, 1))(target), place)
    indices = joined(unravel(number, shape), nse)
    values = Gather(tuple(range(split)), 0, "clip" if size else "fill")(x, indices)
    kept = over_tail(operators.less(number, scalar_of(size, dtype)), values)
    values = operators.where(kept, values, scalar_of(0, x.dtype))
    return assemble(values, indices, x.shape, True, True)


def to_dense(x: COO, /) -> Value:
    """The whole array, zeros included.

    Differentiation: each value gets the cotangent of its place.
    Cost: writes ``size`` elements, adds ``nse``.

    Example:
        >>> to_dense(COO([1.0, 2.0, 3.0], [[0], [2], [2]], (3,)))
        Array([1., 0., 5.], f32)
    """
    require_sparse("to_dense", x)
    axes = range(x.sparse_ndim)
    return add_at(x.shape, axes, x.indices, x.values, x.dtype)


def from_scipy(matrix: Any, /) -> COO:
    """The entries of a matrix or array of ``scipy.sparse``, of any format and dtype.

    Entries at one place and zeros that are stored stay as they are.

    Raises:
        DTypeError: ``matrix`` is none of ``scipy.sparse``, or of a dtype that is not supported.

    Example:
        >>> import scipy.sparse
        >>> from_scipy(scipy.sparse.csr_array([[0.0, 2.0], [0.0, 0.0]]))
        COO(f64[2,2], nse=1, is_unique)
    """
    if not hasattr(matrix, "tocoo"):
        raise DTypeError(
            f"from_scipy of a {type(matrix).__name__}; expected a matrix or array of scipy.sparse: "
            "`from_dense` takes arrays"
        )
    found = matrix.tocoo()
    coordinates = getattr(found, "coords", None) or (found.row, found.col)
    indices = np.stack([np.asarray(c) for c in coordinates], axis=1)
    is_unique = bool(getattr(found, "has_canonical_format", False))
    return COO(np.array(found.data), indices, found.shape, is_unique=is_unique)


def to_scipy(x: COO, /) -> Any:
    """The same array as a ``scipy.sparse.coo_array``; duplicates stay, padding does not.

    Raises:
        ImportError: SciPy is not installed.
        ShapeError: ``x`` has dense axes that SciPy's arrays do not have, or no axis.
        TracerArrayError: ``x`` is traced.

    Example:
        >>> to_scipy(COO([1.0], [[0, 1]], (2, 2))).toarray()
        array([[0., 1.],
               [0., 0.]], dtype=float32)
    """
    require_sparse("to_scipy", x)
    import scipy.sparse

    x = with_dense_ndim(x, 0)
    if not x.ndim:
        raise ShapeError(f"to_scipy of {x.type}: SciPy's sparse arrays have axes; take `x.values`")
    kept = np.asarray(inside(x))
    values, indices = np.asarray(x.values)[kept], np.asarray(x.indices)[kept]
    return scipy.sparse.coo_array((values, tuple(indices.T)), shape=lengths(x))
