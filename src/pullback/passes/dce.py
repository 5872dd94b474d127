"""Dead code: equations whose results nothing needs are removed, also those inside control flow.

Imports ``passes.base``, ``passes.prune`` and ``program``. Start at ``eliminate_dead``.
"""

from __future__ import annotations

from dataclasses import replace

from pullback.passes.base import PassLog, changed, program_pass
from pullback.passes.prune import prune
from pullback.program.core import Program, Var
from pullback.program.primitive import CONTROL


@program_pass("eliminate-dead", bodies=False)
def eliminate_dead(program: Program, log: PassLog) -> Program:
    """Remove equations and constants that no output depends on.

    Of control flow, outputs that nothing reads are removed with all that only they depend on:
    stacked results of a scan, elements of the carry, results of branches. All primitives are pure,
    also host calls; an equation without outputs exists for its effect, and stays.

    rewrite:
        %1 = exp %0
        %2 = tanh %0        ->      %2 = tanh %0
        return %2                   return %2
    """
    live = {atom for atom in program.outputs if isinstance(atom, Var)}
    equations = []
    for eqn in reversed(program.equations):
        if eqn.outputs and not any(var in live for var in eqn.outputs):
            log.record("eliminate-dead", eqn)
            continue
        if eqn.primitive.has(CONTROL):
            with log.inside(eqn):
                eqn = prune(eqn, live, lambda body: eliminate_dead(body, log))
        live.update(atom for atom in eqn.inputs if isinstance(atom, Var))
        equations.append(eqn)
    pruned = changed(program, reversed(equations))
    constants = tuple((var, array) for var, array in program.constants if var in live)
    if len(constants) != len(program.constants):
        pruned = replace(pruned, constants=constants)
    return pruned
