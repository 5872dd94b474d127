"""``python -m benchmarks``: everything side by side, as tables and as JSON.

Times are medians of alternating turns, in one process or, for the products and Keras, in one for
each library, which is stopped between its turns; ratios are of medians. Numbers of threads are set
alike for every library.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Run what is asked for and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = [
        "training", "embedding", "products", "sparse", "sorts", "startup", "keras", "bits",
    ]  # fmt: skip
    parser.add_argument("parts", nargs="*", default=default)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--turns", type=int, default=5, help="epochs of each library")
    parser.add_argument("--json", type=Path, default=ROOT / "output" / "benchmarks.json")
    chosen = parser.parse_args()
    set_threads(chosen.threads)

    from benchmarks.machine import describe

    results: dict[str, Any] = {"machine": describe(chosen.threads)}
    parts = {
        "training": training, "embedding": embedding, "products": products, "sparse": sparse,
        "sorts": sorts, "startup": startup, "keras": keras, "bits": bits,
    }  # fmt: skip
    for part in chosen.parts:
        results[part] = parts[part](chosen)
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    chosen.json.write_text(json.dumps(results, indent=1) + "\n")
    say(f"written to {chosen.json}")


def set_threads(count: int) -> None:
    """Give every library the same number of threads; before any of them is imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PULLBACK_THREADS"):
        os.environ[name] = str(count)
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    import torch

    torch.set_num_threads(count)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(header: list[str], rows: list[list[str]]) -> None:
    """Print a Markdown table."""
    say("| " + " | ".join(header) + " |")
    say("|---" + "|--:" * (len(header) - 1) + "|")
    for row in rows:
        say("| " + " | ".join(row) + " |")
    say("")


def training(chosen: argparse.Namespace) -> dict[str, Any]:
    """Epochs of the three networks; microseconds a step."""
    from benchmarks.mlp import MAKERS, WORKLOADS

    results = {}
    for workload in WORKLOADS.values():
        makers = dict(MAKERS)
        if workload.optimizer == "sgd":
            del makers["scikit-learn"]  # its classifier has no network without a hidden layer
        figures = _steps(workload, makers, chosen.turns)
        ours = figures["microseconds_a_step"]["pullback"]
        results[workload.name] = {**figures, "gflops": workload.flops() / ours / 1e3}
    _print_steps(results, list(MAKERS))
    return results


def embedding(chosen: argparse.Namespace) -> dict[str, Any]:
    """Epochs of a classifier of tokens; microseconds a step, and what memory must move."""
    from benchmarks.embedding import MAKERS, WORKLOADS

    results = {}
    for workload in WORKLOADS.values():
        makers = dict(MAKERS)
        if workload.optimizer == "adam":
            del makers["torch sparse"]  # its optimizer for sparse gradients is another one
        figures = _steps(workload, makers, chosen.turns)
        ours = figures["microseconds_a_step"]["pullback"]
        results[workload.name] = {**figures, "gigabytes_a_second": workload.nbytes() / ours / 1e3}
    _print_steps(results, list(MAKERS))
    return results


def _steps(workload: Any, makers: Mapping[str, Callable[[Any], Any]], turns: int) -> dict[str, Any]:
    """Let libraries train in turn; microseconds a step."""
    from benchmarks.timing import side_by_side

    timings = side_by_side({name: make(workload) for name, make in makers.items()}, turns)
    micros = {name: t.median / workload.steps * 1e6 for name, t in timings.items()}
    say(f"{workload.name}: " + ", ".join(f"{n} {v:.1f}" for n, v in micros.items()))
    return {
        "microseconds_a_step": micros,
        "least": {name: t.least / workload.steps * 1e6 for name, t in timings.items()},
        "times_as_long": {name: value / micros["pullback"] for name, value in micros.items()},
    }


def _print_steps(results: Mapping[str, dict[str, Any]], libraries: list[str]) -> None:
    rows = []
    for name, figures in results.items():
        micros, ratios = figures["microseconds_a_step"], figures["times_as_long"]
        others = [
            f"{micros[n]:.0f} ({ratios[n]:.1f}x)" if n in micros else "-" for n in libraries[1:]
        ]
        rows.append([name, f"{micros['pullback']:.1f}", *others])
    say("\nMicroseconds a training step (and how many times as long as pullback)\n")
    table(["", *libraries], rows)


def products(chosen: argparse.Namespace) -> dict[str, Any]:
    """Matrix products; GFLOP/s, and the share of the processor's peak."""
    from benchmarks import products as module
    from benchmarks.timing import side_by_side

    peak = module.Peak()
    rows, results = [], {}
    with module.children() as running:
        for product in module.products():
            timings = module.measure(running, product)
            # Often enough in a row for a core that slept to be at its speed.
            core = peak.flops() / side_by_side({"peak": peak}, 3, 100)["peak"].least / 1e9
            speeds = {name: product.flops() / t.median / 1e9 for name, t in timings.items()}
            share = speeds["pullback"] / (core * chosen.threads)
            best = max(v for name, v in speeds.items() if name != "pullback")
            ratio = speeds["pullback"] / best
            results[product.name] = {
                "gflops": speeds, "peak_of_a_core": core, "share": share, "of_best_peer": ratio,
            }  # fmt: skip
            cells = [f"{v:.0f}" for v in speeds.values()]
            rows.append([product.name, *cells, f"{share:.0%}", f"{ratio:.2f}"])
    say(f"\nMatrix products, GFLOP/s; peak is {chosen.threads} cores' multiply-adds\n")
    table(["", "pullback", "jax", "numpy", "torch", "of peak", "of best peer"], rows)
    return results


