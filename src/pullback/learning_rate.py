"""The learning-rate range test for a Keras model: train with a rising rate, then undo all of it.

Imports ``jit`` and below, and of Keras only what is loaded already. Start at
``find_learning_rate``.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from pullback import tree
from pullback.control import fori_loop
from pullback.errors import NEEDS_VALUES, ShapeError
from pullback.jit import Jit, jit
from pullback.ops import arange, asarray, astype, take, where
from pullback.records import dataclass
from pullback.trace.variable import Variable

NDArray = np.ndarray[Any, Any]

#: Steps of one native call. Between calls the losses are looked at, and Ctrl-C is heard.
_CALL_STEPS: Final = 10
_GLOBAL_SEEDS: Final = "global_seed_generator"


@dataclass(frozen=True, eq=False)
class LearningRates:
    """What a range test found.

    Attributes:
        rates: float64 ``[n]``, rising: the learning rate of each step until training diverged.
        losses: float64 ``[n]``: the loss of each step's batch, before the step.
        smoothed: float64 ``[n]``: means of the losses so far, later ones weighing more.
        suggestion: A tenth of the rate at which ``smoothed`` is lowest, and at least the first
            rate. None where the loss did not fall at any rate.
    """

    rates: NDArray
    losses: NDArray
    smoothed: NDArray
    suggestion: float | None

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw the losses against the rates, with the suggestion, into a picture file.

        Args:
            path: Where to; the ending says the format, as in ``rates.png``.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "LearningRates.plot needs matplotlib: pip install 'pullback[demo]'"
            ) from error
        figure = Figure(figsize=(6, 4), layout="constrained")
        axes = figure.add_subplot(xscale="log", xlabel="learning rate", ylabel="loss of a batch")
        axes.plot(self.rates, self.losses, color="0.8", label="each step")
        axes.plot(self.rates, self.smoothed, color="tab:blue", label="smoothed")
        if self.suggestion is not None:
            label = f"suggestion {self.suggestion:.2g}"
            axes.axvline(self.suggestion, color="tab:orange", linestyle="--", label=label)
        finite = self.losses[np.isfinite(self.losses)]
        if len(finite):
            start, least = finite[0], finite.min()
            axes.set_ylim(least - 0.05 * (start - least + 1e-9), start + 1.5 * (start - least))
        axes.legend()
        figure.savefig(path, dpi=80)


def find_learning_rate(
    model: Any,
    x: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    lowest: float = 1e-7,
    highest: float = 10.0,
    steps: int = 100,
    batch_size: int = 32,
    smoothing: float = 0.8,
    diverged: float = 2.0,
    seed: int = 0,
) -> LearningRates:
    """Train some steps with a rate that rises from ``lowest`` to ``highest``; leave no trace of it.

    The rate is multiplied by the same factor after each step. Training stops where the smoothed
    loss lies ``diverged`` first losses above its lowest value, or is not finite. Whatever happens,
    an interrupt too, the weights, the optimizer (its variables, ``iterations``, its rate or
    schedule, its loss scale), the metrics, the state of each seed generator and that of Keras,
    NumPy and ``random`` are then what they were, bit for bit: a ``fit`` that follows is the
    ``fit`` without the test.
    A model or an optimizer that is not built yet is built, as ``fit`` would do first, and stays so.
    What a ``train_step`` of its own keeps outside of variables is not put back.

    Args:
        model: A Keras model on this backend, compiled. Its ``train_step`` may be its own.
        x: Arrays ``[rows, ...]``, as ``fit`` takes them: one, or a list, tuple or dict of them.
        y: Targets ``[rows, ...]`` in the same form. None: the model needs none.
        sample_weight: Weights ``[rows]`` or in the form of ``y``. None: all weigh the same.
        lowest: The rate of the first step, above 0.
        highest: The rate of the last step, above ``lowest``.
        steps: How many steps, at least 2.
        batch_size: Rows of a step, 1 to ``rows``.
        smoothing: What the losses before weigh in the smoothed one, 0 to below 1.
        diverged: How far above its lowest value the smoothed loss may rise, in units of the first
            loss; above 0.
        seed: Of the order of rows, which is drawn apart from ``fit``'s.

    Returns:
        Rates, losses and a suggestion.

    Raises:
        ValueError: an argument is outside its range, the model is not compiled, has no optimizer
            or one with several rates, or its step returns no ``"loss"``; the loss was not finite
            at the first rate.
        TypeError: the data are no arrays, such as a generator.
        ShapeError: the arrays do not have the same number of rows.
        RuntimeError: Keras runs on another backend.

    Cost: ``steps`` compiled training steps, one compilation of its own, a copy of all variables.
    Source: Smith 2017, "Cyclical Learning Rates for Training Neural Networks", arXiv:1506.01186,
    section 3.3; the rate rises by a factor here, by a summand there.

    Example:
        >>> found = find_learning_rate(model, x, y)  # doctest: +SKIP
        >>> model.optimizer.learning_rate = found.suggestion  # doctest: +SKIP
    """
    _check_numbers(lowest, highest, steps, smoothing, diverged)
    holder = _rate_holder(model)
    data = _packed(x, y, sample_weight)
    rows = _rows(data, steps, batch_size, seed)
    rates = np.geomspace(lowest, highest, steps)
    with _kept_unbuilt(model):
        model._symbolic_build(data_batch=tree.map(lambda a: a[:batch_size], data))
        with _kept(model) as keep:
            losses = _losses(model, holder, data, rows, rates, keep, (smoothing, diverged))
    return _found(rates[: len(losses)], losses, smoothing)


# What is given


def _check_numbers(
    lowest: float, highest: float, steps: int, smoothing: float, diverged: float
) -> None:
    if not 0 < lowest < highest < float("inf"):
        raise ValueError(f"lowest {lowest} and highest {highest}: expected 0 < lowest < highest")
    if steps < 2:
        raise ValueError(f"steps is {steps}, expected at least 2")
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing is {smoothing}, expected 0 <= smoothing < 1")
    if not diverged > 0:
        raise ValueError(f"diverged is {diverged}, expected a factor above 0, such as 2")


def _rate_holder(model: Any) -> Any:
    """The optimizer that holds the learning rate: for loss scaling, the one inside."""
    config = sys.modules.get("keras.src.backend.config")
    backend = None if config is None else config.backend()
    if backend != "pullback":
        raise RuntimeError(
            f"find_learning_rate works with Keras on pullback; the backend is {backend}. "
            "Import pullback.keras before keras"
        )
    if not getattr(model, "compiled", False) or getattr(model, "optimizer", None) is None:
        raise ValueError("the model has no optimizer: call its compile(optimizer, loss) first")
    optimizer = model.optimizer
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    if hasattr(optimizer, "optimizers"):
        raise ValueError(
            f"{type(optimizer).__name__} has a learning rate for each of its optimizers, expected "
            "one rate: compile the model with one of them"
        )
    return optimizer


def _packed(x: Any, y: Any, sample_weight: Any) -> tuple[Any, ...]:
    """The batch as ``train_step`` takes it, of whole arrays."""
    parts = {"x": x, "y": y, "sample_weight": sample_weight}
    packed = tuple(tree.map(lambda a, name=name: _array(name, a), v) for name, v in parts.items())
    return packed if sample_weight is not None else packed[: 1 if y is None else 2]


def _array(name: str, value: Any) -> Any:
    if not hasattr(value, "__array__"):
        raise TypeError(
            f"{name} holds a {type(value).__name__}, expected arrays that lie in memory; from a "
            "generator or a data set take some batches and concatenate them"
        )
    # The memory of the caller is shared: nothing writes it.
    return asarray(np.ascontiguousarray(value))


def _rows(data: Any, steps: int, batch_size: int, seed: int) -> NDArray:
    """Which rows each step takes: int32 ``[steps, batch_size]``, whole shuffled passes."""
    arrays = tree.leaves(data)
    counts = {a.shape[0] if a.ndim else -1 for a in arrays}
    if len(counts) != 1 or -1 in counts:
        types = ", ".join(str(a.type) for a in arrays)
        raise ShapeError(f"arrays of types {types}: expected the same number of rows in all")
    total: int = counts.pop()
    if not 1 <= batch_size <= total:
        raise ValueError(f"batch_size is {batch_size}, expected 1 to the number of rows, {total}")
    generator = np.random.default_rng(seed)
    passes = -(-steps // (total // batch_size))
    full = total // batch_size * batch_size
    order = np.concatenate([generator.permutation(total)[:full] for _ in range(passes)])
    return order.astype(np.int32).reshape(-1, batch_size)[:steps]


# What is left as it was


@contextmanager
def _kept_unbuilt(model: Any) -> Iterator[None]:
    """Let copies stand for the compiled losses and metrics that are not built yet.

    Building them is what makes ``fit`` look at a batch before it starts, which draws from NumPy's
    random state: it must find them as they were.
    """
    parts = {name: getattr(model, name) for name in ("_compile_loss", "_compile_metrics")}
    unbuilt = {name: part for name, part in parts.items() if part is not None and not part.built}
    try:
        vars(model).update({name: _copy(part) for name, part in unbuilt.items()})
        yield
    finally:
        vars(model).update(unbuilt)


def _copy(part: Any) -> Any:
    """The compiled losses or metrics made anew from what the user gave."""
    if hasattr(part, "_user_loss"):
        given = part._user_loss, part._user_loss_weights
    else:
        given = part._user_metrics, part._user_weighted_metrics
    return type(part)(*given, output_names=part.output_names)


class _Keep:
    """Values of variables, to be put back."""

    def __init__(self) -> None:
        self._values: dict[int, tuple[Variable, NDArray]] = {}

    def add(self, variables: Iterable[Any]) -> None:
        for variable in variables:
            held = variable if isinstance(variable, Variable) else variable._value
            if id(held) not in self._values:
                self._values[id(held)] = (held, np.array(held))

    def restore(self) -> None:
        for variable, value in self._values.values():
            variable.assign(value)


@contextmanager
def _kept(model: Any) -> Iterator[_Keep]:
    """Put back all state that training changes, however the block ends."""
    shared: Any = sys.modules["keras.src.backend.common.global_state"]
    generator = shared.get_global_attribute(_GLOBAL_SEEDS)
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002  # Keras's own
    keep = _Keep()
    keep.add(model.variables)
    keep.add(model.optimizer.variables)
    keep.add(v for metric in model.metrics for v in metric.variables)
    if generator is not None:
        keep.add([generator.state])
    try:
        yield keep
    finally:
        keep.restore()
        if generator is None:  # a step may have made one
            shared.set_global_attribute(_GLOBAL_SEEDS, None)
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


# Training


class _Training:
    """The model's steps, each at a rate of its own, as a native loop over arrays."""

    def __init__(self, model: Any, rate: Variable) -> None:
        self._model = model
        self._rate = rate
        self.compiled: Jit = jit(self._run)

    def _step(self, data: Any, rows: Any, rate: Any) -> Any:
        """One step; returns the loss of its batch, f32."""
        self._rate.assign(rate)
        self._model.reset_metrics()
        logs = self._model.train_step(tree.map(lambda a: take(a, rows, axis=0), data))
        if not isinstance(logs, dict) or "loss" not in logs:
            given = sorted(logs) if isinstance(logs, dict) else type(logs).__name__
            raise ValueError(f"train_step returned {given}, expected a dict with 'loss'")
        return astype(asarray(logs["loss"]), np.float32)

    def _run(self, data: Any, rows: Any, rates: Any, losses: Any, start: Any, stop: Any) -> Any:
        places = arange(rows.shape[0], dtype=np.int32)

        def body(i: Any, losses: Any) -> Any:
            loss = self._step(data, take(rows, i, axis=0), take(rates, i, axis=0))
            return where(places == i, loss, losses)

        return fori_loop(start, stop, body, losses)

    def steps_one_by_one(self, data: Any, rows: Any, rates: Any, losses: Any) -> Iterator[Any]:
        """The losses after each step, operation by operation."""
        for i in range(len(rows)):
            losses[i] = float(self._step(data, rows[i], rates[i]))
            yield i + 1, losses

    def calls(self, data: Any, rows: Any, rates: Any, losses: Any) -> Iterator[Any]:
        """The losses after each native call."""
        for start in range(0, len(rows), _CALL_STEPS):
            stop = min(start + _CALL_STEPS, len(rows))
            bounds = np.int32(start), np.int32(stop)
            losses = self.compiled(data, rows, rates, losses, *bounds)
            yield stop, losses


