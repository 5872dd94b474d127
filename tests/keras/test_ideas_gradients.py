"""Vanishing, exploding and clipped gradients on real digits, and what gates do about them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from examples import clipping, exploding_gradients, lstm_gru, vanishing_gradients

import pullback as pb
from keras_pullback.src.trainer import Trainer


@pytest.fixture(autouse=True)
def _native(monkeypatch):
    """Epochs that do not run as native loops take their batches from here."""

    def refuse(self, iterator):
        raise AssertionError("the epoch fell back to single steps")

    monkeypatch.setattr(Trainer, "_batches", refuse)
    yield
    keras.backend.clear_session()


def _digits(rows):
    (x, y), _ = pb.datasets.mnist10k()
    return x[:rows].astype("float32") / 255, y[:rows].astype("int32")


# Clipping


def test_three_ways_of_clipping_give_these_values():
    expected: dict = {
        "none": ([3, -4], [0.6, 0.8]),
        "clipvalue": ([1, -1], [0.6, 0.8]),
        "clipnorm": ([0.6, -0.8], [0.6, 0.8]),
        "global_clipnorm": ([3 / 26**0.5, -4 / 26**0.5], [0.6 / 26**0.5, 0.8 / 26**0.5]),
    }
    assert clipping.VECTORS.keys() == expected.keys()
    for name, clip in clipping.VECTORS.items():
        for found, value in zip(clipping.clipped(clip), expected[name], strict=True):
            np.testing.assert_allclose(found, value, rtol=1e-6)


def _clip(name, limit, gradients):
    if name == "clipvalue":
        return [np.clip(g, -limit, limit) for g in gradients]
    norms = [np.sqrt((g**2).sum()) for g in gradients]
    if name == "global_clipnorm":
        norms = [np.sqrt(sum(n * n for n in norms))] * len(norms)
    return [g * min(1, limit / n) for g, n in zip(gradients, norms, strict=True)]


@pytest.mark.parametrize(
    ("name", "limit"), [("clipvalue", 0.02), ("clipnorm", 0.2), ("global_clipnorm", 0.2)]
)
def test_fit_takes_the_clipped_gradient(name, limit):
    """One step of rate 1 on real digits: what it changes is the clipped gradient."""
    x, y = _digits(64)
    x = x.reshape(64, 784)
    model = keras.Sequential([keras.layers.Input((784,)), keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(1.0, **{name: limit}), loss)
    model.set_weights([np.zeros((784, 10), "float32"), np.zeros(10, "float32")])

    model.fit(x, y, batch_size=64, verbose=0)

    ct = (np.full((64, 10), 0.1) - np.eye(10)[y]) / 64  # of softmax with cross-entropy at zero
    gradients = [x.T.astype("float64") @ ct, ct.sum(0)]
    assert np.sqrt((gradients[0] ** 2).sum()) > 2 * limit  # there is something to clip
    for found, expected in zip(model.get_weights(), _clip(name, limit, gradients), strict=True):
        np.testing.assert_allclose(found, -expected, rtol=1e-4, atol=1e-7)


def test_clipping_lets_a_recurrent_network_learn():
    """The control, not clipped, ends where guessing is and has jumped above it."""
    last = {name: clipping.train(clip)[-60:] for name, clip in clipping.RUNS.items()}

    assert last["none"].mean() > 2.1
    for name in ("clipvalue", "clipnorm", "global_clipnorm"):
        assert last[name].mean() < last["none"].mean() - 0.25, name
    assert last["clipnorm"].max() < last["none"].max() - 0.5


# Vanishing


def test_gradient_vanishes_in_sigmoids_and_remedies_restore_it():
    (x, y), _ = pb.datasets.mnist10k()
    norms = {
        kind: vanishing_gradients.gradient_norms(vanishing_gradients.create(kind), x[:128], y[:128])
        for kind in ("sigmoid", "relu, He", "sigmoid, batch norm")
    }

    sigmoid = norms["sigmoid"]
    assert (sigmoid[1:10] > 2 * sigmoid[:9]).mean() > 0.8  # nearly each layer loses a factor
    assert sigmoid[9] > 1e4 * sigmoid[0]
    for kind in ("relu, He", "sigmoid, batch norm"):
        assert norms[kind].max() < 20 * norms[kind].min(), kind
        assert norms[kind][0] > 1e4 * sigmoid[0], kind


@pytest.mark.parametrize(("kind", "learns"), [("sigmoid", False), ("relu, He", True)])
def test_ten_sigmoids_do_not_learn_where_rectifiers_do(kind, learns):
    x, y = _digits(4000)
    model = vanishing_gradients.create(kind)

    history = model.fit(255 * x, y, batch_size=32, epochs=2, verbose=0).history

    assert history["accuracy"][-1] > 0.7 if learns else history["accuracy"][-1] < 0.3


# Exploding


def test_gradient_grows_exponentially_with_the_steps_it_goes_back():
    """Through the empty rows on top, where tanh is steep, by a constant factor a step."""
    x, y = _digits(32)
    norms = {}
    for gain in (1.0, 3.0):
        model = exploding_gradients.create(exploding_gradients.simple(gain))
        norms[gain] = exploding_gradients.gradient_norms(model, x, y)

    ratios = norms[3.0][:5] / norms[3.0][1:6]
    assert norms[3.0][0] > 1e4 * norms[3.0][-1]
    assert (ratios > 2).all()
    assert (ratios < 3.5).all()  # at most the gain, but for what other digits add
    assert norms[1.0][0] < norms[1.0][-1]


def test_without_clipping_it_diverges_and_with_either_remedy_it_learns():
    x, y = _digits(4000)
    simple, create = exploding_gradients.simple, exploding_gradients.create
    losses = [
        create(layer, clip).fit(x, y, epochs=3, verbose=0).history["loss"][-1]
        for layer, clip in (
            (simple(1.2, "relu"), None),
            (simple(1.2, "relu"), 0.3),
            (exploding_gradients.lstm(), None),
        )
    ]

    assert not losses[0] < np.log(10)  # no better than guessing, or not a number
    assert losses[1] < 1.6
    assert losses[2] < 1.2


# Gates


def test_open_gates_carry_the_gradient_and_the_digit_through_the_wait():
    (x, y), _ = lstm_gru.digits()
    norms, accuracies = {}, {}
    for name in lstm_gru.CELLS:
        model = lstm_gru.create(name)
        norms[name] = lstm_gru.gradient_norms(model, x[:32], y[:32])
        accuracies[name] = model.fit(x, y, epochs=3, verbose=0).history["accuracy"][-1]

    half_open = norms["GRU, gate half open"]
    per_step = (half_open[-1] / half_open[7]) ** (1 / (len(half_open) - 8))
    assert 1.4 < per_step < 2.2  # a gate at one half
    for name in ("GRU, gate open", "LSTM, gate open"):
        assert norms[name][7] > 0.1 * norms[name][-1], name
        assert accuracies[name] > accuracies["SimpleRNN"] + 0.1, name
        assert accuracies[name] > accuracies["GRU, gate half open"] + 0.2, name
