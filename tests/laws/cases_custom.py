"""Cases of primitives that change how a computation is differentiated.

The user's rule of ``custom_vjp`` is the true derivative here, so that differences confirm it;
rules that lie are in ``tests/control``.
"""

from __future__ import annotations

import numpy as np
from case import Case, integers, normal
from programs import program_of

from pullback.primitives.control import Call
from pullback.primitives.custom import Barrier, Checkpoint, CustomVjp, HostCall, StopGradient
from pullback.primitives.transcendental import Cos, Sin, Tanh
from pullback.types import ArrayType, float64, int32

sin, cos, tanh = Sin(), Cos(), Tanh()

CUSTOM = CustomVjp(
    program_of(lambda x, y, n: (sin(x) * y, n), "f64[3]", "f64[3]", "i32[]"),
    program_of(lambda x, y, n: (sin(x) * y, n, x, y), "f64[3]", "f64[3]", "i32[]"),
    program_of(lambda x, y, ct: (cos(x) * y * ct, sin(x) * ct), "f64[3]", "f64[3]", "f64[3]"),
    residuals=2,
    gradients=(0, 1),
    arguments=3,
    name_="sine",
)


def custom_operands(rng):
    return rng.normal(size=3), rng.normal(size=3), np.int32(4)


def block(x, w):
    hidden = tanh(x * w)
    return hidden * hidden, hidden + x


INNER = Checkpoint(program_of(block, "f64[2,2]", "f64[2,2]"), "block")
OUTER = Checkpoint(program_of(lambda x, w: INNER(*INNER(x, w)), "f64[2,2]", "f64[2,2]"), "blocks")


def block_reference(x, w):
    hidden = np.tanh(x * w)
    return hidden * hidden, hidden + x


def swap(x, n):
    return np.flip(x), np.asarray(n + 1, np.int32)


HOST = HostCall(swap, (ArrayType((3,), float64), ArrayType((), int32)), "swap")

CASES = [
    Case(StopGradient(), normal((2, 3)), lambda x: x, exact_zeros=True),
    Case(StopGradient(), integers(0, 9, ()), lambda x: x),
    Case(Barrier(), normal((2, 3)), lambda x: x, label="alone", exact_zeros=True),
    Case(
        Barrier(),
        lambda rng: (rng.normal(size=(2, 0)), rng.normal(size=3), np.int32(1)),
        lambda x, *_: x,
        label="waiting",
    ),
    Case(CUSTOM, custom_operands, lambda x, y, n: (np.sin(x) * y, n), ulp=4, atol=1e-15),
    Case(INNER, normal((2, 2), (2, 2)), block_reference, ulp=8, atol=1e-15),
    Case(
        OUTER,
        normal((2, 2), (2, 2)),
        lambda x, w: block_reference(*block_reference(x, w)),
        ulp=32,
        atol=1e-15,
        label="nested",
    ),
    Case(
        Call(OUTER.program, "blocks"),
        normal((2, 2), (2, 2)),
        lambda x, w: block_reference(*block_reference(x, w)),
        ulp=32,
        atol=1e-15,
        label="checkpoint-inside",
    ),
    # A host function has no derivative.
    Case(HOST, lambda rng: (rng.normal(size=3), np.int32(2)), swap, orders=()),
]
