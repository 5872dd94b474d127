"""Cases of control flow: the references are Python conditionals and loops over NumPy.

No kinks; operands are of order one, so that loops of a few steps stay bounded.
"""

from __future__ import annotations

import numpy as np
from case import Case
from programs import program_of

from pullback.primitives.control import Call, Cond, Scan, WhileLoop
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.shape import Slice
from pullback.primitives.transcendental import Sin, Tanh

sin, tanh = Sin(), Tanh()


def branches(dtype="f64"):
    types = (f"{dtype}[2,3]", f"{dtype}[2,3]")
    return Cond(
        (
            program_of(lambda x, y: (x * y, tanh(x)), *types, name="first"),
            program_of(lambda x, y: (sin(x), y), *types, name="second"),
            program_of(lambda x, y: (y * y * x, x + y), *types, name="third"),
        )
    )


def taken(index, x, y):
    return (
        (x * y, np.tanh(x)),
        (np.sin(x), y),
        (y * y * x, x + y),
    )[min(max(int(index), 0), 2)]


def with_index(index, dtype=np.float64):
    def make(rng):
        return (np.int32(index), *(rng.normal(size=(2, 3)).astype(dtype) for _ in range(2)))

    return make


def cond_case(index, **options):
    return Case(
        branches(), with_index(index), taken, ulp=2, atol=1e-15, label=f"index{index}", **options
    )


def mixed(rng):
    """An integer operand beside a floating one, of which only one branch reads each."""
    return np.int32(1), np.arange(3, dtype=np.int64), rng.normal(size=3)


MIXED = Cond(
    (
        program_of(lambda n, x: (n, x * 2.0), "i64[3]", "f64[3]"),
        program_of(lambda n, x: (n + 1, sin(x)), "i64[3]", "f64[3]"),
    )
)


def step(constant, carry, count, x):
    moved = tanh(constant * carry + x)
    return moved, count + 1, moved * x


SCAN_TYPES = ("f64[3]", "f64[3]", "i32[]", "f64[3]")


def scan(length, reverse=False, types=SCAN_TYPES):
    return Scan(program_of(step, *types), length, reverse, 1, 2)


def scan_operands(length, dtype=np.float64):
    def make(rng):
        constant, carry = (rng.normal(size=3).astype(dtype) for _ in range(2))
        return constant, carry, np.int32(7), rng.normal(size=(length, 3)).astype(dtype)

    return make


def looped(reverse):
    def reference(constant, carry, count, xs):
        ys = np.zeros_like(xs)
        for i in range(len(xs))[:: -1 if reverse else 1]:
            carry = np.tanh(constant * carry + xs[i])
            count = np.int32(count + 1)
            ys[i] = carry * xs[i]
        return carry, count, ys

    return reference


def scan_case(length, reverse=False, dtype=np.float64, **options):
    short = {np.float64: "f64", np.float32: "f32"}[dtype]
    types = tuple(t.replace("f64", short) for t in SCAN_TYPES)
    options.setdefault("label", f"length{length}{'-reverse' * reverse}")
    return Case(
        scan(length, reverse, types),
        scan_operands(length, dtype),
        looped(reverse),
        ulp=16,
        atol=1e-7 if dtype == np.float32 else 1e-15,
        **options,
    )


# No carry: a map. No slices: iteration.
MAP = Scan(program_of(lambda c, x: sin(x) * c, "f64[]", "f64[4]"), 3, False, 1, 0)
ITERATION = Scan(program_of(lambda c: tanh(c * 1.5), "f64[2,2]"), 5, False, 0, 1)


def iterated(c):
    for _ in range(5):
        c = np.tanh(c * 1.5)
    return (c,)


def prefix_sums(rng):
    """A scan of scans: running sums along both axes."""
    return np.float64(0.5), rng.normal(size=(3, 4))


def add_one(total, x):
    return total + x, total + x


INNER = Scan(program_of(add_one, "f64[]", "f64[]"), 4, False, 0, 1)


def outer_step(total, row):
    last, sums = INNER(total, row)
    return last * 0.5, sums


NESTED = Scan(program_of(outer_step, "f64[]", "f64[4]"), 3, False, 0, 1)


def nested_loops(total, rows):
    sums = np.zeros_like(rows)
    for i, row in enumerate(rows):
        for j, x in enumerate(row):
            total = total + x
            sums[i, j] = total
        total = total * 0.5
    return total, sums


def halve_until(limit):
    loop = WhileLoop(
        program_of(lambda k, n, x: ReduceSum((0,))(x * x) > limit, "f64[2]", "i32[]", "f64[2]"),
        program_of(lambda k, n, x: (n + 1, x * k), "f64[2]", "i32[]", "f64[2]"),
        1,
    )

    def reference(k, n, x):
        while np.sum(x * x) > limit:
            n, x = np.int32(n + 1), x * k
        return n, x

    return loop, reference


def while_operands(rng):
    return np.array([0.5, -0.75]), np.int32(0), np.array([3.0, 4.0])


def while_case(limit, label):
    loop, reference = halve_until(limit)
    # Reverse mode is refused; tests/control holds the jvp to differences.
    return Case(loop, while_operands, reference, ulp=4, orders=(), label=label)


def halves(x):
    return Slice((0,), (2,), (1,))(x), sin(Slice((2,), (4,), (1,))(x))


CASES = [
    cond_case(0),
    cond_case(2),
    cond_case(-5),
    cond_case(9, orders=(1,)),
    Case(
        branches("f32"), with_index(1, np.float32), taken, ulp=2, atol=1e-7, label="f32", orders=()
    ),
    Case(MIXED, mixed, lambda i, n, x: (n + 1, np.sin(x)), ulp=2, atol=1e-15, label="mixed"),
    scan_case(4),
    scan_case(3, reverse=True),
    scan_case(1),
    scan_case(0),
    scan_case(5, dtype=np.float32, orders=()),
    Case(
        MAP,
        lambda rng: (np.float64(1.5), rng.normal(size=(3, 4))),
        lambda c, xs: (np.sin(xs) * c,),
        ulp=2,
        atol=1e-15,
        label="map",
    ),
    Case(ITERATION, lambda rng: (rng.normal(size=(2, 2)),), iterated, ulp=16, label="iteration"),
    Case(NESTED, prefix_sums, nested_loops, ulp=8, atol=1e-15, label="nested"),
    while_case(0.5, "some"),
    while_case(1e9, "none"),
    Case(
        Call(program_of(halves, "f64[4]"), "halves"),
        lambda rng: (rng.normal(size=4),),
        lambda x: (x[:2], np.sin(x[2:])),
        ulp=2,
        atol=1e-15,
    ),
]
