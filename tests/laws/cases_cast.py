"""Cases of conversions: values between all pairs of dtypes, and bits between equal widths."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
from case import Case, NDArray, normal
from families import given_as, specials

from pullback.primitives.cast import Bitcast, Convert
from pullback.types import (
    ANY,
    BITS,
    BOOLEAN,
    FLOAT8,
    FLOATING,
    SHORT_NAMES,
    DType,
    bfloat16,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)

NARROW = FLOAT8 | {float16, bfloat16}
ALL = sorted(ANY, key=lambda d: list(SHORT_NAMES).index(d))


def _sample(dtype: DType) -> NDArray:
    values = [specials(dtype)]
    if dtype in FLOATING:
        near = [0.4, -0.6, 1.999, -7.5, 127.5, 128.0, 255.9, 256.5, 32767.5, 65535.9, 65520.0]
        near += [1.0625, 464.0, 464.1, -480.0, 61439.0, 61440.0, 2.0**-10, 3 * 2.0**-10, 2.0**-17]
        # Between a tie of a narrow dtype and what float32 can tell from it: rounded twice.
        near += [1 + 2.0**-4 + 2.0**-40, 1 + 2.0**-8 + 2.0**-40, 1 + 2.0**-11 + 2.0**-40]
        near += [-128.5, -129.0, 2.0**31, -(2.0**31), 2.0**32, 2.0**53, 2.0**63, -(2.0**63), 1e20]
        with np.errstate(over="ignore"):
            values.append(np.array(near).astype(dtype))
    elif dtype not in BOOLEAN:
        limits = np.iinfo(dtype)
        candidates = (3, 127, 128, 255, 256, 4097, 65537, 2**24 + 1, 2**53 + 1, -128, -129)
        values.append(np.array([v for v in candidates if limits.min <= v <= limits.max], dtype))
    return np.concatenate(values)


def _to_integer(value: Any, source: DType, dtype: DType) -> int:
    limits = np.iinfo(dtype)
    if source in BITS:
        wrapped = int(value) % 2**limits.bits
        return wrapped - 2**limits.bits if wrapped > limits.max else wrapped
    number = float(value)
    if math.isnan(number):
        return 0
    if math.isinf(number):
        return int(limits.max if number > 0 else limits.min)
    return min(max(int(number), int(limits.min)), int(limits.max))


def nearest(value: Any, dtype: DType) -> float:
    """Round an exact number to the nearest of ``dtype``, ties to even, in rational arithmetic."""
    number = float(value) if not isinstance(value, (int, np.integer)) else int(value)
    if isinstance(number, float) and (math.isnan(number) or math.isinf(number) or number == 0):
        return math.nan if math.isinf(number) and dtype == float8_e4m3fn else number
    info = ml_dtypes.finfo(dtype)
    exact = abs(Fraction(number))
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    exponent += 0 if exact >= Fraction(2) ** exponent else -1
    exponent = max(exponent, int(info.minexp)) if exact else int(info.minexp)
    unit = Fraction(2) ** (exponent - int(info.nmant))
    rounded = round(exact / unit) * unit  # Python rounds fractions half to even
    beyond = rounded > Fraction(float(info.max))
    largest = math.nan if dtype == float8_e4m3fn else math.inf
    return math.copysign(largest if beyond else float(rounded), number)


def _to_float(value: Any, source: DType, dtype: DType) -> float:
    exact = int(value) if source in BITS else float(value)
    if dtype in NARROW and source != dtype:
        return nearest(nearest(exact, float32), dtype)  # by way of float32, as documented
    return nearest(exact, dtype)


def _reference(dtype: DType) -> Callable[[NDArray], NDArray]:
    def reference(x: NDArray) -> NDArray:
        if dtype in BOOLEAN:
            return np.array([float(v) != 0 for v in x.flat], bool).reshape(x.shape)
        one = _to_float if dtype in FLOATING else _to_integer
        values = [one(v, x.dtype, dtype) for v in x.flat]
        wide = np.float64 if dtype in FLOATING else dtype
        return np.array(values, wide).reshape(x.shape)

    return reference


def _convert_cases() -> list[Case]:
    cases = [
        Case(
            Convert(dtype),
            given_as(_sample(source)),
            _reference(dtype),
            label=SHORT_NAMES[dtype],
            orders=(),
            exact_zeros=True,
        )
        for source in ALL
        for dtype in ALL
    ]
    for shape in ((), (0, 3), (2, 3)):
        cases.append(Case(Convert(float64), normal(shape), lambda x: x, label="f64"))
    return cases


def _bytes_as(dtype: DType) -> Callable[[NDArray], NDArray]:
    def reference(x: NDArray) -> NDArray:
        return np.frombuffer(x.tobytes(), dtype).reshape(x.shape)

    return reference


def _bitcast_cases() -> list[Case]:
    pairs = [(float32, int32), (int32, float32), (uint32, float32), (float64, uint64)]
    pairs += [(int64, float64), (float16, uint16), (bfloat16, int16), (uint16, bfloat16)]
    pairs += [(bfloat16, float16), (int32, uint32)]
    for float8 in sorted(FLOAT8, key=str):
        pairs += [(float8, uint8), (uint8, float8), (int8, float8)]
    pairs += [(float8_e4m3fn, float8_e5m2)]
    cases = [
        Case(
            Bitcast(target),
            given_as(
                np.arange(256).astype(np.uint8).view(source)
                if source.itemsize == 1
                else np.array([0, 1, 0x3F80, 0x4049, 0x7C00]).astype(source)
            ),
            _bytes_as(target),
            exact_zeros=True,
            label=SHORT_NAMES[target],
        )
        for source, target in pairs
    ]
    for x in (np.asarray(1.5), np.zeros((0, 2)), np.ones((1,))):
        cases.append(Case(Bitcast(int64), given_as(x), _bytes_as(int64), label="i64"))
    return cases


CASES: list[Case] = [*_convert_cases(), *_bitcast_cases()]
