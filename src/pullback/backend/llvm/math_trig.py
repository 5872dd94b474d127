"""Trigonometric functions and their inverses.

Imports ``math_core`` and ``math_tables``. Start reading at ``reduce``.

All compute in double; results in float are rounded from that.
"""

from __future__ import annotations

from typing import Final

from pullback.backend.llvm import math_tables as tables
from pullback.backend.llvm.emit import Function, V, lanes_of
from pullback.backend.llvm.math_core import (
    Int,
    Mask,
    Num,
    Pair,
    constant_pair,
    exact_product,
    exact_sum,
    quick_sum,
)
from pullback.records import dataclass

TWO_OVER_PI: Final = 0.6366197723675814
PI: Final = (3.141592653589793, 1.2246467991473532e-16)
HALF_PI: Final = (1.5707963267948966, 6.123233995736766e-17)
#: pi/2 as a sum whose first parts have 33 digits: their products with 20-bit integers are exact.
HALF_PI_PARTS: Final = tables.HALF_PI_PARTS
#: Larger arguments are reduced with integers, one lane at a time.
LARGE: Final = 2.0**20
_TABLE_ZEROS: Final = 64
_MASK_53: Final = (1 << 53) - 1


@dataclass(frozen=True, slots=True)
class Reduced:
    """``x = quadrant * pi/2 + r``, ``|r| <= pi/4``; only the two low bits of ``quadrant`` count."""

    r: Pair
    quadrant: Int


def reduce(x: Num) -> Reduced:
    """Reduce double arguments of any size."""
    small = _reduce_small(x)
    f = x.f
    slots = [f.alloca(v.type) for v in _fields(small)]
    for value, slot in zip(_fields(small), slots, strict=True):
        f.store(value, slot)
    with f.when((abs(x) >= LARGE).any()):
        for value, slot in zip(_reduce_lanes(x, small), slots, strict=True):
            f.store(value, slot)
    high, low, quadrant = (
        f.load(value.type, slot) for value, slot in zip(_fields(small), slots, strict=True)
    )
    return Reduced(Pair(Num(f, high), Num(f, low)), Int(f, quadrant))


def _fields(reduced: Reduced) -> tuple[V, V, V]:
    return reduced.r.high.v, reduced.r.low.v, reduced.quadrant.v


def _reduce_small(x: Num) -> Reduced:
    """Cody and Waite's reduction in four parts; for ``|x| < LARGE``."""
    k, quadrant = (x * TWO_OVER_PI).rounded()
    first, second, third, rest = HALF_PI_PARTS
    r = exact_sum(x - k * first, -(k * second))
    r2 = exact_sum(r.high, -(k * third))
    low = (r.low + r2.low) - k * rest
    return Reduced(quick_sum(r2.high, low), quadrant)


def _reduce_lanes(x: Num, small: Reduced) -> tuple[V, V, V]:
    """Replace the lanes with large finite arguments."""
    f, lanes = x.f, lanes_of(x.v.type)
    if lanes == 1:
        result = _call_large(f, x.v)
        return result[0], result[1], result[2]
    arrays = [f.alloca(v.type) for v in (x.v, *_fields(small))]
    for value, array in zip((x.v, *_fields(small)), arrays, strict=True):
        f.store(value, array)
    with f.loop(0, lanes) as lane:
        item = Num(f, f.load("double", f.gep("double", arrays[0], lane)))
        with f.when(((abs(item) >= LARGE) & (abs(item) < float("inf"))).v):
            for value, array in zip(_call_large(f, item.v), arrays[1:], strict=True):
                f.store(value, f.gep(value.type, array, lane))
    high, low, quadrant = (
        f.load(value.type, array) for value, array in zip(_fields(small), arrays[1:], strict=True)
    )
    return high, low, quadrant


def _call_large(f: Function, x: V) -> tuple[V, V, V]:
    """Reduce one large argument by a function of its own."""
    name = "pullback.reduce_large"
    result = "{ double, double, i64 }"
    if not any(f" @{name}(" in text.split("\n", 1)[0] for text in f.module.functions):
        inner = Function(f.module, name, result, [("double", "x")], attributes="noinline nounwind")
        high, low, quadrant = _reduce_large(Num(inner, inner.args[0]))
        packed = inner.emit(result, f"insertvalue {result} poison, {high.v}, 0")
        packed = inner.emit(result, f"insertvalue {packed}, {low.v}, 1")
        inner.ret(inner.emit(result, f"insertvalue {packed}, {quadrant}, 2"))
        inner.finish()
    call = f.emit(result, f"call {result} @{name}({x})")
    high_v = f.emit("double", f"extractvalue {call}, 0")
    low_v = f.emit("double", f"extractvalue {call}, 1")
    return high_v, low_v, f.emit("i64", f"extractvalue {call}, 2")


