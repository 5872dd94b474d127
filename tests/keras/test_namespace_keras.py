"""``pullback.keras`` as the namespace of Keras, and the digits in Keras's form."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import pullback as pb
from pullback import datasets

Run = Callable[..., str]

LOADED = "any(name.split('.')[0] == 'keras' for name in sys.modules)"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a script in a process of its own; return what it prints."""

    def start(script: str, **variables: str) -> str:
        environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
        environment |= {"KERAS_HOME": str(tmp_path), **variables}
        result = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return result.stdout.strip()

    return start


def test_names_and_submodules_are_the_very_ones_of_keras(run: Run) -> None:
    script = (
        "import pullback as tf\n"
        "from pullback.keras.models import Sequential\n"
        "from pullback.keras.layers import Dense\n"
        "from pullback.keras import datasets, layers\n"
        "import pullback.keras.datasets.mnist as mnist\n"
        "import pullback.keras.optimizers\n"
        "import keras\n"
        "assert Sequential is keras.models.Sequential is tf.keras.Sequential\n"
        "assert Dense is keras.layers.Dense is tf.keras.layers.Dense\n"
        "assert datasets is keras.datasets and layers is keras.layers\n"
        "assert mnist is keras.datasets.mnist\n"
        "assert pullback.keras.optimizers is keras.optimizers\n"
        "assert tf.keras.__version__ == keras.__version__\n"
        "assert layers.__spec__.name == layers.__name__ == 'keras.layers'\n"
        "print(keras.backend.backend())"
    )
    assert run(script) == "pullback"


def test_what_keras_has_not_is_refused(run: Run) -> None:
    script = (
        "import pullback as tf; tf.keras.layers\n"
        "for statement in ('tf.keras.nothing', 'from pullback.keras import nothing',\n"
        "                  'import pullback.keras.nothing'):\n"
        "    try:\n"
        "        exec(statement)\n"
        "    except (AttributeError, ImportError) as e:\n"
        "        print(f'{type(e).__name__}: {e}')"
    )
    found = run(script).splitlines()
    assert found[0] == "AttributeError: module 'keras' has no attribute 'nothing'"
    assert found[1].startswith("ImportError: cannot import name 'nothing' from 'pullback.keras'")
    assert found[2] == "ModuleNotFoundError: No module named 'pullback.keras.nothing'"


def test_keras_that_was_imported_first_is_the_one(run: Run) -> None:
    script = (
        "import keras.layers\n"
        "from pullback.keras import layers\n"
        "import pullback.keras.models as models\n"
        "print(layers is keras.layers and models is keras.models, keras.backend.backend())"
    )
    assert run(script, KERAS_BACKEND="pullback") == "True pullback"


def test_keras_is_imported_when_a_name_of_it_is_asked_for(run: Run) -> None:
    script = (
        "import sys, pullback, pullback.keras\n"
        "assert {'Sequential', 'layers', 'install'} <= {*dir(pullback.keras)}\n"
        "for name in ('pytest_plugins', '__wrapped__', 'no_such_name'):\n"
        "    assert not hasattr(pullback.keras, name)\n"
        f"assert not {LOADED} and 'llvmlite' not in sys.modules\n"
        "pullback.keras.layers\n"
        f"print({LOADED})"
    )
    assert run(script) == "True"


def test_import_of_pullback_imports_neither_keras_nor_the_namespace(run: Run) -> None:
    script = (
        "import sys, pullback; exec('from pullback import *', {})\n"
        f"print({LOADED}, 'pullback.keras' in sys.modules, 'pullback.compat' in sys.modules,\n"
        "      'keras' in dir(pullback), 'compat' in dir(pullback))"
    )
    assert run(script) == "False False False True True"


def test_set_backend_leaves_no_old_modules(run: Run) -> None:
    script = (
        "import pullback.keras, pullback.keras.models, keras\n"
        "old = pullback.keras.models\n"
        "keras.config.set_backend('pullback')\n"
        "import keras\n"
        "assert keras.models is not old\n"
        "assert pullback.keras.models is keras.models\n"
        "from pullback.keras import models\n"
        "assert models is keras.models\n"
        "import pullback.keras.models as models\n"
        "print(models is keras.models)"
    )
    assert run(script) == "True"


@pytest.mark.peer
def test_another_backend_is_respected(run: Run) -> None:
    pytest.importorskip("jax")
    script = "import pullback as tf; print(tf.keras.backend.backend())"
    assert run(script, KERAS_BACKEND="jax") == "jax"


def test_a_training_step_by_tape_with_one_import(run: Run) -> None:
    script = (
        "import pullback as tf\n"
        "import numpy as np\n"
        "tf.keras.utils.set_random_seed(1)\n"
        "model = tf.keras.Sequential([tf.keras.layers.Dense(4, activation='sigmoid'),\n"
        "                             tf.keras.layers.Dense(1)])\n"
        "loss_fn = tf.keras.losses.MeanSquaredError()\n"
        "optimizer = tf.keras.optimizers.Adam(learning_rate=0.05)\n"
        "x = np.linspace(-1, 1, 16, dtype='float32').reshape(-1, 1)\n"
        "losses = []\n"
        "for _ in range(20):\n"
        "    with tf.GradientTape() as tape:\n"
        "        loss = loss_fn(2 * x, model(x))\n"
        "    gradients = tape.gradient(loss, model.trainable_variables)\n"
        "    optimizer.apply_gradients(zip(gradients, model.trainable_variables))\n"
        "    losses.append(float(loss))\n"
        "print(len(model.trainable_variables), losses[-1] < losses[0])"
    )
    assert run(script) == "4 True"


# Digits -------------------------------------------------------------------------------------------


def test_the_digits_come_in_kerass_form() -> None:
    from pullback.datasets import mnist

    (x_train, y_train), (x_test, y_test) = mnist.load_data()

    assert (x_train.shape, y_train.shape) == ((8000, 28, 28), (8000,))
    assert (x_test.shape, y_test.shape) == ((2000, 28, 28), (2000,))
    assert {a.dtype for a in (x_train, y_train, x_test, y_test)} == {np.dtype("uint8")}
    assert set(y_train) == set(y_test) == set(range(10))
    assert x_train.max() == 255
    (again, _), _ = datasets.mnist10k()
    np.testing.assert_array_equal(x_train, again)
    x_train[0] = 0
    assert pb.datasets.mnist.load_data()[0][0][0].any()
