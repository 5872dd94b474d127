"""The thread pool: teams, barrier, sleeping, fork, concurrent callers, interruption."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import llvmlite.binding as llvm
import numpy as np
import pytest

from pullback.backend.llvm import jit, threads, threads_ir
from pullback.backend.llvm.emit import Function, Module, V
from pullback.backend.llvm.target import host_machine

ARGUMENTS = [("ptr", "context"), ("i64", "thread"), ("i64", "threads"), ("ptr", "barrier")]
ROUNDS = 2000


def begin(module: Module, name: str) -> Function:
    return Function(module, name, "void", ARGUMENTS, linkage="dso_local")


def write_mark(module: Module) -> None:
    """mark: context[thread] = threads."""
    f = begin(module, "mark")
    context, thread, count, _ = f.args
    f.store(count, f.gep("i64", context, thread))
    f.ret()
    f.finish()


def write_rounds(module: Module) -> None:
    """rounds: each round, write the own cell; after a barrier, check the neighbour's; barrier.

    context: i64 rounds, i64 errors of each thread from 8, cells 64 bytes apart from 64.
    """
    f = begin(module, "rounds")
    context, thread, count, barrier = f.args
    rounds = f.load("i64", context)
    next_thread = f.emit("i64", f"urem i64 {f.add(thread, V('i64', '1')).text}, {count.text}")
    own = f.gep("i64", context, f.mul(f.add(thread, V("i64", "8")), V("i64", "8")))
    other = f.gep("i64", context, f.mul(f.add(next_thread, V("i64", "8")), V("i64", "8")))
    errors = f.alloca("i64", V("i64", "0"))
    with f.loop(0, rounds) as i:
        f.store(i, own)
        threads.emit_barrier(f, barrier, thread, count)
        wrong = f.compare("ne", f.load("i64", other), i)
        f.store(f.add(f.load("i64", errors), f.convert("zext", wrong, "i64")), errors)
        threads.emit_barrier(f, barrier, thread, count)
    f.store(f.load("i64", errors), f.gep("i64", context, f.add(thread, V("i64", "1"))))
    f.ret()
    f.finish()


def write_flagged(module: Module) -> None:
    """until_flag: set the i32 context[1], loop until the i32 context[0] is set."""
    f = begin(module, "until_flag")
    started = f.gep("i32", f.args[0], 1)
    f.raw(f"store atomic i32 1, {started} monotonic, align 4")
    head, done = f.label("head"), f.label("done")
    f.branch(head)
    f.start(head)
    flag = f.emit("i32", f"load atomic i32, {f.args[0]} monotonic, align 4")
    f.branch_if(f.compare("ne", flag, V("i32", "0")), done, head)
    f.start(done)
    f.ret()
    f.finish()


def write_tiny(module: Module) -> None:
    """tiny: context[1 + thread] = context[0] / 2, which flushes to zero in some modes."""
    f = begin(module, "tiny")
    context, thread, _, _ = f.args
    smallest = f.load("float", context)
    half = f.fmul(smallest, f.const("float", 0.5))
    f.store(half, f.gep("float", context, f.add(thread, V("i64", "1"))))
    f.ret()
    f.finish()


@pytest.fixture(scope="module")
def loaded() -> jit.Loaded:
    module = Module()
    for write in (write_mark, write_rounds, write_flagged, write_tiny):
        write(module)
    return jit.load_ir(str(module))


@pytest.fixture(params=["futex", "condition"])
def pool(request: pytest.FixtureRequest) -> Iterator[threads._Pool]:
    """A pool of its own that sleeps in each of the two ways."""
    if request.param == "futex" and sys.platform != "linux":
        pytest.skip("futexes are Linux's")
    text = threads_ir.runtime_ir(host_machine(), linux=request.param == "futex")
    pool = threads._Pool(jit.load_ir(text))
    yield pool
    pool.stop()


def run_rounds(pool: threads._Pool, loaded: jit.Loaded, count: int, rounds: int) -> list[int]:
    memory = np.zeros(8 * (8 + count), np.int64)
    memory[0] = rounds
    pool.prepare(count)
    pool.call(loaded.address("rounds"), memory.ctypes.data, count)
    return [int(x) for x in memory[1 : 1 + count]]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_all_threads_run_with_their_number(loaded: jit.Loaded, count: int) -> None:
    seen = np.zeros(count + 1, np.int64)

    for _ in range(50):
        seen[:] = 0
        threads.run(loaded.address("mark"), seen.ctypes.data, count)
        assert [*([count] * count), 0] == seen.tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_barrier_orders_writes(pool: threads._Pool, loaded: jit.Loaded, count: int) -> None:
    rounds = ROUNDS if count <= 2 else ROUNDS // 10

    assert [0] * count == run_rounds(pool, loaded, count, rounds)


@pytest.mark.parametrize("spins", [1, 30])
def test_barrier_orders_writes_when_threads_sleep(
    pool: threads._Pool, loaded: jit.Loaded, spins: int
) -> None:
    """With hardly any spinning every round goes through yielding and sleeping."""
    pool.prepare(4)
    pool._set_spins(spins, spins)

    for count in (2, 4, 3):
        memory = np.zeros(8 * (8 + count), np.int64)
        memory[0] = ROUNDS // 4
        pool.call(loaded.address("rounds"), memory.ctypes.data, count)
        assert not memory[1 : 1 + count].any()


def test_a_test_of_the_barrier_that_can_fail(loaded: jit.Loaded) -> None:
    """Without barriers the same check finds errors."""
    module = Module()
    write_rounds(module)
    text = str(module).replace("call void @pullback.barrier(", "call void @no_barrier(")
    text += "\ndefine internal void @no_barrier(ptr %b, i64 %n) noinline {\n ret void\n}\n"
    broken = jit.load_ir(text)
    memory = np.zeros(8 * 12, np.int64)
    memory[0] = 1_000_000

    threads.run(broken.address("rounds"), memory.ctypes.data, 2)

    assert memory[1:3].any()


def test_workers_wake_after_sleeping(pool: threads._Pool, loaded: jit.Loaded) -> None:
    pool.prepare(3)
    seen = np.zeros(3, np.int64)

    for pause_s in (0.0, 0.001, 0.02):
        time.sleep(pause_s)
        seen[:] = 0
        pool.call(loaded.address("mark"), seen.ctypes.data, 3)
        assert seen.tolist() == [3, 3, 3]


def test_idle_workers_use_no_processor(pool: threads._Pool, loaded: jit.Loaded) -> None:
    seen = np.zeros(2, np.int64)
    pool.prepare(2)
    pool.call(loaded.address("mark"), seen.ctypes.data, 2)
    time.sleep(0.05)
    before = time.process_time()

    time.sleep(0.3)

    assert time.process_time() - before < 0.1


def test_stopped_pool_starts_again(pool: threads._Pool, loaded: jit.Loaded) -> None:
    for _ in range(3):
        assert run_rounds(pool, loaded, 3, 20) == [0, 0, 0]
        pool.stop()
        assert pool.ready == 1


def test_without_workers_the_caller_runs_alone(pool: threads._Pool, loaded: jit.Loaded) -> None:
    seen = np.zeros(4, np.int64)

    pool.call(loaded.address("mark"), seen.ctypes.data, 4)

    assert seen.tolist() == [1, 0, 0, 0]


def test_refused_threads_warn_once(
    pool: threads._Pool, loaded: jit.Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "_grow", lambda wanted: 1)

    with pytest.warns(threads.ThreadWarning, match="only 1 of 3"):
        pool.prepare(4)

    assert pool.ready == 4


def test_concurrent_callers_get_right_results(loaded: jit.Loaded) -> None:
    failures: list[str] = []

    def work() -> None:
        memory = np.zeros(8 * 12, np.int64)
        for _ in range(100):
            memory[:] = 0
            memory[0] = 20
            threads.run(loaded.address("rounds"), memory.ctypes.data, 2)
            if memory[1:3].any():
                failures.append("wrong")

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)

    assert not any(caller.is_alive() for caller in callers)
    assert failures == []


def test_second_caller_runs_alone_while_the_pool_is_in_use(loaded: jit.Loaded) -> None:
    flag = np.zeros(2, np.int32)
    first = threading.Thread(
        target=threads.run, args=(loaded.address("until_flag"), flag.ctypes.data, 2)
    )
    seen = np.zeros(2, np.int64)
    first.start()
    while not flag[1]:
        time.sleep(0.001)

    threads.run(loaded.address("mark"), seen.ctypes.data, 2)
    flag[0] = 1
    first.join(30)

    assert seen.tolist() == [1, 0]


def test_all_threads_keep_gradual_underflow_whatever_the_callers_mode(loaded: jit.Loaded) -> None:
    if host_machine() != "x86_64":
        pytest.skip("the mode register is x86's")
    flush = jit.load_ir(
        "declare void @llvm.x86.sse.ldmxcsr(ptr)\ndeclare void @llvm.x86.sse.stmxcsr(ptr)\n"
        "define void @set(ptr %p) {\n call void @llvm.x86.sse.ldmxcsr(ptr %p)\n ret void\n}\n"
        "define void @get(ptr %p) {\n call void @llvm.x86.sse.stmxcsr(ptr %p)\n ret void\n}\n"
    )
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    set_mode, get_mode = prototype(flush.address("set")), prototype(flush.address("get"))
    old, flushing, after = (np.zeros(1, np.uint32) for _ in range(3))
    smallest = np.finfo(np.float32).smallest_normal
    memory = np.array([smallest, 0, 0], np.float32)
    get_mode(old.ctypes.data)
    flushing[0] = old[0] | 0x8040

    set_mode(flushing.ctypes.data)
    threads.run(loaded.address("tiny"), memory.ctypes.data, 2)
    get_mode(after.ctypes.data)
    set_mode(old.ctypes.data)

    assert memory.view(np.uint32)[1:].tolist() == [0x400000, 0x400000]
    assert after[0] & 0x8040 == 0x8040, "the caller's mode comes back"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_after_use(loaded: jit.Loaded) -> None:
    def check() -> bool:
        seen = np.zeros(3, np.int64)
        for _ in range(20):
            threads.run(loaded.address("mark"), seen.ctypes.data, 3)
        return seen.tolist() == [3, 3, 3]

    assert check()
    child = os.fork()
    if child == 0:
        os._exit(0 if check() and check() else 1)
    assert check()
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert check()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_while_another_thread_uses_the_pool(loaded: jit.Loaded) -> None:
    flag = np.zeros(2, np.int32)
    busy = threading.Thread(
        target=threads.run, args=(loaded.address("until_flag"), flag.ctypes.data, 2)
    )
    busy.start()
    while not flag[1]:
        time.sleep(0.001)
    child = os.fork()
    if child == 0:
        seen = np.zeros(2, np.int64)
        threads.run(loaded.address("mark"), seen.ctypes.data, 2)
        os._exit(0 if seen.tolist() == [2, 2] else 1)
    _, status = os.waitpid(child, 0)
    flag[0] = 1
    busy.join(30)

    assert os.waitstatus_to_exitcode(status) == 0


def test_interruptible_call_returns_normally(loaded: jit.Loaded) -> None:
    seen, flag = np.zeros(2, np.int64), np.zeros(1, np.int32)

    for _ in range(20):
        seen[:] = 0
        threads.run_interruptible(loaded.address("mark"), seen.ctypes.data, 2, flag.ctypes.data)
        assert seen.tolist() == [2, 2]
    assert flag[0] == 0


def test_interruptible_call_from_another_thread(loaded: jit.Loaded) -> None:
    seen, flag = np.zeros(2, np.int64), np.zeros(1, np.int32)
    arguments = (loaded.address("mark"), seen.ctypes.data, 2, flag.ctypes.data)
    caller = threading.Thread(target=threads.run_interruptible, args=arguments)

    caller.start()
    caller.join(30)

    assert seen[0] in (1, 2)


def test_failure_to_start_is_raised(loaded: jit.Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(threads, "run", fail)
    flag = np.zeros(1, np.int32)

    with pytest.raises(OSError, match="no"):
        threads.run_interruptible(loaded.address("mark"), 0, 1, flag.ctypes.data)


@pytest.mark.parametrize("linux", [True, False])
def test_runtime_compiles_for_arm(linux: bool) -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("aarch64-linux-gnu").create_target_machine()
    text = threads_ir.runtime_ir("aarch64", linux=linux) + threads_ir.barrier_ir("aarch64")
    with llvm.create_context() as context, llvm.parse_assembly(text, context) as module:
        module.verify()

        assert "yield" in machine.emit_assembly(module)


INTERRUPTED = """
import sys, time
sys.path.insert(0, {folder!r})
import numpy as np
import test_threads as t
from pullback.backend.llvm import jit, threads
from pullback.backend.llvm.emit import Module
module = Module()
t.write_flagged(module)
loaded = jit.load_ir(str(module))
flag = np.zeros(2, np.int32)
print("running", flush=True)
begin = time.time()
try:
    threads.run_interruptible(loaded.address("until_flag"), flag.ctypes.data, 2, flag.ctypes.data)
except KeyboardInterrupt:
    print("interrupted", flag[0], time.time(), flush=True)
else:
    print("not interrupted", flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")
def test_ctrl_c_ends_a_long_call_within_100_ms() -> None:
    script = INTERRUPTED.format(folder=os.path.dirname(__file__))
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    time.sleep(0.2)

    sent = time.time()
    process.send_signal(signal.SIGINT)
    answer, _ = process.communicate(timeout=30)

    word, flag, when = answer.split()
    assert (word, flag) == ("interrupted", "1")
    assert float(when) - sent < 0.1
    assert process.returncode == 0


def test_exit_with_sleeping_and_spinning_workers_is_clean() -> None:
    for pause_s in ("0", "0.05"):
        script = INTERRUPTED.split("flag =")[0].format(folder=os.path.dirname(__file__)) + (
            "flag = np.ones(2, np.int32)\n"
            "threads.run(loaded.address('until_flag'), flag.ctypes.data, 4)\n"
            f"time.sleep({pause_s})\n"
        )
        finished = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", script], capture_output=True, timeout=60
        )
        assert (finished.returncode, finished.stderr) == (0, b"")
