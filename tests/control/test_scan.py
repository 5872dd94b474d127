"""``scan``, ``map`` and static ``fori_loop``: values, derivatives, variables, errors."""

from __future__ import annotations

import numpy as np
import pytest
from common import check_equal, matvec, sin, staged, tanh, total

from pullback.api import grad, jvp, value_and_grad, vjp
from pullback.control import cond, fori_loop, map, scan
from pullback.errors import DTypeError, ShapeError, TreeError
from pullback.tape import GradientTape
from pullback.testing import check_vjp
from pullback.trace.variable import Variable


@pytest.fixture
def cell(rng):
    """Weights, first state and inputs of a small recurrent cell."""
    return rng.normal(size=(3, 3)) * 0.5, rng.normal(size=3), rng.normal(size=(5, 3))


def recurrent(w, state, xs, *, reverse=False, unroll=1):
    def step(state, x):
        state = tanh(matvec(w, state) + x)
        return state, {"state": state, "input": sin(x) * state}

    return scan(step, state, xs, reverse=reverse, unroll=unroll)


def recurrent_loop(w, state, xs, *, reverse=False):
    """The same with Python's loop, on values or NumPy arrays."""
    states, inputs = [None] * len(xs), [None] * len(xs)
    for i in range(len(xs))[:: -1 if reverse else 1]:
        state = tanh(matvec(w, state) + xs[i])
        states[i], inputs[i] = state, sin(xs[i]) * state
    return state, {"state": states, "input": inputs}


def stacked(result):
    state, ys = result
    return state, {name: np.stack([np.asarray(y) for y in column]) for name, column in ys.items()}


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_equals_python_loop(cell, reverse):
    check_equal(recurrent(*cell, reverse=reverse), stacked(recurrent_loop(*cell, reverse=reverse)))


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_gradient_equals_that_of_the_unrolled_loop(cell, reverse):
    w, state, xs = cell

    def unrolled(*args):
        w, state, *xs = args
        return weighted_like_scan(recurrent_loop(w, state, xs, reverse=reverse))

    found = grad(lambda *args: total(recurrent(*args, reverse=reverse)), (0, 1, 2))(*cell)
    of_w, of_state, *of_rows = grad(unrolled, range(7))(w, state, *xs)

    check_equal(found, (of_w, of_state, np.stack([np.asarray(r) for r in of_rows])), 1e-10)


def weighted_like_scan(result):
    """What ``total`` of the scan's result is: one weight for each stacked output."""
    state, ys = result
    sums = total(state)
    for i, name in enumerate(sorted(ys)):
        for y in ys[name]:
            sums = sums + (0.75 + 0.25 * i) * total(y) / 0.5
    return sums


@pytest.mark.parametrize("reverse", [False, True])
def test_scan_derivatives_of_first_and_second_order_equal_differences(cell, reverse):
    check_vjp(lambda *args: recurrent(*args, reverse=reverse), *cell, order=2)


def test_scan_third_order(rng):
    def cubic(x, xs):
        return scan(lambda c, x: (sin(c * x), None), x, xs)[0]

    check_vjp(cubic, rng.normal(size=()), rng.normal(size=3), order=3, tolerance=1e-5)


def test_grad_with_respect_to_a_part_leaves_the_rest_alone(cell):
    w, state, xs = cell

    for i, expected in enumerate(grad(lambda *a: total(recurrent(*a)), (0, 1, 2))(*cell)):
        found = grad(lambda *a: total(recurrent(*a)), i)(w, state, xs)
        check_equal(found, expected)


def test_scan_jvp_equals_transposed_vjp(cell, rng):
    tangents = tuple(rng.normal(size=x.shape) for x in cell)

    out, pushed = jvp(recurrent, cell, tangents)
    cts = {name: rng.normal(size=(5, 3)) for name in ("state", "input")}
    _, pullback = vjp(recurrent, *cell)
    ct_state = rng.normal(size=3)
    pulled = pullback((ct_state, cts))

    check_equal(out, recurrent(*cell))
    forward = np.sum(np.asarray(pushed[0]) * ct_state)
    forward += sum(np.sum(np.asarray(pushed[1][k]) * cts[k]) for k in cts)
    backward = sum(np.sum(np.asarray(p) * t) for p, t in zip(pulled, tangents, strict=True))
    np.testing.assert_allclose(forward, backward, rtol=1e-10)


def test_forward_over_reverse_equals_reverse_over_reverse(cell, rng):
    w, state, xs = cell
    direction = rng.normal(size=w.shape)

    def loss(w):
        return total(recurrent(w, state, xs))

    _, forward = jvp(grad(loss), (w,), (direction,))
    reverse = grad(lambda w: total(grad(loss)(w) * direction))(w)

    check_equal(forward * 0.5, reverse, 1e-9)


