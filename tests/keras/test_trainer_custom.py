"""Users' own ``train_step`` and ``test_step`` in native epochs: as step by step, with its logs."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import pullback as pb


@pytest.fixture(autouse=True, scope="module")
def _fresh():
    yield
    keras.backend.clear_session()


class OwnMetrics(keras.Model):
    """A step with a tape and metrics of its own, as Keras's guide to custom steps has it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.loss_tracker = keras.metrics.Mean(name="loss")
        self.mae_metric = keras.metrics.MeanAbsoluteError(name="mae")
        self.loss_fn = keras.losses.MeanSquaredError()

    def train_step(self, data):
        x, y = data
        with pb.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.loss_fn(y, y_pred)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        self.loss_tracker.update_state(loss)
        self.mae_metric.update_state(y, y_pred)
        return {"loss": self.loss_tracker.result(), "mae": self.mae_metric.result()}

    @property
    def metrics(self):
        return [self.loss_tracker, self.mae_metric]


class AllMetrics(keras.Model):
    """The step that Keras's guide has for ``compile(loss=..., metrics=...)``."""

    def train_step(self, data):
        x, y = data
        with pb.GradientTape() as tape:
            y_pred = self(x, training=True)
            loss = self.compute_loss(y=y, y_pred=y_pred)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_variables, strict=True))
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, y_pred)
        return {m.name: m.result() for m in self.metrics}

    def test_step(self, data):
        x, y = data
        y_pred = self(x, training=False)
        loss = self.compute_loss(y=y, y_pred=y_pred)
        for metric in self.metrics:
            if metric.name != "loss":
                metric.update_state(y, y_pred)
            else:
                metric.update_state(loss)
        return {m.name: m.result() for m in self.metrics}


class OwnLogs(keras.Model):
    """Logs of many kinds: of the last step, of all, variables, numbers; out of order."""

    def train_step(self, data):
        logs = super().train_step(data)
        x, _ = data
        return {
            "total": pb.sum(x),
            "count": self.optimizer.iterations,
            "half": 0.5,
            **logs,
            "first": x[0, 0] > 0,
        }


class OwnComputeMetrics(keras.Model):
    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        logs = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**logs, "spread": pb.max(y_pred) - pb.min(y_pred)}


def _functional(kind, steps_per_execution=1):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((4,))
    hidden = keras.layers.Dropout(0.2)(keras.layers.Dense(6, activation="tanh")(inputs))
    model = kind(inputs, keras.layers.Dense(1)(hidden))
    model.compile(
        keras.optimizers.Adam(0.01), "mse", metrics=["mae"], steps_per_execution=steps_per_execution
    )
    return model


def _data(rows=44):
    x = np.random.default_rng(0).normal(size=(rows, 4)).astype("float32")
    return x, x.sum(1, keepdims=True)


def _step_by_step(model):
    for kind in ("train", "test"):
        getattr(model, f"make_{kind}_function")()
        setattr(model, f"_{kind}_loops", None)


def _is_native(model, kind="train"):
    loops = getattr(model, f"_{kind}_loops")
    return loops is not None and bool(loops._known)


def _compare(make, *data, **options):
    """The history of native epochs, which equals that of single steps, as the weights do."""
    found = []
    for is_native in (True, False):
        model = make()
        if not is_native:
            _step_by_step(model)
        history = model.fit(*data, epochs=3, verbose=0, **options).history
        assert _is_native(model) == is_native
        found.append((history, [np.asarray(v) for v in model.variables]))
    (native, weights), (single, single_weights) = found
    assert list(native) == list(single)
    for name, values in native.items():
        assert values == pytest.approx(single[name], rel=1e-5)
    assert len(weights) == len(single_weights) > 0
    for a, b in zip(weights, single_weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    return native


@pytest.mark.parametrize("rows", [40, 44])
@pytest.mark.parametrize("kind", [OwnMetrics, AllMetrics, OwnLogs, OwnComputeMetrics])
def test_own_steps_in_native_epochs_equal_single_steps(kind, rows):
    history = _compare(lambda: _functional(kind), *_data(rows), batch_size=8)

    assert history["loss"][-1] < history["loss"][0]


def test_logs_are_those_of_the_last_step():
    x, y = _data(40)
    model = _functional(OwnLogs)

    history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history

    assert _is_native(model)
    assert history["total"] == pytest.approx([x[32:].sum()] * 2, rel=1e-5)
    assert history["first"] == [x[32, 0] > 0] * 2
    assert history["half"] == [0.5, 0.5]
    assert history["count"] == [5, 10]


def test_own_step_of_evaluation_is_native():
    x, y = _data()
    model, single = _functional(AllMetrics), _functional(AllMetrics)
    _step_by_step(single)

    logs = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)

    assert _is_native(model, "test")
    assert logs == pytest.approx(
        single.evaluate(x, y, batch_size=8, verbose=0, return_dict=True), rel=1e-5
    )
    assert logs["mae"] == pytest.approx(np.abs(y - model.predict(x, verbose=0)).mean(), rel=1e-4)


