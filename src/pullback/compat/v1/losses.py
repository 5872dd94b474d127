"""``tf.losses``: weighted means of errors.

Imports ``arithmetic`` and ``nn``. Each loss is also added to the collection ``losses``.
"""

from __future__ import annotations

from typing import Any

from pullback import ops
from pullback.compat.v1 import nn
from pullback.compat.v1.arithmetic import add_n, cast, require_floating
from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.graph import GraphKeys, get_default_graph
from pullback.compat.v1.refusals import refuse
from pullback.compat.v1.tensor import Tensor, apply, convert_operands, convert_to_tensor
from pullback.errors import ShapeError
from pullback.ops import nn as engine


def compute_weighted_loss(losses: Any, weights: Any = 1.0) -> Tensor:
    """The sum of ``losses * weights`` by the number of those whose weight is not 0.

    Args:
        losses: A floating tensor.
        weights: A number or a tensor that broadcasts to ``losses``.

    Returns:
        A tensor without axes; 0 where all weights are. Added to the collection ``losses``.
    """
    values, factors = convert_operands(convert_to_tensor(losses), weights)
    require_floating("losses", values)

    def mean(x: Any, w: Any) -> Any:
        w = ops.broadcast_to(w, x.shape)
        count = ops.sum(ops.astype(ops.not_equal(w, 0), x.dtype))
        return ops.where(count > 0, ops.sum(x * w) / ops.maximum(count, 1), 0)

    found = apply("weighted_loss/value", mean, values, factors)
    found.graph.add_to_collection(GraphKeys.LOSSES, found)
    return found


def _pair(kind: str, labels: Any, predictions: Any) -> tuple[Tensor, Tensor]:
    """Predictions, and labels of their dtype; shapes must be the same."""
    x, y = convert_to_tensor(predictions), convert_to_tensor(labels)
    require_floating(f"tf.losses.{kind}", x)
    y = y if y.dtype == x.dtype else cast(y, x.dtype)
    if x.dims is not None and y.dims is not None:
        pairs = zip(x.dims, y.dims, strict=False)
        if len(x.dims) != len(y.dims) or any(None not in p and p[0] != p[1] for p in pairs):
            raise ShapeError(
                f"tf.losses.{kind} of labels {y.describe()} and predictions {x.describe()}: "
                "expected the same shape"
            )
    return x, y


def mean_squared_error(labels: Any, predictions: Any, weights: Any = 1.0) -> Tensor:
    """The mean of ``(predictions - labels) ** 2``.

    Raises:
        ShapeError: the shapes differ.
    """
    x, y = _pair("mean_squared_error", labels, predictions)
    return compute_weighted_loss(
        apply("mean_squared_error", lambda x, y: ops.square(x - y), x, y), weights
    )


def absolute_difference(labels: Any, predictions: Any, weights: Any = 1.0) -> Tensor:
    """The mean of ``abs(predictions - labels)``.

    Raises:
        ShapeError: the shapes differ.
    """
    x, y = _pair("absolute_difference", labels, predictions)
    return compute_weighted_loss(
        apply("absolute_difference", lambda x, y: ops.abs(x - y), x, y), weights
    )


def huber_loss(labels: Any, predictions: Any, weights: Any = 1.0, delta: float = 1.0) -> Tensor:
    """The mean of half the squared error up to ``delta``, and linear beyond.

    Raises:
        ShapeError: the shapes differ.
    """
    x, y = _pair("huber_loss", labels, predictions)
    return compute_weighted_loss(
        apply("huber_loss", lambda x, y: engine.huber(x, y, delta), x, y), weights
    )


def log_loss(labels: Any, predictions: Any, weights: Any = 1.0, epsilon: float = 1e-7) -> Tensor:
    """The mean cross entropy of probabilities: ``-y log(p + eps) - (1 - y) log(1 - p + eps)``.

    Raises:
        ShapeError: the shapes differ.
    """
    x, y = _pair("log_loss", labels, predictions)

    def loss(p: Any, y: Any) -> Any:
        return -y * ops.log(p + epsilon) - (1 - y) * ops.log(1 - p + epsilon)

    return compute_weighted_loss(apply("log_loss", loss, x, y), weights)


def softmax_cross_entropy(onehot_labels: Any, logits: Any, weights: Any = 1.0) -> Tensor:
    """The mean of ``tf.nn.softmax_cross_entropy_with_logits``."""
    x = convert_to_tensor(logits)
    labels = convert_to_tensor(onehot_labels)
    labels = labels if labels.dtype == x.dtype else cast(labels, x.dtype)
    return compute_weighted_loss(
        nn.softmax_cross_entropy_with_logits(labels=labels, logits=x), weights
    )


def sparse_softmax_cross_entropy(labels: Any, logits: Any, weights: Any = 1.0) -> Tensor:
    """The mean of ``tf.nn.sparse_softmax_cross_entropy_with_logits``."""
    return compute_weighted_loss(
        nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits), weights
    )


def sigmoid_cross_entropy(multi_class_labels: Any, logits: Any, weights: Any = 1.0) -> Tensor:
    """The mean of ``tf.nn.sigmoid_cross_entropy_with_logits``."""
    x = convert_to_tensor(logits)
    labels = convert_to_tensor(multi_class_labels)
    labels = labels if labels.dtype == x.dtype else cast(labels, x.dtype)
    return compute_weighted_loss(
        nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=x), weights
    )


def get_losses(scope: str | None = None) -> list[Tensor]:
    """The losses that were made so far."""
    return get_default_graph().get_collection(GraphKeys.LOSSES, scope)


def get_total_loss() -> Tensor:
    """The sum of ``get_losses``.

    Raises:
        GraphError: there are none.
    """
    found = get_losses()
    if not found:
        raise GraphError("tf.losses.get_total_loss: no function of tf.losses was called before")
    return add_n(found, "total_loss")


__getattr__ = refuse(__name__, "tf.losses")
