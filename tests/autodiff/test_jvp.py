"""Forward mode: rules derived by transposition, linear primitives, programs, higher orders."""

from __future__ import annotations

import numpy as np
import pytest

from pullback.autodiff.jvp import jvp_program, tangent_rule
from pullback.errors import DifferentiationError
from pullback.primitives.cast import Convert
from pullback.primitives.comparison import Gt
from pullback.primitives.cumulative import CumProd, CumSum
from pullback.primitives.dot import Dot
from pullback.primitives.elementwise import Add, Clip, Div, Max, Mul, Select
from pullback.primitives.indexing import Gather
from pullback.primitives.reduce import ReduceMax, ReduceProd, ReduceSum
from pullback.primitives.shape import Broadcast, Concatenate, Pad, Reshape, Slice, Transpose
from pullback.primitives.sort import Sort
from pullback.primitives.transcendental import Exp, Pow, Sin, Sqrt, Tanh
from pullback.program.interpret import interpret
from pullback.program.source import Origin
from pullback.program.value import as_value
from pullback.program.verify import verify
from pullback.trace.stage import stage
from pullback.types import ArrayType, float32, float64, int32

STEP = 1e-5


def f64(*shape: int) -> ArrayType:
    return ArrayType(shape, float64)


def program_of(f, *types):
    return stage(f, types).program


PRIMITIVES = [
    (Tanh(), [(3,)]),
    (Sqrt(), [(3,)]),
    (Add(), [(3,), (3,)]),
    (Add(), [(3,), ()]),
    (Mul(), [(3,), (3,)]),
    (Mul(), [(), (3,)]),
    (Div(), [(3,), (3,)]),
    (Pow(), [(3,), ()]),
    (Max(), [(4,), (4,)]),
    (Clip(), [(4,), (), ()]),
    (Dot(((1,), (0,)), ((), ())), [(2, 3), (3, 4)]),
    (Dot(((2,), (1,)), ((0,), (0,))), [(2, 3, 4), (2, 4, 3)]),
    (ReduceSum((0,)), [(3, 2)]),
    (ReduceProd((1,)), [(3, 2)]),
    (ReduceMax((1,)), [(3, 4)]),
    (CumSum(0, True), [(4,)]),
    (CumProd(1, False), [(2, 4)]),
    (Broadcast((2, 3), (0,)), [(3,)]),
    (Transpose((1, 0)), [(2, 3)]),
    (Reshape((6,)), [(2, 3)]),
    (Slice((1,), (3,), (1,)), [(4,)]),
    (Pad((1,), (-1,), (1,)), [(3,), ()]),
    (Concatenate(0), [(2,), (3,)]),
    (Sort(0, 1), [(4,), (4,)]),
]


@pytest.mark.parametrize(("primitive", "shapes"), PRIMITIVES, ids=map(str, range(len(PRIMITIVES))))
def test_tangents_equal_central_differences(rng, primitive, shapes):
    """For all operands moving, and for each moving alone."""
    xs = [rng.uniform(0.5, 2.0, size=shape) for shape in shapes]
    program = program_of(lambda *xs: _listed(primitive(*xs)), *(f64(*s) for s in shapes))

    for moving in [range(len(xs)), *([i] for i in range(len(xs)))]:
        ts = [rng.normal(size=xs[i].shape) for i in moving]
        transformed = jvp_program(program, [*moving], keep_outputs=False)
        verify(transformed)

        found = interpret(transformed, *xs, *ts)

        for actual, expected in zip(found, _differences(program, xs, moving, ts), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-8)


def _listed(result):
    return [*result] if isinstance(result, tuple) else [result]


def _differences(program, xs, moving, ts):
    def moved(step):
        points = [x.copy() for x in xs]
        for i, t in zip(moving, ts, strict=True):
            points[i] += step * t
        return interpret(program, *points)

    return [(b - a) / (2 * STEP) for a, b in zip(moved(-STEP), moved(STEP), strict=True)]


def test_the_rule_of_tanh_is_its_vjp_transposed():
    rule = tangent_rule(Tanh(), (f64(3),), (True,))

    assert [eqn.primitive.name for eqn in rule.equations] == ["mul", "sub", "mul"]
    assert rule.input_types == (f64(3),) * 3


