"""A compiler for training neural networks by backpropagation.

``pullback`` is an Array API namespace with transformations: ``grad``, ``vjp``, ``jvp``, ``jit`` and
the rest under JAX's names, and ``GradientTape`` and ``Variable`` as in TensorFlow. Start with
``jit`` and ``value_and_grad``; ``make_program`` shows what they do.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pullback import config, errors, random, tree
from pullback import ops as _ops
from pullback.api import grad, jvp, linearize, value_and_grad, vjp
from pullback.control import (
    associative_scan,
    cond,
    fori_loop,
    map,
    scan,
    switch,
    while_loop,
)
from pullback.custom import checkpoint, custom_vjp, pure_callback, stop_gradient
from pullback.jacobians import hessian, hvp, jacfwd, jacobian, jacrev
from pullback.jit import jit, make_program
from pullback.ops import *  # noqa: F403
from pullback.program.core import Program
from pullback.program.source import layer_path
from pullback.program.value import Array
from pullback.tape import GradientTape
from pullback.trace.variable import Variable
from pullback.types import ArrayType
from pullback.version import __version__

if TYPE_CHECKING:
    from pullback import compat as compat
    from pullback import datasets, sparse, testing
    from pullback import keras as keras


#: Submodules that are imported when they are first used.
_LAZY = frozenset({"compat", "datasets", "keras", "sparse", "testing"})

#: What to use for names of TensorFlow and JAX that are not here.
_INSTEAD = {
    "Session": "pullback.compat.v1.Session",
    "cast": "pullback.astype",
    "constant": "pullback.asarray",
    "convert_to_tensor": "pullback.asarray",
    "data": "NumPy arrays, or a Python generator, in model.fit",
    "function": "pullback.jit",
    "get_variable": "pullback.compat.v1.get_variable",
    "global_variables_initializer": "pullback.compat.v1.global_variables_initializer",
    "gradients": "pullback.compat.v1.gradients, or pullback.GradientTape",
    "lax": "the functions of pullback itself, as in pullback.scan, or pullback.compat.jax.lax",
    "layers": "pullback.keras.layers, or pullback.compat.v1.layers",
    "losses": "pullback.keras.losses, or pullback.compat.v1.losses",
    "math": "the functions of pullback itself, as in pullback.log",
    "numpy": "the functions of pullback itself, or pullback.compat.jax.numpy",
    "one_hot": "pullback.nn.one_hot",
    "placeholder": "pullback.compat.v1.placeholder",
    "random_normal": "pullback.random.normal, or pullback.compat.v1.random_normal",
    "reduce_max": "pullback.max",
    "reduce_mean": "pullback.mean",
    "reduce_min": "pullback.min",
    "reduce_sum": "pullback.sum",
    "sigmoid": "pullback.nn.sigmoid",
    "train": "pullback.keras.optimizers, or pullback.compat.v1.train",
    "tree_util": "pullback.tree, or pullback.compat.jax.tree_util",
    "vmap": "operations on whole batches, or pullback.compat.jax.vmap, which is a loop",
}

# Without "compat" and "keras": `import *` must not choose a backend for Keras.
__all__ = [
    "Array",
    "ArrayType",
    "GradientTape",
    "Program",
    "Variable",
    "__version__",
    "associative_scan",
    "checkpoint",
    "cond",
    "config",
    "custom_vjp",
    "datasets",
    "errors",
    "fori_loop",
    "grad",
    "hessian",
    "hvp",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "layer_path",
    "linearize",
    "make_program",
    "map",
    "pure_callback",
    "random",
    "scan",
    "sparse",
    "stop_gradient",
    "switch",
    "testing",
    "tree",
    "value_and_grad",
    "vjp",
    "while_loop",
]
__all__ += _ops.__all__


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"pullback.{name}")
    message = f"module 'pullback' has no attribute {name!r}"
    if name in _INSTEAD:
        # Without `name`, so that Python does not add what looks like it.
        raise AttributeError(f"{message}: use {_INSTEAD[name]}")
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
