"""Checks of what a model is trained on: sizes, emptiness, labels, and notes on errors of the loss.

Imports ``pullback``; ``trainer`` uses it. Start at ``check_data``.
"""

from __future__ import annotations

import contextlib
import operator
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras.src import losses, tree
from keras.src.backend import config
from keras.src.losses.losses import LossFunctionWrapper
from keras.src.trainers.data_adapters.array_data_adapter import ArrayDataAdapter
from keras.src.trainers.epoch_iterator import EpochIterator

from keras_pullback.src.batches import LoopRows
from pullback.sparse import COO
from pullback.types import ArrayType


def check_sizes(**sizes: Any) -> None:
    """Numbers of rows or steps, by the names of their arguments; None is allowed.

    Raises:
        ValueError: one is no integer, or less than 1.
    """
    for name, size in sizes.items():
        if size is None:
            continue
        try:
            number = operator.index(size)
        except TypeError:
            number = 0
        if number < 1:
            raise ValueError(
                f"`{name}` is {size!r}, expected an integer of at least 1. Leave it out to take "
                "Keras's default"
            )


def batches_in_group(steps_per_execution: Any) -> int:
    """Keras's ``steps_per_execution``; ``"auto"`` is 1: native calls take the steps that fit.

    Raises:
        ValueError: it is another thing than a positive integer.
    """
    if steps_per_execution == "auto":
        return 1
    check_sizes(steps_per_execution=steps_per_execution)
    return int(steps_per_execution)


def capped(epochs: int) -> int:
    """The number of epochs, at most Keras's limit, which is warned of."""
    most = config.max_epochs()
    if most and most < epochs:
        warnings.warn(f"Limiting epochs to {most}", stacklevel=3)
        return int(most)
    return epochs


def check_data(iterator: EpochIterator, method: str, needs_labels: bool = False) -> None:
    """What ``fit``, ``evaluate`` or ``predict`` was given has rows, and labels if it needs them.

    Generators are not asked, since that would take a batch from them; Keras finds an empty one.

    Args:
        iterator: Over the data.
        method: What the user called.
        needs_labels: Whether a loss compares the model's output with ``y``.

    Raises:
        ValueError: there are no rows, no batches or no labels.
    """
    adapter = iterator.data_adapter
    if not isinstance(adapter, ArrayDataAdapter):
        if adapter.num_batches == 0:
            raise ValueError(
                f"`{method}` was given data of no batches: their number, `len()` of the data, is "
                "0. Pass at least one batch"
            )
        return
    inputs = adapter._inputs
    if any(
        getattr(getattr(x, "dtype", None), "kind", "f") in "OSUMm" for x in tree.flatten(inputs)
    ):
        raise ValueError(
            f"`{method}` was given {_types(as_row(inputs))}, expected arrays of numbers. Encode "
            "what is none first, strings for example with `keras.layers.StringLookup`"
        )
    if adapter._num_samples == 0:
        raise ValueError(
            f"`{method}` was given arrays of no rows: {_types(as_row(inputs))}. Pass at least one "
            "row"
        )
    inputs = as_row(inputs)
    if needs_labels and (len(inputs) < 2 or inputs[1] is None):
        raise ValueError(
            f"`{method}` was given no labels `y`, only {_types((inputs[0],))}, but the model was "
            "compiled with a loss, which compares its output with labels. Pass `y`, or compile "
            "without `loss` where the layers bring their own with `add_loss`"
        )


@contextlib.contextmanager
def explained_loss(y: Any, y_pred: Any) -> Iterator[None]:
    """Errors in the block get a note that says what the loss was computed of."""
    try:
        yield
    except (ValueError, TypeError) as error:
        error.add_note(f"in the loss of y: {_types(y)} and the model's output: {_types(y_pred)}")
        raise


@dataclass(frozen=True, slots=True)
class LabelRange:
    """What the labels of one output may be.

    Attributes:
        index: Which leaf of ``y`` they are.
        classes: How many classes the output has; labels are ``0`` to ``classes - 1``.
        ignored: The label that the loss leaves out; None if there is none.
        loss: The name of the loss.
        output: The type of the output, as text.
    """

    index: int
    classes: int
    ignored: int | None
    loss: str
    output: str

    def check(self, y: Any, whole: str) -> None:
        """All labels are in range.

        Args:
            y: The labels, a leaf or a tree of ``[n, ...]``.
            whole: What they are, for the message: ``"y"``, ``"the batch's y"``.

        Raises:
            ValueError: one is not; the message has its row.

        Cost: one pass over integer labels, two over others.
        """
        leaf = y if hasattr(y, "dtype") else tree.flatten(y)[self.index]
        if isinstance(leaf, (COO, LoopRows)):
            return  # nobody has one class a row as a sparse matrix
        labels = np.asarray(leaf)
        if not _has_only(labels, self.classes):
            bad = ~((labels > -1) & (labels < self.classes))
            if self.ignored is not None:
                bad &= labels != self.ignored
            if bad.any():
                raise ValueError(self._message(labels, bad, whole))

    def _message(self, labels: Any, bad: Any, whole: str) -> str:
        at = np.unravel_index(int(bad.argmax()), bad.shape)
        place = f"row {at[0]}" if bad[0].size == 1 else f"row {at[0]}, at {[int(i) for i in at]},"
        count = int(bad.sum())
        others = f", and {count - 1} more such labels" if count > 1 else ""
        return (
            f"labels must be in [0, {self.classes}), got {labels[at].item()} in {place} of {whole} "
            f"({type_text(labels)}){others}: `{self.loss}` compares them with the model's output "
            f"{self.output}, of {self.classes} classes. {self._mend(labels)}"
        )

    def _mend(self, labels: Any) -> str:
        least, most = labels.min().item(), labels.max().item()
        if (least, most) == (1, self.classes):
            return "They seem to be counted from 1: subtract 1"
        if least < 0 <= most < self.classes:
            return (
                "Mend the labels, or leave such rows out with "
                f"`keras.losses.SparseCategoricalCrossentropy(ignore_class={least})`"
            )
        if 0 <= least <= most < np.inf:
            return f"Mend the labels, or give the last layer {int(most) + 1} units"
        return "Mend the labels"


