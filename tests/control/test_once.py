"""Differentiated control flow computes nothing twice: counts of equations after the passes."""

from __future__ import annotations

import numpy as np
import pytest
from common import check_equal, count, matvec, optimized, sin, staged, tanh, total

from pullback.api import grad, jvp, value_and_grad
from pullback.autodiff.reach import moved_by_loop, moving_in_loop
from pullback.autodiff.split import split_program
from pullback.autodiff.vjp import vjp_program
from pullback.control import cond, fori_loop, scan
from pullback.custom import custom_vjp
from pullback.jacobians import jacrev
from pullback.passes.base import PassLog
from pullback.passes.merge_scans import merge_scans
from pullback.primitives.control import Call
from pullback.primitives.derive import Extension, merge_extended, note_extension
from pullback.primitives.dot import Dot
from pullback.program.builder import Builder
from pullback.program.core import Atom
from pullback.program.interpret import interpret
from pullback.program.verify import verify
from pullback.testing import check_vjp
from pullback.types import ArrayType, float64

W, STATE, XS = np.eye(3) * 0.5, np.ones(3), np.arange(12.0).reshape(4, 3) * 0.1


def loss(w, state, xs):
    state, ys = scan(lambda c, x: ((c := tanh(matvec(w, c) + x)), c * x), state, xs)
    return total(state) + total(ys)


def nested(w, state, xs):
    def row(c, x):
        return scan(lambda d, e: (tanh(d * total(w) + e), d), c, x)

    return total(scan(row, total(state), xs))


