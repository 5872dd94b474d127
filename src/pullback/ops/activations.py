"""Activation functions: elementwise, and normalised exponentials along axes.

Imports ``arguments``, ``elementary`` and ``primitives``; exported by ``nn``. All keep float16 and
bfloat16; integers and booleans become float32. Start at ``relu`` and ``softmax``.
"""

from __future__ import annotations

import math

from pullback.errors import ShapeError
from pullback.ops.arguments import (
    ArrayLike,
    Axis,
    as_array,
    as_floating,
    normalize_axes,
    normalize_axis,
    require_dtype,
)
from pullback.ops.dtypes import astype, strong
from pullback.ops.elementwise import clip
from pullback.ops.statistical import keep_axes
from pullback.primitives import operators
from pullback.primitives.custom import StopGradient
from pullback.primitives.reduce import ReduceLogSumExp, ReduceMax, ReduceSum, spread
from pullback.primitives.shape import Broadcast, Iota
from pullback.primitives.special import Erfc
from pullback.primitives.transcendental import Exp, Expm1, Log, Log1p, Sigmoid, Tanh
from pullback.program.value import Value
from pullback.types import DEFAULT_FLOAT, INTEGER, int32

__all__ = [
    "celu",
    "elu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "mish",
    "one_hot",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_sign",
    "softmax",
    "softplus",
    "softsign",
    "swish",
    "tanh",
]

_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772


def relu(x: ArrayLike, /) -> Value:
    """``x`` where positive, else 0; nan stays nan.

    Differentiation: ``ct`` where ``x > 0``, else 0; 0 at 0.

    Example:
        >>> pb.nn.relu(pb.asarray([-1.0, 2.0]))
        Array([0., 2.], f32)
    """
    value = as_array(x)
    return operators.where(operators.less_equal(value, 0), 0, value)


def relu6(x: ArrayLike, /) -> Value:
    """``x`` brought into 0 .. 6.

    Differentiation: ``ct`` where ``0 < x < 6``, else 0.

    Example:
        >>> pb.nn.relu6(pb.asarray([-1.0, 2.0, 8.0]))
        Array([0., 2., 6.], f32)
    """
    value = relu(x)
    return operators.where(operators.greater_equal(value, 6), 6, value)


def leaky_relu(x: ArrayLike, /, negative_slope: ArrayLike = 0.01) -> Value:
    """``x`` where not negative, else ``negative_slope * x``.

    Differentiation: ``ct`` where ``x >= 0``, else ``negative_slope * ct``.

    Example:
        >>> pb.nn.leaky_relu(pb.asarray([-1.0, 2.0]))
        Array([-0.01,  2.  ], f32)
    """
    value = as_floating(x)
    below = operators.multiply(value, negative_slope)
    return operators.where(operators.greater_equal(value, 0), value, below)


def _expm1_below(x: Value) -> Value:
    """``exp(x) - 1`` below 0, and 0 above, where the exponential could overflow."""
    result: Value = Expm1()(strong(operators.where(operators.greater(x, 0), 0, x)))
    return result


