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
    from pullback.datasets import TRAIN_ROWS

    if options.batch > TRAIN_ROWS:
        sys.exit(f"--batch is {options.batch}, expected 1 to {TRAIN_ROWS}, the rows to train on")
    with _writing_to(options.output):
        options.output.mkdir(parents=True, exist_ok=True)
    _run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pullback.demo",
        description="Train the classifier 784-10(relu)-10(softmax) on handwritten digits.",
    )
    parser.add_argument("--epochs", type=_positive, default=10, help="default 10")
    parser.add_argument("--batch", type=_positive, default=32, help="rows of a step; default 32")
    parser.add_argument("--seed", type=_seed, default=0, help="of weights and order; default 0")
    parser.add_argument(
        "--output", type=Path, default=Path("output"), help="folder of the picture; default output"
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

    from pullback import config, datasets
    from pullback.demo import picture, report
    from pullback.demo.train import Classifier

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without lines and dots gets "?"
    console = Console(highlight=False)
    training, testing = datasets.mnist10k()
    classifier = Classifier(training, testing, options.batch, options.seed)
    console.print(
        f"{len(training[0]):,} digits to train, {len(testing[0]):,} to test; "
        f"784-10-10, Adam, batch {options.batch}, threads {config.settings().threads}"
    )
    with console.status("compiling the epoch"):
        seconds = classifier.compile()
    console.print(f"ready in {seconds:.2f} s: traced, differentiated, compiled or found compiled")
    epochs = list(report.train_with_progress(console, classifier, options.epochs))
    console.print(report.epoch_table(epochs))

    metrics, predicted = classifier.evaluate()
    console.print(report.confusion_table(report.confusion_matrix(testing[1], predicted)))
    path = options.output / "digits.png"
    with _writing_to(options.output):
        picture.save_digits(path, *testing, predicted)
    console.print(f"picture: {path}", soft_wrap=True)
    console.print(f"test accuracy: {metrics.accuracy:.4f}")


if __name__ == "__main__":
    main()
