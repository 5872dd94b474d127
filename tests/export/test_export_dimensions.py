"""Lengths that are polynomials of free ones: arithmetic, and what is taken for one."""

from __future__ import annotations

import pytest

from pullback.export.dimensions import BATCH, Dim, Sizes, candidate_points, is_static, product


def sizes(*symbols: str, attempt: int = 0) -> Sizes:
    return Sizes(symbols, tuple(list(candidate_points(symbols))[attempt]))


def values(found: Sizes, f) -> list[int]:
    return [f(*point) for point in found.points]


@pytest.mark.parametrize("symbols", [(BATCH,), ("t",), (BATCH, "t"), (BATCH, "t", "s", "u")])
@pytest.mark.parametrize("attempt", [0, 1])
def test_the_points_tell_polynomials_apart(symbols, attempt):
    found = sizes(*symbols, attempt=attempt)

    assert found.is_enough()
    # Also without the check by the largest, which a function may refuse.
    assert Sizes(symbols, found.points[:-1]).is_enough()


def test_fewer_points_are_not_enough():
    assert not Sizes((BATCH,), ((83,), (90,))).is_enough()
    assert not Sizes((BATCH, "t"), tuple((n, 7) for n in range(9))).is_enough()


def test_equal_values_are_a_plain_number():
    found = sizes(BATCH).fit([5, 5, 5, 5])

    assert found == 5
    assert is_static(found)


def test_polynomials_are_found():
    found = sizes(BATCH, "t")

    assert str(found.fit(values(found, lambda b, t: b))) == "batch"
    assert str(found.fit(values(found, lambda b, t: 3 * b - 1))) == "-1 + 3*batch"
    assert str(found.fit(values(found, lambda b, t: b * t * 8))) == "8*batch*t"
    assert str(found.fit(values(found, lambda b, t: b + 2 * t + 4))) == "4 + batch + 2*t"


@pytest.mark.parametrize("k", [2, 3, 4, 5, 7, 8, 11, 16, 18, 32, 64, 128, 512])
@pytest.mark.parametrize(("symbol", "attempt"), [(BATCH, 0), ("t", 0), ("t", 1)])
def test_what_is_rounded_is_no_polynomial(symbol, attempt, k):
    """A length rounded to a multiple must not pass for one that is not."""
    found = sizes(symbol, attempt=attempt)

    assert found.fit(values(found, lambda n: n // k)) is None
    assert found.fit(values(found, lambda n: n // k * k)) is None
    assert found.fit(values(found, lambda n: -(-n // k))) is None
    assert found.fit(values(found, lambda n: min(n, 512))) is None


@pytest.mark.parametrize("k", range(2, 30))
@pytest.mark.parametrize("attempt", [0, 1])
def test_small_multiples_are_told_without_the_largest_size(attempt, k):
    found = sizes("t", attempt=attempt)
    found = Sizes(found.symbols, found.points[:-1])

    assert found.fit(values(found, lambda n: n // k * k)) is None


def test_fractions_are_no_lengths():
    assert Sizes((BATCH,), ((2,), (4,), (8,))).fit([1, 2, 4]) is None


def test_derived_lengths_are_named_once_and_fitted():
    found = sizes(BATCH, "t")
    half = values(found, lambda b, t: -(-t // 2))

    assert found.fit(half) is None
    assert str(found.derive(half)) == "length_0"
    assert str(found.derive(half)) == "length_0"
    assert str(found.derive(values(found, lambda b, t: 3 * t + b))) == "batch + 3*t"
    assert str(found.derive([n // 2 for n in half])) == "length_1"
    assert str(found.fit([4 * n + 1 for n in half])) == "1 + 4*length_0"
    flat = [b * n * 8 for (b, _), n in zip(found.points, half, strict=True)]
    assert str(found.fit(flat)) == "8*batch*length_0"


def test_arithmetic_keeps_the_polynomial():
    b, t = Dim(83, {("batch",): 1}), Dim(16, {("t",): 1})

    assert str(b + 1) == "batch + 1"
    assert str(2 * b * t) == "2*batch*t"
    assert str(3 - b) == "-1*batch + 3"
    assert str(-b) == "-1*batch"
    assert int(b * t + b) == 83 * 16 + 83
    assert is_static(b - b)
    assert b - b == 0
    assert str(product([b, 4, t])) == "4*batch*t"


def test_a_length_equals_no_number_that_it_happens_to_be():
    b = Dim(83, {("batch",): 1})

    assert b != 83
    assert b not in (1, 83)
    assert b == Dim(83, {("batch",): 1})
    assert b != Dim(83, {("t",): 1})
    assert len({b, Dim(83, {("batch",): 1}), Dim(83, {("t",): 1})}) == 2
