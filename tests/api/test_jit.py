"""jit: what is traced when, static and donated arguments, variables, methods, tapes, threads."""

from __future__ import annotations

import dataclasses
import functools
import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback import tree
from pullback.errors import (
    ConfigurationError,
    DTypeError,
    PullbackError,
    StaticArgumentError,
    TracerBoolError,
    TracerIntegerError,
    TreeError,
)
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.transcendental import Sin, Tanh
from pullback.program.interpret import interpret
from pullback.program.value import Array, as_value
from pullback.types import ArrayType, float32


def total(x):
    return ReduceSum(tuple(range(x.ndim)))(x)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def counted(f: Callable[..., Any]) -> tuple[Callable[..., Any], list[int]]:
    """``f``, and the list of its calls."""
    calls: list[int] = []

    @functools.wraps(f)
    def counting(*args, **kwargs):
        calls.append(1)
        return f(*args, **kwargs)

    return counting, calls


# Results


def test_jit_computes_what_the_function_does(rng):
    x, y = rng.normal(size=(2, 3, 4)).astype(np.float32)
    f = lambda x, y: Tanh()(x) * y + x * 2.0  # noqa: E731

    np.testing.assert_allclose(pb.jit(f)(x, y), f(as_value(x), y), rtol=1e-6)


def test_results_keep_their_tree():
    f = pb.jit(lambda p: {"a": (p["x"], None), "b": [p["y"] * 2.0]})

    found = f({"x": f32(1), "y": f32(2)})

    assert tree.structure(found) == tree.structure({"a": (0, None), "b": [0]})
    assert found["b"][0].tolist() == [4.0]


def test_results_that_are_no_arrays_are_refused():
    with pytest.raises(TreeError, match=r"result\['a'\] is of type str"):
        pb.jit(lambda x: {"a": "text"})(1.0)


def test_results_do_not_share_the_memory_of_numpy_arguments():
    x = f32(1, 2)
    y = pb.jit(lambda x: x)(x)

    x[:] = 9

    assert y.tolist() == [1.0, 2.0]


def test_constants_and_captured_arrays():
    w = as_value(f32(1, 2))
    f = pb.jit(lambda x: (x * w, w, 3))

    a, b, c = f(f32(10, 10))

    assert (a.tolist(), b.tolist(), int(c)) == ([10.0, 20.0], [1.0, 2.0], 3)


def test_weak_arguments_stay_weak():
    f = pb.jit(lambda s, x: (s * x, s))

    product, scalar = f(2.0, np.array([3.0], np.float64))

    assert product.dtype == np.float64
    assert scalar.weak
    assert f(np.float32(2), np.array([3], np.float64))[1].weak is False


def test_empty_and_rank_0_arrays():
    f = pb.jit(lambda x, y: (x + 1, y * 2))

    a, b = f(np.zeros((0, 3), np.float32), np.float32(4))

    assert (a.shape, float(b)) == ((0, 3), 8.0)


def test_arrays_made_of_numpy_scalars() -> None:
    f = pb.jit(lambda x: x + 1)

    x = Array(np.float32(2))  # type: ignore[arg-type]

    assert float(f(x)) == 3.0
    assert isinstance(x.data, np.ndarray)


def test_non_contiguous_and_read_only_arguments():
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    locked = x.copy()
    locked.flags.writeable = False
    f = pb.jit(lambda x: x + 1)

    np.testing.assert_array_equal(f(x.T), x.T + 1)
    np.testing.assert_array_equal(f(x[:, ::2]), x[:, ::2] + 1)
    np.testing.assert_array_equal(f(x[::-1]), x[::-1] + 1)
    np.testing.assert_array_equal(f(locked), x + 1)


def test_byte_swapped_arguments_are_converted():
    f = pb.jit(lambda x: x + 1)

    assert f(np.array([1.0, 2.0], ">f4")).tolist() == [2.0, 3.0]
    assert f(np.array([1.0, 2.0], ">f4")).dtype == np.float32


def test_unsupported_dtypes_name_the_argument():
    f = pb.jit(lambda p, q=None: p)

    with pytest.raises(DTypeError, match="complex128") as caught:
        f({"z": np.ones(2, complex)})
    assert "in argument 0['z']" in caught.value.__notes__
    with pytest.raises(TreeError, match="argument 'q' is of type str"):
        f(1.0, q="text")


