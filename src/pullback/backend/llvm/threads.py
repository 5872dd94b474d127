"""Runs compiled functions on a team of native threads.

Imports ``threads_ir`` and ``jit``. Start reading at ``run``. Workers never touch Python.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from typing import Final

from pullback import config
from pullback.backend.llvm import threads_ir
from pullback.backend.llvm.emit import Function, V
from pullback.backend.llvm.jit import Loaded, load_ir
from pullback.backend.llvm.target import host_machine

#: How long a worker without a job spins before it gives its processor away.
IDLE_SPIN_S: Final = 40e-6
#: The same of a thread that waits for the others of its team. Short: on a busy machine the thread
#: that it waits for may be waiting for this very processor.
JOB_SPIN_S: Final = 4e-6
_LEAST_SPINS: Final = 20
#: How long an interrupted call may take to notice that, before it is left alone.
LEAVE_S: Final = 0.3
#: Raised by the thread itself: blocking them would turn a diagnosis into a silent death.
_SYNCHRONOUS: Final = frozenset({"SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGABRT", "SIGTRAP"})

_POINTER, _I64 = ctypes.c_void_p, ctypes.c_int64


class ThreadWarning(UserWarning):
    """The system refused to start as many threads as asked; results are the same."""


def run(function_address: int, context_address: int, threads: int) -> None:
    """Call ``void f(ptr context, i64 thread, i64 threads, ptr barrier)`` on ``threads`` threads.

    The caller is thread 0. Returns when all have returned. The pool of workers serves one caller
    at a time: a caller that finds it in use runs with ``threads = 1``, as does a function that is
    called from inside a running one. The function must give the same result for every number.

    Cost: about 1 microsecond while the workers still spin from the last call, some 20 to wake them.
    """
    pool = _Pool.instance or _start()
    if threads > pool.ready:
        pool.prepare(threads)
    pool.call(function_address, context_address, threads)


def run_interruptible(
    function_address: int,
    context_address: int,
    threads: int,
    abort_flag_address: int,
    kept: object = None,
) -> None:
    """Call a function as ``run`` does, so that Ctrl-C is answered while it runs.

    The native code runs in a helper thread; the main thread waits where Python can deliver signals.
    When a signal handler raises, the ``i32`` at ``abort_flag_address`` is set to 1, which the
    function polls; once it has returned, the exception goes on. In other threads, which get no
    signals, this is ``run``.

    Args:
        function_address: As for ``run``.
        context_address: As for ``run``.
        threads: As for ``run``.
        abort_flag_address: Where the flag is.
        kept: Everything that the call uses, if nobody else will use what it writes. A call that
            does not return soon after the flag was set, as it is inside a kernel of one piece, then
            goes on in its thread to its next look at the flag, and the exception does not wait for
            that; the end of the process does. None: the exception always waits.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed; the flag is set.
    """
    if threading.current_thread() is not threading.main_thread():
        run(function_address, context_address, threads)
        return
    call = _HelperCall(function_address, context_address, threads)
    try:
        _thread.start_new_thread(call.execute, ())
        call.finished.acquire()
    except BaseException:
        if not call.claim():
            ctypes.c_int32.from_address(abort_flag_address).value = 1
            if kept is None:
                call.wait()
            else:
                call.leave(kept)
        raise
    if call.failure is not None:
        raise call.failure


class _HelperCall:
    """One native call in a helper thread, which a signal handler may interrupt at any point."""

    def __init__(self, function_address: int, context_address: int, threads: int) -> None:
        self.finished = _thread.allocate_lock()
        self.finished.acquire()
        self.failure: BaseException | None = None
        self._arguments = function_address, context_address, threads
        self._tokens: deque[None] = deque([None])
        self._over = False
        self._kept: object = None

    def claim(self) -> bool:
        """Take the only token: the helper to begin, or the caller to forbid it to begin."""
        try:
            self._tokens.pop()
        except IndexError:
            return False
        return True

    def execute(self) -> None:
        """Make the call, in the helper thread."""
        if not self.claim():
            return
        try:
            run(*self._arguments)
        except BaseException as error:
            self.failure = error
        finally:
            self._over = True
            self.finished.release()
            _left.discard(self)

    def wait(self, seconds: float = float("inf")) -> None:
        """Wait for the end whatever handlers raise: the caller's memory is still in use."""
        end = time.monotonic() + seconds
        while not self._over and time.monotonic() < end:
            with contextlib.suppress(BaseException):
                self.finished.acquire(timeout=0.02)

    def leave(self, kept: object) -> None:
        """Wait a moment for the end; a call that takes longer keeps what it uses."""
        self.wait(LEAVE_S)
        self._kept = kept
        _left.add(self)
        if self._over:
            _left.discard(self)


