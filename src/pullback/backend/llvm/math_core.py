"""Arithmetic on LLVM values with Python's operators, for writing elementary functions.

Imports ``emit``. The functions are in ``math_exp``, ``math_log`` … Start reading at ``Num``.

``Num`` is a floating value (scalar or vector), ``Int`` its bits, ``Mask`` the result of comparing.
No operation here becomes a library call on any target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from pullback.backend.llvm.emit import Function, V, element_of, lanes_of, vector_type
from pullback.records import dataclass

INF: Final = math.inf
NAN: Final = math.nan


@dataclass(frozen=True, slots=True)
class Format:
    """A floating element type: its LLVM name and the numbers that describe it."""

    element: str
    bits: int
    fraction_bits: int
    bias: int

    @property
    def magic(self) -> float:
        """Adding and subtracting it rounds to an integer; the sum's low bits are that integer."""
        return 1.5 * 2.0**self.fraction_bits

    @property
    def smallest_normal(self) -> float:
        """The least positive number with all its digits."""
        return 2.0 ** (1 - self.bias)

    @property
    def sign_bit(self) -> int:
        """Weight of the sign among the bits, as a signed integer."""
        return -(1 << (self.bits - 1))

    @property
    def fraction_mask(self) -> int:
        """The fraction's bits."""
        return (1 << self.fraction_bits) - 1


FLOAT: Final = Format("float", 32, 23, 127)
DOUBLE: Final = Format("double", 64, 52, 1023)
FORMATS: Final = {"float": FLOAT, "double": DOUBLE}


@dataclass(frozen=True, slots=True)
class Mask:
    """Lanes for which something holds."""

    f: Function
    v: V

    def __and__(self, other: Mask) -> Mask:
        return Mask(self.f, self.f.binary("and", self.v, other.v))

    def __or__(self, other: Mask) -> Mask:
        return Mask(self.f, self.f.binary("or", self.v, other.v))

    def __xor__(self, other: Mask) -> Mask:
        return Mask(self.f, self.f.binary("xor", self.v, other.v))

    def __invert__(self) -> Mask:
        return Mask(self.f, self.f.binary("xor", self.v, self.f.const(self.v.type, True)))

    def any(self) -> V:
        """Whether it holds for any lane (``i1``)."""
        lanes = lanes_of(self.v.type)
        if lanes == 1:
            return self.v
        bits = self.f.emit(f"i{lanes}", f"bitcast {self.v} to i{lanes}")
        return self.f.compare("ne", bits, V(bits.type, "0"))


@dataclass(frozen=True, slots=True)
class Int:
    """Integers of one width, by lane; operators wrap."""

    f: Function
    v: V

    def _binary(self, instruction: str, other: Int | int) -> Int:
        return Int(self.f, self.f.binary(instruction, self.v, self._lift(other)))

    def _lift(self, other: Int | int) -> V:
        return other.v if isinstance(other, Int) else self.f.const(self.v.type, other)

    def __add__(self, other: Int | int) -> Int:
        return self._binary("add", other)

    def __sub__(self, other: Int | int) -> Int:
        return self._binary("sub", other)

    def __and__(self, other: Int | int) -> Int:
        return self._binary("and", other)

    def __or__(self, other: Int | int) -> Int:
        return self._binary("or", other)

    def __xor__(self, other: Int | int) -> Int:
        return self._binary("xor", other)

    def __lshift__(self, other: Int | int) -> Int:
        return self._binary("shl", other)

    def __rshift__(self, other: Int | int) -> Int:
        """Arithmetic shift."""
        return self._binary("ashr", other)

    def logical_shift(self, other: Int | int) -> Int:
        """Shift right, zeros coming in."""
        return self._binary("lshr", other)

    def compare(self, predicate: str, other: Int | int) -> Mask:
        """Compare by LLVM's predicates: ``eq``, ``ne``, ``slt``, ``sgt``."""
        return Mask(self.f, self.f.compare(predicate, self.v, self._lift(other)))

    def where(self, mask: Mask, other: Int | int) -> Int:
        """These where the mask holds, else ``other``."""
        return Int(self.f, self.f.select(mask.v, self.v, self._lift(other)))

    def constant(self, value: int) -> Int:
        """A constant of this width."""
        return Int(self.f, self.f.const(self.v.type, value))

    def as_float(self) -> Num:
        """The floating numbers that have these bits."""
        element = {"i32": "float", "i64": "double"}[element_of(self.v.type)]
        return Num(self.f, self.f.convert("bitcast", self.v, element))


