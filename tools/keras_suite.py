"""Keras's own tests on this backend: ``python tools/keras_suite.py [folder ...]``.

The wheel of Keras ships its test files. They run folder by folder, each in a process of its own
(a large folder in several); a table says what passed. Exits with 1 when a test fails.

``--json FILE`` keeps every test's outcome, also of a run that is interrupted: ``--resume`` goes on
with what the file has not, ``--again`` runs the files in it that have failures,
``--backend jax`` runs the same on another backend, and ``--compare JAX.json OURS.json`` lists what
passes there and not here.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from keras_suite_plugin import BACKEND, DONE, JOURNAL, exclusions, reason_for

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
#: Folders so large that a row for each of their parts says more; of the last, for each file.
_SPLIT = ("layers", "backend", "trainers", "optimizers", "legacy")
_BY_FILE = ("ops",)
#: Files that one process runs, seconds that a test may take, and that a process may.
FILES, TEST_S, PROCESS_S = 16, 300, 1800
#: What runs in one process: names of its tests hold addresses, and must not differ by process.
ALONE = "wrappers/"
CUT_SHORT = "its process ended while it ran"
KINDS = ("passed", "failed", "errors", "skipped", "excluded")
#: Which outcome counts of a test that reports several.
_RANK = {kind: rank for rank, kind in enumerate(("started", "passed", "skipped", "excluded"))}
_RANK |= {"failed": 4, "errors": 5}

Record = dict[str, Any]
"""``{"outcome": one of KINDS, "seconds": float, "message": str}``."""


def source() -> Path:
    """The folder ``keras/src`` that is installed."""
    spec = importlib.util.find_spec("keras")
    if spec is None or not spec.origin:
        raise SystemExit("Keras is not installed here; run: make keras-suite")
    return Path(spec.origin).parent / "src"


def targets(root: Path, names: list[str]) -> dict[str, list[str]]:
    """Return the rows of the table, and the node ids below ``root`` that each runs.

    Files that are excluded as a whole are named too: they count, though they never run.

    Raises:
        SystemExit: a name is that of no test file or folder.
    """
    rows: dict[str, list[str]] = {}
    unknown = set(names)
    for path in sorted(root.rglob("*_test.py")):
        node = path.relative_to(root).as_posix()
        parts = [name for name in names if name.startswith(f"{node}::")]
        named = [name for name in names if node == name or node.startswith(f"{name}/")]
        unknown -= {*parts, *named}
        if named or not names:
            parts = [node]
        if parts:
            rows.setdefault(row_of(node), []).extend(parts)
    if unknown:
        raise SystemExit(f"no test file or folder of Keras: {', '.join(sorted(unknown))}")
    return rows


def row_of(node: str) -> str:
    """The row of the table that a test or test file belongs to."""
    parts = node.partition("::")[0].split("/")
    if parts[0] in _BY_FILE:
        return "/".join(parts)
    return "/".join(parts[: 2 if parts[0] in _SPLIT and len(parts) > 2 else 1])


def main(arguments: list[str] | None = None) -> int:
    """Run the rows and print the table, or compare two reports; return the exit status."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what came of it is kept
    if options.compare:
        return compare(*map(read, options.compare))
    if options.table:
        return show(read(options.table))
    report: Record = {"about": _about(options.backend), "tests": {}, "rows": {}, "complete": []}
    if options.json and options.json.exists():
        report |= {key: read(options.json)[key] for key in ("tests", "rows", "complete")}
    names = [name.strip("/") for name in (SAMPLE if options.sample else options.names)]
    if options.again:
        names = sorted({node.partition("::")[0] for node in failures(report["tests"])})
        if not names:
            say("nothing has failed")
            return 0
    return _run_rows(targets(source(), names), report, options)


def _run_rows(rows: dict[str, list[str]], report: Record, options: argparse.Namespace) -> int:
    ran: dict[str, Record] = {}
    spent = 0.0
    say(_heading())
    for row, nodes in rows.items():
        left = [node for node in nodes if not options.resume or node not in report["complete"]]
        is_complete = True
        if left:
            start = time.monotonic()
            done = report["tests"] if options.resume else {}
            found, is_complete = run(row, left, done, options)
            _replace(report, row, left, found, time.monotonic() - start, options.resume)
            if is_complete:
                report["complete"] = sorted({*report["complete"], *left})
            if options.json:
                write(options.json, report)
        # With what was there before: a run that goes on ends with the table of all of it.
        tests = of_nodes(report["tests"], nodes)
        ran |= tests
        spent += report["rows"].get(row, 0.0)
        say(_line(row, counts(tests), report["rows"].get(row, 0.0)))
        if not is_complete:
            say("interrupted")
            conclude(ran, spent)
            return 130
    return conclude(ran, spent)


