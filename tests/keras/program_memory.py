"""Does something many times and prints, as JSON, how much memory it has kept.

A program of its own, for a process with no other past: ``python program_memory.py ACTION``.
"""

import gc
import json
import os
import sys
import weakref
from pathlib import Path

import numpy as np

os.environ["KERAS_BACKEND"] = "pullback"

import keras

import pullback as pb
from pullback.backend.llvm.jit import Loaded
from pullback.compiled import Compiled


def resident():
    """KiB of memory that the process has now, after what can be freed has been."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def make(units=16):
    """A small classifier."""
    model = keras.Sequential(
        [keras.layers.Input((20,)), keras.layers.Dense(units, "relu"), keras.layers.Dense(3)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


def data(rows):
    """New arrays with each call, as a program that reads batches has them."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, 20)).astype("float32"), rng.integers(0, 3, rows)


def repeat(action, warm, calls):
    """KiB that ``calls`` calls keep, after ``warm`` calls."""
    for _ in range(warm):
        action()
    before = resident()
    for _ in range(calls):
        action()
    return {"kib": resident() - before, "calls": calls}


def fit():
    """1,000 calls of ``fit`` with validation: four native steps and one of another size."""
    model = make()

    def action():
        x, y = data(150)
        model.fit(x, y, validation_split=0.2, verbose=0)

    return repeat(action, 100, 1000)


def predict():
    """10,000 calls of ``predict``."""
    model = make()
    return repeat(lambda: model.predict(data(32)[0], verbose=0), 500, 10000)


def batches():
    """10,000 single batches."""
    model = make()
    return repeat(lambda: model.train_on_batch(*data(32)), 500, 10000)


def models():
    """100 models: made, trained, asked and dropped, after as many for the caches to fill."""
    alive: list[weakref.ref[object]] = []
    counts: list[dict[str, int]] = []

    def action():
        model = make()
        x, y = data(96)
        model.fit(x, y, verbose=0)
        model.predict(x, verbose=0)
        alive.extend(map(weakref.ref, [model, model.optimizer, *model.layers]))
        del model
        if len(alive) in (40, 800):  # after ten models, and after all
            counts.append(count())

    found = repeat(action, 100, 100)
    left = [repr(ref()) for ref in alive if ref() is not None]
    before, after = counts
    return {**found, "watched": len(alive), "left": left, "before": before, "after": after}


def keep():
    """1,000 arrays that stay."""
    kept = []
    return repeat(lambda: kept.append(data(150)[0] + 1), 100, 1000)


def count():
    """How many programs, pieces of machine code and variables there are."""
    kinds = {"programs": Compiled, "code": Loaded, "variables": pb.Variable}
    gc.collect()
    objects = gc.get_objects()
    return {name: sum(isinstance(x, kind) for x in objects) for name, kind in kinds.items()}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]]()))
