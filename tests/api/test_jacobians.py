"""jacfwd, jacrev, hessian, hvp: values against closed forms, trees, aux, one loop and no more."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback.errors import DifferentiationError
from pullback.primitives.dot import Dot
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.transcendental import Sin

BOTH = pytest.mark.parametrize("jacobian", [pb.jacfwd, pb.jacrev])


def total(x):
    return ReduceSum(tuple(range(x.ndim)))(x)


def close(expected, actual):
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-14)


@BOTH
def test_of_a_linear_map_is_its_matrix(rng, jacobian):
    a, x = rng.normal(size=(3, 4)), rng.normal(size=4)

    close(a, jacobian(lambda x: Dot(((1,), (0,)), ((), ()))(pb.Variable(a), x))(x))


@BOTH
def test_axes_of_the_result_come_first(rng, jacobian):
    x = rng.normal(size=(2, 3))

    found = jacobian(lambda x: ReduceSum((0,))(x * x))(x)

    expected = np.zeros((3, 2, 3))
    for j in range(3):
        expected[j, :, j] = 2 * x[:, j]
    close(expected, found)


@BOTH
def test_trees_of_trees(rng, jacobian):
    x, y = rng.normal(size=3), rng.normal(size=2)

    found = jacobian(lambda p: (Sin()(p["x"]), {"s": total(p["y"]) * p["x"]}))({"x": x, "y": y})

    close(np.diag(np.cos(x)), found[0]["x"])
    close(np.zeros((3, 2)), found[0]["y"])
    close(y.sum() * np.eye(3), found[1]["s"]["x"])
    close(np.repeat(x[:, None], 2, 1), found[1]["s"]["y"])


@BOTH
def test_argnums_and_aux(rng, jacobian):
    x, y = rng.normal(size=2), rng.normal(size=2)

    (dy, dx), aux = jacobian(lambda x, y: (x * y * y, "aux"), argnums=(1, 0), has_aux=True)(x, y)

    close(np.diag(2 * x * y), dy)
    close(np.diag(y * y), dx)
    assert aux == "aux"


@BOTH
def test_of_scalars(jacobian):
    assert float(jacobian(lambda x: x * x)(3.0)) == 6.0


@BOTH
def test_of_empty_arrays(jacobian):
    assert jacobian(lambda x: x * x)(np.zeros((0, 2))).shape == (0, 2, 0, 2)


@BOTH
def test_keeps_dtypes(jacobian):
    assert jacobian(lambda x: x * x)(np.ones(2, np.float32)).dtype == np.float32


@BOTH
def test_refuses_integers(jacobian):
    with pytest.raises(DifferentiationError, match=r"argument 0 of type i64\[2\]"):
        jacobian(lambda x: x)(np.arange(2))
    with pytest.raises(DifferentiationError, match=r"returns floating arrays, got i32\[\]"):
        jacobian(lambda x: 1)(np.ones(2))


@BOTH
def test_runs_the_function_once_in_one_loop(jacobian):
    calls = []

    def f(x):
        calls.append(1)
        return Sin()(x)

    program = pb.make_program(jacobian(f))(np.ones(50))

    assert len(calls) == 1
    assert [e.primitive.name for e in program.equations].count("scan") == 1
    assert len(program.equations) < 12


def test_jacobian_is_jacrev():
    assert pb.jacobian is pb.jacrev


def test_hessian_of_a_quadratic_form(rng):
    a, x = rng.normal(size=(3, 3)), rng.normal(size=3)

    def f(x):
        ax = Dot(((1,), (0,)), ((), ()))(pb.Variable(a), x)
        return Dot(((0,), (0,)), ((), ()))(x, ax)

    close(a + a.T, pb.hessian(f)(x))


def test_hessian_of_a_tree(rng):
    x, y = rng.normal(size=2), rng.normal(size=())

    found = pb.hessian(lambda p: total(p["x"] * p["x"]) * p["y"])({"x": x, "y": y})

    close(2 * y * np.eye(2), found["x"]["x"])
    close(2 * x, found["x"]["y"])
    close(2 * x, found["y"]["x"])
    close(0, found["y"]["y"])


def test_hessian_equals_central_differences(rng):
    x = rng.normal(size=3)
    f = lambda x: total(Sin()(x * x) * x)  # noqa: E731
    step = 1e-5

    found = np.asarray(pb.hessian(f)(x))

    for i in range(3):
        e = step * np.eye(3)[i]
        column = (np.asarray(pb.grad(f)(x + e)) - np.asarray(pb.grad(f)(x - e))) / (2 * step)
        np.testing.assert_allclose(found[:, i], column, rtol=1e-7, atol=1e-7)


def test_hvp_is_the_hessian_times_the_vector(rng):
    x, v = rng.normal(size=(2, 3))
    f = lambda x: total(Sin()(x) * x * x)  # noqa: E731

    close(np.asarray(pb.hessian(f)(x)) @ v, pb.hvp(f, (x,), (v,)))


def test_hvp_of_two_arguments():
    found = pb.hvp(lambda x, y: x * x * y, (3.0, 2.0), (1.0, 10.0))

    # Hessian [[2y, 2x], [2x, 0]] times (1, 10)
    assert [float(t) for t in found] == [64.0, 6.0]


def test_third_derivatives(rng):
    x = rng.normal(size=2)

    close(
        np.array([[[-np.cos(x[0]), 0], [0, 0]], [[0, 0], [0, -np.cos(x[1])]]]),
        pb.jacfwd(pb.hessian(lambda x: total(Sin()(x))))(x),
    )
