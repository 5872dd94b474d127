"""Conversions to and from the 16-bit floats, written out where a target has no instruction.

LLVM would otherwise call runtime functions that don't exist in a process. bfloat16 is always
written out: hardware conversions flush subnormal numbers. Rounding is to nearest, ties to even.
In registers both are kept as their bits, ``i16``: LLVM would promote every ``select`` of them.
"""

from __future__ import annotations

from pullback.backend.llvm.emit import Function, V, lanes_of, vector_type


def _bits(f: Function, x: V, element: str) -> V:
    return f.convert("bitcast", x, element)


def _const(f: Function, like: V, value: int) -> V:
    return f.const(like.type, value)


def widen_narrow(f: Function, x: V, element: str) -> V:
    """The ``i16`` bits of a 16-bit float as ``float``, exactly."""
    if element == "bfloat":
        bits = f.convert("zext", x, "i32")
        return _bits(f, f.binary("shl", bits, _const(f, bits, 16)), "float")
    if f.module.has_half:
        return f.convert("fpext", _bits(f, x, "half"), "float")
    bits = f.convert("zext", x, "i32")
    sign = f.binary("shl", f.binary("and", bits, _const(f, bits, 0x8000)), _const(f, bits, 16))
    rest = f.binary("shl", f.binary("and", bits, _const(f, bits, 0x7FFF)), _const(f, bits, 13))
    # Scaling by 2**112 moves the exponent's bias and makes subnormal numbers normal.
    scaled = f.fmul(
        _bits(f, rest, "float"), f.const(vector_type(lanes_of(x.type), "float"), 2.0**112)
    )
    special = f.compare("uge", rest, _const(f, rest, 0x7C00 << 13))
    infinite = f.binary("or", rest, _const(f, rest, 0x7F800000))
    magnitude = f.select(special, infinite, _bits(f, scaled, "i32"))
    return _bits(f, f.binary("or", magnitude, sign), "float")


def narrow_float(f: Function, x: V, element: str) -> V:
    """``float`` rounded to ``half`` or ``bfloat``, as ``i16`` bits."""
    if element == "bfloat":
        return _float_to_bfloat(f, x)
    if f.module.has_half:
        return _bits(f, f.convert("fptrunc", x, "half"), "i16")
    return _float_to_half(f, x)


def narrow_double(f: Function, x: V, element: str) -> V:
    """``double`` rounded once to ``half``; to ``bfloat`` through ``float``, as ml_dtypes does."""
    if element == "bfloat":
        return _float_to_bfloat(f, f.convert("fptrunc", x, "float"))
    return narrow_float(f, _round_to_odd(f, x), "half")


def _round_to_odd(f: Function, x: V) -> V:
    """A ``double`` as the ``float`` that rounds on to the same ``half``.

    Where the conversion is not exact, the neighbour with an odd last bit is taken: it still tells
    on which side of a tie the number lies.
    """
    nearest = f.convert("fptrunc", x, "float")
    back = f.convert("fpext", nearest, "double")
    bits = _bits(f, nearest, "i32")
    even = f.compare("eq", f.binary("and", bits, _const(f, bits, 1)), _const(f, bits, 0))
    inexact = f.compare("one", back, x)
    short = f.compare("olt", f.intrinsic("fabs", back), f.intrinsic("fabs", x))
    step = f.select(short, _const(f, bits, 1), _const(f, bits, -1))
    moved = f.select(f.binary("and", inexact, even), f.add(bits, step), bits)
    return _bits(f, moved, "float")


def _float_to_bfloat(f: Function, x: V) -> V:
    bits = _bits(f, x, "i32")
    last = f.binary("and", f.binary("lshr", bits, _const(f, bits, 16)), _const(f, bits, 1))
    rounded = f.add(bits, f.add(last, _const(f, bits, 0x7FFF)))
    quiet = f.binary("or", bits, _const(f, bits, 0x400000))
    chosen = f.select(f.compare("uno", x, x), quiet, rounded)
    return f.convert("trunc", f.binary("lshr", chosen, _const(f, bits, 16)), "i16")


def _float_to_half(f: Function, x: V) -> V:
    bits = _bits(f, x, "i32")
    sign = f.binary("and", bits, _const(f, bits, -(2**31)))
    rest = f.binary("xor", bits, sign)
    # Normal results: rebias the exponent and round the 13 dropped bits to nearest even.
    odd = f.binary("and", f.binary("lshr", rest, _const(f, rest, 13)), _const(f, rest, 1))
    biased = f.add(f.sub(rest, _const(f, rest, 112 << 23)), f.add(odd, _const(f, rest, 0xFFF)))
    normal = f.binary("lshr", biased, _const(f, rest, 13))
    # Subnormal results: adding 0.5 lets the float adder round at the right bit.
    half = f.const(x.type, 0.5)
    small = f.sub(_bits(f, f.fadd(_bits(f, rest, "float"), half), "i32"), _bits_of_half(f, half))
    is_small = f.compare("ult", rest, _const(f, rest, 113 << 23))
    value = f.select(is_small, small, normal)
    overflows = f.compare("uge", rest, _const(f, rest, 0x477FF000))
    value = f.select(overflows, _const(f, rest, 0x7C00), value)
    is_nan = f.compare("ugt", rest, _const(f, rest, 0x7F800000))
    value = f.select(is_nan, _const(f, rest, 0x7E00), value)
    signed = f.binary("or", value, f.binary("lshr", sign, _const(f, rest, 16)))
    return f.convert("trunc", signed, "i16")


def _bits_of_half(f: Function, half: V) -> V:
    return _bits(f, half, "i32")
