"""Discrete Fourier transforms of pairs of real and imaginary arrays.

Imports ``ops.core``. Transforms are products with matrices of roots of unity, after Cooley and
Tukey for composite lengths and Bluestein for long primes: differentiable, compiled, no host call.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

import pullback as pb
from keras_pullback.src.ops.core import real_tensor

#: Real and imaginary part.
Pair = tuple[Any, Any]

#: Lengths up to this are transformed by one matrix product.
DIRECT_LENGTH = 64
#: Longer primes are transformed as convolutions, shorter ones by their matrix.
LONGEST_PRIME = 512


@functools.lru_cache(maxsize=64)
def _roots(rows: int, columns: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cos and -sin of ``2 pi j k / n`` for j below ``rows`` and k below ``columns``."""
    angle = np.outer(np.arange(rows), np.arange(columns)) % n * (2 * math.pi / n)
    return np.cos(angle), -np.sin(angle)


def _multiply(x: Pair, y: Pair) -> Pair:
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def _constants(pair: tuple[np.ndarray, np.ndarray], dtype: Any) -> Pair:
    return pb.asarray(pair[0].astype(dtype)), pb.asarray(pair[1].astype(dtype))


def _factor(n: int) -> int:
    """Return the largest divisor up to the square root."""
    return next(d for d in range(math.isqrt(n), 0, -1) if n % d == 0)


def _transform(x: Pair) -> Pair:
    """Return the transform along the last axis."""
    n, dtype = x[0].shape[-1], x[0].dtype
    first = _factor(n) if n > DIRECT_LENGTH else 1
    if n > DIRECT_LENGTH and first > 1:
        return _composite(x, first, n // first)
    if n > LONGEST_PRIME:
        return _bluestein(x)
    cos, sin = _constants(_roots(n, n, n), dtype)
    return (
        pb.matmul(x[0], cos) - pb.matmul(x[1], sin),
        pb.matmul(x[0], sin) + pb.matmul(x[1], cos),
    )


def _composite(x: Pair, first: int, second: int) -> Pair:
    """Transform ``n = first * second`` points: ``second`` transforms of ``first``, and back."""
    lead = x[0].shape[:-1]
    n = first * second
    # Point second * a + b has place [b, a]; coefficient c + first * d has place [d, c].
    columns = tuple(pb.swapaxes(pb.reshape(p, (*lead, first, second)), -1, -2) for p in x)
    inner = _transform((columns[0], columns[1]))
    twisted = _multiply(inner, _constants(_roots(second, first, n), x[0].dtype))
    rows = tuple(pb.swapaxes(p, -1, -2) for p in twisted)
    outer = _transform((rows[0], rows[1]))
    real, imaginary = (pb.reshape(pb.swapaxes(p, -1, -2), (*lead, n)) for p in outer)
    return real, imaginary


def _bluestein(x: Pair) -> Pair:
    """Transform a prime number of points as a convolution with a chirp, of length a power of 2."""
    n, dtype = x[0].shape[-1], x[0].dtype
    length = 1 << (2 * n - 2).bit_length()
    angle = np.arange(n) ** 2 % (2 * n) * (math.pi / n)
    chirp = _constants((np.cos(angle), -np.sin(angle)), dtype)
    kernel = np.zeros(length, complex)
    kernel[:n] = np.exp(1j * angle)
    kernel[length - n + 1 :] = kernel[n - 1 : 0 : -1]
    spectrum = np.fft.fft(kernel)
    widths = [(0, 0)] * (x[0].ndim - 1) + [(0, length - n)]
    real, imaginary = (pb.pad(p, widths) for p in _multiply(x, chirp))
    product = _multiply(
        _transform((real, imaginary)), _constants((spectrum.real, spectrum.imag), dtype)
    )
    back = inverse(product)
    return _multiply((back[0][..., :n], back[1][..., :n]), chirp)


def inverse(x: Pair) -> Pair:
    """Return the inverse transform along the last axis."""
    n = x[0].shape[-1]
    # Exchanging the parts before and after turns the transform into n times its inverse.
    imaginary, real = _transform((x[1], x[0]))
    return real / n, imaginary / n


def as_pair(x: Any) -> Pair:
    """Return real and imaginary part as floating tensors of one shape, or raise ValueError."""
    if not isinstance(x, (tuple, list)) or len(x) != 2:
        raise ValueError(
            f"Input `x` should be a tuple of two tensors - real and imaginary. Received: x={x}"
        )
    real, imaginary = real_tensor(x[0]), real_tensor(x[1])
    if real.shape != imaginary.shape:
        raise ValueError(
            "Input `x` should be a tuple of two tensors - real and imaginary, of the same shape. "
            f"Received: x[0].shape = {real.shape}, x[1].shape = {imaginary.shape}"
        )
    if not all(pb.isdtype(part.dtype, "real floating") for part in (real, imaginary)):
        raise ValueError(
            "At least one tensor in input `x` is not of type float. "
            f"Received: {real.dtype}, {imaginary.dtype}"
        )
    return real, imaginary


def _along(transform: Any, x: Pair, axis: int) -> Pair:
    moved = transform(tuple(pb.moveaxis(part, axis, -1) for part in x))
    return pb.moveaxis(moved[0], -1, axis), pb.moveaxis(moved[1], -1, axis)


def fft(x: Any) -> Pair:
    """Fourier transform along the last axis."""
    return _transform(as_pair(x))


def fft2(x: Any) -> Pair:
    """Fourier transform along the last two axes."""
    return _along(_transform, _transform(as_pair(x)), -2)


def ifft2(x: Any) -> Pair:
    """Inverse Fourier transform along the last two axes."""
    return _along(inverse, inverse(as_pair(x)), -2)


def _fit(x: Any, length: int) -> Any:
    """Cut the last axis, or fill it up with zeros."""
    n = x.shape[-1]
    if n >= length:
        return x[..., :length]
    return pb.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, length - n)])


def rfft(x: Any, fft_length: int | None = None) -> Pair:
    """Half of the Fourier transform of real arrays: frequencies 0 to ``fft_length // 2``."""
    x = real_tensor(x)
    if not pb.isdtype(x.dtype, "real floating"):
        x = pb.astype(x, pb.float32)
    n = x.shape[-1] if fft_length is None else int(fft_length)
    x = _fit(x, n)
    bins = n // 2 + 1
    if n <= DIRECT_LENGTH:
        cos, sin = _constants(_roots(n, bins, n), x.dtype)
        return pb.matmul(x, cos), pb.matmul(x, sin)
    real, imaginary = _transform((x, pb.zeros_like(x)))
    return real[..., :bins], imaginary[..., :bins]


def irfft(x: Any, fft_length: int | None = None) -> Any:
    """Real arrays of half a Fourier transform."""
    real, imaginary = as_pair(x)
    n = 2 * (real.shape[-1] - 1) if fft_length is None else int(fft_length)
    bins = n // 2 + 1
    real, imaginary = _fit(real, bins), _fit(imaginary, bins)
    # The other half is the conjugate in reverse; frequencies 0 and n / 2 stand for themselves.
    mirrored = slice(1, bins - 1 if n % 2 == 0 else bins)
    tail = [pb.flip(part[..., mirrored], axis=-1) for part in (real, imaginary)]
    first = np.arange(bins) == 0
    alone = first | (np.arange(bins) == n / 2)
    imaginary = pb.where(pb.asarray(alone), pb.zeros_like(imaginary), imaginary)
    full = pb.concat([real, tail[0]], axis=-1), pb.concat([imaginary, -tail[1]], axis=-1)
    return inverse(full)[0]
