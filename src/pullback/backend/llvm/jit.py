"""Machine code from LLVM IR text, and its way into memory, through llvmlite.

Imports ``cache``, ``parts`` and ``target``. Start reading at ``load_ir``.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import struct
import threading
from collections.abc import Iterator
from typing import Any, Final

import llvmlite.binding as llvm
from llvmlite.binding import ffi

from pullback import config
from pullback.backend.llvm import cache, parts
from pullback.backend.llvm.target import Target, select_target
from pullback.errors import CompilationError

#: Optimisation level of code generation.
SPEED_LEVEL: Final = 3
#: What is left to do for LLVM's optimiser: the text is vectorised, unrolled and hoisted already.
#: Its standard pipelines make no faster kernels and take ten times as long. Not ``new_gvn``: it
#: makes wrong code (tests/backend/test_shifted_pads.py), and kernels are as fast without it.
PASSES: Final = (
    "sroa",
    "simplify_cfg",
    "instruction_combine",
    "loop_simplify",
    "lcssa",
    "loop_rotate",
    "instruction_combine",
    "simplify_cfg",
)
#: A thread for each so much text, up to the most: one more is worth its while from here on.
PART_BYTES: Final = 48 << 10
MOST_PARTS: Final = 4
#: What is before the object files: how many there are, and the length of each.
_COUNT: Final = struct.Struct("<I")
_LENGTH: Final = struct.Struct("<Q")


class Loaded:
    """Object code in executable memory, unloaded when the last reference is dropped.

    Who holds an address must hold this too.
    """

    def __init__(self, code: bytes) -> None:
        self._engine = llvm.create_lljit_compiler(use_jit_link=True, suppress_errors=True)
        # A JIT of its own for each program: a shared one keeps 10 KB for each unloaded library.
        builder = llvm.JITLibraryBuilder()
        for image in _unpacked(code):
            builder.add_object_img(image)
        builder.add_current_process()
        try:
            self._tracker = builder.link(self._engine, "program")
        except RuntimeError as error:
            raise CompilationError(f"LLVM can't link the generated code: {error}") from None
        self._lock = threading.Lock()
        self._trackers: dict[str, Any] = {}

    def address(self, name: str) -> int:
        """Return the address of the function or global ``name``.

        Raises:
            CompilationError: the code has no such symbol, or needs one that does not exist.
        """
        # Dropping any tracker unloads the code, so each is kept, also when two threads ask at once.
        with self._lock:
            if name not in self._trackers:
                try:
                    self._trackers[name] = self._engine.lookup("program", name)
                except RuntimeError as error:
                    raise CompilationError(
                        f"generated code has no usable {name!r}: {error}"
                    ) from None
            return int(self._trackers[name][name])


def load_ir(text: str, *, target: Target | None = None) -> Loaded:
    """Compile LLVM IR, or find it compiled in the cache on disk, and load it.

    Raises:
        CompilationError: LLVM refuses the text.
    """
    target = target or select_target()
    key = cache.cache_key("ir", text, str(target))
    found = cache.lookup(key)
    if found is not None:
        return load_object(found[0])
    code = compile_ir(text, target=target)
    cache.store(key, code, {"target": target.name})
    return load_object(code)


def compile_ir(text: str, *, target: Target) -> bytes:
    """Compile LLVM IR to object code for ``target``, after the few ``PASSES`` that pay.

    Long text is compiled in parts, each by a thread, as far as there are processors.

    Raises:
        CompilationError: LLVM can't parse or verify the text; the message is LLVM's.
    """
    count = min(config.available_processors(), len(text) // PART_BYTES, MOST_PARTS)
    texts = parts.split(text, count) if count > 1 else [text]
    jobs = [_Job(part, target) for part in texts]
    for job in jobs[1:]:
        threading.Thread(target=job.run).start()
    jobs[0].run()
    return _packed([job.image() for job in jobs])


class _Job:
    """One part's compilation, and its result when it is there."""

    def __init__(self, text: str, target: Target) -> None:
        self._text = text
        self._target = target
        self._image = b""
        self._error: BaseException | None = None
        self._finished = threading.Event()

    def run(self) -> None:
        """Compile."""
        try:
            machine = _target_machine(self._target)
            with _optimized(self._text, machine) as module:
                self._image = _emitted(machine, module)
        except BaseException as error:
            self._error = error
        self._finished.set()

    def image(self) -> bytes:
        """Wait for the object file; raise what went wrong."""
        self._finished.wait()
        if self._error is not None:
            raise self._error
        return self._image


