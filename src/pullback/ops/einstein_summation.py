"""Einstein summation: sums of products named by subscripts.

Imports ``linear_algebra``, ``manipulation`` and ``primitives``. Start at ``einsum``. Several
operands are contracted two at a time, in the order that NumPy's greedy planner finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np

from pullback.errors import ShapeError
from pullback.ops.arguments import ArrayLike, as_array
from pullback.ops.linear_algebra import diagonal
from pullback.ops.manipulation import permute_dims, reshape
from pullback.primitives import operators
from pullback.primitives.dot import Dot
from pullback.primitives.reduce import ReduceSum
from pullback.program.value import Value
from pullback.records import dataclass

__all__ = ["einsum"]

#: A letter, or the number of an axis that ``...`` stands for, counted from the end.
Label = str | int


@dataclass(frozen=True)
class Term:
    """An operand and the labels of its axes."""

    value: Value
    labels: tuple[Label, ...]

    def length(self, label: Label) -> int:
        """Length of the axis of that label."""
        return self.value.shape[self.labels.index(label)]


def einsum(subscripts: str, /, *operands: ArrayLike) -> Value:
    """Sum of products over the labels that the result does not have.

    Args:
        subscripts: A letter for each axis of each operand, operands separated by commas, then
            ``->`` and the letters of the result; ``...`` stands for axes that broadcast. Without
            ``->`` the result has the letters that occur once, in alphabetical order. Static.
        operands: Arrays; their dtypes promote.

    Raises:
        ShapeError: axes of one label differ in length and neither is 1.
        ValueError: the subscripts are malformed, or do not fit the operands.

    Differentiation: each operand gets the cotangent's product with the others.

    Example:
        >>> pb.einsum("ij,jk->ik", pb.ones((2, 3)), pb.ones((3, 2)))
        Array([[3., 3.],
               [3., 3.]], f32)
    """
    values = [as_array(x) for x in operands]
    if not values:
        raise ValueError("einsum takes at least one operand, got none")
    inputs, output = _parse(subscripts, values)
    pairs = zip(operators.promote_operands(*values), inputs, strict=True)
    terms = [Term(value, labels) for value, labels in pairs]
    terms = _without_broadcast_axes(subscripts, terms)
    terms = [_unrepeated(term) for term in terms]
    for pick in _plan(terms, output):
        chosen = [terms[i] for i in pick]
        terms = [term for i, term in enumerate(terms) if i not in pick]
        needed = {label for term in terms for label in term.labels} | set(output)
        result = chosen[0]
        for i, other in enumerate(chosen[1:], 2):
            later = {label for term in chosen[i:] for label in term.labels}
            result = _contract(result, other, needed | later)
        terms.append(result)
    result = _summed(terms[0], output)
    order = [result.labels.index(label) for label in output]
    return permute_dims(result.value, order)


def _parse(
    subscripts: str, values: Sequence[Value]
) -> tuple[list[tuple[Label, ...]], tuple[Label, ...]]:
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(values):
        raise ValueError(f"einsum: {subscripts!r} names {len(parts)} operands, got {len(values)}")
    inputs = [_labels(subscripts, part, x.ndim) for part, x in zip(parts, values, strict=True)]
    dots = max((sum(isinstance(a, int) for a in labels) for labels in inputs), default=0)
    if arrow:
        output = _labels(subscripts, right, len(right.replace("...", "")) + dots)
    else:
        counts = Counter(a for labels in inputs for a in labels if isinstance(a, str))
        letters = sorted(a for a, count in counts.items() if count == 1)
        output = (*range(-dots, 0), *letters)
    known = {label for labels in inputs for label in labels}
    if len(set(output)) != len(output) or not set(output) <= known:
        raise ValueError(f"einsum: in {subscripts!r} the result repeats or invents a label")
    return inputs, output


def _labels(subscripts: str, part: str, ndim: int) -> tuple[Label, ...]:
    before, dots, after = part.partition("...")
    letters = before + after
    if not all(a.isalpha() for a in letters):
        raise ValueError(f"einsum: {part!r} in {subscripts!r} is not made of letters and `...`")
    rest = ndim - len(letters)
    if rest < 0 or (rest and not dots):
        raise ValueError(
            f"einsum: {part!r} in {subscripts!r} has {len(letters)} letters for {ndim} axes"
        )
    return (*before, *range(-rest, 0), *after)


def _without_broadcast_axes(subscripts: str, terms: list[Term]) -> list[Term]:
    """Drop axes of length 1 whose label is longer elsewhere: nothing depends on them."""
    lengths: dict[Label, int] = {}
    for term in terms:
        for label, n in zip(term.labels, term.value.shape, strict=True):
            known = lengths.setdefault(label, n)
            if n != 1 and known not in (1, n):
                raise ShapeError(
                    f"einsum {subscripts!r} of {', '.join(str(t.value.type) for t in terms)}: "
                    f"axes of one label have lengths {known} and {n}"
                )
            lengths[label] = n if known == 1 else known
    return [_squeezed(term, lengths) for term in terms]


def _squeezed(term: Term, lengths: dict[Label, int]) -> Term:
    axes = list(zip(term.labels, term.value.shape, strict=True))
    kept = [(label, n) for label, n in axes if n == lengths[label]]
    if len(kept) == len(axes):
        return term
    return Term(reshape(term.value, tuple(n for _, n in kept)), tuple(label for label, _ in kept))


def _unrepeated(term: Term) -> Term:
    """Take the diagonal of axes that have the same label."""
    value, labels = term.value, list(term.labels)
    for label, count in Counter(term.labels).items():
        for _ in range(count - 1):
            first = labels.index(label)
            second = labels.index(label, first + 1)
            value = diagonal(value, 0, first, second)
            labels = [a for i, a in enumerate(labels) if i not in (first, second)] + [label]
    return Term(value, tuple(labels))


def _plan(terms: Sequence[Term], output: Sequence[Label]) -> Iterator[Sequence[int]]:
    """Which terms to contract next; what comes of them goes to the end of the list."""
    if len(terms) <= 2:
        if len(terms) == 2:
            yield (0, 1)
        return
    numbers: dict[Label, int] = {}
    arguments: list[Any] = []
    for term in terms:
        arguments.append(np.broadcast_to(np.float32(0), term.value.shape))
        arguments.append([numbers.setdefault(label, len(numbers)) for label in term.labels])
    arguments.append([numbers[label] for label in output])
    path, _ = np.einsum_path(*arguments, optimize="greedy")
    yield from path[1:]


def _summed(term: Term, needed: Collection[Label]) -> Term:
    """Sum over the labels that nothing else has."""
    axes = tuple(i for i, label in enumerate(term.labels) if label not in needed)
    if not axes:
        return term
    labels = tuple(label for label in term.labels if label in needed)
    return Term(ReduceSum(axes)(term.value), labels)


def _contract(x: Term, y: Term, needed: Collection[Label]) -> Term:
    x, y = _summed(x, {*needed, *y.labels}), _summed(y, {*needed, *x.labels})
    common = [label for label in x.labels if label in y.labels]
    batch = [label for label in common if label in needed]
    summed = [label for label in common if label not in needed]
    x_free = [label for label in x.labels if label not in common]
    y_free = [label for label in y.labels if label not in common]
    labels = (*batch, *x_free, *y_free)
    if not summed:
        product = operators.multiply(_aligned(x, labels), _aligned(y, labels))
        return Term(product, labels)
    dot = Dot((_axes(x, summed), _axes(y, summed)), (_axes(x, batch), _axes(y, batch)))
    return Term(dot(x.value, y.value), labels)


def _axes(term: Term, labels: Sequence[Label]) -> tuple[int, ...]:
    return tuple(term.labels.index(label) for label in labels)


def _aligned(term: Term, labels: Sequence[Label]) -> Value:
    """The operand with an axis for each of ``labels``, of length 1 where it has none."""
    own = [label for label in labels if label in term.labels]
    value = permute_dims(term.value, _axes(term, own))
    return reshape(value, tuple(term.length(a) if a in own else 1 for a in labels))
