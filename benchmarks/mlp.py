"""The training workloads, written once for each library that takes part.

Each maker returns ``epoch()``: it trains one shuffled epoch and returns the mean loss. Data,
initial weights, order of rows, optimizer and arithmetic are the same for all of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Epoch = Callable[[], float]


@dataclass(frozen=True)
class Workload:
    """A classifier ``784 - hidden - 10`` and how it is trained."""

    name: str
    sizes: tuple[int, ...]
    batch: int
    optimizer: str  # "adam" or "sgd"
    rate: float
    rows: int = 60_000

    @property
    def steps(self) -> int:
        """Steps in an epoch; the rows that don't fill a batch are left out."""
        return self.rows // self.batch

    def flops(self) -> int:
        """Floating-point operations of the products in one step."""
        pairs = list(zip(self.sizes, self.sizes[1:], strict=False))
        forward = sum(2 * self.batch * m * n for m, n in pairs)
        return 3 * forward - 2 * self.batch * pairs[0][0] * pairs[0][1]


WORKLOADS = {
    w.name: w
    for w in (
        Workload("mlp_tiny", (784, 10, 10), 32, "adam", 1e-3),
        Workload("softmax", (784, 10), 32, "sgd", 0.01),
        Workload("mlp_big", (784, 512, 512, 10), 128, "adam", 1e-3),
    )
}
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-7


@functools.cache
def data(workload: Workload) -> tuple[np.ndarray, np.ndarray]:
    """Rows made from the shipped digits: repeated with noise, as float32 in 0..1."""
    from pullback.datasets import mnist10k

    (x, y), _ = mnist10k()
    rng = np.random.default_rng(0)
    pick = rng.integers(0, len(x), workload.rows)
    pixels = x[pick].reshape(workload.rows, -1).astype(np.float32) / 255
    return pixels, y[pick].astype(np.int32)


def initial(workload: Workload) -> list[tuple[np.ndarray, np.ndarray]]:
    """Glorot-uniform weights and zero biases."""
    rng = np.random.default_rng(1)
    layers = []
    for m, n in zip(workload.sizes, workload.sizes[1:], strict=False):
        limit = np.sqrt(6 / (m + n))
        weights = rng.uniform(-limit, limit, (m, n)).astype(np.float32)
        layers.append((weights, np.zeros(n, np.float32)))
    return layers


def orders(workload: Workload) -> Callable[[], np.ndarray]:
    """A function that gives each epoch's rows, int32 [steps, batch]."""
    rng = np.random.default_rng(2)

    def order() -> np.ndarray:
        rows = rng.permutation(workload.rows)[: workload.steps * workload.batch]
        return rows.astype(np.int32).reshape(workload.steps, workload.batch)

    return order


def functional_epoch(lib, nn, scan, value_and_grad, tree_map, w: Workload):
    """The epoch in the vocabulary that pullback and JAX share: one scan over steps."""

    def loss_of(params, x, y):
        *hidden, (weights, bias) = params
        for m, b in hidden:
            x = nn.relu(x @ m + b)
        logits = x @ weights + bias
        log_p = nn.log_softmax(logits)
        return -lib.mean(lib.sum(nn.one_hot(y, w.sizes[-1]) * log_p, axis=-1))

    def update(state, grads):
        if w.optimizer == "sgd":
            params = tree_map(lambda p, g: p - w.rate * g, state["params"], grads)
            return {"params": params}
        t = state["t"] + 1.0
        m = tree_map(lambda m, g: BETA1 * m + (1 - BETA1) * g, state["m"], grads)
        v = tree_map(lambda v, g: BETA2 * v + (1 - BETA2) * (g * g), state["v"], grads)
        rate = w.rate * lib.sqrt(1 - BETA2**t) / (1 - BETA1**t)
        params = tree_map(
            lambda p, m, v: p - rate * m / (lib.sqrt(v) + EPSILON), state["params"], m, v
        )
        return {"params": params, "m": m, "v": v, "t": t}

    def epoch(state, images, labels, order):
        def step(state, rows):
            x, y = images[rows], labels[rows]
            loss, grads = value_and_grad(loss_of)(state["params"], x, y)
            return update(state, grads), loss

        return scan(step, state, order)

    return epoch


def initial_state(w: Workload, asarray):
    """Parameters and, for Adam, its moments and step count."""
    params = [tuple(asarray(a) for a in layer) for layer in initial(w)]
    if w.optimizer == "sgd":
        return {"params": params}
    zeros = [[tuple(asarray(a * 0) for a in layer) for layer in initial(w)] for _ in range(2)]
    return {"params": params, "m": zeros[0], "v": zeros[1], "t": asarray(np.float32(0))}


