"""The same programs in JAX: values, gradients and conventions must agree."""

from __future__ import annotations

import numpy as np
import pytest

import pullback as pb
from pullback import tree
from pullback.primitives.dot import Dot
from pullback.primitives.elementwise import Max
from pullback.primitives.reduce import ReduceLogSumExp, ReduceMax, ReduceSum
from pullback.primitives.transcendental import Exp, Sin, Tanh

pytestmark = pytest.mark.peer

jax = pytest.importorskip("jax")
jnp = pytest.importorskip("jax.numpy")


@pytest.fixture(autouse=True)
def _in_float64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


class Pullback:
    """The few operations of the programs below."""

    tanh, sin, exp, maximum = Tanh(), Sin(), Exp(), Max()
    scan, cond = staticmethod(pb.scan), staticmethod(pb.cond)
    grad, jvp = staticmethod(pb.grad), staticmethod(pb.jvp)

    @staticmethod
    def dot(x, y):
        return Dot(((x.ndim - 1,), (0,)), ((), ()))(x, y)

    @staticmethod
    def sum(x):
        return ReduceSum(tuple(range(x.ndim)))(x)

    @staticmethod
    def logsumexp(x):
        return ReduceLogSumExp((x.ndim - 1,))(x)

    @staticmethod
    def max(x):
        return ReduceMax(tuple(range(x.ndim)))(x)


class Jax:
    """The same in JAX."""

    tanh, sin, exp, maximum = jnp.tanh, jnp.sin, jnp.exp, jnp.maximum
    scan, cond = jax.lax.scan, jax.lax.cond
    grad, jvp = jax.grad, jax.jvp
    dot, sum, max = jnp.dot, jnp.sum, jnp.max

    @staticmethod
    def logsumexp(x):
        return jax.nn.logsumexp(x, axis=-1)


def mlp(f, params, x):
    hidden = f.maximum(f.dot(x, params["w1"]) + params["b1"], x[0, 0] * 0.0)
    logits = f.dot(hidden, params["w2"]) + params["b2"]
    return f.sum(f.logsumexp(logits)) - f.sum(logits * logits)


def rnn(f, params, x):
    def step(carry, row):
        carry = f.tanh(f.dot(row, params["w1"]) + carry * params["b1"])
        return carry, carry * 2.0

    last, ys = f.scan(step, params["b1"] * 0.0, x)
    return f.sum(ys * ys) + f.sum(last)


def branches(f, params, x):
    return f.cond(
        f.sum(x) > 0.0, lambda: f.sum(f.sin(params["w1"])), lambda: f.sum(params["w1"] * x[0, 0])
    )


def penalty(f, params, x):
    """A gradient inside the loss."""
    found = f.grad(lambda w: f.sum(f.tanh(f.dot(x, w))))(params["w1"])
    return f.sum(found * found) + f.max(params["b1"] * params["b1"])


def directional(f, params, x):
    """A tangent inside the loss."""
    _, t = f.jvp(lambda w: f.exp(f.dot(x, w) * 0.1), (params["w1"],), (params["w1"] * 2.0,))
    return f.sum(t * t)


PROGRAMS = [mlp, rnn, branches, penalty, directional]
EACH = pytest.mark.parametrize("program", PROGRAMS, ids=[p.__name__ for p in PROGRAMS])


@pytest.fixture
def case(rng):
    params = {
        "w1": rng.normal(size=(4, 5)),
        "b1": rng.normal(size=(5,)),
        "w2": rng.normal(size=(5, 3)),
        "b2": rng.normal(size=(3,)),
    }
    return params, rng.normal(size=(6, 4))


def agree(expected, actual, tolerance=1e-10):
    assert jax.tree.structure(expected) == jax.tree.structure(tree.map(np.asarray, actual))
    for e, a in zip(jax.tree.leaves(expected), tree.leaves(actual), strict=True):
        np.testing.assert_allclose(np.asarray(a), e, rtol=tolerance, atol=tolerance)
        assert np.asarray(a).dtype == e.dtype


@EACH
@pytest.mark.parametrize("compiled", [False, True])
def test_value_and_gradient(case, program, compiled):
    ours = pb.value_and_grad(lambda p, x: program(Pullback, p, x))
    theirs = jax.value_and_grad(lambda p, x: program(Jax, p, x))

    agree(theirs(*case), (pb.jit(ours) if compiled else ours)(*case))


@EACH
def test_tangents(case, program):
    params, x = case
    direction = tree.map(np.cos, params)

    ours = pb.jvp(lambda p: program(Pullback, p, x), (params,), (direction,))
    theirs = jax.jvp(lambda p: program(Jax, p, x), (params,), (direction,))

    agree(theirs, ours)


@EACH
def test_hessian_vector_products(case, program):
    params, x = case
    direction = tree.map(np.cos, params)

    ours = pb.hvp(lambda p: program(Pullback, p, x), (params,), (direction,))
    _, theirs = jax.jvp(jax.grad(lambda p: program(Jax, p, x)), (params,), (direction,))

    agree(theirs, ours, 1e-9)


def test_jacobians_and_hessians_have_the_same_trees(rng):
    p = {"a": rng.normal(size=(2,)), "b": rng.normal(size=(3, 2))}

    def f(lib, p):
        return {"y": lib.sin(p["a"]) * lib.sum(p["b"]), "z": (p["b"] * p["a"],)}

    for name in ("jacfwd", "jacrev", "hessian"):
        ours = getattr(pb, name)(lambda p: f(Pullback, p))(p)
        agree(getattr(jax, name)(lambda p: f(Jax, p))(p), ours)
    ours = pb.jacrev(lambda a, b: a * b, argnums=(0, 1))(p["a"], p["a"])
    agree(jax.jacrev(lambda a, b: a * b, argnums=(0, 1))(p["a"], p["a"]), ours)


def test_conventions_of_arguments(rng):
    x, y = rng.normal(size=(2, 3))

    def f(lib, x, y):
        return lib.sum(x * x * y), {"aux": x}

    ours = pb.value_and_grad(lambda x, y: f(Pullback, x, y), argnums=(1, 0), has_aux=True)(x, y)
    theirs = jax.value_and_grad(lambda x, y: f(Jax, x, y), argnums=(1, 0), has_aux=True)(x, y)
    agree(theirs, ours)

    out, pullback, aux = pb.vjp(lambda x: f(Pullback, x, y), x, has_aux=True)
    jout, jpullback, jaux = jax.vjp(lambda x: f(Jax, x, y), x, has_aux=True)
    agree((jout, jaux, jpullback(2.0)), (out, aux, pullback(2.0)))


def test_trees_flatten_alike():
    given = {"b": [1, (2, None)], "a": {"z": 3, "c": 4}}

    assert tree.leaves(given) == jax.tree.leaves(given)
    assert str(tree.structure(given)) == str(jax.tree.structure(given))[len("PyTreeDef(") : -1]
