"""The package: what it exports, and what importing it costs and loads."""

from __future__ import annotations

import subprocess
import sys

import pullback as pb


def test_everything_announced_exists():
    for name in pb.__all__:
        assert hasattr(pb, name)
        assert name in dir(pb)


def test_star_import_gives_the_transformations() -> None:
    names: dict[str, object] = {}

    exec("from pullback import *", names)

    assert {"grad", "jit", "GradientTape", "Variable", "tree", "scan"} <= names.keys()


def test_unknown_names_are_refused():
    assert not hasattr(pb, "no_such_name")


def test_importing_loads_neither_llvm_nor_scipy():
    """They cost more than all the rest, and not every process compiles."""
    code = (
        "import sys, pullback as pb;"
        "pb.grad(lambda x: x * x)(3.0);"
        "print([m for m in ('llvmlite', 'scipy', 'hypothesis', 'keras') if m in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"
