"""Exports functions of arrays and runs them in onnxruntime, on one thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime

from pullback.export.model import build_model
from pullback.export.symbolic import Input
from pullback.types import as_dtype

NDArray = np.ndarray[Any, Any]


def session(model: Any) -> Any:
    """An inference session for a model, which says nothing."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)


def run(model: Any, *arrays: NDArray) -> list[NDArray]:
    """The outputs of a model for its inputs, in order."""
    made = session(model)
    names = [x.name for x in made.get_inputs()]
    results: list[NDArray] = made.run(None, dict(zip(names, arrays, strict=True)))
    return results


def exported(f: Callable[..., Any], *types: tuple[Sequence[int | str], str], **options: Any) -> Any:
    """The model of a function of arrays of ``(shape, dtype)``, with one output ``y``."""
    inputs = [
        Input(f"x{i}", tuple(shape), as_dtype(dtype)) for i, (shape, dtype) in enumerate(types)
    ]
    return build_model(lambda *xs: [f(*xs)], inputs, ["y"], **options)


def kinds(model: Any) -> list[str]:
    """Names of the operators of a model's graph, in order."""
    return [node.op_type for node in model.graph.node]
