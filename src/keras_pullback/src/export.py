"""``model.export``: ONNX by ``pullback.export``; the formats of other frameworks refused by name.

``pullback_hook`` puts ``export_onnx`` and ``export_openvino`` in the place of Keras's functions of
these names, and ``SavedModelExportArchive`` into Keras's chain of backends.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator, Sequence
from typing import Any

from keras.src import tree
from keras.src.backend.common import standardize_dtype
from keras.src.backend.common.name_scope import current_path
from keras.src.utils import io_utils

from keras_pullback.src.ops.core import convert_to_tensor
from pullback.types import as_dtype


def export_onnx(
    model: Any,
    filepath: str | os.PathLike[str],
    verbose: bool | None = None,
    input_signature: Any = None,
    opset_version: int | None = None,
    **kwargs: Any,
) -> None:
    """Write the inference of a model, ``model(x, training=False)``, as an ONNX file.

    Args:
        model: A built model. Its weights become initializers, named by their paths.
        filepath: The file to write, in one step.
        verbose: Print where the file is; None does.
        input_signature: What the model is called with: a structure of ``keras.InputSpec``,
            ``KerasTensor`` or arrays for each positional argument. A length that is None is free.
            Default: what the model was built with, the number of rows free.
        opset_version: Version of ONNX's operators. Default: 18.
        kwargs: None are known.

    Raises:
        ImportError: the package ``onnx`` is not installed.
        ValueError: the model was never built or called, or an argument is not known.
        ExportError: something in the model cannot be written as ONNX; the message names it.
        OSError: the file cannot be written.
    """
    if kwargs:
        names = ", ".join(sorted(kwargs))
        raise ValueError(
            f"export to ONNX knows no argument {names}: it takes input_signature, opset_version "
            "and verbose"
        )
    if importlib.util.find_spec("onnx") is None:
        raise ImportError(
            "model.export(format='onnx') needs the package `onnx`: pip install 'pullback[onnx]'"
        )
    from pullback.export.model import write_model

    proto = _build(model, _signature(model, input_signature), opset_version)
    write_model(proto, filepath)
    if verbose is None or verbose:
        io_utils.print_msg(f"Saved artifact at '{filepath}'.")


def _signature(model: Any, given: Any) -> list[Any]:
    """A structure of ``InputSpec`` for each positional argument of the model."""
    # Imports Keras's layers and models, which are not there when this module is imported.
    from keras.src.export.export_utils import get_input_signature, make_input_spec

    if given is None:
        return list(get_input_signature(model))
    specs = tree.map_structure(make_input_spec, given)
    if not isinstance(specs, (list, tuple)):
        return [specs]
    # One structure is meant where the model takes one: its inputs, listed.
    inputs = getattr(model, "_inputs_struct", None)
    return [specs] if len(specs) > 1 and isinstance(inputs, (list, tuple)) else list(specs)


def _build(model: Any, signature: list[Any], opset: int | None) -> Any:
    """The ONNX model. Free lengths other than that of the batch are told apart if they can be."""
    from pullback.export.errors import ExportError

    specs = tree.flatten(signature)
    apart = [[_free(i, axis) for axis in range(len(x.shape))] for i, x in enumerate(specs)]
    alike = [[_free(0, axis) for axis in range(len(x.shape))] for x in specs]
    try:
        return _build_with(model, signature, apart, opset)
    except ExportError:
        if not any(None in x.shape[1:] for x in specs[1:]):
            raise
        return _build_with(model, signature, alike, opset)


def _free(number: int, axis: int) -> str:
    from pullback.export.dimensions import BATCH

    return BATCH if axis == 0 else f"dim_{number}_{axis}"


def _build_with(
    model: Any, signature: list[Any], free: Sequence[Sequence[str]], opset: int | None
) -> Any:
    from pullback.export.model import build_model
    from pullback.export.symbolic import Input

    specs = tree.flatten(signature)
    inputs = [
        Input(
            x.name or f"input_{i}",
            tuple(name if n is None else int(n) for n, name in zip(x.shape, names, strict=True)),
            as_dtype(standardize_dtype(x.dtype)),
        )
        for i, (x, names) in enumerate(zip(specs, free, strict=True))
    ]
    outputs: list[str] = []

    def call(*leaves: Any) -> list[Any]:
        args = tree.pack_sequence_as(signature, list(leaves))
        training = {"training": False} if model._call_has_training_arg else {}
        result = model(*args, **training)
        outputs[:] = _output_names(model, result)
        return [convert_to_tensor(x) for x in tree.flatten(result)]

    paths = {id(v._value): v.path for v in model.variables}
    return build_model(
        call,
        inputs,
        outputs,
        name=model.name,
        opset=opset,
        variable_name=lambda variable: paths.get(id(variable), variable.name),
        path=lambda: tuple(filter(None, current_path().split("/"))),
    )


def _output_names(model: Any, result: Any) -> list[str]:
    """Names of the outputs: keys of dictionaries, else the layers they come from."""
    if isinstance(result, dict):
        return list(_keys(result))
    leaves = tree.flatten(result)
    functional = getattr(model, "_functional", None) or model
    names = list(getattr(functional, "output_names", ()))
    return names if len(names) == len(leaves) else [f"output_{i}" for i in range(len(leaves))]


def _keys(result: Any) -> Iterator[str]:
    for path, _ in tree.flatten_with_path(result):
        yield "/".join(map(str, path))


def export_openvino(*args: Any, **kwargs: Any) -> None:
    """Refused."""
    raise NotImplementedError(
        "the pullback backend writes no OpenVINO files itself: write ONNX with "
        '`model.export("model.onnx", format="onnx")`, which `openvino.convert_model` reads'
    )


class SavedModelExportArchive:
    """Stands where Keras expects an exporter to SavedModel; using it raises an error."""

    def track(self, resource: Any) -> None:
        """Refused."""
        raise _refusal()

    def add_endpoint(self, name: str, fn: Any, input_signature: Any = None, **kwargs: Any) -> None:
        """Refused."""
        raise _refusal()

    def track_and_add_endpoint(
        self, name: str, resource: Any, input_signature: Any, **kwargs: Any
    ) -> None:
        """Refused."""
        raise _refusal()


def _refusal() -> NotImplementedError:
    # Keras's own sentence first: its tests look for it, and users may.
    return NotImplementedError(
        "`export_saved_model` only currently supports the tensorflow, jax and torch backends. "
        "The pullback backend writes no SavedModel, which is TensorFlow's format: write ONNX with "
        '`model.export("model.onnx", format="onnx")`, or save the model with '
        '`model.save("model.keras")` and export it with Keras on TensorFlow'
    )
