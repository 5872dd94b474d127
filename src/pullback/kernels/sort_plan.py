"""How rows are sorted: which method their length asks for, and who works on a row.

Short rows are sorted by ranks: an element's place is the number of elements that come before it,
which vectors count without a branch. Others are sorted by the digits of their keys (LSD radix
sort). Many rows are shared out among the threads; a few long ones are sorted by all threads
together, one after the other. Results do not depend on any of that: a stable order is unique.
"""

from __future__ import annotations

import math

from pullback.kernels.core import SortKernel
from pullback.types import DType, bool_

#: Longest row whose elements are compared with each other.
RANKED_LENGTH = 256
#: Longest row that is sorted at all: positions and counts have 32 bits.
MOST_LENGTH = (1 << 31) - 1
#: Shortest row that is worth the meetings of a team, and the number of rows from which on there
#: are enough of them for a thread to sort its own.
TEAM_LENGTH = 1 << 15
TEAM_ROWS = 32
#: A team's threads take at least so many elements each, and at most so many threads take part.
PART_LENGTH = 1 << 12
MOST_PARTS = 64
#: A row of which at most this share is kept is searched for what may be kept, before it is sorted;
#: by the highest digit, of at most so many bits.
SELECTED_SHARE = 1 / 8
SELECTED_BITS = 11
#: Rows of these lengths are sorted by digits of 11 bits: longer than their tables of counts, and
#: short enough that the many places they write to stay in a cache. Others have 8 bits.
_LONG_DIGITS = range(1 << 12, 1 << 18)
#: One core, roughly: comparing two elements, moving one by a digit, reading or writing one.
_COMPARE_S, _MOVE_S, _TOUCH_S = 0.045e-9, 1.3e-9, 0.5e-9
#: The same of a row of any length, and of the counts of a pass.
_ROW_S, _PASS_S = 10e-9, 0.3e-6


def is_ranked(kernel: SortKernel) -> bool:
    """Whether rows are sorted by ranks, not by digits."""
    return kernel.length <= RANKED_LENGTH


def is_shared(kernel: SortKernel) -> bool:
    """Whether all threads shall sort one row after the other together."""
    return kernel.length >= TEAM_LENGTH and kernel.row_count < TEAM_ROWS


def parts_of(kernel: SortKernel) -> int:
    """Into how many parts a row is cut at most, each for one thread."""
    return min(MOST_PARTS, kernel.length // PART_LENGTH)


def key_bits(dtype: DType) -> int:
    """Bits of the unsigned integer that orders elements of a dtype."""
    return 1 if dtype == bool_ else 8 * dtype.itemsize


def digits_of(dtype: DType, length: int) -> tuple[int, int]:
    """How many digits a key is cut into, and the bits of each."""
    bits = key_bits(dtype)
    count = math.ceil(bits / (11 if length in _LONG_DIGITS else 8))
    return count, max(4, math.ceil(bits / count))


def table_size(kernel: SortKernel) -> int:
    """Number of counts that each part of a row needs: two tables for the widest digit."""
    widest = max(digits_of(key.dtype, kernel.length)[1] for key in kernel.keys)
    return int(2 << max(widest, SELECTED_BITS if is_selected(kernel) else 0))


def is_selected(kernel: SortKernel) -> bool:
    """Whether few elements are kept, so that most need not be sorted."""
    few = kernel.place.extent <= kernel.length * SELECTED_SHARE
    return few and len(kernel.keys) == 1 and not is_ranked(kernel)


def is_wide(kernel: SortKernel) -> bool:
    """Whether a key takes more than 32 bits."""
    return any(key_bits(key.dtype) > 32 for key in kernel.keys)


def sort_seconds(kernel: SortKernel) -> float:
    """Estimated time of one row on one thread."""
    stored = 2 * kernel.place.extent * len(kernel.stores)
    touches = (kernel.length * len(kernel.keys) + stored) * _TOUCH_S
    if is_ranked(kernel):
        padded = math.ceil(kernel.length / 16) * 16
        return _ROW_S + touches + len(kernel.keys) * padded * kernel.length * _COMPARE_S
    passes = 1 if is_selected(kernel) else _passes(kernel)
    return touches + passes * (_PASS_S + kernel.length * _MOVE_S)


def sort_meetings(kernel: SortKernel) -> int:
    """How often a team meets inside the kernel."""
    if not kernel.parts:
        return 0
    each = 2 * (_passes(kernel) + is_selected(kernel)) + (kernel.place.extent < kernel.length)
    return each * kernel.row_count


def _passes(kernel: SortKernel) -> int:
    return sum(digits_of(key.dtype, kernel.length)[0] for key in kernel.keys)
