"""Programs as callables of NumPy arrays, run as machine code.

Start at ``compile_program``: passes, lowering, LLVM, or all of that from the disk cache.
``Executable.__call__`` is the path of every training step: it allocates the results, fills a
table of addresses and makes one native call.
"""

from __future__ import annotations

import base64
import ctypes
import struct
from array import array
from collections.abc import Sequence
from time import perf_counter
from typing import Any

import numpy as np
from numpy import empty, ndarray

from pullback import config
from pullback.backend.llvm import cache, threads
from pullback.backend.llvm.context import DATA_OFFSET, FIRST_BUFFER, HOST
from pullback.backend.llvm.jit import Loaded, compile_ir, load_object
from pullback.backend.llvm.target import select_target
from pullback.backend.team import TeamSize
from pullback.backend.trips import find_trips
from pullback.errors import DTypeError, ShapeError
from pullback.kernels.cost import LONG_S, Cost
from pullback.passes.pipeline import Numerics
from pullback.program.core import Equation, NDArray, Program, Var
from pullback.program.printer import print_program, program_text
from pullback.records import dataclass
from pullback.types import DTYPES_BY_SHORT_NAME, SHORT_NAMES, ArrayType, type_of

_STOP_WORDS = 64
#: A host call takes so long for each element, at least: sorting one by its key, for example.
_HOST_ELEMENT_S = 5e-8
#: NumPy's flags of a contiguous and aligned array.
_PLAIN = 0x001 | 0x100
MAX_PROFILED = 4096
#: Where the addresses of inputs and outputs begin in a frame's table.
FIRST_BUFFER_BYTES = 8 * FIRST_BUFFER
#: A primitive that Python evaluates, and the types of its operands and results.
HostCall = tuple[Any, list[ArrayType], list[ArrayType]]
_HostPrototype = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p)


@dataclass(frozen=True)
class Code:
    """Everything that the cache keeps of a compiled program, but for its object code."""

    arena_bytes: int
    scratch_bytes: int
    shared: dict[int, int]
    constants: list[NDArray]
    cost: Cost
    host_calls: list[HostCall]

    @property
    def is_portable(self) -> bool:
        """Whether another process can use it: a Python function can't be written down."""
        return not any(
            callable(value)
            for primitive, _, _ in self.host_calls
            for value in primitive.parameters().values()
        )

    def metadata(self, program: Program) -> dict[str, Any]:
        """As JSON; constants that the program holds itself are kept by number."""
        known = {id(data): i for i, (_, data) in enumerate(program.constants)}
        return {
            "arena": self.arena_bytes,
            "scratch": self.scratch_bytes,
            "shared": list(self.shared.items()),
            "constants": [known.get(id(c), _encoded(c)) for c in self.constants],
            "cost": [self.cost.seconds, self.cost.barriers],
            "host": [_call_text(call) for call in self.host_calls],
        }

    @staticmethod
    def from_metadata(data: dict[str, Any], program: Program) -> Code:
        """Read what ``metadata`` wrote."""
        constants = [
            program.constants[c][1] if isinstance(c, int) else _decoded(c)
            for c in data["constants"]
        ]
        return Code(
            data["arena"],
            data["scratch"],
            {int(k): int(v) for k, v in data["shared"]},
            constants,
            Cost(*data["cost"]),
            [_call_from_text(text) for text in data["host"]],
        )


def _encoded(data: NDArray) -> list[Any]:
    return [SHORT_NAMES[data.dtype], list(data.shape), base64.b64encode(data.tobytes()).decode()]


def _decoded(item: list[Any]) -> NDArray:
    name, shape, text = item
    return np.frombuffer(base64.b64decode(text), DTYPES_BY_SHORT_NAME[name]).reshape(shape)


def _call_text(call: HostCall) -> str:
    """A host call as the text of a program of one equation."""
    primitive, inputs, outputs = call
    taken, made = (tuple(map(Var, types)) for types in (inputs, outputs))
    return print_program(Program(taken, (Equation(primitive, taken, made, 0),), made))


def _call_from_text(text: str) -> HostCall:
    from pullback.program.parser import parse_program

    program = parse_program(text)
    (equation,) = program.equations
    return equation.primitive, list(program.input_types), list(program.output_types)


def compile_program(
    program: Program,
    *,
    donate: frozenset[int] = frozenset(),
    name: str = "main",
    numerics: Numerics = "strict",
) -> Executable:
    """Compile a program, or find it compiled on disk.

    Args:
        program: What to run.
        donate: Positions of inputs whose memory an output of the same type takes over; these
            arrays hold that output after a call.
        name: For reports.
        numerics: ``"strict"`` runs exact passes only, ``"fast"`` those that reassociate too.
    """
    target = select_target()
    shared = _shared_memory(program, donate)
    key = cache.cache_key(
        "program", program_text(program), str(target), repr(shared), numerics, f"{DATA_OFFSET}"
    )
    found = cache.lookup(key)
    if found is not None:
        code, metadata = found
        return Executable(program, Code.from_metadata(metadata, program), load_object(code), name)
    from pullback.backend.llvm.build import build_program

    built = build_program(program, shared, target, numerics)
    code = compile_ir(built.text, target=target)
    kept = Code(
        built.arena_bytes,
        built.scratch_bytes,
        shared,
        built.constants,
        built.cost,
        built.host_calls,
    )
    if kept.is_portable:
        cache.store(key, code, kept.metadata(program))
    return Executable(program, kept, load_object(code), name)


