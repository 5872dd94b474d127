"""Trees: nested dicts, lists, tuples, named tuples, ``None`` and registered classes.

Imports nothing of pullback but ``errors``. The names are those of ``jax.tree``; start at
``flatten``. A structure is kept as nested plain tuples, which hash and compare in C: ``jit``
looks one up at every call.
"""

from __future__ import annotations

import builtins
import collections
import dataclasses
import functools
import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from pullback.errors import RegistrationError, TreeError

__all__ = [
    "TreeDef",
    "all",
    "describe",
    "flatten",
    "flatten_with_path",
    "is_node",
    "leaves",
    "leaves_with_path",
    "map",
    "map_with_path",
    "path_string",
    "reduce",
    "register",
    "register_dataclass",
    "structure",
    "transpose",
    "unflatten",
]

T = TypeVar("T")
IsLeaf = Callable[[Any], bool]
#: What a step of a path looks like in an error: ``['name']``, ``[0]`` or ``.name``.
Path = tuple[str, ...]

#: The spec of a leaf. The spec of a node is ``(class, meta, specs of the children)``.
LEAF: Final = "*"
Spec = Any


class _Node(NamedTuple):
    """How to take one class of node apart and put it together again."""

    flatten: Callable[[Any], tuple[Iterable[Any], Hashable]]
    unflatten: Callable[[Any, Sequence[Any]], Any]
    keys: Callable[[Any, int], Iterable[str]]


def _indices(meta: Any, count: int) -> list[str]:
    return [f"[{i}]" for i in range(count)]


def _items(meta: Any, count: int) -> list[str]:
    return [f"[{key!r}]" for key in meta]


def _sorted_keys(tree: dict[Any, Any]) -> tuple[Any, ...]:
    try:
        return tuple(sorted(tree))
    except TypeError:
        raise TreeError(
            f"the keys of a dict must be comparable with each other, got {[*tree]!r}; "
            "use strings, or an OrderedDict, whose keys stay in order"
        ) from None


def _flatten_dict(tree: dict[Any, Any]) -> tuple[Iterable[Any], Hashable]:
    keys = _sorted_keys(tree)
    return [tree[key] for key in keys], keys


def _flatten_defaultdict(
    tree: collections.defaultdict[Any, Any],
) -> tuple[Iterable[Any], Hashable]:
    keys = _sorted_keys(tree)
    return [tree[key] for key in keys], (tree.default_factory, keys)


#: How to take classes apart; None for those known to be leaves.
_NODES: dict[type, _Node | None] = {
    tuple: _Node(lambda t: (t, None), lambda _, children: tuple(children), _indices),
    list: _Node(lambda t: (t, None), lambda _, children: list(children), _indices),
    dict: _Node(
        _flatten_dict, lambda keys, children: dict(zip(keys, children, strict=True)), _items
    ),
    type(None): _Node(lambda _: ((), None), lambda *_: None, _indices),
    collections.OrderedDict: _Node(
        lambda t: (t.values(), tuple(t)),
        lambda keys, children: collections.OrderedDict(zip(keys, children, strict=True)),
        _items,
    ),
    collections.defaultdict: _Node(
        _flatten_defaultdict,
        lambda meta, children: collections.defaultdict(
            meta[0], zip(meta[1], children, strict=True)
        ),
        lambda meta, _: [f"[{key!r}]" for key in meta[1]],
    ),
}


def _node(cls: type) -> _Node | None:
    """How ``cls`` is taken apart; None when it is a leaf. Named tuples register themselves."""
    try:
        return _NODES[cls]
    except KeyError:
        is_namedtuple = issubclass(cls, tuple) and hasattr(cls, "_fields")
        _NODES[cls] = _namedtuple_node(cls) if is_namedtuple else None
        return _NODES[cls]


def _namedtuple_node(cls: Any) -> _Node:
    return _Node(
        lambda t: (t, None),
        lambda _, children: cls(*children),
        lambda *_: [f".{name}" for name in cls._fields],
    )


def _known(cls: type) -> _Node:
    """How a class that occurs in a spec is taken apart."""
    node = _NODES[cls]
    if node is None:
        raise TreeError(f"{cls.__qualname__} is not registered as a tree class")
    return node


def is_node(cls: type) -> bool:
    """Whether instances of ``cls`` are nodes of trees, not leaves."""
    return _node(cls) is not None


