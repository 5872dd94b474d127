"""Scalar opcodes as LLVM instructions, on scalars or vectors.

float16 and bfloat16 are computed in float32 and rounded after every operation, as NumPy does, so
that compiled and eager results agree; the 8-bit floats are compared there. Elementary functions are
in ``math``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pullback.backend.llvm.emit import Function, V, element_of, is_float, lanes_of, vector_type
from pullback.backend.llvm.math import emit_math
from pullback.backend.llvm.narrow import narrow_float, widen_narrow
from pullback.types import (
    FLOATING,
    SIGNED,
    DType,
    bfloat16,
    bool_,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
)

ELEMENTS: dict[DType, str] = {
    bool_: "i1", float16: "i16", bfloat16: "i16", float32: "float", float64: "double",
    float8_e4m3fn: "i8", float8_e5m2: "i8",
}  # fmt: skip
#: Floats that are computed in float32, and their names in ``narrow``.
NARROW: dict[DType, str] = {
    float16: "half", bfloat16: "bfloat", float8_e4m3fn: "f8e4m3fn", float8_e5m2: "f8e5m2",
}  # fmt: skip


def constant(f: Function, type: str, dtype: DType, value: float | int | bool) -> V:
    """``value`` as a constant of ``dtype``, in every lane of ``type``."""
    if is_narrow(dtype):
        bits = np.asarray(value).astype(dtype).view(f"i{dtype.itemsize}")
        return f.const(type, int(bits))
    return f.const(type, value)


def element_type(dtype: DType) -> str:
    """LLVM's type of an element in a register; 8- and 16-bit floats are their bits."""
    return ELEMENTS.get(dtype) or f"i{dtype.itemsize * 8}"


def memory_type(dtype: DType) -> str:
    """LLVM's type of an element in memory: booleans take a byte."""
    return "i8" if dtype == bool_ else element_type(dtype)


def is_narrow(dtype: DType) -> bool:
    """Whether arithmetic goes through float32."""
    return dtype in NARROW


_FLOAT_BINARY = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INT_BINARY = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor"}
_FLOAT_COMPARE = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_INT_INTRINSICS = {"popcount": "ctpop"}
_FLOAT_INTRINSICS = {
    "abs": "fabs", "floor": "floor", "ceil": "ceil", "round": "roundeven", "trunc": "trunc",
    "sqrt": "sqrt", "copysign": "copysign",
}  # fmt: skip


def emit_op(f: Function, opcode: str, dtype: DType, args: list[V]) -> V:
    """Emit one opcode of ``SCALAR_OPS`` on operands of ``dtype``."""
    lanes = max(lanes_of(a.type) for a in args)
    args = [f.splat(a, lanes) for a in args]
    if is_narrow(dtype):
        return _emit_narrow(f, opcode, dtype, args)
    if dtype in FLOATING:
        return _emit_float(f, opcode, args)
    return _emit_integer(f, opcode, dtype, args)


def _emit_narrow(f: Function, opcode: str, dtype: DType, args: list[V]) -> V:
    narrow = NARROW[dtype]
    if opcode == "nextafter":
        return _narrow_nextafter(f, narrow, *args)
    wide = [widen_narrow(f, a, narrow) for a in args]
    result = _emit_float(f, opcode, wide)
    return narrow_float(f, result, narrow) if is_float(result.type) else result


def _narrow_nextafter(f: Function, narrow: str, x: V, y: V) -> V:
    """One step of the bits towards ``y``; from zero to the smallest number of y's sign."""
    wide_x, wide_y = widen_narrow(f, x, narrow), widen_narrow(f, y, narrow)
    is_nan = f.compare("uno", wide_x, wide_y)
    equal = f.compare("oeq", wide_x, wide_y)
    up = f.compare("olt", wide_x, wide_y)
    negative = f.compare("slt", x, f.const(x.type, 0))
    away = f.binary("xor", up, negative)
    step = f.select(away, f.const(x.type, 1), f.const(x.type, -1))
    is_zero = f.compare("oeq", wide_x, f.const(wide_x.type, 0.0))
    smallest = f.select(up, f.const(x.type, 1), f.const(x.type, -(2**15) + 1))
    moved = f.select(is_zero, smallest, f.add(x, step))
    nan = f.const(x.type, 0x7E00 if narrow == "half" else 0x7FC0)
    return f.select(is_nan, nan, f.select(equal, y, moved))


