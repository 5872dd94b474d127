"""Speed of generated contractions beside the processor's measured peak, NumPy and JAX.

Run ``python benchmarks/gemm_micro.py [--json] [--peers] [--only TEXT]``. Every figure is the
least time of many short repetitions, taken in turns with the peak loop: the machine may be shared.
The two-thread figures come from a pair of threads that meet at a spin barrier in emitted code.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from pullback.backend.llvm.emit import Function, Module, V
from pullback.backend.llvm.gemm import (
    AVX2,
    AVX512,
    ContractionSpec,
    Matrix,
    choose_schedule,
    contraction_scratch_bytes,
    contraction_tasks,
    emit_contraction,
    flop_count,
)

PEAK_CHAINS = 16
SECONDS_A_CASE = 0.6
#: Samples count only where the peaks before and after them agree this well.
STEADY = 0.02


# --- machine code --------------------------------------------------------------------------------
@dataclass
class Compiled:
    """A compiled module and what it cost."""

    engine: Any
    milliseconds: float
    assembly: str

    def function(self, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        """The function ``name`` as a ctypes callable."""
        prototype = ctypes.CFUNCTYPE(result, *arguments)
        return prototype(self.engine.get_function_address(name))


def compile_module(module: Module, *, assembly: bool = False) -> Compiled:
    """Compile for this processor as the backend does."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    text = str(module)
    start = time.thread_time()
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3
    )
    parsed = llvm.parse_assembly(text)
    parsed.triple = llvm.get_default_triple()
    parsed.data_layout = str(machine.target_data)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=3))
    builder.getModulePassManager().run(parsed, builder)
    listing = machine.emit_assembly(parsed) if assembly else ""
    engine = llvm.create_mcjit_compiler(parsed, machine)
    engine.finalize_object()
    return Compiled(engine, (time.thread_time() - start) * 1e3, listing)


def peak_flops() -> Callable[[], float]:
    """A function that measures one core's multiply-add rate, in operations a second."""
    module = Module()
    f = Function(module, "peak", "float", [("i64", "n"), ("float", "x")], linkage="dso_local")
    type = "<16 x float>"
    x = f.splat(f.args[1], 16)
    sums = [f.alloca(type, f.const(type, float(i))) for i in range(PEAK_CHAINS)]
    with f.loop(0, f.args[0]):
        for _ in range(4):
            for slot in sums:
                f.store(f.fma(f.load(type, slot), x, x), slot)
    total = f.load(type, sums[0])
    for slot in sums[1:]:
        total = f.fadd(total, f.load(type, slot))
    f.ret(f.extract(total, 0))
    f.finish()
    compiled = compile_module(module)  # the code lives as long as this
    peak = compiled.function("peak", ctypes.c_float, ctypes.c_long, ctypes.c_float)
    rounds = 4000

    def measure() -> float:
        least = least_time(lambda: peak(rounds, 0.5) and compiled, 3)
        return rounds * 4 * PEAK_CHAINS * 32 / least

    return measure


def least_time(call: Callable[[], object], repetitions: int) -> float:
    """Least wall time of a call, in seconds."""
    least = float("inf")
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - start)
    return least


# --- the driver ----------------------------------------------------------------------------------
_RUN = [("ptr", "a"), ("ptr", "b"), ("ptr", "c"), ("ptr", "scratch"), ("i64", "begin")]
_RUN += [("i64", "end")]
_POINTERS = [("ptr", "a"), ("ptr", "b"), ("ptr", "c"), ("ptr", "scratch")]


def contraction_module(spec: ContractionSpec) -> Module:
    """``run`` computes tasks, ``repeat`` runs all again and again on one or two threads."""
    module = Module()
    f = Function(module, "run", "void", _RUN, linkage="dso_local")
    a, b, c, scratch, begin, end = f.args

    def store(
        g: Function, batch: V, row: V, column: V, lanes: int, value: V, mask: V | None
    ) -> None:
        line = g.add(g.mul(batch, V("i64", str(spec.m))), row)
        at = g.add(g.mul(line, V("i64", str(spec.n))), column)
        place = g.gep(spec.accumulate, c, at)
        if mask is None:
            g.store(value, place)
        else:
            g.masked_store(value, place, mask)

    emit_contraction(f, spec, a=a, b=b, begin=begin, end=end, scratch=scratch, epilogue=store)
    f.ret()
    f.finish()
    tasks = contraction_tasks(spec)
    _write_leader(module, tasks)
    _write_follower(module, tasks)
    return module


