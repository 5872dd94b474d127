"""The passes that apply the rewrite rules. Imports every file of rules.

Start at ``simplify``.
"""

from __future__ import annotations

from pullback.passes import fast_rules, layout_rules, rules  # noqa: F401  # they fill RULES
from pullback.passes.base import APPROXIMATES, EXACT, PassLog, program_pass
from pullback.passes.rewrite import RULES, apply_rules
from pullback.program.core import Program


@program_pass("simplify")
def simplify(program: Program, log: PassLog) -> Program:
    """Apply the exact rules: ``rules`` and ``layout_rules``.

    rewrite:
        %1 = neg %0
        %2 = neg %1         ->      %1 = neg %0
        %3 = mul %2 1.0             return %0
        return %3
    """
    return apply_rules(program, [r for r in RULES.values() if r.promise == EXACT], log)


@program_pass("reassociate", APPROXIMATES)
def reassociate(program: Program, log: PassLog) -> Program:
    """Apply the rules that round anew or change special values: ``fast_rules``.

    rewrite:
        %1 = mul %0 3.0
        %2 = mul %1 4.0     ->      %1 = mul %0 3.0
        return %2                   %2 = mul %0 12.0
                                    return %2
    """
    return apply_rules(program, [r for r in RULES.values() if r.promise != EXACT], log)
