"""``custom_vjp``, ``checkpoint``, ``stop_gradient`` and ``pure_callback``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from common import check_equal, cos, count, exp, optimized, sin, staged, tanh, total

from pullback.api import grad, jvp, value_and_grad, vjp
from pullback.control import cond, scan
from pullback.custom import checkpoint, custom_vjp, pure_callback, remat, stop_gradient
from pullback.errors import (
    DifferentiationError,
    DTypeError,
    PullbackError,
    ShapeError,
    TreeError,
)
from pullback.program.value import as_value
from pullback.tape import GradientTape
from pullback.testing import check_vjp
from pullback.trace.variable import Variable


def lying_sine():
    """A sine whose derivative is said to be three times its own."""

    @custom_vjp
    def f(x):
        """Sine."""
        return sin(x)

    f.defvjp(lambda x: (sin(x), x), lambda x, ct: (ct * cos(x) * 3.0,))
    return f


def test_custom_rule_is_used_in_place_of_the_derivative(rng):
    f, x = lying_sine(), rng.normal(size=3)

    check_equal(f(x), np.sin(x))
    check_equal(grad(lambda x: total(f(x)))(x), 1.5 * np.cos(x))
    assert f.__name__ == "f"
    assert f.__doc__ == "Sine."


def test_second_order_differentiates_the_rule(rng):
    f, x = lying_sine(), np.float64(0.7)

    check_equal(grad(grad(f))(x), -3.0 * np.sin(x))
    check_equal(grad(grad(grad(f)))(x), -3.0 * np.cos(x))


def test_rule_that_uses_the_function_itself(rng) -> None:
    """Every order goes through the user's rule."""

    @custom_vjp
    def f(x):
        return exp(x)

    f.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * f(x) * 2.0,))

    x = np.float64(0.3)
    functions: list[Callable[..., Any]] = [f, grad(f), grad(grad(f))]
    for order, function in enumerate(functions):
        check_equal(function(x), 2.0**order * np.exp(x))


def test_tape_uses_the_rule():
    f, x = lying_sine(), Variable(np.float64(0.4))

    with GradientTape() as tape:
        y = f(x) * 2.0

    check_equal(tape.gradient(y, x), 6.0 * np.cos(0.4))


def test_trees_in_and_out(rng):
    @custom_vjp
    def f(params, x):
        return {"y": params["w"] * x, "n": params["n"]}

    def fwd(params, x):
        return f(params, x), (params["w"], {"x": x})

    def bwd(residuals, ct):
        w, kept = residuals
        return {"w": ct["y"] * kept["x"], "n": None}, ct["y"] * w * 10.0

    f.defvjp(fwd, bwd)
    params, x = {"w": rng.normal(size=2), "n": np.int32(4)}, rng.normal(size=2)

    out, pullback = vjp(f, params, x)
    of_params, of_x = pullback({"y": np.ones(2), "n": np.int32(0)})

    check_equal(out, {"y": params["w"] * x, "n": 4})
    check_equal(of_params["w"], x)
    check_equal(of_x, params["w"] * 10.0)


def test_none_stands_for_a_zero(rng):
    @custom_vjp
    def f(x, y):
        return x * y

    f.defvjp(lambda x, y: (x * y, y), lambda y, ct: (ct * y, None))

    check_equal(grad(lambda x, y: f(x, y), (0, 1))(2.0, 3.0), (np.float32(3.0), np.float32(0.0)))


def test_nondiff_arguments_are_python_values():
    @functools.partial(custom_vjp, nondiff_argnums=(0, 2))
    def apply(f, x, power):
        return f(x) ** power

    def fwd(f, x, power):
        assert callable(f)
        return f(x) ** power, x

    def bwd(f, power, x, ct):
        assert power == 2
        return (ct * f(x) * 100.0,)

    apply.defvjp(fwd, bwd)

    check_equal(apply(sin, np.float64(0.5), 2), np.sin(0.5) ** 2)
    check_equal(apply(sin, np.float64(0.5), power=2), np.sin(0.5) ** 2)
    check_equal(grad(apply, 1)(sin, np.float64(0.5), 2), 100.0 * np.sin(0.5))


