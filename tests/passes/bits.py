"""Comparison of arrays bit by bit, and of the two sides of a rewrite rule on special values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from tests.program.strategies import special_values

from pullback.passes.pattern import Instance
from pullback.passes.rewrite import Argument, Rule
from pullback.program.core import Literal, NDArray, Program
from pullback.program.interpret import interpret
from pullback.program.primitive import CONTRACTION, REDUCTION
from pullback.types import ANY, FLOATING, ArrayType, DType, bool_


def same_bits(these: Sequence[NDArray], those: Sequence[NDArray]) -> bool:
    """Whether arrays are equal bit by bit; payloads and signs of nans are left out."""
    return len(these) == len(those) and all(map(_same_array, these, those))


def _same_array(x: NDArray, y: NDArray) -> bool:
    if (x.shape, x.dtype) != (y.shape, y.dtype):
        return False
    bits = f"u{x.dtype.itemsize}"
    equal = np.ascontiguousarray(x).view(bits) == np.ascontiguousarray(y).view(bits)
    if x.dtype in FLOATING:
        equal |= np.isnan(x) & np.isnan(y)
    return bool(equal.all())


def both_sides(instance: Instance) -> Program:
    """A program of the operands of a rule that returns both of its sides."""
    equations = tuple(sorted(instance.producers.values(), key=lambda eqn: eqn.key))
    return Program(instance.inputs, equations, (instance.left, instance.right), name="sides")


def instances(rule: Rule) -> Iterator[tuple[Argument, ...]]:
    """Yield the arguments that a rule holds for: its cases, also in all other dtypes."""
    for case in rule.cases:
        shaped = _enlarged(case)
        for dtype in sorted(ANY, key=str):
            arguments = tuple(_in_dtype(a, dtype) for a in shaped)
            if not any(a is None for a in arguments) and _holds(rule, arguments):
                yield arguments  # type: ignore[misc]


def _holds(rule: Rule, arguments: tuple[Argument | None, ...]) -> bool:
    return rule.instance(a for a in arguments if a is not None) is not None


def _enlarged(case: tuple[Argument, ...]) -> tuple[Argument, ...]:
    """Operands of an elementwise rule with room for every combination of special values."""
    if any(not isinstance(a, ArrayType) for a in case):
        return case
    shapes = {a.shape for a in case if isinstance(a, ArrayType)}
    if shapes != {(3,)}:
        return case
    size = 20 ** len(case)
    return tuple(a.with_shape((size,)) for a in case if isinstance(a, ArrayType))


def _in_dtype(argument: Argument, dtype: DType) -> Argument | None:
    """The argument in ``dtype``; bool operands and primitives stay, None if it can't be."""
    if isinstance(argument, ArrayType):
        return argument if argument.dtype == bool_ else argument.with_dtype(dtype)
    if isinstance(argument, Literal):
        return _literal_in_dtype(argument, dtype)
    return argument


def _literal_in_dtype(literal: Literal, dtype: DType) -> Literal | None:
    """The literal in another dtype of its kind; the least integer stays the least."""
    if (dtype in FLOATING) != (literal.value.dtype in FLOATING) or dtype == bool_:
        return None
    value = np.array([literal.value])
    if dtype not in FLOATING:
        limits = np.iinfo(dtype)
        value = value.astype(object).clip(limits.min, limits.max)
    return Literal(next(iter(value.astype(dtype))))


def grid(types: Sequence[ArrayType], *, exact_sums: bool) -> Iterator[tuple[NDArray, ...]]:
    """Yield arguments that together hold every combination of special values.

    Args:
        types: Types of the arguments.
        exact_sums: Use small whole numbers and nan only, whose sums no order of addition rounds.
    """
    pools = [_pool(t.dtype, exact_sums) for t in types]
    size = max((t.size for t in types), default=1)
    columns = [np.array(c) for c in zip(*itertools.product(*pools), strict=True)]
    columns = [c.astype(t.dtype) for c, t in zip(columns, types, strict=True)]
    count = len(columns[0]) if columns else 1
    for start in range(0, count, size):
        yield tuple(
            np.resize(np.roll(column, -start), t.size).reshape(t.shape)
            for column, t in zip(columns, types, strict=True)
        )


def _pool(dtype: DType, exact_sums: bool) -> NDArray:
    if exact_sums and dtype in FLOATING:
        return np.array([0.0, -0.0, 1.0, -1.0, 2.0, 3.0, np.nan]).astype(dtype)
    return special_values(dtype)


def adds(instance: Instance) -> bool:
    """Whether a side adds several numbers, so that the order decides about the last bit."""
    return any(
        eqn.primitive.has(REDUCTION) or eqn.primitive.has(CONTRACTION)
        for eqn in instance.producers.values()
    )


def find_difference(rule: Rule) -> str | None:
    """Return an example that the two sides of a rule differ for; None if there is none."""
    held = False
    for arguments in instances(rule):
        held = True
        instance = rule.instance(arguments)
        assert instance is not None
        program = both_sides(instance)
        for values in grid(program.input_types, exact_sums=adds(instance)):
            left, right = interpret(program, *values)
            if not same_bits([left], [right]):
                return f"{program}\n{values}\nleft {left}\nright {right}"
    return None if held else "the rule holds for none of its cases"
