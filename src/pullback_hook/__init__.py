"""How Keras 3 finds the backend ``pullback``: a finder in ``sys.meta_path``.

Every start of Python runs ``install`` (``pullback_hook.pth``), so this module imports nothing that
the interpreter has not loaded already, neither ``pullback`` nor Keras. Start reading at
``KerasFinder``; what it does to Keras is in ``patch``.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing is not loaded at the start of Python
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

#: The name that Keras knows the backend by.
BACKEND = "pullback"
#: Set to ``off``, this variable keeps the hook out of Keras altogether.
SWITCH = "PULLBACK_KERAS_HOOK"
_ROOT = "keras"


class KerasFinder:
    """Finds nothing itself: changes the loaders of a few modules of Keras, when asked to.

    Reacts to the import of ``keras`` alone. Where ``pullback`` is then the chosen backend, it asks
    ``patch`` which modules of this version need another loader.
    """

    def __init__(self) -> None:
        self._loaders: dict[str, Any] = {}
        self._busy = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec with a loader of ours for a module that must be changed, else None."""
        if name == _ROOT and not self._busy:
            self._loaders = {}
            if is_enabled() and chosen_backend() == BACKEND:
                self._prepare()
            return None
        if name not in self._loaders:
            return None
        spec: ModuleSpec = self._loaders[name](name, path, target)
        return spec

    def _prepare(self) -> None:
        from pullback_hook import patch

        self._busy = True  # looking for Keras asks this finder again
        try:
            self._loaders = patch.plan()
        finally:
            self._busy = False


def install() -> bool:
    """Put the finder in place, once; return whether it is in place (not when switched off)."""
    if not is_enabled():
        return False
    # By name: keras.config.set_backend() may have had modules loaded a second time.
    if not any(type(finder).__name__ == KerasFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, KerasFinder())
    return True


def is_enabled() -> bool:
    """Whether the environment leaves the hook on."""
    return os.environ.get(SWITCH, "").strip().lower() not in {"off", "0", "false", "no"}


def chosen_backend() -> str | None:
    """The backend that Keras will choose: ``KERAS_BACKEND``, else what ``keras.json`` says."""
    return os.environ.get("KERAS_BACKEND") or _configured_backend()


def _configured_backend() -> str | None:
    """The backend named in ``keras.json``; None when there is no such file or no such entry."""
    home = os.environ.get("KERAS_HOME")
    if home is None:  # in the order that Keras looks
        user = os.path.expanduser("~")
        home = os.path.join(user if os.access(user, os.W_OK) else "/tmp", ".keras")
    path = os.path.expanduser(os.path.join(home, "keras.json"))
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if BACKEND not in text:
            return None  # some other backend: spares every other program the import of json
        import json

        name = json.loads(text).get("backend")
    except (OSError, ValueError, AttributeError):
        return None
    return name if isinstance(name, str) else None
