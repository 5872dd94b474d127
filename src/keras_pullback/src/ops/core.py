"""Keras's core operations: conversion, control flow, scatter, symbolic shapes.

Imports ``variable`` and ``pullback``. Every other module of the backend imports this one; start at
``convert_to_tensor`` and ``compute_output_spec``.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from keras.src import tree
from keras.src.backend.common import KerasVariable, standardize_dtype
from keras.src.backend.common.keras_tensor import KerasTensor
from keras.src.backend.common.stateless_scope import StatelessScope
from keras.src.backend.common.symbolic_scope import SymbolicScope

import pullback as pb
from keras_pullback.src.ops import sparse_arrays
from keras_pullback.src.ops.complex_arrays import (
    DTYPES,
    ComplexArray,
    ComplexOperandError,
    complex_tensor,
    real_dtype,
    refusal,
)
from keras_pullback.src.ops.sparse_arrays import SparseOperandError
from keras_pullback.src.variable import Variable as Variable  # Keras reads it here too
from pullback.errors import PullbackError
from pullback.program.value import Value, as_value
from pullback.sparse import COO
from pullback.trace.stage import stage
from pullback.types import ArrayType, as_dtype

SUPPORTS_SPARSE_TENSORS = True
SUPPORTS_RAGGED_TENSORS = False
#: Outside programs and derivatives.
SUPPORTS_COMPLEX_DTYPES = True
SUPPORTS_GRADIENT = True
#: Keras would otherwise run batch callbacks in a thread pool beside the step that changes weights.
IS_THREAD_SAFE = False

#: Two lengths that stand for an unknown axis: what differs between both results is unknown too.
_UNKNOWN_LENGTHS = (83, 89)


def convert_to_tensor(
    x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None
) -> Any:
    """``x`` as a tensor, cast to ``dtype`` if it is given.

    Complex ones are ``ComplexArray``. Sparse ones, also of SciPy, are ``pullback.sparse.COO``, and
    dense where ``sparse`` is False.
    """
    if ragged:
        raise ValueError("there are no ragged tensors with the pullback backend")
    try:
        return real_tensor(x, dtype)
    except SparseOperandError:
        return sparse_arrays.sparse_tensor(x, sparse, lambda v: _cast_values(v, dtype))
    except ComplexOperandError:
        if sparse_arrays.is_any_sparse(x):
            return sparse_arrays.sparse_tensor(x, sparse, lambda v: _cast_values(v, dtype))
        if isinstance(x, ComplexArray) and dtype is None:
            return x
        name = "" if dtype is None else standardize_dtype(dtype)
        wanted = DTYPES.get(name) or (as_dtype(name) if name else None)
        return complex_tensor(x, wanted)


def _cast_values(values: Any, dtype: Any) -> Any:
    return values if dtype is None else convert_to_tensor(values, dtype)


def real_tensor(x: Any, dtype: Any = None) -> Any:
    """``x`` as a tensor of the engine.

    Raises:
        ComplexOperandError: ``x`` or ``dtype`` is complex.
        SparseOperandError: ``x`` is sparse.
        ValueError: ``x`` holds strings or objects.
    """
    wanted = None if dtype is None else _as_dtype(dtype)
    if isinstance(x, KerasVariable):
        x = x.value
    if isinstance(x, Value):
        x = x.read()
        return x if wanted is None or x.dtype == wanted else pb.astype(x, wanted)
    if isinstance(x, (list, tuple)) and any(_is_tensor_like(part) for part in tree.flatten(x)):
        return pb.stack([real_tensor(part, dtype) for part in x])
    return _from_host(x, wanted)


def _from_host(x: Any, wanted: Any) -> Any:
    if isinstance(x, (bool, int, float)) and not isinstance(x, np.generic):
        # A Python number keeps its weak dtype, as it does in arithmetic, unless one is asked for.
        return as_value(x) if wanted is None else pb.asarray(np.asarray(x, wanted))
    if isinstance(x, COO):
        raise sparse_arrays.refusal(x)
    data = np.asarray(x)
    if data.dtype.kind == "c":
        raise refusal(x)
    if data.dtype.kind in "SUO":
        if sparse_arrays.is_foreign(x):
            raise sparse_arrays.refusal(x)
        what = "object" if data.dtype.kind == "O" else "string"
        raise ValueError(f"there are no {what} tensors with the pullback backend: got {x!r:.80}")
    if wanted is None and not hasattr(x, "dtype"):
        # Nested Python numbers: Keras's default dtypes, not NumPy's.
        wanted = {"f": _as_dtype(None), "i": as_dtype("int32")}.get(data.dtype.kind)
    # Arrays never change: memory that the caller may write to is copied.
    return pb.asarray(np.array(data, wanted))


def _as_dtype(dtype: Any) -> Any:
    return as_dtype(real_dtype(dtype))


def _is_tensor_like(x: Any) -> bool:
    return isinstance(x, (Value, KerasVariable))


def convert_to_numpy(x: Any) -> Any:
    """``x`` as a NumPy array of its own memory, a sparse tensor with its zeros."""
    if isinstance(x, COO):
        return sparse_arrays.to_numpy(x)
    return np.array(x.value if isinstance(x, KerasVariable) else x)


def is_tensor(x: Any) -> bool:
    """Whether ``x`` is a tensor of this backend."""
    return isinstance(x, (Value, ComplexArray, COO))


def shape(x: Any) -> tuple[int, ...]:
    """Lengths of the axes, which are always static."""
    return tuple(x.shape)


def cast(x: Any, dtype: Any) -> Any:
    """``x`` with another dtype."""
    return convert_to_tensor(x, dtype=dtype)


def _filled(leaves: Sequence[Any], places: Sequence[int], values: Sequence[Any]) -> list[Any]:
    """The leaves, with other values at some places."""
    filled = list(leaves)
    for i, x in zip(places, values, strict=True):
        filled[i] = x
    return filled


# Symbolic calls


def compute_output_spec(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Shapes and dtypes of ``fn``'s result as ``KerasTensor``; nothing is computed or allocated."""
    inputs = [x for x in tree.flatten((args, kwargs)) if isinstance(x, KerasTensor)]
    first = _trace_spec(fn, args, kwargs, _UNKNOWN_LENGTHS[0])
    if not any(None in x.shape for x in inputs):
        return first
    second = _trace_spec(fn, args, kwargs, _UNKNOWN_LENGTHS[1])
    return tree.map_structure(_common_spec, first, second)


