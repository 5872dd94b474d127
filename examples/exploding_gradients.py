"""Exploding gradients: back through 28 steps, a recurrent network multiplies what it is given.

The gradient by time step for growing recurrent weights; then a run that breaks, and two remedies.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
import numpy as np
import pullback as pb
from pullback import datasets

EPOCHS = 4
GAINS = (1.0, 2.0, 3.0)
GUESSING = np.log(10)  # the loss of ten equal probabilities


def create(layer, clipnorm=None):
    """A recurrent network that reads a digit row by row."""
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            layer,
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.SGD(0.3, clipnorm=clipnorm)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def simple(gain, activation="tanh"):
    """A simple recurrent layer; ``gain`` scales its recurrent weights."""
    keras.utils.set_random_seed(0)
    recurrent = keras.initializers.Orthogonal(gain=gain)
    return keras.layers.SimpleRNN(32, activation=activation, recurrent_initializer=recurrent)


def lstm():
    """A layer with gates."""
    keras.utils.set_random_seed(0)
    return keras.layers.LSTM(32)


def gradient_norms(model, x, y):
    """The length of the loss's gradient by the rows that were read at each step."""

    @pb.jit
    def gradient(x):
        with pb.GradientTape() as tape:
            tape.watch(x)
            losses = keras.losses.sparse_categorical_crossentropy(y, model(x))
            loss = keras.ops.mean(losses)
        return tape.gradient(loss, x)

    return np.sqrt(np.square(np.asarray(gradient(x))).sum(axis=(0, 2)))


def draw(norms, histories, path):
    """Gradients by time step, and the losses of the epochs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for name, values in norms.items():
        left.plot(range(1, 29), values, marker=".", label=name)
    left.set(xlabel="time step (row)", ylabel="length of the gradient", yscale="log")
    left.legend(title="recurrent weights")
    for name, history in histories.items():
        losses = np.nan_to_num(history["loss"], nan=14.0)
        right.plot(range(1, EPOCHS + 1), losses, marker=".", label=name)
    if np.isnan(histories["not clipped"]["loss"]).any():
        right.annotate("not a number", (EPOCHS, 14.0), ha="right", va="top")
    right.set(xlabel="epoch", ylabel="training loss", xticks=range(1, EPOCHS + 1))
    right.legend(loc="center right")
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    """Gradients before training, then losses of three runs."""
    (x, y), _ = datasets.mnist10k()
    x = x[:4000].astype("float32") / 255
    y = y[:4000]
    norms = {}
    print("recurrent weights   row 28   row 15   row 1")
    for gain in GAINS:
        model = create(simple(gain))
        norms[f"x {gain:.0f}"] = values = gradient_norms(model, x[:64], y[:64])
        print(
            f"x {gain:.0f}                 {values[27]:.0e}    {values[14]:.0e}    {values[0]:.0e}"
        )
    models = {
        "not clipped": create(simple(1.2, "relu")),
        "clipnorm 0.3": create(simple(1.2, "relu"), clipnorm=0.3),
        "LSTM, not clipped": create(lstm()),
    }
    histories = {}
    print("\nrun                 loss       accuracy")
    for name, model in models.items():
        histories[name] = model.fit(x, y, epochs=EPOCHS, verbose=0).history
        loss, accuracy = histories[name]["loss"][-1], histories[name]["accuracy"][-1]
        shown = f"{loss:.1f}" if loss < GUESSING else "diverged"
        print(f"{name:17}   {shown:8}   {accuracy:8.2f}")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(norms, histories, folder / "exploding_gradients.png")


if __name__ == "__main__":
    main()
