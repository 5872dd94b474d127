"""Calls of compiled functions on a tape: residuals are kept, and rules agree with inlining."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.calls import JitCall, recorded_call
from pullback.errors import DifferentiationError
from pullback.program.interpret import interpret
from pullback.program.value import as_value
from pullback.types import ArrayType, float64


def program_of(f, *shapes: tuple[int, ...]):
    return pb.make_program(f)(*(ArrayType(shape, float64) for shape in shapes))


def names(program):
    return [eqn.primitive.name for eqn in program.equations]


def two_results(x, y):
    return pb.exp(x) * y, x + 1.0


def test_the_forward_part_is_not_computed_again():
    call = recorded_call(program_of(two_results, (3,), (3,)), "strict", (True, True))

    assert call.residual is not None
    backward = call.residual.split.backward
    assert "exp" in names(call.program)
    assert "exp" not in names(backward)
    assert call.residual.gradients == (0, 1)


def test_only_wanted_cotangents_are_computed():
    def product(x, w):
        return pb.sum(x @ w)

    program = program_of(product, (2, 3), (3, 4))

    residual = recorded_call(program, "strict", (False, True)).residual

    assert residual is not None
    assert names(residual.split.backward).count("dot") == 1
    assert residual.gradients == (1,)


def test_calls_are_made_once():
    program = program_of(two_results, (3,), (3,))

    first = recorded_call(program, "strict", (True, False))

    assert first is recorded_call(program, "strict", (True, False))
    assert first is not recorded_call(program, "strict", (True, True))


def test_what_cannot_be_differentiated_is_recorded_all_the_same():
    def loop(x):
        return pb.while_loop(lambda s: s < 10.0, lambda s: s * 2.0, x)

    call = recorded_call(program_of(loop, ()), "strict", (True,))

    assert call.residual is None
    (out,) = call.evaluate(np.asarray(3.0))
    assert float(out) == 12.0
    x = as_value(np.float64(3))
    with pytest.raises(DifferentiationError, match="scan"):
        call.partial_vjp([x], [as_value(out)], [x], [True])


def test_a_call_without_gradient_is_recorded_plainly():
    program = program_of(two_results, (3,), (3,))

    assert recorded_call(program, "strict", (False, False)).residual is None


@pytest.mark.parametrize("given", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("with_residuals", [True, False])
def test_cotangents_equal_those_of_the_inlined_function(rng, given, with_residuals):
    x, y, *cts = rng.normal(size=(4, 3))
    program = program_of(two_results, (3,), (3,))
    call = JitCall(program, "strict")
    if with_residuals:
        call = recorded_call(program, "strict", (True, True))
    outs = interpret(call.program, x, y)

    found = call.partial_vjp(
        [as_value(ct) if has else None for ct, has in zip(cts, given, strict=True)]
        + [None] * (len(outs) - 2),
        [as_value(out) for out in outs],
        [as_value(x), as_value(y)],
        [True, True],
    )

    first, second = (ct if has else np.zeros(3) for ct, has in zip(cts, given, strict=True))
    assert found[0] is not None
    np.testing.assert_allclose(found[0], first * np.exp(x) * y + second, rtol=1e-12)
    expected = first * np.exp(x)
    np.testing.assert_allclose(0.0 if found[1] is None else found[1], expected, atol=1e-12)


def test_tangents_equal_those_of_the_inlined_function(rng):
    x, y, t = rng.normal(size=(3, 3))
    call = JitCall(program_of(two_results, (3,), (3,)), "strict")

    outs, tangents = call.jvp([as_value(x), as_value(y)], [None, as_value(t)])

    np.testing.assert_allclose(outs[0], np.exp(x) * y, rtol=1e-12)
    assert tangents[0] is not None
    np.testing.assert_allclose(tangents[0], np.exp(x) * t, rtol=1e-12)
    np.testing.assert_array_equal(tangents[1], np.zeros(3))


def test_second_derivatives_reach_the_residuals(rng):
    """The backward part reads residuals; their own derivative leads back to the operands."""
    x = rng.normal(size=3)
    f = pb.jit(lambda x: pb.sum(pb.exp(x) * pb.sin(x)))

    with pb.GradientTape() as outer:
        a = as_value(x)
        outer.watch(a)
        with pb.GradientTape() as inner:
            inner.watch(a)
            y = f(a)
        first = inner.gradient(y, a)
    second = outer.gradient(first, a)

    np.testing.assert_allclose(first, np.exp(x) * (np.sin(x) + np.cos(x)), rtol=1e-12)
    np.testing.assert_allclose(second, 2 * np.exp(x) * np.cos(x), rtol=1e-12)


def test_a_pullback_made_eagerly_can_be_used_inside_a_trace(rng):
    x = rng.normal(size=3)
    f = pb.jit(lambda x: pb.exp(x) * 2.0)
    _, pullback = pb.vjp(f, x)

    program = pb.make_program(lambda ct: pullback(ct)[0])(np.ones(3))

    assert not any(isinstance(eqn.primitive, JitCall) for eqn in program.equations)
    np.testing.assert_allclose(program(np.ones(3)), 2 * np.exp(x), rtol=1e-12)
