"""Distributions of floating numbers.

Imports ``primitives`` and ``keys``. Start at ``uniform``: the others are made of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.primitives import operators
from pullback.primitives.cast import Bitcast
from pullback.primitives.elementwise import Clip, Max, Nextafter
from pullback.primitives.random import UINTS, RandomBits
from pullback.primitives.special import Erf, Erfinv
from pullback.primitives.transcendental import Log, Log1p
from pullback.program.value import Value
from pullback.random.keys import ArrayLike, Shape, as_shape, fit, float_info, floating_dtype
from pullback.types import DType, float32

#: Standard deviation of the normal distribution cut off at 2 on both sides.
TRUNCATED_DEVIATION = 0.87962566103423978


def uniform(
    key: ArrayLike,
    shape: Shape = (),
    dtype: Any = float32,
    minval: ArrayLike = 0.0,
    maxval: ArrayLike = 1.0,
) -> Value:
    """Return numbers uniform in ``[minval, maxval)``.

    Args:
        key: Array ``u32[2]``.
        shape: Shape of the result. Static.
        dtype: A floating dtype.
        minval: Least value; broadcasts to ``shape``.
        maxval: Upper bound; broadcasts to ``shape``. Rounding can give ``maxval`` itself.

    Returns:
        Array ``T[shape]``, on a grid of 2**mantissa bits steps. With the default bounds JAX's bits;
        with others JAX may round once where this rounds twice.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, ``dtype`` is not floating, or a bound does
            not broadcast to ``shape``.

    Differentiation: with respect to the bounds; the drawn fraction is a constant.
    Source: ``jax.random.uniform``: random mantissa bits under the exponent of 1, minus 1.

    Example:
        >>> pb.random.uniform(pb.random.key(0), (2,))
        Array([0.947667 , 0.9785799], f32)
    """
    lengths, floating = as_shape("uniform", shape), floating_dtype("uniform", dtype)
    fraction = _fraction(key, lengths, floating)
    if _is_number(minval, 0.0) and _is_number(maxval, 1.0):
        return fraction
    low, high = operators.astype(minval, floating), operators.astype(maxval, floating)
    low, high = fit("uniform", low, lengths), fit("uniform", high, lengths)
    drawn: Value = Max()(low, fraction * (high - low) + low)
    return drawn


def _fraction(key: ArrayLike, shape: tuple[int, ...], dtype: DType) -> Value:
    """Return numbers uniform in [0, 1)."""
    info = float_info(dtype)
    unsigned = UINTS[info.bits]
    # The mantissa of bfloat16 has 7 bits: there 8 random bits are enough.
    width = info.bits if info.nmant >= 8 else 8
    drawn = operators.astype(RandomBits(shape, width)(key), unsigned)
    one = np.ones((), dtype)
    mantissa = drawn >> np.asarray(width - info.nmant, unsigned)
    fraction: Value = Bitcast(dtype)(mantissa | one.view(unsigned)) - one
    return fraction


def _is_number(x: ArrayLike, value: float) -> bool:
    return isinstance(x, (int, float)) and x == value


def normal(key: ArrayLike, shape: Shape = (), dtype: Any = float32) -> Value:
    """Return numbers of the standard normal distribution.

    Args:
        key: Array ``u32[2]``.
        shape: Shape of the result. Static.
        dtype: A floating dtype.

    Returns:
        Array ``T[shape]``. The uniform numbers behind it equal JAX's bit for bit; the results
        differ by the error of JAX's ``erfinv``: a few ulp, in the far tails some 30.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, or ``dtype`` is not floating.

    Source: ``jax.random.normal``: sqrt(2) erfinv(u), u uniform in (-1, 1).
    """
    floating = floating_dtype("normal", dtype)
    low = np.nextafter(np.asarray(-1, floating), np.asarray(0, floating))
    u = uniform(key, as_shape("normal", shape), floating, low, 1.0)
    drawn: Value = np.asarray(np.sqrt(2), floating) * Erfinv()(u)
    return drawn


def truncated_normal(
    key: ArrayLike,
    lower: ArrayLike,
    upper: ArrayLike,
    shape: Shape | None = None,
    dtype: Any = float32,
) -> Value:
    """Return numbers of the standard normal distribution between ``lower`` and ``upper``.

    Args:
        key: Array ``u32[2]``.
        lower: Lower bound; broadcasts to ``shape``.
        upper: Upper bound; broadcasts to ``shape``.
        shape: Shape of the result, by default what the bounds broadcast to. Static.
        dtype: A floating dtype.

    Returns:
        Array ``T[shape]``, strictly between the bounds.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, ``dtype`` is not floating, or a bound does
            not broadcast to ``shape``.

    Differentiation: with respect to the bounds.
    Source: ``jax.random.truncated_normal``: the inverse of the distribution function.
    """
    floating = floating_dtype("truncated_normal", dtype)
    low, high = operators.astype(lower, floating), operators.astype(upper, floating)
    if shape is None:
        shape = operators.broadcast_shapes(low.shape, high.shape)
    lengths = as_shape("truncated_normal", shape)
    low, high = (fit("truncated_normal", x, lengths) for x in (low, high))
    sqrt2 = np.asarray(np.sqrt(2), floating)
    u = uniform(key, lengths, floating, Erf()(low / sqrt2), Erf()(high / sqrt2))
    infinity = np.asarray(np.inf, floating)
    least, greatest = Nextafter()(low, infinity), Nextafter()(high, -infinity)
    drawn: Value = Clip()(Erfinv()(u) * sqrt2, least, greatest)
    return drawn


def exponential(key: ArrayLike, shape: Shape = (), dtype: Any = float32) -> Value:
    """Return numbers of the exponential distribution with rate 1.

    Args:
        key: Array ``u32[2]``.
        shape: Shape of the result. Static.
        dtype: A floating dtype.

    Returns:
        Array ``T[shape]``, at least 0.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, or ``dtype`` is not floating.

    Source: ``jax.random.exponential``: -log(1 - u), u uniform in [0, 1).
    """
    lengths, floating = as_shape("exponential", shape), floating_dtype("exponential", dtype)
    drawn: Value = -Log1p()(-uniform(key, lengths, floating))
    return drawn


def gumbel(key: ArrayLike, shape: Shape = (), dtype: Any = float32) -> Value:
    """Return numbers of the standard Gumbel distribution.

    Args:
        key: Array ``u32[2]``.
        shape: Shape of the result. Static.
        dtype: A floating dtype.

    Returns:
        Array ``T[shape]``. Added to log-probabilities, the position of the largest is a sample.

    Raises:
        DTypeError, ShapeError: ``key`` is not a key, or ``dtype`` is not floating.

    Source: ``jax.random.gumbel``: -log(-log(u)), u uniform in [smallest normal number, 1).
    """
    floating = floating_dtype("gumbel", dtype)
    tiny = np.asarray(float_info(floating).smallest_normal, floating)
    drawn: Value = -Log()(-Log()(uniform(key, as_shape("gumbel", shape), floating, tiny, 1.0)))
    return drawn
