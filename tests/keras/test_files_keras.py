"""Files: what is saved is what is loaded, training goes on where it ended, bad files are refused.

Between backends: ``-m peer``.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

import pullback as pb

PROGRAM = Path(__file__).parent / "program_resume.py"
layers = keras.layers


def _data():
    rng = np.random.default_rng(3)
    return rng.normal(size=(96, 6)).astype("float32"), rng.integers(0, 3, 96)


def _model(units=8):
    """Moving statistics and Adam's slots must be restored as well as weights.

    No dropout: Keras does not save the state of its seeds, with any backend.
    """
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            layers.Input((6,)),
            layers.Dense(units, "relu", name="first"),
            layers.BatchNormalization(),
            layers.Dense(3, name="last"),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def _fit(model, first, last, callbacks=()):
    x, y = _data()
    return model.fit(
        x, y, 16, last, initial_epoch=first, shuffle=False, verbose=0, callbacks=list(callbacks)
    )


def _state(model):
    return [np.array(v) for v in [*model.variables, *model.optimizer.variables]]


def _assert_equal_states(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


# Training goes on


def test_training_resumed_from_a_keras_file_equals_training_that_never_ended(tmp_path):
    straight = _model()
    _fit(straight, 0, 4)
    halfway = _model()
    _fit(halfway, 0, 2)

    halfway.save(tmp_path / "model.keras")
    resumed = keras.saving.load_model(tmp_path / "model.keras")
    _fit(resumed, 2, 4)

    assert int(resumed.optimizer.iterations.value) == 4 * 6
    _assert_equal_states(_state(resumed), _state(straight))


def test_training_resumed_from_weights_equals_training_that_never_ended(tmp_path):
    straight = _model()
    _fit(straight, 0, 4)
    halfway = _model()
    _fit(halfway, 0, 2)

    halfway.save_weights(tmp_path / "model.weights.h5")
    resumed = _model()
    resumed.optimizer.build(resumed.trainable_variables)
    resumed.load_weights(tmp_path / "model.weights.h5")
    _fit(resumed, 2, 4)

    _assert_equal_states(_state(resumed), _state(straight))


class Interrupt(keras.callbacks.Callback):
    """Ends training as a crash would."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise KeyboardInterrupt


def _backup(folder):
    """Keeps the last two epochs: while one is written, the other is whole."""
    return keras.callbacks.BackupAndRestore(str(folder), double_checkpoint=True)


def _interrupted(folder):
    """A backup of two epochs of four."""
    backup = _backup(folder)
    with pytest.raises(KeyboardInterrupt):
        _fit(_model(), 0, 4, [backup, Interrupt(2)])


def test_interrupted_training_restored_from_a_backup_equals_training_that_never_ended(tmp_path):
    straight = _model()
    _fit(straight, 0, 4)
    _interrupted(tmp_path / "backup")

    resumed = _model()
    history = _fit(resumed, 0, 4, [_backup(tmp_path / "backup")])

    assert history.epoch == [2, 3]
    _assert_equal_states(_state(resumed), _state(straight))
    assert not (tmp_path / "backup").exists()  # training has ended well


def test_backup_whose_last_file_was_cut_short_falls_back_to_the_one_before(tmp_path):
    straight = _model()
    _fit(straight, 0, 4)
    _interrupted(tmp_path / "backup")
    weights = tmp_path / "backup" / "latest.weights.h5"
    weights.write_bytes(weights.read_bytes()[:3000])

    resumed = _model()
    history = _fit(resumed, 0, 4, [_backup(tmp_path / "backup")])

    assert history.epoch == [1, 2, 3]
    _assert_equal_states(_state(resumed), _state(straight))


def test_checkpoint_of_the_best_epoch_holds_that_epoch(tmp_path):
    path = tmp_path / "best.keras"
    seen = []
    model = _model()
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append((logs["loss"], model.get_weights()))
    )
    best = keras.callbacks.ModelCheckpoint(path, monitor="loss", save_best_only=True)
    _fit(model, 0, 3, [keep, best])
    model.optimizer.learning_rate = 10.0
    _fit(model, 3, 5, [keep, best])  # worse, and not saved

    loaded = keras.saving.load_model(path)

    expected = min(seen, key=lambda epoch: epoch[0])[1]
    assert seen[-1][0] > min(loss for loss, _ in seen)
    for ours, theirs in zip(loaded.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_weights_in_a_file_are_the_model_s_bytes(tmp_path):
    model = _model()
    path = tmp_path / "model.weights.h5"

    model.save_weights(path)

    with h5py.File(path) as file:
        kernel = file["layers/dense/vars/0"][()]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, model.get_layer("first").kernel)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_other_dtypes_survive_a_file(dtype, tmp_path):
    model = keras.Sequential([layers.Input((6,)), layers.Dense(3, dtype=dtype)])
    model.save(tmp_path / "model.keras")

    loaded = keras.saving.load_model(tmp_path / "model.keras")

    assert loaded.layers[0].kernel.dtype == dtype
    np.testing.assert_array_equal(
        np.asarray(loaded.layers[0].kernel, "float64"),
        np.asarray(model.layers[0].kernel, "float64"),
    )


