"""Which gathers of the next iteration are foreseen, and what contractions are told of them."""

from __future__ import annotations

import ctypes
import dataclasses

import numpy as np
import pytest
from benchmarks.mlp import WORKLOADS, data, functional_epoch, initial_state, orders
from replay_steps import lowered_program

import pullback as pb
from pullback.backend.llvm.emit import Function, Module
from pullback.backend.llvm.errands import (
    DONE,
    LAST_LINE,
    MASK,
    ROWS,
    SHIFT,
    ask_for_line,
    begin_errand,
    end_errand,
    errand_bytes,
    write_no_errand,
)
from pullback.backend.llvm.foresee import write_foresight
from pullback.backend.llvm.jit import compile_ir, load_object
from pullback.backend.llvm.program import ProgramWriter
from pullback.backend.llvm.target import select_target
from pullback.kernels.core import ContractionKernel, LoopStep, WhileStep
from pullback.kernels.foresight import plan_foresight

ROW_COUNT, WIDTH, BATCH = 300, 2000, 6
IMAGES = np.random.default_rng(4).random((ROW_COUNT, WIDTH), np.float32)
WEIGHTS = np.full((WIDTH, 3), 0.5, np.float32)
ORDER = np.random.default_rng(5).permutation(ROW_COUNT)[: 7 * BATCH].astype(np.int32)
ORDER = ORDER.reshape(7, BATCH)
LABELS = np.arange(ROW_COUNT, dtype=np.int32) % 3


def counted(images, order, weights):
    """A scan over batches."""

    def step(weights, rows):
        x = images[rows]
        return weights - 1e-9 * (x.T @ (x @ weights)), None

    return pb.scan(step, weights, order)[0]


def counting(images, order, weights):
    """A while loop that keeps its own count; labels are gathered too."""

    def loss(weights, x, labels):
        log_p = pb.nn.log_softmax(x @ weights)
        return -pb.mean(pb.sum(pb.nn.one_hot(labels, 3) * log_p, axis=-1))

    def step(state):
        i, weights = state
        rows = order[i]
        x, labels = images[rows], pb.asarray(LABELS)[rows]
        return i + 1, weights - 0.1 * pb.grad(loss)(weights, x, labels)

    return pb.while_loop(lambda s: s[0] < 7, step, (pb.asarray(np.int32(0)), weights))[1]


def dependent(images, order, weights):
    """Which rows come next is known only from the result of this iteration's product."""

    def step(state, _):
        rows, weights = state
        x = images[rows]
        y = x @ weights
        found = pb.astype(y[:, 0], pb.int32) % ROW_COUNT
        return (found, weights), None

    return pb.scan(step, (order[0], weights), None, length=7)[0][1]


def planned(f, images=IMAGES, slots=1):
    lowered = lowered_program(pb.make_program(f)(images, ORDER, WEIGHTS))
    return lowered, plan_foresight(lowered.block, lambda kernel: slots)


def test_a_scan_is_foreseen_by_its_counter():
    _, plan = planned(counted)

    ((step, foresight),) = plan.items()
    assert isinstance(step, ContractionKernel)
    assert isinstance(foresight.loop, LoopStep)
    assert foresight.gather.row_count == BATCH
    assert foresight.stretch.count == WIDTH
    assert foresight.writers == ()
    assert not foresight.in_time


