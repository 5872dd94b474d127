"""Exponentials, logarithms, powers, trigonometric, hyperbolic and special functions.

Imports ``arguments`` and ``primitives``. The transcendental part of the standard's chapter
"Element-wise functions"; integers and booleans become float32. Each function names its derivative.
"""

from __future__ import annotations

import math

from pullback.ops.arguments import ArrayLike, as_array, as_floating, scalar_of
from pullback.primitives import operators, special, transcendental
from pullback.primitives.comparison import IsFinite
from pullback.primitives.custom import StopGradient
from pullback.program.primitive import Primitive
from pullback.program.value import Value

__all__ = [
    "acos",
    "acosh",
    "arccos",
    "arccosh",
    "arcsin",
    "arcsinh",
    "arctan",
    "arctan2",
    "arctanh",
    "asin",
    "asinh",
    "atan",
    "atan2",
    "atanh",
    "cbrt",
    "cos",
    "cosh",
    "deg2rad",
    "digamma",
    "erf",
    "erfc",
    "erfinv",
    "exp",
    "exp2",
    "expm1",
    "gammaln",
    "hypot",
    "lgamma",
    "log",
    "log1p",
    "log2",
    "log10",
    "logaddexp",
    "rad2deg",
    "rsqrt",
    "sin",
    "sinc",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
]


def _apply(primitive: Primitive, x: ArrayLike) -> Value:
    value = as_floating(x)
    result: Value = primitive(value)
    result.weak = value.weak
    return result


def sqrt(x: ArrayLike, /) -> Value:
    """Square root of ``x``; nan below 0.

    Differentiation: ``ct / (2 * out)``; infinite at 0.

    Example:
        >>> pb.sqrt(pb.asarray([4.0, 2.0]))
        Array([2.       , 1.4142135], f32)
    """
    return _apply(transcendental.Sqrt(), x)


def rsqrt(x: ArrayLike, /) -> Value:
    """Reciprocal square root ``1 / sqrt(x)``; infinite at 0, nan below.

    Differentiation: ``-ct * out / (2 * x)``.

    Example:
        >>> pb.rsqrt(pb.asarray([4.0, 1.0]))
        Array([0.5, 1. ], f32)
    """
    return _apply(transcendental.Rsqrt(), x)


def cbrt(x: ArrayLike, /) -> Value:
    """Cube root of ``x``, also below 0.

    Differentiation: ``ct * out / (3 * x)``; infinite at 0.

    Example:
        >>> pb.cbrt(pb.asarray([8.0, -1.0]))
        Array([ 2., -1.], f32)
    """
    return _apply(transcendental.Cbrt(), x)


def exp(x: ArrayLike, /) -> Value:
    """Euler's number to the power of ``x``.

    Differentiation: ``ct * out``.

    Example:
        >>> pb.exp(pb.asarray([0.0, 1.0]))
        Array([1.      , 2.718282], f32)
    """
    return _apply(transcendental.Exp(), x)


def exp2(x: ArrayLike, /) -> Value:
    """2 to the power of ``x``.

    Differentiation: ``ct * out * log(2)``.

    Example:
        >>> pb.exp2(pb.asarray([0.0, 3.0]))
        Array([1., 8.], f32)
    """
    return _apply(transcendental.Exp2(), x)


def expm1(x: ArrayLike, /) -> Value:
    """``exp(x) - 1``, exact also for tiny ``x``.

    Differentiation: ``ct * (out + 1)``.

    Example:
        >>> pb.expm1(pb.asarray([0.0, 1e-8]))
        Array([0.e+00, 1.e-08], f32)
    """
    return _apply(transcendental.Expm1(), x)


def log(x: ArrayLike, /) -> Value:
    """Natural logarithm of ``x``; nan below 0.

    Differentiation: ``ct / x``.

    Example:
        >>> pb.log(pb.asarray([1.0, 2.0]))
        Array([0.       , 0.6931472], f32)
    """
    return _apply(transcendental.Log(), x)