def of_nodes(tests: dict[str, Record], nodes: list[str]) -> dict[str, Record]:
    """Return those of the tests that belong to files or classes ``nodes``."""
    starts = tuple(f"{node}::" for node in nodes)
    return {node: it for node, it in tests.items() if node in nodes or node.startswith(starts)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="folders, files or FILE::CLASS below keras/src")
    parser.add_argument("--sample", action="store_true", help="a representative part")
    parser.add_argument("--backend", default="pullback", help="another backend, to compare with")
    parser.add_argument("-n", default="2", help="processes (pytest-xdist); 0 for none")
    parser.add_argument("--output", type=Path, help="keep pytest's output in this folder")
    parser.add_argument("--json", type=Path, help="put every test's outcome into this file")
    parser.add_argument("--resume", action="store_true", help="what --json FILE does not have yet")
    parser.add_argument("--again", action="store_true", help="the files that failed in --json FILE")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print what is in a file")
    parser.add_argument(
        "--compare", type=Path, nargs=2, metavar=("THEIRS", "OURS"),
        help="list the tests that pass in one file and not in the other",
    )  # fmt: skip
    return parser


def _about(backend: str) -> dict[str, str]:
    packages = ("keras", "numpy", *(() if backend == "pullback" else (backend,)))
    versions = {name: version(name) for name in packages if importlib.util.find_spec(name)}
    return {"backend": backend, "python": platform.python_version(), **versions}


# Running ------------------------------------------------------------------------------------------


def run(
    row: str, nodes: list[str], done: dict[str, Record], options: argparse.Namespace
) -> tuple[dict[str, Record], bool]:
    """Run one row of tests in as few processes as it may, but for those that are done.

    Returns a record for each test, and whether the row came to its end.
    """
    listed = [it for it in exclusions() if options.backend == "pullback" or it.is_of_files]
    found: dict[str, Record] = {}
    left = []
    for node in nodes:
        reason = reason_for(node, listed)
        if reason is None:
            left.append(node)
        else:  # not even collected, which may need what is not installed
            found[node] = {"outcome": "excluded", "seconds": 0.0, "message": reason}
    for first in range(0, len(left), FILES):
        with tempfile.TemporaryDirectory(prefix="keras-suite-") as scratch:
            Path(scratch, "done").write_text("\n".join(done), encoding="utf-8")
            some = left[first : first + FILES]
            ended, is_complete = _run_process(row, some, Path(scratch), options)
        found |= ended
        if not is_complete:
            return found, False
    return found, True


def _run_process(
    row: str, nodes: list[str], scratch: Path, options: argparse.Namespace
) -> tuple[dict[str, Record], bool]:
    folder = Path(options.output or scratch).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    output, is_complete = folder / f"{row.replace('/', '-')}.txt", True
    with output.open("a", encoding="utf-8") as file:
        process = subprocess.Popen(
            _command(nodes, options),
            env=_environment(options.backend, scratch),
            cwd=scratch,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that its workers end with it
        )
        try:
            status: int | str = process.wait(PROCESS_S)
        except subprocess.TimeoutExpired:
            status = f"no end after {PROCESS_S} s"
        except KeyboardInterrupt:
            status, is_complete = "interrupted", False
        finally:
            _end(process)
    found = read_journal(scratch / "journal")
    if not is_complete:
        cut = [node for node, record in found.items() if record["message"] == CUT_SHORT]
        return {node: found[node] for node in found if node not in cut}, False
    if status not in {0, 1, 5}:  # 5: nothing was left to run
        tail = " / ".join(output.read_text(encoding="utf-8").splitlines()[-3:])
        message = f"pytest ended: {status}: {tail}"[:400]
        silent = [node for node in nodes if not of_nodes(found, [node])]
        for node in silent or nodes[:1]:
            found[node] = {"outcome": "errors", "seconds": 0.0, "message": message}
    return found, True


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()


def _command(nodes: list[str], options: argparse.Namespace) -> list[str]:
    root = source()
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-W", "ignore"]
    if options.backend == "pullback":
        command += ["-p", "pullback.keras"]  # before anything imports Keras
    command += ["-p", "keras_suite_plugin", "-p", "no:cacheprovider", "-p", "no:randomly"]
    command += ["-c", os.devnull, "--rootdir", str(root.parent.parent)]
    if options.n != "0" and importlib.util.find_spec("xdist"):
        is_alone = any(node.startswith(ALONE) for node in nodes)
        command += ["-n", "1" if is_alone else options.n, "--dist", "worksteal"]
    if importlib.util.find_spec("pytest_timeout"):
        command += [f"--timeout={TEST_S}"]
    return command + [str(root / node) for node in nodes]


def _environment(backend: str, scratch: Path) -> dict[str, str]:
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        BACKEND: backend,
        "KERAS_HOME": str(scratch),  # neither read nor write the user's settings
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        JOURNAL: str(scratch / "journal"),
        DONE: str(scratch / "done"),
    }