def elu(x: ArrayLike, /, alpha: ArrayLike = 1.0) -> Value:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``.

    Differentiation: ``ct`` where ``x > 0``, else ``ct * alpha * exp(x)``.

    Example:
        >>> pb.nn.elu(pb.asarray([-1.0, 2.0]))
        Array([-0.63212055,  2.        ], f32)
    """
    value = as_floating(x)
    below = operators.multiply(_expm1_below(value), alpha)
    return operators.where(operators.greater(value, 0), value, below)


def celu(x: ArrayLike, /, alpha: float = 1.0) -> Value:
    """``x`` where positive, else ``alpha * (exp(x / alpha) - 1)``: its slope has no jump.

    Differentiation: ``ct`` where ``x > 0``, else ``ct * exp(x / alpha)``.

    Example:
        >>> pb.nn.celu(pb.asarray([-1.0, 2.0]), 2.0)
        Array([-0.78693867,  2.        ], f32)
    """
    value = as_floating(x)
    below = operators.multiply(_expm1_below(operators.divide(value, alpha)), alpha)
    return operators.where(operators.greater(value, 0), value, below)


def selu(x: ArrayLike, /) -> Value:
    """``elu`` with constants that keep the mean 0 and the variance 1 from layer to layer.

    Differentiation: that of ``elu``, scaled.
    Source: Klambauer et al. 2017, "Self-normalizing neural networks", arXiv:1706.02515.

    Example:
        >>> pb.nn.selu(pb.asarray([-1.0, 2.0]))
        Array([-1.1113307,  2.101402 ], f32)
    """
    return operators.multiply(elu(x, _SELU_ALPHA), _SELU_SCALE)


def gelu(x: ArrayLike, /, approximate: bool = True) -> Value:
    """``x`` times the probability that a standard normal number is below ``x``.

    Args:
        x: Array.
        approximate: Whether to use the approximation by ``tanh``; else the error function. Static.

    Differentiation: of the formula chosen.
    Source: Hendrycks & Gimpel 2016, "Gaussian error linear units", arXiv:1606.08415.

    Example:
        >>> pb.nn.gelu(pb.asarray([-1.0, 2.0]), approximate=False)
        Array([-0.15865526,  1.9544997 ], f32)
    """
    value = as_floating(x)
    if not approximate:
        # By `erfc`, so that nothing cancels far below 0.
        tail = Erfc()(strong(operators.multiply(value, -math.sqrt(0.5))))
        return operators.multiply(operators.multiply(value, 0.5), tail)
    # Beyond 32 the sigmoid is 0 or 1; a cube that overflowed would make derivatives nan.
    near = clip(value, -32.0, 32.0)
    cubic = operators.add(1.0, operators.multiply(operators.multiply(near, near), 0.044715))
    # (1 + tanh(u)) / 2 = sigmoid(2 u), in which nothing cancels far below 0.
    doubled = operators.multiply(operators.multiply(near, cubic), math.sqrt(8.0 / math.pi))
    return operators.multiply(value, sigmoid(doubled))


def sigmoid(x: ArrayLike, /) -> Value:
    """``1 / (1 + exp(-x))``, at any scale.

    Differentiation: ``ct * out * (1 - out)``; keeps the output.

    Example:
        >>> pb.nn.sigmoid(pb.asarray([0.0, 100.0]))
        Array([0.5, 1. ], f32)
    """
    result: Value = Sigmoid()(as_floating(x))
    return result


def tanh(x: ArrayLike, /) -> Value:
    """Hyperbolic tangent.

    Differentiation: ``ct * (1 - out ** 2)``; keeps the output.

    Example:
        >>> pb.nn.tanh(pb.asarray([0.0, 1.0]))
        Array([0.       , 0.7615942], f32)
    """
    result: Value = Tanh()(as_floating(x))
    return result


def silu(x: ArrayLike, /) -> Value:
    """``x * sigmoid(x)``.

    Differentiation: ``ct * (s + x * s * (1 - s))`` with ``s = sigmoid(x)``.

    Example:
        >>> pb.nn.silu(pb.asarray([-1.0, 2.0]))
        Array([-0.2689414,  1.761594 ], f32)
    """
    value = as_floating(x)
    return operators.multiply(value, sigmoid(value))


swish = silu


def softplus(x: ArrayLike, /) -> Value:
    """``log(1 + exp(x))``, at any scale.

    Differentiation: ``ct * sigmoid(x)``.

    Example:
        >>> pb.nn.softplus(pb.asarray([-1e4, 0.0, 1e4]))
        Array([0.000000e+00, 6.931472e-01, 1.000000e+04], f32)
    """
    value = as_floating(x)
    # Selections in place of abs and max: their derivatives are right at 0, of every order.
    above = operators.greater(value, 0)
    tail = Log1p()(Exp()(operators.where(above, operators.negative(value), value)))
    return operators.add(operators.where(above, value, 0), tail)


def log_sigmoid(x: ArrayLike, /) -> Value:
    """``log(sigmoid(x))``, at any scale.

    Differentiation: ``ct * sigmoid(-x)``.

    Example:
        >>> pb.nn.log_sigmoid(pb.asarray([-1e4, 0.0]))
        Array([-1.000000e+04, -6.931472e-01], f32)
    """
    return operators.negative(softplus(operators.negative(as_floating(x))))


def softsign(x: ArrayLike, /) -> Value:
    """``x / (1 + abs(x))``.

    Differentiation: ``ct / (1 + abs(x)) ** 2``.

    Example:
        >>> pb.nn.softsign(pb.asarray([-1.0, 3.0]))
        Array([-0.5 ,  0.75], f32)
    """
    value = as_floating(x)
    return operators.divide(value, operators.add(1.0, operators.abs_(value)))


soft_sign = softsign


def hard_sigmoid(x: ArrayLike, /) -> Value:
    """``relu6(x + 3) / 6``.

    Differentiation: ``ct / 6`` where ``-3 < x < 3``, else 0.

    Example:
        >>> pb.nn.hard_sigmoid(pb.asarray([-4.0, 0.0]))
        Array([0. , 0.5], f32)
    """
    return operators.divide(relu6(operators.add(as_floating(x), 3.0)), 6.0)


def hard_silu(x: ArrayLike, /) -> Value:
    """``x * hard_sigmoid(x)``.

    Example:
        >>> pb.nn.hard_silu(pb.asarray([-4.0, 1.0]))
        Array([-0.       ,  0.6666667], f32)
    """
    value = as_floating(x)
    return operators.multiply(value, hard_sigmoid(value))


hard_swish = hard_silu


def hard_tanh(x: ArrayLike, /) -> Value:
    """``x`` brought into -1 .. 1.

    Differentiation: ``ct`` where ``-1 < x < 1``, else 0.

    Example:
        >>> pb.nn.hard_tanh(pb.asarray([-2.0, 0.5]))
        Array([-1. ,  0.5], f32)
    """
    value = as_array(x)
    low = operators.where(operators.less_equal(value, -1), -1, value)
    return operators.where(operators.greater_equal(low, 1), 1, low)


def mish(x: ArrayLike, /) -> Value:
    """``x * tanh(softplus(x))``.

    Source: Misra 2019, "Mish: a self regularized non-monotonic activation", arXiv:1908.08681.

    Example:
        >>> pb.nn.mish(pb.asarray([-1.0, 2.0]))
        Array([-0.3034014,  1.9439589], f32)
    """
    value = as_floating(x)
    return operators.multiply(value, Tanh()(softplus(value)))


def glu(x: ArrayLike, /, axis: int = -1) -> Value:
    """One half of ``x`` along an axis, times the sigmoid of the other.

    Args:
        x: Array ``[..., 2 n, ...]``.
        axis: The axis of length ``2 n``. Static.

    Raises:
        ShapeError: ``axis`` is out of range, or its length is odd.

    Example:
        >>> pb.nn.glu(pb.asarray([2.0, 0.0]))
        Array([1.], f32)
    """
    from pullback.ops.rearrange import split

    first, second = split(as_floating(x), 2, axis=axis)
    return operators.multiply(first, sigmoid(second))


def shifted(x: Value, axes: tuple[int, ...]) -> Value:
    """Return ``x`` minus its maximum, a constant: no result depends on it, nor its derivative."""
    largest = StopGradient()(ReduceMax(axes)(x))
    return operators.subtract(x, spread(largest, x, axes))


def softmax(x: ArrayLike, /, axis: Axis = -1) -> Value:
    """Exponentials of ``x`` normalised to sum to one along ``axis``.

    Args:
        x: Array ``[..., n, ...]``. Any scale: the maximum is subtracted first.
        axis: The axis of length ``n``, or several. Static.

    Returns:
        Array of the shape of ``x``; where all elements are -inf, or one is inf, nan.

    Raises:
        ShapeError: ``axis`` is out of range, or has no elements.

    Differentiation: ``ct`` maps to ``s * (ct - sum(ct * s))``; the maximum is a constant.
    Cost: 3 passes over ``x`` unfused, 1 read and 1 write fused.

    Example:
        >>> pb.nn.softmax(pb.asarray([0.0, 0.0]))
        Array([0.5, 0.5], f32)
    """
    value = as_floating(x)
    axes = normalize_axes("softmax", axis, value.ndim)
    if value.size == 0:
        return value
    weights = Exp()(shifted(value, axes))
    return operators.divide(weights, spread(ReduceSum(axes)(weights), value, axes))


def log_softmax(x: ArrayLike, /, axis: Axis = -1) -> Value:
    """Logarithm of ``softmax``, at any scale.

    Args:
        x: Array ``[..., n, ...]``.
        axis: The axis of length ``n``, or several. Static.

    Raises:
        ShapeError: ``axis`` is out of range, or has no elements.

    Differentiation: ``ct`` maps to ``ct - softmax(x) * sum(ct)``; the maximum is a constant.

    Example:
        >>> pb.nn.log_softmax(pb.asarray([0.0, 1e4]))
        Array([-10000.,      0.], f32)
    """
    value = as_floating(x)
    axes = normalize_axes("log_softmax", axis, value.ndim)
    if value.size == 0:
        return value
    logits = shifted(value, axes)
    return operators.subtract(logits, spread(log_total(logits, axes), value, axes))


def log_total(x: Value, axes: tuple[int, ...]) -> Value:
    """Return the logarithm of the sum of exponentials of ``shifted`` logits."""
    result: Value = Log()(ReduceSum(axes)(Exp()(x)))
    return result


def logsumexp(x: ArrayLike, /, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Logarithm of the sum of exponentials, at any scale.

    Args:
        x: Array.
        axis: Along which axis or axes; None for all. Static.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        Array without the axes; -inf of no elements, or where all are -inf.

    Raises:
        ShapeError: ``axis`` is out of range.

    Differentiation: ``ct * softmax(x)``.

    Example:
        >>> pb.nn.logsumexp(pb.asarray([1e4, 1e4]))
        Array(10000.693, f32)
    """
    value = as_floating(x)
    axes = normalize_axes("logsumexp", axis, value.ndim)
    if not axes:
        return value
    return keep_axes(ReduceLogSumExp(axes)(value), value, axes, keepdims)


