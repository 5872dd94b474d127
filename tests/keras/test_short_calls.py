"""Short calls take ways of their own: they must not differ from what Keras's ways give."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras.src.backend import config

from keras_pullback.src import metrics, steps

ROWS = 70
X = np.random.default_rng(0).random((ROWS, 6)).astype(np.float32)
Y = np.random.default_rng(1).integers(0, 3, ROWS)


def _model(**options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.layers.Input((6,)), keras.layers.Dense(3, activation="softmax", name="last")]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], **options)
    return model


def _listen(model, tell):
    """Let ``tell`` hear of the inputs of each step of ``predict``."""
    step = model.predict_step

    def heard(data):
        tell(data[0])
        return step(data)

    model.predict_step = heard


class Listener(keras.callbacks.Callback):
    """Has ``predict`` take Keras's way through the data."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def on_predict_batch_end(self, batch, logs=None):
        self.batches.append(batch)


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "float16", "uint8", "int64", "bool", ">f4"]
)
def test_predict_of_an_array_agrees_with_keras(dtype):
    model, x = _model(), (X * 3).astype(dtype)

    quick = model.predict(x, verbose=0)
    listener = Listener()
    usual = model.predict(x, verbose=0, callbacks=[listener])

    assert listener.batches == [0, 1, 2]
    assert quick.dtype == usual.dtype
    np.testing.assert_array_equal(quick, usual)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int64"])
def test_steps_of_predict_get_the_dtypes_that_keras_gives(dtype):
    model, seen = _model(run_eagerly=True), []
    _listen(model, lambda x: seen.append(x.dtype))

    model.predict(X.astype(dtype), verbose=0, batch_size=ROWS)
    model.predict(X.astype(dtype), verbose=0, batch_size=ROWS, callbacks=[Listener()])

    assert seen[0] == seen[1]


@pytest.mark.parametrize("batch_size", [1, 7, 32, 70, 1000, None])
def test_predict_cuts_batches_as_keras_does(batch_size):
    model, seen = _model(run_eagerly=True), []
    _listen(model, lambda x: seen.append(len(x)))

    model.predict(X, batch_size=batch_size, verbose=0)

    whole, rest = divmod(ROWS, batch_size or 32)
    assert seen == [batch_size or 32] * whole + [rest] * (rest > 0)


def test_predict_gives_memory_of_its_own():
    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Activation("linear")])
    first = model.predict(X, verbose=0, batch_size=ROWS)
    first[...] = 7

    np.testing.assert_array_equal(model.predict(X, verbose=0, batch_size=ROWS), X)


def test_predict_of_a_model_with_outputs_by_name():
    inputs = keras.layers.Input((6,))
    model = keras.Model(inputs, {"a": inputs * 2, "b": inputs + 1})

    outputs = model.predict(X, verbose=0)

    np.testing.assert_array_equal(outputs["a"], X * 2)
    np.testing.assert_array_equal(outputs["b"], X + 1)


def test_predict_follows_the_weights():
    model = _model()
    for k in (1.0, 2.0):
        model.get_layer("last").set_weights([np.zeros((6, 3)), np.log([k, 1.0, 1.0])])
        np.testing.assert_allclose(
            model.predict(X[:2], verbose=0),
            [[k / (k + 2), 1 / (k + 2), 1 / (k + 2)]] * 2,
            rtol=1e-5,
        )


def test_predict_builds_a_model_that_nobody_called():
    model = keras.Sequential([keras.layers.Dense(2)])

    assert model.predict(X, verbose=0).shape == (ROWS, 2)


def test_a_step_may_end_predict():
    model = _model(run_eagerly=True)
    step = model.predict_step

    def stopping(data):
        model.stop_predicting = True
        return step(data)

    model.predict_step = stopping

    assert len(model.predict(X, verbose=0)) == 32
    assert len(model.predict(X, verbose=0, callbacks=[Listener()])) == 32


def test_the_most_steps_of_keras_are_respected(monkeypatch):
    monkeypatch.setattr(config, "_MAX_STEPS_PER_EPOCH", 1)
    model = _model()

    with pytest.warns(UserWarning, match="Limiting steps"):
        assert len(model.predict(X, batch_size=32, verbose=0)) == 32


def test_a_predict_function_of_the_users_is_called():
    class Model(keras.Sequential):
        def make_predict_function(self, force=False):
            self.predict_function = lambda batches: np.array([len(batches[0][0])])

    model = Model([keras.layers.Input((6,)), keras.layers.Dense(3)])

    assert model.predict(X, verbose=0).tolist() == [32, 32, 6]


