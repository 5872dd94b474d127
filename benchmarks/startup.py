"""What is paid before the first step: import, compilation, a call, memory. Each in a process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

_IMPORT = "import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"

_COMPILE = """
import json, sys, time
sys.path.insert(0, {root!r})
import numpy as np
import pullback as pb
from benchmarks.mlp import WORKLOADS, functional_epoch, initial_state
w = WORKLOADS["mlp_big"]
traced = functional_epoch(pb, pb.nn, pb.scan, pb.value_and_grad, pb.tree.map, w)
state = initial_state(w, lambda a: pb.asarray(np.array(a)))
images, labels = pb.zeros((w.batch, 784)), pb.zeros((w.batch,), dtype="int32")
order = np.zeros((1, w.batch), np.int32)
start = time.perf_counter()
pb.jit(traced)(state, images, labels, order)
print(time.perf_counter() - start)
"""

_JAX_COMPILE = """
import sys, time
sys.path.insert(0, {root!r})
import jax, jax.numpy as jnp, numpy as np
from benchmarks.mlp import WORKLOADS, functional_epoch, initial_state
w = WORKLOADS["mlp_big"]
traced = functional_epoch(jnp, jax.nn, jax.lax.scan, jax.value_and_grad, jax.tree_util.tree_map, w)
state = initial_state(w, lambda a: jnp.asarray(np.array(a)))
images, labels = jnp.zeros((w.batch, 784)), jnp.zeros((w.batch,), dtype="int32")
order = np.zeros((1, w.batch), np.int32)
start = time.perf_counter()
jax.block_until_ready(jax.jit(traced)(state, images, labels, order))
print(time.perf_counter() - start)
"""

_MEMORY = """
import json, sys
sys.path.insert(0, {root!r})
from benchmarks.mlp import MAKERS, WORKLOADS
epoch = MAKERS[{maker!r}](WORKLOADS["mlp_big"])
epoch()
with open("/proc/self/status") as status:  # getrusage knows the parent's peak as well
    print(next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024)
"""

_CALL = """
import timeit
import numpy as np
import pullback as pb
f = pb.jit(lambda *xs: xs[0] + xs[9])
xs = [pb.asarray(np.ones(4, np.float32)) for _ in range(10)]
f(*xs)
n = 20000
print(min(timeit.repeat(lambda: f(*xs), number=n, repeat=7)) / n)
"""


def median_of_processes(code: str, turns: int, **environment: str) -> float:
    """Median over ``turns`` new processes of the number that ``code`` prints."""
    values = []
    for _ in range(turns):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        values.append(float(done.stdout.split()[-1]))
    return statistics.median(values)


def measure(root: str) -> dict[str, float]:
    """Seconds (and MiB) by name."""
    results = {
        "import pullback": median_of_processes(_IMPORT.format(module="pullback"), 7),
        "import numpy": median_of_processes(_IMPORT.format(module="numpy"), 7),
        "import jax": median_of_processes(_IMPORT.format(module="jax"), 3),
        "import torch": median_of_processes(_IMPORT.format(module="torch"), 3),
    }
    code = _COMPILE.format(root=root)
    results["mlp_big first step, cold"] = median_of_processes(code, 3, PULLBACK_CACHE_DIR="off")
    with tempfile.TemporaryDirectory() as cache:
        median_of_processes(code, 1, PULLBACK_CACHE_DIR=cache)
        results["mlp_big first step, from the cache"] = median_of_processes(
            code, 5, PULLBACK_CACHE_DIR=cache
        )
    results["mlp_big first step, jax"] = median_of_processes(_JAX_COMPILE.format(root=root), 3)
    results["call with 10 arrays"] = median_of_processes(_CALL, 3)
    for maker in ("pullback", "jax scan", "torch eager"):
        name = f"peak memory of mlp_big, {maker} (MiB)"
        results[name] = median_of_processes(_MEMORY.format(root=root, maker=maker), 1)
    return results


if __name__ == "__main__":
    from pathlib import Path

    sys.stdout.write(json.dumps(measure(str(Path(__file__).parent.parent)), indent=1) + "\n")
