"""Full derivatives: ``jacfwd``, ``jacrev``, ``hessian`` and ``hvp``, with JAX's conventions.

Imports ``api`` and ``control``. The loop over basis vectors is one ``scan``, in compiled code too;
start at ``jacrev``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pullback.api import Function, Run, grad, jvp
from pullback.autodiff.cotangents import fill, is_floating
from pullback.control import scan
from pullback.errors import DifferentiationError
from pullback.primitives.cast import Convert
from pullback.primitives.comparison import Eq
from pullback.primitives.elementwise import Sub
from pullback.primitives.shape import Iota, Reshape, Slice, Transpose
from pullback.program.value import Array, Value
from pullback.types import ArrayType, int32


def jacrev(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return the function that computes the Jacobian of ``f`` in reverse mode, row by row.

    Args:
        f: Returns a tree of floating arrays, or ``(out, aux)`` if ``has_aux``.
        argnums: Positions of the arguments to differentiate with respect to.
        has_aux: Whether ``f`` returns something beside the result, which is passed on.

    Returns:
        A function of the same arguments. It returns a tree like the result of ``f`` of trees like
        the argument (a tuple of them if ``argnums`` is a sequence); each leaf is an array
        ``[*shape of the result, *shape of the argument]``. With ``aux`` behind it if ``has_aux``.

    Raises:
        DifferentiationError: (when called) an argument or a result is not floating, or an
            operation on the way has no derivative.

    Cost: one forward pass, and one backward pass for each element of the result.
    """

    @functools.wraps(f)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        run = Run(f, args, kwargs, argnums, has_aux, rule="jacrev")
        _require_floating("jacrev", run)
        rows = over_basis(run.pull, [y.type for y in run.outs])
        blocks = [split_blocks(column, [y.type for y in run.outs]) for column in rows]
        found = run.out_tree.unflatten(
            [run.like_arguments([column[i] for column in blocks]) for i in range(len(run.outs))]
        )
        return (found, run.aux) if has_aux else found

    return jacobian


jacobian = jacrev


def jacfwd(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return the function that computes the Jacobian of ``f`` in forward mode, column by column.

    Args:
        f: Returns a tree of floating arrays, or ``(out, aux)`` if ``has_aux``.
        argnums: Positions of the arguments to differentiate with respect to.
        has_aux: Whether ``f`` returns something beside the result, which is passed on.

    Returns:
        A function that returns what that of ``jacrev`` does.

    Raises:
        DifferentiationError: (when called) as for ``jacrev``.

    Cost: one forward pass of ``f``, and one of its tangents for each element of the arguments.
    """

    @functools.wraps(f)
    def jacobian(*args: Any, **kwargs: Any) -> Any:
        run = Run(f, args, kwargs, argnums, has_aux, rule="jacfwd")
        _require_floating("jacfwd", run)
        types = [x.type for x in run.leaves]
        columns = over_basis(run.push, types)
        found = run.out_tree.unflatten(
            [
                run.like_arguments(
                    [
                        _move_back(b, x.ndim)
                        for b, x in zip(split_blocks(column, types), types, strict=True)
                    ]
                )
                for column in columns
            ]
        )
        return (found, run.aux) if has_aux else found

    return jacobian


def hessian(f: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return the function that computes the second derivatives of ``f``.

    Args:
        f: Returns a tree of floating arrays, mostly one scalar, or ``(out, aux)`` if ``has_aux``.
        argnums: Positions of the arguments to differentiate with respect to.
        has_aux: Whether ``f`` returns something beside the result, which is passed on.

    Returns:
        A function that returns ``jacfwd(jacrev(f))``: for one array a leaf
        ``[*shape of the result, *shape of the argument, *shape of the argument]``.

    Raises:
        DifferentiationError: (when called) as for ``jacrev``.

    Cost: one gradient's tangent for each element of the arguments.
    """
    return jacfwd(jacrev(f, argnums, has_aux), argnums, has_aux)


def hvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Return the product of the Hessian of a scalar function with a vector.

    Args:
        f: Returns a floating scalar.
        primals: Where; a tuple or list, one entry for each argument.
        tangents: The vector; trees like ``primals``.

    Returns:
        A tree like the argument; a tuple of them if there are several arguments.

    Raises:
        DifferentiationError: as for ``grad``.
        TreeError, ShapeError, DTypeError: ``tangents`` is not like ``primals``.

    Cost: a small multiple of that of ``f``; the Hessian is not formed.
    Source: Pearlmutter 1994, "Fast exact multiplication by the Hessian".
    """
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(grad(f, argnums), primals, tangents)[1]


def _require_floating(rule: str, run: Run) -> None:
    for y in run.outs:
        if not is_floating(y.type):
            raise DifferentiationError(
                f"{rule} needs a function that returns floating arrays, got {y.type}"
            )


def over_basis(
    linear: Callable[[Sequence[Value]], list[Value]], types: Sequence[ArrayType]
) -> list[Value]:
    """Apply a linear map of arrays of ``types`` to each vector of their standard basis.

    Returns:
        The images, stacked along a new first axis of length ``sum of the sizes``.
    """
    if sum(t.size for t in types) == 1:
        single = [fill(t.size, t) for t in types]
        return [Reshape((1, *y.shape))(y) for y in linear(single)]
    positions = Iota((sum(t.size for t in types),), int32, 0)()

    def step(_: None, position: Value) -> tuple[None, list[Value]]:
        return None, linear(_basis_vector(position, types))

    _, stacked = scan(step, None, positions)
    return [*stacked]


def _basis_vector(position: Value, types: Sequence[ArrayType]) -> list[Value]:
    """Arrays of ``types`` that hold zeros, and a one at ``position`` counted through all."""
    vector: list[Value] = []
    offset = 0
    for t in types:
        inside = Sub()(position, Array(np.asarray(offset, np.int32)))
        hot = Convert(t.dtype)(Eq()(Iota((t.size,), int32, 0)(), inside))
        vector.append(Reshape(t.shape)(hot))
        offset += t.size
    return vector


def split_blocks(stacked: Value, types: Sequence[ArrayType]) -> list[Value]:
    """Cut the first axis into one part for each of ``types``, and give it that shape."""
    parts: list[Value] = []
    offset, rest = 0, stacked.shape[1:]
    for t in types:
        starts, stops = (offset, *(0 for _ in rest)), (offset + t.size, *rest)
        part = Slice(starts, stops, (1,) * stacked.ndim)(stacked)
        parts.append(Reshape((*t.shape, *rest))(part))
        offset += t.size
    return parts


def _move_back(x: Value, count: int) -> Value:
    """Move the first ``count`` axes behind the others."""
    moved: Value = Transpose((*range(count, x.ndim), *range(count)))(x)
    return moved