@pytest.mark.parametrize(
    ("x", "message"),
    [(X[:0], "no rows"), (np.array(["a"]), "arrays of numbers"), (np.array(1.0), "index")],
    ids=["no rows", "strings", "scalar"],
)
def test_bad_arrays_are_refused_as_ever(x, message):
    with pytest.raises((ValueError, IndexError), match=message):
        _model().predict(x, verbose=0)


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "8"])
def test_bad_sizes_are_refused_as_ever(batch_size):
    with pytest.raises(ValueError, match="batch_size"):
        _model().predict(X, batch_size=batch_size, verbose=0)


class Extremes(keras.metrics.Mean):
    """A mean with one more variable, which ``Mean.reset_state`` leaves alone."""

    def __init__(self):
        super().__init__(name="extremes")
        self.seen = self.add_variable((), "zeros", name="seen")


class Counted(keras.metrics.Metric):
    """Begins at a number other than zero."""

    def __init__(self):
        super().__init__(name="counted")
        self.count = self.add_variable((), "zeros", name="count")

    def update_state(self, *args, **kwargs):
        self.count.assign_add(1.0)

    def result(self):
        return self.count.value

    def reset_state(self):
        self.count.assign(5.0)


@pytest.mark.parametrize(
    "make",
    [
        keras.metrics.Mean,
        keras.metrics.Sum,
        keras.metrics.SparseCategoricalAccuracy,
        lambda: keras.metrics.MeanIoU(num_classes=3),
        lambda: keras.metrics.Precision(),
        lambda: keras.metrics.AUC(num_thresholds=5),
        lambda: keras.metrics.R2Score(),
        Extremes,
        Counted,
    ],
    ids=["Mean", "Sum", "accuracy", "IoU", "precision", "AUC", "R2", "subclass", "own"],
)
def test_metrics_are_reset_as_keras_does(make):
    quick, usual = make(), make()
    for metric in (quick, usual):
        if isinstance(metric, keras.metrics.R2Score):
            metric._build((2, 1), (2, 1))
        for variable in metric.variables:
            variable.assign(np.full(variable.shape, 3, variable.dtype))

    metrics.reset([quick])
    usual.reset_state()

    assert quick.variables
    for ours, theirs in zip(quick.variables, usual.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_a_batch_begins_with_metrics_that_were_reset():
    model = _model()
    for _ in range(3):
        loss, accuracy = model.train_on_batch(X[:32], Y[:32])
        assert accuracy == pytest.approx(round(accuracy * 32) / 32)
        assert loss < 5
        assert float(model.metrics[0].count.value) == 32

    assert model.test_on_batch(X[:32], Y[:32], return_dict=True).keys() == {"accuracy", "loss"}
    assert float(model.metrics[0].count.value) == 32


def test_history_has_the_results_of_the_metrics():
    model = _model()

    history = model.fit(X, Y, epochs=2, verbose=0).history

    for name, value in model.get_metrics_result().items():
        assert history[name][-1] == pytest.approx(float(value), rel=1e-6)
        assert len(history[name]) == 2


def test_a_metric_with_python_in_its_result_is_asked_after_the_epoch():
    class Asked(keras.metrics.MeanSquaredError):
        asked = 0

        def result(self):
            Asked.asked += 1
            return super().result()

    model = keras.Sequential([keras.layers.Input((6,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[Asked(name="asked")])
    model.fit(X, Y, epochs=1, verbose=0)
    before = Asked.asked

    model.fit(X, Y, epochs=3, verbose=0)

    assert Asked.asked >= before + 3


def test_a_callback_that_resets_metrics_is_heard():
    class Resets(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.reset_metrics()

    history = _model().fit(X, Y, verbose=0, callbacks=[Resets()]).history

    assert history["loss"] == [0.0]


def test_what_one_fit_learns_of_the_pace_serves_the_next(monkeypatch):
    model, calls = _model(), []
    call = steps.NativeEpochs._call

    def counted(self, epoch, begin, end):
        calls.append(end - begin)
        return call(self, epoch, begin, end)

    monkeypatch.setattr(steps.NativeEpochs, "_call", counted)
    x, y = np.tile(X, (10, 1)), np.tile(Y, 10)

    for _ in range(3):
        model.fit(x, y, batch_size=10, verbose=0)
    first, last = calls[0], calls[-1]

    assert sum(calls) == 3 * 70
    assert first == 1
    assert last == 70
