"""Rules of elementwise primitives. Imports ``translate``; start at ``elementwise``.

Small integers and short floats are computed in a wider dtype and rounded once, as the engine does:
the format leaves out some of them, and runtimes leave out more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from pullback.export.dimensions import is_static
from pullback.export.graph import Graph, Name
from pullback.export.symbolic import LengthValue
from pullback.export.translate import Operand, Refusal, Translator, translates
from pullback.primitives import bitwise, comparison, special
from pullback.primitives import elementwise as p
from pullback.primitives import transcendental as f
from pullback.primitives.cast import NARROW, Convert
from pullback.primitives.custom import Barrier, StopGradient
from pullback.primitives.reduce import ReduceMax, ReduceSum
from pullback.primitives.shape import Broadcast
from pullback.program.core import Atom, Equation, Literal, Var
from pullback.program.primitive import Primitive
from pullback.types import (
    FLOAT8,
    FLOATING,
    INTEGER,
    SIGNED,
    ArrayType,
    DType,
    bfloat16,
    bool_,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
)

#: What a dtype is computed in; the others in themselves.
WIDE: Final[dict[DType, DType]] = {
    bool_: int32,
    int8: int32,
    int16: int32,
    uint8: int32,
    uint16: int32,
    uint32: int64,
    float8_e4m3fn: float32,
    float8_e5m2: float32,
    float16: float32,
    bfloat16: float32,
}

#: What no 8-bit float is near to: a comparison, with what, and what it becomes but for its sign.
_BEYOND: Final = {
    float8_e4m3fn: ("Greater", 464.0, math.nan),
    float8_e5m2: ("GreaterOrEqual", 61440.0, math.inf),
}

#: Writes the nodes of an operation on values of one (wide) dtype.
Write = Callable[[Graph, DType, Sequence[Name]], Name]

_WRITERS: dict[type[Primitive], Write] = {}


def broadcast_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape that graph's values broadcast to."""
    ndim = max(map(len, shapes), default=0)
    result: list[int] = [1] * ndim
    for shape in shapes:
        for axis, n in enumerate(shape, ndim - len(shape)):
            if not (is_static(n) and n == 1):
                result[axis] = n
    return tuple(result)


def pointwise(t: Translator, operands: Sequence[Operand], out: ArrayType, write: Write) -> Operand:
    """Compute on the operands as they are, in a wide dtype; repeat no element.

    Args:
        t: The translator.
        operands: Values of one dtype.
        out: The type of the result; its dtype is that of the operands, or bool.
        write: Writes the nodes.
    """
    dtype = operands[0].dtype
    wide = WIDE.get(dtype, dtype)
    names = [t.graph.cast(x.name, dtype, wide) for x in operands]
    result = write(t.graph, wide, names)
    if out.dtype != bool_:
        result = t.graph.cast(result, wide, out.dtype)
    return Operand(out, result, broadcast_shape([x.shape for x in operands]))


def _rule(t: Translator, primitive: Any, eqn: Equation, operands: tuple[Operand, ...]) -> Operand:
    return pointwise(t, operands, eqn.output.type, _WRITERS[type(primitive)])


def writes(*primitives: type[Primitive]) -> Callable[[Write], Write]:
    """Register what writes the nodes of elementwise primitives whose operands have one dtype."""

    def register(write: Write) -> Write:
        for primitive in primitives:
            _WRITERS[primitive] = write
        translates(*primitives)(_rule)
        return write

    return register


def _named(kind: str) -> Write:
    return lambda g, dtype, xs: g.op(kind, *xs)


for _primitive, _kind in {
    p.Abs: "Abs", p.Floor: "Floor", p.Ceil: "Ceil", p.Round: "Round",
    p.Add: "Add", p.Sub: "Sub", p.Mul: "Mul", p.Max: "Max", p.Min: "Min",
    f.Sqrt: "Sqrt", f.Exp: "Exp", f.Log: "Log", f.Sin: "Sin", f.Cos: "Cos", f.Tan: "Tan",
    f.Asin: "Asin", f.Acos: "Acos", f.Atan: "Atan", f.Sinh: "Sinh", f.Cosh: "Cosh",
    f.Tanh: "Tanh", f.Asinh: "Asinh", f.Acosh: "Acosh", f.Atanh: "Atanh",
    f.Sigmoid: "Sigmoid", special.Erf: "Erf",
    comparison.Eq: "Equal", comparison.Lt: "Less", comparison.Le: "LessOrEqual",
    comparison.Gt: "Greater", comparison.Ge: "GreaterOrEqual",
}.items():  # fmt: skip
    writes(_primitive)(_named(_kind))


