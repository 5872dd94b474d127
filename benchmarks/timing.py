"""Times alternatives side by side.

They take turns, so that a slow spell of the machine hits all of them.
"""

from __future__ import annotations

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
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    first = {name: _timed(run, 1) for name, run in alternatives.items()}
    for _ in range(turns):
        for name, run in alternatives.items():
            time.sleep(REST_S)
            seconds[name].append(_timed(run, repeat))
    return {name: Timing(first[name], statistics.median(s), min(s)) for name, s in seconds.items()}


def _timed(run: Callable[[], object], repeat: int) -> float:
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - start) / repeat
