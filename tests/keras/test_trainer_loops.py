"""How epochs are cut into native calls: hooks, groups, passes, losses that are not finite."""

from __future__ import annotations

import signal
import threading
import time
import warnings

import keras
import numpy as np
import pytest
from keras.src.utils.python_utils import default

from keras_pullback.src import hooks
from keras_pullback.src.arrays import Pace


@pytest.fixture(autouse=True, scope="module")
def _fresh():
    yield
    keras.backend.clear_session()


class Log(keras.callbacks.Callback):
    """Notes every hook of batches that is called, and the loss it is given."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.losses = []

    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("begin", batch))

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("end", batch))
        self.losses.append(logs["loss"])


class Chunks(keras.callbacks.Callback):
    """Has hooks of batches that say that they need not be called for every batch."""

    def __init__(self):
        super().__init__()
        self.calls = []
        self.steps = []

    @default
    def on_train_batch_begin(self, batch, logs=None):
        self.calls.append(("begin", batch))
        self.steps.append(int(self.model.optimizer.iterations))

    @default
    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(("end", batch))
        self.steps.append(int(self.model.optimizer.iterations))


def _linear(rows=44, steps_per_execution=1, **kwargs):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.compile(
        keras.optimizers.SGD(0.1), "mse", steps_per_execution=steps_per_execution, **kwargs
    )
    x = np.random.default_rng(0).normal(size=(rows, 4)).astype("float32")
    return model, x, x.sum(1, keepdims=True)


def _is_native(model, kind="train"):
    loops = getattr(model, f"_{kind}_loops")
    return loops is not None and bool(loops._known)


def test_hooks_enclose_each_call_of_the_native_loop():
    """Before its hook `begin` no step of a call is done, before its hook `end` all are."""
    model, x, y = _linear(rows=4000)
    seen = Chunks()

    model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[seen])

    assert _is_native(model)
    assert [kind for kind, _ in seen.calls] == ["begin", "end"] * (len(seen.calls) // 2)
    assert len(seen.calls) < 200  # of 2,000 that single steps would make
    epoch = 0
    for (_, begin), before, (_, end), after in zip(
        seen.calls[::2], seen.steps[::2], seen.calls[1::2], seen.steps[1::2], strict=True
    ):
        assert before == epoch * 500 + begin
        assert after == epoch * 500 + end + 1
        epoch += end == 499
    assert epoch == 2


def test_callback_that_needs_each_batch_gets_each_from_the_native_loop():
    model, x, y = _linear()
    seen = Log()

    model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[seen])

    assert _is_native(model)
    assert seen.calls == [(hook, i) for _ in "ab" for i in range(6) for hook in ("begin", "end")]


# What Keras 3.15.1 does on JAX with the same data: the ends of groups of each epoch, where
# the data run out, and the steps that are done. `rows`, steps_per_execution, steps_per_epoch.
@pytest.mark.parametrize(
    ("rows", "group", "steps", "ends", "is_short", "iterations"),
    [
        (44, 2, None, [[1, 3, 5], [1, 3, 5]], False, 12),
        (44, 4, None, [[3, 7], [3, 7]], False, 12),
        (44, 10, None, [[9], [9]], False, 12),
        (44, 1, 4, [[0, 1, 2, 3], [0, 1], [0, 1, 2, 3], [0, 1]], True, 12),
        (44, 2, 4, [[1, 3], [1], [1, 3], [1]], True, 12),
        (44, 2, 5, [[1, 3, 5], [1, 3, 5]], False, 12),
        (64, 2, 5, [[1, 3, 5], [1], [1, 3, 5], [1]], True, 16),
        (44, 1, 20, [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]], True, 12),
        (44, 1, 6, [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]], False, 12),
        (44, 3, 4, [[2, 5], [2, 5]], False, 12),
    ],
)
def test_groups_and_numbers_of_steps_are_keras(rows, group, steps, ends, is_short, iterations):
    seen = Log()
    model, x, y = _linear(rows, group)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(
            x,
            y,
            batch_size=8,
            epochs=len(ends),
            steps_per_epoch=steps,
            verbose=0,
            callbacks=[seen],
        )

    assert _is_native(model)
    assert [i for hook, i in seen.calls if hook == "end"] == [i for epoch in ends for i in epoch]
    assert any("ran out of data" in str(w.message) for w in caught) == is_short
    assert int(model.optimizer.iterations) == iterations


@pytest.mark.parametrize(
    ("shuffle", "group", "steps"),
    [(True, 1, None), (False, 1, None), ("batch", 1, None), (True, 3, None), ("batch", 2, 4)],
)
def test_epochs_in_native_calls_equal_compiled_steps(shuffle, group, steps):
    """The same weights and history as from Keras's own iterator, which single steps take."""
    found = []
    for is_native in (True, False):
        model, x, y = _linear(44, group)
        if not is_native:
            model.make_train_function()
            model._train_loops = None
            model.make_test_function()
            model._test_loops = None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # data that run out
            history = model.fit(
                x,
                y,
                batch_size=8,
                epochs=3,
                shuffle=shuffle,
                steps_per_epoch=steps,
                validation_data=(x[:20], y[:20]),
                verbose=0,
            )
        assert _is_native(model) == is_native
        found.append((history.history, model.get_weights()))

    (native, weights), (single, single_weights) = found
    assert native.keys() == single.keys() == {"loss", "val_loss"}
    for name, values in native.items():
        assert values == pytest.approx(single[name], rel=1e-5)
    for a, b in zip(weights, single_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


# The row that is not a number, the group of steps, the last batch that Keras reports, and the
# steps done by then; as Keras 3.15.1 has it on JAX.
@pytest.mark.parametrize(
    ("row", "group", "batch", "iterations"),
    [
        (20, 1, 2, 3),
        (20, 2, 3, 4),
        (20, 3, 2, 3),
        (42, 1, 5, 6),  # in the last batch, which has fewer rows
        (38, 1, 4, 5),  # in the last full batch
        (38, 2, 5, 6),
        (36, 5, 4, 5),
        (42, 4, 7, 6),
    ],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.filterwarnings("ignore:`loss` is")
def test_terminate_on_nan_stops_the_native_loop(row, group, batch, iterations, value, capsys):
    model, x, y = _linear(44, group)
    x[row] = value

    history = model.fit(
        x,
        y,
        batch_size=8,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.TerminateOnNaN()],
    )

    assert _is_native(model)
    assert f"Batch {batch}: Invalid loss" in capsys.readouterr().out
    assert int(model.optimizer.iterations) == iterations
    assert model.stop_training
    assert len(history.history["loss"]) == 1
    assert not np.isfinite(history.history["loss"][0])


def test_terminate_on_nan_changes_nothing_while_the_loss_is_finite():
    found = []
    for callbacks in ([], [keras.callbacks.TerminateOnNaN()]):
        model, x, y = _linear(400)
        model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=callbacks)
        found.append(model.get_weights())

    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_terminate_on_nan_that_raises_does_so_from_the_native_loop():
    model, x, y = _linear()
    x[20] = np.nan
    callback = keras.callbacks.TerminateOnNaN(raise_error=True)

    with pytest.raises(RuntimeError, match="at batch 2"):
        model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[callback])

    assert int(model.optimizer.iterations) == 3


