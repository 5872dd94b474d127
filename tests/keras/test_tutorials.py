"""The five tutorials' own programs train here: only imports and their slips are changed.

The programs are kept as they were given in ``tests/tutorials/programs``. A line that imports is
changed by the first of these rules that fits its beginning (``IMPORTS``):

    import tensorflow as tf      ->  import pullback as tf
                                     (programs 3 and 4: import pullback.compat.v1 as tf)
    from tensorflow.keras.       ->  from pullback.keras.
    from keras.datasets          ->  from pullback.datasets
    from keras.                  ->  from pullback.keras.

``SLIPS`` mends what cannot run anywhere: the second program says ``...`` where its data should be,
the fourth does not import NumPy, the fifth flattens its pictures twice. (The first does not define
its data either; they are given to it as names.) ``CHANGES`` writes down all that comes of it.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from pullback import datasets

PROGRAMS = Path(__file__).resolve().parents[1] / "tutorials" / "programs"

IMPORTS = {
    "import tensorflow as tf": "import pullback as tf",
    "from tensorflow.keras.": "from pullback.keras.",
    "from keras.datasets ": "from pullback.datasets ",
    "from keras.": "from pullback.keras.",
}
#: Programs written for TensorFlow 1: graphs and sessions.
GRAPHS = {3, 4}
SLIPS = {
    2: {"x_train = ...": "x_train = given_x", "y_train = ...": "y_train = given_y"},
    4: {"import pullback.compat.v1 as tf": "import pullback.compat.v1 as tf\nimport numpy as np"},
    5: {"Flatten(input_shape=(28, 28))": "Flatten(input_shape=(784,))"},
}
#: Every line that is not as it was given: those taken away, those put in.
CHANGES = {
    1: """
- import tensorflow as tf
- from tensorflow.keras.models import Sequential
- from tensorflow.keras.layers import Dense
+ import pullback as tf
+ from pullback.keras.models import Sequential
+ from pullback.keras.layers import Dense
""",
    2: """
- import tensorflow as tf
+ import pullback as tf
- x_train = ...
- y_train = ...
+ x_train = given_x
+ y_train = given_y
""",
    3: """
- import tensorflow as tf
+ import pullback.compat.v1 as tf
""",
    4: """
- import tensorflow as tf
+ import pullback.compat.v1 as tf
+ import numpy as np
""",
    5: """
