"""Builds a program by recording: every primitive applied inside the block becomes an equation.

Imports ``core``, ``source`` and ``value``. Tracing a Python function is ``trace.stage``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback.program.core import Atom, Equation, Literal, NDArray, Program, Var
from pullback.program.primitive import Primitive
from pullback.program.source import (
    Origin,
    Source,
    current_origin,
    current_source,
    provenance,
)
from pullback.program.value import (
    STACKS,
    Array,
    Tracer,
    Value,
    is_tracked_outside,
    leaked,
)
from pullback.types import ArrayType


class Builder:
    """Records equations while it is the innermost builder of its thread.

    >>> with Builder() as b:
    ...     x = b.input(ArrayType((3,), float32))
    ...     y = Tanh()(x)
    >>> program = b.finish([y])

    Values from outside (arrays, or tracers of an enclosing builder) that equations use are
    *captured*: each becomes one more input, listed in ``captures`` in the order of these inputs.
    """

    def __init__(self, first_key: int = 0) -> None:
        self.inputs: list[Var] = []
        self.equations: list[Equation] = []
        self.captures: list[Value] = []
        self.next_key = first_key
        self._captured: dict[int, Tracer] = {}
        self._finished = False

    def __enter__(self) -> Builder:
        STACKS.builders.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        popped = STACKS.builders.pop()
        assert popped is self  # noqa: S101  # a broken stack would record into the wrong program

    def input(self, type: ArrayType, *, weak: bool = False) -> Tracer:
        """Add an input of ``type`` and return its tracer."""
        var = Var(type)
        self.inputs.append(var)
        return Tracer(self, var, weak=weak)

    def lift(self, x: Value) -> Tracer:
        """Return ``x`` as a tracer of this builder, capturing it if it comes from outside."""
        x = x.read()
        if isinstance(x, Tracer) and x.builder is self:
            return x
        literal = _as_literal(x)
        if literal is not None and not is_tracked_outside(x, self):
            return Tracer(self, literal, weak=x.weak)
        if isinstance(x, Tracer) and x.builder not in STACKS.builders:
            raise leaked(x)
        # By identity, not by memory: a tape tells a value from another one with the same data.
        key = id(x)
        if key not in self._captured:
            self._captured[key] = Tracer(self, Var(x.type), weak=x.weak)
            self.captures.append(x)
        return self._captured[key]

    def bind(
        self, primitive: Primitive, inputs: tuple[Value, ...]
    ) -> tuple[tuple[Tracer, ...], bool]:
        """Record ``primitive(inputs)``; return its outputs and whether there may be several."""
        atoms = tuple(self.lift(x).atom for x in inputs)
        source = current_source()
        try:
            inferred = primitive.infer(*(a.type for a in atoms))
        except Exception as error:
            if source is not None and not _is_noted(error, source):
                error.add_note(f"in {primitive.name} at {source.file}:{source.line}")
            raise
        several = isinstance(inferred, tuple)
        types: tuple[ArrayType, ...] = inferred if isinstance(inferred, tuple) else (inferred,)
        outputs = tuple(Var(t) for t in types)
        self.append(primitive, atoms, outputs, source, current_origin())
        return tuple(Tracer(self, v) for v in outputs), several

    def append(
        self,
        primitive: Primitive,
        inputs: tuple[Atom, ...],
        outputs: tuple[Var, ...],
        source: Any = None,
        origin: Origin | None = None,
    ) -> Equation:
        """Append one equation with the next key."""
        eqn = Equation(primitive, inputs, outputs, self.next_key, source, origin)
        self.next_key += 1
        self.equations.append(eqn)
        return eqn

    def finish(self, outputs: Sequence[Any], name: str = "main") -> Program:
        """Return the program that computes ``outputs``; captures are its last inputs."""
        from pullback.program.value import as_value

        atoms = tuple(self.lift(as_value(x)).atom for x in outputs)
        captured = [t.atom for t in self._captured.values() if isinstance(t.atom, Var)]
        return Program((*self.inputs, *captured), tuple(self.equations), atoms, name=name)


def _is_noted(error: Exception, source: Source) -> bool:
    """Whether a note of the error names the line."""
    return any(f"{source.file}:{source.line}" in note for note in getattr(error, "__notes__", ()))


def _as_literal(x: Value) -> Literal | None:
    """The literal that can stand for ``x`` in a program, if there is one."""
    if isinstance(x, Array) and not x.shape:
        return Literal(x.data.dtype.type(x.data[()]))
    return x.atom if isinstance(x, Tracer) and isinstance(x.atom, Literal) else None


def inline(program: Program, args: Sequence[Any]) -> tuple[Value, ...]:
    """Apply every equation of ``program`` to values, keeping sources and origins.

    In eager mode this evaluates; inside a builder it copies the equations into it. Origins that
    name an equation of ``program`` follow it to its new key.

    Args:
        program: What to apply.
        args: One value for each input of the program.
    """
    from pullback.program.value import as_value, current_builder

    env: dict[Var, Value] = {v: Array(a) for v, a in program.constants}
    env.update(zip(program.inputs, map(as_value, args), strict=True))
    moved: dict[int, int] = {}

    def read(atom: Atom) -> Value:
        return env[atom] if isinstance(atom, Var) else Array(_scalar_array(atom))

    for eqn in program.equations:
        origin = eqn.origin
        if origin is not None and origin.key in moved:
            origin = Origin(origin.rule, moved[origin.key], origin.primitive)
        builder = current_builder()
        with provenance(origin, eqn.source):
            result = eqn.primitive(*map(read, eqn.inputs))
        if builder is not None:
            moved[eqn.key] = builder.next_key - 1
        results = result if isinstance(result, tuple) else (result,)
        env.update(zip(eqn.outputs, results, strict=True))
    return tuple(read(a) for a in program.outputs)


def _scalar_array(literal: Literal) -> NDArray:
    import numpy as np

    return np.asarray(literal.value)
