"""Errands: memory that a thread's microkernels ask for on their way, a cache line a term of k.

A microkernel computes from its caches and leaves memory idle. What will be needed later is written
down in a block before each thread's scratch (``foresee`` does), and every tile of every contraction
goes on where the last one stopped. Imports ``emit``.

The block, in words of 8 bytes: lines asked for so far, ``rows - 1``, ``log2(rows)``, number of the
last line of a row, then the addresses of ``rows`` rows, a power of two. Lines are asked for across
the rows: the first of each, then the second. After the last they are asked for again, which costs
nothing: they are there.
"""

from __future__ import annotations

from pullback.backend.llvm.emit import Function, V
from pullback.kernels.core import CACHE_LINE_BYTES
from pullback.records import dataclass

WORD_BYTES = 8
DONE, MASK, SHIFT, LAST_LINE, ROWS = range(5)


def errand_bytes(rows: int) -> int:
    """Bytes of a block for at most so many rows, in whole cache lines."""
    table = 1 << (max(rows, 1) - 1).bit_length()
    return -(-(ROWS + table) * WORD_BYTES // CACHE_LINE_BYTES) * CACHE_LINE_BYTES


def write_no_errand(f: Function, block: V) -> None:
    """Initialize a block: one row of one line, which is its own."""
    for word in (DONE, MASK, SHIFT, LAST_LINE):
        store_word(f, block, word, V("i64", "0"))
    f.store(block, f.gep("ptr", block, ROWS))


def store_word(f: Function, block: V, word: int, value: V) -> None:
    """Write one word of a block."""
    f.store(value, f.gep("i64", block, word))


@dataclass(frozen=True)
class Errand:
    """A block's words, held while a microkernel runs."""

    block: V
    done: V
    mask: V
    shift: V
    last: V


def begin_errand(f: Function, block: V) -> Errand:
    """Read the block; ``done`` is a stack slot from now on."""
    done, *words = (f.load("i64", f.gep("i64", block, word)) for word in range(ROWS))
    return Errand(block, f.alloca("i64", done), *words)


def ask_for_line(f: Function, errand: Errand) -> None:
    """Prefetch the next line."""
    done = f.load("i64", errand.done)
    row = f.add(f.binary("and", done, errand.mask), V("i64", str(ROWS)))
    start = f.load("ptr", f.gep("ptr", errand.block, row))
    line = f.intrinsic("umin", f.binary("lshr", done, errand.shift), errand.last)
    f.prefetch(f.gep("i8", start, f.mul(line, V("i64", str(CACHE_LINE_BYTES)))))
    f.store(f.add(done, V("i64", "1")), errand.done)


def end_errand(f: Function, errand: Errand) -> None:
    """Write down how far it went."""
    store_word(f, errand.block, DONE, f.load("i64", errand.done))
