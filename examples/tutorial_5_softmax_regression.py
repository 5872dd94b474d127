"""The fifth tutorial's program: softmax regression on handwritten digits, in stock Keras.

The tutorial imports from ``keras``, and flattens its pictures twice; here the layer does it.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt

from pullback.datasets import mnist
from pullback.keras.layers import Dense, Flatten, Input
from pullback.keras.models import Sequential
from pullback.keras.utils import set_random_seed, to_categorical


def create():
    """One layer: a probability for each digit, from 784 weights and a bias."""
    model = Sequential()
    model.add(Input((28, 28)))
    model.add(Flatten())
    model.add(Dense(10, activation="softmax"))
    model.compile(optimizer="sgd", loss="categorical_crossentropy", metrics=["accuracy"])
    return model


def draw(weights, path):
    """The weights of each digit as a picture: blue ink speaks for it, red ink against it."""
    figure, axes = plt.subplots(2, 5, figsize=(6, 2.8), layout="constrained")
    limit = abs(weights).max()
    for digit, axis in enumerate(axes.flat):
        picture = weights[:, digit].reshape(28, 28)
        axis.imshow(picture, cmap="RdBu", vmin=-limit, vmax=limit)
        axis.set_title(digit, fontsize=10)
        axis.set_axis_off()
    figure.savefig(path, dpi=100)


def main():
    """Train for ten epochs and print how well the digits are told apart."""
    set_random_seed(0)
    (x_train, y_train), (x_test, y_test) = mnist.load_data()
    x_train = x_train.astype("float32") / 255.0
    x_test = x_test.astype("float32") / 255.0
    y_train = to_categorical(y_train)
    y_test = to_categorical(y_test)
    model = create()

    history = model.fit(
        x_train,
        y_train,
        batch_size=32,
        epochs=10,
        validation_data=(x_test, y_test),
        verbose=0,
    ).history
    for epoch in range(10):
        loss, accuracy = history["loss"][epoch], history["val_accuracy"][epoch]
        print(f"epoch {epoch + 1:2}: loss {loss:.2f}, validation accuracy {accuracy:.3f}")

    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(model.layers[-1].get_weights()[0], folder / "tutorial_5_softmax_regression.png")


if __name__ == "__main__":
    main()
