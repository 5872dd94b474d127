"""The second tutorial's worked example: the engine's derivatives are those made by hand, bitwise.

The hand writes ``dL/dy = y - y_true``, ``dL/dz = dL/dy * (y * (1 - y))``, ``dL/dw = dL/dz * x`` and
``dL/db = dL/dz``. The rules of the engine do the same operations in the same order; what they do
beside it (``0.5 * d + 0.5 * d`` for the square) is exact.
"""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pullback as pb

example = importlib.import_module("examples.tutorial_2_one_neuron")

WEIGHTS = st.floats(-4.0, 4.0)
TARGETS = st.floats(0.0, 1.0)
DERIVATIVES = ("y", "z", "w", "b")


def bits(value) -> bytes:
    return np.float64(value).tobytes()


def by_hand_from(y, x, y_true):
    """The tutorial's formulas, of an output that is known."""
    dy = y - y_true
    dz = dy * (y * (1 - y))
    return {"y": dy, "z": dz, "w": dz * x, "b": dz}


@given(w=WEIGHTS, b=WEIGHTS, x=WEIGHTS, y_true=TARGETS)
def test_every_derivative_is_bitwise_the_hand_s(w, b, x, y_true):
    values, derivatives = example.by_engine(w, b, x, y_true)

    expected = by_hand_from(float(values["y"]), x, y_true)

    assert values["y"].dtype == pb.float64
    for name in DERIVATIVES:
        assert bits(derivatives[name]) == bits(expected[name]), name


@given(w=WEIGHTS, b=WEIGHTS, x=WEIGHTS, y_true=TARGETS)
def test_grad_gives_the_tape_s_derivatives(w, b, x, y_true):
    """The function that the page prints the program of."""
    given = [pb.asarray(v, dtype=pb.float64) for v in (w, b, x, y_true)]

    found = pb.grad(example.loss, argnums=(0, 1))(*given)

    _, derivatives = example.by_engine(w, b, x, y_true)
    assert [bits(d) for d in found] == [bits(derivatives["w"]), bits(derivatives["b"])]


@given(w=st.floats(0.0, 4.0), b=st.floats(0.0, 4.0), x=st.floats(0.0, 4.0), y_true=TARGETS)
def test_forward_pass_is_bitwise_the_hand_s_where_z_is_not_negative(w, b, x, y_true):
    """Below zero the engine computes ``exp(z) / (1 + exp(z))``, which keeps small values exact."""
    _, derivatives = example.by_engine(w, b, x, y_true)

    expected = example.by_hand(w, b, x, y_true)

    for name in DERIVATIVES:
        assert bits(derivatives[name]) == bits(expected[name]), name


def test_page_s_numbers_agree():
    """The very values of the example."""
    _, derivatives = example.by_engine(example.W, example.B, example.X, example.Y_TRUE)

    expected = example.by_hand(example.W, example.B, example.X, example.Y_TRUE)

    assert expected.keys() == example.FORMULAS.keys()
    for name in example.FORMULAS:
        assert bits(derivatives[name]) == bits(expected[name]), name


@pytest.mark.parametrize(
    "slope",
    [
        lambda z, y: np.exp(-z) / (1 + np.exp(-z)) ** 2,
        lambda z, y: y - y * y,
        lambda z, y: np.exp(-z) * y * y,
    ],
    ids=["quotient", "difference", "product"],
)
def test_other_formulas_of_the_slope_differ_in_the_last_bits(slope):
    """Equal in mathematics, rounded elsewhere: so the tests above can fail."""
    z = np.linspace(0.0, 4.0, 401)
    y = 1 / (1 + np.exp(-z))
    engine = pb.grad(lambda z: pb.sum(pb.nn.sigmoid(z)))(pb.asarray(z, dtype=pb.float64))

    same = np.asarray(engine) == y * (1 - y)
    close = slope(z, y)

    assert same.all()
    assert (np.asarray(engine) != close).sum() > 20
    np.testing.assert_allclose(close, engine, rtol=1e-13)


def test_compiled_derivatives_are_bitwise_the_hand_s_of_its_output():
    """In machine code the sigmoid is another, to the last bit or two; the derivatives are not."""

    @pb.jit
    def compiled(w, b, x, y_true):
        with pb.GradientTape() as tape:
            tape.watch([w, b])
            z = w * x + b
            y = pb.nn.sigmoid(z)
            loss = 0.5 * (y - y_true) ** 2
        return y, *tape.gradient(loss, [y, z, w, b])

    rng = np.random.default_rng(7)
    for w, b, x, y_true in rng.uniform(0, 2, (200, 4)):
        given = [pb.asarray(v, dtype=pb.float64) for v in (w, b, x, y_true)]

        y, *found = compiled(*given)

        assert abs(float(y) - 1 / (1 + np.exp(-(w * x + b)))) <= 4 * np.spacing(1.0)
        expected = by_hand_from(float(y), x, y_true)
        assert [bits(d) for d in found] == [bits(expected[name]) for name in DERIVATIVES]
