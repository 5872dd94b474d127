"""Many calls do not grow memory, and models that are dropped give theirs back: ``-m slow``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc"),
]
PROGRAM = Path(__file__).parent / "program_memory.py"


@pytest.mark.parametrize(
    ("action", "calls"), [("fit", 1000), ("predict", 10000), ("batches", 10000)]
)
def test_calls_keep_no_memory(action, calls):
    """Less than 1 MiB in all: a megabyte is 1 KB a `fit`, and the arrays of one take 13 KB."""
    found = _measure(action)

    assert found["calls"] == calls
    assert found["kib"] < 1024


def test_dropped_models_give_everything_back():
    """Nothing of 200 models is alive, and 100 of them, after 100, keep less than 50 KiB each.

    Twenty is what was measured, some of it Keras's; LLVM keeps about 9 KB for each program that it
    compiles. A model that is kept takes 660.
    """
    found = _measure("models")

    assert found["left"] == []
    assert found["watched"] == 200 * 4  # a model, its optimizer and two layers
    assert found["after"] == found["before"]
    assert found["kib"] < 50 * found["calls"]


def test_memory_that_is_kept_is_seen():
    """The measurement itself: 1,000 arrays of 12 KB are found."""
    assert 10_000 < _measure("keep")["kib"] < 20_000


def _measure(action):
    result = subprocess.run(
        [sys.executable, str(PROGRAM), action], env={**os.environ, "KERAS_BACKEND": "pullback"},
        capture_output=True, text=True, timeout=1200, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    print(action, result.stdout)  # shown with -s, and when the test fails
    return json.loads(result.stdout)
