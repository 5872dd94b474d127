"""The verifier finds every planted fault and says where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from tests.program.programs_by_hand import LINE, MATRIX, ROW, SCALAR, layer, loops, traced
from tests.program.strategies import programs

from pullback.errors import VerificationError
from pullback.primitives.control import Call, Cond
from pullback.primitives.elementwise import Mul, Neg
from pullback.program.core import Equation, Literal, Program, Var
from pullback.program.source import Origin, Source
from pullback.program.verify import verify


@given(program=programs())
def test_random_programs_verify(program: Program) -> None:
    verify(program)


@pytest.mark.parametrize("program", [layer(), loops(), Program((), (), ())])
def test_examples_verify(program: Program) -> None:
    verify(program)


def _negation(*outputs: Var, reads: Var | Literal | None = None, key: int = 0) -> Equation:
    return Equation(Neg(), (reads or X,), outputs, key, LINE, Origin("vjp", 3, "exp"))


X, Y, Z = Var(ROW), Var(ROW), Var(ROW)
WHERE = "equation #0 neg (vjp of #3 exp, dense_1 train.py:12)"


def _with_bad_body(make: Callable[[Program], Equation]) -> Program:
    body = Program((X,), (_negation(Y, reads=Z),), (Y,), name="body")
    return Program((X,), (make(body),), ())


FAULTS: dict[str, tuple[Program, str]] = {
    "input twice": (Program((X, X), (), ()), "input 1: a variable of type f32[3] is assigned"),
    "constant twice": (
        Program((X,), (), (), ((X, np.zeros(3, np.float32)),)),
        "constant 0: a variable of type f32[3] is assigned a second time",
    ),
    "constant of another shape": (
        Program((), (), (), ((X, np.zeros(4, np.float32)),)),
        "constant 0: its type is f32[3], its value a float32 array of shape (4,)",
    ),
    "constant of another dtype": (
        Program((), (), (), ((X, np.zeros(3, np.complex64)),)),
        "constant 0: its type is f32[3], its value a complex64 array of shape (3,)",
    ),
    "assigned twice": (
        Program((X,), (_negation(Y), _negation(Y, key=1)), (Y,)),
        "equation #1 neg (vjp of #3 exp, dense_1 train.py:12): a variable of type f32[3] is "
        "assigned a second time",
    ),
    "two results that are one": (
        Program((X,), (_negation(X),), (X,)),
        f"{WHERE}: a variable of type f32[3] is assigned a second time",
    ),
    "read before": (
        Program((X,), (_negation(Y, reads=Z), _negation(Z, key=1)), (Y,)),
        f"{WHERE}: a variable of type f32[3] is read before it is assigned",
    ),
    "reads itself": (
        Program((X,), (_negation(Y, reads=Y),), (Y,)),
        f"{WHERE}: a variable of type f32[3] is read before it is assigned",
    ),
    "unknown output": (
        Program((X,), (), (X, Y)),
        "program 'main', output 1: a variable of type f32[3] is read before it is assigned",
    ),
    "type of the result": (
        Program((X,), (_negation(Var(MATRIX)),), ()),
        f"{WHERE}: the outputs have the types (f32[2,3]), inferred are (f32[3])",
    ),
    "number of results": (
        Program((X,), (_negation(),), ()),
        f"{WHERE}: the outputs have the types (), inferred are (f32[3])",
    ),
    "types of the operands": (
        Program((X,), (Equation(Mul(), (X, Var(MATRIX)), (Y,), 0),), ()),
        "equation #0 mul: a variable of type f32[2,3] is read before it is assigned",
    ),
    "operands that do not fit": (
        Program((X, Z), (Equation(Mul(), (X, Literal(np.int32(1))), (Y,), 4, LINE),), ()),
        "equation #4 mul (dense_1 train.py:12): its operands are (f32[3], i32[]): mul takes",
    ),
    "number of operands": (
        Program((X,), (Equation(Neg(), (X, X), (Y,), 0),), ()),
        "equation #0 neg: its operands are (f32[3], f32[3]): neg takes 1 operands, got 2",
    ),
    "key twice": (
        Program((X,), (_negation(Y), _negation(Z)), ()),
        f"{WHERE}: key #0 is used twice",
    ),
    "literal with axes": (
        Program((X,), (), (Literal(np.zeros(3, np.float32)),)),  # type: ignore[arg-type]
        "output 0: literal array([0., 0., 0.], dtype=float32) is not a NumPy scalar",
    ),
    "body of a call": (
        _with_bad_body(lambda body: Equation(Call(body, "f"), (X,), (Y,), 0)),
        f"program 'main', equation #0 call, body 'body', {WHERE}: a variable of type f32[3] is "
        "read before it is assigned",
    ),
    "branch of a cond": (
        _with_bad_body(
            lambda body: Equation(Cond((body, body)), (Literal(np.int32(0)), X), (Y,), 5)
        ),
        "program 'main', equation #5 cond, body 'body'",
    ),
}


@pytest.mark.parametrize(("program", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_planted_fault_is_found(program: Program, message: str) -> None:
    with pytest.raises(VerificationError) as raised:
        verify(program)

    assert message in str(raised.value)


def test_fault_two_bodies_deep_is_found() -> None:
    inner = traced("inner", lambda x: -x, SCALAR)
    broken = replace(inner, outputs=(Var(SCALAR),))
    called = Call(inner, "inner")
    outer = traced("outer", lambda x: called(x), SCALAR)
    (call,) = outer.equations
    outer = outer.with_equations((replace(call, primitive=Call(broken, "inner")),))
    program = traced("main", lambda x: Call(inner, "outer")(x), SCALAR)
    (call,) = program.equations
    program = program.with_equations((replace(call, primitive=Call(outer, "outer")),))

    with pytest.raises(VerificationError, match=r"body 'outer', equation #0 call.*body 'inner'"):
        verify(program)


def test_message_without_provenance_names_the_equation_alone() -> None:
    program = Program((X,), (Equation(Neg(), (Z,), (Y,), 2),), ())

    with pytest.raises(VerificationError, match=r"equation #2 neg: a variable"):
        verify(program)


def test_message_with_source_alone_names_it() -> None:
    source = Source("model.py", 3, "f")
    program = Program((X,), (Equation(Neg(), (Z,), (Y,), 2, source),), ())

    with pytest.raises(VerificationError, match=r"equation #2 neg \(model\.py:3\): a variable"):
        verify(program)