def register(
    cls: type[T],
    flatten: Callable[[T], tuple[Iterable[Any], Hashable]],
    unflatten: Callable[[Any, Sequence[Any]], T],
) -> None:
    """Make instances of ``cls`` nodes of trees.

    Args:
        cls: The class. Subclasses are not included.
        flatten: Takes an instance to ``(children, meta)``; ``meta`` is hashable.
        unflatten: Takes ``(meta, children)`` to an instance.

    Raises:
        RegistrationError: ``cls`` is registered already.
    """
    _register(cls, _Node(flatten, unflatten, _indices))


def register_dataclass(
    cls: type[T],
    data_fields: Sequence[str] | None = None,
    meta_fields: Sequence[str] | None = None,
) -> type[T]:
    """Make instances of a dataclass nodes of trees. Can be used as a decorator.

    Args:
        cls: A dataclass, or any class whose ``__init__`` takes the fields by name.
        data_fields: Fields that hold arrays or trees: the children. Default: every init field
            that is not in ``meta_fields``.
        meta_fields: Fields that hold static, hashable values. Default: those declared with
            ``dataclasses.field(metadata={"static": True})``.

    Raises:
        RegistrationError: ``cls`` is registered already, or the fields are not given and ``cls``
            is not a dataclass.
    """
    if meta_fields is None:
        meta_fields = [
            f.name for f in _init_fields(cls) if data_fields is None and f.metadata.get("static")
        ]
    if data_fields is None:
        data_fields = [f.name for f in _init_fields(cls) if f.name not in meta_fields]
    data, meta = tuple(data_fields), tuple(meta_fields)

    def flatten(node: Any) -> tuple[Iterable[Any], Hashable]:
        return [getattr(node, name) for name in data], tuple(getattr(node, n) for n in meta)

    def unflatten(static: Any, children: Sequence[Any]) -> Any:
        return cls(**dict(zip((*data, *meta), (*children, *static), strict=True)))

    _register(cls, _Node(flatten, unflatten, lambda *_: [f".{name}" for name in data]))
    return cls


def _init_fields(cls: type) -> list[dataclasses.Field[Any]]:
    if not dataclasses.is_dataclass(cls):
        raise RegistrationError(f"{cls.__qualname__} is not a dataclass: give its fields by name")
    return [f for f in dataclasses.fields(cls) if f.init]


def _register(cls: type, node: _Node) -> None:
    if _NODES.get(cls) is not None:
        raise RegistrationError(f"{cls.__qualname__} is registered as a tree class already")
    _NODES[cls] = node


class TreeDef:
    """The structure of a tree without its leaves. Hashable; prints as ``{'a': *, 'b': (*, *)}``.

    Attributes:
        spec: The structure as nested tuples.
        num_leaves: How many leaves a tree of this structure has.
    """

    __slots__ = ("num_leaves", "spec")

    def __init__(self, spec: Spec, num_leaves: int) -> None:
        self.spec = spec
        self.num_leaves = num_leaves

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TreeDef) and self.spec == other.spec

    def __hash__(self) -> int:
        return hash(self.spec)

    def children(self) -> list[TreeDef]:
        """The structures of the root's children."""
        specs = () if self.spec is LEAF else self.spec[2]
        return [TreeDef(spec, _count(spec)) for spec in specs]

    def paths(self) -> list[Path]:
        """The paths of the leaves."""
        found: list[Path] = []
        _paths(self.spec, (), found)
        return found

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """The tree of this structure with ``leaves``."""
        return unflatten(self, leaves)

    def flatten_up_to(self, tree: Any) -> list[Any]:
        """The subtrees of ``tree`` that stand where this structure has leaves.

        Raises:
            TreeError: ``tree`` ends, or branches otherwise, before a leaf is reached.
        """
        found: list[Any] = []
        _flatten_up_to(self.spec, tree, found, ())
        return found

    def __str__(self) -> str:
        return _spec_string(self.spec, itertools.repeat("*"))

    def __repr__(self) -> str:
        return f"TreeDef({self})"


def flatten(tree: Any, is_leaf: IsLeaf | None = None) -> tuple[list[Any], TreeDef]:
    """Return the leaves of ``tree`` from left to right (dicts by sorted key) and its structure.

    Args:
        tree: Any value; what is no node is a leaf. ``None`` is a node without children.
        is_leaf: Asked at every node first: True makes it a leaf.

    Raises:
        TreeError: the keys of a dict cannot be sorted.
    """
    found: list[Any] = []
    spec = _flatten(tree, found) if is_leaf is None else _flatten_until(tree, found, is_leaf)
    return found, TreeDef(spec, len(found))


