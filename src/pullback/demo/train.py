"""The classifier 784-10(relu)-10(softmax), trained with Adam: one native program an epoch.

Imports ``pullback`` alone. Start at ``Classifier.train_epoch``; ``_step`` is one training step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

import pullback as pb

SIZES: Final = (784, 10, 10)
RATE: Final = 0.001
DECAY_MEAN: Final = 0.9
DECAY_SQUARE: Final = 0.999
EPSILON: Final = 1e-7

NDArray = np.ndarray[Any, Any]
Parameters = list[tuple[Any, Any]]  # (weights [inputs, outputs], bias [outputs]) of each layer


class State(NamedTuple):
    """What training carries from step to step."""

    parameters: Parameters
    means: Parameters  # Adam's running means of the gradients,
    squares: Parameters  # and of their squares
    steps: Any


class Metrics(NamedTuple):
    """How the network does on some rows."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Epoch:
    """One epoch: training metrics as they were along the way, and those on the test digits."""

    number: int
    training: Metrics
    validation: Metrics
    seconds: float
    steps: int

    @property
    def microseconds_a_step(self) -> float:
        """Duration of the epoch, over its steps."""
        return self.seconds / self.steps * 1e6


# --- the network ---------------------------------------------------------------------------------
def initial_state(seed: int) -> State:
    """Glorot-uniform weights, zero biases, and an optimizer that has seen nothing."""
    layers: Parameters = []
    keys = pb.random.split(pb.random.key(seed), len(SIZES) - 1)
    for key, inputs, outputs in zip(keys, SIZES, SIZES[1:], strict=False):
        limit = (6 / (inputs + outputs)) ** 0.5
        weights = pb.random.uniform(key, (inputs, outputs), minval=-limit, maxval=limit)
        layers.append((weights, pb.zeros(outputs)))
    zeros = [pb.tree.map(pb.zeros_like, layers) for _ in range(2)]
    return State(layers, zeros[0], zeros[1], pb.zeros(()))


def predict(parameters: Parameters, x: Any) -> Any:
    """Unnormalised log-probabilities ``[rows, 10]`` of the classes."""
    (w1, b1), (w2, b2) = parameters
    return pb.nn.relu(x @ w1 + b1) @ w2 + b2


def loss_of(parameters: Parameters, x: Any, y: Any) -> tuple[Any, Any]:
    """Mean cross-entropy, and beside it how many rows are classified rightly."""
    logits = predict(parameters, x)
    losses = pb.nn.softmax_cross_entropy_with_integer_labels(logits, y)
    return pb.mean(losses), pb.sum(pb.argmax(logits, axis=-1) == y)


def adam(state: State, gradients: Parameters) -> State:
    """The state after one update.

    Source: Kingma & Ba 2015, "Adam: a method for stochastic optimization", arXiv:1412.6980.
    """
    steps = state.steps + 1.0
    means = pb.tree.map(lambda m, g: DECAY_MEAN * m + (1 - DECAY_MEAN) * g, state.means, gradients)
    squares = pb.tree.map(
        lambda v, g: DECAY_SQUARE * v + (1 - DECAY_SQUARE) * g * g, state.squares, gradients
    )
    rate = RATE * pb.sqrt(1 - DECAY_SQUARE**steps) / (1 - DECAY_MEAN**steps)
    parameters = pb.tree.map(
        lambda p, m, v: p - rate * m / (pb.sqrt(v) + EPSILON), state.parameters, means, squares
    )
    return State(parameters, means, squares, steps)


# --- training ------------------------------------------------------------------------------------
def _epoch(state: State, images: Any, labels: Any, order: Any) -> tuple[State, Any, Any]:
    """An epoch over the batches of rows ``order`` [steps, batch]: the function that is compiled."""

    def step(state: State, rows: Any) -> tuple[State, tuple[Any, Any]]:
        x, y = images[rows], labels[rows]
        (loss, right), gradients = pb.value_and_grad(loss_of, has_aux=True)(state.parameters, x, y)
        return adam(state, gradients), (loss, right)

    state, (losses, right) = pb.scan(step, state, order)
    return state, pb.mean(losses), pb.sum(right) / order.size


def _evaluate(parameters: Parameters, images: Any, labels: Any) -> tuple[Any, Any, Any]:
    """Loss, accuracy and predicted classes."""
    loss, right = loss_of(parameters, images, labels)
    return loss, right / labels.size, pb.argmax(predict(parameters, images), axis=-1)


def as_rows(images: NDArray) -> Any:
    """Pictures as float32 rows in 0 to 1."""
    return pb.asarray(images.reshape(len(images), -1).astype(np.float32) / 255)


class Classifier:
    """A network on its data.

    Args:
        training: Pictures uint8 [n, 28, 28] and their digits [n].
        testing: The same, never trained on; measured after every epoch.
        batch: Rows of a step; those that don't fill one are left out of the epoch.
        seed: Of the first weights and of the order of rows.
    """

    def __init__(
        self,
        training: tuple[NDArray, NDArray],
        testing: tuple[NDArray, NDArray],
        batch: int = 32,
        seed: int = 0,
    ) -> None:
        self.images, self.labels = as_rows(training[0]), pb.asarray(training[1].astype(np.int32))
        self.test_images = as_rows(testing[0])
        self.test_labels = pb.asarray(testing[1].astype(np.int32))
        self.batch = batch
        self.steps = len(training[0]) // batch
        self.epochs = 0
        self._order = np.random.default_rng(seed)
        self._run = pb.jit(_epoch, donate_argnums=0)
        self._evaluate = pb.jit(_evaluate)
        self.state = initial_state(seed)

    def compile(self) -> float:
        """Compile what an epoch needs, by one that is thrown away; return the seconds it took."""
        start = time.perf_counter()
        copy = pb.tree.map(lambda x: x.copy(), self.state)
        self._run(copy, self.images, self.labels, self._rows(np.random.default_rng(0)))
        self.evaluate()
        return time.perf_counter() - start

    def _rows(self, rng: np.random.Generator) -> Any:
        """The rows of each step, shuffled: int32 [steps, batch]."""
        rows = rng.permutation(len(self.images))[: self.steps * self.batch]
        return pb.asarray(rows.astype(np.int32).reshape(self.steps, self.batch))

    def train_epoch(self) -> Epoch:
        """Train on every row once, then measure on the test digits."""
        start = time.perf_counter()
        order = self._rows(self._order)
        self.state, loss, accuracy = self._run(self.state, self.images, self.labels, order)
        seconds = time.perf_counter() - start
        self.epochs += 1
        training = Metrics(float(loss), float(accuracy))
        return Epoch(self.epochs, training, self.evaluate()[0], seconds, self.steps)

    def evaluate(self) -> tuple[Metrics, NDArray]:
        """Metrics on the test digits, and the digit predicted for each."""
        loss, accuracy, predicted = self._evaluate(
            self.state.parameters, self.test_images, self.test_labels
        )
        return Metrics(float(loss), float(accuracy)), np.asarray(predicted)
