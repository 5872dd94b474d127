"""Compiled code on disk: private to the user, checksummed, replaced atomically.

Imports ``config`` and ``errors``. Start reading at ``lookup`` and ``store``.

An entry is one file: magic, format version, lengths, a SHA-256 over the key and the contents, the
metadata as JSON, the object code. Entries are machine code that will be executed, so a directory
or file that another user could have written is never read, and a damaged entry is deleted.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import re
import secrets
import stat
import struct
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import llvmlite
import llvmlite.binding as llvm

from pullback import config
from pullback.version import __version__

CACHE_BYTES: Final = 512 << 20
ENTRY_BYTES: Final = 256 << 20
_PACKAGE: Final = Path(__file__).resolve().parents[2]
_MAGIC: Final = b"PULLBACK"
_VERSION: Final = 1
_HEADER: Final = struct.Struct("<8sIIQ32s")  # magic, version, metadata bytes, object bytes, digest
_SUFFIX: Final = ".code"
_TEMPORARY: Final = ".tmp"
_STALE_S: Final = 3600.0
_KEY: Final = re.compile(r"[0-9a-f]{64}")


class CacheWarning(UserWarning):
    """The code cache can't be used; programs are compiled anew in every process."""


def cache_key(*parts: str) -> str:
    """Return the key of code made from ``parts``: program text, target, options.

    The versions of pullback, llvmlite and LLVM and the state of pullback's own sources are part of
    every key, so that a changed code generator never meets old code.
    """
    digest = hashlib.sha256(_generator_digest())
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def lookup(key: str) -> tuple[bytes, dict[str, Any]] | None:
    """Return the object code and metadata stored under ``key``, or None.

    Cost: one ``stat``, one read and one SHA-256 of the entry.
    """
    cache = _current()
    return cache.lookup(key) if cache else None


def store(key: str, code: bytes, metadata: dict[str, Any]) -> None:
    """Store object code under ``key``. A cache that can't be written warns once and is left."""
    cache = _current()
    if cache:
        cache.store(key, code, metadata)


def clear() -> None:
    """Delete every entry of the configured cache directory."""
    cache = _current()
    if cache:
        cache.clear()


def _current() -> Cache | None:
    directory = config.settings().cache_dir
    return None if directory is None else _cache_of(directory)


@functools.cache
def _cache_of(directory: Path) -> Cache:
    return Cache(directory)


class Cache:
    """The entries of one directory."""

    def __init__(self, directory: Path, limit_bytes: int = CACHE_BYTES) -> None:
        self.directory = directory
        self.limit_bytes = limit_bytes
        self._writable = True
        self._warned = False
        self._swept = False

    def lookup(self, key: str) -> tuple[bytes, dict[str, Any]] | None:
        """See the function ``lookup``."""
        path = self._path(key)
        try:
            if not self._is_trusted():
                return None
            data = _read_private(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(f"can't read {path.name}: {error}")
            return None
        entry = None if data is None else _decode(key, data)
        if entry is None:
            with contextlib.suppress(OSError):
                path.unlink()
        return entry

    def store(self, key: str, code: bytes, metadata: dict[str, Any]) -> None:
        """See the function ``store``."""
        path = self._path(key)
        if not self._writable:
            return
        try:
            self._create()
            if not self._is_trusted():
                return
            self._sweep_once()
            _write_atomically(path, _encode(key, code, metadata))
        except OSError as error:
            self._writable = False
            self._warn(f"can't write to it: {error}")

    def clear(self) -> None:
        """Delete every entry and leftover file of the cache."""
        with contextlib.suppress(FileNotFoundError):
            if self._is_trusted():
                for item in self._entries():
                    _unlink(item.path)

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise ValueError(f"cache key {key!r} is not 64 hexadecimal digits; use cache_key()")
        return self.directory / f"{key}{_SUFFIX}"

    def _create(self) -> None:
        if not self.directory.exists():
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.directory.mkdir(mode=0o700)

    def _is_trusted(self) -> bool:
        """Whether only this user can write here; warns once if not."""
        status = os.stat(self.directory)
        if not stat.S_ISDIR(status.st_mode):
            self._warn("it is not a directory")
            return False
        if os.name == "nt":  # profiles on Windows are private by their access lists
            return True
        if status.st_uid != os.geteuid():
            self._warn("it belongs to another user")
            return False
        if status.st_mode & 0o077:
            self._warn("other users may access it; make it private with chmod 700")
            return False
        return True

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"the code cache {self.directory} is not used: {reason}. Set PULLBACK_CACHE_DIR "
                "to a private directory, or to 'off'.",
                CacheWarning,
                stacklevel=4,
            )

    def _entries(self) -> Iterator[os.DirEntry[str]]:
        with os.scandir(self.directory) as items:
            yield from (i for i in items if i.name.endswith((_SUFFIX, _TEMPORARY)))

    def _sweep_once(self) -> None:
        """Delete leftovers of killed processes, and the entries used longest ago over the limit."""
        if self._swept:
            return
        self._swept = True
        entries = []
        for item in self._entries():
            with contextlib.suppress(FileNotFoundError):
                status = item.stat(follow_symlinks=False)
                if item.name.endswith(_SUFFIX):
                    entries.append((status.st_atime, status.st_size, item.path))
                elif time.time() - status.st_mtime > _STALE_S:
                    _unlink(item.path)
        total = sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self.limit_bytes:
                break
            _unlink(path)
            total -= size


