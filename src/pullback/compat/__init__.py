"""Interfaces of other frameworks: ``v1``, TensorFlow 1's static graphs, and ``jax``.

Imports everything below ``demo``; nothing imports it but user code.
"""

from pullback.compat import v1 as v1
