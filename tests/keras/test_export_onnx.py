"""``model.export(format="onnx")``: the file computes in onnxruntime what the model computes."""

from __future__ import annotations

import importlib.util
import itertools
import os

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
from keras import layers, ops, tree

import pullback as pb
from pullback.errors import PullbackError

ROWS = (1, 3, 7)
IMAGE, SEQUENCE = (9, 10, 4), (6, 4)
_KINDS = {
    "tensor(float)": "f4", "tensor(float16)": "f2", "tensor(int32)": "i4", "tensor(int64)": "i8",
    "tensor(uint8)": "u1", "tensor(bool)": "?",
}  # fmt: skip


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def sequential(shape, *parts, **options):
    return keras.Sequential([layers.Input(shape, **options), *parts])


def load(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def inputs_of(session, rng, rows, length=5):
    """Random values for each input; free lengths other than that of the batch get ``length``."""
    values = []
    for x in session.get_inputs():
        free = [length if isinstance(n, str) else n for n in x.shape]
        shape = [rows if x.shape[0] == "batch" else free[0], *free[1:]]
        kind = _KINDS[x.type]
        if kind[0] == "f":
            values.append(rng.normal(size=shape).astype(kind))
        else:
            values.append(rng.integers(0, 2 if kind == "?" else 9, shape).astype(kind))
    return values


def check(model, path, rng, rtol=1e-5, compiled=False, **options):
    """Export a model and compare it with what it computes, for several numbers of rows.

    ``compiled``: with ``predict``; else with a call, operation by operation, which starts sooner.
    """
    model.export(path, format="onnx", verbose=False, **options)
    session = load(path)
    names = [x.name for x in session.get_inputs()]
    for n in ROWS:
        values = inputs_of(session, rng, n, length=4 + n)
        actual = session.run(None, dict(zip(names, values, strict=True)))
        given = values[0]
        if len(values) > 1:
            given = tree.pack_sequence_as(model._inputs_struct, values)
        result = model.predict(given, verbose=0) if compiled else model(given, training=False)
        for x, y in zip(actual, map(np.asarray, tree.flatten(result)), strict=True):
            assert x.dtype == y.dtype
            scale = np.abs(y).max() if y.dtype.kind == "f" else 0
            np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol * scale)
    return session


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


# Layers

CONVOLUTIONS = {
    f"{kind} {padding} strides {strides} dilation {dilation}": (kind, padding, strides, dilation)
    for kind, padding, (strides, dilation) in itertools.product(
        ["Conv2D", "DepthwiseConv2D", "SeparableConv2D", "Conv2DTranspose"],
        ["valid", "same"],
        [(1, 1), (2, 1), (3, 1), (1, 2)],
    )
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name, path, rng):
    kind, padding, strides, dilation = CONVOLUTIONS[name]
    args = (3,) if kind == "DepthwiseConv2D" else (4, 3)
    layer = getattr(layers, kind)(
        *args, padding=padding, strides=strides, dilation_rate=dilation, activation="relu"
    )

    check(sequential(IMAGE, layer), path, rng)

    expected = "ConvTranspose" if kind == "Conv2DTranspose" else "Conv"
    assert operators(path).count(expected) == (2 if kind == "SeparableConv2D" else 1)


@pytest.mark.parametrize("strides", [None, 1, 3])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_pooling(kind, padding, size, strides, path, rng):
    layer = getattr(layers, f"{kind}Pooling2D")(size, strides, padding=padding)

    check(sequential(IMAGE, layer), path, rng)

    assert f"{kind}Pool" in operators(path)


