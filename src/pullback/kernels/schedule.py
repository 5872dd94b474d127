"""Program -> block of steps: which memory each variable has, in which order the kernels run.

Control flow becomes steps around inner blocks. A result that replaces an input (a parameter and
its update, a loop's carry) is written in place when every reader of the old value can run before.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Any

from pullback.kernels.core import (
    Block,
    BranchStep,
    Buffer,
    ContractionKernel,
    HostStep,
    Kernel,
    LoopKernel,
    LoopStep,
    Node,
    PrefixKernel,
    ScatterKernel,
    SortKernel,
    Space,
    Stage,
    Step,
    Storage,
    Store,
    WhileStep,
)
from pullback.kernels.expression import (
    Expressions,
    ReadOperand,
    children,
    dynamic_nodes,
    topological,
)
from pullback.kernels.fuse import Fusion, Group, fuse, is_inline, stored_views
from pullback.kernels.index import Affine, LoopVar, as_index, linear_index
from pullback.kernels.lower import GroupLowering
from pullback.kernels.scatter import lower_scatter
from pullback.kernels.sort import lower_sort
from pullback.kernels.stages import stage_roots
from pullback.program.core import Atom, Equation, Literal, NDArray, Program, Var
from pullback.program.primitive import Primitive, Trait
from pullback.records import dataclass
from pullback.types import ArrayType, DType, bool_

#: So many index components of a scatter are stored before it, where they are computed.
STORED_INDICES = 128


@dataclass(eq=False)
class Lowered:
    """A program as steps, and the memory around it."""

    block: Block
    inputs: list[Buffer]
    outputs: list[Buffer]
    output_types: list[ArrayType]
    constants: list[tuple[Buffer, NDArray]]
    temporaries: list[Buffer]
    host_calls: list[tuple[Primitive, list[ArrayType], list[ArrayType]]]
    shared: dict[int, int]  # output number -> number of the input whose memory it takes over
    name: str = "main"


def lower_program(program: Program, shared: dict[int, int] | None = None) -> Lowered:
    """Lower a program whose calls have been inlined.

    Args:
        program: What to compile.
        shared: For each output that may take over an input's memory, the number of that input.
            The types must agree. The caller gives these inputs up.
    """
    shared = dict(shared or {})
    scheduler = _Scheduler()
    inputs = [
        Buffer(v.type.dtype, v.type.size, Space.INPUT, f"in{i}")
        for i, v in enumerate(program.inputs)
    ]
    outputs = []
    for j, atom in enumerate(program.outputs):
        buffer = Buffer(atom.type.dtype, atom.type.size, Space.OUTPUT, f"out{j}")
        if j in shared:
            buffer.base = inputs[shared[j]]
        outputs.append(buffer)
    block = scheduler.block(program, [Storage(b) for b in inputs], [Storage(b) for b in outputs])
    return Lowered(
        block,
        inputs,
        outputs,
        list(program.output_types),
        scheduler.constants,
        scheduler.temporaries,
        scheduler.host_calls,
        shared,
        program.name,
    )


@dataclass
class _Scheduler:
    constants: list[tuple[Buffer, NDArray]] = field(default_factory=list)
    temporaries: list[Buffer] = field(default_factory=list)
    host_calls: list[tuple[Primitive, list[ArrayType], list[ArrayType]]] = field(
        default_factory=list
    )

    def temporary(self, dtype: DType, size: int) -> Buffer:
        """A new buffer in the arena."""
        buffer = Buffer(dtype, size, Space.ARENA, f"t{len(self.temporaries)}")
        self.temporaries.append(buffer)
        return buffer

    def block(
        self, program: Program, inputs: Sequence[Storage], targets: Sequence[Storage]
    ) -> Block:
        """The steps that compute the program's outputs into ``targets``."""
        return _BlockScheduler(self, program, inputs, targets).run()


