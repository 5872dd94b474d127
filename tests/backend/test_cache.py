"""The code cache: what it returns, and everything that may be wrong with a directory or file."""

from __future__ import annotations

import errno
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pullback import config
from pullback.backend.llvm import cache
from pullback.backend.llvm.cache import Cache, CacheWarning, cache_key

KEY = cache_key("program", "target")
CODE = bytes(range(256)) * 40
META = {"symbols": ["f"], "bytes": 10240}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "new" / "cache"


@pytest.fixture
def stored(directory: Path) -> Path:
    """The file of one good entry."""
    Cache(directory).store(KEY, CODE, META)
    return directory / f"{KEY}.code"


def test_store_then_lookup_round_trips(directory: Path, stored: Path) -> None:
    assert Cache(directory).lookup(KEY) == (CODE, META)
    assert Cache(directory).lookup(cache_key("other")) is None


def test_directory_and_files_are_private(directory: Path, stored: Path) -> None:
    assert directory.stat().st_mode & 0o777 == 0o700
    assert stored.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in directory.iterdir()] == [stored.name]


def test_lookup_in_a_missing_directory_is_a_silent_miss(directory: Path) -> None:
    assert Cache(directory).lookup(KEY) is None
    assert not directory.exists()


def test_store_replaces(directory: Path, stored: Path) -> None:
    Cache(directory).store(KEY, b"new", {})

    assert Cache(directory).lookup(KEY) == (b"new", {})


def flip(position: int) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        i = position % len(data)
        return data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :]

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: b"ELF" + data,
        flip(0),  # magic
        flip(8),  # version
        flip(12),  # length of the metadata
        flip(16),  # length of the code
        flip(30),  # checksum
        flip(58),  # metadata
        flip(-1),  # code
    ],
    ids=[
        *("empty", "header cut", "tail cut", "tail added", "other file"),
        *("magic", "version", "metadata length", "code length", "checksum", "metadata", "code"),
    ],
)
def test_damaged_entry_is_a_miss_and_is_deleted(
    directory: Path, stored: Path, damage: Callable[[bytes], bytes]
) -> None:
    stored.write_bytes(damage(stored.read_bytes()))

    assert Cache(directory).lookup(KEY) is None
    assert not stored.exists()


def test_entry_under_a_foreign_name_is_not_used(directory: Path, stored: Path) -> None:
    """The checksum covers the key: a good entry must not stand in for another program."""
    other = cache_key("other")
    stored.rename(directory / f"{other}.code")

    assert Cache(directory).lookup(other) is None


def test_metadata_that_is_no_object_is_a_miss(directory: Path, stored: Path) -> None:
    stored.write_bytes(cache._encode(KEY, CODE, ["list"]))  # type: ignore[arg-type]

    assert Cache(directory).lookup(KEY) is None


def test_entry_that_others_may_write_is_not_read(directory: Path, stored: Path) -> None:
    stored.chmod(0o666)

    assert Cache(directory).lookup(KEY) is None
    assert not stored.exists()


def test_symbolic_link_is_not_followed(directory: Path, stored: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    stored.rename(real)
    stored.symlink_to(real)

    with pytest.warns(CacheWarning, match="can't read"):
        assert Cache(directory).lookup(KEY) is None


def test_directory_open_to_others_is_not_trusted(directory: Path, stored: Path) -> None:
    directory.chmod(0o755)
    opened = Cache(directory)

    with pytest.warns(CacheWarning, match="chmod 700"):
        assert opened.lookup(KEY) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the second time is silent
        assert opened.lookup(KEY) is None
        opened.store(cache_key("other"), CODE, META)
    assert len(list(directory.iterdir())) == 1


def test_directory_of_another_user_is_not_trusted(
    directory: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    with pytest.warns(CacheWarning, match="another user"):
        assert Cache(directory).lookup(KEY) is None
    assert stored.exists()


def test_file_of_another_user_is_not_read(
    directory: Path, stored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Cache, "_is_trusted", lambda self: True)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)

    assert Cache(directory).lookup(KEY) is None


def test_path_that_is_a_file_warns_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    broken = Cache(path)

    with pytest.warns(CacheWarning, match="not a directory"):
        broken.store(KEY, CODE, META)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert broken.lookup(KEY) is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_failing_write_warns_once_leaves_nothing_and_reads_go_on(
    directory: Path, stored: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: Any) -> int:
        raise OSError(code, os.strerror(code))

    full = Cache(directory)
    monkeypatch.setattr(os, "write", fail)

    with pytest.warns(CacheWarning, match=os.strerror(code)):
        full.store(cache_key("other"), CODE, META)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full.store(cache_key("third"), CODE, META)

    assert [p.name for p in directory.iterdir()] == [stored.name]
    assert full.lookup(KEY) == (CODE, META)


def test_short_writes_are_continued(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:100])))

    Cache(directory).store(KEY, CODE, META)

    assert Cache(directory).lookup(KEY) == (CODE, META)