def test_nondiff_arguments_by_name():
    @functools.partial(custom_vjp, nondiff_argnames="mode")
    def f(x, mode):
        return x * 2.0 if mode == "double" else x

    f.defvjp(lambda x, mode: (f(x, mode), None), lambda mode, _, ct: (ct * len(mode),))

    check_equal(grad(f)(1.5, "double"), np.float32(6.0))


def test_custom_vjp_as_a_method():
    class Scale:
        def __init__(self, factor):
            self.factor = factor

        @functools.partial(custom_vjp, nondiff_argnums=0)
        def __call__(self, x):
            return x * self.factor

    Scale.__call__.defvjp(
        lambda self, x: (x * self.factor, None), lambda self, _, ct: (ct * self.factor * 2.0,)
    )

    check_equal(grad(lambda x: Scale(3.0).__call__(x))(1.0), np.float32(6.0))


def test_values_from_outside_reach_all_three_functions(rng):
    w, x = as_value(rng.normal(size=2)), rng.normal(size=2)
    scale = Variable(np.float64(5.0))

    @custom_vjp
    def f(x):
        return x * w

    f.defvjp(lambda x: (x * w, None), lambda _, ct: (ct * w * scale,))

    check_equal(grad(lambda x: total(f(x)))(x), 2.5 * np.asarray(w))


def test_differentiating_a_value_from_outside_is_refused():
    def loss(w, x):
        @custom_vjp
        def f(x):
            return x * w

        f.defvjp(lambda x: (x * w, None), lambda _, ct: (ct * w,))
        return f(x)

    check_equal(grad(loss, 1)(2.0, 3.0), np.float32(2.0))
    with pytest.raises(DifferentiationError, match=r"uses a value f32.* from outside"):
        grad(loss, (0, 1))(2.0, 3.0)
    with pytest.raises(DifferentiationError, match="pass the value as an argument"):
        grad(loss, 0)(2.0, 3.0)


def test_value_that_only_the_rule_uses_may_be_differentiated():
    """The function does not depend on it; a derivative of the gradient does."""

    def gradient(w, x):
        @custom_vjp
        def f(x):
            return x * x

        f.defvjp(lambda x: (x * x, None), lambda _, ct: (ct * w * w,))
        return grad(f)(x)

    check_equal(grad(gradient)(3.0, 1.0), np.float32(6.0))


def test_custom_vjp_in_scan_and_cond(rng):
    f, xs = lying_sine(), rng.normal(size=3)

    def loss(c, xs):
        def step(c, x):
            return cond(x > 0, lambda: f(c * x), lambda: c + x), None

        return scan(step, c, xs)[0]

    def expected(c, xs):
        value, slope = c, 1.0
        for x in xs:
            slope = slope * (3.0 * np.cos(value * x) * x if x > 0 else 1.0)
            value = np.sin(value * x) if x > 0 else value + x
        return slope

    check_equal(grad(loss)(np.float64(0.6), xs), expected(0.6, xs))


def test_compiled_gradient_runs_forward_in_place_of_the_function():
    @custom_vjp
    def f(x):
        return sin(x)

    f.defvjp(lambda x: (tanh(x), x), lambda x, ct: (ct * cos(x),))

    program = optimized(staged(value_and_grad(f), np.float64(0.5)))

    assert [e.primitive.name for e in program.equations] == ["tanh", "cos"]


def test_forward_mode_is_refused():
    with pytest.raises(DifferentiationError, match=r"jvp.*'f'.*Use `grad` or `vjp`"):
        jvp(lying_sine(), (1.0,), (1.0,))


def test_rules_that_do_not_fit():
    def with_rule(fwd, bwd):
        f = custom_vjp(lambda x: x * 2.0)
        f.defvjp(fwd, bwd)
        return lambda: f(np.zeros(2))

    x2 = lambda x: x * 2.0  # noqa: E731
    with pytest.raises(DifferentiationError, match="has no rule yet"):
        custom_vjp(x2)(1.0)
    with pytest.raises(TreeError, match=r"must return a pair .* it returned f64\[2\]"):
        with_rule(x2, lambda r, ct: (ct,))()
    with pytest.raises(TreeError, match=r"function returns f64\[2\], fwd \(f64\[2\], f64\[2\]\)"):
        with_rule(lambda x: ((x, x), x), lambda r, ct: (ct,))()
    with pytest.raises(ShapeError, match=r"result is f64\[2\] in the function, f64\[\] in fwd"):
        with_rule(lambda x: (total(x), x), lambda r, ct: (ct,))()
    with pytest.raises(TreeError, match=r"tuple of 1 cotangents.* it returned \(f64\[2\], f64"):
        with_rule(lambda x: (x2(x), x), lambda r, ct: (ct, ct))()
    with pytest.raises(ShapeError, match=r"for argument 0 is f64\[\], the argument is f64\[2\]"):
        with_rule(lambda x: (x2(x), x), lambda r, ct: (total(ct),))()
    with pytest.raises(DTypeError, match=r"for argument 0 is i32\[2\], the argument is f64\[2\]"):
        with_rule(lambda x: (x2(x), x), lambda r, ct: (np.zeros(2, np.int32),))()


