"""What a recurrent cell remembers: a digit read row by row, an empty wait, then the question.

How much of the loss's gradient gets back to each row decides what can be learned of it.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
import numpy as np
import pullback as pb
from pullback import datasets

UNITS = 24
WAIT = 20
EPOCHS = 5


def keep(gate):
    """A bias of 3 for a gate, so that it begins by keeping 95 % of the state at each step."""

    def initial(shape, dtype=None):
        bias = np.zeros(shape, "float32")
        bias[..., gate * UNITS : (gate + 1) * UNITS] = 3
        return bias

    return initial


CELLS = {
    "SimpleRNN": lambda: keras.layers.SimpleRNN(UNITS),
    "GRU, gate half open": lambda: keras.layers.GRU(UNITS),
    "GRU, gate open": lambda: keras.layers.GRU(UNITS, bias_initializer=keep(0)),
    "LSTM, gate open": lambda: keras.layers.LSTM(
        UNITS, bias_initializer=keep(1), unit_forget_bias=False
    ),
}


def digits():
    """Digits as sequences of 28 rows and ``WAIT`` empty ones."""
    (x, y), (x_test, y_test) = datasets.mnist10k()
    x, x_test = (np.pad(rows, ((0, 0), (0, WAIT), (0, 0))) for rows in (x[:2400], x_test[:1000]))
    return (x.astype("float32") / 255, y[:2400]), (x_test.astype("float32") / 255, y_test[:1000])


def create(name):
    """A classifier around one of the cells."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((28 + WAIT, 28)),
            CELLS[name](),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.Adam(0.007, clipnorm=1.0)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def gradient_norms(model, x, y):
    """The length of the loss's gradient by the rows that were read at each step."""

    @pb.jit
    def gradient(x):
        with pb.GradientTape() as tape:
            tape.watch(x)
            losses = keras.losses.sparse_categorical_crossentropy(y, model(x))
            loss = keras.ops.mean(losses)
        return tape.gradient(loss, x)

    return np.sqrt(np.square(np.asarray(gradient(x))).sum(axis=(0, 2)))


def draw(norms, accuracies, path):
    """Gradients by time step before training, and the accuracy of each epoch."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for name, values in norms.items():
        left.plot(range(1, len(values) + 1), values, label=name)
        right.plot(range(1, EPOCHS + 1), accuracies[name], marker=".")
    left.axvspan(29, 28 + WAIT, color="0.93")
    left.set(xlabel="time step (gray: the wait)", ylabel="length of the gradient", yscale="log")
    left.legend()
    right.set(xlabel="epoch", ylabel="training accuracy", ylim=(0, 1), xticks=range(1, EPOCHS + 1))
    figure.savefig(path, dpi=80)
    plt.close(figure)


def main():
    """Gradients before training and accuracies after it, for four cells."""
    (x, y), (x_test, y_test) = digits()
    norms, accuracies = {}, {}
    print("cell                  gradient: last row   row 8   accuracy")
    for name in CELLS:
        model = create(name)
        norms[name] = gradient_norms(model, x[:64], y[:64])
        accuracies[name] = model.fit(x, y, epochs=EPOCHS, verbose=0).history["accuracy"]
        accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)[1]
        last, eighth = norms[name][[-1, 7]]
        print(f"{name:19}   {last:18.0e}   {eighth:.0e}   {accuracy:8.2f}")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(norms, accuracies, folder / "lstm_gru.png")


if __name__ == "__main__":
    main()
