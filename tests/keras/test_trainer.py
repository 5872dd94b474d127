"""Training through Keras: native epochs, every other way to run a step, what callbacks see."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import pullback as pb
from keras_pullback.src import hooks


@pytest.fixture(autouse=True)
def _fresh():
    yield
    keras.backend.clear_session()


def _digits():
    (x, y), (x_test, y_test) = pb.datasets.mnist10k()
    return x[:2000], y[:2000].astype("int32"), x_test[:500], y_test[:500].astype("int32")


def _classifier(rescale=True):
    keras.utils.set_random_seed(5)  # here, since tests are seeded anew when they are called
    scale = [keras.layers.Rescaling(1 / 255)] if rescale else []
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            *scale,
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


class EveryBatch(keras.callbacks.Callback):
    """Overrides a hook of batches, so that each batch must be reported."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append((batch, logs["loss"]))


def test_fit_learns_digits_from_bytes():
    x, y, x_test, y_test = _digits()
    model = _classifier()

    history = model.fit(x, y, epochs=4, verbose=0, validation_data=(x_test, y_test))

    assert x.dtype == np.uint8
    assert history.history["accuracy"][-1] > 0.9
    assert history.history["val_accuracy"][-1] > 0.8
    assert model.evaluate(x_test, y_test, verbose=0)[1] == pytest.approx(
        history.history["val_accuracy"][-1]
    )
    assert np.mean(model.predict(x_test, verbose=0).argmax(1) == y_test) == pytest.approx(
        history.history["val_accuracy"][-1]
    )


