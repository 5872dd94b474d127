"""Recording what a function does, so that it can be differentiated afterwards.

A ``Recording`` hears every application of a primitive and writes equations, with the values at
hand; ``backward_pass`` and ``forward_pass`` then run over them. Imports ``vjp`` and ``jvp``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from pullback.autodiff.cotangents import is_floating
from pullback.autodiff.jvp import forward_pass
from pullback.autodiff.vjp import backward_pass, influence
from pullback.program.core import Atom, Equation, Var
from pullback.program.primitive import Primitive
from pullback.program.source import current_origin, current_source
from pullback.program.value import STACKS, Array, Tracer, Value, current_builder

Self = TypeVar("Self", bound="Recording")


class Recording:
    """The equations that were applied, while it was active, to what it watches.

    >>> recording = Recording()
    >>> x = recording.watch_copy(as_value(3.0))
    >>> with recording:
    ...     y = x * x
    >>> recording.backward([(y, as_value(1.0))], [x])
    [Array(6., f32)]

    Values are told apart by identity. They are kept alive as long as the recording.
    """

    def __init__(self) -> None:
        self.builder = current_builder()
        self.equations: list[Equation] = []
        self._vars: dict[int, Var] = {}
        self._values: dict[Atom, Value] = {}
        self._tracked: set[int] = set()
        self._kept: list[Value] = []

    def __enter__(self: Self) -> Self:
        STACKS.recorders.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        STACKS.recorders.remove(self)

    def watch(self, value: Value) -> None:
        """Record what is done with ``value`` from now on."""
        self._var(value)
        self._tracked.add(id(value))

    def watch_copy(self, value: Value) -> Value:
        """Watch a new value object that holds the same as ``value``, and return it.

        A function that uses ``value`` also otherwise, say through a closure, is then
        differentiated only with respect to its argument.
        """
        copy = _copy(value)
        for recorder in STACKS.recorders:
            if isinstance(recorder, Recording):
                recorder.note_copy(value, copy)
        self.watch(copy)
        return copy

    def note_copy(self, value: Value, copy: Value) -> None:
        """Hear that ``copy`` is another object for the same value."""
        if self.tracks(value):
            self._vars[id(copy)] = self._vars[id(value)]
            self._kept.append(copy)
            self._tracked.add(id(copy))

    def tracks(self, value: Value) -> bool:
        """Whether ``value`` is watched or was computed from what is."""
        return id(value) in self._tracked

    def record(
        self, primitive: Primitive, inputs: tuple[Value, ...], outputs: tuple[Value, ...]
    ) -> None:
        """Note one application, if it carries a derivative of what is watched."""
        if not any(
            id(x) in self._tracked and primitive.is_differentiable(i, x.type)
            for i, x in enumerate(inputs)
        ):
            return
        atoms, results = tuple(map(self._var, inputs)), tuple(map(self._var, outputs))
        if self.builder is None:
            place = len(self.equations), current_source(), current_origin()
        else:
            made = self.builder.equations[-1]
            place = made.key, made.source, made.origin
        self.equations.append(Equation(primitive, atoms, results, *place))
        self._tracked.update(id(y) for y in outputs if is_floating(y.type))

    def depends(self, output: Value, source: Value) -> bool:
        """Whether ``output`` depends differentiably on ``source``; both are tracked."""
        active, _ = influence(self.equations, [self._vars[id(source)]])
        return self._vars.get(id(output)) in active

    def backward(
        self, cotangents: Iterable[tuple[Value, Value | None]], wanted: Sequence[Value]
    ) -> list[Value | None]:
        """Run the backward pass: a cotangent for each of ``wanted``, None where it is zero."""
        seeds = [(self._vars[id(y)], ct) for y, ct in cotangents if self.tracks(y)]
        atoms = [self._vars[id(x)] for x in wanted]
        return backward_pass(tuple(self.equations), self._values.__getitem__, seeds, atoms)

    def forward(
        self, tangents: Iterable[tuple[Value, Value | None]], wanted: Sequence[Value]
    ) -> list[Value | None]:
        """Run the forward pass: a tangent for each of ``wanted``, None where it is zero."""
        seeds = [(self._vars[id(x)], t) for x, t in tangents]
        atoms = [self._var(y) for y in wanted]
        return forward_pass(tuple(self.equations), self._values.__getitem__, seeds, atoms)

    def _var(self, value: Value) -> Var:
        var = self._vars.get(id(value))
        if var is None:
            var = self._vars[id(value)] = Var(value.type)
            self._values[var] = value
        return var


def _copy(value: Value) -> Value:
    """Another object for the same value, at the level of the innermost builder."""
    value = value.read()
    if isinstance(value, Array):
        return Array(value.data, weak=value.weak)
    builder = current_builder()
    if builder is None or not isinstance(value, Tracer):
        return value
    return Tracer(builder, builder.lift(value).atom, weak=value.weak)
