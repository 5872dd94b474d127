"""The text of programs, of literals, and the canonical text that serves as a cache key."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.program.programs_by_hand import ROW, layer, loops, traced

from pullback.primitives.custom import HostCall
from pullback.primitives.elementwise import Neg
from pullback.program.core import Equation, Program, Var
from pullback.program.printer import (
    _decimals,
    print_program,
    program_text,
    scalar_from_text,
    scalar_text,
)
from pullback.program.source import Source
from pullback.types import ANY, FLOAT8, SHORT_NAMES, DType, bfloat16, float16

Golden = Callable[[str, str], None]


def test_layer_prints_as_golden(golden: Golden) -> None:
    golden("program_layer", print_program(layer()))


def test_layer_prints_in_full_as_golden(golden: Golden) -> None:
    golden("program_layer_full", print_program(layer(), sources=False, origins=False, full=True))


def test_loops_print_as_golden(golden: Golden) -> None:
    golden("program_loops", print_program(loops()))


def test_canonical_text_is_golden(golden: Golden) -> None:
    golden("program_layer_canonical", program_text(layer()))


def test_str_of_a_program_is_its_text() -> None:
    assert str(layer()) == print_program(layer())


def test_options_leave_out_comments() -> None:
    text = print_program(layer(), origins=False)
    assert "; dense_1 train.py:12" in text
    assert "vjp of" not in text

    text = print_program(layer(), sources=False)
    assert "; vjp of #0 dot" in text
    assert "train.py" not in text


def test_comment_of_a_strange_file_name_stays_on_its_line() -> None:
    eqn = layer().equations[0]
    strange = replace(eqn, source=Source("a\nreturn %0\n}", 1, "f"))
    program = layer().with_equations((strange, *layer().equations[1:]))

    assert len(print_program(program).splitlines()) == len(print_program(layer()).splitlines())


def test_undefined_variable_prints_as_unknown() -> None:
    stray = Var(ROW)
    program = Program((), (Equation(Neg(), (stray,), (Var(ROW),), 0),), (stray,))

    assert "neg %?" in print_program(program)


# Canonical text -----------------------------------------------------------------------------------


def test_canonical_text_ignores_keys_sources_and_origins() -> None:
    program = layer()
    bare = tuple(
        replace(eqn, key=position, source=None, origin=None)
        for position, eqn in enumerate(program.equations)
    )

    assert program_text(program.with_equations(bare)) == program_text(program)


def test_canonical_text_depends_on_the_bits_of_constants() -> None:
    program = layer()
    (bias, big) = program.constants
    changed = big[1].copy()
    changed[4, 3] = np.nextafter(changed[4, 3], np.float32(0.0))

    other = replace(program, constants=(bias, (big[0], changed)))

    assert program_text(other) != program_text(program)


class Mode:
    """An object that is no function."""


def test_objects_print_by_class() -> None:
    assert "function=<object Mode>" in print_program(_host_program(Mode()))  # type: ignore[arg-type]


def _host_program(function: Callable[..., Any]) -> Program:
    return traced("main", HostCall(function, (ROW,), "call"), ROW)


def _identity(x: Any) -> Any:
    return [x]


def test_canonical_text_tells_functions_of_one_name_apart() -> None:
    def make(offset: float) -> Callable[..., Any]:
        return lambda x: [x + offset]

    first, second = make(1.0), make(2.0)

    assert program_text(_host_program(first)) == program_text(_host_program(first))
    assert program_text(_host_program(first)) != program_text(_host_program(second))


def test_canonical_text_of_what_cannot_be_told_apart_is_always_new() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, x: Any) -> Any:
            return [x]

    program = _host_program(Unhashable())

    assert program_text(program) != program_text(program)


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (_identity, "<function _identity>"),
        (functools.partial(_identity), "<function partial>"),
        (lambda x: [x], "<function lambda>"),
    ],
    ids=["function", "partial", "lambda"],
)
def test_host_functions_print_by_name(function: Callable[..., Any], text: str) -> None:
    assert f"function={text}, results=(f32[3],)" in print_program(_host_program(function))


# Literals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.bool_(True), "true"),
        (np.bool_(False), "false"),
        (np.int8(-128), "-128"),
        (np.uint64(2**64 - 1), "18446744073709551615"),
        (np.float32(0.1), "0.1"),
        (np.float32(-0.0), "-0.0"),
        (np.float32(2.0), "2.0"),
        (np.float32(1e20), "1e+20"),
        (np.float64(0.1), "0.1"),
        (np.float64(5e-324), "5e-324"),
        (np.float16(0.1), "0.1"),
        (np.float16(65504.0), "6.55e+04"),
        (ml_dtypes.bfloat16(3.0), "3.0"),
        (ml_dtypes.float8_e4m3fn(448.0), "4.5e+02"),
        (ml_dtypes.float8_e5m2(-math.inf), "-inf"),
        (ml_dtypes.float8_e4m3fn(math.nan), "nan"),
        (np.float32(math.inf), "inf"),
        (np.float64(-math.inf), "-inf"),
        (np.float32(math.nan), "nan"),
        (np.uint32(0x7FC00001).view(np.float32), "nan(0x7fc00001)"),
        (np.uint64(0xFFF8000000000000).view(np.float64), "nan(0xfff8000000000000)"),
    ],
    ids=repr,
)
def test_scalars_print_shortly(value: np.generic, text: str) -> None:
    assert scalar_text(value) == text


@pytest.mark.parametrize("dtype", sorted(ANY, key=str), ids=lambda d: SHORT_NAMES[d])
@given(data=st.data())
def test_scalars_round_trip_to_the_bit(dtype: DType, data: st.DataObject) -> None:
    width = 1 if dtype == np.bool_ else 8 * dtype.itemsize
    bits = data.draw(st.integers(0, 2**width - 1))
    (value,) = np.array([bits], f"u{dtype.itemsize}").view(dtype)

    read = scalar_from_text(scalar_text(value), dtype)

    assert read.dtype == dtype
    assert read.tobytes() == value.tobytes()


@pytest.mark.parametrize("dtype", [float16, bfloat16], ids=["f16", "bf16"])
def test_all_16_bit_floats_round_trip(dtype: DType) -> None:
    for value in np.arange(2**16, dtype=np.uint16).view(dtype)[::7]:
        assert scalar_from_text(scalar_text(value), dtype).tobytes() == value.tobytes()


@pytest.mark.parametrize("dtype", sorted(FLOAT8, key=str), ids=str)
def test_all_8_bit_floats_round_trip(dtype: DType) -> None:
    """Nans of either sign and every payload among them."""
    for value in np.arange(2**8, dtype=np.uint8).view(dtype):
        assert scalar_from_text(scalar_text(value), dtype).tobytes() == value.tobytes()


@pytest.mark.parametrize("value", [np.float32(1.1), np.float64(-1.1e300), np.float32(5e-39)])
def test_last_text_tried_is_exact(value: np.generic) -> None:
    """Where NumPy's text is read back otherwise, by rounding twice, more digits follow."""
    *_, last = _decimals(value)

    assert scalar_from_text(last, value.dtype).tobytes() == value.tobytes()


def test_integer_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="256 is outside u8"):
        scalar_from_text("256", np.dtype(np.uint8))
