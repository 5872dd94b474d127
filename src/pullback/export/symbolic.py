"""One program for all lengths: several traces of a function, compared number by number.

Imports ``trace`` and ``program``. A program has static shapes; traced with several sizes it is the
same list of equations with other numbers. Where these are polynomials of the sizes, the numbers
of the program that comes out are ``Dim`` objects. Start at ``trace_symbolically``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np

from pullback.errors import PullbackError
from pullback.export.dimensions import Sizes, candidate_points
from pullback.export.errors import ExportError
from pullback.export.operators import Convolution, Operator, Pooling, recording
from pullback.program.builder import Builder
from pullback.program.core import Atom, Equation, Literal, Program, Var
from pullback.program.primitive import NDArray, Primitive
from pullback.program.value import STACKS, Array, Tracer, Value, current_builder
from pullback.records import dataclass
from pullback.trace.stage import Staged, stage
from pullback.trace.variable import Variable
from pullback.types import FLOATING, ArrayType, DType

#: A length, or the name of a free one.
Length = int | str


@dataclass(frozen=True)
class Input:
    """An input of a function to export: its name, its lengths, its dtype."""

    name: str
    shape: tuple[Length, ...]
    dtype: DType

    def type_at(self, sizes: dict[str, int]) -> ArrayType:
        """The type with sizes for the free lengths."""
        return ArrayType(
            tuple(sizes[n] if isinstance(n, str) else n for n in self.shape), self.dtype
        )


@dataclass(frozen=True)
class SymbolicProgram:
    """A program whose numbers may be ``Dim`` objects, and what its inputs are.

    Attributes:
        program: Its inputs are the arguments, then ``variables``, then ``captures``.
        variables: What the function reads.
        captures: Arrays from outside.
    """

    program: Program
    variables: tuple[Variable, ...]
    captures: tuple[NDArray, ...]


@final
@dataclass(frozen=True)
class LengthValue(Primitive):
    """A number of the program that depends on free lengths, as an array of rank 0.

    Shapes: -> dtype[].      Cost: none.      No gradient.
    """

    dim: int
    dtype: DType
    is_reciprocal: bool = False
    name = "length"
    differentiable = ()

    def infer(self) -> ArrayType:
        """A number of the dtype."""
        return ArrayType((), self.dtype)


class _Listener:
    """Notes in which layer each equation of a trace was made."""

    def __init__(self, path: Callable[[], tuple[str, ...]]) -> None:
        self._path = path
        self.builder: Builder | None = None
        self.paths: dict[Var, tuple[str, ...]] = {}

    def record(
        self, primitive: Primitive, inputs: tuple[Value, ...], outputs: tuple[Value, ...]
    ) -> None:
        """Note the layer of an equation by its outputs."""
        for x in outputs:
            if isinstance(x, Tracer) and isinstance(x.atom, Var):
                self.paths[x.atom] = self._path()

    def tracks(self, value: Value) -> bool:
        """Nothing is differentiated."""
        return False


def trace_symbolically(
    f: Callable[..., Sequence[Any]],
    inputs: Sequence[Input],
    path: Callable[[], tuple[str, ...]] = tuple,
) -> SymbolicProgram:
    """Trace ``f`` with several sizes of its free lengths, and make one program of the traces.

    Args:
        f: Takes an array for each input, returns a flat sequence of arrays.
        inputs: The inputs; lengths that are names are free, equal names equal lengths.
        path: Tells the layer that is running.

    Raises:
        ExportError: the traces differ in more than numbers that are polynomials of the free
            lengths, or ``f`` assigns variables.
    """
    symbols = tuple(dict.fromkeys(n for x in inputs for n in x.shape if isinstance(n, str)))
    if not symbols:
        sizes, traces = Sizes((), ((),)), [_trace(f, inputs, {}, path)]
    else:
        sizes, traces = _traces(f, inputs, symbols, path)
    (first, *_), paths = [t for t, _ in traces], traces[0][1]
    merge = _Merge(sizes, paths)
    program = merge.program([t.program for t, _ in traces])
    captures = [[_array(x) for x in t.captures] for t, _ in traces]
    for others in zip(*captures, strict=True):
        if any(x.tobytes() != others[0].tobytes() for x in others):
            raise ExportError(
                f"a constant of {others[0].shape} values depends on {_listed(symbols)}: it is "
                f"computed outside the program. {_STATIC}"
            )
    return SymbolicProgram(program, first.reads, tuple(captures[0]))


_STATIC = (
    "Give all lengths, as in `input_signature=[keras.InputSpec(shape=(1, 28, 28), dtype=...)]`."
)


def _listed(symbols: Sequence[str]) -> str:
    return " and ".join(repr(s) for s in symbols)


Traced = tuple[Staged, dict[Var, tuple[str, ...]]]


def _traces(
    f: Callable[..., Sequence[Any]],
    inputs: Sequence[Input],
    symbols: tuple[str, ...],
    path: Callable[[], tuple[str, ...]],
) -> tuple[Sizes, list[Traced]]:
    """Traces at as many points as it takes; points that the function refuses are left out."""
    refused: PullbackError | ValueError | TypeError | None = None
    for candidates in candidate_points(symbols):
        sizes, traces = Sizes(symbols, ()), []
        *needed, _, largest = candidates
        for point in candidates:
            if point in needed and not sizes.tells_more(point):
                continue
            try:
                traces.append(_trace(f, inputs, dict(zip(symbols, point, strict=True)), path))
                sizes = replace(sizes, points=(*sizes.points, point))
            except ExportError:
                raise
            except (PullbackError, ValueError, TypeError) as error:
                refused = error
                if point != largest:
                    break
        if sizes.is_enough():
            return sizes, traces
    raise ExportError(
        f"the function cannot be traced with enough sizes of {_listed(symbols)}: {refused} "
        f"{_STATIC}"
    ) from refused


def _trace(
    f: Callable[..., Sequence[Any]],
    inputs: Sequence[Input],
    sizes: dict[str, int],
    path: Callable[[], tuple[str, ...]],
) -> Traced:
    listener = _Listener(path)

    def heard(*args: Value) -> Sequence[Any]:
        listener.builder = current_builder()
        return f(*args)

    STACKS.recorders.append(listener)
    try:
        with recording():
            staged = stage(heard, [x.type_at(sizes) for x in inputs])
    finally:
        STACKS.recorders.remove(listener)
    if staged.updates:
        names = ", ".join(repr(v.name) for v in staged.updates)
        raise ExportError(
            f"the function assigns the variables {names}; an ONNX file keeps no state between "
            "calls: pass the state in and out, or make the layer stateless"
        )
    return staged, listener.paths


def _array(x: Value) -> NDArray:
    if not isinstance(x, Array):
        raise ExportError(f"a traced value {x.type} of another function is used")
    return x.data


class _Merge:
    """Makes one program of several that differ in numbers only."""

    def __init__(self, sizes: Sizes, paths: dict[Var, tuple[str, ...]]) -> None:
        self.sizes = sizes
        self.paths = paths
        #: The layer of the equation whose programs are being merged.
        self.path: tuple[str, ...] = ()
        self.where = ""

    def program(self, programs: Sequence[Program]) -> Program:
        """The program whose numbers are those of all programs."""
        maps: list[dict[Var, Var]] = [{} for _ in programs]
        for part in ("equations", "inputs", "constants", "outputs"):
            if len({len(getattr(p, part)) for p in programs}) != 1:
                raise self.differs(f"another number of {part}", programs)
        inputs = self.variables([p.inputs for p in programs], maps)
        kept = self.variables([tuple(v for v, _ in p.constants) for p in programs], maps)
        arrays = [array for _, array in programs[0].constants]
        for p in programs:
            if any(
                x.tobytes() != y.tobytes() for x, (_, y) in zip(arrays, p.constants, strict=True)
            ):
                raise self.differs("another constant", programs)
        constants = tuple(zip(kept, arrays, strict=True))
        equations: list[Equation] = []
        for group in zip(*(p.equations for p in programs), strict=True):
            self.equation(group, maps, equations)
        outputs = self.atoms([p.outputs for p in programs], maps, equations)
        return Program(inputs, tuple(equations), outputs, constants, programs[0].name)

    def equation(
        self, group: Sequence[Equation], maps: Sequence[dict[Var, Var]], done: list[Equation]
    ) -> None:
        """Append the equation that stands for all in the group."""
        first = group[0]
        outer = self.path
        self.path = self.paths.get(first.outputs[0], outer) if first.outputs else outer
        source = first.source and replace(first.source, path=self.path or first.source.path)
        self.where = f" ({first.primitive.name} at {source})" if source else ""
        if len({type(eqn.primitive) for eqn in group}) != 1:
            raise self.differs("another operation", [eqn.primitive.name for eqn in group])
        inputs = self.atoms([eqn.inputs for eqn in group], maps, done)
        primitive = self.value([eqn.primitive for eqn in group])
        # What windows leave of an axis may be rounded: whoever needs the length asks the result.
        derives = isinstance(first.primitive, Operator)
        outputs = self.variables([eqn.outputs for eqn in group], maps, derives)
        done.append(
            replace(first, primitive=primitive, inputs=inputs, outputs=outputs, source=source)
        )
        self.path = outer

    def variables(
        self,
        groups: Sequence[Sequence[Var]],
        maps: Sequence[dict[Var, Var]],
        derives: bool = False,
    ) -> tuple[Var, ...]:
        """New variables for those of each program, some with new lengths if it ``derives``."""
        made = []
        for group in zip(*groups, strict=True):
            shapes = [v.type.shape for v in group]
            if derives:
                shape = tuple(map(self.sizes.derive, zip(*shapes, strict=True)))
            else:
                shape = self.value(shapes)
            var = Var(ArrayType(shape, group[0].type.dtype))
            for known, old in zip(maps, group, strict=True):
                known[old] = var
            made.append(var)
        return tuple(made)

    def atoms(
        self,
        groups: Sequence[Sequence[Atom]],
        maps: Sequence[dict[Var, Var]],
        done: list[Equation],
    ) -> tuple[Atom, ...]:
        """The operands that stand for those of each program."""
        return tuple(self.atom(group, maps, done) for group in zip(*groups, strict=True))

    def atom(
        self, group: Sequence[Atom], maps: Sequence[dict[Var, Var]], done: list[Equation]
    ) -> Atom:
        found = [m[a] if isinstance(a, Var) else a for m, a in zip(maps, group, strict=True)]
        first = found[0]
        if all(a == first for a in found):
            return first
        literals = [a.value for a in found if isinstance(a, Literal)]
        if len(literals) != len(found):
            raise self.differs("another operand", found)
        number = self.number(literals)
        var = Var(ArrayType((), literals[0].dtype))
        done.append(Equation(number, (), (var,), -1 - len(done)))
        return var

    def number(self, values: Sequence[np.generic]) -> Primitive:
        """The rank-0 array that has these values."""
        dtype = values[0].dtype
        floats = [float(x) for x in values]
        if all(x.is_integer() for x in floats):
            dim = self.sizes.fit([int(x) for x in floats])
            if dim is not None:
                return LengthValue(dim, dtype)
        if dtype in FLOATING and all(floats):
            inverse = [round(1 / x) for x in floats]
            dim = self.sizes.fit(inverse) if all(inverse) else None
            # To the last bit: a number that only looks like a reciprocal is not taken for one.
            if dim is not None and all(
                np.asarray(1 / n).astype(dtype) == x for n, x in zip(inverse, values, strict=True)
            ):
                return LengthValue(dim, dtype, is_reciprocal=True)
        raise self.differs("a number that is no polynomial of them", values)

    def value(self, group: Sequence[Any]) -> Any:
        """What stands for a parameter that has these values in the programs."""
        first = group[0]
        if isinstance(first, Program):
            return self.program(group)
        if isinstance(first, Operator):
            return self.operator(group)
        if isinstance(first, tuple) and not hasattr(first, "_fields"):
            if len({len(x) for x in group}) != 1:
                raise self.differs("another number of axes", group)
            return tuple(map(self.value, zip(*group, strict=True)))
        if isinstance(first, int) and not isinstance(first, bool):
            return self.length([int(x) for x in group])
        if dataclasses.is_dataclass(first) and not isinstance(first, type):
            return self.fields(group)
        if callable(first):
            return first  # a host function: refused when it is translated
        if any(x != first for x in group):
            raise self.differs("another parameter", group)
        return first

    def length(self, group: Sequence[int]) -> int:
        """The length that has these values."""
        found = self.sizes.fit(group)
        if found is None:
            raise self.differs("a length that is no polynomial of them", group)
        return found

    def fields(self, group: Sequence[Any]) -> Any:
        """The object of a dataclass with the fields of all."""
        names = [f.name for f in dataclasses.fields(group[0])]
        return type(group[0])(**{n: self.value([getattr(x, n) for x in group]) for n in names})

    def operator(self, group: Sequence[Operator]) -> Operator:
        """The operation; what it is made of is needed only where ONNX does not have it."""
        what: Sequence[Any] = [x.what for x in group]
        if isinstance(what[0], Convolution | Pooling):
            widths = self.widths([x.widths for x in what], what[0].is_same)
            what = [replace(x, widths=widths) for x in what]
        is_floating = group[0].program.inputs[0].type.dtype in FLOATING
        made_of = [x.program for x in group]
        return Operator(self.value(what), made_of[0] if is_floating else self.program(made_of))

    def widths(self, group: Sequence[Any], is_same: bool) -> Any:
        """Zeros around an array; None where the rule says what a polynomial does not."""
        try:
            return self.value(group)
        except ExportError:
            if not is_same:
                raise
            return None

    def differs(self, what: str, group: Sequence[Any]) -> ExportError:
        """The error for traces that cannot be brought together."""
        shown = [
            f"{len(x.equations)} equations" if isinstance(x, Program) else f"{x!s:.60}"
            for x in group
        ]
        found: dict[str, str] = {}
        for text, point in zip(shown, self.sizes.points, strict=True):
            named = zip(self.sizes.symbols, point, strict=True)
            found.setdefault(text, ", ".join(f"{symbol} = {n}" for symbol, n in named))
        listed = "; ".join(f"{text} for {point}" for text, point in found.items())
        return ExportError(
            f"with other sizes of {_listed(self.sizes.symbols)} the function computes {what}"
            f"{self.where}: {listed}. {_STATIC}"
        )
