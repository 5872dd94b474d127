"""Keras's own tests on this backend: ``python tools/keras_suite.py [folder ...]``.

The wheel of Keras ships its test files. They run folder by folder, each in a process of its own;
then a table says what passed. Exits with 1 when a test fails. The same file is the plugin of
pytest in those processes: what stands under "In the tests' process".
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXCLUSIONS = ROOT / "tests" / "keras" / "exclusions.txt"
#: What `--sample` runs, as a part of `make test`: two minutes, of files that import neither
#: TensorFlow nor JAX.
SAMPLE = (
    "layers/attention",
    "layers/core/dense_test.py",
    "layers/core/einsum_dense_test.py",
    "layers/core/embedding_test.py",
    "layers/merging",
    "layers/normalization",
    "layers/regularization",
    "layers/rnn/gru_test.py",
    "layers/rnn/lstm_test.py",
    "losses",
    "metrics",
    "models/functional_test.py",
    "models/sequential_test.py",
    "optimizers/adagrad_test.py",
    "optimizers/adam_test.py",
    "optimizers/adamw_test.py",
    "optimizers/optimizer_test.py",
    "optimizers/rmsprop_test.py",
    "optimizers/schedules",
    "optimizers/sgd_test.py",
)
#: Folders so large that a row for each of their parts says more.
_SPLIT = ("layers", "ops", "backend", "trainers", "optimizers", "legacy")
_NAME = "PULLBACK_KERAS_SUITE"
TIMEOUT_S = 300
KINDS = ("passed", "failed", "errors", "skipped", "excluded")


@dataclass(frozen=True)
class Exclusion:
    """Tests that are not run: the start of their node ids below ``keras/src``, and why."""

    pattern: re.Pattern[str]
    reason: str

    def matches(self, node: str) -> bool:
        """Whether the test or folder ``node`` is one of them."""
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


def source() -> Path:
    """The folder ``keras/src`` that is installed."""
    spec = importlib.util.find_spec("keras")
    if spec is None or not spec.origin:
        raise SystemExit("Keras is not installed here; run: make keras-suite")
    return Path(spec.origin).parent / "src"


def targets(root: Path, names: list[str]) -> Iterator[tuple[str, list[Path]]]:
    """Yield rows: what to call it, and its test files."""
    rows: dict[str, list[Path]] = {}
    listed = exclusions()
    for path in sorted(root.rglob("*_test.py")):
        node = path.relative_to(root).as_posix()
        if any(exclusion.matches(node) for exclusion in listed):
            continue  # a whole file: not even collected, which may need what is not installed
        if not names or any(node == name or node.startswith(f"{name}/") for name in names):
            rows.setdefault(row_of(node), []).append(path)
    yield from rows.items()


def row_of(node: str) -> str:
    """The row of the table that the test file ``node`` belongs to."""
    parts = node.split("/")
    if parts[0] == "ops":
        return node if parts[1] == "numpy_test.py" else "ops"
    return "/".join(parts[: 2 if parts[0] in _SPLIT and len(parts) > 2 else 1])


def main(arguments: list[str] | None = None) -> int:
    """Run the rows and print the table; return the exit status."""
    options = _parser().parse_args(arguments)
    root = source()
    names = [name.strip("/") for name in (SAMPLE if options.sample else options.names)]
    total = dict.fromkeys(KINDS, 0)
    failures: list[str] = []
    started = time.monotonic()
    say(f"{'':<28} " + " ".join(f"{kind:>8}" for kind in KINDS) + "  seconds")
    for row, files in targets(root, names):
        start = time.monotonic()
        counts, failed = run(row, files, root, options)
        failures += failed
        for kind in KINDS:
            total[kind] += counts[kind]
        say(_line(row, counts, time.monotonic() - start))
    say(_line("all", total, time.monotonic() - started))
    for name in failures:
        say(f"FAILED {name}")
    return 1 if total["failed"] or total["errors"] or not total["passed"] else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="folders or files below keras/src; default: all")
    parser.add_argument("--sample", action="store_true", help="a representative part")
    parser.add_argument("--backend", default="pullback", help="another backend, to compare with")
    parser.add_argument("-n", default="2", help="processes (pytest-xdist); 0 for none")
    parser.add_argument("--output", type=Path, help="keep pytest's output and reports here")
    return parser


def _line(row: str, counts: dict[str, int], seconds: float) -> str:
    return f"{row:<28} " + " ".join(f"{counts[kind]:>8,}" for kind in KINDS) + f" {seconds:>8.0f}"


def run(
    row: str, files: list[Path], root: Path, options: argparse.Namespace
) -> tuple[dict[str, int], list[str]]:
    """Run the test files of one row; return the counts and the names of what failed."""
    with tempfile.TemporaryDirectory(prefix="keras-suite-") as scratch:
        folder = Path(options.output or scratch).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        report = folder / f"{row.replace('/', '-')}.xml"
        report.unlink(missing_ok=True)
        with report.with_suffix(".txt").open("w", encoding="utf-8") as output:
            status = subprocess.run(
                _command(files, root, report, options),
                env=_environment(options.backend, scratch),
                cwd=scratch,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        counts, failed = read_report(report)
        if status not in {0, 1, 5}:  # 5: nothing was left to run
            counts["errors"] += 1
            tail = report.with_suffix(".txt").read_text(encoding="utf-8").splitlines()[-15:]
            failed.append(f"{row}: pytest ended with {status}\n  " + "\n  ".join(tail))
        return counts, failed


def _command(files: list[Path], root: Path, report: Path, options: argparse.Namespace) -> list[str]:
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-W", "ignore"]
    if options.backend == "pullback":
        command += ["-p", "pullback.keras"]  # before anything imports Keras
    command += ["-p", "keras_suite", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command += ["-c", os.devnull, "--rootdir", str(root.parent.parent)]
    command += [f"--junitxml={report}", "-o", "junit_family=xunit1"]
    if options.n != "0" and importlib.util.find_spec("xdist"):
        command += ["-n", options.n, "--dist", "loadfile"]
    if importlib.util.find_spec("pytest_timeout"):
        command += [f"--timeout={TIMEOUT_S}"]
    return command + [str(path) for path in files]


def _environment(backend: str, scratch: str) -> dict[str, str]:
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "KERAS_BACKEND": backend,
        "KERAS_HOME": scratch,  # neither read nor write the user's settings
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        _NAME: str(source()),
    }


def read_report(path: Path) -> tuple[dict[str, int], list[str]]:
    """Return the counts of a JUnit report, and the names of the tests that failed."""
    counts = dict.fromkeys(KINDS, 0)
    if not path.exists():
        return counts, []
    failed = []
    for case in ET.parse(path).getroot().iter("testcase"):
        outcome = {child.tag: child for child in case}
        kind = "passed"
        if "skipped" in outcome:
            message = outcome["skipped"].get("message") or ""
            kind = "excluded" if message.startswith("excluded:") else "skipped"
        elif "error" in outcome or "failure" in outcome:
            kind = "errors" if "error" in outcome else "failed"
            failed.append(f"{case.get('file') or case.get('classname')}::{case.get('name')}")
        counts[kind] += 1
    return counts, failed


def say(text: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(text.rstrip() + "\n")
    sys.stdout.flush()


# In the tests' process ----------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """Do what Keras's own conftest does: its markers, and no shortened tracebacks."""
    config.addinivalue_line("markers", "requires_trainable_backend: the backend can train")
    config.addinivalue_line("markers", "multi_device: needs more than one device")
    stand_in = ModuleType("conftest")  # some tests import it
    vars(stand_in)["skip_if_backend"] = skip_if_backend
    sys.modules.setdefault("conftest", stand_in)
    if os.environ.get("KERAS_BACKEND") == "pullback":
        sys.meta_path.insert(0, TrainerTestFinder())  # type: ignore[arg-type]