class _BlockScheduler:
    def __init__(
        self,
        outer: _Scheduler,
        program: Program,
        inputs: Sequence[Storage],
        targets: Sequence[Storage],
    ) -> None:
        self.outer = outer
        self.program = program
        self.targets = targets
        self.producer = {v: e for e in program.equations for v in e.outputs}
        self.stored_views = stored_views(program)
        self.storage: dict[Var, Storage] = dict(zip(program.inputs, inputs, strict=True))
        for v, data in program.constants:
            buffer = Buffer(v.type.dtype, v.type.size, Space.CONSTANT, f"c{len(outer.constants)}")
            outer.constants.append((buffer, data))
            self.storage[v] = Storage(buffer)
        self.block = Block()
        self.final_copies: list[tuple[Atom, Storage]] = []

    def run(self) -> Block:
        """Schedule everything."""
        forced: set[Var | None] = {
            a for a in self.program.outputs if isinstance(a, Var) and a in self.producer
        }
        forced |= self.stored_views
        for eqn in self.program.equations:
            if eqn.primitive.traits & (Trait.CONTROL | Trait.HOST):
                forced.update(self._needs_memory(a) for a in eqn.inputs)
            if eqn.primitive.has(Trait.SCATTER):
                forced.update(self._needed_by_scatter(eqn))
        self.fusion = fuse(self.program, [v for v in forced if v is not None])
        self.order = _Order(self.fusion)
        self._assign_targets()
        for v in self.producer:
            if v in self.fusion.stored and v not in self.storage:
                self.storage[v] = Storage(self.outer.temporary(v.type.dtype, v.type.size))
        for group in self.order.sorted():
            self._emit(group)
        self._finish_copies()
        return self.block

    # --- memory ----------------------------------------------------------------------------------
    def _needs_memory(self, atom: Atom) -> Var | None:
        """The variable that must be stored for ``atom`` to be contiguous in memory."""
        if isinstance(atom, Literal):
            return None
        base = self._contiguous_base(atom)
        var = atom if base is None else base[0]
        return var if var in self.producer else None

    def _contiguous_base(self, atom: Var) -> tuple[Var, int] | None:
        """The variable behind reshapes and leading slices, and the offset in it."""
        eqn = self.producer.get(atom)
        if eqn is None or not is_inline(eqn) or atom in self.stored_views:
            return atom, 0
        if not atom.type.size:
            return None
        b = Expressions()
        vars = b.fresh_vars(atom.type.shape, frozenset())
        own = tuple(map(as_index, vars))

        def read(a: Atom, index: tuple[Affine, ...]) -> Node:
            if isinstance(a, Literal):
                return b.constant(a.value, a.type.dtype)
            inner = self.producer.get(a)
            if inner is not None and is_inline(inner) and a not in self.stored_views:
                return element(inner, index)
            return b.node("probe", a.type.dtype, (), (a, index))

        def element(eqn: Equation, index: tuple[Affine, ...]) -> Node:
            operands = [ReadOperand(a.type, lambda i, a=a: read(a, i)) for a in eqn.inputs]  # type: ignore[misc]
            return eqn.primitive.lower(b, index, *operands)  # type: ignore[return-value]

        node = element(eqn, own)
        if node.op != "probe":
            return None
        var, index = node.payload
        shift = linear_index(index, var.type.shape) - linear_index(own, atom.type.shape)
        return None if shift.terms else (var, shift.constant)

    def _needed_by_scatter(self, eqn: Equation) -> Iterator[Var | None]:
        """What must be stored for a scatter: its operand, and indices that are computed.

        An operand that only moves elements, such as zeros, is written to the result at once. Of
        indices every task reads all, one by one: vectors compute them before.
        """
        x, indices, updates = eqn.inputs
        base = self._contiguous_base(x) if isinstance(x, Var) else None
        if base is not None and base[0] in self.producer:
            yield base[0]
        if indices.type.size >= STORED_INDICES and updates.type.size:
            yield self._needs_memory(indices)

    def _is_filled(self, eqn: Equation) -> bool:
        """Whether a scatter must write its operand to the result, where it is not yet."""
        source = self._stored(eqn.inputs[0])
        return source is None or not _same(source, self.storage[eqn.output])

    def _memory_of(self, atom: Atom) -> Storage:
        """The contiguous memory that holds ``atom``; what has none is written to a temporary."""
        return self._stored(atom) or self._written(atom)

    def _stored(self, atom: Atom) -> Storage | None:
        """The contiguous memory that holds ``atom``, if it lies in any."""
        if not isinstance(atom, Var):
            return None
        if atom in self.storage:
            return self.storage[atom]
        base = self._contiguous_base(atom)
        if base is None or base[0] not in self.storage:
            return None
        stored = self.storage[base[0]]
        return Storage(stored.buffer, stored.offset + base[1])

    def _written(self, atom: Atom) -> Storage:
        target = Storage(self.outer.temporary(atom.type.dtype, atom.type.size))
        self.block.steps.extend(self._copy(atom, target))
        return target

    def _assign_targets(self) -> None:
        """Let outputs be computed where they are wanted; note the copies for the others."""
        by_root: dict[Buffer, list[Var]] = {}
        for v, stored in self.storage.items():
            by_root.setdefault(stored.buffer.root, []).append(v)
        copied_roots = {
            self.storage[a].buffer.root
            for a, t in zip(self.program.outputs, self.targets, strict=True)
            if isinstance(a, Var) and a in self.storage and self.storage[a] != t
        }
        self.in_place: dict[Var, Buffer] = {}
        for atom, target in zip(self.program.outputs, self.targets, strict=True):
            if isinstance(atom, Literal) or atom in self.storage:
                if not (isinstance(atom, Var) and _same(self.storage[atom], target)):
                    self.final_copies.append((atom, target))
                continue
            overwritten = by_root.get(target.buffer.root, [])
            group = self.fusion.group_of[atom]
            if not overwritten:
                self.storage[atom] = target
            elif target.buffer.root not in copied_roots and self._may_overwrite(
                group, atom, set(overwritten)
            ):
                self.storage[atom] = target
                self.in_place[atom] = target.buffer.root
            else:
                self.final_copies.append((atom, target))

    def _may_overwrite(self, group: Group, atom: Var, old: set[Var]) -> bool:
        """Whether the group may write ``atom`` over ``old``; adds the order this needs."""
        if group.heavy is not None and not group.is_contraction:
            eqn = group.heavy
            place = _carried_operand(eqn, atom, old)
            if place is None or eqn.inputs[place] not in old:
                return False
            if sum(a in old for a in self._behind_all(eqn)) > 1:
                return False
        readers = [g for g in self.fusion.groups if g is not group and self._reads(g) & old]
        if any(self.order.depends(reader, group) for reader in readers):
            return False
        for reader in readers:
            self.order.add(reader, group)
        return True

    def _behind_all(self, eqn: Equation) -> list[Var]:
        result: list[Var] = []
        stack = [a for a in eqn.inputs if isinstance(a, Var)]
        while stack:
            var = stack.pop()
            inner = self.producer.get(var)
            if inner is not None and is_inline(inner) and var not in self.storage:
                stack.extend(a for a in inner.inputs if isinstance(a, Var))
            else:
                result.append(var)
        return result

    def _atoms_read(self) -> set[Atom]:
        return {*self.program.outputs, *(a for e in self.program.equations for a in e.inputs)}

    def _reads(self, group: Group) -> set[Var]:
        return self.fusion.reads.get(group, set())

    def _copy(self, atom: Atom, target: Storage) -> list[Kernel]:
        group = Group(-1, [], atom.type.shape)
        return self._lowering(group).evaluate_into(atom, target)

    def _finish_copies(self) -> None:
        """Write outputs that lie elsewhere; sources that are also targets are saved first."""
        written = {t.buffer.root for _, t in self.final_copies}
        moves: list[tuple[Atom, Storage]] = []
        for atom, target in self.final_copies:
            source = self.storage.get(atom) if isinstance(atom, Var) else None
            if source is not None and source.buffer.root in written - {target.buffer.root}:
                saved = Storage(self.outer.temporary(atom.type.dtype, atom.type.size))
                self.block.steps.extend(self._copy(atom, saved))
                stand_in = Var(atom.type)
                self.storage[stand_in] = saved
                moves.append((stand_in, target))
            else:
                moves.append((atom, target))
        for atom, target in moves:
            self.block.steps.extend(self._copy(atom, target))

    # --- steps -----------------------------------------------------------------------------------
    def _lowering(self, group: Group) -> GroupLowering:
        return GroupLowering(group, self.fusion, self.storage, self.outer.temporary)

    def _emit(self, group: Group) -> None:
        eqn = group.heavy
        if eqn is None or group.is_contraction:
            self.block.steps.extend(self._kernels(group))
        elif eqn.primitive.has(Trait.PREFIX):
            self.block.steps.extend(self._lowering(group).prefix(eqn))
        elif eqn.primitive.has(Trait.SCATTER):
            kernels = self._kernels(group)
            fills = any(isinstance(k, ScatterKernel) and k.fill for k in kernels)
            if self._is_filled(eqn) and not fills:
                self.block.steps.extend(self._copy(eqn.inputs[0], self.storage[eqn.output]))
            self.block.steps.extend(kernels)
        elif eqn.primitive.has(Trait.SORT):
            self.block.steps.extend(lower_sort(self._lowering(group), eqn, self._atoms_read()))
        elif eqn.primitive.has(Trait.HOST):
            self._host(eqn)
        else:
            self._control(eqn)

    def _kernels(self, group: Group) -> list[Kernel]:
        """The group's kernels; an in-place result whose kernel reads it elsewhere is redirected."""
        kernels = self._lowered(group)
        roots = [v for e in group.equations for v in e.outputs if v in self.in_place]
        clashing = [
            v for v in roots if any(not _writes_safely(k, self.in_place[v]) for k in kernels)
        ]
        if clashing:
            for v in clashing:
                target = self.storage[v]
                self.storage[v] = Storage(self.outer.temporary(v.type.dtype, v.type.size))
                self.final_copies.append((v, target))
                del self.in_place[v]
            return self._lowered(group)
        return kernels

    def _lowered(self, group: Group) -> list[Kernel]:
        lowering = self._lowering(group)
        if group.heavy is not None and group.heavy.primitive.has(Trait.SCATTER):
            return lower_scatter(lowering, group.heavy, filled=self._is_filled(group.heavy))
        return lowering.lower()

    def _host(self, eqn: Equation) -> None:
        inputs = tuple(self._memory_of(a) for a in eqn.inputs)
        outputs = tuple(self.storage[v] for v in eqn.outputs)
        number = len(self.outer.host_calls)
        self.outer.host_calls.append(
            (eqn.primitive, [a.type for a in eqn.inputs], [v.type for v in eqn.outputs])
        )
        self.block.steps.append(HostStep(eqn.primitive.name, number, inputs, outputs))

    def _control(self, eqn: Equation) -> None:
        primitive: Any = eqn.primitive
        parameters = primitive.parameters()
        if "branches" in parameters:
            self._branches(eqn, primitive)
        elif "length" in parameters:
            self._scan(eqn, primitive)
        elif "condition" in parameters:
            self._while(eqn, primitive)
        else:
            raise TypeError(f"{primitive.name} must be inlined before it is compiled")

    def _branches(self, eqn: Equation, primitive: Any) -> None:
        index, *operands = (self._memory_of(a) for a in eqn.inputs)
        targets = [self.storage[v] for v in eqn.outputs]
        branches = tuple(self.outer.block(p, operands, targets) for p in primitive.branches)
        self.block.steps.append(BranchStep(index, branches))

    def _carry(self, inits: Sequence[Atom], outputs: Sequence[Var]) -> list[Storage]:
        """Memory of the carried values, filled with their initial values."""
        carries = []
        for init, out in zip(inits, outputs, strict=True):
            target = self.storage[out]
            if not (
                isinstance(init, Var) and init in self.storage and _same(self.storage[init], target)
            ):
                self.block.steps.extend(self._copy(init, target))
            carries.append(target)
        return carries

    def _scan(self, eqn: Equation, primitive: Any) -> None:
        constants = [self._memory_of(a) for a in eqn.inputs[: primitive.constants]]
        last = primitive.constants + primitive.carry
        xs = [self._memory_of(a) for a in eqn.inputs[last:]]
        carries = self._carry(
            eqn.inputs[primitive.constants : last], eqn.outputs[: primitive.carry]
        )
        counter = LoopVar(primitive.length, f"step{eqn.key}")

        def slice_of(stored: Storage, type: ArrayType) -> Storage:
            size = type.size // max(primitive.length, 1)
            buffer = Buffer(
                type.dtype,
                size,
                stored.buffer.space,
                stored.buffer.name,
                stored.buffer,
                size,
                counter,
                primitive.reverse,
            )
            return Storage(buffer, stored.offset)

        x_slices = [slice_of(s, a.type) for s, a in zip(xs, eqn.inputs[last:], strict=True)]
        y_slices = [slice_of(self.storage[v], v.type) for v in eqn.outputs[primitive.carry :]]
        body = self.outer.block(
            primitive.body, [*constants, *carries, *x_slices], [*carries, *y_slices]
        )
        self.block.steps.append(LoopStep(counter, body))

    def _while(self, eqn: Equation, primitive: Any) -> None:
        constants = [self._memory_of(a) for a in eqn.inputs[: primitive.constants]]
        carries = self._carry(eqn.inputs[primitive.constants :], eqn.outputs)
        flag = Storage(self.outer.temporary(bool_, 1))
        condition = self.outer.block(primitive.condition, [*constants, *carries], [flag])
        body = self.outer.block(primitive.body, [*constants, *carries], carries)
        self.block.steps.append(WhileStep(condition, flag, body))


