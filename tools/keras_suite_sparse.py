"""What stands for ``jax.experimental.sparse`` in Keras's tests on this backend: JAX's names.

``keras_suite_plugin`` lets a test import it where the test makes sparse tensors for JAX.
"""

from __future__ import annotations

import sys
from typing import Any

import keras  # noqa: F401  # imports its backend, which cannot come first
import numpy as np

from keras_pullback.src.ops import sparse_arrays
from pullback.sparse import COO

#: This module, for `from jax.experimental import sparse`.
sparse = sys.modules[__name__]


class numpy:  # stands for `jax.numpy`
    """What tests compute with JAX to make a sparse tensor, by NumPy."""

    moveaxis, expand_dims, squeeze = np.moveaxis, np.expand_dims, np.squeeze

    @staticmethod
    def take(x: Any, indices: Any, axis: int) -> Any:
        """Pick elements along an axis by index."""
        return np.take(np.asarray(x), indices, axis)


#: The class of all of them, for ``isinstance``.
JAXSparse = COO


class _AsCOO(type):
    def __instancecheck__(cls, x: object) -> bool:
        return isinstance(x, COO)


class BCOO(metaclass=_AsCOO):
    """Makes a ``COO`` with the arguments of JAX's class, which may be in batches."""

    def __new__(cls, parts: Any, *, shape: Any) -> Any:
        """Return the sparse tensor of ``parts``, values and indices."""
        values, indices = (np.asarray(part) for part in parts)
        values = values.astype("float32") if values.dtype == np.float64 else values
        batches = indices.ndim - 2
        if batches:  # one of length 1 stands for all of them
            several = (*shape[:batches], indices.shape[-2])
            places = np.indices(several)[:batches].reshape(batches, -1).T
            inner = np.broadcast_to(indices, (*several, indices.shape[-1]))
            indices = np.concatenate([places, inner.reshape(len(places), -1)], axis=1)
            values = np.broadcast_to(values, (*several, *values.shape[batches + 1 :]))
            values = values.reshape(len(places), *values.shape[batches + 1 :])
        return sparse_arrays.from_host(values, indices.astype(np.int32), tuple(shape))

    @staticmethod
    def fromdense(x: Any, n_batch: int = 0) -> Any:
        """Return the sparse tensor of what is not zero; ``n_batch`` is about JAX's layout alone."""
        del n_batch
        x = np.asarray(x)
        places = np.argwhere(x)
        return sparse_arrays.from_host(x[tuple(places.T)], places.astype(np.int32), x.shape)
