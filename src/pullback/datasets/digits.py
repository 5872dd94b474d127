"""10,000 of the 70,000 digits of MNIST, a file of the package.

Imports NumPy alone. Start at ``mnist10k``.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any, Final

import numpy as np

NDArray = np.ndarray[Any, Any]

TRAIN_ROWS: Final = 8000


def mnist10k() -> tuple[tuple[NDArray, NDArray], tuple[NDArray, NDArray]]:
    """Real handwritten digits, in the form ``(x_train, y_train), (x_test, y_test)``.

    Returns:
        ``x_train`` uint8 [8000, 28, 28] with values 0 to 255, ``y_train`` uint8 [8000] with values
        0 to 9; ``x_test`` uint8 [2000, 28, 28] and ``y_test`` uint8 [2000]. The arrays are yours:
        each call makes new ones.

    Cost: reads 1.6 MB once a process.
    Source: the MNIST database, of which these are 10,000 of 70,000 digits;
    ``pullback/data/NOTICE.md`` has the licence.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = mnist10k()
        >>> x_train.shape, y_test.shape
        ((8000, 28, 28), (2000,))
    """
    x, y = _load("mnist10k.npz")
    return (
        (x[:TRAIN_ROWS].copy(), y[:TRAIN_ROWS].copy()),
        (x[TRAIN_ROWS:].copy(), y[TRAIN_ROWS:].copy()),
    )


@functools.cache
def _load(name: str) -> tuple[NDArray, NDArray]:
    place = resources.files("pullback") / "data" / name
    with place.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return stored["x"], stored["y"]