def _same(x: Storage, y: Storage) -> bool:
    return (
        x.buffer.root is y.buffer.root
        and x.offset == y.offset
        and (x.buffer.counter is None and y.buffer.counter is None)
    )


def _carried_operand(eqn: Equation, out: Var, old: set[Var]) -> int | None:
    """Position of the operand that ``out`` is the new value of; of branches any of ``old``."""
    primitive: Any = eqn.primitive
    if primitive.has(Trait.SCATTER):
        return 0
    parameters = primitive.parameters()
    position = eqn.outputs.index(out)
    if "length" in parameters:
        return primitive.constants + position if position < primitive.carry else None
    if "condition" in parameters:
        return int(primitive.constants) + position
    if "branches" in parameters:
        return next((i for i, a in enumerate(eqn.inputs) if a in old), None)
    return None


def _writes_safely(kernel: Step, root: Buffer) -> bool:
    """Whether every read of ``root`` in the kernel is of the element written next."""
    if isinstance(kernel, LoopKernel):
        return _stages_write_safely(kernel.stages, root)
    if isinstance(kernel, ContractionKernel):
        if any(_loads(n, root) for n in topological([kernel.a, kernel.b])):
            return False
        return _stages_write_safely([Stage((), kernel.stores)], root)
    if isinstance(kernel, ScatterKernel):
        # Of the target itself; the same place may come again, so no other read is safe.
        roots = [kernel.update, kernel.valid, *dynamic_nodes(kernel.store.offset)]
        return not any(_loads(n, root) for n in topological(roots))
    return not isinstance(kernel, (PrefixKernel, SortKernel))


