"""Hypothesis strategies: random typed programs, control flow included, and arguments for them.

Every program verifies and every result is the same whatever order NumPy adds in: sums and
contractions of floats have operands in {-1, 0, 1, nan}.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from hypothesis import strategies as st

import pullback.primitives  # noqa: F401  # fills the registry and the operators
from pullback.primitives import (
    bitwise,
    cast,
    comparison,
    control,
    custom,
    dot,
    elementwise,
    reduce,
    shape,
    transcendental,
)
from pullback.program.builder import Builder
from pullback.program.core import NDArray, Program
from pullback.program.value import Array, Value
from pullback.types import (
    BITS,
    COMPUTED,
    FLOATING,
    NUMERIC,
    ArrayType,
    DType,
    bool_,
    float8_e4m3fn,
    float16,
    float32,
    float64,
    int32,
    uint8,
)

Draw = Callable[[st.SearchStrategy[Any]], Any]
#: Draws one or more equations from the values there are; None if none fits.
Step = Callable[[Draw, list[Value]], Any]

DTYPES = (float32, float64, float16, float8_e4m3fn, int32, uint8, bool_)
SHAPES = ((), (1,), (3,), (2, 3), (3, 2), (1, 3), (2, 1, 3), (0, 3))

SPECIAL_FLOATS = (0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 2.0, -3.0, 0.1)


def special_values(dtype: DType) -> NDArray:
    """Return the special values of a dtype: zeros, ones, infinities, nan, extremes, subnormals."""
    if dtype == bool_:
        return np.array([False, True])
    if dtype in FLOATING:
        limits = ml_dtypes.finfo(dtype)
        limited = (limits.max, limits.smallest_normal, limits.smallest_subnormal)
        extremes = [float(x) for x in limited]
        values = [*SPECIAL_FLOATS, *extremes, *(-x for x in extremes)]
        with np.errstate(over="ignore"):
            return np.array(values).astype(dtype)
    info = np.iinfo(dtype)
    return np.array(sorted({0, 1, 2, 3, info.max, info.max - 1, info.min, info.min + 1}), dtype)


def types() -> st.SearchStrategy[ArrayType]:
    """Types of few elements."""
    return st.builds(ArrayType, st.sampled_from(SHAPES), st.sampled_from(DTYPES))


@st.composite
def arrays(draw: Draw, type: ArrayType) -> NDArray:
    """Arrays of special values."""
    values = special_values(type.dtype)
    picks = draw(st.lists(st.integers(0, len(values) - 1), min_size=type.size, max_size=type.size))
    picked: NDArray = values[np.array(picks, int)]
    return picked.reshape(type.shape)


@st.composite
def programs(
    draw: Draw,
    *,
    input_types: tuple[ArrayType, ...] | None = None,
    max_equations: int = 12,
    control_flow: bool = True,
    more_steps: tuple[Step, ...] = (),
) -> Program:
    """Programs of up to ``max_equations`` random steps, returning what nothing else reads."""
    if input_types is None:
        input_types = tuple(draw(st.lists(types(), min_size=1, max_size=3)))
    with Builder() as b:
        values: list[Value] = [b.input(t) for t in input_types]
        steps = [*STEPS, *more_steps, *(CONTROL_STEPS if control_flow else ())]
        for _ in range(draw(st.integers(0, max_equations))):
            made = draw(st.sampled_from(steps))(draw, values)
            values += made if isinstance(made, tuple) else () if made is None else (made,)
        read = {atom for eqn in b.equations for atom in eqn.inputs}
        unread = [v for v in values if b.lift(v).atom not in read]
        return b.finish(unread[-4:] or values[-1:])


@st.composite
def programs_with_arguments(draw: Draw, /, **options: Any) -> tuple[Program, tuple[NDArray, ...]]:
    """A program and one array of special values for each of its inputs."""
    program = draw(programs(**options))
    return program, tuple(draw(arrays(t)) for t in program.input_types)


# Steps: each draws one equation from the values there are, or None if none fits ------------------


def _any(draw: Draw, values: list[Value]) -> Any:
    """One of the values, often a new one, so that equations depend on each other."""
    return draw(st.sampled_from(values[-2:] if draw(st.integers(0, 2)) else values))


def _pick(draw: Draw, values: list[Value], fits: Callable[[Value], bool]) -> Any:
    fitting = [v for v in values if fits(v)]
    return _any(draw, fitting) if fitting else None


def _permutations(count: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.permutations(range(count)).map(tuple) if count else st.just(())


def _unary(draw: Draw, values: list[Value]) -> Any:
    primitive, accepts = draw(
        st.sampled_from(
            [
                (elementwise.Neg(), NUMERIC),
                (elementwise.Abs(), NUMERIC),
                (elementwise.Sign(), NUMERIC),
                (elementwise.Floor(), COMPUTED),
                (transcendental.Sqrt(), COMPUTED),
                (comparison.IsFinite(), FLOATING),
                (bitwise.Not(), BITS),
            ]
        )
    )
    x = _pick(draw, values, lambda v: v.dtype in accepts)
    return None if x is None else primitive(x)


def _second(draw: Draw, values: list[Value], x: Value) -> Any:
    """An operand beside ``x``: itself, a literal, or a value of its type or of rank 0."""
    if draw(st.booleans()):
        return Array(np.asarray(draw(st.sampled_from(list(special_values(x.dtype))))))
    fits = [v for v in values if v.dtype == x.dtype and v.shape in (x.shape, ())]
    return draw(st.sampled_from([x, *fits]))


def _binary(draw: Draw, values: list[Value]) -> Any:
    primitive, accepts = draw(
        st.sampled_from(
            [
                (elementwise.Add(), NUMERIC),
                (elementwise.Sub(), NUMERIC),
                (elementwise.Mul(), NUMERIC),
                (elementwise.Div(), NUMERIC),
                (elementwise.Max(), NUMERIC),
                (elementwise.Min(), NUMERIC),
                (bitwise.And(), BITS),
                (bitwise.Or(), BITS),
                (bitwise.Xor(), BITS),
                (comparison.Eq(), NUMERIC),
                (comparison.Ne(), NUMERIC),
                (comparison.Lt(), NUMERIC),
                (comparison.Gt(), NUMERIC),
            ]
        )
    )
    x = _pick(draw, values, lambda v: v.dtype in accepts)
    if x is None:
        return None
    operands = [x, _second(draw, values, x)]
    return primitive(*(operands[::-1] if draw(st.booleans()) else operands))


def _select(draw: Draw, values: list[Value]) -> Any:
    predicate = _pick(draw, values, lambda v: v.dtype == bool_)
    x = _any(draw, values)
    if predicate is None or predicate.shape not in (x.shape, ()):
        predicate = Array(np.asarray(draw(st.booleans())))
    return elementwise.Select()(predicate, x, _second(draw, values, x))


def _convert(draw: Draw, values: list[Value]) -> Any:
    return cast.Convert(draw(st.sampled_from(DTYPES)))(_any(draw, values))


def _broadcast(draw: Draw, values: list[Value]) -> Any:
    x = _any(draw, values)
    new_axes = draw(st.integers(0 if x.shape else 1, 2)) if x.ndim < 3 else 0
    ndim = x.ndim + new_axes
    axes = tuple(sorted(draw(_permutations(ndim))[:new_axes]))
    lengths = iter(x.shape)
    target = []
    for axis in range(ndim):
        length = 1 if axis in axes else next(lengths)
        target.append(draw(st.integers(1, 3)) if length == 1 else length)
    return shape.Broadcast(tuple(target), axes)(x)


def _literal_broadcast(draw: Draw, values: list[Value]) -> Any:
    like = _any(draw, values)
    value = Array(np.asarray(draw(st.sampled_from(list(special_values(like.dtype))))))
    return shape.Broadcast(like.shape, tuple(range(like.ndim)))(value)


def _reshape(draw: Draw, values: list[Value]) -> Any:
    x = _any(draw, values)
    targets = [(x.size,), (1, x.size), (x.size, 1), x.shape, (*x.shape, 1), x.shape[::-1]]
    return shape.Reshape(draw(st.sampled_from(targets)))(x)


def _transpose(draw: Draw, values: list[Value]) -> Any:
    x = _any(draw, values)
    return shape.Transpose(draw(_permutations(x.ndim)))(x)


def _reverse(draw: Draw, values: list[Value]) -> Any:
    x = _any(draw, values)
    return shape.Reverse(tuple(axis for axis in range(x.ndim) if draw(st.booleans())))(x)


def _slice(draw: Draw, values: list[Value]) -> Any:
    x = _any(draw, values)
    bounds = [sorted((draw(st.integers(0, n)), draw(st.integers(0, n)))) for n in x.shape]
    strides = tuple(draw(st.integers(1, 2)) for _ in x.shape)
    return shape.Slice(tuple(b[0] for b in bounds), tuple(b[1] for b in bounds), strides)(x)


def _pad(draw: Draw, values: list[Value]) -> Any:
    x = _any(draw, values)
    low, high = (tuple(draw(st.integers(0, 1)) for _ in x.shape) for _ in range(2))
    zero = Array(np.zeros((), x.dtype))
    return shape.Pad(low, high, (0,) * x.ndim)(x, zero)


def _concatenate(draw: Draw, values: list[Value]) -> Any:
    x = _pick(draw, values, lambda v: v.ndim > 0)
    if x is None:
        return None
    axis = draw(st.integers(0, x.ndim - 1))
    return shape.Concatenate(axis)(*[x] * draw(st.integers(1, 2)))


def _exact_sum_operand(x: Any) -> Any:
    return elementwise.Sign()(x) if x.dtype in FLOATING else x


def _reduce(draw: Draw, values: list[Value]) -> Any:
    primitive, accepts = draw(
        st.sampled_from(
            [
                (reduce.ReduceSum, NUMERIC),
                (reduce.ReduceProd, NUMERIC),
                (reduce.ReduceMax, NUMERIC - FLOATING),
                (reduce.ReduceAnd, BITS),
                (reduce.ReduceOr, BITS),
            ]
        )
    )
    x = _pick(draw, values, lambda v: v.dtype in accepts and v.size > 0)
    if x is None:
        return None
    axes = tuple(axis for axis in range(x.ndim) if draw(st.booleans()))
    return primitive(axes)(_exact_sum_operand(x))


def _dot(draw: Draw, values: list[Value]) -> Any:
    x = _pick(draw, values, lambda v: v.ndim == 2 and v.dtype in NUMERIC)
    if x is None:
        return None
    y = _pick(draw, values, lambda v: v.ndim == 2 and v.dtype == x.dtype)
    pairs = [(i, j) for i in range(2) for j in range(2) if x.shape[i] == y.shape[j]]
    if not pairs:
        return None
    i, j = draw(st.sampled_from(pairs))
    x, y = _exact_sum_operand(x), _exact_sum_operand(y)
    if draw(st.booleans()):
        x, i = shape.Transpose((1, 0))(x), 1 - i
    return dot.Dot(((i,), (j,)), ((), ()))(x, y)


def _identity(draw: Draw, values: list[Value]) -> Any:
    primitive = draw(st.sampled_from([custom.StopGradient(), custom.Barrier()]))
    return primitive(_any(draw, values))


STEPS = [
    _unary,
    _unary,
    _binary,
    _binary,
    _binary,
    _select,
    _convert,
    _broadcast,
    _literal_broadcast,
    _reshape,
    _transpose,
    _reverse,
    _slice,
    _pad,
    _concatenate,
    _reduce,
    _dot,
    _identity,
]


def _body(
    draw: Draw, input_types: tuple[ArrayType, ...], output_types: tuple[ArrayType, ...]
) -> Program:
    """A random program with these outputs: those values that fit, or zeros."""
    with Builder() as b:
        values: list[Value] = [b.input(t) for t in input_types]
        for _ in range(draw(st.integers(0, 4))):
            made = draw(st.sampled_from(STEPS))(draw, values)
            values += () if made is None else (made,)
        outputs = [_value_of(draw, values, t) for t in output_types]
        return b.finish(outputs, "body")


def _value_of(draw: Draw, values: list[Value], type: ArrayType) -> Any:
    fitting = [v for v in values if v.type == type]
    zero: Value = Array(np.zeros((), type.dtype))
    if type.shape:
        zero = shape.Broadcast(type.shape, tuple(range(type.ndim)))(zero)
    return draw(st.sampled_from([*fitting[::-1], zero]))


def _cond(draw: Draw, values: list[Value]) -> Any:
    operands = [_any(draw, values) for _ in range(draw(st.integers(1, 3)))]
    index = _pick(draw, values, lambda v: v.type == ArrayType((), int32))
    results = tuple(draw(st.lists(types(), min_size=1, max_size=2)))
    input_types = tuple(v.type for v in operands)
    branches = tuple(_body(draw, input_types, results) for _ in range(draw(st.integers(1, 2))))
    if index is None:
        index = Array(np.asarray(draw(st.integers(-1, 2)), np.int32))
    return control.Cond(branches)(index, *operands)


def _scan(draw: Draw, values: list[Value]) -> Any:
    constants = [_any(draw, values) for _ in range(draw(st.integers(0, 1)))]
    carry = [_any(draw, values) for _ in range(draw(st.integers(1, 2)))]
    length = draw(st.integers(1, 3))
    scanned = [v for v in values if v.shape[:1] == (length,)]
    xs = [draw(st.sampled_from(scanned)) for _ in range(draw(st.integers(0, 2)))] if scanned else []
    slices = tuple(x.type.with_shape(x.shape[1:]) for x in xs)
    carried = tuple(v.type for v in carry)
    stacked = tuple(draw(st.lists(types(), min_size=1, max_size=2)))
    body = _body(draw, (*(v.type for v in constants), *carried, *slices), (*carried, *stacked))
    scan = control.Scan(body, length, draw(st.booleans()), len(constants), len(carry))
    return scan(*constants, *carry, *xs)


def _while(draw: Draw, values: list[Value]) -> Any:
    carry = [_any(draw, values) for _ in range(draw(st.integers(1, 2)))]
    counter = ArrayType((), int32)
    carried = tuple(v.type for v in carry)
    with Builder() as b:
        (count, *_) = [b.input(t) for t in (counter, *carried)]
        condition = b.finish([count < draw(st.integers(0, 3))], "condition")
    update = _body(draw, carried, carried)
    with Builder() as b:
        count, *rest = [b.input(t) for t in (counter, *carried)]
        results = control.Call(update, "update")(*rest)
        body = b.finish([count + 1, *results], "body")
    zero = Array(np.zeros((), np.int32))
    return control.WhileLoop(condition, body, 0)(zero, *carry)


def _call(draw: Draw, values: list[Value]) -> Any:
    operands = [_any(draw, values) for _ in range(draw(st.integers(1, 2)))]
    results = tuple(draw(st.lists(types(), min_size=1, max_size=2)))
    body = _body(draw, tuple(v.type for v in operands), results)
    cls = draw(st.sampled_from([control.Call, custom.Checkpoint]))
    return cls(body, "called")(*operands)


CONTROL_STEPS = [_cond, _scan, _while, _call]
