"""Activation functions of the Keras backend; softmax and its relatives.

Imports the array namespace only; ``nn`` exports every name here.
"""

from __future__ import annotations

from typing import Any

import pullback as pb
from keras_pullback.src.ops.core import real_tensor

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "tanh",
    "tanh_shrink",
    "threshold",
]


def relu(x: Any) -> Any:
    """``x`` where positive, else 0."""
    return pb.nn.relu(real_tensor(x))


def relu6(x: Any) -> Any:
    """``x`` brought into 0 .. 6."""
    return pb.nn.relu6(real_tensor(x))


def sigmoid(x: Any) -> Any:
    """``1 / (1 + exp(-x))``."""
    return pb.nn.sigmoid(real_tensor(x))


def sparse_sigmoid(x: Any) -> Any:
    """0 below -1, 1 above 1, and a line between."""
    x = real_tensor(x)
    return pb.clip((x + 1.0) * 0.5, 0.0, 1.0)


def tanh(x: Any) -> Any:
    """Hyperbolic tangent."""
    return pb.nn.tanh(real_tensor(x))


def tanh_shrink(x: Any) -> Any:
    """``x - tanh(x)``."""
    x = real_tensor(x)
    return x - pb.nn.tanh(x)


def softplus(x: Any) -> Any:
    """``log(1 + exp(x))``."""
    return pb.nn.softplus(real_tensor(x))


def softsign(x: Any) -> Any:
    """``x / (1 + abs(x))``."""
    return pb.nn.soft_sign(real_tensor(x))


def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """``x`` moved by ``threshold`` towards 0, and 0 where it would pass it."""
    x = real_tensor(x)
    below = pb.where(x < -threshold, x + threshold, 0.0)
    return pb.where(x > threshold, x - threshold, below)


def sparse_plus(x: Any) -> Any:
    """0 below -1, ``x`` above 1, and ``(x + 1) ** 2 / 4`` between."""
    x = real_tensor(x)
    between = pb.square(x + 1.0) * 0.25
    return pb.where(x <= -1.0, 0.0, pb.where(x >= 1.0, x, between))


def silu(x: Any) -> Any:
    """``x * sigmoid(x)``."""
    return pb.nn.silu(real_tensor(x))


def squareplus(x: Any, b: float = 4) -> Any:
    """``(x + sqrt(x ** 2 + b)) / 2``."""
    x = real_tensor(x)
    return (x + pb.sqrt(pb.square(x) + b)) * 0.5


def log_sigmoid(x: Any) -> Any:
    """Logarithm of ``sigmoid``."""
    return pb.nn.log_sigmoid(real_tensor(x))


def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """``x`` where not negative, else ``negative_slope * x``."""
    return pb.nn.leaky_relu(real_tensor(x), negative_slope)


def hard_sigmoid(x: Any) -> Any:
    """0 below -3, 1 above 3, and a line between."""
    return pb.nn.hard_sigmoid(real_tensor(x))


def hard_silu(x: Any) -> Any:
    """``x * hard_sigmoid(x)``."""
    return pb.nn.hard_silu(real_tensor(x))


def elu(x: Any, alpha: float = 1.0) -> Any:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``."""
    return pb.nn.elu(real_tensor(x), alpha)


def selu(x: Any) -> Any:
    """``elu`` with the constants that keep mean 0 and variance 1."""
    return pb.nn.selu(real_tensor(x))


def gelu(x: Any, approximate: bool = True) -> Any:
    """``x`` times the normal distribution function at ``x``."""
    return pb.nn.gelu(real_tensor(x), approximate)


def celu(x: Any, alpha: float = 1.0) -> Any:
    """``x`` where positive, else ``alpha * (exp(x / alpha) - 1)``."""
    return pb.nn.celu(real_tensor(x), alpha)


def glu(x: Any, axis: int = -1) -> Any:
    """The first half along ``axis``, gated by the sigmoid of the second."""
    return pb.nn.glu(real_tensor(x), axis)


def hard_tanh(x: Any) -> Any:
    """``x`` brought into -1 .. 1."""
    return pb.nn.hard_tanh(real_tensor(x))


def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """``x`` where its magnitude is above ``threshold``, else 0."""
    x = real_tensor(x)
    return pb.where(pb.abs(x) > threshold, x, 0.0)


def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """``x`` where above ``threshold``, else ``default_value``."""
    x = real_tensor(x)
    return pb.where(x > threshold, x, default_value)


def softmax(x: Any, axis: Any = -1) -> Any:
    """Exponentials normalised to sum to one along ``axis``."""
    return pb.nn.softmax(real_tensor(x), axis)


def log_softmax(x: Any, axis: Any = -1) -> Any:
    """Logarithm of ``softmax``."""
    return pb.nn.log_softmax(real_tensor(x), axis)


def sparsemax(x: Any, axis: int = -1) -> Any:
    """The nearest point of the probability simplex along ``axis``: it sums to one."""
    x = real_tensor(x)
    n = x.shape[axis]
    descending = pb.sort(x, axis=axis, descending=True)
    totals = pb.cumulative_sum(descending, axis=axis)
    shape = [1] * x.ndim
    shape[axis] = n
    counts = pb.reshape(pb.arange(1, n + 1, dtype=x.dtype), tuple(shape))
    support = descending * counts > totals - 1.0
    size = pb.sum(pb.astype(support, x.dtype), axis=axis, keepdims=True)
    total = pb.sum(pb.where(support, descending, 0.0), axis=axis, keepdims=True)
    return pb.nn.relu(x - (total - 1.0) / size)
