"""Where a loss that is not finite may come from: rows of the data, or weights.

Imports ``arrays`` and ``checks``; ``trainer`` uses it. Start at ``LossWatch``.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from keras.src.trainers.epoch_iterator import EpochIterator

import pullback as pb
from keras_pullback.src.arrays import ArrayData
from keras_pullback.src.checks import as_row, type_text
from keras_pullback.src.ops.sparse_arrays import host_parts, is_any_sparse

#: So many elements are looked at in one go.
_CHUNK = 1 << 20
_STOP = " `callbacks=[keras.callbacks.TerminateOnNaN()]` stops at the first such step"


class LossWatch:
    """Warns once a run that the loss of an epoch is not finite, and says what it could find out.

    Args:
        model: What is trained.
        iterator: Over the data. Arrays are looked at, once the loss is not finite; generators are
            not, for that would take batches from them.
    """

    def __init__(self, model: Any, iterator: EpochIterator) -> None:
        self._model = model
        self._adapter = iterator.data_adapter
        self._has_warned = False

    def look(self, epoch: int, logs: dict[str, Any], stacklevel: int) -> None:
        """Warn if a loss in the logs of an epoch is not finite, unless that was done before.

        Args:
            epoch: Its number, from 0.
            logs: Numbers by name; those that are called ``loss`` or end so are losses.
            stacklevel: As of ``warnings.warn``, seen from here.

        Cost: nothing that counts while the loss is finite; then one pass over the data or weights.
        """
        if self._has_warned:
            return
        for name, loss in logs.items():
            if name.endswith("loss") and not np.all(np.isfinite(loss)):
                self._has_warned = True
                message = f"`{name}` is {loss} at the end of epoch {epoch + 1}. {self._cause()}."
                if not self._model.stop_training:
                    message += f"{_STOP}."
                warnings.warn(message, stacklevel=stacklevel + 1)
                return

    def _cause(self) -> str:
        data = self._bad_data()
        if data is not None:
            return f"{data}. Leave such rows out or fill them in"
        data = "The data come in batches, which were not looked at"
        if ArrayData.accepts(self._adapter):
            data = "The data are finite"
        return (
            f"{data}; {_bad_weights(self._model)}. Try a lower learning rate, or `clipnorm=1.0` in "
            "the optimizer"
        )

    def _bad_data(self) -> str | None:
        """The first row that is not finite, as text; None if all are."""
        if not ArrayData.accepts(self._adapter):
            return None
        row = as_row(self._adapter._inputs)
        for root, part in zip(("x", "y", "sample_weight"), row, strict=False):
            for path, leaf in pb.tree.leaves_with_path(part, is_any_sparse):
                array = leaf if is_any_sparse(leaf) else np.asarray(leaf)
                find = _bad_sparse_rows if is_any_sparse(leaf) else _bad_rows
                first, value, count = find(array)
                if count:
                    name = root + "".join(map(str, path))
                    others = f", and so do {count - 1} more of its rows" if count > 1 else ""
                    return f"Row {first} of `{name}` ({type_text(array)}) holds {value}{others}"
        return None


def _bad_weights(model: Any) -> str:
    """Which weights are not finite, as text."""
    weights = model.weights
    found = [(v, _bad_rows(np.asarray(v.value).reshape(1, -1))) for v in weights]
    bad = [(v, value) for v, (_, value, count) in found if count]
    if not bad:
        return "all weights are finite: the loss itself may divide by zero or overflow"
    first, value = bad[0]
    return (
        f"the weights `{first.path}` ({type_text(first.value)}) hold {value}, the first of "
        f"{len(bad)} such variables of {len(weights)}"
    )


def _bad_sparse_rows(x: Any) -> tuple[int, Any, int]:
    """The same of a sparse tensor or matrix of any kind."""
    values, indices, _ = host_parts(x)
    if values.dtype.kind not in "fV":
        return -1, None, 0
    bad = ~np.isfinite(values.astype(np.float32).reshape(len(values), -1)).all(axis=1)
    rows = np.unique(indices[bad, 0])
    if not len(rows):
        return -1, None, 0
    found = values[bad & (indices[:, 0] == rows[0])].ravel()
    return int(rows[0]), found[~np.isfinite(found.astype(np.float32))][0], len(rows)


def _bad_rows(array: Any) -> tuple[int, Any, int]:
    """The first row of ``[n, ...]`` that is not finite, what it holds, and how many there are."""
    first, value, count = -1, None, 0
    if array.dtype.kind not in "fV":  # V: bfloat16
        return first, value, count
    step = max(1, _CHUNK // max(1, array[:1].size))
    for start in range(0, len(array), step):
        part = np.asarray(array[start : start + step])
        if part.dtype.kind == "V":
            part = part.astype(np.float32)
        finite = np.isfinite(part.reshape(len(part), -1))
        bad = ~finite.all(axis=1)
        if not count and bad.any():
            row = int(bad.argmax())
            first, value = start + row, part[row].ravel()[int((~finite[row]).argmax())]
        count += int(bad.sum())
    return first, value, count
