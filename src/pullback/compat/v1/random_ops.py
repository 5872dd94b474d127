"""Random tensors: drawn anew at each run, from seeds as in TensorFlow 1.

Imports ``tensor`` and the engine's ``random``. The numbers are not TensorFlow's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any, Final

from pullback import ops, random
from pullback.compat.v1.frame import Frame
from pullback.compat.v1.shapes import Dims, full_dims
from pullback.compat.v1.tensor import Node, Tensor
from pullback.types import FLOATING, DType, as_dtype, float32

#: Stands for the graph's seed where only the operation has one.
_DEFAULT_SEED: Final = 87654321


class Random(Tensor):
    """A tensor that is drawn anew at each run.

    Args:
        name: Its name.
        dims: Its shape.
        dtype: Its dtype.
        seed: The operation's seed. With neither this nor the graph's, numbers differ from process
            to process.
        draw: From a key, and the values of ``inputs``, to the numbers.
        inputs: What it needs besides.
    """

    def __init__(
        self,
        name: str,
        dims: Dims,
        dtype: DType,
        seed: int | None,
        draw: Callable[..., Any],
        inputs: Iterable[Node] = (),
        is_differentiable: bool = False,
    ) -> None:
        super().__init__(name, dims, dtype, inputs, is_differentiable=is_differentiable)
        self._draw = draw
        if self.graph.seed is None and seed is None:
            self._seeds = _entropy(), _entropy()
        else:
            first = _DEFAULT_SEED if self.graph.seed is None else self.graph.seed
            self._seeds = first, self.graph.next_number() if seed is None else seed

    def evaluate(self, frame: Frame) -> Any:
        """Draw."""
        key = frame.key(self, self._seeds)
        return self._draw(key, *(frame.values[x] for x in self.inputs))


def random_normal(
    shape: Any,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Numbers of a normal distribution."""
    lengths, floating = full_dims("random_normal", shape), as_dtype(dtype)

    def draw(key: Any) -> Any:
        return random.normal(key, lengths, floating) * stddev + mean

    return Random(name or "random_normal", lengths, floating, seed, draw)


def truncated_normal(
    shape: Any,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Numbers of a normal distribution, none further than two deviations from the mean."""
    lengths, floating = full_dims("truncated_normal", shape), as_dtype(dtype)

    def draw(key: Any) -> Any:
        return random.truncated_normal(key, -2.0, 2.0, lengths, floating) * stddev + mean

    return Random(name or "truncated_normal", lengths, floating, seed, draw)


def random_uniform(
    shape: Any,
    minval: float = 0,
    maxval: float | None = None,
    dtype: Any = float32,
    seed: int | None = None,
    name: str | None = None,
) -> Tensor:
    """Numbers uniform between ``minval`` and ``maxval``, which is left out of integers."""
    lengths, wanted = full_dims("random_uniform", shape), as_dtype(dtype)
    high = 1 if maxval is None and wanted in FLOATING else maxval

    def draw(key: Any) -> Any:
        if wanted in FLOATING:
            return random.uniform(key, lengths, wanted, float(minval), float(high or 0.0))
        return random.randint(key, lengths, int(minval), int(high or 0), wanted)

    return Random(name or "random_uniform", lengths, wanted, seed, draw)


def dropped(x: Tensor, keep: Tensor, seed: int | None, name: str | None) -> Tensor:
    """``x`` with elements set to 0 with the probability ``1 - keep``, the others divided by it."""

    def draw(key: Any, x: Any, keep: Any) -> Any:
        chance = ops.astype(keep, x.dtype)
        kept = random.uniform(key, x.shape, x.dtype) < chance
        return ops.where(kept, x / chance, ops.astype(0, x.dtype))

    return Random(name or "dropout", x.dims, x.dtype, seed, draw, [x, keep], True)


def _entropy() -> int:
    return int.from_bytes(os.urandom(4), "little")
