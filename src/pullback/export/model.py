"""Whole models: a function to an ONNX model, a model to a file.

Imports the families of rules, which register themselves. Start at ``build_model``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import helper

from pullback.export import (  # noqa: F401  # the rules register themselves
    contraction,
    control,
    elementwise,
    indexing,
    layout,
    reductions,
    windows,
)
from pullback.export.errors import ExportError
from pullback.export.graph import Root, live_nodes, names_read, value_info
from pullback.export.symbolic import Input, SymbolicProgram, trace_symbolically
from pullback.export.translate import Operand, Translator
from pullback.trace.variable import Variable
from pullback.version import __version__

#: The oldest version of ONNX's operators that can be written; some operations need 18.
OLDEST_OPSET: Final = 17
#: Read by every runtime since 2023.
DEFAULT_OPSET: Final = 18
#: What a file of this format holds at most.
_LARGEST_BYTES: Final = 2**31 - 1


def build_model(
    f: Callable[..., Sequence[Any]],
    inputs: Sequence[Input],
    outputs: Sequence[str],
    *,
    name: str = "main",
    opset: int | None = None,
    variable_name: Callable[[Variable], str] = lambda variable: variable.name,
    path: Callable[[], tuple[str, ...]] = tuple,
) -> Any:
    """Trace a function and return it as an ONNX model, which the checker has passed.

    Args:
        f: Takes an array for each input, returns a flat sequence of arrays.
        inputs: Names, shapes and dtypes; a length that is a name is free.
        outputs: A name for each result.
        name: Name of the graph.
        opset: Version of ONNX's operators, ``OLDEST_OPSET`` to the newest that ``onnx`` knows.
        variable_name: Names the initializer of a variable that ``f`` reads.
        path: Tells the layer that is running while ``f`` is traced.

    Returns:
        The ``onnx.ModelProto``.

    Raises:
        ExportError: something in ``f`` cannot be written as ONNX; or the opset is not known.

    Cost: a trace of ``f`` for each of a few sizes of the free lengths; nothing is computed.
    """
    opset = check_opset(opset)
    traced = trace_symbolically(f, inputs, path)
    root = Root(opset)
    translator = Translator(root)
    declared = _declare_inputs(root, traced, inputs)
    names = [root.fresh(wanted) for wanted in outputs]  # before a node takes one
    weights = _declare_weights(root, traced, variable_name, len(inputs))
    results = translator.program(traced.program, [*declared, *weights])
    for result, out in zip(results, names, strict=True):
        full = translator.full(result)
        translator.graph.nodes.append(helper.make_node("Identity", [full], [out], name=out))
    nodes = live_nodes([*root.prologue, *translator.graph.nodes], names)
    used = names_read(nodes) | set(names)
    graph = helper.make_graph(
        nodes,
        name,
        [value_info(x.name, x.type) for x in declared],
        [value_info(out, x.type) for out, x in zip(names, results, strict=True)],
        [tensor for key, tensor in root.initializers.items() if key in used],
    )
    return _finished(graph, opset)


def check_opset(opset: int | None) -> int:
    """The version to write.

    Raises:
        ExportError: it is too old, or newer than the library.
    """
    newest = onnx.defs.onnx_opset_version()
    if opset is None:
        return DEFAULT_OPSET
    if not OLDEST_OPSET <= opset <= newest:
        raise ExportError(
            f"opset_version={opset}: expected {OLDEST_OPSET} to {newest}, which onnx "
            f"{onnx.__version__} knows; leave it out for {DEFAULT_OPSET}"
        )
    return opset


def _finished(graph: Any, opset: int) -> Any:
    versions = [helper.make_opsetid("", opset)]
    model = helper.make_model(
        graph,
        producer_name="pullback",
        producer_version=__version__,
        opset_imports=versions,
        ir_version=helper.find_min_ir_version_for(versions),
    )
    size = model.ByteSize()
    if size > _LARGEST_BYTES:
        raise ExportError(
            f"the model has {size / 2**30:.1f} GiB, and one ONNX file holds 2: export parts of it"
        )
    onnx.checker.check_model(model, full_check=True)
    return model


def _declare_inputs(root: Root, traced: SymbolicProgram, inputs: Sequence[Input]) -> list[Operand]:
    declared = []
    for x, var in zip(inputs, traced.program.inputs, strict=False):
        name = root.fresh(x.name)
        for axis, length in enumerate(x.shape):
            if isinstance(length, str):
                root.symbols.setdefault(length, (name, axis))
        declared.append(Operand(var.type, name, var.type.shape))
    return declared


def _declare_weights(
    root: Root, traced: SymbolicProgram, variable_name: Callable[[Variable], str], first: int
) -> list[Operand]:
    """Initializers of what the function reads beside its arguments."""
    names = [root.array(v.read().data, variable_name(v)) for v in traced.variables]
    names += [root.constant(array) for array in traced.captures]
    rest = traced.program.inputs[first:]
    return [Operand(var.type, name, var.type.shape) for var, name in zip(rest, names, strict=True)]


def write_model(model: Any, filepath: str | os.PathLike[str]) -> None:
    """Write a model into a file, in one step: the file is old or new, never half.

    Raises:
        OSError: the folder is not there, or cannot be written to.
    """
    target = Path(filepath)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    # With the permissions of a new file, and never into one that is there.
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(model.SerializeToString())
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
