"""Rounding to integers, remainder, neighbours.

Imports ``math_core``. Plain x86-64 has no instruction that rounds to integers, and LLVM would call
the C library for each lane, so there it is done by adding and subtracting 2**23 or 2**52.
"""

from __future__ import annotations

from pullback.backend.llvm.emit import V, mangle
from pullback.backend.llvm.math_core import NAN, Int, Num, has_fma


def emit_round(x: Num) -> Num:
    """The nearest integer, ties to even."""
    if has_fma(x.f):  # every target with fma rounds in one instruction too
        return Num(x.f, x.f.intrinsic("roundeven", x.v))
    return _keep_large(x, _nearest(abs(x)))


def emit_trunc(x: Num) -> Num:
    """The integer part."""
    if has_fma(x.f):
        return Num(x.f, x.f.intrinsic("trunc", x.v))
    a = abs(x)
    nearest = _nearest(a)
    return _keep_large(x, (nearest - 1.0).where(nearest > a, nearest))


def emit_floor(x: Num) -> Num:
    """The largest integer that is not above."""
    if has_fma(x.f):
        return Num(x.f, x.f.intrinsic("floor", x.v))
    part = emit_trunc(x)
    return (part - 1.0).where(part > x, part)


def emit_ceil(x: Num) -> Num:
    """The least integer that is not below."""
    if has_fma(x.f):
        return Num(x.f, x.f.intrinsic("ceil", x.v))
    part = emit_trunc(x)
    return (part + 1.0).where(part < x, part).with_sign_of(x)


def _nearest(a: Num) -> Num:
    limit = 2.0**a.format.fraction_bits
    return (a + limit) - limit


def _keep_large(x: Num, magnitude: Num) -> Num:
    """Large numbers are integers already; nan stays."""
    return magnitude.with_sign_of(x).where(abs(x) < 2.0**x.format.fraction_bits, x)


def emit_nextafter(x: Num, y: Num) -> Num:
    """The next number from ``x`` towards ``y``."""
    bits = x.bits()
    away = (y > x) ^ x.is_negative()
    step = (bits + 1).where(away, bits - 1).as_float()
    smallest = x.bits().constant(1).as_float().with_sign_of(y)
    result = smallest.where(x.equals(0.0), step)
    result = y.where(x.equals(y), result)
    return (x + y).where(x.is_nan() | y.is_nan(), result)


def emit_rem(x: Num, y: Num) -> Num:
    """``x - y * trunc(x / y)`` exactly, by long division of the digits."""
    f, form = x.f, x.format
    x_exponent, x_digits = _digits(x)
    y_exponent, y_digits = _digits(y)
    steps = x_exponent - y_exponent
    digits = _divide(x_digits, y_digits, steps.constant(0).where(steps.compare("slt", 0), steps))
    zeros = Int(f, f.call(*_count_zeros(digits), digits.v, V("i1", "false")))
    shift = zeros - (form.bits - 1 - form.fraction_bits)
    exponent = y_exponent - shift
    normal = (digits << shift) + ((exponent - 1) << form.fraction_bits)
    zero = digits.constant(0)
    down = (zero - exponent + 1).where(exponent.compare("slt", 1), 0)
    below = (digits << shift.where(digits.compare("ne", 0), 0)).logical_shift(down)
    bits = normal.where(exponent.compare("sgt", 0), below).where(digits.compare("ne", 0), 0)
    result = bits.as_float().with_sign_of(x)
    result = x.where(abs(x) < abs(y), result)
    valid = (abs(x) < float("inf")) & (abs(y) > 0.0)
    return result.where(valid, NAN)


def _count_zeros(x: Int) -> tuple[str, str]:
    return f"llvm.ctlz.{mangle(x.v.type)}", x.v.type


def _digits(x: Num) -> tuple[Int, Int]:
    """Exponent and digits of the magnitude, as if there were no subnormal numbers."""
    f, form = x.f, x.format
    bits = abs(x).bits()
    exponent = bits.logical_shift(form.fraction_bits)
    fraction = bits & form.fraction_mask
    zeros = Int(f, f.call(*_count_zeros(fraction), fraction.v, V("i1", "false")))
    shift = zeros - (form.bits - 1 - form.fraction_bits)
    # The shift amount must stay below the width also in lanes that are not subnormal.
    subnormal = exponent.compare("eq", 0)
    safe = shift.where(subnormal & fraction.compare("ne", 0), 0)
    digits = (fraction << safe).where(subnormal, fraction | (1 << form.fraction_bits))
    return (safe.constant(1) - safe).where(subnormal, exponent), digits


def _divide(x: Int, y: Int, steps: Int) -> Int:
    """Digits of the remainder: ``steps`` times subtract if possible and double, once subtract."""
    f = x.f
    digits, left = f.alloca(x.v.type), f.alloca(x.v.type)
    f.store(x.v, digits)
    f.store(steps.v, left)
    head, body, done = f.label("divide"), f.label("step"), f.label("divided")
    f.branch(head)
    f.start(head)
    remaining = Int(f, f.load(x.v.type, left))
    active = remaining.compare("sgt", 0)
    f.branch_if(active.any(), body, done)
    f.start(body)
    current = Int(f, f.load(x.v.type, digits))
    f.store((_subtract_if(current, y) << 1).where(active, current).v, digits)
    f.store((remaining - 1).v, left)
    f.branch(head)
    f.start(done)
    return _subtract_if(Int(f, f.load(x.v.type, digits)), y)


def _subtract_if(x: Int, y: Int) -> Int:
    difference = x - y
    return difference.where(difference.compare("sge", 0), x)
