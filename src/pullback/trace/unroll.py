"""Scans with several steps in one iteration, for ``scan(..., unroll=k)``.

Imports ``program`` and ``primitives``. ``pullback.control`` uses it; start at ``unrolled_scan``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.primitives.control import Scan
from pullback.primitives.shape import Concatenate, Reshape, Slice
from pullback.program.builder import Builder, inline
from pullback.program.core import Program
from pullback.program.value import Value


def unrolled_scan(scan: Scan, operands: Sequence[Value], steps: int) -> tuple[Value, ...]:
    """Apply ``scan`` to ``operands`` with ``steps`` steps in each iteration.

    The steps that are left over are made after the loop, as equations of their own; with as many
    steps as the scan is long nothing but these is left.

    Cost: the scan's; the program grows by ``steps`` bodies.
    """
    if steps <= 1 or scan.length == 0:
        return tuple(scan(*operands))
    constants, carry, xs = scan.parts(operands)
    rest = scan.length % steps if steps < scan.length else scan.length
    looped = scan.length - rest
    in_loop = (rest, scan.length) if scan.reverse else (0, looped)
    after = (0, rest) if scan.reverse else (looped, scan.length)
    stacks: list[tuple[Value, ...]] = []
    if looped:
        blocks = [_blocked(_slice(x, *in_loop), steps) for x in xs]
        block = Scan(_block(scan, steps), looped // steps, scan.reverse, scan.constants, scan.carry)
        results = block(*constants, *carry, *blocks)
        carry = results[: scan.carry]
        stacks.append(tuple(_joined(y) for y in results[scan.carry :]))
    if rest:
        carry, stacked = _steps(scan, constants, carry, [_slice(x, *after) for x in xs], rest)
        stacks.append(stacked)
    if scan.reverse:
        stacks.reverse()
    ys = (Concatenate(0)(*parts) for parts in zip(*stacks, strict=True))
    return (*carry, *ys)


def _block(scan: Scan, steps: int) -> Program:
    """The program of ``steps`` steps on slices of that length."""
    constants, carry, slices = scan.parts(scan.body.input_types)
    with Builder() as b:
        values = [b.input(t) for t in (*constants, *carry)]
        xs = [b.input(t.with_shape((steps, *t.shape))) for t in slices]
        state, ys = _steps(scan, values[: scan.constants], values[scan.constants :], xs, steps)
        return b.finish([*state, *ys], f"{scan.body.name}_x{steps}")


def _steps(
    scan: Scan,
    constants: Sequence[Value],
    carry: Sequence[Value],
    xs: Sequence[Value],
    steps: int,
) -> tuple[tuple[Value, ...], tuple[Value, ...]]:
    """Apply the body ``steps`` times; the carry, and what it puts out, stacked."""
    put_out: list[tuple[Value, ...]] = []
    for i in reversed(range(steps)) if scan.reverse else range(steps):
        results = inline(scan.body, (*constants, *carry, *(_item(x, i) for x in xs)))
        carry = results[: scan.carry]
        put_out.append(results[scan.carry :])
    if scan.reverse:
        put_out.reverse()
    return tuple(carry), tuple(_stack(ys) for ys in zip(*put_out, strict=True))


def _slice(x: Value, start: int, stop: int) -> Any:
    others = x.shape[1:]
    starts, stops = (start, *(0 for _ in others)), (stop, *others)
    return x if (start, stop) == (0, x.shape[0]) else Slice(starts, stops, (1,) * x.ndim)(x)


def _item(x: Value, i: int) -> Any:
    return Reshape(x.shape[1:])(_slice(x, i, i + 1))


def _stack(items: Sequence[Value]) -> Any:
    return Concatenate(0)(*(Reshape((1, *x.shape))(x) for x in items))


def _blocked(x: Value, steps: int) -> Any:
    return Reshape((x.shape[0] // steps, steps, *x.shape[1:]))(x)


def _joined(y: Value) -> Any:
    return Reshape((y.shape[0] * y.shape[1], *y.shape[2:]))(y)
