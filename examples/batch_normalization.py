"""Batch normalisation: a network of ten sigmoid layers that trains with it and not without.

Each unit's inputs are brought to mean 0 and variance 1 over the batch, so gradients do not vanish.
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
WIDTH = 32
EPOCHS = 5


def create(normalise):
    """Ten hidden layers of sigmoid units, each with its inputs normalised or not."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential()
    model.add(keras.layers.Input((28, 28)))
    model.add(keras.layers.Rescaling(1 / 255))
    model.add(keras.layers.Flatten())
    for _ in range(DEPTH):
        model.add(keras.layers.Dense(WIDTH))
        if normalise:
            model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.Activation("sigmoid"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    optimizer = keras.optimizers.SGD(0.05)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def gradient_norms(model, x, y):
    """The norm of the loss's gradient by each kernel, from the first layer to the last."""
    kernels = [layer.kernel for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    with pb.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(kernels)
        losses = keras.losses.sparse_categorical_crossentropy(y, model(x, training=True))
        loss = pb.mean(losses)
    return [float(pb.linalg.vector_norm(g)) for g in tape.gradient(loss, kernels)]


def draw(norms, histories, path):
    """Gradients before training, layer by layer, and the loss in training."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for name in norms:
        left.semilogy(range(1, DEPTH + 2), norms[name], "o-", label=name)
        right.plot(range(1, EPOCHS + 1), histories[name]["loss"], "o-", label=name)
    left.set(xlabel="layer", ylabel="norm of its gradient, before training")
    right.set(xlabel="epoch", ylabel="cross-entropy", ylim=0, xticks=range(1, EPOCHS + 1))
    right.axhline(np.log(10), color="grey", linestyle=":", label="guessing")
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=90)


def main():
    """Train both networks; then show what the layers do when they no longer train."""
    (x, y), (x_test, y_test) = datasets.mnist10k()
    norms, histories = {}, {}
    print("normalised   gradient of layer 1   of layer 11   loss   test accuracy")
    for name, normalise in {"without": False, "with": True}.items():
        model = create(normalise)
        norms[name] = gradient_norms(model, x[:500], y[:500])
        histories[name] = model.fit(x, y, batch_size=50, epochs=EPOCHS, verbose=0).history
        _, accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)
        print(
            f"{name:10} {norms[name][0]:21.0e} {norms[name][-1]:13.0e}"
            f" {histories[name]['loss'][-1]:6.2f} {accuracy:15.3f}"
        )
    alone, among = model.predict(x_test[:1], verbose=0), model.predict(x_test[:500], verbose=0)
    same = np.allclose(alone[0], among[0], atol=1e-6)
    print("one digit alone is predicted as among 500:", same)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(norms, histories, folder / "batch_normalization.png")


if __name__ == "__main__":
    main()
