"""Sparse data of models: batches of them, and rows that a compiled loop gathers.

Imports ``ops.sparse_arrays``; ``arrays`` and ``trainer`` use it. Start at ``batches_of``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, final

import numpy as np
from keras.src import tree
from keras.src.backend import config
from keras.src.trainers.data_adapters import array_slicing, data_adapter_utils
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.data_adapters.generator_data_adapter import GeneratorDataAdapter
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter
from keras.src.trainers.data_adapters.tf_dataset_adapter import TFDatasetAdapter

import pullback as pb
from keras_pullback.src.ops.sparse_arrays import (
    are_held,
    as_batch,
    few_sizes,
    from_host,
    host_parts,
    is_any_sparse,
    is_foreign,
    to_dense,
)
from pullback.sparse import COO


def batches_of(adapter: Any) -> Iterable[Any]:
    """The batches of one pass through an adapter's data: NumPy arrays, and sparse tensors.

    Sparse ones are filled up, so that batches have few numbers of stored elements.

    Args:
        adapter: One of Keras's data adapters.
    """
    if isinstance(adapter, ArrayDataAdapter):
        has_sparse = any(map(is_any_sparse, tree.flatten(adapter._inputs)))
        return _of_arrays(adapter) if has_sparse else adapter.get_numpy_iterator()
    if isinstance(adapter, GeneratorDataAdapter):
        return _converted(adapter.generator(), _on_host)
    if isinstance(adapter, PyDatasetAdapter):
        return _converted(adapter._get_iterator(), _on_host)
    if isinstance(adapter, TFDatasetAdapter) and _has_sparse(adapter._dataset):
        return _converted(adapter._dataset, _on_host)
    return _converted(adapter.get_numpy_iterator(), _sparse_alone)


def _converted(batches: Iterable[Any], convert: Any) -> Iterator[Any]:
    for batch in batches:
        yield tree.map_structure(convert, batch, none_is_leaf=False)


def _on_host(x: Any) -> Any:
    """A part of a batch as a NumPy array where Keras has it so, or as a sparse tensor."""
    if isinstance(x, np.ndarray):
        return x
    if is_any_sparse(x):
        return as_batch(x)
    if not hasattr(x, "__array__"):
        return x
    return np.asarray(x.cpu() if type(x).__module__.startswith("torch") else x)


def _sparse_alone(x: Any) -> Any:
    return as_batch(x) if is_foreign(x) else x


def _has_sparse(dataset: Any) -> bool:
    specs = tree.flatten(getattr(dataset, "element_spec", ()))
    return any(type(spec).__name__ == "SparseTensorSpec" for spec in specs)


def _of_arrays(adapter: ArrayDataAdapter) -> Iterator[Any]:
    """Keras's own iteration over arrays, with sparse ones sliced by us."""

    def slices(x: Any) -> Any:
        if is_any_sparse(x):
            return Rows(x)
        return array_slicing.convert_to_sliceable(x, target_backend="numpy")

    def batch(part: Any, indices: Any) -> Any:
        if isinstance(part, Rows):
            return part.batch(indices)
        return part.convert_to_numpy(part[indices])

    inputs = tree.map_structure(slices, adapter._inputs, none_is_leaf=False)
    iterator: Iterator[Any] = adapter._get_iterator(batch, inputs)
    return iterator


def splittable(data: Any) -> Any:
    """A tree of data as Keras can split it: sparse tensors of ours become SciPy's."""

    def convert(x: Any) -> Any:
        return x.to_scipy().tocsr() if isinstance(x, COO) else x

    return tree.map_structure(convert, data)


def unpacked(batch: Any) -> tuple[Any, Any, Any]:
    """Inputs, labels and weights of a batch; sparse labels dense, as losses take them."""

    def dense(x: Any) -> Any:
        return to_dense(x) if isinstance(x, COO) else x

    x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(batch)
    return x, tree.map_structure(dense, y, none_is_leaf=False), sample_weight


