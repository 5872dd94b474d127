"""What is known of a result before the graph runs: by tracing on trial shapes.

Imports ``shapes`` and the engine's ``stage``. The engine has one rule for the shape and dtype of
every operation, on lengths that are known. A length that is not known is tried: with two large
numbers, and, where these do not fit, with 1 and the lengths that stand beside it. What comes out
the same for all that fit is known of the result. Start at ``infer``.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pullback.compat.v1.shapes import Dims, common_dims, show_type
from pullback.errors import PullbackError, ShapeError
from pullback.program.core import Program
from pullback.trace.stage import stage
from pullback.types import ArrayType, DType

#: Stand for an unknown length. Divisible by 1 to 12, since results are split and reshaped.
_LARGE = (55440, 110880)
_RANKS = range(5)
#: Most trials: all combinations for three unknown lengths beside three known ones.
_TRIALS = 216

Spec = tuple[Dims, DType]


def infer(name: str, compute: Callable[..., Any], operands: Sequence[Spec]) -> Spec:
    """Return what is known of the shape of ``compute(*operands)``, and its dtype.

    Args:
        name: The operation's name, for messages.
        compute: A function of arrays of the engine.
        operands: What is known of each operand.

    Raises:
        ShapeError, DTypeError: no trial fits: as the engine says it, with ``?`` for lengths that
            are not known.
    """
    first: PullbackError | None = None
    for shapes in _rounds(operands):
        found: Spec | None = None
        for trial in shapes:
            types = [ArrayType(s, d) for s, (_, d) in zip(trial, operands, strict=True)]
            try:
                (result,) = _trace(compute, types).output_types
            except PullbackError as error:
                first = first or error
                continue
            dims = result.shape if found is None else common_dims(found[0], result.shape)
            found = dims, result.dtype
            if dims is None:
                break
        if found is not None:
            return found
    raise _refusal(name, operands, first)


def _trace(compute: Callable[..., Any], types: Sequence[ArrayType]) -> Program:
    return stage(lambda *xs: [compute(*xs)], types).program


def _rounds(operands: Sequence[Spec]) -> Iterator[Iterator[list[tuple[int, ...]]]]:
    """Rounds of trial shapes; a round is asked for only when nothing fitted in those before."""
    dims = [d for d, _ in operands]
    known = sorted({n for d in dims for n in d or () if n is not None} - {1})
    if all(d is not None and None not in d for d in dims):
        yield iter([[_filled(d, ()) for d in dims]])
    elif all(d is not None for d in dims):
        yield (_all_filled(dims, itertools.repeat(n)) for n in _LARGE)
        unknown = sum(n is None for d in dims for n in d or ())
        choices = itertools.product((*_LARGE, 1, *known), repeat=unknown)
        yield (_all_filled(dims, iter(c)) for c in itertools.islice(choices, _TRIALS))
    else:
        lengths = (*_LARGE, 1, *known)
        ranked = itertools.product(_RANKS, repeat=sum(d is None for d in dims))
        yield (
            _all_filled(_with_ranks(dims, ranks), itertools.repeat(n))
            for ranks in itertools.islice(ranked, 25)
            for n in lengths
        )


def _with_ranks(dims: Sequence[Dims], ranks: Sequence[int]) -> list[Dims]:
    rest = iter(ranks)
    return [(None,) * next(rest) if d is None else d for d in dims]


def _all_filled(dims: Sequence[Dims], lengths: Iterator[int]) -> list[tuple[int, ...]]:
    return [_filled(d, lengths) for d in dims]


def _filled(dims: Dims, lengths: Any) -> tuple[int, ...]:
    rest = iter(lengths)
    return tuple(next(rest) if n is None else n for n in dims or ())


def _refusal(name: str, operands: Sequence[Spec], error: PullbackError | None) -> PullbackError:
    given = " and ".join(show_type(*operand) for operand in operands)
    text = str(error)
    for n in _LARGE:
        text = text.replace(str(n), "?")
    kind = type(error) if error is not None else ShapeError
    return kind(f"{name} of {given}: {text}")
