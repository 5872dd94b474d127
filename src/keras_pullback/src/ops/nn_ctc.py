"""Connectionist temporal classification: the loss, and decoding.

Imports the array namespace only; ``nn`` exports the public names here. The beam search works on
prefixes, whose number depends on the data: it runs in Python on the host.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import pullback as pb
from keras_pullback.src.ops.core import cast, real_tensor

__all__ = ["ctc_decode", "ctc_loss"]

#: Logarithm of what stands for a probability of 0; finite, so that nothing becomes nan.
_LOG_ZERO = -1e5


def _floating(x: Any) -> Any:
    x = real_tensor(x)
    return cast(x, pb.promote_types(x.dtype, pb.float32))


def _blanks_between(labels: Any, blank: int) -> Any:
    """Labels ``[b, n]`` with a blank before, between and after: ``[b, 2 * n + 1]``."""
    b, n = labels.shape
    blanks = pb.full((b, n), blank, dtype=labels.dtype)
    pairs = pb.reshape(pb.stack([blanks, labels], axis=2), (b, 2 * n))
    return pb.concat([pairs, pb.full((b, 1), blank, dtype=labels.dtype)], axis=1)


def ctc_loss(
    target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0
) -> Any:
    """Negative logarithm of the probability of each label sequence, over all alignments.

    Source: Graves et al. 2006, "Connectionist temporal classification".
    """
    target = real_tensor(target, dtype="int32")
    target_length = real_tensor(target_length, dtype="int32")
    output_length = real_tensor(output_length, dtype="int32")
    log_probabilities = pb.nn.log_softmax(_floating(output))
    b, steps, classes = log_probabilities.shape
    dtype = log_probabilities.dtype

    states = _blanks_between(pb.clip(target, 0, classes - 1), mask_index)
    s = states.shape[1]
    index = pb.broadcast_to(pb.reshape(states, (b, 1, s)), (b, steps, s))
    emitted = pb.take_along_axis(log_probabilities, index, axis=2)
    # A blank may be left out between two labels that differ. Labels are told by their place: Keras
    # lets one have the blank's class.
    skips = (states[:, 2:] != states[:, :-2]) & (pb.arange(2, s) % 2 == 1)
    barred = pb.pad(pb.where(skips, 0.0, _LOG_ZERO), ((0, 0), (2, 0)), constant_values=_LOG_ZERO)
    barred = pb.astype(barred, dtype)

    def step(alpha: Any, inputs: Any) -> tuple[Any, Any]:
        log_p, t = inputs
        back = pb.pad(alpha, ((0, 0), (2, 0)), constant_values=_LOG_ZERO)
        reached = pb.logaddexp(pb.logaddexp(alpha, back[:, 1:-1]), back[:, :-2] + barred)
        inside = pb.reshape(t < output_length, (b, 1))
        return pb.where(inside, reached + log_p, alpha), None

    start = pb.where(pb.arange(s) == 0, 0.0, _LOG_ZERO)
    start = pb.astype(pb.broadcast_to(start, (b, s)), dtype)
    inputs = (pb.permute_dims(emitted, (1, 0, 2)), pb.arange(steps))
    alpha, _ = pb.scan(step, start, inputs)

    # An alignment ends at the last label or the blank behind it; an empty label has one end only.
    end = pb.reshape(2 * target_length, (b, 1))
    places = pb.concat([end, pb.maximum(end - 1, 0)], axis=1)
    ends = pb.take_along_axis(alpha, places, axis=1)
    before = pb.where(target_length > 0, ends[:, 1], _LOG_ZERO)
    return -pb.logaddexp(ends[:, 0], before)


def ctc_decode(
    inputs: Any,
    sequence_lengths: Any,
    strategy: str = "greedy",
    beam_width: int = 100,
    top_paths: int = 1,
    merge_repeated: bool = True,
    mask_index: int | None = 0,
) -> Any:
    """The most probable label sequences, filled with -1, and their scores."""
    x = _floating(inputs)
    lengths = real_tensor(sequence_lengths, dtype="int32")
    mask_index = x.shape[-1] - 1 if mask_index is None else mask_index
    if strategy == "greedy":
        return _greedy(x, lengths, merge_repeated, mask_index)
    if strategy == "beam_search":
        return _beam_search(x, lengths, beam_width, top_paths, mask_index)
    raise ValueError(
        f"Invalid strategy {strategy}. Supported values are 'greedy' and 'beam_search'."
    )


def _greedy(x: Any, lengths: Any, merge_repeated: bool, mask_index: int) -> Any:
    b, steps, _ = x.shape
    outside = pb.arange(steps) >= pb.reshape(lengths, (b, 1))
    classes = pb.where(outside, mask_index, pb.astype(pb.argmax(x, axis=-1), pb.int32))
    scores = -pb.sum(pb.where(outside, 0.0, pb.max(x, axis=-1)), axis=1, keepdims=True)
    blank = classes == mask_index
    if merge_repeated:
        repeated = classes[:, 1:] == classes[:, :-1]
        blank = blank | pb.concat([pb.zeros((b, 1), dtype=pb.bool), repeated], axis=1)
    # What is left moves to the front, in order.
    order = pb.argsort(pb.astype(blank, pb.int32), axis=-1, stable=True)
    classes = pb.take_along_axis(pb.where(blank, -1, classes), order, axis=-1)
    return pb.expand_dims(classes, axis=0), scores


def _beam_search(x: Any, lengths: Any, beam_width: int, top_paths: int, mask_index: int) -> Any:
    b, steps, _ = x.shape
    log_probabilities = pb.nn.log_softmax(x)

    def search(rows: Any, counts: Any) -> Any:
        rows = np.asarray(rows, dtype="float64")
        paths = np.full((top_paths, b, steps), -1, dtype="int32")
        scores = np.full((b, top_paths), -np.inf, dtype=log_probabilities.dtype)
        for i, (row, n) in enumerate(zip(rows, np.asarray(counts), strict=True)):
            found = _best_prefixes(row[: max(int(n), 1)], beam_width, mask_index)
            for j, (prefix, score) in enumerate(found[:top_paths]):
                paths[j, i, : len(prefix)] = prefix
                scores[i, j] = score
        return paths, scores

    types = (
        pb.ArrayType((top_paths, b, steps), np.dtype("int32")),
        pb.ArrayType((b, top_paths), log_probabilities.dtype),
    )
    return pb.pure_callback(search, types, log_probabilities, lengths)


def _best_prefixes(rows: Any, beam_width: int, blank: int) -> list[tuple[tuple[int, ...], float]]:
    """Prefixes with the logarithms of their probabilities, best first.

    Of each prefix two are kept: of alignments that end in a blank, and of those in its last label.
    """
    none = float("-inf")
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, none)}
    for row in rows:
        grown: dict[tuple[int, ...], list[float]] = {}
        for prefix, (in_blank, in_label) in beam.items():
            both = np.logaddexp(in_blank, in_label)
            for c, log_p in enumerate(row):
                if c == blank:
                    _gain(grown, prefix, 0, both + log_p)
                elif prefix and prefix[-1] == c:
                    _gain(grown, prefix, 1, in_label + log_p)
                    _gain(grown, (*prefix, c), 1, in_blank + log_p)
                else:
                    _gain(grown, (*prefix, c), 1, both + log_p)
        kept = sorted(grown.items(), key=_preference, reverse=True)[:beam_width]
        beam = {prefix: (scores[0], scores[1]) for prefix, scores in kept}
    return [(prefix, float(np.logaddexp(*scores))) for prefix, scores in beam.items()]


def _gain(scores: dict[tuple[int, ...], list[float]], prefix: Any, kind: int, more: float) -> None:
    pair = scores.setdefault(prefix, [float("-inf"), float("-inf")])
    pair[kind] = float(np.logaddexp(pair[kind], more))


def _preference(item: Any) -> Any:
    """Order of prefixes: by score; of equal ones, lower classes first."""
    prefix, scores = item
    return np.logaddexp(*scores), tuple(-c for c in prefix)
