"""The transformations ``grad``, ``value_and_grad``, ``vjp``, ``jvp`` and ``linearize``, as in JAX.

Imports everything below; imported by ``pullback`` alone. Each runs the function once under a
``Recording`` and then passes over what was recorded. Start at ``value_and_grad``.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

from pullback import tree
from pullback.autodiff.cotangents import is_floating, ones, zeros
from pullback.autodiff.record import Recording
from pullback.errors import DifferentiationError
from pullback.program.value import Value
from pullback.trace.leaves import flatten_values, leaf_name, match_values
from pullback.tree import TreeDef

Function = Callable[..., Any]


def grad(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return the function that computes the gradient of ``f``.

    Args:
        f: Returns a floating scalar, or ``(scalar, aux)`` if ``has_aux``.
        argnums: Positions of the arguments to differentiate with respect to: trees of floating
            arrays. The gradient of a sparse array is one of its values, with the same indices.
        has_aux: Whether ``f`` returns something beside the scalar, which is passed on.

    Returns:
        A function of the same arguments. It returns a tree like the argument, or a tuple of trees
        if ``argnums`` is a sequence; with ``aux`` behind it if ``has_aux``.

    Raises:
        DifferentiationError: (when called) an argument is not floating, the result is not a
            floating scalar, or an operation on the way has no derivative.

    Cost: a small multiple of that of ``f``; keeps the intermediate values of ``f``.
    Source: Griewank & Walther 2008, "Evaluating Derivatives", ch. 3.2, reverse mode.

    Example:
        >>> grad(lambda x: x * x)(3.0)
        Array(6., f32)
    """
    compute = value_and_grad(f, argnums, has_aux)

    @functools.wraps(f)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, found = compute(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient


def value_and_grad(
    f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False
) -> Function:
    """Return the function that computes both ``f`` and its gradient.

    Args:
        f: Returns a floating scalar, or ``(scalar, aux)`` if ``has_aux``.
        argnums: Positions of the arguments to differentiate with respect to.
        has_aux: Whether ``f`` returns something beside the scalar, which is passed on.

    Returns:
        A function that returns ``(f(...), gradient)``; see ``grad``.

    Raises:
        DifferentiationError: see ``grad``.
    """

    @functools.wraps(f)
    def compute(*args: Any, **kwargs: Any) -> Any:
        run = Run(f, args, kwargs, argnums, has_aux, rule="grad")
        value = run.scalar()
        found = run.pull([ones(value.type)])
        return ((value, run.aux) if has_aux else value), run.like_arguments(found)

    return compute


def vjp(f: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Compute ``f(*primals)`` and return its pullback.

    Args:
        f: A function of trees of arrays.
        primals: Where to differentiate it.
        has_aux: Whether ``f`` returns ``(out, aux)``.

    Returns:
        ``(out, pullback)``, and ``aux`` behind them if ``has_aux``. ``pullback(ct)`` takes a tree
        like ``out`` to a tuple of cotangents, one tree for each of ``primals``. Where a leaf is
        not floating its cotangent is zeros of its own type, and the cotangent given is ignored; the
        indices of a sparse array are those of its cotangent too.

    Raises:
        TreeError, ShapeError, DTypeError: (from the pullback) ``ct`` is not like ``out``.
        DifferentiationError: (from the pullback) an operation on the way has no derivative.
    """
    run = Run(f, primals, {}, range(len(primals)), has_aux)

    def pullback(ct: Any) -> Any:
        cts = match_values(ct, "cotangent", run.out_tree, [y.type for y in run.outs])
        return run.like_arguments(run.pull(cts))

    out = run.out_tree.unflatten(run.outs)
    return (out, pullback, run.aux) if has_aux else (out, pullback)


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False) -> Any:
    """Compute ``f(*primals)`` and its directional derivative.

    Args:
        f: A function of trees of arrays.
        primals: Where to differentiate it; a tuple or list, one entry for each argument.
        tangents: The direction; trees like ``primals``. That of a leaf that is not floating is
            ignored.
        has_aux: Whether ``f`` returns ``(out, aux)``.

    Returns:
        ``(out, tangent of out)``, and ``aux`` behind them if ``has_aux``.

    Raises:
        TreeError, ShapeError, DTypeError: ``tangents`` is not like ``primals``.
        DifferentiationError: an operation on the way has no derivative.

    Cost: a small multiple of that of ``f``.
    """
    run = Run(f, tuple(primals), {}, range(len(primals)), has_aux)
    out, pushed = run.out_tree.unflatten(run.outs), run.push_tree(tangents)
    return (out, pushed, run.aux) if has_aux else (out, pushed)


def linearize(f: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Compute ``f(*primals)`` and return the linear map of its tangents.

    Args:
        f: A function of trees of arrays.
        primals: Where to differentiate it.
        has_aux: Whether ``f`` returns ``(out, aux)``.

    Returns:
        ``(out, f_jvp)``, and ``aux`` behind them if ``has_aux``: ``f_jvp(*tangents)`` is the
        tangent of ``out``, without computing ``f`` again.

    Raises:
        TreeError, ShapeError, DTypeError, DifferentiationError: (from ``f_jvp``) as ``jvp``.
    """
    run = Run(f, primals, {}, range(len(primals)), has_aux)

    def f_jvp(*tangents: Any) -> Any:
        return run.push_tree(tangents)

    out = run.out_tree.unflatten(run.outs)
    return (out, f_jvp, run.aux) if has_aux else (out, f_jvp)


class Run:
    """One call of a function that was recorded, to be differentiated.

    Attributes:
        leaves: The leaves of the arguments in ``argnums``, watched if they are floating.
        outs: The leaves of the result.
        out_tree: The structure of the result.
        aux: What the function returned beside it.
    """

    def __init__(
        self,
        f: Function,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        argnums: int | Sequence[int],
        has_aux: bool = False,
        rule: str | None = None,
    ) -> None:
        """Call ``f``; ``rule`` refuses arguments that are not floating, and is named then."""
        self.recording = Recording()
        self.leaves: list[Value] = []
        self._trees: list[TreeDef] = []
        self._is_sequence = not isinstance(argnums, int)
        call_args = [*args]
        for position in _positions(argnums, len(args)):
            call_args[position] = self._watch(position, args[position], rule)
        with self.recording:
            result = f(*call_args, **kwargs)
        self.aux = None
        if has_aux:
            result, self.aux = _split_aux(result)
        self.outs, self.out_tree = flatten_values(result, "result")

    def _watch(self, position: int, argument: Any, rule: str | None) -> Any:
        name = f"argument {position}"
        values, treedef = flatten_values(argument, name)
        carried = _carried(treedef)
        watched = []
        for i, x in enumerate(values):
            if is_floating(x.type):
                watched.append(self.recording.watch_copy(x))
            elif rule is None or (rule == "grad" and i in carried):
                watched.append(x)
            else:
                mend = "Cast it with `.astype('float32')`"
                if i in carried:
                    mend = "Let the values alone be the argument, `lambda v: f(x.with_values(v))`"
                raise DifferentiationError(
                    f"{rule} with respect to {leaf_name(name, treedef, i)} of type {x.type} is not "
                    f"defined: only floating arrays have a derivative. {mend}, or choose other "
                    "arguments with `argnums`"
                )
        self.leaves += watched
        self._trees.append(treedef)
        return treedef.unflatten(watched)

    def scalar(self) -> Value:
        """The only output.

        Raises:
            DifferentiationError: there are several, or it is not a floating scalar.
        """
        if len(self.outs) == 1 and not self.outs[0].shape and is_floating(self.outs[0].type):
            return self.outs[0]
        types = self.out_tree.unflatten([str(y.type) for y in self.outs])
        raise DifferentiationError(
            f"grad needs a function that returns a floating scalar, got {types}. Sum it, or use "
            "`jacrev` or `vjp`; set `has_aux` if the function returns more than the scalar"
        )

    def pull(self, cts: Sequence[Value]) -> list[Value]:
        """Cotangents of the leaves, from those of the outputs."""
        wanted = [x for x in self.leaves if is_floating(x.type)]
        found = iter(self.recording.backward(zip(self.outs, cts, strict=True), wanted))
        values = [next(found) if is_floating(x.type) else None for x in self.leaves]
        return _fill(self.leaves, values, _all_carried(self._trees))

    def push(self, tangents: Sequence[Value]) -> list[Value]:
        """Tangents of the outputs, from those of the leaves."""
        pairs = zip(self.leaves, tangents, strict=True)
        moving = [(x, t) for x, t in pairs if is_floating(x.type)]
        found = self.recording.forward(moving, self.outs)
        return _fill(self.outs, found, _carried(self.out_tree))

    def push_tree(self, tangents: Sequence[Any]) -> Any:
        """The tangent of the result, from a sequence of trees like the arguments."""
        if len(tangents) != len(self._trees):
            raise DifferentiationError(
                f"there are {len(self._trees)} primals but {len(tangents)} tangents"
            )
        types = iter([x.type for x in self.leaves])
        flat: list[Value] = []
        for i, (tangent, treedef) in enumerate(zip(tangents, self._trees, strict=True)):
            expected = [next(types) for _ in range(treedef.num_leaves)]
            flat += match_values(tangent, f"tangent {i}", treedef, expected)
        return self.out_tree.unflatten(self.push(flat))

    def like_arguments(self, values: Sequence[Any]) -> Any:
        """Values for the leaves as trees like the arguments: one, or a tuple."""
        rest = iter(values)
        trees = tuple(
            treedef.unflatten([next(rest) for _ in range(treedef.num_leaves)])
            for treedef in self._trees
        )
        return trees if self._is_sequence else trees[0]


def _fill(
    like: Sequence[Value], values: Sequence[Value | None], carried: frozenset[int]
) -> list[Value]:
    """Derivatives: zeros where there is none, and what is carried along as it is."""
    return [
        x if i in carried else zeros(x.type) if v is None else v
        for i, (x, v) in enumerate(zip(like, values, strict=True))
    ]


@functools.lru_cache(maxsize=256)
def _carried(treedef: TreeDef) -> frozenset[int]:
    """Which leaves every derivative has as they are: the indices of sparse arrays.

    A class of nodes says so in ``__pullback_carried__``, the numbers of such children.
    """
    found: list[bool] = []

    def walk(spec: tree.Spec, is_carried: bool) -> None:
        if spec is tree.LEAF:
            found.append(is_carried)
            return
        cls, _, children = spec
        carried = getattr(cls, "__pullback_carried__", ())
        for i, child in enumerate(children):
            walk(child, is_carried or i in carried)

    walk(treedef.spec, False)
    return frozenset(i for i, is_carried in enumerate(found) if is_carried)


def _all_carried(treedefs: Sequence[TreeDef]) -> frozenset[int]:
    """As ``_carried``, for the leaves of several trees in a row."""
    found: set[int] = set()
    start = 0
    for treedef in treedefs:
        found.update(start + i for i in _carried(treedef))
        start += treedef.num_leaves
    return frozenset(found)


def _positions(argnums: int | Sequence[int], count: int) -> list[int]:
    found = []
    for given in [argnums] if isinstance(argnums, int) else argnums:
        position = operator.index(given)
        if not -count <= position < count:
            raise DifferentiationError(
                f"argnums names argument {position}, but the function was called with {count} "
                "positional arguments; keyword arguments cannot be differentiated"
            )
        found.append(position % count)
    return found


def _split_aux(result: Any) -> tuple[Any, Any]:
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise DifferentiationError(
            "with has_aux the function must return a pair (out, aux), got "
            f"{tree.describe(result)}: return both, or leave out has_aux"
        )
    return result[0], result[1]
