"""Programs that are hard to schedule: what is written where somebody still reads.

Each runs compiled on 1 to 4 threads, with no, each and all inputs given up, and must give the
interpreter's results; the numbers are small integers, so that every order of adding is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kernel_programs import check_program

import pullback as pb
from pullback.program.core import Literal, Program, Var
from pullback.types import ArrayType, float32

CASES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {}


def case(*shapes: Any, dtype: Any = np.float32) -> Callable[[Any], Any]:
    """Add a function as a case, with arguments of these shapes (or these arrays)."""

    def add(f: Callable[..., Any]) -> Callable[..., Any]:
        rng = np.random.default_rng(len(CASES))
        arrays = tuple(
            rng.integers(-3, 4, s).astype(dtype) if isinstance(s, tuple) else np.asarray(s)
            for s in shapes
        )
        CASES[f.__name__] = f, arrays
        return f

    return add


# Outputs ------------------------------------------------------------------------------------------


@case((5, 7), (5, 7))
def output_is_an_input(x, y):
    return x, x + y, y


@case((5, 7))
def same_output_twice(x):
    y = x * 2.0
    return y, y, x, x


@case((40, 16))
def output_read_by_another_output(x):
    y = x * 2.0
    return y, y - pb.max(y, axis=1, keepdims=True)


@case((6, 6), (6, 6))
def outputs_swap_inputs(x, y):
    return y, x


@case((6, 6), (6, 6), (6, 6))
def outputs_rotate_inputs(x, y, z):
    return y, z, x + 0.0


@case((6, 6), (6, 6))
def each_output_reads_both_inputs(x, y):
    return x + y, x - y


@case((16, 16))
def output_is_the_input_transposed(x):
    return x.T


@case((16, 16))
def output_reads_the_input_elsewhere(x):
    return x - x.T, pb.flip(x, axis=0)


@case((2, 3, 17))
def row_reads_other_rows_of_the_input(x):
    return x - pb.max(x, axis=1, keepdims=True)


@case((30, 20))
def output_is_written_before_a_row_is_read(x):
    y = x - pb.max(x, axis=1, keepdims=True)
    return y, pb.sum(x, axis=1) + pb.sum(y, axis=1)


@case((64, 8))
def reshaped_output_takes_the_input(x):
    return (x + 1.0).reshape(8, 64), (x - 1.0).reshape(-1)


# Loops --------------------------------------------------------------------------------------------


@case((33,), (33,))
def scan_swaps_its_carries(x, y):
    return pb.scan(lambda c, _: ((c[1], c[0]), c[0]), (x, y), None, length=5)


@case((9,), (9,), (9,), (4, 9))
def scan_rotates_three_carries(x, y, z, rows):
    return pb.scan(lambda c, row: ((c[1], c[2], c[0] + row), c[1] * row), (x, y, z), rows)


@case((65,), (65,), (3, 65))
def carry_is_updated_while_another_reads_it(w, v, xs):
    def step(carry, x):
        w, v = carry
        return (w + x, v + pb.flip(w)), pb.sum(w)

    return pb.scan(step, (w, v), xs)


@case((12, 5), (3, 4, 12))
def parameter_is_multiplied_and_updated(w, xs):
    def step(w, x):
        h = pb.sign(x @ w)
        return pb.clip(w - x.T @ h, -8.0, 8.0), pb.sum(h, axis=0)

    return pb.scan(step, w, xs)


@case((12, 5), (4, 12))
def parameter_is_multiplied_and_updated_once(w, x):
    h = x @ w
    return w - x.T @ pb.sign(h), h


@case((5, 5))
def product_with_itself_takes_its_memory(w):
    return w @ w


@case((4, 7))
def carry_that_does_not_change(x):
    return pb.scan(lambda c, _: (c, c + 1.0), x, None, length=3)


@case((7,), (7,))
def carry_that_becomes_a_constant(x, y):
    return pb.scan(lambda c, row: ((c[1], pb.zeros(7)), c[0] + row), (x, y), pb.stack([x, y]))


@case((6, 5), (5,))
def reverse_scan(xs, c):
    return pb.scan(lambda c, x: (c + x, (c, x * 2.0)), c, xs, reverse=True)


@case((0, 5), (5,))
def scan_of_no_steps(xs, c):
    return pb.scan(lambda c, x: (c + x, c * x), c, xs)


@case((3, 0), (0,))
def scan_over_empty_rows(xs, c):
    return pb.scan(lambda c, x: (c + x, pb.sum(x)), c, xs)


@case((1, 5), (5,))
def scan_of_one_step(xs, c):
    return pb.scan(lambda c, x: (c + x, c), c, xs)


@case((3, 4, 5), (5,))
def scans_in_scans(xs, c):
    def outer(c, rows):
        c, sums = pb.scan(lambda d, row: (d + row, pb.sum(d)), c, rows, reverse=True)
        return pb.flip(c), (sums, c)

    return pb.scan(outer, c, xs)


@case((4, 17), (17,))
def conditions_in_scans(xs, c):
    def step(c, x):
        c = pb.cond(pb.sum(x) > 0, lambda: c + x, lambda: pb.flip(c))
        c = pb.cond(c[0] > 0, lambda: c, lambda: pb.cond(c[1] > 0, lambda: -c, lambda: c + 1.0))
        return c, c[2]

    return pb.scan(step, c, xs)


@case((11,))
def loop_until_large(x):
    def body(state):
        x, n = state
        x = pb.scan(lambda c, _: (pb.flip(c) + 1.0, None), x, None, length=2)[0]
        return x, n + 1

    return pb.while_loop(lambda s: (pb.max(s[0]) < 20.0) & (s[1] < 9), body, (x, 0))


@case((11,))
def loop_that_never_runs(x):
    return pb.while_loop(lambda s: pb.max(s) > 100.0, lambda s: s + 1.0, x)


@case((5, 31))
def loops_one_after_the_other(x):
    y = pb.fori_loop(0, 3, lambda i, c: c + i, x)
    z = pb.fori_loop(0, 2, lambda i, c: pb.flip(c) + i, y)
    return y, z, pb.fori_loop(0, 2, lambda i, c: c + y, z)


@case((2, 3, 21), np.int32(1))
def branches_read_and_return_their_operands(x, which):
    return pb.switch(
        which, [lambda a, b: (a, b), lambda a, b: (b, a), lambda a, b: (a + b, a)], x, x * 2.0
    )


# Places -------------------------------------------------------------------------------------------

PLACES = np.array([3, 0, 3, 9, 3, -1, 2], np.int32)


@case((10, 4), PLACES, (7, 4))
def scatter_in_place(x, places, updates):
    return x.at[places].add(updates)


@case((10, 4), PLACES, (7, 4))
def scatter_beside_other_readers(x, places, updates):
    y = x.at[places].set(updates)
    return y, x, pb.sum(x, axis=0), y[places] + updates


@case((10, 4), PLACES, (2, 7, 4))
def scatter_into_a_carry(x, places, updates):
    return pb.scan(lambda x, u: (x.at[places].add(u), x[places]), x, updates)


@case((10, 4), PLACES)
def scatter_of_what_is_gathered(x, places):
    return x.at[places].max(x[places] * 2.0)


@case((10, 4), (10, 4))
def rows_are_moved_in_place(x, y):
    return pb.roll(x, 1, axis=0) + y, pb.cumsum(y, axis=0)


@case((8, 6), np.int32(3), (2, 6))
def update_at_a_place_that_is_data(x, start, rows):
    return pb.dynamic_update_slice(x, rows, (start, np.int32(0))), x[0]


@case((200, 3))
def host_call_beside_kernels(x):
    y = pb.sort(x, axis=0)
    return y, y - x, pb.sort(y * -1.0, axis=1)


@case((4, 30))
def host_call_in_a_loop(x):
    return pb.scan(lambda c, row: (pb.sort(c + row), c[0]), x[0], x)


# Layouts ------------------------------------------------------------------------------------------


@case((13, 37), (37, 101))
def product_of_primes(x, y):
    return x @ y


@case((37, 13), (101, 37))
def product_of_transposed(x, y):
    return x.T @ y.T


@case((13, 37), (13, 101))
def product_of_transposed_left(x, y):
    return x.T @ y + pb.sum(x, axis=0)[:, None]


@case((26, 37), (37, 20))
def product_of_every_second(x, y):
    return x[::2] @ y[:, ::3]


@case((26, 37), (37, 20))
def product_of_reversed(x, y):
    return pb.flip(x, axis=1) @ y


@case((37,), (37, 20))
def product_of_a_broadcast_row(x, y):
    return pb.broadcast_to(x, (9, 37)) @ y


@case((1, 37), (9, 1), (37, 20))
def product_of_a_computed_sum(x, c, y):
    return (x + c) @ y


@case((4, 3, 5), (15, 6))
def product_of_reshaped(x, y):
    return x.reshape(4, 15) @ y, (x.transpose(1, 0, 2).reshape(3, 20) @ y.reshape(-1)[:20])


@case((3, 1, 7, 5), (4, 5, 6))
def batched_product_with_broadcast_batch(x, y):
    return x @ y


@case((3, 4, 11), (3, 4, 11))
def batched_product_of_transposed(x, y):
    return pb.einsum("bij,bkj->kbi", x, y)


@case((5, 0), (0, 3))
def product_over_nothing(x, y):
    return x @ y + 1.0


@case((0, 3))
def product_of_empty_computed_arrays(x):
    return pb.sign(x).T @ pb.sign(x[:, :0]), pb.flip(x) @ x.T


@case((1, 1))
def product_of_single_elements(x):
    return pb.ones((1, 1)) @ x, pb.ones((1, 1)) @ (x + 1.0)


@case((5, 1), (1, 3))
def product_over_one(x, y):
    return x @ y


@case((1, 300), (300, 1))
def product_to_one_element(x, y):
    return x @ y


@case((9, 20), (20,))
def product_with_epilogue_and_row_statistics(x, b):
    h = pb.nn.relu(x @ x.T + b[:9])
    return h - pb.max(h, axis=1, keepdims=True), pb.sum(h, axis=0)


@case((32, 32))
def value_used_at_two_layouts(x):
    y = x * 2.0 + 1.0
    return y + y.T, y.reshape(-1)[::2], y.reshape(16, 64)


@case((24, 10))
def product_used_at_two_layouts(x):
    y = x @ x.T
    return y + y.T, y.reshape(-1), pb.sum(y.T, axis=0)


@case((2, 3, 4, 5))
def chains_of_views(x):
    y = pb.transpose(x, (3, 1, 0, 2)).reshape(15, 8)[1::2, ::-1]
    return pb.pad(y, ((1, 2), (0, 3))).T.reshape(-1)


# Sizes --------------------------------------------------------------------------------------------


@case((1_000_003,))
def long_sum(x):
    return pb.sum(x), pb.max(x), pb.argmax(x)


@case((60_000, 10))
def sums_of_columns(x):
    return pb.sum(x, axis=0), pb.sum(x, axis=1), pb.sum(x)


@case((3, 70_001))
def sums_of_few_long_rows(x):
    return pb.sum(x, axis=1), x - pb.max(x, axis=1, keepdims=True)


@case((131, 1009))
def statistics_of_prime_rows(x):
    centred = x - pb.max(x, axis=1, keepdims=True)
    return pb.sum(centred, axis=1), pb.min(centred, axis=0), pb.argmin(x, axis=1)


@pytest.mark.parametrize("name", CASES)
def test_case(name):
    f, arrays = CASES[name]
    program = pb.make_program(f)(*map(pb.asarray, arrays))

    check_program(program, arrays)


# Sizes of every kind ------------------------------------------------------------------------------


def everything(x):
    """Statistics along each axis, read again; views, a product, a running sum."""
    first, last = pb.sum(x, axis=0), pb.sum(x, axis=-1)
    return (
        x - first,
        x * last[..., None],
        pb.concat([x, x + 1.0], axis=0).T,
        x @ x.T,
        x.T @ x,
        pb.cumsum(x, axis=0),
        pb.reshape(x, (-1,)) * 2.0,
        pb.any(x > 0, axis=1),
    )


@pytest.mark.parametrize("columns", [0, 1, 2, 15, 16, 17, 67])
@pytest.mark.parametrize("rows", [0, 1, 3, 16, 129])
def test_sizes_at_the_edges(rows, columns, rng):
    x = rng.integers(-3, 4, (rows, columns)).astype(np.float32)

    check_program(pb.make_program(everything)(x), [x], threads=(1, 3))


@pytest.mark.parametrize("dtype", [np.float64, np.int8, np.uint16, np.int64, np.bool_, np.float16])
def test_dtypes(dtype, rng):
    def f(x):
        return pb.flip(x), pb.where(x == x.T, x, pb.max(x, axis=0)), x.astype(np.float32) @ x.T

    x = rng.integers(0, 4, (19, 19)).astype(dtype)

    check_program(pb.make_program(f)(x), [x])


def test_literals_and_constants_as_outputs():
    row, x = np.arange(5, dtype=np.float32), Var(ArrayType((5,), float32))
    constant, two = Var(ArrayType((5,), float32)), Literal(np.float32(2))
    program = Program((x,), (), (two, constant, x, two, constant), ((constant, row),))

    check_program(program, [row + 1])


def test_programs_without_inputs_or_outputs():
    check_program(Program((), (), (Literal(np.int8(3)),)), [])
    check_program(Program((Var(ArrayType((3,), float32)),), (), ()), [np.ones(3, np.float32)])


def test_two_hundred_outputs(rng):
    x = rng.integers(-3, 4, (7, 3)).astype(np.float32)

    def f(x):
        return [x * float(i) if i % 3 else pb.sum(x + i, axis=0) for i in range(200)]

    check_program(pb.make_program(f)(x), [x], threads=(1, 2), donate=[frozenset(), frozenset([0])])


# Long programs ------------------------------------------------------------------------------------


def many_elementwise(x):
    for i in range(1000):
        x = x * 0.5 - 1.0 if i % 2 else pb.maximum(x, float(i % 7))
    return x


def many_views(x):
    for i in range(500):
        x = pb.flip(x, axis=0).T if i % 3 else pb.flip(x, axis=(0, 1))[::1]
    return x


def many_shifts(x):
    """Each reads the one before twice: looking through all would read memory 2**40 times."""
    for _ in range(40):
        x = pb.roll(x, 1, axis=0)
    return x, x * 2.0


def many_views_before_a_loop(x):
    for _ in range(40):
        x = pb.concat([x[1:], x[:1]]).reshape(x.shape)
    return pb.scan(lambda c, row: (c + row, None), x[0], x)


def many_products(x):
    for _ in range(100):
        x = pb.clip(x @ x, -2.0, 2.0) + x.T
    return x


@pytest.mark.parametrize(
    "f", [many_elementwise, many_views, many_shifts, many_views_before_a_loop, many_products]
)
def test_long_programs_compile(f):
    x = np.array([[1, 2, 0], [-1, 0, 1], [3, -2, 1]], np.float32)

    check_program(pb.make_program(f)(x), [x], threads=(1, 2), donate=[frozenset()])