# Caching


def test_a_signature_is_traced_once():
    f, calls = counted(lambda x, y: x + y)
    g = pb.jit(f)

    for _ in range(3):
        g(f32(1), f32(2))
    assert len(calls) == 1
    g(as_value(f32(1)), f32(2))  # an Array of the same type
    assert len(calls) == 1
    g(f32(1, 2), f32(2, 3))
    g(np.array([1], np.float64), f32(2))
    assert len(calls) == 3
    g(f32(1), f32(2))
    assert len(calls) == 3


def test_trees_of_one_structure_are_traced_once():
    f, calls = counted(lambda p: tree.leaves(p)[0] * 1.0)
    g = pb.jit(f)

    g({"a": f32(1), "b": [f32(2)]})
    g({"b": [f32(2)], "a": f32(1)})
    assert len(calls) == 1
    g({"a": f32(1), "b": (f32(2),)})
    g({"a": f32(1), "c": [f32(2)]})
    g([f32(1), f32(2)])
    assert len(calls) == 4


def test_python_scalars_of_one_kind_are_one_signature():
    f, calls = counted(lambda x: x * 2)
    g = pb.jit(f)

    assert [int(g(i)) for i in range(3)] == [0, 2, 4]
    assert float(g(1.5)) == 3.0
    assert len(calls) == 2


def test_keyword_arguments_are_inputs():
    f, calls = counted(lambda x, *, y: x - y)
    g = pb.jit(f)

    assert [float(g(5.0, y=y)) for y in (1.0, 2.0)] == [4.0, 3.0]
    assert len(calls) == 1


def test_clear_cache_traces_anew():
    f, calls = counted(lambda x: x)
    g = pb.jit(f)
    g(f32(1))

    g.clear_cache()
    g(f32(1))

    assert len(calls) == 2


def test_a_failed_trace_leaves_nothing_behind():
    f = pb.jit(lambda x: x if x > 0 else -x)

    for _ in range(2):
        with pytest.raises(TracerBoolError, match=r"pullback\.where"):
            f(f32(1)[0])
    assert pb.jit(lambda x: x * 2.0)(3.0).tolist() == 6.0


def test_tracers_refuse_to_be_numbers():
    with pytest.raises(TracerIntegerError, match="static_argnums"):
        pb.jit(lambda n: list(range(n)))(3)


# Static arguments


def test_static_arguments_are_python_values():
    f, calls = counted(lambda x, n: x * sum(range(n)))
    g = pb.jit(f, static_argnums=1)

    assert [float(g(1.0, n)) for n in (3, 4, 3)] == [3.0, 6.0, 3.0]
    assert len(calls) == 2


def test_names_and_positions_of_static_arguments_are_one():
    def f(x, mode, scale=1.0):
        return x * scale if mode == "up" else x / scale

    for g in (pb.jit(f, static_argnames="mode"), pb.jit(f, static_argnums=1)):
        assert float(g(6.0, "up", 2.0)) == 12.0
        assert float(g(6.0, mode="down", scale=2.0)) == 3.0
        assert float(g(6.0, "down", scale=2.0)) == 3.0


def test_static_values_of_different_types_are_different():
    f = pb.jit(lambda x, n: x * n, static_argnums=(1,))

    assert f(np.array([1], np.int32), 2).dtype == np.int32
    assert f(np.array([1], np.int32), 2.0).dtype == np.float32
    assert f(np.array([1], np.int32), True).dtype == np.int32


def test_negative_static_positions():
    f = pb.jit(lambda x, n: x * len(n), static_argnums=-1)

    assert float(f(1.0, "abc")) == 3.0


def test_static_arguments_of_partial_functions():
    f = pb.jit(functools.partial(lambda n, x: x * len(n), "ab"))

    assert float(f(3.0)) == 6.0


def test_unhashable_static_arguments_are_refused():
    f = pb.jit(lambda x, sizes: x, static_argnames=("sizes",))

    for call in (lambda: f(1.0, [1, 2]), lambda: f(1.0, sizes=[1, 2])):
        with pytest.raises(StaticArgumentError, match=r"list is not hashable\. Pass a tuple"):
            call()


