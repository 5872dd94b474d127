"""Sparse arrays under ``jit``, derivatives and loops, as trees; and what their class refuses."""

from __future__ import annotations

import copy
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys

import numpy as np
import pytest
from sparse_cases import DTYPES, dense_of, meaning, random_coo, random_values

import pullback as pb
from pullback import sparse
from pullback.errors import DifferentiationError, DTypeError, ShapeError, TreeError
from pullback.testing import VjpCheckError, check_vjp

SHAPE = (4, 3)


def functions(rng):
    """Functions of a sparse array ``f64[4,3]``: linear ones, and those that sum duplicates."""
    dense = random_values(rng, SHAPE, "float64") + 0.5
    right, left = random_values(rng, (3, 2), "float64"), random_values(rng, (2, 4), "float64")
    # Integers for the operand beside it: squares of what is drawn would be alike.
    other = random_coo(rng, SHAPE, nse=7)
    batch = random_values(rng, (2, 3, 2), "float64")
    return {
        "abs": abs,
        "add": lambda x: x + other,
        "add dense": lambda x: dense - x,
        "astype": lambda x: x.astype("float64") + x.astype("int32").astype("float64") * 0.0,
        "broadcast_to": lambda x: sparse.broadcast_to(x, (2, *SHAPE)),
        "concatenate": lambda x: sparse.concatenate([other, x, x * 2.0], 1),
        "divide": lambda x: x / dense,
        "expand_dims": lambda x: sparse.expand_dims(x, 1),
        "from_dense": lambda x: sparse.from_dense(x.to_dense(), nse=12),
        "from_dense rows": lambda x: sparse.from_dense(x.to_dense(), nse=4, dense_ndim=1),
        "getitem": lambda x: x[::-2, 1:],
        "getitem integer": lambda x: x[1],
        "getitem array": lambda x: x[:, [2, 0, 2]],
        "map_values": lambda x: sparse.map_values(pb.sin, x),
        "matmul": lambda x: x @ right,
        "matmul batch": lambda x: x @ batch,
        "matmul left": lambda x: left @ x,
        "matmul sparse": lambda x: x @ other.T,
        "mean": lambda x: x.mean(0),
        "multiply": lambda x: x * dense,
        "multiply sparse": lambda x: x * other,
        "power": lambda x: x**2,
        "reshape": lambda x: x.reshape(6, 2),
        "sort_indices": sparse.sort_indices,
        "squeeze": lambda x: sparse.squeeze(x[1:2]),
        "subtract": lambda x: other - x,
        "sum": lambda x: x.sum(),
        "sum axis": lambda x: x.sum(1, keepdims=True),
        "sum_duplicates": sparse.sum_duplicates,
        "take": lambda x: sparse.take(x, [3, 0, 3]),
        "to_dense": lambda x: x.to_dense(),
        "transpose": lambda x: x.T,
    }


NAMES = sorted(functions(np.random.default_rng(0)))


def kinked(x):
    """``x`` with values away from zero and from each other's negatives, where ``abs`` has kinks."""
    count = np.arange(1, x.values.size + 1).reshape(x.values.shape)
    return x.with_values(pb.asarray(count * 0.37 + np.asarray(x.values) * 0.01))


@pytest.mark.parametrize("name", NAMES)
def test_compiled_equals_eager(name):
    rng = np.random.default_rng(0)
    f = functions(rng)[name]
    x = random_coo(rng, SHAPE, nse=9)

    eager, compiled = dense_of(f(x)), dense_of(pb.jit(f)(x))

    np.testing.assert_allclose(compiled, eager, rtol=1e-12, atol=0)


EDGES = {
    "matmul": lambda x: x @ np.ones((x.shape[1], 2)),
    "sum_duplicates": sparse.sum_duplicates,
    "from_dense": lambda x: sparse.from_dense(x.to_dense(), nse=5),
    "multiply sparse": lambda x: x * x,
    "matmul sparse": lambda x: x @ x.T,
    "take": lambda x: sparse.take(x, [0, 0], 1),
    "getitem": lambda x: x[:, ::-1],
    "sum": lambda x: x.sum(1),
}


