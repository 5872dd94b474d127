"""Programs written out by hand, for golden texts and planted faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pullback.primitives  # noqa: F401  # fills the registry and the operators
from pullback.primitives.control import Call, Cond, Scan, WhileLoop
from pullback.primitives.dot import Dot
from pullback.primitives.elementwise import Mul
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.shape import Broadcast, Reshape
from pullback.primitives.sort import Sort
from pullback.primitives.transcendental import Tanh
from pullback.program.builder import Builder
from pullback.program.core import Equation, Literal, Program, Var
from pullback.program.source import Origin, Source, provenance
from pullback.program.value import Array
from pullback.types import ArrayType, float32

SCALAR = ArrayType((), float32)
ROW = ArrayType((3,), float32)
MATRIX = ArrayType((2, 3), float32)
LINE = Source("/home/user/train.py", 12, "loss", ("dense_1",))


def traced(name: str, function: Callable[..., Any], *types: ArrayType) -> Program:
    """The program of a function of values of these types."""
    with provenance(None, LINE), Builder() as b:
        results = function(*(b.input(t) for t in types))
        return b.finish(results if isinstance(results, (list, tuple)) else [results], name)


def layer() -> Program:
    """One layer and part of its derivative, with sources, origins, constants and own keys."""
    x, w, bias, big = (
        Var(MATRIX),
        Var(ArrayType((3, 4), float32)),
        Var(ArrayType((4,), float32)),
        Var(ArrayType((5, 4), float32)),
    )
    z, row, s, y = (Var(ArrayType((2, 4), float32)) for _ in range(4))
    equations = (
        Equation(Dot(((1,), (0,)), ((), ()), float32), (x, w), (z,), 0, LINE),
        Equation(Broadcast((2, 4), (0,)), (bias,), (row,), 1, LINE),
        Equation(Mul(), (z, row), (s,), 7, LINE, Origin("vjp", 0, "dot")),
        Equation(Mul(), (s, Literal(np.float32(-0.0))), (y,), 9, None, Origin("vjp", 7, "mul")),
    )
    constants = (
        (bias, np.array([0.1, -0.0, np.inf, np.nan], np.float32)),
        (big, np.arange(20, dtype=np.float32).reshape(5, 4)),
    )
    return Program((x, w), equations, (y, Literal(np.bool_(True)), x), constants, "<lambda>")


def _step(state: Any, step: Any) -> list[Any]:
    moved = Tanh()(state) + Broadcast((2, 3), (0,))(step)
    return [moved, ReduceSum((0, 1))(moved)]


def _loops(state: Any, xs: Any) -> list[Any]:
    halve = traced("halve", lambda x: x * 0.5, SCALAR)
    keep = traced("keep", lambda x: x, SCALAR)
    large = traced("large", lambda x: x > 1.0, SCALAR)
    state, sums = Scan(traced("step", _step, MATRIX, ROW), 4, True, 0, 1)(state, xs)
    (total,) = WhileLoop(large, halve, 0)(ReduceSum((0,))(sums))
    (chosen,) = Cond((keep, halve))(Array(np.asarray(1, np.int32)), total)
    flat = Reshape((6,))(state)
    (small,) = Call(traced("small", lambda x: x < 2.0, MATRIX), "small")(state)
    return [chosen, *Sort(0, 1)(flat, flat), small]


def loops() -> Program:
    """Every kind of control flow, and an equation with several outputs."""
    return traced("loops", _loops, MATRIX, ArrayType((4, 3), float32))
