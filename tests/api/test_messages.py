"""What errors say: types, what was expected, the user's own line, what to do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

import pullback as pb
from pullback.errors import (
    ConfigurationError,
    LeakedTracerError,
    PullbackError,
    ShapeError,
    TracerArrayError,
    TreeError,
)


def notes_of(f):
    with pytest.raises(PullbackError) as caught:
        f()
    return caught.value.__notes__


def test_errors_end_with_the_users_line():
    """The innermost line that is the user's, however deep in loops and transformations."""

    def model(x, w):
        return x @ w  # here

    @pb.jit
    def step(w, x):
        def body(c, xi):
            return c, pb.sum(model(xi, c))

        return pb.grad(lambda w: pb.sum(pb.scan(body, w, x)[1]))(w)

    (note,) = notes_of(lambda: step(pb.ones((3, 4)), pb.ones((5, 7, 2))))

    line = model.__code__.co_firstlineno + 1
    assert note == f"at {__file__}:{line}: return x @ w  # here"


def test_lines_of_numpy_and_of_context_managers_are_not_the_users():
    def sums():
        return np.sum(pb.zeros((2, 3)), axis=5)

    def settings():
        with pb.config.override(threads=0):
            pass

    assert notes_of(sums)[0].endswith("return np.sum(pb.zeros((2, 3)), axis=5)")
    assert notes_of(settings)[0].endswith("with pb.config.override(threads=0):")


def test_text_without_a_file_has_no_line():
    code = compile("import pullback as pb\npb.zeros(2) + pb.zeros(3)", "<string>", "exec")

    with pytest.raises(ShapeError) as caught:
        exec(code, {"__name__": "pullback.made_up"})

    assert all("<string>" not in note for note in caught.value.__notes__)


def test_errors_can_be_sent_to_another_process():
    error = ShapeError("text")

    again = pickle.loads(pickle.dumps(error))

    assert (str(again), type(again)) == ("text", ShapeError)
    assert error.__notes__[0] in again.__notes__


# ---- operands


def test_operands_that_do_not_broadcast_are_named_with_their_types():
    x, y = pb.zeros((3, 4), dtype=pb.int32), pb.zeros((5, 4))

    with pytest.raises(ShapeError, match=r"^mul: i32\[3,4\] and f32\[5,4\] do not"):
        x * y
    with pytest.raises(ShapeError, match=r"where: bool\[3,4\] and f32\[5,4\] and i32\[3,4\]"):
        pb.where(x > 0, y, x)
    with pytest.raises(ShapeError, match=r"clip: i32\[3,4\] and f32\[5,4\]"):
        pb.clip(x, y)
    with pytest.raises(ShapeError, match=r"add: f64\[2\] and f32\[5,4\].*expand_dims"):
        np.zeros(2) + y


def test_assignment_says_what_to_use():
    x: Any = pb.zeros(3)

    with pytest.raises(TypeError, match=r"f32\[3\].*x.at\[index\].set\(y\)"):
        x[0] = 1


def test_donated_arguments_exist():
    with pytest.raises(ConfigurationError, match=r"donate_argnums: f has no argument 7.*\(x\)"):

        @pb.jit(donate_argnums=7)
        def f(x):
            return x

    assert pb.jit(lambda *xs: xs[1], donate_argnums=1)(1.0, 2.0).item() == 2


# ---- traced values


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (lambda x: f"{x:.3f}", r"text in the format '\.3f'"),
        (np.from_dlpack, "DLPack"),
        (complex, "Python complex"),
        (lambda x: x.tolist(), r"\.tolist\(\)"),
    ],
    ids=["format", "dlpack", "complex", "tolist"],
)
def test_uses_of_a_traced_value(use, text):
    with pytest.raises(TracerArrayError, match=rf"type f32\[\] was used as .*{text}"):
        pb.jit(use)(1.5)


def test_a_traced_value_prints_as_its_type():
    seen = []

    @pb.jit
    def f(x):
        seen.append(f"{x}")
        return x

    f(1.5)

    assert seen == ["Tracer(f32[])"]


@pytest.mark.parametrize(
    "use", [bool, int, float, complex, np.asarray, np.from_dlpack, "{:.1f}".format]
)
def test_conversions_of_a_leaked_value_say_that_it_leaked(use):
    kept: list[Any] = []

    @pb.jit
    def leak(x):
        kept.append(x)
        return x

    leak(1.5)

    with pytest.raises(LeakedTracerError, match=r"f32\[\].*return it instead"):
        use(kept[0])


# ---- trees


def test_a_tree_where_an_array_is_expected():
    _, pullback = pb.vjp(lambda p: p["w"] * 2, {"w": pb.ones(3)})

    with pytest.raises(TreeError, match=r"cotangent is \(f32\[3\], None\), expected f32\[3\]"):
        pullback((pb.ones(3), None))
    with pytest.raises(TreeError, match=r"result is of type str.*or leave it out"):
        pb.jit(lambda x: "text")(1.0)


def test_a_dataclass_that_is_not_registered():
    @dataclasses.dataclass
    class Layer:
        w: Any

    with pytest.raises(TreeError, match=r"argument 0 is of type Layer.*`tree.register_dataclass`"):
        pb.jit(lambda layer: layer.w)(Layer(1.0))


# ---- exchange


@pytest.mark.parametrize(
    "make",
    [
        lambda: pb.zeros((2, 3)),
        lambda: pb.arange(3),
        lambda: pb.asarray([1.0, 2.0, 3.0])[::-1],
        lambda: pb.asarray([1.0, 2.0, 3.0])[::2],
        lambda: pb.asarray([[1.0, 2.0]]).T,
    ],
    ids=["repeated", "numbers", "reversed", "strided", "transposed"],
)
def test_memory_that_is_exported_is_dense(make):
    """PyTorch aborts on negative strides; before version 1 DLPack has no read-only memory."""
    x = make()

    class Consumer:
        def __dlpack__(self, **kwargs):
            return x.__dlpack__()

        def __dlpack_device__(self):
            return x.__dlpack_device__()

    found = np.from_dlpack(Consumer())

    np.testing.assert_array_equal(found, np.asarray(x))
    assert found.flags.c_contiguous or found.flags.f_contiguous


def test_memory_is_shared_where_it_can_be():
    x = pb.asarray(np.arange(3.0, dtype=np.float32))

    assert np.shares_memory(np.from_dlpack(x), np.asarray(x))


def test_a_range_has_the_dtype_of_a_list():
    assert pb.asarray(range(3)).dtype == pb.asarray([0, 1, 2]).dtype == np.int32


def test_rounding_by_python():
    x: Any = pb.asarray(2.567)

    assert round(x, 1).item() == pytest.approx(2.6)
    assert float(round(x)) == 3
    assert copy.copy(x).item() == x.item()
