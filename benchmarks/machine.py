"""What a figure was measured on and with."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

PACKAGES = (
    "pullback", "numpy", "llvmlite", "jax", "jaxlib", "torch", "scikit-learn", "keras",
    "tensorflow", "tensorflow-cpu",
)  # fmt: skip


def describe(threads: int) -> dict[str, object]:
    """Processor, system, versions and the number of threads every library may use."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "versions": {p: v for p in PACKAGES if (v := _version(p)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    fields = dict(
        tuple(part.strip() for part in line.split(":", 1))
        for line in info.read_text().split("\n\n")[0].splitlines()
        if ":" in line
    )
    family = f"family {fields.get('cpu family')}, model {fields.get('model')}"
    return f"{fields.get('model name', 'unknown')} ({family})"
