"""Elementwise functions, comparisons and products, under TensorFlow's names.

Imports ``tensor`` and the engine's namespace. Operands that are numbers take the dtype of the
tensors beside them; two tensors of different dtypes are refused. Shapes broadcast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pullback import ops
from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.tensor import OPERATORS, Tensor, apply, convert_operands, convert_to_tensor
from pullback.errors import DTypeError, ShapeError
from pullback.ops import nn
from pullback.types import FLOATING, SHORT_NAMES, DType, as_dtype, bool_, float64
from pullback.types import float32 as _float32

Unary = Callable[..., Tensor]
Binary = Callable[..., Tensor]


def _unary(
    name: str, compute: Callable[..., Any], summary: str, *, floating: bool = False,
    has_gradient: bool = True,
) -> Unary:  # fmt: skip
    """Make an elementwise function of one tensor."""

    def function(x: Any, name: str | None = None) -> Tensor:
        operand = convert_to_tensor(x)
        if floating:
            require_floating(kind, operand)
        return apply(kind, compute, operand, label=name, is_differentiable=has_gradient)

    kind = name
    return _named(function, summary)


def _binary(
    name: str, compute: Callable[..., Any], summary: str, *, has_gradient: bool = True,
    boolean: bool = False,
) -> Binary:  # fmt: skip
    """Make an elementwise function of two tensors."""

    def function(x: Any, y: Any, name: str | None = None) -> Tensor:
        operands = convert_operands(x, y)
        if boolean:
            require_bool(kind, *operands)
        return apply(kind, compute, *operands, label=name, is_differentiable=has_gradient)

    kind = name
    return _named(function, summary)


def _named(function: Callable[..., Tensor], summary: str) -> Callable[..., Tensor]:
    function.__doc__ = summary
    return function


def require_floating(name: str, x: Tensor) -> None:
    """Refuse a tensor that is not floating.

    Raises:
        DTypeError: it is not.
    """
    if x.dtype not in FLOATING:
        raise DTypeError(
            f"{name} of {x!r}: expected a floating dtype; cast it with tf.cast(x, tf.float32)"
        )


def require_bool(name: str, *operands: Tensor) -> None:
    """Refuse tensors that are not boolean.

    Raises:
        DTypeError: one is not.
    """
    for x in operands:
        if x.dtype != bool_:
            raise DTypeError(f"{name} of {x!r}: expected booleans; compare first, as in x > 0")


add = _binary("Add", ops.add, "``x + y``.")
subtract = _binary("Sub", ops.subtract, "``x - y``.")
multiply = _binary("Mul", ops.multiply, "``x * y``.")
maximum = _binary("Maximum", ops.maximum, "The larger of the two.")
minimum = _binary("Minimum", ops.minimum, "The smaller of the two.")
floordiv = _binary("FloorDiv", ops.floor_divide, "``x / y`` rounded down.", has_gradient=False)
mod = _binary("FloorMod", ops.remainder, "The rest of ``floordiv``, with the sign of ``y``.")
pow = _binary("Pow", ops.pow, "``x`` to the power ``y``.")
atan2 = _binary("Atan2", ops.atan2, "The angle of the point ``(y, x)``, in radians.")
equal = _binary("Equal", ops.equal, "Where they are equal.", has_gradient=False)
not_equal = _binary("NotEqual", ops.not_equal, "Where they differ.", has_gradient=False)
less = _binary("Less", ops.less, "Where ``x < y``.", has_gradient=False)
less_equal = _binary("LessEqual", ops.less_equal, "Where ``x <= y``.", has_gradient=False)
greater = _binary("Greater", ops.greater, "Where ``x > y``.", has_gradient=False)
greater_equal = _binary("GreaterEqual", ops.greater_equal, "Where ``x >= y``.", has_gradient=False)
logical_and = _binary(
    "LogicalAnd", ops.logical_and, "Where both hold.", has_gradient=False, boolean=True
)
logical_or = _binary(
    "LogicalOr", ops.logical_or, "Where one holds.", has_gradient=False, boolean=True
)
squared_difference = _binary(
    "SquaredDifference", lambda x, y: ops.square(x - y), "``(x - y) ** 2``."
)

negative = _unary("Neg", ops.negative, "``-x``.")
abs = _unary("Abs", ops.abs, "The absolute value.")
sign = _unary("Sign", ops.sign, "-1, 0 or 1.", has_gradient=False)
square = _unary("Square", ops.square, "``x * x``.")
sqrt = _unary("Sqrt", ops.sqrt, "The square root.", floating=True)
rsqrt = _unary("Rsqrt", ops.rsqrt, "``1 / sqrt(x)``.", floating=True)
exp = _unary("Exp", ops.exp, "``e`` to the power ``x``.", floating=True)
expm1 = _unary("Expm1", ops.expm1, "``exp(x) - 1``, right near 0.", floating=True)
log = _unary("Log", ops.log, "The natural logarithm.", floating=True)
log1p = _unary("Log1p", ops.log1p, "``log(1 + x)``, right near 0.", floating=True)
sin = _unary("Sin", ops.sin, "The sine of radians.", floating=True)
cos = _unary("Cos", ops.cos, "The cosine of radians.", floating=True)
tan = _unary("Tan", ops.tan, "The tangent of radians.", floating=True)
asin = _unary("Asin", ops.asin, "The inverse of the sine.", floating=True)
acos = _unary("Acos", ops.acos, "The inverse of the cosine.", floating=True)
atan = _unary("Atan", ops.atan, "The inverse of the tangent.", floating=True)
sinh = _unary("Sinh", ops.sinh, "The hyperbolic sine.", floating=True)
cosh = _unary("Cosh", ops.cosh, "The hyperbolic cosine.", floating=True)
tanh = _unary("Tanh", ops.tanh, "The hyperbolic tangent.", floating=True)
sigmoid = _unary("Sigmoid", nn.sigmoid, "``1 / (1 + exp(-x))``.", floating=True)
erf = _unary("Erf", ops.erf, "The error function.", floating=True)
floor = _unary("Floor", ops.floor, "Rounded down.", floating=True, has_gradient=False)
ceil = _unary("Ceil", ops.ceil, "Rounded up.", floating=True, has_gradient=False)
round = _unary("Round", ops.round, "Rounded to the nearest, ties to even.", has_gradient=False)
reciprocal = _unary("Reciprocal", ops.reciprocal, "``1 / x``.", floating=True)
is_nan = _unary("IsNan", ops.isnan, "Where it is nan.", floating=True, has_gradient=False)
is_finite = _unary(
    "IsFinite", ops.isfinite, "Where it is a number.", floating=True, has_gradient=False
)
is_inf = _unary("IsInf", ops.isinf, "Where it is infinite.", floating=True, has_gradient=False)
identity = _unary("Identity", lambda x: x, "The tensor itself, as a node of its own.")
stop_gradient = _unary(
    "StopGradient", lambda x: x, "The tensor itself, without its derivative.", has_gradient=False
)


def divide(x: Any, y: Any, name: str | None = None) -> Tensor:
    """``x / y``; integers are divided in float64, or in float32 up to 16 bits, as in Python 3."""
    operands = convert_operands(x, y)
    if operands[0].dtype not in FLOATING:
        size = operands[0].dtype.itemsize
        operands = [cast(t, _float32 if size <= 2 else float64) for t in operands]
    return apply("RealDiv", ops.divide, *operands, label=name)


div = truediv = realdiv = divide


def add_n(inputs: Any, name: str | None = None) -> Tensor:
    """The sum of a list of tensors of one shape and dtype.

    Raises:
        GraphError: the list is empty.
    """
    operands = convert_operands(*inputs) if inputs else []
    if not operands:
        raise GraphError("add_n of no tensors")
    return apply("AddN", lambda *xs: sum(xs[1:], start=xs[0]), *operands, label=name)


def logical_not(x: Any, name: str | None = None) -> Tensor:
    """Where ``x``, booleans, does not hold."""
    operand = convert_to_tensor(x)
    require_bool("LogicalNot", operand)
    return apply("LogicalNot", ops.logical_not, operand, label=name, is_differentiable=False)


def cast(x: Any, dtype: Any, name: str | None = None) -> Tensor:
    """``x`` with another dtype. Floating numbers are cut to integers; booleans become 0 and 1."""
    operand, wanted = convert_to_tensor(x), as_dtype(dtype)
    both = {operand.dtype, wanted} <= FLOATING
    return apply(
        "Cast", lambda x: ops.astype(x, wanted), operand, label=name, is_differentiable=both
    )


def to_float(x: Any, name: str | None = None) -> Tensor:
    """``x`` as float32."""
    return cast(x, _float32, name)


def to_int32(x: Any, name: str | None = None) -> Tensor:
    """``x`` as int32."""
    return cast(x, "int32", name)


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: Any = None) -> Tensor:
    """``t`` brought into the bounds, which broadcast. The gradient is 0 where it is cut."""
    x, low, high = convert_operands(t, clip_value_min, clip_value_max)

    def clipped(x: Any, low: Any, high: Any) -> Any:
        return ops.minimum(ops.maximum(x, low), high)

    return apply("clip_by_value", clipped, x, low, high, label=name)


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """``x`` where ``condition`` holds, ``y`` elsewhere.

    Args:
        condition: Booleans of the shape of ``x`` and ``y``, or along their first axis.
        x: A tensor.
        y: A tensor of the same shape and dtype.
        name: Name of the result.

    Raises:
        GraphError: ``x`` or ``y`` is missing: the number of hits is not known before a run.
    """
    if x is None or y is None:
        raise GraphError(
            "tf.where(condition) has a result whose length is not known before a run: give x and "
            "y, or use numpy.nonzero on what `sess.run` returns"
        )
    chosen = convert_to_tensor(condition)
    require_bool("Where", chosen)

    def choose(c: Any, x: Any, y: Any) -> Any:
        if c.ndim == 1 and x.ndim > 1:
            c = ops.reshape(c, (c.shape[0], *(1,) * (x.ndim - 1)))
        return ops.where(c, x, y)

    return apply("Select", choose, chosen, *convert_operands(x, y), label=name)


def matmul(
    a: Any,
    b: Any,
    transpose_a: bool = False,
    transpose_b: bool = False,
    name: str | None = None,
) -> Tensor:
    """The matrix product over the last two axes; axes before them broadcast.

    Args:
        a: ``[..., n, k]``, or ``[..., k, n]`` if ``transpose_a``.
        b: ``[..., k, m]``, or ``[..., m, k]`` if ``transpose_b``.
        transpose_a: Whether to swap the last two axes of ``a``.
        transpose_b: Whether to swap the last two axes of ``b``.
        name: Name of the result.

    Raises:
        ShapeError: an operand has fewer than two axes, or the lengths do not fit.
    """

    def product(a: Any, b: Any) -> Any:
        for x in (a, b):
            if x.ndim < 2:
                raise ShapeError(f"{x.type} is no matrix: reshape it, or use tf.tensordot")
        a = ops.matrix_transpose(a) if transpose_a else a
        return ops.matmul(a, ops.matrix_transpose(b) if transpose_b else b)

    return apply("MatMul", product, *convert_operands(a, b), label=name)


def tensordot(a: Any, b: Any, axes: Any, name: str | None = None) -> Tensor:
    """Sums of products over ``axes``, as ``numpy.tensordot``."""
    return apply(
        "Tensordot", lambda x, y: ops.tensordot(x, y, axes), *convert_operands(a, b), label=name
    )


def bias_add(value: Any, bias: Any, name: str | None = None) -> Tensor:
    """``value + bias``, where ``bias`` has the length of the last axis of ``value``."""
    return apply("BiasAdd", ops.add, *convert_operands(value, bias), label=name)


def short_name(dtype: DType) -> str:
    """``f32``."""
    return SHORT_NAMES[dtype]


OPERATORS.update(
    add=add,
    subtract=subtract,
    multiply=multiply,
    divide=divide,
    floordiv=floordiv,
    mod=mod,
    pow=pow,
    matmul=matmul,
    less=less,
    less_equal=less_equal,
    greater=greater,
    greater_equal=greater_equal,
    logical_and=logical_and,
    logical_or=logical_or,
    logical_not=logical_not,
    negative=negative,
    abs=abs,
)
