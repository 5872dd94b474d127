"""Updates by an optimizer outside of training: compiled from the second on, as Keras computes."""

from __future__ import annotations

import pickle
from typing import Any
from unittest import mock

import keras
import numpy as np
import pytest

import pullback as pb
from keras_pullback.src import optimizer as backend_optimizer

#: Rounding of float32 where a program may fuse what Keras computes operation by operation.
TOLERANCE: Any = {"rtol": 2e-6, "atol": 2e-7}

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "Adadelta": {},
    "Adafactor": {},
    "Adagrad": {},
    "Adam": {},
    "Adam amsgrad": {"amsgrad": True},
    "AdamW": {"weight_decay": 0.01},
    "Adamax": {},
    "Ftrl": {},
    "Lamb": {},
    "Lion": {},
    "Muon": {},
    "Nadam": {},
    "RMSprop": {},
    "RMSprop centered": {"centered": True, "momentum": 0.9},
    "ScheduleFreeAdamW": {},
    "SGD": {},
    "SGD nesterov": {"momentum": 0.9, "nesterov": True},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "accumulation": {"gradient_accumulation_steps": 2},
    "average": {"use_ema": True, "ema_overwrite_frequency": 3},
    "average and accumulation": {"use_ema": True, "gradient_accumulation_steps": 2},
    "clipnorm": {"clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.3},
    "global_clipnorm": {"global_clipnorm": 0.5},
    "loss_scale_factor": {"loss_scale_factor": 8.0},
    "schedule": {"learning_rate": keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)},
    "steps of a schedule": {
        "learning_rate": keras.optimizers.schedules.PiecewiseConstantDecay([2, 4], [0.1, 0.05, 0.0])
    },
    "weight_decay": {"weight_decay": 0.1},
}


@pytest.fixture(autouse=True, scope="module")
def _fresh():
    yield
    keras.backend.clear_session()


def _variables(constraint=None):
    rng = np.random.default_rng(1)
    kernel = keras.Variable(rng.normal(size=(5, 3)).astype("float32"), name="kernel")
    kernel.constraint = constraint
    return [kernel, keras.Variable(rng.normal(size=3).astype("float32"), name="bias")]


def _gradients(steps):
    rng = np.random.default_rng(2)
    return [
        [pb.asarray(rng.normal(size=shape).astype("float32")) for shape in ((5, 3), (3,))]
        for _ in range(steps)
    ]


def _compiled(optimizer):
    """How many programs the optimizer's updates have."""
    updates = optimizer.__dict__.get("_pullback_updates")
    return 0 if updates is None else len(updates._entries.programs)


def _eagerly(optimizer, gradients, variables):
    with mock.patch.object(backend_optimizer.Updates, "run", return_value=False):
        optimizer.apply(gradients, variables)


def _both(make, between=lambda optimizer, step: None, steps=6, constraint=None):
    """The optimizer after updates as they are, and all variables with those by Keras's own way."""
    found = []
    for update in (lambda o, g, v: o.apply_gradients(zip(g, v, strict=True)), _eagerly):
        optimizer, variables = make(), _variables(constraint)
        for step, gradients in enumerate(_gradients(steps)):
            between(optimizer, step)
            update(optimizer, gradients, variables)
        found.append((optimizer, [np.asarray(v) for v in variables + optimizer.variables]))
    (optimizer, ours), (_, keras_own) = found
    assert len(ours) == len(keras_own)
    for a, b in zip(ours, keras_own, strict=True):
        np.testing.assert_allclose(a, b, **TOLERANCE)
    return optimizer, ours


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_updates_as_keras_computes(name):
    kind = getattr(keras.optimizers, name.partition(" ")[0], None)
    if kind is None:
        pytest.skip(f"Keras {keras.__version__} has no {name}")

    optimizer, values = _both(lambda: kind(learning_rate=0.05, **OPTIMIZERS[name]))

    assert _compiled(optimizer) == 1
    assert int(optimizer.iterations) == 6
    assert not np.allclose(values[0], np.asarray(_variables()[0]))


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_does_what_it_did(name):
    options = {"learning_rate": 0.05} | OPTIONS[name]

    optimizer, _ = _both(lambda: keras.optimizers.Adam(**options))

    assert _compiled(optimizer) == 1


def test_learning_rate_is_read_each_time():
    def between(optimizer, step):
        if step:
            optimizer.learning_rate = 0.1 / step

    optimizer, _ = _both(lambda: keras.optimizers.Adam(), between)

    assert _compiled(optimizer) == 1


def test_changed_attribute_is_seen():
    def between(optimizer, step):
        if step == 3:
            optimizer.clipvalue = 0.1
            optimizer.momentum = 0.3

    optimizer, _ = _both(lambda: keras.optimizers.SGD(0.1, momentum=0.9), between)

    assert _compiled(optimizer) == 1


