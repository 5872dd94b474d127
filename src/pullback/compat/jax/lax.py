"""``jax.lax``: control flow, and operations with JAX's meaning of their arguments.

Imports ``control``, ``custom`` and ``ops``. Several names mean other things than in the array
namespace: ``max`` and ``min`` are elementwise, ``div`` and ``rem`` of integers round towards zero,
``pad`` takes pairs for each axis. Start at ``scan``.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

from pullback import ops
from pullback.control import (
    associative_scan,
    cond,
    fori_loop,
    map,
    scan,
    switch,
    while_loop,
)
from pullback.custom import stop_gradient
from pullback.ops import (
    abs,
    acos,
    acosh,
    add,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_not,
    bitwise_or,
    bitwise_xor,
    cbrt,
    ceil,
    cos,
    cosh,
    digamma,
    dynamic_slice,
    dynamic_update_slice,
    erf,
    erfc,
    exp,
    exp2,
    expm1,
    floor,
    full,
    full_like,
    lgamma,
    log,
    log1p,
    nextafter,
    pow,
    reciprocal,
    reshape,
    rsqrt,
    sign,
    sin,
    sinh,
    sqrt,
    square,
    tan,
    tanh,
    top_k,
    transpose,
)
from pullback.ops.arguments import ArrayLike, as_array, as_shape, normalize_axis
from pullback.ops.nn import sigmoid as logistic
from pullback.primitives.dot import Dot
from pullback.primitives.shape import Broadcast, Pad
from pullback.program.value import Value
from pullback.types import INTEGER, as_dtype

__all__ = [
    "abs",
    "acos",
    "acosh",
    "add",
    "argmax",
    "argmin",
    "asin",
    "asinh",
    "associative_scan",
    "atan",
    "atan2",
    "atanh",
    "bitcast_convert_type",
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "broadcast",
    "broadcast_in_dim",
    "broadcasted_iota",
    "cbrt",
    "ceil",
    "clamp",
    "concatenate",
    "cond",
    "convert_element_type",
    "cos",
    "cosh",
    "cummax",
    "cummin",
    "cumprod",
    "cumsum",
    "digamma",
    "div",
    "dot",
    "dot_general",
    "dynamic_index_in_dim",
    "dynamic_slice",
    "dynamic_slice_in_dim",
    "dynamic_update_index_in_dim",
    "dynamic_update_slice",
    "dynamic_update_slice_in_dim",
    "eq",
    "erf",
    "erf_inv",
    "erfc",
    "exp",
    "exp2",
    "expand_dims",
    "expm1",
    "floor",
    "fori_loop",
    "full",
    "full_like",
    "ge",
    "gt",
    "index_in_dim",
    "integer_pow",
    "iota",
    "is_finite",
    "le",
    "lgamma",
    "log",
    "log1p",
    "logistic",
    "lt",
    "map",
    "max",
    "min",
    "mul",
    "ne",
    "neg",
    "nextafter",
    "pad",
    "pow",
    "reciprocal",
    "rem",
    "reshape",
    "rev",
    "rsqrt",
    "scan",
    "select",
    "sign",
    "sin",
    "sinh",
    "slice",
    "slice_in_dim",
    "sort",
    "sqrt",
    "square",
    "squeeze",
    "stop_gradient",
    "sub",
    "switch",
    "tan",
    "tanh",
    "top_k",
    "transpose",
    "while_loop",
]

sub = ops.subtract
mul = ops.multiply
neg = ops.negative
max = ops.maximum
min = ops.minimum
eq, ne, lt, le, gt, ge = (
    ops.equal,
    ops.not_equal,
    ops.less,
    ops.less_equal,
    ops.greater,
    ops.greater_equal,
)
erf_inv = ops.erfinv
is_finite = ops.isfinite
rem = ops.fmod


def div(x: ArrayLike, y: ArrayLike) -> Value:
    """Return ``x / y``; that of integers is rounded towards zero."""
    a, b = as_array(x), as_array(y)
    if a.dtype not in INTEGER or b.dtype not in INTEGER:
        return ops.divide(a, b)
    rest = ops.fmod(a, b)
    return ops.floor_divide(ops.subtract(a, rest), b)


def integer_pow(x: ArrayLike, y: int) -> Value:
    """Return ``x ** y`` for a static integer."""
    return ops.pow(x, y)


def clamp(min: ArrayLike, x: ArrayLike, max: ArrayLike) -> Value:
    """Return ``x`` brought into ``min .. max``."""
    return ops.clip(x, min, max)


def select(pred: ArrayLike, on_true: ArrayLike, on_false: ArrayLike) -> Value:
    """Return ``on_true`` where ``pred`` holds, else ``on_false``."""
    return ops.where(pred, on_true, on_false)


def convert_element_type(operand: ArrayLike, new_dtype: Any) -> Value:
    """Return ``operand`` cast to a dtype."""
    return ops.astype(as_array(operand), new_dtype)


def bitcast_convert_type(operand: ArrayLike, new_dtype: Any) -> Value:
    """Return the bits of ``operand`` read as a dtype of the same width."""
    return ops.bitcast(operand, new_dtype)


def concatenate(operands: Sequence[ArrayLike], dimension: int) -> Value:
    """Return arrays joined along an axis."""
    return ops.concat(operands, axis=dimension)


def expand_dims(array: ArrayLike, dimensions: Sequence[int]) -> Value:
    """Return ``array`` with axes of length 1 at ``dimensions`` of the result."""
    return ops.expand_dims(array, axis=tuple(dimensions))


def squeeze(array: ArrayLike, dimensions: Sequence[int]) -> Value:
    """Return ``array`` without axes of length 1."""
    return ops.squeeze(array, axis=tuple(dimensions))


def rev(operand: ArrayLike, dimensions: Sequence[int]) -> Value:
    """Return ``operand`` with axes in reverse order."""
    return ops.flip(operand, axis=tuple(dimensions))


def broadcast(operand: ArrayLike, sizes: Sequence[int]) -> Value:
    """Return ``operand`` repeated along new leading axes."""
    x = as_array(operand)
    return ops.broadcast_to(x, (*sizes, *x.shape))


def broadcast_in_dim(
    operand: ArrayLike, shape: Sequence[int], broadcast_dimensions: Sequence[int]
) -> Value:
    """Return ``operand`` repeated to ``shape``; its axes become ``broadcast_dimensions``."""
    x = as_array(operand)
    new = tuple(i for i in range(len(shape)) if i not in broadcast_dimensions)
    expanded = ops.expand_dims(x, axis=new) if new else x
    return ops.broadcast_to(expanded, tuple(shape))


def iota(dtype: Any, size: int) -> Value:
    """Return the numbers from 0 to ``size - 1``."""
    return ops.arange(size, dtype=dtype)


def broadcasted_iota(dtype: Any, shape: Sequence[int], dimension: int) -> Value:
    """Return the position along one axis, for every element of ``shape``."""
    lengths = as_shape("broadcasted_iota", tuple(shape))
    axis = normalize_axis("broadcasted_iota", dimension, len(lengths))
    others = tuple(i for i in range(len(lengths)) if i != axis)
    positions: Value = Broadcast(lengths, others)(iota(dtype, lengths[axis]))
    return positions


def pad(
    operand: ArrayLike, padding_value: ArrayLike, padding_config: Sequence[tuple[int, int, int]]
) -> Value:
    """Return ``operand`` with ``(low, high, interior)`` elements added for each axis."""
    x = as_array(operand)
    low, high, interior = ((*part,) for part in zip(*padding_config, strict=True))
    padded: Value = Pad(low, high, interior)(x, ops.astype(as_array(padding_value), x.dtype))
    return padded


def slice(
    operand: ArrayLike,
    start_indices: Sequence[int],
    limit_indices: Sequence[int],
    strides: Sequence[int] | None = None,
) -> Value:
    """Return a static block of ``operand``."""
    steps = strides or [1] * len(start_indices)
    bounds = zip(start_indices, limit_indices, steps, strict=True)
    part: Value = as_array(operand)[tuple(builtins.slice(*bound) for bound in bounds)]
    return part


def slice_in_dim(
    operand: ArrayLike,
    start_index: int | None,
    limit_index: int | None,
    stride: int = 1,
    axis: int = 0,
) -> Value:
    """Return a static part of ``operand`` along one axis."""
    x = as_array(operand)
    key = [builtins.slice(None)] * x.ndim
    key[normalize_axis("slice_in_dim", axis, x.ndim)] = builtins.slice(
        start_index, limit_index, stride
    )
    part: Value = x[tuple(key)]
    return part


def index_in_dim(operand: ArrayLike, index: int, axis: int = 0, keepdims: bool = True) -> Value:
    """Return the static position ``index`` along one axis."""
    return dynamic_index_in_dim(operand, index, axis, keepdims)


def dynamic_slice_in_dim(
    operand: ArrayLike, start_index: ArrayLike, slice_size: int, axis: int = 0
) -> Value:
    """Return ``slice_size`` positions along one axis from ``start_index``, which is clamped."""
    x = as_array(operand)
    place = normalize_axis("dynamic_slice_in_dim", axis, x.ndim)
    starts, sizes = _at(x, place, start_index), [*x.shape]
    sizes[place] = slice_size
    return dynamic_slice(x, starts, sizes)


def dynamic_index_in_dim(
    operand: ArrayLike, index: ArrayLike, axis: int = 0, keepdims: bool = True
) -> Value:
    """Return one position along an axis, clamped."""
    x = as_array(operand)
    part = dynamic_slice_in_dim(x, index, 1, axis)
    return part if keepdims else ops.squeeze(part, axis=axis)


def dynamic_update_slice_in_dim(
    operand: ArrayLike, update: ArrayLike, start_index: ArrayLike, axis: int
) -> Value:
    """Return ``operand`` with ``update`` from ``start_index``, which is clamped, along an axis."""
    x = as_array(operand)
    place = normalize_axis("dynamic_update_slice_in_dim", axis, x.ndim)
    return dynamic_update_slice(x, update, _at(x, place, start_index))


def dynamic_update_index_in_dim(
    operand: ArrayLike, update: ArrayLike, index: ArrayLike, axis: int
) -> Value:
    """Return ``operand`` with ``update`` at one position along an axis, clamped."""
    x, new = as_array(operand), as_array(update)
    if new.ndim == x.ndim - 1:
        new = ops.expand_dims(new, axis=axis)
    return dynamic_update_slice_in_dim(x, new, index, axis)


def _at(x: Value, place: int, start: ArrayLike) -> list[ArrayLike]:
    starts: list[ArrayLike] = [0] * x.ndim
    starts[place] = start
    return starts


def dot(lhs: ArrayLike, rhs: ArrayLike) -> Value:
    """Return the product of vectors and matrices."""
    return ops.dot(lhs, rhs)


def dot_general(
    lhs: ArrayLike,
    rhs: ArrayLike,
    dimension_numbers: tuple[Any, Any],
    precision: Any = None,
    preferred_element_type: Any = None,
) -> Value:
    """Return products summed over pairs of axes, for each place along batch axes.

    Args:
        lhs: Array.
        rhs: Array.
        dimension_numbers: ``((lhs contracting, rhs contracting), (lhs batch, rhs batch))``.
        precision: Accepted; products are of full precision.
        preferred_element_type: Dtype of the result. Default: that of the promoted operands.
    """
    (left, right), (left_batch, right_batch) = dimension_numbers
    contract, batch = (tuple(left), tuple(right)), (tuple(left_batch), tuple(right_batch))
    x, y = as_array(lhs), as_array(rhs)
    wanted = x.dtype if preferred_element_type is None else as_dtype(preferred_element_type)
    if (x.dtype in INTEGER) != (wanted in INTEGER):
        x, y = ops.astype(x, wanted), ops.astype(y, wanted)
    wider = wanted if wanted.itemsize > x.dtype.itemsize else None
    product: Value = Dot(contract, batch, wider)(x, y)
    return ops.astype(product, wanted)


def argmax(operand: ArrayLike, axis: int, index_dtype: Any) -> Value:
    """Return the position of the greatest along an axis."""
    return ops.astype(ops.argmax(operand, axis=axis), as_dtype(index_dtype))


def argmin(operand: ArrayLike, axis: int, index_dtype: Any) -> Value:
    """Return the position of the least along an axis."""
    return ops.astype(ops.argmin(operand, axis=axis), as_dtype(index_dtype))


def cumsum(operand: ArrayLike, axis: int = 0, reverse: bool = False) -> Value:
    """Return running sums of the operand's dtype."""
    x = as_array(operand)
    return ops.cumulative_sum(x, axis=axis, dtype=x.dtype, reverse=reverse)


def cumprod(operand: ArrayLike, axis: int = 0, reverse: bool = False) -> Value:
    """Return running products of the operand's dtype."""
    x = as_array(operand)
    return ops.cumulative_prod(x, axis=axis, dtype=x.dtype, reverse=reverse)


def cummax(operand: ArrayLike, axis: int = 0, reverse: bool = False) -> Value:
    """Return running maxima."""
    return ops.cummax(operand, axis=axis, reverse=reverse)


def cummin(operand: ArrayLike, axis: int = 0, reverse: bool = False) -> Value:
    """Return running minima."""
    return ops.cummin(operand, axis=axis, reverse=reverse)


def sort(operand: ArrayLike, dimension: int = -1) -> Value:
    """Return ``operand`` in ascending order along an axis."""
    return ops.sort(operand, axis=dimension)


def __getattr__(name: str) -> Any:
    raise AttributeError(
        f"jax.lax.{name} is not there: the functions of jax.numpy do most of it, and convolutions "
        "are Keras's"
    )