def label_ranges(loss: Any, output_names: Any, y: Any, y_pred: Any) -> tuple[LabelRange, ...]:
    """The ranges of labels that a model's losses expect.

    Args:
        loss: Keras's ``CompileLoss``, built, or None.
        output_names: Of the model; None if it has none.
        y: Tree of labels; only its structure counts.
        y_pred: Tree of outputs, tracers or symbolic; only types count.
    """
    if loss is None or not loss.built or y is None:
        return ()
    found = []
    positions = tree.pack_sequence_as(y, list(range(len(tree.flatten(y)))))
    for path, function, _, _ in loss._flat_losses:
        options = _sparse_options(function)
        index = _find(path, positions, output_names, y_pred)
        output = _find(path, y_pred, output_names, y_pred)
        if options is None or not isinstance(index, int) or not hasattr(output, "shape"):
            continue
        classes = output.shape[options.get("axis", -1)]
        if isinstance(classes, int):
            ignored = options.get("ignore_class")
            found.append(LabelRange(index, classes, ignored, function.name, type_text(output, "?")))
    return tuple(found)


def _sparse_options(loss: Any) -> dict[str, Any] | None:
    """The options of a loss that takes labels as integers; None if it is another."""
    if not isinstance(loss, LossFunctionWrapper):
        return None
    options: dict[str, Any] = loss._fn_kwargs
    return options if loss.fn is losses.sparse_categorical_crossentropy else None


def _find(path: Sequence[Any], owner: Any, names: Any, y_pred: Any) -> Any:
    """The leaf of ``owner`` at a path of the loss, as Keras brings structures together."""
    if not path:
        return owner if not tree.is_nested(owner) else None
    candidates = [owner]
    if isinstance(owner, dict) and names and {*names} == {*owner}:
        candidates.append([owner[name] for name in names])
    elif isinstance(owner, (list, tuple)) and names and len(names) == len(owner):
        candidates.append(dict(zip(names, owner, strict=True)))
    flat = tree.flatten(owner)
    if len(flat) == len(tree.flatten(y_pred)):
        candidates.append(tree.pack_sequence_as(y_pred, flat))
    for candidate in candidates:
        leaf = candidate
        try:
            for key in path:
                leaf = leaf[key]
        except (KeyError, IndexError, TypeError):
            continue
        return leaf
    return None


def _has_only(labels: Any, classes: int) -> bool:
    """Whether all labels are in ``[0, classes)``; an unsigned view makes that one comparison."""
    if not labels.size:
        return True
    if labels.dtype.kind == "i":
        labels = labels.view(labels.dtype.str.replace("i", "u"))
    if labels.dtype.kind in "ub":
        return bool(labels.max() < classes)
    return bool(labels.min() > -1 and labels.max() < classes)


def as_row(inputs: Any) -> tuple[Any, ...]:
    """``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``."""
    return inputs if isinstance(inputs, tuple) else (inputs,)


def _types(values: Any) -> str:
    """The types of a tree as text, with ``x``, ``y`` in front where it is Keras's row of both."""
    if isinstance(values, tuple) and 1 <= len(values) <= 3:
        names = ("x", "y", "sample_weight")
        parts = zip(names, values, strict=False)
        return ", ".join(f"{name}: {_types(part)}" for name, part in parts if part is not None)
    return str(tree.map_structure(type_text, values)).replace("'", "")


def type_text(x: Any, rows: str = "") -> str:
    """A type as ``f32[?,10]``; ``?`` is a length that is not known, ``rows`` the first."""
    if x is None or not hasattr(x, "shape") or not hasattr(x, "dtype"):
        return type(x).__name__
    if getattr(x.dtype, "kind", "f") in "OSUMm":
        return f"{x.dtype}{[*x.shape]}"
    lengths = ["?" if d is None else str(d) for d in x.shape]
    if rows:
        lengths[:1] = [rows]
    return str(ArrayType((), np.dtype(x.dtype))).replace("[]", f"[{','.join(lengths)}]")
