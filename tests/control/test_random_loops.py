"""Loops with random bodies: derivatives equal those of Python's loop, and passes keep the bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from common import arrays, cos, matvec, optimized, sin, staged, tanh, total
from hypothesis import given, settings
from hypothesis import strategies as st

from pullback.api import grad, jvp
from pullback.control import cond, scan
from pullback.custom import checkpoint, stop_gradient
from pullback.program.interpret import interpret

CARRIES, CONSTANTS = 2, 2


def inner_scan(x: Any, y: Any) -> Any:
    final, ys = scan(lambda c, _: (sin(c * y), c), x, None, length=2)
    return final + total(ys)


STEPS = {
    "add": lambda m, x, y: x + y,
    "multiply": lambda m, x, y: x * y,
    "tanh": lambda m, x, y: tanh(x),
    "sin": lambda m, x, y: sin(x),
    "square": lambda m, x, y: x * x * 0.5,
    "shrink": lambda m, x, y: x * 0.5 + 1.0,
    "matvec": lambda m, x, y: matvec(m, x),
    "total": lambda m, x, y: total(x) * y,
    "stop": lambda m, x, y: stop_gradient(x) * y,
    "cond": lambda m, x, y: cond(total(x) > 0, lambda a, b: cos(a) * b, lambda a, b: a + b, x, y),
    "scan": lambda m, x, y: inner_scan(x, y),
    "checkpoint": lambda m, x, y: checkpoint(lambda a, b: tanh(sin(a) * b))(x, y),
}


@st.composite
def bodies(draw: Any) -> list[tuple[str, int, int]]:
    """A list of steps, each with the numbers of the two values it takes."""
    count = draw(st.integers(1, 7))
    first = CARRIES + CONSTANTS + 1
    return [
        (draw(st.sampled_from(sorted(STEPS))), *(draw(st.integers(0, first + i)) for _ in range(2)))
        for i in range(count)
    ]


def make_step(body: list[tuple[str, int, int]], results: list[int]) -> Any:
    """A loop body: its values are the carry, constants, the slice, and what the steps made."""

    def step(constants: Any, carry: Any, x: Any) -> Any:
        matrix, *vectors = constants
        values = [*carry, *vectors, x]
        for name, i, j in body:
            made = STEPS[name](matrix, values[i % len(values)], values[j % len(values)])
            values.append(tanh(made))  # bounded, whatever the steps multiply up to
        picked = [values[i % len(values)] for i in results]
        return tuple(picked[:CARRIES]), picked[CARRIES]

    return step


@settings(max_examples=40)
@given(bodies(), st.lists(st.integers(0, 30), min_size=3, max_size=3), st.booleans())
def test_derivatives_of_random_loops(body, results, reverse):
    rng = np.random.default_rng(len(body))
    operands = (
        rng.normal(size=(3, 3)),
        *(rng.normal(size=3) for _ in range(CONSTANTS + CARRIES)),
        rng.normal(size=(3, 3)),
    )
    step = make_step(body, results)

    def looped(*args):
        constants, carry, xs = args[: 1 + CONSTANTS], args[1 + CONSTANTS : -1], args[-1]
        carry, ys = scan(lambda c, x: step(constants, c, x), carry, xs, reverse=reverse)
        return total([*carry, ys])

    def unrolled(*args):
        constants, carry = args[: 1 + CONSTANTS], args[1 + CONSTANTS : -3]
        rows = args[-3:]
        sums = None
        for x in rows[::-1] if reverse else rows:
            carry, y = step(constants, carry, x)
            sums = y if sums is None else sums + y
        return total([*carry, sums])

    every = range(len(operands))
    found = grad(looped, every)(*operands)
    *of_others, a, b, c = grad(unrolled, range(len(operands) + 2))(*operands[:-1], *operands[-1])
    expected = [*of_others, np.stack(arrays([a, b, c]))]

    for x, y in zip(arrays(found), arrays(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-10)
    tangents = tuple(np.cos(x) for x in operands)
    _, pushed = jvp(looped, operands, tangents)
    pulled = sum(float(np.sum(g * t)) for g, t in zip(arrays(found), tangents, strict=True))
    np.testing.assert_allclose(float(pushed), pulled, rtol=1e-8, atol=1e-10)
    program = staged(grad(looped, every), *operands)
    for x, y in zip(
        interpret(optimized(program), *operands), interpret(program, *operands), strict=True
    ):
        np.testing.assert_array_equal(x, y)
