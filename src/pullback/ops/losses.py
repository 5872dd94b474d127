"""Loss functions, one number for each sample, right at any scale.

Imports ``activations`` and ``primitives``; exported by ``nn``. None of them takes a mean: write
``pb.mean(...)`` around. Start at ``softmax_cross_entropy``.
"""

from __future__ import annotations

from pullback.errors import ShapeError
from pullback.ops.activations import is_class, log_total, shifted, softplus
from pullback.ops.arguments import (
    ArrayLike,
    as_array,
    as_floating,
    concrete,
    is_concrete,
    normalize_axis,
    require_dtype,
)
from pullback.ops.elementwise import clip
from pullback.primitives import operators
from pullback.primitives.reduce import ReduceSum
from pullback.program.value import Value
from pullback.types import INTEGER

__all__ = [
    "huber",
    "sigmoid_binary_cross_entropy",
    "softmax_cross_entropy",
    "softmax_cross_entropy_with_integer_labels",
    "squared_error",
]


def softmax_cross_entropy(logits: ArrayLike, labels: ArrayLike, /, *, axis: int = -1) -> Value:
    """``-sum(labels * log(softmax(logits)))``.

    Args:
        logits: Array ``[..., n, ...]``. Any scale.
        labels: Probabilities, of the same shape. A label of 0 counts 0 whatever the logit.
        axis: The axis of the ``n`` classes. Static.

    Returns:
        Array without the axis.

    Raises:
        ShapeError: ``axis`` is out of range, or shapes do not broadcast.

    Differentiation: ``ct * (softmax(logits) * sum(labels) - labels)`` with respect to ``logits``.

    Example:
        >>> pb.nn.softmax_cross_entropy(pb.asarray([1e4, 0.0]), pb.asarray([0.0, 1.0]))
        Array(10000., f32)
    """
    x, p = operators.promote_operands(as_array(logits), as_array(labels), floating=True)
    shape = operators.broadcast_shapes(x.shape, p.shape)
    x, p = operators.broadcast_to(x, shape), operators.broadcast_to(p, shape)
    place = normalize_axis("softmax_cross_entropy", axis, x.ndim)
    x = shifted(x, (place,))
    terms = operators.where(operators.equal(p, 0), 0, operators.multiply(p, x))
    missed = operators.multiply(ReduceSum((place,))(p), log_total(x, (place,)))
    return operators.subtract(missed, ReduceSum((place,))(terms))


def softmax_cross_entropy_with_integer_labels(
    logits: ArrayLike, labels: ArrayLike, /, *, axis: int = -1
) -> Value:
    """``-log(softmax(logits))`` of the class that each label names.

    Args:
        logits: Array ``[..., n, ...]``. Any scale.
        labels: Array of integers in ``0 .. n - 1``, of the shape of ``logits`` without the axis.
        axis: The axis of the ``n`` classes. Static.

    Returns:
        Array of the shape of ``labels``; nan where a traced label names no class.

    Raises:
        DTypeError: ``labels`` are not integers.
        ShapeError: ``axis`` is out of range, or shapes do not fit.
        ValueError: a known label names no class.

    Differentiation: ``ct * (softmax(logits) - one_hot(labels))``.

    Example:
        >>> x = pb.asarray([[1e4, 0.0], [0.0, 0.0]])
        >>> pb.nn.softmax_cross_entropy_with_integer_labels(x, pb.asarray([1, 0]))
        Array([1.000000e+04, 6.931472e-01], f32)
    """
    x, classes = as_floating(logits), as_array(labels)
    name = "softmax_cross_entropy_with_integer_labels"
    require_dtype(f"{name}: labels", classes, INTEGER)
    place = normalize_axis(name, axis, x.ndim)
    rest = (*x.shape[:place], *x.shape[place + 1 :])
    if classes.shape != rest:
        raise ShapeError(
            f"{name} of {x.type} and labels {classes.type}: expected labels of shape {rest}"
        )
    n = x.shape[place]
    x = shifted(x, (place,))
    chosen = ReduceSum((place,))(operators.where(is_class(classes, n, place), x, 0))
    loss = operators.subtract(log_total(x, (place,)), chosen)
    if is_concrete(classes):
        data = concrete(name, classes, "")
        if data.size and (data.min() < 0 or data.max() >= n):
            raise ValueError(f"{name}: labels from {data.min()} to {data.max()} for {n} classes")
        return loss
    inside = operators.bitwise_and(operators.greater_equal(classes, 0), operators.less(classes, n))
    return operators.where(inside, loss, float("nan"))


def sigmoid_binary_cross_entropy(logits: ArrayLike, labels: ArrayLike, /) -> Value:
    """``-labels * log(sigmoid(logits)) - (1 - labels) * log(1 - sigmoid(logits))``.

    Args:
        logits: Array. Any scale.
        labels: Probabilities; broadcast.

    Returns:
        Array of the broadcast shape.

    Raises:
        ShapeError: the shapes do not broadcast.

    Differentiation: ``ct * (sigmoid(logits) - labels)`` with respect to ``logits``.

    Example:
        >>> pb.nn.sigmoid_binary_cross_entropy(pb.asarray([1e4, 0.0]), pb.asarray([0.0, 1.0]))
        Array([1.000000e+04, 6.931472e-01], f32)
    """
    x, p = operators.promote_operands(as_array(logits), as_array(labels), floating=True)
    missed = operators.multiply(softplus(operators.negative(x)), p)
    return operators.add(missed, operators.multiply(softplus(x), operators.subtract(1.0, p)))


def squared_error(predictions: ArrayLike, targets: ArrayLike, /) -> Value:
    """``(predictions - targets) ** 2``.

    Raises:
        ShapeError: the shapes do not broadcast.

    Differentiation: ``2 * ct * (predictions - targets)``, and its opposite for ``targets``.

    Example:
        >>> pb.nn.squared_error(pb.asarray([1.0, 2.0]), pb.asarray([1.0, 4.0]))
        Array([0., 4.], f32)
    """
    x, y = operators.promote_operands(as_array(predictions), as_array(targets), floating=True)
    error = operators.subtract(x, y)
    return operators.multiply(error, error)


def huber(predictions: ArrayLike, targets: ArrayLike, /, delta: float = 1.0) -> Value:
    """Half the squared error where it is at most ``delta``, and linear beyond.

    Args:
        predictions: Array.
        targets: Array; broadcast.
        delta: Where the loss becomes linear, positive.

    Raises:
        ShapeError: the shapes do not broadcast.

    Differentiation: ``ct`` times the error brought into ``-delta .. delta``.
    Source: Huber 1964, "Robust estimation of a location parameter".

    Example:
        >>> pb.nn.huber(pb.asarray([0.5, 3.0]), pb.asarray([0.0, 0.0]))
        Array([0.125, 2.5  ], f32)
    """
    x, y = operators.promote_operands(as_array(predictions), as_array(targets), floating=True)
    error = operators.subtract(x, y)
    bounded = clip(error, -delta, delta)
    half = operators.multiply(bounded, 0.5)
    return operators.multiply(bounded, operators.subtract(error, half))
