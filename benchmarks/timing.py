"""Times alternatives side by side.

They take turns, so that a slow spell of the machine hits all of them.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Pause before each turn: threads of the library that ran before spin for a while, waiting for
#: more work, and would take a core from whoever comes next.
REST_S = 0.25


@dataclass(frozen=True)
class Timing:
    """Seconds of one alternative over all turns."""

    first: float
    median: float
    least: float

    def __truediv__(self, other: Timing) -> float:
        """How many times as long as ``other`` it takes, by medians."""
        return self.median / other.median


def side_by_side(
    alternatives: Mapping[str, Callable[[], object]], turns: int, repeat: int = 1
) -> dict[str, Timing]:
    """Let each alternative run ``turns`` times after a first time that is kept apart.

    Args:
        alternatives: What to time, by name.
        turns: How often each has its turn.
        repeat: Calls in one turn; the turn's time is divided by it.
    """
    clocks = {name: functools.partial(timed, run) for name, run in alternatives.items()}
    return in_turns(clocks, turns, repeat, REST_S)


def in_turns(
    clocks: Mapping[str, Callable[[int], float]], turns: int, repeat: int = 1, rest: float = 0.0
) -> dict[str, Timing]:
    """As ``side_by_side``, of alternatives that time themselves, such as those in children.

    Args:
        clocks: By name, what calls the alternative as often as it is told and returns the
            seconds of one call.
        turns: How often each has its turn.
        repeat: Calls in one turn.
        rest: Seconds of pause before each turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in clocks}
    first = {name: clock(1) for name, clock in clocks.items()}
    for _ in range(turns):
        for name, clock in clocks.items():
            time.sleep(rest)
            seconds[name].append(clock(repeat))
    return {name: Timing(first[name], statistics.median(s), min(s)) for name, s in seconds.items()}


def timed(run: Callable[[], object], repeat: int) -> float:
    """Seconds of one call, as the mean of ``repeat``."""
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - start) / repeat
