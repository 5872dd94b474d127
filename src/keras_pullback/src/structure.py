"""Of what layers and variables a model consists: functions compiled for others are made anew.

Imports ``layer``; ``trainer`` uses it. Start at ``Structure``.
"""

from __future__ import annotations

import operator
from typing import Any

from keras_pullback.src.layer import TOTAL


class Structure:
    """What a model consisted of when it was looked at last.

    Compiled steps read and assign the variables that they were traced with, so a layer that comes
    (``model.add``), goes (``model.pop``) or takes another's place needs steps of its own.
    """

    def __init__(self) -> None:
        self._parts: list[Any] = []
        #: How often any layer had been changed by then.
        self._changes = -1

    def lacks(self, model: Any, function: str) -> bool:
        """Whether a model's function of this name is to be made.

        There is none; or layers or variables have come, gone or been replaced since this was asked
        last, and the functions of all names are dropped.

        Cost: one comparison of integers while no layer is changed anywhere; else a walk through the
        model's layers.
        """
        if self._has_changed(model):
            model.train_function = model.test_function = model.predict_function = None
        return getattr(model, function) is None

    def _has_changed(self, model: Any) -> bool:
        if self._changes == TOTAL.changes:
            return False
        before, self._parts, self._changes = self._parts, _parts(model), TOTAL.changes
        if not before:
            return False
        is_same = len(before) == len(self._parts) and all(map(operator.is_, before, self._parts))
        return not is_same


def _parts(model: Any) -> list[Any]:
    """The layers of a model and the variables that each has by itself."""
    layers = model._flatten_layers()
    own = [[*x._trainable_variables, *x._non_trainable_variables] for x in layers]
    return [*layers, *(variable for variables in own for variable in variables)]
