"""Which learning rate? A range test: some steps with a rate that rises, and the loss of each.

The test leaves the model as it was. Then the rate it suggests, and rates around it, are tried.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
from pullback import datasets
from pullback.learning_rate import find_learning_rate

FACTORS = (0.01, 0.1, 1, 10, 100)


def create(rate):
    """A classifier whose first weights are the same each time."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.Input((28, 28)),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Flatten(),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.Adam(rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def main():
    """Find a rate, draw the test, train with rates below, at and above what it suggests."""
    (x, y), (x_test, y_test) = datasets.mnist10k()
    model = create(0.001)
    found = find_learning_rate(model, x, y)
    print(f"tried {found.rates[0]:.0e} to {found.rates[-1]:.0e} in {len(found.rates)} steps")
    print(f"suggestion: {found.suggestion:.1e}")
    print("factor   rate    loss   accuracy")
    for factor in FACTORS:
        rate = factor * found.suggestion
        model = create(rate)
        loss = model.fit(x, y, epochs=2, verbose=0).history["loss"][-1]
        accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)[1]
        print(f"{factor:6}   {rate:.0e}  {loss:5.2f}   {accuracy:8.3f}")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    found.plot(folder / "learning_rate_finder.png")


if __name__ == "__main__":
    main()
