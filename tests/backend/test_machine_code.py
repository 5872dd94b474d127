"""Compiling, loading, targets."""

from __future__ import annotations

import ctypes
import gc
import threading
from pathlib import Path

import pytest

from pullback import config
from pullback.backend.llvm import cache, jit, target
from pullback.backend.llvm.target import Target, select_target
from pullback.errors import CompilationError, UnsupportedTargetError

ADD = """
define i32 @add(i32 %x, i32 %y) {
  %r = add i32 %x, %y
  ret i32 %r
}
define i32 @sub(i32 %x, i32 %y) {
  %r = sub i32 %x, %y
  ret i32 %r
}
"""
TARGETS = [
    name
    for name, required in target.REQUIRED_FEATURES.items()
    if target.host_features().issuperset(required) or name == "generic"
]


def call(loaded: jit.Loaded, name: str, x: int, y: int) -> int:
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)
    return int(prototype(loaded.address(name))(x, y))


def test_threads_that_ask_for_one_symbol_at_once_all_get_live_code() -> None:
    """Each look-up is a handle on the code; dropping one of two unloads what the other returned."""

    def ask(loaded: jit.Loaded, start: threading.Barrier, results: list[int]) -> None:
        start.wait()
        results.append(call(loaded, "add", 20, 22))

    code = jit.compile_ir(ADD, target=select_target())
    for _ in range(30):
        loaded = jit.load_object(code)
        start = threading.Barrier(4)
        results: list[int] = []
        askers = [threading.Thread(target=ask, args=(loaded, start, results)) for _ in range(4)]
        for asker in askers:
            asker.start()
        for asker in askers:
            asker.join()
        assert results == [42] * 4


@pytest.mark.parametrize("name", TARGETS)
def test_compiled_functions_run_on_every_target(name: str) -> None:
    loaded = jit.load_object(jit.compile_ir(ADD, target=select_target(name)))

    assert call(loaded, "add", 20, 22) == 42
    assert call(loaded, "sub", 20, 22) == -2
    assert loaded.address("add") == loaded.address("add")


def test_code_may_call_the_c_library() -> None:
    text = """
    declare i64 @strlen(ptr)
    @s = internal constant [4 x i8] c"abc\\00"
    define i32 @length(i32 %x, i32 %y) {
      %n = call i64 @strlen(ptr @s)
      %r = trunc i64 %n to i32
      ret i32 %r
    }
    """
    loaded = jit.load_object(jit.compile_ir(text, target=select_target()))

    assert call(loaded, "length", 0, 0) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("define i32 @f() {", "error"),
        ("define i32 @f(i32 %x) {\n %y = add i64 %x, 1\n ret i32 %y\n}", "expected 'i64'"),
        (
            "define i32 @f(i1 %c) {\n br i1 %c, label %a, label %b\na:\n %x = add i32 1, 2\n"
            " br label %b\nb:\n ret i32 %x\n}",
            "does not dominate",
        ),
    ],
)
def test_refused_text_raises_llvms_message(text: str, message: str) -> None:
    with pytest.raises(CompilationError, match=message):
        jit.compile_ir(text, target=select_target())


def test_missing_symbols_raise() -> None:
    loaded = jit.load_object(jit.compile_ir(ADD, target=select_target()))
    with pytest.raises(CompilationError, match="'mul'"):
        loaded.address("mul")

    text = (
        "declare i32 @no_such_thing()\n"
        "define i32 @f() {\n %r = call i32 @no_such_thing()\n ret i32 %r\n}"
    )
    unresolved = jit.load_object(jit.compile_ir(text, target=select_target()))
    with pytest.raises(CompilationError, match="'f'"):
        unresolved.address("f")


def test_damaged_object_raises() -> None:
    code = jit.compile_ir(ADD, target=select_target())

    with pytest.raises(CompilationError):
        jit.load_object(code[:100]).address("add")
    with pytest.raises(CompilationError):
        jit.load_object(b"not an object").address("add")


def test_load_ir_compiles_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with config.override(cache_dir=tmp_path / "cache"):
        assert call(jit.load_ir(ADD), "add", 1, 2) == 3
        monkeypatch.setattr(jit, "compile_ir", None)
        assert call(jit.load_ir(ADD), "add", 1, 2) == 3


def test_cached_code_of_one_target_is_not_used_for_another() -> None:
    keys = {cache.cache_key("ir", ADD, str(select_target(name))) for name in TARGETS}

    assert len(TARGETS) == len(keys)


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_dropped_programs_return_their_memory() -> None:
    """One MiB of constants each: 100 that stayed would be 100 MiB."""
    text = f"@t = constant [262144 x i32] [{', '.join(['i32 7'] * 262144)}]\n{ADD}"
    code = jit.compile_ir(text, target=select_target())
    call(jit.load_object(code), "add", 1, 2)
    gc.collect()
    before = resident_bytes()

    for _ in range(100):
        call(jit.load_object(code), "add", 1, 2)

    assert resident_bytes() - before < 20 << 20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_compiling_keeps_little_memory() -> None:
    """LLVM's pass managers leak some 60 KB a compilation inside llvmlite; nothing else may."""
    for _ in range(10):
        jit.compile_ir(ADD, target=select_target())
    before = resident_bytes()

    for _ in range(100):
        call(jit.load_object(jit.compile_ir(ADD, target=select_target())), "add", 1, 2)

    assert resident_bytes() - before < 10 << 20


def test_selection_follows_configuration() -> None:
    with config.override(target="generic"):
        assert select_target().name == "generic"
    with config.override(target="auto"):
        assert select_target().name == TARGETS[0]


def test_target_that_the_processor_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    old = frozenset({"avx", "avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"})
    monkeypatch.setattr(target, "host_features", lambda: old)
    monkeypatch.setattr(target, "host_machine", lambda: "x86_64")
    target._select.cache_clear()
    try:
        assert select_target("auto").name == "avx2"
        with pytest.raises(UnsupportedTargetError, match=r"'avx512' needs.*avx512f"):
            select_target("avx512")
        monkeypatch.setattr(target, "host_machine", lambda: "aarch64")
        target._select.cache_clear()
        assert select_target("auto").has_fma
        with pytest.raises(UnsupportedTargetError, match="supports generic"):
            select_target("avx2")
    finally:
        target._select.cache_clear()


@pytest.mark.skipif("avx512" not in TARGETS, reason="needs AVX-512")
def test_full_width_registers_where_the_processor_prefers_half() -> None:
    """Skylake's own preference is 256 bits; the text asks for 512."""
    skylake = Target(
        "avx512", "x86_64", "skylake-avx512", "-prefer-256-bit,-prefer-128-bit", 64, 32, True
    )
    text = """
    define void @f(ptr %p) {
      %x = load <16 x float>, ptr %p
      %y = fadd <16 x float> %x, %x
      store <16 x float> %y, ptr %p
      ret void
    }
    """
    assert "zmm" in jit.assembly(text, target=skylake)
