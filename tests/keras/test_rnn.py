"""The recurrent loop against one in NumPy: masks, directions, layouts, nesting, derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.testing import check_vjp

pytest.importorskip("keras")

from keras_pullback.src import rnn as rnn_function
from keras_pullback.src.rnn import gru, lstm

BATCH, TIME, WIDTH = 3, 5, 4


def step(x: Any, states: Any) -> tuple[Any, Any]:
    h = pb.tanh(x + 0.5 * states[0])
    return h, [h]


def reference(
    x: np.ndarray, mask: np.ndarray | None, backwards: bool, zero: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs, in the order in which they are computed, and the last state."""
    h = np.zeros((BATCH, WIDTH))
    outputs = []
    for t in range(TIME)[::-1] if backwards else range(TIME):
        new = np.tanh(x[:, t] + 0.5 * h)
        keep = np.ones((BATCH, 1), bool) if mask is None else mask[:, t, None]
        outputs.append(np.where(keep, new, 0 if zero else h))
        h = np.where(keep, new, h)
    return np.stack(outputs, axis=1), h


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(BATCH, TIME, WIDTH))


@pytest.fixture
def mask(rng: np.random.Generator) -> np.ndarray:
    return rng.random((BATCH, TIME)) < 0.6


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize(("masked", "zero"), [(False, False), (True, False), (True, True)])
def test_rnn_equals_a_loop(
    x: np.ndarray, mask: np.ndarray, unroll: bool, backwards: bool, masked: bool, zero: bool
) -> None:
    given = mask if masked else None
    expected, state = reference(x, given, backwards, zero)

    last, outputs, states = rnn_function(
        step,
        x,
        [np.zeros((BATCH, WIDTH))],
        go_backwards=backwards,
        mask=given,
        unroll=unroll,
        zero_output_for_mask=zero,
    )

    np.testing.assert_allclose(outputs, expected, rtol=1e-12)
    np.testing.assert_allclose(last, expected[:, -1], rtol=1e-12)
    np.testing.assert_allclose(states[0], state, rtol=1e-12)


def test_rnn_time_major_and_last_output_only(x: np.ndarray) -> None:
    expected, _ = reference(x, None, False, False)

    last, outputs, _ = rnn_function(
        step,
        np.swapaxes(x, 0, 1),
        [np.zeros((BATCH, WIDTH))],
        time_major=True,
        return_all_outputs=False,
    )

    assert outputs.shape == (1, BATCH, WIDTH)
    np.testing.assert_allclose(outputs[0], expected[:, -1], rtol=1e-12)
    np.testing.assert_array_equal(np.asarray(last), np.asarray(outputs[0]))


def test_rnn_of_nested_inputs_and_constants(x: np.ndarray) -> None:
    def sums(given: Any, states: Any) -> tuple[Any, Any]:
        total, count, scale = states
        total = total + given["a"] * scale + given["b"]
        return total, [total, count + 1]

    start = [np.zeros((BATCH, WIDTH)), np.zeros((BATCH, 1))]
    for unroll in (False, True):
        _, outputs, states = rnn_function(
            sums, {"a": x, "b": 2 * x}, start, constants=[np.asarray(3.0)], unroll=unroll
        )

        np.testing.assert_allclose(outputs, 5 * np.cumsum(x, axis=1), rtol=1e-12)
        assert np.all(np.asarray(states[1]) == TIME)


def test_rnn_repeats_the_output_of_the_last_of_stacked_cells(mask: np.ndarray) -> None:
    def stacked(given: Any, states: Any) -> tuple[Any, Any]:
        first, second = states[0][0] + given, states[1][0] + states[0][0] + given
        return second, [[first], [second]]

    start = [[np.zeros((BATCH, 1))], [np.zeros((BATCH, 1))]]
    results = [
        rnn_function(stacked, np.ones((BATCH, TIME, 1)), start, mask=mask, unroll=unroll)[1]
        for unroll in (False, True)
    ]

    np.testing.assert_array_equal(np.asarray(results[0]), np.asarray(results[1]))


def test_rnn_masks_states_with_more_axes(mask: np.ndarray) -> None:
    ones = np.ones((BATCH, TIME, 2, 2, 1))

    _, _, states = rnn_function(
        lambda x, s: (s[0] + x, [s[0] + x]), ones, [np.zeros((BATCH, 2, 2, 1))], mask=mask
    )

    np.testing.assert_array_equal(np.asarray(states[0])[:, 0, 0, 0], mask.sum(axis=1))


@pytest.mark.parametrize("unroll", [False, True])
def test_rnn_derivatives(x: np.ndarray, mask: np.ndarray, unroll: bool) -> None:
    def outputs(x: Any, h: Any) -> Any:
        return rnn_function(step, x, [h], mask=mask, unroll=unroll)[1]

    check_vjp(outputs, x, np.zeros((BATCH, WIDTH)), order=1)


def test_rnn_inside_jit(x: np.ndarray) -> None:
    def last(x: Any) -> Any:
        return rnn_function(step, x, [pb.zeros((BATCH, WIDTH), dtype=x.dtype)])[0]

    np.testing.assert_allclose(pb.jit(last)(pb.asarray(x)), last(x), rtol=1e-12)


def test_unrolled_rnn_refuses_no_steps() -> None:
    with pytest.raises(ValueError, match="at least one time step"):
        rnn_function(step, np.ones((2, 0, 3)), [np.zeros((2, 3))], unroll=True)


def test_fused_loops_are_refused() -> None:
    for fused in (lstm, gru):
        with pytest.raises(NotImplementedError, match="use rnn"):
            fused()
