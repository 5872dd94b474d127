"""Random bits by position: Threefry-2x32 with JAX's key and counter layout, bit for bit.

Imports ``program`` and ``types``; the distributions are in ``pullback.random``. Start at
``RandomBits``. The hash is written twice: on NumPy arrays, and on elements for compiled programs.
"""

from __future__ import annotations

import math
from typing import Any, Final, final

import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.program.loops import Index, LoopBuilder, Operand, Scalar
from pullback.program.primitive import NDArray, Primitive, primitive
from pullback.types import ArrayType, DType, uint8, uint16, uint32, uint64

#: Unsigned dtype by width in bits.
UINTS: Final[dict[int, DType]] = {8: uint8, 16: uint16, 32: uint32, 64: uint64}

#: Rotation distances of the odd and the even groups of four rounds, and the key schedule's parity.
ROTATIONS: Final = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY: Final = 0x1BD11BDA
GROUPS: Final = 5

#: Counters hashed at a time: two words each and a temporary stay in the L2 cache.
CHUNK: Final = 1 << 15

KEY_TYPE: Final = ArrayType((2,), uint32)


def threefry2x32(key: NDArray, high: NDArray, low: NDArray) -> tuple[NDArray, NDArray]:
    """Hash 64-bit counters, given as two uint32 arrays of one shape, with a key ``u32[2]``.

    Returns:
        The two words of each hash.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", Threefry-2x32-20.
    """
    schedule = _key_schedule(int(key[0]), int(key[1]))
    x0, x1 = high + np.uint32(schedule[0]), low + np.uint32(schedule[1])
    carried = np.empty_like(x1)
    for group in range(GROUPS):
        for distance in ROTATIONS[group % 2]:
            np.add(x0, x1, out=x0)
            np.right_shift(x1, np.uint32(32 - distance), out=carried)
            np.left_shift(x1, np.uint32(distance), out=x1)
            np.bitwise_or(x1, carried, out=x1)
            np.bitwise_xor(x1, x0, out=x1)
        first, second = schedule[(group + 1) % 3], schedule[(group + 2) % 3]
        np.add(x0, np.uint32(first), out=x0)
        np.add(x1, np.uint32((second + group + 1) & 0xFFFFFFFF), out=x1)
    return x0, x1


def _key_schedule(key0: int, key1: int) -> tuple[int, int, int]:
    return key0, key1, key0 ^ key1 ^ PARITY


def threefry2x32_elements(
    b: LoopBuilder, key: tuple[Scalar, Scalar], counter: tuple[Scalar, Scalar]
) -> tuple[Scalar, Scalar]:
    """Hash one 64-bit counter, given as two uint32 elements: ``threefry2x32`` in the loop language.

    Returns:
        The two words of the hash.
    """

    def word(value: int) -> Scalar:
        return b.constant(value, uint32)

    parity = b.op("xor", b.op("xor", key[0], key[1]), word(PARITY))
    schedule = (*key, parity)
    x0, x1 = b.op("add", counter[0], key[0]), b.op("add", counter[1], key[1])
    for group in range(GROUPS):
        for distance in ROTATIONS[group % 2]:
            x0 = b.op("add", x0, x1)
            left = b.op("shl", x1, word(distance))
            right = b.op("shr", x1, word(32 - distance))
            x1 = b.op("xor", b.op("or", left, right), x0)
        x0 = b.op("add", x0, schedule[(group + 1) % 3])
        second = b.op("add", schedule[(group + 2) % 3], word(group + 1))
        x1 = b.op("add", x1, second)
    return x0, x1


def _check_key(name: str, key: ArrayType) -> None:
    if key.dtype != uint32:
        raise DTypeError(f"{name} with a key {key}; expected {KEY_TYPE}, made by random.key")
    if key.shape != KEY_TYPE.shape:
        raise ShapeError(
            f"{name} with a key {key}; expected one key {KEY_TYPE}. Index the keys that "
            "random.split made, or unpack them"
        )


