"""Cotangents as values: zeros and ones of a type, sums, and reduction to an operand's type.

Imports ``primitives``; ``vjp`` and ``jvp`` use it. Start at ``sum_to``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.errors import DifferentiationError
from pullback.primitives.cast import Convert
from pullback.primitives.elementwise import Add
from pullback.primitives.reduce import ReduceSum
from pullback.primitives.shape import Broadcast, Reshape
from pullback.program.value import Array, Value, as_value
from pullback.types import FLOAT8, FLOATING, ArrayType, float32


def fill(value: float, type: ArrayType) -> Value:
    """An array of ``type`` with one value everywhere: a broadcast literal."""
    scalar = Array(np.asarray(value, type.dtype))
    if not type.shape:
        return scalar
    filled: Value = Broadcast(type.shape, tuple(range(type.ndim)))(scalar)
    return filled


def zeros(type: ArrayType) -> Value:
    """The zero of ``type``."""
    return fill(0, type)


def ones(type: ArrayType) -> Value:
    """An array of ``type`` full of ones."""
    return fill(1, type)


def is_floating(type: ArrayType) -> bool:
    """Whether values of ``type`` have tangents and cotangents."""
    return type.dtype in FLOATING


def add(x: Value | None, y: Value) -> Value:
    """The sum of two cotangents of one variable; None is a zero. 8-bit floats add in float32."""
    if x is None:
        return y
    if y.dtype in FLOAT8:
        wide: Value = Add()(Convert(float32)(x), Convert(float32)(y))
        rounded: Value = Convert(y.dtype)(wide)
        return rounded
    total: Value = Add()(x, y)
    return total


def sum_to(ct: Any, operand: ArrayType) -> Value:
    """Reduce the cotangent of a broadcast operand to the operand's type.

    Args:
        ct: What a rule returned: of the operand's shape, or of a shape it broadcasts to.
        operand: The type that the cotangent must have.

    Raises:
        DifferentiationError: the dtype differs, or the operand does not broadcast to the shape:
            the rule is wrong.
    """
    x: Value = as_value(ct)
    if x.type == operand:
        return x
    new = x.ndim - operand.ndim
    pairs = [*zip(x.shape[max(new, 0) :], operand.shape, strict=False)]
    if x.dtype != operand.dtype or new < 0 or any(n not in (m, 1) for m, n in pairs):
        raise DifferentiationError(
            f"a vjp rule gave a cotangent {x.type} for an operand {operand}: this is a defect of "
            "the rule"
        )
    stretched = tuple(new + i for i, (m, n) in enumerate(pairs) if m != n)
    x = ReduceSum((*range(new), *stretched))(x)
    if x.type != operand:
        x = Reshape(operand.shape)(x)
    return x
