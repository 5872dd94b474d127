"""Values that user code and rules compute with: ``Array`` (concrete) and ``Tracer`` (symbolic).

``bind`` applies a primitive to values: evaluated at once, or recorded by the innermost builder.
Operators and methods are looked up in ``METHODS``, which ``ops`` fills: a value needs to know
nothing of broadcasting or promotion.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pullback.errors import (
    LeakedTracerError,
    PullbackError,
    TracerArrayError,
    TracerBoolError,
    TracerIntegerError,
)
from pullback.program.core import Atom
from pullback.program.dlpack import export_memory
from pullback.types import (
    FLOAT8,
    ArrayType,
    DType,
    as_dtype,
    bfloat16,
    default_dtype,
    type_of,
)

if TYPE_CHECKING:
    from pullback.program.builder import Builder
    from pullback.program.primitive import Primitive

NDArray = np.ndarray[Any, Any]

#: Operator and method implementations by name, filled by ``ops.methods``.
METHODS: dict[str, Callable[..., Any]] = {}


class Value:
    """An array that a program computes with. NumPy semantics for operators and indexing."""

    # `trainable` is never set here: Keras marks tensors with it where it takes them for variables.
    __slots__ = ("__weakref__", "trainable", "type", "weak")
    __array_priority__ = 1000

    type: ArrayType
    #: Made from Python scalars alone: takes the other operand's dtype in promotion.
    weak: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        """Element dtype."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.type.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.type.size

    def read(self) -> Value:
        """The value itself; a ``Variable`` answers with what it holds now."""
        return self

    def __len__(self) -> int:
        if not self.type.shape:
            raise TypeError("len() of an array without axes")
        return self.type.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __getattr__(self, name: str) -> Any:
        if name == "_data":
            raise PullbackError(
                f"this array ({self.type}) was donated to a `jit` function, which has reused its "
                "memory. Use what the function returned, or leave out `donate_argnums`"
            )
        method = METHODS.get(name)
        if method is None or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name in PROPERTIES:
            return method(self)
        return method.__get__(self)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        # `numpy_array + value` comes here; `numpy.sin(value)` too, and gives a NumPy array.
        name = UFUNC_OPERATORS.get(ufunc.__name__)
        if name is not None and method == "__call__" and not kwargs:
            return _binary(name, *inputs)
        return getattr(ufunc, method)(
            *(np.asarray(x) if isinstance(x, Value) else x for x in inputs), **kwargs
        )

    def __array_namespace__(self, *, api_version: str | None = None) -> Any:
        return METHODS["__array_namespace__"](self, api_version=api_version)

    def __getitem__(self, key: Any) -> Any:
        return METHODS["__getitem__"](self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        raise TypeError(
            f"arrays cannot be assigned to ({self.type}): `x = x.at[index].set(y)` makes a changed "
            "copy"
        )

    def __add__(self, other: Any) -> Any:
        return _binary("add", self, other)

    def __radd__(self, other: Any) -> Any:
        return _binary("add", other, self)

    def __sub__(self, other: Any) -> Any:
        return _binary("subtract", self, other)

    def __rsub__(self, other: Any) -> Any:
        return _binary("subtract", other, self)

    def __mul__(self, other: Any) -> Any:
        return _binary("multiply", self, other)

    def __rmul__(self, other: Any) -> Any:
        return _binary("multiply", other, self)

    def __truediv__(self, other: Any) -> Any:
        return _binary("divide", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _binary("divide", other, self)

    def __floordiv__(self, other: Any) -> Any:
        return _binary("floor_divide", self, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return _binary("floor_divide", other, self)

    def __mod__(self, other: Any) -> Any:
        return _binary("remainder", self, other)

    def __rmod__(self, other: Any) -> Any:
        return _binary("remainder", other, self)

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __pow__(self, other: Any) -> Any:
        return _binary("pow", self, other)

    def __rpow__(self, other: Any) -> Any:
        return _binary("pow", other, self)

    def __matmul__(self, other: Any) -> Any:
        return _binary("matmul", self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return _binary("matmul", other, self)

    def __and__(self, other: Any) -> Any:
        return _binary("bitwise_and", self, other)

    def __rand__(self, other: Any) -> Any:
        return _binary("bitwise_and", other, self)

    def __or__(self, other: Any) -> Any:
        return _binary("bitwise_or", self, other)

    def __ror__(self, other: Any) -> Any:
        return _binary("bitwise_or", other, self)

    def __xor__(self, other: Any) -> Any:
        return _binary("bitwise_xor", self, other)

    def __rxor__(self, other: Any) -> Any:
        return _binary("bitwise_xor", other, self)

    def __lshift__(self, other: Any) -> Any:
        return _binary("bitwise_left_shift", self, other)

    def __rlshift__(self, other: Any) -> Any:
        return _binary("bitwise_left_shift", other, self)

    def __rshift__(self, other: Any) -> Any:
        return _binary("bitwise_right_shift", self, other)

    def __rrshift__(self, other: Any) -> Any:
        return _binary("bitwise_right_shift", other, self)

    def __eq__(self, other: object) -> Any:
        return _binary("equal", self, other)

    def __ne__(self, other: object) -> Any:
        return _binary("not_equal", self, other)

    def __lt__(self, other: Any) -> Any:
        return _binary("less", self, other)

    def __le__(self, other: Any) -> Any:
        return _binary("less_equal", self, other)

    def __gt__(self, other: Any) -> Any:
        return _binary("greater", self, other)

    def __ge__(self, other: Any) -> Any:
        return _binary("greater_equal", self, other)

    __hash__ = None  # type: ignore[assignment]

    def __neg__(self) -> Any:
        return METHODS["negative"](self)

    def __pos__(self) -> Any:
        return METHODS["positive"](self)

    def __abs__(self) -> Any:
        return METHODS["abs"](self)

    def __round__(self, ndigits: int = 0) -> Any:
        return METHODS["round"](self, ndigits)

    def __invert__(self) -> Any:
        return METHODS["bitwise_invert"](self)


#: Names in ``METHODS`` that are read as attributes, without a call.
PROPERTIES: set[str] = {"T", "mT", "at", "device", "nbytes", "itemsize"}


#: The operators among NumPy's ufuncs, and their names in ``METHODS``.
UFUNC_OPERATORS: dict[str, str] = {
    "power": "pow",
    "left_shift": "bitwise_left_shift",
    "right_shift": "bitwise_right_shift",
} | {
    name: name
    for name in (
        *("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "matmul"),
        *("bitwise_and", "bitwise_or", "bitwise_xor"),
        *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    )
}


def _binary(name: str, x: Any, y: Any) -> Any:
    if not (is_array_like(x) and is_array_like(y)):
        return NotImplemented
    return METHODS[name](x, y)


def is_array_like(x: Any) -> bool:
    """Whether ``x`` can be an operand: a Value, a NumPy array or scalar, or a Python number."""
    return isinstance(x, (Value, np.ndarray, np.generic, bool, int, float))


class Array(Value):
    """A concrete array: a read-only view of NumPy memory, with value semantics.

    Make one with ``pullback.asarray``; get the memory back with ``numpy.asarray(x)``.
    """

    __slots__ = ("_data",)

    def __init__(self, data: NDArray, *, weak: bool = False) -> None:
        # Compiled code reads the array object itself: a NumPy scalar must not get there.
        self._data: NDArray = np.asarray(data)
        self.type = type_of(self._data)
        self.weak = weak

    @property
    def data(self) -> NDArray:
        """The NumPy array; treat it as read-only."""
        return self._data

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        data = self._data if dtype is None else self._data.astype(dtype, copy=False)
        if copy:
            return data.copy()
        view = data.view()
        view.flags.writeable = False
        return view

    def __dlpack__(self, **kwargs: Any) -> Any:
        data = _exportable(self._data, **kwargs)
        if self.dtype in FLOAT8 or self.dtype == bfloat16:
            return export_memory(data, **kwargs)
        return data.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._data.__dlpack_device__()

    def __bool__(self) -> bool:
        return bool(self._data)

    def __int__(self) -> int:
        return int(self._data)

    def __float__(self) -> float:
        return float(self._data)

    def __complex__(self) -> complex:
        return complex(self._data)

    def __index__(self) -> int:
        return self._data.__index__()

    def __format__(self, spec: str) -> str:
        return format(self._data[()], spec) if not self.shape else format(str(self), spec)

    def item(self) -> Any:
        """The only element, as a Python scalar."""
        return self._data.item()

    def tolist(self) -> Any:
        """The elements as nested Python lists."""
        return self._data.tolist()

    def __repr__(self) -> str:
        from pullback.types import SHORT_NAMES

        text = np.array2string(self._data, separator=", ", prefix="Array(", threshold=200)
        return f"Array({text}, {SHORT_NAMES[self.dtype]})"

    def __str__(self) -> str:
        return str(self._data)


def _exportable(data: NDArray, **kwargs: Any) -> NDArray:
    """The memory, or a copy where others cannot take it.

    PyTorch dies of negative strides, JAX takes dense memory alone, and before version 1 DLPack
    could not say that memory is read-only.
    """
    is_dense = data.flags.c_contiguous or data.flags.f_contiguous
    says_read_only = (kwargs.get("max_version") or (0,))[0] >= 1
    if kwargs.get("copy") is False or (is_dense and (data.flags.writeable or says_read_only)):
        return data
    return np.array(data, order="K")


class Tracer(Value):
    """A symbolic array: an atom of a program that is being traced."""

    __slots__ = ("atom", "builder")

    def __init__(self, builder: Builder, atom: Atom, *, weak: bool = False) -> None:
        self.builder = builder
        self.atom = atom
        self.type = atom.type
        self.weak = weak

    def __repr__(self) -> str:
        return f"Tracer({self.type})"

    def _refused(self, kind: type[PullbackError], use: str, mend: str) -> PullbackError:
        """The error for a use: of ``kind`` while the value is traced, else that it has leaked."""
        if self.builder not in STACKS.builders:
            return leaked(self)
        return kind(f"a traced value of type {self.type} was used as {use}. {mend}")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray:
        raise self._refused(
            TracerArrayError,
            "a NumPy array",
            "Use the function of the same name in `pullback`, or return the value and convert it "
            "outside `jit`.",
        )

    def __dlpack__(self, **kwargs: Any) -> Any:
        raise self._refused(
            TracerArrayError, "memory (DLPack)", "Return it and pass it on outside `jit`."
        )

    def __bool__(self) -> bool:
        raise self._refused(
            TracerBoolError,
            "a Python bool, as in `if x:`",
            "Use `pullback.where` or `pullback.cond`, or mark the argument static with "
            "`static_argnums`.",
        )

    def __int__(self) -> int:
        raise self._refused(
            TracerIntegerError,
            "a Python int",
            "Mark the argument static with `static_argnums`, or loop with `pullback.fori_loop`.",
        )

    __index__ = __int__

    def __float__(self) -> float:
        raise self._refused(
            TracerArrayError,
            "a Python float",
            "Use the function of `pullback` in place of `math`, or return the value from the `jit` "
            "function.",
        )

    def __complex__(self) -> complex:
        raise self._refused(
            TracerArrayError, "a Python complex", "Return it and convert it outside."
        )

    def __format__(self, spec: str) -> str:
        if not spec:
            return repr(self)
        raise self._refused(
            TracerArrayError,
            f"text in the format {spec!r}",
            "Return the value and print it outside `jit`.",
        )

    def item(self) -> Any:
        """Refused: a traced value has none."""
        raise self._refused(
            TracerArrayError,
            "Python numbers, by `.item()` or `.tolist()`",
            "Return it from the function and take `.item()` outside.",
        )

    tolist = item


class Recorder(Protocol):
    """What wants to hear of every application of a primitive (a gradient tape)."""

    builder: Builder | None

    def record(
        self, primitive: Primitive, inputs: tuple[Value, ...], outputs: tuple[Value, ...]
    ) -> None:
        """Note one application; called in order."""
        ...

    def tracks(self, value: Value) -> bool:
        """Whether a derivative with respect to ``value`` may be asked for."""
        ...


class _Stacks(threading.local):
    def __init__(self) -> None:
        self.builders: list[Builder] = []
        self.recorders: list[Recorder] = []


STACKS = _Stacks()


@contextlib.contextmanager
def outside_traces() -> Iterator[None]:
    """A block that runs as if this thread neither traced nor recorded anything."""
    builders, recorders = STACKS.builders, STACKS.recorders
    STACKS.builders, STACKS.recorders = [], []
    try:
        yield
    finally:
        STACKS.builders, STACKS.recorders = builders, recorders


def current_builder() -> Builder | None:
    """The innermost builder that is recording in this thread, or None in eager mode."""
    return STACKS.builders[-1] if STACKS.builders else None


def is_tracked_outside(x: Value, builder: Builder) -> bool:
    """Whether a recorder outside ``builder`` tracks ``x``: then it must stay an operand."""
    return any(r.builder is not builder and r.tracks(x) for r in STACKS.recorders)


def as_value(x: Any) -> Value:
    """Return ``x`` as a Value: NumPy arrays and Python scalars become ``Array``."""
    if isinstance(x, Value):
        return x.read()
    if isinstance(x, (bool, int, float)) and not isinstance(x, np.generic):
        return Array(np.asarray(x, default_dtype(x)), weak=True)
    read = getattr(x, "__pullback_value__", None)
    if read is not None:  # a variable of another library: its array alone would cut derivatives
        return as_value(read())
    data = np.asarray(x)
    return Array(data.astype(as_dtype(data.dtype), copy=False))


def bind(primitive: Primitive, *args: Any) -> Any:
    """Apply ``primitive`` to ``args``: evaluate now, or record in the innermost builder.

    Returns:
        A Value, or a tuple of Values when the primitive has several outputs.
    """
    inputs = tuple(as_value(a) for a in args)
    builder = current_builder()
    if builder is None:
        outputs, several = _evaluate(primitive, inputs)
    else:
        outputs, several = builder.bind(primitive, inputs)
    for recorder in STACKS.recorders:
        if recorder.builder is builder:
            recorder.record(primitive, inputs, outputs)
    return outputs if several else outputs[0]


def _evaluate(primitive: Primitive, inputs: tuple[Value, ...]) -> tuple[tuple[Value, ...], bool]:
    for x in inputs:
        if isinstance(x, Tracer):
            raise leaked(x)
    types = primitive.infer(*(x.type for x in inputs))
    with np.errstate(all="ignore"):
        result = primitive.evaluate(*(x._data for x in inputs))
    if isinstance(types, tuple):
        return tuple(Array(np.asarray(r)) for r in result), True
    return (Array(np.asarray(result, types.dtype)),), False


def leaked(x: Tracer) -> LeakedTracerError:
    """The error for a tracer used outside the trace that made it."""
    return LeakedTracerError(
        f"a traced value of type {x.type} was used after the traced function had returned. It was "
        "probably stored in a global, an attribute or a list: return it instead."
    )
