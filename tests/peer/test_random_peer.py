"""Random numbers against JAX: bit for bit, except where elementary functions differ."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pullback import random

pytestmark = pytest.mark.peer

SEEDS = (0, 1, -1, 1234567, 2**31 + 5, 2**32 - 1)
SHAPES = ((), (1,), (5,), (3, 4, 7), (10_001,))
FLOATS = ("float16", "bfloat16", "float32")
TABLE = np.arange(60, dtype=np.float32).reshape(3, 4, 5)


@pytest.fixture(scope="module")
def jax() -> Any:
    import jax

    config: Any = jax.config  # its options are attributes that it makes as it runs
    assert config.jax_threefry_partitionable
    return jax


def check_equal(ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert ours.tobytes() == theirs.tobytes()


def check_near(ours, theirs, ulp, atol=0.0):
    ours, theirs = (np.asarray(x) for x in (ours, theirs))
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    eps = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}
    rtol = ulp * eps[str(ours.dtype)]
    np.testing.assert_allclose(ours.astype(float), theirs.astype(float), rtol=rtol, atol=atol)


@pytest.mark.parametrize("seed", SEEDS)
def test_keys_and_what_is_made_of_them(jax, seed):
    ours, theirs = random.key(seed), jax.random.PRNGKey(seed)

    check_equal(ours, theirs)
    for num in (1, 2, 5, (2, 3), (0,)):
        check_equal(random.split(ours, num), jax.random.split(theirs, num))
    for data in (0, 1, 2**31, 2**32 - 1):
        check_equal(random.fold_in(ours, data), jax.random.fold_in(theirs, data))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_bits(jax, seed, shape):
    ours, theirs = random.key(seed), jax.random.PRNGKey(seed)

    for dtype in ("uint8", "uint16", "uint32"):
        check_equal(random.bits(ours, shape, dtype), jax.random.bits(theirs, shape, dtype))
    with jax.enable_x64(True):
        check_equal(random.bits(ours, shape, "uint64"), jax.random.bits(theirs, shape, "uint64"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", FLOATS)
def test_uniform(jax, dtype, shape):
    ours, theirs = random.key(7), jax.random.PRNGKey(7)

    check_equal(random.uniform(ours, shape, dtype), jax.random.uniform(theirs, shape, dtype))
    for low, high in ((-3.0, 5.0), (0.0, 2.0), (1.0, 1.0)):
        check_equal(
            random.uniform(ours, shape, dtype, low, high),
            jax.random.uniform(theirs, shape, dtype, low, high),
        )


def test_uniform_between_bounds_that_round(jax):
    """XLA fuses the multiplication and the addition, and so rounds once."""
    ours = random.uniform(random.key(7), (10_001,), minval=-1e-3, maxval=1e3)
    theirs = jax.random.uniform(jax.random.PRNGKey(7), (10_001,), minval=-1e-3, maxval=1e3)

    check_near(ours, theirs, ulp=1, atol=2.0**-14)


def test_uniform_in_float64(jax):
    with jax.enable_x64(True):
        check_equal(
            random.uniform(random.key(7), (1000,), "float64"),
            jax.random.uniform(jax.random.PRNGKey(7), (1000,), "float64"),
        )


@pytest.mark.parametrize("dtype", FLOATS)
def test_bernoulli(jax, dtype):
    ours, theirs = random.key(7), jax.random.PRNGKey(7)

    for p in (0.5, 0.1):
        check_equal(random.bernoulli(ours, p, (99,)), jax.random.bernoulli(theirs, p, (99,)))
    p = jax.numpy.asarray([0.2, 0.7, 0.5], dtype)
    for shape in (None, (40, 3)):
        check_equal(
            random.bernoulli(ours, np.asarray(p), shape), jax.random.bernoulli(theirs, p, shape)
        )


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
)
def test_randint(jax, dtype):
    limits = np.iinfo(dtype)
    low, high = int(limits.min), int(limits.max)
    spans = [
        (0, 10),
        (low, high),
        (low, high + 1),
        (5, 5),
        (7, 3),
        (3, 100),
        (0, 65537),
        (0, 65535),
    ]
    with jax.enable_x64(True):
        for start, stop in spans:
            wide = np.uint64 if stop > 2**63 - 1 else np.int64
            if start < np.iinfo(wide).min or stop > np.iinfo(wide).max:
                continue
            if limits.bits < 32 and stop > high + 1:
                continue
            bounds = np.asarray(start, wide), np.asarray(stop, wide)
            theirs = jax.random.randint(jax.random.PRNGKey(7), (300,), *bounds, dtype)
            check_equal(random.randint(random.key(7), (300,), start, stop, dtype), theirs)
            check_equal(random.randint(random.key(7), (300,), *bounds, dtype), theirs)


def test_permutation(jax):
    ours, theirs = random.key(7), jax.random.PRNGKey(7)

    for count in (0, 1, 2, 10, 3000):
        check_equal(random.permutation(ours, count), jax.random.permutation(theirs, count))
    for axis in (0, 1, -1):
        for independent in (False, True):
            check_equal(
                random.permutation(ours, TABLE, axis, independent),
                jax.random.permutation(theirs, TABLE, axis, independent),
            )


@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("shape", [(), (3,), (2, 1)])
def test_choice(jax, shape, weighted, replace):
    ours, theirs = random.key(7), jax.random.PRNGKey(7)

    for a, axis in ((10, 0), (TABLE, 0), (TABLE, 1), (TABLE, 2)):
        count = a if isinstance(a, int) else a.shape[axis]
        p = np.arange(1, count + 1, dtype=np.float32) / 100 if weighted else None
        check_equal(
            random.choice(ours, a, shape, replace, p, axis),
            jax.random.choice(theirs, a, shape, replace, p, axis),
        )


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_categorical(jax, axis):
    logits = np.sin(TABLE)
    ours, theirs = random.key(7), jax.random.PRNGKey(7)
    batch = tuple(np.delete(logits.shape, axis).tolist())

    check_equal(
        random.categorical(ours, logits, axis), jax.random.categorical(theirs, logits, axis)
    )
    check_equal(
        random.categorical(ours, logits, axis, (7, *batch)),
        jax.random.categorical(theirs, logits, axis, shape=(7, *batch)),
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["normal", "gumbel", "exponential"])
def test_continuous_distributions(jax, name, dtype):
    """JAX's ``erfinv`` errs by some 30 ulp in the tails, its half-precision ``log`` by 8e-3."""
    ours = getattr(random, name)(random.key(7), (5000,), dtype)
    theirs = getattr(jax.random, name)(jax.random.PRNGKey(7), (5000,), dtype)

    atol = {"gumbel": 2e-6 if dtype == "float32" else 1e-2}.get(name, 0.0)
    check_near(ours, theirs, ulp=32 if dtype == "float32" else 2, atol=atol)


@pytest.mark.parametrize("dtype", FLOATS)
def test_truncated_normal(jax, dtype):
    ours = random.truncated_normal(random.key(7), -1.5, 2.0, (5000,), dtype)
    theirs = jax.random.truncated_normal(jax.random.PRNGKey(7), -1.5, 2.0, (5000,), dtype)

    check_near(
        ours,
        theirs,
        ulp=32 if dtype == "float32" else 2,
        atol=2.0**-10 if dtype != "float32" else 1e-6,
    )
