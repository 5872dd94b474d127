"""Powers, exponentials, logarithms, trigonometric and hyperbolic functions: elementwise.

Imports ``program`` and ``elementwise``. One class a function, in the order of a calculus book.
"""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np

from pullback.primitives.elementwise import Binary, NDArray, Select, Unary, as_zero
from pullback.program.loops import LoopBuilder, Scalar
from pullback.program.primitive import Cotangents, primitive
from pullback.program.value import Array, Value
from pullback.types import FLOATING, NUMERIC, SIGNED

_LN_2 = math.log(2.0)
_LN_10 = math.log(10.0)


@final
@primitive
class Sqrt(Unary):
    """Square root, correctly rounded; nan below 0.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) square roots.
    Residuals: its output.   Non-differentiable points: 0, where the derivative is infinite.
    Reference: d sqrt(x) = dx / (2 sqrt(x)).
    """

    name = "sqrt"
    ufunc = np.sqrt

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct / (2 out)."""
        return (ct * 0.5 / out,)


def _rsqrt(x: NDArray) -> Any:
    return 1.0 / np.sqrt(x)


@final
@primitive
class Rsqrt(Unary):
    """``1 / sqrt(x)``; infinite at 0, nan below.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) square roots and divisions.
    Residuals: x, its output.   Non-differentiable points: 0, where the derivative is infinite.
    Reference: d x^(-1/2) = -x^(-3/2) / 2 dx.
    """

    name = "rsqrt"
    ufunc = _rsqrt

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return -ct out / (2 x)."""
        return (ct * out / x * -0.5,)


@final
@primitive
class Cbrt(Unary):
    """Cube root, of the sign of x.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: its output.   Non-differentiable points: 0, where the derivative is infinite.
    Reference: d cbrt(x) = dx / (3 cbrt(x)^2).
    """

    name = "cbrt"
    ufunc = np.cbrt

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct / (3 out^2)."""
        return (ct / (out * out * 3.0),)


@final
@primitive
class Exp(Unary):
    """``e`` to the x.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: its output.   Non-differentiable points: none.
    Reference: d exp(x) = exp(x) dx.
    """

    name = "exp"
    ufunc = np.exp

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct out."""
        return (ct * out,)


@final
@primitive
class Exp2(Unary):
    """2 to the x.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: its output.   Non-differentiable points: none.
    Reference: d 2^x = ln(2) 2^x dx.
    """

    name = "exp2"
    ufunc = np.exp2

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct out ln(2)."""
        return (ct * out * _LN_2,)


@final
@primitive
class Expm1(Unary):
    """``exp(x) - 1`` without cancellation near 0.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: its output.   Non-differentiable points: none.
    Reference: d expm1(x) = (expm1(x) + 1) dx.
    """

    name = "expm1"
    ufunc = np.expm1

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct (out + 1)."""
        return (ct * (out + 1.0),)


@final
@primitive
class Log(Unary):
    """Natural logarithm; -inf at 0, nan below.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: 0 (infinite).
    Reference: d log(x) = dx / x.
    """

    name = "log"
    ufunc = np.log

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct / x."""
        return (ct / x,)


@final
@primitive
class Log2(Unary):
    """Binary logarithm; -inf at 0, nan below.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: 0 (infinite).
    Reference: d log2(x) = dx / (x ln(2)).
    """

    name = "log2"
    ufunc = np.log2

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct / (x ln(2))."""
        return (ct / (x * _LN_2),)


@final
@primitive
class Log10(Unary):
    """Decimal logarithm; -inf at 0, nan below.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: 0 (infinite).
    Reference: d log10(x) = dx / (x ln(10)).
    """

    name = "log10"
    ufunc = np.log10

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct / (x ln(10))."""
        return (ct / (x * _LN_10),)


@final
@primitive
class Log1p(Unary):
    """``log(1 + x)`` without cancellation near 0; -inf at -1, nan below.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: -1 (infinite).
    Reference: d log1p(x) = dx / (1 + x).
    """

    name = "log1p"
    ufunc = np.log1p

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct / (1 + x)."""
        return (ct / (x + 1.0),)


