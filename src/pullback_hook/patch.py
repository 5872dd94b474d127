"""What must be changed in Keras so that it knows one more backend, for each kind of Keras.

Stock Keras chooses its backend in a few modules by ``if backend() == "tensorflow": ... elif``
chains. Such a module is parsed, gets one more branch, and is compiled and kept (``cache``). A Keras
with the plug-in protocol needs no change, or has its name added to the list of those it allows.
Start reading at ``plan``.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial, wraps
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

from pullback_hook import BACKEND, cache

#: Oldest and newest version of stock Keras that the tests run.
OLDEST: Final = (3, 12, 0)
NEWEST: Final = (3, 15, 1)
_HOW: Final = (
    "pullback works with Keras 3.12 to 3.15.1; get one with: pip install 'keras>=3.12,<=3.15.1'"
)
_PACKAGE: Final = f"keras_{BACKEND}.src"
#: Names in the test of a chain that tell it from a shorter one.
_CHAIN: Final = {"tensorflow", "jax", "torch"}

#: What each module takes its class from; ``*`` stands for the backend as a whole.
SOURCES: Final = {
    "keras.src.backend": "*",
    "keras.src.layers.layer": "layer.BackendLayer",
    "keras.src.models.model": "trainer.Trainer",
    "keras.src.optimizers.optimizer": "optimizer.BackendOptimizer",
    "keras.src.export.saved_model": "export.SavedModelExportArchive",
}

#: Functions of Keras that give way to ours: Keras chooses the backend inside them.
FUNCTIONS: Final = {
    "keras.src.export.onnx": "export.export_onnx",
    "keras.src.export.openvino": "export.export_openvino",
}

Find = Callable[[str, Sequence[str] | None, ModuleType | None], ModuleSpec]


class KerasHookError(ImportError):
    """Keras cannot be given the backend ``pullback``; the message says why and what to do."""


def plan() -> dict[str, Find]:
    """Return how to find each module of the installed Keras that must be changed.

    Raises:
        KerasHookError: this Keras is not one that was tested.
    """
    spec = importlib.util.find_spec("keras")
    if spec is None or not spec.submodule_search_locations:
        return {}  # no Keras here: let the import say so
    source = Path(next(iter(spec.submodule_search_locations))) / "src"
    backend = _read(source / "backend" / "__init__.py")
    config = _read(source / "backend" / "config.py")
    if "_PLUGGABLE_BACKENDS" in config:
        return {"keras.src.backend.config": partial(_find, AllowingLoader)}
    if re.search(r"keras_\{.*\}\.src", backend + config):
        return {}  # takes any package keras_<name>
    check_version(_version(source))
    loaders = {name: partial(_find, BranchLoader) for name in SOURCES if _is_served(name)}
    loaders.update({name: partial(_find, ReplacingLoader) for name in FUNCTIONS})
    return {**loaders, "keras.src.utils.backend_utils": partial(_find, DynamicLoader)}


def check_version(version: str) -> None:
    """Raise ``KerasHookError`` unless ``version`` is one of those that were tested."""
    numbers = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?$", version)
    if not numbers or not OLDEST <= tuple(int(n or 0) for n in numbers.groups()) <= NEWEST:
        raise KerasHookError(f"Keras {version or '(of unknown version)'} is installed. {_HOW}")


def _is_served(name: str) -> bool:
    """Whether module ``name`` has something to import: an optimizer need not be there."""
    if not name.startswith("keras.src.optimizers"):
        return True
    spec = importlib.util.find_spec(f"keras_{BACKEND}")  # imports nothing
    places = spec.submodule_search_locations if spec else None
    return any((Path(place) / "src" / "optimizer.py").exists() for place in places or ())


def _version(source: Path) -> str:
    """The version that the sources of Keras name, without importing them."""
    found = re.search(r'^__version__ = ["\'](.+?)["\']', _read(source / "version.py"), re.MULTILINE)
    return found[1] if found else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _find(
    kind: type[SourceFileLoader],
    name: str,
    path: Sequence[str] | None,
    target: ModuleType | None,
) -> ModuleSpec:
    """Return the spec that Python would find, with a loader of class ``kind``."""
    spec = _stock_spec(name, path, target)
    if spec is None or not isinstance(spec.loader, SourceFileLoader):
        raise KerasHookError(f"{name} is not loaded from a source file: {spec}. {_HOW}")
    spec.loader = kind(spec.loader.name, spec.loader.path)
    return spec


def _stock_spec(
    name: str, path: Sequence[str] | None, target: ModuleType | None
) -> ModuleSpec | None:
    """What the other finders find."""
    for finder in sys.meta_path:
        if type(finder).__name__ != "KerasFinder" and hasattr(finder, "find_spec"):
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                return spec
    return None


class BranchLoader(SourceFileLoader):
    """Loads a module with one more branch in its chain of backends."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the changed code, from the cache where it is there.

        Python's own files of byte code are left alone: they belong to the module as it stands.
        """
        path = self.get_filename(fullname)
        stats = self.path_stats(path)
        source = SOURCES[fullname]
        key = cache.key(fullname, path, str(stats["mtime"]), str(stats.get("size")), source)
        code = cache.lookup(key)
        if code is None:
            tree = with_branch(self.get_data(path), source, fullname)
            code = compile(tree, path, "exec", dont_inherit=True)
            cache.store(key, code)
        return code


class DynamicLoader(SourceFileLoader):
    """Loads the module of ``DynamicBackend``, the backend of layers that work on data."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then teach its class one more name."""
        super().exec_module(module)
        extend_dynamic_backend(module)