def test_rules_hold_no_dead_equations_and_are_made_once():
    rule = tangent_rule(Mul(), (f64(3), f64(3)), (True, False))

    assert [eqn.primitive.name for eqn in rule.equations] == ["mul"]
    assert rule is tangent_rule(Mul(), (f64(3), f64(3)), (True, False))


def test_a_linear_primitive_applies_itself():
    program = program_of(lambda x: [Transpose((1, 0))(x)], f64(2, 3))

    (_, eqn) = jvp_program(program).equations

    assert eqn.primitive == Transpose((1, 0))


def test_a_sum_with_a_constant_has_the_tangent_itself():
    program = jvp_program(program_of(lambda x: [x + 1.0], f64(2)), keep_outputs=False)

    assert len(program.equations) == 1
    assert program.outputs[0] is program.inputs[1]


def test_a_linear_primitive_with_missing_tangents_takes_zeros():
    program = program_of(lambda x, y: [Concatenate(0)(x, y)], f64(2), f64(3))

    (found,) = interpret(
        jvp_program(program, [1], keep_outputs=False), np.ones(2), np.ones(3), np.full(3, 5.0)
    )

    np.testing.assert_array_equal([0, 0, 5, 5, 5], found)


def test_tangents_do_not_pass_integers():
    def f(x):
        return [Convert(float64)(Convert(int32)(x)) * x, Gt()(x, as_value(np.float64(0)))]

    program = jvp_program(program_of(f, f64(2)), keep_outputs=False)

    (t,) = interpret(program, np.array([1.5, 2.5]), np.array([1.0, 1.0]))

    np.testing.assert_array_equal([1.0, 2.0], t)


def test_an_output_that_does_not_move_has_tangent_zero():
    program = program_of(lambda x, y: [x * 2.0, Sin()(y)], f64(2), f64(3))

    moved, still = interpret(
        jvp_program(program, [0], keep_outputs=False), np.ones(2), np.ones(3), np.ones(2)
    )

    np.testing.assert_array_equal([2.0, 2.0], moved)
    np.testing.assert_array_equal(np.zeros(3), still)


def test_tangent_equations_name_rule_equation_and_line():
    program = program_of(lambda x: [Tanh()(Exp()(x))], f64(3))

    tangent = jvp_program(program).equations[2:]

    exp, tanh = program.equations
    assert {eqn.origin for eqn in tangent} == {
        Origin("jvp", exp.key, "exp"),
        Origin("jvp", tanh.key, "tanh"),
    }
    assert {eqn.source for eqn in tangent} == {exp.source, tanh.source}


def test_gather_moves_with_its_operand_alone(rng):
    x, t = rng.normal(size=4), rng.normal(size=4)
    index = np.array([[3], [0]], np.int32)
    program = program_of(
        lambda x, i: [Gather((0,), 0, "clip")(x, i)], f64(4), ArrayType((2, 1), int32)
    )

    (found,) = interpret(jvp_program(program, keep_outputs=False), x, index, t)

    np.testing.assert_array_equal(t[[3, 0]], found)


def test_select_moves_with_what_is_selected():
    def f(x, y):
        return [Select()(Gt()(x, y), x * x, y)]

    program = jvp_program(program_of(f, f64(2), f64(2)), keep_outputs=False)

    (found,) = interpret(
        program, np.array([3.0, 1]), np.array([2.0, 2]), np.ones(2), np.full(2, 10.0)
    )

    np.testing.assert_array_equal([6.0, 10.0], found)


def test_forward_over_forward(rng):
    x = rng.normal(size=())
    first = jvp_program(program_of(lambda x: [Sin()(x) * x], f64()), keep_outputs=False)

    second = jvp_program(first, [0], keep_outputs=False)
    (ddx,) = interpret(second, x, np.float64(1), np.float64(1))

    np.testing.assert_allclose(ddx, 2 * np.cos(x) - x * np.sin(x), rtol=1e-12)


def test_the_tangent_of_an_integer_input_is_refused():
    program = program_of(lambda n: [n], ArrayType((), int32))

    with pytest.raises(DifferentiationError, match="only floating inputs"):
        jvp_program(program, [0])


def test_float32_stays_float32():
    program = jvp_program(program_of(lambda x: [x * 2.0], ArrayType((3,), float32)))

    assert {a.type.dtype for eqn in program.equations for a in eqn.outputs} == {float32}
