"""Forward mode without a second table of rules: a tangent rule is a vjp rule transposed.

``ct -> vjp(ct)`` is linear, and its own vjp with respect to ``ct``, applied to the tangents of the
inputs, is the tangent of the output. Imports ``vjp``; start at ``forward_pass``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from pullback.autodiff.cotangents import is_floating, sum_to, zeros
from pullback.autodiff.vjp import (
    Read,
    backward_pass,
    close,
    differentiable_positions,
    differentiating,
    extend,
    is_single,
    literal_value,
    reader,
)
from pullback.program.builder import Builder
from pullback.program.core import Atom, Equation, Program, Var
from pullback.program.primitive import ELEMENTWISE, LINEAR, Primitive
from pullback.program.value import Array, Value
from pullback.types import ArrayType

Tangents = Sequence[Value | None]


def forward_pass(
    equations: Sequence[Equation],
    read: Read,
    tangents: Iterable[tuple[Atom, Value | None]],
    wanted: Iterable[Atom],
) -> list[Value | None]:
    """Carry tangents of inputs forward to outputs.

    Args:
        equations: What was computed, in order.
        read: Gives the primal value of an atom.
        tangents: Inputs and their tangents; None is a zero.
        wanted: The variables whose tangents are asked for.

    Returns:
        One tangent for each of ``wanted``; None where it depends on no tangent.

    Raises:
        DifferentiationError: a rule refuses. A note says which equation, and the user's line.
    """
    known: dict[Atom, Value] = {x: t for x, t in tangents if t is not None}
    for eqn in equations:
        moving = [
            known.get(x) if eqn.primitive.is_differentiable(i, x.type) else None
            for i, x in enumerate(eqn.inputs)
        ]
        if all(t is None for t in moving):
            continue
        with differentiating(eqn, "jvp"):
            results = _apply_rule(eqn, moving, read)
        for output, t in zip(eqn.outputs, results, strict=True):
            if t is not None and is_floating(output.type):
                known[output] = t
    return [known.get(x) for x in wanted]


def _apply_rule(eqn: Equation, tangents: Tangents, read: Read) -> Tangents:
    """Tangents of the outputs: by the primitive's own rule, by linearity, or by transposition."""
    primitive, primals = eqn.primitive, [read(x) for x in eqn.inputs]
    own_rule = getattr(primitive, "jvp", None)
    if own_rule is not None:
        _, results = own_rule(tuple(primals), tuple(tangents))
        return (results,) if is_single(eqn) else tuple(results)
    if primitive.has(LINEAR) and _can_apply_itself(eqn, tangents):
        operands = [
            (zeros(x.type) if t is None else t) if primitive.is_differentiable(i, x.type) else x
            for i, (x, t) in enumerate(zip(primals, tangents, strict=True))
        ]
        result = primitive(*operands)
        return result if isinstance(result, tuple) else (result,)
    outs = [read(v) for v in eqn.outputs]
    moving = tuple(t is not None for t in tangents)
    rule = tangent_rule(primitive, tuple(x.type for x in primals), moving)
    found = iter(_evaluate(rule, [*primals, *outs, *(t for t in tangents if t is not None)]))
    return [next(found) if is_floating(v.type) else None for v in outs]


def _can_apply_itself(eqn: Equation, tangents: Tangents) -> bool:
    """Elementwise ones do not where a tangent is missing: ``t + 0`` would be one equation more."""
    return not eqn.primitive.has(ELEMENTWISE) or all(
        t is not None or not eqn.primitive.is_differentiable(i, x.type)
        for i, (x, t) in enumerate(zip(eqn.inputs, tangents, strict=True))
    )


