"""Computations that another one repeats and extends are dropped: a differentiated scan runs once.

Imports ``passes.base`` and ``primitives.derive``, which remembers what extends what.
"""

from __future__ import annotations

from pullback.passes.base import PassLog, map_bodies, program_pass
from pullback.primitives.derive import merge_extended
from pullback.program.core import Program


@program_pass("merge-scans", bodies=False)
def merge_scans(program: Program, log: PassLog) -> Program:
    """Put an equation that also computes residuals or tangents in the place of the original one.

    A rule of control flow that needs residuals binds the forward computation once more, with the
    residuals behind its outputs; also calls, conditionals, ``custom_vjp`` functions and loops that
    carry tangents. Programs that another pass has rewritten are no longer known to be such
    extensions: this is the first pass, and it goes from outside to inside.

    rewrite:
        %1, %2 = scan(body) %0
        %3, %4, %5 = scan(body with residuals) %0        ->      %3, %4, %5 = scan(…) %0
        %6 = scan(backward) %2 %5                                %6 = scan(backward) %4 %5
    """
    merged = merge_extended(program, lambda gone, by: log.record("merge-scans", gone, by.key))
    return map_bodies(merged, lambda body: merge_scans.function(body, log), log)
