"""Sparse arrays that Hypothesis draws, their dense meaning by a plain loop, and what checks both.

Entries are drawn with duplicates, in any order, with indices before and behind the array (padding,
with values that would show), and with lengths 0 and 1. Values are small whole numbers, so that sums
are exact in every dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import pullback as pb
from pullback import sparse
from pullback.program.interpret import interpret

DTYPES = ["float32", "float64", "float16", "bfloat16", "int8", "int32", "uint8", "int64", "bool"]
#: dtypes that NumPy computes in as pullback does.
PLAIN = ["float32", "float64", "int32", "int64"]

few = settings(max_examples=40)
several = settings(max_examples=80)


def meaning(x: sparse.COO) -> np.ndarray:
    """The dense array that ``x`` stands for, element by element."""
    dense = np.zeros(x.shape, x.dtype)
    values, indices = np.asarray(x.values), np.asarray(x.indices)
    lengths = x.shape[: x.sparse_ndim]
    for value, index in zip(values, indices, strict=True):
        if all(0 <= i < n for i, n in zip(index, lengths, strict=True)):
            place = tuple(index)
            if dense.dtype == bool:
                dense[place] |= value
            else:
                with np.errstate(over="ignore"):  # integers wrap
                    dense[place] += value
    return dense


def random_values(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    dtype = pb.types.as_dtype(dtype)
    if dtype == pb.types.bool_:
        return rng.random(shape) < 0.7
    low = 0 if dtype.kind == "u" else -3
    return rng.integers(low, 4, shape).astype(dtype)


def random_coo(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    dtype: Any = "float64",
    *,
    sparse_ndim: int | None = None,
    nse: int = 6,
    padding: bool = True,
    canonical: bool = False,
) -> sparse.COO:
    """Random entries; ``canonical`` ones are unique, in order, and say so, with padding behind."""
    split = len(shape) if sparse_ndim is None else sparse_ndim
    lengths, tail = shape[:split], shape[split:]
    reach = 1 if padding else 0
    if not padding and 0 in lengths:
        nse = 0
    columns = [rng.integers(-reach, n + reach, nse) for n in lengths]
    indices = np.stack(columns, 1) if columns else np.zeros((nse, 0), int)
    if canonical:
        inside = ((indices >= 0) & (indices < lengths)).all(axis=1)
        kept = sorted({tuple(index) for index in indices[inside].tolist()})
        spare = nse - len(kept) if padding and split else 0
        indices = np.array([*kept, *[lengths] * spare], int).reshape(len(kept) + spare, split)
    values = random_values(rng, (len(indices), *tail), dtype)
    return sparse.COO(
        values, indices.astype("int32"), shape, is_sorted=canonical, is_unique=canonical
    )


@st.composite
def shapes(draw: Any, low: int = 0, high: int = 3) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(0, 4), min_size=low, max_size=high)))


@st.composite
def arrays(draw: Any, low: int = 0, high: int = 3, dtypes: Any = None, hybrid: bool = True) -> Any:
    """A ``COO`` of ``low`` to ``high`` axes."""
    shape = draw(shapes(low, high))
    return draw(with_shape(shape, dtypes, hybrid))


@st.composite
def with_shape(draw: Any, shape: tuple[int, ...], dtypes: Any = None, hybrid: bool = True) -> Any:
    """A ``COO`` of a shape."""
    split = draw(st.integers(0, len(shape))) if hybrid else len(shape)
    return random_coo(
        np.random.default_rng(draw(st.integers(0, 2**20))),
        shape,
        draw(st.sampled_from(dtypes or DTYPES)),
        sparse_ndim=split,
        nse=draw(st.integers(0, 8)),
        padding=draw(st.booleans()),
        canonical=draw(st.booleans()),
    )


def dense_of(result: Any) -> np.ndarray:
    """A result as a NumPy array; a sparse one by the plain loop."""
    return meaning(result) if isinstance(result, sparse.COO) else np.asarray(result)


def traced(f: Callable[..., Any], *args: Any) -> Any:
    """``f(*args)`` as a traced program gives it, run by the interpreter: quicker than compiling."""
    kept: dict[str, Any] = {}

    def flat(*args: Any) -> Any:
        leaves, kept["tree"] = pb.tree.flatten(f(*args))
        return leaves

    program = pb.make_program(flat)(*args)
    outputs = interpret(program, *map(np.asarray, pb.tree.leaves(args)))
    return kept["tree"].unflatten([pb.asarray(y) for y in outputs])


def check(f: Callable[..., Any], expected: Any, *args: Any, exact: bool = True) -> Any:
    """Require that ``f`` means ``expected``, eagerly and traced; return the eager result."""
    eager = f(*args)
    for result in (eager, traced(f, *args)):
        found = dense_of(result)
        assert found.shape == np.shape(expected)
        if exact:
            np.testing.assert_array_equal(
                found.astype(np.float64), np.asarray(expected, np.float64)
            )
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        if isinstance(result, sparse.COO):
            check_flags(result)
    return eager


def check_flags(x: sparse.COO) -> None:
    """Require that what a result says of its entries holds, and that its parts fit."""
    sparse.COO(x.values, x.indices, x.shape)
    lengths = np.asarray(x.shape[: x.sparse_ndim])
    indices = np.asarray(x.indices)
    inside = np.asarray(((indices >= 0) & (indices < lengths)).all(axis=1))
    kept = [tuple(index) for index in indices[inside].tolist()]
    if x.is_unique:
        assert len(set(kept)) == len(kept)
    if x.is_sorted:
        assert kept == sorted(kept)
        assert inside[: len(kept)].all(), "padding comes last"
