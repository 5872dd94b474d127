"""Settings of the process: threads, code cache, target, verification.

Imports ``errors`` alone; every layer may read it. Start reading at ``Settings``.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from pullback.errors import ConfigurationError
from pullback.records import dataclass

MAX_THREADS: Final = 1024
TARGETS: Final = ("auto", "avx512", "avx2", "generic")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings in force.

    Attributes:
        threads: Threads that a compiled program may use at most. Environment
            ``PULLBACK_THREADS``: ``auto`` (the processors this process may run on) or 1..1024.
        cache_dir: Directory of compiled code, or None for no cache on disk. Environment
            ``PULLBACK_CACHE_DIR``: a path, or ``off`` or empty for none; by default the platform's
            directory for caches.
        target: Instruction set to compile for. Environment ``PULLBACK_TARGET``: ``auto`` (the best
            that the processor has), ``avx512``, ``avx2`` or ``generic``.
        verify: Check every program after every pass. Environment ``PULLBACK_VERIFY``: 0 or 1.
    """

    threads: int
    cache_dir: Path | None
    target: str
    verify: bool


def settings() -> Settings:
    """Return the settings in force in this thread and context.

    Raises:
        ConfigurationError: an environment variable has a value outside its range.
    """
    return _override.get() or _updated or _from_environment()


def update(**changes: Any) -> None:
    """Change settings for the whole process, for example ``update(threads=2, cache_dir="off")``.

    Args:
        **changes: ``threads``, ``cache_dir``, ``target``, ``verify``; values as ``Settings`` says,
            numbers and paths also as such.

    Raises:
        ConfigurationError: a name is not a setting, or a value is outside its range.
    """
    global _updated
    _updated = _changed(_updated or _from_environment(), changes)


@contextlib.contextmanager
def override(**changes: Any) -> Iterator[Settings]:
    """Change settings inside a ``with`` block, in this thread and context alone.

    Raises:
        ConfigurationError: a name is not a setting, or a value is outside its range.

    Example:
        >>> with override(threads=1):
        ...     settings().threads
        1
    """
    token = _override.set(_changed(settings(), changes))
    try:
        yield settings()
    finally:
        _override.reset(token)


def reset() -> None:
    """Forget ``update`` and read the environment again."""
    global _updated
    _updated = None
    _from_environment.cache_clear()


def available_processors() -> int:
    """Number of processors that this process may use: its affinity, cut to its cgroup's quota."""
    try:
        count = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        count = os.cpu_count() or 1
    return max(1, min(count, _quota(Path("/sys/fs/cgroup/cpu.max"))))


def _quota(path: Path) -> int:
    """Whole processors that a container's ``cpu.max`` grants; many when there is no limit."""
    try:
        limit, period = path.read_text().split()
        return max(1, round(int(limit) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        return MAX_THREADS


_override: ContextVar[Settings | None] = ContextVar("pullback_settings", default=None)
_updated: Settings | None = None


@functools.cache
def _from_environment() -> Settings:
    values = {}
    for name, read in _READERS.items():
        variable = f"PULLBACK_{name.upper()}"
        try:
            values[name] = read(os.environ.get(variable, _DEFAULTS[name]))
        except ValueError as error:
            raise ConfigurationError(f"environment variable {variable}: {error}") from None
    return Settings(**values)


def _changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    values = {}
    for name, value in changes.items():
        if name not in _READERS:
            known = ", ".join(_READERS)
            raise ConfigurationError(f"{name!r} is not a setting; the settings are {known}")
        try:
            values[name] = _READERS[name](value)
        except ValueError as error:
            raise ConfigurationError(f"setting {name!r}: {error}") from None
    return replace(settings, **values)


def _read_threads(value: Any) -> int:
    if isinstance(value, str) and value.strip().lower() in ("", "auto"):
        return min(available_processors(), MAX_THREADS)
    try:
        count = int(value) if isinstance(value, str) else _integer(value)
    except (TypeError, ValueError):
        count = 0
    if not 1 <= count <= MAX_THREADS:
        raise ValueError(f"got {value!r}, expected 'auto' or an integer in 1..{MAX_THREADS}")
    return count


def _integer(value: Any) -> int:
    if isinstance(value, bool):
        raise TypeError
    return operator.index(value)


def _read_cache_dir(value: Any) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"got {value!r}, expected a path, 'auto', or 'off' for no cache")
    text = os.fspath(value)
    if not isinstance(text, str) or "\0" in text:
        raise ValueError(f"got {value!r}, expected a path of text without zero characters")
    if text.strip().lower() in ("", "off"):
        return None
    if text == "auto":
        return _default_cache_dir()
    return _absolute(text)


def _absolute(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError) as error:
        raise ValueError(f"got {text!r}, which has no absolute form ({error})") from None


def _default_cache_dir() -> Path | None:
    """The platform's directory for this user's caches; None for a user without a home."""
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "pullback"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "")
        return Path(base or home / "AppData" / "Local") / "pullback" / "cache"
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    return (Path(base) if os.path.isabs(base) else home / ".cache") / "pullback"


def _read_target(value: Any) -> str:
    name = (value.strip().lower() or "auto") if isinstance(value, str) else value
    if name not in TARGETS:
        raise ValueError(f"got {value!r}, expected one of {', '.join(TARGETS)}")
    return str(name)


def _read_verify(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"": False, "0": False, "false": False, "1": True, "true": True}
    key = str(value).strip().lower()
    if key not in known:
        raise ValueError(f"got {value!r}, expected 0 or 1")
    return known[key]


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "threads": _read_threads,
    "cache_dir": _read_cache_dir,
    "target": _read_target,
    "verify": _read_verify,
}
_DEFAULTS: Final = {"threads": "auto", "cache_dir": "auto", "target": "auto", "verify": "0"}
