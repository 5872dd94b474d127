"""What each idea against overfitting does to a network that learns real digits, and a control."""

from __future__ import annotations

import importlib
import itertools

import keras
import numpy as np
import pytest
import scipy.optimize

import pullback as pb

l1_l2, augmentation, early_stopping, convergence, dropout, batch_normalization, remedies = (
    importlib.import_module(f"examples.{name}")
    for name in (
        "l1_l2",
        "augmentation",
        "early_stopping",
        "convergence",
        "dropout",
        "batch_normalization",
        "remedies",
    )
)


@pytest.fixture(autouse=True)
def _fresh():
    yield
    keras.backend.clear_session()


def _refuse_steps(model):
    """Let ``fit`` fail where it does not run whole epochs as native loops."""

    def refuse(batches):
        raise AssertionError("fit went step by step")

    model.make_train_function()
    model.train_function = refuse


def _few(count):
    (x, y), test = pb.datasets.mnist10k()
    return x[:count], y[:count], *test


# L1 and L2


@pytest.fixture(scope="module")
def penalised():
    """A network trained with each penalty of the example: its kernel, and its losses."""
    x, y, x_test, y_test = _few(500)
    found = {}
    for name, penalty in l1_l2.PENALTIES.items():
        model = l1_l2.create(penalty)
        _refuse_steps(model)
        model.fit(x, y, batch_size=50, epochs=30, verbose=0)
        losses = [l1_l2.measure(model, *data)[1] for data in ((x, y), (x_test, y_test))]
        found[name[:2]] = l1_l2.weights(model), *losses
    return found


def test_l2_makes_weights_small_and_narrows_the_gap(penalised):
    (free, train, test), (small, l2_train, l2_test) = penalised["no"], penalised["L2"]

    assert np.linalg.norm(small) < 0.6 * np.linalg.norm(free)
    assert l2_test - l2_train < 0.95 * (test - train)
    assert l2_test < test


def test_l1_makes_weights_sparse_where_l2_only_makes_them_small(penalised):
    """Only where some of the 500 digits have ink: elsewhere, both take weights to zero."""
    inked = _few(500)[0].reshape(500, 784).any(0)
    free, l2, l1 = (np.mean(abs(penalised[name][0][inked]) < 1e-3) for name in ("no", "L2", "L1"))

    assert free < 0.05
    assert l2 < 0.15
    assert l1 > 0.4


def test_penalties_and_gradients_are_those_of_the_formulas(rng):
    """Keras's L2 has no half: its gradient is 2 lambda w; that of L1 is lambda sign(w)."""
    w = rng.normal(size=(5, 3)).astype("float32")
    cases = {
        keras.regularizers.L1(0.3): (0.3 * np.abs(w).sum(), 0.3 * np.sign(w)),
        keras.regularizers.L2(0.3): (0.3 * np.square(w).sum(), 0.6 * w),
    }
    for penalty, (value, gradient) in cases.items():
        found, by_w = pb.value_and_grad(penalty)(pb.asarray(w))
        np.testing.assert_allclose(found, value, rtol=1e-6)
        np.testing.assert_allclose(by_w, gradient, rtol=1e-6)


def test_l2_decays_weights_that_no_gradient_reaches():
    """A pixel dark in every digit: a step multiplies its weights by 1 - 2 rate lambda."""
    x, y, _, _ = _few(100)
    dark = ~x.reshape(100, 784).any(0)
    model = l1_l2.create(keras.regularizers.L2(0.1))
    model.compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    before = l1_l2.weights(model)[dark]

    model.fit(x, y, batch_size=50, epochs=3, verbose=0)

    assert dark.sum() > 100
    np.testing.assert_allclose(l1_l2.weights(model)[dark], 0.9**6 * before, rtol=1e-5)


# Augmentation


@pytest.fixture(scope="module")
def augmented():
    """Accuracies of the example's networks on its four kinds of test digits."""
    y_test = _few(0)[3]
    kinds, found = augmentation.variants(), {}
    for name, layer in augmentation.augmentations().items():
        model = augmentation.create(layer)
        _refuse_steps(model)
        augmentation.train(model)
        found[name] = {
            kind: model.evaluate(x, y_test, batch_size=500, verbose=0)[1]
            for kind, x in kinds.items()
        }
    return found


def test_each_augmentation_teaches_its_own_invariance(augmented):
    for name, kind in (("shift", "shifted"), ("flip", "mirrored"), ("noise", "noisy")):
        others = max(row[kind] for other, row in augmented.items() if other != name)
        assert augmented[name][kind] > others + 0.03, name
    assert augmented["shift"]["shifted"] > augmented["none"]["shifted"] + 0.3
    assert augmented["flip"]["mirrored"] > augmented["none"]["mirrored"] + 0.3


def test_shifts_help_on_plain_digits_and_flips_hurt(augmented):
    """A mirrored digit is not a digit: varying what matters costs accuracy."""
    assert augmented["shift"]["plain"] > augmented["none"]["plain"] + 0.01
    assert augmented["flip"]["plain"] < augmented["none"]["plain"] - 0.02