def log2(x: ArrayLike, /) -> Value:
    """Binary logarithm of ``x``; nan below 0.

    Differentiation: ``ct / (x * log(2))``.

    Example:
        >>> pb.log2(pb.asarray([1.0, 8.0]))
        Array([0., 3.], f32)
    """
    return _apply(transcendental.Log2(), x)


def log10(x: ArrayLike, /) -> Value:
    """Decimal logarithm of ``x``; nan below 0.

    Differentiation: ``ct / (x * log(10))``.

    Example:
        >>> pb.log10(pb.asarray([1.0, 100.0]))
        Array([0.       , 2.0000002], f32)
    """
    return _apply(transcendental.Log10(), x)


def log1p(x: ArrayLike, /) -> Value:
    """``log(1 + x)``, exact also for tiny ``x``; nan below -1.

    Differentiation: ``ct / (1 + x)``.

    Example:
        >>> pb.log1p(pb.asarray([0.0, 1e-8]))
        Array([0.e+00, 1.e-08], f32)
    """
    return _apply(transcendental.Log1p(), x)


def sin(x: ArrayLike, /) -> Value:
    """Sine of ``x`` in radians.

    Differentiation: ``ct * cos(x)``.

    Example:
        >>> pb.sin(pb.asarray([0.0, 1.0]))
        Array([0.      , 0.841471], f32)
    """
    return _apply(transcendental.Sin(), x)


def cos(x: ArrayLike, /) -> Value:
    """Cosine of ``x`` in radians.

    Differentiation: ``-ct * sin(x)``.

    Example:
        >>> pb.cos(pb.asarray([0.0, 1.0]))
        Array([1.       , 0.5403023], f32)
    """
    return _apply(transcendental.Cos(), x)


def tan(x: ArrayLike, /) -> Value:
    """Tangent of ``x`` in radians.

    Differentiation: ``ct * (1 + out ** 2)``.

    Example:
        >>> pb.tan(pb.asarray([0.0, 1.0]))
        Array([0.       , 1.5574077], f32)
    """
    return _apply(transcendental.Tan(), x)


def asin(x: ArrayLike, /) -> Value:
    """Inverse sine of ``x``, in radians; nan outside -1 .. 1.

    Differentiation: ``ct / sqrt(1 - x ** 2)``.

    Example:
        >>> pb.asin(pb.asarray([0.0, 1.0]))
        Array([0.       , 1.5707964], f32)
    """
    return _apply(transcendental.Asin(), x)


def acos(x: ArrayLike, /) -> Value:
    """Inverse cosine of ``x``, in radians; nan outside -1 .. 1.

    Differentiation: ``-ct / sqrt(1 - x ** 2)``.

    Example:
        >>> pb.acos(pb.asarray([0.0, 1.0]))
        Array([1.5707964, 0.       ], f32)
    """
    return _apply(transcendental.Acos(), x)


def atan(x: ArrayLike, /) -> Value:
    """Inverse tangent of ``x``, in radians.

    Differentiation: ``ct / (1 + x ** 2)``.

    Example:
        >>> pb.atan(pb.asarray([0.0, 1.0]))
        Array([0.       , 0.7853982], f32)
    """
    return _apply(transcendental.Atan(), x)


def sinh(x: ArrayLike, /) -> Value:
    """Hyperbolic sine of ``x``.

    Differentiation: ``ct * cosh(x)``.

    Example:
        >>> pb.sinh(pb.asarray([0.0, 1.0]))
        Array([0.       , 1.1752012], f32)
    """
    return _apply(transcendental.Sinh(), x)


def cosh(x: ArrayLike, /) -> Value:
    """Hyperbolic cosine of ``x``.

    Differentiation: ``ct * sinh(x)``.

    Example:
        >>> pb.cosh(pb.asarray([0.0, 1.0]))
        Array([1.       , 1.5430807], f32)
    """
    return _apply(transcendental.Cosh(), x)