# Bad files, and saves that fail


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_keras_file_cut_short_is_refused(share, tmp_path):
    path = tmp_path / "model.keras"
    _model().save(path)
    contents = path.read_bytes()
    path.write_bytes(contents[: int(share * len(contents))])

    with pytest.raises(ValueError, match=r"not found: .*model\.keras.* accessible `\.keras` zip"):
        keras.saving.load_model(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_weights_cut_short_are_refused_and_the_model_is_as_it_was(share, tmp_path):
    path = tmp_path / "model.weights.h5"
    _model().save_weights(path)
    contents = path.read_bytes()
    path.write_bytes(contents[: int(share * len(contents))])
    model = _model()
    _fit(model, 0, 1)
    before = _state(model)

    with pytest.raises(OSError, match="truncated file"):
        model.load_weights(path)

    _assert_equal_states(_state(model), before)


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_damaged_bytes_in_a_keras_file_are_found(name, tmp_path):
    path = tmp_path / "model.keras"
    _model().save(path)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(name).header_offset + 200
    contents = bytearray(path.read_bytes())
    contents[start : start + 16] = bytes(16 * [0x55])
    path.write_bytes(contents)

    with pytest.raises(zipfile.BadZipFile, match=f"Bad CRC-32 for file '{name}'"):
        keras.saving.load_model(path)


def test_weights_of_another_shape_are_refused_with_both_shapes(tmp_path):
    path = tmp_path / "model.weights.h5"
    _model(units=5).save_weights(path)
    model = _model(units=8)
    before = model.get_weights()

    with pytest.raises(
        ValueError, match=r"variable\.shape=\(6, 8\), Received: value\.shape=\(6, 5"
    ):
        model.load_weights(path)

    for ours, theirs in zip(model.get_weights(), before, strict=True):
        if ours.shape != (3,):  # the bias of the last layer has the shape of the file's
            np.testing.assert_array_equal(ours, theirs)
    assert np.isfinite(model.predict(_data()[0], verbose=0)).all()


def test_lambda_of_a_file_is_not_run_in_safe_mode(tmp_path):
    path = tmp_path / "model.keras"
    model = keras.Sequential([layers.Input((6,)), layers.Lambda(lambda x: 2 * x)])
    model.save(path)

    with pytest.raises(ValueError, match="arbitrary code execution"):
        keras.saving.load_model(path)

    x = _data()[0]
    trusted = keras.saving.load_model(path, safe_mode=False)
    np.testing.assert_array_equal(trusted.predict(x, verbose=0), 2 * x)


@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("builtins", "exec"), ("keras_pullback.src", "random")]
)
def test_file_that_names_foreign_code_is_refused(module, name, tmp_path):
    path, marker = tmp_path / "model.keras", tmp_path / "was_run"
    _model().save(path)
    config = {"module": module, "class_name": name, "config": f"touch {marker}"}
    _rewrite(path, lambda model: model["config"]["layers"].insert(1, config))

    with pytest.raises(TypeError, match="could not be deserialized"):
        keras.saving.load_model(path)

    assert not marker.exists()


def _rewrite(path, edit):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    edit(config)
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in members.items():
            archive.writestr(name, contents)


def test_save_that_cannot_be_written_leaves_the_old_file_and_the_model(tmp_path):
    path = tmp_path / "file" / "model.keras"
    path.parent.mkdir()
    model = _model()
    model.save(path)
    old = path.read_bytes()
    _fit(model, 0, 1)
    before = _state(model)

    for target in (path / "model.keras", path.parent):  # a folder that is a file, and a file that
        with pytest.raises((OSError, ValueError)):  # is a folder
            model.save(target)

    assert path.read_bytes() == old
    _assert_equal_states(_state(model), before)


def test_failure_in_the_middle_of_a_backup_leaves_the_one_before(tmp_path, monkeypatch):
    """The disk fills up while the third epoch is saved."""
    straight = _model()
    _fit(straight, 0, 4)
    model = _model()
    save = model.save_weights

    def fail(filepath, overwrite=True):
        save(filepath, overwrite=overwrite)
        if int(model.optimizer.iterations.value) == 3 * 6:
            os.truncate(filepath, 3000)
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "save_weights", fail)
    with pytest.raises(OSError, match="No space left"):
        _fit(model, 0, 4, [_backup(tmp_path / "backup")])

    resumed = _model()
    history = _fit(resumed, 0, 4, [_backup(tmp_path / "backup")])

    assert history.epoch == [2, 3]
    _assert_equal_states(_state(resumed), _state(straight))


