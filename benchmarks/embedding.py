"""A classifier of token sequences, written once for each library that takes part.

``Embedding(20000, 64)``, the mean over 100 tokens, ``Dense(10)``: reading and updating single rows
of a large table is all that takes time. Each maker returns ``epoch()``: it trains an epoch of
shuffled sequences and returns the mean loss. Data, initial weights and order are the same for all.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.mlp import BETA1, BETA2, EPSILON, Epoch

CLASSES = 10


@dataclass(frozen=True)
class Workload:
    """How large the table is, and how it is trained."""

    name: str
    optimizer: str  # "adam" or "sgd"
    rate: float
    words: int = 20_000
    width: int = 64
    tokens: int = 100
    batch: int = 32
    rows: int = 6_400

    @property
    def steps(self) -> int:
        """Steps in an epoch."""
        return self.rows // self.batch

    def nbytes(self) -> int:
        """Bytes that a step must read and write, if every token is a row of its own.

        SGD reads the rows for the forward pass, and reads and writes them for the update. Adam
        reads and writes the moments and the parameters of all rows, used or not.
        """
        row = 4 * self.width
        rows = self.batch * self.tokens * row
        return 3 * rows if self.optimizer == "sgd" else rows + 6 * self.words * row


WORKLOADS = {
    w.name: w
    for w in (Workload("embedding_sgd", "sgd", 0.1), Workload("embedding_adam", "adam", 1e-3))
}


@functools.cache
def data(w: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Tokens, int32 [rows, tokens], frequent ones first as in text, and labels, int32 [rows]."""
    rng = np.random.default_rng(0)
    # Zipf's law: the word of rank r is about 1 / r as frequent as the first.
    ranks = np.exp(rng.random((w.rows, w.tokens)) * np.log(w.words)).astype(np.int32)
    tokens = np.minimum(ranks, w.words - 1)
    teacher = rng.standard_normal((w.words, CLASSES), np.float32)
    return tokens, teacher[tokens].sum(1).argmax(-1).astype(np.int32)


def initial(w: Workload) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The table, the weights and the bias."""
    rng = np.random.default_rng(1)
    table = rng.uniform(-0.05, 0.05, (w.words, w.width)).astype(np.float32)
    limit = np.sqrt(6 / (w.width + CLASSES))
    weights = rng.uniform(-limit, limit, (w.width, CLASSES)).astype(np.float32)
    return table, weights, np.zeros(CLASSES, np.float32)


def orders(w: Workload) -> Callable[[], np.ndarray]:
    """A function that gives each epoch's rows, int32 [steps, batch]."""
    rng = np.random.default_rng(2)
    return lambda: rng.permutation(w.rows).astype(np.int32).reshape(w.steps, w.batch)


def functional_step(lib: Any, nn: Any, value_and_grad: Any, tree_map: Any, w: Workload) -> Any:
    """A step in the vocabulary that pullback and JAX share."""

    def loss_of(params, tokens, y):
        table, weights, bias = params
        logits = lib.mean(lib.take(table, tokens, axis=0, mode="clip"), axis=1) @ weights + bias
        return -lib.mean(lib.sum(nn.one_hot(y, CLASSES) * nn.log_softmax(logits), axis=-1))

    def update(state, grads):
        params = state["params"]
        if w.optimizer == "sgd":
            return {"params": tree_map(lambda p, g: p - w.rate * g, params, grads)}
        t = state["t"] + 1.0
        m = tree_map(lambda m, g: BETA1 * m + (1 - BETA1) * g, state["m"], grads)
        v = tree_map(lambda v, g: BETA2 * v + (1 - BETA2) * (g * g), state["v"], grads)
        rate = w.rate * lib.sqrt(1 - BETA2**t) / (1 - BETA1**t)
        params = tree_map(lambda p, m, v: p - rate * m / (lib.sqrt(v) + EPSILON), params, m, v)
        return {"params": params, "m": m, "v": v, "t": t}

    def step(state, tokens, labels, rows):
        loss, grads = value_and_grad(loss_of)(state["params"], tokens[rows], labels[rows])
        return update(state, grads), loss

    return step


