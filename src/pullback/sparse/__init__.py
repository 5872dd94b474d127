"""Sparse arrays: ``COO``, and functions that compute with what is stored alone.

Imports ``ops`` and ``primitives``. Start at ``COO`` and ``from_dense``. Nothing here is a
primitive: every function is gathers, scatters and arithmetic, so it can be traced, differentiated
and compiled like any other.
"""

import pullback.sparse.methods as _methods  # noqa: F401 - fills the operators
from pullback.sparse.arithmetic import abs as abs
from pullback.sparse.arithmetic import add as add
from pullback.sparse.arithmetic import astype as astype
from pullback.sparse.arithmetic import divide as divide
from pullback.sparse.arithmetic import map_values as map_values
from pullback.sparse.arithmetic import multiply as multiply
from pullback.sparse.arithmetic import negative as negative
from pullback.sparse.arithmetic import power as power
from pullback.sparse.arithmetic import subtract as subtract
from pullback.sparse.conversions import from_dense as from_dense
from pullback.sparse.conversions import from_scipy as from_scipy
from pullback.sparse.conversions import to_dense as to_dense
from pullback.sparse.conversions import to_scipy as to_scipy
from pullback.sparse.coo import COO as COO
from pullback.sparse.duplicates import sort_indices as sort_indices
from pullback.sparse.duplicates import sum_duplicates as sum_duplicates
from pullback.sparse.layout import broadcast_to as broadcast_to
from pullback.sparse.layout import concatenate as concatenate
from pullback.sparse.layout import expand_dims as expand_dims
from pullback.sparse.layout import reshape as reshape
from pullback.sparse.layout import squeeze as squeeze
from pullback.sparse.layout import transpose as transpose
from pullback.sparse.products import matmul as matmul
from pullback.sparse.reductions import mean as mean
from pullback.sparse.reductions import sum as sum
from pullback.sparse.selections import take as take

__all__ = [
    "COO",
    "abs",
    "add",
    "astype",
    "broadcast_to",
    "concatenate",
    "divide",
    "expand_dims",
    "from_dense",
    "from_scipy",
    "map_values",
    "matmul",
    "mean",
    "multiply",
    "negative",
    "power",
    "reshape",
    "sort_indices",
    "squeeze",
    "subtract",
    "sum",
    "sum_duplicates",
    "take",
    "to_dense",
    "to_scipy",
    "transpose",
]
