"""Random tensors from Keras's seeds, with the bits of ``jax.random``.

Imports ``ops.core``. A drawn seed is a Threefry key ``u32[2]``, so that one seed gives the numbers
that Keras draws on JAX. ``gamma``, ``beta`` and ``binomial`` are drawn by NumPy on the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras.src.backend.common import standardize_dtype
from keras.src.backend.config import floatx
from keras.src.random.seed_generator import SeedGenerator, draw_seed, make_default_seed

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor

__all__ = [
    "SeedGenerator",
    "beta",
    "binomial",
    "categorical",
    "draw_seed",
    "dropout",
    "gamma",
    "make_default_seed",
    "normal",
    "randint",
    "shuffle",
    "truncated_normal",
    "uniform",
]


def _key(seed: Any) -> Any:
    """Return the key of an integer, a seed generator, None, or a seed that was drawn before."""
    drawn = seed if hasattr(seed, "dtype") else draw_seed(seed)
    return cast(real_tensor(drawn), "uint32")


def _bound(value: Any, dtype: Any) -> Any:
    return value if isinstance(value, (int, float)) else cast(real_tensor(value), dtype)


def normal(
    shape: Sequence[int], mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None
) -> Any:
    """Draw from the normal distribution."""
    dtype = dtype or floatx()
    sample = pb.random.normal(_key(seed), tuple(shape), dtype)
    return sample * _bound(stddev, dtype) + _bound(mean, dtype)


def uniform(
    shape: Sequence[int], minval: Any = 0.0, maxval: Any = 1.0, dtype: Any = None, seed: Any = None
) -> Any:
    """Draw from the uniform distribution on ``[minval, maxval)``."""
    dtype = dtype or floatx()
    low, high = _bound(minval, dtype), _bound(maxval, dtype)
    return pb.random.uniform(_key(seed), tuple(shape), dtype, low, high)


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Any = None) -> Any:
    """Draw ``num_samples`` categories for each row of unnormalised log-probabilities."""
    logits = real_tensor(logits)
    shape = (logits.shape[0], num_samples, *logits.shape[2:])
    drawn = pb.random.categorical(_key(seed), logits[..., None], axis=1, shape=shape)
    return cast(drawn, dtype)


def randint(
    shape: Sequence[int], minval: Any, maxval: Any, dtype: Any = "int32", seed: Any = None
) -> Any:
    """Draw integers uniform on ``[minval, maxval)``."""
    low, high = (
        value if isinstance(value, int) else real_tensor(value) for value in (minval, maxval)
    )
    return pb.random.randint(_key(seed), tuple(shape), low, high, dtype)


def truncated_normal(
    shape: Sequence[int], mean: Any = 0.0, stddev: Any = 1.0, dtype: Any = None, seed: Any = None
) -> Any:
    """Draw from the normal distribution, cut at two standard deviations."""
    dtype = dtype or floatx()
    sample = pb.random.truncated_normal(_key(seed), -2.0, 2.0, tuple(shape), dtype)
    return sample * _bound(stddev, dtype) + _bound(mean, dtype)


def dropout(
    inputs: Any, rate: float, noise_shape: Sequence[int | None] | None = None, seed: Any = None
) -> Any:
    """Set elements to 0 with probability ``rate`` and scale the rest by ``1 / (1 - rate)``."""
    inputs = real_tensor(inputs)
    if rate == 1.0:
        return pb.zeros_like(inputs)
    if rate == 0.0:
        return inputs
    keep = 1.0 - rate
    shape = tuple(inputs.shape)
    if noise_shape is not None:
        pairs = enumerate(noise_shape)
        noise = tuple(shape[i] if length is None else int(length) for i, length in pairs)
    else:
        noise = shape
    kept = pb.random.bernoulli(_key(seed), keep, noise)
    return pb.where(kept, inputs / keep, pb.zeros_like(inputs))


def shuffle(x: Any, axis: int = 0, seed: Any = None) -> Any:
    """Shuffle the elements along an axis, each vector by a permutation of its own."""
    return pb.random.permutation(_key(seed), real_tensor(x), axis, independent=True)


def _generator(key: np.ndarray[Any, Any]) -> np.random.Generator:
    high, low = (int(word) for word in key)
    return np.random.Generator(np.random.Philox(key=high << 32 | low))


def gamma(shape: Sequence[int], alpha: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Draw from the gamma distribution with scale 1; has no derivative by ``alpha``."""
    dtype = dtype or floatx()
    return cast(_gamma(_key(seed), tuple(shape), alpha, _wide(dtype)), dtype)


def _wide(dtype: Any) -> np.dtype[Any]:
    """Return the dtype in which NumPy's draws are handed over."""
    return np.dtype("float64" if standardize_dtype(dtype) == "float64" else "float32")


def _gamma(key: Any, shape: tuple[int, ...], alpha: Any, dtype: np.dtype[Any]) -> Any:
    def draw(words: Any, shapes: Any) -> Any:
        return np.asarray(_generator(words).standard_gamma(shapes, shape), dtype)

    result = pb.ArrayType(shape, dtype)
    return pb.pure_callback(draw, result, key, real_tensor(alpha, dtype))


def binomial(
    shape: Sequence[int], counts: Any, probabilities: Any, dtype: Any = None, seed: Any = None
) -> Any:
    """Draw the number of successes in ``counts`` trials."""
    lengths, dtype = tuple(shape), dtype or floatx()
    wide = _wide(dtype)

    def draw(words: Any, trials: Any, p: Any) -> Any:
        drawn = _generator(words).binomial(trials.astype(np.int64), p, lengths)
        return np.asarray(drawn, wide)

    trials = real_tensor(counts, wide)
    p = real_tensor(probabilities, wide)
    result = pb.ArrayType(lengths, wide)
    return cast(pb.pure_callback(draw, result, _key(seed), trials, p), dtype)


def beta(shape: Sequence[int], alpha: Any, beta: Any, dtype: Any = None, seed: Any = None) -> Any:
    """Draw from the beta distribution; has no derivative by ``alpha`` and ``beta``."""
    dtype = dtype or floatx()
    keys = pb.random.split(_key(seed))
    first, second = (
        _gamma(keys[i], tuple(shape), a, _wide(dtype)) for i, a in enumerate((alpha, beta))
    )
    return cast(first / (first + second), dtype)