def _power(x: NDArray, y: NDArray) -> Any:
    if x.dtype in FLOATING:
        return np.power(x, y)
    positive = np.power(x, np.maximum(y, np.zeros_like(y)))
    if x.dtype not in SIGNED:
        return positive
    sign = np.where(y & 1, x, np.ones_like(x))
    reciprocal = np.where((x == 1) | (x == -1), sign, np.zeros_like(sign))
    return np.where(y < 0, reciprocal, positive)


@final
@primitive
class Pow(Binary):
    """x to the y. ``pow(x, 0)`` is 1; floats: nan for x < 0 unless y is whole.

    Integers wrap; a negative exponent gives the reciprocal rounded towards zero, and 0 for x = 0.

    Shapes: x, y: T[d...] -> T[d...].        Cost: size evaluations of exp and log.
    Residuals: x, y, its output.   Non-differentiable points: x = 0 with y < 1; the derivative
        in y is taken as 0 at x = 0 with y >= 0, and is nan for x < 0.
    Reference: d x^y = y x^(y-1) dx + x^y ln(x) dy.
    """

    name = "pow"
    accepts = NUMERIC
    ufunc = _power

    def vjp(self, ct: Value, out: Value, x: Value, y: Value) -> Cotangents:
        """Return ct y x^(y-1), without 0 * inf at y = 0; ct out ln(x), without it at x = 0."""
        one = Array(np.ones((), x.dtype))
        constant = y == 0.0
        lower = Pow()(x, Select()(constant, one, y - 1.0))
        ct_x = Select()(constant, as_zero(ct), ct * (y * lower))
        ct_y = ct * (out * Log()(Select()(x == 0.0, one, x)))
        return (ct_x, ct_y)

    def scalar(self, b: LoopBuilder, *elements: Scalar) -> Scalar:
        """``pow``; for signed integers with the negative exponents treated here."""
        x, y = elements
        if x.dtype not in SIGNED:
            return b.op("pow", x, y)
        zero, one = b.constant(0, x.dtype), b.constant(1, x.dtype)
        positive = b.op("pow", x, b.op("max", y, zero))
        is_odd = b.op("ne", b.op("and", y, one), zero)
        is_unit = b.op("eq", b.op("abs", x), one)
        reciprocal = b.select(is_unit, b.select(is_odd, x, one), zero)
        return b.select(b.op("lt", y, zero), reciprocal, positive)


@final
@primitive
class Sin(Unary):
    """Sine of radians.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: none.
    Reference: d sin(x) = cos(x) dx.
    """

    name = "sin"
    ufunc = np.sin

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct cos(x)."""
        return (ct * Cos()(x),)


@final
@primitive
class Cos(Unary):
    """Cosine of radians.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: none.
    Reference: d cos(x) = -sin(x) dx.
    """

    name = "cos"
    ufunc = np.cos

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return -ct sin(x)."""
        return (-(ct * Sin()(x)),)


@final
@primitive
class Tan(Unary):
    """Tangent of radians.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: its output.   Non-differentiable points: odd multiples of pi/2, which no float is.
    Reference: d tan(x) = (1 + tan^2(x)) dx.
    """

    name = "tan"
    ufunc = np.tan

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct (1 + out^2)."""
        return (ct * (out * out + 1.0),)


@final
@primitive
class Asin(Unary):
    """Inverse sine, in radians; nan outside [-1, 1].

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: -1 and 1 (infinite).
    Reference: d asin(x) = dx / sqrt(1 - x^2).
    """

    name = "asin"
    ufunc = np.arcsin

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct / sqrt((1 - x) (1 + x))."""
        return (ct / Sqrt()((1.0 - x) * (x + 1.0)),)


