"""Sums of few rows of a large table: what is kept as rows, that no bit changes, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.passes.bits import same_bits
from tests.program.programs_by_hand import traced

from pullback.passes import compact_scatters as module
from pullback.passes.base import PassLog
from pullback.passes.compact_scatters import compact_scatters
from pullback.primitives.cast import Convert
from pullback.primitives.elementwise import Clip, Max
from pullback.primitives.indexing import filled
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.scatter import Scatter
from pullback.primitives.shape import Reshape
from pullback.primitives.transcendental import Exp
from pullback.program.core import Program, subprograms
from pullback.program.interpret import interpret
from pullback.program.verify import verify
from pullback.types import ArrayType, bfloat16, float32, float64, int32, uint8

PLACES, WIDTH, COUNT = 40, 16, 12
TABLE = ArrayType((PLACES, WIDTH), float32)
VECTORS = ArrayType((3, 4, 1), int32)
UPDATES = ArrayType((3, 4, WIDTH), float32)
RATE = ArrayType((), float32)


def numbered(*functions: Callable[..., Any]) -> list[Any]:
    return [pytest.param(f, id=str(i)) for i, f in enumerate(functions)]


@pytest.fixture(autouse=True)
def any_size(monkeypatch):
    """Small tables are rewritten, too."""
    monkeypatch.setattr(module, "LEAST_BYTES", 0)


def sums(indices: Any, updates: Any, shape: tuple[int, ...] = TABLE.shape, **fields: Any) -> Any:
    parameters = {"axes": (0,), "batch": 0, "kind": "add", **fields}
    return Scatter(**parameters)(filled(shape, 0, updates.dtype), indices, updates)


def program_of(function: Callable[..., Any], *types: ArrayType) -> Program:
    return traced("main", function, *types)


def names(program: Program) -> list[str]:
    return [eqn.primitive.name for eqn in program.equations]


def arguments(program: Program, seed: int = 0) -> list[np.ndarray]:
    """Special values among others; vectors with repetitions, some outside."""
    rng = np.random.default_rng(seed)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, 3e38]
    arrays = []
    for type in program.input_types:
        array: np.ndarray
        if type.dtype in (int32, uint8):
            array = rng.integers(-2 if type.dtype == int32 else 0, 9, type.shape)
        else:
            array = rng.standard_normal(type.shape)
            if type.shape:
                at = rng.random(type.shape) < 0.2
                array[at] = rng.choice(special, at.sum())
        arrays.append(np.asarray(array).astype(type.dtype))
    return arrays


def check(program: Program, seeds: int = 5) -> Program:
    """Rewrite a program that must change; require the same bits."""
    log = PassLog()
    rewritten = compact_scatters(program, log)
    assert rewritten is not program
    assert {c.rule for c in log.changes} == {"compact-scatter"}
    verify(rewritten)
    for seed in range(seeds):
        given = arguments(program, seed)
        with np.errstate(all="ignore"):
            assert same_bits(interpret(program, *given), interpret(rewritten, *given))
    assert compact_scatters(rewritten) is rewritten
    return rewritten


# What is rewritten --------------------------------------------------------------------------------


def test_readers_find_sums_in_rows():
    program = program_of(lambda i, u: Exp()(sums(i, u)) * 2.0, VECTORS, UPDATES)

    rewritten = check(program)

    scatters = [e for e in rewritten.equations if e.primitive.name == "scatter"]
    assert [e.output.type.shape for e in scatters] == [(PLACES,), (COUNT, WIDTH)]


def test_several_readers_share_the_rows():
    def f(i, u, t):
        g = sums(i, u)
        return [ReduceSum((0, 1))(g * g), t * 0.9 + g, g - t]

    assert names(check(program_of(f, VECTORS, UPDATES, TABLE))).count("scatter") == 2


@pytest.mark.parametrize(
    "update",
    numbered(
        lambda t, g: t - 0.1 * g,
        lambda t, g: t - g,
        lambda t, g: t + g * -0.1,
        lambda t, g: -(g * 2.0) + t,
        lambda t, g: t - Clip()(g / 3.0, np.float32(-1), np.float32(1)) * 0.5,
        lambda t, g: t - 0.0 * g,
    ),
)
def test_descent_touches_only_rows_with_updates(update):
    program = program_of(lambda i, u, t: update(t, sums(i, u)), VECTORS, UPDATES, TABLE)

    rewritten = check(program)

    last = rewritten.equations[-1]
    assert last.primitive == Scatter((0,), 0, "add", unique=True)
    assert last.inputs[0] is rewritten.inputs[2]


@pytest.mark.parametrize(
    "update",
    numbered(
        lambda t, g: t + g,  # -0 + 0 is 0
        lambda t, g: t - g * -0.1,
        lambda t, g: t - g * np.float32(np.inf),
        lambda t, g: g - t,
        lambda t, g: t - Clip()(g, np.float32(0.5), np.float32(1)),
        lambda t, g: (t - g) * g,
        lambda t, g: t - g * g,
        lambda t, g: g + g,
        lambda t, g: t - g * t,
        lambda t, g: t * 0.9 - g * 0.1,
    ),
)
def test_where_other_rows_change_all_are_walked_over(update):
    program = program_of(lambda i, u, t: update(t, sums(i, u)), VECTORS, UPDATES, TABLE)

    rewritten = check(program)

    assert rewritten.equations[-1].primitive.name != "scatter"


@pytest.mark.parametrize("rate", [0.1, -0.1, 0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_rate_that_is_data_is_looked_at(rate, sign):
    def f(i, u, t, r):
        step = r * sums(i, u)
        return t - step if sign == 1 else t + step

    program = program_of(f, VECTORS, UPDATES, TABLE, RATE)
    rewritten = check(program)
    given = [*arguments(program)[:3], np.asarray(rate, np.float32)]

    with np.errstate(all="ignore"):
        assert same_bits(interpret(program, *given), interpret(rewritten, *given))

    assert "cond" in names(rewritten)


def test_the_look_at_the_rate_decides():
    """In the wrong branch -0.0 would become 0.0, or an infinite rate would not be seen."""
    program = program_of(lambda i, u, t, r: t - r * sums(i, u), VECTORS, UPDATES, TABLE, RATE)
    rewritten = compact_scatters(program)
    cond = next(e for e in rewritten.equations if e.primitive.name == "cond")
    everywhere, rows = subprograms(cond.primitive)
    assert [names(p).count("scatter") for p in (everywhere, rows)] == [0, 1]
    indices, updates, table, _ = arguments(program)
    look = Program(rewritten.inputs, rewritten.equations, (cond.inputs[0],))
    for rate, branch in ((0.1, 1), (-0.1, 0), (np.inf, 0), (np.nan, 0), (0.0, 1), (-0.0, 0)):
        with np.errstate(all="ignore"):
            (index,) = interpret(look, indices, updates, table, np.float32(rate))
        assert index == branch, rate


@pytest.mark.parametrize("dtype", [float64, bfloat16, int32])
def test_other_dtypes(dtype):
    types = VECTORS, UPDATES.with_dtype(dtype), TABLE.with_dtype(dtype)
    check(program_of(lambda i, u, t: t - sums(i, u), *types))
    check(program_of(lambda i, u, t: t * sums(i, u), *types))


def test_a_bound_that_is_data():
    """Also of integers: rows without updates become the bound."""
    types = VECTORS, UPDATES.with_dtype(int32), TABLE.with_dtype(int32), RATE.with_dtype(int32)
    program = program_of(lambda i, u, t, r: t - Max()(sums(i, u), r), *types)
    rewritten = check(program)
    given = arguments(program)[:3]

    for bound in (-1, 0, 1):
        both = (interpret(p, *given, np.int32(bound)) for p in (program, rewritten))
        assert same_bits(*both), bound


def test_a_conversion_on_the_way():
    types = VECTORS, UPDATES.with_dtype(bfloat16), TABLE
    rewritten = check(program_of(lambda i, u, t: t - Convert(float32)(sums(i, u)) * 0.1, *types))
    assert rewritten.equations[-1].primitive.name == "scatter"


def test_vectors_with_two_components():
    shape = (8, 5, WIDTH)
    types = ArrayType((COUNT, 2), int32), ArrayType((COUNT, WIDTH), float32)
    table = ArrayType(shape, float32)

    check(program_of(lambda i, u, t: t - sums(i, u, shape, axes=(0, 1)), *types, table))
    check(program_of(lambda i, u, t: t * sums(i, u, shape, axes=(0, 1)), *types, table))


def test_windows_with_two_axes_and_narrow_indices():
    shape = (PLACES, 4, 5)
    types = ArrayType((COUNT, 1), uint8), ArrayType((COUNT, 4, 5), float32)

    check(program_of(lambda i, u, t: t - sums(i, u, shape), *types, ArrayType(shape, float32)))


# What is not ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function",
    numbered(
        lambda i, u: sums(i, u),  # the table itself is wanted
        lambda i, u: Reshape((WIDTH, PLACES))(sums(i, u)),
        lambda i, u: Exp()(Scatter((0,), 0, "add")(filled(TABLE.shape, -0.0, float32), i, u)),
        lambda i, u: Exp()(Scatter((0,), 0, "add")(filled(TABLE.shape, 1.0, float32), i, u)),
        lambda i, u: Exp()(sums(i, u, kind="max")),
        lambda i, u: Exp()(sums(i, u, (2 * COUNT - 1, WIDTH))),  # every second place is updated
    ),
)
def test_left_alone(function):
    program = program_of(function, VECTORS, UPDATES)

    assert compact_scatters(program) is program


def test_narrow_small_and_batched_ones_are_left_alone(monkeypatch):
    narrow = program_of(
        lambda i, u: Exp()(sums(i, u, (PLACES, 15))), VECTORS, UPDATES.with_shape((3, 4, 15))
    )
    batched = program_of(
        lambda i, u: Exp()(sums(i, u, (3, PLACES, WIDTH), axes=(1,), batch=1)), VECTORS, UPDATES
    )
    empty = program_of(
        lambda i, u: Exp()(sums(i, u)),
        VECTORS.with_shape((0, 1)),
        UPDATES.with_shape((0, WIDTH)),
    )
    for program in (narrow, batched, empty):
        assert compact_scatters(program) is program

    small = program_of(lambda i, u: Exp()(sums(i, u)), VECTORS, UPDATES)
    monkeypatch.setattr(module, "LEAST_BYTES", 4 * PLACES * WIDTH + 1)
    assert compact_scatters(small) is small
