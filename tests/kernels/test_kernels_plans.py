"""Planned memory and barriers, checked by replaying the steps; and planted faults are noticed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from kernel_programs import kernel_programs
from replay_steps import MemoryClash, Race, check_barriers, check_memory, lowered_program, tasks_of
from test_kernels_cases import CASES
from tests.program.strategies import programs

import pullback as pb
from pullback.kernels.barriers import Barriers, plan_barriers
from pullback.kernels.core import BranchStep, LoopStep, Space, WhileStep
from pullback.kernels.memory import ALIGNMENT_BYTES, plan_memory


def share(program, given_up):
    """Outputs that take over inputs of their type, in order, among those given up."""
    left = [i for i in range(len(program.inputs)) if given_up >> i & 1]
    shared = {}
    for j, atom in enumerate(program.outputs):
        fits = [i for i in left if program.inputs[i].type == atom.type]
        if fits:
            shared[j] = fits[0]
            left.remove(fits[0])
    return shared


def check_plans(program, shared, rng):
    lowered = lowered_program(program, shared)
    check_memory(lowered, rng)
    # Every kernel by all threads, by none but the first, or as it comes.
    for count in (tasks_of(lowered), lambda kernel: 2, lambda kernel: 1):
        check_barriers(lowered.block, count, plan_barriers(lowered.block, count), rng)


@settings(max_examples=150)
@given(kernel_programs(max_equations=14), st.integers(0, 7), st.integers(0, 2**32 - 1))
def test_random_programs(made, given_up, seed):
    program, _ = made

    check_plans(program, share(program, given_up), np.random.default_rng(seed))


@settings(max_examples=150)
@given(programs(max_equations=20), st.integers(0, 2**32 - 1))
def test_random_small_programs(program, seed):
    check_plans(program, {}, np.random.default_rng(seed))


@pytest.mark.parametrize("name", CASES)
def test_cases(name, rng):
    f, arrays = CASES[name]
    program = pb.make_program(f)(*map(pb.asarray, arrays))

    for given_up in (0, 7):
        check_plans(program, share(program, given_up), rng)


def test_places_are_aligned_and_as_few_as_needed():
    def f(x):
        for _ in range(20):
            x = pb.cumsum(x, axis=0)
        return x * 2.0

    lowered = lowered_program(pb.make_program(f)(np.zeros((50, 10), np.float32)))
    total = plan_memory(lowered)

    assert all(b.position % ALIGNMENT_BYTES == 0 for b in lowered.temporaries)
    assert total <= 2 * 2048  # 20 values in turn, two of 2000 bytes at a time


# Planted faults -----------------------------------------------------------------------------------


def test_memory_that_is_shared_too_early_is_noticed(rng):
    def f(x):
        y, z = pb.cumsum(x, axis=0), pb.cumsum(x, axis=1)
        return pb.cumsum(y + z.T, axis=0) - y

    lowered = lowered_program(pb.make_program(f)(np.zeros((9, 9), np.float32)))
    check_memory(lowered, rng)
    noticed = []
    for x, y in itertools.combinations(lowered.temporaries, 2):
        old, y.position = y.position, x.position
        try:
            check_memory(lowered, rng)
        except MemoryClash:
            noticed.append((x.name, y.name))
        y.position = old

    assert noticed


@settings(max_examples=60)
@given(kernel_programs(max_equations=14), st.integers(0, 7))
def test_no_barrier_of_a_straight_program_can_be_left_out(made, given_up):
    program, _ = made
    rng = np.random.default_rng(0)
    lowered = lowered_program(program, share(program, given_up))
    control = (LoopStep, WhileStep, BranchStep)
    assume(not any(isinstance(step, control) for step in lowered.block.steps))

    plan = plan_barriers(lowered.block, lambda kernel: 2)

    for step in plan.before:
        faulty = Barriers(plan.before - {step}, plan.closing)
        with pytest.raises(Race):
            check_barriers(lowered.block, lambda kernel: 2, faulty, rng)


def test_a_loop_without_a_barrier_is_noticed(rng):
    def f(x):
        return pb.scan(lambda c, row: (c + row, None), x[0], x)[0]

    lowered = lowered_program(pb.make_program(f)(np.zeros((9, 40), np.float32)))
    count = lambda kernel: 1  # noqa: E731
    plan = plan_barriers(lowered.block, count)
    check_barriers(lowered.block, count, plan, rng)

    assert len(plan.closing) == 1
    with pytest.raises(AssertionError, match="never meet"):
        check_barriers(lowered.block, count, Barriers(plan.before, set()), rng)


def test_a_barrier_in_one_branch_does_not_serve_the_loop():
    """The threads must meet in every iteration, whichever way it goes."""

    def f(x):
        def step(c, row):
            return pb.cond(row[0] > 0, lambda: pb.cumsum(pb.cumsum(c)), lambda: c), None

        return pb.scan(step, x[0], x)[0]

    lowered = lowered_program(pb.make_program(f)(np.zeros((9, 40), np.float32)))

    plan = plan_barriers(lowered.block, lambda kernel: 2)

    loop = next(s for s in lowered.block.steps if isinstance(s, LoopStep))
    certain = {s for s in loop.body.steps if s in plan.before}
    assert certain or loop in plan.closing


def test_the_flag_of_a_loop_is_read_before_it_is_written_again(rng):
    """All work on one thread: only the flag is shared."""

    def f(x):
        return pb.while_loop(lambda s: s[0] < 5.0, lambda s: s + 1.0, x)

    lowered = lowered_program(pb.make_program(f)(np.zeros(3, np.float32)))
    count = lambda kernel: 1  # noqa: E731
    plan = plan_barriers(lowered.block, count)
    check_barriers(lowered.block, count, plan, rng)

    loop = next(s for s in lowered.block.steps if isinstance(s, WhileStep))
    assert loop.flag.buffer.root.space is Space.ARENA
    with pytest.raises(Race):
        check_barriers(lowered.block, count, Barriers(set(), plan.closing), rng)
