"""Batch, mini-batch and stochastic descent: 1, 62 or 2,000 steps an epoch over the same digits."""

import sys
import time
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
import numpy as np
from pullback import datasets

ROWS = 2000
EPOCHS = 6
PARTS = 10  # how often an epoch is looked at
BATCHES = {"batch": ROWS, "mini-batch": 32, "stochastic": 1}


def create():
    """A classifier whose first weights are the same each time."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.02), "sparse_categorical_crossentropy")
    return model


def descend(batch_size):
    """The loss on all rows after each part of each epoch, and the seconds that training took."""
    (x, y), _ = datasets.mnist10k()
    x, y = x[:ROWS], y[:ROWS]
    model = create()
    start = model.get_weights()
    parts = 1 if batch_size == ROWS else PARTS
    size = ROWS // parts
    model.fit(x[:size], y[:size], batch_size=batch_size, verbose=0)  # compiles
    model.set_weights(start)
    epochs, losses, seconds = [0.0], [model.evaluate(x, y, batch_size=ROWS, verbose=0)], [0.0]
    for i in range(EPOCHS * parts):
        part = slice(i % parts * size, (i % parts + 1) * size)
        begin = time.perf_counter()
        model.fit(x[part], y[part], batch_size=batch_size, verbose=0)
        seconds.append(seconds[-1] + time.perf_counter() - begin)
        losses.append(model.evaluate(x, y, batch_size=ROWS, verbose=0))
        epochs.append((i + 1) / parts)
    return np.array(epochs), np.array(losses), np.array(seconds)


def noise(losses):
    """The part of the way that went uphill: 0 for a loss that always falls."""
    steps = np.diff(losses)
    return steps[steps > 0].sum() / np.abs(steps).sum()


def draw(runs, path):
    """The loss on all rows against epochs, and against the time that training took."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
    for name, (epochs, losses, seconds) in runs.items():
        left.plot(epochs, losses, marker=".")
        right.plot(1000 * seconds[1:], losses[1:], marker=".", label=f"{name}, {BATCHES[name]}")
    left.set(xlabel="epochs", ylabel="loss on all digits", yscale="log")
    left.set_yticks([0.1, 0.2, 0.5, 1.0, 2.0], ["0.1", "0.2", "0.5", "1", "2"])
    left.minorticks_off()
    right.set(xlabel="milliseconds of training", xscale="log")
    right.legend(title="rows of a step")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    """Descend in three ways, print the table, draw the losses."""
    runs = {name: descend(size) for name, size in BATCHES.items()}
    print("descent      steps an epoch   loss   uphill")
    for name, (_, losses, _) in runs.items():
        steps = ROWS // BATCHES[name]
        print(f"{name:10}   {steps:14}   {losses[-1]:.2f}   {100 * noise(losses):4.0f} %")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(runs, folder / "descent.png")


if __name__ == "__main__":
    main()
