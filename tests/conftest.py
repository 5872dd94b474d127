"""What every test may use: a seeded generator, golden files, and Hypothesis made repeatable."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

GOLDEN = Path(__file__).parent / "golden"

settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write tests/golden/*.txt instead of comparing"
    )
    parser.addoption("--seed", type=int, default=0, help="seed of the rng fixture (default 0)")


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """A generator seeded by the option --seed and the test's name; failing tests print the seed."""
    base = request.config.getoption("--seed")
    seed = (base, zlib.crc32(request.node.nodeid.encode()))
    print(f"rng seed: {seed}; repeat with --seed={base}")  # shown when the test fails
    return np.random.default_rng(seed)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with ``tests/golden/<name>.txt``, or write it with --update-golden."""

    def compare(name: str, text: str) -> None:
        path = GOLDEN / f"{name}.txt"
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n", encoding="utf-8")
        expected = path.read_text(encoding="utf-8") if path.exists() else "(no golden file)\n"
        assert expected == text + "\n", f"{path} differs; if it should, run with --update-golden"

    return compare
