"""What the demo shows in the terminal: a progress bar, a table of epochs, the confusion matrix.

Imports ``train`` and rich, which comes with the extra ``pullback[demo]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from pullback.demo.train import CLASSES, Epoch, Rows, train

NDArray = np.ndarray[Any, Any]


def train_with_progress(
    console: Console, model: Any, training: Rows, testing: Rows, *, epochs: int, batch: int
) -> list[Epoch]:
    """Train as ``train`` does, and move a progress bar after every epoch."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs  {task.fields[metrics]}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=epochs, metrics="compiling")

        def advance(epoch: Epoch) -> None:
            loss, accuracy = epoch.training
            progress.update(task, advance=1, metrics=f"loss {loss:.4f}  accuracy {accuracy:.4f}")

        return train(model, training, testing, epochs=epochs, batch=batch, report=advance)


def epoch_table(epochs: Sequence[Epoch]) -> Table:
    """A row an epoch; the first one's time is mostly not training."""
    caption = "epoch 1 includes compiling, or loading what was compiled"
    table = Table(box=SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    headers = ("epoch", "loss", "accuracy", "val. loss", "val. acc.", "seconds", "µs a step")
    for header in headers:
        table.add_column(header, justify="right", no_wrap=True)
    for epoch in epochs:
        table.add_row(
            str(epoch.number),
            *(f"{x:.4f}" for x in (*epoch.training, *epoch.validation, epoch.seconds)),
            f"{epoch.microseconds_a_step:.1f}",
        )
    return table


def confusion_matrix(truth: NDArray, predicted: NDArray) -> NDArray:
    """How often each digit (row) was taken for each digit (column)."""
    counts = np.bincount(truth.astype(np.int64) * CLASSES + predicted, minlength=CLASSES**2)
    return counts.reshape(CLASSES, CLASSES)


def confusion_table(matrix: NDArray) -> Table:
    """The matrix with its right answers green, and the share of each digit that was found."""
    table = Table(title="true digit (rows), predicted (columns)", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("", justify="right", style="bold")
    for digit in range(CLASSES):
        table.add_column(str(digit), justify="right", min_width=3)
    table.add_column("found", justify="right")
    for digit, row in enumerate(matrix):
        cells = [_cell(count, digit == column) for column, count in enumerate(row)]
        share = row[digit] / row.sum() if row.sum() else 1.0
        table.add_row(str(digit), *cells, f"{share:.1%}")
    return table


def _cell(count: int, is_right: bool) -> Text:
    if is_right:
        return Text(str(count), style="bold green")
    return Text(str(count), style="red") if count else Text("·", style="dim")
