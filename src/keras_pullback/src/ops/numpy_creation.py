"""Tensors made from shapes, ranges and numbers; ``floatx`` where no dtype is given."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.backend import config, standardize_dtype
from keras.src.backend.common import dtypes

import pullback as pb
from keras_pullback.src.ops.complex_arrays import real_dtype
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.numpy_common import operand, to


def _dtype(dtype: Any) -> Any:
    return real_dtype(dtype) if dtype is not None else config.floatx()


def _shape(shape: Any) -> Any:
    return int(shape) if np.ndim(shape) == 0 else tuple(int(n) for n in shape)


def array(x: Any, dtype: Any = None) -> Any:
    """Return a tensor with the values of ``x``."""
    return real_tensor(x, dtype=dtype)


def zeros(shape: Any, dtype: Any = None) -> Any:
    """Return a tensor of zeros."""
    return pb.zeros(_shape(shape), dtype=_dtype(dtype))


def ones(shape: Any, dtype: Any = None) -> Any:
    """Return a tensor of ones."""
    return pb.ones(_shape(shape), dtype=_dtype(dtype))


def empty(shape: Any, dtype: Any = None) -> Any:
    """Return a tensor whose values do not matter: zeros."""
    return zeros(shape, dtype)


def full(shape: Any, fill_value: Any, dtype: Any = None) -> Any:
    """Return a tensor filled with a value."""
    value = pb.astype(real_tensor(fill_value), _dtype(dtype))
    shape = _shape(shape)
    return pb.broadcast_to(value, (shape,) if isinstance(shape, int) else shape)


def _like(x: Any, dtype: Any) -> tuple[tuple[int, ...], Any]:
    x = real_tensor(x)
    return x.shape, x.dtype if dtype is None else real_dtype(dtype)


def zeros_like(x: Any, dtype: Any = None) -> Any:
    """Return zeros of the shape and dtype of ``x``."""
    return pb.zeros(*_like(x, dtype))


def ones_like(x: Any, dtype: Any = None) -> Any:
    """Return ones of the shape and dtype of ``x``."""
    return pb.ones(*_like(x, dtype))


def empty_like(x: Any, dtype: Any = None) -> Any:
    """Return a tensor of the shape and dtype of ``x`` whose values do not matter."""
    return pb.zeros(*_like(x, dtype))


def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """Return a tensor of the shape and dtype of ``x`` filled with a value."""
    shape, dtype = _like(x, dtype)
    return full(shape, fill_value, dtype)


def eye(N: Any, M: Any = None, k: int = 0, dtype: Any = None) -> Any:
    """Return a matrix with ones on a diagonal."""
    return pb.eye(int(N), None if M is None else int(M), k=k, dtype=_dtype(dtype))


def identity(n: Any, dtype: Any = None) -> Any:
    """Return the square matrix with ones on its diagonal."""
    return pb.eye(int(n), dtype=_dtype(dtype))


def tri(N: Any, M: Any = None, k: int = 0, dtype: Any = None) -> Any:
    """Return a matrix with ones at and below a diagonal."""
    return pb.tri(int(N), None if M is None else int(M), k, dtype=_dtype(dtype))


def arange(start: Any, stop: Any = None, step: Any = None, dtype: Any = None) -> Any:
    """Return evenly spaced numbers from ``start`` up to, but not including, ``stop``."""
    given = [end for end in (start, stop, step) if end is not None]
    if dtype is None:
        dtype = dtypes.result_type(*[getattr(end, "dtype", type(end)) for end in given])
    start, stop, step = (_number(end) for end in (start, stop, step))
    if stop is None:
        start, stop = 0, start
    return pb.arange(start, stop, 1 if step is None else step, dtype=standardize_dtype(dtype))


def _number(x: Any) -> Any:
    return x.item() if hasattr(x, "item") else x


def linspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Return ``num`` evenly spaced numbers, along a new axis for tensors of ends."""
    start, stop, wide = _ends(start, stop)
    found = _spaced(start, stop, num, endpoint)
    result = wide if dtype is None else standardize_dtype(dtype)
    if dtype is not None and not pb.isdtype(pb.result_type(result), "real floating"):
        found = pb.floor(found)
    found = (
        pb.moveaxis(pb.astype(found, result), 0, axis)
        if found.ndim > 1
        else pb.astype(found, result)
    )
    if not retstep:
        return found
    gaps = num - 1 if endpoint else num
    gap = (stop - start) / gaps if gaps > 0 else pb.full_like(start, np.nan)
    return found, gap


