"""Training gives the same bits on any number of threads and each time, and is right everywhere.

The epochs are those of the benchmark, with few rows.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from benchmarks.mlp import WORKLOADS, Workload, data, initial_state, orders, pullback_program
from tests.kernels.kernel_programs import all_bits, compiled, run_on

import pullback as pb
from pullback import config
from pullback.backend.llvm.target import REQUIRED_FEATURES, host_features
from pullback.backend.team import TeamSize
from pullback.program.interpret import interpret

EPOCHS = {
    name: dataclasses.replace(WORKLOADS[name], rows=rows)
    # More than a megabyte of rows where what the next step gathers is to be foreseen.
    for name, rows in (("mlp_tiny", 640), ("softmax", 300), ("mlp_big", 512))
}
TARGETS = [
    name
    for name in ("avx512", "avx2", "generic")
    if name == "generic" or host_features().issuperset(REQUIRED_FEATURES[name])
]


def arguments(w: Workload) -> list[Any]:
    """State, images, labels and order of rows, as leaves."""
    images, labels = data(w)
    state = initial_state(w, lambda a: np.array(a))
    return pb.tree.leaves((state, images, labels, orders(w)()))


def epoch_program(w: Workload) -> Any:
    images, labels = data(w)
    state = initial_state(w, lambda a: pb.asarray(np.array(a)))
    return pullback_program(w).program(state, images, labels, orders(w)())


@pytest.mark.parametrize("name", EPOCHS)
def test_an_epoch_has_the_same_bits_on_all_threads(name):
    w = EPOCHS[name]
    arrays = arguments(w)
    state = frozenset(range(len(arrays) - 3))
    executable = compiled(epoch_program(w), donate=state)

    first = all_bits(run_on(executable, 1, arrays))

    for threads in (1, 2, 3, 4):
        assert all_bits(run_on(executable, threads, arrays)) == first, f"{threads} threads"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["mlp_tiny", "softmax"])
def test_an_epoch_is_right_on_every_target(name, target):
    w = EPOCHS[name]
    program, arrays = epoch_program(w), arguments(w)
    expected = interpret(program, *arrays)

    with config.override(target=target):
        executable = compiled(program)
        results = run_on(executable, 2, arrays)

    *weights, losses = zip(results, expected, strict=True)
    np.testing.assert_allclose(*losses, rtol=1e-4)
    for actual, wanted in weights:
        # Adam divides by the size of gradients: where they are rounding errors, so is the step.
        error = np.abs(actual - wanted)
        assert np.mean(error <= 1e-5 + 1e-4 * np.abs(wanted)) > 0.995
        assert error.max() <= 2 * w.rate * w.steps


def test_random_numbers_and_sums_do_not_depend_on_threads():
    def f(key, x):
        noise = pb.random.normal(key, x.shape)
        return pb.nn.softmax(x + noise), pb.sum(x * noise), pb.mean(x + noise, axis=0)

    program = pb.make_program(f)(pb.random.key(3), pb.zeros((997, 213)))
    executable = compiled(program)
    arrays = [np.asarray(pb.random.key(3)), np.ones((997, 213), np.float32)]

    bits = [all_bits(run_on(executable, threads, arrays)) for threads in (1, 2, 3, 4)]

    assert all(b == bits[0] for b in bits)


def test_these_tests_use_all_the_threads_they_name():
    program = pb.make_program(lambda x: x + 1.0)(pb.zeros((1000, 1000)))

    assert [TeamSize(compiled(program).cost, most).next() for most in (1, 2, 3, 4)] == [1, 2, 3, 4]