def _shared_memory(program: Program, donate: frozenset[int]) -> dict[int, int]:
    """Which output takes over which donated input: the first of its type that is left."""
    left = sorted(donate)
    shared: dict[int, int] = {}
    for j, atom in enumerate(program.outputs):
        for i in left:
            if program.inputs[i].type == atom.type:
                shared[j] = i
                left.remove(i)
                break
    return shared


class _Frame:
    """Memory for one run: the context, the arena, scratch, flags."""

    def __init__(
        self, code: Code, buffers: int, host_calls: Sequence[HostCall], threads: int
    ) -> None:
        self.arena = _aligned(code.arena_bytes)
        self.scratch = _aligned(code.scratch_bytes * threads)
        self.flag = np.zeros(1, np.int32)
        self.words = np.zeros(_STOP_WORDS, np.int32)
        # Each frame has its own: a failure must end this run, not one in another thread.
        self.host_calls = _HostCalls(host_calls)
        self.callback = _HostPrototype(self.host_calls) if host_calls else None
        callback = ctypes.cast(self.callback or 0, ctypes.c_void_p)
        self.host = np.array([callback.value or 0], np.uint64)
        self.profile = np.zeros(MAX_PROFILED, np.int64)
        self.table = array("Q", [0] * (FIRST_BUFFER + buffers))
        arrays = (self.flag, self.host, self.arena, self.scratch, self.words, self.profile)
        self.table[:FIRST_BUFFER] = array("Q", map(id, arrays))
        # The host slot gives the callback itself: what is read is the array's element.
        self.table[HOST] = self.host.ctypes.data - DATA_OFFSET
        #: What the table names, while the run may go on after the call that began it.
        self.arrays: object = None
        self.address = self.table.buffer_info()[0]
        self.flag_address = self.flag.ctypes.data


def _aligned(size: int) -> NDArray:
    """Memory of at least ``size`` bytes at a 64-byte boundary."""
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + max(size, 1)]