def check_once(f, *args, scans, steps, name="tanh"):
    """Require ``scans`` scans and ``steps`` equations of a name, and the values of eager mode."""
    program = staged(f, *args)
    compiled = optimized(program)

    assert count(compiled, "scan") == scans
    assert count(compiled, name) == steps
    for x, y in zip(interpret(compiled, *args), interpret(program, *args), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("argnums", [0, 1, 2, (0, 1, 2)])
def test_gradient_of_a_scan_makes_each_step_once(argnums):
    check_once(value_and_grad(loss, argnums), W, STATE, XS, scans=2, steps=1)


def test_gradient_of_a_scan_without_the_merge_makes_it_twice():
    """The count would notice: the merge is what makes the difference."""
    program = staged(grad(loss), W, STATE, XS)

    assert count(program, "scan") == 3
    assert count(program, "tanh") == 2


def test_gradient_of_nested_scans_makes_each_step_once():
    check_once(grad(nested, 1), W, STATE, XS, scans=4, steps=1)


def test_second_order_makes_each_step_once():
    def second(w, state, xs):
        return grad(lambda w: total(grad(loss)(w, state, xs)))(w)

    check_once(second, W, STATE, XS, scans=4, steps=1)


def test_jvp_of_a_scan_makes_each_step_once():
    def pushed(w, state, xs):
        return jvp(lambda w: loss(w, state, xs), (w,), (w,))

    check_once(pushed, W, STATE, XS, scans=1, steps=1)


def test_forward_over_reverse_makes_each_step_once():
    def product(w, state, xs):
        return jvp(grad(lambda w: loss(w, state, xs)), (w,), (w,))[1]

    check_once(product, W, STATE, XS, scans=2, steps=1)


def test_static_fori_loop_makes_each_step_once():
    check_once(grad(lambda x: fori_loop(0, 5, lambda i, y: tanh(y * x), x)), 0.5, scans=2, steps=1)


def test_cond_inside_scan_makes_each_step_once():
    def f(state, xs):
        def step(c, x):
            return cond(total(x) > 0, lambda: tanh(c * x), lambda: sin(c)), None

        return total(scan(step, state, xs)[0])

    check_once(grad(f), STATE, XS, scans=2, steps=1)
    check_once(grad(f), STATE, XS, scans=2, steps=1, name="sin")


def test_gradient_of_a_call_computes_it_once():
    with Builder() as b:
        x = b.input(ArrayType((3,), float64))
        program = b.finish([tanh(sin(x))], "f")
    check_once(grad(lambda x: total(Call(program, "f")(x))), STATE, scans=0, steps=1)


def shapes_of_backward_scan(f, *args):
    scans = [e for e in optimized(staged(f, *args)).equations if e.primitive.name == "scan"]
    return [v.type.shape for v in scans[-1].outputs]


def test_unused_gradients_are_not_computed():
    """Without the inputs' cotangents only the carry's goes back."""
    assert shapes_of_backward_scan(grad(loss, 1), W, STATE, XS) == [(3,)]


def layer(batch):
    """A recurrent layer with weights used twice and a bias, on ``batch`` rows."""

    def f(w, bias, state, xs):
        def step(c, x):
            c = tanh(rows_times(c, w) + rows_times(x, w) + bias)
            return c, None

        return total(scan(step, state, xs)[0])

    rng = np.random.default_rng(3)
    return f, (
        rng.normal(size=(4, 4)),
        rng.normal(size=4),
        rng.normal(size=(batch, 4)),
        rng.normal(size=(5, batch, 4)),
    )


def rows_times(x, w):
    return Dot(((1,), (0,)), ((), ()))(x, w)


def test_weights_are_summed_by_one_product_over_all_steps():
    """The loop stacks the cotangents of the rows, and sums up neither weights nor bias."""
    f, args = layer(batch=2)

    assert shapes_of_backward_scan(grad(f, (0, 1)), *args) == [(2, 4), (5, 2, 4)]
    check_vjp(f, *args)


def test_weights_are_summed_in_the_loop_where_that_moves_less():
    f, args = layer(batch=9)

    assert shapes_of_backward_scan(grad(f, (0, 1)), *args) == [(4, 4), (4,), (9, 4)]
    check_vjp(f, *args, order=1)


def test_sums_over_no_steps():
    f, (w, bias, state, xs) = layer(batch=2)

    found = grad(f, (0, 1))(w, bias, state, xs[:0])

    check_equal(found, (np.zeros((4, 4)), np.zeros(4)))


def test_merge_is_logged_and_keeps_the_forward_equations_name():
    program = staged(grad(loss), W, STATE, XS)
    log = PassLog()
    merged = merge_scans(program, log)
    verify(merged)

    first, second, _ = (e for e in program.equations if e.primitive.name == "scan")
    kept = merged.equations[0]
    assert (kept.key, kept.origin, kept.source) == (first.key, first.origin, first.source)
    assert kept.primitive == second.primitive
    keys = {e.key for e in merged.equations}
    assert all(e.origin is None or e.origin.key in keys for e in merged.equations)
    assert [(c.rule, c.key, c.by) for c in log.changes] == [("merge-scans", second.key, first.key)]


def test_merge_moves_what_the_extended_equation_needs():
    """The tangent comes from an equation after the loop; both move before what reads the loop."""
    small_type = ArrayType((), float64)
    with Builder() as b:
        x = b.input(small_type)
        small = Call(b.finish([sin(x)]), "small")
    with Builder() as b:
        x, dx = b.input(small_type), b.input(small_type)
        large = Call(b.finish([dx * 2.0, sin(x)]), "large")
    note_extension(large, Extension(small, operands=(0,), outputs=(1,)))
    with Builder() as b:
        x = b.input(small_type)
        (y,) = small(x)
        z = tanh(y)
        doubled, _ = large(x, sin(x))
        program = b.finish([z, doubled])

    merged = merge_extended(program)

    verify(merged)
    assert [e.primitive.name for e in merged.equations] == ["sin", "call", "tanh"]
    check_equal(list(merged(np.float64(0.5))), list(program(np.float64(0.5))))


def test_merge_refuses_a_circle():
    """What the extended equation needs depends on the original: they stay apart."""
    scalar = ArrayType((), float64)
    with Builder() as b:
        x = b.input(scalar)
        small = Call(b.finish([sin(x)]), "small")
    with Builder() as b:
        x, dx = b.input(scalar), b.input(scalar)
        large = Call(b.finish([dx * 2.0, sin(x)]), "large")
    note_extension(large, Extension(small, operands=(0,), outputs=(1,)))
    with Builder() as b:
        x = b.input(scalar)
        (y,) = small(x)
        program = b.finish(large(x, tanh(y)))

    assert merge_extended(program) is program


def test_split_prefers_what_is_at_hand() -> None:
    """Free inputs are read, cheap values computed again, invariant ones computed once outside."""
    vector = ArrayType((4,), float64)
    with Builder() as b:
        constant, carry, x = (b.input(vector) for _ in range(3))
        y = tanh(carry * sin(constant)) * (x + 1.0)
        body = b.finish([y], "body")
    joint = vjp_program(body, [0, 1, 2])

    split = split_program(joint, 3, 1, free=[0, 2], invariant=[0], reusable=[0])

    for program in (split.forward, split.backward, split.invariant):
        verify(program)
    kept = split.forward.outputs[1:]
    made: dict[Atom, str] = {
        v: e.primitive.name for e in split.forward.equations for v in e.outputs
    }
    assert [made.get(v, "carry") for v in kept] == ["carry", "tanh"]
    assert split.reads == (2,)
    names = {e.primitive.name for e in split.invariant.equations}
    assert names == {"sin", "cos"}
    assert "add" in {e.primitive.name for e in split.backward.equations}


def test_reach_follows_the_carry_to_a_fixed_point():
    scalar = ArrayType((), float64)
    with Builder() as b:
        constant, first, second, third = (b.input(scalar) for _ in range(4))
        body = b.finish([constant * 2.0, constant + first, third * second])

    assert moved_by_loop(body, {0}, 1, 3) == {0, 1, 2, 3}
    assert moved_by_loop(body, {1}, 1, 3) == {1, 2, 3}
    assert moved_by_loop(body, {3}, 1, 3) == {3}
    assert moving_in_loop(body, {2}, 1, 3) == {0, 1, 2}
    assert moving_in_loop(body, {0}, 1, 3) == {0}


def test_jacobian_of_a_scan_keeps_the_forward_part_out_of_the_loop_over_rows():
    """The rows share one forward scan: what the pullback needs is computed where that was."""

    def outputs(w, state, xs):
        return scan(lambda c, x: (tanh(matvec(w, c) + x), None), state, xs)[0]

    check_once(jacrev(outputs), W, STATE, XS, scans=3, steps=1)
    check_vjp(jacrev(outputs), W, STATE, XS, order=1)


def test_jacobian_of_a_custom_rule_runs_forward_once():
    @custom_vjp
    def f(x):
        return sin(x)

    f.defvjp(lambda x: (sin(x), tanh(x)), lambda kept, ct: (ct * kept,))
    program = optimized(staged(jacrev(f), STATE))

    assert [e.primitive.name for e in program.equations].count("tanh") == 1  # not in the loop
    check_once(jacrev(f), STATE, scans=1, steps=1)
