"""The classifier 784-10(relu)-10(softmax) of the first tutorial, in stock Keras.

Imports Keras, on this backend unless ``KERAS_BACKEND`` names another. Start at ``train``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from pullback import keras
from pullback.records import dataclass

PIXELS: Final = 784
CLASSES: Final = 10

NDArray = np.ndarray[Any, Any]
Rows = tuple[NDArray, NDArray]  # pixels float32 [n, 784] in 0 to 1, digits uint8 [n]


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
        """Duration of the epoch without its validation, over its steps."""
        return self.seconds / self.steps * 1e6


def as_rows(images: NDArray, digits: NDArray) -> Rows:
    """Pictures uint8 [n, 28, 28] as float32 rows [n, 784] in 0 to 1, beside their digits."""
    return images.reshape(len(images), PIXELS).astype(np.float32) / 255, digits


def new_model(seed: int) -> Any:
    """The network, compiled for training; ``seed`` draws its weights and the order of rows."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((PIXELS,)),
            keras.layers.Dense(10, activation="relu"),
            keras.layers.Dense(CLASSES, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(
    model: Any,
    training: Rows,
    testing: Rows,
    *,
    epochs: int,
    batch: int,
    report: Callable[[Epoch], None] = lambda epoch: None,
) -> list[Epoch]:
    """Train on every row ``epochs`` times, measuring on the test digits after each.

    Args:
        model: What ``new_model`` made.
        training: The rows to train on.
        testing: Rows that are never trained on.
        epochs: How often to go through the training rows.
        batch: Rows of a step; the last step has those that are left.
        report: Called with each epoch when it is over.

    Returns:
        What each epoch came to.
    """
    steps = -(-len(training[0]) // batch)
    found: list[Epoch] = []

    def note(number: int, logs: dict[str, float], seconds: float) -> None:
        training = Metrics(logs["loss"], logs["accuracy"])
        validation = Metrics(logs["val_loss"], logs["val_accuracy"])
        found.append(Epoch(number, training, validation, seconds, steps))
        report(found[-1])

    model.fit(
        *training,
        batch_size=batch,
        epochs=epochs,
        validation_data=testing,
        verbose=0,
        callbacks=[_stopwatch(note)],
    )
    return found


def _stopwatch(note: Callable[[int, dict[str, float], float], None]) -> Any:
    """A callback that tells ``note`` each epoch's number, logs, and seconds before validation."""

    class Stopwatch(keras.callbacks.Callback):  # type: ignore[misc]  # Any
        start = stop = 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.start = time.perf_counter()

        def on_test_begin(self, logs: Any = None) -> None:
            self.stop = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            note(epoch + 1, logs, self.stop - self.start)

    return Stopwatch()


def save(model: Any, path: Path) -> None:
    """Write the model, with its optimizer, to a ``.keras`` file, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        model.save(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
