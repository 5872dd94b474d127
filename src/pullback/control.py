"""Structured control flow: ``cond``, ``switch``, ``scan``, ``while_loop``, ``fori_loop``, ``map``.

Imports everything up to ``autodiff``. The names and arguments are JAX's. Each function traces its
bodies once and binds one equation, also in eager mode: a tape sees a loop as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from pullback import tree
from pullback.autodiff import control as _rules  # noqa: F401  # installs the derivative rules
from pullback.errors import DTypeError, PullbackError, ShapeError, TreeError
from pullback.primitives.cast import Convert
from pullback.primitives.comparison import Ne
from pullback.primitives.control import Cond, Scan, WhileLoop
from pullback.primitives.elementwise import Clip
from pullback.primitives.shape import Concatenate, Reshape, Reverse, Slice
from pullback.program.core import Var
from pullback.program.value import Array, Value, as_value
from pullback.records import dataclass
from pullback.trace.body import (
    Traced,
    agree,
    flatten_values,
    mark_weak,
    mismatch,
    trace_body,
    weak_target,
)
from pullback.trace.stage import Staged, unify
from pullback.trace.unroll import unrolled_scan
from pullback.types import INTEGER, ArrayType, bool_, int32


def cond(
    pred: Any, true_fun: Callable[..., Any], false_fun: Callable[..., Any], *operands: Any
) -> Any:
    """Return ``true_fun(*operands)`` if ``pred`` holds, else ``false_fun(*operands)``.

    Both functions are traced; only one is computed. Variables that either assigns are updated.

    Args:
        pred: Scalar ``[]``, boolean or a number (which holds unless it is zero).
        true_fun: Called on tracers of the operands.
        false_fun: Called on tracers of the operands; returns what ``true_fun`` does, in structure
            and types.
        operands: Trees of arrays.

    Raises:
        ShapeError: ``pred`` has axes, or the results differ in a shape.
        DTypeError: the results differ in a dtype.
        TreeError: the results differ in structure.

    Differentiation: of the branch taken, in both modes; ``pred`` has no derivative.
    Cost: the branch taken.

    Example:
        >>> cond(x > 0, lambda x: x, lambda x: x * 0.01, x)
    """
    predicate = _scalar("cond", "the predicate", pred)
    if predicate.dtype != bool_:
        predicate = Ne()(predicate, Array(predicate.dtype.type(0).reshape(())))
    index = Convert(int32)(predicate)
    return _select("cond", ("false_fun", "true_fun"), index, (false_fun, true_fun), operands)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """Return ``branches[index](*operands)``; an index outside the list is clamped to it.

    Every branch is traced; only one is computed. Variables that one assigns are updated.

    Args:
        index: Integer scalar ``[]``.
        branches: At least one function; all return the same structure and types.
        operands: Trees of arrays.

    Raises:
        ShapeError: ``index`` has axes, or the results differ in a shape.
        DTypeError: ``index`` is no integer, or the results differ in a dtype.
        TreeError: the results differ in structure.
        ValueError: there are no branches.

    Differentiation: of the branch taken, in both modes.
    Cost: the branch taken.
    """
    number = _scalar("switch", "the index", index)
    if number.dtype not in INTEGER:
        raise DTypeError(f"switch: the index is {number.type}, expected an integer")
    if not branches:
        raise ValueError("switch: needs at least one branch")
    if len(branches) == 1:
        return branches[0](*operands)
    last = min(len(branches) - 1, int(np.iinfo(number.dtype).max))
    clamped = Clip()(number, *(Array(number.dtype.type(n).reshape(())) for n in (0, last)))
    names = [f"branch {i}" for i in range(len(branches))]
    return _select("switch", names, Convert(int32)(clamped), branches, operands)


def _select(
    what: str,
    names: Sequence[str],
    index: Value,
    branches: Sequence[Callable[..., Any]],
    operands: tuple[Any, ...],
) -> Any:
    leaves, structure = flatten_values(operands)
    types, weak = [x.type for x in leaves], [x.weak for x in leaves]
    traced = agree(what, names, [trace_body(f, structure, types, weak) for f in branches])
    staged = unify([t.staged for t in traced])
    bound = Cond(tuple(s.program for s in staged))(index, *leaves, *staged[0].operands())
    results = staged[0].assign(bound)
    mark_weak(results, [all(flags) for flags in zip(*(t.staged.weak for t in traced), strict=True)])
    return traced[0].structure.unflatten(results)


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
    unroll: int | bool = 1,
) -> tuple[Any, Any]:
    """Apply ``carry, y = f(carry, x)`` to each slice ``x`` of ``xs``; return the carry and all ys.

    Args:
        f: Returns the next carry, of the structure and types of ``init``, and anything to stack.
            Variables that it assigns are carried from step to step and updated at the end.
        init: Tree of arrays, the first carry.
        xs: Tree of arrays ``[n, ...]``, sliced along their first axis; None: no input.
        length: ``n``; needed when ``xs`` has no leaves. Static.
        reverse: Go from the last slice to the first; ``ys[i]`` still belongs to ``xs[i]``.
        unroll: How many steps an iteration of the compiled loop makes; True: all. Static.

    Returns:
        The last carry, and the tree of ``y`` with a leading axis of length ``n``.

    Raises:
        ShapeError: ``xs`` disagree in length, or ``f`` changes the shape of a leaf of the carry.
        DTypeError: ``f`` changes the dtype of a leaf of the carry.
        TreeError: ``f`` changes the structure of the carry, or returns no pair.

    Differentiation: both modes, any order. Reverse mode keeps what the backward steps need of
    every step; compiled, each step is computed once.
    Cost: ``n`` times ``f``.
    Source: JAX ``lax.scan``.

    Example:
        >>> scan(lambda total, x: (total + x, total), 0.0, pb.asarray([1.0, 2.0, 3.0]))
        (Array(6.0, f32), Array([0., 1., 3.], f32))
    """
    return _scan(_Names("scan", "carry"), f, init, xs, length, reverse, unroll)


class _Names(NamedTuple):
    """What messages call a loop and its carry; the first ``hidden`` path steps are left out."""

    loop: str
    carry: str
    hidden: int = 0


def _scan(
    names: _Names,
    f: Callable[[Any, Any], Any],
    init: Any,
    xs: Any,
    length: int | None,
    reverse: bool,
    unroll: int | bool,
) -> tuple[Any, Any]:
    carry, carry_structure = flatten_values(init)
    scanned, scanned_structure = flatten_values(xs)
    length = _length(names.loop, scanned, scanned_structure, length)
    slices = [x.type.with_shape(x.shape[1:]) for x in scanned]
    args = tree.structure((init, xs))

    def step(state: Any, x: Any) -> tuple[Any, Any]:
        result = f(state, x)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise TreeError(
                f"{names.loop}: the body must return a pair (carry, y), it returned "
                f"{tree.describe(result)}"
            )
        _check_structure(names, carry_structure, state, result[0])
        return result

    def traced_with(types: list[ArrayType], weak: list[bool]) -> Traced:
        return trace_body(step, args, [*types, *slices], [*weak, *(x.weak for x in scanned)])

    traced, carry = _settle(traced_with, carry)
    _check_types(names, carry, carry_structure, traced)
    loop = _Loop.of(unify([traced.staged], carry=True), len(carry), len(scanned))
    primitive = Scan(
        loop.programs[0], length, reverse, len(loop.constants), len(carry) + len(loop.updated)
    )
    operands = (*loop.operands(carry), *scanned)
    steps = length if unroll is True else int(unroll)
    results = loop.assign(unrolled_scan(primitive, operands, steps), len(carry))
    mark_weak(results[: len(carry)], traced.staged.weak[: len(carry)])
    # The structure of (carry, y) with stacked leaves for y: y may hold no leaf at all.
    final: tuple[Any, Any] = traced.structure.unflatten(results)
    return final


def while_loop(
    cond_fun: Callable[[Any], Any], body_fun: Callable[[Any], Any], init_val: Any
) -> Any:
    """Apply ``val = body_fun(val)`` for as long as ``cond_fun(val)`` holds.

    Args:
        cond_fun: Returns a boolean scalar ``[]``; assigns no variables.
        body_fun: Returns the next value, of the structure and types of ``init_val``. Variables
            that it assigns are carried from step to step and updated at the end.
        init_val: Tree of arrays.

    Raises:
        ShapeError: ``body_fun`` changes the shape of a leaf, or the condition has axes.
        DTypeError: ``body_fun`` changes the dtype of a leaf, or the condition is not boolean.
        TreeError: ``body_fun`` changes the structure, or the condition is no single array.

    Differentiation: forward mode (``jvp``). Reverse mode raises DifferentiationError: use
    ``scan``, or ``fori_loop`` with static bounds.
    Cost: the iterations made.
    Source: JAX ``lax.while_loop``.
    """
    names = _Names("while_loop", "val")
    carry, structure = flatten_values(init_val)
    args = tree.structure((init_val,))

    def step(value: Any) -> Any:
        result = body_fun(value)
        _check_structure(names, structure, value, result)
        return result

    traced, carry = _settle(lambda types, weak: trace_body(step, args, types, weak), carry)
    _check_types(names, carry, structure, traced)
    weak = [x.weak for x in carry]
    condition = trace_body(cond_fun, args, [x.type for x in carry], weak)
    _check_condition(condition)
    loop = _Loop.of(unify([traced.staged, condition.staged], carry=True), len(carry), 0)
    body, test = loop.programs
    test = test.with_equations(test.equations, test.outputs[:1])
    bound = WhileLoop(test, body, len(loop.constants))(*loop.operands(carry))
    results = loop.assign(bound, len(carry))
    mark_weak(results, traced.staged.weak)
    return structure.unflatten(results)


def fori_loop(
    lower: Any,
    upper: Any,
    body_fun: Callable[[Any, Any], Any],
    init_val: Any,
    *,
    unroll: int | bool = 1,
) -> Any:
    """Apply ``val = body_fun(i, val)`` for ``i`` from ``lower`` to ``upper - 1``.

    Args:
        lower: Integer scalar ``[]``.
        upper: Integer scalar ``[]``.
        body_fun: Returns the next value, of the structure and types of ``init_val``.
        init_val: Tree of arrays.
        unroll: As in ``scan``; only for bounds that have values. Static.

    Raises:
        ValueError: ``unroll`` is given and a bound is traced.
        ShapeError: a bound has axes, or ``body_fun`` changes the shape of a leaf.
        DTypeError: a bound is no integer, or ``body_fun`` changes the dtype of a leaf.
        TreeError: ``body_fun`` changes the structure.

    Differentiation: as ``scan`` when both bounds have values while the loop is traced (Python
    integers, arrays); as ``while_loop`` (forward mode only) when one is traced.
    Cost: ``upper - lower`` times ``body_fun``.
    """
    start, stop = _bound("lower", lower), _bound("upper", upper)
    if isinstance(start, Array) and isinstance(stop, Array):
        length = max(0, int(stop) - int(start))
        names = _Names("fori_loop", "val", hidden=1)

        def step(carry: Any, _: None) -> tuple[Any, None]:
            i, value = carry
            return (i + 1, body_fun(i, value)), None

        (_, final), _ = _scan(names, step, (start, init_val), None, length, False, unroll)
        return final
    if unroll != 1:
        raise ValueError("fori_loop: only a loop whose bounds have values can be unrolled")
    if start.dtype != stop.dtype and not (start.weak or stop.weak):
        raise DTypeError(f"fori_loop: the bounds are {start.type} and {stop.type}, expected one")
    if start.weak:
        start = Convert(stop.dtype)(start)
    _, final = while_loop(
        lambda carry: carry[0] < stop,
        lambda carry: (carry[0] + 1, body_fun(*carry)),
        (start, init_val),
    )
    return final


def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """Return the results of ``f`` on each slice of ``xs``, stacked.

    Args:
        f: Takes a slice, returns a tree of arrays.
        xs: Tree of arrays ``[n, ...]``, sliced along their first axis.

    Raises:
        ShapeError: ``xs`` disagree in length.

    Differentiation: as ``scan``.
    Cost: ``n`` times ``f``, one after the other.
    """
    _, ys = _scan(_Names("map", "carry"), lambda _, x: (None, f(x)), None, xs, None, False, 1)
    return ys


def associative_scan(
    fn: Callable[[Any, Any], Any], elems: Any, reverse: bool = False, axis: int = 0
) -> Any:
    """Return the running results ``e[0]``, ``fn(e[0], e[1])``, … of an associative function.

    Args:
        fn: Takes two trees of equal structure, whose leaves hold many elements along ``axis``,
            and combines them element by element. Associative.
        elems: Tree of arrays with ``n`` elements along ``axis``.
        reverse: Combine from the last element to the first: ``e[n-1]``, ``fn(e[n-1], e[n-2])``, …
        axis: Which axis; negative counts from the end of each array.

    Raises:
        ShapeError: the arrays disagree in length along ``axis``.

    Differentiation: through the operations of ``fn``, in both modes.
    Cost: at most ``2n`` combinations in ``2 log2 n`` calls of ``fn``.
    Source: Blelloch 1990, "Prefix sums and their applications", CMU-CS-90-190.
    """
    leaves, structure = flatten_values(elems)
    axes = [axis + x.ndim if axis < 0 else axis for x in leaves]
    for x, a in zip(leaves, axes, strict=True):
        if not 0 <= a < x.ndim:
            raise ShapeError(f"associative_scan: an array {x.type} has no axis {axis}")
    if len({x.shape[a] for x, a in zip(leaves, axes, strict=True)}) > 1:
        raise ShapeError(
            f"associative_scan: the arrays disagree in length along axis {axis}: "
            f"{', '.join(str(x.type) for x in leaves)}"
        )
    if not leaves:
        return elems

    def combine(first: list[Value], second: list[Value]) -> list[Value]:
        return flatten_values(fn(structure.unflatten(first), structure.unflatten(second)))[0]

    flip = [Reverse((a,)) for a in axes]
    if reverse:
        leaves = [r(x) for r, x in zip(flip, leaves, strict=True)]
    results = _prefixes(combine, leaves, axes)
    if reverse:
        results = [r(x) for r, x in zip(flip, results, strict=True)]
    return structure.unflatten(results)


def _prefixes(
    combine: Callable[[list[Value], list[Value]], list[Value]],
    elems: list[Value],
    axes: list[int],
) -> list[Value]:
    """All prefixes: those of odd position from the combined pairs, then those of even position."""
    n = elems[0].shape[axes[0]]
    if n < 2:
        return elems

    def part(xs: list[Value], start: int, stop: int, stride: int = 1) -> list[Value]:
        return [_cut(x, a, start, stop, stride) for x, a in zip(xs, axes, strict=True)]

    pairs = combine(part(elems, 0, n - 1, 2), part(elems, 1, n, 2))
    odd = _prefixes(combine, pairs, axes)
    even = part(elems, 0, 1)
    if n > 2:
        later = combine(part(odd, 0, (n - 1) // 2), part(elems, 2, n, 2))
        even = [Concatenate(a)(x, y) for x, y, a in zip(even, later, axes, strict=True)]
    return [_alternate(x, y, a) for x, y, a in zip(even, odd, axes, strict=True)]


def _cut(x: Value, axis: int, start: int, stop: int, stride: int) -> Any:
    starts, stops, strides = [0] * x.ndim, [*x.shape], [1] * x.ndim
    starts[axis], stops[axis], strides[axis] = start, stop, stride
    return Slice(tuple(starts), tuple(stops), tuple(strides))(x)


def _alternate(even: Value, odd: Value, axis: int) -> Any:
    """``even[0], odd[0], even[1], …`` along ``axis``; ``even`` may be one longer."""
    pairs = odd.shape[axis]

    def spread(x: Value) -> Any:
        return Reshape((*x.shape[: axis + 1], 1, *x.shape[axis + 1 :]))(x)

    both = Concatenate(axis + 1)(spread(_cut(even, axis, 0, pairs, 1)), spread(odd))
    joined = Reshape((*odd.shape[:axis], 2 * pairs, *odd.shape[axis + 1 :]))(both)
    if even.shape[axis] == pairs:
        return joined
    return Concatenate(axis)(joined, _cut(even, axis, pairs, pairs + 1, 1))


@dataclass(frozen=True, eq=False, slots=True)
class _Loop:
    """Bodies whose inputs stand in a loop's order: constants, carry, variables, slices."""

    programs: tuple[Any, ...]
    constants: tuple[Value, ...]
    updated: tuple[Any, ...]
    staged: Staged

    @classmethod
    def of(cls, staged: Sequence[Staged], carry: int, slices: int) -> _Loop:
        """Reorder unified bodies: inputs are the carry, slices, variables read, captures."""
        first = staged[0]
        updated = {id(v) for v in first.updates}
        kept = [v for v in first.reads if id(v) not in updated]
        programs = []
        for position, s in enumerate(staged):
            inputs, count = s.program.inputs, s.num_args
            outside = dict(zip(_ids(s.reads, s.captures), inputs[count:], strict=True))
            ordered: tuple[Var, ...] = (
                *(outside[i] for i in _ids(kept, s.captures)),
                *inputs[:carry],
                *(outside[i] for i in _ids(s.updates)),
                *inputs[carry : carry + slices],
            )
            outputs = s.program.outputs
            if position == 0:
                results = s.num_results
                outputs = (*outputs[:carry], *outputs[results:], *outputs[carry:results])
            programs.append(replace(s.program, inputs=ordered, outputs=outputs))
        constants = (*(v.read() for v in kept), *first.captures)
        return cls(tuple(programs), constants, first.updates, first)

    def operands(self, carry: Sequence[Value]) -> tuple[Value, ...]:
        """Constants, carry, and what the carried variables hold now."""
        return (*self.constants, *carry, *(v.read() for v in self.updated))

    def assign(self, outputs: Sequence[Value], carry: int) -> tuple[Value, ...]:
        """Write the carried variables back; return the carry and the stacked outputs."""
        after = carry + len(self.updated)
        for variable, value in zip(self.updated, outputs[carry:after], strict=True):
            variable.assign(value)
        return (*outputs[:carry], *outputs[after:])


