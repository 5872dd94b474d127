"""What becomes one pass over a row, what is kept for the next pass; golden texts of kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_programs import check_program
from replay_steps import lowered_program

import pullback as pb
from pullback.kernels.core import Buffer, ContractionKernel, LoopKernel, Node, Space, Store
from pullback.kernels.expression import Expressions, children, topological
from pullback.kernels.fuse import fuse
from pullback.kernels.index import LoopVar, as_index
from pullback.kernels.printer import print_lowered
from pullback.kernels.schedule import _Order
from pullback.kernels.stages import is_expensive, make_stages, share_through_scratch
from pullback.passes.pipeline import run_pipeline
from pullback.program.core import Var
from pullback.types import ArrayType, bool_, float32


def types(*shapes):
    return [ArrayType(shape, float32) for shape in shapes]


def kernels_of(f, *shapes):
    """The kernels of a function of float32 arrays of these shapes."""
    lowered = lowered_program(pb.make_program(f)(*types(*shapes)))
    return lowered.block.steps


def softmax(x):
    return pb.nn.softmax(x, axis=-1)


def layer_norm(x, scale, shift):
    centred = x - pb.mean(x, axis=-1, keepdims=True)
    variance = pb.mean(centred * centred, axis=-1, keepdims=True)
    return centred * pb.rsqrt(variance + 1e-5) * scale + shift


def mlp_step(w, b, x, y):
    def loss(w, b):
        error = pb.nn.relu(x @ w + b) - y
        return pb.mean(error * error)

    value, (dw, db) = pb.value_and_grad(loss, (0, 1))(w, b)
    return w - 0.1 * dw, b - 0.1 * db, value


GOLDEN: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]], dict[int, int]]] = {
    "softmax": (softmax, [(32, 10)], {}),
    "layer_norm": (layer_norm, [(64, 48), (48,), (48,)], {}),
    "mlp_step": (mlp_step, [(20, 32), (32,), (64, 20), (64, 32)], {0: 0, 1: 1}),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden(name, golden):
    f, shapes, shared = GOLDEN[name]
    lowered = lowered_program(pb.make_program(f)(*types(*shapes)), shared)

    golden(f"kernels_{name}", print_lowered(lowered))


# Fusion -------------------------------------------------------------------------------------------


def test_softmax_is_one_kernel_of_three_passes():
    (kernel,) = kernels_of(softmax, (32, 1000))

    assert isinstance(kernel, LoopKernel)
    assert [len(s.reductions) for s in kernel.stages] == [1, 1, 0]
    assert [len(s.stores) for s in kernel.stages] == [0, 0, 1]


def test_exponentials_of_a_row_are_computed_once():
    (kernel,) = kernels_of(softmax, (32, 1000))

    reuse = share_through_scratch(kernel.stages, kernel.rows, kernel.expressions)

    kept = [s for stage in kernel.stages for s in stage.stores if s.buffer.space is Space.SCRATCH]
    assert [s.value.op for s in kept] == ["exp"]
    assert [[n.op for n in known] for known in reuse] == [[], [], ["exp"]]


def test_rows_too_long_for_scratch_are_computed_again():
    (kernel,) = kernels_of(softmax, (32, 100_000))

    assert not any(share_through_scratch(kernel.stages, kernel.rows, kernel.expressions))


def test_bias_and_activation_join_the_product():
    (kernel,) = kernels_of(lambda x, w, b: pb.nn.relu(x @ w + b), (32, 20), (20, 16), (16,))

    assert isinstance(kernel, ContractionKernel)


def test_elementwise_chains_run_over_the_flat_array():
    (kernel,) = kernels_of(lambda x, y: pb.exp(x * y) + x, (17, 23), (17, 23))

    assert [v.extent for v in kernel.rows] == [17 * 23]
    assert kernel.vector_rows


def test_a_reduction_is_not_run_again_by_every_reader():
    """Along a middle axis: fused, the time would grow with the square of that axis."""
    kernels = kernels_of(lambda x: x - pb.mean(x, axis=1, keepdims=True), (16, 64, 64))

    assert len(kernels) == 2
    stored = [s for stage in kernels[1].stages for s in stage.stores]
    assert not any(n.op == "reduce" for n in topological([s.value for s in stored]))


def test_views_are_no_kernels():
    (kernel,) = kernels_of(lambda x: pb.flip(x.T.reshape(6, 4)[1:, ::2]) * 2.0, (4, 6))

    assert isinstance(kernel, LoopKernel)


def test_stages_of_values_shared_by_loops_inside_are_not_kept():
    """A value that a loop inside the row moves has no single place in a row of scratch."""

    def f(x):
        inverse = 1.0 / x
        least = pb.min(inverse, axis=3)
        top = pb.max(pb.max(inverse, axis=3), axis=(1, 2), keepdims=True)
        return least - top

    rng = np.random.default_rng(0)
    x = (2.0 ** rng.integers(-2, 3, (20, 3, 17, 5))).astype(np.float32)

    check_program(pb.make_program(f)(x), [x], threads=(1, 2))


def test_every_reduction_runs_before_it_is_read():
    def f(x):
        a = pb.max(x, axis=1, keepdims=True)
        b = pb.sum(pb.exp(x - a), axis=1, keepdims=True)
        c = pb.sum((x - a) * b, axis=1, keepdims=True)
        return x * c, pb.min(x - a, axis=1), a + c

    (kernel,) = kernels_of(f, (32, 70))

    done: set[Node] = set()
    for stage in kernel.stages:
        fixed = {r for s in kernel.stages for r in s.reductions}
        for root in [s.value for s in stage.stores] + [r.args[0] for r in stage.reductions]:
            assert {n for n in topological([root]) if n in fixed} <= done
        done.update(stage.reductions)


def test_stores_with_the_same_loop_share_a_pass():
    b = Expressions()
    row, (column,) = LoopVar(8, "row"), b.fresh_vars((5,), frozenset())
    x, y = Buffer(float32, 40, Space.INPUT, "x"), Buffer(float32, 40, Space.OUTPUT, "y")
    offset = as_index(row) * 5 + column
    value = b.load(x, offset)
    inner: tuple[LoopVar, ...] = (column,)

    stages = make_stages(
        [(inner, Store(y, offset, value)), (inner, Store(y, offset, value))], (row,)
    )

    assert [len(stage.stores) for stage in stages] == [2]


def test_equal_expressions_are_one_node():
    b = Expressions()
    x, y = (b.constant(v, float32) for v in (1.0, 2.0))

    assert b.op("add", x, y) is b.op("add", y, x)
    assert b.op("sub", x, y) is not b.op("sub", y, x)
    assert b.constant(-0.0, float32) is not b.constant(0.0, float32)
    assert b.select(b.constant(True, bool_), x, y) is x
    assert not is_expensive(b.op("add", x, y))
    assert is_expensive(b.op("div", x, y))
    assert children(b.op("neg", x)) == [x]


# Order --------------------------------------------------------------------------------------------


def order_of(f, *shapes):
    program, _ = run_pipeline(pb.make_program(f)(*types(*shapes)))
    return _Order(fuse(program, [v for v in program.outputs if isinstance(v, Var)]))


def three_sums(x):
    first = pb.cumsum(x, axis=0)
    return first, pb.cumsum(first, axis=1), pb.cumsum(x, axis=1)


def test_groups_run_after_what_they_read():
    order = order_of(three_sums, (5, 5))
    first, second, other = order.groups

    assert order.sorted() == [first, second, other]
    assert order.depends(second, first)
    assert not order.depends(other, first)


def test_an_order_that_is_demanded_is_kept():
    order = order_of(three_sums, (5, 5))
    first, second, other = order.groups

    order.add(other, then=first)

    assert order.sorted() == [other, first, second]
    assert order.depends(second, other)


def test_a_circle_is_refused():
    order = order_of(three_sums, (5, 5))
    first, second, _ = order.groups

    order.add(second, then=first)

    with pytest.raises(ValueError, match="circle"):
        order.sorted()


# --- what reads a product ------------------------------------------------------------------------
def adam_step(x, d, p, m, v):
    g = x.T @ d
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    return p - 0.01 * m / (pb.sqrt(v) + 1e-7), m, v


def sgd_step(x, d, p, m, v):
    return p - 0.01 * (x.T @ d)


@pytest.mark.parametrize(
    ("step", "rows", "count"), [(adam_step, 128, 1), (adam_step, 784, 2), (sgd_step, 784, 1)]
)
def test_several_large_arrays_are_read_as_streams(step, rows, count):
    w = (rows, 512)
    product, *streams = kernels_of(step, (4, rows), (4, 512), w, w, w)

    assert isinstance(product, ContractionKernel)
    assert 1 + len(streams) == count
    assert all(isinstance(kernel, LoopKernel) for kernel in streams)
    rng = np.random.default_rng(7)
    shapes = [(4, rows), (4, 512), w, w, w]
    args = [rng.random(s).astype(np.float32) for s in shapes]
    check_program(pb.make_program(step)(*args), args)
