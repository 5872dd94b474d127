"""A small writer of LLVM IR text: typed SSA values, vectors, loops.

Knows LLVM's syntax and nothing of kernels. ``math``, ``gemm`` and ``kernel`` write through it.
A text writer of our own, not ``llvmlite.ir``: it is several times faster, and cold compile time
is one of the figures pullback is judged by.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator, Sequence
from dataclasses import field

import numpy as np

from pullback.records import dataclass

#: Fast-math flags that keep IEEE results: only multiply-add contraction is ever explicit (fma).
ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class V:
    """An LLVM value: its type and its text (``%12``, ``@f``, or a constant)."""

    type: str
    text: str

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


def vector_type(lanes: int, element: str) -> str:
    """``<lanes x element>``, or the element itself for one lane."""
    return f"<{lanes} x {element}>" if lanes > 1 else element


def lanes_of(type: str) -> int:
    """Number of lanes of a type; 1 for a scalar."""
    return int(type[1 : type.index(" ")]) if type.startswith("<") else 1


def element_of(type: str) -> str:
    """Element type of a vector type; the type itself for a scalar."""
    return type[type.index("x ") + 2 : -1] if type.startswith("<") else type


def is_float(type: str) -> bool:
    """Whether the (element) type is floating."""
    return element_of(type) in ("float", "double", "half", "bfloat")


def constant_text(element: str, value: float | int | bool) -> str:
    """LLVM's text of a constant of a scalar type, exact to the bit."""
    if element == "float":
        bits = struct.pack(">d", float(np.float32(value)))
        return f"0x{bits.hex().upper()}"
    if element == "double":
        return f"0x{struct.pack('>d', float(value)).hex().upper()}"
    if element == "half":
        return f"0xH{np.float16(value).view(np.uint16):04X}"
    if element == "bfloat":
        import ml_dtypes

        return f"0xR{np.asarray(value, ml_dtypes.bfloat16).view(np.uint16).item():04X}"
    if element == "i1":
        return "true" if value else "false"
    return str(int(value))


@dataclass
class Module:
    """A module being written: functions, declarations and constants, each once."""

    functions: list[str] = field(default_factory=list)
    declarations: dict[str, str] = field(default_factory=dict)
    globals: dict[str, str] = field(default_factory=dict)
    #: Whether the target has instructions for fused multiply-add and for ``half`` conversions.
    has_fma: bool = True
    has_half: bool = True

    def declare(self, name: str, result: str, arguments: tuple[str, ...]) -> None:
        """Declare an external function or an intrinsic (``name`` without ``@``)."""
        self.declarations.setdefault(name, f"declare {result} @{name}({', '.join(arguments)})")

    def constant_array(self, name: str, element: str, values: list[float]) -> V:
        """Define a private constant table and return the pointer to it."""
        body = ", ".join(f"{element} {constant_text(element, v)}" for v in values)
        self.globals.setdefault(
            name,
            f"@{name} = private unnamed_addr constant [{len(values)} x {element}] [{body}], "
            f"align {ALIGNMENT_BYTES}",
        )
        return V("ptr", f"@{name}")

    def __str__(self) -> str:
        return "\n".join([*self.globals.values(), *self.declarations.values(), *self.functions, ""])


