"""The law that machine code computes what ``evaluate`` computes, for every case."""

from __future__ import annotations

import numpy as np
from case import Case
from checks import check_close, evaluated
from test_laws import cases

from pullback.backend.executable import compile_program
from pullback.program.builder import Builder
from pullback.program.core import Program
from pullback.types import type_of

#: Machine code has polynomials of its own and may sum in another order; in units of the output.
COMPILED_ULP = 8


def program_of(case: Case) -> Program:
    with Builder() as b:
        out = case.primitive(*(b.input(type_of(np.asarray(x))) for x in case.args()))
    return b.finish(out if isinstance(out, tuple) else (out,))


def check_compiled(case: Case) -> None:
    """Require that compiled code agrees with ``evaluate`` within the case's bound."""
    args = tuple(np.asarray(x) for x in case.args())
    expected = evaluated(case.primitive, args)

    actual = compile_program(program_of(case)).checked(*args)

    for x, y in zip(actual, expected, strict=True):
        bound = 0 if case.ulp == 0 else 2 * case.ulp + COMPILED_ULP
        check_close(x, y, y.dtype, ulp=bound, atol=case.atol, exact_zeros=case.exact_zeros)


@cases()
def test_compiled_agrees_with_evaluate(case: Case):
    check_compiled(case)
