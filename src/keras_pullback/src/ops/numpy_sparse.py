"""Operations on sparse tensors, those that Keras's layers and optimizers need.

``ops.numpy`` turns to them where an operand is sparse. What keeps zeros zero has a sparse result;
what does not makes a dense one, as on Keras's other backends with sparse tensors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from keras.src.backend import config

import pullback as pb
from keras_pullback.src.ops import numpy_binary, numpy_sets, numpy_shape
from keras_pullback.src.ops.complex_arrays import ComplexArray, evaluate
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.numpy_common import (
    axes_of,
    common_dtype,
    floating_operands,
    is_floating,
    is_weak,
    to,
)
from keras_pullback.src.ops.sparse_arrays import (
    are_held,
    is_foreign,
    refusal,
    sparse_tensor,
    to_dense,
)
from pullback import sparse as engine
from pullback.sparse import COO

#: With f(a + b) = f(a) + f(b), elements stored twice stay so.
LINEAR = ("copy", "conj", "conjugate", "real", "imag", "negative")
#: With f(0) = 0.
ZERO_TO_ZERO = (
    *("abs", "absolute", "arcsin", "arcsinh", "arctan", "arctanh", "ceil", "expm1", "floor"),
    *("isinf", "isnan", "log1p", "round", "sign", "signbit", "sin", "sinh", "sqrt", "square"),
    *("tan", "tanh", "trunc"),
)
#: Their result is dense.
DENSE = (
    *("arccos", "arccosh", "cos", "cosh", "exp", "exp2", "isfinite", "log", "log10", "log2"),
    *("reciprocal",),
)


def operand(x: Any) -> Any:
    """A sparse tensor of this backend, a Python number as it is, or a dense tensor."""
    if isinstance(x, COO):
        return x
    if is_foreign(x):
        return sparse_tensor(x, None, lambda values: values)
    return x if is_weak(x) else real_tensor(x)


def dense(x: Any) -> Any:
    """``x`` as a dense tensor, or a Python number."""
    x = operand(x)
    return to_dense(x) if isinstance(x, COO) else x


def _is_scalar(x: Any) -> bool:
    return not isinstance(x, COO) and (is_weak(x) or x.ndim == 0)


def _unique(x: COO) -> COO:
    return x if x.is_unique else engine.sum_duplicates(x)


def on_values(function: Callable[..., Any], linear: bool) -> Callable[..., Any]:
    """An elementwise function with f(0) = 0, on what is stored."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        x = operand(x)
        if not linear:
            x = _unique(x)
        form = getattr(np, function.__name__) if isinstance(x.values, ComplexArray) else None
        values = evaluate(form, x.values) if form else function(x.values, *args, **kwargs)
        return x.with_values(values)

    return call