def one_hot(
    x: ArrayLike, num_classes: int, /, *, dtype: object = DEFAULT_FLOAT, axis: int = -1
) -> Value:
    """Vectors with a one at the place that an integer names, and zeros elsewhere.

    Args:
        x: Array of integers; those outside ``0 .. num_classes - 1`` give zeros only.
        num_classes: Length of the vectors. Static.
        dtype: The dtype of the result.
        axis: Where the vectors' axis is in the result. Static.

    Returns:
        Array ``[..., num_classes, ...]``.

    Raises:
        DTypeError: ``x`` is not of integers.
        ShapeError: ``axis`` is out of range, or ``num_classes`` is negative.

    Example:
        >>> pb.nn.one_hot(pb.asarray([0, 2]), 3)
        Array([[1., 0., 0.],
               [0., 0., 1.]], f32)
    """
    value = as_array(x)
    require_dtype("one_hot", value, INTEGER)
    if num_classes < 0:
        raise ShapeError(f"one_hot: {num_classes} classes; expected at least 0")
    place = normalize_axis("one_hot", axis, value.ndim + 1)
    return astype(is_class(value, num_classes, place), dtype)


def is_class(labels: Value, num_classes: int, axis: int) -> Value:
    """Whether each class, along a new axis, is the one that a label names."""
    shape = (*labels.shape[:axis], num_classes, *labels.shape[axis:])
    dtype = labels.dtype if num_classes <= 2**7 or labels.dtype.itemsize >= 4 else int32
    classes: Value = Iota(shape, dtype, axis)()
    return operators.equal(Broadcast(shape, (axis,))(astype(labels, dtype)), classes)