class OwnHook(keras.callbacks.ModelCheckpoint):
    def on_train_batch_end(self, batch, logs=None):
        pass


class OwnEpoch(keras.callbacks.ModelCheckpoint):
    def on_epoch_end(self, epoch, logs=None):
        pass


class OwnNaN(keras.callbacks.TerminateOnNaN):
    def on_batch_end(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("callback", "needs"),
    [
        (keras.callbacks.EarlyStopping(), False),
        (keras.callbacks.ModelCheckpoint("m.keras"), False),
        (keras.callbacks.ModelCheckpoint("m.keras", save_freq=5), True),
        (keras.callbacks.BackupAndRestore("backup"), False),
        (keras.callbacks.BackupAndRestore("backup", save_freq=5), True),
        (keras.callbacks.TerminateOnNaN(), False),
        (keras.callbacks.LambdaCallback(on_epoch_end=print), False),
        (keras.callbacks.LambdaCallback(on_train_batch_end=print), True),
        (keras.callbacks.ReduceLROnPlateau(), False),
        (OwnHook("m.keras"), True),
        (OwnEpoch("m.keras"), False),
        (OwnNaN(), True),
        (Log(), True),
    ],
)
def test_who_needs_each_batch(callback, needs):
    callbacks = keras.callbacks.CallbackList([callback], add_progbar=True, add_history=True)

    assert hooks.needs_each_batch(callbacks, "train") is needs


