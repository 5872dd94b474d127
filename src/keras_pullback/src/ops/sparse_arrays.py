"""Sparse tensors: ``pullback.sparse.COO``, and what becomes one.

``ops.core`` converts with these; ``numpy_sparse`` has the operations. Imports ``pullback.sparse``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pullback as pb
from keras_pullback.src.ops.complex_arrays import ComplexArray
from pullback.sparse import COO
from pullback.types import ArrayType


class SparseOperandError(TypeError, ValueError):
    """A sparse tensor came to where there are none; operations that take them turn to theirs."""


def is_sparse(x: Any) -> bool:
    """Whether ``x`` is a sparse tensor of this backend."""
    return isinstance(x, COO)


def is_foreign(x: Any) -> bool:
    """Whether ``x`` is a sparse matrix of SciPy, or a sparse tensor of TensorFlow or JAX."""
    module = type(x).__module__
    if module.startswith("scipy.sparse"):
        return hasattr(x, "tocoo")
    name = type(x).__name__
    if name == "SparseTensor":
        return module.startswith("tensorflow.")
    return name == "BCOO" and module.startswith("jax.")


def is_any_sparse(x: Any) -> bool:
    """Whether ``x`` is a sparse tensor of this backend or what becomes one."""
    return isinstance(x, COO) or is_foreign(x)


def refusal(x: Any) -> SparseOperandError:
    """Return the error for a sparse tensor where a dense one is needed."""
    return SparseOperandError(
        f"got a sparse tensor {type_of(x)}, expected a dense one: this operation has no sparse "
        "form. keras.ops.convert_to_tensor(x, sparse=False) makes it dense"
    )


def type_of(x: Any) -> str:
    """A type as ``f32[3,4]``."""
    shape = tuple(int(n) for n in x.shape)
    dtype = np.dtype(getattr(x.dtype, "as_numpy_dtype", x.dtype))
    return f"{dtype}{[*shape]}" if dtype.kind == "c" else str(ArrayType(shape, dtype))


def sparse_tensor(x: Any, sparse: bool | None, cast: Callable[[Any], Any]) -> Any:
    """``x``, of any kind of sparse tensor, as one of this backend; dense if ``sparse`` is False.

    Args:
        x: A sparse tensor or matrix.
        sparse: As ``keras.ops.convert_to_tensor`` has it.
        cast: Converts the values.
    """
    if not isinstance(x, COO):
        x = from_host(*host_parts(x), is_unique=is_unique(x))
    values = cast(x.values)
    if values is not x.values:
        x = x.with_values(values)
    return to_dense(x) if sparse is not None and not sparse else x


def to_dense(x: COO) -> Any:
    """``x`` as a dense tensor."""
    if isinstance(x.values, ComplexArray):
        return ComplexArray(_dense_on_host(x))
    return x.to_dense()


def to_numpy(x: COO) -> Any:
    """``x`` as a dense NumPy array."""
    if isinstance(x.values, ComplexArray):
        return _dense_on_host(x)
    return np.array(x.to_dense())


def _dense_on_host(x: COO) -> Any:
    values, indices = np.asarray(x.values), np.asarray(x.indices)
    held = are_held(indices, x.shape)
    dense = np.zeros(x.shape, values.dtype)
    np.add.at(dense, tuple(indices[held].T), values[held])
    return dense


def are_held(indices: Any, shape: tuple[int, ...]) -> Any:
    """Which rows of NumPy's ``indices`` lie inside; the others are padding."""
    lengths = np.array(shape[: indices.shape[1]], indices.dtype)
    return ((indices >= 0) & (indices < lengths)).all(axis=1)


def host_parts(x: Any) -> tuple[Any, Any, tuple[int, ...]]:
    """Values ``[nse, ...]``, indices int32 ``[nse, k]`` and shape, of any kind of sparse tensor.

    Raises:
        ValueError: it is one of JAX's in batches, or its indices do not fit into int32.
    """
    if isinstance(x, COO):
        return np.asarray(x.values), np.asarray(x.indices), x.shape
    if type(x).__module__.startswith("scipy.sparse"):
        x = x.tocoo()
        places = [np.asarray(i) for i in getattr(x, "coords", (x.row, x.col))]
        values, indices = x.data, np.stack(places, axis=1) if places else None
    elif type(x).__name__ == "SparseTensor":
        values, indices = x.values.numpy(), x.indices.numpy()
    else:
        values, indices = np.asarray(x.data), np.asarray(x.indices)
        if indices.ndim != 2:
            raise ValueError(
                f"got a BCOO of JAX with {indices.ndim - 2} batch axes, expected one without: make "
                "it with n_batch=0"
            )
    shape = tuple(int(n) for n in x.shape)
    if max(shape, default=0) > np.iinfo(np.int32).max:
        raise ValueError(f"got a sparse matrix of the shape {shape}: an axis is too long for int32")
    return values, np.asarray(indices, np.int32), shape


def is_unique(x: Any) -> bool:
    """Whether a sparse tensor of any kind is known to store no place twice."""
    if isinstance(x, COO):
        return x.is_unique
    if type(x).__module__.startswith("scipy.sparse"):
        return bool(getattr(x, "has_canonical_format", False))
    return bool(getattr(x, "unique_indices", False))


def from_host(
    values: Any,
    indices: Any,
    shape: tuple[int, ...],
    nse: int | None = None,
    is_unique: bool = False,
) -> COO:
    """A sparse tensor of NumPy arrays, filled up to ``nse`` elements with such that hold nothing.

    Args:
        values: NumPy array ``[n, ...]``.
        indices: int32 ``[n, k]``.
        shape: Of the tensor.
        nse: How many elements it stores; ``n`` if None.
        is_unique: Whether no place is stored twice.
    """
    missing = 0 if nse is None else nse - len(values)
    if missing > 0:
        nothing = np.zeros((missing, *values.shape[1:]), values.dtype)
        nowhere = np.broadcast_to(
            np.array(shape[: indices.shape[1]], np.int32), (missing, indices.shape[1])
        )
        values = np.concatenate([values, nothing])
        indices = np.concatenate([indices, nowhere])
    real = values.real if values.dtype.kind == "c" else values
    x = COO(pb.asarray(real), pb.asarray(indices), shape, is_unique=is_unique)
    if values.dtype.kind != "c":
        return x
    complex_values: Any = ComplexArray(values)
    return x.with_values(complex_values)


def few_sizes(nse: int) -> int:
    """The number of stored elements that a batch of ``nse`` is filled up to: a power of two.

    So a step is compiled for few numbers only, whatever each batch holds.
    """
    return 8 if nse <= 8 else 1 << (nse - 1).bit_length()


def filled_up(x: Any) -> Any:
    """A sparse tensor with as many elements as programs are compiled for, others as they are."""
    missing = few_sizes(x.nse) - x.nse if isinstance(x, COO) else 0
    if not missing:
        return x
    nothing = pb.zeros((missing, *x.values.shape[1:]), dtype=x.dtype)
    nowhere = np.broadcast_to(
        np.array(x.shape[: x.sparse_ndim], np.int32), (missing, x.sparse_ndim)
    )
    values, indices = pb.concatenate([x.values, nothing]), pb.concatenate([x.indices, nowhere])
    return COO(values, indices, x.shape, is_sorted=x.is_sorted, is_unique=x.is_unique)


def as_batch(x: Any) -> COO:
    """Any kind of sparse tensor as the part of a batch for a compiled step."""
    values, indices, shape = host_parts(x)
    return from_host(values, indices, shape, few_sizes(len(values)), is_unique(x))
