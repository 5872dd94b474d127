"""``while_loop``, ``fori_loop`` with traced bounds, and ``associative_scan``."""

from __future__ import annotations

import numpy as np
import pytest
from common import check_equal, count, matvec, optimized, sin, staged, tanh, total

from pullback.api import grad, jvp
from pullback.control import associative_scan, fori_loop, scan, while_loop
from pullback.errors import DifferentiationError, DTypeError, PullbackError, ShapeError, TreeError
from pullback.primitives.dot import Dot
from pullback.program.value import as_value
from pullback.testing import check_vjp
from pullback.trace.variable import Variable


def newton(x):
    """The square root of ``x``, by Newton's iteration."""

    def step(state):
        guess, _, n = state
        return (guess + x / guess) * 0.5, guess, n + 1

    def moves(state):
        guess, before, _ = state
        return (guess - before) * (guess - before) > 1e-20

    return while_loop(moves, step, (x, x * 0.0, 0))


def test_while_loop_equals_python_loop():
    root, before, n = newton(np.float64(7.0))

    check_equal(root, np.sqrt(7.0))
    check_equal(before, np.sqrt(7.0), 1e-9)
    assert 3 < int(n) < 10


def test_while_loop_that_never_runs():
    check_equal(while_loop(lambda x: x > 1e9, lambda x: x * 2.0, np.float64(3.0)), np.float64(3.0))


def test_jvp_through_while_loop_equals_differences():
    x, dx = np.float64(7.0), np.float64(0.3)

    out, pushed = jvp(lambda x: newton(x)[0], (x,), (dx,))

    check_equal(out, np.sqrt(7.0))
    check_equal(pushed, dx * 0.5 / np.sqrt(7.0), 1e-8)


def test_jvp_begins_to_move_what_later_steps_move(rng):
    """The tangent of the second element of the carry begins as zero."""
    a, da = rng.normal(size=2), rng.normal(size=2)

    def f(a):
        def step(state):
            n, x, y = state
            return n + 1, x * a, y + sin(x)

        return while_loop(lambda s: s[0] < 3, step, (0, np.ones(2), np.zeros(2)))[2]

    _, pushed = jvp(f, (a,), (da,))

    check_equal(pushed, da * (np.cos(a) + np.cos(a * a) * 2 * a), 1e-10)


def test_jvp_of_jvp_through_while_loop():
    def f(x):
        return while_loop(lambda s: s[0] < 4, lambda s: (s[0] + 1, s[1] * x), (0, x))[1]

    x, one = np.float64(1.3), np.float64(1.0)
    _, second = jvp(lambda x: jvp(f, (x,), (one,))[1], (x,), (one,))

    check_equal(second, 20 * x**3)


def test_jvp_runs_the_loop_once():
    """The loop with tangents takes the place of the one without."""
    program = optimized(staged(lambda x, dx: jvp(lambda x: newton(x)[0], (x,), (dx,)), 2.0, 1.0))

    assert count(program, "while_loop") == 1


def test_reverse_mode_names_the_remedy():
    with pytest.raises(DifferentiationError, match="Use `scan`, or `fori_loop`"):
        grad(lambda x: newton(x)[0])(np.float64(7.0))


def test_reverse_mode_around_a_loop_over_constants_is_no_error(rng):
    """A while loop that the differentiated values do not enter, inside a scan's body."""

    def f(x, limit):
        def step(c, _):
            n = while_loop(lambda n: n < limit, lambda n: n * 2.0, limit * 0.1)
            return c * n, None

        return scan(step, x, None, length=2)[0]

    check_equal(grad(f)(np.float64(3.0), np.float64(1.0)), np.float64(1.6**2))


def test_fori_loop_with_traced_bounds():
    program = staged(lambda n, x: fori_loop(0, n, lambda i, y: y * 2.0 + i, x), np.int32(3), 1.5)

    assert count(program, "while_loop") == 1
    check_equal(program(np.int32(3), np.float64(1.5)), np.float64(16.0))


def test_fori_loop_unrolled():
    program = staged(lambda x: fori_loop(0, 3, lambda i, y: y * 2.0 + i, x, unroll=True), 1.5)

    assert count(program, "scan") == 0
    check_equal(program(np.float64(1.5)), np.float64(16.0))
    with pytest.raises(ValueError, match="bounds have values can be unrolled"):
        staged(lambda n: fori_loop(0, n, lambda i, y: y, 0, unroll=2), np.int32(3))


