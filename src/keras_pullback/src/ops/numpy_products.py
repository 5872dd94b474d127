"""Products of vectors and matrices, with int8 products summed in int32 where Keras asks for it."""

from __future__ import annotations

from typing import Any

import numpy as np

import pullback as pb
from keras_pullback.src.ops.core import real_tensor
from keras_pullback.src.ops.numpy_common import is_bool, to, unified


def _pair(x1: Any, x2: Any) -> tuple[Any, Any]:
    x1, x2 = unified((x1, x2))
    return x1, x2


def _product(multiply: Any, x1: Any, x2: Any) -> Any:
    """Apply a product of two tensors; two booleans multiply as "and" and add as "or"."""
    if is_bool(x1) and is_bool(x2):
        return pb.not_equal(multiply(to(x1, "int32"), to(x2, "int32")), 0)
    return multiply(x1, x2)


def matmul(x1: Any, x2: Any) -> Any:
    """Return the product of matrices; int8 by int8 gives int32."""
    x1, x2 = real_tensor(x1), real_tensor(x2)
    if x1.dtype == np.int8 and x2.dtype == np.int8:
        x1, x2 = to(x1, "int32"), to(x2, "int32")
    return _product(pb.matmul, *_pair(x1, x2))


def dot(x1: Any, x2: Any) -> Any:
    """Return the sum of products over the last axis of ``x1`` and the last but one of ``x2``."""
    return _product(pb.dot, *_pair(x1, x2))


def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """Return the sum of products over several axes."""
    if not isinstance(axes, int):
        axes = tuple(a if isinstance(a, int) else tuple(a) for a in axes)
    return _product(lambda a, b: pb.tensordot(a, b, axes), *_pair(x1, x2))


def einsum(subscripts: str, *operands: Any, **kwargs: Any) -> Any:
    """Return the sum of products that the subscripts say; int8 only gives int32."""
    tensors = [real_tensor(x) for x in operands]
    found = {x.dtype for x in tensors}
    if found == {np.dtype(np.int8)}:
        tensors = [to(x, "int32") for x in tensors]
    if found == {np.dtype(np.bool_)}:
        return pb.not_equal(pb.einsum(subscripts, *[to(x, "int32") for x in tensors]), 0)
    return pb.einsum(subscripts, *unified(tensors))


def inner(x1: Any, x2: Any) -> Any:
    """Return the sum of products over the last axes."""
    return _product(pb.inner, *_pair(x1, x2))


def outer(x1: Any, x2: Any) -> Any:
    """Return the products of all pairs of elements."""
    return _product(pb.outer, *_pair(x1, x2))


def vdot(x1: Any, x2: Any) -> Any:
    """Return the sum of products of all elements."""
    return _product(pb.vdot, *_pair(x1, x2))


def kron(x1: Any, x2: Any) -> Any:
    """Return the Kronecker product."""
    return _product(pb.kron, *_pair(x1, x2))


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Return the sum of a diagonal."""
    return pb.trace(real_tensor(x), offset, axis1, axis2)
