"""Contractions against NumPy: shapes, layouts, element types, targets, tasks, fused operands."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import llvmlite.binding as llvm
import ml_dtypes
import numpy as np
import pytest

from pullback.backend.llvm.emit import Function, Module, V, element_bytes, lanes_of
from pullback.backend.llvm.gemm import (
    AVX2,
    AVX512,
    GENERIC,
    ContractionSpec,
    Matrix,
    Schedule,
    Target,
    choose_schedule,
    contraction_scratch_bytes,
    contraction_tasks,
    emit_contraction,
    flop_count,
    packs_along_rows,
)

Array = np.ndarray[Any, Any]
DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "half": np.float16,
    "bfloat": ml_dtypes.bfloat16,
    "i8": np.int8,
    "i16": np.int16,
    "i32": np.int32,
    "i64": np.int64,
}
FORMS = ("nn", "nt", "tn", "tt")
SIZES = (1, 2, 3, 5, 7, 13, 14, 15, 16, 17, 31, 33, 64, 100)
GUARD = 64
SENTINEL = 77


# --- machines ------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Machine:
    """A target and how LLVM is told of it."""

    target: Target
    cpu: str
    features: str


def machines() -> list[Any]:
    """Every target, skipped where this processor lacks it."""
    host = llvm.get_host_cpu_features()
    has_avx512 = host.get("avx512f", False) and host.get("avx512vl", False)
    has_avx2 = host.get("avx2", False) and host.get("fma", False) and host.get("f16c", False)
    known = (
        ("avx512", Machine(AVX512, "skylake-avx512", ""), has_avx512),
        ("avx2", Machine(AVX2, "haswell", ""), has_avx2),
        ("generic", Machine(GENERIC, "x86-64", ""), llvm.get_process_triple().startswith("x86_64")),
    )
    return [
        pytest.param(machine, id=name, marks=pytest.mark.skipif(not has, reason=f"no {name}"))
        for name, machine, has in known
    ]


@pytest.fixture(params=machines())
def machine(request: pytest.FixtureRequest) -> Machine:
    """Each target in turn."""
    found: Machine = request.param
    return found


@pytest.fixture
def best_machine() -> Machine:
    """The widest target that this processor has."""
    usable = [p for p in machines() if not p.marks[0].args[0]]
    if not usable:
        pytest.skip("no x86-64 processor")
    best: Machine = usable[0].values[0]
    return best


# --- programs ------------------------------------------------------------------------------------
@dataclass
class Problem:
    """A contraction, its operands in guarded memory, and the fused loads."""

    spec: ContractionSpec
    a: Array
    b: Array
    a_offset: int = 0
    b_offset: int = 0
    load_a: Callable[..., V] | None = None
    load_b: Callable[..., V] | None = None
    tables: tuple[Array, Array] | None = None
    expected: Array | None = None


class Compiled:
    """Functions ``run0`` … of one module; ``run(i, begin, end)`` returns results and counts."""

    def __init__(self, machine: Machine, problems: list[Problem]) -> None:
        self.problems = problems
        module = Module()
        for i, problem in enumerate(problems):
            write_run(module, f"run{i}", problem)
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=machine.cpu, features=machine.features, opt=2
        )
        parsed = llvm.parse_assembly(str(module))
        parsed.verify()
        parsed.triple = llvm.get_default_triple()
        parsed.data_layout = str(target.target_data)
        tuning = llvm.create_pipeline_tuning_options(speed_level=2)
        builder = llvm.create_pass_builder(target, tuning)
        builder.getModulePassManager().run(parsed, builder)
        self.engine = llvm.create_mcjit_compiler(parsed, target)
        self.engine.finalize_object()

    def run(self, i: int, ranges: list[tuple[int, int]] | None = None) -> Array:
        """Results of a problem, computed range by range; every element checked to come once."""
        problem = self.problems[i]
        spec = problem.spec
        size = spec.batch * spec.m * spec.n
        results = np.full(size + 2 * GUARD, SENTINEL, DTYPES[spec.accumulate])
        counts = np.zeros(size + 2 * GUARD, np.int32)
        scratch = Scratch(contraction_scratch_bytes(spec))
        pointers = [ctypes.c_void_p] * 5
        address = self.engine.get_function_address(f"run{i}")
        call = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_long, ctypes.c_long)(address)
        places = (
            problem.a.ctypes.data + problem.a_offset * problem.a.itemsize,
            problem.b.ctypes.data + problem.b_offset * problem.b.itemsize,
            results.ctypes.data + GUARD * results.itemsize,
            counts.ctypes.data + GUARD * counts.itemsize,
        )
        for begin, end in ranges or [(0, contraction_tasks(spec))]:
            call(*places, scratch.address, begin, end)
        scratch.check()
        inside = slice(GUARD, GUARD + size)
        assert (counts[inside] == 1).all()
        counts[inside] = 0
        assert not counts.any()
        kept = results[inside].copy()
        results[inside] = SENTINEL
        assert (results == SENTINEL).all()
        return kept.reshape(spec.batch, spec.m, spec.n)


class Scratch:
    """Aligned scratch full of nan bytes with guards on both sides."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._bytes = np.full(size + 4 * GUARD + 64, 0xFF, np.uint8)
        self._start = -self._bytes.ctypes.data % 64 + 64
        self.address = self._bytes.ctypes.data + self._start

    def check(self) -> None:
        """Nothing outside was written."""
        assert (self._bytes[: self._start] == 0xFF).all()
        assert (self._bytes[self._start + self._size :] == 0xFF).all()


