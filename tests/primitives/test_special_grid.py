"""Every unary primitive at poles, infinities, nan, both zeros, subnormals and the ends of dtypes.

What a value is (nan, an infinity, a zero, a number of either sign) is the same eagerly, interpreted
and compiled for every target, and the same as NumPy, SciPy or the C library have it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import scipy.special

import pullback as pb
from pullback.backend.llvm.target import REQUIRED_FEATURES, host_features
from pullback.errors import DTypeError
from pullback.primitives.elementwise import NDArray, Unary
from pullback.primitives.special import Polygamma
from pullback.program.interpret import interpret
from pullback.program.primitive import REGISTRY
from pullback.types import (
    ANY,
    FLOAT8,
    FLOATING,
    SHORT_NAMES,
    SIGNED,
    DType,
    bfloat16,
    bool_,
    float16,
    float64,
)

ORDERS = (0, 1, 2, 3, 4, 7, 20)
#: How far apart two ways may be. Reflections cancel, so these are not bounds of the functions.
ULP = 64
UNARY = [cls for cls in REGISTRY.values() if issubclass(cls, Unary)]
PRIMITIVES = [cls() for cls in UNARY if cls is not Polygamma] + [Polygamma(n) for n in ORDERS]
DTYPES = sorted(ANY - FLOAT8, key=SHORT_NAMES.__getitem__)
NARROW = (float16, bfloat16)
TARGETS = [name for name, needed in REQUIRED_FEATURES.items() if host_features().issuperset(needed)]


def _lgamma(x: float) -> float:
    """As the C library has it, which Python wraps in exceptions."""
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):
        return math.inf


def _float(function: Callable[[float], float]) -> Callable[[NDArray], NDArray]:
    return lambda x: np.asarray(np.frompyfunc(function, 1, 1)(x), np.float64)


#: SciPy's ``erfc`` and ``expit`` have zero for subnormal numbers, its ``gammaln`` -inf at -inf, its
#: ``erfinv`` no -0.0; nor has NumPy's ``sign``.
REFERENCES: dict[str, Callable[[NDArray], Any]] = {
    **{
        name: getattr(np, ufunc)
        for name, ufunc in {
            "neg": "negative", "abs": "abs", "floor": "floor", "ceil": "ceil",
            "round": "rint", "trunc": "trunc", "is_finite": "isfinite", "sqrt": "sqrt",
            "cbrt": "cbrt", "exp": "exp", "exp2": "exp2", "expm1": "expm1", "log": "log",
            "log2": "log2", "log10": "log10", "log1p": "log1p", "sin": "sin", "cos": "cos",
            "tan": "tan", "asin": "arcsin", "acos": "arccos", "atan": "arctan", "sinh": "sinh",
            "cosh": "cosh", "tanh": "tanh", "asinh": "arcsinh", "acosh": "arccosh",
            "atanh": "arctanh",
        }.items()
    },
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sign": lambda x: np.copysign(np.sign(x), x),
    "sigmoid": lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))),
    "erf": scipy.special.erf,
    "erfc": _float(math.erfc),
    "erfinv": lambda x: np.copysign(scipy.special.erfinv(x), x),
    "lgamma": _float(_lgamma),
    "digamma": scipy.special.digamma,
}  # fmt: skip


def primitives_of(dtype: DType) -> list[Unary]:
    """Those that take a dtype."""

    def takes(primitive: Unary) -> bool:
        try:
            primitive.infer(pb.ArrayType((), dtype))
        except DTypeError:
            return False
        return True

    return [p for p in PRIMITIVES if takes(p)]


def grid(dtype: DType) -> NDArray:
    """Special values of a dtype, each bit pattern once."""
    if dtype == bool_:
        return np.array([False, True])
    if dtype not in FLOATING:
        limits = np.iinfo(dtype)
        whole = [0, 1, 2, 7, limits.max, limits.max - 1, limits.min, limits.min + 1]
        return np.array(whole + ([-1, -2, -7] if dtype in SIGNED else []), dtype)
    info = ml_dtypes.finfo(dtype)
    eps, tiny = float(info.eps), float(info.smallest_normal)
    subnormal, largest = float(info.smallest_subnormal), float(info.max)
    sizes = [0.0, subnormal, 3 * subnormal, tiny / 2, tiny, eps, largest / 2, largest, math.inf]
    sizes += [0.25, 0.5, 1 - eps / 2, 1, 1 + eps, 1.5, 2 - 2 * eps, 2.5, 7.5, 2, 3, 4, 5, 10, 11]
    sizes += [20, 27, 28, 88, 89, 104, 150, 170, 171, 172, 709, 710, 746, 1e4, 1e5, 1e15, 1e30]
    with np.errstate(over="ignore"):
        values = np.array([*sizes, *(-x for x in sizes), math.nan]).astype(dtype)
    return np.unique(values.view(f"u{dtype.itemsize}")).view(dtype)


def kinds(values: Any) -> list[str]:
    """What each value is."""
    found = np.asarray(values)
    if found.dtype not in FLOATING:
        return [str(x) for x in found.tolist()]
    names = []
    for x in found.astype(np.float64).tolist():
        kind = "nan" if x != x else "inf" if math.isinf(x) else "number" if x else "zero"
        names.append(kind if x != x else f"{'-' if math.copysign(1, x) < 0 else ''}{kind}")
    return names


def check_alike(primitive: Unary, x: NDArray, actual: Any, expected: Any) -> None:
    """Require values of the same kind, and numbers close to each other."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    wrong = [
        f"{primitive} {SHORT_NAMES[x.dtype]} at {float(at)!r}: {got}, expected {wanted}"
        for at, got, wanted, *names in zip(
            x, actual, expected, kinds(actual), kinds(expected), strict=True
        )
        if names[0] != names[1]
    ]
    assert not wrong, "\n".join(wrong)
    if actual.dtype in FLOATING:
        finite = np.isfinite(expected.astype(np.float64))
        eps = float(ml_dtypes.finfo(actual.dtype).eps)
        np.testing.assert_allclose(
            actual[finite].astype(np.float64),
            expected[finite].astype(np.float64),
            rtol=ULP * eps,
            atol=ULP * eps if primitive.name in ("lgamma", "digamma") else 0.0,  # near their zeros
            err_msg=f"{primitive} {SHORT_NAMES[x.dtype]}",
        )


