"""``python -m pullback.demo``: train, then print the epochs, the confusion matrix, the accuracy.

Imports the rest of the folder once the extra's libraries are known to be there.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

EXTRA = ("rich", "matplotlib")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the demo with these command-line arguments."""
    options = _parser().parse_args(arguments)
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"pullback.demo needs {' and '.join(missing)}, of the extra 'demo': "
            'pip install "pullback[demo]"'
        )
    with _writing_to(options.output):
        options.output.mkdir(parents=True, exist_ok=True)
    _run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pullback.demo",
        description="Train the classifier 784-10(relu)-10(softmax) on handwritten digits, in "
        "Keras. KERAS_BACKEND=jax (or another that is installed) trains it there instead.",
    )
    parser.add_argument("--epochs", type=_positive, default=10, help="default 10")
    parser.add_argument("--batch", type=_positive, default=32, help="rows of a step; default 32")
    parser.add_argument("--seed", type=_seed, default=5, help="of weights and order; default 5")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("output"),
        help="folder of the pictures and the model; default output",
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of at least 1")
    return int(text)


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 32:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer of 0 to {(1 << 32) - 1}")
    return int(text)


@contextlib.contextmanager
def _writing_to(folder: Path) -> Iterator[None]:
    """End the program with a message if the block can't write to the folder."""
    try:
        yield
    except OSError as error:
        sys.exit(f"cannot write to {folder}: {error.strerror or error}")


def _run(options: argparse.Namespace) -> None:
    from rich.console import Console

    from pullback import config, datasets, keras
    from pullback.demo import picture, report
    from pullback.demo.train import as_rows, new_model, save

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without lines and dots gets "?"
    console = Console(highlight=False)
    (images, digits), (test_images, test_digits) = datasets.mnist10k()
    training, testing = as_rows(images, digits), as_rows(test_images, test_digits)
    console.print(
        f"{len(digits):,} digits to train, {len(test_digits):,} to test; "
        f"784-10-10, Adam, batch {options.batch}\n"
        f"Keras {keras.__version__} on {keras.backend.backend()}, "
        f"threads {config.settings().threads}"
    )
    model = new_model(options.seed)
    epochs = report.train_with_progress(
        console, model, training, testing, epochs=options.epochs, batch=options.batch
    )
    console.print(report.epoch_table(epochs))

    predicted = model.predict(testing[0], verbose=0).argmax(axis=1)
    console.print(report.confusion_table(report.confusion_matrix(test_digits, predicted)))
    paths = [options.output / name for name in ("digits.png", "loss.png", "model.keras")]
    with _writing_to(options.output):
        picture.save_digits(paths[0], test_images, test_digits, predicted)
        picture.save_curves(paths[1], epochs)
        save(model, paths[2])
    console.print(f"pictures: {paths[0]}, {paths[1]}", soft_wrap=True)
    console.print(f"trained model: {paths[2]}", soft_wrap=True)
    _, accuracy = model.evaluate(*testing, verbose=0)
    console.print(f"test accuracy: {accuracy:.4f}")


if __name__ == "__main__":
    main()
