"""Programs, literals, the builder, provenance, and what a primitive says of itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.program.programs_by_hand import LINE, ROW, SCALAR, layer, traced

import pullback.primitives  # noqa: F401
from pullback.errors import (
    DifferentiationError,
    LeakedTracerError,
    RegistrationError,
    ShapeError,
)
from pullback.primitives.control import Call, Cond
from pullback.primitives.elementwise import Add, Neg
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.sort import Sort
from pullback.primitives.transcendental import Exp, Tanh
from pullback.program.builder import Builder, inline
from pullback.program.core import Equation, Literal, Program, Var, subprograms
from pullback.program.primitive import ELEMENTWISE, LINEAR, Primitive, primitive
from pullback.program.source import Origin, Source, current_source, layer_path, provenance
from pullback.program.value import Array, as_value
from pullback.program.verify import verify
from pullback.types import ArrayType, float32, int32

ONES = np.ones(3, np.float32)


# Core ---------------------------------------------------------------------------------------------


def test_literals_are_equal_by_their_bits() -> None:
    nan = Literal(np.float32(np.nan))

    assert nan == Literal(np.float32(np.nan))
    assert hash(nan) == hash(Literal(np.float32(np.nan)))
    assert Literal(np.float32(0.0)) != Literal(np.float32(-0.0))
    assert Literal(np.float32(1.0)) != Literal(np.float64(1.0))
    assert Literal(np.float32(1.0)) != 1.0


def test_variables_are_equal_by_identity() -> None:
    assert Var(ROW) != Var(ROW)
    assert repr(Var(ROW)) == "Var(f32[3])"


def test_output_is_the_only_one() -> None:
    x, y = Var(ROW), Var(ROW)

    assert Equation(Neg(), (x,), (y,), 0).output is y
    with pytest.raises(ValueError, match="too many"):
        _ = Equation(Sort(0, 1), (x,), (x, y), 0).output


def test_next_key_is_free() -> None:
    assert layer().next_key() == 10
    assert Program((), (), ()).next_key() == 0


def test_subprograms_are_found_among_parameters() -> None:
    one, two = traced("one", Exp(), ROW), traced("two", Tanh(), ROW)

    assert list(subprograms(Cond((one, two)))) == [one, two]
    assert list(subprograms(Call(one, "f"))) == [one]
    assert list(subprograms(ReduceSum((0,)))) == []


# Builder ------------------------------------------------------------------------------------------


def test_arrays_from_outside_are_captured_once() -> None:
    array = Array(ONES)
    with Builder() as b:
        x = b.input(ROW)
        y = x + array + array
        program = b.finish([y])

    assert b.captures[0] is array
    assert len(program.inputs) == 2
    np.testing.assert_array_equal(program(ONES, ONES), 3 * ONES)


def test_numbers_from_outside_are_literals() -> None:
    with Builder() as b:
        program = b.finish([b.input(ROW) * 2.0])

    assert program.equations[0].inputs[1] == Literal(np.float32(2.0))


def test_value_of_a_finished_trace_is_refused() -> None:
    with Builder() as b:
        x = b.input(ROW)
    with Builder() as other, pytest.raises(LeakedTracerError, match="f32"):
        other.lift(x)


def test_error_of_an_infer_rule_names_the_line() -> None:
    with Builder() as b, pytest.raises(ShapeError) as raised:
        Add()(b.input(ROW), b.input(ArrayType((4,), float32)))

    (note,) = raised.value.__notes__
    assert "test_program_core.py:" in note
    assert note.endswith(": Add()(b.input(ROW), b.input(ArrayType((4,), float32)))")


def _with_origin() -> Program:
    x, y, z = Var(ROW), Var(ROW), Var(ROW)
    return Program(
        (x,),
        (
            Equation(Exp(), (x,), (y,), 4, LINE),
            Equation(Add(), (y, Literal(np.float32(1.0))), (z,), 6, None, Origin("vjp", 4, "exp")),
        ),
        (z, Literal(np.int32(3))),
    )


def test_inlined_equations_keep_their_provenance() -> None:
    with Builder(first_key=20) as b:
        x = b.input(ROW)
        y, three = inline(_with_origin(), [x])
        program = b.finish([y, three])

    exp, add = program.equations
    assert (exp.key, exp.source) == (20, LINE)
    assert add.origin == Origin("vjp", 20, "exp")
    assert program.outputs[1] == Literal(np.int32(3))
    verify(program)


def test_inlining_without_a_builder_evaluates() -> None:
    y, three = inline(_with_origin(), [ONES])

    np.testing.assert_array_equal(np.asarray(y), np.exp(ONES) + 1)
    assert int(three) == 3


def test_inlining_equations_of_several_results() -> None:
    program = traced("main", lambda x: Sort(0, 1)(x, -x), ROW)

    first, second = inline(program, [np.array([2.0, 1.0, 3.0], np.float32)])

    np.testing.assert_array_equal(np.asarray(first), [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(np.asarray(second), [-1.0, -2.0, -3.0])


# Provenance ---------------------------------------------------------------------------------------


def test_source_is_the_users_line() -> None:
    source = current_source()

    assert source is not None
    assert source.file == __file__
    assert source.function == "test_source_is_the_users_line"


def test_layer_path_is_part_of_the_source() -> None:
    with layer_path("model", "dense"), layer_path("bias"):
        inner = current_source()
    outer = current_source()

    assert inner is not None
    assert outer is not None
    assert inner.path == ("model", "dense", "bias")
    assert outer.path == ()
    assert str(Source("/a/train.py", 3, "f", ("model", "dense"))) == "model/dense train.py:3"


def test_generated_code_is_no_line_of_the_user() -> None:
    scope: dict[str, Any] = {"current_source": current_source}

    exec("result = current_source()", scope)

    assert scope["result"].function == "test_generated_code_is_no_line_of_the_user"


def test_provenance_is_restored_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), provenance(Origin("vjp", 1, "exp"), LINE):
        raise ZeroDivisionError

    program = traced("main", Neg(), SCALAR)
    assert program.equations[0].origin is None


# Primitives ---------------------------------------------------------------------------------------


class Bare(Primitive):
    """Declares nothing but its name."""

    name = "bare"


@pytest.mark.parametrize(
    ("method", "arguments", "error", "message"),
    [
        ("infer", (ROW,), NotImplementedError, "bare has no infer rule"),
        ("evaluate", (ONES,), NotImplementedError, "bare has no evaluate rule"),
        ("lower", (None, ()), NotImplementedError, "bare has no lower rule"),
        ("vjp", (1, 2), DifferentiationError, "the derivative of bare is not defined"),
    ],
    ids=["infer", "evaluate", "lower", "vjp"],
)
def test_missing_rule_is_named(
    method: str, arguments: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        getattr(Bare(), method)(*arguments)


def test_traits_are_asked_for_together() -> None:
    assert Neg().has(ELEMENTWISE | LINEAR)
    assert not Exp().has(ELEMENTWISE | LINEAR)


def test_only_floating_operands_are_differentiable() -> None:
    assert Neg().is_differentiable(0, ROW)
    assert not Neg().is_differentiable(0, ArrayType((3,), int32))


def test_primitive_without_fields_is_frozen() -> None:
    with pytest.raises(AttributeError, match="cannot assign to field 'x'"):
        Neg().x = 1  # type: ignore[attr-defined]
    assert Neg() == Neg()
    assert hash(Neg()) == hash(Neg())


def test_primitive_of_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(RegistrationError, match="primitive 'neg' is registered twice: Neg and"):

        @primitive
        class Again(Primitive):
            """Has the name of another."""

            name = "neg"


def test_primitive_without_a_name_is_refused() -> None:
    with pytest.raises(RegistrationError, match="Nameless needs a class attribute `name`"):

        @primitive
        class Nameless(Primitive):
            """Has no name."""


# Values -------------------------------------------------------------------------------------------


def test_python_numbers_are_weak_values() -> None:
    assert as_value(1.0).weak
    assert not as_value(np.float32(1.0)).weak


def test_recorders_hear_of_their_own_builder_alone() -> None:
    from pullback.program.value import STACKS

    class Listener:
        builder: Builder | None = None
        heard: list[str]

        def tracks(self, value: Any) -> bool:
            """Say that every value matters."""
            return True

        def record(self, primitive: Primitive, inputs: Any, outputs: Any) -> None:
            """Note the name."""
            self.heard.append(primitive.name)

    listener = Listener()
    listener.heard = []
    STACKS.recorders.append(listener)
    try:
        Neg()(ONES)
        traced("main", Exp(), ROW)
    finally:
        STACKS.recorders.remove(listener)

    assert listener.heard == ["neg"]
