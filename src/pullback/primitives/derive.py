"""Derivative rules of primitives that hold programs, and which equation extends which.

Imports ``program``. ``autodiff.control`` installs the rules, which ``primitives`` cannot import;
start at ``Extension``.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from pullback.errors import DifferentiationError
from pullback.program.core import Atom, Equation, Program, Var
from pullback.program.primitive import CONTROL, Cotangents, Primitive
from pullback.program.value import STACKS, Tracer, Value

#: ``(primitive, cotangents, outputs, operands, wanted) -> cotangents of the operands``; a
#: cotangent that is None is a zero, and only ``wanted`` operands need one.
VjpRule = Callable[..., Cotangents]
#: ``(primitive, primals, tangents) -> (outputs, tangents of the outputs)``.
JvpRule = Callable[..., tuple[Any, Any]]

_vjp_rules: dict[str, VjpRule] = {}
_jvp_rules: dict[str, JvpRule] = {}


def install(name: str, vjp: VjpRule | None, jvp: JvpRule) -> None:
    """Make these the derivative rules of the primitive ``name``."""
    _jvp_rules[name] = jvp
    if vjp is not None:
        _vjp_rules[name] = vjp


class HoldsPrograms(Primitive):
    """A primitive that is differentiated by differentiating the programs it holds."""

    traits = CONTROL

    def vjp(self, ct: Any, out: Any, *args: Any) -> Cotangents:
        """Cotangents of all floating operands."""
        return self.partial_vjp(ct, out, args, (True,) * len(args))

    def partial_vjp(
        self,
        cts: Sequence[Value | None],
        outs: Sequence[Value],
        args: Sequence[Value],
        wanted: Sequence[bool],
    ) -> Cotangents:
        """Cotangents of the ``wanted`` operands; a cotangent that is None is a zero.

        The backward pass prefers this to ``vjp``: bodies are differentiated only where an asked
        for derivative passes through.
        """
        rule: VjpRule = _find(_vjp_rules, self)
        return rule(self, tuple(cts), tuple(outs), tuple(args), tuple(wanted))

    def jvp(self, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
        """Outputs and their tangents; a tangent that is None is a zero."""
        rule: JvpRule = _find(_jvp_rules, self)
        return rule(self, tuple(primals), tuple(tangents))


def _find(rules: dict[str, Any], primitive: Primitive) -> Any:
    if primitive.name not in rules:
        raise DifferentiationError(
            f"the derivative of {primitive.name} needs `pullback.autodiff.control`: import "
            "`pullback`"
        )
    return rules[primitive.name]


@contextlib.contextmanager
def where_made(outs: Sequence[Value]) -> Iterator[None]:
    """Bind inside the block where the equation that made ``outs`` was bound.

    A pullback may be called in the body of a loop around, as for the rows of a Jacobian. What it
    needs of the forward computation is the same in each iteration and belongs beside that.
    """
    builders = STACKS.builders
    owners = [x.builder for x in outs if isinstance(x, Tracer)]
    depth = builders.index(owners[0]) + 1 if owners and owners[0] in builders else 0
    STACKS.builders = builders[:depth]
    try:
        yield
    finally:
        STACKS.builders = builders


class Extension(NamedTuple):
    """Says that a primitive computes all that ``original`` does, and more.

    Operand ``i`` of ``original`` is operand ``operands[i]`` of the extended primitive, and output
    ``j`` is its output ``outputs[j]``. A pullback that needs residuals of an equation makes an
    extended one that puts them out; a tangent rule makes one that carries tangents along.
    """

    original: Primitive
    operands: tuple[int, ...]
    outputs: tuple[int, ...]


#: How many extensions are remembered. Forgetting one costs time, not correctness.
_REMEMBERED: Final = 4096
_extensions: OrderedDict[Primitive, Extension] = OrderedDict()


def note_extension(extended: Primitive, extension: Extension) -> None:
    """Remember that ``extended`` extends another primitive, for ``merge_extended``."""
    _extensions[extended] = extension
    _extensions.move_to_end(extended)
    while len(_extensions) > _REMEMBERED:
        _extensions.popitem(last=False)


def merge_extended(
    program: Program, note: Callable[[Equation, Equation], None] | None = None
) -> Program:
    """Replace each equation that another one extends by that other one.

    Args:
        program: What to rewrite; bodies are left alone.
        note: Called with each equation that is dropped, and the one that has its place.

    Cost: linear in the equations for each merge.
    """
    while (merge := _find_merge(program)) is not None:
        dropped, program = _merge(program, *merge)
        if note is not None:
            note(*dropped)
    return program


class _Match(NamedTuple):
    small: int
    large: int
    outputs: tuple[int, ...]


def _extended_by(eqn: Equation) -> Iterator[tuple[Primitive, tuple[Atom, ...], tuple[int, ...]]]:
    """Yield what the equation extends: primitive, operands, and which outputs are its."""
    primitive, inputs = eqn.primitive, eqn.inputs
    outputs = tuple(range(len(eqn.outputs)))
    while (extension := _extensions.get(primitive)) is not None:
        primitive = extension.original
        inputs = tuple(inputs[i] for i in extension.operands)
        outputs = tuple(outputs[j] for j in extension.outputs)
        yield primitive, inputs, outputs


def _find_merge(program: Program) -> _Match | None:
    holders = [(p, e) for p, e in enumerate(program.equations) if e.primitive.has(CONTROL)]
    if len(holders) < 2:
        return None
    found = {(e.primitive, e.inputs): p for p, e in reversed(holders)}
    for large, eqn in holders:
        for primitive, inputs, outputs in _extended_by(eqn):
            small = found.get((primitive, inputs))
            if small is not None and _can_take_place(program, small, large):
                return _Match(small, large, outputs)
    return None


def _ancestors(program: Program, start: int, end: int) -> list[int]:
    """Positions from ``start`` on of the equations that equation ``end`` needs, and ``end``."""
    needed = {a for a in program.equations[end].inputs if isinstance(a, Var)}
    found = [end]
    for position in range(end - 1, start - 1, -1):
        eqn = program.equations[position]
        if not needed.isdisjoint(eqn.outputs):
            found.append(position)
            needed.update(a for a in eqn.inputs if isinstance(a, Var))
    return found[::-1]


def _can_take_place(program: Program, small: int, large: int) -> bool:
    """Whether the large equation does not need what the small one computes."""
    return large < small or small not in _ancestors(program, small, large)


def _merge(
    program: Program, small: int, large: int, outputs: tuple[int, ...]
) -> tuple[tuple[Equation, Equation], Program]:
    """Put the large equation in the small one's place, with what it needs before it."""
    gone, kept = program.equations[small], program.equations[large]
    order = list(range(len(program.equations)))
    if small < large:
        moved = dict.fromkeys(_ancestors(program, small, large))
        order = [*order[:small], *moved, *(p for p in order[small + 1 :] if p not in moved)]
        # It is the forward equation now: it bears that one's name.
        kept = replace(kept, key=gone.key, source=gone.source, origin=gone.origin)
        dropped = (program.equations[large], kept)
    else:
        order.remove(small)
        dropped = (gone, kept)
    atoms: dict[Var, Atom] = {
        v: kept.outputs[j] for v, j in zip(gone.outputs, outputs, strict=True)
    }

    def read(given: tuple[Atom, ...]) -> tuple[Atom, ...]:
        return tuple(atoms.get(a, a) if isinstance(a, Var) else a for a in given)

    absent = dropped[0].key

    def adapted(eqn: Equation) -> Equation:
        origin = eqn.origin
        if origin is not None and origin.key == absent:
            origin = replace(origin, key=kept.key)
        return replace(eqn, inputs=read(eqn.inputs), origin=origin)

    equations = [adapted(kept if p == large else program.equations[p]) for p in order]
    return dropped, program.with_equations(tuple(equations), read(program.outputs))
