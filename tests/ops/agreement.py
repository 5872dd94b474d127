"""How the namespace is compared with array-api-strict: same function, same operands, same result.

Start at ``check``. Every call is also traced and interpreted: that must give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_strict as strict
import numpy as np

import pullback as pb
from pullback.program.builder import Builder
from pullback.program.value import Value
from pullback.types import type_of

strict.set_array_api_strict_flags(api_version="2024.12")

#: What strict's dtypes may be here, besides the same: its defaults have 64 bits, ours 32.
NARROWER = {"int64": "int32", "uint64": "uint32", "float64": "float32"}

#: Where a function's result has a default dtype, whatever its operands have.
DEFAULT = "default"
#: Where the result has the dtype of an operand.
SAME = "same"


def mapped(function: Callable[[np.ndarray], Any], x: Any) -> Any:
    """Apply a function to the NumPy arrays in nested tuples, lists and dicts."""
    if isinstance(x, np.ndarray):
        return function(x)
    if isinstance(x, (tuple, list)):
        return type(x)(mapped(function, item) for item in x)
    if isinstance(x, dict):
        return {key: mapped(function, item) for key, item in x.items()}
    return x


def function_of(namespace: Any, name: str) -> Callable[..., Any]:
    """Return the function of a dotted name, such as ``linalg.inv``."""
    for part in name.split("."):
        namespace = getattr(namespace, part)
    return namespace


def leaves(x: Any) -> list[Any]:
    """Return the arrays in a result, in order."""
    if isinstance(x, (tuple, list)):
        return [leaf for item in x for leaf in leaves(item)]
    return [x]


def in_strict(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[np.ndarray]:
    """Return what array-api-strict computes, as NumPy arrays."""
    with np.errstate(all="ignore"):
        result = function_of(strict, name)(
            *mapped(strict.asarray, args), **mapped(strict.asarray, kwargs)
        )
    return [np.asarray(x._array) if hasattr(x, "_array") else x for x in leaves(result)]


def traced(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[np.ndarray]:
    """Return what the program computes that ``function`` traces to."""
    inputs: list[np.ndarray] = []
    with Builder() as b:

        def add(x: np.ndarray) -> Any:
            inputs.append(x)
            return b.input(type_of(x))

        outputs = leaves(function(*mapped(add, args), **mapped(add, kwargs)))
    program = b.finish(outputs)
    results = program(*inputs, *map(np.asarray, b.captures))
    return [np.asarray(x) for x in (results if isinstance(results, tuple) else (results,))]


def check(
    name: str,
    *args: Any,
    ulp: float = 4.0,
    atol: float = 0.0,
    dtype: str = SAME,
    eager_only: bool = False,
    **kwargs: Any,
) -> None:
    """Require that ``name`` gives here what it gives in array-api-strict.

    Args:
        name: The function.
        args: Its operands; NumPy arrays stand for arrays.
        ulp: Largest distance of a floating result, in units in the last place.
        atol: Distance that is allowed in any case.
        dtype: ``SAME``, or ``DEFAULT`` where strict's 64-bit default stands for our 32-bit one.
        eager_only: Whether the function needs elements, so that it cannot be traced.
        kwargs: Its keyword arguments.
    """
    function = function_of(pb, name)
    expected = in_strict(name, args, kwargs)
    with np.errstate(all="ignore"):
        found = leaves(function(*mapped(pb.asarray, args), **mapped(pb.asarray, kwargs)))
        again = [] if eager_only else traced(function, args, kwargs)
    assert len(found) == len(expected)
    for x, y in zip(found, expected, strict=True):
        assert isinstance(x, Value)
        check_array(np.asarray(x), y, ulp=ulp, atol=atol, dtype=dtype)
    for x, y in zip(found, again, strict=not eager_only):
        assert same_bits(np.asarray(x), y), f"traced {y!r}, eager {x!r}"


def check_array(
    actual: np.ndarray, expected: np.ndarray, *, ulp: float, atol: float = 0.0, dtype: str = SAME
) -> None:
    """Require shape, dtype and elements of ``expected``."""
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    allowed = {expected.dtype.name}
    if dtype == DEFAULT:
        allowed.add(NARROWER.get(expected.dtype.name, expected.dtype.name))
    assert actual.dtype.name in allowed, f"dtype {actual.dtype}, expected {expected.dtype}"
    if actual.dtype.kind != "f":
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(actual, expected.astype(actual.dtype))
        return
    with np.errstate(all="ignore"):
        y = expected.astype(actual.dtype)
        bound = np.maximum(ulp * np.spacing(np.abs(np.where(np.isfinite(y), y, 0))), atol)
        good = (actual == y) | (np.isnan(actual) & np.isnan(y)) | (np.abs(actual - y) <= bound)
    assert good.all(), f"{actual[~good][:3]} instead of {y[~good][:3]}"


def same_bits(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two arrays are equal to the bit; nans are equal."""
    if x.shape != y.shape or x.dtype != y.dtype:
        return False
    if x.dtype.kind == "f":
        equal = (x == y) & (np.signbit(x) == np.signbit(y))
        return bool((equal | (np.isnan(x) & np.isnan(y))).all())
    return bool((x == y).all())
