"""Keys: making, splitting and using them; and the arguments that all distributions share.

Imports ``primitives``. Start at ``key``.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Final

import ml_dtypes
import numpy as np

from pullback.errors import DTypeError, ShapeError, TracerIntegerError
from pullback.primitives import operators
from pullback.primitives.cast import Convert
from pullback.primitives.random import RandomBits, RandomFoldIn
from pullback.primitives.shape import Concatenate, Reshape, Slice
from pullback.program.value import Array, Value, as_value
from pullback.types import (
    COMPUTED,
    INTEGER,
    SHORT_NAMES,
    UNSIGNED,
    DType,
    as_dtype,
    uint32,
    uint64,
)

#: A Value, a NumPy array or scalar, or a Python number.
ArrayLike = Any

#: A length, or several.
Shape = int | Sequence[int]

_WORD_BITS: Final = 32
_WORD_MASK: Final = (1 << _WORD_BITS) - 1


def key(seed: ArrayLike) -> Value:
    """Return the key of an integer seed.

    Args:
        seed: A Python integer of at most 64 bits, or an integer array without axes, also traced.

    Returns:
        Array ``u32[2]``: the high and the low 32 bits of the seed. As in JAX, the high word is 0
        for a Python integer that fits in 32 bits, also a negative one.

    Raises:
        DTypeError: the seed is not an integer, or has more than 64 bits.
        ShapeError: it has axes.

    Source: ``jax.random.PRNGKey`` with ``threefry2x32``; JAX without ``jax_enable_x64`` drops the
    high bits of longer seeds.

    Example:
        >>> pb.random.key(42)
        Array([ 0, 42], u32)
    """
    if isinstance(seed, int) and not isinstance(seed, (bool, np.generic)):
        if not -(1 << 63) <= seed < 1 << 64:
            raise DTypeError(f"random.key: the seed {seed} has more than 64 bits")
        fits = -(1 << 31) <= seed < 1 << 32
        words = (0 if fits else (seed >> _WORD_BITS) & _WORD_MASK, seed & _WORD_MASK)
        return Array(np.array(words, uint32))
    value = as_value(seed)
    if value.dtype not in INTEGER:
        raise DTypeError(f"random.key: seed {value.type}; expected an integer")
    if value.shape:
        raise ShapeError(f"random.key: seed {value.type}; expected one integer without axes")
    high = Array(np.zeros((), uint32))
    if value.dtype.itemsize == 8:
        high = Convert(uint32)(Convert(uint64)(value) >> _WORD_BITS)
    return _stack(high, Convert(uint32)(value))


PRNGKey = key


def split(key: ArrayLike, num: int | Sequence[int] = 2) -> Value:
    """Return new, independent keys.

    Args:
        key: Array ``u32[2]``.
        num: How many, or the shape of the array of keys. Static.

    Returns:
        Array ``u32[num.., 2]``; unpack or index it for single keys.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, or ``num`` has a negative length.

    Source: ``jax.random.split`` with ``jax_threefry_partitionable``.

    Example:
        >>> pb.random.split(pb.random.key(0))
        Array([[1797259609, 2579123966],
               [ 928981903, 3453687069]], u32)
    """
    words = RandomBits(as_shape("split", (num,) if isinstance(num, int) else num), 64)(key)
    return _stack(Convert(uint32)(words >> _WORD_BITS), Convert(uint32)(words))


def fold_in(key: ArrayLike, data: ArrayLike) -> Value:
    """Return a new key made of a key and a number, such as the number of a step or a layer.

    Args:
        key: Array ``u32[2]``.
        data: An integer without axes, also traced; its low 32 bits count.

    Returns:
        Array ``u32[2]``.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, or ``data`` not one integer.

    Source: ``jax.random.fold_in``.

    Example:
        >>> pb.random.fold_in(pb.random.key(0), 7)
        Array([2716826189,  292468403], u32)
    """
    if isinstance(data, int) and not isinstance(data, np.generic):
        number: Value = Array(np.asarray(data & _WORD_MASK, uint32))
    else:
        number = as_value(data)
        if number.dtype not in INTEGER:
            raise DTypeError(f"random.fold_in: data {number.type}; expected an integer")
        number = operators.astype(number, uint32)
    folded: Value = RandomFoldIn()(key, number)
    return folded


def bits(key: ArrayLike, shape: Shape = (), dtype: Any = uint32) -> Value:
    """Return uniform random bits as unsigned integers.

    Args:
        key: Array ``u32[2]``.
        shape: Shape of the result. Static.
        dtype: An unsigned integer dtype.

    Returns:
        Array ``uint[shape]``.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, or ``dtype`` is not unsigned.

    Cost: one hash, about 110 integer operations, an element.
    Source: ``jax.random.bits``; Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    unsigned = as_dtype(dtype)
    if unsigned not in UNSIGNED:
        raise DTypeError(f"random.bits in {SHORT_NAMES[unsigned]}; expected an unsigned integer")
    drawn: Value = RandomBits(as_shape("bits", shape), unsigned.itemsize * 8)(key)
    return drawn


def two_keys(keys: Value) -> tuple[Value, Value]:
    """Return the two keys of ``u32[2,2]``."""
    first, second = (Reshape((2,))(Slice((i, 0), (i + 1, 2), (1, 1))(keys)) for i in range(2))
    return first, second


def _stack(x: Value, y: Value) -> Value:
    """Return ``[..., 2]`` of two arrays of one shape."""
    parts = (Reshape((*part.shape, 1))(part) for part in (x, y))
    stacked: Value = Concatenate(x.ndim)(*parts)
    return stacked


def fit(name: str, x: Value, shape: tuple[int, ...]) -> Value:
    """Return an argument repeated to ``shape``; one without axes stays."""
    if operators.broadcast_shapes(x.shape, shape) != shape:
        raise ShapeError(f"random.{name}: {x.type} does not broadcast to the shape {shape}")
    return operators.broadcast_to(x, shape) if x.shape else x


def floating_dtype(name: str, dtype: Any) -> DType:
    """Return the dtype, which must be floating."""
    floating = as_dtype(dtype)
    if floating not in COMPUTED:
        raise DTypeError(
            f"random.{name} in {SHORT_NAMES[floating]}; expected a floating dtype of 16 bits or "
            "more; convert what is drawn with x.astype(...)"
        )
    return floating


def float_info(dtype: DType) -> Any:
    """Return what is known of a floating dtype, as ``numpy.finfo`` does."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def as_shape(name: str, shape: Shape) -> tuple[int, ...]:
    """Return a length, or a sequence of lengths, as a tuple."""
    items = shape if isinstance(shape, (tuple, list)) else (shape,)
    try:
        lengths = tuple(map(operator.index, items))
    except TracerIntegerError:
        raise
    except TypeError:
        raise DTypeError(f"random.{name}: shape {shape!r}; expected integers") from None
    if min(lengths, default=0) < 0:
        raise ShapeError(f"random.{name}: shape {lengths} has a negative length")
    return lengths


def as_axis(name: str, axis: int, ndim: int) -> int:
    """Return an axis counted from the front."""
    position = operator.index(axis)
    if not -ndim <= position < ndim:
        raise ShapeError(f"random.{name}: axis {axis}; expected {-ndim} <= axis < {ndim}")
    return position % ndim
