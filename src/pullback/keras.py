"""The door from Keras 3: ``import pullback.keras`` before ``import keras`` chooses this backend.

Also ``python -m pullback.keras train.py`` and ``python -m pytest -p pullback.keras``. Imports no
Keras; how Keras finds the backend is in ``pullback_hook``, and docs/explanation/keras.md explains.
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any

import pullback_hook
from pullback_hook import BACKEND, SWITCH

_USAGE = "usage: python -m pullback.keras (script.py | -m module) [argument ...]\n"


def install() -> None:
    """Choose ``pullback`` as backend of Keras, unless ``KERAS_BACKEND`` chooses another.

    Does nothing when ``PULLBACK_KERAS_HOOK=off``.

    Raises:
        KerasHookError: Keras was imported before, with another backend.
    """
    if not pullback_hook.install():
        return
    if not os.environ.get("KERAS_BACKEND"):
        os.environ["KERAS_BACKEND"] = BACKEND
    loaded = _loaded_backend()
    if loaded not in {None, os.environ["KERAS_BACKEND"]}:
        from pullback_hook.patch import KerasHookError

        raise KerasHookError(
            f"Keras is imported already, with the backend {loaded}, and cannot change it. Import "
            "pullback.keras before keras and before whatever imports keras, or set "
            f"KERAS_BACKEND={BACKEND} in the environment, or run: "
            "python -m pullback.keras train.py"
        )


def _loaded_backend() -> str | None:
    """The backend of the Keras that is imported; None when it is not."""
    config: Any = sys.modules.get("keras.src.backend.config")
    if config is None:
        return None if "keras" not in sys.modules else "of an untested Keras"
    return str(config.backend())


def main(arguments: list[str]) -> None:
    """Run a script or a module as ``python`` would, with ``pullback`` as backend of Keras."""
    if arguments[:1] == ["-m"] and len(arguments) > 1:
        sys.path.insert(0, os.getcwd())
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments and not arguments[0].startswith("-"):
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        sys.stderr.write(_USAGE)
        sys.exit(2)


install()

if __name__ == "__main__":
    if not pullback_hook.is_enabled():
        sys.stderr.write(f"{SWITCH} switches the hook off; unset it to run Keras on {BACKEND}\n")
        sys.exit(2)
    main(sys.argv[1:])
