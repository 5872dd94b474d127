"""Compiled programs where things go wrong: a right result or a clear error, and life goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.kernels.kernel_programs import WholeTeam, all_bits, compiled, run_on

import pullback as pb
from pullback import config
from pullback.backend.executable import compile_program
from pullback.errors import DTypeError, ShapeError
from pullback.program.interpret import interpret

X = np.arange(60_000, dtype=np.float32).reshape(300, 200) / 60_000


def step(x: Any) -> Any:
    """Some kernels with barriers between them."""
    for _ in range(5):
        x = pb.sign(x @ (x.T @ x)) + pb.flip(x - pb.max(x, axis=0))
    return x, pb.sum(x, axis=1)


@pytest.fixture(scope="module")
def program() -> Any:
    return pb.make_program(step)(X)


@pytest.fixture(scope="module")
def expected(program: Any) -> list[bytes]:
    return all_bits(run_on(compiled(program), 1, [X]))


# Processes and threads ----------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_computes(program, expected):
    executable = compiled(program)
    assert all_bits(run_on(executable, 2, [X])) == expected

    child = os.fork()
    if child == 0:
        os._exit(0 if all_bits(run_on(executable, 2, [X])) == expected else 1)
    results = all_bits(run_on(executable, 2, [X]))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert results == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_compiles():
    f = pb.jit(lambda x: pb.exp(x) @ x.T)
    wanted = np.asarray(f(X))

    child = os.fork()
    if child == 0:
        again = pb.jit(lambda x: pb.exp(x) @ x.T + 0.0 * x[0, 0])
        same = np.array_equal(f(X), wanted) and np.allclose(again(X), wanted)
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0


def in_threads(tasks: list[Callable[[], Any]]) -> None:
    """Run all at once; raise what one of them raised."""
    failures: list[BaseException] = []
    start = threading.Barrier(len(tasks))

    def run(task: Callable[[], Any]) -> None:
        try:
            start.wait(60)
            task()
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert not worker.is_alive()
    if failures:
        raise failures[0]


def test_threads_call_one_program_at_once(program, expected):
    executable = compiled(program)

    def call() -> None:
        for _ in range(15):
            assert all_bits(run_on(executable, 2, [X])) == expected

    in_threads([call] * 4)


def test_threads_call_different_programs_at_once():
    def caller(number: int) -> Callable[[], None]:
        program = pb.make_program(lambda x: step(x * float(number)))(X)
        executable = compiled(program)
        wanted = all_bits(run_on(executable, 1, [X]))

        def call() -> None:
            for _ in range(10):
                assert all_bits(run_on(executable, 2, [X])) == wanted

        return call

    in_threads([caller(number) for number in (1, 2, 3)])


def test_threads_compile_at_once(tmp_path):
    config.update(cache_dir=str(tmp_path))
    try:
        results: dict[int, Any] = {}

        def compiler(number: int) -> Callable[[], None]:
            def call() -> None:
                f = pb.jit(lambda x: pb.sum(pb.tanh(x) * float(number % 2 + 1), axis=0))
                results[number] = np.asarray(f(X))

            return call

        in_threads([compiler(number) for number in range(4)])
    finally:
        config.reset()

    for number, found in results.items():
        np.testing.assert_allclose(found, np.tanh(X).sum(axis=0) * (number % 2 + 1), rtol=1e-4)


def test_more_threads_than_processors_beside_a_busy_one(program, expected):
    """The team sleeps rather than spin for ever; each call ends soon enough."""
    executable = compiled(program)
    over = threading.Event()

    def busy() -> None:
        while not over.is_set():
            np.dot(X.T, X)

    worker = threading.Thread(target=busy)
    worker.start()
    try:
        begin = time.perf_counter()
        for threads in (4, 3, 8, 4):
            assert all_bits(run_on(executable, threads, [X])) == expected
        assert time.perf_counter() - begin < 20
    finally:
        over.set()
        worker.join(30)


LONG = """
import signal, sys, time
import numpy as np
import pullback as pb

