"""Passes one by one: limits of folding, provenance through inlining, pruning of control flow."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.passes.bits import same_bits
from tests.program.programs_by_hand import LINE, ROW, SCALAR, traced

from pullback.passes.base import PassLog
from pullback.passes.canonicalize import canonicalize
from pullback.passes.cse import MAX_COMPARED_BYTES, eliminate_common_subexpressions
from pullback.passes.dce import eliminate_dead
from pullback.passes.fold import MAX_ELEMENTS, fold_constants
from pullback.passes.inline_calls import inline_calls
from pullback.passes.pipeline import run_pipeline
from pullback.primitives.control import Call, Cond, Scan, WhileLoop
from pullback.primitives.custom import Barrier, CustomVjp, HostCall, StopGradient
from pullback.primitives.elementwise import Add, Mul, Neg
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.shape import Broadcast, Iota, Reshape, Transpose
from pullback.primitives.transcendental import Exp, Tanh
from pullback.program.core import Equation, Literal, Program, Var
from pullback.program.interpret import interpret
from pullback.program.source import Origin, Source
from pullback.program.verify import verify
from pullback.types import ArrayType, float32, int32

INDEX = ArrayType((), int32)


def names(program: Program) -> list[str]:
    return [eqn.primitive.name for eqn in program.equations]


def with_constant(array: np.ndarray, function: Any) -> Program:
    """The program of a function of one constant."""
    program = traced("main", function, ArrayType(array.shape, array.dtype))
    (var,) = program.inputs
    return replace(program, inputs=(), constants=((var, array),))


# Folding ------------------------------------------------------------------------------------------


def test_fold_makes_constants_of_arrays() -> None:
    program = with_constant(np.arange(6, dtype=np.float32).reshape(2, 3), Transpose((1, 0)))

    folded = fold_constants(program)

    assert folded.equations == ()
    assert len(folded.constants) == 2
    (result,) = interpret(folded)
    np.testing.assert_array_equal(result, np.arange(6).reshape(2, 3).T)
    verify(folded)


def test_fold_makes_literals_of_constants_of_rank_0() -> None:
    program = with_constant(np.asarray(2.0, np.float32), lambda x: x * 3.0)

    folded = fold_constants(program)

    assert folded.outputs == (Literal(np.float32(6.0)),)


@pytest.mark.parametrize(
    ("size", "folds"), [(MAX_ELEMENTS, True), (MAX_ELEMENTS + 1, False)], ids=["small", "large"]
)
def test_fold_leaves_large_results(size: int, folds: bool) -> None:
    program = with_constant(np.ones(1, np.float32), Broadcast((size,), ()))

    assert (fold_constants(program) is not program) == folds


def test_fold_takes_large_results_of_large_operands() -> None:
    program = with_constant(np.ones(1000, np.float32), Neg())

    assert fold_constants(program).equations == ()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: Broadcast((3,), (0,))(np.float32(1.0)),
        lambda x: Iota((3,), int32, 0)(),
        lambda x: Barrier()(np.float32(1.0)),
        lambda x: HostCall(lambda y: [y], (SCALAR,), "f")(np.float32(1.0)),
        lambda x: Call(traced("f", Exp(), SCALAR), "f")(np.float32(1.0)),
        lambda x: x + 1.0,
    ],
    ids=["broadcast", "iota", "barrier", "host call", "call", "variable"],
)
def test_fold_leaves(function: Any) -> None:
    program = traced("main", function, ROW)

    assert fold_constants(program) is program


def test_fold_reaches_into_bodies() -> None:
    body = traced("body", lambda x: x + Exp()(np.float32(0.0)), SCALAR)
    program = traced("main", Call(body, "f"), SCALAR)

    (eqn,) = fold_constants(program).equations

    assert names(eqn.primitive.parameters()["program"]) == ["add"]


# Common subexpressions ----------------------------------------------------------------------------


def test_cse_tells_parameters_and_literals_apart() -> None:
    program = traced(
        "main",
        lambda x: [ReduceSum((0,))(x), ReduceSum((1,))(x), x * 0.0, x * -0.0],
        ArrayType((3, 3), float32),
    )

    assert eliminate_common_subexpressions(program) is program


def test_cse_keeps_the_order_of_operands_that_do_not_commute() -> None:
    program = traced("main", lambda x, y: [x - y, y - x], ROW, ROW)

    assert eliminate_common_subexpressions(program) is program


def test_cse_merges_chains() -> None:
    program = traced("main", lambda x: [Tanh()(Exp()(x)), Tanh()(Exp()(x))], ROW)
    log = PassLog()

    merged = eliminate_common_subexpressions(program, log)

    assert names(merged) == ["exp", "tanh"]
    assert merged.outputs[0] is merged.outputs[1]
    assert [(c.key, c.by) for c in log.changes] == [(1, 0), (3, 2)] or [
        (c.key, c.by) for c in log.changes
    ] == [(2, 0), (3, 1)]


def test_cse_leaves_host_functions_that_have_no_hash() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, x: Any) -> Any:
            return [x]

    call = HostCall(Unhashable(), (ROW,), "f")
    program = traced("main", lambda x: [*call(x), *call(x)], ROW)

    assert eliminate_common_subexpressions(program) is program


def test_cse_merges_calls_of_one_host_function() -> None:
    """Host calls are pure by contract."""
    call = HostCall(lambda x: [x], (ROW,), "f")
    program = traced("main", lambda x: [*call(x), *call(x)], ROW)

    assert names(eliminate_common_subexpressions(program)) == ["host_call"]


def test_cse_merges_control_flow_of_equal_text() -> None:
    def branches() -> Cond:
        return Cond((traced("a", Exp(), ROW), traced("b", Tanh(), ROW)))

    program = traced("main", lambda i, x: [*branches()(i, x), *branches()(i, x)], INDEX, ROW)

    assert names(eliminate_common_subexpressions(program)) == ["cond"]


def _two_constants(first: np.ndarray, second: np.ndarray) -> Program:
    a, b, out = (Var(ArrayType(first.shape, float32)) for _ in range(3))
    return Program((), (Equation(Add(), (a, b), (out,), 0),), (out,), ((a, first), (b, second)))


def test_cse_merges_equal_constants() -> None:
    program = _two_constants(np.ones(3, np.float32), np.ones(3, np.float32))

    merged = eliminate_common_subexpressions(program)

    assert len(merged.constants) == 1
    verify(merged)
    np.testing.assert_array_equal(interpret(merged)[0], [2.0, 2.0, 2.0])


def test_cse_merges_long_constants_only_if_they_are_one_array() -> None:
    long = np.ones(MAX_COMPARED_BYTES, np.float32)

    assert len(eliminate_common_subexpressions(_two_constants(long, long)).constants) == 1
    assert len(eliminate_common_subexpressions(_two_constants(long, long.copy())).constants) == 2


def test_cse_tells_zeros_of_constants_apart() -> None:
    program = _two_constants(np.zeros(3, np.float32), -np.zeros(3, np.float32))

    assert eliminate_common_subexpressions(program) is program


# Dead code ----------------------------------------------------------------------------------------


def test_dce_removes_constants_that_nothing_reads() -> None:
    program = replace(with_constant(np.ones(3, np.float32), Exp()), outputs=())

    pruned = eliminate_dead(program)

    assert (pruned.equations, pruned.constants) == ((), ())


def test_dce_keeps_equations_without_outputs() -> None:
    effect = Equation(HostCall(lambda x: [], (), "print"), (X,), (), 0)

    program = Program((X,), (effect,), ())

    assert eliminate_dead(program) is program


X = Var(ROW)


def test_dce_keeps_what_a_later_step_of_a_scan_reads() -> None:
    """``c`` is read only by the next step's ``b``, and ``b`` only by the next step's ``a``."""

    def step(a: Any, b: Any, c: Any, d: Any) -> Any:
        return [a + b, b * c, -c, d + 1.0]

    scan = Scan(traced("step", step, *[SCALAR] * 4), 3, False, 0, 4)
    program = traced("main", lambda x: scan(x, x, x, x)[0], SCALAR)

    (eqn,) = eliminate_dead(program).equations

    assert isinstance(eqn.primitive, Scan)
    assert (eqn.primitive.carry, len(eqn.outputs), len(eqn.inputs)) == (3, 3, 3)
    assert same_bits(
        interpret(program, np.float32(0.5)), interpret(eliminate_dead(program), np.float32(0.5))
    )


def test_dce_keeps_a_carry_that_the_body_replaces() -> None:
    """No step reads the initial value, but a scan without steps would return it."""

    def step(a: Any, x: Any) -> Any:
        return [x, x]

    scan = Scan(traced("step", step, SCALAR, SCALAR), 3, True, 0, 1)
    program = traced("main", lambda a, xs: scan(a, xs)[0], SCALAR, ROW)

    pruned = eliminate_dead(program)

    verify(pruned)
    (eqn,) = pruned.equations
    assert (len(eqn.inputs), len(eqn.outputs)) == (2, 1)


def test_dce_keeps_what_the_condition_of_a_loop_reads() -> None:
    low = traced("low", lambda k, a, b: a < k, *[SCALAR] * 3)
    grow = traced("grow", lambda k, a, b: [a + 1.0, b * a], *[SCALAR] * 3)
    loop = WhileLoop(low, grow, 1)

    whole = traced("main", lambda x: loop(x, 0.0 * x, x)[1], SCALAR)
    assert eliminate_dead(whole) is whole

    part = traced("main", lambda x: loop(x, 0.0 * x, x)[0], SCALAR)
    eqn = eliminate_dead(part).equations[-1]
    assert (len(eqn.inputs), len(eqn.outputs)) == (2, 1)
    assert same_bits(
        interpret(part, np.float32(2.5)), interpret(eliminate_dead(part), np.float32(2.5))
    )


def test_dce_drops_constants_of_loops() -> None:
    low = traced("low", lambda k, a: a < 3.0, SCALAR, SCALAR)
    grow = traced("grow", lambda k, a: a + 1.0, SCALAR, SCALAR)
    program = traced("main", lambda x: WhileLoop(low, grow, 1)(Exp()(x), x), SCALAR)

    pruned = eliminate_dead(program)

    assert names(pruned) == ["while_loop"]
    primitive = pruned.equations[0].primitive
    assert isinstance(primitive, WhileLoop)
    assert primitive.constants == 0


def test_dce_cleans_bodies_of_any_control_flow() -> None:
    body = traced("body", lambda x: [Exp()(x), Tanh()(x)][:1], ROW)
    program = traced("main", Call(body, "f"), ROW)

    (eqn,) = eliminate_dead(program).equations

    assert names(eqn.primitive.parameters()["program"]) == ["exp"]


def test_dce_returns_the_same_object_when_all_is_alive() -> None:
    body = traced("body", lambda a, x: [a + x, a], SCALAR, SCALAR)
    program = traced("main", lambda a, xs: Scan(body, 3, False, 0, 1)(a, xs), SCALAR, ROW)
    cond = Cond((traced("a", Exp(), ROW),))
    chosen = traced("main", lambda i, x: cond(i, x), INDEX, ROW)

    assert eliminate_dead(program) is program
    assert eliminate_dead(chosen) is chosen


def test_dce_keeps_effects_inside_bodies() -> None:
    def step(x: Any) -> Any:
        HostCall(lambda y: [], (), "print")(x)
        return -x

    cond = Cond((traced("a", step, ROW), traced("b", Neg(), ROW)))
    program = traced("main", lambda i, x: cond(i, x), INDEX, ROW)

    assert eliminate_dead(program) is program


# Inlining -----------------------------------------------------------------------------------------


def _called(origin: Origin | None = None, source: Source | None = LINE) -> Program:
    """``exp`` with the key 4, and ``tanh`` with the key 9 and this origin."""
    x, y, z = Var(ROW), Var(ROW), Var(ROW)
    return Program(
        (x,),
        (
            Equation(Exp(), (x,), (y,), 4, source),
            Equation(Tanh(), (y,), (z,), 9, source, origin),
        ),
        (z,),
        name="called",
    )


def _call(program: Program, key: int, x: Var, origin: Origin | None = None) -> Equation:
    return Equation(Call(program, "f"), (x,), (Var(ROW),), key, Source("main.py", 1, "g"), origin)


def test_inlined_origins_follow_their_equations() -> None:
    call = _call(_called(Origin("vjp", 4, "exp")), 5, X)

    inlined = inline_calls(Program((X,), (call,), call.outputs))

    exp, tanh = inlined.equations
    assert (exp.key, tanh.key) == (6, 7)
    assert (exp.origin, tanh.origin) == (None, Origin("vjp", 6, "exp"))
    assert exp.source == LINE
    verify(inlined)


def test_inlined_equation_without_provenance_has_that_of_the_call() -> None:
    call = _call(_called(source=None), 5, X, Origin("vjp", 2, "sin"))

    exp, _ = inline_calls(Program((X,), (call,), call.outputs)).equations

    assert exp.source == call.source
    assert exp.origin == Origin("vjp", 2, "sin")


def test_inlined_origin_in_a_transformed_call_names_the_equation_of_the_first() -> None:
    """A pullback's body has origins in the program that it is the pullback of."""
    first = _call(_called(), 0, X)
    second = _call(_called(Origin("vjp", 4, "exp")), 1, X, Origin("vjp", 0, "call"))
    other = replace(second.primitive.program, equations=())  # type: ignore[attr-defined]
    x, y = Var(ROW), Var(ROW)
    pulled = replace(
        other,
        inputs=(x,),
        equations=(Equation(Neg(), (x,), (y,), 2, None, Origin("vjp", 4, "exp")),),
        outputs=(y,),
    )
    second = replace(second, primitive=Call(pulled, "f"))

    inlined = inline_calls(Program((X,), (first, second), second.outputs))

    assert inlined.equations[0].primitive.name == "exp"
    assert inlined.equations[2].origin == Origin("vjp", inlined.equations[0].key, "exp")