class GAN(keras.Model):
    """Two networks and two optimizers, as in Keras's examples; the model itself has no `call`."""

    def __init__(self, discriminator, generator):
        super().__init__()
        self.discriminator, self.generator = discriminator, generator
        self.seed_generator = keras.random.SeedGenerator(1337)
        self.d_loss = keras.metrics.Mean(name="d_loss")
        self.g_loss = keras.metrics.Mean(name="g_loss")

    @property
    def metrics(self):
        return [self.d_loss, self.g_loss]

    def compile(self, d_optimizer, g_optimizer, loss_fn):
        super().compile()
        self.d_optimizer, self.g_optimizer, self.loss_fn = d_optimizer, g_optimizer, loss_fn

    def _update(self, optimizer, network, tape, loss):
        gradients = tape.gradient(loss, network.trainable_weights)
        optimizer.apply_gradients(zip(gradients, network.trainable_weights, strict=True))

    def train_step(self, real):
        rows = keras.ops.shape(real)[0]
        noise = keras.random.normal((rows, 2), seed=self.seed_generator)
        both = keras.ops.concatenate([self.generator(noise), real])
        labels = keras.ops.concatenate([keras.ops.ones((rows, 1)), keras.ops.zeros((rows, 1))])
        labels += 0.05 * keras.random.uniform(labels.shape, seed=self.seed_generator)
        with pb.GradientTape() as tape:
            d_loss = self.loss_fn(labels, self.discriminator(both))
        self._update(self.d_optimizer, self.discriminator, tape, d_loss)
        noise = keras.random.normal((rows, 2), seed=self.seed_generator)
        with pb.GradientTape() as tape:
            answers = self.discriminator(self.generator(noise))
            g_loss = self.loss_fn(keras.ops.zeros((rows, 1)), answers)
        self._update(self.g_optimizer, self.generator, tape, g_loss)
        self.d_loss.update_state(d_loss)
        self.g_loss.update_state(g_loss)
        return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}


def _gan():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    discriminator = keras.Sequential([layers.Input((4,)), layers.Dense(8, "relu"), layers.Dense(1)])
    generator = keras.Sequential([layers.Input((2,)), layers.Dense(8, "relu"), layers.Dense(4)])
    model = GAN(discriminator, generator)
    model.compile(
        keras.optimizers.Adam(0.01),
        keras.optimizers.Nadam(0.01),
        keras.losses.BinaryCrossentropy(from_logits=True),
    )
    return model


def test_two_networks_with_optimizers_that_nobody_built():
    history = _compare(_gan, _data()[0], batch_size=8)

    assert list(history) == ["d_loss", "g_loss"]
    model = _gan()
    model.fit(_data()[0], batch_size=8, verbose=0)
    assert int(model.g_optimizer.iterations) == int(model.d_optimizer.iterations) == 6


class EachBatch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.totals = []

    def on_train_batch_end(self, batch, logs=None):
        self.totals.append(logs["total"])


def test_callback_of_batches_gets_the_logs_of_each_step():
    x, y = _data()
    model, callback = _functional(OwnLogs), EachBatch()

    model.fit(x, y, batch_size=8, shuffle=False, verbose=0, callbacks=[callback])

    assert _is_native(model)
    expected = [x[i : i + 8].sum() for i in range(0, 44, 8)]
    assert callback.totals == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("has_loss", [True, False])
@pytest.mark.filterwarnings("ignore:`loss` is")
def test_terminate_on_nan_looks_at_the_loss_of_the_logs(has_loss):
    class Model(AllMetrics):
        def train_step(self, data):
            logs = super().train_step(data)
            return logs if has_loss else {"error": logs["loss"]}

    x, y = _data(40)
    y[20] = np.nan
    model = _functional(Model)
    stop = keras.callbacks.TerminateOnNaN()

    model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[stop])

    assert _is_native(model)
    assert int(model.optimizer.iterations) == (3 if has_loss else 10)


def test_nested_logs_come_out_as_keras_has_them():
    class Model(OwnMetrics):
        def train_step(self, data):
            return {"losses": super().train_step(data), "rows": {"sum": pb.sum(data[0], axis=1)}}

    x, y = _data(40)
    model = _functional(Model)

    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history

    assert _is_native(model)
    assert {*history} == {"loss", "mae", "sum"}
    np.testing.assert_allclose(history["sum"][0], x[32:].sum(1), rtol=1e-5, atol=1e-6)


def test_logs_that_no_loop_carries_go_step_by_step():
    class Model(keras.Model):
        def train_step(self, data):
            super().train_step(data)

    x, y = _data(40)
    model = _functional(Model)

    history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0).history

    assert history == {}
    assert not _is_native(model)
    assert int(model.optimizer.iterations) == 5


def test_step_that_needs_values_goes_step_by_step_and_says_so():
    class Model(AllMetrics):
        def train_step(self, data):
            logs = super().train_step(data)
            return {**logs, "sign": 1.0 if float(logs["loss"]) > 0 else -1.0}

    x, y = _data(40)
    model = _functional(Model)

    with pytest.warns(UserWarning, match="cannot be compiled"):
        history = model.fit(x, y, batch_size=8, verbose=0).history

    assert history["sign"] == [1.0]
    assert int(model.optimizer.iterations) == 5


def test_layers_that_a_step_builds_begin_with_arrays():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def train_step(self, data):
            x, y = data
            with pb.GradientTape() as tape:
                loss = pb.mean((self.dense(x) - y) ** 2)
            gradients = tape.gradient(loss, self.dense.trainable_variables)
            self.optimizer.apply(gradients, self.dense.trainable_variables)
            return {"loss": loss, "first": pb.asarray(self.dense.bias)[0]}

    keras.utils.set_random_seed(0)
    x, y = _data(40)
    model = Model()
    model.compile("sgd")

    history = model.fit(x, y, batch_size=8, epochs=20, shuffle=False, verbose=0).history

    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert history["first"][-1] == pytest.approx(float(model.dense.bias.numpy()[0]))
