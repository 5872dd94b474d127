"""Random programs compute the same compiled as interpreted, on any number of threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_programs import check_program, kernel_programs
from tests.program.strategies import programs_with_arguments

from pullback.backend.llvm.build import build_program
from pullback.backend.llvm.target import select_target


@settings(max_examples=60)
@given(kernel_programs(), st.integers(0, 7))
def test_compiled_is_interpreted(made, given_up):
    program, arrays = made
    donated = frozenset(i for i in range(len(arrays)) if given_up >> i & 1)

    check_program(program, arrays, donate=[frozenset(), donated])


@pytest.mark.slow
@settings(max_examples=600)
@given(kernel_programs(max_equations=20))
def test_compiled_is_interpreted_at_length(made):
    check_program(*made, threads=(1, 3))


@settings(max_examples=80)
@given(kernel_programs(max_equations=15))
def test_a_program_is_written_the_same_again(made):
    """No order of addresses or of sets decides anything."""
    first, again = (build_program(made[0], {}, select_target()).text for _ in range(2))

    assert first == again


@settings(max_examples=30)
@given(programs_with_arguments())
def test_small_programs_of_special_values(made):
    program, arrays = made

    check_program(program, [np.array(a) for a in arrays], threads=(1, 2))
