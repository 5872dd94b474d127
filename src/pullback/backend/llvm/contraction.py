"""Writes a contraction kernel: the generator of ``gemm`` with the kernel's epilogue."""

from __future__ import annotations

from pullback.backend.llvm import gemm
from pullback.backend.llvm.emit import Function, Module, V, is_float, lanes_of
from pullback.backend.llvm.expression import Writer
from pullback.backend.llvm.gemm_spec import AVX2, AVX512, GENERIC, NEON, ContractionSpec, Matrix
from pullback.backend.llvm.gemm_spec import Target as TileTarget
from pullback.backend.llvm.narrow import narrow_float
from pullback.backend.llvm.scalar import NARROW, element_type, is_narrow, memory_type
from pullback.backend.llvm.target import Target
from pullback.kernels.core import Buffer, ContractionKernel, Node
from pullback.kernels.index import LoopVar
from pullback.kernels.memory import access_of
from pullback.types import SIGNED


def tile_target(target: Target) -> TileTarget:
    """The processor's facts that tile sizes depend on."""
    if target.name in ("avx512", "avx2"):
        return AVX512 if target.name == "avx512" else AVX2
    return NEON if target.machine in ("aarch64", "arm64") else GENERIC


def contraction_spec(kernel: ContractionKernel, target: Target) -> ContractionSpec:
    """The kernel's product as the generator wants it."""
    b, i, j, p = kernel.batch, kernel.row, kernel.column, kernel.inner
    dtype = kernel.accumulator.dtype
    return ContractionSpec(
        b.extent,
        i.extent,
        j.extent,
        p.extent,
        _matrix(kernel.a, (b, i, p)),
        _matrix(kernel.b, (b, p, j)),
        "float" if is_narrow(dtype) else element_type(dtype),
        tile_target(target),
    )


def _matrix(operand: Node, vars: tuple[LoopVar, LoopVar, LoopVar]) -> Matrix:
    buffer, offset = operand.payload
    strides = tuple(offset.coefficient(v) if v.extent > 1 else 0 for v in vars)
    dtype = NARROW.get(buffer.dtype) or memory_type(buffer.dtype)
    return Matrix(dtype, strides, buffer.dtype in SIGNED)  # type: ignore[arg-type]


def write_contraction_kernel(
    module: Module, name: str, kernel: ContractionKernel, target: Target, errand_bytes: int = 0
) -> tuple[list[Buffer], int]:
    """Write the function; return its buffers and the scratch bytes it needs of each thread.

    ``errand_bytes`` before the scratch is a block of memory to ask for on the way (``errands``).
    """
    spec = contraction_spec(kernel, target)
    buffers = list(access_of(kernel).buffers)
    arguments = [("ptr", f"p{i}") for i in range(len(buffers))]
    arguments += [("i64", "begin"), ("i64", "end"), ("ptr", "scratch")]
    f = Function(module, name, "void", arguments)
    w = Writer(f, dict(zip(buffers, f.args, strict=False)))
    a, b = (_origin(w, operand) for operand in (kernel.a, kernel.b))
    roots = [s.value for s in kernel.stores]
    w.hoist(roots)
    scratch = f.args[-1]
    gemm.emit_contraction(
        f,
        spec,
        a=a,
        b=b,
        begin=f.args[-3],
        end=f.args[-2],
        scratch=scratch,
        epilogue=_Epilogue(w, kernel),
        errand=f.gep("i8", scratch, -errand_bytes) if errand_bytes else None,
    )
    f.ret()
    f.finish()
    return buffers, gemm.contraction_scratch_bytes(spec)


def _origin(w: Writer, operand: Node) -> V:
    buffer, offset = operand.payload
    return w.f.gep(memory_type(buffer.dtype), w.pointers[buffer], offset.constant)


class _Epilogue:
    """Called for every finished vector of results: computes and stores what depends on them."""

    def __init__(self, w: Writer, kernel: ContractionKernel) -> None:
        self.w = w
        self.kernel = kernel
        self.roots = [s.value for s in kernel.stores]

    def __call__(
        self, f: Function, batch: V, row: V, column: V, lanes: int, value: V, mask: V | None
    ) -> None:
        w, kernel = self.w, self.kernel
        w.counters[kernel.batch], w.counters[kernel.row] = batch, row
        if lanes_of(value.type) == 1 or kernel.column.extent == 1:
            scalar = f.extract(value, 0) if lanes_of(value.type) > 1 else value
            w.counters[kernel.column] = column
            with w.scope():
                self._finish(scalar)
            del w.counters[kernel.column]
        else:
            with w.spreading(kernel.column, column, lanes, mask):
                self._finish(value)
        del w.counters[kernel.batch], w.counters[kernel.row]

    def _finish(self, value: V) -> None:
        w, kernel = self.w, self.kernel
        dtype = kernel.accumulator.dtype
        if is_narrow(dtype) and is_float(value.type):
            value = narrow_float(w.f, value, NARROW[dtype])
        w.remember(kernel.accumulator, value)
        w.hoist(self.roots)
        values = [w.value(root) for root in self.roots]
        for store, result in zip(kernel.stores, values, strict=True):
            w.store(store.buffer, store.offset, result)
