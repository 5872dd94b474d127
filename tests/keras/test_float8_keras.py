"""Keras's float8 quantization: training against the recipe in NumPy, calls, files, ONNX."""

from __future__ import annotations

import warnings

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import ops

E4M3FN, E5M2 = ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2


def rounded(x, scale, dtype):
    """``x`` quantized with a scale, and back."""
    largest = np.float32(ml_dtypes.finfo(dtype).max)
    return np.clip(x / scale, -largest, largest).astype(dtype).astype(np.float32) * scale


class Scale:
    """The scale of one operand: the largest number seen lately, as Keras keeps it."""

    def __init__(self, dtype):
        self.dtype, self.scale, self.history = dtype, np.float32(1), np.zeros(1024, np.float32)

    def use(self, x):
        """Quantize ``x`` with the scale there is, then take note of it."""
        result = rounded(x, self.scale, self.dtype)
        largest = self.history.max()
        if largest > 0:
            self.scale = largest / np.float32(ml_dtypes.finfo(self.dtype).max)
        self.history = np.roll(self.history, -1)
        self.history[0] = np.abs(x).max()
        return result


def recipe(kernel, bias, batches, rate):
    """Train ``x @ kernel + bias`` by SGD on the mean squared error with 8-bit operands."""
    inputs, kernels, outputs = Scale(E4M3FN), Scale(E4M3FN), Scale(E5M2)
    losses = []
    for x, y in batches:
        narrow_x, narrow_kernel = inputs.use(x), kernels.use(kernel)
        out = narrow_x @ narrow_kernel + bias.astype(ml_dtypes.bfloat16).astype(np.float32)
        losses.append(np.mean((out - y) ** 2))
        upstream = 2 * (out - y) / out.size
        kernel = kernel - rate * (narrow_x.T @ outputs.use(upstream))
        bias = bias - rate * upstream.sum(0).astype(ml_dtypes.bfloat16).astype(np.float32)
    return losses, kernel, bias, (inputs, kernels, outputs)


def quantized(kind):
    """A layer of 5 inputs and 3 outputs with float8 operands, alone in a model."""
    if kind == "dense":
        layer = keras.layers.Dense(3, dtype="float8_from_float32")
    else:
        layer = keras.layers.EinsumDense("ab,bc->ac", 3, bias_axes="c", dtype="float8_from_float32")
    model = keras.Sequential([keras.Input((5,)), layer])
    return model, layer


@pytest.mark.parametrize("kind", ["dense", "einsum_dense"])
def test_fit_follows_the_recipe(kind):
    """Losses, weights, scales and histories of six native steps.

    The derivatives of the rounding are Keras's, and what it keeps is overwritten by gradients.
    """
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(48, 5)).astype("float32"), rng.normal(size=(48, 3)).astype("float32")
    model, layer = quantized(kind)
    model.compile(keras.optimizers.SGD(0.5), "mse")
    kernel, bias = (np.array(v) for v in (layer.kernel, layer.bias))
    batches = [(x[i : i + 8], y[i : i + 8]) for i in range(0, 48, 8)]

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a step that ran operation by operation would warn
        history = model.fit(x, y, batch_size=8, shuffle=False, verbose=0)

    losses, kernel, bias, scales = recipe(kernel, bias, batches, np.float32(0.5))
    assert history.history["loss"][0] == pytest.approx(np.mean(losses), rel=1e-5)
    np.testing.assert_allclose(layer.kernel, kernel, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.bias, bias, rtol=1e-5, atol=1e-6)
    for name, expected in zip(("inputs", "kernel", "outputs_grad"), scales, strict=True):
        np.testing.assert_allclose(getattr(layer, f"{name}_scale"), expected.scale, rtol=1e-5)
        np.testing.assert_allclose(
            getattr(layer, f"{name}_amax_history"), expected.history, rtol=1e-5
        )


def test_quantized_models_call_and_predict_alike():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((5,)), keras.layers.Dense(7, "relu"), keras.layers.Dense(3)]
    )
    x = np.random.default_rng(0).normal(size=(9, 5)).astype("float32")
    before = np.asarray(model(x))

    for layer in model.layers:
        layer.quantize("float8")

    called = [np.asarray(model(x)) for _ in range(3)]  # from the second on, compiled
    for found in (*called, model.predict(x, verbose=0)):
        np.testing.assert_allclose(found, called[0], rtol=1e-5, atol=1e-6)
    assert 1e-4 < np.abs(called[0] - before).max() < 0.5  # rounded to 8 bits, and near


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2"])
def test_tensors_and_variables_hold_8_bits(dtype):
    numbers = [1.1, -2.0, 500.0]

    tensor = ops.convert_to_tensor(numbers, dtype=dtype)
    variable = keras.Variable(numbers, dtype=dtype)
    cast = ops.cast(ops.convert_to_tensor(numbers, dtype="float64"), dtype)

    with np.errstate(invalid="ignore"):
        expected = np.array(numbers, np.float32).astype(dtype)
    for found in (tensor, variable.value, cast):
        assert keras.backend.standardize_dtype(found.dtype) == dtype
        assert ops.convert_to_numpy(found).tobytes() == expected.tobytes()
    assert ops.concatenate([tensor, cast]).shape == (6,)
    with pytest.raises(TypeError, match=r"f8e\dm\d.*x\.astype"):
        ops.negative(tensor)
    with pytest.raises(TypeError, match="8-bit floats are not promoted"):
        ops.add(tensor, ops.ones(3))


def test_quantized_models_are_exported(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,), name="x"), keras.layers.Dense(3, name="y")])
    model.layers[0].quantize("float8")
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    path = tmp_path / "model.onnx"

    with pytest.raises(ValueError, match="opset_version 19"):
        model.export(path, format="onnx", verbose=False)
    model.export(path, format="onnx", verbose=False, opset_version=19)

    (found,) = onnxruntime.InferenceSession(path).run(["y"], {"x": x})
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
