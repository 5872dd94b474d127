"""Integer expressions over loop counters: affine sums with exact ``//`` and ``%``.

``Affine`` is what a ``lower`` rule calls an index. It simplifies as it is built, with the known
ranges of its terms, so that a reshape of a reshape reads contiguous memory again.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pullback.records import dataclass

if TYPE_CHECKING:
    from pullback.kernels.core import Node


@dataclass(frozen=True, eq=False, slots=True)
class LoopVar:
    """A loop counter running from 0 to ``extent - 1``. Identity is equality."""

    extent: int
    name: str

    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value."""
        return 0, max(self.extent - 1, 0)

    def free(self) -> frozenset[LoopVar]:
        """The counters it depends on."""
        return frozenset((self,))

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Quotient:
    """``operand // divisor`` (floor)."""

    operand: Affine
    divisor: int

    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value."""
        low, high = self.operand.bounds
        return low // self.divisor, high // self.divisor

    def free(self) -> frozenset[LoopVar]:
        """The counters it depends on."""
        return self.operand.free

    def __str__(self) -> str:
        return f"({self.operand})//{self.divisor}"


@dataclass(frozen=True)
class Remainder:
    """``operand % divisor`` (never negative)."""

    operand: Affine
    divisor: int

    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value."""
        return 0, self.divisor - 1

    def free(self) -> frozenset[LoopVar]:
        """The counters it depends on."""
        return self.operand.free

    def __str__(self) -> str:
        return f"({self.operand})%{self.divisor}"


@dataclass(frozen=True)
class Dynamic:
    """An index computed by the kernel itself, clamped to ``low..high``."""

    node: Node
    low: int
    high: int

    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value."""
        return self.low, self.high

    def free(self) -> frozenset[LoopVar]:
        """The counters it depends on."""
        return self.node.free

    def __str__(self) -> str:
        return f"[{self.node.number}]"


Term = LoopVar | Quotient | Remainder | Dynamic


@dataclass(frozen=True)
class Affine:
    """``constant + sum(coefficient * term)``; no coefficient is zero and no term occurs twice."""

    constant: int
    terms: tuple[tuple[Term, int], ...] = ()

    @cached_property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value that the expression can take."""
        low = high = self.constant
        for term, coefficient in self.terms:
            ends = [coefficient * end for end in term.bounds()]
            low, high = low + min(ends), high + max(ends)
        return low, high

    @cached_property
    def free(self) -> frozenset[LoopVar]:
        """The loop counters it depends on."""
        return frozenset().union(*(term.free() for term, _ in self.terms))

    @cached_property
    def _hash(self) -> int:
        return hash((self.constant, frozenset(self.terms)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Affine)
            and self.constant == other.constant
            and len(self.terms) == len(other.terms)
            and set(self.terms) == set(other.terms)
        )

    def coefficient(self, var: LoopVar) -> int | None:
        """The multiple of ``var``, or None when it also occurs inside another term."""
        found = 0
        for term, coefficient in self.terms:
            if term is var:
                found = coefficient
            elif var in term.free():
                return None
        return found

    def __add__(self, other: Any) -> Affine:
        other = as_index(other)
        return _combine(self.constant + other.constant, (*self.terms, *other.terms))

    __radd__ = __add__

    def __neg__(self) -> Affine:
        return self * -1

    def __sub__(self, other: Any) -> Affine:
        return self + as_index(other) * -1

    def __rsub__(self, other: Any) -> Affine:
        return as_index(other) + self * -1

    def __mul__(self, factor: Any) -> Affine:
        if isinstance(factor, Affine):
            if factor.terms:
                return NotImplemented
            factor = factor.constant
        if factor == 0:
            return ZERO
        return Affine(self.constant * factor, tuple((t, c * factor) for t, c in self.terms))

    __rmul__ = __mul__

    def _split(self, divisor: int) -> tuple[Affine, Affine]:
        """Write the expression as ``quotient * divisor + rest`` with as little as possible left."""
        whole: list[tuple[Term, int]] = []
        rest: list[tuple[Term, int]] = []
        for term, coefficient in self.terms:
            (whole if coefficient % divisor == 0 else rest).append((term, coefficient))
        quotient = Affine(self.constant // divisor, tuple((t, c // divisor) for t, c in whole))
        return quotient, Affine(self.constant % divisor, tuple(rest))

    def __floordiv__(self, divisor: int) -> Affine:
        if divisor == 1:
            return self
        quotient, rest = self._split(divisor)
        low, high = rest.bounds
        if low // divisor == high // divisor:
            return quotient + low // divisor
        return quotient + Affine(0, ((Quotient(rest, divisor), 1),))

    def __mod__(self, divisor: int) -> Affine:
        if divisor == 1:
            return ZERO
        _, rest = self._split(divisor)
        low, high = rest.bounds
        if low // divisor == high // divisor:
            return rest - (low // divisor) * divisor
        return Affine(0, ((Remainder(rest, divisor), 1),))

    def __str__(self) -> str:
        parts = [str(t) if c == 1 else f"{c}*{t}" for t, c in self.terms]
        if self.constant or not parts:
            parts.append(str(self.constant))
        return " + ".join(parts)


ZERO = Affine(0)


def as_index(x: Any) -> Affine:
    """An int or a loop counter as an ``Affine``."""
    if isinstance(x, Affine):
        return x
    if isinstance(x, LoopVar):
        return Affine(0, ((x, 1),)) if x.extent > 1 else ZERO
    return Affine(int(x))


def _combine(constant: int, terms: Iterable[tuple[Term, int]]) -> Affine:
    sums: dict[Term, int] = {}
    for term, coefficient in terms:
        sums[term] = sums.get(term, 0) + coefficient
    kept = {t: c for t, c in sums.items() if c}
    for term in list(kept):
        if not isinstance(term, Remainder) or term not in kept:
            continue
        # c*d*(x // d) + c*(x % d)  ->  c*x
        coefficient = kept[term]
        partner = Quotient(term.operand, term.divisor)
        if kept.get(partner) == coefficient * term.divisor:
            del kept[term], kept[partner]
            return Affine(constant, tuple(kept.items())) + term.operand * coefficient
    return Affine(constant, tuple(kept.items()))


def linear_index(index: Iterable[Any], shape: tuple[int, ...]) -> Affine:
    """Row-major position of ``index`` in an array of ``shape``."""
    position = ZERO
    for i, extent in zip(index, shape, strict=True):
        position = position * extent + as_index(i)
    return position


def split_index(position: Any, shape: tuple[int, ...]) -> tuple[Affine, ...]:
    """The index in an array of ``shape`` whose row-major position is ``position``."""
    position = as_index(position)
    parts: list[Affine] = []
    for extent in reversed(shape):
        parts.append(position % max(extent, 1))
        position = position // max(extent, 1)
    return tuple(reversed(parts))