def test_model_saved_to_memory_is_the_model_in_the_file(tmp_path):
    model, buffer = _model(), io.BytesIO()
    _fit(model, 0, 1)

    keras.src.saving.saving_lib.save_model(model, buffer)
    (tmp_path / "model.keras").write_bytes(buffer.getvalue())

    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = _data()[0]
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


# Quantization


@pytest.fixture(scope="module")
def digits():
    """A file with a trained classifier, and the digits that it has not seen."""
    (x, y), (x_test, y_test) = pb.datasets.mnist10k()
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((28, 28)),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(64, "relu"),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    model.fit(x, y, epochs=3, verbose=0)
    return model, x_test, y_test


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize(
    ("mode", "points", "error"), [("int8", 0.0025, 0.01), ("int4", 0.01, 0.06)]
)
def test_quantized_digits_are_recognized_within_the_margin(mode, points, error, digits, tmp_path):
    """``points`` of accuracy may be lost; logits may err by a share ``error`` of their spread."""
    model, x, y = digits
    logits = model.predict(x, verbose=0)
    accuracy = np.mean(logits.argmax(1) == y)
    quantized = keras.models.clone_model(model)
    quantized.set_weights(model.get_weights())

    quantized.quantize(mode)
    found = quantized.predict(x, verbose=0)

    assert quantized.layers[2].kernel.dtype == "int8"  # int4: two in a byte
    assert not np.array_equal(found, logits)
    assert np.abs(found - logits).mean() < error * logits.std()
    assert np.mean(found.argmax(1) == y) > accuracy - points

    quantized.save(tmp_path / "model.keras")
    # Without the optimizer, whose slots are of what was trained, before quantization.
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), found)


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_quantized_layers_compute_with_integers():
    """The product of the integer kernel and the rounded inputs, written out."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([layers.Input((6,)), layers.Dense(4, use_bias=False)])
    x = _data()[0]
    kernel = np.array(model.layers[0].kernel)

    model.quantize("int8")

    scale = 127 / np.abs(kernel).max(0)
    rows = 127 / np.abs(x).max(1, keepdims=True)
    expected = np.round(x * rows) @ np.round(kernel * scale) / (rows * scale)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=2e-2, atol=2e-2)
    np.testing.assert_allclose(model.layers[0].kernel, np.round(kernel * scale), atol=1)


# Between backends


@pytest.mark.peer
@pytest.mark.parametrize(("writer", "reader"), [("pullback", "jax"), ("jax", "pullback")])
def test_training_goes_on_alike_on_the_other_backend(writer, reader, tmp_path):
    """Losses of two epochs: weights, Adam's state and moving statistics come from the files."""
    _run(writer, str(PROGRAM), "start", str(tmp_path / "stays"))
    shutil.copytree(tmp_path / "stays", tmp_path / "moves")  # going on writes into it

    expected = _resume(writer, tmp_path / "stays")
    found = _resume(reader, tmp_path / "moves")

    ways = ["from_file", "from_checkpoint", "from_weights", "from_backup"]
    assert list(found) == list(expected) == ways
    for way in ways:
        assert len(found[way]) == 4  # two losses, and what evaluate says
        assert found[way] == pytest.approx(expected[way], rel=1e-5)
        assert found[way] == pytest.approx(found["from_file"], rel=1e-5)


@pytest.mark.peer
@pytest.mark.parametrize("reader", ["numpy", "torch"])
def test_saved_model_evaluates_alike_elsewhere(reader, tmp_path):
    """NumPy cannot train: that it evaluates the file is all that is asked."""
    x, y = _data()
    model = _model()
    _fit(model, 0, 2)
    model.save(tmp_path / "model.keras")
    np.savez(tmp_path / "data.npz", x=x, y=y)

    script = (
        "import keras, numpy as np; data = np.load('data.npz');"
        "model = keras.saving.load_model('model.keras');"
        "print(*model.evaluate(data['x'], data['y'], verbose=0))"
    )
    found = _run(reader, "-c", script, folder=tmp_path)

    expected = model.evaluate(x, y, verbose=0)
    assert [float(number) for number in found.split()] == pytest.approx(expected, rel=1e-5)


def _resume(backend, folder):
    lines = _run(backend, str(PROGRAM), "resume", str(folder)).splitlines()
    return {line.split()[0]: [float(number) for number in line.split()[1:]] for line in lines}


def _run(backend, *arguments, folder=None):
    """What Python prints with Keras on a backend."""
    needed = {"numpy": ("jax",), "pullback": ()}.get(backend, (backend,))
    for name in needed:  # Keras's NumPy backend imports JAX
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: `make bench` installs it")
    start = ["-m", "pullback.keras"] if backend == "pullback" else []
    result = subprocess.run(
        [sys.executable, "-W", "ignore", *start, *arguments], cwd=folder,
        env={**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout
