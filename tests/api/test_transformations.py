"""grad, value_and_grad, vjp, jvp, linearize: conventions, trees, higher orders, errors."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import pytest

import pullback as pb
from pullback import tree
from pullback.errors import DifferentiationError, DTypeError, ShapeError, TreeError
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.transcendental import Exp, Log, Sin, Tanh
from pullback.program.value import Array, as_value
from pullback.testing import check_vjp


def total(x):
    """The sum of all elements."""
    return ReduceSum(tuple(range(x.ndim)))(x)


def close(expected, actual):
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


# grad


def test_grad_of_a_python_number():
    found = pb.grad(lambda x: x * x * x)(2.0)

    assert isinstance(found, Array)
    assert float(found) == 12.0


def test_grad_of_a_numpy_array(rng):
    x = rng.normal(size=(2, 3))

    close(np.cos(x) * x + np.sin(x), pb.grad(lambda x: total(Sin()(x) * x))(x))


def test_grad_keeps_trees(rng) -> None:
    class Pair(NamedTuple):
        w: np.ndarray
        b: np.ndarray

    layer = Pair(rng.normal(size=(2,)), np.asarray(rng.normal()))
    params = {"layers": [layer], "none": None}

    def f(params, x):
        layer = params["layers"][0]
        return total(layer.w * x) * layer.b

    found = pb.grad(f)(params, np.array([1.0, 2.0]))

    assert tree.structure(params) == tree.structure(found)
    close(np.array([1.0, 2.0]) * layer.b, found["layers"][0].w)
    close((layer.w * [1.0, 2.0]).sum(), found["layers"][0].b)


def test_argnums_choose_arguments():
    def f(x, y, n):
        return x * x * y * n

    assert float(pb.grad(f, argnums=1)(3.0, 2.0, 1)) == 9.0
    assert [float(d) for d in pb.grad(f, argnums=(1, 0))(3.0, 2.0, 1)] == [9.0, 12.0]
    assert [float(d) for d in pb.grad(f, argnums=(-3,))(3.0, 2.0, 1)] == [12.0]


def test_arguments_that_are_not_differentiated_pass_unchanged() -> None:
    seen: list[object] = []

    def f(x, text, flag=None):
        seen.extend((text, flag))
        return x * 2.0

    pb.grad(f)(1.0, "text", flag=[1])

    assert seen == ["text", [1]]


def test_value_and_grad_gives_both():
    value, found = pb.value_and_grad(lambda x: x * x)(3.0)

    assert (float(value), float(found)) == (9.0, 6.0)


def test_aux_is_passed_on():
    def f(x):
        return x * x, {"twice": x + x, "text": "aux"}

    (value, aux), found = pb.value_and_grad(f, has_aux=True)(3.0)
    again, other_aux = pb.grad(f, has_aux=True)(3.0)

    assert (float(value), float(aux["twice"]), aux["text"]) == (9.0, 6.0, "aux")
    assert (float(found), float(again), float(other_aux["twice"])) == (6.0, 6.0, 6.0)


def test_python_control_flow_sees_concrete_values():
    def f(x):
        return x * x if x > 0 else -x

    assert float(pb.grad(f)(3.0)) == 6.0
    assert float(pb.grad(f)(-3.0)) == -1.0


def test_a_value_used_beside_the_argument_is_constant():
    x = as_value(np.float64(3.0))

    assert float(pb.grad(lambda y: y * x)(x)) == 3.0


def test_a_result_that_does_not_depend_has_gradient_zero():
    close(np.zeros(2), pb.grad(lambda x: 1.0)(np.ones(2)))


def test_identity_has_gradient_one():
    assert float(pb.grad(lambda x: x)(5.0)) == 1.0


def test_variables_stand_as_arguments():
    v = pb.Variable(np.array([1.0, 2.0]))

    close([2.0, 4.0], pb.grad(lambda v: total(v * v))(v))


def test_a_variable_read_inside_is_constant():
    v = pb.Variable(np.float64(2.0))

    assert float(pb.grad(lambda x: v * x * x)(3.0)) == 12.0


def test_grad_is_named_like_its_function():
    def loss(x):
        """The loss."""
        return x

    assert (pb.grad(loss).__name__, pb.grad(loss).__doc__) == ("loss", "The loss.")


def test_grad_with_dataclasses() -> None:
    @tree.register_dataclass
    @dataclasses.dataclass
    class Params:
        w: object
        name: str = dataclasses.field(default="p", metadata={"static": True})

    found = pb.grad(lambda p: p.w * p.w)(Params(3.0, "q"))

    assert (float(found.w), found.name) == (6.0, "q")


# Errors


def test_grad_of_an_integer_names_the_argument():
    with pytest.raises(DifferentiationError, match=r"argument 1\['n'\]\[0\] of type i32\[2\]"):
        pb.grad(lambda x, p: x, argnums=1)(1.0, {"n": [np.ones(2, np.int32)]})


@pytest.mark.parametrize(
    ("f", "got"),
    [
        (lambda x: x, r"f64\[2\]"),
        (lambda x: (total(x), total(x)), r"\('f64\[\]', 'f64\[\]'\)"),
        (lambda x: {"a": x}, r"\{'a': 'f64\[2\]'\}"),
        (lambda x: 1, r"i32\[\]"),
        (lambda x: None, "None"),
    ],
)
def test_grad_needs_a_floating_scalar(f, got):
    with pytest.raises(DifferentiationError, match=f"floating scalar, got {got}"):
        pb.grad(f)(np.ones(2))


def test_grad_refuses_results_that_are_no_arrays():
    with pytest.raises(TreeError, match="result is of type str"):
        pb.grad(lambda x: "text")(1.0)


def test_grad_refuses_arguments_that_are_no_arrays():
    with pytest.raises(TreeError, match=r"argument 0\['a'\] is of type str"):
        pb.grad(lambda x: 1.0)({"a": "text"})


def test_argnums_outside_the_arguments_are_refused():
    with pytest.raises(DifferentiationError, match="names argument 2"):
        pb.grad(lambda x: x, argnums=2)(1.0, 2.0)


def test_aux_needs_a_pair():
    with pytest.raises(DifferentiationError, match="pair"):
        pb.grad(lambda x: x, has_aux=True)(1.0)


# vjp


def test_vjp_returns_the_result_and_the_pullback(rng):
    x, y = rng.normal(size=3), rng.normal(size=3)

    out, pullback = pb.vjp(lambda x, y: {"a": x * y, "b": [Sin()(x)]}, x, y)
    ct = {"a": np.ones(3), "b": [np.full(3, 2.0)]}
    dx, dy = pullback(ct)

    close(x * y, out["a"])
    close(y + 2 * np.cos(x), dx)
    close(x, dy)


def test_a_pullback_can_be_used_again():
    _, pullback = pb.vjp(lambda x: x * x, 3.0)

    assert [float(pullback(ct)[0]) for ct in (1.0, 2.0)] == [6.0, 12.0]


def test_vjp_of_no_arguments():
    out, pullback = pb.vjp(lambda: 2.0)

    assert (float(out), pullback(1.0)) == (2.0, ())


def test_vjp_gives_integers_zeros_of_their_type():
    out, pullback = pb.vjp(lambda x, n: (x * 2.0, n), 1.5, np.arange(3))

    dx, dn = pullback((1.0, np.zeros(3, int)))

    assert float(dx) == 2.0
    assert (dn.dtype, dn.tolist()) == (np.int64, [0, 0, 0])
    assert out[1].tolist() == [0, 1, 2]


def test_vjp_aux():
    out, pullback, aux = pb.vjp(lambda x: (x * x, "aux"), 3.0, has_aux=True)

    assert (float(out), float(pullback(1.0)[0]), aux) == (9.0, 6.0, "aux")


@pytest.mark.parametrize(
    ("ct", "error", "message"),
    [
        ((1.0,), TreeError, "cotangent: trees differ"),
        ({"a": np.ones(2)}, ShapeError, r"cotangent\['a'\] is f64\[2\], expected f64\[3\]"),
        ({"a": np.ones(3, np.float32)}, DTypeError, r"is f32\[3\], expected f64\[3\]"),
    ],
)
def test_vjp_checks_cotangents(ct, error, message):
    _, pullback = pb.vjp(lambda x: {"a": x}, np.ones(3))

    with pytest.raises(error, match=message):
        pullback(ct)


# jvp and linearize


def test_jvp_gives_the_directional_derivative(rng):
    x, y, tx, ty = rng.normal(size=(4, 3))

    out, t = pb.jvp(lambda x, y: [Sin()(x) * y, x], (x, y), (tx, ty))

    close(np.sin(x) * y, out[0])
    close(np.cos(x) * tx * y + np.sin(x) * ty, t[0])
    close(tx, t[1])


def test_jvp_gives_zeros_where_nothing_moves():
    _, t = pb.jvp(lambda x: [x * 0.0 + 1.0, as_value(np.ones(2))], (2.0,), (1.0,))

    assert [float(t[0]), t[1].tolist()] == [0.0, [0.0, 0.0]]


def test_jvp_ignores_tangents_of_integers():
    _, t = pb.jvp(lambda x, n: x * x, (3.0, 2), (1.0, 0))

    assert float(t) == 6.0


def test_jvp_aux():
    out, t, aux = pb.jvp(lambda x: (x * x, "aux"), (3.0,), (1.0,), has_aux=True)

    assert (float(out), float(t), aux) == (9.0, 6.0, "aux")


def test_jvp_checks_tangents():
    with pytest.raises(ShapeError, match=r"tangent 0 is f64\[2\], expected f64\[3\]"):
        pb.jvp(lambda x: x, (np.ones(3),), (np.ones(2),))
    with pytest.raises(DifferentiationError, match="1 primals but 2 tangents"):
        pb.jvp(lambda x: x, (1.0,), (1.0, 2.0))


def test_linearize_runs_the_function_once():
    calls = []

    def f(x):
        calls.append(1)
        return x * x

    out, f_jvp = pb.linearize(f, 3.0)

    assert float(out) == 9.0
    assert [float(f_jvp(t)) for t in (1.0, 10.0)] == [6.0, 60.0]
    assert len(calls) == 1


def test_linearize_with_aux():
    out, f_jvp, aux = pb.linearize(lambda x: (x * x, "aux"), 3.0, has_aux=True)

    assert (float(out), float(f_jvp(1.0)), aux) == (9.0, 6.0, "aux")


# Higher orders


def test_every_derivative_of_a_monomial():
    f = lambda x: x * x * x * x  # noqa: E731
    found = []
    for _ in range(5):
        found.append(float(f(as_value(np.float64(2.0)))))
        f = pb.grad(f)

    assert found == [16.0, 32.0, 48.0, 48.0, 24.0]


def test_modes_can_be_mixed():
    f = lambda x: Sin()(x) * Exp()(x)  # noqa: E731
    x = 0.7
    expected = 2 * math.cos(x) * math.exp(x)

    def forward(f):
        return lambda x: pb.jvp(f, (x,), (as_value(np.float64(1.0)),))[1]

    at = as_value(np.float64(x))
    for outer in (pb.grad, forward):
        for inner in (pb.grad, forward):
            close(expected, outer(inner(f))(at))


def test_perturbations_are_not_confused():
    """d/dx (x * d/dy (x + y)) is 1, not 2."""
    found = pb.grad(lambda x: x * pb.grad(lambda y: x + y)(1.0))(1.0)
    forward = pb.jvp(lambda x: x * pb.jvp(lambda y: x + y, (1.0,), (1.0,))[1], (1.0,), (1.0,))[1]

    assert (float(found), float(forward)) == (1.0, 1.0)


def test_a_pullback_can_be_differentiated():
    def f(x):
        _, pullback = pb.vjp(lambda y: Sin()(y) * x, x)
        return pullback(2.0)[0]

    # 2 x cos x
    close(2 * math.cos(0.5) - 2 * 0.5 * math.sin(0.5), pb.grad(f)(np.float64(0.5)))


def test_derivatives_equal_central_differences(rng):
    def f(x, y):
        return total(Tanh()(x * y) + Log()(x) * Sin()(y))

    check_vjp(f, rng.uniform(0.5, 2, size=(2, 3)), rng.normal(size=(2, 3)))


# With control flow


def test_grad_through_scan_with_a_closed_over_value():
    def f(w):
        carry, _ = pb.scan(lambda c, x: (c * w + x, c), 1.0, np.array([1.0, 2.0], np.float32))
        return carry

    # ((1 w + 1) w + 2)' = 2 w + 1
    assert float(pb.grad(f)(3.0)) == 7.0


def test_grad_through_cond_and_while_loop_in_both_modes():
    def f(x):
        return pb.cond(x > 0, lambda x: x * x, lambda x: -x, x)

    assert float(pb.grad(f)(3.0)) == 6.0
    assert float(pb.grad(f)(-3.0)) == -1.0

    def power(x):
        return pb.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, 1.0))[1]

    assert float(pb.jvp(power, (2.0,), (1.0,))[1]) == 12.0
    with pytest.raises(DifferentiationError, match="scan") as caught:
        pb.grad(power)(2.0)
    assert any("test_transformations.py" in note for note in caught.value.__notes__)


def test_grad_inside_a_scan_body():
    """The derivative of a body with respect to its own slice."""
    _, found = pb.scan(
        lambda c, x: (c, pb.grad(lambda y: y * y * x)(x)), 0.0, np.array([1, 2], np.float64)
    )

    assert found.tolist() == [2.0, 8.0]


def test_grad_under_a_tape_of_the_same_argument_inside_a_body():
    """Captures of a body are told apart by object, not by memory."""

    def f(x):
        inner = pb.grad(lambda y: pb.scan(lambda c, _: (c * y * x, None), x, None, length=2)[0])
        return inner(x)

    # inner: d/dy x (y x)^2 = 2 x^3 y at y = x: 2 x^4; its derivative is 8 x^3.
    assert float(f(as_value(np.float64(2.0)))) == 32.0
    assert float(pb.grad(f)(np.float64(2.0))) == 64.0


def test_grad_with_respect_to_a_scalar_used_by_a_body_inside_jit():
    f = pb.make_program(
        lambda x: pb.grad(lambda w: pb.scan(lambda c, _: (c * w, None), x, None, length=3)[0])(2.0)
    )(np.float32(1.0))

    assert float(f(np.float32(5.0))) == 60.0


def test_stop_gradient_cuts():
    assert float(pb.grad(lambda x: x * pb.stop_gradient(x))(3.0)) == 3.0
