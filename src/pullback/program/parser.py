"""Reads the text that ``printer`` writes.

The grammar, where line breaks are spaces::

    program  = "program" name "(" [var {"," var}] ")" "{" {constant} {equation} return "}"
    var      = NUMBERED ":" type                            %3: f32[2,3]
    constant = "const" var "=" data
    equation = (var {"," var} | "()") "=" primitive ["(" [field {"," field}] ")"] {atom} [KEY]
    field    = NAME "=" value
    value    = number | string | tuple | dtype | type | "true" | "false" | "none" | program
    atom     = NUMBERED | number ":" dtype                  %3   -0.5:f32
    return   = "return" {atom}
    data     = "[" [number {"," number}] "]" | "base64" "(" string ")"

A comment goes from ``;`` to the end of the line. Imports ``core``, ``primitive`` and ``printer``.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NoReturn, TypeVar

import numpy as np

from pullback.errors import ParseError
from pullback.program.core import Atom, Equation, Literal, NDArray, Program, Var
from pullback.program.primitive import REGISTRY, Primitive
from pullback.program.printer import scalar_from_text
from pullback.records import dataclass
from pullback.types import DTYPES_BY_SHORT_NAME, SHORT_NAMES, ArrayType, DType, float64

T = TypeVar("T")

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r]+|;[^\n]*)
      | (?P<newline>\n)
      | (?P<var>%[0-9]+)
      | (?P<key>\#[0-9]+)
      | (?P<number>-?(?:nan\(0x[0-9a-f]+\)|(?:nan|inf)\b
                       |[0-9]+(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?))
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<opaque><[^>\n]*>)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark>[=,:(){}\[\]])
    """,
    re.VERBOSE,
)
#: Longer integers are refused: converting them takes time quadratic in their length.
MAX_DIGITS: Final = 32

_INTEGER: Final = re.compile(r"-?[0-9]+")
_WORDS: Final = {"true": True, "false": False, "none": None}


def parse_program(text: str) -> Program:
    """Return the program that ``text`` writes out; the inverse of ``print_program(…, full=True)``.

    Comments (sources and origins) are skipped. Primitives are looked up in the registry, so
    ``pullback.primitives`` must have been imported. The types of every equation are checked.

    Raises:
        ParseError: the text is not a program, or holds what a text can't carry: a Python function,
            or the digest of a constant whose data were not printed. The message names the line.
    """
    parser = _Parser(text)
    try:
        program = parser.program()
    except RecursionError:
        parser.fail("programs or tuples are nested too deeply")
    parser.expect_kind("end", "the end of the text")
    return program


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def _tokens(text: str) -> Iterator[_Token]:
    line, position = 1, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ParseError(f"line {line}: unexpected character {text[position]!r}")
        kind = str(match.lastgroup)
        if kind == "newline":
            line += 1
        elif kind != "space":
            yield _Token(kind, match.group(), line)
        position = match.end()
    yield _Token("end", "the end of the text", line)


