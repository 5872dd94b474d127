"""Programs with host calls on disk: what NumPy evaluates is kept by its text, functions are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.kernels.kernel_programs import all_bits

import pullback as pb
from pullback import config
from pullback.backend.executable import compile_program
from pullback.backend.llvm.jit import compile_ir

X = np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)


@pytest.fixture
def compilations(monkeypatch, tmp_path):
    """The texts that LLVM was given, with a cache that is empty at first."""
    texts = []

    def counted(text: str, **options: Any) -> bytes:
        texts.append(text)
        return compile_ir(text, **options)

    monkeypatch.setattr("pullback.backend.executable.compile_ir", counted)
    with config.override(cache_dir=str(tmp_path)):
        yield texts


def positive(x: Any) -> Any:
    return x @ x.T + pb.eye(4, dtype=x.dtype)


def factorized(x: Any) -> Any:
    """Each of the primitives that the host evaluates, with every kind of parameter."""
    q, r = pb.linalg.qr(x, mode="complete")
    u, s, vt = pb.linalg.svd(x[:, :2], full_matrices=True)
    w, v = pb.linalg.eigh(positive(x))
    return (
        *(q, r, u, s, vt, w, v),
        pb.linalg.cholesky(positive(x)),
        pb.linalg.pinv(x, rtol=1e-3),
        pb.linalg.pinv(x, rtol=0.5),
        pb.linalg.solve(positive(x), x),
        pb.linalg.inv(positive(x)),
        pb.linalg.det(x),
        pb.linalg.slogdet(x),
        pb.linalg.svdvals(x.astype("float64")),
        pb.linalg.eigvalsh(positive(x)),
    )


def in_loops(x: Any) -> Any:
    def step(c: Any, _: Any) -> Any:
        c = pb.cond(c[0, 0] > 0, pb.linalg.inv, lambda c: c * 0.5, positive(c))
        return c, pb.linalg.det(c)

    return pb.scan(step, x, None, length=3)


def derivative(x: Any) -> Any:
    return pb.grad(lambda x: pb.sum(pb.linalg.cholesky(positive(x))))(x)


@pytest.mark.parametrize("f", [factorized, in_loops, derivative])
def test_factorizations_come_from_the_cache(f, compilations):
    first, again = (compile_program(pb.make_program(f)(X)) for _ in range(2))

    assert len(compilations) == 1
    assert all_bits(again.checked(X)) == all_bits(first.checked(X))


def test_a_kept_call_still_raises_its_error(compilations):
    for _ in range(2):
        executable = compile_program(pb.make_program(pb.linalg.inv)(X))
        with pytest.raises(np.linalg.LinAlgError):
            executable.checked(np.zeros_like(X))

    assert len(compilations) == 1


def test_parameters_of_a_host_call_are_in_the_key(compilations):
    for rtol in (1e-3, 0.5):
        compile_program(pb.make_program(lambda x, rtol=rtol: pb.linalg.pinv(x, rtol=rtol))(X))

    assert len(compilations) == 2


def test_programs_with_python_functions_are_not_kept(compilations, tmp_path):
    def twice(v: Any) -> Any:
        return v * 2

    files = []
    for _ in range(2):
        program = pb.make_program(lambda x: pb.pure_callback(twice, x, pb.linalg.inv(x)))(X)
        compile_program(program).checked(X)
        files.append(set(tmp_path.iterdir()))  # the threads' own code, after the first run

    assert len(compilations) == 2
    assert files[0] == files[1]


SCRIPT = """
import sys
import numpy as np
import pullback as pb
from pullback.backend import executable

compilations = 0
compile_ir = executable.compile_ir

def counted(*args, **options):
    global compilations
    compilations += 1
    return compile_ir(*args, **options)

executable.compile_ir = counted

@pb.jit
def f(key, x):
    order = pb.random.permutation(key, 60_000)
    low = pb.linalg.cholesky(x @ x.T + pb.eye(4))
    return order, pb.sort(x), pb.argsort(x, axis=0), low, pb.linalg.svd(low)[1]

x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(4, 4) ** 3
results = f(pb.random.key(7), x)
digest = hash(b"".join(np.asarray(r).tobytes() for r in results))
print(compilations, digest)
"""


def test_another_process_compiles_nothing(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PULLBACK_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONHASHSEED": "0",
    }
    first, second = (
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        ).stdout.split()
        for _ in range(2)
    )

    assert (first[0], second[0]) == ("1", "0")
    assert first[1] == second[1]
