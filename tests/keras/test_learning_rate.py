"""The learning-rate range test: what it finds on digits, and that it leaves no trace."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest

import pullback as pb
from pullback.errors import ShapeError
from pullback.learning_rate import LearningRates, find_learning_rate


@pytest.fixture(autouse=True)
def _fresh():
    yield
    keras.backend.clear_session()


def _digits(rows=960):
    (x, y), _ = pb.datasets.mnist10k()
    return x[:rows], y[:rows].astype("int32")


def _classifier(optimizer, build=True, dropout=0.3):
    keras.utils.set_random_seed(3)
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Flatten(),
        keras.layers.Dense(16, activation="relu"),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(dropout),
        keras.layers.Dense(10, activation="softmax"),
    ]
    if build:
        layers.insert(0, keras.layers.Input((28, 28)))
    model = keras.Sequential(layers)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _state(model):
    """Bytes of everything that training changes."""
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return (
        [np.asarray(v).tobytes() for v in variables],
        random.getstate(),
        repr(np.random.get_state()),  # noqa: NPY002  # Keras's own
    )


def _losses_of_fit(model, x, y):
    history = model.fit(x, y, epochs=2, verbose=0, shuffle=True).history
    return history, [np.asarray(v).tobytes() for v in (*model.weights, *model.optimizer.variables)]


opt, decays = keras.optimizers, keras.optimizers.schedules
OPTIMIZERS = {
    "sgd": lambda: opt.SGD(0.05),
    "adam": lambda: opt.Adam(0.005),
    "schedule": lambda: opt.SGD(decays.CosineDecay(0.1, 50), momentum=0.9),
    "loss scale": lambda: opt.LossScaleOptimizer(opt.Adam(0.005), initial_scale=1024.0),
    "accumulation": lambda: opt.SGD(0.05, gradient_accumulation_steps=2, use_ema=True),
    "callable": lambda: opt.SGD(lambda: 0.05),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fit_afterwards_is_fit_without_it(name):
    """Weights, optimizer and history bit for bit, with dropout, shuffle and moving statistics."""
    x, y = _digits()
    plain = _losses_of_fit(_classifier(OPTIMIZERS[name]()), x, y)
    model = _classifier(OPTIMIZERS[name]())

    found = find_learning_rate(model, x, y, steps=30, lowest=1e-4)

    assert found.losses.min() < 0.9 * found.losses[0]  # it did train
    assert _losses_of_fit(model, x, y) == plain


def test_fit_of_two_inputs_and_two_outputs_is_the_same_afterwards():
    """Dicts of arrays; a loss and metrics for each output, one of them the user's own object."""
    x, y = _digits(320)
    inputs = {"top": x[:, :14] / np.float32(255), "bottom": x[:, 14:] / np.float32(255)}
    targets = {"digit": y, "even": (y % 2 == 0).astype("float32")[:, None]}

    def create():
        keras.utils.set_random_seed(1)
        ends = {name: keras.Input((14, 28), name=name) for name in inputs}
        flat = [keras.layers.Flatten()(end) for end in ends.values()]
        h = keras.layers.Dense(8, activation="relu")(keras.layers.Concatenate()(flat))
        outputs = {
            "digit": keras.layers.Dense(10, activation="softmax", name="digit")(h),
            "even": keras.layers.Dense(1, activation="sigmoid", name="even")(h),
        }
        model = keras.Model(ends, outputs)
        losses = {"digit": "sparse_categorical_crossentropy", "even": "binary_crossentropy"}
        own = keras.metrics.BinaryAccuracy(name="right")
        model.compile("adam", losses, metrics={"digit": ["accuracy"], "even": [own]})
        return model

    plain, model = _losses_of_fit(create(), inputs, targets), create()
    find_learning_rate(model, inputs, targets, steps=20)

    assert _losses_of_fit(model, inputs, targets) == plain


def test_sample_weights_weigh_the_losses():
    x, y = _digits(64)
    arguments: dict = {"batch_size": 64, "steps": 2, "smoothing": 0.0}
    model = _classifier("sgd", dropout=0.0)
    first = (y == y[0]).astype("float32")

    found = find_learning_rate(model, x, y, sample_weight=first, **arguments)
    whole = find_learning_rate(model, x, y, **arguments)

    model.train_on_batch(x, y, sample_weight=first)  # the same batch statistics
    expected = float(model.get_metrics_result()["loss"])
    assert found.losses[0] == pytest.approx(expected, rel=1e-4)
    assert abs(found.losses[0] - whole.losses[0]) > 1e-3