def test_custom_vjp_assigns_no_variables():
    state = Variable(np.float64(0.0), name="state")

    def update(x):
        state.assign(x)
        return x

    f = custom_vjp(update)
    f.defvjp(lambda x: (x, None), lambda _, ct: (ct,))
    with pytest.raises(PullbackError, match="variable 'state' is assigned inside"):
        f(np.float64(1.0))


def test_keyword_only_arguments_have_no_cotangent():
    @custom_vjp
    def f(x, *, y):
        return x * y

    f.defvjp(lambda x, y: (x * y, y), lambda y, ct: (ct * y,))
    with pytest.raises(TypeError, match=r"keyword-only arguments \(y\)"):
        f(1.0, y=2.0)


# checkpoint


def blocks(x, w, wrap):
    @wrap
    def block(x, w):
        return tanh(sin(x * w) * x)

    return block(block(x, w), w)


@pytest.mark.parametrize("wrap", [remat, lambda f: checkpoint(checkpoint(f))], ids=["one", "two"])
def test_checkpoint_has_the_derivatives_of_the_function(rng, wrap):
    x, w = rng.normal(size=3), rng.normal(size=3)

    expected = grad(lambda x, w: total(blocks(x, w, lambda f: f)), (0, 1))(x, w)

    check_equal(grad(lambda x, w: total(blocks(x, w, wrap)), (0, 1))(x, w), expected)
    check_vjp(lambda x, w: blocks(x, w, wrap), x, w, order=2)


def test_checkpoint_computes_again_and_keeps_the_operands_only(rng):
    x, w = rng.normal(size=3), rng.normal(size=3)

    plain = optimized(staged(grad(lambda x, w: total(blocks(x, w, lambda f: f))), x, w))
    again = optimized(staged(grad(lambda x, w: total(blocks(x, w, checkpoint))), x, w))

    assert count(plain, "sin") == 2
    # Twice each, but for the last block, whose result nothing but the loss needs.
    assert count(again, "sin") == 3
    check_equal(again(x, w), plain(x, w))


def test_checkpoint_in_scan_keeps_the_carry_only(rng):
    w, c, xs = rng.normal(size=3), rng.normal(size=3), rng.normal(size=(4, 3))

    def loss(wrap):
        @wrap
        def step(w, c, x):
            return tanh(sin(c * w) + exp(x)), None

        return lambda c, w, xs: total(scan(functools.partial(step, w), c, xs)[0])

    plain = optimized(staged(grad(loss(lambda f: f)), c, w, xs))
    again = optimized(staged(grad(loss(checkpoint)), c, w, xs))

    def stacked(program):
        scans = [e for e in program.equations if e.primitive.name == "scan"]
        assert len(scans) == 2
        return len(scans[0].outputs) - scans[0].primitive.carry

    assert stacked(plain) > 1
    assert stacked(again) == 1
    check_equal(again(c, w, xs), plain(c, w, xs))


def test_checkpoint_forward_mode(rng):
    x, w, dx = (rng.normal(size=3) for _ in range(3))

    _, expected = jvp(lambda x: blocks(x, w, lambda f: f), (x,), (dx,))
    _, found = jvp(lambda x: blocks(x, w, checkpoint), (x,), (dx,))

    check_equal(found, expected)


