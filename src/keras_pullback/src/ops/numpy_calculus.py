"""Differences, integrals, correlation, vector products and functions built from others."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from keras.src.backend import config

import pullback as pb
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.numpy_common import axes_of, floating, is_floating, to, unified, widened


def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    """Return the ``n``-th differences of neighbours along ``axis``."""
    a = real_tensor(a)
    if a.dtype != np.bool_:
        return pb.diff(a, axis, n)
    for _ in range(n):
        later, earlier = _neighbours(a, axis)
        a = pb.not_equal(later, earlier)
    return a


def _neighbours(x: Any, axis: int) -> tuple[Any, Any]:
    """Return ``x`` without its first and without its last slice along ``axis``."""
    (axis,) = axes_of(axis, x.ndim)
    before: tuple[Any, ...] = (slice(None),) * axis
    return x[(*before, slice(1, None))], x[(*before, slice(None, -1))]


def trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: int = -1) -> Any:
    """Return the integral of ``y`` along ``axis`` by the trapezoidal rule."""
    y = floating(y)
    (axis,) = axes_of(axis, y.ndim)
    later, earlier = _neighbours(y, axis)
    heights = pb.multiply(pb.add(later, earlier), 0.5)
    if x is None:
        width = to(real_tensor(dx), y.dtype)
    else:
        x = to(real_tensor(x), y.dtype)
        if x.ndim == 1:
            width = pb.reshape(pb.diff(x), (-1,) + (1,) * (y.ndim - axis - 1))
        else:
            width = pb.diff(x, axis)
    return pb.sum(pb.multiply(heights, width), axis)


def cross(
    x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: Any = None
) -> Any:
    """Return the cross product of vectors of two or three dimensions."""
    if axis is not None:
        axisa = axisb = axisc = axis
    x1, x2 = unified((x1, x2))
    if x1.dtype == np.bool_:
        x1, x2 = to(x1, "int32"), to(x2, "int32")
    a, b = pb.moveaxis(x1, axisa, -1), pb.moveaxis(x2, axisb, -1)
    if a.shape[-1] not in (2, 3) or b.shape[-1] not in (2, 3):
        raise ValueError(
            f"`cross` takes vectors of two or three dimensions, got {a.shape[-1]} and {b.shape[-1]}"
        )
    if a.shape[-1] == b.shape[-1] == 2:
        return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    (a0, a1, a2), (b0, b1, b2) = _three(a), _three(b)
    parts = [a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0]
    return pb.stack(parts, axisc)


def _three(x: Any) -> tuple[Any, Any, Any]:
    last = x[..., 2] if x.shape[-1] == 3 else pb.zeros_like(x[..., 0])
    return x[..., 0], x[..., 1], last


def corrcoef(x: Any) -> Any:
    """Return the correlation coefficients of the rows of ``x``."""
    x = floating(x)
    rows = pb.reshape(x, (1, -1)) if x.ndim < 2 else x
    apart = pb.subtract(rows, pb.mean(rows, 1, keepdims=True))
    together = pb.matmul(apart, pb.matrix_transpose(apart))
    spread = pb.sqrt(pb.diagonal(together))
    found = together / pb.expand_dims(spread, 1) / pb.expand_dims(spread, 0)
    found = pb.clip(found, -1.0, 1.0)
    return pb.reshape(found, ()) if x.ndim < 2 else found


def correlate(x1: Any, x2: Any, mode: str = "valid") -> Any:
    """Return the cross-correlation of two vectors."""
    x1, x2 = unified((x1, x2))
    if x1.ndim != 1 or x2.ndim != 1:
        raise ValueError(f"`correlate` takes vectors, got {x1.ndim} and {x2.ndim} axes")
    x1, x2 = floating(x1), floating(x2)
    swapped = x1.shape[0] < x2.shape[0]
    long, short = (x2, x1) if swapped else (x1, x2)
    before, after = _overhang(mode, short.shape[0])
    padded = pb.pad(long, (before, after))
    width = short.shape[0]
    places = np.arange(padded.shape[0] - width + 1)[:, None] + np.arange(width)
    windows = pb.take(padded, pb.asarray(places.astype(np.int32)), 0)
    found = pb.matmul(windows, short)
    return pb.flip(found) if swapped else found


def _overhang(mode: str, width: int) -> tuple[int, int]:
    """Return how far a window of ``width`` reaches over both ends."""
    if mode == "valid":
        return 0, 0
    if mode == "full":
        return width - 1, width - 1
    if mode == "same":
        return width // 2, width - 1 - width // 2
    raise ValueError(f"`mode` must be one of 'valid', 'same' and 'full', got {mode!r}")


def slogdet(x: Any) -> Any:
    """Return the sign and the logarithm of the absolute value of determinants."""
    return tuple(pb.linalg.slogdet(floating(x)))


def i0(x: Any) -> Any:
    """Return the modified Bessel function of the first kind, of order zero."""
    x = real_tensor(x)
    if not is_floating(x):
        x = to(x, "float64" if x.dtype.itemsize == 8 else config.floatx())
    wide = widened(x)
    size = pb.absolute(wide)
    near, far = _i0_series()
    small = pb.minimum(size, 8.0)
    large = pb.maximum(size, 8.0)
    below = _chebyshev(near, small / 4.0 - 1.0)
    above = _chebyshev(far, 16.0 / large - 1.0) / pb.sqrt(large)
    return to(pb.where(pb.less_equal(size, 8.0), below, above) * pb.exp(size), x.dtype)


@functools.cache
def _i0_series() -> tuple[Any, Any]:
    """Return Chebyshev series of ``exp(-x) i0(x)`` up to 8, and of ``sqrt(x)`` times it beyond."""
    fit = np.polynomial.chebyshev.chebinterpolate
    near = fit(lambda t: _scaled_i0(4 * (t + 1)), 28)
    far = fit(lambda t: np.sqrt(16 / (t + 1)) * _scaled_i0(16 / (t + 1)), 24)
    return near, far


def _scaled_i0(x: Any) -> Any:
    """Return ``exp(-x) i0(x)`` in float64, by its asymptotic series where that is exact."""
    terms = np.cumprod([(2 * k - 1) ** 2 / (8 * k) for k in range(1, 16)])
    powers = np.arange(1, 16)
    safe = np.maximum(x, 100.0)[..., None]
    tail = (1 + np.sum(terms / safe**powers, -1)) / np.sqrt(2 * np.pi * safe[..., 0])
    inside = np.minimum(x, 100.0)
    return np.where(x > 100, tail, np.i0(inside) * np.exp(-inside))


def _chebyshev(series: Any, t: Any) -> Any:
    """Evaluate a Chebyshev series by Clenshaw's recurrence."""
    later, last = pb.zeros_like(t), pb.zeros_like(t)
    for coefficient in series[:0:-1]:
        later, last = 2.0 * t * later - last + float(coefficient), later
    return t * later - last + float(series[0])