def test_the_last_contraction_that_has_time_asks():
    lines = BATCH * (WIDTH * 4 // 64 + 1)
    products = []
    for slots in (lines // 2 - 1, lines // 2 + 1, lines + BATCH):
        _, plan = planned(counted, slots=slots)
        ((step, foresight),) = plan.items()
        steps = [s for s in foresight.loop.body.steps if isinstance(s, ContractionKernel)]
        products.append((steps.index(step), foresight.in_time))

    assert products == [(0, False), (0, True), (1, True)]


def test_a_while_loop_is_foreseen_after_its_count_moved_on():
    w = dataclasses.replace(WORKLOADS["softmax"], rows=640)

    def scan_by_while(step, state, order):
        def body(s):
            return s[0] + 1, step(s[1], order[s[0]])[0]

        start = pb.asarray(np.int32(0)), state
        return pb.while_loop(lambda s: s[0] < order.shape[0], body, start)[1], None

    f = functional_epoch(pb, pb.nn, scan_by_while, pb.value_and_grad, pb.tree.map, w)
    state = initial_state(w, lambda a: pb.asarray(np.array(a)))
    lowered = lowered_program(pb.make_program(f)(state, *data(w), orders(w)()))
    plan = plan_foresight(lowered.block, lambda kernel: 1)

    ((step, foresight),) = plan.items()
    assert isinstance(foresight.loop, WhileStep)
    steps = foresight.loop.body.steps
    assert len(foresight.writers) == 1
    assert steps.index(foresight.gather) < steps.index(foresight.writers[0]) < steps.index(step)
    writer = ProgramWriter(lowered, select_target())
    writer.write()
    assert step in writer.barriers.before  # the count is written by one thread


@pytest.mark.parametrize("f", [dependent, lambda images, order, weights: images[order[0]]])
def test_what_no_contraction_can_know_in_time_is_not_foreseen(f):
    assert planned(f)[1] == {}


def test_near_data_is_not_foreseen():
    assert planned(counted, IMAGES[:50])[1] == {}


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("f", [counted, counting])
def test_results_are_the_interpreters(f, threads):
    with pb.config.override(threads=threads):
        compiled = pb.jit(f)(IMAGES, ORDER, WEIGHTS)

    expected = f(*map(pb.asarray, (IMAGES, ORDER, WEIGHTS)))
    assert np.allclose(compiled, expected, rtol=1e-5, atol=1e-6)


# Blocks -------------------------------------------------------------------------------------------


def run(module, write, *pointers):
    """Call a function of three pointers."""
    arguments = [("ptr", f"p{i}") for i in range(3)]
    f = Function(module, "main", "void", arguments, linkage="dso_local")
    write(f)
    f.ret()
    f.finish()
    loaded = load_object(compile_ir(str(module), target=select_target()))
    ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(loaded.address("main"))(*pointers)


@pytest.mark.parametrize(("begin", "end"), [(0, 6), (2, 5), (5, 6), (3, 3)])
def test_a_block_names_the_rows_of_a_threads_tasks(begin, end):
    _, plan = planned(counted)
    (foresight,) = plan.values()
    assert foresight.gather.rows_per_task == 1
    module = Module()
    buffers = write_foresight(module, "foresee", foresight)
    block = np.full(errand_bytes(BATCH) // 8, -1, np.int64)

    def call(f):
        share = f"i64 {begin}, i64 {end}, {f.args[2]}"
        f.raw(f"call void @foresee({f.args[0]}, {f.args[1]}, {share})")

    assert len(buffers) == 2
    run(module, call, ORDER[3].ctypes.data, IMAGES.ctypes.data, block.ctypes.data)

    rows = [IMAGES[r].ctypes.data for r in ORDER[3, begin:end]]
    if not rows:
        assert (block[MASK], block[LAST_LINE], block[ROWS]) == (0, 0, block.ctypes.data)
        return
    table = 1 << int(block[SHIFT])
    assert table >= len(rows) > table // 2
    assert block[DONE] == 0
    assert block[MASK] == table - 1
    assert list(block[ROWS : ROWS + table]) == rows + rows[-1:] * (table - len(rows))
    assert block[LAST_LINE] * 64 >= WIDTH * 4


def test_an_errand_goes_on_where_it_stopped():
    module = Module()
    block = np.full(errand_bytes(3) // 8, -1, np.int64)

    def ask(f):
        write_no_errand(f, f.args[0])
        for lines in (3, 4):
            errand = begin_errand(f, f.args[0])
            with f.loop(0, lines):
                ask_for_line(f, errand)
            end_errand(f, errand)

    run(module, ask, block.ctypes.data, 0, 0)

    assert list(block[:ROWS]) == [7, 0, 0, 0]
    assert block[ROWS] == block.ctypes.data
