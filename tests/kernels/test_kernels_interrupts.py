"""Where a run looks for Ctrl-C: often enough, and never after a write in place."""

from __future__ import annotations

import pytest
from replay_steps import lowered_program, tasks_of

import pullback as pb
from pullback.kernels.core import (
    Block,
    BranchStep,
    Buffer,
    ContractionKernel,
    HostStep,
    LoopKernel,
    Space,
    Storage,
    inner_blocks,
)
from pullback.kernels.interrupts import LOOK_S, plan_looks
from pullback.kernels.memory import access_of

LARGE = pb.ArrayType((4000, 4000), pb.float32)
SMALL = pb.ArrayType((40, 40), pb.float32)


def planned(f, *types, shared=None, depth=31):
    """Steps of every block, in order, and the looks."""
    lowered = lowered_program(pb.make_program(f)(*types), shared)

    def walk(block):
        for step in block.steps:
            yield step
            for inner in inner_blocks(step):
                yield from walk(inner)

    tasks = tasks_of(lowered)
    return [*walk(lowered.block)], plan_looks(lowered.block, tasks, depth), tasks


def contractions(steps):
    return [s for s in steps if isinstance(s, ContractionKernel)]


def test_a_long_kernel_is_cut_into_pieces_that_all_threads_agree_behind():
    steps, looks, tasks = planned(lambda x: x @ x, LARGE)

    (product,) = contractions(steps)
    assert looks.after == {product}
    seconds = 2 * 4000**3 / 100e9
    assert 1 <= looks.pieces[product] <= tasks(product) * LOOK_S / seconds + 1


def test_short_programs_do_not_look():
    _, looks, _ = planned(lambda x: pb.tanh(x @ x) @ x, SMALL)

    assert not looks.after
    assert not looks.pieces


def test_many_short_kernels_look_as_often_as_a_long_one():
    def f(x):
        for _ in range(300):
            x = pb.tanh(x @ x)
        return x

    middle = pb.ArrayType((500, 500), pb.float32)
    steps, looks, _ = planned(f, middle)

    each = 2 * 500**3 / 100e9
    assert not looks.pieces
    assert len(contractions(steps)) == 300
    assert 300 * each / LOOK_S / 1.5 < len(looks.after) < 300 * each / LOOK_S * 1.5


def test_nothing_looks_after_a_write_in_place():
    """The first update of a parameter makes the rest of the program run to its end."""

    def step(w, v, x):
        y = x @ x
        w = w + y  # written first
        return w, v + pb.tanh(y) @ w

    steps, looks, _ = planned(step, LARGE, LARGE, LARGE, shared={0: 0, 1: 1})

    writers = [
        i for i, s in enumerate(steps) if any(b.root.name == "in0" for b in access_of(s).writes)
    ]
    looking = [i for i, s in enumerate(steps) if s in looks.after]
    assert looking == []  # the first product is one kernel with the update
    assert writers

    steps, looks, _ = planned(step, LARGE, LARGE, LARGE)

    assert len(looks.after) == 2


def test_products_before_the_first_write_in_place_look():
    def step(w, x):
        return w - 0.1 * pb.tanh(pb.tanh(x @ x) @ x)

    steps, looks, _ = planned(step, LARGE, LARGE, shared={0: 0})

    first, second = contractions(steps)
    assert looks.after == {first}
    assert second not in looks.pieces


def test_an_iteration_starts_whole():
    """Loops look themselves at the start of every iteration: what follows is as the program."""

    def f(w, v, x):
        def step(c, _):
            w, v = c
            product = x @ x @ x
            w = w + product
            return (w, v + pb.tanh(x @ w)), None

        (w, v), _ = pb.scan(step, (w, v), None, length=5)
        return w, v

    steps, looks, _ = planned(f, LARGE, LARGE, LARGE, shared={0: 0, 1: 1})
    inside = contractions(steps)

    assert inside[0] in looks.after
    assert not looks.after & set(inside[1:])

    # Loops that do not look themselves allow nothing inside either.
    _, looks, _ = planned(f, LARGE, LARGE, LARGE, shared={0: 0, 1: 1}, depth=0)
    assert not looks.after


def test_a_branch_that_writes_in_place_ends_the_looking():
    lowered = lowered_program(
        pb.make_program(lambda w, x: (w * 2.0 + 1.0, x @ x))(LARGE, LARGE), {0: 0}
    )
    (update,) = [s for s in lowered.block.steps if isinstance(s, LoopKernel)]
    (product,) = contractions(lowered.block.steps)
    index = Storage(Buffer(pb.int32, 1, Space.ARENA))

    def looks(*branches):
        branch = BranchStep(index, tuple(Block([*steps]) for steps in branches))
        return plan_looks(Block([branch, product]), lambda kernel: 100, 31).after

    assert looks([], []) == {product}
    assert looks([], [update]) == set()
    assert looks([update], []) == set()


@pytest.mark.parametrize("updates", [False, True])
def test_host_calls_heed_ctrl_c_where_nothing_was_written(updates):
    def f(w, x):
        w = w + 1.0
        return w, pb.linalg.svdvals(x)

    steps, looks, _ = planned(f, SMALL, SMALL, shared={0: 0} if updates else {})
    (host,) = [s for s in steps if isinstance(s, HostStep)]
    (update,) = [s for s in steps if isinstance(s, LoopKernel)]
    written = updates and steps.index(update) < steps.index(host)

    assert (host in looks.leaves) is not written