@functools.lru_cache(maxsize=4096)
def tangent_rule(
    primitive: Primitive, types: tuple[ArrayType, ...], moving: tuple[bool, ...]
) -> Program:
    """Derive the tangent rule of a primitive from its vjp rule.

    Args:
        primitive: What to differentiate.
        types: Types of the operands.
        moving: Which operands have a tangent.

    Returns:
        ``(*operands, *outputs, *tangents of moving operands) -> tangents of floating outputs``.
    """
    inferred = primitive.infer(*types)
    out_types: tuple[ArrayType, ...] = inferred if isinstance(inferred, tuple) else (inferred,)
    b = Builder()
    with b:
        primals = [b.input(t) for t in types]
        outs = [b.input(t) for t in out_types]
        tangents = [b.input(t) if has else None for t, has in zip(types, moving, strict=True)]
        cts = [b.input(t) for t in out_types]
        if isinstance(inferred, tuple):
            images = primitive.vjp(tuple(cts), tuple(outs), *primals)
        else:
            images = primitive.vjp(cts[0], outs[0], *primals)
        pairs = [
            (b.lift(sum_to(image, t.type)).atom, t)
            for image, t in zip(images, tangents, strict=True)
            if image is not None and t is not None
        ]
        floating = [ct for ct in cts if is_floating(ct.type)]
        linear = tuple(b.equations)
        found = backward_pass(linear, reader(b), pairs, [ct.atom for ct in floating])
        filled = [zeros(ct.type) if t is None else t for ct, t in zip(floating, found, strict=True)]
        program = close(b, b.finish(filled, primitive.name))
    return _without_cotangents(program, len(cts))


def _without_cotangents(program: Program, count: int) -> Program:
    """Drop dead equations and the last ``count`` inputs, the cotangents of a linear rule.

    The derivative of a linear map is the same at every point, so where the transposed rule still
    reads a cotangent a zero stands for it.
    """
    alive = {atom for atom in program.outputs if isinstance(atom, Var)}
    equations = []
    for eqn in reversed(program.equations):
        if not alive.isdisjoint(eqn.outputs):
            equations.append(eqn)
            alive.update(x for x in eqn.inputs if isinstance(x, Var))
    inputs = program.inputs[: len(program.inputs) - count]
    read = [v for v in program.inputs[len(inputs) :] if v in alive]
    points = tuple((v, np.zeros(v.type.shape, v.type.dtype)) for v in read)
    return replace(
        program,
        inputs=inputs,
        equations=tuple(reversed(equations)),
        constants=(*program.constants, *points),
    )


def _evaluate(program: Program, args: Sequence[Value]) -> list[Value]:
    """Apply ``program`` to values; its equations get the provenance in force, not their own."""
    values: dict[Atom, Value] = {v: Array(a) for v, a in program.constants}
    values.update(zip(program.inputs, args, strict=True))

    def read(atom: Atom) -> Value:
        return values[atom] if isinstance(atom, Var) else literal_value(atom)

    for eqn in program.equations:
        result = eqn.primitive(*map(read, eqn.inputs))
        values.update(
            zip(eqn.outputs, result if isinstance(result, tuple) else (result,), strict=True)
        )
    return [read(atom) for atom in program.outputs]


def jvp_program(
    program: Program, wanted: Sequence[int] | None = None, *, keep_outputs: bool = True
) -> Program:
    """Return the program that computes ``program`` and the tangents of its outputs.

    Args:
        program: What to differentiate.
        wanted: Positions of the inputs that have a tangent. Default: all floating ones.
        keep_outputs: Whether the outputs of ``program`` are outputs too.

    Returns:
        A program whose inputs are those of ``program``, then one tangent for every wanted input;
        and whose outputs are those of ``program`` (if kept), then one tangent for every
        *floating* output. Equations of ``program`` keep their keys, sources and origins.

    Raises:
        DifferentiationError: a rule refuses, or an input in ``wanted`` is not floating.
    """
    inputs = [program.inputs[i] for i in differentiable_positions(program, wanted)]
    floating = [y for y in program.outputs if is_floating(y.type)]
    b = extend(program)
    with b:
        tangents = [(x, b.input(x.type)) for x in inputs]
        results = forward_pass(program.equations, reader(b), tangents, floating)
        filled = [zeros(y.type) if t is None else t for y, t in zip(floating, results, strict=True)]
        kept = [reader(b)(y) for y in program.outputs] if keep_outputs else []
        return close(b, b.finish([*kept, *filled], program.name), program.constants)