def _trace_spec(fn: Callable[..., Any], args: Any, kwargs: Any, length: int) -> Any:
    leaves = tree.flatten((args, kwargs))
    symbolic = [i for i, x in enumerate(leaves) if isinstance(x, KerasTensor)]
    types = [t for i in symbolic for t in _array_types(leaves[i], length)]
    result: list[Any] = []

    def run(*tracers: Any) -> list[Any]:
        left = iter(tracers)
        filled = _filled(leaves, symbolic, [_traced(leaves[i], length, left) for i in symbolic])
        new_args, new_kwargs = tree.pack_sequence_as((args, kwargs), filled)
        result.append(fn(*new_args, **new_kwargs))
        return []

    # A scope of its own: what a trace assigns to variables ends with it.
    with StatelessScope(), SymbolicScope():
        stage(run, types)
        return tree.map_structure(_spec, result[0])


def _lengths(x: Any, length: int) -> tuple[int, ...]:
    return tuple(length if n is None else int(n) for n in x.shape)


def _array_types(x: Any, length: int) -> list[ArrayType]:
    """The type of a symbolic tensor; of a sparse one, those of one element and its indices."""
    lengths, dtype = _lengths(x, length), _as_dtype(x.dtype)
    if not x.sparse:
        return [ArrayType(lengths, dtype)]
    return [ArrayType((1,), dtype), ArrayType((1, len(lengths)), as_dtype("int32"))]


def _traced(x: Any, length: int, left: Iterator[Any]) -> Any:
    """The tensor of the next tracers for a symbolic one."""
    if not x.sparse:
        return next(left)
    return COO(next(left), next(left), _lengths(x, length))


def _spec(x: Any) -> Any:
    if isinstance(x, KerasVariable):
        x = x.value
    if isinstance(x, COO):
        return KerasTensor(x.shape, standardize_dtype(x.dtype), sparse=True)
    return KerasTensor(x.shape, standardize_dtype(x.dtype)) if isinstance(x, Value) else x


def _common_spec(x: Any, y: Any) -> Any:
    if not isinstance(x, KerasTensor):
        return x
    lengths = tuple(n if n == m else None for n, m in zip(x.shape, y.shape, strict=True))
    return KerasTensor(lengths, x.dtype, sparse=x.sparse)


# Control flow


def _tensors(structure: Any) -> Any:
    """The structure with every leaf a tensor."""
    return tree.map_structure(real_tensor, structure)


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """The result of one of two functions; variables that either assigns are merged."""
    pred = real_tensor(pred)
    if pred.dtype != np.bool_:
        pred = pred != 0
    if isinstance(pred, pb.Array):
        return true_fn() if bool(pred) else false_fn()
    return pb.cond(pred, lambda: _branch(true_fn), lambda: _branch(false_fn))