def initial_state(w: Workload, asarray: Any) -> dict[str, Any]:
    """Parameters and, for Adam, its moments and step count."""
    params = tuple(map(asarray, initial(w)))
    if w.optimizer == "sgd":
        return {"params": params}
    zeros = [tuple(asarray(np.zeros_like(a)) for a in initial(w)) for _ in range(2)]
    return {"params": params, "m": zeros[0], "v": zeros[1], "t": asarray(np.float32(0))}


def pullback_program(w: Workload) -> Any:
    """The compiled epoch: ``(state, tokens, labels, order) -> (state, losses)``."""
    import pullback as pb

    step = functional_step(pb, pb.nn, pb.value_and_grad, pb.tree.map, w)

    def epoch(state, tokens, labels, order):
        return pb.scan(lambda s, rows: step(s, tokens, labels, rows), state, order)

    return pb.jit(epoch, donate_argnums=0)


def trained_state(w: Workload) -> dict[str, Any]:
    """The state after one epoch."""
    import pullback as pb

    tokens, labels = map(pb.asarray, data(w))
    state = initial_state(w, lambda a: pb.asarray(np.array(a)))
    trained: dict[str, Any] = pullback_program(w)(state, tokens, labels, orders(w)())[0]
    return trained


def pullback_epoch(w: Workload) -> Epoch:
    """One native program an epoch."""
    import pullback as pb

    return _epoch(w, pullback_program(w), lambda a: pb.asarray(np.array(a)))


def jax_scan_epoch(w: Workload) -> Epoch:
    """JAX with the same scan, compiled as one computation an epoch."""
    import jax
    import jax.numpy as jnp

    step = functional_step(jnp, jax.nn, jax.value_and_grad, jax.tree_util.tree_map, w)

    def epoch(state, tokens, labels, order):
        return jax.lax.scan(lambda s, rows: step(s, tokens, labels, rows), state, order)

    return _epoch(w, jax.jit(epoch, donate_argnums=0), lambda a: jnp.asarray(np.array(a)))


def jax_jit_epoch(w: Workload) -> Epoch:
    """JAX with one compiled step, called from a Python loop."""
    import jax
    import jax.numpy as jnp

    traced = functional_step(jnp, jax.nn, jax.value_and_grad, jax.tree_util.tree_map, w)
    step = jax.jit(traced, donate_argnums=0)

    def epoch(state, tokens, labels, order):
        losses = []
        for rows in order:
            state, loss = step(state, tokens, labels, rows)
            losses.append(loss)
        return state, jax.device_get(losses)

    return _epoch(w, epoch, lambda a: jnp.asarray(np.array(a)))


def _epoch(w: Workload, compiled: Any, asarray: Any) -> Epoch:
    tokens, labels = map(asarray, data(w))
    order = orders(w)
    state = initial_state(w, asarray)

    def epoch() -> float:
        nonlocal state
        state, losses = compiled(state, tokens, labels, order())
        return float(np.mean(np.asarray(losses)))

    return epoch


def torch_epoch(w: Workload, *, sparse: bool = False) -> Epoch:
    """PyTorch in eager mode; ``sparse``: the table's gradient is a sparse tensor."""
    import torch

    table, weights, bias = (torch.from_numpy(a) for a in initial(w))
    embedding = torch.nn.Embedding(w.words, w.width, sparse=sparse)
    dense = torch.nn.Linear(w.width, CLASSES)
    with torch.no_grad():
        embedding.weight.copy_(table)
        dense.weight.copy_(weights.T)
        dense.bias.copy_(bias)
    parameters = [embedding.weight, dense.weight, dense.bias]
    if w.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(parameters, w.rate)
    else:
        optimizer = torch.optim.Adam(parameters, w.rate, (BETA1, BETA2), EPSILON, fused=True)
    criterion = torch.nn.CrossEntropyLoss()
    all_tokens, all_labels = (torch.from_numpy(a).long() for a in data(w))
    order = orders(w)

    def epoch() -> float:
        losses = []
        for rows in torch.from_numpy(order()).long():
            optimizer.zero_grad()
            logits = dense(embedding(all_tokens[rows]).mean(1))
            loss = criterion(logits, all_labels[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    return epoch


MAKERS: dict[str, Callable[[Workload], Epoch]] = {
    "pullback": pullback_epoch,
    "jax scan": jax_scan_epoch,
    "jax jit": jax_jit_epoch,
    "torch eager": torch_epoch,
    "torch sparse": functools.partial(torch_epoch, sparse=True),
}
