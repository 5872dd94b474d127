"""Runs a program written for JAX on JAX, or here with its import lines changed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

PROGRAMS = Path(__file__).parent / "jax_programs"
NAMES = sorted(path.name.removesuffix(".py.txt") for path in PROGRAMS.glob("*.py.txt"))
#: Results of the programs on JAX, as flat lists by the path of each leaf.
RECORDED = PROGRAMS / "results.json"


def ported(text: str) -> str:
    """The program with ``jax`` replaced in its import lines, and nowhere else."""
    text = re.sub(r"^import jax$", "import pullback.compat.jax as jax", text, flags=re.M)
    return re.sub(r"^(import|from) jax\b", r"\1 pullback.compat.jax", text, flags=re.M)


def run(text: str) -> dict[str, np.ndarray]:
    """The leaves of a program's ``result`` by path."""
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(text, "program.py", "exec"), names)  # a program of this folder
    return dict(_leaves(names["result"], ""))


def _leaves(x: Any, path: str) -> list[tuple[str, np.ndarray]]:
    if isinstance(x, dict):
        return [leaf for key in sorted(x) for leaf in _leaves(x[key], f"{path}.{key}")]
    if isinstance(x, (tuple, list)):
        return [leaf for i, item in enumerate(x) for leaf in _leaves(item, f"{path}.{i}")]
    return [(path, np.asarray(x))]


def recorded(name: str) -> dict[str, np.ndarray]:
    """What a program gave on JAX."""
    found = json.loads(RECORDED.read_text(encoding="utf-8"))[name]
    return {path: np.asarray(x["data"], x["dtype"]) for path, x in found.items()}


def record() -> None:
    """Write what the programs give on the JAX that is installed."""
    found = {
        name: {
            path: {"dtype": x.dtype.name, "data": x.tolist()}
            for path, x in run((PROGRAMS / f"{name}.py.txt").read_text(encoding="utf-8")).items()
        }
        for name in NAMES
    }
    lines = ",\n".join(
        f'"{name}": {{\n'
        + ",\n".join(f"  {json.dumps(path)}: {json.dumps(x)}" for path, x in leaves.items())
        + "\n}"
        for name, leaves in found.items()
    )
    RECORDED.write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    record()
