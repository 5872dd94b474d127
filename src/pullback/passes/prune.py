"""Removes from a control-flow equation what only its dead outputs depend on.

Imports ``passes.base`` and the control primitives. Used by ``dce``; start at ``prune``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pullback.passes.base import map_bodies
from pullback.primitives.control import Cond, Scan, WhileLoop
from pullback.program.core import Atom, Equation, Program, Var

T = TypeVar("T")
Clean = Callable[[Program], Program]


def prune(eqn: Equation, live: Collection[Var], clean: Clean) -> Equation:
    """Return a control-flow equation without its outputs that are not ``live``.

    Operands, elements of the carry and inputs of the bodies that only these need go, too. The same
    object is returned when nothing does.

    Args:
        eqn: Any equation with bodies; those of unknown form have only their bodies cleaned.
        live: Variables that are read later.
        clean: Removes dead equations from a body.
    """
    whole = Program((), (eqn,), ())
    (eqn,) = map_bodies(whole, clean).equations
    wanted = [var in live for var in eqn.outputs]
    match eqn.primitive:
        case Scan() as scan:
            return _prune_scan(eqn, scan, wanted, clean)
        case WhileLoop() as loop:
            return _prune_while(eqn, loop, wanted, clean)
        case Cond() as cond:
            return _prune_cond(eqn, cond, wanted, clean)
    return eqn


def _prune_scan(eqn: Equation, scan: Scan, wanted: list[bool], clean: Clean) -> Equation:
    carries = range(scan.carry)
    needed = [False] * len(eqn.inputs)
    while True:
        needed = _needed_inputs(scan.body, wanted)
        again = [i for i in carries if needed[scan.constants + i] and not wanted[i]]
        if not again:
            break
        for i in again:  # what a later step reads, an earlier one must compute
            wanted[i] = True
    for i in carries:  # an element of the carry that is an output, but read by no step
        needed[scan.constants + i] |= wanted[i]
    if all(needed) and all(wanted):
        return eqn
    body = _restricted(scan.body, needed, wanted, clean)
    primitive = replace(
        scan,
        body=body,
        constants=sum(needed[: scan.constants]),
        carry=sum(wanted[: scan.carry]),
    )
    return _rebuilt(eqn, primitive, needed, wanted)


def _prune_while(eqn: Equation, loop: WhileLoop, wanted: list[bool], clean: Clean) -> Equation:
    tested = _needed_inputs(loop.condition, [True])
    while True:
        needed = _either(tested, _needed_inputs(loop.body, wanted))
        again = [i for i, w in enumerate(wanted) if needed[loop.constants + i] and not w]
        if not again:
            break
        for i in again:
            wanted[i] = True
    for i, is_wanted in enumerate(wanted):
        needed[loop.constants + i] |= is_wanted
    if all(needed):
        return eqn
    primitive = WhileLoop(
        condition=_restricted(loop.condition, needed, [True], clean),
        body=_restricted(loop.body, needed, wanted, clean),
        constants=sum(needed[: loop.constants]),
    )
    return _rebuilt(eqn, primitive, needed, wanted)


def _prune_cond(eqn: Equation, cond: Cond, wanted: list[bool], clean: Clean) -> Equation:
    needed = [False] * (len(eqn.inputs) - 1)
    for branch in cond.branches:
        needed = _either(needed, _needed_inputs(branch, wanted))
    if all(needed) and all(wanted):
        return eqn
    branches = tuple(_restricted(branch, needed, wanted, clean) for branch in cond.branches)
    return _rebuilt(eqn, Cond(branches), [True, *needed], wanted)


def _needed_inputs(body: Program, wanted: Sequence[bool]) -> list[bool]:
    """Return which inputs the wanted outputs depend on."""
    live = {atom for atom in _selected(body.outputs, wanted) if isinstance(atom, Var)}
    for eqn in reversed(body.equations):
        if not eqn.outputs or any(var in live for var in eqn.outputs):
            live.update(atom for atom in eqn.inputs if isinstance(atom, Var))
    return [var in live for var in body.inputs]


def _restricted(
    body: Program, needed: Sequence[bool], wanted: Sequence[bool], clean: Clean
) -> Program:
    outputs: tuple[Atom, ...] = _selected(body.outputs, wanted)
    return replace(clean(replace(body, outputs=outputs)), inputs=_selected(body.inputs, needed))


def _rebuilt(
    eqn: Equation, primitive: Any, needed: Sequence[bool], wanted: Sequence[bool]
) -> Equation:
    inputs, outputs = _selected(eqn.inputs, needed), _selected(eqn.outputs, wanted)
    return replace(eqn, primitive=primitive, inputs=inputs, outputs=outputs)


def _selected(items: Iterable[T], chosen: Iterable[bool]) -> tuple[T, ...]:
    return tuple(item for item, keep in zip(items, chosen, strict=True) if keep)


def _either(these: Sequence[bool], those: Sequence[bool]) -> list[bool]:
    return [a or b for a, b in zip(these, those, strict=True)]