class ReplacingLoader(SourceFileLoader):
    """Loads a module with a function that gives way to ours."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, then put our function in the place of its own."""
        super().exec_module(module)
        replace_function(module, FUNCTIONS[module.__name__])


class AllowingLoader(SourceFileLoader):
    """Loads the configuration of a Keras that lists the plug-ins it allows."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the code that lists ours as well, from the start: it may check at import."""
        path = self.get_filename(fullname)
        tree = with_allowed_name(self.get_data(path))
        return compile(tree, path, "exec", dont_inherit=True)


def with_branch(text: bytes | str, source: str, name: str) -> ast.Module:
    """Return the tree of module ``name`` with one more case in its chain of backends.

    Args:
        text: The module as it stands.
        source: What the case imports, a value of ``SOURCES``.
        name: The module's name, for the message of an error.

    Raises:
        KerasHookError: there is no such chain, or more than one, or it binds no class.
    """
    tree = ast.parse(text)
    chains = [
        (node, node.test)
        for node in tree.body
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and set(_chain_names(node)) >= _CHAIN
    ]
    if len(chains) != 1:
        raise KerasHookError(
            f"{name} has {len(chains)} chains that choose a backend, one was expected. {_HOW}"
        )
    last, first = chains[0]
    body = ast.parse(_branch(last.body, source, name)).body
    test = ast.parse(f"{ast.unparse(first.left)} == {BACKEND!r}", mode="eval").body
    while len(last.orelse) == 1 and isinstance(last.orelse[0], ast.If):
        last = last.orelse[0]
    added = ast.If(test=test, body=body, orelse=last.orelse)
    for node in (added, *ast.walk(test), *(inner for part in body for inner in ast.walk(part))):
        ast.copy_location(node, last.test)  # tracebacks show the last case that the file has
    last.orelse = [added]
    return ast.fix_missing_locations(tree)


def _branch(first: list[ast.stmt], source: str, name: str) -> str:
    """The statements of the case, which bind the name that ``first``, another case, binds."""
    names = [
        alias.asname for node in first if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    bound = [name for name in names if name is not None]
    if len(bound) != 1:
        raise KerasHookError(f"{name} binds {bound} to its backend, one was expected. {_HOW}")
    if source == "*":
        return (
            f"from {_PACKAGE} import *\n"
            f"from {_PACKAGE} import distribution_lib, Variable as {bound[0]}\n"
        )
    module, _, kind = source.partition(".")
    return f"from {_PACKAGE}.{module} import {kind} as {bound[0]}\n"


def _chain_names(node: ast.stmt) -> Iterator[str]:
    """The backends of a chain ``if backend() == "...": ... elif ...``, in order."""
    if isinstance(node, ast.If):
        match node.test:
            case ast.Compare(
                left=ast.Call(func=ast.Name(id="backend") | ast.Attribute(attr="backend")),
                ops=[ast.Eq()],
                comparators=[ast.Constant(value=str(name))],
            ):
                yield name
                if len(node.orelse) == 1:
                    yield from _chain_names(node.orelse[0])


def with_allowed_name(source: bytes | str) -> ast.Module:
    """Return the tree of ``source`` with our name added to ``_PLUGGABLE_BACKENDS``.

    Raises:
        KerasHookError: the list is not assigned exactly once.
    """
    tree = ast.parse(source)
    found = [node for node in tree.body if _assigns(node, "_PLUGGABLE_BACKENDS")]
    if len(found) != 1:
        raise KerasHookError(
            f"Keras assigns its list of plug-ins {len(found)} times, once was expected. {_HOW}"
        )
    added = ast.parse(f"_PLUGGABLE_BACKENDS = frozenset({{*_PLUGGABLE_BACKENDS, {BACKEND!r}}})")
    for node in ast.walk(added.body[0]):
        ast.copy_location(node, found[0])
    tree.body.insert(tree.body.index(found[0]) + 1, added.body[0])
    return ast.fix_missing_locations(tree)


def _assigns(node: ast.stmt, name: str) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def replace_function(module: ModuleType, source: str) -> None:
    """Put a function of the backend, imported when it is called, in the place of one of Keras's.

    Args:
        module: The module of Keras, run.
        source: Our module and the function's name, a value of ``FUNCTIONS``.

    Raises:
        KerasHookError: the module has no such function.
    """
    place, _, name = source.partition(".")
    stock = getattr(module, name, None)
    if not callable(stock):
        raise KerasHookError(f"{module.__name__} has no function {name}. {_HOW}")

    @wraps(stock)
    def ours(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(f"{_PACKAGE}.{place}"), name)(*args, **kwargs)

    setattr(module, name, ours)


def extend_dynamic_backend(module: ModuleType) -> None:
    """Let ``DynamicBackend`` of ``module`` serve our name: stock Keras answers None to it.

    Raises:
        KerasHookError: the class is not there as expected.
    """
    kind = getattr(module, "DynamicBackend", None)
    stock_set = getattr(kind, "set_backend", None)
    stock_get = getattr(kind, "__getattr__", None)
    if kind is None or stock_set is None or stock_get is None:
        raise KerasHookError(f"{module.__name__} has no DynamicBackend as expected. {_HOW}")

    def set_backend(self: Any, backend: str) -> None:
        """Choose the backend by name."""
        if backend == BACKEND:
            self._backend = backend
        else:
            stock_set(self, backend)

    def get_attribute(self: Any, name: str) -> Any:
        # A copy under construction has no _backend yet, and asking for it would come here again.
        if self.__dict__.get("_backend", BACKEND) != BACKEND:
            return stock_get(self, name)
        if "_backend" not in self.__dict__:
            raise AttributeError(name)
        return getattr(module.backend_module, name)

    kind.set_backend = set_backend
    kind.__getattr__ = get_attribute
