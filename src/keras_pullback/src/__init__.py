"""The backend as Keras reads it: modules of operations, and the names of ``core`` beside them."""

import types

from keras.src.backend.common.name_scope import name_scope

from keras_pullback.src import distribution_lib, ops, random
from keras_pullback.src.ops import core, image, linalg, math, nn, numpy
from keras_pullback.src.ops.core import (
    IS_THREAD_SAFE,
    SUPPORTS_COMPLEX_DTYPES,
    SUPPORTS_GRADIENT,
    SUPPORTS_RAGGED_TENSORS,
    SUPPORTS_SPARSE_TENSORS,
    cast,
    compute_output_spec,
    cond,
    convert_to_numpy,
    convert_to_tensor,
    device_scope,
    is_tensor,
    random_seed_dtype,
    scatter,
    shape,
    stop_gradient,
    vectorized_map,
)
from keras_pullback.src.rnn import (
    bidirectional_gru,
    bidirectional_lstm,
    cudnn_ok,
    gru,
    lstm,
    rnn,
)
from keras_pullback.src.variable import Variable

# Keras's own backends have no annotations, and its tests compare whole signatures with theirs.
for _module in (core, image, linalg, math, nn, numpy):
    for _function in vars(_module).values():
        if isinstance(_function, types.FunctionType) and _function.__module__.startswith(
            "keras_pullback."
        ):
            # Of one that is wrapped, the signature is the inner one's.
            getattr(_function, "__wrapped__", _function).__annotations__ = {}

__all__ = [
    "IS_THREAD_SAFE",
    "SUPPORTS_COMPLEX_DTYPES",
    "SUPPORTS_GRADIENT",
    "SUPPORTS_RAGGED_TENSORS",
    "SUPPORTS_SPARSE_TENSORS",
    "Variable",
    "bidirectional_gru",
    "bidirectional_lstm",
    "cast",
    "compute_output_spec",
    "cond",
    "convert_to_numpy",
    "convert_to_tensor",
    "core",
    "cudnn_ok",
    "device_scope",
    "distribution_lib",
    "gru",
    "image",
    "is_tensor",
    "linalg",
    "lstm",
    "math",
    "name_scope",
    "nn",
    "numpy",
    "ops",
    "random",
    "random_seed_dtype",
    "rnn",
    "scatter",
    "shape",
    "stop_gradient",
    "vectorized_map",
]
