"""Writes the functions that tell contractions what the next iteration of their loop will gather.

Where that can be known is planned in ``kernels.foresight``; how lines are asked for is in
``errands``.
"""

from __future__ import annotations

from pullback.backend.llvm.emit import Module, V
from pullback.backend.llvm.errands import (
    DONE,
    LAST_LINE,
    MASK,
    ROWS,
    SHIFT,
    store_word,
    write_no_errand,
)
from pullback.backend.llvm.loops import bind_row, start_function, task_range
from pullback.backend.llvm.scalar import memory_type
from pullback.kernels.core import Buffer
from pullback.kernels.foresight import Foresight


def write_foresight(module: Module, name: str, foresight: Foresight) -> list[Buffer]:
    """Write ``(ptr buffers..., begin, end, errand block)``; return its buffers.

    It fills the block with the rows that a thread's tasks ``begin`` to ``end`` of the gather will
    read in the next iteration.
    """
    stretch, gather = foresight.stretch, foresight.gather
    buffers = [*stretch.index_buffers, stretch.buffer]
    w = start_function(module, name, buffers)
    f = w.f
    begin, end, block = f.args[-3:]
    first, last = task_range(w, gather, begin, end)
    count = f.sub(last, first)
    write_no_errand(f, block)
    with f.when(f.compare("sgt", count, V("i64", "0"))):
        most = f.sub(count, V("i64", "1"))
        zeros = f.call("llvm.ctlz.i64", "i64", most, V("i1", "false"))
        shift = f.sub(V("i64", "64"), zeros)
        table = f.binary("shl", V("i64", "1"), shift)
        with f.loop(0, table) as i, w.scope():
            bind_row(w, gather.divided, f.add(first, f.intrinsic("smin", i, most)))
            element = memory_type(stretch.buffer.dtype)
            start = f.gep(element, w.pointers[stretch.buffer], w.scalar_index(stretch.first))
            f.store(start, f.gep("ptr", block, f.add(i, V("i64", str(ROWS)))))
        store_word(f, block, DONE, V("i64", "0"))
        store_word(f, block, MASK, f.sub(table, V("i64", "1")))
        store_word(f, block, SHIFT, shift)
        store_word(f, block, LAST_LINE, V("i64", str(stretch.lines - 1)))
    f.ret()
    f.finish()
    return buffers
