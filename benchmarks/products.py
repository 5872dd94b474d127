"""Matrix products: pullback against JAX, NumPy and PyTorch, and against the processor's peak.

Each library is in a process of its own: this module, with the library's name.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np

from benchmarks.children import Child, serve
from benchmarks.timing import Timing, in_turns, timed


@dataclass(frozen=True)
class Product:
    """One product ``m x k`` by ``k x n``; the operands may lie transposed in memory."""

    name: str
    m: int
    k: int
    n: int
    form: str  # "nn": a @ b, "tn": a.T @ b, "nt": a @ b.T

    def flops(self) -> int:
        """Floating-point operations."""
        return 2 * self.m * self.k * self.n

    def operands(self) -> tuple[np.ndarray, np.ndarray]:
        """Random float32 operands as they lie in memory."""
        rng = np.random.default_rng(0)
        a = (self.k, self.m) if self.form == "tn" else (self.m, self.k)
        b = (self.n, self.k) if self.form == "nt" else (self.k, self.n)
        return rng.standard_normal(a, np.float32), rng.standard_normal(b, np.float32)


def products() -> Iterator[Product]:
    """Squares, then each training shape in the forward and the two backward products."""
    for n in (256, 512, 1024, 2048):
        yield Product(f"{n} square", n, n, n, "nn")
    for m, k, n in ((32, 784, 10), (128, 784, 512), (128, 512, 512), (2048, 128, 512)):
        yield Product(f"{m}x{k}x{n} forward", m, k, n, "nn")
        yield Product(f"{m}x{k}x{n} weights", k, m, n, "tn")
        yield Product(f"{m}x{k}x{n} inputs", m, n, k, "nt")


def _multiply(form: str) -> Callable[..., object]:
    def multiply(a, b):
        return (a.T if form == "tn" else a) @ (b.T if form == "nt" else b)

    return multiply


def _pullback(product: Product) -> Callable[[], object]:
    import pullback as pb

    compiled = pb.jit(_multiply(product.form))
    a, b = map(pb.asarray, product.operands())
    return lambda: compiled(a, b)


def _jax(product: Product) -> Callable[[], object]:
    import jax
    import jax.numpy as jnp

    compiled = jax.jit(_multiply(product.form))
    a, b = map(jnp.asarray, product.operands())
    return lambda: compiled(a, b).block_until_ready()


def _numpy(product: Product) -> Callable[[], object]:
    multiply = _multiply(product.form)
    a, b = product.operands()
    return lambda: multiply(a, b)


def _torch(product: Product) -> Callable[[], object]:
    import torch

    multiply = _multiply(product.form)
    a, b = map(torch.from_numpy, product.operands())
    return lambda: multiply(a, b)


#: By library, what makes the call of a product; every call waits for its result.
MAKERS: dict[str, Callable[[Product], Callable[[], object]]] = {
    "pullback": _pullback,
    "jax": _jax,
    "numpy": _numpy,
    "torch": _torch,
}


def serve_products(library: str) -> None:
    """Be a child: multiply by one library."""
    by_name = {product.name: product for product in products()}

    @functools.lru_cache(maxsize=1)  # the operands of the last product only
    def runner(name: str) -> Callable[[], object]:
        return MAKERS[library](by_name[name])

    serve({"multiply": lambda name, repeat: timed(runner(name), repeat)})


@contextmanager
def children() -> Iterator[dict[str, Child]]:
    """A child for each library."""
    with ExitStack() as stack:
        yield {
            library: stack.enter_context(Child("benchmarks.products", library))
            for library in MAKERS
        }


def measure(running: Mapping[str, Child], product: Product, turns: int = 25) -> dict[str, Timing]:
    """Time one product by all libraries, in many short turns: few machines are quiet for long."""
    repeat = max(1, int(5e-3 * 200e9 / product.flops()))
    clocks = {
        name: functools.partial(child.ask, "multiply", product.name)
        for name, child in running.items()
    }
    return in_turns(clocks, turns, min(repeat, 200))


class Peak:
    """A loop of independent fused multiply-adds: what one core can do at most.

    The IR is pullback's own vector type, compiled for the host.
    """

    CHAINS = 24
    TURNS = 20_000

    def __init__(self) -> None:
        from pullback.backend.llvm.emit import Function, Module
        from pullback.backend.llvm.jit import load_ir

        module = Module()
        f = Function(module, "peak", "void", [("ptr", "out")], linkage="dso_local")
        slots = [
            f.alloca("<16 x float>", f.const("<16 x float>", 1.0 + i)) for i in range(self.CHAINS)
        ]
        factor = f.const("<16 x float>", 0.999)
        with f.loop(0, self.TURNS):
            for slot in slots:
                f.store(f.fma(f.load("<16 x float>", slot), factor, factor), slot)
        for i, slot in enumerate(slots):
            f.store(f.load("<16 x float>", slot), f.gep("<16 x float>", f.args[0], i))
        f.ret()
        f.finish()
        self._code = load_ir(str(module))
        self._run = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._code.address("peak"))
        self._out = np.empty((self.CHAINS, 16), np.float32)

    def __call__(self) -> None:
        """Run the loop once."""
        self._run(self._out.ctypes.data)

    def flops(self) -> int:
        """Floating-point operations of one run."""
        return 2 * 16 * self.CHAINS * self.TURNS


if __name__ == "__main__":
    serve_products(sys.argv[1])
