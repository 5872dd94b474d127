"""From the sums of a scatter to the table that they change: what gradient descent does with them.

Imports ``row_sums`` and ``primitives``. ``compact_scatters`` says where it is used. Start at
``TableUpdate``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from pullback.passes.row_sums import RowSums, all_places
from pullback.primitives.cast import Bitcast, Convert
from pullback.primitives.comparison import Eq
from pullback.primitives.control import Cond
from pullback.primitives.elementwise import Add, Clip, Div, Max, Min, Mul, Neg, Sub
from pullback.primitives.scatter import Scatter
from pullback.program.builder import Builder
from pullback.program.core import Atom, Equation, Literal, NDArray, Var
from pullback.program.value import Array, Value
from pullback.records import dataclass
from pullback.types import FLOATING, as_dtype, int32

#: What may lie between sums and table; IEEE 754 says what each gives, on any machine.
STEPS: Final = (Mul, Div, Neg, Max, Min, Clip, Convert)


@dataclass(frozen=True, eq=False)
class TableUpdate:
    """Equations from the sums of a scatter to a table plus, or minus, what is made of them.

    Each of ``steps`` reads the output before it, of the scatter first, and operands without axes;
    the last one the table instead.
    """

    scatter: Equation
    steps: tuple[Equation, ...]

    @property
    def table(self) -> Atom:
        """What the steps lead to."""
        before = (self.scatter, *self.steps)[-2].output
        (table,) = (a for a in self.steps[-1].inputs if a is not before)
        return table

    @property
    def factors(self) -> list[Var]:
        """What the steps read besides, where it is data."""
        atoms = (a for e in self.steps[:-1] for a in e.inputs if not a.type.shape)
        return list(dict.fromkeys(a for a in atoms if isinstance(a, Var)))

    def may_keep_rows(self) -> bool:
        """Whether rows of the table without updates stay as they are; of data it may be."""
        if self.factors:
            return True
        left: Any = np.zeros((), self.scatter.output.type.dtype)
        for eqn in self.steps[:-1]:
            inputs = [np.asarray(a.value) if isinstance(a, Literal) else left for a in eqn.inputs]
            with np.errstate(all="ignore"):
                left = np.asarray(eqn.primitive.evaluate(*inputs))
        return bool(left.tobytes() == self._nothing.tobytes())

    @property
    def _nothing(self) -> NDArray:
        """What leaves every number of the table as it is: +0 subtracted, or -0 added."""
        negative = isinstance(self.steps[-1].primitive, Add)
        dtype = self.steps[-1].output.type.dtype
        return np.asarray(-0.0 if negative and dtype in FLOATING else 0, dtype)

    def updated(self, table: Value, sums: RowSums, factors: Mapping[Var, Value]) -> Value:
        """The table as the last step leaves it; only rows with updates are touched if possible."""
        if not factors:
            return self._in_rows(table, sums, factors)
        left = self._applied(Array(np.zeros((), self.scatter.output.type.dtype)), factors)
        bits = as_dtype(f"int{8 * left.dtype.itemsize}")
        nothing = Array(self._nothing.view(bits))
        same = Eq()(left if left.dtype == bits else Bitcast(bits)(left), nothing)
        operands = (table, sums.last, sums.vectors, sums.rows, *factors.values())
        branches = []
        for function in (self._everywhere, self._in_rows):
            with Builder() as b:
                table_, last, vectors, rows, *scalars = (b.input(x.type) for x in operands)
                known = dict(zip(factors, scalars, strict=True))
                branches.append(b.finish([function(table_, RowSums(last, rows, vectors), known)]))
        updated: Value = Cond(tuple(branches))(Convert(int32)(same), *operands)[0]
        return updated

    def _in_rows(self, table: Value, sums: RowSums, factors: Mapping[Var, Value]) -> Value:
        change = self._applied(sums.rows, factors)
        if isinstance(self.steps[-1].primitive, Sub):
            change = Neg()(change)
        axes = tuple(range(sums.vectors.shape[1]))
        updated: Value = Scatter(axes, 0, "add", unique=True)(table, sums.vectors, change)
        return updated

    def _everywhere(self, table: Value, sums: RowSums, factors: Mapping[Var, Value]) -> Value:
        change = self._applied(all_places(sums.last, sums.rows), factors)
        updated: Value = self.steps[-1].primitive(table, change)
        return updated

    def _applied(self, x: Value, factors: Mapping[Var, Value]) -> Value:
        """What the steps before the last one make of ``x`` in the place of the sums."""
        before = self.scatter.output
        for eqn in self.steps[:-1]:
            inputs = [x if a is before else _value(a, factors) for a in eqn.inputs]
            x, before = eqn.primitive(*inputs), eqn.output
        return x


def _value(atom: Atom, factors: Mapping[Var, Value]) -> Value:
    return Array(np.asarray(atom.value)) if isinstance(atom, Literal) else factors[atom]
