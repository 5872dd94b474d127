"""Writes the whole program as one SPMD function: every thread walks the same steps.

``void main(ptr context, i64 thread, i64 threads, ptr barrier)``. A thread takes its share of each
kernel's tasks. Where they wait for each other is planned in ``kernels.barriers``.
"""

from __future__ import annotations

from dataclasses import field

from pullback.backend.llvm.context import (
    ABORT,
    ARENA,
    DATA_OFFSET,
    FIRST_BUFFER,
    HOST,
    PROFILE,
    SCRATCH,
    STOP,
)
from pullback.backend.llvm.contraction import contraction_spec, write_contraction_kernel
from pullback.backend.llvm.emit import Function, Module, V
from pullback.backend.llvm.errands import errand_bytes, write_no_errand
from pullback.backend.llvm.foresee import write_foresight
from pullback.backend.llvm.gemm import contraction_tasks, prefetch_slots
from pullback.backend.llvm.gemm_tile import branches
from pullback.backend.llvm.loops import (
    prefix_tasks,
    write_loop_kernel,
    write_prefix_kernel,
)
from pullback.backend.llvm.scalar import memory_type
from pullback.backend.llvm.scatter import write_scatter_kernel
from pullback.backend.llvm.sort import write_sort_kernel
from pullback.backend.llvm.target import Target
from pullback.backend.llvm.threads import emit_barrier
from pullback.kernels.barriers import Barriers, plan_barriers
from pullback.kernels.core import (
    Block,
    BranchStep,
    Buffer,
    ContractionKernel,
    HostStep,
    Kernel,
    LoopKernel,
    LoopStep,
    PrefixKernel,
    SortKernel,
    Step,
    Storage,
    WhileStep,
    inner_blocks,
)
from pullback.kernels.foresight import Foresight, plan_foresight
from pullback.kernels.interrupts import Looks, plan_looks
from pullback.kernels.schedule import Lowered
from pullback.records import dataclass

#: Loops nested deeper than this don't poll. The context's ``STOP`` slot has two words for each
#: depth, and first two for host calls and other looks (``kernels.interrupts``).
POLLED_DEPTH = 32
#: Bytes of a thread's scratch are rounded up to this, so that threads never share a cache line.
SCRATCH_ROUND = 4096


@dataclass(frozen=True, slots=True)
class KernelFunction:
    """A kernel's machine function and how to call it."""

    name: str
    buffers: tuple[Buffer, ...]
    tasks: int


