"""Conversions between dtypes: of the value (``Convert``) and of the bits (``Bitcast``).

Imports ``program`` and ``elementwise``. Start at ``Convert``.
"""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np

from pullback.errors import DTypeError
from pullback.primitives.elementwise import NDArray
from pullback.program.loops import Index, LoopBuilder, Operand, Scalar
from pullback.program.primitive import (
    CHEAP,
    ELEMENTWISE,
    LINEAR,
    Cotangents,
    Primitive,
    primitive,
)
from pullback.program.value import Value
from pullback.types import (
    BOOLEAN,
    FLOAT8,
    FLOATING,
    INTEGER,
    SHORT_NAMES,
    ArrayType,
    DType,
    bfloat16,
    float16,
    float32,
)

#: Floats that are reached by way of float32, as in ``ml_dtypes``.
NARROW: Final = FLOAT8 | {float16, bfloat16}


def convert(x: NDArray, dtype: DType) -> NDArray:
    """Return the values of ``x`` in ``dtype``: what ``Convert`` computes."""
    source = x.dtype
    if source in FLOATING and dtype in INTEGER:
        return _float_to_integer(x, dtype)
    if source != dtype and {source, dtype} & NARROW:
        return x.astype(float32).astype(dtype)
    return x.astype(dtype)


def _float_to_integer(x: NDArray, dtype: DType) -> NDArray:
    wide = x if x.dtype.itemsize >= 4 else x.astype(float32)
    limits = np.iinfo(dtype)
    low, high = wide.dtype.type(limits.min), wide.dtype.type(2.0**limits.bits)
    if limits.min < 0:
        high = wide.dtype.type(2.0 ** (limits.bits - 1))
    above = wide >= high
    below = wide <= low
    inside = np.where(above | below | np.isnan(wide), np.zeros_like(wide), wide)
    result = inside.astype(dtype)
    result = np.where(above, np.asarray(limits.max, dtype), result)
    return np.where(below, np.asarray(limits.min, dtype), result)


@final
@primitive
class Convert(Primitive):
    """The value in another dtype.

    Floats become integers by truncation; what does not fit saturates and nan becomes 0. Integers
    wrap. Anything but zero (also nan) becomes true. float16, bfloat16 and the 8-bit floats are
    reached by way of float32. What is too large for float8_e4m3fn, infinity too, becomes nan.

    Shapes: x: S[d...] -> dtype[d...].        Cost: size(x) operations.
    Residuals: none.   Non-differentiable points: none; gradients pass only between floats.
    Reference: linear, up to rounding.
    """

    dtype: DType
    name = "convert"
    traits = ELEMENTWISE | LINEAR | CHEAP

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the other dtype."""
        return x.with_dtype(self.dtype)

    def evaluate(self, x: NDArray) -> Any:
        """``astype``, saturating."""
        return convert(x, self.dtype)

    def is_differentiable(self, position: int, operand: ArrayType) -> bool:
        """Between floats only: rounding to integers has no gradient."""
        return operand.dtype in FLOATING and self.dtype in FLOATING

    def vjp(self, ct: Value, out: Value, x: Value) -> Cotangents:
        """Return ct in the dtype of x."""
        return (Convert(x.dtype)(ct),)

    def lower(self, b: LoopBuilder, index: Index, *operands: Operand) -> Scalar:
        """``cast``."""
        return b.cast(operands[0].at(index), self.dtype)


@final
@primitive
class Bitcast(Primitive):
    """The same bits read as another dtype of the same width. Not for bool.

    Shapes: x: S[d...] -> dtype[d...].        Cost: size(x) moves.   No gradient.
    """

    dtype: DType
    name = "bitcast"
    traits = ELEMENTWISE | CHEAP
    differentiable = ()

    def infer(self, x: ArrayType) -> ArrayType:
        """Return the other dtype.

        Raises:
            DTypeError: the widths differ, or one of the dtypes is bool.
        """
        if x.dtype.itemsize != self.dtype.itemsize or {x.dtype, self.dtype} & BOOLEAN:
            raise DTypeError(
                f"bitcast takes a dtype of the same width and no bool, got {x} and "
                f"{SHORT_NAMES[self.dtype]}; to convert values use x.astype(...)"
            )
        return x.with_dtype(self.dtype)

    def evaluate(self, x: NDArray) -> Any:
        """NumPy's ``view``."""
        return x.view(self.dtype)

    def lower(self, b: LoopBuilder, index: Index, *operands: Operand) -> Scalar:
        """``bitcast``."""
        return b.bitcast(operands[0].at(index), self.dtype)
