"""Chooses how many threads run a program.

Results have the same bits for any number, so the choice may follow what is measured: on a busy
machine a team that must meet every few microseconds is slower than one thread.
"""

from __future__ import annotations

from typing import Final

from pullback.kernels.cost import Cost

#: With more work than this between two barriers, more threads are faster on any machine.
CLEAR_S: Final = 100e-6
#: After how many runs the alternative is measured again; twice as many each time it was slower,
#: up to the most: to wake a team for a program of microseconds costs as much as several runs.
PROBE_RUNS, MOST_PROBE_RUNS = 24, 24 << 7
#: Runs of a measurement of a short program, of which the fastest counts: the first one wakes the
#: team. A longer program does not notice.
PROBE_LENGTH, SHORT_S = 4, 1e-3
#: Weight of a new measurement in the running mean.
_NEW: Final = 0.4


class TeamSize:
    """The number of threads of one program, learnt from its runs."""

    def __init__(self, cost: Cost, most: int) -> None:
        expected = cost.threads(most)
        unclear = most > 1 and cost.seconds > 5e-6
        unclear &= cost.seconds / (cost.barriers + 1) < CLEAR_S
        #: What to choose from; one thread first, which no other program can slow down much.
        self._counts = [1, most] if unclear else [expected]
        self._seconds: dict[int, float] = {}
        self._runs = 0
        self._best = self._counts[0]
        self._length = PROBE_LENGTH if cost.seconds < SHORT_S else 1
        #: What is being measured, and how many more runs of it there are to be. A program's very
        #: first run finds nothing in the caches, so it is never the only one.
        self._probed, self._left = self._counts[0], max(2, self._length)
        self._wait = PROBE_RUNS

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to choose from."""
        return len(self._counts) == 1

    def next(self) -> int:
        """The number of threads for the next run."""
        if self.is_settled:
            return self._counts[0]
        self._runs += 1
        if self._left:
            self._left -= 1
            return self._probed
        if len(self._seconds) < len(self._counts):
            return self._measure(next(c for c in self._counts if c not in self._seconds))
        best = min(self._counts, key=self._seconds.__getitem__)
        if best != self._best:
            self._best, self._wait, self._runs = best, PROBE_RUNS, 1
        if self._runs < self._wait:
            return best
        self._runs, self._wait = 0, min(2 * self._wait, MOST_PROBE_RUNS)
        return self._measure(next(c for c in self._counts if c != best))

    def _measure(self, count: int) -> int:
        """Begin to measure ``count``: its earlier figure is old."""
        self._probed, self._left = count, self._length - 1
        self._seconds.pop(count, None)
        return count

    def note(self, count: int, seconds: float) -> None:
        """Learn how long a run with ``count`` threads took."""
        before = self._seconds.get(count, seconds)
        self._seconds[count] = min(seconds, before * (1 - _NEW) + seconds * _NEW)
