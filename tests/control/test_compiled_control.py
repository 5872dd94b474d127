"""Compiled control flow computes what eager control flow does."""

from __future__ import annotations

import numpy as np
import pytest
from common import check_equal, matvec, sin, tanh, total

from pullback.api import grad, jvp, value_and_grad
from pullback.control import associative_scan, cond, fori_loop, map, scan, switch, while_loop
from pullback.custom import checkpoint, custom_vjp, pure_callback, stop_gradient
from pullback.jit import jit
from pullback.program.value import as_value
from pullback.trace.variable import Variable


def check_compiled(f, *args, tolerance=1e-12):
    check_equal(jit(f)(*args), f(*args), tolerance)


@pytest.fixture
def operands(rng):
    return rng.normal(size=(3, 3)) * 0.5, rng.normal(size=3), rng.normal(size=(5, 3))


def cell(w, state, xs, *, reverse=False, unroll=1):
    def step(c, x):
        c = tanh(matvec(w, c) + x)
        return c, (c * x, sin(x))

    return scan(step, state, xs, reverse=reverse, unroll=unroll)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("unroll", [1, 2, True])
def test_scan(operands, reverse, unroll):
    def f(*args):
        return cell(*args, reverse=reverse, unroll=unroll)

    check_compiled(f, *operands)
    check_compiled(value_and_grad(lambda *args: total(f(*args)), (0, 1, 2)), *operands)


def test_scan_second_order_and_forward_mode(operands):
    def hessian_product(w, state, xs):
        return jvp(grad(lambda w: total(cell(w, state, xs))), (w,), (w * 0.5,))

    def twice(w, state, xs):
        return grad(lambda w: total(grad(lambda w: total(cell(w, state, xs)))(w)))(w)

    check_compiled(hessian_product, *operands)
    check_compiled(twice, *operands)


def test_nested_scans_with_conditions(rng):
    def f(c, rows):
        def row_step(c, row):
            def step(d, x):
                d = cond(x > 0, lambda: sin(d * x), lambda: d + x)
                return d, d * x

            d, ys = scan(step, c, row, reverse=True)
            return d * 0.5, (ys, d)

        return scan(row_step, c, rows)

    args = np.float64(0.3), rng.normal(size=(3, 4))
    check_compiled(f, *args)
    check_compiled(grad(lambda *a: total(f(*a)), (0, 1)), *args)


@pytest.mark.parametrize("length", [0, 1])
def test_short_scans(operands, length):
    w, state, xs = operands

    check_compiled(cell, w, state, xs[:length])
    check_compiled(grad(lambda *a: total(cell(*a)), (0, 1, 2)), w, state, xs[:length])


def test_integer_and_boolean_carries():
    def f(xs):
        def step(carry, x):
            n, seen = carry
            return (n + 1, seen | (x > 2)), (n, seen)

        return scan(step, (0, False), xs)

    check_compiled(f, np.arange(5, dtype=np.int64))


@pytest.mark.parametrize("index", [-1, 0, 1, 2, 5])
def test_switch(rng, index):
    branches = [sin, lambda x: x * x, lambda x: tanh(x) + 1.0]
    x = rng.normal(size=4)

    check_compiled(lambda i, x: switch(i, branches, x), np.int32(index), x)
    check_compiled(
        lambda i, x: grad(lambda x: total(switch(i, branches, x)))(x), np.int32(index), x
    )


def test_while_loop_and_traced_bounds(rng):
    def newton(x):
        return while_loop(
            lambda s: total((s * s - x) * (s * s - x)) > 1e-20, lambda s: (s + x / s) * 0.5, x
        )

    x = rng.uniform(1, 9, size=4)
    check_compiled(newton, x)
    check_compiled(lambda x: jvp(newton, (x,), (x,)), x)
    check_compiled(lambda n, x: fori_loop(0, n, lambda i, y: y * x + i, x), np.int32(3), x)


def test_loops_inside_loops(rng):
    """A while loop in a scan in a conditional."""

    def f(p, x, xs):
        def step(c, x):
            n, c = while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, c))
            return c, n

        return cond(p, lambda: scan(step, x, xs), lambda: (x, np.zeros(2, np.int32)))

    for p in (True, False):
        check_compiled(f, np.bool_(p), rng.normal(size=3), rng.normal(size=(2, 3)))


def test_map_and_associative_scan(rng):
    x = rng.normal(size=(6, 2))

    check_compiled(lambda x: map(lambda row: sin(row) * total(row), x), x)
    check_compiled(lambda x: associative_scan(lambda a, b: a * b, x, reverse=True), x)


def test_checkpoint_in_scan(operands):
    def f(w, state, xs):
        @checkpoint
        def step(c, x):
            return tanh(matvec(w, sin(c)) + x), None

        return total(scan(step, state, xs)[0])

    check_compiled(grad(f, (1, 2)), *operands)
    np.testing.assert_allclose(
        np.asarray(jit(grad(f))(*operands)),
        np.asarray(grad(lambda *a: f(*a))(*operands)),
        rtol=1e-12,
    )


def test_custom_rules(rng):
    @custom_vjp
    def f(x):
        return sin(x)

    f.defvjp(lambda x: (f(x), x), lambda x, ct: (ct * x * 2.0,))
    x, xs = rng.normal(size=3), rng.normal(size=(4, 3))

    check_compiled(lambda x: f(x) + stop_gradient(x), x)
    check_compiled(grad(lambda x: total(f(x) + stop_gradient(x) * x)), x)
    check_compiled(
        grad(lambda c, xs: total(scan(lambda c, x: (f(c * x), c), c, xs)), (0, 1)), x, xs
    )


def test_callback_in_a_compiled_loop(rng):
    xs = rng.normal(size=(3, 2))

    def f(xs):
        return scan(lambda c, x: (c + pure_callback(np.cumsum, x, x), c), np.zeros(2), xs)

    check_compiled(f, xs)


def test_variables_in_a_compiled_loop():
    counter, average = Variable(np.int32(0)), Variable(np.zeros(2))

    @jit
    def f(xs):
        def step(c, x):
            counter.assign_add(1)
            average.assign(average * 0.5 + x)
            return c + total(average), None

        return scan(step, as_value(np.float64(0.0)), xs)[0]

    xs = np.arange(6.0).reshape(3, 2)
    results = [float(f(xs)) for _ in range(2)]

    held, expected = np.zeros(2), []
    for _ in range(2):
        c = 0.0
        for x in xs:
            held = held * 0.5 + x
            c = c + held.sum() * 0.5
        expected.append(c)
    assert int(counter.value) == 6
    check_equal(average.value, held)
    np.testing.assert_allclose(results, expected)


def test_weights_summed_after_the_loop(rng):
    def layer(w, bias, state, xs):
        def step(c, x):
            c = tanh(matvec(w, c) + bias + matvec(w, x))
            return c, None

        return total(scan(step, state, xs)[0])

    args = (rng.normal(size=(4, 4)), *(rng.normal(size=s) for s in (4, 4, (6, 4))))
    check_compiled(grad(layer, (0, 1, 2, 3)), *args, tolerance=1e-10)
