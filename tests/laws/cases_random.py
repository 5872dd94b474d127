"""Cases of random bits: the reference hashes one counter at a time in Python integers."""

from __future__ import annotations

import math

import numpy as np
from case import Case, given

from pullback.primitives.random import RandomBits, RandomFoldIn

KEY = np.array([0x13198A2E, 0x03707344], np.uint32)
MASK = 2**32 - 1


def rotate(x, distance):
    return ((x << distance) | (x >> (32 - distance))) & MASK


def threefry(key, counter):
    """Threefry-2x32-20 by the definition in section 3.3 of the paper, in Python integers."""
    words = [int(key[0]), int(key[1])]
    words.append(words[0] ^ words[1] ^ 0x1BD11BDA)
    distances = [13, 15, 26, 6, 17, 29, 16, 24]
    x0, x1 = (counter[0] + words[0]) & MASK, (counter[1] + words[1]) & MASK
    for i in range(20):
        x0 = (x0 + x1) & MASK
        x1 = rotate(x1, distances[i % 8]) ^ x0
        if i % 4 == 3:
            group = i // 4 + 1
            x0 = (x0 + words[group % 3]) & MASK
            x1 = (x1 + words[(group + 1) % 3] + group) & MASK
    return x0, x1


def bits(shape, width):
    def reference(key):
        pairs = [threefry(key, divmod(i, 2**32)) for i in range(math.prod(shape))]
        if width == 64:
            values = [(first << 32) | second for first, second in pairs]
        else:
            values = [(first ^ second) % 2**width for first, second in pairs]
        return np.array(values, f"u{width // 8}").reshape(shape)

    return reference


def fold_in(key, data):
    return np.array(threefry(key, (0, int(data))), np.uint32)


CASES = [
    *(
        Case(
            RandomBits(shape, width),
            given(KEY, dtype=np.uint32),
            bits(shape, width),
            label=f"{width}-{shape}",
        )
        for width in (8, 16, 32, 64)
        for shape in ((), (7,), (2, 3, 4), (3, 0))
    ),
    Case(RandomBits((5,), 32), given([0, 0], dtype=np.uint32), bits((5,), 32), label="zero-key"),
    *(
        Case(RandomFoldIn(), given(KEY, data, dtype=np.uint32), fold_in, label=str(data))
        for data in (0, 1, 2**32 - 1)
    ),
]
