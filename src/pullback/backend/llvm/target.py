"""The instruction set that code is compiled for.

Imports ``config`` and llvmlite. Start reading at ``select_target``.
"""

from __future__ import annotations

import functools
import platform
from typing import Final

import llvmlite.binding as llvm

from pullback import config
from pullback.errors import UnsupportedTargetError
from pullback.records import dataclass

_AVX2: Final = ("avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_AVX512: Final = (*_AVX2, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
#: What the processor must have for each target, best first.
REQUIRED_FEATURES: Final[dict[str, tuple[str, ...]]] = {
    "avx512": _AVX512,
    "avx2": _AVX2,
    "generic": (),
}
#: Hardware conversions to bfloat16 flush subnormal numbers; results must not depend on the target.
_NEVER: Final = "-avx512bf16,-avxneconvert"
_X86: Final = frozenset({"x86_64", "amd64"})
_ARM: Final = frozenset({"aarch64", "arm64"})


@dataclass(frozen=True, slots=True)
class Target:
    """An instruction set: what LLVM is told, and what code writers may rely on.

    Attributes:
        name: ``avx512``, ``avx2`` or ``generic``.
        machine: ``x86_64``, ``aarch64`` or the platform's own word.
        cpu: LLVM's name of the processor whose timings are assumed.
        features: LLVM's feature string.
        vector_bytes: Bytes of one vector register.
        vector_registers: Number of vector registers.
        has_fma: Whether a fused multiply-add is one instruction.
    """

    name: str
    machine: str
    cpu: str
    features: str
    vector_bytes: int
    vector_registers: int
    has_fma: bool

    def __str__(self) -> str:
        """All that the generated code depends on: a part of cache keys."""
        return f"{self.name} {self.machine} {self.cpu} {self.features}"


def select_target(name: str | None = None) -> Target:
    """Return the target of that name; by default the configured one.

    Args:
        name: ``auto`` for the best that the processor has, ``avx512``, ``avx2``, ``generic``.

    Raises:
        UnsupportedTargetError: the processor lacks the target's instructions.
    """
    return _select(name or config.settings().target)


@functools.cache
def _select(name: str) -> Target:
    machine = host_machine()
    present = host_features()
    supported = [
        target
        for target, required in REQUIRED_FEATURES.items()
        if target == "generic" or (machine == "x86_64" and present.issuperset(required))
    ]
    if name == "auto":
        return _make(supported[0], machine)
    if name not in supported:
        missing = sorted(set(REQUIRED_FEATURES.get(name, ())) - present)
        raise UnsupportedTargetError(
            f"target {name!r} needs a processor with {', '.join(missing) or 'other instructions'}; "
            f"this {machine} processor ({llvm.get_host_cpu_name()}) supports "
            f"{', '.join(supported)}"
        )
    return _make(name, machine)


def _make(name: str, machine: str) -> Target:
    if name == "avx512":
        # Some processors ask for 256-bit code; ours is written for full registers.
        features = f"{_host_feature_string()},-prefer-256-bit,-prefer-128-bit,{_NEVER}"
        return Target(name, machine, llvm.get_host_cpu_name(), features, 64, 32, True)
    if name == "avx2":
        return Target(name, machine, "x86-64-v3", "", 32, 16, True)
    if machine == "x86_64":
        return Target(name, machine, "x86-64", "", 16, 16, False)
    cpu = "generic" if machine == "aarch64" else ""
    return Target(name, machine, cpu, "", 16, 32, machine == "aarch64")


def host_machine() -> str:
    """The processor's architecture, by one name on every system."""
    machine = platform.machine().lower()
    if machine in _X86:
        return "x86_64"
    return "aarch64" if machine in _ARM else machine


@functools.cache
def host_features() -> frozenset[str]:
    """Instruction set extensions of this processor, by LLVM's names."""
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def _host_feature_string() -> str:
    return str(llvm.get_host_cpu_features().flatten())
