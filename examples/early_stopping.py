"""Early stopping: end training when the loss on other digits no longer falls.

Few digits are learnt by heart in the end. The weights of the best epoch are kept.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
import numpy as np
from pullback import datasets

FEW = 500
EPOCHS = 60
PATIENCE = 5


def create():
    """A network wide enough to learn the few digits by heart."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(256, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(callbacks):
    """Train on 500 digits, look at 500 others after each epoch; return model and history."""
    (x, y), _ = datasets.mnist10k()
    model = create()
    history = model.fit(
        x[:FEW],
        y[:FEW],
        batch_size=50,
        epochs=EPOCHS,
        validation_data=(x[FEW : 2 * FEW], y[FEW : 2 * FEW]),
        validation_batch_size=FEW,
        callbacks=callbacks,
        verbose=0,
    ).history
    return model, history


def draw(history, best, stopped, path):
    """Both losses of the long training; where the other one stopped, and what it kept."""
    figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
    epochs = np.arange(1, EPOCHS + 1)
    axis.plot(epochs, history["loss"], label="500 digits trained on")
    axis.plot(epochs, history["val_loss"], label="500 other digits")
    axis.axvline(best, color="C2", linestyle="--", label=f"best: epoch {best}, kept")
    axis.axvline(stopped, color="C3", linestyle=":", label=f"stopped after epoch {stopped}")
    axis.set(xlabel="epoch", ylabel="cross-entropy", ylim=(0, 1))
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def main():
    """Train with early stopping and without, and compare on the test digits."""
    _, (x_test, y_test) = datasets.mnist10k()
    stop = keras.callbacks.EarlyStopping(
        monitor="val_loss", patience=PATIENCE, restore_best_weights=True
    )
    print("training    epochs   validation loss   test loss   test accuracy")
    for name, callbacks in {"to the end": [], "stopped": [stop]}.items():
        model, history = train(callbacks)
        if not callbacks:
            full = history
        kept = history["val_loss"][stop.best_epoch if callbacks else -1]
        loss, accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)
        epochs = len(history["loss"])
        print(f"{name:10} {epochs:7} {kept:17.3f} {loss:11.3f} {accuracy:15.3f}")
    print(f"kept: the weights of epoch {stop.best_epoch + 1}")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(full, stop.best_epoch + 1, epochs, folder / "early_stopping.png")


if __name__ == "__main__":
    main()
