"""``jax.jit``, ``jax.grad`` and the rest, with all of JAX's arguments.

Imports everything below ``compat``. They are those of ``pullback``, but that NumPy data of 64 bits
becomes 32 bits wide. Start at ``jit``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from pullback import api, jacobians, tree
from pullback.compat.jax.narrow import narrow_leaves
from pullback.compat.jax.numpy import asarray
from pullback.errors import ConfigurationError
from pullback.jit import jit as compiled
from pullback.jit import make_program
from pullback.types import ArrayType, as_dtype

Function = Callable[..., Any]


def jit(
    fun: Function | None = None,
    *,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Sequence[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Sequence[str] | None = None,
    keep_unused: bool = False,
    inline: bool = False,
) -> Any:
    """Compile ``fun`` as ``pullback.jit`` does.

    Args:
        fun: A function of trees of arrays. None: return a decorator.
        static_argnums: Positions of arguments that are hashable Python values.
        static_argnames: The same by name.
        donate_argnums: Positions of arguments whose memory results may take.
        donate_argnames: The same by name, where they are given by position.
        keep_unused: Accepted; makes no difference here.
        inline: Accepted; a ``jit`` function is always inlined into one that calls it.
    """
    if fun is None:
        return functools.partial(
            jit,
            static_argnums=static_argnums,
            static_argnames=static_argnames,
            donate_argnums=donate_argnums,
            donate_argnames=donate_argnames,
        )
    donated = [donate_argnums] if isinstance(donate_argnums, int) else [*(donate_argnums or ())]
    names = (donate_argnames,) if isinstance(donate_argnames, str) else (donate_argnames or ())
    places = [*inspect.signature(fun).parameters] if names else []
    made = compiled(
        fun,
        static_argnums=static_argnums,
        static_argnames=static_argnames,
        donate_argnums=[*donated, *map(places.index, names)] or None,
    )
    return _narrowing(made, fun)


def _narrowing(made: Function, fun: Function) -> Function:
    """``made``, called with data of 32 bits."""

    @functools.wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = narrow_leaves((args, kwargs))
        return made(*args, **kwargs)

    return call


def _refuse_complex(holomorphic: bool) -> None:
    if holomorphic:
        raise ConfigurationError("holomorphic=True: there are no complex numbers")


def grad(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Function:
    """Return the gradient of ``fun``: see ``pullback.grad``."""
    _refuse_complex(holomorphic)
    return _narrowing(api.grad(fun, argnums, has_aux), fun)


def value_and_grad(
    fun: Function,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    holomorphic: bool = False,
) -> Function:
    """Return ``fun`` and its gradient: see ``pullback.value_and_grad``."""
    _refuse_complex(holomorphic)
    return _narrowing(api.value_and_grad(fun, argnums, has_aux), fun)


def jacrev(fun: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return the Jacobian by reverse mode: see ``pullback.jacrev``."""
    return _narrowing(jacobians.jacrev(fun, argnums, has_aux), fun)


def jacfwd(fun: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return the Jacobian by forward mode: see ``pullback.jacfwd``."""
    return _narrowing(jacobians.jacfwd(fun, argnums, has_aux), fun)


def hessian(fun: Function, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Function:
    """Return the second derivatives: see ``pullback.hessian``."""
    return _narrowing(jacobians.hessian(fun, argnums, has_aux), fun)


def vjp(fun: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Compute ``fun`` and return its pullback: see ``pullback.vjp``."""
    return api.vjp(fun, *narrow_leaves(primals), has_aux=has_aux)


def jvp(
    fun: Function, primals: Sequence[Any], tangents: Sequence[Any], has_aux: bool = False
) -> Any:
    """Compute ``fun`` and its directional derivative: see ``pullback.jvp``."""
    return api.jvp(fun, narrow_leaves(primals), narrow_leaves(tangents), has_aux=has_aux)


def linearize(fun: Function, *primals: Any, has_aux: bool = False) -> Any:
    """Compute ``fun`` and return its linear map: see ``pullback.linearize``."""
    return api.linearize(fun, *narrow_leaves(primals), has_aux=has_aux)


def ShapeDtypeStruct(shape: Sequence[int], dtype: Any) -> ArrayType:
    """The type of an array, which stands for one in ``eval_shape`` and ``make_jaxpr``."""
    return ArrayType(tuple(shape), as_dtype(dtype))


def eval_shape(fun: Function, *args: Any, **kwargs: Any) -> Any:
    """Return the types of the result of ``fun``, which is traced and not computed.

    Args:
        fun: A function of trees of arrays.
        args: Trees of arrays, or of ``ShapeDtypeStruct``.
        kwargs: The same by name.
    """
    structures: list[tree.TreeDef] = []

    def flat(*values: Any, **named: Any) -> list[Any]:
        leaves, structure = tree.flatten(fun(*values, **named))
        structures.append(structure)
        return leaves

    types = make_program(flat)(*args, **kwargs).output_types
    return structures[-1].unflatten(types)


def device_put(x: Any, device: Any = None) -> Any:
    """Return a tree of arrays; there is one device."""
    return tree.map(asarray, x)


def device_get(x: Any) -> Any:
    """Return a tree of NumPy arrays."""
    return tree.map(np.asarray, x)


class _Config:
    """``jax.config``: accepts what is so here, refuses what is not."""

    _FIXED: Final = {
        "jax_enable_x64": False,
        "jax_debug_nans": False,
        "jax_disable_jit": False,
        "jax_platform_name": "cpu",
        "jax_platforms": "cpu",
    }

    def update(self, name: str, value: Any) -> None:
        """Accept a setting that has this value here.

        Raises:
            ConfigurationError: it has another value, or none.
        """
        if name not in self._FIXED or self._FIXED[name] != value:
            mend = ": give a dtype, as in zeros(3, float64)" if name == "jax_enable_x64" else ""
            raise ConfigurationError(
                f"jax.config: {name} cannot be {value!r} here; possible is one of "
                f"{', '.join(f'{k}={v!r}' for k, v in self._FIXED.items())}{mend}"
            )


config = _Config()