def test_changed_schedule_is_seen():
    def between(optimizer, step):
        if step == 3:
            optimizer._learning_rate.values[1] = 0.7

    def make():
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1, 5], [0.1, 0.2, 0.3])
        return keras.optimizers.SGD(schedule)

    optimizer, _ = _both(make, between)

    assert _compiled(optimizer) == 1


def test_optimizer_that_is_changed_all_the_time_is_compiled_no_more():
    def between(optimizer, step):
        if step % 2:
            optimizer.momentum = 0.5 + 0.01 * step

    optimizer, _ = _both(lambda: keras.optimizers.SGD(0.1, momentum=0.9), between, steps=24)

    assert _compiled(optimizer) == 0


def test_constraint_is_kept_and_its_change_seen():
    constraint = keras.constraints.MaxNorm(0.5)
    optimizer, values = _both(lambda: keras.optimizers.SGD(0.1), constraint=constraint)
    assert _compiled(optimizer) == 1
    assert np.linalg.norm(values[0], axis=0).max() <= 0.5 * (1 + 1e-6)

    variables = _variables(constraint)
    optimizer = keras.optimizers.SGD(0.1)
    for bound in (0.5, 0.5, 0.25, 0.25):
        constraint.max_value = bound
        optimizer.apply(_gradients(1)[0], variables)
        assert np.linalg.norm(variables[0], axis=0).max() <= bound * (1 + 1e-6)
    variables[0].constraint = None
    optimizer.apply(_gradients(1)[0], variables)
    assert np.linalg.norm(variables[0], axis=0).max() > 0.3


def test_scaled_loss_skips_gradients_that_are_not_finite():
    def make():
        inner = keras.optimizers.Adam(0.05)
        return keras.optimizers.LossScaleOptimizer(inner, dynamic_growth_steps=2)

    optimizer, _ = _both(make)
    assert _compiled(optimizer) == 1

    variables = _variables()
    bad = [pb.asarray(np.full(v.shape, np.inf, "float32")) for v in variables]
    optimizer, scales = make(), []
    for gradients in (*_gradients(3), bad):
        before = np.asarray(variables[0])
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        scales.append(float(optimizer.dynamic_scale))
    np.testing.assert_array_equal(variables[0], before)
    assert scales[-1] == scales[-2] / 2


def test_inner_optimizer_that_is_changed_is_seen():
    def make():
        return keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1, momentum=0.5))

    def between(optimizer, step):
        if step == 3:
            optimizer.inner_optimizer.momentum = 0.1
            optimizer.learning_rate = 0.7

    _both(make, between)


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="came with a later Keras"
)
def test_several_optimizers_in_one():
    def make():
        rates = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1))
        rates["bias"] = keras.optimizers.Adam(0.05)
        return keras.optimizers.MultiOptimizer(rates)

    def between(optimizer, step):
        if step == 3:
            optimizer.optimizers[0].learning_rate = 0.01
            optimizer.optimizers[1].clipvalue = 0.1

    optimizer, _ = _both(make, between)

    assert _compiled(optimizer) == 1


def test_optimizers_of_users_run_each_time():
    calls = []

    class Counting(keras.optimizers.SGD):
        def update_step(self, gradient, variable, learning_rate):
            calls.append(variable)
            super().update_step(gradient, variable, learning_rate)

    optimizer, variables = Counting(0.1), _variables()
    for gradients in _gradients(4):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    assert len(calls) == 8
    assert _compiled(optimizer) == 0


