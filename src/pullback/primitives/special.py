"""Error functions and gamma functions: elementwise.

Imports ``program``, ``elementwise`` and ``special_functions``. Start at ``Special``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, final

import numpy as np

from pullback.errors import ShapeError
from pullback.primitives import special_functions
from pullback.primitives.elementwise import NDArray, Unary
from pullback.primitives.transcendental import Exp
from pullback.program.loops import LoopBuilder, Scalar
from pullback.program.primitive import Cotangents, primitive
from pullback.program.value import Value
from pullback.types import ArrayType

_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
_HALF_SQRT_PI = math.sqrt(math.pi) / 2.0


class Special(Unary):
    """Base: evaluated in float64 whatever the dtype, and rounded to it."""

    function: ClassVar[Callable[[NDArray], NDArray]]

    def evaluate(self, *arrays: NDArray) -> Any:
        """Apply the family member's function in float64."""
        return in_float64(type(self).function, *arrays)


def in_float64(function: Callable[[NDArray], NDArray], x: NDArray) -> NDArray:
    """Apply a float64 function to any floating dtype; 16-bit results pass through float32."""
    result = np.asarray(function(np.asarray(x.astype(np.float64))))
    narrow = result.astype(np.float32) if x.dtype.itemsize == 2 else result
    return narrow.astype(x.dtype)


@final
@primitive
class Erf(Special):
    """Error function.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: none.
    Reference: d erf(x) = 2/sqrt(pi) exp(-x^2) dx.
    """

    name = "erf"
    function = special_functions.erf

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct 2/sqrt(pi) exp(-x^2)."""
        return (ct * (Exp()(-(x * x)) * _TWO_OVER_SQRT_PI),)


@final
@primitive
class Erfc(Special):
    """``1 - erf(x)`` without cancellation for large x.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: none.
    Reference: d erfc(x) = -2/sqrt(pi) exp(-x^2) dx.
    """

    name = "erfc"
    function = special_functions.erfc

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return -ct 2/sqrt(pi) exp(-x^2)."""
        return (ct * (Exp()(-(x * x)) * -_TWO_OVER_SQRT_PI),)


@final
@primitive
class Erfinv(Special):
    """Inverse of the error function; infinite at -1 and 1, nan outside.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: its output.   Non-differentiable points: -1 and 1 (infinite).
    Reference: d erfinv(x) = sqrt(pi)/2 exp(erfinv(x)^2) dx.
    """

    name = "erfinv"
    function = special_functions.erfinv

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct sqrt(pi)/2 exp(out^2)."""
        return (ct * (Exp()(out * out) * _HALF_SQRT_PI),)


@final
@primitive
class Lgamma(Special):
    """Logarithm of the absolute value of the gamma function; infinite at 0, -1, -2, ….

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: the poles 0, -1, -2, … (nan).
    Reference: d lgamma(x) = digamma(x) dx.
    """

    name = "lgamma"
    function = special_functions.lgamma

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct digamma(x)."""
        return (ct * Digamma()(x),)


@final
@primitive
class Digamma(Special):
    """Derivative of ``lgamma``; -inf at 0, inf at -0, nan at the poles -1, -2, ….

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations.
    Residuals: x.   Non-differentiable points: the poles.
    Reference: d digamma(x) = polygamma(1, x) dx.
    """

    name = "digamma"
    function = special_functions.digamma

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct polygamma(1, x)."""
        return (ct * Polygamma(1)(x),)


@final
@primitive
class Polygamma(Unary):
    """Derivative number ``n`` of ``digamma``, which is number 0. Poles: inf, or -inf for even n.

    Shapes: x: T[d...] -> T[d...].        Cost: size(x) evaluations, growing with n.
    Residuals: x.   Non-differentiable points: the poles 0, -1, -2, ….
    Reference: d polygamma(n, x) = polygamma(n + 1, x) dx.
    """

    n: int
    name = "polygamma"

    def infer(self, *types: ArrayType) -> ArrayType:
        """Return the operand's type."""
        if self.n < 0:
            raise ShapeError(f"polygamma takes an order n >= 0, got {self.n}")
        return super().infer(*types)

    def evaluate(self, *arrays: NDArray) -> Any:
        """Compute in float64."""
        return in_float64(self._function, *arrays)

    def _function(self, x: NDArray) -> NDArray:
        if self.n == 0:
            return special_functions.digamma(x)
        return special_functions.polygamma(self.n, x)

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct polygamma(n + 1, x)."""
        return (ct * Polygamma(self.n + 1)(x),)

    def scalar(self, b: LoopBuilder, *elements: Scalar) -> Scalar:
        """``polygamma``, or ``digamma`` for n = 0."""
        (x,) = elements
        return b.polygamma(self.n, x) if self.n else b.op("digamma", x)