def pullback_program(w: Workload):
    """The compiled epoch: ``(state, images, labels, order) -> (state, losses)``."""
    import pullback as pb

    traced = functional_epoch(pb, pb.nn, pb.scan, pb.value_and_grad, pb.tree.map, w)
    return pb.jit(traced, donate_argnums=0)


def trained_state(w: Workload):
    """The state after one epoch."""
    import pullback as pb

    images, labels = map(pb.asarray, data(w))
    state = initial_state(w, lambda a: pb.asarray(np.array(a)))
    return pullback_program(w)(state, images, labels, orders(w)())[0]


def pullback_epoch(w: Workload) -> Epoch:
    """One native program an epoch."""
    import pullback as pb

    compiled = pullback_program(w)
    images, labels = map(pb.asarray, data(w))
    order = orders(w)
    state = initial_state(w, lambda a: pb.asarray(np.array(a)))

    def epoch() -> float:
        nonlocal state
        state, losses = compiled(state, images, labels, order())
        return float(np.mean(np.asarray(losses)))

    return epoch


def jax_scan_epoch(w: Workload) -> Epoch:
    """JAX with the same scan, compiled as one computation an epoch."""
    import jax
    import jax.numpy as jnp

    traced = functional_epoch(
        jnp, jax.nn, jax.lax.scan, jax.value_and_grad, jax.tree_util.tree_map, w
    )
    compiled = jax.jit(traced, donate_argnums=0)
    images, labels = map(jnp.asarray, data(w))
    order = orders(w)
    state = initial_state(w, lambda a: jnp.asarray(np.array(a)))

    def epoch() -> float:
        nonlocal state
        state, losses = compiled(state, images, labels, order())
        return float(np.mean(np.asarray(losses)))

    return epoch


def jax_jit_epoch(w: Workload) -> Epoch:
    """JAX with one compiled step, called from a Python loop."""
    import jax
    import jax.numpy as jnp

    traced = functional_epoch(
        jnp, jax.nn, lambda f, s, row: f(s, row), jax.value_and_grad, jax.tree_util.tree_map, w
    )
    step = jax.jit(traced, donate_argnums=0)
    images, labels = map(jnp.asarray, data(w))
    order = orders(w)
    state = initial_state(w, lambda a: jnp.asarray(np.array(a)))

    def epoch() -> float:
        nonlocal state
        losses = []
        for rows in order():
            state, loss = step(state, images, labels, rows)
            losses.append(loss)
        return float(np.mean(jax.device_get(losses)))

    return epoch


def torch_epoch(w: Workload) -> Epoch:
    """PyTorch in eager mode, with its own fused optimizer."""
    import torch

    layers: list[torch.nn.Module] = []
    for weights, _ in initial(w):
        linear = torch.nn.Linear(*weights.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weights.T.copy()))
            linear.bias.zero_()
        layers += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    if w.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), w.rate)
    else:
        optimizer = torch.optim.Adam(
            model.parameters(), w.rate, (BETA1, BETA2), EPSILON, fused=True
        )
    criterion = torch.nn.CrossEntropyLoss()
    pixels, targets = data(w)
    images, labels = torch.from_numpy(pixels), torch.from_numpy(targets).long()
    order = orders(w)

    def epoch() -> float:
        losses = []
        for rows in torch.from_numpy(order()).long():
            optimizer.zero_grad()
            loss = criterion(model(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return float(torch.stack(losses).mean())

    return epoch


def sklearn_epoch(w: Workload) -> Epoch:
    """scikit-learn's classifier, one ``partial_fit`` over shuffled rows an epoch."""
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        w.sizes[1:-1],
        batch_size=w.batch,
        learning_rate_init=w.rate,
        solver=w.optimizer,
        max_iter=1,
        alpha=0.0,
        random_state=1,
        momentum=0.0,
    )
    images, labels = data(w)
    order = orders(w)

    def epoch() -> float:
        rows = order().reshape(-1)
        model.partial_fit(images[rows], labels[rows], classes=np.arange(w.sizes[-1]))
        return float(model.loss_)

    return epoch


MAKERS: dict[str, Callable[[Workload], Epoch]] = {
    "pullback": pullback_epoch,
    "jax scan": jax_scan_epoch,
    "jax jit": jax_jit_epoch,
    "torch eager": torch_epoch,
    "scikit-learn": sklearn_epoch,
}
