"""Scatters: who makes which updates, the same bits on all threads, and no needless pass.

Sums of floats depend on their order, so that bits of the interpreter, which applies one update
after the other, show that each element's updates are made in the order of their indices.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from benchmarks import embedding
from kernel_programs import all_bits, compiled, run_on
from tests.program.programs_by_hand import traced

import pullback as pb
from pullback.kernels.core import Block, ScatterKernel, inner_blocks
from pullback.kernels.printer import print_lowered
from pullback.kernels.schedule import Lowered, lower_program
from pullback.passes.compact_scatters import compact_scatters
from pullback.passes.pipeline import run_pipeline
from pullback.primitives.indexing import filled
from pullback.primitives.scatter import Scatter
from pullback.program.core import Program
from pullback.program.interpret import interpret
from pullback.types import ArrayType, as_dtype, bool_

KINDS = ("add", "mul", "min", "max", "set")


def kernels(block: Block) -> list[Any]:
    """All kernels of a block, those inside control flow too."""
    found = []
    for step in block.steps:
        inner = inner_blocks(step)
        found += [k for b in inner for k in kernels(b)] if inner else [step]
    return found


def scatters(lowered: Lowered) -> list[ScatterKernel]:
    return [k for k in kernels(lowered.block) if isinstance(k, ScatterKernel)]


def scatter_program(
    kind: str,
    target: tuple[int, ...],
    indices: tuple[int, ...],
    *,
    axes: tuple[int, ...] = (0,),
    batch: int = 0,
    dtype: Any = np.float32,
    zeros: bool = False,
    unique: bool = False,
) -> Program:
    """A scatter into an operand, or into zeros."""
    dtype = as_dtype(dtype)
    rest = [n for a, n in enumerate(target) if a >= batch and a not in axes]
    types = [ArrayType(indices, pb.int32), ArrayType((*indices[:-1], *rest), dtype)]
    made = Scatter(axes, batch, kind, unique)
    if zeros:
        return traced("main", lambda i, u: made(filled(target, 0, dtype), i, u), *types)
    return traced("main", lambda x, i, u: made(x, i, u), ArrayType(target, dtype), *types)


def arguments(program: Program, limit: int, seed: int = 0) -> list[np.ndarray]:
    """Numbers of many sizes; few places, so that updates meet, some of them outside."""
    rng = np.random.default_rng(seed)
    arrays = []
    for type in program.input_types:
        array: np.ndarray
        if type.dtype == pb.int32:
            array = rng.integers(-1, limit + 1, type.shape)
        elif type.dtype == bool_:
            array = rng.random(type.shape) < 0.5
        else:
            array = rng.standard_normal(type.shape) * 10.0 ** rng.integers(-4, 4, type.shape)
        arrays.append(np.asarray(array).astype(type.dtype))
    return arrays


def check(program: Program, arrays: list[np.ndarray]) -> None:
    """Require the interpreter's bits on 1 to 4 threads, with the operand copied and in place."""
    with np.errstate(all="ignore"):
        expected = all_bits(interpret(program, *arrays))
    for donate in (frozenset(), frozenset({0})):
        executable = compiled(program, donate=donate)
        for threads in (1, 2, 3, 4):
            assert all_bits(run_on(executable, threads, arrays)) == expected, f"{threads} threads"


# Who does what ------------------------------------------------------------------------------------