def sparse(chosen: argparse.Namespace) -> dict[str, Any]:
    """Sparse matrix times dense matrix and its derivatives; microseconds."""
    from benchmarks import sparse_products as module

    rows, results = [], {}
    for workload in module.WORKLOADS:
        results[workload.name] = module.measure(workload, chosen.turns)
        for form, micros in results[workload.name].items():
            cells = [f"{micros[name]:.0f}" if name in micros else "-" for name in module.MAKERS]
            rows.append([f"{workload.name}: {form}", *cells])
    say("\nSparse products, microseconds\n")
    table(["", *module.MAKERS], rows)
    return results


def sorts(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Sorts, the largest of many and permutations; milliseconds."""
    from benchmarks import sorts as module

    results = module.measure(chosen.turns)
    say("\nSorts, milliseconds\n")
    table(
        ["", *module.MAKERS],
        [[kind, *(f"{ms[name]:.2f}" for name in module.MAKERS)] for kind, ms in results.items()],
    )
    return results


def startup(chosen: argparse.Namespace) -> dict[str, float]:
    """Import, first step, call, memory."""
    from benchmarks import startup as module

    results = module.measure(str(ROOT))
    say("\nBefore and around the steps\n")
    table(["", ""], [[name, f"{value:.4g}"] for name, value in results.items()])
    return results


def keras(chosen: argparse.Namespace) -> dict[str, Any]:
    """Stock Keras programs on each backend: steps, calls, and what a new process does first."""
    from benchmarks import keras_fit as module

    results: dict[str, Any] = {}
    with module.children() as running:
        for workload in module.WORKLOADS.values():
            timings = module.measure(running, "fit", workload.name, chosen.turns)
            figure = _figure({b: t.median for b, t in timings.items()}, 1e6)
            figure["least"] = {b: t.least * 1e6 for b, t in timings.items()}
            figure["loss"] = {b: child.ask("loss", workload.name) for b, child in running.items()}
            name = f"fit {workload.name} (us a step)"
            results[name] = figure
            say(f"{name}: " + ", ".join(f"{b} {v:.1f}" for b, v in figure["values"].items()))
        for command in ("predict", "train_on_batch"):
            timings = module.measure(running, command, "mlp_tiny", chosen.turns, module.CALLS)
            name = f"{command}, {module.CALL_ROWS} rows (ms a call)"
            results[name] = _figure({b: t.median for b, t in timings.items()}, 1e3)
        backends = list(running)
    for name, seconds in module.new_processes(backends, chosen.turns).items():
        results[f"{name} (s)"] = _figure(seconds, 1.0)
    say("\nKeras on its backends (and how many times as long as pullback)\n")
    rows = []
    for name, figure in results.items():
        values, ratios = figure["values"], figure["times_as_long"]
        others = [
            f"{values[b]:.3g} ({ratios[b]:.1f}x)" if b in values else "-"
            for b in module.BACKENDS[1:]
        ]
        rows.append([name, f"{values['pullback']:.3g}", *others])
    table(["", *module.BACKENDS], rows)
    return results


def _figure(seconds: dict[str, float], units: float) -> dict[str, Any]:
    """Values in other units than seconds, and their ratios to pullback's."""
    return {
        "values": {name: value * units for name, value in seconds.items()},
        "times_as_long": {name: value / seconds["pullback"] for name, value in seconds.items()},
    }


def bits(chosen: argparse.Namespace) -> dict[str, bool]:
    """Whether an epoch gives bitwise the same weights on 1, 2 and 4 threads."""
    import hashlib

    import numpy as np

    import pullback as pb
    from benchmarks import embedding, mlp

    results = {}
    trained: list[tuple[Any, Callable[[Any], Any]]] = [
        *((w, mlp.trained_state) for w in mlp.WORKLOADS.values()),
        *((w, embedding.trained_state) for w in embedding.WORKLOADS.values()),
    ]
    for workload, trained_state in trained:
        digests = set()
        for threads in (1, 2, 4):
            with pb.config.override(threads=threads):
                state = trained_state(workload)
                leaves = [np.asarray(x).tobytes() for x in pb.tree.leaves(state)]
                digests.add(hashlib.sha256(b"".join(leaves)).hexdigest())
        results[workload.name] = len(digests) == 1
    say("\nThe same bits after an epoch on 1, 2 and 4 threads\n")
    table(["", ""], [[name, "yes" if same else "NO"] for name, same in results.items()])
    return results


if __name__ == "__main__":
    main()
