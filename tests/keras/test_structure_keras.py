"""A model whose layers come and go; the order of logs; groups of batches named "auto"."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from keras_pullback.src.layer import TOTAL
from keras_pullback.src.structure import Structure

X = np.random.default_rng(0).standard_normal((32, 6)).astype("float32")


def _model() -> Any:
    model = keras.Sequential([layers.Input((6,)), layers.Dense(4, "relu"), layers.Dense(3)])
    model.compile("sgd", "mse")
    return model


PREDICTIONS: dict[str, Callable[[Any], Any]] = {
    "predict": lambda model: model.predict(X, verbose=0),
    "predict with steps": lambda model: model.predict(X, steps=1, verbose=0),
    "predict_on_batch": lambda model: model.predict_on_batch(X),
}


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_are_those_of_the_layers_that_a_model_has_now(name: str) -> None:
    predict, model = PREDICTIONS[name], _model()
    assert predict(model).shape == (32, 3)

    model.pop()
    assert predict(model).shape == (32, 4)

    model.add(layers.Dense(2, use_bias=False))
    predicted = predict(model)

    hidden = np.maximum(X @ model.layers[0].get_weights()[0], 0)
    np.testing.assert_allclose(predicted, hidden @ model.get_weights()[2], rtol=1e-5, atol=1e-6)


def test_a_layer_without_variables_that_goes_is_noticed() -> None:
    model = keras.Sequential([layers.Input((6,)), layers.Dense(4), layers.Rescaling(10.0)])
    before = model.predict(X, verbose=0)

    model.pop()

    np.testing.assert_allclose(10 * model.predict(X, verbose=0), before, rtol=1e-5)


@pytest.mark.parametrize("batch", [False, True], ids=["evaluate", "test_on_batch"])
def test_evaluation_and_training_take_the_new_layers(batch: bool) -> None:
    model = _model()
    y = np.zeros((32, 3), "float32")
    evaluate = model.test_on_batch if batch else lambda x, y: model.evaluate(x, y, verbose=0)
    evaluate(X, y)
    model.fit(X, y, verbose=0)

    model.pop()
    loss = evaluate(X, np.zeros((32, 4), "float32"))

    assert loss == pytest.approx(np.mean(model.predict(X, verbose=0) ** 2), rel=1e-5)


def test_functions_are_kept_while_the_layers_stay() -> None:
    """Other models, attributes and training leave them alone."""
    model = _model()
    model.fit(X, np.zeros((32, 3)), verbose=0)
    model.predict(X, verbose=0)
    model.evaluate(X, np.zeros((32, 3)), verbose=0)
    kept = model.train_function, model.test_function, model.predict_function, model._train_loops

    _model().predict(X, verbose=0)
    model.note = "something"
    model.layers[0].trainable = False
    model.fit(X, np.zeros((32, 3)), verbose=0, validation_split=0.5)
    model.predict(X, verbose=0)

    now = model.train_function, model.test_function, model.predict_function, model._train_loops
    assert all(a is b for a, b in zip(kept, now, strict=True))


def test_the_walk_is_made_only_after_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model()
    structure, walks = Structure(), []
    flatten = type(model)._flatten_layers

    def counted(self: Any) -> Any:
        walks.append(self)
        return flatten(self)

    monkeypatch.setattr(type(model), "_flatten_layers", counted)

    for _ in range(3):
        structure.lacks(model, "train_function")
    assert len(walks) == 1

    before = TOTAL.changes
    layers.Rescaling(2.0)
    structure.lacks(model, "train_function")
    assert TOTAL.changes > before
    assert len(walks) == 2


class Two(keras.metrics.Metric):
    """A metric of two numbers, whose names sort around the others'."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name)
        self.total = self.add_weight(shape=(), initializer="zeros")

    def update_state(self, y: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self.total.assign_add(1.0)

    def result(self) -> Any:
        return {"z": self.total + 0.0, "a": 2.0 * self.total}


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("last", ["loss", "mae", "val_a", "val_loss", "val_mae", "val_z", "a", "z"]),
        ("first", ["loss", "mae", "val_a", "val_loss", "val_mae", "val_z"]),
    ],
)
@pytest.mark.parametrize("data", ["arrays", "generator"])
def test_logs_of_an_epoch_are_in_the_order_of_keras(name: str, names: list[str], data: str) -> None:
    """Keras sorts them by the names of metrics, of which one may have several numbers.

    The expected orders are those of Keras 3.15 on JAX; ``CSVLogger`` makes columns of them.
    """
    if name == "first":
        names = ["a", "z", *names]
    model = keras.Sequential([layers.Input((6,)), layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[Two({"last": "zz", "first": "_"}[name]), "mae"])
    y = X[:, :1]
    batches = ((X[i : i + 8], y[i : i + 8]) for i in range(0, 32, 8))
    fitted = {"x": X, "y": y} if data == "arrays" else {"x": batches, "steps_per_epoch": 4}

    history = model.fit(**fitted, shuffle=False, validation_data=(X, y), verbose=0).history

    assert list(history) == names
    assert history["a"] == [2 * history["z"][0]]


def test_steps_per_execution_auto_is_taken() -> None:
    y = X[:, :1]
    found = []
    for group in ("auto", 1):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([layers.Input((6,)), layers.Dense(1)])
        model.compile("sgd", "mse", steps_per_execution=group)
        losses = model.fit(X, y, batch_size=8, epochs=2, verbose=0).history["loss"]
        found.append([*losses, model.evaluate(X, y, verbose=0), *model.predict(X, verbose=0)])

    assert found[0] == found[1]


@pytest.mark.parametrize("group", [0, -1, 2.5, "many"])
def test_other_steps_per_execution_are_refused(group: Any) -> None:
    model = keras.Sequential([layers.Input((6,)), layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=group)

    with pytest.raises(ValueError, match=f"`steps_per_execution` is {group!r}, expected"):
        model.fit(X, X[:, :1], verbose=0)
