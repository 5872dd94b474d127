"""``variable_scope`` and ``get_variable``: variables that are found again by their names.

Imports ``variable`` and ``initializers``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.graph import get_default_graph
from pullback.compat.v1.initializers import (
    glorot_uniform_initializer,
    initial_value,
    zeros_initializer,
)
from pullback.compat.v1.shapes import full_dims
from pullback.compat.v1.variable import Variable
from pullback.errors import ShapeError
from pullback.types import FLOATING, as_dtype, float32


class _AutoReuse:
    """Make a variable, or find it where it exists."""

    def __repr__(self) -> str:
        return "AUTO_REUSE"


AUTO_REUSE = _AutoReuse()


class VariableScope:
    """What ``variable_scope`` opens.

    Attributes:
        name: The names around, without a ``/`` at the end.
        reuse: False: variables are new; True: they exist; ``AUTO_REUSE``: either.
        initializer: What ``get_variable`` takes where it is given none.
    """

    def __init__(self, name: str, reuse: Any = False, initializer: Any = None) -> None:
        self.name = name
        self.reuse = reuse
        self.initializer = initializer

    def reuse_variables(self) -> None:
        """Find variables from now on, in place of making them."""
        self.reuse = True


def _stack() -> list[VariableScope]:
    stack = get_default_graph().variable_scopes
    if not stack:
        stack.append(VariableScope(""))
    return stack


def get_variable_scope() -> VariableScope:
    """The innermost scope of variables."""
    return _stack()[-1]


@contextlib.contextmanager
def variable_scope(
    name_or_scope: str | VariableScope | None,
    default_name: str | None = None,
    values: Any = None,
    initializer: Any = None,
    reuse: Any = None,
) -> Iterator[VariableScope]:
    """Put a name before those of variables, and of other nodes, that are made in the block.

    Args:
        name_or_scope: A name, or a scope to enter again. None: ``default_name`` made unique.
        default_name: See there.
        values: Not used.
        initializer: What ``get_variable`` takes in the block where it is given none.
        reuse: True: ``get_variable`` finds variables; ``AUTO_REUSE``: it finds or makes them.
    """
    graph, outer = get_default_graph(), get_variable_scope()
    if isinstance(name_or_scope, VariableScope):
        full, short = name_or_scope.name, name_or_scope.name.rpartition("/")[2]
        inherited = name_or_scope.initializer
    else:
        if name_or_scope is None and default_name is None:
            raise GraphError("variable_scope needs a name")
        short = unique_scope(default_name or "") if name_or_scope is None else name_or_scope
        full = f"{outer.name}/{short}" if outer.name else short
        inherited = outer.initializer
    inner = VariableScope(
        full,
        reuse or outer.reuse,
        inherited if initializer is None else initializer,
    )
    stack = _stack()
    stack.append(inner)
    try:
        with graph.name_scope(short or None):
            yield inner
    finally:
        stack.remove(inner)


def unique_scope(name: str) -> str:
    """A name that no scope of variables here has yet: ``dense``, ``dense_1`` and so on."""
    graph, outer = get_default_graph(), get_variable_scope()
    used = graph.scope_counts
    key = f"{outer.name}/{name}"
    count = used.get(key, 0)
    used[key] = count + 1
    return f"{name}_{count}" if count else name


def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    trainable: bool = True,
) -> Variable:
    """The variable of that name in the scope: a new one, or in a scope with ``reuse``, that one.

    Args:
        name: Its name, to which the scope's is added.
        shape: Its shape. None: that of ``initializer``, which is an array or a tensor then.
        dtype: Default: float32.
        initializer: From a shape to a tensor, or numbers. Default: that of the scope, else
            ``glorot_uniform``; zeros for integers.
        trainable: Whether optimizers train it by default.

    Raises:
        GraphError: it exists and the scope does not say ``reuse``; or the other way round.
        ShapeError: it exists with another shape.
    """
    graph, scope = get_default_graph(), get_variable_scope()
    full = f"{scope.name}/{name}" if scope.name else name
    known = graph.variables.get(full)
    if known is not None:
        if scope.reuse is False or scope.reuse is None:
            raise GraphError(
                f"variable {full!r} exists, {known.where()}: to use it again, say "
                "`reuse=True` or `reuse=tf.AUTO_REUSE` in the variable_scope"
            )
        if shape is not None and full_dims(full, shape) != known.lengths:
            raise ShapeError(
                f"variable {known.where()} is {known.describe()}, asked for with the shape "
                f"{full_dims(full, shape)}"
            )
        return known
    if scope.reuse is True:
        raise GraphError(f"variable {full!r} does not exist, and the scope says reuse=True")
    with graph.inside(""), graph.control_dependencies(None):
        chosen = scope.initializer if initializer is None else initializer
        first = _first_value(full, shape, dtype, chosen)
        made = Variable(first, trainable, full)
    graph.variables[full] = made
    return made


def _first_value(name: str, shape: Any, dtype: Any, initializer: Any) -> Any:
    wanted = float32 if dtype is None else as_dtype(dtype)
    if initializer is None:
        initializer = glorot_uniform_initializer() if wanted in FLOATING else zeros_initializer()
    if shape is None:
        if callable(initializer):
            raise GraphError(f"variable {name!r} needs a shape")
        return initializer
    return lambda: initial_value(initializer, full_dims(name, shape), wanted)
