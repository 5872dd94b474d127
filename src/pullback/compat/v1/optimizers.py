"""Optimizers, with TensorFlow 1's formulas, defaults and slot variables.

Imports ``gradients`` and ``variable``. Start at ``Optimizer``: a subclass says which slots a
variable needs and how one step updates it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from pullback import ops
from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.frame import Frame
from pullback.compat.v1.gradients import gradients
from pullback.compat.v1.tensor import Node, Operation, Tensor, convert_to_tensor
from pullback.compat.v1.variable import Variable, assign_add

Pairs = Iterable[tuple[Any, Variable]]


class Optimizer:
    """What trains variables.

    Args:
        learning_rate: A number, or a tensor that is evaluated at each step.
        name: Name of what it adds to the graph.
    """

    #: Slots by their names, with their first values.
    slots: Mapping[str, float] = MappingProxyType({})

    def __init__(self, learning_rate: Any, name: str) -> None:
        self._learning_rate = learning_rate
        self._name = name
        self._slots: dict[tuple[Variable, str], Variable] = {}

    def minimize(
        self,
        loss: Any,
        global_step: Variable | None = None,
        var_list: Sequence[Variable] | None = None,
        name: str | None = None,
    ) -> Operation:
        """An operation that makes one step towards a smaller ``loss``.

        Args:
            loss: A floating tensor; the sum of its elements is minimized.
            global_step: A variable that each step increases by 1.
            var_list: What to train. Default: all trainable variables of the graph.
            name: Name of the operation.

        Raises:
            GraphError: ``loss`` depends on none of them.
        """
        return self.apply_gradients(self.compute_gradients(loss, var_list), global_step, name)

    def compute_gradients(
        self, loss: Any, var_list: Sequence[Variable] | None = None
    ) -> list[tuple[Tensor | None, Variable]]:
        """Pairs of a gradient, None where ``loss`` does not depend on it, and a variable."""
        target = convert_to_tensor(loss)
        variables = target.graph.get_collection("trainable_variables")
        if var_list is not None:
            variables = [*var_list]
        if not variables:
            raise GraphError("there are no variables to train: make a tf.Variable first")
        return [*zip(gradients(target, variables), variables, strict=True)]

    def apply_gradients(
        self,
        grads_and_vars: Pairs,
        global_step: Variable | None = None,
        name: str | None = None,
    ) -> Operation:
        """An operation that makes one step along given gradients.

        Args:
            grads_and_vars: Pairs of a gradient and a variable; those with None are left out.
            global_step: A variable that each step increases by 1.
            name: Name of the operation.

        Raises:
            GraphError: no pair has a gradient.
        """
        given = [*grads_and_vars]
        pairs = [(convert_to_tensor(g, v.dtype), v) for g, v in given if g is not None]
        if not pairs:
            names = ", ".join(v.name for _, v in given)
            raise GraphError(
                f"no gradients for any variable ({names}): the loss does not depend on them "
                "through operations that have a derivative"
            )
        rate = convert_to_tensor(self._learning_rate, name=f"{self._name}/learning_rate")
        slots = [[self._slot(v, slot) for slot in self.slots] for _, v in pairs]
        shared = self._shared(pairs[0][1])

        def step(frame: Frame, rate: Any, *grads: Any) -> None:
            scalars = [rate, *(frame.read(x) for x in shared)]
            self._advance(frame, shared)
            for g, (_, v), held in zip(grads, pairs, slots, strict=True):
                state = [frame.read(s) for s in held]
                cast = [ops.astype(x, v.dtype) for x in scalars]
                delta, state = self._step(cast, g, state)
                frame.assign(v, frame.read(v) - delta)
                for slot, value in zip(held, state, strict=True):
                    frame.assign(slot, value)

        label = name or self._name
        update = Operation(label, step, [rate, *(g for g, _ in pairs)])
        if global_step is None:
            return update
        with update.graph.control_dependencies([update]):
            count: Node = assign_add(global_step, 1, name=f"{label}/count")
        return Operation(f"{label}/step", inputs=[count])

    def get_slot(self, var: Variable, name: str) -> Variable | None:
        """The variable ``name`` that is kept for ``var``, or None."""
        return self._slots.get((var, name))

    def get_slot_names(self) -> list[str]:
        """The names of what is kept for each variable."""
        return [*self.slots]

    def variables(self) -> list[Variable]:
        """All variables that it made."""
        return [*self._slots.values()]

    def _slot(self, var: Variable, slot: str) -> Variable:
        found = self._slots.get((var, slot))
        if found is None:
            first = np.full(var.lengths, self.slots[slot], var.dtype)
            with var.graph.inside(""):
                found = Variable(first, False, f"{var.op_name}/{self._name}")
            self._slots[var, slot] = found
        return found

    def _shared(self, var: Variable) -> list[Variable]:
        """Variables of no variable in particular."""
        return []

    def _advance(self, frame: Frame, shared: list[Variable]) -> None:
        """Bring these to the next step."""

    def _step(self, scalars: list[Any], g: Any, state: list[Any]) -> tuple[Any, list[Any]]:
        """What to subtract from a variable with the gradient ``g``, and its slots afterwards.

        ``scalars`` are the learning rate and what ``_shared`` held before the step.
        """
        raise NotImplementedError


class GradientDescentOptimizer(Optimizer):
    """``v -= rate * g``."""

    def __init__(
        self, learning_rate: Any, use_locking: bool = False, name: str = "GradientDescent"
    ) -> None:
        super().__init__(learning_rate, name)

    def _step(self, scalars: list[Any], g: Any, state: list[Any]) -> tuple[Any, list[Any]]:
        return scalars[0] * g, []


class MomentumOptimizer(Optimizer):
    """``a = momentum * a + g; v -= rate * a``.

    Args:
        learning_rate: A number or a tensor.
        momentum: A number.
        use_locking: Not used.
        name: Name of what it adds to the graph.
        use_nesterov: ``v -= rate * (g + momentum * a)`` instead.
    """

    def __init__(
        self,
        learning_rate: Any,
        momentum: float,
        use_locking: bool = False,
        name: str = "Momentum",
        use_nesterov: bool = False,
    ) -> None:
        super().__init__(learning_rate, name)
        self.slots = {"momentum": 0.0}
        self._momentum, self._is_nesterov = momentum, use_nesterov

    def _step(self, scalars: list[Any], g: Any, state: list[Any]) -> tuple[Any, list[Any]]:
        total = self._momentum * state[0] + g
        direction = g + self._momentum * total if self._is_nesterov else total
        return scalars[0] * direction, [total]


class AdagradOptimizer(Optimizer):
    """``a += g**2; v -= rate * g / sqrt(a)``.

    Args:
        learning_rate: A number or a tensor.
        initial_accumulator_value: The first ``a``, positive.
        use_locking: Not used.
        name: Name of what it adds to the graph.

    Source: Duchi, Hazan & Singer 2011, "Adaptive subgradient methods".
    """

    def __init__(
        self,
        learning_rate: Any,
        initial_accumulator_value: float = 0.1,
        use_locking: bool = False,
        name: str = "Adagrad",
    ) -> None:
        super().__init__(learning_rate, name)
        if initial_accumulator_value <= 0:
            raise GraphError(
                f"initial_accumulator_value is {initial_accumulator_value}, expected one above 0"
            )
        self.slots = {"accumulator": initial_accumulator_value}

    def _step(self, scalars: list[Any], g: Any, state: list[Any]) -> tuple[Any, list[Any]]:
        total = state[0] + g * g
        return scalars[0] * g / ops.sqrt(total), [total]


class AdadeltaOptimizer(Optimizer):
    """``a = rho * a + (1 - rho) * g**2``, and steps ``rate * g * sqrt((d + eps) / (a + eps))``.

    ``d`` is the same mean of the squares of the steps before the rate. Source: Zeiler 2012,
    "ADADELTA", arXiv:1212.5701.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-8,
        use_locking: bool = False,
        name: str = "Adadelta",
    ) -> None:
        super().__init__(learning_rate, name)
        self.slots = {"accum": 0.0, "accum_update": 0.0}
        self._rho, self._epsilon = rho, epsilon

    def _step(self, scalars: list[Any], g: Any, state: list[Any]) -> tuple[Any, list[Any]]:
        squares = self._rho * state[0] + (1 - self._rho) * g * g
        step = ops.sqrt(state[1] + self._epsilon) / ops.sqrt(squares + self._epsilon) * g
        steps = self._rho * state[1] + (1 - self._rho) * step * step
        return scalars[0] * step, [squares, steps]