#: Calls that nobody waits for any more, but the end of the process.
_left: set[_HelperCall] = set()


@atexit.register
def _wait_for_left() -> None:
    """Machine code must not run on while the interpreter takes its memory away."""
    for call in tuple(_left):
        call.wait()


def emit_barrier(f: Function, barrier: V, thread: V, threads: V) -> None:
    """Emit: wait until all ``threads`` have come here; what they wrote before is then seen by all.

    Args:
        f: The function being written.
        barrier: The ``ptr`` that ``run`` passed.
        thread: The number of this thread, ``i64``. Unused: arrival order does not matter.
        threads: How many take part, ``i64``. For 1 nothing is done.

    Cost: about 100 ns for two threads.
    """
    del thread
    text = threads_ir.barrier_ir(host_machine())
    if text not in f.module.functions:
        f.module.functions.append(text)
        _, declaration = threads_ir.pause(host_machine())
        if declaration:
            f.module.declarations.setdefault("pullback.pause", declaration)
    f.raw(f"call void @pullback.barrier({barrier}, {threads})")


def stop() -> None:
    """End the worker threads. They come back with the next ``run``."""
    if _Pool.instance is not None:
        _Pool.instance.stop()


class _Pool:
    """The process's workers: the loaded runtime and what Python must know of it."""

    instance: _Pool | None = None

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        prototype = ctypes.CFUNCTYPE(None, _POINTER, _POINTER, _I64)
        self.call = prototype(loaded.address("run"))
        self._grow = ctypes.CFUNCTYPE(_I64, _I64)(loaded.address("grow"))
        self._stop = ctypes.CFUNCTYPE(None)(loaded.address("stop"))
        self._reset = ctypes.CFUNCTYPE(None)(loaded.address("reset"))
        self._spin = ctypes.CFUNCTYPE(None, _I64)(loaded.address("spin"))
        self._set_spins = ctypes.CFUNCTYPE(None, ctypes.c_int32, ctypes.c_int32)(
            loaded.address("set_spins")
        )
        self._lock = threading.Lock()
        self._pause_s = self._calibrate()
        #: Threads that ``call`` may be asked for without ``prepare``.
        self.ready = 1
        self._reset()

    def prepare(self, threads: int) -> None:
        """Start the workers that ``threads`` threads need."""
        if os.name != "posix":
            self.ready = config.MAX_THREADS
            return
        with self._lock:
            wanted = min(threads, threads_ir.MAX_WORKERS) - 1
            mask = [s for s in signal.valid_signals() if _may_block(s)]
            old = signal.pthread_sigmask(signal.SIG_BLOCK, mask)
            try:
                started = self._grow(wanted)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, old)
            if started < 0:
                return
            oversubscribed = started + 1 > config.available_processors()
            self._spin_for(0.0 if oversubscribed else 1.0)
            self.ready = max(self.ready, threads)
        if started < wanted:
            warnings.warn(
                f"only {started} of {wanted} worker threads could be started",
                ThreadWarning,
                stacklevel=3,
            )

    def stop(self) -> None:
        """End the workers, unless a caller is using them."""
        with self._lock:
            self._stop()
            self.ready = 1

    def forget(self) -> None:
        """Note, in the child of a fork, that there are no workers."""
        self._lock = threading.Lock()
        self._reset()
        self.ready = 1

    def _spin_for(self, share: float) -> None:
        """Set how long waiting threads spin, as a share of the usual times."""
        idle, job = (
            max(_LEAST_SPINS, round(share * seconds / self._pause_s))
            for seconds in (IDLE_SPIN_S, JOB_SPIN_S)
        )
        self._set_spins(idle, job)

    def _calibrate(self) -> float:
        """Seconds that a pause takes: 3 to 50 ns, by processor."""
        count, best = 500, float("inf")
        for _ in range(3):
            begin = time.perf_counter()
            self._spin(count)
            best = min(best, time.perf_counter() - begin)
        return max(best / count, 1e-10)


_START_LOCK = threading.Lock()


def _start() -> _Pool:
    with _START_LOCK:
        if _Pool.instance is None:
            text = threads_ir.runtime_ir(host_machine(), linux=sys.platform == "linux")
            pool = _Pool(load_ir(text))
            # The workers execute this code until the process ends.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(pool._loaded))
            _Pool.instance = pool
        return _Pool.instance


def _may_block(signal_number: int) -> bool:
    try:
        return signal.Signals(signal_number).name not in _SYNCHRONOUS
    except ValueError:
        return True


def _after_fork() -> None:
    global _START_LOCK
    _START_LOCK = threading.Lock()
    if _Pool.instance is not None:
        _Pool.instance.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(stop)