@final
@primitive
class Acos(Unary):
    """Inverse cosine, in radians; nan outside [-1, 1].

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: -1 and 1 (infinite).
    Reference: d acos(x) = -dx / sqrt(1 - x^2).
    """

    name = "acos"
    ufunc = np.arccos

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return -ct / sqrt((1 - x) (1 + x))."""
        return (-(ct / Sqrt()((1.0 - x) * (x + 1.0))),)


@final
@primitive
class Atan(Unary):
    """Inverse tangent, in radians.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: none.
    Reference: d atan(x) = dx / (1 + x^2).
    """

    name = "atan"
    ufunc = np.arctan

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct / (1 + x^2)."""
        return (ct / (x * x + 1.0),)


@final
@primitive
class Atan2(Binary):
    """Angle of the point (y, x) from the positive x axis, in radians; ``y`` is the first operand.

    Shapes: y, x: T[d...] -> T[d...].        Cost: size evaluations.
    Residuals: x, y.   Non-differentiable points: the origin (nan) and the negative x axis.
    Reference: d atan2(y, x) = (x dy - y dx) / (x^2 + y^2).
    """

    name = "atan2"
    ufunc = np.arctan2

    def vjp(self, ct: Value, out: Value, y: Value, x: Value) -> Cotangents:
        """Return ct x / (x^2 + y^2) and -ct y / (x^2 + y^2)."""
        scaled = ct / (x * x + y * y)
        return (scaled * x, -(scaled * y))


@final
@primitive
class Sinh(Unary):
    """Hyperbolic sine.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: none.
    Reference: d sinh(x) = cosh(x) dx.
    """

    name = "sinh"
    ufunc = np.sinh

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct cosh(x)."""
        return (ct * Cosh()(x),)


@final
@primitive
class Cosh(Unary):
    """Hyperbolic cosine.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: none.
    Reference: d cosh(x) = sinh(x) dx.
    """

    name = "cosh"
    ufunc = np.cosh

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct sinh(x)."""
        return (ct * Sinh()(x),)


@final
@primitive
class Tanh(Unary):
    """Hyperbolic tangent.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: its output.   Non-differentiable points: none.
    Reference: d tanh(x) = (1 - tanh^2(x)) dx.
    """

    name = "tanh"
    ufunc = np.tanh

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct (1 - out^2)."""
        return (ct * (1.0 - out * out),)


@final
@primitive
class Asinh(Unary):
    """Inverse hyperbolic sine.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: none.
    Reference: d asinh(x) = dx / sqrt(x^2 + 1).
    """

    name = "asinh"
    ufunc = np.arcsinh

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct / sqrt(x^2 + 1)."""
        return (ct / Sqrt()(x * x + 1.0),)


@final
@primitive
class Acosh(Unary):
    """Inverse hyperbolic cosine; nan below 1.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: 1 (infinite).
    Reference: d acosh(x) = dx / sqrt(x^2 - 1).
    """

    name = "acosh"
    ufunc = np.arccosh

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct / sqrt((x - 1) (x + 1))."""
        return (ct / Sqrt()((x - 1.0) * (x + 1.0)),)


@final
@primitive
class Atanh(Unary):
    """Inverse hyperbolic tangent; infinite at -1 and 1, nan outside.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: -1 and 1 (infinite).
    Reference: d atanh(x) = dx / (1 - x^2).
    """

    name = "atanh"
    ufunc = np.arctanh

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct / ((1 - x) (1 + x))."""
        return (ct / ((1.0 - x) * (x + 1.0)),)


def sigmoid(x: NDArray) -> Any:
    """Compute ``1 / (1 + exp(-x))`` without overflow, relatively accurate in both tails."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, np.ones_like(small), small) / (1.0 + small)


@final
@primitive
class Sigmoid(Unary):
    """Logistic function ``1 / (1 + exp(-x))``.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: its output.   Non-differentiable points: none.
    Reference: d s(x) = s(x) (1 - s(x)) dx.
    """

    name = "sigmoid"
    ufunc = sigmoid

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct out (1 - out)."""
        return (ct * (out * (1.0 - out)),)
