"""Kernels: loop nests over scalars with explicit buffers, device-neutral.

A compiled program is a ``Block``: steps in order, each a kernel, a host call or control flow
around further blocks. Machine code is written from this (``backend``); text in ``printer``.
"""

from __future__ import annotations

import enum
import math
from dataclasses import field
from typing import TYPE_CHECKING, Any

from pullback.kernels.index import Affine, LoopVar
from pullback.program.source import Origin, Source
from pullback.records import dataclass
from pullback.types import DType

if TYPE_CHECKING:
    from pullback.kernels.expression import Expressions


CACHE_LINE_BYTES = 64


class Space(enum.Enum):
    """Where a buffer lives."""

    INPUT = "input"  # memory of the caller, read only unless it is shared with an output
    OUTPUT = "output"  # memory of the caller, written
    CONSTANT = "constant"  # captured array
    ARENA = "arena"  # planned temporary
    SCRATCH = "scratch"  # one row of each thread


@dataclass(eq=False, slots=True)
class Buffer:
    """Contiguous memory for ``size`` elements. Identity is equality.

    ``base`` is set when the buffer is a slice of another one: it moves by ``stride`` elements
    with every iteration of the loop ``counter``, from the end if ``reverse``. A ``base`` without
    a counter is another name of the same memory.
    """

    dtype: DType
    size: int
    space: Space
    name: str = ""
    base: Buffer | None = None
    stride: int = 0
    counter: LoopVar | None = None
    reverse: bool = False
    position: int = -1  # byte offset in the arena or a thread's scratch, once planned

    @property
    def nbytes(self) -> int:
        """Bytes, for the whole buffer."""
        return self.size * self.dtype.itemsize

    @property
    def root(self) -> Buffer:
        """The buffer that owns the memory."""
        return self.base.root if self.base is not None else self

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Storage:
    """Memory of a variable: contiguous, from element ``offset`` of ``buffer``."""

    buffer: Buffer
    offset: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Node:
    """One scalar value in a kernel; equal nodes of a kernel are one object.

    ``op`` is a scalar opcode (``program.loops.SCALAR_OPS``), or one of: ``constant`` (payload:
    value), ``index`` (payload: Affine), ``load`` (payload: (Buffer, Affine)), ``cast``,
    ``bitcast``, ``select``, ``within`` (payload: (Affine, low, high)), ``reduce`` (payload:
    Reduction), ``argreduce`` (payload: Reduction), ``accumulator`` (a contraction's result),
    ``polygamma`` (payload: order).
    """

    op: str
    dtype: DType
    args: tuple[Node, ...]
    payload: Any
    free: frozenset[LoopVar]
    number: int


@dataclass(frozen=True, slots=True)
class Reduction:
    """The payload of ``reduce`` and ``argreduce``: args are ``(body, initial)`` or ``(body,)``."""

    opcode: str
    vars: tuple[LoopVar, ...]


@dataclass(frozen=True, slots=True)
class Store:
    """Write ``value`` to element ``offset`` of ``buffer``."""

    buffer: Buffer
    offset: Affine
    value: Node


