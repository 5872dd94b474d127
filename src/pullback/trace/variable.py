"""``Variable``: an array that changes, for parameters and state.

Imports ``program`` and ``stage``. A traced function may read and assign variables: reading gives
a tracer, assigning adds an output that is written back when the program has run.
"""

from __future__ import annotations

import itertools
import operator
import sys
import threading
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from pullback.errors import DTypeError, LeakedTracerError, PullbackError, ShapeError
from pullback.primitives.operators import astype
from pullback.program.builder import Builder
from pullback.program.core import NDArray
from pullback.program.value import (
    STACKS,
    Array,
    Value,
    as_value,
    current_builder,
)
from pullback.trace.leaves import wrap
from pullback.trace.stage import StageBuilder
from pullback.types import as_dtype


class ReadListener(Protocol):
    """What wants to hear of every variable that is read (a gradient tape)."""

    @property
    def builder(self) -> Builder | None:
        """Where variables are read that it wants to hear of."""
        ...

    def note_read(self, variable: Variable, value: Value) -> None:
        """``variable`` was read and held ``value``."""
        ...


class _Listeners(threading.local):
    def __init__(self) -> None:
        self.active: list[ReadListener] = []


LISTENERS = _Listeners()

_counter = itertools.count()


class Variable(Value):
    """A mutable array of fixed shape and dtype. Wherever an array can stand, it can stand.

    Args:
        initial: The first value; copied. Not a tracer.
        trainable: Whether a gradient tape watches it by itself.
        name: For messages. Default: ``variable_0`` and so on.
        dtype: Default: that of ``initial``.

    Raises:
        LeakedTracerError: ``initial`` is a tracer, which ends with the function that traces it.

    In a function under ``jit`` its value is an input of the program; what is assigned is written
    back when the program has run, in place when nobody else holds the old value.
    """

    __slots__ = ("_holder", "_value", "name")

    def __init__(
        self, initial: Any, trainable: bool = True, name: str | None = None, dtype: Any = None
    ) -> None:
        value = as_value(initial)
        if not isinstance(value, Array):
            raise LeakedTracerError(
                f"a variable cannot start with a traced value ({value.type}), which ends with the "
                "function that traces it: create the variable outside and assign it inside"
            )
        wanted = value.dtype if dtype is None else as_dtype(dtype)
        self._value: Array | None = Array(np.array(value.data, wanted, order="C"))
        self._holder: int | None = None
        self.type = self._value.type
        self.weak = False
        self.trainable = trainable
        self.name = f"variable_{next(_counter)}" if name is None else name

    @property
    def value(self) -> Value:
        """What the variable holds now: an array, or a tracer inside a traced function."""
        return self.read()

    def read(self) -> Value:
        """What the variable holds now: an array, or a tracer inside a traced function."""
        stage_builder = _innermost_stage()
        value = self._held() if stage_builder is None else stage_builder.read_variable(self)
        builder = current_builder()
        for listener in LISTENERS.active:
            if listener.builder is builder:
                listener.note_read(self, value)
        return value

    def _held(self) -> Array:
        value = self._value
        return _wait_for(self) if value is None else value

    def assign(self, value: Any) -> Variable:
        """Let the variable hold ``value`` from now on.

        Args:
            value: Of the variable's shape and dtype; a Python scalar takes the dtype. Derivatives
                do not flow through an assignment.

        Raises:
            ShapeError: the shape is another one.
            DTypeError: the dtype is another one.
        """
        new = self._checked(as_value(value))
        builder = current_builder()
        if isinstance(builder, StageBuilder):
            builder.assign_variable(self, new)
        elif builder is not None:
            raise PullbackError(f"variable {self.name!r} cannot be assigned in a derivative rule")
        elif isinstance(new, Array):
            # Memory of the caller's own is copied; that of an Array never changes.
            _store(self, new.data if isinstance(value, Value) else np.array(new.data))
        else:
            raise LeakedTracerError(
                f"a traced value of type {new.type} was assigned to variable {self.name!r} after "
                "the traced function had returned"
            )
        return self

    def assign_add(self, value: Any) -> Variable:
        """Add ``value`` to what the variable holds."""
        return self.assign(self.read() + value)

    def assign_sub(self, value: Any) -> Variable:
        """Subtract ``value`` from what the variable holds."""
        return self.assign(self.read() - value)

    def _checked(self, value: Value) -> Value:
        if value.weak and value.dtype != self.dtype:
            value = astype(value, self.dtype)
        if value.type == self.type:
            return value
        kind, mend = (
            (ShapeError, "reshape or broadcast it first")
            if value.shape != self.shape
            else (DTypeError, f"cast it with `.astype({self.dtype.name!r})`")
        )
        raise kind(f"variable {self.name!r} is {self.type}, but {value.type} was assigned: {mend}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        return np.array(self.read(), dtype, copy=copy)

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.read().__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.read().__dlpack_device__()

    def __bool__(self) -> bool:
        return bool(self.read())

    def __int__(self) -> int:
        return int(self.read())

    def __float__(self) -> float:
        return float(self.read())

    def __complex__(self) -> complex:
        return complex(self.read())

    def __index__(self) -> int:
        return operator.index(self.read())

    def __format__(self, spec: str) -> str:
        return format(self.read(), spec)

    def item(self) -> Any:
        """The only element, as a Python scalar."""
        return self.read().item()

    def tolist(self) -> Any:
        """The elements as nested Python lists."""
        return self.read().tolist()

    def __repr__(self) -> str:
        return f"Variable({self.name!r}, {self.type}, {self._value!r})"


def _innermost_stage() -> StageBuilder | None:
    """The innermost builder that knows of variables; rules are traced in plain ones."""
    for builder in reversed(STACKS.builders):
        if isinstance(builder, StageBuilder):
            return builder
    return None


# A program that updates variables works in their memory. While it runs it has *taken* them: their
# `_value` is None, and another thread that reads or takes them waits. So nobody sees half an
# update, and memory that anybody else can see is never written.
_PUT = threading.Condition()
_WAIT_S = 0.05  # so that an interrupt is noticed while waiting


def take(variables: Sequence[Variable]) -> list[Array]:
    """Take what ``variables`` hold, for a program that updates them.

    Every ``take`` is followed by a ``put``, also when the program fails. ``exclusive`` gives the
    memory that the program may write.

    Raises:
        PullbackError: this thread has taken one of them already: the running program calls back.
    """
    with _PUT:
        while any(v._value is None for v in variables):
            _refuse_own(variables)
            _PUT.wait(_WAIT_S)
        taken = [v._value for v in variables if v._value is not None]
        for variable in variables:
            variable._value, variable._holder = None, threading.get_ident()
    return taken


def put(variables: Sequence[Variable], values: Sequence[Array]) -> None:
    """Let ``variables`` hold ``values``, which are of their types."""
    with _PUT:
        for variable, value in zip(variables, values, strict=True):
            variable._value, variable._holder = value, None
        _PUT.notify_all()


def exclusive(taken: list[Array], i: int) -> NDArray:
    """The memory of ``taken[i]`` if this list alone holds it, else a copy."""
    data = taken[i]._data
    # getrefcount counts its own argument: list + argument; slot + local name + argument.
    shared = sys.getrefcount(taken[i]) > 2 or sys.getrefcount(data) > 3
    return np.array(data, order="C") if shared or not is_writable(data) else data


def is_writable(data: NDArray) -> bool:
    """Whether ``data`` owns its memory and a program can write it from end to end."""
    return data.base is None and data.flags.writeable and data.flags.c_contiguous


def _store(variable: Variable, data: NDArray) -> None:
    """Let ``variable`` hold ``data``, once no running program has taken it."""
    with _PUT:
        _wait_for(variable)
        variable._value = wrap(data, variable.type)


def _wait_for(variable: Variable) -> Array:
    with _PUT:
        while (value := variable._value) is None:
            _refuse_own((variable,))
            _PUT.wait(_WAIT_S)
        return value


def _refuse_own(variables: Sequence[Variable]) -> None:
    me = threading.get_ident()
    for variable in variables:
        if variable._holder == me:
            raise PullbackError(
                f"variable {variable.name!r} was used by a host callback of the program that is "
                "updating it: pass its value to the callback as an argument"
            )
