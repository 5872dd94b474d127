"""Calls of short programs in Python code that is made for each: no loop over arguments, no lists.

Imports ``executable``; ``compiled`` uses it. Start at ``direct_call``. For programs of a few
microseconds what Python does around a call counts: written out for the types of one signature it
takes less than half of what ``Executable.__call__`` and its callers take together.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from numpy import empty, ndarray

from pullback import config
from pullback.backend.executable import FIRST_BUFFER_BYTES, Executable
from pullback.backend.llvm import threads
from pullback.program.core import NDArray
from pullback.program.value import Array
from pullback.records import dataclass
from pullback.trace.variable import Variable
from pullback.types import ArrayType

#: Programs with more inputs and outputs are called the ordinary way.
MOST_ARRAYS: Final = 64


DirectCall = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True, slots=True)
class CallTypes:
    """What goes into a program and comes out.

    Attributes:
        inputs: Types of the arguments, none of which is weak.
        reads: Variables, whose values the program takes behind them.
        captures: Arrays that it takes behind those.
        results: Types of its outputs, none of which is weak.
        build: Makes the result of the list of these: ``tuple`` and ``list`` are quick, and so is
            None, for a single output as it is.
    """

    inputs: Sequence[ArrayType]
    reads: Sequence[Variable]
    captures: Sequence[NDArray]
    results: Sequence[ArrayType]
    build: Callable[[Any], Any] | None


def direct_call(executable: Executable, types: CallTypes) -> DirectCall | None:
    """Make the function that calls a program on a sequence of arrays.

    Returns:
        A function which returns ``NotImplemented`` where an argument is not a NumPy array or an
        ``Array``, not weak, of the expected type; None if no such function can be made.
    """
    count = len(types.inputs) + len(types.reads) + len(types.captures) + len(types.results)
    if not executable.is_short or count > MOST_ARRAYS:
        return None
    writer = _Writer(
        {
            "Array": Array,
            "ndarray": ndarray,
            "empty": empty,
            "new": Array.__new__,
            "plain": executable.plain,
            "settings": config.settings,
            "crews": executable.crews,
            "new_crew": executable.new_crew,
            "new_frame": executable.new_frame,
            "run_measured": executable.run_measured,
            "pack": struct.Struct(f"{count}Q").pack_into,
            "run": threads.run,
            "address": executable.address,
            "build": types.build,
        }
    )
    for i, type in enumerate(types.inputs):
        writer.argument(i, type)
    writer.unpack(len(types.inputs))
    for i, variable in enumerate(types.reads, len(types.inputs)):
        writer.variable(i, variable)
    for i, array in enumerate(types.captures, len(types.inputs) + len(types.reads)):
        writer.constant(i, executable.plain(i, array))
    for i, type in enumerate(types.results):
        writer.output(i, type)
    return writer.finish(len(types.results), types.build)


class _Writer:
    """Writes the function, of variables ``x0``, ``x1``, ... for inputs and ``y0``, ... for outputs.

    Args:
        names: What the function refers to.
    """

    def __init__(self, names: dict[str, Any]) -> None:
        self._names = names
        self._lines: list[str] = []
        self._ids: list[str] = []

    def argument(self, i: int, type: ArrayType) -> None:
        """Argument ``i`` is an array of a type."""
        self._names |= {f"dtype{i}": type.dtype, f"shape{i}": type.shape}
        self._ids.append(f"id(x{i})")
        self._lines += [
            f" if type(x{i}) is Array and not x{i}.weak:",
            f"  x{i} = x{i}._data",
            f" elif type(x{i}) is not ndarray:",
            "  return NotImplemented",
            f" if x{i}.dtype is not dtype{i} or x{i}.shape != shape{i}:",
            "  return NotImplemented",
            f" if not x{i}.flags.carray:",
            f"  x{i} = plain({i}, x{i})",
        ]

    def unpack(self, count: int) -> None:
        """The arguments written so far are all."""
        names = "".join(f"x{i}, " for i in range(count))
        lines = ["def call(args):", f" if len(args) != {count}:", "  return NotImplemented"]
        self._lines[:0] = [*lines, f" {names}= args"] if count else lines

    def variable(self, i: int, variable: Variable) -> None:
        """Input ``i`` is what a variable holds; while a program updates it, one must wait."""
        self._names[f"variable{i}"] = variable
        self._ids.append(f"id(x{i})")
        self._lines += [
            f" x{i} = variable{i}._value",
            f" if x{i} is None:",
            f"  x{i} = variable{i}._held()",
            f" x{i} = x{i}._data",
            f" if not x{i}.flags.carray:",
            f"  x{i} = plain({i}, x{i})",
        ]

    def constant(self, i: int, array: NDArray) -> None:
        """Input ``i`` is always the same."""
        self._names[f"x{i}"] = array
        self._ids.append(str(id(array)))

    def output(self, i: int, type: ArrayType) -> None:
        """Output ``i`` has a type."""
        self._names |= {f"type{i}_": type, f"shape{i}_": type.shape, f"dtype{i}_": type.dtype}
        self._ids.append(f"id(y{i})")
        self._lines.append(f" y{i} = empty(shape{i}_, dtype{i}_)")

    def finish(self, outputs: int, build: Any) -> DirectCall:
        """Run the program, make the result of its outputs, and compile all that."""
        self._lines += [
            " crew = crews.get(settings().threads) or new_crew()",
            " try:",
            "  frame = crew.frames.pop()",
            " except IndexError:",
            "  frame = new_frame(crew)",
            f" pack(frame.table, {FIRST_BUFFER_BYTES}, {', '.join(self._ids)})",
            " count = crew.fixed or crew.team.next()",
            " if crew.team.listens:",
            "  run_measured(crew, count, frame)",
            " else:",
            "  run(address, frame.address, count)",
            " crew.frames.append(frame)",
        ]
        for i in range(outputs):
            self._lines += [
                f" z{i} = new(Array)",
                f" z{i}._data = y{i}",
                f" z{i}.type = type{i}_",
                f" z{i}.weak = False",
            ]
        listed = "".join(f"z{i}, " for i in range(outputs))
        forms = {None: "z0", tuple: f"({listed})", list: f"[{listed}]"}
        self._lines.append(f" return {forms.get(build, f'build([{listed}])')}")
        exec("\n".join(self._lines), self._names)
        # Taken out: the function refers to the names, and is to go with its last holder.
        call: DirectCall = self._names.pop("call")
        return call
