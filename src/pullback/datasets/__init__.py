"""Data sets that ship inside the package: 10,000 of MNIST's digits. Needs no network.

Imports NumPy alone. Start at ``mnist10k``; ``mnist`` is the same digits in Keras's form.
"""

from pullback.datasets import mnist as mnist
from pullback.datasets.digits import TRAIN_ROWS as TRAIN_ROWS
from pullback.datasets.digits import mnist10k as mnist10k

__all__ = ["TRAIN_ROWS", "mnist", "mnist10k"]