def test_options_that_name_no_argument_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="static_argnums: f has no argument 2"):
        pb.jit(_two_arguments(), static_argnums=2)
    with pytest.raises(ConfigurationError, match="static_argnames: f has no argument 'z'"):
        pb.jit(_two_arguments(), static_argnames="z")
    with pytest.raises(ConfigurationError, match="numerics is 'loose'"):
        pb.jit(lambda x: x, numerics="loose")  # type: ignore[arg-type]


def _two_arguments():
    def f(x, y):
        return x

    return f


def test_jit_with_options_is_a_decorator():
    @pb.jit(static_argnums=1)
    def f(x, n):
        """Multiply."""
        return x * n

    assert float(f(2.0, 3)) == 6.0
    assert (f.__name__, f.__doc__) == ("f", "Multiply.")
    assert repr(f) == "jit(f)"
    assert float(functools.partial(pb.jit, static_argnums=1)(f.__wrapped__)(2.0, 3)) == 6.0


def test_fast_numerics_are_as_good():
    x = f32(1, 2, 3)
    f = pb.jit(lambda x: total(Sin()(x)), numerics="fast")

    np.testing.assert_allclose(f(x), np.sin(x).sum(), rtol=1e-6)


# Donation


def test_donated_arrays_are_void_afterwards():
    x = as_value(f32(1, 2))
    f = pb.jit(lambda x, y: x + y, donate_argnums=0)

    assert f(x, f32(1, 1)).tolist() == [2.0, 3.0]
    with pytest.raises(PullbackError, match=r"array \(f32\[2\]\) was donated"):
        x + 1
    with pytest.raises(PullbackError, match="donated"):
        f(x, f32(1, 1))


def test_donated_numpy_arrays_are_copied():
    x = f32(1, 2)
    f = pb.jit(lambda x: x + 1, donate_argnums=0)

    f(x)
    f(x)

    assert x.tolist() == [1.0, 2.0]


def test_memory_that_others_see_is_not_written():
    x = as_value(f32(1, 2))
    view = np.asarray(x)
    other = Array(x.data)
    f = pb.jit(lambda x: x + 1, donate_argnums=0)

    f(x)

    assert (view.tolist(), other.tolist()) == ([1.0, 2.0], [1.0, 2.0])


def test_an_array_donated_twice_is_right():
    x = as_value(f32(1, 2))
    f = pb.jit(lambda x, y: (x + 1, y + 2), donate_argnums=(0, 1))

    assert [y.tolist() for y in f(x, x)] == [[2.0, 3.0], [3.0, 4.0]]


def test_donated_memory_is_used():
    f = pb.jit(lambda p: {"w": p["w"] + 1}, donate_argnums=0)
    params = f({"w": np.zeros(1000, np.float32)})
    memory = np.asarray(params["w"]).ctypes.data

    for _ in range(3):
        params = f(params)

    assert np.asarray(params["w"]).ctypes.data == memory
    assert params["w"].tolist() == [4.0] * 1000


def test_donated_arrays_of_any_layout():
    x = as_value(np.arange(6, dtype=np.float32).reshape(2, 3))
    transposed = Array(x.data.T)
    v = pb.Variable(x.data.T)
    f = pb.jit(lambda x: [v.assign_add(x), x + 1.0][1])
    g = pb.jit(lambda x: x + 1.0, donate_argnums=0)

    f(transposed)

    np.testing.assert_array_equal(x.data.T * 2, v)
    np.testing.assert_array_equal(x.data.T + 1, g(transposed))


def test_donation_counts_leaves():
    a, b, c = (as_value(f32(i)) for i in range(3))
    f = pb.jit(lambda p, q: (p[0] + p[1], q + 1), donate_argnums=1)

    f([a, b], c)

    assert (a.tolist(), b.tolist()) == ([0.0], [1.0])
    with pytest.raises(PullbackError, match="donated"):
        c.tolist()


# Variables


def test_variables_are_read_at_every_call():
    v = pb.Variable(f32(1))
    f, calls = counted(lambda x: x * v)
    g = pb.jit(f)

    assert g(f32(2)).tolist() == [2.0]
    v.assign(f32(5))
    assert g(f32(2)).tolist() == [10.0]
    assert len(calls) == 1


