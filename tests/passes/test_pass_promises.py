"""Every pass keeps its promise on random programs: the interpreter gives the same bits."""

from __future__ import annotations

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from tests.passes.bits import same_bits
from tests.program.strategies import Draw, programs_with_arguments

from pullback.errors import DTypeError, ShapeError
from pullback.passes.base import EXACT, Pass, PassLog
from pullback.passes.pipeline import PIPELINE, run_pipeline
from pullback.passes.rewrite import RULES, Rewrite, apply_rules, make_rule
from pullback.program.core import Literal, NDArray, Program
from pullback.program.interpret import interpret
from pullback.program.printer import print_program
from pullback.program.value import Value, as_value
from pullback.program.verify import verify
from pullback.types import ArrayType


def _left_side(draw: Draw, values: list[Value]) -> Value | None:
    """The left side of a rule, so that passes meet what they rewrite in every context."""
    rule = draw(st.sampled_from(EXACT_RULES))
    case = draw(st.sampled_from(rule.cases))
    x = draw(st.sampled_from(values))
    operands = [
        draw(st.sampled_from([v for v in values if v.type == x.type]))
        if isinstance(argument, ArrayType)
        else as_value(argument.value)
        if isinstance(argument, Literal)
        else argument
        for argument in case
    ]
    try:
        sides = rule.function(*operands)
    except (ShapeError, DTypeError, OverflowError, IndexError):  # not for these types
        return None
    return None if sides is None else as_value(sides[0])


EXACT_RULES = [rule for rule in RULES.values() if rule.promise == EXACT]
CASES = programs_with_arguments(more_steps=(_left_side,) * 6)
EXACT_PASSES = sorted({p for p in PIPELINE if p.promise == EXACT}, key=lambda p: p.name)


@pytest.mark.parametrize("made", EXACT_PASSES, ids=lambda p: p.name)
@given(case=CASES)
@settings(max_examples=60)
def test_exact_pass_changes_no_bit(made: Pass, case: tuple[Program, tuple[NDArray, ...]]) -> None:
    program, arguments = case

    rewritten = made(program, PassLog())

    verify(rewritten)
    assert same_bits(interpret(program, *arguments), interpret(rewritten, *arguments)), (
        f"{print_program(program)}\n{print_program(rewritten)}"
    )


@given(case=CASES)
@settings(max_examples=150)
def test_strict_pipeline_changes_no_bit(case: tuple[Program, tuple[NDArray, ...]]) -> None:
    program, arguments = case

    rewritten, _ = run_pipeline(program, verify_between=True)

    assert same_bits(interpret(program, *arguments), interpret(rewritten, *arguments)), (
        f"{print_program(program)}\n{print_program(rewritten)}"
    )


@given(case=CASES)
@settings(max_examples=60)
def test_fast_pipeline_keeps_types(case: tuple[Program, tuple[NDArray, ...]]) -> None:
    """Of the values nothing is promised where they are special; rules are tested on others."""
    program, _ = case

    rewritten, _ = run_pipeline(program, numerics="fast", verify_between=True)

    assert rewritten.input_types == program.input_types
    assert rewritten.output_types == program.output_types


@given(case=CASES)
@settings(max_examples=60)
def test_pipeline_comes_to_rest(case: tuple[Program, tuple[NDArray, ...]]) -> None:
    """After a few runs nothing changes any more, and passes return the same object then."""
    program, _ = case
    for _ in range(5):
        rewritten, _ = run_pipeline(program)
        if rewritten is program:
            return
        program = rewritten
    raise AssertionError(f"the pipeline does not come to rest: {print_program(program)}")


def test_pass_that_breaks_its_promise_is_caught() -> None:
    def subtract_itself(x: Value) -> Rewrite:
        """``x - x -> x * 0``: false for infinities, whose product is nan, and for signs of 0."""
        return x - x, x * 0

    false_rule = make_rule(subtract_itself)

    def changes_bits(case: tuple[Program, tuple[NDArray, ...]]) -> bool:
        program, arguments = case
        rewritten = apply_rules(program, [false_rule], PassLog())
        return not same_bits(interpret(program, *arguments), interpret(rewritten, *arguments))

    find(CASES, changes_bits, settings=settings(max_examples=2000, phases=[Phase.generate]))