def _reduce_large(x: Num) -> tuple[Num, Num, V]:
    """Payne and Hanek's reduction: only the bits of 2/pi that matter for ``x``.

    With ``|x| = m 2**e`` and ``w`` the 192 bits of 2/pi from weight 2**(1-e) on, ``m w mod 2**192``
    is ``|x| 2/pi mod 4`` in units of 2**-190.

    Source: Payne and Hanek 1983, "Radian reduction for trigonometric functions".
    """
    f = x.f
    bits = abs(x).bits()
    exponent = bits.logical_shift(52) - 1075
    m = (bits & ((1 << 52) - 1)) | (1 << 52)
    words = _bits_of_two_over_pi(f, exponent)
    low = _wide_product(m, words[2])
    middle = _wide_product(m, words[1])
    middle = f.add(middle, f.binary("lshr", low, f.const("i128", 64)))
    top = Int(f, f.convert("trunc", f.binary("lshr", middle, f.const("i128", 64)), "i64"))
    top = top + Int(f, f.mul(m.v, words[0].v))
    # The nearest integer, and the rest in -1/2 .. 1/2 as a signed number in units of 2**-126.
    quadrant = (top + (1 << 61)).logical_shift(62)
    rest_top = top - (quadrant << 62)
    below = f.binary("and", middle, f.const("i128", (1 << 64) - 1))
    rest = f.binary("shl", f.convert("sext", rest_top.v, "i128"), f.const("i128", 64))
    fraction = _signed_pair(f, f.binary("or", rest, below), x)
    r = fraction.times(constant_pair(x, *HALF_PI))
    negative = x.is_negative()
    zero = quadrant.constant(0)
    signed = (zero - quadrant).where(negative, quadrant)
    return (-r.high).where(negative, r.high), (-r.low).where(negative, r.low), signed.v


def _wide_product(x: Int, y: Int) -> V:
    f = x.f
    return f.mul(f.convert("zext", x.v, "i128"), f.convert("zext", y.v, "i128"))


def _bits_of_two_over_pi(f: Function, exponent: Int) -> list[Int]:
    """192 bits of 2/pi from weight ``2**(1 - exponent)`` on, most significant word first."""
    name = "pullback.two_over_pi"
    items = ", ".join(f"i64 {word}" for word in tables.TWO_OVER_PI_WORDS)
    count = len(tables.TWO_OVER_PI_WORDS)
    f.module.globals.setdefault(
        name, f"@{name} = private unnamed_addr constant [{count} x i64] [{items}], align 64"
    )
    start = exponent + (_TABLE_ZEROS - 2)
    word, shift = start >> 6, start & 63
    loaded = [f.load("i64", f.gep("i64", V("ptr", f"@{name}"), (word + i).v)) for i in range(4)]
    return [Int(f, f.intrinsic("fshl", loaded[i], loaded[i + 1], shift.v)) for i in range(3)]


def _signed_pair(f: Function, value: V, like: Num) -> Pair:
    """An ``i128`` in units of 2**-126 as a pair of numbers."""
    negative = f.compare("slt", value, f.const("i128", 0))
    magnitude = f.select(negative, f.sub(f.const("i128", 0), value), value)
    zeros = f.call("llvm.ctlz.i128", "i128", magnitude, V("i1", "false"))
    shifted = f.binary("shl", magnitude, f.binary("and", zeros, f.const("i128", 127)))
    count = Int(f, f.convert("trunc", zeros, "i64"))
    parts = []
    for position in (75, 22):
        digits = f.binary("lshr", shifted, f.const("i128", position))
        digits = f.binary("and", f.convert("trunc", digits, "i64"), f.const("i64", _MASK_53))
        number = Num(f, f.convert("sitofp", digits, "double"))
        unit = like.power_of_two(count.constant(position - 126) - count)
        parts.append(number * unit)
    sign = like.constant(-1.0).where(Mask(f, negative), 1.0)
    return Pair(parts[0] * sign, parts[1] * sign)


# --- sine, cosine, tangent -----------------------------------------------------------------------
def sine_of(r: Pair) -> Num:
    """Sine of a reduced argument."""
    x, form = r.high, r.high.format.element
    z = x * x
    cubic = z * x
    tail = z.polynomial(tables.SIN[form])
    # sin(x + low) = sin(x) + low cos(x).
    return x + cubic.fma(tail, r.low * (1.0 - z * 0.5))


def cosine_of(r: Pair) -> Num:
    """Cosine of a reduced argument."""
    x, form = r.high, r.high.format.element
    z = x * x
    half = z * 0.5
    head = 1.0 - half
    lost = (1.0 - head) - half
    tail = (z * z).fma(z.polynomial(tables.COS[form]), -(x * r.low))
    return head + (lost + tail)


