"""Images at places between their elements: interpolation at coordinates, and its border modes.

Imports ``ops.core``. Start at ``sample``; the transforms of ``image_transforms`` only compute
coordinates.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor

#: Interpolations of the transforms, with their order.
ORDERS = {"nearest": 0, "bilinear": 1}
#: What is outside: a constant, the border, the other end, or the mirror image (without or with
#: the border itself).
FILL_MODES = ("constant", "nearest", "wrap", "mirror", "reflect")


def _inside(index: Any, size: int, mode: str) -> Any:
    """Return the position in ``0 .. size - 1`` that stands for ``index``."""
    if mode in ("constant", "nearest"):
        return pb.clip(index, 0, size - 1)
    if mode == "wrap":
        return pb.mod(index, size)
    if mode == "mirror":
        if size == 1:
            return pb.zeros_like(index)
        period = 2 * size - 2
        place = pb.mod(index, period)
        return pb.minimum(place, period - place)
    place = pb.mod(index, 2 * size)
    return pb.minimum(place, 2 * size - 1 - place)


def _round(x: Any) -> Any:
    """Round to the nearest integer, halves away from zero."""
    return pb.sign(x) * pb.floor(pb.abs(x) + 0.5)


def _corners(coordinate: Any, order: int) -> list[tuple[Any, Any]]:
    """Return positions along one axis, as integers, with their weights (None for 1)."""
    if order == 0:
        return [(cast(_round(coordinate), "int32"), None)]
    low = pb.floor(coordinate)
    above = coordinate - low
    first = cast(low, "int32")
    return [(first, 1 - above), (first + 1, above)]


def sample(
    images: Any,
    coordinates: Sequence[Any],
    order: int,
    mode: str,
    fill_value: Any,
    batch: Any = None,
) -> Any:
    """Interpolate between elements.

    Args:
        images: Array ``[sizes.., rest..]``, or ``[b, sizes.., rest..]`` with ``batch``.
        coordinates: One floating array ``[...]`` for each of the sizes.
        order: 0 for the nearest element, 1 for linear interpolation.
        mode: One of ``FILL_MODES``.
        fill_value: The constant that is outside.
        batch: Number of the image, which broadcasts to the coordinates.

    Returns:
        Array ``[..., rest..]`` of the dtype of ``images``, rounded if that is an integer dtype.
    """
    lead = 0 if batch is None else 1
    rest = images.ndim - lead - len(coordinates)
    floating = pb.isdtype(images.dtype, "real floating")
    total = None
    for corner in itertools.product(*(_corners(c, order) for c in coordinates)):
        part = _take(images, [index for index, _ in corner], mode, fill_value, batch)
        for _, weight in corner:
            if weight is not None:
                part = part * pb.reshape(weight, weight.shape + (1,) * rest)
        total = part if total is None else total + part
    return cast(total if floating else _round(total), images.dtype)


def _take(images: Any, indices: list[Any], mode: str, fill_value: Any, batch: Any) -> Any:
    lead = 0 if batch is None else 1
    sizes = images.shape[lead : lead + len(indices)]
    places = [_inside(i, n, mode) for i, n in zip(indices, sizes, strict=True)]
    found = images[tuple(places)] if batch is None else images[(batch, *places)]
    if not pb.isdtype(found.dtype, "real floating"):
        found = cast(found, "float32")
    if mode != "constant":
        return found
    rest = found.ndim - indices[0].ndim
    valid: Any = True
    for index, size in zip(indices, sizes, strict=True):
        valid = valid & (index >= 0) & (index < size)
    valid = pb.reshape(valid, valid.shape + (1,) * rest)
    outside = cast(real_tensor(fill_value), images.dtype)
    return pb.where(valid, found, cast(outside, found.dtype))
