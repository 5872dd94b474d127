"""What a primitive is, its traits, and the registry.

Imports ``core``, ``loops`` and ``value``. A new primitive: see CONTRIBUTING.md.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

import numpy as np

from pullback.errors import DifferentiationError, RegistrationError
from pullback.records import dataclass
from pullback.types import ArrayType

if TYPE_CHECKING:
    from pullback.program.loops import Index, LoopBuilder, Scalar
    from pullback.program.value import Value

NDArray = np.ndarray[Any, Any]
Cotangents = tuple["Value | None", ...]


class Trait(enum.Flag):
    """Facts about a primitive that passes and the compiler ask for."""

    NONE = 0
    ELEMENTWISE = enum.auto()  # out[i] depends on x[i] only; rank-0 operands broadcast
    LINEAR = enum.auto()  # linear in its differentiable operands taken together
    COMMUTATIVE = enum.auto()  # f(x, y) == f(y, x), bitwise
    REDUCTION = enum.auto()  # many elements to one
    LAYOUT = enum.auto()  # moves elements; computes nothing
    CONTRACTION = enum.auto()  # sums of products: the matrix product generator's
    PREFIX = enum.auto()  # running value along an axis
    SCATTER = enum.auto()  # writes its first operand's copy at data-dependent places
    CONTROL = enum.auto()  # holds programs
    SORT = enum.auto()  # puts the rows of its operands into the order of the first of them
    HOST = enum.auto()  # runs its `evaluate` on the host, also in compiled programs
    CHEAP = enum.auto()  # costs about as much as a load: fusing may compute it twice
    IDENTITY = enum.auto()  # evaluates to its operand: exists for what a transformation reads


NONE, ELEMENTWISE, LINEAR, COMMUTATIVE = (
    Trait.NONE,
    Trait.ELEMENTWISE,
    Trait.LINEAR,
    Trait.COMMUTATIVE,
)
REDUCTION, LAYOUT, CONTRACTION, PREFIX = (
    Trait.REDUCTION,
    Trait.LAYOUT,
    Trait.CONTRACTION,
    Trait.PREFIX,
)
SCATTER, SORT, CONTROL, HOST, CHEAP, IDENTITY = (
    Trait.SCATTER,
    Trait.SORT,
    Trait.CONTROL,
    Trait.HOST,
    Trait.CHEAP,
    Trait.IDENTITY,
)

#: Value of ``differentiable`` that means: every operand whose dtype is floating.
ALL_OPERANDS: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Primitive:
    """Base of all primitives: a frozen dataclass whose fields are the static parameters."""

    name: ClassVar[str]
    traits: ClassVar[Trait] = Trait.NONE
    #: Operand positions that have a derivative; ``()`` declares "no gradient".
    differentiable: ClassVar[tuple[int, ...] | None] = ALL_OPERANDS

    def infer(self, *types: Any) -> ArrayType | tuple[ArrayType, ...]:
        """Return the type of the output, or a tuple of types when there are several outputs."""
        raise NotImplementedError(f"{self.name} has no infer rule")

    def evaluate(self, *arrays: Any) -> Any:
        """Compute with NumPy; an array, or a tuple when ``infer`` gives a tuple."""
        raise NotImplementedError(f"{self.name} has no evaluate rule")

    def vjp(self, ct: Any, out: Any, *args: Any) -> Cotangents:
        """Return one cotangent an operand, ``None`` where there is none.

        ``ct`` and ``out`` are Values, or tuples of them for several outputs (an unused output's
        cotangent is a zero array).
        """
        raise DifferentiationError(f"the derivative of {self.name} is not defined")

    def lower(self, b: LoopBuilder, index: Index, *operands: Any) -> Scalar:
        """Return the element of the output at ``index`` as an expression of operand elements."""
        raise NotImplementedError(f"{self.name} has no lower rule")

    def parameters(self) -> dict[str, Any]:
        """Return the static parameters by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def has(self, trait: Trait) -> bool:
        """Whether the primitive has every trait in ``trait``."""
        return trait in self.traits

    def is_differentiable(self, position: int, operand: ArrayType) -> bool:
        """Whether operand ``position`` of this type has a derivative."""
        from pullback.types import FLOATING

        if operand.dtype not in FLOATING:
            return False
        return self.differentiable is None or position in self.differentiable

    def __call__(self, *args: Any) -> Any:
        """Apply to values: evaluated at once, or recorded when a function is being traced."""
        from pullback.program.value import bind

        return bind(self, *args)


REGISTRY: dict[str, type[Primitive]] = {}

P = TypeVar("P", bound=type[Primitive])


def _has_own_fields(cls: type[Primitive]) -> bool:
    annotations = inspect.get_annotations(cls).values()
    return any("ClassVar" not in str(annotation) for annotation in annotations)


def _freeze(cls: type[Primitive]) -> None:
    """Do for a class without fields what ``dataclass`` does, which takes long.

    Most primitives have no fields, and importing the package makes them all.
    """
    cls.__hash__ = _hash_by_class  # type: ignore[assignment]
    cls.__setattr__ = _refuse_change  # type: ignore[assignment]
    cls.__delattr__ = _refuse_change  # type: ignore[assignment]


def _hash_by_class(self: Primitive) -> int:
    return hash(type(self))


def _refuse_change(self: Primitive, name: str, *value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


@dataclass_transform(frozen_default=True)
def primitive(cls: P) -> P:
    """Freeze a primitive class as a dataclass and register it by name.

    Raises:
        RegistrationError: the name is taken, or the class has none.
    """
    # Without slots the decorators change the class in place: what they return is `cls` itself.
    (dataclass(frozen=True) if _has_own_fields(cls) else _freeze)(cls)
    name = getattr(cls, "name", None)
    if not isinstance(name, str):
        raise RegistrationError(f"{cls.__name__} needs a class attribute `name`")
    if name in REGISTRY:
        raise RegistrationError(
            f"primitive {name!r} is registered twice: "
            f"{REGISTRY[name].__qualname__} and {cls.__qualname__}"
        )
    REGISTRY[name] = cls
    return cls
