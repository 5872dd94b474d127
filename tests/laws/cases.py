"""All cases of the primitive laws, gathered from ``cases_<family>.py``.

A family is a module of ``pullback.primitives`` that registers primitives. One without a file of
cases is an import error: a primitive cannot land without its cases.
"""

from __future__ import annotations

import importlib

from case import Case

import pullback.primitives  # noqa: F401  (fills the registry)
from pullback.program.primitive import REGISTRY

FAMILIES = sorted(
    {
        cls.__module__.rpartition(".")[2]
        for cls in REGISTRY.values()
        if cls.__module__.startswith("pullback.primitives.")
    }
)

CASES: list[Case] = [
    case for family in FAMILIES for case in importlib.import_module(f"cases_{family}").CASES
]