def _run_tasks(f: Function, operands: list[V], begin: int, end: int) -> None:
    f.raw(f"call void @run({', '.join(map(str, operands))}, i64 {begin}, i64 {end})")


def _await(f: Function, flag: V, value: V) -> None:
    """Spin until ``flag`` is at least ``value``."""
    wait, done = f.label("wait"), f.label("met")
    f.branch(wait)
    f.start(wait)
    seen = f.emit("i64", f"load atomic i64, {flag} acquire, align 8")
    f.branch_if(f.compare("sge", seen, value), done, wait)
    f.start(done)


def _signal(f: Function, flag: V, value: V) -> None:
    f.raw(f"store atomic {value}, {flag} release, align 8")


def _write_leader(module: Module, tasks: int) -> None:
    """``repeat(a, b, c, scratch, flags, rounds, threads)``: flags are 64 bytes apart."""
    arguments = [*_POINTERS, ("ptr", "flags"), ("i64", "rounds"), ("i64", "threads")]
    f = Function(module, "repeat", "void", arguments, linkage="dso_local")
    *operands, flags, rounds, threads = f.args
    alone = f.compare("eq", threads, V("i64", "1"))
    with f.when(alone), f.loop(0, rounds):
        _run_tasks(f, operands, 0, tasks)
    with f.when(f.compare("ne", threads, V("i64", "1"))):
        other = f.gep("i8", flags, 64)
        with f.loop(0, rounds) as i:
            turn = f.add(i, V("i64", "1"))
            _signal(f, flags, turn)
            _run_tasks(f, operands, 0, tasks // 2)
            _await(f, other, turn)
    f.ret()
    f.finish()


def _write_follower(module: Module, tasks: int) -> None:
    """``follow(a, b, c, scratch, flags, rounds)``: the second half of every round."""
    arguments = [*_POINTERS, ("ptr", "flags"), ("i64", "rounds")]
    f = Function(module, "follow", "void", arguments, linkage="dso_local")
    *operands, flags, rounds = f.args
    with f.loop(0, rounds) as i:
        turn = f.add(i, V("i64", "1"))
        _await(f, flags, turn)
        _run_tasks(f, operands, tasks // 2, tasks)
        _signal(f, f.gep("i8", flags, 64), turn)
    f.ret()
    f.finish()


def aligned(size: int, dtype: Any = np.uint8) -> np.ndarray[Any, Any]:
    """Zeros at an address that is a multiple of 64."""
    item = np.dtype(dtype).itemsize
    raw = np.zeros(size * item + 4096, np.uint8)
    start = -raw.ctypes.data % 4096
    return raw[start : start + size * item].view(dtype)


class Case:
    """One contraction, compiled, with its operands."""

    def __init__(self, name: str, spec: ContractionSpec) -> None:
        self.name, self.spec = name, spec
        self.compiled = compile_module(contraction_module(spec))
        pointers = [ctypes.c_void_p] * 5
        self._repeat = self.compiled.function(
            "repeat", None, *pointers, ctypes.c_long, ctypes.c_long
        )
        self._follow = self.compiled.function("follow", None, *pointers, ctypes.c_long)
        rng = np.random.default_rng(0)
        dtype = np.dtype({"float": np.float32, "double": np.float64}[spec.accumulate])
        self.a = self._operand(rng, spec.batch * spec.m * spec.k, dtype)
        self.b = self._operand(rng, spec.batch * spec.k * spec.n, dtype)
        self.c = aligned(spec.batch * spec.m * spec.n, dtype)
        self.scratch = [aligned(contraction_scratch_bytes(spec) + 64) for _ in range(2)]
        self.flags = aligned(128)

    @staticmethod
    def _operand(rng: np.random.Generator, size: int, dtype: Any) -> np.ndarray[Any, Any]:
        array = aligned(size, dtype)
        array[:] = rng.standard_normal(size)
        return array

    def seconds(self, rounds: int, threads: int) -> float:
        """Wall time of a contraction, averaged over ``rounds``."""
        self.flags[:] = 0
        shared = [x.ctypes.data for x in (self.a, self.b, self.c)]
        flags = self.flags.ctypes.data
        mate = threading.Thread(
            target=self._follow, args=(*shared, self.scratch[1].ctypes.data, flags, rounds)
        )
        if threads == 2:
            mate.start()
            time.sleep(0.0005)
        start = time.perf_counter()
        self._repeat(*shared, self.scratch[0].ctypes.data, flags, rounds, threads)
        elapsed = time.perf_counter() - start
        if threads == 2:
            mate.join()
        return elapsed / rounds


# --- cases ---------------------------------------------------------------------------------------
def product(
    m: int, k: int, n: int, form: str = "nn", batch: int = 1, dtype: str = "float"
) -> ContractionSpec:
    """A spec of row-major operands; ``form`` says which are transposed (``t``)."""
    a = Matrix(dtype, (m * k, 1, m) if form[0] == "t" else (m * k, k, 1))
    b = Matrix(dtype, (k * n, 1, k) if form[1] == "t" else (k * n, n, 1))
    wide = "avx512f" in llvm.get_host_cpu_features().flatten().split(",")
    has_wide = wide or llvm.get_host_cpu_features().get("avx512f", False)
    return ContractionSpec(batch, m, n, k, a, b, dtype, AVX512 if has_wide else AVX2)


SHAPES: tuple[tuple[int, int, int, str, int], ...] = (
    *((s, s, s, "nn", 1) for s in (64, 128, 256, 384, 512, 768, 1024, 1536, 2048)),
    (1000, 1000, 1000, "nn", 1),
    (1024, 1024, 1024, "tn", 1),
    (1024, 1024, 1024, "nt", 1),
    (32, 784, 10, "nn", 1),
    (784, 32, 10, "tn", 1),
    (32, 10, 784, "nt", 1),
    (128, 784, 512, "nn", 1),
    (784, 128, 512, "tn", 1),
    (128, 512, 784, "nt", 1),
    (128, 512, 512, "nn", 1),
    (512, 128, 512, "tn", 1),
    (128, 512, 512, "nt", 1),
    (128, 512, 10, "nn", 1),
    (512, 128, 10, "tn", 1),
    (128, 10, 512, "nt", 1),
    (2048, 128, 512, "nn", 1),
    (128, 2048, 512, "tn", 1),
    (2048, 512, 128, "nt", 1),
    (128, 32, 128, "nt", 64),
    (128, 128, 32, "nn", 64),
    (43264, 9, 32, "nn", 1),
    (1, 1024, 1024, "nn", 1),
    (1, 1024, 1024, "nt", 1),
    (1024, 1024, 1, "nn", 1),
    (1024, 1024, 1, "tn", 1),
    (1, 4096, 4096, "nn", 1),
    (4096, 4096, 1, "nn", 1),
)


def case_name(shape: tuple[int, int, int, str, int]) -> str:
    """``64x 128x784x512 nn``."""
    m, k, n, form, batch = shape
    return f"{f'{batch} of ' if batch > 1 else ''}{m}x{k}x{n} {form}"


def measure_case(case: Case, peak: Callable[[], float], seconds: float) -> dict[str, Any]:
    """Least times on one and two threads, and the share of the peak measured beside them."""
    once = min(case.seconds(1, 1) for _ in range(3))
    rounds = max(1, int(0.001 / once))
    times: dict[int, list[float]] = {1: [], 2: []}
    shares: dict[int, list[float]] = {1: [], 2: []}
    flops = flop_count(case.spec)
    before = best = peak()
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop:
        for threads in times:
            elapsed = case.seconds(rounds, threads)
            times[threads].append(elapsed)
            after = peak()
            if abs(after - before) < STEADY * before:
                shares[threads].append(flops / elapsed / threads / max(before, after))
            best, before = max(best, after), after
    return {
        "case": case.name,
        "peak_gflops": best / 1e9,
        "one_us": min(times[1]) * 1e6,
        "two_us": min(times[2]) * 1e6,
        "one_of_peak": _best_share(shares[1]),
        "two_of_peak": _best_share(shares[2]),
        "compile_ms": case.compiled.milliseconds,
        "tasks": contraction_tasks(case.spec),
        "schedule": str(choose_schedule(case.spec)),
    }


def _best_share(shares: list[float]) -> float:
    """A high quantile: the least disturbed samples, but not the luckiest."""
    return sorted(shares)[-1 - len(shares) // 20] if shares else float("nan")


# --- peers ---------------------------------------------------------------------------------------
def peer_operands(shape: tuple[int, int, int, str, int]) -> list[np.ndarray[Any, Any]]:
    """NumPy operands laid out as the case's."""
    m, k, n, form, batch = shape
    rng = np.random.default_rng(0)
    a = rng.standard_normal((batch, k, m) if form[0] == "t" else (batch, m, k), np.float32)
    b = rng.standard_normal((batch, n, k) if form[1] == "t" else (batch, k, n), np.float32)
    return [a[0], b[0]] if batch == 1 else [a, b]


def peer_times(shape: tuple[int, int, int, str, int], seconds: float) -> dict[str, float]:
    """Least times of NumPy and, where it is installed, of JAX, in microseconds."""
    a, b = peer_operands(shape)
    form = shape[3]
    x = a.swapaxes(-1, -2) if form[0] == "t" else a
    y = b.swapaxes(-1, -2) if form[1] == "t" else b
    times = {"numpy_us": _least_within(lambda: x @ y, seconds)}
    try:
        import jax
    except ImportError:
        return times

    def multiply(p: Any, q: Any) -> Any:
        p = p.swapaxes(-1, -2) if form[0] == "t" else p
        q = q.swapaxes(-1, -2) if form[1] == "t" else q
        return p @ q

    # Many products in one compiled loop: the time of a call from Python is not theirs.
    rounds = max(1, int(2e-3 / max(times["numpy_us"] * 1e-6, 1e-6)))

    def repeat(p: Any, q: Any) -> Any:
        def body(_: Any, carry: Any) -> Any:
            return multiply(p + carry[..., :1, :1] * 0, q)

        return jax.lax.fori_loop(0, rounds, body, multiply(p, q))

    compiled = jax.jit(repeat)
    p, q = jax.device_put(a), jax.device_put(b)
    single = jax.jit(multiply)
    looped = _least_within(lambda: compiled(p, q).block_until_ready(), seconds) / (rounds + 1)
    called = _least_within(lambda: single(p, q).block_until_ready(), seconds)
    return {**times, "jax_us": min(looped, called)}


def _least_within(call: Callable[[], object], seconds: float) -> float:
    call()
    stop = time.perf_counter() + seconds
    least = float("inf")
    while time.perf_counter() < stop:
        least = min(least, least_time(call, 3))
    return least * 1e6


@contextmanager
def _quiet_switching() -> Iterator[None]:
    """Let the second thread start at once."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def main() -> None:
    """Measure the cases and print a table or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--seconds", type=float, default=SECONDS_A_CASE)
    options = parser.parse_args()
    peak = peak_flops()
    out = sys.stdout
    if options.json:
        out.write(json.dumps({"cpu": llvm.get_host_cpu_name(), "cores": os.cpu_count()}) + "\n")
    with _quiet_switching():
        for shape in SHAPES:
            name = case_name(shape)
            if options.only not in name:
                continue
            case = Case(name, product(*shape))
            figures = measure_case(case, peak, options.seconds)
            if options.peers:
                figures.update(peer_times(shape, options.seconds / 2))
            out.write((json.dumps(figures) if options.json else _line(figures)) + "\n")
            out.flush()


def _line(figures: dict[str, Any]) -> str:
    known = [key for key in ("numpy_us", "jax_us") if key in figures]
    peers = "".join(f"{key} {figures[key]:9.1f}  " for key in known)
    return (
        f"{figures['case']:22} one {figures['one_us']:9.1f} us {figures['one_of_peak']:6.1%}  "
        f"two {figures['two_us']:9.1f} us {figures['two_of_peak']:6.1%}  {peers}"
        f"peak {figures['peak_gflops']:.0f}  compile {figures['compile_ms']:.0f} ms  "
        f"{figures['schedule']}"
    )


if __name__ == "__main__":
    main()
