"""What the tests of control flow share: sums, products, differences and equation counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pullback import tree
from pullback.passes.pipeline import run_pipeline
from pullback.primitives.dot import Dot
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.transcendental import Cos, Exp, Sin, Tanh
from pullback.program.core import Program, subprograms
from pullback.program.value import as_value
from pullback.trace.stage import stage
from pullback.types import type_of

sin, cos, tanh, exp = Sin(), Cos(), Tanh(), Exp()


def total(x: Any) -> Any:
    """Sum of all leaves of a tree, each weighted so that no two count alike."""
    values = [as_value(leaf) for leaf in tree.leaves(x)]
    sums = [ReduceSum(tuple(range(v.ndim)))(v) * (0.5 + 0.25 * i) for i, v in enumerate(values)]
    result = sums[0]
    for s in sums[1:]:
        result = result + s
    return result


def matvec(matrix: Any, vector: Any) -> Any:
    """``matrix @ vector``."""
    return Dot(((1,), (0,)), ((), ()))(as_value(matrix), as_value(vector))


def arrays(x: Any) -> list[np.ndarray[Any, Any]]:
    """The leaves of a tree as NumPy arrays."""
    return [np.asarray(leaf) for leaf in tree.leaves(x)]


def check_equal(actual: Any, expected: Any, tolerance: float = 1e-12) -> None:
    """Require equal structures and nearly equal leaves."""
    assert tree.structure(actual) == tree.structure(expected)
    for x, y in zip(arrays(actual), arrays(expected), strict=True):
        assert x.shape == y.shape
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def staged(f: Callable[..., Any], *args: Any) -> Program:
    """The program of ``f`` on arguments like ``args``."""
    types = [type_of(np.asarray(x)) for x in args]
    return stage(lambda *values: tree.leaves(f(*values)), types).program


def optimized(program: Program) -> Program:
    """The program as it is compiled."""
    return run_pipeline(program, verify_between=True)[0]


def count(program: Program, name: str) -> int:
    """How many equations of a primitive there are, bodies included."""
    found = 0
    for eqn in program.equations:
        found += eqn.primitive.name == name
        found += sum(count(body, name) for body in subprograms(eqn.primitive))
    return found
