"""Whole models: metadata, versions of operators, names, and writing the file."""

from __future__ import annotations

import os
import stat

import numpy as np
import onnx
import pytest
from tests.export.onnx_run import exported, run

import pullback as pb
from pullback.export.errors import ExportError
from pullback.export.model import DEFAULT_OPSET, OLDEST_OPSET, build_model, write_model
from pullback.export.symbolic import Input
from pullback.types import float32


def small(**options):
    return exported(lambda x: pb.tanh(x) * 2.0, (("batch", 4), "f4"), **options)


def test_the_model_says_what_made_it():
    model = small()

    assert model.producer_name == "pullback"
    assert model.producer_version == pb.__version__
    assert [(x.domain, x.version) for x in model.opset_import] == [("", DEFAULT_OPSET)]


@pytest.mark.parametrize("opset", [OLDEST_OPSET, 18, 19, 20, 21, 22, 23, 24])
def test_all_versions_of_the_operators_say_the_same(opset, rng):
    def f(x):
        y = pb.nn.softmax(pb.reshape(x, (-1, 4)), axis=-1)
        y = pb.sort(pb.pad(y, ((0, 0), (1, 1))), axis=1)[:, ::-1]
        y = pb.where(y > 0.2, pb.max(y, axis=1, keepdims=True), pb.round(y * 8) / 8)
        z, ys = pb.scan(lambda c, r: (c + r, c), pb.zeros(6), y)
        return (
            ys + z + pb.astype(pb.argmax(y, axis=1), "f4")[:, None] + pb.cumulative_sum(y, axis=1)
        )

    x = rng.normal(size=(5, 4)).astype("f4")
    model = exported(f, (("batch", 4), "f4"), opset=opset)

    assert model.opset_import[0].version == opset
    np.testing.assert_allclose(run(model, x)[0], np.asarray(f(pb.asarray(x))), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("opset", [0, OLDEST_OPSET - 1, 10_000])
def test_other_versions_are_refused(opset):
    with pytest.raises(ExportError, match=f"opset_version={opset}: expected {OLDEST_OPSET} to"):
        small(opset=opset)


def test_what_an_old_version_lacks_says_which_has_it():
    with pytest.raises(ExportError, match=r"`and` of .*from opset_version 18 on"):
        exported(lambda x: x & 3, (("batch",), "i4"), opset=17)

    exported(lambda x: x & 3, (("batch",), "i4"), opset=18)


def test_names_are_kept_and_made_different():
    a, b = (pb.Variable(np.ones(4, "f4"), name="w") for _ in range(2))
    inputs = [Input("x", ("batch", 4), float32), Input("x", ("batch", 4), float32)]

    model = build_model(lambda x, y: [x * a, y * b], inputs, ["y", "y"])

    assert [x.name for x in model.graph.input] == ["x", "x_1"]
    assert [x.name for x in model.graph.output] == ["y", "y_1"]
    assert [x.name for x in model.graph.initializer] == ["w", "w_1"]


def test_names_of_outputs_go_before_those_of_nodes():
    model = build_model(lambda x: [pb.tanh(x)], [Input("x", (2,), float32)], ["Tanh"])

    assert model.graph.output[0].name == "Tanh"


def test_an_input_may_be_an_output(rng):
    x = rng.normal(size=(2, 3)).astype("f4")
    model = build_model(lambda x: [x, x], [Input("x", ("batch", 3), float32)], ["a", "b"])

    for y in run(model, x):
        np.testing.assert_array_equal(y, x)


def test_the_file_holds_the_model(tmp_path):
    model = small()

    write_model(model, tmp_path / "model.onnx")

    assert onnx.load(tmp_path / "model.onnx") == model
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_the_file_has_the_permissions_of_a_new_file(tmp_path):
    (tmp_path / "other").write_text("")

    write_model(small(), tmp_path / "model.onnx")

    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("other", "model.onnx")]
    assert modes[0] == modes[1]


def test_a_file_that_cannot_be_written_stays_what_it_was(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")

    def fail(*args):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        write_model(small(), path)

    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["model.onnx"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_model(small(), tmp_path / "nowhere" / "model.onnx")
