"""The classifier 784-10(relu)-10(softmax) without Keras: an epoch is one native call.

The first tutorial's network and optimizer, from arrays and derivatives alone: the forward pass,
its gradient, Adam and the loop over batches are one program, compiled once.
"""

import sys
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np

import pullback as pb

SIZES = (784, 10, 10)
BATCH = 32
EPOCHS = 10


class State(NamedTuple):
    """What training carries from step to step."""

    layers: list  # (weights, bias) of each layer
    means: list  # Adam's running means of the gradients,
    squares: list  # and of their squares
    steps: pb.Array


def initial_state(seed):
    """Glorot-uniform weights, zero biases, and an optimizer that has seen nothing."""
    layers = []
    keys = pb.random.split(pb.random.key(seed), len(SIZES) - 1)
    for key, inputs, outputs in zip(keys, SIZES[:-1], SIZES[1:], strict=True):
        limit = (6 / (inputs + outputs)) ** 0.5
        weights = pb.random.uniform(key, (inputs, outputs), minval=-limit, maxval=limit)
        layers.append((weights, pb.zeros(outputs)))
    zeros = [pb.tree.map(pb.zeros_like, layers) for _ in range(2)]
    return State(layers, *zeros, pb.zeros(()))


def predict(layers, x):
    """Unnormalised log-probabilities of the ten digits for each row of pixels."""
    (w1, b1), (w2, b2) = layers
    return pb.nn.relu(x @ w1 + b1) @ w2 + b2


def loss_of(layers, x, y):
    """Mean cross-entropy of the rows ``x`` with digits ``y``."""
    return pb.mean(pb.nn.softmax_cross_entropy_with_integer_labels(predict(layers, x), y))


def adam(state, gradients, rate=0.001):
    """The state after one update: Kingma & Ba 2015, arXiv:1412.6980."""
    steps = state.steps + 1.0
    means = pb.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state.means, gradients)
    squares = pb.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, state.squares, gradients)
    rate = rate * pb.sqrt(1 - 0.999**steps) / (1 - 0.9**steps)
    layers = pb.tree.map(
        lambda p, m, v: p - rate * m / (pb.sqrt(v) + 1e-7), state.layers, means, squares
    )
    return State(layers, means, squares, steps)


def epoch(state, images, digits, order):
    """Train on the rows of ``order`` [steps, batch]; returns the new state and the mean loss."""

    def step(state, rows):
        loss, gradients = pb.value_and_grad(loss_of)(state.layers, images[rows], digits[rows])
        return adam(state, gradients), loss

    state, losses = pb.scan(step, state, order)
    return state, pb.mean(losses)


def measure(layers, images, digits):
    """Mean loss and accuracy."""
    right = pb.argmax(predict(layers, images), axis=1) == digits
    return loss_of(layers, images, digits), pb.mean(right)


def as_arrays(images, digits):
    """Rows of 784 numbers in 0 to 1, and their digits."""
    rows = images.reshape(len(images), 784).astype(np.float32) / 255
    return pb.asarray(rows), pb.asarray(digits.astype(np.int32))


def draw(weights, path):
    """The weights of the ten hidden units, each as the picture it looks for."""
    figure, axes = plt.subplots(2, 5, figsize=(6, 2.7), layout="constrained")
    for unit, axis in enumerate(axes.flat):
        picture = weights[:, unit].reshape(28, 28)
        limit = abs(picture).max()
        axis.imshow(picture, cmap="RdBu", vmin=-limit, vmax=limit)
        axis.set_title(f"unit {unit}", fontsize=9)
        axis.set_axis_off()
    figure.savefig(path, dpi=100)


def main():
    """Train for ten epochs, print what they came to, draw the hidden units."""
    training, testing = pb.datasets.mnist10k()
    images, digits = as_arrays(*training)
    test_images, test_digits = as_arrays(*testing)
    run = pb.jit(epoch, donate_argnums=0)
    measured = pb.jit(measure)
    state = initial_state(seed=0)
    shuffle = np.random.default_rng(0)
    for number in range(1, EPOCHS + 1):
        order = shuffle.permutation(len(images)).astype(np.int32).reshape(-1, BATCH)
        state, loss = run(state, images, digits, order)
        _, accuracy = measured(state.layers, test_images, test_digits)
        print(f"epoch {number:2}: loss {loss:.2f}, test accuracy {accuracy:.3f}")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(np.asarray(state.layers[0][0]), folder / "engine_only.png")


if __name__ == "__main__":
    main()
