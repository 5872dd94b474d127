"""Groups equations into kernels.

A group runs as one kernel over *rows*: the leading axes that all its equations share index by
index. Which operands an equation reads at its own row is found by asking its ``lower`` rule (a
probe), so fusion knows no primitive by name. Moves (views, iota, gathers) belong to no group: they
are index maps inside whoever reads them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import field

from pullback.kernels.core import Node
from pullback.kernels.expression import Expressions, ReadOperand, dynamic_nodes
from pullback.kernels.index import Affine, LoopVar, as_index
from pullback.program.core import Atom, Equation, Literal, Program, Var
from pullback.program.primitive import Trait
from pullback.records import dataclass

#: A group without rows runs on one thread; it may only handle this many elements a value.
SERIAL_ELEMENTS = 4096
#: A group must keep this many rows, unless its values are as small as the limit above.
MIN_ROWS = 16
#: Epilogues run in vectors along the result's columns. Where these waste lanes, equations that
#: read further arrays of the result's size don't join: they run over the flat array.
LANES = 16
#: A tile's rows lie apart in the arrays that an epilogue reads, and the processor foresees no such
#: walk. Several arrays with more bytes than a second-level cache are read as streams instead: the
#: result is stored, and what reads it runs over the flat arrays.
MOST_EPILOGUE_BYTES, LEAST_STREAM_BYTES = 2 << 20, 256 << 10
#: An expression of at most this many cheap operations is computed again rather than stored.
RECOMPUTE_OPS = 8
#: An index map through which a reader would reach memory this often is stored: reading through
#: doubles with every concatenation of two parts of one array.
INLINE_READS = 32
#: A reduction that is not fixed for a row may be computed this often for each of its results.
MOST_REPEATS = 4

HEAVY = Trait.CONTRACTION | Trait.PREFIX | Trait.SCATTER | Trait.SORT | Trait.HOST | Trait.CONTROL


def is_heavy(eqn: Equation) -> bool:
    """Whether the equation is a kernel or step of its own kind, not a loop expression."""
    return bool(eqn.primitive.traits & HEAVY)


def is_inline(eqn: Equation) -> bool:
    """Whether the equation only moves elements, so that readers look through it."""
    return bool(eqn.primitive.traits & (Trait.LAYOUT | Trait.IDENTITY)) and not is_heavy(eqn)


def stored_views(program: Program) -> set[Var]:
    """Results of index maps that readers should not look through: too much lies behind."""
    reads: dict[Atom, int] = {}
    stored: set[Var] = set()
    for eqn in program.equations:
        if is_inline(eqn):
            behind = 1 + sum(reads.get(a, 0) for a in eqn.inputs)
            reads.update((v, behind) for v in eqn.outputs)
            if behind > INLINE_READS:
                stored.update(eqn.outputs)
                reads.update((v, 0) for v in eqn.outputs)
    return stored


@dataclass(eq=False)
class Group:
    """Equations that become one kernel, or one heavy equation on its own."""

    number: int
    equations: list[Equation]
    rows: tuple[int, ...]
    heavy: Equation | None = None
    largest: int = 0

    @property
    def is_contraction(self) -> bool:
        """Whether the group is a contraction with its epilogue."""
        return self.heavy is not None and self.heavy.primitive.has(Trait.CONTRACTION)

    @property
    def is_open(self) -> bool:
        """Whether further equations may join."""
        return self.heavy is None or self.is_contraction


@dataclass
class Fusion:
    """The outcome: groups in a legal order, and the variables that get memory."""

    groups: list[Group]
    stored: set[Var]
    group_of: dict[Var, Group]
    producer: dict[Var, Equation]
    reads: dict[Group, set[Var]] = field(default_factory=dict)


def fuse(program: Program, forced: Iterable[Var] = ()) -> Fusion:
    """Group the equations of ``program`` into kernels.

    Args:
        program: What to compile; control flow is a heavy equation.
        forced: Variables that must be stored (outputs, operands of control flow, and
            ``stored_views``).
    """
    return _Fuser(program, set(forced)).run()


class _Fuser:
    def __init__(self, program: Program, forced: set[Var]) -> None:
        self.program = program
        self.forced = forced
        self.producer = {v: eqn for eqn in program.equations for v in eqn.outputs}
        self.readers: dict[Atom, list[Equation]] = {}
        for eqn in program.equations:
            for atom in eqn.inputs:
                self.readers.setdefault(atom, []).append(eqn)
        self.position = {id(e): i for i, e in enumerate(program.equations)}
        self.groups: list[Group] = []
        self.group_of: dict[Var, Group] = {}
        self.ancestors: list[int] = []  # bit set of group numbers, by group number
        self.alive: set[int] = set()
        self.stored: set[Var] = set()
        self.streamed: set[Equation] = set()  # contractions whose readers stream further arrays

    def run(self) -> Fusion:
        for eqn in self.program.equations:
            if eqn.primitive.has(Trait.CONTRACTION):
                self.forced.update(v for a in eqn.inputs for v in self._computed_view(a))
                if self._has_streaming_readers(eqn):
                    self.streamed.add(eqn)
        for eqn in self.program.equations:
            if is_heavy(eqn):
                self._start(eqn, heavy=True)
            elif not is_inline(eqn) or any(v in self.forced for v in eqn.outputs):
                self._place(eqn)
        groups = [g for g in self.groups if g.number in self.alive]
        fusion = Fusion(groups, set(), self.group_of, self.producer)
        self._choose_stored(fusion)
        return fusion

    # --- reading through index maps --------------------------------------------------------------
    def alignment(self, eqn: Equation) -> dict[Var, int]:
        """How many leading indices of ``eqn`` each variable it reads is read at, unchanged.

        Variables are those behind index maps; 0 means: read anywhere.
        """
        found: dict[Var, int] = {}
        if not any(v.type.size for v in eqn.outputs):
            return found
        b = Expressions()
        shape = eqn.outputs[0].type.shape
        vars = b.fresh_vars(shape, frozenset())
        own = tuple(as_index(v) for v in vars)

        def read(atom: Atom, index: tuple[Affine, ...]) -> Node:
            if isinstance(atom, Literal):
                return b.constant(atom.value, atom.type.dtype)
            eqn = self.producer.get(atom)
            if eqn is not None and is_inline(eqn) and atom not in self.group_of:
                return self._lower(b, eqn, index, read)
            same = 0
            limit = min(len(own), len(index))
            while (
                same < limit and index[same] == own[same] and atom.type.shape[same] == shape[same]
            ):
                same += 1
            found[atom] = min(found.get(atom, same), same)
            return b.node("probe", atom.type.dtype, (), (atom, index), _free(index))

        if is_heavy(eqn) and not eqn.primitive.has(Trait.CONTRACTION):
            for atom in eqn.inputs:
                for var in self._behind(atom):
                    found[var] = 0
            return found
        with b.inside(own):
            self._lower(b, eqn, own, read)
        return found

    def _lower(
        self,
        b: Expressions,
        eqn: Equation,
        index: tuple[Affine, ...],
        read: Callable[[Atom, tuple[Affine, ...]], Node],
    ) -> Node:
        operands = [
            ReadOperand(a.type, lambda i, a=a: read(a, i))  # type: ignore[misc]
            for a in eqn.inputs
        ]
        return eqn.primitive.lower(b, index, *operands)  # type: ignore[return-value]

    def _computed_view(self, atom: Atom) -> Iterable[Var]:
        """The variable behind a contraction's operand that strides alone can't reach."""
        while isinstance(atom, Var) and atom in self.producer:
            eqn = self.producer[atom]
            if not is_inline(eqn) or not atom.type.size:
                return
            source = self._moved_operand(eqn)
            if source is None:
                yield atom
                return
            atom = source

    def _moved_operand(self, eqn: Equation) -> Atom | None:
        """The operand that an index map moves, if it does nothing else."""
        b = Expressions()
        own = tuple(map(as_index, b.fresh_vars(eqn.outputs[0].type.shape, frozenset())))

        def read(atom: Atom, index: tuple[Affine, ...]) -> Node:
            return b.node("probe", atom.type.dtype, (), (atom, index), _free(index))

        with b.inside(own):
            node = self._lower(b, eqn, own, read)
        if node.op != "probe" or any(dynamic_nodes(i) for i in node.payload[1]):
            return None
        atom: Atom = node.payload[0]
        return atom

    def _behind(self, atom: Atom) -> Iterable[Var]:
        if isinstance(atom, Literal):
            return
        eqn = self.producer.get(atom)
        if eqn is not None and is_inline(eqn) and atom not in self.group_of:
            for a in eqn.inputs:
                yield from self._behind(a)
        else:
            yield atom

    # --- groups ----------------------------------------------------------------------------------
    def _start(self, eqn: Equation, *, heavy: bool = False) -> Group:
        number = len(self.groups)
        shape = eqn.outputs[0].type.shape if eqn.outputs else ()
        group = Group(number, [eqn], shape, eqn if heavy else None)
        group.largest = max((v.type.size for v in eqn.outputs), default=0)
        self.groups.append(group)
        self.alive.add(number)
        bits = 0
        for atom in eqn.inputs:
            for var in self._behind(atom):
                if var in self.group_of:
                    producer = self.group_of[var].number
                    bits |= self.ancestors[producer] | 1 << producer
        self.ancestors.append(bits)
        for v in eqn.outputs:
            self.group_of[v] = group
        return group

    def _place(self, eqn: Equation) -> None:
        """Put a loop equation into the best group it may join, merging groups where possible."""
        reads = self.alignment(eqn)
        group = self._start(eqn)
        candidates = {self.group_of[v] for v in reads if v in self.group_of}
        for other in sorted(candidates, key=lambda g: -g.number):
            rows = self._joint_rows(group, other, reads)
            if rows is not None and not self._would_cycle(group, other):
                group = self._merge(other, group, rows)

    def _joint_rows(
        self, group: Group, other: Group, reads: dict[Var, int]
    ) -> tuple[int, ...] | None:
        """Rows of the two groups together; None when they can't or should not be one kernel."""
        if not other.is_open or (group.is_contraction and other.is_contraction):
            return None
        known = [n for v, n in reads.items() if self.group_of.get(v) in (group, other)]
        length = min([len(group.rows), len(other.rows), *known])
        rows = other.rows[:length]
        if group.rows[:length] != rows:
            return None
        if group.is_contraction or other.is_contraction:
            contraction = other if other.is_contraction else group
            joined = group if other.is_contraction else other
            full = contraction.rows
            apart = contraction.heavy in self.streamed or not _fills_lanes(full)
            if apart and self._reads_whole_arrays(joined, contraction):
                return None
            return rows if rows == full and joined.rows == full else None
        largest = max(group.largest, other.largest, *(v.type.size for v in reads), 1)
        if not rows and (group.rows or other.rows):
            return None
        if math.prod(rows) < MIN_ROWS and largest > SERIAL_ELEMENTS:
            return None
        if self._repeats_reductions([*group.equations, *other.equations], math.prod(rows)):
            return None
        return rows

    def _repeats_reductions(self, equations: list[Equation], rows: int) -> bool:
        """Whether a reduction that is not fixed for a row would run again for its readers."""
        # For every value, the results of the smallest reduction behind it.
        results = {
            v: v.type.size
            for eqn in equations
            if eqn.primitive.has(Trait.REDUCTION)
            for v in eqn.outputs
            if v.type.size > rows
        }
        if not results:
            return False
        for eqn in sorted(equations, key=lambda e: self.position[id(e)]):
            behind = [results[v] for a in eqn.inputs for v in self._behind(a) if v in results]
            for v in eqn.outputs if behind else ():
                results[v] = min(behind)
                if v.type.size > MOST_REPEATS * results[v]:
                    return True
        return False

    def _reads_whole_arrays(self, joined: Group, contraction: Group) -> bool:
        """Whether the joined equations read arrays as large as the result, besides it."""
        inside = (joined, contraction)
        size = math.prod(contraction.rows)
        return any(
            v.type.size >= size and self.group_of.get(v) not in inside
            for eqn in joined.equations
            for v in self.alignment(eqn)
        )

    def _has_streaming_readers(self, contraction: Equation) -> bool:
        """Whether elementwise work on the result reads more than an epilogue should."""
        result = contraction.output.type
        if result.nbytes < LEAST_STREAM_BYTES:
            return False
        derived, further = [contraction.output], set[Var]()
        for var in derived:
            for eqn in self.readers.get(var, ()):
                if is_heavy(eqn) or is_inline(eqn) or eqn.primitive.has(Trait.REDUCTION):
                    continue
                if eqn.output.type.shape == result.shape and eqn.output not in derived:
                    derived.append(eqn.output)
                    further.update(v for v in self.alignment(eqn) if v.type.size >= result.size)
        further -= set(derived)
        return len(further) > 1 and sum(v.type.nbytes for v in further) > MOST_EPILOGUE_BYTES

    def _would_cycle(self, group: Group, other: Group) -> bool:
        """Whether a third group lies on a path from one to the other."""
        a, b = 1 << group.number, 1 << other.number
        for number in self.alive:
            if number in (group.number, other.number):
                continue
            bits, bit = self.ancestors[number], 1 << number
            if (bits & b and self.ancestors[group.number] & bit) or (
                bits & a and self.ancestors[other.number] & bit
            ):
                return True
        return False

    def _merge(self, kept: Group, gone: Group, rows: tuple[int, ...]) -> Group:
        kept.equations.extend(gone.equations)
        kept.equations.sort(key=lambda e: self.position[id(e)])
        kept.rows = rows
        kept.heavy = kept.heavy or gone.heavy
        kept.largest = max(kept.largest, gone.largest)
        for eqn in gone.equations:
            for v in eqn.outputs:
                self.group_of[v] = kept
        self.alive.discard(gone.number)
        bit_kept, bit_gone = 1 << kept.number, 1 << gone.number
        joint = (self.ancestors[kept.number] | self.ancestors[gone.number]) & ~(bit_kept | bit_gone)
        self.ancestors[kept.number] = joint
        for number in self.alive:
            if number != kept.number and self.ancestors[number] & (bit_kept | bit_gone):
                self.ancestors[number] = (self.ancestors[number] & ~bit_gone) | bit_kept | joint
        return kept

    # --- memory ----------------------------------------------------------------------------------
    def _choose_stored(self, fusion: Fusion) -> None:
        """Store what leaves its group and is not cheaper to compute again where it is read."""
        self.stored = fusion.stored
        fusion.stored.update(self.forced)
        for group in fusion.groups:
            fusion.stored.update(self._needed_in_memory(group))
        self._prefer_results(fusion)
        for group in fusion.groups:
            for var in self._foreign_reads(group):
                if self._recompute_cost(var) > RECOMPUTE_OPS:
                    fusion.stored.add(var)
        # A cheap value that was not stored is computed again from its own operands: these may
        # live in other groups, and then they must be stored. Repeat until nothing changes.
        before = -1
        while before != len(fusion.stored):
            before = len(fusion.stored)
            for group in fusion.groups:
                fusion.reads[group] = self._reads_of_group(group)
                fusion.stored.update(v for v in fusion.reads[group] if v in self.group_of)

    def _needed_in_memory(self, group: Group) -> Iterable[Var]:
        """What a heavy equation reads or writes in memory."""
        if group.heavy is None:
            return
        if not group.is_contraction:
            yield from group.heavy.outputs
            return
        for atom in group.heavy.inputs:
            yield from (v for v in self._behind(atom) if v in self.group_of)

    def _foreign_reads(self, group: Group) -> Iterable[Var]:
        """What the group's equations read of other groups."""
        for eqn in group.equations:
            yield from (v for v in self.alignment(eqn) if self.group_of.get(v, group) is not group)

    def _prefer_results(self, fusion: Fusion) -> None:
        """Store a contraction's result where several cheap values of it are read elsewhere."""
        wanted: dict[Group, set[Var]] = {}
        for group in fusion.groups:
            for var in self._foreign_reads(group):
                owner = self.group_of[var]
                if var not in self.stored and owner.is_contraction:
                    wanted.setdefault(owner, set()).add(var)
        for owner, values in wanted.items():
            if owner.heavy is None or len(values) < 2:
                continue
            result = owner.heavy.outputs[0]
            self.stored.add(result)
            if any(self._recompute_cost(v) > RECOMPUTE_OPS for v in values):
                self.stored.discard(result)

    def _recompute_cost(self, var: Var, limit: int = RECOMPUTE_OPS) -> int:
        """Cheap operations needed to compute ``var`` from memory; over ``limit``: too many."""
        eqn = self.producer.get(var)
        if eqn is None or var in self.stored:
            return 0
        if is_inline(eqn):
            own = 0
        elif eqn.primitive.has(Trait.CHEAP) and not is_heavy(eqn):
            own = 1
        else:
            return limit + 1
        for atom in eqn.inputs:
            if own > limit:
                break
            if isinstance(atom, Var):
                own += self._recompute_cost(atom, limit - own)
        return own

    def _reads_of_group(self, group: Group) -> set[Var]:
        """Variables whose memory the group's kernel reads."""
        members = {v for eqn in group.equations for v in eqn.outputs}
        result: set[Var] = set()
        seen: set[Var] = set()
        stack: list[Var] = [v for e in group.equations for a in e.inputs for v in self._behind(a)]
        while stack:
            var = stack.pop()
            if var in seen or var in members:
                continue
            seen.add(var)
            eqn = self.producer.get(var)
            if eqn is None or not 0 < self._recompute_cost(var) <= RECOMPUTE_OPS:
                result.add(var)
            else:
                stack.extend(v for a in eqn.inputs for v in self._behind(a))
        return result


def _fills_lanes(shape: tuple[int, ...]) -> bool:
    """Whether vectors along the last axis are mostly full."""
    last = shape[-1] if shape else 1
    return last >= 0.7 * LANES * math.ceil(last / LANES)


def _free(index: tuple[Affine, ...]) -> frozenset[LoopVar]:
    return frozenset().union(*(i.free for i in index))
