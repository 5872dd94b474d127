"""Keeps sums of few rows of a large table as rows: the derivative of an embedding.

Imports ``passes.base``, ``row_sums`` and ``table_update``. It runs just before lowering, after the
pipeline: that it pays depends on how much memory kernels walk over, not on how many equations
there are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from pullback.passes.base import PassLog, changed, program_pass
from pullback.passes.row_sums import all_places, sum_rows
from pullback.passes.table_update import STEPS, TableUpdate
from pullback.primitives.elementwise import Add, Sub
from pullback.primitives.scatter import Scatter
from pullback.primitives.shape import Broadcast
from pullback.program.builder import Builder
from pullback.program.core import Equation, Literal, Program, Var
from pullback.program.primitive import ELEMENTWISE, REDUCTION
from pullback.program.value import Value

#: Smaller tables are in a core's cache when they are read.
LEAST_BYTES: Final = 1 << 20
#: Narrower rows take longer to find than to walk over.
LEAST_WIDTH: Final = 16
#: There must be so many places for each update.
PLACES_FOR_UPDATE: Final = 2


@program_pass("compact-scatters")
def compact_scatters(program: Program, log: PassLog) -> Program:
    """Sum the rows of a scatter where few rows are updated, and let readers find them there.

    The last update of each place keeps the sum, and readers of other places read zero: the same
    additions in the same order. Where all that is done with the sums is to take a multiple of them
    from a table, as gradient descent does, rows without updates stay as they are, if zero times
    the factor is zero: of a factor that is data, the compiled program looks whether it is.

    rewrite:
        %3 = scatter(kind="add") 0 %1 %2            %3 = scatter(kind="set") -1 %1 [0, 1, ...]
        %4 = exp %3                         ->      %4 = gather %3 %1
                                                    %5 = scatter(kind="add") 0 %4 %2
                                                    %6 = exp (%3 < 0 ? 0 : gather %5 %3)
    """
    found = list(_Readers(program).rewrites())
    last = {(scatter, *steps)[-1]: (scatter, steps) for scatter, steps in found}
    gone = {eqn for scatter, steps in found for eqn in (scatter, *steps)}
    equations: list[Equation] = []
    next_key = program.next_key()
    for eqn in program.equations:
        if eqn in last:
            scatter, steps = last[eqn]
            made = _traced(scatter, steps, next_key)
            next_key += len(made)
            equations.extend(made)
            for replaced in (scatter, *steps):
                log.record("compact-scatter", replaced, made[-1].key)
        elif eqn not in gone:
            equations.append(eqn)
    return changed(program, equations)


class _Readers:
    """Who reads what in a program."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._zeros = {e.output for e in program.equations if _is_zero(e)}
        self._inputs = set(program.inputs)
        self._outputs = {a for a in program.outputs if isinstance(a, Var)}
        self._readers: dict[Var, list[Equation]] = {}
        for eqn in program.equations:
            for atom in eqn.inputs:
                if isinstance(atom, Var):
                    self._readers.setdefault(atom, []).append(eqn)

    def rewrites(self) -> Iterator[tuple[Equation, tuple[Equation, ...]]]:
        """Scatters that are better kept as rows, and the steps to a table that they change."""
        for eqn in self._program.equations:
            if not self._is_sparse(eqn):
                continue
            steps = self._steps_to_table(eqn)
            if steps and TableUpdate(eqn, steps).may_keep_rows():
                yield eqn, steps
            elif eqn.output not in self._outputs and all(
                r.primitive.traits & (ELEMENTWISE | REDUCTION) for r in self._of(eqn)
            ):
                yield eqn, ()

    def _of(self, eqn: Equation) -> list[Equation]:
        return self._readers.get(eqn.output, [])

    def _is_sparse(self, eqn: Equation) -> bool:
        """Whether rows of a large array of zeros are updated, few of them."""
        primitive = eqn.primitive
        if not isinstance(primitive, Scatter) or primitive.kind != "add" or primitive.batch:
            return False
        x, indices, updates = eqn.inputs
        axes = primitive.axes
        if x not in self._zeros or not axes or axes != tuple(range(len(axes))):
            return False
        if not isinstance(indices, Var) or not isinstance(updates, Var):
            return False
        if not updates.type.size or x.type.size * x.type.dtype.itemsize < LEAST_BYTES:
            return False
        places = math.prod(x.type.shape[: len(axes)])
        count = math.prod(indices.type.shape[:-1])
        return x.type.size >= LEAST_WIDTH * places and count * PLACES_FOR_UPDATE <= places

    def _steps_to_table(self, scatter: Equation) -> tuple[Equation, ...]:
        """The steps to a sum with, or difference from, a table if they alone read the scatter."""
        steps: list[Equation] = []
        eqn = scatter
        while not isinstance(eqn.primitive, (Add, Sub)):
            readers = self._of(eqn)
            if len(readers) != 1 or eqn.output in self._outputs:
                return ()
            before, (eqn,) = eqn.output, readers
            others = [a for a in eqn.inputs if a is not before]
            is_step = isinstance(eqn.primitive, STEPS) and not any(a.type.shape for a in others)
            if not is_step and not isinstance(eqn.primitive, (Add, Sub)):
                return ()
            steps.append(eqn)
        # Of a table that is computed as well, all rows are walked over anyway.
        is_table = others[0].type == eqn.output.type and others[0] in self._inputs
        subtracts = isinstance(eqn.primitive, Sub) and eqn.inputs[0] is before
        return tuple(steps) if is_table and not subtracts else ()


def _is_zero(eqn: Equation) -> bool:
    """Whether the output is +0 everywhere."""
    if not isinstance(eqn.primitive, Broadcast) or not isinstance(eqn.inputs[0], Literal):
        return False
    return not any(np.asarray(eqn.inputs[0].value).tobytes())


def _traced(scatter: Equation, steps: tuple[Equation, ...], first_key: int) -> list[Equation]:
    """The equations that compute the output of the last step, or of the scatter, in rows."""
    update = TableUpdate(scatter, steps) if steps else None
    needed = [*scatter.inputs[1:], *([update.table, *update.factors] if update else [])]
    values: dict[Any, Value] = {}
    with Builder(first_key) as b:
        for atom in needed:
            if atom not in values:
                values[atom] = b.input(atom.type)
        indices, updates = (values[a] for a in scatter.inputs[1:])
        sums = sum_rows(scatter.output.type.shape, indices, updates)
        if update is None:
            result = all_places(sums.last, sums.rows)
        else:
            factors = {a: values[a] for a in update.factors}
            result = update.updated(values[update.table], sums, factors)
    program = b.finish([result])
    renamed: dict[Any, Any] = dict(zip(program.inputs, values, strict=True))
    renamed[program.outputs[0]] = (scatter, *steps)[-1].output
    return [
        dataclasses.replace(
            e,
            inputs=tuple(renamed.get(a, a) for a in e.inputs),
            outputs=tuple(renamed.get(a, a) for a in e.outputs),
            source=scatter.source,
            origin=scatter.origin,
        )
        for e in program.equations
    ]
