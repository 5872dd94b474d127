"""Keras's ``Trainer``: epochs over arrays as native loops, everything else step by step.

Imports ``arrays``, ``checks``, ``hooks`` and ``steps``. A training step is the ordinary Python of
``train_step``, traced with every variable bound to the program that is compiled; start at
``Trainer.fit``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras.src import callbacks as callbacks_module
from keras.src import optimizers as optimizers_module
from keras.src import tree
from keras.src.backend.common.stateless_scope import StatelessScope
from keras.src.trainers import trainer as base_trainer
from keras.src.trainers.data_adapters import array_slicing, data_adapter_utils
from keras.src.trainers.epoch_iterator import EpochIterator
from keras.src.utils import traceback_utils
from keras.src.utils.python_utils import pythonify_logs

import pullback as pb
from keras_pullback.src.arrays import (
    ArrayData,
    Batches,
    as_batch,
    as_floatx,
    host_array,
    is_plain,
)
from keras_pullback.src.batches import splittable, unpacked
from keras_pullback.src.checks import (
    LabelRange,
    batches_in_group,
    capped,
    check_data,
    check_sizes,
    explained_loss,
    label_ranges,
)
from keras_pullback.src.hooks import needs_each_batch, stops_on_nan
from keras_pullback.src.metrics import are_of_keras, reset
from keras_pullback.src.model_calls import ModelCalls
from keras_pullback.src.nonfinite import LossWatch
from keras_pullback.src.ops.core import convert_to_tensor
from keras_pullback.src.steps import (
    Loops,
    MetricLogs,
    NativeEpochs,
    NoLogs,
    Step,
    StepLogs,
    concatenate,
    on_host,
)
from keras_pullback.src.structure import Structure
from pullback.errors import NEEDS_VALUES

#: How long a native call takes, with a progress bar, which moves between calls, and without. Short
#: ones have the engine notice soon when a team of threads became slow.
_CHUNK_S = {True: 0.05, False: 0.025}


class Trainer(base_trainer.Trainer):
    """What a model needs to train, evaluate and predict with pullback."""

    def __init__(self) -> None:
        super().__init__()
        self.train_function: Any = None
        self.test_function: Any = None
        self.predict_function: Any = None
        self._eval_epoch_iterator: Any = None
        self._train_loops: Loops | None = None
        self._test_loops: Loops | None = None
        self._structure = Structure()
        #: What the labels may be, known once the loss was traced.
        self._label_ranges: tuple[LabelRange, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The outputs for inputs; from the second call on compiled, see ``ModelCalls``."""
        if len(args) == 1 and (not kwargs or (len(kwargs) == 1 and "training" in kwargs)):
            calls = self.__dict__.get("_model_calls")
            if calls is None:
                calls = self.__dict__["_model_calls"] = ModelCalls()
            outputs = calls.run(self, super().__call__, args[0], kwargs.get("training"))
            if outputs is not NotImplemented:
                return outputs
        return super().__call__(*args, **kwargs)

    # Steps, which users override

    def _forward(self, x: Any, training: bool) -> Any:
        return self(x, training=training) if self._call_has_training_arg else self(x)

    def train_step(self, data: Any) -> Any:
        """One step of training on a batch; returns the logs. Variables are updated."""
        x, y, sample_weight = unpacked(data)
        weights = self.trainable_weights
        with pb.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            y_pred = self._forward(x, True)
            loss = self._compute_loss(
                x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
            )
            self._loss_tracker.update_state(loss, sample_weight=_batch_length(x))
            if self.optimizer is not None:
                loss = self.optimizer.scale_loss(loss)
        if weights:
            gradients = tape.gradient(loss, weights)
            self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        else:
            warnings.warn("The model does not have any trainable weights.", stacklevel=2)
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def test_step(self, data: Any) -> Any:
        """One step of evaluation on a batch; returns the logs."""
        x, y, sample_weight = unpacked(data)
        y_pred = self._forward(x, False)
        loss = self._compute_loss(
            x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=False
        )
        self._loss_tracker.update_state(loss, sample_weight=_batch_length(x))
        return self.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    def predict_step(self, data: Any) -> Any:
        """The model's outputs for a batch."""
        x, _, _ = data_adapter_utils.unpack_x_y_sample_weight(data)
        return self._forward(x, False)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The loss of a batch; see ``keras.Model.compute_loss``."""
        with explained_loss(y, y_pred):
            loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        ranges = label_ranges(self._compile_loss, getattr(self, "output_names", None), y, y_pred)
        if ranges != self._label_ranges:
            self._label_ranges = ranges
        return loss

    def _check_labels(self, kind: str, data: Any, whole: str) -> None:
        """Labels are in range, where the user's own code does not come between data and loss."""
        is_own = self._is_own(f"{kind}_step") and self._is_own("compute_loss")
        if self._label_ranges and is_own:
            _, y, _ = data_adapter_utils.unpack_x_y_sample_weight(data)
            for labels in self._label_ranges:
                labels.check(y, whole)

    def _is_own(self, name: str) -> bool:
        """Whether a method is the one that is defined here or in Keras."""
        return getattr(type(self), name) is getattr(Trainer, name)

    # Compiled steps

    @property
    def jit_compile(self) -> bool:
        """Whether steps are compiled: unless ``compile`` was told otherwise.

        Keras's ``supports_jit``, False for layers of random geometry, is about XLA. What cannot be
        compiled here says so when it is traced, and then runs operation by operation.
        """
        return True if self._jit_compile is None else bool(self._jit_compile)

    @jit_compile.setter
    def jit_compile(self, value: Any) -> None:
        self._jit_compile = value

    def _resolve_auto_jit_compile(self) -> bool:
        return True

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile as a saved model was; that it was not compiled on its backend says nothing."""
        super().compile_from_config({**config, "jit_compile": "auto"})

    def _runs_eagerly(self) -> bool:
        return bool(self.run_eagerly) or not self.jit_compile

    def make_train_function(self, force: bool = False) -> None:
        """Set ``train_function``, which runs a list of batches and returns the last logs."""
        if self._structure.lacks(self, "train_function") or force:
            self.train_function = self._over_batches("train")
            self._train_loops = self._make_loops("train")

    def make_test_function(self, force: bool = False) -> None:
        """Set ``test_function``, which runs a list of batches and returns the last logs."""
        if self._structure.lacks(self, "test_function") or force:
            self.test_function = self._over_batches("test")
            self._test_loops = self._make_loops("test")

    def make_predict_function(self, force: bool = False) -> None:
        """Set ``predict_function``, which returns the outputs for a list of batches."""
        if not (self._structure.lacks(self, "predict_function") or force):
            return
        step = Step(self.predict_step, self._runs_eagerly())

        def predict(batches: Any) -> Any:
            return concatenate([on_host(step(data)) for data in batches])

        self.predict_function = predict

    def _over_batches(self, kind: str) -> Callable[[Any], Any]:
        """The function that runs ``train_step`` or ``test_step`` on a list of batches."""
        step = Step(getattr(self, f"{kind}_step"), self._runs_eagerly())

        def function(batches: Any) -> Any:
            for data in batches:
                self._check_labels(kind, data, "the batch's y")
                logs = step(data)
            return logs

        return function

    def _make_loops(self, kind: str) -> Loops | None:
        """The loops of steps over arrays; None where steps run operation by operation."""
        if self._runs_eagerly():
            return None
        step = getattr(self, f"{kind}_step")
        if not (self._is_own(f"{kind}_step") and self._is_own("compute_metrics")):
            return Loops(step, StepLogs)
        return Loops(step, lambda: MetricLogs(self.get_metrics_result, self._loss_of_logs))

    def reset_metrics(self) -> None:
        """Let all metrics begin anew."""
        reset(self.metrics)

    def _loss_of_logs(self) -> Any:
        return self._loss_tracker.result()

    # Epochs

    def _iterator(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int | None = None,
        steps: int | None = None,
        shuffle: Any = False,
        class_weight: Any = None,
    ) -> EpochIterator:
        return Batches(
            x=x,
            y=y,
            sample_weight=sample_weight,
            batch_size=batch_size,
            steps_per_epoch=steps,
            shuffle=shuffle,
            class_weight=class_weight,
            steps_per_execution=batches_in_group(self.steps_per_execution),
        )

    def _batches(self, iterator: EpochIterator) -> Iterator[tuple[int, int, Any]]:
        """Batches of an epoch from an iterator that may run out of data."""
        with iterator.catch_stop_iteration():
            yield from iterator

    def _native(
        self, kind: str, iterator: EpochIterator, callbacks: Any, verbose: Any
    ) -> NativeEpochs | None:
        """What runs epochs over arrays in native calls; None where that can't be done."""
        loops = getattr(self, f"_{kind}_loops")
        if loops is None or not ArrayData.accepts(iterator.data_adapter):
            return None
        arrays = getattr(iterator, "_pullback_arrays", None)
        if arrays is None:
            arrays = iterator._pullback_arrays = ArrayData(iterator)
            self._check_labels(kind, arrays.arrays, "y")
        arrays.restart()
        seconds = None if needs_each_batch(callbacks, kind) else _CHUNK_S[_shows_bar(verbose)]
        loop, on_nan = loops.over(arrays.structure), stops_on_nan(callbacks, kind)
        # Otherwise a hook, or the Python of a metric, may change what the logs say.
        is_last_word = seconds is not None and are_of_keras(self.metrics)
        return NativeEpochs(loop, arrays, seconds, on_nan, is_last_word)

    def _run_epoch(
        self, kind: str, iterator: EpochIterator, native: NativeEpochs | None, callbacks: Any
    ) -> Any:
        """Run an epoch of ``kind`` ``"train"`` or ``"test"``; return the logs at its end."""
        begin_hook = getattr(callbacks, f"on_{kind}_batch_begin")
        end_hook = getattr(callbacks, f"on_{kind}_batch_end")
        stop = "stop_training" if kind == "train" else "stop_evaluating"
        logs: Any = {}
        is_begun = False
        if native is not None and getattr(self, f"_{kind}_loops") is not None:
            numbers = np.random.get_state()  # noqa: NPY002 # what Keras draws the order of rows from
            try:
                logs, runs_out = native.run(begin_hook, end_hook, lambda: getattr(self, stop))
                if runs_out:
                    iterator._interrupted_warning()
                return logs if native.has_results else self._get_metrics_result_or_logs(logs)
            except (*NEEDS_VALUES, NoLogs):
                if native.has_run:  # steps would be done twice
                    raise
                # While the loop was traced nothing was changed; step by step the error is a
                # warning that names what cannot be compiled.
                np.random.set_state(numbers)  # noqa: NPY002
                setattr(self, f"_{kind}_loops", None)
                is_begun = True
        function = getattr(self, f"{kind}_function")
        for begin_step, end_step, batches in self._batches(iterator):
            if not is_begun:
                begin_hook(begin_step)
            is_begun = False
            logs = function(batches)
            end_hook(end_step, logs)
            if getattr(self, stop):
                break
        return self._get_metrics_result_or_logs(logs)

    @traceback_utils.filter_traceback
    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: Any = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: Any = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: Any = 1,
    ) -> Any:
        """Train the model; see ``keras.Model.fit``."""
        self._assert_compile_called("fit")
        check_sizes(
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            validation_batch_size=validation_batch_size,
            validation_steps=validation_steps,
        )
        epochs = capped(epochs)
        self._eval_epoch_iterator = None
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = array_slicing.train_validation_split(
                splittable((x, y, sample_weight)), validation_split=validation_split
            )
        iterator = self._iterator(
            x, y, sample_weight, batch_size, steps_per_epoch, shuffle, class_weight
        )
        check_data(iterator, "fit", self._needs_labels("train"))
        self._build_on_first_batch("train", iterator)
        callbacks = self._callback_list(callbacks, verbose, epochs, iterator, add_history=True)
        self.stop_training = False
        self.make_train_function()
        callbacks.on_train_begin()
        native = self._native("train", iterator, callbacks, verbose)
        training_logs = None
        watch = LossWatch(self, iterator)
        for epoch in range(self._initial_epoch or initial_epoch, epochs):
            self.reset_metrics()
            callbacks.on_epoch_begin(epoch)
            logs = self._run_epoch("train", iterator, native, callbacks)
            epoch_logs = dict(logs or {})  # as they are: the list of callbacks sorts them by metric
            if validation_data is not None and self._should_eval(epoch, validation_freq):
                val_logs = self._validate(
                    validation_data,
                    validation_batch_size or batch_size,
                    validation_steps,
                    callbacks,
                )
                epoch_logs.update({f"val_{name}": value for name, value in val_logs.items()})
            callbacks.on_epoch_end(epoch, epoch_logs)
            watch.look(epoch, pythonify_logs(epoch_logs), stacklevel=3)
            training_logs = epoch_logs
            if self.stop_training:
                break
        if isinstance(self.optimizer, optimizers_module.Optimizer) and epochs > 0:
            self.optimizer.finalize_variable_values(self.trainable_weights)
        self._eval_epoch_iterator = None
        callbacks.on_train_end(logs=training_logs)
        return self.history

    def _validate(
        self, data: Any, batch_size: int | None, steps: int | None, callbacks: Any
    ) -> dict[str, Any]:
        """Evaluate on the validation data, whose iterator is kept from epoch to epoch."""
        x, y, sample_weight = data_adapter_utils.unpack_x_y_sample_weight(data)
        if self._eval_epoch_iterator is None:
            self._eval_epoch_iterator = self._iterator(x, y, sample_weight, batch_size, steps)
        logs: dict[str, Any] = self.evaluate(
            x=x,
            y=y,
            sample_weight=sample_weight,
            batch_size=batch_size,
            steps=steps,
            callbacks=callbacks,
            return_dict=True,
            _use_cached_eval_dataset=True,
        )
        return logs

    @traceback_utils.filter_traceback
    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: Any = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Any = None,
        return_dict: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Loss and metrics on data; see ``keras.Model.evaluate``."""
        self._assert_compile_called("evaluate")
        use_cached = kwargs.pop("_use_cached_eval_dataset", False)
        if kwargs:
            raise ValueError(f"Arguments not recognized: {kwargs}")
        if use_cached:
            iterator = self._eval_epoch_iterator
        else:
            check_sizes(batch_size=batch_size, steps=steps)
            iterator = self._iterator(x, y, sample_weight, batch_size, steps)
        check_data(iterator, "evaluate", self._needs_labels("test"))
        self._build_on_first_batch("test", iterator)
        callbacks = self._callback_list(callbacks, verbose, 1, iterator)
        self.make_test_function()
        self.stop_evaluating = False
        callbacks.on_test_begin()
        self.reset_metrics()
        native = self._native("test", iterator, callbacks, verbose)
        logs = self._run_epoch("test", iterator, native, callbacks)
        logs = pythonify_logs(logs)
        callbacks.on_test_end(logs)
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    @traceback_utils.filter_traceback
    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: Any = "auto",
        steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:
        """The model's outputs for ``x`` as NumPy arrays; see ``keras.Model.predict``."""
        check_sizes(batch_size=batch_size, steps=steps)
        if verbose == 0 and not callbacks and steps is None and is_plain(x):
            return self._predict_array(as_floatx(x), batch_size or 32)
        iterator = self._iterator(x, batch_size=batch_size, steps=steps)
        check_data(iterator, "predict")
        if not self._is_built():
            for _, _, batches in self._batches(iterator):
                self._build_on(batches[0])
                break
            iterator.reset()
        callbacks = self._callback_list(callbacks, verbose, 1, iterator)
        self.make_predict_function()
        self.stop_predicting = False
        callbacks.on_predict_begin()
        outputs: list[Any] = []
        for begin_step, end_step, batches in self._batches(iterator):
            callbacks.on_predict_batch_begin(begin_step)
            outputs.append(self.predict_function(batches))
            callbacks.on_predict_batch_end(end_step, {"outputs": outputs[-1]})
            if self.stop_predicting:
                break
        callbacks.on_predict_end()
        return concatenate(outputs)

    def _predict_array(self, x: Any, batch_size: int) -> Any:
        """The same for one array, where nobody hears of batches."""
        if not self._is_built():
            self._build_on((x[:batch_size],))
        self.make_predict_function()
        self.stop_predicting = False
        outputs = []
        for start in range(0, len(x), batch_size):
            outputs.append(self.predict_function([(x[start : start + batch_size],)]))
            if self.stop_predicting:
                break
        return concatenate(outputs)

    # Single batches

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """One step of training on one batch; see ``keras.Model.train_on_batch``."""
        self._assert_compile_called("train_on_batch")
        if class_weight is not None:
            if sample_weight is not None:
                raise ValueError(
                    "Arguments `sample_weight` and `class_weight` cannot be specified at the same "
                    f"time. Received: sample_weight={sample_weight}, class_weight={class_weight}"
                )
            sample_weight = data_adapter_utils.class_weight_to_sample_weights(y, class_weight)
        data = as_batch(x, y, sample_weight)
        if not self._is_never_called("train"):
            self._symbolic_build(data_batch=data)
        self.make_train_function()
        self.reset_metrics()
        return self._logs_of_batch(self.train_function([data]), return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Loss and metrics on one batch; see ``keras.Model.test_on_batch``."""
        self._assert_compile_called("test_on_batch")
        data = as_batch(x, y, sample_weight)
        if not self._is_never_called("test"):
            self._symbolic_build(data_batch=data)
        self.make_test_function()
        self.reset_metrics()
        return self._logs_of_batch(self.test_function([data]), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The model's outputs for one batch as NumPy arrays."""
        batch = (tree.map_structure(host_array, x),)
        if not self._is_built():
            self._build_on(batch)
        self.make_predict_function()
        return self.predict_function([batch])

    def _build_on_first_batch(self, kind: str, iterator: EpochIterator) -> None:
        """Create all variables; where that takes a batch, take one and no whole group."""
        if self._is_never_called(kind):
            return
        group, iterator.steps_per_execution = iterator.steps_per_execution, 1
        self._symbolic_build(iterator=iterator)
        iterator.steps_per_execution = group
        iterator.reset()

    def _is_never_called(self, kind: str) -> bool:
        """Whether a model has no ``call``, but a step of its own, which calls what it holds."""
        has_call = type(self).call.__module__ != "keras.src.models.model"
        return not has_call and not self._is_own(f"{kind}_step")

    def _needs_labels(self, kind: str) -> bool:
        is_own = self._is_own(f"{kind}_step") and self._is_own("compute_loss")
        return is_own and self._compile_loss is not None

    def _is_built(self) -> bool:
        return all(layer.built for layer in self._flatten_layers())

    def _build_on(self, data: Any) -> None:
        """Create the variables by calling the model on a batch, as long as nothing is traced."""
        x, _, _ = data_adapter_utils.unpack_x_y_sample_weight(data)
        with StatelessScope():
            self(tree.map_structure(convert_to_tensor, x))

    def _logs_of_batch(self, logs: Any, return_dict: bool) -> Any:
        logs = pythonify_logs(logs)
        return logs if return_dict else self._flatten_metrics_in_order(logs)

    def _callback_list(
        self,
        callbacks: Any,
        verbose: Any,
        epochs: int,
        iterator: EpochIterator,
        add_history: bool = False,
    ) -> Any:
        if isinstance(callbacks, callbacks_module.CallbackList):
            return callbacks
        return callbacks_module.CallbackList(
            callbacks,
            add_history=add_history,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=iterator.num_batches,
            model=self,
        )


def _batch_length(x: Any) -> int:
    length: int = next(part for part in tree.flatten(x) if part is not None).shape[0]
    return length


def _shows_bar(verbose: Any) -> bool:
    return verbose in ("auto", 1, True)
