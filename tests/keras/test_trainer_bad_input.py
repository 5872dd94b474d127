"""What a user may get wrong: a clear error, a usable model, nothing lost."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import pullback as pb
from keras_pullback.src.checks import label_ranges


@pytest.fixture(autouse=True, scope="module")
def _fresh():
    yield
    keras.backend.clear_session()


def _classifier(loss="sparse_categorical_crossentropy", classes=10, width=8):
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [keras.layers.Input((width,)), keras.layers.Dense(classes, activation="softmax")]
    )
    model.compile("sgd", loss)
    return model


def _data(rows=40, width=8):
    rng = np.random.default_rng(0)
    return rng.normal(size=(rows, width)).astype("float32"), (np.arange(rows) % 10).astype("int32")


# Labels


METHODS = {
    "fit": lambda model, x, y: model.fit(x, y, batch_size=8, verbose=0),
    "evaluate": lambda model, x, y: model.evaluate(x, y, batch_size=8, verbose=0),
    "train_on_batch": lambda model, x, y: model.train_on_batch(x, y),
    "test_on_batch": lambda model, x, y: model.test_on_batch(x, y),
    "generator": lambda model, x, y: model.fit((b for b in [(x, y)]), verbose=0, shuffle=False),
    "validation": lambda model, x, y: model.fit(x[:16], y[:16], validation_data=(x, y), verbose=0),
}


@pytest.mark.parametrize("method", METHODS)
def test_label_out_of_range_is_named_with_its_row(method):
    x, y = _data()
    y[17] = 10

    with pytest.raises(ValueError, match=r"in \[0, 10\), got 10 in row 17 of .* \(i32\[40\]\)"):
        METHODS[method](_classifier(), x, y)


@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("int8", (40,)), ("uint8", (40, 1)), (">i4", (40,)), ("int64", (40, 1)), ("float32", (40,))],
)
def test_labels_of_any_dtype_and_shape_are_checked(dtype, shape):
    x, y = _data()
    good = y.astype(dtype).reshape(shape)
    bad = good.copy()
    bad[3] = 11
    model = _classifier()

    model.evaluate(x, good, verbose=0)
    with pytest.raises(ValueError, match=r"got 11(\.0)? in row 3 of"):
        model.evaluate(x, bad, verbose=0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda y: y + 1, r"got 10 in row 9 .*, and 3 more .* counted from 1: subtract 1"),
        (lambda y: np.where(y == 4, -1, y), r"got -1 in row 4 .*ignore_class=-1"),
        (lambda y: y * 3, r"got 12 in row 4 .* give the last layer 28 units"),
        (lambda y: np.where(y == 4, np.nan, y), r"got nan in row 4 .* Mend the labels$"),
        (lambda y: y * 30 - 5, r"got -5 in row 0 .* Mend the labels$"),
    ],
)
def test_message_says_how_to_mend_labels(change, text):
    x, y = _data()

    with pytest.raises(ValueError, match=text):
        _classifier().fit(x, change(y), verbose=0)


def test_nothing_is_trained_when_a_label_is_out_of_range():
    x, y = _data()
    model = _classifier()
    before = model.get_weights()

    with pytest.raises(ValueError, match="labels must be in"):
        model.fit(x, y + 1, batch_size=8, verbose=0)

    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert int(model.optimizer.iterations) == 0
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])


def test_labels_of_positions_are_named_by_position():
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.layers.Input((5, 3)), keras.layers.Dense(4)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    y = np.zeros((6, 5), "int32")
    y[2, 3] = 4

    with pytest.raises(ValueError, match=r"got 4 in row 2, at \[2, 3\], of y \(i32\[6,5\]\)"):
        model.fit(np.zeros((6, 5, 3), "float32"), y, verbose=0)


def test_ignored_class_is_exempt():
    x, y = _data()
    y[5] = -1
    model = _classifier(keras.losses.SparseCategoricalCrossentropy(ignore_class=-1))

    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])
    y[6] = -2
    with pytest.raises(ValueError, match="got -2 in row 6"):
        model.fit(x, y, verbose=0)


@pytest.mark.parametrize("names", [list, dict])
def test_labels_of_several_outputs_are_told_apart(names):
    x, y = _data()
    inputs = keras.Input((8,))
    a, b = keras.layers.Dense(10, name="a")(inputs), keras.layers.Dense(3, name="b")(inputs)
    model = keras.Model(inputs, {"a": a, "b": b} if names is dict else [a, b])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", {"a": loss, "b": loss} if names is dict else [loss, loss])

    def labels(b):
        return {"a": y, "b": b} if names is dict else [y, b]

    model.fit(x, labels(y % 3), verbose=0)
    with pytest.raises(ValueError, match=r"in \[0, 3\), got 3 in row 3"):
        model.fit(x, labels(y), verbose=0)


def test_labels_by_name_for_a_list_of_outputs():
    """Keras takes them by the outputs' names, in whatever order these come."""
    x, y = _data()
    inputs = keras.Input((8,))
    outputs = [keras.layers.Dense(10, name="z")(inputs), keras.layers.Dense(3, name="a")(inputs)]
    model = keras.Model(inputs, outputs)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", {"z": loss, "a": loss})

    model.fit(x, {"z": y, "a": y % 3}, verbose=0)
    with pytest.raises(ValueError, match=r"in \[0, 3\), got 3 in row 3"):
        model.fit(x, {"z": y % 3, "a": y}, verbose=0)