def _ids(*groups: Sequence[Any]) -> list[int]:
    return [id(x) for group in groups for x in group]


def _settle(
    trace: Callable[[list[ArrayType], list[bool]], Traced], carry: list[Value]
) -> tuple[Traced, list[Value]]:
    """Trace a body, first converting weak leaves of the carry to the dtypes it returns."""
    carry = list(carry)
    while True:
        traced = trace([x.type for x in carry], [x.weak for x in carry])
        settled = True
        for i, x in enumerate(carry):
            dtype = weak_target(x.dtype, traced.types[i].dtype) if x.weak else x.dtype
            if dtype != x.dtype:
                carry[i] = Convert(dtype)(x)
                settled = False
        if settled:
            return traced, carry


def _check_structure(names: _Names, expected: tree.TreeDef, before: Any, after: Any) -> None:
    if tree.structure(after) != expected:
        if names.hidden:
            before, after = before[1], after[1]
        raise TreeError(
            f"{names.loop}: the body must keep the structure of {names.carry}: "
            f"{tree.describe(before)} in, {tree.describe(after)} out"
        )


def _check_types(
    names: _Names, carry: Sequence[Value], structure: tree.TreeDef, traced: Traced
) -> None:
    marked = structure.unflatten(range(structure.num_leaves))
    for (path, i), x in zip(tree.leaves_with_path(marked), carry, strict=True):
        given = traced.types[i]
        if given != x.type:
            where = names.carry + "".join(path[names.hidden :])
            message = (
                f"{names.loop}: the body must keep the types of {names.carry}: {where}: {x.type} "
                f"in, {given} out"
            )
            raise mismatch(message, x.type, given)


