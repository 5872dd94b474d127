"""The interpreter: results, checks of its arguments, and memory that it frees early."""

from __future__ import annotations

import gc
import warnings
import weakref
from typing import Any

import numpy as np
import pytest
from tests.program.programs_by_hand import LINE, ROW, layer, loops, traced

import pullback.primitives  # noqa: F401
from pullback.errors import DTypeError, ShapeError, VerificationError
from pullback.primitives.elementwise import Div, Neg
from pullback.primitives.transcendental import Log
from pullback.program.core import Equation, Literal, Program, Var
from pullback.program.interpret import interpret
from pullback.program.primitive import Primitive
from pullback.program.value import Array

X, Y, Z = Var(ROW), Var(ROW), Var(ROW)
ONES = np.ones(3, np.float32)


def test_layer_computes_what_numpy_does(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3)).astype(np.float32)
    w = rng.normal(size=(3, 4)).astype(np.float32)

    y, flag, same = interpret(layer(), x, w)

    bias = np.array([0.1, -0.0, np.inf, np.nan], np.float32)
    with np.errstate(invalid="ignore"):
        expected = (x @ w) * bias * np.float32(-0.0)
    np.testing.assert_array_equal(y, expected)
    assert flag.dtype == np.bool_
    assert flag
    assert same is x


def test_loops_compute_what_numpy_does(rng: np.random.Generator) -> None:
    state = rng.normal(size=(2, 3)).astype(np.float32)
    xs = rng.normal(size=(4, 3)).astype(np.float32)

    chosen, first, second, small = interpret(loops(), state, xs)

    sums = np.zeros(4, np.float32)
    for i in reversed(range(4)):
        state = np.tanh(state) + xs[i]
        sums[i] = state.sum()
    total = sums.sum()
    while total > 1.0:
        total *= np.float32(0.5)
    np.testing.assert_array_equal(chosen, total * np.float32(0.5))
    np.testing.assert_array_equal(first, np.sort(state.reshape(6)))
    np.testing.assert_array_equal(second, first)
    np.testing.assert_array_equal(small, state < 2.0)


def test_calling_a_program_interprets_it() -> None:
    one = traced("main", lambda x: -x, ROW)
    two = traced("main", lambda x: [-x, x], ROW)

    np.testing.assert_array_equal(one(ONES), -ONES)
    assert isinstance(two(ONES), tuple)


def test_values_and_lists_are_arguments() -> None:
    program = traced("main", lambda x: -x, ROW)

    np.testing.assert_array_equal(interpret(program, Array(ONES))[0], -ONES)


@pytest.mark.parametrize("count", [0, 2])
def test_number_of_arguments_is_checked(count: int) -> None:
    with pytest.raises(ShapeError, match=f"program 'main' takes 1 arrays, got {count}"):
        interpret(Program((X,), (), ()), *[ONES] * count)


def test_shape_of_arguments_is_checked() -> None:
    with pytest.raises(ShapeError, match=r"input 0 of program 'main' is f32\[3\], got f32\[4\]"):
        interpret(Program((X,), (), ()), np.ones(4, np.float32))


def test_dtype_of_arguments_is_checked() -> None:
    with pytest.raises(DTypeError, match=r"is f32\[3\], got f64\[3\].*astype\(float32\)"):
        interpret(Program((X,), (), ()), np.ones(3))


def test_floating_point_warnings_are_off() -> None:
    program = traced("main", lambda x: Div()(Log()(x), x), ROW)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (result,) = interpret(program, np.array([0.0, -1.0, np.inf], np.float32))

    np.testing.assert_array_equal(result, [-np.inf, np.nan, np.nan])


def test_constant_cannot_be_changed_through_a_result() -> None:
    data = ONES.copy()
    (result,) = interpret(Program((), (), (X,), ((X, data),)))

    with pytest.raises(ValueError, match="read-only"):
        result[0] = 2.0


def test_literal_is_a_result() -> None:
    (result,) = interpret(Program((), (), (Literal(np.float32(2.5)),)))

    assert (result.shape, result.dtype, float(result)) == ((), np.float32, 2.5)


class Watched(Primitive):
    """Negates, and remembers weakly what it made and what was alive then."""

    name = "watched"

    def __init__(self) -> None:
        object.__setattr__(self, "made", [])
        object.__setattr__(self, "alive", [])

    def infer(self, x: Any) -> Any:
        """Return the operand's type."""
        return x

    def evaluate(self, x: Any) -> Any:
        """Negate, and count what is alive."""
        gc.collect()
        self.alive.append(sum(ref() is not None for ref in self.made))  # type: ignore[attr-defined]
        result = -x
        self.made.append(weakref.ref(result))  # type: ignore[attr-defined]
        return result


def test_values_are_freed_after_their_last_use() -> None:
    watched = Watched()
    vars_ = [Var(ROW) for _ in range(6)]
    chain = tuple(Equation(watched, (vars_[i],), (vars_[i + 1],), i) for i in range(5))

    interpret(Program((vars_[0],), chain, (vars_[5],)), ONES)

    assert watched.alive == [0, 1, 1, 1, 1]  # type: ignore[attr-defined]


def test_dead_values_are_freed_at_once() -> None:
    watched = Watched()
    dead = tuple(Equation(watched, (X,), (Var(ROW),), i) for i in range(3))

    interpret(Program((X,), dead, (X,)), ONES)

    assert watched.alive == [0, 0, 0]  # type: ignore[attr-defined]


def test_value_that_is_returned_is_kept() -> None:
    program = Program(
        (X,), (Equation(Neg(), (X,), (Y,), 0), Equation(Neg(), (Y,), (Z,), 1)), (Y, Y)
    )

    first, second = interpret(program, ONES)

    assert first is second
    np.testing.assert_array_equal(first, -ONES)


class Faulty(Primitive):
    """Of a name and the types of negation."""

    name = "neg"

    def infer(self, x: Any) -> Any:
        """Return the operand's type."""
        return x


class WrongShape(Faulty):
    """A faulty rule: the shape."""

    def evaluate(self, *arrays: Any) -> Any:
        """Return an axis too many."""
        return np.ones((1, 3), np.float32)


class WrongCount(Faulty):
    """A faulty rule: the number of results."""

    def evaluate(self, *arrays: Any) -> Any:
        """Return a tuple of two."""
        return arrays[0], arrays[0]


class Failing(Faulty):
    """A faulty rule: an exception."""

    def evaluate(self, *arrays: Any) -> Any:
        """Fail."""
        raise ZeroDivisionError


def _run(primitive: Primitive, source: Any = LINE) -> None:
    interpret(Program((X,), (Equation(primitive, (X,), (Y,), 7, source),), (Y,)), ONES)


def test_wrong_shape_of_an_evaluate_rule_is_found() -> None:
    with pytest.raises(VerificationError, match=r"#7 neg has the type f32\[3\].*gave f32\[1,3\]"):
        _run(WrongShape())


def test_wrong_number_of_results_is_found() -> None:
    with pytest.raises(VerificationError, match="#7 neg has 1 outputs, its evaluate rule gave 2"):
        _run(WrongCount())


def test_exception_of_an_evaluate_rule_names_the_equation() -> None:
    with pytest.raises(ZeroDivisionError) as raised:
        _run(Failing())
    assert raised.value.__notes__ == ["while evaluating equation #7 neg (dense_1 train.py:12)"]

    with pytest.raises(ZeroDivisionError) as raised:
        _run(Failing(), None)
    assert raised.value.__notes__ == ["while evaluating equation #7 neg"]