class Executable:
    """A compiled program: call it with NumPy arrays of the program's input types."""

    def __init__(
        self,
        program: Program,
        code: Code,
        loaded: Loaded,
        name: str,
    ) -> None:
        self.name = name
        self.input_types = program.input_types
        self.output_types = program.output_types
        self.cost = code.cost
        self._code = code
        self._loaded = loaded
        #: Of the machine code.
        self.address = loaded.address("main")
        self._inputs = len(self.input_types)
        self._outputs = [
            (code.shared.get(j), t.shape, t.dtype) for j, t in enumerate(self.output_types)
        ]
        self._pack = struct.Struct(f"{self._inputs + len(self._outputs)}Q").pack_into
        self._constants = [np.ascontiguousarray(c) for c in code.constants]
        self._donated = frozenset(code.shared.values())
        self._host_calls = tuple(code.host_calls)
        elements = sum(t.size for _, taken, made in self._host_calls for t in (*taken, *made))
        self._is_long = code.cost.seconds + _HOST_ELEMENT_S * elements > LONG_S
        self._trips = find_trips(program)
        #: What runs need, by the most threads that they may have.
        self.crews: dict[int, Crew] = {}

    @property
    def is_short(self) -> bool:
        """Whether a run is one native call of known work, which nothing interrupts."""
        return not (self._is_long or self._host_calls or self._trips)

    def __call__(self, *arrays: NDArray) -> list[NDArray]:
        """Run; arrays must have the program's input types.

        Raises:
            KeyboardInterrupt: Ctrl-C during a long run; donated arrays then hold what the last
                finished iteration of a loop left in them, or what they held before the call.
        """
        if len(arrays) != self._inputs:
            raise TypeError(f"{self.name} takes {self._inputs} arrays, got {len(arrays)}")
        crew = self.crews.get(config.settings().threads) or self.new_crew()
        try:
            frame = crew.frames.pop()
        except IndexError:
            frame = self.new_frame(crew)
        for x in arrays:
            if type(x) is not ndarray or not x.flags.carray:
                arrays = tuple(map(self.plain, range(self._inputs), arrays))
                break
        results = [
            empty(shape, dtype) if source is None else arrays[source]
            for source, shape, dtype in self._outputs
        ]
        self._pack(frame.table, FIRST_BUFFER_BYTES, *map(id, arrays), *map(id, results))
        if self._is_long:
            frame.arrays = (arrays, results)
        count = crew.fixed or crew.team.next()
        if crew.team.listens:
            # Counted before the run, which may write the counter's input.
            work = 1 if self._trips is None else self._trips.count(arrays)
            self.run_measured(crew, count, frame, work)
        else:
            self._run(count, frame)
        crew.frames.append(frame)
        return results

    def checked(self, *arrays: NDArray) -> list[NDArray]:
        """Run after checking the arrays' types, for callers that have not done so.

        Raises:
            ShapeError: An array has another shape than the program's input.
            DTypeError: An array has another dtype.
            ValueError: A donated array is read-only.
        """
        arrays = tuple(
            x if x.dtype.isnative else x.astype(x.dtype.newbyteorder("=")) for x in arrays
        )
        for i, (x, expected) in enumerate(zip(arrays, self.input_types, strict=True)):
            given = type_of(x)
            if given.shape != expected.shape:
                raise ShapeError(f"input {i} of {self.name}: got {given}, expected {expected}")
            if given.dtype != expected.dtype:
                raise DTypeError(f"input {i} of {self.name}: got {given}, expected {expected}")
        for i in self._donated:
            if not arrays[i].flags.writeable:
                raise ValueError(f"donated input {i} of {self.name} is read-only; pass a copy")
        return self(*arrays)

    def run_measured(self, crew: Crew, count: int, frame: _Frame, work: int = 1) -> None:
        """Run with ``count`` threads; the crew learns how long that takes for so much work."""
        start = perf_counter()
        self._run(count, frame)
        crew.team.note(count, perf_counter() - start, work)

    def _run(self, count: int, frame: _Frame) -> None:
        if self._is_long:
            frame.flag[0] = 0
            frame.words[:] = 0
            # Memory that is updated in place must be whole when an interrupted call is over, and
            # no thread may be inside NumPy when the process ends.
            kept = None if self._donated or self._host_calls else (self, frame)
            threads.run_interruptible(self.address, frame.address, count, frame.flag_address, kept)
            frame.arrays = None
        else:
            threads.run(self.address, frame.address, count)
        if self._host_calls:
            frame.host_calls.raise_failure()

    def plain(self, position: int, x: Any) -> NDArray:
        """Input ``position`` as native code needs it: contiguous, aligned, of no subclass.

        Raises:
            ValueError: The input is donated and would have to be copied for that.
        """
        if type(x) is ndarray and x.flags.num & _PLAIN == _PLAIN:
            return x
        if position in self._donated:
            raise ValueError(
                f"donated input {position} of {self.name} is not contiguous and aligned, or of a "
                "subclass; pass a copy"
            )
        return np.require(np.asarray(x), requirements=["C", "A"])

    def new_crew(self) -> Crew:
        """Make the crew for the number of threads that the settings allow, unless there is one."""
        most = config.settings().threads
        return self.crews.setdefault(most, Crew(self.cost, most))

    def new_frame(self, crew: Crew) -> _Frame:
        """Memory for one more run at the same time."""
        buffers = self._inputs + len(self._outputs) + len(self._constants)
        frame = _Frame(self._code, buffers, self._host_calls, crew.most)
        first = FIRST_BUFFER + self._inputs + len(self._outputs)
        for i, constant in enumerate(self._constants):
            frame.table[first + i] = id(constant)
        return frame


class Crew:
    """What the runs of one program with at most so many threads share.

    Attributes:
        most: So many threads.
        team: Chooses how many a run has.
        fixed: The number where there is nothing to choose, else 0.
        frames: Memory that no run uses at the moment.
    """

    __slots__ = ("fixed", "frames", "most", "team")

    def __init__(self, cost: Cost, most: int) -> None:
        self.most = most
        self.team = TeamSize(cost, most)
        self.fixed = self.team.next() if self.team.is_settled else 0
        self.frames: list[_Frame] = []


class _HostCalls:
    """The host's side of one run: runs ``evaluate`` rules on the program's memory."""

    def __init__(self, calls: Sequence[HostCall]) -> None:
        self._calls = calls
        self._failure: BaseException | None = None

    def __call__(self, number: int, pointers: int) -> int:
        """Run host call ``number`` on the arrays at the table ``pointers``; 1 if that failed."""
        try:
            self._evaluate(number, pointers)
        except BaseException as error:
            # An exception can't cross native code: the result makes all threads leave.
            self._failure = error
            return 1
        return 0

    def _evaluate(self, number: int, pointers: int) -> None:
        primitive, inputs, outputs = self._calls[number]
        table = (ctypes.c_void_p * (len(inputs) + len(outputs))).from_address(pointers)
        arrays = [_view(p, t) for p, t in zip(table, [*inputs, *outputs], strict=True)]
        with np.errstate(all="ignore"):
            results = primitive.evaluate(*arrays[: len(inputs)])
        results = results if isinstance(results, tuple) else (results,)
        for target, result in zip(arrays[len(inputs) :], results, strict=True):
            target[...] = result

    def raise_failure(self) -> None:
        """Raise what a host call of the last run raised."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure


def _view(pointer: int | None, type: ArrayType) -> NDArray:
    if not type.size:
        return np.empty(type.shape, type.dtype)
    memory = (ctypes.c_char * type.nbytes).from_address(pointer or 0)
    return np.ndarray(type.shape, type.dtype, memoryview(memory))
