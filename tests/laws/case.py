"""What a case of the primitive laws is. Cases live in ``cases_<family>.py``, one file a family.

Start at ``Case``; ``cases.py`` gathers them and ``test_laws.py`` applies the laws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pullback.program.primitive import Primitive
from pullback.types import FLOATING, SHORT_NAMES

NDArray = np.ndarray[Any, Any]
Generator = np.random.Generator
MakeArgs = Callable[[Generator], tuple[NDArray, ...]]


@dataclass(frozen=True)
class Case:
    """A primitive, operands to try it on, and what is right there.

    Args:
        primitive: The primitive with its parameters.
        make_args: Makes the operands. In a case that is differentiated they must stay 2e-3 away
            from kinks and from the edges of the domain.
        reference: The same function computed another way, from the operands; in float64 or wider
            where it rounds. A tuple for several outputs. ``None`` where another test of the family
            holds the reference (say which in ``notes``).
        notes: Domain of the operands, kinks that are excluded.
        ulp: Largest distance of ``evaluate`` from ``reference``, and of ``lower`` from
            ``evaluate``, in units in the last place of the output's dtype. 0: equal bits, except
            that nans are equal and so are zeros of either sign (see ``exact_zeros``).
        atol: Distance that is allowed in any case: for functions with zeros where a relative bound
            is out of reach.
        orders: Orders of differentiation to check by central differences; float64 operands only.
        label: Tells cases of one primitive apart in test names.
        exact_zeros: Whether the sign of a zero is compared.
    """

    primitive: Primitive
    make_args: MakeArgs
    reference: Callable[..., Any] | None
    notes: str = ""
    ulp: float = 0.0
    atol: float = 0.0
    orders: tuple[int, ...] = (1, 2)
    label: str = ""
    exact_zeros: bool = False

    def args(self) -> tuple[NDArray, ...]:
        """Return the operands: the same at every call."""
        rng = np.random.default_rng([20240229, *self.primitive.name.encode()])
        return tuple(np.asarray(x) for x in self.make_args(rng))

    def is_differentiated(self) -> bool:
        """Whether the derivative laws apply: float64 operands, one of them differentiable."""
        from pullback.types import float64, type_of

        types = [type_of(x) for x in self.args()]
        floating = [x for x in types if x.dtype in FLOATING]
        return (
            bool(self.orders)
            and all(x.dtype == float64 for x in floating)
            and any(self.primitive.is_differentiable(i, x) for i, x in enumerate(types))
        )


def case_id(case: Case) -> str:
    """Return a short name: ``tanh-f32[2,3]-label``."""
    from pullback.types import type_of

    types = ",".join(str(type_of(x)) for x in case.args()[:3])
    return "-".join(part for part in (case.primitive.name, types, case.label) if part)


def normal(*shapes: Sequence[int], dtype: Any = np.float64, scale: float = 1.0) -> MakeArgs:
    """Return a maker of one normally distributed array for each shape."""

    def make(rng: Generator) -> tuple[NDArray, ...]:
        return tuple(
            np.asarray(rng.normal(size=tuple(shape)) * scale).astype(dtype) for shape in shapes
        )

    return make


def uniform(low: float, high: float, *shapes: Sequence[int], dtype: Any = np.float64) -> MakeArgs:
    """Return a maker of one array uniform in ``[low, high)`` for each shape."""

    def make(rng: Generator) -> tuple[NDArray, ...]:
        return tuple(
            np.asarray(rng.uniform(low, high, size=tuple(shape))).astype(dtype) for shape in shapes
        )

    return make


def integers(low: int, high: int, *shapes: Sequence[int], dtype: Any = np.int32) -> MakeArgs:
    """Return a maker of one integer array in ``[low, high)`` for each shape."""

    def make(rng: Generator) -> tuple[NDArray, ...]:
        return tuple(
            np.asarray(rng.integers(low, high, size=tuple(shape))).astype(dtype) for shape in shapes
        )

    return make


def given(*values: Any, dtype: Any = np.float64) -> MakeArgs:
    """Return a maker of exactly these arrays."""
    arrays = tuple(np.asarray(v, dtype) for v in values)

    def make(rng: Generator) -> tuple[NDArray, ...]:
        return arrays

    return make


def short(dtype: Any) -> str:
    """Return the short name of a dtype, for labels."""
    return SHORT_NAMES[np.dtype(dtype)]
