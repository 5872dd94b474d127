"""Several functions in a row: what one says of its entries, the next relies on."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sparse_cases import arrays, check, random_coo, several

import pullback as pb
from pullback import sparse


def steps(shape, rng):
    """Pairs of a function of sparse arrays of ``shape`` and the same for dense ones."""
    ndim, size = len(shape), math.prod(shape)
    order = tuple(rng.permutation(ndim).tolist())
    other = random_coo(rng, shape, sparse_ndim=int(rng.integers(0, ndim + 1)), nse=5)
    dense = np.asarray(other.to_dense())
    found = [
        (lambda x: sparse.transpose(x, order), lambda d: d.transpose(order)),
        (lambda x: x + other, lambda d: d + dense),
        (lambda x: other - x, lambda d: dense - d),
        (lambda x: x * other, lambda d: d * dense),
        (lambda x: x + x, lambda d: d + d),
        (sparse.sum_duplicates, lambda d: d),
        (sparse.sort_indices, lambda d: d),
        (lambda x: sparse.sum_duplicates(x, x.nse + 3), lambda d: d),
        (lambda x: sparse.map_values(pb.square, x), np.square),
        (lambda x: sparse.expand_dims(x, 0), lambda d: d[None]),
        (lambda x: sparse.reshape(x, (size,)), lambda d: d.reshape(size)),
    ]
    for axis, length in enumerate(shape):
        found += along(axis, other, dense)
        if length:
            found.append(taken(axis, rng.integers(0, length, 3)))
    return found


def along(axis, other, dense):
    """Those that have an axis."""
    key = (*(slice(None) for _ in range(axis)), slice(None, None, -2))
    return [
        (
            lambda x: sparse.concatenate([x, other], axis),
            lambda d: np.concatenate([d, dense], axis),
        ),
        (lambda x: sparse.sum(x, axis, keepdims=True), lambda d: d.sum(axis, keepdims=True)),
        (lambda x: x[key], lambda d: d[key]),
    ]


def taken(axis, rows):
    """Rows by their positions, some of them twice."""
    return lambda x: sparse.take(x, rows, axis), lambda d: np.take(d, rows, axis)


@several
@given(arrays(1, 2, ["float64"]), st.integers(0, 2**20), st.integers(2, 5))
def test_chains(x, seed, length):
    rng = np.random.default_rng(seed)
    dense = np.asarray(x.to_dense())
    chain = []
    for _ in range(length):
        options = steps(dense.shape, rng)
        f, g = options[int(rng.integers(len(options)))]
        if g(dense).ndim > 3 or g(dense).size > 200:
            continue
        chain.append(f)
        dense = g(dense)

    def run(x):
        for f in chain:
            if not isinstance(x, sparse.COO):  # a sum along all axes that are sparse
                x = sparse.from_dense(x, nse=x.size)
            x = f(x)
        return x

    check(run, dense, x)