#: Target, indices, axes and batch axes; which counters are divided: the window's, the batch's.
SHAPES = {
    "columns of long rows": ((50, 300), (200, 1), (0,), 0, "window"),
    "columns and a rest": ((30, 517), (150, 1), (0,), 0, "window"),
    "columns of a large target": ((9000, 64), (500, 1), (0,), 0, "window"),
    "rows in a window": ((20, 7, 33), (300, 1), (0,), 0, "window"),
    "windows around the place": ((6, 40, 35), (300, 1), (1,), 0, "window"),
    "batch": ((8, 40), (8, 900, 1), (1,), 1, "batch"),
    "batch of rows": ((3, 20, 24), (3, 200, 1), (1,), 1, "batch"),
    "batches": ((4, 5, 30), (4, 5, 300, 1), (2,), 2, "batch"),
    "short rows": ((50, 24), (900, 1), (0,), 0, ""),
    "numbers": ((700,), (5000, 1), (0,), 0, ""),
    "numbers in a matrix": ((30, 40), (4000, 2), (0, 1), 0, ""),
    "whole arrays": ((90,), (200, 0), (), 0, ""),
    "one update": ((50, 300), (1, 1), (0,), 0, ""),
    "one place": ((1, 2000), (99, 1), (0,), 0, "window"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SHAPES)
def test_same_bits_on_all_threads(name, kind):
    target, indices, axes, batch, divided = SHAPES[name]
    program = scatter_program(kind, target, indices, axes=axes, batch=batch)

    (kernel,) = scatters(lower_program(program))
    places = {"window": kernel.window, "batch": kernel.indices[:batch], "": ()}[divided]
    assert set(kernel.divided) <= set(places)
    assert bool(kernel.divided) == bool(divided)
    assert (kernel.tasks > 1) == bool(divided)

    limit = min([target[a] for a in axes], default=1)
    check(program, arguments(program, limit))


@pytest.mark.parametrize("name", SHAPES)
def test_tasks_fill_what_they_update(name):
    """Zeros, or anything computed, need no pass of their own before the updates."""
    target, indices, axes, batch, _ = SHAPES[name]
    program = scatter_program("add", target, indices, axes=axes, batch=batch, zeros=True)

    lowered = lower_program(program)
    large = int(np.prod(target)) * 4 > 1 << 17
    assert [k.fill is not None for k in scatters(lowered)] == [True]
    assert len(kernels(lowered.block)) == 1
    assert large == (name == "columns of a large target")

    limit = min([target[a] for a in axes], default=1)
    check(program, arguments(program, limit))


def test_an_operand_that_is_given_up_is_not_written_before():
    program = scatter_program("add", (50, 300), (200, 1))

    assert scatters(lower_program(program, {0: 0}))[0].fill is None
    assert scatters(lower_program(program))[0].fill is not None


def test_a_large_target_of_few_updates_is_filled_by_all_threads():
    program = scatter_program("add", (700, 700), (50, 2), axes=(0, 1), zeros=True)

    fill, scatter = kernels(lower_program(program).block)

    assert fill.tasks > 4
    assert scatter.fill is None
    check(program, arguments(program, 700))


@pytest.mark.parametrize("dtype", [
    np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.uint16, np.int32, np.int64,
])  # fmt: skip
@pytest.mark.parametrize("kind", ["add", "max", "set"])
def test_dtypes(kind, dtype):
    for target in ((20, 1100), (60,)):
        program = scatter_program(kind, target, (300, 1), dtype=dtype)
        check(program, arguments(program, target[0]))


def test_booleans_are_set():
    program = scatter_program("set", (20, 2000), (300, 1), dtype=np.bool_)
    check(program, arguments(program, 20))


@pytest.mark.parametrize(("target", "indices"), [
    ((50, 300), (0, 1)), ((50, 0), (7, 1)), ((0, 300), (7, 1)), ((0,), (0, 1)),
])  # fmt: skip
@pytest.mark.parametrize("zeros", [False, True])
def test_nothing_to_do(target, indices, zeros):
    program = scatter_program("add", target, indices, zeros=zeros)
    check(program, arguments(program, target[0]))


def test_unique_places_divide_the_updates():
    rng = np.random.default_rng(0)
    places = rng.permutation(4000)[:3000].astype(np.int32)
    places[::7] = 4000  # outside, and repeated
    for target in ((4000, 32), (4000,)):
        for zeros in (False, True):
            program = scatter_program("add", target, (3000, 1), unique=True, zeros=zeros)
            lowered = lower_program(program)
            (kernel,) = scatters(lowered)
            assert kernel.divided == kernel.indices
            assert kernel.fill is None  # a task does not know the places of the others
            arrays = arguments(program, 4000)
            arrays[-2] = places[:, None]
            check(program, arrays)


@pytest.mark.parametrize(
    ("dtype", "outside", "length"),
    [(np.uint64, 2**64 - 1, 40), (np.int64, -(2**63), 40), (np.uint8, 255, 255)],
)
def test_indices_outside_of_every_kind(dtype, outside, length):
    float32 = ArrayType((length,), pb.float32)
    types = float32, ArrayType((3, 1), as_dtype(dtype)), float32.with_shape((3,))
    program = traced("main", lambda x, i, u: Scatter((0,), 0, "add")(x, i, u), *types)
    indices = np.array([[length - 1], [outside], [length]], dtype)

    check(program, [np.ones(length, np.float32), indices, np.full(3, 2, np.float32)])


# No needless pass ---------------------------------------------------------------------------------


def lowered_epoch(w: embedding.Workload) -> tuple[Program, Lowered]:
    state = embedding.initial_state(w, pb.asarray)
    tokens, labels = map(pb.asarray, embedding.data(w))
    program = embedding.pullback_program(w).program(state, tokens, labels, embedding.orders(w)())
    optimized, log = run_pipeline(program)
    count = len(pb.tree.leaves(state))
    lowered = lower_program(compact_scatters(optimized, log), {i: i for i in range(count)})
    return program, lowered


def small(name: str) -> embedding.Workload:
    return dataclasses.replace(embedding.WORKLOADS[name], words=5000, batch=8, rows=32)


def test_descent_reads_and_writes_only_the_rows_of_its_tokens():
    w = small("embedding_sgd")
    _, lowered = lowered_epoch(w)

    table = w.words * w.width
    walked = [
        k for k in kernels(lowered.block)
        if any(s.buffer.size >= table for s in getattr(k, "stores", [])
               ) and not isinstance(k, ScatterKernel)
    ]  # fmt: skip
    assert not walked
    assert max(b.size for b in lowered.temporaries) < table / 4
    assert scatters(lowered)[-1].store.buffer.root is lowered.inputs[0]
    assert "for (i2<800, i1<64)" in print_lowered(lowered)


@pytest.mark.parametrize("name", embedding.WORKLOADS)
def test_training_an_embedding_has_the_same_bits_on_all_threads(name):
    w = small(name)
    program, _ = lowered_epoch(w)
    tokens, labels = embedding.data(w)
    state = pb.tree.leaves(embedding.initial_state(w, np.array))
    arrays = [*state, tokens, labels, embedding.orders(w)()]
    executable = compiled(program, donate=frozenset(range(len(state))))

    first = run_on(executable, 1, arrays)

    for threads in (1, 2, 3, 4):
        assert all_bits(run_on(executable, threads, arrays)) == all_bits(first), threads
    expected = interpret(program, *arrays)
    np.testing.assert_allclose(first[-1], expected[-1], rtol=1e-5)
    if name == "embedding_sgd":
        np.testing.assert_allclose(first[0], expected[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rate", [0.1, -0.1, 0.0, -0.0, np.inf, np.nan])
def test_a_rate_that_is_data(rate):
    """The table is updated in place in the branch that only touches rows, too."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((8000, 48)).astype(np.float32)
    table[[3, 7999]] = -0.0
    places = rng.integers(-3, 300, (60, 1)).astype(np.int32)
    updates = rng.standard_normal((60, 48)).astype(np.float32)
    arrays: list[Any] = [table, places, updates, np.float32(rate)]

    def descended(table, places, updates, rate):
        zeros = filled(table.shape, 0, table.dtype)
        return table - rate * Scatter((0,), 0, "add")(zeros, places, updates)

    program = traced("main", descended, *(ArrayType(a.shape, as_dtype(a.dtype)) for a in arrays))
    sums = np.zeros_like(table)
    for at, row in zip(places[:, 0], updates, strict=True):
        if at >= 0:
            sums[at] += row
    with np.errstate(all="ignore"):
        expected = table - np.float32(rate) * sums

    for donate in (frozenset(), frozenset({0})):
        executable = compiled(program, donate=donate)
        for threads in (1, 2, 3, 4):
            (result,) = run_on(executable, threads, arrays)
            np.testing.assert_array_equal(result, expected)
            numbers = ~np.isnan(expected)
            assert (np.signbit(result) == np.signbit(expected))[numbers].all()
    lowered = lower_program(compact_scatters(program), {0: 0})
    assert not lowered.temporaries or max(b.size for b in lowered.temporaries) <= 8000
