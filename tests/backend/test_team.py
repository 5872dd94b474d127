"""The number of threads follows what is measured."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

import pullback as pb
from pullback.backend.executable import Executable, compile_program
from pullback.backend.team import CONTEST_RUNS, WAIT_RUNS, TeamSize
from pullback.backend.trips import find_trips
from pullback.kernels.cost import Cost

SHORT = Cost(seconds=20e-6, barriers=10)


def run(team: TeamSize, seconds_of: dict[int, float], runs: int) -> list[int]:
    chosen = []
    for _ in range(runs):
        count = team.next()
        chosen.append(count)
        if team.listens:
            team.note(count, seconds_of[count])
    return chosen


def test_long_stretches_between_barriers_settle_on_all_threads():
    team = TeamSize(Cost(seconds=1.0, barriers=10), 2)

    assert team.is_settled
    assert not team.listens
    assert run(team, {}, 100) == [2] * 100


def test_a_program_too_short_to_share_stays_on_one_thread():
    team = TeamSize(Cost(seconds=1e-6, barriers=1), 4)

    assert team.is_settled
    assert run(team, {}, 100) == [1] * 100


def test_the_faster_number_is_kept_and_the_other_one_tried_again():
    team = TeamSize(SHORT, 2)

    chosen = run(team, {1: 3e-5, 2: 2e-5}, 12 * WAIT_RUNS)

    assert chosen.count(2) > 0.8 * len(chosen)
    assert 1 in chosen[WAIT_RUNS:]


def test_a_team_must_be_clearly_faster_to_be_chosen():
    team = TeamSize(SHORT, 2)

    chosen = run(team, {1: 2e-5, 2: 1.8e-5}, 100 * WAIT_RUNS)

    assert chosen.count(1) > 0.9 * len(chosen)


@pytest.mark.parametrize(("seconds", "kept"), [(1.8e-5, 2), (1.95e-5, 1)])
def test_a_team_is_kept_while_it_gains_something(seconds, kept):
    team = TeamSize(SHORT, 2)
    run(team, {1: 2e-5, 2: 1e-5}, 10 * WAIT_RUNS)

    chosen = run(team, {1: 2e-5, 2: seconds}, 200 * WAIT_RUNS)

    assert chosen[-1] == kept
    assert chosen.count(kept) > 0.8 * len(chosen)


def test_the_choice_follows_the_machine():
    team = TeamSize(SHORT, 2)
    run(team, {1: 3e-5, 2: 2e-5}, 10 * WAIT_RUNS)

    chosen = run(team, {1: 3e-5, 2: 5e-4}, 20)

    assert chosen[-6:] == [1] * 6


def test_one_slow_run_of_a_team_is_not_held_against_it():
    team = TeamSize(SHORT, 2)
    run(team, {1: 3e-5, 2: 2e-5}, 2 * WAIT_RUNS)
    run(team, {1: 3e-5, 2: 6e-5}, 1)

    assert run(team, {1: 3e-5, 2: 2e-5}, WAIT_RUNS) == [2] * WAIT_RUNS


def test_a_long_slow_run_of_a_team_is_its_last():
    team = TeamSize(SHORT, 2)
    run(team, {1: 3e-2, 2: 2e-2}, 10)

    chosen = run(team, {1: 3e-2, 2: 9e-2}, 5)

    assert chosen == [2, 1, 1, 1, 1]


def test_a_choice_that_was_right_is_doubted_more_and_more_rarely():
    team = TeamSize(SHORT, 2)

    chosen = run(team, {1: 2e-5, 2: 3e-5}, 400 * WAIT_RUNS)

    tried = [i for i, count in enumerate(chosen) if count == 2 and chosen[i - 1] == 1]
    waits = [b - a for a, b in itertools.pairwise(tried)]
    assert waits == sorted(waits)
    assert waits[-1] > 10 * waits[0]
    assert chosen.count(2) < 0.03 * len(chosen)


def test_a_hopeless_challenger_costs_little_time():
    """Where somebody else uses the processors, each run of a team may take a scheduler's slice."""
    team = TeamSize(SHORT, 2)

    chosen = run(team, {1: 1e-5, 2: 4e-3}, 40_000)

    assert chosen.count(2) * 4e-3 < 0.1 * chosen.count(1) * 1e-5


