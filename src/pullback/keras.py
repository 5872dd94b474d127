"""Keras 3 on this backend: the namespace ``tf.keras``, and the choice of the backend.

``import pullback.keras`` before ``import keras`` chooses the backend, as do
``python -m pullback.keras train.py`` and ``python -m pytest -p pullback.keras``. It imports no
Keras until a name is asked of it; ``pullback.keras.layers`` is ``keras.layers`` then, itself. How
Keras finds the backend is in ``pullback_hook``, and docs/explanation/keras.md explains.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import runpy
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pullback_hook
from pullback_hook import BACKEND, SWITCH

_USAGE = "usage: python -m pullback.keras (script.py | -m module) [argument ...]\n"

_STOCK = "keras"
_NAME = "pullback.keras"

#: That this module has submodules; ``AliasFinder`` finds them.
__path__: list[str] = []


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
        return None if _STOCK not in sys.modules else "of an untested Keras"
    return str(config.backend())


def __getattr__(name: str) -> Any:
    """A name of Keras, which is imported when the first is asked for."""
    stock = sys.modules.get(_STOCK)
    if stock is None and name in _names():
        stock = importlib.import_module(_STOCK)
    if stock is None or (name.startswith("__") and name != "__version__"):
        raise AttributeError(f"{_NAME} is the namespace of Keras, which has no {name!r}", name=name)
    return getattr(stock, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_names()})


def _names() -> set[str]:
    """The names of Keras; read from its source while it is not imported."""
    stock = sys.modules.get(_STOCK)
    if stock is not None:
        return {name for name in dir(stock) if not name.startswith("__")}
    spec = importlib.util.find_spec(_STOCK)
    if spec is None or spec.origin is None:
        return set()
    with open(spec.origin, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in imports for alias in node.names}


class AliasFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``pullback.keras.layers`` and the like: the very modules of Keras."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return a spec for a submodule that Keras has, else None."""
        if fullname == _STOCK:
            _forget()  # imported anew, as after keras.config.set_backend()
        if not fullname.startswith(f"{_NAME}."):
            return None
        stock = _stock_name(fullname)
        importlib.import_module(_STOCK)
        if stock not in sys.modules and importlib.util.find_spec(stock) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """Return Keras's module; Python is about to change what it says of itself."""
        module = importlib.import_module(_stock_name(spec.name))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Let the module say of itself again what it did; it has been executed."""
        alias: Any = module.__spec__
        module.__spec__ = alias.loader_state


def _stock_name(alias: str) -> str:
    return _STOCK + alias.removeprefix(_NAME)


def _forget() -> None:
    """Drop the modules that stood for those of a Keras that is imported no more."""
    names = [name for name in sys.modules if name.startswith(f"{_NAME}.")]
    for name in names:
        del sys.modules[name]
    module = sys.modules.get(_NAME)
    for name in names:
        vars(module).pop(name.removeprefix(f"{_NAME}."), None)


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
if not any(type(finder).__name__ == AliasFinder.__name__ for finder in sys.meta_path):
    sys.meta_path.insert(0, AliasFinder())

if __name__ == "__main__":
    if not pullback_hook.is_enabled():
        sys.stderr.write(f"{SWITCH} switches the hook off; unset it to run Keras on {BACKEND}\n")
        sys.exit(2)
    main(sys.argv[1:])