def test_other_losses_and_own_steps_take_any_labels():
    """What a user's own code does with labels before the loss is not known."""
    x, y = _data()

    class Shifted(keras.Sequential):
        def train_step(self, data):
            x, y = data
            return super().train_step((x, y - 1))

    shifted = Shifted([keras.layers.Input((8,)), keras.layers.Dense(10, activation="softmax")])
    shifted.compile("sgd", "sparse_categorical_crossentropy")
    regression = keras.Sequential([keras.layers.Dense(1)])
    regression.compile("adam", "mse")

    assert np.isfinite(shifted.fit(x, y + 1, verbose=0).history["loss"][0])
    assert np.isfinite(regression.fit(x, y * 100.0, verbose=0).history["loss"][0])


def test_label_ranges_need_a_built_loss():
    assert label_ranges(None, None, np.zeros(3), np.zeros((3, 2))) == ()


# Sizes and shapes


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_no_rows_are_an_error_that_says_so(method):
    x, y = _data(0)
    model = _classifier()
    arguments = (x,) if method == "predict" else (x, y)

    with pytest.raises(ValueError, match=rf"`{method}` was given arrays of no rows: x: f32\[0,8\]"):
        getattr(model, method)(*arguments, verbose=0)


def test_no_validation_rows_are_an_error():
    x, y = _data()

    with pytest.raises(ValueError, match="arrays of no rows"):
        _classifier().fit(x, y, validation_data=(x[:0], y[:0]), verbose=0)


@pytest.mark.parametrize("split", [0.999, 1.0])
def test_split_that_leaves_nothing_to_train_on(split):
    x, y = _data(3)

    with pytest.raises(ValueError, match="not sufficient to split"):
        _classifier().fit(x, y, validation_split=split, verbose=0)


def test_empty_generator_and_empty_dataset():
    class Nothing(keras.utils.PyDataset):
        def __len__(self):
            return 0

        def __getitem__(self, index):
            raise IndexError(index)

    with pytest.raises(ValueError, match="at least one batch"):
        _classifier().fit((row for row in np.zeros((0, 8))), verbose=0, shuffle=False)
    with pytest.raises(ValueError, match=r"data of no batches.*Pass at least one"):
        _classifier().fit(Nothing(), verbose=0)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("batch_size", 0),
        ("batch_size", -1),
        ("batch_size", 2.5),
        ("steps_per_epoch", 0),
        ("validation_steps", -3),
        ("validation_batch_size", "8"),
    ],
)
def test_sizes_are_positive_integers(name, size):
    x, y = _data()

    with pytest.raises(ValueError, match=rf"`{name}` is {size!r}, expected an integer of at least"):
        _classifier().fit(x, y, validation_data=(x, y), verbose=0, **{name: size})


def test_sizes_of_evaluate_and_predict():
    x, y = _data()

    with pytest.raises(ValueError, match="`steps` is 0"):
        _classifier().evaluate(x, y, steps=0, verbose=0)
    with pytest.raises(ValueError, match="`batch_size` is 0"):
        _classifier().predict(x, batch_size=0, verbose=0)
    assert _classifier().predict(x, batch_size=np.int64(8), verbose=0).shape == (40, 10)


def test_batch_larger_than_the_data_takes_them_all():
    x, y = _data()
    model = _classifier()

    history = model.fit(x, y, batch_size=64, epochs=2, verbose=0)

    assert int(model.optimizer.iterations) == 2
    assert history.history["loss"][1] < history.history["loss"][0]


