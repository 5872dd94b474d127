"""Placeholders: tensors whose values are given at each run.

Imports ``tensor``. ``as_fed`` checks and casts what is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pullback.compat.v1.errors import InvalidArgumentError
from pullback.compat.v1.frame import Frame
from pullback.compat.v1.shapes import as_dims, fits
from pullback.compat.v1.tensor import Tensor, convert_to_tensor
from pullback.errors import DTypeError, ShapeError
from pullback.types import FLOATING, INTEGER, SHORT_NAMES, DType, as_dtype, bool_, type_of

NDArray = np.ndarray[Any, Any]


class Placeholder(Tensor):
    """A tensor without a value of its own."""

    def evaluate(self, frame: Frame) -> Any:
        """Refused: it was not fed.

        Raises:
            InvalidArgumentError: always.
        """
        raise InvalidArgumentError(
            f"placeholder {self.where()} is {self.describe()}, and was not fed: add it to "
            "`feed_dict`"
        )


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor whose value is given at each run, in ``feed_dict``.

    Args:
        dtype: Its dtype.
        shape: Its shape; None for a length that is not known, None as a whole if nothing is.
        name: Its name.

    Raises:
        DTypeError: there is no such dtype.
    """
    return Placeholder(name or "Placeholder", as_dims(shape), as_dtype(dtype))


def placeholder_with_default(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """A tensor that is ``input`` where it is not fed.

    Args:
        input: Its value by default.
        shape: Its shape; None for a length that is not known.
        name: Its name.
    """
    default = convert_to_tensor(input)
    return Tensor(
        name or "PlaceholderWithDefault", as_dims(shape), default.dtype, [default], lambda x: x
    )


def as_fed(tensor: Tensor, value: Any) -> NDArray:
    """Return what is given for ``tensor`` as an array of its dtype.

    Raises:
        ShapeError: its shape is not one that ``tensor`` may have.
        DTypeError: it holds no numbers, or the tensor's dtype cannot hold them.
    """
    if type(value) is np.ndarray and value.dtype == tensor.dtype:
        data = value
    else:
        data = _cast(tensor, value)
    if not fits(data.shape, tensor.dims):
        raise ShapeError(
            f"placeholder {tensor.where()} is {tensor.describe()}, but {type_of(data)} was fed: "
            "reshape the value, or make the placeholder of another shape"
        )
    return data


def _cast(tensor: Tensor, value: Any) -> NDArray:
    if isinstance(value, Tensor) or hasattr(value, "as_node"):
        raise DTypeError(
            f"placeholder {tensor.where()} was fed {value!r}: feed numbers, as from `sess.run`"
        )
    try:
        given = np.asarray(value)
    except ValueError as error:
        raise ShapeError(
            f"placeholder {tensor.where()} is {tensor.describe()}, but what was fed is no array: "
            f"{error}"
        ) from None
    if given.dtype not in SHORT_NAMES and given.dtype.kind not in "biuf":
        raise DTypeError(
            f"placeholder {tensor.where()} is {tensor.describe()}, but an array of dtype "
            f"{given.dtype} and shape {given.shape} was fed: feed numbers"
        )
    if not _keeps(given, tensor.dtype):
        raise DTypeError(
            f"placeholder {tensor.where()} is {tensor.describe()}, which cannot hold the values "
            f"fed, of dtype {given.dtype}: cast them first, for example with "
            f"`.astype({tensor.dtype.name!r})`"
        )
    return given.astype(tensor.dtype)


def _keeps(given: NDArray, dtype: DType) -> bool:
    """Whether ``dtype`` holds these values: any in floating dtypes, else if none changes."""
    if dtype in FLOATING or given.dtype == bool_:
        return True
    if dtype not in INTEGER:
        return False
    if given.dtype.kind in "iu" and np.can_cast(given.dtype, dtype):
        return True
    with np.errstate(invalid="ignore"):
        return bool(np.array_equal(given.astype(dtype), given))