LAYERS = {
    "channels first": (
        (4, 9, 10),
        lambda: [
            layers.Conv2D(5, 3, strides=2, padding="same", data_format="channels_first"),
            layers.MaxPooling2D(2, padding="same", data_format="channels_first"),
        ],
    ),
    "one axis": (
        (12, 4),
        lambda: [
            layers.Conv1D(3, 4, padding="causal", dilation_rate=2),
            layers.Conv1DTranspose(3, 4, strides=3, padding="same", output_padding=1),
            layers.AveragePooling1D(3, 2, padding="same"),
        ],
    ),
    "three axes": (
        (5, 6, 7, 2),
        lambda: [
            layers.Conv3D(3, 2, strides=2, padding="same"),
            layers.MaxPooling3D(2, padding="same"),
            layers.Conv3DTranspose(2, 3, strides=2),
        ],
    ),
    "groups": (IMAGE, lambda: [layers.Conv2D(8, 3, groups=2)]),
    "bytes of images": (
        IMAGE,
        lambda: [layers.Rescaling(1 / 255), layers.Conv2D(2, 3), layers.GlobalMaxPooling2D()],
    ),
    "transposed beyond its kernel": (IMAGE, lambda: [layers.Conv2DTranspose(3, 2, strides=4)]),
    "adaptive pooling": (IMAGE, lambda: [layers.AdaptiveAveragePooling2D(3)]),
    "batch normalization": (IMAGE, lambda: [layers.BatchNormalization()]),
    "layer normalization": (SEQUENCE, lambda: [layers.LayerNormalization()]),
    "group normalization": (IMAGE, lambda: [layers.GroupNormalization(2)]),
    "rms normalization": (SEQUENCE, lambda: [layers.RMSNormalization()]),
    "images": (
        IMAGE,
        lambda: [
            layers.ZeroPadding2D(2),
            layers.Cropping2D(1),
            layers.UpSampling2D(2, interpolation="bilinear"),
            layers.Resizing(5, 7),
            layers.CenterCrop(4, 5),
        ],
    ),
    "shapes": (
        SEQUENCE,
        lambda: [layers.Permute((2, 1)), layers.Reshape((3, -1)), layers.Flatten()],
    ),
    "noise": (SEQUENCE, lambda: [layers.GaussianNoise(0.5), layers.Dropout(0.5)]),
    "time distributed": (SEQUENCE, lambda: [layers.TimeDistributed(layers.Dense(3))]),
    "simple rnn": (SEQUENCE, lambda: [layers.SimpleRNN(3, return_sequences=True)]),
    "lstm": (SEQUENCE, lambda: [layers.LSTM(3)]),
    "lstm backwards": (SEQUENCE, lambda: [layers.LSTM(3, go_backwards=True)]),
    "lstm with mask": (SEQUENCE, lambda: [layers.Masking(0.0), layers.LSTM(3)]),
    "gru": (SEQUENCE, lambda: [layers.GRU(3, return_sequences=True)]),
    "gru reset before": (SEQUENCE, lambda: [layers.GRU(3, reset_after=False)]),
    "bidirectional": (
        SEQUENCE,
        lambda: [layers.Bidirectional(layers.LSTM(3, return_sequences=True))],
    ),
    "stacked cells": (SEQUENCE, lambda: [layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)])]),
    "convolutional lstm": ((3, 5, 5, 2), lambda: [layers.ConvLSTM2D(2, 3)]),
    "sort": (SEQUENCE, lambda: [layers.Lambda(lambda x: ops.sort(x, axis=1))]),
    "top k": (SEQUENCE, lambda: [layers.Lambda(lambda x: ops.top_k(x, 2)[1])]),
    "one hot": (
        SEQUENCE,
        lambda: [layers.Lambda(lambda x: ops.one_hot(ops.argmax(x, axis=1), 6))],
    ),
    "loop": (
        SEQUENCE,
        lambda: [
            layers.Lambda(
                lambda x: ops.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y * 1.5), (0, x))[
                    1
                ]
            )
        ],
    ),
    "rows of each other": (
        (4,),
        lambda: [layers.Lambda(lambda x: ops.matmul(x, ops.transpose(x)))],
    ),
    "scatter": (
        SEQUENCE,
        lambda: [layers.Lambda(lambda x: ops.slice_update(x, (0, 1, 0), x[:, :2] * 2))],
    ),
    "spectrogram": ((64, 1), lambda: [layers.STFTSpectrogram(frame_length=8, frame_step=4)]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, path, rng):
    shape, parts = LAYERS[name]
    if name == "adaptive pooling" and not hasattr(layers, "AdaptiveAveragePooling2D"):
        pytest.skip("this version of Keras does not have it")
    options = {"dtype": "uint8"} if name == "bytes of images" else {}

    check(sequential(shape, *parts(), **options), path, rng)


@pytest.mark.parametrize(
    "activation",
    [
        "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu",
        "hard_tanh", "leaky_relu", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu",
        "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus",
        "sparsemax", "squareplus", "tanh", "tanh_shrink",
    ],
)  # fmt: skip
def test_activations(activation, path, rng):
    check(sequential((6,), layers.Dense(8, activation)), path, rng)