def test_fori_loop_bounds_of_one_dtype():
    with pytest.raises(DTypeError, match=r"bounds are i64\[\] and i32\[\]"):
        staged(lambda n: fori_loop(np.int64(0), n, lambda i, y: y, 0), np.int32(3))


def test_variables_assigned_in_the_body():
    steps, limit = Variable(np.int32(0)), Variable(np.float64(100.0))

    def body(x):
        steps.assign_add(1)
        return x * 3.0

    found = while_loop(lambda x: x < limit, body, np.float64(1.0))

    assert float(found) == 243.0
    assert int(steps.value) == 5


def test_condition_reads_a_variable_that_the_body_assigns():
    left = Variable(np.int32(4))

    def body(x):
        left.assign_sub(1)
        return x + 1

    assert int(while_loop(lambda _: left > 0, body, 10)) == 14
    assert int(left.value) == 0


def test_condition_must_not_assign():
    flag = Variable(np.int32(0), name="flag")

    def condition(x):
        flag.assign(1)
        return x < 3

    with pytest.raises(PullbackError, match="condition assigns variable 'flag'"):
        while_loop(condition, lambda x: x + 1, 0)


def test_condition_must_be_one_boolean():
    with pytest.raises(DTypeError, match=r"returns i32\[\], expected bool\[\]; compare"):
        while_loop(lambda x: x, lambda x: x, 1)
    with pytest.raises(ShapeError, match=r"returns bool\[2\], expected bool\[\]"):
        while_loop(lambda x: x > 0, lambda x: x, np.zeros(2))
    with pytest.raises(TreeError, match=r"returns \(bool\[\], bool\[\]\), expected one boolean"):
        while_loop(lambda x: (x > 0, x > 1), lambda x: x, 1)


def test_body_must_keep_the_types():
    with pytest.raises(DTypeError, match=r"val\['n'\]: i64\[\] in, f32\[\] out"):
        while_loop(lambda v: True, lambda v: {"n": 0.5}, {"n": np.int64(0)})
    with pytest.raises(TreeError, match=r"structure of val: i32\[\] in, \(i32\[\], i32\[\]\) out"):
        while_loop(lambda v: True, lambda v: (v, v), 0)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 5, 8, 11])
@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan_equals_running_products(rng, n, reverse) -> None:
    matrices = rng.normal(size=(n, 2, 2))

    product = Dot(((2,), (1,)), ((0,), (0,)))
    found = np.asarray(associative_scan(product, matrices, reverse=reverse))

    expected: list[np.ndarray] = []
    for m in matrices[:: -1 if reverse else 1]:
        expected.append(expected[-1] @ m if expected else m)
    expected = expected[::-1] if reverse else expected
    assert found.shape == (n, 2, 2)
    np.testing.assert_allclose(found, np.array(expected).reshape(n, 2, 2), rtol=1e-10)


def test_associative_scan_of_trees_along_another_axis(rng):
    x = {"a": rng.normal(size=(2, 5)), "b": rng.normal(size=(3, 5))}

    found = associative_scan(lambda x, y: {k: x[k] + y[k] for k in x}, x, axis=-1)

    check_equal(found, {k: np.cumsum(v, axis=1) for k, v in x.items()})


def test_associative_scan_derivative(rng):
    check_vjp(lambda x: associative_scan(lambda a, b: a * b, x), rng.normal(size=6), order=2)


def test_associative_scan_checks_lengths():
    with pytest.raises(ShapeError, match=r"disagree in length along axis 0: f64\[2\], f64\[3\]"):
        associative_scan(lambda x, y: x, (np.zeros(2), np.zeros(3)))
    with pytest.raises(ShapeError, match=r"f64\[\] has no axis 0"):
        associative_scan(lambda x, y: x, np.float64(0))


def test_loop_of_many_kinds_of_operands(rng):
    """Constants from outside, variables read and assigned, and several leaves at once."""
    w, scale = rng.normal(size=(2, 2)), Variable(np.float64(0.5))
    seen = Variable(np.zeros(2))

    def body(state):
        x = tanh(matvec(w, state["x"])) * scale
        seen.assign(x)
        return {"n": state["n"] + 1, "x": x}

    found = while_loop(lambda s: s["n"] < 3, body, {"n": 0, "x": as_value(np.ones(2))})

    x = np.ones(2)
    for _ in range(3):
        x = np.tanh(w @ x) * 0.5
    check_equal(found["x"], x)
    check_equal(seen.value, x)
    assert float(total(found["x"])) == pytest.approx(x.sum() * 0.5)
