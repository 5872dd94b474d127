"""The main job, as a user starts it: what it prints, what it writes, how well it learns."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pullback import config, datasets
from pullback.demo import __main__ as demo
from pullback.demo.report import confusion_matrix
from pullback.demo.train import Classifier

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def classifier() -> Classifier:
    """A network that has not been trained, on all the digits."""
    return Classifier(*datasets.mnist10k())


def test_demo_prints_tables_and_writes_a_picture(tmp_path):
    """Run as ``python -m``, from a folder of its own, through a pipe."""
    command = [sys.executable, "-W", "error", "-m", "pullback.demo", "--epochs", "2"]

    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, encoding="utf-8"
    )

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"test accuracy: 0\.\d{4}", lines[-1])
    assert lines[-2] == f"picture: {Path('output', 'digits.png')}"
    rows = [line.split() for line in lines if re.match(r" *\d+ +\d\.\d{4}", line)]
    assert [row[0] for row in rows] == ["1", "2"]
    assert all(len(row) == 7 for row in rows)
    assert f"test accuracy: {rows[-1][4]}" == lines[-1]


def test_demo_runs_where_only_ascii_can_be_printed(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pullback.demo", "--epochs", "1"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.isascii()
    assert done.stdout.splitlines()[-1].startswith("test accuracy: 0.")


def test_demo_writes_its_picture_where_it_is_told(tmp_path, capsys):
    import matplotlib.image

    demo.main(["--epochs", "1", "--output", str(tmp_path / "new" / "folder")])

    path = tmp_path / "new" / "folder" / "digits.png"
    assert path.read_bytes().startswith(PNG_SIGNATURE)
    assert [p.name for p in path.parent.iterdir()] == ["digits.png"]
    pixels = matplotlib.image.imread(path)
    assert min(pixels.shape[:2]) > 400
    assert pixels[..., :3].min() < 0.2, "there is ink on it"
    assert str(path) in capsys.readouterr().out.replace("\n", "")


def test_demo_learns_in_ten_epochs(classifier):
    epochs = [classifier.train_epoch() for _ in range(10)]

    assert epochs[-1].validation.accuracy >= 0.90
    assert epochs[-1].training.loss < epochs[0].training.loss / 3
    assert [epoch.number for epoch in epochs] == list(range(1, 11))


def test_demo_repeats_bitwise_whatever_the_threads(classifier):
    """One seed, one result."""
    with config.override(threads=1):
        first = classifier.train_epoch()
    with config.override(threads=3):
        second = Classifier(*datasets.mnist10k()).train_epoch()

    assert first.training == second.training
    assert first.validation == second.validation


def test_evaluate_counts_what_it_predicts(classifier):
    metrics, predicted = classifier.evaluate()

    truth = datasets.mnist10k()[1][1]
    assert predicted.shape == truth.shape
    assert metrics.accuracy == pytest.approx(np.mean(predicted == truth))


def test_compile_leaves_the_classifier_as_it_was(classifier):
    before = [np.array(x) for x in classifier.state.parameters[0]]

    classifier.compile()

    after = classifier.state.parameters[0]
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert classifier.epochs == 0


def test_confusion_matrix_has_the_truth_in_rows():
    matrix = confusion_matrix(np.array([3, 3, 9], np.uint8), np.array([3, 5, 9]))

    assert (matrix[3, 3], matrix[3, 5], matrix[9, 9]) == (1, 1, 1)
    assert matrix.sum() == 3


@pytest.mark.parametrize("missing", ["rich", "matplotlib"])
def test_demo_names_the_extra_that_is_missing(monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == missing else find(name)
    )

    with pytest.raises(SystemExit, match=rf'{missing}.*pip install "pullback\[demo\]"'):
        demo.main([])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch", "8001"], "expected 1 to 8000"),
        (["--output", "/dev/null/there"], "cannot write to /dev/null/there: Not a directory"),
    ],
)
def test_demo_refuses_what_cannot_work(arguments, message):
    with pytest.raises(SystemExit, match=message):
        demo.main(arguments)


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--batch", "-1"], ["--seed", "x"]])
def test_demo_refuses_what_is_no_number(arguments, capsys):
    with pytest.raises(SystemExit):
        demo.main(arguments)

    assert "is not an integer" in capsys.readouterr().err
