"""An epoch is a scan: steps of gradient descent as a loop, with a tape, and differentiated."""

from __future__ import annotations

import numpy as np
import pytest
from common import check_equal, count, matvec, optimized, staged, tanh, total

from pullback.api import grad, value_and_grad
from pullback.control import fori_loop, scan
from pullback.jit import jit
from pullback.tape import GradientTape
from pullback.testing import check_vjp
from pullback.trace.variable import Variable


def loss(w, x, y):
    error = tanh(matvec(w, x)) - y
    return total(error * error)


@pytest.fixture
def data(rng):
    return rng.normal(size=(2, 3)), rng.normal(size=(4, 3)), rng.normal(size=(4, 2))


def descend(w, xs, ys):
    def step(w, batch):
        value, gradient = value_and_grad(loss)(w, *batch)
        return w - gradient * 0.1, value

    return scan(step, w, (xs, ys))


def test_descent_as_a_scan_equals_steps_one_by_one(data):
    w, xs, ys = data
    losses = []
    stepped = w
    for x, y in zip(xs, ys, strict=True):
        value, gradient = value_and_grad(loss)(stepped, x, y)
        losses.append(float(value))
        stepped = stepped - gradient * 0.1

    check_equal(descend(w, xs, ys), (np.asarray(stepped), np.array(losses)))


def test_descent_is_differentiated_itself(data):
    """The derivative of the final loss with respect to the first weights and the data."""
    check_vjp(lambda *args: descend(*args)[0], *data, order=1)


def test_each_step_of_the_differentiated_descent_is_computed_once(data):
    program = optimized(staged(grad(lambda *args: total(descend(*args)[0])), *data))

    assert count(program, "scan") == 2
    assert count(program, "tanh") == 1


def test_descent_with_tape_and_variables_in_the_body(data):
    w, xs, ys = data
    weights, steps = Variable(w), Variable(np.int32(0))

    def step(_, batch):
        with GradientTape() as tape:
            value = loss(weights, *batch)
        weights.assign_sub(tape.gradient(value, weights) * 0.1)
        steps.assign_add(1)
        return None, value

    _, losses = scan(step, None, (xs, ys))

    expected, expected_losses = descend(w, xs, ys)
    check_equal(weights.value, expected)
    check_equal(losses, expected_losses)
    assert int(steps.value) == 4


def test_compiled_epochs_update_variables(data):
    w, xs, ys = data
    weights = Variable(w)

    @jit
    def epoch(xs, ys):
        def step(_, batch):
            x, y = batch
            # matvec, so that no elementary function is needed to compile this
            error = matvec(weights, x) - y
            weights.assign_sub(grad(lambda w: total((matvec(w, x) - y) ** 2))(weights) * 0.1)
            return None, total(error * error)

        return scan(step, None, (xs, ys))[1]

    first, second = epoch(xs, ys), epoch(xs, ys)

    held, losses = w, []
    for x, y in [*zip(xs, ys, strict=True)] * 2:
        error = held @ x - y
        losses.append(0.5 * np.sum(error * error))
        held = held - 0.1 * np.outer(error, x)
    check_equal(weights.value, held, 1e-10)
    check_equal(np.concatenate([np.asarray(first), np.asarray(second)]), np.array(losses), 1e-10)


def test_unrolled_optimization_with_momentum(rng):
    """Derivatives with respect to the step size go through every step."""

    def final(rate, decay):
        def step(_, state):
            x, velocity = state
            gradient = grad(lambda x: total(tanh(x) * x))(x)
            velocity = velocity * decay - gradient * rate
            return x + velocity, velocity

        x, _ = fori_loop(0, 4, step, (np.array([1.0, -0.5]), np.zeros(2)))
        return total(x * x)

    check_vjp(final, np.float64(0.3), np.float64(0.6), order=2)
