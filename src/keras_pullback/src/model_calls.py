"""Calls of a model outside of any trace, ``model(x)``, as one compiled program.

Imports ``entries``; ``trainer`` uses it. Start at ``ModelCalls``.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
from keras.src import tree
from keras.src.backend.common import global_state
from keras.src.backend.common.masking import get_keras_mask, set_keras_mask

import pullback as pb
from keras_pullback.src.entries import Entries
from keras_pullback.src.layer import NOT_OF_CALLS
from keras_pullback.src.ops.sparse_arrays import few_sizes, filled_up
from pullback.program.value import STACKS
from pullback.sparse import COO

#: What is set in the state of Keras where ``is_in_scope``.
_SCOPES = ("current_call_ctx", "stateless_scope", "symbolic_scope", "autocast_scope")


class ModelCalls:
    """The compiled calls of one model.

    The first call with arguments of certain types runs operation by operation, since many models
    are called once only. The second compiles the call, if the model has nothing but Keras's own
    classes and functions in it: these do nothing that a program would not repeat, such as a
    ``print`` or a Python counter in a user's ``call``. Whoever changes an attribute of a layer
    makes what was compiled void.
    """

    def __init__(self) -> None:
        #: By types of arguments; void when a layer is changed.
        self._entries = Entries()
        self._is_all_keras = False
        self._has_one_output = False

    def run(self, model: Any, call: Callable[..., Any], x: Any, training: Any) -> Any:
        """The outputs for ``x``; ``NotImplemented`` where Keras's own way must be taken.

        Args:
            model: A model.
            call: Its ``__call__`` as Keras has it.
            x: What the model is called with.
            training: Whether it is to behave as in training; None leaves that to it.
        """
        if STACKS.builders or model.run_eagerly:
            return NotImplemented
        if self._entries.is_stale and not self._look_at(model):
            return NotImplemented
        if not self._is_all_keras or (STACKS.recorders and not self._has_one_output):
            # Differentiated, all of the outputs are one operation: none depends on another.
            return NotImplemented
        if is_in_scope():
            return NotImplemented
        key = self._key(x, training)
        if key is None:
            return NotImplemented
        program = self._entries.program(key, lambda: _CompiledCall(call, training))
        if program is None:
            return NotImplemented
        try:
            return program(x)
        except Exception:
            self._entries.refuse(key)
            return NotImplemented  # an error of the model is raised by Keras's own way

    def _key(self, x: Any, training: Any) -> Hashable | None:
        """What tells apart calls that need programs of their own; None: none can be made."""
        if training is not None and training is not True and training is not False:
            return None
        if type(x) is pb.Array or type(x) is np.ndarray:
            type_of_x: Any = _type(x)
        else:
            leaves = tree.flatten(x)
            if not all(type(leaf) in (pb.Array, np.ndarray, COO) for leaf in leaves):
                return None
            found = [_type(leaf) for leaf in leaves]
            places = tree.pack_sequence_as(x, list(range(len(leaves))))
            type_of_x = None if None in found else (str(places), *found)
        if type_of_x is None:
            return None
        # Normalization looks at this, and those who train two models in turn switch it.
        trainable = [attributes.get("_trainable") for attributes in self._entries.attributes]
        return (training, type_of_x, *trainable)

    def _look_at(self, model: Any) -> bool:
        """See what the model consists of now; whether it is built and worth compiling."""
        if not self._entries.forget() or not model.jit_compile:
            return False
        layers = model._flatten_layers()
        if not all(layer.built for layer in layers):
            return False
        self._entries.watch(layers)
        self._is_all_keras = all(map(_is_keras, layers))
        self._has_one_output = len(tree.flatten(getattr(model, "outputs", ()))) == 1
        return True


class _CompiledCall:
    """The program of one call of a model, for arguments of one type."""

    def __init__(self, call: Callable[..., Any], training: Any) -> None:
        self._call = call
        self._options = {} if training is None else {"training": training}
        self._has_masks = False
        self._compiled = pb.jit(self._forward)

    def __call__(self, x: Any) -> Any:
        if type(x) is not pb.Array and type(x) is not np.ndarray:
            x = tree.map_structure(filled_up, x)
        result = self._compiled(x)
        if not self._has_masks:
            return result
        outputs, masks = result
        for output, mask in zip(tree.flatten(outputs), masks, strict=True):
            if mask is not None:
                set_keras_mask(output, mask)
        return outputs

    def _forward(self, x: Any) -> Any:
        outputs = self._call(x, **self._options)
        masks = [get_keras_mask(output) for output in tree.flatten(outputs)]
        self._has_masks = any(mask is not None for mask in masks)
        return (outputs, masks) if self._has_masks else outputs


def _type(x: Any) -> Hashable | None:
    """Shape and dtype; None for arrays that no program takes."""
    if get_keras_mask(x) is not None or x.dtype.kind not in "biufV":
        return None
    if isinstance(x, COO):
        return x.shape, x.dtype, few_sizes(x.nse), x.dense_ndim, x.is_sorted, x.is_unique
    return x.shape, x.dtype


def _is_keras(layer: Any) -> bool:
    """Whether a layer and the functions that it holds are Keras's, and its call adds no loss."""
    if not is_of_keras(type(layer)) or type(layer).__name__ in ("Lambda", "TorchModuleWrapper"):
        return False
    if layer.activity_regularizer is not None:
        return False
    operations = layer.__dict__.get("_operations", ())
    if not all(is_of_keras(type(operation)) for operation in operations):
        return False
    return all(
        name in NOT_OF_CALLS or not callable(value) or is_of_keras(value)
        for name, value in layer.__dict__.items()
    )


def is_in_scope() -> bool:
    """Whether Keras is in the middle of something that a program would not see."""
    state = global_state.GLOBAL_STATE_TRACKER.__dict__
    return any(state.get(name) is not None for name in _SCOPES)


def is_of_keras(x: Any) -> bool:
    """Whether a class, a function or an object of a class is defined by Keras."""
    owner = x if isinstance(x, (type, types.FunctionType, types.MethodType)) else type(x)
    module = owner.__module__
    return module.startswith(("keras.src.", "keras_pullback.")) and not module.endswith("_test")