class RMSPropOptimizer(Optimizer):
    """``a = decay * a + (1 - decay) * g**2; m = momentum * m + rate * g / sqrt(a + epsilon)``.

    The step is ``v -= m``. As in TensorFlow, ``a`` starts at 1 and epsilon stands under the root.

    Args:
        learning_rate: A number or a tensor.
        decay: Of the mean of squares.
        momentum: Of the steps.
        epsilon: A small number.
        use_locking: Not used.
        centered: Subtract the square of the mean of the gradients from ``a`` under the root.
        name: Name of what it adds to the graph.

    Source: Tieleman & Hinton 2012, "Lecture 6.5: RMSProp".
    """

    def __init__(
        self,
        learning_rate: Any,
        decay: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-10,
        use_locking: bool = False,
        centered: bool = False,
        name: str = "RMSProp",
    ) -> None:
        super().__init__(learning_rate, name)
        self.slots = {"rms": 1.0, "momentum": 0.0} | ({"mg": 0.0} if centered else {})
        self._decay, self._momentum, self._epsilon = decay, momentum, epsilon

    def _step(self, scalars: list[Any], g: Any, state: list[Any]) -> tuple[Any, list[Any]]:
        squares = self._decay * state[0] + (1 - self._decay) * g * g
        below, rest = squares, []
        if len(state) == 3:
            mean = self._decay * state[2] + (1 - self._decay) * g
            below, rest = squares - mean * mean, [mean]
        step = self._momentum * state[1] + scalars[0] * g / ops.sqrt(below + self._epsilon)
        return step, [squares, step, *rest]


