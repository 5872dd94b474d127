"""Distributions of truth values, integers and choices.

Imports ``primitives``, ``keys`` and ``floats``. Start at ``randint``.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from pullback.errors import DTypeError, ShapeError
from pullback.primitives import operators
from pullback.primitives.cumulative import CumSum
from pullback.primitives.elementwise import Clip
from pullback.primitives.indexing import Gather
from pullback.primitives.random import UINTS, RandomBits
from pullback.primitives.reduce import ArgMax
from pullback.primitives.shape import Iota, Reshape, Slice, Transpose
from pullback.primitives.sort import Sort
from pullback.primitives.transcendental import Log
from pullback.program.value import Array, Value, as_value
from pullback.random.floats import gumbel, uniform
from pullback.random.keys import ArrayLike, Shape, as_axis, as_shape, fit, split, two_keys
from pullback.types import (
    DEFAULT_INT,
    FLOATING,
    INTEGER,
    SHORT_NAMES,
    DType,
    as_dtype,
    int32,
    int64,
    uint64,
)


def bernoulli(key: ArrayLike, p: ArrayLike = 0.5, shape: Shape | None = None) -> Value:
    """Return booleans that are true with probability ``p``.

    Args:
        key: Array ``u32[2]``.
        p: Floating probabilities; broadcast to ``shape``.
        shape: Shape of the result, by default that of ``p``. Static.

    Returns:
        Array ``bool[shape]``.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, ``p`` is not floating or does not broadcast.

    Source: ``jax.random.bernoulli``: a uniform number in the dtype of ``p`` is less than ``p``.
    """
    probability = as_value(p)
    if probability.dtype not in FLOATING:
        raise DTypeError(f"random.bernoulli: p {probability.type}; expected a floating dtype")
    lengths = probability.shape if shape is None else as_shape("bernoulli", shape)
    below: Value = uniform(key, lengths, probability.dtype) < fit("bernoulli", probability, lengths)
    return below


def categorical(
    key: ArrayLike, logits: ArrayLike, axis: int = -1, shape: Shape | None = None
) -> Value:
    """Return samples of categories, given unnormalised log-probabilities.

    Args:
        key: Array ``u32[2]``.
        logits: Floating ``[..., n, ...]``: the probabilities are ``softmax(logits, axis)``.
        axis: The axis of the ``n`` categories. Static.
        shape: Shape of the result, to which that of ``logits`` without ``axis`` broadcasts; the
            default is this shape. Static.

    Returns:
        Array ``i32[shape]`` of numbers from 0 to n - 1.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, or ``logits``, ``axis`` or ``shape`` do not
            fit.

    Source: ``jax.random.categorical``: the largest of logits plus Gumbel noise.
    """
    weights = as_value(logits)
    position = as_axis("categorical", axis, weights.ndim)
    batch = tuple(n for i, n in enumerate(weights.shape) if i != position)
    lengths = batch if shape is None else as_shape("categorical", shape)
    if operators.broadcast_shapes(batch, lengths) != lengths:
        raise ShapeError(
            f"random.categorical: logits {weights.type} without axis {position} do not broadcast "
            f"to the shape {lengths}"
        )
    split_at = len(lengths) - len(batch)
    prefix, drawn = lengths[:split_at], list(lengths[split_at:])
    drawn.insert(position, weights.shape[position])
    noise = gumbel(key, (*prefix, *drawn), weights.dtype)
    chosen: Value = ArgMax(split_at + position, int32)(noise + weights)
    return chosen


def randint(
    key: ArrayLike,
    shape: Shape,
    minval: ArrayLike,
    maxval: ArrayLike,
    dtype: Any = DEFAULT_INT,
) -> Value:
    """Return integers uniform in ``[minval, maxval)``.

    Args:
        key: Array ``u32[2]``.
        shape: Shape of the result. Static.
        minval: Least value; broadcasts to ``shape``.
        maxval: Upper bound, exclusive; broadcasts to ``shape``. It may be one more than the dtype
            holds. Where it is not above ``minval`` the result is ``minval``.
        dtype: An integer dtype.

    Returns:
        Array ``T[shape]``. Where the span ``maxval - minval`` is no power of 2 some values are
        more probable than others, by span / 2**32 at most (2**64 for 64-bit dtypes), and by
        span / 2**64 (2**128) for spans up to 2**16 (2**32).

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, ``dtype`` is not an integer dtype, or a bound
            does not broadcast to ``shape``.

    Source: ``jax.random.randint``: a number of twice the width, modulo the span.
    """
    lengths, integer = as_shape("randint", shape), as_dtype(dtype)
    if integer not in INTEGER:
        raise DTypeError(f"random.randint in {SHORT_NAMES[integer]}; expected an integer dtype")
    # Narrow numbers are drawn in 32 bits, where the bias is small.
    sampled = int32 if integer.itemsize < 4 else integer
    width = sampled.itemsize * 8
    low, span, multiplier = _randint_span(minval, maxval, integer, sampled)
    first, second = two_keys(split(key))
    high_bits, low_bits = RandomBits(lengths, width)(first), RandomBits(lengths, width)(second)
    scale = operators.astype(multiplier, UINTS[width])
    offset = _modulo(high_bits, span) * scale + _modulo(low_bits, span)
    drawn = operators.astype(_modulo(offset, span), sampled) + low
    return fit("randint", operators.astype(drawn, integer), lengths)


def _randint_span(
    minval: ArrayLike, maxval: ArrayLike, dtype: DType, sampled: DType
) -> tuple[Value, Value | int, Value | int]:
    """Return the least value, the span, and the square of 2**(width / 2) modulo the span.

    The square wraps at 2**width, as it does in JAX: spans above 2**(width / 2) have it 0.

    They are numbers where both bounds are, else Values, of which a span of 2**width is 0.
    """
    limits = np.iinfo(dtype)
    least, greatest = int(limits.min), int(limits.max)
    if isinstance(minval, (int, np.integer)) and isinstance(maxval, (int, np.integer)):
        start = min(max(int(minval), least), greatest)
        stop = min(max(int(maxval), least), greatest + 1)
        length = max(stop - start, 1)
        root = (1 << sampled.itemsize * 4) % length
        wrapped = root * root % (1 << sampled.itemsize * 8)
        return Array(np.asarray(start, sampled)), length, wrapped % length
    low, high = _as_integers(minval), _as_integers(maxval)
    beyond = high > greatest if greatest <= np.iinfo(high.dtype).max else False
    low, high = (_clip_to(x, least, greatest, sampled) for x in (low, high))
    unsigned = UINTS[sampled.itemsize * 8]
    rises = high > low
    difference = operators.astype(high - low, unsigned) + operators.astype(beyond, unsigned)
    span = operators.where(rises, difference, 1)
    half = Array(np.asarray(1 << sampled.itemsize * 4, unsigned))
    remainder = _modulo(half, span)
    return low, span, _modulo(remainder * remainder, span)


def _modulo(x: Value, span: Value | int) -> Value:
    """Return ``x`` modulo a span of at most 2**width, which a Value writes as 0."""
    if isinstance(span, int):
        full = span >> x.dtype.itemsize * 8
        rest: Value = x if full else x % np.asarray(span, x.dtype)
        return rest
    return operators.where(span == 0, x, x % span)


def _as_integers(x: ArrayLike) -> Value:
    if isinstance(x, int) and not -(1 << 31) <= x < 1 << 31:
        return Array(np.asarray(x, uint64 if x > np.iinfo(np.int64).max else int64))
    value = as_value(x)
    return value if value.dtype in INTEGER else operators.astype(value, DEFAULT_INT)


def _clip_to(x: Value, least: int, greatest: int, dtype: DType) -> Value:
    """Return integers in ``dtype``, clipped to ``least..greatest`` before they are converted."""
    limits = np.iinfo(x.dtype)
    low = np.asarray(max(least, int(limits.min)), x.dtype)
    high = np.asarray(min(greatest, int(limits.max)), x.dtype)
    return operators.astype(Clip()(x, low, high), dtype)


def permutation(key: ArrayLike, x: ArrayLike, axis: int = 0, independent: bool = False) -> Value:
    """Return a random permutation of ``0 .. x - 1``, or of the slices of an array.

    Args:
        key: Array ``u32[2]``.
        x: A Python integer, or an array ``[..., n, ...]``.
        axis: The axis of length ``n`` that is shuffled. Static.
        independent: Whether every vector along ``axis`` gets a permutation of its own.

    Returns:
        Array ``i32[x]``, or an array of the shape and dtype of ``x``.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, or ``x`` or ``axis`` do not fit.

    Differentiation: with respect to an array ``x``.
    Cost: one or two sorts by random numbers.
    Source: ``jax.random.permutation``: as many sorts as make equal numbers improbable.
    """
    if isinstance(x, (int, np.integer)):
        length = operator.index(x)
        if length < 0:
            raise ShapeError(f"random.permutation of {length} numbers; expected 0 or more")
        return _shuffle(key, Iota((length,), DEFAULT_INT, 0)(), as_axis("permutation", axis, 1))
    array = as_value(x)
    if not array.shape:
        raise ShapeError(
            f"random.permutation of {array.type}: the length of the result would depend on a "
            "value; give a Python integer or an array with axes"
        )
    position = as_axis("permutation", axis, array.ndim)
    if independent or array.ndim == 1:
        return _shuffle(key, array, position)
    order = _shuffle(key, Iota((array.shape[position],), DEFAULT_INT, 0)(), 0)
    return _take(array, order, position)


def _shuffle(key: ArrayLike, x: Value, axis: int) -> Value:
    # Equal sort keys bias the order; this many sorts make them improbable (the factor is JAX's).
    rounds = math.ceil(3 * math.log(max(1, x.size)) / math.log(2**32 - 1))
    for _ in range(rounds):
        key, subkey = two_keys(split(key))
        _, x = Sort(axis, 1)(RandomBits(x.shape, 32)(subkey), x)
    return x


def choice(
    key: ArrayLike,
    a: ArrayLike,
    shape: Shape = (),
    replace: bool = True,
    p: ArrayLike | None = None,
    axis: int = 0,
) -> Value:
    """Return random elements of ``0 .. a - 1``, or random slices of an array.

    Args:
        key: Array ``u32[2]``.
        a: A Python integer, or an array ``[..., n, ...]``.
        shape: How many, as a shape. Static.
        replace: Whether an element can be drawn more than once. Static.
        p: Probabilities ``[n]``, floating; they need not sum to 1. ``None``: all equal.
        axis: The axis of length ``n``. Static.

    Returns:
        Array ``i32[shape]``, or an array in which ``shape`` replaces ``axis`` of ``a``.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key; arguments do not fit; there is nothing to
            draw from, or not enough without replacement.

    Source: ``jax.random.choice``: inversion of the cumulative sums of ``p``, or the largest
    log-probabilities plus Gumbel noise.
    """
    lengths = as_shape("choice", shape)
    array = None if isinstance(a, (int, np.integer)) else as_value(a)
    position = 0 if array is None else as_axis("choice", axis, array.ndim)
    total = operator.index(a) if array is None else array.shape[position]
    count = math.prod(lengths)
    if (total <= 0 < count) or (not replace and count > total):
        kind = "with" if replace else "without"
        raise ShapeError(f"random.choice: cannot draw {count} of {total} {kind} replacement")
    if p is not None:
        chosen = _choose_by_weight(key, total, lengths, replace, as_value(p))
    elif replace:
        chosen = randint(key, lengths, 0, total)
    else:
        chosen = Reshape(lengths)(_first(permutation(key, total), count))
    return chosen if array is None else _take(array, chosen, position)


def _choose_by_weight(
    key: ArrayLike, total: int, shape: tuple[int, ...], replace: bool, p: Value
) -> Value:
    if p.dtype not in FLOATING or p.shape != (total,):
        raise ShapeError(f"random.choice: p {p.type}; expected floating probabilities [{total}]")
    if replace:
        sums = CumSum(0, False)(p)
        last = Reshape(())(Slice((total - 1,), (total,), (1,))(sums)) if total else 1.0
        return _search_sorted(sums, last * (1.0 - uniform(key, shape, p.dtype)))
    noisy = gumbel(key, (total,), p.dtype) + Log()(p)
    _, order = Sort(0, 1)(-noisy, Iota((total,), DEFAULT_INT, 0)())
    drawn: Value = Reshape(shape)(_first(order, math.prod(shape)))
    return drawn


def _search_sorted(rising: Value, x: Value) -> Value:
    """Return for each element of ``x`` the number of elements of ``rising`` that are less."""
    (length,) = rising.shape
    low = operators.broadcast_to(Array(np.asarray(0, int32)), x.shape)
    high = operators.broadcast_to(Array(np.asarray(length, int32)), x.shape)
    for _ in range(length.bit_length()):
        middle = (low + high) >> 1
        found = _take(rising, middle, 0)
        less = (found < x) & (low < high)
        low, high = operators.where(less, middle + 1, low), operators.where(less, high, middle)
    return low


def _take(x: Value, positions: Value, axis: int) -> Value:
    """Return slices of ``x`` along ``axis``; the axes of ``positions`` take its place."""
    taken = Gather((axis,), 0, "clip")(x, Reshape((*positions.shape, 1))(positions))
    lead = positions.ndim
    order = (*range(lead, lead + axis), *range(lead), *range(lead + axis, taken.ndim))
    moved: Value = taken if axis == 0 or lead == 0 else Transpose(order)(taken)
    return moved


def _first(x: Value, count: int) -> Value:
    part: Value = Slice((0,), (count,), (1,))(x)
    return part
