"""Trees: taking apart, putting together, structures as keys, and errors that name the place."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, NamedTuple

import pytest

import pullback as pb
from pullback import tree
from pullback.errors import RegistrationError, TreeError


class Point(NamedTuple):
    x: object
    y: object


@tree.register_dataclass
@dataclasses.dataclass
class Layer:
    weight: object
    bias: object
    name: str = dataclasses.field(default="layer", metadata={"static": True})


class Box:
    def __init__(self, content: object, label: str) -> None:
        self.content, self.label = content, label


tree.register(Box, lambda b: ((b.content,), b.label), lambda label, c: Box(c[0], label))

EXAMPLES: list[tuple[Any, list[int], str]] = [
    (1, [1], "*"),
    (None, [], "None"),
    ((), [], "()"),
    ([], [], "[]"),
    ({}, [], "{}"),
    ((1,), [1], "(*,)"),
    ({"b": [1, 2], "a": (3, None)}, [3, 1, 2], "{'a': (*, None), 'b': [*, *]}"),
    (Point(1, {"k": 2}), [1, 2], "Point(x=*, y={'k': *})"),
    (Layer([1], 2), [1, 2], "Layer(weight=[*], bias=*)"),
    (collections.OrderedDict([("b", 1), ("a", 2)]), [1, 2], "OrderedDict(['b']=*, ['a']=*)"),
]


@pytest.mark.parametrize(("given", "leaves", "text"), EXAMPLES)
def test_flatten_gives_leaves_and_structure_in_order(given, leaves, text):
    found, treedef = tree.flatten(given)

    assert leaves == found
    assert text == str(treedef)
    assert len(leaves) == treedef.num_leaves
    assert given == tree.unflatten(treedef, found)


@pytest.mark.parametrize(("given", "leaves", "text"), EXAMPLES)
def test_structures_of_equal_trees_are_equal_keys(given, leaves, text):
    other = tree.map(lambda leaf: leaf + 1, given)

    assert tree.structure(given) == tree.structure(other)
    assert {tree.structure(given): 1}[tree.structure(other)] == 1


def test_structures_tell_classes_keys_and_meta_apart():
    distinct = [
        [1, 2],
        (1, 2),
        Point(1, 2),
        {"a": 1, "b": 2},
        {"a": 1, "c": 2},
        collections.OrderedDict(a=1, b=2),
        Layer(1, 2),
        Layer(1, 2, "other"),
        (1, 2, None),
        ((1, 2),),
    ]

    assert len({tree.structure(x) for x in distinct}) == len(distinct)


def test_defaultdict_keeps_its_factory() -> None:
    given: collections.defaultdict[str, Any] = collections.defaultdict(list, b=1, a=2)

    again = tree.map(lambda leaf: leaf, given)

    assert given == again
    assert again.default_factory is list


def test_a_registered_class_keeps_its_meta():
    box = tree.map(lambda leaf: leaf * 10, Box({"a": 1}, "red"))

    assert (box.content, box.label) == ({"a": 10}, "red")


def test_a_dataclass_with_static_field_keeps_it():
    assert Layer(2, 3, "dense") == tree.map(lambda leaf: leaf + 1, Layer(1, 2, "dense"))


def test_register_dataclass_takes_fields_by_name():
    class Plain:
        def __init__(self, data: object, size: int) -> None:
            self.data, self.size = data, size

    tree.register_dataclass(Plain, ["data"], ["size"])

    found, treedef = tree.flatten(Plain([1, 2], 7))

    assert found == [1, 2]
    assert treedef.unflatten(found).size == 7


def test_registration_refuses_what_it_cannot_do():
    with pytest.raises(RegistrationError, match="registered as a tree class already"):
        tree.register(Box, lambda b: ((), None), lambda meta, children: Box(None, ""))
    with pytest.raises(RegistrationError, match="not a dataclass"):
        tree.register_dataclass(type("NoFields", (), {}))


def test_a_class_can_be_registered_after_it_was_a_leaf():
    class Late:
        def __init__(self, x):
            self.x = x

    late = Late(1)
    assert tree.leaves(late) == [late]
    assert not tree.is_node(Late)

    tree.register(Late, lambda node: ((node.x,), None), lambda _, children: Late(*children))

    assert tree.leaves(late) == [1]
    assert tree.is_node(Late)


def test_a_subclass_of_a_node_class_is_a_leaf():
    class Names(list):
        pass

    names = Names(["a"])

    assert [names] == tree.leaves([names])


def test_is_leaf_stops_descending():
    given = {"a": (1, 2), "b": [3, None]}

    assert tree.leaves(given, is_leaf=lambda x: isinstance(x, tuple)) == [(1, 2), 3]
    assert tree.leaves(given, is_leaf=lambda x: isinstance(x, tuple) or x is None) == [
        (1, 2),
        3,
        None,
    ]
    assert tree.map(
        lambda x: len(x) if isinstance(x, tuple) else 1,
        given,
        is_leaf=lambda x: isinstance(x, tuple),
    ) == {"a": 2, "b": [1, None]}


def test_map_takes_subtrees_of_the_other_trees():
    assert tree.map(lambda x, y: (x, y), {"a": 1}, {"a": [2, 3]}) == {"a": (1, [2, 3])}


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        (
            {"params": [1, {"w": 2}]},
            {"params": [1, {"v": 2}]},
            r"trees differ at \['params'\]\[1\]: expected a dict with keys 'w', "
            r"got a dict with keys 'v'",
        ),
        ([1, 2], [1], r"trees differ at the root: expected a list of 2, got a list of 1"),
        ([(1,)], [[1]], r"trees differ at \[0\]: expected a tuple of 1, got a list of 1"),
        ({"a": [1]}, {"a": 1}, r"trees differ at \['a'\]: expected a list of 1, got a leaf"),
        ([None], [1], r"trees differ at \[0\]: expected None, got a leaf"),
        (Point(1, (2,)), Point(1, 2), r"trees differ at \.y: expected a tuple of 1, got a leaf"),
        (Layer(1, 2, "a"), Layer(1, 2, "b"), r"expected a Layer of 2 with \('a',\)"),
    ],
)
def test_map_names_the_place_where_trees_differ(first, other, message):
    with pytest.raises(TreeError, match=message):
        tree.map(lambda x, y: x, first, other)


def test_unflatten_refuses_another_number_of_leaves():
    with pytest.raises(TreeError, match=r"a tree \(\*, \*\) has 2 leaves, but 3 were given"):
        tree.unflatten(tree.structure((1, 2)), [1, 2, 3])


def test_keys_that_cannot_be_sorted_are_refused():
    with pytest.raises(TreeError, match="OrderedDict"):
        tree.flatten({"a": 1, 2: 3})


def test_reduce_and_all():
    assert tree.reduce(lambda x, y: x + y, {"b": 4, "a": [1, 2, 3]}) == 10
    assert tree.reduce(lambda x, y: x + y, [10], 1) == 11
    assert tree.all([True, {"a": 1}])
    assert not tree.all([True, {"a": 0}])
    assert tree.all(None)


def test_transpose_turns_trees_inside_out():
    given = [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    outer, inner = tree.structure([0, 0]), tree.structure({"a": 0, "b": 0})

    assert tree.transpose(outer, inner, given) == {"a": [1, 3], "b": [2, 4]}
    assert tree.transpose(outer, None, given) == {"a": [1, 3], "b": [2, 4]}
    with pytest.raises(TreeError, match="trees differ"):
        tree.transpose(outer, inner, [{"a": 1, "b": 2}, {"a": 3}])


def test_paths_read_like_python():
    given = {"layers": [Layer(1, (2, 3))], "point": Point(4, None)}

    found = tree.leaves_with_path(given)

    assert [(tree.path_string(path), leaf) for path, leaf in found] == [
        ("['layers'][0].weight", 1),
        ("['layers'][0].bias[0]", 2),
        ("['layers'][0].bias[1]", 3),
        ("['point'].x", 4),
    ]
    assert tree.map_with_path(lambda path, leaf: tree.path_string(path), {"a": 1, "b": [2]}) == {
        "a": "['a']",
        "b": ["['b'][0]"],
    }
    assert tree.path_string(()) == "the root"


def test_trees_are_described_by_the_types_of_their_leaves():
    given = {"w": (pb.ones((3, 4)), [pb.asarray(True)]), "rest": None, "name": "x", "n": 2}

    assert (
        tree.describe(given) == "{'n': int, 'name': str, 'rest': None, 'w': (f32[3,4], [bool[]])}"
    )
    assert tree.describe(pb.ArrayType((2,), pb.float32), str) == "f32[2]"


def test_children_are_structures():
    treedef = tree.structure(((1, 2), {"a": 3}))

    assert [str(child) for child in treedef.children()] == ["(*, *)", "{'a': *}"]
    assert [child.num_leaves for child in treedef.children()] == [2, 1]
    assert tree.structure(1).children() == []


def test_deep_trees_keep_their_structure() -> None:
    given: Any = 0
    for _ in range(200):
        given = [given]

    assert tree.leaves(given) == [0]
    assert given == tree.map(lambda leaf: leaf, given)
