"""Checks of derivatives, for pullback's own primitives and for users' functions.

May import everything. Start at ``check_vjp``: reverse-mode derivatives against central differences.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pullback.errors import PullbackError
from pullback.program.primitive import Primitive
from pullback.program.value import STACKS, Array, Value, as_value
from pullback.records import dataclass
from pullback.types import FLOATING, ArrayType, float64, type_of

if TYPE_CHECKING:
    from pullback.program.builder import Builder

NDArray = np.ndarray[Any, Any]

#: Step of the central differences; with one Richardson extrapolation the error is of order h^4.
STEP = 2.0**-12
#: Directions in which each derivative is compared.
DIRECTIONS = 3


class VjpCheckError(PullbackError, AssertionError):
    """A reverse-mode derivative differs from central differences, or has the wrong type.

    Compare the rule with the formula on paper; if the point is a kink of the function, such as 0
    for ``abs``, check at another point.
    """


#: Maps operands to outputs: what is differentiated.
Function = Callable[[Sequence[Value]], tuple[Value, ...]]
#: ``pull_back(function, operands, cotangents)`` gives one cotangent for each operand.
PullBack = Callable[[Function, Sequence[Value], Sequence[Value]], Sequence["Value | None"]]


def check_vjp(
    f: Primitive | Callable[..., Any],
    *args: Any,
    order: int = 2,
    tolerance: float = 1e-6,
    step: float = STEP,
    seed: int = 0,
) -> None:
    """Require that reverse-mode derivatives of ``f`` equal central differences.

    For random directions ``v`` and cotangents ``w`` it compares ``<v, vjp(w)>`` with
    ``d/dt <w, f(x + t v)>``; then, up to ``order``, the same for the function that maps operands
    and cotangents to the vjp.

    Args:
        f: A function of arrays, or a primitive: its own ``vjp`` rule is then applied eagerly,
            without the differentiation engine.
        args: Operands: float64 ``[...]``, or of a dtype that is held constant (integers, booleans).
            They must be farther from kinks and from the edges of the domain than ``step`` times a
            few standard deviations.
        order: Highest order of differentiation, 1 or more.
        tolerance: Largest difference, relative to the sum of the magnitudes that are added up.
        step: Step of the differences.
        seed: Seed of the directions.

    Raises:
        VjpCheckError: a derivative differs; the message names the order and both numbers.
        ValueError: an operand is floating but not float64, where differences prove nothing.

    Cost: 4 evaluations of ``f`` and one vjp for each of 3 directions and each order.

    Example:
        >>> check_vjp(Tanh(), np.array([0.5, -1.0]))
    """
    operands = [as_value(x) for x in args]
    for x in operands:
        if x.dtype in FLOATING and x.dtype != float64:
            raise ValueError(f"check_vjp takes float64 operands, got {x.type}: convert them first")
    function, pull_back, movable = _as_function(f, operands)
    name = f.name if isinstance(f, Primitive) else getattr(f, "__name__", str(f))
    rng = np.random.default_rng(seed)
    for current in range(1, order + 1):
        _check_order(
            function, pull_back, operands, movable, _Comparison(name, current, tolerance, step, rng)
        )
        if current < order:
            function, operands, movable = _vjp_as_function(
                function, pull_back, operands, movable, rng
            )


@dataclass(frozen=True)
class _Comparison:
    name: str
    order: int
    tolerance: float
    step: float
    rng: np.random.Generator

    def require_equal(self, expected: float, actual: float, scale: float) -> None:
        error = abs(expected - actual)
        if not error <= self.tolerance * max(scale, 1e-3):
            raise VjpCheckError(
                f"vjp of {self.name}, order {self.order}: the rule gives {actual:.9g}, central "
                f"differences give {expected:.9g} (difference {error:.2g}, allowed "
                f"{self.tolerance * max(scale, 1e-3):.2g})"
            )


def _as_function(
    f: Primitive | Callable[..., Any], operands: Sequence[Value]
) -> tuple[Function, PullBack, list[int]]:
    """Return ``f`` as a function of values, how to pull back, and which operands move."""
    if isinstance(f, Primitive):
        primitive = f
        movable = [i for i, x in enumerate(operands) if primitive.is_differentiable(i, x.type)]

        def apply(values: Sequence[Value]) -> tuple[Value, ...]:
            outputs = primitive(*values)
            return outputs if isinstance(outputs, tuple) else (outputs,)

        return apply, pull_back_eagerly, movable

    def call(values: Sequence[Value]) -> tuple[Value, ...]:
        from pullback import tree

        return tuple(as_value(x) for x in tree.leaves(f(*values)))

    return call, _pull_back_by_engine, [i for i, x in enumerate(operands) if x.dtype in FLOATING]


def _pull_back_by_engine(
    function: Function, operands: Sequence[Value], cotangents: Sequence[Value]
) -> Sequence[Value | None]:
    from pullback.api import vjp

    def flat(*values: Value) -> tuple[Value, ...]:
        return function(values)

    _, pull_back = vjp(flat, *operands)
    found: Sequence[Value | None] = pull_back(tuple(cotangents))
    return found


def _vjp_as_function(
    function: Function,
    pull_back: PullBack,
    operands: list[Value],
    movable: list[int],
    rng: np.random.Generator,
) -> tuple[Function, list[Value], list[int]]:
    """Return the function that maps operands and cotangents to the cotangents of the movable."""
    outputs = function(operands)
    floating = [i for i, out in enumerate(outputs) if out.dtype in FLOATING]
    count = len(operands)

    def vjp_of_function(values: Sequence[Value]) -> tuple[Value, ...]:
        given = dict(zip(floating, values[count:], strict=True))
        cotangents = [given.get(i, _zeros(out.type)) for i, out in enumerate(outputs)]
        found = pull_back(function, values[:count], cotangents)
        return tuple(_known(found[i], operands[i].type) for i in movable)

    seeds = [_array(rng.normal(size=outputs[i].shape)) for i in floating]
    return (
        vjp_of_function,
        [*operands, *seeds],
        [*movable, *range(count, count + len(seeds))],
    )


def _zeros(type: ArrayType) -> Value:
    return Array(np.zeros(type.shape, type.dtype))


def _known(ct: Value | None, type: ArrayType) -> Value:
    return _zeros(type) if ct is None else ct


def _check_order(
    function: Function,
    pull_back: PullBack,
    operands: list[Value],
    movable: list[int],
    comparison: _Comparison,
) -> None:
    outputs = function(operands)
    for _ in range(DIRECTIONS):
        weights = [
            _array(comparison.rng.normal(size=out.shape))
            if out.dtype in FLOATING
            else _zeros(out.type)
            for out in outputs
        ]
        found = pull_back(function, operands, weights)
        for i in movable:
            if not operands[i].size:
                continue
            # One operand at a time: an error in a small derivative is not lost beside a large one.
            direction = comparison.rng.normal(size=operands[i].shape)
            ct = _data(_known(found[i], operands[i].type))
            terms = direction * ct
            expected = _slope(function, operands, i, direction, weights, comparison.step)
            comparison.require_equal(expected, float(np.sum(terms)), float(np.sum(np.abs(terms))))


def _data(x: Value) -> NDArray:
    return np.asarray(x)


def _array(data: Any) -> Value:
    return Array(np.asarray(data))


def _slope(
    function: Function,
    operands: list[Value],
    position: int,
    direction: NDArray,
    weights: Sequence[Value],
    step: float,
) -> float:
    """Return d/dt <weights, function(.. x + t direction ..)> by extrapolated differences."""

    def along(t: float) -> float:
        moved = list(operands)
        moved[position] = _array(_data(operands[position]) + t * direction)
        pairs = zip(weights, function(moved), strict=True)
        return float(sum(np.sum(_data(w) * _data(y)) for w, y in pairs if w.dtype in FLOATING))

    wide = (along(step) - along(-step)) / (2 * step)
    narrow = (along(step / 2) - along(-step / 2)) / step
    return (4 * narrow - wide) / 3


class _EagerRecorder:
    """Notes every primitive that is applied eagerly to ``watched`` or what follows from them."""

    def __init__(self, watched: Sequence[Value]) -> None:
        self.builder: Builder | None = None
        self.records: list[tuple[Primitive, tuple[Value, ...], tuple[Value, ...]]] = []
        self._tracked = {id(x) for x in watched}

    def tracks(self, value: Value) -> bool:
        return id(value) in self._tracked

    def record(
        self, primitive: Primitive, inputs: tuple[Value, ...], outputs: tuple[Value, ...]
    ) -> None:
        if any(map(self.tracks, inputs)):
            self.records.append((primitive, inputs, outputs))
            self._tracked.update(map(id, outputs))


def pull_back_eagerly(
    function: Function, operands: Sequence[Value], cotangents: Sequence[Value]
) -> list[Value | None]:
    """Return the cotangents of ``operands`` by applying ``vjp`` rules at once, last to first.

    A second, minimal differentiation engine: it shares nothing with ``autodiff`` but the rules,
    and checks that each rule returns cotangents of its operands' types.

    Raises:
        VjpCheckError: a rule returns a cotangent of a wrong type or number.
    """
    recorder = _EagerRecorder(operands)
    STACKS.recorders.append(recorder)
    try:
        outputs = function(operands)
    finally:
        STACKS.recorders.remove(recorder)
    found: dict[int, Value] = {}
    for out, ct in zip(outputs, cotangents, strict=True):
        _accumulate(found, out, ct)
    for primitive, inputs, results in reversed(recorder.records):
        if any(id(out) in found for out in results):
            _apply_rule(found, primitive, inputs, results)
    return [found.get(id(x)) for x in operands]


def _accumulate(found: dict[int, Value], x: Value, ct: Value) -> None:
    from pullback.primitives.elementwise import Add

    found[id(x)] = Add()(found[id(x)], ct) if id(x) in found else ct


def _apply_rule(
    found: dict[int, Value],
    primitive: Primitive,
    inputs: tuple[Value, ...],
    results: tuple[Value, ...],
) -> None:
    wanted = [i for i, x in enumerate(inputs) if primitive.is_differentiable(i, x.type)]
    if not wanted:
        return
    cotangents = tuple(found.get(id(out), _zeros(out.type)) for out in results)
    types = primitive.infer(*(x.type for x in inputs))
    several = isinstance(types, tuple)
    rule_args = (cotangents, results) if several else (cotangents[0], results[0])
    returned = primitive.vjp(*rule_args, *inputs)
    if len(returned) != len(inputs):
        raise VjpCheckError(
            f"vjp of {primitive.name} returns {len(returned)} cotangents for {len(inputs)} operands"
        )
    for i in wanted:
        ct = returned[i]
        if ct is not None:
            _accumulate(found, inputs[i], _as_operand_type(primitive, i, ct, inputs[i], results))


def _as_operand_type(
    primitive: Primitive, position: int, ct: Value, x: Value, results: tuple[Value, ...]
) -> Value:
    """Return ``ct`` summed to rank 0 where the operand was broadcast; otherwise check its type."""
    from pullback.primitives.reduce import ReduceSum

    if ct.type == x.type:
        return ct
    if not x.shape and ct.type == x.type.with_shape(results[0].shape):
        summed: Value = ReduceSum(tuple(range(ct.ndim)))(ct)
        return summed
    raise VjpCheckError(
        f"vjp of {primitive.name}: the cotangent of operand {position} is {ct.type}, expected "
        f"{x.type}"
    )


def check_types(primitive: Primitive, *args: Any) -> None:
    """Require that ``infer`` gives the types that ``evaluate`` returns, without any conversion.

    Args:
        primitive: What to check.
        args: Operands, as NumPy arrays.

    Raises:
        AssertionError: a shape, a dtype or the number of outputs differs; the message names both.
    """
    arrays = [np.asarray(x) for x in args]
    inferred = primitive.infer(*map(type_of, arrays))
    with np.errstate(all="ignore"):
        result = primitive.evaluate(*arrays)
    if isinstance(inferred, tuple) != isinstance(result, tuple):
        raise AssertionError(f"{primitive.name}: infer and evaluate differ in giving a tuple")
    expected = inferred if isinstance(inferred, tuple) else (inferred,)
    actual = tuple(
        type_of(np.asarray(x)) for x in (result if isinstance(result, tuple) else (result,))
    )
    if expected != actual:
        raise AssertionError(
            f"{primitive.name}: infer gives {', '.join(map(str, expected))}, evaluate gives "
            f"{', '.join(map(str, actual))}"
        )