def _emit_float(f: Function, opcode: str, args: list[V]) -> V:
    if opcode in _FLOAT_BINARY:
        return f.binary(_FLOAT_BINARY[opcode], args[0], args[1])
    if opcode in _FLOAT_COMPARE:
        return f.compare(_FLOAT_COMPARE[opcode], args[0], args[1])
    if opcode in _FLOAT_INTRINSICS:
        return f.intrinsic(_FLOAT_INTRINSICS[opcode], *args)
    special = _FLOAT_SPECIAL.get(opcode)
    if special is not None:
        return special(f, *args)
    return emit_math(f, opcode, *args)


def _float_maximum(f: Function, x: V, y: V) -> V:
    larger = f.select(f.compare("ogt", x, y), x, y)
    return f.select(f.compare("uno", x, x), x, larger)


def _float_minimum(f: Function, x: V, y: V) -> V:
    smaller = f.select(f.compare("olt", x, y), x, y)
    return f.select(f.compare("uno", x, x), x, smaller)


def _float_sign(f: Function, x: V) -> V:
    one = f.intrinsic("copysign", f.const(x.type, 1.0), x)
    nonzero = f.compare("one", x, f.const(x.type, 0.0))
    return f.select(nonzero, one, x)  # zeros keep their sign, nan stays nan


def _float_is_finite(f: Function, x: V) -> V:
    return f.compare("olt", f.intrinsic("fabs", x), f.const(x.type, float("inf")))


_FLOAT_SPECIAL: dict[str, Callable[..., V]] = {
    "neg": lambda f, x: f.fneg(x),
    "max": _float_maximum,
    "min": _float_minimum,
    "sign": _float_sign,
    "is_finite": _float_is_finite,
}


def _emit_integer(f: Function, opcode: str, dtype: DType, args: list[V]) -> V:
    x = args[0]
    signed = dtype in SIGNED
    if opcode in _INT_BINARY:
        name = _INT_BINARY[opcode]
        if dtype == bool_:
            name = {"add": "or", "mul": "and", "sub": "xor"}.get(name, name)
        return f.binary(name, x, args[1])
    if opcode in _FLOAT_COMPARE:
        predicate = opcode if opcode in ("eq", "ne") else ("s" if signed else "u") + opcode
        return f.compare(predicate, x, args[1])
    if opcode in ("max", "min"):
        return f.intrinsic(("s" if signed else "u") + opcode, *args)
    if opcode in ("div", "rem"):
        return _integer_division(f, opcode, signed, *args)
    if opcode in ("shl", "shr", "sar"):
        return _shift(f, opcode, *args)
    if opcode == "pow":
        return _integer_power(f, signed, *args)
    return _integer_unary(f, opcode, signed, x)


def _integer_unary(f: Function, opcode: str, signed: bool, x: V) -> V:
    if opcode == "neg":
        return f.sub(f.const(x.type, 0), x)
    if opcode == "not":
        return f.binary("xor", x, f.const(x.type, -1 if element_of(x.type) != "i1" else True))
    if opcode == "abs":
        if not signed:
            return x
        negative = f.compare("slt", x, f.const(x.type, 0))
        return f.select(negative, f.sub(f.const(x.type, 0), x), x)
    if opcode == "sign":
        zero, one = f.const(x.type, 0), f.const(x.type, 1)
        positive = f.select(f.compare("ne", x, zero), one, zero)
        if not signed:
            return positive
        return f.select(f.compare("slt", x, zero), f.const(x.type, -1), positive)
    if opcode in _INT_INTRINSICS:
        return f.intrinsic(_INT_INTRINSICS[opcode], x)
    if opcode == "is_finite":
        return f.const(vector_type(lanes_of(x.type), "i1"), True)
    if opcode in ("floor", "ceil", "round", "trunc"):
        return x
    raise ValueError(f"opcode {opcode} is not defined on integers")


