"""Tracing of the functions given to control flow: trees in and out, weak types, equal interfaces.

Imports ``program``, ``tree`` and ``stage``. ``pullback.control`` and ``pullback.custom`` use it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pullback import tree
from pullback.errors import DTypeError, ShapeError, TreeError
from pullback.primitives.cast import Convert
from pullback.program.core import Atom, Equation, Var
from pullback.program.value import Value, as_value
from pullback.records import dataclass
from pullback.trace.stage import Staged, stage
from pullback.types import BOOLEAN, FLOATING, INTEGER, SHORT_NAMES, ArrayType, DType


@dataclass(frozen=True, eq=False, slots=True)
class Traced:
    """A function of trees that was traced: the flat program and the structure of its result."""

    staged: Staged
    structure: tree.TreeDef

    @property
    def types(self) -> tuple[ArrayType, ...]:
        """Types of the leaves of the result."""
        return self.staged.program.output_types[: self.staged.num_results]

    def paths(self, root: str) -> list[str]:
        """The leaves of the result as they are written in messages: ``carry['w']``."""
        marked = self.structure.unflatten(range(self.structure.num_leaves))
        return [root + "".join(path) for path, _ in tree.leaves_with_path(marked)]


def flatten_values(given: Any) -> tuple[list[Value], tree.TreeDef]:
    """Return the leaves of a tree as values, and its structure."""
    leaves, structure = tree.flatten(given)
    return [as_value(x) for x in leaves], structure


def trace_body(
    f: Callable[..., Any],
    args: tree.TreeDef,
    types: Sequence[ArrayType],
    weak: Sequence[bool] | None = None,
) -> Traced:
    """Trace ``f(*args)``, where ``args`` is a tuple of trees whose leaves have ``types``."""
    structures: list[tree.TreeDef] = []

    def flat(*leaves: Value) -> list[Any]:
        results, structure = tree.flatten(f(*args.unflatten(leaves)))
        structures.append(structure)
        return results

    staged = stage(flat, types, weak=weak, name=name_of(f))
    return Traced(staged, structures[-1])


def name_of(f: Callable[..., Any]) -> str:
    """What to call the program of ``f``."""
    while hasattr(f, "func"):
        f = f.func
    name: str = getattr(f, "__name__", type(f).__name__)
    return "body" if name == "<lambda>" else name


def mark_weak(values: Sequence[Value], flags: Sequence[bool]) -> None:
    """Make the fresh values for which a flag is set weak in promotion."""
    for value, weak in zip(values, flags, strict=True):
        value.weak = weak


def weak_target(given: DType, wanted: DType) -> DType:
    """The dtype that a weak value of dtype ``given`` takes to meet ``wanted``."""
    kinds = (BOOLEAN, INTEGER, FLOATING)

    def kind(dtype: DType) -> int:
        return next(i for i, members in enumerate(kinds) if dtype in members)

    return wanted if kind(given) <= kind(wanted) else given


def convert_results(traced: Traced, dtypes: Sequence[DType]) -> Traced:
    """Return the traced function with its results converted to ``dtypes``."""
    staged, program = traced.staged, traced.staged.program
    equations, outputs = list(program.equations), list(program.outputs)
    weak = list(staged.weak)
    for i, dtype in enumerate(dtypes):
        if outputs[i].type.dtype != dtype:
            weak[i] = False
            outputs[i] = _converted(outputs[i], dtype, equations)
    program = program.with_equations(tuple(equations), tuple(outputs))
    return replace(traced, staged=replace(staged, program=program, weak=tuple(weak)))


def _converted(atom: Atom, dtype: DType, equations: list[Equation]) -> Var:
    out = Var(atom.type.with_dtype(dtype))
    key = max((eqn.key for eqn in equations), default=-1) + 1
    equations.append(Equation(Convert(dtype), (atom,), (out,), key))
    return out


def agree(what: str, names: Sequence[str], traced: Sequence[Traced]) -> list[Traced]:
    """Give traced functions the same result types, converting weak results.

    Args:
        what: The construct, for messages.
        names: What to call each function in messages.
        traced: At least one.

    Raises:
        TreeError: the results have different structures.
        ShapeError: a leaf has different shapes.
        DTypeError: a leaf has different dtypes that are not weak.
    """
    first = traced[0]
    for name, other in zip(names, traced, strict=True):
        if other.structure != first.structure:
            raise TreeError(
                f"{what}: the results must have one structure; {names[0]} returns "
                f"{first.structure}, {name} returns {other.structure}"
            )
    dtypes = [_common_dtype(traced, i) for i in range(first.structure.num_leaves)]
    adapted = [_meet(t, dtypes) for t in traced]
    paths = first.paths("result")
    for name, other in zip(names, adapted, strict=True):
        for path, expected, given in zip(paths, adapted[0].types, other.types, strict=True):
            if expected != given:
                raise mismatch(
                    f"{what}: {path} is {expected} in {names[0]}, {given} in {name}",
                    expected,
                    given,
                )
    return adapted


def _common_dtype(traced: Sequence[Traced], i: int) -> DType:
    """The dtype of the first result ``i`` that is not weak, else the widest weak one."""
    strong = [t.types[i].dtype for t in traced if not t.staged.weak[i]]
    if strong:
        return strong[0]
    dtype = traced[0].types[i].dtype
    for t in traced[1:]:
        dtype = weak_target(dtype, t.types[i].dtype)
    return dtype


def _meet(traced: Traced, dtypes: Sequence[DType]) -> Traced:
    flags = zip(traced.types, traced.staged.weak, dtypes, strict=True)
    wanted = [weak_target(t.dtype, d) if weak else t.dtype for t, weak, d in flags]
    return convert_results(traced, wanted)


def mismatch(message: str, expected: ArrayType, given: ArrayType) -> Exception:
    """The error for two types that should be equal, with what to do about it."""
    if expected.shape != given.shape:
        return ShapeError(message)
    short = SHORT_NAMES[expected.dtype]
    return DTypeError(f"{message}; cast with `.astype('{short}')`")