@pb.jit
def run(x):
    def step(c, _):
        c = pb.sin(c @ c)
        return pb.cond(c[0, 0] > 2.0, lambda: pb.cumsum(c, axis=0), lambda: c), None
    return pb.scan(step, x, None, length=1_000_000)[0]

@pb.jit
def nested(x):
    def inner(c, _):
        return pb.cos(c), None
    return pb.while_loop(
        lambda s: s[1] < 1_000_000,
        lambda s: (pb.scan(inner, s[0], None, length=1000)[0], s[1] + 1), (x, 0))[0]

@pb.jit
def with_host_calls(x):
    def step(c, _):
        return pb.linalg.det(c) + c * 0.5, None
    return pb.scan(step, x, None, length=10_000_000)[0]

short = pb.jit(lambda x: pb.sum(x * 2.0))
x = np.ones((150, 150), np.float32)
short(x)
f = {name}
print("running", flush=True)
try:
    f(x)
    print("finished")
except KeyboardInterrupt:
    print("interrupted", time.time(), float(short(x)), flush=True)
try:
    print("again", flush=True)
    f(x)
except KeyboardInterrupt:
    print("interrupted", time.time(), float(short(x)), flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("name", ["run", "nested", "with_host_calls"])
def test_ctrl_c_ends_a_long_loop_within_a_second(name, threads):
    process = subprocess.Popen(
        [sys.executable, "-c", LONG.replace("{name}", name)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PULLBACK_THREADS": threads},
    )
    assert process.stdout is not None
    for announced in ("running", "again"):
        assert process.stdout.readline().strip() == announced
        time.sleep(1.0)  # the first run compiles
        sent = time.time()
        process.send_signal(signal.SIGINT)
        word, when, value = process.stdout.readline().split()
        assert word == "interrupted"
        assert float(when) - sent < 1.0
        assert float(value) == 2 * 150 * 150
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")


def test_an_interrupted_run_leaves_whole_steps():
    """Donated memory holds what the last finished iteration left."""
    script = """
import signal, threading, time, os
import numpy as np, pullback as pb
from pullback.backend.llvm import threads
count = pb.Variable(np.zeros((200, 200), np.float32))
square = pb.Variable(np.zeros((200, 200), np.float32))
@pb.jit
def run():
    def step(c, _):
        a, b = c
        return (a + 1.0, b + 2.0 * a + 1.0), None
    (a, b), _ = pb.scan(step, (count.value, square.value), None, length=5_000_000)
    count.assign(a)
    square.assign(b)
def starting(*args, begin=threads.run_interruptible):
    threading.Timer(0.7, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    begin(*args)
threads.run_interruptible = starting
try:
    run()
except KeyboardInterrupt:
    a, b = np.asarray(count.value), np.asarray(square.value)
    print(a.min() == a.max(), b.min() == b.max(), a.max() > 0)
"""
    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120
    )

    assert (finished.stdout.split(), finished.stderr) == (["True"] * 3, "")


# Data ---------------------------------------------------------------------------------------------


def test_nan_and_infinity_pass_through():
    x = np.array([[np.nan, 1, np.inf], [-np.inf, np.inf, 0], [1, 2, 3]], np.float32)

    def f(x):
        return pb.max(x, axis=1), pb.sum(x, axis=0), x @ x, pb.argmax(x, axis=1), pb.nn.relu(x)

    program = pb.make_program(f)(x)

    for actual, wanted in zip(
        run_on(compiled(program), 2, [x]), interpret(program, x), strict=True
    ):
        np.testing.assert_array_equal(actual, wanted)


def misaligned(x: Any) -> Any:
    """The same array one byte beside where its elements belong."""
    memory = np.zeros(x.nbytes + 1, np.uint8)
    view: Any = np.ndarray(x.shape, x.dtype, memory, offset=1)
    view[...] = x
    return view


def locked(x: Any) -> Any:
    copy = x.copy()
    copy.flags.writeable = False
    return copy


class Subclass(np.ndarray):
    """An array class of somebody else's."""


ODD = {
    "transposed": lambda x: np.asfortranarray(x),
    "strided": lambda x: np.repeat(np.repeat(x, 2, axis=0), 3, axis=1)[::2, ::3],
    "reversed": lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "read only": locked,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "misaligned": misaligned,
    "subclass": lambda x: x.view(Subclass),
}


@pytest.mark.parametrize("donate", [None, 0])
@pytest.mark.parametrize("kind", ODD)
def test_arrays_of_every_kind_are_read_right(kind, donate):
    x = ODD[kind](X)
    before = np.array(x)
    f = pb.jit(lambda x: x * 2.0 + pb.sum(x, axis=0), donate_argnums=donate)

    y = f(x)

    np.testing.assert_allclose(y, before * 2 + before.sum(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("kind", ["read only", "misaligned", "transposed", "strided", "subclass"])
def test_memory_that_a_program_cannot_take_over_is_refused(kind):
    x = ODD[kind](X)
    before = np.array(x)
    executable = compile_program(pb.make_program(lambda x: x + 1.0)(X), donate=frozenset([0]))

    with pytest.raises(ValueError, match=r"donated input 0 of .* pass a copy"):
        executable.checked(x)

    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(executable.checked(before.copy())[0], before + 1)


def test_one_array_donated_twice():
    x = pb.asarray(X.copy())
    f = pb.jit(lambda x, y: (x + 1.0, y * 2.0), donate_argnums=(0, 1))

    a, b = f(x, x)

    np.testing.assert_array_equal(a, X + 1)
    np.testing.assert_array_equal(b, X * 2)


def test_one_array_donated_and_read():
    x = pb.asarray(X.copy())
    f = pb.jit(lambda x, y: (x + 1.0, pb.flip(y)), donate_argnums=0)

    a, b = f(x, x)

    np.testing.assert_array_equal(a, X + 1)
    np.testing.assert_array_equal(b, X[::-1, ::-1])


def test_another_dtype_shape_or_tree_is_another_program():
    f = pb.jit(lambda p: pb.tree.map(lambda v: v * 2, p))

    for value in (
        np.ones(3, np.float32),
        np.ones(3, np.int32),
        np.ones((2, 0), np.float64),
        {"a": np.ones(2, np.float32)},
        {"a": np.ones(2, np.float32), "b": np.ones(3, np.int8)},
        (np.ones(1, np.bool_) * 1, None),
    ):
        for _ in range(2):
            found = f(value)
            assert pb.tree.structure(found) == pb.tree.structure(value)
            for x, y in zip(pb.tree.leaves(found), pb.tree.leaves(value), strict=True):
                np.testing.assert_array_equal(x, y * 2)
                assert x.dtype == y.dtype


def test_programs_refuse_arrays_of_other_types(program):
    executable = compile_program(program)

    with pytest.raises(ShapeError, match=r"got f32\[200,300\], expected f32\[300,200\]"):
        executable.checked(X.T)
    with pytest.raises(DTypeError, match=r"got f64\[300,200\]"):
        executable.checked(X.astype(np.float64))
    with pytest.raises((TypeError, ValueError)):
        executable.checked(X, X)
    with pytest.raises(TypeError, match="takes 1 arrays, got 2"):
        executable(X, X)


# The disk -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["missing", "a file", "damaged", "unwritable"])
def test_whatever_the_cache_is_like_programs_compile(kind, tmp_path, recwarn):
    folder = tmp_path / "cache"
    if kind == "a file":
        folder.write_text("no folder")
    with config.override(cache_dir=str(folder)):
        _fill_and_spoil(folder, kind)
        found = pb.jit(lambda x: pb.tanh(x) * 3.0)(X)

    np.testing.assert_allclose(found, np.tanh(X) * 3, rtol=1e-5)
    assert len(recwarn) <= 1


def _fill_and_spoil(folder: Path, kind: str) -> None:
    if kind in ("missing", "a file"):
        return
    pb.jit(lambda x: pb.tanh(x) * 3.0)(X)
    entries = [p for p in folder.rglob("*") if p.is_file()]
    assert entries
    if kind == "unwritable":
        folder.chmod(0o500)
        return
    for entry in entries:
        data = bytearray(entry.read_bytes())
        data[len(data) // 2] ^= 0xFF
        entry.write_bytes(data)


# Host calls ---------------------------------------------------------------------------------------


class OddError(Exception):
    """What a host function raises here."""


def failing_at(limit: float) -> Callable[[Any], Any]:
    def host(x: Any) -> Any:
        if x.max() >= limit:
            raise OddError(f"{x.max():.0f} is too much")
        return x + 1

    return host


def counted(limit: float, length: int = 1000) -> Any:
    """A loop with a host call that fails when the carry reaches ``limit``."""
    host = failing_at(limit)

    def f(x):
        def body(c, _):
            c = pb.pure_callback(host, x, c)
            return c, pb.sum(pb.cumsum(c))

        return pb.scan(body, x, None, length=length)

    return f


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_failing_host_call_raises_its_own_error(threads):
    f = pb.jit(counted(100))
    x = np.zeros(3000, np.float32)

    with config.override(threads=threads):
        for _ in range(3):
            with pytest.raises(OddError, match="100 is too much"):
                f(x)
            carry, _ = f(x - 2000)
            assert carry.tolist() == [-1000.0] * 3000


def test_a_failing_host_call_ends_its_own_run_only():
    """Two threads run one program: one fails, the other must not end early."""
    x = np.zeros(500, np.float32)
    executable = compiled(pb.make_program(counted(150, 200))(x))
    executable.cost = WholeTeam(0.0, 0.0)

    def fails() -> None:
        for _ in range(10):
            with pytest.raises(OddError):
                run_on(executable, 2, [x])

    def works() -> None:
        for _ in range(10):
            carry, _ = run_on(executable, 2, [x - 1000])
            assert carry.tolist() == [-800.0] * 500

    in_threads([fails, works, works])


def test_two_host_calls_in_a_row_where_the_second_fails():
    """All threads must leave at the same call, or they wait for each other for ever."""

    def f(x):
        y = pb.pure_callback(lambda x: x + 1, x, x)
        return pb.pure_callback(failing_at(1.0), x, y), pb.sum(y)

    executable = compiled(pb.make_program(f)(np.zeros(5, np.float32)))

    for _ in range(300):
        with pytest.raises(OddError):
            run_on(executable, 3, [np.zeros(5, np.float32)])


def test_host_calls_may_run_compiled_programs():
    inner = pb.jit(lambda x: x * 3.0)
    f = pb.jit(lambda x: pb.pure_callback(lambda v: np.asarray(inner(v)), x, x) + 1.0)

    assert f(np.ones(4, np.float32)).tolist() == [4.0] * 4


# Memory -------------------------------------------------------------------------------------------


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
def test_dropped_programs_return_their_memory():
    script = """
import gc, os
import numpy as np, pullback as pb
from pullback.backend.executable import compile_program
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
x = np.ones((500, 500), np.float32)
def use(number):
    def f(x):
        return pb.cumsum(pb.cumsum(x * float(number), axis=1), axis=0) @ x
    compile_program(pb.make_program(f)(x))(x)
for number in range(20): use(number)
gc.collect()
before = resident()
for number in range(100): use(number)
gc.collect()
print(resident() - before)
"""
    finished = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PULLBACK_CACHE_DIR": "off"},
    )
    assert finished.stderr == ""
    # Each had 2 MB of temporary memory and some 100 KB of code.
    assert float(finished.stdout) < 25