# Models


def test_a_classifier_of_images(path, rng):
    model = sequential(
        (28, 28, 1),
        layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, padding="same"),
        layers.MaxPooling2D(2),
        layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = rng.normal(size=(32, 28, 28, 1)).astype("f4")
    model.fit(x, rng.integers(0, 10, 32), verbose=0)  # moving statistics that differ from 0 and 1

    check(model, path, rng, compiled=True)

    kinds = operators(path)
    assert {"Conv", "ConvTranspose", "MaxPool", "Softmax"} <= set(kinds)
    assert len(kinds) < 60


def transformer(length):
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    x = layers.Embedding(20, 8, mask_zero=True)(tokens)
    if length is not None:
        x = x + layers.Embedding(length, 8)(ops.arange(length))
    y = layers.LayerNormalization()(x)
    x = x + layers.MultiHeadAttention(2, 4, dropout=0.1)(y, y, use_causal_mask=True)
    y = layers.Dense(16, "gelu")(layers.LayerNormalization()(x))
    x = x + layers.Dense(8)(y)
    return keras.Model(tokens, layers.Dense(20, name="logits")(x))


@pytest.mark.parametrize("length", [8, None])
def test_a_transformer_with_a_causal_mask(length, path, rng):
    session = check(transformer(length), path, rng, compiled=True)

    assert session.get_inputs()[0].name == "tokens"
    assert session.get_outputs()[0].name == "logits"
    expected = ["batch", length, 20] if length else ["batch", "dim_0_1", 20]
    assert session.get_outputs()[0].shape == expected


def test_dictionaries_of_inputs_and_outputs(path, rng):
    a, b = keras.Input((3,), name="a"), keras.Input((5,), dtype="int32", name="b")
    x = layers.Concatenate()([layers.Dense(2)(a), layers.Flatten()(layers.Embedding(9, 3)(b))])
    outputs = {"score": layers.Dense(1)(x), "class": layers.Dense(2, "softmax")(x)}

    session = check(keras.Model({"a": a, "b": b}, outputs), path, rng, compiled=True)

    assert [x.name for x in session.get_inputs()] == ["a", "b"]
    assert [x.name for x in session.get_outputs()] == ["class", "score"]


def test_lists_of_inputs_with_lengths_of_their_own(path, rng):
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")
    attended = layers.MultiHeadAttention(2, 4)(a, b)
    model = keras.Model([a, b], [attended, layers.Attention()([a, b])])

    model.export(path, format="onnx", verbose=False)
    session = load(path)
    x, y = rng.normal(size=(2, 4, 3)).astype("f4"), rng.normal(size=(2, 7, 3)).astype("f4")

    for actual, expected in zip(
        session.run(None, {"a": x, "b": y}), model.predict([x, y], verbose=0), strict=True
    ):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    assert [x.shape[1] for x in session.get_inputs()] == ["dim_0_1", "dim_1_1"]


def test_lengths_that_must_be_equal_share_a_name(path, rng):
    a, b = keras.Input((None, 3), name="a"), keras.Input((None, 3), name="b")

    session = check(keras.Model([a, b], a + b), path, rng)

    assert [x.shape[1] for x in session.get_inputs()] == ["dim_0_1", "dim_0_1"]


def test_images_of_any_size(path, rng):
    """Strided windows with padding round lengths; the file asks the arrays for them."""
    image = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")(image)
    y = layers.Conv2D(4, 3, strides=2, padding="same")(layers.MaxPooling2D(2, padding="same")(x))
    z = layers.AveragePooling2D(2, padding="same")(x)
    z = layers.UpSampling2D(2)(layers.Conv2D(4, 1, strides=2, padding="same")(z) + y)
    model = keras.Model(image, [z, layers.GlobalAveragePooling2D()(z), layers.Reshape((-1, 2))(z)])
    model.export(path, format="onnx", verbose=False)
    session = load(path)

    for shape in [(1, 17, 23, 3), (2, 16, 16, 3), (3, 30, 21, 3)]:
        x = rng.normal(size=shape).astype("f4")
        for actual, expected in zip(
            session.run(None, {"image": x}), model(x, training=False), strict=True
        ):
            np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_states_of_a_recurrent_layer_are_outputs(path, rng):
    x = keras.Input(SEQUENCE)

    session = check(keras.Model(x, layers.LSTM(3, return_state=True, name="lstm")(x)), path, rng)

    assert [x.name for x in session.get_outputs()] == ["lstm", "lstm_1", "lstm_2"]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden = layers.Dense(5, "tanh")
        self.head = layers.Dense(2)

    def call(self, x, training=False):
        x = self.hidden(x)
        if training:
            x = x * 0
        return {"logits": self.head(x), "hidden": x}