def _unlink(path: str | Path) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


def _read_private(path: Path) -> bytes | None:
    """The bytes of a regular file of this user; None when it could be anybody else's."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > ENTRY_BYTES:
            return None
        if os.name != "nt" and (status.st_uid != os.geteuid() or status.st_mode & 0o022):
            return None
        data = file.read(ENTRY_BYTES)
        _touch(file.fileno(), status)
    return data


def _touch(descriptor: int, status: os.stat_result) -> None:
    """Note the access for eviction: file systems mounted ``noatime`` don't."""
    now = time.time()
    if now - status.st_atime > _STALE_S and os.utime in os.supports_fd:
        with contextlib.suppress(OSError):
            os.utime(descriptor, (now, status.st_mtime))


def _encode(key: str, code: bytes, metadata: dict[str, Any]) -> bytes:
    text = json.dumps(metadata, separators=(",", ":")).encode()
    digest = _checksum(key, text, code)
    return _HEADER.pack(_MAGIC, _VERSION, len(text), len(code), digest) + text + code


def _decode(key: str, data: bytes) -> tuple[bytes, dict[str, Any]] | None:
    """The contents of an entry, or None when anything about it is wrong."""
    if len(data) < _HEADER.size:
        return None
    magic, version, text_bytes, code_bytes, digest = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        return None
    if len(data) != _HEADER.size + text_bytes + code_bytes:
        return None
    text = data[_HEADER.size : _HEADER.size + text_bytes]
    code = data[_HEADER.size + text_bytes :]
    if digest != _checksum(key, text, code):
        return None
    metadata = json.loads(text)
    return (code, metadata) if isinstance(metadata, dict) else None


def _checksum(key: str, text: bytes, code: bytes) -> bytes:
    digest = hashlib.sha256(key.encode())
    digest.update(len(text).to_bytes(8, "little"))
    digest.update(text)
    digest.update(code)
    return digest.digest()


def _write_atomically(path: Path, data: bytes) -> None:
    temporary = path.with_name(f"{path.stem[:16]}-{os.getpid()}-{secrets.token_hex(8)}{_TEMPORARY}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    descriptor = os.open(temporary, flags | getattr(os, "O_BINARY", 0), 0o600)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        _unlink(temporary)
        raise


@functools.cache
def _generator_digest() -> bytes:
    """What makes the code besides the program: versions, and pullback's sources."""
    versions = f"{__version__} {llvmlite.__version__} {llvm.llvm_version_info}"
    digest = hashlib.sha256(versions.encode())
    for line in sorted(_source_states(_PACKAGE)):
        digest.update(line.encode())
    return digest.digest()


def _source_states(directory: Path) -> Iterator[str]:
    """Path, size and modification time of every source file; nothing for a zipped package."""
    if not directory.is_dir():
        return
    with os.scandir(directory) as items:
        for item in items:
            if item.is_dir():
                if item.name != "__pycache__":
                    yield from _source_states(Path(item.path))
            elif item.name.endswith(".py"):
                status = item.stat()
                yield f"{item.path}\0{status.st_size}\0{status.st_mtime_ns}\n"
