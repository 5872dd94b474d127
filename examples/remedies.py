"""Remedies: what helps against vanishing gradients, and what against learning by heart.

Ten hidden layers, then one wide layer on few digits: without any remedy, and with each.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
from pullback import datasets

DEPTH = 10
FEW = 500
EPOCHS = 40
#: Activation, initial weights, batch normalisation.
DEEP = {
    "sigmoid": ("sigmoid", "glorot_uniform", False),
    "ReLU": ("relu", "glorot_uniform", False),
    "ReLU, He weights": ("relu", "he_normal", False),
    "sigmoid, batch norm.": ("sigmoid", "glorot_uniform", True),
}
WIDE = ("none", "L2", "dropout", "augmentation", "early stopping")


def create_deep(activation, initializer, normalise):
    """Ten narrow hidden layers, trained by plain gradient descent."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential()
    model.add(keras.layers.Input((28, 28)))
    model.add(keras.layers.Rescaling(1 / 255))
    model.add(keras.layers.Flatten())
    for _ in range(DEPTH):
        model.add(keras.layers.Dense(32, kernel_initializer=initializer))
        if normalise:
            model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.Activation(activation))
    model.add(keras.layers.Dense(10, activation="softmax"))
    optimizer = keras.optimizers.SGD(0.05)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def create_wide(remedy):
    """One hidden layer, wide enough to learn 500 digits by heart, with a remedy or none."""
    keras.utils.set_random_seed(0)
    penalty = keras.regularizers.L2(0.002) if remedy == "L2" else None
    model = keras.Sequential()
    model.add(keras.layers.Input((28, 28, 1)))
    model.add(keras.layers.Rescaling(1 / 255))
    if remedy == "augmentation":
        model.add(keras.layers.RandomTranslation(0.1, 0.1, fill_mode="constant"))
    model.add(keras.layers.Flatten())
    if remedy == "dropout":
        model.add(keras.layers.Dropout(0.4))
    model.add(keras.layers.Dense(128, activation="relu", kernel_regularizer=penalty))
    if remedy == "dropout":
        model.add(keras.layers.Dropout(0.5))
    model.add(keras.layers.Dense(10, activation="softmax", kernel_regularizer=penalty))
    loss = "sparse_categorical_crossentropy"
    model.compile("adam", loss, metrics=["accuracy", loss])
    return model


def train_wide(remedy):
    """Train on 500 digits, look at 1,000 others after each epoch; return model and history."""
    (x, y), _ = datasets.mnist10k()
    x = x[..., None]
    stop = keras.callbacks.EarlyStopping(
        monitor="val_sparse_categorical_crossentropy",
        mode="min",
        patience=5,
        restore_best_weights=True,
    )
    model = create_wide(remedy)
    history = model.fit(
        x[:FEW],
        y[:FEW],
        batch_size=50,
        epochs=EPOCHS,
        validation_data=(x[FEW : 3 * FEW], y[FEW : 3 * FEW]),
        validation_batch_size=500,
        callbacks=[stop] if remedy == "early stopping" else [],
        verbose=0,
    ).history
    return model, history


def draw(deep, wide, path):
    """The loss in training of the deep networks, and on other digits of the wide ones."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for name, history in deep.items():
        left.plot(range(1, len(history["loss"]) + 1), history["loss"], "o-", label=name)
    left.set(title="ten hidden layers: vanishing gradients", ylabel="loss in training")
    left.set(ylim=0, xticks=range(1, 6))
    for name, history in wide.items():
        losses = history["val_sparse_categorical_crossentropy"]
        right.plot(range(1, len(losses) + 1), losses, label=name)
        if name == "early stopping":
            right.plot(len(losses), losses[-1], "C4s")
    right.set(title="500 digits: learning by heart", ylabel="loss on other digits", ylim=(0.3, 0.8))
    for axis in (left, right):
        axis.set_xlabel("epoch")
        axis.legend(frameon=False, fontsize=8)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=75)


def main():
    """Train every network, say how well it reads the test digits."""
    (x, y), (x_test, y_test) = datasets.mnist10k()
    deep, wide = {}, {}
    print("ten hidden layers       test accuracy")
    for name, choices in DEEP.items():
        model = create_deep(*choices)
        deep[name] = model.fit(x, y, batch_size=50, epochs=5, verbose=0).history
        accuracy = model.evaluate(x_test, y_test, batch_size=500, verbose=0)[1]
        print(f"{name:20} {accuracy:16.3f}")
    print("500 digits              test accuracy    loss")
    for name in WIDE:
        model, wide[name] = train_wide(name)
        _, accuracy, loss = model.evaluate(x_test[..., None], y_test, batch_size=500, verbose=0)
        print(f"{name:20} {accuracy:16.3f} {loss:7.2f}")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(deep, wide, folder / "remedies.png")


if __name__ == "__main__":
    main()