class _Parser:
    """Recursive descent over the tokens, one method a rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.position = 0
        self.scope: dict[str, Var] = {}

    # Tokens ---------------------------------------------------------------------------------------

    @property
    def next(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        token = self.next
        self.position += token.kind != "end"
        return token

    def fail(self, message: str, token: _Token | None = None) -> NoReturn:
        raise ParseError(f"line {(token or self.next).line}: {message}")

    def expect_kind(self, kind: str, what: str) -> _Token:
        if self.next.kind != kind:
            self.fail(f"expected {what}, found {self.next.text!r}")
        return self.take()

    def expect(self, text: str) -> None:
        if self.next.text != text or self.next.kind not in ("mark", "name"):
            self.fail(f"expected {text!r}, found {self.next.text!r}")
        self.position += 1

    def accept(self, text: str) -> bool:
        found = self.next.text == text and self.next.kind in ("mark", "name")
        self.position += found
        return found

    def listed(self, item: Callable[[], T], end: str) -> tuple[T, ...]:
        """Items between commas, also after the last one, up to the mark ``end``."""
        items = []
        while not self.accept(end):
            items.append(item())
            if not self.accept(","):
                self.expect(end)
                break
        return tuple(items)

    # Programs -------------------------------------------------------------------------------------

    def program(self) -> Program:
        outer, self.scope = self.scope, {}
        self.expect("program")
        name = self.string() if self.next.kind == "string" else self.name("the program's name")
        self.expect("(")
        inputs = self.listed(self.declaration, ")")
        self.expect("{")
        constants = []
        while self.accept("const"):
            constants.append(self.constant())
        equations: list[Equation] = []
        while not self.accept("return"):
            equations.append(self.equation(len(equations)))
        outputs = []
        while not self.accept("}"):
            outputs.append(self.atom())
        self.scope = outer
        return Program(inputs, tuple(equations), tuple(outputs), tuple(constants), name)

    def declaration(self) -> Var:
        token = self.expect_kind("var", "a variable such as %3")
        self.expect(":")
        var = Var(self.type())
        if token.text in self.scope:
            self.fail(f"{token.text} is assigned a second time", token)
        self.scope[token.text] = var
        return var

    def equation(self, position: int) -> Equation:
        names_before = dict(self.scope)
        outputs = self.results()
        names_after, self.scope = self.scope, names_before  # an equation can't read its results
        self.expect("=")
        start = self.next
        primitive = self.primitive()
        inputs = []
        while self.at_operand():
            inputs.append(self.atom())
        key = self.integer(self.take()) if self.next.kind == "key" else position
        self.scope = names_after
        self.check_types(start, primitive, tuple(inputs), outputs)
        return Equation(primitive, tuple(inputs), outputs, key)

    def results(self) -> tuple[Var, ...]:
        if self.accept("("):
            self.expect(")")
            return ()
        outputs = [self.declaration()]
        while self.accept(","):
            outputs.append(self.declaration())
        return tuple(outputs)

    def at_operand(self) -> bool:
        after = self.tokens[min(self.position + 1, len(self.tokens) - 1)]
        if self.next.kind == "var":
            return after.text != ":"  # else the next equation begins
        return self.next.kind == "number" or self.next.text in ("true", "false")

    def check_types(
        self,
        start: _Token,
        primitive: Primitive,
        inputs: tuple[Atom, ...],
        outputs: tuple[Var, ...],
    ) -> None:
        try:
            inferred: Any = primitive.infer(*(a.type for a in inputs))
        except Exception as error:
            self.fail(f"{primitive.name}: {error}", start)
        types = inferred if isinstance(inferred, tuple) else (inferred,)
        stated = tuple(v.type for v in outputs)
        if stated != types:
            expected, found = (" ".join(map(str, ts)) for ts in (types, stated))
            self.fail(f"{primitive.name} gives {expected}, the text states {found}", start)

    def primitive(self) -> Primitive:
        token = self.next
        cls = REGISTRY.get(self.name("the name of a primitive"))
        if cls is None:
            self.fail(f"no primitive is named {token.text!r}", token)
        fields = self.listed(self.field, ")") if self.accept("(") else ()
        given = [name for name, _ in fields]
        expected = [f.name for f in dataclasses.fields(cls)]
        if given != expected:
            stated, known = (", ".join(names) or "none" for names in (given, expected))
            self.fail(f"the parameters of {token.text} are {known}; found {stated}", token)
        return cls(**dict(fields))

    def field(self) -> tuple[str, Any]:
        name = self.name("the name of a parameter")
        self.expect("=")
        return name, self.value()

    # Values ---------------------------------------------------------------------------------------

    def value(self) -> Any:
        token = self.next
        if token.kind == "number":
            self.take()
            if _INTEGER.fullmatch(token.text):
                return self.integer(token)
            return float(self.scalar(token, float64))
        if token.kind == "string":
            return self.string()
        if token.kind == "opaque":
            self.fail(f"{token.text} is a Python object, which text can't carry", token)
        if self.accept("("):
            return self.listed(self.value, ")")
        if token.text == "program":
            return self.program()
        if token.text in _WORDS:
            return _WORDS[self.take().text]
        dtype = self.dtype()
        return ArrayType(self.shape(), dtype) if self.next.text == "[" else dtype

    def name(self, what: str) -> str:
        return self.expect_kind("name", what).text

    def string(self) -> str:
        token = self.expect_kind("string", "a string")
        try:
            return str(json.loads(token.text))
        except ValueError as error:
            self.fail(f"{token.text} is not a string: {error}", token)

    def dtype(self) -> DType:
        token = self.next
        dtype = DTYPES_BY_SHORT_NAME.get(self.name("a dtype such as f32"))
        if dtype is None:
            self.fail(f"{token.text!r} is no dtype; f32, i32 and bool are some", token)
        return dtype

    def shape(self) -> tuple[int, ...]:
        self.expect("[")
        return self.listed(self.length, "]")

    def length(self) -> int:
        token = self.expect_kind("number", "the length of an axis")
        if not token.text.isdecimal():
            self.fail(f"{token.text} is not the length of an axis", token)
        return self.integer(token)

    def integer(self, token: _Token) -> int:
        if len(token.text) > MAX_DIGITS:
            self.fail(f"an integer of {len(token.text)} digits is too long", token)
        return int(token.text.removeprefix("#"))

    def type(self) -> ArrayType:
        dtype = self.dtype()
        return ArrayType(self.shape(), dtype)

    def atom(self) -> Atom:
        if self.next.kind == "var":
            token = self.take()
            if token.text not in self.scope:
                self.fail(f"{token.text} is read before it is assigned", token)
            return self.scope[token.text]
        if self.next.kind not in ("number", "name"):
            self.fail(f"expected a variable or a number, found {self.next.text!r}")
        token = self.take()
        self.expect(":")
        return Literal(self.scalar(token, self.dtype()))

    def scalar(self, token: _Token, dtype: DType) -> np.generic:
        try:
            scalar = scalar_from_text(token.text, dtype)
        except (ValueError, KeyError, OverflowError):
            self.fail(f"{token.text!r} is not a number of dtype {SHORT_NAMES[dtype]}", token)
        if scalar != scalar and not token.text.startswith("nan"):  # a dtype without infinity
            self.fail(f"{token.text} is too large for {SHORT_NAMES[dtype]}", token)
        if "inf" in str(scalar) and "inf" not in token.text:
            self.fail(f"{token.text} is too large for {SHORT_NAMES[dtype]}", token)
        return scalar

    def constant(self) -> tuple[Var, NDArray]:
        start = self.next
        var = self.declaration()
        self.expect("=")
        if self.accept("["):
            elements = self.listed(lambda: self.scalar(self.take(), var.type.dtype), "]")
            data = b"".join(x.tobytes() for x in elements)
            return var, self.array(start, var.type, data, native=True)
        form = self.name("the constant's data")
        self.expect("(")
        text = self.string()
        self.expect(")")
        if form == "digest":
            self.fail(
                f"the data of constant {start.text}: {var.type} were not printed; print the "
                "program with print_program(program, full=True)",
                start,
            )
        if form != "base64":
            self.fail(f"expected a list, base64 or a digest, found {form!r}", start)
        try:
            data = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            self.fail(f"constant {start.text} is not base64: {error}", start)
        return var, self.array(start, var.type, data, native=False)

    def array(self, start: _Token, type: ArrayType, data: bytes, *, native: bool) -> NDArray:
        if len(data) != type.nbytes:
            self.fail(
                f"constant {start.text}: {type} needs {type.size} elements of "
                f"{type.dtype.itemsize} bytes, found {len(data)} bytes",
                start,
            )
        order = "=" if native else "<"
        words = np.frombuffer(data, f"{order}u{type.dtype.itemsize}")
        array: NDArray = words.astype(f"u{type.dtype.itemsize}").view(type.dtype)
        return array.reshape(type.shape)
