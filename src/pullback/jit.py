"""``jit``: trace a function once for each signature, compile it, and run machine code.

Imports everything below; imported by ``pullback`` alone. Start at ``jit``; ``Jit.__call__`` is the
path that every training step takes.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pullback import tree
from pullback.compiled import Compiled
from pullback.errors import ConfigurationError
from pullback.program.core import Program
from pullback.program.value import STACKS, Array, Value
from pullback.signature import (
    Arguments,
    Signature,
    Static,
    as_positions,
    name_of,
    require_positions,
    resolve_static,
    sign,
    take_apart,
)
from pullback.trace.leaves import flatten_values
from pullback.trace.stage import Staged, stage
from pullback.trace.variable import Variable
from pullback.tree import TreeDef
from pullback.types import ArrayType

if TYPE_CHECKING:
    from pullback.backend.direct import DirectCall
    from pullback.passes.pipeline import Numerics

NUMERICS: Final = ("strict", "fast")


def jit(
    f: Callable[..., Any] | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    numerics: Numerics = "strict",
) -> Any:
    """Compile ``f``: the first call with arguments of certain types traces it, later ones run it.

    Args:
        f: A function of trees of arrays. It runs once a signature, with tracers in place of
            arrays: what it does besides computing arrays happens only then. It may read and
            assign variables. None: return a decorator.
        static_argnums: Positions of arguments that are hashable Python values and not arrays;
            another value is another signature.
        static_argnames: The same by name. Names follow from positions and the other way round.
        donate_argnums: Positions of arguments whose memory results may take. Their arrays
            cannot be used afterwards. NumPy arrays are copied instead.
        numerics: ``"strict"`` keeps the order of floating-point operations; ``"fast"`` lets
            passes change it within the rounding of the dtype.

    Returns:
        A callable with the arguments and the result of ``f``; see ``Jit`` for what else it has.
        As a decorator of methods it compiles for each instance, whose attributes are constants.

    Raises:
        StaticArgumentError: (when called) a static argument is not hashable.
        TracerBoolError, TracerIntegerError, TracerArrayError: (when called) ``f`` needs a value
            where a tracer has none.
        ConfigurationError: an option names an argument that ``f`` does not have.

    Differentiation: like ``f``. Inside a traced function a call is traced on; under a tape, or in
    eager ``grad``, it is one operation, whose residuals are kept, and nothing is donated.
    Cost: a call of a compiled function takes a few microseconds beside the program's own time.

    Example:
        >>> @jit
        ... def step(w, x):
        ...     return w - 0.125 * grad(lambda w: (w * x - 3.0) ** 2)(w)
        >>> step(0.5, 2.0)
        Array(1.5, f32)
    """
    options = {
        "static_argnums": static_argnums,
        "static_argnames": static_argnames,
        "donate_argnums": donate_argnums,
        "numerics": numerics,
    }
    if f is None:
        return functools.partial(jit, **options)  # type: ignore[arg-type]
    if numerics not in NUMERICS:
        raise ConfigurationError(f"numerics is {numerics!r}, expected one of {NUMERICS}")
    static = resolve_static(f, static_argnums, static_argnames)
    donate = as_positions(donate_argnums)
    require_positions(f, "donate_argnums", donate)
    return Jit(f, static, donate, numerics)


class Jit:
    """A function that is compiled when it is called. Made by ``jit``.

    Attributes:
        __wrapped__: The Python function.
    """

    def __init__(
        self, f: Callable[..., Any], static: Static, donate: tuple[int, ...], numerics: Numerics
    ) -> None:
        functools.update_wrapper(self, f)
        self.__wrapped__ = f
        self._static = static
        self._donate = donate
        self._numerics = numerics
        self._cache: dict[Hashable, Compiled] = {}
        #: The same for calls with arrays alone, by their dtypes and shapes.
        self._quick: dict[Hashable, Compiled] = {}
        #: The direct call of the one that ran last: most functions are called with one signature.
        self._last: DirectCall = _refuse
        #: The same of the leaves of arguments that are trees, and the structure of these.
        self._last_of_leaves: tuple[Any, DirectCall] = (None, _refuse)
        self._methods: dict[int, tuple[weakref.ref[Any], Jit]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the function, computed by the compiled program."""
        if kwargs or STACKS.builders or STACKS.recorders:
            return self._call(args, kwargs)
        result = self._last(args)
        if result is not NotImplemented:
            return result
        arrays, key = [], []
        for x in args:
            if type(x) is Array and not x.weak:
                data = x._data
            elif type(x) is np.ndarray:
                data = x
            else:
                return self._call(args, kwargs)
            arrays.append(data)
            key.append(data.dtype)
            key.append(data.shape)
        compiled = self._quick.get((*key,))
        if compiled is None:
            return self._call(args, kwargs)
        self._last = compiled.direct or _refuse
        return compiled.run(arrays, args)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The way that works always: inside a trace, under a tape, and with any arguments."""
        arguments = take_apart(self.__wrapped__, self._static, args, kwargs)
        if STACKS.builders:
            return self._trace_on(arguments)
        spec, direct = self._last_of_leaves
        if arguments.treedef.spec == spec and not (arguments.static or STACKS.recorders):
            result = direct(arguments.leaves)
            if result is not NotImplemented:
                return result
        signature = sign(arguments)
        compiled = self._cache.get(signature.key)
        if compiled is None or compiled.has_stale_literals():
            with _without_collector():
                staged, out_tree = self._stage(arguments, signature)
                donated = self._donated_leaves(arguments)
                compiled = Compiled(staged, out_tree, donated, self._numerics)
            self._cache[signature.key] = compiled
            if _is_quick(args, kwargs, self._static):
                key = itertools.chain.from_iterable((x.dtype, x.shape) for x in signature.arrays)
                self._quick[(*key,)] = compiled
        if STACKS.recorders:
            return compiled.run_recorded(arguments.values())
        if compiled.direct and not (arguments.static or any(signature.weak)):
            self._last_of_leaves = arguments.treedef.spec, compiled.direct
        return compiled.run(signature.arrays, arguments.array_leaves())

    def _trace_on(self, arguments: Arguments) -> Any:
        """Run the Python function in the trace that is being made: it becomes part of it."""
        result = arguments.call(self.__wrapped__, arguments.values())
        values, treedef = flatten_values(result, "result")
        return treedef.unflatten(values)

    def _stage(self, arguments: Arguments, signature: Signature) -> tuple[Staged, TreeDef]:
        f, trees = self.__wrapped__, []

        def flat(*values: Value) -> list[Value]:
            results, treedef = flatten_values(arguments.call(f, values), "result")
            trees.append(treedef)
            return results

        types = [ArrayType(data.shape, data.dtype) for data in signature.arrays]
        return stage(flat, types, weak=signature.weak, name=name_of(f)), trees[0]

    def _donated_leaves(self, arguments: Arguments) -> list[int]:
        """Positions among the inputs of the leaves of donated arguments."""
        positional, _ = arguments.treedef.children()
        args = positional.children()
        numbers = {i % len(args) for i in self._donate if -len(args) <= i < len(args)}
        owners = [i for i, arg in enumerate(args) for _ in range(arg.num_leaves)]
        pairs = zip(arguments.leaves, owners, strict=False)
        kept = [owner in numbers for x, owner in pairs if not isinstance(x, Variable)]
        return [i for i, flag in enumerate(kept) if flag]

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The program that arguments of these types run.

        ``ArrayType`` objects may stand for arrays. Captured arrays are constants of the program;
        variables that it reads are inputs behind the arguments, variables that it assigns are
        outputs behind the results.
        """
        arguments = take_apart(self.__wrapped__, self._static, args, kwargs)
        staged, _ = self._stage(arguments, sign(arguments))
        program, count = staged.program, staged.num_args + len(staged.reads)
        captured = zip(program.inputs[count:], staged.captures, strict=True)
        constants = {v: x.data for v, x in captured if isinstance(x, Array)}
        return replace(
            program,
            inputs=tuple(v for v in program.inputs if v not in constants),
            constants=tuple(constants.items()),
        )

    def clear_cache(self) -> None:
        """Forget what was traced and compiled."""
        self._cache.clear()
        self._quick.clear()
        self._last, self._last_of_leaves = _refuse, (None, _refuse)
        self._methods.clear()

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        if tree.is_node(type(instance)):
            return BoundJit(instance, self, (instance,))
        return BoundJit(instance, self._method_of(instance), ())

    def _method_of(self, instance: Any) -> Jit:
        """The ``Jit`` for one instance: compiled for it alone, and forgotten with it."""
        known = self._methods.get(id(instance))
        if known is not None and known[0]() is instance:
            return known[1]
        key, methods = id(instance), self._methods
        reference = weakref.ref(instance, lambda _: methods.pop(key, None))
        f = functools.partial(_call_method, self.__wrapped__, reference)
        functools.update_wrapper(f, self.__wrapped__)
        numbers = tuple(i - 1 for i in self._static.numbers if i > 0)
        donate = tuple(i - 1 for i in self._donate if i > 0)
        method = Jit(f, Static(numbers, self._static.names), donate, self._numerics)
        self._methods[key] = reference, method
        return method

    def __repr__(self) -> str:
        return f"jit({name_of(self.__wrapped__)})"


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """A block in which no cyclic garbage is collected.

    Tracing and compiling make some hundred thousand objects, most of them to keep, and that has
    Python look at all objects of the process: a tenth of a second where Keras is loaded.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class BoundJit:
    """A ``jit`` method of an instance, which it keeps alive."""

    __slots__ = ("__self__", "_first", "_jit")

    def __init__(self, instance: Any, method: Jit, first: tuple[Any, ...]) -> None:
        self.__self__ = instance
        self._jit = method
        self._first = first

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result of the method, computed by the compiled program."""
        return self._jit(*self._first, *args, **kwargs)

    def program(self, *args: Any, **kwargs: Any) -> Program:
        """The program that arguments of these types run; see ``Jit.program``."""
        return self._jit.program(*self._first, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jit, name)


