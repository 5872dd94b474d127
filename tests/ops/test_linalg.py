"""The linear algebra extension, against array-api-strict; factors by what they multiply to."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import DEFAULT, check, traced
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from strategies_ops import FLOATING, NUMERIC, few, operand, operands, several

import pullback as pb
from pullback.errors import DTypeError, ShapeError

SQUARE = st.sampled_from([(1, 1), (2, 2), (3, 3), (2, 2, 2), (0, 3, 3), (1, 2, 4, 4)])
MATRICES = st.sampled_from([(1, 1), (2, 3), (3, 2), (3, 3), (2, 4, 2), (2, 2, 4)])


@st.composite
def matrices(draw, shapes=MATRICES, kind="any"):
    """Matrices with elements of size 1; near 4 times the identity if ``kind`` is ``regular``."""
    dtype, shape = draw(st.sampled_from(FLOATING)), draw(shapes)
    seed = draw(st.integers(0, 2**16))
    x = np.random.default_rng(seed).uniform(-1, 1, shape)
    if kind != "any":
        x = x + 4 * np.eye(shape[-1])
    if kind == "positive":
        x = (x + np.swapaxes(x, -1, -2)) / 2
    return x.astype(dtype)


def near(x, factor=1):
    return {"atol": factor * (1e-5 if x.dtype == np.float32 else 1e-12)}


def is_near(x, y):
    tolerance = 1e-5 if np.asarray(x).dtype == np.float32 else 1e-12
    return np.allclose(x, y, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["det", "inv", "slogdet"])
@few
@given(x=matrices(SQUARE, "regular"))
def test_determinants_and_inverse(name, x):
    check(f"linalg.{name}", x, **near(x, 100))


@pytest.mark.parametrize("upper", [False, True])
@few
@given(x=matrices(SQUARE, "positive"))
def test_cholesky(upper, x):
    check("linalg.cholesky", x, upper=upper, **near(x))


@few
@given(x=matrices(SQUARE, "positive"))
def test_eigh(x):
    check("linalg.eigvalsh", x, **near(x, 4))
    values, vectors = map(np.asarray, pb.linalg.eigh(x))
    product = (vectors * values[..., None, :]) @ np.swapaxes(vectors, -1, -2)
    assert is_near(product, x)
    assert pb.linalg.eigh(x)._fields == ("eigenvalues", "eigenvectors")


@pytest.mark.parametrize("full_matrices", [False, True])
@few
@given(x=matrices())
def test_svd(full_matrices, x):
    check("linalg.svdvals", x, **near(x, 4))
    u, s, vt = map(np.asarray, pb.linalg.svd(x, full_matrices=full_matrices))
    k = s.shape[-1]
    assert is_near((u[..., :k] * s[..., None, :]) @ vt[..., :k, :], x)
    assert u.shape[-1] == (x.shape[-2] if full_matrices else k)
    assert pb.linalg.svd(x)._fields == ("U", "S", "Vh")


@pytest.mark.parametrize("mode", ["reduced", "complete"])
@few
@given(x=matrices())
def test_qr(mode, x):
    q, r = map(np.asarray, pb.linalg.qr(x, mode=mode))
    assert is_near(q @ r, x)
    assert is_near(np.swapaxes(q, -1, -2) @ q, np.eye(q.shape[-1]))
    assert q.shape[-1] == (x.shape[-2] if mode == "complete" else min(x.shape[-2:]))
    assert pb.linalg.qr(x)._fields == ("Q", "R")


@few
@given(x=matrices())
def test_pinv_and_rank(x):
    check("linalg.pinv", x, **near(x, 300))
    check("linalg.matrix_rank", x, dtype=DEFAULT)
    check("linalg.matrix_rank", x, rtol=0.5, dtype=DEFAULT)


def test_rank_of_a_deficient_matrix():
    x = np.outer([1.0, 2.0, 3.0], [1.0, 1.0])

    assert int(pb.linalg.matrix_rank(x)) == 1
    assert is_near(np.asarray(pb.linalg.pinv(x)), np.linalg.pinv(x))
    ranks = pb.linalg.matrix_rank(np.stack([x, x]), rtol=np.array([0.1, 0.2]))
    assert ranks.tolist() == [1, 1]


@several
@given(data=st.data(), a=matrices(SQUARE, "regular"))
def test_solve(data, a):
    n, k = a.shape[-1], data.draw(st.integers(0, 2))
    lead = data.draw(st.sampled_from([(), a.shape[:-2]]))
    b = data.draw(operand((a.dtype.name,), (*lead, n, k), finite=True, bound=4))
    check("linalg.solve", a, b, **near(a, 10))
    vector = data.draw(operand((a.dtype.name,), (n,), finite=True, bound=4))
    check("linalg.solve", a, vector, **near(a, 10))


@pytest.mark.parametrize("lower", [False, True])
@pytest.mark.parametrize("trans", [False, True])
@pytest.mark.parametrize("unit_diagonal", [False, True])
def test_solve_triangular(lower, trans, unit_diagonal, rng):
    a, b = rng.normal(size=(2, 3, 3)) + 4 * np.eye(3), rng.normal(size=(3, 2))
    t = np.tril(a) if lower else np.triu(a)
    if unit_diagonal:
        t[:, range(3), range(3)] = 1
    t = t.swapaxes(-1, -2) if trans else t
    options = {"lower": lower, "trans": trans, "unit_diagonal": unit_diagonal}

    (found,) = traced(pb.linalg.solve_triangular, (a, b), options)

    assert is_near(found, np.linalg.solve(t, np.broadcast_to(b, (2, 3, 2))))


@several
@given(data=st.data(), x=matrices(SQUARE, "regular"), n=st.integers(-2, 5))
def test_matrix_power(data, x, n):
    check("linalg.matrix_power", x, n, **near(x, 5000))


@few
@given(xs=operands(2, NUMERIC, finite=True, bound=20))
def test_cross(xs):
    x, y = (np.stack([v, v[..., ::-1] if v.ndim else v, v], axis=-1) for v in xs)
    y = y + y.dtype.type(1)
    check("linalg.cross", x, y, **(near(x, 1000) if x.dtype.kind == "f" else {}))
    if x.ndim > 1 and y.ndim > 1:
        moved = [np.moveaxis(v, -1, -2) for v in (x, y)]
        check("linalg.cross", *moved, axis=-2, **(near(x, 1000) if x.dtype.kind == "f" else {}))


@few
@given(data=st.data(), x=operand(NUMERIC, hnp.array_shapes(min_dims=2, max_dims=3, min_side=0)))
def test_diagonal_trace_and_outer(data, x):
    offset = data.draw(st.integers(-3, 3))
    check("linalg.diagonal", x, offset=offset)
    whole = np.nan_to_num(x, posinf=1, neginf=1) % x.dtype.type(100)
    check("linalg.trace", whole, offset=offset, dtype=DEFAULT, **near(x, 100))
    check("linalg.outer", x.ravel()[:3], x.ravel()[:2])


def test_products_are_in_the_extension_too():
    for name in ("matmul", "matrix_transpose", "tensordot", "vecdot"):
        assert getattr(pb.linalg, name) is getattr(pb, name)


@several
@given(data=st.data(), x=matrices())
def test_norms(data, x):
    keepdims = data.draw(st.booleans())
    for order in (np.inf, -np.inf, 0, 1, 2, 3.5):
        axis = data.draw(st.sampled_from([None, 0, -1, (0, 1)]))
        check("linalg.vector_norm", x, ord=order, axis=axis, keepdims=keepdims, **near(x))
    for name_or_order in ("fro", "nuc", np.inf, -np.inf, 1, -1, 2, -2):
        check("linalg.matrix_norm", x, ord=name_or_order, keepdims=keepdims, **near(x, 4))


@pytest.mark.parametrize(
    ("order", "axis"), [(None, None), (None, 1), (2, 0), (1, (0, 1)), ("fro", (1, 0)), (np.inf, -1)]
)
def test_norm_agrees_with_numpy(order, axis, rng):
    x = rng.normal(size=(3, 4))

    found = pb.linalg.norm(x, order, axis, keepdims=True)

    assert is_near(np.asarray(found), np.linalg.norm(x, order, axis, keepdims=True))


def test_norm_of_zero_has_gradient_zero():
    found = pb.grad(lambda x: pb.linalg.vector_norm(x))(pb.zeros(3))

    np.testing.assert_array_equal(np.asarray(found), 0)


def test_half_precision_norms_do_not_overflow():
    x = pb.full((4,), 300.0, dtype=pb.float16)

    assert float(pb.linalg.vector_norm(x)) == 600
    assert pb.linalg.inv(pb.eye(2, dtype=pb.bfloat16)).dtype == pb.bfloat16


def test_errors() -> None:
    x = pb.zeros((2, 3))

    for call, text in [
        (lambda: pb.linalg.inv(x), r"square matrices .* not f32\[2,3\]"),
        (lambda: pb.linalg.solve(x, x), "square matrices"),
        (lambda: pb.linalg.solve(pb.eye(2), pb.zeros(3)), "must have 2 rows"),
        (lambda: pb.linalg.cross(x, pb.zeros((2, 2))), "must have length 3"),
        (lambda: pb.linalg.matrix_norm(pb.zeros(3)), r"f32\[3\]"),
        (lambda: pb.linalg.matrix_power(x, 2), "square"),
        (lambda: pb.linalg.pinv(pb.zeros(3)), r"f32\[3\]"),
        (lambda: pb.linalg.norm(pb.zeros((1, 1, 1)), 1), "one axis or two"),
    ]:
        with pytest.raises(ShapeError, match=text):
            call()
    with pytest.raises(ValueError, match="mode 'r'"):
        pb.linalg.qr(x, mode="r")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ord 7"):
        pb.linalg.matrix_norm(x, ord=7)
    with pytest.raises(np.linalg.LinAlgError):
        pb.linalg.cholesky(-pb.eye(2))


def test_integers_become_floating():
    assert pb.linalg.inv(pb.asarray([[2, 0], [0, 2]])).dtype == np.float32
    with pytest.raises(DTypeError):
        pb.primitives.linalg.Inv()(pb.asarray([[2, 0], [0, 2]]))