def _check_condition(condition: Traced) -> None:
    if condition.structure != tree.structure(0):
        given = tree.describe(condition.structure.unflatten(condition.types), str)
        raise TreeError(f"while_loop: the condition returns {given}, expected one boolean")
    (type,) = condition.types
    expected = ArrayType((), bool_)
    if type.shape:
        raise ShapeError(f"while_loop: the condition returns {type}, expected {expected}")
    if type != expected:
        raise DTypeError(
            f"while_loop: the condition returns {type}, expected {expected}; compare, as in "
            "`x != 0`"
        )
    if condition.staged.updates:
        (variable, *_) = condition.staged.updates
        raise PullbackError(
            f"while_loop: the condition assigns variable {variable.name!r}; assign in the body"
        )


def _length(
    loop: str, scanned: Sequence[Value], structure: tree.TreeDef, length: int | None
) -> int:
    marked = structure.unflatten(range(structure.num_leaves))
    listed = [(f"xs{''.join(path)}", scanned[i].type) for path, i in tree.leaves_with_path(marked)]
    for path, type in listed:
        if not type.shape:
            raise ShapeError(f"{loop}: {path} is {type}, which has no leading axis to go along")
    lengths: set[int] = {type.shape[0] for _, type in listed}
    if length is not None:
        lengths.add(int(length))
    if not lengths:
        raise ShapeError(f"{loop}: `xs` has no arrays, so `length` must be given")
    if len(lengths) > 1:
        given = "" if length is None else f", with length={length}"
        raise ShapeError(
            f"{loop}: the leading axes disagree: "
            f"{', '.join(f'{path} is {type}' for path, type in listed)}{given}"
        )
    (steps,) = lengths
    if steps < 0:
        raise ShapeError(f"{loop}: length={steps} is negative")
    return steps


def _scalar(what: str, which: str, x: Any) -> Value:
    value = as_value(x)
    if value.shape:
        raise ShapeError(f"{what}: {which} is {value.type}, expected a scalar")
    return value


def _bound(which: str, x: Any) -> Value:
    value = _scalar("fori_loop", f"the {which} bound", x)
    if value.dtype not in INTEGER:
        raise DTypeError(f"fori_loop: the {which} bound is {value.type}, expected an integer")
    return value