def write_run(module: Module, name: str, problem: Problem) -> None:
    """``name(a, b, results, counts, scratch, begin, end)``."""
    spec = problem.spec
    arguments = [("ptr", x) for x in ("a", "b", "c", "counts", "scratch")]
    arguments += [("i64", "begin"), ("i64", "end")]
    f = Function(module, name, "void", arguments, linkage="dso_local")
    a, b, c, counts, scratch, begin, end = f.args

    def take(
        g: Function, batch: V, row: V, column: V, lanes: int, value: V, mask: V | None
    ) -> None:
        assert lanes_of(value.type) == lanes
        line = g.add(g.mul(batch, V("i64", str(spec.m))), row)
        at = g.add(g.mul(line, V("i64", str(spec.n))), column)
        place, count = g.gep(spec.accumulate, c, at), g.gep("i32", counts, at)
        type = f"<{lanes} x i32>" if lanes > 1 else "i32"
        if mask is None:
            g.store(value, place)
            g.store(g.add(g.load(type, count), g.const(type, 1)), count)
        else:
            g.masked_store(value, place, mask)
            more = g.add(g.masked_load(type, count, mask), g.const(type, 1))
            g.masked_store(more, count, mask)

    emit_contraction(
        f,
        spec,
        a=a,
        b=b,
        begin=begin,
        end=end,
        scratch=scratch,
        epilogue=take,
        load_a=problem.load_a,
        load_b=problem.load_b,
        tables=address_pair(problem.tables),
    )
    f.ret()
    f.finish()


def address_pair(tables: tuple[Array, Array] | None) -> tuple[V, V] | None:
    """Tables as constant pointers."""
    if tables is None:
        return None
    rows, terms = (V("ptr", f"inttoptr (i64 {x.ctypes.data} to ptr)") for x in tables)
    return rows, terms


