"""The backward pass: closed forms, fan-in, what is skipped, provenance, and errors."""

from __future__ import annotations

import numpy as np
import pytest

from pullback.autodiff.cotangents import ones, sum_to, zeros
from pullback.autodiff.vjp import vjp_program
from pullback.errors import DifferentiationError
from pullback.primitives.comparison import Gt
from pullback.primitives.dot import Dot
from pullback.primitives.elementwise import Add, Floor, Mul, Select
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.shape import Broadcast, Slice
from pullback.primitives.sort import Sort
from pullback.primitives.transcendental import Exp, Sin, Tanh
from pullback.program.builder import Builder
from pullback.program.interpret import interpret
from pullback.program.primitive import Primitive
from pullback.program.source import Origin
from pullback.program.value import Array, as_value
from pullback.program.verify import verify
from pullback.trace.stage import stage
from pullback.types import ArrayType, bool_, float32, float64, int32

MATRIX_PRODUCT = Dot(((1,), (0,)), ((), ()))


def f64(*shape: int) -> ArrayType:
    return ArrayType(shape, float64)


def program_of(f, *types):
    return stage(f, types).program


def gradients(f, *arrays, wanted=None):
    """Outputs and input cotangents of a scalar function, by the transformed program."""
    types = [ArrayType(np.shape(x), np.asarray(x).dtype) for x in arrays]
    program = vjp_program(program_of(f, *types), wanted, keep_outputs=False)
    verify(program)
    return interpret(program, *arrays, np.float64(1.0))


def test_closed_form_of_a_chain(rng):
    x, w = rng.normal(size=(4, 3)), rng.normal(size=(3, 5))

    def f(x, w):
        return [ReduceSum((0, 1))(Tanh()(MATRIX_PRODUCT(x, w)))]

    dx, dw = gradients(f, x, w)

    inner = 1 - np.tanh(x @ w) ** 2
    np.testing.assert_allclose(dx, inner @ w.T, rtol=1e-12)
    np.testing.assert_allclose(dw, x.T @ inner, rtol=1e-12)


def test_a_variable_used_twice_gets_the_sum(rng):
    x = rng.normal(size=3)

    (dx,) = gradients(lambda x: [ReduceSum((0,))(x * x * Sin()(x))], x)

    np.testing.assert_allclose(dx, 2 * x * np.sin(x) + x**2 * np.cos(x), rtol=1e-12)


def test_a_rank_0_operand_gets_the_sum_over_its_uses(rng):
    x = rng.normal(size=(2, 3))

    (ds,) = gradients(lambda x, s: [ReduceSum((0, 1))(x * s)], x, np.float64(2.0), wanted=[1])

    np.testing.assert_allclose(ds, x.sum(), rtol=1e-12)


def test_an_output_given_twice_takes_both_cotangents():
    program = vjp_program(program_of(lambda x: [x, x * 3.0, x], f64()), keep_outputs=False)

    (dx,) = interpret(program, *map(np.float64, (1.0, 10.0, 100.0, 1000.0)))

    assert dx == 10 + 3 * 100 + 1000


def test_an_input_that_is_not_used_gets_zeros():
    dx, dy = gradients(lambda x, y: [ReduceSum((0,))(x)], np.ones(2), np.ones((3, 2)))

    np.testing.assert_array_equal(np.ones(2), dx)
    np.testing.assert_array_equal(np.zeros((3, 2)), dy)


def test_outputs_and_cotangents_stand_where_the_docstring_says():
    program = program_of(lambda n, x, y: [n, x * y, y], ArrayType((), int32), f64(2), f64(2))

    both = vjp_program(program, [2])

    assert both.input_types == (ArrayType((), int32), f64(2), f64(2), f64(2), f64(2))
    assert both.output_types == (ArrayType((), int32), f64(2), f64(2), f64(2))


def test_forward_equations_are_kept_as_they_are():
    program = program_of(lambda x: [Tanh()(Sin()(x))], f64(3))

    both = vjp_program(program)

    assert both.equations[:2] == program.equations
    assert len({eqn.key for eqn in both.equations}) == len(both.equations)


def test_backward_equations_name_rule_equation_and_line():
    program = program_of(lambda x: [ReduceSum((0,))(Tanh()(x))], f64(3))

    backward = vjp_program(program).equations[2:]

    tanh, reduction = program.equations
    assert [eqn.origin for eqn in backward][:1] == [Origin("vjp", reduction.key, "reduce_sum")]
    assert {eqn.origin for eqn in backward[1:]} == {Origin("vjp", tanh.key, "tanh")}
    assert {str(eqn.source) for eqn in backward} == {str(tanh.source)}
    assert tanh.source.file == __file__


def test_only_what_the_wanted_inputs_influence_is_differentiated():
    """The rule of the refusing primitive must not be asked."""

    class Refusing(Primitive):
        name = "refusing"

        def infer(self, x):
            return x

    program = program_of(lambda x, y: [Refusing()(y) * x], f64(2), f64(2))

    vjp_program(program, [0])
    with pytest.raises(DifferentiationError, match="refusing is not defined"):
        vjp_program(program, [1])


def test_a_refusing_rule_without_cotangent_is_not_asked():
    class Refusing(Primitive):
        name = "refusing"

        def infer(self, x):
            return x

    def f(x):
        Refusing()(x)
        return [x * 2.0]

    vjp_program(program_of(f, f64(2)))


def test_a_refusal_names_equation_and_line():
    class Refusing(Primitive):
        name = "refusing"

        def infer(self, x):
            return x

    program = program_of(lambda x: [Refusing()(Sin()(x))], f64(2))

    with pytest.raises(DifferentiationError) as caught:
        vjp_program(program)

    line, note = caught.value.__notes__
    assert line.endswith(": vjp_program(program)")
    assert note.startswith("while differentiating equation 1 refusing (test_vjp.py:")


