"""Recurrence over time: Keras's ``rnn`` as one ``pullback.scan``, or unrolled.

Imports ``ops.core``. The fused LSTM and GRU are not there: they raise NotImplementedError, by
which Keras's layers know to use ``rnn`` with their cells.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from keras.src import tree
from keras.src.backend.common import stateless_scope

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor

__all__ = ["bidirectional_gru", "bidirectional_lstm", "cudnn_ok", "gru", "lstm", "rnn", "unstack"]

#: Takes the input of a step and the states; returns the output and the next states.
Step = Callable[[Any, Any], tuple[Any, Any]]
#: Also takes the mask and the output of the step before, or None for either.
MaskedStep = Callable[[Any, Any, Any, Any], tuple[Any, Any]]


def rnn(
    step_function: Step,
    inputs: Any,
    initial_states: Any,
    go_backwards: bool = False,
    mask: Any = None,
    constants: Sequence[Any] | None = None,
    unroll: bool = False,
    input_length: Any = None,
    time_major: bool = False,
    zero_output_for_mask: bool = False,
    return_all_outputs: bool = True,
) -> tuple[Any, Any, Any]:
    """Return the last output, the outputs of all steps, and the last states.

    Where ``mask`` is false, states stay, and the output repeats that of the step before, or is 0
    if ``zero_output_for_mask``. Backwards, outputs are in the order in which they were computed.
    """
    inputs = tree.map_structure(real_tensor, inputs)
    initial_states = tree.map_structure(real_tensor, initial_states)
    mask = _time_major_mask(mask, time_major)
    if not time_major:
        inputs = tree.map_structure(_swap, inputs)
    step = _masked_step(step_function, tuple(constants or ()), zero_output_for_mask)
    loop = _unrolled if unroll else _scanned
    outputs, states = loop(step, inputs, initial_states, mask, go_backwards)
    last = tree.map_structure(lambda y: y[-1], outputs)
    if not return_all_outputs:
        outputs = tree.map_structure(lambda y: y[-1:], outputs)
    if not time_major:
        outputs = tree.map_structure(_swap, outputs)
    return last, outputs, states


def _swap(x: Any) -> Any:
    """Exchange the first two axes: batch and time."""
    return pb.swapaxes(x, 0, 1)


def _time_major_mask(mask: Any, time_major: bool) -> Any:
    """Return the mask as booleans ``[time, batch]``; one with features is true where any is."""
    if mask is None:
        return None
    mask = cast(real_tensor(mask), "bool")
    if mask.ndim > 2:
        mask = pb.any(mask, axis=tuple(range(2, mask.ndim)))
    return mask if time_major else _swap(mask)


def _where(mask: Any, x: Any, y: Any) -> Any:
    """Choose by the mask ``[batch]`` from arrays ``[batch, ...]``."""
    return pb.where(pb.reshape(mask, mask.shape + (1,) * (x.ndim - mask.ndim)), x, y)


def _masked_step(step_function: Step, constants: tuple[Any, ...], zero_output: bool) -> MaskedStep:
    """Return a step that leaves states, and repeats the output (or 0), where the mask is false."""

    def step(x: Any, states: Any, mask: Any, before: Any) -> tuple[Any, Any]:
        given = (*states, *constants) if constants else states
        output, new_states = step_function(x, given)
        new = [
            cast(new, old.dtype)
            for new, old in zip(tree.flatten(new_states), tree.flatten(states), strict=True)
        ]
        if mask is not None:
            new = [_where(mask, n, o) for n, o in zip(new, tree.flatten(states), strict=True)]
            rest = pb.zeros_like(output) if zero_output or before is None else before
            output = _where(mask, output, rest)
        return output, tree.pack_sequence_as(states, new)

    return step


def _unrolled(
    step: MaskedStep, inputs: Any, states: Any, mask: Any, go_backwards: bool
) -> tuple[Any, Any]:
    steps = range(tree.flatten(inputs)[0].shape[0])
    outputs: list[Any] = []
    for i in reversed(steps) if go_backwards else steps:
        x = tree.map_structure(lambda t, i=i: t[i], inputs)
        before = outputs[-1] if outputs else None
        output, states = step(x, states, None if mask is None else mask[i], before)
        outputs.append(output)
    if not outputs:
        raise ValueError("an unrolled rnn needs at least one time step")
    return tree.map_structure(lambda *y: pb.stack(y), *outputs), states


def _scanned(
    step: MaskedStep, inputs: Any, states: Any, mask: Any, go_backwards: bool
) -> tuple[Any, Any]:
    def body(carry: Any, x: Any) -> tuple[Any, Any]:
        now = tree.pack_sequence_as(states, list(carry))
        output, new = step(tree.pack_sequence_as(inputs, list(x[0])), now, x[1], _output(now))
        return tuple(tree.flatten(new)), output

    xs = (tuple(tree.flatten(inputs)), mask)
    # A variable assigned in the traced body would keep a tracer: such assignments are dropped.
    inside = stateless_scope.in_stateless_scope()
    with contextlib.nullcontext() if inside else stateless_scope.StatelessScope():
        carry, outputs = pb.scan(body, tuple(tree.flatten(states)), xs, reverse=go_backwards)
    if go_backwards:
        outputs = tree.map_structure(lambda y: pb.flip(y, axis=0), outputs)
    return outputs, tree.pack_sequence_as(states, list(carry))


def _output(states: Any) -> Any:
    """Return the output of the step before: by convention the first state of the (last) cell."""
    return states[-1][0] if tree.is_nested(states[0]) else states[0]


def cudnn_ok(*args: Any, **kwargs: Any) -> bool:
    """Return whether the layers may use fused kernels with cuDNN's restrictions: never."""
    return False


def lstm(*args: Any, **kwargs: Any) -> NoReturn:
    """Refuse: the layer uses ``rnn``, whose loop the compiler takes the common products out of."""
    raise NotImplementedError("no fused lstm; use rnn")


def gru(*args: Any, **kwargs: Any) -> NoReturn:
    """Refuse: the layer uses ``rnn``, whose loop the compiler takes the common products out of."""
    raise NotImplementedError("no fused gru; use rnn")


def bidirectional_lstm(*args: Any, **kwargs: Any) -> NoReturn:
    """Refuse: there is no fused LSTM, the layer uses ``rnn`` twice."""
    raise NotImplementedError("no fused bidirectional lstm; use rnn")


def bidirectional_gru(*args: Any, **kwargs: Any) -> NoReturn:
    """Refuse: there is no fused GRU, the layer uses ``rnn`` twice."""
    raise NotImplementedError("no fused bidirectional gru; use rnn")


def unstack(x: Any, axis: int = 0) -> list[Any]:
    """Return the slices of ``x`` along an axis."""
    return list(pb.unstack(x, axis=axis))