def test_variables_are_updated():
    v, count = pb.Variable(f32(1, 1)), pb.Variable(0, trainable=False)

    @pb.jit
    def step(x):
        v.assign_sub(x * 0.5)
        count.assign_add(1)
        return total(v)

    assert [float(step(f32(1, 1))) for _ in range(3)] == [1.0, 0.0, -1.0]
    assert (v.tolist(), int(count)) == ([-0.5, -0.5], 3)


def test_updates_happen_in_place_when_nobody_looks():
    v = pb.Variable(np.zeros(1000, np.float32))

    @pb.jit
    def step():
        v.assign_add(1.0)

    assert step() is None
    memory = np.asarray(v).ctypes.data
    step()
    assert np.asarray(v).ctypes.data == memory

    seen = v.value
    step()
    assert float(seen[0]) == 2.0
    assert float(v[0]) == 3.0


def test_a_returned_value_of_a_variable_is_not_overwritten():
    v = pb.Variable(np.zeros(100, np.float32))

    @pb.jit
    def step():
        old = v.value
        v.assign_add(1.0)
        return old, v.value

    for i in range(3):
        old, new = step()
        again = step()
        assert (float(old[0]), float(new[0])) == (2.0 * i, 2.0 * i + 1)
        assert float(again[0][0]) == 2.0 * i + 1


def test_swapping_variables():
    a, b = pb.Variable(f32(1)), pb.Variable(f32(2))

    @pb.jit
    def swap():
        old = a.value
        a.assign(b)
        b.assign(old)

    swap()
    assert (a.tolist(), b.tolist()) == ([2.0], [1.0])
    swap()
    assert (a.tolist(), b.tolist()) == ([1.0], [2.0])


def test_a_variable_that_is_only_assigned():
    v = pb.Variable(f32(1, 2))

    pb.jit(lambda x: [v.assign(x), None][1])(f32(3, 4))

    assert v.tolist() == [3.0, 4.0]


def test_variables_as_arguments_are_themselves():
    @pb.jit
    def add(variables, x):
        for v in variables.values():
            v.assign_add(x)
        return variables["a"] * 2.0

    a, b, c = (pb.Variable(f32(i)) for i in range(3))

    assert add({"a": a, "b": b}, f32(10)).tolist() == [20.0]
    assert add({"a": c, "b": b}, f32(10)).tolist() == [24.0]
    assert [v.tolist() for v in (a, b, c)] == [[10.0], [21.0], [12.0]]


def test_a_failing_program_gives_variables_back():
    v = pb.Variable(f32(1))

    def fail(x):
        raise ValueError("from the host")

    @pb.jit
    def step():
        v.assign(pb.pure_callback(fail, ArrayType((1,), float32), v.value))

    with pytest.raises(ValueError, match="from the host"):
        step()

    assert v.shape == (1,)
    v.assign(f32(2))
    assert v.tolist() == [2.0]


def test_variables_keep_their_own_memory():
    """Whatever else has their type, in whatever order they are read and assigned."""
    a, b, c = (pb.Variable(np.full(100, i, np.float32)) for i in range(3))
    only_assigned = pb.Variable(np.zeros(100, np.float32))

    @pb.jit
    def step(x):
        only_assigned.assign(x)
        old = b.value
        c.assign(c + a)
        b.assign(b + 1.0)
        a.assign(a * 2.0 + x)
        return old, x + 1.0

    x = np.ones(100, np.float32)
    step(x)
    before = [np.asarray(v).ctypes.data for v in (a, b, c)]
    old, following = step(x)

    assert [np.asarray(v).ctypes.data for v in (a, b, c)] == before
    assert [float(v[0]) for v in (a, b, c, only_assigned)] == [3.0, 3.0, 3.0, 1.0]
    assert (float(old[0]), float(following[0])) == (2.0, 2.0)


def test_variables_beside_donated_arguments():
    v = pb.Variable(np.ones(100, np.float32))

    @functools.partial(pb.jit, donate_argnums=0)
    def step(x):
        v.assign_add(x)
        return x * 2.0

    x = step(np.ones(100, np.float32))
    y = step(x)

    assert (float(y[0]), float(v[0])) == (4.0, 4.0)