@pytest.mark.parametrize("name", ["shift", "flip", "noise"])
def test_augmentation_draws_anew_in_each_step_and_repeats_from_a_seed(name):
    digits = _few(32)[0][..., None].astype("float32") / 255
    first, second = augmentation.augmentations()[name], augmentation.augmentations()[name]

    steps = [np.asarray(first(digits, training=True)) for _ in range(4)]

    for a, b in itertools.combinations(steps, 2):
        assert not np.array_equal(a, b)
    for step in steps:
        np.testing.assert_array_equal(second(digits, training=True), step)
    np.testing.assert_array_equal(first(digits, training=False), digits)


def test_native_epochs_draw_anew_and_repeat_from_a_seed():
    """With a rate of 0 the weights stay, so that the losses of two epochs differ by the draws."""
    x, y, _, _ = _few(100)
    losses = []
    for _ in range(2):
        layer = keras.layers.RandomTranslation(0.1, 0.1, fill_mode="constant", seed=4)
        model = augmentation.create(layer)
        model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
        _refuse_steps(model)
        history = model.fit(x[..., None], y, batch_size=50, epochs=3, shuffle=False, verbose=0)
        losses.append(history.history["loss"])

    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 3


# Early stopping


class Kept(keras.callbacks.Callback):
    """Keeps the weights of every epoch."""

    def __init__(self):
        super().__init__()
        self.weights = []

    def on_epoch_end(self, epoch, logs=None):
        self.weights.append(self.model.get_weights())


def test_early_stopping_restores_the_best_epoch_to_the_bit():
    x, y, _, _ = _few(1000)
    stop = keras.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True)
    kept = Kept()

    model, history = early_stopping.train([kept, stop])

    best = int(np.argmin(history["val_loss"]))
    assert len(history["loss"]) == best + 6 < early_stopping.EPOCHS
    for restored, then in zip(model.get_weights(), kept.weights[best], strict=True):
        np.testing.assert_array_equal(restored, then)
    assert not np.array_equal(model.get_weights()[0], kept.weights[-1][0])
    again = model.evaluate(x[500:], y[500:], batch_size=500, verbose=0)[0]
    assert again == history["val_loss"][best]


def test_without_early_stopping_digits_are_learnt_by_heart():
    _, history = early_stopping.train([])
    _, stopped = early_stopping.train([keras.callbacks.EarlyStopping("val_loss", patience=5)])

    assert len(history["loss"]) == early_stopping.EPOCHS
    assert history["accuracy"][-1] == 1.0
    assert history["val_loss"][-1] > min(history["val_loss"]) + 0.05
    length = len(stopped["loss"])
    assert stopped["val_loss"] == history["val_loss"][:length]


# Convergence


def _least_loss(x, y):
    """The minimum of the penalised loss, by another method in float64."""
    target = np.eye(10)[y]

    def loss(flat):
        w, b = flat[:-10].reshape(196, 10), flat[-10:]
        z = x @ w + b
        z = z - z.max(1, keepdims=True)
        total = np.exp(z).sum(1, keepdims=True)
        value = -np.mean(((z - np.log(total)) * target).sum(1)) + 0.01 * (w * w).sum()
        d = (np.exp(z) / total - target) / len(x)
        return value, np.concatenate([(x.T @ d + 0.02 * w).ravel(), d.sum(0)])

    found = scipy.optimize.minimize(
        loss, np.zeros(1970), jac=True, method="L-BFGS-B", options={"ftol": 1e-12, "maxiter": 2000}
    )
    return found.fun


def test_descent_stops_near_the_minimum_as_the_tolerance_says():
    """Near the end a step gains about rate |g|^2, at most that and at least half of it."""
    x, y = convergence.load()
    least = _least_loss(x.astype("float64"), y)
    above, lengths = [], []
    for tolerance in (1e-3, 1e-4):
        model = convergence.create(keras.optimizers.SGD(convergence.RATE))
        _refuse_steps(model)
        losses = convergence.descend(model, x, y, tolerance)
        loss, norm = convergence.loss_and_gradient_norm(model, x, y)

        gains = -np.diff(losses)
        assert np.all(gains[:-1] > tolerance - 2e-7)  # a loss near 1 has steps of 6e-8
        assert gains[-1] < tolerance + 2e-7
        assert norm < (2 * tolerance / convergence.RATE) ** 0.5
        above.append(loss - least)
        lengths.append(len(losses))

    assert above[0] > 3 * above[1] > 0
    assert lengths[0] < lengths[1] < 1000


def test_descent_to_the_end_reaches_the_minimum_of_another_method():
    x, y = convergence.load()
    optimizer = keras.optimizers.SGD(convergence.RATE / 2, momentum=0.9, nesterov=True)
    model = convergence.create(optimizer)
    _, start = convergence.loss_and_gradient_norm(model, x, y)

    convergence.descend(model, x, y, 0, patience=20)
    loss, norm = convergence.loss_and_gradient_norm(model, x, y)

    assert norm < 3e-4 < 0.1 < start
    assert loss == pytest.approx(_least_loss(x.astype("float64"), y), abs=2e-6)


