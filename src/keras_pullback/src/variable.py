"""Keras's ``Variable`` on a ``pullback.Variable``, which compiled steps read and update in place.

Imports ``ops.core`` when called; ``ops.core`` imports this.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.backend.common import KerasVariable
from keras.src.backend.common.stateless_scope import get_stateless_scope, in_stateless_scope

import pullback as pb
from keras_pullback.src import distribution_lib
from pullback.program.value import outside_traces


class Variable(KerasVariable):
    """A Keras variable. ``_value`` is the ``pullback.Variable`` that holds its array."""

    def _initialize_with_initializer(self, initializer: Any) -> None:
        # A layer that a user's traced step builds: its variables begin with arrays, not tracers.
        with outside_traces():
            super()._initialize_with_initializer(initializer)

    def _initialize(self, value: Any) -> None:
        from keras_pullback.src.ops.core import convert_to_tensor

        distribution_lib.check()
        self._value = self._holder(convert_to_tensor(value, dtype=self._dtype))

    def _holder(self, tensor: Any) -> Any:
        from keras_pullback.src.ops.complex_arrays import ComplexVariable, is_complex

        if is_complex(tensor):
            return ComplexVariable(tensor)
        return pb.Variable(tensor, trainable=self._trainable, name=self._name)

    def _direct_assign(self, value: Any) -> None:
        self._value.assign(value)

    def _convert_to_tensor(self, value: Any, dtype: Any = None) -> Any:
        from keras_pullback.src.ops.core import convert_to_tensor

        return convert_to_tensor(value, dtype=dtype, sparse=False)

    @property
    def value(self) -> Any:
        """What the variable holds now: an array, or a tracer while a step is traced."""
        if in_stateless_scope():
            value = get_stateless_scope().get_current_value(self)
            if value is not None:
                return self._maybe_autocast(value)
        if self._value is None:  # created in a stateless scope: shapes are all that is asked for
            return self._maybe_autocast(self._initializer(self._shape, dtype=self._dtype))
        return self._maybe_autocast(self._value.read())

    def __pullback_value__(self) -> Any:
        return self.value

    def __pullback_variable__(self) -> Any:
        return self._value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        # `copy` is NumPy 2's argument: None shares the memory, read-only.
        return np.array(self.value, dtype=dtype, copy=copy)

    def __deepcopy__(self, memo: dict[int, Any]) -> Variable:
        clone = self.__class__.__new__(self.__class__)
        memo[id(self)] = clone
        clone.__dict__.update(self.__dict__)
        if self._value is not None:
            clone._value = self._holder(self._value.read())
        return clone

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        if self._value is not None:
            state["_value"] = np.array(self._value)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._value is not None:
            self._initialize(self._value)
