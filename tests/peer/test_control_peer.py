"""Control flow and custom rules against JAX: one source text, run in both libraries."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import pullback as pb
from pullback import tree

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def jax():
    import jax

    return jax


@pytest.fixture(scope="module")
def theirs(jax):
    jnp, lax = jax.numpy, jax.lax
    return SimpleNamespace(
        **{name: getattr(lax, name) for name in ("cond", "switch", "scan", "while_loop")},
        **{name: getattr(lax, name) for name in ("fori_loop", "map", "associative_scan")},
        **{name: getattr(jax, name) for name in ("custom_vjp", "checkpoint", "grad", "jvp")},
        stop_gradient=lax.stop_gradient,
        sin=jnp.sin,
        cos=jnp.cos,
        tanh=jnp.tanh,
        sum=jnp.sum,
        matmul=jnp.matmul,
    )


def recurrent(ns, w, state, xs):
    def step(c, x):
        c = ns.tanh(ns.matmul(w, c) + x)
        return c, {"c": c, "s": ns.sin(x) * c}

    return ns.scan(step, state, xs)


def backwards(ns, w, state, xs):
    return ns.scan(lambda c, x: (ns.sin(c * x) + w[0], c), state, xs, reverse=True)


def nested(ns, w, state, xs):
    def outer(c, x):
        c, inner = ns.scan(lambda d, e: (ns.tanh(d * e) + ns.sum(c), d * d), ns.sum(c), x)
        return state * c, (inner, c)

    return ns.scan(outer, state, xs)


def branching(ns, w, state, xs):
    def step(c, x):
        c = ns.cond(ns.sum(x) > 0, lambda c: ns.sin(c) * x, lambda c: c + ns.cos(x), c)
        return c, ns.switch(2, [lambda: c, lambda: x, lambda: c * x])

    return ns.scan(step, state, xs)


def counting(ns, w, state, xs):
    return ns.fori_loop(1, 4, lambda i, c: ns.sin(c * i) + ns.matmul(w, c), state)


def mapping(ns, w, state, xs):
    return ns.map(lambda x: ns.tanh(ns.matmul(w, x)) * ns.sum(x), xs)


def prefixes(ns, w, state, xs):
    return (
        ns.associative_scan(lambda a, b: a * b + a, xs, reverse=True),
        ns.associative_scan(lambda a, b: a * b, xs, axis=1),
    )


def recomputing(ns, w, state, xs):
    @ns.checkpoint
    def block(c, x):
        return ns.tanh(ns.matmul(w, ns.sin(c)) * x)

    c, _ = ns.scan(lambda c, x: (block(c, x), None), state, xs)
    return block(block(c, state), state)


def stopping(ns, w, state, xs):
    return ns.stop_gradient(ns.sin(state)) * state + ns.matmul(ns.stop_gradient(w), state)


FUNCTIONS = [
    recurrent,
    backwards,
    nested,
    branching,
    counting,
    mapping,
    prefixes,
    recomputing,
    stopping,
]


@pytest.fixture
def operands(rng):
    return rng.normal(size=(3, 3)) * 0.5, rng.normal(size=3), rng.normal(size=(4, 3))


def check_same(ours, theirs, tolerance=1e-10):
    ours, theirs = tree.leaves(ours), tree.leaves(theirs)
    assert len(ours) == len(theirs)
    for x, y in zip(ours, theirs, strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), rtol=tolerance, atol=tolerance)


def scalar(ns, f):
    """The sum of all results of ``f``, no two of equal weight."""

    def weighted(*args):
        found = tree.leaves(f(ns, *args))
        return sum(ns.sum(leaf) * (i + 1.0) for i, leaf in enumerate(found))

    return weighted


@pytest.mark.parametrize("f", FUNCTIONS)
def test_values(jax, theirs, operands, f):
    with jax.enable_x64(True):
        check_same(f(pb, *operands), f(theirs, *map(jax.numpy.asarray, operands)))


@pytest.mark.parametrize("f", FUNCTIONS)
def test_gradients(jax, theirs, operands, f):
    with jax.enable_x64(True):
        expected = theirs.grad(scalar(theirs, f), (0, 1, 2))(*map(jax.numpy.asarray, operands))

    check_same(pb.grad(scalar(pb, f), (0, 1, 2))(*operands), expected)


@pytest.mark.parametrize("f", FUNCTIONS)
def test_second_order(jax, theirs, operands, f, rng):
    direction = rng.normal(size=3)

    def product(ns, w, state, xs, direction):
        inner = ns.grad(scalar(ns, f), 1)
        reverse = ns.grad(lambda s: ns.sum(inner(w, s, xs) * direction))(state)
        forward = ns.jvp(lambda s: inner(w, s, xs), (state,), (direction,))[1]
        return reverse, forward

    with jax.enable_x64(True):
        expected = product(theirs, *map(jax.numpy.asarray, (*operands, direction)))

    check_same(product(pb, *map(pb.asarray, (*operands, direction))), expected, 1e-8)


@pytest.mark.parametrize("f", FUNCTIONS)
def test_tangents(jax, theirs, operands, f, rng):
    tangents = tuple(rng.normal(size=x.shape) for x in operands)

    with jax.enable_x64(True):
        given = [tuple(map(jax.numpy.asarray, x)) for x in (operands, tangents)]
        expected = theirs.jvp(lambda *args: f(theirs, *args), *given)

    check_same(pb.jvp(lambda *args: f(pb, *args), operands, tangents), expected)


@pytest.mark.parametrize("reverse", [False, True])
def test_associative_scan_of_what_does_not_commute(jax, theirs, rng, reverse):
    x = rng.normal(size=(7, 2, 2))

    def f(ns, x):
        return ns.associative_scan(ns.matmul, x, reverse=reverse)

    with jax.enable_x64(True):
        check_same(f(pb, x), f(theirs, jax.numpy.asarray(x)))


def test_while_loop_and_its_tangent(jax, theirs):
    def f(ns, x):
        def step(s):
            return s[0] + 1, (s[1] + x / s[1]) * 0.5

        return ns.while_loop(lambda s: (s[1] * s[1] - x) ** 2 > 1e-12, step, (0, x))

    x = np.float64(11.0)
    with jax.enable_x64(True):
        expected = theirs.jvp(lambda x: f(theirs, x)[1], (x,), (x * 0.5,))
        steps = int(f(theirs, x)[0])

    check_same(pb.jvp(lambda x: f(pb, x)[1], (x,), (x * 0.5,)), expected)
    assert int(f(pb, x)[0]) == steps


def test_custom_rules(jax, theirs, rng):
    """Rules that lie, so that both must use them; also at second order, in a scan, with trees."""

    def f(ns, x, xs):
        @ns.custom_vjp
        def g(p):
            return {"y": ns.sin(p["x"]), "z": p["x"] * 2.0}

        def forward(p):
            return g(p), (p["x"], ns.cos(p["x"]))

        def backward(kept, ct):
            x, cosine = kept
            return ({"x": ct["y"] * cosine * x + ct["z"] * g({"x": x})["y"]},)

        g.defvjp(forward, backward)
        c, ys = ns.scan(lambda c, x: (g({"x": c * x})["y"], g({"x": c})), x, xs)
        return ns.sum(c) + ns.sum(ys["y"]) + ns.sum(ys["z"])

    def both(ns, x, xs):
        first = ns.grad(lambda x: f(ns, x, xs))
        return first(x), ns.grad(lambda x: ns.sum(first(x) * 0.5))(x)

    x, xs = rng.normal(size=2), rng.normal(size=(3, 2))
    with jax.enable_x64(True):
        expected = both(theirs, jax.numpy.asarray(x), jax.numpy.asarray(xs))

    check_same(both(pb, pb.asarray(x), pb.asarray(xs)), expected)


def test_dtypes_of_weak_carries(jax, theirs):
    """Python numbers take the dtype that the body gives them."""

    def dtypes(ns, x):
        c, _ = ns.scan(lambda c, x: (c + x, None), 0, x)
        i = ns.fori_loop(0, 3, lambda i, c: c + i, 0)
        h = ns.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, s[1] * x[0]), (0, 1.0))
        return [np.asarray(leaf).dtype for leaf in tree.leaves((c, i, h))]

    for dtype in (np.float16, np.float32):
        x = np.ones(3, dtype)
        assert dtypes(pb, pb.asarray(x)) == dtypes(theirs, jax.numpy.asarray(x))
