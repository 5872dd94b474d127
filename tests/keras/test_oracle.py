"""The same model from the same seed on Keras's JAX backend: every loss, and the weights."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
MODELS = ("mlp", "cnn", "lstm", "transformer", "float8")

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


@pytest.mark.parametrize(("writer", "reader"), [("pullback", "jax"), ("jax", "pullback")])
def test_saved_models_evaluate_alike_on_the_other_backend(writer, reader, tmp_path):
    if importlib.util.find_spec("jax") is None:
        pytest.skip("JAX is not installed: `make bench` installs it")
    file = str(tmp_path / "model.keras")

    expected = _run(writer, "oracle_files.py", "train", file).split()
    found = _run(reader, "oracle_files.py", "load", file).split()

    assert [float(x) for x in found] == pytest.approx([float(x) for x in expected], rel=1e-5)


def _train(model, backend, out):
    _run(backend, "oracle_models.py", model, str(out))
    with np.load(out) as arrays:
        return dict(arrays)


def _run(backend, program, *arguments):
    """What the program prints with Keras on a backend."""
    environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
    run = ["-m", "pullback.keras"] if backend == "pullback" else []
    return subprocess.run(
        [sys.executable, *run, str(HERE / program), *arguments],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    ).stdout