@writes(p.Neg)
def _neg(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    if dtype in FLOATING or dtype in SIGNED:
        return g.op("Neg", *xs)
    return g.op("Sub", g.constant(0, dtype), *xs)


@writes(comparison.Ne)
def _ne(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    return g.op("Not", g.op("Equal", *xs))


@writes(p.Sign)
def _sign(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    (x,) = xs  # ONNX does not say what becomes of -0.0 and nan; here they stay
    if dtype not in FLOATING:
        return g.op("Sign", x)
    stays = g.op("Or", g.op("Equal", x, g.constant(0, dtype)), g.op("IsNaN", x))
    return g.op("Where", stays, x, g.op("Sign", x))


@writes(p.Trunc)
def _trunc(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    below = g.op("Less", xs[0], g.constant(0, dtype))
    return g.op("Where", below, g.op("Ceil", *xs), g.op("Floor", *xs))


@translates(p.Div)
def divide(t: Translator, primitive: Any, eqn: Equation, xs: tuple[Operand, ...]) -> Operand:
    """``Div``; ``Softmax`` where it is one; of integers with what the engine gives for 0."""
    logits = _softmax(t, eqn)
    if logits is None:
        return pointwise(t, xs, eqn.output.type, _div)
    x, axis = logits
    x = Operand(x.type, t.full(x), x.type.shape)
    return pointwise(t, [x], x.type, lambda g, dtype, names: g.op("Softmax", *names, axis=axis))


def _softmax(t: Translator, eqn: Equation) -> tuple[Operand, int] | None:
    """The operand and the axis of a softmax: exp(x - max(x)), divided by its sum."""
    exponentials, divisor = eqn.inputs
    total, axes = _reduced(t, divisor, ReduceSum)
    exp = t.maker(exponentials, f.Exp)
    difference = t.maker(exp.inputs[0], p.Sub) if exp is not None else None
    if difference is None or total != exponentials or len(axes) != 1:
        return None
    x, shift = difference.inputs
    return (t.read(x), axes[0]) if _reduced(t, shift, ReduceMax) == (x, axes) else None


def _reduced(
    t: Translator, atom: Atom, kind: type[Primitive]
) -> tuple[Atom | None, tuple[int, ...]]:
    """What was reduced to give ``atom``, repeated over the reduced axes, and these axes."""
    repeated = t.maker(atom, Broadcast)
    if repeated is None:
        return None, ()
    stopped = t.maker(repeated.inputs[0], StopGradient)
    eqn = t.maker(stopped.inputs[0] if stopped is not None else repeated.inputs[0], kind)
    if eqn is None or getattr(repeated.primitive, "axes", None) != _axes(eqn):
        return None, ()
    return eqn.inputs[0], _axes(eqn)


def _axes(eqn: Equation) -> tuple[int, ...]:
    axes: tuple[int, ...] = eqn.primitive.parameters()["axes"]
    return axes


def _div(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    if dtype in FLOATING:
        return g.op("Div", *xs)
    x, y = xs
    safe, zero, minus = _divisor(g, dtype, y)
    negative = g.op("Sub", g.constant(0, dtype), x)
    quotient = g.op("Where", minus, negative, g.op("Div", x, safe))
    return g.op("Where", zero, g.constant(0, dtype), quotient)


def _divisor(g: Graph, dtype: DType, y: Name) -> tuple[Name, Name, Name]:
    """A divisor that no runtime stumbles over, and where it was 0 and -1."""
    zero = g.op("Equal", y, g.constant(0, dtype))
    minus = g.op("Equal", y, g.constant(np.asarray(-1).astype(dtype), dtype))
    if dtype not in SIGNED:
        minus = g.op("And", minus, g.constant(False, bool_))
    return g.op("Where", g.op("Or", zero, minus), g.constant(1, dtype), y), zero, minus


@writes(p.Rem)
def _rem(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    x, y = xs
    if dtype in FLOATING:
        return g.op("Mod", x, y, fmod=1)
    safe, zero, minus = _divisor(g, dtype, y)
    rest = g.op("Mod", x, safe, fmod=1)
    return g.op("Where", g.op("Or", zero, minus), g.constant(0, dtype), rest)


@writes(p.Clip)
def _clip(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    x, low, high = xs
    return g.op("Min", g.op("Max", x, low), high)


@writes(p.Copysign)
def _copysign(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    x, y = xs
    zero = g.constant(0, dtype)
    # 1 / -0.0 is -inf; the sign of a nan is not seen.
    below = g.op("Less", g.op("Div", g.constant(1, dtype), y), zero)
    size = g.op("Abs", x)
    return g.op("Where", g.op("Or", below, g.op("Less", y, zero)), g.op("Neg", size), size)


@writes(f.Pow)
def _pow(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    if dtype not in FLOATING:
        raise Refusal(
            "ONNX leaves open what whole numbers give to a negative power; convert them to float32"
        )
    return g.op("Pow", *xs)


@writes(f.Rsqrt)
def _rsqrt(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    return g.op("Reciprocal", g.op("Sqrt", *xs))


@writes(f.Cbrt)
def _cbrt(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    (x,) = xs
    zero = g.constant(0, dtype)
    root = g.op("Pow", g.op("Abs", x), g.constant(1 / 3, dtype))
    signed = g.op("Where", g.op("Less", x, zero), g.op("Neg", root), root)
    return g.op("Where", g.op("Equal", x, zero), x, signed)


@writes(f.Exp2)
def _exp2(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    return g.op("Pow", g.constant(2, dtype), *xs)


@writes(f.Expm1)
def _expm1(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    # 2 t / (1 - t) with t = tanh(x / 2), in which nothing cancels up to 1.
    (x,) = xs
    one = g.constant(1, dtype)
    t = g.op("Tanh", g.op("Mul", x, g.constant(0.5, dtype)))
    small = g.op("Div", g.op("Mul", t, g.constant(2, dtype)), g.op("Sub", one, t))
    return g.op("Where", g.op("Greater", x, one), g.op("Sub", g.op("Exp", x), one), small)


@writes(f.Log1p)
def _log1p(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    # log(u) x / (u - 1) with u = 1 + x rounded. Source: Goldberg 1991, theorem 4.
    (x,) = xs
    one = g.constant(1, dtype)
    u = g.op("Add", x, one)
    exact = g.op("Or", g.op("Equal", u, one), g.op("Equal", u, g.constant(np.inf, dtype)))
    lost = g.op("Div", x, g.op("Where", exact, one, g.op("Sub", u, one)))
    return g.op("Where", exact, x, g.op("Mul", g.op("Log", u), lost))


def _log_to(base: float) -> Write:
    def write(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
        return g.op("Div", g.op("Log", *xs), g.constant(math.log(base), dtype))

    return write


writes(f.Log2)(_log_to(2.0))
writes(f.Log10)(_log_to(10.0))


@writes(f.Atan2)
def _atan2(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    # The angle of the smaller to the larger coordinate, turned and mirrored into its octant.
    y, x = xs
    zero = g.constant(0, dtype)
    size_x, size_y = g.op("Abs", x), g.op("Abs", y)
    steep = g.op("Greater", size_y, size_x)
    low = g.op("Where", steep, size_x, size_y)
    high = g.op("Where", steep, size_y, size_x)
    # 0 / 0 is 0, inf / inf is 1.
    ratio = g.op("Where", g.op("Equal", low, high), g.constant(1, dtype), g.op("Div", low, high))
    ratio = g.op("Where", g.op("Equal", low, zero), zero, ratio)
    angle = g.op("Atan", ratio)
    angle = g.op("Where", steep, g.op("Sub", g.constant(math.pi / 2, dtype), angle), angle)
    left = _copysign(g, dtype, [g.constant(1, dtype), x])
    is_left = g.op("Less", left, zero)
    angle = g.op("Where", is_left, g.op("Sub", g.constant(math.pi, dtype), angle), angle)
    known = g.op("Where", g.op("IsNaN", g.op("Add", size_x, size_y)), g.op("Add", x, y), angle)
    return _copysign(g, dtype, [known, y])


@writes(special.Erfc)
def _erfc(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    return g.op("Sub", g.constant(1, dtype), g.op("Erf", *xs))


@writes(comparison.IsFinite)
def _is_finite(g: Graph, dtype: DType, xs: Sequence[Name]) -> Name:
    # x - x is nan where x is not finite; IsInf knows float32 and float64 alone.
    return g.op("Not", g.op("IsNaN", g.op("Sub", xs[0], xs[0])))


@translates(p.Select)
def select(t: Translator, primitive: Any, eqn: Equation, xs: tuple[Operand, ...]) -> Operand:
    """``Where``; ``Relu`` where it is one."""
    condition, a, b = xs
    rectified = _rectified(t, eqn)
    if rectified is not None:
        return pointwise(t, [rectified], eqn.output.type, _named("Relu"))
    g = t.graph
    shape = broadcast_shape([x.shape for x in xs])
    if a.dtype == bool_:
        on = g.op("And", condition.name, a.name)
        off = g.op("And", g.op("Not", condition.name), b.name)
        return Operand(eqn.output.type, g.op("Or", on, off), shape)
    wide = WIDE.get(a.dtype, a.dtype)
    sides = [g.cast(x.name, x.dtype, wide) for x in (a, b)]
    name = g.op("Where", condition.name, *sides)
    return Operand(eqn.output.type, g.cast(name, wide, a.dtype), shape)


def _rectified(t: Translator, eqn: Equation) -> Operand | None:
    """The operand of a ReLU: 0 where it is at most 0, else itself."""
    condition, a, b = eqn.inputs
    made = t.maker(condition, comparison.Le)
    if made is None or not isinstance(b, Var) or b.type.dtype not in FLOATING:
        return None
    is_zero = all(isinstance(x, Literal) and x.value == 0 for x in (a, made.inputs[1]))
    return t.read(b) if is_zero and made.inputs[0] == b else None


def _logical(kind: str, bits: str) -> Any:
    def rule(t: Translator, primitive: Any, eqn: Equation, xs: tuple[Operand, ...]) -> Operand:
        shape = broadcast_shape([x.shape for x in xs])
        if xs[0].dtype != bool_:
            t.require(18)
        name = t.graph.op(kind if xs[0].dtype == bool_ else bits, *(x.name for x in xs))
        return Operand(eqn.output.type, name, shape)

    return rule


translates(bitwise.And)(_logical("And", "BitwiseAnd"))
translates(bitwise.Or)(_logical("Or", "BitwiseOr"))
translates(bitwise.Xor)(_logical("Xor", "BitwiseXor"))
translates(bitwise.Not)(_logical("Not", "BitwiseNot"))


@translates(Convert)
def convert(t: Translator, primitive: Convert, eqn: Equation, xs: tuple[Operand, ...]) -> Operand:
    """``Cast``; short floats by way of float32, what an integer cannot hold saturated."""
    (x,) = xs
    target = primitive.dtype
    if target in FLOAT8:  # nothing can repeat it afterwards
        x = Operand(x.type, t.full(x), x.type.shape)
    name, source = x.name, x.dtype
    if source != target and {source, target} & NARROW:
        name, source = t.graph.cast(name, source, float32), float32
    if target in _BEYOND and source != target:
        name = t.graph.cast(_without_beyond(t.graph, name, target), source, target)
    elif source in FLOATING and target in INTEGER:
        name = _saturated(t.graph, name, source, target)
    else:
        name = t.graph.cast(name, source, target)
    return Operand(eqn.output.type, name, x.shape)


def _without_beyond(g: Graph, x: Name, target: DType) -> Name:
    """float32 that every runtime rounds alike: what is too large is so by far."""
    compare, edge, replaced = _BEYOND[target]
    beyond = g.op(compare, g.op("Abs", x), g.constant(edge, float32))
    return g.op("Where", beyond, g.op("Mul", x, g.constant(replaced, float32)), x)


def _saturated(g: Graph, x: Name, source: DType, target: DType) -> Name:
    """A float as an integer: the nearest there is, 0 for nan; ONNX leaves that open."""
    limits = np.iinfo(target)
    wide = WIDE.get(target, target)
    high = float(2 ** (limits.bits - 1 if target in SIGNED else limits.bits))
    above = g.op("GreaterOrEqual", x, g.constant(high, source))
    below = g.op("LessOrEqual", x, g.constant(limits.min, source))
    unfit = g.op("Or", g.op("Or", above, below), g.op("IsNaN", x))
    inside = g.cast(g.op("Where", unfit, g.constant(0, source), x), source, wide)
    result = g.op("Where", above, g.constant(limits.max, wide), inside)
    return g.cast(g.op("Where", below, g.constant(limits.min, wide), result), wide, target)


@translates(StopGradient, Barrier)
def identity(t: Translator, primitive: Any, eqn: Equation, xs: tuple[Operand, ...]) -> Operand:
    """Nothing: the operand itself."""
    return Operand(eqn.output.type, xs[0].name, xs[0].shape)


@translates(LengthValue)
def length(t: Translator, primitive: LengthValue, eqn: Equation, xs: Any) -> Operand:
    """A number that depends on free lengths, computed from the shapes of inputs."""
    g = t.graph
    dtype = primitive.dtype
    name = g.squeeze(g.length(primitive.dim), [0])
    if primitive.is_reciprocal:
        wide = WIDE.get(dtype, dtype)
        name = g.op("Reciprocal", g.cast(name, int64, wide))
        return Operand(eqn.output.type, g.cast(name, wide, dtype), ())
    return Operand(eqn.output.type, g.cast(name, int64, dtype), ())