- from keras.datasets import mnist
- from keras.models import Sequential
- from keras.layers import Dense, Flatten
- from keras.utils import to_categorical
+ from pullback.datasets import mnist
+ from pullback.keras.models import Sequential
+ from pullback.keras.layers import Dense, Flatten
+ from pullback.keras.utils import to_categorical
- model.add(Flatten(input_shape=(28, 28)))
+ model.add(Flatten(input_shape=(784,)))
""",
}
#: Digits of every kind that Python's ``print`` makes of a number.
NUMBER = r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)"


@pytest.fixture(autouse=True)
def _fresh():
    keras.utils.set_random_seed(5)
    yield
    keras.backend.clear_session()


def given(number: int) -> str:
    """The program of a tutorial as it was given."""
    return (PROGRAMS / f"program_{number}.py.txt").read_text(encoding="utf-8")


def mended(number: int) -> str:
    """The program with its imports changed by the rule, and its slips mended."""
    lines = []
    for line in given(number).splitlines():
        for beginning, ours in IMPORTS.items():
            if line.startswith(beginning):
                line = ours + line.removeprefix(beginning)
                break
        if number in GRAPHS and line == "import pullback as tf":
            line = "import pullback.compat.v1 as tf"
        lines.append(line)
    program = "\n".join(lines) + "\n"
    for slip, right in SLIPS.get(number, {}).items():
        assert program.count(slip) == 1
        program = program.replace(slip, right)
    return program


def run(number: int, **names: object) -> tuple[dict[str, Any], list[str]]:
    """Run the program here, with these names defined; what it defined, and the lines it printed."""
    written = io.StringIO()
    namespace: dict[str, Any] = {"__name__": "__main__", **names}
    with contextlib.redirect_stdout(written):
        exec(compile(mended(number), f"<program {number}>", "exec"), namespace)
    return namespace, written.getvalue().splitlines()


def run_alone(number: int, observe: str) -> tuple[Any, list[str]]:
    """Run a program of graphs in a process of its own, seeded.

    Args:
        number: The program's.
        observe: What to evaluate when its session has done everything else.

    Returns:
        What was observed, as nested lists, and the lines that the program printed.
    """
    seed = "import pullback.compat.v1 as tf\ntf.set_random_seed(1)\n"
    ending = f"\n    observed = {observe}\nimport json\nprint(json.dumps(observed.tolist()))\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", seed + mended(number) + ending],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    return json.loads(last), lines


def rows(images):
    return images.reshape(len(images), 784).astype("float32") / 255


@pytest.mark.parametrize("number", CHANGES)
def test_only_imports_and_slips_are_changed(number):
    before, after = given(number).splitlines(), mended(number).splitlines()

    _, _, *differences = difflib.unified_diff(before, after, n=0, lineterm="")
    changed = [f"{line[0]} {line[1:]}" for line in differences if line[0] in "+-"]
    assert changed == CHANGES[number].strip("\n").splitlines()


def test_first_program_reads_digits():
    (x, y), (x_test, y_test) = datasets.mnist10k()

    with pytest.warns(UserWarning, match="input_shape"):
        names, printed = run(1, x_train=rows(x), y_train=y, x_test=rows(x_test), y_test=y_test)

    assert names["accuracy"] > 0.88
    assert printed[-1] == f"Loss: {names['loss']}, Accuracy: {names['accuracy']}"
    assert sum("Epoch " in line for line in printed) == 10
    predicted = names["model"].predict(rows(x_test), verbose=0).argmax(axis=1)
    assert np.mean(predicted == y_test) == pytest.approx(names["accuracy"])


def test_second_program_lowers_the_error_to_a_tenth():
    """Threes and eights, 20 batches of 32, ten times; the error is measured on other digits."""
    (x, y), (x_test, y_test) = datasets.mnist10k()
    chosen, chosen_test = np.isin(y, [3, 8]), np.isin(y_test, [3, 8])
    given_x = rows(x[chosen][:640]).reshape(20, 32, 784)
    given_y = (y[chosen][:640] == 8).astype("float32").reshape(20, 32, 1)
    wanted = (y_test[chosen_test] == 8).astype("float32")[:, None]
    keras.utils.set_random_seed(0)
    untrained = keras.Sequential([keras.layers.Dense(10, "sigmoid"), keras.layers.Dense(1)])
    before = np.mean((np.asarray(untrained(rows(x_test[chosen_test]))) - wanted) ** 2)

    keras.utils.set_random_seed(0)
    names, _ = run(2, given_x=given_x, given_y=given_y)

    error = np.mean((np.asarray(names["model"](rows(x_test[chosen_test]))) - wanted) ** 2)
    assert int(names["optimizer"].iterations) == 200
    assert error < before / 10
    assert error < 0.05


def test_third_program_finds_the_slope():
    """Each step multiplies the distance to 2 by 0.78, and so the cost by 0.78 ** 2."""
    weight, printed = run_alone(3, "sess.run(W)")

    assert weight == [[pytest.approx(2.0, abs=1e-2)]]
    steps = [re.fullmatch(rf"step: {NUMBER} cost: {NUMBER}", line) for line in printed]
    assert [step[1] for step in steps if step] == [str(i) for i in range(0, 100, 10)]
    costs = [float(step[2]) for step in steps if step]
    assert costs[1] / costs[0] == pytest.approx(0.78**20, rel=1e-2)
    assert costs[2] / costs[1] == pytest.approx(0.78**20, rel=1e-2)
    assert costs[-1] < 1e-9


def test_fourth_program_comes_near_both_points():
    """0.5 and 0.6 are wanted; two sigmoids of one unit answer both with about 0.55."""
    predicted, printed = run_alone(
        4, "sess.run(prediction, feed_dict={x: [[0.1, 0.2], [0.3, 0.4]]})"
    )

    *steps, last = printed
    found = [re.fullmatch(rf"Step: {NUMBER} Loss: {NUMBER}", line) for line in steps]
    assert [step[1] for step in found if step] == [str(i) for i in range(0, 1000, 100)]
    losses = [float(step[2]) for step in found if step]
    assert losses == sorted(losses, reverse=True)
    assert len(set(losses)) == len(losses)
    assert losses[-1] < 0.003
    assert [x for (x,) in predicted] == pytest.approx([0.55, 0.55], abs=0.05)
    assert predicted[0] < predicted[1]
    elsewhere = re.fullmatch(rf"Prediction: \[\[{NUMBER}\]\]", last)
    assert elsewhere is not None
    assert 0.5 < float(elsewhere[1]) < 0.65


def test_fifth_program_reads_digits_with_one_layer():
    with pytest.warns(UserWarning, match="input_shape"):
        names, _ = run(5)

    history = names["model"].history.history
    assert len(history["val_accuracy"]) == 10
    assert history["val_accuracy"][-1] > 0.87
    assert history["loss"][-1] < history["loss"][0] / 3
