"""Index expressions simplify, and mean the same afterwards: brute force over all counters."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pullback.kernels.core import Node
from pullback.kernels.index import (
    Affine,
    Dynamic,
    LoopVar,
    Quotient,
    Remainder,
    as_index,
    linear_index,
    split_index,
)
from pullback.types import int64

Environment = dict[Any, int]
Meaning = Callable[[Environment], int]


def value(index: Affine, env: Environment) -> int:
    """The expression's value where the counters (and computed indices) have these values."""
    return index.constant + sum(c * term_value(t, env) for t, c in index.terms)


def term_value(term: Any, env: Environment) -> int:
    if isinstance(term, Quotient):
        return value(term.operand, env) // term.divisor
    if isinstance(term, Remainder):
        return value(term.operand, env) % term.divisor
    return env[term]


def environments(leaves: list[Any]) -> Iterator[Environment]:
    """All values of the leaves."""
    ranges = [range(low, high + 1) for low, high in (leaf.bounds() for leaf in leaves)]
    for values in itertools.product(*ranges):
        yield dict(zip(leaves, values, strict=True))


@st.composite
def expressions(draw: Any) -> tuple[list[Any], Affine, Meaning]:
    """Counters, an expression over them, and what it means by Python's own arithmetic."""
    extents = draw(st.lists(st.sampled_from([1, 2, 3, 4, 5, 8]), min_size=1, max_size=3))
    leaves: list[Any] = [LoopVar(n, f"i{k}") for k, n in enumerate(extents)]
    if draw(st.booleans()):
        node = Node("load", int64, (), None, frozenset(leaves[:1]), 0)
        leaves.append(Dynamic(node, -1, 3))
    index, meaning = draw(_expression(leaves, draw(st.integers(1, 5))))
    return leaves, index, meaning


@st.composite
def _expression(draw: Any, leaves: list[Any], depth: int) -> tuple[Affine, Meaning]:
    kind = draw(st.sampled_from(["leaf", "add", "scale", "divide", "rest"])) if depth else "leaf"
    if kind == "leaf":
        leaf = draw(st.sampled_from(leaves))
        index = Affine(0, ((leaf, 1),)) if isinstance(leaf, Dynamic) else as_index(leaf)
        return index, lambda env: env[leaf]
    x, x_means = draw(_expression(leaves, depth - 1))
    if kind == "add":
        y, y_means = draw(_expression(leaves, depth - 1))
        shift, sign = draw(st.integers(-6, 6)), draw(st.sampled_from([1, -1]))
        return x + y * sign + shift, lambda env: x_means(env) + sign * y_means(env) + shift
    n = draw(st.integers(1, 12))
    if kind == "scale":
        factor = n - 5
        return factor * x, lambda env: factor * x_means(env)
    if kind == "divide":
        return x // n, lambda env: x_means(env) // n
    return x % n, lambda env: x_means(env) % n


@given(expressions())
def test_simplified_expressions_keep_their_value(made):
    leaves, index, meaning = made

    for env in environments(leaves):
        assert value(index, env) == meaning(env), f"{index} at {env}"


@given(expressions())
def test_bounds_hold_and_terms_are_normal(made):
    leaves, index, _ = made
    low, high = index.bounds

    assert all(low <= value(index, env) <= high for env in environments(leaves))
    terms = [t for t, _ in index.terms]
    assert len(set(terms)) == len(terms)
    assert all(c != 0 for _, c in index.terms)
    assert not any(isinstance(t, LoopVar) and t.extent == 1 for t in terms)


@given(expressions())
def test_coefficient_is_the_step(made):
    leaves, index, _ = made

    for var in (v for v in leaves if isinstance(v, LoopVar)):
        step = index.coefficient(var)
        if step is None:
            continue
        for env in environments(leaves):
            if env[var] + 1 < var.extent:
                assert value(index, {**env, var: env[var] + 1}) - value(index, env) == step


@given(expressions())
def test_counters_that_matter_are_free(made):
    leaves, index, _ = made

    for var in (v for v in leaves if isinstance(v, LoopVar) and v not in index.free):
        for env in environments(leaves):
            assert value(index, env) == value(index, {**env, var: 0})


@given(expressions(), expressions())
def test_equal_expressions_have_equal_hashes(x, y):
    assert x[1] != y[1] or hash(x[1]) == hash(y[1])
    shuffled = Affine(x[1].constant, x[1].terms[::-1])
    assert shuffled == x[1]
    assert hash(shuffled) == hash(x[1])


@given(st.lists(st.integers(1, 6), max_size=4))
def test_splitting_undoes_flattening(shape):
    vars = [LoopVar(n, f"i{k}") for k, n in enumerate(shape)]
    index = tuple(map(as_index, vars))

    assert split_index(linear_index(index, tuple(shape)), tuple(shape)) == index


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_flattening_undoes_splitting(shape):
    size = 1
    for n in shape:
        size *= n
    position = LoopVar(size, "p")

    assert linear_index(split_index(position, tuple(shape)), tuple(shape)) == as_index(position)


@pytest.mark.parametrize(
    ("shape", "inner"),
    [((4, 6), (3, 8)), ((2, 3, 4), (6, 4)), ((12,), (2, 2, 3)), ((5, 1), (1, 5))],
)
def test_reshape_of_a_reshape_is_the_same_memory(shape, inner):
    vars = tuple(as_index(LoopVar(n, f"i{k}")) for k, n in enumerate(shape))

    through = linear_index(split_index(linear_index(vars, shape), inner), inner)

    assert through == linear_index(vars, shape)


def test_a_faulty_rule_is_noticed():
    """The comparison with brute force can fail: a remainder that is dropped changes values."""
    i = LoopVar(6, "i")
    wrong = as_index(i)  # instead of i % 4

    assert any(value(wrong, env) != env[i] % 4 for env in environments([i]))


def test_text():
    i, j = LoopVar(6, "i"), LoopVar(4, "j")

    assert str(as_index(i) * 4 + j - 1) == "4*i + j + -1"
    assert str((as_index(i) + j) // 4) == "(i + j)//4"
    assert str(as_index(i) % 4 + as_index(0)) == "(i)%4"
    assert str(as_index(0)) == "0"
