"""In which dtype sums and running values are kept, and conversions that leave out the needless.

Imports ``program``, ``types`` and ``cast``. Start at ``accumulator``.
"""

from __future__ import annotations

from pullback.primitives.cast import NARROW, Convert
from pullback.program.loops import LoopBuilder, Scalar
from pullback.program.value import Value
from pullback.types import DType, float32


def accumulator(dtype: DType) -> DType:
    """Return the dtype that sums of ``dtype`` accumulate in: float32 for all narrower floats."""
    return float32 if dtype in NARROW else dtype


def cast_scalar(b: LoopBuilder, x: Scalar, dtype: DType) -> Scalar:
    """Return the element ``x`` in ``dtype``, with no conversion where it has it already."""
    return x if x.dtype == dtype else b.cast(x, dtype)


def cast_value(x: Value, dtype: DType) -> Value:
    """Return the value ``x`` in ``dtype``, with no equation where it has it already."""
    converted: Value = x if x.dtype == dtype else Convert(dtype)(x)
    return converted