@dataclass
class ProgramWriter:
    """Writes kernels and the main function of one lowered program."""

    lowered: Lowered
    target: Target
    profile: bool = False
    module: Module = field(default_factory=Module)
    scratch_bytes: int = 0
    functions: dict[Step, KernelFunction] = field(default_factory=dict)
    barriers: Barriers = field(default_factory=Barriers)
    looks: Looks = field(default_factory=Looks)
    foresight: dict[Step, Foresight] = field(default_factory=dict)
    foreseers: dict[Step, KernelFunction] = field(default_factory=dict)
    _bodies: dict[str, str] = field(default_factory=dict)

    def write(self) -> str:
        """The module's text."""
        self.module.has_fma = self.target.has_fma
        self.module.has_half = self.target.name in ("avx512", "avx2") or (
            self.target.machine in ("aarch64", "arm64")
        )
        self.barriers = plan_barriers(self.lowered.block, self.tasks)
        self.looks = plan_looks(self.lowered.block, self.tasks, POLLED_DEPTH - 1)
        self.foresight = plan_foresight(
            self.lowered.block, lambda kernel: prefetch_slots(contraction_spec(kernel, self.target))
        )
        self.barriers.before.update(s for s, x in self.foresight.items() if x.writers)
        self._write_kernels(self.lowered.block)
        for step, foresight in self.foresight.items():
            self.foreseers[step] = self._write_foresight(foresight)
        self.scratch_bytes += self.errand_bytes
        self.scratch_bytes = -(-self.scratch_bytes // SCRATCH_ROUND) * SCRATCH_ROUND
        _Main(self).write()
        return str(self.module)

    @property
    def errand_bytes(self) -> int:
        """Bytes before each thread's scratch that say what its contractions shall ask for."""
        rows = [x.gather.row_count for x in self.foresight.values()]
        return errand_bytes(max(rows)) if rows else 0

    def tasks(self, kernel: Kernel) -> int:
        """Number of independent pieces of a kernel, fixed by its shapes."""
        if isinstance(kernel, ContractionKernel):
            return contraction_tasks(contraction_spec(kernel, self.target))
        return prefix_tasks(kernel) if isinstance(kernel, PrefixKernel) else kernel.tasks

    def _write_foresight(self, foresight: Foresight) -> KernelFunction:
        name = f"foresee{len(self.foreseers)}"
        buffers = write_foresight(self.module, name, foresight)
        return KernelFunction(name, tuple(buffers), foresight.gather.tasks)

    def _write_kernels(self, block: Block) -> None:
        for step in block.steps:
            if isinstance(step, (LoopStep, BranchStep, WhileStep)):
                for inner in inner_blocks(step):
                    self._write_kernels(inner)
            elif not isinstance(step, HostStep):
                self.functions[step] = self._write_kernel(step)

    def _write_kernel(self, kernel: Kernel) -> KernelFunction:
        name = f"k{len(self.functions)}.{kernel.name}"
        name = f'"{name}"' if not name.replace(".", "_").isidentifier() else name
        if isinstance(kernel, ContractionKernel):
            buffers, scratch = write_contraction_kernel(
                self.module, name, kernel, self.target, self.errand_bytes
            )
        elif isinstance(kernel, LoopKernel):
            foreseen = any(x.gather is kernel and x.in_time for x in self.foresight.values())
            buffers, scratch = write_loop_kernel(self.module, name, kernel, foreseen=foreseen)
        elif isinstance(kernel, PrefixKernel):
            buffers, scratch = write_prefix_kernel(self.module, name, kernel), 0
        elif isinstance(kernel, SortKernel):
            buffers, scratch = write_sort_kernel(self.module, name, kernel)
        else:
            buffers, scratch = write_scatter_kernel(self.module, name, kernel), 0
        self.scratch_bytes = max(self.scratch_bytes, scratch)
        return KernelFunction(self._known(name), tuple(buffers), self.tasks(kernel))

    def _known(self, name: str) -> str:
        """The name of an equal kernel written before, if there is one; then this one is dropped."""
        text = self.module.functions[-1]
        body = text.replace(f"@{name}(", "@(", 1)
        if body in self._bodies:
            self.module.functions.pop()
            return self._bodies[body]
        self._bodies[body] = name
        return name


class _Main:
    def __init__(self, program: ProgramWriter) -> None:
        self.program = program
        self.lowered = program.lowered
        self.f = Function(
            program.module,
            "main",
            "void",
            [("ptr", "context"), ("i64", "thread"), ("i64", "threads"), ("ptr", "barrier")],
            linkage="dso_local",
        )
        self.context, self.thread, self.threads, self.barrier = self.f.args
        self.pointers: list[dict[Buffer, V]] = [{}]
        self.counters: dict[object, V] = {}
        self.barriers = program.barriers
        self.exit = "exit"

    def write(self) -> None:
        f = self.f
        self.slots = {
            b: FIRST_BUFFER + i
            for i, b in enumerate(
                [
                    *self.lowered.inputs,
                    *self.lowered.outputs,
                    *(c for c, _ in self.lowered.constants),
                ]
            )
        }
        self.arena = self._slot(ARENA)
        self.abort, self.stop_words = self._slot(ABORT), self._slot(STOP)
        self.host = self._slot(HOST)
        scratch = self._slot(SCRATCH)
        size = V("i64", str(self.program.scratch_bytes))
        self.errand = f.gep("i8", scratch, f.mul(self.thread, size))
        self.scratch = f.gep("i8", self.errand, self.program.errand_bytes)
        if self.program.errand_bytes:
            write_no_errand(f, self.errand)
        self.is_first = f.compare("eq", self.thread, V("i64", "0"))
        #: Which of two words the next agreement uses; each thread counts for itself.
        self.turn = f.alloca("i64", V("i64", "0"))
        for buffer in self.slots:
            if buffer.base is None:
                self.pointers[0][buffer] = self._slot(self.slots[buffer])
        for buffer in self.lowered.temporaries:
            if buffer.position >= 0:
                self.pointers[0][buffer] = f.gep("i8", self.arena, buffer.position)
        self._block(self.lowered.block)
        f.branch(self.exit)
        f.start(self.exit)
        f.ret()
        f.finish()

    def _slot(self, number: int) -> V:
        """The memory of the array object that slot ``number`` of the context names."""
        array = self.f.load("ptr", self.f.gep("ptr", self.context, number))
        return self.f.load("ptr", self.f.gep("i8", array, DATA_OFFSET))

    # --- memory ----------------------------------------------------------------------------------
    def _pointer(self, buffer: Buffer) -> V:
        for scope in reversed(self.pointers):
            if buffer in scope:
                return scope[buffer]
        if buffer.base is None:
            raise KeyError(f"buffer {buffer.name} has no memory")
        pointer = self._pointer(buffer.base)
        if buffer.counter is not None:
            step = self.counters[buffer.counter]
            if buffer.reverse:
                step = self.f.sub(V("i64", str(buffer.counter.extent - 1)), step)
            offset = self.f.mul(step, V("i64", str(buffer.stride)))
            pointer = self.f.gep(memory_type(buffer.dtype), pointer, offset)
        self.pointers[-1][buffer] = pointer
        return pointer

    def _address(self, stored: Storage) -> V:
        return self.f.gep(
            memory_type(stored.buffer.dtype), self._pointer(stored.buffer), stored.offset
        )

    # --- steps -----------------------------------------------------------------------------------
    def _block(self, block: Block) -> None:
        for step in block.steps:
            if step in self.barriers.before:
                self._barrier()
            if step in self.program.foresight:
                self._foresee(step)
            if isinstance(step, LoopStep):
                self._loop(step)
            elif isinstance(step, BranchStep):
                self._branch(step)
            elif isinstance(step, WhileStep):
                self._while(step)
            elif isinstance(step, HostStep):
                self._host(step)
            elif step in self.program.looks.after:
                word = self._next_word()
                self._kernel(step, word)
                self._agree(word)
            else:
                self._kernel(step)

    def _barrier(self) -> None:
        emit_barrier(self.f, self.barrier, self.thread, self.threads)

    def _kernel(self, step: Kernel, word: V | None = None) -> None:
        """Run this thread's tasks; ``word`` is set if some are left out because of Ctrl-C."""
        function = self.program.functions[step]
        if function.tasks == 0:
            return
        f = self.f
        pointers = [self._pointer(b) for b in function.buffers]
        tasks = V("i64", str(function.tasks))
        start = self._clock() if self.program.profile else None
        if function.tasks == 1:
            with f.when(self.is_first):
                self._call(function, pointers, V("i64", "0"), tasks, self.scratch)
            self._note_time(start, step)
            return
        if isinstance(step, SortKernel) and step.parts:  # all threads meet inside
            memory = [self.scratch, self.barrier]
            self._call(function, pointers, self.thread, self.threads, *memory)
            self._note_time(start, step)
            return
        begin, end = self._share(function.tasks)
        if word is None or step not in self.program.looks.pieces:
            self._call(function, pointers, begin, end, self.scratch)
        else:
            size = V("i64", str(self.program.looks.pieces[step]))
            pieces = f.loop(begin, end, size, hint="piece")
            with pieces as first, branches(f, self._is_aborted()) as turn:
                f.store(V("i32", "1"), word)
                turn()
                last = f.intrinsic("smin", f.add(first, size), end)
                self._call(function, pointers, first, last, self.scratch)
        self._note_time(start, step)

    def _share(self, tasks: int) -> tuple[V, V]:
        """The first of this thread's tasks, and one past the last; a single one is thread 0's."""
        f = self.f
        if tasks == 1:
            return V("i64", "0"), f.convert("zext", self.is_first, "i64")
        begin = f.binary("udiv", f.mul(self.thread, V("i64", str(tasks))), self.threads)
        after = f.add(self.thread, V("i64", "1"))
        return begin, f.binary("udiv", f.mul(after, V("i64", str(tasks))), self.threads)

    def _foresee(self, step: Step) -> None:
        """Tell the contractions from ``step`` on what the next iteration gathers."""
        function, loop = self.program.foreseers[step], self.program.foresight[step].loop
        f = self.f
        here, counters = self.pointers.pop(), dict(self.counters)
        self.pointers.append({})
        if isinstance(loop, LoopStep):
            following = f.add(counters[loop.counter], V("i64", "1"))
            last = V("i64", str(loop.counter.extent - 1))
            self.counters[loop.counter] = f.intrinsic("smin", following, last)
        pointers = [self._pointer(b) for b in function.buffers]
        self._call(function, pointers, *self._share(function.tasks), self.errand)
        self.pointers[-1], self.counters = here, counters

    def _clock(self) -> V:
        self.f.module.declare("llvm.readcyclecounter", "i64", ())
        return self.f.emit("i64", "call i64 @llvm.readcyclecounter()")

    def _note_time(self, start: V | None, step: Kernel) -> None:
        """Add the cycles since ``start`` to the kernel's entry of the profile."""
        if start is None:
            return
        f = self.f
        number = list(self.program.functions).index(step)
        spent = f.sub(self._clock(), start)
        with f.when(self.is_first):
            place = f.gep("i64", self._slot(PROFILE), number)
            f.store(f.add(f.load("i64", place), spent), place)

    def _call(
        self, function: KernelFunction, pointers: list[V], begin: V, end: V, *memory: V
    ) -> None:
        arguments = ", ".join(map(str, [*pointers, begin, end, *memory]))
        self.f.raw(f"call void @{function.name}({arguments})")

    def _host(self, step: HostStep) -> None:
        """Call Python on thread 0; when that failed, all threads leave."""
        f = self.f
        places = [*step.inputs, *step.outputs]
        table = f.alloca(f"[{max(len(places), 1)} x ptr]")
        for i, place in enumerate(places):
            f.store(self._address(place), f.gep("ptr", table, i))
        word = self._next_word()
        with f.when(self.is_first):
            failed = f.emit("i32", f"call i32 {self.host.text}(i64 {step.number}, {table})")
            f.store(failed, word)
        self._agree(word, heeds_abort=step in self.program.looks.leaves)

    def _next_word(self) -> V:
        """The word of the next agreement: one of two in turn, which nobody still reads."""
        f = self.f
        turn = f.load("i64", self.turn)
        f.store(f.binary("xor", turn, V("i64", "1")), self.turn)
        return f.gep("i32", self.stop_words, turn)

    def _agree(self, word: V, *, heeds_abort: bool = True) -> None:
        """Leave, all threads, if one has set ``word``, or thread 0 now sees the abort flag.

        The flag may be set at any time: that all see the same, they look at the word alone.
        """
        f = self.f
        if heeds_abort:
            with f.when(f.binary("and", self.is_first, self._is_aborted())):
                f.store(V("i32", "1"), word)
        self._barrier()
        self._leave_if(f.compare("ne", f.load("i32", word), V("i32", "0")))

    def _is_aborted(self) -> V:
        flag = self.f.emit("i32", f"load volatile i32, {self.abort}, align 4")
        return self.f.compare("ne", flag, V("i32", "0"))

    def _leave_if(self, condition: V) -> None:
        """End the program; the condition must be the same for all threads."""
        proceed = self.f.label("proceed")
        self.f.branch_if(condition, self.exit, proceed)
        self.f.start(proceed)

    def _loop(self, step: LoopStep) -> None:
        if step.counter.extent == 0:
            return
        self.pointers.append({})
        with self.f.loop(0, step.counter.extent, hint="step") as i:
            self._poll(i)
            self.counters[step.counter] = i
            self._block(step.body)
            if step in self.barriers.closing:
                self._barrier()
            del self.counters[step.counter]
        self.pointers.pop()

    def _poll(self, i: V) -> None:
        """Leave when Ctrl-C was pressed: all threads in the same iteration.

        Thread 0 copies the flag to one of two words in turn; everybody reads the word of the
        iteration before, which a barrier has made visible since.
        """
        depth = len(self.counters) + 1
        if depth >= POLLED_DEPTH:  # the loops around this one listen
            return
        f = self.f
        words = f.gep("i32", self.stop_words, 2 * depth)
        parity = f.binary("and", i, V("i64", "1"))
        other = f.binary("xor", parity, V("i64", "1"))
        with f.when(self.is_first):
            flag = f.emit("i32", f"load volatile i32, {self.abort}, align 4")
            f.store(flag, f.gep("i32", words, parity))
        seen = f.load("i32", f.gep("i32", words, other))
        started = f.compare("sgt", i, V("i64", "0"))
        self._leave_if(f.binary("and", started, f.compare("ne", seen, V("i32", "0"))))

    def _branch(self, step: BranchStep) -> None:
        f = self.f
        index = f.load("i32", self._address(step.index))
        last = len(step.branches) - 1
        index = f.intrinsic("smin", index, V("i32", str(last)))
        done = f.label("joined")
        for number, branch in enumerate(step.branches):
            then, otherwise = f.label("branch"), f.label("next")
            if number == last:
                f.branch(then)
            else:
                f.branch_if(f.compare("sle", index, V("i32", str(number))), then, otherwise)
            f.start(then)
            self.pointers.append({})
            self._block(branch)
            self.pointers.pop()
            f.branch(done)
            if number != last:
                f.start(otherwise)
        f.start(done)

    def _while(self, step: WhileStep) -> None:
        f = self.f
        counter = f.alloca("i64", V("i64", "0"))
        head, body, done = f.label("while"), f.label("body"), f.label("done")
        f.branch(head)
        f.start(head)
        self.pointers.append({})
        i = f.load("i64", counter)
        self._poll(i)
        self.counters[step] = i
        self._block(step.condition)
        # The flag is written by one thread and read by all: this barrier is always needed.
        self._barrier()
        flag = f.load("i8", self._address(step.flag))
        f.branch_if(f.compare("ne", flag, V("i8", "0")), body, done)
        f.start(body)
        self._block(step.body)
        f.store(f.add(i, V("i64", "1")), counter)
        f.branch(head)
        f.start(done)
        del self.counters[step]
        self.pointers.pop()
