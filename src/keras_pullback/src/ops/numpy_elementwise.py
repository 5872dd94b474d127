"""Elementwise functions of one tensor, with Keras's dtype rules.

Fractional results of integers and booleans are ``floatx``; rounding functions keep what Keras
says they keep.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from keras.src.backend import config, standardize_dtype

import pullback as pb
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.numpy_common import floating, is_floating, to, without_bool


def arccos(x: Any) -> Any:
    """Return the inverse cosine, elementwise."""
    return pb.arccos(floating(x))


def arccosh(x: Any) -> Any:
    """Return the inverse hyperbolic cosine, elementwise."""
    return pb.arccosh(floating(x))


def arcsin(x: Any) -> Any:
    """Return the inverse sine, elementwise."""
    return pb.arcsin(floating(x))


def arcsinh(x: Any) -> Any:
    """Return the inverse hyperbolic sine, elementwise."""
    return pb.arcsinh(floating(x))


def arctan(x: Any) -> Any:
    """Return the inverse tangent, elementwise."""
    return pb.arctan(floating(x))


def arctanh(x: Any) -> Any:
    """Return the inverse hyperbolic tangent, elementwise."""
    return pb.arctanh(floating(x))


def cbrt(x: Any) -> Any:
    """Return the cube root, elementwise."""
    return pb.cbrt(floating(x))


def ceil(x: Any) -> Any:
    """Return the smallest integers not below ``x``, as floats, elementwise."""
    return pb.ceil(floating(x))


def cos(x: Any) -> Any:
    """Return the cosine, elementwise."""
    return pb.cos(floating(x))


def cosh(x: Any) -> Any:
    """Return the hyperbolic cosine, elementwise."""
    return pb.cosh(floating(x))


def deg2rad(x: Any) -> Any:
    """Return the radians of an angle in degrees, elementwise."""
    return pb.deg2rad(floating(x))


def exp(x: Any) -> Any:
    """Return the exponential, elementwise."""
    return pb.exp(floating(x))


def exp2(x: Any) -> Any:
    """Return the power of two, elementwise."""
    return pb.exp2(floating(x))


def expm1(x: Any) -> Any:
    """Return the exponential less one, elementwise."""
    return pb.expm1(floating(x))


def floor(x: Any) -> Any:
    """Return the largest integers not above ``x``, as floats, elementwise."""
    return pb.floor(floating(x))


def log(x: Any) -> Any:
    """Return the natural logarithm, elementwise."""
    return pb.log(floating(x))


def log10(x: Any) -> Any:
    """Return the decimal logarithm, elementwise."""
    return pb.log10(floating(x))


def log1p(x: Any) -> Any:
    """Return the natural logarithm of one plus ``x``, elementwise."""
    return pb.log1p(floating(x))


def log2(x: Any) -> Any:
    """Return the binary logarithm, elementwise."""
    return pb.log2(floating(x))


def rad2deg(x: Any) -> Any:
    """Return the degrees of an angle in radians, elementwise."""
    return pb.rad2deg(floating(x))


def sin(x: Any) -> Any:
    """Return the sine, elementwise."""
    return pb.sin(floating(x))


def sinc(x: Any) -> Any:
    """Return the normalized sinc, elementwise."""
    return pb.sinc(floating(x))


def sinh(x: Any) -> Any:
    """Return the hyperbolic sine, elementwise."""
    return pb.sinh(floating(x))


def sqrt(x: Any) -> Any:
    """Return the square root, elementwise."""
    return pb.sqrt(floating(x))


def tan(x: Any) -> Any:
    """Return the tangent, elementwise."""
    return pb.tan(floating(x))


def tanh(x: Any) -> Any:
    """Return the hyperbolic tangent, elementwise."""
    return pb.tanh(floating(x))


def absolute(x: Any) -> Any:
    """Return the absolute value, elementwise; a boolean stays itself."""
    x = real_tensor(x)
    return x if x.dtype == np.bool_ else pb.absolute(x)


def abs(x: Any) -> Any:
    """Return the absolute value, elementwise."""
    return absolute(x)


def fabs(x: Any) -> Any:
    """Return the absolute value as a float, elementwise."""
    return pb.absolute(floating(x))


def angle(x: Any) -> Any:
    """Return the angle of a real number in the complex plane: 0, or pi for negatives."""
    x = floating(x)
    turned = pb.where(pb.signbit(x), pb.full_like(x, np.pi), pb.zeros_like(x))
    return pb.where(pb.isnan(x), x, turned)


def conjugate(x: Any) -> Any:
    """Return ``x``: a real number is its own conjugate."""
    return real_tensor(x)


def conj(x: Any) -> Any:
    """Return ``x``: a real number is its own conjugate."""
    return conjugate(x)


def real(x: Any) -> Any:
    """Return the real part, which is ``x``."""
    return real_tensor(x)


def imag(x: Any) -> Any:
    """Return the imaginary part, which is zero."""
    return pb.zeros_like(real_tensor(x))


def isreal(x: Any) -> Any:
    """Return true everywhere: there are no complex tensors."""
    return pb.ones_like(real_tensor(x), dtype="bool")


def copy(x: Any) -> Any:
    """Return a copy of ``x``."""
    return pb.asarray(real_tensor(x), copy=True)


def isfinite(x: Any) -> Any:
    """Say of each element whether it is neither infinite nor NaN."""
    x = real_tensor(x)
    return pb.isfinite(x) if is_floating(x) else pb.ones_like(x, dtype="bool")


def isinf(x: Any) -> Any:
    """Say of each element whether it is infinite."""
    x = real_tensor(x)
    return pb.isinf(x) if is_floating(x) else pb.zeros_like(x, dtype="bool")


def isnan(x: Any) -> Any:
    """Say of each element whether it is NaN."""
    x = real_tensor(x)
    return pb.isnan(x) if is_floating(x) else pb.zeros_like(x, dtype="bool")


def isneginf(x: Any) -> Any:
    """Say of each element whether it is negative infinity."""
    x = real_tensor(x)
    return pb.equal(x, -np.inf) if is_floating(x) else pb.zeros_like(x, dtype="bool")


def isposinf(x: Any) -> Any:
    """Say of each element whether it is positive infinity."""
    x = real_tensor(x)
    return pb.equal(x, np.inf) if is_floating(x) else pb.zeros_like(x, dtype="bool")


def logical_not(x: Any) -> Any:
    """Return the negation of the truth of each element."""
    return pb.logical_not(real_tensor(x))


def bitwise_invert(x: Any) -> Any:
    """Return the bits inverted, elementwise."""
    return pb.bitwise_invert(real_tensor(x))


def bitwise_not(x: Any) -> Any:
    """Return the bits inverted, elementwise."""
    return bitwise_invert(x)


def nan_to_num(x: Any, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    """Replace NaN and infinities by numbers, the extremes of the dtype by default."""
    x = real_tensor(x)
    return pb.nan_to_num(x, nan, posinf, neginf) if is_floating(x) else x


def negative(x: Any) -> Any:
    """Return the negated elements."""
    return pb.negative(real_tensor(x))


def reciprocal(x: Any) -> Any:
    """Return one divided by each element, as a float."""
    return pb.reciprocal(floating(x))


def round(x: Any, decimals: int = 0) -> Any:
    """Round half to even at ``decimals``; integers change only where it is negative."""
    x = real_tensor(x)
    if is_floating(x):
        return pb.round(x, decimals)
    if decimals >= 0:
        return to(x, config.floatx()) if x.dtype == np.bool_ else x
    factor = 10.0**decimals
    return to(pb.round(to(x, config.floatx()) * factor) / factor, x.dtype)


def sign(x: Any) -> Any:
    """Return -1, 0 or 1 by the sign of each element."""
    return pb.sign(without_bool(real_tensor(x)))


def signbit(x: Any) -> Any:
    """Say of each element whether its sign bit is set."""
    x = real_tensor(x)
    if is_floating(x):
        return pb.signbit(x)
    return pb.zeros_like(x, dtype="bool") if x.dtype == np.bool_ else pb.less(x, 0)


def square(x: Any) -> Any:
    """Return the square of each element."""
    return pb.square(without_bool(real_tensor(x)))


def trunc(x: Any) -> Any:
    """Round towards zero; integers and booleans stay as they are."""
    x = real_tensor(x)
    return pb.trunc(x) if is_floating(x) else x


def view(x: Any, dtype: Any = None) -> Any:
    """Return the bytes of ``x`` seen as ``dtype``; the last axis changes with the width."""
    x = real_tensor(x)
    if dtype is None:
        return x
    dtype = pb.result_type(standardize_dtype(dtype))
    wide, narrow = x.dtype.itemsize, dtype.itemsize
    x = pb.astype(x, "uint8") if x.dtype == np.bool_ else x
    if wide > narrow:
        x = _cut(x, wide, narrow)
    elif wide < narrow:
        x = _glued(x, wide, narrow)
    if dtype == np.bool_:
        return pb.not_equal(x, 0)
    return pb.bitcast(x, dtype)


def _cut(x: Any, wide: int, narrow: int) -> Any:
    """Return each element as several unsigned integers of ``narrow`` bytes, the lowest first."""
    if x.ndim == 0:
        raise ValueError("`view` with a narrower dtype takes a tensor of one axis at least")
    bits = pb.bitcast(x, f"uint{8 * wide}")
    parts = [
        pb.astype(pb.right_shift(bits, 8 * narrow * i), f"uint{8 * narrow}")
        for i in range(wide // narrow)
    ]
    return pb.reshape(pb.stack(parts, -1), (*x.shape[:-1], -1))


def _glued(x: Any, wide: int, narrow: int) -> Any:
    """Return several elements as one unsigned integer of ``narrow`` bytes, the lowest first."""
    several = narrow // wide
    if x.ndim == 0 or x.shape[-1] % several:
        raise ValueError(
            f"`view` with a dtype {several} times as wide takes a last axis that is a multiple of "
            f"{several}, got the shape {x.shape}"
        )
    bits = pb.astype(pb.bitcast(x, f"uint{8 * wide}"), f"uint{8 * narrow}")
    bits = pb.reshape(bits, (*x.shape[:-1], -1, several))
    found = bits[..., 0]
    for i in range(1, several):
        found = pb.bitwise_or(found, pb.left_shift(bits[..., i], 8 * wide * i))
    return found
