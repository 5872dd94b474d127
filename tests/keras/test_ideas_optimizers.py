"""Optimizers and schedules in native epochs: their formulas, and what they are good for.

A per-batch fallback fails every test here: the fixture ``_native`` forbids it.
"""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from examples import descent, optimizers, schedules

import pullback as pb
from keras_pullback.src.trainer import Trainer

opt, decays = keras.optimizers, keras.optimizers.schedules


@pytest.fixture(autouse=True)
def _native(monkeypatch):
    """Epochs that do not run as native loops take their batches from here."""

    def refuse(self, iterator):
        raise AssertionError("the epoch fell back to single steps")

    monkeypatch.setattr(Trainer, "_batches", refuse)
    yield
    keras.backend.clear_session()


def _digits(rows=640):
    (x, y), _ = pb.datasets.mnist10k()
    return x[:rows], y[:rows].astype("int32")


# Native epochs against single steps

OPTIMIZERS = {
    "sgd": lambda: opt.SGD(0.05),
    "momentum": lambda: opt.SGD(0.01, momentum=0.9),
    "nesterov": lambda: opt.SGD(0.01, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda: opt.Adam(0.01),
    "amsgrad": lambda: opt.Adam(0.01, amsgrad=True),
    "adamw": lambda: opt.AdamW(0.01, weight_decay=0.1),
    "adamax": lambda: opt.Adamax(0.01),
    "nadam": lambda: opt.Nadam(0.01),
    "adagrad": lambda: opt.Adagrad(0.05),
    "adadelta": lambda: opt.Adadelta(1.0),
    "rmsprop": lambda: opt.RMSprop(0.01, momentum=0.5, centered=True),
    "ftrl": lambda: opt.Ftrl(0.05, l1_regularization_strength=0.001),
    "lion": lambda: opt.Lion(0.002),
    "lamb": lambda: opt.Lamb(0.01),
    "adafactor": lambda: opt.Adafactor(0.01),
    "muon": lambda: opt.Muon(0.01),
    "loss scale": lambda: opt.LossScaleOptimizer(
        opt.Adam(0.01), initial_scale=2.0**10, dynamic_growth_steps=5
    ),
    "average": lambda: opt.Adam(0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=7),
    "accumulation": lambda: opt.Adam(0.01, gradient_accumulation_steps=3),
    "clipvalue": lambda: opt.SGD(0.1, clipvalue=0.01),
    "clipnorm": lambda: opt.SGD(0.1, clipnorm=0.1),
    "global_clipnorm": lambda: opt.Adam(0.01, global_clipnorm=0.1),
    "schedule": lambda: opt.SGD(decays.CosineDecay(0.0, 15, warmup_target=0.1, warmup_steps=5)),
}


def _small(optimizer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_native_epoch_equals_single_steps(name):
    """20 steps: weights, and what the optimizer carries."""
    x, y = _digits()
    native, single = _small(OPTIMIZERS[name]()), _small(OPTIMIZERS[name]())
    start = native.get_weights()

    native.fit(x, y, batch_size=32, shuffle=False, verbose=0)
    for rows in np.arange(640).reshape(20, 32):
        single.train_on_batch(x[rows], y[rows])
    single.optimizer.finalize_variable_values(single.trainable_weights)

    assert max(abs(a - b).max() for a, b in zip(native.get_weights(), start, strict=True)) > 1e-3
    pairs = zip(
        [*native.weights, *native.optimizer.variables],
        [*single.weights, *single.optimizer.variables],
        strict=True,
    )
    for a, b in pairs:
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5, atol=1e-6)


# Formulas, in NumPy float64: a rule takes (weights, gradient, memory, step) and returns weights


def _sgd(w, g, memory, t, rate=0.05):
    return w - rate * g


def _momentum(w, g, memory, t, rate=0.05, mu=0.9):
    """Polyak 1964."""
    memory["v"] = mu * memory.get("v", 0) - rate * g
    return w + memory["v"]


def _nesterov(w, g, memory, t, rate=0.05, mu=0.9):
    """Nesterov 1983, in the form of Sutskever 2013 at the point looked ahead."""
    memory["v"] = mu * memory.get("v", 0) - rate * g
    return w + mu * memory["v"] - rate * g


def _adagrad(w, g, memory, t, rate=0.05):
    """Duchi 2011; Keras starts the sum at 0.1."""
    memory["a"] = memory.get("a", 0.1) + g * g
    return w - rate * g / np.sqrt(memory["a"])


def _rmsprop(w, g, memory, t, rate=0.05, rho=0.9):
    """Hinton 2012."""
    memory["a"] = rho * memory.get("a", 0) + (1 - rho) * g * g
    return w - rate * g / np.sqrt(memory["a"] + 1e-7)


def _adam(w, g, memory, t, rate=0.05, b1=0.9, b2=0.999):
    """Kingma and Ba 2014, with the epsilon of the end of section 2."""
    memory["m"] = b1 * memory.get("m", 0) + (1 - b1) * g
    memory["a"] = b2 * memory.get("a", 0) + (1 - b2) * g * g
    rate = rate * np.sqrt(1 - b2**t) / (1 - b1**t)
    return w - rate * memory["m"] / (np.sqrt(memory["a"]) + 1e-7)


def _adamw(w, g, memory, t, rate=0.05, decay=0.3):
    """Loshchilov and Hutter 2017: the decay is no part of the gradient."""
    return _adam(w, g, memory, t, rate) - rate * decay * w


FORMULAS = {
    "sgd": (_sgd, lambda: opt.SGD(0.05)),
    "momentum": (_momentum, lambda: opt.SGD(0.05, momentum=0.9)),
    "nesterov": (_nesterov, lambda: opt.SGD(0.05, momentum=0.9, nesterov=True)),
    "adagrad": (_adagrad, lambda: opt.Adagrad(0.05)),
    "rmsprop": (_rmsprop, lambda: opt.RMSprop(0.05)),
    "adam": (_adam, lambda: opt.Adam(0.05)),
    "adamw": (_adamw, lambda: opt.AdamW(0.05, weight_decay=0.3)),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_update_of_a_quadratic_is_the_published_formula(name):
    """20 steps down ``sum(c * (w - 1)**2) / 2``, operation by operation."""
    rule, make = FORMULAS[name]
    curvature = np.array([0.1, 1.0, 10.0])
    variable, optimizer = keras.Variable(np.array([3.0, -2.0, 0.5], "float32")), make()
    memory: dict = {}
    weights = np.asarray(variable).astype("float64")

    for t in range(1, 21):
        gradient = curvature * (np.asarray(variable) - 1)
        optimizer.apply([gradient.astype("float32")], [variable])
        weights = rule(weights, curvature * (weights - 1), memory, t)

    np.testing.assert_allclose(np.asarray(variable), weights, rtol=1e-4, atol=1e-5)


def _gradients(weights, x, y):
    """Gradients of the mean squared error of a network with a tanh layer."""
    w1, b1, w2, b2 = weights
    h = np.tanh(x @ w1 + b1)
    ct = 2 * (h @ w2 + b2 - y) / y.size
    ct_h = (ct @ w2.T) * (1 - h * h)
    return [x.T @ ct_h, ct_h.sum(0), h.T @ ct, ct.sum(0)]


@pytest.mark.parametrize("name", FORMULAS)
def test_update_in_an_epoch_is_the_published_formula(name):
    """12 steps of a small network."""
    rule, make = FORMULAS[name]
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(48, 5)).astype("float32"), rng.normal(size=(48, 3)).astype("float32")
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [layers.Input((5,)), layers.Dense(4, activation="tanh"), layers.Dense(3)]
    )
    model.compile(make(), "mse")
    weights = [w.astype("float64") for w in model.get_weights()]

    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    memories: list[dict] = [{} for _ in weights]
    for t, rows in enumerate(np.arange(48).reshape(12, 4), start=1):
        gradients = _gradients(weights, x[rows].astype("float64"), y[rows].astype("float64"))
        parts = zip(weights, gradients, memories, strict=True)
        weights = [rule(w, g, memory, t) for w, g, memory in parts]

    for found, expected in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


