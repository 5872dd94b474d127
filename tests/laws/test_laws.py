"""The laws of primitives, applied to every case of every family."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from case import Case, case_id
from cases import CASES
from checks import (
    check_lowered,
    check_reference,
    check_round_trip,
    evaluated,
    has_lower,
    must_have_lower,
)

from pullback.program.primitive import (
    COMMUTATIVE,
    CONTROL,
    IDENTITY,
    LINEAR,
    PREFIX,
    REGISTRY,
    Primitive,
)
from pullback.testing import check_types, check_vjp, pull_back_eagerly
from pullback.types import FLOAT8, FLOATING, float32, float64, type_of


def cases(keep: Callable[[Case], bool] = lambda case: True) -> pytest.MarkDecorator:
    """Parametrise over the cases that ``keep`` accepts; equal names get a number."""
    count: Counter[str] = Counter()
    parameters = []
    for case in filter(keep, CASES):
        name = case_id(case)
        count[name] += 1
        parameters.append(pytest.param(case, id=f"{name}#{count[name]}"))
    return pytest.mark.parametrize("case", parameters)


def test_every_primitive_has_cases():
    assert {case.primitive.name for case in CASES} == set(REGISTRY)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_primitive_is_documented(name):
    """One paragraph of what it is, and what there is to know of shapes and derivatives."""
    text = REGISTRY[name].__doc__ or ""

    assert text.split("\n")[0].endswith((".", ":", "``"))
    assert "Shapes:" in text
    assert "gradient" in text or "Residuals:" in text


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_primitive_declares_its_derivative(name):
    """A primitive without a rule says ``differentiable = ()``."""
    cls = REGISTRY[name]

    assert cls.vjp is not Primitive.vjp or cls.differentiable == ()


@cases()
def test_types_inferred_are_those_evaluated(case: Case):
    check_types(case.primitive, *case.args())


@cases(lambda case: case.reference is not None)
def test_evaluate_agrees_with_reference(case: Case):
    check_reference(case)


@cases()
def test_evaluate_leaves_operands_alone(case: Case):
    before = case.args()
    after = tuple(x.copy() for x in before)

    with np.errstate(all="ignore"):
        case.primitive.evaluate(*after)

    for x, y in zip(before, after, strict=True):
        assert x.tobytes() == y.tobytes()


@cases(lambda case: case.is_differentiated())
def test_vjp_agrees_with_central_differences(case: Case):
    for order in case.orders:
        if order == max(case.orders):
            check_vjp(case.primitive, *case.args(), order=order)


def is_single_precision(case: Case) -> bool:
    dtypes = {x.dtype for x in case.args()} & FLOATING
    return bool(case.orders) and dtypes == {float32} and not case.primitive.has(CONTROL)


@cases(is_single_precision)
def test_vjp_in_float32_agrees_with_float64(case: Case):
    """The rule rounds, but computes the same: it is compared with itself in float64."""
    args = case.args()
    wide = [x.astype(float64) if x.dtype == float32 else x for x in args]
    if not any(case.primitive.is_differentiable(i, type_of(x)) for i, x in enumerate(args)):
        return

    narrow_ct = vjp_of_ones(case.primitive, args, float32)
    wide_ct = vjp_of_ones(case.primitive, wide, float64)

    for x, y in zip(narrow_ct, wide_ct, strict=True):
        if y is None or not np.isfinite(y).all():
            continue
        assert np.abs(x - y).max(initial=0) <= 1e-4 * (1e-3 + np.abs(y).max(initial=0))


def vjp_of_ones(primitive: Primitive, args, dtype):
    from pullback.program.value import Array

    def apply(values):
        out = primitive(*values)
        return out if isinstance(out, tuple) else (out,)

    values = [Array(np.asarray(x)) for x in args]
    cotangents = [
        Array(np.full(out.shape, 0.75, dtype if out.dtype in FLOATING else out.dtype))
        for out in apply(values)
    ]
    found = pull_back_eagerly(apply, values, cotangents)
    return [None if ct is None else np.asarray(ct) for ct in found]


def has_trait(trait):
    return lambda case: case.primitive.has(trait)


@cases(has_trait(LINEAR))
def test_linear_primitives_are_homogeneous(case: Case):
    """Twice the differentiable operands give twice the output, in all bits: doubling is exact."""
    args = case.args()
    moved = [case.primitive.is_differentiable(i, type_of(x)) for i, x in enumerate(args)]
    if not any(moved):
        return
    with np.errstate(all="ignore"):
        doubled = tuple(
            np.asarray(2 * x, x.dtype) if m else x for x, m in zip(args, moved, strict=True)
        )
        expected = [2 * x.astype(float64) for x in evaluated(case.primitive, args)]
        actual = evaluated(case.primitive, doubled)

    for x, y in zip(actual, expected, strict=True):
        # Where numbers overflow or are subnormal, doubling is not exact.
        subnormal = 2.0**-5 if x.dtype in FLOAT8 else 1e-4
        exact = np.isfinite(x.astype(float64)) & (np.abs(y) > subnormal)
        np.testing.assert_array_equal(x.astype(float64)[exact], y[exact])


@cases(has_trait(COMMUTATIVE))
def test_commutative_primitives_are(case: Case):
    x, y = case.args()

    there = evaluated(case.primitive, (x, y))
    back = evaluated(case.primitive, (y, x))

    for a, b in zip(there, back, strict=True):
        nan = a != a
        assert np.where(nan, 0, a).tobytes() == np.where(b != b, 0, b).tobytes()


@cases(has_trait(IDENTITY))
def test_identity_primitives_return_an_operand(case: Case):
    args = case.args()

    for x, y in zip(evaluated(case.primitive, args), args, strict=False):
        assert x.tobytes() == y.tobytes()


@cases(lambda case: has_lower(type(case.primitive)) or case.primitive.has(PREFIX))
def test_lowered_agrees_with_evaluate(case: Case):
    check_lowered(case)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_primitive_is_lowered_or_says_why_not(name):
    """A rule, or one of the traits that the compiler has another way for."""
    primitive = REGISTRY[name]

    assert has_lower(primitive) or not must_have_lower(primitive)


@cases()
def test_program_text_reads_back(case: Case):
    check_round_trip(case)