@dataclass(slots=True)
class Stage:
    """A loop over ``vars`` inside a row: reductions of that row, and stores, in one pass."""

    vars: tuple[LoopVar, ...]
    stores: list[Store] = field(default_factory=list)
    reductions: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a kernel computes for whom: the equations that were fused into it."""

    keys: tuple[int, ...]
    names: tuple[str, ...]
    sources: tuple[Source | None, ...]
    origins: tuple[Origin | None, ...]


@dataclass(eq=False, slots=True)
class LoopKernel:
    """For every row (an index of ``rows``) run the stages in order. Rows are independent.

    With ``vector_rows`` the lanes are neighbours along the last of ``rows``: a task then takes a
    range of the other rows, or, when there is only one counter, a range of that. Otherwise the
    lanes are neighbours in the stages' inner loops, and a task takes a range of all rows.
    """

    name: str
    rows: tuple[LoopVar, ...]
    stages: list[Stage]
    provenance: Provenance
    rows_per_task: int = 1
    vector_rows: bool = False
    expressions: Expressions | None = None

    @property
    def divided(self) -> tuple[LoopVar, ...]:
        """The counters whose range tasks divide among them."""
        return self.rows[:-1] if self.vector_rows and len(self.rows) > 1 else self.rows

    @property
    def row_count(self) -> int:
        """Number of rows that tasks divide among them."""
        return math.prod(v.extent for v in self.divided)

    @property
    def tasks(self) -> int:
        """Number of independent pieces; fixed by the shapes alone."""
        return -(-self.row_count // self.rows_per_task)


@dataclass(eq=False, slots=True)
class ContractionKernel:
    """``batch`` products of ``m x k`` and ``k x n`` matrices, stored through an epilogue.

    ``a``/``b`` are the operands' elements at (batch, row, k) and (batch, k, column); the stores
    read the result through ``accumulator``.
    """

    name: str
    batch: LoopVar
    row: LoopVar
    column: LoopVar
    inner: LoopVar
    a: Node
    b: Node
    accumulator: Node
    stores: list[Store]
    provenance: Provenance


@dataclass(eq=False, slots=True)
class PrefixKernel:
    """A running value along ``axis_var`` for every row, stored at each step."""

    name: str
    rows: tuple[LoopVar, ...]
    axis_var: LoopVar
    value: Node
    initial: Node
    accumulator: Node
    combined: Node
    stored: Node
    store_buffer: Buffer
    store_offset: Affine
    provenance: Provenance


@dataclass(eq=False, slots=True)
class ScatterKernel:
    """For every index vector in order, and every element of its window, update the target.

    ``valid`` says whether the index vector lies inside; ``store`` combines the old element with
    ``update``. Tasks take ranges of the counters ``divided``: batch axes of the indices, or axes of
    the window. Either way one task makes all updates of an element, in order. It writes the
    element's first value before, if there is a ``fill``, which has the counters ``places`` of
    batch and addressed axes.
    """

    name: str
    indices: tuple[LoopVar, ...]
    window: tuple[LoopVar, ...]
    valid: Node
    update: Node
    store: Store
    provenance: Provenance
    places: tuple[LoopVar, ...] = ()
    fill: Store | None = None
    divided: tuple[LoopVar, ...] = ()
    rows_per_task: int = 1

    @property
    def stores(self) -> list[Store]:
        """The fill and the update."""
        return [self.store] if self.fill is None else [self.fill, self.store]

    @property
    def row_count(self) -> int:
        """Number of values of the divided counters."""
        return math.prod(v.extent for v in self.divided)

    @property
    def tasks(self) -> int:
        """Number of independent pieces; fixed by the shapes alone."""
        return -(-self.row_count // self.rows_per_task)


@dataclass(eq=False, slots=True)
class SortKernel:
    """Rows of several arrays, each put into the stable order in which its keys rise, or fall.

    ``keys``, the first of which counts most, and the stores' values are elements at (rows,
    ``source``); the stores' offsets are at (rows, ``place``), whose extent says how many of the
    first are stored. With ``parts`` all threads sort one row after the other together, cut into so
    many parts at most; otherwise rows are tasks.
    """

    name: str
    rows: tuple[LoopVar, ...]
    source: LoopVar
    place: LoopVar
    keys: tuple[Node, ...]
    stores: list[Store]
    provenance: Provenance
    falling: bool = False
    parts: int = 0
    workspace: tuple[Buffer, ...] = ()  # of the parts: records twice, and counts
    rows_per_task: int = 1

    @property
    def length(self) -> int:
        """Elements of a row."""
        return self.source.extent

    @property
    def row_count(self) -> int:
        """Number of rows."""
        return math.prod(v.extent for v in self.rows)

    @property
    def tasks(self) -> int:
        """Number of pieces that threads may share; fixed by the shapes alone."""
        return self.parts or -(-self.row_count // self.rows_per_task)


@dataclass(eq=False, slots=True)
class HostStep:
    """Call the primitive's ``evaluate`` in Python on thread 0."""

    name: str
    number: int
    inputs: tuple[Storage, ...]
    outputs: tuple[Storage, ...]


@dataclass(eq=False, slots=True)
class LoopStep:
    """Run ``body`` ``counter.extent`` times; the thread team stays together."""

    counter: LoopVar
    body: Block


@dataclass(eq=False, slots=True)
class BranchStep:
    """Run the branch whose number the i32 in ``index`` holds, clamped."""

    index: Storage
    branches: tuple[Block, ...]


@dataclass(eq=False, slots=True)
class WhileStep:
    """Run ``condition`` then, while ``flag`` is true, ``body`` and ``condition`` again."""

    condition: Block
    flag: Storage
    body: Block


Kernel = LoopKernel | ContractionKernel | PrefixKernel | ScatterKernel | SortKernel
Step = Kernel | HostStep | LoopStep | BranchStep | WhileStep


@dataclass(eq=False, slots=True)
class Block:
    """Steps in order, and the temporaries that live inside it."""

    steps: list[Step] = field(default_factory=list)


def inner_blocks(step: Step) -> tuple[Block, ...]:
    """The blocks inside control flow, in the order that they first run; otherwise none."""
    if isinstance(step, LoopStep):
        return (step.body,)
    if isinstance(step, WhileStep):
        return step.condition, step.body
    return step.branches if isinstance(step, BranchStep) else ()