def test_native_epochs_agree_with_single_steps():
    """2,000 rows in batches of 48: 41 full batches and one of 32."""
    x, y, _, _ = _digits()
    found = []
    for callbacks in ([], [EveryBatch()]):
        keras.utils.set_random_seed(1)
        model = _classifier()
        history = model.fit(x, y, batch_size=48, epochs=2, verbose=0, callbacks=callbacks)
        found.append((history.history, model.get_weights()))

    (native, native_weights), (single, single_weights) = found
    for name, values in native.items():
        assert values == pytest.approx(single[name], rel=1e-5)
    for a, b in zip(native_weights, single_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_callback_of_batches_gets_each_batch():
    x, y, _, _ = _digits()
    seen = EveryBatch()

    _classifier().fit(x[:320], y[:320], epochs=2, verbose=0, callbacks=[seen])

    assert [b for b, _ in seen.batches] == [*range(10), *range(10)]
    assert all(np.isfinite(loss) for _, loss in seen.batches)


def test_custom_train_step_is_compiled():
    """A custom step that assigns a variable of its own runs as machine code, with its own logs."""
    calls = []

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.steps = self.add_weight(shape=(), dtype="int32", trainable=False, name="steps")

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            calls.append(1)
            self.steps.assign_add(1)
            logs = super().train_step(data)
            return {**logs, "twice": 2 * logs["loss"]}

    x = np.linspace(-1, 1, 64, dtype="float32")[:, None]
    model = Model()
    model.compile("sgd", "mse")

    history = model.fit(x, 3 * x, batch_size=8, epochs=3, verbose=0)

    assert int(model.steps) == 24
    assert len(calls) == 1  # traced once, run 24 times
    assert history.history["loss"][-1] < history.history["loss"][0]
    assert "twice" in history.history


def test_step_that_needs_values_runs_eagerly_and_says_so():
    class Model(keras.Sequential):
        def train_step(self, data):
            logs = super().train_step(data)
            return {**logs, "sign": 1.0 if logs["loss"] > 0 else -1.0}

    model = Model([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((8, 2), "float32")

    with pytest.warns(UserWarning, match="cannot be compiled"):
        logs = model.fit(x, x[:, :1], verbose=0).history

    assert logs["sign"] == [1.0]


def test_run_eagerly_agrees_with_compiled():
    x, y, _, _ = _digits()
    losses = []
    for eager in (False, True):
        keras.utils.set_random_seed(2)
        model = _classifier()
        model.compile("sgd", "sparse_categorical_crossentropy", run_eagerly=eager)
        losses.append(model.fit(x[:160], y[:160], epochs=2, verbose=0).history["loss"])

    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_sample_and_class_weights_and_dictionaries():
    a = np.linspace(0, 1, 40, dtype="float32")[:, None]
    inputs = {"a": keras.Input((1,), name="a"), "b": keras.Input((1,), name="b")}
    outputs = keras.layers.Dense(2)(keras.layers.Concatenate()([inputs["a"], inputs["b"]]))
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, weighted_metrics=["accuracy"])
    y = (a[:, 0] > 0.5).astype("int32")

    unweighted = model.evaluate({"a": a, "b": a}, y, verbose=0)[0]
    ones = model.evaluate({"a": a, "b": a}, y, sample_weight=np.ones(40), verbose=0)[0]
    history = model.fit({"a": a, "b": a}, y, class_weight={0: 1.0, 1: 2.0}, verbose=0)

    assert ones == pytest.approx(unweighted, rel=1e-6)
    assert np.isfinite(history.history["loss"][0])


def test_interrupted_epoch_leaves_a_usable_model():
    x, y, _, _ = _digits()
    model = _classifier()

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(x, y, verbose=0, callbacks=[Stop()])

    assert int(model.optimizer.iterations) == 4
    assert np.isfinite(model.get_weights()[0]).all()
    assert model.fit(x, y, epochs=2, verbose=0).history["accuracy"][-1] > 0.8


@pytest.mark.filterwarnings("ignore:`loss` is")
def test_nan_in_data_reaches_the_loss_and_stops_training():
    x = np.ones((64, 2), "float32")
    x[20] = np.nan
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    history = model.fit(
        x,
        x[:, :1],
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[keras.callbacks.TerminateOnNaN()],
    )

    assert len(history.history["loss"]) <= 1
    assert model.stop_training


def test_data_from_generators_and_batch_larger_than_data():
    def batches():
        for _ in range(3):
            yield np.ones((4, 2), "float32"), np.zeros((4, 1), "float32")

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")

    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(batches(), shuffle=False, verbose=0)
    model.fit(np.ones((5, 2), "float32"), np.zeros((5, 1), "float32"), batch_size=64, verbose=0)

    assert int(model.optimizer.iterations) == 4


def test_saved_model_predicts_the_same(tmp_path):
    x, y, x_test, _ = _digits()
    model = _classifier()
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")

    again = keras.saving.load_model(tmp_path / "model.keras")
    other = _classifier()
    other.optimizer.build(other.trainable_variables)
    other.load_weights(tmp_path / "model.weights.h5")

    expected = model.predict(x_test, verbose=0)
    np.testing.assert_array_equal(again.predict(x_test, verbose=0), expected)
    np.testing.assert_array_equal(other.predict(x_test, verbose=0), expected)
    again.fit(x, y, verbose=0)  # the optimizer's state came along


def test_epochs_are_native_where_no_callback_needs_batches():
    """The chunks of a native epoch are reported as Keras reports several steps an execution."""
    model = _classifier()

    class Kept(keras.callbacks.ModelCheckpoint):
        pass

    plain = keras.callbacks.CallbackList([keras.callbacks.EarlyStopping()], model=model)
    checkpoint = keras.callbacks.CallbackList(
        [keras.callbacks.ModelCheckpoint("model.keras")], model=model
    )
    assert not hooks.needs_each_batch(plain, "train")
    assert not hooks.needs_each_batch(checkpoint, "train")
    users = keras.callbacks.CallbackList([EveryBatch()], model=model)
    assert hooks.needs_each_batch(users, "train")
    frequent = keras.callbacks.CallbackList([Kept("model.keras", save_freq=3)], model=model)
    assert hooks.needs_each_batch(frequent, "train")


def test_dropout_draws_new_numbers_each_step():
    model = keras.Sequential([keras.layers.Dropout(0.5)])
    x = np.ones((4, 100), "float32")

    first, second = (np.asarray(model(x, training=True)) for _ in range(2))

    assert not np.array_equal(first, second)
    assert set(np.unique(first)) == {0.0, 2.0}


def test_batch_normalisation_updates_moving_statistics_in_native_epochs():
    x = np.random.default_rng(0).normal(3.0, 2.0, (512, 4)).astype("float32")
    model = keras.Sequential([keras.layers.BatchNormalization(momentum=0.5)])
    model.compile("sgd", "mse")

    model.fit(x, x, epochs=3, shuffle=False, verbose=0)

    mean, variance = np.zeros(4), np.ones(4)
    for batch in np.split(x, 16) * 3:
        mean, variance = (mean + batch.mean(0)) / 2, (variance + batch.var(0)) / 2
    np.testing.assert_allclose(model.layers[0].moving_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(model.layers[0].moving_variance, variance, rtol=1e-5)


def test_tape_differentiates_with_respect_to_keras_variables():
    """The training loop of a tutorial: a tape, a Keras model and an optimizer."""
    x = pb.asarray(np.linspace(-1, 1, 32, dtype="float32")[:, None])
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.Adam(0.1)

    @pb.jit
    def step():
        with pb.GradientTape() as tape:
            loss = pb.mean((model(x) - (2.0 * x + 1.0)) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    optimizer.build(model.trainable_variables)
    losses = [float(step()) for _ in range(200)]

    assert losses[-1] < 1e-3 < losses[0]
    np.testing.assert_allclose(model.layers[0].kernel, [[2.0]], atol=0.05)


def test_steps_are_not_done_twice_where_only_the_last_batch_cannot_be_traced():
    class NeedsValuesOfFour(keras.layers.Layer):
        def call(self, x):
            return x * 2 if x.shape[0] == 4 and keras.ops.sum(x) > 0 else x

    model = keras.Sequential([keras.layers.Input((2,)), NeedsValuesOfFour(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((20, 2), "float32")

    with pytest.raises(pb.errors.TracerBoolError):
        model.fit(x, x[:, :1], batch_size=16, verbose=0)

    assert int(model.optimizer.iterations) == 1
