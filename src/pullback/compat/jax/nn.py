"""``jax.nn``: the functions of ``pullback.nn``, and ``initializers``.

Imports ``ops.nn``. Start at ``initializers``.
"""

from __future__ import annotations

from typing import Any

from pullback.compat.jax import initializers as initializers
from pullback.ops import nn


def __getattr__(name: str) -> Any:
    found = getattr(nn, name, None)
    if found is None:
        raise AttributeError(f"jax.nn.{name} is not there: compose it of the functions of jax.nn")
    return globals().setdefault(name, found)


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(nn)})
