"""``Saver``: what variables hold, in a file of NumPy's.

Imports ``session`` and ``variable``. The format is ``.npz`` without pickle, an array for each
variable under its name; TensorFlow's checkpoints are not read.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.graph import global_variables
from pullback.compat.v1.session import Session
from pullback.compat.v1.variable import Variable


class Saver:
    """Writes and reads what variables hold.

    Args:
        var_list: Which variables. Default: all that exist by now, optimizers' too.

    Raises:
        GraphError: there are none.
    """

    def __init__(self, var_list: Sequence[Variable] | None = None) -> None:
        self._variables = [*(global_variables() if var_list is None else var_list)]
        if not self._variables:
            raise GraphError("there are no variables to save: make the Saver after the graph")

    def save(self, sess: Session, save_path: str, global_step: Any = None) -> str:
        """Write ``save_path.npz``, in one step: a file that is there stays whole until then.

        Args:
            sess: What to save.
            save_path: The file, without ``.npz``; its folder must exist.
            global_step: A number that is appended to the name after ``-``.

        Returns:
            The path without ``.npz``, for ``restore``.

        Raises:
            FailedPreconditionError: a variable has no value yet.
            OSError: the file cannot be written.
        """
        path = f"{save_path}-{int(global_step)}" if global_step is not None else str(save_path)
        values = sess.run(self._variables)
        named = {v.op_name: x for v, x in zip(self._variables, values, strict=True)}
        target = _file(path)
        handle, temporary = tempfile.mkstemp(".tmp", target.name, target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **named)
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        return path

    def restore(self, sess: Session, save_path: str) -> None:
        """Let the variables hold what ``save`` wrote; they need no initializer then.

        Raises:
            FileNotFoundError: there is no such file.
            GraphError: it lacks a variable. Nothing is changed then.
            ShapeError: a variable has another shape.
        """
        with np.load(_file(save_path), allow_pickle=False) as stored:
            missing = [v.name for v in self._variables if v.op_name not in stored.files]
            if missing:
                raise GraphError(
                    f"{_file(save_path)} lacks {', '.join(missing)}; it has "
                    f"{', '.join(stored.files)}"
                )
            arrays = [stored[v.op_name] for v in self._variables]
        for variable, data in zip(self._variables, arrays, strict=True):
            sess.load(variable, data)


def _file(path: str) -> Path:
    return Path(f"{path}.npz")