# Effects


def test_each_optimizer_beats_plain_descent_at_its_rate():
    """On the digits, after the same three epochs; momentum and Adam by far."""
    (x, y), _ = pb.datasets.mnist10k()

    def last_loss(optimizer):
        history = optimizers.create(optimizer).fit(x, y, epochs=3, batch_size=32, verbose=0)
        return history.history["loss"][-1]

    plain = {rate: last_loss(opt.SGD(rate)) for rate in (0.01, 0.001)}
    for name, make in optimizers.OPTIMIZERS.items():
        if name == "SGD":
            continue
        optimizer = make()
        rate = round(float(optimizer.learning_rate), 4)
        assert last_loss(optimizer) < 0.85 * plain[rate], name


def _margin_weights(optimizer, penalty=None):
    """First and last weights of pixels that are blank in every digit: no data moves them."""
    x, y = _digits()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(10, activation="softmax", kernel_regularizer=penalty),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy")
    blank = ~(x.reshape(640, 784) > 0).any(axis=0)
    before = model.get_weights()[0][blank]
    model.fit(x, y, batch_size=32, verbose=0)
    return before, model.get_weights()[0][blank]


def test_decay_of_adamw_is_a_factor_and_a_penalty_in_adam_is_not():
    """20 steps at rate 0.001. Adam divides a penalty's gradient by its own size."""
    for decay in (0.5, 5.0):
        before, after = _margin_weights(opt.AdamW(0.001, weight_decay=decay))
        np.testing.assert_allclose(after, before * (1 - 0.001 * decay) ** 20, rtol=1e-4)

    shrunk = []
    for decay in (0.5, 5.0):
        before, after = _margin_weights(opt.Adam(0.001), keras.regularizers.L2(decay / 2))
        large = abs(before) > 0.05
        shrunk.append((abs(before) - abs(after))[large])
    np.testing.assert_allclose(shrunk[0], shrunk[1], rtol=0.02)  # ten times the penalty
    np.testing.assert_allclose(shrunk[0], 20 * 0.001, rtol=0.3)  # and the rate at each step


