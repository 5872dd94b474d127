"""Compiled programs from the cache, their keys and their memory."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from tests.kernels.kernel_programs import all_bits, check_equal, check_program

import pullback as pb
from pullback import config
from pullback.backend.executable import compile_program
from pullback.backend.llvm.jit import compile_ir
from pullback.program.interpret import interpret

X = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.fixture
def cache(tmp_path):
    with config.override(cache_dir=str(tmp_path)):
        yield tmp_path


@pytest.fixture
def compilations(monkeypatch):
    """The texts that LLVM was given."""
    texts = []

    def counted(text: str, **options: Any) -> bytes:
        texts.append(text)
        return compile_ir(text, **options)

    monkeypatch.setattr("pullback.backend.executable.compile_ir", counted)
    return texts


CONSTANT = pb.asarray(np.arange(4, dtype=np.float32))
PROGRAMS = {
    "kernels": lambda x: pb.tanh(x @ x.T) + pb.sum(x),
    "constants": lambda x: x * CONSTANT + pb.flip(CONSTANT * 2.0),
    "narrow constants": lambda x: x.astype("bfloat16") * pb.astype(CONSTANT, "bfloat16"),
    "boolean constants": lambda x: pb.where(CONSTANT > 1.0, x, pb.arange(4, dtype="float32")),
    "loops": lambda x: pb.scan(lambda c, row: (c + row * CONSTANT, row), x[0], x),
    "scratch": lambda x: pb.nn.softmax(x),
    "outputs that are inputs": lambda x: (x, x + 1.0, x),
}


@pytest.mark.parametrize("donate", [(), (0,)])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_from_the_cache_is_the_same(name, donate, cache, compilations):
    f = PROGRAMS[name]
    first, again = (
        compile_program(pb.make_program(f)(X), donate=frozenset(donate)) for _ in range(2)
    )

    assert len(compilations) == 1
    assert (first.cost, first.output_types) == (again.cost, again.output_types)
    wanted = all_bits(first.checked(X.copy()))
    assert all_bits(again.checked(X.copy())) == wanted
    check_equal(again.checked(X.copy()), interpret(pb.make_program(f)(X), X.copy()), ulp=8)


def test_constants_of_the_same_shape_are_told_apart(cache, compilations):
    for scale in (1.0, 2.0):
        row = pb.asarray(np.arange(4, dtype=np.float32) * np.float32(scale))
        program = pb.make_program(lambda x, row=row: x + pb.flip(row * 3.0))(X)

        (y,) = compile_program(program).checked(X)

        np.testing.assert_array_equal(y, X + (np.arange(4) * scale * 3)[::-1])


def test_whatever_decides_the_code_is_in_the_key(cache, compilations):
    program = pb.make_program(lambda x: pb.sum(x * 2.0 + x, axis=0))(X)

    compile_program(program)
    for options in ({"donate": frozenset([0])}, {"numerics": "fast"}):
        compile_program(pb.make_program(lambda x: x * 2.0)(X), **options)
    with config.override(target="generic"):
        compile_program(program)
    assert len(compilations) == 4

    compile_program(program, name="another name", donate=frozenset())
    assert len(compilations) == 4


def test_without_a_cache_every_program_is_compiled(compilations):
    with config.override(cache_dir="off"):
        for _ in range(2):
            compile_program(pb.make_program(lambda x: x - 4.0)(X))

    assert len(compilations) == 2


def nested(depth: int) -> Any:
    """A function with this many loops one in the other."""

    def add(c):
        return c + 1.0

    f = add
    for _ in range(depth):
        f = _repeated(f)
    return f


def _repeated(f: Any) -> Any:
    return lambda c: pb.scan(lambda c, _: (pb.cumsum(f(c)) * 0.5, None), c, None, length=2)[0]


@pytest.mark.parametrize("depth", [3, 12])
def test_nested_loops(depth):
    program = pb.make_program(nested(depth))(np.ones(5, np.float32))

    check_program(program, [np.ones(5, np.float32)], threads=(1, 2), donate=[frozenset()])


def test_loops_nested_deeper_than_anybody_listens_for_signals():
    program = pb.make_program(nested(40))(np.ones(5, np.float32))

    compile_program(program)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of address space are Linux's")
def test_scratch_memory_is_that_of_the_threads_there_are():
    """A thread of a large product takes megabytes, and there might be a thousand."""
    script = "import numpy as np, pullback as pb; x = np.ones((2048, 2048), np.float32); " + (
        "print(float(np.asarray(pb.jit(lambda x: x @ x)(x))[0, 0]))"
    )

    def limit() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))

    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, preexec_fn=limit
    )

    assert (finished.stdout, finished.stderr) == ("2048.0\n", "")


def test_the_number_of_threads_may_grow():
    f = pb.jit(lambda x: pb.nn.softmax(x @ x.T))
    x = np.random.default_rng(0).normal(size=(300, 300)).astype(np.float32)
    found = []
    for threads in (1, 4, 2, 4, 1):
        with config.override(threads=threads):
            found.append(np.asarray(f(x)).tobytes())

    assert len(set(found)) == 1
