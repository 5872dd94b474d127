"""Attention, and the rearrangements between space and channels or patches.

Imports ``nn_windows``; ``nn`` exports every name here.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor
from keras_pullback.src.ops.nn_windows import (
    axes_of,
    interleaved,
    kernel_blocks,
    pad_axes,
    per_axis,
    shifted,
    split_strides,
    window,
)

__all__ = [
    "depth_to_space",
    "dot_product_attention",
    "fold",
    "space_to_depth",
    "unfold",
]


def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> Any:
    """Attention of ``query`` ``[b, t, n, h]`` over ``key`` and ``value`` ``[b, s, k, h]``.

    ``k`` divides ``n``: as many queries' heads share a key's. ``flash_attention`` is a hint that
    changes nothing. Logits and softmax are float32 at least.
    """
    del flash_attention
    query, key, value = (real_tensor(x) for x in (query, key, value))
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(
            "`dot_product_attention` only supports 4D inputs. Received: "
            f"query.shape={query.shape}, key.shape={key.shape}, value.shape={value.shape}."
        )
    dtype = pb.result_type(query.dtype, key.dtype, value.dtype)
    shared = query.shape[2] // key.shape[2]
    key, value = (pb.repeat(x, shared, axis=2) if shared > 1 else x for x in (key, value))
    query, key = (_wide(cast(x, dtype)) for x in (query, key))
    if scale is None:
        scale = 1.0 / math.sqrt(query.shape[-1])
    logits = pb.einsum("btnh,bsnh->bnts", query, key) * scale
    if attn_logits_soft_cap is not None:
        logits = logits / (1.0 + pb.abs(logits) / attn_logits_soft_cap)
    if bias is not None:
        logits = pb.astype(logits + _heads(bias, query.shape[2], dtype), logits.dtype)
    weights = cast(pb.nn.softmax(_masked(logits, mask, is_causal), axis=-1), dtype)
    return pb.einsum("bnts,bsnh->btnh", weights, cast(value, dtype))


def _wide(x: Any) -> Any:
    return cast(x, pb.promote_types(x.dtype, pb.float32))


def _heads(x: Any, heads: int, dtype: Any) -> Any:
    """A bias or a mask of four axes; with three, the second is that of heads if it has as many."""
    x = real_tensor(x, dtype)
    if x.ndim == 3:
        x = pb.expand_dims(x, axis=2 if x.shape[1] == heads else 1)
    return x


def _masked(logits: Any, mask: Any, is_causal: bool) -> Any:
    """Logits with a number far below all others where attention is not allowed."""
    allowed = None if mask is None else _heads(mask, logits.shape[1], "bool")
    if is_causal:
        t, s = logits.shape[-2:]
        causal = pb.reshape(pb.arange(t), (t, 1)) >= pb.arange(s)
        allowed = causal if allowed is None else allowed & causal
    if allowed is None:
        return logits
    return pb.where(allowed, logits, -0.7 * float(pb.finfo(logits.dtype).max))


def unfold(
    input: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    """Patches of images ``[n, c, h, w]``, as the columns of ``[n, c * size, windows]``."""
    x = real_tensor(input)
    n, c = x.shape[:2]
    axes = axes_of(2, per_axis(kernel_size, 2), stride, dilation)
    x = pad_axes(x, axes, [(p, p) for p in per_axis(padding, 2)])
    counts = [a.count(x.shape[a.place]) for a in axes]
    x = split_strides(x, axes, counts)
    positions = itertools.product(*(range(a.size) for a in axes))
    patches = pb.stack([window(x, axes, k, counts) for k in positions], axis=2)
    return pb.reshape(patches, (n, c * patches.shape[2], math.prod(counts)))


def fold(
    x: Any,
    output_size: Any,
    kernel_size: Any,
    dilation: Any = 1,
    padding: Any = 0,
    stride: Any = 1,
) -> Any:
    """Sum patches ``[n, c * size, windows]`` at their places in images ``[n, c, h, w]``."""
    x = real_tensor(x)
    n = x.shape[0]
    sizes = per_axis(kernel_size, 2)
    pads = per_axis(padding, 2)
    lengths = [m + 2 * p for m, p in zip(per_axis(output_size, 2), pads, strict=True)]
    axes = axes_of(4, sizes, stride, dilation)
    counts = [a.count(m) for a, m in zip(axes, lengths, strict=True)]
    c = x.shape[1] // math.prod(sizes)
    # The kernel's axes first, as those of a kernel that every patch brings along.
    patches = pb.moveaxis(pb.reshape(x, (n, c, *sizes, *counts)), (2, 3), (0, 1))
    total = None
    for place, block in kernel_blocks(patches, axes).items():
        part = shifted(block, axes, place)
        total = part if total is None else total + part
    images = interleaved(total, axes, (0, 1))
    moved = axes_of(2, sizes, stride, dilation)
    ends = [m - images.shape[a.place] - p for m, p, a in zip(lengths, pads, moved, strict=True)]
    return pad_axes(images, moved, [(-p, end) for p, end in zip(pads, ends, strict=True)])


def depth_to_space(x: Any, block_size: int, data_format: str = "channels_last") -> Any:
    """Channels laid out as blocks of ``block_size`` by ``block_size``."""
    x = real_tensor(x)
    b = block_size
    if data_format == "channels_last":
        n, h, w, c = x.shape
        x = pb.reshape(x, (n, h, w, b, b, c // b**2))
        return pb.reshape(pb.permute_dims(x, (0, 1, 3, 2, 4, 5)), (n, h * b, w * b, c // b**2))
    n, c, h, w = x.shape
    x = pb.reshape(x, (n, c // b**2, b, b, h, w))
    return pb.reshape(pb.permute_dims(x, (0, 1, 4, 2, 5, 3)), (n, c // b**2, h * b, w * b))


def space_to_depth(x: Any, block_size: int, data_format: str = "channels_last") -> Any:
    """Blocks of ``block_size`` by ``block_size`` gathered into channels."""
    x = real_tensor(x)
    b = block_size
    if data_format == "channels_last":
        n, h, w, c = x.shape
        x = pb.reshape(x, (n, h // b, b, w // b, b, c))
        return pb.reshape(pb.permute_dims(x, (0, 1, 3, 2, 4, 5)), (n, h // b, w // b, c * b**2))
    n, c, h, w = x.shape
    x = pb.reshape(x, (n, c, h // b, b, w // b, b))
    return pb.reshape(pb.permute_dims(x, (0, 1, 3, 5, 2, 4)), (n, c * b**2, h // b, w // b))
