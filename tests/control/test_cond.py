"""``cond`` and ``switch``: values, derivatives, variables, errors."""

from __future__ import annotations

import numpy as np
import pytest
from common import check_equal, cos, count, optimized, sin, staged, tanh, total

from pullback.api import grad, jvp
from pullback.control import cond, switch
from pullback.errors import DTypeError, ShapeError, TreeError
from pullback.program.value import as_value
from pullback.tape import GradientTape
from pullback.testing import check_vjp
from pullback.trace.variable import Variable


def chosen(pred, x, y):
    return cond(
        pred,
        lambda x, y: {"a": sin(x) * y, "b": x},
        lambda x, y: {"a": x * x, "b": y * 2.0},
        x,
        y,
    )


@pytest.mark.parametrize(("pred", "holds"), [(True, 1), (np.float32(0), 0), (3, 1), (-0.5, 1)])
def test_cond_takes_the_branch_that_the_predicate_names(rng, pred, holds):
    x, y = rng.normal(size=3), rng.normal(size=3)

    expected = {"a": np.sin(x) * y, "b": x} if holds else {"a": x * x, "b": y * 2.0}

    check_equal(chosen(pred, x, y), expected)


@pytest.mark.parametrize("pred", [True, False])
def test_cond_derivatives_equal_differences(rng, pred):
    x, y = rng.normal(size=3), rng.normal(size=3)

    check_vjp(lambda x, y: chosen(pred, x, y), x, y, order=3, tolerance=1e-5)


@pytest.mark.parametrize("pred", [True, False])
def test_cond_jvp_moves_what_the_branch_moves(rng, pred):
    x, y, dx = (rng.normal(size=3) for _ in range(3))

    out, pushed = jvp(lambda x: chosen(pred, x, y), (x,), (dx,))

    check_equal(out, chosen(pred, x, y))
    expected = {"a": np.cos(x) * y * dx, "b": dx} if pred else {"a": 2 * x * dx, "b": 0 * x}
    check_equal(pushed, expected)


def test_only_the_branch_taken_is_computed():
    """The other branch would fail: its callback raises."""
    from pullback.custom import pure_callback

    def refuse(x):
        raise AssertionError

    found = cond(True, lambda x: x, lambda x: pure_callback(refuse, x, x), np.zeros(2))

    check_equal(found, np.zeros(2))


@pytest.mark.parametrize("index", [-3, 0, 1, 2, 7, np.int64(2**40), np.uint8(200)])
def test_switch_clamps_the_index(index):
    found = switch(index, [lambda x: x, lambda x: x * 2.0, lambda x: x * 3.0], np.float64(1.5))

    assert float(found) == 1.5 * (1 + min(max(int(index), 0), 2))


def test_switch_of_one_branch_needs_no_equation():
    program = staged(lambda i, x: switch(i, [sin], x), np.int32(0), np.zeros(2))

    assert [e.primitive.name for e in program.equations] == ["sin"]


def test_switch_derivatives_equal_differences(rng):
    x = rng.normal(size=3)
    branches = [sin, lambda x: x * x * x, lambda x: tanh(x) * x]

    for index in range(3):
        check_vjp(lambda x, i=index: switch(i, branches, x), x, order=2)


def test_cond_in_cond(rng):
    def f(x):
        return cond(
            total(x) > 0,
            lambda x: cond(total(x) > 0.5, sin, cos, x),
            lambda x: x * x,
            x,
        )

    for x in (np.array([0.3, 0.4]), np.array([2.0, 1.0]), np.array([-1.0, -2.0])):
        check_vjp(f, x, order=2)


def test_values_from_outside_become_operands_of_all_branches(rng):
    w, x = rng.normal(size=2), rng.normal(size=2)

    def f(w, x):
        scaled = sin(w)
        return cond(True, lambda: scaled * x, lambda: w)

    check_equal(f(as_value(w), as_value(x)), np.sin(w) * x)
    check_vjp(f, w, x)


def test_weak_results_take_the_dtype_of_the_other_branch():
    x = np.zeros((), np.float64)

    assert cond(True, lambda: 1.0, lambda: x).dtype == np.float64
    assert cond(True, lambda: x, lambda: 1).dtype == np.float64
    assert cond(True, lambda: 1, lambda: 2.0).dtype == np.float32
    assert (cond(True, lambda: 1.0, lambda: 2.0) + x).dtype == np.float64


def test_variables_are_updated_by_the_branch_taken():
    first, second = Variable(np.float64(1.0)), Variable(np.float64(10.0))

    def add():
        first.assign_add(second.value)
        return first.value

    def replace():
        second.assign(-1.0)
        return first.value * 0.0

    for pred in (True, False, True):
        cond(pred, add, replace)

    assert float(first.value) == 10.0
    assert float(second.value) == -1.0


def test_tape_differentiates_variables_read_in_a_branch():
    weight = Variable(np.float64(3.0))

    with GradientTape() as tape:
        y = cond(True, lambda: weight * weight, lambda: weight.value)

    check_equal(tape.gradient(y, weight), np.float64(6.0))


def test_tape_differentiates_a_watched_scalar_that_a_branch_uses():
    x = as_value(np.float64(3.0))

    with GradientTape() as tape:
        tape.watch(x)
        y = cond(True, lambda: x * x, lambda: x)

    check_equal(tape.gradient(y, x), np.float64(6.0))


def test_gradient_computes_the_forward_branch_once(rng):
    x = rng.normal(size=3)

    def f(p, x):
        return total(cond(p, lambda x: sin(tanh(x)), lambda x: cos(x) * x, x))

    program = optimized(staged(grad(f, 1), np.bool_(True), x))

    assert count(program, "tanh") == 1
    assert count(program, "cond") == 2
    for p in (True, False):
        check_equal(program(np.bool_(p), x), np.asarray(grad(f, 1)(np.bool_(p), x)))


def test_branches_with_different_types():
    with pytest.raises(ShapeError, match=r"cond: result\['a'\] is f64\[2\] in false_fun, f64\[3\]"):
        cond(True, lambda: {"a": np.zeros(3)}, lambda: {"a": np.zeros(2)})
    with pytest.raises(DTypeError, match=r"result is f64\[\] in branch 0, i32\[\] in branch 1"):
        switch(0, [lambda: np.float64(0), lambda: np.int32(0)])


def test_branches_with_different_structures():
    with pytest.raises(TreeError, match=r"false_fun returns \(\*, \*\), true_fun returns \*"):
        cond(True, lambda: 0.0, lambda: (0.0, 0.0))


def test_predicates_and_indices_are_scalars():
    with pytest.raises(ShapeError, match=r"the predicate is bool\[2\], expected a scalar"):
        cond(np.array([True, False]), lambda: 0, lambda: 1)
    with pytest.raises(DTypeError, match=r"the index is f32\[\], expected an integer"):
        switch(1.0, [lambda: 0, lambda: 1])
    with pytest.raises(ValueError, match="at least one branch"):
        switch(0, [])