class AdamOptimizer(Optimizer):
    """``m`` and ``s``, running means of ``g`` and ``g**2``; ``v -= rate_t * m / (sqrt(s) + eps)``.

    ``rate_t = rate * sqrt(1 - beta2**t) / (1 - beta1**t)``: as in TensorFlow, epsilon stands beside
    the root of the mean that is not corrected.

    Args:
        learning_rate: A number or a tensor.
        beta1: Decay of ``m``.
        beta2: Decay of ``s``.
        epsilon: A small number.
        use_locking: Not used.
        name: Name of what it adds to the graph.

    Source: Kingma & Ba 2015, "Adam", section 2, arXiv:1412.6980.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        use_locking: bool = False,
        name: str = "Adam",
    ) -> None:
        super().__init__(learning_rate, name)
        self.slots = {"m": 0.0, "v": 0.0}
        self._betas, self._epsilon = (beta1, beta2), epsilon
        self._powers: list[Variable] = []

    def variables(self) -> list[Variable]:
        """All variables that it made."""
        return [*self._powers, *super().variables()]

    def _shared(self, var: Variable) -> list[Variable]:
        if not self._powers:
            with var.graph.inside(""):
                self._powers = [
                    Variable(np.asarray(beta, var.dtype), False, f"beta{i}_power")
                    for i, beta in enumerate(self._betas, 1)
                ]
        return self._powers

    def _advance(self, frame: Frame, shared: list[Variable]) -> None:
        for power, beta in zip(shared, self._betas, strict=True):
            frame.assign(power, frame.read(power) * beta)

    def _step(self, scalars: list[Any], g: Any, state: list[Any]) -> tuple[Any, list[Any]]:
        first, second = self._betas
        m = first * state[0] + (1 - first) * g
        v = second * state[1] + (1 - second) * g * g
        rate, first_power, second_power = scalars
        rate = rate * ops.sqrt(1 - second_power) / (1 - first_power)
        return rate * m / (ops.sqrt(v) + self._epsilon), [m, v]
