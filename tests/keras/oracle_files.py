"""Trains a small model and saves it, or loads one, and prints what it evaluates to.

A program of its own, since a process has one backend: ``python oracle_files.py train|load FILE``.
"""

import sys

import numpy as np


def main(action, path):
    """Print loss and accuracy of the model in the file."""
    import keras

    rng = np.random.default_rng(0)
    x, y = rng.random((96, 8, 8, 1), np.float32), rng.integers(0, 3, 96)
    layers = keras.layers
    if action == "train":
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten(), layers.Dense(3)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"])
        model.fit(x, y, epochs=2, verbose=0)
        model.save(path)
    print(*keras.saving.load_model(path).evaluate(x, y, verbose=0))


if __name__ == "__main__":
    main(*sys.argv[1:])
