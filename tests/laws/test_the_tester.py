"""The checks are checked: each planted fault must be caught.

A check that cannot fail proves nothing. Faulty primitives are made without registering them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest
import python_loops
from case import Case, given
from checks import check_close, check_lowered, check_reference, check_round_trip
from families import wide
from python_loops import ArrayOperand, Counter, PythonLoops, element, run_lowered

from pullback.errors import DTypeError
from pullback.primitives.elementwise import Add, Binary, Mul, Unary
from pullback.primitives.shape import Reverse, Transpose
from pullback.primitives.transcendental import Cos, Sin, Tanh
from pullback.program.loops import PREDICATES, SCALAR_OPS
from pullback.program.primitive import Primitive
from pullback.testing import VjpCheckError, check_types, check_vjp
from pullback.types import bool_, float32, float64, int32

X = np.array([0.3, -0.7, 1.1])
Y = np.array([1.5, 0.4, -0.6])


class Sine(Unary):
    """A right primitive to spoil: ``sin``."""

    name = "sine"
    opcode = "sin"
    ufunc: ClassVar[Callable[..., Any]] = np.sin

    def vjp(self, ct, out, x):
        return (ct * Cos()(x),)


def case_of(primitive: Primitive, **options) -> Case:
    return Case(primitive, given(X), wide(np.sin), ulp=2, **options)


def test_right_primitive_passes():
    check_vjp(Sine(), X)
    check_types(Sine(), X)
    check_reference(case_of(Sine()))
    check_lowered(case_of(Sine()))


@pytest.mark.parametrize("factor", [1.001, 0.999, -1.0, 2.0, 0.0])
def test_vjp_off_by_a_factor_is_caught(factor):
    class Wrong(Sine):
        def vjp(self, ct, out, x):
            return (ct * Cos()(x) * factor,)

    with pytest.raises(VjpCheckError, match="order 1"):
        check_vjp(Wrong(), X)


def test_vjp_that_forgets_an_operand_is_caught():
    class Wrong(Binary):
        name = "product"
        ufunc = np.multiply

        def vjp(self, ct, out, x, y):
            return (ct * y, None)

    with pytest.raises(VjpCheckError, match="product, order 1"):
        check_vjp(Wrong(), X, Y)


def test_wrong_second_derivative_is_caught():
    """The first derivative is right as a number, but its own derivative is not carried on."""

    class Wrong(Sine):
        def vjp(self, ct, out, x):
            from pullback.program.value import Array

            return (ct * Array(np.cos(np.asarray(x))),)

    check_vjp(Wrong(), X, order=1)
    with pytest.raises(VjpCheckError, match="order 2"):
        check_vjp(Wrong(), X, order=2)


def test_second_derivative_off_by_a_thousandth_is_caught():
    class WrongCos(Sine):
        ufunc = np.cos

        def vjp(self, ct, out, x):
            return (-(ct * Sin()(x)) * 1.001,)

    class Wrong(Sine):
        def vjp(self, ct, out, x):
            return (ct * WrongCos()(x),)

    with pytest.raises(VjpCheckError, match="order 2"):
        check_vjp(Wrong(), X)


def test_error_in_one_of_many_elements_is_caught():
    class Wrong(Sine):
        def vjp(self, ct, out, x):
            factor = np.ones(1000)
            factor[537] = 1.01
            return (ct * Cos()(x) * factor,)

    with pytest.raises(VjpCheckError):
        check_vjp(Wrong(), np.linspace(-1, 1, 1000))


def test_cotangent_of_wrong_type_is_caught():
    class Transposed(Sine):
        def vjp(self, ct, out, x):
            return (Transpose((1, 0))(ct * Cos()(x)),)

    with pytest.raises(VjpCheckError, match=r"is f64\[3,2\], expected f64\[2,3\]"):
        check_vjp(Transposed(), np.ones((2, 3)))


def test_wrong_number_of_cotangents_is_caught():
    class Wrong(Sine):
        def vjp(self, ct, out, x):
            return (ct * Cos()(x), None)

    with pytest.raises(VjpCheckError, match="returns 2 cotangents for 1 operands"):
        check_vjp(Wrong(), X)


def test_wrong_python_function_is_caught():
    """A function's derivative comes from the engine; here its custom part is wrong."""

    class Wrong(Sine):
        def vjp(self, ct, out, x):
            return (ct * Cos()(x) * 1.001,)

    def f(x, y):
        return {"product": Wrong()(x) * y, "other": Tanh()(y)}

    def g(x, y):
        return {"product": Sine()(x) * y, "other": Tanh()(y)}

    check_vjp(g, X, Y)
    with pytest.raises(VjpCheckError, match="vjp of f, order 1"):
        check_vjp(f, X, Y)


def test_check_at_a_kink_is_refused_by_the_numbers():
    with pytest.raises(VjpCheckError, match="vjp of"):
        check_vjp(lambda x: abs(x), np.array([1e-6]))


def test_float32_operands_are_refused():
    with pytest.raises(ValueError, match="float64"):
        check_vjp(Sine(), X.astype(np.float32))


