"""Conversions to and from the 8- and 16-bit floats, written out where a target has no instruction.

LLVM would otherwise call runtime functions that don't exist in a process. bfloat16 is always
written out: hardware conversions flush subnormal numbers. Rounding is to nearest, ties to even.
In registers all are kept as their bits, ``i8`` or ``i16``: LLVM would promote every ``select`` of
them. Start at ``Format``.
"""

from __future__ import annotations

from typing import Final

from pullback.backend.llvm.emit import Function, V, lanes_of, vector_type
from pullback.records import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """How a float with a sign, a short exponent and a short mantissa is laid out.

    Attributes:
        bits: Width.
        mantissa: Bits of the mantissa.
        bias: Bias of the exponent.
        end: The first code, without the sign, that is no finite number: what overflows becomes.
        nan: The code of nan that conversions make.
    """

    bits: int
    mantissa: int
    bias: int
    end: int
    nan: int


FORMATS: Final = {
    "half": Format(16, 10, 15, 0x7C00, 0x7E00),
    "f8e4m3fn": Format(8, 3, 7, 0x7F, 0x7F),  # has no infinity
    "f8e5m2": Format(8, 2, 15, 0x7C, 0x7E),
}


def _bits(f: Function, x: V, element: str) -> V:
    return f.convert("bitcast", x, element)


def _const(f: Function, like: V, value: int) -> V:
    return f.const(like.type, value)


def widen_narrow(f: Function, x: V, element: str) -> V:
    """The bits of an 8- or 16-bit float as ``float``, exactly; an 8-bit nan as the quiet one."""
    if element == "bfloat":
        bits = f.convert("zext", x, "i32")
        return _bits(f, f.binary("shl", bits, _const(f, bits, 16)), "float")
    if element == "half" and f.module.has_half:
        return f.convert("fpext", _bits(f, x, "half"), "float")
    format = FORMATS[element]
    top, shift = 1 << format.bits - 1, 23 - format.mantissa
    bits = f.convert("zext", x, "i32")
    sign = f.binary("and", bits, _const(f, bits, top))
    sign = f.binary("shl", sign, _const(f, bits, 32 - format.bits))
    rest = f.binary("and", bits, _const(f, bits, top - 1))
    rest = f.binary("shl", rest, _const(f, bits, shift))
    # Scaling by a power of two moves the exponent's bias and makes subnormal numbers normal.
    scale = f.const(vector_type(lanes_of(x.type), "float"), 2.0 ** (127 - format.bias))
    scaled = f.fmul(_bits(f, rest, "float"), scale)
    special = f.compare("uge", rest, _const(f, rest, format.end << shift))
    infinite = f.binary("or", rest, _const(f, rest, 0x7F800000))
    if element != "half":
        is_nan = f.compare("ugt", infinite, _const(f, rest, 0x7F800000))
        infinite = f.select(is_nan, _const(f, rest, 0x7FC00000), infinite)
    magnitude = f.select(special, infinite, _bits(f, scaled, "i32"))
    return _bits(f, f.binary("or", magnitude, sign), "float")


def narrow_float(f: Function, x: V, element: str) -> V:
    """``float`` rounded to an 8- or 16-bit float, as its bits."""
    if element == "bfloat":
        return _float_to_bfloat(f, x)
    if element == "half" and f.module.has_half:
        return _bits(f, f.convert("fptrunc", x, "half"), "i16")
    return _float_to_format(f, x, FORMATS[element])


def _float_to_bfloat(f: Function, x: V) -> V:
    bits = _bits(f, x, "i32")
    last = f.binary("and", f.binary("lshr", bits, _const(f, bits, 16)), _const(f, bits, 1))
    rounded = f.add(bits, f.add(last, _const(f, bits, 0x7FFF)))
    quiet = f.binary("or", bits, _const(f, bits, 0x400000))
    chosen = f.select(f.compare("uno", x, x), quiet, rounded)
    return f.convert("trunc", f.binary("lshr", chosen, _const(f, bits, 16)), "i16")


def _float_to_format(f: Function, x: V, format: Format) -> V:
    shift, rebias = 23 - format.mantissa, 127 - format.bias
    bits = _bits(f, x, "i32")
    sign = f.binary("and", bits, _const(f, bits, -(2**31)))
    rest = f.binary("xor", bits, sign)
    # Normal results: rebias the exponent and round the dropped bits to nearest even.
    odd = f.binary("and", f.binary("lshr", rest, _const(f, rest, shift)), _const(f, rest, 1))
    biased = f.sub(rest, _const(f, rest, rebias << 23))
    biased = f.add(biased, f.add(odd, _const(f, rest, (1 << shift - 1) - 1)))
    normal = f.binary("lshr", biased, _const(f, rest, shift))
    # Subnormal results: adding a number whose last bit is their unit lets the adder round there.
    magic = f.const(x.type, 2.0 ** (rebias + 1 + shift - 127))
    small = f.sub(_bits(f, f.fadd(_bits(f, rest, "float"), magic), "i32"), _bits(f, magic, "i32"))
    is_small = f.compare("ult", rest, _const(f, rest, rebias + 1 << 23))
    value = f.intrinsic("umin", f.select(is_small, small, normal), _const(f, rest, format.end))
    is_nan = f.compare("ugt", rest, _const(f, rest, 0x7F800000))
    value = f.select(is_nan, _const(f, rest, format.nan), value)
    signed = f.binary("or", value, f.binary("lshr", sign, _const(f, rest, 32 - format.bits)))
    return f.convert("trunc", signed, f"i{format.bits}")
