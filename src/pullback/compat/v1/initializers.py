"""Initializers: ``tf.zeros_initializer``, which is also ``tf.initializers.zeros``, and the others.

Imports ``random_ops`` and ``arrays``. Each function returns an ``Initializer``, which makes the
first value of a variable from its shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from pullback.compat.v1.arrays import fill_with
from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.random_ops import random_normal, random_uniform, truncated_normal
from pullback.compat.v1.refusals import refuse
from pullback.compat.v1.shapes import full_dims
from pullback.compat.v1.tensor import Tensor, constant
from pullback.random.floats import TRUNCATED_DEVIATION
from pullback.types import as_dtype, float32


class Initializer:
    """Makes the first value of a variable.

    Args:
        make: From a shape and a dtype to a tensor.
        dtype: Where the variable does not say one.
    """

    def __init__(self, make: Callable[[tuple[int, ...], Any], Tensor], dtype: Any) -> None:
        self._make = make
        self._dtype = as_dtype(dtype)

    def __call__(self, shape: Any, dtype: Any = None) -> Tensor:
        """A tensor of this shape, which must be known."""
        lengths = full_dims("an initializer", shape)
        return self._make(lengths, self._dtype if dtype is None else as_dtype(dtype))


def zeros_initializer(dtype: Any = float32) -> Initializer:
    """Zeros."""
    return Initializer(lambda shape, dtype: fill_with("zeros", 0, shape, dtype, None), dtype)


def ones_initializer(dtype: Any = float32) -> Initializer:
    """Ones."""
    return Initializer(lambda shape, dtype: fill_with("ones", 1, shape, dtype, None), dtype)


def constant_initializer(value: Any = 0, dtype: Any = float32) -> Initializer:
    """A number, or an array with as many elements as the variable."""
    data = np.asarray(value)
    return Initializer(lambda shape, dtype: constant(data, dtype, shape), dtype)


def random_normal_initializer(
    mean: float = 0.0, stddev: float = 1.0, seed: int | None = None, dtype: Any = float32
) -> Initializer:
    """Numbers of a normal distribution."""
    return Initializer(lambda shape, dtype: random_normal(shape, mean, stddev, dtype, seed), dtype)


def truncated_normal_initializer(
    mean: float = 0.0, stddev: float = 1.0, seed: int | None = None, dtype: Any = float32
) -> Initializer:
    """Numbers of a normal distribution, none further than two deviations from the mean."""
    return Initializer(
        lambda shape, dtype: truncated_normal(shape, mean, stddev, dtype, seed), dtype
    )


def random_uniform_initializer(
    minval: float = -0.05, maxval: float = 0.05, seed: int | None = None, dtype: Any = float32
) -> Initializer:
    """Numbers uniform between two bounds."""
    return Initializer(
        lambda shape, dtype: random_uniform(shape, minval, maxval, dtype, seed), dtype
    )


def variance_scaling_initializer(
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "truncated_normal",
    seed: int | None = None,
    dtype: Any = float32,
) -> Initializer:
    """Numbers with the variance ``scale / n``, where ``n`` counts what is connected.

    Args:
        scale: A positive number.
        mode: ``"fan_in"``: ``n`` inputs; ``"fan_out"``: ``n`` outputs; ``"fan_avg"``: their mean.
        distribution: ``"truncated_normal"``, ``"untruncated_normal"`` or ``"uniform"``.
        seed: A number, to draw the same in every process.
        dtype: Where the variable does not say one.

    Raises:
        GraphError: ``mode`` or ``distribution`` is none of these.

    Source: Glorot & Bengio 2010; He et al. 2015, arXiv:1502.01852.
    """
    name = "truncated_normal" if distribution == "normal" else distribution
    if mode not in _MODES or name not in _DISTRIBUTIONS:
        raise GraphError(
            f"variance_scaling_initializer with mode {mode!r} and distribution {distribution!r}: "
            f"expected one of {_MODES} and one of {_DISTRIBUTIONS}"
        )

    def make(shape: tuple[int, ...], dtype: Any) -> Tensor:
        fan_in, fan_out = _fans(shape)
        count = {"fan_in": fan_in, "fan_out": fan_out}.get(mode, (fan_in + fan_out) / 2)
        deviation = math.sqrt(scale / max(1.0, count))
        if name == "uniform":
            bound = math.sqrt(3.0) * deviation
            return random_uniform(shape, -bound, bound, dtype, seed)
        if name == "truncated_normal":
            return truncated_normal(shape, 0.0, deviation / TRUNCATED_DEVIATION, dtype, seed)
        return random_normal(shape, 0.0, deviation, dtype, seed)

    return Initializer(make, dtype)


_MODES: Final = ("fan_in", "fan_out", "fan_avg")
_DISTRIBUTIONS: Final = ("truncated_normal", "untruncated_normal", "uniform")


def _fans(shape: tuple[int, ...]) -> tuple[float, float]:
    if not shape:
        return 1.0, 1.0
    if len(shape) == 1:
        return float(shape[0]), float(shape[0])
    area = math.prod(shape[:-2])
    return float(area * shape[-2]), float(area * shape[-1])


def glorot_uniform_initializer(seed: int | None = None, dtype: Any = float32) -> Initializer:
    """``variance_scaling_initializer(1, "fan_avg", "uniform")``, the default of variables."""
    return variance_scaling_initializer(1.0, "fan_avg", "uniform", seed, dtype)


def glorot_normal_initializer(seed: int | None = None, dtype: Any = float32) -> Initializer:
    """``variance_scaling_initializer(1, "fan_avg", "truncated_normal")``."""
    return variance_scaling_initializer(1.0, "fan_avg", "truncated_normal", seed, dtype)


def he_uniform_initializer(seed: int | None = None, dtype: Any = float32) -> Initializer:
    """``variance_scaling_initializer(2, "fan_in", "uniform")``."""
    return variance_scaling_initializer(2.0, "fan_in", "uniform", seed, dtype)


def he_normal_initializer(seed: int | None = None, dtype: Any = float32) -> Initializer:
    """``variance_scaling_initializer(2, "fan_in", "truncated_normal")``."""
    return variance_scaling_initializer(2.0, "fan_in", "truncated_normal", seed, dtype)


#: Functions that users also give without calling them, as ``initializer=tf.zeros_initializer``.
MAKERS: Final = (
    zeros_initializer,
    ones_initializer,
    constant_initializer,
    random_normal_initializer,
    truncated_normal_initializer,
    random_uniform_initializer,
    variance_scaling_initializer,
    glorot_uniform_initializer,
    glorot_normal_initializer,
    he_uniform_initializer,
    he_normal_initializer,
)


def initial_value(initializer: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """What an ``initializer`` argument gives for a shape: a function's result, or numbers."""
    if any(initializer is maker for maker in MAKERS):
        initializer = initializer()
    if isinstance(initializer, Initializer):
        return initializer(shape, dtype)
    if callable(initializer):
        return initializer(shape, dtype=dtype)
    return initializer


_refuse = refuse(__name__, "tf.initializers")


def __getattr__(name: str) -> Any:
    """``tf.initializers.zeros`` is ``tf.zeros_initializer``."""
    found = globals().get(f"{name}_initializer")
    return _refuse(name) if found is None else found
