"""``jax.vmap``, as a compiled loop over the axis: right, and not vectorised.

Imports ``control``, ``ops`` and ``tree``. Start at ``vmap``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pullback import control, ops, tree
from pullback.compat.jax.narrow import narrow_leaves
from pullback.errors import ShapeError, TreeError
from pullback.program.value import as_value

#: An axis, or None for what all calls share; or a tree of these.
Axes = Any


def vmap(
    fun: Callable[..., Any], in_axes: Axes = 0, out_axes: Axes = 0, axis_size: int | None = None
) -> Callable[..., Any]:
    """Return ``fun`` applied along an axis of its arguments, in one loop of a program.

    Args:
        fun: A function of trees of arrays.
        in_axes: The axis for all positional arguments, or one for each: a number, None for what
            every call gets as it is, or a tree of these. Keyword arguments go along axis 0.
        out_axes: Where the axis stands in the result: a number, or a tree of numbers.
        axis_size: Its length, where no argument tells.

    Returns:
        A function of the same arguments.

    Raises:
        TreeError: (when called) ``in_axes`` or ``out_axes`` do not fit the arguments, the result.
        ShapeError: (when called) the axes have different lengths, or there is none.

    Differentiation: as ``scan``.
    Cost: one call of ``fun`` for each place along the axis, one behind the other.
    Source: JAX ``jax.vmap``.
    """

    @functools.wraps(fun)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = narrow_leaves((args, kwargs))
        given = (tuple(in_axes) if isinstance(in_axes, list) else in_axes, 0)
        leaves, treedef = tree.flatten((args, kwargs))
        axes = _spread("in_axes", given, (args, kwargs))
        values = [as_value(x) for x in leaves]
        along = [(i, axis) for i, axis in enumerate(axes) if axis is not None]
        moved = tuple(ops.moveaxis(values[i], axis, 0) for i, axis in along)
        size = _size([x.shape[0] for x in moved], axis_size)

        def one(slices: tuple[Any, ...]) -> Any:
            filled: list[Any] = [*values]
            for (i, _), x in zip(along, slices[1:], strict=True):
                filled[i] = x
            some, named = treedef.unflatten(filled)
            return fun(*some, **named)

        stacked = control.map(one, (ops.arange(size), *moved))
        results, structure = tree.flatten(stacked)
        places = _spread("out_axes", out_axes, stacked)
        return structure.unflatten(
            [
                y[0] if place is None else ops.moveaxis(y, 0, place)
                for y, place in zip(results, places, strict=True)
            ]
        )

    return mapped


def _spread(name: str, axes: Axes, given: Any) -> list[int | None]:
    """One axis for each leaf of ``given``, from a tree that ends above its leaves."""
    prefix, treedef = tree.flatten(axes, is_leaf=lambda x: x is None)
    try:
        subtrees = treedef.flatten_up_to(given)
    except TreeError as error:
        raise TreeError(f"vmap: {name} does not fit: {error}") from None
    pairs = zip(prefix, subtrees, strict=True)
    return [axis for axis, subtree in pairs for _ in tree.leaves(subtree)]


def _size(lengths: list[int], axis_size: int | None) -> int:
    found = {*lengths} if axis_size is None else {*lengths, axis_size}
    if len(found) != 1:
        given = ", ".join(map(str, sorted(found))) or "none"
        raise ShapeError(f"vmap: the mapped axes must have one length, got {given}")
    return found.pop()
