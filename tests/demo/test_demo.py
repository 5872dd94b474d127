"""The main job, as a user starts it: what it prints, what it writes, how well it learns."""

from __future__ import annotations

import importlib.util
import io
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
from pullback.demo.train import Epoch, as_rows, new_model, train

ROOT = Path(__file__).resolve().parents[2]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
FILES = ["digits.png", "loss.png", "model.keras"]
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
#: A stock program that knows nothing of pullback: the saved model, on the digits it is given.
EVALUATE = """
import sys
import keras
import numpy as np

with np.load(sys.argv[2]) as digits:
    x, y = digits["x"], digits["y"]
loss, accuracy = keras.models.load_model(sys.argv[1]).evaluate(x, y, verbose=0)
print(keras.backend.backend(), "pullback" in sys.modules, f"{accuracy:.4f}")
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The demo run as ``python -m``, from a folder of its own, through a pipe; and the folder."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pullback.demo"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return [line.rstrip() for line in done.stdout.splitlines()], folder


def rows_of_epochs(lines):
    return [line.split() for line in lines if re.match(r" *\d+ +\d\.\d{4}", line)]


def test_demo_prints_its_epochs_and_ends_with_the_accuracy(finished):
    lines, _ = finished

    rows = rows_of_epochs(lines)
    assert [row[0] for row in rows] == [str(number) for number in range(1, 11)]
    assert all(len(row) == 7 for row in rows)
    assert lines[-1] == f"test accuracy: {rows[-1][4]}"


def test_demo_learns_in_ten_epochs(finished):
    lines, _ = finished

    rows = rows_of_epochs(lines)
    assert float(lines[-1].removeprefix("test accuracy: ")) >= 0.90
    assert float(rows[-1][1]) < float(rows[0][1]) / 3


def test_demo_runs_on_this_backend(finished):
    lines, _ = finished

    assert re.match(r"Keras \d+\.\d+\.\d+ on pullback, threads ", lines[1])


def test_demo_writes_two_pictures_and_the_model(finished):
    import matplotlib.image

    lines, folder = finished

    assert sorted(path.name for path in (folder / "output").iterdir()) == FILES
    assert [lines[-3], lines[-2]] == [
        f"pictures: {Path('output', FILES[0])}, {Path('output', FILES[1])}",
        f"trained model: {Path('output', FILES[2])}",
    ]
    for name in FILES[:2]:
        path = folder / "output" / name
        assert path.read_bytes().startswith(PNG_SIGNATURE)
        pixels = matplotlib.image.imread(path)
        assert min(pixels.shape[:2]) > 300
        assert pixels[..., :3].min() < 0.2, f"there is ink on {name}"


def test_readme_shows_what_the_demo_prints(finished):
    """Line by line; figures of learning to a tolerance, for they depend on the processor.

    Times and the number of threads are not compared.
    """
    lines, _ = finished
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- demo -->", 1)[1]
    shown = text.split("```console\n$ make demo\n", 1)[1].split("\n```", 1)[0].splitlines()

    printed = [line for line in lines if line]
    shown = [line.rstrip() for line in shown if line.strip()]

    assert [words(line) for line in shown] == [words(line) for line in printed]
    ours, theirs = rows_of_epochs(printed), rows_of_epochs(shown)
    for row, other in zip(ours, theirs, strict=True):
        assert [float(x) for x in row[:5]] == pytest.approx([float(x) for x in other[:5]], abs=0.02)
    assert float(shown[-1].split()[-1]) == pytest.approx(float(printed[-1].split()[-1]), abs=0.02)


def words(line):
    """A line without its figures: what must be the same in every run."""
    return re.sub(r" +", " ", NUMBER.sub("#", line.replace("·", "#"))).strip()


@pytest.mark.peer
@pytest.mark.parametrize("backend", ["numpy", "jax", "tensorflow"])
def test_model_evaluates_to_the_same_accuracy_on_other_backends(finished, tmp_path, backend):
    """What was trained here is a stock Keras file."""
    lines, folder = finished
    needed = "jax" if backend == "numpy" else backend  # Keras's NumPy backend imports JAX
    if importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed")
    x, y = as_rows(*datasets.mnist10k()[1])
    np.savez(tmp_path / "digits.npz", x=x, y=y)

    done = subprocess.run(
        [sys.executable, "-c", EVALUATE, folder / "output" / "model.keras", "digits.npz"],
        cwd=tmp_path,
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [backend, "False", lines[-1].split()[-1]]


def test_demo_runs_where_only_ascii_can_be_printed(tmp_path, monkeypatch):
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written, encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", stdout)

    demo.main(["--epochs", "1", "--output", str(tmp_path)])

    lines = written.getvalue().decode("ascii").splitlines()
    assert lines[-1].startswith("test accuracy: 0.")


def test_demo_writes_where_it_is_told_and_leaves_nothing_else(tmp_path, capsys):
    folder = tmp_path / "new" / "folder"

    demo.main(["--epochs", "1", "--batch", "100", "--seed", "3", "--output", str(folder)])

    assert sorted(path.name for path in folder.iterdir()) == FILES
    printed = capsys.readouterr().out
    assert "Adam, batch 100\n" in printed
    assert str(folder / "model.keras") in printed


def test_training_repeats_bitwise_whatever_the_threads():
    """One seed, one result."""
    (x, y), (x_test, y_test) = datasets.mnist10k()
    training, testing = as_rows(x[:1000], y[:1000]), as_rows(x_test[:200], y_test[:200])
    found = []
    for threads in (1, 3):
        with config.override(threads=threads):
            model = new_model(seed=1)
            epochs = train(model, training, testing, epochs=2, batch=32)
        found.append(([(e.training, e.validation) for e in epochs], model.get_weights()))

    (metrics, weights), (other_metrics, other_weights) = found
    assert metrics == other_metrics
    assert all(np.array_equal(a, b) for a, b in zip(weights, other_weights, strict=True))


def test_seed_draws_other_weights():
    first, again, other = (new_model(seed).get_weights()[0] for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_epochs_are_reported_as_they_end_with_their_time():
    """100 rows in batches of 32 are four steps, the last of four rows."""
    (x, y), _ = datasets.mnist10k()
    rows = as_rows(x[:100], y[:100])
    reported: list[Epoch] = []

    epochs = train(new_model(0), rows, rows, epochs=3, batch=32, report=reported.append)

    assert reported == epochs
    assert [(e.number, e.steps) for e in epochs] == [(1, 4), (2, 4), (3, 4)]
    assert all(0 < e.seconds < 60 for e in epochs)
    assert epochs[1].microseconds_a_step == pytest.approx(epochs[1].seconds / 4 * 1e6)


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


def test_demo_refuses_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(SystemExit, match=r"cannot write to .*file.there: Not a directory"):
        demo.main(["--output", str(tmp_path / "file" / "there")])


@pytest.mark.parametrize("arguments", [["--epochs", "0"], ["--batch", "-1"], ["--seed", "x"]])
def test_demo_refuses_what_is_no_number(arguments, capsys):
    with pytest.raises(SystemExit):
        demo.main(arguments)

    assert "is not an integer" in capsys.readouterr().err
