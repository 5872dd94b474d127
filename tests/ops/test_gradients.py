"""Derivatives of functions that are composed of primitives, against central differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.testing import check_vjp

AT = np.array([2, 0, 0])
#: A function and the shapes of its operands.
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "average": (lambda x, w: pb.average(x, 0, weights=w), (3, 4), (3, 1)),
    "clip": (lambda x: pb.clip(x, -0.5, 0.5), (3, 4)),
    "concat": (lambda x, y: pb.concat([x, y], axis=1), (2, 3), (2, 1)),
    "cross": (pb.linalg.cross, (2, 3), (3,)),
    "cumprod": (lambda x: pb.cumulative_prod(x, axis=0, include_initial=True), (3, 2)),
    "diag": (lambda x: pb.diag(x, -1), (3,)),
    "diagonal": (lambda x: pb.diagonal(x, 1), (3, 4)),
    "diff": (lambda x: pb.diff(x, n=2), (5,)),
    "dot": (pb.dot, (2, 3), (4, 3, 2)),
    "einsum": (lambda x, y, z: pb.einsum("bij,kj,b->ki", x, y, z), (2, 3, 4), (5, 4), (2,)),
    "einsum-diagonal": (lambda x: pb.einsum("iji->j", x), (2, 3, 2)),
    "expand-squeeze": (lambda x: pb.squeeze(pb.expand_dims(x, (0, 2)) * 2.0), (2, 3)),
    "floor-divide": (lambda x, y: x - x // y * y, (4,), (4,)),
    "getitem": (lambda x: x[1:, ::-2, None] * x[AT[:1], 0], (3, 4)),
    "hypot": (pb.hypot, (3,), (2, 1)),
    "kron": (pb.kron, (2, 2), (3,)),
    "linalg-solve": (lambda a, b: pb.linalg.solve(a @ a.mT + pb.eye(3) * 2.0, b), (3, 3), (3,)),
    "logaddexp": (pb.logaddexp, (3,), (2, 1)),
    "matmul": (pb.matmul, (2, 1, 3, 4), (5, 4, 2)),
    "matmul-matrix-stack": (pb.matmul, (3, 4), (5, 4, 2)),
    "matmul-vectors": (pb.matmul, (4,), (5, 4, 2)),
    "matrix-norm": (lambda x: pb.linalg.matrix_norm(x, ord="nuc"), (3, 4)),
    "matrix-power": (lambda x: pb.linalg.matrix_power(x, 3), (3, 3)),
    "mean": (lambda x: pb.mean(x, (0, 2)), (2, 3, 4)),
    "median": (pb.median, (3, 4)),
    "outer": (pb.outer, (2, 2), (3,)),
    "pad-reflect": (lambda x: pb.pad(x, ((2, 1), (0, 2)), "reflect"), (3, 3)),
    "pad-constant": (lambda x, v: pb.pad(x, 1, constant_values=v), (2, 3), ()),
    "power": (lambda x, y: abs(x) ** y, (3,), (3,)),
    "prod": (lambda x: pb.prod(x, 1), (3, 4)),
    "put_along_axis": (lambda x, v: pb.put_along_axis(x, AT[:, None], v, 1), (3, 4), (3, 1)),
    "quantile": (lambda x: pb.quantile(x, np.array([0.3, 0.9]), 0), (5, 2)),
    "remainder": (pb.remainder, (4,), (4,)),
    "repeat": (lambda x: pb.repeat(x, AT, axis=0), (3, 2)),
    "roll": (lambda x: pb.roll(x, (1, -2), axis=(0, 1)), (3, 4)),
    "sort": (lambda x: pb.sort(x, axis=0, descending=True), (4, 3)),
    "stack": (lambda x, y: pb.stack([x, y], axis=-1), (3,), (3,)),
    "std": (lambda x: pb.std(x, 0, correction=1), (4, 3)),
    "take": (lambda x: pb.take(x, AT, axis=1), (2, 3)),
    "take_along_axis": (lambda x: pb.take_along_axis(x, AT[:, None], 1), (3, 4)),
    "tensordot": (lambda x, y: pb.tensordot(x, y, axes=((0, 2), (1, 0))), (2, 3, 4), (4, 2, 2)),
    "tile": (lambda x: pb.tile(x, (2, 1, 2)), (2, 3)),
    "top_k": (lambda x: pb.top_k(x, 2)[0], (3, 4)),
    "tril": (lambda x: pb.tril(x, -1), (3, 3)),
    "update-add": (lambda x, v: x.at[AT].add(v), (3, 2), (3, 2)),
    "update-mul": (lambda x, v: x.at[:, 1].multiply(v), (3, 2), (3,)),
    "update-set": (lambda x, v: x.at[::2, -1].set(v), (3, 2), (2,)),
    "var": (lambda x: pb.var(x, 1), (3, 4)),
    "vecdot": (pb.vecdot, (2, 1, 3), (4, 3)),
    "vector-norm": (lambda x: pb.linalg.vector_norm(x, axis=0, ord=3), (3, 2)),
    "where": (lambda x, y: pb.where(x > 0, x * y, y), (3, 2), (2,)),
}


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_gradients_agree_with_central_differences(name, rng):
    function, *shapes = FUNCTIONS[name]
    # Elements of distinct sizes, away from 0, so that nothing is near a kink.
    operands = [
        (rng.permutation(int(np.prod(s))) + 0.6 + i / 7).reshape(s) * rng.choice([-0.37, 0.37], s)
        for i, s in enumerate(shapes)
    ]

    check_vjp(function, *operands)


def test_gradients_at_special_points():
    """Where a formula would divide 0 by 0, or subtract infinities."""
    zero, infinity = pb.asarray(0.0), pb.asarray(float("inf"))

    assert [float(g) for g in pb.grad(pb.hypot, argnums=(0, 1))(zero, zero)] == [0, 0]
    assert float(pb.grad(pb.logaddexp)(infinity, zero)) == 1
    assert float(pb.grad(pb.logaddexp)(-infinity, zero)) == 0
    assert float(pb.grad(pb.sinc)(zero)) == 0
    assert float(pb.grad(pb.logaddexp)(zero, zero)) == 0.5
    assert float(pb.grad(lambda x: pb.prod(pb.stack([x, x, x])))(zero)) == 0
    assert float(pb.grad(lambda x: x**2)(zero)) == 0
    assert float(pb.grad(lambda x: pb.where(x > 0, x, 0.0))(zero)) == 0


def test_second_derivatives_at_special_points():
    """Where a formula by ``abs`` or ``max`` would be flat."""

    def second(function, x=0.0):
        return float(pb.grad(pb.grad(function))(pb.asarray(x)))

    assert second(pb.nn.softplus) == 0.25
    assert second(pb.nn.log_sigmoid) == -0.25
    assert second(lambda x: pb.nn.sigmoid_binary_cross_entropy(x, 1.0)) == 0.25
    assert second(lambda x: pb.logaddexp(x, 0.0)) == 0.25
    assert second(lambda x: pb.nn.huber(x, 0.0)) == 1
    assert second(lambda x: pb.nn.squared_error(x, 0.0)) == 2
    assert second(pb.sinc) == pytest.approx(-(np.pi**2) / 3, rel=1e-6)
    assert second(lambda x: pb.nn.logsumexp(pb.stack([x, -x]))) == 1
