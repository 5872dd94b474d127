"""``tf.train``: optimizers, learning rates, the global step and ``Saver``.

Imports ``optimizers`` and ``saver``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback import ops
from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.graph import GraphKeys, get_default_graph
from pullback.compat.v1.optimizers import AdadeltaOptimizer as AdadeltaOptimizer
from pullback.compat.v1.optimizers import AdagradOptimizer as AdagradOptimizer
from pullback.compat.v1.optimizers import AdamOptimizer as AdamOptimizer
from pullback.compat.v1.optimizers import GradientDescentOptimizer as GradientDescentOptimizer
from pullback.compat.v1.optimizers import MomentumOptimizer as MomentumOptimizer
from pullback.compat.v1.optimizers import Optimizer as Optimizer
from pullback.compat.v1.optimizers import RMSPropOptimizer as RMSPropOptimizer
from pullback.compat.v1.refusals import refuse
from pullback.compat.v1.saver import Saver as Saver
from pullback.compat.v1.tensor import Tensor, apply, convert_to_tensor
from pullback.compat.v1.variable import Variable


def exponential_decay(
    learning_rate: float,
    global_step: Any,
    decay_steps: int,
    decay_rate: float,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """``learning_rate * decay_rate ** (global_step / decay_steps)``, as a float32 tensor.

    Args:
        learning_rate: At the beginning.
        global_step: A tensor or variable of an integer.
        decay_steps: How many steps one power takes.
        decay_rate: The base of the power.
        staircase: Round the exponent down.
        name: Name of the result.
    """

    def rate(step: Any) -> Any:
        power = ops.astype(step, "float32") / decay_steps
        power = ops.floor(power) if staircase else power
        return learning_rate * ops.pow(np.float32(decay_rate), power)

    step = convert_to_tensor(global_step)
    return apply("ExponentialDecay", rate, step, label=name, is_differentiable=False)


def get_global_step(graph: Any = None) -> Variable | None:
    """The variable that counts steps, or None."""
    found = (graph or get_default_graph()).get_collection(GraphKeys.GLOBAL_STEP)
    return found[0] if found else None


def create_global_step(graph: Any = None) -> Variable:
    """Make the variable that counts steps: int64, from 0.

    Raises:
        GraphError: there is one.
    """
    where = graph or get_default_graph()
    if get_global_step(where) is not None:
        raise GraphError("the graph has a global step: use tf.train.get_or_create_global_step()")
    with where.as_default():
        step = Variable(np.int64(0), False, "global_step")
    where.add_to_collection(GraphKeys.GLOBAL_STEP, step)
    return step


def get_or_create_global_step(graph: Any = None) -> Variable:
    """The variable that counts steps."""
    found = get_global_step(graph)
    return create_global_step(graph) if found is None else found


__getattr__ = refuse(__name__, "tf.train")