@pytest.mark.parametrize("unroll", [2, 3, 5, 8, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_unrolled_scan_is_the_same(cell, reverse, unroll):
    expected = recurrent(*cell, reverse=reverse)

    check_equal(recurrent(*cell, reverse=reverse, unroll=unroll), expected)
    gradient = grad(lambda *a: total(recurrent(*a, reverse=reverse, unroll=unroll)), (0, 1, 2))
    check_equal(
        gradient(*cell), grad(lambda *a: total(recurrent(*a, reverse=reverse)), (0, 1, 2))(*cell)
    )


def test_scan_of_length_zero_returns_init_and_empty_ys(rng):
    w, state = rng.normal(size=(3, 3)), rng.normal(size=3)
    xs = np.zeros((0, 3))

    final, ys = recurrent(w, state, xs)
    found = grad(lambda *a: total(recurrent(*a)), (0, 1, 2))(w, state, xs)

    check_equal(final, state)
    assert ys["state"].shape == (0, 3)
    check_equal(found, (np.zeros((3, 3)), np.full(3, 0.5), xs))


def test_scan_without_carry_or_without_xs():
    _, doubled = scan(lambda _, x: (None, x * 2.0), None, np.arange(3.0))
    counted, _ = scan(lambda n, _: (n + 1, None), 0, None, length=4)
    nothing = scan(lambda c, _: (c, None), None, None, length=3)

    check_equal(doubled, np.array([0.0, 2.0, 4.0]))
    assert int(counted) == 4
    assert nothing == (None, None)


def test_map_stacks_results(rng):
    xs = rng.normal(size=(4, 3))

    check_equal(map(lambda x: {"s": sin(x), "n": total(x)}, xs)["s"], np.sin(xs))
    check_vjp(lambda xs: map(lambda x: sin(x) * total(x), xs), xs)


def test_integer_carry_has_no_derivative(rng):
    xs = rng.normal(size=4)

    def count_positive(x, xs):
        def step(carry, x_i):
            n, y = carry
            return (n + 1, y * x_i), n

        (n, y), order = scan(step, (0, x), xs)
        return y, (n, order)

    y, pullback, (n, order) = vjp(count_positive, np.float64(2.0), xs, has_aux=True)

    assert int(n) == 4
    assert np.asarray(order).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(float(y), 2 * np.prod(xs))
    np.testing.assert_allclose(pullback(np.float64(1.0))[0], np.prod(xs))


def test_scan_in_scan(rng):
    def outer(w, rows):
        def row_step(c, row):
            c, ys = scan(lambda d, x: (tanh(d * w + x), d * x), c, row, reverse=True)
            return c * 0.5, ys

        return scan(row_step, np.float64(0.3), rows)

    w, rows = rng.normal(size=()), rng.normal(size=(3, 2))
    check_vjp(outer, w, rows, order=2)


def test_cond_in_scan(rng):
    def f(c, xs):
        def step(c, x):
            c = cond(x > 0, lambda c: sin(c * x), lambda c: c * x, c)
            return c, cond(c > 0.1, lambda: c * 2.0, lambda: x)

        return scan(step, c, xs)

    check_vjp(f, np.float64(0.7), np.array([0.5, -0.8, 1.2, -1.5]), order=2)


def test_scan_in_cond(rng):
    def f(p, c, xs):
        return cond(
            p > 0,
            lambda: scan(lambda c, x: (sin(c * x), c), c, xs),
            lambda: (c * 2.0, xs * c),
        )

    for p in (1.0, -1.0):
        check_vjp(lambda c, xs, p=p: f(np.float64(p), c, xs), np.float64(0.7), rng.normal(size=3))


def test_loop_invariant_values_are_not_stacked(rng):
    """The sine of a constant is computed once for the backward scan, outside of it."""
    w, c, xs = rng.normal(size=3), rng.normal(size=3), rng.normal(size=(6, 3))

    def f(w, c, xs):
        return total(scan(lambda c, x: (c * sin(w) + x, None), c, xs))

    program = staged(grad(f, (0, 1)), w, c, xs)
    forward = [e for e in program.equations if e.primitive.name == "scan"][-2]
    kept = [v.type.shape for v in forward.outputs[1:]]

    assert kept == [(6, 3)]  # the carry; not sin(w), not cos(w)
    check_vjp(f, w, c, xs)


def test_weak_init_takes_the_dtype_of_the_body():
    xs = np.arange(3.0)

    final, _ = scan(lambda c, x: (c + x, None), 0.0, xs)
    counted = fori_loop(0, 3, lambda i, n: n + i, 0)
    promoted = fori_loop(0, 3, lambda i, x: x + 0.5, 0)

    assert final.dtype == np.float64
    assert counted.dtype == np.int32
    assert promoted.dtype == np.float32


def test_variables_read_and_assigned_in_the_body():
    counter = Variable(np.int32(5))
    weight = Variable(np.float64(2.0))
    trail = Variable(np.zeros(2))

    def step(c, x):
        counter.assign_add(1)
        trail.assign(trail.value * 0.5 + x)
        return c * weight, counter.value

    final, seen = scan(step, 1.0, np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))

    assert float(final) == 8.0
    assert np.asarray(seen).tolist() == [6, 7, 8]
    assert int(counter.value) == 8
    expected = (np.array([1.0, 2.0]) * 0.5 + [3.0, 4.0]) * 0.5 + [5.0, 6.0]
    check_equal(trail.value, expected)


def test_tape_differentiates_variables_read_in_the_body():
    weight = Variable(np.float64(2.0))

    with GradientTape() as tape:
        final, _ = scan(lambda c, _: (c * weight, None), np.float64(3.0), None, length=4)

    check_equal(tape.gradient(final, weight), np.float64(3 * 4 * 2.0**3))


def test_values_from_outside_are_differentiated(rng):
    def f(w, x):
        scale = sin(w)
        return scan(lambda c, _: (c * scale + w, c), x, None, length=3)

    check_vjp(f, rng.normal(size=2), rng.normal(size=2), order=2)


def test_fori_loop_with_static_bounds_is_reverse_differentiable(rng):
    def power(x):
        return fori_loop(2, 6, lambda i, y: y * x + sin(x) * i, x)

    def loop(x):
        y = x
        for i in range(2, 6):
            y = y * x + np.sin(x) * i
        return y

    x = np.float64(0.9)
    check_equal(power(x), loop(x))
    check_vjp(power, x, order=2)
    check_equal(fori_loop(5, 2, lambda i, y: y * 2.0, x), x)


def test_value_and_grad_through_scan_with_aux(cell):
    def loss(w, state, xs):
        final, ys = recurrent(w, state, xs)
        return total(final), ys["state"]

    (value, states), gradient = value_and_grad(loss, has_aux=True)(*cell)

    check_equal(value, total(recurrent_loop(*cell)[0]))
    assert states.shape == (5, 3)
    assert gradient.shape == (3, 3)


def test_carry_of_another_type_is_named_with_its_path():
    def grow(carry, x):
        return {"w": np.zeros(4, np.float32), "n": carry["n"]}, x

    with pytest.raises(ShapeError, match=r"carry\['w'\]: f32\[3\] in, f32\[4\] out"):
        scan(grow, {"w": np.zeros(3, np.float32), "n": 0}, np.zeros(2))


def test_carry_of_another_dtype_is_named_with_its_path():
    with pytest.raises(DTypeError, match=r"carry\[1\]: i32\[2\] in, f32\[2\] out.*astype\('i32'\)"):
        scan(lambda c, x: ((c[0], c[1] * 0.5), x), (0.0, np.zeros(2, np.int32)), np.zeros(2))


def test_fori_loop_error_names_the_value():
    with pytest.raises(ShapeError, match=r"fori_loop: .*val\['a'\]: f64\[2\] in, f64\[\] out"):
        fori_loop(0, 3, lambda i, v: {"a": total(v["a"])}, {"a": np.zeros(2)})


def test_carry_of_another_structure():
    with pytest.raises(TreeError, match=r"\(i32\[\], i32\[\]\) in, \[i32\[\], i32\[\]\] out"):
        scan(lambda c, x: ([*c], x), (0, 0), np.zeros(2))


def test_body_without_a_pair():
    with pytest.raises(TreeError, match=r"pair \(carry, y\), it returned f64\[2\]"):
        scan(lambda c, x: c, np.zeros(2), np.zeros(2))


def test_xs_of_different_lengths():
    with pytest.raises(ShapeError, match=r"xs\['a'\] is f64\[3,2\], xs\['b'\] is f64\[4\]"):
        scan(lambda c, x: (c, x), 0, {"a": np.zeros((3, 2)), "b": np.zeros(4)})
    with pytest.raises(ShapeError, match=r"xs is f64\[3\], with length=4"):
        scan(lambda c, x: (c, x), 0, np.zeros(3), length=4)
    with pytest.raises(ShapeError, match=r"xs\[1\] is f64\[\], which has no leading axis"):
        scan(lambda c, x: (c, x), 0, (np.zeros(3), np.float64(0)))
    with pytest.raises(ShapeError, match="`length` must be given"):
        scan(lambda c, x: (c, x), 0)
    with pytest.raises(ShapeError, match="length=-1 is negative"):
        scan(lambda c, x: (c, x), 0, length=-1)


def test_bounds_of_fori_loop_are_checked():
    with pytest.raises(DTypeError, match=r"the upper bound is f32\[\], expected an integer"):
        fori_loop(0, 2.0, lambda i, v: v, 0)
    with pytest.raises(ShapeError, match=r"the lower bound is i64\[2\], expected a scalar"):
        fori_loop(np.zeros(2, np.int64), 2, lambda i, v: v, 0)