def _losses(
    model: Any,
    holder: Any,
    data: Any,
    rows: NDArray,
    rates: NDArray,
    keep: _Keep,
    limits: tuple[float, float],
) -> NDArray:
    """The losses of the steps before divergence, float64."""
    rate = Variable(np.float32(rates[0]), trainable=False, name="learning_rate")
    training = _Training(model, rate)
    arguments = data, rows, rates.astype(np.float32), np.zeros(len(rows), np.float32)
    usual = vars(holder)["_learning_rate"]
    vars(holder)["_learning_rate"] = rate.read  # Keras calls what is neither rate nor schedule
    found = np.zeros(0)
    try:
        for count, losses in _runs(model, training, arguments, keep):
            found = np.asarray(losses, np.float64)[:count]
            end = _end(found, *limits)
            if end is not None:
                return found[:end]
    finally:
        vars(holder)["_learning_rate"] = usual
    return found


def _runs(model: Any, training: _Training, arguments: Any, keep: _Keep) -> Iterator[Any]:
    """Native calls, or single operations where the model asks for them or cannot be compiled."""
    if not model.run_eagerly and model.jit_compile:
        try:
            # No step: it only compiles. What the program writes is then known, all of it.
            training.compiled(*arguments, np.int32(0), np.int32(0))
        except NEEDS_VALUES as error:
            message = f"`train_step` cannot be compiled and runs operation by operation: {error}"
            warnings.warn(message, stacklevel=4)
        else:
            for program in training.compiled._cache.values():
                keep.add(program.staged.updates)
            yield from training.calls(*arguments)
            return
    yield from training.steps_one_by_one(*arguments)