def guarded(array: Array) -> Array:
    """A copy that ends where memory becomes unreadable: reading past its end faults."""
    page = mmap.PAGESIZE
    size = max(array.nbytes, 1)
    length = -(-size // page) * page + page
    region = mmap.mmap(-1, length)
    start = np.frombuffer(region, np.uint8).ctypes.data
    libc = ctypes.CDLL(None, use_errno=True)
    protect = libc.mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert protect(start + length - page, page, 0) == 0
    offset = length - page - array.nbytes
    copy = np.frombuffer(region, array.dtype, array.size, offset).reshape(array.shape)
    copy[...] = array
    return copy


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    """Random elements: whole numbers for integers, of which every sum is exact."""
    if dtype.startswith("i"):
        return rng.integers(-9, 10, shape).astype(DTYPES[dtype])
    return rng.standard_normal(shape).astype(DTYPES[dtype])


def product(
    rng: np.random.Generator,
    size: tuple[int, int, int],
    form: str,
    target: Target,
    *,
    batch: int = 1,
    dtype: str = "float",
    accumulate: str | None = None,
) -> Problem:
    """A problem of dense row-major operands; ``t`` in ``form`` marks a transposed one."""
    m, k, n = size
    a = draw(rng, (batch, k, m) if form[0] == "t" else (batch, m, k), dtype)
    b = draw(rng, (batch, n, k) if form[1] == "t" else (batch, k, n), dtype)
    spec = ContractionSpec(
        batch,
        m,
        n,
        k,
        Matrix(dtype, (m * k, 1, m) if form[0] == "t" else (m * k, k, 1)),
        Matrix(dtype, (k * n, 1, k) if form[1] == "t" else (k * n, n, 1)),
        accumulate or dtype,
        target,
    )
    x = a.swapaxes(1, 2) if form[0] == "t" else a
    y = b.swapaxes(1, 2) if form[1] == "t" else b
    expected = x.astype(np.float64) @ y.astype(np.float64)
    return Problem(spec, guarded(a), guarded(b), expected=expected)


def check(problem: Problem, actual: Array) -> None:
    """Results equal the float64 product within the rounding of sums of their length."""
    spec, expected = problem.spec, problem.expected
    assert expected is not None
    if spec.accumulate.startswith("i"):
        assert np.array_equal(expected, actual)
        return
    epsilon = float(np.finfo(DTYPES[spec.accumulate]).eps)
    bound = epsilon * (2 * np.sqrt(spec.k) + 4) * max(1.0, float(np.abs(expected).max(initial=0)))
    worst = float(np.abs(expected - actual).max(initial=0))
    assert worst <= bound, f"{spec}: {worst} > {bound} ({choose_schedule(spec)})"


def check_all(machine: Machine, problems: list[Problem]) -> None:
    """Compile the problems together and check each."""
    compiled = Compiled(machine, problems)
    for i, problem in enumerate(problems):
        check(problem, compiled.run(i))


@pytest.fixture
def rng() -> np.random.Generator:
    """Seeded randomness."""
    return np.random.default_rng(20240607)


def sample_sizes(seed: int, count: int) -> Iterator[tuple[int, int, int]]:
    """Random triples of ``SIZES`` in which every size occurs in every place."""
    chooser = np.random.default_rng(seed)
    columns = [np.concatenate([chooser.permutation(SIZES) for _ in range(2)]) for _ in range(3)]
    for m, k, n in list(zip(*columns, strict=True))[:count]:
        yield int(m), int(k), int(n)


# --- shapes and layouts --------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMS)
def test_products_of_all_sizes(machine: Machine, form: str, rng: np.random.Generator) -> None:
    sizes = list(sample_sizes(FORMS.index(form), 14))
    check_all(machine, [product(rng, size, form, machine.target) for size in sizes])


@pytest.mark.parametrize("form", FORMS)
def test_narrow_results(machine: Machine, form: str, rng: np.random.Generator) -> None:
    """Few columns, not as many as lanes: computed by lanes along the rows where these lie so."""
    sizes = [(784, 32, 10), (64, 32, 10), (100, 7, 9), (131, 40, 11), (256, 128, 10), (33, 1, 10)]
    problems = [product(rng, size, form, machine.target) for size in sizes]
    problems.append(product(rng, (70, 20, 10), form, machine.target, batch=3))
    turned = [choose_schedule(x.spec).turns for x in problems]
    assert any(turned) == (form[0] == "t" and machine.target == AVX512)
    check_all(machine, problems)


def test_few_columns_of_long_sums(machine: Machine, rng: np.random.Generator) -> None:
    """Few columns, long sums: dot products of rows with columns packed along k."""
    sizes = [(32, 784, 10), (8, 128, 9), (33, 129, 11), (50, 500, 13), (9, 143, 15), (40, 257, 12)]
    problems = [product(rng, size, "nn", machine.target) for size in sizes]
    problems.append(product(rng, (24, 300, 10), "nn", machine.target, batch=3))
    plans = [choose_schedule(x.spec) for x in problems]
    packed = [x.kind == "dot" and x.pack_b == "transpose" for x in plans]
    assert any(packed) == (machine.target == AVX512)
    check_all(machine, problems)


@pytest.mark.parametrize("form", FORMS)
def test_vectors(machine: Machine, form: str, rng: np.random.Generator) -> None:
    """Matrix times vector, vector times matrix, dot and outer products."""
    sizes = [(1, 100, 57), (57, 100, 1), (1, 333, 1), (19, 1, 23), (3, 70, 40), (40, 70, 3)]
    check_all(machine, [product(rng, size, form, machine.target) for size in sizes])


@pytest.mark.parametrize("form", FORMS)
def test_blocked_sums(best_machine: Machine, form: str, rng: np.random.Generator) -> None:
    """Sums longer than a K block, columns wider than stay packed, many tasks."""
    sizes = [(90, 2777, 50), (150, 200, 260), (5, 4100, 70), (64, 1024, 1024)]
    problems = [product(rng, size, form, best_machine.target) for size in sizes]
    assert any(choose_schedule(x.spec).k_blocks > 1 for x in problems)
    check_all(best_machine, problems)


def test_columns_packed_for_each_block(
    best_machine: Machine, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where packed columns would not fit, every task packs its own."""
    target = replace(best_machine.target, l2_bytes=16 << 10)
    problems = [product(rng, (60, 2500, 130), form, target) for form in FORMS]
    plans = [choose_schedule(x.spec) for x in problems]
    assert any(x.pack_b != "no" and not x.resident and x.k_blocks > 1 for x in plans)
    check_all(best_machine, problems)


@pytest.mark.parametrize("form", FORMS)
def test_batches(best_machine: Machine, form: str, rng: np.random.Generator) -> None:
    problems = [
        product(rng, size, form, best_machine.target, batch=5)
        for size in ((16, 8, 16), (30, 33, 47), (1, 40, 20), (20, 40, 1))
    ]
    check_all(best_machine, problems)


@pytest.mark.parametrize("size", [(0, 3, 4), (4, 3, 0), (4, 0, 5), (0, 0, 0)])
def test_empty_products(
    best_machine: Machine, size: tuple[int, int, int], rng: np.random.Generator
) -> None:
    """An empty result has no tasks; an empty sum is zero."""
    problem = product(rng, size, "nn", best_machine.target)
    assert (contraction_tasks(problem.spec) == 0) == (0 in (size[0], size[2]))
    check_all(best_machine, [problem, product(rng, size, "tt", best_machine.target, batch=0)])


def test_unusual_strides(best_machine: Machine, rng: np.random.Generator) -> None:
    """Broadcast, reversed, and strided in both axes."""
    x, y = draw(rng, (3, 40, 60), "float"), draw(rng, (3, 60, 80), "float")
    problems = []
    for a, b in (
        (x[:, ::2, ::3], y[:, ::3, ::2]),
        (x[:, ::-1, ::-1], y[:, ::-1, ::-1]),
        (x[:, ::-1, :], y[:, :, ::-1]),
        (np.broadcast_to(x[:1, :1, :], (3, 40, 60)), np.broadcast_to(y[:1, :, :1], (3, 60, 80))),
        (np.broadcast_to(x[:, :, :1], (3, 40, 60)), y),
        (x[:, :25, :50], y[:, :50, 3:40]),
    ):
        problems.append(strided(a, b, best_machine.target))
    check_all(best_machine, problems)


def strided(a: Array, b: Array, target: Target) -> Problem:
    """A problem on views as they are."""
    spec = ContractionSpec(
        a.shape[0],
        a.shape[1],
        b.shape[2],
        a.shape[2],
        Matrix("float", element_strides(a)),
        Matrix("float", element_strides(b)),
        "float",
        target,
    )
    return Problem(spec, a, b, expected=a.astype(np.float64) @ b.astype(np.float64))


def element_strides(x: Array) -> tuple[int, int, int]:
    """Strides in elements."""
    batch, row, column = (s // x.itemsize for s in x.strides)
    return batch, row, column


# --- element types -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("dtype", "accumulate"),
    [
        ("double", "double"),
        ("half", "float"),
        ("bfloat", "float"),
        ("float", "double"),
        ("i32", "i32"),
        ("i8", "i32"),
        ("i64", "i64"),
        ("i16", "float"),
    ],
)
def test_element_types(
    machine: Machine, dtype: str, accumulate: str, rng: np.random.Generator
) -> None:
    sizes = [(33, 20, 50), (17, 64, 100), (1, 70, 33), (33, 70, 1), (2, 50, 3), (64, 5, 16)]
    problems = [
        product(rng, size, form, machine.target, dtype=dtype, accumulate=accumulate)
        for size, form in zip(sizes, ("nn", "nt", "nt", "tn", "nn", "tn"), strict=True)
    ]
    check_all(machine, problems)


def test_unsigned_elements_are_zero_extended(
    best_machine: Machine, rng: np.random.Generator
) -> None:
    problem = product(rng, (20, 30, 40), "nn", best_machine.target, dtype="i8", accumulate="i32")
    spec = problem.spec
    unsigned = [replace(x, signed=False) for x in (spec.a, spec.b)]
    problem.spec = replace(spec, a=unsigned[0], b=unsigned[1])
    x, y = (z.view(np.uint8).astype(np.float64) for z in (problem.a, problem.b))
    problem.expected = x @ y
    check_all(best_machine, [problem])


def test_every_half_value_widens_exactly(machine: Machine) -> None:
    """Subnormals, infinities and nan, with and without a conversion instruction."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    one = np.ones(1, np.float16)
    spec = ContractionSpec(
        1, 1, halves.size, 1, Matrix("half", (1, 1, 1)), Matrix("half", (0, 0, 1)), "float",
        machine.target,
    )  # fmt: skip
    actual = Compiled(machine, [Problem(spec, one, guarded(halves))]).run(0).ravel()
    expected = halves.astype(np.float32)
    assert np.array_equal(np.isnan(expected), np.isnan(actual))
    number = ~np.isnan(expected)
    # 0 + 1 * -0 is +0: signs of zero are lost in a sum that starts from zero.
    assert np.array_equal(expected[number] + 0.0, actual[number])


# --- tasks ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", FORMS)
def test_splitting_tasks_changes_no_bit(
    best_machine: Machine, form: str, rng: np.random.Generator
) -> None:
    sizes = [(100, 300, 200), (128, 64, 512), (40, 1500, 90), (1, 500, 300), (300, 500, 1)]
    sizes += [(784, 32, 10), (64, 784, 10)]
    problems = [product(rng, s, form, best_machine.target) for s in sizes]
    problems.append(product(rng, (20, 30, 40), form, best_machine.target, batch=7))
    compiled = Compiled(best_machine, problems)
    for i, problem in enumerate(problems):
        tasks = contraction_tasks(problem.spec)
        whole = compiled.run(i)
        one_by_one = compiled.run(i, [(t, t + 1) for t in reversed(range(tasks))])
        thirds = [(tasks * t // 3, tasks * (t + 1) // 3) for t in range(3)]
        assert np.array_equal(whole, one_by_one)
        assert np.array_equal(whole, compiled.run(i, thirds))


def test_results_agree_between_fma_targets(rng: np.random.Generator) -> None:
    """Sums are chains in the order of k whatever the tile: AVX-512 and AVX2 agree to the bit."""
    usable = [p.values[0] for p in machines() if not p.marks[0].args[0]][:-1]
    if len(usable) < 2:
        pytest.skip("needs AVX-512 and AVX2")
    outcomes = []
    for machine in usable:
        fixed = np.random.default_rng(3)
        problems = [product(fixed, (50, 77, 60), form, machine.target) for form in FORMS]
        compiled = Compiled(machine, problems)
        outcomes.append([compiled.run(i) for i in range(len(problems))])
    for one, other in zip(*outcomes, strict=True):
        assert np.array_equal(one, other)


def test_task_count_and_flops_depend_on_the_spec_alone(rng: np.random.Generator) -> None:
    spec = product(rng, (32, 784, 10), "nn", AVX512).spec
    assert contraction_tasks(spec) == contraction_tasks(replace(spec)) >= 2
    assert flop_count(spec) == 2 * 32 * 784 * 10


@pytest.mark.parametrize("target", [AVX512, AVX2, GENERIC])
def test_schedule_fits_registers_and_prints(target: Target, rng: np.random.Generator) -> None:
    for size in ((1024, 1024, 1024), (128, 784, 512), (1, 64, 64), (7, 3, 1000)):
        for dtype in ("float", "double"):
            spec = product(rng, (1, 1, 1), "nn", target, dtype=dtype).spec
            m, k, n = size
            matrices = Matrix(dtype, (0, k, 1)), Matrix(dtype, (0, n, 1))
            plan = choose_schedule(replace(spec, m=m, k=k, n=n, a=matrices[0], b=matrices[1]))
            assert isinstance(plan, Schedule)
            width = -(-plan.lanes * element_bytes(dtype) // (4 * target.lanes))
            held = plan.rows * plan.vectors * width
            assert held + plan.vectors * width < target.registers
            assert f"tile {plan.rows}x{plan.vectors}" in str(plan)


# --- fused operands ------------------------------------------------------------------------------
def masked_by_sign(spec: ContractionSpec, which: str, values: V, gates: V) -> Callable[..., V]:
    """A load of ``values`` where ``gates`` is positive: the backward pass of a ReLU."""
    matrix = spec.a if which == "a" else spec.b
    along_first = packs_along_rows(matrix)

    def load(f: Function, batch: V, x: V, y: V, lanes: int, mask: V | None) -> V:
        at = V("i64", "0")
        for stride, index in zip(matrix.strides, (batch, x, y), strict=True):
            at = f.add(at, f.mul(index, V("i64", str(stride))))
        assert lanes == 1 or matrix.strides[1 if along_first else 2] == 1
        type = f"<{lanes} x float>" if lanes > 1 else "float"
        parts = []
        for pointer in (values, gates):
            place = f.gep("float", pointer, at)
            if mask is None:
                parts.append(f.load(type, place))
            else:
                parts.append(f.masked_load(type, place, mask))
        positive = f.compare("ogt", parts[1], f.const(type, 0.0))
        return f.select(positive, parts[0], f.const(type, 0.0))

    return load


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(40, 30, 50), (33, 1500, 20), (14, 3, 7), (100, 64, 160)])
def test_fused_operands(
    best_machine: Machine, form: str, size: tuple[int, int, int], rng: np.random.Generator
) -> None:
    """Both operands come from callbacks that read two arrays each."""
    plain = product(rng, size, form, best_machine.target, batch=2)
    gates = [guarded(draw(rng, x.shape, "float")) for x in (plain.a, plain.b)]
    spec = replace(plain.spec, fused_a=True, fused_b=True)
    pointers = [
        [V("ptr", f"inttoptr (i64 {x.ctypes.data} to ptr)") for x in pair]
        for pair in ((plain.a, gates[0]), (plain.b, gates[1]))
    ]
    x, y = (np.where(g > 0, v, 0) for v, g in zip((plain.a, plain.b), gates, strict=True))
    x = x.swapaxes(1, 2) if form[0] == "t" else x
    y = y.swapaxes(1, 2) if form[1] == "t" else y
    problem = Problem(
        spec,
        plain.a,
        plain.b,
        load_a=masked_by_sign(spec, "a", *pointers[0]),
        load_b=masked_by_sign(spec, "b", *pointers[1]),
        expected=x.astype(np.float64) @ y.astype(np.float64),
    )
    check_all(best_machine, [problem])


def test_fused_operand_needs_its_callback(rng: np.random.Generator) -> None:
    problem = product(rng, (4, 4, 4), "nn", AVX512)
    problem.spec = replace(problem.spec, fused_a=True)
    with pytest.raises(TypeError, match="needs its callback"):
        write_run(Module(), "run", problem)


def test_fused_operand_must_have_the_type_asked_for(rng: np.random.Generator) -> None:
    problem = product(rng, (40, 40, 40), "nn", AVX512)
    problem.spec = replace(problem.spec, fused_b=True)
    problem.load_b = wrong_type
    with pytest.raises(TypeError, match=r"expected <\d+ x float>"):
        write_run(Module(), "run", problem)


def wrong_type(f: Function, batch: V, x: V, y: V, lanes: int, mask: V | None) -> V:
    return f.const(f"<{lanes} x double>", 0.0)


# --- indexed operands ----------------------------------------------------------------------------
@pytest.mark.parametrize(("channels", "filters"), [(1, 8), (1, 32), (3, 40), (20, 64), (5, 1)])
def test_convolution_reads_patches_through_tables(
    machine: Machine, channels: int, filters: int, rng: np.random.Generator
) -> None:
    """Forward product and weight gradient of a 3x3 convolution, stride 2 along the rows."""
    images = draw(rng, (2, 11, 9, channels), "float")
    patches, rows, terms = patch_tables(images, (3, 3), (2, 1))
    weights = draw(rng, (terms.size, filters), "float")
    cts = draw(rng, (rows.size, filters), "float")
    forward = ContractionSpec(
        1, rows.size, filters, terms.size, Matrix("float", (0, 1, 1)),
        Matrix("float", (0, filters, 1)), "float", machine.target, indexed_a=True,
    )  # fmt: skip
    backward = replace(forward, m=terms.size, k=rows.size)
    inputs = guarded(images)
    problems = [
        Problem(forward, inputs, guarded(weights), tables=(guarded(rows), guarded(terms))),
        Problem(backward, inputs, guarded(cts), tables=(guarded(terms), guarded(rows))),
    ]
    problems[0].expected = (patches @ weights.astype(np.float64))[None]
    problems[1].expected = (patches.T @ cts.astype(np.float64))[None]
    check_all(machine, problems)


def patch_tables(
    images: Array, window: tuple[int, int], stride: tuple[int, int]
) -> tuple[Array, Array, Array]:
    """Patches as a matrix in float64, and the offsets of its rows and columns."""
    count, height, width, channels = images.shape
    down = (height - window[0]) // stride[0] + 1
    across = (width - window[1]) // stride[1] + 1
    index = np.arange(images.size, dtype=np.int64).reshape(images.shape)
    rows = index[:, : down * stride[0] : stride[0], : across * stride[1] : stride[1], 0].ravel()
    terms = index[0, : window[0], : window[1], :].ravel()
    patches = images.ravel()[rows[:, None] + terms[None, :]].astype(np.float64)
    assert patches.shape == (count * down * across, window[0] * window[1] * channels)
    return patches, rows.copy(), terms.copy()


def test_indexed_operand_needs_its_tables(rng: np.random.Generator) -> None:
    problem = product(rng, (4, 4, 4), "nn", AVX512)
    problem.spec = replace(problem.spec, indexed_a=True)
    with pytest.raises(TypeError, match="needs its tables"):
        write_run(Module(), "run", problem)


# --- the checker ---------------------------------------------------------------------------------
def test_checker_notices_a_wrong_element(best_machine: Machine, rng: np.random.Generator) -> None:
    problem = product(rng, (20, 20, 20), "nn", best_machine.target)
    actual = Compiled(best_machine, [problem]).run(0)
    actual[0, 3, 4] += 1e-3
    with pytest.raises(AssertionError):
        check(problem, actual)