def _loads(node: Node, root: Buffer) -> bool:
    return node.op == "load" and node.payload[0].root is root


def _stages_write_safely(stages: list[Stage], root: Buffer) -> bool:
    written: Store | None = None
    stage_written = -1
    for number, stage in enumerate(stages):
        for store in stage.stores:
            if store.buffer.root is root:
                if written is not None:
                    return False
                written, stage_written = store, number
    if written is None:
        return True
    by_row = {r for stage in stages for r in stage.reductions}
    for number, stage in enumerate(stages):
        for offset in _offsets_read(stage, by_row, root):
            if offset != written.offset or number > stage_written:
                return False
    return True


def _offsets_read(stage: Stage, by_row: set[Node], root: Buffer) -> Iterator[Affine | None]:
    """Where the stage reads ``root`` in its own iteration; None for a loop inside that reads it.

    Such a loop may have the stage's counters too, so its offsets can't be compared.
    """
    stack = stage_roots(stage)
    seen: set[Node] = set()
    while stack:
        node = stack.pop()
        if node in seen or node in by_row:
            continue
        seen.add(node)
        if _loads(node, root):
            yield node.payload[1]
        if node.op not in ("reduce", "argreduce"):
            stack.extend(children(node))
        elif any(_loads(n, root) for n in topological([node])):
            yield None


