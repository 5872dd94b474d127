"""Random programs that strain fusion and scheduling, and running them on teams of threads.

The strategies of ``tests/program`` with larger arrays, more primitives, and steps in which rows
are reduced and read again. Sums have operands in {-1, 0, 1}, so every order of adding is right and
compiled results equal the interpreter's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st
from tests.program.strategies import DTYPES, programs, special_values

from pullback import config
from pullback.backend.executable import Executable, compile_program
from pullback.kernels.cost import Cost
from pullback.primitives import (
    control,
    cumulative,
    dot,
    elementwise,
    indexing,
    reduce,
    scatter,
    shape,
    sort,
)
from pullback.program.builder import Builder
from pullback.program.core import NDArray, Program
from pullback.program.interpret import interpret
from pullback.program.value import Array, Value
from pullback.types import (
    FLOAT8,
    FLOATING,
    NUMERIC,
    ArrayType,
    bfloat16,
    bool_,
    float32,
    int8,
    int32,
    int64,
    uint32,
)

Draw = Callable[[st.SearchStrategy[Any]], Any]

#: Below, at and above the widths of vectors and loops; rows, columns, empty and single elements.
SHAPES = (
    (), (1,), (17,), (64,), (131,), (5, 33), (33, 5), (16, 16), (1, 70), (70, 1), (2, 3, 17),
    (0, 5), (37, 4),
)  # fmt: skip


# Running ------------------------------------------------------------------------------------------


class WholeTeam(Cost):
    """Runs on as many threads as the settings allow, however short the program is."""

    def threads(self, most: int) -> int:
        """All of them."""
        return most


def compiled(program: Program, **options: Any) -> Executable:
    """Compile a program so that it uses every thread that it is given."""
    executable = compile_program(program, **options)
    executable.cost = WholeTeam(0.0, 0.0)
    return executable


def run_on(executable: Executable, threads: int, arrays: Sequence[Any]) -> list[NDArray]:
    """Run with copies of the arrays on this many threads."""
    with config.override(threads=threads):
        return executable.checked(*(np.array(a) for a in arrays))


def all_bits(arrays: Sequence[Any]) -> list[bytes]:
    """The bytes of each array."""
    return [np.asarray(a).tobytes() for a in arrays]


def check_equal(actual: Sequence[NDArray], expected: Sequence[NDArray], ulp: float = 0) -> None:
    """Require equal values; nans are equal, and so are zeros of either sign.

    Args:
        actual: Results.
        expected: What they must be.
        ulp: How far apart floats may be, in units of the largest one's last place.
    """
    for i, (x, y) in enumerate(zip(actual, expected, strict=True)):
        y = np.asarray(y)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        tolerance = ulp * float(ml_dtypes.finfo(x.dtype).eps) if x.dtype in FLOATING else 0
        if x.dtype in FLOAT8 or x.dtype == bfloat16:  # NumPy does not know their nans
            x, y = x.astype(np.float32), y.astype(np.float32)
        if tolerance:
            scale = float(np.max(np.abs(y), initial=0))
            np.testing.assert_allclose(x, y, tolerance, tolerance * scale, err_msg=f"output {i}")
        else:
            np.testing.assert_array_equal(x, y, err_msg=f"output {i}")


def check_program(
    program: Program,
    arrays: Sequence[Any],
    *,
    threads: Sequence[int] = (1, 2, 3, 4),
    donate: Sequence[frozenset[int]] | None = None,
) -> list[NDArray]:
    """Require the interpreter's results on every number of threads, with and without donation.

    Args:
        program: What to run.
        arrays: Its arguments.
        threads: Numbers of threads; the results must have the same bits.
        donate: Sets of inputs to give up. By default none, all, and each alone.
    """
    expected = interpret(program, *arrays)
    if donate is None:
        each = [frozenset([i]) for i in range(len(arrays))]
        donate = [frozenset(), frozenset(range(len(arrays))), *(each if len(each) > 1 else [])]
    bits: list[bytes] | None = None
    results: list[NDArray] = []
    for given in donate:
        executable = compiled(program, donate=given)
        for count in threads:
            results = run_on(executable, count, arrays)
            if bits is None:
                check_equal(results, expected)
                bits = all_bits(results)
            assert all_bits(results) == bits, f"{count} threads, {sorted(given)} donated"
    return results


# Random programs ----------------------------------------------------------------------------------


def array_of(type: ArrayType, rng: np.random.Generator) -> NDArray:
    """Small numbers, or now and then special values."""
    if rng.integers(4) == 0 or type.dtype == bool_:
        values = special_values(type.dtype)
        return rng.choice(values, type.shape) if type.size else np.zeros(type.shape, type.dtype)
    return rng.integers(0, 5, type.shape).astype(type.dtype)


def _pick(draw: Draw, values: list[Value], fits: Callable[[Value], bool]) -> Any:
    fitting = [v for v in values if fits(v)]
    newest = fitting[-3:] if draw(st.booleans()) else fitting
    return draw(st.sampled_from(newest)) if fitting else None


def _exact(x: Value) -> Any:
    return elementwise.Sign()(x) if x.dtype in FLOATING else x


def _has_rows(v: Value) -> bool:
    return v.ndim > 0 and v.dtype in NUMERIC and v.size > 0


def _row_statistic(draw: Draw, values: list[Value]) -> Any:
    """Reduce some axes, spread the result again and combine it with the array."""
    x = _pick(draw, values, _has_rows)
    if x is None:
        return None
    axes = tuple(sorted(draw(st.sets(st.integers(0, x.ndim - 1), min_size=1))))
    kind = draw(st.sampled_from([reduce.ReduceSum, reduce.ReduceMax, reduce.ReduceMin]))
    statistic = kind(axes)(_exact(x))
    combine = draw(st.sampled_from([elementwise.Sub(), elementwise.Mul(), elementwise.Max()]))
    return combine(x, shape.Broadcast(x.shape, axes)(statistic))


def _bias(draw: Draw, values: list[Value]) -> Any:
    """Add a vector along the last or the first axis."""
    x = _pick(draw, values, lambda v: _has_rows(v) and v.ndim > 1)
    if x is None:
        return None
    axis = draw(st.sampled_from([0, x.ndim - 1]))
    fits = [v for v in values if v.shape == (x.shape[axis],) and v.dtype == x.dtype]
    vector = draw(st.sampled_from(fits)) if fits else None
    if vector is None:
        others = tuple(a for a in range(x.ndim) if a != axis)
        vector = reduce.ReduceMax(others)(x)
    new = tuple(a for a in range(x.ndim) if a != axis)
    return elementwise.Add()(x, shape.Broadcast(x.shape, new)(vector))


def _general_dot(draw: Draw, values: list[Value]) -> Any:
    """A product over and along any axes of equal length."""
    x = _pick(draw, values, lambda v: v.ndim > 0 and v.dtype in NUMERIC)
    if x is None:
        return None
    y = _pick(draw, values, lambda v: v.dtype == x.dtype and v.size * x.size <= 40_000)
    if y is None:
        return None
    contract: list[tuple[int, int]] = []
    batch: list[tuple[int, int]] = []
    free = list(range(y.ndim))
    for i, extent in enumerate(x.shape):
        partners = [j for j in free if y.shape[j] == extent]
        kind = draw(st.sampled_from([contract, contract, batch, None]))
        if partners and kind is not None:
            j = draw(st.sampled_from(partners))
            free.remove(j)
            kind.append((i, j))
    product = dot.Dot(_columns(contract), _columns(batch))
    return product(_exact(x), _exact(y))


def _columns(pairs: list[tuple[int, int]]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return tuple(i for i, _ in pairs), tuple(j for _, j in pairs)


def _places(draw: Draw, extent: int) -> Any:
    """Index vectors, some outside: an arithmetic sequence."""
    count = draw(st.integers(1, 20))
    numbers = shape.Iota((count,), int32, 0)()
    factor, shift = draw(st.integers(-2, 3)), draw(st.integers(-2, extent))
    return shape.Reshape((count, 1))(numbers * factor + shift)


def _gather(draw: Draw, values: list[Value]) -> Any:
    x = _pick(draw, values, lambda v: v.ndim > 0 and v.size > 0)
    if x is None:
        return None
    axis = draw(st.integers(0, x.ndim - 1))
    mode = draw(st.sampled_from(["clip", "fill"]))
    return indexing.Gather((axis,), 0, mode)(x, _places(draw, x.shape[axis]))


def _scatter(draw: Draw, values: list[Value]) -> Any:
    x = _pick(draw, values, _has_rows)
    if x is None:
        return None
    axis = draw(st.integers(0, x.ndim - 1))
    places = _places(draw, x.shape[axis])
    updates = indexing.Gather((axis,), 0, "clip")(_exact(x), places)
    kind = draw(st.sampled_from(["set", "add", "min", "max"]))
    return scatter.Scatter((axis,), 0, kind)(x, places, updates)


def _cumulative(draw: Draw, values: list[Value]) -> Any:
    x = _pick(draw, values, _has_rows)
    if x is None:
        return None
    kind = draw(st.sampled_from([cumulative.CumSum, cumulative.CumMax]))
    return kind(draw(st.integers(0, x.ndim - 1)), draw(st.booleans()))(_exact(x))


def _arg_reduce(draw: Draw, values: list[Value]) -> Any:
    x = _pick(draw, values, _has_rows)
    if x is None:
        return None
    kind = draw(st.sampled_from([reduce.ArgMax, reduce.ArgMin]))
    return kind(draw(st.integers(0, x.ndim - 1)), int32)(x)


def _start(draw: Draw, values: list[Value]) -> Value:
    scalars = [v for v in values if v.type == ArrayType((), int32)]
    literal: Value = Array(np.asarray(draw(st.integers(-3, 9)), np.int32))
    return draw(st.sampled_from([*scalars, literal]))


def _dynamic(draw: Draw, values: list[Value]) -> Any:
    x = _pick(draw, values, lambda v: v.ndim > 0 and v.size > 0)
    if x is None:
        return None
    sizes = tuple(draw(st.integers(1, n)) for n in x.shape)
    starts = [_start(draw, values) for _ in x.shape]
    part = indexing.DynamicSlice(sizes)(x, *starts)
    if draw(st.booleans()):
        return part
    return indexing.DynamicUpdateSlice()(x, part, *[_start(draw, values) for _ in x.shape])


def _sort(draw: Draw, values: list[Value]) -> Any:
    x = _pick(draw, values, lambda v: v.ndim > 0 and v.dtype in NUMERIC)
    if x is None:
        return None
    return sort.Sort(draw(st.integers(0, x.ndim - 1)), 1)(x)


def _swap(draw: Draw, values: list[Value]) -> Any:
    """A scan that hands each carry to the other, sometimes changed."""
    x = _pick(draw, values, _has_rows)
    if x is None:
        return None
    partners = [v for v in values if v.type == x.type]
    y = draw(st.sampled_from(partners))
    with Builder() as b:
        first, second = b.input(x.type), b.input(x.type)
        changed = elementwise.Max()(first, second) if draw(st.booleans()) else second
        body = b.finish([changed, first, second], "swap")
    return control.Scan(body, draw(st.integers(0, 3)), draw(st.booleans()), 0, 2)(x, y)


STEPS = (
    _row_statistic, _row_statistic, _bias, _general_dot, _gather, _scatter, _cumulative,
    _arg_reduce, _dynamic, _sort, _swap,
)  # fmt: skip


@st.composite
def kernel_programs(draw: Draw, *, max_equations: int = 10) -> tuple[Program, list[NDArray]]:
    """A random program and arguments."""
    dtype = draw(st.sampled_from([float32, float32, *DTYPES, bfloat16, int8, uint32, int64]))
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    types = tuple(ArrayType(s, dtype) for s in shapes)
    program = draw(programs(input_types=types, max_equations=max_equations, more_steps=STEPS))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return program, [array_of(t, rng) for t in types]
