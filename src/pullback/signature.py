"""What distinguishes one call of a ``jit`` function from another: types, structure, static values.

Imports ``tree`` and ``trace``; ``jit`` alone uses it. Start at ``sign``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pullback import tree
from pullback.errors import ConfigurationError, StaticArgumentError
from pullback.program.core import NDArray
from pullback.program.value import Array, Tracer, Value, leaked
from pullback.trace.leaves import as_leaf
from pullback.trace.variable import Variable
from pullback.tree import TreeDef
from pullback.types import SHORT_NAMES, ArrayType


class Static(NamedTuple):
    """Which arguments are static."""

    numbers: tuple[int, ...] = ()
    names: tuple[str, ...] = ()


class Arguments(NamedTuple):
    """The arguments of one call, taken apart.

    Attributes:
        leaves: All leaves: arrays, and variables, which are not inputs of a program.
        treedef: Structure of ``(args, kwargs)`` with ``None`` in place of static arguments.
        static: Static arguments by position or name.
    """

    leaves: list[Any]
    treedef: TreeDef
    static: dict[int | str, Any]

    def array_leaves(self) -> list[Any]:
        """The leaves that are arrays."""
        return [x for x in self.leaves if not isinstance(x, Variable)]

    def values(self) -> list[Value]:
        """The leaves that are arrays, as values."""
        return [
            as_leaf(x, functools.partial(_argument_name, self.treedef, i))
            for i, x in enumerate(self.leaves)
            if not isinstance(x, Variable)
        ]

    def call(self, f: Callable[..., Any], values: Iterable[Any]) -> Any:
        """Call ``f`` with ``values`` in place of the arrays."""
        rest = iter(values)
        filled = [x if isinstance(x, Variable) else next(rest) for x in self.leaves]
        args, kwargs = self.treedef.unflatten(filled)
        args = [self.static.get(i, x) for i, x in enumerate(args)]
        named = {name: x for name, x in self.static.items() if isinstance(name, str)}
        return f(*args, **kwargs, **named)


class Signature(NamedTuple):
    """What a program is made for, and the memory to run it on.

    Attributes:
        key: Calls with equal keys run the same program.
        arrays: The memory of the array leaves.
        weak: Which of them are weak in promotion.
    """

    key: Hashable
    arrays: list[NDArray]
    weak: list[bool]


def take_apart(
    f: Callable[..., Any], static: Static, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Arguments:
    """Separate static arguments, and flatten the others.

    Raises:
        StaticArgumentError: a static argument is not hashable.
    """
    found: dict[int | str, Any] = {}
    if static.numbers or static.names:
        args, kwargs, found = _take_static(f, static, args, kwargs)
    leaves, treedef = tree.flatten((args, kwargs))
    return Arguments(leaves, treedef, found)


def sign(arguments: Arguments) -> Signature:
    """Find out what program a call needs.

    Raises:
        TreeError: an argument that is not static has a leaf that is no array.
        LeakedTracerError: an argument is a tracer of a trace that is over.
    """
    leaves, treedef, static = arguments
    arrays: list[NDArray] = []
    flags: list[bool] = []
    parts: list[Hashable] = []
    for i, x in enumerate(leaves):
        if type(x) is Array:
            data, weak = x._data, x.weak
        elif isinstance(x, Variable):
            parts.append(id(x))
            continue
        else:
            data, weak = _leaf_memory(x, functools.partial(_argument_name, treedef, i))
        arrays.append(data)
        flags.append(weak)
        parts.append((data.dtype, data.shape, weak))
    static_key = tuple((name, type(x), x) for name, x in static.items())
    return Signature((static_key, treedef.spec, (*parts,)), arrays, flags)


def _leaf_memory(x: Any, name: Callable[[], str]) -> tuple[NDArray, bool]:
    """Memory of a leaf of the supported dtypes, and whether it is weak."""
    if type(x) is np.ndarray and x.dtype in SHORT_NAMES:
        return x, False
    if isinstance(x, ArrayType):
        # Stands for any array of the type: to make a program there need be no elements.
        return np.broadcast_to(np.zeros((), x.dtype), x.shape), False
    value = as_leaf(x, name)
    if isinstance(value, Tracer):
        raise leaked(value)
    return np.asarray(value), value.weak


def _argument_name(treedef: TreeDef, index: int) -> str:
    """A leaf as messages call it: ``argument 0['w']``, or ``argument 'x'`` by name."""
    _, argument, *rest = treedef.paths()[index]
    return f"argument {argument[1:-1]}{''.join(rest)}"


def _take_static(
    f: Callable[..., Any], static: Static, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any], dict[int | str, Any]]:
    found: dict[int | str, Any] = {}
    dynamic = [*args]
    for i in static.numbers:
        if -len(args) <= i < len(args):
            found[i % len(args)], dynamic[i] = args[i], None
    found.update((name, kwargs[name]) for name in static.names if name in kwargs)
    for name, x in found.items():
        try:
            hash(x)
        except TypeError:
            raise StaticArgumentError(
                f"argument {name!r} of {name_of(f)} is static, but a value of type "
                f"{type(x).__name__} is not hashable. Pass a tuple in place of a list, or do not "
                "make the argument static"
            ) from None
    return (*dynamic,), {k: x for k, x in kwargs.items() if k not in found}, found


def resolve_static(
    f: Callable[..., Any], numbers: int | Sequence[int] | None, names: str | Sequence[str] | None
) -> Static:
    """Positions and names of the static arguments; either follows from the other.

    Raises:
        ConfigurationError: ``f`` has no such argument.
    """
    given = as_positions(numbers)
    called = (names,) if isinstance(names, str) else tuple(names or ())
    if not given and not called:
        return Static()
    parameters = _parameters(f)
    if parameters is None:
        return Static(given, called)
    kinds = {p.kind for p in parameters}
    places = [p.name for p in parameters if p.kind in _POSITIONAL]
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        _require(f, "static_argnums", [i for i in given if not -len(places) <= i < len(places)])
        given = tuple(i % len(places) for i in given)
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        known = {p.name for p in parameters}
        _require(f, "static_argnames", [name for name in called if name not in known])
    by_place = {name: i for i, name in enumerate(places)}
    all_numbers = {*given, *(by_place[name] for name in called if name in by_place)}
    all_names = {*called, *(places[i] for i in given if 0 <= i < len(places))}
    return Static(tuple(sorted(all_numbers)), tuple(sorted(all_names)))


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _parameters(f: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """The parameters of ``f``; None when it does not tell."""
    try:
        return [*inspect.signature(f).parameters.values()]
    except (TypeError, ValueError):
        return None


def require_positions(f: Callable[..., Any], option: str, numbers: Sequence[int]) -> None:
    """Require that ``f`` has positional arguments of these numbers.

    Raises:
        ConfigurationError: it has not; the message names ``option``.
    """
    parameters = _parameters(f) if numbers else None
    if parameters is None or any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return
    count = sum(p.kind in _POSITIONAL for p in parameters)
    _require(f, option, [i for i in numbers if not -count <= i < count])


def _require(f: Callable[..., Any], option: str, wrong: Sequence[Any]) -> None:
    if wrong:
        raise ConfigurationError(
            f"{option}: {name_of(f)} has no argument {', '.join(map(repr, wrong))}; its signature "
            f"is {inspect.signature(f)}"
        )


def as_positions(numbers: int | Sequence[int] | None) -> tuple[int, ...]:
    """One position or several as a tuple."""
    if numbers is None:
        return ()
    return (numbers,) if isinstance(numbers, int) else tuple(numbers)


def name_of(f: Callable[..., Any]) -> str:
    """What to call ``f`` in messages and programs."""
    while isinstance(f, functools.partial):
        f = f.func
    name = getattr(f, "__name__", type(f).__name__)
    return "main" if name == "<lambda>" else str(name)