class Function:
    """Writes one function's body; loop-carried values live in ``alloca`` slots.

    >>> m = Module()
    >>> f = Function(m, "twice", "float", [("float", "x")])
    >>> f.ret(f.fmul(f.args[0], f.const("float", 2.0)))
    >>> f.finish()
    """

    def __init__(
        self,
        module: Module,
        name: str,
        result: str,
        arguments: list[tuple[str, str]],
        *,
        linkage: str = "internal",
        attributes: str = "nounwind",
    ) -> None:
        self.module = module
        self.name = name
        self.args = [V(t, f"%{n}") for t, n in arguments]
        signature = ", ".join(f"{t} %{n}" for t, n in arguments)
        self._head = f"define {linkage} {result} @{name}({signature}) {attributes} {{"
        self._entry: list[str] = []
        self._lines: list[str] = []
        self._counter = 0
        self._block = "entry"

    # --- raw -------------------------------------------------------------------------------------
    def raw(self, line: str) -> None:
        """Append one line of IR."""
        self._lines.append("  " + line)

    def emit(self, type: str, text: str) -> V:
        """Append ``%n = text`` and return the value."""
        self._counter += 1
        name = f"%t{self._counter}"
        self._lines.append(f"  {name} = {text}")
        return V(type, name)

    def label(self, hint: str = "b") -> str:
        """A fresh block label."""
        self._counter += 1
        return f"{hint}{self._counter}"

    def start(self, label: str) -> None:
        """Begin the block ``label``."""
        self._lines.append(f"{label}:")
        self._block = label

    def branch(self, label: str) -> None:
        """Jump."""
        self.raw(f"br label %{label}")

    def branch_if(self, condition: V, then: str, otherwise: str) -> None:
        """Jump on an ``i1``."""
        self.raw(f"br i1 {condition.text}, label %{then}, label %{otherwise}")

    def ret(self, value: V | None = None) -> None:
        """Return."""
        self.raw(f"ret {value}" if value else "ret void")

    def finish(self) -> None:
        """Close the function and add it to the module."""
        body = "\n".join([self._head, "entry:", *self._entry, *self._lines, "}"])
        self.module.functions.append(body)

    # --- constants and vectors -------------------------------------------------------------------
    def const(self, type: str, value: float | int | bool) -> V:
        """A constant; the same in every lane of a vector type."""
        if not type.startswith("<"):
            return V(type, constant_text(type, value))
        element = element_of(type)
        item = f"{element} {constant_text(element, value)}"
        return V(type, f"<{', '.join([item] * lanes_of(type))}>")

    def const_lanes(self, element: str, values: Sequence[float]) -> V:
        """A constant vector with these lanes."""
        if len(values) == 1:
            return self.const(element, values[0])
        items = ", ".join(f"{element} {constant_text(element, v)}" for v in values)
        return V(vector_type(len(values), element), f"<{items}>")

    def splat(self, x: V, lanes: int) -> V:
        """Repeat a scalar in every lane; a vector is returned as it is."""
        if lanes == 1 or x.type.startswith("<"):
            return x
        if not x.text.startswith("%"):
            return V(vector_type(lanes, x.type), f"<{', '.join([str(x)] * lanes)}>")
        vec = vector_type(lanes, x.type)
        first = self.emit(vec, f"insertelement {vec} poison, {x}, i64 0")
        zeros = f"<{lanes} x i32> zeroinitializer"
        return self.emit(vec, f"shufflevector {first}, {vec} poison, {zeros}")

    def extract(self, x: V, lane: int | V) -> V:
        """One lane of a vector."""
        return self.emit(element_of(x.type), f"extractelement {x}, {_i64(lane)}")

    def insert(self, x: V, value: V, lane: int | V) -> V:
        """The vector with one lane replaced."""
        return self.emit(x.type, f"insertelement {x}, {value}, {_i64(lane)}")

    def shuffle(self, x: V, y: V | None, lanes: list[int]) -> V:
        """Lanes of ``x`` then ``y`` by number."""
        mask = ", ".join(f"i32 {i}" for i in lanes)
        other = y if y is not None else V(x.type, "poison")
        return self.emit(
            vector_type(len(lanes), element_of(x.type)),
            f"shufflevector {x}, {other}, <{len(lanes)} x i32> <{mask}>",
        )

    # --- arithmetic ------------------------------------------------------------------------------
    def binary(self, instruction: str, x: V, y: V) -> V:
        """``instruction type x, y`` of two values of one type (scalars are splatted)."""
        x, y = self.match(x, y)
        return self.emit(x.type, f"{instruction} {x}, {y.text}")

    def match(self, x: V, y: V) -> tuple[V, V]:
        """Splat a scalar beside a vector."""
        lanes = max(lanes_of(x.type), lanes_of(y.type))
        return self.splat(x, lanes), self.splat(y, lanes)

    def fadd(self, x: V, y: V) -> V:
        """Floating ``x + y``."""
        return self.binary("fadd", x, y)

    def fsub(self, x: V, y: V) -> V:
        """Floating ``x - y``."""
        return self.binary("fsub", x, y)

    def fmul(self, x: V, y: V) -> V:
        """Floating ``x * y``."""
        return self.binary("fmul", x, y)

    def fdiv(self, x: V, y: V) -> V:
        """Floating ``x / y``."""
        return self.binary("fdiv", x, y)

    def fneg(self, x: V) -> V:
        """Floating ``-x``."""
        return self.emit(x.type, f"fneg {x}")

    def fma(self, x: V, y: V, z: V) -> V:
        """Floating ``x * y + z`` with one rounding."""
        lanes = max(lanes_of(v.type) for v in (x, y, z))
        x, y, z = (self.splat(v, lanes) for v in (x, y, z))
        return self.intrinsic("fma", x, y, z)

    def add(self, x: V, y: V) -> V:
        """Integer ``x + y``."""
        return self.binary("add", x, y)

    def sub(self, x: V, y: V) -> V:
        """Integer ``x - y``."""
        return self.binary("sub", x, y)

    def mul(self, x: V, y: V) -> V:
        """Integer ``x * y``."""
        return self.binary("mul", x, y)

    def compare(self, predicate: str, x: V, y: V) -> V:
        """``icmp``/``fcmp`` with the predicate's own name (``slt``, ``olt``, ``uno`` …)."""
        x, y = self.match(x, y)
        kind = "fcmp" if is_float(x.type) else "icmp"
        return self.emit(vector_type(lanes_of(x.type), "i1"), f"{kind} {predicate} {x}, {y.text}")

    def select(self, condition: V, x: V, y: V) -> V:
        """``condition ? x : y``, by lane for a vector condition."""
        x, y = self.match(x, y)
        if condition.type.startswith("<"):
            lanes = lanes_of(condition.type)
            x, y = self.splat(x, lanes), self.splat(y, lanes)
        return self.emit(x.type, f"select {condition}, {x}, {y}")

    def convert(self, instruction: str, x: V, element: str) -> V:
        """Convert by ``sext``, ``trunc``, ``sitofp``, ``bitcast`` … to an element type."""
        to = vector_type(lanes_of(x.type), element)
        return self.emit(to, f"{instruction} {x} to {to}") if to != x.type else x

    def intrinsic(self, name: str, *args: V, suffix: str | None = None) -> V:
        """Call ``@llvm.name.<type>`` overloaded on the first operand; the result has its type."""
        type = args[0].type
        mangled = f"llvm.{name}.{suffix or mangle(type)}"
        return self.call(mangled, type, *args)

    def call(self, name: str, result: str, *args: V) -> V:
        """Call a function by name, declaring it when the module does not define it."""
        self.module.declare(name, result, tuple(a.type for a in args))
        text = f"call {result} @{name}({', '.join(map(str, args))})"
        if result == "void":
            self.raw(text)
            return V("void", "")
        return self.emit(result, text)

    # --- memory ----------------------------------------------------------------------------------
    def alloca(self, type: str, initial: V | None = None) -> V:
        """A stack slot in the entry block; promoted to a register when only loaded and stored."""
        self._counter += 1
        name = f"%slot{self._counter}"
        self._entry.append(f"  {name} = alloca {type}, align {ALIGNMENT_BYTES}")
        slot = V("ptr", name)
        if initial is not None:
            self.store(initial, slot)
        return slot

    def gep(self, element: str, pointer: V, index: V | int) -> V:
        """Pointer to element ``index`` (i64)."""
        return self.emit("ptr", f"getelementptr {element}, {pointer}, {_i64(index)}")

    def load(self, type: str, pointer: V, align: int | None = None) -> V:
        """Load; alignment defaults to the element's size."""
        return self.emit(type, f"load {type}, {pointer}, align {align or element_bytes(type)}")

    def store(self, value: V, pointer: V, align: int | None = None) -> None:
        """Store; alignment defaults to the element's size."""
        self.raw(f"store {value}, {pointer}, align {align or element_bytes(value.type)}")

    def prefetch(self, pointer: V) -> None:
        """Ask for the line at ``pointer`` to come into the second-level cache; never faults."""
        self.module.declare("llvm.prefetch.p0", "void", ("ptr", "i32", "i32", "i32"))
        self.raw(f"call void @llvm.prefetch.p0({pointer}, i32 0, i32 2, i32 1)")

    def masked_load(self, type: str, pointer: V, mask: V, fill: V | None = None) -> V:
        """Load the lanes whose mask bit is set, ``fill`` (default zero) in the others."""
        if not type.startswith("<"):
            # The intrinsics take vectors only: one lane is a vector of one.
            single = self._single(fill) if fill is not None else None
            loaded = self.masked_load(f"<1 x {type}>", pointer, self._single(mask), single)
            return self.extract(loaded, 0)
        fill = fill or V(type, "zeroinitializer")
        name = f"llvm.masked.load.{mangle(type)}.p0"
        mask_type = f"<{lanes_of(type)} x i1>"
        self.module.declare(name, type, ("ptr", mask_type, type))
        align = element_bytes(type)
        return self.emit(
            type, f"call {type} @{name}(ptr align {align} {pointer.text}, {mask}, {fill})"
        )

    def masked_store(self, value: V, pointer: V, mask: V) -> None:
        """Store the lanes whose mask bit is set."""
        if not value.type.startswith("<"):
            value, mask = self._single(value), self._single(mask)
        name = f"llvm.masked.store.{mangle(value.type)}.p0"
        mask_type = f"<{lanes_of(value.type)} x i1>"
        self.module.declare(name, "void", (value.type, "ptr", mask_type))
        align = element_bytes(value.type)
        self.raw(f"call void @{name}({value}, ptr align {align} {pointer.text}, {mask})")

    def _single(self, x: V) -> V:
        vec = f"<1 x {x.type}>"
        return self.emit(vec, f"insertelement {vec} poison, {x}, i64 0")

    def lane_mask(self, active: V, lanes: int) -> V:
        """Mask whose first ``active`` (i64) lanes are set."""
        steps = self.const_lanes("i64", list(range(lanes)))
        return self.compare("ult", steps, self.splat(active, lanes))

    # --- control ---------------------------------------------------------------------------------
    @contextlib.contextmanager
    def loop(
        self, start: V | int, stop: V | int, step: V | int = 1, hint: str = "loop"
    ) -> Iterator[V]:
        """``for (i64 i = start; i < stop; i += step)``; yields ``i``. May run zero times.

        Carry values through ``alloca`` slots.
        """
        start_v, stop_v, step_v = (_i64(x) for x in (start, stop, step))
        slot = self.alloca("i64")
        self.store(start_v, slot)
        head, body, done = self.label(hint), self.label("body"), self.label("done")
        self.branch(head)
        self.start(head)
        i = self.load("i64", slot)
        self.branch_if(self.compare("slt", i, stop_v), body, done)
        self.start(body)
        yield i
        self.store(self.emit("i64", f"add nsw i64 {i.text}, {step_v.text}"), slot)
        self.branch(head)
        self.start(done)

    @contextlib.contextmanager
    def when(self, condition: V) -> Iterator[None]:
        """Run the block only when the ``i1`` holds."""
        then, done = self.label("then"), self.label("done")
        self.branch_if(condition, then, done)
        self.start(then)
        yield
        self.branch(done)
        self.start(done)


def _i64(x: V | int) -> V:
    return x if isinstance(x, V) else V("i64", str(x))


def element_bytes(type: str) -> int:
    """Bytes of one element of a (vector) type; booleans in memory are ``i8``."""
    element = element_of(type)
    sizes = {"float": 4, "double": 8, "half": 2, "bfloat": 2, "ptr": 8, "i1": 1}
    return sizes[element] if element in sizes else max(1, int(element[1:]) // 8)


def mangle(type: str) -> str:
    """LLVM's name of a type in an overloaded intrinsic (``v16f32``)."""
    names = {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16", "ptr": "p0"}
    element = element_of(type)
    name = names.get(element, element)
    lanes = lanes_of(type)
    return f"v{lanes}{name}" if type.startswith("<") else name
