"""Training steps of every kind, small, as a user would write them: what the replay counts.

Each maker returns a program and how many of its first inputs its first outputs replace in place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks.mlp import WORKLOADS, data, initial_state, orders, pullback_program

import pullback as pb
from pullback.program.core import Program
from pullback.types import ArrayType, float32, int32, uint32

Made = tuple[Program, int]
STEPS: dict[str, Callable[[], Made]] = {}


def training_step(maker: Callable[[], Made]) -> Callable[[], Made]:
    """Add a maker under its name."""
    STEPS[maker.__name__] = maker
    return maker


def f32(*shape: int) -> ArrayType:
    """The type of a float32 array."""
    return ArrayType(shape, float32)


def epoch(name: str) -> Made:
    """Two steps of a benchmark's epoch."""
    workload = WORKLOADS[name]
    workload = dataclasses.replace(workload, rows=2 * workload.batch)
    images, labels = data(workload)
    state = initial_state(workload, lambda a: pb.asarray(np.array(a)))
    program = pullback_program(workload).program(state, images, labels, orders(workload)())
    return program, len(pb.tree.leaves(state))


@training_step
def mlp_tiny() -> Made:
    """784-10-10, Adam, batch 32."""
    return epoch("mlp_tiny")


@training_step
def mlp_big() -> Made:
    """784-512-512-10, Adam, batch 128."""
    return epoch("mlp_big")


@training_step
def softmax_regression() -> Made:
    """784-10, plain gradient descent, batch 32."""
    return epoch("softmax")


def descend(loss: Callable[..., Any], count: int) -> Callable[..., Any]:
    """One step of gradient descent in the first ``count`` arguments."""

    def step(*args: Any) -> Any:
        value, grads = pb.value_and_grad(loss, tuple(range(count)))(*args)
        return (*(p - 0.1 * g for p, g in zip(args, grads, strict=False)), value)

    return step


@training_step
def layer_norm() -> Made:
    """A dense layer, layer normalisation, squared error."""

    def loss(w: Any, scale: Any, shift: Any, x: Any, y: Any) -> Any:
        h = pb.nn.layer_norm(x @ w, scale, shift)
        return pb.mean((h - y) ** 2)

    types = f32(64, 128), f32(128), f32(128), f32(32, 64), f32(32, 128)
    return pb.make_program(descend(loss, 3))(*types), 3


@training_step
def attention_block() -> Made:
    """Four heads over 32 places, causal, with a residual connection."""

    def loss(wq: Any, wk: Any, wv: Any, wo: Any, x: Any) -> Any:
        def heads(w: Any) -> Any:
            return (x @ w).reshape(8, 32, 4, 16).transpose(0, 2, 1, 3)

        q, k, v = heads(wq), heads(wk), heads(wv)
        scores = q @ k.mT * 0.25
        causal = pb.tril(pb.ones((32, 32), dtype=pb.bool))
        weights = pb.nn.softmax(pb.where(causal, scores, -1e9))
        out = (weights @ v).transpose(0, 2, 1, 3).reshape(8, 32, 64) @ wo + x
        return pb.mean(out * out)

    types = *[f32(64, 64)] * 4, f32(8, 32, 64)
    return pb.make_program(descend(loss, 4))(*types), 4


@training_step
def adam_update() -> Made:
    """Adam alone, of three parameters."""

    def step(params: Any, m: Any, v: Any, t: Any, grads: Any) -> Any:
        t = t + 1.0
        m = pb.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, grads)
        v = pb.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, grads)
        rate = 1e-3 * pb.sqrt(1.0 - 0.999**t) / (1.0 - 0.9**t)
        params = pb.tree.map(lambda p, m, v: p - rate * m / (pb.sqrt(v) + 1e-7), params, m, v)
        return params, m, v, t

    tree = [f32(256, 64), f32(64), f32(64, 10)]
    return pb.make_program(step)(tree, tree, tree, f32(), tree), 10


@training_step
def recurrent_network() -> Made:
    """A tanh cell over 20 steps, differentiated through the scan."""

    def loss(w: Any, u: Any, b: Any, xs: Any, y: Any) -> Any:
        def cell(h: Any, x: Any) -> Any:
            h = pb.tanh(x @ w + h @ u + b)
            return h, None

        h, _ = pb.scan(cell, pb.zeros((16, 32)), xs)
        return pb.mean((h - y) ** 2)

    types = f32(8, 32), f32(32, 32), f32(32), f32(20, 16, 8), f32(16, 32)
    return pb.make_program(descend(loss, 3))(*types), 3


@training_step
def embedding() -> Made:
    """Rows looked up, averaged, classified; the gradient is scattered back."""

    def loss(table: Any, w: Any, words: Any, labels: Any) -> Any:
        logits = pb.mean(table[words], axis=1) @ w
        return pb.mean(pb.nn.softmax_cross_entropy_with_integer_labels(logits, labels))

    types = f32(500, 16), f32(16, 4), ArrayType((32, 12), int32), ArrayType((32,), int32)
    return pb.make_program(descend(loss, 2))(*types), 2


@training_step
def dropout_and_batch_norm() -> Made:
    """Random numbers drawn in the step, statistics over the batch."""

    def loss(w: Any, scale: Any, shift: Any, v: Any, x: Any, y: Any, key: Any) -> Any:
        h = x @ w
        h = (h - pb.mean(h, axis=0)) * pb.rsqrt(pb.var(h, axis=0) + 1e-3) * scale + shift
        h = pb.nn.dropout(key, pb.nn.gelu(h), 0.5)
        return pb.mean((h @ v - y) ** 2)

    types = f32(20, 64), f32(64), f32(64), f32(64, 3), f32(48, 20), f32(48, 3)
    return pb.make_program(descend(loss, 4))(*types, ArrayType((2,), uint32)), 4


@training_step
def curvature() -> Made:
    """A product with the Hessian: forward over reverse."""

    def loss(w: Any, x: Any, y: Any) -> Any:
        return pb.mean((pb.tanh(x @ w) - y) ** 2)

    def product(w: Any, v: Any, x: Any, y: Any) -> Any:
        return pb.hvp(lambda w: loss(w, x, y), (w,), (v,))

    return pb.make_program(product)(f32(30, 5), f32(30, 5), f32(40, 30), f32(40, 5)), 0
