"""The language in which a primitive says how one element of its output is computed.

``lower(b, index, *operands)`` is device-neutral and pulls: ``x.at(index)`` is an element of an
operand, ``b.op("mul", ...)`` computes, ``b.reduce(...)`` loops. Whether ``x.at`` reads memory or
continues into the rule of the equation that made ``x`` is the scheduler's choice: this is fusion.
The builders are in ``kernels``; a rule needs to know nothing but this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from pullback.types import ArrayType, DType


@runtime_checkable
class IndexExpression(Protocol):
    """An integer expression over loop counters; supports ``+ - * // %`` with these and ints."""

    def __add__(self, other: Any, /) -> Any: ...
    def __radd__(self, other: Any, /) -> Any: ...
    def __sub__(self, other: Any, /) -> Any: ...
    def __rsub__(self, other: Any, /) -> Any: ...
    def __mul__(self, other: Any, /) -> Any: ...
    def __rmul__(self, other: Any, /) -> Any: ...
    def __floordiv__(self, other: Any, /) -> Any: ...
    def __mod__(self, other: Any, /) -> Any: ...


#: One index expression or int for each axis.
Index = tuple[Any, ...]


class Scalar(Protocol):
    """One element of a computation: opaque but for its dtype."""

    @property
    def dtype(self) -> DType:
        """The dtype of the element."""
        ...


class Operand(Protocol):
    """An operand of the primitive that is being lowered."""

    @property
    def type(self) -> ArrayType:
        """The operand's static type."""
        ...

    def at(self, index: Index) -> Scalar:
        """The element at ``index``, which must lie inside the operand's shape."""
        ...


class LoopBuilder(Protocol):
    """What a ``lower`` rule may say. Opcodes and their meaning: ``SCALAR_OPS`` below."""

    def constant(self, value: Any, dtype: DType) -> Scalar:
        """A constant of ``dtype``."""
        ...

    def op(self, opcode: str, *args: Scalar) -> Scalar:
        """Apply a scalar opcode to operands of one dtype."""
        ...

    def polygamma(self, order: int, x: Scalar) -> Scalar:
        """Derivative number ``order`` >= 1 of ``digamma``."""
        ...

    def select(self, predicate: Scalar, on_true: Scalar, on_false: Scalar) -> Scalar:
        """``on_true`` where the boolean predicate holds, else ``on_false``; both are computed."""
        ...

    def cast(self, x: Scalar, dtype: DType) -> Scalar:
        """Convert the value as NumPy's ``astype`` does (float to int saturates; nan gives 0)."""
        ...

    def bitcast(self, x: Scalar, dtype: DType) -> Scalar:
        """Reinterpret the bits as a dtype of the same width."""
        ...

    def index_value(self, index: Any, dtype: DType) -> Scalar:
        """An index expression as a number."""
        ...

    def to_index(self, x: Scalar, low: int, high: int) -> Any:
        """An integer element as an index expression, clamped to ``low..high`` inclusive."""
        ...

    def within(self, index: Any, low: int, high: int) -> Scalar:
        """The boolean ``low <= index < high``."""
        ...

    def reduce(
        self,
        opcode: str,
        extents: tuple[int, ...],
        body: Callable[[Index], Scalar],
        initial: Scalar,
    ) -> Scalar:
        """Combine ``body(k)`` over all ``k`` in ``extents`` with ``add mul max min and or``.

        The order is fixed by the extents alone, never by the number of threads.
        """
        ...

    def argreduce(
        self, opcode: str, extent: int, body: Callable[[Any], Scalar], dtype: DType
    ) -> Scalar:
        """The first index at which ``body`` is largest (``"max"``) or least (``"min"``).

        The first nan wins, as in NumPy.
        """
        ...


#: opcode -> (number of operands, meaning). The result has the operands' dtype, or bool where the
#: name is a predicate. Integer arithmetic wraps. Floating results: see ``backend/llvm/math.py``
#: for the error bounds.
SCALAR_OPS: dict[str, tuple[int, str]] = {
    "neg": (1, "-x"),
    "abs": (1, "|x|"),
    "sign": (1, "-1, 0 or 1; nan stays nan, -0.0 stays -0.0; unsigned gives 0 or 1"),
    "floor": (1, "largest integer <= x (floating)"),
    "ceil": (1, "smallest integer >= x (floating)"),
    "round": (1, "nearest integer, ties to even (floating)"),
    "trunc": (1, "integer part (floating)"),
    "sqrt": (1, "square root, correctly rounded"),
    "rsqrt": (1, "1 / sqrt(x)"),
    "cbrt": (1, "cube root"),
    "exp": (1, "e to the x"),
    "exp2": (1, "2 to the x"),
    "expm1": (1, "exp(x) - 1 without cancellation"),
    "log": (1, "natural logarithm"),
    "log2": (1, "binary logarithm"),
    "log10": (1, "decimal logarithm"),
    "log1p": (1, "log(1 + x) without cancellation"),
    "sin": (1, ""),
    "cos": (1, ""),
    "tan": (1, ""),
    "asin": (1, ""),
    "acos": (1, ""),
    "atan": (1, ""),
    "sinh": (1, ""),
    "cosh": (1, ""),
    "tanh": (1, ""),
    "asinh": (1, ""),
    "acosh": (1, ""),
    "atanh": (1, ""),
    "erf": (1, ""),
    "erfc": (1, ""),
    "erfinv": (1, ""),
    "lgamma": (1, "log |gamma(x)|"),
    "digamma": (1, "derivative of lgamma"),
    "sigmoid": (1, "1 / (1 + exp(-x))"),
    "not": (1, "logical not of bool, bitwise not of integers"),
    "popcount": (1, "number of set bits"),
    "is_finite": (1, "bool: neither infinite nor nan"),
    "add": (2, "x + y"),
    "sub": (2, "x - y"),
    "mul": (2, "x * y"),
    "div": (2, "x / y; integers truncate towards zero, x / 0 gives 0"),
    "rem": (2, "remainder with the sign of x (C's fmod); integers x rem 0 gives 0"),
    "pow": (2, "x to the y; integers by squaring"),
    "atan2": (2, ""),
    "max": (2, "nan if either is nan"),
    "min": (2, "nan if either is nan"),
    "nextafter": (2, "the next representable number from x towards y"),
    "copysign": (2, "|x| with the sign of y"),
    "and": (2, "logical or bitwise and"),
    "or": (2, "logical or bitwise or"),
    "xor": (2, "logical or bitwise exclusive or"),
    "shl": (2, "shift left; 0 when y >= width"),
    "shr": (2, "logical shift right; 0 when y >= width"),
    "sar": (2, "arithmetic shift right; sign when y >= width"),
    "eq": (2, "bool"),
    "ne": (2, "bool; true for nan"),
    "lt": (2, "bool"),
    "le": (2, "bool"),
    "gt": (2, "bool"),
    "ge": (2, "bool"),
}
PREDICATES = frozenset({"eq", "ne", "lt", "le", "gt", "ge", "is_finite"})
