"""Splits long reductions to few results in two, so that threads can share them.

Imports ``passes.base`` and ``primitives``. It runs just before lowering, after the pipeline: what
it decides depends on shapes alone, never on the number of threads, and so do the results' bits.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Final

from pullback.passes.base import REASSOCIATES, PassLog, changed, program_pass
from pullback.primitives.cast import Convert
from pullback.primitives.shape import Concatenate, Reshape, Slice
from pullback.program.builder import Builder
from pullback.program.core import Equation, Program
from pullback.program.primitive import REDUCTION, Primitive
from pullback.program.value import Value
from pullback.types import bfloat16, float16, float32

#: Reductions that read fewer elements are over before a second thread would help.
LONG_ELEMENTS: Final = 1 << 16
#: With so many independent results there is enough to share already.
ENOUGH_RESULTS: Final = 16
#: Columns reduced side by side fill vectors, so they count for less.
ENOUGH_COLUMNS: Final = 1024
#: Blocks that a long axis is cut into: enough for many threads, few enough to combine quickly.
BLOCKS: Final = 64


@program_pass("split-reductions", promise=REASSOCIATES)
def split_reductions(program: Program, log: PassLog) -> Program:
    """Reduce blocks of a long axis, then the blocks' results.

    rewrite:
        %1 = reduce_sum(axes=(0,)) %0        %1 = reshape(shape=(64, 15625)) %0
                                     ->      %2 = reduce_sum(axes=(1,)) %1
                                             %3 = reduce_sum(axes=(0,)) %2
    """
    equations: list[Equation] = []
    next_key = program.next_key()
    for eqn in program.equations:
        axis = _axis_to_split(eqn)
        if axis is None:
            equations.append(eqn)
            continue
        made = _split(eqn, axis, next_key)
        next_key += len(made)
        log.record("split-reduction", eqn, made[-1].key)
        equations.extend(made)
    return changed(program, equations)


def _axis_to_split(eqn: Equation) -> int | None:
    """The longest reduced axis of an equation that should be split."""
    primitive: Any = eqn.primitive
    if not primitive.has(REDUCTION) or "axes" not in primitive.parameters():
        return None
    (x,) = eqn.inputs
    axes, shape = primitive.axes, x.type.shape
    if x.type.size < LONG_ELEMENTS or not axes:
        return None
    enough = ENOUGH_RESULTS if len(shape) - 1 in axes else ENOUGH_COLUMNS
    if eqn.output.type.size >= enough:
        return None
    axis: int = max(axes, key=lambda a: shape[a])
    return axis if shape[axis] >= 2 * BLOCKS else None


def _split(eqn: Equation, axis: int, first_key: int) -> list[Equation]:
    """The equations that compute what ``eqn`` does, in two steps."""
    with Builder(first_key) as b:
        x = b.input(eqn.inputs[0].type)
        y = _reduced(eqn.primitive, x, axis)
    program = b.finish([y])
    renamed = {program.inputs[0]: eqn.inputs[0], program.outputs[0]: eqn.output}

    def rename(atoms: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(renamed.get(a, a) for a in atoms)

    return [
        dataclasses.replace(
            e,
            inputs=rename(e.inputs),
            outputs=rename(e.outputs),
            source=eqn.source,
            origin=eqn.origin,
        )
        for e in program.equations
    ]


def _reduced(primitive: Any, x: Value, axis: int) -> Value:
    dtype = x.dtype
    if dtype in (float16, bfloat16):
        # The blocks' results must not be rounded to 16 bits.
        x = Convert(float32)(x)
    shape = x.shape
    length = shape[axis] // BLOCKS
    whole = BLOCKS * length
    # The blocks' axis comes first, whatever was before it: a new axis where the long one was.
    parts = [_blocks(primitive, _part(x, axis, 0, whole), axis, BLOCKS)]
    if whole < shape[axis]:
        parts.append(_blocks(primitive, _part(x, axis, whole, shape[axis]), axis, 1))
    kept_before = axis - sum(a < axis for a in primitive.axes)
    joined = parts[0] if len(parts) == 1 else Concatenate(kept_before)(*parts)
    result: Value = _with_axes(primitive, (kept_before,))(joined)
    return result if result.dtype == dtype else Convert(dtype)(result)


def _part(x: Value, axis: int, start: int, stop: int) -> Value:
    if (start, stop) == (0, x.shape[axis]):
        return x
    starts = tuple(start if a == axis else 0 for a in range(x.ndim))
    stops = tuple(stop if a == axis else n for a, n in enumerate(x.shape))
    part: Value = Slice(starts, stops, (1,) * x.ndim)(x)
    return part


def _blocks(primitive: Any, x: Value, axis: int, count: int) -> Value:
    """Cut ``axis`` into ``count`` blocks and reduce all that is to be reduced but the blocks."""
    shape = (*x.shape[:axis], count, x.shape[axis] // count, *x.shape[axis + 1 :])
    cut = Reshape(shape)(x)
    axes = tuple(a if a < axis else a + 1 for a in primitive.axes)
    if math.prod(shape) == 0:
        raise ValueError("a reduction without elements is never split")
    reduced: Value = _with_axes(primitive, tuple(sorted(axes)))(cut)
    return reduced


def _with_axes(primitive: Primitive, axes: tuple[int, ...]) -> Primitive:
    return dataclasses.replace(primitive, axes=axes)  # type: ignore[call-arg]
