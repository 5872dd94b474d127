"""What a contraction is, what a processor is to it, and how a plan for one reads.

Pure data on static shapes. ``gemm_schedule`` makes plans, ``gemm`` writes what they say. Start
reading at ``ContractionSpec``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from pullback.records import dataclass


@dataclass(frozen=True)
class Matrix:
    """An operand read through an index map.

    Attributes:
        dtype: LLVM element type in memory: ``float``, ``double``, ``half``, ``bfloat``, ``i8`` …
        strides: Element strides for (batch, row, column) of the matrix as ``ContractionSpec``
            names them; zero and negative are allowed. For a fused operand they are a hint: the
            smaller of the last two says along which axis its callback is asked for lanes.
        signed: Whether an integer is sign-extended when the accumulator is wider.
    """

    dtype: str
    strides: tuple[int, int, int]
    signed: bool = True


@dataclass(frozen=True)
class Target:
    """The facts about a processor that tile sizes depend on.

    Attributes:
        lanes: Floats in a vector register: 16, 8 or 4.
        registers: Number of vector registers.
        has_fma: Whether a fused multiply-add is one instruction.
        has_half: Whether a conversion from ``half`` is one instruction.
        l1_bytes: Data cache nearest to a core.
        l2_bytes: Second-level cache of a core.
    """

    lanes: int = 4
    registers: int = 16
    has_fma: bool = False
    has_half: bool = False
    l1_bytes: int = 32 << 10
    l2_bytes: int = 512 << 10

    @property
    def vector_bytes(self) -> int:
        """Bytes of a vector register."""
        return 4 * self.lanes


AVX512 = Target(16, 32, has_fma=True, has_half=True, l1_bytes=48 << 10, l2_bytes=1 << 20)
AVX2 = Target(8, 16, has_fma=True, has_half=True)
NEON = Target(4, 32, has_fma=True, has_half=True)
GENERIC = Target()


@dataclass(frozen=True)
class ContractionSpec:
    """``C[b, i, j] = sum over p of A[b, i, p] * B[b, p, j]``, everything static.

    Attributes:
        batch: Number of independent products.
        m: Rows of the result.
        n: Columns of the result.
        k: Length of the sum; 0 gives zeros.
        a: Element (b, i, p) lies at ``a.strides . (b, i, p)``.
        b: Element (b, p, j) lies at ``b.strides . (b, p, j)``.
        accumulate: LLVM element type of products and sums.
        target: The processor.
        fused_a: Whether A's elements come from a callback in place of memory.
        fused_b: The same for B.
        indexed_a: Whether A is read through two tables: element (b, i, p) lies at
            ``a.strides[0] * b + rows[i] + terms[p]``. So convolutions need no copy of patches.
    """

    batch: int
    m: int
    n: int
    k: int
    a: Matrix
    b: Matrix
    accumulate: str
    target: Target
    fused_a: bool = False
    fused_b: bool = False
    indexed_a: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether both operands are matrices in memory."""
        return not (self.fused_a or self.fused_b or self.indexed_a)

    def transposed(self) -> ContractionSpec:
        """The spec of the transposed result: roles and axes of A and B exchanged."""
        a, b = (
            replace(x, strides=(x.strides[0], x.strides[2], x.strides[1])) for x in (self.a, self.b)
        )
        return replace(
            self, m=self.n, n=self.m, a=b, b=a, fused_a=self.fused_b, fused_b=self.fused_a
        )


@dataclass(frozen=True)
class Schedule:
    """How a contraction is computed. Prints as one line.

    Attributes:
        kind: ``outer``: tiles of rows x column vectors, A broadcast; ``dot``: lanes run along k;
            ``sweep``: one row, a few lines of B at a time are read from end to end.
        swapped: Whether the transposed result is computed.
        lanes: Logical vector length.
        rows: Rows of a tile.
        vectors: Vectors across a tile (``dot``: columns held at once; ``sweep``: lines of B).
        row_tiles: Number of tiles down the result; the last may overlap the one before.
        panel: Columns of a tile.
        panels: Number of tiles across the result; the last may be narrower.
        row_blocks: Blocks of whole tiles down the result; a task is one row block x column block.
        column_blocks: Blocks of whole panels across the result.
        k_block: Terms summed between two packings.
        k_blocks: Number of such blocks.
        pack_a: How A is packed, if it is.
        pack_b: How B is packed, if it is.
        resident: Whether packed columns serve the following tasks of a thread.
    """

    kind: Literal["outer", "dot", "sweep"]
    swapped: bool
    lanes: int
    rows: int
    vectors: int
    row_tiles: int
    panel: int
    panels: int
    row_blocks: int = 1
    column_blocks: int = 1
    k_block: int = 1
    k_blocks: int = 1
    pack_a: Literal["no", "along k", "along rows"] = "no"
    pack_b: Literal["no", "copy", "transpose", "gather"] = "no"
    resident: bool = False

    def __str__(self) -> str:
        return (
            f"{self.kind}{' swapped' if self.swapped else ''} tile {self.rows}x{self.vectors}"
            f"x{self.lanes}, tiles {self.row_tiles}x{self.panels}, blocks {self.row_blocks}x"
            f"{self.column_blocks}, k {self.k_blocks}x{self.k_block}, pack a {self.pack_a}, "
            f"b {self.pack_b}{' resident' if self.resident else ''}"
        )

    @property
    def turns(self) -> bool:
        """Whether squares of the transposed result are turned before they are handed over."""
        return self.swapped and self.rows > 1

    @property
    def runs_errands(self) -> bool:
        """Whether tiles have registers left to ask for memory on their way."""
        if self.kind == "outer":
            return self.vectors == 1 or self.turns
        return self.kind == "dot" and self.pack_b != "no"

    @property
    def block_rows(self) -> int:
        """Most rows of a row block."""
        return ceil_div(self.row_tiles, self.row_blocks) * self.rows

    @property
    def block_panels(self) -> int:
        """Most panels of a column block."""
        return ceil_div(self.panels, self.column_blocks)


def flop_count(spec: ContractionSpec) -> int:
    """Floating-point (or integer) operations of the contraction: two a term."""
    return 2 * spec.batch * spec.m * spec.n * spec.k


def packs_along_rows(matrix: Matrix) -> bool:
    """Whether lanes run along the matrix's first axis (rows of A, terms k of B) when packed."""
    return abs(matrix.strides[1]) < abs(matrix.strides[2])


def ceil_div(x: int, y: int) -> int:
    """``x / y``, rounded up."""
    return -(-x // y)