def test_it_also_leaves_a_model_that_is_half_trained():
    x, y = _digits()
    model = _classifier(opt.Adam(0.005))
    model.fit(x, y, epochs=1, verbose=0)
    before, rate = _state(model), model.optimizer._learning_rate

    find_learning_rate(model, x, y, steps=30)

    assert _state(model) == before
    assert model.optimizer._learning_rate is rate
    assert int(model.optimizer.iterations) == 30


def test_unbuilt_model_is_built_as_fit_builds_it():
    x, y = _digits()
    plain = _losses_of_fit(_classifier("adam", build=False), x, y)
    model = _classifier("adam", build=False)

    find_learning_rate(model, x, y, steps=20)

    assert _losses_of_fit(model, x, y) == plain


def test_schedule_is_replaced_by_the_rates_and_put_back():
    """A schedule that would never move the weights: the test moves them all the same."""
    x, y = _digits()
    schedule = decays.PiecewiseConstantDecay([5], [0.0, 0.0])
    model = _classifier(opt.SGD(schedule))

    found = find_learning_rate(model, x, y, steps=40, lowest=1e-3)

    assert found.smoothed.min() < 0.8 * found.smoothed[0]
    assert model.optimizer._learning_rate is schedule


def test_compiled_steps_read_the_rate_of_each_step():
    """One weight, gradient 1: the loss after n steps is minus the sum of the rates before."""
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.5), loss=lambda y, p: p)
    model.set_weights([np.zeros((1, 1), "float32")])

    found = find_learning_rate(
        model,
        np.ones((8, 1), "float32"),
        np.ones(8),
        batch_size=4,
        steps=23,
        lowest=1e-3,
        highest=1,
    )

    expected = -np.concatenate([[0], np.cumsum(np.geomspace(1e-3, 1, 23))])[:-1]
    np.testing.assert_allclose(found.losses, expected, rtol=1e-5, atol=1e-7)


class _Own(keras.Sequential):
    """A step of its own, which draws from Keras's global seed and keeps a count."""

    def __init__(self, *layers):
        super().__init__([*layers])
        self.count = pb.Variable(np.int32(0))

    def train_step(self, data):
        x, y = data
        self.count.assign_add(1)
        noise = keras.random.normal((32, 1, 1))
        return super().train_step((keras.ops.cast(x, "float32") + noise, y))


def _own():
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Input((28, 28)), keras.layers.Flatten(), keras.layers.Dense(10)]
    model = _Own(*layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1e-4, momentum=0.9), loss)
    return model


def test_variables_and_seeds_that_keras_does_not_know_of_are_kept():
    x, y = _digits()
    drawn = []
    for is_tested in (False, True):
        model = _own()
        if is_tested:
            find_learning_rate(model, x, y, steps=20)
            assert int(model.count) == 0
        drawn.append(np.asarray(keras.random.normal((4,))).tobytes())
        drawn.append(_losses_of_fit(model, x, y))

    assert drawn[:2] == drawn[2:]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_interrupted_in_the_middle_it_still_puts_back(error, monkeypatch):
    x, y = _digits()
    model = _classifier(opt.SGD(decays.CosineDecay(0.1, 50), momentum=0.9))
    before, schedule, calls = _state(_built(model)), model.optimizer._learning_rate, []

    def call(self, data, rows, rates, losses):
        for start in (0, 10):
            losses = self.compiled(data, rows, rates, losses, np.int32(start), np.int32(start + 10))
            calls.append(np.asarray(model.weights[0]).tobytes())
            yield start + 10, losses
            random.random()
            np.random.rand()  # noqa: NPY002
        raise error

    monkeypatch.setattr("pullback.learning_rate._Training.calls", call)
    with pytest.raises(error):
        find_learning_rate(model, x, y)

    assert calls[1] != np.asarray(model.weights[0]).tobytes()  # it had trained
    assert _state(model) == before
    assert model.optimizer._learning_rate is schedule


def _built(model):
    model.optimizer.build(model.trainable_variables)
    x, y = _digits(32)
    model._symbolic_build(data_batch=(x, y))
    return model


