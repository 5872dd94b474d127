"""Compiled steps and loops of steps: what ``fit``, ``evaluate`` and ``predict`` run.

Imports ``pullback``; ``trainer`` alone uses it. Start at ``Loop``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from keras.src import tree
from keras.src.trainers.data_adapters import array_slicing
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter

import pullback as pb
from pullback.errors import TracerArrayError, TracerBoolError, TracerIntegerError

#: What tells that a step needs values while it is traced: it cannot be compiled, but it can run.
NEEDS_VALUES = (TracerArrayError, TracerBoolError, TracerIntegerError)


class Step:
    """One step on one batch, compiled unless it is asked to run eagerly.

    Args:
        function: Takes a batch; reads and assigns variables; returns a tree of tensors.
        eager: Run operation by operation.
    """

    def __init__(self, function: Callable[[Any], Any], eager: bool) -> None:
        self.function = function
        self.eager = eager
        self._compiled = pb.jit(function)

    def __call__(self, batch: Any) -> Any:
        """The result of the step on ``batch``."""
        if self.eager:
            return self.function(tree.map_structure(pb.asarray, batch, none_is_leaf=False))
        try:
            return self._compiled(batch)
        except NEEDS_VALUES as error:
            self.eager = True
            warnings.warn(_slow(self.function, error), stacklevel=3)
            return self(batch)


def _slow(function: Callable[..., Any], error: Exception) -> str:
    name = getattr(function, "__name__", "the step")
    return (
        f"`{name}` cannot be compiled and runs operation by operation, which is slow: {error} "
        "Pass `run_eagerly=True` to `compile` if that is meant."
    )


class Loop:
    """Many steps over arrays as one native call: gather the rows of a batch, run the step, repeat.

    Args:
        function: The step; what it returns is not used.
        result: Computes the logs after the last step of a call, outside the loop.
    """

    def __init__(self, function: Callable[[Any], Any], result: Callable[[], Any]) -> None:
        self._function = function
        self._result = result
        self._compiled = pb.jit(self._run)
        self._step = pb.jit(self._single)

    def __call__(self, data: Any, rows: Any, start: int, stop: int) -> Any:
        """Run steps ``start`` to ``stop - 1``; return the logs after the last.

        Args:
            data: Tree of arrays ``[n, ...]``.
            rows: Integers ``[steps, batch]``: which rows each step takes.
            start: The first step.
            stop: The step after the last.
        """
        return self._compiled(data, rows, np.int32(start), np.int32(stop))

    def tail(self, data: Any, rows: Any) -> Any:
        """Run one step on ``rows``, of another number than a full batch has."""
        return self._step(data, rows)

    def _run(self, data: Any, rows: Any, start: Any, stop: Any) -> Any:
        def body(i: Any, _: Any) -> None:
            self._function(_gather(data, pb.take(rows, i, axis=0)))

        pb.fori_loop(start, stop, body, None)
        return self._result()

    def _single(self, data: Any, rows: Any) -> Any:
        self._function(_gather(data, rows))
        return self._result()


def _gather(data: Any, rows: Any) -> Any:
    return tree.map_structure(lambda x: pb.take(x, rows, axis=0), data, none_is_leaf=False)


class ArrayData:
    """Arrays that lie in memory, and the order in which an epoch goes through them."""

    def __init__(self, adapter: ArrayDataAdapter) -> None:
        self.batch_size = int(adapter.batch_size)
        self._size = int(adapter._num_samples)
        self._shuffle = adapter._shuffle
        sliceable = array_slicing.convert_to_sliceable(adapter._inputs, target_backend="numpy")
        self.arrays = tree.map_structure(_whole, sliceable, none_is_leaf=False)

    @staticmethod
    def accepts(adapter: Any) -> bool:
        """Whether the data of an adapter can be gathered by a compiled loop."""
        if type(adapter) is not ArrayDataAdapter or not adapter._num_samples:
            return False
        leaves = tree.flatten(adapter._inputs)
        return all(x is None or _is_dense(x) for x in leaves)

    def rows(self) -> tuple[Any, Any]:
        """Rows of full batches ``[steps, batch]`` and of the rest, drawn as Keras draws them."""
        order = np.arange(self._size)
        if self._shuffle == "batch":
            starts = range(0, self._size, self.batch_size)
            parts = [order[i : i + self.batch_size] for i in starts]
            order = np.concatenate([np.random.permutation(len(p)) + p[0] for p in parts])  # noqa: NPY002
        elif self._shuffle:
            order = np.random.permutation(self._size)  # noqa: NPY002
        full = self._size // self.batch_size * self.batch_size
        order = order.astype(np.int32)
        return order[:full].reshape(-1, self.batch_size), order[full:]


def _is_dense(x: Any) -> bool:
    if type(x).__module__.partition(".")[0] in ("scipy", "tensorflow", "torch", "jax"):
        return False
    dtype = getattr(x, "dtype", None)
    if dtype is None:
        dtypes = getattr(x, "dtypes", None)
        return dtypes is not None and all(d.kind in "biuf" for d in dtypes)
    return getattr(dtype, "kind", "O") in "biufV" and hasattr(x, "__array__")


def _whole(sliceable: Any) -> Any:
    data = np.ascontiguousarray(sliceable.convert_to_numpy(sliceable[slice(None)]))
    return pb.asarray(data)


def chunks(
    steps: int, seconds: float, run: Callable[[int, int], Any]
) -> Iterator[tuple[int, int, Any]]:
    """Cut ``steps`` into calls of about ``seconds`` each; yield begin, end and the logs.

    The first call has one step and may compile; then the number doubles until a call takes long
    enough to tell how many fit.
    """
    begin, count = 0, 1
    while begin < steps:
        end = min(begin + count, steps)
        started = time.perf_counter()
        logs = run(begin, end)
        spent = time.perf_counter() - started
        yield begin, end, logs
        if begin > 0 or count > 1:
            fitting = int(count * seconds / max(spent, 1e-9))
            count = max(1, min(fitting, 8 * count))
        else:
            count = 8
        begin = end


def concatenate(outputs: Sequence[Any]) -> Any:
    """Outputs of consecutive batches as arrays of all rows."""
    return tree.map_structure(lambda *parts: np.concatenate(parts, axis=0), *outputs)
