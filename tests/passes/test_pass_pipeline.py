"""The pipeline, its log, and how passes and rules are declared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.program.programs_by_hand import LINE, ROW, SCALAR, traced

from pullback import config
from pullback.errors import ConfigurationError, RegistrationError, VerificationError
from pullback.passes.base import (
    APPROXIMATES,
    EXACT,
    PASSES,
    PassLog,
    count_equations,
    program_pass,
)
from pullback.passes.pipeline import PIPELINE, run_pipeline
from pullback.passes.rewrite import RULES, Rewrite, apply_rules, make_rule, rule
from pullback.passes.simplify import simplify
from pullback.primitives.control import Call
from pullback.primitives.elementwise import Add, Mul, Neg
from pullback.primitives.shape import Reshape
from pullback.primitives.sort import Sort
from pullback.primitives.transcendental import Exp
from pullback.program.core import Equation, Literal, Program, Var
from pullback.program.source import Origin
from pullback.program.value import Array, Value
from pullback.program.verify import verify
from pullback.types import ArrayType, float32, float64


@pytest.fixture
def registries() -> Iterator[None]:
    """Forget the passes and rules that the test registers."""
    passes, rules = dict(PASSES), dict(RULES)
    yield
    for registry, before in ((PASSES, passes), (RULES, rules)):
        registry.clear()
        registry.update(before)  # type: ignore[arg-type]


def names(program: Program) -> list[str]:
    return [eqn.primitive.name for eqn in program.equations]


# The pipeline -------------------------------------------------------------------------------------


def test_pipeline_simplifies_to_the_essential() -> None:
    inner = traced("inner", lambda x: (x * 1.0) - 0.0, ROW)
    program = traced("main", lambda x: [Exp()(x) * Exp()(x), *Call(inner, "f")(x)], ROW)

    rewritten, log = run_pipeline(program, verify_between=True)

    assert names(rewritten) == ["exp", "mul"]
    assert rewritten.outputs[1] is program.inputs[0]
    assert [record.name for record in log.passes] == [p.name for p in PIPELINE if not p.promise]
    (inlined,) = (record for record in log.passes if record.name == "inline-calls")
    assert (inlined.before, inlined.after) == (6, 5)
    assert log.passes[-1].after == 2
    assert all(record.milliseconds >= 0.0 for record in log.passes)


def test_fast_numerics_run_every_pass() -> None:
    program = traced("main", lambda x: (x * 3.0) * 5.0 + 0.0, ROW)

    strict, _ = run_pipeline(program)
    fast, log = run_pipeline(program, numerics="fast")

    assert names(strict) == ["mul", "mul", "add"]
    assert names(fast) == ["mul"]
    assert fast.equations[0].inputs[1] == Literal(np.float32(15.0))
    assert [record.name for record in log.passes] == [made.name for made in PIPELINE]


def test_other_numerics_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'strict' or 'fast', not 'exact'"):
        run_pipeline(Program((), (), ()), numerics="exact")  # type: ignore[arg-type]


def test_passes_have_different_names_and_say_what_they_do() -> None:
    for made in PIPELINE:
        assert PASSES[made.name] is made
        assert made.summary.endswith(".")
        assert "rewrite:" in (made.function.__doc__ or "")


@pytest.mark.usefixtures("registries")
def test_fault_of_a_pass_is_found_and_names_it() -> None:
    @program_pass("faulty")
    def faulty(program: Program, log: PassLog) -> Program:
        """Return what nothing computes."""
        return replace(program, outputs=(Var(ROW),))

    program = traced("main", Exp(), ROW)

    with pytest.raises(VerificationError, match="after the pass 'faulty': program 'main', output"):
        run_pipeline(program, (faulty,), verify_between=True)
    with config.override(verify=True), pytest.raises(VerificationError, match="faulty"):
        run_pipeline(program, (faulty,))
    with config.override(verify=False):
        run_pipeline(program, (faulty,))


def test_malformed_program_is_found_before_the_first_pass() -> None:
    with pytest.raises(VerificationError, match=r"^program 'main', output 0"):
        run_pipeline(Program((), (), (Var(ROW),)), verify_between=True)


@pytest.mark.usefixtures("registries")
def test_pass_of_a_name_that_is_taken_is_refused() -> None:
    with pytest.raises(RegistrationError, match="a pass is named 'simplify' already"):
        program_pass("simplify")(lambda program, log: program)


@pytest.mark.usefixtures("registries")
def test_pass_may_leave_bodies_alone() -> None:
    @program_pass("outer", APPROXIMATES, bodies=False)
    def outer(program: Program, log: PassLog) -> Program:
        """Count."""
        log.record("seen", program.equations[0])
        return program

    log = PassLog()
    outer(traced("main", Call(traced("body", Exp(), ROW), "f"), ROW), log)

    assert [change.primitive for change in log.changes] == ["call"]


def test_equations_of_bodies_are_counted() -> None:
    body = traced("body", lambda x: Exp()(Exp()(x)), ROW)

    assert count_equations(traced("main", lambda x: -Call(body, "f")(x)[0], ROW)) == 4


# The log ------------------------------------------------------------------------------------------


def test_log_tells_where_an_equation_went() -> None:
    program = traced("main", lambda x: [Exp()(x), Exp()(x) * 1.0], ROW)

    _, log = run_pipeline(program)

    story = [(change.rule, change.key, change.by) for change in log.fate(2)]
    assert story == [("multiply_by_one", 2, 1), ("common-subexpressions", 1, 0)]
    assert log.fate(0) == ()


def test_log_tells_bodies_apart() -> None:
    body = traced("body", lambda x: x * 1.0, ROW)
    log = PassLog()

    simplify(traced("main", Call(body, "f"), ROW), log)

    (change,) = log.changes
    assert (change.scope, change.key, change.by) == ((0,), 0, None)
    assert log.fate(0, (0,)) == (change,)
    assert log.fate(0) == ()


# Rules --------------------------------------------------------------------------------------------


def rewritten_by(function: Any, program: Program, **options: Any) -> Program:
    return apply_rules(program, [make_rule(function, **options)], PassLog())


def test_new_equations_have_the_provenance_of_what_they_replace() -> None:
    def expand(x: Value, y: Value) -> Rewrite:
        """``-(x * y) -> (-x) * y``."""
        return -(x * y), (-x) * y

    origin = Origin("vjp", 40, "div")
    x, y, z = Var(ROW), Var(ROW), Var(ROW)
    program = Program(
        (x,),
        (
            Equation(Mul(), (x, x), (y,), 3),
            Equation(Neg(), (y,), (z,), 7, LINE, origin),
        ),
        (z, y),
    )

    rewritten = rewritten_by(expand, program)

    verify(rewritten)
    assert names(rewritten) == ["mul", "neg", "mul"]
    kept, new, last = rewritten.equations
    assert kept is program.equations[0]
    assert (new.key, last.key) == (8, 7)
    assert (new.source, last.source) == (LINE, LINE)
    assert (new.origin, last.origin) == (origin, origin)
    assert last.outputs == (z,)


def test_replacement_is_rewritten_in_turn() -> None:
    program = traced("main", lambda x: x - Neg()(Neg()(Neg()(x))), ROW)

    rewritten = simplify(program)

    assert names(rewritten)[-1] == "add"
    assert rewritten.equations[-1].inputs == (program.inputs[0], program.inputs[0])


def test_repeated_variable_must_be_the_same() -> None:
    def same(x: Value) -> Rewrite:
        """``x - x -> x * 0``."""
        return x - x, x * 0.0

    different = traced("main", lambda x, y: x - y, ROW, ROW)

    assert rewritten_by(same, different) is different
    assert names(rewritten_by(same, traced("main", lambda x: x - x, ROW))) == ["mul"]


def test_commutative_operands_match_in_both_orders() -> None:
    def absorb(x: Value, y: Value) -> Rewrite:
        """``x + (-y) -> x - y``."""
        return x + (-y), x - y

    program = traced("main", lambda x, y: (-y) + x, ROW, ROW)

    eqn = rewritten_by(absorb, program).equations[-1]

    assert eqn.primitive.name == "sub"
    assert eqn.inputs == program.inputs


def test_operands_that_do_not_commute_match_in_order() -> None:
    def absorb(x: Value) -> Rewrite:
        """``x - 0 -> x``."""
        return x - 0, x

    program = traced("main", lambda x: np.float32(0.0) - x, ROW)

    assert rewritten_by(absorb, program) is program


def test_literals_match_to_the_bit() -> None:
    def absorb(x: Value) -> Rewrite:
        """``x - 0 -> x``."""
        return x - 0, x

    program = traced("main", lambda x: x - np.float32(-0.0), ROW)

    assert rewritten_by(absorb, program) is program


def test_rule_holds_for_types_it_was_not_written_for() -> None:
    for type in (ArrayType((), float64), ArrayType((2, 0), float32)):
        program = traced("main", lambda x: x * 1, type)

        assert simplify(program).outputs == program.inputs


def test_rule_of_sides_of_different_types_does_not_apply() -> None:
    """``min(x, x) -> x`` where one x is the rank-0 operand beside an array."""
    program = traced("main", lambda x, p: (x * 1.0) + p, SCALAR, ROW)
    assert names(simplify(program)) == ["add"]

    scalar = traced("main", lambda p, y: Mul()(y, np.float32(1.0)) + p, ROW, SCALAR)
    assert names(simplify(scalar)) == ["add"]

    def widen(x: Value) -> Rewrite:
        """``x * x -> reshape(x)``: of the same type for vectors only."""
        return x * x, Reshape((x.size,))(x)

    square = traced("main", lambda x: x * x, SCALAR)
    assert rewritten_by(widen, square) is square
    assert names(rewritten_by(widen, traced("main", lambda x: x * x, ROW))) == ["reshape"]


def test_equations_of_several_results_are_never_matched() -> None:
    def unsort(x: Value, sort: Sort) -> Rewrite:
        """``sort(x) -> x``: false."""
        return sort(x)[0], x

    unsorted = make_rule(unsort, cases=[(ROW, Sort(0, 1))])
    one = traced("main", lambda x: Sort(0, 1)(x), ROW)
    two = traced("main", lambda x: Sort(0, 1)(x, x), ROW)

    assert names(apply_rules(one, [unsorted], PassLog())) == []
    assert apply_rules(two, [unsorted], PassLog()) is two


def test_rules_that_go_round_in_a_circle_are_found() -> None:
    def turn(x: Value, y: Value) -> Rewrite:
        """``x - y -> x + (-y)``."""
        return x - y, x + (-y)

    def turn_back(x: Value, y: Value) -> Rewrite:
        """``x + (-y) -> x - y``."""
        return x + (-y), x - y

    program = traced("main", lambda x, y: x - y, ROW, ROW)

    with pytest.raises(VerificationError, match="go round in a circle: turn, turn_back"):
        apply_rules(program, [make_rule(turn), make_rule(turn_back)], PassLog())


@pytest.mark.usefixtures("registries")
def test_rule_of_a_name_that_is_taken_is_refused() -> None:
    def multiply_by_one(x: Value) -> Rewrite:
        """Again."""
        return x * 1, x

    with pytest.raises(RegistrationError, match="'multiply_by_one' already"):
        rule(EXACT)(multiply_by_one)


def test_rule_without_annotations_is_refused() -> None:
    def unknown(x) -> Rewrite:
        return x * 1, x

    with pytest.raises(RegistrationError, match="annotate parameters Value, Array or"):
        make_rule(unknown)


def test_rule_of_primitives_needs_cases() -> None:
    def reshape(x: Value, to: Reshape) -> Rewrite:
        return to(x), x

    with pytest.raises(RegistrationError, match="rule 'reshape' needs cases"):
        make_rule(reshape)


def _not_an_operation(x: Value) -> Rewrite:
    return x, x * 1


def _operand_missing(x: Value, y: Value) -> Rewrite:
    return -x, x


def _does_not_hold(x: Value) -> Rewrite:
    return None


def _captures(x: Value) -> Rewrite:
    return x * Array(np.ones(3, np.float32)), x


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_not_an_operation, "its left side is not an operation"),
        (_operand_missing, "an operand is not in its left side"),
        (_does_not_hold, "does not hold for its first case"),
        (_captures, "uses a constant that is not of rank 0"),
    ],
    ids=lambda value: getattr(value, "__name__", "message"),
)
def test_faulty_rule_is_refused_when_first_used(function: Any, message: str) -> None:
    with pytest.raises(RegistrationError, match=message):
        rewritten_by(function, Program((), (), ()))


def test_right_side_may_be_a_literal() -> None:
    def vanish(x: Value) -> Rewrite:
        """``x - x -> 0`` of rank 0."""
        return None if x.shape else (x - x, Array(np.zeros((), x.dtype)))

    program = traced("main", lambda x: x - x, SCALAR)

    assert rewritten_by(vanish, program, cases=[(SCALAR,)]).outputs == (Literal(np.float32(0.0)),)


def test_right_side_may_share_what_the_match_found() -> None:
    def share(x: Value, y: Value) -> Rewrite:
        """``(x * y) + x -> (x * y) - (-x)``: the product is found, not computed again."""
        product = x * y
        return product + x, product - (-x)

    program = traced("main", lambda x, y: x * y + x, ROW, ROW)

    rewritten = rewritten_by(share, program)

    assert names(rewritten) == ["mul", "neg", "sub"]


def test_matching_backtracks_over_both_orders_of_each_product() -> None:
    def factor(x: Value, y: Value, z: Value) -> Rewrite:
        """``x * y + x * z -> x * (y + z)``."""
        return x * y + x * z, x * (y + z)

    for left in (lambda a, b: a * b, lambda a, b: b * a):
        for right in (lambda a, b: a * b, lambda a, b: b * a):
            program = traced(
                "main",
                lambda x, y, z, left=left, right=right: left(x, y) + right(x, z),
                ROW,
                ROW,
                ROW,
            )
            rewritten = rewritten_by(factor, program)
            assert names(rewritten)[-2:] == ["add", "mul"]

    assert isinstance(rewritten.equations[-2].primitive, Add)
