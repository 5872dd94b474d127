"""The number of threads follows what is measured."""

from __future__ import annotations

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

    chosen = run(team, {1: 3e-5, 2: 2e-5}, 2 * PROBE_RUNS)

    assert chosen.count(2) > 0.8 * len(chosen)
    assert 1 in chosen[PROBE_RUNS - 1 :]


def test_the_choice_follows_the_machine():
    team = TeamSize(Cost(seconds=20e-6, barriers=10), 2)
    run(team, {1: 3e-5, 2: 2e-5}, PROBE_RUNS)

    chosen = run(team, {1: 3e-5, 2: 5e-4}, 3 * PROBE_RUNS)

    assert chosen[-6:-1] == [1] * 5  # the last one tries the other number again


def test_the_first_run_is_not_counted():
    team = TeamSize(Cost(seconds=20e-6, barriers=10), 2)
    first = team.next()
    team.note(first, 10.0)

    chosen = run(team, {1: 2e-5, 2: 3e-5}, 10)

    assert chosen[-1] == 1
