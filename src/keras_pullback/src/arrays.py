"""Arrays that lie in memory: the order in which epochs go through them, and in which chunks.

Imports ``pullback``; ``trainer`` uses it. Start at ``ArrayData``.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras.src import tree
from keras.src.backend import config
from keras.src.trainers.data_adapters import array_slicing, data_adapter_utils
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.epoch_iterator import EpochIterator
from numpy.lib.stride_tricks import as_strided

import pullback as pb
from keras_pullback.src.batches import LoopRows, Rows, batches_of
from keras_pullback.src.ops import sparse_arrays
from keras_pullback.src.ops.core import convert_to_tensor

#: The number of rows that compiled loops are told: more than any data have, and in int32.
ENDLESS_ROWS = 1 << 30


@dataclass(frozen=True, slots=True)
class Epoch:
    """The steps of one epoch, which are a part of a pass through the data.

    Attributes:
        rows: Integers ``[steps, batch]``: which rows each step of the pass with a full batch takes.
        first: The step of the pass that the epoch begins with.
        full_steps: How many steps of the epoch take a full batch.
        rest: Integers ``[m]``: the rows of the last step, of fewer rows; None if there is none.
        runs_out: Whether more steps were asked for than the pass has left.
    """

    rows: Any
    first: int
    full_steps: int
    rest: Any
    runs_out: bool

    @property
    def steps(self) -> int:
        """How many steps there are."""
        return self.full_steps + (self.rest is not None)


class Batches(EpochIterator):
    """Keras's iterator, which does not say that data ran out where a last group has fewer batches.

    It yields groups of ``steps_per_execution`` batches, each with the numbers of its first and
    last. Sparse data come as sparse tensors.
    """

    def _get_iterator(self) -> Any:
        return batches_of(self.data_adapter)

    def __next__(self) -> tuple[int, int, list[Any]]:
        begin, end, batches = next(self._epoch_iterator)
        group = list(itertools.islice(batches, self.steps_per_execution))
        if group:
            return begin, end, group
        with self.catch_stop_iteration():  # which warns, and ends the epoch
            raise StopIteration
        raise StopIteration


class ArrayData:
    """The arrays of one ``EpochIterator``, and how far the epochs have come through them.

    Args:
        iterator: One whose data ``accepts`` was asked about.

    Attributes:
        leaves: Arrays ``[n, ...]``, and ``LoopRows`` of sparse data.
        structure: Tree of numbers: where each of the leaves stands in a batch.
        steps_per_call: Keras's ``steps_per_execution``.
        batch_size: Rows in a full batch.
        size: Rows in all.
    """

    def __init__(self, iterator: EpochIterator) -> None:
        adapter = iterator.data_adapter
        self.steps_per_call = int(iterator.steps_per_execution)
        self.batch_size = int(adapter.batch_size)
        self.size = int(adapter._num_samples)
        self._shuffle = adapter._shuffle
        self._steps_per_epoch: int | None = iterator.steps_per_epoch
        #: Rows of this pass, and how many of its steps are done. None: a pass is to begin.
        self._order: Any = None
        self._done = 0
        self.leaves: list[Any] = []
        #: The rows of the sparse leaves, by where these stand in ``leaves``.
        self._sparse: dict[int, Rows] = {}
        self.structure = tree.map_structure(self._keep, adapter._inputs, none_is_leaf=False)

    def _keep(self, x: Any) -> int:
        number = len(self.leaves)
        if sparse_arrays.is_any_sparse(x):
            self._sparse[number] = Rows(x)
            self.leaves.append(LoopRows.of(self._sparse[number]))
            return number
        sliceable = array_slicing.convert_to_sliceable(x, target_backend="numpy")
        data = np.ascontiguousarray(sliceable.convert_to_numpy(sliceable[slice(None)]))
        self.leaves.append(pb.asarray(data))
        return number

    @property
    def arrays(self) -> Any:
        """The leaves in their structure."""
        return tree.map_structure(self.leaves.__getitem__, self.structure, none_is_leaf=False)

    @staticmethod
    def accepts(adapter: Any) -> bool:
        """Whether the data of an adapter can be gathered by a compiled loop."""
        if type(adapter) is not ArrayDataAdapter or not adapter._num_samples:
            return False
        leaves = tree.flatten(adapter._inputs)
        return all(x is None or _is_dense(x) or _is_matrix(x) for x in leaves)

    def restart(self) -> None:
        """Begin the next epoch with a new pass through the data."""
        self._order = None

    def next_epoch(self) -> Epoch:
        """The steps of the next epoch, in the order that Keras draws.

        Without ``steps_per_epoch`` each epoch is a pass through the data. With it an epoch takes
        that many steps of the pass, or those that are left, in whole calls of ``steps_per_call``.
        """
        if self._order is None or self._steps_per_epoch is None:
            self._order, self._done = self._draw(), 0
        whole, group = self.size // self.batch_size, self.steps_per_call
        left = -(-self.size // self.batch_size) - self._done
        wanted = -(-(self._steps_per_epoch or left) // group) * group
        begin, end = self._done, self._done + min(wanted, left)
        rows = self._order[: whole * self.batch_size].reshape(-1, self.batch_size)
        rest = self._order[whole * self.batch_size :] if end > whole else None
        for number, data in self._sparse.items():
            most = max(data.most(rows), 0 if rest is None else data.most(rest[None]))
            self.leaves[number] = self.leaves[number].with_room(most)
        self._done = end
        if wanted >= left:
            self.restart()
        return Epoch(rows, begin, min(end, whole) - begin, rest, runs_out=wanted - left >= group)

    def _draw(self) -> Any:
        order: Any = np.arange(self.size, dtype=np.int32)
        if self._shuffle == "batch":
            starts = range(0, self.size, self.batch_size)
            parts = [order[i : i + self.batch_size] for i in starts]
            order = np.concatenate([np.random.permutation(len(p)) + p[0] for p in parts])  # noqa: NPY002 # as Keras draws
        elif self._shuffle:
            order = np.random.permutation(self.size)  # noqa: NPY002 # as Keras draws
        return order.astype(np.int32)


def endless(x: Any) -> Any:
    """``x`` as if it had very many rows, for a compiled loop that reads only those it has.

    A program is compiled for the types of its arguments. A loop that gathers rows by their numbers
    does not depend on how many there are: as an argument all data of a kind have the same type, so
    that another number of rows compiles nothing. Nobody else may read the result.

    Args:
        x: Array ``[n, ...]``, of which nothing is copied. ``LoopRows`` are returned as they are.
    """
    if not isinstance(x, pb.Array | np.ndarray):
        return x
    data = np.asarray(x)
    return pb.asarray(as_strided(data, (ENDLESS_ROWS, *data.shape[1:]), writeable=False))


class Pace:
    """How many steps a native call takes, so that it lasts about as long as it should.

    Args:
        seconds: How long. None: every call takes ``unit`` steps.
        unit: Calls take a multiple of so many steps.

    The first call may compile, and tells nothing. Then the number grows until a call lasts long
    enough to tell how many steps fit. The next epoch goes on with what is known by then.
    """

    def __init__(self, seconds: float | None, unit: int) -> None:
        self._seconds = seconds
        self._unit = unit
        self._count = unit
        self._started = 0.0
        self._is_warm = False

    def end_of_call(self, begin: int, steps: int) -> int:
        """Where the call that begins with step ``begin`` ends, of ``steps`` in all."""
        self._started = time.perf_counter()
        return min(begin + self._count, steps)

    def note_call(self, steps: int) -> None:
        """The call is over; it took ``steps`` steps."""
        if self._seconds is None:
            return
        if self._is_warm:
            spent = time.perf_counter() - self._started
            fitting = int(steps * self._seconds / max(spent, 1e-9))
            most = min(fitting, 8 * self._count) // self._unit * self._unit
            self._count = max(self._unit, most)
        self._is_warm = True


def _is_dense(x: Any) -> bool:
    if type(x).__module__.partition(".")[0] in ("scipy", "tensorflow", "torch", "jax"):
        return False
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        dtypes = getattr(x, "dtypes", None)
        return dtypes is not None and all(d.kind in "biuf" for d in dtypes)
    return getattr(dtype, "kind", "O") in "biufV" and hasattr(x, "__array__")


def _is_matrix(x: Any) -> bool:
    """Whether ``x`` is sparse, with rows, of numbers that the engine has."""
    if not sparse_arrays.is_any_sparse(x) or not x.shape:
        return False
    return np.dtype(getattr(x.dtype, "as_numpy_dtype", x.dtype)).kind in "biufV"


def is_plain(x: Any) -> bool:
    """Whether ``x`` is a NumPy array that Keras's adapter would cut into batches as it is."""
    return (
        type(x) is np.ndarray
        and x.dtype.kind in "biuf"
        and x.ndim > 0
        and len(x) > 0
        and not config.max_steps_per_epoch()
    )


def as_floatx(x: Any) -> Any:
    """A NumPy array, of Keras's default dtype if it is floating, as Keras's adapter has it."""
    is_other_float = x.dtype.kind == "f" and x.dtype.name != config.floatx()
    return x.astype(config.floatx()) if is_other_float else x


def host_array(x: Any) -> Any:
    """A NumPy array as it is, anything else as a tensor; a sparse one filled up for a step."""
    if isinstance(x, np.ndarray):
        return x
    return sparse_arrays.as_batch(x) if sparse_arrays.is_any_sparse(x) else convert_to_tensor(x)


def as_batch(x: Any, y: Any, sample_weight: Any) -> Any:
    """What ``train_on_batch`` takes as a batch: ``x``, ``y`` and weights, without those missing."""
    arrays = data_adapter_utils.pack_x_y_sample_weight(x, y, sample_weight)
    if not isinstance(arrays, tuple):
        arrays = (arrays,)
    return tree.map_structure(host_array, arrays, none_is_leaf=False)
