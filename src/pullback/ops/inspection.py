"""The inspection chapter of the Array API standard: what the namespace can do.

Imports ``dtypes``. Start at ``__array_namespace_info__``.
"""

from __future__ import annotations

from typing import Any

from pullback.ops.arguments import CPU, check_device
from pullback.ops.dtypes import KINDS
from pullback.types import (
    DEFAULT_FLOAT,
    DEFAULT_INT,
    FLOAT8,
    SHORT_NAMES,
    DType,
    bfloat16,
    float16,
)

__all__ = ["__array_namespace_info__"]

#: Dtypes that the standard does not know.
BEYOND_STANDARD = FLOAT8 | {float16, bfloat16}
#: Largest number of axes: NumPy's.
_MAX_DIMENSIONS = 64


class NamespaceInfo:
    """Capabilities, devices and dtypes of the namespace."""

    def capabilities(self) -> dict[str, Any]:
        """Return what is supported of what the standard leaves open.

        Boolean indexing and functions such as ``nonzero`` need elements: they work on arrays, and
        raise on traced values.
        """
        return {
            "boolean indexing": True,
            "data-dependent shapes": True,
            "max dimensions": _MAX_DIMENSIONS,
        }

    def default_device(self) -> str:
        """Return ``"cpu"``."""
        return CPU

    def devices(self) -> list[str]:
        """Return the devices there are."""
        return [CPU]

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """Return the dtypes of arrays made from Python numbers, and of indices.

        There is no default complex dtype: complex numbers are not supported.
        """
        check_device(device)
        return {"real floating": DEFAULT_FLOAT, "integral": DEFAULT_INT, "indexing": DEFAULT_INT}

    def dtypes(
        self, *, device: Any = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, DType]:
        """Return the standard's dtypes by name.

        Args:
            device: None or ``"cpu"``.
            kind: A kind as in ``isdtype``, or several; None for all.

        Raises:
            ValueError: ``kind`` is not one of those of ``isdtype``.
        """
        check_device(device)
        kinds = (kind,) if isinstance(kind, str) else kind
        for name in kinds or ():
            if name not in KINDS:
                raise ValueError(f"no kind {name!r}; expected one of {', '.join(KINDS)}")
        return {
            dtype.name: dtype
            for dtype in SHORT_NAMES
            if dtype not in BEYOND_STANDARD
            and (kinds is None or any(dtype in KINDS[name] for name in kinds))
        }


def __array_namespace_info__() -> NamespaceInfo:
    """Return what the namespace can do.

    Example:
        >>> pb.__array_namespace_info__().default_dtypes()["integral"].name
        'int32'
    """
    return NamespaceInfo()
