"""What ``keras_suite.py`` loads into the processes in which pytest runs Keras's own tests.

It takes the place of the ``conftest.py`` that Keras's wheel does not bring, skips what is excluded
on this backend, and writes a line of JSON for everything that happens, at once: what a crash leaves
behind is still a report.
"""

from __future__ import annotations

import ast
import json
import os
import random
import re
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest

EXCLUSIONS = Path(__file__).resolve().parent.parent / "tests" / "keras" / "exclusions.txt"
#: The environment variables that say where to write, which tests not to run again (a file with a
#: node id a line), and which backend it is.
JOURNAL, DONE = "PULLBACK_KERAS_SUITE_JOURNAL", "PULLBACK_KERAS_SUITE_DONE"
BACKEND = "KERAS_BACKEND"
#: What stands before an excluded test's reason.
EXCLUDED = "excluded: "
_ROOT = "keras/src/"


@dataclass(frozen=True)
class Exclusion:
    """Tests that are not run: the start of their node ids below ``keras/src``, and why."""

    pattern: re.Pattern[str]
    reason: str

    @property
    def is_of_files(self) -> bool:
        """Whether it names whole files, which are then run on no other backend either."""
        return "::" not in self.pattern.pattern

    def matches(self, node: str) -> bool:
        """Whether the test, file or folder ``node`` is one of them."""
        return self.pattern.match(node) is not None


def exclusions(path: Path = EXCLUSIONS) -> list[Exclusion]:
    """Read the list: lines ``node id  # reason``; ``*`` in a node id stands for anything.

    Raises:
        ValueError: a line has no reason.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        node, _, reason = (part.strip() for part in line.partition("  #"))
        if not node or node.startswith("#"):
            continue
        if not reason:
            raise ValueError(f"{path}:{number}: no reason; write: node id  # reason")
        pattern = re.escape(node).replace(r"\*", ".*")
        found.append(Exclusion(re.compile(rf"{pattern}(?![A-Za-z0-9])"), reason))
    return found


def reason_for(node: str, listed: list[Exclusion]) -> str | None:
    """Return why the test, file or folder ``node`` is excluded; None when it is not."""
    return next((found.reason for found in listed if found.matches(node)), None)


def node_of(name: str) -> str:
    """Return a node id as it is below ``keras/src``, without addresses, which always differ."""
    return re.sub(r"at0x[0-9a-f]+", "at", name.removeprefix(_ROOT))


def pytest_configure(config: pytest.Config) -> None:
    """Do what Keras's own conftest does: its markers, and what tests import from it."""
    config.addinivalue_line("markers", "requires_trainable_backend: the backend can train")
    config.addinivalue_line("markers", "multi_device: needs more than one device")
    stand_in = ModuleType("conftest")
    vars(stand_in)["skip_if_backend"] = skip_if_backend
    sys.modules.setdefault("conftest", stand_in)
    if os.environ.get(BACKEND) == "pullback":
        sys.meta_path.insert(0, NamesFinder())  # type: ignore[arg-type]
    if JOURNAL in os.environ and not hasattr(config, "workerinput"):  # not in xdist's workers
        config.pluginmanager.register(Journal(Path(os.environ[JOURNAL])))