@dataclass(frozen=True, slots=True)
class Num:
    """Floating values of one type, by lane; operators round once each."""

    f: Function
    v: V

    # --- constants and types ---------------------------------------------------------------------
    @property
    def format(self) -> Format:
        """The element's format."""
        return FORMATS[element_of(self.v.type)]

    @property
    def mask_type(self) -> str:
        """The type of a comparison's result."""
        return vector_type(lanes_of(self.v.type), "i1")

    def constant(self, value: float) -> Num:
        """A constant of this type."""
        return Num(self.f, self.f.const(self.v.type, value))

    def widen(self) -> Num:
        """As ``double``."""
        return Num(self.f, self.f.convert("fpext", self.v, "double"))

    def narrow(self) -> Num:
        """As ``float``, rounded."""
        return Num(self.f, self.f.convert("fptrunc", self.v, "float"))

    def _lift(self, other: Num | float) -> V:
        return other.v if isinstance(other, Num) else self.f.const(self.v.type, other)

    def _new(self, v: V) -> Num:
        return Num(self.f, v)

    # --- arithmetic ------------------------------------------------------------------------------
    def __add__(self, other: Num | float) -> Num:
        return self._new(self.f.fadd(self.v, self._lift(other)))

    def __radd__(self, other: float) -> Num:
        return self._new(self.f.fadd(self._lift(other), self.v))

    def __sub__(self, other: Num | float) -> Num:
        return self._new(self.f.fsub(self.v, self._lift(other)))

    def __rsub__(self, other: float) -> Num:
        return self._new(self.f.fsub(self._lift(other), self.v))

    def __mul__(self, other: Num | float) -> Num:
        return self._new(self.f.fmul(self.v, self._lift(other)))

    def __rmul__(self, other: float) -> Num:
        return self._new(self.f.fmul(self._lift(other), self.v))

    def __truediv__(self, other: Num | float) -> Num:
        return self._new(self.f.fdiv(self.v, self._lift(other)))

    def __rtruediv__(self, other: float) -> Num:
        return self._new(self.f.fdiv(self._lift(other), self.v))

    def __neg__(self) -> Num:
        return self._new(self.f.fneg(self.v))

    def __abs__(self) -> Num:
        return self._new(self.f.intrinsic("fabs", self.v))

    def fma(self, y: Num | float, z: Num | float) -> Num:
        """``self * y + z``: one rounding where the target has the instruction, else two."""
        if has_fma(self.f):
            return self._new(self.f.fma(self.v, self._lift(y), self._lift(z)))
        return self * y + z

    def sqrt(self) -> Num:
        """Square root, correctly rounded."""
        return self._new(self.f.intrinsic("sqrt", self.v))

    def with_sign_of(self, other: Num) -> Num:
        """The magnitude of this with the sign of the other."""
        return self._new(self.f.intrinsic("copysign", self.v, other.v))

    # --- comparing and choosing ------------------------------------------------------------------
    def _compare(self, predicate: str, other: Num | float) -> Mask:
        return Mask(self.f, self.f.compare(predicate, self.v, self._lift(other)))

    def __lt__(self, other: Num | float) -> Mask:
        return self._compare("olt", other)

    def __le__(self, other: Num | float) -> Mask:
        return self._compare("ole", other)

    def __gt__(self, other: Num | float) -> Mask:
        return self._compare("ogt", other)

    def __ge__(self, other: Num | float) -> Mask:
        return self._compare("oge", other)

    def equals(self, other: Num | float) -> Mask:
        """Whether equal; false for nan."""
        return self._compare("oeq", other)

    def is_nan(self) -> Mask:
        """Whether not a number."""
        return self._compare("uno", self)

    def is_negative(self) -> Mask:
        """Whether the sign bit is set, also of zero and nan."""
        return self.bits().compare("slt", 0)

    def where(self, mask: Mask, other: Num | float) -> Num:
        """This where the mask holds, else ``other``."""
        return self._new(self.f.select(mask.v, self.v, self._lift(other)))

    def at_most(self, limit: float) -> Num:
        """The lesser; nan stays nan."""
        return self.constant(limit).where(self > limit, self)

    def at_least(self, limit: float) -> Num:
        """The greater; nan stays nan."""
        return self.constant(limit).where(self < limit, self)

    # --- bits ------------------------------------------------------------------------------------
    def bits(self) -> Int:
        """The bits as integers."""
        return Int(self.f, self.f.convert("bitcast", self.v, f"i{self.format.bits}"))

    def power_of_two(self, exponent: Int) -> Num:
        """2 to an integer power, which must give a normal number. Any higher bits are ignored."""
        return ((exponent + self.format.bias) << self.format.fraction_bits).as_float()

    def rounded(self, factor: float | None = None) -> tuple[Num, Int]:
        """The nearest integer, ties to even, and bits whose low part is that integer.

        Of this, or of this times ``factor``. Right for magnitudes below 2**22 (float) or 2**51.
        """
        magic = self.format.magic
        shifted = self + magic if factor is None else self.fma(factor, magic)
        return shifted - magic, shifted.bits()

    def polynomial(self, coefficients: Sequence[float]) -> Num:
        """Horner's scheme; the constant coefficient comes first."""
        total = self.constant(coefficients[-1])
        for c in reversed(coefficients[:-1]):
            total = total.fma(self, c)
        return total


