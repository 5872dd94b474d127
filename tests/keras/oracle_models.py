"""Trains a small stock Keras model and writes the loss of every step and the final weights.

A program of its own, since a process has one backend: ``python oracle_models.py MODEL OUT``.
"""

import sys

import numpy as np


def mlp(keras, rng):
    """Two layers with dropout: random numbers inside the step."""
    layers = keras.layers
    model = keras.Sequential(
        [layers.Dense(32, "relu"), layers.Dropout(0.3), layers.Dense(5, "softmax")]
    )
    return model, rng.normal(size=(160, 12)), rng.integers(0, 5, 160)


def cnn(keras, rng):
    """Convolution, batch normalisation, pooling: moving statistics beside the weights."""
    layers = keras.layers
    model = keras.Sequential(
        [
            # No bias: its gradient is zero but for rounding, which Adam would blow up.
            layers.Conv2D(6, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, strides=2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, "softmax"),
        ]
    )
    return model, rng.normal(size=(160, 10, 10, 2)), rng.integers(0, 4, 160)


def lstm(keras, rng):
    """An embedding and a recurrent layer: a scan inside the step's scan."""
    layers = keras.layers
    model = keras.Sequential([layers.Embedding(11, 6), layers.LSTM(8), layers.Dense(3, "softmax")])
    return model, rng.integers(0, 11, (160, 7)), rng.integers(0, 3, 160)


def transformer(keras, rng):
    """Two layers of attention with layer normalisation and residual connections."""
    layers = keras.layers
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 8)(tokens)
    for _ in range(2):
        y = layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)
        x = layers.LayerNormalization()(x + y)
        y = layers.Dense(8)(layers.Dense(16, "gelu")(x))
        x = layers.LayerNormalization()(x + y)
    outputs = layers.Dense(9, "softmax")(x)
    return keras.Model(tokens, outputs), rng.integers(0, 9, (160, 6)), rng.integers(0, 9, (160, 6))


def float8(keras, rng):
    """Operands rounded to 8 bits, with scales that follow what was largest lately."""
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Dense(32, "relu", dtype="float8_from_float32"),
            layers.Dense(5, "softmax", dtype="float8_from_float32"),
        ]
    )
    return model, rng.normal(size=(160, 12)), rng.integers(0, 5, 160)


MODELS = {f.__name__: f for f in (mlp, cnn, lstm, transformer, float8)}


def main(name, out):
    """Train for 100 steps; in pairs of a step and a callback, so that every loss is seen."""
    import keras

    keras.utils.set_random_seed(3)
    model, x, y = MODELS[name](keras, np.random.default_rng(0))
    if x.dtype.kind == "f":
        x = x.astype("float32")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    class Losses(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.seen = getattr(self, "seen", [])

        def on_train_batch_end(self, batch, logs=None):
            self.seen.append(float(logs["loss"]))

    losses = Losses()
    model.fit(x, y, batch_size=16, epochs=10, verbose=0, callbacks=[losses])
    weights = {f"w{i}": w for i, w in enumerate(model.get_weights())}
    np.savez(out, losses=losses.seen, **weights)


if __name__ == "__main__":
    main(*sys.argv[1:])