def test_tensorboard_needs_each_batch_only_if_it_writes_batches(monkeypatch):
    """Set up as TensorBoard is once `on_train_begin` was called; no TensorFlow is needed."""
    board = keras.callbacks.TensorBoard.__new__(keras.callbacks.TensorBoard)
    board.update_freq, board.write_steps_per_second, board._should_trace = "epoch", False, False
    callbacks = keras.callbacks.CallbackList([])
    callbacks.callbacks.append(board)

    assert not hooks.needs_each_batch(callbacks, "train")
    for name, value in [
        ("update_freq", 10),
        ("write_steps_per_second", True),
        ("_should_trace", True),
    ]:
        monkeypatch.setattr(board, name, value)
        assert hooks.needs_each_batch(callbacks, "train")
        monkeypatch.undo()


def test_pace_finds_how_many_steps_fit_and_keeps_to_whole_groups():
    now = [0.0]
    step_s, first_s = 0.001, 3.0
    pace = Pace(0.05, 4)
    counts = []
    begin = 0
    original = time.perf_counter
    try:
        time.perf_counter = lambda: now[0]
        while begin < 1000:
            end = pace.end_of_call(begin, 1000)
            now[0] += step_s * (end - begin) + (first_s if begin == 0 else 0.0)
            pace.note_call(end - begin)
            counts.append(end - begin)
            begin = end
    finally:
        time.perf_counter = original

    assert counts[:4] == [4, 4, 32, 48]  # the first compiles; 50 fit, in groups of 4 these are 48
    assert set(counts[4:-1]) == {48}


def test_stopping_from_a_callback_ends_the_epoch_at_once():
    model, x, y = _linear(4000)

    class Stop(Chunks):
        @default
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch)
            self.model.stop_training = True

    seen = Stop()
    model.fit(x, y, batch_size=8, epochs=2, verbose=0, callbacks=[seen])

    assert seen.calls == [("begin", 0), ("end", 0)]
    assert int(model.optimizer.iterations) == 1


def test_interrupt_in_a_native_call_keeps_whole_steps_in_all_variables():
    """Each step takes 2**-20 from the weight, exactly; SIGINT comes while machine code runs."""
    rate = 2.0**-20
    start = keras.initializers.Zeros()
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer=start, use_bias=False)])
    model.compile(keras.optimizers.SGD(rate), lambda y, y_pred: y_pred)
    x = np.ones((80_000, 1), "float32")
    main = threading.get_ident()

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGINT)).start()

    def fit(**kwargs):
        model.fit(x, x, batch_size=8, verbose=0, **kwargs)

    with pytest.raises(KeyboardInterrupt):
        fit(epochs=1000, callbacks=[Interrupt()])
    done = int(model.optimizer.iterations)
    weight = float(model.get_weights()[0][0, 0])
    fit()

    assert 10_000 < done < 10_000_000
    assert weight == -done * rate
    assert float(model.get_weights()[0][0, 0]) == -(done + 10_000) * rate
    assert np.isfinite(model.evaluate(x[:80], x[:80], verbose=0))


class Counting(keras.layers.Dense):
    """Counts how often Python runs it: each time that a program is made."""

    calls = 0

    def call(self, x, training=None):
        self.calls += 1
        return super().call(x, training=training)


def test_another_number_of_rows_compiles_nothing():
    layer = Counting(1)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).random((96, 3), np.float32)
    y = x.sum(axis=1)
    for method in (model.fit, model.evaluate):
        method(x[:32], y[:32], verbose=0)
    calls = layer.calls

    for rows in (64, 96):
        history = model.fit(x[:rows], y[:rows], epochs=2, verbose=0, shuffle=False)
        expected = np.mean((y[:rows, None] - model.predict(x[:rows], verbose=0)) ** 2)
        got = model.evaluate(x[:rows], y[:rows], verbose=0)

        np.testing.assert_allclose(got, expected, rtol=1e-5)
        assert history.history["loss"][1] < history.history["loss"][0]

    assert layer.calls == calls + 1  # that of `predict`
