"""Sparse matrix times dense matrix, and its derivatives: pullback beside SciPy and JAX's BCOO.

The same entries for all, in row-major order without duplicates: the order that SciPy's CSR needs
and that helps the others. Indices are arguments of the compiled functions, not constants in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Call = Callable[[], object]
#: What is computed: the product, and what it hands back to its two operands.
FORMS = ("product", "dense gradient", "values gradient")


@dataclass(frozen=True)
class Workload:
    """A sparse ``f32[rows, columns]`` beside a dense ``f32[columns, width]``."""

    name: str
    rows: int
    columns: int
    width: int
    nse: int

    def flops(self) -> int:
        """Floating-point operations of each of the three."""
        return 2 * self.nse * self.width

    def operands(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Values ``[nse]``, indices ``[nse, 2]``, the dense matrix and a cotangent."""
        rng = np.random.default_rng(0)
        places = np.unique(rng.integers(0, self.rows * self.columns, self.nse))
        indices = np.stack(np.divmod(places, self.columns), axis=1).astype(np.int32)
        values = rng.standard_normal(len(places), np.float32)
        dense = rng.standard_normal((self.columns, self.width), np.float32)
        return values, indices, dense, rng.standard_normal((self.rows, self.width), np.float32)


WORKLOADS = (
    Workload("32 texts of 100 words", 32, 20_000, 64, 3_200),
    Workload("1024 texts of 100 words", 1024, 20_000, 64, 102_400),
    Workload("4096 square, 1 %", 4096, 4096, 32, 167_772),
)


def pullback_calls(w: Workload) -> dict[str, Call]:
    """Compiled functions of a ``COO``."""
    import pullback as pb

    values, indices, dense, ct = map(pb.asarray, w.operands())
    x = pb.sparse.COO(values, indices, (w.rows, w.columns), is_sorted=True, is_unique=True)

    def inner(x, dense, ct):
        return pb.sum((x @ dense) * ct)

    product = pb.jit(lambda x, dense: x @ dense)
    by_dense, by_values = pb.jit(pb.grad(inner, argnums=1)), pb.jit(pb.grad(inner))
    return {
        "product": lambda: product(x, dense),
        "dense gradient": lambda: by_dense(x, dense, ct),
        "values gradient": lambda: by_values(x, dense, ct),
    }


def jax_calls(w: Workload) -> dict[str, Call]:
    """Compiled functions of a ``BCOO``."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import sparse

    values, indices, dense, ct = map(jnp.asarray, w.operands())
    known = {"shape": (w.rows, w.columns), "indices_sorted": True, "unique_indices": True}

    def inner(values, indices, dense, ct):
        return jnp.sum((sparse.BCOO((values, indices), **known) @ dense) * ct)

    product = jax.jit(lambda v, i, dense: sparse.BCOO((v, i), **known) @ dense)
    by_dense, by_values = jax.jit(jax.grad(inner, argnums=2)), jax.jit(jax.grad(inner))
    return {
        "product": lambda: product(values, indices, dense).block_until_ready(),
        "dense gradient": lambda: by_dense(values, indices, dense, ct).block_until_ready(),
        "values gradient": lambda: by_values(values, indices, dense, ct).block_until_ready(),
    }


def scipy_calls(w: Workload) -> dict[str, Call]:
    """CSR on one thread; its transpose is converted beforehand, and it has no third product."""
    import scipy.sparse

    values, indices, dense, ct = w.operands()
    matrix = scipy.sparse.csr_array((values, tuple(indices.T)), shape=(w.rows, w.columns))
    transposed = matrix.T.tocsr()
    return {"product": lambda: matrix @ dense, "dense gradient": lambda: transposed @ ct}


MAKERS: dict[str, Callable[[Workload], dict[str, Call]]] = {
    "pullback": pullback_calls,
    "jax BCOO": jax_calls,
    "scipy CSR": scipy_calls,
}


def measure(w: Workload, turns: int) -> dict[str, dict[str, float]]:
    """Microseconds of each form by each library that has it, medians of ``turns``."""
    from benchmarks.timing import side_by_side

    calls: dict[str, Any] = {library: make(w) for library, make in MAKERS.items()}
    repeat = max(1, int(2e8 / w.flops()))
    found: dict[str, dict[str, float]] = {}
    for form in FORMS:
        named = {name: forms[form] for name, forms in calls.items() if form in forms}
        timings = side_by_side(named, turns, repeat)
        found[form] = {name: timing.median * 1e6 for name, timing in timings.items()}
    return found
