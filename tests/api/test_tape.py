"""GradientTape: what it watches, orders, variables, jit, loops, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback import GradientTape, Variable
from pullback.errors import ConfigurationError, DifferentiationError, ShapeError, TreeError
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.transcendental import Sin, Tanh
from pullback.program.value import Array, as_value


def array(*values: float) -> Array:
    return Array(np.array(values, np.float64))


def scalar(x: float) -> Array:
    return Array(np.asarray(x, np.float64))


def total(x):
    return ReduceSum(tuple(range(x.ndim)))(x)


def test_gradient_of_a_watched_array():
    x = scalar(3.0)

    with GradientTape() as tape:
        tape.watch(x)
        y = x * x

    assert float(tape.gradient(y, x)) == 6.0


def test_only_watched_arrays_have_gradients():
    x, z = scalar(3.0), scalar(2.0)

    with GradientTape() as tape:
        tape.watch(x)
        y = x * z

    assert [tape.gradient(y, [x, z])[1], float(pb.grad(lambda x: x * z)(x))] == [None, 2.0]


def test_sources_and_targets_are_trees():
    x, y = array(1.0, 2.0), scalar(3.0)

    with GradientTape() as tape:
        tape.watch({"x": x, "y": [y]})
        a, b = x * y, Sin()(x)

    found = tape.gradient({"a": a, "b": b}, {"x": x, "y": (y,)})

    np.testing.assert_allclose(found["x"], 3 + np.cos([1.0, 2.0]))
    assert float(found["y"][0]) == 3.0


def test_output_gradients_weigh_the_target():
    x = array(1.0, 2.0)

    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x

    assert tape.gradient(y, x, output_gradients=np.array([1.0, 10.0])).tolist() == [2.0, 40.0]
    assert tape.gradient([y, y], x, output_gradients=[y, 1.0 * y]).tolist() == [4.0, 32.0]
    with pytest.raises(ShapeError, match=r"output_gradients is f64\[3\], expected f64\[2\]"):
        tape.gradient(y, x, output_gradients=np.ones(3))
    with pytest.raises(TreeError, match="output_gradients: trees differ"):
        tape.gradient([y, y], x, output_gradients=[y])


def test_unconnected_gradients():
    x, z = scalar(3.0), array(2.0, 1.0)

    with GradientTape(persistent=True) as tape:
        tape.watch([x, z])
        y = x * x

    assert tape.gradient(y, z) is None
    assert tape.gradient(y, [x, z], unconnected_gradients="zero")[1].tolist() == [0.0, 0.0]
    assert tape.gradient(scalar(1.0), x) is None
    with pytest.raises(ConfigurationError, match="unconnected_gradients is 'one'"):
        tape.gradient(y, x, unconnected_gradients="one")


def test_a_tape_gives_one_gradient_unless_persistent():
    x = scalar(3.0)
    with GradientTape() as once, GradientTape(persistent=True) as often:
        once.watch(x)
        often.watch(x)
        y = x * x

    once.gradient(y, x)
    with pytest.raises(DifferentiationError, match="persistent=True"):
        once.gradient(y, x)
    assert [float(often.gradient(y, x)) for _ in range(2)] == [6.0, 6.0]


def test_intermediate_values_are_sources():
    x = scalar(2.0)

    with GradientTape() as tape:
        tape.watch(x)
        y = x * x
        z = y * y

    assert [float(g) for g in tape.gradient(z, [y, x])] == [8.0, 32.0]


def test_watching_begins_with_watch():
    x = scalar(2.0)

    with GradientTape(persistent=True) as tape:
        before = x * x
        tape.watch(x)
        after = x * x

    assert tape.gradient(before, x) is None
    assert float(tape.gradient(after, x)) == 4.0


def test_nested_tapes_give_higher_orders():
    x = scalar(2.0)

    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            y = x * x * x
        dy = inner.gradient(y, x)

    assert (float(dy), float(outer.gradient(dy, x))) == (12.0, 12.0)


def test_a_persistent_tape_differentiates_its_own_gradient():
    x = scalar(2.0)

    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x * x
        dy = tape.gradient(y, x)

    assert float(tape.gradient(dy, x)) == 12.0


def test_tapes_and_grad_nest():
    x = scalar(2.0)

    with GradientTape() as tape:
        tape.watch(x)
        dy = pb.grad(lambda x: x * x * x)(x)

    def by_tape(x):
        with GradientTape() as inner:
            inner.watch(x)
            y = x * x * x
        return inner.gradient(y, x)

    assert float(tape.gradient(dy, x)) == 12.0
    assert float(pb.grad(by_tape)(x)) == 12.0


def test_stop_recording_and_reset():
    x = scalar(2.0)

    with GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = x * x
        with tape.stop_recording():
            hidden = x * 5.0
        z = y + hidden * x
    assert float(tape.gradient(z, x)) == 14.0

    with GradientTape() as tape:
        tape.watch(x)
        y = x * x
        tape.reset()
        tape.watch(x)
        z = y * x
    assert float(tape.gradient(z, x)) == 4.0


def test_a_tape_can_be_entered_again():
    x = scalar(2.0)
    tape = GradientTape(persistent=True)
    with tape:
        tape.watch(x)
        y = x * x
    ignored = x * x
    with tape:
        z = y * x

    assert float(tape.gradient(z, x)) == 12.0
    assert tape.gradient(ignored, x) is None


# Variables


def test_trainable_variables_are_watched_when_read():
    v, frozen = Variable(2.0), Variable(3.0, trainable=False)

    with GradientTape() as tape:
        y = v * v * frozen

    assert [x is v for x in tape.watched_variables()] == [True]
    assert [g if g is None else float(g) for g in tape.gradient(y, [v, frozen])] == [12.0, None]


def test_watching_of_variables_can_be_chosen():
    v, frozen = Variable(2.0), Variable(3.0, trainable=False)

    with GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(frozen)
        y = v * v * frozen

    assert [g if g is None else float(g) for g in tape.gradient(y, [v, frozen])] == [None, 4.0]


def test_assignment_cuts_and_later_reads_count():
    """The gradient of a variable sums over what it held; none flows through the assignment."""
    v = Variable(np.float64(2))

    with GradientTape() as tape:
        y = v * v
        v.assign(v * 3.0)
        z = y + v * 10.0

    assert float(tape.gradient(z, v)) == 14.0


def test_a_variable_assigned_from_another_is_not_it():
    a, b = Variable(np.float64(2)), Variable(np.float64(0))

    with GradientTape() as tape:
        b.assign(a.value)
        y = a * b

    assert [float(g) for g in tape.gradient(y, [a, b])] == [2.0, 2.0]


def test_integer_variables_are_not_watched():
    n, v = Variable(2), Variable(np.float64(3))

    with GradientTape() as tape:
        y = v * n

    assert [g if g is None else float(g) for g in tape.gradient(y, [n, v])] == [None, 2.0]


# Inside jit, and control flow


def test_inside_jit_with_variables():
    v = Variable(np.array([1, 2], np.float64))

    @pb.jit
    def step(x):
        with GradientTape() as tape:
            loss = total(v * v * x)
        v.assign_sub(tape.gradient(loss, v) * 0.25)
        return loss

    assert float(step(np.array([1, 1], np.float64))) == 5.0
    assert v.tolist() == [0.5, 1.0]


def test_higher_orders_inside_jit():
    @pb.jit
    def f(x):
        with GradientTape() as outer:
            outer.watch(x)
            with GradientTape() as inner:
                inner.watch(x)
                y = x * x * x
            dy = inner.gradient(y, x)
        return outer.gradient(dy, x)

    assert float(f(2.0)) == 12.0


def test_over_jit_and_loops():
    v = Variable(np.float64(2))
    f = pb.jit(lambda x: x * v)

    with GradientTape(persistent=True) as tape:
        c, _ = pb.scan(lambda c, x: (c * v + x, None), np.float64(1), np.array([1, 2], np.float64))
        d = f(c)
        e = pb.cond(d > 0, lambda: d * v, lambda: d)

    # c = v² + v + 2, d = v c, e = v² c
    assert float(tape.gradient(c, v)) == 5.0
    assert float(tape.gradient(d, v)) == 8 + 2 * 5
    assert float(tape.gradient(e, v)) == 4 * 8 + 4 * 5
    assert float(tape.gradient(e, c)) == 4.0


def test_variables_updated_by_a_compiled_function_under_a_tape():
    v = Variable(np.float64(2))
    f = pb.jit(lambda: [v.assign(v * 3.0), v * v][1])

    with GradientTape() as tape:
        y = v * 10.0 + f()
        z = y + v

    # v is read as 2 (10 v), again as 2 inside (where the assignment cuts), and as 6.
    assert (float(y), float(v)) == (56.0, 6.0)
    assert float(tape.gradient(z, v)) == 10.0 + 1.0


# Jacobians


def test_jacobian_of_trees():
    x, y, z = array(1.0, 2.0), scalar(3.0), scalar(4.0)

    with GradientTape(persistent=True) as tape:
        tape.watch([x, y, z])
        out = Sin()(x) * y

    jx, (jy, jz) = tape.jacobian(out, (x, [y, z]))

    np.testing.assert_allclose(jx, np.diag(3 * np.cos([1.0, 2.0])))
    np.testing.assert_allclose(jy, np.sin([1.0, 2.0]))
    assert jz is None
    zeros = tape.jacobian(out, z, unconnected_gradients="zero")
    assert (zeros.shape, zeros.tolist()) == ((2,), [0.0, 0.0])


def test_jacobian_of_a_gradient_is_the_hessian():
    x = array(0.5, -1.0)

    with GradientTape() as outer:
        outer.watch(x)
        with GradientTape() as inner:
            inner.watch(x)
            y = total(Tanh()(x))
        dy = inner.gradient(y, x)

    t = np.tanh([0.5, -1.0])
    np.testing.assert_allclose(outer.jacobian(dy, x), np.diag(-2 * t * (1 - t * t)))


def test_jacobian_of_a_variable():
    v = Variable(np.array([1, 2], np.float64))

    with GradientTape() as tape:
        y = v * v

    assert tape.jacobian(y, v).tolist() == [[2.0, 0.0], [0.0, 4.0]]


# Refusals


@pytest.mark.parametrize("x", [np.ones(2), 1.0, as_value(np.arange(3))])
def test_watch_refuses_what_has_no_gradient(x):
    with GradientTape() as tape, pytest.raises(DifferentiationError, match="floating arrays"):
        tape.watch(x)


def test_a_target_of_integers_is_refused():
    x = scalar(2.0)
    with GradientTape() as tape:
        tape.watch(x)
        y = x > 1.0

    with pytest.raises(DifferentiationError, match=r"the target is bool\[\]"):
        tape.gradient(y, x)


def test_sources_must_be_arrays():
    with GradientTape() as tape:
        y = Variable(2.0) * 1.0

    with pytest.raises(DifferentiationError, match="a source is of type float"):
        tape.gradient(y, 2.0)


def test_misuse_is_refused():
    tape = GradientTape()
    with pytest.raises(DifferentiationError, match="enter it"):
        tape.watch(scalar(1.0))
    with pytest.raises(DifferentiationError, match="not recording"), tape.stop_recording():
        pass
    with tape, pytest.raises(DifferentiationError, match="already"):
        tape.__enter__()


def test_an_exception_closes_the_tape():
    from pullback.program.value import STACKS
    from pullback.trace.variable import LISTENERS

    with pytest.raises(ValueError, match="no"), GradientTape():
        raise ValueError("no")

    assert STACKS.recorders == []
    assert LISTENERS.active == []


def test_errors_name_the_equation_and_the_line():
    x = scalar(2.0)

    with GradientTape() as tape:
        tape.watch(x)
        y = pb.while_loop(lambda s: s < 10.0, lambda s: s * x, x)

    with pytest.raises(DifferentiationError, match="scan") as caught:
        tape.gradient(y, x)
    assert any("while_loop (test_tape.py:" in note for note in caught.value.__notes__)
