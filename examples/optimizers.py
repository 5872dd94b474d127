"""Seven optimizers on the same digits, from the same weights: how fast does each loss fall?

Beside each, plain gradient descent (SGD) with the same learning rate.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
from pullback import datasets

EPOCHS = 5
SGD = keras.optimizers.SGD
OPTIMIZERS = {
    "SGD": lambda: SGD(0.01),
    "momentum": lambda: SGD(0.01, momentum=0.9),
    "Nesterov": lambda: SGD(0.01, momentum=0.9, nesterov=True),
    "Adagrad": lambda: keras.optimizers.Adagrad(0.01),
    "RMSprop": lambda: keras.optimizers.RMSprop(0.001),
    "Adam": lambda: keras.optimizers.Adam(0.001),
    "AdamW": lambda: keras.optimizers.AdamW(0.001, weight_decay=0.01),
}


def create(optimizer):
    """A classifier whose first weights are the same each time."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(optimizer):
    """Losses of the epochs, and the accuracy on digits that were not seen."""
    (x, y), (x_test, y_test) = datasets.mnist10k()
    model = create(optimizer)
    history = model.fit(x, y, epochs=EPOCHS, batch_size=32, verbose=0).history
    return history["loss"], model.evaluate(x_test, y_test, batch_size=500, verbose=0)[1]


def draw(curves, path):
    """The loss of each epoch, an optimizer a line."""
    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for name, losses in curves.items():
        style = "k.--" if name == "SGD" else ".-"
        axes.plot(range(1, EPOCHS + 1), losses, style, label=name)
    axes.set(xlabel="epoch", ylabel="training loss", yscale="log", xticks=range(1, EPOCHS + 1))
    axes.set_yticks([0.2, 0.5, 1.0, 2.0], ["0.2", "0.5", "1", "2"])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main():
    """Train with each optimizer, print the table, draw the curves."""
    curves, plain = {}, {}
    print("optimizer   rate   loss   accuracy   loss of SGD at that rate")
    for name, make in OPTIMIZERS.items():
        optimizer = make()
        rate = round(float(optimizer.learning_rate), 4)
        curves[name], accuracy = train(optimizer)
        if rate not in plain:
            plain[rate] = curves[name] if name == "SGD" else train(SGD(rate))[0]
        last, other = curves[name][-1], plain[rate][-1]
        print(f"{name:9}  {rate:5}   {last:.2f}   {accuracy:8.3f}   {other:24.2f}")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(curves, folder / "optimizers.png")


if __name__ == "__main__":
    main()