@pytest.mark.parametrize("shape", [(0, 2), (1, 1), (3, 2)], ids=str)
def test_compiled_at_the_edges(shape):
    """No entries, one place with many, no places with some: one program of all functions."""
    rng = np.random.default_rng(0)
    for nse in (0, 1, 6):
        x = random_coo(rng, shape, nse=nse)

        compiled = pb.jit(lambda x: [f(x) for f in EDGES.values()])(x)

        for name, f, result in zip(EDGES, EDGES.values(), compiled, strict=True):
            np.testing.assert_array_equal(dense_of(result), dense_of(f(x)), err_msg=name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_compiled_in_each_dtype(dtype):
    rng = np.random.default_rng(0)
    x = random_coo(rng, SHAPE, dtype, nse=9)

    def f(x):
        return x.to_dense(), sparse.sum_duplicates(x), x.T[1:], x.sum(0), x.astype("float32")

    for result, expected in zip(pb.jit(f)(x), f(x), strict=True):
        assert result.dtype == expected.dtype
        np.testing.assert_array_equal(dense_of(result), dense_of(expected))


def test_a_tape_watches_the_values(rng):
    x = random_coo(rng, SHAPE, nse=5)
    w = random_values(rng, (3, 2), "float64")

    with pb.GradientTape() as tape:
        tape.watch(x.values)
        loss = pb.sum((x @ w) ** 2)
    found = tape.gradient(loss, x.values)

    np.testing.assert_array_equal(found, pb.grad(lambda x: pb.sum((x @ w) ** 2))(x).values)


def test_hessian_vector_product(rng):
    x = kinked(random_coo(rng, SHAPE, nse=5, padding=False, canonical=True))

    product = pb.hvp(lambda x: pb.sum((x**3).to_dense()), (x,), (x,))

    np.testing.assert_allclose(product.values, 6 * np.asarray(x.values) ** 2)


@pytest.mark.parametrize("name", NAMES)
def test_derivative_with_respect_to_values(name):
    """Reverse mode against differences, to second order, eagerly."""
    rng = np.random.default_rng(1)
    f = functions(rng)[name]
    x = kinked(random_coo(rng, SHAPE, nse=9))

    def dense(values):
        result = f(x.with_values(values))
        return result.to_dense() if isinstance(result, sparse.COO) else result

    check_vjp(dense, np.asarray(x.values))


@pytest.mark.parametrize("name", NAMES)
def test_gradient_traced_and_compiled(name):
    rng = np.random.default_rng(2)
    f = functions(rng)[name]
    x = kinked(random_coo(rng, SHAPE, nse=9))

    def loss(x):
        result = f(x)
        result = result.to_dense() if isinstance(result, sparse.COO) else result
        return pb.sum(result * pb.reshape(pb.arange(result.size, dtype="float64"), result.shape))

    eager, compiled = pb.grad(loss)(x), pb.jit(pb.grad(loss))(x)

    for gradient in (eager, compiled):
        assert isinstance(gradient, sparse.COO)
        assert np.asarray(gradient.indices).tolist() == np.asarray(x.indices).tolist()
    np.testing.assert_allclose(compiled.values, eager.values, rtol=1e-9, atol=1e-12)


def test_derivatives_of_the_dense_operands(rng):
    x = random_coo(rng, SHAPE, nse=9)
    w, factor = random_values(rng, (3, 2), "float64"), random_values(rng, SHAPE, "float64") + 4.5

    check_vjp(lambda w: x @ w, w)
    check_vjp(lambda w: w.T @ x.T, w)
    check_vjp(lambda f: (x * f).to_dense(), factor)
    check_vjp(lambda f: (x / f).to_dense(), factor)
    check_vjp(lambda f: f - x, factor)
    check_vjp(lambda f: sparse.from_dense(f).to_dense(), factor)
    check_vjp(lambda f: pb.jit(lambda f: sparse.from_dense(f, nse=12).to_dense())(f), factor)


def test_the_check_of_derivatives_can_fail(rng):
    x = random_coo(rng, SHAPE, nse=9)

    def wrong(values):
        return x.with_values(values + pb.stop_gradient(values)).to_dense()

    with pytest.raises(VjpCheckError):
        check_vjp(wrong, np.asarray(x.values))


def test_gradient_of_padding_is_zero(rng):
    x = sparse.COO([1.0, 2.0, 3.0], [[0, 0], [4, 0], [-1, 1]], SHAPE)

    gradient = pb.grad(lambda x: pb.sum(x @ pb.ones((3, 2))))(x)

    assert np.asarray(gradient.values).tolist() == [2, 0, 0]


def test_value_and_grad_with_other_arguments(rng):
    x = random_coo(rng, SHAPE, "float32")
    w = {"w": pb.asarray(random_values(rng, (3, 2), "float32")), "b": pb.zeros(2)}

    def loss(x, p):
        return pb.sum((x @ p["w"] + p["b"]) ** 2), x.T

    (value, aux), (gx, gp) = pb.value_and_grad(loss, argnums=(0, 1), has_aux=True)(x, w)

    dense = pb.grad(lambda d, p: loss(sparse.from_dense(d), p)[0], argnums=(0, 1))
    expected = dense(x.to_dense(), w)
    np.testing.assert_allclose(gp["w"], expected[1]["w"], rtol=1e-5)
    np.testing.assert_allclose(gp["b"], expected[1]["b"], rtol=1e-5)
    assert aux.shape == (3, 4)
    assert float(value) == float(loss(x, w)[0])
    assert gx.shape == x.shape


def test_vjp_and_jvp_keep_the_indices(rng):
    x = random_coo(rng, SHAPE, nse=5)
    y, pull = pb.vjp(lambda x: x.T * 2.0, x)

    (ct,) = pull(y)
    out, tangent = pb.jvp(lambda x: x.T * 2.0, (x,), (x,))

    assert np.asarray(ct.indices).tolist() == np.asarray(x.indices).tolist()
    np.testing.assert_array_equal(ct.values, np.asarray(x.values) * 4)
    assert np.asarray(tangent.indices).tolist() == np.asarray(out.indices).tolist()
    np.testing.assert_array_equal(meaning(tangent), meaning(x).T * 2)


def test_gradient_of_integers_is_refused():
    x = sparse.COO([1, 2], [[0], [1]], (3,))

    with pytest.raises(DifferentiationError, match=r"of type i32\[2\] is not defined"):
        pb.grad(lambda x: pb.sum(x.to_dense()))(x)


def test_jacobians_are_those_of_the_values():
    x = sparse.COO([1.0, 2.0], [[0], [2]], (3,))
    for jacobian in (pb.jacrev, pb.jacfwd, pb.hessian):
        with pytest.raises(DifferentiationError, match=r"lambda v: f\(x\.with_values\(v\)\)"):
            jacobian(lambda x: x.to_dense())(x)

    found = pb.jacrev(lambda v: x.with_values(v).to_dense())(x.values)

    assert np.asarray(found).tolist() == [[1, 0], [0, 0], [0, 1]]


def test_gradient_descent_on_a_sparse_parameter(rng):
    """Steps do not store entries again; inside ``jit`` and in a loop the structure stays."""
    x = random_coo(rng, SHAPE, "float32", nse=5, canonical=True, padding=False)
    target = pb.asarray(random_values(rng, SHAPE, "float32"))

    def loss(x):
        return pb.sum((target - x) ** 2)

    def step(x, _):
        return x - pb.grad(loss)(x) * 0.25, None

    once = step(x, None)[0]
    many = pb.jit(lambda x: pb.scan(step, x, None, length=30)[0])(x)

    assert once.nse == many.nse == x.nse
    stored = meaning(x.with_values(pb.ones(x.nse))) == 1
    np.testing.assert_allclose(meaning(many)[stored], np.asarray(target)[stored], atol=1e-5)
    assert not meaning(many)[~stored].any()


def test_loops_and_branches_carry_sparse_arrays(rng):
    x = random_coo(rng, SHAPE, "float32")
    y = random_coo(rng, SHAPE, "float32")

    chosen = pb.jit(lambda p, x, y: pb.cond(p, lambda x, y: x, lambda x, y: y * 2.0, x, y))
    looped = pb.jit(lambda x: pb.fori_loop(0, 3, lambda i, x: x * 2.0, x))

    np.testing.assert_array_equal(meaning(chosen(True, x, y)), meaning(x))
    np.testing.assert_array_equal(meaning(chosen(False, x, y)), meaning(y) * 2)
    np.testing.assert_array_equal(meaning(looped(x)), meaning(x) * 8)


def test_constants_inside_jit_keep_exact_entries(rng):
    """Indices that are known while a function is traced give results without padding."""
    x = random_coo(rng, SHAPE, "float32", nse=9)

    def f(values):
        return (x.with_values(values) + x)[1:3]

    result = pb.jit(f)(x.values)

    assert result.nse == f(x.values).nse
    np.testing.assert_array_equal(meaning(result), meaning(x)[1:3] * 2)


def test_jit_compiles_once_for_a_structure(rng):
    calls = []

    @pb.jit
    def f(x):
        calls.append(x)
        return x.sum()

    f(random_coo(rng, SHAPE, nse=5))
    f(random_coo(rng, SHAPE, nse=5))
    f(random_coo(rng, SHAPE, nse=6))

    assert len(calls) == 2


def test_a_checkpoint_and_a_custom_derivative(rng):
    x = random_coo(rng, SHAPE, nse=5)
    w = pb.asarray(random_values(rng, (3, 2), "float64"))

    def f(x, w):
        return pb.sum((x @ w) ** 2)

    expected = pb.grad(f, argnums=1)(x, w)

    np.testing.assert_allclose(pb.grad(pb.checkpoint(f), argnums=1)(x, w), expected)
    gradient = pb.grad(pb.checkpoint(f))(x, w)
    np.testing.assert_allclose(gradient.values, pb.grad(f)(x, w).values)


def test_is_a_tree(rng):
    x = random_coo(rng, SHAPE, nse=5)

    leaves, treedef = pb.tree.flatten({"x": x})
    doubled = pb.tree.map(lambda a: a * 2, x)

    assert [leaf.shape for leaf in leaves] == [(5,), (5, 2)]
    assert pb.tree.unflatten(treedef, leaves)["x"].shape == SHAPE
    assert isinstance(doubled, sparse.COO)
    with pytest.raises(TreeError):
        pb.tree.map(lambda a, b: a, x, random_coo(rng, (3, 4), nse=5))


def test_attributes(rng):
    x = random_coo(rng, (4, 3, 2), "float16", sparse_ndim=2, nse=5)

    assert (x.shape, x.ndim, x.size, len(x), x.nse) == ((4, 3, 2), 3, 24, 4, 5)
    assert (x.sparse_ndim, x.dense_ndim, x.dtype) == (2, 1, np.float16)
    assert repr(x) == "COO(f16[4,3,2], nse=5, dense_ndim=1)"
    assert str(x.type) == "f16[4,3,2]"
    assert x.is_known
    assert copy.copy(x).nse == 5
    assert not hasattr(x, "cumsum")


def test_nothing_makes_it_dense_on_its_own(rng):
    x = random_coo(rng, SHAPE, "float32")
    for f in (
        lambda: np.asarray(x),
        lambda: np.sin(x),
        lambda: np.add.reduce(x),
        lambda: pb.sin(x),
        lambda: pb.matmul(x, x.T),
        lambda: pb.asarray(x),
        lambda: pb.sum(x),
        lambda: pb.ones(3) if pb.where(x, 1, 2) is None else None,
    ):
        with pytest.raises(DTypeError, match=r"f32\[4,3\].*x\.to_dense\(\)"):
            f()
    for f in (lambda: x == x, lambda: x != 0, lambda: x < 1, lambda: pb.ones(SHAPE) >= x):
        with pytest.raises(DTypeError, match=r"comparing a sparse array f32\[4,3\]"):
            f()
    with pytest.raises(TypeError, match=r"truth of a sparse array f32\[4,3\]"):
        bool(x)
    with pytest.raises(AttributeError, match=r"'cumsum'; `x.to_dense\(\)` is an Array"):
        x.cumsum(0)
    with pytest.raises(TypeError):
        hash(x)
    with pytest.raises(TypeError, match="without axes"):
        len(sparse.from_dense(1.0))


@pytest.mark.parametrize("name", sorted({*sparse.__all__} - {"COO", "from_dense", "from_scipy"}))
def test_dense_arrays_are_refused(name):
    """Each function says what it takes, and not what attribute an array lacks."""
    x = pb.ones((2, 2))
    arguments = {
        "add": (x, x), "subtract": (x, x), "multiply": (x, x), "divide": (x, x), "matmul": (x, x),
        "map_values": (pb.sin, x), "astype": (x, "int32"), "power": (x, 2), "reshape": (x, 4),
        "expand_dims": (x, 0), "broadcast_to": (x, (2, 2)), "take": (x, [0]), "concatenate": ([x],),
    }  # fmt: skip

    with pytest.raises(DTypeError, match=r"sparse"):
        getattr(sparse, name)(*arguments.get(name, (x,)))


def test_bad_parts_are_refused():
    for values, indices, shape, message in [
        ([1.0], [0, 1], (2, 2), r"indices i32\[2\]; expected \[nse, sparse_ndim\]"),
        ([1.0], [[0, 1, 2]], (2, 2), r"indices i32\[1,3\]; expected .* at most 2 columns"),
        ([1.0, 2.0], [[0, 1]], (2, 2), r"values f32\[2\]; expected f32\[1\]"),
        ([1.0], [[0]], (2, 2), r"values f32\[1\]; expected f32\[1,2\]"),
        ([1.0], [[0]], (2**31,), "at most 2147483647 places"),
        ([1.0], [[0] * 3], (2**30,) * 3, "more elements than int64"),
        ([1.0], [[0]], (-1,), "negative length"),
    ]:
        with pytest.raises(ShapeError, match=message):
            sparse.COO(values, indices, shape)
    with pytest.raises(DTypeError, match=r"indices f32\[1,1\]; expected integers"):
        sparse.COO([1.0], [[0.0]], (2,))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
def test_indices_of_every_integer_dtype(dtype):
    indices = np.array([[1], [2]], dtype)

    x = sparse.COO([1.0, 2.0], indices, (3,))

    assert x.indices.dtype == np.int32
    assert meaning(x).tolist() == [0, 1, 2]


def test_indices_that_int32_does_not_hold_are_padding():
    """2**32 would come back as 0."""
    x = sparse.COO([1.0, 2.0, 3.0], np.array([[2**32], [-(2**32)], [1]]), (3,))
    y = sparse.COO([1.0], np.array([[2**64 - 1]], "uint64"), (3,))

    assert np.asarray(x.to_dense()).tolist() == [0, 3, 0]
    assert np.asarray(y.to_dense()).tolist() == [0, 0, 0]


def test_empty_indices_need_no_dtype():
    assert sparse.COO(np.zeros(0), np.zeros((0, 2)), SHAPE).nse == 0


MODULES = sorted(m.name for m in pkgutil.iter_modules(sparse.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"pullback.sparse.{name}")
    runner = doctest.DocTestRunner(verbose=False)

    for test in doctest.DocTestFinder().find(module, globs={**vars(module), "pb": pb}):
        runner.run(test, out=lambda text: pytest.fail(text))

    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.parametrize("name", sparse.__all__)
def test_public_functions_have_an_example(name):
    function = getattr(sparse, name)

    assert inspect.getdoc(function) is not None
    assert ">>> " in function.__doc__


def test_importing_pullback_does_not_load_it():
    code = "import sys, pullback as pb; print('pullback.sparse' in sys.modules, pb.sparse.COO)"

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.startswith("False <class")
