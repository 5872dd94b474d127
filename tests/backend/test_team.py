"""The number of threads follows what is measured."""

from __future__ import annotations

import itertools

import pytest

from pullback.backend.team import PROBE_RUNS, TeamSize
from pullback.kernels.cost import Cost


def run(team: TeamSize, seconds_of: dict[int, float], runs: int) -> list[int]:
    chosen = []
    for _ in range(runs):
        count = team.next()
        chosen.append(count)
        team.note(count, seconds_of[count])
    return chosen


def test_long_stretches_between_barriers_settle_on_all_threads():
    team = TeamSize(Cost(seconds=1.0, barriers=10), 2)

    assert team.is_settled
    assert team.next() == 2


def test_a_program_too_short_to_share_stays_on_one_thread():
    team = TeamSize(Cost(seconds=1e-6, barriers=1), 4)

    assert team.is_settled
    assert team.next() == 1


def test_the_faster_number_is_kept_and_the_other_one_tried_again():
    team = TeamSize(Cost(seconds=20e-6, barriers=10), 2)

    chosen = run(team, {1: 3e-5, 2: 2e-5}, 6 * PROBE_RUNS)

    assert chosen.count(2) > 0.8 * len(chosen)
    assert 1 in chosen[PROBE_RUNS:]


def test_the_choice_follows_the_machine():
    team = TeamSize(Cost(seconds=20e-6, barriers=10), 2)
    run(team, {1: 3e-5, 2: 2e-5}, PROBE_RUNS)

    chosen = run(team, {1: 3e-5, 2: 5e-4}, 3 * PROBE_RUNS)

    assert chosen[-6:] == [1] * 6


def test_a_choice_that_was_right_is_doubted_more_and_more_rarely():
    team = TeamSize(Cost(seconds=20e-6, barriers=10), 2)

    chosen = run(team, {1: 2e-5, 2: 3e-5}, 100 * PROBE_RUNS)

    tried = [i for i, count in enumerate(chosen) if count == 2 and chosen[i - 1] == 1]
    waits = [b - a for a, b in itertools.pairwise(tried)]
    assert len(waits) >= 4
    assert all(b > 1.5 * a for a, b in itertools.pairwise(waits))
    assert chosen.count(2) < 0.03 * len(chosen)


def test_a_team_that_must_wake_first_gets_runs_enough():
    team = TeamSize(Cost(seconds=20e-6, barriers=10), 2)
    before = 0
    for _ in range(PROBE_RUNS):
        count = team.next()
        woken = count == 2 and before == 2
        team.note(count, {1: 3e-5, 2: 2e-5 if woken else 9e-5}[count])
        before = count

    assert before == 2


@pytest.mark.parametrize("seconds", [20e-6, 20e-3])
def test_the_first_run_alone_decides_nothing(seconds):
    team = TeamSize(Cost(seconds=seconds, barriers=seconds * 1e6), 2)
    first = team.next()
    team.note(first, 10.0)

    chosen = run(team, {1: 2e-5, 2: 3e-5}, 12)

    assert chosen[-1] == 1
