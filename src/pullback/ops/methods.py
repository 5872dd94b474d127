"""Methods and properties of values, by NumPy's names: fills ``METHODS``.

Imports every chapter of ``ops``; ``primitives.operators`` has put the arithmetic there already.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from pullback.ops import (
    dtypes,
    elementwise,
    indexing,
    linear_algebra,
    manipulation,
    rearrange,
    searching,
    sorting,
    statistical,
    utility,
)
from pullback.ops.arguments import CPU, check_device
from pullback.ops.constants import __array_api_version__
from pullback.ops.conversion import array
from pullback.program.value import METHODS, PROPERTIES, Value

#: Editions of the standard that ``__array_namespace__`` can be asked for.
_API_VERSIONS = ("2021.12", "2022.12", "2023.12", __array_api_version__)


def _array_namespace(x: Value, *, api_version: str | None = None) -> ModuleType:
    if api_version is not None and api_version not in _API_VERSIONS:
        raise ValueError(
            f"edition {api_version!r} of the Array API standard is not supported; expected one of "
            f"{', '.join(_API_VERSIONS)}"
        )
    return sys.modules["pullback"]


def _reshape(x: Value, *shape: Any, copy: bool | None = None) -> Value:
    lengths = shape[0] if len(shape) == 1 else shape
    return manipulation.reshape(x, lengths, copy=copy)


def _transpose(x: Value, *axes: Any) -> Value:
    order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes
    return manipulation.transpose(x, order or None)


def _opposite(x: Value) -> Value:
    return manipulation.transpose(x)


def _at(x: Value) -> indexing.IndexedArray:
    return indexing.IndexedArray(x)


def _device(x: Value) -> str:
    return CPU


def _nbytes(x: Value) -> int:
    return x.type.nbytes


def _itemsize(x: Value) -> int:
    return x.dtype.itemsize


def _to_device(x: Value, device: Any, /, *, stream: Any = None) -> Value:
    check_device(device)
    if stream is not None:
        raise ValueError(f"to_device: stream {stream!r}; the CPU has none: expected None")
    return x


def _copy(x: Value) -> Value:
    return array(x)


def _numpy(x: Value) -> Any:
    # As TensorFlow's: without axes it is a scalar of NumPy.
    return np.asarray(x)[()]


def _block_until_ready(x: Value) -> Value:
    return x


def _without_out(function: Callable[..., Any]) -> Callable[..., Any]:
    """Accept what NumPy's functions pass on to the method of the same name: None means default."""

    @functools.wraps(function)
    def method(x: Value, *args: Any, out: None = None, **kwargs: Any) -> Any:
        if out is not None:
            raise TypeError(f"{function.__name__}: arrays are immutable: `out` must be None")
        return function(x, *args, **{k: v for k, v in kwargs.items() if v is not None})

    return method


_METHODS: dict[str, Callable[..., Any]] = {
    "T": _opposite,
    "__array_namespace__": _array_namespace,
    "__getitem__": indexing.getitem,
    "all": utility.all,
    "any": utility.any,
    "argmax": searching.argmax,
    "argmin": searching.argmin,
    "argsort": sorting.argsort,
    "astype": dtypes.astype,
    "at": _at,
    "block_until_ready": _block_until_ready,
    "clip": elementwise.clip,
    "conj": elementwise.conj,
    "copy": _copy,
    "cumprod": statistical.cumprod,
    "cumsum": statistical.cumsum,
    "device": _device,
    "diagonal": linear_algebra.diagonal,
    "dot": linear_algebra.dot,
    "flatten": rearrange.flatten,
    "imag": elementwise.imag,
    "itemsize": _itemsize,
    "mT": linear_algebra.matrix_transpose,
    "matmul": linear_algebra.matmul,
    "max": statistical.max,
    "mean": statistical.mean,
    "min": statistical.min,
    "nbytes": _nbytes,
    "nonzero": searching.nonzero,
    "numpy": _numpy,
    "prod": statistical.prod,
    "ptp": statistical.ptp,
    "ravel": rearrange.ravel,
    "real": elementwise.real,
    "repeat": manipulation.repeat,
    "reshape": _reshape,
    "round": elementwise.round,
    "searchsorted": searching.searchsorted,
    "sort": sorting.sort,
    "squeeze": manipulation.squeeze,
    "std": statistical.std,
    "sum": statistical.sum,
    "swapaxes": manipulation.swapaxes,
    "take": indexing.take,
    "to_device": _to_device,
    "trace": linear_algebra.trace,
    "transpose": _transpose,
    "var": statistical.var,
    "view": dtypes.bitcast,
}
_CALLED_BY_NUMPY = (
    "all", "any", "argmax", "argmin", "clip", "cumprod", "cumsum", "max", "mean", "min", "prod",
    "ptp", "round", "std", "sum", "take", "trace", "var",
)  # fmt: skip
_METHODS.update((name, _without_out(_METHODS[name])) for name in _CALLED_BY_NUMPY)
METHODS.update(_METHODS)
PROPERTIES.update({"T", "mT", "at", "device", "imag", "itemsize", "nbytes", "real"})
