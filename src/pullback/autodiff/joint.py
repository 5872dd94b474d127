"""Programs that compute cotangents beside outputs, and small things their users share.

Imports ``vjp`` and ``split``; ``control`` and ``scan`` use it. Start at ``joint_program``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pullback.autodiff.cotangents import is_floating
from pullback.autodiff.split import Split
from pullback.autodiff.vjp import backward_pass, close, extend, reader
from pullback.primitives.derive import Extension, merge_extended, note_extension, where_made
from pullback.program.core import Program
from pullback.program.primitive import Primitive
from pullback.program.value import Value

Positions = tuple[int, ...]
Flags = tuple[bool, ...]


def joint_program(
    program: Program, seeds: Positions, wanted: Positions
) -> tuple[Program, Positions]:
    """Return the program that also computes cotangents, and the inputs it computes them for.

    Args:
        program: What to differentiate.
        seeds: Positions of the outputs that have a cotangent; the others' are zero.
        wanted: Positions of the inputs whose cotangents are asked for.

    Returns:
        ``(*inputs, *cotangents at seeds) -> (*outputs, *gradients)`` and the positions of the
        inputs that the gradients belong to: the cotangent of any other wanted input is zero.
    """
    inputs = [program.inputs[i] for i in wanted]
    b = extend(program)
    with b:
        read = reader(b)
        cts = [(program.outputs[j], b.input(program.outputs[j].type)) for j in seeds]
        found = backward_pass(program.equations, read, cts, inputs)
        gradients = [(i, ct) for i, ct in zip(wanted, found, strict=True) if ct is not None]
        outputs = [*map(read, program.outputs), *(ct for _, ct in gradients)]
        joint = close(b, b.finish(outputs, program.name), program.constants)
    return merge_extended(joint), tuple(i for i, _ in gradients)


def given_flags(cts: Sequence[Value | None]) -> Flags:
    """Which outputs have a cotangent."""
    return tuple(ct is not None and is_floating(ct.type) for ct in cts)


def chosen(flags: Iterable[bool]) -> Positions:
    """Positions of the flags that are set."""
    return tuple(i for i, flag in enumerate(flags) if flag)


def at_positions(
    count: int, positions: Positions, values: Iterable[Value]
) -> tuple[Value | None, ...]:
    """``values`` at their positions among ``count``, None elsewhere."""
    by_position = dict(zip(positions, values, strict=True))
    return tuple(by_position.get(i) for i in range(count))


def note_residuals(extended: Primitive, original: Primitive, operands: int, outputs: int) -> None:
    """Note that ``extended`` puts out more than ``original`` does for the same operands."""
    positions = tuple(range(operands)), tuple(range(outputs))
    note_extension(extended, Extension(original, *positions))


def floating_flags(args: Sequence[Value], wanted: Flags) -> Flags:
    """Which operands are wanted and have a cotangent at all."""
    return tuple(is_floating(x.type) and w for x, w in zip(args, wanted, strict=True))


def residuals_of(
    forward: Primitive, split: Split, args: tuple[Value, ...], outs: tuple[Value, ...]
) -> tuple[Value, ...]:
    """What the extended forward primitive puts out behind the outputs, if anything."""
    if len(split.forward.outputs) == len(outs):
        return ()
    with where_made(outs):
        return tuple(forward(*args)[len(outs) :])