def read_journal(path: Path) -> dict[str, Record]:
    """Return a record for each test that the plugin has written of: its worst outcome."""
    found: dict[str, Record] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        record = json.loads(line)
        node = record.pop("node")
        known = found.get(node)
        if known is None or _RANK[record["outcome"]] > _RANK[known["outcome"]]:
            found[node] = record
    for record in found.values():
        if record["outcome"] == "started":
            record |= {"outcome": "errors", "message": CUT_SHORT}
    return found


# Reports ------------------------------------------------------------------------------------------


def read(path: Path) -> Record:
    """Read a file that ``--json`` has written."""
    report: Record = json.loads(path.read_text(encoding="utf-8"))
    return report


def write(path: Path, report: Record) -> None:
    """Write the file in one step: an interrupted run leaves what it had."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(report, indent=0, sort_keys=True), encoding="utf-8")
    new.replace(path)


def _replace(
    report: Record,
    row: str,
    nodes: list[str],
    found: dict[str, Record],
    seconds: float,
    adds: bool,
) -> None:
    """Put what a row has brought in the place of what the report has of the same tests.

    Args:
        report: What is changed.
        row: The row of the table.
        nodes: What has run.
        found: A record for each test.
        seconds: How long it took.
        adds: What ran was not in the report, which keeps what it has.
    """
    old = report["tests"]
    kept = old
    if not adds:
        dropped = of_nodes(old, nodes)
        kept = {node: record for node, record in old.items() if node not in dropped}
        report["complete"] = [node for node in report["complete"] if node not in nodes]
    if len(kept) == len(old):  # more tests of this row, not the same again
        seconds += report["rows"].get(row, 0.0)
    report["tests"] = {**kept, **found}
    report["rows"][row] = round(seconds, 1)


def counts(tests: dict[str, Record]) -> dict[str, int]:
    """Return how many tests there are of each kind."""
    found = dict.fromkeys(KINDS, 0)
    for record in tests.values():
        found[record["outcome"]] += 1
    return found


def failures(tests: dict[str, Record]) -> Iterator[str]:
    """Yield the tests that failed, or broke."""
    yield from (node for node, it in sorted(tests.items()) if it["outcome"] in {"failed", "errors"})


def show(report: Record) -> int:
    """Print the table of a report; return the exit status."""
    say(", ".join(f"{key} {value}" for key, value in report["about"].items()))
    say(_heading())
    rows: dict[str, dict[str, Record]] = {}
    for node, record in sorted(report["tests"].items()):
        rows.setdefault(row_of(node), {})[node] = record
    for row, tests in rows.items():
        say(_line(row, counts(tests), report["rows"].get(row, 0.0)))
    return conclude(report["tests"], sum(report["rows"].values()))


def conclude(tests: dict[str, Record], seconds: float) -> int:
    """Print the totals, the share that is excluded and what failed; return the exit status."""
    total = counts(tests)
    say(_line("all", total, seconds))
    say(f"excluded: {total['excluded'] / max(len(tests), 1):.2%} of {len(tests):,}")
    for node in failures(tests):
        say(f"FAILED {node}: {tests[node]['message']}")
    return 1 if total["failed"] or total["errors"] or not total["passed"] else 0


def compare(theirs: Record, ours: Record) -> int:
    """Print which tests pass in ``theirs`` and not in ``ours``; return 1 if any is unexplained.

    An exclusion explains, and so does Keras, which skips tests of what a backend says it has not
    (sparse tensors, complex ones): of those, the reasons are counted.
    """
    listed = exclusions() if ours["about"]["backend"] == "pullback" else []
    missing: dict[str, list[str]] = {"excluded": [], "NOT HERE": []}
    skipped: Counter[str] = Counter()
    passed = [node for node, it in theirs["tests"].items() if it["outcome"] == "passed"]
    for node in sorted(passed):
        record = ours["tests"].get(node, {"outcome": "absent", "message": ""})
        if record["outcome"] == "skipped":
            skipped[record["message"]] += 1
        elif record["outcome"] != "passed":
            reason = reason_for(node, listed)
            kind = "NOT HERE" if reason is None else "excluded"
            missing[kind].append(f"{node}: {record['outcome']}: {reason or record['message']}")
    for kind, lines in missing.items():
        for line in lines:
            say(f"{kind:<9} {line}")
    for message, count in skipped.most_common():
        say(f"skipped   {count:,}: {message}")
    backends = [report["about"]["backend"] for report in (theirs, ours)]
    say(f"pass on {backends[0]}: {len(passed):,}; of these not on {backends[1]}: "
        f"{len(missing['NOT HERE'])}, {len(missing['excluded'])} excluded, "
        f"{skipped.total()} skipped by Keras")  # fmt: skip
    return 1 if missing["NOT HERE"] else 0


def _heading() -> str:
    return f"{'':<28} " + " ".join(f"{kind:>8}" for kind in KINDS) + "  seconds"


def _line(row: str, found: dict[str, int], seconds: float) -> str:
    return f"{row:<28} " + " ".join(f"{found[kind]:>8,}" for kind in KINDS) + f" {seconds:>8.0f}"


def say(text: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(text.rstrip() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
