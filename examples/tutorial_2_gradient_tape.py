"""The second tutorial's program: a training step of one's own with a gradient tape.

A network with sigmoids learns to tell threes from eights by the mean squared error. The tutorial
imports ``tensorflow as tf`` and leaves its data out; the rest is as it stands there.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import pullback as tf
from pullback import datasets

BATCHES = 20
BATCH = 32


def threes_and_eights(images, digits):
    """Rows of 784 numbers in 0 to 1, and [0] for a three or [1] for an eight."""
    chosen = np.isin(digits, [3, 8])
    x = images[chosen].reshape(-1, 784).astype("float32") / 255
    return x, (digits[chosen] == 8).astype("float32")[:, None]


def create():
    """The network, the loss and the optimizer."""
    model = tf.keras.Sequential(
        [
            tf.keras.Input((784,)),
            tf.keras.layers.Dense(10, activation="sigmoid"),
            tf.keras.layers.Dense(1),
        ]
    )
    return (
        model,
        tf.keras.losses.MeanSquaredError(),
        tf.keras.optimizers.Adam(learning_rate=0.01),
    )


def train_step(model, loss_fn, optimizer, x, y):
    """Move the parameters once, against the gradient of the loss on these rows."""
    with tf.GradientTape() as tape:
        predictions = model(x)
        loss = loss_fn(y, predictions)
    gradients = tape.gradient(loss, model.trainable_variables)
    optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
    return float(loss)


def draw(losses, predicted, truth, path):
    """The loss of each step, and what the network answers for digits that it has not seen."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(7.5, 3), layout="constrained")
    left.semilogy(np.arange(1, len(losses) + 1), losses, linewidth=0.8)
    left.set(xlabel="step", ylabel="mean squared error of the batch")
    edges = np.linspace(-0.5, 1.5, 41)
    right.hist(predicted[truth == 0], edges, alpha=0.7, label="threes")
    right.hist(predicted[truth == 1], edges, alpha=0.7, label="eights")
    right.axvline(0.5, color="0.3", linestyle=":")
    right.set(xlabel="prediction", ylabel="digits not trained on")
    right.legend(frameon=False)
    figure.savefig(path, dpi=100)


def main():
    """Train for ten epochs; print the error and the share of right answers on other digits."""
    tf.keras.utils.set_random_seed(0)
    training, testing = datasets.mnist10k()
    x, y = threes_and_eights(*training)
    x_train = x[: BATCHES * BATCH].reshape(BATCHES, BATCH, 784)
    y_train = y[: BATCHES * BATCH].reshape(BATCHES, BATCH, 1)
    x_test, y_test = threes_and_eights(*testing)
    model, loss_fn, optimizer = create()

    losses = []
    for epoch in range(10):
        for x, y in zip(x_train, y_train, strict=True):
            losses.append(train_step(model, loss_fn, optimizer, x, y))
        predicted = np.asarray(model(x_test))
        error = np.mean((predicted - y_test) ** 2)
        right = np.mean((predicted > 0.5) == y_test)
        print(f"epoch {epoch + 1:2}: squared error {error:.3f}, right {right:.3f}")

    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(losses, predicted, y_test, folder / "tutorial_2_gradient_tape.png")


if __name__ == "__main__":
    main()
