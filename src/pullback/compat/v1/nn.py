"""``tf.nn``: activations, cross entropies, windows and dropout, under TensorFlow's names.

Imports ``arithmetic``, ``reductions``, ``random_ops`` and ``windows``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pullback import ops
from pullback.compat.v1.arithmetic import bias_add as bias_add
from pullback.compat.v1.arithmetic import require_floating, stop_gradient
from pullback.compat.v1.arithmetic import sigmoid as sigmoid
from pullback.compat.v1.arithmetic import tanh as tanh
from pullback.compat.v1.arrays import gather
from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.random_ops import dropped
from pullback.compat.v1.reductions import as_axes
from pullback.compat.v1.refusals import refuse
from pullback.compat.v1.tensor import Tensor, apply, convert_operands, convert_to_tensor
from pullback.compat.v1.windows import avg_pool as avg_pool
from pullback.compat.v1.windows import conv2d as conv2d
from pullback.compat.v1.windows import max_pool as max_pool
from pullback.errors import DTypeError, ShapeError
from pullback.ops import nn as engine
from pullback.types import INTEGER


def _activation(kind: str, compute: Callable[..., Any], summary: str) -> Callable[..., Tensor]:
    def function(features: Any, name: str | None = None) -> Tensor:
        x = convert_to_tensor(features)
        require_floating(kind, x)
        return apply(kind, compute, x, label=name)

    function.__doc__ = summary
    return function


relu = _activation("Relu", engine.relu, "``max(x, 0)``.")
relu6 = _activation("Relu6", engine.relu6, "``min(max(x, 0), 6)``.")
elu = _activation("Elu", engine.elu, "``x`` above 0, ``exp(x) - 1`` below.")
selu = _activation("Selu", engine.selu, "Scaled ``elu`` of self-normalizing networks.")
softplus = _activation("Softplus", engine.softplus, "``log(1 + exp(x))``.")
softsign = _activation("Softsign", engine.soft_sign, "``x / (1 + abs(x))``.")
swish = _activation("swish", engine.silu, "``x * sigmoid(x)``.")
log_sigmoid = _activation("LogSigmoid", engine.log_sigmoid, "``log(sigmoid(x))``.")


def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Tensor:
    """``x`` above 0, ``alpha * x`` below."""
    x = convert_to_tensor(features)
    require_floating("LeakyRelu", x)
    return apply("LeakyRelu", lambda x: engine.leaky_relu(x, alpha), x, label=name)


def softmax(
    logits: Any, axis: int | None = None, name: str | None = None, dim: int | None = None
) -> Tensor:
    """Exponentials that sum to one along ``axis``, by default the last."""
    return _softmax("Softmax", engine.softmax, logits, axis if axis is not None else dim, name)


def log_softmax(
    logits: Any, axis: int | None = None, name: str | None = None, dim: int | None = None
) -> Tensor:
    """The logarithm of ``softmax``, right at any scale."""
    place = axis if axis is not None else dim
    return _softmax("LogSoftmax", engine.log_softmax, logits, place, name)


def _softmax(
    kind: str, compute: Callable[..., Any], logits: Any, axis: int | None, name: str | None
) -> Tensor:
    x, place = convert_to_tensor(logits), -1 if axis is None else axis
    require_floating(kind, x)
    return apply(kind, lambda x: compute(x, axis=place), x, label=name)


def softmax_cross_entropy_with_logits(
    _sentinel: Any = None,
    labels: Any = None,
    logits: Any = None,
    dim: int = -1,
    name: str | None = None,
    axis: int | None = None,
) -> Tensor:
    """``-sum(labels * log(softmax(logits)))`` along an axis, without a derivative by ``labels``.

    Args:
        _sentinel: Give ``labels`` and ``logits`` by name.
        labels: Probabilities of the shape of ``logits``.
        logits: Any numbers, ``[..., n, ...]``.
        dim: The axis of the ``n`` classes.
        name: Name of the result.
        axis: The same.

    Raises:
        GraphError: they are not given by name.
        ShapeError: the shapes differ.
    """
    kind = "softmax_cross_entropy_with_logits"
    x, p = _logits_and_labels(kind, _sentinel, labels, logits)
    return _softmax_loss(kind, x, stop_gradient(p), dim if axis is None else axis, name)


def softmax_cross_entropy_with_logits_v2(
    _sentinel: Any = None,
    labels: Any = None,
    logits: Any = None,
    dim: int = -1,
    name: str | None = None,
    axis: int | None = None,
) -> Tensor:
    """``softmax_cross_entropy_with_logits`` with a derivative by ``labels`` too."""
    kind = "softmax_cross_entropy_with_logits_v2"
    x, p = _logits_and_labels(kind, _sentinel, labels, logits)
    return _softmax_loss(kind, x, p, dim if axis is None else axis, name)


def _softmax_loss(kind: str, x: Tensor, p: Tensor, axis: int, name: str | None) -> Tensor:
    def loss(x: Any, p: Any) -> Any:
        _same_shape(x, p)
        return engine.softmax_cross_entropy(x, p, axis=axis)

    return apply(kind, loss, x, p, label=name)


def _same_shape(x: Any, p: Any) -> None:
    if x.shape != p.shape:
        raise ShapeError(f"logits {x.type} and labels {p.type}: expected the same shape")


def sparse_softmax_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """``-log(softmax(logits))`` of the class that each label names, over the last axis.

    Args:
        _sentinel: Give ``labels`` and ``logits`` by name.
        labels: Integers of the shape of ``logits`` without the last axis.
        logits: Any numbers ``[..., n]``.
        name: Name of the result.

    Returns:
        A tensor of the shape of ``labels``; nan where a label is none of ``0 .. n - 1``.

    Raises:
        GraphError: they are not given by name.
        ShapeError, DTypeError: the shapes do not fit, or labels are not integers.
    """
    kind = "sparse_softmax_cross_entropy_with_logits"
    _by_name(kind, _sentinel, labels, logits)
    x, classes = convert_to_tensor(logits), convert_to_tensor(labels)
    require_floating(kind, x)
    if classes.dtype not in INTEGER:
        raise DTypeError(f"{kind} with labels {classes!r}: expected integers; cast with tf.cast")
    return apply(kind, engine.softmax_cross_entropy_with_integer_labels, x, classes, label=name)


def sigmoid_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """``-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits))``, elementwise.

    Raises:
        GraphError: ``labels`` and ``logits`` are not given by name.
        ShapeError: their shapes differ.
    """
    kind = "sigmoid_cross_entropy_with_logits"
    x, p = _logits_and_labels(kind, _sentinel, labels, logits)

    def loss(x: Any, p: Any) -> Any:
        _same_shape(x, p)
        return engine.sigmoid_binary_cross_entropy(x, p)

    return apply(kind, loss, x, p, label=name)


def _by_name(kind: str, sentinel: Any, labels: Any, logits: Any) -> None:
    if sentinel is not None or labels is None or logits is None:
        raise GraphError(f"call tf.nn.{kind}(labels=..., logits=...), with both names")


def _logits_and_labels(kind: str, sentinel: Any, labels: Any, logits: Any) -> list[Tensor]:
    _by_name(kind, sentinel, labels, logits)
    operands = convert_operands(logits, labels)
    require_floating(kind, operands[0])
    return operands


def l2_loss(t: Any, name: str | None = None) -> Tensor:
    """Half the sum of squares."""
    x = convert_to_tensor(t)
    require_floating("L2Loss", x)
    return apply("L2Loss", lambda x: ops.sum(x * x) * 0.5, x, label=name)


def l2_normalize(
    x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None, dim: Any = None
) -> Tensor:
    """``x / sqrt(max(sum(x**2), epsilon))`` over ``axis``."""
    operand, axes = convert_to_tensor(x), as_axes(axis if axis is not None else dim)
    require_floating("l2_normalize", operand)

    def normalized(x: Any) -> Any:
        total = ops.sum(x * x, axis=axes, keepdims=True)
        return x * ops.rsqrt(ops.maximum(total, epsilon))

    return apply("l2_normalize", normalized, operand, label=name)


def moments(
    x: Any, axes: Any, name: str | None = None, keep_dims: bool = False, keepdims: bool = False
) -> tuple[Tensor, Tensor]:
    """Mean and variance over ``axes``."""
    operand, places, keeps = convert_to_tensor(x), as_axes(axes), keep_dims or keepdims
    require_floating("moments", operand)
    return (
        apply("moments/mean", lambda x: ops.mean(x, axis=places, keepdims=keeps), operand),
        apply("moments/variance", lambda x: ops.var(x, axis=places, keepdims=keeps), operand),
    )


def dropout(
    x: Any,
    keep_prob: Any = None,
    noise_shape: None = None,
    seed: int | None = None,
    name: str | None = None,
    rate: Any = None,
) -> Tensor:
    """Each element is 0 with the probability ``rate``, else divided by ``1 - rate``.

    Args:
        x: A floating tensor.
        keep_prob: ``1 - rate``: a number or a tensor without axes, such as a placeholder.
        noise_shape: Must be None.
        seed: See ``set_random_seed``.
        name: Name of the result.
        rate: Give this or ``keep_prob``.

    Raises:
        GraphError: both are given, or neither, or a number is not in its range.
    """
    operand = convert_to_tensor(x)
    require_floating("dropout", operand)
    if (keep_prob is None) == (rate is None) or noise_shape is not None:
        raise GraphError("tf.nn.dropout needs either `keep_prob` or `rate`, and no `noise_shape`")
    keep = keep_prob if rate is None else 1 - rate
    if isinstance(keep, (int, float)) and not 0 < keep <= 1:
        raise GraphError(f"tf.nn.dropout keeps {keep} of the elements, expected one in (0, 1]")
    return dropped(operand, convert_to_tensor(keep, operand.dtype), seed, name)


def embedding_lookup(params: Any, ids: Any, name: str | None = None) -> Tensor:
    """The rows of ``params`` that ``ids`` name."""
    return gather(params, ids, 0, name)


def in_top_k(predictions: Any, targets: Any, k: int, name: str | None = None) -> Tensor:
    """Whether fewer than ``k`` of a row's ``predictions`` are larger than its target's."""
    x, classes = convert_to_tensor(predictions), convert_to_tensor(targets)

    def hit(x: Any, classes: Any) -> Any:
        own = ops.take_along_axis(x, ops.expand_dims(classes, axis=1), axis=1)
        return ops.less(ops.sum(ops.astype(x > own, "int32"), axis=1), k)

    return apply("InTopK", hit, x, classes, label=name, is_differentiable=False)


__getattr__ = refuse(__name__, "tf.nn")
