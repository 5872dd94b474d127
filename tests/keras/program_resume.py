"""Trains a small model halfway and saves it in four ways, or goes on from each of them.

A program of its own, since a process has one backend: ``python program_resume.py start|resume
FOLDER``. ``resume`` prints a line for each way: its name, the losses of the epochs that were left,
and what the model evaluates to.
"""

import sys
from pathlib import Path

import numpy as np


def make(keras):
    """A convolution with moving statistics, and Adam with two slots a weight."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            layers.Input((6, 6, 1)),
            layers.Conv2D(3, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


def from_file(keras, folder):
    """What ``model.save`` has written."""
    return keras.saving.load_model(folder / "model.keras"), []


def from_checkpoint(keras, folder):
    """What ``ModelCheckpoint`` has written."""
    return keras.saving.load_model(folder / "checkpoint.keras"), []


def from_weights(keras, folder):
    """What ``model.save_weights`` has written."""
    model = make(keras)
    model.optimizer.build(model.trainable_variables)
    model.load_weights(folder / "model.weights.h5")
    return model, []


def from_backup(keras, folder):
    """What ``BackupAndRestore`` has written: it finds out by itself where to go on."""
    backup = keras.callbacks.BackupAndRestore(str(folder / "backup"), delete_checkpoint=False)
    return make(keras), [backup]


def main(action, folder):
    """Do it."""
    import keras

    rng = np.random.default_rng(0)
    x, y = rng.random((96, 6, 6, 1), np.float32), rng.integers(0, 3, 96)
    folder = Path(folder)
    if action == "start":
        model, callbacks = make(keras), from_backup(keras, folder)[1]
        callbacks.append(keras.callbacks.ModelCheckpoint(folder / "checkpoint.keras"))
        model.fit(x, y, epochs=2, shuffle=False, verbose=0, callbacks=callbacks)
        model.save(folder / "model.keras")
        model.save_weights(folder / "model.weights.h5")
        return
    for way in (from_file, from_checkpoint, from_weights, from_backup):
        model, callbacks = way(keras, folder)
        first = 0 if callbacks else 2
        history = model.fit(
            x, y, initial_epoch=first, epochs=4, shuffle=False, verbose=0, callbacks=callbacks
        )
        print(way.__name__, *history.history["loss"], *model.evaluate(x, y, verbose=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