def tanh(x: ArrayLike, /) -> Value:
    """Hyperbolic tangent of ``x``.

    Differentiation: ``ct * (1 - out ** 2)``; keeps the output.

    Example:
        >>> pb.tanh(pb.asarray([0.0, 1.0]))
        Array([0.       , 0.7615942], f32)
    """
    return _apply(transcendental.Tanh(), x)


def asinh(x: ArrayLike, /) -> Value:
    """Inverse hyperbolic sine of ``x``.

    Differentiation: ``ct / sqrt(x ** 2 + 1)``.

    Example:
        >>> pb.asinh(pb.asarray([0.0, 1.0]))
        Array([0.       , 0.8813736], f32)
    """
    return _apply(transcendental.Asinh(), x)


def acosh(x: ArrayLike, /) -> Value:
    """Inverse hyperbolic cosine of ``x``; nan below 1.

    Differentiation: ``ct / sqrt(x ** 2 - 1)``.

    Example:
        >>> pb.acosh(pb.asarray([1.0, 2.0]))
        Array([0.      , 1.316958], f32)
    """
    return _apply(transcendental.Acosh(), x)


def atanh(x: ArrayLike, /) -> Value:
    """Inverse hyperbolic tangent of ``x``; nan outside -1 .. 1.

    Differentiation: ``ct / (1 - x ** 2)``.

    Example:
        >>> pb.atanh(pb.asarray([0.0, 0.5]))
        Array([0.        , 0.54930615], f32)
    """
    return _apply(transcendental.Atanh(), x)


def erf(x: ArrayLike, /) -> Value:
    """Error function, ``2 / sqrt(pi)`` times the integral of ``exp(-t ** 2)`` up to ``x``.

    Differentiation: ``ct * 2 / sqrt(pi) * exp(-x ** 2)``.

    Example:
        >>> pb.erf(pb.asarray([0.0, 1.0]))
        Array([0.       , 0.8427008], f32)
    """
    return _apply(special.Erf(), x)


def erfc(x: ArrayLike, /) -> Value:
    """``1 - erf(x)``, exact also for large ``x``.

    Differentiation: ``-ct * 2 / sqrt(pi) * exp(-x ** 2)``.

    Example:
        >>> pb.erfc(pb.asarray([0.0, 1.0]))
        Array([1.       , 0.1572992], f32)
    """
    return _apply(special.Erfc(), x)


def erfinv(x: ArrayLike, /) -> Value:
    """Inverse of ``erf``; nan outside -1 .. 1.

    Differentiation: ``ct * sqrt(pi) / 2 * exp(out ** 2)``.

    Example:
        >>> pb.erfinv(pb.asarray([0.0, 0.5]))
        Array([0.        , 0.47693628], f32)
    """
    return _apply(special.Erfinv(), x)


def lgamma(x: ArrayLike, /) -> Value:
    """Logarithm of the absolute value of the gamma function.

    Differentiation: ``ct * digamma(x)``.

    Example:
        >>> pb.lgamma(pb.asarray([1.0, 5.0]))
        Array([0.       , 3.1780539], f32)
    """
    return _apply(special.Lgamma(), x)


def digamma(x: ArrayLike, /) -> Value:
    """Derivative of ``lgamma``.

    Differentiation: ``ct * polygamma(1, x)``.

    Example:
        >>> pb.digamma(pb.asarray([1.0, 2.0]))
        Array([-0.5772157 ,  0.42278433], f32)
    """
    return _apply(special.Digamma(), x)