def _packed(images: list[bytes]) -> bytes:
    lengths = [_LENGTH.pack(len(image)) for image in images]
    return b"".join([_COUNT.pack(len(images)), *lengths, *images])


def _unpacked(code: bytes) -> list[bytes]:
    """The object files that ``_packed`` put together.

    Raises:
        CompilationError: the code is damaged.
    """
    try:
        (count,) = _COUNT.unpack_from(code)
        start = _COUNT.size + count * _LENGTH.size
        images = []
        for i in range(count):
            (length,) = _LENGTH.unpack_from(code, _COUNT.size + i * _LENGTH.size)
            images.append(code[start : start + length])
            start += length
    except struct.error:
        start = -1
    if start != len(code):
        raise CompilationError("the object code is damaged: it is not as long as it says")
    return images


@functools.cache
def _unlocked(name: str) -> Any:
    """A function of llvmlite's library that other threads need not wait for.

    llvmlite lets one thread at a time into LLVM, since most of its users share one context. Ours
    share none, and LLVM asks for no more. With an llvmlite that keeps its library elsewhere they
    do wait, and parts are compiled one after the other.
    """
    locked = getattr(ffi.lib, name)
    try:
        library = ctypes.CDLL(ffi.lib._name, handle=ffi.lib._handle)
    except AttributeError:
        return locked
    function = getattr(library, name)
    function.argtypes, function.restype = locked.argtypes, locked.restype
    return function


def _emitted(machine: Any, module: Any) -> bytes:
    """The object file of a module, as ``machine.emit_object`` gives it."""
    with ffi.OutputString() as message:
        emit = _unlocked("LLVMPY_TargetMachineEmitToMemory")
        buffer = emit(machine, module, 1, message)
        if not buffer:
            raise CompilationError(f"LLVM can't write machine code: {message}")
    try:
        start = ffi.lib.LLVMPY_GetBufferStart(buffer)
        return ctypes.string_at(start, ffi.lib.LLVMPY_GetBufferSize(buffer))
    finally:
        ffi.lib.LLVMPY_DisposeMemoryBuffer(buffer)


@contextlib.contextmanager
def _optimized(text: str, machine: Any) -> Iterator[Any]:
    """The module of ``text`` after LLVM's passes, in a context of its own, closed at the end."""
    run = _unlocked("LLVMPY_RunNewFunctionPassManager")
    with llvm.create_context() as context, _parsed(text, context) as module:
        options = llvm.create_pipeline_tuning_options(SPEED_LEVEL)
        builder = llvm.create_pass_builder(machine, options)
        manager = llvm.create_new_function_pass_manager()
        for name in PASSES:
            getattr(manager, f"add_{name}_pass")()
        for function in module.functions:
            if not function.is_declaration:
                run(manager, function, builder)
        yield module


@contextlib.contextmanager
def _parsed(text: str, context: Any) -> Iterator[Any]:
    # The module must be closed before its context, also when an exception's traceback holds it.
    try:
        with llvm.parse_assembly(text, context) as module:
            module.verify()
            yield module
    except RuntimeError as error:
        raise CompilationError(f"LLVM refused the generated code: {error}") from None


def load_object(code: bytes) -> Loaded:
    """Load object code that ``compile_ir`` made.

    Raises:
        CompilationError: the code is damaged.
    """
    _initialize()
    return Loaded(code)


def assembly(text: str, *, target: Target) -> str:
    """Return the assembly that ``compile_ir`` would assemble, for people."""
    machine = _target_machine(target)
    with _optimized(text, machine) as module:
        return str(machine.emit_assembly(module))


def _target_machine(target: Target) -> Any:
    _initialize()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=target.cpu,
        features=target.features,
        opt=SPEED_LEVEL,
        reloc="pic",
        codemodel="small",
    )


@functools.cache
def _initialize() -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
