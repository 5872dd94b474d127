"""Complex tensors: NumPy evaluates their operations at once; programs and derivatives have none.

The engine knows no complex dtypes. ``ops.core`` converts to a ``ComplexArray`` what asks for one;
``ops.numpy`` lends the functions named here NumPy's, for operands of which one is complex.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras.src.backend.common import KerasVariable, standardize_dtype
from numpy.lib.mixins import NDArrayOperatorsMixin

import pullback as pb
from pullback.program.value import STACKS, Array, Value, current_builder

#: Functions whose meaning is NumPy's where an operand is complex.
FUNCTIONS = (
    *("add", "subtract", "multiply", "divide", "true_divide", "power", "matmul", "vdot", "dot"),
    *("inner", "outer", "tensordot", "einsum", "sum", "mean", "prod", "abs", "absolute"),
    *("negative", "square", "sqrt", "reciprocal", "exp", "log", "sin", "cos", "tan", "sinh"),
    *("cosh", "tanh", "real", "imag", "conj", "conjugate", "angle", "isreal", "isfinite"),
    *("isinf", "isnan", "equal", "not_equal", "isclose", "allclose", "logical_and"),
    *("logical_or", "logical_xor", "logical_not", "reshape", "transpose", "moveaxis"),
    *("swapaxes", "expand_dims", "squeeze", "ravel", "flip", "concatenate", "stack", "copy"),
    *("zeros", "ones", "full", "zeros_like", "ones_like", "full_like"),
)
#: The dtypes by their names in Keras.
DTYPES: dict[str, np.dtype[Any]] = {
    "complex64": np.dtype(np.complex64),
    "complex128": np.dtype(np.complex128),
}


class ComplexOperandError(TypeError, ValueError):
    """A complex number came to where there are none; functions above turn to NumPy then."""


class ComplexArray(NDArrayOperatorsMixin):
    """A tensor of complex64 or complex128, which never changes.

    Args:
        data: NumPy array ``[...]`` of such a dtype. It is kept, and made read-only.
    """

    def __init__(self, data: np.ndarray[Any, Any]) -> None:
        self._data = data
        self._data.flags.writeable = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._data.shape

    @property
    def dtype(self) -> Any:
        """Element dtype."""
        return self._data.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self._data.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self._data.size

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        data = self._data if dtype is None else self._data.astype(dtype, copy=False)
        return data.copy() if copy else data

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs:
            return NotImplemented
        return evaluate(ufunc, *inputs)

    def __pullback_value__(self) -> Any:
        """Refuse to become an operand of the engine.

        Raises:
            ComplexOperandError: always.
        """
        raise refusal(self)

    def __getitem__(self, key: Any) -> Any:
        return evaluate(lambda data: data[key], self)

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __complex__(self) -> complex:
        return complex(self._data)

    def __repr__(self) -> str:
        text = np.array2string(self._data, separator=", ", prefix="ComplexArray(", threshold=200)
        return f"ComplexArray({text}, {self.dtype})"


class ComplexVariable:
    """What a Keras variable of a complex dtype holds, in the place of a ``pullback.Variable``."""

    def __init__(self, value: ComplexArray) -> None:
        self._value = value

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes."""
        return self._value.shape

    def read(self) -> ComplexArray:
        """Return what it holds.

        Raises:
            ComplexOperandError: a program is traced, which would keep today's value for good.
        """
        if current_builder() is not None:
            raise refusal(self._value)
        return self._value

    def assign(self, value: Any) -> None:
        """Hold another value, which is cast to the dtype of the first."""
        self._value = complex_tensor(value, self._value.dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self._value.__array__(dtype, copy)


def refusal(x: Any) -> ComplexOperandError:
    """Return the error for a complex number where the engine would need it."""
    what = x if isinstance(x, str) else f"{x!r:.80}"
    if isinstance(x, (ComplexArray, np.ndarray)):
        what = f"{x.dtype}[{','.join(map(str, x.shape))}]"
    elif isinstance(x, Value):
        what = f"{x.type}, to be cast"
    return ComplexOperandError(
        f"got {what}: complex tensors exist with the pullback backend outside of compiled "
        "functions and derivatives alone, where arithmetic and some more of keras.ops take them. "
        "Give real and imaginary part as two tensors, as keras.ops.fft does; "
        "keras.ops.view_as_real makes one of both"
    )


def real_dtype(dtype: Any) -> Any:
    """Return Keras's name of ``dtype``, or raise ``ComplexOperandError`` for a complex one."""
    name = standardize_dtype(dtype)
    if name in DTYPES:
        raise refusal(name)
    return name


def is_complex(x: Any) -> bool:
    """Whether ``x`` is a complex number, array or tensor."""
    if isinstance(x, Value):
        return False
    return isinstance(x, complex) or getattr(getattr(x, "dtype", None), "kind", "") == "c"


def complex_tensor(x: Any, dtype: Any = None) -> Any:
    """``x`` as a complex tensor; in a real ``dtype``, its real part as a tensor of the engine.

    Raises:
        ComplexOperandError: ``x`` is traced, or a derivative with respect to it may be asked for.
    """
    data = _host(x)
    if dtype is not None and np.dtype(dtype).kind != "c":
        return pb.asarray(np.array(data.real, dtype))
    if dtype is None and not hasattr(x, "dtype"):
        dtype = DTYPES["complex64"]  # of Python numbers
    return ComplexArray(np.array(data, dtype))


def _host(x: Any) -> Any:
    """Return a tensor, a variable or a structure of them as NumPy has it."""
    if isinstance(x, KerasVariable):
        x = x.value
    if isinstance(x, (list, tuple)):
        return np.asarray([_host(part) for part in x])
    if isinstance(x, Value):
        is_watched = any(recorder.tracks(x) for recorder in STACKS.recorders)
        if is_watched or not isinstance(x.read(), Array):
            raise refusal(x)
    return np.asarray(x)


def evaluate(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function of NumPy on tensors, at once.

    Arrays among the arguments are cast to one complex dtype first: complex64 unless one of them
    has 128 bits, or float64, as Keras promotes. Arguments of other kinds stay as they are.

    Returns:
        A ``ComplexArray``, or for a real result a tensor of the engine.
    """
    wide = any(map(_is_wide, (*args, *kwargs.values())))
    dtype = DTYPES["complex128" if wide else "complex64"]
    with np.errstate(all="ignore"):
        found = function(
            *(_operand(x, dtype) for x in args),
            **{name: _operand(x, dtype) for name, x in kwargs.items()},
        )
    data: np.ndarray[Any, Any] = np.asarray(found)
    return ComplexArray(data.astype(dtype)) if data.dtype.kind == "c" else pb.asarray(data)


def _is_tensor(x: Any) -> bool:
    return isinstance(x, (Value, ComplexArray, KerasVariable, np.ndarray))


def _is_wide(x: Any) -> bool:
    if isinstance(x, (list, tuple)):
        return any(map(_is_wide, x))
    return str(getattr(x, "dtype", x)) in ("complex128", "float64")


def _operand(x: Any, dtype: Any) -> Any:
    if isinstance(x, (list, tuple)) and any(map(_is_tensor, x)):
        return [_operand(part, dtype) for part in x]
    return np.asarray(_host(x), dtype) if _is_tensor(x) else x