class Rows:
    """Sparse data sorted by rows, so that any rows can be taken out of it.

    Args:
        x: Sparse tensor or matrix ``[n, ...]`` of any kind. Floating values become ``floatx``, as
            Keras has it for data that lie in memory.

    Attributes:
        shape: Of all data.
        values: ``[nse, ...]``, those of a row together.
        places: int32 ``[nse, k]``: where each stands in its row.
        starts: int32 ``[n + 1]``: where each row begins.
        is_unique: Whether no place is stored twice.

    Raises:
        ValueError: there are more elements than int32 counts, or rows are not sparse.
    """

    def __init__(self, x: Any) -> None:
        values, indices, self.shape = host_parts(x)
        if len(values) > np.iinfo(np.int32).max:
            raise ValueError(f"got {len(values)} stored elements, expected at most 2**31 - 1")
        if not indices.shape[1]:
            raise ValueError(
                f"got a sparse tensor of the shape {self.shape} whose rows are dense, expected a "
                "sparse first axis: pass `x.to_dense()`"
            )
        values, indices, self.is_unique = _sorted(values, indices, self.shape)
        if values.dtype.kind == "f" and values.dtype.name != config.floatx():
            values = values.astype(config.floatx())
        self.values = values
        self.places = np.ascontiguousarray(indices[:, 1:])
        self.starts = np.searchsorted(indices[:, 0], np.arange(self.shape[0] + 1)).astype(np.int32)

    def batch(self, rows: Any) -> COO:
        """Some rows as a sparse tensor, filled up.

        Args:
            rows: A slice, or integers ``[b]``.
        """
        if isinstance(rows, slice):
            rows = np.arange(self.shape[0])[rows]
        begin, counts = self.starts[rows], np.diff(self.starts)[rows]
        total = int(counts.sum())
        shift = np.repeat(begin - (np.cumsum(counts) - counts), counts)
        at = shift + np.arange(total)
        numbers = np.repeat(np.arange(len(rows), dtype=np.int32), counts)
        indices = np.concatenate([numbers[:, None], self.places[at]], axis=1)
        shape = (len(rows), *self.shape[1:])
        return from_host(self.values[at], indices, shape, few_sizes(total), self.is_unique)

    def most(self, rows: Any) -> int:
        """The largest number of elements that one row of ``rows`` asks for.

        Args:
            rows: Integers ``[batches, b]``.
        """
        counts = np.diff(self.starts)[rows].sum(axis=1, dtype=np.int64)
        return int(counts.max(initial=0))


def _sorted(values: Any, indices: Any, shape: tuple[int, ...]) -> tuple[Any, Any, bool]:
    """Elements in row-major order without padding, and whether all places differ."""
    held = are_held(indices, shape)
    if not held.all():
        values, indices = values[held], indices[held]
    number = np.zeros(len(values), np.int64)
    for column, length in zip(indices.T, shape, strict=False):
        number = number * length + column
    steps = np.diff(number)
    if (steps < 0).any():
        order = np.argsort(number, kind="stable")
        values, indices, steps = values[order], indices[order], np.diff(number[order])
    return values, indices, bool((steps > 0).all())


@final
class LoopRows:
    """Sparse data as the argument of a compiled loop, which takes rows out of it.

    Args:
        slots: ``[nse]``, of any content: how many elements a batch has room for.
        values: As of ``Rows``.
        places: As of ``Rows``.
        starts: As of ``Rows``.
        shape: Of one row. Static.
        is_unique: Whether no place is stored twice. Static.
    """

    def __init__(
        self, slots: Any, values: Any, places: Any, starts: Any, shape: Any, is_unique: bool
    ) -> None:
        self.slots, self.values, self.places, self.starts = slots, values, places, starts
        self.shape, self.is_unique = shape, is_unique

    @staticmethod
    def of(rows: Rows) -> LoopRows:
        """The same data, with no room in batches yet."""
        values, places, starts = map(pb.asarray, (rows.values, rows.places, rows.starts))
        slots = pb.zeros((0,), dtype="int8")
        return LoopRows(slots, values, places, starts, rows.shape[1:], rows.is_unique)

    def with_room(self, nse: int) -> LoopRows:
        """The same data for batches of up to ``nse`` elements.

        An eighth at least is to spare, and room never becomes less: each number is compiled for.
        """
        if self.slots.shape[0] >= nse:
            return self
        wanted = nse + nse // 8
        unit = max(8, 1 << max(wanted.bit_length() - 4, 0))
        slots = pb.zeros((-(-wanted // unit) * unit,), dtype="int8")
        parts = (self.values, self.places, self.starts, self.shape, self.is_unique)
        return LoopRows(slots, *parts)

    def take(self, rows: Any) -> COO:
        """The sparse tensor of some rows.

        Args:
            rows: int32 ``[b]``.
        """
        nse, several = self.slots.shape[0], rows.shape[0]
        begin = pb.take(self.starts, rows, axis=0)
        ends = pb.cumsum(pb.take(self.starts, rows + 1, axis=0) - begin, dtype="int32")
        # Which row the elements belong to: as many as end before it. Those behind all are padding.
        ended = pb.zeros((nse + 1,), dtype="int32").at[ends].add(1)
        numbers = pb.cumsum(ended[:nse], dtype="int32")
        first = pb.concatenate([pb.zeros((1,), dtype="int32"), ends[:-1]])
        shift = pb.take(begin - first, numbers, axis=0, mode="clip")
        at = pb.arange(nse, dtype="int32") + shift
        values = pb.take(self.values, at, axis=0, mode="clip")
        places = pb.take(self.places, at, axis=0, mode="clip")
        indices = pb.concatenate([pb.expand_dims(numbers, 1), places], axis=1)
        return COO(values, indices, (several, *self.shape), is_unique=self.is_unique)


pb.tree.register(
    LoopRows,
    lambda x: ((x.slots, x.values, x.places, x.starts), (x.shape, x.is_unique)),
    lambda meta, parts: LoopRows(parts[0], parts[1], parts[2], parts[3], *meta),
)
