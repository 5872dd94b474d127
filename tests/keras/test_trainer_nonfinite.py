"""What ``fit`` says of a loss that is not finite: which row of the data, or which weights."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

import pullback as pb
from keras_pullback.src import nonfinite


@pytest.fixture(autouse=True, scope="module")
def _fresh():
    yield
    keras.backend.clear_session()


def _model(rate=0.1, loss="mse", **options):
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(1, name="answer")])
    model.compile(keras.optimizers.SGD(rate), loss, **options)
    return model


def _data(rows=40):
    x = np.random.default_rng(0).normal(size=(rows, 4)).astype("float32")
    return x, x.sum(1, keepdims=True), np.ones(rows, "float32")


def _messages(model, *data, **options):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(*data, verbose=0, **options)
    found = [w for w in caught if "at the end of epoch" in str(w.message)]
    assert [w.filename for w in found] == [__file__] * len(found)
    return [str(w.message) for w in found]


@pytest.mark.parametrize("options", [{}, {"run_eagerly": True}])
@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        (0, np.nan, "Row 21 of `x` (f32[40,4]) holds nan"),
        (1, np.inf, "Row 21 of `y` (f32[40,1]) holds inf"),
        (2, -np.inf, "Row 21 of `sample_weight` (f32[40]) holds -inf"),
    ],
)
def test_first_bad_row_is_named(place, value, expected, options):
    data = _data()
    data[place][21] = value
    x, y, weight = data

    (message,) = _messages(_model(**options), x, y, sample_weight=weight, batch_size=8, epochs=3)

    assert message.startswith("`loss` is nan at the end of epoch 1. ") or place != 0
    assert expected in message
    assert "more of its rows" not in message
    assert "Leave such rows out or fill them in. `callbacks=[keras.callbacks.Ter" in message


def test_rows_are_counted_and_leaves_named():
    inputs = {name: keras.Input((2,), name=name) for name in ("left", "right")}
    outputs = keras.layers.Dense(1)(keras.layers.Concatenate()([*inputs.values()]))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse")
    x, y, _ = _data()
    right = x[:, 2:].copy()
    right[[5, 9, 30], 1] = np.nan

    (message,) = _messages(model, {"left": x[:, :2], "right": right}, y)

    assert "Row 5 of `x['right']` (f32[40,2]) holds nan, and so do 2 more of its rows." in message


def test_weights_are_named_where_the_data_are_finite():
    x, y, _ = _data()

    model = _model(rate=1e30)

    (message,) = _messages(model, x, y, batch_size=8, epochs=2)

    assert (
        f"The data are finite; the weights `{model.layers[0].kernel.path}` (f32[4,1]) hold nan"
        in message
    )
    assert "the first of 2 such variables of 2. Try a lower learning rate" in message
    assert "clipnorm" in message


def test_loss_that_is_not_finite_by_itself():
    def loss(y, y_pred):
        return pb.mean((y_pred - y) ** 2) + np.inf

    x, y, _ = _data()

    (message,) = _messages(_model(loss=loss), x, y)

    assert message.startswith("`loss` is inf at the end of epoch 1. ")
    assert "The data are finite; all weights are finite: the loss itself" in message


def test_run_that_was_stopped_is_not_told_how_to_stop():
    x, y, _ = _data()
    x[3] = np.nan

    (message,) = _messages(_model(), x, y, callbacks=[keras.callbacks.TerminateOnNaN()])

    assert "Row 3 of `x`" in message
    assert "TerminateOnNaN" not in message


def test_generators_are_not_looked_at():
    x, y, _ = _data()
    x[3] = np.nan

    def batches():
        while True:
            yield x[:8], y[:8]

    (message,) = _messages(_model(), batches(), steps_per_epoch=2)

    assert "The data come in batches, which were not looked at; the weights `" in message


def test_the_epoch_and_any_loss_are_named():
    class TwoLosses(keras.Sequential):
        def train_step(self, data):
            logs = super().train_step(data)
            return {"size": logs["loss"], "d_loss": pb.log(2.5 - 1.0 * self.steps)}

    class Counting(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.steps.assign(float(epoch))

    keras.utils.set_random_seed(0)
    model = TwoLosses([keras.layers.Input((4,)), keras.layers.Dense(1)])
    model.steps = keras.Variable(0.0, trainable=False)
    model.compile("sgd", "mse")
    x, y, _ = _data()

    (message,) = _messages(model, x, y, epochs=5, callbacks=[Counting()])

    assert message.startswith("`d_loss` is nan at the end of epoch 4. The data are finite")


def test_nothing_is_said_or_looked_at_while_losses_are_finite(monkeypatch):
    monkeypatch.setattr(nonfinite, "_bad_rows", lambda array: pytest.fail("looked"))
    x, y, _ = _data()
    x[3] = 0.0

    assert _messages(_model(0.01), x, y, epochs=2, validation_data=(x, y)) == []


def test_bad_rows_are_found_in_any_part_of_large_arrays(monkeypatch):
    monkeypatch.setattr(nonfinite, "_CHUNK", 6)
    array = np.zeros((11, 2), "float32")
    assert nonfinite._bad_rows(array) == (-1, None, 0)
    array[7, 1] = np.inf
    array[10] = np.nan
    assert nonfinite._bad_rows(array) == (7, np.inf, 2)
    assert nonfinite._bad_rows(np.arange(4)) == (-1, None, 0)
