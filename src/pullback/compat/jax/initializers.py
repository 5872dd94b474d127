"""``jax.nn.initializers``: functions that make functions ``(key, shape, dtype)`` of first weights.

Imports ``random``. The numbers are JAX's. Start at ``variance_scaling``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

from pullback import ops, random
from pullback.errors import ConfigurationError
from pullback.program.value import Value
from pullback.random.floats import TRUNCATED_DEVIATION
from pullback.types import float32

#: ``(key, shape, dtype=float32)`` gives an array.
Initializer = Callable[..., Value]


def constant(value: Any, dtype: Any = float32) -> Initializer:
    """Make arrays of one value."""

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Value:
        return ops.full(tuple(shape), value, dtype=dtype)

    return init


#: Unlike the others they are initializers themselves.
zeros, ones = constant(0), constant(1)


def uniform(scale: float = 1e-2, dtype: Any = float32) -> Initializer:
    """Make numbers uniform in ``[0, scale)``."""

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Value:
        return ops.multiply(random.uniform(key, shape, dtype), scale)

    return init


def normal(stddev: float = 1e-2, dtype: Any = float32) -> Initializer:
    """Make normal numbers of a standard deviation."""

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Value:
        return ops.multiply(random.normal(key, shape, dtype), stddev)

    return init


def truncated_normal(
    stddev: float = 1e-2, dtype: Any = float32, lower: float = -2.0, upper: float = 2.0
) -> Initializer:
    """Make normal numbers between ``lower`` and ``upper`` standard deviations."""

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Value:
        return ops.multiply(random.truncated_normal(key, lower, upper, shape, dtype), stddev)

    return init


def variance_scaling(
    scale: float,
    mode: str,
    distribution: str,
    in_axis: int = -2,
    out_axis: int = -1,
    dtype: Any = float32,
) -> Initializer:
    """Make numbers with the variance ``scale / n``, where ``n`` counts what is connected.

    Args:
        scale: A positive number.
        mode: ``"fan_in"``: ``n`` inputs; ``"fan_out"``: ``n`` outputs; ``"fan_avg"``: their mean.
        distribution: ``"truncated_normal"``, ``"normal"`` or ``"uniform"``.
        in_axis: The axis of the shape that counts inputs.
        out_axis: The axis that counts outputs. Other axes multiply both.
        dtype: A floating dtype.

    Raises:
        ConfigurationError: ``mode`` or ``distribution`` is none of these.

    Source: Glorot & Bengio 2010; He et al. 2015, arXiv:1502.01852.
    """
    modes = ("fan_in", "fan_out", "fan_avg")
    distributions = ("truncated_normal", "normal", "uniform")
    if mode not in modes or distribution not in distributions:
        raise ConfigurationError(
            f"variance_scaling with mode {mode!r} and distribution {distribution!r}: expected one "
            f"of {modes} and one of {distributions}"
        )

    def init(key: Any, shape: Sequence[int], dtype: Any = dtype) -> Value:
        rest = math.prod(shape) / (shape[in_axis] * shape[out_axis])
        inputs, outputs = shape[in_axis] * rest, shape[out_axis] * rest
        count = {"fan_in": inputs, "fan_out": outputs}.get(mode, (inputs + outputs) / 2)
        variance = scale / max(1.0, count)
        if distribution == "uniform":
            drawn = random.uniform(key, shape, dtype, -1.0)
            return ops.multiply(drawn, math.sqrt(3 * variance))
        if distribution == "normal":
            return ops.multiply(random.normal(key, shape, dtype), math.sqrt(variance))
        drawn = random.truncated_normal(key, -2.0, 2.0, shape, dtype)
        return ops.multiply(drawn, math.sqrt(variance) / TRUNCATED_DEVIATION)

    return init


glorot_uniform = functools.partial(variance_scaling, 1.0, "fan_avg", "uniform")
glorot_normal = functools.partial(variance_scaling, 1.0, "fan_avg", "truncated_normal")
lecun_uniform = functools.partial(variance_scaling, 1.0, "fan_in", "uniform")
lecun_normal = functools.partial(variance_scaling, 1.0, "fan_in", "truncated_normal")
he_uniform = functools.partial(variance_scaling, 2.0, "fan_in", "uniform")
he_normal = functools.partial(variance_scaling, 2.0, "fan_in", "truncated_normal")
xavier_uniform, xavier_normal = glorot_uniform, glorot_normal
kaiming_uniform, kaiming_normal = he_uniform, he_normal