def skip_if_backend(backend: str, reason: str) -> pytest.MarkDecorator:
    """Mark a test that Keras skips on one of its backends."""
    return pytest.mark.skipif(os.environ.get("KERAS_BACKEND") == backend, reason=reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is excluded, with its reason."""
    root = Path(os.environ[_NAME])
    listed = exclusions()
    for item in items:
        path, _, test = item.nodeid.partition("::")
        node = f"{(root.parent.parent / path).relative_to(root).as_posix()}::{test}"
        for exclusion in listed:
            if exclusion.matches(node):
                item.add_marker(pytest.mark.skip(reason=f"excluded: {exclusion.reason}"))
        if item.get_closest_marker("multi_device"):
            item.add_marker(pytest.mark.skip(reason="needs more than one device"))


def _constant(node: ast.expr | None) -> object:
    return getattr(node, "value", None)


class TrainerTestFinder:
    """Gives the test of the trainer our trainer: it names each backend's class, and its device."""

    name = "keras.src.trainers.trainer_test"

    def find_spec(self, name: str, path: object = None, target: object = None) -> object:
        """Return the spec of that module, to be loaded with one more case; else None."""
        if name != self.name:
            return None
        from importlib.machinery import PathFinder, SourceFileLoader

        from pullback_hook.patch import with_branch

        class Loader(SourceFileLoader):
            def get_code(self, fullname: str) -> object:  # type: ignore[override]
                file = self.get_filename(fullname)
                tree = with_branch(self.get_data(file), "trainer.Trainer", fullname)
                for node in ast.walk(tree):
                    if isinstance(node, ast.Dict) and "jax" in map(_constant, node.keys):
                        # A table of what each backend calls the processor.
                        node.keys.append(ast.copy_location(ast.Constant("pullback"), node))
                        node.values.append(ast.copy_location(ast.Constant("cpu:0"), node))
                return compile(tree, file, "exec", dont_inherit=True)

        spec = PathFinder.find_spec(name, path)  # type: ignore[arg-type]
        if spec is not None and spec.origin is not None:
            spec.loader = Loader(name, spec.origin)
        return spec


if __name__ == "__main__":
    sys.exit(main())
