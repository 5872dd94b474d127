"""Functions with rules of the user's: ``custom_vjp``, ``checkpoint``, ``stop_gradient``, callbacks.

Imports everything up to ``autodiff``. The names and arguments are JAX's. Start at ``custom_vjp``.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pullback import tree
from pullback.autodiff import control as _rules  # noqa: F401  # installs the derivative rules
from pullback.autodiff.cotangents import is_floating, zeros
from pullback.errors import DifferentiationError, PullbackError, TreeError
from pullback.primitives.cast import Convert
from pullback.primitives.custom import Checkpoint, CustomVjp, HostCall, StopGradient
from pullback.program.core import NDArray, Program
from pullback.program.value import Value, as_value
from pullback.trace.body import Traced, flatten_values, mismatch, name_of, trace_body
from pullback.trace.stage import Staged, unify
from pullback.types import ArrayType, as_dtype


class custom_vjp:  # a decorator, named as in JAX
    """A function with a derivative rule of the user's for reverse mode.

    ``fwd`` takes the function's arguments and returns ``(result, residuals)``; ``bwd`` takes the
    residuals and the cotangent of the result and returns a tuple with one cotangent for each
    argument. None stands for a zero. Cotangents of integer arguments are not used.

    Args:
        fun: The function. It assigns no variables. Values that it uses from outside are
            constants for differentiation; asking for their derivative is an error.
        nondiff_argnums: Positions of arguments that are plain Python values. ``fwd`` gets them in
            their places, ``bwd`` before the residuals, in order of position.
        nondiff_argnames: The same by name.

    Raises:
        DifferentiationError: called before ``defvjp``, or differentiated in forward mode.

    Differentiation: ``bwd`` in place of the function's own derivative; it is differentiated
    itself for higher orders.
    Cost: the function's; when differentiated, that of ``fwd`` and ``bwd``. All three are traced
    at every call; ``fwd`` and ``bwd`` may call the function itself.

    Example:
        >>> @custom_vjp
        ... def safe_sqrt(x):
        ...     return pb.sqrt(x)
        >>> safe_sqrt.defvjp(
        ...     lambda x: (pb.sqrt(x), x), lambda x, ct: (ct / (2 * pb.sqrt(x) + 1e-8),)
        ... )
    """

    def __init__(
        self,
        fun: Callable[..., Any],
        nondiff_argnums: int | Sequence[int] = (),
        nondiff_argnames: str | Sequence[str] = (),
    ) -> None:
        functools.update_wrapper(self, fun)
        self.fun = fun
        numbers = (nondiff_argnums,) if isinstance(nondiff_argnums, int) else nondiff_argnums
        names = (nondiff_argnames,) if isinstance(nondiff_argnames, str) else nondiff_argnames
        parameters = [*inspect.signature(fun).parameters] if names else []
        self.nondiff = tuple(sorted({*numbers, *map(parameters.index, names)}))
        self.fwd: Callable[..., Any] = self._without_rule
        self.bwd: Callable[..., Any] = self._without_rule

    def defvjp(self, fwd: Callable[..., Any], bwd: Callable[..., Any]) -> None:
        """Set the rule.

        Args:
            fwd: Takes the arguments; returns the result and a tree of residuals.
            bwd: Takes the plain arguments, the residuals and the cotangent of the result.
        """
        self.fwd, self.bwd = fwd, bwd

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply the function."""
        call = _CustomCall(self, self._positional(args, kwargs))
        if self in _rules_in_trace.functions:  # its own rule calls it: tracing that has no end
            return call.bind_deferred()
        return call.bind()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Bind as a method does."""
        return self if instance is None else functools.partial(self, instance)

    def _without_rule(self, *_: Any) -> Any:
        raise DifferentiationError(
            f"the `custom_vjp` function {name_of(self.fun)!r} has no rule yet: call "
            "`defvjp(fwd, bwd)` first"
        )

    def _positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        try:
            bound = inspect.signature(self.fun).bind(*args, **kwargs)
        except ValueError:  # a builtin without a signature
            return args
        bound.apply_defaults()
        if bound.kwargs:
            raise TypeError(
                f"the `custom_vjp` function {name_of(self.fun)!r} has keyword-only arguments "
                f"({', '.join(bound.kwargs)}), for which `bwd` can return no cotangent"
            )
        return bound.args


class _Tracing(threading.local):
    """The functions whose rules this thread is tracing."""

    def __init__(self) -> None:
        self.functions: list[custom_vjp] = []


_rules_in_trace = _Tracing()


class _CustomCall:
    """One application of a ``custom_vjp`` function."""

    def __init__(self, function: custom_vjp, args: tuple[Any, ...]) -> None:
        self.function = function
        self.name = name_of(function.fun)
        nondiff = [i + len(args) if i < 0 else i for i in function.nondiff]
        self.static = {i: args[i] for i in nondiff}
        self.arguments = tuple(x for i, x in enumerate(args) if i not in self.static)
        self.leaves, self.structure = flatten_values(self.arguments)
        self.types = [x.type for x in self.leaves]
        self.weak = [x.weak for x in self.leaves]
        self.gradients: tuple[int, ...] = ()

    def bind(self) -> Any:
        """Trace the function and its rule, and apply the primitive that holds them."""
        primal = self._trace(self.function.fun)
        primitive, captures = self._primitive(primal)
        return primal.structure.unflatten(primitive(*self.leaves, *captures))

    def bind_deferred(self) -> Any:
        """Trace the function alone; its rule is traced when it is needed."""
        primal = self._trace(self.function.fun)
        self._refuse_updates(primal.staged)
        arguments = len(self.leaves)

        def deferred() -> tuple[CustomVjp, Sequence[Value]]:
            return self._primitive(self._trace(self.function.fun))

        (staged,) = unify([primal.staged])
        primitive = CustomVjp(
            staged.program, None, None, 0, (), arguments, self.name, deferred=deferred
        )
        return primal.structure.unflatten(primitive(*self.leaves, *staged.operands()))

    def _trace(self, f: Callable[..., Any]) -> Traced:
        return trace_body(self._with_static(f), self.structure, self.types, self.weak)

    def _primitive(self, primal: Traced) -> tuple[CustomVjp, Sequence[Value]]:
        """The primitive, and the values from outside that it takes behind the arguments."""
        _rules_in_trace.functions.append(self.function)
        try:
            forward = self._trace(self.function.fwd)
            residuals = self._residual_structure(forward, primal)
            self._check_forward(primal, forward)
            backward = self._trace_backward(primal, forward, residuals)
        finally:
            _rules_in_trace.functions.pop()
        staged = [primal.staged, forward.staged, backward.staged]
        for s in staged:
            self._refuse_updates(s)
        unified = unify(staged)
        outputs, count = len(primal.types), len(self.leaves)
        forward_program, backward_program = self._pass_captures(
            unified[1].program, unified[2].program, count, outputs
        )
        primitive = CustomVjp(
            unified[0].program,
            forward_program,
            backward_program,
            len(forward_program.outputs) - outputs,
            self.gradients,
            count,
            self.name,
        )
        return primitive, unified[0].operands()

    def _with_static(self, f: Callable[..., Any]) -> Callable[..., Any]:
        """``f`` of the traced arguments, with the plain ones put in their places."""

        @functools.wraps(f)
        def full(*traced: Any) -> Any:
            rest = iter(traced)
            count = len(traced) + len(self.static)
            return f(*(self.static[i] if i in self.static else next(rest) for i in range(count)))

        return full

    def _residual_structure(self, forward: Traced, primal: Traced) -> tree.TreeDef:
        marked = forward.structure.unflatten(forward.types)
        if not (isinstance(marked, tuple) and len(marked) == 2):
            raise TreeError(
                f"custom_vjp {self.name}: fwd must return a pair (result, residuals), it returned "
                f"{tree.describe(marked, str)}"
            )
        if tree.structure(marked[0]) != primal.structure:
            result = primal.structure.unflatten(primal.types)
            raise TreeError(
                f"custom_vjp {self.name}: fwd must return the function's result first; the "
                f"function returns {tree.describe(result, str)}, fwd "
                f"{tree.describe(marked[0], str)}"
            )
        return tree.structure(marked[1])

    def _check_forward(self, primal: Traced, forward: Traced) -> None:
        paths = primal.paths("result")
        for path, expected, given in zip(paths, primal.types, forward.types, strict=False):
            if expected != given:
                raise mismatch(
                    f"custom_vjp {self.name}: {path} is {expected} in the function, {given} in fwd",
                    expected,
                    given,
                )

    def _trace_backward(self, primal: Traced, forward: Traced, residuals: tree.TreeDef) -> Traced:
        """Trace ``bwd``: residuals and cotangents of floating results to those of arguments."""
        bwd, result_types = self.function.bwd, primal.types
        floating = [t for t in result_types if is_floating(t)]
        kept = forward.types[len(result_types) :]

        def flat(*values: Value) -> list[Value]:
            given = iter(values[len(kept) :])
            cts = [next(given) if is_floating(t) else zeros(t) for t in result_types]
            returned = bwd(
                *self.static.values(),
                residuals.unflatten(values[: len(kept)]),
                primal.structure.unflatten(cts),
            )
            found = self._cotangents(returned)
            self.gradients = tuple(found)
            return list(found.values())

        flat.__name__ = name_of(bwd)
        args = tree.structure((0,) * (len(kept) + len(floating)))
        return trace_body(flat, args, [*kept, *floating])

    def _cotangents(self, returned: Any) -> dict[int, Value]:
        """What ``bwd`` returned, by the position of the leaf it is for."""
        if not isinstance(returned, (tuple, list)) or len(returned) != len(self.arguments):
            raise TreeError(
                f"custom_vjp {self.name}: bwd must return a tuple of {len(self.arguments)} "
                f"cotangents, one for each argument, it returned {tree.describe(returned)}"
            )
        found: dict[int, Value] = {}
        position = 0
        for number, (argument, ct) in enumerate(zip(self.arguments, returned, strict=True)):
            structure = tree.structure(argument)
            count = structure.num_leaves
            parts = [None] * count if ct is None else structure.flatten_up_to(ct)
            for i, part in enumerate(parts, position):
                if part is not None and is_floating(self.leaves[i].type):
                    found[i] = self._cotangent(as_value(part), self.leaves[i].type, number)
            position += count
        return found

    def _cotangent(self, ct: Value, expected: ArrayType, argument: int) -> Value:
        if ct.weak and ct.dtype != expected.dtype:
            ct = Convert(expected.dtype)(ct)
        if ct.type != expected:
            raise mismatch(
                f"custom_vjp {self.name}: the cotangent that bwd returned for argument "
                f"{argument} is {ct.type}, the argument is {expected}",
                expected,
                ct.type,
            )
        return ct

    def _refuse_updates(self, staged: Staged) -> None:
        for variable in staged.updates:
            raise PullbackError(
                f"custom_vjp {self.name}: variable {variable.name!r} is assigned inside; return "
                "the value and assign it outside"
            )

    def _pass_captures(
        self, forward: Program, backward: Program, arguments: int, outputs: int
    ) -> tuple[Program, Program]:
        """Make what ``bwd`` uses from outside residuals: ``forward`` passes it through."""
        residuals = len(forward.outputs) - outputs
        captured = len(forward.inputs) - arguments
        inner = backward.inputs[: len(backward.inputs) - captured]
        used = {a for eqn in backward.equations for a in eqn.inputs} | {*backward.outputs}
        needed = [
            (outside, inside)
            for outside, inside in zip(
                forward.inputs[arguments:], backward.inputs[len(inner) :], strict=True
            )
            if inside in used
        ]
        ordered = (*inner[:residuals], *(v for _, v in needed), *inner[residuals:])
        passed = (*forward.outputs, *(v for v, _ in needed))
        return replace(forward, outputs=passed), replace(backward, inputs=ordered)


def checkpoint(
    fun: Callable[..., Any], *, prevent_cse: bool = True, static_argnums: int | Sequence[int] = ()
) -> Callable[..., Any]:
    """Return ``fun`` with its intermediate values computed again for the backward pass.

    Args:
        fun: Any function of trees of arrays. Can be nested. Variables that it assigns are updated
            once.
        prevent_cse: Accepted as in JAX; here the recomputation is always kept apart from the
            forward computation, at no cost.
        static_argnums: Positions of arguments that are plain Python values.

    Returns:
        A function of the same arguments and results.

    Differentiation: as ``fun``, in both modes; the backward pass keeps the arguments only.
    Cost: that of ``fun``, and once more when differentiated in reverse mode.
    Source: Griewank & Walther 2000, "Algorithm 799: revolve", doi:10.1145/347837.347846.
    """
    numbers = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)

    @functools.wraps(fun)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        static = {i + len(args) if i < 0 else i: args[i] for i in numbers}
        traced = [x for i, x in enumerate(args) if i not in static]

        def inner(values: Sequence[Any], named: dict[str, Any]) -> Any:
            rest = iter(values)
            full = [static[i] if i in static else next(rest) for i in range(len(args))]
            return fun(*full, **named)

        inner.__name__ = name_of(fun)
        leaves, structure = flatten_values((traced, kwargs))
        body = trace_body(inner, structure, [x.type for x in leaves], [x.weak for x in leaves])
        (staged,) = unify([body.staged])
        bound = Checkpoint(staged.program, name_of(fun))(*leaves, *staged.operands())
        return body.structure.unflatten(staged.assign(bound))

    return wrapper


remat = checkpoint


def stop_gradient(x: Any) -> Any:
    """Return ``x`` as a constant for differentiation.

    Args:
        x: Tree of arrays.

    Differentiation: the derivative is zero.
    Cost: none.
    """
    return tree.map(lambda leaf: _stopped(as_value(leaf)), x)


def _stopped(x: Value) -> Any:
    return StopGradient()(x) if is_floating(x.type) else x


def pure_callback(
    callback: Callable[..., Any], result_shape_dtypes: Any, *args: Any, **kwargs: Any
) -> Any:
    """Return ``callback(*args, **kwargs)``, called on NumPy arrays while the program runs.

    Args:
        callback: A pure function: it may be called again, or not at all. Gets read-only NumPy
            arrays and returns NumPy arrays of the declared shapes and dtypes.
        result_shape_dtypes: Tree of objects with ``shape`` and ``dtype``, for example arrays: the
            structure and types of the result.
        args: Trees of arrays.
        kwargs: Trees of arrays.

    Raises:
        ShapeError: the callback returns another shape, or another number of arrays.
        DTypeError: the callback returns another dtype.
        TreeError: the callback returns another structure.

    Differentiation: refused; wrap the call in ``custom_vjp``.
    Cost: the callback's, and a change from native code to Python and back.
    """
    declared, structure = tree.flatten(result_shape_dtypes)
    results = tuple(ArrayType(tuple(x.shape), as_dtype(x.dtype)) for x in declared)
    leaves, arguments = flatten_values((args, kwargs))

    def flat(*arrays: NDArray) -> list[NDArray]:
        values, named = arguments.unflatten(arrays)
        return [np.asarray(x) for x in structure.flatten_up_to(callback(*values, **named))]

    return structure.unflatten(HostCall(flat, results, name_of(callback))(*leaves))
