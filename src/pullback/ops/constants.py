"""Mathematical constants, dtype names and the version of the standard.

Imports ``types``. The chapter "Constants" and the dtype names of the Array API standard.
"""

from __future__ import annotations

import math
from typing import Final

from pullback.types import (
    DType,
    bfloat16,
    bool_,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)

__all__ = [
    "__array_api_version__",
    "bfloat16",
    "bool",
    "bool_",
    "e",
    "float8_e4m3fn",
    "float8_e5m2",
    "float16",
    "float32",
    "float64",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "nan",
    "newaxis",
    "pi",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]

#: Euler's number.
e: Final = math.e
#: Positive infinity.
inf: Final = math.inf
#: Not a number.
nan: Final = math.nan
#: Half of a full turn, in radians.
pi: Final = math.pi
#: In an index: a new axis of length 1.
newaxis: Final = None
#: The dtype of truth values.
bool: Final[DType] = bool_

#: The edition of the standard that the namespace follows.
__array_api_version__: Final = "2024.12"
