"""The random module: numbers of a JAX run, tracing, ranges, distributions and errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats

from pullback import random
from pullback.errors import DTypeError, ShapeError, TracerIntegerError
from pullback.primitives.shape import Reshape, Slice
from pullback.program.value import Value, as_value
from pullback.trace.stage import stage
from pullback.types import as_dtype, float16, float32, float64, int32, type_of, uint8

KEY = random.key(42)
P = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
LOGITS = np.log(np.array([[0.1, 0.2, 0.7], [0.5, 0.4, 0.1]], np.float32))
TABLE = np.arange(60, dtype=np.float32).reshape(3, 4, 5)

#: Results of JAX 0.10.2 with the key 42.
EXACT = {
    "split": (
        random.split(KEY, 3),
        [[1832780943, 270669613], [64467757, 2916123636], [2465931498, 255383827]],
    ),
    "uniform": (
        random.uniform(KEY, (4,)).data.view(np.uint32),
        [0x3EFA3824, 0x3F2E0730, 0x3F1DC3F8, 0x3F0F9EC0],
    ),
    "uniform-f16": (
        random.uniform(KEY, (4,), float16).data.view(np.uint16),
        [0x2CE0, 0x3218, 0x3BCE, 0x3A0E],
    ),
    "uniform-bf16": (
        random.uniform(KEY, (4,), "bf16").data.view(np.uint16),
        [0x3F22, 0x3F58, 0x3F78, 0x3F56],
    ),
    "uniform-f64": (
        random.uniform(KEY, (3,), float64).data.view(np.uint64),
        [4601358860358518916, 4579806337745978368, 4603346652718294810],
    ),
    "randint": (random.randint(KEY, (6,), -5, 20), [14, 9, 16, 14, 4, 14]),
    "randint-u8": (random.randint(KEY, (6,), 0, 256, uint8), [196, 18, 183, 193, 141, 107]),
    "randint-wide": (
        random.randint(KEY, (3,), -(2**31), 2**31 - 1),
        [977810628, 1236381714, -1367112521],
    ),
    "permutation": (random.permutation(KEY, 10), [7, 4, 2, 5, 3, 6, 8, 9, 0, 1]),
    "permutation-independent": (
        random.permutation(KEY, np.arange(6).reshape(2, 3), 1, independent=True),
        [[2, 0, 1], [4, 5, 3]],
    ),
    "bernoulli": (random.bernoulli(KEY, 0.3, (10,)), [0, 0, 0, 0, 0, 0, 1, 0, 0, 0]),
    "categorical": (
        random.categorical(KEY, LOGITS, shape=(4, 2)),
        [[2, 0], [2, 0], [1, 0], [1, 0]],
    ),
    "choice": (random.choice(KEY, 10, (5,)), [4, 4, 1, 9, 9]),
    "choice-once": (random.choice(KEY, 10, (5,), replace=False), [7, 4, 2, 5, 3]),
    "choice-weighted": (random.choice(KEY, 4, (8,), p=P), [2, 2, 2, 2, 2, 2, 3, 1]),
    "choice-weighted-once": (random.choice(KEY, 4, (3,), False, P), [3, 2, 1]),
}

CLOSE = {
    "uniform-range": (
        random.uniform(KEY, (4,), minval=-2.0, maxval=3.0),
        [0.4435478448867798, 1.3989858627319336, 1.081357479095459, 0.8050804138183594],
    ),
    "normal": (
        random.normal(KEY, (4,)),
        [-0.02830461598932743, 0.4671318531036377, 0.2957029640674591, 0.15354591608047485],
    ),
    "truncated": (
        random.truncated_normal(KEY, -1.0, 2.0, (4,)),
        [0.14770005643367767, 0.5684449076652527, 0.42102551460266113, 0.29997000098228455],
    ),
    "gumbel": (
        random.gumbel(KEY, (4,)),
        [0.3340933918952942, 0.952019453048706, 0.7255305647850037, 0.5481715202331543],
    ),
    "exponential": (
        random.exponential(KEY, (4,)),
        [0.670817494392395, 1.1388006210327148, 0.9578199982643127, 0.8232924938201904],
    ),
}


@pytest.mark.parametrize("name", EXACT)
def test_numbers_equal_those_of_jax(name):
    found, expected = EXACT[name]

    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected, np.asarray(found).dtype))


@pytest.mark.parametrize("name", CLOSE)
def test_numbers_are_close_to_those_of_jax(name):
    found, expected = CLOSE[name]

    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6)


def first_word(k):
    return Reshape(())(Slice((0,), (1,), (1,))(k))


TRACED = {
    "key": lambda k: random.key(first_word(k)),
    "split": lambda k: random.split(k, (2, 3)),
    "fold_in": lambda k: random.fold_in(k, first_word(k)),
    "bits": lambda k: random.bits(k, (7,), np.uint16),
    "uniform": lambda k: random.uniform(k, (3, 5), minval=-1.0, maxval=2.5),
    "normal": lambda k: random.normal(k, (100,)),
    "truncated_normal": lambda k: random.truncated_normal(k, -1.0, 0.5, (9,)),
    "bernoulli": lambda k: random.bernoulli(k, 0.25, (50,)),
    "exponential": lambda k: random.exponential(k, (9,), float64),
    "gumbel": lambda k: random.gumbel(k, (9,)),
    "categorical": lambda k: random.categorical(k, LOGITS),
    "randint": lambda k: random.randint(k, (20,), 3, 99),
    "permutation": lambda k: random.permutation(k, 50),
    "permutation-rows": lambda k: random.permutation(k, TABLE, axis=1),
    "choice": lambda k: random.choice(k, TABLE, (2, 2), axis=1),
    "choice-weighted": lambda k: random.choice(k, 4, (30,), p=P),
}


@pytest.mark.parametrize("name", TRACED)
def test_traced_equals_eager(name):
    f = TRACED[name]

    staged = stage(lambda k: [f(k)], [type_of(KEY.data)])

    eager = np.asarray(f(KEY))
    traced = staged.program(KEY.data, *(np.asarray(x) for x in staged.captures))
    np.testing.assert_array_equal(np.asarray(traced), eager)
    assert np.asarray(traced).dtype == eager.dtype


def spans(name):
    limits = np.iinfo(as_dtype(name))
    low, high = int(limits.min), int(limits.max)
    yield from ((3, 100), (low, high), (5, 5), (7, 3))
    if name != "u64":  # no dtype holds 2**64
        yield (low, high + 1)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "i16", "u16", "i32", "u32", "i64", "u64"])
def test_randint_of_numbers_equals_that_of_arrays(dtype):
    """Python bounds are worked out in Python, arrays in wrapping arithmetic."""
    for low, high in spans(dtype):
        first, last = (np.asarray(x, np.int64 if x < 2**63 else np.uint64) for x in (low, high))

        by_numbers = np.asarray(random.randint(KEY, (500,), low, high, dtype))
        by_arrays = np.asarray(random.randint(KEY, (500,), first, last, dtype))

        np.testing.assert_array_equal(by_numbers, by_arrays)
        assert low <= int(by_numbers.min())
        assert int(by_numbers.max()) <= max(low, high - 1)


def test_randint_takes_arrays_of_bounds():
    found = np.asarray(random.randint(KEY, (200, 3), np.array([0, 10, 20]), np.array([1, 15, 40])))

    assert (found[:, 0] == 0).all()
    assert set(found[:, 1]) == set(range(10, 15))
    assert set(found[:, 2]) == set(range(20, 40))


def test_randint_reaches_the_whole_of_64_bits():
    found = np.asarray(random.randint(KEY, (4000,), 0, 2**64, np.uint64))

    assert found.max() > 0.999 * 2.0**64
    assert found.min() < 0.001 * 2.0**64


DISTRIBUTIONS: dict[str, tuple[Callable[[], Value], Callable[..., Any]]] = {
    "uniform": (lambda: random.uniform(KEY, (20000,)), scipy.stats.uniform.cdf),
    "uniform-f64": (lambda: random.uniform(KEY, (20000,), float64), scipy.stats.uniform.cdf),
    "normal": (lambda: random.normal(KEY, (20000,)), scipy.stats.norm.cdf),
    "normal-f64": (lambda: random.normal(KEY, (20000,), float64), scipy.stats.norm.cdf),
    "truncated": (
        lambda: random.truncated_normal(KEY, -0.5, 2.0, (20000,)),
        lambda x: scipy.stats.truncnorm.cdf(x, -0.5, 2.0),
    ),
    "gumbel": (lambda: random.gumbel(KEY, (20000,)), scipy.stats.gumbel_r.cdf),
    "exponential": (lambda: random.exponential(KEY, (20000,)), scipy.stats.expon.cdf),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_pass_kolmogorov_smirnov(name):
    draw, distribution = DISTRIBUTIONS[name]

    assert scipy.stats.kstest(np.asarray(draw()), distribution).pvalue > 0.01


def frequencies(x, count):
    return np.bincount(np.asarray(x).reshape(-1), minlength=count) / np.asarray(x).size


def test_discrete_distributions_have_their_frequencies():
    keys = random.split(KEY, 3)

    chosen = frequencies(random.choice(keys[0], 4, (20000,), p=P), 4)
    drawn = frequencies(random.categorical(keys[1], LOGITS[0], shape=(20000,)), 3)
    true = np.asarray(random.bernoulli(keys[2], 0.3, (20000,))).mean()

    np.testing.assert_allclose(chosen, P, atol=0.015)
    np.testing.assert_allclose(drawn, [0.1, 0.2, 0.7], atol=0.015)
    assert abs(true - 0.3) < 0.015


def test_permutations_keep_every_element_and_every_row():
    order = np.asarray(random.permutation(KEY, 1000))
    rows = np.asarray(random.permutation(KEY, TABLE, axis=1))
    loose = np.asarray(random.permutation(KEY, TABLE, axis=1, independent=True))

    assert sorted(order) == list(range(1000))
    assert (np.sort(rows, axis=1) == TABLE).all()
    assert (np.diff(rows, axis=0) == 20).all()
    assert (np.sort(loose, axis=1) == TABLE).all()
    assert not (np.diff(loose, axis=0) == 20).all()


def test_choice_without_replacement_draws_nothing_twice():
    for p in (None, P):
        drawn = np.asarray(random.choice(KEY, 4, (2, 2), replace=False, p=p))
        assert sorted(drawn.reshape(-1)) == [0, 1, 2, 3]


def test_weights_of_zero_are_never_chosen():
    p = np.array([0.0, 0.5, 0.0, 0.5, 0.0], np.float32)

    with_replacement = np.asarray(random.choice(KEY, 5, (1000,), p=p))
    without = np.asarray(random.choice(KEY, 5, (2,), replace=False, p=p))

    assert set(with_replacement) == {1, 3}
    assert set(without) == {1, 3}


def test_seeds_of_64_bits_use_both_words():
    assert random.key(2**40 + 3).tolist() == [256, 3]
    assert random.key(-1).tolist() == [0, 2**32 - 1]
    assert random.key(-(2**40)).tolist() == [2**32 - 256, 0]
    assert random.key(np.int64(2**40 + 3)).tolist() == [256, 3]
    assert random.key(np.int32(5)).tolist() == [0, 5]
    assert random.PRNGKey is random.key


def test_empty_shapes_are_empty():
    assert random.uniform(KEY, (0, 3)).shape == (0, 3)
    assert random.split(KEY, 0).shape == (0, 2)
    assert random.permutation(KEY, 0).shape == (0,)
    assert random.choice(KEY, 0, (0,)).shape == (0,)
    assert random.choice(KEY, TABLE, (0,), axis=1).shape == (3, 0, 5)
    assert random.choice(KEY, 0, (0,), p=np.zeros(0, np.float32)).shape == (0,)


def test_uniform_is_differentiated_with_respect_to_its_bounds():
    from pullback.testing import check_vjp

    def drawn(low, high):
        return random.uniform(KEY, (3,), float64, low, high)

    check_vjp(drawn, np.asarray(-1.0), np.asarray(2.0))


def test_a_length_stands_for_a_shape():
    for draw in (random.normal, random.uniform, random.bits, random.gumbel, random.exponential):
        np.testing.assert_array_equal(np.asarray(draw(KEY, 3)), np.asarray(draw(KEY, (3,))))
    assert random.bernoulli(KEY, 0.5, 3).shape == random.randint(KEY, 3, 0, 9).shape == (3,)


ERRORS = [
    (lambda: random.key(1.5), DTypeError, "expected an integer"),
    (lambda: random.key(2**64), DTypeError, "more than 64 bits"),
    (lambda: random.key(np.zeros(2, np.int32)), ShapeError, "without axes"),
    (lambda: random.bits(np.zeros(2, np.int32)), DTypeError, "expected u32"),
    (lambda: random.bits(random.split(KEY)), ShapeError, "expected one key"),
    (lambda: random.bits(KEY, (2,), int32), DTypeError, "unsigned"),
    (lambda: random.uniform(KEY, (2.0,)), DTypeError, r"uniform: shape \(2\.0,\); expected int"),  # type: ignore[arg-type]
    (lambda: random.normal(KEY, (-1,)), ShapeError, r"normal: shape \(-1,\) has a negative"),
    (
        lambda: stage(lambda n: [random.bits(KEY, n)], [type_of(np.int32(3))]),
        TracerIntegerError,
        "Python int",
    ),
    (lambda: random.uniform(KEY, (-1,)), ShapeError, "negative length"),
    (lambda: random.uniform(KEY, (2,), int32), DTypeError, "expected a floating dtype"),
    (lambda: random.uniform(KEY, (2,), minval=np.zeros(3)), ShapeError, "broadcast"),
    (lambda: random.uniform(KEY, (), minval=np.zeros(3)), ShapeError, "broadcast"),
    (lambda: random.bernoulli(KEY, 1), DTypeError, "expected a floating dtype"),
    (lambda: random.randint(KEY, (2,), 0, 5, float32), DTypeError, "integer dtype"),
    (lambda: random.randint(KEY, (2,), np.zeros(3, int), 5), ShapeError, "broadcast"),
    (lambda: random.fold_in(KEY, 1.5), DTypeError, "expected an integer"),
    (lambda: random.permutation(KEY, -1), ShapeError, "expected 0 or more"),
    (lambda: random.permutation(KEY, np.float32(3)), ShapeError, "Python integer"),
    (lambda: random.permutation(KEY, TABLE, 3), ShapeError, "axis 3"),
    (lambda: random.choice(KEY, 3, (4,), replace=False), ShapeError, "without replacement"),
    (lambda: random.choice(KEY, 0, (4,)), ShapeError, "cannot draw"),
    (lambda: random.choice(KEY, 3, (4,), p=P), ShapeError, r"expected floating probabilities"),
    (lambda: random.categorical(KEY, LOGITS, shape=(3,)), ShapeError, "broadcast"),
    (lambda: random.gumbel(KEY, (2,), int32), DTypeError, "expected a floating dtype"),
]


@pytest.mark.parametrize("number", range(len(ERRORS)))
def test_errors_name_what_was_expected(number):
    call, error, message = ERRORS[number]

    with pytest.raises(error, match=message):
        call()


def test_the_shape_cannot_be_traced():
    with pytest.raises(TracerIntegerError):
        stage(lambda n: [random.uniform(KEY, (n,))], [as_value(np.int32(3)).type])
