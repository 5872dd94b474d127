"""The digits in the form of ``keras.datasets.mnist``, so that a program changes one import line.

Imports ``digits``. It holds 10,000 of MNIST's 70,000 digits: 8,000 to train and 2,000 to test.
"""

from __future__ import annotations

from pullback.datasets.digits import NDArray, mnist10k

__all__ = ["load_data"]


def load_data() -> tuple[tuple[NDArray, NDArray], tuple[NDArray, NDArray]]:
    """``(x_train, y_train), (x_test, y_test)``: 10,000 of MNIST's digits, without a download.

    Returns:
        uint8 arrays [8000, 28, 28], [8000], [2000, 28, 28] and [2000]. Where all 70,000 digits are
        wanted use ``keras.datasets.mnist``, which downloads them.

    Example:
        >>> (x_train, y_train), (x_test, y_test) = load_data()
        >>> x_train.shape, y_test.shape
        ((8000, 28, 28), (2000,))
    """
    return mnist10k()