def atan2(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Angle of the point ``(x2, x1)``, in radians between -pi and pi.

    Differentiation: ``ct * x2 / (x1 ** 2 + x2 ** 2)`` and ``-ct * x1 / (x1 ** 2 + x2 ** 2)``.

    Example:
        >>> pb.atan2(pb.asarray([0.0, 1.0]), pb.asarray([1.0, 0.0]))
        Array([0.       , 1.5707964], f32)
    """
    x, y = as_array(x1), as_array(x2)
    return operators.apply(transcendental.Atan2(), x, y, floating=True)


def hypot(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """Square root of ``x1 ** 2 + x2 ** 2``, without overflow or underflow on the way.

    Differentiation: ``ct * x1 / out`` and ``ct * x2 / out``; 0 where both are 0.

    Example:
        >>> pb.hypot(pb.asarray([3.0, 3e30]), pb.asarray([4.0, 4e30]))
        Array([5.e+00, 5.e+30], f32)
    """
    x, y = operators.promote_operands(as_array(x1), as_array(x2), floating=True)
    largest = operators.maximum(abs(x), abs(y))
    usable = operators.bitwise_and(IsFinite()(largest), operators.not_equal(largest, 0))
    # The result does not depend on the scale, so neither does the derivative.
    scale = StopGradient()(operators.where(usable, largest, 1))
    squares = operators.add((x / scale) ** 2, (y / scale) ** 2)
    safe = operators.where(operators.equal(squares, 0), 1, squares)
    result = operators.where(operators.equal(squares, 0), 0, scale * _apply_sqrt(safe))
    infinite = operators.bitwise_or(_is_infinite(x), _is_infinite(y))
    return operators.where(infinite, scalar_of(float("inf"), x.dtype), result)


def _apply_sqrt(x: Value) -> Value:
    return _apply(transcendental.Sqrt(), x)


def _is_infinite(x: Value) -> Value:
    return operators.equal(operators.abs_(x), float("inf"))


def logaddexp(x1: ArrayLike, x2: ArrayLike, /) -> Value:
    """``log(exp(x1) + exp(x2))``, at any scale.

    Differentiation: ``ct * exp(x1 - out)`` and ``ct * exp(x2 - out)``.

    Example:
        >>> pb.logaddexp(pb.asarray([0.0, 1e4]), pb.asarray([0.0, -1e4]))
        Array([6.931472e-01, 1.000000e+04], f32)
    """
    x, y = operators.promote_operands(as_array(x1), as_array(x2), floating=True)
    difference = x - y
    # Equal infinities have no difference; their sum is the result, and nan stays nan.
    undefined = operators.not_equal(difference, difference)
    safe = operators.where(undefined, 0, difference)
    # Selections in place of abs and max: their derivatives are right at ties, of every order.
    above = operators.greater(safe, 0)
    exponent = operators.where(above, operators.negative(safe), safe)
    tail = _apply(transcendental.Log1p(), _apply(transcendental.Exp(), exponent))
    result = operators.add(operators.where(above, x, y), tail)
    return operators.where(undefined, operators.add(x, y), result)


def sinc(x: ArrayLike, /) -> Value:
    """``sin(pi * x) / (pi * x)``, and 1 at 0.

    Example:
        >>> pb.sinc(pb.asarray([0.0, 0.5]))
        Array([1.        , 0.63661975], f32)
    """
    value = as_floating(x)
    angle = operators.multiply(value, math.pi)
    small = operators.less(operators.abs_(angle), 0.01)
    safe = operators.where(small, 1, angle)
    ratio = operators.divide(_apply(transcendental.Sin(), safe), safe)
    square = operators.multiply(angle, angle)
    # Near 0 its Taylor series, so that derivatives are right there.
    series = operators.add(operators.multiply(square, 1 / 120), -1 / 6)
    return operators.where(small, operators.add(operators.multiply(square, series), 1), ratio)


def deg2rad(x: ArrayLike, /) -> Value:
    """Degrees to radians.

    Example:
        >>> pb.deg2rad(pb.asarray(180.0))
        Array(3.1415927, f32)
    """
    return operators.multiply(as_floating(x), math.pi / 180)


def rad2deg(x: ArrayLike, /) -> Value:
    """Radians to degrees.

    Example:
        >>> pb.rad2deg(pb.asarray(3.1415927))
        Array(180., f32)
    """
    return operators.multiply(as_floating(x), 180 / math.pi)


arcsin = asin
arccos = acos
arctan = atan
arcsinh = asinh
arccosh = acosh
arctanh = atanh
arctan2 = atan2
gammaln = lgamma
