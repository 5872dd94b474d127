"""The same model from the same seed on Keras's JAX backend: every loss, and the weights."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("oracle_models.py")
MODELS = ("mlp", "cnn", "lstm", "transformer")

pytestmark = pytest.mark.peer


@pytest.mark.parametrize("model", MODELS)
def test_first_hundred_steps_agree_with_jax(model, tmp_path):
    """Relative 1e-5 for losses: random numbers, initial weights and batches are the same bits."""
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed: `make bench` installs it")
    found = {name: _train(model, name, tmp_path / f"{name}.npz") for name in ("pullback", "jax")}

    ours, theirs = found["pullback"], found["jax"]
    assert len(ours["losses"]) == 100
    np.testing.assert_allclose(ours["losses"], theirs["losses"], rtol=1e-5)
    for name in theirs:
        if name != "losses":
            np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-4)


def _train(model, backend, out):
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    run = ["-m", "pullback.keras"] if backend == "pullback" else []
    subprocess.run(
        [sys.executable, *run, str(PROGRAM), model, str(out)],
        env=environment,
        check=True,
        capture_output=True,
        timeout=300,
    )
    with np.load(out) as arrays:
        return dict(arrays)