class _Order:
    """Which group must run before which."""

    def __init__(self, fusion: Fusion) -> None:
        self.groups = fusion.groups
        self.before: dict[Group, set[Group]] = {g: set() for g in fusion.groups}
        for group in fusion.groups:
            for var in fusion.reads.get(group, ()):
                owner = fusion.group_of.get(var)
                if owner is not None and owner is not group:
                    self.before[group].add(owner)

    def depends(self, group: Group, on: Group) -> bool:
        """Whether ``group`` must run after ``on``."""
        seen: set[Group] = set()
        stack = [group]
        while stack:
            g = stack.pop()
            if g is on:
                return True
            if g not in seen:
                seen.add(g)
                stack.extend(self.before[g])
        return False

    def add(self, first: Group, then: Group) -> None:
        """Demand an order."""
        self.before[then].add(first)

    def sorted(self) -> list[Group]:
        """The groups in a legal order, close to the program's own."""
        after: dict[Group, list[Group]] = {g: [] for g in self.groups}
        missing = {g: len(self.before[g]) for g in self.groups}
        for group, needed in self.before.items():
            for g in needed:
                after[g].append(group)
        ready = [(g.number, g) for g in self.groups if not missing[g]]
        heap = [(number, i, g) for i, (number, g) in enumerate(ready)]
        heapq.heapify(heap)
        result: list[Group] = []
        serial = len(heap)
        while heap:
            _, _, group = heapq.heappop(heap)
            result.append(group)
            for g in after[group]:
                missing[g] -= 1
                if not missing[g]:
                    serial += 1
                    heapq.heappush(heap, (g.number, serial, g))
        if len(result) != len(self.groups):
            raise ValueError("kernels depend on each other in a circle")
        return result
