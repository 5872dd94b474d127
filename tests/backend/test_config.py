"""Settings: environment, Python, validation."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pullback import config
from pullback.errors import ConfigurationError

VARIABLES = ("PULLBACK_THREADS", "PULLBACK_CACHE_DIR", "PULLBACK_TARGET", "PULLBACK_VERIFY")


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    config.reset()
    yield
    config.reset()


def test_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")

    settings = config.settings()

    assert config.available_processors() == settings.threads
    assert tmp_path / "pullback" == settings.cache_dir
    assert (settings.target, settings.verify) == ("auto", False)


def test_relative_xdg_directory_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")

    assert config.settings().cache_dir == tmp_path / ".cache" / "pullback"


@pytest.mark.parametrize(
    ("variable", "text", "field", "expected"),
    [
        ("PULLBACK_THREADS", "3", "threads", 3),
        ("PULLBACK_THREADS", " 1024 ", "threads", 1024),
        ("PULLBACK_CACHE_DIR", "", "cache_dir", None),
        ("PULLBACK_CACHE_DIR", "off", "cache_dir", None),
        ("PULLBACK_CACHE_DIR", "/x/y", "cache_dir", Path("/x/y")),
        ("PULLBACK_TARGET", "AVX2", "target", "avx2"),
        ("PULLBACK_TARGET", "", "target", "auto"),
        ("PULLBACK_VERIFY", "1", "verify", True),
        ("PULLBACK_VERIFY", "false", "verify", False),
    ],
)
def test_environment(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, field: str, expected: Any
) -> None:
    monkeypatch.setenv(variable, text)

    assert expected == getattr(config.settings(), field)


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("PULLBACK_THREADS", "0", "1..1024"),
        ("PULLBACK_THREADS", "many", "1..1024"),
        ("PULLBACK_THREADS", "1025", "1..1024"),
        ("PULLBACK_TARGET", "sse", "avx512, avx2, generic"),
        ("PULLBACK_VERIFY", "yes please", "0 or 1"),
        ("PULLBACK_CACHE_DIR", "~no_such_user_here/x", "no absolute form"),
    ],
)
def test_invalid_environment_names_variable_and_range_each_time(
    monkeypatch: pytest.MonkeyPatch, variable: str, text: str, expected: str
) -> None:
    monkeypatch.setenv(variable, text)

    for _ in range(2):
        with pytest.raises(ConfigurationError, match=expected) as caught:
            config.settings()
        assert variable in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"threads": 0}, "'threads'.*1..1024"),
        ({"threads": True}, "'threads'.*1..1024"),
        ({"threads": 2.0}, "'threads'.*1..1024"),
        ({"target": "neon"}, "'target'.*avx512"),
        ({"target": ["avx2"]}, "'target'.*avx512"),
        ({"verify": 7}, "'verify'.*0 or 1"),
        ({"cache_dir": 7}, "'cache_dir'.*path"),
        ({"cache_dir": "a\0b"}, "'cache_dir'.*path"),
        ({"thread": 2}, "'thread' is not a setting.*threads, cache_dir"),
    ],
)
def test_update_refuses_values_outside_their_range(changes: dict[str, Any], expected: str) -> None:
    before = config.settings()

    with pytest.raises(ConfigurationError, match=expected):
        config.update(**changes)

    assert before == config.settings()


def test_update_is_seen_by_all_threads_and_reset_forgets_it() -> None:
    seen = []
    config.update(threads=3, cache_dir=None)

    worker = threading.Thread(target=lambda: seen.append(config.settings()))
    worker.start()
    worker.join()

    assert (seen[0].threads, seen[0].cache_dir) == (3, None)
    config.reset()
    assert config.settings().threads == config.available_processors()


def test_override_ends_with_its_block_and_stays_in_its_thread() -> None:
    before = config.settings()
    seen = []

    with config.override(threads=5, verify=True) as inside:
        worker = threading.Thread(target=lambda: seen.append(config.settings()))
        worker.start()
        worker.join()
        with config.override(threads=6):
            assert config.settings().threads == 6
            assert config.settings().verify is True
        assert config.settings() == inside

    assert inside.threads == 5
    assert seen == [before]
    assert before == config.settings()


def test_override_ends_when_the_block_raises() -> None:
    before = config.settings()

    with pytest.raises(ZeroDivisionError), config.override(threads=5):
        _ = 1 // 0

    assert before == config.settings()


def test_relative_cache_directory_becomes_absolute() -> None:
    with config.override(cache_dir="here"):
        assert config.settings().cache_dir == Path.cwd() / "here"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("200000 100000", 2), ("50000 100000", 1), ("max 100000", config.MAX_THREADS), ("", 1024)],
)
def test_container_quota_bounds_processors(tmp_path: Path, text: str, expected: int) -> None:
    (tmp_path / "cpu.max").write_text(text)

    assert expected == config._quota(tmp_path / "cpu.max")
