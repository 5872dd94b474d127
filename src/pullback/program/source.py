"""Where an equation came from: the user's line, the layer path, and the rule that made it.

Imports nothing of pullback. Every transformation keeps these two records.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from pullback.records import dataclass

_PACKAGE_ROOTS = (
    str(Path(__file__).resolve().parent.parent),
    str(Path(__file__).resolve().parent.parent.parent / "keras_pullback"),
)


@dataclass(frozen=True, slots=True)
class Source:
    """The user's own line that asked for an equation, and the layer path it was in."""

    file: str
    line: int
    function: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        where = f"{Path(self.file).name}:{self.line}"
        return f"{'/'.join(self.path)} {where}" if self.path else where


@dataclass(frozen=True, slots=True)
class Origin:
    """The rule that made an equation, and the key and primitive of the equation it was made for.

    ``str(Origin("vjp", 12, "tanh"))`` is ``vjp of #12 tanh``.
    """

    rule: str
    key: int
    primitive: str

    def __str__(self) -> str:
        return f"{self.rule} of #{self.key} {self.primitive}"


class _State(threading.local):
    """Per-thread overrides that a transformation sets while it makes equations."""

    origin: Origin | None = None
    source: Source | None = None
    path: tuple[str, ...] = ()


_state = _State()


def current_origin() -> Origin | None:
    """Return the origin that new equations get in this thread."""
    return _state.origin


def current_source() -> Source | None:
    """Return the inherited source if a transformation set one, else the user's calling line."""
    if _state.source is not None:
        return _state.source
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE_ROOTS) and not file.startswith("<"):
            return Source(file, frame.f_lineno, frame.f_code.co_name, _state.path)
        frame = frame.f_back  # type: ignore[assignment]
    return None


@contextlib.contextmanager
def provenance(origin: Origin | None, source: Source | None) -> Iterator[None]:
    """Give every equation made inside this block the given origin and source."""
    before = _state.origin, _state.source
    _state.origin, _state.source = origin, source
    try:
        yield
    finally:
        _state.origin, _state.source = before


@contextlib.contextmanager
def layer_path(*names: str) -> Iterator[None]:
    """Append ``names`` to the layer path of every equation traced inside this block."""
    before = _state.path
    _state.path = (*before, *names)
    try:
        yield
    finally:
        _state.path = before