def test_step_by_step_agrees_with_the_native_loop():
    x, y = _digits(320)
    found = []
    for eager in (False, True):
        model = _classifier("adam")
        model.run_eagerly = eager
        found.append(find_learning_rate(model, x, y, steps=12).losses)

    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


def test_step_that_needs_values_says_that_it_is_slow():
    class Model(keras.Sequential):
        def train_step(self, data):
            logs = super().train_step(data)
            return {**logs, "sign": 1.0 if logs["loss"] > 0 else -1.0}

    keras.utils.set_random_seed(0)
    model = Model([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((8, 2), "float32")

    with pytest.warns(UserWarning, match="operation by operation"):
        found = find_learning_rate(model, x, x[:, :1], batch_size=4, steps=10, highest=0.1)

    assert found.losses[-1] < found.losses[0]


def test_suggestion_is_a_rate_at_which_digits_are_learned(tmp_path):
    """Ten times it is worse, a hundredth of it slower, after the same two epochs."""
    x, y = _digits(4000)
    losses = {}
    for make in (opt.SGD, opt.Adam):
        found = find_learning_rate(_classifier(make(), dropout=0.0), x, y)
        assert found.suggestion is not None
        for factor in (0.01, 1, 100):
            model = _classifier(make(found.suggestion * factor), dropout=0.0)
            losses[factor] = model.fit(x, y, epochs=2, verbose=0).history["loss"][-1]
        assert losses[1] < 0.6
        assert losses[0.01] > 1.5 * losses[1]
        assert losses[100] > 1.5 * losses[1]

    found.plot(tmp_path / "rates.png")
    assert (tmp_path / "rates.png").read_bytes().startswith(b"\x89PNG")


def test_divergence_ends_it():
    """Least squares by plain descent: above a rate of 2 / curvature the loss grows."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    model.set_weights([np.full((1, 1), 3.0, "float32")])
    x = np.ones((32, 1), "float32")

    found = find_learning_rate(model, x, 0 * x, lowest=1e-3, highest=1e4, steps=200)

    assert isinstance(found, LearningRates)
    assert len(found.rates) == len(found.losses) == len(found.smoothed) < 150
    assert np.isfinite(found.losses).all()
    assert found.suggestion is not None
    assert 1e-3 < found.suggestion < 1.0
    assert np.isfinite(model.get_weights()[0]).all()


def test_no_suggestion_where_the_loss_never_falls():
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    model.compile("sgd", "mse")
    model.set_weights([np.zeros((1, 1), "float32")])
    x = np.ones((32, 1), "float32")

    assert find_learning_rate(model, x, 0 * x, steps=10).suggestion is None


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"lowest": 0.0}, ValueError, "0 < lowest < highest"),
        ({"lowest": 20.0}, ValueError, "0 < lowest < highest"),
        ({"steps": 1}, ValueError, "at least 2"),
        ({"smoothing": 1.0}, ValueError, "smoothing is 1.0"),
        ({"diverged": 0.0}, ValueError, "diverged is 0.0"),
        ({"batch_size": 65}, ValueError, "number of rows, 64"),
        ({"y": np.zeros(63, "int32")}, ShapeError, r"u8\[64,28,28\], i32\[63\]"),
        ({"x": iter([1])}, TypeError, "in memory"),
    ],
)
def test_arguments_outside_their_range_are_refused(change, error, words):
    x, y = _digits(64)
    with pytest.raises(error, match=words):
        find_learning_rate(_classifier("sgd"), **{"x": x, "y": y, **change})


def test_model_without_one_rate_is_refused():
    x, y = _digits(64)
    with pytest.raises(ValueError, match="compile"):
        find_learning_rate(keras.Sequential([keras.layers.Flatten()]), x, y)
    several = opt.MultiOptimizer(lambda variable: opt.SGD(0.1))
    with pytest.raises(ValueError, match="expected one rate"):
        find_learning_rate(_classifier(several), x, y)


def test_step_without_a_loss_is_refused():
    class Model(keras.Sequential):
        def train_step(self, data):
            super().train_step(data)
            return {"cost": 0.0}

    model = Model([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.ones((32, 1), "float32")
    with pytest.raises(ValueError, match=r"returned \['cost'\], expected a dict with 'loss'"):
        find_learning_rate(model, x, x)


def test_loss_that_is_not_finite_from_the_start_is_refused():
    x = np.full((32, 1), np.nan, "float32")
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="not finite before any step"):
        find_learning_rate(model, x, x)
