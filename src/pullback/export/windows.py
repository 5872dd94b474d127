"""Rules of convolution and pooling, which programs hold as one equation while they are exported.

Imports ``operators`` and ``translate``. ONNX has channels second; start at ``operator_rule``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pullback.export.dimensions import is_static
from pullback.export.elementwise import WIDE
from pullback.export.graph import Graph, Name
from pullback.export.operators import (
    Convolution,
    Operator,
    Pooling,
    TransposedConvolution,
)
from pullback.export.translate import Operand, Refusal, Translator, translates
from pullback.program.core import Equation
from pullback.types import FLOATING, int64


@translates(Operator)
def operator_rule(
    t: Translator, primitive: Operator, eqn: Equation, xs: tuple[Operand, ...]
) -> Name | Operand:
    """ONNX's own operator; for integers, which it does not take, what the operator is made of."""
    what = primitive.what
    if xs[0].dtype not in FLOATING:
        (result,) = t.program(primitive.program, [replace(x) for x in xs])
        return result
    g = t.graph
    dtype = xs[0].dtype
    wide = WIDE.get(dtype, dtype)
    names = [g.cast(t.full(x), dtype, wide) for x in xs]
    ndim = xs[0].type.ndim
    x = _channels_second(g, names[0], ndim) if what.channels_last else names[0]
    match what:
        case Pooling():
            result_name = _pool(g, what, x)
        case Convolution():
            result_name = _convolve(g, what, x, xs, names[1])
        case TransposedConvolution():
            result_name = _transposed(g, what, x, xs, names[1])
    if what.channels_last:
        result_name = _channels_last(g, result_name, ndim)
    result_name = g.cast(result_name, wide, dtype)
    g.define(result_name, eqn.output.type)
    return result_name


def _channels_second(g: Graph, x: Name, ndim: int) -> Name:
    return g.transpose(x, (0, ndim - 1, *range(1, ndim - 1)))


def _channels_last(g: Graph, x: Name, ndim: int) -> Name:
    return g.transpose(x, (0, *range(2, ndim), 1))


def _padding(what: Convolution | Pooling, reach: Sequence[int]) -> dict[str, Any]:
    if what.widths is None:
        # The rule of ONNX is the same, but runtimes take it only where it adds something.
        if any(stride > n for stride, n in zip(what.strides, reach, strict=True)):
            raise Refusal("the padding depends on a free length, and the stride skips elements")
        return {"auto_pad": "SAME_UPPER"}
    if not any(map(any, what.widths)):
        return {}
    return {"pads": [low for low, _ in what.widths] + [high for _, high in what.widths]}


def _convolve(g: Graph, what: Convolution, x: Name, xs: Sequence[Operand], kernel: Name) -> Name:
    n = len(what.strides)
    *sizes, fan_in, _ = xs[1].type.shape
    channels = xs[0].type.shape[-1 if what.channels_last else 1]
    if not is_static(channels):
        raise Refusal("the number of channels is a free length")
    weights = g.transpose(kernel, (n + 1, n, *range(n)))
    reach = [(k - 1) * d + 1 for k, d in zip(sizes, what.dilations, strict=True)]
    return g.op(
        "Conv",
        x,
        weights,
        kernel_shape=list(sizes),
        strides=list(what.strides),
        dilations=list(what.dilations),
        group=channels // fan_in,
        **_padding(what, reach),
    )


def _transposed(
    g: Graph, what: TransposedConvolution, x: Name, xs: Sequence[Operand], kernel: Name
) -> Name:
    n = len(what.strides)
    weights = g.transpose(kernel, (n + 1, n, *range(n)))
    cuts = [max(-low, 0) for low, _ in what.widths] + [max(-high, 0) for _, high in what.widths]
    result = g.op(
        "ConvTranspose",
        x,
        weights,
        kernel_shape=list(xs[1].type.shape[:n]),
        strides=list(what.strides),
        dilations=list(what.dilations),
        pads=cuts,
    )
    added = [max(low, 0) for low, _ in what.widths], [max(high, 0) for _, high in what.widths]
    if any(added[0]) or any(added[1]):
        ends = [0, 0, *added[0], 0, 0, *added[1]]
        result = g.op("Pad", result, g.constant(ends, int64))
    return result


def _pool(g: Graph, what: Pooling, x: Name) -> Name:
    kind = "MaxPool" if what.kind == "max" else "AveragePool"
    return g.op(
        kind,
        x,
        kernel_shape=list(what.sizes),
        strides=list(what.strides),
        **_padding(what, what.sizes),
    )
