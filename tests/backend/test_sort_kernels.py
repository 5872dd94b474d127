"""Compiled sorts: the bits of NumPy's stable order, for every dtype, length, layout and team."""

from __future__ import annotations

import itertools
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tests.kernels.kernel_programs import all_bits, compiled, run_on

import pullback as pb
from pullback import config
from pullback.backend.llvm.build import build_program
from pullback.backend.llvm.target import REQUIRED_FEATURES, host_features, select_target
from pullback.errors import ShapeError
from pullback.kernels.core import LoopStep, SortKernel
from pullback.kernels.schedule import lower_program
from pullback.kernels.sort_plan import RANKED_LENGTH, TEAM_LENGTH, digits_of
from pullback.primitives.sort import Sort
from pullback.program.core import Program
from pullback.program.interpret import interpret

DTYPES = [
    np.dtype(d)
    for d in (
        *("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
        *("float16", "float32", "float64"),
        *(ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2),
    )
]
#: Around vectors, methods and teams; odd, so that parts and vectors have rests.
LENGTHS = (0, 1, 2, 3, 17, RANKED_LENGTH, 1000, 100_003)
TARGETS = [
    name
    for name in ("avx512", "avx2", "generic")
    if name == "generic" or host_features().issuperset(REQUIRED_FEATURES[name])
]


def any_bits(rng: np.random.Generator, dtype: np.dtype[Any], count: int) -> Any:
    """Elements of any bits: among floats every nan, both zeros, infinities and subnormals.

    A third of them comes from a few, so that there are duplicates.
    """
    if dtype == np.bool_:
        return rng.integers(0, 2, count).astype(bool)
    bits = rng.integers(0, 256, count * dtype.itemsize).astype(np.uint8).view(dtype)
    words = bits.view(f"u{dtype.itemsize}")
    half = 1 << (8 * dtype.itemsize - 1)
    few = np.array([0, half, 1, half + 1, half - 1, 2 * half - 1], words.dtype)
    chosen = rng.random(count) < 1 / 3
    words[chosen] = rng.choice(few, int(chosen.sum()))
    return bits


def numpy_order(x: Any, axis: int = -1) -> Any:
    """NumPy's stable order; it has none of ml_dtypes' floats that puts nan last."""
    narrow = x.dtype.kind == "V" or x.dtype.itemsize < 4
    wide = x.astype(np.float32) if narrow and x.dtype.kind not in "biu" else x
    return np.argsort(wide, axis=axis, kind="stable")


def check(f: Any, *arrays: Any, threads: tuple[int, ...] = (1, 2, 3, 4)) -> None:
    """Require the interpreter's bits on every number of threads."""
    program = pb.make_program(f)(*map(pb.asarray, arrays))
    expected = all_bits(interpret(program, *arrays))
    executable = compiled(program)

    for count in threads:
        assert all_bits(run_on(executable, count, arrays)) == expected, f"{count} threads"


def sorts(program: Program) -> list[SortKernel]:
    """The program's sort kernels, outside of control flow."""
    return [s for s in lower_program(program).block.steps if isinstance(s, SortKernel)]


# Values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_is_in_the_stable_order_of_numpy(dtype, rng):
    for length in LENGTHS:
        x = any_bits(rng, dtype, length)
        order = numpy_order(x)

        ordered, positions = pb.jit(lambda x: (pb.sort(x), pb.argsort(x)))(x)

        assert np.asarray(ordered).tobytes() == x[order].tobytes(), length
        np.testing.assert_array_equal(positions, order.astype(np.int32), err_msg=f"{length}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_falling_order_keeps_equal_elements_in_theirs(dtype, rng):
    x = any_bits(rng, dtype, 300)
    order = 299 - numpy_order(x[::-1])[::-1]

    ordered, positions = pb.jit(
        lambda x: (pb.sort(x, descending=True), pb.argsort(x, descending=True))
    )(x)

    np.testing.assert_array_equal(positions, order.astype(np.int32))
    assert np.asarray(ordered).tobytes() == x[order].tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_first_of_an_order_are_those_of_the_whole(dtype, rng):
    """Few of a long row are found by the highest digit before they are sorted."""
    for shape, counts in (((2, 21), (0, 4, 21)), ((2, 700), (3, 600)), ((40_000,), (1, 90, 9000))):
        x = any_bits(rng, dtype, int(np.prod(shape))).reshape(shape)
        whole = pb.argsort(pb.asarray(x), descending=True)
        order = np.asarray(whole)

        first = pb.jit(lambda x, counts=counts: [pb.top_k(x, k) for k in counts])(x)

        for k, (values, positions) in zip(counts, first, strict=True):
            np.testing.assert_array_equal(positions, order[..., :k])
            wanted = np.take_along_axis(x, order[..., :k], -1)
            assert np.asarray(values).tobytes() == wanted.tobytes()


def test_equal_elements_are_all_found_where_few_are_kept():
    """The highest digit says nothing then, and the first ones count."""
    x = np.full((3, 5000), 2, np.int32)

    check(lambda x: pb.top_k(x, 7), x)
    check(lambda x: Sort(1, 1, False, 5)(pb.broadcast_to(x[:, :1], x.shape), x), x)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", [np.dtype(d) for d in ("float32", "uint32", "int64", "float16")])
def test_targets_agree(target, dtype, rng):
    with config.override(target=target):
        for length in (21, 1000, 40_001):
            x = any_bits(rng, dtype, length)
            order = numpy_order(x)

            program = pb.make_program(lambda x: (pb.sort(x), pb.argsort(x)))(x)
            ordered, positions = run_on(compiled(program), 2, [x])

            assert ordered.tobytes() == x[order].tobytes()
            np.testing.assert_array_equal(positions, order)


@pytest.mark.parametrize("length", [5, 300, 5000, 40_000])
def test_digits_that_are_all_the_same_are_passed_over(length, rng):
    """Of equal elements, and of small integers, most passes move nothing."""
    for x in (np.full(length, -7), rng.integers(0, 3, length), np.arange(length)[::-1]):
        check(lambda x: (pb.sort(x), pb.argsort(x)), x.astype(np.int32), threads=(1, 3))


# Layouts, keys and passengers ---------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 41), (41, 3), (5, 300, 2), (7, 3, 600), (70, 1000), (2, 1)])
def test_any_axis_and_layout(shape, rng):
    x = any_bits(rng, np.dtype("float32"), int(np.prod(shape))).reshape(shape)
    last = len(shape) - 1

    def f(x):
        return (
            *(pb.sort(x, axis=axis) for axis in range(x.ndim)),
            pb.argsort(x.T, axis=0),
            pb.sort(pb.flip(x)[1:], axis=last),
            pb.flip(pb.argsort(x[..., ::2] * 2.0, axis=last)).T,
        )

    check(f, x)


@pytest.mark.parametrize("length", [13, 700, 40_000])
@pytest.mark.parametrize(
    ("first", "second"),
    [("bool", "uint8"), ("bool", "int64"), ("float64", "float16"), ("float64", "int64")],
)
def test_several_keys_order_passengers(length, first, second, rng):
    """Wide and narrow keys together; passengers of other dtypes go with them."""
    a = rng.integers(0, 2, (2, length)).astype(first)
    b = (rng.integers(0, 90, (2, length)) - 30).astype(second)
    c = rng.normal(size=(2, length))
    d = any_bits(rng, np.dtype("float16"), 2 * length).reshape(2, length)

    check(lambda *xs: Sort(1, 2)(*xs), a, b, c, d, threads=(1, 3))


def test_results_of_two_keys_that_are_all_the_operands():
    """The elements themselves can't be moved in records then."""
    a = np.tile(np.array([2, 1], np.int32), 300)
    b = np.arange(600, dtype=np.int32)[::-1].copy()

    check(lambda *xs: Sort(0, 2)(*xs), a, b)


def test_a_key_that_does_not_vary_orders_nothing(rng):
    x = rng.normal(size=(4, 9)).astype(np.float32)

    def f(x):
        same = pb.broadcast_to(x[:, :1], x.shape)
        return Sort(1, 1)(same, x)[1], Sort(1, 2)(same, x)[1]

    check(f, x)


def test_results_that_nobody_reads_are_not_stored():
    (kernel,) = sorts(pb.make_program(pb.argsort)(pb.zeros(1000)))

    assert len(kernel.stores) == 1


def test_quantiles_unique_and_permutations_are_sorted_natively(rng):
    x = any_bits(rng, np.dtype("float32"), 999)
    x = np.where(np.isnan(x), np.float32(1), x)
    programs = [
        pb.make_program(lambda x: pb.top_k(x, 5))(x),
        pb.make_program(pb.lexsort)((x, x)),
        pb.make_program(lambda key: pb.random.permutation(key, 60_000))(pb.random.key(0)),
    ]

    for program in programs:
        assert build_program(program, {}, select_target()).host_calls == []


def test_a_row_that_32_bits_do_not_number_is_refused():
    program = pb.make_program(pb.sort)(pb.ArrayType((2**31,), pb.int8))

    with pytest.raises(ShapeError, match=r"sort of i8\[2147483648\].*outside `jit`"):
        lower_program(program)


# Teams --------------------------------------------------------------------------------------------


def test_long_rows_are_sorted_by_all_threads_and_others_one_by_each():
    kernels = [
        sorts(pb.make_program(pb.sort)(pb.zeros(shape)))[0]
        for shape in ((TEAM_LENGTH,), (TEAM_LENGTH - 1,), (3, TEAM_LENGTH), (100, TEAM_LENGTH))
    ]

    assert [bool(k.parts) for k in kernels] == [True, False, True, False]
    assert kernels[-1].tasks == 100


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16"])
@pytest.mark.parametrize("shape", [(TEAM_LENGTH + 5,), (3, TEAM_LENGTH), (2, 300_000)])
def test_a_team_gives_the_same_bits(shape, dtype, rng):
    x = any_bits(rng, np.dtype(dtype), int(np.prod(shape))).reshape(shape)

    check(lambda x: (pb.sort(x), pb.argsort(x)), x)
    check(lambda x: pb.top_k(x, 100), x)


def test_threads_without_a_part_meet_the_others(rng):
    """A row of this length has eight parts."""
    x = any_bits(rng, np.dtype("float32"), TEAM_LENGTH)

    check(lambda x: (pb.sort(x), pb.top_k(x, 100)), x, threads=(1, 11))


@pytest.mark.parametrize("shape", [(50, 30), (200, 300), (1000, 7)])
def test_rows_shared_out_give_the_same_bits(shape, rng):
    x = any_bits(rng, np.dtype("float32"), int(np.prod(shape))).reshape(shape)

    check(lambda x: (pb.sort(x), pb.argsort(x)), x)
    check(lambda x: pb.top_k(x, 3), x)


def test_long_sorts_inside_loops_and_branches(rng):
    """Steps around them read and write the same memory; threads without a part meet too."""
    x = rng.normal(size=(3, TEAM_LENGTH)).astype(np.float32)

    def step(c, row):
        y = pb.sort(c + row)
        z = pb.cond(y[0] < 0, lambda y: pb.sort(-y), lambda y: y * 2.0, y)
        return z - pb.mean(z), pb.argsort(z)[:3]

    program = pb.make_program(lambda x: pb.scan(step, x[0], x))(x)
    (loop,) = (s for s in lower_program(program).block.steps if isinstance(s, LoopStep))
    assert any(isinstance(s, SortKernel) and s.parts for s in loop.body.steps)
    executable = compiled(program)

    bits = [all_bits(run_on(executable, count, [x])) for count in (1, 2, 3, 4, 1)]

    assert all(b == bits[0] for b in bits)
    carried = run_on(executable, 2, [x])[0]
    np.testing.assert_allclose(carried, interpret(program, x)[0], rtol=1e-5, atol=1e-5)


def test_a_sorted_variable_may_be_given_up(rng):
    x = any_bits(rng, np.dtype("float32"), 50_000)
    program = pb.make_program(lambda x: (pb.sort(x), x[:10] + 1.0))(x)
    expected = all_bits(interpret(program, x))

    for shared in (frozenset(), frozenset([0])):
        executable = compiled(program, donate=shared)
        assert all_bits(run_on(executable, 2, [x])) == expected


def test_digits_cover_keys():
    for dtype, length in itertools.product(DTYPES, (300, 5000, 10**6)):
        count, bits = digits_of(dtype, length)

        assert count * bits >= (1 if dtype == np.bool_ else 8 * dtype.itemsize)
        assert 4 <= bits <= 11
