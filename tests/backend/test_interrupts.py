"""Ctrl-C while a long kernel runs: it ends soon, with every thread, and leaves memory whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from tests.kernels.kernel_programs import compiled

import pullback as pb
from pullback.backend.llvm import threads
from pullback.kernels import interrupts

posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")

#: A call is interrupted a while after its machine code began to run.
CHILD = """
import os, signal, sys, threading, time
import numpy as np
import pullback as pb
from pullback.backend.llvm import threads

sent = []
def interrupt():
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)

def starting(*args, begin=threads.run_interruptible):
    threading.Timer(0.3, interrupt).start()
    return begin(*args)
threads.run_interruptible = starting

def interrupted(f, *args, error=KeyboardInterrupt):
    try:
        f(*args)
    except error:
        print("after", time.perf_counter() - sent[-1], flush=True)
    else:
        print("finished", flush=True)

short = pb.jit(lambda x: pb.sum(x * 2.0 + 1.0))
ones = np.ones(200_000, np.float32)
short(ones)
x = np.ones((7000, 7000), np.float32)
"""


def run_child(script: str, count: int) -> tuple[list[str], float]:
    """Lines that a child printed, and seconds from the last one to its clean end."""
    process = subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-c", CHILD + script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PULLBACK_THREADS": str(count), "OPENBLAS_NUM_THREADS": "1"},
    )
    assert process.stdout is not None
    lines = list(process.stdout)
    begin = time.perf_counter()
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    return [line.strip() for line in lines], time.perf_counter() - begin


def check_soon(line: str) -> None:
    word, seconds = line.split()
    assert word == "after"
    assert float(seconds) < 1.0


@posix
@pytest.mark.parametrize("count", [1, 2])
def test_a_large_product_ends_within_a_second(count):
    """Called again it starts anew, and other programs run."""
    script = """
product = pb.jit(lambda x: x @ x)
interrupted(product, x)
print(float(short(ones)))
interrupted(product, x)
print(float(product(x[:64, :64])[0, 0]))
"""

    (first, between, second, after), _ = run_child(script, count)

    check_soon(first)
    check_soon(second)
    assert (between, after) == ("600000.0", "64.0")


@posix
def test_what_the_handler_raises_goes_on():
    script = """
def handler(*_):
    raise TimeoutError("enough")
signal.signal(signal.SIGINT, handler)
interrupted(pb.jit(lambda x: x @ x), x, error=TimeoutError)
"""

    (line,), _ = run_child(script, 2)

    check_soon(line)


@posix
def test_variables_keep_their_values_when_a_product_before_their_update_ends():
    script = """
v, n = pb.Variable(np.zeros((7000, 7000), np.float32)), pb.Variable(0)
@pb.jit
def update(x):
    y = pb.tanh(x @ x)
    v.assign_add(y * x)
    n.assign_add(pb.astype(y[0, 0], pb.int32))
interrupted(update, x)
print(float(pb.max(pb.abs(v.value))), int(n))
"""

    (line, state), _ = run_child(script, 2)

    check_soon(line)
    assert state == "0.0 0"


@posix
def test_a_function_of_numpy_is_waited_for():
    """A thread inside it could not end with the process."""
    script = """
singular = pb.jit(lambda x: pb.sum(pb.linalg.svdvals(x)))
interrupted(singular, np.random.default_rng(0).random((1500, 1500)))
print(len(threads._left), float(short(ones)), flush=True)
"""

    (line, value), _ = run_child(script, 2)

    assert line.startswith("after")
    assert value == "0 600000.0"


@posix
def test_the_end_of_a_process_waits_for_calls_that_were_left():
    script = """
threads.LEAVE_S = 0.0
call = threads._HelperCall(0, 0, 1)
threads.run = lambda *_: (time.sleep(1.0), print("done", flush=True))
threading.Thread(target=call.execute, daemon=True).start()
call.leave(None)
"""

    (line,), _ = run_child(script, 2)

    assert line == "done"


def test_a_call_that_is_left_alone_keeps_what_it_uses(monkeypatch):
    """And lets go of it at its end."""
    monkeypatch.setattr(threads, "LEAVE_S", 0.05)
    begun, goes_on = threading.Event(), threading.Event()

    def work(*_: object) -> None:
        begun.set()
        goes_on.wait(30)

    monkeypatch.setattr(threads, "run", work)
    flag, kept = np.zeros(1, np.int32), object()
    before = sys.getrefcount(kept)
    main = threading.get_ident()

    def interrupt() -> None:
        begun.wait(30)
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt) as caught:
        threads.run_interruptible(0, 0, 1, flag.ctypes.data, kept)
    del caught

    assert flag[0] == 1
    assert len(threads._left) == 1
    assert sys.getrefcount(kept) > before
    goes_on.set()
    end = time.monotonic() + 10
    while threads._left and time.monotonic() < end:
        time.sleep(0.01)
    assert not threads._left


@pytest.mark.parametrize(("count", "runs"), [(1, 60), (2, 120), (3, 40)])
def test_threads_that_leave_out_tasks_keep_nobody_waiting(count, runs, monkeypatch):
    """The flag is set at any moment of a program that looks everywhere; its update is whole."""
    monkeypatch.setattr(interrupts, "LOOK_S", 0.0)
    rng = np.random.default_rng(0)
    w, x = rng.random((2, 130, 130), np.float32)

    def f(w, x):
        y = pb.tanh(x @ pb.linalg.inv(x))
        for _ in range(3):
            y = pb.tanh(y @ x) + pb.sum(y, axis=0)
        return w - pb.sin(y)

    with pb.config.override(cache_dir="off", threads=count):
        executable = compiled(pb.make_program(f)(w, x), donate=frozenset({0}))
        memory = w.copy()
        executable(memory, x)
        updated = memory.copy()
        (frame,) = executable.crews[count].frames
        frame.flag[0] = 0

        def run_all() -> None:
            for number in range(runs):
                memory[:] = w
                frame.flag[0], frame.words[:] = number % 20 == 1, 0
                delay = threading.Timer(number % 100 * 1e-5, frame.flag.fill, (1,))
                if number % 20:
                    delay.start()
                threads.run(executable.address, frame.address, count)
                ended.append((frame.flag[0], memory.copy()))
                delay.cancel()
                delay.join() if number % 20 else None

        ended: list[tuple[int, np.ndarray]] = []
        runner = threading.Thread(target=run_all, daemon=True)
        runner.start()
        runner.join(60)

    assert not runner.is_alive(), f"waits for ever in run {len(ended)}"
    whole = [(m == w).all() or (m == updated).all() for _, m in ended]
    early = sum(bool((m == w).all()) for _, m in ended)
    assert all(whole)
    assert all((m == updated).all() for flag, m in ended if not flag)
    assert runs // 20 <= early < runs
