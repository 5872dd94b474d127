"""The hook's tests with each version of Keras: ``python tools/keras_versions.py [version ...]``.

Each version is installed into a temporary folder that comes before this environment's Keras.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: The first and the last of each minor version that ``pullback_hook.patch`` lets pass.
VERSIONS = ("3.12.0", "3.12.4", "3.13.0", "3.13.2", "3.14.0", "3.14.1", "3.15.0", "3.15.1")
TESTS = ("tests/keras/test_selection.py",)


def main(versions: list[str]) -> int:
    """Run the tests with each version; return the exit status."""
    failed = [version for version in versions or VERSIONS if not passes(version)]
    sys.stdout.write(f"failed: {', '.join(failed) or 'none'}\n")
    return 1 if failed else 0


def passes(version: str) -> bool:
    """Whether the tests pass with ``version`` of Keras."""
    sys.stdout.write(f"Keras {version}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="keras-version-") as folder:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-deps", "--target", folder, f"keras=={version}"], check=True)
        paths = [folder, os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
