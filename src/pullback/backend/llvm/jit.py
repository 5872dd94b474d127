"""Machine code from LLVM IR text, and its way into memory, through llvmlite.

Imports ``cache`` and ``target``. Start reading at ``load_ir``.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any, Final

import llvmlite.binding as llvm

from pullback.backend.llvm import cache
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


class Loaded:
    """Object code in executable memory, unloaded when the last reference is dropped.

    Who holds an address must hold this too.
    """

    def __init__(self, code: bytes) -> None:
        self._engine = llvm.create_lljit_compiler(use_jit_link=True, suppress_errors=True)
        # A JIT of its own for each program: a shared one keeps 10 KB for each unloaded library.
        builder = llvm.JITLibraryBuilder().add_object_img(code).add_current_process()
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

    Raises:
        CompilationError: LLVM can't parse or verify the text; the message is LLVM's.
    """
    machine = _target_machine(target)
    with _optimized(text, machine) as module:
        return bytes(machine.emit_object(module))


@contextlib.contextmanager
def _optimized(text: str, machine: Any) -> Iterator[Any]:
    """The module of ``text`` after LLVM's passes, in a context of its own, closed at the end."""
    with llvm.create_context() as context, _parsed(text, context) as module:
        options = llvm.create_pipeline_tuning_options(SPEED_LEVEL)
        builder = llvm.create_pass_builder(machine, options)
        manager = llvm.create_new_function_pass_manager()
        for name in PASSES:
            getattr(manager, f"add_{name}_pass")()
        for function in module.functions:
            if not function.is_declaration:
                manager.run(function, builder)
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