# Dropout


def test_dropout_narrows_the_gap_and_is_off_at_inference():
    x, y, x_test, y_test = _few(dropout.FEW)
    gaps, tests = [], []
    for shares in ((0, 0), (0.4, 0.5)):
        model = dropout.create(*shares)
        _refuse_steps(model)
        model.fit(x, y, batch_size=100, epochs=30, verbose=0)
        train_loss, _ = model.evaluate(x, y, batch_size=500, verbose=0)
        test_loss, accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)
        gaps.append(test_loss - train_loss)
        tests.append(accuracy)
        np.testing.assert_allclose(model(x[:20]), model(x[:20]), rtol=1e-4, atol=1e-6)
        draws = [np.asarray(model(x[:20], training=True)) for _ in range(2)]
        varies = abs(draws[0] - draws[1]).max() > 1e-3
        assert varies == (shares != (0, 0))

    assert gaps[1] < 0.8 * gaps[0]
    assert tests[1] >= tests[0]


@pytest.mark.parametrize("rate", [0.2, 0.5, 0.9])
def test_dropout_scales_what_it_keeps_so_that_the_mean_stays(rate):
    x = np.full((100, 1000), 3.0, "float32")

    out = np.asarray(keras.layers.Dropout(rate, seed=1)(x, training=True))

    kept = out[out != 0]
    np.testing.assert_allclose(kept, 3 / (1 - rate), rtol=1e-6)
    assert kept.size / out.size == pytest.approx(1 - rate, abs=0.01)
    assert out.mean() == pytest.approx(3.0, rel=0.03)


# Batch normalisation


@pytest.fixture(scope="module")
def deep():
    """The example's two networks, with the norms of their first gradients, after two epochs."""
    x, y, _, _ = _few(8000)
    found = {}
    for normalise in (False, True):
        model = batch_normalization.create(normalise)
        norms = batch_normalization.gradient_norms(model, x[:500], y[:500])
        _refuse_steps(model)
        history = model.fit(x, y, batch_size=50, epochs=2, verbose=0).history
        found[normalise] = model, norms, history["loss"][-1]
    return found


def test_batch_normalisation_trains_ten_sigmoid_layers(deep):
    (_, vanishing, stuck), (_, kept, loss) = deep[False], deep[True]

    assert vanishing[0] < 1e-4 * vanishing[-1]
    assert kept[0] > 0.1 * kept[-1]
    assert stuck > 2.25  # log 10 = 2.303 is guessing
    assert loss < 1.3


def test_batch_normalisation_uses_moving_statistics_at_inference(deep):
    model = deep[True][0]
    x = _few(8000)[0]
    first = next(i for i in model.layers if isinstance(i, keras.layers.BatchNormalization))
    before = keras.Model(model.inputs[0], first.input)
    after = keras.Model(model.inputs[0], first.output)
    inputs = before.predict(x, batch_size=500, verbose=0)

    alone, among = after(x[:1]), after(x[:50])
    means, variances = np.asarray(first.moving_mean), np.asarray(first.moving_variance)

    np.testing.assert_allclose(alone[0], among[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(means, inputs.mean(0), atol=0.3 * inputs.std())
    np.testing.assert_allclose(variances, inputs.var(0), rtol=0.5)
    by_hand = (inputs[:1] - means) / np.sqrt(variances + first.epsilon)
    by_hand = by_hand * np.asarray(first.gamma) + np.asarray(first.beta)
    np.testing.assert_allclose(alone, by_hand, rtol=1e-3, atol=1e-4)
    batch = np.asarray(after(x[:50], training=True))
    np.testing.assert_allclose(batch.mean(0), first.beta, atol=1e-3)


# Remedies


def test_each_remedy_of_vanishing_gradients_trains_the_deep_network():
    x, y, _, _ = _few(8000)
    losses = {}
    for name, choices in remedies.DEEP.items():
        model = remedies.create_deep(*choices)
        _refuse_steps(model)
        losses[name] = model.fit(x, y, batch_size=50, epochs=2, verbose=0).history["loss"][-1]

    worst = losses.pop("sigmoid")
    assert worst > 2.25
    assert max(losses.values()) < worst - 0.2
    assert losses["ReLU, He weights"] < losses["ReLU"] - 0.5


def test_each_remedy_of_overfitting_lowers_the_loss_on_other_digits():
    _, _, x_test, y_test = _few(0)
    losses, gaps = {}, {}
    for name in remedies.WIDE:
        model, history = remedies.train_wide(name)
        _, _, losses[name] = model.evaluate(x_test[..., None], y_test, batch_size=500, verbose=0)
        key = "sparse_categorical_crossentropy"
        gaps[name] = history[f"val_{key}"][-1] - history[key][-1]

    worst, widest = losses.pop("none"), gaps.pop("none")
    assert all(loss < worst - 0.02 for loss in losses.values()), losses
    assert all(gap < widest for gap in gaps.values())
