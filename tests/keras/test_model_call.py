"""Calling a model outside of training: compiled from the second call on, with eager semantics."""

from __future__ import annotations

import copy
import pickle

import keras
import numpy as np
import pytest

import pullback as pb
from keras_pullback.src import entries


@pytest.fixture(autouse=True, scope="module")
def _fresh():
    yield
    keras.backend.clear_session()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(6, 4)).astype("float32")


def _mlp(*layers):
    keras.utils.set_random_seed(3)
    return keras.Sequential(
        [keras.layers.Input((4,)), keras.layers.Dense(5, activation="tanh"), *layers]
    )


def _compiled(model):
    """How many programs the model's calls have."""
    calls = model.__dict__.get("_model_calls")
    return 0 if calls is None else len(calls._entries.programs)


def _eagerly(model, *args, **kwargs):
    """The model called as Keras does it."""
    return keras.layers.Layer.__call__(model, *args, **kwargs)


def test_second_call_is_compiled_and_agrees_with_the_first(x):
    model = _mlp(keras.layers.Dense(2))

    first = model(x)
    assert _compiled(model) == 0
    second = model(x)
    third = model(pb.asarray(x))

    assert _compiled(model) == 1
    assert type(second) is pb.Array
    np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(second, third)


def test_calls_see_what_weights_are_assigned(x):
    model = _mlp(keras.layers.Dense(2))
    for _ in range(3):
        model(x)

    model.layers[1].kernel.assign(np.zeros((5, 2), "float32"))
    model.layers[1].bias.assign(np.array([3.0, 4.0], "float32"))

    assert _compiled(model) == 1
    np.testing.assert_array_equal(model(x), np.tile([3.0, 4.0], (6, 1)).astype("float32"))


def test_types_have_programs_of_their_own(x):
    model = _mlp()
    for data in (x, x[:3], x.astype("float64"), np.ones((2, 4), "int32")):
        expected = _eagerly(model, data)
        for _ in range(3):
            found = model(data)
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

    assert _compiled(model) == 4


def test_number_of_programs_is_bounded(x, monkeypatch):
    monkeypatch.setattr(entries, "MOST_ENTRIES", 2)
    model = _mlp()

    for rows in (1, 2, 3, 4):
        for _ in range(3):
            assert model(x[:rows]).shape == (rows, 5)

    assert _compiled(model) == 2