def _bag_of_patches(x):
    """Which patches of 4 by 4 pixels a digit has, and where: 49 of thousands, most of them rare."""
    bits = (x.reshape(-1, 7, 4, 7, 4) > 127).transpose(0, 1, 3, 2, 4).reshape(len(x), 49, 16)
    words = bits @ (1 << np.arange(16)) + (np.arange(49) << 16)
    known, counts = np.unique(words[:1000], return_counts=True)
    known = known[(counts >= 2) & (counts < 500)]
    places = np.minimum(np.searchsorted(known, words), len(known) - 1)
    bag = np.zeros((len(x), len(known)), "float32")
    is_known = known[places] == words
    bag[np.nonzero(is_known)[0], places[is_known]] = 1
    return bag


def test_adagrad_beats_descent_on_rare_features():
    """Each at the best of four rates, one epoch: the loss on digits not seen."""
    (x, y), _ = pb.datasets.mnist10k()
    bag, y = _bag_of_patches(x[:2000]), y[:2000].astype("int32")

    def best(make):
        losses = []
        for rate in (0.03, 0.1, 0.3, 1.0):
            keras.utils.set_random_seed(0)
            model = keras.Sequential(
                [
                    keras.layers.Input((bag.shape[1],)),
                    keras.layers.Dense(10, kernel_initializer="zeros", activation="softmax"),
                ]
            )
            model.compile(make(rate), "sparse_categorical_crossentropy")
            model.fit(bag[:1000], y[:1000], batch_size=8, verbose=0)
            losses.append(model.evaluate(bag[1000:], y[1000:], batch_size=500, verbose=0))
        return min(losses)

    assert bag.shape[1] > 1000
    assert (bag.mean(axis=0) < 0.01).mean() > 0.5  # most features are rare
    assert best(opt.Adagrad) < 0.95 * best(opt.SGD)


# Schedules


class Noting(keras.optimizers.SGD):
    """Descent that notes the rate of each step in a variable, where the compiled step is."""

    def __init__(self, learning_rate, **kwargs):
        super().__init__(learning_rate, **kwargs)
        self.noted = keras.Variable(np.zeros(60, "float32"), trainable=False)

    def update_step(self, gradient, variable, learning_rate):
        is_now = keras.ops.arange(60) == keras.ops.cast(self.iterations, "int32")
        self.noted.assign(keras.ops.where(is_now, learning_rate, self.noted))
        super().update_step(gradient, variable, learning_rate)