def test_unwritable_parent_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "refused")

    monkeypatch.setattr(os, "mkdir", refuse)

    with pytest.warns(CacheWarning, match="refused"):
        Cache(tmp_path / "no").store(KEY, CODE, META)


def test_interrupted_write_leaves_no_file(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "write", interrupt)

    with pytest.raises(KeyboardInterrupt):
        Cache(directory).store(KEY, CODE, META)
    assert list(directory.iterdir()) == []


def test_oldest_entries_go_when_the_limit_is_passed(directory: Path) -> None:
    writer = Cache(directory)
    keys = [cache_key(str(i)) for i in range(6)]
    for age, key in enumerate(keys):
        writer.store(key, CODE, META)
        when = time.time() - 1000 * age
        os.utime(directory / f"{key}.code", (when, when))

    Cache(directory, limit_bytes=3 * (len(CODE) + 200)).store(KEY, CODE, META)

    left = {k for k in keys if (directory / f"{k}.code").exists()}
    assert set(keys[:3]) == left
    assert Cache(directory).lookup(KEY) is not None


def test_old_leftovers_go_young_ones_and_foreign_files_stay(directory: Path, stored: Path) -> None:
    for name, age in (("a.tmp", 9000), ("b.tmp", 10), ("notes.txt", 9000)):
        (directory / name).write_text("x")
        os.utime(directory / name, (time.time() - age, time.time() - age))

    Cache(directory).store(cache_key("other"), CODE, META)

    names = {p.name for p in directory.iterdir()}
    assert {"b.tmp", "notes.txt", stored.name} <= names
    assert "a.tmp" not in names


def test_access_is_noted_for_eviction(directory: Path, stored: Path) -> None:
    old = time.time() - 1e6
    os.utime(stored, (old, old))

    Cache(directory).lookup(KEY)

    assert stored.stat().st_atime > old + 9e5
    assert stored.stat().st_mtime == pytest.approx(old)


def test_clear_deletes_entries_alone(directory: Path, stored: Path) -> None:
    (directory / "notes.txt").write_text("x")

    Cache(directory).clear()

    assert [p.name for p in directory.iterdir()] == ["notes.txt"]
    Cache(directory / "missing").clear()


@pytest.mark.parametrize("key", ["", "../../etc/passwd", KEY.upper(), KEY + "0"])
def test_key_that_is_no_digest_is_refused(directory: Path, key: str) -> None:
    with pytest.raises(ValueError, match="cache_key"):
        Cache(directory).lookup(key)


def test_keys_differ_where_the_parts_differ() -> None:
    keys = {cache_key("ab"), cache_key("a", "b"), cache_key("", "ab"), cache_key("ab", "")}

    assert len(keys) == 4
    assert cache_key("a", "b") == cache_key("a", "b")


def test_key_depends_on_the_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    source = tmp_path / "sub" / "emit.py"
    source.write_text("a = 1")
    monkeypatch.setattr(cache, "_PACKAGE", tmp_path)
    cache._generator_digest.cache_clear()
    before = cache_key("x")

    source.write_text("a = 22")
    cache._generator_digest.cache_clear()
    after = cache_key("x")
    monkeypatch.undo()
    cache._generator_digest.cache_clear()

    assert before != after


def test_functions_follow_the_configuration(directory: Path) -> None:
    with config.override(cache_dir=directory):
        cache.store(KEY, CODE, META)
        assert cache.lookup(KEY) == (CODE, META)
        cache.clear()
        assert cache.lookup(KEY) is None
    with config.override(cache_dir="off"):
        cache.store(KEY, CODE, META)
        assert cache.lookup(KEY) is None
        cache.clear()