def _integer_division(f: Function, opcode: str, signed: bool, x: V, y: V) -> V:
    """Division that never traps: x / 0 is 0, the least integer / -1 wraps."""
    zero, one = f.const(x.type, 0), f.const(x.type, 1)
    by_zero = f.compare("eq", y, zero)
    divisor = f.select(by_zero, one, y)
    if not signed:
        result = f.binary("udiv" if opcode == "div" else "urem", x, divisor)
        return f.select(by_zero, zero, result)
    minus_one = f.compare("eq", divisor, f.const(x.type, -1))
    safe = f.select(minus_one, one, divisor)
    if opcode == "div":
        result = f.select(minus_one, f.sub(zero, x), f.binary("sdiv", x, safe))
    else:
        result = f.binary("srem", x, safe)
        result = f.select(minus_one, zero, result)
    return f.select(by_zero, zero, result)


def _shift(f: Function, opcode: str, x: V, y: V) -> V:
    width = int(element_of(x.type)[1:])
    inside = f.compare("ult", y, f.const(y.type, width))
    amount = f.select(inside, y, f.const(y.type, width - 1 if opcode == "sar" else 0))
    name = {"shl": "shl", "shr": "lshr", "sar": "ashr"}[opcode]
    shifted = f.binary(name, x, amount)
    return shifted if opcode == "sar" else f.select(inside, shifted, f.const(x.type, 0))


def _integer_power(f: Function, signed: bool, x: V, y: V) -> V:
    """Square and multiply over all bits of the exponent; a negative exponent gives 0, 1 or -1."""
    width = int(element_of(x.type)[1:])
    zero, one = f.const(x.type, 0), f.const(x.type, 1)
    result, square = one, x
    for bit in range(width - (1 if signed else 0)):
        mask = f.const(x.type, 1 << bit)
        chosen = f.compare("ne", f.binary("and", y, mask), zero)
        result = f.select(chosen, f.mul(result, square), result)
        square = f.mul(square, square)
    if not signed:
        return result
    odd = f.compare("ne", f.binary("and", y, one), zero)
    minus = f.const(x.type, -1)
    is_one, is_minus = f.compare("eq", x, one), f.compare("eq", x, minus)
    inverse = f.select(is_one, one, f.select(is_minus, f.select(odd, minus, one), zero))
    return f.select(f.compare("slt", y, zero), inverse, result)


def emit_cast(f: Function, x: V, source: DType, target: DType) -> V:
    """Convert as NumPy's ``astype``; float to integer saturates, nan gives 0."""
    to = element_type(target)
    if target == bool_:
        zero = constant(f, x.type, source, 0)
        return emit_op(f, "ne", source, [x, zero])
    if source in FLOATING and target in FLOATING:
        return _cast_float(f, x, source, target, to)
    if source in FLOATING:
        wide = widen_narrow(f, x, NARROW[source]) if is_narrow(source) else x
        name = "fptosi.sat" if target in SIGNED else "fptoui.sat"
        result = vector_type(lanes_of(x.type), to)
        from pullback.backend.llvm.emit import mangle

        return f.call(f"llvm.{name}.{mangle(result)}.{mangle(wide.type)}", result, wide)
    if target in FLOATING:
        instruction = "sitofp" if source in SIGNED else "uitofp"
        if is_narrow(target):
            return narrow_float(f, f.convert(instruction, x, "float"), NARROW[target])
        return f.convert(instruction, x, to)
    return emit_integer_cast(f, x, source, to)


def _cast_float(f: Function, x: V, source: DType, target: DType, to: str) -> V:
    if is_narrow(source):
        wide = widen_narrow(f, x, NARROW[source])
        if is_narrow(target):
            return narrow_float(f, wide, NARROW[target])
        return f.convert("fpext", wide, to)
    if is_narrow(target):
        single = f.convert("fptrunc", x, "float") if source == float64 else x
        return narrow_float(f, single, NARROW[target])
    return f.convert("fpext" if target.itemsize > source.itemsize else "fptrunc", x, to)


def emit_integer_cast(f: Function, x: V, source: DType, to: str) -> V:
    """Widen by the source's signedness, or truncate."""
    bits_from, bits_to = int(element_of(x.type)[1:]), int(to[1:])
    if bits_from == bits_to:
        return x
    if bits_from > bits_to:
        return f.convert("trunc", x, to)
    return f.convert("sext" if source in SIGNED else "zext", x, to)
