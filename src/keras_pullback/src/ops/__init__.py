"""Keras's operations by its modules; the core ones are here by name."""

from keras_pullback.src.ops.core import *  # noqa: F403