def test_missing_labels_are_named():
    x, _ = _data()

    with pytest.raises(ValueError, match=r"`fit` was given no labels `y`, only x: f32\[40,8\]"):
        _classifier().fit(x, verbose=0)
    with pytest.raises(ValueError, match="`evaluate` was given no labels"):
        _classifier().evaluate(x, verbose=0)


def test_strings_are_refused_with_their_type():
    _, y = _data()

    with pytest.raises(ValueError, match=r"x: <U2\[40\], y: i32\[40\], expected arrays of numbers"):
        _classifier().fit(np.array(["ab"] * 40), y, verbose=0)


def test_arrays_of_different_lengths():
    x, y = _data()

    with pytest.raises(ValueError, match="same number of samples"):
        _classifier().fit(x, y[:30], verbose=0)


def test_wrong_width_names_the_layer():
    x, y = _data(width=7)

    with pytest.raises(ValueError, match=r"layer 'dense.*expected axis -1 .* value 8"):
        _classifier().fit(x, y, verbose=0)


@pytest.mark.parametrize("loss", ["mse", "sparse_categorical_crossentropy"])
def test_labels_of_another_shape_are_shown_beside_the_output(loss):
    x, _ = _data()

    with pytest.raises(ValueError, match="shape") as caught:
        _classifier(loss).fit(x, np.zeros((40, 3), "float32"), verbose=0)

    expected = "in the loss of y: f32[32,3] and the model's output: f32[32,10]"
    assert expected in caught.value.__notes__


def test_shape_error_in_a_users_layer_shows_types_and_the_layer():
    class Product(keras.layers.Layer):
        def call(self, x):
            return x @ keras.ops.ones((9, 3))

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.product = Product()

        def call(self, x):
            return self.product(x)

    x, y = _data()
    model = Model()
    model.compile("sgd", "mse")

    with pytest.raises(pb.errors.ShapeError, match=r"f32\[32,8\] and f32\[9,3\]") as caught:
        model.fit(x, y, verbose=0)

    assert "Product.call()" in str(caught.value)


# Data and callbacks that fail in mid-epoch


def test_generator_that_raises_leaves_the_steps_before_it():
    x, y = _data()
    model = _classifier()

    def batches():
        for i in range(3):
            yield x[8 * i : 8 * i + 8], y[8 * i : 8 * i + 8]
        raise OSError("disk is gone")

    with pytest.raises(OSError, match="disk is gone"):
        model.fit(batches(), steps_per_epoch=5, verbose=0, shuffle=False)

    assert int(model.optimizer.iterations) == 3
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])


def test_generator_that_ends_early_is_warned_of_and_its_steps_count():
    x, y = _data()
    model = _classifier()
    batches = ((x[8 * i : 8 * i + 8], y[8 * i : 8 * i + 8]) for i in range(3))

    with pytest.warns(UserWarning, match="ran out of data"):
        history = model.fit(batches, steps_per_epoch=5, verbose=0, shuffle=False)

    assert int(model.optimizer.iterations) == 3
    assert np.isfinite(history.history["loss"][0])


@pytest.mark.parametrize("hook", ["on_train_batch_begin", "on_train_batch_end"])
def test_callback_that_raises_leaves_the_steps_before_it(hook):
    x, y = _data(80)
    model = _classifier()

    def fail(batch, logs=None):
        if batch == 4:
            raise RuntimeError("callback failed")

    callback = keras.callbacks.LambdaCallback(**{hook: fail})
    with pytest.raises(RuntimeError, match="callback failed"):
        model.fit(x, y, batch_size=8, verbose=0, callbacks=[callback])

    assert int(model.optimizer.iterations) == (4 if hook.endswith("begin") else 5)
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])


def test_callback_that_raises_at_the_end_of_an_epoch_leaves_the_epoch():
    x, y = _data()
    model = _classifier()

    def fail(epoch, logs=None):
        raise RuntimeError("callback failed")

    callback = keras.callbacks.LambdaCallback(on_epoch_end=fail)
    with pytest.raises(RuntimeError, match="callback failed"):
        model.fit(x, y, batch_size=8, epochs=3, verbose=0, callbacks=[callback])

    assert int(model.optimizer.iterations) == 5
    assert model.predict(x, verbose=0).shape == (40, 10)


@pytest.mark.filterwarnings("ignore:`loss` is")
def test_numbers_that_are_not_finite_in_data_reach_the_loss():
    x, y = _data()
    x[20, 3] = np.inf

    history = _classifier().fit(x, y, batch_size=8, shuffle=False, verbose=0)

    assert np.isnan(history.history["loss"][0])
