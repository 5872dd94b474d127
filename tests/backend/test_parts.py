"""Text that is compiled in parts side by side."""

from __future__ import annotations

import ctypes
import re
import threading
from typing import Any

import numpy as np
import pytest
from llvmlite.binding import ffi

import pullback as pb
from pullback import config
from pullback.backend.executable import compile_program
from pullback.backend.llvm import jit
from pullback.backend.llvm.parts import split
from pullback.backend.llvm.target import select_target
from pullback.errors import CompilationError

TEXT = """
!1 = distinct !{!1}
@table = private unnamed_addr constant [2 x i32] [i32 40, i32 2], align 64
declare i32 @llvm.smax.i32(i32, i32)
define internal i32 @"a.b"(i32 %x) nounwind {
entry:
  %r = call i32 @llvm.smax.i32(i32 %x, i32 0)
  ret i32 %r
}
define linkonce_odr hidden i32 @second(ptr %p) noinline nounwind {
entry:
  %q = getelementptr i32, ptr %p, i64 1
  %r = load i32, ptr %q
  ret i32 %r
}
define dso_local i32 @main() nounwind {
entry:
  %x = load i32, ptr @table
  %y = call i32 @"a.b"(i32 %x)
  %z = call i32 @second(ptr @table)
  %r = add i32 %y, %z
  ret i32 %r
}
"""


def call_main(code: bytes) -> int:
    loaded = jit.load_object(code)
    return int(ctypes.CFUNCTYPE(ctypes.c_int)(loaded.address("main"))())


@pytest.fixture(params=[1, 2, 3], ids="{} processors".format)
def processors(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """As many processors as compile, also texts that would be too short for that."""
    monkeypatch.setattr(config, "available_processors", lambda: request.param)
    monkeypatch.setattr(jit, "PART_BYTES", 64)
    count: int = request.param
    return count


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
    """The threads that were started for compiling."""
    threads: list[threading.Thread] = []
    start = threading.Thread.start

    def noted(thread: threading.Thread) -> None:
        threads.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", noted)
    return threads


@pytest.mark.parametrize("count", [2, 3])
def test_each_function_is_in_one_part_and_declared_where_it_is_called(count: int) -> None:
    parts = split(TEXT, count)

    defined = [set(re.findall(r'define .*?@("?[\w.]+"?)\(', part)) for part in parts]
    assert len(parts) == count
    assert sorted(name for names in defined for name in names) == ['"a.b"', "main", "second"]
    for part, names in zip(parts, defined, strict=True):
        called = set(re.findall(r'call i32 @("?[\w.]+"?)\(', part))
        declared = set(re.findall(r'declare .*?@("?[\w.]+"?)\(', part))
        assert declared == called - names
        assert "@table = " in part or "@table" not in part


def test_parts_cost_about_the_same() -> None:
    """A block costs as much as many lines: here the shortest function is the dearest."""
    fence = "  fence seq_cst\n"
    blocks = "".join(f"  br label %b{i}\nb{i}:\n" for i in range(8))
    bodies = {"f": blocks, "g": 60 * fence, "h": 60 * fence}
    text = "".join(
        f"define void @{name}() {{\nentry:\n{body}  ret void\n}}\n" for name, body in bodies.items()
    )

    first, second = split(text, 2)

    assert ("@f" in first, "@g" in first, "@h" in first) == (True, False, False)
    assert ("@f" in second, "@g" in second, "@h" in second) == (False, True, True)


@pytest.mark.parametrize(
    "line",
    [
        "@state = internal global i32 0",
        "%pair = type { i32, i32 }",
        "attributes #0 = { nounwind }",
    ],
)
def test_text_with_anything_else_stays_whole(line: str) -> None:
    text = f"{line}\n{TEXT}"

    assert split(text, 2) == [text]


def test_there_are_no_more_parts_than_functions() -> None:
    assert len(split(TEXT, 8)) == 3


def test_parts_are_linked_to_one_program(processors: int, started: list[threading.Thread]) -> None:
    code = jit.compile_ir(TEXT, target=select_target())

    assert len(started) == processors - 1
    assert call_main(code) == 42


def test_a_program_gives_the_same_bits_however_many_compile_it(
    processors: int, started: list[threading.Thread]
) -> None:
    def loss(w: pb.Array, x: pb.Array) -> Any:
        return pb.sum(pb.nn.softmax(pb.tanh(x @ w)) ** 2)

    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((30, 17), np.float32), rng.standard_normal((40, 30), np.float32)
    program = pb.make_program(pb.grad(loss))(pb.asarray(w), pb.asarray(x))
    with config.override(cache_dir=None, threads=1):
        (result,) = compile_program(program)(w, x)

    assert bool(started) == (processors > 1)
    with pytest.MonkeyPatch.context() as patch, config.override(cache_dir=None, threads=1):
        patch.setattr(jit, "MOST_PARTS", 1)
        (expected,) = compile_program(program)(w, x)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.usefixtures("processors")
@pytest.mark.parametrize("name", ["main", "second", '"a.b"'])
def test_an_error_in_any_part_is_raised(name: str) -> None:
    before, head, after = TEXT.partition(f"@{name}(")
    text = before + head + after.replace("entry:\n", "entry:\n  fence nonsense\n", 1)

    with pytest.raises(CompilationError, match="fence"):
        jit.compile_ir(text, target=select_target())


@pytest.mark.usefixtures("processors")
@pytest.mark.parametrize("length", [0, 3, 10, -1])
def test_damaged_code_is_refused(length: int) -> None:
    code = jit.compile_ir(TEXT, target=select_target())

    with pytest.raises(CompilationError, match="damaged"):
        jit.load_object(code[:length])


def test_an_llvmlite_that_hides_its_library_still_compiles(
    processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its functions are called as it gives them, one thread at a time."""
    lib = ffi.lib

    class Hidden:
        def __getattr__(self, name: str) -> Any:
            if name in ("_name", "_handle"):
                raise AttributeError(name)
            return getattr(lib, name)

    jit._unlocked.cache_clear()
    monkeypatch.setattr(ffi, "lib", Hidden())
    try:
        assert jit._unlocked("LLVMPY_TargetMachineEmitToMemory") is not None
        assert call_main(jit.compile_ir(TEXT, target=select_target())) == 42
    finally:
        jit._unlocked.cache_clear()
