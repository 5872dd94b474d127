"""Compiled steps and loops of steps: what ``fit``, ``evaluate`` and ``predict`` run.

Imports ``arrays``; ``trainer`` alone uses it. Start at ``Loop``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras.src import tree

import pullback as pb
from keras_pullback.src.arrays import ArrayData, Epoch, Pace, endless
from keras_pullback.src.batches import LoopRows
from keras_pullback.src.ops.core import convert_to_numpy
from pullback.errors import NEEDS_VALUES
from pullback.sparse import COO
from pullback.trace.leaves import flatten_values


class NoLogs(Exception):
    """A step returned something that is no dictionary of arrays: a loop cannot carry it."""


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
        self._compiled_apart = pb.jit(self._of_arrays)

    def _of_arrays(self, *batch: Any) -> Any:
        return self.function(batch)

    def __call__(self, batch: Any) -> Any:
        """The result of the step on ``batch``."""
        if self.eager:
            return self.function(tree.map_structure(_tensor, batch, none_is_leaf=False))
        try:
            if type(batch) is tuple and all(map(_is_array, batch)):
                return self._compiled_apart(*batch)  # such calls are the quickest
            return self._compiled(batch)
        except NEEDS_VALUES as error:
            self.eager = True
            warnings.warn(_slow(self.function, error), stacklevel=3)
            return self(batch)


def _tensor(x: Any) -> Any:
    return x if isinstance(x, COO) else pb.asarray(x)


def _is_array(x: Any) -> bool:
    return type(x) is np.ndarray or type(x) is pb.Array


def _slow(function: Callable[..., Any], error: Exception) -> str:
    name = getattr(function, "__name__", "the step")
    return (
        f"`{name}` cannot be compiled and runs operation by operation, which is slow: {error} "
        "Pass `run_eagerly=True` to `compile` if that is meant."
    )


class MetricLogs:
    """The logs of a call where steps only accumulate them, in variables of metrics.

    Args:
        result: Computes the logs after the last step of a call, outside the loop.
        loss: Computes the loss that the logs would have, after any step.
    """

    def __init__(self, result: Callable[[], Any], loss: Callable[[], Any]) -> None:
        self.result = result
        self._loss = loss

    def note(self, logs: Any) -> None:
        """A step that is traced returned ``logs``, which are not used."""

    def is_finite(self) -> Any:
        """Whether the loss is."""
        return pb.isfinite(self._loss())


class StepLogs:
    """The logs of a call where they are what the last step returned: variables keep it."""

    def __init__(self) -> None:
        #: The logs of the step that was traced last, with variables as leaves.
        self._kept: dict[str, Any] = {}

    def note(self, logs: Any) -> None:
        """A step that is traced returned ``logs``: let variables hold them.

        Raises:
            NoLogs: they are no dictionary of arrays, which may be in further dictionaries.
        """
        if not isinstance(logs, dict):
            raise NoLogs
        try:
            values, structure = flatten_values(logs, "logs")
        except (TypeError, ValueError) as error:
            raise NoLogs from error
        variables = [
            pb.Variable(np.zeros(x.shape, x.dtype), trainable=False, name="logs") for x in values
        ]
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self._kept = structure.unflatten(variables)

    def result(self) -> Any:
        """The logs after the last step of a call, outside the loop."""
        return pb.tree.map(pb.Variable.read, self._kept)

    def is_finite(self) -> Any:
        """Whether the loss is, if the logs have one."""
        loss = self._kept.get("loss")
        return pb.asarray(True) if loss is None else pb.all(pb.isfinite(loss))


Logs = MetricLogs | StepLogs


class Loop:
    """Many steps over arrays as one native call: gather the rows of a batch, run the step, repeat.

    Args:
        function: The step, which returns its logs.
        logs: Makes the logs of a call.
        structure: Tree whose leaves are the numbers ``0`` to ``k - 1``; None stands for no array.

    The arrays, of ``structure``, are passed one by one: such calls are the quickest.
    """

    def __init__(self, function: Callable[[Any], Any], logs: Logs, structure: Any) -> None:
        self._function = function
        self._logs = logs
        self._structure = structure
        self._compiled = pb.jit(self._run)
        self._guarded = pb.jit(self._run_while_finite)
        self._step = pb.jit(self._single)
        self._paces: dict[Any, Pace] = {}

    @property
    def sums_up(self) -> bool:
        """Whether the logs of a call are the results of metrics."""
        return isinstance(self._logs, MetricLogs)

    def pace(self, seconds: float | None, data: ArrayData) -> Pace:
        """How calls over data of a size are paced: what one run has found out serves the next."""
        key = (seconds, data.steps_per_call, data.size, data.batch_size)
        if key not in self._paces:
            self._paces[key] = Pace(seconds, data.steps_per_call)
        return self._paces[key]

    def __call__(self, leaves: Sequence[Any], rows: Any, start: int, stop: int) -> Any:
        """Run steps ``start`` to ``stop - 1``; return the logs after the last.

        Args:
            leaves: Arrays ``[n, ...]``.
            rows: Integers ``[steps, batch]``: which rows each step takes.
            start: The first step.
            stop: The step after the last.
        """
        return self._compiled(rows, _scalar(start), _scalar(stop), *leaves)

    def while_finite(
        self, leaves: Sequence[Any], rows: Any, start: int, stop: int, group: int
    ) -> tuple[Any, int, bool]:
        """Like a call, but end with the first group of steps after which the loss is not finite.

        Args:
            leaves: As in a call.
            rows: As in a call.
            start: As in a call; a group begins there.
            stop: As in a call.
            group: The loss is looked at after so many steps.

        Returns:
            The logs, the step after the last that was run, whether the loss is finite.
        """
        bounds = map(_scalar, (start, stop, group))
        logs, end, is_finite = self._guarded(rows, *bounds, *leaves)
        return logs, int(end), bool(is_finite)

    def tail(self, leaves: Sequence[Any], rows: Any) -> Any:
        """Run one step on ``rows``, of another number than a full batch has."""
        return self._step(rows, *leaves)

    def _run(self, rows: Any, start: Any, stop: Any, *leaves: Any) -> Any:
        def body(i: Any, _: Any) -> None:
            self._logs.note(self._function(self._gather(leaves, pb.take(rows, i, axis=0))))

        pb.fori_loop(start, stop, body, None)
        return self._logs.result()

    def _run_while_finite(self, rows: Any, start: Any, stop: Any, group: Any, *leaves: Any) -> Any:
        def goes_on(state: Any) -> Any:
            i, is_finite = state
            return (i < stop) & (is_finite | ((i - start) % group != 0))

        def body(state: Any) -> Any:
            i, _ = state
            self._logs.note(self._function(self._gather(leaves, pb.take(rows, i, axis=0))))
            return i + 1, self._logs.is_finite()

        end, is_finite = pb.while_loop(goes_on, body, (start, pb.asarray(True)))
        return self._logs.result(), end, is_finite

    def _single(self, rows: Any, *leaves: Any) -> Any:
        self._logs.note(self._function(self._gather(leaves, rows)))
        return self._logs.result()

    def _gather(self, leaves: Sequence[Any], rows: Any) -> Any:
        def taken(i: int) -> Any:
            x = leaves[i]
            return x.take(rows) if isinstance(x, LoopRows) else pb.take(x, rows, axis=0)

        return tree.map_structure(taken, self._structure, none_is_leaf=False)


class Loops:
    """The loops of one kind of step: one for each structure of the data.

    Args:
        function: As of ``Loop``.
        make_logs: Makes what ``Loop`` takes as ``logs``.
    """

    def __init__(self, function: Callable[[Any], Any], make_logs: Callable[[], Logs]) -> None:
        self._function = function
        self._make_logs = make_logs
        self._known: dict[str, Loop] = {}

    def over(self, structure: Any) -> Loop:
        """The loop over data of a structure; the same loop each time."""
        key = str(structure)
        if key not in self._known:
            self._known[key] = Loop(self._function, self._make_logs(), structure)
        return self._known[key]


def _scalar(number: int) -> Any:
    return np.array(number, np.int32)


class NativeEpochs:
    """Runs epochs over arrays: each is cut into native calls, which the hooks of batches enclose.

    Args:
        loop: The steps.
        data: The arrays and the order of their rows.
        seconds: How long a call lasts. None: each call is one step, or one group of as many as
            Keras's ``steps_per_execution`` says.
        stops_on_nan: Whether a call ends where the loss is not finite any more.
        is_last_word: Whether nobody can have changed the metrics after the last step.

    Attributes:
        has_run: Whether any step was run.
        has_results: Whether the last logs are the results of the metrics as they are now.
    """

    def __init__(
        self,
        loop: Loop,
        data: ArrayData,
        seconds: float | None,
        stops_on_nan: bool,
        is_last_word: bool,
    ) -> None:
        self._loop = loop
        self._data = data
        self._pace = loop.pace(seconds, data)
        self._stops_on_nan = stops_on_nan
        self.has_results = is_last_word and loop.sums_up
        self.has_run = False

    def run(
        self,
        begin_hook: Callable[[int], Any],
        end_hook: Callable[[int, Any], Any],
        is_stopped: Callable[[], bool],
    ) -> tuple[Any, bool]:
        """Run an epoch, or as much of it as there is before somebody stops it.

        Args:
            begin_hook: Takes the number of the first step of a call, before it.
            end_hook: Takes the number of the last step of a call, and the logs, after it.
            is_stopped: Asked after each call.

        Returns:
            The last logs, and whether the data ran out before the epoch had all its steps.
        """
        epoch, group = self._data.next_epoch(), self._data.steps_per_call
        begin = 0
        logs: Any = {}
        while begin < epoch.steps:
            end = self._pace.end_of_call(begin, epoch.steps)
            begin_hook(begin)
            logs, end = self._call(epoch, begin, end)
            self.has_run = True
            # Keras numbers a last group of fewer steps as if it were whole.
            end_hook(-(-end // group) * group - 1, logs)
            self._pace.note_call(end - begin)
            if is_stopped():
                return logs, False
            begin = end
        return logs, epoch.runs_out

    def _call(self, epoch: Epoch, begin: int, end: int) -> tuple[Any, int]:
        """Run steps ``begin`` to ``end - 1`` of an epoch; return the logs and where it ended."""
        leaves, rows = [endless(x) for x in self._data.leaves], endless(epoch.rows)
        first, group = epoch.first, self._data.steps_per_call
        full = min(end, epoch.full_steps)
        logs: Any = {}
        if begin < full and self._stops_on_nan:
            logs, last, is_finite = self._loop.while_finite(
                leaves, rows, first + begin, first + full, group
            )
            done = last - first
            if not is_finite and (done < full or done % group == 0):
                return logs, done
        elif begin < full:
            logs = self._loop(leaves, rows, first + begin, first + full)
        if end > full:
            logs = self._loop.tail(leaves, epoch.rest)
        return logs, end


def on_host(outputs: Any) -> Any:
    """Outputs as NumPy arrays of their own memory."""
    if type(outputs) is pb.Array:
        return np.array(outputs)
    return tree.map_structure(convert_to_numpy, outputs)


def concatenate(outputs: Sequence[Any]) -> Any:
    """Outputs of consecutive batches as arrays of all rows."""
    if len(outputs) == 1:
        return outputs[0]
    return tree.map_structure(lambda *parts: np.concatenate(parts, axis=0), *outputs)
