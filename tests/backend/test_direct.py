"""Direct calls: the code made for one signature, and when it gives way."""

from __future__ import annotations

import gc
import os
import threading
import weakref

import numpy as np
import pytest

import pullback as pb
from pullback.backend.direct import MOST_ARRAYS

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture(autouse=True)
def one_thread():
    with pb.config.override(threads=1):
        yield


def compiled_of(f, *args):
    """What a function under ``jit`` runs for arguments that are arrays; the last of them."""
    f(*args)
    return [*f._cache.values()][-1]


def direct_of(f, *args):
    return compiled_of(f, *args).direct


def test_a_direct_call_computes_what_the_program_does():
    direct = direct_of(pb.jit(lambda x, y: x * 2 + y), X, X[0])

    result = direct((pb.asarray(X), X[0]))

    assert type(result) is pb.Array
    assert result.type == pb.ArrayType((2, 3), pb.float32)
    assert not result.weak
    np.testing.assert_array_equal(np.asarray(result), X * 2 + X[0])


@pytest.mark.parametrize(
    "args",
    [
        (X,),
        (X, X, X),
        (X, X.astype(np.float64)),
        (X, X[:1]),
        (X, 1.0),
        (X, pb.Variable(X)),
        (X, X.view(np.matrix)),
        (X, [1.0]),
        (X, None),
        (X, X.astype(">f4")),
    ],
    ids=[
        "too few", "too many", "dtype", "shape", "number", "variable", "subclass", "list",
        "None", "byte order",
    ],
)  # fmt: skip
def test_other_arguments_are_refused(args):
    direct = direct_of(pb.jit(lambda x, y: x + y), X, X)

    assert direct(args) is NotImplemented


def test_a_weak_scalar_is_told_from_a_strong_one():
    f = pb.jit(lambda x: x + pb.ones(2, pb.float16))
    strong, weak = pb.asarray(np.float32(1)), pb.jit(lambda: 1.0)()
    assert weak.weak
    assert weak.type == strong.type

    assert [f(x).dtype for x in (strong, weak, strong, weak)] == [pb.float32, pb.float16] * 2