def test_training_and_inference_differ_and_moving_statistics_are_updated(x):
    model, twin = (_mlp(keras.layers.BatchNormalization()) for _ in range(2))

    for _ in range(4):
        inference, training = model(x, training=False), model(x, training=True)
        expected = _eagerly(twin, x, training=False), _eagerly(twin, x, training=True)
        np.testing.assert_allclose(inference, expected[0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(training, expected[1], rtol=1e-5, atol=1e-5)

    assert _compiled(model) == 2
    assert np.abs(model.layers[1].moving_mean).max() > 1e-3
    for a, b in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def test_random_layers_draw_the_numbers_that_eager_calls_draw(x):
    model, twin = (_mlp(keras.layers.Dropout(0.5, seed=1)) for _ in range(2))

    for _ in range(4):
        np.testing.assert_allclose(
            model(x, training=True), _eagerly(twin, x, training=True), rtol=1e-5, atol=1e-6
        )

    assert _compiled(model) == 1


@pytest.mark.parametrize("structure", [list, dict])
def test_inputs_and_outputs_of_structure(x, structure):
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    total, product = keras.layers.Add()([a, b]), keras.layers.Multiply()([a, b])
    if structure is dict:
        model = keras.Model({"a": a, "b": b}, {"s": total, "p": product})
    else:
        model = keras.Model([a, b], [total, product])

    for _ in range(3):
        found = model({"b": 2 * x, "a": x} if structure is dict else [x, 2 * x])

    assert _compiled(model) == 1
    assert type(found) is structure
    first, second = (found["s"], found["p"]) if structure is dict else found
    np.testing.assert_allclose(first, 3 * x, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(second, 2 * x * x, rtol=1e-5, atol=1e-6)


def test_masks_come_with_the_outputs():
    model = keras.Sequential([keras.layers.Embedding(5, 3, mask_zero=True)])
    tokens = np.array([[1, 2, 0], [3, 0, 0]])

    for _ in range(3):
        found = model(tokens)

    assert _compiled(model) == 1
    np.testing.assert_array_equal(keras.src.backend.get_keras_mask(found), tokens != 0)


def test_changed_layers_are_compiled_anew(x):
    model = _mlp(keras.layers.Dense(2), keras.layers.Dropout(0.5))
    for _ in range(3):
        model(x, training=True)

    model.layers[2].rate = 0.0
    model.layers[1].activation = keras.activations.relu
    for _ in range(3):
        found = model(x, training=True)

    assert (np.asarray(found) >= 0).all()
    np.testing.assert_allclose(found, _eagerly(model, x), rtol=1e-5, atol=1e-6)


def test_added_layer_takes_part(x):
    model = _mlp()
    for _ in range(3):
        model(x)

    model.add(keras.layers.Dense(7))

    assert [model(x).shape for _ in range(3)] == [(6, 7)] * 3


def test_a_model_that_changes_all_the_time_is_not_compiled_for_ever(x, monkeypatch):
    monkeypatch.setattr(entries, "MOST_CHANGES", 2)
    model = _mlp(keras.layers.Dropout(0.5))

    for i in range(6):
        model.layers[1].rate = 0.1 * i
        for _ in range(3):
            model(x)

    assert _compiled(model) == 0


def test_trainable_may_be_switched_to_and_fro(x):
    """As those do who train two models in turn; normalization looks at it."""
    model = _mlp(keras.layers.BatchNormalization())
    for _ in range(12):
        for is_trainable in (True, False):
            model.trainable = is_trainable
            model(x, training=True)
    before = model.get_weights()[4]

    model(x, training=True)

    assert _compiled(model) == 2
    np.testing.assert_array_equal(model.get_weights()[4], before)


def test_fit_between_calls_does_not_make_programs_void(x):
    model = _mlp(keras.layers.Dense(1))
    for _ in range(3):
        model(x)

    model.compile("sgd", "mse")
    model.fit(x, x[:, :1], verbose=0)
    found = model(x)

    assert _compiled(model) == 1
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


# Where Keras's own way is taken


def test_users_classes_run_their_python_each_time(x):
    ran = []

    class Own(keras.layers.Layer):
        def call(self, x):
            ran.append(1)
            return x

    model = _mlp(Own())

    ran.clear()
    for _ in range(4):
        model(x)

    assert len(ran) == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda f: keras.layers.Lambda(f),
        lambda f: keras.layers.Activation(f),
        lambda f: keras.layers.Dense(2, activation=f),
    ],
    ids=["Lambda", "Activation", "Dense"],
)
def test_users_functions_run_each_time(x, make):
    ran = []

    def function(x):
        ran.append(1)
        return x

    model = _mlp(make(function))

    ran.clear()
    for _ in range(4):
        model(x)

    assert len(ran) == 4


def test_users_subclass_of_model_runs_its_python_each_time(x):
    ran = []

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = _mlp()

        def call(self, x):
            ran.append(1)
            return self.inner(x)

    model = Own()
    model(x)

    ran.clear()
    for _ in range(4):
        model(x)

    assert len(ran) == 4
    assert _compiled(model) == _compiled(model.inner) == 0


def test_losses_of_activity_are_there_after_the_call(x):
    model = _mlp(keras.layers.Dense(2, activity_regularizer="l2"))

    for factor in (1.0, 2.0, 2.0, 3.0):
        y = np.asarray(model(factor * x))
        assert float(model.losses[0]) == pytest.approx(0.01 * (y**2).sum() / 6, rel=1e-4)


@pytest.mark.parametrize("options", [{"run_eagerly": True}, {"jit_compile": False}])
def test_compile_can_switch_it_off(x, options):
    model = _mlp()
    model.compile("sgd", "mse", **options)

    for _ in range(3):
        model(x)

    assert _compiled(model) == 0


def test_switching_it_off_later_holds_at_once(x):
    model = _mlp()
    for _ in range(3):
        model(x)

    model.compile("sgd", "mse", run_eagerly=True)

    np.testing.assert_array_equal(model(x), _eagerly(model, x))


def test_errors_are_those_of_keras(x):
    model = _mlp()
    for _ in range(4):
        with pytest.raises(ValueError, match=r"expected axis -1|incompatible shape"):
            model(x[:, :3])
        model(x)

    assert _compiled(model) == 1


def test_symbolic_and_traced_calls_are_as_ever(x):
    model = _mlp()
    for _ in range(3):
        expected = model(x)

    outer = keras.Sequential([keras.layers.Input((4,)), model])
    compiled = pb.jit(lambda x: model(x) * 2.0)

    assert model(keras.Input((4,))).shape == (None, 5)
    np.testing.assert_allclose(outer(x), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(compiled(x), 2 * np.asarray(expected), rtol=1e-5, atol=1e-6)
    spec = keras.src.backend.compute_output_spec(model, keras.KerasTensor((6, 4)))
    assert spec.shape == (6, 5)


def test_copies_and_pickles_start_anew(x):
    model = _mlp()
    for _ in range(3):
        expected = model(x)

    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert _compiled(twin) == 0
        for _ in range(3):
            np.testing.assert_allclose(twin(x), expected, rtol=1e-5, atol=1e-6)


# Derivatives


def test_gradients_through_compiled_calls_are_those_of_eager_ones(x):
    model = _mlp(keras.layers.BatchNormalization(), keras.layers.Dense(1))
    found = []
    for call in (_eagerly, *[lambda m, *a, **k: m(*a, **k)] * 3):
        data = pb.asarray(x)
        with pb.GradientTape() as tape:
            tape.watch(data)
            loss = pb.sum(call(model, data, training=True) ** 2)
        found.append(tape.gradient(loss, [data, *model.trainable_variables]))

    assert _compiled(model) == 1
    for gradients in found[1:]:
        for a, b in zip(gradients, found[0], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_second_derivatives_through_compiled_calls(x):
    model = _mlp(keras.layers.Dense(1))
    penalties = []
    for _ in range(3):
        data = pb.asarray(x)
        with pb.GradientTape() as outer:
            with pb.GradientTape() as inner:
                inner.watch(data)
                y = pb.sum(model(data))
            penalty = pb.sum(inner.gradient(y, data) ** 2)
        penalties.append((penalty, outer.gradient(penalty, model.layers[0].kernel)))

    assert _compiled(model) == 1
    for penalty, gradient in penalties[1:]:
        np.testing.assert_allclose(penalty, penalties[0][0], rtol=1e-5)
        np.testing.assert_allclose(gradient, penalties[0][1], rtol=1e-4, atol=1e-5)


def test_one_output_is_differentiated_with_respect_to_another(x):
    """As for maps of what a network looks at: both come out of one call, and one from the other."""
    inputs = keras.Input((4,))
    hidden = keras.layers.Dense(3)(inputs)
    last = keras.layers.Dense(1, use_bias=False)
    model = keras.Model(inputs, [hidden, last(hidden)])
    for _ in range(3):
        model(x)
    assert _compiled(model) == 1

    with pb.GradientTape() as tape:
        hidden, y = model(x)
        total = pb.sum(y)
    gradient = tape.gradient(total, hidden)

    np.testing.assert_allclose(
        gradient, np.tile(np.asarray(last.kernel).T, (6, 1)), rtol=1e-5, atol=1e-6
    )


def test_training_loop_with_a_tape_converges(x):
    model = _mlp(keras.layers.Dense(1))
    optimizer = keras.optimizers.SGD(0.05)
    y = x.sum(1, keepdims=True)

    losses = []
    for _ in range(60):
        with pb.GradientTape() as tape:
            loss = pb.mean((model(x, training=True) - y) ** 2)
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        losses.append(float(loss))

    assert _compiled(model) == 1
    assert losses[-1] < 0.1 * losses[0]