@pytest.mark.parametrize(
    ("call_origin", "key"), [(None, 5), (Origin("vjp", 2, "sin"), 2)], ids=["call", "its origin"]
)
def test_inlined_origin_that_names_nothing_known_names_the_call(
    call_origin: Origin | None, key: int
) -> None:
    call = _call(_called(Origin("vjp", 77, "cos")), 5, X, call_origin)

    _, tanh = inline_calls(Program((X,), (call,), call.outputs)).equations

    assert tanh.origin == Origin("vjp", key, "cos")


def test_inlining_twice_shares_constants_and_nothing_else() -> None:
    weight = np.arange(3, dtype=np.float32)
    w, x, y = Var(ROW), Var(ROW), Var(ROW)
    called = Program((x,), (Equation(Mul(), (x, w), (y,), 0),), (y,), ((w, weight),))
    first = _call(called, 0, X)
    second = _call(called, 1, first.outputs[0])

    inlined = inline_calls(Program((X,), (first, second), second.outputs))

    verify(inlined)
    assert len(inlined.constants) == 1
    (result,) = interpret(inlined, np.full(3, 2.0, np.float32))
    np.testing.assert_array_equal(result, 2.0 * weight * weight)


def test_custom_vjp_is_its_primal() -> None:
    primal = traced("primal", Exp(), ROW)
    forward = traced("forward", lambda x: [Exp()(x), x], ROW)
    backward = traced("backward", lambda x, ct: ct * x, ROW, ROW)
    custom = CustomVjp(primal, forward, backward, 1, (0,), 1, "f")

    assert names(inline_calls(traced("main", custom, ROW))) == ["exp"]