def _ends(start: Any, stop: Any) -> tuple[Any, Any, Any]:
    """Return the two ends as floating tensors of one shape, and their dtype."""
    start, stop = operand(start), operand(stop)
    dtype = pb.result_type(start, stop)
    if not pb.isdtype(dtype, "real floating"):
        dtype = pb.result_type(config.floatx())
    start, stop = pb.broadcast_arrays(pb.asarray(start, dtype=dtype), pb.asarray(stop, dtype=dtype))
    return start, stop, dtype


def _spaced(start: Any, stop: Any, num: int, endpoint: bool) -> Any:
    """Return ``num`` numbers from ``start`` to ``stop`` along a new first axis."""
    gaps = num - 1 if endpoint else num
    narrow = start.dtype.itemsize == 2
    wide = "float32" if narrow else start.dtype
    steps = np.arange(num, dtype=np.float64) / (gaps if gaps > 0 else 1)
    column = pb.asarray(steps.reshape((num,) + (1,) * start.ndim), dtype=wide)
    low, high = to(start, wide), to(stop, wide)
    spaced = low * (1 - column) + high * column
    if endpoint and num > 1:  # the last is the end itself, without rounding
        spaced = pb.concatenate([spaced[:-1], pb.expand_dims(high, 0)], 0)
    return spaced


def logspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    base: Any = 10,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Return ``num`` numbers whose logarithms to ``base`` are evenly spaced."""
    exponents = linspace(start, stop, num, endpoint, axis=axis)
    found = pb.power(pb.asarray(operand(base), dtype=exponents.dtype), exponents)
    return found if dtype is None else pb.astype(found, standardize_dtype(dtype))


def geomspace(
    start: Any,
    stop: Any,
    num: int = 50,
    endpoint: bool = True,
    dtype: Any = None,
    axis: int = 0,
) -> Any:
    """Return ``num`` numbers evenly spaced on a logarithmic scale."""
    start, stop, _ = _ends(start, stop)
    spaced = _spaced(pb.log(pb.absolute(start)), pb.log(pb.absolute(stop)), num, endpoint)
    found = pb.multiply(pb.astype(pb.exp(spaced), start.dtype), pb.sign(start))
    if num > 0:  # the ends themselves, without rounding
        ends = [pb.expand_dims(start, 0), found[1:]]
        if endpoint and num > 1:
            ends = [ends[0], found[1:-1], pb.expand_dims(stop, 0)]
        found = pb.concatenate(ends, 0)
    found = pb.moveaxis(found, 0, axis) if found.ndim > 1 else found
    return found if dtype is None else pb.astype(found, standardize_dtype(dtype))


def vander(x: Any, N: Any = None, increasing: bool = False) -> Any:
    """Return the matrix whose columns are powers of ``x``."""
    x = real_tensor(x)
    if x.ndim != 1:
        raise ValueError(f"`vander` takes a tensor of one axis, got {x.ndim}")
    columns = x.shape[0] if N is None else int(N)
    powers = np.arange(columns) if increasing else np.arange(columns)[::-1]
    exact = to(x, "int32") if x.dtype == np.bool_ else x
    return pb.power(pb.expand_dims(exact, 1), pb.asarray(powers.copy(), dtype=exact.dtype))


def _window(x: Any, shape: Any) -> Any:
    """Return the values of a window of ``x`` points: ``shape`` of their places, at least two."""
    points = int(real_tensor(x))
    values = np.ones(points) if points <= 1 else shape(np.arange(points, dtype=np.float64), points)
    return pb.asarray(values, dtype=config.floatx())


def bartlett(x: Any) -> Any:
    """Return the Bartlett window of ``x`` points."""
    return _window(x, lambda n, m: 1 - np.abs(2 * n / (m - 1) - 1))


def hamming(x: Any) -> Any:
    """Return the Hamming window of ``x`` points."""
    return _window(x, lambda n, m: 0.54 - 0.46 * np.cos(2 * np.pi * n / (m - 1)))


def hanning(x: Any) -> Any:
    """Return the Hann window of ``x`` points."""
    return _window(x, lambda n, m: 0.5 - 0.5 * np.cos(2 * np.pi * n / (m - 1)))


def blackman(x: Any) -> Any:
    """Return the Blackman window of ``x`` points."""

    def shape(n: Any, m: int) -> Any:
        turn = 2 * np.pi * n / (m - 1)
        return 0.42 - 0.5 * np.cos(turn) + 0.08 * np.cos(2 * turn)

    return _window(x, shape)


def kaiser(x: Any, beta: Any) -> Any:
    """Return the Kaiser window of ``x`` points with the shape ``beta``."""
    width = float(real_tensor(beta))

    def shape(n: Any, m: int) -> Any:
        inside = 1 - (2 * n / (m - 1) - 1) ** 2
        return np.i0(width * np.sqrt(np.maximum(inside, 0))) / np.i0(width)

    return _window(x, shape)
