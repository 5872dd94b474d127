"""Gradient clipping: what each of the three ways does to a gradient, and to a training run."""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
import numpy as np
from pullback import datasets

STEPS = 200
GRADIENTS = [np.array([3.0, -4.0], "float32"), np.array([0.6, 0.8], "float32")]
VECTORS = {
    "none": {},
    "clipvalue": {"clipvalue": 1.0},
    "clipnorm": {"clipnorm": 1.0},
    "global_clipnorm": {"global_clipnorm": 1.0},
}
RUNS = {
    "none": {},
    "clipvalue": {"clipvalue": 0.1},
    "clipnorm": {"clipnorm": 0.3},
    "global_clipnorm": {"global_clipnorm": 0.5},
}


def clipped(clip):
    """What is left of the gradients: descent with rate 1 from zero, the other way round."""
    variables = [keras.Variable(np.zeros(2, "float32")) for _ in GRADIENTS]
    keras.optimizers.SGD(1.0, **clip).apply(GRADIENTS, variables)
    return [-np.asarray(v) for v in variables]


def create(clip):
    """A recurrent network that reads a digit row by row, with large recurrent weights."""
    keras.utils.set_random_seed(0)
    recurrent = keras.initializers.Orthogonal(gain=1.5)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.SimpleRNN(32, recurrent_initializer=recurrent),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.SGD(0.3, **clip)
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def train(clip):
    """The loss of each step."""
    (x, y), _ = datasets.mnist10k()
    model = create(clip)
    batches = zip(np.split(x[: 32 * STEPS], STEPS), np.split(y[: 32 * STEPS], STEPS), strict=True)
    return np.array([model.train_on_batch(*batch) for batch in batches])


def draw(curves, path):
    """The loss of each step, a way of clipping a panel."""
    figure, panels = plt.subplots(2, 2, figsize=(7, 5), sharey=True, layout="constrained")
    for axes, (name, losses) in zip(panels.flat, curves.items(), strict=True):
        axes.plot(losses, linewidth=0.8, color="tab:red" if name == "none" else "tab:blue")
        axes.set_title(name if RUNS[name] else "not clipped")
    figure.supxlabel("step")
    figure.supylabel("loss of the batch")
    figure.savefig(path, dpi=72)
    plt.close(figure)


def main():
    """Show what becomes of two gradients, then train a network with each way of clipping."""
    print("limit 1           gradient of v     gradient of w")
    for name, clip in VECTORS.items():
        v, w = clipped(clip)
        print(f"{name:15}   ({v[0]:5.3f}, {v[1]:6.3f})   ({w[0]:5.3f}, {w[1]:5.3f})")
    curves = {name: train(clip) for name, clip in RUNS.items()}
    print("\nlast 60 losses    mean   highest")
    for name, losses in curves.items():
        print(f"{name:15}   {losses[-60:].mean():4.1f}   {losses[-60:].max():7.1f}")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(curves, folder / "clipping.png")


if __name__ == "__main__":
    main()