def test_variables_through_scan_and_cond():
    v = pb.Variable(np.float32(1))

    @pb.jit
    def f(n):
        def body(c, x):
            v.assign_add(x)
            return c + v, None

        c, _ = pb.scan(body, np.float32(0), f32(1, 2, 3))
        pb.cond(n > 0, lambda: [v.assign(v * 10.0), None][1], lambda: None)
        return c

    assert float(f(1)) == 2 + 4 + 7
    assert float(v) == 70.0
    f(0)
    assert float(v) == 76.0


def test_an_interrupted_program_leaves_variables_at_one_step():
    once, twice = pb.Variable(np.zeros(100, np.int32)), pb.Variable(np.zeros(100, np.int32))
    seen = once.value  # so that the program works in a copy

    @pb.jit
    def long(x):
        def body(c, _):
            once.assign_add(1)
            twice.assign_add(2)
            return c + x, None

        return pb.scan(body, x, None, length=2_000_000_000)[0]

    def interrupt() -> None:
        while once._value is not None:  # compiling; a program that runs has taken it
            time.sleep(0.01)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        long(np.zeros(100, np.int32))

    thread.join(1)
    steps = int(once[0])
    assert steps > 0
    assert once.tolist() == [steps] * 100
    assert twice.tolist() == [2 * steps] * 100
    assert seen.tolist() == [0] * 100


# Inside other transformations


def test_jit_in_jit_is_traced_on():
    f, calls = counted(lambda x: Sin()(x))
    inner = pb.jit(f)

    program = pb.make_program(lambda x: inner(inner(x)))(f32(1))

    assert [eqn.primitive.name for eqn in program.equations] == ["sin", "sin"]
    assert {eqn.source and eqn.source.file for eqn in program.equations} == {__file__}
    assert len(calls) == 2


def test_variables_assigned_by_an_inner_function():
    v = pb.Variable(np.float32(1))
    inner = pb.jit(lambda x: [v.assign_add(x), None][1])

    @pb.jit
    def outer(x):
        inner(x)
        inner(x)
        return v * 1.0

    assert float(outer(2.0)) == 5.0
    assert float(v) == 5.0


@pytest.mark.parametrize("compiled", [True, False])
def test_grad_of_a_jitted_function(rng, compiled):
    w, x = rng.normal(size=(2, 3))
    f = pb.jit(lambda w, x: total(Tanh()(w * x)))
    g = pb.grad(f)

    found = (pb.jit(g) if compiled else g)(w, x)

    np.testing.assert_allclose(found, (1 - np.tanh(w * x) ** 2) * x, rtol=1e-12)


def test_all_orders_and_modes_of_a_jitted_function():
    f = pb.jit(lambda x: x * x * x)
    x = np.float64(2)

    assert float(pb.grad(pb.grad(f))(x)) == 12.0
    assert float(pb.grad(pb.grad(pb.grad(f)))(x)) == 6.0
    assert float(pb.jvp(f, (x,), (np.float64(1),))[1]) == 12.0
    assert float(pb.jvp(pb.grad(f), (x,), (np.float64(1),))[1]) == 12.0
    assert float(pb.hessian(f)(x)) == 12.0
    squares = pb.jacrev(pb.jit(lambda x: x * x))
    assert squares(np.array([1.0, 2.0])).tolist() == [[2, 0], [0, 4]]


def test_a_differentiated_jitted_function_is_traced_once():
    f, calls = counted(lambda x: Sin()(x) * x)
    g = pb.jit(f)

    for _ in range(3):
        pb.grad(g)(np.float64(1))

    assert len(calls) == 1


def test_a_jitted_function_with_several_results_is_differentiable():
    f = pb.jit(lambda x, n: {"a": x * n, "n": n, "b": [Sin()(x)]})

    def g(x):
        found = f(x, 3)
        return found["a"] * found["b"][0]

    x = 0.5
    expected = 3 * np.sin(x) + 3 * x * np.cos(x)
    np.testing.assert_allclose(pb.grad(g)(np.float64(x)), expected, rtol=1e-12)


def test_a_scalar_from_outside_has_a_derivative_after_the_function_was_compiled():
    """It was written into the program as a literal when no tape was listening."""
    w = as_value(np.float64(3))
    f = pb.jit(lambda x: x * w)
    assert float(f(np.float64(2))) == 6.0

    with pb.GradientTape() as tape:
        tape.watch(w)
        y = f(np.float64(2))

    assert float(tape.gradient(y, w)) == 2.0
    assert float(f(np.float64(2))) == 6.0


