"""Cross-entropies and the encodings of labels.

Imports the array namespace only; ``nn`` exports every name here. Probabilities are kept away from
0 and 1 by Keras's ``epsilon``; logits go through the stable form and need none.
"""

from __future__ import annotations

from typing import Any

from keras.src.backend import config

import pullback as pb
from keras_pullback.src.ops import numpy_sparse
from keras_pullback.src.ops.core import cast, real_tensor
from pullback.ops.activations import log_total, shifted

__all__ = [
    "binary_crossentropy",
    "categorical_crossentropy",
    "multi_hot",
    "one_hot",
    "psnr",
    "sparse_categorical_crossentropy",
]


def one_hot(
    x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False
) -> Any:
    """Vectors with a one at the place that an integer names, and zeros elsewhere."""
    x = real_tensor(x)
    if not pb.isdtype(x.dtype, "integral"):
        x = cast(x, "int32")
    if sparse:
        return numpy_sparse.one_hot(x, num_classes, axis, dtype or config.floatx())
    return pb.nn.one_hot(x, num_classes, axis=axis, dtype=dtype or config.floatx())


def multi_hot(
    x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False
) -> Any:
    """Vectors with a one at each place that a row of integers names."""
    x = cast(real_tensor(x), "int32")
    if sparse:
        return numpy_sparse.multi_hot(x, num_classes, axis, dtype or config.floatx())
    hot = one_hot(x, num_classes, axis=axis, dtype=dtype)
    return pb.max(hot, axis=1 if x.ndim > 1 else 0)


def _same_shape(target: Any, output: Any) -> None:
    if target.shape != output.shape:
        raise ValueError(
            "Arguments `target` and `output` must have the same shape. "
            f"Received: target.shape={target.shape}, output.shape={output.shape}"
        )


def _shifted(x: Any, axis: int) -> tuple[Any, Any]:
    """Logits below 0 that give the same softmax, and the logarithm of their total."""
    axes = (axis % x.ndim,)
    x = shifted(x, axes)
    return x, log_total(x, axes)


def _bounded(probabilities: Any) -> Any:
    return pb.clip(probabilities, config.epsilon(), 1.0 - config.epsilon())


def categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Any:
    """``-sum(target * log(p))`` along ``axis``, ``p`` given as probabilities or as logits."""
    target, output = real_tensor(target), real_tensor(output)
    _same_shape(target, output)
    if target.ndim < 1:
        raise ValueError(
            "Arguments `target` and `output` must be at least rank 1. "
            f"Received: target.shape={target.shape}, output.shape={output.shape}"
        )
    if from_logits:
        logits, log_total = _shifted(output, axis)
        return pb.sum(target, axis=axis) * log_total - pb.sum(target * logits, axis=axis)
    output = _bounded(output / pb.sum(output, axis=axis, keepdims=True))
    return -pb.sum(target * pb.log(output), axis=axis)


def _class_labels(target: Any, output: Any) -> Any:
    """Integer labels of the shape of ``output`` without its classes."""
    if output.ndim < 1:
        raise ValueError(
            f"Argument `output` must be at least rank 1. Received: output.shape={output.shape}"
        )
    if target.ndim == output.ndim and target.shape[-1] == 1:
        target = pb.squeeze(target, axis=-1)
    if target.shape != output.shape[:-1]:
        raise ValueError(
            "Arguments `target` and `output` must have the same shape up until the last "
            f"dimension: target.shape={target.shape}, output.shape={output.shape}"
        )
    return target


def sparse_categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Any:
    """``-log(p)`` of the class that each label names; 0 for a label that names none."""
    output = real_tensor(output)
    target = _class_labels(cast(real_tensor(target), "int32"), output)
    n = output.shape[axis]
    chosen = pb.nn.one_hot(target, n, axis=axis, dtype=pb.bool)
    inside = (target >= 0) & (target < n)
    if from_logits:
        logits, log_total = _shifted(output, axis)
        loss = log_total - pb.sum(pb.where(chosen, logits, 0.0), axis=axis)
    else:
        # The class is chosen before the logarithm: one for each label, not for each class.
        share = pb.sum(pb.where(chosen, output, 0.0), axis=axis)
        loss = -pb.log(_bounded(share / pb.sum(output, axis=axis)))
    return pb.where(inside, loss, 0.0)


def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """``-target * log(p) - (1 - target) * log(1 - p)``, ``p`` as probabilities or as logits."""
    target, output = real_tensor(target), real_tensor(output)
    _same_shape(target, output)
    if from_logits:
        return pb.nn.sigmoid_binary_cross_entropy(output, target)
    output = _bounded(output)
    return -(target * pb.log(output) + (1.0 - target) * pb.log(1.0 - output))


def psnr(x1: Any, x2: Any, max_val: Any) -> Any:
    """Ratio of the peak ``max_val`` to the mean squared error, in decibels."""
    x1, x2 = real_tensor(x1), real_tensor(x2)
    if x1.shape != x2.shape:
        raise ValueError(f"Input shapes {x1.shape} and {x2.shape} must match for PSNR calculation.")
    peak = real_tensor(max_val, dtype=x2.dtype)
    return 20 * pb.log10(peak) - 10 * pb.log10(pb.mean(pb.square(x1 - x2)))
