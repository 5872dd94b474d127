"""Metrics of a model: their state set to zero without the Python of an operation for each variable.

Imports ``variable`` and ``model_calls``; ``trainer`` uses it. Start at ``reset``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
from keras.src import metrics as keras_metrics
from keras.src.backend.common.stateless_scope import in_stateless_scope
from keras.src.trainers.compile_utils import CompileMetrics

import pullback as pb
from keras_pullback.src.model_calls import is_of_keras
from keras_pullback.src.variable import Variable

#: What Keras's own ways to reset a metric set to zero: attributes, or all variables.
_RESETS: dict[Any, tuple[str, ...] | None] = {
    keras_metrics.Metric.reset_state: None,
    keras_metrics.Sum.reset_state: ("total",),
    keras_metrics.Mean.reset_state: ("total", "count"),
}


def reset(metrics: Iterable[Any]) -> None:
    """Reset the state of metrics, each as its class has it.

    Cost: about a microsecond for each variable of Keras's usual metrics; what ``reset_state`` takes
    for others.
    """
    for metric in metrics:
        method = type(metric).reset_state
        if type(metric) is CompileMetrics:
            reset(metric.metrics)
        elif method in _RESETS:
            names = _RESETS[method]
            found = metric.variables if names is None else [getattr(metric, n) for n in names]
            for variable in found:
                _set_to_zero(variable)
        else:
            metric.reset_state()


def are_of_keras(metrics: Iterable[Any]) -> bool:
    """Whether all metrics are Keras's own: the state of these is in variables alone."""
    return all(
        are_of_keras(m.metrics) if type(m) is CompileMetrics else is_of_keras(m) for m in metrics
    )


def _set_to_zero(variable: Any) -> None:
    is_usual = isinstance(variable, Variable) and type(variable).assign is Variable.assign
    holder = variable._value if is_usual else None
    if type(holder) is pb.Variable and not holder.shape and not in_stateless_scope():
        holder.assign(_zero(holder.dtype))
    else:
        variable.assign(np.zeros(variable.shape, variable.dtype))


@functools.cache
def _zero(dtype: Any) -> Any:
    """A scalar, shared: arrays never change."""
    return pb.zeros((), dtype)