# What is found


def _smooth(losses: NDArray, smoothing: float) -> NDArray:
    """Exponential means, each divided by the sum of its weights."""
    mean, smoothed = 0.0, np.zeros(len(losses))
    for i, loss in enumerate(losses):
        mean = smoothing * mean + (1 - smoothing) * float(loss)
        smoothed[i] = mean / (1 - smoothing ** (i + 1))
    return smoothed


def _end(losses: NDArray, smoothing: float, diverged: float) -> int | None:
    """How many steps there were before training diverged; None if it did not."""
    smoothed = _smooth(losses, smoothing)
    with np.errstate(invalid="ignore"):
        limit = np.minimum.accumulate(smoothed) + diverged * np.abs(losses[0])
        is_over = ~(smoothed <= limit)
    is_over |= ~np.isfinite(losses)
    return int(is_over.argmax()) if is_over.any() else None


def _found(rates: NDArray, losses: NDArray, smoothing: float) -> LearningRates:
    if not len(losses):
        raise ValueError("the loss is not finite before any step: mend data or model first")
    smoothed = _smooth(losses, smoothing)
    best = int(smoothed.argmin())
    suggestion = max(float(rates[best]) / 10, float(rates[0])) if best > 0 else None
    return LearningRates(rates, losses, smoothed, suggestion)
