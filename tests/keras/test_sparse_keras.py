"""Sparse tensors of the Keras backend: operations, and models on sparse data, as on dense ones."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import scipy.sparse
from keras import layers, ops
from keras.src.backend import compute_output_spec
from keras.src.trainers.data_adapters.generator_data_adapter import GeneratorDataAdapter

import pullback as pb
from keras_pullback.src.batches import LoopRows, Rows, batches_of
from keras_pullback.src.ops import sparse_arrays
from keras_pullback.src.ops.complex_arrays import ComplexArray
from keras_pullback.src.ops.sparse_arrays import SparseOperandError, few_sizes
from pullback.sparse import COO

ROWS, WIDTH = 75, 30


def _sparse(dtype: str = "float32") -> COO:
    """Of shape [3, 4], with a place stored twice, a stored zero, and padding that is not zero."""
    indices = [[2, 1], [0, 3], [2, 1], [1, 0], [3, 4], [0, 0]]
    return COO(np.array([1.5, -2.0, 0.5, 0.0, 9.0, 0.25]).astype(dtype), indices, (3, 4))


def _other() -> COO:
    return COO(np.array([2.0, 3.0, -1.0], "float32"), [[0, 3], [2, 1], [2, 2]], (3, 4))


def _dense(x: Any) -> Any:
    return ops.convert_to_numpy(x)


def _matrix(rows: int = ROWS, seed: int = 0) -> Any:
    """CSR matrix float32 with a sixth of its elements and some empty rows."""
    rng = np.random.default_rng(seed)
    dense = rng.standard_normal((rows, WIDTH)) * (rng.random((rows, WIDTH)) < 1 / 6)
    dense[:: max(1, rows // 5)] = 0
    return scipy.sparse.csr_matrix(dense.astype("float32"))


X = _matrix()
Y = np.random.default_rng(1).integers(0, 3, ROWS)


def _model(sparse: bool = True, **options: Any) -> Any:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((WIDTH,), sparse=sparse)
    model = keras.Sequential([inputs, layers.Dense(4, "tanh"), layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"], **options)
    return model


def _close(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# Operations

ROW = np.array([1.0, -2.0, 0.5, 4.0], "float32")
#: What is computed of a tensor [3, 4] and another, and whether the result is sparse where both are.
CASES: dict[str, tuple[Callable[[Any, Any], Any], bool]] = {
    "abs": (lambda x, y: ops.abs(x), True),
    "square": (lambda x, y: ops.square(x), True),
    "tanh": (lambda x, y: ops.tanh(x), True),
    "round": (lambda x, y: ops.round(x), True),
    "negative": (lambda x, y: ops.negative(x), True),
    "isnan": (lambda x, y: ops.isnan(x), True),
    "cos": (lambda x, y: ops.cos(x), False),
    "exp": (lambda x, y: ops.exp(x), False),
    "isfinite": (lambda x, y: ops.isfinite(x), False),
    "add": (lambda x, y: ops.add(x, y), True),
    "add itself": (lambda x, y: ops.add(x, x), True),
    "add a row": (lambda x, y: ops.add(x, ROW), False),
    "add a row and booleans": (lambda x, y: ops.add(ops.isnan(x), ROW > 0), False),
    "add booleans": (lambda x, y: ops.add(ops.cast(x, "bool"), ops.cast(y, "bool")), True),
    "from a matrix": (lambda x, y: ops.subtract(np.ones((3, 4), "float32"), x), False),
    "subtract": (lambda x, y: ops.subtract(x, y), True),
    "from a number": (lambda x, y: ops.subtract(1.0, x), False),
    "maximum": (lambda x, y: ops.maximum(x, y), True),
    "minimum": (lambda x, y: ops.minimum(x, y), True),
    "maximum with 0": (lambda x, y: ops.maximum(x, 0.0), False),
    "multiply": (lambda x, y: ops.multiply(x, y), True),
    "multiply itself": (lambda x, y: ops.multiply(x, x), True),
    "by a row": (lambda x, y: ops.multiply(ROW, x), True),
    "by a number": (lambda x, y: ops.multiply(x, 3), True),
    "divide by a row": (lambda x, y: ops.divide(x, ROW), True),
    "divide by a number": (lambda x, y: ops.divide(x, 4), True),
    "matmul": (lambda x, y: ops.matmul(x, ops.transpose(y)), True),
    "matmul dense": (lambda x, y: ops.matmul(x, np.ones((4, 2), "float32")), False),
    "dense matmul": (lambda x, y: ops.matmul(np.ones((2, 3), "float32"), x), False),
    "sum": (lambda x, y: ops.sum(x), True),
    "sum 0": (lambda x, y: ops.sum(x, axis=0), True),
    "sum all kept": (lambda x, y: ops.sum(x, axis=(0, -1), keepdims=True), True),
    "mean 1": (lambda x, y: ops.mean(x, axis=-1, keepdims=True), True),
    "reshape": (lambda x, y: ops.reshape(x, (2, -1)), True),
    "ravel": (lambda x, y: ops.ravel(x), True),
    "transpose": (lambda x, y: ops.transpose(x, (1, -2)), True),
    "swapaxes": (lambda x, y: ops.swapaxes(x, 0, -1), True),
    "expand_dims": (lambda x, y: ops.expand_dims(x, (0, -1)), True),
    "squeeze": (lambda x, y: ops.squeeze(ops.expand_dims(x, 1)), True),
    "broadcast_to": (lambda x, y: ops.broadcast_to(x, (2, 3, 4)), True),
    "concatenate": (lambda x, y: ops.concatenate([x, y], axis=-1), True),
    "concatenate dense": (lambda x, y: ops.concatenate([ROW[None], x]), False),
    "take rows": (lambda x, y: ops.take(x, [2, 0, -1], axis=0), True),
    "digitize": (lambda x, y: ops.digitize(x, [0.1, 0.4, 1.0]), True),
    "stop_gradient": (lambda x, y: ops.stop_gradient(x), True),
    "cast": (lambda x, y: ops.cast(x, "float16"), True),
}


@pytest.mark.parametrize("is_traced", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("name", CASES)
def test_operation_agrees_with_that_of_dense_tensors(name: str, is_traced: bool) -> None:
    operation, is_sparse = CASES[name]
    x, y = _sparse(), _other()

    found = (pb.jit(operation) if is_traced else operation)(x, y)

    expected = operation(x.to_dense(), y.to_dense())
    assert isinstance(found, COO) == is_sparse
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    _close(_dense(found), expected)


def test_elements_that_are_not_stored_are_divided_by_zero_and_nan() -> None:
    divisor = np.array([[0, np.nan, 0, 2], [0, 1, 1, 1], [1, 4, np.nan, 1]], "float32")

    found = ops.divide(_sparse(), divisor)

    assert isinstance(found, COO)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(_dense(found), _dense(_sparse()) / divisor)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_one_hot_leaves_out_what_names_no_class(axis: int) -> None:
    classes = np.array([[0, 2, -1], [3, 4, 1]])

    found = ops.one_hot(classes, 4, axis=axis, sparse=True)

    assert isinstance(found, COO)
    np.testing.assert_array_equal(_dense(found), ops.one_hot(classes, 4, axis=axis))


def test_multi_hot_has_a_one_for_what_occurs_twice() -> None:
    found = ops.multi_hot(np.array([[1, 1, -1], [5, 3, 0]]), 4, sparse=True)

    assert isinstance(found, COO)
    np.testing.assert_array_equal(_dense(found), [[0, 1, 0, 0], [1, 0, 0, 1]])


def test_bincount_counts_what_is_stored() -> None:
    x = COO([3, 0, 3, 7], [[0, 1], [1, 0], [0, 2], [2, 3]], (2, 3))  # the last holds nothing
    weights = COO([0.5, 2.0, 1.0, 9.0], x.indices, (2, 3))

    np.testing.assert_array_equal(_dense(ops.bincount(x)), [[0, 0, 0, 2], [1, 0, 0, 0]])
    found = ops.bincount(x, weights, minlength=5)
    np.testing.assert_array_equal(_dense(found), [[0, 0, 0, 1.5, 0], [2, 0, 0, 0, 0]])
    with pytest.raises(ValueError, match="same indices"):
        ops.bincount(x, COO([1.0], [[0, 0]], (2, 3)))
    with pytest.raises(ValueError, match="both sparse or both dense"):
        ops.bincount(x, np.ones((2, 3)))


@pytest.mark.parametrize("kind", ["csr_matrix", "csc_array", "coo_matrix", "lil_matrix"])
def test_matrices_of_scipy_become_sparse_tensors(kind: str) -> None:
    matrix = getattr(scipy.sparse, kind)(X.astype("float64"))

    tensor = ops.convert_to_tensor(matrix, dtype="float32")

    assert isinstance(tensor, COO)
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(_dense(tensor), X.toarray())
    assert isinstance(ops.convert_to_tensor(matrix, sparse=False), pb.Array)
    _close(ops.matmul(matrix, np.eye(WIDTH)), X.toarray())


def test_sparse_tensors_may_be_complex() -> None:
    z = sparse_arrays.from_host(
        np.array([1 + 2j, 3j, 1j]), np.array([[0], [2], [0]], "int32"), (3,)
    )

    assert isinstance(z.values, ComplexArray)
    np.testing.assert_array_equal(_dense(ops.conj(z)), [1 - 3j, 0, -3j])
    np.testing.assert_array_equal(_dense(ops.imag(z)), [3, 0, 3])


def test_what_has_no_sparse_form_says_how_to_go_on() -> None:
    with pytest.raises(SparseOperandError, match=r"f32\[3,4\].*convert_to_tensor\(x, sparse=False"):
        ops.softmax(_sparse())
    with pytest.raises(ValueError, match="zero is in the first bin"):
        ops.digitize(_sparse(), [-1.0, 1.0])
    with pytest.raises(ValueError, match="no ragged tensors"):
        ops.convert_to_tensor(_sparse(), ragged=True)


def test_symbolic_results_know_whether_they_are_sparse() -> None:
    x, y = keras.Input((4,), sparse=True), keras.Input((4,), sparse=True)

    assert layers.Add()([x, y]).sparse
    assert layers.Reshape((2, 2))(x).sparse
    assert not layers.Dense(3)(x).sparse
    assert not layers.Add()([x, keras.Input((4,))]).sparse
    found = compute_output_spec(lambda x, y: (ops.transpose(x), ops.add(x, y), ops.exp(x)), x, y)
    assert [(z.shape, z.sparse) for z in found] == [
        ((4, None), True), ((None, 4), True), ((None, 4), False)
    ]  # fmt: skip


def test_gradients_of_a_product_are_those_of_dense_tensors() -> None:
    kernel = keras.Variable(np.linspace(-1, 1, 8, dtype="float32").reshape(4, 2))
    found = []
    for x in (_sparse(), _sparse().to_dense()):
        with pb.GradientTape() as tape:
            loss = ops.sum(ops.square(ops.matmul(x, kernel)))
        found.append(np.asarray(tape.gradient(loss, kernel)))

    assert np.abs(found[0]).max() > 0.1
    _close(*found)


def test_sparse_gradient_updates_a_variable() -> None:
    gradient = COO(np.ones((2, 3), "float32"), [[0], [3]], (4, 3))
    variable, optimizer = keras.Variable(np.zeros((4, 3), "float32")), keras.optimizers.SGD(0.5)

    optimizer.apply([gradient], [variable])
    optimizer.apply([gradient], [variable])

    np.testing.assert_array_equal(variable, -_dense(gradient))


# Rows of sparse data


def _kinds() -> dict[str, Any]:
    twice = scipy.sparse.coo_matrix(X)
    order = np.random.default_rng(2).permutation(2 * twice.nnz)
    halves: Any = [np.tile(part, 2)[order] for part in (twice.data / 2, twice.row, twice.col)]
    split = scipy.sparse.coo_matrix((halves[0], (halves[1], halves[2])), X.shape)
    nowhere = np.array([[0, WIDTH], [-1, 0], [5, -1], [ROWS, 0]], "int32")
    values, indices, shape = sparse_arrays.host_parts(X)
    padded = COO(np.append(np.ones(4, "float32"), values), np.append(nowhere, indices, 0), shape)
    return {"csr": X, "unsorted twice": split, "padded": padded, "csc": X.tocsc()}


@pytest.mark.parametrize("kind", _kinds())
@pytest.mark.parametrize(
    "rows", [[5, 0, 5, 74, 15], [], [0, 15, 30]], ids=["some", "none", "empty"]
)
def test_rows_are_those_of_the_data(kind: str, rows: list[int]) -> None:
    data, chosen = Rows(_kinds()[kind]), np.array(rows, np.int32)

    batch = data.batch(chosen)
    in_loop = LoopRows.of(data).with_room(data.most(chosen[None]))
    taken = pb.jit(LoopRows.take)(in_loop, chosen)

    for found in (batch, taken):
        assert found.shape == (len(rows), WIDTH)
        assert found.is_unique == (kind != "unsorted twice")
        _close(_dense(found), X.toarray()[chosen])
        _close(_dense(ops.square(found)), np.square(X.toarray()[chosen]))


def test_rows_may_have_more_axes_of_both_kinds() -> None:
    values = np.arange(12, dtype="float32").reshape(6, 2)
    places = np.array([[2, 1], [0, 3], [2, 0], [0, 0], [3, 1], [2, 1]], "int32")
    x = COO(values, places, (4, 4, 2))
    data, chosen = Rows(x), np.array([3, 2, 1, 0], "int32")

    room = LoopRows.of(data).with_room(7)

    _close(_dense(data.batch(chosen)), _dense(x)[::-1])
    _close(_dense(room.take(pb.asarray(chosen))), _dense(x)[::-1])
    _close(_dense(data.batch(slice(1, 3))), _dense(x)[1:3])


def test_room_is_one_of_few_sizes_and_does_not_shrink() -> None:
    loop_rows = LoopRows.of(Rows(X))

    sizes = {n: loop_rows.with_room(n).slots.shape[0] for n in range(1, 2000)}

    assert all(n + n // 8 <= size < 1.29 * n + 8 for n, size in sizes.items())
    assert len({*sizes.values()}) < 60
    assert loop_rows.with_room(500).with_room(20).slots.shape[0] == sizes[500]
    assert [few_sizes(n) for n in (0, 8, 9, 64, 65)] == [8, 8, 16, 64, 128]


# Models


def _pair(**options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What one model does on sparse data, and the same on dense ones."""
    x = options.pop("x", X)
    compiled = {n: options.pop(n) for n in ("run_eagerly", "steps_per_execution") if n in options}
    found = []
    for data, is_sparse in ((x, True), (X.toarray(), False)):
        model = _model(is_sparse, **compiled)
        keras.utils.set_random_seed(2)
        history = model.fit(data, Y, verbose=0, batch_size=16, **{"epochs": 2, **options}).history
        weights = {f"weight {i}": w for i, w in enumerate(model.get_weights())}
        metrics = {"evaluate": model.evaluate(data, Y, verbose=0)}
        found.append({**history, **weights, **metrics, "y": model.predict(data, verbose=0)})
    return found[0], found[1]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"x": sparse_arrays.as_batch(X), "validation_split": 0.2},
        {
            "x": scipy.sparse.coo_matrix(X, dtype="float64"),
            "shuffle": "batch",
            "class_weight": {0: 1.0, 1: 2.0, 2: 0.5},
        },
        {"steps_per_epoch": 3, "steps_per_execution": 2, "validation_data": (X, Y), "epochs": 1},
        {"run_eagerly": True, "epochs": 1},
    ],
    ids=["csr", "split COO", "coo of float64", "steps", "eager"],
)
def test_training_on_sparse_data_is_that_on_dense_data(options: dict[str, Any]) -> None:
    sparse, dense = _pair(**options)

    assert sparse.keys() == dense.keys()
    for name, value in dense.items():
        np.testing.assert_allclose(sparse[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_single_batches_may_be_sparse() -> None:
    ours, theirs, dense = _model(), _model(sparse=False), X.toarray()

    for start in (0, 16, 32):
        rows = slice(start, start + 16)
        found = ours.train_on_batch(X[rows], Y[rows])
        _close(found, theirs.train_on_batch(dense[rows], Y[rows]))
    _close(ours.test_on_batch(X[:9], Y[:9]), theirs.test_on_batch(dense[:9], Y[:9]))
    _close(ours.predict_on_batch(X[:9]), theirs.predict_on_batch(dense[:9]))
    _close(ours(ops.convert_to_tensor(X[:9])), theirs(dense[:9]))


def test_calls_of_a_model_on_sparse_tensors_are_compiled() -> None:
    ours, theirs = _model(), _model(sparse=False)
    parts = [X[start : start + 16] for start in (0, 1, 2, 3)]
    assert len({part.nnz for part in parts}) > 2

    for part in parts:
        found = []
        for model, x in ((ours, ops.convert_to_tensor(part)), (theirs, part.toarray())):
            with pb.GradientTape() as tape:
                y = model(x)
                loss = ops.sum(ops.square(y))
            found.append([np.asarray(g) for g in tape.gradient(loss, model.trainable_variables)])
            found[-1].append(np.asarray(y))
        for ours_found, expected in zip(*found, strict=True):
            _close(ours_found, expected)

    programs = [model._model_calls._entries.programs for model in (ours, theirs)]
    assert [len(one) for one in programs] == [1, 1]


class _Traced(layers.Layer):
    """Counts how often its call is traced."""

    count = 0

    def call(self, x: Any) -> Any:
        type(self).count += 1
        return x


def test_a_step_is_compiled_for_few_numbers_of_elements() -> None:
    inputs = keras.Input((WIDTH,), sparse=True)
    model = keras.Model(inputs, layers.Dense(3)(_Traced()(inputs)))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rng = np.random.default_rng(3)
    rows = [rng.integers(0, ROWS, 16) for _ in range(30)]
    numbers = {X[chosen].nnz for chosen in rows}
    assert len(numbers) > 10

    _Traced.count = 0
    model.fit(((X[r], Y[r]) for r in rows), verbose=0, shuffle=False, steps_per_epoch=30)
    in_steps, _Traced.count = _Traced.count, 0
    model.fit(X, Y, batch_size=16, epochs=6, verbose=0)

    assert in_steps <= 3
    assert _Traced.count <= 4  # loop and last batch, for one or two sizes


def test_sparse_and_dense_inputs_go_together() -> None:
    sparse, dense = keras.Input((WIDTH,), sparse=True, name="a"), keras.Input((2,), name="b")
    hidden = layers.Concatenate()([layers.Dense(2)(layers.Add()([sparse, sparse])), dense])
    model = keras.Model({"a": sparse, "b": dense}, layers.Dense(1)(hidden))
    other = np.random.default_rng(4).random((ROWS, 2), "float32")
    model.compile("sgd", "mse")

    found = model.predict({"a": X, "b": other}, verbose=0)

    first, second = model.layers[-3 - 1], model.layers[-1]
    assert isinstance(second, layers.Dense)
    kernels = [layer for layer in model.layers if isinstance(layer, layers.Dense)]
    first = next(layer for layer in kernels if layer is not second)
    expected = np.hstack([2 * X.toarray() @ first.kernel + first.bias, other])
    _close(found, expected @ np.asarray(second.kernel) + second.bias)
    model.fit({"a": X, "b": other}, other[:, 0], verbose=0)


def test_encoding_of_categories_trains_as_the_dense_one() -> None:
    tokens = np.random.default_rng(5).integers(0, 20, (ROWS, 4))
    losses = []
    for is_sparse in (True, False):
        keras.utils.set_random_seed(1)
        inputs = keras.Input((4,), dtype="int32")
        encoded = layers.CategoryEncoding(20, "count", sparse=is_sparse)(inputs)
        model = keras.Model(inputs, layers.Dense(3, "softmax")(encoded))
        model.compile("adam", "sparse_categorical_crossentropy")
        losses.append(model.fit(tokens, Y, verbose=0, epochs=2).history["loss"])
        assert encoded.sparse == is_sparse

    _close(*losses)


def test_labels_may_be_sparse() -> None:
    labels = scipy.sparse.csr_matrix(np.eye(3, dtype="float32")[Y])
    found = []
    for y in (labels, labels.toarray()):
        model = _model()
        model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
        keras.utils.set_random_seed(2)
        history = model.fit(X, y, verbose=0).history
        found.append(
            [history["loss"][0], model.evaluate(X, y, verbose=0, return_dict=True)["loss"]]
        )

    _close(*found)


def test_a_model_saved_and_loaded_takes_sparse_data(tmp_path: Any) -> None:
    model = _model()
    model.train_on_batch(X[:8], Y[:8])

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")

    assert loaded.inputs[0].sparse
    _close(loaded.predict(X, verbose=0), model.predict(X, verbose=0))


@pytest.mark.parametrize("is_ours", [False, True], ids=["scipy", "COO"])
def test_a_loss_that_is_not_finite_names_the_row(is_ours: bool) -> None:
    bad = X.copy()
    bad.data[[X.indptr[8] - 1, X.indptr[20] - 1]] = np.nan

    with pytest.warns(UserWarning, match=r"Row 7 of `x` \(f32\[75,30\]\) holds nan, and so do 1"):
        _model().fit(ops.convert_to_tensor(bad) if is_ours else bad, Y, verbose=0)


def test_bad_data_are_refused() -> None:
    with pytest.raises(ValueError, match="arrays of no rows"):
        _model().fit(X[:0], Y[:0], verbose=0)
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 30"):
        _model().fit(X[:, :9], Y, verbose=0)
    with pytest.raises(ValueError, match="labels must be in"):
        _model().fit(X, Y + 1, verbose=0)


def test_generators_yield_sparse_tensors_of_any_kind() -> None:
    coo = ops.convert_to_tensor(X)
    adapter = GeneratorDataAdapter(iter([(X, Y), (coo, Y), (X.tolil(), Y)]))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batches = [*batches_of(adapter)]

    assert len(batches) == 3
    for x, y in batches:
        assert x.nse == few_sizes(X.nnz)
        np.testing.assert_array_equal(_dense(x), X.toarray())
        assert y is Y
