"""Evaluates ``lower`` rules element by element in Python: the rules' test without a compiler.

``run_lowered`` and ``run_prefix`` apply a primitive so. Arithmetic is that of ``SCALAR_OPS``, in
Python integers and in ``math`` or long double, rounded once: other code than ``evaluate`` runs.
Index expressions refuse ``//`` and ``%`` of negative numbers, and operands refuse indices outside.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.special

from pullback.program.loops import PREDICATES, SCALAR_OPS
from pullback.program.primitive import Primitive
from pullback.types import (
    BOOLEAN,
    FLOATING,
    INTEGER,
    SIGNED,
    UNSIGNED,
    ArrayType,
    DType,
    bool_,
    type_of,
)

NDArray = np.ndarray[Any, Any]


class Counter(int):
    """A loop counter: index arithmetic, in which division of negative numbers is a mistake."""

    def __add__(self, other: int) -> Counter:
        return Counter(int(self) + int(other))

    __radd__ = __add__

    def __sub__(self, other: int) -> Counter:
        return Counter(int(self) - int(other))

    def __rsub__(self, other: int) -> Counter:
        return Counter(int(other) - int(self))

    def __mul__(self, other: int) -> Counter:
        return Counter(int(self) * int(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: int) -> Counter:
        assert self >= 0, f"{int(self)} // {other}: index division of a negative number"
        assert other > 0
        return Counter(int(self) // int(other))

    def __mod__(self, other: int) -> Counter:
        assert self >= 0, f"{int(self)} % {other}: index remainder of a negative number"
        assert other > 0
        return Counter(int(self) % int(other))


@dataclass(frozen=True)
class Element:
    """A scalar of the loop language: a NumPy scalar of exactly its dtype."""

    value: Any
    dtype: DType


def element(value: Any, dtype: DType) -> Element:
    """Round ``value`` to ``dtype``; integers wrap."""
    if dtype in INTEGER:
        width = dtype.itemsize * 8
        bits = int(value) & (2**width - 1)
        if dtype in SIGNED and bits >= 2 ** (width - 1):
            bits -= 2**width
        return Element(dtype.type(bits), dtype)
    with np.errstate(all="ignore"):
        return Element(np.asarray(value).astype(dtype)[()], dtype)


@dataclass(frozen=True)
class ArrayOperand:
    """An operand that lies in memory."""

    data: NDArray

    @property
    def type(self) -> ArrayType:
        """Shape and dtype."""
        return type_of(self.data)

    def at(self, index: tuple[Any, ...]) -> Element:
        """Read one element; the index must lie inside."""
        assert len(index) == self.data.ndim, f"index {index} into {self.type}"
        inside = all(0 <= i < n for i, n in zip(index, self.data.shape, strict=True))
        assert inside, f"index {tuple(map(int, index))} lies outside {self.type}"
        return Element(self.data[tuple(map(int, index))], self.data.dtype)


class PythonLoops:
    """A ``LoopBuilder`` that computes at once.

    It takes only its own elements, which the protocol cannot say: callers type it as Any.
    """

    def constant(self, value: Any, dtype: DType) -> Element:
        return element(value, dtype)

    def op(self, opcode: str, *args: Element) -> Element:
        arity, _ = SCALAR_OPS[opcode]
        assert len(args) == arity, f"{opcode} of {len(args)} operands"
        dtype = args[0].dtype
        assert all(x.dtype == dtype for x in args), f"{opcode} of {[x.dtype for x in args]}"
        values = [x.value for x in args]
        if opcode in PREDICATES:
            return element(_PREDICATES[opcode](*values), bool_)
        table = _FLOAT_OPS if dtype in FLOATING else _BIT_OPS
        if dtype in FLOATING and opcode in ("nextafter",):
            return Element(np.nextafter(*values), dtype)
        assert opcode in table, f"{opcode} of {dtype}"
        if dtype in FLOATING:
            with np.errstate(all="ignore"):
                return element(table[opcode](*map(np.longdouble, map(float, values))), dtype)
        return element(table[opcode](dtype, *map(int, values)), dtype)

    def polygamma(self, order: int, x: Element) -> Element:
        return element(_polygamma(order, float(x.value)), x.dtype)

    def select(self, predicate: Element, on_true: Element, on_false: Element) -> Element:
        assert predicate.dtype == bool_
        assert on_true.dtype == on_false.dtype
        return on_true if predicate.value else on_false

    def cast(self, x: Element, dtype: DType) -> Element:
        if x.dtype in FLOATING and dtype in INTEGER:
            return element(_saturate(float(x.value), dtype), dtype)
        if dtype in BOOLEAN:
            return element(x.value != 0, bool_)
        value = np.asarray(x.value, x.dtype)
        if dtype in FLOATING and dtype.itemsize <= 2 and x.dtype != dtype:
            with np.errstate(all="ignore"):
                value = value.astype(np.float32)
        return element(value[()], dtype)

    def bitcast(self, x: Element, dtype: DType) -> Element:
        assert x.dtype.itemsize == dtype.itemsize
        return Element(np.asarray(x.value, x.dtype).view(dtype)[()], dtype)

    def index_value(self, index: Any, dtype: DType) -> Element:
        return self.cast(Element(np.int64(int(index)), np.dtype(np.int64)), dtype)

    def to_index(self, x: Element, low: int, high: int) -> Counter:
        assert x.dtype in INTEGER
        assert low <= high
        return Counter(min(max(int(x.value), low), high))

    def within(self, index: Any, low: int, high: int) -> Element:
        return element(low <= int(index) < high, bool_)

    def reduce(
        self,
        opcode: str,
        extents: tuple[int, ...],
        body: Callable[[Any], Element],
        initial: Element,
    ) -> Element:
        assert opcode in ("add", "mul", "max", "min", "and", "or")
        total = initial
        for index in itertools.product(*map(range, extents)):
            total = self.op(opcode, total, body(tuple(map(Counter, index))))
        return total

    def argreduce(
        self, opcode: str, extent: int, body: Callable[[Any], Element], dtype: DType
    ) -> Element:
        assert opcode in ("max", "min")
        best, found = 0, body(Counter(0)).value
        for i in range(1, extent):
            value = body(Counter(i)).value
            if found != found:
                break
            better = value > found if opcode == "max" else value < found
            if better or value != value:
                best, found = i, value
        return element(best, dtype)


def _saturate(value: float, dtype: DType) -> int:
    if math.isnan(value):
        return 0
    limits = np.iinfo(dtype)
    if math.isinf(value):
        return int(limits.max if value > 0 else limits.min)
    return min(max(math.trunc(value), int(limits.min)), int(limits.max))


_PREDICATES: dict[str, Callable[..., Any]] = {
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "is_finite": lambda x: math.isfinite(float(x)),
}


def _sign(x: Any) -> Any:
    return x if x == 0 or math.isnan(x) else np.copysign(np.longdouble(1), x)


def _extremum(choose: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def extremum(x: Any, y: Any) -> Any:
        if math.isnan(x) or math.isnan(y):
            return math.nan
        return choose(x, y)

    return extremum


def _sigmoid(x: Any) -> Any:
    small = np.exp(-np.abs(x))
    return (1 if x >= 0 else small) / (1 + small)


def _lgamma(x: Any) -> float:
    if math.isinf(x) or (x <= 0 and x == math.floor(x)):
        return math.inf
    return math.inf if x > 1e305 else math.lgamma(x)


def _digamma(x: Any) -> float:
    at_pole = x < 0 and x == math.floor(x)
    return math.nan if at_pole else float(scipy.special.digamma(float(x)))


def _polygamma(n: int, x: float) -> float:
    if x <= 0 and x == math.floor(x):
        return math.inf if n % 2 else math.nan
    # SciPy's is for x > 0: step there by the recurrence.
    steps = max(0, math.ceil(-x)) + 1
    shifted = math.fsum(1 / (x + k) ** (n + 1) for k in range(steps))
    total = (-1) ** (n + 1) * math.factorial(n) * shifted
    return total + float(scipy.special.polygamma(n, x + steps))


#: Functions of long doubles that hold exactly the operands' values.
_FLOAT_OPS: dict[str, Callable[..., Any]] = {
    "neg": lambda x: -x,
    "abs": abs,
    "sign": _sign,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.rint,
    "trunc": np.trunc,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "cbrt": np.cbrt,
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "erf": lambda x: math.erf(x),
    "erfc": lambda x: math.erfc(x),
    "erfinv": lambda x: np.copysign(scipy.special.erfinv(float(x)), x),
    "lgamma": _lgamma,
    "digamma": _digamma,
    "sigmoid": _sigmoid,
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / y,
    "rem": np.fmod,
    "pow": np.power,
    "atan2": np.arctan2,
    "max": _extremum(max),
    "min": _extremum(min),
    "copysign": np.copysign,
}


def _width(dtype: DType) -> int:
    return dtype.itemsize * 8


def _divide(x: int, y: int) -> int:
    quotient = abs(x) // abs(y) if y else 0
    return quotient if (x < 0) == (y < 0) else -quotient


def _count(dtype: DType, y: int) -> int:
    return y % 2 ** _width(dtype)


def _bits(dtype: DType, x: int) -> int:
    return x % 2 ** _width(dtype)


def _shl(dtype: DType, x: int, y: int) -> int:
    return x << _count(dtype, y) if _count(dtype, y) < _width(dtype) else 0


def _shr(dtype: DType, x: int, y: int) -> int:
    return _bits(dtype, x) >> _count(dtype, y) if _count(dtype, y) < _width(dtype) else 0


def _sar(dtype: DType, x: int, y: int) -> int:
    return x >> min(_count(dtype, y), _width(dtype) - 1)


def _not(dtype: DType, x: int) -> int:
    return not x if dtype in BOOLEAN else ~x


def _pow(dtype: DType, x: int, y: int) -> int:
    assert y >= 0, "integer pow of a negative exponent has no meaning in SCALAR_OPS"
    return pow(x, y, 2 ** _width(dtype))


def _int_sign(dtype: DType, x: int) -> int:
    assert dtype in SIGNED | UNSIGNED
    return (x > 0) - (x < 0)


#: Functions of the dtype and Python integers; the result wraps.
_BIT_OPS: dict[str, Callable[..., Any]] = {
    "neg": lambda dtype, x: -x,
    "abs": lambda dtype, x: abs(x),
    "sign": _int_sign,
    "not": _not,
    "popcount": lambda dtype, x: _bits(dtype, x).bit_count(),
    "add": lambda dtype, x, y: x + y,
    "sub": lambda dtype, x, y: x - y,
    "mul": lambda dtype, x, y: x * y,
    "div": lambda dtype, x, y: _divide(x, y),
    "rem": lambda dtype, x, y: x - y * _divide(x, y) if y else 0,
    "pow": _pow,
    "max": lambda dtype, x, y: max(x, y),
    "min": lambda dtype, x, y: min(x, y),
    "and": lambda dtype, x, y: x & y,
    "or": lambda dtype, x, y: x | y,
    "xor": lambda dtype, x, y: x ^ y,
    "shl": _shl,
    "shr": _shr,
    "sar": _sar,
}


def run_lowered(primitive: Primitive, *arrays: NDArray) -> NDArray:
    """Return the output of ``primitive`` computed by its ``lower`` rule, one element at a time."""
    out = primitive.infer(*map(type_of, arrays))
    assert isinstance(out, ArrayType), f"{primitive.name} has several outputs and a lower rule"
    operands = [ArrayOperand(x) for x in arrays]
    loops: Any = PythonLoops()
    result = np.empty(out.shape, out.dtype)
    for index in itertools.product(*map(range, out.shape)):
        found: Any = primitive.lower(loops, tuple(map(Counter, index)), *operands)
        assert isinstance(found, Element)
        assert found.dtype == out.dtype, f"lowered to {found.dtype}, inferred {out}"
        result[index] = found.value
    return result


def run_prefix(primitive: Any, x: NDArray) -> NDArray:
    """Return the output of a ``PREFIX`` primitive computed by ``initial`` and ``combine``."""
    out = primitive.infer(type_of(x))
    loops = PythonLoops()
    result = np.empty(out.shape, out.dtype)
    lines = np.moveaxis(x, primitive.axis, -1)
    target = np.moveaxis(result, primitive.axis, -1)
    for index in np.ndindex(lines.shape[:-1]):
        total = primitive.initial(loops, x.dtype)
        steps = range(lines.shape[-1])
        for i in reversed(steps) if primitive.reverse else steps:
            total = primitive.combine(loops, total, Element(lines[index][i], x.dtype))
            target[index][i] = loops.cast(total, out.dtype).value
    return result
