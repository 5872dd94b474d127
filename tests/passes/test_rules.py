"""Both sides of every rewrite rule on every combination of special values, in every dtype."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.passes.bits import both_sides, find_difference, instances, same_bits

from pullback.passes import simplify  # noqa: F401  # imports every rule
from pullback.passes.base import APPROXIMATES, EXACT, REASSOCIATES
from pullback.passes.rewrite import RULES, Rewrite, Rule, make_rule
from pullback.passes.rules import uniform
from pullback.primitives.cast import Convert
from pullback.program.interpret import interpret
from pullback.program.value import Value
from pullback.types import ArrayType, float32, float64

EXACT_RULES = [rule for rule in RULES.values() if rule.promise == EXACT]
ROUNDING_RULES = [rule for rule in RULES.values() if rule.promise == REASSOCIATES]
LOOSE_RULES = [rule for rule in RULES.values() if rule.promise != EXACT]


@pytest.mark.parametrize("rule", EXACT_RULES, ids=lambda r: r.name)
def test_exact_rule_changes_no_special_value(rule: Rule) -> None:
    assert find_difference(rule) is None


@pytest.mark.parametrize("rule", EXACT_RULES, ids=lambda r: r.name)
@given(data=st.data())
def test_exact_rule_changes_no_bit(rule: Rule, data: st.DataObject) -> None:
    """On any bit pattern, in the dtypes of the rule's own cases."""
    arguments = data.draw(st.sampled_from([c for c in rule.cases if rule.instance(c)]))
    instance = rule.instance(arguments)
    assert instance is not None
    program = both_sides(instance)
    values = [data.draw(_any_bits(t)) for t in program.input_types]
    if any(eqn.primitive.name in ("dot", "reduce_sum") for eqn in program.equations):
        values = [np.sign(v) for v in values]  # so that no order of addition rounds

    left, right = interpret(program, *values)

    assert same_bits([left], [right])


def _any_bits(type: ArrayType) -> st.SearchStrategy[np.ndarray]:
    width = 1 if type.dtype.kind == "b" else 8 * type.dtype.itemsize
    numbers = st.lists(st.integers(0, 2**width - 1), min_size=type.size, max_size=type.size)
    return numbers.map(
        lambda bits: np.array(bits, f"u{type.dtype.itemsize}").view(type.dtype).reshape(type.shape)
    )


@pytest.mark.parametrize("rule", LOOSE_RULES, ids=lambda r: r.name)
def test_rule_that_is_not_exact_changes_bits(rule: Rule, rng: np.random.Generator) -> None:
    """A rule with a weaker promise than it could give would be left out of strict programs."""
    if find_difference(rule) is not None:
        return
    instance = rule.instance(rule.cases[0])
    assert instance is not None
    program = both_sides(instance)
    for _ in range(100):
        values = [rng.normal(size=t.shape).astype(t.dtype) for t in program.input_types]
        left, right = interpret(program, *values)
        if not same_bits([left], [right]):
            return
    raise AssertionError(f"{rule.name} seems to be exact")


@pytest.mark.parametrize("rule", LOOSE_RULES, ids=lambda r: r.name)
def test_rule_that_is_not_exact_is_nearly_so(rule: Rule, rng: np.random.Generator) -> None:
    """On ordinary positive float64 numbers the sides are equal up to a few roundings."""
    held = 0
    for arguments in instances(rule):
        instance = rule.instance(arguments)
        assert instance is not None
        program = both_sides(instance)
        if any(t.dtype != float64 for t in program.input_types):
            continue
        values = [rng.uniform(0.5, 2.0, t.shape) for t in program.input_types]
        left, right = interpret(program, *values)
        np.testing.assert_allclose(left, right, rtol=1e-14)
        held += 1
    assert held


def test_promises_are_all_in_use() -> None:
    assert {rule.promise for rule in RULES.values()} == {EXACT, REASSOCIATES, APPROXIMATES}


# The tester is tested: these are false, though most numbers do not show it -----------------------


def add_positive_zero(x: Value) -> Rewrite:
    """``x + 0 -> x``: false for -0.0."""
    return x + 0.0, x


def multiply_by_zero(x: Value) -> Rewrite:
    """``x * 0 -> 0``: false for infinities, nan and negative numbers."""
    return x * 0.0, uniform(0, x)


def subtract_itself(x: Value) -> Rewrite:
    """``x - x -> 0``: false for infinities and nan."""
    return x - x, Convert(x.dtype)(x == x) * 0.0


def equal_itself(x: Value) -> Rewrite:
    """``x == x -> true``: false for nan."""
    return x == x, (x == x) | True


def not_less(x: Value, y: Value) -> Rewrite:
    """``not (x < y) -> x >= y``: false for nan."""
    return ~(x < y), x >= y


def negate_difference(x: Value, y: Value) -> Rewrite:
    """``-(x - y) -> y - x``: false for the sign of 0."""
    return -(x - y), y - x


def double_half(x: Value) -> Rewrite:
    """``(x * 2) * 0.5 -> x``: false where the product overflows."""
    return (x * 2.0) * 0.5, x


def half_double(x: Value) -> Rewrite:
    """``(x * 0.5) * 2 -> x``: false for the least subnormal number."""
    return (x * 0.5) * 2.0, x


FALSE_RULES = [
    add_positive_zero,
    multiply_by_zero,
    subtract_itself,
    equal_itself,
    not_less,
    negate_difference,
    double_half,
    half_double,
]


@pytest.mark.parametrize("function", FALSE_RULES, ids=lambda f: f.__name__)
def test_false_rule_is_caught(function) -> None:  # type: ignore[no-untyped-def]
    assert find_difference(make_rule(function)) is not None


def test_true_rule_is_not_caught() -> None:
    def multiply_by_two(x: Value) -> Rewrite:
        """``x * 2 -> x + x``."""
        return x * 2.0, x + x

    cases = [(ArrayType((3,), float32),)]

    assert find_difference(make_rule(multiply_by_two, cases=cases)) is None
