"""JAX's names on this engine: ``import pullback.compat.jax as jax``, and nothing else changes.

Imports everything below ``compat``. ``pullback`` has JAX's names of transformations itself; here
are the modules that programs reach through ``jax``, and JAX's meaning where it differs: data of 64
bits becomes 32 bits wide, and ``vmap`` is a compiled loop. Start at ``transformations``.
"""

from __future__ import annotations

from typing import Any

from pullback import random, tree
from pullback.compat.jax import lax, nn, numpy, tree_util
from pullback.compat.jax.transformations import (
    ShapeDtypeStruct,
    config,
    device_get,
    device_put,
    eval_shape,
    grad,
    hessian,
    jacfwd,
    jacrev,
    jit,
    jvp,
    linearize,
    value_and_grad,
    vjp,
)
from pullback.compat.jax.vectorize import vmap
from pullback.custom import checkpoint, custom_vjp, pure_callback
from pullback.jit import make_program as make_jaxpr
from pullback.program.source import layer_path as named_scope
from pullback.program.value import Value as Array

__all__ = [
    "Array",
    "ShapeDtypeStruct",
    "block_until_ready",
    "checkpoint",
    "config",
    "custom_vjp",
    "default_backend",
    "device_get",
    "device_put",
    "eval_shape",
    "grad",
    "hessian",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "lax",
    "linearize",
    "make_jaxpr",
    "named_scope",
    "nn",
    "numpy",
    "pure_callback",
    "random",
    "remat",
    "tree",
    "tree_util",
    "value_and_grad",
    "vjp",
    "vmap",
]

jacobian = jacrev
remat = checkpoint

#: What to use for names of JAX that are not here.
_INSTEAD = {
    "custom_jvp": "jax.custom_vjp",
    "debug": "print outside of jit, or jax.pure_callback",
    "devices": "nothing: there are processors only, and results don't depend on their number",
    "experimental": "what has left it",
    "pmap": "jax.vmap: there is one device, whose processors a program shares by itself",
    "scipy": "SciPy itself, through jax.pure_callback, or the functions of jax.numpy",
    "sharding": "nothing: there is one device",
}


def block_until_ready(x: Any) -> Any:
    """Return ``x``: results are there when a call returns."""
    return x


def default_backend() -> str:
    """The name of the only device."""
    return "cpu"


def __getattr__(name: str) -> Any:
    message = f"module {__name__!r} has no attribute {name!r}"
    if name in _INSTEAD:
        # Without `name`, so that Python does not add what looks like it.
        raise AttributeError(f"{message}: use {_INSTEAD[name]}")
    raise AttributeError(message)