def _sine_cosine(reduced: Reduced) -> tuple[Num, Num]:
    """Sine and cosine of the unreduced argument."""
    sine, cosine = sine_of(reduced.r), cosine_of(reduced.r)
    swap = (reduced.quadrant & 1).compare("ne", 0)
    flip_sine = (reduced.quadrant & 2).compare("ne", 0)
    flip_cosine = ((reduced.quadrant + 1) & 2).compare("ne", 0)
    first, second = cosine.where(swap, sine), sine.where(swap, cosine)
    return (-first).where(flip_sine, first), (-second).where(flip_cosine, second)


def emit_sin(x: Num) -> Num:
    """Sine (double)."""
    return x.where(abs(x) < 2.0**-27, _sine_cosine(reduce(x))[0])


def emit_cos(x: Num) -> Num:
    """Cosine (double)."""
    return _sine_cosine(reduce(x))[1]


def emit_tan(x: Num) -> Num:
    """Tangent (double)."""
    sine, cosine = _sine_cosine(reduce(x))
    return x.where(abs(x) < 2.0**-27, sine / cosine)


def sine_cosine_of_pi_times(x: Num) -> tuple[Num, Num]:
    """``sin(pi x)`` and ``cos(pi x)`` (double), for ``|x| < 2**50``: the reduction is exact."""
    k, quadrant = (x * 2.0).rounded()
    rest = x - k * 0.5
    product = exact_product(rest, x.constant(PI[0]))
    return _sine_cosine(Reduced(Pair(product.high, rest.fma(PI[1], product.low)), quadrant))


# --- inverses ------------------------------------------------------------------------------------
def emit_atan(x: Num) -> Num:
    """Arc tangent (double)."""
    return _arc(abs(x), x.constant(1.0)).with_sign_of(x)


def emit_atan2(y: Num, x: Num) -> Num:
    """Angle of the point ``(x, y)`` (double)."""
    a, b = abs(y), abs(x)
    both = a.equals(float("inf")) & b.equals(float("inf"))
    a, b = a.constant(1.0).where(both, a), b.constant(1.0).where(both, b)
    large = (a > 2.0**1000) | (b > 2.0**1000)
    a, b = (a * 2.0**-60).where(large, a), (b * 2.0**-60).where(large, b)
    angle = a.constant(0.0).where(a.equals(0.0) & ~b.is_nan(), _arc(a, b))
    behind = (PI[0] - angle) + PI[1]
    return behind.where(x.is_negative() & ~angle.is_nan(), angle).with_sign_of(y)


def _arc(a: Num, b: Num) -> Num:
    """Arc tangent of ``a / b >= 0``, from 0, pi/4 or pi/2, whichever is nearest."""
    near_half = a > b * 2.414213562373095
    near_quarter = (a > b * 0.41421356237309503) & ~near_half
    top = (-b).where(near_half, (a - b).where(near_quarter, a))
    bottom = a.where(near_half, (a + b).where(near_quarter, b))
    t = top / bottom
    z = t * t
    zero = a.constant(0.0)
    base = a.constant(HALF_PI[0]).where(
        near_half, a.constant(HALF_PI[0] / 2).where(near_quarter, zero)
    )
    rest = a.constant(HALF_PI[1]).where(
        near_half, a.constant(HALF_PI[1] / 2).where(near_quarter, zero)
    )
    return base + (t + (t * z).fma(z.polynomial(tables.ATAN["double"]), rest))


def emit_asin(x: Num) -> Num:
    """Arc sine (double)."""
    a = abs(x)
    outer = a > 0.5
    value = _arc_sine(a)
    half = (HALF_PI[0] - value * 2.0) + HALF_PI[1]
    return half.where(outer, value).with_sign_of(x)


def emit_acos(x: Num) -> Num:
    """Arc cosine (double)."""
    a = abs(x)
    value = _arc_sine(a)
    inner = HALF_PI[0] - (value.with_sign_of(x) - HALF_PI[1])
    left = PI[0] - (value * 2.0 - PI[1])
    outer = left.where(x < 0.0, value * 2.0)
    return outer.where(a > 0.5, inner)


def _arc_sine(a: Num) -> Num:
    """``asin(t)`` with ``t = a``, or beyond 1/2 ``t = sqrt((1 - a) / 2)``."""
    outer = a > 0.5
    z = ((1.0 - a) * 0.5).where(outer, a * a)
    t = z.sqrt().where(outer, a)
    return (t * z).fma(z.polynomial(tables.ASIN["double"]), t)
