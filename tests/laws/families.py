"""Makes the usual cases of an elementwise primitive: dtypes, shapes, scalars, special values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from case import Case, MakeArgs, NDArray, integers, uniform

from pullback.program.primitive import Primitive
from pullback.types import BOOLEAN, FLOATING, SIGNED, DType, bfloat16, float16, float32, float64

#: Shapes of the operands: rank 0, no element, one element, several.
SHAPES: tuple[tuple[int, ...], ...] = ((), (0, 3), (1,), (2, 3))


def specials(dtype: DType) -> NDArray:
    """Return the special values of ``dtype``: zeros, ones, infinities, nan, extremes."""
    if dtype in BOOLEAN:
        return np.array([False, True])
    if dtype not in FLOATING:
        limits = np.iinfo(dtype)
        values = [0, 1, 2, 5, limits.max, limits.max - 1, limits.min]
        return np.array(values + ([-1, -2, -7] if dtype in SIGNED else []), dtype)
    info = ml_dtypes.finfo(dtype)
    positive = [0.0, 1.0, np.inf, 0.5, 1.5, 2.5, float(info.max), float(info.smallest_normal)]
    positive.append(float(info.smallest_subnormal))
    signed = [sign * x for x in positive for sign in (1.0, -1.0)]
    return np.array([*signed, np.nan], np.float64).astype(dtype)


def special_pairs(dtype: DType) -> tuple[NDArray, NDArray]:
    """Return all pairs of special values, as two arrays of one axis."""
    x = specials(dtype)
    return np.repeat(x, x.size), np.tile(x, x.size)


def wide(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the reference that applies ``function`` in long double."""

    def reference(*arrays: NDArray) -> NDArray:
        return np.asarray(function(*(_float(x).astype(np.longdouble) for x in arrays)))

    return reference


def in_float64(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the reference that applies ``function`` in float64."""

    def reference(*arrays: NDArray) -> NDArray:
        return np.asarray(function(*(x.astype(np.float64) for x in arrays)))

    return reference


def _float(x: NDArray) -> NDArray:
    return x.astype(np.float32) if x.dtype == bfloat16 else x


def float_cases(
    primitive: Primitive,
    reference: Callable[..., Any],
    *domains: tuple[float, float],
    ulp: float,
    special: bool = True,
    orders: tuple[int, ...] = (1, 2),
    atol: dict[DType, float] | None = None,
    exact_zeros: bool = True,
    notes: str = "",
) -> list[Case]:
    """Return cases in all floating dtypes, with operands uniform in ``domains``.

    float64 ``[2,3]`` and ``[]`` are differentiated; with two operands also a rank-0 one beside an
    array.
    """
    atol = atol or {}

    def case(dtype: DType, make_args: MakeArgs, label: str, **options: Any) -> Case:
        return Case(
            primitive,
            make_args,
            reference,
            notes=notes,
            ulp=ulp,
            atol=atol.get(dtype, 0.0),
            label=label,
            exact_zeros=exact_zeros,
            **options,
        )

    found = []
    for shape in SHAPES:
        for dtype in (float64, float32) if shape else (float64,):
            make_args = mixed(domains, [shape] * len(domains), dtype)
            found.append(case(dtype, make_args, "", orders=orders))
    for dtype in (float16, bfloat16):
        found.append(case(dtype, mixed(domains, [(7,)] * len(domains), dtype), "", orders=()))
    if len(domains) > 1:
        for shapes in ([(3,), *[()] * (len(domains) - 1)], [(), *[(3,)] * (len(domains) - 1)]):
            make_args = mixed(domains, shapes, float64)
            found.append(case(float64, make_args, "scalar", orders=orders))
    if special:
        for dtype in (float64, float32, float16, bfloat16):
            values = special_pairs(dtype) if len(domains) == 2 else (specials(dtype),)
            found.append(case(dtype, given_as(*values), "special", orders=()))
    return found


def mixed(
    domains: tuple[tuple[float, float], ...], shapes: list[tuple[int, ...]], dtype: DType
) -> MakeArgs:
    """Return a maker of one operand uniform in each domain."""

    def make(rng: np.random.Generator) -> tuple[NDArray, ...]:
        makers = zip(domains, shapes, strict=True)
        return tuple(
            uniform(low, high, shape, dtype=dtype)(rng)[0] for (low, high), shape in makers
        )

    return make


def given_as(*arrays: NDArray) -> MakeArgs:
    """Return a maker of these arrays."""

    def make(rng: np.random.Generator) -> tuple[NDArray, ...]:
        return arrays

    return make


def integer_cases(
    primitive: Primitive,
    reference: Callable[..., Any],
    dtypes: list[DType],
    *,
    arity: int,
) -> list[Case]:
    """Return exact cases in integer (or bool) dtypes: all special values, and small ones."""
    found = []
    for dtype in dtypes:
        values = special_pairs(dtype) if arity == 2 else (specials(dtype),)
        found.append(Case(primitive, given_as(*values), reference, label="special"))
        low = -5 if dtype in SIGNED else 0
        high = 2 if dtype in BOOLEAN else 6
        shapes: list[tuple[int, ...]] = [(0, 3)] * arity
        found.append(Case(primitive, integers(low, high, *shapes, dtype=dtype), reference))
        shapes = [(2, 3), (), (2, 3)][:arity]
        found.append(Case(primitive, integers(low, high, *shapes, dtype=dtype), reference))
    return found


def wrapped(function: Callable[..., int]) -> Callable[..., Any]:
    """Return the reference that applies a function of Python integers and wraps the result."""

    def one(*values: Any) -> int:
        return function(*map(int, values))

    def reference(*arrays: NDArray) -> NDArray:
        dtype = arrays[0].dtype
        out = np.broadcast_shapes(*(x.shape for x in arrays))
        result = np.empty(out, dtype)
        for index, values in zip(
            np.ndindex(out),
            zip(*(np.broadcast_to(x, out).flat for x in arrays), strict=True),
            strict=True,
        ):
            result[index] = _wrap(one(*values), dtype)
        return result

    return reference


def _wrap(value: int, dtype: DType) -> Any:
    if dtype in BOOLEAN:
        return bool(value)
    width = dtype.itemsize * 8
    bits = value % 2**width
    return bits - 2**width if dtype in SIGNED and bits >= 2 ** (width - 1) else bits
