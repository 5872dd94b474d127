"""Chooses how many threads run a program.

Results have the same bits for any number, so the choice may follow what is measured: on a busy
machine a team that must meet every few microseconds is slower than one thread.
"""

from __future__ import annotations

import sys
from typing import Final

from pullback.kernels.cost import Cost

#: With more work than this between two barriers, more threads are faster on any machine.
CLEAR_S: Final = 100e-6
#: How many runs there are between two contests at least; twice as many each time the choice was
#: right, up to the most.
WAIT_RUNS, MOST_WAIT_RUNS = 24, 24 << 7
#: Runs of one number of threads in a contest, of which the fastest counts: the first one wakes the
#: team. A contest of long runs needs fewer: so much time is enough.
CONTEST_RUNS, CONTEST_S = 6, 1e-3
#: A contest ends early where the challenger takes so many times as long.
_HOPELESS: Final = 4.0
#: Between contests there is so many times the time that the loser of the last one took.
_PATIENCE: Final = 20.0
#: A team is chosen if it takes at most so many times as long as one thread: for a little less time
#: it would spend another processor.
_WORTH: Final = 0.85
#: It is kept as long as it takes at most so many times as long.
_STILL_WORTH: Final = 0.93
#: A team is slow when its last runs, a few or a long one, took so many times as long as one thread
#: would need: somebody else uses the processors, or calls come so rarely that the workers sleep.
_SLOW, _FEW_RUNS, _MANY_RUNS = 1.1, 3, 8


class TeamSize:
    """The number of threads of one program, learnt from its runs.

    Two numbers are compared in a contest, by runs one after the other, so that both meet the same
    machine. Then the better one is kept for many runs. Those of one thread are not measured; those
    of a team may become much slower at any time, and then there is a contest at once.

    Attributes:
        listens: Whether the next run is to be measured and told to ``note``.
    """

    def __init__(self, cost: Cost, most: int) -> None:
        expected = cost.threads(most)
        unclear = most > 1 and cost.seconds > 5e-6
        unclear &= cost.seconds / (cost.barriers + 1) < CLEAR_S
        self._is_settled = not unclear
        #: What is kept, which begins a contest, and the other number. One thread first, which no
        #: other program can slow down much.
        self._best, self._other = (1, most) if unclear else (expected, expected)
        self._left = 0 if unclear else sys.maxsize
        self._wait = WAIT_RUNS // 2
        self._is_new = True
        #: Of the number of threads kept: seconds of a run and of a unit of work; one thread's.
        self._run_s = self._unit_s = self._alone_s = 0.0
        self.listens = False
        if unclear:
            self._begin_contest()

    @property
    def is_settled(self) -> bool:
        """Whether there is nothing to choose from."""
        return self._is_settled

    def next(self) -> int:
        """The number of threads for the next run."""
        if self._left:
            self._left -= 1
            if not self._left:
                self._begin_contest()
            return self._best
        return self._tried

    def note(self, count: int, seconds: float, work: float = 1.0) -> None:
        """Learn how long a run took.

        Args:
            count: Its number of threads.
            seconds: How long.
            work: How much it did, in any unit, if runs differ in that.
        """
        if self._left:
            self._note_kept(count, seconds, work)
        elif count == self._tried:
            self._note_contest(seconds, work)

    def _count_from(self, count: int) -> None:
        """Add up runs of ``count`` threads from here."""
        self._tried, self._runs, self._spent_s, self._work = count, 0, 0.0, 0.0
        self._least_s = float("inf")

    def _add(self, seconds: float, work: float) -> None:
        self._runs += 1
        self._spent_s += seconds
        self._work += work

    def _note_kept(self, count: int, seconds: float, work: float) -> None:
        if count == 1:
            return
        if self._runs >= _MANY_RUNS or self._spent_s >= CONTEST_S:
            # Older runs count less and less.
            self._runs //= 2
            self._spent_s /= 2
            self._work /= 2
        self._add(seconds, work)
        is_telling = self._runs >= _FEW_RUNS or self._spent_s >= CONTEST_S
        if is_telling and self._spent_s > _SLOW * self._alone_s * self._work:
            # What the team takes is known by now.
            self._begin_contest()
            self._run_s, self._unit_s = seconds, seconds / work
            self._count_from(self._other)

    def _begin_contest(self) -> None:
        self._left = 0
        self.listens = True
        self._count_from(self._best)

    def _note_contest(self, seconds: float, work: float) -> None:
        self._add(seconds, work)
        self._least_s = min(self._least_s, seconds / work)
        enough = self._runs >= CONTEST_RUNS or self._spent_s >= CONTEST_S
        if self._tried == self._best:
            # A program's very first run finds nothing in the caches: it is never the only one.
            if enough and not (self._is_new and self._runs < 2):
                self._is_new = False
                self._run_s, self._unit_s = self._spent_s / self._runs, self._least_s
                self._count_from(self._other)
        elif enough or (self._runs > 1 and seconds / work > _HOPELESS * self._unit_s):
            self._decide()

    def _decide(self) -> None:
        """End the contest: the runs that were added up last are the challenger's."""
        self._alone_s = self._unit_s if self._best == 1 else self._least_s
        lost_s = self._spent_s
        team_wins = self._least_s < _WORTH * self._unit_s
        alone_wins = self._unit_s > _STILL_WORTH * self._least_s
        if team_wins if self._best == 1 else alone_wins:
            lost_s, self._run_s = self._run_s * self._runs, self._spent_s / self._runs
            self._unit_s = self._least_s
            self._best, self._other = self._other, self._best
            self._wait = max(WAIT_RUNS, self._wait // 4)
        else:
            self._wait = min(2 * self._wait, MOST_WAIT_RUNS)
        self._left = max(self._wait, int(_PATIENCE * lost_s / max(self._run_s, 1e-9)))
        self.listens = self._best > 1
        self._count_from(self._best)
