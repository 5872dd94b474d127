"""Normalisation layers and dropout as functions.

Imports ``arguments``, ``statistical`` and ``pullback.random``; exported by ``nn``. Statistics of
16-bit floats are computed in float32. Start at ``standardize``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pullback.errors import ShapeError, TracerArrayError
from pullback.ops.arguments import (
    ArrayLike,
    Axis,
    as_array,
    as_floating,
    is_concrete,
    normalize_axes,
)
from pullback.ops.dtypes import astype, strong
from pullback.ops.manipulation import reshape
from pullback.ops.statistical import mean as mean_
from pullback.primitives import operators
from pullback.primitives.reduce import spread
from pullback.primitives.transcendental import Rsqrt
from pullback.program.value import Value
from pullback.random import bernoulli
from pullback.types import DEFAULT_FLOAT, bfloat16, float16

__all__ = ["BatchNorm", "batch_norm", "dropout", "layer_norm", "rms_norm", "standardize"]


def _wide(x: ArrayLike) -> Value:
    value = strong(as_floating(x))
    return astype(value, DEFAULT_FLOAT) if value.dtype in (float16, bfloat16) else value


def _mean(x: Value, axes: tuple[int, ...]) -> Value:
    """The mean, repeated along the axes that it was taken along."""
    return spread(mean_(x, axes), x, axes) if axes else x


def standardize(
    x: ArrayLike,
    /,
    axis: Axis = -1,
    *,
    mean: ArrayLike | None = None,
    variance: ArrayLike | None = None,
    epsilon: float = 1e-5,
) -> Value:
    """Subtract the mean and divide by the standard deviation.

    Args:
        x: Array.
        axis: Along which axis or axes; None for all. Static.
        mean: The mean; None for that of ``x``.
        variance: The variance; None for that of ``x``.
        epsilon: Added to the variance.

    Raises:
        ShapeError: ``axis`` is out of range, or ``mean`` or ``variance`` do not broadcast.

    Differentiation: through the statistics too, where they are those of ``x``.

    Example:
        >>> pb.nn.standardize(pb.asarray([1.0, 3.0]))
        Array([-0.999995,  0.999995], f32)
    """
    value = _wide(x)
    axes = normalize_axes("standardize", axis, value.ndim)
    center = _mean(value, axes) if mean is None else _wide(mean)
    deviation = operators.subtract(value, center)
    return astype(_standardized(deviation, axes, variance, epsilon), as_floating(x).dtype)


def _standardized(
    deviation: Value, axes: tuple[int, ...], variance: ArrayLike | None, epsilon: float
) -> Value:
    if variance is not None:
        return operators.multiply(deviation, _inverse_root(_wide(variance), epsilon))
    squares = mean_(operators.multiply(deviation, deviation), axes)
    return operators.multiply(deviation, spread(_inverse_root(squares, epsilon), deviation, axes))


def _inverse_root(variance: Value, epsilon: float) -> Value:
    root: Value = Rsqrt()(operators.add(variance, epsilon))
    return root


def _fitted(name: str, parameter: ArrayLike, x: Value, axes: Sequence[int]) -> Value:
    """A parameter of the lengths of ``axes``, shaped to broadcast against ``x``."""
    value = as_array(parameter)
    if value.ndim == 0:
        return value
    expected = tuple(x.shape[i] for i in axes)
    if value.shape != expected:
        raise ShapeError(f"{name}: a parameter {value.type} for {x.type}; expected {expected}")
    return reshape(value, tuple(n if i in axes else 1 for i, n in enumerate(x.shape)))


def _affine(
    name: str,
    x: Value,
    axes: Sequence[int],
    scale: ArrayLike | None,
    offset: ArrayLike | None,
) -> Value:
    if scale is not None:
        x = operators.multiply(x, _fitted(name, scale, x, axes))
    if offset is not None:
        x = operators.add(x, _fitted(name, offset, x, axes))
    return x


def layer_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    /,
    *,
    axis: Axis = -1,
    epsilon: float = 1e-5,
) -> Value:
    """Standardize each sample along its feature axes, then scale and shift.

    Args:
        x: Array ``[..., n]``.
        scale: Array ``[n]`` (the lengths of ``axis``), or None.
        offset: Array ``[n]``, or None.
        axis: The feature axis or axes. Static.
        epsilon: Added to the variance.

    Returns:
        Array of the shape and dtype of ``x``.

    Raises:
        ShapeError: ``axis`` is out of range, or a parameter has another shape.

    Differentiation: with respect to ``x``, ``scale`` and ``offset``.
    Source: Ba et al. 2016, "Layer normalization", arXiv:1607.06450.

    Example:
        >>> pb.nn.layer_norm(pb.asarray([[1.0, 3.0], [2.0, 2.0]]))
        Array([[-0.999995,  0.999995],
               [ 0.      ,  0.      ]], f32)
    """
    value = _wide(x)
    axes = tuple(sorted(normalize_axes("layer_norm", axis, value.ndim)))
    deviation = operators.subtract(value, _mean(value, axes))
    result = _standardized(deviation, axes, None, epsilon)
    return astype(_affine("layer_norm", result, axes, scale, offset), as_floating(x).dtype)


def rms_norm(
    x: ArrayLike, scale: ArrayLike | None = None, /, *, axis: Axis = -1, epsilon: float = 1e-5
) -> Value:
    """Divide each sample by the root of the mean of its squares, then scale.

    Args:
        x: Array ``[..., n]``.
        scale: Array ``[n]`` (the lengths of ``axis``), or None.
        axis: The feature axis or axes. Static.
        epsilon: Added to the mean of squares.

    Raises:
        ShapeError: ``axis`` is out of range, or ``scale`` has another shape.

    Source: Zhang & Sennrich 2019, "Root mean square layer normalization", arXiv:1910.07467.

    Example:
        >>> pb.nn.rms_norm(pb.asarray([3.0, 4.0]))
        Array([0.8485278, 1.1313704], f32)
    """
    value = _wide(x)
    axes = tuple(sorted(normalize_axes("rms_norm", axis, value.ndim)))
    result = _standardized(value, axes, None, epsilon)
    return astype(_affine("rms_norm", result, axes, scale, None), as_floating(x).dtype)


class BatchNorm(NamedTuple):
    """What ``batch_norm`` returns: the result, and the statistics of the batch."""

    y: Value
    mean: Value
    variance: Value


def batch_norm(
    x: ArrayLike,
    scale: ArrayLike | None = None,
    offset: ArrayLike | None = None,
    /,
    *,
    axis: int = -1,
    epsilon: float = 1e-5,
    mean: ArrayLike | None = None,
    variance: ArrayLike | None = None,
) -> BatchNorm:
    """Standardize each feature over the batch, then scale and shift.

    Args:
        x: Array ``[..., n]``.
        scale: Array ``[n]``, or None.
        offset: Array ``[n]``, or None.
        axis: The feature axis, of length ``n``; statistics are taken along the others. Static.
        epsilon: Added to the variance.
        mean: Array ``[n]``: the moving mean, for inference; None for that of the batch.
        variance: Array ``[n]``: the moving variance, for inference; None for that of the batch.

    Returns:
        The result, and the mean and the (biased) variance ``[n]`` that it was computed with. For
        16-bit ``x`` these two are float32.

    Raises:
        ShapeError: ``axis`` is out of range, or a parameter has another shape.
        ValueError: one of ``mean`` and ``variance`` is given without the other.

    Differentiation: with respect to ``x`` (through the statistics too), ``scale`` and ``offset``.
    Source: Ioffe & Szegedy 2015, "Batch normalization", arXiv:1502.03167.

    Example:
        >>> pb.nn.batch_norm(pb.asarray([[1.0], [3.0]])).mean
        Array([2.], f32)
    """
    value = _wide(x)
    if (mean is None) != (variance is None):
        raise ValueError("batch_norm: give both the mean and the variance, or neither")
    features = normalize_axes("batch_norm", (axis,), value.ndim)
    others = tuple(i for i in range(value.ndim) if i not in features)
    if mean is None or variance is None:
        center = mean_(value, others)
        deviation = operators.subtract(value, _along(center, value, features[0]))
        squares = mean_(operators.multiply(deviation, deviation), others)
    else:
        n = (value.shape[features[0]],)
        center, squares = (_vector(_wide(p), n) for p in (mean, variance))
        deviation = operators.subtract(value, _along(center, value, features[0]))
    root = _along(_inverse_root(squares, epsilon), value, features[0])
    result = _affine("batch_norm", operators.multiply(deviation, root), features, scale, offset)
    return BatchNorm(astype(result, as_floating(x).dtype), center, squares)


def _along(x: Value, like: Value, axis: int) -> Value:
    """A vector along ``axis``, repeated along the other axes of ``like``."""
    return spread(x, like, tuple(i for i in range(like.ndim) if i != axis))


def _vector(x: Value, shape: tuple[int, ...]) -> Value:
    if x.shape not in ((), shape):
        raise ShapeError(f"batch_norm: statistics {x.type}; expected {shape}")
    return operators.broadcast_to(x, shape)


def dropout(
    key: ArrayLike, x: ArrayLike, rate: float, /, *, shape: Sequence[int] | None = None
) -> Value:
    """``x`` with random elements replaced by 0 and the others divided by ``1 - rate``.

    Args:
        key: Array ``u32[2]``, from ``pullback.random``. Use every key once.
        x: Array.
        rate: The probability of 0, in ``0 .. 1``. Static.
        shape: Shape of the random mask, which broadcasts to that of ``x``; None for that of ``x``.

    Returns:
        Array of the shape and dtype of ``x``.

    Raises:
        ShapeError: ``shape`` does not broadcast to that of ``x``.
        ValueError: ``rate`` is outside ``0 .. 1``.
        TracerArrayError: ``rate`` is traced.

    Differentiation: ``ct / (1 - rate)`` where the element was kept, else 0.
    Source: Srivastava et al. 2014, "Dropout", JMLR 15. The mask is the one that
    ``jax.random.bernoulli(key, 1 - rate, shape)`` draws.

    Example:
        >>> pb.nn.dropout(pb.random.key(0), pb.ones(4), 0.5)
        Array([0., 0., 2., 2.], f32)
    """
    value = as_floating(x)
    if not is_concrete(rate):
        raise TracerArrayError(
            f"dropout: the rate is traced, {as_array(rate).type}; expected a number: make it "
            "static, or use `pullback.where` with a mask of `pullback.random.bernoulli`"
        )
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"dropout: rate {rate}; expected 0 <= rate <= 1")
    if rate == 0.0:
        return value
    keep = bernoulli(key, 1.0 - rate, value.shape if shape is None else tuple(shape))
    if rate == 1.0:
        return operators.multiply(value, 0.0)
    return operators.where(keep, operators.divide(value, 1.0 - rate), 0)