def on_dense(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one tensor, on its dense form."""

    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        return function(dense(x), *args, **kwargs)

    return call


# Two operands


def _cast(x: Any, dtype: Any) -> Any:
    if isinstance(x, COO):
        return x if x.dtype == dtype else x.with_values(to(x.values, dtype))
    return pb.asarray(x, dtype=dtype)


def _pair(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Two operands in their common dtype."""
    x1, x2 = operand(x1), operand(x2)
    dtype = common_dtype(*(x.values if isinstance(x, COO) else x for x in (x1, x2)))
    return _cast(x1, dtype), _cast(x2, dtype)


def _broadcast(x1: COO, x2: COO) -> tuple[COO, COO]:
    """Two sparse tensors in their common shape."""
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    return tuple(x if x.shape == shape else engine.broadcast_to(x, shape) for x in (x1, x2))  # type: ignore[return-value]  # two of them


def _sum(function: Callable[..., Any], combine: Callable[..., Any], x1: Any, x2: Any) -> Any:
    x1, x2 = _pair(x1, x2)
    are_sparse = isinstance(x1, COO) and isinstance(x2, COO)
    if are_sparse and x1.indices is x2.indices:
        return x1.with_values(function(x1.values, x2.values))
    if _is_scalar(x1) or _is_scalar(x2) or x1.dtype == np.bool_:
        return _extremum(function, x1, x2) if are_sparse else function(dense(x1), dense(x2))
    return combine(x1, x2)


def add(x1: Any, x2: Any) -> Any:
    """Return the sum: sparse where both are."""
    return _sum(numpy_binary.add, engine.add, x1, x2)


def subtract(x1: Any, x2: Any) -> Any:
    """Return the difference: sparse where both are."""
    return _sum(numpy_binary.subtract, engine.subtract, x1, x2)


def _with_places_of(x: COO, other: COO) -> COO:
    """``x`` with zeros stored where ``other`` stores something too, each place once and sorted."""
    zeros = pb.zeros(other.values.shape, dtype=x.dtype)
    values = pb.concatenate([x.values, zeros], 0)
    indices = pb.concatenate([x.indices, other.indices], 0)
    return engine.sum_duplicates(COO(values, indices, x.shape))


def _extremum(function: Callable[..., Any], x1: Any, x2: Any) -> Any:
    x1, x2 = _pair(x1, x2)
    if not (isinstance(x1, COO) and isinstance(x2, COO)):
        return function(dense(x1), dense(x2))
    x1, x2 = _broadcast(x1, x2)
    first, second = _with_places_of(x1, x2), _with_places_of(x2, x1)
    return first.with_values(function(first.values, second.values))


def maximum(x1: Any, x2: Any) -> Any:
    """Return the larger of two elements: sparse where both are."""
    return _extremum(numpy_binary.maximum, x1, x2)


def minimum(x1: Any, x2: Any) -> Any:
    """Return the smaller of two elements: sparse where both are."""
    return _extremum(numpy_binary.minimum, x1, x2)


def multiply(x1: Any, x2: Any) -> Any:
    """Return the product: sparse where one of the two is."""
    x1, x2 = _pair(x1, x2)
    if isinstance(x1, COO) and isinstance(x2, COO) and x1.indices is x2.indices:
        x1, x2 = (x1, x2) if x1.is_unique else (_unique(x1), _unique(x2))
        return x1.with_values(numpy_binary.multiply(x1.values, x2.values))
    for x, y in ((x1, x2), (x2, x1)):
        if _is_scalar(y):
            return x.with_values(numpy_binary.multiply(x.values, y))
    return engine.multiply(x1, x2)


def divide(x1: Any, x2: Any) -> Any:
    """Return the quotient as a float: sparse where the dividend alone is.

    Outside of compiled functions also zeros over zero or NaN are right; inside, where the number
    of stored elements is fixed, elements that are not stored stay zero.
    """
    x1, x2 = operand(x1), operand(x2)
    if not isinstance(x1, COO) or isinstance(x2, COO):
        return numpy_binary.divide(dense(x1), dense(x2))
    values, divisor = floating_operands(x1.values, x2)
    x1 = x1.with_values(values)
    if divisor.ndim == 0:
        return x1.with_values(pb.divide(values, divisor))
    shape = np.broadcast_shapes(x1.shape, divisor.shape)
    if x1.shape != shape:
        x1 = engine.broadcast_to(x1, shape)
    divisor = pb.broadcast_to(divisor, shape)
    if isinstance(divisor, pb.Array):
        undefined = pb.logical_or(pb.equal(divisor, 0), pb.isnan(divisor))
        x1 = _with_places_of(x1, engine.from_dense(undefined, dense_ndim=x1.dense_ndim))
    return engine.divide(x1, divisor)


def matmul(x1: Any, x2: Any) -> Any:
    """Return the product of matrices: sparse where both are."""
    return engine.matmul(*_pair(x1, x2))


# Reductions


def _as_coo(x: Any) -> COO:
    """A tensor as a sparse one, which stores the whole of it if it is dense."""
    if isinstance(x, COO):
        return x
    sparse_ndim = x.ndim if x.size == 1 else 0
    values = pb.reshape(x, (1, *x.shape[sparse_ndim:]))
    nowhere = pb.zeros((1, sparse_ndim), dtype="int32")
    return COO(values, nowhere, x.shape, is_sorted=True, is_unique=True)


def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the sum of the elements, sparse as Keras has it."""
    x = operand(x)
    axes = axes_of(axis, x.ndim)
    if not axes:
        return x
    return _as_coo(engine.sum(x, axes, keepdims=keepdims))


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Return the mean of the elements, sparse as Keras has it."""
    x = operand(x)
    dtype = x.dtype if is_floating(x) else np.dtype(config.floatx())
    wide = np.dtype(np.float32) if dtype.itemsize == 2 else dtype
    count = math.prod(x.shape[a] for a in axes_of(axis, x.ndim))
    total = sum(_cast(x, wide), axis, keepdims)
    return total.with_values(to(pb.divide(total.values, float(count)), dtype))


# Shapes


def reshape(x: Any, newshape: Any) -> Any:
    """Return ``x`` in another shape, where one size may be -1."""
    x = operand(x)
    return engine.reshape(x, newshape if isinstance(newshape, int) else tuple(newshape))


def ravel(x: Any) -> Any:
    """Return ``x`` with one axis."""
    return reshape(x, (-1,))


def transpose(x: Any, axes: Any = None) -> Any:
    """Permute the axes, reversed by default."""
    x = operand(x)
    axes = range(x.ndim)[::-1] if axes is None else [a % x.ndim for a in axes]
    return engine.transpose(x, tuple(axes))


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Exchange two axes."""
    x = operand(x)
    axes = [*range(x.ndim)]
    axes[axis1], axes[axis2] = axes[axis2], axes[axis1]
    return engine.transpose(x, tuple(axes))


def expand_dims(x: Any, axis: Any) -> Any:
    """Insert axes of size one at ``axis``."""
    x = operand(x)
    several = axis if isinstance(axis, (tuple, list)) else (axis,)
    ndim = x.ndim + len(several)
    for a in sorted(axes_of(several, ndim)):
        x = engine.expand_dims(x, a)
    return x


def squeeze(x: Any, axis: Any = None) -> Any:
    """Drop the axes of size one, or those of ``axis``."""
    x = operand(x)
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else axes_of(axis, x.ndim)
    return engine.squeeze(x, tuple(axes)) if axes else x


def broadcast_to(x: Any, shape: Any) -> Any:
    """Broadcast ``x`` to a shape."""
    return engine.broadcast_to(operand(x), (shape,) if isinstance(shape, int) else tuple(shape))


def concatenate(xs: Any, axis: int = 0) -> Any:
    """Join tensors along an axis that they have: sparse where all are."""
    xs = [operand(x) for x in xs]
    if not all(isinstance(x, COO) for x in xs):
        return numpy_shape.concatenate([dense(x) for x in xs], axis)
    dtype = common_dtype(*(x.values for x in xs))
    return engine.concatenate([_cast(x, dtype) for x in xs], axis % xs[0].ndim)


def take(x: Any, indices: Any, axis: Any = None) -> Any:
    """Pick elements along ``axis`` by index; rows of a sparse tensor, or by sparse indices."""
    x = operand(x)
    if not isinstance(x, COO):
        return numpy_shape.take(x, dense(indices), axis)
    rows = dense(indices)
    if axis != 0 or is_weak(rows) or rows.ndim != 1:
        raise refusal(x)
    return engine.take(x, rows)


def take_along_axis(x: Any, indices: Any, axis: Any = None) -> Any:
    """Pick one element per position along ``axis`` by index, which may be sparse."""
    x = operand(x)
    if isinstance(x, COO):
        raise refusal(x)
    return numpy_shape.take_along_axis(x, dense(indices), axis)


def ndim(x: Any) -> int:
    """Return the number of axes."""
    return len(x.shape)


def size(x: Any) -> int:
    """Return the number of elements, of those that are not stored too."""
    return math.prod(x.shape)


# Counting


def digitize(x: Any, bins: Any) -> Any:
    """Return the index of the bin that each element is in, where zero is in the first.

    Raises:
        ValueError: zero is in another, so that the result is not sparse.
    """
    x, edges = _unique(operand(x)), real_tensor(bins)
    if isinstance(edges, pb.Array) and edges.size and np.asarray(edges).min() <= 0:
        raise ValueError(
            f"`digitize` takes a sparse tensor {tuple(x.shape)} where zero is in the first bin: "
            "`bins` above zero. keras.ops.convert_to_tensor(x, sparse=False) makes it dense"
        )
    return x.with_values(numpy_sets.digitize(x.values, edges))


def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> Any:
    """Return how often each of 0, 1, 2, ... is stored, or the sum of weights, row by row.

    Raises:
        ValueError: of ``x`` and ``weights``, one alone is sparse, or they store other places.
    """
    del sparse  # one operand is, or it was asked for
    x, weights = operand(x), None if weights is None else operand(weights)
    if weights is not None and isinstance(weights, COO) != isinstance(x, COO):
        raise ValueError("`bincount` takes `x` and `weights` that are both sparse or both dense")
    if len(x.shape) not in (1, 2):
        raise ValueError(f"`bincount` takes a tensor of one or two axes, got {len(x.shape)}")
    if isinstance(x, COO):
        if weights is not None and not np.array_equal(x.indices, weights.indices):
            raise ValueError("`bincount` takes sparse `x` and `weights` with the same indices")
        values, rows = np.asarray(x.values), np.asarray(x.indices)
        weight = None if weights is None else np.asarray(weights.values)
        held = are_held(rows, x.shape)
    else:
        values = np.asarray(x).reshape(-1)
        weight = None if weights is None else np.asarray(weights).reshape(-1)
        rows = np.stack(np.unravel_index(np.arange(values.size), x.shape), axis=1)
        held = np.ones(values.size, bool)
    values, rows = values[held].astype(np.int32), rows[held]
    length = max(int(minlength), int(values.max(initial=-1)) + 1)
    places = [rows[:, i] for i in range(len(x.shape) - 1)] + [values]
    counted = np.ones(values.size, np.int32) if weight is None else weight[held]
    indices = pb.asarray(np.stack(places, axis=1).astype(np.int32))
    return engine.sum_duplicates(COO(pb.asarray(counted), indices, (*x.shape[:-1], length)))


def one_hot(x: Any, num_classes: int, axis: int, dtype: Any) -> COO:
    """Return sparse vectors with a one at the place that each integer of a dense ``x`` names."""
    axis = axis % (x.ndim + 1)
    flat = pb.astype(pb.reshape(x, (-1,)), "int32")
    is_class = pb.logical_and(pb.greater_equal(flat, 0), pb.less(flat, num_classes))
    places = np.indices(x.shape, np.int32).reshape(x.ndim, x.size)
    columns = [pb.asarray(column) for column in places]
    # What names no class holds a zero, so that the number of elements depends on the shape alone.
    columns.insert(axis, pb.clip(flat, 0, num_classes - 1))
    shape = (*x.shape[:axis], num_classes, *x.shape[axis:])
    values = pb.astype(is_class, dtype)
    return COO(values, pb.stack(columns, 1), shape, is_sorted=axis == x.ndim, is_unique=True)


def multi_hot(x: Any, num_classes: int, axis: int, dtype: Any) -> COO:
    """Return sparse vectors with a one at each place that a row of integers names."""
    counts = sum(one_hot(x, num_classes, axis, "int32"), axis=1 if x.ndim > 1 else 0)
    counts = engine.sum_duplicates(counts)
    return counts.with_values(pb.astype(pb.greater(counts.values, 0), dtype))


#: By the names in ``keras.ops``; the elementwise functions of one tensor beside them.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": add,
    "bincount": bincount,
    "broadcast_to": broadcast_to,
    "concatenate": concatenate,
    "digitize": digitize,
    "divide": divide,
    "expand_dims": expand_dims,
    "matmul": matmul,
    "maximum": maximum,
    "mean": mean,
    "minimum": minimum,
    "multiply": multiply,
    "ndim": ndim,
    "ravel": ravel,
    "reshape": reshape,
    "size": size,
    "squeeze": squeeze,
    "subtract": subtract,
    "sum": sum,
    "swapaxes": swapaxes,
    "take": take,
    "take_along_axis": take_along_axis,
    "transpose": transpose,
    "true_divide": divide,
}

NAMES = (*FUNCTIONS, *LINEAR, *ZERO_TO_ZERO, *DENSE)


def form_of(name: str, function: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the form for sparse operands of an operation, whose dense form is ``function``."""
    if name in LINEAR or name in ZERO_TO_ZERO:
        return on_values(function, linear=name in LINEAR)
    return on_dense(function) if name in DENSE else FUNCTIONS.get(name)
