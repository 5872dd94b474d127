"""``gradients``: nodes for the derivatives of tensors, made by the engine's ``vjp``.

Imports ``tensor`` and ``frame``. The nodes between what is differentiated and what it is
differentiated by are evaluated a second time under ``vjp``; the compiler shares what is common.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pullback import api, ops
from pullback.compat.v1.arithmetic import add_n, require_floating
from pullback.compat.v1.errors import GraphError
from pullback.compat.v1.frame import Frame
from pullback.compat.v1.plan import order
from pullback.compat.v1.tensor import Node, Tensor, as_node, convert_to_tensor
from pullback.compat.v1.variable import Variable
from pullback.types import FLOATING


def gradients(
    ys: Any, xs: Any, grad_ys: Any = None, name: str = "gradients"
) -> list[Tensor | None]:
    """Tensors for the derivatives of the sum of all elements of ``ys`` by each of ``xs``.

    Args:
        ys: A floating tensor or a list of them.
        xs: A tensor or variable, or a list of them.
        grad_ys: Weights of that sum: a list of tensors like ``ys``.
        name: Name of the node.

    Returns:
        A list with a tensor of the shape and dtype of each of ``xs``; None where no path on which
        gradients pass leads from it to ``ys``.

    Raises:
        DTypeError: one of ``ys`` is not floating.
    """
    outs = [_floating(y) for y in _listed(ys)]
    weights = None if grad_ys is None else [*map(convert_to_tensor, _listed(grad_ys))]
    if weights is not None and len(weights) != len(outs):
        raise GraphError(f"gradients of {len(outs)} tensors with {len(weights)} grad_ys")
    sources = [_sources(x, outs) for x in _listed(xs)]
    paths = [[x for x in found if _reaches(x, outs)] for found in sources]
    flat = [x for found in paths for x in found]
    if not flat:
        return [None] * len(paths)
    cotangents = _cotangents(name, outs, flat, weights)
    return [_total([cotangents[x] for x in found]) for found in paths]


def _total(cotangents: list[Tensor]) -> Tensor | None:
    if len(cotangents) < 2:
        return cotangents[0] if cotangents else None
    return add_n(cotangents)


def _cotangents(
    name: str, outs: list[Tensor], flat: list[Tensor], weights: list[Tensor] | None
) -> dict[Tensor, Tensor]:
    """A tensor for the derivatives by each of ``flat``."""
    inner = [x for x in flat if x in _between([y for y in flat if y is not x], [x])]
    outer = [x for x in flat if x not in inner]
    found: dict[Tensor, Tensor] = {}
    # What depends on another source would cut the paths from that one: each has its own node.
    for sources in (outer, *([x] for x in inner)):
        node = _Gradients(name, outs, sources, weights)
        found |= {x: node.part(i) for i, x in enumerate(sources)}
    return found


def _listed(x: Any) -> list[Any]:
    return [*x] if isinstance(x, (list, tuple)) else [x]


def _floating(y: Any) -> Tensor:
    tensor = convert_to_tensor(y)
    require_floating("gradients", tensor)
    return tensor


def _sources(x: Any, outs: Sequence[Tensor]) -> list[Tensor]:
    """The tensors that stand for ``x``: every node that reads it, if it is a variable."""
    if isinstance(x, Variable):
        found = order(outs, ())
        return [node for node in found if isinstance(node, Tensor) and x.is_read_by(node)]
    node = as_node(x)
    return [node] if isinstance(node, Tensor) and node.dtype in FLOATING else []


def _reaches(x: Tensor, outs: Sequence[Tensor]) -> bool:
    return any(y in _between([x], [y]) or y is x for y in outs)


def _between(xs: Sequence[Tensor], ys: Sequence[Tensor]) -> list[Node]:
    """Nodes on differentiable paths from ``xs`` to ``ys``, without ``xs``, in order."""
    moving: set[Node] = {*xs}
    found: list[Node] = []
    for node in order(ys, xs):
        if any(x in moving for x in node.inputs) and _passes(node):
            moving.add(node)
            found.append(node)
    return found


def _passes(node: Node) -> bool:
    """Whether gradients pass through a node."""
    if not isinstance(node, Tensor):
        return isinstance(node, _Gradients)
    return node.is_differentiable and node.dtype in FLOATING


class _Gradients(Node):
    """Evaluates to the list of cotangents of ``xs``."""

    def __init__(
        self,
        name: str,
        ys: Sequence[Tensor],
        xs: Sequence[Tensor],
        weights: Sequence[Tensor] | None,
    ) -> None:
        super().__init__(name, [*ys, *xs, *(weights or ())])
        self._ys, self._xs, self._weights = [*ys], [*xs], weights
        self._path = _between(xs, ys)

    def evaluate(self, frame: Frame) -> list[Any]:
        """The cotangents."""

        def outputs(*values: Any) -> list[Any]:
            changed: dict[Node, Any] = dict(zip(self._xs, values, strict=True))
            found = frame.again(self._path, changed)
            return [found[y] for y in self._ys]

        out, pullback = api.vjp(outputs, *(frame.values[x] for x in self._xs))
        if self._weights is None:
            cts = [ops.ones_like(y) for y in out]
        else:
            weights = (frame.values[w] for w in self._weights)
            cts = [ops.broadcast_to(w, y.shape) for w, y in zip(weights, out, strict=True)]
        return [*pullback(cts)]

    def part(self, place: int) -> Tensor:
        """The tensor of one of the cotangents."""
        x = self._xs[place]
        with self.graph.inside(""):
            return Tensor(
                f"{self.op_name}/{x.op_name}", x.dims, x.dtype, [self],
                lambda found: found[place], self.graph,
            )  # fmt: skip
