"""The statistical chapter of the Array API standard: sums, extrema, means and running values.

Imports ``arguments``, ``dtypes`` and ``primitives``. ``median`` and ``quantile`` are in
``quantiles``. Sums of 16-bit floats accumulate in float32 and are rounded once.
"""

from __future__ import annotations

from typing import Any

from pullback.ops.arguments import (
    ArrayLike,
    Axis,
    as_array,
    as_floating,
    normalize_axes,
    normalize_axis,
    require_dtype,
)
from pullback.ops.creation import full
from pullback.ops.dtypes import astype, strong
from pullback.ops.manipulation import concat, reshape
from pullback.primitives import operators
from pullback.primitives.cumulative import CumMax, CumMin, CumProd, CumSum
from pullback.primitives.reduce import (
    ReduceAnd,
    ReduceMax,
    ReduceMin,
    ReduceOr,
    ReduceProd,
    ReduceSum,
    spread,
)
from pullback.primitives.transcendental import Sqrt
from pullback.program.primitive import Primitive
from pullback.program.value import Value
from pullback.types import (
    BOOLEAN,
    DEFAULT_FLOAT,
    DEFAULT_INT,
    NUMERIC,
    SIGNED,
    UNSIGNED,
    DType,
    as_dtype,
    bfloat16,
    bool_,
    float16,
    uint32,
)

__all__ = [
    "amax",
    "amin",
    "average",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "cumulative_prod",
    "cumulative_sum",
    "max",
    "mean",
    "min",
    "prod",
    "ptp",
    "std",
    "sum",
    "var",
]


