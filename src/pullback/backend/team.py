"""Chooses how many threads run a program.

Results have the same bits for any number, so the choice may follow what is measured: on a busy
machine a team that must meet every few microseconds is slower than one thread.
"""

from __future__ import annotations

from typing import Final

from pullback.kernels.cost import Cost

#: With more work than this between two barriers, more threads are faster on any machine.
CLEAR_S: Final = 100e-6
#: How often, in runs, the alternative is measured again.
PROBE_RUNS: Final = 24
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

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to choose from."""
        return len(self._counts) == 1

    def next(self) -> int:
        """The number of threads for the next run."""
        if self.is_settled:
            return self._counts[0]
        self._runs += 1
        for count in self._counts:
            if count not in self._seconds:
                return count
        best = min(self._counts, key=self._seconds.__getitem__)
        if self._runs % PROBE_RUNS == 0:
            return next(c for c in self._counts if c != best)
        return best

    def note(self, count: int, seconds: float) -> None:
        """Learn how long a run with ``count`` threads took. The very first run is not counted."""
        if self._runs == 1:
            return
        before = self._seconds.get(count, seconds)
        self._seconds[count] = min(seconds, before * (1 - _NEW) + seconds * _NEW)