def _flatten(tree: Any, found: list[Any]) -> Spec:
    cls = type(tree)
    # Common classes are written out: `jit` flattens the arguments of every call.
    if cls is tuple or cls is list:
        return cls, None, tuple([_flatten(child, found) for child in tree])
    if cls is dict:
        keys = _sorted_keys(tree)
        return cls, keys, tuple([_flatten(tree[key], found) for key in keys])
    node = _NODES[cls] if cls in _NODES else _node(cls)
    if node is None:
        found.append(tree)
        return LEAF
    children, meta = node.flatten(tree)
    return cls, meta, tuple([_flatten(child, found) for child in children])


def _flatten_until(tree: Any, found: list[Any], is_leaf: IsLeaf) -> Spec:
    cls = type(tree)
    node = None if is_leaf(tree) else _node(cls)
    if node is None:
        found.append(tree)
        return LEAF
    children, meta = node.flatten(tree)
    return cls, meta, tuple([_flatten_until(child, found, is_leaf) for child in children])


def _flatten_up_to(spec: Spec, tree: Any, found: list[Any], path: Path) -> None:
    if spec is LEAF:
        found.append(tree)
        return
    cls, meta, child_specs = spec
    node = _node(type(tree))
    children, other_meta = ([], None) if node is None else node.flatten(tree)
    children = [*children]
    if (
        node is None
        or type(tree) is not cls
        or other_meta != meta
        or len(children) != len(child_specs)
    ):
        other: Spec = LEAF if node is None else (type(tree), other_meta, (LEAF,) * len(children))
        raise TreeError(
            f"trees differ at {path_string(path)}: expected {_describe(spec)}, "
            f"got {_describe(other)}"
        )
    keys = node.keys(meta, len(children))
    for child_spec, child, key in zip(child_specs, children, keys, strict=True):
        _flatten_up_to(child_spec, child, found, (*path, key))


def unflatten(treedef: TreeDef, leaves: Iterable[Any]) -> Any:
    """Return the tree of structure ``treedef`` with ``leaves``.

    Raises:
        TreeError: there are more or fewer leaves than ``treedef`` has.
    """
    given = [*leaves]
    if len(given) != treedef.num_leaves:
        raise TreeError(
            f"a tree {treedef} has {treedef.num_leaves} leaves, but {len(given)} were given"
        )
    return _unflatten(treedef.spec, iter(given))


def _count(spec: Spec) -> int:
    return 1 if spec is LEAF else sum([_count(child) for child in spec[2]])


def _unflatten(spec: Spec, leaves: Any) -> Any:
    if spec is LEAF:
        return next(leaves)
    cls, meta, children = spec
    return _known(cls).unflatten(meta, [_unflatten(child, leaves) for child in children])


def leaves(tree: Any, is_leaf: IsLeaf | None = None) -> list[Any]:
    """Return the leaves of ``tree`` from left to right."""
    return flatten(tree, is_leaf)[0]


def structure(tree: Any, is_leaf: IsLeaf | None = None) -> TreeDef:
    """Return the structure of ``tree``."""
    return flatten(tree, is_leaf)[1]


def map(f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf | None = None) -> Any:
    """Return the tree of ``f(leaf, *leaves_of_rest)``.

    Args:
        f: Called once for every leaf of ``tree``.
        tree: Gives the structure of the result.
        rest: Trees that have a subtree wherever ``tree`` has a leaf.
        is_leaf: Asked at every node of ``tree``: True makes it a leaf.

    Raises:
        TreeError: a tree of ``rest`` differs in structure; the message names the path.
    """
    first, treedef = flatten(tree, is_leaf)
    columns = [treedef.flatten_up_to(other) for other in rest]
    return _unflatten(treedef.spec, iter([f(*row) for row in zip(first, *columns, strict=True)]))


def all(tree: Any, is_leaf: IsLeaf | None = None) -> bool:
    """Whether every leaf is true."""
    return builtins.all(leaves(tree, is_leaf))


_MISSING: Final = object()


