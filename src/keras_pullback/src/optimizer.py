"""The mixin of every Keras optimizer: ``apply`` outside of any trace as one compiled program.

Imports ``entries`` and ``model_calls``; Keras's ``Optimizer`` inherits from it. Start at
``BackendOptimizer``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from keras.src import backend
from keras.src.optimizers import base_optimizer
from keras.src.optimizers.schedules import learning_rate_schedule

import pullback as pb
from keras_pullback.src.entries import Entries
from keras_pullback.src.layer import count_change
from keras_pullback.src.model_calls import is_in_scope, is_of_keras
from keras_pullback.src.variable import Variable
from pullback.program.value import STACKS, outside_traces


class BackendOptimizer(base_optimizer.BaseOptimizer):
    """Base of Keras's ``Optimizer`` with this backend."""

    built: bool

    def __setattr__(self, name: str, value: Any) -> None:
        count_change(self, name, value)
        super().__setattr__(name, value)

    def apply_gradients(self, grads_and_vars: Any) -> Any:
        """Move variables against their gradients; see ``keras.Optimizer.apply_gradients``."""
        grads, variables = zip(*grads_and_vars, strict=False)
        self._build_outside(variables)
        has_own_apply = type(self).apply is not BackendOptimizer.apply
        if not (has_own_apply and self._updates().run(self, self.apply, grads, variables)):
            self.apply(grads, variables)
        return self._iterations

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Move variables against their gradients; see ``keras.Optimizer.apply``."""
        if trainable_variables is not None:
            trainable_variables = list(trainable_variables)
            self._build_outside(trainable_variables)
        if not self._updates().run(self, super().apply, grads, trainable_variables):
            super().apply(grads, trainable_variables)

    def _build_outside(self, variables: Any) -> None:
        """Create the optimizer's variables outside of a trace that is going on.

        So an optimizer can be used in a user's ``train_step`` that nobody has built before.
        """
        if STACKS.builders and not self.built and not is_in_scope():
            with outside_traces(), backend.name_scope(self.name, caller=self):
                self.build([*variables])
            self.built = True

    def _updates(self) -> Updates:
        updates: Updates | None = self.__dict__.get("_pullback_updates")
        if updates is None:
            updates = self.__dict__["_pullback_updates"] = Updates()
        return updates


class Updates:
    """The compiled updates of one optimizer.

    The first update of certain variables runs operation by operation: it may create the
    optimizer's variables, and may stay the only one. The second compiles it, if the optimizer, its
    schedule and the constraints of the variables are Keras's own. The optimizer's variables, among
    them the learning rate, are read each time; whoever changes an attribute makes what was
    compiled void.
    """

    def __init__(self) -> None:
        #: By variables; void when an optimizer that takes part is changed.
        self._entries = Entries()
        #: Objects that tell nobody of changes, with the attributes they had.
        self._watched: list[tuple[Any, dict[str, Any]]] = []
        self._is_all_keras = False
        self._was_built = False

    def __reduce__(self) -> Any:
        return Updates, ()  # a copy of an optimizer compiles its own

    def run(
        self, optimizer: Any, apply: Callable[..., Any], grads: Sequence[Any], variables: Any
    ) -> bool:
        """Update ``variables`` by a compiled program; False where Keras's own way must be taken.

        Args:
            optimizer: An optimizer.
            apply: Its ``apply`` as Keras has it.
            grads: One array for each variable.
            variables: Those to be updated; None stands for those of the optimizer.
        """
        if STACKS.builders or STACKS.recorders or is_in_scope():
            return False
        if not optimizer.built:
            self._was_built = True  # now, by Keras
            return False
        variables = optimizer._trainable_variables if variables is None else variables
        if not grads or [*map(type, grads)] != [pb.Array] * len(variables):
            return False
        if self._entries.is_stale or not _is_as_before(self._watched):
            self._look_at(optimizer)
        if not self._is_all_keras:
            return False
        key = (*map(id, variables),)
        at_once, self._was_built = self._was_built, False
        update = self._entries.program(key, lambda: _CompiledUpdate.of(apply, variables), at_once)
        if update is None:
            return False
        if not update.fits():
            self._entries.begin_anew(key)
            return False
        try:
            update(grads)
        except Exception:
            self._entries.refuse(key)
            return False  # an error of the update is raised by Keras's own way
        return True

    def _look_at(self, optimizer: Any) -> None:
        """See what the optimizer consists of now, and whether it is worth compiling."""
        is_worth_it = self._entries.forget()
        optimizers = [optimizer, *_inner(optimizer)]
        self._entries.watch(optimizers)
        rates = [part._learning_rate for part in optimizers]
        self._watched = _snapshots(rate for rate in rates if not isinstance(rate, Variable))
        self._is_all_keras = (
            is_worth_it
            and all(map(is_of_keras, map(type, optimizers)))
            and all(map(_is_known_rate, rates))
        )


class _CompiledUpdate:
    """The program of one update of certain variables."""

    def __init__(self, apply: Callable[..., Any], variables: Sequence[Any]) -> None:
        self._apply = apply
        self._variables = [*variables]  # held on to: they are told apart by identity
        self._constraints = [v.constraint for v in variables]
        self._watched = _snapshots(c for c in self._constraints if c is not None)
        self._compiled = pb.jit(self._update)

    @staticmethod
    def of(apply: Callable[..., Any], variables: Sequence[Any]) -> Any:
        """The program, or None where none can be made."""
        for v in variables:
            if not isinstance(v, Variable) or v.overwrite_with_gradient:
                return None
            if v.constraint is not None and not is_of_keras(v.constraint):
                return None
        return _CompiledUpdate(apply, variables)

    def fits(self) -> bool:
        """Whether the variables have the constraints that they had."""
        pairs = zip(self._variables, self._constraints, strict=True)
        return all(v.constraint is c for v, c in pairs) and _is_as_before(self._watched)

    def __call__(self, grads: Sequence[Any]) -> None:
        self._compiled(*grads)

    def _update(self, *grads: Any) -> None:
        self._apply(grads, self._variables)


def _inner(optimizer: Any) -> list[Any]:
    """Those that an optimizer hands gradients to: one that scales the loss, one of several."""
    known = optimizer.__dict__
    return [*known.get("_inner_optimizers", ()), *filter(None, [known.get("inner_optimizer")])]


def _is_known_rate(rate: Any) -> bool:
    """Whether a learning rate is a variable, or a schedule of Keras's with plain numbers."""
    if isinstance(rate, Variable):
        return True
    if not isinstance(rate, learning_rate_schedule.LearningRateSchedule):
        return False
    return is_of_keras(rate) and all(map(_is_plain, rate.__dict__.values()))


def _is_plain(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return all(map(_is_plain, x))
    return x is None or isinstance(x, (bool, int, float, str, np.generic))


def _snapshots(objects: Any) -> list[tuple[Any, dict[str, Any]]]:
    """Objects with the attributes that they have now, lists copied."""
    return [(x, _attributes(x)) for x in objects]


def _attributes(x: Any) -> dict[str, Any]:
    known = getattr(x, "__dict__", {})
    return {k: [*v] if isinstance(v, list) else v for k, v in known.items()}


def _is_as_before(snapshots: list[tuple[Any, dict[str, Any]]]) -> bool:
    """Whether all attributes are what they were."""
    return all(x.__dict__ == before for x, before in snapshots)