def keep_axes(result: Value, x: Value, axes: tuple[int, ...], keepdims: bool) -> Value:
    """Return a reduction's result, with the reduced axes as axes of length 1 if ``keepdims``."""
    if not keepdims:
        return result
    return reshape(result, tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


def _sum_dtype(x: DType, dtype: Any) -> DType:
    """The dtype of a sum or product: integers have at least 32 bits, by default."""
    if dtype is not None:
        return as_dtype(dtype)
    if x == bool_ or (x in SIGNED and x.itemsize < 4):
        return DEFAULT_INT
    return uint32 if x in UNSIGNED and x.itemsize < 4 else x


def _reduce(name: str, primitive: type[Primitive], x: Value, axis: Axis, keepdims: bool) -> Value:
    axes = normalize_axes(name, axis, x.ndim)
    if not axes:
        return strong(x)
    return keep_axes(primitive(axes)(x), x, axes, keepdims)  # type: ignore[call-arg]


def sum(x: ArrayLike, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Value:
    """Sum of the elements.

    Args:
        x: Array.
        axis: Along which axis or axes; None for all. Static.
        dtype: The dtype to sum in; None for that of ``x``, but at least 32 bits for integers.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        Array without the axes; of no elements 0.

    Raises:
        ShapeError: ``axis`` is out of range.

    Differentiation: every element gets the cotangent of its sum.

    Example:
        >>> pb.sum(pb.asarray([1.0, 2.0]))
        Array(3., f32)
    """
    value = as_array(x)
    return _reduce("sum", ReduceSum, astype(value, _sum_dtype(value.dtype, dtype)), axis, keepdims)


def prod(x: ArrayLike, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Value:
    """Product of the elements.

    Args:
        x: Array.
        axis: Along which axis or axes; None for all. Static.
        dtype: The dtype to multiply in; None for that of ``x``, but at least 32 bits for integers.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        Array without the axes; of no elements 1.

    Raises:
        ShapeError: ``axis`` is out of range.

    Differentiation: the cotangent times the product of all other elements; right at zeros too.

    Example:
        >>> pb.prod(pb.asarray([2.0, 3.0]))
        Array(6., f32)
    """
    value = as_array(x)
    dtype = _sum_dtype(value.dtype, dtype)
    return _reduce("prod", ReduceProd, astype(value, dtype), axis, keepdims)


def max(x: ArrayLike, /, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Largest element; nan if there is one. Of booleans, whether one is true.

    Args:
        x: Array.
        axis: Along which axis or axes; None for all. Static.
        keepdims: Whether these axes stay, with length 1.

    Raises:
        ShapeError: ``axis`` is out of range, or there is no element.

    Differentiation: the cotangent goes to the largest elements, in equal parts.

    Example:
        >>> pb.max(pb.asarray([[1.0, 2.0], [4.0, 3.0]]), axis=1)
        Array([2., 4.], f32)
    """
    value = as_array(x)
    primitive = ReduceOr if value.dtype in BOOLEAN else ReduceMax
    return _reduce("max", primitive, value, axis, keepdims)


def min(x: ArrayLike, /, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Least element; nan if there is one. Of booleans, whether all are true.

    Args:
        x: Array.
        axis: Along which axis or axes; None for all. Static.
        keepdims: Whether these axes stay, with length 1.

    Raises:
        ShapeError: ``axis`` is out of range, or there is no element.

    Differentiation: the cotangent goes to the least elements, in equal parts.

    Example:
        >>> pb.min(pb.asarray([[1.0, 2.0], [4.0, 3.0]]), axis=1)
        Array([1., 3.], f32)
    """
    value = as_array(x)
    primitive = ReduceAnd if value.dtype in BOOLEAN else ReduceMin
    return _reduce("min", primitive, value, axis, keepdims)


amax, amin = max, min


def ptp(x: ArrayLike, /, axis: Axis = None, *, keepdims: bool = False) -> Value:
    """Largest minus least element.

    Example:
        >>> pb.ptp(pb.asarray([1.0, 4.0, 2.0]))
        Array(3., f32)
    """
    value = as_array(x)
    largest = max(value, axis, keepdims=keepdims)
    return operators.subtract(largest, min(value, axis, keepdims=keepdims))


def _wide(x: ArrayLike, dtype: Any = None) -> tuple[Value, DType]:
    """Floating elements in a dtype that can hold their sums, and the dtype of the result."""
    value = as_floating(x if dtype is None else astype(x, dtype))
    narrow = value.dtype in (float16, bfloat16)
    return (astype(value, DEFAULT_FLOAT) if narrow else strong(value)), value.dtype


def _count(x: Value, axes: tuple[int, ...]) -> int:
    total = 1
    for axis in axes:
        total *= x.shape[axis]
    return total


def _mean(x: Value, axes: tuple[int, ...]) -> Value:
    if not axes:
        return x
    return operators.divide(ReduceSum(axes)(x), float(_count(x, axes)))


def mean(x: ArrayLike, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Value:
    """Arithmetic mean.

    Args:
        x: Array; integers and booleans become float32.
        axis: Along which axis or axes; None for all. Static.
        dtype: The floating dtype of the result; None for that of ``x``.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        Array without the axes; of no elements nan.

    Raises:
        ShapeError: ``axis`` is out of range.

    Differentiation: every element gets the cotangent divided by the number of elements.

    Example:
        >>> pb.mean(pb.asarray([1.0, 2.0]))
        Array(1.5, f32)
    """
    value, result = _wide(x, dtype)
    axes = normalize_axes("mean", axis, value.ndim)
    return astype(keep_axes(_mean(value, axes), value, axes, keepdims), result)


def average(
    x: ArrayLike, /, axis: Axis = None, *, weights: ArrayLike | None = None, keepdims: bool = False
) -> Value:
    """Mean with weights: ``sum(x * weights) / sum(weights)``.

    Args:
        x: Array.
        axis: Along which axis or axes; None for all. Static.
        weights: Array that broadcasts to ``x``, or a vector along the one ``axis``; None for ones.
        keepdims: Whether these axes stay, with length 1.

    Raises:
        ShapeError: ``axis`` is out of range, or ``weights`` do not broadcast.

    Example:
        >>> pb.average(pb.asarray([1.0, 2.0]), weights=pb.asarray([3.0, 1.0]))
        Array(1.25, f32)
    """
    if weights is None:
        return mean(x, axis, keepdims=keepdims)
    value, factors = operators.promote_operands(as_array(x), as_array(weights), floating=True)
    if isinstance(axis, int) and factors.ndim == 1 and value.ndim > 1:
        place = normalize_axis("average", axis, value.ndim)
        shape = tuple(factors.size if i == place else 1 for i in range(value.ndim))
        factors = reshape(factors, shape)
    factors = operators.broadcast_to(factors, value.shape)
    total = sum(operators.multiply(value, factors), axis, keepdims=keepdims)
    return operators.divide(total, sum(factors, axis, keepdims=keepdims))


def var(
    x: ArrayLike,
    /,
    axis: Axis = None,
    *,
    correction: float = 0.0,
    ddof: float | None = None,
    keepdims: bool = False,
) -> Value:
    """Variance: the mean square of the deviation from the mean, in two passes.

    Args:
        x: Array; integers and booleans become float32.
        axis: Along which axis or axes; None for all. Static.
        correction: What is subtracted from the number of elements in the divisor.
        ddof: NumPy's name of ``correction``.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        Array without the axes; nan where the divisor is not positive.

    Raises:
        ShapeError: ``axis`` is out of range.

    Differentiation: every element gets ``2 * ct * (x - mean) / divisor``.

    Example:
        >>> pb.var(pb.asarray([1.0, 3.0]))
        Array(1., f32)
    """
    value, result = _wide(x)
    axes = normalize_axes("var", axis, value.ndim)
    return astype(_variance(value, axes, correction if ddof is None else ddof, keepdims), result)


def _variance(x: Value, axes: tuple[int, ...], correction: float, keepdims: bool) -> Value:
    deviation = operators.subtract(x, spread(_mean(x, axes), x, axes) if axes else x)
    squares = operators.multiply(deviation, deviation)
    total = ReduceSum(axes)(squares) if axes else squares
    divisor = _count(x, axes) - correction
    variance = operators.divide(total, float(divisor) if divisor > 0 else float("nan"))
    return keep_axes(variance, x, axes, keepdims)


def std(
    x: ArrayLike,
    /,
    axis: Axis = None,
    *,
    correction: float = 0.0,
    ddof: float | None = None,
    keepdims: bool = False,
) -> Value:
    """Standard deviation: the square root of the variance.

    Args:
        x: Array; integers and booleans become float32.
        axis: Along which axis or axes; None for all. Static.
        correction: What is subtracted from the number of elements in the divisor.
        ddof: NumPy's name of ``correction``.
        keepdims: Whether these axes stay, with length 1.

    Returns:
        Array without the axes; nan where the divisor is not positive.

    Raises:
        ShapeError: ``axis`` is out of range.

    Differentiation: every element gets ``ct * (x - mean) / (divisor * out)``; infinite or nan
    where all elements are equal.

    Example:
        >>> pb.std(pb.asarray([1.0, 3.0]))
        Array(1., f32)
    """
    value, result = _wide(x)
    axes = normalize_axes("std", axis, value.ndim)
    variance = _variance(value, axes, correction if ddof is None else ddof, keepdims)
    return astype(Sqrt()(variance), result)


def _running(name: str, x: ArrayLike, axis: int | None) -> tuple[Value, int]:
    value = as_array(x)
    if axis is None:
        return reshape(value, (value.size,)), 0
    return value, normalize_axis(name, axis, value.ndim)


def _with_initial(result: Value, axis: int, initial: int, include: bool) -> Value:
    if not include:
        return result
    shape = (*result.shape[:axis], 1, *result.shape[axis + 1 :])
    return concat([full(shape, initial, dtype=result.dtype), result], axis=axis)


def cumulative_sum(
    x: ArrayLike,
    /,
    axis: int | None = None,
    *,
    dtype: Any = None,
    include_initial: bool = False,
    reverse: bool = False,
) -> Value:
    """Running sum along an axis.

    Args:
        x: Array.
        axis: Along which axis; None to flatten ``x`` first. Static.
        dtype: The dtype to sum in; None for that of ``x``, but at least 32 bits for integers.
        include_initial: Whether the sum of no elements, 0, comes first.
        reverse: Whether to sum from the end.

    Returns:
        Array of the shape of ``x``, one longer along ``axis`` with ``include_initial``.

    Raises:
        ShapeError: ``axis`` is out of range.

    Differentiation: the running sum of the cotangent in the other direction.

    Example:
        >>> pb.cumulative_sum(pb.asarray([1, 2, 3]))
        Array([1, 3, 6], i32)
    """
    value, place = _running("cumulative_sum", x, axis)
    running = CumSum(place, reverse)(astype(value, _sum_dtype(value.dtype, dtype)))
    return _with_initial(running, place, 0, include_initial)


def cumulative_prod(
    x: ArrayLike,
    /,
    axis: int | None = None,
    *,
    dtype: Any = None,
    include_initial: bool = False,
    reverse: bool = False,
) -> Value:
    """Running product along an axis.

    Args:
        x: Array.
        axis: Along which axis; None to flatten ``x`` first. Static.
        dtype: The dtype to multiply in; None for that of ``x``, but at least 32 bits for integers.
        include_initial: Whether the product of no elements, 1, comes first.
        reverse: Whether to multiply from the end.

    Returns:
        Array of the shape of ``x``, one longer along ``axis`` with ``include_initial``.

    Raises:
        ShapeError: ``axis`` is out of range.

    Differentiation: right at zeros, too; it never divides.

    Example:
        >>> pb.cumulative_prod(pb.asarray([1, 2, 3]))
        Array([1, 2, 6], i32)
    """
    value, place = _running("cumulative_prod", x, axis)
    running = CumProd(place, reverse)(astype(value, _sum_dtype(value.dtype, dtype)))
    return _with_initial(running, place, 1, include_initial)


cumsum, cumprod = cumulative_sum, cumulative_prod


def cummax(x: ArrayLike, /, axis: int | None = None, *, reverse: bool = False) -> Value:
    """Running maximum along an axis; nan from the first nan on.

    Example:
        >>> pb.cummax(pb.asarray([1, 3, 2]))
        Array([1, 3, 3], i32)
    """
    value, place = _running("cummax", x, axis)
    require_dtype("cummax", value, NUMERIC)
    result: Value = CumMax(place, reverse)(value)
    return result


def cummin(x: ArrayLike, /, axis: int | None = None, *, reverse: bool = False) -> Value:
    """Running minimum along an axis; nan from the first nan on.

    Example:
        >>> pb.cummin(pb.asarray([2, 1, 3]))
        Array([2, 1, 1], i32)
    """
    value, place = _running("cummin", x, axis)
    require_dtype("cummin", value, NUMERIC)
    result: Value = CumMin(place, reverse)(value)
    return result
