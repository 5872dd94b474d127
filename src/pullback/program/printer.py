"""Programs as text: ``print_program`` for people and the parser, ``program_text`` for cache keys.

Imports ``core``, ``primitive`` and ``types``. The grammar stands in ``parser``, which reads it.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import math
import os
import re
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np

from pullback.program.core import Atom, Equation, Literal, NDArray, Program, Var
from pullback.records import dataclass
from pullback.types import BOOLEAN, INTEGER, SHORT_NAMES, ArrayType, DType

#: A constant of at most so many elements is printed as a list of numbers.
LIST_ELEMENTS: Final = 16
#: Comments of one program begin in one column, unless a line is longer than this.
COMMENT_COLUMN: Final = 72

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def print_program(
    program: Program, *, sources: bool = True, origins: bool = True, full: bool = False
) -> str:
    """Return the text of ``program``; ``parser.parse_program`` reads it back.

    Variables are numbered by position: inputs, constants, results. An equation's key is printed
    as ``#12`` where it differs from the equation's position.

    Args:
        program: What to print.
        sources: Add the user's line to each equation, as a comment.
        origins: Add the rule and the equation that made each equation, as a comment.
        full: Print the data of constants of more than ``LIST_ELEMENTS`` elements. Otherwise their
            digest stands for them, and the parser refuses the text.
    """
    style = _Style(sources=sources, origins=origins, full=full)
    return "\n".join(_Printer(style, program).lines())


def program_text(program: Program) -> str:
    """Return the canonical text of ``program``, to be used as a cache key.

    Programs of equal text compute the same: it has everything that decides what is computed,
    and no sources, origins or keys. The data of long constants are represented by their SHA-256.
    A Python function (of a host call) is represented by a token that no other function and no
    other process has.
    """
    style = _Style(sources=False, origins=False, full=False, canonical=True)
    return "\n".join(_Printer(style, program).lines())


@dataclass(frozen=True, slots=True)
class _Style:
    sources: bool
    origins: bool
    full: bool
    canonical: bool = False


class _Printer:
    """Prints one program; bodies of control flow have a printer, and a numbering, of their own."""

    def __init__(self, style: _Style, program: Program, indent: str = "") -> None:
        self.style = style
        self.program = program
        self.indent = indent
        self.inner = indent + "  "
        numbered = itertools.chain(
            program.inputs,
            (var for var, _ in program.constants),
            itertools.chain.from_iterable(eqn.outputs for eqn in program.equations),
        )
        self.names = {var: f"%{number}" for number, var in enumerate(numbered)}

    def lines(self) -> list[str]:
        inputs = ", ".join(map(self.declaration, self.program.inputs))
        lines = [f"program {_name_text(self.program.name)}({inputs}) {{"]
        lines += [self.constant(var, array) for var, array in self.program.constants]
        rows = [
            (self.equation(position, eqn), self.comment(eqn))
            for position, eqn in enumerate(self.program.equations)
        ]
        lines += _with_comments(rows)
        returned = "".join(f" {self.atom(a)}" for a in self.program.outputs)
        return [*lines, f"{self.inner}return{returned}", f"{self.indent}}}"]

    def declaration(self, var: Var) -> str:
        return f"{self.names[var]}: {var.type}"

    def atom(self, atom: Atom) -> str:
        if isinstance(atom, Literal):
            return f"{scalar_text(atom.value)}:{SHORT_NAMES[atom.value.dtype]}"
        return self.names.get(atom, "%?")  # not defined: the verifier's messages need a text too

    def constant(self, var: Var, array: NDArray) -> str:
        data = constant_text(array, full=self.style.full)
        return f"{self.inner}const {self.declaration(var)} = {data}"

    def equation(self, position: int, eqn: Equation) -> str:
        outputs = ", ".join(map(self.declaration, eqn.outputs)) or "()"
        parameters = ", ".join(
            f"{name}={self.parameter(value)}" for name, value in eqn.primitive.parameters().items()
        )
        call = f"{eqn.primitive.name}({parameters})" if parameters else eqn.primitive.name
        operands = "".join(f" {self.atom(a)}" for a in eqn.inputs)
        key = "" if self.style.canonical or eqn.key == position else f" #{eqn.key}"
        return f"{self.inner}{outputs} = {call}{operands}{key}"

    def comment(self, eqn: Equation) -> str:
        parts = []
        if self.style.origins and eqn.origin is not None:
            parts.append(str(eqn.origin))
        if self.style.sources and eqn.source is not None:
            parts.append(str(eqn.source))
        return " ".join(" ".join(parts).split())  # a file name may hold a line break

    def parameter(self, value: Any) -> str:
        if isinstance(value, Program):
            body = _Printer(self.style, value, self.inner + "  ")
            return f"\n{body.indent}" + "\n".join(body.lines())
        if isinstance(value, tuple):
            items = ", ".join(map(self.parameter, value)).replace(", \n", ",\n")
            return f"({items},)" if len(value) == 1 else f"({items})"
        return _plain_parameter(value, self.style.canonical)


def _with_comments(rows: list[tuple[str, str]]) -> list[str]:
    ends = [len(text) - text.rfind("\n") - 1 for text, comment in rows if comment]
    column = max((end for end in ends if end <= COMMENT_COLUMN), default=0)
    return [
        f"{text}{' ' * max(0, column - (len(text) - text.rfind(chr(10)) - 1))} ; {comment}"
        if comment
        else text
        for text, comment in rows
    ]


def _plain_parameter(value: Any, canonical: bool) -> str:
    if value is None or isinstance(value, (bool, np.bool_)):
        return {None: "none", True: "true", False: "false"}[value if value is None else bool(value)]
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, (float, np.floating)):
        return scalar_text(np.float64(value))
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, np.dtype):
        return SHORT_NAMES[value]
    if isinstance(value, ArrayType):
        return str(value)
    return _opaque_text(value, canonical)


def _name_text(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


# Literals and constants ---------------------------------------------------------------------------


def scalar_text(value: Any) -> str:
    """Return the shortest text found that ``scalar_from_text`` reads back to the same bits."""
    dtype = value.dtype
    if dtype in BOOLEAN:
        return "true" if value else "false"
    if dtype in INTEGER:
        return str(int(value))
    if math.isnan(value):
        return "nan" if _reads_back("nan", value) else f"nan(0x{_bits(value):x})"
    return next(text for text in _decimals(value) if _reads_back(text, value))


def _decimals(value: Any) -> Iterator[str]:
    """Yield decimal texts of a number, shorter ones first; the last is exact."""
    if value.dtype.itemsize > 2:
        yield str(value)  # nearly always: NumPy's shortest text for this very dtype
    for digits in range(1, 18):
        text = f"{float(value):.{digits}g}"
        yield text if set(text) & set(".en") else f"{text}.0"


def _reads_back(text: str, value: Any) -> bool:
    return bool(scalar_from_text(text, value.dtype).tobytes() == value.tobytes())


def scalar_from_text(text: str, dtype: DType) -> np.generic:
    """Return the scalar of ``dtype`` that ``scalar_text`` wrote as ``text``.

    Raises:
        ValueError: the text is not a number of this dtype, or out of its range.
    """
    if dtype in BOOLEAN:
        return np.bool_({"true": True, "false": False}[text])
    if dtype in INTEGER:
        number = int(text)
        if not np.iinfo(dtype).min <= number <= np.iinfo(dtype).max:
            raise ValueError(f"{text} is outside {SHORT_NAMES[dtype]}")
        integer: np.generic = dtype.type(number)
        return integer
    if text.startswith("nan("):
        bits = int(text[4:-1], 16).to_bytes(dtype.itemsize, sys.byteorder)
        return next(iter(np.frombuffer(bits, dtype)))
    with np.errstate(over="ignore"):
        return next(iter(np.asarray([float(text)]).astype(dtype)))


def _bits(value: Any) -> int:
    return int(np.asarray(value).view(f"u{value.dtype.itemsize}"))


def constant_text(array: NDArray, *, full: bool) -> str:
    """Return a constant's data: a list, base64 of the bytes, or their digest."""
    if array.size <= LIST_ELEMENTS:
        return f"[{', '.join(scalar_text(x) for x in array.reshape(-1))}]"
    data = constant_bytes(array)
    if full:
        return f'base64("{base64.b64encode(data).decode()}")'
    return f'digest("{hashlib.sha256(data).hexdigest()}")'


def constant_bytes(array: NDArray) -> bytes:
    """Return the elements in row-major order, little-endian on every machine."""
    words = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
    return words.astype(words.dtype.newbyteorder("<")).tobytes()


# Parameters that text can't carry -----------------------------------------------------------------

_serials: Final = itertools.count()
_tokens: Final[weakref.WeakKeyDictionary[Callable[..., Any], int]] = weakref.WeakKeyDictionary()


@functools.cache
def _process_token(pid: int) -> str:
    return f"{pid}-{os.urandom(8).hex()}"


def _opaque_text(value: Any, canonical: bool) -> str:
    kind = "function" if callable(value) else "object"
    name = getattr(value, "__qualname__", None) or type(value).__qualname__
    name = re.sub(r"[<>\s]", "", name)
    if not canonical:
        return f"<{kind} {name}>"
    try:
        serial = _tokens.setdefault(value, -1)
        if serial < 0:
            serial = _tokens[value] = next(_serials)
    except TypeError:  # not hashable, or no weak references: equal to nothing, not even itself
        serial = next(_serials)
    return f"<{kind} {name} {_process_token(os.getpid())} {serial}>"
