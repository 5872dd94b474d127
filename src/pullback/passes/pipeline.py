"""The passes in the order they run, and what runs them.

Imports every pass. ``PIPELINE`` is the whole story of what happens to a program before it is
lowered to kernels; ``run_pipeline`` keeps the books.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final, Literal

from pullback import config
from pullback.errors import ConfigurationError, VerificationError
from pullback.passes.base import EXACT, Pass, PassLog, PassRecord, count_equations
from pullback.passes.canonicalize import canonicalize
from pullback.passes.cse import eliminate_common_subexpressions
from pullback.passes.dce import eliminate_dead
from pullback.passes.fold import fold_constants
from pullback.passes.inline_calls import inline_calls
from pullback.passes.merge_scans import merge_scans
from pullback.passes.simplify import reassociate, simplify
from pullback.program.core import Program
from pullback.program.verify import verify

Numerics = Literal["strict", "fast"]

PIPELINE: Final[tuple[Pass, ...]] = (
    merge_scans,  # first: it knows programs by identity, and other passes make new ones
    inline_calls,
    eliminate_dead,
    canonicalize,
    fold_constants,
    simplify,
    reassociate,
    eliminate_common_subexpressions,
    canonicalize,  # again: what is simpler and shared gives these more to do
    fold_constants,
    simplify,
    eliminate_common_subexpressions,
    eliminate_dead,
)


def run_pipeline(
    program: Program,
    passes: Sequence[Pass] = PIPELINE,
    *,
    numerics: Numerics = "strict",
    verify_between: bool | None = None,
) -> tuple[Program, PassLog]:
    """Apply the passes in order.

    Args:
        program: What to rewrite.
        passes: The passes.
        numerics: ``"strict"`` leaves out the passes that do not promise the same bits.
        verify_between: Verify the program before the first pass and after each. By default as the
            setting ``verify`` (``PULLBACK_VERIFY``) says.

    Returns:
        The rewritten program, and the log: every change, and for each pass the equations before
        and after it and its milliseconds.

    Raises:
        ConfigurationError: ``numerics`` is neither of the two words.
        VerificationError: a pass left a malformed program; the message names the pass.
    """
    if numerics not in ("strict", "fast"):
        raise ConfigurationError(f"numerics is 'strict' or 'fast', not {numerics!r}")
    checks = config.settings().verify if verify_between is None else verify_between
    log = PassLog()
    if checks:
        verify(program)
    for made in passes:
        if made.promise == EXACT or numerics == "fast":
            program = _run(made, program, log, checks)
    return program, log


def _run(made: Pass, program: Program, log: PassLog, checks: bool) -> Program:
    start = time.perf_counter()
    rewritten = made(program, log)
    milliseconds = (time.perf_counter() - start) * 1e3
    before, after = count_equations(program), count_equations(rewritten)
    log.passes.append(PassRecord(made.name, made.promise, before, after, milliseconds))
    if checks and rewritten is not program:
        try:
            verify(rewritten)
        except VerificationError as error:
            raise VerificationError(f"after the pass {made.name!r}: {error}") from error
    return rewritten
