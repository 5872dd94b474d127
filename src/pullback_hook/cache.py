"""Changed modules of Keras, compiled, on disk: private to the user, checksummed.

An entry is one file: magic, SHA-256 over key and contents, the marshalled code. Byte code is
executed, so nothing is read that another user could have written; what is damaged is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import marshal
import os
import stat
import sys
import tempfile
from pathlib import Path
from types import CodeType
from typing import Final

_MAGIC: Final = b"PBKERAS1"
_DIGEST: Final = 32


def key(*parts: str) -> str:
    """Return the key of code made from ``parts`` by this Python and this version of the hook."""
    digest = hashlib.sha256(importlib.util.MAGIC_NUMBER)
    digest.update(f"{sys.implementation.cache_tag} {sys.flags.optimize}".encode())
    # What changes the module is part of the key: a changed hook never meets old code.
    for module in ("patch.py", "cache.py"):
        status = os.stat(Path(__file__).with_name(module))
        digest.update(f"{status.st_mtime_ns} {status.st_size}".encode())
    for part in parts:
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()


def lookup(key: str) -> CodeType | None:
    """Return the code stored under ``key``, or None; a damaged entry is deleted."""
    folder = directory()
    if folder is None:
        return None
    path = folder / f"{key}.keras"
    try:
        with path.open("rb") as file:
            if not _is_private(os.fstat(file.fileno())):
                return None
            code = _decode(key, file.read())
    except OSError:
        return None
    if code is None:
        with contextlib.suppress(OSError):
            path.unlink()
    return code


def store(key: str, code: CodeType) -> None:
    """Store ``code`` under ``key``, in one step; a directory that can't be written is left."""
    folder = directory()
    if folder is None:
        return
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(suffix=".tmp", dir=folder)  # readable by its owner alone
        try:
            with open(handle, "wb") as file:
                file.write(_encode(key, code))
            os.replace(name, folder / f"{key}.keras")
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise


def directory() -> Path | None:
    """The directory of entries, made if need be; None where there is none to be trusted.

    It is the one of compiled code, ``pullback.config``.
    """
    from pullback import config

    folder = config.settings().cache_dir
    if folder is None:
        return None
    try:
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder if _is_private(folder.stat()) else None
    except OSError:
        return None


def _is_private(status: os.stat_result) -> bool:
    """Whether only this user can have written it."""
    if os.name == "nt":  # profiles on Windows are private by their access lists
        return True
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)


def _encode(key: str, code: CodeType) -> bytes:
    data = marshal.dumps(code)
    return _MAGIC + hashlib.sha256(key.encode() + data).digest() + data


def _decode(key: str, entry: bytes) -> CodeType | None:
    magic, rest = entry[: len(_MAGIC)], entry[len(_MAGIC) :]
    digest, data = rest[:_DIGEST], rest[_DIGEST:]
    if magic != _MAGIC or digest != hashlib.sha256(key.encode() + data).digest():
        return None
    try:
        code = marshal.loads(data)
    except (EOFError, ValueError, TypeError):
        return None
    return code if isinstance(code, CodeType) else None
