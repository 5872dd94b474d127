"""Elementary functions: error bounds, special values, targets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from math_harness import TARGETS, Array, evaluate, library_calls, ulps
from scipy import special

from pullback.backend.llvm.emit import Function, Module
from pullback.backend.llvm.math import MATH_OPCODES, OUT_OF_LINE, ULP_BOUNDS, emit_math
from pullback.program.loops import SCALAR_OPS

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
PRECISION_BITS = 160
BINARY = ("pow", "atan2", "rem", "nextafter", "copysign")
SPECIAL = [0.0, 1.0, 2.0, 3.0, 0.5, 1.5, 2.5, np.inf, 1e300, 5e-324, 2.0**52 + 1, 2.0**53, 1e-5]
SPECIAL_VALUES = np.array([*SPECIAL, *(-x for x in SPECIAL), np.nan, 1 - 2.0**-53, 1 + 2.0**-52])


def sigmoid(x: Array) -> Array:
    return np.where(x > 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x)))


NUMPY: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "cbrt": np.cbrt,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "erf": special.erf,
    "erfc": special.erfc,
    "erfinv": special.erfinv,
    "lgamma": special.gammaln,
    "digamma": special.digamma,
    "floor": np.floor,
    "ceil": np.ceil,
    "round": np.round,
    "trunc": np.trunc,
    "pow": np.power,
    "atan2": np.arctan2,
    "rem": np.fmod,
    "nextafter": np.nextafter,
    "copysign": np.copysign,
}
UNARY = [opcode for opcode in NUMPY if opcode not in BINARY]


def float_samples(rng: np.random.Generator) -> Array:
    """Every exponent and sign, and dense ranges."""
    bits = rng.integers(0, 1 << 32, 120_000, dtype=np.uint32).view(np.float32)
    dense = [rng.uniform(-s, s, 30_000).astype(np.float32) for s in (1.0, 3.0, 10.0, 100.0, 1e5)]
    ends = np.array([88.72, 88.73, -87.3, -103.9, -104.1, 1e-45, 1.1754944e-38, 3.4028235e38])
    return np.concatenate([bits, *dense, SPECIAL_VALUES.astype(np.float32), ends.astype("f4")])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


def test_every_special_function_of_the_loop_language_is_known() -> None:
    plain = (
        "neg abs sign not popcount is_finite add sub mul div max min and or xor shl shr sar "
        "eq ne lt le gt ge"
    )

    assert set(plain.split()) | MATH_OPCODES == set(SCALAR_OPS) | {"polygamma"}
    assert {op for op, _ in ULP_BOUNDS} == MATH_OPCODES


@pytest.mark.parametrize("opcode", UNARY)
@pytest.mark.parametrize("name", TARGETS)
def test_float_errors_are_within_their_bounds(
    rng: np.random.Generator, name: str, opcode: str
) -> None:
    x = float_samples(rng)
    exact = NUMPY[opcode](x.astype(np.float64))
    if opcode == "lgamma":  # C has lgamma(-inf) = inf
        exact[np.isneginf(x)] = np.inf

    got = evaluate(opcode, x, name=name)

    errors = ulps(got, exact)
    worst = int(np.argmax(errors))
    bound = ULP_BOUNDS[opcode, "float"]
    assert errors[worst] <= bound, f"{opcode}({x[worst]!r}) = {got[worst]!r}, not {exact[worst]!r}"
    zeros = (exact == 0) & (x == 0) & (opcode != "erfinv")
    assert (np.signbit(got) == np.signbit(exact))[zeros].all()


@pytest.mark.parametrize("opcode", UNARY)
def test_results_do_not_depend_on_the_width_of_registers(
    rng: np.random.Generator, opcode: str
) -> None:
    """Bit for bit, on all targets with fma; and one lane at a time."""
    x = float_samples(rng)[::5]
    first = evaluate(opcode, x, name=TARGETS[0])

    for name in TARGETS:
        if name != "generic":
            np.testing.assert_array_equal(first, evaluate(opcode, x, name=name))
    np.testing.assert_array_equal(first[:3000], evaluate(opcode, x[:3000], lanes=1))


@pytest.mark.parametrize("element", ["float", "double"])
@pytest.mark.parametrize("opcode", sorted(MATH_OPCODES))
@pytest.mark.parametrize("name", TARGETS)
def test_no_function_of_the_c_library_is_called(name: str, opcode: str, element: str) -> None:
    operands = 2 if opcode in BINARY else 1

    assert library_calls(name, opcode, element, operands) == set()


def test_the_test_for_library_calls_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    def scalarised(f: Function, opcode: str, *args: Any, order: int = 0) -> Any:
        return f.intrinsic("exp", *args)

    monkeypatch.setattr("math_harness.emit_math", scalarised)

    assert library_calls("generic", "exp", "float", 1) == {"expf"}


# --- double --------------------------------------------------------------------------------------
def spread(rng: np.random.Generator, low: float, high: float, count: int = 150) -> Array:
    """Both signs, exponents spread evenly."""
    magnitude = np.exp(rng.uniform(np.log(low), np.log(high), count))
    return magnitude * rng.choice([-1.0, 1.0], count)


def whole(rng: np.random.Generator) -> Array:
    ranges = [rng.uniform(-s, s, 150) for s in (1.0, 10.0, 750.0)]
    return np.concatenate([*ranges, spread(rng, 1e-300, 1e300)])


def positive(rng: np.random.Generator) -> Array:
    near_one = 1 + spread(rng, 1e-16, 0.5)
    return np.abs(np.concatenate([rng.uniform(0.3, 3, 150), near_one, spread(rng, 5e-324, 1e308)]))


def unit(rng: np.random.Generator) -> Array:
    near_one = 1 - np.abs(spread(rng, 1e-16, 0.1))
    return np.concatenate([rng.uniform(-1, 1, 200), spread(rng, 1e-20, 1), near_one, -near_one])


def angles(rng: np.random.Generator) -> Array:
    """All sizes, and neighbours of multiples of pi/2, of which one is the hardest double."""
    near = [
        np.round(rng.uniform(-1e5, 1e5, 150)) * np.pi / 2,
        spread(rng, 1, 1e15) // 1 * np.pi / 2,
    ]
    ranges = [rng.uniform(-s, s, 150) for s in (3.0, 100.0, 1e5)]
    hard = [6381956970095103 * 2.0**797, 1e22, 2.0**20, np.nextafter(2.0**20, 0)]
    return np.concatenate([*near, *ranges, spread(rng, 1e-10, 1e300), hard])


def gamma_arguments(rng: np.random.Generator) -> Array:
    roots = np.concatenate([1 + spread(rng, 1e-12, 0.1), 2 + spread(rng, 1e-12, 0.1)])
    return np.concatenate([rng.uniform(0.01, 15, 300), np.abs(spread(rng, 1e-10, 1e10)), roots])


DOUBLE: dict[str, tuple[Callable[..., Any], Callable[[np.random.Generator], Array]]] = {
    "exp": (mp.exp, whole),
    "exp2": (lambda x: mp.power(2, x), whole),
    "expm1": (mp.expm1, whole),
    "sigmoid": (lambda x: 1 / (1 + mp.exp(-x)), whole),
    "tanh": (mp.tanh, whole),
    "sinh": (mp.sinh, whole),
    "cosh": (mp.cosh, whole),
    "log": (mp.log, positive),
    "log2": (lambda x: mp.log(x) / mp.log(2), positive),
    "log10": (mp.log10, positive),
    "log1p": (mp.log1p, lambda rng: np.concatenate([positive(rng), rng.uniform(-0.999, 0, 200)])),
    "asinh": (mp.asinh, whole),
    "acosh": (mp.acosh, lambda rng: 1 + positive(rng)),
    "atanh": (mp.atanh, unit),
    "cbrt": (lambda x: mp.sign(x) * mp.cbrt(abs(x)), whole),
    "sqrt": (mp.sqrt, positive),
    "rsqrt": (lambda x: 1 / mp.sqrt(x), positive),
    "sin": (mp.sin, angles),
    "cos": (mp.cos, angles),
    "tan": (mp.tan, angles),
    "asin": (mp.asin, unit),
    "acos": (mp.acos, unit),
    "atan": (mp.atan, whole),
    "erf": (mp.erf, lambda rng: np.concatenate([rng.uniform(-6, 6, 300), spread(rng, 1e-300, 1)])),
    "erfc": (mp.erfc, lambda rng: rng.uniform(-6, 27.3, 500)),
    "erfinv": (mp.erfinv, unit),
    "lgamma": (lambda x: mp.re(mp.loggamma(x)), gamma_arguments),
    "digamma": (mp.digamma, gamma_arguments),
}


def exact_values(function: Callable[..., Any], *arrays: Array) -> list[Any]:
    with mp.workprec(PRECISION_BITS):
        return [function(*(mp.mpf(float(x)) for x in row)) for row in zip(*arrays, strict=True)]


def worst_error(got: Array, exact: list[Any]) -> float:
    """The largest error in units of the last place; infinite where overflow is wrong."""
    worst = 0.0
    for value, right in zip(got.tolist(), exact, strict=True):
        rounded = float(right)
        if not (np.isfinite(value) and np.isfinite(rounded)):
            worst = worst if value == rounded else np.inf
        else:
            with mp.workprec(PRECISION_BITS):
                unit_in_last_place = mp.mpf(float(np.spacing(abs(rounded))))
                worst = max(worst, float(abs(mp.mpf(value) - right) / unit_in_last_place))
    return worst


@pytest.mark.parametrize("opcode", sorted(DOUBLE))
@pytest.mark.parametrize("name", [TARGETS[0], "generic"])
def test_double_errors_are_within_their_bounds(
    rng: np.random.Generator, name: str, opcode: str
) -> None:
    function, samples = DOUBLE[opcode]
    x = samples(rng)

    got = evaluate(opcode, x, name=name)

    assert worst_error(got, exact_values(function, x)) <= ULP_BOUNDS[opcode, "double"]


def powers(rng: np.random.Generator) -> tuple[Array, Array]:
    x = np.concatenate([rng.uniform(0, 3, 300), np.abs(spread(rng, 1e-300, 1e300, 300))])
    near_one = 1 + spread(rng, 1e-14, 0.3, 300)
    x = np.concatenate([x, near_one])
    limit = 740 / np.abs(np.log(x))
    y = np.concatenate(
        [rng.uniform(-30, 30, 300), rng.uniform(-2, 2, 300), spread(rng, 1, 1e9, 300)]
    )
    return x, np.clip(y, -limit, limit)


@pytest.mark.parametrize("name", [TARGETS[0], "generic"])
def test_double_powers_and_angles_are_within_their_bounds(
    rng: np.random.Generator, name: str
) -> None:
    x, y = powers(rng)
    assert (
        worst_error(evaluate("pow", x, y, name=name), exact_values(mp.power, x, y))
        <= (ULP_BOUNDS["pow", "double"])
    )

    x, y = rng.normal(size=500), np.concatenate([rng.normal(size=300), spread(rng, 1e-9, 1e9, 200)])
    assert (
        worst_error(evaluate("atan2", x, y, name=name), exact_values(mp.atan2, x, y))
        <= (ULP_BOUNDS["atan2", "double"])
    )


@pytest.mark.parametrize(
    ("opcode", "function"),
    [("lgamma", lambda x: mp.log(abs(mp.gamma(x)))), ("digamma", mp.digamma)],
    ids=["lgamma", "digamma"],
)
def test_reflected_gamma_functions(
    rng: np.random.Generator, opcode: str, function: Callable[..., Any]
) -> None:
    x = rng.uniform(-20, 0, 300)
    exact = exact_values(function, x)

    got = evaluate(opcode, x)

    error = np.array([float(abs(mp.mpf(a) - b)) for a, b in zip(got.tolist(), exact, strict=True)])
    scale = np.maximum(1, np.abs(np.array([float(b) for b in exact])))
    assert (error / scale).max() <= ULP_BOUNDS[opcode, "double"] * 2.0**-52


@pytest.mark.parametrize("order", [1, 2, 3, 7])
def test_polygamma(rng: np.random.Generator, order: int) -> None:
    x = np.concatenate([rng.uniform(0.01, 30, 60), np.abs(spread(rng, 1e-6, 1e6, 60))])
    x = np.concatenate([x, rng.uniform(-20, 0, 100)])
    exact = exact_values(lambda v: mp.polygamma(order, v), x)

    got = evaluate("polygamma", x, order=order)
    narrow = evaluate("polygamma", x.astype(np.float32), order=order)
    narrow_exact = exact_values(lambda v: mp.polygamma(order, v), x.astype(np.float32))

    assert worst_error(got, exact) <= ULP_BOUNDS["polygamma", "double"]
    assert (
        ulps(narrow, np.array(narrow_exact, np.float64)).max() <= (ULP_BOUNDS["polygamma", "float"])
    )


def test_polygamma_at_poles_and_ends() -> None:
    x = np.array([0.0, -0.0, -1.0, -3.0, np.inf, np.nan, -np.inf])

    second, third = (evaluate("polygamma", x, order=n) for n in (2, 3))

    np.testing.assert_array_equal(second, [-np.inf] * 4 + [0.0, np.nan, -np.inf])
    np.testing.assert_array_equal(third, [np.inf] * 4 + [0.0, np.nan, np.inf])


def exact_lgamma(x: float) -> float:
    """Logarithm of ``|gamma(x)|``; C99 has infinity at both ends."""
    if np.isnan(x) or np.isinf(x):
        return abs(x)
    if x <= 0 and x == np.floor(x):
        return np.inf
    with mp.workprec(400):
        return float(mp.re(mp.loggamma(mp.mpf(x))))


# --- special values and operands of two ----------------------------------------------------------
def agree(got: Array, expected: Array, units: int = 0) -> Array:
    """Equal, also in the sign of zero, or within some units in the last place."""
    same = (got == expected) & (np.signbit(got) == np.signbit(expected))
    near = np.abs(got - expected) <= units * np.spacing(np.abs(expected))
    return same | (np.isnan(got) & np.isnan(expected)) | (near & np.isfinite(expected))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("opcode", UNARY)
def test_special_values(opcode: str, dtype: type) -> None:
    """As NumPy has them; lgamma as C99, erfinv by symmetry."""
    x: Array = SPECIAL_VALUES.astype(dtype)
    expected = NUMPY[opcode](x.astype(np.float64)).astype(dtype)
    if opcode == "lgamma":
        expected = np.array([exact_lgamma(v) for v in x.tolist()], dtype)
    if opcode == "erfinv":
        expected[x == 0] = x[x == 0]

    got = evaluate(opcode, x)

    # Between the poles on the negative side lgamma has roots, where relative errors grow.
    unequal = ~agree(got, expected, units=64 if opcode == "lgamma" else 6)
    assert not unequal.any(), (x[unequal], got[unequal], expected[unequal])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("opcode", BINARY)
@pytest.mark.parametrize("name", [TARGETS[0], "generic"])
def test_special_pairs(name: str, opcode: str, dtype: type) -> None:
    x, y = (a.ravel().astype(dtype) for a in np.meshgrid(SPECIAL_VALUES, SPECIAL_VALUES))

    got, expected = evaluate(opcode, x, y, name=name), NUMPY[opcode](x, y)

    unequal = ~agree(got, expected, 2 if opcode in ("pow", "atan2") else 0)
    assert not unequal.any(), (x[unequal], y[unequal], got[unequal], expected[unequal])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("opcode", ["rem", "nextafter", "copysign"])
def test_exact_functions_of_two_operands(
    rng: np.random.Generator, opcode: str, dtype: type
) -> None:
    """Bit for bit, for random bits (huge quotients) and for ordinary numbers."""
    bits = np.uint32 if dtype is np.float32 else np.uint64
    top = np.iinfo(bits).max
    x: Array
    y: Array
    x, y = (rng.integers(0, top, 20_000, dtype=bits).view(dtype) for _ in range(2))
    x = np.concatenate([x, rng.uniform(-100, 100, 20_000).astype(dtype)])
    y = np.concatenate([y, rng.uniform(-3, 3, 20_000).astype(dtype)])

    assert agree(evaluate(opcode, x, y), NUMPY[opcode](x, y)).all()


@pytest.mark.parametrize("opcode", ["pow", "atan2"])
@pytest.mark.parametrize("name", TARGETS)
def test_float_functions_of_two_operands(rng: np.random.Generator, name: str, opcode: str) -> None:
    x, y = (rng.uniform(low, high, 100_000).astype("f4") for low, high in ((0, 5), (-40, 40)))

    exact = NUMPY[opcode](x.astype(np.float64), y.astype(np.float64))

    assert ulps(evaluate(opcode, x, y, name=name), exact).max() <= ULP_BOUNDS[opcode, "float"]


def test_bounded_functions_stay_within_their_range() -> None:
    """tanh, erf and sigmoid never pass 1, or ``1 - out * out`` would turn negative."""
    x = np.linspace(0, 30, 2_000_000, dtype=np.float32)

    for opcode in ("tanh", "erf", "sigmoid"):
        assert evaluate(opcode, x).max() == 1.0
        assert abs(evaluate(opcode, -x)).max() <= 1.0


def test_powers_of_two_are_exact() -> None:
    k = np.arange(-1074, 1024, dtype=np.float64)

    np.testing.assert_array_equal(evaluate("exp2", k), np.ldexp(1.0, k.astype(int)))
    np.testing.assert_array_equal(evaluate("log2", np.ldexp(1.0, k.astype(int))), k)


# --- writing -------------------------------------------------------------------------------------
def test_long_functions_are_compiled_once() -> None:
    module = Module()
    f = Function(module, "f", "<16 x float>", [("<16 x float>", "x")])
    value = f.args[0]
    for _ in range(3):
        value = emit_math(f, "sin", value)
    f.ret(value)
    f.finish()

    assert "sin" in OUT_OF_LINE
    assert str(module).count("define internal <16 x float> @pullback.sin") == 1
    assert str(module).count("call <16 x float> @pullback.sin") == 3


@pytest.mark.parametrize(
    ("opcode", "type", "order"),
    [("exp", "half", 0), ("add", "float", 0), ("polygamma", "double", -1)],
)
def test_what_is_not_supported_is_refused(opcode: str, type: str, order: int) -> None:
    f = Function(Module(), "f", type, [(type, "x")])

    with pytest.raises(ValueError, match=r"no function|expected 1"):
        emit_math(f, opcode, f.args[0], order=order)