def _branch(f: Callable[..., Any], *operands: Any) -> Any:
    return tree.map_structure(real_tensor, f(*operands), none_is_leaf=False)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """The result of ``branches[index]``; the index is clamped."""
    calls = [functools.partial(_branch, f) for f in branches]
    return pb.switch(real_tensor(index, "int32"), calls, *_tensors(list(operands)))


def while_loop(
    cond: Callable[..., Any],
    body: Callable[..., Any],
    loop_vars: Any,
    maximum_iterations: int | None = None,
) -> Any:
    """Apply ``body`` to ``loop_vars`` while ``cond`` holds."""
    is_sequence = isinstance(loop_vars, (tuple, list))
    start = _tensors(tuple(loop_vars) if is_sequence else (loop_vars,))

    def test(state: Any) -> Any:
        count, values = state
        holds = pb.reshape(real_tensor(cond(*values), "bool"), ())
        return holds if maximum_iterations is None else holds & (count < maximum_iterations)

    def step(state: Any) -> Any:
        count, values = state
        result = body(*values)
        result = tuple(result) if isinstance(result, (tuple, list)) else (result,)
        like = [x.dtype for x in tree.flatten(values)]
        leaves = [real_tensor(x, t) for x, t in zip(tree.flatten(result), like, strict=True)]
        return count + 1, tree.pack_sequence_as(values, leaves)

    _, final = pb.while_loop(test, step, (pb.asarray(np.int32(0)), start))
    if not is_sequence:
        return final[0]
    return final if isinstance(loop_vars, tuple) else list(final)


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """Apply ``body_fun(i, value)`` for ``i`` from ``lower`` to ``upper - 1``."""
    return pb.fori_loop(lower, upper, lambda i, x: _branch(body_fun, i, x), _tensors(init_val))


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """The results of ``f`` on the slices of ``xs``, stacked."""
    return pb.map(functools.partial(_branch, f), _tensors(xs))


