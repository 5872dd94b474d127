"""What the linear algebra primitives share: their base class, and traced matrix arithmetic.

Imports ``program`` and the families that the derivative rules are written in. Used by ``linalg``
and ``factorizations``; start at ``LinearAlgebra``.
"""

from __future__ import annotations

from typing import ClassVar

from pullback.errors import DTypeError, ShapeError
from pullback.primitives import operators
from pullback.primitives.dot import Dot
from pullback.primitives.shape import Broadcast, Iota, Slice, Transpose
from pullback.program.primitive import HOST, NDArray, Primitive, Trait
from pullback.program.value import Value
from pullback.records import dataclass
from pullback.types import COMPUTED, ArrayType, float32, float64, int32


@dataclass(frozen=True)
class LinearAlgebra(Primitive):
    """Base: checks operands. All are evaluated on the host, batched over leading axes."""

    traits: ClassVar[Trait] = HOST

    def check_matrix(self, x: ArrayType, *, square: bool) -> None:
        """Require floating matrices.

        Raises:
            DTypeError: the operand is not floating.
            ShapeError: it has fewer than two axes, or the matrices are not square.
        """
        if x.dtype not in COMPUTED:
            raise DTypeError(
                f"{self.name} takes floating matrices, not {x}; cast with `x.astype('float32')`"
            )
        if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
            kind = "square matrices [..., n, n]" if square else "matrices [..., m, n]"
            raise ShapeError(f"{self.name} takes {kind}, not {x}; reshape the operand")

    def check_system(self, a: ArrayType, b: ArrayType) -> None:
        """Require square matrices and right-hand sides that fit them.

        Raises:
            DTypeError: the dtypes are not floating, or differ.
            ShapeError: the shapes do not fit.
        """
        self.check_matrix(a, square=True)
        if a.dtype != b.dtype:
            raise DTypeError(f"{self.name} of {a} and {b}: the dtypes differ; cast one of them")
        if not (b.ndim == a.ndim and b.shape[:-1] == a.shape[:-1]):
            raise ShapeError(
                f"{self.name} takes a matrix [..., n, n] and right-hand sides [..., n, k] of the "
                f"same batch shape, not {a} and {b}; `pullback.linalg` broadcasts them"
            )


def working(x: NDArray) -> NDArray:
    """Return ``x`` in a dtype that LAPACK has: 16-bit floats as float32."""
    return x if x.dtype in (float32, float64) else x.astype(float32)


def matmul(x: Value, y: Value) -> Value:
    """Product of batched matrices of one batch shape."""
    batch = tuple(range(x.ndim - 2))
    product: Value = Dot(((x.ndim - 1,), (y.ndim - 2,)), (batch, batch))(x, y)
    return product


def transposed(x: Value) -> Value:
    """Matrices with rows and columns exchanged."""
    n = x.ndim
    result: Value = Transpose((*range(n - 2), n - 1, n - 2))(x)
    return result


def triangle(x: Value, *, lower: bool, strict: bool) -> Value:
    """``x`` with zeros outside a triangle, which holds the diagonal unless ``strict``."""
    row, column = _row_and_column(x.shape[-2:])
    inner, outer = (row, column) if lower else (column, row)
    return operators.where(inner > outer if strict else inner >= outer, x, 0)


def on_diagonal(n: int) -> Value:
    """The boolean identity matrix."""
    row, column = _row_and_column((n, n))
    return operators.equal(row, column)


def _row_and_column(shape: tuple[int, ...]) -> tuple[Value, Value]:
    return Iota(shape, int32, 0)(), Iota(shape, int32, 1)()


def along_columns(x: Value, rows: int) -> Value:
    """``x[..., j]`` as a matrix whose element ``[..., i, j]`` is ``x[..., j]``."""
    result: Value = Broadcast((*x.shape[:-1], rows, x.shape[-1]), (x.ndim - 1,))(x)
    return result


def along_rows(x: Value, columns: int) -> Value:
    """``x[..., i]`` as a matrix whose element ``[..., i, j]`` is ``x[..., i]``."""
    result: Value = Broadcast((*x.shape, columns), (x.ndim,))(x)
    return result


def as_matrices(x: Value, shape: tuple[int, ...]) -> Value:
    """One number a matrix, spread over matrices of ``shape``."""
    result: Value = Broadcast(shape, (len(shape) - 2, len(shape) - 1))(x)
    return result


def columns_between(x: Value, start: int, stop: int) -> Value:
    """The columns ``start .. stop - 1`` of matrices."""
    n = x.ndim
    starts, stops = (*(0,) * (n - 1), start), (*x.shape[:-1], stop)
    result: Value = Slice(starts, stops, (1,) * n)(x)
    return result


def divide_by_gaps(numerator: Value, gaps: Value) -> Value:
    """``numerator / gaps`` off the diagonal; 0 where the numerator is 0, whatever the gap.

    Equal eigenvalues have no derivative of their vectors, but nothing is lost where the cotangent
    does not ask for it. Where it does, the result is infinite: loud, not wrong.
    """
    diagonal = on_diagonal(gaps.shape[-1])
    needless = operators.bitwise_or(operators.equal(numerator, 0), diagonal)
    safe = operators.where(needless, 1, gaps)
    return operators.where(needless, 0, operators.divide(numerator, safe))
