"""Learning-rate schedules: large steps first, small steps last, on the same digits.

Four schedules that the compiled step computes from its count of steps, and two callbacks that set
the rate between epochs.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
import numpy as np
from pullback import datasets

EPOCHS = 6
STEPS = EPOCHS * 250  # 8,000 digits in batches of 32
START = 0.1
decays = keras.optimizers.schedules
SCHEDULES = {
    "constant": lambda: START,
    "ExponentialDecay": lambda: decays.ExponentialDecay(START, STEPS, 0.02),
    "InverseTimeDecay": lambda: decays.InverseTimeDecay(START, STEPS, 20),
    "PiecewiseConstantDecay": lambda: decays.PiecewiseConstantDecay(
        [STEPS // 3, 2 * STEPS // 3], [START, START / 4, START / 16]
    ),
    "CosineDecay, warmup": lambda: decays.CosineDecay(
        0.0, STEPS - 150, warmup_target=START, warmup_steps=150
    ),
}
CALLBACKS = {
    "LearningRateScheduler": lambda: keras.callbacks.LearningRateScheduler(
        lambda epoch, rate: rate if epoch < 2 else rate / 2
    ),
    "ReduceLROnPlateau": lambda: keras.callbacks.ReduceLROnPlateau(
        monitor="loss", factor=0.2, patience=0, min_delta=0.05
    ),
}


def create(rate):
    """A classifier whose first weights are the same each time."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.SGD(rate, momentum=0.9)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(rate, callbacks=()):
    """The rate every ten steps, the losses of the epochs, and the accuracy on other digits."""
    (x, y), (x_test, y_test) = datasets.mnist10k()
    model = create(rate)
    rates = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: rates.append(float(model.optimizer.learning_rate))
    )
    history = model.fit(x, y, epochs=EPOCHS, verbose=0, callbacks=[*callbacks, note]).history
    if callable(rate):
        rates = [float(rate(step)) for step in range(0, STEPS, 10)]
    else:
        rates = list(np.repeat(rates, STEPS // EPOCHS // 10))
    return rates, history["loss"], model.evaluate(x_test, y_test, batch_size=500, verbose=0)[1]


def draw(runs, path):
    """The rates beside the loss of each epoch."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for name, (rates, losses, _) in runs.items():
        style = "k--" if name == "constant" else "-"
        left.plot(np.arange(0, STEPS, 10) * EPOCHS / STEPS, rates, style)
        right.plot(range(1, EPOCHS + 1), losses, style, marker=".", label=name)
    left.set(xlabel="epoch", ylabel="learning rate")
    right.set(xlabel="epoch", ylabel="training loss", yscale="log")
    right.set_yticks([0.1, 0.2, 0.3, 0.5], ["0.1", "0.2", "0.3", "0.5"])
    right.minorticks_off()
    right.legend(fontsize="small")
    figure.savefig(path, dpi=72)
    plt.close(figure)


def main():
    """Train with each schedule, print the table, draw rates and losses."""
    runs = {name: train(make()) for name, make in SCHEDULES.items()}
    runs |= {name: train(START, [make()]) for name, make in CALLBACKS.items()}
    print("schedule                 at first    at last   loss   accuracy")
    for name, (rates, losses, accuracy) in runs.items():
        print(f"{name:22}   {rates[0]:8.4f}   {rates[-1]:8.4f}   {losses[-1]:.2f}   {accuracy:.3f}")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(runs, folder / "schedules.png")


if __name__ == "__main__":
    main()
