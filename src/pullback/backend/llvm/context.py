"""The context of a run: the table of arrays that machine code is called with.

``program`` writes code that reads it, ``backend.executable`` fills it. Each slot is the address of
a NumPy array object, which Python gives for nothing (``id``); machine code reads the address of its
memory from the object itself.
"""

from __future__ import annotations

from typing import Final

#: Slots before those of the program's buffers: inputs, outputs, constants.
ABORT, HOST, ARENA, SCRATCH, STOP, PROFILE, FIRST_BUFFER = range(7)
#: A NumPy array object keeps its data pointer right after Python's object header.
DATA_OFFSET: Final = object.__basicsize__