@final
@primitive
class RandomBits(Primitive):
    """Uniform random bits: element ``i``, counted in row-major order, hashes counter ``i``.

    Width 64 puts the first word of the hash in the high half; width 32 is the exclusive or of the
    two words; widths 8 and 16 are the low bits of that. So every prefix is that of a longer array.

    Shapes: key: u32[2] -> uint[shape] of ``width`` bits.
    Cost: about 110 integer operations an element. No gradient.
    Source: Salmon et al. 2011, Threefry-2x32-20; layout of ``jax.random.bits`` with
    ``jax_threefry_partitionable``.
    """

    shape: tuple[int, ...]
    width: int
    name = "random_bits"
    differentiable = ()

    def infer(self, key: ArrayType) -> ArrayType:
        """Return the shape in the unsigned dtype of the width."""
        _check_key(self.name, key)
        if self.width not in UINTS:
            raise DTypeError(f"random_bits of width {self.width}; expected 8, 16, 32 or 64")
        if any(length < 0 for length in self.shape):
            raise ShapeError(f"random_bits of shape {self.shape}: a length is negative")
        return ArrayType(self.shape, UINTS[self.width])

    def evaluate(self, key: NDArray) -> NDArray:
        """Hash with NumPy, a chunk at a time."""
        size = math.prod(self.shape)
        bits = np.empty(size, UINTS[self.width])
        for start in range(0, size, CHUNK):
            counters = np.arange(start, min(start + CHUNK, size), dtype=uint64)
            high, low = (counters >> np.uint64(32)).astype(uint32), counters.astype(uint32)
            words = threefry2x32(key, high, low)
            bits[start : start + CHUNK] = self._combine(*words)
        return bits.reshape(self.shape)

    def _combine(self, first: NDArray, second: NDArray) -> NDArray:
        if self.width == 64:
            return (first.astype(uint64) << np.uint64(32)) | second
        combined: NDArray = first ^ second
        return combined.astype(UINTS[self.width], copy=False)

    def lower(self, b: LoopBuilder, index: Index, key: Operand) -> Scalar:
        """Hash the number of the element."""
        number = _row_major(index, self.shape)
        high, low = b.constant(0, uint32), number
        if math.prod(self.shape) > 1 << 32:
            high, low = b.index_value(number // (1 << 32), uint32), number % (1 << 32)
        words = (key.at((0,)), key.at((1,)))
        first, second = threefry2x32_elements(b, words, (high, b.index_value(low, uint32)))
        if self.width != 64:
            combined = b.op("xor", first, second)
            return combined if self.width == 32 else b.cast(combined, UINTS[self.width])
        left = b.op("shl", b.cast(first, uint64), b.constant(32, uint64))
        return b.op("or", left, b.cast(second, uint64))


def _row_major(index: Index, shape: tuple[int, ...]) -> Any:
    number: Any = 0
    for i, length in zip(index, shape, strict=True):
        number = number * length + i
    return number


@final
@primitive
class RandomFoldIn(Primitive):
    """A new key from a key and a number: the hash of the number as a counter.

    Shapes: key: u32[2], data: u32[] -> u32[2].
    Cost: one hash. No gradient. Source: ``jax.random.fold_in``.
    """

    name = "random_fold_in"
    differentiable = ()

    def infer(self, key: ArrayType, data: ArrayType) -> ArrayType:
        """Return the type of a key."""
        _check_key(self.name, key)
        if data.dtype != uint32 or data.shape:
            raise ShapeError(f"random_fold_in of data {data}; expected {ArrayType((), uint32)}")
        return key

    def evaluate(self, key: NDArray, data: NDArray) -> NDArray:
        """Hash with NumPy."""
        low = np.asarray(data).reshape(1)
        return np.concatenate(threefry2x32(key, np.zeros_like(low), low))

    def lower(self, b: LoopBuilder, index: Index, key: Operand, data: Operand) -> Scalar:
        """Hash, and select one of the two words."""
        words = (key.at((0,)), key.at((1,)))
        counter = (b.constant(0, uint32), data.at(()))
        first, second = threefry2x32_elements(b, words, counter)
        return b.select(b.within(index[0], 0, 1), first, second)