def _refuse(args: Sequence[Any]) -> Any:
    return NotImplemented


def _call_method(f: Callable[..., Any], reference: weakref.ref[Any], *args: Any, **kw: Any) -> Any:
    return f(reference(), *args, **kw)


def _is_quick(args: tuple[Any, ...], kwargs: dict[str, Any], static: Static) -> bool:
    """Whether ``Jit.__call__`` can recognise calls like this one by itself."""
    if kwargs or static.numbers or static.names:
        return False
    return all(type(x) is np.ndarray or (type(x) is Array and not x.weak) for x in args)


def make_program(
    f: Callable[..., Any],
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
) -> Callable[..., Program]:
    """Return the function that traces ``f`` and returns its program, to print or transform.

    Args:
        f: A function of trees of arrays.
        static_argnums: Positions of arguments that are Python values and not arrays.
        static_argnames: The same by name.

    Returns:
        A function of the arguments of ``f``, where ``ArrayType`` objects may stand for arrays.

    Example:
        >>> print(make_program(lambda x: x * 2.0)(pb.asarray([1.0, 2.0])))  # doctest: +ELLIPSIS
        program main(%0: f32[2]) {
          %1: f32[2] = mul %0 2.0:f32 ; ...
          return %1
        }
    """
    traced: Jit = jit(f, static_argnums=static_argnums, static_argnames=static_argnames)

    @functools.wraps(f)
    def make(*args: Any, **kwargs: Any) -> Program:
        return traced.program(*args, **kwargs)

    return make
