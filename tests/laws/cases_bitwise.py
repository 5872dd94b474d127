"""Cases of logic and bit operations: exact, against Python integers, without gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from case import Case, NDArray
from families import given_as, integer_cases, wrapped

from pullback.primitives.bitwise import (
    And,
    Not,
    Or,
    Popcount,
    ShiftLeft,
    ShiftRightArithmetic,
    ShiftRightLogical,
    Xor,
)
from pullback.types import (
    DType,
    bool_,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)

SIGNED = [int8, int16, int32, int64]
UNSIGNED = [uint8, uint16, uint32, uint64]
BITS = [*SIGNED, *UNSIGNED, bool_]


def _of_width(function: Callable[[int, int, int], int], dtype: DType) -> Callable[..., NDArray]:
    width = dtype.itemsize * 8

    def shifted(x: int, y: int) -> int:
        return function(x, y % 2**width, width)

    return wrapped(shifted)


def _left(x: int, y: int, width: int) -> int:
    return x << y if y < width else 0


def _right_logical(x: int, y: int, width: int) -> int:
    return (x % 2**width) >> y if y < width else 0


def _right_arithmetic(x: int, y: int, width: int) -> int:
    return x >> min(y, width - 1)


def _count(x: NDArray) -> NDArray:
    width = x.dtype.itemsize * 8
    counts = [bin(int(v) % 2**width).count("1") for v in x.flat]
    return np.array(counts, x.dtype).reshape(x.shape)


def _shift_cases() -> list[Case]:
    cases = []
    for dtype in SIGNED + UNSIGNED:
        width = dtype.itemsize * 8
        counts = np.array([0, 1, 3, width - 1, width, width + 1], np.int64).astype(dtype)
        values = np.array([1, 5, -1, -3, np.iinfo(dtype).max], np.int64 if width < 64 else object)
        patterns = np.array([int(v) % 2**width for v in values], f"u{width // 8}").view(dtype)
        x, y = np.repeat(patterns, counts.size), np.tile(counts, patterns.size)
        table = {ShiftLeft(): _left, ShiftRightLogical(): _right_logical}
        if dtype in SIGNED:
            table[ShiftRightArithmetic()] = _right_arithmetic
        for primitive, function in table.items():
            reference = _of_width(function, dtype)
            cases.append(Case(primitive, given_as(x, y), reference, label="widths"))
            cases += integer_cases(primitive, reference, [dtype], arity=2)
    return cases


CASES: list[Case] = [
    *integer_cases(And(), wrapped(lambda x, y: x & y), BITS, arity=2),
    *integer_cases(Or(), wrapped(lambda x, y: x | y), BITS, arity=2),
    *integer_cases(Xor(), wrapped(lambda x, y: x ^ y), BITS, arity=2),
    *integer_cases(Not(), wrapped(lambda x: ~x), SIGNED + UNSIGNED, arity=1),
    *integer_cases(Not(), wrapped(lambda x: not x), [bool_], arity=1),
    *integer_cases(Popcount(), _count, SIGNED + UNSIGNED, arity=1),
    *_shift_cases(),
]
