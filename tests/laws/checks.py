"""Comparisons in units in the last place, and the laws that need no differentiation.

Each is a function that raises ``AssertionError``, so that ``test_the_tester`` can plant faults.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from case import Case
from python_loops import run_lowered, run_prefix

from pullback.errors import ParseError
from pullback.program.builder import Builder
from pullback.program.parser import parse_program
from pullback.program.primitive import CONTROL, HOST, PREFIX, SCATTER, SORT, Primitive
from pullback.program.printer import print_program
from pullback.program.verify import verify
from pullback.types import FLOAT8, FLOATING, DType, bfloat16, type_of

NDArray = np.ndarray[Any, Any]

#: NumPy knows no conversions of these to long double.
NARROW = FLOAT8 | {bfloat16}


def spacing(x: NDArray, dtype: DType) -> NDArray:
    """Return the distance between neighbours of ``dtype`` at the magnitude of finite ``x``."""
    info = ml_dtypes.finfo(dtype)
    smallest = np.longdouble(float(info.smallest_normal))
    _, exponent = np.frexp(np.maximum(np.abs(x), smallest))
    return np.ldexp(np.longdouble(float(info.eps)), exponent - 1)


def check_close(
    actual: NDArray,
    expected: NDArray,
    dtype: DType,
    *,
    ulp: float,
    atol: float = 0.0,
    exact_zeros: bool = False,
) -> None:
    """Require ``actual`` (of ``dtype``) to be within ``ulp`` units or ``atol`` of ``expected``."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    if dtype not in FLOATING:
        np.testing.assert_array_equal(actual, expected)
        return
    with np.errstate(all="ignore"):
        rounded = _narrow(expected, dtype)
        x, y = _wide(actual), _wide(expected)
        same = (x == _wide(rounded)) | (np.isnan(x) & np.isnan(y))
        # A value at the edge of overflow may round to the largest number or to infinity.
        largest = float(ml_dtypes.finfo(dtype).max)
        both_huge = (np.abs(x) >= largest) & (np.abs(y) >= largest * (1 - 1e-7))
        same |= both_huge & (np.sign(x) == np.sign(y)) & (ulp > 0)
        error = np.abs(x - y)
        near = np.isfinite(x) & np.isfinite(y)
        near &= error <= np.maximum(ulp * spacing(np.where(near, y, 0), dtype), atol)
    good = same | near if ulp or atol else same
    if exact_zeros:
        good &= (x != 0) | (y != 0) | (np.signbit(x) == np.signbit(y))
    assert good.all(), _difference(actual, rounded, expected, good, dtype)


def _wide(x: NDArray) -> NDArray:
    return x.astype(np.float32 if x.dtype in NARROW else x.dtype).astype(np.longdouble)


def _narrow(x: NDArray, dtype: DType) -> NDArray:
    return x.astype(np.float32).astype(dtype) if dtype in NARROW else x.astype(dtype)


def _difference(
    actual: NDArray, rounded: NDArray, expected: NDArray, good: NDArray, dtype: DType
) -> str:
    x, y = _wide(actual), _wide(expected)
    with np.errstate(all="ignore"):
        units = np.abs(x - y) / spacing(np.where(np.isfinite(y), y, 1), dtype)
    bad = np.argwhere(~good)
    rows = [
        f"  at {tuple(map(int, i))}: {actual[tuple(i)]!r}, expected {rounded[tuple(i)]!r} "
        f"({float(units[tuple(i)]):.3g} ulp)"
        for i in bad[:5]
    ]
    return f"{len(bad)} of {good.size} elements differ:\n" + "\n".join(rows)


def as_tuple(x: Any) -> tuple[Any, ...]:
    """Return ``x`` if it is a tuple, else the tuple of it alone."""
    return x if isinstance(x, tuple) else (x,)


def evaluated(primitive: Primitive, args: tuple[NDArray, ...]) -> tuple[NDArray, ...]:
    """Return the outputs of ``evaluate`` as arrays."""
    with np.errstate(all="ignore"):
        return tuple(np.asarray(x) for x in as_tuple(primitive.evaluate(*args)))


def check_reference(case: Case) -> None:
    """Require that ``evaluate`` agrees with the case's reference."""
    args = case.args()
    assert case.reference is not None
    with np.errstate(all="ignore"):
        expected = as_tuple(case.reference(*args))
    actual = evaluated(case.primitive, args)
    assert len(actual) == len(expected)
    for x, y in zip(actual, expected, strict=True):
        check_close(x, y, x.dtype, ulp=case.ulp, atol=case.atol, exact_zeros=case.exact_zeros)


def has_lower(primitive: type[Primitive]) -> bool:
    """Whether the primitive has a ``lower`` rule of its own or of its family."""
    return primitive.lower is not Primitive.lower


def must_have_lower(primitive: type[Primitive]) -> bool:
    """Whether no trait excuses the primitive from having one."""
    return not primitive.traits & (CONTROL | HOST | PREFIX | SCATTER | SORT)


def check_lowered(case: Case) -> None:
    """Require that the ``lower`` rule (or ``combine``) gives what ``evaluate`` gives."""
    args = case.args()
    (expected,) = evaluated(case.primitive, args)
    run = run_prefix if case.primitive.has(PREFIX) else run_lowered
    with np.errstate(all="ignore"):
        actual = run(case.primitive, *args)
    check_close(
        actual,
        expected,
        expected.dtype,
        ulp=2 * case.ulp,
        atol=case.atol,
        exact_zeros=case.exact_zeros,
    )


def check_round_trip(case: Case) -> None:
    """Require that a program of the one equation verifies, and prints as it is read back."""
    with Builder() as b:
        inputs = [b.input(type_of(x)) for x in case.args()]
        outputs = as_tuple(case.primitive(*inputs))
    program = b.finish(outputs)
    verify(program)
    text = print_program(program, full=True)
    if any(isinstance(value, FunctionType) for value in case.primitive.parameters().values()):
        with pytest.raises(ParseError, match="a Python object"):  # that text cannot carry
            parse_program(text)
        return
    again = parse_program(text)
    verify(again)
    assert print_program(again, full=True, sources=False) == print_program(
        program, full=True, sources=False
    )
    if not case.primitive.has(CONTROL):  # programs are equal by identity: their text was compared
        assert again.equations[0].primitive == case.primitive
