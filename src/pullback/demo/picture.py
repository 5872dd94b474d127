"""Pictures: some test digits with what the network took them for, and the losses of the epochs.

Imports Matplotlib when it draws; it comes with the extra ``pullback[demo]``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pullback.demo.train import Epoch

NDArray = np.ndarray[Any, Any]

COLUMNS: Final = 8
ROWS: Final = 3
RIGHT: Final = "#222222"
WRONG: Final = "#c81e1e"
TRAINING: Final = "#1f5fbf"
VALIDATION: Final = "#d9730d"
DOTS_PER_INCH: Final = 120


def save_digits(path: Path, images: NDArray, truth: NDArray, predicted: NDArray) -> None:
    """Draw the first digits as they come, and below them the first that are mistaken.

    Args:
        path: The PNG file to write; it appears whole or not at all.
        images: uint8 [n, 28, 28].
        truth: Their digits [n].
        predicted: The digits they were taken for [n].

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    shown = np.arange(min(ROWS * COLUMNS, len(images)))
    mistakes = np.flatnonzero(truth != predicted)
    mistakes = mistakes[~np.isin(mistakes, shown)][:COLUMNS]
    figure = Figure(figsize=(COLUMNS * 0.95, (ROWS + 1) * 1.2 + 0.75), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=(ROWS, 1.05))
    above, below = (figure.add_subfigure(grid[place]) for place in range(2))
    for part, title, rows, count in (
        (above, "Test digits: predicted (true)", shown, ROWS * COLUMNS),
        (below, "Further mistakes", mistakes, COLUMNS),
    ):
        part.suptitle(title, fontsize=12, fontweight="bold")
        axes = part.subplots(count // COLUMNS, COLUMNS, squeeze=False).ravel()
        for axis in axes:
            axis.set_axis_off()
        for axis, row in zip(axes, rows, strict=False):
            axis.imshow(images[row], cmap="gray_r", vmin=0, vmax=255)
            color = RIGHT if truth[row] == predicted[row] else WRONG
            axis.set_title(f"{predicted[row]} ({truth[row]})", fontsize=11, color=color, pad=3)
    _save(figure, path)


def save_curves(path: Path, epochs: Sequence[Epoch]) -> None:
    """Draw loss and accuracy by epoch, on the rows trained on and on the test digits.

    Args:
        path: The PNG file to write; it appears whole or not at all.
        epochs: What ``train`` returned.

    Raises:
        OSError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, 3.2), layout="constrained")
    numbers = [epoch.number for epoch in epochs]
    for axis, name in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for rows, color in (("training", TRAINING), ("validation", VALIDATION)):
            values = [getattr(getattr(epoch, rows), name) for epoch in epochs]
            axis.plot(numbers, values, marker="o", markersize=4, color=color, label=rows)
        axis.set_xlabel("epoch")
        axis.set_ylabel(name)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    """Write beside the place and rename, so that no half a file is left."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        figure.savefig(partial, format="png", dpi=DOTS_PER_INCH, facecolor="white")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