def scan(
    f: Callable[..., Any],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> Any:
    """Carry a value along the slices of ``xs``; see ``pullback.scan``."""
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    if not isinstance(unroll, bool) and (not isinstance(unroll, int) or unroll < 1):
        raise ValueError(
            f"`unroll` must be an positive integer or boolean. Received: unroll={unroll}"
        )
    if xs is None and length is None:
        raise ValueError("Got no `xs` to scan over and `length` not provided.")
    xs = None if xs is None else _tensors(xs)
    return pb.scan(
        functools.partial(_branch, f), _tensors(init), xs, length, reverse=reverse, unroll=unroll
    )


def associative_scan(
    f: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """The running results of an associative function along ``axis``."""
    if not callable(f):
        raise TypeError(f"`f` should be a callable. Received: f={f}")
    elems = _tensors(elems)
    lengths = {x.shape[axis] for x in tree.flatten(elems)}
    if len(lengths) > 1:
        raise ValueError(
            "Array inputs to associative_scan must have the same first dimension. "
            f"(saw: {[x.shape for x in tree.flatten(elems)]})"
        )
    return pb.associative_scan(f, elems, reverse=reverse, axis=axis)


def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """``function`` on every slice of ``elements``; a compiled loop, for there is no ``vmap``."""
    return map(function, elements)


def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Any]:
    """The slices of ``x`` along ``axis``."""
    return list(pb.unstack(real_tensor(x), axis=axis))


# Indexing


def _scatter(base: Any, indices: Any, values: Any, reduction: str | None) -> Any:
    places = real_tensor(indices)
    key = tuple(places[..., i] for i in range(places.shape[-1]))
    at = base.at[key]
    update = {
        None: at.set, "add": at.add, "max": at.max, "min": at.min, "mul": at.multiply,
    }.get(reduction)  # fmt: skip
    if update is None:
        raise ValueError(f"Unsupported reduction: {reduction}")
    return update(pb.astype(real_tensor(values), base.dtype))


def scatter(indices: Any, values: Any, shape: Sequence[int]) -> Any:
    """Zeros of ``shape`` with ``values`` added at ``indices``."""
    values = real_tensor(values)
    return _scatter(pb.zeros(tuple(shape), dtype=values.dtype), indices, values, "add")


def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Any:
    """``inputs`` with ``updates`` written at ``indices``, or combined by ``reduction``."""
    return _scatter(real_tensor(inputs), indices, updates, reduction)


def slice(inputs: Any, start_indices: Any, shape: Sequence[int]) -> Any:
    """The part of ``inputs`` that starts at ``start_indices``; -1 takes the rest of an axis."""
    inputs = real_tensor(inputs)
    if len(start_indices) != len(shape):
        raise ValueError(
            "Length of `start_indices` must match length of `shape`. "
            f"Received: start_indices={start_indices}, shape={shape}"
        )
    lengths = [
        inputs.shape[i] - int(start_indices[i]) if n == -1 else int(n) for i, n in enumerate(shape)
    ]
    return pb.dynamic_slice(inputs, _starts(start_indices), lengths)


def slice_update(inputs: Any, start_indices: Any, updates: Any) -> Any:
    """``inputs`` with ``updates`` written from ``start_indices`` on."""
    inputs = real_tensor(inputs)
    updates = real_tensor(updates, inputs.dtype)
    return pb.dynamic_update_slice(inputs, updates, _starts(start_indices))


def _starts(start_indices: Any) -> list[Any]:
    if isinstance(start_indices, Value):
        start_indices = [start_indices[i] for i in range(start_indices.shape[0])]
    return [i if isinstance(i, (int, np.integer)) else real_tensor(i) for i in start_indices]


# Derivatives


def stop_gradient(variable: Any) -> Any:
    """``variable`` as a constant to differentiation."""
    if isinstance(variable, COO):
        return variable.with_values(pb.stop_gradient(variable.values))
    return pb.stop_gradient(real_tensor(variable))


class custom_gradient:  # a decorator, named as in Keras
    """A function that returns its result and its own gradient function.

    Args:
        fun: Returns ``(result, grad)``; ``grad(*args, upstream=ct)`` or ``grad(ct)`` returns one
            cotangent an argument.
    """

    def __init__(self, fun: Callable[..., Any]) -> None:
        functools.update_wrapper(self, fun)
        self.fun = fun

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The result; differentiated by the gradient function that comes with it."""
        fun = self.fun
        values = [real_tensor(x) if _is_numeric(x) else x for x in args]
        traced = [i for i, x in enumerate(values) if isinstance(x, Value)]

        def full(inputs: Sequence[Any]) -> list[Any]:
            return _filled(values, traced, inputs)

        @pb.custom_vjp
        def call(*inputs: Any) -> Any:
            return _tensors(fun(*full(inputs), **kwargs)[0])

        def forward(*inputs: Any) -> Any:
            return call(*inputs), inputs

        def backward(inputs: Any, ct: Any) -> Any:
            # Traced anew from the arguments: what the gradient function closes over is computed
            # again, or found again by common subexpressions.
            _, grad = fun(*full(inputs), **kwargs)
            found = _call_gradient(grad, full(inputs), ct)
            if not isinstance(found, (tuple, list)):
                found = (found,)
            return tuple(_cotangent(found, i, x) for i, x in zip(traced, inputs, strict=True))

        call.defvjp(forward, backward)
        return call(*(values[i] for i in traced))


def _call_gradient(grad: Callable[..., Any], args: Sequence[Any], ct: Any) -> Any:
    """Keras's own layers take ``(*args, upstream=...)``; others take the cotangent alone."""
    parameters = inspect.signature(grad).parameters.values()
    if any(p.name == "upstream" for p in parameters):
        return grad(*args, upstream=ct)
    cts = ct if isinstance(ct, (tuple, list)) else (ct,)
    return grad(*cts)


def _cotangent(found: Sequence[Any], i: int, x: Any) -> Any:
    ct = found[i] if i < len(found) else None
    return None if ct is None else real_tensor(ct, x.dtype)


def _is_numeric(x: Any) -> bool:
    return _is_tensor_like(x) or isinstance(x, (np.ndarray, np.generic))


def remat(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f``, whose residuals are computed again in the backward pass."""

    @functools.wraps(f)
    def run(*args: Any, **kwargs: Any) -> Any:
        leaves = tree.flatten((args, kwargs))
        places = [i for i, x in enumerate(leaves) if _is_numeric(x)]

        def inner(*inputs: Any) -> Any:
            filled = _filled(leaves, places, inputs)
            new_args, new_kwargs = tree.pack_sequence_as((args, kwargs), filled)
            return _branch(functools.partial(f, **new_kwargs), *new_args)

        return pb.checkpoint(inner)(*(real_tensor(leaves[i]) for i in places))

    return run


def random_seed_dtype() -> str:
    """The dtype of a seed: two words of Threefry's key."""
    return "uint32"


@contextlib.contextmanager
def device_scope(device_name: Any) -> Iterator[None]:
    """A block whose tensors live on ``device_name``: only processors are there."""
    name = str(device_name).lower()
    if name.split(":")[0] not in ("cpu", "gpu", "cuda", "tpu"):
        raise ValueError(f"Invalid value for argument `device_name`: expected 'cpu', got {name!r}")
    if not name.startswith("cpu"):
        raise PullbackError(f"there is no device {name!r}: pullback runs on processors, use 'cpu'")
    yield
