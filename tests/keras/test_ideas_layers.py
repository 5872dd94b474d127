"""Every layer, constraint and regularizer against overfitting: native epochs agree with steps.

What each does to numbers is checked against its definition, further down.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

import pullback as pb

layers, constraints, regularizers = keras.layers, keras.constraints, keras.regularizers


@pytest.fixture(autouse=True)
def _fresh():
    yield
    keras.backend.clear_session()


def _digits():
    """128 digits of 14 x 14 pixels: four batches."""
    (x, y), _ = pb.datasets.mnist10k()
    return x[:128, ::2, ::2], y[:128].astype("int32")


def _dense(**kwargs):
    return [layers.Flatten(), layers.Dense(8, activation="tanh", **kwargs)]


#: What is put between the pixels, scaled to 0 .. 1, and the last layer.
CASES = {
    "ActivityRegularization": lambda: [*_dense(), layers.ActivityRegularization(1e-3, 1e-3)],
    "activity_regularizer": lambda: _dense(activity_regularizer=regularizers.L2(1e-2)),
    "L1": lambda: _dense(kernel_regularizer=regularizers.L1(1e-2)),
    "L2": lambda: _dense(kernel_regularizer="l2", bias_regularizer="l2"),
    "L1L2": lambda: _dense(kernel_regularizer=regularizers.L1L2(1e-2, 1e-2)),
    "OrthogonalRegularizer": lambda: _dense(
        kernel_regularizer=regularizers.OrthogonalRegularizer(mode="columns")
    ),
    "MaxNorm": lambda: _dense(kernel_constraint=constraints.MaxNorm(0.5)),
    "MinMaxNorm": lambda: _dense(kernel_constraint=constraints.MinMaxNorm(0.2, 0.5, rate=0.5)),
    "NonNeg": lambda: _dense(kernel_constraint="non_neg", bias_constraint="non_neg"),
    "UnitNorm": lambda: _dense(kernel_constraint=constraints.UnitNorm()),
    "Dropout": lambda: [*_dense(), layers.Dropout(0.3)],
    "Dropout_of_rows": lambda: [layers.Dropout(0.3, noise_shape=(None, 14, 1)), layers.Flatten()],
    "SpatialDropout1D": lambda: [layers.SpatialDropout1D(0.3), layers.Flatten()],
    "SpatialDropout2D": lambda: [
        layers.Reshape((7, 7, 4)),
        layers.SpatialDropout2D(0.3),
        layers.Flatten(),
    ],
    "SpatialDropout3D": lambda: [
        layers.Reshape((7, 2, 2, 7)),
        layers.SpatialDropout3D(0.3),
        layers.Flatten(),
    ],
    "AlphaDropout": lambda: [*_dense(), layers.AlphaDropout(0.3)],
    "GaussianDropout": lambda: [*_dense(), layers.GaussianDropout(0.3)],
    "GaussianNoise": lambda: [layers.GaussianNoise(0.3), *_dense()],
    "UnitNormalization": lambda: [*_dense(), layers.UnitNormalization()],
    "LayerNormalization": lambda: [*_dense(), layers.LayerNormalization()],
    "RMSNormalization": lambda: [*_dense(), layers.RMSNormalization()],
    "GroupNormalization": lambda: [*_dense(), layers.GroupNormalization(4)],
    "BatchNormalization": lambda: [*_dense(), layers.BatchNormalization(momentum=0.5)],
    "SpectralNormalization": lambda: [
        layers.Flatten(),
        layers.SpectralNormalization(layers.Dense(8, activation="tanh")),
    ],
    "RandomTranslation": lambda: _image(layers.RandomTranslation(0.2, 0.2)),
    "RandomRotation": lambda: _image(layers.RandomRotation(0.1)),
    "RandomZoom": lambda: _image(layers.RandomZoom(0.2, 0.2)),
    "RandomFlip": lambda: _image(layers.RandomFlip()),
    "RandomContrast": lambda: _image(layers.RandomContrast(0.5, value_range=(0, 1))),
}


def _image(layer):
    return [layers.Reshape((14, 14, 1)), layer, layers.Flatten()]


def _model(name):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            layers.Input((14, 14)),
            layers.Rescaling(1 / 255),
            *CASES[name](),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return model


def _refuse_steps(model):
    """Let ``fit`` fail where it does not run the whole epoch as a native loop."""

    def refuse(batches):
        raise AssertionError("fit went step by step")

    model.make_train_function()
    model.train_function = refuse


@pytest.mark.parametrize("name", CASES)
def test_native_epoch_agrees_with_single_steps(name):
    """Random layers too: their seeds are state, and the loop advances it as the steps do."""
    x, y = _digits()
    native, single = _model(name), _model(name)
    before = native.get_weights()
    _refuse_steps(native)

    loss = native.fit(x, y, shuffle=False, verbose=0).history["loss"][0]
    batches = zip(np.split(x, 4), np.split(y, 4), strict=True)
    losses = [single.train_on_batch(*batch) for batch in batches]

    assert loss == pytest.approx(np.mean(losses), rel=1e-5)
    after = native.get_weights()
    assert any(not np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    for a, b in zip(after, single.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def _norms(kernel):
    return np.linalg.norm(kernel, axis=0)


@pytest.mark.parametrize(
    ("constraint", "holds"),
    [
        (lambda: constraints.MaxNorm(0.5), lambda w: _norms(w).max() <= 0.5 + 1e-6),
        (lambda: constraints.MinMaxNorm(2.0, 3.0), lambda w: _norms(w).min() >= 2.0 - 1e-5),
        (lambda: constraints.NonNeg(), lambda w: w.min() >= 0),
        (lambda: constraints.UnitNorm(), lambda w: np.allclose(_norms(w), 1, atol=1e-6)),
    ],
    ids=["MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"],
)
def test_constraint_holds_after_a_native_epoch_and_not_without_it(constraint, holds):
    x, y = _digits()
    found = []
    for given in (constraint(), None):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([layers.Input((14, 14)), *_dense(kernel_constraint=given)])
        model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
        _refuse_steps(model)
        model.fit(x / 255, y % 8, shuffle=False, verbose=0)
        found.append(holds(model.layers[-1].get_weights()[0]))

    assert found == [True, False]


@pytest.mark.parametrize(
    ("layer", "shape", "free"),
    [
        (lambda: layers.Dropout(0.3, seed=1), (50, 20, 30), (1, 1, 1)),
        (lambda: layers.SpatialDropout1D(0.3, seed=1), (200, 7, 30), (1, 0, 1)),
        (lambda: layers.SpatialDropout2D(0.3, seed=1), (200, 4, 5, 30), (1, 0, 0, 1)),
        (lambda: layers.SpatialDropout3D(0.3, seed=1), (200, 2, 3, 4, 30), (1, 0, 0, 0, 1)),
    ],
    ids=["Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"],
)
def test_spatial_dropout_leaves_out_whole_channels(layer, shape, free):
    """Along the axes that are not free, all elements share one draw."""
    out = np.asarray(layer()(np.ones(shape, "float32"), training=True))

    shared = tuple(i for i, is_free in enumerate(free) if not is_free)
    assert set(np.unique(out)) == {0.0, np.float32(1 / 0.7)}
    assert (out == 0).mean() == pytest.approx(0.3, abs=0.02)
    np.testing.assert_array_equal(out.min(axis=shared), out.max(axis=shared))
    for axis, is_free in enumerate(free):
        assert bool(is_free) == bool(np.ptp(out, axis=axis).any())


@pytest.mark.parametrize(
    ("layer", "mean", "deviation"),
    [
        (lambda: layers.GaussianNoise(0.3, seed=1), 1.0, (1 + 0.3**2) ** 0.5),
        (lambda: layers.GaussianDropout(0.2, seed=1), 1.0, (1 + 2 * 0.25) ** 0.5),
        (lambda: layers.AlphaDropout(0.2, seed=1), 0.0, 1.0),
        (lambda: layers.Dropout(0.2, seed=1), 1.0, (2 / 0.8 - 1) ** 0.5),
    ],
    ids=["GaussianNoise", "GaussianDropout", "AlphaDropout", "Dropout"],
)
def test_random_layers_have_the_moments_of_their_definition(layer, mean, deviation, rng):
    """On inputs of deviation 1; the mean of what goes into AlphaDropout is 0."""
    x = (mean + rng.standard_normal((400, 500))).astype("float32")

    out = np.asarray(layer()(x, training=True))

    assert out.mean() == pytest.approx(mean, abs=0.02)
    assert out.std() == pytest.approx(deviation, rel=0.02)
    assert (out != x).mean() > 0.1
    np.testing.assert_array_equal(layer()(x, training=False), x)


def test_normalizations_agree_with_their_formulas(rng):
    x = rng.normal(2, 3, (6, 8)).astype("float32")
    groups = x.reshape(6, 4, 2)
    mean, variance = groups.mean(2, keepdims=True), groups.var(2, keepdims=True)
    expected = {
        layers.UnitNormalization(): x / np.linalg.norm(x, axis=1, keepdims=True),
        layers.LayerNormalization(): (x - x.mean(1, keepdims=True))
        / np.sqrt(x.var(1, keepdims=True) + 1e-3),
        layers.RMSNormalization(): x / np.sqrt(np.square(x).mean(1, keepdims=True) + 1e-6),
        layers.GroupNormalization(4): ((groups - mean) / np.sqrt(variance + 1e-3)).reshape(6, 8),
    }

    for layer, values in expected.items():
        np.testing.assert_allclose(layer(x), values, rtol=1e-4, atol=1e-5)


def test_penalties_of_activities_are_part_of_the_loss(rng):
    """Summed over the elements, divided by the batch."""
    x = rng.normal(size=(4, 3)).astype("float32")
    keras.utils.set_random_seed(0)
    layer = layers.ActivityRegularization(l1=0.1, l2=0.2)
    model = keras.Sequential([layers.Input((3,)), layer])
    model.compile(loss="mse")

    loss = model.evaluate(x, x, verbose=0)

    penalty = (0.1 * np.abs(x) + 0.2 * np.square(x)).sum() / 4
    assert loss == pytest.approx(penalty, rel=1e-5)
