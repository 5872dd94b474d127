"""Small programs for the cases of primitives that hold programs: ``program_of(f, *types)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import pullback.autodiff.control  # noqa: F401  (installs the derivative rules)
from pullback.program.builder import Builder
from pullback.program.core import Program
from pullback.types import DTYPES_BY_SHORT_NAME, ArrayType


def type_from(text: str) -> ArrayType:
    """Return the type that is written ``f64[2,3]``."""
    name, _, dims = text.rstrip("]").partition("[")
    return ArrayType(
        tuple(int(n) for n in dims.split(",") if n), np.dtype(DTYPES_BY_SHORT_NAME[name])
    )


def program_of(f: Callable[..., Any], *types: str, name: str = "body") -> Program:
    """Return the program of a function of values that returns one or a tuple."""
    with Builder() as b:
        results = f(*(b.input(type_from(t)) for t in types))
        return b.finish(results if isinstance(results, tuple) else (results,), name)