def test_arrays_of_any_layout_are_read_right():
    f = pb.jit(lambda x, y: x - y)
    f(X, X)
    read_only = X.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + X.tobytes(), np.uint8)[1:].view(np.float32).reshape(2, 3)

    for y in (np.asfortranarray(X), X[::-1], read_only, unaligned):
        np.testing.assert_array_equal(np.asarray(f(X, y)), X - y)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (x, x + 1),
        lambda x: [x + 1],
        lambda x: {"a": x + 1, "b": (x,)},
        lambda x: (),
        lambda x: x,
        lambda x: (x + 1,),
    ],
    ids=["tuple", "list", "dict", "nothing", "argument", "tuple of one"],
)
def test_results_keep_their_structure(f):
    expected = f(pb.asarray(X))

    for _ in range(3):
        result = pb.jit(f)(X)
        assert pb.tree.structure(result) == pb.tree.structure(expected)
        for a, b in zip(pb.tree.leaves(result), pb.tree.leaves(expected), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_functions_without_arguments():
    f = pb.jit(lambda: pb.arange(3))

    assert [f().tolist() for _ in range(3)] == [[0, 1, 2]] * 3


def test_results_are_new_memory_each_time():
    f = pb.jit(lambda x: x + 1)

    first, second = f(X), f(X + 1)

    np.testing.assert_array_equal(np.asarray(first), X + 1)
    np.testing.assert_array_equal(np.asarray(second), X + 2)


def test_captured_arrays_of_any_layout_stay():
    captured = pb.asarray(np.arange(600, dtype=np.float32).reshape(20, 30)).T
    f = pb.jit(lambda x: captured @ x)
    x = np.ones(20, np.float32)

    results = [np.asarray(f(x)) for _ in range(3)]

    for result in results:
        np.testing.assert_allclose(result, np.asarray(captured) @ x, rtol=1e-6)


def test_variables_are_read_at_every_direct_call():
    variable = pb.Variable(X)
    f = pb.jit(lambda x: x * variable)
    assert direct_of(f, X) is not None

    for k in range(3):
        variable.assign(X[::-1] + k)
        np.testing.assert_array_equal(np.asarray(f(X)), X * (X[::-1] + k))


def test_a_direct_call_waits_for_a_program_that_updates_its_variable():
    variable = pb.Variable(np.zeros(200_000, np.float32))

    @pb.jit
    def count():
        variable.assign(variable + 1)

    read = pb.jit(lambda x: variable + x)
    one = np.ones((), np.float32)
    count(), read(one)
    found, begun, over = [], threading.Event(), threading.Event()

    def reads():
        while not over.is_set():
            found.append(np.unique(np.asarray(read(one))).tolist())
            begun.set()

    thread = threading.Thread(target=reads)
    thread.start()
    begun.wait()
    for _ in range(50):
        count()
    over.set()
    thread.join()

    assert all(len(values) == 1 for values in found)
    assert found == sorted(found)


def test_programs_that_change_something_have_no_direct_call():
    variable = pb.Variable(X)

    assert direct_of(pb.jit(lambda x: variable.assign(x).read() * 1), X) is None
    assert direct_of(pb.jit(lambda x: x + 1, donate_argnums=0), pb.asarray(X)) is None
    assert direct_of(pb.jit(lambda x: pb.linalg.svdvals(x)), X) is None  # a call of the host


def test_programs_of_many_arrays_are_called_the_ordinary_way():
    arrays = [X + k for k in range(MOST_ARRAYS)]
    f = pb.jit(lambda *xs: sum(xs[1:], xs[0]))

    assert direct_of(f, *arrays) is None
    np.testing.assert_allclose(np.asarray(f(*arrays)), sum(arrays), rtol=1e-6)


def test_signatures_in_turn():
    f = pb.jit(lambda x: x + 1)
    inputs = [X, X.astype(np.int32), X[0], X.astype(np.float64)]

    for _ in range(3):
        for x in inputs:
            result = f(x)
            assert result.dtype == x.dtype
            np.testing.assert_array_equal(np.asarray(result), x + 1)


def test_trees_in_turn():
    f = pb.jit(lambda tree: pb.tree.map(lambda x: x + 1, tree))
    trees = [{"a": X, "b": X[0]}, {"a": X[0], "b": X}, (X, X[0]), {"a": X, "c": X[0]}]

    for _ in range(3):
        for tree in trees:
            result = f(tree)
            assert pb.tree.structure(result) == pb.tree.structure(tree)
            for a, b in zip(pb.tree.leaves(result), pb.tree.leaves(tree), strict=True):
                np.testing.assert_array_equal(np.asarray(a), b + 1)


def test_static_values_are_seen_after_calls_without_them():
    f = pb.jit(lambda tree, factor=1: tree["x"] * factor, static_argnames="factor")

    for factor in (1, 3, 1, 2):
        np.testing.assert_array_equal(np.asarray(f({"x": X})), X)
        np.testing.assert_array_equal(np.asarray(f({"x": X}, factor=factor)), X * factor)


def test_tapes_and_traces_do_not_call_directly():
    f = pb.jit(lambda x: pb.sum(x * x))
    g = pb.jit(lambda tree: pb.sum(tree["x"] * tree["x"]))
    x = pb.asarray(X)
    for _ in range(2):
        f(x), g({"x": x})

    np.testing.assert_array_equal(np.asarray(pb.grad(f)(x)), 2 * X)
    np.testing.assert_array_equal(np.asarray(pb.grad(lambda x: g({"x": x}))(x)), 2 * X)
    np.testing.assert_array_equal(np.asarray(pb.jit(pb.grad(f))(x)), 2 * X)


def test_a_cleared_function_is_traced_anew():
    traces = []

    @pb.jit
    def f(tree):
        traces.append(tree)
        return tree["x"] + 1

    for _ in range(2):
        f({"x": X}), f({"x": X})
        f.clear_cache()

    assert len(traces) == 2


def test_what_a_dropped_function_compiled_goes_without_the_collector():
    f = pb.jit(lambda x: x + 1)
    executable = weakref.ref(compiled_of(f, X)._executable)
    f(X)
    gc.disable()
    try:
        del f
        assert executable() is None
    finally:
        gc.enable()


def test_threads_call_directly_at_once():
    f = pb.jit(lambda x: x @ x.T)
    x = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    expected = np.asarray(f(x)).tobytes()
    wrong: list[int] = []

    def call():
        wrong.extend(k for k in range(300) if np.asarray(f(x)).tobytes() != expected)

    with pb.config.override(threads=2):
        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_calls_directly():
    f = pb.jit(lambda x: x @ x.T)
    x = np.random.default_rng(0).normal(size=(200, 200)).astype(np.float32)
    with pb.config.override(threads=2):
        for _ in range(30):
            expected = np.asarray(f(x)).tobytes()
        child = os.fork()
        if not child:
            same = all(np.asarray(f(x)).tobytes() == expected for _ in range(30))
            os._exit(0 if same else 1)
        _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