def skip_if_backend(backend: str, reason: str) -> pytest.MarkDecorator:
    """Mark a test that Keras skips on one of its backends."""
    return pytest.mark.skipif(os.environ.get(BACKEND) == backend, reason=reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs several devices, and here what is excluded, with its reason."""
    if DONE in os.environ:
        done = set(Path(os.environ[DONE]).read_text(encoding="utf-8").splitlines())
        items[:] = [item for item in items if node_of(item.nodeid) not in done]
    listed = exclusions() if os.environ.get(BACKEND) == "pullback" else []
    for item in items:
        reason = reason_for(node_of(item.nodeid), listed)
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=EXCLUDED + reason))
        if item.get_closest_marker("multi_device"):
            item.add_marker(pytest.mark.skip(reason="needs more than one device"))


def pytest_runtest_setup() -> None:
    """Let a test draw the same numbers whichever tests ran before it in its process."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # the generator that Keras's tests use


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Count a test that imports TensorFlow as skipped where it is not installed."""
    report = yield
    error = call.excinfo.value if call.excinfo is not None else None
    if isinstance(error, ModuleNotFoundError) and error.name == "tensorflow":
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, "TensorFlow is not installed")
    return report


class Journal:
    """Writes what pytest reports, a line of JSON each, when it does."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self._file = path.open("a", encoding="utf-8")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Write that a test starts: without an end, it took its process down."""
        self._write(nodeid, "started", 0.0, "")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write how a phase of a test ended, where it says something."""
        if report.failed:
            kind = "failed" if report.when == "call" else "errors"
            self._write(report.nodeid, kind, report.duration, _last_line(report))
        elif report.skipped:
            reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
            reason = reason.removeprefix("Skipped: ")
            kind = "excluded" if reason.startswith(EXCLUDED) else "skipped"
            self._write(report.nodeid, kind, report.duration, reason.removeprefix(EXCLUDED))
        elif report.when == "call":
            self._write(report.nodeid, "passed", report.duration, "")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Write that a file could not be imported, or skips itself."""
        if report.failed:
            self._write(report.nodeid, "errors", 0.0, _last_line(report))
        elif report.skipped:
            self._write(report.nodeid, "skipped", 0.0, "the file skips itself")

    def _write(self, name: str, kind: str, seconds: float, message: str) -> None:
        line = {"node": node_of(name), "outcome": kind, "seconds": round(seconds, 3)}
        self._file.write(json.dumps({**line, "message": message}) + "\n")
        self._file.flush()


def _last_line(report: pytest.TestReport | pytest.CollectReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = getattr(crash, "message", None) or str(report.longrepr)
    lines = [line for line in text.splitlines() if line.strip()] or [""]
    return (lines[0] if crash is not None else lines[-1])[:300]


def _constant(node: ast.expr | None) -> object:
    return getattr(node, "value", None)


def _with_our_trainer(text: bytes, name: str) -> ast.Module:
    """Give the test of the trainer our trainer: it names each backend's class, and its device."""
    from pullback_hook.patch import with_branch

    tree = with_branch(text, "trainer.Trainer", name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict) and "jax" in map(_constant, node.keys):
            # A table of what each backend calls the processor.
            node.keys.append(ast.copy_location(ast.Constant("pullback"), node))
            node.values.append(ast.copy_location(ast.Constant("cpu:0"), node))
        elif isinstance(node, ast.FunctionDef) and node.name == "test_fit_sparse":
            for line in node.body:  # "jax" is who has dense gradients of sparse data
                _rename(line, {"jax": "pullback"})
    return tree


def _with_our_name(text: bytes, name: str) -> ast.Module:
    """Put our name where a test names the backends that have something.

    What a test does for JAX alone, a step of training for instance, is done with this library in
    JAX's place: the names are the same.
    """
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and {"jax", "torch"} <= {*map(_constant, node.elts)}:
            node.elts.append(ast.Constant("pullback"))
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "backend.backend() == 'jax'":
            names = [
                name for line in node.body if isinstance(line, ast.Import) for name in line.names
            ]
            if names and {name.name for name in names} <= {"jax", "jax.numpy"}:
                node.test = ast.parse("backend.backend() == 'pullback'", mode="eval").body
                for imported in names:
                    imported.name, imported.asname = "pullback", imported.asname or "jax"
    return ast.fix_missing_locations(tree)


def _is_jax_test(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "backend.backend() == 'jax'"


def _with_our_sparse(tree: ast.Module) -> ast.Module:
    """Let a test make sparse tensors of this backend where it makes those of JAX."""
    for node in ast.walk(tree):
        match node:
            case ast.If(body=body) if _is_jax_test(node):
                if any("sparse" in ast.unparse(line) for line in body):
                    node.test = ast.parse("backend.backend() == 'pullback'", mode="eval").body
                    _import_numpy(body)
            case ast.Call(func=ast.Attribute(value=adapter, attr="get_jax_iterator")):
                # As our trainer takes batches from an adapter.
                node.func, node.args = _imported("keras_pullback.src.batches.batches_of"), [adapter]
            case ast.Attribute(value=ast.Attribute(attr="sparse")):
                if ast.unparse(node.value) == "jax.experimental.sparse":
                    node.value = _imported("keras_suite_sparse")
            case ast.FunctionDef(name="sparseness"):
                _rename(node, {"n_dense": "dense_ndim", "BCOO": "COO"})
    _import_stand_in(tree)
    return ast.fix_missing_locations(tree)


def _imported(name: str) -> ast.expr:
    """What a dotted name stands for, imported where it is used."""
    return ast.parse(f"__import__('pkgutil').resolve_name({name!r})", mode="eval").body


def _import_numpy(body: list[ast.stmt]) -> None:
    """Let NumPy compute what a test computes with JAX to make a sparse tensor."""
    for line in body:
        for name in line.names if isinstance(line, ast.Import) else ():
            if name.name == "jax":
                name.name, name.asname = "keras_suite_sparse", "jax"


def _import_stand_in(tree: ast.Module) -> None:
    """Let what imports JAX's module of sparse tensors import ours, ``keras_suite_sparse``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "jax.experimental":
            node.module = "keras_suite_sparse"  # which has itself under the name `sparse`
        for name in node.names if isinstance(node, ast.Import) else ():
            if name.name == "jax.experimental.sparse":
                name.name = "keras_suite_sparse"


def _rename(tree: ast.AST, names: dict[str, str]) -> None:
    """Put other names for attributes and texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            node.attr = names.get(node.attr, node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = names.get(node.value, node.value)


def _sparse_alone(text: bytes, name: str) -> ast.Module:
    return _with_our_sparse(ast.parse(text))


def _with_both(text: bytes, name: str) -> ast.Module:
    return _with_our_sparse(_with_our_name(text, name))


class NamesFinder:
    """Loads the few test modules that name Keras's own backends, with this one named too."""

    changes: ClassVar = {
        "keras.src.trainers.trainer_test": _with_our_trainer,
        "keras.src.export.onnx_test": _with_our_name,
        "keras.src.layers.core.dense_test": _with_both,
        "keras.src.layers.core.einsum_dense_test": _with_our_name,
        "keras.src.layers.core.embedding_test": _sparse_alone,
        "keras.src.layers.merging.merging_test": _sparse_alone,
        "keras.src.layers.reshaping.flatten_test": _sparse_alone,
        "keras.src.layers.reshaping.permute_test": _sparse_alone,
        "keras.src.ops.core_test": _with_both,
        "keras.src.ops.math_test": _with_our_name,
        "keras.src.ops.numpy_test": _with_both,
        "keras.src.optimizers.optimizer_sparse_test": _sparse_alone,
        "keras.src.quantizers.quantizers_test": _with_our_name,
        "keras.src.testing.test_case": _sparse_alone,
        "keras.src.trainers.data_adapters.generator_data_adapter_test": _sparse_alone,
        "keras.src.trainers.data_adapters.tf_dataset_adapter_test": _sparse_alone,
    }

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """Return the spec of such a module, to be loaded with the change; else None."""
        change = self.changes.get(name)
        if change is None:
            return None
        from importlib.machinery import PathFinder, SourceFileLoader

        class Loader(SourceFileLoader):
            def get_code(self, fullname: str) -> object:  # type: ignore[override]
                file = self.get_filename(fullname)
                tree = change(self.get_data(file), fullname)
                return compile(tree, file, "exec", dont_inherit=True)

        spec = PathFinder.find_spec(name, path)  # type: ignore[arg-type]
        if spec is not None and spec.origin is not None:
            spec.loader = Loader(name, spec.origin)
        return spec
