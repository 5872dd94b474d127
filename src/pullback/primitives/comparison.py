"""Comparisons and classification: elementwise, with a boolean result and no gradient.

Imports ``program`` and ``elementwise``. Start at ``Comparison``.
"""

from __future__ import annotations

from typing import Any, ClassVar, final

import numpy as np

from pullback.primitives.elementwise import Binary, NDArray, Unary
from pullback.program.primitive import CHEAP, COMMUTATIVE, ELEMENTWISE, Trait, primitive
from pullback.types import ANY, FLOATING, ArrayType, DType, bool_


class Comparison(Binary):
    """Base of the comparisons. Any nan makes all of them false, except ``Ne``; false < true."""

    accepts: ClassVar[frozenset[DType]] = ANY
    traits: ClassVar[Trait] = ELEMENTWISE | CHEAP
    differentiable: ClassVar[tuple[int, ...] | None] = ()

    def infer(self, *types: ArrayType) -> ArrayType:
        """Return bool of the common shape."""
        return super().infer(*types).with_dtype(bool_)

    def evaluate(self, *arrays: NDArray) -> Any:
        """Compare in the operands' own dtype."""
        return type(self).ufunc(*arrays)


@final
@primitive
class Eq(Comparison):
    """Whether x equals y. Shapes: x, y: T[d...] -> bool[d...]. Cost: size. No gradient."""

    name = "eq"
    traits = ELEMENTWISE | COMMUTATIVE | CHEAP
    ufunc = np.equal


@final
@primitive
class Ne(Comparison):
    """Whether x differs from y. Shapes: x, y: T[d...] -> bool[d...]. Cost: size. No gradient."""

    name = "ne"
    traits = ELEMENTWISE | COMMUTATIVE | CHEAP
    ufunc = np.not_equal


@final
@primitive
class Lt(Comparison):
    """Whether x < y. Shapes: x, y: T[d...] -> bool[d...]. Cost: size. No gradient."""

    name = "lt"
    ufunc = np.less


@final
@primitive
class Le(Comparison):
    """Whether x <= y. Shapes: x, y: T[d...] -> bool[d...]. Cost: size. No gradient."""

    name = "le"
    ufunc = np.less_equal


@final
@primitive
class Gt(Comparison):
    """Whether x > y. Shapes: x, y: T[d...] -> bool[d...]. Cost: size. No gradient."""

    name = "gt"
    ufunc = np.greater


@final
@primitive
class Ge(Comparison):
    """Whether x >= y. Shapes: x, y: T[d...] -> bool[d...]. Cost: size. No gradient."""

    name = "ge"
    ufunc = np.greater_equal


@final
@primitive
class IsFinite(Unary):
    """Whether x is neither infinite nor nan.

    Shapes: x: T[d...] -> bool[d...].        Cost: size(x) operations.   No gradient.
    """

    name = "is_finite"
    accepts = FLOATING
    traits = ELEMENTWISE | CHEAP
    differentiable = ()
    ufunc = np.isfinite

    def infer(self, *types: ArrayType) -> ArrayType:
        """Return bool of the operand's shape."""
        return super().infer(*types).with_dtype(bool_)

    def evaluate(self, *arrays: NDArray) -> Any:
        """In the operand's own dtype."""
        return np.isfinite(*arrays)
