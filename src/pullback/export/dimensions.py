"""Lengths that are known only when an exported program runs.

Imports nothing of pullback but ``errors``. A ``Dim`` is an ``int``, what the length was in the
trace that the others are compared with, and the polynomial it is of the free lengths. Start at
``Sizes``: which lengths to trace with, and what a number that changes with them is.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from fractions import Fraction
from typing import Any, Final

from pullback.records import dataclass

#: A product of free lengths, by name, in order; ``()`` is 1.
Monomial = tuple[str, ...]

#: The name of the free length that all inputs share: the number of rows.
BATCH: Final = "batch"

#: Lengths to trace with, the first three together, or the next three where a function refuses
#: these; the last one as well. No two differences of three have a common factor: what is rounded
#: down to a multiple on the way is not mistaken for a polynomial.
_BATCH_SIZES: Final = (83, 90, 101, 83, 90, 101, 1031)
#: For other axes small ones come first: many layers have a largest length.
_LENGTHS: Final = (16, 23, 34, 65, 132, 259, 1031)


class Dim(int):
    """A length that is a polynomial of free lengths; as an ``int``, its value in the first trace.

    Sums and products with integers keep the polynomial. Equal to another one of the same
    polynomial, and to no plain integer.
    """

    terms: dict[Monomial, int]

    def __new__(cls, value: int, terms: Mapping[Monomial, int]) -> Dim:
        """Make a length."""
        dim = super().__new__(cls, value)
        dim.terms = {monomial: factor for monomial, factor in terms.items() if factor}
        return dim

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dim) and self.terms == other.terms

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(frozenset(self.terms.items()))

    def __add__(self, other: int) -> int:
        return _made(int(self) + int(other), [*self.terms.items(), *terms_of(other).items()])

    __radd__ = __add__

    def __neg__(self) -> int:
        return self * -1

    def __sub__(self, other: int) -> int:
        return self + other * -1

    def __rsub__(self, other: int) -> int:
        return self * -1 + other

    def __mul__(self, other: int) -> int:
        pairs = itertools.product(self.terms.items(), terms_of(other).items())
        products = [(tuple(sorted(m + n)), a * b) for (m, a), (n, b) in pairs]
        return _made(int(self) * int(other), products)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        parts = [
            "*".join([*([str(k)] if k != 1 or not m else []), *m]) for m, k in self.terms.items()
        ]
        return " + ".join(parts)

    __str__ = __repr__


def terms_of(n: int) -> dict[Monomial, int]:
    """The polynomial of a length."""
    return n.terms if isinstance(n, Dim) else {(): int(n)}


def _made(value: int, parts: Sequence[tuple[Monomial, int]]) -> int:
    terms: dict[Monomial, int] = {}
    for monomial, factor in parts:
        terms[monomial] = terms.get(monomial, 0) + factor
    dim = Dim(value, terms)
    return value if all(not monomial for monomial in dim.terms) else dim


def is_static(n: int) -> bool:
    """Whether a length does not depend on free ones."""
    return not isinstance(n, Dim)


def product(lengths: Sequence[int]) -> int:
    """The product of lengths, a polynomial where one of them is."""
    result = 1
    for n in lengths:
        result = n * result
    return result


@dataclass(frozen=True)
class Sizes:
    """Several assignments of sizes to the free lengths, for as many traces.

    Attributes:
        symbols: Names of the free lengths.
        points: The assignments; the first is that of the trace which the others are compared with.
        derived: Lengths that are no polynomials of these, as those that strided windows leave: the
            file reads them off the array that has them. Their values at the points, by name.
    """

    symbols: tuple[str, ...]
    points: tuple[tuple[int, ...], ...]
    derived: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def monomials(self) -> tuple[Monomial, ...]:
        """What a length may be a sum of: 1, the free lengths, products of two of them."""
        pairs = itertools.combinations(self.symbols, 2)
        return ((), *((s,) for s in self.symbols), *(tuple(sorted(pair)) for pair in pairs))

    def fit(self, values: Sequence[int]) -> int | None:
        """The length with these values at the points; None if no polynomial with integers has.

        Of derived lengths, multiples of a product of at most three, plus a number.
        """
        if len(set(values)) == 1:
            return values[0]
        rows = [[_value(m, self.symbols, point) for m in self.monomials] for point in self.points]
        factors = _solve(rows, values)
        if factors is None or any(f.denominator != 1 for f in factors):
            return self._fit_derived(values)
        terms = dict(zip(self.monomials, map(int, factors), strict=True))
        return Dim(values[0], terms)

    def _fit_derived(self, values: Sequence[int]) -> int | None:
        columns = dict(zip(self.symbols, zip(*self.points, strict=True), strict=True))
        columns.update(self.derived)
        for count in (1, 2, 3):
            for names in itertools.combinations(columns, count):
                if self.derived.keys().isdisjoint(names):
                    continue
                rows = [
                    [1, math.prod(row)] for row in zip(*(columns[n] for n in names), strict=True)
                ]
                factors = _solve(rows, values)
                if factors is not None and all(f.denominator == 1 for f in factors):
                    added, factor = map(int, factors)
                    return Dim(values[0], {(): added, tuple(sorted(names)): factor})
        return None

    def derive(self, values: Sequence[int]) -> int:
        """The length with these values: a new one if no polynomial has them."""
        found = self.fit(values)
        if found is None:
            name = f"length_{len(self.derived)}"
            self.derived[name] = tuple(values)
            found = Dim(values[0], {(name,): 1})
        return found

    def tells_more(self, point: tuple[int, ...]) -> bool:
        """Whether another point would tell more polynomials apart."""
        return self._rank([*self.points, point]) > self._rank(self.points)

    def is_enough(self) -> bool:
        """Whether the points tell all polynomials apart, with one to spare as a check."""
        count = len(self.monomials)
        return len(self.points) > count and self._rank(self.points) == count

    def _rank(self, points: Sequence[tuple[int, ...]]) -> int:
        rows = [[_value(m, self.symbols, point) for m in self.monomials] for point in points]
        return sum(any(row) for row in _reduced(rows)) if rows else 0


def candidate_points(symbols: Sequence[str]) -> Iterator[list[tuple[int, ...]]]:
    """Lists of points to try one after the other, those likely to be taken by all models first.

    The last two of a list are a check: the third size, and the largest, of every free length.
    """
    choices = [_BATCH_SIZES if symbol == BATCH else _LENGTHS for symbol in symbols]
    for start in (0, 3):
        pairs = [c[start : start + 2] for c in choices]
        third = tuple(c[start + 2] for c in choices)
        yield [*itertools.product(*pairs), third, tuple(c[-1] for c in choices)]


def _value(monomial: Monomial, symbols: Sequence[str], point: Sequence[int]) -> int:
    sizes = dict(zip(symbols, point, strict=True))
    return math.prod(sizes[symbol] for symbol in monomial)


def _solve(rows: Sequence[Sequence[int]], values: Sequence[int]) -> list[Fraction] | None:
    """Solve a system whose unknowns the rows tell apart; None if the rows contradict each other."""
    reduced = _reduced([[*row, value] for row, value in zip(rows, values, strict=True)])
    count = len(rows[0])
    if any(row[count] and not any(row[:count]) for row in reduced):
        return None
    return [row[count] for row in reduced[:count]]


def _reduced(rows: Sequence[Sequence[Any]]) -> list[list[Fraction]]:
    """The reduced row echelon form."""
    matrix = [[Fraction(x) for x in row] for row in rows]
    top = 0
    for column in range(len(matrix[0])):
        pivot = next((i for i in range(top, len(matrix)) if matrix[i][column]), None)
        if pivot is None:
            continue
        matrix[top], matrix[pivot] = matrix[pivot], matrix[top]
        matrix[top] = [x / matrix[top][column] for x in matrix[top]]
        for i, row in enumerate(matrix):
            if i != top and row[column]:
                matrix[i] = [x - row[column] * y for x, y in zip(row, matrix[top], strict=True)]
        top += 1
        if top == len(matrix):
            break
    return matrix