def test_program_without_calls_stays_as_it_is() -> None:
    program = traced("main", Exp(), ROW)

    assert inline_calls(program) is program


# Canonical form -----------------------------------------------------------------------------------


def test_barriers_stay() -> None:
    program = traced("main", lambda x: Barrier()(x), ROW)

    rewritten, _ = run_pipeline(program)

    assert rewritten is program


def test_identity_that_is_returned_is_replaced() -> None:
    program = traced("main", StopGradient(), ROW)

    assert canonicalize(program).outputs == program.inputs


def test_repeated_variable_is_read_directly() -> None:
    program = traced("main", lambda x, y: Broadcast((3,), (0,))(y) * x, ROW, SCALAR)

    assert canonicalize(program).equations[-1].inputs == (program.inputs[1], program.inputs[0])


def test_reduction_of_a_repeated_number_stays() -> None:
    program = traced("main", lambda y: ReduceSum((0,))(Broadcast((3,), (0,))(y)), SCALAR)

    assert canonicalize(program) is program


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, y: Exp()(Reshape((3, 1))(x)), ["exp", "reshape"]),
        (lambda x, y: Reshape((1, 3))(x) * Reshape((1, 3))(y), ["mul", "reshape"]),
        (lambda x, y: Reshape((3, 1))(x) * Reshape((3, 1))(x) * 2.0, ["mul", "mul", "reshape"]),
        (lambda x, y: Reshape((1, 3))(x) * Broadcast((1, 3), ())(Reshape((1, 3))(y)), None),
        (lambda x, y: Reshape((1,))(ReduceSum((0,))(x)) * 2.0, None),
        (lambda x, y: Exp()(Reshape((3,))(x)), None),
    ],
    ids=["unary", "binary", "chain", "one side", "rank 0", "same shape"],
)
def test_unit_axes_are_added_later(function: Any, expected: list[str] | None) -> None:
    program = traced("main", function, ROW, ROW)

    rewritten = eliminate_dead(canonicalize(program))

    if expected is None:
        assert rewritten is program
    else:
        assert names(rewritten) == expected
        arguments = [np.arange(3, dtype=np.float32)] * 2
        assert same_bits(interpret(rewritten, *arguments), interpret(program, *arguments))


def test_unit_axes_of_different_places_stay() -> None:
    program = traced(
        "main",
        lambda x, y: Reshape((3, 1))(x) * Reshape((3, 1))(y),
        ROW,
        ArrayType((1, 3), float32),
    )

    assert canonicalize(program) is program


def test_shared_bodies_stay_shared() -> None:
    body = traced("body", lambda x: StopGradient()(Exp()(x)), ROW)
    program = traced("main", lambda x: [*Call(body, "f")(x), *Call(body, "g")(x)], ROW)

    first, second = canonicalize(program).equations

    assert first.primitive.parameters()["program"] is second.primitive.parameters()["program"]
    assert first.primitive.parameters()["program"] is not body
