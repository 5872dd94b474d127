"""Products of matrices and tensors, against array-api-strict and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from agreement import check, check_array, traced
from hypothesis import given
from hypothesis import strategies as st
from strategies_ops import ALL, NUMERIC, few, operand, several

import pullback as pb
from pullback.errors import DTypeError, ShapeError

#: Sums are compared absolutely: the elements are at most 100, the sums short.
ATOL = 0.05
LENGTHS = st.integers(0, 3)


def near(dtype):
    return {"atol": 2e-2 if dtype == np.float32 else 1e-11} if dtype.kind == "f" else {}


@st.composite
def factors(draw):
    """Two arrays that ``matmul`` takes: vectors, matrices, or broadcasting stacks of them."""
    m, k, n = (draw(LENGTHS) for _ in range(3))
    lead = draw(st.sampled_from([((), ()), ((2,), ()), ((), (2,)), ((2,), (1,)), ((2, 1), (3,))]))
    left = draw(st.sampled_from([(k,), (*lead[0], m, k)]))
    right = draw(st.sampled_from([(k,), (*lead[1], k, n)]))
    dtype = draw(st.sampled_from(NUMERIC))
    return tuple(draw(operand((dtype,), s, finite=True)) for s in (left, right))


@several
@given(xs=factors())
def test_matmul(xs):
    check("matmul", *xs, **near(xs[0].dtype))
    x, y = map(pb.asarray, xs)
    np.testing.assert_array_equal(np.asarray(x @ y), np.asarray(pb.matmul(x, y)))


@few
@given(x=operand(ALL, st.sampled_from([(2, 3), (1, 0), (2, 1, 3), (3, 2, 2, 1)])))
def test_matrix_transpose(x):
    check("matrix_transpose", x)
    np.testing.assert_array_equal(np.asarray(pb.asarray(x).mT), np.swapaxes(x, -1, -2))
    np.testing.assert_array_equal(np.asarray(pb.asarray(x).T), x.T)


@several
@given(data=st.data(), dtype=st.sampled_from(NUMERIC))
def test_tensordot(data, dtype):
    shared = data.draw(st.lists(LENGTHS, max_size=2))
    left, right = (data.draw(st.lists(LENGTHS, max_size=2)) for _ in range(2))
    x = data.draw(operand((dtype,), (*left, *shared), finite=True))
    y = data.draw(operand((dtype,), (*shared, *right), finite=True))
    check("tensordot", x, y, axes=len(shared), **near(x.dtype))
    axes = tuple(range(len(left), x.ndim)), tuple(range(len(shared)))
    order = data.draw(st.permutations(range(len(shared))))
    shuffled = tuple(tuple(a[i] for i in order) for a in axes)
    check("tensordot", x, y, axes=shuffled, **near(x.dtype))


@several
@given(data=st.data(), dtype=st.sampled_from(NUMERIC), n=LENGTHS)
def test_vecdot(data, dtype, n):
    shapes = data.draw(
        st.sampled_from([((n,), (n,)), ((2, n), (n,)), ((2, 1, n), (3, n)), ((1, n), (2, n))])
    )
    x, y = (data.draw(operand((dtype,), s, finite=True)) for s in shapes)
    check("vecdot", x, y, **near(x.dtype))
    if x.ndim > 1 and y.ndim > 1:
        moved = [np.moveaxis(v, -1, -2) for v in (x, y)]
        check("vecdot", *moved, axis=-2, **near(x.dtype))


@pytest.mark.parametrize("name", ["dot", "inner", "outer", "kron", "vdot"])
@pytest.mark.parametrize(
    "shapes",
    [((), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 3)), ((), (2,)), ((2, 3), (2, 3))],
    ids=str,
)
def test_numpy_products(name, shapes, rng):
    x, y = (rng.integers(-5, 5, s).astype(np.float64) for s in shapes)
    if name == "dot" and x.ndim and y.ndim > 1:
        y = y.T
    if name == "vdot":
        y = np.resize(y, x.shape)

    (found,) = traced(getattr(pb, name), (x, y), {})

    check_array(found, np.asarray(getattr(np, name)(x, y)), ulp=4)


@pytest.mark.parametrize("offset", [-4, -1, 0, 1, 2, 5])
@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2), (0, 2), (2, 3, 4)])
def test_diagonal_and_trace(shape, offset):
    x = np.arange(np.prod(shape)).reshape(shape)

    check_array(np.asarray(pb.diagonal(x, offset)), np.diagonal(x, offset), ulp=0)
    check_array(np.asarray(pb.trace(x, offset)), np.asarray(np.trace(x, offset)), ulp=0)
    if x.ndim > 2:
        found = pb.diagonal(x, offset, axis1=2, axis2=0)
        check_array(np.asarray(found), np.diagonal(x, offset, 2, 0), ulp=0)


EINSUMS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ij->ji", (2, 3)),
    ("ij->", (2, 3)),
    ("ii->i", (3, 3)),
    ("ii", (3, 3)),
    ("iji->j", (2, 3, 2)),
    ("i,i->i", (3,), (3,)),
    ("i,j->ij", (2,), (3,)),
    ("i,j->ji", (2,), (3,)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bij,bkj->bki", (2, 3, 4), (2, 5, 4)),
    ("...ij,...jk->...ik", (2, 3, 4), (4, 5)),
    ("...ij,...jk", (2, 1, 3, 4), (5, 4, 2)),
    ("i...,i...->...", (3, 2), (3, 1)),
    ("ij,j->i", (2, 3), (1,)),
    ("ij,kl->", (2, 3), (4, 5)),
    ("ij,jk,kl->il", (2, 3), (3, 4), (4, 5)),
    ("ab,cd,bc,da->", (2, 3), (4, 5), (3, 4), (5, 2)),
    ("ij,ij,ij->j", (2, 3), (2, 3), (2, 3)),
    ("bhqd,bhkd->bhqk", (2, 2, 3, 4), (2, 2, 5, 4)),
    (",ij->ij", (), (2, 3)),
    ("aij,a,bj->bi", (2, 3, 4), (2,), (5, 4)),
    ("ij,jk->ik", (0, 3), (3, 2)),
    ("ij,jk->ik", (2, 0), (0, 2)),
]


@pytest.mark.parametrize("case", EINSUMS, ids=lambda c: "-".join(map(str, c)))
def test_einsum_agrees_with_numpy(case, rng):
    subscripts, *shapes = case
    arrays = [rng.normal(size=s) for s in shapes]
    expected = np.asarray(np.einsum(subscripts, *arrays))

    (found,) = traced(lambda *xs: pb.einsum(subscripts, *xs), tuple(arrays), {})

    check_array(found, expected, ulp=0, atol=1e-13)


def test_einsum_plans_long_products():
    """The narrow product first: from the right here, where the left order costs ten times more."""
    arrays = [np.ones(s) for s in ((20, 30), (30, 40), (40, 2))]

    program = pb.make_program(lambda *xs: pb.einsum("ij,jk,kl->il", *xs))(*arrays)

    assert ": f64[30,2] = dot(" in str(program)
    assert ": f64[20,40] = dot(" not in str(program)


def test_einsum_refuses_what_does_not_fit():
    x = pb.zeros((2, 3))

    for subscripts, operands, text in [
        ("ij,jk->ik", (x,), "names 2 operands, got 1"),
        ("ijk->i", (x,), "3 letters for 2 axes"),
        ("ij->k", (x,), "repeats or invents"),
        ("ij->ii", (x,), "repeats or invents"),
        ("i1->i", (x,), "letters and `...`"),
        ("", (), "at least one operand"),
    ]:
        with pytest.raises(ValueError, match=text):
            pb.einsum(subscripts, *operands)
    with pytest.raises(ShapeError, match=r"f32\[2,3\].*lengths 3 and 2"):
        pb.einsum("ij,jk->ik", x, x)


def test_errors_of_products():
    x = pb.zeros((3, 4))

    for call, text in [
        (lambda: pb.matmul(x, x), r"matmul of f32\[3,4\] and f32\[3,4\]"),
        (lambda: x @ pb.asarray(1.0), "multiply by `\\*`"),
        (lambda: pb.zeros((2, 3, 4)) @ pb.zeros((3, 4, 5)), "do not broadcast"),
        (lambda: pb.tensordot(x, x, axes=1), "must have the same lengths"),
        (lambda: pb.tensordot(x, x, axes=3), "no 3 axes"),
        (lambda: pb.vecdot(x, pb.zeros(3)), "must have one length"),
        (lambda: pb.matrix_transpose(pb.zeros(3)), r"f32\[3\]"),
        (lambda: pb.linalg.outer(x, x), r"vectors \[n\]"),
    ]:
        with pytest.raises(ShapeError, match=text):
            call()
    with pytest.raises(DTypeError, match="bool"):
        pb.matmul(pb.zeros((2, 2), dtype=bool), pb.zeros((2, 2), dtype=bool))
