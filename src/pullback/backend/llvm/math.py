"""Elementary functions as LLVM code: which function is where, and how exact it is.

Imports ``math_core`` and the files of the families. Start reading at ``emit_math``.

The code is straight-line vector arithmetic for any number of lanes; nothing becomes a call of the C
library on any target. Long functions become internal functions of the module, so that several uses
cost one compilation; sin, cos, tan and rem alone contain branches (for huge arguments, and for the
digits of a long division).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pullback.backend.llvm import (
    math_exp,
    math_gamma,
    math_log,
    math_round,
    math_special,
    math_trig,
)
from pullback.backend.llvm.emit import Function, V, element_of
from pullback.backend.llvm.math_core import Num, out_of_line


def emit_math(f: Function, opcode: str, *args: V, order: int = 0) -> V:
    """Emit a function of ``float`` or ``double`` values, scalar or vector.

    Args:
        f: The function being written. ``f.module.has_fma`` says whether the
            target has a fused multiply-add; without it, rounding to integers is done without the
            target's help too.
        opcode: One of ``MATH_OPCODES``.
        *args: The operands, all of one type. ``half`` and ``bfloat`` are for the caller to convert.
        order: The derivative's order, for ``polygamma``.

    Returns:
        The value; error bounds are in ``ULP_BOUNDS``. Special values follow IEEE 754 and C99:
        signed zeros, infinities and nan, overflow to infinity, gradual underflow.

    Raises:
        ValueError: the opcode, the type or the order is not supported.
    """
    element = element_of(args[0].type)
    if opcode not in MATH_OPCODES or element not in ("float", "double"):
        raise ValueError(f"no function {opcode!r} of {args[0].type}")
    if opcode == "polygamma":
        return _polygamma(f, args[0], order)
    body = _body(opcode, element)
    if opcode in OUT_OF_LINE:
        return out_of_line(f"{opcode}.{element}", body, f, args)
    return body(f, args)


Body = Callable[[Function, tuple[V, ...]], V]


def _polygamma(f: Function, x: V, order: int) -> V:
    if order == 0:
        return emit_math(f, "digamma", x)

    def body(inner: Function, args: tuple[V, ...]) -> V:
        x = Num(inner, args[0])
        if x.format.element == "float":
            return math_gamma.emit_polygamma(x.widen(), order).narrow().v
        return math_gamma.emit_polygamma(x, order).v

    return out_of_line(f"polygamma{order}", body, f, (x,))


def _body(opcode: str, element: str) -> Body:
    function = _FUNCTIONS[opcode]
    widened = element == "float" and opcode in WIDENED

    def body(f: Function, args: tuple[V, ...]) -> V:
        numbers = [Num(f, a) for a in args]
        if widened:
            return function(*(x.widen() for x in numbers)).narrow().v
        return function(*numbers).v

    if opcode == "pow" and widened:
        return _float_pow
    return body


def _float_pow(f: Function, args: tuple[V, ...]) -> V:
    x, y = (Num(f, a).widen() for a in args)
    return math_log.emit_pow(x, y, precise=False).narrow().v


def _double_pow(x: Num, y: Num) -> Num:
    return math_log.emit_pow(x, y, precise=True)


def _sqrt(x: Num) -> Num:
    return x.sqrt()


def _rsqrt(x: Num) -> Num:
    return 1.0 / x.sqrt()


def _copysign(x: Num, y: Num) -> Num:
    return x.with_sign_of(y)


_FUNCTIONS: Final[dict[str, Callable[..., Num]]] = {
    "exp": math_exp.emit_exp,
    "exp2": math_exp.emit_exp2,
    "expm1": math_exp.emit_expm1,
    "sigmoid": math_exp.emit_sigmoid,
    "tanh": math_exp.emit_tanh,
    "sinh": math_exp.emit_sinh,
    "cosh": math_exp.emit_cosh,
    "log": math_log.emit_log,
    "log2": math_log.emit_log2,
    "log10": math_log.emit_log10,
    "log1p": math_log.emit_log1p,
    "asinh": math_log.emit_asinh,
    "acosh": math_log.emit_acosh,
    "atanh": math_log.emit_atanh,
    "pow": _double_pow,
    "cbrt": math_log.emit_cbrt,
    "sqrt": _sqrt,
    "rsqrt": _rsqrt,
    "sin": math_trig.emit_sin,
    "cos": math_trig.emit_cos,
    "tan": math_trig.emit_tan,
    "asin": math_trig.emit_asin,
    "acos": math_trig.emit_acos,
    "atan": math_trig.emit_atan,
    "atan2": math_trig.emit_atan2,
    "erf": math_special.emit_erf,
    "erfc": math_special.emit_erfc,
    "erfinv": math_special.emit_erfinv,
    "lgamma": math_gamma.emit_lgamma,
    "digamma": math_gamma.emit_digamma,
    "floor": math_round.emit_floor,
    "ceil": math_round.emit_ceil,
    "round": math_round.emit_round,
    "trunc": math_round.emit_trunc,
    "rem": math_round.emit_rem,
    "nextafter": math_round.emit_nextafter,
    "copysign": _copysign,
}
#: What ``emit_math`` knows.
MATH_OPCODES: Final = frozenset(_FUNCTIONS) | {"polygamma"}
#: Functions of float that are computed in double and rounded once.
WIDENED: Final = frozenset(
    (
        *("sinh", "cosh", "log10", "asinh", "acosh", "atanh", "pow", "cbrt"),
        *("sin", "cos", "tan", "asin", "acos", "atan", "atan2"),
        *("erfc", "lgamma", "digamma", "polygamma"),
    )
)
#: Functions that become functions of the module.
OUT_OF_LINE: Final = WIDENED | {"erfinv", "rem"}

#: Largest error in units in the last place of the result, for (opcode, element), on every target;
#: ``tests/backend/test_math_ulp.py`` measures them. float: all exponents and dense samples against
#: double; double: samples against 50 digits. For lgamma and digamma of negative arguments, whose
#: zeros are at no special places, the bound is on the error over ``max(1, |value|)``, in units of
#: 2**-52 (double). polygamma in double is for orders up to 7.
ULP_BOUNDS: Final[dict[tuple[str, str], float]] = {
    **{(opcode, "float"): 0.501 for opcode in WIDENED | {"sqrt"}},
    ("exp", "float"): 1.1,
    ("exp2", "float"): 1.1,
    ("expm1", "float"): 1.4,
    ("sigmoid", "float"): 2.4,
    ("tanh", "float"): 1.3,
    ("log", "float"): 1.0,
    ("log2", "float"): 1.8,
    ("log1p", "float"): 1.5,
    ("rsqrt", "float"): 1.5,
    ("erf", "float"): 1.3,
    ("erfinv", "float"): 2.2,
    ("exp", "double"): 1.1,
    ("exp2", "double"): 1.1,
    ("expm1", "double"): 1.3,
    ("sigmoid", "double"): 2.4,
    ("tanh", "double"): 2.4,
    ("sinh", "double"): 2.4,
    ("cosh", "double"): 1.5,
    ("log", "double"): 1.0,
    ("log2", "double"): 1.0,
    ("log10", "double"): 1.0,
    ("log1p", "double"): 1.0,
    ("asinh", "double"): 2.0,
    ("acosh", "double"): 2.0,
    ("atanh", "double"): 2.2,
    ("pow", "double"): 1.1,
    ("cbrt", "double"): 0.6,
    ("sqrt", "double"): 0.5,
    ("rsqrt", "double"): 1.5,
    ("sin", "double"): 1.0,
    ("cos", "double"): 1.0,
    ("tan", "double"): 2.2,
    ("asin", "double"): 2.0,
    ("acos", "double"): 1.3,
    ("atan", "double"): 1.0,
    ("atan2", "double"): 1.7,
    ("erf", "double"): 1.0,
    ("erfc", "double"): 4.0,
    ("erfinv", "double"): 3.0,
    ("lgamma", "double"): 5.0,
    ("digamma", "double"): 5.0,
    ("polygamma", "double"): 16.0,
    **{
        (opcode, element): 0.0
        for opcode in ("floor", "ceil", "round", "trunc", "rem", "nextafter", "copysign")
        for element in ("float", "double")
    },
}
