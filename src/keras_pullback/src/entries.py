"""Programs of what is called by hand: made at the second use, void when something was changed.

Imports ``layer``; ``model_calls`` and ``optimizer`` use it. Start at ``Entries``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final

from keras_pullback.src.layer import CHANGES

#: So many programs are made, and so often anew after changes.
MOST_ENTRIES: Final = 32
MOST_CHANGES: Final = 8

#: In place of a program: there was one use; or Keras's own way is taken for good.
_SEEN: Any = "seen"
_EAGER: Any = "eager"


class Entries:
    """The programs of one model or optimizer, by what they are made for.

    The first use runs as Keras has it, for many are the only one. The second makes the program.
    Whoever changes an attribute of what the programs belong to makes all of them void, and after
    too many changes none is made any more.
    """

    def __init__(self) -> None:
        self._programs: dict[Hashable, Any] = {}
        #: Attributes of each object that counts its changes; their number when it was looked at.
        self._watched: list[tuple[dict[str, Any], int | None]] = []
        self._changes = 0

    @property
    def is_stale(self) -> bool:
        """Whether an object was changed since it was looked at, or none ever was."""
        for attributes, count in self._watched:
            if attributes.get(CHANGES) != count:
                return True
        return not self._watched

    @property
    def programs(self) -> list[Any]:
        """Those that there are."""
        return [p for p in self._programs.values() if p is not _SEEN and p is not _EAGER]

    @property
    def attributes(self) -> Iterable[dict[str, Any]]:
        """Those of each object, as they are now."""
        return [attributes for attributes, _ in self._watched]

    def forget(self) -> bool:
        """Drop all programs and objects; return whether it is worth making others."""
        if self._watched:
            self._changes += 1
        self._programs.clear()
        self._watched = []
        return self._changes <= MOST_CHANGES

    def watch(self, objects: Iterable[Any]) -> None:
        """From now on, a change of one of these objects makes the programs void."""
        self._watched = [(x.__dict__, x.__dict__.get(CHANGES)) for x in objects]

    def program(self, key: Hashable, make: Callable[[], Any], at_once: bool = False) -> Any:
        """The program for ``key``; None where Keras's own way must be taken.

        Args:
            key: What it is made for.
            make: Makes it; returns None where none can be made.
            at_once: The first use makes it too.
        """
        entry = self._programs.get(key)
        if entry is None and not at_once:
            self._programs[key] = _SEEN if len(self._programs) < MOST_ENTRIES else _EAGER
            return None
        if entry is None or entry is _SEEN:
            entry = make() or _EAGER
            self._programs[key] = entry
        return None if entry is _EAGER else entry

    def refuse(self, key: Hashable) -> None:
        """Take Keras's own way for ``key`` from now on."""
        self._programs[key] = _EAGER

    def begin_anew(self, key: Hashable) -> None:
        """What the program for ``key`` alone depends on was changed: the next use makes another."""
        self._changes += 1
        self._programs[key] = _SEEN if self._changes <= MOST_CHANGES else _EAGER
