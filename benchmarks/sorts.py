"""Sorts, the largest of many and permutations: pullback beside NumPy, PyTorch and JAX.

The same elements for all. Orders are stable; where only the elements are asked for that makes no
difference, and each library takes its fastest way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

Call = Callable[[], object]
SHUFFLED = 60_000
#: Calls in a turn.
REPEAT = 5


def operands() -> dict[str, np.ndarray]:
    """What is sorted."""
    rng = np.random.default_rng(0)
    return {
        "f32[1000000]": rng.standard_normal(10**6, np.float32),
        "i32[1000000]": rng.integers(-(2**31), 2**31, 10**6).astype(np.int32),
        "f32[10000,100]": rng.standard_normal((10_000, 100), np.float32),
    }


def pullback_calls() -> dict[str, Call]:
    """Compiled functions."""
    import pullback as pb

    key = pb.random.key(0)
    shuffle = pb.jit(lambda key: pb.random.permutation(key, SHUFFLED))
    calls = _calls(pb.jit, pb.asarray, pb.sort, pb.argsort, lambda x: pb.top_k(x, 10))
    return {**calls, f"permutation {SHUFFLED}": lambda: shuffle(key)}


def jax_calls() -> dict[str, Call]:
    """Compiled functions, waited for."""
    import jax
    import jax.numpy as jnp

    def compiled(f: Any) -> Any:
        jitted = jax.jit(f)
        return lambda *xs: jax.block_until_ready(jitted(*xs))

    key = jax.random.key(0)
    shuffle = compiled(lambda key: jax.random.permutation(key, SHUFFLED))
    calls = _calls(compiled, jnp.asarray, jnp.sort, jnp.argsort, lambda x: jax.lax.top_k(x, 10))
    return {**calls, f"permutation {SHUFFLED}": lambda: shuffle(key)}


def numpy_calls() -> dict[str, Call]:
    """NumPy has no largest in order: it finds them, unordered."""
    rng = np.random.default_rng(1)
    calls = _calls(
        lambda f: f,
        np.asarray,
        np.sort,
        lambda x: np.argsort(x, kind="stable"),
        lambda x: np.argpartition(x, -10),
    )
    return {**calls, f"permutation {SHUFFLED}": lambda: rng.permutation(SHUFFLED)}


def torch_calls() -> dict[str, Call]:
    """PyTorch eager."""
    import torch

    calls = _calls(
        lambda f: f,
        torch.from_numpy,
        torch.sort,
        lambda x: torch.argsort(x, stable=True),
        lambda x: torch.topk(x, 10),
    )
    return {**calls, f"permutation {SHUFFLED}": lambda: torch.randperm(SHUFFLED)}


def _calls(compile: Any, asarray: Any, sort: Any, argsort: Any, top_k: Any) -> dict[str, Call]:
    calls: dict[str, Call] = {}
    for type, data in operands().items():
        x = asarray(data)
        for name, f in (("sort", sort), ("argsort", argsort), ("top 10 of", top_k)):
            calls[f"{name} {type}"] = functools.partial(compile(f), x)
    return calls


MAKERS = {
    "pullback": pullback_calls, "NumPy": numpy_calls, "PyTorch": torch_calls, "JAX": jax_calls,
}  # fmt: skip


def measure(turns: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each sort, by library."""
    from benchmarks.timing import side_by_side

    calls = {name: make() for name, make in MAKERS.items()}
    return {
        kind: {
            name: 1e3 * timing.median
            for name, timing in side_by_side(
                {name: calls[name][kind] for name in MAKERS}, turns, REPEAT
            ).items()
        }
        for kind in calls["pullback"]
    }
