"""Dropout: in each training step, other pixels and hidden units are left out at random.

No unit can rely on one other alone, and few digits are not learnt by heart as easily.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
import numpy as np
from pullback import datasets

FEW = 1000
EPOCHS = 40


def create(pixels, units):
    """A classifier that leaves out the given shares of pixels and of hidden units."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dropout(pixels),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dropout(units),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(model):
    """Train on 1,000 digits, look at the test digits after each epoch; return the history."""
    (x, y), test = datasets.mnist10k()
    return model.fit(
        x[:FEW],
        y[:FEW],
        batch_size=100,
        epochs=EPOCHS,
        validation_data=test,
        validation_batch_size=500,
        verbose=0,
    ).history


def draw(histories, path):
    """The loss on the test digits, epoch by epoch, with dropout and without."""
    figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
    epochs = np.arange(1, EPOCHS + 1)
    for i, (name, history) in enumerate(histories.items()):
        axis.plot(epochs, history["val_loss"], f"C{i}", label=f"{name}: 2,000 test digits")
        axis.plot(epochs, history["loss"], f"C{i}--", label=f"{name}: in training")
    axis.set(xlabel="epoch", ylabel="cross-entropy", ylim=(0, 1))
    axis.legend(frameon=False, fontsize=8)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def main():
    """Show what the layer does, then train with it and without."""
    layer, ones = keras.layers.Dropout(0.5, seed=0), np.ones((1, 10_000), "float32")
    for training in (True, False):
        out = np.asarray(layer(ones, training=training))
        print(f"training={training}: values {np.unique(out).tolist()}, mean {out.mean():.2f}")
    (x, y), (x_test, y_test) = datasets.mnist10k()
    histories = {}
    print("dropout   accuracy: train   test   loss: train   test")
    for name, shares in {"without": (0, 0), "with": (0.4, 0.5)}.items():
        model = create(*shares)
        histories[name] = train(model)
        loss, accuracy = model.evaluate(x[:FEW], y[:FEW], batch_size=500, verbose=0)
        test_loss, test_accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)
        print(f"{name:7} {accuracy:17.3f} {test_accuracy:6.3f} {loss:13.2f} {test_loss:6.2f}")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(histories, folder / "dropout.png")


if __name__ == "__main__":
    main()
