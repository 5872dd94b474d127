"""``tf.layers``: functions that make variables and use them.

Imports ``scope`` and ``nn``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from pullback.compat.v1 import nn
from pullback.compat.v1.arithmetic import bias_add, matmul, require_floating, where
from pullback.compat.v1.arrays import reshape
from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.graph import get_default_graph
from pullback.compat.v1.initializers import zeros_initializer
from pullback.compat.v1.refusals import refuse
from pullback.compat.v1.scope import get_variable, variable_scope
from pullback.compat.v1.tensor import Tensor, convert_to_tensor


def dense(
    inputs: Any,
    units: int,
    activation: Callable[[Any], Tensor] | None = None,
    use_bias: bool = True,
    kernel_initializer: Any = None,
    bias_initializer: Any = zeros_initializer,
    trainable: bool = True,
    name: str | None = None,
    reuse: Any = None,
) -> Tensor:
    """``activation(inputs @ kernel + bias)``.

    Args:
        inputs: A floating tensor ``[..., n]`` whose last length is known.
        units: How many outputs.
        activation: A function of a tensor, such as ``tf.nn.relu``.
        use_bias: Whether to add a bias.
        kernel_initializer: Default: ``glorot_uniform``.
        bias_initializer: Default: zeros.
        trainable: Whether optimizers train the variables by default.
        name: The scope of the variables ``kernel`` and ``bias``. Default: ``dense``, ``dense_1``
            and so on.
        reuse: True: use the variables that a layer of this name made.

    Returns:
        A tensor ``[..., units]``.

    Raises:
        GraphError: the last length of ``inputs`` is not known.
    """
    x = convert_to_tensor(inputs)
    require_floating("tf.layers.dense", x)
    length = x.dims[-1] if x.dims else None
    if length is None:
        raise GraphError(
            f"tf.layers.dense of {x!r}: its last length must be known; make the placeholder with "
            "a shape, as in tf.placeholder(tf.float32, [None, 2])"
        )
    with variable_scope(name, "dense", reuse=reuse):
        kernel = get_variable("kernel", (length, units), x.dtype, kernel_initializer, trainable)
        result = matmul(x, kernel)
        if use_bias:
            bias = get_variable("bias", (units,), x.dtype, bias_initializer, trainable)
            result = bias_add(result, bias)
        return result if activation is None else activation(result)


def conv2d(
    inputs: Any,
    filters: int,
    kernel_size: Any,
    strides: Any = (1, 1),
    padding: str = "valid",
    activation: Callable[[Any], Tensor] | None = None,
    use_bias: bool = True,
    kernel_initializer: Any = None,
    bias_initializer: Any = zeros_initializer,
    trainable: bool = True,
    name: str | None = None,
    reuse: Any = None,
) -> Tensor:
    """``activation(tf.nn.conv2d(inputs, kernel) + bias)``.

    Args:
        inputs: A floating tensor ``[n, h, w, c]`` whose last length is known.
        filters: How many channels come out.
        kernel_size: A number or a pair.
        strides: A number or a pair.
        padding: ``"valid"`` or ``"same"``.
        activation: A function of a tensor.
        use_bias: Whether to add a bias.
        kernel_initializer: Default: ``glorot_uniform``.
        bias_initializer: Default: zeros.
        trainable: Whether optimizers train the variables by default.
        name: The scope of the variables. Default: ``conv2d``, ``conv2d_1`` and so on.
        reuse: True: use the variables that a layer of this name made.

    Raises:
        GraphError: the last length of ``inputs`` is not known, or an option is wrong.
    """
    x = convert_to_tensor(inputs)
    channels = x.dims[-1] if x.dims else None
    if channels is None:
        raise GraphError(f"tf.layers.conv2d of {x!r}: its last length must be known")
    size = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
    with variable_scope(name, "conv2d", reuse=reuse):
        shape = (*size, channels, filters)
        kernel = get_variable("kernel", shape, x.dtype, kernel_initializer, trainable)
        result = nn.conv2d(x, kernel, strides, padding.upper())
        if use_bias:
            bias = get_variable("bias", (filters,), x.dtype, bias_initializer, trainable)
            result = bias_add(result, bias)
        return result if activation is None else activation(result)


def max_pooling2d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", name: str | None = None
) -> Tensor:
    """``tf.nn.max_pool``; ``padding`` is ``"valid"`` or ``"same"``."""
    return nn.max_pool(inputs, pool_size, strides, padding.upper(), name=name)


def average_pooling2d(
    inputs: Any, pool_size: Any, strides: Any, padding: str = "valid", name: str | None = None
) -> Tensor:
    """``tf.nn.avg_pool``; ``padding`` is ``"valid"`` or ``"same"``."""
    return nn.avg_pool(inputs, pool_size, strides, padding.upper(), name=name)


def flatten(inputs: Any, name: str | None = None) -> Tensor:
    """``inputs`` as ``[batch, everything else]``.

    Raises:
        GraphError: the lengths of its other axes are not known.
    """
    x = convert_to_tensor(inputs)
    if not x.dims or None in x.dims[1:]:
        raise GraphError(f"tf.layers.flatten of {x!r}: all lengths but the first must be known")
    return reshape(x, (-1, math.prod(n for n in x.dims[1:] if n is not None)), name or "flatten")


def dropout(
    inputs: Any,
    rate: float = 0.5,
    noise_shape: None = None,
    seed: int | None = None,
    training: Any = False,
    name: str | None = None,
) -> Tensor:
    """``tf.nn.dropout`` where ``training`` holds, else ``inputs``.

    Args:
        inputs: A floating tensor.
        rate: What part of the elements to set to 0.
        noise_shape: Must be None.
        seed: See ``set_random_seed``.
        training: A Python ``bool``, or a boolean tensor such as a placeholder.
        name: Name of the result.
    """
    x = convert_to_tensor(inputs)
    if isinstance(training, bool):
        if not training:
            return x
        return nn.dropout(x, noise_shape=noise_shape, seed=seed, name=name, rate=rate)
    with get_default_graph().name_scope(name, "dropout"):
        kept = where(training, 1.0 - rate, 1.0)
        return nn.dropout(x, kept, noise_shape, seed)


__getattr__ = refuse(__name__, "tf.layers")