def test_a_recurrent_model(path, rng):
    model = sequential(
        SEQUENCE,
        layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
        layers.GRU(5),
        layers.Dense(2),
    )

    check(model, path, rng, compiled=True)

    assert operators(path).count("Scan") == 3


def test_a_model_class_that_was_called(path, rng):
    model = Subclassed()
    x = rng.normal(size=(4, 3)).astype("f4")
    expected = model(x)

    model.export(path, format="onnx", verbose=False)

    session = load(path)
    assert [x.shape for x in session.get_inputs()] == [["batch", 3]]
    assert [x.name for x in session.get_outputs()] == ["hidden", "logits"]
    hidden, logits = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_allclose(hidden, expected["hidden"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(logits, expected["logits"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy, path, rng):
    """Products of 16-bit floats are summed in float32 and rounded once, here and there."""
    model = sequential(
        (6,),
        layers.Dense(8, "relu", dtype=policy),
        layers.LayerNormalization(dtype=policy),
        layers.Dense(3, "softmax", dtype="float32"),
    )

    check(model, path, rng, rtol=1e-2)

    types = {t.data_type for t in onnx.load(path).graph.initializer}
    assert onnx.TensorProto.FLOAT in types  # the variables stay what they are


def test_quantized_weights_stay_small(path, rng):
    model = sequential((64,), layers.Dense(64), layers.Dense(3))
    with pytest.warns(UserWarning, match="does not have a `quantize` method"):
        model.quantize("int8")

    check(model, path, rng)

    assert path.stat().st_size < 64 * 64 * 4  # less than a float of 32 bits for each


# The file


def test_weights_are_named_by_their_paths(path):
    model = keras.Sequential([layers.Input((3,)), layers.Dense(2, name="head")], name="net")

    model.export(path, format="onnx", verbose=False)

    proto = onnx.load(path)
    assert proto.graph.name == "net"
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    assert {"net/head/kernel", "net/head/bias"} <= set(weights)
    np.testing.assert_array_equal(weights["net/head/kernel"], model.layers[-1].kernel)
    assert all(node.name.startswith("net/head/") for node in proto.graph.node[:-1])


def test_the_number_of_rows_is_free_and_others_are_not(path, rng):
    model = sequential((3,), layers.Dense(2))
    model.export(path, format="onnx", verbose=False)
    session = load(path)

    assert session.get_inputs()[0].shape == ["batch", 3]
    assert session.get_outputs()[0].shape == ["batch", 2]
    name = session.get_inputs()[0].name
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        session.run(None, {name: np.zeros((2, 4), "f4")})


@pytest.mark.parametrize("form", ["spec", "list", "array"])
def test_a_signature_may_be_given(form, path, rng):
    model = sequential((None, 4), layers.GRU(3))
    given = {
        "spec": keras.InputSpec(shape=(2, 6, 4), dtype="float32"),
        "list": [keras.InputSpec(shape=(None, 6, 4), dtype="float32", name="series")],
        "array": [ops.ones((2, 6, 4))],
    }[form]

    model.export(path, format="onnx", verbose=False, input_signature=given)

    (x,) = load(path).get_inputs()
    assert x.shape == [2 if form == "spec" else "batch", 6, 4]
    assert x.name == ("series" if form == "list" else "input_0")


def test_inputs_of_a_functional_model_may_be_listed(path):
    a, b = keras.Input((3,)), keras.Input((3,))
    specs = [keras.InputSpec(shape=(None, 3), dtype="float32", name=n) for n in "ab"]

    keras.Model([a, b], a + b).export(path, format="onnx", verbose=False, input_signature=specs)

    assert [x.name for x in load(path).get_inputs()] == ["a", "b"]


def test_the_version_of_the_operators_may_be_given(path, rng):
    model = sequential((3,), layers.Dense(2))

    check(model, path, rng, opset_version=21)

    assert onnx.load(path).opset_import[0].version == 21
    with pytest.raises(ValueError, match="opset_version=7: expected 17 to"):
        model.export(path, format="onnx", opset_version=7)


def test_where_the_file_is_is_printed(path, capsys):
    model = sequential((3,), layers.Dense(2))

    model.export(path, format="onnx")
    assert f"Saved artifact at '{path}'" in capsys.readouterr().out
    model.export(str(path), format="onnx", verbose=False)
    assert capsys.readouterr().out == ""


def test_training_goes_on_after_the_export(path, rng):
    """Nothing of the trace stays behind: variables hold arrays, and layers compute as before."""
    model = sequential(IMAGE, layers.Conv2D(3, 3), layers.BatchNormalization(), layers.Flatten())
    model.compile("sgd", "mse")
    before = model.get_weights()

    model.export(path, format="onnx", verbose=False)

    for x, y in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)
    model.fit(rng.normal(size=(8, *IMAGE)), np.zeros((8, 7 * 8 * 3)), verbose=0)
    program = pb.make_program(lambda x: model(x, training=False))(np.zeros((2, *IMAGE), "f4"))
    assert "operator" not in str(program)


# What is refused


def test_a_model_that_was_not_built(path):
    with pytest.raises(ValueError, match="has not yet been built"):
        keras.Sequential([layers.Dense(2)]).export(path, format="onnx")
    assert not path.exists()


def test_an_operation_that_onnx_lacks_names_layer_operation_and_line(path):
    inverse = layers.Lambda(lambda x: ops.inv(x), name="inverse")
    model = keras.Sequential([layers.Input((3, 3)), inverse], name="net")

    with pytest.raises(
        PullbackError, match=r"layer net/inverse: `inv` of \(f32\[batch,3,3\]\)"
    ) as e:
        model.export(path, format="onnx")

    assert "linalg.py:" in str(e.value)
    assert "docs/reference/onnx.md" in str(e.value)
    assert not path.exists()


def test_random_numbers_are_refused(path):
    noisy = layers.Lambda(lambda x: x + keras.random.normal((3,), seed=1), name="noisy")

    with pytest.raises(PullbackError, match=r"noisy: `random_bits`"):
        sequential((3,), noisy).export(path, format="onnx")


def test_state_is_refused_and_names_the_variables(path):
    model = keras.Sequential([layers.Input(batch_shape=(2, 6, 4)), layers.LSTM(3, stateful=True)])
    signature = [keras.InputSpec(shape=(2, 6, 4), dtype="float32")]

    with pytest.raises(PullbackError, match="assigns the variables"):
        model.export(path, format="onnx", input_signature=signature)


def test_what_depends_on_the_number_of_rows_is_refused_until_it_is_given(path):
    halves = layers.Lambda(lambda x: x[: x.shape[0] // 2], output_shape=(3,))
    model = sequential((3,), halves)

    with pytest.raises(PullbackError, match=r"no polynomial .*lambda.*Give all lengths"):
        model.export(path, format="onnx")

    signature = [keras.InputSpec(shape=(4, 3), dtype="float32")]
    model.export(path, format="onnx", verbose=False, input_signature=signature)
    assert load(path).get_outputs()[0].shape == [2, 3]


def test_a_missing_library_is_named_with_what_to_install(path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "onnx" else find(name, *a)
    )

    with pytest.raises(ImportError, match=r"pip install 'pullback\[onnx\]'"):
        sequential((3,), layers.Dense(2)).export(path, format="onnx")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="nowhere"):
        sequential((3,), layers.Dense(2)).export(tmp_path / "nowhere" / "m.onnx", format="onnx")
    assert os.listdir(tmp_path) == []


def test_arguments_that_are_not_known_are_named(path):
    with pytest.raises(ValueError, match="knows no argument is_static"):
        sequential((3,), layers.Dense(2)).export(path, format="onnx", is_static=True)


@pytest.mark.parametrize(
    ("format", "message"),
    [
        # Older versions of Keras refuse by themselves, in other words.
        ("tf_saved_model", r"writes no SavedModel.*format=\"onnx\"|ExportArchive"),
        ("openvino", r"writes no OpenVINO.*format=\"onnx\""),
        ("litert", "(?i)litert"),
        ("torch", "(?i)torch"),
    ],
)
def test_other_formats_are_refused_by_name(format, message, path):
    with pytest.raises((NotImplementedError, ValueError, ImportError), match=message):
        sequential((3,), layers.Dense(2)).export(path, format=format)
