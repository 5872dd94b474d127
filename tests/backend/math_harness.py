"""Runs one elementary function, compiled, over arrays."""

from __future__ import annotations

import ctypes
import functools
import re
from typing import Any

import numpy as np

from pullback.backend.llvm import jit, target
from pullback.backend.llvm.emit import Function, Module, vector_type
from pullback.backend.llvm.math import emit_math
from pullback.backend.llvm.target import select_target

Array = np.ndarray[Any, Any]
ELEMENTS = {"float32": "float", "float64": "double"}
TARGETS = [
    name
    for name, required in target.REQUIRED_FEATURES.items()
    if name == "generic" or target.host_features().issuperset(required)
]


def module_text(name: str, opcode: str, element: str, operands: int, order: int, lanes: int) -> str:
    """IR of ``run(out, operands…, n)``, a loop over vectors."""
    module = Module(has_fma=select_target(name).has_fma)
    arguments = [("ptr", "out"), *(("ptr", f"x{i}") for i in range(operands)), ("i64", "n")]
    f = Function(module, "run", "void", arguments, linkage="dso_local")
    type = vector_type(lanes, element)
    with f.loop(0, f.args[-1], lanes) as i:
        values = [f.load(type, f.gep(element, pointer, i)) for pointer in f.args[1:-1]]
        result = emit_math(f, opcode, *values, order=order)
        f.store(result, f.gep(element, f.args[0], i))
    f.ret()
    f.finish()
    return str(module)


@functools.cache
def _compiled(
    name: str, opcode: str, element: str, operands: int, order: int, lanes: int
) -> tuple[Any, jit.Loaded]:
    text = module_text(name, opcode, element, operands, order, lanes)
    loaded = jit.load_object(jit.compile_ir(text, target=select_target(name)))
    pointers = [ctypes.c_void_p] * (operands + 1)
    return ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int64)(loaded.address("run")), loaded


def evaluate(
    opcode: str, *arrays: Array, name: str = TARGETS[0], order: int = 0, lanes: int = 16
) -> Array:
    """The function of flat arrays of one dtype and length."""
    count = arrays[0].size
    padded = -(-count // lanes) * lanes
    inputs = [np.concatenate([a, np.ones(padded - count, a.dtype)]) for a in arrays]
    out = np.empty(padded, arrays[0].dtype)
    element = ELEMENTS[arrays[0].dtype.name]
    function, _ = _compiled(name, opcode, element, len(arrays), order, lanes)
    function(out.ctypes.data, *(a.ctypes.data for a in inputs), padded)
    return out[:count]


def library_calls(name: str, opcode: str, element: str, operands: int) -> set[str]:
    """Functions outside the module that the compiled code calls."""
    text = module_text(name, opcode, element, operands, 2 if opcode == "polygamma" else 0, 16)
    assembly = jit.assembly(text, target=select_target(name))
    called = set(re.findall(r"\b(?:call|jmp)q?\s+\*?([A-Za-z_]\w*)@", assembly))
    called |= set(re.findall(r"\bcallq?\s+([A-Za-z_][\w.]*)", assembly))
    return {c for c in called if not c.startswith("pullback")}


def ulps(got: Array, exact: Array) -> Array:
    """Errors of float results against exact results in double, in units of the last place."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        largest = np.finfo(np.float32).max
        unit = np.spacing(np.minimum(np.abs(rounded), largest)).astype(np.float64)
        error = np.abs(got.astype(np.float64) - exact) / unit
        same = (got == rounded) | (np.isnan(got) & np.isnan(rounded))
        # An infinite result is right exactly where the rounded one is infinite.
        infinite = np.isinf(got) | np.isinf(rounded) | np.isnan(got) | np.isnan(rounded)
    return np.where(infinite, np.where(same, 0.0, np.inf), error)
