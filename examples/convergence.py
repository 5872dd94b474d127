"""Convergence: gradient descent until the loss falls by less than a tolerance in an epoch.

Softmax regression with an L2 penalty is convex: there is one minimum, and one can say how near
each tolerance comes to it.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
import numpy as np
import pullback as pb
from pullback import datasets

COUNT = 500
RATE = 0.5
TOLERANCES = (1e-3, 1e-4, 1e-5)


def load():
    """500 digits of 14 by 14 pixels, each the mean of four, as rows; and their labels."""
    (x, y), _ = datasets.mnist10k()
    small = x[:COUNT].reshape(COUNT, 14, 2, 14, 2).mean((2, 4))
    return small.reshape(COUNT, 196).astype("float32") / 255, y[:COUNT]


def create(optimizer):
    """Softmax regression; the penalty makes the loss strictly convex in the kernel."""
    keras.utils.set_random_seed(0)
    penalty = keras.regularizers.L2(0.01)
    model = keras.Sequential(
        [
            keras.layers.Input((196,)),
            keras.layers.Dense(10, activation="softmax", kernel_regularizer=penalty),
        ]
    )
    model.compile(optimizer, "sparse_categorical_crossentropy")
    return model


def descend(model, x, y, tolerance, patience=0):
    """Take steps on all digits at once until one gains less than ``tolerance``; all losses."""
    stop = keras.callbacks.EarlyStopping("loss", min_delta=tolerance, patience=patience)
    history = model.fit(x, y, batch_size=COUNT, epochs=3000, callbacks=[stop], verbose=0)
    return history.history["loss"]


def loss_and_gradient_norm(model, x, y):
    """The loss with its penalty, and the norm of its gradient by all weights."""
    weights = model.trainable_variables
    with pb.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        loss = pb.mean(keras.losses.sparse_categorical_crossentropy(y, model(x)))
        loss = loss + sum(model.losses)
    gradients = [np.asarray(g, "float64") for g in tape.gradient(loss, weights)]
    return float(loss), sum(np.sum(g * g) for g in gradients) ** 0.5


def draw(losses, stops, least, path):
    """How far above the minimum each epoch was, and where each tolerance stopped."""
    figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
    above = np.array(losses) - least
    axis.semilogy(np.arange(1, len(losses) + 1), above)
    for tolerance, epochs in stops.items():
        axis.plot(epochs, above[epochs - 1], "o", label=f"stopped at tolerance {tolerance:.0e}")
    axis.set(xlabel="epoch (one step each)", ylabel="loss above the minimum")
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def main():
    """Find the minimum, then see how near to it each tolerance stops."""
    x, y = load()
    best = create(keras.optimizers.SGD(RATE / 2, momentum=0.9, nesterov=True))
    descend(best, x, y, 0, patience=20)
    least, _ = loss_and_gradient_norm(best, x, y)
    print(f"minimum of the loss: {least:.4f}")
    stops = {}
    print("tolerance   epochs     loss   above the minimum   gradient   sqrt(tolerance / rate)")
    for tolerance in TOLERANCES:
        model = create(keras.optimizers.SGD(RATE))
        losses = descend(model, x, y, tolerance)
        stops[tolerance] = len(losses)
        loss, norm = loss_and_gradient_norm(model, x, y)
        print(
            f"{tolerance:9.0e} {len(losses):8} {loss:8.4f} {loss - least:19.4f} {norm:10.4f}"
            f" {(tolerance / RATE) ** 0.5:24.4f}"
        )
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(losses, stops, least, folder / "convergence.png")


if __name__ == "__main__":
    main()