def test_checkpoint_of_trees_statics_keywords_and_variables():
    calls = Variable(np.int32(0))

    @functools.partial(checkpoint, static_argnums=1)
    def f(tree, mode, shift):
        calls.assign_add(1)
        return {mode: tree["x"] * 2.0 + shift}

    check_equal(f({"x": np.float64(1.5)}, "y", shift=1.0), {"y": 4.0})
    assert int(calls.value) == 1
    check_equal(grad(lambda x: f({"x": x}, "y", 1.0)["y"])(np.float64(1.0)), np.float64(2.0))
    assert int(calls.value) == 2


# stop_gradient


def test_stop_gradient_is_a_constant_for_differentiation(rng):
    x = rng.normal(size=3)

    tree = stop_gradient({"x": x, "n": 3})

    check_equal(tree, {"x": x, "n": 3})
    check_equal(grad(lambda x: total(x * stop_gradient(x)))(x), 0.5 * x)
    check_equal(jvp(lambda x: x * stop_gradient(sin(x)), (x,), (x,))[1], x * np.sin(x))
    assert optimized(staged(stop_gradient, x)).equations == ()


def test_stopped_value_and_the_value_itself_are_told_apart_in_bodies(rng):
    """Both have the same memory; only one is a constant."""
    x = np.float64(1.5)

    def loss(x):
        stopped = stop_gradient(x)
        return cond(True, lambda: x * stopped, lambda: x)

    check_equal(grad(loss)(x), x)


# pure_callback


def test_callback_gets_and_returns_numpy_arrays(rng):
    seen = []

    def f(x, scale):
        seen.append((type(x), x.flags.writeable))
        return {"y": np.sin(x["x"]) if isinstance(x, dict) else np.sin(x) * scale}

    x = rng.normal(size=3)
    found = pure_callback(f, {"y": np.zeros(3)}, x, scale=2.0)

    check_equal(found, {"y": np.sin(x) * 2.0})
    assert seen == [(np.ndarray, False)]


def test_callback_in_a_traced_program_runs_each_time(rng):
    calls = []

    def f(x):
        calls.append(1)
        return np.cumsum(x)

    program = staged(lambda x: pure_callback(f, x, x * 2.0), np.zeros(3))
    assert calls == []

    check_equal(program(np.ones(3)), np.array([2.0, 4.0, 6.0]))
    check_equal(program(np.zeros(3)), np.zeros(3))
    assert len(calls) == 2


def test_callback_with_a_rule_of_its_own(rng):
    @custom_vjp
    def f(x):
        return pure_callback(np.sin, x, x)

    f.defvjp(
        lambda x: (f(x), x),
        lambda x, ct: (ct * pure_callback(np.cos, x, x),),
    )
    x = rng.normal(size=2)

    check_equal(grad(lambda x: total(f(x)))(x), 0.5 * np.cos(x))


def test_callback_has_no_derivative(rng):
    x = rng.normal(size=2)

    with pytest.raises(DifferentiationError, match="callback 'sin' is not defined: wrap"):
        grad(lambda x: total(pure_callback(np.sin, x, x)))(x)
    with pytest.raises(DifferentiationError, match="callback 'sin' is not defined: wrap"):
        jvp(lambda x: pure_callback(np.sin, x, x), (x,), (x,))
    check_equal(
        grad(lambda x: total(x * pure_callback(np.sin, x, stop_gradient(x))))(x), 0.5 * np.sin(x)
    )


def test_callback_on_data_inside_a_differentiated_scan(rng):
    """Only what the derivative passes through must be differentiable."""
    c, xs = np.float64(0.5), rng.normal(size=3)

    def f(c, xs):
        return scan(lambda c, x: (c * pure_callback(np.sin, x, x), None), c, xs)[0]

    check_equal(grad(f)(c, xs), np.prod(np.sin(xs)))
    with pytest.raises(DifferentiationError, match="callback 'sin'"):
        grad(f, 1)(c, xs)


def test_callback_results_are_checked():
    x = np.zeros(2)

    with pytest.raises(ShapeError, match=r"'f' returned f64\[3\], declared is f64\[2\]"):
        pure_callback(named(lambda x: np.zeros(3)), x, x)
    with pytest.raises(DTypeError, match=r"'f' returned dtype float32, declared is f64\[2\]"):
        pure_callback(named(lambda x: x.astype(np.float32)), x, x)
    with pytest.raises(TreeError, match="expected a tuple of 2"):
        pure_callback(named(lambda x: x), (x, x), x)


def named(f):
    f.__name__ = "f"
    return f
