"""The first tutorial's program: a classifier of handwritten digits, in stock Keras.

The tutorial imports from ``tensorflow.keras``; the imports below are all that had to change.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from pullback import datasets
from pullback.keras.layers import Dense, Input
from pullback.keras.models import Sequential
from pullback.keras.utils import set_random_seed


def as_rows(images):
    """Pictures of bytes as rows of 784 numbers in 0 to 1."""
    return images.reshape(len(images), 784).astype("float32") / 255


def create():
    """Ten hidden units with a rectifier, then a probability for each of ten digits."""
    model = Sequential(
        [
            Input((784,)),
            Dense(10, activation="relu"),
            Dense(10, activation="softmax"),
        ]
    )
    model.compile(
        optimizer="adam",
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def draw(history, path):
    """The loss of each epoch, on the digits trained on and on the others."""
    figure, axis = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    axis.plot(epochs, history["loss"], "o-", label="8,000 digits trained on")
    axis.plot(epochs, history["val_loss"], "s-", label="2,000 other digits")
    axis.set(xlabel="epoch", ylabel="cross-entropy", ylim=0)
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def main():
    """Train for ten epochs and say how well it reads digits that it has not seen."""
    set_random_seed(5)
    (x_train, y_train), (x_test, y_test) = datasets.mnist10k()
    x_train, x_test = as_rows(x_train), as_rows(x_test)
    model = create()

    history = model.fit(
        x_train,
        y_train,
        epochs=10,
        batch_size=32,
        validation_data=(x_test, y_test),
        verbose=0,
    ).history
    for epoch in range(10):
        loss, accuracy = history["loss"][epoch], history["accuracy"][epoch]
        print(f"epoch {epoch + 1:2}: loss {loss:.2f}, accuracy {accuracy:.3f}")
    loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
    print(f"on other digits: loss {loss:.2f}, accuracy {accuracy:.3f}")

    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(history, folder / "tutorial_1_classifier.png")


if __name__ == "__main__":
    main()
