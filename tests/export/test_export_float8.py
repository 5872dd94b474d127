"""8-bit floats in ONNX files: conversions to the bit, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from tests.export.onnx_run import exported, run

import pullback as pb
from pullback.export.errors import ExportError
from pullback.types import FLOAT8, DType

KINDS = sorted(FLOAT8, key=str)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=str)


def dense(dtype: str) -> Any:
    """Floats at, and next to, every value of 8 bits and every tie; infinities and nan."""
    exponents = np.arange(256, dtype=np.uint32)[:, None, None] << 23
    mantissas = np.arange(16, dtype=np.uint32)[None, :, None] << 19
    bits = (exponents | mantissas | np.array([0, 1, 0x7FFFF], np.uint32)).reshape(-1)
    numbers = np.concatenate([bits, bits | np.uint32(1 << 31)]).view(np.float32)
    with np.errstate(all="ignore"):
        return numbers.astype(dtype)


@pytest.mark.parametrize("source", ["float16", "float32", "float64", "int32", "bool"])
@each_kind
def test_conversions_are_the_engine_s(kind: DType, source: str) -> None:
    """The values just beyond the largest among them, which runtimes round in ways of their own."""
    is_float = source.startswith("float")
    x = dense(source) if is_float else np.arange(-70_000, 70_000).astype(source)
    model = exported(lambda v: v.astype(kind).astype("float32"), (("n",), source), opset=19)

    (actual,) = run(model, x)

    with np.errstate(all="ignore"):
        expected = x.astype(np.float32).astype(kind).astype(np.float32)
    np.testing.assert_array_equal(actual, expected)


@each_kind
def test_outputs_of_8_bits_are_declared_and_computed(kind: DType) -> None:
    """By ONNX's own evaluator: onnxruntime cannot hand such arrays to NumPy."""
    model = exported(lambda v: pb.broadcast_to(v, (2, 5)).astype(kind), ((5,), "float32"), opset=19)
    x = np.array([1.1, -300.0, 0.0, -0.0, 1e-3], np.float32)

    with np.errstate(all="ignore"):
        results: Any = ReferenceEvaluator(model).run(None, {"x0": x})

    (actual,) = results
    expected = np.broadcast_to(x, (2, 5)).astype(kind)
    assert actual.dtype == kind
    np.testing.assert_array_equal(actual.view(np.uint8), expected.view(np.uint8))


@each_kind
def test_stored_weights_are_kept_in_8_bits(kind: DType) -> None:
    w = pb.asarray(np.arange(-6, 6, dtype=np.float32).reshape(3, 4).astype(kind))
    model = exported(lambda v: v @ w.astype("float32"), ((2, 3), "float32"), opset=19)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)

    (actual,) = run(model, x)

    np.testing.assert_array_equal(actual, x @ np.asarray(w).astype(np.float32))
    (stored,) = (t for t in model.graph.initializer if tuple(t.dims) == (3, 4))
    assert len(stored.raw_data) == 12


@each_kind
def test_selections_and_comparisons_are_exported(kind: DType) -> None:
    def f(v: Any) -> Any:
        narrow = v.astype(kind)
        return pb.where(narrow > 1, narrow, pb.asarray(0.5, dtype=kind)).astype("float32")

    model = exported(f, ((4,), "float32"), opset=19)
    (actual,) = run(model, np.array([0.3, 1.0, 1.5, np.inf], np.float32))

    last = np.inf if kind.name == "float8_e5m2" else 0.5  # nan is not greater than 1
    np.testing.assert_array_equal(actual, [0.5, 0.5, 1.5, last])


def test_older_operators_are_refused_with_the_version() -> None:
    for opset in (18, None):
        with pytest.raises(ExportError, match="ONNX has it from opset_version 19 on"):
            exported(lambda v: v.astype("float8_e5m2"), ((4,), "float32"), opset=opset)


def test_moves_are_refused_with_the_mend() -> None:
    with pytest.raises(ExportError, match=r"`reshape` of \(f8e5m2\[4\]\).*x\.astype\('float32'\)"):
        exported(lambda v: v.astype("float8_e5m2").reshape((2, 2)), ((4,), "float32"), opset=19)
