"""L1 and L2 regularisation: a penalty on the weights, against learning few digits by heart.

L2 makes weights small, L1 makes most of them zero; both lower the loss on digits not seen.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
import numpy as np
from pullback import datasets

FEW = 500
PENALTIES = {
    "none": None,
    "L2(0.001)": keras.regularizers.L2(0.001),
    "L1(0.0001)": keras.regularizers.L1(0.0001),
}


def create(penalty):
    """A network wide enough to learn the few digits by heart; both kernels are penalised."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(256, activation="relu", kernel_regularizer=penalty),
            keras.layers.Dense(10, activation="softmax", kernel_regularizer=penalty),
        ]
    )
    # The loss has the penalty in it. The metric has not, so it can be compared.
    loss = "sparse_categorical_crossentropy"
    model.compile("adam", loss, metrics=["accuracy", loss])
    return model


def measure(model, x, y):
    """Accuracy and cross-entropy, without the penalty."""
    _, accuracy, cross_entropy = model.evaluate(x, y, batch_size=500, verbose=0)
    return accuracy, cross_entropy


def weights(model):
    """The kernel [784, 256] of the hidden layer."""
    return model.layers[2].get_weights()[0]


def draw(models, path):
    """How the weights are distributed, and those of some hidden units as pictures."""
    figure = plt.figure(figsize=(7.2, 3.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1.6, 1))
    axis = left.subplots()
    edges = np.linspace(-0.2, 0.2, 81)
    for name, model in models.items():
        axis.hist(weights(model).ravel(), edges, histtype="step", label=name)
    axis.set(yscale="log", xlabel="weight", ylabel="how many of 200,704")
    axis.legend(frameon=False, fontsize=8)
    for row, (name, model) in zip(right.subplots(3, 3), models.items(), strict=True):
        kernel = weights(model)
        strongest = np.argsort(-np.linalg.norm(kernel, axis=0))[: len(row)]
        for unit, axis in zip(strongest, row, strict=True):
            axis.imshow(kernel[:, unit].reshape(28, 28), cmap="RdBu", vmin=-0.25, vmax=0.25)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, fontsize=8)
    figure.savefig(path, dpi=68)


def main():
    """Train once with each penalty, compare weights and what was learnt."""
    (x, y), (x_test, y_test) = datasets.mnist10k()
    x, y = x[:FEW], y[:FEW]
    models = {}
    print("penalty      norm   |w|<0.001   accuracy: train   test   loss: train   test")
    for name, penalty in PENALTIES.items():
        model = models[name] = create(penalty)
        model.fit(x, y, batch_size=50, epochs=40, verbose=0)
        kernel = weights(model)
        small = np.mean(abs(kernel) < 0.001)
        accuracy, loss = measure(model, x, y)
        test_accuracy, test_loss = measure(model, x_test, y_test)
        print(
            f"{name:10} {np.linalg.norm(kernel):6.1f} {small:11.2f} {accuracy:17.3f}"
            f" {test_accuracy:6.3f} {loss:13.2f} {test_loss:6.2f}"
        )
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(models, folder / "l1_l2.png")


if __name__ == "__main__":
    main()