def test_forward_mode_through_a_loop_that_reverse_mode_refuses():
    f = pb.jit(
        lambda x: pb.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] * x), (0, 1.0))[1]
    )

    assert float(pb.jvp(f, (2.0,), (1.0,))[1]) == 12.0


# make_program and inspection


def test_make_program_is_printable_and_runs():
    w = as_value(f32(1, 2))
    program = pb.make_program(lambda x, n: {"y": x * w * n}, static_argnums=1)(f32(3, 4), 2)

    assert "mul" in str(program)
    assert len(program.inputs) == 1
    assert [y.tolist() for y in interpret(program, f32(3, 4))] == [[6.0, 16.0]]


def test_make_program_takes_types_for_arrays():
    program = pb.make_program(lambda p: p["x"] + p["y"])(
        {"x": ArrayType((1000, 1000), float32), "y": 1.0}
    )

    assert program.input_types == (ArrayType((1000, 1000), float32), ArrayType((), float32))


def test_program_shows_variables_as_inputs_and_outputs():
    v = pb.Variable(f32(1, 2))

    @pb.jit
    def step(x):
        v.assign_add(x)
        return total(v)

    program = step.program(f32(0, 0))

    assert len(program.inputs) == 2
    assert len(program.outputs) == 2
    assert v.tolist() == [1.0, 2.0]


# Methods


class Model:
    def __init__(self, scale: float) -> None:
        self.v = pb.Variable(np.float32(scale))
        self.traces = 0

    @pb.jit
    def __call__(self, x):
        self.traces += 1
        return x * self.v

    @functools.partial(pb.jit, static_argnums=2, donate_argnums=1)
    def power(self, x, n):
        return x**n * self.v


def test_methods_are_compiled_for_each_instance():
    a, b = Model(2), Model(3)

    assert [float(m(f32(5)[0])) for m in (a, b, a, b)] == [10.0, 15.0, 10.0, 15.0]
    assert (a.traces, b.traces) == (1, 1)
    assert isinstance(Model.power, type(pb.jit(lambda: None)))


def test_options_of_methods_count_self():
    x = as_value(f32(2))

    assert Model(3).power(x, 2).tolist() == [12.0]
    with pytest.raises(PullbackError, match="donated"):
        x.tolist()


def test_a_method_keeps_its_instance_and_forgets_it():
    method = Model(2).power
    assert float(method(f32(3), 1)[0]) == 6.0
    assert "mul" in str(method.program(f32(3), 1))

    instance = weakref.ref(method.__self__)
    del method
    gc.collect()

    assert instance() is None


def test_instances_that_are_trees_are_arguments() -> None:
    @tree.register_dataclass
    @dataclasses.dataclass
    class Layer:
        w: object

        @pb.jit
        def apply(self, x):
            return self.w * x

    layer = Layer(f32(2))
    assert layer.apply(f32(3)).tolist() == [6.0]
    layer.w = f32(5)
    assert layer.apply(f32(3)).tolist() == [15.0]
    assert len(layer.apply.program(f32(3)).inputs) == 2
    assert pb.grad(lambda layer: total(layer.apply(f32(3))))(layer).w.tolist() == [3.0]


# Threads


def test_threads_call_one_function() -> None:
    f = pb.jit(lambda x: Sin()(x) * 2.0)
    inputs = [np.full(100, i, np.float32) for i in range(8)]
    found: dict[int, np.ndarray] = {}

    def work(i: int) -> None:
        for _ in range(20):
            found[i] = np.asarray(f(inputs[i]))

    _run_threads(work, len(inputs))

    for i, x in enumerate(inputs):
        np.testing.assert_allclose(found[i], np.sin(x) * 2, rtol=1e-6)


def test_threads_update_one_variable():
    v = pb.Variable(np.zeros(100, np.float32))
    step = pb.jit(lambda: [v.assign_add(1.0), None][1])

    _run_threads(lambda i: [step() for _ in range(25)], 4)

    assert v.tolist() == [100.0] * 100


def _run_threads(work, count: int) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
