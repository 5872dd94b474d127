"""``pullback.records.dataclass`` against the standard library's."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import FrozenInstanceError, field
from typing import Any, ClassVar

import pytest

from pullback import records

#: Options, and whether fields have defaults and factories.
OPTIONS = [
    {"frozen": True},
    {"frozen": True, "slots": True},
    {"frozen": True, "eq": False},
    {"frozen": True, "eq": False, "slots": True},
    {},
    {"slots": True},
    {"eq": False, "slots": True},
]


def fresh_class() -> type:
    """A class that no decorator has seen."""

    class Layer:
        """Units and what they are called."""

        units: tuple[int, ...]
        name: str
        rate: float = 0.5
        seen: list[int] = field(default_factory=list)
        kind: ClassVar[str] = "dense"

    return Layer


def both(**options: Any) -> tuple[Any, Any]:
    """The same class, decorated by ours and by the standard library."""
    return records.complete(**options)(fresh_class()), dataclasses.dataclass(**options)(
        fresh_class()
    )


@pytest.fixture(params=OPTIONS, ids=str)
def options(request: pytest.FixtureRequest) -> dict[str, bool]:
    """One combination of options."""
    found: dict[str, bool] = request.param
    return found


def test_arguments_and_defaults_are_the_standard_ones(options: dict[str, bool]) -> None:
    ours, standard = both(**options)

    x = ours((1, 2), name="a")

    assert (x.units, x.name, x.rate, x.seen) == ((1, 2), "a", 0.5, [])
    assert x.seen is not ours((), "b").seen
    assert ours((), "b", 1.0, seen=[3]).seen == [3]
    assert list(inspect.signature(ours).parameters) == list(inspect.signature(standard).parameters)
    assert ours.__init__.__annotations__ == standard.__init__.__annotations__


@pytest.mark.parametrize("arguments", [(), ((1,), "a", 0.5, [], 6)])
def test_wrong_arguments_raise_the_standard_message(arguments: tuple[Any, ...]) -> None:
    ours, standard = both(frozen=True)
    with pytest.raises(TypeError) as expected:
        standard(*arguments)

    with pytest.raises(TypeError) as raised:
        ours(*arguments)

    assert str(raised.value) == str(expected.value)


def test_text_and_fields_are_the_standard_ones(options: dict[str, bool]) -> None:
    ours, standard = both(**options)
    x, expected = ours((1,), "a"), standard((1,), "a")

    assert repr(x) == repr(expected)
    assert [f.name for f in dataclasses.fields(x)] == [f.name for f in dataclasses.fields(expected)]
    assert dataclasses.asdict(x) == dataclasses.asdict(expected)
    assert dataclasses.replace(x, name="b").name == "b"
    assert ours.__match_args__ == standard.__match_args__
    assert ours.__doc__ == standard.__doc__


def test_equality_and_hash_are_the_standard_ones(options: dict[str, bool]) -> None:
    ours, standard = both(**options)
    for cls in (ours, standard):
        same = cls((1,), "a") == cls((1,), "a")
        assert same == options.get("eq", True)
        assert cls((1,), "a") != cls((2,), "a")
        assert cls((1,), "a") != cls((1,), "b")
    assert ours((1,), "a") != standard((1,), "a")
    assert (ours.__hash__ is None) == (standard.__hash__ is None)
    if options.get("frozen") and options.get("eq", True):
        x, expected = ours((1,), "a", 0.5, ()), standard((1,), "a", 0.5, ())
        assert hash(x) == hash(expected)
        assert {x: 1}[ours((1,), "a", 0.5, ())] == 1


def test_values_that_are_not_equal_to_themselves_are_compared_as_in_a_tuple() -> None:
    nan = float("nan")
    ours, _ = both(frozen=True)

    assert ours((1,), "a", nan) == ours((1,), "a", nan)
    assert ours((1,), "a", nan) != ours((1,), "a", float("nan"))


def test_a_frozen_class_refuses_changes(options: dict[str, bool]) -> None:
    ours, _ = both(**options)
    x = ours((1,), "a")

    if options.get("frozen"):
        with pytest.raises(FrozenInstanceError, match="cannot assign to field 'name'"):
            x.name = "b"
        with pytest.raises(FrozenInstanceError, match="cannot delete field 'name'"):
            del x.name
        assert x.name == "a"
    else:
        x.name = "b"
        assert x.name == "b"


def test_slots_leave_no_dictionary(options: dict[str, bool]) -> None:
    ours, _ = both(**options)

    assert hasattr(ours((1,), "a"), "__dict__") != options.get("slots", False)


def test_copies_are_equal(options: dict[str, bool]) -> None:
    ours, _ = both(**options)
    x = ours((1,), "a", seen=[2])

    for y in (copy.copy(x), copy.deepcopy(x)):
        assert (y.units, y.name, y.rate, y.seen) == ((1,), "a", 0.5, [2])
    assert copy.deepcopy(x).seen is not x.seen


@records.dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: int = 0


def test_frozen_slots_are_pickled() -> None:
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)


def test_fields_are_inherited() -> None:
    @records.dataclass(frozen=True)
    class Base:
        first: int

    @records.dataclass(frozen=True)
    class Derived(Base):
        second: int = 2

    assert repr(Derived(1)).endswith("Derived(first=1, second=2)")
    assert Derived(1) == Derived(1, 2) != Base(1)


def test_what_a_class_defines_itself_is_kept() -> None:
    @records.dataclass(frozen=True)
    class Named:
        name: str

        def __repr__(self) -> str:
            return f"<{self.name}>"

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Named) and other.name.lower() == self.name.lower()

        def __hash__(self) -> int:
            return 7

    assert repr(Named("A")) == "<A>"
    assert Named("A") == Named("a")
    assert hash(Named("A")) == 7


def test_a_class_that_holds_itself_is_printed() -> None:
    @records.dataclass
    class Node:
        next: Any = None

    node = Node()
    node.next = node

    assert repr(node).endswith("Node(next=...)")


def test_methods_are_called_after_their_class() -> None:
    """Tracebacks and the messages of wrong calls show these names."""
    assert Point.__init__.__qualname__ == "Point.__init__"
    assert Point.__eq__.__qualname__ == "Point.__eq__"


def test_a_field_without_a_default_may_not_follow_one_that_has() -> None:
    class Wrong:
        first: int = 1
        second: int

    with pytest.raises(TypeError, match=r"Wrong\.second has no default"):
        records.complete(Wrong)


@pytest.mark.parametrize("argument", [{"repr": False}, {"compare": False}, {"init": False}])
def test_other_options_of_fields_are_refused(argument: dict[str, Any]) -> None:
    class Wrong:
        first: int = field(default=1, **argument)

    with pytest.raises(TypeError, match=r"Wrong\.first has options that are not supported"):
        records.complete(Wrong)


def test_post_init_is_refused() -> None:
    class Wrong:
        first: int

        def __post_init__(self) -> None: ...

    with pytest.raises(TypeError, match="__post_init__ would not be called"):
        records.complete(Wrong)
