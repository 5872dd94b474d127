"""Stock Keras programs on each backend, side by side.

Keras has one backend in a process, so that each has a child: this module, which builds the models
once and then trains them an epoch a turn.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from benchmarks.children import ROOT, Child, serve
from benchmarks.mlp import WORKLOADS, Workload
from benchmarks.startup import median_of_processes
from benchmarks.timing import Timing, in_turns, timed

BACKENDS = ("pullback", "jax", "torch", "tensorflow")
ROWS = 60_000
CALL_ROWS = 32
CALLS = 50  # in one turn
#: A turn of `fit` lasts so long at least, so that all backends wake up and settle alike.
TURN_S = 0.5
PROCESSES = 3  # for each figure of a new process, at most

_IMPORT = """
import sys, time
sys.path.insert(0, {root!r})
start = time.perf_counter()
if {ours!r}:
    import pullback.keras
import keras
print(time.perf_counter() - start)
"""

_FIRST_STEP = """
import sys
sys.path.insert(0, {root!r})
from benchmarks import keras_fit
print(keras_fit.first_step())
"""


def data(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Made-up images in 0..1, and labels that a linear map of them gives."""
    rng = np.random.default_rng(0)
    x = rng.random((rows, 784), np.float32)
    teacher = rng.standard_normal((784, 10), np.float32)
    return x, ((x - 0.5) @ teacher).argmax(-1).astype(np.int32)


def steps(workload: Workload) -> int:
    """Steps in an epoch; Keras trains on the rows that do not fill a batch as well."""
    return -(-ROWS // workload.batch)


def import_keras() -> Any:
    """Keras on the backend that the environment names; the hook needs no file in site-packages."""
    if os.environ["KERAS_BACKEND"] == "pullback":
        import pullback.keras  # noqa: F401
    import keras

    if keras.backend.backend() != os.environ["KERAS_BACKEND"]:
        raise RuntimeError(f"Keras chose the backend {keras.backend.backend()}")
    return keras


def compiled_model(workload: Workload) -> Any:
    """The stock program: a ``Sequential`` of dense layers, compiled with one metric."""
    keras = import_keras()
    keras.utils.set_random_seed(1)
    dense = keras.layers.Dense
    hidden = [dense(n, activation="relu") for n in workload.sizes[1:-1]]
    outputs = dense(workload.sizes[-1], activation="softmax")
    model = keras.Sequential([keras.Input((workload.sizes[0],)), *hidden, outputs])
    optimizers = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
    model.compile(
        optimizers[workload.optimizer](workload.rate),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def first_step() -> float:
    """Seconds of the first step of mlp_big; for a new process."""
    workload = WORKLOADS["mlp_big"]
    model = compiled_model(workload)
    x, y = data(workload.batch)
    return timed(lambda: model.fit(x, y, batch_size=workload.batch, verbose=0), 1)


class Programs:
    """What a child does for its parent: each command returns seconds."""

    def __init__(self) -> None:
        self.images, self.labels = data(ROWS)
        self.models = {w.name: compiled_model(w) for w in WORKLOADS.values()}
        self.losses: dict[str, float] = {}

    def fit(self, name: str, repeat: int) -> float:
        """Train epochs until a turn is over, ``repeat`` at least; seconds a step."""
        workload, model = WORKLOADS[name], self.models[name]

        def epoch() -> None:
            history = model.fit(
                self.images, self.labels, batch_size=workload.batch, epochs=1, verbose=0
            )
            self.losses[name] = float(history.history["loss"][-1])

        start, epochs = time.perf_counter(), 0
        while epochs < repeat or time.perf_counter() - start < TURN_S:
            epoch()
            epochs += 1
        return (time.perf_counter() - start) / epochs / steps(workload)

    def predict(self, name: str, repeat: int) -> float:
        """Predict a few rows; seconds a call."""
        rows = self.images[:CALL_ROWS]
        return timed(lambda: self.models[name].predict(rows, verbose=0), repeat)

    def train_on_batch(self, name: str, repeat: int) -> float:
        """Train on a few rows; seconds a call."""
        x, y = self.images[:CALL_ROWS], self.labels[:CALL_ROWS]
        return timed(lambda: self.models[name].train_on_batch(x, y), repeat)


def serve_programs() -> None:
    """Be a child."""
    programs = Programs()
    methods = (programs.fit, programs.predict, programs.train_on_batch)
    commands: dict[str, Callable[..., object]] = {m.__name__: m for m in methods}
    serve({**commands, "loss": lambda name: programs.losses[name]})


def environment(backend: str) -> dict[str, str]:
    """What a process for ``backend`` has in its environment; the number of threads is there."""
    threads = os.environ["OMP_NUM_THREADS"]
    return {
        "KERAS_BACKEND": backend,
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
    }


@contextmanager
def children() -> Iterator[dict[str, Child]]:
    """A child for each backend that is installed here."""
    with ExitStack() as stack:
        yield {
            backend: stack.enter_context(Child("benchmarks.keras_fit", **environment(backend)))
            for backend in BACKENDS
            if importlib.util.find_spec(backend) is not None
        }


def measure(
    running: Mapping[str, Child], command: str, name: str, turns: int, repeat: int = 1
) -> dict[str, Timing]:
    """Time one command by all backends, in turns."""
    clocks = {b: functools.partial(child.ask, command, name) for b, child in running.items()}
    return in_turns(clocks, turns, repeat)


def new_processes(backends: list[str], turns: int) -> dict[str, dict[str, float]]:
    """Seconds of what a new process does first: by figure, then by backend."""
    names = ("import keras", "first step of mlp_big, cold", "first step of mlp_big, warm")
    seconds: dict[str, dict[str, list[float]]] = {n: {b: [] for b in backends} for n in names}
    step = _FIRST_STEP.format(root=str(ROOT))
    for _ in range(min(turns, PROCESSES)):
        for backend in backends:
            load = _IMPORT.format(root=str(ROOT), ours=backend == "pullback")
            with tempfile.TemporaryDirectory() as cache:
                variables = {**environment(backend), "PULLBACK_CACHE_DIR": cache}
                for name, code in zip(names, (load, step, step), strict=True):
                    seconds[name][backend].append(median_of_processes(code, 1, **variables))
    return {n: {b: statistics.median(s) for b, s in by.items()} for n, by in seconds.items()}


if __name__ == "__main__":
    serve_programs()