def test_integers_and_booleans_carry_no_derivative():
    def f(x):
        mask = Gt()(x, as_value(np.float64(0.0)))
        return [ReduceSum((0,))(Select()(mask, x * 3.0, x))]

    (dx,) = gradients(f, np.array([-1.0, 2.0]))

    np.testing.assert_array_equal([1.0, 3.0], dx)


def test_the_derivative_of_an_integer_input_is_refused():
    program = program_of(lambda n, x: [x], ArrayType((), int32), f64())

    with pytest.raises(DifferentiationError, match=r"input 0 of program main is i32\[\]"):
        vjp_program(program, [0])


def test_a_declared_zero_cuts_the_path():
    (dx,) = gradients(lambda x: [ReduceSum((0,))(Floor()(x) * x)], np.array([1.5, 2.5]))

    np.testing.assert_array_equal([1.0, 2.0], dx)


def test_several_outputs_give_one_rule_all_cotangents():
    """Sorting keys with a value beside them: only the second output has a cotangent."""
    keys, values = np.array([3.0, 1.0, 2.0]), np.array([10.0, 20.0, 30.0])

    def f(k, v):
        _, moved = Sort(0, 1)(k, v)
        return [ReduceSum((0,))(Slice((0,), (1,), (1,))(moved))]

    dk, dv = gradients(f, keys, values)

    np.testing.assert_array_equal(np.zeros(3), dk)
    np.testing.assert_array_equal([0.0, 1.0, 0.0], dv)


def test_constants_of_the_program_stay_constants():
    b = Builder()
    with b:
        x = b.input(f64(2))
        y = Mul()(x, Array(np.array([2.0, 3.0])))
        program = b.finish([ReduceSum((0,))(y)])
    from pullback.autodiff.vjp import close

    closed = close(b, program)

    (dx,) = interpret(vjp_program(closed, keep_outputs=False), np.ones(2), np.float64(1))

    np.testing.assert_array_equal([2.0, 3.0], dx)
    assert len(closed.inputs) == 1


def test_second_derivatives_of_the_transformed_program(rng):
    x = rng.normal(size=())
    first = vjp_program(program_of(lambda x: [Sin()(x) * Exp()(x)], f64()), keep_outputs=False)

    second = vjp_program(first, [0], keep_outputs=False)
    (ddx,) = interpret(second, x, np.float64(1), np.float64(1))

    np.testing.assert_allclose(ddx, 2 * np.cos(x) * np.exp(x), rtol=1e-12)


def test_wrong_number_of_cotangents_is_a_defect():
    class Wrong(Primitive):
        name = "wrong_count"

        def infer(self, x, y):
            return x

        def vjp(self, ct, out, x, y):
            return (ct,)

    program = program_of(lambda x, y: [Wrong()(x, y)], f64(2), f64(2))

    with pytest.raises(DifferentiationError, match="gave 1 cotangents for 2 operands"):
        vjp_program(program)


def test_wrong_dtype_of_a_cotangent_is_a_defect():
    class Wrong(Primitive):
        name = "wrong_dtype"

        def infer(self, x):
            return x

        def vjp(self, ct, out, x):
            return (as_value(np.ones(2, np.float32)),)

    program = program_of(lambda x: [Wrong()(x)], f64(2))

    with pytest.raises(DifferentiationError, match=r"f32\[2\] for an operand f64\[2\]") as caught:
        vjp_program(program)
    assert "wrong_dtype" in caught.value.__notes__[-1]


@pytest.mark.parametrize(
    ("given", "operand"),
    [
        ((3,), (3,)),
        ((2, 3), ()),
        ((2, 3), (3,)),
        ((2, 3), (1, 3)),
        ((4, 2, 3), (2, 1)),
        ((0, 3), (3,)),
    ],
)
def test_sum_to_undoes_broadcasting(rng, given, operand):
    ct = rng.normal(size=given)
    expected = _unbroadcast(ct, operand)

    found = sum_to(as_value(ct), f64(*operand))

    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.shape == operand


def _unbroadcast(ct: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    total = np.zeros(shape)
    for index in np.ndindex(ct.shape):
        tail = index[len(index) - len(shape) :] if shape else ()
        total[tuple(0 if n == 1 else i for i, n in zip(tail, shape, strict=True))] += ct[index]
    return total


@pytest.mark.parametrize(("given", "operand"), [((3,), (2, 3)), ((2, 3), (2, 2)), ((2,), (3,))])
def test_sum_to_refuses_what_does_not_broadcast(given, operand):
    with pytest.raises(DifferentiationError, match="defect of the rule"):
        sum_to(as_value(np.ones(given)), f64(*operand))


def test_zeros_and_ones_are_broadcast_literals():
    program = program_of(lambda: [zeros(f64(2, 3)), ones(f64())])

    (eqn,) = program.equations
    assert isinstance(eqn.primitive, Broadcast)
    assert [x.tolist() for x in interpret(program)] == [[[0.0] * 3] * 2, 1.0]


def test_float32_stays_float32():
    program = vjp_program(
        program_of(lambda x: [ReduceSum((0,))(x * 2.0)], ArrayType((3,), float32))
    )

    assert {a.type.dtype for eqn in program.equations for a in eqn.outputs} == {float32}


def test_boolean_outputs_have_no_cotangent_input():
    zero = np.float64(0)
    program = program_of(lambda x: [Gt()(x, as_value(zero)), Add()(x, x)], f64(2))

    assert vjp_program(program).input_types == (f64(2), f64(2))
    assert program.output_types[0] == ArrayType((2,), bool_)
