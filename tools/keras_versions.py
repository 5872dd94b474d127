"""The backend's tests with each version of Keras: ``python tools/keras_versions.py [version ...]``.

Each version is installed into a temporary folder that comes before this environment's Keras. A
table says what came of it; exits with 1 when a version fails, or cannot be installed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: The first and the last of each minor version that ``pullback_hook.patch`` lets pass.
VERSIONS = ("3.12.0", "3.12.4", "3.13.0", "3.13.2", "3.14.0", "3.14.1", "3.15.0", "3.15.1")
#: How the backend is chosen; training; files; conversion.
TESTS = (
    "tests/keras/test_selection.py",
    "tests/keras/test_trainer.py",
    "tests/keras/test_files_keras.py",
    "tests/keras/test_optimizer_updates.py",
    "tests/keras/test_complex_keras.py",
)
#: A warning of Keras 3.13.0 alone, when it is imported with NumPy 2.4: not ours to mend.
WARNING = "ignore:In the future `np.object`:FutureWarning"
KINDS = ("passed", "failed", "errors", "skipped")
TIMEOUT_S = 900


def main(versions: list[str]) -> int:
    """Run the tests with each version and print the table; return the exit status."""
    say(f"{'Keras':<8} " + " ".join(f"{kind:>8}" for kind in KINDS) + "  seconds")
    failed = []
    for version in versions or VERSIONS:
        start = time.monotonic()
        status, output = run(version)
        counts = read(output)
        row = " ".join(f"{counts[kind]:>8}" for kind in KINDS)
        say(f"{version:<8} {row} {time.monotonic() - start:>8.0f}")
        if status != 0 or not counts["passed"]:
            failed.append(version)
            say("\n".join(f"  {line}" for line in output.splitlines()[-15:]))
    say(f"failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def run(version: str) -> tuple[int, str]:
    """Install ``version`` of Keras and run the tests with it; return the status and the output."""
    with tempfile.TemporaryDirectory(prefix="keras-version-") as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        status, output = _call([*pip, "--no-deps", "--target", folder, f"keras=={version}"])
        if status:
            return status, output
        paths = [folder, os.environ.get("PYTHONPATH", "")]
        variables = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        pytest = [sys.executable, "-m", "pytest", "-q", "--tb=line", "-W", WARNING]
        pytest += ["-p", "no:cacheprovider"]
        check = f"import keras; assert keras.__version__ == {version!r}, keras.__version__"
        status, output = _call([sys.executable, "-c", check], KERAS_BACKEND="pullback", **variables)
        return (status, output) if status else _call([*pytest, *TESTS], **variables)


def _call(command: list[str], **variables: str) -> tuple[int, str]:
    try:
        found = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **variables}, timeout=TIMEOUT_S, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 1, f"no end after {TIMEOUT_S} s: {' '.join(command)}"
    return found.returncode, found.stdout


def read(output: str) -> dict[str, int]:
    """Return the counts in the last line of pytest's output."""
    last = (output.splitlines() or [""])[-1]
    found = {kind.rstrip("s"): int(count) for count, kind in re.findall(r"(\d+) ([a-z]+)", last)}
    return {kind: found.get(kind.rstrip("s"), 0) for kind in KINDS}


def say(text: str) -> None:
    """Print a line, at once."""
    sys.stdout.write(text.rstrip() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