@pytest.mark.parametrize(
    "wrong_type",
    [
        lambda x: x.with_shape((*x.shape, 1)),
        lambda x: x.with_shape((x.shape[0] + 1,)),
        lambda x: x.with_dtype(float32),
        lambda x: (x,),
    ],
    ids=["rank", "length", "dtype", "tuple"],
)
def test_wrong_infer_is_caught(wrong_type):
    class Wrong(Sine):
        def infer(self, *types):
            return wrong_type(*types)

    with pytest.raises(AssertionError, match="infer"):
        check_types(Wrong(), X)


def test_wrong_evaluate_is_caught():
    class Wrong(Sine):
        ufunc = staticmethod(lambda x: np.sin(x) * (1 + 2e-15))

    with pytest.raises(AssertionError, match="3 of 3 elements differ"):
        check_reference(case_of(Wrong()))


def test_wrong_opcode_is_caught():
    class Wrong(Sine):
        opcode = "sinh"

    with pytest.raises(AssertionError, match="elements differ"):
        check_lowered(case_of(Wrong()))


def test_lowering_off_by_little_is_caught():
    class Wrong(Sine):
        def scalar(self, b, *elements):
            (x,) = elements
            return b.op("mul", b.op("sin", x), b.constant(1 + 1e-14, x.dtype))

    with pytest.raises(AssertionError, match="elements differ"):
        check_lowered(case_of(Wrong()))


def test_lowering_with_swapped_operands_is_caught():
    class Wrong(Binary):
        name = "difference"
        ufunc = np.subtract

        def scalar(self, b, *elements):
            x, y = elements
            return b.op("sub", y, x)

    with pytest.raises(AssertionError, match="elements differ"):
        check_lowered(Case(Wrong(), given(X, Y), np.subtract))


def test_lowering_at_a_wrong_index_is_caught():
    class Wrong(Unary):
        name = "shifted"
        ufunc = np.copy

        def lower(self, b, index, *operands):
            (x,) = operands
            return x.at((index[0] + 1,))

    with pytest.raises(AssertionError, match="lies outside"):
        check_lowered(Case(Wrong(), given(X), np.copy))


def test_lowering_of_another_dtype_is_caught():
    class Wrong(Sine):
        def scalar(self, b, *elements):
            return b.cast(b.op("sin", *elements), float32)

    with pytest.raises(AssertionError, match="lowered to float32"):
        check_lowered(case_of(Wrong()))


@pytest.mark.parametrize("operation", [lambda i: i // 2, lambda i: i % 2], ids=["//", "%"])
def test_index_division_of_negative_numbers_is_caught(operation):
    with pytest.raises(AssertionError, match="negative"):
        operation(Counter(1) - 3)


def test_loops_refuse_operands_of_different_dtypes():
    b = PythonLoops()

    with pytest.raises(AssertionError):
        b.op("add", element(1, int32), element(1.0, float64))
    with pytest.raises(AssertionError):
        b.select(element(1, int32), element(1, int32), element(2, int32))
    with pytest.raises(AssertionError):
        b.op("sin", element(1, int32))


def test_loops_know_every_opcode():
    known = set(python_loops._FLOAT_OPS) | set(python_loops._BIT_OPS) | PREDICATES | {"nextafter"}

    assert known == set(SCALAR_OPS)


def test_operand_refuses_an_index_outside():
    x = ArrayOperand(np.ones((2, 3)))

    for index in ((2, 0), (-1, 0), (0,), (0, 3)):
        with pytest.raises(AssertionError):
            x.at(index)


def test_check_close_measures_units_in_the_last_place():
    one = np.array([1.0], np.float32)
    next_to_one = np.nextafter(one, np.float32(2))

    check_close(next_to_one, one, float32, ulp=1.0)
    with pytest.raises(AssertionError, match=r"\(1 ulp\)"):
        check_close(next_to_one, one, float32, ulp=0.9)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [(np.nan, 1.0), (1.0, np.nan), (np.inf, -np.inf), (np.inf, 1.0), (1.0, np.inf), (0.0, 5e-324)],
)
def test_check_close_tells_special_values_apart(actual, expected):
    with pytest.raises(AssertionError):
        check_close(np.array([actual]), np.array([expected]), float64, ulp=0)


def test_check_close_tells_zeros_apart_when_asked():
    check_close(np.array([0.0]), np.array([-0.0]), float64, ulp=0)
    with pytest.raises(AssertionError):
        check_close(np.array([0.0]), np.array([-0.0]), float64, ulp=0, exact_zeros=True)


def test_check_close_refuses_other_shapes_and_values():
    with pytest.raises(AssertionError, match="shape"):
        check_close(np.ones(3), np.ones((3, 1)), float64, ulp=1)
    with pytest.raises(AssertionError):
        check_close(np.array([True]), np.array([False]), bool_, ulp=1)


def test_round_trip_catches_an_unregistered_primitive():
    with pytest.raises(Exception, match="sine"):
        check_round_trip(case_of(Sine()))


def test_run_lowered_gives_what_evaluate_gives():
    x = np.arange(6.0).reshape(2, 3)

    np.testing.assert_array_equal(run_lowered(Reverse((1,)), x), x[:, ::-1])
    np.testing.assert_array_equal(run_lowered(Mul(), x, np.asarray(2.0)), 2 * x)


def test_elementwise_refuses_mixed_dtypes():
    with pytest.raises(DTypeError, match=r"f64\[3\] and i32\[3\]"):
        check_types(Add(), X, np.arange(3, dtype=np.int32))
