"""Augmentation: each step trains on digits that were shifted, mirrored or made noisy at random.

The network learns to ignore what was varied, so vary only what does not change the answer.
"""

import sys
from pathlib import Path

import pullback.keras  # chooses the backend; the rest is stock Keras
import keras
import matplotlib.pyplot as plt
import numpy as np
from pullback import datasets

FEW = 500
SHIFT = 3  # pixels


def augmentations():
    """A layer that draws anew in each step of training, and does nothing at other times."""
    layers = keras.layers
    return {
        "none": None,
        "shift": layers.RandomTranslation(SHIFT / 28, SHIFT / 28, fill_mode="constant", seed=7),
        "flip": layers.RandomFlip("horizontal", seed=7),
        "noise": layers.GaussianNoise(0.5, seed=7),
    }


def create(augment):
    """A classifier with ``augment`` in front, inside the compiled step."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential()
    model.add(keras.layers.Input((28, 28, 1)))
    model.add(keras.layers.Rescaling(1 / 255))
    if augment is not None:
        model.add(augment)
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(128, activation="relu"))
    model.add(keras.layers.Dense(10, activation="softmax"))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def train(model):
    """Train on the first 500 digits; returns the model."""
    (x, y), _ = datasets.mnist10k()
    model.fit(x[:FEW, :, :, None], y[:FEW], batch_size=50, epochs=40, verbose=0)
    return model


def variants():
    """The test digits as they are, and changed in the three ways: [2000, 28, 28, 1] each."""
    _, (x, _) = datasets.mnist10k()
    rng = np.random.default_rng(0)
    moves = rng.integers(-SHIFT, SHIFT + 1, (len(x), 2))
    shifted = [np.roll(digit, move, (0, 1)) for digit, move in zip(x, moves, strict=True)]
    noisy = x + rng.normal(0, 0.5 * 255, x.shape)
    kinds = {"plain": x, "shifted": np.stack(shifted), "mirrored": x[:, :, ::-1], "noisy": noisy}
    return {name: pictures[..., None].astype("float32") for name, pictures in kinds.items()}


def draw(layers, path):
    """One digit, and what each layer makes of it in five steps."""
    _, (x, y) = datasets.mnist10k()
    digit = x[y == 2][:1, :, :, None].astype("float32") / 255
    figure, axes = plt.subplots(3, 6, figsize=(5.4, 2.9), layout="constrained")
    for row, name in zip(axes, ("shift", "flip", "noise"), strict=True):
        pictures = [digit] + [layers[name](digit, training=True) for _ in row[1:]]
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(np.asarray(picture)[0, :, :, 0], cmap="gray_r", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
        row[0].set_ylabel(name)
    axes[0, 0].set_title("the digit", fontsize=9)
    axes[0, 1].set_title("step 1", fontsize=9)
    axes[0, 5].set_title("step 5", fontsize=9)
    figure.savefig(path, dpi=64)


def main():
    """Train with each augmentation, and test each network on each kind of digits."""
    _, (_, y_test) = datasets.mnist10k()
    kinds = variants()
    print("trained with:  accuracy on " + " ".join(f"{kind:>9}" for kind in kinds))
    for name, layer in augmentations().items():
        model = train(create(layer))
        right = [model.evaluate(x, y_test, batch_size=500, verbose=0)[1] for x in kinds.values()]
        print(f"{name:26} " + " ".join(f"{share:9.3f}" for share in right))
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "output")
    folder.mkdir(parents=True, exist_ok=True)
    draw(augmentations(), folder / "augmentation.png")


if __name__ == "__main__":
    main()