def _cosine(t):
    if t < 10:
        return 0.2 * t / 10
    return 0.2 * 0.5 * (1 + np.cos(np.pi * min((t - 10) / 40, 1)))


SCHEDULES = {
    "exponential": (lambda: decays.ExponentialDecay(0.2, 20, 0.5), lambda t: 0.2 * 0.5 ** (t / 20)),
    "staircase": (
        lambda: decays.ExponentialDecay(0.2, 20, 0.5, staircase=True),
        lambda t: 0.2 * 0.5 ** (t // 20),
    ),
    "inverse time": (lambda: decays.InverseTimeDecay(0.2, 20, 3), lambda t: 0.2 / (1 + 3 * t / 20)),
    "piecewise": (
        lambda: decays.PiecewiseConstantDecay([20, 40], [0.2, 0.1, 0.01]),
        lambda t: 0.2 if t <= 20 else 0.1 if t <= 40 else 0.01,
    ),
    "polynomial": (
        lambda: decays.PolynomialDecay(0.2, 40, 0.02, power=2.0),
        lambda t: 0.18 * (1 - min(t, 40) / 40) ** 2 + 0.02,
    ),
    "cosine": (lambda: decays.CosineDecay(0.0, 40, warmup_target=0.2, warmup_steps=10), _cosine),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_compiled_step_sees_the_rate_of_the_formula(name):
    """Three epochs of 20 steps."""
    make, formula = SCHEDULES[name]
    optimizer = Noting(make())

    _small(optimizer).fit(*_digits(), batch_size=32, epochs=3, verbose=0)

    expected = [formula(t) for t in range(60)]
    np.testing.assert_allclose(np.asarray(optimizer.noted), expected, rtol=1e-5, atol=1e-7)


def test_rates_set_by_callbacks_reach_the_compiled_step():
    x, y = _digits()
    by_epoch, on_plateau = Noting(0.2), Noting(0.2)
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    never = keras.callbacks.ReduceLROnPlateau("loss", factor=0.1, patience=0, min_delta=1e9)

    _small(by_epoch).fit(x, y, epochs=3, verbose=0, callbacks=[halve])
    _small(on_plateau).fit(x, y, epochs=3, verbose=0, callbacks=[never])

    np.testing.assert_allclose(np.asarray(by_epoch.noted), np.repeat([0.2, 0.1, 0.05], 20))
    rates = np.repeat([0.2, 0.2, 0.02], 20)  # the first epoch has nothing to be compared with
    np.testing.assert_allclose(np.asarray(on_plateau.noted), rates, rtol=1e-6)


@functools.cache
def _constant_rate():
    return _last_loss(schedules.START)


def _last_loss(rate, *callbacks):
    (x, y), _ = pb.datasets.mnist10k()
    model = schedules.create(rate)
    history = model.fit(x, y, epochs=schedules.EPOCHS, verbose=0, callbacks=[*callbacks])
    return history.history["loss"][-1]


@pytest.mark.parametrize("name", [*[*schedules.SCHEDULES][1:], *schedules.CALLBACKS])
def test_schedule_ends_below_its_constant_rate(name):
    if name in schedules.SCHEDULES:
        loss = _last_loss(schedules.SCHEDULES[name]())
    else:
        loss = _last_loss(schedules.START, schedules.CALLBACKS[name]())

    assert loss < 0.9 * _constant_rate()


# Batch, mini-batch and stochastic descent


def test_batch_descent_always_falls_and_stochastic_descent_falls_further():
    runs = {name: descent.descend(size)[1] for name, size in descent.BATCHES.items()}

    assert (np.diff(runs["batch"]) < 0).all()
    assert descent.noise(runs["batch"]) == 0
    assert descent.noise(runs["stochastic"]) > 0.1
    assert descent.noise(runs["mini-batch"]) < 0.5 * descent.noise(runs["stochastic"])
    assert runs["stochastic"][-1] < 0.5 * runs["mini-batch"][-1] < 0.5 * runs["batch"][-1]
