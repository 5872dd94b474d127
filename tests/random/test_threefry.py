"""The hash against published vectors, and the layout of bits against numbers of a JAX run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.laws.python_loops import PythonLoops, element

from pullback.primitives.random import (
    RandomBits,
    RandomFoldIn,
    threefry2x32,
    threefry2x32_elements,
)
from pullback.types import uint32

#: Random123 1.14, ``kat_vectors``, "threefry2x32 20": counter, key, hash.
PUBLISHED = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]

KEY_42 = np.array([0, 42], np.uint32)

#: ``jax.random.bits(jax.random.PRNGKey(42), ...)`` of JAX 0.10.2.
BITS_42 = {
    8: [[162, 217, 249], [215, 21, 216]],
    16: [[5026, 12505, 63993], [49623, 29461, 20184]],
    32: [[2098992034, 2919706841, 2646866425], [2409546199, 1935504149, 2516274904]],
    64: [7871734211187709741, 276886910877598708, 10591095138341673235],
}


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_hash_equals_published_vectors(counter, key, expected):
    high, low = (np.array([word], np.uint32) for word in counter)

    found = threefry2x32(np.array(key, np.uint32), high, low)

    assert expected == tuple(int(x[0]) for x in found)


@pytest.mark.parametrize(("counter", "key", "expected"), PUBLISHED)
def test_hash_of_the_loop_language_equals_published_vectors(counter, key, expected) -> None:
    loops: Any = PythonLoops()
    words: Any = [tuple(element(word, uint32) for word in pair) for pair in (key, counter)]

    found: Any = threefry2x32_elements(loops, *words)

    assert expected == tuple(int(x.value) for x in found)


@pytest.mark.parametrize("width", BITS_42)
def test_bits_equal_those_of_jax(width):
    expected = np.array(BITS_42[width], f"u{width // 8}")

    found = RandomBits(expected.shape, width).evaluate(KEY_42)

    np.testing.assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


def test_fold_in_equals_that_of_jax():
    found = RandomFoldIn().evaluate(KEY_42, np.asarray(7, np.uint32))

    assert found.tolist() == [2547012911, 1371500959]


def test_a_prefix_does_not_depend_on_the_length():
    """Chunks of counters join without a seam, and elements are drawn by their position."""
    long = RandomBits((100_003,), 32).evaluate(KEY_42)

    np.testing.assert_array_equal(long[:70_000], RandomBits((70_000,), 32).evaluate(KEY_42))
    assert len(np.unique(long)) > 99_990


def test_counters_above_32_bits_reach_the_high_word() -> None:
    """The element of an array of more than 2**32 elements, by its ``lower`` rule."""
    key: Any = KeyOperand()
    primitive = RandomBits((3, 2**32), 32)
    loops: Any = PythonLoops()

    found: Any = primitive.lower(loops, (2, 5), key)

    first, second = threefry2x32(KEY_42, np.array([2], np.uint32), np.array([5], np.uint32))
    assert int(found.value) == int((first ^ second)[0])


class KeyOperand:
    def at(self, index):
        return element(KEY_42[index[0]], uint32)
