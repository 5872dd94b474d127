"""``dataclass`` as in the standard library, for the many small classes of this package.

The standard one writes up to six methods for every class and compiles each, a third of a
millisecond a class: half of what importing this package took. Here methods are compiled once for
all classes of as many fields, and each class gets them with its own names put in. Imports nothing
of the package. Start at ``complete``.
"""

from __future__ import annotations

import builtins
import dataclasses
import functools
import reprlib
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any

Fields = tuple[Field[Any], ...]
Methods = dict[str, Callable[..., Any]]

#: What methods read besides their arguments and the factories of their fields' defaults.
_GLOBALS = {"__builtins__": builtins, "MISSING": MISSING, "set_field": object.__setattr__}


def complete(
    cls: type | None = None, /, *, frozen: bool = False, eq: bool = True, slots: bool = False
) -> Any:
    """Make a class a dataclass, as ``dataclasses.dataclass`` does with these options.

    Fields, ``replace``, ``match``, printing, equality and hashing are those of the standard
    library. Undecorated subclasses of a frozen class are frozen too.

    Raises:
        TypeError: the class has ``__post_init__``; or a field without a default follows one with a
            default, or uses options of ``field`` other than ``default``, ``default_factory`` and
            ``metadata``.
    """
    if cls is None:
        return functools.partial(complete, frozen=frozen, eq=eq, slots=slots)
    written = frozenset(vars(cls))
    # Without a text the standard library computes the signature, to put it there.
    cls.__doc__ = cls.__doc__ or cls.__name__
    made: type = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
    fields = dataclasses.fields(made)
    _check(made, fields)
    for name, method in _methods(made, fields, frozen, eq, slots).items():
        if name == "__init__" or name not in written:
            setattr(made, name, method)
    return made


if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    dataclass = complete


def _check(cls: type, fields: Fields) -> None:
    if hasattr(cls, "__post_init__"):
        raise TypeError(f"{cls.__qualname__}.__post_init__ would not be called")
    has_default = False
    for f in fields:
        if not (f.init and f.repr and f.compare) or f.hash is not None or f.kw_only:
            raise TypeError(f"{cls.__qualname__}.{f.name} has options that are not supported")
        if has_default > (has_default := _has_default(f)):
            raise TypeError(f"{cls.__qualname__}.{f.name} has no default, but follows one that has")


def _has_default(f: Field[Any]) -> bool:
    return f.default is not MISSING or f.default_factory is not MISSING


def _methods(cls: type, fields: Fields, frozen: bool, eq: bool, slots: bool) -> Methods:
    """The methods of a class by name."""
    methods: Methods = {"__repr__": _represent}
    if frozen:
        methods |= {"__setattr__": _refuse_change, "__delattr__": _refuse_change}
    if frozen and slots:
        methods |= {"__getstate__": _get_state, "__setstate__": _set_state}
    factories = {f"factory{i}": f.default_factory for i, f in enumerate(fields)}
    made = tuple(f.default_factory is not MISSING for f in fields)
    scope = {**_GLOBALS, **factories} if any(made) else _GLOBALS
    init = FunctionType(
        _renamed(_init_code(made, frozen), cls, fields),
        scope,
        "__init__",
        tuple(f.default for f in fields if _has_default(f)),
    )
    init.__annotations__ = {**{f.name: f.type for f in fields}, "return": None}
    methods["__init__"] = init
    if eq:
        equal, hashed = _comparison_codes(len(fields))
        methods["__eq__"] = FunctionType(_renamed(equal, cls, fields), _GLOBALS)
        hashing = FunctionType(_renamed(hashed, cls, fields), _GLOBALS) if frozen else None
        methods["__hash__"] = hashing  # type: ignore[assignment]  # how Python says unhashable
    return methods


@functools.cache
def _init_code(made: tuple[bool, ...], frozen: bool) -> CodeType:
    """The code of ``__init__`` for as many fields; ``made`` are those that have a factory."""
    arguments, lines = ["self"], ["pass"]
    for i, is_made in enumerate(made):
        arguments.append(f"field{i}")
        value = f"factory{i}() if field{i} is MISSING else field{i}" if is_made else f"field{i}"
        line = f"set_field(self, 'field{i}', {value})" if frozen else f"self.field{i} = {value}"
        lines.append(line)
    return _compiled("__init__", arguments, lines)


@functools.cache
def _comparison_codes(count: int) -> tuple[CodeType, CodeType]:
    """The codes of ``__eq__`` and of ``__hash__`` for ``count`` fields."""
    mine, others = (
        "(" + "".join(f"{x}.field{i}, " for i in range(count)) + ")" for x in ("self", "other")
    )
    lines = [
        "if other.__class__ is self.__class__:",
        f"    return {mine} == {others}",
        "return NotImplemented",
    ]
    equal = _compiled("__eq__", ["self", "other"], lines)
    return equal, _compiled("__hash__", ["self"], [f"return hash({mine})"])


def _compiled(name: str, arguments: list[str], lines: list[str]) -> CodeType:
    scope: dict[str, Any] = {}
    body = "".join(f"    {line}\n" for line in lines)
    exec(f"def {name}({', '.join(arguments)}):\n{body}", scope)
    code: CodeType = scope[name].__code__
    return code


def _renamed(code: CodeType, cls: type, fields: Fields) -> CodeType:
    """The code with the names of the fields of ``cls`` in the place of ``field0`` and so on."""
    names: dict[Any, Any] = {f"field{i}": f.name for i, f in enumerate(fields)}
    return code.replace(
        co_varnames=tuple(names.get(x, x) for x in code.co_varnames),
        co_names=tuple(names.get(x, x) for x in code.co_names),
        co_consts=tuple(names.get(x, x) for x in code.co_consts),
        co_qualname=f"{cls.__qualname__}.{code.co_name}",
    )


@reprlib.recursive_repr("...")
def _represent(self: Any) -> str:
    shown = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self))
    return f"{type(self).__qualname__}({shown})"


def _refuse_change(self: Any, name: str, *value: Any) -> None:
    what = "assign to" if value else "delete"
    raise FrozenInstanceError(f"cannot {what} field {name!r}")


def _get_state(self: Any) -> list[Any]:
    return [getattr(self, f.name) for f in dataclasses.fields(self)]


def _set_state(self: Any, state: list[Any]) -> None:
    for f, value in zip(dataclasses.fields(self), state, strict=True):
        object.__setattr__(self, f.name, value)
