"""What each pass does to a small program, as text: left before it, right after it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.program.programs_by_hand import MATRIX, ROW, SCALAR, traced

from pullback.passes.base import Pass, PassLog
from pullback.passes.canonicalize import canonicalize
from pullback.passes.compact_scatters import compact_scatters
from pullback.passes.cse import eliminate_common_subexpressions
from pullback.passes.dce import eliminate_dead
from pullback.passes.fold import fold_constants
from pullback.passes.inline_calls import inline_calls
from pullback.passes.simplify import reassociate, simplify
from pullback.primitives.control import Call, Cond, Scan, WhileLoop
from pullback.primitives.custom import Barrier, Checkpoint, StopGradient
from pullback.primitives.dot import Dot
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.scatter import Scatter
from pullback.primitives.shape import Broadcast, Reshape, Slice, Transpose
from pullback.primitives.transcendental import Exp, Tanh
from pullback.program.core import Program
from pullback.program.printer import print_program
from pullback.program.value import Array
from pullback.types import ArrayType, float32, int32

INDEX = ArrayType((), int32)
TABLE = ArrayType((20_000, 64), float32)
PLACES, UPDATES = ArrayType((100, 1), int32), ArrayType((100, 64), float32)


def _calls(x: Any) -> Any:
    inner = traced("inner", lambda y: Tanh()(y) * 2.0, ROW)
    outer = traced("outer", lambda y: [Call(inner, "inner")(y)[0], y], ROW)
    called, same = Call(outer, "outer")(x)
    (checked,) = Checkpoint(inner, "inner")(same)
    return called + checked


def _repeated_numbers(x: Any) -> Any:
    twos = Broadcast((3,), (0,))(np.float32(2.0))
    ones = Reshape((1, 3))(Broadcast((3,), (0,))(np.float32(1.0)))
    row = Reshape((3, 1))(x)
    return [StopGradient()(x) * twos, ones, twos + twos, Exp()(row) * row]


def _constants(x: Any) -> Any:
    two = Exp()(Array(np.zeros((), np.float32))) + 1.0
    row = Broadcast((3,), (0,))(two)
    return [x * two, row]


def _algebra(x: Any) -> Any:
    negated = -x
    y = -negated * 1.0
    square = Dot(((1,), (0,)), ((), ()))(Transpose((1, 0))(y), y)
    return [Transpose((1, 0))(square), Slice((0, 0), (2, 3), (1, 1))(y)]


def _rounding(x: Any) -> Any:
    y = (x * 3.0) * 0.5 + 0.0
    return ReduceSum((0,))(Broadcast((4, 3), (0,))(y))


def _equal(x: Any, y: Any) -> Any:
    first, second = x * y, y * x
    one = traced("one", Exp(), ROW)
    other = traced("one", Exp(), ROW)
    called = [*Call(one, "f")(x), *Call(other, "f")(x)]
    barred = Exp()(Barrier()(x)) + Exp()(Barrier()(x))
    return [first + second, *called, barred]


def _step(weight: Any, unused: Any, count: Any, total: Any, x: Any) -> Any:
    value = Tanh()(x * weight)
    return [count + 1.0, total + value, value, Exp()(value), count * 2.0]


def _dead(x: Any, xs: Any, index: Any) -> Any:
    body = traced("step", _step, SCALAR, SCALAR, SCALAR, SCALAR, SCALAR)
    results = Scan(body, 3, False, 2, 2)(x, x, x, x, xs)
    _dead_exponential = Exp()(xs)
    left = traced("left", lambda a, b: [Tanh()(a), b], SCALAR, SCALAR)
    right = traced("right", lambda a, b: [Exp()(a), a], SCALAR, SCALAR)
    chosen, _ = Cond((left, right))(index, x, results[1])
    low = traced("low", lambda a, b, c: a < 3.0, SCALAR, SCALAR, SCALAR)
    grow = traced("grow", lambda a, b, c: [a + 1.0, b + a, c * b], SCALAR, SCALAR, SCALAR)
    _, counted, _ = WhileLoop(low, grow, 0)(x, x, x)
    return [results[1], results[2], chosen, counted]


def _embedding(table: Any, rate: Any, places: Any, updates: Any, moment: Any) -> Any:
    zeros = Broadcast(table.shape, (0, 1))(np.float32(0))
    add = Scatter((0,), 0, "add")
    descended = table - add(zeros, places, updates) * 0.1
    looked = table - add(zeros, places, -updates) * rate
    return [descended, looked, moment * 0.9 + add(zeros, places, updates * updates)]


EXAMPLES: dict[str, tuple[Pass, Callable[..., Any], tuple[ArrayType, ...]]] = {
    "inline_calls": (inline_calls, _calls, (ROW,)),
    "canonicalize": (canonicalize, _repeated_numbers, (ROW,)),
    "fold_constants": (fold_constants, _constants, (ROW,)),
    "simplify": (simplify, _algebra, (MATRIX,)),
    "reassociate": (reassociate, _rounding, (ROW,)),
    "common_subexpressions": (eliminate_common_subexpressions, _equal, (ROW, ROW)),
    "eliminate_dead": (eliminate_dead, _dead, (SCALAR, ROW, INDEX)),
    "compact_scatters": (compact_scatters, _embedding, (TABLE, SCALAR, PLACES, UPDATES, TABLE)),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_pass_is_golden(name: str, golden: Callable[[str, str], None]) -> None:
    made, function, types = EXAMPLES[name]
    before = traced("main", function, *types)
    log = PassLog()

    after = made(before, log)

    changes = "\n".join(
        f"{change.rule}: {'/'.join(f'#{key}' for key in (*change.scope, change.key))} "
        f"{change.primitive} -> {'nothing' if change.by is None else f'#{change.by}'}"
        for change in log.changes
    )
    golden(f"pass_{name}", f"{_text(before)}\n\n{_text(after)}\n\n{changes}")


@pytest.mark.parametrize("name", EXAMPLES)
def test_pass_comes_to_rest(name: str) -> None:
    """The second run returns the same object."""
    made, function, types = EXAMPLES[name]
    once = made(traced("main", function, *types))

    if made is reassociate or made is simplify:
        once = eliminate_dead(once)

    assert made(once) is once


def _text(program: Program) -> str:
    return print_program(program, sources=False)