def test_a_team_that_must_wake_first_gets_runs_enough():
    team = TeamSize(SHORT, 2)
    before = 0
    for _ in range(WAIT_RUNS):
        count = team.next()
        woken = count == 2 and before == 2
        team.note(count, {1: 3e-5, 2: 2e-5 if woken else 9e-5}[count])
        before = count

    assert before == 2


def test_a_team_that_sleeps_between_rare_calls_is_given_up():
    team = TeamSize(SHORT, 2)

    chosen = run(team, {1: 3e-5, 2: 5e-5}, 10 * WAIT_RUNS)

    assert chosen.count(2) < 4 * CONTEST_RUNS


@pytest.mark.parametrize("seconds", [20e-6, 20e-3])
def test_the_first_run_alone_decides_nothing(seconds):
    team = TeamSize(Cost(seconds=seconds, barriers=seconds * 1e6), 2)
    first = team.next()
    team.note(first, 10.0)

    chosen = run(team, {1: 2e-5, 2: 3e-5}, 2 * CONTEST_RUNS)

    assert chosen[-1] == 1


def test_runs_of_different_lengths_are_compared_by_their_work():
    team = TeamSize(SHORT, 2)
    steps = [1, 1, 8, 64, 512, 1289]

    chosen = []
    for work in steps * 4:
        count = team.next()
        chosen.append(count)
        team.note(count, {1: 25e-6, 2: 20e-6}[count] * work + 20e-6, work)

    assert chosen[-len(steps) :] == [2] * len(steps)


def loop_of(bounds: Callable[..., tuple[object, object]], *numbers: int) -> tuple[Executable, list]:
    """A program that loops between bounds made of its inputs, which are ``numbers``."""

    def f(x, *given):
        return pb.fori_loop(*bounds(*given), lambda _, y: y * 0.5, x)

    inputs = [np.ones(3, np.float32), *(np.array(n, np.int32) for n in numbers)]
    return compile_program(pb.make_program(f)(*inputs)), inputs


@pytest.mark.parametrize(
    ("bounds", "numbers", "trips"),
    [
        (lambda a, b: (a, b), (3, 10), 7),
        (lambda a, b: (b, a), (10, 3), 7),
        (lambda a: (2, a), (10,), 8),
        (lambda a: (a, 5), (1,), 4),
        (lambda a, b: (a, b), (5, 5), 1),  # one, so that there is something to divide by
    ],
    ids=["inputs", "inputs the other way", "to an input", "from an input", "no trip"],
)
def test_trips_are_read_from_the_inputs(bounds, numbers, trips):
    executable, inputs = loop_of(bounds, *numbers)

    assert executable._trips is not None
    assert executable._trips.count(inputs) == trips


def test_trips_of_a_loop_that_may_end_early():
    def f(x, start, stop):
        def goes_on(state):
            return (state[0] < stop) & (state[1][0] > 0)

        return pb.while_loop(goes_on, lambda state: (state[0] + 1, state[1] * 0.5), (start, x))

    inputs = [np.ones(3, np.float32), np.array(2, np.int32), np.array(9, np.int32)]
    trips = find_trips(pb.make_program(f)(*inputs))

    assert trips is not None
    assert trips.count(inputs) == 7


@pytest.mark.parametrize(
    "f",
    [
        lambda x, n: x + n,
        lambda x, n: pb.while_loop(lambda y: y[0] < 3.0, lambda y: y * 2.0, x),
        lambda x, n: pb.fori_loop(0, n * 2, lambda i, y: y * 2.0, x),
        lambda x, n: pb.fori_loop(0, 9, lambda i, y: y * 2.0, x),
        lambda x, n: pb.fori_loop(0, n, lambda i, y: y + 1, pb.fori_loop(0, n, lambda i, y: y, x)),
    ],
    ids=["no loop", "no counter", "computed bound", "bounds of values", "two loops"],
)
def test_no_trips_are_made_up(f):
    inputs = np.ones(3, np.float32), np.array(2, np.int32)

    assert find_trips(pb.make_program(f)(*inputs)) is None


def test_runs_of_a_loop_are_compared_by_their_trips(monkeypatch):
    executable, inputs = loop_of(lambda a, b: (a, b), 0, 100)
    executable.cost = SHORT
    noted = []
    monkeypatch.setattr(TeamSize, "note", lambda self, *args: noted.append(args))

    with pb.config.override(threads=2):
        executable(*inputs)

    assert [(count, work) for count, _, work in noted] == [(1, 100)]
