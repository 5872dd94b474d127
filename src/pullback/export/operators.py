"""Operations that the file format has as one, and the engine as many: convolution and pooling.

Imports ``trace`` and ``program``. Whoever composes such an operation of primitives wraps it in
``operator``; nothing is changed by that, except while ``recording`` is on: then one equation
stands for the whole, holding what it is and the program that computes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, final

from pullback.errors import LeakedTracerError
from pullback.program.core import Program
from pullback.program.interpret import interpret
from pullback.program.primitive import CONTROL, NDArray, Primitive
from pullback.program.value import Array, Value, as_value
from pullback.records import dataclass
from pullback.trace.stage import Staged, stage
from pullback.types import ArrayType

#: Zeros before and after each spatial axis.
Widths = tuple[tuple[int, int], ...]

_is_recording: ContextVar[bool] = ContextVar("is_recording", default=False)


@dataclass(frozen=True)
class Convolution:
    """A convolution of x with a kernel ``[*sizes, channels of x / groups, filters]``.

    Attributes:
        strides: Steps of the window, one a spatial axis.
        dilations: Steps between the kernel's elements, one a spatial axis.
        widths: Zeros added before and after each axis; None if that depends on free lengths in a
            way that only the rule ``is_same`` tells.
        is_same: Whether as many are added as give ``ceil(length / stride)`` windows, the odd one
            behind.
        channels_last: Whether x and the result are ``[n, *spatial, channels]``; else the channels
            come second.
    """

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    widths: Widths | None
    is_same: bool
    channels_last: bool


@dataclass(frozen=True)
class TransposedConvolution:
    """The transposition of a convolution; the kernel is ``[*sizes, filters, channels of x]``.

    Attributes:
        strides: Steps between the elements of x in the result, one a spatial axis.
        dilations: Steps between the kernel's elements, one a spatial axis.
        widths: Zeros added before and after each axis of the whole result; below 0: cut off.
        channels_last: As in ``Convolution``.
    """

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    widths: Widths
    channels_last: bool


@dataclass(frozen=True)
class Pooling:
    """The largest element or the mean of each window; padding does not count.

    Attributes:
        kind: ``"max"`` or ``"average"``.
        sizes: Lengths of the window, one a spatial axis.
        strides: Its steps.
        widths: As in ``Convolution``; what is added is never largest, and not counted.
        is_same: As in ``Convolution``.
        channels_last: As in ``Convolution``.
    """

    kind: str
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    widths: Widths | None
    is_same: bool
    channels_last: bool


What = Convolution | TransposedConvolution | Pooling


@final
@dataclass(frozen=True)
class Operator(Primitive):
    """The outputs of ``program``, which computes ``what`` of the operands; only in exports.

    Shapes: those of the program.      Cost: that of the program.      Not differentiated.
    """

    what: What
    program: Program
    name = "operator"
    traits = CONTROL
    differentiable = ()

    def infer(self, *operands: ArrayType) -> ArrayType:
        """Type of the program's output."""
        return self.program.output_types[0]

    def evaluate(self, *operands: NDArray) -> NDArray:
        """Interpret the program."""
        return interpret(self.program, *operands)[0]


@contextlib.contextmanager
def recording() -> Iterator[None]:
    """A block in which every call of ``operator`` is traced as one equation."""
    token = _is_recording.set(True)
    try:
        yield
    finally:
        _is_recording.reset(token)


def operator(what: What, f: Callable[..., Any], *operands: Any) -> Any:
    """``f(*operands)``, which computes ``what``.

    Args:
        what: The operation, in full: an exporter reads nothing else.
        f: Composes it of primitives; takes and returns arrays.
        operands: Arrays.
    """
    if not _is_recording.get():
        return f(*operands)
    values = [as_value(x) for x in operands]
    staged = stage(lambda *xs: [f(*xs)], [x.type for x in values], name=type(what).__name__)
    result: Value = Operator(what, _with_constants(staged))(*values)
    return result


def _with_constants(staged: Staged) -> Program:
    """The program that was traced, the arrays that it uses from outside as its constants."""
    program, count = staged.program, staged.num_args
    arrays = [x.read() for x in staged.operands()]
    if not all(isinstance(x, Array) for x in arrays):
        raise LeakedTracerError(f"{program.name} uses a traced value that is not its operand")
    constants = zip(program.inputs[count:], (x.data for x in arrays), strict=True)
    return replace(program, inputs=program.inputs[:count], constants=tuple(constants))
