"""Vanishing gradients: in ten layers of sigmoids, hardly anything reaches the first.

The gradient of each layer's weights on real digits, and what two remedies do to it.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
import numpy as np
import pullback as pb
from pullback import datasets

DEPTH = 10
UNITS = 32


def hidden(kind):
    """One of the ten hidden layers."""
    if kind == "relu, He":
        return [keras.layers.Dense(UNITS, activation="relu", kernel_initializer="he_normal")]
    if kind == "sigmoid, batch norm":
        layers = keras.layers
        return [layers.Dense(UNITS), layers.BatchNormalization(), layers.Activation("sigmoid")]
    return [keras.layers.Dense(UNITS, activation="sigmoid")]


def create(kind):
    """A classifier with ten hidden layers of one kind."""
    keras.utils.set_random_seed(0)
    layers = [layer for _ in range(DEPTH) for layer in hidden(kind)]
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            *layers,
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.Adam(0.003)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def gradient_norms(model, x, y):
    """The length of the gradient of each layer's weights, from the first to the last."""
    kernels = [layer.kernel for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    with pb.GradientTape() as tape:
        losses = keras.losses.sparse_categorical_crossentropy(y, model(x, training=True))
        loss = keras.ops.mean(losses)
    return np.array([float(keras.ops.norm(g)) for g in tape.gradient(loss, kernels)])


def draw(norms, path):
    """A bar for each layer, on a logarithmic scale."""
    figure, panels = plt.subplots(1, 3, sharey=True, figsize=(9, 3.4), layout="constrained")
    for axes, (kind, values) in zip(panels, norms.items(), strict=True):
        axes.bar(range(1, len(values) + 1), values, bottom=0)
        axes.set(title=kind, xlabel="layer", yscale="log", xticks=[1, 5, 11])
    panels[0].set(ylabel="length of the gradient", ylim=(1e-8, 10))
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    """Gradients before training, then accuracies after it, for three kinds of layers."""
    (x, y), (x_test, y_test) = datasets.mnist10k()
    norms = {}
    print("hidden layers         layer 1   layer 5   layer 10   accuracy")
    for kind in ("sigmoid", "relu, He", "sigmoid, batch norm"):
        model = create(kind)
        norms[kind] = gradient_norms(model, x[:256], y[:256])
        model.fit(x, y, epochs=4, verbose=0)
        accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)[1]
        first, fifth, tenth = norms[kind][[0, 4, 9]]
        print(f"{kind:19}   {first:.0e}     {fifth:.0e}     {tenth:.0e}      {accuracy:.3f}")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(norms, folder / "vanishing_gradients.png")


if __name__ == "__main__":
    main()
