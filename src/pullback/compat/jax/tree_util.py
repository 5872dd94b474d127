"""``jax.tree_util``: the functions of ``pullback.tree`` under their older names.

Imports ``tree``. Start at ``register_pytree_node``.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, TypeVar

from pullback.tree import TreeDef as PyTreeDef
from pullback.tree import all as tree_all
from pullback.tree import flatten as tree_flatten
from pullback.tree import flatten_with_path as tree_flatten_with_path
from pullback.tree import leaves as tree_leaves
from pullback.tree import leaves_with_path as tree_leaves_with_path
from pullback.tree import map as tree_map
from pullback.tree import map_with_path as tree_map_with_path
from pullback.tree import path_string as keystr
from pullback.tree import reduce as tree_reduce
from pullback.tree import register, register_dataclass
from pullback.tree import structure as tree_structure
from pullback.tree import transpose as tree_transpose
from pullback.tree import unflatten as tree_unflatten

__all__ = [
    "PyTreeDef",
    "keystr",
    "register_dataclass",
    "register_pytree_node",
    "register_pytree_node_class",
    "tree_all",
    "tree_flatten",
    "tree_flatten_with_path",
    "tree_leaves",
    "tree_leaves_with_path",
    "tree_map",
    "tree_map_with_path",
    "tree_reduce",
    "tree_structure",
    "tree_transpose",
    "tree_unflatten",
]

T = TypeVar("T")


def register_pytree_node(
    nodetype: type[T],
    flatten_func: Callable[[T], tuple[Iterable[Any], Hashable]],
    unflatten_func: Callable[[Any, Sequence[Any]], T],
) -> None:
    """Make instances of ``nodetype`` nodes of trees.

    Args:
        nodetype: The class.
        flatten_func: Takes an instance to ``(children, aux_data)``.
        unflatten_func: Takes ``(aux_data, children)`` to an instance.

    Raises:
        RegistrationError: the class is registered already.
    """
    register(nodetype, flatten_func, unflatten_func)


def register_pytree_node_class(cls: Any) -> Any:
    """Register a class that has ``tree_flatten`` and the class method ``tree_unflatten``."""
    register(cls, lambda node: node.tree_flatten(), cls.tree_unflatten)
    return cls
