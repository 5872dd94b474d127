"""``python -m benchmarks.tutorial_5``: the fifth tutorial's program as a whole process.

Softmax regression as the tutorial trains it, progress bar included: 60,000 rows, ten epochs, 10,000
to validate. From the start of Python to its end, on this backend, with and without compiled code on
disk, and on TensorFlow, which must be installed beside Keras (``make keras-suite`` makes such an
environment in ``.venv-keras``).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import resources
from typing import NamedTuple

from benchmarks.__main__ import say, table
from benchmarks.children import ROOT
from benchmarks.machine import describe

#: The tutorial's text, but for ``mnist.load_data()``: the digits that ship, as often as it takes.
#: What it prints at the end is for the table.
PROGRAM = """
import sys, time
import numpy as np
from {keras}.models import Sequential
from {keras}.layers import Dense, Flatten
from {keras}.utils import to_categorical

with np.load(sys.argv[1]) as digits:
    x, y = digits["x"], digits["y"]
x_train, y_train = np.resize(x[:8000], (60000, 28, 28)), np.resize(y[:8000], 60000)
x_test, y_test = np.resize(x[8000:], (10000, 28, 28)), np.resize(y[8000:], 10000)

x_train = x_train.reshape(-1, 784).astype('float32') / 255.0
x_test = x_test.reshape(-1, 784).astype('float32') / 255.0
y_train = to_categorical(y_train)
y_test = to_categorical(y_test)

model = Sequential()
model.add(Flatten(input_shape=(784,)))
model.add(Dense(10, activation='softmax'))

model.compile(optimizer='sgd', loss='categorical_crossentropy', metrics=['accuracy'])

start = time.perf_counter()
model.fit(x_train, y_train, batch_size=32, epochs=10, validation_data=(x_test, y_test))
taken = time.perf_counter() - start

from {keras}.config import backend
print(backend(), taken, model.history.history["val_accuracy"][-1])
"""


PEER = "Keras on TensorFlow"
PROCESSES = (
    ("pullback, nothing compiled before", "pullback"),
    ("pullback, compiled code on disk", "pullback"),
    (PEER, "tensorflow"),
)


class Run(NamedTuple):
    """One process: its seconds, those of ``fit``, and the accuracy that it came to."""

    process: float
    fit: float
    accuracy: float


def main() -> None:
    """Run each as often as asked, in turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--turns", type=int, default=1)
    chosen = parser.parse_args()
    if importlib.util.find_spec("tensorflow") is None:
        sys.exit("this environment has no TensorFlow: run it with .venv-keras/bin/python")

    runs: dict[str, list[Run]] = {}
    for _ in range(chosen.turns):
        with tempfile.TemporaryDirectory() as cache:
            for name, backend in PROCESSES:
                runs.setdefault(name, []).append(whole_process(backend, chosen.threads, cache))
    say("Tutorial 5, 60,000 rows, 10 epochs, in seconds; medians\n")
    peer = [statistics.median(values) for values in zip(*runs[PEER], strict=True)]
    rows = []
    for name, found in runs.items():
        process, fit, accuracy = (statistics.median(v) for v in zip(*found, strict=True))
        ratios = f"1/{peer[0] / process:.1f}", f"1/{peer[1] / fit:.1f}"
        rows.append([name, f"{process:.2f}", ratios[0], f"{fit:.2f}", ratios[1], f"{accuracy:.3f}"])
    table(["", "process", "of the peer's", "fit alone", "of the peer's", "val. accuracy"], rows)
    machine = describe(chosen.threads)
    say(f"{machine['processor']}, {chosen.threads} threads; {machine['versions']}")


def whole_process(backend: str, threads: int, cache: str) -> Run:
    """Run the program in a new process."""
    count = str(threads)
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": count,
        "OMP_NUM_THREADS": count,
        "PULLBACK_THREADS": count,
        "PULLBACK_CACHE_DIR": cache,
    }
    program = PROGRAM.format(keras="pullback.keras" if backend == "pullback" else "keras")
    digits = str(resources.files("pullback") / "data" / "mnist10k.npz")
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", program, digits],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    taken = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"the program fails on {backend}: {done.stderr[-2000:]}")
    used, fit, accuracy = done.stdout.split()[-3:]
    if used != backend:
        raise RuntimeError(f"the program ran on {used}, expected {backend}")
    return Run(taken, float(fit), float(accuracy))


if __name__ == "__main__":
    main()
