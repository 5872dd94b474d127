"""What is printed is read back the same, and what is not a program is refused with its line."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.passes.bits import same_bits
from tests.program.programs_by_hand import ROW, layer, loops, traced
from tests.program.strategies import programs, programs_with_arguments

from pullback.errors import ParseError
from pullback.primitives.custom import HostCall
from pullback.program.core import Literal, Program, Var
from pullback.program.interpret import interpret
from pullback.program.parser import MAX_DIGITS, parse_program
from pullback.program.primitive import REGISTRY, Primitive, primitive
from pullback.program.printer import print_program
from pullback.program.verify import verify
from pullback.types import ANY, ArrayType, DType


def bare(program: Program) -> str:
    return print_program(program, sources=False, origins=False, full=True)


@given(program=programs())
def test_print_parse_print_is_identity(program: Program) -> None:
    parsed = parse_program(bare(program))

    assert bare(parsed) == bare(program)
    assert [eqn.key for eqn in parsed.equations] == [eqn.key for eqn in program.equations]
    assert [eqn.primitive.name for eqn in parsed.equations] == [
        eqn.primitive.name for eqn in program.equations
    ]
    verify(parsed)


@given(case=programs_with_arguments())
def test_parsed_program_computes_the_same(case: tuple[Program, tuple[np.ndarray, ...]]) -> None:
    program, arguments = case

    parsed = parse_program(print_program(program))

    assert same_bits(interpret(parsed, *arguments), interpret(program, *arguments))


@pytest.mark.parametrize("program", [layer(), loops()], ids=["layer", "loops"])
def test_examples_round_trip(program: Program) -> None:
    assert bare(parse_program(print_program(program, full=True))) == bare(program)


@given(data=st.data(), dtype=st.sampled_from(sorted(ANY, key=str)))
def test_constants_round_trip_to_the_bit(data: st.DataObject, dtype: DType) -> None:
    shape = data.draw(st.sampled_from([(), (0,), (3,), (4, 5), (17,)]))
    type = ArrayType(shape, dtype)
    top = 1 if dtype == np.bool_ else 255
    bytes_ = data.draw(st.lists(st.integers(0, top), min_size=type.nbytes, max_size=type.nbytes))
    array = np.array(bytes_, np.uint8).view(dtype).reshape(shape)
    var = Var(type)

    parsed = parse_program(bare(Program((), (), (var,), ((var, array),))))

    ((read_var, read),) = parsed.constants
    assert read_var.type == type
    assert (read.shape, read.dtype, read.tobytes()) == (shape, dtype, array.tobytes())


@primitive
class Anything(Primitive):
    """A primitive with a parameter of any kind."""

    value: object
    name = "anything_for_the_parser"

    def infer(self) -> tuple[ArrayType, ...]:
        """Return no type."""
        return ()


REGISTRY.pop(Anything.name)  # only while a test needs it: the registry is complete without it


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -7,
        2**63,
        0.5,
        -0.0,
        1e300,
        float("inf"),
        "",
        'quote " backslash \\ line \n ünïcode; #12',
        (),
        (1,),
        (1, (2, ("x", None)), ()),
        np.dtype(np.float32),
        np.dtype(np.bool_),
        ArrayType((3, 4), np.dtype(np.int8)),
        (ArrayType((), np.dtype(np.uint64)), True),
    ],
    ids=repr,
)
def test_parameters_of_every_kind_round_trip(
    value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGISTRY, Anything.name, Anything)
    program = traced("main", lambda: Anything(value)())

    ((eqn),) = parse_program(bare(program)).equations

    (read,) = eqn.primitive.parameters().values()
    assert read == value
    assert type(read) is type(value)


def test_numpy_parameters_are_read_as_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(REGISTRY, Anything.name, Anything)
    given_value = (np.int64(3), np.float64(0.5), np.bool_(True))
    program = traced("main", lambda: Anything(given_value)())

    ((eqn),) = parse_program(bare(program)).equations

    assert eqn.primitive.parameters()["value"] == (3, 0.5, True)


def test_comments_and_line_breaks_do_not_matter() -> None:
    text = "; first\nprogram f (\n%0:f32[ 3 , ]){%1:f32[3]=neg ; a comment %9\n%0 return %1}"

    program = parse_program(text)

    assert program.name == "f"
    assert program.input_types == (ROW,)
    assert [eqn.primitive.name for eqn in program.equations] == ["neg"]


def test_literals_are_read_to_the_bit() -> None:
    program = parse_program(
        "program main() { return -0.0:f32 nan(0x7fc00001):f32 true:bool -3:i8 1e-45:f32 }"
    )

    values = [atom.value for atom in program.outputs if isinstance(atom, Literal)]

    assert [v.tobytes().hex() for v in values] == ["00000080", "0100c07f", "01", "fd", "01000000"]


REFUSED = {
    "no program": ("", "line 1: expected 'program', found 'the end of the text'"),
    "a character": ("program main() {\n  return ?\n}", "line 2: unexpected character '?'"),
    "no end": (
        "program main() {\n  return",
        "line 2: expected a variable or a number, found 'the end",
    ),
    "more": ("program main() { return }\nx", "line 2: expected the end of the text, found 'x'"),
    "no name": ("program (", "line 1: expected the program's name, found '('"),
    "bad string": ('program "\\q"() { return }', "is not a string"),
    "no type": ("program main(%0) { return }", "line 1: expected ':', found ')'"),
    "no dtype": ("program main(%0: f31[2]) { return }", "'f31' is no dtype"),
    "a negative length": ("program main(%0: f32[-2]) { return }", "-2 is not the length"),
    "no length": ("program main(%0: f32[x]) { return }", "expected the length of an axis"),
    "twice": (
        "program main(%0: f32[]) {\n  %0: f32[] = neg %0\n  return %0\n}",
        "line 2: %0 is assigned a second time",
    ),
    "unknown variable": ("program main() {\n  return %3\n}", "line 2: %3 is read before"),
    "own result": (
        "program main() {\n  %0: f32[] = neg %0\n  return %0\n}",
        "line 2: %0 is read before it is assigned",
    ),
    "unknown primitive": (
        "program main(%0: f32[]) {\n\n  %1: f32[] = negg %0\n  return %1\n}",
        "line 3: no primitive is named 'negg'",
    ),
    "missing parameter": (
        "program main(%0: f32[3]) {\n  %1: f32[] = reduce_sum %0\n  return %1\n}",
        "line 2: the parameters of reduce_sum are axes; found none",
    ),
    "other parameter": (
        "program main(%0: f32[3]) {\n  %1: f32[3] = neg(axes=(0,)) %0\n  return %1\n}",
        "line 2: the parameters of neg are none; found axes",
    ),
    "parameter twice": (
        "program main(%0: f32[3]) { %1: f32[] = reduce_sum(axes=(0,), axes=()) %0 return %1 }",
        "the parameters of reduce_sum are axes; found axes, axes",
    ),
    "wrong parameter": (
        "program main(%0: f32[3]) {\n  %1: f32[] = reduce_sum(axes=0) %0\n  return %1\n}",
        "line 2: reduce_sum: ",
    ),
    "wrong type": (
        "program main(%0: f32[3]) {\n  %1: f32[4] = neg %0\n  return %1\n}",
        "line 2: neg gives f32[3], the text states f32[4]",
    ),
    "wrong operand": (
        "program main(%0: bool[3]) {\n  %1: bool[3] = neg %0\n  return %1\n}",
        "line 2: neg: neg takes",
    ),
    "a function": (
        "program main() {\n  %1: f32[] = host_call(function=<function f>) 1:i32 return }",
        "line 2: <function f> is a Python object, which text can't carry",
    ),
    "a digest": (
        'program main() {\n  const %0: f32[99] = digest("ab")\n  return %0\n}',
        "line 2: the data of constant %0: f32[99] were not printed; print the program with",
    ),
    "neither": ('program main() { const %0: f32[9] = bytes("") return }', "found 'bytes'"),
    "no base64": ('program main() { const %0: f32[] = base64("~~") return }', "is not base64"),
    "too few bytes": (
        'program main() { const %0: f32[2] = base64("AAAAAA==") return }',
        "constant %0: f32[2] needs 2 elements of 4 bytes, found 4 bytes",
    ),
    "too many elements": (
        "program main() { const %0: i32[1] = [1, 2] return }",
        "constant %0: i32[1] needs 1 elements of 4 bytes, found 8 bytes",
    ),
    "a bool of f32": ("program main() { return true:f32 }", "'true' is not a number of dtype f32"),
    "a fraction": ("program main() { return 1.5:i32 }", "'1.5' is not a number of dtype i32"),
    "out of range": ("program main() { return 300:u8 }", "'300' is not a number of dtype u8"),
    "too large": ("program main() { return 1e39:f32 }", "1e39 is too large for f32"),
    "beyond nan": ("program main() { return 5e2:f8e4m3fn }", "5e2 is too large for f8e4m3fn"),
    "no infinity": ("program main() { return -inf:f8e4m3fn }", "-inf is too large for f8e4m3fn"),
    "a wide nan": ("program main() { return nan(0x1ffffffff):f32 }", "is not a number"),
    "a word": ("program main() { return yes:bool }", "'yes' is not a number of dtype bool"),
    "digits": (
        f"program main(%0: f32[{'9' * (MAX_DIGITS + 1)}]) {{ return }}",
        f"an integer of {MAX_DIGITS + 1} digits is too long",
    ),
    "a bracket": ("program main() { const %0: f32[2] = [1.0 2.0] return }", "expected ']'"),
    "depth": (
        f"program main() {{ %0: f32[] = reduce_sum(axes={'(' * 100_000}",
        "nested too deeply",
    ),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_a_program_is_refused(text: str, message: str) -> None:
    with pytest.raises(ParseError) as raised:
        parse_program(text)

    assert str(raised.value).startswith("line ")
    assert message in str(raised.value)


def test_printed_host_call_is_refused() -> None:
    program = traced("main", HostCall(lambda x: [x], (ROW,), "f"), ROW)

    with pytest.raises(ParseError, match="text can't carry"):
        parse_program(print_program(program))


def test_elided_constant_is_refused_by_name() -> None:
    with pytest.raises(ParseError, match=r"line 3: the data of constant %3: f32\[5,4\]"):
        parse_program(print_program(layer()))
