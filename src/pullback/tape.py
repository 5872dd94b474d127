"""``GradientTape``: records what happens in a ``with`` block, as in TensorFlow.

Imports everything below; imported by ``pullback`` alone. The work is ``autodiff.record``'s.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from pullback import tree
from pullback.autodiff.cotangents import add, is_floating, ones, zeros
from pullback.autodiff.record import Recording
from pullback.errors import ConfigurationError, DifferentiationError
from pullback.jacobians import over_basis, split_blocks
from pullback.program.builder import Builder
from pullback.program.value import Value
from pullback.trace.leaves import flatten_values, match_values
from pullback.trace.variable import LISTENERS, Variable
from pullback.types import ArrayType

_UNCONNECTED = ("none", "zero")


class GradientTape:
    """Records the operations in its ``with`` block, to differentiate them afterwards.

    Args:
        persistent: Whether ``gradient`` and ``jacobian`` can be called more than once.
        watch_accessed_variables: Whether trainable variables are watched when they are read.

    Arrays are told apart by identity: watch the very array that the operations use. Tapes nest;
    what an inner tape's ``gradient`` computes inside an outer tape's block can be differentiated
    again. A tape works in eager mode and inside ``jit`` alike. A ``jit`` function or a loop that is
    called in the block is one operation to it: of a variable that is assigned inside, it watches
    what the variable held at the beginning.

    Example:
        >>> x = pb.asarray(3.0)
        >>> with GradientTape() as tape:
        ...     tape.watch(x)
        ...     y = x * x
        >>> tape.gradient(y, x)
        Array(6., f32)
    """

    def __init__(self, persistent: bool = False, watch_accessed_variables: bool = True) -> None:
        self._persistent = persistent
        self._watch_accessed = watch_accessed_variables
        self._recording: Recording | None = None
        self._is_recording = False
        self._is_used = False
        self._variables: dict[int, Variable] = {}
        #: The values that each variable had when it was read, by the variable's identity.
        self._reads: dict[int, list[Value]] = {}

    @property
    def builder(self) -> Builder | None:
        """The builder whose operations are recorded; None in eager mode."""
        return self._recording.builder if self._recording is not None else None

    def __enter__(self) -> GradientTape:
        if self._is_recording:
            raise DifferentiationError("the tape is recording already")
        if self._recording is None:
            self._recording = Recording()
        self._start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._is_recording:
            self._stop()

    def _start(self) -> None:
        self._open_recording().__enter__()
        LISTENERS.active.append(self)
        self._is_recording = True

    def _stop(self) -> None:
        self._open_recording().__exit__()
        LISTENERS.active.remove(self)
        self._is_recording = False

    def watch(self, tensor: Any) -> None:
        """Record what is done with arrays or variables from now on.

        Args:
            tensor: An array, a variable, or a tree of them.

        Raises:
            DifferentiationError: a leaf is no ``Array`` or is not floating, or the tape has not
                been entered.
        """
        recording = self._open_recording()
        for x in map(_own, tree.leaves(tensor)):
            if not isinstance(x, Value) or not is_floating(x.type):
                what = x.type if isinstance(x, Value) else f"of type {type(x).__name__}"
                raise DifferentiationError(
                    f"a tape watches floating arrays of pullback, got one {what}: convert it with "
                    "`pullback.asarray` before the operations that use it"
                )
            if isinstance(x, Variable):
                self._variables[id(x)] = x
                if self._is_recording:
                    x.read()
            else:
                recording.watch(x)

    def note_read(self, variable: Variable, value: Value) -> None:
        """Watch what a variable held when it was read."""
        if id(variable) not in self._variables:
            if not (self._watch_accessed and variable.trainable and is_floating(variable.type)):
                return
            self._variables[id(variable)] = variable
        reads = self._reads.setdefault(id(variable), [])
        if not any(known is value for known in reads):
            reads.append(value)
            self._open_recording().watch(value)

    def watched_variables(self) -> tuple[Variable, ...]:
        """The variables that are watched, in the order in which they came."""
        return tuple(self._variables.values())

    @contextlib.contextmanager
    def stop_recording(self) -> Iterator[None]:
        """Do not record in this block, for example while computing a gradient."""
        if not self._is_recording:
            raise DifferentiationError("the tape is not recording")
        self._stop()
        try:
            yield
        finally:
            self._start()

    def reset(self) -> None:
        """Forget what was recorded and watched."""
        recording = self._is_recording
        if recording:
            self._stop()
        self._recording, self._is_used = None, False
        self._variables, self._reads = {}, {}
        if recording:
            self._recording = Recording()
            self._start()

    def gradient(
        self,
        target: Any,
        sources: Any,
        output_gradients: Any = None,
        unconnected_gradients: str = "none",
    ) -> Any:
        """Return the gradient of ``target`` with respect to ``sources``.

        Args:
            target: A floating array or a tree of them; the sum of all elements is differentiated.
            sources: An array, a variable, or a tree of them.
            output_gradients: Weights of that sum: a tree like ``target``.
            unconnected_gradients: What stands where ``target`` does not depend on a source:
                ``"none"`` or ``"zero"``.

        Returns:
            A tree like ``sources``.

        Raises:
            DifferentiationError: ``target`` is not floating, the tape was used already and is not
                persistent, or an operation on the way has no derivative.
            TreeError, ShapeError, DTypeError: ``output_gradients`` is not like ``target``.
        """
        outs, out_tree = flatten_values(target, "target")
        types = [_floating(y) for y in outs]
        if output_gradients is None:
            cts = [ones(t) for t in types]
        else:
            cts = match_values(output_gradients, "output_gradients", out_tree, types)
        leaves, treedef = _flatten_sources(sources)
        with self._differentiating(unconnected_gradients) as recording:
            found = self._pull(recording, outs, cts, leaves)
        if unconnected_gradients == "zero":
            found = [_or_zeros(ct, x) for ct, x in zip(found, leaves, strict=True)]
        return treedef.unflatten(found)

    def jacobian(self, target: Any, sources: Any, unconnected_gradients: str = "none") -> Any:
        """Return all derivatives of the elements of ``target``.

        Args:
            target: One floating array.
            sources: An array, a variable, or a tree of them.
            unconnected_gradients: As for ``gradient``.

        Returns:
            A tree like ``sources`` of arrays ``[*shape of target, *shape of the source]``.

        Raises:
            DifferentiationError: as for ``gradient``.

        Cost: one backward pass for each element of ``target``, in one loop.
        """
        (out,), _ = flatten_values(target, "target")
        leaves, treedef = _flatten_sources(sources)
        with self._differentiating(unconnected_gradients) as recording:
            types = [_floating(out)]
            connected = self._connected(recording, out, leaves)
            reached = [x for x, is_connected in zip(leaves, connected, strict=True) if is_connected]

            def pull(cts: Sequence[Value]) -> list[Value]:
                cotangents = self._pull(recording, [out], cts, reached)
                return [_or_zeros(ct, x) for ct, x in zip(cotangents, reached, strict=True)]

            stacked = iter(over_basis(pull, types) if reached else [])
        found: list[Value | None] = []
        for x, is_connected in zip(leaves, connected, strict=True):
            if is_connected:
                found += split_blocks(next(stacked), types)
            elif unconnected_gradients == "zero":
                found.append(zeros(ArrayType((*out.shape, *x.shape), x.dtype)))
            else:
                found.append(None)
        return treedef.unflatten(found)

    @contextlib.contextmanager
    def _differentiating(self, unconnected: str) -> Iterator[Recording]:
        """The recording to differentiate; a tape that is not persistent is used up by it."""
        if unconnected not in _UNCONNECTED:
            raise ConfigurationError(
                f"unconnected_gradients is {unconnected!r}, expected one of {_UNCONNECTED}"
            )
        if self._is_used:
            raise DifferentiationError(
                "a tape that is not persistent gives one gradient: ask for all sources at once, "
                "or make the tape with `GradientTape(persistent=True)`"
            )
        recording = self._open_recording()
        if not self._persistent and self._is_recording:
            self._stop()
        yield recording
        if not self._persistent:
            self._recording, self._is_used = None, True
            self._reads = {}

    def _pull(
        self,
        recording: Recording,
        outs: Sequence[Value],
        cts: Sequence[Value],
        sources: Sequence[Any],
    ) -> list[Value | None]:
        """Cotangents of the sources; those of a variable are summed over what it held."""
        held = [self._held(x) for x in sources]
        known = [[v for v in values if recording.tracks(v)] for values in held]
        flat = [v for values in known for v in values]
        found = iter(recording.backward(zip(outs, cts, strict=True), flat))
        totals: list[Value | None] = []
        for values in known:
            total: Value | None = None
            for ct in [next(found) for _ in values]:
                total = total if ct is None else add(total, ct)
            totals.append(total)
        return totals

    def _connected(self, recording: Recording, out: Value, sources: Sequence[Any]) -> list[bool]:
        """Which sources ``out`` depends on differentiably."""
        return [
            any(recording.depends(out, v) for v in self._held(x) if recording.tracks(v))
            for x in sources
        ]

    def _held(self, source: Any) -> list[Value]:
        if isinstance(source, Variable):
            return self._reads.get(id(source), [])
        if not isinstance(source, Value):
            raise DifferentiationError(
                f"a source is of type {type(source).__name__}, expected an array or a variable "
                "that the tape watched"
            )
        return [source]

    def _open_recording(self) -> Recording:
        if self._recording is None:
            raise DifferentiationError(
                "the tape holds nothing: enter it with `with tape:` before watching or "
                "differentiating"
            )
        return self._recording


def _flatten_sources(sources: Any) -> tuple[list[Any], tree.TreeDef]:
    leaves, treedef = tree.flatten(sources)
    return [_own(x) for x in leaves], treedef


def _own(x: Any) -> Any:
    """The variable of ours that another library's variable holds; anything else as it is."""
    held = getattr(x, "__pullback_variable__", None)
    return x if held is None else held()


def _or_zeros(ct: Value | None, source: Value) -> Value:
    return zeros(source.type) if ct is None else ct


def _floating(target: Value) -> ArrayType:
    if not is_floating(target.type):
        raise DifferentiationError(
            f"the target is {target.type}: only floating arrays have a gradient"
        )
    return target.type