def reduce(
    function: Callable[[Any, Any], Any],
    tree: Any,
    initializer: Any = _MISSING,
    is_leaf: IsLeaf | None = None,
) -> Any:
    """Combine the leaves from left to right with ``function``."""
    found = leaves(tree, is_leaf)
    if initializer is _MISSING:
        return functools.reduce(function, found)
    return functools.reduce(function, found, initializer)


def transpose(outer: TreeDef, inner: TreeDef | None, tree: Any) -> Any:
    """Turn a tree of structure ``outer`` of trees ``inner`` inside out.

    Args:
        outer: Structure of the outer tree.
        inner: Structure of every subtree; None takes the first subtree's.
        tree: What to transpose.

    Raises:
        TreeError: ``tree`` is not made like this.
    """
    rows = outer.flatten_up_to(tree)
    if inner is None:
        inner = structure(rows[0]) if rows else TreeDef((type(None), None, ()), 0)
    columns = zip(*[inner.flatten_up_to(row) for row in rows], strict=True)
    return unflatten(inner, [unflatten(outer, column) for column in columns])


def flatten_with_path(
    tree: Any, is_leaf: IsLeaf | None = None
) -> tuple[list[tuple[Path, Any]], TreeDef]:
    """Return ``(path, leaf)`` pairs and the structure; ``path_string(path)`` reads ``['a'][0]``."""
    found, treedef = flatten(tree, is_leaf)
    return [*zip(treedef.paths(), found, strict=True)], treedef


def _paths(spec: Spec, path: Path, found: list[Path]) -> None:
    if spec is LEAF:
        found.append(path)
        return
    cls, meta, children = spec
    for key, child in zip(_known(cls).keys(meta, len(children)), children, strict=True):
        _paths(child, (*path, key), found)


def leaves_with_path(tree: Any, is_leaf: IsLeaf | None = None) -> list[tuple[Path, Any]]:
    """Return ``(path, leaf)`` pairs from left to right."""
    return flatten_with_path(tree, is_leaf)[0]


def map_with_path(
    f: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf | None = None
) -> Any:
    """Like ``map``, but ``f`` is called with the path before the leaves."""
    pairs, treedef = flatten_with_path(tree, is_leaf)
    columns = [treedef.flatten_up_to(other) for other in rest]
    rows = zip(pairs, *columns, strict=True)
    return unflatten(treedef, [f(path, leaf, *others) for (path, leaf), *others in rows])


def path_string(path: Path) -> str:
    """A path as text, ``['a'][0].b``; the root reads ``the root``."""
    return "".join(path) or "the root"


def _leaf_string(leaf: Any) -> str:
    is_value = hasattr(leaf, "shape") and hasattr(leaf, "type")
    return str(leaf.type) if is_value else type(leaf).__name__


def describe(tree: Any, leaf_string: Callable[[Any], str] = _leaf_string) -> str:
    """A tree as text for messages: ``{'w': f32[3,4], 'name': str}``.

    Args:
        tree: Any value.
        leaf_string: What to write for a leaf. Default: the type of an array, else the class.
    """
    found, treedef = flatten(tree)
    return _spec_string(treedef.spec, builtins.map(leaf_string, found))


def _describe(spec: Spec) -> str:
    """One node in words, for an error message."""
    if spec is LEAF:
        return "a leaf"
    cls, meta, children = spec
    if cls is type(None):
        return "None"
    if meta and cls in (dict, collections.OrderedDict):
        return f"a {cls.__name__} with keys {', '.join(builtins.map(repr, meta))}"
    what = f"a {cls.__name__} of {len(children)}"
    return f"{what} with {meta!r}" if meta else what


def _spec_string(spec: Spec, leaves: Iterator[str]) -> str:
    """A structure as text, with ``leaves`` in the leaves' places."""
    if spec is LEAF:
        return next(leaves)
    cls, meta, children = spec
    inner = [_spec_string(child, leaves) for child in children]
    if cls is type(None):
        return "None"
    if cls is list:
        return f"[{', '.join(inner)}]"
    if cls is tuple:
        return f"({inner[0]},)" if len(inner) == 1 else f"({', '.join(inner)})"
    if cls is dict:
        return f"{{{', '.join(f'{k!r}: {v}' for k, v in zip(meta, inner, strict=True))}}}"
    keys = _known(cls).keys(meta, len(children))
    named = [f"{k.strip('.')}={v}" for k, v in zip(keys, inner, strict=True)]
    return f"{cls.__name__}({', '.join(named)})"