def test_schedules_and_constraints_of_users_run_each_time():
    calls = []

    class Halving(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            calls.append("schedule")
            return 0.5 ** keras.ops.cast(step, "float32")

    class Noting(keras.constraints.Constraint):
        def __call__(self, w):
            calls.append("constraint")
            return w

    def rate():
        calls.append("function")
        return 0.1

    for make, constraint in (
        (lambda: keras.optimizers.SGD(Halving()), None),
        (lambda: keras.optimizers.SGD(rate), None),
        (lambda: keras.optimizers.SGD(0.1), Noting()),
    ):
        calls.clear()
        optimizer, variables = make(), _variables(constraint)
        for gradients in _gradients(4):
            optimizer.apply(gradients, variables)
        assert len(calls) >= 4
        assert _compiled(optimizer) == 0


def test_missing_gradients_are_named_each_time():
    optimizer, variables = keras.optimizers.SGD(0.1), _variables()
    variables[1].assign([1.0, 2.0, 3.0])

    for gradients in _gradients(4):
        with pytest.warns(UserWarning, match="Gradients do not exist .*bias"):
            optimizer.apply_gradients(zip([gradients[0], None], variables, strict=True))

    np.testing.assert_array_equal(variables[1], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="No gradients provided"):
        optimizer.apply([None, None])


def test_part_of_the_variables_has_a_program_of_its_own():
    optimizer, variables = keras.optimizers.SGD(0.1), _variables()
    optimizer.build(variables)
    start = np.asarray(variables[1])

    for gradients in _gradients(3):
        optimizer.apply(gradients[:1], variables[:1])
    np.testing.assert_array_equal(variables[1], start)
    for gradients in _gradients(3):
        optimizer.apply(gradients)

    assert _compiled(optimizer) == 2
    total = sum(np.asarray(g[1]) for g in _gradients(3))
    np.testing.assert_allclose(variables[1], start - 0.1 * total, rtol=1e-5)


def test_errors_are_those_of_keras():
    optimizer, variables = keras.optimizers.SGD(0.1), _variables()
    for gradients in _gradients(3):
        optimizer.apply(gradients, variables)

    with pytest.raises(ValueError, match="optimizer is tracking 2"):
        optimizer.apply(_gradients(1)[0][:1])
    with pytest.raises(ValueError, match="Unknown variable"):
        optimizer.apply(_gradients(1)[0][:1], [keras.Variable(np.zeros((5, 3), "float32"))])
    with pytest.raises(ValueError, match="shape"):
        optimizer.apply(_gradients(1)[0][::-1], variables)
    assert optimizer.apply([]) is None

    before = np.asarray(variables[0])
    optimizer.apply(_gradients(1)[0], variables)
    np.testing.assert_allclose(
        variables[0], before - 0.1 * np.asarray(_gradients(1)[0][0]), rtol=1e-6
    )


def test_stateless_update_changes_no_variable():
    optimizer, variables = keras.optimizers.Adam(0.1), _variables()
    for gradients in _gradients(3):
        optimizer.apply(gradients, variables)
    before = [np.asarray(v) for v in variables + optimizer.variables]

    moved, _ = optimizer.stateless_apply(
        [v.value for v in optimizer.variables], _gradients(1)[0], [v.value for v in variables]
    )

    assert not np.allclose(moved[0], before[0])
    for v, value in zip(variables + optimizer.variables, before, strict=True):
        np.testing.assert_array_equal(v, value)


def test_update_in_a_function_of_the_user_is_part_of_it():
    optimizer, variables = keras.optimizers.Adam(0.1), _variables()
    twin, others = keras.optimizers.Adam(0.1), _variables()
    optimizer.build(variables)

    @pb.jit
    def update(*gradients):
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for gradients in _gradients(4):
        update(*gradients)
        _eagerly(twin, gradients, others)

    assert _compiled(optimizer) == 0
    for v, other in zip(variables, others, strict=True):
        np.testing.assert_allclose(v, other, **TOLERANCE)


def test_update_in_the_block_of_a_tape_is_keras_own():
    """What a tape records there, it can differentiate: the update stays operation by operation."""
    optimizer, variables = keras.optimizers.SGD(0.1), _variables()
    optimizer.build(variables)
    rate = pb.asarray(2.0)

    for _ in range(3):
        with pb.GradientTape() as tape:
            tape.watch(rate)
            optimizer.apply([rate * v.value for v in variables], variables)

    assert _compiled(optimizer) == 0
    start = np.asarray(_variables()[0])
    np.testing.assert_allclose(variables[0], start * 0.8**3, rtol=1e-5)


def test_programs_do_not_go_into_a_copy():
    optimizer, variables = keras.optimizers.SGD(0.1), _variables()
    for gradients in _gradients(3):
        optimizer.apply(gradients, variables)
    assert _compiled(optimizer) == 1

    clone = pickle.loads(pickle.dumps(optimizer.__dict__["_pullback_updates"]))

    assert clone._entries.programs == []


def test_training_by_hand_then_fit_continue_each_other():
    """What a compiled update left in the optimizer's variables, `fit` goes on with, and back."""
    x = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
    y = x[:, :3] * 2.0
    finals = []
    for is_by_hand in (True, False):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(3)])
        model.compile(keras.optimizers.Adam(0.05), loss="mse")
        for turn in range(3):
            if is_by_hand and turn != 1:
                for _ in range(4):
                    with pb.GradientTape() as tape:
                        loss = pb.mean((model(x) - y) ** 2)
                    gradients = tape.gradient(loss, model.trainable_variables)
                    pairs = zip(gradients, model.trainable_variables, strict=True)
                    model.optimizer.apply_gradients(pairs)
            else:
                model.fit(x, y, batch_size=8, epochs=4, verbose=0)
        finals.append([np.asarray(v) for v in model.weights])
    for a, b in zip(*finals, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