def vectorize(pyfunc: Callable[..., Any], *, excluded: Any = None, signature: Any = None) -> Any:
    """Return ``pyfunc`` applied along the axes that its signature does not name."""
    skipped = set(excluded or ())

    @functools.wraps(pyfunc)
    def vectorized(*args: Any, **kwargs: Any) -> Any:
        chosen = [i for i in range(len(args)) if i not in skipped]
        tensors = [real_tensor(args[i]) for i in chosen]
        cores = _core_axes(signature, len(chosen))
        loops = [x.shape[: x.ndim - core] for x, core in zip(tensors, cores, strict=True)]
        loop = pb.broadcast_shapes(*loops)

        def call(parts: Any) -> Any:
            full = list(args)
            for i, part in zip(chosen, parts, strict=True):
                full[i] = part
            return pyfunc(*full, **kwargs)

        if not loop:
            return call(tensors)
        rows = [
            pb.reshape(
                pb.broadcast_to(x, loop + x.shape[x.ndim - core :]),
                (math.prod(loop), *x.shape[x.ndim - core :]),
            )
            for x, core in zip(tensors, cores, strict=True)
        ]
        found = pb.map(call, rows)
        return pb.tree.map(lambda y: pb.reshape(y, loop + y.shape[1:]), found)

    return vectorized


def _core_axes(signature: Any, count: int) -> list[int]:
    """Return how many axes of each argument ``pyfunc`` itself takes."""
    if signature is None:
        return [0] * count
    groups = re.findall(r"\(([^()]*)\)", str(signature).split("->", maxsplit=1)[0])
    if len(groups) != count:
        raise ValueError(f"the signature {signature!r} has {len(groups)} arguments, got {count}")
    return [len([name for name in group.split(",") if name.strip()]) for group in groups]