def has_fma(f: Function) -> bool:
    """Whether the target multiplies and adds in one instruction."""
    return f.module.has_fma


# --- sums of two numbers -------------------------------------------------------------------------
@dataclass(frozen=True, slots=True)
class Pair:
    """An unevaluated sum ``high + low`` with about twice the digits."""

    high: Num
    low: Num

    def plus(self, other: Pair) -> Pair:
        """Sum; the error is a few units in the last place of ``low``."""
        total = exact_sum(self.high, other.high)
        return quick_sum(total.high, total.low + (self.low + other.low))

    def times(self, other: Pair) -> Pair:
        """Product; the error is a few units in the last place of ``low``."""
        product = exact_product(self.high, other.high)
        cross = self.high.fma(other.low, self.low * other.high)
        return quick_sum(product.high, product.low + cross)

    def times_number(self, other: Num) -> Pair:
        """Product with one number."""
        product = exact_product(self.high, other)
        return quick_sum(product.high, self.low.fma(other, product.low))


def exact_sum(x: Num, y: Num) -> Pair:
    """``x + y`` without error. Source: Knuth, TAOCP 2, section 4.2.2, theorem B."""
    total = x + y
    part = total - x
    return Pair(total, (x - (total - part)) + (y - part))


def quick_sum(x: Num, y: Num) -> Pair:
    """``x + y`` without error when ``|x| >= |y|``. Source: Dekker 1971."""
    total = x + y
    return Pair(total, y - (total - x))


def exact_product(x: Num, y: Num) -> Pair:
    """``x * y`` without error, barring over- and underflow.

    Source: Dekker 1971 "A floating-point technique for extending the available precision", for
    targets without a fused multiply-add.
    """
    product = x * y
    if has_fma(x.f):
        return Pair(product, x.fma(y, -product))
    x1, x2 = _halves(x)
    y1, y2 = _halves(y)
    return Pair(product, ((x1 * y1 - product) + x1 * y2 + x2 * y1) + x2 * y2)


def _halves(x: Num) -> tuple[Num, Num]:
    """Two numbers of half the digits whose sum is ``x`` (Veltkamp)."""
    scaled = x * float((1 << ((x.format.fraction_bits + 2) // 2)) + 1)
    high = scaled - (scaled - x)
    return high, x - high


def constant_pair(x: Num, high: float, low: float) -> Pair:
    """A constant given as a sum, in the type of ``x``."""
    return Pair(x.constant(high), x.constant(low))


# --- functions of their own ----------------------------------------------------------------------
def out_of_line(
    name: str, body: Callable[[Function, tuple[V, ...]], V], f: Function, args: tuple[V, ...]
) -> V:
    """Call an internal function of the module that holds ``body``, made when first needed.

    For long functions: several uses in a kernel cost one compilation, and calls do not slow them.
    """
    types = ", ".join(f"{a.type} %x{i}" for i, a in enumerate(args))
    suffix = args[0].type.strip("<>").replace(" ", "")
    symbol = f"pullback.{name}.{suffix}"
    head = f"define internal {args[0].type} @{symbol}({types}) "
    if not any(text.startswith(head) for text in f.module.functions):
        arguments = [(a.type, f"x{i}") for i, a in enumerate(args)]
        inner = Function(f.module, symbol, args[0].type, arguments, attributes="noinline nounwind")
        inner.ret(body(inner, tuple(inner.args)))
        inner.finish()
    return f.emit(args[0].type, f"call {args[0].type} @{symbol}({', '.join(map(str, args))})")