def evaluated(primitive: Unary, x: NDArray) -> NDArray:
    with np.errstate(all="ignore"):
        return np.asarray(primitive.evaluate(x))


@pytest.mark.parametrize("primitive", PRIMITIVES, ids=str)
def test_values_are_those_of_numpy_and_scipy(primitive):
    x = grid(float64)
    name = primitive.name
    if name in ("not", "popcount"):
        pytest.skip("takes no floats")
    reference = REFERENCES.get(name)
    if name == "polygamma":
        reference = scipy.special.digamma if primitive.n == 0 else None
    with np.errstate(all="ignore"):
        expected = reference(x) if reference else scipy.special.polygamma(primitive.n, x)

    assert kinds(evaluated(primitive, x)) == kinds(expected)


@pytest.mark.parametrize(
    ("target", "dtype"),
    # Narrow floats are computed in float32, so on lower targets there is nothing new in them.
    [(t, d) for t in TARGETS for d in DTYPES if t == TARGETS[0] or d not in NARROW],
)
def test_compiled_values_are_the_evaluated_ones(target, dtype):
    x, primitives = grid(dtype), primitives_of(dtype)
    assert primitives

    with pb.config.override(target=target, threads=1):
        results = pb.jit(lambda x: [primitive(x) for primitive in primitives])(x)

    for primitive, result in zip(primitives, results, strict=True):
        check_alike(primitive, x, result, evaluated(primitive, x))


@pytest.mark.parametrize("dtype", DTYPES, ids=SHORT_NAMES.__getitem__)
def test_eager_and_interpreted_values_are_the_evaluated_ones(dtype):
    """To the bit."""
    x, primitives = grid(dtype), primitives_of(dtype)
    program = pb.make_program(lambda x: [primitive(x) for primitive in primitives])(x)

    for primitive, interpreted in zip(primitives, interpret(program, x), strict=True):
        expected = evaluated(primitive, x)
        assert np.asarray(interpreted).tobytes() == expected.tobytes()
        assert np.asarray(primitive(pb.asarray(x))).tobytes() == expected.tobytes()
