"""Leaves of argument trees as values, with errors that name the argument.

Imports ``program`` and ``tree``; ``jit`` and the transformations use it. Start at ``as_leaf``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

from pullback import tree
from pullback.errors import DTypeError, ShapeError, TreeError
from pullback.primitives.operators import astype
from pullback.program.core import NDArray
from pullback.program.value import Array, Value, as_value, is_array_like
from pullback.tree import TreeDef
from pullback.types import ArrayType

#: What else to do about an argument that is no array.
_ARGUMENT = "make the argument static"


def as_leaf(x: Any, name: Callable[[], str], otherwise: str = _ARGUMENT) -> Value:
    """Return a leaf of a tree of arguments as a value.

    Args:
        x: The leaf.
        name: Says what to call it in messages.
        otherwise: What else to do about a leaf that is no array.

    Raises:
        TreeError: ``x`` is not an array.
        DTypeError: ``x`` is an array of an unsupported dtype.
    """
    if not is_array_like(x) and not hasattr(x, "__array__"):
        register = "register_dataclass" if dataclasses.is_dataclass(x) else "register"
        raise TreeError(
            f"{name()} is of type {type(x).__name__}, which is neither an array nor a number nor "
            f"a tree of them. Register its class with `tree.{register}`, or {otherwise}"
        )
    try:
        return as_value(x)
    except DTypeError as error:
        error.add_note(f"in {name()}")
        raise


def wrap(data: NDArray, type: ArrayType, weak: bool = False) -> Array:
    """An ``Array`` of memory whose type is known: cheaper than finding it out again."""
    value = Array.__new__(Array)
    value._data, value.type, value.weak = data, type, weak
    return value


def flatten_values(given: Any, root: str) -> tuple[list[Value], TreeDef]:
    """Return the leaves of a tree as values, and its structure.

    Raises:
        TreeError: a leaf is not an array; the message calls the tree ``root``.
    """
    flat, treedef = tree.flatten(given)
    otherwise = _ARGUMENT if root.startswith("argument") else "leave it out"
    return [
        as_leaf(x, functools.partial(leaf_name, root, treedef, i), otherwise)
        for i, x in enumerate(flat)
    ], treedef


def match_values(
    given: Any, root: str, treedef: TreeDef, types: Sequence[ArrayType]
) -> list[Value]:
    """Return the leaves of a tree that must have a certain structure and types.

    Weak values (Python numbers) take the dtype that is expected.

    Raises:
        TreeError: the structure differs.
        ShapeError: a shape differs.
        DTypeError: a dtype differs.
    """
    try:
        flat = treedef.flatten_up_to(given)
    except TreeError as error:
        raise TreeError(f"{root}: {error}") from None
    values = []
    for i, (x, expected) in enumerate(zip(flat, types, strict=True)):
        name = functools.partial(leaf_name, root, treedef, i)
        if tree.is_node(type(x)):
            raise TreeError(f"{name()} is {tree.describe(x)}, expected {expected}")
        value = as_leaf(x, name, "leave it out")
        if value.weak and value.dtype != expected.dtype:
            value = astype(value, expected.dtype)
        if value.type != expected:
            kind = ShapeError if value.shape != expected.shape else DTypeError
            raise kind(f"{name()} is {value.type}, expected {expected}")
        values.append(value)
    return values


def leaf_name(root: str, treedef: TreeDef, index: int) -> str:
    """A leaf as it is called in messages: ``argument 0['w']``."""
    return root + "".join(leaf_path(treedef, index))


def leaf_path(treedef: TreeDef, index: int) -> tuple[str, ...]:
    """The path of a leaf, as in ``tree.leaves_with_path``."""
    return treedef.paths()[index]
